"""What the server will not send again is missed before anything is cut; test_power.py has what a power cut leaves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cluster import poll
from source import Scribe

from scribe.common.lsn import parse_lsn


@pytest.fixture
def stream(scribe: Scribe) -> Path:
    """The spool's file with three transactions, all of them confirmed; scribe-stream has been started again since."""
    scribe.settings |= {"SCRIBE_STATUS_INTERVAL": "1", "SCRIBE_FSYNC_INTERVAL": "1"}
    scribe.cluster.psql("CREATE TABLE t (x int PRIMARY KEY)", scribe.dbname)
    scribe.run("scribe-init")
    scribe.start_stream()
    for number in (1, 2, 3):
        scribe.cluster.query(f"INSERT INTO t VALUES ({number})", scribe.dbname)
    end = parse_lsn(scribe.cluster.value("SELECT pg_current_wal_lsn()"))
    slot = f"SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = '{scribe.slot}'"
    poll(lambda: parse_lsn(scribe.cluster.value(slot)) >= end, 30, "the confirmation")
    assert scribe.stop_stream() == 0
    scribe.start_stream()
    assert scribe.stop_stream() == 0
    return scribe.archive / "spool/stream.sql"


def assert_broken(scribe: Scribe, reason: str) -> None:
    """Assert that scribe-stream stops for a reason and says so on record, and that a new chain is the way out."""
    result = scribe.run("scribe-stream", check=False)
    assert result.returncode == 1
    assert reason in result.stderr
    assert "scribe-init" in result.stderr
    assert reason in json.loads((scribe.archive / "broken.json").read_text())["reason"]


@pytest.mark.parametrize("left", [b"", b"(2)"])
def test_an_end_of_the_spool_that_is_gone_breaks_the_chain(scribe: Scribe, stream: Path, left: bytes) -> None:
    text = stream.read_bytes()
    begin = text.rindex(b"BEGIN; -- xid", 0, text.index(left)) if left else 0
    stream.write_bytes(text[:begin])
    assert_broken(scribe, "and its end is gone")


@pytest.mark.parametrize("started_again", [True, False])
def test_damage_in_what_was_confirmed_breaks_the_chain_and_is_not_cut(
    scribe: Scribe, stream: Path, started_again: bool
) -> None:
    text = stream.read_bytes()
    second = text.rindex(b"BEGIN; -- xid", 0, text.index(b"(2)"))
    damaged = text[:second] + b"XEGIN" + text[second + 5 :]
    stream.write_bytes(damaged)
    if not started_again:  # then nothing says how much there was
        (scribe.archive / "spool/stream.json").unlink()
    assert_broken(scribe, "the server will not send it again")
    assert stream.read_bytes() == damaged
