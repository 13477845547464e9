"""Promotion: with a failover slot the stream goes on exactly; without one the chain is broken and said to be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import Cluster, poll, temporary_cluster
from compare import assert_equal
from source import Scribe
from standby import catch_up, promote, standby

from scribe.archive.layout import Archive

QUICK = {"SCRIBE_STATUS_INTERVAL": "1", "SCRIBE_FSYNC_INTERVAL": "1"}
FILL = "INSERT INTO t SELECT g, md5(g::text) FROM generate_series({}, {}) g"


@pytest.fixture(scope="module")
def modern(cluster: Cluster) -> None:
    if cluster.version_num < 170000:
        pytest.skip("server version: failover slots came with PostgreSQL 17")


@pytest.fixture
def primary(tmp_path: Path) -> Iterator[Scribe]:
    """A source with some rows on a server of its own."""
    with temporary_cluster(wal_keep_size="256MB") as server:
        server.createdb("shop")
        source = Scribe(server, "shop", tmp_path / "archive", QUICK)
        server.psql("CREATE TABLE t (id int PRIMARY KEY, v text); CREATE SEQUENCE s;", "shop")
        yield source
        source.kill_streams()


def restore_and_compare(source: Scribe, server: Cluster) -> None:
    """Rotate, restore beside the source on server, compare."""
    source.run("scribe-rotate", "--wait-lsn", "current")
    source.run("scribe-restore", "-d", "copy", "--no-globals")
    assert_equal(server.dump("shop"), server.dump("copy"))
    server.dropdb("copy")


def write(server: Cluster, first: int, last: int) -> None:
    """Rows in many transactions, a sequence moved, DDL."""
    for start in range(first, last, 10):
        server.query(FILL.format(start, start + 9), "shop")
    server.psql(f"SELECT nextval('s'); CREATE TABLE d{first} AS SELECT {first} AS n;", "shop")


@pytest.mark.slow
@pytest.mark.usefixtures("modern")
def test_a_promoted_standby_continues_the_stream(primary: Scribe) -> None:
    server = primary.cluster
    primary.settings["SCRIBE_FAILOVER"] = "on"
    with standby(server, sync_replication_slots="on") as follower:
        server.query("ALTER SYSTEM SET synchronized_standby_slots = 'standby'")
        server.query("SELECT pg_reload_conf()")
        primary.run("scribe-init")
        assert server.value(f"SELECT failover FROM pg_replication_slots WHERE slot_name = '{primary.slot}'")
        primary.start_stream()
        write(server, 0, 200)
        primary.run("scribe-rotate", "--wait-lsn", "current")
        synced = f"SELECT count(*) FROM pg_replication_slots WHERE slot_name = '{primary.slot}' AND NOT temporary"
        poll(lambda: follower.value(synced), 60, "the slot on the standby")
        write(server, 200, 400)
        catch_up(server, follower)
        kept = [base.stamp for base in Archive(primary.archive).bases()]
        primary.kill_streams()
        follower.query("ALTER SYSTEM SET primary_conninfo = ''")
        follower.query("SELECT pg_reload_conf()")
        poll(lambda: server.value("SELECT count(*) = 0 FROM pg_stat_replication"), 60, "the standby to be alone")
        server.query("INSERT INTO t VALUES (-1, 'lost')", "shop")
        primary.run("scribe-dump", "--no-prune")
        assert len(Archive(primary.archive).bases()) == len(kept) + 1
        server.stop("immediate")
        promote(follower)
        primary.cluster = follower
        write(follower, 400, 600)
        assert primary.run("scribe-dump", check=False).returncode == 75
        primary.start_stream()
        assert [base.stamp for base in Archive(primary.archive).bases()] == kept  # the last holds what is lost
        write(follower, 600, 800)
        restore_and_compare(primary, follower)
        assert not (primary.archive / "broken.json").exists()


@pytest.mark.usefixtures("modern")
def test_a_slot_that_is_there_becomes_a_failover_slot(primary: Scribe) -> None:
    primary.run("scribe-init", "--no-base")
    primary.settings["SCRIBE_FAILOVER"] = "on"
    primary.start_stream()
    busy = primary.run("scribe-init", "--no-base", check=False)
    assert (busy.returncode, "is in use" in busy.stderr) == (75, True)
    assert primary.stop_stream() == 0
    assert "would make" in primary.run("scribe-init", "--no-base", "--dry-run").stdout
    said = primary.run("scribe-init", "--no-base").stdout
    assert "warning  failover: synchronized_standby_slots is not set" in said
    failover = f"SELECT failover FROM pg_replication_slots WHERE slot_name = '{primary.slot}'"
    assert primary.cluster.value(failover)


def test_a_server_without_failover_slots_is_told(primary: Scribe) -> None:
    if primary.cluster.version_num >= 170000:
        pytest.skip("server version: this one has failover slots")
    primary.settings["SCRIBE_FAILOVER"] = "on"
    result = primary.run("scribe-init", check=False)
    assert (result.returncode, "failover slots need PostgreSQL 17" in result.stdout) == (1, True)


@pytest.mark.slow
def test_a_promotion_without_the_slot_breaks_the_chain(primary: Scribe) -> None:
    server = primary.cluster
    primary.run("scribe-init")
    with standby(server) as follower:
        primary.start_stream()
        write(server, 0, 100)
        primary.run("scribe-rotate", "--wait-lsn", "current")
        catch_up(server, follower)
        primary.kill_streams()
        server.stop("immediate")
        promote(follower)
        primary.cluster = follower
        result = primary.run("scribe-stream", check=False)
        assert (result.returncode, "does not exist" in result.stderr) == (1, True)
        assert (primary.archive / "broken.json").exists()
        assert primary.run("scribe-check", "--only", "chain", check=False).returncode == 2
        primary.run("scribe-init")
        primary.start_stream()
        write(follower, 100, 200)
        restore_and_compare(primary, follower)
        assert primary.run("scribe-check", "--only", "chain", check=False).returncode == 0


@pytest.mark.slow
@pytest.mark.usefixtures("modern")
def test_an_archive_ahead_of_the_promoted_standby_is_a_broken_chain(primary: Scribe) -> None:
    server = primary.cluster
    primary.settings["SCRIBE_FAILOVER"] = "on"  # and synchronized_standby_slots unset: nothing makes the stream wait
    with standby(server, sync_replication_slots="on") as follower:
        primary.run("scribe-init")
        primary.start_stream()
        write(server, 0, 100)
        synced = f"SELECT count(*) FROM pg_replication_slots WHERE slot_name = '{primary.slot}' AND NOT temporary"
        poll(lambda: follower.value(synced), 60, "the slot on the standby")
        follower.query("SELECT pg_wal_replay_pause()")
        follower.stop()  # it does not get what follows, and the archive does
        write(server, 100, 200)
        primary.run("scribe-rotate", "--wait-lsn", "current")
        primary.kill_streams()
        server.stop("immediate")
        follower.start()
        promote(follower)
        primary.cluster = follower
        follower.query("SELECT pg_switch_wal()")  # its WAL passes the end of the archive, as in use it soon does
        result = primary.run("scribe-stream", check=False)
        assert (result.returncode, "left it at" in result.stderr) == (1, True), result.stderr
        primary.run("scribe-init")
        primary.start_stream()
        write(follower, 300, 400)
        restore_and_compare(primary, follower)
