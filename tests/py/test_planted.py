"""What strangers planted where our files look, or were given by default, runs as nobody else and gives them nothing."""

from __future__ import annotations

import subprocess

import pytest
from cluster import ROOT, Cluster
from source import Scribe

FILES = (
    *("capture", "pgoutput", "decoder_raw", "uncapture", "roles", "monitor", "identities", "drop_slot", "fingerprint"),
)
PLANT = """
CREATE SCHEMA scribe;
CREATE FUNCTION scribe.shout() RETURNS int LANGUAGE plpgsql AS
  $$ BEGIN RAISE NOTICE 'shout as %', current_user; RETURN 1; END $$;
CREATE FUNCTION scribe.fire() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM scribe.shout(); RETURN NEW; END $$;
CREATE FUNCTION scribe.set_privileges() RETURNS void LANGUAGE sql AS 'SELECT scribe.shout()';
CREATE FUNCTION scribe.read_base_facts(oid[]) RETURNS TABLE (relid oid, facts text) LANGUAGE sql
  AS 'SELECT scribe.shout()::oid, NULL::text';
CREATE TABLE scribe.at_work (xact xid8 NOT NULL);
CREATE TRIGGER fire BEFORE INSERT OR DELETE ON scribe.at_work FOR EACH STATEMENT EXECUTE FUNCTION scribe.fire();
ALTER TABLE scribe.at_work ENABLE ALWAYS TRIGGER fire;
CREATE VIEW scribe.replica_identity AS SELECT scribe.shout()::oid AS relid;
CREATE VIEW scribe.config AS SELECT scribe.shout() = 1 AS one, 1::bigint AS system_identifier, 1::oid AS database_oid;
CREATE VIEW scribe.ddl_history AS SELECT scribe.shout()::bigint AS id, now() AS at, 'x'::text AS kind;
"""
# What a superuser may have given an application long before pg_scribe came.
KINDS = ("TABLES", "FUNCTIONS", "SCHEMAS", "TYPES")
DEFAULTS = "; ".join(f"ALTER DEFAULT PRIVILEGES GRANT ALL ON {kind} TO mallory" for kind in KINDS)


@pytest.fixture
def owned(cluster: Cluster, database: str) -> str:
    """A database that is mallory's own."""
    cluster.psql("DO $$ BEGIN CREATE ROLE mallory LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
    cluster.psql(f'ALTER DATABASE "{database}" OWNER TO mallory')
    return database


def test_a_file_that_a_superuser_runs_by_hand_touches_nothing_that_was_planted(cluster: Cluster, owned: str) -> None:
    """As docs/security.md has them run: by psql, without ON_ERROR_STOP."""
    with cluster.connect(owned, user="mallory") as conn:
        conn.execute(PLANT)  # type: ignore[arg-type]
    said = {}
    for name in FILES:
        command = [f"{cluster.bindir}/psql", "-Xq", "-d", owned, "-v", "slot=x", "-f", str(ROOT / f"sql/{name}.sql")]
        said[name] = subprocess.run(command, env=cluster.env, capture_output=True, text=True, check=False)
    assert [name for name, result in said.items() if "shout" in result.stderr] == []
    refused = {name for name, result in said.items() if "schema scribe belongs to role mallory" in result.stderr}
    assert refused == set(FILES) - {"drop_slot", "fingerprint"}
    assert all(said[name].returncode == 3 for name in refused)


@pytest.mark.parametrize("decoder", ["scribe_decoder", "pgoutput"])
def test_default_privileges_give_nobody_a_right_on_what_is_ours(
    scribe: Scribe, decoder: str, request: pytest.FixtureRequest
) -> None:
    """A trigger on a table of ours would run as a superuser at the next schema change of anybody."""
    cluster, database = scribe.cluster, scribe.dbname
    cluster.psql("DO $$ BEGIN CREATE ROLE mallory LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
    cluster.psql('DO $$ BEGIN CREATE ROLE "Mallory" LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$')
    cluster.psql(DEFAULTS + DEFAULTS.replace("mallory", '"Mallory"').replace("ALTER", "; ALTER", 1), database)
    request.addfinalizer(lambda: cluster.psql('DROP OWNED BY mallory, "Mallory"', database))
    scribe.settings["SCRIBE_DECODER"] = decoder
    for _ in range(2):
        scribe.run("scribe-init")
        assert rights(cluster, database, "mallory") == rights(cluster, database, "Mallory") == []
    assert cluster.value("SELECT has_schema_privilege('mallory', 'scribe', 'USAGE')", database) is False
    cluster.psql("CREATE TABLE loads (a int PRIMARY KEY)", database)
    assert cluster.value("SELECT count(*) FROM scribe.ddl_history WHERE statement LIKE 'CREATE TABLE loads%'", database)


def rights(cluster: Cluster, database: str, role: str) -> list[tuple[object, ...]]:
    """What a role may do with the objects of schema scribe."""
    return cluster.query(
        f"""
        SELECT c.oid::regclass::text FROM pg_class AS c
            WHERE c.relnamespace = 'scribe'::regnamespace AND relkind IN ('r', 'v')
            AND (has_table_privilege('{role}', c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
                OR has_any_column_privilege('{role}', c.oid, 'SELECT, INSERT, UPDATE, REFERENCES'))
        UNION ALL SELECT p.oid::regprocedure::text FROM pg_proc AS p
            WHERE p.pronamespace = 'scribe'::regnamespace AND has_function_privilege('{role}', p.oid, 'EXECUTE')
        UNION ALL SELECT t.oid::regtype::text FROM pg_type AS t
            WHERE t.typnamespace = 'scribe'::regnamespace AND has_type_privilege('{role}', t.oid, 'USAGE')
        UNION ALL SELECT 'schema' WHERE has_schema_privilege('{role}', 'scribe', 'CREATE')
        """,
        database,
    )


def test_a_role_that_somebody_made_first_gets_no_rights(cluster: Cluster, database: str) -> None:
    """Who may make roles knows its password, or is its member."""
    cluster.psql("DO $$ BEGIN CREATE ROLE maker LOGIN CREATEROLE; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
    cluster.psql((ROOT / "sql/capture.sql").read_text(), database)
    roles = ("planted_stream", "planted_dump", "planted_restore")
    name_them = [f"{role.removeprefix('planted_')}={role}" for role in roles]
    given = "SELECT rolreplication OR rolbypassrls OR rolcreatedb OR pg_has_role(oid, 'pg_monitor', 'MEMBER')"

    def run(name: str, *more: str) -> subprocess.CompletedProcess[str]:
        values = [word for value in (*name_them, *more) for word in ("-v", value)]
        command = [f"{cluster.bindir}/psql", "-Xq", "-d", database, *values, "-f", str(ROOT / f"sql/{name}.sql")]
        return subprocess.run(command, env=cluster.env, capture_output=True, text=True, check=False)

    def drop() -> None:
        cluster.psql("".join(f"DROP OWNED BY {role}; DROP ROLE {role};" for role in roles), database)

    with cluster.connect(database, user="maker") as maker:
        for role in roles:
            maker.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'known'")
    try:
        names = [("roles", "planted_stream")]
        if cluster.version_num >= 150000:
            names.append(("roles_restore", "planted_restore"))
        else:
            refused = run("roles_restore")
            assert (refused.returncode, "needs PostgreSQL 15 or newer" in refused.stderr) == (3, True)
        for name, role in names:
            refused = run(name)
            assert refused.returncode == 3
            assert f"role {role} is there and has no" in refused.stderr
            assert "-v existing=on" in refused.stderr
            assert cluster.value(f"{given} FROM pg_roles WHERE rolname = '{role}'", database) is False
            assert run(name, "existing=on").returncode == 0
            assert run(name).returncode == 0  # it has all of it, and gains nothing
    finally:
        drop()
