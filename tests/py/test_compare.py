"""The comparison the other tests rely on sees what it must, and nothing that pg_scribe itself puts into a database."""

from __future__ import annotations

import pytest
from cluster import Cluster
from compare import ROWS_COMPARED_AS_TEXT, assert_equal

SETUP = f"""
    CREATE TABLE t (id serial PRIMARY KEY, body text);
    INSERT INTO t (body) SELECT 'x' || n FROM generate_series(1, 5) n;
    CREATE TABLE big AS SELECT n FROM generate_series(1, {ROWS_COMPARED_AS_TEXT} + 1) n;
    SELECT lo_from_bytea(4711, 'abc');
    CREATE FUNCTION f() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
    COMMENT ON TABLE t IS 'a table';
"""


@pytest.fixture(scope="module")
def pair(cluster: Cluster):
    for name in ("compare_a", "compare_b"):
        cluster.createdb(name)
        cluster.psql(SETUP, name)
    yield "compare_a", "compare_b"
    for name in ("compare_a", "compare_b"):
        cluster.dropdb(name)


def test_equal_databases_are_equal_whatever_belongs_to_the_capture(cluster, pair):
    cluster.psql(
        """CREATE SCHEMA scribe; CREATE TABLE scribe.position (lsn pg_lsn); CREATE SEQUENCE scribe.s;
           CREATE EVENT TRIGGER scribe_ddl ON ddl_command_end EXECUTE FUNCTION f();
           COMMENT ON EVENT TRIGGER scribe_ddl IS 'ours'""",
        pair[0],
    )
    assert_equal(cluster.dump(pair[0]), cluster.dump(pair[1]))


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        ("UPDATE t SET body = 'y' WHERE id = 3", "rows of public.t"),
        ("INSERT INTO t SELECT 99, body FROM t WHERE id = 1; DELETE FROM t WHERE id = 1", "rows of public.t"),
        ("UPDATE big SET n = -n WHERE n = 7", "rows of public.big"),
        ("INSERT INTO big SELECT n FROM big WHERE n = 7", "rows of public.big"),
        ("SELECT nextval('t_id_seq')", "sequence public.t_id_seq"),
        ("CREATE VIEW scribe_view AS SELECT 1", "schema"),
        ("CREATE EVENT TRIGGER mine ON ddl_command_end EXECUTE FUNCTION f()", "schema"),
        ("COMMENT ON TABLE t IS NULL", "schema"),
        ("ALTER TABLE t REPLICA IDENTITY FULL", "schema"),
        ("SELECT lo_put(4711, 0, 'x')", "large object 4711"),
        ("CREATE TABLE more ()", "rows of public.more: only in restored"),
    ],
)
def test_a_difference_is_seen(cluster, pair, change, seen):
    copy = "compare_copy"
    cluster.createdb(copy, template=pair[1])
    try:
        cluster.psql(change, copy)
        with pytest.raises(AssertionError, match=seen):
            assert_equal(cluster.dump(pair[1]), cluster.dump(copy))
    finally:
        cluster.dropdb(copy)
