"""What a segment's manifest tells of its contents beside the counts: the counts by table, and what happened when.

The text of a segment is looked at once, block by block, while it is written. Only line beginnings are (docs/format.md,
"Reserved line beginnings"): where COPY data and DDL blocks end is known, so no value is taken for a statement.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from scribe.archive.blocks import read_block
from scribe.archive.segments import read_ddl
from scribe.archive.tokens import split_name
from scribe.common.ddlnames import (
    Renamed,
    brief,
    name_objects,
    read_dropped_columns,
    read_partition,
    read_path,
    read_rename,
    resolve,
)
from scribe.common.dialect import BEGIN_PREFIX, Begin, parse_begin
from scribe.common.lsn import format_lsn

# Tables, schema changes, names in them, TRUNCATEs or marks; of more a manifest tells nothing, and the segment is read.
MOST = 5000
FEW_ROWS = 10  # deleted in a transaction, which is no event
MOST_DELETES = 10  # transactions, those that deleted most
OWN_MARK = "rotate."  # how the marks begin that scribe-rotate writes for itself
_NAME = rb'(?:[a-z_][a-z0-9_]*|(?:U&)?"[^"\n]*(?:""[^"\n]*)*")'
_TABLE = rb"(" + _NAME + rb")\.(" + _NAME + rb")"
_VERBS = rb"INSERT INTO |UPDATE |DELETE FROM |WITH d AS \(DELETE FROM "
_HEADS = re.compile(
    rb"\n((?:" + _VERBS + rb")(?:ONLY )?" + _NAME + rb"\." + _NAME + rb")"
)  # one group: quicker to count
_HEAD = re.compile(rb"\n?(" + _VERBS + rb")(?:ONLY )?" + _TABLE)
_KINDS = {b"INSERT INTO ": "inserted", b"UPDATE ": "updated", b"DELETE FROM ": "deleted"}
_KINDS |= {b"WITH d AS (DELETE FROM ": "updated", b"UPDATE": "updated", b"DELETE FROM": "deleted"}
_MANY = re.compile(rb"; -- (\d+|\*) rows\n")
_IMAGES = re.compile(rb"\n\), o AS \(SELECT [^\n]*\) (UPDATE|DELETE FROM) (?:ONLY )?" + _TABLE + rb" AS t [^\n]*\Z")
_BLOCK = re.compile(rb"\n(?=COPY |-- ddl (?!end\n)|-- pg_scribe: rows of )")
_COPY = re.compile(rb"COPY " + _TABLE + rb" ")
_RESENT = re.compile(rb"-- pg_scribe: rows of " + _TABLE + rb" as (the source made|statements inserted) them\n")
_TRUNCATE = re.compile(rb"\nTRUNCATE ([^\n]*);(?=\n)")
_TRUNCATED = re.compile(rb"(?:^|, )(?:ONLY )?" + _TABLE)
_MARK = re.compile(rb"\n-- mark ([^\n]*)(?=\n)")
_TIME = re.compile(rb"\nBEGIN; -- xid \d+ commit \S+ time ([^\n]+)")
_DELETED = re.compile(rb"\n-- rows(?: \d+ inserted)?(?: \d+ updated)? (\d{2,}) deleted")
_BEGIN = b"\n" + BEGIN_PREFIX
_COMMIT = b"\nCOMMIT; -- end "
_COPY_END = b"\n\\.\n"
_DDL_END = b"\n-- ddl end\n"
_OWN = b"-- pg_scribe: "

Key = tuple[bytes, bytes]  # schema and name as they stand there


class Summary:
    """Counts by table and lists events, in blocks of a segment's text that follow each other. codec: its encoding."""

    def __init__(self, codec: str) -> None:
        self._codec = codec
        self._rows: dict[str, Counter[Key]] = {
            kind: Counter() for kind in ("inserted", "updated", "deleted", "truncated", "resent")
        }
        self._changes: list[dict[str, Any]] = []
        self._changed = 0  # names in them
        self._truncates: list[dict[str, Any]] = []
        self._marks: list[dict[str, Any]] = []
        self._deletes: list[dict[str, Any]] = []
        self._times: list[bytes] = []  # the earliest and the latest
        self._held = b"\n"  # what is not whole yet; begins with a newline unless within COPY
        self._coming: list[bytes] = []  # what has come since that was looked at
        self._coming_bytes = 0
        self._copied: Key | None = None  # the table of the COPY block that is open
        self._resent: set[Key] = set()
        self._begin: Begin | None = None
        self._own = False  # the line before is a comment of ours

    def feed(self, block: bytes) -> None:
        """Take the next block. What has to be whole first is not looked at again before it is twice as long."""
        self._coming.append(block)
        self._coming_bytes += len(block)
        if self._coming_bytes * 2 >= len(self._held):
            self._look()

    def _look(self) -> None:
        data = b"".join([self._held, *self._coming])
        self._coming, self._coming_bytes = [], 0
        at = 0
        while True:
            if self._copied is not None:
                at, done = self._copy(data, at)
            else:
                at, done = self._plain(data, at)
            if done:
                break
        self._held = data[at:]

    def _copy(self, data: bytes, at: int) -> tuple[int, bool]:
        """Count lines of COPY data, the newline before the first of which is at at; return where to go on."""
        assert self._copied is not None
        end = data.find(_COPY_END, at)
        stop = max(at, len(data) - len(_COPY_END) + 1) if end < 0 else end
        if self._copied[0] != b"pg_temp":
            self._rows["resent" if self._copied in self._resent else "inserted"][self._copied] += data.count(
                b"\n", at + 1, stop + 1
            )
        if end < 0:
            return stop, True
        self._copied = None
        return end + len(_COPY_END) - 1, False

    def _plain(self, data: bytes, at: int) -> tuple[int, bool]:
        """Look at statements up to the next block; at is a newline. Return where to go on, and whether to wait."""
        last = data.rfind(b"\n", at)
        block = _BLOCK.search(data, at)
        stop = last if block is None else block.start()
        if block is not None:  # its first line has to be whole, and a DDL block altogether
            whole = data.find(_DDL_END, stop) if data.startswith(b"-- ddl ", stop + 1) else stop
            newline = data.find(b"\n", stop + 1)
            if whole < 0 or newline < 0:
                self._statements(data[at : stop + 1])
                return stop, True
        else:
            stop = _last_start(data, at, last)
        self._statements(data[at : stop + 1])
        if block is None:
            return stop, True
        line = data[stop + 1 : newline + 1]
        if copy := _COPY.match(line):
            self._copied = (copy[1], copy[2])
        elif line.startswith(b"-- ddl "):
            self._ddl(line, data[newline + 1 : whole + 1])
            return whole + len(_DDL_END) - 1, False
        elif resent := _RESENT.fullmatch(line):
            change = self._resent.add if resent[3] == b"the source made" else self._resent.discard
            change((resent[1], resent[2]))
        return newline, False

    def _statements(self, text: bytes) -> None:
        """Take whole lines outside of COPY data and DDL blocks; text begins and ends with a newline."""
        if len(text) < 2:  # nothing new before a block that was waited for
            return
        self._count(text)
        if self._resent:
            self._move_resent(text)
        if times := _TIME.findall(text):
            self._times = [min(times + self._times[:1]), max(times + self._times[1:])]
        if b"\nTRUNCATE " in text:
            for match, begin in self._placed(_TRUNCATE, text):
                self._truncated(match, begin)
        if b"\n-- mark " in text:
            for match, begin in self._placed(_MARK, text):
                name = match[1].decode("ascii", "replace")
                if not name.startswith(OWN_MARK):
                    _append(self._marks, _place(begin) | {"name": name})
        for match, begin in self._placed(_DELETED, text) if b" deleted" in text else ():
            self._deleted(match, text, begin)
        self._begin = _last_begin(text, 0, len(text)) or self._begin
        self._own = text.startswith(_OWN, text.rfind(b"\n", 0, len(text) - 1) + 1)

    def _count(self, text: bytes) -> None:
        for found, number in Counter(_HEADS.findall(text)).items():
            self._add(found, number)
        if b" rows\n" in text:
            self._many(text)

    def _many(self, text: bytes) -> None:
        """Add the rows of statements that have several, which were counted as one."""
        before = 0
        for match in _MANY.finditer(text):
            statement = text[before : match.end() - 1]
            before = match.end() - 1
            images = _IMAGES.search(statement)
            if images is not None:
                self._rows[_KINDS[images[1]]][images[2], images[3]] += int(match[1])
                continue
            if heads := _HEADS.findall(statement):
                self._add(heads[-1], (0 if match[1] == b"*" else int(match[1])) - 1)

    def _add(self, found: bytes, rows: int) -> None:
        head = _HEAD.fullmatch(found)
        assert head is not None
        self._rows[_KINDS[head[1]]][head[2], head[3]] += rows

    def _move_resent(self, text: bytes) -> None:
        """Count INSERTs up to the transaction's end as rows that were sent again."""
        end = text.find(_COMMIT)
        part = text if end < 0 else text[: end + 1]
        scan = Summary(self._codec)
        scan._count(part)
        for table in self._resent:
            moved = scan._rows["inserted"][table]
            self._rows["inserted"][table] -= moved
            self._rows["resent"][table] += moved
        if end >= 0:
            self._resent.clear()

    def _placed(self, pattern: re.Pattern[bytes], text: bytes) -> Iterator[tuple[re.Match[bytes], Begin]]:
        """Yield what is found, with the BEGIN line before it. Anybody can write marks: no byte is looked at twice."""
        begin, before = self._begin, 0
        for match in pattern.finditer(text):
            begin = _last_begin(text, before, match.start()) or begin
            before = match.start()
            assert begin is not None
            yield match, begin

    def _truncated(self, match: re.Match[bytes], begin: Begin) -> None:
        for schema, name in _TRUNCATED.findall(match[1]):
            self._rows["truncated"][schema, name] += 1
            _append(self._truncates, _place(begin) | self._named((schema, name)))

    def _deleted(self, match: re.Match[bytes], text: bytes, begin: Begin) -> None:
        rows = int(match[1])
        if rows < FEW_ROWS or (len(self._deletes) >= MOST_DELETES and rows <= self._deletes[-1]["rows"]):
            return
        begun = max(text.rfind(_BEGIN, 0, match.start()), 0)
        scan = Summary(self._codec)  # of the transaction, as far as it is here
        scan._count(text[begun : match.start() + 1])
        deleted = {table: number for table, number in scan._rows["deleted"].items() if number}
        tables = [self._named(table) | {"rows": number} for table, number in deleted.items()]
        complete = sum(deleted.values()) == rows
        self._deletes.append(_place(begin) | {"rows": rows, "tables": tables if complete else []})
        self._deletes = sorted(self._deletes, key=lambda entry: -entry["rows"])[:MOST_DELETES]

    def _ddl(self, line: bytes, text: bytes) -> None:
        self._resent.clear()
        own, self._own = self._own, False
        if own or self._begin is None:
            return
        ddl = read_block(read_ddl(line, text), self._codec, None, 0)
        names = name_objects(ddl.statement, ddl.search_path, self._codec, MOST + 1)
        entry = _place(self._begin) | {"tag": ddl.tag}
        entry["names"] = [{"schema": schema, "name": name} for schema, name in names]
        if not names:
            entry["text"] = brief(ddl.statement)
        if len(read_path(ddl.search_path)) > 1:
            entry["ambiguous"] = True  # an object may be in another schema of the path
        if (renamed := read_rename(ddl.statement, self._codec)) is not None:
            entry["renamed"] = _as_json(renamed, ddl.search_path)
        if dropped := read_dropped_columns(ddl.statement, self._codec, MOST + 1):
            entry["dropped_columns"] = dropped
        if (partition := read_partition(ddl.statement, self._codec)) is not None:
            made, parent = (resolve(name, ddl.search_path) for name in partition)
            entry["partition"] = {"schema": made[0], "name": made[1], "of_schema": parent[0], "of_name": parent[1]}
        entry |= {"by": ddl.asked_by, "from": ddl.address, "application": ddl.application}
        self._changed += len(names) + len(dropped)
        _append(self._changes, entry)

    def _text(self, name: bytes) -> str:
        return split_name(name.decode(self._codec, "surrogateescape"))

    def _named(self, table: Key) -> dict[str, str]:
        return {"schema": self._text(table[0]), "name": self._text(table[1])}

    def as_manifest(self) -> dict[str, Any]:
        """Return the keys that a manifest gets, when all of the text was taken.

        Those that name objects are missing if there is too much to tell, or a text that is none in its encoding.
        """
        self._look()
        times: dict[str, Any] = {"commit_times": [time.decode() for time in self._times]} if self._times else {}
        kinds = self._rows.items()
        tables = sorted({table for _, counts in kinds for table, number in counts.items() if number})
        events = len(self._changes), self._changed, len(self._truncates), len(self._marks)
        if max(len(tables), *events) > MOST:
            return times
        found = {
            "tables": [
                self._named(table) | {kind: counts[table] for kind, counts in kinds if counts[table]}
                for table in tables
            ],
            "schema_changes": self._changes,
            "truncates": self._truncates,
            "marks": self._marks,
            "largest_deletes": self._deletes,
        }
        return (found if _is_text(found) else {}) | times


def count_rows(text: bytes) -> dict[str, int]:
    """Return how many rows the statements of a text insert, update and delete: there is no COPY and no DDL in it."""
    scan = Summary("utf-8")
    scan._count(b"\n" + text)
    return {kind: scan._rows[kind].total() for kind in ("inserted", "updated", "deleted")}


def _last_begin(text: bytes, start: int, stop: int) -> Begin | None:
    """Return the last BEGIN line that begins between two places."""
    found = text.rfind(_BEGIN, start, stop)
    return None if found < 0 else parse_begin(text[found + 1 : text.index(b"\n", found + 1) + 1])


def _place(begin: Begin) -> dict[str, Any]:
    return {"time": begin.time, "xid": begin.xid, "lsn": format_lsn(begin.commit_lsn)}


def _append(events: list[dict[str, Any]], event: dict[str, Any]) -> None:
    """Add an event, unless there are too many already."""
    if len(events) <= MOST:
        events.append(event)


def _is_text(value: Any) -> bool:
    """Whether every string in it can be written: a database in SQL_ASCII may hold bytes that are no text."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _as_json(renamed: Renamed, path: str | None) -> dict[str, str | None]:
    if renamed.column is not None:
        return {"column": renamed.column, "new_column": renamed.new_column}
    schema, name = resolve(renamed.new, path)
    return {"schema": schema, "name": name}


def _last_start(data: bytes, at: int, last: int) -> int:
    """Return the newline before the statement that data ends in or after; all before it is whole."""
    while last > at and data[last + 1 : last + 2] in (b"", b"(", b")"):
        last = data.rfind(b"\n", at, last)
    return last
