"""What a copy takes of an archive next, and that it takes nothing of another chain."""

from __future__ import annotations

from pathlib import Path

import pytest
from archives import IDENTITY, make_archive, transaction

from scribe.archive.segments import Small
from scribe.common.errors import ScribeError
from scribe.common.lsn import parse_lsn
from scribe.restore.arrivals import Arrivals

pytestmark = pytest.mark.unit
BEGUN = parse_lsn(str(IDENTITY["chain_from_lsn"]))


def test_what_a_rotation_has_closed_waits_for_its_segment_and_keeps_what_follows_waiting(tmp_path: Path) -> None:
    """Large objects and sequences come with the segment, before the transactions of the next one."""
    archive = make_archive(tmp_path)
    (archive.spool / "part-00000001.sql").write_bytes(transaction(BEGUN + 0x10))
    (archive.spool / "stream.sql").write_bytes(transaction(BEGUN + 0x20))
    arrivals = Arrivals(archive, str(IDENTITY["spool_id"]), pytest.fail)
    arrivals.begin(BEGUN)
    tail = arrivals.look(BEGUN)
    assert tail is not None
    with tail:
        assert [event.end for event in tail.events() if isinstance(event, Small)] == [BEGUN + 0x18]
        arrivals.took_tail(tail)
    assert arrivals.waits
    assert arrivals.look(BEGUN + 0x18) is None


def test_a_copy_that_runs_while_a_new_chain_begins_ends(tmp_path: Path) -> None:
    arrivals = Arrivals(make_archive(tmp_path, spool_id="new"), "old", pytest.fail)
    for look in (arrivals.begin, arrivals.look, arrivals.refuse_broken):
        with pytest.raises(ScribeError, match="the stream began again"):
            look(BEGUN)
