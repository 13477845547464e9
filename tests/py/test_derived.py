"""Bases made from the archive alone: as one of the source's at the same point, proved, or not there."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cases import ALL, CASES, assert_both_restores_equal, play_case
from cluster import ROOT, Cluster, poll
from compare import State, assert_equal
from source import Scribe

from scribe.archive.layout import Archive
from scribe.common.lsn import format_lsn, parse_lsn

SETUP = """
CREATE EXTENSION IF NOT EXISTS hstore SCHEMA public;
CREATE SCHEMA app;
CREATE TYPE app.mood AS ENUM ('sad', 'ok', 'happy');
CREATE TABLE app.t (id serial PRIMARY KEY, v text, m app.mood, h hstore);
INSERT INTO app.t (v, m, h) SELECT g, 'ok', 'a=>1' FROM generate_series(1, 200) AS g;
CREATE TABLE app.spread (m app.mood, n int) PARTITION BY HASH (m);
CREATE TABLE app.spread0 PARTITION OF app.spread FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE app.spread1 PARTITION OF app.spread FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE app.full_identity (a int, b text);
CREATE TABLE app.keyed (id int PRIMARY KEY) PARTITION BY LIST (id);
CREATE TABLE app.keyed1 PARTITION OF app.keyed DEFAULT;
CREATE TABLE app.refers (id int REFERENCES app.keyed);
ALTER TABLE app.keyed1 DISABLE TRIGGER ALL;
CREATE UNLOGGED TABLE app."Gone ""u" (id serial, x int);
INSERT INTO app."Gone ""u" (x) VALUES (1), (2);
SELECT lo_from_bytea(90001, 'kept'), lo_from_bytea(90002, 'gone'), lo_from_bytea(90003, repeat('long', 20000)::bytea);
CREATE FUNCTION app.raise() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN END $$;
CREATE EVENT TRIGGER watching ON ddl_command_end EXECUTE FUNCTION app.raise();
"""
WORK = """
INSERT INTO app.t (v, m) SELECT 'later', 'sad' FROM generate_series(1, 50);
UPDATE app.t SET v = 'changed' WHERE id % 7 = 0;
DELETE FROM app.t WHERE id % 11 = 0;
INSERT INTO app.spread SELECT m, g FROM unnest(enum_range(NULL::app.mood)) AS m, generate_series(1, 9) AS g;
INSERT INTO app.full_identity VALUES (1, NULL), (1, NULL), (2, 'x');
DELETE FROM app.full_identity WHERE a = 2;
ALTER TABLE app.t ADD COLUMN extra int DEFAULT 5;
CREATE TABLE app.made AS SELECT id, v FROM app.t;
CREATE MATERIALIZED VIEW app.seen AS SELECT count(*) FROM app.t;
CREATE FUNCTION app.noop() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER off BEFORE INSERT ON app.t FOR EACH ROW EXECUTE FUNCTION app.noop();
CREATE TRIGGER always BEFORE INSERT ON app.t FOR EACH ROW EXECUTE FUNCTION app.noop();
ALTER TABLE app.t DISABLE TRIGGER off, ENABLE ALWAYS TRIGGER always;
ALTER EVENT TRIGGER watching DISABLE;
CREATE EVENT TRIGGER always_watching ON sql_drop EXECUTE FUNCTION app.raise();
ALTER EVENT TRIGGER always_watching ENABLE ALWAYS;
CREATE PUBLICATION published FOR TABLE app.t;
CREATE SUBSCRIPTION away CONNECTION 'host=/nowhere' PUBLICATION p WITH (connect = false, slot_name = NONE);
COMMENT ON TABLE app.t IS 'it''s a table';
CREATE STATISTICS app.st ON v, m FROM app.t;
ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT SELECT ON TABLES TO PUBLIC;
CREATE ROLE {role} PASSWORD 'secret' CONNECTION LIMIT 7;
GRANT SELECT ON app.t TO {role};
ALTER TABLE app.made OWNER TO {role};
ALTER DATABASE {database} SET work_mem = '7MB';
ALTER ROLE {role} IN DATABASE {database} SET search_path = app, public;
COMMENT ON DATABASE {database} IS 'the source';
GRANT CREATE ON DATABASE {database} TO {role};
SELECT setval('app.t_id_seq', 5000);
SELECT lo_unlink(90002), lo_put(90003, 5000, repeat('x', 3000)::bytea), lo_create(90004), lo_put(90004, 100000, 'end');
COMMENT ON LARGE OBJECT 90001 IS 'a comment'; GRANT SELECT ON LARGE OBJECT 90001 TO {role}, PUBLIC;
CREATE SEQUENCE app.down INCREMENT -3 MINVALUE -1000 MAXVALUE 9 CYCLE;
SELECT nextval('app.down'), nextval('app.down');
"""
LATER = """
INSERT INTO app.t (v) VALUES ('after'); UPDATE app.t SET extra = 6 WHERE id < 100; DROP TABLE app.made;
INSERT INTO app."Gone ""u" (x) VALUES (3);
SELECT lo_unlink(90004), lo_put(90001, 0, 'KEPT');
DELETE FROM app.full_identity; ALTER TABLE app.full_identity ADD PRIMARY KEY (a);
"""


def away(scribe: Scribe) -> dict[str, str]:
    """An environment in which no server is found, but the programs of one are."""
    return {"PGHOST": "/nonexistent", "PGPORT": "1", "PATH": f"{scribe.cluster.bindir}:{scribe.env['PATH']}"}


def result_of(scribe: Scribe) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((scribe.archive / "derived.json").read_text())
    return value


def manifest_of(base: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((base / "manifest.json").read_text())
    return value


@pytest.fixture
def role(scribe: Scribe) -> Iterator[str]:
    """The name of a role that a test makes."""
    name = f"role_{scribe.dbname}"
    yield name
    scribe.cluster.psql(f"DROP OWNED BY {name}; DROP ROLE {name}", scribe.dbname, check=False)


def begin(scribe: Scribe, setup: str = SETUP) -> None:
    scribe.cluster.psql(setup, scribe.dbname)
    scribe.run("scribe-init")
    scribe.start_stream()


def state_of(scribe: Scribe, name: str | None = None) -> State:
    return scribe.cluster.dump(name or scribe.dbname, unlogged=False)


def settings_of(cluster: Cluster, name: str) -> list[tuple[Any, ...]]:
    """What stands beside a database's contents."""
    return cluster.query(
        "SELECT pg_catalog.shobj_description(oid, 'pg_database'), ARRAY(SELECT unnest(datacl)::text ORDER BY 1),"
        " datdba::regrole::text, ARRAY(SELECT (setrole, setconfig)::text FROM pg_db_role_setting AS s"
        f" WHERE s.setdatabase = d.oid ORDER BY 1) FROM pg_database AS d WHERE datname = '{name}'"
    )


def restore(scribe: Scribe, target: str, *arguments: str) -> State:
    """Restore into a new database and return what is in it."""
    scribe.cluster.dropdb(target)
    scribe.run("scribe-restore", "-d", target, "--no-globals", *arguments, env={"PGUSER": "postgres"})
    return state_of(scribe, target)


def test_a_base_from_the_archive_is_as_one_of_the_source(scribe: Scribe, targets: tuple[str, str], role: str) -> None:
    cluster = scribe.cluster
    if in_place := cluster.version_num >= 150000:  # a tablespace as developers have them
        cluster.psql(f"SET allow_in_place_tablespaces = on; CREATE TABLESPACE {role}_space LOCATION ''")
    begin(scribe, SETUP + (f"CREATE TABLE in_place (id int PRIMARY KEY) TABLESPACE {role}_space;" if in_place else ""))
    first = next((scribe.archive / "base").iterdir())
    cluster.psql(WORK.format(role=role, database=scribe.dbname), scribe.dbname)
    scribe.run("scribe-rotate", "--record")
    then, beside = state_of(scribe), settings_of(cluster, scribe.dbname)
    cluster.psql(LATER, scribe.dbname)
    scribe.run("scribe-rotate", "--wait-lsn", "current")
    finally_ = state_of(scribe)
    assert scribe.stop_stream() == 0

    cluster.stop()
    try:
        run = scribe.run("scribe-dump", "--from-archive", "-v", env=away(scribe))
    finally:
        cluster.start()
    base = Path(run.stdout.strip())
    made = manifest_of(base)
    lsn = made["consistent_point_lsn"]
    assert base.name > first.name
    assert made["made_from"]["base"] == first.name
    assert made["made_from"]["record"]["lsn"] == lsn
    assert "the contents of" in " ".join(made["proof"]["compared"])
    assert 'rows of app."Gone ""u", which is unlogged' in made["made_from"]["left_out"]
    assert made["rows"]['app."Gone ""u"'] == 0
    assert any("3 large objects" in line for line in made["proof"]["compared"])
    assert result_of(scribe)["base"] == base.name

    # of the source at that point, by scribe-restore and by psql alone
    assert_equal(then, restore(scribe, targets[0], "--base", base.name, "--target-lsn", lsn, "--target-exclusive"))
    assert settings_of(cluster, targets[0]) == beside
    scribe.run_base_with_psql(targets[1])
    assert_equal(then, state_of(scribe, targets[1]), ("source", "psql alone"))
    cluster.dropdb(targets[1])
    # and on to the end
    assert_equal(finally_, restore(scribe, targets[0], "--base", base.name))
    scribe.restore_with_psql(targets[1], base)
    assert_equal(finally_, state_of(scribe, targets[1]), ("source", "psql alone"))
    # what stands beside the rows, text for text
    scribe.start_stream()
    theirs = Path(scribe.run("scribe-dump", "--no-prune").stdout.strip())
    for name in ("database.sql", "globals.sql"):
        assert (base / name).read_text() == (theirs / name).read_text()
    meta, other = (json.loads((path / "meta.json").read_text()) for path in (base, theirs))
    assert meta.keys() == other.keys()
    run = scribe.run("scribe-check", "--only", "base", check=False)
    assert run.returncode == 0, run.stdout
    if in_place:
        for database in (scribe.dbname, *targets):
            cluster.psql("DROP TABLE in_place", database)
        cluster.query(f"DROP TABLESPACE {role}_space")


def check(scribe: Scribe) -> tuple[int, str]:
    run = scribe.run("scribe-check", "--only", "base", check=False)
    return run.returncode, run.stdout


def derive(scribe: Scribe, *arguments: str, status: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
    """Make a base from the archive, where no server can be asked; check the exit status."""
    run = scribe.run("scribe-dump", "--from-archive", *arguments, check=False, env=away(scribe) | env)
    assert run.returncode == status, run.stdout + run.stderr
    assert run.stderr.count(": error: ") == run.stderr.count(": hint: ") == (status != 0), run.stderr
    return run


def holder_of_record(scribe: Scribe) -> Path:
    """Return the manifest that has the newest record."""
    return [p for p in sorted((scribe.archive / "incremental").glob("*.json")) if '"recorded"' in p.read_text()][-1]


def test_without_proof_there_is_no_base_and_the_check_says_so(
    scribe: Scribe, targets: tuple[str, str], place: Path
) -> None:
    cluster, kept = scribe.cluster, {"SCRIBE_COPY": str(place / "copy")}
    begin(scribe, "CREATE TABLE t (id serial PRIMARY KEY, v text); INSERT INTO t (v) VALUES ('a'), ('b')")
    first = next((scribe.archive / "base").iterdir()).name
    cluster.psql("INSERT INTO t (v) VALUES ('c')", scribe.dbname)
    scribe.run("scribe-rotate", "--record", "50%")
    assert check(scribe)[0] == 0
    said = derive(scribe, status=1).stderr
    assert f"there is no recorded point after base {first}" in said
    assert "is of some tables only" in said
    assert 'hint: Run "scribe-rotate --record"' in said
    status, text = check(scribe)
    assert status == 1
    assert "none could be made from the archive" in text

    scribe.run("scribe-rotate", "--record")
    then = state_of(scribe)
    lsn = json.loads(holder_of_record(scribe).read_text())["recorded"]["lsn"]
    assert derive(scribe, "-n").stdout.startswith(f"would make a base of {lsn} from base {first}")
    assert "leave out" in derive(scribe, "--at", "0/1", status=1).stderr
    derive(scribe, "--at", "yesterday", status=2)
    assert 'could not use "/nonexistent/copy"' in derive(scribe, status=1, SCRIBE_COPY="/nonexistent/copy").stderr
    assert 'could not use "/nonexistent/copy"' in check(scribe)[1]
    good = holder_of_record(scribe).read_text()
    bad = json.loads(good)
    bad["recorded"]["rows"]["public.t"] += 1
    bad["recorded"]["source"]["sequences"] = []
    holder_of_record(scribe).write_text(json.dumps(bad))
    said = derive(scribe, status=1, **kept).stderr
    assert (
        f"no base was made: the archive does not restore to what the source held: table public.t: 3 rows at {lsn}"
        in said
    )
    assert [path.name for path in (scribe.archive / "base").iterdir()] == [first]
    status, text = check(scribe)
    assert status == 2
    assert "table public.t: 3 rows" in text
    assert "scribe-dump --from-source" in text

    bad["recorded"]["lsn"] = format_lsn(parse_lsn(lsn) - 8)  # as if the segments on both sides had become one
    holder_of_record(scribe).write_text(json.dumps(bad))
    assert "lies within a segment" in derive(scribe, status=1).stderr
    holder_of_record(scribe).write_text(good)
    Archive(scribe.archive).declare_broken("somebody broke it", 1)
    assert "the archive's chain is broken: somebody broke it" in derive(scribe, status=1).stderr
    Archive(scribe.archive).clear_broken()

    run = derive(scribe, "-v", **kept)
    assert f"restoring base {first}" in run.stderr  # what was in the copy is not trusted
    second = Path(run.stdout.strip())
    assert check(scribe)[0] == 0
    assert f"there is no recorded point after base {second.name}" in derive(scribe, status=1, **kept).stderr

    cluster.psql("DELETE FROM t WHERE id = 1; INSERT INTO t (v) VALUES ('d'); DROP TABLE IF EXISTS u", scribe.dbname)
    scribe.run("scribe-rotate", "--record")
    last = state_of(scribe)
    run = derive(scribe, "-v", "--format", "directory", **kept)
    assert "restoring base" not in run.stderr
    third = Path(run.stdout.strip())
    made = [manifest_of(base)["made_from"] for base in (second, third)]
    assert [(each["base"], each["origin"]["base"]) for each in made] == [(first, first), (first, first)]
    assert_equal(last, restore(scribe, targets[0], "--base", third.name))
    assert_equal(last, restore(scribe, targets[0], "--base", second.name))
    assert_equal(then, restore(scribe, targets[0], "--base", second.name, "--target-lsn", lsn, "--target-exclusive"))
    # a copy that goes back to an older base of the source's is not gone on with
    newest = Path(scribe.run("scribe-dump", "--no-prune").stdout.strip()).name
    scribe.run("scribe-rotate", "--record")
    run = derive(scribe, "-v", **kept)
    assert f"restoring base {newest}" in run.stderr


def test_whatever_ends_a_run_leaves_no_base_and_the_next_one_makes_it(scribe: Scribe, place: Path) -> None:
    begin(scribe, "CREATE TABLE t (id serial PRIMARY KEY, v text); INSERT INTO t (v) VALUES ('a'), ('b')")
    scribe.cluster.psql("INSERT INTO t (v) VALUES ('c')", scribe.dbname)
    scribe.run("scribe-rotate", "--record")
    bases = scribe.archive / "base"
    first = {path.name for path in bases.iterdir()}
    kept = {"SCRIBE_COPY": str(place / "copy")}
    command = [ROOT / "bin/scribe-dump", "--from-archive", "--directory", str(place)]
    moments: list[tuple[int, dict[str, str], Callable[[], object]]] = [
        (signal.SIGTERM, {}, lambda: list(place.glob("scribe-rehearsal-*/data/postmaster.pid"))),
        (signal.SIGKILL, kept, lambda: list(place.glob("copy/data/base"))),
    ]
    for number, env, reached in moments:
        with subprocess.Popen(command, env=scribe.env | away(scribe) | env, stderr=subprocess.PIPE) as process:
            poll(reached, 120, "the moment")
            process.send_signal(signal.SIGSTOP)
            if number == signal.SIGTERM:
                assert "a base is being taken" in derive(scribe, status=75).stderr
            process.send_signal(number)
            process.send_signal(signal.SIGCONT)
            process.communicate()
            assert process.returncode != 0
        assert {path.name for path in bases.iterdir()} == first
        assert not (scribe.archive / "derived.json").exists()
    assert not list(place.glob("scribe-rehearsal-*"))
    (bases / ".tmp-20261122T020000Z").mkdir()
    (bases / ".tmp-20261122T020000Z/base.sql").write_text("a beginning")
    made = Path(derive(scribe, **kept).stdout.strip())
    assert {path.name for path in bases.iterdir()} == {*first, made.name}


BARRED = "null_in_a_domain_that_is_not_null"  # which no dump can hold
CHOSEN = [case for case in CASES if (ALL and case.stem != BARRED) or case.stem == "values"]


@pytest.mark.parametrize("case", CHOSEN, ids=lambda path: path.stem)
def test_a_base_made_of_a_case_equals_the_source(case: Path, scribe: Scribe, targets: tuple[str, str]) -> None:
    play_case(case, scribe)
    scribe.run("scribe-rotate", "--record")
    derive(scribe, "--no-prune")
    assert_both_restores_equal(scribe, targets)
