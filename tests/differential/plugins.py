"""What each output plugin says of the same WAL, brought to one form: transactions of changes, values as text.

Each of read_...() yields Transaction objects. Where a plugin leaves something out by design, it is filled in here and
nowhere else: test_decoding does not print the NULLs of an old row, wal2json writes NULL for NaN and Infinity (UNTOLD).
"""

from __future__ import annotations

import functools
import itertools
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

from scribe.archive.segments import Reader
from scribe.common.lsn import parse_lsn
from scribe.decoders import pgmessages
from scribe.decoders.pgmessages import MISSING, Row
from scribe.decoders.registry import decoder_named
from scribe.history import changes
from scribe.spool.concatenation import Tape
from scribe.spool.contents import Spool

Name = tuple[str, str]  # schema and table
Values = dict[str, Any]  # by column; text as the type writes it, None for NULL


class Untold:
    """Stands for a value that a plugin does not tell."""


UNTOLD = Untold()


@dataclass
class Change:
    """One row changed, or one table truncated.

    old: what is told of the old row, by which it is found; new: the values that are told of the new one; unchanged: the
    columns that are said to have kept their value, which is not told.
    """

    kind: str  # insert, update, delete, truncate
    table: Name
    old: Values = field(default_factory=dict)
    new: Values = field(default_factory=dict)
    unchanged: set[str] = field(default_factory=set)


@dataclass
class Transaction:
    """Its number, where its commit record ends, and its changes in their order."""

    xid: int
    end: int
    changes: list[Change] = field(default_factory=list)


@dataclass(frozen=True)
class Table:
    """What is known of a table beside the streams. identity: as in pg_class.relreplident; key: its columns' names."""

    types: dict[str, str]  # by column, generated ones left out
    generated: frozenset[str]
    identity: str
    key: tuple[str, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are not generated, in their order."""
        return tuple(self.types)

    def old_of(self, new: Values) -> Values:
        """Return by what a row is found whose identity an UPDATE did not change, so that it is not told twice."""
        return {name: new[name] for name in self.key}


Tables = dict[Name, Table]


# --- test_decoding --------------------------------------------------------------------------------------------------

_IDENTIFIER = r'(?:"(?:[^"]|"")*"|[^\s".\[:(,]+)'
_HEAD = re.compile(rf"table ({_IDENTIFIER})\.({_IDENTIFIER}): (INSERT|UPDATE|DELETE):", re.S)
_TRUNCATED = re.compile(rf"({_IDENTIFIER})\.({_IDENTIFIER})(, |: TRUNCATE:)", re.S)
_COLUMN = re.compile(
    rf" ({_IDENTIFIER})\[(?:[^\"\]]|\"(?:[^\"]|\"\")*\"|\[\])+\]:"
    r"(unchanged-toast-datum|null|B'[01]*'|'(?:[^']|'')*'|[^\s']+)",
    re.S,
)
_NUMBER = re.compile(r"(?:BEGIN|COMMIT) (\d+)")


def _plain(identifier: str) -> str:
    return identifier[1:-1].replace('""', '"') if identifier.startswith('"') else identifier


def _test_value(text: str) -> str | None:
    if text == "null":
        return None
    if text in ("true", "false"):
        return text[0]
    if text.startswith("B'"):
        return text[2:-1]
    return text[1:-1].replace("''", "'") if text.startswith("'") else text


def _test_columns(text: str, at: int) -> tuple[Values, set[str], int]:
    """Return the values from an offset on, the unchanged columns, and where they end."""
    values: Values = {}
    unchanged: set[str] = set()
    while (match := _COLUMN.match(text, at)) is not None:
        name, value, at = _plain(match[1]), match[2], match.end()
        if value == "unchanged-toast-datum":
            unchanged.add(name)
        else:
            values[name] = _test_value(value)
    return values, unchanged, at


def _test_change(text: str, tables: Tables) -> Change:
    head = _HEAD.match(text)
    if head is None:
        raise ValueError(f"test_decoding wrote what is not understood: {text[:200]!r}")
    name, kind, at = (_plain(head[1]), _plain(head[2])), head[3].lower(), head.end()
    change, table, told = Change(kind, name), tables[name], False
    if kind == "delete":
        change.old, _, at = _test_columns(text, at)
        told = True
    elif text.startswith(" old-key:", at):
        change.old, _, at = _test_columns(text, at + len(" old-key:"))
        at += len(" new-tuple:")
        told = True
    if kind != "delete":
        change.new, change.unchanged, at = _test_columns(text, at)
    if at != len(text):
        raise ValueError(f"test_decoding wrote what is not understood, from {at}: {text[: at + 200]!r}")
    if told and table.identity == "f":  # NULLs of an old row are not printed
        change.old = dict.fromkeys(table.columns) | change.old
    elif kind == "update" and not told:
        change.old = table.old_of(change.new)
    return change


def read_test_decoding(rows: Iterable[tuple[str, str]], tables: Tables) -> Iterator[Transaction]:
    """Yield what pg_logical_slot_get_changes() returns: rows of LSN and text."""
    current = Transaction(0, 0)
    for lsn, text in rows:
        if text.startswith("BEGIN"):
            current = Transaction(int(_NUMBER.match(text)[1]), 0)  # type: ignore[index]
        elif text.startswith("COMMIT"):
            current.end = parse_lsn(lsn)
            yield current
        elif text.startswith("table ") and _HEAD.match(text) is None:
            names = [(_plain(m[1]), _plain(m[2])) for m in _TRUNCATED.finditer(text, len("table "))]
            current.changes += [Change("truncate", name) for name in names]
        else:
            current.changes.append(_test_change(text, tables))


# --- wal2json -------------------------------------------------------------------------------------------------------

_KINDS = {"I": "insert", "U": "update", "D": "delete", "T": "truncate"}
_MAY_BE_NAN = ("numeric", "double precision", "real")


def _json_values(columns: list[dict[str, Any]], table: Table) -> Values:
    values: Values = {}
    for column in columns:
        value, kind = column["value"], table.types.get(column["name"], "")  # it does not escape the types that it names
        if isinstance(value, bool):
            value = "t" if value else "f"
        elif value is None and kind.startswith(_MAY_BE_NAN):
            value = UNTOLD
        elif value is not None and kind == "bytea":
            value = f"\\x{value}"
        values[column["name"]] = value
    return values


def read_wal2json(rows: Iterable[tuple[str, str]], tables: Tables) -> Iterator[Transaction]:
    """Yield what pg_logical_slot_get_changes() returns with format-version 2."""
    current = Transaction(0, 0)
    for _, text in rows:
        try:
            said = json.loads(text, parse_float=str, parse_int=str, strict=False)
        except ValueError as error:
            raise ValueError(f"wal2json wrote what is no JSON: {error}: {text}") from None
        action = said["action"]
        if action == "B":
            current = Transaction(int(said["xid"]), 0)
        elif action == "C":
            current.end = parse_lsn(said["nextlsn"])
            if current.changes:  # it tells of empty ones, too
                yield current
        elif action in _KINDS:
            name = (said["schema"], said["table"])
            if action == "T":
                current.changes.append(Change("truncate", name))
                continue
            old, new = (_json_values(said.get(word, ()), tables[name]) for word in ("identity", "columns"))
            unchanged = set(tables[name].columns) - set(new) if action == "U" else set()
            current.changes.append(Change(_KINDS[action], name, old, new, unchanged))


# --- pgoutput as it is ----------------------------------------------------------------------------------------------


def _row(relation: pgmessages.Relation, row: Row) -> tuple[Values, set[str]]:
    pairs = list(zip(relation.columns, row, strict=True))
    values = {c.name: None if v is None else v.decode() for c, v in pairs if isinstance(v, bytes | None)}
    return values, {c.name for c, v in pairs if v is MISSING}


def read_pgoutput(path: Path, tables: Tables) -> Iterator[Transaction]:
    """Yield what stands in a file of pg_recvlogical's."""
    relations: dict[int, pgmessages.Relation] = {}
    current = Transaction(0, 0)
    with Tape([path]) as tape:
        for data, at, _, _ in pgmessages.walk(tape, 0):
            kind = data[at]
            if kind == pgmessages.RELATION:
                relation = pgmessages.read_relation(data, at, "utf-8")
                relations[relation.relid] = relation
            elif kind == pgmessages.BEGIN:
                current = Transaction(pgmessages.read_begin(data, at).xid, 0)
            elif kind == pgmessages.COMMIT:
                current.end = pgmessages.read_commit(data, at)[1]
                yield current
            elif kind in (pgmessages.INSERT, pgmessages.UPDATE, pgmessages.DELETE):
                current.changes.append(_message(data, at, relations, tables))
            elif kind == pgmessages.TRUNCATE:
                count = pgmessages.U32(data, at + 1)[0]
                found = [relations[pgmessages.U32(data, at + 6 + 4 * n)[0]] for n in range(count)]
                current.changes += [Change("truncate", (r.schema, r.name)) for r in found]


def _message(data: bytes, at: int, relations: dict[int, pgmessages.Relation], tables: Tables) -> Change:
    relation = relations[pgmessages.U32(data, at + 1)[0]]
    kind = {pgmessages.INSERT: "insert", pgmessages.UPDATE: "update"}.get(data[at], "delete")
    change = Change(kind, (relation.schema, relation.name))
    at, told = at + 5, False
    if data[at] in (pgmessages.KEY, pgmessages.OLD):
        key_only, told = data[at] == pgmessages.KEY, True
        row, at = pgmessages.read_row(data, at + 1)
        change.old, _ = _row(relation, row)
        if key_only:
            change.old = {c.name: change.old[c.name] for c in relation.columns if c.key}
    if kind != "delete":
        row, _ = pgmessages.read_row(data, at + 1)
        change.new, change.unchanged = _row(relation, row)
    if kind == "update" and not told:
        change.old = tables[change.table].old_of(change.new)
    return change


# --- the dialect ----------------------------------------------------------------------------------------------------


def translate(spool: Spool, plugin: str) -> bytes:
    """Return as SQL what stands in a spool, as a rotation would write it."""
    decoder = decoder_named(plugin)
    with Tape(spool.paths()) as tape:
        scan = decoder.scan(tape, 0).run()
        scan.refuse_damage()
        if scan.end != tape.size:
            raise ValueError(f"the stream of {plugin} ends within a transaction")
        return b"".join(decoder.open_text(spool, tape, scan).blocks(0, scan.end))


def read_dialect(sql: bytes, plugin: str, tables: Tables) -> Iterator[Transaction]:
    """Yield what stands in the SQL of a segment's transactions."""
    for found in changes.whole(changes.read_events(Reader(BytesIO(sql), plugin), "utf-8")):
        strange = [item for item in found.items if not isinstance(item, changes.Change)]
        if strange:
            raise ValueError(f"{plugin} wrote what is no change of a row: {strange[0]}")
        yield Transaction(found.head.xid, found.end_lsn, [_dialect_change(c, tables) for c in found.changes])


def _dialect_change(change: changes.Change, tables: Tables) -> Change:
    name = (change.table.schema, change.table.name)
    if change.kind == "truncate":
        return Change(change.kind, name)
    unchanged = set(tables[name].columns) - set(change.values) if change.kind == "update" else set()
    return Change(change.kind, name, change.key, change.values, unchanged)


# --- what is common -------------------------------------------------------------------------------------------------


def tidy(transactions: Iterable[Transaction], tables: Tables) -> list[Transaction]:
    """Return them in the form that is compared: without generated columns, and what not every plugin says alike.

    Tables truncated one after the other are in the order of their names, each once, partitioned ones left out:
    test_decoding and the dialect name those, pgoutput does not; nor is there a border between two TRUNCATEs. Between
    two of them the changes of one table are in their order, and the tables in that of their names: the dialect gathers
    the changes of each.
    """
    found = []
    for transaction in transactions:
        kept: list[Change] = []
        for truncating, some in itertools.groupby(transaction.changes, lambda change: change.kind == "truncate"):
            if truncating:
                names = {change.table for change in some} & set(tables)
                kept += [Change("truncate", name) for name in sorted(names)]
            else:
                ordered = sorted(some, key=lambda change: change.table)
                kept += [_without_generated(change, tables[change.table].generated) for change in ordered]
        if kept:
            found.append(Transaction(transaction.xid, transaction.end, kept))
    return found


def _without_generated(change: Change, generated: frozenset[str]) -> Change:
    if not generated:
        return change
    old, new = ({n: v for n, v in row.items() if n not in generated} for row in (change.old, change.new))
    return Change(change.kind, change.table, old, new, change.unchanged - generated)


@functools.cache
def short(value: object) -> str:
    """A value for a message."""
    text = "UNTOLD" if isinstance(value, Untold) else repr(value)
    return text if len(text) <= 120 else f"{text[:80]}... ({len(text)} characters)"
