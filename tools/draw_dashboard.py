"""Draw what the Grafana dashboard shows, from a real Prometheus, as an SVG: docs/dashboard.svg.

Usage: PYTHONPATH=tests/py:lib .venv/bin/python tools/draw_dashboard.py [FILE]

A private server is written to for two and a half minutes, streamed and watched; for half a minute no stream runs.
Prometheus and node_exporter come from tools/unpack-monitoring. The panels, their places and queries are those of
etc/grafana-dashboard.json.
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from cluster import ROOT, install_decoder, temporary_cluster
from monitoring import Ask, find, panels, prometheus
from source import Scribe

SECONDS, DOWN = 150, (60, 90)  # how long is drawn, and from when until when the stream is stopped
COLUMN, ROW, HEAD, EDGE = 48, 21, 24, 8  # pixels: the dashboard's grid, a panel's title, what is left free round it
STATES = {0: ("OK", "#3a9d5d"), 1: ("WARNING", "#e0b400"), 2: ("CRITICAL", "#d64545"), 3: ("UNKNOWN", "#8e6bbf")}
GAP = 5  # seconds without a value that end a line
LINES = ("#2f6fb5", "#d9822b", "#3a9d5d")


def number_text(value: float, unit: str) -> str:
    """Return a number as Grafana would write it in this unit."""
    if unit == "percentunit":
        return f"{value * 100:.0f} %"
    if unit == "bytes":
        size = next((s for s in (3, 2, 1) if value >= 1024**s), 0)
        return f"{value / 1024**size:.3g} {('B', 'kB', 'MB', 'GB')[size]}"
    return f"{value:.3g} s" if unit == "s" else f"{value:.0f}"


def text(x: float, y: float, said: str, *, size: int = 11, color: str = "#444", anchor: str = "start") -> str:
    """Return an SVG text."""
    return (
        f'<text x="{x:.0f}" y="{y:.0f}" font-size="{size}" fill="{color}" text-anchor="{anchor}">{escape(said)}</text>'
    )


def draw_number(panel: dict[str, Any], series: list[Any], box: tuple[float, float, float, float]) -> list[str]:
    """Return a panel that shows the newest number of the first series."""
    x, y, width, height = box
    value = float(series[0]["values"][-1][1]) if series else 0.0
    said, color = number_text(value, panel["fieldConfig"]["defaults"]["unit"]), LINES[0]
    if panel["fieldConfig"]["defaults"].get("mappings"):
        said, color = STATES[int(value)]
    return [text(x + width / 2, y + height / 2 + 12, said, size=30, color=color, anchor="middle")]


def draw_states(series: list[Any], box: tuple[float, float, float, float], span: tuple[float, float]) -> list[str]:
    """Return a panel that shows the state of each check over time."""
    x, y, width, height = box
    left, step = x + 95, height / max(1, len(series))
    scale = (width - 95) / (span[1] - span[0])
    drawn = []
    for row, one in enumerate(sorted(series, key=lambda s: s["metric"]["check"])):
        top = y + row * step
        drawn.append(text(left - 6, top + step * 0.8, one["metric"]["check"], size=9, anchor="end"))
        began, state = one["values"][0][0], int(one["values"][0][1])
        for at, value in [*one["values"][1:], (one["values"][-1][0] + 1, "-1")]:
            if int(value) != state:
                place = f'x="{left + (began - span[0]) * scale:.1f}" width="{(at - began) * scale:.1f}"'
                drawn.append(f'<rect {place} y="{top + 1:.1f}" height="{step - 2:.1f}" fill="{STATES[state][1]}"/>')
                began, state = at, int(value)
    return drawn


def draw_lines(
    panel: dict[str, Any], series: list[Any], box: tuple[float, float, float, float], span: tuple[float, float]
) -> list[str]:
    """Return a panel that shows each series as a line, from 0 to the highest value."""
    x, y, width, height = box
    unit = panel["fieldConfig"]["defaults"]["unit"]
    left, bottom = x + 52, y + height - 28
    highest = max((float(v) for one in series for _, v in one["values"]), default=0) or 1.0
    drawn = []
    for share in (0, 0.5, 1):
        level = bottom - share * (bottom - y - 4)
        drawn.append(f'<path d="M{left:.0f} {level:.0f}H{x + width:.0f}" stroke="#ddd"/>')
        drawn.append(text(left - 5, level + 4, number_text(highest * share, unit), size=10, color="#777", anchor="end"))
    for number, one in enumerate(series):
        color, path, before = LINES[number % len(LINES)], "", float("-inf")
        for at, value in one["values"]:
            across = left + (at - span[0]) / (span[1] - span[0]) * (x + width - left)
            up = bottom - float(value) / highest * (bottom - y - 4)
            path += f"{'L' if at - before < GAP else 'M'}{across:.1f} {up:.1f}"
            before = at
        drawn.append(f'<path d="{path}" fill="none" stroke="{color}" stroke-width="1.5"/>')
        drawn.append(text(left + 130 * number, y + height - 6, one["legend"], size=10, color=color))
    return drawn


def draw(ask: Ask, span: tuple[float, float], output: Path) -> None:
    """Draw all panels. ask: asks Prometheus; span: from when until when, seconds since 1970."""
    drawn, lowest = [], 0.0
    for panel in panels():
        place = panel["gridPos"]
        x, y = place["x"] * COLUMN + EDGE, place["y"] * ROW + EDGE
        width, height = place["w"] * COLUMN - EDGE, place["h"] * ROW - EDGE
        lowest = max(lowest, y + height)
        series = []
        for target in panel["targets"]:
            legend = target["legendFormat"].replace("{{archive}}", "").strip()
            answer = ask("query_range", query=target["expr"], start=span[0], end=span[1], step=1)
            series += [one | {"legend": legend} for one in answer["result"]]
        drawn.append(f'<rect x="{x}" y="{y}" width="{width}" height="{height}" fill="#fff" stroke="#ccc" rx="3"/>')
        drawn.append(text(x + EDGE, y + 17, panel["title"], size=13, color="#222"))
        box = (x + EDGE, y + HEAD + 2, width - 2 * EDGE, height - HEAD - EDGE)
        if panel["type"] == "stat":
            drawn += draw_number(panel, series, box)
        elif panel["type"] == "state-timeline":
            drawn += draw_states(series, box, span)
        else:
            drawn += draw_lines(panel, series, box, span)
    size = f'viewBox="0 0 {24 * COLUMN + EDGE} {lowest + EDGE:.0f}"'
    begin = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif">'
    drawn = [begin, '<rect width="100%" height="100%" fill="#f4f5f5"/>', *drawn, "</svg>"]
    output.write_text("\n".join(drawn) + "\n")


def write_rows(scribe: Scribe, ended: threading.Event) -> None:
    """Write to the source until told to stop."""
    with scribe.cluster.connect(scribe.dbname) as conn:
        while not ended.wait(0.1):
            conn.execute("INSERT INTO item (word) SELECT repeat('x', 200) FROM generate_series(1, 200)")


def watch(scribe: Scribe, text_file: Path) -> None:
    """Check every two seconds, rotate every twenty, and stop the stream for a while."""
    began, down, rotated = time.time(), False, 0.0
    while (passed := time.time() - began) < SECONDS:
        if down != (DOWN[0] <= passed < DOWN[1]):
            down = not down
            scribe.stop_stream() if down else scribe.start_stream()
        if not down and passed - rotated > 20:
            rotated = passed
            scribe.run("scribe-rotate")
        scribe.run("scribe-check", "-t", "4", "--format", "prometheus", "--output", str(text_file), check=False)
        time.sleep(2)


def main(arguments: list[str]) -> int:
    """Run the scene and draw it."""
    output = Path(arguments[0]) if arguments else ROOT / "docs/dashboard.svg"
    programs = find("prometheus"), find("prometheus-node-exporter")
    if programs[0] is None or programs[1] is None:
        print('draw_dashboard: error: no Prometheus; run "tools/unpack-monitoring"', file=sys.stderr)
        return 1
    with temporary_cluster() as cluster, tempfile.TemporaryDirectory(prefix="scr") as place:
        install_decoder(cluster.pg_config)
        cluster.createdb("shop")
        prompt = {"SCRIBE_STATUS_INTERVAL": "1", "SCRIBE_FSYNC_INTERVAL": "1"}
        scribe = Scribe(cluster, "shop", Path(place) / "archive", prompt)
        cluster.psql("CREATE TABLE item (id bigserial PRIMARY KEY, word text)", "shop")
        scribe.run("scribe-init")
        scribe.start_stream()
        ended = threading.Event()
        writer = threading.Thread(target=write_rows, args=(scribe, ended))
        writer.start()
        try:
            with prometheus(Path(place), (programs[0], programs[1])) as ask:
                began = time.time()
                watch(scribe, Path(place) / "text/scribe.prom")
                draw(ask, (began, time.time()), output)
        finally:
            ended.set()
            writer.join()
            scribe.kill_streams()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
