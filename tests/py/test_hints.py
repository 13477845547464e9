"""Hints that work as they are printed, and exit statuses that say whether to try again."""

from __future__ import annotations

import re
import signal
import subprocess

import psycopg
import pytest
from cluster import HEARING, ROOT, Cluster, poll
from source import Scribe

from scribe.restore.target import warn_of_older


def prepare(scribe: Scribe, script: str) -> None:
    """A database with a stream."""
    scribe.cluster.psql(script, scribe.dbname)
    scribe.run("scribe-init")
    scribe.start_stream()


@pytest.mark.unit
def test_nothing_that_is_printed_destroys_what_it_is_about_when_it_is_typed() -> None:
    """No hint and no alarm asks to remove all large objects, to mark everything as sent, or to remove directories."""
    harm = re.compile(r"lo_unlink\(oid\) FROM pg_largeobject_metadata(?! WHERE)|ARCHIVE_COMMAND=true|rm -rf? [^\s\"]")
    texts = [*(ROOT / "lib").rglob("*.py"), ROOT / "docs/alarms.md", *(ROOT / "etc").rglob("*.*")]
    found = [f"{path}: {match[0]}" for path in texts for match in harm.finditer(path.read_text())]
    assert len(texts) > 100 and found == []


@pytest.mark.slow
def test_resume_and_skip_work_as_printed_after_a_newer_base(scribe: Scribe, cluster: Cluster) -> None:
    prepare(scribe, "CREATE TABLE t (a int PRIMARY KEY)")
    cluster.psql("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'", scribe.dbname)
    scribe.run("scribe-rotate", "--wait-lsn", "current")
    first = sorted((scribe.archive / "base").iterdir())[0].name
    stopped = "CREATE TABLE t2 (a int PRIMARY KEY)"
    cluster.psql(stopped, scribe.dbname)
    scribe.run("scribe-rotate", "--wait-lsn", "current")
    name = f"{scribe.dbname}_resumed"
    try:
        lsn = re.search(r"(?m)^BEGIN; -- xid \d+ commit (\S+) .*\n(?:.*\n)*?.*CREATE TABLE t2", read_segments(scribe))
        assert lsn is not None
        where = ["--target-lsn", lsn[1], "--target-exclusive"]
        scribe.run("scribe-restore", "-d", name, "--base", first, *where, env={"PGDATABASE": ""})
        cluster.psql("CREATE TABLE t2 ()", name)
        scribe.run("scribe-dump", "--no-prune")
        failed = scribe.run("scribe-restore", "-d", name, "--resume", env={"PGDATABASE": ""}, check=False)
        assert failed.returncode == 1
        printed = re.search(r"--resume --skip \S+(?=\.)", failed.stderr)
        assert printed is not None, failed.stderr
        scribe.run("scribe-restore", "-d", name, *printed[0].split(), env={"PGDATABASE": ""})
    finally:
        cluster.dropdb(name)


def read_segments(scribe: Scribe) -> str:
    """Return the text of all segments."""
    paths = sorted((scribe.archive / "incremental").glob("*.sql.zst"))
    return "".join(subprocess.check_output(["zstdcat", path], text=True) for path in paths)


def test_no_walsender_left_is_tried_again(scribe: Scribe, cluster: Cluster) -> None:
    held: list[psycopg.Connection] = []
    try:
        while len(held) < int(cluster.value("SHOW max_wal_senders")):
            held.append(cluster.connect(scribe.dbname, replication="database"))
        result = scribe.run("scribe-init", "--no-base", check=False)
        assert result.returncode == 75, result.stderr
    finally:
        for conn in held:
            conn.close()


def test_an_older_pg_dump_is_reported_once(scribe: Scribe, cluster: Cluster, tmp_path) -> None:
    scribe.run("scribe-init", "--no-base")
    directory = tmp_path / "old"
    directory.mkdir()
    program = directory / "pg_dump"
    program.write_text("#!/bin/sh\necho 'pg_dump (PostgreSQL) 12.3'\n")
    program.chmod(0o755)
    result = scribe.run("scribe-dump", env={"PATH": f"{directory}:{cluster.env['PATH']}"}, check=False)
    assert result.returncode == 2
    assert [line.split(":")[1].strip() for line in result.stderr.splitlines()] == ["error", "hint"]


def test_record_without_a_stream_is_refused_at_once(scribe: Scribe) -> None:
    scribe.run("scribe-init", "--no-base")
    result = scribe.run("scribe-rotate", "--record", check=False, timeout=20)
    assert (result.returncode, "Start scribe-stream" in result.stderr) == (75, True)


def test_a_new_archive_is_never_suggested_where_segments_lie(scribe: Scribe) -> None:
    prepare(scribe, "CREATE TABLE t (a int PRIMARY KEY)")
    scribe.cluster.psql("INSERT INTO t VALUES (1)", scribe.dbname)
    scribe.run("scribe-rotate", "--wait-lsn", "current")
    assert scribe.stop_stream() == 0
    (scribe.archive / "archive.json").rename(scribe.archive.parent / "archive.json")
    result = scribe.run("scribe-rotate", check=False)
    assert result.returncode == 2 and "scribe-init" not in result.stderr
    assert "bring archive.json back" in result.stderr


@pytest.mark.slow
def test_an_interrupted_restore_names_resume(scribe: Scribe, cluster: Cluster) -> None:
    prepare(scribe, "CREATE TABLE t (a int PRIMARY KEY)")
    cluster.psql("INSERT INTO t VALUES (1)", scribe.dbname)
    scribe.run("scribe-rotate", "--wait-lsn", "current")
    name = f"{scribe.dbname}_interrupted"
    first = scribe.run("scribe-restore", "-d", name, "--target-time", "2000-01-01", check=False, env={"PGDATABASE": ""})
    assert first.returncode != 0
    base = sorted((scribe.archive / "base").iterdir())[0]
    point = (base / "manifest.json").read_text().split('"consistent_point_lsn": "')[1].split('"')[0]
    scribe.run("scribe-restore", "-d", name, "--target-lsn", point, "--target-exclusive", env={"PGDATABASE": ""})
    try:
        with cluster.connect(name, autocommit=False) as other:
            other.execute("LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
            restore = subprocess.Popen(
                [*HEARING, ROOT / "bin/scribe-restore", "-d", name, "--resume"],
                env=scribe.env,
                stderr=subprocess.PIPE,
                text=True,
            )
            waits = f"SELECT 1 FROM pg_stat_activity WHERE datname = '{name}' AND wait_event_type = 'Lock'"
            poll(lambda: cluster.query(waits), 30, "a restore that waits")
            restore.send_signal(signal.SIGINT)
            said = restore.communicate(timeout=30)[1]
        assert restore.returncode == 1 and "--resume goes on from there" in said and "interrupted" in said
    finally:
        cluster.dropdb(name)


def test_an_older_target_is_reported_before_anything_runs(cluster: Cluster) -> None:
    warnings: list[str] = []
    with cluster.connect() as conn:
        warn_of_older(conn, {"server_version": "12.3"}, warnings.append)
        warn_of_older(conn, {"server_version": "12beta2"}, warnings.append)
        assert warnings == []
        for version in ("99.1", "99rc1", "99devel"):
            warn_of_older(conn, {"server_version": version}, warnings.append)
    assert len(warnings) == 3 and all("the source's was 99" in warning for warning in warnings)
