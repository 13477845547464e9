"""pgoutput's messages (protocol version 1) as pg_recvlogical writes them: a newline after each, and no lengths.

Where a message ends is known only from what stands in it. Reading beyond the end of the data raises one of SHORT:
then more has to be read first. See the manual, "Logical Replication Message Formats".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from scribe.common.errors import ScribeError
from scribe.spool.contents import Batch, Scan, Spool, Tape, Transaction, alone

BEGIN, COMMIT, ORIGIN, RELATION, TYPE, INSERT, UPDATE, DELETE, TRUNCATE, MESSAGE = b"BCORYIUDTM"
ABORT = ord("A")  # of a transaction of which nothing was sent: 18 and newer say it though nothing is streamed
NEW, KEY, OLD = b"NKO"
TEXT, NULL, UNCHANGED = b"tnu"
NEWLINE = 10
COMMIT_BYTES = 27  # with the newline
LONGEST = 1 << 30  # bytes; no value and no row is larger

U16 = struct.Struct(">H").unpack_from
U32 = struct.Struct(">I").unpack_from
I32 = struct.Struct(">i").unpack_from
_BEGIN = struct.Struct(">QqI").unpack_from
_COMMIT = struct.Struct(">BQQq").unpack_from
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


class ShortError(Exception):
    """The data ends before the message does."""


class DamageError(Exception):
    """What stands there is no message."""


SHORT = (IndexError, struct.error, ShortError)


class Unchanged:
    """What stands for a TOAST value that did not change and was not sent."""


MISSING = Unchanged()
Value = bytes | Unchanged | None
Row = list[Value]


@dataclass(frozen=True)
class Begin:
    """The beginning of a transaction; micros: commit time in microseconds since 2000."""

    commit_lsn: int
    micros: int
    xid: int


@dataclass(frozen=True)
class Column:
    """A column as a Relation message names it. key: part of the replica identity."""

    name: str
    type: int
    typmod: int
    key: bool


@dataclass(frozen=True)
class Relation:
    """A Relation message. identity: d, n, f or i as in pg_class.relreplident."""

    relid: int
    schema: str
    name: str
    identity: str
    columns: tuple[Column, ...]


def format_moment(micros: int) -> str:
    """Return microseconds since 2000 as in a BEGIN line."""
    return (_EPOCH + timedelta(microseconds=micros)).strftime("%Y-%m-%d %H:%M:%S.%f+00")


def read_begin(data: bytes, at: int) -> Begin:
    """Return the Begin message at at."""
    return Begin(*_BEGIN(data, at + 1))


def read_commit(data: bytes, at: int) -> tuple[int, int]:
    """Return commit LSN and end LSN of the Commit message at at."""
    flags, commit_lsn, end_lsn, _ = _COMMIT(data, at + 1)
    if flags:
        raise DamageError("a Commit message has flags")
    return commit_lsn, end_lsn


def read_text(data: bytes, at: int) -> tuple[bytes, int]:
    """Return the null-terminated string at at, and where it ends."""
    end = data.find(0, at)
    if end < 0:
        raise ShortError
    return data[at:end], end + 1


def read_row(data: bytes, at: int) -> tuple[Row, int]:
    """Return the values of the tuple at at, and where it ends; a short one shows when what follows is looked at."""
    count = U16(data, at)[0]
    at += 2
    row: Row = []
    for _ in range(count):
        kind = data[at]
        if kind == TEXT:
            start = at + 5
            at = start + U32(data, at + 1)[0]
            row.append(data[start:at])
        elif kind == NULL:
            at += 1
            row.append(None)
        elif kind == UNCHANGED:
            at += 1
            row.append(MISSING)
        else:
            raise DamageError("a value is of no known kind")
    return row, at


def skip_row(data: bytes, at: int) -> int:
    """Return where the tuple at at ends."""
    count = U16(data, at)[0]
    at += 2
    for _ in range(count):
        kind = data[at]
        if kind == TEXT:
            at += 5 + U32(data, at + 1)[0]
        elif kind in (NULL, UNCHANGED):
            at += 1
        else:
            raise DamageError("a value is of no known kind")
    return at


def read_relation(data: bytes, at: int, encoding: str) -> Relation:
    """Return the Relation message at at."""
    relid = U32(data, at + 1)[0]
    schema, at = read_text(data, at + 5)
    name, at = read_text(data, at)
    identity, count = chr(data[at]), U16(data, at + 1)[0]
    at += 3
    columns = []
    for _ in range(count):
        flags = data[at]
        column, at = read_text(data, at + 1)
        columns.append(Column(column.decode(encoding), U32(data, at)[0], I32(data, at + 4)[0], bool(flags & 1)))
        at += 8
    return Relation(relid, schema.decode(encoding) or "pg_catalog", name.decode(encoding), identity, tuple(columns))


def read_type(data: bytes, at: int, encoding: str) -> tuple[int, str, str]:
    """Return OID, schema and name of the Type message at at; of a domain the name is its base type's."""
    schema, end = read_text(data, at + 5)
    name, _ = read_text(data, end)
    return U32(data, at + 1)[0], schema.decode(encoding) or "pg_catalog", name.decode(encoding)


def read_message(data: bytes, at: int) -> tuple[bool, bytes, bytes]:
    """Return of the logical message at at whether it is transactional, its prefix and its content."""
    prefix, end = read_text(data, at + 10)
    length = U32(data, end)[0]
    return bool(data[at + 1] & 1), prefix, data[end + 4 : end + 4 + length]


def message_end(data: bytes, at: int) -> int:
    """Return where the message at at ends, its newline included. Raises DamageError, or one of SHORT."""
    kind = data[at]
    if kind == INSERT:
        if data[at + 5] != NEW:
            raise DamageError("an Insert message has no new row")
        end = skip_row(data, at + 6)
    elif kind == UPDATE:
        end = at + 5
        if data[end] in (KEY, OLD):
            end = skip_row(data, end + 1)
        if data[end] != NEW:
            raise DamageError("an Update message has no new row")
        end = skip_row(data, end + 1)
    elif kind == DELETE:
        if data[at + 5] not in (KEY, OLD):
            raise DamageError("a Delete message has no old row")
        end = skip_row(data, at + 6)
    elif kind == BEGIN:
        end = at + 21
    elif kind == COMMIT:
        end = at + 26
    elif kind == RELATION:
        end = read_text(data, read_text(data, at + 5)[1])[1]
        count = U16(data, end + 1)[0]
        end += 3
        for _ in range(count):
            end = read_text(data, end + 1)[1] + 8
    elif kind == TYPE:
        end = read_text(data, read_text(data, at + 5)[1])[1]
    elif kind == ORIGIN:
        end = read_text(data, at + 9)[1]
    elif kind == TRUNCATE:
        end = at + 6 + 4 * U32(data, at + 1)[0]
    elif kind == MESSAGE:
        end = read_text(data, at + 10)[1]
        end += 4 + U32(data, end)[0]
    elif kind == ABORT:
        end = at + 9
    else:
        raise DamageError("there is no message of that kind")
    if end - at > 3 * LONGEST:
        raise DamageError("a message is longer than any can be")
    if data[end] != NEWLINE:
        raise DamageError("a message does not end where it should")
    return end + 1


def read_on(blocks: Iterator[bytes], data: bytes, at: int) -> bytes | None:
    """Return data[at:] and what follows it, at least twice as much where there is; None at the end of the blocks."""
    held, size = data[at:], 0
    if len(held) > 3 * LONGEST:
        raise DamageError("a message is longer than any can be")
    parts = [held]
    for block in blocks:
        parts.append(block)
        size += len(block)
        if size >= len(held):
            break
    return b"".join(parts) if size else None


def walk(tape: Tape, start: int, stop: int | None = None) -> Iterator[tuple[bytes, int, int, int]]:
    """Yield (data, at, end, offset) of every message between two tape offsets that is there as a whole.

    The message is data[at:end], with its newline; offset: of its first byte on the tape. Raises DamageError.
    """
    blocks, base, at = tape.blocks(start, stop), start, 0
    data = b""
    while (more := read_on(blocks, data, at)) is not None:
        data, base, at = more, base + at, 0
        while True:
            try:
                end = message_end(data, at)
            except SHORT:
                break
            yield data, at, end, base + at
            at = end


class BinaryScan(Scan):
    """The whole transactions of a pgoutput stream; see Scan."""

    def batches(self) -> Iterator[Batch]:
        """See Scan; one by one."""
        opened = -1  # commit LSN of the transaction that is open
        start = self.end
        blocks, base, at = self.tape.blocks(start), start, 0
        data = b""
        while True:
            self._tick()
            try:
                if (more := read_on(blocks, data, at)) is None:
                    return
                data, base, at = more, base + at, 0
                while True:
                    kind = data[at]
                    if kind == BEGIN:
                        begin, end = read_begin(data, at), message_end(data, at)
                        if opened >= 0:
                            raise DamageError("a transaction begins before the one before it ends")
                        if begin.commit_lsn < self.position:
                            raise DamageError("a transaction comes after one that was committed later")
                        opened, at = begin.commit_lsn, end
                    elif kind == COMMIT:
                        (commit_lsn, end_lsn), end = read_commit(data, at), message_end(data, at)
                        if opened < 0 or commit_lsn != opened or end_lsn <= commit_lsn:
                            raise DamageError("a Commit message does not fit its transaction")
                        at, opened = end, -1
                        self.end, self.position = base + at, end_lsn
                        yield alone(Transaction(start, self.end, commit_lsn, end_lsn))
                        start = self.end
                    elif opened < 0 and kind != ABORT and not (kind == MESSAGE and not data[at + 1] & 1):
                        raise DamageError("a transaction does not begin with Begin")
                    else:
                        at = message_end(data, at)
            except SHORT:
                continue
            except DamageError as error:
                self.damage = str(error)
                return


def find_start(tape: Tape, spool: Spool, archived: int) -> int:
    """Return the tape offset of a transaction's beginning such that everything before it is archived.

    Messages cannot be told apart from the middle of one, so the place that the last rotation recorded is needed;
    it is used only if the end of an archived transaction stands before it. Raises ScribeError where it does not.
    """
    hint = spool.read_state()
    if isinstance(hint.get("file"), str) and isinstance(hint.get("offset"), int):
        offset = tape.offset(spool.path / hint["file"], hint["offset"])
        if offset:
            before = b"".join(tape.blocks(max(0, offset - COMMIT_BYTES), offset))
            if len(before) != COMMIT_BYTES or before[0] != COMMIT or read_commit(before, 0)[1] > archived:
                raise ScribeError(
                    f'the spool\'s record "{spool.state_path}" does not fit its files',
                    'If it cannot be brought back from a copy, run "scribe-init" to begin a new chain.',
                )
            return offset
    return 0


def frames_after(tape: Tape, offset: int, position: int) -> int | None:
    """Return the lowest commit LSN from position on of the transactions that begin after offset, or None.

    Beyond damage nothing can be known, so that there position itself is taken for one.
    """
    lowest: int | None = None
    try:
        for data, at, _, _ in walk(tape, offset):
            if data[at] == BEGIN and (lsn := read_begin(data, at).commit_lsn) >= position:
                lowest = lsn if lowest is None else min(lsn, lowest)
    except DamageError:
        return position
    return lowest


def end_after(tape: Tape, offset: int) -> int | None:
    """Return the end LSN of the transaction that the message before offset stands in; None if it is torn."""
    try:
        for data, at, _, _ in walk(tape, offset):
            if data[at] == COMMIT:
                return read_commit(data, at)[1]
    except DamageError:
        return None
    return None
