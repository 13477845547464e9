#!/usr/bin/env python3
"""What the suites found on which version of PostgreSQL: kept in results.json, shown in docs/versions.md.

usage: results.py python PG_CONFIG JUNIT_XML
       results.py upgrades PG_CONFIG_OLD JUNIT_XML PG_CONFIG ...
       results.py SUITE PG_CONFIG RESULT
       results.py --page

The first three note what a run has found, in the place of what was known before; "make check-python WRITE=1" and its
like call them. All of them write the page.
"""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent.parent.parent
RESULTS = Path(__file__).with_name("results.json")
PAGE = ROOT / "docs/versions.md"
BEGIN, END = "<!-- written by tests/versions/results.py -->", "<!-- end -->"
# In the order of the page. A suite's name is what "make check-NAME" runs.
SUITES = {
    "decoder": "regression tests of both libraries, and both round trips",
    "python": "all tests of the programs",
    "regress": "PostgreSQL's own regression suite, captured, restored both ways",
    "regress with pgoutput": "the same",
    "isolation": "PostgreSQL's isolation suite, with capture and without it, restored both ways",
    "isolation with pgoutput": "the same",
}
DOES_NOT_APPLY = "server version: "  # how reasons of such skipped tests begin (tests/py/conftest.py)

Result = dict[str, Any]


def read_server(pg_config: str) -> str:
    """Return a server's version, as in 18.6 or 19rc1."""
    said = subprocess.run([pg_config, "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout
    return said.split()[1]


def major(server: str) -> int:
    """Return the major version of 18.6 or 19rc1."""
    return int("".join(c if c.isdigit() else " " for c in server).split()[0])


def read_junit(path: Path) -> Result:
    """Return what a run of pytest has found: passed, failed (names), lacking (how many could not run on that machine)
    and inapplicable (by reason, how many do not apply to the version)."""
    passed, lacking = 0, 0
    failed: list[str] = []
    inapplicable: Counter[str] = Counter()
    suite = ElementTree.parse(path).getroot().find("testsuite")
    assert suite is not None
    for case in suite.iter("testcase"):
        skipped = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            failed.append(f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}")
        elif skipped is None:
            passed += 1
        elif (reason := skipped.get("message", "")).startswith(DOES_NOT_APPLY):
            inapplicable[reason.removeprefix(DOES_NOT_APPLY)] += 1
        else:
            lacking += 1
    return {
        "date": suite.get("timestamp", "")[:10],
        "passed": passed,
        "failed": sorted(failed),
        "lacking": lacking,
        "inapplicable": dict(sorted(inapplicable.items())),
    }


def note(results: list[Result], found: Result) -> list[Result]:
    """Return the results with one in the place of what was known of that suite and version."""

    def key(result: Result) -> tuple[Any, ...]:
        return result["suite"], major(result.get("old", "0")), major(result["server"])

    return sorted([*(each for each in results if key(each) != key(found)), found], key=key)


# --- the page ---------------------------------------------------------------------------------------------------------


def build_page(results: list[Result]) -> str:
    """Return what stands between the marks."""
    own = [result for result in results if "old" not in result]
    majors = sorted({major(result["server"]) for result in own})
    lines = list(_table(["suite", *map(str, majors)], _suites(own, majors)))
    reasons = sorted({reason for result in own for reason in result.get("inapplicable", ())})
    if reasons:
        lines += ["", "Tests that do not apply to a version, and why:", ""]
        lines += _table(["reason", *map(str, majors)], (_reason(own, majors, reason) for reason in reasons))
    if failed := [(result, name) for result in own for name in result.get("failed", ())]:
        lines += ["", "What failed:", "", *(f"- {result['server']}: `{name}`" for result, name in failed)]
    upgrades = [result for result in results if "old" in result]
    if upgrades:
        lines += [
            "",
            "Correctness cases of a version, restored into a newer one by scribe-restore and by psql alone:",
            "",
        ]
        lines += _table(["from", *(f"into {new}" for new in majors[1:])], _upgrades(upgrades, majors))
    return "\n".join(lines)


def _table(head: list[str], rows: Iterable[list[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{' --- |' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _suites(results: list[Result], majors: list[int]) -> Iterator[list[str]]:
    for suite, what in SUITES.items():
        found = {major(each["server"]): each for each in results if each["suite"] == suite}
        cells = [_cell(found[each]) if each in found else "not run" for each in majors]
        if found:
            name, _, more = suite.partition(" ")
            yield [f"`make check-{name}`{f' {more}' if more else ''}: {what}", *cells]


def _cell(result: Result) -> str:
    said = result.get("result") or _counts(result)
    return f"{said} ({result['server']}, {result['date']})"


def _counts(result: Result) -> str:
    words = [f"{result['passed']:,} pass"]
    words += [f"{len(result['failed'])} fail"] if result["failed"] else []
    words += [f"{sum(result['inapplicable'].values())} do not apply"] if result["inapplicable"] else []
    words += [f"{result['lacking']} lacked something on that machine"] if result["lacking"] else []
    return ", ".join(words)


def _reason(results: list[Result], majors: list[int], reason: str) -> list[str]:
    found = {major(each["server"]): each["inapplicable"].get(reason, 0) for each in results if "inapplicable" in each}
    return [reason, *(str(found.get(each) or "") for each in majors)]


def _upgrades(results: list[Result], majors: list[int]) -> Iterator[list[str]]:
    found = {(major(each["old"]), major(each["server"])): each for each in results}
    for old in majors[:-1]:
        cells = []
        for new in majors[1:]:
            each = found.get((old, new))
            if each is None:
                cells.append("not run" if new > old else "")
            else:
                equal = f"{each['passed']} equal" + (f", {len(each['failed'])} not" if each["failed"] else "")
                cells.append(f"{equal} ({each['old']} to {each['server']}, {each['date']})")
        yield [str(old), *cells]


def write_page(results: list[Result]) -> None:
    """Put the results between the marks of docs/versions.md."""
    head, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(f"{head}{BEGIN}\n\n{build_page(results)}\n\n{END}{rest.partition(END)[2]}")


def main(arguments: list[str]) -> int:
    """Run the program; return its exit status."""
    results: list[Result] = json.loads(RESULTS.read_text())
    match arguments:
        case ["--page"]:
            pass
        case ["python", pg_config, xml]:
            results = note(results, {"suite": "python", "server": read_server(pg_config), **read_junit(Path(xml))})
        case ["upgrades", old, xml, *newer]:
            for pg_config in newer:
                servers = {"old": read_server(old), "server": read_server(pg_config)}
                results = note(results, {"suite": "upgrades", **servers, **read_junit(Path(xml))})
        case [suite, pg_config, said] if suite in SUITES:
            today = datetime.date.today().isoformat()
            results = note(results, {"suite": suite, "server": read_server(pg_config), "date": today, "result": said})
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    write_page(results)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
