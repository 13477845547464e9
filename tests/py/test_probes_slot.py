"""The checks of slot and stream: every alarm is provoked by its real condition, and cleared by what its hint says."""

from __future__ import annotations

import re
import signal
import subprocess

import pytest
from checking import check, state
from cluster import ROOT, poll, temporary_cluster
from source import Scribe


def test_a_stopped_stream_is_critical_until_it_is_started(watched):
    watched.stop_stream(signal.SIGKILL)
    poll(lambda: state(watched, "slot") == "WARNING", 30, "an idle slot")
    finding = check(watched, "stream")
    assert (finding["state"], finding["values"]["stream_running"]) == ("CRITICAL", 0)
    assert "scribe-stream" in finding["hint"]
    assert state(watched, "heartbeat") == "CRITICAL"
    watched.start_stream()
    assert [state(watched, name) for name in ("stream", "slot", "heartbeat")] == ["OK"] * 3


@pytest.mark.slow
def test_lag_beyond_the_limits_is_told_and_goes_when_the_stream_catches_up(watched):
    watched.stop_stream()
    watched.cluster.psql("INSERT INTO item SELECT n, repeat('x', 500) FROM generate_series(1000, 9000) AS n", "watched")
    bounds = {"SCRIBE_LAG_WARNING": "1MB", "SCRIBE_LAG_CRITICAL": "2MB", "SCRIBE_LAG_EMERGENCY": "1GB"}
    for name in ("lag", "confirmed"):
        finding = check(watched, name, **bounds)
        assert (finding["state"], finding["values"][f"{name}_bytes"] > 2 << 20) == ("CRITICAL", True)
        assert finding["limits"][f"{name}_bytes"] == {"warning": str(1 << 20), "critical": str(2 << 20)}
        assert state(watched, name, f"--{name}-critical", "1GB", **bounds) == "WARNING"
        assert state(watched, name, "-w", "1GB", "-c", "2GB", **bounds) == "OK"
        assert state(watched, name, "-c", "@0:10GB", **bounds) == "CRITICAL"
    emergency = check(watched, "lag", **bounds | {"SCRIBE_LAG_EMERGENCY": "3MB"})
    assert emergency["text"].startswith("EMERGENCY: ")
    command = re.findall(r'"(psql [^"]*)"', emergency["hint"])[0]
    shown = subprocess.run(command.split(), env=watched.env, capture_output=True, text=True, check=False)
    assert (shown.returncode, "scribe_watched" in shown.stdout, "nothing was changed" in shown.stderr) == (
        3,
        True,
        True,
    )
    watched.start_stream()
    watched.run("scribe-rotate", "--wait-lsn", "current")
    poll(lambda: state(watched, "confirmed", **bounds) == "OK", 60, "the confirmation")

    def caught_up():
        watched.cluster.query("CHECKPOINT")
        return state(watched, "lag", **bounds) == "OK"

    poll(caught_up, 60, "the end of the lag")


def test_a_slot_that_stands_still_is_told(watched):
    watched.stop_stream()
    poll(lambda: state(watched, "standstill", SCRIBE_SLOT_AGE_EMERGENCY="1s") == "CRITICAL", 30, "the alarm")
    assert "has not been read" in check(watched, "standstill", SCRIBE_SLOT_AGE_EMERGENCY="1s")["text"]
    watched.start_stream()
    assert state(watched, "standstill", SCRIBE_SLOT_AGE_EMERGENCY="1s") == "OK"


@pytest.mark.slow
def test_an_open_transaction_that_holds_the_slot_back_is_told(watched):
    with watched.cluster.connect("watched", autocommit=False) as conn:
        conn.execute("INSERT INTO item VALUES (-1, 'open')")
        watched.cluster.query("CHECKPOINT")
        watched.cluster.query("SELECT pg_switch_wal()")
        watched.cluster.psql("INSERT INTO item VALUES (-2, 'after')", "watched")
        poll(lambda: state(watched, "standstill", "-c", "1") == "CRITICAL", 30, "the alarm")
        finding = check(watched, "standstill", "-c", "1")
        assert "kept its oldest WAL" in finding["text"]
        assert "pg_prepared_xacts" in finding["hint"]
        conn.rollback()

    def advanced():
        watched.cluster.query("CHECKPOINT")
        watched.cluster.psql("DELETE FROM item WHERE id = -2", "watched")
        return state(watched, "standstill", "-c", "1") == "OK"

    poll(advanced, 60, "the slot's advance")


def test_the_age_of_what_the_slot_keeps_visible_is_told(watched):
    assert state(watched, "xmin", "-c", "100000") == "OK"
    watched.stop_stream()
    with watched.cluster.connect("watched") as conn:
        for _ in range(300):
            conn.execute("SELECT pg_current_xact_id()")
    finding = check(watched, "xmin", "-w", "100", "-c", "100000")
    assert (finding["state"], finding["values"]["xmin_transactions"] > 200) == ("WARNING", True)
    watched.start_stream()


@pytest.mark.slow
def test_a_slot_near_its_loss_and_a_lost_slot_are_critical(tmp_path):
    with temporary_cluster(max_slot_wal_keep_size="64MB", min_wal_size="32MB", max_wal_size="32MB") as cluster:
        cluster.createdb("shop")
        scribe = Scribe(cluster, "shop", tmp_path / "archive")
        scribe.run("scribe-init")
        assert check(scribe, "settings")["hint"] == ""

        def write_wal(segments):
            for _ in range(segments):
                cluster.query("SELECT pg_logical_emit_message(false, 'x', 'x'), pg_switch_wal()")
            cluster.query("CHECKPOINT")

        write_wal(3)
        finding = check(scribe, "wal")
        assert (finding["state"], finding["values"]["safe_wal_bytes"] > 0) == ("CRITICAL", True)
        # three files in less than a minute: the shortest time that a rate is taken over
        rate = finding["values"]["safe_wal_bytes"] / finding["values"]["wal_left_seconds"]
        assert rate == pytest.approx(3 * (16 << 20) / 60, rel=0.4)
        assert "at the present rate" in finding["text"]
        assert state(scribe, "wal", "-w", "0:", "-c", "0:") == "OK"
        write_wal(6)
        assert [state(scribe, name) for name in ("wal", "slot")] == ["CRITICAL", "CRITICAL"]
        hint = check(scribe, "slot")["hint"]
        assert "scribe-init" in hint
        assert scribe.run("scribe-stream", check=False).returncode == 1
        assert state(scribe, "chain") == "CRITICAL"
        scribe.run("scribe-init", "--no-base")
        scribe.start_stream()
        base = check(scribe, "base")
        assert (base["state"], base["text"].endswith("belongs to an older chain")) == ("CRITICAL", True)
        assert "scribe-dump" in base["hint"]
        scribe.run("scribe-dump")
        assert [state(scribe, name) for name in ("wal", "slot", "chain", "base")] == ["OK"] * 4
        scribe.stop_stream()


@pytest.mark.slow
def test_a_slot_that_was_dropped_and_a_server_set_back_to_replica_are_critical(tmp_path):
    with temporary_cluster() as cluster:
        cluster.createdb("shop")
        scribe = Scribe(cluster, "shop", tmp_path / "archive")
        scribe.run("scribe-init")
        drop = ["psql", "-d", "shop", "-v", "slot=scribe_shop", "-v", "confirm=scribe_shop", "-f"]
        scribe.start_stream()
        subprocess.run([*drop, ROOT / "sql/drop_slot.sql"], env=scribe.env, stdout=subprocess.DEVNULL, check=True)
        finding = check(scribe, "slot")
        assert (finding["state"], "scribe-init" in finding["hint"]) == ("CRITICAL", True)
        assert state(scribe, "settings") == "OK"
        scribe.kill_streams()
        cluster.query("ALTER SYSTEM SET wal_level = replica")
        cluster.stop()
        cluster.start()
        finding = check(scribe, "settings")
        if cluster.version_num >= 190000:  # whose WAL becomes logical with the first slot
            assert finding["state"] == "OK"
        else:
            assert (finding["state"], finding["text"]) == ("CRITICAL", "wal_level is replica, not logical")
            cluster.query(str(re.search(r'"(ALTER [^"]*)"', finding["hint"])[1]))
            cluster.stop()
            cluster.start()
        scribe.run("scribe-init")
        assert [state(scribe, name) for name in ("settings", "slot")] == ["OK", "WARNING"]


def test_transactions_that_decoding_spills_are_counted(watched):
    watched.cluster.psql(
        "INSERT INTO item SELECT n, repeat('y', 400) FROM generate_series(20000, 220000) AS n", "watched"
    )
    watched.run("scribe-rotate", "--wait-lsn", "current")
    poll(lambda: check(watched, "spill")["values"]["spilled_bytes"] > 0, 30, "the count")
    finding = check(watched, "spill", "-w", "1MB")
    assert (finding["state"], "logical_decoding_work_mem" in finding["hint"]) == ("WARNING", True)
    watched.cluster.query("SELECT pg_stat_reset_replication_slot('scribe_watched')")
    poll(lambda: state(watched, "spill", "-w", "1MB") == "OK", 30, "the count's end")  # before 15 a process tells it
