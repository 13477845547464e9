"""decoder_raw: the test of the installed build at scribe-init, and the guard that keeps it from crashing the server."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from cluster import Cluster

from scribe import capture


@pytest.fixture(scope="session")
def with_plugin(cluster: Cluster) -> None:
    """Skip where this server has no decoder_raw."""
    libraries = subprocess.check_output([cluster.pg_config, "--pkglibdir"], text=True).strip()
    if not Path(libraries, "decoder_raw.so").exists():
        pytest.skip("place: decoder_raw is not installed in this server")


@pytest.fixture
def guarded(cluster: Cluster, database: str) -> Iterator[psycopg.Connection[object]]:
    """A database with capture and the guard."""
    with cluster.connect(database) as conn:
        capture.install(conn, "full", "decoder_raw")
        yield conn


INDEXED = (
    "CREATE TABLE t (a int PRIMARY KEY, b text); INSERT INTO t VALUES (1, 'x'), (2, 'y'), (3, NULL);"
    "ALTER TABLE t REPLICA IDENTITY USING INDEX t_pkey;"
)
IDENTITY = "SELECT relreplident::text FROM pg_class WHERE oid = 't'::regclass"


@pytest.mark.parametrize(
    "drop",
    [
        "ALTER TABLE t DROP CONSTRAINT t_pkey",
        "ALTER TABLE t DROP a",
        "DO $$ BEGIN ALTER TABLE t DROP CONSTRAINT t_pkey; DELETE FROM t WHERE b = 'x'; END $$",
        "SET session_replication_role = replica; ALTER TABLE t DROP CONSTRAINT t_pkey; RESET session_replication_role",
        # capture itself cannot write: the guard does without
        "ALTER EVENT TRIGGER scribe_4_end DISABLE; ALTER TABLE t DROP CONSTRAINT t_pkey;"
        "ALTER EVENT TRIGGER scribe_4_end ENABLE ALWAYS",
    ],
)
def test_a_table_whose_identity_index_goes_gets_full_at_once(guarded: psycopg.Connection[object], drop: str) -> None:
    guarded.execute(INDEXED)
    guarded.execute(drop)
    assert guarded.execute(IDENTITY).fetchone() == ("f",)
    recorded = "SELECT count(*) FROM scribe.ddl_history WHERE statement LIKE '%REPLICA IDENTITY FULL'"
    assert guarded.execute(recorded).fetchone() == (1,)


def test_what_goes_with_another_table_is_guarded_too(guarded: psycopg.Connection[object]) -> None:
    guarded.execute(
        "CREATE TABLE of_type (x int PRIMARY KEY); CREATE TABLE t (a of_type NOT NULL, b text);"
        "CREATE UNIQUE INDEX t_a ON t (a); ALTER TABLE t REPLICA IDENTITY USING INDEX t_a"
    )
    guarded.execute("DROP TABLE of_type CASCADE")
    assert guarded.execute(IDENTITY).fetchone() == ("f",)


def test_where_identities_are_refused_the_command_is(cluster: Cluster, database: str) -> None:
    with cluster.connect(database) as conn:
        capture.install(conn, "refuse", "decoder_raw")
        conn.execute(INDEXED)
        with pytest.raises(psycopg.Error, match="would have no usable replica identity"):
            conn.execute("ALTER TABLE t DROP CONSTRAINT t_pkey")
        assert conn.execute(IDENTITY).fetchone() == ("i",)
        assert conn.execute("SELECT to_regclass('t_pkey') IS NOT NULL").fetchone() == (True,)


def test_an_invalid_index_is_no_identity(guarded: psycopg.Connection[object]) -> None:
    guarded.execute("CREATE TABLE t (a int NOT NULL); INSERT INTO t VALUES (1), (1)")
    with pytest.raises(psycopg.errors.UniqueViolation):
        guarded.execute("CREATE UNIQUE INDEX CONCURRENTLY t_a ON t (a)")
    with contextlib.suppress(psycopg.Error):  # servers differ in whether they allow it
        guarded.execute("ALTER TABLE t REPLICA IDENTITY USING INDEX t_a")
    assert guarded.execute(IDENTITY).fetchone() == ("f",)


def test_an_identity_index_is_not_dropped_concurrently(guarded: psycopg.Connection[object]) -> None:
    guarded.execute(
        'CREATE TABLE t (a int NOT NULL); CREATE UNIQUE INDEX "Odd ""index"" é" ON t (a); CREATE INDEX other ON t (a);'
        'ALTER TABLE t REPLICA IDENTITY USING INDEX "Odd ""index"" é"'
    )
    for name in ('"Odd ""index"" é"', 'public . "Odd ""index"" é"', '/* no */ IF EXISTS "Odd ""index"" é"'):
        with pytest.raises(psycopg.Error, match="dropping it concurrently could crash the server"):
            guarded.execute(f"DROP INDEX CONCURRENTLY {name}")  # type: ignore[arg-type]
    guarded.execute("DROP INDEX CONCURRENTLY other")
    guarded.execute("ALTER TABLE t REPLICA IDENTITY FULL")
    guarded.execute('DROP INDEX CONCURRENTLY "Odd ""index"" é"')


@pytest.mark.usefixtures("with_plugin")
def test_the_server_survives_what_crashes_it_without_the_guard(
    cluster: Cluster, guarded: psycopg.Connection[object]
) -> None:
    allow = "SELECT set_config(name, 'decoder_raw', false) FROM pg_settings WHERE name = 'output_plugin_libraries'"
    guarded.execute(allow)
    guarded.execute("SELECT pg_create_logical_replication_slot('raw', 'decoder_raw', true)")
    guarded.execute(INDEXED)
    guarded.execute("ALTER TABLE t DROP CONSTRAINT t_pkey; UPDATE t SET b = 'z' WHERE a = 1; DELETE FROM t WHERE a > 1")
    rows = guarded.execute("SELECT data FROM pg_logical_slot_get_changes('raw', NULL, NULL)").fetchall()
    texts = [str(row[0]) for row in rows if " public.t " in str(row[0])]  # type: ignore[index]
    assert "UPDATE public.t SET a = 1, b = 'z' WHERE a = 1 AND b = 'x';" in texts
    assert "DELETE FROM public.t WHERE a = 3 AND b = null;" in texts
    assert cluster.running()
