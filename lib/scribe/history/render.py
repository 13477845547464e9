"""Changes as text: single statements, one line a transaction, JSON."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from scribe.common.ddlnames import Name, brief, name_objects
from scribe.common.dialect import quote_literal, quote_name
from scribe.common.lsn import format_lsn
from scribe.common.printable import printable
from scribe.decoders.rows.builtins import WORDS
from scribe.history.changes import Change, Ddl, Transaction
from scribe.history.statements import DELETE, INSERT, KINDS, TRUNCATE, Table

_PLAIN_NAME = re.compile(r"[a-z_][a-z0-9_]*")
_SIGNS = {"insert": "+", "update": "~", "delete": "-", "truncate": "truncated"}


@dataclass(frozen=True)
class Style:
    """How text looks: escape sequences of a terminal, or none. terminal: a person reads it there."""

    colour: bool = False
    terminal: bool = False

    def paint(self, text: str, code: str) -> str:
        """Return text, which others chose, in a colour."""
        text = printable(text)
        return f"\x1b[{code}m{text}\x1b[m" if self.colour else text


@dataclass(frozen=True, slots=True)
class ShortDdl:
    """A schema change as a line shows it, and as a manifest has it."""

    tag: str
    name: str
    asked_by: str | None = None
    address: str | None = None
    application: str | None = None

    def __str__(self) -> str:
        return f"{self.tag} {self.name}".rstrip() + describe_asker(self.asked_by, self.address, self.application)


@dataclass(slots=True)
class Entry:
    """A transaction as far as it was asked for: how many rows of which table, and what else."""

    head: Transaction
    rows: dict[Table, dict[str, int]] = field(default_factory=dict)
    ddl: list[ShortDdl] = field(default_factory=list)
    marks: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    who: str = ""

    def count(self, kind: str, table: Table, rows: int) -> None:
        """Add some rows."""
        counts = self.rows.setdefault(table, dict.fromkeys(KINDS, 0))
        counts[kind] += rows

    @property
    def asked(self) -> str:
        """Who made it, unless a schema change says so already."""
        return "" if any(str(each).endswith(self.who) for each in self.ddl) else printable(self.who)

    @property
    def total(self) -> int:
        """How many rows."""
        return sum(number for counts in self.rows.values() for number in counts.values())


def name_of(name: str) -> str:
    """Return a name as an identifier, quoted only if it has to be."""
    return name if _PLAIN_NAME.fullmatch(name) and name not in WORDS else quote_name(name)


def table_name(table: Table) -> str:
    """Return a table's name with its schema."""
    return f"{name_of(table.schema)}.{name_of(table.name)}"


def describe_asker(role: str | None, address: str | None, application: str | None) -> str:
    """Return " by ROLE from ADDRESS (APPLICATION)", as far as it is known."""
    if role is None:
        return ""
    return f" by {role}" + (f" from {address}" if address else "") + (f" ({application})" if application else "")


def show_names(names: Iterable[Name]) -> str:
    """Return the names of objects, quoted only if they have to be."""
    return ", ".join(f"{name_of(schema)}.{name_of(name)}" if schema else name_of(name) for schema, name in names)


def shorten_ddl(ddl: Ddl) -> ShortDdl:
    """Return a schema change in short; what has no name is shown by the beginning of its text."""
    shown = show_names(name_objects(ddl.statement, ddl.search_path, ddl.codec))
    return ShortDdl(ddl.tag, shown or brief(ddl.statement), ddl.asked_by, ddl.address, ddl.application)


# Statements


def _literal(value: str | None) -> str:
    return "NULL" if value is None else quote_literal(value)


def _condition(key: Mapping[str, str | None]) -> str:
    parts = [
        f"{name_of(name)} IS NULL" if value is None else f"{name_of(name)} = {quote_literal(value)}"
        for name, value in key.items()
    ]
    return " AND ".join(parts) or "true"


def statement_of(change: Change) -> str:
    """Return one change as a statement that a person can read."""
    table = table_name(change.table)
    if change.kind == TRUNCATE:
        return f"TRUNCATE ONLY {table}{' ' if change.options else ''}{change.options};"
    if change.kind == DELETE:
        return f"DELETE FROM {table} WHERE {_condition(change.key)};"
    if change.kind == INSERT:
        if not change.values:
            return f"INSERT INTO {table} DEFAULT VALUES;"
        columns = ", ".join(map(name_of, change.values))
        return f"INSERT INTO {table} ({columns}) VALUES ({', '.join(map(_literal, change.values.values()))});"
    pairs = ", ".join(f"{name_of(name)} = {_literal(value)}" for name, value in change.values.items())
    return f"UPDATE {table} SET {pairs} WHERE {_condition(change.key)};"


# One line


def line_of(entry: Entry, style: Style) -> str:
    """Return a transaction as one line."""
    head = entry.head
    parts = [_count_text(table, counts, style) for table, counts in entry.rows.items()]
    parts += [style.paint(str(ddl), "36") for ddl in entry.ddl]
    parts += [style.paint(f"mark {name}", "35") for name in entry.marks]
    parts += [style.paint(f"warning: {text}", "31") for text in entry.notices]
    number = f"xid {head.xid}" if head.xid else "xid -"
    place = style.paint(f"{number:<14} {format_lsn(head.commit_lsn):<12}", "33")
    return f"{head.time}  {place} {', '.join(parts) or '(nothing)'}{entry.asked}\n"


def _count_text(table: Table, counts: Mapping[str, int], style: Style) -> str:
    colours = {"insert": "32", "update": "34", "delete": "31", "truncate": "31"}
    shown = [
        style.paint(_SIGNS[kind] if kind == TRUNCATE else f"{_SIGNS[kind]}{counts[kind]}", colours[kind])
        for kind in KINDS
        if counts[kind]
    ]
    return f"{printable(table_name(table))} {' '.join(shown)}"


def commands_of(entry: Entry) -> str:
    """Return the commands that lead before a transaction, or take it back: of schema changes, DROPs alone are."""
    head = entry.head
    if not head.xid:
        return f"    scribe-restore -d TARGET --target-lsn {format_lsn(head.commit_lsn)} --target-exclusive\n"
    before = f"    scribe-restore -d TARGET --target-xid {head.xid} --target-exclusive\n"
    able = all(ddl.tag.startswith("DROP ") for ddl in entry.ddl)
    return before + (f"    scribe-undo --xid {head.xid}\n" if able else "")


# JSON


def json_head(head: Transaction, kind: str) -> dict[str, Any]:
    """Return what every line of a transaction has."""
    return {"xid": head.xid or None, "lsn": format_lsn(head.commit_lsn), "time": head.time, "kind": kind}


def json_change(head: Transaction, change: Change) -> dict[str, Any]:
    """Return a change of a row as JSON has it."""
    value = json_head(head, change.kind)
    value |= {"schema": change.table.schema, "table": change.table.name}
    if change.kind == TRUNCATE:
        return value | {"options": change.options}
    if change.kind != INSERT:
        value |= {"key": change.key, "whole_row": change.whole}
    return value if change.kind == DELETE else value | {"values": change.values}


def json_ddl(head: Transaction, ddl: Ddl) -> dict[str, Any]:
    """Return a schema change as JSON has it."""
    return json_head(head, "ddl") | {
        "tag": ddl.tag,
        "objects": [{"schema": s, "name": n} for s, n in name_objects(ddl.statement, ddl.search_path, ddl.codec)],
        "statement": ddl.statement,
        "asked_by": ddl.asked_by,
        "address": ddl.address,
        "application": ddl.application,
        "role": ddl.role,
        "inexact": ddl.inexact,
    }


def sql_of_ddl(statement: str) -> str:
    """Return a schema change as lines of SQL."""
    return f"{statement}\n" if statement.endswith(";") else f"{statement}\n;\n"
