"""What no copy can have is reported: when it happens, and where it is already; none of it stops a restore silently."""

from __future__ import annotations

import re

import psycopg
import pytest
from cases import assert_both_restores_equal
from cluster import Cluster
from source import Scribe
from test_inexact import rotated

from scribe.source.unqualified import find_unqualified
from scribe.source.unrestorable import find_absent, find_absent_values

USES_OURS = """
CREATE VIEW sv AS SELECT statement FROM scribe.ddl_history;
CREATE TABLE s1 (a int PRIMARY KEY, b boolean DEFAULT scribe.is_active());
INSERT INTO s1 (a) VALUES (1);
CREATE FUNCTION sf(scribe.config) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE TABLE s2 (LIKE scribe.config);
CREATE TABLE s4 (a int PRIMARY KEY, b scribe.config);
INSERT INTO s4 VALUES (1, ROW(true, 1, 1, 'full'));
CREATE TABLE s5 (a int PRIMARY KEY REFERENCES scribe.replica_identity);
ALTER TABLE s1 ADD e boolean DEFAULT scribe.is_active();
CREATE TABLE s7 (a regclass DEFAULT 'scribe.ddl_history');
CREATE MATERIALIZED VIEW sm AS SELECT count(*) FROM scribe.ddl_history;
CREATE POLICY spol ON s1 USING (EXISTS (SELECT FROM scribe.config));
CREATE DOMAIN sd AS int CHECK (scribe.is_active());
GRANT SELECT ON scribe.ddl_history TO PUBLIC;
COMMENT ON VIEW sv IS 'mine';
GRANT SELECT ON sv TO PUBLIC;
CREATE ROLE scribe_gone;
CREATE TABLE acls (a int PRIMARY KEY, item aclitem, items aclitem[], c regclass);
INSERT INTO acls VALUES (1, 'scribe_gone=r/postgres', '{scribe_gone=r/postgres,=r/postgres}', 'acls');
DROP ROLE scribe_gone;
UPDATE acls SET a = 2;
INSERT INTO acls (a, c) SELECT 3, reltoastrelid FROM pg_class WHERE relname = 'acls';
CREATE TABLE last (a int PRIMARY KEY);
"""
REFUSES = """
CREATE FUNCTION refuses(int) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN IF current_setting('session_replication_role') = 'replica' THEN RAISE 'no'; END IF; RETURN true; END $$;
CREATE DOMAIN refused AS int CHECK (refuses(VALUE));
CREATE TABLE r (a refused);
"""


def test_what_is_made_of_our_own_is_left_out_and_flagged_and_nothing_stops(scribe: Scribe, cluster: Cluster) -> None:
    dbname, copy = scribe.dbname, f"{scribe.dbname}_copy"
    scribe.run("scribe-init")
    scribe.start_stream()
    cluster.psql(USES_OURS, dbname)
    _, warnings = rotated(scribe)
    default = "default value for column b of table public.s1 uses"
    for what in ("view public.sv uses", default, "column b of table public.s4"):
        assert [warning for warning in warnings if what in warning and "which no copy has" in warning] != [], warnings
    assert [warning for warning in warnings if "privileges of a role that is gone" in warning] != []
    assert not any("nothing told how" in warning for warning in warnings)
    found = scribe.run("scribe-check", "--only", "ddl", check=False)
    assert found.returncode == 2, found.stdout
    scribe.run("scribe-restore", "-d", copy, "--no-globals")
    try:
        assert cluster.query("SELECT a, b, e FROM s1", copy) == [(1, True, True)]
        assert cluster.query("SELECT a FROM s4", copy) == [(1,)]
        acls = cluster.query("SELECT a, item::text, items::text, c::oid IS NULL FROM acls ORDER BY a", copy)
        assert acls == [(2, None, "{=r/postgres}", False), (3, None, None, False)]
        assert cluster.query("SELECT to_regclass('last')::text, to_regclass('sv')::text", copy) == [("last", None)]
    finally:
        cluster.dropdb(copy)
    with cluster.connect(dbname, options="-c search_path=") as conn:
        assert any(absent.text.startswith("rule _RETURN on view public.sv uses") for absent in find_absent(conn))
        assert [(value.table, value.column) for value in find_absent_values(conn)] == [
            ("acls", "c"),
            ("acls", "item"),
            ("acls", "items"),
        ]
    said = scribe.run("scribe-init", "--check-only").stdout
    assert re.search(r"(?m)^warning +objects no copy has: .*, which no copy has and \d+ more; drop ", said)


def test_no_base_is_taken_while_a_session_s_objects_are_part_of_the_schema(scribe: Scribe, cluster: Cluster) -> None:
    dbname = scribe.dbname
    scribe.run("scribe-init")
    with cluster.connect(dbname) as conn:
        conn.execute("CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1'")
        conn.execute("CREATE TABLE p (a int PRIMARY KEY, b int DEFAULT pg_temp.f())")
        refused = scribe.run("scribe-dump", check=False)
        assert refused.returncode == 75
        assert "default value for column b of table public.p uses function" in refused.stderr
        assert re.search("hint: End the session that made function .*, or drop default value", refused.stderr)
        conn.execute("DISCARD TEMP")
        scribe.run("scribe-dump")


def test_no_base_is_taken_of_a_null_that_no_dump_gets_past_its_domain(scribe: Scribe, cluster: Cluster) -> None:
    """It is in segments (tests/cases), and in no base: psql would stop there."""
    given = "SELECT NULL::given WHERE false"
    cluster.psql(
        "CREATE DOMAIN given AS int NOT NULL; CREATE DOMAIN g2 AS given; CREATE TABLE n (id int, v g2, w given);"
        f"INSERT INTO n VALUES (1, 1, 1), (2, 2, ({given}))",
        scribe.dbname,
    )
    refused = scribe.run("scribe-init", check=False)
    fault = "a row has NULL in public.n.w, whose domain public.given is NOT NULL: no dump of it can be loaded"
    assert refused.returncode == 1
    assert f"failed   objects no copy has: {fault}; give such rows a value" in refused.stdout
    cluster.psql("UPDATE n SET w = 2 WHERE id = 2", scribe.dbname)
    scribe.run("scribe-init")
    cluster.psql("UPDATE n SET v = (SELECT NULL::g2 WHERE false) WHERE id = 1", scribe.dbname)
    refused = scribe.run("scribe-dump", check=False)
    assert refused.returncode == 1
    assert "could not take a base that can be restored: a row has NULL in public.n.v, whose domain" in refused.stderr
    hint = re.search(r'hint: .*run "(ALTER DOMAIN .*)", then run the same command again', refused.stderr)
    assert len(list((scribe.archive / "base").iterdir())) == 1
    found = scribe.run("scribe-check", "--only", "ddl", check=False)
    assert found.returncode == 1 and "a row has NULL in public.n.v" in found.stdout
    assert hint is not None
    cluster.psql(hint[1], scribe.dbname)
    scribe.run("scribe-dump")


def test_what_uses_a_toast_table_is_left_out_and_flagged_and_keeps_a_base_from_being_taken(
    scribe: Scribe, cluster: Cluster
) -> None:
    scribe.run("scribe-init")
    scribe.start_stream()
    cluster.psql("CREATE TABLE wide (id int PRIMARY KEY, v text)", scribe.dbname)
    toast = cluster.query("SELECT reltoastrelid::regclass::text FROM pg_class WHERE relname = 'wide'", scribe.dbname)
    cluster.psql(f"CREATE VIEW chunks AS SELECT * FROM {toast[0][0]}", scribe.dbname)
    _, warnings = rotated(scribe)
    assert [warning for warning in warnings if "view public.chunks uses" in warning], warnings
    refused = scribe.run("scribe-dump", check=False)
    assert refused.returncode == 75
    assert "hint: Drop rule _RETURN on view public.chunks, then run the same command again" in refused.stderr
    cluster.psql("DROP VIEW chunks", scribe.dbname)
    scribe.run("scribe-dump")


def test_a_function_that_refuses_to_work_in_a_replica_is_reported(database: str, cluster: Cluster) -> None:
    cluster.psql(REFUSES, database)
    with cluster.connect(database, options="-c search_path=") as conn:
        (found,) = find_unqualified(conn, "scribe_decoder")
    assert found.text.endswith('asks for session_replication_role, which is "replica" in a restore')
    assert found.hint.startswith("Change public.refuses(integer), or what uses it")
    with pytest.raises(psycopg.errors.RaiseException):
        cluster.query("SET session_replication_role = replica; INSERT INTO r VALUES (1)", database)


def test_what_its_owner_added_to_an_extension_is_reported_and_what_a_script_made_is_not(
    database: str, cluster: Cluster
) -> None:
    """Who may create objects in a database may own a trusted extension; pg_dump leaves out what belongs to one."""
    cluster.psql(
        "DO $$ BEGIN CREATE ROLE mallory LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;"
        f'CREATE SCHEMA mallory AUTHORIZATION mallory; GRANT CREATE ON DATABASE "{database}" TO mallory',
        database,
    )
    with cluster.connect(database, user="mallory") as conn:
        conn.execute(
            "CREATE EXTENSION hstore SCHEMA mallory; CREATE TABLE mallory.t (a int);"
            "CREATE FUNCTION mallory.f() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE SCHEMA other;"
            "ALTER EXTENSION hstore ADD TABLE mallory.t; ALTER EXTENSION hstore ADD FUNCTION mallory.f();"
            "BEGIN; CREATE TABLE mallory.u (a int); ALTER EXTENSION hstore ADD TABLE mallory.u; COMMIT;"
            "ALTER EXTENSION hstore ADD SCHEMA other"
        )
    cluster.psql("ALTER FUNCTION mallory.hstore_to_json(mallory.hstore) OWNER TO mallory", database)
    cluster.psql("CREATE SCHEMA moved; ALTER EXTENSION hstore SET SCHEMA moved; VACUUM FULL pg_depend", database)
    with cluster.connect(database, options="-c search_path=") as conn:
        found = find_absent(conn)
        users = [absent.user for absent in found]
        assert users == ["FUNCTION moved.f()", "SCHEMA other", "TABLE moved.t", "TABLE moved.u"]
        assert found[2].text.startswith("TABLE moved.t was added to extension hstore and is in no base: ")
        assert found[2].remedy == 'Run "ALTER EXTENSION hstore DROP TABLE moved.t", then take a new base'


def test_what_lies_in_the_servers_own_schemas_is_reported(database: str, cluster: Cluster) -> None:
    """pg_dump takes it for the server's own; the hint works as it is printed."""
    cluster.psql(
        "CREATE SCHEMA own; CREATE FUNCTION pg_catalog.mine(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1';"
        "CREATE OPERATOR pg_catalog.=== (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq);"
        "CREATE TYPE pg_catalog.span AS RANGE (SUBTYPE = int); CREATE EXTENSION hstore SCHEMA pg_catalog",
        database,
    )
    with cluster.connect(database, options="-c search_path=") as conn:
        found = find_absent(conn)
        users = [absent.user for absent in found]
        assert users[0] == "FUNCTION pg_catalog.mine(integer)"
        assert users[1] == "OPERATOR pg_catalog.===(integer,integer)"
        assert "TYPE pg_catalog.span" in users and not any("hstore" in user for user in users)
        assert found[0].text.startswith(f"{users[0]} is in a schema of the server's, and so in no base: ")
        for absent in found:
            command = re.search('"(.*)"', absent.remedy)
            assert command is not None
            conn.execute(command[1].replace("...", "own").encode())
        assert find_absent(conn) == []


def test_what_values_name_and_went_before_the_commit_stops_nothing(scribe: Scribe, cluster: Cluster) -> None:
    """What a transaction sees is older than what others, decoded before it, have left."""
    dbname, copy = scribe.dbname, f"{scribe.dbname}_copy"
    objects = (
        "CREATE SCHEMA sch; CREATE TABLE went (a int PRIMARY KEY);"
        "CREATE FUNCTION fun() RETURNS int LANGUAGE sql AS 'SELECT 1';"
        "CREATE TYPE typ AS ENUM ('a'); CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq);"
        'CREATE TEXT SEARCH CONFIGURATION con (COPY = simple); CREATE COLLATION col FROM "C";'
        "CREATE TEXT SEARCH DICTIONARY dic (TEMPLATE = simple)"
    )
    names = {
        "regnamespace": "sch",
        "regclass": "went",
        "regproc": "fun",
        "regtype": "typ",
        "regoperator": "===(int,int)",
        "regconfig": "con",
        "regcollation": "col",
        "regdictionary": "dic",
    }
    values = ", ".join(f"'{name}'::{kind}" for kind, name in names.items())
    columns = ", ".join(f"{kind}_ {kind}" for kind in names)
    cluster.psql(f"CREATE TABLE acls (a int PRIMARY KEY, item aclitem, {columns}); CREATE ROLE scribe_went", dbname)
    cluster.psql(objects, dbname)
    scribe.run("scribe-init")
    scribe.start_stream()
    with cluster.connect(dbname) as conn, conn.transaction():
        conn.execute(f"INSERT INTO acls VALUES (1, 'scribe_went=r/postgres', {values})")
        conn.execute("CREATE TABLE own (a int PRIMARY KEY); INSERT INTO acls VALUES (3, NULL, NULL, 'own')")
        cluster.psql(
            "DROP ROLE scribe_went; DROP SCHEMA sch; DROP TABLE went; DROP FUNCTION fun; DROP TYPE typ;"
            "DROP OPERATOR === (int, int); DROP TEXT SEARCH CONFIGURATION con; DROP COLLATION col;"
            "DROP TEXT SEARCH DICTIONARY dic",
            dbname,
        )
        cluster.psql("INSERT INTO acls VALUES (2)", dbname)
    _, warnings = rotated(scribe)
    assert [warning for warning in warnings if "privileges of a role that is gone" in warning] != []
    scribe.run("scribe-restore", "-d", copy, "--no-globals")
    try:
        assert cluster.query("SELECT count(item) FROM acls", copy) == [(0,)]
        query = f"SELECT {', '.join(f'{kind}_::oid' for kind in names)} FROM acls WHERE a = 1"
        assert cluster.query(query, copy) == cluster.query(query, dbname)
        assert cluster.query("SELECT regclass_::text FROM acls WHERE a = 3", copy) == [("own",)]
        assert cluster.query("SELECT FROM pg_roles WHERE rolname = 'scribe_went'") == []
    finally:
        cluster.dropdb(copy)


def test_what_values_name_and_was_renamed_before_the_commit_has_its_new_name(
    scribe: Scribe, targets: tuple[str, str]
) -> None:
    """By others, whose transactions come first in a segment; what it renames itself has its old name until then."""
    cluster, dbname = scribe.cluster, scribe.dbname
    cluster.psql(
        'CREATE SCHEMA sch; CREATE SCHEMA "Old"; CREATE TABLE tab (a int PRIMARY KEY);'
        'CREATE TABLE "Old".inside (a int);'
        "CREATE TYPE typ AS ENUM ('a'); CREATE FUNCTION fun(typ[], int) RETURNS int LANGUAGE sql AS 'SELECT 1';"
        "CREATE FUNCTION same(typ) RETURNS int LANGUAGE sql AS 'SELECT 1';"
        "CREATE FUNCTION eq(typ, typ) RETURNS boolean LANGUAGE sql AS 'SELECT $1 = $2';"
        'CREATE OPERATOR === (LEFTARG = typ, RIGHTARG = typ, FUNCTION = eq); CREATE COLLATION col FROM "C";'
        "CREATE TEXT SEARCH CONFIGURATION con (COPY = simple); CREATE TEXT SEARCH DICTIONARY dic (TEMPLATE = simple);"
        "CREATE TABLE named (a int PRIMARY KEY, n regnamespace[], c regclass[], p regprocedure[], f regproc,"
        " t regtype[], o regoperator, r regoper, g regconfig, d regdictionary, l regcollation);"
        "CREATE TABLE own (a int PRIMARY KEY)",
        dbname,
    )
    scribe.run("scribe-init")
    scribe.start_stream()
    with cluster.connect(dbname) as conn, conn.transaction():
        conn.execute(
            'INSERT INTO named VALUES (1, \'{sch,"\\"Old\\"",NULL}\', \'{tab,"\\"Old\\".inside",own}\','
            " '{\"fun(typ[],int)\",same(typ)}', 'fun', '{typ,typ[],int}', '===(typ,typ)', '===', 'con', 'dic', 'col')"
        )
        cluster.psql(
            'ALTER SCHEMA "Old" RENAME TO "It\'s new"; ALTER TABLE tab RENAME TO "Tab 2";'
            "ALTER SCHEMA sch RENAME TO other;"
            "ALTER TYPE typ RENAME TO kind; ALTER FUNCTION fun RENAME TO works; ALTER COLLATION col RENAME TO sorts;"
            "ALTER OPERATOR === (kind, kind) SET SCHEMA other; ALTER TEXT SEARCH DICTIONARY dic SET SCHEMA other;"
            "ALTER TEXT SEARCH CONFIGURATION con RENAME TO conf",
            dbname,
        )
        conn.execute("ALTER TABLE own RENAME TO mine")
    scribe.run("scribe-rotate", "--wait-lsn", "current")
    assert_both_restores_equal(scribe, targets)
