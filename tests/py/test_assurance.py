"""docs/assurance.md names tests and targets that are there."""

from __future__ import annotations

import re

import pytest
from cluster import ROOT

pytestmark = pytest.mark.unit
PAGE = (ROOT / "docs/assurance.md").read_text()


def test_every_test_that_it_names_is_there() -> None:
    named = set(re.findall(r"`(test_\w+\.py)`", PAGE))
    assert len(named) > 30
    assert [name for name in sorted(named) if not (ROOT / "tests/py" / name).is_file()] == []


def test_every_target_that_it_names_is_there() -> None:
    targets = set(re.findall(r"`make ([\w-]+)`", PAGE))
    makefile = (ROOT / "Makefile").read_text()
    assert [name for name in sorted(targets) if not re.search(rf"^{name}:", makefile, re.M)] == []
