"""Would the tests have noticed? Plant one bug at a time into a copy of the tree, and run the tests that should fail.

    run.py [--short] [--jobs N] [--json FILE] [--page] [NAME ...]

PG_CONFIG names the server, of which each copy of the tree has a copy of its own. NAME: bugs whose names or files
contain it. The tests must pass without a bug, in one run for all bugs, and fail with it; anything else, such as a
time-out or a test that cannot be collected, shows nothing and counts as not noticed.

Exit status: 0 each was noticed; 1 one was not; 2 wrong use.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import datetime
import json
import os
import queue
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from bugs import BUGS, Bug  # noqa: E402
from places import DECODER, ROOT, Tree  # noqa: E402

LIMIT = 600  # seconds for the tests of one bug
SHORT_LIMIT = 120  # the same of the short list
BEGIN, END = "<!-- written by make check-planted -->", "<!-- end -->"
NOTICED, MISSED, UNCLEAR = "noticed", "MISSED", "UNCLEAR"


def paths_of(bug: Bug) -> tuple[str, ...]:
    """Return a bug's tests as they are named from the top of the tree."""
    return tuple(test if test.startswith(DECODER) else f"tests/py/{test}" for test in bug.tests)


def find_unsound(tree: Tree, bugs: Sequence[Bug], jobs: int) -> dict[str, str]:
    """Return the tests that do not pass without a bug, and why."""
    tests = sorted({test for bug in bugs for test in paths_of(bug)})
    options = ["-n", str(jobs), "--dist", "loadfile"] if jobs > 1 else []
    outcome = tree.test(tests, LIMIT + 60 * len(tests), *options)
    if outcome.status == 0:
        return {}
    unsound = {test: f"without the bug: {outcome.said}" for test in tests if _is_among(test, outcome.failed)}
    return unsound or dict.fromkeys(tests, f"without a bug: {outcome.said}")


def _is_among(test: str, failed: Sequence[str]) -> bool:
    name = test.partition("[")[0]
    return any(each == name or each.startswith(f"{name}::") for each in failed)


def try_bug(tree: Tree, bug: Bug, unsound: dict[str, str], limit: float) -> tuple[str, str]:
    """Return whether a bug was noticed, and by which test."""
    for test in paths_of(bug):
        if test in unsound:
            return UNCLEAR, unsound[test]
    try:
        with tree.changed(bug.file, bug.old, bug.new):
            outcome = tree.test(paths_of(bug), limit, "-x")
    except subprocess.CalledProcessError as error:
        return UNCLEAR, f"it does not compile: {(error.stderr or b'').decode(errors='replace')[:200]}"
    known = {0: MISSED, 1: NOTICED}
    return (UNCLEAR if outcome.status is None else known.get(outcome.status, UNCLEAR)), outcome.said


def find_server() -> tuple[str, str]:
    """Return the pg_config of the server to test with, and its version."""
    pg_config = os.environ.get("PG_CONFIG") or subprocess.check_output([ROOT / "tools/find-pg-config"], text=True)
    version = subprocess.check_output([pg_config.strip(), "--version"], text=True).split()[1]
    return pg_config.strip(), version


def try_bugs(bugs: Sequence[Bug], jobs: int, limit: float) -> list[dict[str, Any]]:
    """Try bugs, so many at a time, each in a copy of its own; return the results in the order of the list."""
    pg_config, version = find_server()
    bugs = [bug for bug in bugs if bug.since <= int(version.split(".")[0])]
    today = str(datetime.date.today())
    results: dict[str, dict[str, Any]] = {}
    free: queue.SimpleQueue[Tree] = queue.SimpleQueue()

    def work(bug: Bug) -> None:
        tree = free.get()
        try:
            began = time.monotonic()
            outcome, by = try_bug(tree, bug, unsound, limit)
            seconds = round(time.monotonic() - began, 1)
        finally:
            free.put(tree)
        results[bug.name] = {
            "bug": bug.name,
            "file": bug.file,
            "outcome": outcome,
            "by": by,
            "seconds": seconds,
            "date": today,
            "server": version,
        }
        print(f"{outcome:<8} {seconds:6.1f} s  {bug.name}: {by[:200]}", flush=True)

    with (
        tempfile.TemporaryDirectory(prefix="planted-") as directory,
        concurrent.futures.ThreadPoolExecutor(jobs) as pool,
    ):
        os.chmod(directory, 0o755)
        trees = list(pool.map(lambda n: Tree(Path(directory, str(n)), pg_config), range(jobs)))
        began = time.monotonic()
        unsound = find_unsound(trees[0], bugs, jobs)
        print(f"check-planted: the tests without a bug: {time.monotonic() - began:.0f} s", flush=True)
        for tree in trees:
            free.put(tree)
        list(pool.map(work, bugs))
    return [results[bug.name] for bug in bugs]


def join_results(path: Path, results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Write results into a file that may hold those of other bugs; return all that are still in the list."""
    known = {each["bug"]: each for each in json.loads(path.read_text())} if path.exists() else {}
    known |= {each["bug"]: each for each in results}
    joined = [known[bug.name] for bug in BUGS if bug.name in known]
    path.write_text(json.dumps(joined, indent=2, ensure_ascii=False) + "\n")
    return joined


def write_page(results: list[dict[str, Any]]) -> None:
    """Write a table of the results between the marks in docs/assurance.md."""
    noticed = sum(result["outcome"] == NOTICED for result in results)
    dates = " and ".join(sorted({result["date"] for result in results}))
    servers = " and ".join(sorted({result["server"] for result in results}))
    lines = [f"{noticed} of {len(results)} that were tried were noticed on {dates}, with PostgreSQL {servers};"]
    lines += [f"the list has {len(BUGS)}.", ""]
    lines += ["| without a guard | in | outcome | by |", "| --- | --- | --- | --- |"]
    for result in results:
        by = result["by"].removeprefix("FAILED ").removeprefix("ERROR ").split(" - ")[0]
        by = by.removeprefix("tests/py/").replace("|", "\\|")[:90]
        lines.append(f"| {result['bug']} | `{Path(result['file']).name}` | {result['outcome']} | `{by}` |")
    path = ROOT / "docs/assurance.md"
    head, _, rest = path.read_text().partition(BEGIN)
    path.write_text(f"{head}{BEGIN}\n" + "\n".join(lines) + f"\n{END}" + rest.partition(END)[2])


def main() -> int:
    """Try the bugs that are named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="only those that matter most")
    parser.add_argument("--jobs", type=int, default=min(4, os.cpu_count() or 1), help="how many at a time")
    parser.add_argument("--json", metavar="FILE", type=Path, help="add the results to those in a file")
    parser.add_argument("--page", action="store_true", help="write the results into docs/assurance.md")
    parser.add_argument("names", nargs="*", metavar="NAME")
    arguments = parser.parse_args()
    bugs = [bug for bug in BUGS if bug.short or not arguments.short]
    if arguments.names:
        bugs = [bug for bug in bugs if any(name in bug.name or name in bug.file for name in arguments.names)]
    if not bugs:
        print("check-planted: error: no bug of that name", file=sys.stderr)
        return 2
    began = time.monotonic()
    results = try_bugs(bugs, max(1, min(arguments.jobs, len(bugs))), SHORT_LIMIT if arguments.short else LIMIT)
    found = join_results(arguments.json, results) if arguments.json is not None else results
    if arguments.page:
        write_page(found)
    noticed = sum(result["outcome"] == NOTICED for result in results)
    print(f"check-planted: {noticed} of {len(results)} planted bugs were noticed, in {time.monotonic() - began:.0f} s")
    for result in results:
        if result["outcome"] != NOTICED:
            print(f"check-planted: error: {result['outcome']}: {result['bug']}: {result['by']}", file=sys.stderr)
    return 0 if noticed == len(results) else 1


if __name__ == "__main__":
    sys.exit(main())
