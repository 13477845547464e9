"""The world changes under an archive: each time the stream goes on exactly, or the chain is broken and all say so."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cluster import Cluster, poll, temporary_cluster
from compare import assert_equal
from source import Scribe
from standby import copy_cluster, promote

QUICK = {"SCRIBE_STATUS_INTERVAL": "1", "SCRIBE_FSYNC_INTERVAL": "1"}


@pytest.fixture
def shop(scribe: Scribe) -> Scribe:
    """A source with a row, its archive, a base; the stream is not running."""
    scribe.settings |= QUICK
    scribe.cluster.psql("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (0);", scribe.dbname)
    scribe.run("scribe-init")
    return scribe


def write(source: Scribe, *numbers: int) -> None:
    """One row, one transaction for each number."""
    for number in numbers:
        source.cluster.query(f"INSERT INTO t VALUES ({number})", source.dbname)


def wait_for_confirmation(source: Scribe) -> None:
    """Return once the slot has been told that everything so far is on disk."""
    confirmed = "SELECT confirmed_flush_lsn >= '{}' FROM pg_replication_slots WHERE slot_name = '{}'"
    now = source.cluster.value("SELECT pg_current_wal_lsn()::text")
    poll(lambda: source.cluster.value(confirmed.format(now, source.slot)), 20, "a confirmation")


def goes_on(source: Scribe, number: int) -> None:
    """Stream, rotate, restore beside the source, compare."""
    source.start_stream()
    write(source, number)
    source.run("scribe-rotate", "--wait-lsn", "current")
    assert source.stop_stream() == 0
    source.run("scribe-restore", "-d", "goes_on", "--no-globals")
    try:
        assert_equal(source.cluster.dump(source.dbname), source.cluster.dump("goes_on"))
    finally:
        source.cluster.dropdb("goes_on")


def is_broken(source: Scribe, why: str) -> None:
    """The stream refuses, and the archive and scribe-check say so."""
    result = source.run("scribe-stream", check=False)
    assert (result.returncode, why in result.stderr) == (1, True), result.stderr
    assert why in json.loads((source.archive / "broken.json").read_text())["reason"]
    again = source.run("scribe-stream", check=False)
    assert (again.returncode, "the chain is broken" in again.stderr) == (1, True)
    check = source.run("scribe-check", "--only", "chain", check=False)
    assert check.returncode == 2, check.stdout


def begins_anew(source: Scribe) -> None:
    """scribe-init begins a new chain, which works."""
    source.run("scribe-init")
    assert not (source.archive / "broken.json").exists()
    goes_on(source, 1000)


def test_a_renamed_database_is_followed(shop: Scribe) -> None:
    shop.start_stream()
    write(shop, 1)
    assert shop.stop_stream() == 0
    name, shop.settings["SCRIBE_SLOT"] = shop.dbname, shop.slot
    shop.cluster.query(f"ALTER DATABASE {name} RENAME TO {name}_new")
    shop.dbname = f"{name}_new"
    goes_on(shop, 2)
    shop.run("scribe-dump")  # whose base is the archive's, for retention, too
    shop.run("scribe-verify", "--read", "all")
    shop.cluster.query(f"SELECT pg_drop_replication_slot('{shop.slot}')")
    is_broken(shop, "does not exist")
    begins_anew(shop)
    shop.run("scribe-verify", "--read", "all")
    meta = json.loads((max((shop.archive / "base").iterdir()) / "meta.json").read_text())
    assert meta["database"] == shop.dbname


def test_a_database_made_anew_under_its_name_begins_a_new_chain(shop: Scribe) -> None:
    shop.start_stream()
    write(shop, 1)
    shop.run("scribe-rotate", "--wait-lsn", "current")
    assert shop.stop_stream() == 0
    shop.cluster.dropdb(shop.dbname)
    shop.cluster.createdb(shop.dbname)
    shop.cluster.psql("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (-1);", shop.dbname)
    is_broken(shop, "was dropped and created again")
    begins_anew(shop)


def test_a_slot_that_went_breaks_the_chain(shop: Scribe) -> None:
    shop.cluster.query(f"SELECT pg_drop_replication_slot('{shop.slot}')")
    is_broken(shop, "does not exist")


def test_a_slot_made_anew_with_another_plugin_breaks_the_chain(shop: Scribe) -> None:
    shop.cluster.query(f"SELECT pg_drop_replication_slot('{shop.slot}')")
    shop.cluster.query(f"SELECT pg_create_logical_replication_slot('{shop.slot}', 'test_decoding')", shop.dbname)
    result = shop.run("scribe-stream", check=False)
    assert (result.returncode, "is another one" in result.stderr) == (1, True)
    assert (shop.archive / "broken.json").exists()


def test_a_deleted_spool_with_what_was_confirmed_breaks_the_chain(shop: Scribe) -> None:
    shop.start_stream()
    write(shop, 1)
    wait_for_confirmation(shop)
    assert shop.stop_stream() == 0
    shutil.rmtree(shop.archive / "spool")
    is_broken(shop, "the spool is gone")


def test_an_archive_may_be_moved(shop: Scribe) -> None:
    shop.start_stream()
    write(shop, 1, 2)
    assert shop.stop_stream() == 0
    shop.archive = shop.archive.rename(shop.archive.with_name("moved"))
    goes_on(shop, 3)


@pytest.mark.slow
def test_of_two_copies_of_an_archive_one_breaks(shop: Scribe, tmp_path: Path) -> None:
    shop.start_stream()
    write(shop, 1)
    assert shop.stop_stream() == 0
    left = tmp_path / "left"
    shutil.copytree(shop.archive, left)
    shop.start_stream()
    write(shop, 2)
    wait_for_confirmation(shop)  # now this one has what the other one will never get
    assert shop.stop_stream() == 0
    shop.archive = left
    is_broken(shop, "moved by somebody else")
    begins_anew(shop)


def test_a_clock_that_was_set_back_changes_nothing(shop: Scribe) -> None:
    shop.start_stream()
    write(shop, 1)
    shop.run("scribe-rotate", "--wait-lsn", "current")
    assert shop.stop_stream() == 0
    future = (datetime.now(UTC) + timedelta(days=400)).strftime("%Y%m%dT%H%M%SZ")
    (base,) = (shop.archive / "base").iterdir()
    manifest = json.loads((base / "manifest.json").read_text())
    (base / "manifest.json").write_text(json.dumps(manifest | {"stamp": future}))
    base.rename(base.with_name(future))
    for path in list((shop.archive / "incremental").iterdir()):
        named = path.with_name(future + path.name[16:])
        if path.suffix == ".json":
            manifest = json.loads(path.read_text())
            path.write_text(json.dumps(manifest | {"file": future + manifest["file"][16:]}))
        path.rename(named)
    goes_on(shop, 2)
    names = sorted(path.name for path in (shop.archive / "incremental").glob("*.json"))
    assert [name[17:] for name in names] == sorted(name[17:] for name in names)
    shop.run("scribe-dump", "--no-prune")
    assert max(path.name for path in (shop.archive / "base").iterdir()) > future
    goes_on(shop, 3)


@pytest.fixture
def copied(tmp_path: Path) -> Iterator[tuple[Scribe, Cluster]]:
    """A source, and a physical backup of its server as it was before the archive went on."""
    with temporary_cluster(wal_keep_size="128MB") as server:
        server.createdb("shop")
        source = Scribe(server, "shop", tmp_path / "archive", QUICK)
        server.psql("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (0);", "shop")
        source.run("scribe-init")
        copy = copy_cluster(server)
        try:
            source.start_stream()
            write(source, 1, 2, 3)
            # further than what a server writes by itself at its start
            server.query("INSERT INTO t SELECT generate_series(100, 1500)", "shop")
            source.run("scribe-rotate", "--wait-lsn", "current")
            assert source.stop_stream() == 0
            server.stop("immediate")
            yield source, copy
        finally:
            source.kill_streams()
            copy.remove()


@pytest.mark.slow
def test_a_server_restored_from_a_physical_backup_breaks_the_chain(copied: tuple[Scribe, Cluster]) -> None:
    source, copy = copied
    (copy.data / "standby.signal").touch()  # recover what the backup holds, then a new timeline
    copy.start()
    promote(copy)
    source.cluster = copy
    # its WAL passes the end of the archive
    source.cluster.query("INSERT INTO t SELECT generate_series(2000, 7000)", source.dbname)
    is_broken(source, "does not exist")  # pg_basebackup leaves slots out
    begins_anew(source)


@pytest.mark.slow
def test_a_server_that_lost_its_newest_wal_breaks_the_chain_on_record(copied: tuple[Scribe, Cluster]) -> None:
    """A file system snapshot put back: same timeline, slots and all, but older than the archive."""
    source, copy = copied
    shutil.rmtree(copy.data / "pg_replslot")
    shutil.copytree(source.cluster.data / "pg_replslot", copy.data / "pg_replslot")
    if copy.user:
        _give(copy.data / "pg_replslot", copy)
    copy.start()
    source.cluster = copy
    is_broken(source, "the server is older than the archive")
    result = source.run("scribe-init", check=False)
    assert (result.returncode, "a new chain cannot follow that archive" in result.stderr) == (2, True)
    source.archive.rename(source.archive.with_name("aside"))
    source.run("scribe-init", "--remove")
    begins_anew(source)


def _give(path: Path, owner: Cluster) -> None:
    assert owner.user is not None
    for place in (path, *path.rglob("*")):
        shutil.chown(place, owner.user.pw_uid, owner.user.pw_gid)
