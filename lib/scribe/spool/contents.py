"""The spool: what pg_recvlogical has written and no segment holds yet.

Its files, read in order as one tape, are transactions in commit order; only the end may be torn. Everything here
finds whole transactions by the frames at line beginnings (docs/format.md, section 3); nothing parses SQL.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Iterator
from operator import le, lt
from pathlib import Path
from typing import Any, NamedTuple

from scribe.common import files
from scribe.common.dialect import BEGIN_PREFIX, COMMIT_PREFIX, parse_begin, parse_commit
from scribe.common.errors import ScribeError
from scribe.spool.concatenation import FRAME, Place, Tape

__all__ = [  # Tape and what goes with it are the spool's to its users
    "FRAME",
    "Batch",
    "Place",
    "Scan",
    "Spool",
    "Tape",
    "Transaction",
    "alone",
    "cut",
    "find_start",
    "frames_after",
    "part_number",
    "read_transactions",
    "sync",
]
_PART = re.compile(r"^part-(\d{8,})\.sql$")
_COMMIT = b"\n" + COMMIT_PREFIX
_BEGIN = b"\n" + BEGIN_PREFIX
# What stands between two transactions: upper and lower half of the end LSN, then of the next one's commit LSN.
_LSN = b"([0-9A-F]{1,8})/([0-9A-F]{1,8})"
_END = rb"\nCOMMIT; -- end %b\n"
_NEXT = rb"BEGIN; -- xid [0-9]+ commit %b time [0-9][-0-9:. +BC]{25,40}(?=\n)"
_BETWEEN = re.compile(_END % _LSN + b"(?:" + _NEXT % _LSN + b")?")
_BETWEEN_TWO = re.compile((_END + _NEXT) % (_LSN, _LSN))
_FRAMES = re.compile(rb"\n((?:BEGIN; -- xid|COMMIT; -- end) [^\n]*)(?=\n)")
TAIL = 1 << 20  # bytes at the end of the spool in which the last transaction's end is looked for
FEW = 16  # transactions, two at least; fewer in a block are looked at one by one
SHORT = 64 << 10  # bytes; after a longer transaction no more than a few are expected in a block
_HINT = "Stop scribe-stream and start it again: it cuts what is damaged and asks the server for it once more."


class Transaction(NamedTuple):
    """A whole transaction: where it is on the tape, and its place in the WAL."""

    start: int  # tape offset of its BEGIN line
    stop: int  # tape offset after its COMMIT line
    commit_lsn: int
    end_lsn: int


class Batch(NamedTuple):
    """Whole transactions that follow each other, at least one."""

    start: int  # tape offset of the first one's BEGIN line
    stop: int  # tape offset after the last one's COMMIT line
    commit_lsn: int  # of the first
    end_lsn: int  # of the last
    last_start: int  # tape offset of the last one's BEGIN line
    last_commit_lsn: int
    size: int  # how many
    each: Callable[[], Iterator[Transaction]]  # one by one


def alone(transaction: Transaction) -> Batch:
    """Return a transaction as a batch of its own."""
    start, _, commit_lsn, _ = transaction
    return Batch(*transaction, start, commit_lsn, 1, lambda: iter((transaction,)))


class Spool:
    """The names in a spool directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stream = path / "stream.sql"
        self.identity_path = path / "spool.json"
        self.state_path = path / "state.json"
        self.processes_path = path / "stream.json"
        self.bounds_path = path / "bounds.json"
        self.stream_lock = path / "stream.lock"
        self.rotate_lock = path / "rotate.lock"

    def parts(self) -> list[Path]:
        """Return the closed files in order. Raises ScribeError when one in the middle is missing."""
        found = sorted((int(m[1]), e.name) for e in os.scandir(self.path) if (m := _PART.match(e.name)))
        for (before, _), (number, name) in zip(found, found[1:], strict=False):
            if number != before + 1:
                raise ScribeError(f'the file before "{self.path / name}" is missing')
        return [self.path / name for _, name in found]

    def paths(self) -> list[Path]:
        """Return all files in order, the one being written last."""
        return self.parts() + ([self.stream] if self.stream.exists() else [])

    def next_part(self) -> Path:
        """Return the name for the next closed file; numbers are not used again."""
        used = [part_number(path) for path in self.parts()]
        hints = [int(_read_hint(path).get("part", 0)) for path in (self.state_path, self.bounds_path)]
        return self.path / f"part-{max(used + hints) + 1:08d}.sql"

    def read_id(self) -> str | None:
        """Return the identity this spool was made with, or None when it has none."""
        try:
            value = files.read_json(self.identity_path)
        except FileNotFoundError:
            return None
        return str(value.get("spool_id", value.get("id"))) if isinstance(value, dict) else None

    def write_id(self, spool_id: str) -> None:
        """Give the spool its identity, durably: the one that archive.json names."""
        files.write_json(self.identity_path, {"spool_id": spool_id})

    def reset(self, spool_id: str) -> None:
        """Forget what is in the spool and give it a new identity; for whoever starts a new chain, under both locks."""
        hints = [self.state_path, self.bounds_path, self.processes_path]
        for path in [self.identity_path, *reversed(self.parts()), self.stream, *hints]:
            files.remove_file(path)
        self.create_stream()
        self.write_id(spool_id)

    def create_stream(self) -> None:
        """Make sure, durably, that the file exists which pg_recvlogical appends to."""
        os.close(os.open(self.stream, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, files.FILE_MODE))
        files.sync_directory(self.path)

    def read_state(self) -> dict[str, Any]:
        """Return what the last rotation left as a hint; {} when there is nothing usable."""
        return _read_hint(self.state_path)

    def read_processes(self) -> dict[str, Any]:
        """Return what scribe-stream says of itself; {} when it never ran."""
        return _read_hint(self.processes_path)


def _read_hint(path: Path) -> dict[str, Any]:
    try:
        value = files.read_json(path)
    except (FileNotFoundError, ScribeError):
        return {}
    return value if isinstance(value, dict) else {}


def part_number(path: Path) -> int:
    """Return the number in the name of a closed file, 0 for any other."""
    match = _PART.match(path.name)
    return int(match[1]) if match else 0


def _walk(data: bytes, at: int, stop: int, base: int, first: Transaction) -> Iterator[Transaction]:
    """Yield the transactions of a batch. first: its first one, as far as its BEGIN line says."""
    start, _, opened, _ = first
    for match in _BETWEEN_TWO.finditer(data, at, stop):
        high, low, next_high, next_low = match.groups()
        end = base + match.end(2) + 1
        yield Transaction(start, end, opened, int(high, 16) << 32 | int(low, 16))
        start, opened = end, int(next_high, 16) << 32 | int(next_low, 16)


@functools.lru_cache(maxsize=4)
def _between_two(high: bytes, digits: int) -> re.Pattern[bytes]:
    """Return _BETWEEN_TWO for LSNs with this upper half and so many digits in the lower one, of which it tells."""
    lsn = b"%b/([0-9A-F]{%d})" % (high, digits)
    return re.compile((_END + _NEXT) % (lsn, lsn))


def _last_between(data: bytes, at: int) -> re.Match[bytes] | None:
    """Return the last place in data, from at on, where a transaction ends and a next one begins."""
    last = data.rfind(_COMMIT, at)
    match = _BETWEEN_TWO.match(data, last) if last >= 0 else None
    if match is None and last >= 0 and (last := data.rfind(_COMMIT, at, last)) >= 0:  # that BEGIN line may be torn
        match = _BETWEEN_TWO.match(data, last)
    return match


class Scan:
    """The whole transactions on a tape from an offset on, in order, in constant memory.

    Read it once; afterwards `end` is the offset after the last whole transaction, `position` its end LSN
    (or the one given), and `damage` says why reading stopped before the end of the tape, None for a mere torn end.
    """

    def __init__(self, tape: Tape, start: int, position: int = 0, tick: Callable[[], None] = lambda: None) -> None:
        self.tape = tape
        self.start = start
        self.end = start
        self.position = position
        self.damage: str | None = None
        self._tick = tick
        self._high = (b"0", 0)  # the upper half of the last LSN, as text and as a number

    def __iter__(self) -> Iterator[Transaction]:
        for batch in self.batches():
            yield from batch.each()

    def batches(self) -> Iterator[Batch]:
        """Yield the transactions: many at a time where they are short, and not a step has to be taken for each."""
        data, at, base = b"", 0, self.end
        opened = -1  # commit LSN of the transaction that at stands in, -1 between two
        for block in self.tape.blocks(self.end):
            self._tick()
            hole = block.find(0)
            data, at, base = data[at:] + (block if hole < 0 else block[:hole]), 0, base + at
            leapt = False
            while self.damage is None:
                if opened < 0:
                    opened, at = self._begin(data, at)
                    if opened < 0:
                        break
                commit = data.find(_COMMIT, at)
                match = _BETWEEN.match(data, commit) if commit >= 0 else None
                if data.find(_BEGIN, at, len(data) if match is None else commit) >= 0:
                    self.damage = "a transaction begins before the one before it ends"
                elif match is None:
                    at = commit if commit >= 0 else max(at, len(data) - FRAME)
                    if len(data) - at > FRAME:
                        self.damage = "a COMMIT line is not one"
                    break
                else:
                    high, low, next_high, next_low = match.groups()
                    end_lsn = self._lsn(high, low)
                    if end_lsn <= opened:
                        self.damage = "a transaction ends before it is committed"
                        break
                    start, at = self.end, match.end(2) + 1
                    self.end, self.position = base + at, end_lsn
                    yield alone(Transaction(start, self.end, opened, end_lsn))
                    opened = -1
                    if next_low is None:
                        continue
                    opened, at = self._follow(self._lsn(next_high, next_low)), match.end()
                    if not leapt and self.end - start < SHORT and self.damage is None:
                        leapt = True
                        if (leap := self._leap(data, at, base, opened)) is not None:
                            batch, opened, at = leap
                            yield batch
            if hole >= 0 and self.damage is None:
                self.damage = "there are zero bytes"
            if self.damage is not None:
                return

    def _leap(self, data: bytes, at: int, base: int, opened: int) -> tuple[Batch, int, int] | None:
        """Pass over all transactions in data from at on but the last; None where one might not be as it should.

        What is passed over is what the steps of batches() would accept: every line that begins as a frame belongs to
        an end and a beginning that follow each other, and the LSNs are in order. Returns the batch, the commit LSN of
        the transaction after it, and where that one's BEGIN line ends. data, base: at offset base on the tape.
        """
        last = _last_between(data, at)
        if last is None:
            return None
        high, end, _, next_low = last.groups()
        stop, count = last.end(), data.count(_COMMIT, at, last.end())
        if count < FEW or data.count(_BEGIN, at, stop) != count:
            return None
        found = _between_two(high, len(end)).findall(data, at, stop + 1)
        if len(found) != count:
            return None
        ends, commits = zip(*found, strict=True)  # hexadecimal digits of one length compare as their numbers do
        if not (all(map(le, ends, commits)) and all(map(lt, commits, ends[1:])) and opened < self._lsn(high, ends[0])):
            return None
        start, self.end, self.position = self.end, base + last.end(2) + 1, self._lsn(high, end)
        last_start = base + data.rfind(_BEGIN, at, last.start() + 1) + 1
        each = functools.partial(_walk, data, at, stop + 1, base, Transaction(start, start, opened, 0))
        last_commit = self._lsn(high, commits[-2])
        batch = Batch(start, self.end, opened, self.position, last_start, last_commit, count, each)
        return batch, self._lsn(high, next_low), stop

    def _lsn(self, high: bytes, low: bytes) -> int:
        if high != self._high[0]:
            self._high = (high, int(high, 16) << 32)
        return self._high[1] | int(low, 16)

    def _follow(self, commit_lsn: int) -> int:
        if commit_lsn < self.position:
            self.damage = "a transaction comes after one that was committed later"
        return commit_lsn

    def _begin(self, data: bytes, at: int) -> tuple[int, int]:
        """Return the commit LSN in the BEGIN line at `at` and where that line's newline is; -1 where it is torn."""
        newline = data.find(b"\n", at, at + FRAME)
        begin = parse_begin(data[at : newline + 1]) if newline >= 0 else None
        if begin is not None:
            return self._follow(begin.commit_lsn), newline
        if newline >= 0 or len(data) - at >= FRAME:
            self.damage = "a BEGIN line is not one"
        return -1, at

    def run(self) -> Scan:
        """Read to the end for what this object then says of it."""
        for _ in self:
            pass
        return self

    def refuse_damage(self) -> None:
        """Raise ScribeError if reading stopped at something that is not a torn end."""
        if self.damage is not None:
            place = self.tape.place(self.end)
            raise ScribeError(f'spool file "{place.path}" is damaged after byte {place.offset}: {self.damage}', _HINT)


def find_start(tape: Tape, spool: Spool, archived: int) -> int:
    """Return the tape offset of a transaction's beginning such that everything before it is archived.

    archived: LSN up to which segments hold everything. The hint of the last rotation is used only if what stands
    before it is the end of an archived transaction. Raises ScribeError when the tape begins within another one.
    """
    hint = spool.read_state()
    if isinstance(hint.get("file"), str) and isinstance(hint.get("offset"), int):
        offset = tape.offset(spool.path / hint["file"], hint["offset"])
        if offset and _ends_archived(tape, offset, archived):
            return offset
    return _skip_remainder(tape, archived)


def _ends_archived(tape: Tape, offset: int, archived: int) -> bool:
    before = b"".join(tape.blocks(max(0, offset - FRAME), offset))
    end = parse_commit(before[before.rfind(b"\n", 0, len(before) - 1) + 1 :])
    return end is not None and end <= archived


def _skip_remainder(tape: Tape, archived: int) -> int:
    """Return where the first transaction begins on a tape whose earlier parts, with the beginning of one, are gone."""
    data, base = b"\n", -1
    for block in tape.blocks(0):
        data += block
        if base == -1 and (data[1:].startswith(BEGIN_PREFIX) or BEGIN_PREFIX.startswith(data[1:])):
            return 0
        commit = data.find(_COMMIT)
        newline = data.find(b"\n", commit + 1) if commit >= 0 else -1
        if newline >= 0:
            end = parse_commit(data[commit + 1 : newline + 1])
            if end is None or end > archived:
                raise ScribeError(f'the beginning of the spool is missing: "{tape.place(0).path}" starts too late')
            return base + newline + 1
        if data.find(0) >= 0:
            return 0
        keep = len(data) - FRAME if commit < 0 else commit
        data, base = data[max(0, keep) :], base + max(0, keep)
    return 0


def find_last_end(spool: Spool) -> int | None:
    """Return the end LSN of the last transaction if it stands near the end of the files, else None."""
    with Tape(spool.paths()) as tape:
        data = b"\n" + b"".join(tape.blocks(max(0, tape.size - TAIL)))
    last = data.rfind(_COMMIT)
    while last >= 0:
        end = parse_commit(data[last + 1 : data.find(b"\n", last + 1) + 1])
        if end is not None:
            return end
        last = data.rfind(_COMMIT, 0, last)
    return None


def frames_after(tape: Tape, offset: int, position: int) -> int | None:
    """Return the lowest LSN past position in the frames that cutting at offset removes, or None if there are none.

    A server that has had this LSN confirmed does not send that transaction again.
    """
    lowest: int | None = None
    data = b"\n"  # offset is the beginning of a line
    for block in tape.blocks(offset):
        data += block
        for match in _FRAMES.finditer(data):
            line = match[1] + b"\n"
            begin, end = parse_begin(line), parse_commit(line)
            lsn = begin.commit_lsn if begin else end - 1 if end else None
            if lsn is not None and lsn >= position and (lowest is None or lsn < lowest):
                lowest = lsn
        data = data[-FRAME:]
    return lowest


def cut(spool: Spool, place: Place) -> None:
    """Remove everything after place: later files, the newest first, then what is left in its own."""
    paths = spool.paths()
    names = [path.name for path in paths]
    for path in reversed(paths[names.index(place.path.name) + 1 :]):
        path.unlink()
        files.sync_directory(spool.path)
    if os.path.getsize(place.path) > place.offset:
        os.truncate(place.path, place.offset)


def sync(spool: Spool) -> None:
    """Put everything in the spool on disk, the names too."""
    for path in spool.paths():
        files.sync_file(path)
    files.sync_directory(spool.path)


def read_transactions(path: Path, after: int) -> Iterator[bytes]:
    """Yield, in blocks, the whole transactions in the spool directory path that end after the LSN after.

    For a restore from a spool that was never rotated; after: the last segment's to_lsn. Raises ScribeError.
    """
    spool = Spool(path)
    with Tape(spool.paths()) as tape:
        if not tape.size:
            return
        scan = Scan(tape, find_start(tape, spool, after))
        start = next((t.start for t in scan if t.end_lsn > after), None)
        scan_end = scan.run().end if start is None else Scan(tape, start).run().end
        if start is not None:
            yield from tape.blocks(start, scan_end)
