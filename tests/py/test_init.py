"""scribe-init: requirements, a first base, repair, and taking everything away."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cluster import ROOT, Cluster, poll, temporary_cluster
from source import Scribe
from wrapping import wrap_program

from scribe.archive.layout import Archive
from scribe.archive.manifest import read_manifest
from scribe.common.errors import TryAgainError
from scribe.source.slot import create_slot

SOME_TABLES = """
CREATE TABLE keyed (id int PRIMARY KEY, v text);
INSERT INTO keyed SELECT g, 'x' FROM generate_series(1, 100) AS g;
CREATE TABLE "no key" (x int);
CREATE TABLE deferred (x int PRIMARY KEY DEFERRABLE);
CREATE SCHEMA other;
CREATE TABLE other.nothing (x int PRIMARY KEY);
ALTER TABLE other.nothing REPLICA IDENTITY FULL;
"""


def schema_of(scribe: Scribe) -> list[str]:
    """Return pg_dump's schema of the source without its random lines."""
    command = [f"{scribe.cluster.bindir}/pg_dump", "-s", scribe.dbname]
    text = subprocess.run(command, env=scribe.cluster.env, capture_output=True, text=True, check=True).stdout
    return [line for line in text.splitlines() if not re.match(r"\\(un)?restrict ", line)]


def slots_of(scribe: Scribe) -> list[str]:
    """Return the names of the source's replication slots."""
    query = f"SELECT slot_name FROM pg_replication_slots WHERE database = '{scribe.dbname}'"
    return [row[0] for row in scribe.cluster.query(query)]


def files_of(scribe: Scribe) -> dict[str, bytes]:
    """Return every file of the archive with what is in it."""
    return {str(p.relative_to(scribe.archive)): p.read_bytes() for p in scribe.archive.rglob("*") if p.is_file()}


def test_makes_an_archive_whose_base_restores_with_psql_alone(scribe: Scribe, cluster: Cluster) -> None:
    cluster.psql(SOME_TABLES, scribe.dbname)
    report = scribe.run("scribe-init").stdout
    assert re.search(r"^ok +wal_level: logical$", report, re.M)
    assert re.search(r"^warning +max_slot_wal_keep_size: not set", report, re.M)
    archive = Archive(scribe.archive)
    identity = archive.identity()
    assert identity["slot"] == scribe.slot
    assert json.loads((archive.spool / "spool.json").read_text())["spool_id"] == identity["spool_id"]
    assert [base.manifest["consistent_point_lsn"] for base in archive.bases()] == [identity["chain_from_lsn"]]
    assert slots_of(scribe) == [scribe.slot]
    target = f"{scribe.dbname}_copy"
    scribe.restore_with_psql(target)
    assert cluster.value("SELECT count(*) FROM keyed", target) == 100
    here = f"SELECT lsn = '{identity['chain_from_lsn']}', inside FROM scribe.position"
    assert cluster.query(here, target) == [(True, False)]
    assert cluster.query("SELECT evtname FROM pg_event_trigger", target) == []
    cluster.dropdb(target)


def test_gives_tables_without_a_replica_identity_full(scribe: Scribe, cluster: Cluster) -> None:
    cluster.psql(SOME_TABLES, scribe.dbname)
    report = scribe.run("scribe-init", "--no-base").stdout
    assert 'replica identity: 2 tables without a usable one: "public"."deferred", "public"."no key"' in report
    full = "SELECT relname FROM pg_class WHERE relreplident = 'f' AND relnamespace <> 'scribe'::regnamespace ORDER BY 1"
    assert cluster.query(full, scribe.dbname) == [("deferred",), ("no key",), ("nothing",)]


def test_refuses_tables_without_a_replica_identity_where_asked_to(scribe: Scribe, cluster: Cluster) -> None:
    cluster.psql(SOME_TABLES, scribe.dbname)
    result = scribe.run("scribe-init", check=False, env={"SCRIBE_REPLICA_IDENTITY": "refuse"})
    assert result.returncode == 1
    assert "requirements: replica identity" in result.stderr
    assert not scribe.archive.exists()
    assert slots_of(scribe) == []


def test_a_second_run_changes_nothing(scribe: Scribe, cluster: Cluster) -> None:
    cluster.psql(SOME_TABLES, scribe.dbname)
    scribe.run("scribe-init")
    before, schema = files_of(scribe), schema_of(scribe)
    result = scribe.run("scribe-init", "-v")
    assert "everything is in place" in result.stderr
    assert files_of(scribe) == before
    assert schema_of(scribe) == schema


def test_an_event_trigger_that_was_dropped_is_made_again(scribe: Scribe, cluster: Cluster) -> None:
    scribe.run("scribe-init", "--no-base")
    cluster.psql('DROP EVENT TRIGGER "!scribe_2_drop"', scribe.dbname)
    assert "would install the capture objects" in scribe.run("scribe-init", "--no-base", "-n").stdout
    result = scribe.run("scribe-init", "--no-base")
    assert "schema changes made while the capture objects were missing are not in the stream" in result.stderr
    made = "SELECT evtenabled::text FROM pg_event_trigger WHERE evtname = '!scribe_2_drop'"
    assert cluster.query(made, scribe.dbname) == [("A",)]


def test_check_only_and_dry_run_change_nothing(scribe: Scribe, cluster: Cluster) -> None:
    cluster.psql(SOME_TABLES, scribe.dbname)
    schema = schema_of(scribe)
    checks = json.loads(scribe.run("scribe-init", "--check-only", "--json").stdout)
    assert {check["verdict"] for check in checks} <= {"ok", "warning"}
    planned = scribe.run("scribe-init", "-n").stdout
    assert f'would create replication slot "{scribe.slot}"' in planned
    assert "would take a base" in planned
    assert not scribe.archive.exists()
    assert schema_of(scribe) == schema
    assert slots_of(scribe) == []


def test_remove_leaves_no_trace_in_the_source(scribe: Scribe, cluster: Cluster) -> None:
    cluster.psql(SOME_TABLES, scribe.dbname)
    before = schema_of(scribe)
    scribe.run("scribe-init")
    assert "would drop replication slot" in scribe.run("scribe-init", "--remove", "-n").stdout
    assert slots_of(scribe) == [scribe.slot]
    scribe.run("scribe-init", "--remove")
    assert schema_of(scribe) == before
    assert slots_of(scribe) == []
    assert len(Archive(scribe.archive).bases()) == 1
    scribe.run("scribe-init", "--remove")


def test_what_fails_half_way_is_undone(scribe: Scribe, cluster: Cluster, tmp_path: Path) -> None:
    cluster.psql(SOME_TABLES, scribe.dbname)
    before = schema_of(scribe)
    for program in ("pg_dump", "pg_dumpall"):
        text = f'echo "{program}: error: no such luck" >&3; exit 1'
        failing = wrap_program(tmp_path / program, cluster, program, text)
        result = scribe.run("scribe-init", check=False, env=failing)
        assert result.returncode == 1
        assert "no such luck" in result.stderr
        assert slots_of(scribe) == []
        assert schema_of(scribe) == before
        assert not scribe.archive.exists()
    scribe.run("scribe-init")


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["pg_dump", "pg_dumpall"])
def test_a_killed_run_is_repaired_by_the_next(scribe: Scribe, cluster: Cluster, tmp_path: Path, moment: str) -> None:
    cluster.psql(SOME_TABLES, scribe.dbname)
    env = wrap_program(tmp_path / "wrap", cluster, moment, "[ $count -gt 1 ] || kill -9 $PPID")
    assert scribe.run("scribe-init", check=False, env=env).returncode == -signal.SIGKILL
    assert not (scribe.archive / "archive.json").exists()
    scribe.run("scribe-init", env=env)
    archive = Archive(scribe.archive)
    assert [base.manifest["consistent_point_lsn"] for base in archive.bases()] == [archive.identity()["chain_from_lsn"]]
    assert not list(archive.bases_path.glob(".tmp-*"))
    assert slots_of(scribe) == [scribe.slot]
    assert not (archive.spool / "init.json").exists()


@pytest.mark.slow
def test_sigterm_undoes_what_was_begun(scribe: Scribe, cluster: Cluster, tmp_path: Path) -> None:
    env = wrap_program(tmp_path / "wrap", cluster, "pg_dump", "kill -TERM $PPID; exec sleep 60")
    started = time.monotonic()
    assert scribe.run("scribe-init", check=False, env=env).returncode == 1
    assert time.monotonic() - started < 30
    assert slots_of(scribe) == []
    assert not scribe.archive.exists()


@pytest.mark.slow
def test_waits_for_a_transaction_in_any_database_and_names_it(scribe: Scribe, cluster: Cluster) -> None:
    with cluster.connect("postgres", autocommit=False) as other:
        pid = other.info.backend_pid
        other.execute("SELECT pg_current_xact_id()")
        result = scribe.run("scribe-init", "--wait", "1", check=False)
        assert result.returncode == 75
        assert f"process {pid} (user postgres, database postgres, idle in transaction" in result.stderr
        assert slots_of(scribe) == []
        assert not scribe.archive.exists()
        other.rollback()
    scribe.run("scribe-init")


@pytest.mark.slow
def test_names_a_prepared_transaction(scribe: Scribe, cluster: Cluster) -> None:
    cluster.psql("BEGIN; CREATE TABLE p (x int); PREPARE TRANSACTION 'forgotten one';", "postgres")
    try:
        result = scribe.run("scribe-init", "--wait", "1", check=False)
        assert result.returncode == 75
        assert "prepared transaction 'forgotten one'" in result.stderr
    finally:
        cluster.psql("ROLLBACK PREPARED 'forgotten one';", "postgres")


@pytest.mark.slow
def test_several_waits_last_no_longer_than_one_may(
    scribe: Scribe, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server counts from the beginning of each."""
    for name, value in scribe.env.items():
        if name.startswith("PG"):
            monkeypatch.setenv(name, value)
    waits = "SELECT 1 FROM pg_locks WHERE locktype = 'transactionid' AND clock_timestamp() - waitstart > '1.2 s'"
    with (
        cluster.connect(scribe.dbname) as conn,
        cluster.connect(autocommit=False) as first,
        cluster.connect(autocommit=False) as second,
        ThreadPoolExecutor(1) as pool,
    ):
        first.execute("SELECT pg_current_xact_id()")
        made = pool.submit(create_slot, conn, "waits", "scribe_decoder", temporary=True, wait=2)
        poll(lambda: cluster.query(waits), 30, "a wait")
        second.execute("SELECT pg_current_xact_id()")
        first.rollback()
        with pytest.raises(TryAgainError, match="within 2 s: it waits for") as caught:
            made.result()
    assert isinstance(caught.value.__context__, psycopg.errors.QueryCanceled)  # not LockNotAvailable


def test_a_slot_whose_snapshot_is_too_large_is_tried_again(
    scribe: Scribe, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A snapshot has room for as many transactions, savepoints included, as the server has for sessions."""
    for name, value in scribe.env.items():
        if name.startswith("PG"):
            monkeypatch.setenv(name, value)
    cluster.psql("CREATE TABLE t (id int)", scribe.dbname)
    xid = "SELECT pg_current_xact_id()::xid"
    savepoints = (
        "DO $$ BEGIN FOR i IN 1..300 LOOP"
        " BEGIN INSERT INTO t VALUES (i); EXCEPTION WHEN OTHERS THEN NULL; END; END LOOP; END $$"
    )

    def poll_waiting(other: psycopg.Connection[Any]) -> None:
        waits = "SELECT 1 FROM pg_locks WHERE NOT granted AND transactionid::text = '{}'"
        query = waits.format((other.execute(xid.encode()).fetchone() or [None])[0])
        poll(lambda: cluster.query(query), 30, "a wait")

    with (
        cluster.connect(scribe.dbname) as conn,
        cluster.connect(scribe.dbname, autocommit=False) as first,
        cluster.connect(scribe.dbname, autocommit=False) as second,
        cluster.connect(scribe.dbname, autocommit=False) as third,
        ThreadPoolExecutor(1) as pool,
    ):
        first.execute(xid.encode())
        made = pool.submit(create_slot, conn, "again", "scribe_decoder", temporary=True, wait=60)
        poll_waiting(first)
        second.execute(xid.encode())
        first.rollback()
        poll_waiting(second)
        third.execute(savepoints.encode())  # nobody waits for it: it began late
        cluster.query(xid)
        second.rollback()
        poll_waiting(third)  # but in another attempt
        third.rollback()
        made.result().conn.close()


def test_a_locked_table_is_named(scribe: Scribe, cluster: Cluster) -> None:
    cluster.psql(SOME_TABLES, scribe.dbname)
    with cluster.connect(scribe.dbname, autocommit=False) as other:
        other.execute('SELECT count(*) FROM "no key"')
        result = scribe.run("scribe-init", "--wait", "1", check=False)
        assert result.returncode == 75
        assert '"public"."no key"' in result.stderr
    assert cluster.query("SELECT 1 FROM pg_namespace WHERE nspname = 'scribe'", scribe.dbname) == []


def test_an_archive_of_another_database_is_refused(scribe: Scribe, cluster: Cluster, database: str) -> None:
    scribe.run("scribe-init")
    before = files_of(scribe)
    for arguments in ([], ["--check-only"], ["--remove"]):
        result = scribe.run("scribe-init", *arguments, check=False, env={"PGDATABASE": database})
        assert result.returncode == 2
        assert "the archive belongs to another database" in result.stderr
    assert files_of(scribe) == before
    assert slots_of(scribe) == [scribe.slot]


def test_a_slot_of_another_archive_is_refused(scribe: Scribe, tmp_path: Path) -> None:
    scribe.run("scribe-init", "--no-base")
    result = scribe.run("scribe-init", check=False, env={"SCRIBE_ARCHIVE": str(tmp_path / "second")})
    assert result.returncode == 2
    assert f'replication slot "{scribe.slot}" exists and does not belong to this archive' in result.stderr
    assert slots_of(scribe) == [scribe.slot]
    assert not (tmp_path / "second").exists()


def test_a_directory_in_use_is_refused(scribe: Scribe) -> None:
    scribe.archive.mkdir()
    (scribe.archive / "letters").mkdir()
    result = scribe.run("scribe-init", check=False)
    assert result.returncode == 2
    assert 'holds "letters" and no archive' in result.stderr
    assert [entry.name for entry in scribe.archive.iterdir()] == ["letters"]
    assert slots_of(scribe) == []


@pytest.mark.slow
def test_a_second_init_at_the_same_time_is_told_to_wait(scribe: Scribe, cluster: Cluster, tmp_path: Path) -> None:
    wait = f"touch {tmp_path}/there; until [ -e {tmp_path}/go ]; do sleep 0.1; done"
    env = scribe.env | wrap_program(tmp_path / "wrap", cluster, "pg_dump", wait)
    with subprocess.Popen([ROOT / "bin/scribe-init", "-q"], env=env) as first:
        poll((tmp_path / "there").exists, 30, "the first one's pg_dump")
        result = scribe.run("scribe-init", check=False)
        (tmp_path / "go").touch()
        assert result.returncode == 75
        assert "another scribe-init is at work" in result.stderr
        assert first.wait() == 0
    assert len(Archive(scribe.archive).bases()) == 1


def test_a_lost_slot_begins_a_new_chain(scribe: Scribe, cluster: Cluster) -> None:
    scribe.run("scribe-init")
    archive = Archive(scribe.archive)
    before = archive.identity()
    cluster.query(f"SELECT pg_drop_replication_slot('{scribe.slot}')")
    (archive.spool / "stream.sql").write_text("rest of the old stream")
    archive.declare_broken("the slot is gone", 1)
    assert "would give up the chain: the slot is gone" in scribe.run("scribe-init", "-n").stdout
    result = scribe.run("scribe-init")
    assert "was moved to" in result.stderr
    after = archive.identity()
    assert after["spool_id"] != before["spool_id"]
    assert archive.broken() is None
    assert archive.bases()[-1].manifest["consistent_point_lsn"] == after["chain_from_lsn"]
    assert len(archive.bases()) == 2
    assert [p.read_text() for p in archive.spool.glob("old-*/stream.sql")] == ["rest of the old stream"]


def test_a_base_that_was_left_out_is_taken_later(scribe: Scribe) -> None:
    scribe.run("scribe-init", "--no-base")
    archive = Archive(scribe.archive)
    assert archive.bases() == []
    chain = archive.identity()
    scribe.run("scribe-init")
    assert archive.identity() == chain
    assert archive.pending_cuts() == [base.consistent_point for base in archive.bases()]


def test_a_restored_copy_becomes_a_source(scribe: Scribe, cluster: Cluster, tmp_path: Path) -> None:
    cluster.psql(SOME_TABLES, scribe.dbname)
    scribe.run("scribe-init")
    copy = Scribe(cluster, f"{scribe.dbname}_copy", tmp_path / "copy")
    scribe.restore_with_psql(copy.dbname)
    copy.run("scribe-init")
    assert cluster.value("SELECT to_regclass('scribe.position')", copy.dbname) is None
    copy.run("scribe-init", "--remove")
    copy.close()


def test_capture_acts_in_a_copy_that_createdb_made_of_a_source(
    scribe: Scribe, cluster: Cluster, tmp_path: Path
) -> None:
    scribe.run("scribe-init", "--no-base")
    copy = Scribe(cluster, f"{scribe.dbname}_copy", tmp_path / "copy")
    cluster.createdb(copy.dbname, scribe.dbname)
    recorded = "SELECT count(*) FROM scribe.ddl_history WHERE object_identity = 'public.later'"
    try:
        copy.run("scribe-init", "--no-base")
        cluster.psql("CREATE TABLE later (x int PRIMARY KEY)", copy.dbname)
        assert cluster.value(recorded, copy.dbname) == 1
    finally:
        copy.close()


def test_a_foreign_schema_scribe_is_refused(scribe: Scribe, cluster: Cluster) -> None:
    cluster.psql("CREATE SCHEMA scribe; CREATE TABLE scribe.mine (x int);", scribe.dbname)
    result = scribe.run("scribe-init", check=False)
    assert result.returncode == 1
    assert re.search(r"^failed +schema scribe: exists and is not pg_scribe's", result.stdout, re.M)


@pytest.mark.slow
def test_the_requirements_name_their_remedies() -> None:
    with temporary_cluster(wal_level="replica", max_slot_wal_keep_size="1GB") as cluster:
        scribe = Scribe(cluster, "postgres", Path("/tmp/not-made"))
        cluster.psql("CREATE ROLE clerk LOGIN;")
        result = scribe.run("scribe-init", "-U", "clerk", check=False)
        assert result.returncode == 1
        if cluster.version_num >= 190000:  # whose WAL becomes logical with the first slot
            assert re.search(r"^ok +wal_level: replica$", result.stdout, re.M)
        else:
            assert "ALTER SYSTEM SET wal_level = logical" in result.stdout
        assert "let a superuser run sql/capture.sql and sql/roles.sql in this database" in result.stdout
        assert re.search(r"^ok +max_slot_wal_keep_size: 1GB", result.stdout, re.M)
        assert not scribe.archive.exists()


def test_a_role_that_may_not_use_the_decoder_gets_the_exact_remedy(scribe: Scribe, cluster: Cluster) -> None:
    if not cluster.query("SELECT 1 FROM pg_settings WHERE name = 'output_plugin_libraries'"):
        pytest.skip("server version: has no output_plugin_libraries")
    cluster.psql("CREATE ROLE sender LOGIN REPLICATION;")
    try:
        result = scribe.run("scribe-init", "--check-only", "-U", "sender", check=False)
        remedy = 'ALTER ROLE "sender" SET output_plugin_libraries = pgoutput, test_decoding, scribe_decoder'
        assert f'run "{remedy}" as a superuser' in result.stdout
        cluster.psql(remedy)
        result = scribe.run("scribe-init", "--check-only", "-U", "sender", check=False)
        assert "decoder: scribe_decoder loads" in result.stdout
    finally:
        cluster.psql("DROP ROLE sender;")


def test_older_client_programs_are_refused(scribe: Scribe, cluster: Cluster, tmp_path: Path) -> None:
    old = tmp_path / "psql"
    old.write_text("#!/bin/sh\necho 'psql (PostgreSQL) 12.3'\n")
    old.chmod(0o755)
    result = scribe.run("scribe-init", "--check-only", check=False, env={"PATH": f"{tmp_path}:{cluster.env['PATH']}"})
    assert result.returncode == 1
    assert re.search(r"^failed +programs: older than the server: psql 12", result.stdout, re.M)


@pytest.mark.parametrize(
    ("environment", "arguments", "status", "text"),
    [
        ({"SCRIBE_ARCHIVE": ""}, [], 2, "a directory is expected"),
        ({"PGPORT": "1"}, [], 75, "could not connect"),
        ({"PGDATABASE": "no such database"}, [], 2, "does not exist"),
        ({"PGUSER": "nobody knows"}, [], 2, "could not connect"),
        ({"SCRIBE_TYPO": "1"}, [], 2, 'unknown setting "SCRIBE_TYPO"'),
        ({"SCRIBE_SLOT": "Bad Slot"}, [], 2, 'invalid value "Bad Slot" for SCRIBE_SLOT'),
        ({}, ["--frobnicate"], 2, "unrecognized arguments"),
        ({}, ["--remove", "--no-base"], 2, "not allowed with"),
    ],
)
def test_wrong_use_is_one_clear_line(
    scribe: Scribe, environment: dict[str, str], arguments: list[str], status: int, text: str
) -> None:
    result = scribe.run("scribe-init", *arguments, check=False, env=environment)
    assert result.returncode == status
    assert text in result.stderr
    assert result.stderr.startswith("scribe-init: error: ")
    assert len(result.stderr.splitlines()) <= 2
    assert not scribe.archive.exists()


def test_the_archive_is_private(scribe: Scribe) -> None:
    scribe.run("scribe-init", env={"SCRIBE_DUMP_FORMAT": "directory"})
    for path in [scribe.archive, *scribe.archive.rglob("*")]:
        assert os.stat(path).st_mode & 0o077 == 0, path
    base = Archive(scribe.archive).bases()[0]
    read_manifest("meta", base.path / "meta.json")


@pytest.mark.slow
def test_a_dump_beside_init_leaves_its_base_alone(scribe: Scribe, cluster: Cluster, tmp_path: Path) -> None:
    cluster.psql("CREATE TABLE t (a int PRIMARY KEY)", scribe.dbname)
    scribe.run("scribe-init")
    cluster.query(f"SELECT pg_drop_replication_slot('{scribe.slot}')")
    script = f'cd /; {ROOT / "bin/scribe-dump"} >&3 2>&3; echo "status $?" >&3'
    result = scribe.run("scribe-init", "-v", env=wrap_program(tmp_path / "wrap", cluster, "pg_dump", script))
    assert "a base is being taken" in result.stderr and "status 75" in result.stderr
    assert len(Archive(scribe.archive).bases()) == 2
