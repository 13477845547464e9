"""The user's event triggers: none fires for what pg_scribe does, and all are at a restore's end as on the source."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cases import assert_both_restores_equal
from cluster import Cluster
from source import Scribe
from test_inexact import rotated

LOG = """
CREATE TABLE log (at timestamptz DEFAULT clock_timestamp(), id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, event text,
    tag text);
CREATE FUNCTION log_event() RETURNS event_trigger LANGUAGE plpgsql SET search_path = public AS
    $$ BEGIN INSERT INTO log (event, tag) VALUES (tg_event, tg_tag); END $$;
"""
FORBID = """
CREATE FUNCTION forbid() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'never'; END $$;
CREATE EVENT TRIGGER forbid ON sql_drop EXECUTE FUNCTION forbid();
ALTER EVENT TRIGGER forbid ENABLE ALWAYS;
"""
MODES = "SELECT evtname, evtenabled::text FROM pg_event_trigger WHERE evtname !~ 'scribe' ORDER BY 1"


def test_one_that_forbids_dropping_lets_capture_go(scribe: Scribe) -> None:
    scribe.cluster.psql(
        LOG + FORBID + "CREATE EVENT TRIGGER log ON ddl_command_end EXECUTE FUNCTION log_event()", scribe.dbname
    )
    scribe.run("scribe-init")
    scribe.run("scribe-init", "--remove")
    assert scribe.cluster.value("SELECT to_regnamespace('scribe')", scribe.dbname) is None
    assert scribe.cluster.query(MODES, scribe.dbname) == [("forbid", "A"), ("log", "O")]
    assert scribe.cluster.query("SELECT event, tag FROM log", scribe.dbname) == []


def test_login_triggers_do_not_fire_in_a_restore_or_rehearsal(scribe: Scribe, targets: tuple[str, str]) -> None:
    if scribe.cluster.version_num < 170000:
        pytest.skip("server version: there are no login triggers before 17")
    made = "CREATE EVENT TRIGGER at_login ON login EXECUTE FUNCTION log_event();"
    scribe.cluster.psql(LOG + made + "ALTER EVENT TRIGGER at_login ENABLE ALWAYS", scribe.dbname)
    scribe.run("scribe-init")
    scribe.start_stream()
    scribe.cluster.psql("CREATE TABLE t (id int PRIMARY KEY)", scribe.dbname)
    scribe.run("scribe-rotate", "--wait-lsn", "current")
    rows = "SELECT count(*) FROM log"
    scribe.run("scribe-restore", "-d", targets[0], "--no-globals", env={"PGUSER": "postgres"})
    options = scribe.cluster.env | {"PGOPTIONS": "-c event_triggers=off"}
    with scribe.cluster.connect(targets[0], options=options["PGOPTIONS"]) as conn:
        restored = conn.execute(rows).fetchall()
    archived = (
        sum(
            json.loads(path.read_text())["counts"]["inserted"]
            for path in (scribe.archive / "incremental").glob("*.json")
        )
        + json.loads(next((scribe.archive / "base").glob("*/manifest.json")).read_text())["rows"]["public.log"]
    )
    assert restored == [(archived,)]
    scribe.run("scribe-verify", "--rehearse")


def test_a_restore_that_stops_within_a_segment_sets_them_back(scribe: Scribe, targets: tuple[str, str]) -> None:
    scribe.cluster.psql(
        LOG + FORBID + "CREATE EVENT TRIGGER log ON ddl_command_end EXECUTE FUNCTION log_event();"
        "ALTER EVENT TRIGGER log ENABLE REPLICA; CREATE TABLE t (id int PRIMARY KEY)",
        scribe.dbname,
    )
    scribe.run("scribe-init")
    scribe.start_stream()
    scribe.cluster.psql("INSERT INTO t VALUES (1); CREATE TABLE u (id int PRIMARY KEY)", scribe.dbname)
    lsn = scribe.cluster.value("SELECT pg_current_wal_insert_lsn()::text", scribe.dbname)
    scribe.cluster.psql("ALTER EVENT TRIGGER log DISABLE; INSERT INTO t VALUES (2)", scribe.dbname)
    scribe.run("scribe-rotate", "--wait-lsn", "current")
    scribe.run("scribe-restore", "-d", targets[0], "--no-globals", "--target-lsn", lsn, env={"PGUSER": "postgres"})
    assert scribe.cluster.query(MODES, targets[0]) == [("forbid", "A"), ("log", "R")]
    scribe.run("scribe-restore", "-d", targets[0], "--no-globals", "--promote", env={"PGUSER": "postgres"})
    assert scribe.cluster.query(MODES, targets[0]) == [("forbid", "A"), ("log", "D")]
    assert scribe.cluster.value("SELECT to_regnamespace('scribe')", targets[0]) is None
    scribe.cluster.dropdb(targets[0])
    assert_both_restores_equal(scribe, targets)


def test_one_that_fires_before_capture_is_told_of(scribe: Scribe) -> None:
    scribe.cluster.psql(
        LOG + 'CREATE EVENT TRIGGER " first" ON ddl_command_end EXECUTE FUNCTION log_event()', scribe.dbname
    )
    scribe.run("scribe-init")
    said = scribe.run("scribe-check", "--only", "capture", check=False)
    assert (said.returncode, '" first" fires before' in said.stdout) == (1, True), said.stdout


def test_rows_that_one_writes_into_the_table_that_is_altered_are_flagged(scribe: Scribe) -> None:
    """They are in the WAL before the statement's end, at which it is recorded."""
    scribe.cluster.psql(LOG + "CREATE EVENT TRIGGER log ON sql_drop EXECUTE FUNCTION log_event()", scribe.dbname)
    scribe.run("scribe-init")
    scribe.start_stream()
    quiet = "CREATE TABLE t (a int, b int, c int); INSERT INTO t VALUES (1); ALTER TABLE t DROP a"
    quiet += "; INSERT INTO t VALUES (2); ALTER TABLE log ADD more int; VACUUM log; ALTER TABLE t DROP b"
    scribe.cluster.psql(quiet, scribe.dbname)
    assert rotated(scribe)[1] == []
    scribe.cluster.psql("ALTER TABLE log ADD other int, DROP at", scribe.dbname)
    (warning,) = rotated(scribe)[1]
    assert warning.startswith("rows of public.log came before the statement that changed it")
    found = scribe.run("scribe-check", "--only", "ddl", check=False)
    assert found.returncode == 2 and "rows of public.log came before" in found.stdout, found.stdout


def test_capture_of_an_older_version_gets_the_new_names(cluster: Cluster, scribe: Scribe, tmp_path: Path) -> None:
    cluster.psql("CREATE TABLE t (id int PRIMARY KEY)", scribe.dbname)
    scribe.run("scribe-init")
    names = [row[0] for row in cluster.query("SELECT evtname FROM pg_event_trigger", scribe.dbname)]
    for name in names:
        cluster.psql(f'ALTER EVENT TRIGGER "{name}" RENAME TO {name[1:]}', scribe.dbname)
    scribe.run("scribe-init")
    left = "SELECT count(*) FILTER (WHERE evtname ~ '^!scribe_'), count(*) FROM pg_event_trigger"
    assert cluster.query(left, scribe.dbname) == [(len(names), len(names))]


COMMENTS = """
CREATE FUNCTION stamped() RETURNS event_trigger LANGUAGE plpgsql AS $$ DECLARE made record; BEGIN
    FOR made IN SELECT * FROM pg_event_trigger_ddl_commands() WHERE command_tag = 'CREATE FUNCTION' LIMIT 1 LOOP
        EXECUTE format('COMMENT ON FUNCTION %s IS %L', made.object_identity, 'seen');
    END LOOP;
END $$;
"""


def test_what_one_does_within_the_script_of_an_extension_is_flagged(scribe: Scribe) -> None:
    scribe.cluster.psql(COMMENTS, scribe.dbname)
    scribe.run("scribe-init")
    scribe.start_stream()
    scribe.cluster.psql("CREATE EXTENSION citext", scribe.dbname)
    scribe.run("scribe-rotate", "--wait-lsn", "current")
    assert scribe.run("scribe-check", "--only", "ddl", check=False).returncode == 0
    made = "CREATE EVENT TRIGGER stamps ON ddl_command_end WHEN TAG IN ('CREATE FUNCTION') EXECUTE FUNCTION stamped()"
    scribe.cluster.psql(f"DROP EXTENSION citext; {made}; CREATE EXTENSION citext", scribe.dbname)
    scribe.run("scribe-rotate", "--wait-lsn", "current")
    result = scribe.run("scribe-check", "--only", "ddl", check=False)
    assert (result.returncode, "public.stamped() did this within the script" in result.stdout) == (2, True), result
