"""What an ordinary role on the source may try: to run as a superuser, to hide a change, to forge a text."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from cluster import ROOT, Cluster, poll
from handmade import Handmade
from source import Scribe, hide_library

from scribe.archive.manifest import read_manifest
from scribe.common.errors import ScribeError
from scribe.common.postgres import connect
from scribe.dump.guard import RowCount, read_tables
from scribe.source.server import read_sequences

CAPTURE = (ROOT / "sql/capture.sql").read_text()
TELL = (
    "CREATE FUNCTION mallory.tell() RETURNS int LANGUAGE plpgsql VOLATILE AS $$ BEGIN"
    " RAISE NOTICE 'evil as %', concat_ws(' ', current_user,"
    " nullif(current_setting('session_replication_role'), 'origin'));"
    " RETURN 1; END $$;"
    "CREATE FUNCTION mallory.told(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS"
    " $$ BEGIN PERFORM mallory.tell(); RETURN $1; END $$;"
)


@pytest.fixture
def ordinary(cluster: Cluster, database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A database in which an ordinary user mallory has a schema; the programs' connections go there."""
    cluster.psql(
        "DO $$ BEGIN CREATE ROLE mallory LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;"
        "CREATE SCHEMA mallory AUTHORIZATION mallory",
        database,
    )
    for name, value in {"PGHOST": cluster.host, "PGPORT": str(cluster.port), "PGUSER": "postgres"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PGDATABASE", database)
    yield database


@pytest.fixture
def captured(cluster: Cluster, ordinary: str) -> str:
    """The same with capture installed."""
    cluster.psql(CAPTURE, ordinary)
    return ordinary


def recorded(cluster: Cluster, database: str) -> list[str]:
    """What capture has recorded: the kind, or the statement where it is that."""
    statement = "SELECT CASE kind WHEN 'ddl' THEN statement ELSE kind END FROM scribe.ddl_history ORDER BY id"
    return [row[0] for row in cluster.query(statement, database)]


class Ears:
    """The roles as which mallory's code was run, as a connection's notices tell."""

    def __init__(self, conn: psycopg.Connection[object]) -> None:
        self.heard: set[str] = set()
        conn.add_notice_handler(self.listen)

    def listen(self, said: psycopg.errors.Diagnostic) -> None:
        """Take a notice."""
        text = said.message_primary or ""
        if text.startswith("evil as "):
            self.heard.add(text.removeprefix("evil as "))


@pytest.mark.parametrize("library", [True, False])
def test_a_constraint_is_put_back_with_the_rights_of_its_owner(cluster: Cluster, captured: str, library: bool) -> None:
    """Already to read a constraint runs the check of a domain that a constant in it is made of."""
    if not library:
        hide_library(cluster, captured)
    with cluster.connect(captured, user="mallory") as conn:
        conn.execute(TELL)
        conn.execute("CREATE DOMAIN mallory.checked AS int CHECK (mallory.told(value) > 0)")
        conn.execute("CREATE TABLE mallory.t (a int PRIMARY KEY); INSERT INTO mallory.t VALUES (1)")
        conn.execute(
            "ALTER TABLE mallory.t ADD CONSTRAINT c CHECK (a = ANY ('{1,2}'::mallory.checked[])) NOT VALID;"
            "COMMENT ON CONSTRAINT c ON mallory.t IS 'kept'"
        )
        ears = Ears(conn)
        conn.execute("ALTER TABLE mallory.t ADD COLUMN u uuid DEFAULT gen_random_uuid()")
    assert ears.heard == set(), "the constraint stays where it is here"
    kinds = [text.split(" CHECK ")[0] for text in recorded(cluster, captured)]
    assert kinds[-6:] == [
        "rewrite",
        "ALTER TABLE mallory.t ADD COLUMN u uuid DEFAULT gen_random_uuid()",
        "ALTER TABLE mallory.t DROP CONSTRAINT IF EXISTS c",
        "refilled",
        "ALTER TABLE mallory.t ADD CONSTRAINT c",
        "COMMENT ON CONSTRAINT c ON mallory.t IS 'kept'",
    ]
    rows = cluster.query("SELECT exact, role FROM scribe.ddl_history ORDER BY id DESC LIMIT 2", captured)
    assert rows == [(True, "mallory")] * 2
    assert cluster.value("SELECT obj_description(oid) FROM pg_constraint WHERE conname = 'c'", captured) == "kept"


@pytest.mark.parametrize(
    "statements",
    [
        ('CREATE TABLE mallory."x pg_temp.y" (a int PRIMARY KEY)', 'DROP TABLE mallory."x pg_temp.y"'),
        ('CREATE POLICY "x on pg_temp.y" ON mallory.t', 'DROP POLICY "x on pg_temp.y" ON mallory.t'),
        ('CREATE POLICY "x on scribe.y" ON mallory.t', 'DROP POLICY "x on scribe.y" ON mallory.t'),
        ("CREATE PUBLICATION scribe FOR TABLE mallory.t", "DROP PUBLICATION scribe"),
        ("CREATE PUBLICATION pg_temp FOR TABLE mallory.t", "DROP PUBLICATION pg_temp"),
    ],
    ids=lambda statements: statements[1],
)
def test_no_name_hides_a_statement(cluster: Cluster, captured: str, statements: tuple[str, str]) -> None:
    """Names that look as if something temporary, or capture's own, were meant."""
    cluster.psql(f'GRANT CREATE ON DATABASE "{captured}" TO mallory', captured)
    with cluster.connect(captured, user="mallory") as conn:
        conn.execute("CREATE TABLE mallory.t (a int PRIMARY KEY); CREATE TEMP TABLE passing (a int)")
        conn.execute("CREATE POLICY quiet ON passing; DROP POLICY quiet ON passing")
        for statement in statements:
            conn.execute(statement)
    texts = recorded(cluster, captured)
    assert [text for text in texts if text in statements] == list(statements)
    assert not [text for text in texts if "quiet" in text]


def test_code_that_a_command_runs_hides_no_values(cluster: Cluster, captured: str) -> None:
    """What capture has noted during a command must stand until its end, whatever the user's functions do in it."""
    with cluster.connect(captured, user="mallory") as conn:
        conn.execute(
            "CREATE TABLE mallory.a (x int PRIMARY KEY); CREATE TABLE mallory.b (x int PRIMARY KEY);"
            "INSERT INTO mallory.a VALUES (1); INSERT INTO mallory.b VALUES (1);"
            "CREATE FUNCTION mallory.forge(int) RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN"
            " PERFORM set_config('scribe.rewritten', '', true); RETURN random() * 1000; END $$;"
            "CREATE FUNCTION mallory.nest(int) RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN"
            " ALTER TABLE mallory.b ADD COLUMN IF NOT EXISTS u uuid DEFAULT gen_random_uuid();"
            " RETURN random() * 1000; END $$"
        )
        for statement, kinds in (
            ("ALTER TABLE mallory.a ALTER x TYPE bigint USING mallory.forge(x)", ["rewrite", "refilled"]),
            (
                "ALTER TABLE mallory.a ALTER x TYPE bigint USING mallory.nest(x::int)",
                ["rewrite", "rewrite", "refilled", "refilled"],
            ),
            ("ALTER TABLE mallory.a ADD COLUMN t timestamptz DEFAULT now()", ["fill"]),
            ("ALTER TABLE mallory.a ADD COLUMN v timestamptz DEFAULT now()", ["fill"]),
        ):
            before = len(recorded(cluster, captured))
            conn.execute(
                "SELECT set_config('scribe.filled', (SELECT string_agg('mallory.a'::regclass::oid || '.' || n, '  ')"
                " FROM generate_series(1, 9) AS n), false)"
            )
            conn.execute(statement)
            assert [k for k in recorded(cluster, captured)[before:] if " " not in k] == kinds
    assert cluster.value("SELECT count(*) FROM scribe.rewritten", captured) == 0


def test_a_column_is_filled_once_in_a_transaction(cluster: Cluster, captured: str) -> None:
    with cluster.connect(captured, user="mallory") as conn, conn.transaction():
        conn.execute("CREATE TABLE mallory.a (x int PRIMARY KEY); INSERT INTO mallory.a VALUES (1)")
        conn.execute("ALTER TABLE mallory.a ADD COLUMN t timestamptz DEFAULT now()")
        conn.execute("UPDATE mallory.a SET t = '2000-01-01'")
        conn.execute("ALTER TABLE mallory.a ALTER t SET NOT NULL, ADD COLUMN v timestamptz DEFAULT now()")
    assert recorded(cluster, captured).count("fill") == 2


def test_who_reads_every_table_hides_nothing(cluster: Cluster, captured: str) -> None:
    """No value in capture's tables is a key to anything, and none of them is a user's to write."""
    cluster.psql("GRANT pg_read_all_data TO mallory", captured)
    with cluster.connect(captured, user="mallory") as conn:
        for statement in (
            "INSERT INTO scribe.at_work VALUES (pg_current_xact_id())",
            "SELECT scribe.run_own('CREATE TABLE mallory.t ()')",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                conn.execute(statement)  # type: ignore[arg-type]
        conn.execute("CREATE TABLE IF NOT EXISTS mallory.t (a int PRIMARY KEY)")
        conn.execute("DROP TABLE mallory.t")
    cluster.psql("REVOKE pg_read_all_data FROM mallory", captured)
    assert recorded(cluster, captured)[-2:] == [
        "CREATE TABLE IF NOT EXISTS mallory.t (a int PRIMARY KEY)",
        "DROP TABLE mallory.t",
    ]
    before = len(recorded(cluster, captured))
    cluster.psql("SELECT scribe.run_own('CREATE TABLE mallory.ours (a int PRIMARY KEY)')", captured)
    assert len(recorded(cluster, captured)) == before


def test_a_recorded_text_holds_no_statement_but_its_own(cluster: Cluster, captured: str) -> None:
    """What capture puts around a user's text cannot be ended in it: what follows would run after RESET ROLE."""
    escape = "$grant$$check$; RESET ROLE; CREATE ROLE forged; --"
    with cluster.connect(captured, user="mallory") as conn:
        conn.execute("CREATE TABLE mallory.p (a text) PARTITION BY LIST (a)")
        conn.execute(f"CREATE TABLE mallory.q PARTITION OF mallory.p FOR VALUES IN ('{escape}')")
        conn.execute(f'GRANT TEMP ON DATABASE "{captured}" TO public /* {escape} */')
        conn.execute("ALTER TABLE mallory.p DETACH PARTITION mallory.q CONCURRENTLY")
    wrapped = [text for text in recorded(cluster, captured) if text.startswith("DO ")]
    # 19 leaves a detached partition no CHECK of its own, which would be made by another one
    assert len(wrapped) == (3 if cluster.version_num < 190000 else 2), wrapped
    for text in wrapped:
        cluster.query(text, captured)
    assert cluster.query("SELECT 1 FROM pg_roles WHERE rolname = 'forged'") == []


def test_capture_is_not_installed_into_a_schema_of_somebody_elses(cluster: Cluster, ordinary: str) -> None:
    """Its tables would be the other's, and their triggers would run as the superuser who installs."""
    cluster.psql(
        "CREATE SCHEMA scribe AUTHORIZATION mallory; SET ROLE mallory;"
        f"{TELL} CREATE VIEW scribe.config AS SELECT mallory.tell()::text AS token",
        ordinary,
    )
    result = cluster.psql(CAPTURE, ordinary, check=False)
    assert result.returncode != 0
    assert "schema scribe belongs to role mallory" in result.stderr
    assert "evil" not in result.stderr


def test_a_view_in_a_sequences_place_is_not_read(cluster: Cluster, ordinary: str) -> None:
    """A rotation reads positions by name: while it waits for a lock, the name may come to mean something else."""
    if cluster.value("SELECT current_setting('restrict_nonsystem_relation_kind', true)") is None:
        pytest.skip("server version: older than the minor releases of August 2024")
    cluster.psql(f"SET ROLE mallory; {TELL} CREATE SEQUENCE mallory.s; CREATE SEQUENCE mallory.z", ordinary)
    with cluster.connect(ordinary, user="mallory", autocommit=False) as mallory, connect() as conn:
        ears = Ears(conn)
        mallory.execute("ALTER SEQUENCE mallory.s RENAME TO gone")
        mallory.execute("CREATE VIEW mallory.s AS SELECT mallory.tell()::bigint AS last_value, true AS is_called")
        found: list[object] = []
        reading = threading.Thread(target=lambda: found.extend(s.name for s in read_sequences(conn)[0]))
        reading.start()
        waiting = f"SELECT 1 FROM pg_locks WHERE pid = {conn.info.backend_pid} AND NOT granted"
        poll(lambda: cluster.query(waiting), what="the reader's waiting")
        mallory.commit()
        reading.join()
    assert found == ["z"]
    assert ears.heard == set()


def test_rows_are_counted_without_running_the_owners_code(cluster: Cluster, ordinary: str) -> None:
    """The planner evaluates functions of constants in the expressions of indexes, as whoever asks."""
    cluster.psql(
        f"SET ROLE mallory; {TELL}"
        "CREATE TABLE mallory.t (b text, a int, g int GENERATED ALWAYS AS (1) STORED);"
        "INSERT INTO mallory.t SELECT repeat('x', n), n FROM generate_series(1, 1000) AS n;"
        "CREATE INDEX ON mallory.t ((a + mallory.told(1))); CREATE TABLE mallory.none ();"
        "INSERT INTO mallory.none DEFAULT VALUES; RESET ROLE; GRANT pg_read_all_data TO mallory;",
        ordinary,
    )
    for user in ("postgres", "mallory"):
        with cluster.connect(ordinary, user=user) as conn:
            ears = Ears(conn)
            tables = read_tables(conn).values()
            count = RowCount(conn, tables)
            counts = {table.name: count(conn, table) for table in tables}
            assert counts == {"t": 1000, "none": 1}
            assert ears.heard == set()
    cluster.psql("REVOKE pg_read_all_data FROM mallory", ordinary)


def test_a_databases_owner_cannot_put_operators_into_the_programs_queries(cluster: Cluster, ordinary: str) -> None:
    cluster.psql(
        f"SET ROLE mallory; {TELL} CREATE FUNCTION mallory.same(oid, oid) RETURNS boolean LANGUAGE sql"
        " AS 'SELECT mallory.tell() > 0 AND $1::text = $2::text';"
        "CREATE OPERATOR mallory.= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = mallory.same);"
        "CREATE SEQUENCE mallory.s; RESET ROLE;"
        f'ALTER DATABASE "{ordinary}" SET search_path = mallory, pg_catalog',
        ordinary,
    )
    with connect() as conn:
        ears = Ears(conn)
        assert len(read_sequences(conn)[0]) == 1
        assert ears.heard == set()


@pytest.mark.parametrize("name", ["/etc/passwd", "../../archive.json", "base.dir/../../x", "a\n/../../x"])
def test_a_manifest_names_no_file_outside_its_base(tmp_path: Path, name: str) -> None:
    archive = Handmade(tmp_path / "archive")
    path = archive.path / "base" / archive.base("SELECT 1;\n") / "manifest.json"
    value = read_manifest("base", path)
    value["files"][0]["name"] = name
    path.write_text(json.dumps(value))
    with pytest.raises(ScribeError, match="not valid at files/0/name"):
        read_manifest("base", path)


SETTINGS_OF_ANYBODYS = (
    "SET pg_trgm.similarity_threshold = 'high'; CREATE TABLE mallory.value (a int PRIMARY KEY)",
    "SET pg_trgm.unknown = 'x'; CREATE TABLE mallory.name (a int PRIMARY KEY)",
    'SET "select"."from" = \'x\'; CREATE TABLE mallory.word (a int PRIMARY KEY)',
    "CREATE TEXT SEARCH CONFIGURATION mallory.gone (COPY = simple); SET default_text_search_config = 'mallory.gone'",
    "DROP TEXT SEARCH CONFIGURATION mallory.gone; CREATE TABLE mallory.search (a int PRIMARY KEY)",
)


@pytest.mark.parametrize("decoder", ["scribe_decoder", "pgoutput"])
def test_no_setting_stops_a_restore_or_has_the_rights_of_who_restores(
    cluster: Cluster, ordinary: str, scribe: Scribe, targets: tuple[str, str], decoder: str
) -> None:
    """What no library of a session defines takes any value: in a copy, whose session has loaded one, it may not."""
    scribe.settings["SCRIBE_DECODER"] = decoder
    name = scribe.dbname
    cluster.psql(
        "CREATE EXTENSION pg_trgm SCHEMA public; CREATE SCHEMA mallory AUTHORIZATION mallory;"
        "CREATE TABLE mallory.t (a int PRIMARY KEY); ALTER TABLE mallory.t OWNER TO mallory;"
        "INSERT INTO mallory.t VALUES (1)",
        name,
    )
    scribe.run("scribe-init")
    scribe.start_stream()
    with cluster.connect(name, user="mallory") as conn:  # loads pg_trgm here, and wherever the row goes
        conn.execute("CREATE TABLE mallory.alike (a text PRIMARY KEY)")
        conn.execute("CREATE INDEX ON mallory.alike USING gin (a public.gin_trgm_ops)")
        conn.execute("INSERT INTO mallory.alike VALUES ('x')")
    for statements in SETTINGS_OF_ANYBODYS[:3]:
        with cluster.connect(name, user="mallory") as conn:
            for statement in statements.split(";"):
                conn.execute(statement)
    with cluster.connect(name, user="mallory") as conn:
        for statement in ";".join(SETTINGS_OF_ANYBODYS[3:]).split(";"):
            conn.execute(statement)
    # as a session has it recorded that has not loaded the library of a superuser's setting; all of ours load PL/pgSQL
    cluster.psql(
        "INSERT INTO scribe.ddl_history (kind, tag, statement, exact, role, search_path, settings) VALUES ('ddl',"
        " 'ALTER TABLE', $$ALTER TABLE mallory.t ADD v text DEFAULT current_setting('plpgsql.variable_conflict')$$,"
        " true, 'mallory', 'public', '{plpgsql.variable_conflict,use_column,app.tenant,north}');"
        "INSERT INTO scribe.ddl_history (kind, tag, statement, exact, role, search_path, settings) VALUES ('ddl',"
        " 'ALTER TABLE', $$ALTER TABLE mallory.t ADD w text DEFAULT current_setting('app.tenant')$$,"
        " true, 'mallory', 'public', '{app.tenant,north}')",
        name,
    )
    scribe.run("scribe-rotate", "--wait-lsn", "current")
    scribe.run("scribe-restore", "-d", targets[0], "--no-globals")
    scribe.restore_with_psql(targets[1])
    made = "SELECT string_agg(relname, ' ' ORDER BY relname COLLATE \"C\") FROM pg_class WHERE relkind = 'r'"
    for target in targets:
        assert cluster.value(f"{made} AND relnamespace = 'mallory'::regnamespace", target) == (
            "alike name search t value word"
        )
        assert cluster.query("SELECT v, w FROM mallory.t", target) == [("error", "north")]


@pytest.mark.parametrize("decoder", ["scribe_decoder", "pgoutput"])
def test_a_comment_makes_no_publication_ours(
    cluster: Cluster, ordinary: str, scribe: Scribe, targets: tuple[str, str], decoder: str
) -> None:
    """It would be missing in a copy, and what comes later of it would stop every restore."""
    scribe.settings["SCRIBE_DECODER"] = decoder
    cluster.psql(
        f"GRANT CREATE ON DATABASE {scribe.dbname} TO mallory; CREATE SCHEMA mallory AUTHORIZATION mallory;"
        "SET ROLE mallory; CREATE TABLE mallory.t (a int PRIMARY KEY); CREATE PUBLICATION his FOR TABLE mallory.t;"
        "COMMENT ON PUBLICATION his IS 'pg_scribe: what scribe-stream receives'",
        scribe.dbname,
    )
    scribe.run("scribe-init")
    scribe.start_stream()
    cluster.psql("SET ROLE mallory; ALTER PUBLICATION his SET (publish = 'insert')", scribe.dbname)
    scribe.run("scribe-rotate", "--wait-lsn", "current")
    scribe.run("scribe-restore", "-d", targets[0], "--no-globals")
    scribe.restore_with_psql(targets[1])
    for target in targets:
        assert cluster.query("SELECT pubname, pubupdate FROM pg_publication", target) == [("his", False)]
