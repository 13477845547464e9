"""Reading segments: the decompressed bytes of a file, cut into transactions by the frames at line beginnings.

Nothing here parses SQL. Outside a COPY block no line of data begins like a frame, and inside one only `\\.` does
(docs/format.md, "Reserved line beginnings"), so bytes.find() and one regular expression do the work.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import zstandard

from scribe.common.dialect import (
    BEGIN_PREFIX,
    COMMIT_PREFIX,
    FOOTER_BEGIN,
    OBJECTS_BEGIN,
    OBJECTS_END,
    Begin,
    parse_begin,
    parse_commit,
)
from scribe.common.errors import ScribeError
from scribe.common.files import open_archived
from scribe.common.lsn import parse_lsn

BLOCK = 512 << 10  # bytes read at a time
MOST = 256 << 20  # bytes read at a time within a long line
LONG_LINE = 4 << 20  # bytes; a longer line of COPY data is handed over in parts
SMALL = 256 << 10  # bytes of a transaction that is handed over whole
WINDOW = 128 << 20  # bytes of memory that a zstd frame may ask for; what is written here asks for 2 MB
HEADER = 1 << 20  # bytes before the first transaction
LONGEST = 1100 << 20  # bytes of a line that has to be read whole; a server takes no statement beyond 1 GB
# In a transaction of single statements every line begins with one of these.
_NOT_SINGLE = re.compile(rb"\n(?!INSERT INTO |UPDATE |DELETE FROM |[()]|-- (?:rows|session) )")
_FRAME = re.compile(rb"\n(?=--|COPY |COMMIT; --|BEGIN; --)")
_STATEMENT_END = re.compile(rb"; -- (?:\d+|\*) rows\n\Z")
_COMMIT_FOUND = b"\n" + COMMIT_PREFIX
_SESSION = b"\n-- session "
_ASKER = re.compile(rb"([A-Z ]+) by (.*?)(?= inexact: |\Z)")  # who asked, after the tag: nothing is decided by that
_DDL_END = b"\n-- ddl end\n"


@dataclass(frozen=True, slots=True)
class Header:
    """What a segment demands: where the target must stand, and the session settings as one SQL string."""

    from_lsn: int
    settings: bytes


@dataclass(frozen=True, slots=True)
class Small:
    """A whole transaction of INSERT, UPDATE and DELETE statements; text has no comment lines. session: who made it."""

    begin: Begin
    text: bytes
    end: int  # end LSN
    session: bytes = b""


@dataclass(frozen=True, slots=True)
class Start:
    """The beginning of any other transaction; its parts follow, then End."""

    begin: Begin


@dataclass(frozen=True, slots=True)
class Statements:
    """Some whole statements, without comment lines."""

    text: bytes


@dataclass(frozen=True, slots=True)
class CopyStart:
    """A COPY statement; its CopyData follows, then CopyEnd."""

    text: bytes


@dataclass(frozen=True, slots=True)
class CopyData:
    """Some whole lines of COPY data, or a part of a long one."""

    data: bytes


@dataclass(frozen=True, slots=True)
class CopyEnd:
    """The end of a COPY block."""


@dataclass(frozen=True, slots=True)
class Ddl:
    """A DDL block: what stands after `-- ddl ` but who asked, the statements between the frames, and who asked."""

    tag: str
    text: bytes
    asked: bytes = b""


@dataclass(frozen=True, slots=True)
class Comment:
    """A comment line among the statements, with its newline: told only if asked for."""

    text: bytes


@dataclass(frozen=True, slots=True)
class Mark:
    """A named point: it is reached when the transaction around it is."""

    name: str


@dataclass(frozen=True, slots=True)
class End:
    """The end of a transaction begun by Start."""

    end: int  # end LSN


@dataclass(frozen=True, slots=True)
class Footer:
    """What follows the last transaction: statements (sequences, position), and where the segment ends."""

    text: bytes
    to_lsn: int


@dataclass(frozen=True, slots=True)
class LargeObjects:
    """Some of the statements that bring the large objects up to date; last: no more of them follow."""

    text: bytes
    last: bool


Event = LargeObjects | Small | Start | Statements | CopyStart | CopyData | CopyEnd | Ddl | Comment | Mark | End | Footer


def open_plain(path: Path, size: int | None = None, *, at: int = 0) -> IO[bytes]:
    """Open a file for reading as plain bytes, decompressing *.zst in a stream. Raises OSError.

    size: the bytes of SQL that the manifest tells of: reading raises ScribeError where there are more; at: where in the
    stored file to begin.
    """
    stream = io.BufferedReader(open_archived(path))
    stream.seek(at)
    if path.suffix != ".zst":
        return stream
    decompressor = zstandard.ZstdDecompressor(max_window_size=WINDOW)
    plain = decompressor.stream_reader(stream, read_size=BLOCK, read_across_frames=True, closefd=True)
    return plain if size is None else _Bounded(plain, path, size)  # type: ignore[return-value]


class _Bounded:
    """A file that ends where its manifest says, or else raises ScribeError: a few bytes may decompress to terabytes."""

    def __init__(self, stream: IO[bytes], path: Path, size: int) -> None:
        self._stream, self._path, self._left = stream, path, size

    def __enter__(self) -> _Bounded:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._stream.close()

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise ScribeError(f'file "{self._path}" holds more than its manifest says', _DAMAGED)
        return data


class Buffer:
    """A window on a byte stream that moves forward; data[at:] is what was read and not yet taken.

    The byte before `at` is kept, so that a search for a newline and what follows it sees the first line too.
    """

    def __init__(self, stream: IO[bytes], name: str) -> None:
        self.name = name
        self.data = b"\n"
        self.at = 1
        self.passed = -1  # bytes of the stream before data
        self._read: Callable[[int], bytes] = stream.read

    def more(self) -> bool:
        """Read on; return False at the end of the stream. Doubles the window, so a huge line costs linear time."""
        held = self.data[self.at - 1 :]
        if len(held) > LONGEST:
            raise ScribeError(f'file "{self.name}" has a line of more than {LONGEST >> 20} MB', _DAMAGED)
        try:
            block = self._read(min(max(BLOCK, len(held)), MOST))
        except zstandard.ZstdError as error:
            raise ScribeError(f'could not decompress "{self.name}": {error}', _DAMAGED) from None
        self.passed += self.at - 1
        self.data, self.at = held + block, 1
        return bool(block)

    def need(self) -> None:
        """Read on; raises ScribeError at the end of the stream."""
        if not self.more():
            raise ScribeError(f'file "{self.name}" ends too early', _DAMAGED)

    def find(self, what: bytes) -> int:
        """Return where what begins, reading on until it is found; `at - 1` counts. Raises ScribeError at the end."""
        seen = 0
        while (found := self.data.find(what, max(self.at - 1, seen))) < 0:
            seen = len(self.data) - self.at + 1 - len(what)
            self.need()
        return found

    def take(self, end: int) -> bytes:
        """Return the bytes up to index end and move there."""
        taken = self.data[self.at : end]
        self.at = end
        return taken

    def line(self) -> bytes:
        """Take one line with its newline; b"" at the end of the stream. Raises ScribeError for a torn line."""
        seen = self.at
        while (found := self.data.find(b"\n", seen)) < 0:
            held = len(self.data) - self.at
            if not self.more():
                if held == 0:
                    return b""
                raise ScribeError(f'file "{self.name}" ends inside a line', _DAMAGED)
            seen = self.at + held
        return self.take(found + 1)


def read_ddl(line: bytes, text: bytes) -> Ddl:
    """Return a DDL block of which the first line is given, and what stands between its frames."""
    head = line[7:].strip()
    tag, asked = head, b""
    if asker := _ASKER.match(head):
        tag, asked = asker[1] + head[asker.end() :], asker[2]
    return Ddl(tag.decode("utf-8", "replace"), text, asked)


_DAMAGED = "Compare the file with its manifest's sha256; restore to a point before it or from a newer base."


class Reader:
    """A segment (or any stream of the decoder's transactions) as events. name: for messages.

    comments: tell of comment lines, too. small: bytes of a transaction that is handed over whole, if it may be.
    offset: where in the stream the text of the last event begins.
    """

    def __init__(self, stream: IO[bytes], name: str, *, comments: bool = False, small: int = SMALL) -> None:
        self.name = name
        self.offset = 0
        self._most = small
        self._comments = comments
        self._buffer = Buffer(stream, name)

    @property
    def consumed(self) -> int:
        """How many bytes of the stream have been taken."""
        return self._buffer.passed + self._buffer.at

    def read_header(self) -> Header:
        """Take the lines before the first transaction. Raises ScribeError where they are not a segment's."""
        from_lsn, settings, in_guard = None, [], False
        while not self._at_frame():
            line = self._buffer.line()
            if not line:
                raise self._damaged("it ends before its first transaction")
            if self.consumed > HEADER:
                raise self._damaged(f"its header has more than {HEADER >> 20} MB")
            if line.startswith(b"-- from ") and from_lsn is None:
                from_lsn = parse_lsn(line[8:].decode().strip())
            in_guard = in_guard or line.startswith(b"DO ")
            if line.startswith(b"SET ") and not in_guard:
                settings.append(line)
        if from_lsn is None:
            raise self._damaged('its header has no line "-- from"')
        return Header(from_lsn, b"".join(settings))

    def _at_frame(self) -> bool:
        buffer = self._buffer
        while len(buffer.data) - buffer.at < len(b"BEGIN; -- ") and buffer.more():
            pass
        return buffer.data.startswith(b"BEGIN; -- ", buffer.at)

    def _damaged(self, why: str) -> ScribeError:
        return ScribeError(f'file "{self.name}" is not a segment: {why}', _DAMAGED)

    def events(self) -> Iterator[Event]:
        """Yield everything up to the footer, or to the end of a stream that has none. Raises ScribeError."""
        while line := self._buffer.line():
            begin = parse_begin(line) if line.startswith(BEGIN_PREFIX) else None
            if begin is not None:
                yield from self._transaction(begin)
            elif line == OBJECTS_BEGIN:
                yield from self._large_objects()
            elif line == FOOTER_BEGIN:
                yield self._footer()
                return
            else:
                raise self._damaged(f"a transaction was expected at {line[:60]!r}")

    def _transaction(self, begin: Begin) -> Iterator[Event]:
        buffer = self._buffer
        found = buffer.data.find(_COMMIT_FOUND, buffer.at - 1)
        while found < 0 and len(buffer.data) - buffer.at < self._most:
            buffer.need()
            found = buffer.data.find(_COMMIT_FOUND, buffer.at - 1)
        start = buffer.at - 1
        if found < 0 or found - start > self._most or _NOT_SINGLE.search(buffer.data, start, found):
            yield Start(begin)
            yield from self._parts()
            return
        self._note_offset()
        rows = buffer.data.rfind(b"\n-- rows", start, found)
        text = buffer.take((found if rows < 0 else rows) + 1)
        said = buffer.data.find(_SESSION, buffer.at - 1, found)
        session = buffer.data[said + len(_SESSION) : found] if said >= 0 else b""
        buffer.at = found + 1
        yield Small(begin, text, self._commit(buffer.line()), session)

    def _commit(self, line: bytes) -> int:
        end = parse_commit(line)
        if end is None:
            raise self._damaged(f"the end of a transaction was expected at {line[:60]!r}")
        return end

    def _parts(self) -> Iterator[Event]:
        buffer = self._buffer
        while True:
            match = _FRAME.search(buffer.data, buffer.at - 1)
            cut = self._last_end() if match is None else match.start() + 1
            self._note_offset()
            if cut > buffer.at:
                yield Statements(buffer.take(cut))
            if match is None:
                buffer.need()
                continue
            self._note_offset()
            line = buffer.line()
            if line.startswith(b"COPY "):
                yield from self.copy_block(line)
            elif line.startswith(COMMIT_PREFIX):
                yield End(self._commit(line))
                return
            elif line.startswith(b"-- ddl "):
                yield self._ddl(line)
            elif line.startswith(b"-- mark "):
                yield Mark(line[8:].decode("ascii", "replace").strip())
            elif not line.startswith(b"--"):
                raise self._damaged(f"a statement was expected at {line[:60]!r}")
            elif self._comments:
                yield Comment(line)

    def _note_offset(self) -> None:
        self.offset = self._buffer.passed + self._buffer.at

    def _last_end(self) -> int:
        """The index after the last statement that is whole, as far as the window shows."""
        data, at = self._buffer.data, self._buffer.at
        counted = data.rfind(b" rows\n", at) + len(b" rows\n")
        if counted > at and not _STATEMENT_END.search(data, max(at, counted - 40), counted):
            counted = at
        return max(at, counted, data.rfind(b";\n", at) + 2)

    def take_line(self) -> bytes:
        """Take one line with its newline; b"" at the end."""
        return self._buffer.line()

    def pass_data(self, jump: Callable[[int], bool]) -> None:
        """Let the stream jump to the end of the COPY whose line was just taken.

        jump: gets the number of bytes that were read beyond that line, and returns whether it has jumped.
        """
        buffer = self._buffer
        if jump(len(buffer.data) - buffer.at):
            buffer.data, buffer.at = b"\n", 1

    def copy_block(self, statement: bytes) -> Iterator[Event]:
        """Take the data of a COPY statement whose line was just taken, to its end."""
        buffer = self._buffer
        yield CopyStart(statement)
        while (found := buffer.data.find(b"\n\\.\n", buffer.at - 1)) < 0:
            # The last line may be a torn `\.`, so it is never given away.
            last = buffer.data.rfind(b"\n", buffer.at, len(buffer.data) - 3)
            if last >= buffer.at:
                yield CopyData(buffer.take(last + 1))
            elif len(buffer.data) - buffer.at > LONG_LINE:  # memory does not follow the length of a line
                yield CopyData(buffer.take(len(buffer.data) - 3))
            buffer.need()
        if found >= buffer.at:
            yield CopyData(buffer.take(found + 1))
        buffer.at = found + 4
        yield CopyEnd()

    def copy_text(self, statement: bytes) -> Iterator[bytes]:
        """The same as it stands there, in parts."""
        for event in self.copy_block(statement):
            match event:
                case CopyStart(text) | CopyData(text):
                    yield text
                case CopyEnd():
                    yield b"\\.\n"

    def _ddl(self, line: bytes) -> Ddl:
        text = self._buffer.take(self._buffer.find(_DDL_END) + 1)
        self._buffer.line()
        return read_ddl(line, text)

    def _large_objects(self) -> Iterator[LargeObjects]:
        lines: list[bytes] = []
        held = 0
        while (line := self._buffer.line()) != OBJECTS_END:
            if not line:
                raise self._damaged("it ends among the large objects")
            lines.append(line)
            held += len(line)
            if held > BLOCK:
                yield LargeObjects(b"".join(lines), last=False)
                lines, held = [], 0
        yield LargeObjects(b"".join(lines), last=True)

    def _footer(self) -> Footer:
        text = self._buffer.take(self._buffer.find(b"\nCOMMIT; -- footer\n-- to ") + 1)
        self._buffer.line()
        return Footer(text, parse_lsn(self._buffer.line()[6:].decode().strip()))
