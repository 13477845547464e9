"""scribe-dump: bases that are exact at their consistent point, or are not there."""

from __future__ import annotations

import argparse
import hashlib
import re
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
import zstandard
from cluster import ROOT, Cluster, poll
from source import Scribe
from test_power import Disk, Machine
from wrapping import count_calls, wrap_program

from scribe.archive.layout import Archive, Base
from scribe.common.cli import Talk
from scribe.common.errors import UsageError
from scribe.dump import base as dumping
from scribe.dump import setup
from scribe.dump.base import OtherTimelineError, Request, begin_cut, take_stream_base
from scribe.dump.gate import NoGate
from scribe.source.slot import Export

QUIET = Talk("test", argparse.Namespace(quiet=True, verbose=False))


def newest(scribe: Scribe) -> Base:
    """Return the newest base."""
    return Archive(scribe.archive).bases()[-1]


def restore_base(scribe: Scribe, base: Base, target: str) -> None:
    """Restore one base of either format and nothing after it."""
    cluster = scribe.cluster
    cluster.createdb(target)
    if base.manifest["format"] == "directory":
        command = [f"{cluster.bindir}/pg_restore", "--exit-on-error", "-d", target, str(base.path / "base.dir")]
        subprocess.run(command, env=cluster.env, check=True)
        cluster.psql((base.path / "epilogue.sql").read_text(), target)
    else:
        stored = next(base.path.glob("base.sql*")).read_bytes()
        plain = zstandard.ZstdDecompressor().decompressobj().decompress(stored) if stored[:2] == b"\x28\xb5" else stored
        cluster.psql(plain.decode(), target)


def assert_holds_source(scribe: Scribe, base: Base) -> None:
    """Restore one base and compare, all of pg_scribe taken away on both sides."""
    cluster, target = scribe.cluster, f"{scribe.dbname}_copy"
    restore_base(scribe, base, target)
    cluster.psql("DROP SCHEMA scribe CASCADE;", target)
    scribe.run("scribe-init", "--remove")
    assert cluster.dump(target) == cluster.dump(scribe.dbname)
    cluster.dropdb(target)


def check_files(base: Base) -> None:
    """Fail unless the manifest lists exactly the base's files, with their digests."""
    listed = {entry["name"]: entry for entry in base.manifest["files"]}
    there = {p.relative_to(base.path).as_posix(): p for p in base.path.rglob("*") if p.is_file()}
    assert set(listed) == set(there) - {"manifest.json"}
    for name, entry in listed.items():
        content = there[name].read_bytes()
        assert (entry["bytes"], entry["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
        if "plain_sha256" in entry:
            plain = content
            if name.endswith(".zst"):
                plain = zstandard.ZstdDecompressor().decompressobj().decompress(content)
            assert (entry["plain_bytes"], entry["plain_sha256"]) == (len(plain), hashlib.sha256(plain).hexdigest())


@pytest.mark.parametrize(
    ("arguments", "compress", "names"),
    [
        ([], "zstd", {"base.sql.zst", "globals.sql", "database.sql", "meta.json"}),
        (["--no-globals"], "none", {"base.sql", "database.sql", "meta.json"}),
        (["--format", "directory", "--jobs", "2"], "zstd", {"base.dir", "epilogue.sql", "globals.sql", "meta.json"}),
        (["--format", "directory"], "none", {"base.dir", "database.sql"}),
    ],
)
def test_a_base_is_whole_and_restores(
    scribe: Scribe, cluster: Cluster, arguments: list[str], compress: str, names: set[str]
) -> None:
    cluster.psql(
        """CREATE TABLE big (id int PRIMARY KEY, v text);
           INSERT INTO big SELECT g, md5(g::text) FROM generate_series(1, 20000) g;
           CREATE TABLE parent (k int, v int, PRIMARY KEY (k)) PARTITION BY RANGE (k);
           CREATE TABLE child PARTITION OF parent FOR VALUES FROM (0) TO (100);
           INSERT INTO parent VALUES (1, 1), (2, 2);
           CREATE UNLOGGED TABLE "not Logged" (x int); INSERT INTO "not Logged" VALUES (1);
           CREATE MATERIALIZED VIEW seen AS SELECT count(*) FROM big;
           SELECT lo_from_bytea(4711, 'abc');""",
        scribe.dbname,
    )
    scribe.run("scribe-init", "--no-base")
    printed = scribe.run("scribe-dump", *arguments, env={"SCRIBE_COMPRESS": compress}).stdout
    base = newest(scribe)
    assert printed == f"{base.path}\n"
    assert names <= {path.name for path in base.path.iterdir()}
    check_files(base)
    assert base.manifest["rows"] == {"public.big": 20000, "public.child": 2, 'public."not Logged"': 1}
    assert base.manifest["warnings"] == []
    assert base.consistent_point in Archive(scribe.archive).pending_cuts()
    assert_holds_source(scribe, base)


# What comes between the snapshot and pg_dump's locks: by the end a table is rewritten, emptied, or somebody else.
CHANGES = {
    "rewritten": "ALTER TABLE t ALTER v TYPE bigint",
    "truncated": "TRUNCATE t",
    "tables swapped": "ALTER TABLE t RENAME TO x; ALTER TABLE u RENAME TO t; ALTER TABLE x RENAME TO u",
    "columns swapped": "ALTER TABLE u RENAME a TO x; ALTER TABLE u RENAME v TO a; ALTER TABLE u RENAME x TO v",
    "dropped": "DROP TABLE t; CREATE TABLE t (a int PRIMARY KEY, v int); INSERT INTO t VALUES (7, 7)",
    "index dropped": "DROP INDEX u_v",
    # none of which pg_dump locks
    "function dropped": "DROP FUNCTION f(int)",
    "view replaced": "CREATE TABLE w (a int PRIMARY KEY); CREATE OR REPLACE VIEW seen AS SELECT a FROM w",
    "schema renamed": "ALTER SCHEMA s RENAME TO s2",
}


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("form", ["plain", "directory"])
def test_a_dump_that_a_schema_change_could_have_spoilt_is_taken_again(
    scribe: Scribe, cluster: Cluster, tmp_path: Path, change: str, form: str
) -> None:
    cluster.psql(
        "CREATE TABLE t (a int PRIMARY KEY, v int); INSERT INTO t SELECT g, -g FROM generate_series(1, 50) g;"
        "CREATE TABLE u (a int PRIMARY KEY, v int); INSERT INTO u VALUES (1, 1); CREATE INDEX u_v ON u (v);"
        "CREATE FUNCTION f(i int) RETURNS int LANGUAGE sql AS 'SELECT i'; CREATE VIEW seen AS SELECT a FROM u;"
        "CREATE SCHEMA s; CREATE TYPE s.e AS ENUM ('a'); CREATE VIEW typed AS SELECT 'a'::s.e AS x",
        scribe.dbname,
    )
    scribe.run("scribe-init", "--no-base")
    command = f'[ $count -gt 2 ] || psql -Xq -d {scribe.dbname} -c "BEGIN; {CHANGES[change]}; COMMIT"'
    if change not in ("truncated", "tables swapped", "columns swapped"):  # what can be done once
        command = command.replace("-gt 2", "-gt 1")
    env = wrap_program(tmp_path / "wrap", cluster, "pg_dump", command)
    result = scribe.run("scribe-dump", "--format", form, env=env)
    assert "taking it again" in result.stderr
    base = newest(scribe)
    assert len(Archive(scribe.archive).bases()) == 1
    assert not list(Archive(scribe.archive).bases_path.glob(".tmp-*"))
    assert_holds_source(scribe, base)


def test_the_first_base_is_guarded_as_well(scribe: Scribe, cluster: Cluster, tmp_path: Path) -> None:
    cluster.psql("CREATE TABLE t (a int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1);", scribe.dbname)
    change = f'[ $count -gt 1 ] || psql -Xq -d {scribe.dbname} -c "{CHANGES["rewritten"]}"'
    result = scribe.run("scribe-init", env=wrap_program(tmp_path / "wrap", cluster, "pg_dump", change))
    assert "taking it again" in result.stderr
    archive = Archive(scribe.archive)
    assert archive.identity()["chain_from_lsn"] == newest(scribe).manifest["consistent_point_lsn"]
    assert newest(scribe).manifest["rows"] == {"public.t": 1}


@pytest.mark.slow
def test_gives_up_when_the_schema_never_rests(scribe: Scribe, cluster: Cluster, tmp_path: Path) -> None:
    cluster.psql("CREATE TABLE t (a int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1);", scribe.dbname)
    scribe.run("scribe-init", "--no-base")
    env = wrap_program(tmp_path / "wrap", cluster, "pg_dump", f'psql -Xq -d {scribe.dbname} -c "TRUNCATE t"')
    result = scribe.run("scribe-dump", env=env, check=False)
    assert result.returncode == 75
    assert "public.t changed before pg_dump had its locks" in result.stderr
    assert count_calls(tmp_path / "wrap", "pg_dump") == 8
    assert "hint: Pause what changes the schema" in result.stderr
    assert list(Archive(scribe.archive).bases_path.iterdir()) == []
    slots = cluster.query(f"SELECT slot_name FROM pg_replication_slots WHERE database = '{scribe.dbname}'")
    assert slots == [(scribe.slot,)]


def test_no_base_lies_on_a_timeline_that_the_stream_has_not_followed(scribe: Scribe) -> None:
    scribe.run("scribe-init")
    archive = Archive(scribe.archive)
    (base,) = archive.bases()
    record = archive.spool / "stream.json"
    record.write_text('{"timeline": 7}')
    refused = scribe.run("scribe-dump", check=False)
    assert (refused.returncode, "has followed timeline 7" in refused.stderr) == (75, True)
    record.unlink()
    archive.leave_timeline(base.manifest["timeline"], base.consistent_point)
    assert archive.bases() == [base]
    archive.leave_timeline(base.manifest["timeline"], base.consistent_point - 1)
    assert archive.bases() == []


def test_nothing_counts_that_was_made_on_a_server_that_took_over_after_the_first_look(
    scribe: Scribe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slot is on another server then than the one looked at, which may lack what is archived."""
    scribe.run("scribe-init")
    for name, value in scribe.env.items():
        if name.startswith("PG") or name == "PATH":
            monkeypatch.setenv(name, value)
    archive = Archive(scribe.archive)
    identity = archive.identity()
    create_slot = dumping.create_slot

    def create(*arguments: object, **named: object) -> Export:
        export = create_slot(*arguments, **named)  # type: ignore[arg-type]
        (archive.spool / "stream.json").write_text('{"timeline": 7}')
        return export

    monkeypatch.setattr(dumping, "create_slot", create)
    with scribe.cluster.connect(scribe.dbname) as conn, pytest.raises(OtherTimelineError):
        begin_cut(archive, conn, NoGate(), plugin="scribe_decoder", wait=30)
    assert archive.pending_cuts() == []
    earlier = archive.bases()[0].consistent_point - 1
    monkeypatch.setattr(setup, "_create_parts", lambda *_, **__: (earlier, lambda spool: None))
    options = setup.Options(scribe.slot, "scribe_decoder", "full", Request())
    state = setup.State(identity, None, None, captured=True, has_base=True, broken="it is", without_identity=0)
    with scribe.cluster.connect(scribe.dbname) as conn, pytest.raises(UsageError, match="put back to an older state"):
        setup._begin_chain(archive, conn, options, QUIET, state)
    assert archive.identity() == identity


def test_an_option_that_only_the_servers_own_pg_dump_leaves_out_is_refused(
    scribe: Scribe, cluster: Cluster, tmp_path: Path
) -> None:
    cluster.psql(
        "CREATE TABLE t (a int PRIMARY KEY); UPDATE pg_attribute SET attoptions = '{pg_attver=2}'"
        " WHERE attrelid = 't'::regclass AND attname = 'a'",
        scribe.dbname,
    )
    other = tmp_path / "pg_dump"
    other.write_text("#!/bin/sh\necho 'pg_dump (PostgreSQL) 99.1'\n")
    other.chmod(0o755)
    result = scribe.run("scribe-init", check=False, env={"PATH": f"{tmp_path}:{cluster.env['PATH']}"})
    assert result.returncode == 2
    assert "(pg_attver)" in result.stderr
    assert cluster.query(f"SELECT FROM pg_replication_slots WHERE slot_name = '{scribe.slot}'") == []


def change_schema(cluster: Cluster, dbname: str, number: int, ended: threading.Event, waits: list[float]) -> None:
    """Make one schema change after the other; remember how long the longest took that needs no table of the base."""
    with cluster.connect(dbname) as conn:
        while not ended.is_set():
            began = time.monotonic()
            conn.execute(f"CREATE TABLE passing_{number} (a int PRIMARY KEY, b text DEFAULT 'x')")
            waits.append(time.monotonic() - began)
            conn.execute(f"ALTER TABLE passing_{number} ADD c int")
            conn.execute(f"DROP TABLE passing_{number}")


@pytest.mark.slow
def test_a_base_comes_through_where_one_schema_change_follows_the_other(scribe: Scribe, cluster: Cluster) -> None:
    cluster.psql("CREATE TABLE t (a int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1);", scribe.dbname)
    scribe.run("scribe-init", "--no-base")
    ended, waits = threading.Event(), [0.0]
    with ThreadPoolExecutor(3) as pool:
        running = [pool.submit(change_schema, cluster, scribe.dbname, n, ended, waits) for n in range(3)]
        try:
            result = scribe.run("scribe-dump", "-v", "--no-prune")
        finally:
            ended.set()
        for session in running:
            session.result()
    assert newest(scribe).manifest["rows"]["public.t"] == 1
    assert max(waits) < 1.5, result.stderr


@pytest.mark.slow
def test_a_base_holds_exactly_what_committed_before_its_consistent_point(scribe: Scribe, cluster: Cluster) -> None:
    """Writers count into separate rows; the rest of the stream must hold exactly what the base does not."""
    cluster.psql(
        "CREATE TABLE counter (id int PRIMARY KEY, n int);"
        "INSERT INTO counter SELECT g, 0 FROM generate_series(1, 4) g;",
        scribe.dbname,
    )
    scribe.run("scribe-init", "--no-base")
    stop = threading.Event()
    done = [0] * 5

    def write(row: int) -> None:
        with cluster.connect(scribe.dbname) as conn:
            while not stop.is_set():
                conn.execute("UPDATE counter SET n = n + 1 WHERE id = %s", [row])
                done[row] += 1

    writers = [threading.Thread(target=write, args=(row,)) for row in range(1, 5)]
    for writer in writers:
        writer.start()
    try:
        poll(lambda: min(done[1:]) > 50)
        scribe.run("scribe-dump")
        reached = min(done[1:])
        poll(lambda: min(done[1:]) > reached + 50)
        scribe.run("scribe-dump", "--format", "directory", "--jobs", "2")
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    peek = "SELECT data FROM pg_logical_slot_peek_changes('{}', NULL, NULL)"
    with cluster.connect(scribe.dbname) as conn:
        if conn.execute("SELECT 1 FROM pg_settings WHERE name = 'output_plugin_libraries'").fetchone():
            conn.execute("SET output_plugin_libraries = scribe_decoder")
        stream = "\n".join(row[0] for row in conn.execute(peek.format(scribe.slot)))
    found = re.findall(r"^BEGIN; -- xid \d+ commit (\w+)/(\w+) ", stream, re.M)
    commits = [int(high, 16) << 32 | int(low, 16) for high, low in found]
    assert len(commits) == sum(done)
    for number, base in enumerate(Archive(scribe.archive).bases()):
        target = f"{scribe.dbname}_copy{number}"
        restore_base(scribe, base, target)
        in_base = cluster.value("SELECT sum(n) FROM counter", target)
        assert in_base == sum(commit < base.consistent_point for commit in commits)
        cluster.dropdb(target)


def test_a_failing_pg_dump_leaves_nothing(scribe: Scribe, cluster: Cluster, tmp_path: Path) -> None:
    scribe.run("scribe-init", "--no-base")
    env = wrap_program(tmp_path / "wrap", cluster, "pg_dump", "echo 'pg_dump: error: disk on fire' >&3; exit 1")
    result = scribe.run("scribe-dump", check=False, env=env)
    assert result.returncode == 1
    assert "scribe-dump: error: could not dump the database: pg_dump: error: disk on fire" in result.stderr
    assert list(Archive(scribe.archive).bases_path.iterdir()) == []


def test_a_killed_dump_leaves_nothing_the_next_one_minds(scribe: Scribe, cluster: Cluster, tmp_path: Path) -> None:
    scribe.run("scribe-init", "--no-base")
    env = wrap_program(tmp_path / "wrap", cluster, "pg_dump", "[ $count -gt 1 ] || { kill -9 $PPID; sleep 60; }")
    assert scribe.run("scribe-dump", "--format", "directory", check=False, env=env).returncode == -9
    archive = Archive(scribe.archive)
    assert archive.bases() == []
    assert list(archive.bases_path.glob(".tmp-*"))
    scribe.run("scribe-dump", env=env)
    assert len(archive.bases()) == 1
    assert not list(archive.bases_path.glob(".tmp-*"))


@pytest.mark.slow
def test_only_one_dump_at_a_time(scribe: Scribe, cluster: Cluster, tmp_path: Path) -> None:
    scribe.run("scribe-init", "--no-base")
    env = scribe.env | wrap_program(tmp_path / "wrap", cluster, "pg_dump", f"touch {tmp_path}/there; sleep 3")
    with subprocess.Popen([ROOT / "bin/scribe-dump", "-q"], env=env, stdout=subprocess.DEVNULL) as first:
        poll((tmp_path / "there").exists, 30, "the first one's pg_dump")
        result = scribe.run("scribe-dump", check=False)
        assert (result.returncode, "a base is being taken" in result.stderr) == (75, True)
        assert first.wait() == 0


def test_an_open_transaction_is_named(scribe: Scribe, cluster: Cluster) -> None:
    scribe.run("scribe-init", "--no-base")
    with cluster.connect(scribe.dbname, autocommit=False) as other:
        other.execute("SELECT pg_current_xact_id()")
        result = scribe.run("scribe-dump", "--wait", "1", check=False)
        assert result.returncode == 75
        assert f"process {other.info.backend_pid} " in result.stderr
    assert list(Archive(scribe.archive).bases_path.iterdir()) == []


@pytest.mark.slow
def test_a_table_lock_held_by_others_is_not_waited_for_for_ever(scribe: Scribe, cluster: Cluster) -> None:
    """DDL that queues behind pg_dump's locks, and pg_dump behind it, is what a lock of our own would lead to."""
    cluster.psql("CREATE TABLE t (a int PRIMARY KEY);", scribe.dbname)
    scribe.run("scribe-init", "--no-base")
    with cluster.connect(scribe.dbname, autocommit=False) as reader:
        reader.execute("SELECT count(*) FROM t")
        ddl = threading.Thread(target=_alter_quietly, args=(cluster, scribe.dbname))
        ddl.start()
        timer = threading.Timer(3, reader.rollback)
        timer.start()
        scribe.run("scribe-dump", timeout=120)
        ddl.join()
        timer.join()
    assert len(Archive(scribe.archive).bases()) == 1


def _alter_quietly(cluster: Cluster, dbname: str) -> None:
    with cluster.connect(dbname) as conn:
        conn.execute("SET lock_timeout = '60s'")
        conn.execute("ALTER TABLE t ADD COLUMN b int")


def test_wrong_uses(scribe: Scribe, cluster: Cluster) -> None:
    result = scribe.run("scribe-dump", check=False)
    assert (result.returncode, "there is no archive" in result.stderr) == (2, True)
    scribe.run("scribe-init", "--no-base")
    assert scribe.run("scribe-dump", "--jobs", "3", check=False).returncode == 2
    assert scribe.run("scribe-dump", "--format", "tar", check=False).returncode == 2
    assert "would take a base in plain format" in scribe.run("scribe-dump", "-n").stdout
    cluster.query(f"SELECT pg_drop_replication_slot('{scribe.slot}')")
    result = scribe.run("scribe-dump", check=False)
    assert result.returncode == 1
    assert 'hint: Run "scribe-init"' in result.stderr
    assert Archive(scribe.archive).bases() == []
    with pytest.raises(psycopg.errors.UndefinedObject):
        cluster.query(f"SELECT pg_drop_replication_slot('{scribe.slot}')")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # pipes that a program leaves to its end
def test_a_base_is_on_disk_before_it_has_its_name(
    scribe: Scribe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pg_dump syncs nothing in a directory that it writes: power goes right after the base has got its name."""
    scribe.cluster.psql("CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1)", scribe.dbname)
    scribe.run("scribe-init", "--no-base")
    for name, value in scribe.env.items():
        if name.startswith("PG") or name == "PATH":
            monkeypatch.setenv(name, value)
    archive = Archive(scribe.archive)
    disk = Disk(archive.path, names_last=False)
    request = Request(format="directory", compress="none")
    with scribe.cluster.connect(scribe.dbname) as conn, pytest.MonkeyPatch.context() as patch:
        Machine(patch, disk, stop=1000)
        base = take_stream_base(
            archive,
            conn,
            request,
            QUIET,
            plugin="scribe_decoder",
            wait=30,
        )
    disk.lose_power(tmp_path / "after")
    check_files(Base(tmp_path / "after/base" / base.stamp, base.manifest))
