"""Would the tests have noticed? Plant one bug at a time into a copy of the tree, and run the tests that should fail.

    run.py [--short] [--json FILE] [--page] [NAME ...]

PG_CONFIG names the server; the libraries of a bug in C are built for it and installed there, so let nothing else use it
meanwhile. NAME: bugs whose names contain it. The tests must pass without a bug, and fail with it; anything else, such
as a time-out or a test that cannot be collected, shows nothing and counts as not noticed.

Exit status: 0 each was noticed; 1 one was not; 2 wrong use.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from bugs import BUGS, Bug  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 900  # seconds for the tests of one bug
BEGIN, END = "<!-- written by make check-planted -->", "<!-- end -->"
NOTICED, MISSED, UNCLEAR = "noticed", "MISSED", "UNCLEAR"


class Tree:
    """A copy of the tree that may be changed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._sound: set[str] = set()  # tests that pass without a bug
        names = subprocess.check_output(["git", "-C", ROOT, "ls-files", "-z"]).split(b"\0")
        for name in filter(None, (os.fsdecode(each) for each in names)):
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, path / name, follow_symlinks=False)
        (path / ".venv").symlink_to(ROOT / ".venv")
        self._build()

    def _build(self) -> None:
        subprocess.run(["tools/build-decoder", "--install"], cwd=self.path, check=True, stdout=subprocess.DEVNULL)

    def test(self, tests: tuple[str, ...]) -> tuple[int | None, str]:
        """Run tests until one fails; return pytest's exit status, None if it took too long, and its last lines."""
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
        try:
            done = subprocess.run(
                command,
                cwd=self.path,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=LIMIT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return None, f"no answer in {LIMIT} s"
        failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
        return done.returncode, (failed or done.stdout.splitlines() or ["nothing"])[0]

    def try_bug(self, bug: Bug) -> tuple[str, str]:
        """Return whether a bug was noticed, and by which test."""
        for test in bug.tests:
            if test not in self._sound:
                status, said = self.test((test,))
                if status != 0:
                    return UNCLEAR, f"without the bug: {said}"
                self._sound.add(test)
        path = self.path / bug.file
        text = path.read_text()
        path.write_text(text.replace(bug.old, bug.new))
        try:
            if bug.is_compiled:
                self._build()
            status, said = self.test(bug.tests)
        finally:
            path.write_text(text)
            if bug.is_compiled:
                self._build()
        return {0: MISSED, 1: NOTICED}.get(status if status is not None else -1, UNCLEAR), said


def write_page(results: list[dict[str, Any]]) -> None:
    """Write a table of the results between the marks in docs/assurance.md."""
    server = subprocess.check_output([os.environ.get("PG_CONFIG", "pg_config"), "--version"], text=True).split()[1]
    noticed = sum(result["outcome"] == NOTICED for result in results)
    today = datetime.date.today()
    lines = [f"{noticed} of {len(results)} were noticed on {today}, with PostgreSQL {server}.", ""]
    lines += ["| without a guard | in | outcome | by |", "| --- | --- | --- | --- |"]
    for result in results:
        by = result["by"].removeprefix("FAILED ").split(" - ")[0].removeprefix("tests/py/").replace("|", "\\|")
        lines.append(f"| {result['bug']} | `{Path(result['file']).name}` | {result['outcome']} | `{by[:90]}` |")
    path = ROOT / "docs/assurance.md"
    head, _, rest = path.read_text().partition(BEGIN)
    path.write_text(f"{head}{BEGIN}\n" + "\n".join(lines) + f"\n{END}" + rest.partition(END)[2])


def main() -> int:
    """Try the bugs that are named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="only those that matter most")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the results")
    parser.add_argument("--page", action="store_true", help="write the results into docs/assurance.md")
    parser.add_argument("names", nargs="*", metavar="NAME")
    arguments = parser.parse_args()
    bugs = [bug for bug in BUGS if bug.short or not arguments.short]
    bugs = [bug for bug in bugs if not arguments.names or any(name in bug.name for name in arguments.names)]
    if not bugs:
        print("check-planted: error: no bug of that name", file=sys.stderr)
        return 2
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="scribe-planted-") as directory:
        os.chmod(directory, 0o755)
        tree = Tree(Path(directory))
        for bug in bugs:
            began = time.monotonic()
            outcome, by = tree.try_bug(bug)
            seconds = round(time.monotonic() - began, 1)
            results.append({"bug": bug.name, "file": bug.file, "outcome": outcome, "by": by, "seconds": seconds})
            print(f"{outcome:<8} {seconds:6.1f} s  {bug.name}: {by[:160]}", flush=True)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")
    if arguments.page:
        write_page(results)
    noticed = sum(result["outcome"] == NOTICED for result in results)
    print(f"check-planted: {noticed} of {len(results)} planted bugs were noticed")
    return 0 if noticed == len(results) else 1


if __name__ == "__main__":
    sys.exit(main())
