#!/usr/bin/env python3
"""Look at scribe-report's page in Chromium: at 1280 and 390 pixels, light and dark.

Usage: run.py PAGE|--example DIRECTORY [CHROMIUM]

--example makes a page about three databases. Writes screenshots into DIRECTORY. Fails if the page is wider than
the window, or if the figures that Chromium shows are not those of the file.
"""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/py"), str(ROOT / "lib")]
from aged import Aged, change  # noqa: E402

SIZES = {"wide": 1280, "narrow": 390}
HEIGHT = 1800
# It tells how wide the page is, in the title; the page itself runs no script, so its policy has to go for that.
PROBE = "<script>onload = () => { document.title = 'width ' + document.documentElement.scrollWidth }</script>"
FIGURE = re.compile(r'<data data-key="([^"]*)" value="([^"]*)"')


def look(chromium: str, page: Path, *arguments: str, width: int, dark: bool) -> str:
    """Run Chromium once; return what it prints."""
    with tempfile.TemporaryDirectory() as profile:
        command = [
            chromium,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            f"--user-data-dir={profile}",
            f"--window-size={width},{HEIGHT}",
            f"--blink-settings=preferredColorScheme={0 if dark else 1}",
            *arguments,
            page.resolve().as_uri(),
        ]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout


def framed(page: Path, width: int, directory: Path) -> Path:
    """Return a page that shows another in a frame of that width: Chromium has windows of 500 pixels at least."""
    frame = directory / f"frame-{width}.html"
    frame.write_text(
        "<!DOCTYPE html><body style='margin: 0'>"
        f"<iframe src='{page.resolve().as_uri()}' style='width: {width}px; height: {HEIGHT}px; border: 0'></iframe>"
    )
    return frame


def make_example(directory: Path) -> Path:
    """Return a page about three databases that were backed up for a month, one of them with a gap."""
    dice = random.Random(1)
    with tempfile.TemporaryDirectory() as place:
        settings = Path(place) / "etc"
        settings.mkdir()
        for name in ("billing", "shop", "warehouse-eu"):
            archive = Aged(Path(place) / name)
            for number in range(120):
                if number % 16 == 0:
                    archive.add_base(number / 4)
                if number == 50 and name == "shop":
                    archive.start_chain(number / 4 + 0.1)
                path = archive.add_segment(number / 4 + 0.2, dice.randrange(1, 9))
                names = (("public", "orders"), ("audit", "log_2026"))
                tables = [{"schema": s, "name": name, "inserted": dice.randrange(9000)} for s, name in names]
                total = sum(table["inserted"] for table in tables)
                counts = json.loads(path.read_text())["counts"] | {"inserted": total}
                change(path, counts=counts, tables=tables)
            (archive.path / "rehearsal.json").write_text('{"time": "2026-12-10T04:00:00Z", "ok": true}')
            (settings / f"{name}.env").write_text(f"SCRIBE_ARCHIVE={archive.path}\n")
        page = directory / "report.html"
        command = [ROOT / "bin/scribe-report", "--config-dir", settings, "--offline", "-o", page]
        subprocess.run(command, check=True)
    return page


def main() -> int:
    """Take the screenshots; return 1 if something is wrong."""
    if len(sys.argv) not in (3, 4):
        print("usage: run.py PAGE|--example DIRECTORY [CHROMIUM]", file=sys.stderr)
        return 2
    directory = Path(sys.argv[2])
    directory.mkdir(parents=True, exist_ok=True)
    page = make_example(directory) if sys.argv[1] == "--example" else Path(sys.argv[1])
    chromium = sys.argv[3] if len(sys.argv) == 4 else shutil.which("chromium")
    if chromium is None:
        print("check-page: SKIPPED: there is no chromium; Debian has it: apt-get install chromium", file=sys.stderr)
        return 1
    text = page.read_text()
    probe = directory / "probe.html"
    probe.write_text(re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', PROBE, text))
    faults = []
    for size, width in SIZES.items():
        # a frame's document cannot be read from outside, so a copy of the page that is as wide is measured
        narrow = directory / f"probe-{width}.html"
        style = f"<style>html {{ width: {width}px; overflow-x: auto }}</style></head>"
        narrow.write_text(probe.read_text().replace("</head>", style, 1))
        dom = look(chromium, narrow, "--dump-dom", width=max(500, width), dark=False)
        found = re.search(r"<title>width (\d+)</title>", dom)
        measured = int(found[1]) if found else 0
        if not 0 < measured <= max(500, width):
            faults.append(f"at {width} pixels the page is {measured} wide")
        if FIGURE.findall(dom) != FIGURE.findall(text):
            faults.append(f"at {width} pixels Chromium shows other figures than the file has")
        for dark in (False, True):
            shot = directory / f"{size}-{'dark' if dark else 'light'}.png"
            shown = framed(page, width, directory) if width < 500 else page
            look(chromium, shown, f"--screenshot={shot.resolve()}", width=width, dark=dark)
            print(shot)
    for fault in faults:
        print(f"check-page: error: {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
