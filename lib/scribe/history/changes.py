"""The changes in an archive: read back from its segments, one by one, in commit order.

    for item in read_archive(archive, Range(from_lsn=..., to_lsn=...), wanted=lambda table: table.name == "orders"):
        match item:
            case Transaction():     # a transaction begins: xid, commit_lsn, time, segment
            case Change():          # one row, or one table that was truncated
            case Count():           # several rows of a table that is not wanted
            case Ddl():             # a schema change: tag, who asked, statement
            case Emptied():         # a table's rows go because a command rewrites it (they come again, resent)
            case Mark() | Notice():
            case Asked():           # who made the transaction, if that is recorded; before its changes or its End
            case End():             # the transaction is over; item.end is its end LSN
            case Positions():       # a segment is over; where its sequences stand then

Every change between a Transaction and its End belongs to it. Nothing is held in memory but one statement, so a
transaction may be of any size; `whole()` gathers those that are small enough.

read_segment() does the same for one segment; read_events() for a Reader, such as that of the spool.

A gap between two segments, or a segment that cannot be read, raises ScribeError unless on_gap is given, which is told
of it; then the next segment follows. Text that is in none of the dialect's forms raises ScribeError and names the file
and the offset in its SQL.

With decoder_raw, xid is 0, LSNs only count transactions, and the time is one by which the transaction was committed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from scribe.archive import segments
from scribe.archive.blocks import Asked, Ddl, read_asker, read_block
from scribe.archive.chains import commit_times, describe_break
from scribe.archive.layout import Archive, Segment
from scribe.archive.segments import Comment, CopyData, CopyEnd, CopyStart, End, Mark, Reader, Small, Start, open_plain
from scribe.common.dialect import Begin
from scribe.common.encodings import python_codec
from scribe.common.errors import ScribeError
from scribe.common.lsn import format_lsn
from scribe.history.statements import Body, Change, Count, Emptied, NotDialectError, Table

__all__ = [
    "Asked",
    "Change",
    "Count",
    "Ddl",
    "Emptied",
    "End",
    "Mark",
    "Positions",
    "Range",
    "Table",
    "Transaction",
    "Notice",
    "Whole",
    "read_archive",
    "read_events",
    "read_segment",
    "whole",
]
_ENCODING = re.compile(rb"SET client_encoding = '(\w+)';")
_RESENT = re.compile(rb"-- pg_scribe: rows of (.+) as (the source made|statements inserted) them\n")
_OWN = b"-- pg_scribe: "
_WARNING = b"-- warning: "
_SESSION = b"-- session "


@dataclass(frozen=True, slots=True)
class Transaction:
    """The beginning of a transaction. segment: the name of the file it is in."""

    xid: int
    commit_lsn: int
    time: str  # UTC, as in BEGIN lines
    segment: str


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that could not be carried, as the stream says it."""

    text: str


@dataclass(frozen=True, slots=True)
class Positions:
    """A segment's end. sequences: as in its manifest (schema, name, last_value, is_called), None if not recorded."""

    segment: str
    to_lsn: int
    sequences: list[dict[str, Any]] | None


Item = Transaction | Change | Count | Emptied | Ddl | Mark | Notice | Asked | End | Positions


@dataclass(frozen=True)
class Range:
    """Which transactions: LSNs of commit records and commit times (as in BEGIN lines), both ends included."""

    from_lsn: int | None = None
    to_lsn: int | None = None
    since: str | None = None
    until: str | None = None

    def holds(self, begin: Begin) -> bool:
        """Whether a transaction is within."""
        return (
            (self.from_lsn is None or begin.commit_lsn >= self.from_lsn)
            and (self.to_lsn is None or begin.commit_lsn <= self.to_lsn)
            and (self.since is None or begin.time >= self.since)
            and (self.until is None or begin.time <= self.until)
        )

    def may_hold(self, segment: Segment) -> bool:
        """Whether a segment may have transactions that are within."""
        if self.from_lsn is not None and segment.to_lsn <= self.from_lsn:
            return False
        if self.to_lsn is not None and segment.from_lsn > self.to_lsn:
            return False
        if self.since is None and self.until is None:
            return True
        first, last = commit_times(segment)
        if self.since is not None and last is not None and last < self.since:
            return False
        return not (self.until is not None and first is not None and first > self.until)


EVERYTHING = Range()


def read_archive(
    archive: Archive,
    within: Range = EVERYTHING,
    *,
    wanted: Callable[[Table], bool] = lambda table: True,
    on_gap: Callable[[str], None] | None = None,
) -> Iterator[Item]:
    """Yield what the archive's segments hold, in commit order. See the head of this module."""
    before: Segment | None = None
    for segment in archive.segments():
        if not within.may_hold(segment):
            before = None
            continue
        if (gap := describe_break(before, segment)) is not None:
            _tell(gap, on_gap)
        before = segment
        try:
            yield from read_segment(segment, within, wanted=wanted)
        except (ScribeError, OSError) as error:
            if on_gap is None:
                raise
            on_gap(f'segment "{segment.data.name}" could not be read: {error}')


def _tell(gap: str, on_gap: Callable[[str], None] | None) -> None:
    if on_gap is None:
        raise ScribeError(f"the archive has a gap: {gap}", _GAP)
    on_gap(f"the archive has a gap: {gap}")


_GAP = 'Run "scribe-restore --list" for what is unbroken.'


def read_segment(
    segment: Segment, within: Range = EVERYTHING, *, wanted: Callable[[Table], bool] = lambda table: True
) -> Iterator[Item]:
    """Yield what one segment holds. Raises ScribeError."""
    try:
        stream = open_plain(segment.data, segment.manifest["plain_bytes"])
    except FileNotFoundError:
        raise ScribeError(f'file "{segment.data}" of the archive is missing') from None
    with stream:
        reader = Reader(stream, segment.data.name, comments=True)
        codec = codec_of(reader.read_header().settings)
        yield from read_events(reader, codec, within, wanted=wanted)
    yield Positions(segment.data.name, segment.to_lsn, segment.manifest["sequences"])


def codec_of(settings: bytes) -> str:
    """Return Python's name of the encoding that a segment's header sets."""
    match = _ENCODING.search(settings)
    return python_codec(match[1].decode() if match else "UTF8")


def read_events(
    reader: Reader,
    codec: str,
    within: Range = EVERYTHING,
    *,
    wanted: Callable[[Table], bool] = lambda table: True,
) -> Iterator[Item]:
    """Yield what a reader whose header is read still holds. Raises ScribeError."""
    body = Body(codec, wanted)
    inside = False
    state = _State(reader, body, codec)
    for event in reader.events():
        if isinstance(event, Small | Start):
            inside = within.holds(event.begin)
            if inside:
                state.begin()
                yield Transaction(event.begin.xid, event.begin.commit_lsn, event.begin.time, reader.name)
                if isinstance(event, Small):
                    if event.session and (asked := read_asker(event.session, codec)) is not None:
                        yield asked
                    yield from state.parsed(event.text)
                    yield End(event.end)
        elif inside:
            yield from state.take(event)


class _State:
    """What is known within a transaction."""

    def __init__(self, reader: Reader, body: Body, codec: str) -> None:
        self._reader = reader
        self._body = body
        self._codec = codec
        self._own: str | None = None  # why the next block is no command of a user's

    def begin(self) -> None:
        self._body.resent.clear()
        self._own = None

    def parsed(self, text: bytes) -> Iterator[Item]:
        base = self._reader.offset
        self._own = None
        try:
            yield from self._body.statements(text, base)
        except NotDialectError as error:
            raise self._not_read(base + error.at, text[error.at : error.at + 60]) from None

    def take(self, event: segments.Event) -> Iterator[Item]:
        """Yield what an event of a transaction says."""
        if isinstance(event, segments.Statements):
            yield from self.parsed(event.text)
        elif isinstance(event, CopyStart | CopyData | CopyEnd):
            yield from self._copy(event)
        elif isinstance(event, segments.Ddl):
            self._body.resent.clear()
            own, self._own = self._own, None
            yield read_block(event, self._codec, own, self._reader.offset)
        elif isinstance(event, Comment):
            yield from self._comment(event.text)
        elif isinstance(event, Mark | End):
            yield event

    def _copy(self, event: CopyStart | CopyData | CopyEnd) -> Iterator[Item]:
        base = self._reader.offset
        try:
            if isinstance(event, CopyStart):
                self._body.copy(event.text, base)
            elif isinstance(event, CopyData):
                yield from self._body.copied(event.data)
            else:
                yield from self._body.end_copy()
        except NotDialectError:
            raise self._not_read(base, event.text[:60] if isinstance(event, CopyStart) else b"COPY data") from None

    def _comment(self, line: bytes) -> Iterator[Notice | Asked]:
        if match := _RESENT.fullmatch(line):
            table = self._body.table_of(match[1])
            change = self._body.resent.add if match[2] == b"the source made" else self._body.resent.discard
            change(table)
        elif line.startswith(_OWN):
            self._own = line[len(_OWN) :].decode(self._codec, "replace").strip()
        elif line.startswith(_SESSION):
            if (asked := read_asker(line[len(_SESSION) :].rstrip(b"\n"), self._codec)) is not None:
                yield asked
        elif line.startswith(_WARNING):
            yield Notice(line[len(_WARNING) :].decode(self._codec, "replace").strip())

    def _not_read(self, offset: int, text: bytes) -> ScribeError:
        shown = text.split(b"\n")[0].decode(self._codec, "replace")
        return ScribeError(f'could not read file "{self._reader.name}" at byte {offset} of its SQL: {shown}', _ALTERED)


_ALTERED = 'Run "scribe-verify" to see whether the file is as it was archived.'


@dataclass(slots=True)
class Whole:
    """A transaction with all that is in it."""

    head: Transaction
    end_lsn: int = 0
    items: list[Change | Count | Emptied | Ddl | Mark | Notice] = field(default_factory=list)

    @property
    def changes(self) -> list[Change]:
        """The changes, without those that are pg_scribe's own."""
        return [item for item in self.items if isinstance(item, Change) and not item.resent]


def whole(items: Iterator[Item]) -> Iterator[Whole]:
    """Gather items into transactions; memory follows the largest one."""
    current: Whole | None = None
    for item in items:
        if isinstance(item, Transaction):
            current = Whole(item)
        elif isinstance(item, End):
            assert current is not None
            current.end_lsn = item.end
            yield current
            current = None
        elif not isinstance(item, Positions | Asked):
            assert current is not None
            current.items.append(item)


def describe_place(head: Transaction) -> str:
    """Return a transaction's number and LSN for a message."""
    return f"transaction {head.xid} at {format_lsn(head.commit_lsn)}"
