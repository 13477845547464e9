"""Locks that anybody may take keep no program of ours waiting."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cluster import ROOT, Cluster

from scribe.common.postgres import connect, lock_number, try_advisory_lock

CAPTURE = (ROOT / "sql/capture.sql").read_text()
FILES = ("capture.sql", "pgoutput.sql")
# A row stays behind in scribe.rewritten: at the command's end nothing can be written any more.
LEAVE_A_ROW = (
    "CREATE FUNCTION mallory.seal(int) RETURNS bigint LANGUAGE plpgsql AS"
    " $$ BEGIN PERFORM set_config('transaction_read_only', 'on', true); RETURN $1; END $$",
    "CREATE TABLE mallory.t (a int PRIMARY KEY)",
    "INSERT INTO mallory.t VALUES (1)",
    "ALTER TABLE mallory.t ALTER a TYPE bigint USING mallory.seal(a)",
)


@pytest.fixture
def database_of_mallorys(cluster: Cluster, database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A database to which connect() goes, and a role mallory that may log in."""
    cluster.psql("DO $$ BEGIN CREATE ROLE mallory LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;", database)
    for name, value in {"PGHOST": cluster.host, "PGPORT": str(cluster.port), "PGUSER": "postgres"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PGDATABASE", database)
    yield database


def test_a_lock_counts_only_if_a_run_of_ours_may_have_it(cluster: Cluster, database_of_mallorys: str) -> None:
    number = lock_number("pg_scribe init")
    with cluster.connect(database_of_mallorys, user="mallory") as mallory:
        mallory.execute("SELECT pg_advisory_lock(%s)", [number])
        with connect() as conn:
            assert try_advisory_lock(conn, "pg_scribe init")
    with connect() as first, connect() as second:
        assert try_advisory_lock(first, "pg_scribe init")
        assert not try_advisory_lock(second, "pg_scribe init")


def test_event_triggers_are_recorded_whatever_numbers_are_locked(cluster: Cluster, database_of_mallorys: str) -> None:
    cluster.psql(CAPTURE, database_of_mallorys)
    with cluster.connect(database_of_mallorys, user="mallory") as mallory:
        mallory.execute("SELECT pg_advisory_lock(hashtext('scribe.seen_event_trigger'))")
        with cluster.connect(database_of_mallorys) as conn:
            conn.execute("SET statement_timeout = '20s'; CREATE TABLE loads (a int PRIMARY KEY)")
            conn.execute("CREATE FUNCTION fired() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'")
            conn.execute("CREATE EVENT TRIGGER theirs ON ddl_command_end EXECUTE FUNCTION fired()")
            conn.execute("SELECT scribe.reconcile(true)")
    query = "SELECT count(*) FROM scribe.ddl_history WHERE statement LIKE 'CREATE EVENT TRIGGER theirs%'"
    assert int(str(cluster.value(query, database_of_mallorys))) > 0


def test_nobody_can_hold_up_the_removal_by_reading(cluster: Cluster, database_of_mallorys: str) -> None:
    cluster.psql(CAPTURE, database_of_mallorys)
    query = "SELECT count(*) FROM pg_class AS c, pg_namespace AS n WHERE n.oid = relnamespace AND nspname = 'scribe'"
    query += " AND relkind IN ('r', 'v') AND (has_table_privilege('mallory', c.oid, 'SELECT, INSERT, UPDATE, DELETE')"
    query += " OR has_any_column_privilege('mallory', c.oid, 'SELECT'))"
    assert cluster.value(query, database_of_mallorys) == 0


@pytest.fixture(params=FILES)
def captured(request: pytest.FixtureRequest, cluster: Cluster, database_of_mallorys: str) -> str:
    """A database with capture, and with a schema of mallory's."""
    cluster.psql((ROOT / "sql" / request.param).read_text(), database_of_mallorys)
    cluster.psql("CREATE SCHEMA mallory AUTHORIZATION mallory", database_of_mallorys)
    return database_of_mallorys


def test_a_transaction_left_open_keeps_nobody_waiting(cluster: Cluster, captured: str) -> None:
    cluster.psql("CREATE TABLE victim (a int PRIMARY KEY)", captured)
    with cluster.connect(captured, user="mallory") as mallory, cluster.connect(captured) as conn:
        conn.execute("SET lock_timeout = '5s'")
        for statement in LEAVE_A_ROW:
            mallory.execute(statement)
        assert conn.execute("SELECT count(*) FROM scribe.rewritten").fetchone() == (1,)
        for statement in (
            "ALTER TABLE mallory.t ALTER a TYPE int",
            "ALTER TABLE mallory.t OWNER TO mallory",
            "DROP OWNED BY mallory",
        ):
            mallory.execute("BEGIN")
            mallory.execute(statement)
            conn.execute("ALTER TABLE victim ADD COLUMN b int")
            conn.execute("ALTER TABLE victim DROP COLUMN b")
            conn.execute(f'GRANT CONNECT ON DATABASE "{captured}" TO pg_monitor')
            conn.execute("SELECT scribe.reconcile(true)")
            mallory.execute("ROLLBACK")
