"""Power goes at any step of a rotation or of a start: what was not synced is gone, and nothing is lost or repeated.

Two file systems: one that keeps a name only once its directory is synced, and one that keeps every name at once and of
a file that was not synced nothing but its name. The server sends again what it has not been told is on disk.
"""

from __future__ import annotations

import itertools
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from aged import Aged
from archives import make_archive, transaction
from test_rotation import SAMPLE, TRANSACTIONS, Crash, archived

from scribe.archive.layout import Archive
from scribe.archive.removal import prune
from scribe.archive.retention import Policy
from scribe.common import files
from scribe.dump.setup import intent_path, repair
from scribe.restore.arrivals import Arrivals
from scribe.source.server import Server
from scribe.source.slot import Slot
from scribe.spool.contents import Scan, Spool, Tape, find_start
from scribe.stream import recovery
from scribe.stream.rotation import rotate

pytestmark = pytest.mark.unit

STEPS = ("rename", "replace", "unlink", "fsync", "truncate", "mkdir")
LATER = transaction(0x300)


class Disk:
    """What would be found under root if the power went now. names_last: names are kept without a sync of theirs."""

    def __init__(self, root: Path, *, names_last: bool) -> None:
        self.root = root
        self.names_last = names_last
        self.contents: dict[int, bytes] = {}  # by inode
        self.names: dict[int, dict[str, int]] = {}  # of a directory's inode
        self._held: list[int] = []  # descriptors, so that no inode is used again
        for path in [root, *root.rglob("*")]:
            self.sync(os.stat(path), path)

    def sync(self, status: os.stat_result, path: Path) -> None:
        """The file or directory at path is on disk as it is now."""
        self._held.append(os.open(path, os.O_RDONLY))
        if stat.S_ISDIR(status.st_mode):
            self.names[status.st_ino] = {entry.name: entry.inode() for entry in os.scandir(path)}
        else:
            self.contents[status.st_ino] = path.read_bytes()

    def lose_power(self, target: Path) -> None:
        """Write what is left to target."""
        self._write(os.stat(self.root).st_ino, self.root, target)
        for descriptor in self._held:
            os.close(descriptor)

    def _write(self, inode: int, path: Path | None, target: Path) -> None:
        known = self.names.get(inode)
        if self.names_last and path is not None:
            known = {entry.name: entry.inode() for entry in os.scandir(path)}
        if known is None:
            target.write_bytes(self.contents.get(inode, b""))
            return
        target.mkdir()
        for name, child in known.items():
            below = path / name if path is not None else None
            is_there = below is not None and below.exists() and os.stat(below).st_ino == child
            directory = child in self.names or (is_there and below is not None and below.is_dir())
            if directory and child not in self.names:
                self.names[child] = {}
            self._write(child, below if is_there and directory else None, target / name)


class Machine:
    """Stops at the step with a given number; until then it notes what is synced."""

    def __init__(self, patch: pytest.MonkeyPatch, disk: Disk, stop: int) -> None:
        self.disk, self.stop, self.steps = disk, stop, 0
        for name in STEPS:
            patch.setattr(os, name, self._wrap(name, getattr(os, name)))

    def _wrap(self, name: str, function: Callable[..., object]) -> Callable[..., object]:
        def step(*arguments: object, **named: object) -> object:
            self.steps += 1
            if self.steps >= self.stop:  # nothing happens on a machine that has stopped, clean-up code included
                raise Crash
            result = function(*arguments, **named)
            if name == "fsync":
                descriptor = arguments[0]
                self.disk.sync(os.fstat(descriptor), Path(os.readlink(f"/proc/self/fd/{descriptor}")))  # type: ignore[arg-type]
            return result

        return step


def start(archive: Archive) -> int:
    """What scribe-stream does before it starts a receiver; return the LSN it asks the server for."""
    recovery.tidy(archive)
    done = archive.archived_lsn()
    spool = Spool(archive.spool)
    with Tape(spool.paths()) as tape:
        return max(Scan(tape, find_start(tape, spool, done)).run().position, done)


def send(archive: Archive, position: int) -> None:
    """The server sends what is committed from position on."""
    with open(archive.spool / "stream.sql", "ab") as stream:
        stream.writelines(text for i, text in enumerate([*TRANSACTIONS, LATER]) if lsn_of(i) >= position)


def lsn_of(number: int) -> int:
    return 0x200 + 16 * number if number < len(TRANSACTIONS) else 0x300


def receive(archive: Archive, synced: bytes, rest: bytes) -> None:
    """The receiver writes, and syncs a part of it: so much may have been confirmed."""
    with open(archive.spool / "stream.sql", "ab") as stream:
        stream.write(synced)
        stream.flush()
        os.fsync(stream.fileno())
        stream.write(rest)


@pytest.mark.parametrize("names_last", [False, True])
def test_power_may_go_at_any_step_of_a_rotation_or_a_start(tmp_path: Path, names_last: bool) -> None:
    for stop in itertools.count(1):
        archive = make_archive(tmp_path / f"{stop}")
        receive(archive, b"".join(TRANSACTIONS[:2]) + TRANSACTIONS[2][:30], b"")
        rotate(archive, None)
        archive.record_cut(0x230)
        disk = Disk(archive.path, names_last=names_last)
        with pytest.MonkeyPatch.context() as patch:
            Machine(patch, disk, stop)
            try:
                receive(archive, TRANSACTIONS[2][30:] + b"".join(TRANSACTIONS[3:4]), b"".join(TRANSACTIONS[4:])[:-9])
                rotate(archive, None)
                start(archive)
                over = True
            except Crash:
                over = False
        disk.lose_power(tmp_path / f"{stop}-after")
        archive = Archive(tmp_path / f"{stop}-after")
        position = start(archive)
        if stop > 1:  # the first step is the receiver's sync
            assert position >= 0x238, stop  # what was synced may have been confirmed, and does not come again
        send(archive, position)
        rotate(archive, None)
        assert archived(archive) == SAMPLE + LATER, stop
        assert archive.pending_cuts() == [], stop
        for path in archive.incremental.iterdir():
            assert path.stat().st_size > 0 and not path.name.startswith(".tmp"), stop
        if over:
            break
    assert stop > 25


def test_power_may_go_after_a_rotation_that_follows_one_that_was_killed(tmp_path: Path) -> None:
    """What a killed rotation has named counts for the next one, which removes the parts that it stands for."""
    for stop in itertools.count(1):
        archive = make_archive(tmp_path / f"{stop}")
        receive(archive, b"".join(TRANSACTIONS), b"")
        disk = Disk(archive.path, names_last=False)
        with pytest.MonkeyPatch.context() as patch:
            Machine(patch, disk, stop)
            try:
                rotate(archive, None)
                over = True
            except Crash:
                over = False
        with pytest.MonkeyPatch.context() as patch:
            Machine(patch, disk, stop=1000)
            rotate(archive, None)
        disk.lose_power(tmp_path / f"{stop}-after")
        after = Archive(tmp_path / f"{stop}-after")
        assert start(after) == lsn_of(len(TRANSACTIONS) - 1) + 8, stop
        rotate(after, None)
        assert archived(after) == SAMPLE, stop
        if over:
            break
    assert stop > 10


SERVER = Server("1", 1, 0x1000, "shop", 5, "15.18", False)
SLOT = Slot("scribe_shop", "scribe_decoder", "shop", False, None, False, "reserved", "0/200", "", False)


@pytest.mark.parametrize("names_last", [False, True])
@pytest.mark.parametrize("begin", [recovery.tidy, lambda archive: recovery.recover(archive, SERVER, SLOT)])
def test_what_a_start_counts_on_is_on_disk(
    tmp_path: Path, begin: Callable[[Archive], object], names_last: bool
) -> None:
    """A receiver that was killed has not synced; the next one lets the server forget what comes before its own."""
    archive = make_archive(tmp_path / "archive")
    disk = Disk(archive.path, names_last=names_last)
    (archive.spool / "stream.sql").rename(archive.spool / "part-00000001.sql")
    (archive.spool / "part-00000001.sql").write_bytes(b"".join(TRANSACTIONS[:2]))
    (archive.spool / "stream.sql").write_bytes(b"".join(TRANSACTIONS[2:4]) + TRANSACTIONS[4][:30])
    with pytest.MonkeyPatch.context() as patch:
        Machine(patch, disk, stop=1000)
        begin(archive)
    disk.lose_power(tmp_path / "after")
    found = [path.read_bytes() for path in Spool(tmp_path / "after" / "spool").paths()]
    assert found == [b"".join(TRANSACTIONS[:2]), b"".join(TRANSACTIONS[2:4])]


def test_what_is_synced_into_a_new_spool_file_has_its_name_on_disk(tmp_path: Path) -> None:
    archive = make_archive(tmp_path / "archive")
    spool = Spool(archive.spool)
    disk = Disk(archive.path, names_last=False)
    with pytest.MonkeyPatch.context() as patch:
        Machine(patch, disk, stop=1000)
        os.rename(spool.stream, spool.next_part())
        spool.create_stream()
        receive(archive, TRANSACTIONS[0], b"")
    disk.lose_power(tmp_path / "after")
    assert Spool(tmp_path / "after" / "spool").stream.read_bytes() == TRANSACTIONS[0]


def test_what_was_removed_does_not_come_back(tmp_path: Path) -> None:
    archive = make_archive(tmp_path / "archive")
    archive.declare_broken("a reason", 0x200)
    disk = Disk(archive.path, names_last=False)
    with pytest.MonkeyPatch.context() as patch:
        Machine(patch, disk, stop=1000)
        files.remove_file(archive.path / "broken.json")
    disk.lose_power(tmp_path / "after")
    assert Archive(tmp_path / "after").broken() is None


def test_a_new_archive_is_on_disk_before_it_is_named(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    disk = Disk(place, names_last=False)
    with pytest.MonkeyPatch.context() as patch:
        Machine(patch, disk, stop=1000)
        Archive(place / "archive").create_directories()
    disk.lose_power(tmp_path / "after")
    made = {path.relative_to(place) for path in place.rglob("*")}
    assert {path.relative_to(tmp_path / "after") for path in (tmp_path / "after").rglob("*")} == made
    assert len(made) == 6


def test_what_a_copy_takes_from_the_spool_is_on_disk(tmp_path: Path) -> None:
    """Else a start of scribe-stream after a power cut would take back what the copy has."""
    archive = make_archive(tmp_path / "archive")
    identity = archive.identity()
    disk = Disk(archive.path, names_last=False)
    (archive.spool / "stream.sql").write_bytes(b"".join(TRANSACTIONS[:2]) + TRANSACTIONS[2][:30])
    arrivals = Arrivals(archive, identity["spool_id"], pytest.fail)
    with pytest.MonkeyPatch.context() as patch:
        Machine(patch, disk, stop=1000)
        arrivals.begin(0x100)
        tail = arrivals.look(0x100)
        assert tail is not None
        with tail:
            assert tail.stop == len(b"".join(TRANSACTIONS[:2]))
    disk.lose_power(tmp_path / "after")
    assert (tmp_path / "after/spool/stream.sql").read_bytes().startswith(b"".join(TRANSACTIONS[:2]))


def test_power_may_go_while_retention_relies_on_a_base_that_a_killed_program_has_named(tmp_path: Path) -> None:
    for stop in itertools.count(1):
        made = Aged(tmp_path / f"{stop}")
        made.add_base(0)
        made.add_segment(5)
        newest = made.add_base(10)
        made.add_segment(12)
        disk = Disk(made.path, names_last=False)
        del disk.names[os.stat(made.archive.bases_path).st_ino][newest]
        with pytest.MonkeyPatch.context() as patch:
            Machine(patch, disk, stop)
            try:
                prune(made.archive, Policy(1, 1, 0), None, confirm=True, now=made.now())
                over = True
            except Crash:
                over = False
        disk.lose_power(tmp_path / f"{stop}-after")
        assert Archive(tmp_path / f"{stop}-after").bases() != [], stop
        if over:
            break
    assert len(made.archive.bases()) == 1
    assert stop > 5


def test_power_may_go_after_the_repair_of_an_init_that_was_killed_at_its_end(tmp_path: Path) -> None:
    """archive.json names the new chain, and its name is not on disk: the record of what was begun stays until it is."""
    archive = make_archive(tmp_path / "archive")
    disk = Disk(archive.path, names_last=False)
    identity = archive.identity() | {"spool_id": "s2"}
    temporary = archive.path / "new"
    temporary.write_text(json.dumps(identity))
    disk.sync(os.stat(temporary), temporary)
    temporary.rename(archive.identity_path)
    Spool(archive.spool).write_id("s2")
    files.write_json(intent_path(archive), {"spool_id": "s2", "slot": "scribe_shop"})
    disk.sync(os.stat(archive.spool), archive.spool)
    with pytest.MonkeyPatch.context() as patch:
        Machine(patch, disk, stop=1000)
        repair(archive, None, None)  # type: ignore[arg-type]  # neither is asked, as all is there
    disk.lose_power(tmp_path / "after")
    after = Archive(tmp_path / "after")
    assert not intent_path(after).exists()
    assert after.identity()["spool_id"] == "s2"
