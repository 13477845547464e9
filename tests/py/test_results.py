"""What suites found on each version is what docs/versions.md says."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from cluster import ROOT

sys.path.insert(0, str(ROOT / "tests/versions"))

from results import BEGIN, END, PAGE, RESULTS, build_page, major, note, read_junit

pytestmark = pytest.mark.unit

XML = """<testsuites><testsuite name="pytest" timestamp="2026-11-30T19:20:00.1+00:00">
<testcase classname="tests.py.test_a" name="test_one[x]"/>
<testcase classname="tests.py.test_a" name="test_two"><failure message="no">no</failure></testcase>
<testcase classname="tests.py.test_b" name="test_set_up"><error message="no">no</error></testcase>
<testcase classname="tests.py.test_b" name="test_new"><skipped message="server version: not before 17"/></testcase>
<testcase classname="tests.py.test_b" name="test_else"><skipped message="place: nothing is here"/></testcase>
</testsuite></testsuites>
"""


def test_the_page_says_what_was_found() -> None:
    _, _, rest = PAGE.read_text().partition(BEGIN)
    assert rest.partition(END)[0].strip() == build_page(json.loads(RESULTS.read_text()))


def test_a_run_is_read_and_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "python.xml"
    path.write_text(XML)
    found = {"suite": "python", "server": "18.6", **read_junit(path)}
    assert found["date"] == "2026-11-30"
    assert (found["passed"], found["lacking"], found["inapplicable"]) == (1, 1, {"not before 17": 1})
    assert found["failed"] == ["test_a::test_two", "test_b::test_set_up"]
    others = [{"suite": "python", "server": "19rc1", "date": "d", "result": "all"}]
    results = note(note(others, found | {"server": "18.5"}), found)
    assert [each["server"] for each in results] == ["18.6", "19rc1"]
    page = build_page(results)
    assert (
        "| 1 pass, 2 fail, 1 do not apply, 1 lacked something on that machine (18.6, 2026-11-30) | all (19rc1, d) |"
        in page
    )
    assert "| not before 17 | 1 |  |" in page
    assert "- 18.6: `test_b::test_set_up`" in page


@pytest.mark.parametrize(("server", "number"), [("18.6", 18), ("19rc1", 19), ("20devel", 20)])
def test_versions_have_a_major_number(server: str, number: int) -> None:
    assert major(server) == number
