"""Every case of the correctness list, with the decoder that is the default."""

from __future__ import annotations

from pathlib import Path

import pytest
from cases import CASES, assert_both_restores_equal, play_case
from source import Scribe

PWNED = Path("/tmp/scribe_pwned")


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_both_restores_equal_the_source(case: Path, scribe: Scribe, targets: tuple[str, str]) -> None:
    PWNED.unlink(missing_ok=True)  # another run's
    play_case(case, scribe)
    assert_both_restores_equal(scribe, targets)
    assert scribe.stop_stream() == 0
    assert not PWNED.exists(), "a name or value was run as a shell command"
