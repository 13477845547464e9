"""What an archive has for a copy that follows it: finished segments, and whole transactions in the spool.

Segments come first, and the spool's closed files wait for theirs: what a rotation adds to a segment (large objects,
sequences) is in no transaction, and has its place before the transactions of the next one. What is taken from the spool
is put on disk first: no power cut can take from the archive what a copy holds.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Any, cast

from scribe.archive.chains import check_segment, describe_break
from scribe.archive.layout import Archive, Segment
from scribe.archive.manifest import read_manifest
from scribe.archive.pruned import read_pruned
from scribe.archive.segments import Event, Reader
from scribe.common.dialect import COMMIT_PREFIX, parse_commit
from scribe.common.errors import ScribeError, TryAgainError, UsageError
from scribe.common.lsn import format_lsn, parse_lsn
from scribe.decoders.registry import decoder_of
from scribe.restore.spool_tail import BlockStream
from scribe.spool.concatenation import FRAME, Key, Tape, key_of
from scribe.spool.contents import Spool

TRIES = 100  # looks at the spool's names, which a rotation changes
_COMMIT = b"\n" + COMMIT_PREFIX
NEW_COPY = "What follows cannot continue this copy: restore into a new database, or promote this one as it is."


@dataclass
class Tail:
    """Whole transactions in the spool, between two offsets of a tape. Use as a context manager."""

    tape: Tape
    start: int
    stop: int

    def __enter__(self) -> Tail:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.tape.close()

    def events(self) -> Iterator[Event]:
        """Read them."""
        stream = cast(IO[bytes], BlockStream(self.tape.blocks(self.start, self.stop)))
        return Reader(stream, "the spool").events()


@dataclass
class Arrivals:
    """What arrives in an archive's present chain. spool_id: the chain's; warn: reports something, once."""

    archive: Archive
    spool_id: str | None
    warn: Callable[[str], None]
    last: Segment | None = None  # the last one that was taken
    waits: bool = False  # for a rotation that has closed files and made no segment of them yet
    _chain_from: int = 0
    _after: int = 0  # segments that end there or before are not wanted
    _again: Segment | None = None  # the copy stands at its end, and may lack what a rotation added to it
    _names: tuple[int, list[str]] = (0, [])  # modification time of the directory, and what is in it
    _place: tuple[Key, int] | None = None  # file and offset at which the last transaction taken from the spool ends
    _quiet: tuple[Key, int] | None = None  # file, and offset up to which nothing in it is new
    _damage: str | None = None

    # The chain

    def identity(self) -> dict[str, Any]:
        """Return archive.json. Raises ScribeError if the archive's stream began again, or is another's."""
        try:
            identity = self.archive.identity()
        except UsageError as error:  # it was there: its file system may be mounted again
            raise TryAgainError(error.message, error.hint) from None
        if identity["spool_id"] != self.spool_id:
            raise ScribeError(
                f"the stream began again at {identity['chain_from_lsn']}, and what lies between is not in the archive",
                NEW_COPY,
            )
        return identity

    def begin(self, position: int) -> None:
        """Find the place at which a copy stands. Raises ScribeError if nothing continues it."""
        identity = self.identity()
        self._chain_from = parse_lsn(identity["chain_from_lsn"])
        if position < self._chain_from:
            raise ScribeError(
                f"the copy stands at {format_lsn(position)}, and the stream began again at"
                f" {format_lsn(self._chain_from)}",
                NEW_COPY,
            )
        self._place = self._quiet = None
        self.waits = False
        before = [name for name in self._segment_names() if self._chain_from < _end(name) <= position]
        self.last = self._read(before[-1]) if before else None
        self._again = self.last if self.last is not None and self.last.to_lsn == position else None
        self._after = self.last.to_lsn if self.last is not None else max(position, self._chain_from)

    def next_segment(self, position: int) -> Segment | None:
        """Return the segment to be taken next, None where none is there yet. Raises ScribeError for a gap."""
        if self._again is not None:
            return self._again
        name = next((name for name in self._segment_names() if _end(name) > self._after), None)
        if name is None:
            return None
        segment = self._read(name)
        identity = self.identity()
        check_segment(segment, identity)
        reason = describe_break(self.last, segment)
        if self.last is None and segment.from_lsn > position:
            gap = f"between {format_lsn(position)} and {format_lsn(segment.from_lsn)}"
            pruned = segment.from_lsn <= read_pruned(self.archive).to_lsn
            reason = f"scribe-prune has removed the segments {gap}" if pruned else f"a segment is missing {gap}"
        if reason is not None:
            raise ScribeError(f"could not follow beyond {format_lsn(position)}: {reason}", NEW_COPY)
        return segment

    def took(self, segment: Segment) -> None:
        """Remember that a segment was applied."""
        self.last, self._again, self._after = segment, None, segment.to_lsn

    def refuse_broken(self, position: int) -> None:
        """Raise ScribeError if nothing more will come: called when nothing is left."""
        self.identity()
        known = self.archive.broken()
        if known is not None:
            raise ScribeError(
                f"the archive's chain is broken after {known.get('lsn')} since {known.get('since')}:"
                f" {known.get('reason')}; the copy stands at {format_lsn(position)}",
                NEW_COPY,
            )

    def _segment_names(self) -> list[str]:
        """Return the segments' names; the directory is read again only if it was changed, or that may not show yet."""
        changed = os.stat(self.archive.incremental).st_mtime_ns
        if self._names[0] != changed:
            names = self.archive.segment_names()
            settled = changed < time.time_ns() - 1_000_000_000  # a change within the clock's tick has the same time
            self._names = (changed if settled else 0, names)
        return self._names[1]

    def _read(self, name: str) -> Segment:
        path = self.archive.incremental / name
        try:
            return Segment(path, read_manifest("segment", path))
        except FileNotFoundError:  # scribe-prune was quicker: the next look tells
            self._names = (0, [])
            raise TryAgainError(f'segment "{name}" has just been removed') from None

    # The spool

    @property
    def takes_spool(self) -> bool:
        """Whether the spool's transactions can be taken before a rotation has made a segment of them."""
        return self.archive.spool.is_dir() and decoder_of(self.archive.identity()).plain

    def look(self, position: int) -> Tail | None:
        """Return what the spool has beyond position, durably; None if there is nothing, or a segment comes first."""
        spool = Spool(self.archive.spool)
        if not self._has_news(spool):
            return None
        tape = open_tape(spool)
        try:
            tail = self._cut(spool, tape, position)
        except BaseException:
            tape.close()
            raise
        if tail is None:
            tape.close()
        return tail

    def took_tail(self, tail: Tail) -> None:
        """Remember where the copy stands in the spool."""
        key, start, _ = next(each for each in tail.tape.inodes() if each[2] >= tail.stop)
        self._place = (key, tail.stop - start)

    def _cut(self, spool: Spool, tape: Tape, position: int) -> Tail | None:
        # after the files were opened: they cannot be of another chain, and what they lack is in segments
        if spool.read_id() != self.spool_id:
            self.identity()
            raise TryAgainError(f'the spool in "{spool.path}" is not the one archive.json names')
        self._names = (0, [])
        archived = self.last.to_lsn if self.last is not None else self._chain_from
        if self._again is not None or any(_end(name) > self._after for name in self._segment_names()):
            return None
        start, known = self._find(spool, tape, position, archived)
        stop = self._find_end(tape, start, known, archived)
        if stop > start:
            tape.sync()
            return Tail(tape, start, stop)
        keys = tape.inodes()
        self._quiet = (keys[-1][0], keys[-1][2] - keys[-1][1]) if keys and not self.waits else None
        return None

    def _find(self, spool: Spool, tape: Tape, position: int, archived: int) -> tuple[int, int]:
        """Return from where to read, and the LSN of what ends there. Raises ScribeError if that is not in the spool."""
        if self._place is not None:
            for key, start, end in tape.inodes():
                offset = start + self._place[1]
                if key == self._place[0] and offset <= end and _ends_at(tape, offset, position):
                    return offset, position
        decoder = decoder_of(self.archive.identity())
        start = decoder.find_start(tape, spool, archived)
        if position <= archived:
            return start, 0
        for transaction in decoder.scan(tape, start):
            if transaction.end_lsn >= position:
                if transaction.end_lsn == position:
                    return transaction.stop, position
                break
        raise ScribeError(
            f"the copy stands at {format_lsn(position)}, which is neither in a segment nor in the spool", NEW_COPY
        )

    def _find_end(self, tape: Tape, start: int, known: int, archived: int) -> int:
        """Return the end of what may be taken: only of what is in closed files, while a rotation is to take that."""
        decoder = decoder_of(self.archive.identity())
        stream = self.archive.spool / "stream.sql"
        closed = max((end for path, end in tape.ends() if path.name != stream.name), default=0)
        whole, tape.size = tape.size, min(tape.size, max(closed, start))
        scan = decoder.scan(tape, start, known).run()
        tape.size = whole
        self.waits = closed >= start and scan.position > archived
        if not self.waits and scan.damage is None:
            scan = decoder.scan(tape, scan.end, scan.position).run()
        if scan.damage is not None and scan.damage != self._damage:
            place = tape.place(scan.end)
            self.warn(
                f'spool file "{place.path}" is damaged after byte {place.offset}: {scan.damage};'
                " waiting for scribe-stream, which cuts it when it starts"
            )
        self._damage = scan.damage
        return scan.end

    def _has_news(self, spool: Spool) -> bool:
        """Whether a transaction may have ended in the spool since nothing was found there: each byte is read once."""
        if self._quiet is None:
            return True
        key, offset = self._quiet
        try:
            with Tape([spool.stream]) as tape:
                if tape.inodes()[0][0] != key or tape.size < offset:
                    return True
                if _commits_after(tape, offset):
                    return True
                self._quiet = (key, tape.size)
        except FileNotFoundError:
            return True
        return False


def open_tape(spool: Spool) -> Tape:
    """Open the spool's files as they are at one moment, though a rotation may rename them. Raises TryAgainError."""
    for _ in range(TRIES):
        try:
            paths = spool.paths()
            tape = Tape(paths)
        except FileNotFoundError:
            continue
        try:
            same = paths == spool.paths() and [key for key, _, _ in tape.inodes()] == [key_of(p.stat()) for p in paths]
        except FileNotFoundError:
            same = False
        if same:
            return tape
        tape.close()
    raise TryAgainError(f'the names in "{spool.path}" do not settle', "See what renames or removes files there.")


def _ends_at(tape: Tape, offset: int, position: int) -> bool:
    """Whether the transaction that ends at position (LSN) ends at an offset."""
    before = b"".join(tape.blocks(max(0, offset - FRAME), offset))
    return parse_commit(before[before.rfind(b"\n", 0, len(before) - 1) + 1 :]) == position


def _commits_after(tape: Tape, offset: int) -> bool:
    """Whether a line that looks like a COMMIT ends at offset or later."""
    base = max(0, offset - FRAME)
    data = b""
    for block in tape.blocks(base):
        data += block
        last = data.rfind(_COMMIT)
        newline = data.find(b"\n", last + 1) if last >= 0 else -1
        if newline >= 0 and base + newline >= offset:
            return True
        base, data = base + max(0, len(data) - FRAME), data[-FRAME:]
    return False


def _end(name: str) -> int:
    return int(name[17:33], 16)
