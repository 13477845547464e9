"""What a rotation records of changes that fired no event trigger is true in its place, whatever goes on beside it."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from cases import assert_both_restores_equal
from cluster import ROOT, Cluster, poll
from source import Scribe

CAPTURE = (ROOT / "sql/capture.sql").read_text()
PGOUTPUT = (ROOT / "sql/pgoutput.sql").read_text()
RECORDED = "SELECT statement FROM scribe.ddl_history WHERE tag IN ('DROP INDEX', 'REINDEX') ORDER BY id"
ROUNDS = 60  # of each loop


@pytest.fixture(params=["scribe_decoder", "pgoutput"])
def captured(request: pytest.FixtureRequest, cluster: Cluster, database: str) -> Iterator[str]:
    """A database with capture installed, as for the decoder."""
    cluster.psql(PGOUTPUT if request.param == "pgoutput" else CAPTURE, database)
    yield database


@contextmanager
def beside(cluster: Cluster, dbname: str, *statements: str) -> Iterator[None]:
    """Run the statements over and over in a session of its own while the block runs; none may fail."""
    ending = threading.Event()
    faults: list[psycopg.Error] = []

    def run() -> None:
        with cluster.connect(dbname) as conn:
            for statement in itertools.cycle(statements):
                if ending.is_set():
                    return
                try:
                    conn.execute(statement.encode())
                except psycopg.Error as error:
                    faults.append(error)
                    return

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()
    assert not faults, faults


def reconcile(cluster: Cluster, dbname: str, rounds: int) -> None:
    with cluster.connect(dbname) as conn:
        for _ in range(rounds):
            conn.execute("SELECT scribe.reconcile()")


@pytest.mark.parametrize(
    "statement",
    [
        "REINDEX TABLE CONCURRENTLY r",
        "CREATE INDEX CONCURRENTLY r_other ON r (v)",
        "DROP INDEX CONCURRENTLY r_v",
        "REINDEX INDEX CONCURRENTLY r_v",
    ],
)
def test_an_index_in_the_making_is_not_taken_for_one_that_failed(
    cluster: Cluster, captured: str, statement: str
) -> None:
    cluster.psql("CREATE TABLE r (id int PRIMARY KEY, v int); CREATE INDEX r_v ON r (v)", captured)
    reconcile(cluster, captured, 1)
    before = cluster.query(RECORDED, captured)
    with cluster.connect(captured) as builder:
        with cluster.connect(captured) as writer:
            writer.execute("BEGIN; INSERT INTO r VALUES (1, 1)")
            thread = threading.Thread(target=builder.execute, args=[statement])
            thread.start()
            poll(lambda: cluster.value(f"SELECT pg_blocking_pids({builder.info.backend_pid}) <> '{{}}'"), 30, "waiting")
            reconcile(cluster, captured, 2)
            found = cluster.query(RECORDED, captured)
        thread.join()
    assert found == before


def test_rotations_beside_concurrent_builds_restore(scribe: Scribe, targets: tuple[str, str]) -> None:
    scribe.cluster.psql(
        "CREATE TABLE r (id int PRIMARY KEY, v int); CREATE INDEX r_v ON r (v);"
        "INSERT INTO r SELECT i, i FROM generate_series(1, 500) AS i;"
        "CREATE MATERIALIZED VIEW m AS SELECT * FROM r; CREATE UNIQUE INDEX m_id ON m (id)",
        scribe.dbname,
    )
    scribe.run("scribe-init")
    scribe.start_stream()
    with beside(
        scribe.cluster,
        scribe.dbname,
        "REINDEX TABLE CONCURRENTLY r",
        "REINDEX TABLE CONCURRENTLY m",
        "CREATE INDEX CONCURRENTLY r_w ON r (v, id)",
        "DROP INDEX CONCURRENTLY r_w",
        "UPDATE r SET v = v + 1 WHERE id % 50 = 0",
    ):
        reconcile(scribe.cluster, scribe.dbname, ROUNDS * 5)
        scribe.run("scribe-rotate", "--wait-lsn", "current")
    scribe.run("scribe-rotate", "--wait-lsn", "current")
    assert_both_restores_equal(scribe, targets)


@contextmanager
def paused(cluster: Cluster, dbname: str, function: str) -> Iterator[None]:
    """Until the block ends, let each CREATE INDEX and REINDEX wait before that function of capture's begins."""
    end = f"SELECT pg_get_functiondef('scribe.{function}'::regprocedure)"
    wait = "IF tg_tag IN ('CREATE INDEX', 'REINDEX') THEN PERFORM pg_advisory_xact_lock_shared(1); END IF;"
    with cluster.connect(dbname) as holder:
        definition = cluster.value(end, dbname)
        if wait not in definition:
            holder.execute(definition.replace("\nBEGIN\n", f"\nBEGIN\n{wait}\n", 1))
        holder.execute("SELECT pg_advisory_lock(1)")
        yield
        holder.execute("SELECT pg_advisory_unlock(1)")


@pytest.mark.parametrize("decoder", ["scribe_decoder", "pgoutput"])
def test_names_that_change_before_a_concurrent_build_is_recorded(
    scribe: Scribe, targets: tuple[str, str], decoder: str
) -> None:
    """Its last transaction has no lock on the table any more when its end is recorded."""
    scribe.settings |= {"SCRIBE_DECODER": decoder, "SCRIBE_COMPRESS": "none"}
    cluster, dbname = scribe.cluster, scribe.dbname
    first = "note_facts()" if decoder == "pgoutput" else "record_ended(text, json)"
    built = {
        "a table": ("CREATE INDEX CONCURRENTLY i1 ON w.t1 (v)", "ALTER TABLE w.t1 RENAME TO other"),
        "a column": ("CREATE INDEX CONCURRENTLY ON w.t2 (v) WHERE w > 0", "ALTER TABLE w.t2 RENAME w TO other"),
        "a place": ("CREATE INDEX CONCURRENTLY i3 ON w.t3 (v)", "ALTER TABLE w.t3 SET SCHEMA public"),
        "an index": ("CREATE INDEX CONCURRENTLY i4 ON w.t4 (v)", "ALTER INDEX w.i4 RENAME TO other_index"),
        "a comment": ("CREATE INDEX CONCURRENTLY i5 ON w.t5 (v)", "COMMENT ON INDEX w.i5 IS 'made in between'"),
        "a parameter": ("CREATE INDEX CONCURRENTLY i6 ON w.t6 (v)", "ALTER INDEX w.i6 SET (fillfactor = 70)"),
        "nothing": ("CREATE INDEX CONCURRENTLY i7 ON w.t7 (v)", "SELECT 1"),
        "a view": ("CREATE INDEX CONCURRENTLY i8 ON w.m8 (v)", "ALTER MATERIALIZED VIEW w.m8 RENAME v TO other"),
        "a rebuilt one": ("REINDEX TABLE CONCURRENTLY w.t9", "ALTER TABLE w.t9 RENAME v TO other"),
        "a schema": ("CREATE INDEX CONCURRENTLY ia ON w2.t (v)", "ALTER SCHEMA w2 RENAME TO w3"),
    }
    tables = "".join(f"CREATE TABLE w.t{n} (id int PRIMARY KEY, v int, w int);" for n in range(1, 10))
    cluster.psql(
        f"CREATE SCHEMA w; {tables} CREATE MATERIALIZED VIEW w.m8 AS SELECT * FROM w.t8; CREATE INDEX ON w.t9 (v);"
        "CREATE SCHEMA w2; CREATE TABLE w2.t (id int PRIMARY KEY, v int)",
        dbname,
    )
    scribe.run("scribe-init")
    scribe.start_stream()
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = '{}' AND NOT granted"
    for build, change in built.values():
        if "REINDEX" in build and cluster.version_num < 170000:
            continue  # no event trigger fires
        with cluster.connect(dbname, autocommit=False) as changing:
            with paused(cluster, dbname, first):
                thread = threading.Thread(target=cluster.psql, args=(build, dbname))
                thread.start()
                poll(lambda: cluster.value(waiting.format("advisory")), 30, "an index built")
                changing.execute(change.encode())
                if build != built["a table"][0]:
                    changing.commit()
            if build == built["a table"][0]:
                poll(lambda: cluster.value(waiting.format("transactionid")), 30, "a wait for the new name")
                changing.commit()
        thread.join()
    scribe.run("scribe-rotate", "--wait-lsn", "current")
    text = "".join(path.read_text() for path in scribe.segments())
    assert "i7 ON w.t7 (v)" in text  # as it was written
    assert_both_restores_equal(scribe, targets)


@pytest.mark.parametrize("decoder", ["scribe_decoder", "pgoutput"])
def test_names_chosen_beside_others_that_are_given_up(scribe: Scribe, targets: tuple[str, str], decoder: str) -> None:
    """A transaction that makes something when a name is taken may end after the one that gives the name up."""
    scribe.settings["SCRIBE_DECODER"] = decoder
    cluster, dbname = scribe.cluster, scribe.dbname
    name = '"t\'%I"'
    make = (
        "CREATE TABLE {} (id serial PRIMARY KEY, g int GENERATED ALWAYS AS IDENTITY, v int UNIQUE CHECK (v > 0)"
        " CHECK (v < 9) REFERENCES referred); CREATE INDEX ON {} (v); CREATE INDEX ON {} (v, g);"
        "ALTER TABLE {} ADD w serial, ADD FOREIGN KEY (g) REFERENCES referred"
    ).replace("{}", name)
    cluster.psql("CREATE SCHEMA elsewhere; CREATE TABLE referred (id int PRIMARY KEY)", dbname)
    cluster.psql("INSERT INTO referred VALUES (1)", dbname)
    scribe.run("scribe-init")
    scribe.start_stream()
    cluster.psql(f"{make}; ALTER TABLE {name} RENAME TO given_up", dbname)
    with cluster.connect(dbname, autocommit=False) as conn:
        conn.execute(make.encode())
        cluster.psql("SET lock_timeout = '10s'; ALTER TABLE given_up SET SCHEMA elsewhere", dbname)
        conn.execute(f"INSERT INTO {name} (v) VALUES (1)".encode())
        conn.commit()
    names = [f"{name[:-1]}_{rest}\"" for rest in ("v_check3", "v_g_idx1")]
    cluster.psql(f"ALTER TABLE {name} DROP CONSTRAINT {names[0]}; DROP INDEX {names[1]}", dbname)
    scribe.run("scribe-rotate", "--wait-lsn", "current")
    assert_both_restores_equal(scribe, targets)


LOOPS = {
    "event triggers": (
        "CREATE EVENT TRIGGER beside ON ddl_command_start EXECUTE FUNCTION fired()",
        "ALTER EVENT TRIGGER beside DISABLE",
        "ALTER EVENT TRIGGER beside RENAME TO beside_too",
        "DROP EVENT TRIGGER beside_too",
    ),
    "owners": (
        "REASSIGN OWNED BY beside_a TO beside_b",
        "CREATE TABLE owned_too (id int PRIMARY KEY)",
        "ALTER TABLE owned OWNER TO beside_c",
        "ALTER TABLE owned RENAME TO owned_other",
        "DROP TABLE owned_too",
        "ALTER TABLE owned_other RENAME TO owned",
        "ALTER TABLE owned OWNER TO beside_a",
        "ALTER FUNCTION owned() RENAME TO owned_other",
        "ALTER FUNCTION owned_other() RENAME TO owned",
        "REASSIGN OWNED BY beside_b TO beside_a",
    ),
    "cluster marks": (
        "CLUSTER owned USING owned_pkey",
        "CLUSTER owned USING owned_id",
        "ALTER TABLE owned SET WITHOUT CLUSTER",
        "ALTER INDEX owned_id RENAME TO owned_ie",
        "ALTER INDEX owned_ie RENAME TO owned_id",
    ),
    "privileges": (
        "DO $$ BEGIN EXECUTE format('GRANT TEMP ON DATABASE %I TO beside_a', current_database()); END $$",
        "DO $$ BEGIN EXECUTE format('REVOKE TEMP ON DATABASE %I FROM beside_a', current_database()); END $$",
    ),
    "tables that come and go": ("CREATE TABLE gone (id int PRIMARY KEY)", "DROP TABLE gone"),
}


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("decoder", ["scribe_decoder", "pgoutput"])
def test_rotations_beside_a_loop_restore(
    cluster: Cluster, tmp_path: Path, decoder: str, loop: str, request: pytest.FixtureRequest
) -> None:
    name = f"beside_{decoder}_{list(LOOPS).index(loop)}"
    for role in "abc":
        cluster.psql(f"DROP ROLE IF EXISTS beside_{role}; CREATE ROLE beside_{role} SUPERUSER")
    cluster.createdb(name)
    scribe = Scribe(cluster, name, tmp_path / "archive", {"SCRIBE_DECODER": decoder})
    targets = (f"{name}_restore", f"{name}_psql")
    try:
        cluster.psql(
            "CREATE TABLE owned (id int PRIMARY KEY); CREATE INDEX owned_id ON owned (id);"
            "CREATE FUNCTION owned() RETURNS int LANGUAGE sql AS 'SELECT 1';"
            "ALTER TABLE owned OWNER TO beside_a; ALTER FUNCTION owned() OWNER TO beside_a;"
            "CREATE FUNCTION fired() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'",
            name,
        )
        scribe.run("scribe-init")
        scribe.start_stream()
        with beside(cluster, name, *LOOPS[loop]):
            reconcile(cluster, name, ROUNDS)
        scribe.run("scribe-rotate", "--wait-lsn", "current")
        scribe.run("scribe-rotate", "--wait-lsn", "current")
        assert not cluster.query("SELECT statement, reason FROM scribe.ddl_history WHERE kind = 'lost'", name)
        assert_both_restores_equal(scribe, targets)
    finally:
        scribe.close()
        for database in targets:
            cluster.dropdb(database)
