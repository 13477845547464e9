"""Settings of role, database or server change neither what a base holds nor what it means where it is restored."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest
from cluster import ROOT, Cluster
from compare import assert_equal
from source import Scribe

MEANING = {
    "standard_conforming_strings": "off",
    "escape_string_warning": "off",
    "quote_all_identifiers": "on",
    "array_nulls": "off",
    "transform_null_equals": "on",
    "backslash_quote": "off",
    "DateStyle": "SQL, DMY",
    "IntervalStyle": "sql_standard",
    "TimeZone": "America/New_York",
    "bytea_output": "escape",
    "xmlbinary": "hex",
    "xmloption": "document",
    "extra_float_digits": "-3",
    "default_transaction_isolation": "serializable",
    "default_transaction_deferrable": "on",
    "row_security": "off",
}
HINDRANCES = {
    "default_transaction_read_only": "on",
    "statement_timeout": "300ms",
    "lock_timeout": "10ms",
    "idle_in_transaction_session_timeout": "100ms",
    "search_path": "planted, pg_catalog",
}
CONTENTS = r"""
SET standard_conforming_strings = on; SET array_nulls = on; SET transform_null_equals = off;
SET IntervalStyle = postgres; SET DateStyle = 'ISO, MDY'; SET extra_float_digits = 3;
CREATE TABLE a (id int PRIMARY KEY, t text[], i interval DEFAULT '-1 day -02:03:04', b bytea, f float8, m money,
    w timestamptz DEFAULT '2026-02-03 04:05:06+00', d date DEFAULT '2026-02-03',
    s text DEFAULT 'a\b''c' CHECK (s <> '\\'), g text GENERATED ALWAYS AS (f::text) STORED);
INSERT INTO a (id, t, i, b, f, m) VALUES
    (1, ARRAY[NULL, 'NULL', 'x\y', '"'], '-1 day +02:03:04', '\x00ff5c', 0.1 + 0.2, 12.5);
INSERT INTO a (id, t, f) SELECT n, ARRAY[NULL, n::text], n / 3.0 FROM generate_series(2, 2000) AS n;
CREATE VIEW v AS SELECT id, t = ARRAY[NULL, 'a'] AS same, s = NULL AS nothing,
    '\d' AS slash, i > '-1 day -02:03:04' AS late
    FROM a WHERE NOT (s = NULL) OR true;
CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $$ SELECT 'a\nb'::text $$;
CREATE INDEX ON a ((s || '\x')) WHERE s <> 'q\';
COMMENT ON TABLE a IS 'back\slash ''quoted''';
CREATE TABLE p (i interval) PARTITION BY RANGE (i);
CREATE TABLE p1 PARTITION OF p FOR VALUES FROM ('-1 day -02:03:04') TO ('1 day');
INSERT INTO p VALUES ('-1 day');
"""
MORE = """
INSERT INTO a (id, t) VALUES (0, ARRAY[NULL::text]); UPDATE a SET i = '-2 days 00:00:01' WHERE id = 1;
SET extra_float_digits = 3;  -- which the generated column depends on
INSERT INTO a (id, f, b, m) VALUES (-1, 0.1::float8 + 0.2, decode('00ff5c', 'hex'), 12.5);
"""
# What is not recorded with a statement, since it ran under what a segment's header sets.
PLAIN = "-c standard_conforming_strings=on -c array_nulls=on -c transform_null_equals=off"
PLAIN += " -c backslash_quote=safe_encoding -c DateStyle=ISO,MDY -c IntervalStyle=postgres -c TimeZone=UTC"
PLAIN += " -c quote_all_identifiers=off -c bytea_output=hex -c xmlbinary=base64 -c xmloption=content"
PLAIN += " -c extra_float_digits=3"
SCHEMA_CHANGE = r"""
CREATE VIEW later AS SELECT id, 'a\d' AS slash, E'it\'s' AS quoted, '{NULL,a}'::text[] AS nulls, s = NULL AS no,
    '-1 day -02:03:04'::interval AS back, '03/04/2026'::date AS day, '2026-02-03 04:05:06'::timestamptz AS zoned,
    '\x5c'::bytea::text AS bytes, (1 / 3.0::float8)::text AS digits
    FROM a
"""
# Who resolves an operator under this path calls what anybody may have written.
PLANTED = """
CREATE SCHEMA planted;
CREATE FUNCTION planted.act(int, int) RETURNS boolean LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'planted code was run'; END $$;
CREATE OPERATOR planted.= (LEFTARG = int, RIGHTARG = int, FUNCTION = planted.act);
"""


def meaning(cluster: Cluster) -> dict[str, str]:
    """Those of the settings that the server takes: 19 has standard strings only."""
    left_out = {"standard_conforming_strings", "escape_string_warning"} if cluster.version_num >= 190000 else set()
    return {name: value for name, value in MEANING.items() if name not in left_out}


@pytest.fixture
def odd(scribe: Scribe, cluster: Cluster) -> Iterator[Scribe]:
    """A source of which every setting that matters is another."""
    cluster.psql(CONTENTS + PLANTED, scribe.dbname)
    for name, value in meaning(cluster).items():
        cluster.query(f'ALTER DATABASE "{scribe.dbname}" SET {name} = {value if "," in value else repr(value)}')
    yield scribe


@pytest.fixture
def hindered(cluster: Cluster) -> Iterator[str]:
    """A superuser with the same settings and with what keeps a session from working long, or at all."""
    cluster.psql("CREATE ROLE hindered SUPERUSER LOGIN")
    for name, value in (meaning(cluster) | HINDRANCES).items():
        cluster.query(f"ALTER ROLE hindered SET {name} = {value if ',' in value else repr(value)}")
    yield "hindered"
    cluster.psql("DROP ROLE hindered")


@pytest.mark.parametrize("settings", [{}, {"SCRIBE_DUMP_FORMAT": "directory"}], ids=["plain", "directory"])
def test_a_base_means_the_same_under_any_settings(
    odd: Scribe, cluster: Cluster, hindered: str, targets: tuple[str, str], settings: dict[str, str]
) -> None:
    odd.settings |= settings
    odd.run("scribe-init")
    odd.start_stream()
    cluster.psql(MORE, odd.dbname)
    with cluster.connect(odd.dbname, options=PLAIN) as conn:
        conn.execute(SCHEMA_CHANGE.encode())
    odd.run("scribe-rotate", "--wait-lsn", "current", "--record")
    cluster.query(f'ALTER DATABASE "{odd.dbname}" RESET ALL')
    source = cluster.dump(odd.dbname)
    odd.run("scribe-restore", "-d", targets[0], "--no-globals", env={"PGUSER": hindered})
    cluster.query(f'ALTER DATABASE "{targets[0]}" RESET ALL')
    assert_equal(source, cluster.dump(targets[0]), ("source", "scribe-restore"))
    if settings:
        return
    cluster.createdb(targets[1])
    for pattern in ("base/*/base.sql.zst", "incremental/*.sql.zst"):
        for path in sorted(odd.archive.glob(pattern)):
            script = 'zstdcat "$0" | psql -X -q -v ON_ERROR_STOP=1 -d "$1" -o /dev/null'
            command = ["bash", "-c", script, path, targets[1]]
            run = subprocess.run(
                command, env=cluster.env | {"PGUSER": hindered}, capture_output=True, text=True, check=False
            )
            assert (run.returncode, run.stderr) == (0, ""), run.stderr
    assert_equal(source, cluster.dump(targets[1]), ("source", "psql alone"))


def test_the_sql_files_are_read_the_same_under_any_settings(odd: Scribe, cluster: Cluster) -> None:
    for name in ("capture", "monitor", "roles", "uncapture"):
        command = [f"{cluster.bindir}/psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-d", odd.dbname]
        command += ["-f", str(ROOT / f"sql/{name}.sql")]
        result = subprocess.run(command, env=cluster.env, capture_output=True, text=True, check=False)
        assert result.returncode == 0, (name, result.stderr)


BY_OWNER = {
    "role": "owner of it",
    "client_min_messages": "debug5",
    "exit_on_error": "on",
    "local_preload_libraries": "no_such_library",
    "default_table_access_method": "no_such_method",
}


def test_what_a_databases_owner_sets_for_its_sessions_is_not_for_ours(
    scribe: Scribe, cluster: Cluster, targets: tuple[str, str]
) -> None:
    def set_all(name: str, leave: str = "") -> None:
        cluster.query(f'ALTER DATABASE "{name}" OWNER TO "owner of it"')
        with cluster.connect(user="owner of it") as conn:
            for setting, value in BY_OWNER.items():
                if setting != leave:
                    conn.execute(f"ALTER DATABASE \"{name}\" SET {setting} = '{value}'".encode())

    def set_now(name: str) -> str | None:
        query = (
            "SELECT setconfig::text FROM pg_db_role_setting JOIN pg_database AS d ON d.oid = setdatabase"
            f" WHERE datname = '{name}'"
        )
        value = cluster.value(query)
        return None if value is None else str(value)

    cluster.psql('CREATE ROLE "owner of it" LOGIN')
    try:
        cluster.psql("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)", scribe.dbname)
        set_all(scribe.dbname)
        assert "role=owner of it" in (set_now(scribe.dbname) or "")
        said = scribe.run("scribe-init").stderr
        scribe.start_stream()
        ours = "-c role=none -c local_preload_libraries= -c default_table_access_method=heap"
        with cluster.connect(scribe.dbname, options=ours) as conn:
            conn.execute("CREATE TABLE u (id int PRIMARY KEY)")
            conn.execute("INSERT INTO u VALUES (2)")
        said += scribe.run("scribe-rotate", "--wait-lsn", "current", "--record").stderr
        said += scribe.run("scribe-dump", "--no-prune").stderr
        with cluster.connect(scribe.dbname, options=ours) as conn:  # for psql alone, a schema change and rows after it
            conn.execute("CREATE TABLE v (id int PRIMARY KEY)")
            conn.execute("INSERT INTO v VALUES (3)")
        said += scribe.run("scribe-rotate", "--wait-lsn", "current").stderr
        assert scribe.run("scribe-check", "--only", "server,capture,slot,ddl").stdout.count("UNKNOWN") == 0
        said += scribe.run("scribe-restore", "-d", targets[0], "--no-globals", "--base", first_base(scribe)).stderr
        assert "DEBUG" not in said and "password" not in said and "permission" not in said, said
        assert set_now(targets[0]) == set_now(scribe.dbname)
        script = scribe.run("scribe-restore", "-d", targets[1], "--no-globals", "--plan").stdout
        assert "export PGOPTIONS='-c role=none'" in script
        cluster.createdb(targets[1])
        cluster.query(f"ALTER DATABASE \"{targets[1]}\" SET role = 'owner of it'")
        scribe.run_files_with_psql(targets[1])
        for name in (scribe.dbname, *targets):
            cluster.query(f'ALTER DATABASE "{name}" RESET ALL')
        for number, name in enumerate(targets):
            assert_equal(cluster.dump(scribe.dbname), cluster.dump(name), ("source", f"target {number}"))
    finally:
        for name in (scribe.dbname, *targets):
            cluster.psql(
                f'ALTER DATABASE "{name}" RESET ALL; ALTER DATABASE "{name}" OWNER TO CURRENT_USER', check=False
            )
        cluster.psql('DROP ROLE "owner of it"')


def first_base(scribe: Scribe) -> str:
    """Return the stamp of the oldest base."""
    return min(path.name for path in (scribe.archive / "base").iterdir())
