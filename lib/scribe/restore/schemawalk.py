"""A copy that goes on with the schema changes of an archive alone: what is recorded of them, and where that fails."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import IO, Any

import psycopg

from scribe.archive.blocks import read_block
from scribe.archive.chains import Way
from scribe.archive.layout import Archive
from scribe.archive.segments import (
    Comment,
    CopyData,
    CopyEnd,
    CopyStart,
    Ddl,
    End,
    Event,
    Mark,
    Reader,
    Small,
    Start,
    Statements,
    open_plain,
)
from scribe.common.ddlnames import Name, name_objects
from scribe.common.dialect import Begin
from scribe.common.lsn import format_lsn
from scribe.restore.copies import Copy
from scribe.restore.replay import Replayer
from scribe.restore.restoration import Restore

_WARNING = b"-- warning: "
_RESENT = re.compile(rb"-- pg_scribe: rows of .* as the source made them\n\Z", re.DOTALL)
# Another database of the throw-away cluster may still need what these drop.
_DROPS = ("DROP ROLE", "DROP TABLESPACE")
_SHARED = (
    *("CREATE ROLE", "ALTER ROLE", "DROP ROLE", "GRANT ROLE", "REVOKE ROLE", "CREATE TABLESPACE", "ALTER TABLESPACE"),
    *("DROP TABLESPACE", "ALTER DATABASE"),
)


@dataclass(frozen=True)
class SchemaChange:
    """A DDL block of the archive. number: which one of its transaction; names: of the objects, as its text has them."""

    begin: Begin
    number: int
    tag: str
    names: tuple[Name, ...]

    @property
    def place(self) -> tuple[int, int]:
        """What tells it from all others."""
        return self.begin.commit_lsn, self.number

    @property
    def shared(self) -> bool:
        """Whether it is of the cluster or the database itself, which no dump of the database shows."""
        return self.tag.partition(" inexact: ")[0] in _SHARED


@dataclass
class Changes:
    """The schema changes on the way between two points, and what of that way is not in the archive.

    computed: LSNs of transactions in which a schema change made values that are sent along, and cannot be made again.
    """

    schema: list[SchemaChange] = field(default_factory=list)
    flagged: list[str] = field(default_factory=list)
    computed: set[int] = field(default_factory=set)

    @property
    def renames_shared(self) -> bool:
        """Whether a name of the cluster's changes, so that the way cannot be gone twice in one cluster."""
        return any(each.tag in ("ALTER ROLE", "ALTER TABLESPACE") for each in self.schema)

    def came_and_went(self) -> set[Name]:
        """The objects that are made and then dropped on the way."""
        made: set[Name] = set()
        gone: set[Name] = set()
        for each in self.schema:
            if each.tag.startswith("CREATE "):
                made.update(each.names)
                gone.difference_update(each.names)
            elif each.tag.startswith("DROP "):
                gone.update(name for name in each.names if name in made)
        return gone


def read_changes(archive: Archive, way: Way, position: int, codec: str) -> Changes:
    """Return what happened to the schema from a position on. Reads segments that their manifests say have some."""
    found = Changes()
    concerned = [
        segment
        for segment in way.segments
        if segment.to_lsn > position and (segment.manifest["counts"]["ddl"] or segment.manifest["warnings"])
    ]
    for segment in archive.bring(concerned):
        with open_plain(segment.data, segment.manifest["plain_bytes"]) as stream:
            reader = Reader(stream, segment.data.name, comments=True)
            reader.read_header()
            for begin, number, event in _numbered(reader.events()):
                if way.stop.excludes(begin):
                    return found
                if begin.commit_lsn < position:
                    continue
                text = event.text
                if _RESENT.match(text):
                    found.computed.add(begin.commit_lsn)
                if isinstance(event, Ddl):
                    ddl = read_block(event, codec, None, 0)
                    names = name_objects(ddl.statement, ddl.search_path, codec)
                    found.schema.append(SchemaChange(begin, number, event.tag, tuple(names)))
                for line in text.splitlines():
                    if line.startswith(_WARNING) and not line.startswith(b"-- warning: setting left out: "):
                        said = line[len(_WARNING) :].decode(codec, "replace")
                        found.flagged.append(f"transaction {begin.xid} ({begin.time}): {said}")
    return found


def _numbered(events: Iterable[Event]) -> Iterator[tuple[Begin, int, Ddl | Comment]]:
    """The DDL blocks and comments, each with its transaction, and blocks with their numbers in it."""
    begin, number = None, 0
    for event in events:
        if isinstance(event, Start):
            begin, number = event.begin, 0
        elif isinstance(event, Ddl | Comment) and begin is not None:
            yield begin, number, event
            number += isinstance(event, Ddl)


class Walk(Restore):
    """A restore that goes on with schema changes alone, or with one whole transaction. copy: it tells what to take."""

    def __init__(self, *arguments: Any, copy: Walked) -> None:
        super().__init__(*arguments)
        self.copy = copy
        self.checked = True

    def watch(self, events: Iterable[Event]) -> Iterator[Event]:
        """Pass on what is taken, and note it; what ends well counts."""
        begin, number, opened = None, 0, False
        for event in events:
            if isinstance(event, Start):
                begin, number, opened = event.begin, 0, begin_whole(self.copy, event.begin)
                if opened:
                    yield event
            elif begin is None or begin.commit_lsn < self.copy.since:
                continue
            elif isinstance(event, End):
                if opened:
                    yield event
                    self.copy.ended(event.end)
                begin = None
            elif begin.commit_lsn == self.copy.whole:
                self.copy.note(as_text(event))
                yield event
            elif isinstance(event, Ddl) and self.copy.whole is None:
                place, number = (begin.commit_lsn, number), number + 1
                if not self.copy.takes(place):
                    continue
                if not opened:
                    opened = True
                    self.copy.begun(begin)
                    yield Start(begin)
                self.copy.note(as_text(event))
                if event.tag not in _DROPS:
                    yield event

    def settle(self, replayer: Replayer) -> None:
        """Leave sequences where they are: they are compared."""

    def _say_where(self, conn: psycopg.Connection[Any], replayer: Replayer) -> None:
        conn.close()


class Walked(Copy):
    """A copy in which Walk is at work. since: the position it stands at; at: the last transaction it began.

    whole: the LSN of a transaction that alone is taken, with its rows; takes(): whether a schema change is taken.
    """

    since = 0
    at: Begin | None = None
    whole: int | None = None
    takes: Callable[[tuple[int, int]], bool] = staticmethod(lambda place: True)

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments, lasting=False)
        self._taken: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  (it lives as long as this)
        self._mark = 0  # the end of what counts in it

    def begun(self, begin: Begin) -> None:
        """Note that a transaction begins; what was noted of one that did not end is forgotten."""
        self.at = begin
        self._forget()
        self.note(f"BEGIN; -- xid {begin.xid} commit {format_lsn(begin.commit_lsn)} time {begin.time}\n".encode())

    def note(self, text: bytes) -> None:
        """Note a part of the transaction."""
        self._taken.write(text)

    def ended(self, end: int) -> None:
        """Note its end."""
        self.note(f"COMMIT; -- end {format_lsn(end)}\n".encode())
        self.since, self._mark = end, self._taken.tell()

    def _forget(self) -> None:
        self._taken.seek(self._mark)
        self._taken.truncate()

    def give(self) -> Iterator[bytes]:
        """Yield what was noted since the last time."""
        self._forget()
        self._taken.seek(0)
        yield from iter(lambda: self._taken.read(1 << 20), b"")
        self._mark = 0
        self._forget()

    def _restore(self, arguments: Any) -> Restore:
        arguments.serial = True  # a transaction after the other, so that the one that fails is known
        return Walk(self.source.archive, self.source.identity, arguments, self.source.talk, copy=self)


def begin_whole(copy: Walked, begin: Begin) -> bool:
    """Whether a transaction is the one that is taken with its rows; if so, note that it begins."""
    if begin.commit_lsn != copy.whole:
        return False
    copy.begun(begin)
    return True


def as_text(event: Event) -> bytes:
    """Return an event as a segment has it."""
    if isinstance(event, Ddl):
        tag, inexact, why = event.tag.partition(" inexact: ")
        asked = b" by " + event.asked if event.asked else b""
        return b"-- ddl " + tag.encode() + asked + (inexact + why).encode() + b"\n" + event.text + b"-- ddl end\n"
    if isinstance(event, CopyData):
        return event.data
    if isinstance(event, CopyEnd):
        return b"\\.\n"
    if isinstance(event, Statements | CopyStart | Small):
        return event.text
    assert isinstance(event, Mark)
    return b""
