"""The list of planted bugs is true: each can be planted, once, and the tests that should notice it are there."""

from __future__ import annotations

import re
import sys

import pytest
from cluster import ROOT

sys.path.insert(0, str(ROOT / "tests/planted"))

from bugs import BUGS
from places import DECODER

pytestmark = pytest.mark.unit


def test_each_can_be_planted() -> None:
    texts = {file: (ROOT / file).read_text() for file in {bug.file for bug in BUGS}}
    assert [bug.name for bug in BUGS if texts[bug.file].count(bug.old) != 1 or bug.old == bug.new] == []


def test_the_tests_that_ought_to_notice_are_there() -> None:
    named = {test.partition("[")[0] for bug in BUGS for test in bug.tests}
    assert [test for test in named if test.startswith(DECODER) and not (ROOT / test).is_file()] == []
    tests = {test for test in named if not test.startswith(DECODER)}
    texts = {name: (ROOT / "tests/py" / name).read_text() for name in {test.partition("::")[0] for test in tests}}
    assert [test for test in sorted(tests) if not _stands_in(texts, *test.split("::"))] == []
    assert all(bug.tests for bug in BUGS)


def _stands_in(texts: dict[str, str], name: str, test: str) -> bool:
    return re.search(rf"^def {test}\(", texts[name], re.M) is not None


def test_no_two_have_one_name() -> None:
    assert len({bug.name for bug in BUGS}) == len(BUGS) >= 80


def test_the_short_list_is_of_bugs_that_show_on_every_server() -> None:
    short = [bug for bug in BUGS if bug.short]
    assert 15 <= len(short) <= 30
    assert [bug.name for bug in short if bug.since or bug.file.endswith((".c", ".h"))] == []
