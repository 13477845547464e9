"""Capture: what scribe.ddl_history records, as whom, and that nobody can make it record something else."""

from __future__ import annotations

import contextlib
import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from cluster import ROOT, Cluster, poll
from compare import assert_equal
from source import Scribe, hide_library

from scribe.source.capture import read_edition

CAPTURE = (ROOT / "sql/capture.sql").read_text()
PGOUTPUT = (ROOT / "sql/pgoutput.sql").read_text()
DECODERS = ("scribe_decoder", "pgoutput", "decoder_raw")
OID_OF = "SELECT oid FROM pg_database WHERE datname = '{}'"
UNCAPTURE = (ROOT / "sql/uncapture.sql").read_text()


@pytest.fixture
def captured(cluster: Cluster, database: str) -> Iterator[str]:
    """A database with capture installed, and an ordinary user mallory."""
    cluster.psql(CAPTURE, database)
    cluster.psql(
        "DO $$ BEGIN CREATE ROLE mallory LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;"
        "CREATE SCHEMA mallory AUTHORIZATION mallory; GRANT ALL ON SCHEMA public TO mallory",
        database,
    )
    yield database


def history(
    cluster: Cluster, database: str, columns: str = "kind, tag, statement, exact, role"
) -> list[tuple[object, ...]]:
    """What was recorded after the fixture's own commands."""
    return cluster.query(
        f"SELECT {columns} FROM scribe.ddl_history WHERE tag NOT IN ('CREATE SCHEMA', 'GRANT') ORDER BY id", database
    )


def texts(cluster: Cluster, database: str) -> list[object]:
    """The exact statements recorded."""
    return [row[0] for row in history(cluster, database, "CASE WHEN exact THEN statement END")]


def test_each_statement_of_a_string_is_recorded_alone(cluster: Cluster, captured: str) -> None:
    with cluster.connect(captured) as conn:
        conn.execute("CREATE TABLE a (x int PRIMARY KEY); SELECT 1; CREATE TABLE b (x int PRIMARY KEY)")
    assert texts(cluster, captured) == ["CREATE TABLE a (x int PRIMARY KEY)", "CREATE TABLE b (x int PRIMARY KEY)"]


def test_the_first_statement_of_a_session_is_exact_in_every_surrounding(cluster: Cluster, captured: str) -> None:
    cluster.psql(
        "CREATE FUNCTION by_sql() RETURNS void LANGUAGE sql AS 'SELECT 1; CREATE TABLE s (x int PRIMARY KEY)';"
        "CREATE FUNCTION by_pl() RETURNS void LANGUAGE plpgsql AS"
        " $$ BEGIN CREATE TABLE p (x int PRIMARY KEY); END $$;"
        "CREATE PROCEDURE by_call() LANGUAGE plpgsql AS"
        " $$ BEGIN COMMIT; CREATE TABLE c (x int PRIMARY KEY); COMMIT; END $$;",
        captured,
    )
    for call in (
        "SELECT by_sql()",
        "SELECT by_pl()",
        "CALL by_call()",
        "DO $$ BEGIN EXECUTE 'CREATE TABLE d (x int PRIMARY KEY); CREATE TABLE e (x int PRIMARY KEY)'; END $$",
    ):
        cluster.query(call, captured)
    assert texts(cluster, captured)[3:] == [f"CREATE TABLE {name} (x int PRIMARY KEY)" for name in "spcde"]


@pytest.mark.parametrize("query", ["SELECT 1 AS x", "SELECT 1 / 0 AS x"])
def test_a_first_statement_whose_text_cannot_be_proved_costs_nothing(
    cluster: Cluster, captured: str, query: str
) -> None:
    """The query has been analysed before the library is loaded; what was noted is freed also if it fails."""
    with cluster.connect(captured) as conn:
        conn.execute("BEGIN; SAVEPOINT s")
        with contextlib.suppress(psycopg.errors.DivisionByZero):
            conn.execute(f"CREATE MATERIALIZED VIEW seen AS {query}")
        conn.execute("ROLLBACK TO s; CREATE TABLE after (x int PRIMARY KEY); COMMIT")
    with cluster.connect(captured) as conn:
        with contextlib.suppress(psycopg.errors.DivisionByZero):
            conn.execute(f"CREATE MATERIALIZED VIEW seen AS {query}")
        conn.execute("CREATE TABLE at_last (x int PRIMARY KEY)")
    recorded = texts(cluster, captured)
    assert recorded[0] == "CREATE TABLE after (x int PRIMARY KEY)"
    assert recorded[-1] == "CREATE TABLE at_last (x int PRIMARY KEY)"
    assert len(recorded) == (2 if "0" in query else 3)


def test_the_extended_protocol_is_exact_too(cluster: Cluster, captured: str) -> None:
    with cluster.connect(captured) as conn:
        conn.execute("CREATE TABLE a (x int PRIMARY KEY)", prepare=True)
        conn.execute("COMMENT ON TABLE a IS 'it''s; here'", prepare=True)
    assert texts(cluster, captured) == ["CREATE TABLE a (x int PRIMARY KEY)", "COMMENT ON TABLE a IS 'it''s; here'"]


def test_the_role_in_effect_and_its_search_path_are_recorded(cluster: Cluster, captured: str) -> None:
    cluster.psql(
        "CREATE FUNCTION mallory.make() RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = mallory AS"
        " $$ BEGIN CREATE TABLE made (x int PRIMARY KEY); END $$;"
        "ALTER FUNCTION mallory.make() OWNER TO mallory;"
        "SET search_path = public; SELECT mallory.make();",
        captured,
    )
    assert history(cluster, captured, "role, search_path")[-1] == ("mallory", "mallory")


@pytest.mark.parametrize(
    "attack",
    [
        "INSERT INTO scribe.ddl_history (kind, tag, statement, exact, role, search_path)"
        " VALUES ('ddl', 'X', 'DROP TABLE x', true, 'postgres', '')",
        "SELECT scribe.write_row('ddl', 'X', NULL, NULL, 'DROP TABLE x', true, NULL, NULL, 'postgres', '')",
        "SELECT scribe.record_plain('X', 'DROP TABLE x', 'postgres', '')",
        "SELECT scribe.run_own('DROP TABLE x')",
        "SELECT scribe.command_end()",
        "SELECT replica_identity FROM scribe.config",
        "INSERT INTO scribe.at_work VALUES (pg_current_xact_id())",
        "UPDATE scribe.config SET database_oid = 0",
        'ALTER EVENT TRIGGER "!scribe_4_end" DISABLE',
        "CREATE TABLE scribe.mine (x int)",
    ],
)
def test_an_ordinary_user_can_write_nothing(cluster: Cluster, captured: str, attack: str) -> None:
    with cluster.connect(captured, user="mallory") as conn, pytest.raises(psycopg.Error):
        conn.execute(attack)  # type: ignore[arg-type]
    assert history(cluster, captured) == []


def test_settings_and_temporary_relations_of_a_user_deceive_nobody(
    cluster: Cluster, captured: str, tmp_path: Path
) -> None:
    """Placeholders of the names capture uses, a hostile search_path, temporary relations that hide the catalogs."""
    with cluster.connect(captured, user="mallory") as conn:
        conn.execute(
            "CREATE FUNCTION mallory.evil() RETURNS bool LANGUAGE plpgsql AS $$ BEGIN"
            " IF current_user <> 'mallory' THEN RAISE EXCEPTION 'ran as %', current_user; END IF; RETURN true; END $$"
        )
        for name in ("pg_class", "pg_database", "pg_index", "pg_event_trigger", "pg_attribute"):
            conn.execute(f"CREATE TEMP VIEW {name} AS SELECT mallory.evil() AS oid")  # type: ignore[arg-type]
        conn.execute(
            "CREATE FUNCTION mallory.current_setting(text) RETURNS text LANGUAGE sql AS $$ SELECT 'postgres' $$"
        )
        conn.execute("SET search_path = mallory, pg_catalog")
        for setting in ("scribe.role", "scribe.path", "scribe.settings", "scribe.dropped", "scribe.filled"):
            conn.execute("SELECT pg_catalog.set_config(%s, 'postgres', false)", [setting])
        conn.execute("CREATE TABLE mallory.t (x int PRIMARY KEY)")
    assert history(cluster, captured, "statement, exact, role")[-1] == (
        "CREATE TABLE mallory.t (x int PRIMARY KEY)",
        True,
        "mallory",
    )


def test_rows_that_a_command_rewrites_make_nobody_run_the_owners_code(cluster: Cluster, captured: str) -> None:
    """What a plan or an UPDATE evaluates is the owner's code: as a superuser it could do anything."""
    seen: set[str | None] = set()
    with cluster.connect(captured, user="mallory") as conn:
        conn.execute(
            "CREATE FUNCTION mallory.evil(a int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN"
            " RAISE NOTICE 'evil as %', concat_ws(' ', current_user, current_setting('session_replication_role'));"
            " RETURN a; END $$"
        )
        conn.execute(
            "CREATE TABLE mallory.t (a int CHECK (mallory.evil(a) = a),"
            " b int GENERATED ALWAYS AS (mallory.evil(a)) STORED)"
        )
        conn.execute("CREATE INDEX ON mallory.t (mallory.evil(a))")
        if cluster.version_num >= 140000:
            conn.execute("CREATE STATISTICS mallory.s ON (mallory.evil(a) + mallory.evil(1)) FROM mallory.t")
        conn.execute("INSERT INTO mallory.t VALUES (1)")
        conn.add_notice_handler(lambda said: seen.add(said.message_primary))
        conn.execute("ALTER TABLE mallory.t ADD COLUMN u uuid DEFAULT gen_random_uuid()")
    assert {text for text in seen if text and text.startswith("evil as ")} == {"evil as mallory origin"}
    assert ("rewrite", True) in history(cluster, captured, "kind, exact")
    assert cluster.query("SELECT 1 FROM pg_proc WHERE proname LIKE 'run_as_owner%'", captured) == []


def test_without_the_library_ddl_works_and_is_flagged(cluster: Cluster, captured: str) -> None:
    """A promoted standby or a rebuilt host may lack it; nothing may fail there."""
    hide_library(cluster, captured)
    cluster.psql("CREATE TABLE one (x int PRIMARY KEY)", captured)
    with cluster.connect(captured) as conn:
        conn.execute("CREATE TABLE two (x int PRIMARY KEY); CREATE TABLE three (x int PRIMARY KEY)")
    recorded = history(cluster, captured, "statement, exact")
    assert recorded[-3] == ("CREATE TABLE one (x int PRIMARY KEY)", True)
    assert [exact for _, exact in recorded[-2:]] == [False, False]


@pytest.mark.parametrize("library", [True, False])
def test_what_loaders_and_subscribers_do_in_a_replica_is_recorded(
    cluster: Cluster, captured: str, library: bool
) -> None:
    if not library:
        hide_library(cluster, captured)
    cluster.psql("SET session_replication_role = replica; CREATE TABLE loaded (x int PRIMARY KEY)", captured)
    assert [tag for _, tag, *_ in history(cluster, captured)] == ["CREATE TABLE"]


def test_who_runs_a_command_is_noted_without_an_operator_of_anybodys() -> None:
    """It runs as the user, under the user's path; the library has it in C."""
    text = (ROOT / "sql/capture/caller.sql").read_text()
    body = text.split("$function$")[1]
    bare = re.sub(r"'(?:[^']|'')*'|--[^\n]*|OPERATOR\(pg_catalog\.[^)]*\)|SET LOCAL [\w.]+ =|:=|::|\.\.", " ", body)
    assert re.findall(r"[-+*/<>=~!@#%^&|`?]+", bare) == []
    called = set(re.findall(r"(?<![\w.])([a-z_]+)\(", bare)) - {"raise"}
    assert called == set()


def test_a_path_has_no_schema_that_its_role_may_not_use(cluster: Cluster, captured: str) -> None:
    cluster.psql('CREATE SCHEMA secret; CREATE SCHEMA "Open"; GRANT USAGE ON SCHEMA "Open" TO mallory', captured)
    path = "scribe.usable_path('\"$user\", secret, \"Open\", nowhere, public', 'mallory')"
    assert cluster.value(f"SELECT {path}", captured) == 'mallory, "Open", public'


@pytest.mark.parametrize("library", [True, False])
def test_a_copy_of_the_database_records_nothing(cluster: Cluster, captured: str, library: bool) -> None:
    cluster.createdb("copied", captured)
    try:
        if not library:
            hide_library(cluster, "copied")
        cluster.psql("CREATE TABLE in_the_copy (x int PRIMARY KEY)", "copied")
        assert history(cluster, "copied") == []
    finally:
        cluster.dropdb("copied")


def test_refuse_makes_the_statement_fail_with_a_hint(cluster: Cluster, captured: str) -> None:
    cluster.psql("UPDATE scribe.config SET replica_identity = 'refuse'", captured)
    result = cluster.psql("CREATE TABLE no_key (x int)", captured, check=False)
    assert result.returncode != 0
    assert "replica identity" in result.stderr and "HINT" in result.stderr


def test_a_schema_change_waits_while_a_base_needs_none(cluster: Cluster, captured: str) -> None:
    """Of a session that has the library, too."""
    waiting = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND pid = {}"
    with cluster.connect(captured) as conn, cluster.connect(captured) as base, ThreadPoolExecutor(1) as pool:
        for table in ("first", "second"):
            with base.transaction():
                base.execute("SELECT scribe.hold_schema_changes()")
                change = pool.submit(conn.execute, f"CREATE TABLE {table} (a int PRIMARY KEY)".encode())
                poll(lambda: cluster.query(waiting.format(conn.info.backend_pid)), 30, f"the wait of {table}")
            change.result()
    assert texts(cluster, captured) == [f"CREATE TABLE {table} (a int PRIMARY KEY)" for table in ("first", "second")]


def test_uncapture_leaves_no_trace(cluster: Cluster, database: str) -> None:
    cluster.psql("CREATE TABLE t (x int)", database)
    before = cluster.dump(database)
    cluster.psql(CAPTURE, database)
    cluster.psql("ALTER TABLE t ADD COLUMN y int; ALTER TABLE t DROP COLUMN y", database)
    for _ in range(2):
        cluster.psql(UNCAPTURE, database)
    assert cluster.query("SELECT 1 FROM pg_event_trigger WHERE evtname LIKE 'scribe%'", database) == []
    assert cluster.query("SELECT 1 FROM pg_namespace WHERE nspname = 'scribe'", database) == []
    assert cluster.dump(database) == before


def test_every_function_searches_temporary_relations_last() -> None:
    """pg_temp comes first unless it is named, and these functions run as the owner."""
    for decoder in DECODERS:
        text = read_edition(decoder).decode()
        assert "search_path = pg_catalog" not in text.replace("search_path = pg_catalog, pg_temp", "")


def test_every_function_has_a_search_path_of_its_own() -> None:
    """A user's would lead to the user's functions; the one that runs as the user qualifies every name."""
    for decoder in DECODERS:
        text = read_edition(decoder).decode()
        heads = re.findall(r"CREATE OR REPLACE FUNCTION (scribe\.\w+)(.*?)\bAS \$", text, re.S)
        without = {name for name, head in heads if "SET search_path = pg_catalog, pg_temp" not in head}
        assert without == {"scribe.note_caller"}
        assert len(heads) > 90


@pytest.mark.parametrize("decoder", DECODERS)
def test_nothing_is_made_twice_for_a_decoder(decoder: str) -> None:
    """The editions differ by the files that they name, not by the order in which one file undoes another."""
    made = re.findall(
        r"^CREATE (?:OR REPLACE )?((?:FUNCTION|VIEW) scribe\.\w+(?:\([^)]*\))?|TABLE IF NOT EXISTS scribe\.\w+)",
        read_edition(decoder).decode(),
        re.M,
    )
    assert len(made) > 90
    assert sorted(made) == sorted(set(made))


def test_every_file_of_capture_is_named_by_a_list() -> None:
    named = {
        (ROOT / "sql" / name).resolve()
        for path in (ROOT / "sql").glob("*.sql")
        for name in re.findall(r"^\\ir (capture/\S+)$", path.read_text(), re.M)
    }
    assert named == set((ROOT / "sql/capture").rglob("*.sql"))


# Of a session that was there before: it has called the functions that are made again.
BEFORE = (
    "ALTER TABLE t ADD COLUMN before int DEFAULT 1",
    "CREATE TABLE keyless_before (a text)",
    "CREATE INDEX ON t (v)",
)
AFTER = (
    "ALTER TABLE t ADD COLUMN after float8 DEFAULT random()",
    "CREATE TABLE keyless_after (a text)",
    "DO $$ BEGIN EXECUTE 'CREATE VIEW seen AS SELECT * FROM t'; END $$",
    "DROP TABLE keyless_before",
)


@pytest.mark.parametrize("decoder", ["scribe_decoder", "pgoutput"])
def test_an_older_installation_is_brought_up_to_date_by_init_and_its_chain_goes_on(
    scribe: Scribe, targets: tuple[str, str], decoder: str
) -> None:
    cluster, database = scribe.cluster, scribe.dbname
    scribe.settings["SCRIBE_DECODER"] = decoder
    cluster.psql("CREATE TABLE t (a int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'one')", database)
    scribe.run("scribe-init")
    older = subprocess.check_output(["zstdcat", ROOT / f"tests/older/capture-{decoder}.sql.zst"], text=True)
    for (trigger,) in cluster.query(
        "SELECT evtname FROM pg_event_trigger WHERE starts_with(evtname, '!scribe')", database
    ):
        cluster.psql(f'DROP EVENT TRIGGER "{trigger}"', database)
    cluster.psql(older, database)
    scribe.start_stream()
    with cluster.connect(database) as session:
        for statement in BEFORE:
            session.execute(statement)
        scribe.run("scribe-init")
        for statement in AFTER:
            session.execute(statement)
    with cluster.connect(database) as conn:
        conn.execute(
            "INSERT INTO t (a) VALUES (2); UPDATE keyless_after SET a = 'x'; INSERT INTO keyless_after VALUES ('y')"
        )
    scribe.run("scribe-rotate", "--wait-lsn", "current")
    assert len(list((scribe.archive / "base").iterdir())) == 1
    assert cluster.query("SELECT tag, reason FROM scribe.ddl_history WHERE NOT exact OR kind = 'lost'", database) == []
    scribe.run("scribe-restore", "-d", targets[0])
    assert_equal(cluster.dump(database), cluster.dump(targets[0]))


FREQUENT = """
CREATE TABLE a (id int PRIMARY KEY, v text)
CREATE TABLE keyless (v text)
ALTER TABLE keyless ADD PRIMARY KEY (v)
CREATE TABLE checked_late (id int PRIMARY KEY DEFERRABLE)
CREATE TABLE numbered (id serial PRIMARY KEY, a int REFERENCES a)
ALTER TABLE a ADD COLUMN w int DEFAULT NULL, ALTER COLUMN v SET NOT NULL
ALTER TABLE a DROP COLUMN w
ALTER TABLE a RENAME COLUMN v TO x
CREATE INDEX ON a (x)
COMMENT ON COLUMN a.x IS 'it''s \\ here'
CREATE VIEW seen AS SELECT id FROM a
CREATE FUNCTION f(a int) RETURNS int LANGUAGE sql AS 'SELECT 1'
CREATE TYPE mood AS ENUM ('a')
CREATE SEQUENCE s
CREATE TABLE made AS SELECT 1 AS one
CREATE TABLE IF NOT EXISTS a (id int)
CREATE TEMP TABLE passing (a int)
DROP VIEW seen
DROP TABLE keyless, numbered
""".strip().splitlines()


def test_the_library_records_what_the_functions_in_sql_record(cluster: Cluster, captured: str) -> None:
    """Without it, one has the text of a session's first statement only."""
    cluster.psql(
        "CREATE FUNCTION evt() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN END $$;"
        "CREATE EVENT TRIGGER foreign_one ON ddl_command_end EXECUTE FUNCTION evt();"
        "ALTER EVENT TRIGGER foreign_one ENABLE ALWAYS; CREATE SCHEMA hidden; CREATE SCHEMA mine;"
        "GRANT ALL ON SCHEMA mine TO mallory; CREATE TABLE fired (n serial PRIMARY KEY, tag text);"
        "CREATE FUNCTION note() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN"
        "  INSERT INTO public.fired (tag) VALUES (tg_tag); END $$;"
        "CREATE EVENT TRIGGER noted ON ddl_command_end EXECUTE FUNCTION note()",
        captured,
    )
    cluster.createdb("other", captured)
    hide_library(cluster, captured)
    cluster.query("TRUNCATE fired", captured)
    cluster.query(f"UPDATE scribe.config SET database_oid = {cluster.value(OID_OF.format('other'))}", "other")
    setup = "SET search_path = hidden, mine, public; SET timezone = 'Asia/Tokyo'; SET ROLE mallory;"
    calls = (
        "SELECT count(*) FROM pg_stat_xact_user_functions WHERE schemaname = 'scribe' AND funcname = 'record_command'"
    )
    try:
        for statement in FREQUENT:
            with cluster.connect(captured) as conn:
                conn.execute(setup.encode())
                conn.execute(statement.encode())
        with cluster.connect("other") as conn:
            conn.execute("CREATE TABLE first (a int PRIMARY KEY); DROP TABLE first; SET track_functions = 'all'")
            conn.execute(setup.encode())
            for statement in FREQUENT:
                with conn.transaction():
                    conn.execute(statement.encode())
                    assert conn.execute(calls.encode()).fetchone() == (0,), statement
        columns = "kind, tag, object_type, object_identity, statement, exact, role, search_path, quiet"
        columns += """, CASE WHEN search_path <> '""' THEN settings END"""  # what capture has made needs none
        columns += ", cardinality(relids), (SELECT count(*) FROM scribe.replica_identity)"
        by_library = history(cluster, "other", columns)
        assert [row for row in by_library if row[3] != "public.first"] == history(cluster, captured, columns)
        fired = "SELECT tag FROM fired ORDER BY n"  # by the users' commands, and by no command of capture's own
        assert cluster.query(fired, "other")[2:] == cluster.query(fired, captured)
    finally:
        cluster.dropdb("other")


def test_serializable_transactions_beside_each_other_lose_no_schema_change(cluster: Cluster, captured: str) -> None:
    """They depend on each other by capture's rows alone; which session runs its next statement, by its number."""
    statements = (
        "BEGIN ISOLATION LEVEL SERIALIZABLE",
        "CREATE TABLE made_{0}_{1} (a int PRIMARY KEY, b text)",
        "ALTER TABLE made_{0}_{1} ADD COLUMN c int DEFAULT 5",
        "COMMIT",
    )
    committed = 0
    with contextlib.ExitStack() as stack:
        sessions = [stack.enter_context(cluster.connect(captured)) for _ in range(3)]
        for order in ("110120200122", "001102220112", "021102112020", "202000221111", "122210120100", "202221011100"):
            left = [list(statements) for _ in sessions]
            for number in map(int, order):
                try:
                    if left[number]:
                        sessions[number].execute(left[number].pop(0).format(order, number).encode())
                        committed += not left[number]
                except psycopg.errors.SerializationFailure:
                    sessions[number].execute("ROLLBACK")
                    left[number].clear()
    assert committed >= 6
    assert cluster.query("SELECT tag, reason FROM scribe.ddl_history WHERE NOT exact", captured) == []
    altered = "SELECT count(*) FROM scribe.ddl_history WHERE tag = 'ALTER TABLE' AND kind = 'ddl'"
    assert cluster.value(altered, captured) == committed


MANY = """
DO $$ BEGIN FOR i IN 1..500 LOOP
  EXECUTE format('CREATE TABLE t%s (id int PRIMARY KEY, v text, w text, CHECK (id > 0), CHECK (v <> w));
    CREATE INDEX ON t%s (v); CREATE INDEX ON t%s (w)', i, i, i); COMMIT;
END LOOP; END $$;
CREATE TABLE parted (id int) PARTITION BY LIST (id); CREATE TYPE kind AS ENUM ('a');
ANALYZE;
"""
COMMANDS = [
    "CREATE TABLE made (id int PRIMARY KEY, v text NOT NULL, CHECK (id > 0))",
    "ALTER TABLE made ADD COLUMN w int DEFAULT 5",
    "ALTER TABLE made ALTER v TYPE varchar(10)",
    "ALTER TABLE t1 ADD CHECK (id < 1000) NOT VALID",
    "ALTER TABLE t1 VALIDATE CONSTRAINT t1_id_check1",
    "ALTER TABLE t2 ADD FOREIGN KEY (id) REFERENCES t1",
    "ALTER TABLE t1 DROP CONSTRAINT t1_pkey CASCADE",
    "CREATE UNIQUE INDEX by_v ON made (v)",
    "DROP INDEX by_v",
    "CREATE TABLE part PARTITION OF parted FOR VALUES IN (1)",
    "ALTER TABLE t3 RENAME TO other",
    "ALTER TABLE t4 RENAME COLUMN v TO x",
    "ALTER TABLE t5 OWNER TO mallory",
    "CREATE VIEW seen AS SELECT * FROM t6",
    "GRANT SELECT ON t7 TO PUBLIC",
    "TRUNCATE t8",
    "ALTER TYPE kind ADD VALUE 'b'",
    "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "DROP TABLE t9",
    "DROP FUNCTION f",
]


CATALOGS = "pg_class, pg_constraint, pg_index, pg_attribute, pg_depend, pg_type, pg_inherits, pg_attrdef"
READ = f"SELECT sum(pg_stat_get_xact_tuples_returned(c)) FROM unnest('{{{CATALOGS}}}'::regclass[]) AS c"


@pytest.mark.parametrize("capture", [CAPTURE, PGOUTPUT], ids=["library", "pgoutput"])
def test_a_command_takes_no_longer_in_a_large_schema(cluster: Cluster, database: str, capture: str) -> None:
    """It reads no catalog from its first row to the last, which the server does of some for itself."""
    cluster.psql(
        MANY + "DO $$ BEGIN CREATE ROLE mallory LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$", database
    )
    with cluster.connect(database) as conn:
        bare = [_read_by(conn, command) for command in COMMANDS]
        conn.execute("DROP TABLE made, part, other; DROP VIEW seen; DROP TYPE kind; CREATE TYPE kind AS ENUM ()")
    cluster.psql(capture, database)
    with cluster.connect(database) as conn:
        _read_by(conn, "CREATE TABLE first (id int PRIMARY KEY)")  # what is there is looked at once
        captured = [_read_by(conn, re.sub(r"\bt(\d)(?=\b|_)", r"t1\1", command)) for command in COMMANDS]
    recorded = {str(tag) for (tag,) in cluster.query("SELECT tag FROM scribe.ddl_history", database)}
    kinds = {"TABLE", "INDEX", "FUNCTION"}
    assert {f"{verb} {kind}" for verb in ("CREATE", "DROP") for kind in kinds} | {"ALTER TABLE", "GRANT"} <= recorded
    more = dict(zip(COMMANDS, (after - before for before, after in zip(bare, captured, strict=True)), strict=True))
    found = {command: rows for command, rows in more.items() if rows > 100}
    assert found == {}, found


def _read_by(conn: psycopg.Connection[tuple[object, ...]], command: str) -> int:
    before = conn.execute(READ).fetchall()[0][0]
    conn.execute(command)  # type: ignore[arg-type]
    after = conn.execute(READ).fetchall()[0][0]
    conn.commit()
    return int(after) - int(before)  # type: ignore[call-overload,no-any-return]
