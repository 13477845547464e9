"""Every case of the correctness list, with the decoder that is the default.

PG_SCRIBE_ALL_CASES=1 (make check-net) restores every one with --serial, too; else those that have much to join.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from cases import ALL, CASES, assert_both_restores_equal, assert_serial_restore_equal, play_case
from source import Scribe

PWNED = Path("/tmp/scribe_pwned")
JOINED = {"key_updates", "rewrites_and_constraints", "tables_in_turn", "toast", "transactions", "values"}


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_both_restores_equal_the_source(case: Path, scribe: Scribe, targets: tuple[str, str]) -> None:
    PWNED.unlink(missing_ok=True)  # another run's
    play_case(case, scribe)
    assert_both_restores_equal(scribe, targets)
    if ALL or case.stem in JOINED:
        assert_serial_restore_equal(scribe, targets[0])
    assert scribe.stop_stream() == 0
    assert not PWNED.exists(), "a name or value was run as a shell command"
