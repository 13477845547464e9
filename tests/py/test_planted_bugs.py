"""The list of planted bugs is true: each can be planted, once, and the tests that should notice it are there."""

from __future__ import annotations

import sys

import pytest
from cluster import ROOT

sys.path.insert(0, str(ROOT / "tests/planted"))

from bugs import BUGS, Bug

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_each_can_be_planted(bug: Bug) -> None:
    assert (ROOT / bug.file).read_text().count(bug.old) == 1
    assert bug.old != bug.new and bug.tests
    for test in bug.tests:
        assert (ROOT / test.split("::")[0]).is_file(), test


def test_no_two_have_one_name() -> None:
    assert len({bug.name for bug in BUGS}) == len(BUGS)
