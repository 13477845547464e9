"""A slot that somebody else recreated or moved is noticed; one that merely followed an idle database is not."""

from __future__ import annotations

import json
from pathlib import Path

from cluster import poll
from source import Scribe

from scribe.spool import confirmed_position as confirmation

TIGHT = {"SCRIBE_STATUS_INTERVAL": "1", "SCRIBE_FSYNC_INTERVAL": "1"}


def confirmed(scribe: Scribe) -> int:
    query = "SELECT confirmed_flush_lsn - '0/0' FROM pg_replication_slots WHERE slot_name = '{}'"
    return int(scribe.cluster.value(query.format(scribe.slot)))


def follow_idle_database(scribe: Scribe) -> None:
    """Let the slot follow the WAL of another database, beyond this one's last transaction."""
    scribe.settings |= TIGHT
    scribe.cluster.psql("CREATE TABLE t (x int PRIMARY KEY)", scribe.dbname)
    scribe.run("scribe-init")
    scribe.start_stream()
    scribe.run("scribe-rotate", "--wait-lsn", "current")
    before = confirmed(scribe)
    scribe.cluster.query("CREATE TABLE IF NOT EXISTS elsewhere (x int)")
    scribe.cluster.query("INSERT INTO elsewhere SELECT generate_series(1, 10000)")
    scribe.cluster.query("CHECKPOINT")
    poll(lambda: confirmed(scribe) > before + 100_000, 60, "the slot following the WAL")


def test_a_slot_that_followed_an_idle_database_goes_on_after_sigkill(scribe: Scribe) -> None:
    follow_idle_database(scribe)
    scribe.kill_stream()
    scribe.start_stream()
    scribe.run("scribe-rotate", "--wait-lsn", "current")
    assert scribe.stop_stream() == 0


def test_a_slot_made_anew_under_the_same_name_breaks_the_chain(scribe: Scribe) -> None:
    follow_idle_database(scribe)
    scribe.stop_stream()
    cluster = scribe.cluster
    cluster.query(f"SELECT pg_drop_replication_slot('{scribe.slot}')")
    cluster.query("INSERT INTO t VALUES (1)", scribe.dbname)
    known = cluster.query("SELECT 1 FROM pg_settings WHERE name = 'output_plugin_libraries'")
    with cluster.connect(scribe.dbname, options="-c output_plugin_libraries=scribe_decoder" if known else "") as conn:
        conn.execute(f"SELECT pg_create_logical_replication_slot('{scribe.slot}', 'scribe_decoder')")  # type: ignore[arg-type]
    result = scribe.run("scribe-stream", check=False)
    assert result.returncode == 1
    assert "recreated or moved by somebody else" in result.stderr
    assert "scribe-init" in result.stderr
    assert json.loads((scribe.archive / "broken.json").read_text())["lsn"]


def test_the_highest_position_said_counts(tmp_path: Path) -> None:
    line = "pg_recvlogical: confirming write up to 0/20, flush to {} (slot s)\n"
    assert confirmation.highest(tmp_path, 0x10) == 0x10
    confirmation.begin(tmp_path, 0x18)
    confirmation.log_path(tmp_path).write_text(line.format("0/0") + line.format("1/30") + line.format("0/25")[:40])
    assert confirmation.highest(tmp_path, 0x10) == 0x1_0000_0030


def test_nothing_is_concluded_after_a_reboot(tmp_path: Path) -> None:
    """A power loss may have taken the last messages, which are not synced."""
    (tmp_path / "confirmed.json").write_text('{"lsn": "0/10", "boot": "another"}')
    assert confirmation.highest(tmp_path, 0x10) is None


def test_a_clean_stop_outlives_a_reboot(tmp_path: Path) -> None:
    confirmation.begin(tmp_path, 0x18)
    confirmation.log_path(tmp_path).write_text("pg_recvlogical: confirming write up to 0/20, flush to 0/30 (slot s)\n")
    confirmation.settle(tmp_path)
    confirmation.log_path(tmp_path).write_text("")
    assert confirmation.highest(tmp_path, 0x10) == 0x30
    record = json.loads((tmp_path / "confirmed.json").read_text())
    assert record["boot"] == "any"


def test_what_was_said_is_remembered_before_it_is_shortened(tmp_path: Path) -> None:
    confirmation.begin(tmp_path, 0x18)
    log = confirmation.log_path(tmp_path)
    log.write_text("pg_recvlogical: confirming write up to 0/20, flush to 0/30 (slot s)\n")
    confirmation.shorten(tmp_path)
    assert log.read_text() == ""
    assert confirmation.highest(tmp_path, 0x10) == 0x30


def test_the_messages_are_shortened_while_the_stream_goes_on_and_nothing_is_forgotten(scribe: Scribe) -> None:
    scribe.cluster.psql("CREATE TABLE t (a int PRIMARY KEY)", scribe.dbname)
    scribe.run("scribe-init", "--no-base")
    scribe.start_stream()
    scribe.cluster.psql("INSERT INTO t VALUES (1)", scribe.dbname)
    scribe.run("scribe-rotate", "--wait-lsn", "current")
    log = confirmation.log_path(scribe.archive / "spool")
    with log.open("ab") as stream:
        stream.write(b"pg_recvlogical: confirming write up to 0/1, flush to 0/1 (slot s)\n" * 20000)
    poll(lambda: log.stat().st_size < 100_000, 30, "a short log")
    scribe.cluster.psql("INSERT INTO t VALUES (2)", scribe.dbname)
    scribe.run("scribe-rotate", "--wait-lsn", "current")
    scribe.kill_stream()
    scribe.start_stream()
    scribe.cluster.psql("INSERT INTO t VALUES (3)", scribe.dbname)
    scribe.run("scribe-rotate", "--wait-lsn", "current")
    assert not (scribe.archive / "broken.json").exists()
