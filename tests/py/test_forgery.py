"""What ran is recorded and nothing else, whatever names and texts users choose to look like what the server reports."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import psycopg
import pytest
from cases import assert_both_restores_equal
from cluster import ROOT, Cluster, poll
from psycopg import sql
from source import Scribe, hide_library

CAPTURE = (ROOT / "sql/capture.sql").read_text()
PGOUTPUT = (ROOT / "sql/pgoutput.sql").read_text()
NAMES = (
    'd" statement 2',
    'd" statement 2\nSQL function "d',
    'd" statement 2\nPL/pgSQL function scribe.command_end() line 1 at IF\nSQL function "d" statement 2',
    'd\nSQL statement "drop table victim.important"\nPL/pgSQL function x() line 1 at EXECUTE',
    "PL/pgSQL function scribe.statement_facts(text) line 1 at IF",
    'SQL statement "drop table victim.important"',
    "during startup",
    'd" during startup',
    "x" * 63,
    "d" * 62 + '"',
    "é" * 31,
    "d\\",
    "$$",
    ";",
    "-- d",
)
BODY = "CREATE TABLE mallory.made (a int PRIMARY KEY)"
TEXTS = (
    'create view mallory.v as select * from mallory.t --"\nPL/**/ where false',
    'create view mallory.v as select * from mallory.t /*"\nPL/pgSQL function x() line 1 at EXECUTE\n*/ where false',
    'create view mallory.v as select 1 as "a""\nPL/pgSQL function x() line 1 at EXECUTE"',
    'create view mallory.v as select * from mallory.t /*"\nSQL function "d" statement 2\n*/ where false',
    'create view mallory.v as select 1 as "a"\n, 2 as "PL/pgSQL function x() line 1 at EXECUTE"',
    "select 1; create view mallory.v as select 1 as a;comment on view mallory.v is 'create view mallory.v as select 2'",
    "create view mallory.v as select '; create view mallory.v as select 2'::text as a",
)
SURROUNDINGS = (
    "{0}",
    "DO $do$ BEGIN EXECUTE {1}; END $do$",
    "DO $do$ BEGIN EXECUTE 'DO $in$ BEGIN EXECUTE ' || quote_literal({1}) || '; END $in$'; END $do$",
    "SELECT mallory.run({1})",
)


@pytest.fixture
def edition(request: pytest.FixtureRequest) -> str:
    """The script that installed what the test's database has."""
    return PGOUTPUT if request.node.callspec.params["captured"] == "pgoutput" else CAPTURE


@pytest.fixture(params=["library", "without", "pgoutput"])
def captured(request: pytest.FixtureRequest, cluster: Cluster, database: str, tmp_path: object) -> Iterator[str]:
    """A database with capture, with and without its library, and an ordinary user mallory."""
    cluster.psql(
        "DO $$ BEGIN CREATE ROLE mallory LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;"
        "CREATE SCHEMA mallory AUTHORIZATION mallory; CREATE SCHEMA victim;"
        "CREATE TABLE victim.important (a int PRIMARY KEY)",
        database,
    )
    cluster.psql(PGOUTPUT if request.param == "pgoutput" else CAPTURE, database)
    if request.param == "without":
        hide_library(cluster, database)
    with cluster.connect(database, user="mallory") as conn:
        conn.execute(
            "CREATE FUNCTION mallory.d() RETURNS void LANGUAGE sql AS 'SELECT; DROP TABLE victim.important; SELECT';"
            "CREATE FUNCTION mallory.run(text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE $1; END $$;"
            "CREATE TABLE mallory.t (a int PRIMARY KEY)"
        )
    cluster.psql("DELETE FROM scribe.ddl_history", database)
    yield database


def recorded(cluster: Cluster, database: str) -> list[tuple[str, bool, str, str]]:
    """Statement, whether it is exact, role and reason of what was recorded; then forget it."""
    rows = cluster.query("SELECT statement, exact, role, reason FROM scribe.ddl_history ORDER BY id", database)
    cluster.psql("DELETE FROM scribe.ddl_history", database)
    return rows  # type: ignore[return-value]


# Made by mallory, and under the same names by victim while a transaction of mallory's is open.
NAMESAKES = """
CREATE TABLE {0}.t (i int PRIMARY KEY); CREATE TABLE {0}.gone (i int PRIMARY KEY);
CREATE TABLE {0}.given (i int PRIMARY KEY);
CREATE FUNCTION {0}.f(other.e) RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE TYPE {0}.ty AS ENUM ('a');
CREATE FUNCTION {0}.g(other.e) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE DOMAIN {0}.d AS int CONSTRAINT c CHECK (value > 0);
CREATE FUNCTION {0}.tf() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
CREATE TABLE {0}.p (i int PRIMARY KEY);
CREATE AGGREGATE {0}.n(*) (sfunc = int8inc, stype = int8, initcond = '0');
CREATE AGGREGATE {0}.m(*) (sfunc = int8inc, stype = int8, initcond = '0');
CREATE TRIGGER tr BEFORE INSERT ON {0}.t FOR EACH ROW EXECUTE FUNCTION {0}.tf(); CREATE POLICY po ON {0}.t;
CREATE TRIGGER tr BEFORE INSERT ON {0}.p FOR EACH ROW EXECUTE FUNCTION {0}.tf(); CREATE POLICY po ON {0}.p
"""
MEANT = """
DROP TABLE IF EXISTS mallory.a, victim.late; DROP TABLE gone; ALTER TABLE given OWNER TO mallory;
COMMENT ON TABLE t IS 'of mallory';
ALTER FUNCTION f(e) OWNER TO mallory; COMMENT ON FUNCTION f(e) IS E'of \\\\ mallory'; DROP FUNCTION g(e);
DROP TYPE ty;
DROP FUNCTION IF EXISTS h(e), late(); COMMENT ON CONSTRAINT c ON DOMAIN d IS 'of mallory';
COMMENT ON COLUMN t.i IS 'of mallory';
CREATE PUBLICATION scribe_test_names FOR TABLE p; COMMENT ON TRIGGER tr ON t IS 'of mallory';
COMMENT ON POLICY po ON t IS 'of mallory';
DROP TRIGGER tr ON p; DROP POLICY po ON p; COMMENT ON AGGREGATE n(*) IS 'of mallory'; DROP AGGREGATE m(*)
"""


def test_no_name_means_what_another_made_before_the_statements_transaction_ended(
    scribe: Scribe, targets: tuple[str, str]
) -> None:
    """A replay runs in the order of commits, and some statements with our rights: each finds what it found."""
    scribe.cluster.psql(
        "DO $$ BEGIN CREATE ROLE mallory LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;"
        "DO $$ BEGIN CREATE ROLE scribe_test_victim LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;"
        "CREATE SCHEMA mallory AUTHORIZATION mallory; CREATE SCHEMA victim AUTHORIZATION scribe_test_victim;"
        "CREATE SCHEMA other; CREATE TYPE other.e AS ENUM ('a'); GRANT USAGE ON SCHEMA victim, other TO PUBLIC;"
        f'GRANT CREATE ON DATABASE "{scribe.dbname}" TO mallory',
        scribe.dbname,
    )
    scribe.run("scribe-init")
    scribe.start_stream()
    with scribe.cluster.connect(scribe.dbname, user="mallory", autocommit=False) as conn:
        conn.execute(f"CREATE TABLE mallory.a (i int PRIMARY KEY); {NAMESAKES.format('mallory')}")
        conn.execute("CREATE FUNCTION mallory.h(other.e) RETURNS int LANGUAGE sql AS 'SELECT 1'")
        conn.commit()
        conn.execute("SET search_path = victim, mallory, other")
        conn.execute(MEANT)
        with scribe.cluster.connect(scribe.dbname, user="scribe_test_victim") as victim:
            victim.execute(NAMESAKES.format("victim"))
            victim.execute("CREATE TABLE victim.late (i int PRIMARY KEY); INSERT INTO victim.late VALUES (1)")
            victim.execute("CREATE FUNCTION victim.late() RETURNS int LANGUAGE sql AS 'SELECT 1'")
        conn.commit()
    scribe.run("scribe-rotate", "--wait-lsn", "current")
    assert_both_restores_equal(scribe, targets)


def test_a_drop_of_what_was_not_there_drops_nothing_that_was_made_meanwhile(cluster: Cluster, captured: str) -> None:
    with cluster.connect(captured, user="mallory") as conn:
        conn.execute("DROP TABLE IF EXISTS mallory.t, mallory.late")
    texts = [text for text, *_ in recorded(cluster, captured)]
    assert texts == ["DROP TABLE mallory.t CASCADE"]


@pytest.mark.parametrize("language", ["sql", "plpgsql"])
def test_no_functions_name_makes_another_text_of_what_it_ran(cluster: Cluster, captured: str, language: str) -> None:
    body = BODY if language == "sql" else f"BEGIN {BODY}; END"
    for name in NAMES:
        function = sql.Identifier("mallory", name)
        with cluster.connect(captured, user="mallory") as conn:
            conn.execute(
                sql.SQL("CREATE FUNCTION {}() RETURNS void LANGUAGE {} AS {}").format(
                    function, sql.SQL(language), sql.Literal(body)
                )
            )
        recorded(cluster, captured)
        with cluster.connect(captured, user="mallory") as conn:  # the statement that loads the library
            conn.execute(sql.SQL("SELECT {}()").format(function))
            conn.execute("DROP TABLE mallory.made")
        made, dropped = recorded(cluster, captured)
        assert made[2] == "mallory"
        assert made[0] == BODY or not made[1], name
        assert "victim" not in made[0] or not made[1], name
        assert dropped[:2] == ("DROP TABLE mallory.made", True)
        with cluster.connect(captured, user="mallory") as conn:
            conn.execute(sql.SQL("DROP FUNCTION {}()").format(function))
        recorded(cluster, captured)


def test_no_text_is_cut_where_a_user_says_that_it_ends(cluster: Cluster, captured: str) -> None:
    for text, surrounding in itertools.product(TEXTS, SURROUNDINGS):
        with cluster.connect(captured, user="mallory") as conn:
            literal = sql.Literal(text).as_string(conn)
            conn.execute(surrounding.format(text, literal))  # type: ignore[arg-type]
        made = recorded(cluster, captured)[0]
        with cluster.connect(captured, user="mallory") as conn:
            conn.execute("DROP VIEW mallory.v")
        recorded(cluster, captured)
        statements = ["create view mallory.v as select 1 as a"] if text.startswith("select") else [text]
        assert made[0] in statements or (made[0] == text and "cut" in made[3]) or not made[1], (text, surrounding, made)


def test_a_guess_is_not_replayed_by_a_role_that_did_not_write_it(cluster: Cluster, captured: str) -> None:
    """What a superuser's function made must not be a reason to run what mallory wrote around its call."""
    cluster.psql(
        'CREATE FUNCTION public."f"() RETURNS void LANGUAGE sql SECURITY DEFINER AS'
        " 'CREATE TABLE public.made (a int PRIMARY KEY)';"
        "CREATE SCHEMA other; CREATE FUNCTION other.f() RETURNS void LANGUAGE sql AS 'SELECT 1'",
        captured,
    )
    recorded(cluster, captured)
    with cluster.connect(captured, user="mallory") as conn:
        conn.execute("SELECT public.f(); COMMIT; SELECT 'DROP TABLE victim.important'")
    ((statement, exact, role, _),) = recorded(cluster, captured)
    assert "victim" not in statement
    assert statement == "CREATE TABLE public.made (a int PRIMARY KEY)" or not exact
    assert role == "postgres"


@pytest.mark.parametrize("change", ["COMMENT ON TABLE mallory.t IS 'x'", "ALTER TABLE mallory.t OWNER TO mallory"])
def test_what_we_may_do_for_a_role_is_not_done_on_a_guess(cluster: Cluster, captured: str, change: str) -> None:
    """Who shapes a text must not have it run with other rights than his own."""
    with cluster.connect(captured, user="mallory") as conn:
        conn.execute(f"SELECT mallory.run($${change}$$)")
        conn.execute(f"SELECT 'COMMENT'; {change}; SELECT 'OWNER TO'")
    for _, exact, role, _ in recorded(cluster, captured):
        assert exact or role == "mallory"


def test_a_drop_that_was_guessed_names_what_was_dropped(cluster: Cluster, captured: str) -> None:
    """And by the role that dropped it: who shapes a text must not have it run by the owner of capture."""
    with cluster.connect(captured, user="mallory") as conn:
        conn.execute(
            'CREATE FUNCTION mallory."d"" statement 2"() RETURNS void LANGUAGE sql AS \'DROP TABLE mallory.t\''
        )
    recorded(cluster, captured)
    with cluster.connect(captured, user="mallory") as conn:
        conn.execute('SELECT mallory."d"" statement 2"()')
    for statement, _, _, _ in recorded(cluster, captured):
        assert statement.startswith("DROP TABLE mallory.t")


FORMS = (
    "CREATE TABLE mallory.made AS SELECT 1 AS a",
    "CREATE MATERIALIZED VIEW mallory.seen AS SELECT 1 AS a",
    "CREATE FUNCTION mallory.f(int) RETURNS int LANGUAGE sql AS 'SELECT $1'",
    "CREATE DOMAIN mallory.dom AS int CHECK (value > 0)",
    "CREATE INDEX ON mallory.t (a)",
    "CREATE STATISTICS mallory.s ON a, b FROM mallory.w",
    "CREATE VIEW mallory.v AS SELECT 1 AS a",
    "CREATE TYPE mallory.mood AS ENUM ('a')",
    "CREATE TABLE mallory.p (a int) PARTITION BY LIST (a)",
    "GRANT SELECT ON mallory.t TO PUBLIC",
    "COMMENT ON TABLE mallory.t IS 'x'",
    "ALTER TABLE mallory.t RENAME TO u",
    "DROP TABLE mallory.u",
)


@pytest.mark.parametrize("captured", ["library"], indirect=True)  # the others know only as much as SQL can tell
def test_every_form_of_statement_is_proved_at_the_start_of_a_session(cluster: Cluster, captured: str) -> None:
    """Out of a string of several, in a function's string; only what is analysed first comes from the catalogue."""
    with cluster.connect(captured, user="mallory") as conn:
        conn.execute("CREATE TABLE mallory.w (a int PRIMARY KEY, b int)")
    recorded(cluster, captured)
    for form in FORMS:
        with cluster.connect(captured, user="mallory") as conn:
            conn.execute(f"DO $do$ BEGIN EXECUTE $x$SELECT 1; {form}$x$; END $do$")  # type: ignore[arg-type]
        statement, exact, _, reason = recorded(cluster, captured)[0]
        assert exact, (form, reason)
        if form.startswith("CREATE MATERIALIZED VIEW"):
            assert statement.startswith("CREATE MATERIALIZED VIEW mallory.seen USING heap AS")
        else:
            assert statement == form


OURS = ("role", "own", "path", "settings", "at_work", "dropped", "in_script", "facts_changed", "statement", "facts")


def test_no_setting_hides_a_statement_or_lends_a_role(cluster: Cluster, captured: str) -> None:
    """Ours have these names or had them once; one that the library defines cannot be set once it is there."""
    for setting in OURS:
        with cluster.connect(captured, user="mallory") as conn:
            conn.execute(sql.SQL("SET {} = 'postgres'").format(sql.SQL(f"scribe.{setting}")))
            conn.execute("CREATE TABLE mallory.made (a int PRIMARY KEY)")
            conn.execute("DROP TABLE mallory.made")
        made, dropped = recorded(cluster, captured)
        assert made[:3] == ("CREATE TABLE mallory.made (a int PRIMARY KEY)", True, "mallory"), setting
        assert dropped[0] == "DROP TABLE mallory.made", setting


def test_settings_that_any_user_may_change_hide_nothing(cluster: Cluster, captured: str) -> None:
    """Each of them, with another value than its own."""
    settings = cluster.query(
        "SELECT name, CASE vartype WHEN 'bool' THEN CASE setting WHEN 'on' THEN 'off' ELSE 'on' END"
        " WHEN 'enum' THEN (SELECT v FROM unnest(enumvals) AS v WHERE v <> setting LIMIT 1)"
        " WHEN 'integer' THEN least(greatest(min_val::numeric, 1), max_val::numeric)::text END"
        " FROM pg_settings WHERE context = 'user' AND name !~ 'timeout|^transaction_|^default_transaction_read_only"
        "|^exit_on_error|^default_tablespace|^role$|^session_auth|^client_encoding|^log_|^debug_|stack_depth'"
        " ORDER BY name",
        captured,
    )
    tried = 0
    with cluster.connect(captured, user="mallory") as conn:
        for name, value in settings:
            try:
                conn.execute("SELECT set_config(%s, %s, false)", [name, value])
            except psycopg.Error:
                continue
            conn.execute("CREATE TABLE mallory.made (a int PRIMARY KEY)")
            conn.execute("DROP TABLE mallory.made")
            conn.execute(sql.SQL("RESET {}").format(sql.SQL(name)))
            tried += 1
            rows = recorded(cluster, captured)
            assert rows[0][:3] == ("CREATE TABLE mallory.made (a int PRIMARY KEY)", True, "mallory"), name
            assert [row[0] for row in rows][1:] == ["DROP TABLE mallory.made"], name
    assert tried > 50


@pytest.mark.parametrize("missing", ["set_config(text, text, boolean)", "current_setting(text)", 'format(text, "any")'])
def test_capture_fails_no_statement_if_the_server_withholds_functions(
    cluster: Cluster, captured: str, missing: str
) -> None:
    """Extensions such as set_user bar set_config(); others may bar more."""
    cluster.psql(f"REVOKE EXECUTE ON FUNCTION pg_catalog.{missing} FROM PUBLIC", captured)
    recorded(cluster, captured)
    with cluster.connect(captured, user="mallory") as conn:
        conn.execute("CREATE TABLE mallory.made (a int PRIMARY KEY)")
        conn.execute("ALTER TABLE mallory.made ADD COLUMN b int; DROP TABLE mallory.made")
    rows = recorded(cluster, captured)
    if missing.startswith("set_config"):
        assert [row[2] for row in rows][0] == "mallory"


def test_functions_planted_after_removal_are_not_called(cluster: Cluster, captured: str) -> None:
    """A session that still has the library, and a schema scribe of somebody else's."""
    cluster.psql(f'GRANT CREATE ON DATABASE "{captured}" TO mallory', captured)
    with cluster.connect(captured, user="mallory") as conn, cluster.connect(captured) as admin:
        for session in (conn, admin):
            session.execute("CREATE TABLE IF NOT EXISTS mallory.made (a int PRIMARY KEY)")
        cluster.psql((ROOT / "sql/uncapture.sql").read_text(), captured)
        conn.execute(
            "CREATE SCHEMA scribe; CREATE FUNCTION scribe.record_plain(text, text, text, text) RETURNS void"
            " LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'planted as %', current_user; END $$;"
            "CREATE FUNCTION scribe.record_failure(text, text) RETURNS void LANGUAGE plpgsql"
            " AS $$ BEGIN RAISE EXCEPTION 'planted as %', current_user; END $$"
        )
        heard: list[str | None] = []
        admin.add_notice_handler(lambda said: heard.append(said.message_primary))
        admin.execute("REASSIGN OWNED BY mallory TO mallory")
        cluster.psql("ALTER SCHEMA scribe OWNER TO postgres", captured)  # and functions in it that are another's
        admin.execute("REASSIGN OWNED BY mallory TO mallory")
        cluster.psql(  # and the other way round: what is in it may be replaced by who has it
            "ALTER FUNCTION scribe.record_plain(text, text, text, text) OWNER TO postgres;"
            "ALTER FUNCTION scribe.record_failure(text, text) OWNER TO postgres; ALTER SCHEMA scribe OWNER TO mallory",
            captured,
        )
        admin.execute("REASSIGN OWNED BY mallory TO mallory")
    assert heard == []


PERSISTENT = """
CREATE FUNCTION mallory.f() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE POLICY pol ON mallory.t;
CREATE DOMAIN mallory.dom AS int; CREATE TABLE mallory.w (a int PRIMARY KEY, b int)
"""
PASSING = """
CREATE TEMP TABLE passing (a int); CREATE TYPE pg_temp.mood AS ENUM ('a');
CREATE FUNCTION pg_temp.f(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 7';
CREATE FUNCTION pg_temp.fire() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'
"""
HANGING = (
    "CREATE OR REPLACE FUNCTION mallory.f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT a FROM passing; END",
    "ALTER POLICY pol ON mallory.t USING (EXISTS (SELECT FROM passing))",
)
LEFT_OUT = (
    "CREATE FUNCTION mallory.g(passing) RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE TRIGGER fire BEFORE INSERT ON mallory.w FOR EACH ROW EXECUTE FUNCTION pg_temp.fire()",
    "CREATE INDEX ON mallory.w (pg_temp.f(a))",
    "CREATE POLICY passing ON mallory.t USING (EXISTS (SELECT FROM passing))",
)


def test_nothing_goes_with_a_session_unflagged(cluster: Cluster, captured: str) -> None:
    """What depends on something temporary is dropped at the session's end, where no event trigger fires."""
    if cluster.version_num < 140000:
        pytest.skip("server version: BEGIN ATOMIC came with PostgreSQL 14")
    with cluster.connect(captured, user="mallory") as conn:
        conn.execute(PERSISTENT)  # type: ignore[arg-type]
        conn.execute(PASSING)  # type: ignore[arg-type]
        recorded(cluster, captured)
        for statement in HANGING:
            conn.execute(statement)  # type: ignore[arg-type]
            rows = recorded(cluster, captured)
            assert [row[1] for row in rows] == [False] and rows[0][0] == "", (statement, rows)
            assert rows[0][3].endswith("depends on something temporary and goes with it"), statement
        for statement in LEFT_OUT:
            conn.execute(statement)  # type: ignore[arg-type]
            assert recorded(cluster, captured) == [], statement
        conn.execute("CREATE TABLE mallory.y (a int PRIMARY KEY)")
        conn.execute("ALTER TABLE mallory.y ADD COLUMN c int")
        assert [row[1] for row in recorded(cluster, captured)] == [True, True]


def test_who_may_write_all_data_writes_no_history(cluster: Cluster, captured: str) -> None:
    """Neither a row of the history nor one that says that capture itself is at work."""
    cluster.psql("CREATE ROLE writer LOGIN; GRANT pg_write_all_data TO writer")
    try:
        ours = "relnamespace = 'scribe'::regnamespace AND relkind = 'r'"
        tables = cluster.query(f"SELECT oid::regclass::text FROM pg_class WHERE {ours}", captured)
        with cluster.connect(captured, user="writer") as conn:
            for (table,) in tables:
                for statement in (f"INSERT INTO {table} DEFAULT VALUES", f"DELETE FROM {table}"):
                    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="only capture itself"):
                        conn.execute(statement)
        with cluster.connect(captured, user="mallory") as conn:
            conn.execute("CREATE TABLE mallory.made (a int PRIMARY KEY)")
        others = [
            row[:3] for row in recorded(cluster, captured) if "scribe.made" not in row[0]
        ]  # pgoutput: the role itself
        assert others == [("CREATE TABLE mallory.made (a int PRIMARY KEY)", True, "mallory")]
    finally:
        cluster.psql("DROP ROLE writer")


def test_no_subscription_writes_history(cluster: Cluster, captured: str) -> None:
    """A subscription's rows fire triggers of rows alone; run_as_owner gives its owner's rights where he has any."""
    if cluster.value("SHOW server_version_num") < "160000":
        pytest.skip("server version: a subscription is a superuser's before 16")
    cluster.psql("CREATE ROLE writer LOGIN; GRANT pg_write_all_data, pg_create_subscription TO writer")
    cluster.createdb("told")
    try:
        cluster.psql(
            "CREATE SCHEMA scribe; CREATE TABLE scribe.ddl_history (id bigint, statement text, kind text DEFAULT 'ddl',"
            "   tag text DEFAULT 'DROP TABLE', exact bool DEFAULT true, role text DEFAULT 'postgres',"
            "   search_path text DEFAULT '');"
            " CREATE PUBLICATION told FOR TABLE scribe.ddl_history;"
            " SELECT pg_create_logical_replication_slot('told', 'pgoutput')",
            "told",
        )
        cluster.psql(
            f"GRANT CREATE ON DATABASE {captured} TO writer; CREATE SUBSCRIPTION told"
            f" CONNECTION 'host={cluster.host} port={cluster.port} user=postgres dbname=told' PUBLICATION told"
            " WITH (enabled = false, create_slot = false, connect = false, slot_name = told, copy_data = false,"
            "   password_required = false, run_as_owner = true, disable_on_error = true);"
            " ALTER SUBSCRIPTION told OWNER TO writer; ALTER SUBSCRIPTION told ENABLE;"
            " ALTER SUBSCRIPTION told REFRESH PUBLICATION WITH (copy_data = false)",
            captured,
        )
        cluster.psql("INSERT INTO scribe.ddl_history VALUES (1, 'DROP TABLE victim.important')", "told")
        state = "SELECT subenabled FROM pg_subscription WHERE subname = 'told'"
        end = cluster.value("SELECT pg_current_wal_insert_lsn()")
        passed = f"SELECT confirmed_flush_lsn >= '{end}' FROM pg_replication_slots WHERE slot_name = 'told'"
        poll(lambda: not cluster.value(state, captured) or cluster.value(passed), 60, "the subscription's end")
        assert cluster.value(state, captured) is False, "it wrote"
        assert not cluster.query("SELECT FROM scribe.ddl_history WHERE statement LIKE '%important'", captured)
    finally:
        cluster.psql("ALTER SUBSCRIPTION told DISABLE; DROP SUBSCRIPTION told", captured, check=False)
        cluster.psql(f"REVOKE CREATE ON DATABASE {captured} FROM writer; DROP OWNED BY writer", captured, check=False)
        cluster.dropdb("told")
        cluster.psql("DROP ROLE writer")


# Settings by which parts of capture told each other what, or did so once.
SETTINGS = ("role", "path", "settings", "dropped", "facts_changed", "in_script", "partitions", "recorded")
TOUCHY = (
    "CREATE TABLE mallory.days (d date PRIMARY KEY) PARTITION BY RANGE (d)",
    "CREATE TABLE mallory.day PARTITION OF mallory.days FOR VALUES FROM (current_date) TO (current_date + 1)",
    "CREATE TABLE mallory.other (d date PRIMARY KEY)",
    "ALTER TABLE mallory.days ATTACH PARTITION mallory.other FOR VALUES FROM (current_date + 1) TO (current_date + 2)",
    "ALTER TABLE mallory.t ADD COLUMN x int DEFAULT 1",
    "ALTER TABLE mallory.t DROP CONSTRAINT t_pkey",
    "DROP TABLE mallory.days",
)


def test_no_setting_of_a_users_changes_what_is_recorded(cluster: Cluster, captured: str) -> None:
    seen = []
    for value in ("", '1 all {} "x" 5'):
        cluster.psql("DROP TABLE mallory.t; CREATE TABLE mallory.t (a int PRIMARY KEY)", captured)
        cluster.psql("ALTER TABLE mallory.t OWNER TO mallory; DELETE FROM scribe.ddl_history", captured)
        with cluster.connect(captured, user="mallory") as conn:
            for name in SETTINGS:
                conn.execute(sql.SQL("SET {} = {}").format(sql.Identifier("scribe", name), sql.Literal(value)))
            for statement in TOUCHY:
                conn.execute(statement)  # type: ignore[arg-type]
        columns = "kind, tag, object_identity, statement, exact, reason, role, search_path, settings"
        seen.append(cluster.query(f"SELECT {columns} FROM scribe.ddl_history ORDER BY id", captured))
    assert len(seen[0]) >= len(TOUCHY) and "lost" not in {row[0] for row in seen[0]}
    assert seen[0] == seen[1]


def test_a_command_within_a_command_takes_nothing_of_what_that_dropped(cluster: Cluster, captured: str) -> None:
    """ALTER PUBLICATION ... DROP shows in what it dropped alone, and event triggers of the user run before its end."""
    cluster.psql(
        "CREATE TABLE mallory.u (a int PRIMARY KEY); CREATE PUBLICATION p FOR TABLE mallory.t, mallory.u;"
        "CREATE FUNCTION mallory.log() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN"
        " EXECUTE 'COMMENT ON TABLE mallory.t IS ' || quote_literal(tg_tag); DROP TABLE IF EXISTS mallory.u; END $$;"
        "CREATE EVENT TRIGGER log ON sql_drop WHEN TAG IN ('ALTER PUBLICATION') EXECUTE FUNCTION mallory.log();"
        "DELETE FROM scribe.ddl_history",
        captured,
    )
    try:
        cluster.psql("ALTER PUBLICATION p DROP TABLE mallory.t", captured)
    finally:
        cluster.psql("DROP EVENT TRIGGER log", captured)
    tags = [row[0] for row in cluster.query("SELECT tag FROM scribe.ddl_history ORDER BY id", captured)]
    assert [tag for tag in tags if tag != "EVENT TRIGGER"][:3] == ["COMMENT", "DROP TABLE", "ALTER PUBLICATION"]


# Code of an owner's that leaves a search_path behind, and a function that whoever searches it would find first.
LEAVES_A_PATH = """
CREATE TABLE mallory.tt (i int PRIMARY KEY, c int);
INSERT INTO mallory.tt VALUES (1, 1), (2, 2);
CREATE FUNCTION mallory.chk(int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
    IF pg_catalog.current_setting('mallory.armed', true) = 'on' THEN
        PERFORM pg_catalog.set_config('search_path', 'mallory, pg_catalog', false),
            pg_catalog.set_config('mallory.armed', 'off', false);
    END IF;
    RETURN true;
END $$;
ALTER TABLE mallory.tt ADD CONSTRAINT chk CHECK (mallory.chk(c));
CREATE TABLE mallory.heard (who text);
GRANT INSERT ON mallory.heard TO PUBLIC;
CREATE FUNCTION mallory.format(text, text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO mallory.heard VALUES (current_user); RETURN pg_catalog.format($1, $2); END $$;
CREATE FUNCTION mallory.unnest(text[], text[]) RETURNS TABLE (a text, b text) LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO mallory.heard VALUES (current_user); END $$;
"""


def test_a_path_that_an_owners_code_leaves_finds_nothing_for_us(cluster: Cluster, captured: str, edition: str) -> None:
    with cluster.connect(captured, user="mallory") as conn:
        conn.execute(LEAVES_A_PATH)  # type: ignore[arg-type]
        conn.execute(
            "BEGIN; SET LOCAL mallory.armed = 'on'; ALTER TABLE mallory.tt ADD COLUMN d float8 DEFAULT random(); COMMIT"
        )
    heard = cluster.query("SELECT who FROM mallory.heard WHERE who <> 'mallory'", captured)
    assert heard == []
    # pgoutput alone has the owner's code run within capture: it is noticed there, and flagged
    reasons = [str(row[3]) for row in recorded(cluster, captured) if not row[1]]
    assert (edition == PGOUTPUT) == any("search_path" in reason for reason in reasons), reasons


def test_who_locks_the_view_of_settings_neither_blocks_nor_forges(cluster: Cluster, captured: str) -> None:
    """PUBLIC may update pg_settings, and so anybody may lock it."""
    with cluster.connect(captured, user="mallory") as holder, cluster.connect(captured, user="mallory") as conn:
        holder.execute("BEGIN; LOCK TABLE pg_settings IN ACCESS EXCLUSIVE MODE")
        recorded(cluster, captured)
        conn.execute("SET statement_timeout = '20s'; SET lock_timeout = '30ms'")
        conn.execute("SET scribe.role = 'postgres'; SET scribe.path = 'pg_catalog'; SET scribe.settings = '{}'")
        conn.execute("ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO mallory")
        conn.execute("CREATE TABLE mallory.locked (a int PRIMARY KEY)")
        rows = recorded(cluster, captured)
    assert [(exact, role) for _, exact, role, _ in rows] == [(True, "mallory")] * 2, rows


def test_a_statement_of_whom_nothing_could_be_noted_is_flagged(
    cluster: Cluster, captured: str, request: pytest.FixtureRequest
) -> None:
    cluster.psql('REVOKE EXECUTE ON FUNCTION pg_catalog.format(text, "any") FROM PUBLIC', captured)
    recorded(cluster, captured)
    with cluster.connect(captured, user="mallory") as conn:
        conn.execute("SET scribe.role = 'postgres'; SET scribe.path = 'pg_catalog'; SET scribe.settings = '{}'")
        conn.execute("ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO mallory")
    ((_, exact, role, _),) = recorded(cluster, captured)
    noted = request.node.callspec.params["captured"] == "library"  # which needs no such function
    assert (exact, role) == ((True, "mallory") if noted else (False, "mallory"))


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE mallory.o1 ALTER c TYPE int USING mallory.evil(c), OWNER TO mallory",
        "ALTER TABLE mallory.o1 ADD CONSTRAINT k CHECK (mallory.evil(c::text) > 0), OWNER TO mallory",
        "ALTER TABLE mallory.o1 ADD d int DEFAULT mallory.evil('1'), OWNER TO mallory",
    ],
)
def test_only_a_change_of_owner_alone_is_replayed_with_our_rights(cluster: Cluster, captured: str, change: str) -> None:
    with cluster.connect(captured, user="mallory") as conn:
        conn.execute(
            "CREATE TABLE mallory.o1 (a int PRIMARY KEY, c text); CREATE FUNCTION mallory.evil(text) RETURNS int"
            " LANGUAGE sql IMMUTABLE AS 'SELECT 1'"
        )
        recorded(cluster, captured)
        conn.execute(change)  # type: ignore[arg-type]
        assert {row[2] for row in recorded(cluster, captured) if "evil" in row[0]} == {"mallory"}
        conn.execute('ALTER TABLE mallory.o1 OWNER TO "mallory"')
        conn.execute("ALTER FUNCTION mallory.evil(text) OWNER TO mallory")
        assert [row[1:3] for row in recorded(cluster, captured)] == [(True, "postgres")] * 2


DEEP = """
CREATE FUNCTION mallory.rec(n int, cmd text) RETURNS void LANGUAGE plpgsql AS
    $$ BEGIN IF n > 0 THEN PERFORM mallory.rec(n - 1, cmd); ELSE EXECUTE cmd; END IF; END $$;
CREATE FUNCTION mallory.rs(j int, n int, cmd text) RETURNS int LANGUAGE sql AS
    $$ SELECT CASE WHEN j > 0 THEN mallory.rs(j - 1, n, cmd) ELSE (SELECT 1 FROM mallory.rec(n, cmd)) END $$;
CREATE TABLE mallory.sec (i int PRIMARY KEY);
GRANT SELECT ON mallory.sec TO PUBLIC;
"""


def test_what_runs_at_the_end_of_the_stack_is_flagged_or_fails(
    cluster: Cluster, captured: str, request: pytest.FixtureRequest
) -> None:
    """A row or a message in the WAL tells of it; where there is no stack left for either, the statement fails."""
    heard: list[str | None] = []
    cluster.psql("SELECT pg_create_logical_replication_slot('deep', 'test_decoding')", captured)
    request.addfinalizer(lambda: cluster.psql("SELECT pg_drop_replication_slot('deep')"))
    with cluster.connect(captured, user="mallory") as conn:
        conn.execute(DEEP)  # type: ignore[arg-type]
        conn.add_notice_handler(lambda said: heard.append(said.message_primary))
        conn.execute(
            "DO $$ BEGIN FOR d IN REVERSE 860..600 LOOP BEGIN"
            " PERFORM mallory.rs(4, d, 'REVOKE SELECT ON mallory.sec FROM PUBLIC'); EXIT;"
            " EXCEPTION WHEN statement_too_complex THEN NULL; END; END LOOP; END $$"
        )
    assert [text for text in heard if text and "could not even record" in text] == []
    stream = [
        text for (text,) in cluster.query("SELECT data FROM pg_logical_slot_get_changes('deep', NULL, NULL)", captured)
    ]
    told = "prefix: scribe.lost", "statement[text]:'REVOKE SELECT ON mallory.sec FROM PUBLIC'"
    assert any(word in str(text) for text in stream for word in told), stream[-5:]
    assert not cluster.query("SELECT has_table_privilege('public', 'mallory.sec', 'SELECT')", captured)[0][0]


def test_what_reassign_owned_gave_away_is_not_dropped_with_the_rest(cluster: Cluster, captured: str) -> None:
    """The manual's recipe for removing a role; REASSIGN OWNED fires no event trigger."""
    cluster.psql("DROP ROLE IF EXISTS leaver; CREATE ROLE leaver; CREATE SCHEMA lv AUTHORIZATION leaver", captured)
    try:
        cluster.psql("SET ROLE leaver; CREATE TABLE lv.keep (i int PRIMARY KEY)", captured)
        with cluster.connect(captured) as conn:
            conn.execute("REASSIGN OWNED BY leaver TO mallory")
            conn.execute("DROP OWNED BY leaver")
        rows = [row[0] for row in recorded(cluster, captured)]
        assert rows[-1] == "DROP OWNED BY leaver"
        given = " OWNER TO mallory"
        assert "ALTER TABLE lv.keep" + given in rows or any("REASSIGN" in row for row in rows), rows
        assert "ALTER SCHEMA lv" + given in rows or any("REASSIGN" in row for row in rows), rows
    finally:
        cluster.psql("DROP ROLE leaver", captured)


def test_what_reassign_owned_gave_away_before_any_rotation_saw_it_is_recorded_by_the_next(
    cluster: Cluster, captured: str
) -> None:
    cluster.psql("DROP ROLE IF EXISTS leaver; CREATE ROLE leaver; CREATE SCHEMA lv AUTHORIZATION leaver", captured)
    try:
        cluster.psql(
            "SET ROLE leaver; CREATE TABLE lv.keep (i int PRIMARY KEY); CREATE TABLE lv.sold (i int PRIMARY KEY);"
            "CREATE FUNCTION lv.f(int) RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE TYPE lv.e AS ENUM ('a');"
            "RESET ROLE; ALTER TABLE lv.sold OWNER TO postgres",
            captured,
        )
        cluster.psql("REASSIGN OWNED BY leaver TO mallory", captured)
        before = cluster.value("SELECT max(id) FROM scribe.ddl_history", captured)
        cluster.psql("SELECT scribe.reconcile()", captured)
        rows = {
            row for (row,) in cluster.query(f"SELECT statement FROM scribe.ddl_history WHERE id > {before}", captured)
        }
        given = {"TABLE lv.keep", "FUNCTION lv.f(integer)", "TYPE lv.e", "SCHEMA lv"}
        assert {f"ALTER {what} OWNER TO mallory" for what in given} <= rows
        assert not any("lv.sold" in str(row) or "victim" in str(row) for row in rows), rows
        cluster.psql("SELECT scribe.reconcile()", captured)
        assert len(rows) == cluster.value(f"SELECT count(*) FROM scribe.ddl_history WHERE id > {before}", captured)
    finally:
        cluster.psql("DROP OWNED BY mallory CASCADE; DROP ROLE leaver", captured)


@pytest.mark.parametrize("captured", ["library"], indirect=True)  # without it, a rotation is the first to know
def test_what_reassign_owned_gave_away_is_recorded_before_its_new_owner_changes_it(
    cluster: Cluster, captured: str
) -> None:
    cluster.psql("DROP ROLE IF EXISTS leaver; CREATE ROLE leaver; CREATE SCHEMA lv AUTHORIZATION leaver", captured)
    try:
        cluster.psql("SET ROLE leaver; CREATE TABLE lv.keep (i int PRIMARY KEY)", captured)
        cluster.psql("REASSIGN OWNED BY leaver TO mallory", captured)
        before = cluster.value("SELECT max(id) FROM scribe.ddl_history", captured)
        with cluster.connect(captured, user="mallory") as conn:
            conn.execute("ALTER TABLE lv.keep ADD b int; ALTER TABLE lv.keep ADD c int")
        cluster.psql("SELECT scribe.reconcile()", captured)
        rows = cluster.query(f"SELECT statement FROM scribe.ddl_history WHERE id > {before} ORDER BY id", captured)
        texts = [text for (text,) in rows]
        given = ["ALTER SCHEMA lv OWNER TO mallory", "ALTER TABLE lv.keep OWNER TO mallory"]
        assert sorted(texts[:2]) == given, texts
        assert [text[-10:] for text in texts[2:]] == [" ADD b int", " ADD c int"]
    finally:
        cluster.psql("DROP OWNED BY mallory CASCADE; DROP ROLE leaver", captured)


def test_an_installation_brought_up_to_date_forgets_nothing(cluster: Cluster, captured: str, edition: str) -> None:
    cluster.psql("DROP ROLE IF EXISTS leaver; CREATE ROLE leaver; CREATE SCHEMA lv AUTHORIZATION leaver", captured)
    try:
        cluster.psql("SELECT scribe.reconcile()", captured)
        cluster.psql("REASSIGN OWNED BY leaver TO mallory", captured)
        recorded(cluster, captured)
        cluster.psql(edition, captured)
        assert "ALTER SCHEMA lv OWNER TO mallory" in [row[0] for row in recorded(cluster, captured)]
    finally:
        cluster.psql("DROP SCHEMA lv; DROP ROLE leaver", captured)


def test_a_subscriptions_name_does_not_enable_it(cluster: Cluster, captured: str) -> None:
    """A copy's subscription never connects, whatever the words in its name."""
    name = '"evil set ("'
    cluster.psql(
        f"CREATE SUBSCRIPTION {name} CONNECTION 'host=127.0.0.1 port=1 dbname=x' PUBLICATION p"
        " WITH (connect = false, slot_name = 'evilslot')",
        captured,
    )
    try:
        recorded(cluster, captured)
        cluster.psql(f"ALTER SUBSCRIPTION {name} ENABLE; ALTER SUBSCRIPTION {name} DISABLE", captured)
        assert recorded(cluster, captured) == []
        cluster.psql(f"ALTER SUBSCRIPTION {name} SET (synchronous_commit = 'on')", captured)
        assert [row[0] for row in recorded(cluster, captured)] == [
            f"ALTER SUBSCRIPTION {name} SET (synchronous_commit = 'on')"
        ]
        # what stands beside it in a string is no part of it: these are replayed with capture's rights
        for change in ("SET (synchronous_commit = 'off')", "ADD PUBLICATION q WITH (refresh = false)"):
            cluster.psql(f"ALTER SUBSCRIPTION {name} {change}\\; SELECT 'beside'", captured)
            rows = recorded(cluster, captured)
            assert rows and all(exact and "beside" not in text for text, exact, *_ in rows), rows
        with cluster.connect(captured) as conn:
            conn.execute(
                f"ALTER SUBSCRIPTION {name} RENAME TO other; ALTER SUBSCRIPTION other RENAME TO {name}".encode()
            )
        assert not any(exact and ";" in text for text, exact, *_ in recorded(cluster, captured))
    finally:
        change = f"ALTER SUBSCRIPTION {name}"
        cluster.psql(f"{change} DISABLE; {change} SET (slot_name = NONE); DROP SUBSCRIPTION {name}", captured)


def test_privileges_on_what_is_temporary_are_not_recorded(cluster: Cluster, captured: str) -> None:
    with cluster.connect(captured, user="mallory") as conn:
        conn.execute("CREATE FUNCTION pg_temp.f(int, text) RETURNS int LANGUAGE sql AS 'SELECT 1'")
        conn.execute("CREATE TYPE pg_temp.y AS (a int)")
        conn.execute("REVOKE ALL ON FUNCTION pg_temp.f(int, text) FROM PUBLIC")
        conn.execute("GRANT EXECUTE ON FUNCTION pg_temp.f(int, text) TO PUBLIC")
        conn.execute("REVOKE USAGE ON TYPE pg_temp.y FROM PUBLIC")
        assert recorded(cluster, captured) == []
        conn.execute("REVOKE ALL ON FUNCTION mallory.d() FROM PUBLIC")
        assert [row[0] for row in recorded(cluster, captured)] == ["REVOKE ALL ON FUNCTION mallory.d() FROM PUBLIC"]
