"""PostgreSQL 19: REPACK (CONCURRENTLY) beside the stream, on a server whose WAL becomes logical with the first slot."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from cluster import Cluster, poll, temporary_cluster
from compare import assert_equal
from source import Scribe

WAITING = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'REPACK%' AND wait_event_type = 'Lock'"


def repack(cluster: Cluster) -> subprocess.Popen[bytes]:
    """Start a REPACK that comes to its end only when nobody has looked at the table any more."""
    command = [f"{cluster.bindir}/psql", "-Xq", "-d", "postgres", "-c", "REPACK (CONCURRENTLY) t"]
    running = subprocess.Popen(command, env=cluster.env)
    poll(lambda: cluster.value(WAITING) == 1, what="a REPACK that waits")
    return running


def test_a_repack_lets_the_stream_go_on_and_is_named_by_a_base_that_waits(cluster: Cluster, tmp_path: Path) -> None:
    if cluster.version_num < 190000:
        pytest.skip("server version: has no REPACK")
    with temporary_cluster(wal_level="replica") as server:
        scribe = Scribe(server, "postgres", tmp_path / "archive")
        server.psql(
            "CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE u (id int PRIMARY KEY); INSERT INTO t VALUES (1)"
        )
        scribe.run("scribe-init")
        assert server.value("SHOW effective_wal_level") == "logical"
        with server.connect(autocommit=False) as reader:
            reader.execute("SELECT FROM t")
            running = repack(server)
            scribe.start_stream()
            server.psql("INSERT INTO u VALUES (1); UPDATE u SET id = 2")
            scribe.run("scribe-rotate", "--wait-lsn", "current")
            busy = scribe.run("scribe-dump", "--wait", "1", check=False)
            assert busy.returncode == 75, busy.stderr
            assert "(user postgres, database postgres, REPACK for " in busy.stderr
        assert running.wait(60) == 0
        server.psql("INSERT INTO t VALUES (2)")
        scribe.run("scribe-rotate", "--wait-lsn", "current")
        scribe.run("scribe-dump")
        assert scribe.stop_stream() == 0
        base = min(path.name for path in (scribe.archive / "base").iterdir())
        scribe.run("scribe-restore", "-d", "copy", "--base", base)
        assert_equal(server.dump("postgres"), server.dump("copy"))
