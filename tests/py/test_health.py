"""scribe-check: every alarm is provoked by its real condition, and cleared by doing what its hint says."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pytest
from aged import EPOCH
from checking import PROMPT, check, report, state
from cluster import ROOT, Cluster, poll, temporary_cluster
from handmade import Handmade
from source import Scribe

from scribe.checks import CHECKS
from scribe.health import Limit, State, parse_range, worst
from scribe.probes_server import check_server
from scribe.settings import load_settings
from scribe.survey import Survey


@pytest.fixture(scope="module")
def watched(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scribe]:
    """A source with a table, its archive, and a running stream. Each test leaves it healthy."""
    cluster.createdb("watched")
    scribe = Scribe(cluster, "watched", tmp_path_factory.mktemp("watched") / "archive", PROMPT)
    cluster.psql("CREATE TABLE item (id int PRIMARY KEY, word text); INSERT INTO item VALUES (1, 'one')", "watched")
    scribe.run("scribe-init")
    scribe.start_stream()
    cluster.psql("UPDATE item SET word = 'two'", "watched")
    scribe.run("scribe-rotate", "--wait-lsn", "current")
    yield scribe
    scribe.close()


@contextmanager
def server_setting(cluster: Cluster, name: str, value: str) -> Iterator[None]:
    """Set a setting of the server for one block, by reloading."""
    with cluster.connect() as conn:
        conn.execute(f"ALTER SYSTEM SET {name} = '{value}'")
        conn.execute("SELECT pg_reload_conf()")
        try:
            yield
        finally:
            conn.execute(f"ALTER SYSTEM RESET {name}")
            conn.execute("SELECT pg_reload_conf()")


# --- ranges -------------------------------------------------------------------------------------------------------


@pytest.mark.unit
@pytest.mark.parametrize(
    ("text", "unit", "inside", "outside"),
    [
        ("10", "count", [0, 10], [-1, 11]),
        ("10:", "count", [10, 99], [9]),
        ("~:10", "count", [-5, 10], [11]),
        ("10:20", "count", [10, 20], [9, 21]),
        ("@10:20", "count", [9, 21], [10, 15]),
        ("1GB", "bytes", [1 << 30], [(1 << 30) + 1]),
        ("@1h:2h", "seconds", [0, 9999], [3600, 7200]),
        ("80%", "percent", [80], [81]),
        ("0:", "count", [0, 1e12], [-1]),
    ],
)
def test_ranges_are_the_plugin_protocols_with_units(text, unit, inside, outside):
    limit = Limit(critical=parse_range(text, unit))
    assert [limit.judge(number) for number in inside] == [State.OK] * len(inside)
    assert [limit.judge(number) for number in outside] == [State.CRITICAL] * len(outside)


@pytest.mark.unit
@pytest.mark.parametrize("text", ["", "x", "1:2:3", "20:10", "10GB", "1@2", "@"])
def test_what_is_no_range_is_refused(text):
    with pytest.raises(ValueError, match="."):
        parse_range(text, "count")


@pytest.mark.unit
def test_what_is_critical_is_not_hidden_by_what_is_unknown():
    assert worst([State.UNKNOWN, State.CRITICAL, State.OK]) == State.CRITICAL
    assert worst([State.UNKNOWN, State.WARNING]) == State.UNKNOWN


# --- a healthy system ---------------------------------------------------------------------------------------------


def test_a_healthy_system_is_ok_in_every_check(watched):
    value = report(watched)
    assert {finding["name"]: finding["text"] for finding in value["checks"] if finding["state"] != "OK"} == {}
    assert len(value["checks"]) == 26
    assert (value["database"], value["slot"], value["archive"]) == ("watched", "scribe_watched", str(watched.archive))


# --- the stream and the slot --------------------------------------------------------------------------------------


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
    assert state(watched, "spill", "-w", "1MB") == "OK"


# --- the source ---------------------------------------------------------------------------------------------------


def test_a_table_that_lost_its_key_is_critical_until_it_has_an_identity(watched):
    watched.cluster.psql(
        "CREATE TABLE bare (id int PRIMARY KEY); ALTER EVENT TRIGGER scribe_4_end DISABLE; "
        "ALTER TABLE bare DROP CONSTRAINT bare_pkey; ALTER EVENT TRIGGER scribe_4_end ENABLE ALWAYS",
        "watched",
    )
    finding = check(watched, "identity")
    assert (finding["state"], "public.bare" in finding["hint"]) == ("CRITICAL", True)
    watched.cluster.psql(str(re.search(r'run "(ALTER TABLE .* FULL)"', finding["hint"])[1]), "watched")
    watched.cluster.psql("DROP TABLE bare", "watched")
    watched.run("scribe-dump")
    assert state(watched, "identity") == "OK"


def test_a_disabled_or_missing_event_trigger_is_critical(watched):
    watched.cluster.psql("ALTER EVENT TRIGGER scribe_2_drop DISABLE", "watched")
    finding = check(watched, "capture")
    assert (finding["state"], "disabled" in finding["text"]) == ("CRITICAL", True)
    watched.cluster.psql(str(re.search(r'"(ALTER [^"]*)"', finding["hint"])[1]), "watched")
    assert state(watched, "capture") == "OK"
    watched.cluster.psql("DROP EVENT TRIGGER scribe_2_drop", "watched")
    finding = check(watched, "capture")
    assert (finding["state"], "missing" in finding["text"]) == ("CRITICAL", True)
    watched.cluster.psql((ROOT / "sql/capture.sql").read_text(), "watched")
    assert state(watched, "capture") == "OK"


def test_event_triggers_that_are_switched_off_are_critical(watched):
    if watched.cluster.version_num < 170000:
        pytest.skip("server version: there is no setting event_triggers before 17")
    with server_setting(watched.cluster, "event_triggers", "off"):
        finding = check(watched, "capture")
        assert (finding["state"], "ALTER SYSTEM RESET event_triggers" in finding["hint"]) == ("CRITICAL", True)
    assert state(watched, "capture") == "OK"


def test_ddl_that_was_not_captured_is_told_until_a_base_holds_it(watched):
    assert state(watched, "ddl") == "OK"
    # its rows would have to be sent anew, and no column of it can be updated
    watched.cluster.psql("CREATE UNLOGGED TABLE lost (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY)", "watched")
    watched.cluster.psql("ALTER TABLE lost SET LOGGED", "watched")
    finding = check(watched, "ddl")
    assert (finding["state"], finding["values"]["lost_ddl"]) == ("CRITICAL", 1)
    assert ("ALTER TABLE" in finding["text"], "scribe-dump" in finding["hint"]) == (True, True)
    clear_ddl(watched)


def test_ddl_that_was_captured_inexactly_is_a_warning(watched):
    row = "('ddl', 'COMMENT', 'COMMENT ON TABLE public.item IS NULL', false, 'a test', 'postgres', '')"
    columns = "(kind, tag, statement, exact, reason, role, search_path)"
    watched.cluster.psql(f"INSERT INTO scribe.ddl_history {columns} VALUES {row}", "watched")
    finding = check(watched, "ddl")
    assert (finding["state"], finding["values"]["inexact_ddl"]) == ("WARNING", 1)
    assert state(watched, "ddl", "-w", "5") == "OK"
    clear_ddl(watched)


def clear_ddl(scribe: Scribe) -> None:
    """Take a base, in a later second than the change: manifests have whole seconds."""
    second = int(time.time())
    poll(lambda: int(time.time()) > second, 5, "the next second")
    scribe.run("scribe-dump")
    assert state(scribe, "ddl") == "OK"


def test_a_decoder_that_is_not_installed_is_critical(watched, tmp_path):
    archive = tmp_path / "archive"
    subprocess.run(["cp", "-R", watched.archive, archive], check=True)
    identity = json.loads((archive / "archive.json").read_text())
    (archive / "archive.json").write_text(json.dumps(identity | {"decoder": "no_such_decoder 1.0"}))
    finding = check(watched, "decoder", SCRIBE_ARCHIVE=str(archive))
    assert (finding["state"], "install-decoder" in finding["hint"]) == ("CRITICAL", True)
    assert state(watched, "slot", SCRIBE_ARCHIVE=str(archive)) == "CRITICAL"
    assert state(watched, "decoder") == "OK"


def test_client_programs_older_than_the_server_are_critical(watched, tmp_path):
    for name in ("pg_recvlogical", "pg_dump"):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\necho '{name} (PostgreSQL) 12.22'\n")
        program.chmod(0o755)
    finding = check(watched, "decoder", PATH=f"{tmp_path}:{watched.env['PATH']}")
    assert (finding["state"], "older than the server" in finding["text"]) == ("CRITICAL", True)
    assert "PATH" in finding["hint"]


def test_a_decoder_that_the_stream_may_not_use_is_a_warning_while_nobody_reads_the_slot(watched):
    allowed = "SELECT setting FROM pg_settings WHERE name = 'output_plugin_libraries'"
    if not watched.cluster.query(allowed):
        pytest.skip("server version: this minor release has no setting output_plugin_libraries")
    watched.cluster.psql((ROOT / "sql/monitor.sql").read_text(), "watched")
    watched.stop_stream()
    poll(lambda: state(watched, "slot") == "WARNING", 30, "an idle slot")
    finding = check(watched, "decoder", PGUSER="scribe_monitor")
    assert finding["state"] == "WARNING"
    libraries = str(re.search(r"SET (output_plugin_libraries = .*?)\"", finding["hint"])[1])
    watched.cluster.query(f"ALTER ROLE scribe_monitor SET {libraries}")
    assert state(watched, "decoder", PGUSER="scribe_monitor") == "OK"
    watched.cluster.query("ALTER ROLE scribe_monitor RESET output_plugin_libraries")
    watched.start_stream()


def test_clocks_that_differ_are_a_warning(watched, monkeypatch):
    for name, value in watched.env.items():
        monkeypatch.setenv(name, value)
    survey = Survey(load_settings(None, {}, watched.env), 5)
    with survey.conn:
        assert check_server(survey, Limit()).state == State.OK
        survey.server["skew"] = -90.0
        assert check_server(survey, Limit()).state == State.WARNING


def test_large_objects_are_told_or_refused(watched):
    watched.cluster.psql("SELECT lo_from_bytea(4711, 'x')", "watched")
    assert (state(watched, "large-objects"), state(watched, "large_objects", "-w", "0")) == ("OK", "WARNING")
    finding = check(watched, "large_objects", SCRIBE_LARGE_OBJECTS="refuse")
    assert (finding["state"], "lo_unlink" in finding["hint"]) == ("CRITICAL", True)
    watched.cluster.psql("SELECT lo_unlink(oid) FROM pg_largeobject_metadata", "watched")
    assert state(watched, "large_objects") == "OK"


def test_settings_that_can_lose_the_slot_are_advice_and_an_alarm_when_it_is_idle(watched):
    finding = check(watched, "settings")
    assert (finding["state"], finding["hint"].startswith("Advice: ")) == ("OK", True)
    if watched.cluster.version_num >= 180000:
        with server_setting(watched.cluster, "idle_replication_slot_timeout", "1d"):
            watched.stop_stream()
            poll(lambda: state(watched, "settings") == "WARNING", 30, "the alarm")
            watched.start_stream()
            assert state(watched, "settings") == "OK"


def test_another_server_or_database_is_critical(watched, tmp_path):
    Handmade(tmp_path / "foreign")
    finding = report(watched, "--only", "server,lag", SCRIBE_ARCHIVE=str(tmp_path / "foreign"))["checks"]
    assert [(f["name"], f["state"]) for f in finding] == [("server", "CRITICAL"), ("lag", "UNKNOWN")]
    finding = check(watched, "server", PGDATABASE="postgres")
    assert (finding["state"], "another database" in finding["text"]) == ("CRITICAL", True)


# --- the server away ----------------------------------------------------------------------------------------------


def test_a_server_that_is_away_is_critical_whatever_is_asked(watched, tmp_path):
    for arguments in ([], ["--only", "lag"]):
        value = report(watched, *arguments, PGHOST=str(tmp_path))
        states = {finding["name"]: finding["state"] for finding in value["checks"]}
        assert (value["state"], states["server"], states["lag"]) == ("CRITICAL", "CRITICAL", "UNKNOWN")
    refused = report(watched, "--only", "server", PGUSER="nobody_here")
    assert (refused["state"], "nobody_here" in refused["checks"][0]["text"]) == ("CRITICAL", True)


@pytest.mark.slow
def test_a_server_that_hangs_is_critical_within_the_timeout(tmp_path):
    with temporary_cluster() as cluster, socket.create_server(("127.0.0.1", 0)) as mute:
        cluster.createdb("shop")
        scribe = Scribe(cluster, "shop", tmp_path / "archive")
        scribe.run("scribe-init")
        somewhere = {"PGHOST": "127.0.0.1", "PGPORT": str(mute.getsockname()[1])}
        assert report(scribe, "-t", "2", **somewhere)["state"] == "CRITICAL"
        postmaster = int((cluster.data / "postmaster.pid").read_text().split()[0])
        os.kill(postmaster, signal.SIGSTOP)
        try:
            for seconds in (1, 4):
                value = report(scribe, "-t", str(seconds))
                assert value["seconds"] < seconds + 1  # by its own clock: a busy machine may take long to start it
                states = {finding["name"]: finding["state"] for finding in value["checks"]}
                assert (value["state"], states["server"], states["archive"]) == ("CRITICAL", "CRITICAL", "OK")
        finally:
            os.kill(postmaster, signal.SIGCONT)


def test_a_lock_on_a_table_of_the_user_does_not_matter(watched):
    with watched.cluster.connect("watched", autocommit=False) as conn:
        conn.execute("LOCK TABLE item IN ACCESS EXCLUSIVE MODE")
        value = report(watched)
        assert (value["state"], value["seconds"] < 3) == ("OK", True)
        conn.rollback()


def test_a_lock_on_the_audit_table_makes_one_check_unknown_and_blocks_nobody(watched):
    with watched.cluster.connect("watched", autocommit=False) as conn:
        conn.execute("LOCK TABLE scribe.ddl_history IN ACCESS EXCLUSIVE MODE")
        value = report(watched, "--no-heartbeat")
        assert [f["name"] for f in value["checks"] if f["state"] != "OK"] == ["ddl"]
        conn.rollback()


# --- the archive --------------------------------------------------------------------------------------------------


@contextmanager
def moved_away(path: Path) -> Iterator[None]:
    """Rename a file for one block."""
    aside = path.with_name(f"aside-{path.name}")
    path.rename(aside)
    try:
        yield
    finally:
        aside.rename(path)


@contextmanager
def emptied(path: Path) -> Iterator[None]:
    """Put an empty directory in the place of one for one block."""
    with moved_away(path):
        path.mkdir(mode=0o700)
        yield
        path.rmdir()


def test_looking_at_an_archive_changes_nothing_in_it(tmp_path, watched):
    archive = Handmade(tmp_path / "archive")
    archive.base("")
    archive.segment(["INSERT INTO t VALUES (1);\n"])

    def listing() -> dict[str, tuple[int, int]]:
        return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in archive.path.rglob("*")}

    before = listing()
    report(watched, SCRIBE_ARCHIVE=str(archive.path))
    assert listing() == before


def test_a_missing_or_damaged_archive_is_said_clearly(watched, tmp_path):
    missing = report(watched, SCRIBE_ARCHIVE=str(tmp_path / "nothing"))
    assert (missing["state"], missing["checks"][0]["name"]) == ("CRITICAL", "archive")
    with moved_away(watched.archive / "archive.json"):
        assert state(watched, "archive") == "CRITICAL"
        (watched.archive / "archive.json").write_text("{")
        assert state(watched, "base") == "UNKNOWN"
        (watched.archive / "archive.json").unlink()
    assert state(watched, "archive") == "OK"


def test_an_archive_that_belongs_to_another_user_is_unknown(watched):
    if os.geteuid():
        pytest.skip("not root: only root can become another user")
    command = ["setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups", ROOT / "bin/scribe-check"]
    result = subprocess.run(command, env=watched.env, capture_output=True, text=True, check=False)
    if "Permission denied" in result.stderr and "SCRIBE" not in result.stdout:
        pytest.skip("place: the checkout is in a directory closed to other users")
    assert (result.returncode, "SCRIBE UNKNOWN: archive" in result.stdout) == (3, True)


def test_a_broken_chain_a_missing_and_a_cut_segment_are_critical(watched):
    newest = sorted((watched.archive / "incremental").glob("*.sql.zst"))[-1]
    with moved_away(newest):
        finding = check(watched, "chain")
        assert (finding["state"], newest.name in finding["text"]) == ("CRITICAL", True)
    content = newest.read_bytes()
    newest.write_bytes(content[:-1])
    assert state(watched, "chain") == "CRITICAL"
    newest.write_bytes(content)
    assert state(watched, "chain") == "OK"


def test_a_segment_missing_from_the_middle_is_critical(tmp_path, watched):
    archive = Handmade(tmp_path / "archive")
    archive.base("")
    paths = [archive.segment(["INSERT INTO t VALUES (1);\n"]) for _ in range(5)]
    settings = {"SCRIBE_ARCHIVE": str(archive.path)}
    assert state(watched, "chain", **settings) == "OK"
    manifest = json.loads(paths[2].read_text())
    paths[2].with_name(manifest["file"]).unlink()
    assert state(watched, "chain", **settings) == "CRITICAL"
    paths[2].unlink()
    assert "begins at" in check(watched, "chain", **settings)["text"]


def test_changes_that_wait_too_long_for_a_rotation_are_told(watched):
    watched.run("scribe-rotate", "--wait-lsn", "current")
    watched.cluster.psql("INSERT INTO item VALUES (-9, 'waits'); DELETE FROM item WHERE id = -9", "watched")
    poll(lambda: state(watched, "segment", "-w", "0") == "WARNING", 30, "the wait")
    hint = check(watched, "segment", "-c", "0")["hint"]
    assert "scribe-rotate" in hint
    watched.run("scribe-rotate")
    poll(lambda: watched.run("scribe-rotate") and state(watched, "segment", "-w", "0") == "OK", 30, "the rotation")


def test_a_missing_base_and_an_old_one_are_told(watched):
    with emptied(watched.archive / "base"):
        finding = check(watched, "base")
        assert (finding["state"], "scribe-dump" in finding["hint"]) == ("CRITICAL", True)
    poll(lambda: state(watched, "base", "-w", "0", "-c", "1h") == "WARNING", 30, "the warning")
    assert state(watched, "base") == "OK"


def test_missing_globals_and_metadata_are_told(watched):
    with emptied(watched.archive / "globals"), emptied(watched.archive / "base"):
        assert (state(watched, "globals"), state(watched, "metadata")) == ("CRITICAL", "WARNING")
        for name in ("globals", "metadata"):
            watched.run(str(re.search(r'"(scribe-\w+)"', check(watched, name)["hint"])[1]))
            assert state(watched, name) == "OK"
        for path in (watched.archive / "globals").iterdir():
            path.unlink()


@pytest.mark.parametrize(("name", "file"), [("verification", "verify.json"), ("rehearsal", "rehearsal.json")])
def test_a_forgotten_verification_is_told(watched, name, file):
    path = watched.archive / file
    assert check(watched, name)["text"] == "none yet"
    assert state(watched, name, "-w", "0") == "WARNING"
    path.write_text(json.dumps({"time": "2026-01-01T00:00:00Z", "ok": True}))
    assert (state(watched, name), state(watched, name, "-c", "20000d")) == ("CRITICAL", "WARNING")
    path.write_text("[]")
    assert state(watched, name) == "WARNING"
    path.unlink()


def test_a_damaged_file_is_critical_from_its_verification_until_the_next(watched):
    newest = sorted((watched.archive / "incremental").glob("*.sql.zst"))[-1]
    content = newest.read_bytes()
    newest.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    try:
        assert state(watched, "verification") == "OK"
        assert watched.run("scribe-verify", check=False).returncode == 1
        finding = check(watched, "verification")
        assert (finding["state"], newest.name in finding["text"]) == ("CRITICAL", True)
    finally:
        newest.write_bytes(content)
    watched.run("scribe-verify")
    finding = check(watched, "verification")
    assert (finding["state"], finding["values"]["verification_succeeded"]) == ("OK", 1)
    (watched.archive / "verify.json").unlink()


@pytest.mark.slow
def test_a_rehearsal_is_seen(watched):
    watched.run("scribe-verify", "--rehearse")
    assert check(watched, "rehearsal")["values"]["rehearsal_succeeded"] == 1
    path = watched.archive / "rehearsal.json"
    value = json.loads(path.read_text()) | {"ok": False, "differences": ["table item has 3 rows, not 4"]}
    path.write_text(json.dumps(value))
    finding = check(watched, "rehearsal")
    assert (finding["state"], "3 rows, not 4" in finding["text"]) == ("CRITICAL", True)
    path.unlink()


def test_a_full_disk_is_told(watched, tmp_path):
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "x", tmp_path], check=False).returncode:
        pytest.skip("not root: only root can mount a small file system")
    try:
        archive = Handmade(tmp_path / "archive")
        settings = {"SCRIBE_ARCHIVE": str(archive.path), "SCRIBE_DISK_WARNING": "50%"}
        assert state(watched, "disk", **settings) == "OK"
        (tmp_path / "filler").write_bytes(bytes(700_000))
        assert state(watched, "disk", **settings) == "WARNING"
        with suppress(OSError), (tmp_path / "more").open("wb", buffering=0) as stream:
            while stream.write(bytes(4096)):
                pass
        finding = check(watched, "disk", **settings)
        assert (finding["state"], "scribe-prune" in finding["hint"]) == ("CRITICAL", True)
        (tmp_path / "filler").unlink()
        (tmp_path / "more").unlink()
        assert state(watched, "disk", **settings) == "OK"
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_the_time_until_the_disk_is_full_is_told(watched, tmp_path):
    archive = Handmade(tmp_path / "archive")
    archive.base("")
    assert "disk_left_seconds" not in check(watched, "disk", SCRIBE_ARCHIVE=str(archive.path))["values"]
    archive.xid += int(time.time() - EPOCH.timestamp()) - 3600  # an hour of segments up to now
    paths = []
    for _ in range(4):
        archive.xid += 1199
        paths.append(archive.segment([f"INSERT INTO t VALUES ('{secrets.token_hex(4096)}');\n"]))
    finding = check(watched, "disk", SCRIBE_ARCHIVE=str(archive.path))
    rate = sum(json.loads(path.read_text())["bytes"] for path in paths[1:]) / 3600
    left = finding["values"]["disk_left_seconds"]
    assert left == pytest.approx(finding["values"]["disk_free_bytes"] / rate, rel=0.4)
    assert "of segments" in finding["text"]


def test_files_that_the_archive_command_does_not_take_are_told(watched):
    watched.cluster.psql("UPDATE item SET word = 'three' WHERE id = 1", "watched")
    watched.run("scribe-rotate", "--wait-lsn", "current", env={"SCRIBE_ARCHIVE_COMMAND": "false"})
    poll(lambda: state(watched, "shipping", "-w", "0") == "WARNING", 30, "the warning")
    assert check(watched, "shipping", "-w", "0")["values"]["unsent_files"] > 0
    watched.run("scribe-rotate", env={"SCRIBE_ARCHIVE_COMMAND": "true"})
    assert state(watched, "shipping", "-w", "0") == "OK"


def test_an_archive_of_10000_segments_takes_less_than_a_second(tmp_path, watched):
    archive = Handmade(tmp_path / "archive")
    archive.base("")
    first = archive.segment(["INSERT INTO t VALUES (1);\n"])
    for number in range(10_000):
        stem = f"20261121T{number // 3600:02}{number // 60 % 60:02}{number % 60:02}Z-{number:016X}"
        for end, source in ((".json", first), (".sql.zst", first.with_suffix(".sql.zst"))):
            os.link(source, archive.path / f"incremental/{stem}{end}")
    identity = json.loads((watched.archive / "archive.json").read_text())
    (archive.path / "archive.json").write_text(json.dumps(identity | {"chain_from_lsn": "0/0"}))
    report(watched, SCRIBE_ARCHIVE=str(archive.path))  # files are in memory, as they are where a check runs each minute

    def measure(path: Path) -> tuple[float, int]:
        env = watched.env | {"SCRIBE_ARCHIVE": str(path)}
        with subprocess.Popen([ROOT / "bin/scribe-check"], env=env, stdout=subprocess.PIPE, text=True) as process:
            text = process.stdout.read()
            _, _, usage = os.wait4(process.pid, 0)
            process.returncode = 0
        assert "[UNKNOWN]" not in text, text
        assert f"segments={'10001' if path == archive.path else ''}" in text
        return usage.ru_utime + usage.ru_stime, usage.ru_maxrss  # seconds of a processor: the machine may be busy

    runs = [measure(archive.path) for _ in range(3)]
    assert min(seconds for seconds, _ in runs) < 1
    assert min(kilobytes for _, kilobytes in runs) < min(measure(watched.archive)[1] for _ in range(3)) + 2048


# --- use and formats ----------------------------------------------------------------------------------------------


def run(scribe: Scribe, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run scribe-check and return what it printed."""
    return scribe.run("scribe-check", *arguments, check=False, env=settings)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--only", "nothing"], 'there is no check "nothing"'),
        (["-w", "10"], "takes a range only where one check is chosen"),
        (["--only", "lag", "-w", "1:2:3"], "invalid warning range"),
        (["--only", "lag", "--base-critical", "x"], "invalid critical range for base"),
        (["--only", "slot", "-w", "10"], "measures something"),
        (["-t", "0"], "timeout"),
        (["--format", "xml"], "invalid choice"),
        (["surplus"], "surplus"),
    ],
)
def test_wrong_use_is_unknown_in_one_status_line(watched, arguments, said):
    result = run(watched, *arguments)
    assert (result.returncode, result.stderr) == (3, "")
    assert result.stdout.startswith("SCRIBE UNKNOWN: configuration: ")
    assert said in result.stdout.splitlines()[0]


@pytest.mark.parametrize("text", ["base-warning", "nothing-warning=1", "slot-critical=1", "lag-warning=1:2:3", "lag=1"])
def test_a_setting_of_limits_that_is_none_is_unknown(watched, text):
    result = run(watched, SCRIBE_CHECK_LIMITS=text)
    assert (result.returncode, result.stderr) == (3, "")
    assert re.match(r"SCRIBE UNKNOWN: configuration: .*(SCRIBE_CHECK_LIMITS|invalid)", result.stdout)


def test_every_check_that_measures_can_be_limited_by_flags_and_by_the_setting(watched):
    limited = [check.name for check in CHECKS if check.unit]
    words = [f"{name.replace('_', '-')}-critical=@~:" for name in limited]
    expected = set(limited) - {"wal", "shipping"}  # nothing is measured: no bound is set, nothing waits
    for arguments, text in (([f"--{word}" for word in words], ""), ([], " ".join(words))):
        value = report(watched, *arguments, SCRIBE_CHECK_LIMITS=text)
        assert {f["name"] for f in value["checks"] if f["state"] == "CRITICAL"} == expected
    assert state(watched, "base", "-c", "1d", SCRIBE_CHECK_LIMITS=" ".join(words)) == "OK"


def test_a_w_that_stands_alone_is_no_password_as_in_psql(watched):
    assert run(watched, "-w", "--only", "lag,slot").returncode == 0
    assert run(watched, "--no-password", "--only", "lag").returncode == 0


_PERFORMANCE = re.compile(
    r"^(?P<label>[a-z_0-9]+)=(?P<value>-?\d+(\.\d+)?)(?P<unit>B|s|%|)(;[@~:\d.]*){0,2}(;-?\d*){0,2}$"
)


def test_nagios_gets_a_status_line_performance_data_and_a_line_for_each_check(watched):
    result = run(watched)
    first, *rest = result.stdout.splitlines()
    text, _, performance = first.partition(" | ")
    assert (result.returncode, text) == (0, "SCRIBE OK: watched: 26 checks")
    assert all(_PERFORMANCE.match(item) for item in performance.split())
    assert {"lag_bytes", "heartbeat_delay_seconds", "disk_used_percent"} <= {
        p.split("=")[0] for p in performance.split()
    }
    assert len(rest) == 26
    assert not any("|" in line for line in rest)
    assert len(run(watched, "-q").stdout.splitlines()) == 1


def test_nagios_is_told_the_worst_first(watched):
    first = run(watched, "--only", "lag,base", "--base-critical", "@0:", "--lag-warning", "@0:").stdout.splitlines()[0]
    assert re.match(r"SCRIBE CRITICAL: watched: base: .* \(and 1 more\) \| ", first)


def test_prometheus_gets_moments_in_base_units_in_a_file_written_in_one_step(watched, tmp_path):
    from prometheus_client.parser import text_string_to_metric_families

    output = tmp_path / "scribe.prom"
    result = run(watched, "--format", "prometheus", "--output", str(output))
    assert (result.returncode, result.stdout, os.listdir(tmp_path)) == (0, "", ["scribe.prom"])
    assert output.stat().st_mode & 0o777 == 0o644
    families = {family.name: family for family in text_string_to_metric_families(output.read_text())}
    assert all(family.documentation for family in families.values())
    counters = {name for name, family in families.items() if family.type != "gauge"}
    words = [f"scribe_{what}_{unit}" for what in ("spilled", "decoded") for unit in ("bytes", "transactions")]
    assert counters == (set(words) if watched.cluster.version_num >= 140000 else set())
    assert {families[name].type for name in counters} <= {"counter"}
    assert all(sample.timestamp is None for family in families.values() for sample in family.samples)
    assert not any(name.endswith("_age_seconds") for name in families)
    assert {sample.labels["check"] for sample in families["scribe_check_state"].samples} >= {"lag", "heartbeat"}
    assert 0 <= families["scribe_disk_used_ratio"].samples[0].value <= 1
    assert abs(families["scribe_heartbeat_timestamp_seconds"].samples[0].value - time.time()) < 60
    assert families["scribe_info"].samples[0].labels["database"] == "watched"


def test_what_is_not_ok_is_said_in_one_line_beside_the_output_file(watched, tmp_path):
    limits = ["--only", "base", "--base-critical", "@0:"]
    arguments = [*limits, "--format", "prometheus", "--output", str(tmp_path / "out")]
    result = run(watched, *arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert re.fullmatch(r"SCRIBE CRITICAL: watched: base: [^|\n]+\n", result.stderr)
    assert run(watched, *arguments, "-q").stderr == ""


def test_an_output_that_cannot_be_written_is_unknown(watched, tmp_path):
    result = run(watched, "--only", "lag", "--output", str(tmp_path / "absent/file"))
    assert (result.returncode, "could not write" in result.stderr) == (3, True)


def test_a_person_on_a_terminal_gets_a_table(watched):
    command = ["script", "-qec", f"{ROOT}/bin/scribe-check --only lag,base", "/dev/null"]
    text = subprocess.run(command, env=watched.env, capture_output=True, text=True, check=False).stdout
    assert re.search(r"(?m)^OK        lag   .* of WAL kept for the slot\r?$", text), text


def test_a_role_without_superuser_can_run_every_check(watched):
    watched.cluster.psql((ROOT / "sql/monitor.sql").read_text(), "watched")
    rows = watched.cluster.value(
        "SELECT count(*) FROM scribe.ddl_history WHERE tag LIKE '%VIEW%' OR tag = 'GRANT'", "watched"
    )
    assert rows == 0
    assert run(watched, PGUSER="scribe_monitor").stdout.splitlines()[0].startswith("SCRIBE OK: watched: 26 checks")
    with watched.cluster.connect("watched", user="scribe_monitor") as conn:
        assert conn.execute("SELECT slot_name, active FROM scribe.slots").fetchall() == [("scribe_watched", True)]
        for view in ("spill", "inexact_ddl", "tables_without_key"):
            conn.execute(f"SELECT * FROM scribe.{view}").fetchall()
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute("SELECT token FROM scribe.config")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute("SELECT statement FROM scribe.ddl_history")
