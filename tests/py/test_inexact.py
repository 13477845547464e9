"""Schema changes whose text could not be proved: replay runs the one statement, or none, and says so."""

from __future__ import annotations

import json
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
from cases import assert_both_restores_equal
from cluster import Cluster, poll
from compare import assert_equal
from source import Scribe, hide_library


def captured_without_library(scribe: Scribe, before: str = "") -> None:
    """Begin an archive, then hide the library from every session that comes."""
    scribe.cluster.psql(before, scribe.dbname)
    scribe.run("scribe-init")
    hide_library(scribe.cluster, scribe.dbname)
    scribe.start_stream()


def run_as_one(cluster: Cluster, dbname: str, statements: str) -> None:
    """Send a string of statements as one message of the simple protocol."""
    with cluster.connect(dbname) as conn:
        conn.execute(statements.encode())


def rotated(scribe: Scribe) -> tuple[str, list[str]]:
    """Rotate; return the last segment's text and its manifest's warnings."""
    scribe.run("scribe-rotate", "--wait-lsn", "current")
    segment = sorted((scribe.archive / "incremental").glob("*.sql.zst"))[-1]
    text = subprocess.check_output(["zstdcat", segment], text=True)
    warnings = json.loads((segment.parent / segment.name.replace(".sql.zst", ".json")).read_text())["warnings"]
    return text, warnings


def test_the_one_statement_is_picked_out_of_what_held_it(scribe: Scribe) -> None:
    cluster, dbname = scribe.cluster, scribe.dbname
    captured_without_library(
        scribe,
        "CREATE TABLE old (a int PRIMARY KEY); CREATE TABLE older (a int PRIMARY KEY);"
        "CREATE FUNCTION make() RETURNS void LANGUAGE plpgsql AS $$ BEGIN CREATE TABLE by_function (a int PRIMARY KEY);"
        " INSERT INTO by_function VALUES (1); DROP TABLE old; END $$;"
        "CREATE FUNCTION make_two() RETURNS void LANGUAGE sql AS 'CREATE TABLE sql_1 (a serial PRIMARY KEY);"
        " CREATE TABLE sql_2 (a int PRIMARY KEY); INSERT INTO older VALUES (5)'",
    )
    run_as_one(
        cluster,
        dbname,
        "CREATE TABLE one (a serial PRIMARY KEY, b text DEFAULT ';'); INSERT INTO one (b) VALUES ('x');"
        " CREATE TABLE two (a int PRIMARY KEY); INSERT INTO two VALUES (7); COMMENT ON TABLE two IS 'a; b';"
        " CREATE FUNCTION f(int) RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE INDEX two_a ON two (a)",
    )
    cluster.query("SELECT make()", dbname)
    cluster.query("SELECT make_two()", dbname)
    views = "CREATE VIEW v1 AS SELECT 1 AS a; CREATE VIEW v2 AS SELECT 2 AS b"
    cluster.query(f"DO $$ BEGIN EXECUTE '{views}'; END $$", dbname)
    run_as_one(cluster, dbname, "DROP VIEW v1; DROP VIEW v2; CREATE TABLE last AS SELECT 1 AS a")
    text, warnings = rotated(scribe)
    assert ("SELECT make" in text, "BEGIN EXECUTE" in text) == (False, False)
    guess = "inexact DDL: CREATE TABLE by postgres inexact: the library"
    assert sum(warning.startswith(guess) for warning in warnings) == 4  # that of PL/pgSQL's one statement is proved
    source = cluster.dump(dbname)
    try:
        scribe.run("scribe-restore", "-d", "picked_restore", "--no-globals")
        assert_equal(source, cluster.dump("picked_restore"))
        scribe.restore_with_psql("picked_psql")
        assert_equal(source, cluster.dump("picked_psql"))
        found = scribe.run("scribe-check", "--only", "ddl", check=False)
        assert (found.returncode, "not captured exactly" in found.stdout) == (1, True)
    finally:
        for name in ("picked_restore", "picked_psql"):
            cluster.dropdb(name)


def test_what_cannot_be_told_is_not_run_and_a_later_row_stops_the_restore(scribe: Scribe) -> None:
    cluster, dbname = scribe.cluster, scribe.dbname
    captured_without_library(scribe, "CREATE TABLE t (a int PRIMARY KEY)")
    run_as_one(cluster, dbname, "ALTER TABLE t ADD b int; INSERT INTO t VALUES (1); ALTER TABLE t ADD c int")
    text, warnings = rotated(scribe)
    assert text.count("-- warning: ALTER TABLE left out, its text has 2 statements that may be it: the library") == 2
    assert len([warning for warning in warnings if "left out" in warning and "take a new base" in warning]) == 2
    result = scribe.run("scribe-restore", "-d", "stopped", "--no-globals", check=False)
    try:
        assert result.returncode == 1
        assert 'column "b" of relation "t" does not exist' in result.stderr
        segment = sorted((scribe.archive / "incremental").glob("*.sql.zst"))[-1]
        assert (segment.name in result.stderr, "hint:" in result.stderr) == (True, True)
        scribe.run("scribe-dump")
        scribe.run("scribe-restore", "-d", "cured", "--no-globals")
        assert_equal(cluster.dump(dbname), cluster.dump("cured"))
    finally:
        for name in ("stopped", "cured"):
            cluster.dropdb(name)


def test_a_table_of_which_nothing_is_known_keeps_its_rows(scribe: Scribe) -> None:
    """Two functions of one name: the stack does not say whose second statement it was."""
    cluster, dbname = scribe.cluster, scribe.dbname
    body = "'SELECT 1; CREATE TABLE {} (a int DEFAULT 7, b text)'"
    make = "CREATE FUNCTION same({}) RETURNS void LANGUAGE sql AS " + body + ";"
    captured_without_library(scribe, make.format("", "one") + make.format("int", "two"))
    cluster.query("SELECT same()", dbname)
    cluster.psql("INSERT INTO one VALUES (1, 'x'), (2, NULL); UPDATE one SET b = 'y' WHERE a = 2", dbname)
    text, warnings = rotated(scribe)
    assert any("CREATE TABLE left out" in warning for warning in warnings)
    try:
        scribe.run("scribe-restore", "-d", "kept", "--no-globals")
        assert_equal(cluster.dump(dbname), cluster.dump("kept"))  # made from the catalog, default included
    finally:
        cluster.dropdb("kept")
    found = scribe.run("scribe-check", "--only", "ddl", check=False)
    assert found.returncode == 1, found.stdout


def test_a_locked_table_of_capture_neither_stops_ddl_nor_hides_a_loss(scribe: Scribe) -> None:
    """Only a message can say it then; the statement itself must not fail."""
    cluster, dbname = scribe.cluster, scribe.dbname
    scribe.run("scribe-init")
    scribe.start_stream()
    cluster.psql("CREATE TABLE held ()", dbname)
    waiting = "SELECT pid FROM pg_locks WHERE NOT granted AND pid = {}"
    with cluster.connect(dbname, autocommit=False) as locker, cluster.connect(dbname, autocommit=False) as conn:
        said: list[str] = []
        conn.add_notice_handler(lambda notice: said.append(str(notice.message_primary)))
        conn.execute("SELECT FROM held")
        conn.execute("SET LOCAL deadlock_timeout = '4s'")  # it is this one that the server ends
        locker.execute("SET LOCAL deadlock_timeout = '1min'; LOCK TABLE scribe.ddl_history IN ACCESS EXCLUSIVE MODE")
        with ThreadPoolExecutor() as pool:
            made = pool.submit(conn.execute, "CREATE TABLE unseen (a int PRIMARY KEY)")
            poll(lambda: cluster.query(waiting.format(conn.info.backend_pid), dbname), 30, "a wait")
            locked = pool.submit(locker.execute, "LOCK TABLE held IN ACCESS EXCLUSIVE MODE")
            made.result()
            conn.commit()
            locked.result()
        assert any("pg_scribe could not record CREATE TABLE" in text for text in said)
        locker.rollback()
    # made from the catalog, it goes before its name is another's
    cluster.psql("BEGIN; DROP TABLE unseen; ALTER TABLE held RENAME TO unseen; COMMIT", dbname)
    cluster.psql("SELECT pg_logical_emit_message(true, 'scribe.lost', E'FORGED: x\nCOMMIT; -- end 0/0')", dbname)
    cluster.psql("SELECT pg_logical_emit_message(true, 'scribe.lost', '\\xff'::bytea)", dbname)
    text, warnings = rotated(scribe)
    lost = [warning.split(":")[0] for warning in warnings if warning.startswith("capture lost")]
    assert lost == ["capture lost CREATE TABLE", "capture lost FORGED"]
    assert "\nCREATE TABLE public.unseen (a integer NOT NULL)" in text  # from the catalog
    assert "\nALTER TABLE public.unseen ADD CONSTRAINT unseen_pkey PRIMARY KEY (a)" in text
    assert "\nCOMMIT; -- end 0/0" not in text
    found = scribe.run("scribe-check", "--only", "ddl", check=False)
    assert (found.returncode, "2 of them not at all" in found.stdout) == (2, True)
    scribe.run("scribe-restore", "-d", f"{dbname}_copy", "--no-globals")
    try:
        assert_equal(cluster.dump(dbname), cluster.dump(f"{dbname}_copy"), ("source", "copy"))
    finally:
        cluster.dropdb(f"{dbname}_copy")


def test_who_holds_a_table_of_capture_for_some_seconds_costs_no_command(scribe: Scribe) -> None:
    """VACUUM FULL of a catalog does so, too."""
    cluster, dbname = scribe.cluster, scribe.dbname
    scribe.run("scribe-init")
    waited = "SELECT pid FROM pg_locks WHERE NOT granted AND clock_timestamp() - waitstart > '2.5 s' AND pid = {}"
    with cluster.connect(dbname, autocommit=False) as locker, cluster.connect(dbname) as conn:
        locker.execute("LOCK TABLE scribe.ddl_history IN ACCESS EXCLUSIVE MODE")
        with ThreadPoolExecutor() as pool:
            made = pool.submit(conn.execute, "CREATE TABLE late (a int PRIMARY KEY)")
            poll(lambda: cluster.query(waited.format(conn.info.backend_pid), dbname), 30, "a wait of some seconds")
            locker.rollback()
            made.result()
    rows = cluster.query("SELECT tag, exact FROM scribe.ddl_history WHERE tag = 'CREATE TABLE'", dbname)
    assert rows == [("CREATE TABLE", True)]


def test_a_command_that_names_no_relation_casts_no_doubt_on_a_table_made_beside_it(scribe: Scribe) -> None:
    cluster, dbname = scribe.cluster, scribe.dbname
    cluster.psql("CREATE TABLE named (a int CONSTRAINT old PRIMARY KEY)", dbname)
    scribe.run("scribe-init")
    scribe.start_stream()
    made = "CREATE TABLE beside AS SELECT i FROM generate_series(1, 3) AS i"
    cluster.psql(f"BEGIN; ALTER TABLE named RENAME CONSTRAINT old TO new; {made}; COMMIT", dbname)
    elements = "CREATE SCHEMA whole CREATE TABLE element (a serial) CREATE VIEW seen AS SELECT a FROM element"
    cluster.psql(f"BEGIN; CREATE SCHEMA bare; {elements}; CREATE TABLE bare.beside AS SELECT 1 AS a; COMMIT", dbname)
    text, warnings = rotated(scribe)
    assert (warnings, text.count("TABLE element"), text.count("TABLE whole.element")) == ([], 1, 0)


def test_a_time_that_cannot_be_kept_is_flagged(scribe: Scribe) -> None:
    cluster, dbname = scribe.cluster, scribe.dbname
    scribe.run("scribe-init")
    scribe.start_stream()
    column = "at timestamp GENERATED ALWAYS AS ('now'::timestamp) STORED"
    cluster.psql(f"CREATE TABLE kept (a int PRIMARY KEY, {column}); INSERT INTO kept VALUES (1)", dbname)
    _, warnings = rotated(scribe)
    assert [warning for warning in warnings if "a constant of the time it ran at" in warning] != []
    assert scribe.run("scribe-check", "--only", "ddl", check=False).returncode == 2


def test_a_relation_nobody_saw_made_is_flagged_at_rotation(scribe: Scribe) -> None:
    """EXPLAIN ANALYZE fires no event trigger, and as the first statement of a session finds no library loaded."""
    cluster, dbname = scribe.cluster, scribe.dbname
    scribe.run("scribe-init")
    scribe.start_stream()
    cluster.psql("CREATE TABLE seen (a serial PRIMARY KEY); CREATE VIEW v AS SELECT 1 AS a", dbname)
    cluster.psql("EXPLAIN ANALYZE CREATE MATERIALIZED VIEW unseen AS SELECT 1 AS a", dbname)
    cluster.psql(
        "DO $$ DECLARE n name; BEGIN FOR n IN SELECT evtname FROM pg_event_trigger WHERE evtname LIKE '!scribe%' LOOP"
        " EXECUTE format('ALTER EVENT TRIGGER %I DISABLE', n); END LOOP; END $$",
        dbname,
    )
    cluster.psql("ALTER TABLE seen REPLICA IDENTITY NOTHING", dbname)
    cluster.psql("INSERT INTO seen VALUES (1); UPDATE seen SET a = 2; DELETE FROM seen", dbname)
    _, warnings = rotated(scribe)
    for command in ("UPDATE", "DELETE"):
        assert f"{command} of public.seen could not be carried: no replica identity" in warnings
    told = "materialized view public.unseen is there, and nothing told how it was made"
    assert [warning for warning in warnings if "could not be recorded" in warning] == [
        f"CREATE could not be recorded: {told}; take a new base"
    ]
    assert scribe.run("scribe-check", "--only", "ddl", check=False).returncode == 2


UNRECORDED = {
    "table public.altered": "ALTER TABLE altered DROP COLUMN v",
    "table public.checked": "ALTER TABLE checked ADD CHECK (id < 10)",
    "table public.defaulted": "ALTER TABLE defaulted ALTER v SET DEFAULT 4",
    "table public.granted": "GRANT SELECT ON granted TO PUBLIC",
    "table public.guarded": "DROP POLICY guards ON guarded",
    "table public.renamed_since": "ALTER TABLE renamed RENAME TO renamed_since",
    "table public.shown": "CREATE OR REPLACE VIEW shown AS SELECT 3 AS a",
    "table public.triggered": "ALTER TABLE triggered DISABLE TRIGGER fires",
    "function public.changed": "CREATE OR REPLACE FUNCTION changed() RETURNS int LANGUAGE sql AS 'SELECT 2'",
    "type public.mood": "ALTER TYPE mood ADD VALUE 'c'",
    "table public.widened": "UPDATE pg_attribute SET atttypmod = 9 WHERE attrelid = 'widened'::regclass AND attnum = 1",
    "type public.narrowed": "DELETE FROM pg_enum WHERE enumlabel = 'gone'",
}
TOGGLE = (
    "DO $$ DECLARE n name; BEGIN FOR n IN SELECT evtname FROM pg_event_trigger WHERE evtname LIKE '!scribe%' LOOP"
    " EXECUTE format('ALTER EVENT TRIGGER %I {}', n); END LOOP; END $$;"
)


def test_a_change_that_nothing_recorded_is_flagged_and_what_changes_nothing_is_not(scribe: Scribe) -> None:
    cluster, dbname = scribe.cluster, scribe.dbname
    cluster.psql(
        "CREATE ROLE scribe_giver; CREATE TABLE altered (id int PRIMARY KEY, v int CHECK (v > 0), w int);"
        "INSERT INTO altered VALUES (1, 1, 1); ALTER TABLE altered ADD COLUMN fast int DEFAULT 7;"
        "CREATE TABLE checked (id int PRIMARY KEY); CREATE TABLE defaulted (id int PRIMARY KEY, v int DEFAULT 3);"
        "CREATE TABLE granted (id int PRIMARY KEY); CREATE TABLE guarded (id int PRIMARY KEY);"
        "CREATE POLICY guards ON guarded USING (true); CREATE TABLE renamed (id int PRIMARY KEY);"
        "CREATE VIEW shown AS SELECT 1 AS a; CREATE TABLE triggered (id int PRIMARY KEY);"
        "CREATE TRIGGER fires BEFORE UPDATE ON triggered FOR EACH ROW"
        " EXECUTE FUNCTION suppress_redundant_updates_trigger();"
        "CREATE FUNCTION changed() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE TYPE mood AS ENUM ('a', 'b');"
        "CREATE TABLE widened (v varchar(10)); CREATE TYPE narrowed AS ENUM ('stays', 'gone');"
        "CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id);"
        "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (9);"
        "ALTER TABLE altered OWNER TO scribe_giver; GRANT SELECT ON altered TO PUBLIC;"
        "ALTER FUNCTION changed() OWNER TO scribe_giver",
        dbname,
    )
    scribe.run("scribe-init")
    scribe.start_stream()
    for statement in (
        "ANALYZE",
        "REINDEX TABLE CONCURRENTLY altered",
        "CREATE TEMP TABLE of_altered () INHERITS (altered); CREATE TYPE pg_temp.mood AS ENUM ('a', 'b');"
        "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1';"
        "TRUNCATE altered; ALTER TYPE pg_temp.mood ADD VALUE 'c'",
        "INSERT INTO altered VALUES (1, 1, 1)",
        "REASSIGN OWNED BY scribe_giver TO postgres; DROP ROLE scribe_giver",
        "ALTER TABLE p DETACH PARTITION p1 CONCURRENTLY",
        "VACUUM FULL",
        "CLUSTER altered USING altered_pkey",
    ):
        cluster.psql(statement, dbname)
    assert rotated(scribe)[1] == []
    cluster.psql(TOGGLE.format("DISABLE"), dbname)
    for statement in UNRECORDED.values():
        cluster.psql(statement, dbname)
    cluster.psql(TOGGLE.format("ENABLE ALWAYS"), dbname)
    told = "{} was changed by no statement that was recorded; take a new base"
    assert rotated(scribe)[1] == [told.format(what) for what in UNRECORDED]
    assert scribe.run("scribe-check", "--only", "ddl", check=False).returncode == 2


def test_changes_that_event_triggers_were_kept_from_are_recorded_and_flagged(scribe: Scribe) -> None:
    cluster, dbname = scribe.cluster, scribe.dbname
    if cluster.version_num < 170000:
        pytest.skip("server version: there is no setting event_triggers before 17")
    cluster.psql("CREATE TABLE t (id int PRIMARY KEY)", dbname)
    scribe.run("scribe-init")
    scribe.start_stream()
    cluster.psql(
        "CREATE TABLE loads_the_library (i int PRIMARY KEY); SET event_triggers = off;"
        'ALTER TABLE t ADD COLUMN role text, ADD COLUMN "user" text, ADD COLUMN temp text;'
        "CREATE TABLE system (database int PRIMARY KEY, tablespace text); INSERT INTO system VALUES (1, 'x');"
        "CREATE TEMP TABLE passing (i int); CREATE /* */ LOCAL TEMPORARY TABLE passing_too (i int);"
        "SELECT 1 AS a INTO TEMP passing_three; CREATE TABLE pg_temp.passing_four (i int);"
        "CREATE ROLE scribe_unseen; COMMENT ON ROLE scribe_unseen IS 'not of this database'; DROP ROLE scribe_unseen;"
        "INSERT INTO t VALUES (1, 'a', 'b', 'c')",
        dbname,
    )
    recorded = cluster.query("SELECT tag, reason FROM scribe.ddl_history WHERE NOT exact ORDER BY id", dbname)
    assert recorded == [(tag, "event_triggers was off") for tag in ("ALTER TABLE", "CREATE TABLE")]
    scribe.run("scribe-rotate", "--wait-lsn", "current")
    scribe.run("scribe-restore", "-d", f"{dbname}_copy", "--no-globals")
    assert_equal(cluster.dump(dbname), cluster.dump(f"{dbname}_copy"), ("source", "copy"))
    cluster.dropdb(f"{dbname}_copy")


def test_a_table_is_not_taken_for_unseen_beside_what_capture_adds(scribe: Scribe) -> None:
    """CREATE TABLE AS writes rows before its command has ended, and is announced after what came before it."""
    cluster, dbname = scribe.cluster, scribe.dbname
    cluster.psql("CREATE TABLE parted (k int) PARTITION BY RANGE (k); CREATE INDEX ON parted (k)", dbname)
    cluster.psql("CREATE INDEX ON parted (k)", dbname)
    scribe.run("scribe-init")
    scribe.start_stream()
    with cluster.connect(dbname) as conn, conn.transaction():
        conn.execute("CREATE TABLE part PARTITION OF parted DEFAULT")
        conn.execute("CREATE TABLE made AS SELECT %s::text AS v, n FROM generate_series(1, 3) AS n", ["x"])
        conn.execute("CREATE TABLE part_of_2 AS SELECT 1 AS n; ALTER TABLE made ALTER n TYPE text USING n::text")
        conn.execute("SELECT count(*) FROM made")
    cluster.psql("DROP TABLE made", dbname)
    text, warnings = rotated(scribe)
    assert warnings == []
    assert text.count("\nDROP TABLE") == 1  # as it was recorded


def test_what_appears_beside_a_transaction_is_dropped_by_it_in_its_place(
    scribe: Scribe, targets: tuple[str, str]
) -> None:
    """An older transaction does not see yet what it will drop: that is not the same as having dropped it."""
    scribe.cluster.psql("CREATE TABLE t (id int PRIMARY KEY)", scribe.dbname)
    scribe.run("scribe-init")
    scribe.start_stream()
    with scribe.cluster.connect(scribe.dbname) as older, scribe.cluster.connect(scribe.dbname) as other:
        older.execute("BEGIN")
        older.execute("INSERT INTO t VALUES (1)")
        other.execute("CREATE TABLE n (id serial PRIMARY KEY); CREATE SCHEMA s; CREATE TABLE s.n (id int PRIMARY KEY)")
        other.execute("INSERT INTO n VALUES (1)")
        older.execute("INSERT INTO t VALUES (2)")
        for statement in ("DROP TABLE n", "DROP SCHEMA s CASCADE", "CREATE TABLE n (v text)"):
            older.execute("UPDATE t SET id = id + 10")
            older.execute(statement)
        older.execute("COMMIT")
    assert rotated(scribe)[1] == []
    assert_both_restores_equal(scribe, targets)
