"""A schema scribe that somebody else made first: no program reads or calls anything in it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import psycopg
import pytest
from cluster import Cluster
from restoring import TABLES, Target, insert
from source import Scribe

from scribe.common.errors import UsageError
from scribe.source.ownership import has_function, has_table, refuse_strangers

# It tells in the server's log as whom it runs, also from a transaction that is rolled back.
SHOUT = (
    "CREATE FUNCTION scribe.shout() RETURNS bigint LANGUAGE plpgsql VOLATILE AS"
    " $$ BEGIN RAISE LOG 'shout as %', current_user; RETURN 1; END $$;"
    "CREATE FUNCTION scribe.told(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS"
    " $$ BEGIN PERFORM scribe.shout(); RETURN $1; END $$;"
)
VIEW = "CREATE VIEW scribe.{} AS SELECT {} FROM (SELECT scribe.shout() AS x) AS s;"
COLUMNS = "x AS system_identifier, x::oid AS database_oid, x::text AS token, 'full' AS replica_identity"
PLANTS = {
    "a view config": VIEW.format("config", COLUMNS),
    "a view ddl_history": VIEW.format("ddl_history", "x AS id, false AS exact, 'lost' AS kind, now() AS at"),
    "a view replica_identity": VIEW.format("replica_identity", "x::oid AS relid"),
    "a view position": VIEW.format("position", "'0/1'::pg_lsn AS lsn, x > 1 AS inside"),
    "functions": "CREATE FUNCTION scribe.reconcile() RETURNS void LANGUAGE sql AS 'SELECT scribe.shout()';"
    "CREATE FUNCTION scribe.write_mark(text) RETURNS pg_lsn LANGUAGE sql AS"
    " 'SELECT scribe.shout(); SELECT NULL::pg_lsn';"
    "CREATE FUNCTION scribe.run_own(text) RETURNS void LANGUAGE sql AS 'SELECT scribe.shout()';"
    "CREATE FUNCTION scribe.flag_lost(text) RETURNS void LANGUAGE sql AS 'SELECT scribe.shout()';",
    "a table with statistics": "CREATE TABLE scribe.position (lsn pg_lsn, inside bool, a int);"
    "INSERT INTO scribe.position VALUES ('0/1', false, 1);"
    "CREATE STATISTICS scribe.s ON (a + scribe.told(1)), a FROM scribe.position;"
    "CREATE TABLE scribe.config (system_identifier bigint, database_oid oid, a int);"
    "CREATE STATISTICS scribe.c ON (a + scribe.told(1)), a FROM scribe.config;",
}


@pytest.fixture
def mallory(scribe: Scribe, cluster: Cluster) -> Iterator[Scribe]:
    """A source in which an ordinary role may make schemas."""
    cluster.psql(
        "DO $$ BEGIN CREATE ROLE mallory LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;"
        f'GRANT CREATE ON DATABASE "{scribe.dbname}" TO mallory',
        scribe.dbname,
    )
    yield scribe


def plant(cluster: Cluster, database: str, what: str) -> None:
    cluster.psql(f"SET ROLE mallory; CREATE SCHEMA scribe; {SHOUT}{PLANTS[what]}", database)


def shouts(cluster: Cluster) -> list[str]:
    return re.findall("shout as (.*)", cluster.log.read_text(errors="replace"))


def test_the_first_init_reads_nothing_that_a_stranger_has_planted(mallory: Scribe, cluster: Cluster) -> None:
    before = shouts(cluster)
    for what in PLANTS:
        plant(cluster, mallory.dbname, what)
        for arguments in (["--check-only"], [], ["-n"], ["--remove"]):
            result = mallory.run("scribe-init", *arguments, check=False)
            assert result.returncode in (1, 2), result.stdout + result.stderr
            assert "schema scribe belongs to role mallory" in result.stdout + result.stderr, (what, arguments)
        assert shouts(cluster) == before, what
        assert not mallory.archive.exists()
        cluster.psql("DROP SCHEMA scribe CASCADE", mallory.dbname)


def test_no_program_touches_what_took_the_place_of_capture(mallory: Scribe, cluster: Cluster) -> None:
    cluster.psql("CREATE TABLE t (id int PRIMARY KEY)", mallory.dbname)
    mallory.run("scribe-init")
    mallory.start_stream()
    before = shouts(cluster)
    for what in PLANTS:
        cluster.psql("SET session_replication_role = replica; DROP SCHEMA scribe CASCADE", mallory.dbname)
        plant(cluster, mallory.dbname, what)
        for program, *arguments in (
            ["scribe-rotate"],
            ["scribe-check"],
            ["scribe-init"],
        ):
            mallory.run(program, *arguments, check=False)
        assert shouts(cluster) == before, what
    for program, *arguments in (["scribe-rotate", "--record"], ["scribe-dump"], ["scribe-init", "--remove"]):
        mallory.run(program, *arguments, check=False)
    assert shouts(cluster) == before


def test_a_table_or_function_that_a_stranger_owns_is_refused_in_a_superusers_schema(
    mallory: Scribe, cluster: Cluster
) -> None:
    cluster.psql(
        "CREATE SCHEMA scribe; GRANT CREATE, USAGE ON SCHEMA scribe TO mallory; SET ROLE mallory;"
        "CREATE TABLE scribe.config (x int)",
        mallory.dbname,
    )
    with cluster.connect(mallory.dbname) as conn:
        with pytest.raises(UsageError, match="relation scribe.config belongs to role mallory"):
            has_table(conn, "position")
        conn.execute("DROP TABLE scribe.config")
        with pytest.raises(UsageError, match="role mallory may create objects in schema scribe"):
            refuse_strangers(conn)
        conn.execute("GRANT CREATE ON SCHEMA scribe TO PUBLIC; REVOKE CREATE ON SCHEMA scribe FROM mallory")
        with pytest.raises(UsageError, match="everybody may create objects in schema scribe"):
            refuse_strangers(conn)
        conn.execute("REVOKE CREATE ON SCHEMA scribe FROM PUBLIC")
        refuse_strangers(conn)
        conn.execute("CREATE VIEW scribe.config AS SELECT 1")
        with pytest.raises(UsageError, match="relation scribe.config is no table"):
            has_table(conn, "config")
        assert not has_function(conn, "reconcile")
        conn.execute("CREATE FUNCTION scribe.reconcile() RETURNS int LANGUAGE sql AS 'SELECT 1'")
        assert has_function(conn, "reconcile")
        conn.execute("ALTER FUNCTION scribe.reconcile() OWNER TO mallory")
        with pytest.raises(UsageError, match="function scribe.reconcile belongs to role mallory"):
            has_function(conn, "reconcile")


def test_a_restore_does_not_resume_in_a_database_whose_position_is_a_strangers(
    mallory: Scribe, cluster: Cluster
) -> None:
    mallory.run("scribe-init")
    target = f"{mallory.dbname}_copy"
    cluster.createdb(target)
    before = shouts(cluster)
    try:
        cluster.psql(f'GRANT CREATE ON DATABASE "{target}" TO mallory')
        plant(cluster, target, "a view position")
        result = mallory.run("scribe-restore", "-d", target, "--resume", check=False)
        assert result.returncode == 2
        assert "schema scribe belongs to role mallory" in result.stderr
        assert shouts(cluster) == before
    finally:
        cluster.dropdb(target)


def test_nobody_has_a_part_in_what_a_restore_keeps_in_the_copy(cluster: Cluster, target: Target) -> None:
    """Who may write there names roles to be changed, or has a trigger act when the position is moved."""
    cluster.psql(
        "DO $$ BEGIN CREATE ROLE mallory LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;"
        "GRANT pg_read_all_data, pg_write_all_data TO mallory"
    )
    given = "ALTER DEFAULT PRIVILEGES FOR ROLE postgres GRANT ALL ON {} TO {};\n"
    pairs = [(kind, to) for kind in ("SCHEMAS", "TABLES", "FUNCTIONS") for to in ("mallory", "PUBLIC")]
    target.archive.base("".join(given.format(*pair) for pair in pairs) + TABLES)
    target.archive.segment([insert(2)])
    try:
        target.run()
        others = (
            "SELECT o.name FROM (SELECT nspname AS name, nspacl AS acl FROM pg_namespace WHERE nspname = 'scribe'"
            " UNION ALL SELECT relname, relacl FROM pg_class WHERE relnamespace = 'scribe'::regnamespace) AS o,"
            " aclexplode(o.acl) AS a WHERE a.grantee <> 'postgres'::regrole"
        )
        assert target.rows(others) == []
        with cluster.connect(target.name, user="mallory") as conn:
            with pytest.raises(psycopg.Error, match="only a restore writes into scribe.made"):
                conn.execute("INSERT INTO scribe.made VALUES ('role', 'postgres')")
            with pytest.raises(psycopg.Error, match="permission denied for table position"):
                conn.execute("CREATE TRIGGER t BEFORE UPDATE ON scribe.position EXECUTE FUNCTION pg_catalog.now()")
    finally:
        cluster.psql("REVOKE pg_read_all_data, pg_write_all_data FROM mallory")
