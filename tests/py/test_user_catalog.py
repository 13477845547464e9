"""What PostgreSQL itself cannot decode ends the stream with a word of why."""

from __future__ import annotations

import psycopg
import pytest
from source import Scribe

PEEK = "SELECT count(*) FROM pg_logical_slot_peek_changes('of_the_server', NULL, NULL)"
REWRITTEN_TWICE = """BEGIN; SAVEPOINT a; ALTER TABLE {0} ADD COLUMN r{1} float8 DEFAULT random();
    ROLLBACK TO a; ALTER TABLE {0} ADD COLUMN r{1} float8 DEFAULT random(); COMMIT;"""
ATTEMPTS = 5


def assert_the_stream_ends_and_says_why(scribe: Scribe, why: str) -> None:
    stream = scribe.start_stream(wait=False)
    assert stream.wait(120) == 1
    assert why in scribe.log.read_text()
    said = scribe.run("scribe-rotate", "--wait-lsn", "current", check=False).stderr
    assert "no stream is running" in said


def test_a_table_that_counts_as_a_catalog_filled_and_dropped_behind_the_stream(scribe: Scribe) -> None:
    scribe.cluster.psql("CREATE TABLE t (id int PRIMARY KEY)", scribe.dbname)
    scribe.run("scribe-init")
    scribe.cluster.psql("CREATE TABLE c (id int PRIMARY KEY) WITH (user_catalog_table = true)", scribe.dbname)
    scribe.cluster.psql("INSERT INTO c VALUES (1)", scribe.dbname)
    scribe.cluster.psql("DROP TABLE c", scribe.dbname)
    assert_the_stream_ends_and_says_why(scribe, "user_catalog_table")


def fails_to_decode(scribe: Scribe, number: int) -> bool:
    """Rewrite two tables, and say whether the server fails to decode what there is."""
    scribe.cluster.psql("".join(REWRITTEN_TWICE.format(t, number) for t in ("log", "parent")), scribe.dbname)
    try:
        scribe.cluster.query(PEEK, scribe.dbname)
    except psycopg.errors.InternalError_ as error:
        return "unexpected duplicate" in str(error)
    return False


def test_tables_rewritten_once_more_after_a_savepoint(scribe: Scribe) -> None:
    """Whether the server fails at it depends on how full its catalog's pages are: another plugin tells."""
    cluster, dbname = scribe.cluster, scribe.dbname
    cluster.psql(
        "CREATE TABLE log (id serial PRIMARY KEY, what text); CREATE TABLE parent (id int PRIMARY KEY);"
        "CREATE TABLE child () INHERITS (parent);"
        "CREATE FUNCTION note() RETURNS event_trigger LANGUAGE plpgsql"
        " AS 'BEGIN INSERT INTO log VALUES (DEFAULT); END';"
        "CREATE EVENT TRIGGER note ON table_rewrite EXECUTE FUNCTION note()",
        dbname,
    )
    cluster.query("SELECT pg_create_logical_replication_slot('of_the_server', 'test_decoding')", dbname)
    try:
        scribe.run("scribe-init")
        failed = any(fails_to_decode(scribe, number) for number in range(ATTEMPTS))
    finally:
        cluster.query("SELECT pg_drop_replication_slot('of_the_server')")
    if not failed:
        pytest.skip("server version: it decodes this")
    assert_the_stream_ends_and_says_why(scribe, "went back to a savepoint")
