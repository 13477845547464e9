"""The decoder pgoutput: no library of ours on the server, with and without a superuser, and the same archive.

PG_SCRIBE_ALL_CASES=1 (make check-decoders) runs every correctness case; docs/decoders.md lists what differs.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cases import CASES, assert_both_restores_equal, play_case
from cluster import ROOT, Cluster, poll
from compare import assert_equal
from source import Scribe

from scribe.decoders.pgoutput import read_fingerprint

QUICK = ("create_table_as", "extensions_and_schemas", "full_identity_odd_types", "key_updates", "truncate", "values")
QUICK += ("explain_analyze", "many_kinds_of_objects", "roles_in_the_stream", "hash_partitions_of_enums")
QUICK += ("postgresql_18",)
ALL = os.environ.get("PG_SCRIBE_ALL_CASES") == "1"
DIFFERENT = ("tablespaces_in_the_stream", "objects_that_use_temporary_ones", "rights_that_are_gone")
DIFFERENT += ("tables_that_publications_keep",)
CHOSEN = [case for case in CASES if case.stem not in DIFFERENT and (ALL or case.stem in QUICK)]
HOSTILE = (
    *("datestyle = 'SQL, DMY'", "bytea_output = escape", "extra_float_digits = 0", "timezone = 'Asia/Tokyo'"),
    *("intervalstyle = sql_standard", "client_encoding = 'LATIN1'", "search_path = odd, public"),
)


@pytest.fixture
def source(scribe: Scribe) -> Scribe:
    """A source whose decoder is pgoutput."""
    scribe.settings["SCRIBE_DECODER"] = "pgoutput"
    return scribe


@pytest.fixture
def owner(cluster: Cluster, source: Scribe) -> Iterator[Scribe]:
    """A source whose role is no superuser: it may stream, and owns the database."""
    cluster.psql(f"CREATE ROLE plain_owner LOGIN REPLICATION; ALTER DATABASE {source.dbname} OWNER TO plain_owner")
    source.settings["PGUSER"] = "plain_owner"
    yield source
    source.close()
    cluster.psql("DROP ROLE plain_owner")


def segments(scribe: Scribe) -> str:
    """The text of all segments."""
    files = sorted((scribe.archive / "incremental").glob("*.sql"))
    return "".join(path.read_text() for path in files)


@pytest.mark.parametrize("case", CHOSEN, ids=lambda path: path.stem)
def test_both_restores_equal_the_source(case: Path, source: Scribe, targets: tuple[str, str]) -> None:
    play_case(case, source)
    assert_both_restores_equal(source, targets)
    assert source.stop_stream() == 0


def test_what_one_rotation_learnt_the_next_ones_know(source: Scribe, targets: tuple[str, str]) -> None:
    """Relations are described once in a session of the server's: over rotations, kills and hostile settings."""
    source.settings |= {"SCRIBE_COMPRESS": "none", "SCRIBE_STATUS_INTERVAL": "1"}
    cluster, database = source.cluster, source.dbname
    for setting in HOSTILE:
        cluster.psql(f"ALTER DATABASE {database} SET {setting}")
    cluster.psql(
        "CREATE SCHEMA odd; CREATE TABLE odd.t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, n float8, b bytea,"
        " at timestamptz, i interval, r regclass, v text)",
        database,
    )
    source.run("scribe-init")
    source.start_stream()
    row = "0.1::float8 + 0.2, '\\x00ff', '2026-07-04 05:06:07+09', '1 day -2:03', 'odd.t', 'žluťoučký €'"
    add = f"INSERT INTO odd.t (n, b, at, i, r, v) SELECT {row} FROM generate_series(1, 12)"
    cluster.psql(add, database)
    source.run("scribe-rotate", "--wait-lsn", "current")
    cluster.psql(add, database)  # the server does not describe the table again
    source.run("scribe-rotate", "--wait-lsn", "current")
    source.kill_stream()
    (source.archive / "spool" / "stream.json").unlink()
    cluster.psql("UPDATE odd.t SET v = v || '!' WHERE id > 20; DELETE FROM odd.t WHERE id < 3", database)
    source.start_stream()
    cluster.psql("ALTER TABLE odd.t ADD w int DEFAULT 5; UPDATE odd.t SET w = id WHERE id = 9", database)
    source.run("scribe-rotate", "--wait-lsn", "current")
    # without the server, what was never rotated is restored too
    cluster.psql("INSERT INTO odd.t (v, w) VALUES ('last', 1)", database)
    held = source.archive / "spool" / "stream.sql"
    poll(lambda: b"last" in held.read_bytes(), 30, "the last row")
    assert source.stop_stream() == 0
    cluster.psql(f"ALTER DATABASE {database} RESET ALL", database)
    expected = cluster.dump(database)
    source.run("scribe-restore", "-d", targets[0], "--no-globals", "--include-spool")
    assert cluster.query("SELECT count(*), max(v) FROM odd.t", targets[0]) == cluster.query(
        "SELECT count(*), max(v) FROM odd.t", database
    )
    source.start_stream()
    source.run("scribe-rotate", "--wait-lsn", "current")
    source.restore_with_psql(targets[1])
    assert_equal(expected, cluster.dump(targets[1]), ("source", "psql alone"))
    assert "0.30000000000000004" in segments(source) and "decoder pgoutput" in segments(source)


def test_the_database_itself_is_changed(source: Scribe, targets: tuple[str, str]) -> None:
    """And what a role has in it alone, whatever the role is called; and memberships with their options, since 16."""
    cluster, name = source.cluster, source.dbname
    source.run("scribe-init")
    source.start_stream()
    role = '"it\'s 100%s"'
    options = " WITH INHERIT FALSE, SET FALSE" if cluster.value("SHOW server_version_num") >= "160000" else ""
    remove = f"ALTER ROLE {role} IN DATABASE {name} RESET ALL; DROP ROLE {role}, far_group"
    try:
        cluster.psql(
            f"CREATE ROLE {role}; ALTER DATABASE {name} CONNECTION LIMIT 70; COMMENT ON DATABASE {name} IS 'it''s';"
            f"ALTER ROLE {role} IN DATABASE {name} SET work_mem = '3MB';"
            f'ALTER ROLE {role} IN DATABASE {name} SET search_path = public, "a %b";'
            f"CREATE ROLE far_group; GRANT far_group TO {role}{options};"
            f"CREATE TABLE t (id int); ALTER ROLE {role} IN DATABASE {name} RESET work_mem",
            name,
        )
        source.run("scribe-rotate", "--wait-lsn", "current")
        state = """SELECT datconnlimit, shobj_description(oid, 'pg_database'),
            (SELECT array_agg(setrole::regrole || ' ' || c) FROM pg_db_role_setting, unnest(setconfig) AS c
             WHERE setdatabase = d.oid AND setrole <> 0),
            (SELECT to_jsonb(m) - '{{oid,roleid,member}}'::text[] FROM pg_auth_members AS m
             WHERE roleid = to_regrole('far_group'))
            FROM pg_database AS d WHERE datname = '{}'"""
        expected = cluster.query(state.format(name))
        assert expected[0][0] == 70 and len(expected[0][2]) == 1 and expected[0][3]
        # where there are no options, a member may always act as the group
        text = subprocess.check_output(["zstdcat", *source.segments()], text=True)
        assert not options or "EXCEPTION WHEN syntax_error THEN RAISE WARNING 'left out" in text
        cluster.psql(remove)
        source.restore_with_psql(targets[1])
        assert cluster.query(state.format(targets[1])) == expected
    finally:
        cluster.dropdb(targets[1])
        cluster.psql(remove, check=False)


def test_the_one_statement_of_a_string_is_replayed(source: Scribe, targets: tuple[str, str]) -> None:
    source.settings["SCRIBE_COMPRESS"] = "none"
    source.run("scribe-init")
    source.start_stream()
    with source.cluster.connect(source.dbname) as conn:
        conn.execute(
            "CREATE TABLE a (x int PRIMARY KEY, d text DEFAULT 'q;'); INSERT INTO a VALUES (1);"
            " ALTER TABLE a ADD y int; ALTER TABLE a ADD z int; INSERT INTO a VALUES (2); CREATE INDEX ON a (y);"
            " COMMENT ON TABLE a IS 'it;'"
        )
        conn.execute(
            "DO $$ BEGIN EXECUTE 'CREATE TABLE b (x int PRIMARY KEY); CREATE TABLE c AS SELECT 1 AS q'; END $$"
        )
        conn.execute(
            "CREATE FUNCTION make() RETURNS void LANGUAGE sql AS 'SELECT 1; CREATE TABLE s (x int PRIMARY KEY)';"
            "SELECT make()"
        )
        conn.execute(  # some of these fire no event trigger, though they have the tag of one that does
            "CREATE ROLE scribe_string_a; CREATE ROLE scribe_string_b; GRANT scribe_string_a TO scribe_string_b;"
            " COMMENT ON ROLE scribe_string_a IS 'role'; GRANT SELECT ON a TO scribe_string_a; TRUNCATE a;"
            " ALTER TABLE a ADD w int; REINDEX TABLE a; ALTER TABLE a ADD v int; INSERT INTO a VALUES (3);"
            " COMMENT ON TABLE a IS 'table'; REVOKE scribe_string_a FROM scribe_string_b;"
            " REVOKE SELECT ON a FROM scribe_string_a; GRANT SELECT ON a TO scribe_string_b"
        )
        conn.execute(
            "CREATE TABLE redone (x int PRIMARY KEY); INSERT INTO redone VALUES (1); ALTER TABLE redone RENAME TO done;"
            " CREATE MATERIALIZED VIEW m AS SELECT 1 AS q; ALTER MATERIALIZED VIEW m RENAME TO n"
        )
        conn.execute("CREATE EXTENSION IF NOT EXISTS plpgsql; CREATE TABLE after_one (x int PRIMARY KEY); DROP TABLE b")
        loaded = conn.execute("SELECT current_setting('scribe.facts', true)").fetchone()
    assert loaded == (None,), "the library was loaded"
    try:
        assert rotated_warnings(source) == []
        assert_both_restores_equal(source, targets)
    finally:
        for name in (source.dbname, *targets):
            source.cluster.psql("DROP OWNED BY scribe_string_a, scribe_string_b", name, check=False)
        source.cluster.psql("DROP ROLE scribe_string_a, scribe_string_b")


def rotated_warnings(source: Scribe) -> list[str]:
    """Rotate; return the warnings of the new segments."""
    report = json.loads(source.run("scribe-rotate", "--wait-lsn", "current", "--json").stdout)
    return [text for segment in report["segments"] for text in segment["warnings"]]


def test_nothing_is_run_of_a_string_out_of_which_the_statement_cannot_be_cut(
    source: Scribe, targets: tuple[str, str]
) -> None:
    source.run("scribe-init")
    source.start_stream()
    with source.cluster.connect(source.dbname) as conn:
        conn.execute("CREATE TABLE a (x int PRIMARY KEY); INSERT INTO a VALUES (1)")
        conn.execute("SET max_stack_depth = '6MB'")  # the server is to read what the parser does not
        conn.execute("CREATE TABLE deep (x int PRIMARY KEY); COMMIT; SELECT " + "1+" * 4000 + "1")
        conn.execute("ALTER TABLE IF EXISTS a ADD IF NOT EXISTS x int; ALTER TABLE a ALTER x SET DEFAULT 1")
        conn.execute("INSERT INTO a VALUES (2)")
    warnings = rotated_warnings(source)
    assert any("CREATE TABLE could not be carried" in text and "does not read it" in text for text in warnings)
    assert any("ALTER TABLE could not be carried" in text and "done nothing" in text for text in warnings)
    assert all(text.endswith("take a new base") for text in warnings)
    check = source.run("scribe-check", "--only", "ddl", check=False)
    assert check.returncode == 2 and "could not be carried" in check.stdout, check.stdout
    source.run("scribe-restore", "-d", targets[0], "--no-globals")
    source.restore_with_psql(targets[1])
    for name in targets:
        assert source.cluster.query("SELECT x FROM a ORDER BY x", name) == [(1,), (2,)]
        assert source.cluster.value("SELECT to_regclass('deep')", name) is None
    source.run("scribe-dump", "--no-prune")
    assert "OK" in source.run("scribe-check", "--only", "ddl").stdout


def test_what_the_text_does_not_say_is_read_from_the_catalog(source: Scribe, targets: tuple[str, str]) -> None:
    """Temporary tables, bounds that are computed, and what fires no event trigger, in strings of several statements."""
    source.settings["SCRIBE_COMPRESS"] = "none"
    source.cluster.psql("CREATE ROLE reader; CREATE ROLE writer; CREATE TABLE kept (id int PRIMARY KEY)", source.dbname)
    try:
        source.run("scribe-init")
        source.start_stream()
        with source.cluster.connect(source.dbname) as conn:
            conn.execute(
                "CREATE TEMP TABLE passing (a int NOT NULL, b text);"
                " CREATE TABLE like_it (LIKE passing, c int PRIMARY KEY);"
                " CREATE TABLE plain (x int PRIMARY KEY) WITH (fillfactor = 70)"
            )
            conn.execute("GRANT SELECT ON kept, passing TO reader")
            conn.execute("GRANT SELECT ON passing, pg_temp.passing TO reader; GRANT UPDATE ON passing TO reader")
            conn.execute("CREATE TABLE days (d date, v int, PRIMARY KEY (d, v)) PARTITION BY RANGE (d)")
            conn.execute(
                "CREATE TABLE old_days (LIKE days INCLUDING ALL); INSERT INTO old_days VALUES ('1999-01-01', 1)"
            )
            with conn.transaction():
                conn.execute(
                    "ALTER TABLE days ATTACH PARTITION old_days FOR VALUES FROM ('1990-01-01') TO (current_date - 7);"
                    " ALTER TABLE days ADD COLUMN w int; CREATE TABLE today PARTITION OF days"
                    " FOR VALUES FROM (current_date) TO (current_date + 1)"
                )
            conn.execute("EXPLAIN ANALYZE CREATE TABLE explained AS SELECT 1.50::numeric(9, 2), 'x'::varchar(5) AS v")
            conn.execute("INSERT INTO explained VALUES (2, 'y'); COMMENT ON TABLE explained IS 'told'")
            conn.execute("ALTER TABLE plain OWNER TO reader; REASSIGN OWNED BY reader TO writer")
            conn.execute("SET ROLE writer; ALTER TABLE plain ADD COLUMN y int; INSERT INTO plain VALUES (1, 2)")
            conn.execute("RESET ROLE")
            conn.execute("DROP OWNED BY reader")
        source.run("scribe-rotate", "--wait-lsn", "current")
        assert_both_restores_equal(source, targets)
        text = segments(source)
        assert "current_date" not in text.split("ATTACH PARTITION", 1)[1].splitlines()[0]
        assert "GRANT SELECT ON kept TO" in text
        assert text.count(" inexact: ") == text.count("nothing told how it was made")
    finally:
        source.close()
        for name in targets:
            source.cluster.dropdb(name)
        source.cluster.psql("DROP ROLE reader, writer")


def test_rows_of_a_table_that_nothing_told_of_are_carried_and_flagged(source: Scribe, targets: tuple[str, str]) -> None:
    """What a rotation records comes too late for one that has archived the rows already."""
    source.settings["SCRIBE_COMPRESS"] = "none"
    source.run("scribe-init")
    source.start_stream()
    with source.cluster.connect(source.dbname) as conn:
        conn.execute("EXPLAIN ANALYZE CREATE TABLE t AS SELECT 1 AS id, 'x'::text AS v")
        conn.execute('ALTER EVENT TRIGGER "!scribe_4_end" DISABLE; ALTER EVENT TRIGGER "!scribe_3_facts" DISABLE')
        conn.execute("ALTER FUNCTION scribe.reconcile() RENAME TO elsewhere")
        report = json.loads(source.run("scribe-rotate", "--wait-lsn", "current", "--json").stdout)
        warnings = [text for segment in report["segments"] for text in segment["warnings"]]
        assert any("no event trigger recorded how it was made" in text for text in warnings), warnings
        found = source.run("scribe-check", "--only", "ddl", check=False)
        assert (found.returncode, "public.t was made by no statement" in found.stdout) == (2, True), found.stdout
        conn.execute("ALTER FUNCTION scribe.elsewhere() RENAME TO reconcile")
        for trigger in ("!scribe_4_end", "!scribe_3_facts"):
            conn.execute(f'ALTER EVENT TRIGGER "{trigger}" ENABLE ALWAYS')
    source.run("scribe-rotate", "--wait-lsn", "current")
    source.cluster.psql("UPDATE t SET v = 'y'", source.dbname)
    source.run("scribe-rotate", "--wait-lsn", "current")
    assert_both_restores_equal(source, targets)


def test_what_was_being_made_while_capture_came_is_in_the_base_alone(source: Scribe, targets: tuple[str, str]) -> None:
    """Its transaction is older than the event triggers, and rotation must not take it for unknown."""
    with source.cluster.connect(source.dbname, autocommit=False) as conn:
        conn.execute("CREATE TABLE early AS SELECT 1 AS x; ALTER TABLE early ADD PRIMARY KEY (x)")
        program = subprocess.Popen([str(ROOT / "bin/scribe-init"), "-q"], env=source.env)
        there = "SELECT 1 FROM pg_event_trigger WHERE evtname = '!scribe_4_end'"
        poll(lambda: source.cluster.query(there, source.dbname), 60, "the event triggers")
        conn.commit()
    assert program.wait(120) == 0
    source.start_stream()
    source.cluster.psql("INSERT INTO early VALUES (2)", source.dbname)
    report = json.loads(source.run("scribe-rotate", "--wait-lsn", "current", "--json").stdout)
    assert [text for segment in report["segments"] for text in segment["warnings"]] == []
    assert_both_restores_equal(source, targets)


def test_a_role_that_is_no_superuser_gets_an_exact_archive(owner: Scribe, targets: tuple[str, str]) -> None:
    owner.cluster.psql(
        "SET ROLE plain_owner; CREATE TABLE keyed (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text UNIQUE);"
        "CREATE TABLE bare (a int, j json); INSERT INTO bare VALUES (1, '{}'), (1, '{}'), (2, NULL);"
        "CREATE TABLE made (id int GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,"
        " twice int GENERATED ALWAYS AS (id * 2) STORED, big text, small text);"
        "CREATE TABLE parted (id int, v text) PARTITION BY RANGE (id); CREATE SEQUENCE numbers;"
        "CREATE TABLE low PARTITION OF parted FOR VALUES FROM (0) TO (10);"
        "CREATE TABLE high PARTITION OF parted FOR VALUES FROM (10) TO (20)",
        owner.dbname,
    )
    owner.run("scribe-init")
    assert owner.cluster.query("SELECT count(*) FROM pg_event_trigger", owner.dbname) == [(0,)]
    owner.start_stream()
    owner.cluster.psql(
        "INSERT INTO keyed (v) SELECT g::text FROM generate_series(1, 20) g;"
        "UPDATE keyed SET v = v || '!' WHERE id < 5;"
        "DELETE FROM bare WHERE ctid = (SELECT min(ctid) FROM bare); UPDATE bare SET a = 9 WHERE j IS NULL;"
        "VACUUM ANALYZE; TRUNCATE keyed; INSERT INTO keyed (v) VALUES ('x');"
        "INSERT INTO made (big, small) SELECT string_agg(md5(g::text), ''), 'a' FROM generate_series(1, 3000) g;"
        "UPDATE made SET small = 'b'; UPDATE made SET id = 7, small = NULL; INSERT INTO made (small) VALUES ('c');"
        "INSERT INTO parted SELECT g, 'v' FROM generate_series(1, 19) g;"
        "UPDATE parted SET id = id + 4 WHERE id IN (3, 8);"
        "DELETE FROM parted WHERE id IN (4, 15); TRUNCATE low; INSERT INTO parted VALUES (1, NULL);"
        "UPDATE parted SET v = 'w' WHERE v IS NULL; SELECT nextval('numbers') FROM generate_series(1, 40)",
        owner.dbname,
    )
    owner.run("scribe-rotate", "--wait-lsn", "current")
    assert_both_restores_equal(owner, targets)

    # no event trigger: a schema change is noticed at rotation, and nothing is archived beyond it
    owner.cluster.psql(
        "SET ROLE plain_owner; ALTER TABLE keyed ADD w int; INSERT INTO keyed (v) VALUES ('y');"
        "CREATE TABLE late (x int); INSERT INTO late VALUES (1), (1)",  # which no publication holds
        owner.dbname,
    )
    result = owner.run("scribe-rotate", "--wait-lsn", "current", check=False)
    assert result.returncode == 1 and "relation public.keyed" in result.stderr and "scribe-init" in result.stderr
    assert "relation public.late" in result.stderr
    count = len(list((owner.archive / "incremental").iterdir()))
    assert owner.run("scribe-rotate", check=False).returncode == 1
    assert len(list((owner.archive / "incremental").iterdir())) == count
    assert owner.stop_stream() == 0
    owner.run("scribe-init")
    owner.start_stream()
    owner.cluster.psql("UPDATE keyed SET w = 1; UPDATE late SET x = 2 WHERE ctid = '(0,1)'", owner.dbname)
    owner.run("scribe-rotate", "--wait-lsn", "current")
    for name in targets:
        owner.cluster.dropdb(name)
    assert_both_restores_equal(owner, targets)
    assert owner.stop_stream() == 0
    owner.run("scribe-init", "--remove")
    assert owner.cluster.query("SELECT nspname FROM pg_namespace WHERE nspname = 'scribe'", owner.dbname) == []
    assert owner.cluster.query("SELECT pubname FROM pg_publication", owner.dbname) == []


def test_a_superuser_installs_and_roles_without_superuser_do_the_rest(source: Scribe, targets: tuple[str, str]) -> None:
    cluster, database = source.cluster, source.dbname
    cluster.psql("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a')", database)
    files = [f"sql/{name}.sql" for name in ("pgoutput", "roles")]
    names = [f"-v{what}=plain_{what}" for what in ("stream", "dump")]
    psql = [f"{cluster.bindir}/psql", "-Xqd", database, "-vON_ERROR_STOP=1", *names]
    try:
        for _ in range(2):
            installed = [argument for name in files for argument in ("-f", str(ROOT / name))]
            subprocess.run([*psql, *installed], env=cluster.env, check=True, stdout=subprocess.DEVNULL)
        source.settings["PGUSER"] = "plain_dump"
        source.run("scribe-init")
        source.start_stream(env={"PGUSER": "plain_stream"})
        cluster.psql(
            "ALTER TABLE t ADD w int DEFAULT 5; CREATE TABLE bare (x int); INSERT INTO bare VALUES (1), (1)", database
        )
        cluster.psql("DELETE FROM bare WHERE ctid = '(0,1)'; CLUSTER t USING t_pkey", database)
        source.run("scribe-rotate", "--wait-lsn", "current")
        source.run("scribe-dump")
        cluster.psql("UPDATE t SET w = 6; ALTER TABLE bare ADD PRIMARY KEY (x)", database)
        source.run("scribe-rotate", "--wait-lsn", "current")
        assert source.run("scribe-check", "--only", "capture,ddl,identity").returncode == 0
        assert_both_restores_equal(source, targets)
        # the publication is the superuser's matter: without it nothing goes on, and the hint says who makes it
        cluster.psql(f"DROP PUBLICATION scribe_{database}", database)
        assert source.run("scribe-rotate", check=False).returncode == 1
        source.stop_stream()
        refused = source.run("scribe-init", check=False)
        assert refused.returncode == 2 and "sql/roles.sql" in refused.stderr
        subprocess.run([*psql, "-f", str(ROOT / files[-1])], env=cluster.env, check=True, stdout=subprocess.DEVNULL)
        source.run("scribe-init")
    finally:
        source.close()
        for name in targets:
            cluster.dropdb(name)
        for role in ("plain_stream", "plain_dump"):
            cluster.psql(f"DROP ROLE IF EXISTS {role}")


def test_generated_columns_that_bar_changes_are_told_at_once(source: Scribe) -> None:
    """A table that is made later: before PostgreSQL 18 with a generated key, then with a virtual column."""
    modern = source.cluster.version_num >= 180000
    column = "g int GENERATED ALWAYS AS (x) VIRTUAL" if modern else "g int GENERATED ALWAYS AS (x) STORED PRIMARY KEY"
    source.run("scribe-init")
    source.start_stream()
    said = source.cluster.psql(f"CREATE TABLE t (x int, {column}); INSERT INTO t VALUES (1)", source.dbname).stderr
    assert "pg_scribe: UPDATE and DELETE of table public.t" in said, said
    source.run("scribe-rotate", "--wait-lsn", "current")
    check = source.run("scribe-check", "--only", "identity", check=False)
    assert check.returncode != 0 and "public.t" in check.stdout
    changed = source.cluster.psql("UPDATE t SET x = 2", source.dbname, check=False)
    assert (changed.returncode != 0) is modern
    report = json.loads(source.run("scribe-rotate", "--wait-lsn", "current", "--json").stdout)
    warned = [text for segment in report["segments"] for text in segment["warnings"]]
    assert modern or any("UPDATE of public.t could not be carried" in text for text in warned), warned
    if modern:
        assert "pg_scribe" not in source.cluster.psql("ALTER TABLE t ADD PRIMARY KEY (x)", source.dbname).stderr
        source.cluster.psql("UPDATE t SET x = 3", source.dbname)
        assert source.run("scribe-check", "--only", "identity").returncode == 0


def test_sessions_that_alter_partitions_of_one_table_do_not_wait_for_each_other(source: Scribe) -> None:
    """What capture notes of the parent is as it was: no row of others may be in the way, nor one after the snapshot."""
    source.cluster.psql(
        "CREATE TABLE p (id int, k int) PARTITION BY LIST (k);"
        + "".join(f"CREATE TABLE p{n} PARTITION OF p FOR VALUES IN ({n});" for n in (1, 2)),
        source.dbname,
    )
    source.run("scribe-init")
    with source.cluster.connect(source.dbname) as one, source.cluster.connect(source.dbname) as other:
        other.execute("SET lock_timeout = '5s'")
        one.execute("BEGIN; ALTER TABLE p1 ADD CHECK (id > 0)")
        other.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1; ALTER TABLE p2 ADD CHECK (id > 0)")
        one.execute("COMMIT")
        other.execute("ALTER TABLE p2 ALTER id SET NOT NULL; COMMIT")
    assert source.cluster.query("SELECT reason FROM scribe.ddl_history WHERE kind = 'lost'", source.dbname) == []


def test_tables_that_cannot_be_in_the_stream_are_named_before_anything_is_done(owner: Scribe) -> None:
    owner.cluster.psql("CREATE TABLE foreigner (x int PRIMARY KEY)", owner.dbname)
    result = owner.run("scribe-init", check=False)
    assert result.returncode == 1 and '"foreigner"' in result.stdout and "OWNER TO" in result.stdout
    assert not owner.archive.exists()


@pytest.mark.parametrize(
    "change", ["DROP PUBLICATION scribe_{0}", "ALTER PUBLICATION scribe_{0} SET (publish = 'insert')"]
)
def test_a_publication_changed_under_the_stream_breaks_the_chain_and_loses_nothing(
    source: Scribe, targets: tuple[str, str], change: str
) -> None:
    source.cluster.psql("CREATE TABLE t (x int PRIMARY KEY)", source.dbname)
    source.run("scribe-init")
    source.start_stream()
    source.cluster.psql("INSERT INTO t VALUES (1)", source.dbname)
    source.run("scribe-rotate", "--wait-lsn", "current")
    source.stop_stream()
    source.cluster.psql(change.format(source.dbname), source.dbname)
    for program in ("scribe-stream", "scribe-rotate"):
        result = source.run(program, check=False)
        assert result.returncode == 1 and "publication" in result.stderr and "scribe-init" in result.stderr
    source.run("scribe-restore", "-d", targets[0], "--no-globals")
    assert source.cluster.query("TABLE t", targets[0]) == [(1,)]
    source.run("scribe-init")
    source.start_stream()
    source.cluster.psql("INSERT INTO t VALUES (2)", source.dbname)
    source.run("scribe-rotate", "--wait-lsn", "current")
    source.cluster.dropdb(targets[0])
    assert_both_restores_equal(source, targets)


NOTICED = """
CREATE TABLE t (a int, b text); ALTER TABLE t ADD CHECK (a > 0); ALTER TABLE t ALTER b SET DEFAULT 'x';
ALTER TABLE t ALTER b SET NOT NULL; ALTER TABLE t ALTER b SET STORAGE EXTERNAL; GRANT SELECT (b) ON t TO pg_monitor;
GRANT SELECT ON t TO pg_monitor; ALTER TABLE t RENAME a TO c; ALTER TABLE t REPLICA IDENTITY FULL;
ALTER TABLE t SET (fillfactor = 50); ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON t USING (c > 0);
ALTER POLICY p ON t USING (c > 1); CREATE INDEX i ON t (c); CREATE STATISTICS s ON b, c FROM t;
CREATE RULE r AS ON DELETE TO t DO ALSO NOTHING; COMMENT ON TABLE t IS 'x'; COMMENT ON COLUMN t.b IS 'x';
ALTER TABLE t OWNER TO pg_monitor; CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 2'; ALTER FUNCTION f() COST 7;
ALTER FUNCTION f() SET work_mem = '1MB'; GRANT EXECUTE ON FUNCTION f() TO pg_monitor; COMMENT ON FUNCTION f() IS 'x';
CREATE TYPE e AS ENUM ('a'); ALTER TYPE e ADD VALUE 'b'; CREATE DOMAIN d AS int; ALTER DOMAIN d ADD CHECK (value > 0);
ALTER DOMAIN d SET DEFAULT 7; ALTER DOMAIN d SET NOT NULL; CREATE SEQUENCE q; ALTER SEQUENCE q INCREMENT 7;
CREATE VIEW v AS SELECT 1 AS a; CREATE OR REPLACE VIEW v AS SELECT 2 AS a;
CREATE TABLE h (a int) PARTITION BY LIST (a); CREATE TABLE h1 PARTITION OF h FOR VALUES IN (1);
ALTER TABLE h DETACH PARTITION h1; CREATE PUBLICATION u; ALTER PUBLICATION u ADD TABLE t;
ALTER PUBLICATION u SET (publish = 'insert'); ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO pg_monitor;
CREATE SCHEMA n; ALTER SCHEMA n OWNER TO pg_monitor; CREATE FOREIGN DATA WRAPPER w;
CREATE SERVER o FOREIGN DATA WRAPPER w; ALTER SERVER o OPTIONS (host 'x')
"""


def test_each_change_is_noticed_where_no_event_trigger_can_be_made(cluster: Cluster, database: str) -> None:
    with cluster.connect(database) as conn:
        before = read_fingerprint(conn)
        for statement in NOTICED.split(";"):
            conn.execute("SET search_path = public")
            conn.execute(statement.encode())
            now = read_fingerprint(conn)
            assert now != before, statement
            before = now
        assert read_fingerprint(conn) == before
    # which holds texts of 256 MB at most: a function of that length, anybody's, ended every rotation
    query = (ROOT / "sql/fingerprint.sql").read_text().partition("WITH ours")[2]
    assert "jsonb" not in query


def test_decoders_are_not_mixed_up(source: Scribe) -> None:
    wrong = source.run("scribe-init", check=False, env={"SCRIBE_DECODER": "wal2json"})
    assert wrong.returncode == 2 and "wal2json" in wrong.stderr and "pgoutput" in wrong.stderr
    source.run("scribe-init", "--no-base")
    for program in ("scribe-init", "scribe-stream", "scribe-rotate", "scribe-dump"):
        other = source.run(program, check=False, env={"SCRIBE_DECODER": "scribe_decoder"})
        assert other.returncode == 2, program
        assert 'made with decoder "pgoutput"' in other.stderr and "hint: Set SCRIBE_DECODER=pgoutput" in other.stderr
    # what an archive says is enough
    del source.settings["SCRIBE_DECODER"]
    source.run("scribe-init", "--no-base")
    # a slot of the same name, made with another plugin
    source.cluster.query(f"SELECT pg_drop_replication_slot('{source.slot}')", source.dbname)
    source.cluster.query(f"SELECT pg_create_logical_replication_slot('{source.slot}', 'test_decoding')", source.dbname)
    result = source.run("scribe-stream", check=False)
    assert result.returncode == 1 and "test_decoding" in result.stderr and "hint:" in result.stderr


def test_a_publication_that_is_somebody_elses_is_left_alone(source: Scribe) -> None:
    source.cluster.psql(f"CREATE PUBLICATION scribe_{source.dbname} FOR ALL TABLES", source.dbname)
    result = source.run("scribe-init", check=False)
    assert result.returncode == 2 and "SCRIBE_SLOT" in result.stderr
    assert source.cluster.query("SELECT count(*) FROM pg_publication", source.dbname) == [(1,)]
    assert source.cluster.query("SELECT nspname FROM pg_namespace WHERE nspname = 'scribe'", source.dbname) == []


def test_the_spool_of_another_decoder_is_not_taken_for_ours(source: Scribe) -> None:
    source.run("scribe-init", "--no-base")
    source.start_stream()
    assert source.stop_stream() == 0
    stream = source.archive / "spool" / "stream.sql"
    stream.write_bytes(b"BEGIN; -- xid 7 commit 0/1 time 2026-01-01 00:00:00.000000+00\nCOMMIT; -- end 0/2\n")
    result = source.run("scribe-rotate", check=False)
    assert result.returncode == 1 and "is damaged" in result.stderr and "hint: Stop scribe-stream" in result.stderr


def test_rows_of_the_audit_table_are_orders_only_in_the_table_that_init_made(
    source: Scribe, targets: tuple[str, str]
) -> None:
    """Whoever may make a schema of that name must not have SQL of theirs run at restore."""
    source.settings["SCRIBE_COMPRESS"] = "none"
    source.run("scribe-init")
    source.start_stream()
    with source.cluster.connect(source.dbname) as conn, conn.transaction():
        conn.execute("ALTER TABLE scribe.ddl_history RENAME TO kept")
        conn.execute("CREATE TABLE scribe.ddl_history (LIKE scribe.kept INCLUDING ALL)")
        conn.execute(
            "INSERT INTO scribe.ddl_history (kind, tag, statement, exact, role, search_path)"
            " VALUES ('ddl', 'CREATE TABLE', 'CREATE TABLE public.forged (x int)', true, 'postgres', '')"
        )
        conn.execute("DROP TABLE scribe.ddl_history; ALTER TABLE scribe.kept RENAME TO ddl_history")
    source.run("scribe-rotate", "--wait-lsn", "current")
    assert "forged" not in segments(source)


def test_messages_of_others_are_passed_over(source: Scribe, targets: tuple[str, str]) -> None:
    source.cluster.psql("CREATE TABLE t (x int PRIMARY KEY)", source.dbname)
    source.run("scribe-init")
    source.start_stream()
    with source.cluster.connect(source.dbname) as conn:
        conn.execute("SELECT pg_logical_emit_message(false, 'x', decode('0a43000042', 'hex'))")
        with conn.transaction():
            conn.execute("INSERT INTO t VALUES (1)")
            conn.execute("SELECT pg_logical_emit_message(true, 'x', decode(repeat('0a4300', 5000), 'hex'))")
            conn.execute("SELECT pg_logical_emit_message(false, 'x', decode('0a42', 'hex'))")
            conn.execute("SELECT pg_logical_emit_message(true, 'scribe.mark', 'noon')")
    source.run("scribe-rotate", "--wait-lsn", "current")
    source.run("scribe-restore", "-d", targets[0], "--no-globals")
    assert source.cluster.query("TABLE t", targets[0]) == [(1,)]


def test_a_message_of_captures_that_something_was_lost_is_heard(source: Scribe) -> None:
    """It stands in a row's place if none could be written: at the end of the stack, or under somebody's lock."""
    source.settings["SCRIBE_COMPRESS"] = "none"
    source.run("scribe-init")
    source.start_stream()
    with source.cluster.connect(source.dbname) as conn:
        forged = "E'FORGED: x\nCOMMIT; -- end 0/0'"
        for text in ("'GRANT: no stack'", forged, "'\\xff'::bytea", "repeat('x', 801)", "''"):
            conn.execute(f"SELECT pg_logical_emit_message(true, 'scribe.lost', {text})".encode())
        conn.execute("SELECT pg_logical_emit_message(false, 'scribe.lost', 'of no transaction')")
    source.run("scribe-rotate", "--wait-lsn", "current")
    text = segments(source)
    told = [line for line in text.splitlines() if "capture lost" in line]
    assert [line.split("capture lost ")[1] for line in told] == [
        "GRANT: no stack; take a new base",
        "FORGED: x COMMIT; -- end 0/0; take a new base",
        "?; take a new base",
    ]
    found = source.run("scribe-check", "--only", "ddl", check=False)
    assert (found.returncode, "3 of them not at all" in found.stdout) == (2, True), found.stdout
