"""Under which settings a statement ran, and who asked for it, as capture records them."""

from __future__ import annotations

import re
from collections.abc import Iterator

import psycopg
import pytest
from cluster import ROOT, Cluster
from psycopg import sql
from source import hide_library

CAPTURE = (ROOT / "sql/capture.sql").read_text()
PGOUTPUT = (ROOT / "sql/pgoutput.sql").read_text()


@pytest.fixture(params=["library", "without"])
def captured(request: pytest.FixtureRequest, cluster: Cluster, database: str) -> Iterator[str]:
    """A database with capture, with and without its library."""
    cluster.psql(CAPTURE, database)
    if request.param == "without":
        hide_library(cluster, database)
    yield database


def last(cluster: Cluster, database: str, columns: str) -> tuple[object, ...]:
    """Some columns of the last row that was recorded."""
    query = f"SELECT {columns} FROM scribe.ddl_history ORDER BY id DESC LIMIT 1"
    return cluster.query(query, database)[0]  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("extra_float_digits", "-3"),
        ("bytea_output", "escape"),
        ("xmlbinary", "hex"),
        ("quote_all_identifiers", "on"),
        ("array_nulls", "off"),
        ("transform_null_equals", "on"),
        ("DateStyle", "German, DMY"),
        ("standard_conforming_strings", "off"),
        ("default_text_search_config", "pg_catalog.german"),
        ("default_tablespace", "pg_default"),
    ],
)
def test_what_may_change_a_value_is_recorded(cluster: Cluster, captured: str, name: str, value: str) -> None:
    with cluster.connect(captured) as conn:
        try:
            conn.execute(sql.SQL("SELECT set_config({}, {}, false)").format(name, value))
        except psycopg.Error:
            pytest.skip(f"server version: {name} cannot be {value}")
        conn.execute("CREATE TABLE t (a int PRIMARY KEY)")
    assert last(cluster, captured, "settings") == ([name, value],)


def test_what_is_harmless_is_not_recorded(cluster: Cluster, captured: str) -> None:
    with cluster.connect(captured) as conn:
        for name, value in {"work_mem": "1MB", "statement_timeout": "1h", "enable_seqscan": "off"}.items():
            conn.execute("SELECT set_config(%s, %s, false)", [name, value])
        conn.execute("SET TimeZone = 'Etc/UTC'; SET extra_float_digits = 3")
        conn.execute("CREATE TABLE t (a int PRIMARY KEY)")
    assert last(cluster, captured, "settings") == ([],)


def test_settings_of_an_application_are_recorded(cluster: Cluster, captured: str) -> None:
    """Without the library as far as the statement names them, or the database or role has them."""
    with cluster.connect(captured) as conn:
        conn.execute("SET app.tenant = 'it''s'")
        conn.execute("CREATE TABLE t (a text PRIMARY KEY DEFAULT current_setting('app.tenant'))")
        assert last(cluster, captured, "settings") == (["app.tenant", "it's"],)
    cluster.psql(f"ALTER DATABASE \"{captured}\" SET app.region = 'north'", captured)
    with cluster.connect(captured) as conn:
        conn.execute("CREATE TABLE u (a text PRIMARY KEY)")
    assert last(cluster, captured, "settings") == (["app.region", "north"],)


@pytest.mark.parametrize("edition", [CAPTURE, PGOUTPUT], ids=["capture", "pgoutput"])
def test_what_a_role_has_set_for_itself_costs_nobody_elses_schema_changes(
    cluster: Cluster, database: str, edition: str
) -> None:
    """A path of so many schemas was taken apart at each, or read; while it is there, what was seen last stays."""
    made = "SELECT statement FROM scribe.ddl_history WHERE tag = 'ALTER ROLE'"
    read = "SELECT pg_stat_get_xact_numscans('pg_toast.pg_toast_2964_index'::regclass)"  # of pg_db_role_setting
    role = f"verbose_{database}"
    cluster.psql(f"CREATE ROLE {role} LOGIN; ALTER ROLE {role} SET work_mem = '1MB'", database)
    try:
        cluster.psql(edition, database)
        cluster.psql("CREATE TABLE t (a int PRIMARY KEY)", database)
        with cluster.connect(database, user=role) as conn:
            conn.execute(f"ALTER ROLE {role} SET search_path = {', '.join(f'a{i}' for i in range(30_000))}".encode())
        with cluster.connect(database, autocommit=False) as conn:
            conn.execute("ALTER TABLE t ADD COLUMN b int DEFAULT 1; DROP TABLE t")
            conn.execute("SELECT scribe.reconcile()")
            assert conn.execute(read).fetchone() == (0,)
            assert conn.execute(made).fetchall() == []
            conn.execute(f"ALTER ROLE {role} SET search_path = a, \"B c\"; ALTER ROLE {role} RESET work_mem".encode())
            conn.execute("SELECT scribe.reconcile()")
            said = "".join(str(row[0]) for row in conn.execute(made))
        words = ("SET search_path TO 'a', 'B c'", "RESET work_mem")
        assert [word in said for word in words] == [edition is PGOUTPUT] * 2, said
    finally:
        cluster.psql(f"DROP ROLE {role}")


def recorded_settings(conn: psycopg.Connection[tuple[object, ...]], name: str, value: str | None) -> object:
    """What is recorded of a statement under another value of a setting; None where the session may not change it."""
    try:
        conn.execute("SELECT set_config(%s, %s, false)", [name, value])
    except psycopg.Error:
        return None
    conn.execute("CREATE TABLE IF NOT EXISTS made (a int PRIMARY KEY)")
    found = conn.execute("SELECT settings FROM scribe.ddl_history ORDER BY id DESC LIMIT 1").fetchone()
    conn.execute("DROP TABLE made")
    conn.execute(sql.SQL("RESET {}").format(sql.SQL(name)))
    return found


def test_sql_and_c_find_the_same(cluster: Cluster, database: str, request: pytest.FixtureRequest) -> None:
    """For every setting that a session may change, at a value that is not its own."""
    settings = cluster.query(
        "SELECT name, CASE vartype WHEN 'bool' THEN CASE setting WHEN 'on' THEN 'off' ELSE 'on' END"
        " WHEN 'enum' THEN (SELECT v FROM unnest(enumvals) AS v WHERE v <> setting LIMIT 1)"
        " WHEN 'integer' THEN CASE WHEN setting = '1' THEN min_val"
        " ELSE least(greatest(min_val::numeric, 1), max_val::numeric)::text END END"
        " FROM pg_settings WHERE context IN ('user', 'superuser') AND name !~ 'timeout|^transaction_|read_only"
        "|^exit_on_error|^default_tablespace|^role$|^session_|^client_encoding|^log_|^debug_|stack_depth|^event_tr'"
        " ORDER BY name",
        database,
    )
    without = f"{database}_sql"
    cluster.createdb(without)
    request.addfinalizer(lambda: cluster.dropdb(without))
    for name in (database, without):
        cluster.psql(CAPTURE, name)
    hide_library(cluster, without)
    with cluster.connect(database) as conn, cluster.connect(without) as other:
        conn.execute("CREATE TABLE first (a int PRIMARY KEY)")
        found = [(name, *(recorded_settings(c, name, value) for c in (conn, other))) for name, value in settings]
    assert [row for row in found if row[1] != row[2]] == []
    recorded = {name for name, values, _ in found if values not in (None, ([],))}
    assert recorded >= {"IntervalStyle", "array_nulls", "bytea_output", "extra_float_digits"}


def test_who_asked_is_recorded(cluster: Cluster, captured: str) -> None:
    with cluster.connect(captured) as conn:
        conn.execute("SET application_name = 'shop: x'; CREATE ROLE lent; GRANT lent TO postgres")
        conn.execute("GRANT CREATE ON SCHEMA public TO lent; SET ROLE lent")
        try:
            conn.execute("CREATE TABLE public.t (a int PRIMARY KEY)")
            found = last(cluster, captured, "role, session_role, client_addr, application_name")
        finally:
            conn.execute("RESET ROLE; DROP OWNED BY lent; DROP ROLE lent")
    assert found == ("lent", "postgres", None, "shop: x")


def test_a_table_of_an_older_version_is_still_written(cluster: Cluster, captured: str) -> None:
    cluster.psql(
        "ALTER TABLE scribe.ddl_history DROP COLUMN session_role, DROP COLUMN client_addr,"
        " DROP COLUMN application_name",
        captured,
    )
    with cluster.connect(captured) as conn:
        conn.execute("CREATE TABLE t (a int PRIMARY KEY)")
        conn.execute("CREATE TABLE u (a int PRIMARY KEY)")
    assert last(cluster, captured, "statement, exact") == ("CREATE TABLE u (a int PRIMARY KEY)", True)
    cluster.psql(CAPTURE, captured)
    assert last(cluster, captured, "session_role") == (None,)


def test_a_text_that_no_stream_carries_is_flagged(cluster: Cluster, captured: str) -> None:
    with cluster.connect(captured) as conn:
        conn.execute("CREATE TABLE t (a int PRIMARY KEY)")
        conn.execute(
            "DO $do$ BEGIN EXECUTE 'COMMENT ON TABLE t IS ' || quote_literal(repeat(chr(1), 210000000)); END $do$"
        )
    kind, exact, length, reason = last(cluster, captured, "kind, exact, length(statement), reason")
    assert (kind, exact) == ("lost", False)
    assert isinstance(length, int) and length < 100_000
    assert re.search("its text (has|or its settings have) more than|longer", str(reason))


def test_settings_that_no_stream_carries_are_flagged_though_the_text_is_short(cluster: Cluster, database: str) -> None:
    """The library counts by itself."""
    cluster.psql(CAPTURE, database)
    cluster.psql("CREATE OR REPLACE FUNCTION scribe.longest_text() RETURNS int LANGUAGE sql AS 'SELECT 5000'", database)
    hide_library(cluster, database)
    with cluster.connect(database) as conn:
        conn.execute("SELECT set_config('app.tenant', repeat('x', 5000), false)")
        conn.execute("CREATE TABLE t (a int PRIMARY KEY, v text DEFAULT current_setting('app.tenant'))")
    said = ("lost", False, "", "{}", "its text or its settings have more than 5000 bytes")
    assert last(cluster, database, "kind, exact, statement, settings::text, reason") == said


def test_a_short_command_is_carried_whatever_the_length_of_what_the_client_sent(
    cluster: Cluster, captured: str
) -> None:
    cluster.psql("CREATE OR REPLACE FUNCTION scribe.longest_text() RETURNS int LANGUAGE sql AS 'SELECT 5000'", captured)
    with cluster.connect(captured) as conn:
        conn.execute(
            f"DO $do$ BEGIN EXECUTE 'CREATE TABLE t (a int PRIMARY KEY)'; END /* {'x' * 6000} */ $do$".encode()
        )
    assert last(cluster, captured, "kind, exact, statement") == ("ddl", True, "CREATE TABLE t (a int PRIMARY KEY)")


@pytest.mark.parametrize(
    "string",
    [
        "CREATE ROLE keeper PASSWORD 'hush1'; CREATE TABLE t (a int PRIMARY KEY)",
        "CREATE TABLE t (a int PRIMARY KEY); ALTER USER keeper PASSWORD 'hush;1'",
        "/* ; */ CREATE USER keeper ENCRYPTED PASSWORD E'hush\\'1'; -- ;\nCREATE TABLE t (a int PRIMARY KEY)",
        "CREATE /* x */ ROLE keeper PASSWORD $$hush1$$; CREATE TABLE t (a int PRIMARY KEY)",
        "CREATE ROLE keeper PASSWORD $a$hush1$a$; CREATE TABLE t (a int PRIMARY KEY)",
        "CREATE ROLE keeper PASSWORD 'hush1'; CREATE TABLE t AS SELECT 1 AS a",
        "CREATE ROLE keeper PASSWORD 'hush1'; SELECT 1 AS a INTO t",
    ],
)
def test_no_password_is_recorded(cluster: Cluster, database: str, string: str) -> None:
    for text in (CAPTURE, PGOUTPUT):
        cluster.psql(text, database)
    if "ALTER" in string:
        cluster.psql("CREATE ROLE keeper", database)
    try:
        with cluster.connect(database) as conn:
            conn.execute(string)  # type: ignore[arg-type]
    finally:
        cluster.psql("DROP ROLE keeper", database)
    recorded = cluster.query(
        "SELECT statement, kind FROM scribe.ddl_history WHERE tag !~ '^ALTER' ORDER BY id", database
    )
    statement, kind = recorded[-1]
    assert "hush" not in statement
    assert "t (a int PRIMARY KEY)" in statement or "AS a" in statement or kind == "lost"
    assert kind == ("create" if "AS a" in string else "ddl") or "$a$" in string
