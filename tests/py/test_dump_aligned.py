"""A base taken beside a running stream: the segments are cut at its consistent point."""

from __future__ import annotations

import threading

import pytest
from cases import assert_both_restores_equal
from cluster import Cluster, poll
from source import Scribe

from scribe.archive.layout import Archive


@pytest.mark.slow
def test_segments_are_cut_where_each_base_stands(scribe: Scribe, cluster: Cluster) -> None:
    cluster.psql(
        "CREATE TABLE t (id serial PRIMARY KEY, n int NOT NULL DEFAULT 0);"
        "INSERT INTO t (n) SELECT 0 FROM generate_series(1, 9);",
        scribe.dbname,
    )
    scribe.run("scribe-init")
    scribe.start_stream()
    stop = threading.Event()
    written = 0

    def write() -> None:
        nonlocal written
        with cluster.connect(scribe.dbname) as conn:
            while not stop.is_set():
                conn.execute("INSERT INTO t (n) SELECT 1 FROM generate_series(1, 3)")
                conn.execute("UPDATE t SET n = n + 1 WHERE id % 7 = 0 AND id < 50")
                written += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        poll(lambda: written > 20)
        scribe.run("scribe-dump", "--format", "directory")
        scribe.run("scribe-rotate", "--wait-lsn", "current")
        scribe.run("scribe-dump")
        reached = written
        poll(lambda: written > reached + 20)
    finally:
        stop.set()
        writer.join()
    scribe.run("scribe-rotate", "--wait-lsn", "current")
    archive = Archive(scribe.archive)
    ends = [segment.to_lsn for segment in archive.segments()]
    assert all(base.consistent_point in ends for base in archive.bases()[1:])
    source = cluster.dump(scribe.dbname)
    for number, base in enumerate(archive.bases()):
        if base.manifest["format"] == "plain":
            target = f"{scribe.dbname}_copy{number}"
            scribe.restore_with_psql(target, base.path)
            cluster.psql("DROP SCHEMA scribe CASCADE;", target)
            assert cluster.query("SELECT count(*), sum(n) FROM t", target) == cluster.query(
                "SELECT count(*), sum(n) FROM t", scribe.dbname
            )
            assert cluster.dump(target) == source
            cluster.dropdb(target)


def test_what_a_base_has_of_large_objects_between_two_rotations_does_not_stay(
    scribe: Scribe, targets: tuple[str, str]
) -> None:
    scribe.cluster.psql("CREATE TABLE t (a int); SELECT lo_from_bytea(7001, 'kept')", scribe.dbname)
    scribe.run("scribe-init")
    scribe.start_stream()
    scribe.cluster.psql("INSERT INTO t VALUES (1)", scribe.dbname)
    scribe.run("scribe-rotate", "--wait-lsn", "current")
    made = "SELECT lo_from_bytea(7002, ''); GRANT SELECT ON LARGE OBJECT 7001 TO PUBLIC; INSERT INTO t VALUES (2)"
    scribe.cluster.psql(made, scribe.dbname)
    scribe.run("scribe-dump")
    undone = "SELECT lo_unlink(7002); REVOKE SELECT ON LARGE OBJECT 7001 FROM PUBLIC; INSERT INTO t VALUES (3)"
    scribe.cluster.psql(undone, scribe.dbname)
    scribe.run("scribe-rotate", "--wait-lsn", "current")
    assert_both_restores_equal(scribe, targets)
    assert not list((scribe.archive / "spool").glob("large_objects_of*"))
