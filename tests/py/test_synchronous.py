"""synchronous_standby_names may name the stream: then what was acknowledged is on the backup host's disk."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import poll, temporary_cluster
from source import Scribe


@pytest.fixture
def waited_for(tmp_path: Path) -> Iterator[Scribe]:
    """A source whose commits wait for its stream; the stream is not running."""
    with temporary_cluster() as cluster:
        cluster.createdb("shop")
        source = Scribe(cluster, "shop", tmp_path / "archive")
        source.settings |= {"SCRIBE_STATUS_INTERVAL": "1", "SCRIBE_FSYNC_INTERVAL": "1"}
        cluster.psql("CREATE TABLE t (id int PRIMARY KEY)", "shop")
        source.run("scribe-init")
        cluster.query(f"ALTER SYSTEM SET synchronous_standby_names = '{source.slot}'")
        cluster.query("SELECT pg_reload_conf()")
        poll(lambda: cluster.value("SHOW synchronous_standby_names"), 10, "the setting")
        yield source
        source.kill_streams()


@pytest.mark.slow
def test_commits_wait_for_the_stream_and_our_own_do_not(waited_for: Scribe) -> None:
    server = waited_for.cluster
    done = threading.Event()

    def insert() -> None:
        server.query("INSERT INTO t VALUES (1)", "shop")
        done.set()

    writer = threading.Thread(target=insert)
    writer.start()
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
    poll(lambda: server.value(waiting), 20, "a COMMIT that waits")
    waited_for.run("scribe-rotate")
    busy = waited_for.run("scribe-dump", "--wait", "1", check=False)  # a base waits for what is not yet committed
    assert (busy.returncode, "it waits for process" in busy.stderr) == (75, True)
    assert not done.is_set()
    waited_for.start_stream()
    writer.join(60)
    assert done.is_set()
    assert server.value("SELECT sync_state FROM pg_stat_replication WHERE application_name = 'scribe_shop'") == "sync"
    for number in (2, 3):
        server.query(f"INSERT INTO t VALUES ({number})", "shop")
        spool = b"".join(path.read_bytes() for path in (waited_for.archive / "spool").glob("*.sql"))
        assert f"INSERT INTO public.t (id) VALUES ({number});".encode() in spool
    waited_for.run("scribe-rotate", "--wait-lsn", "current")
    assert waited_for.stop_stream() == 0
