"""What a comparison of two points has found, and the SQL that it is written as."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import IO, Any

from scribe.common.dialect import HEADER_SETTINGS, build_footer, build_header, quote_literal
from scribe.common.lsn import format_lsn
from scribe.restore import rowdiff
from scribe.restore.constraints import Table
from scribe.restore.schemawalk import SchemaChange

SETTINGS = "".join(f"SET {name} = {value};\n" for name, value in HEADER_SETTINGS)


@dataclass
class Place:
    """A point that was reached."""

    lsn: int
    time: str | None

    def __str__(self) -> str:
        return format_lsn(self.lsn) + (f" ({self.time})" if self.time else "")


@dataclass
class Difference:
    """What was found. sql: all of it, to be read from its beginning; schema: the changes that are in it."""

    first: Place
    second: Place
    rows: dict[str, rowdiff.Count] = field(default_factory=dict)
    schema: list[SchemaChange] = field(default_factory=list)
    sequences: list[str] = field(default_factory=list)
    objects: int = 0
    refreshed: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)  # what cannot be carried
    sql: IO[bytes] = field(default_factory=tempfile.TemporaryFile)

    def __bool__(self) -> bool:
        return bool(self.rows or self.schema or self.sequences or self.objects or self.refreshed)


class Script:
    """SQL in the making, and what is in it."""

    def __init__(self) -> None:
        self.file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  (it lives as long as this)
        self.rows: dict[str, rowdiff.Count] = {}
        self.refreshed: list[str] = []
        self.left: list[str] = []
        self.objects: set[int] = set()
        self.schema: list[SchemaChange] = []
        self.sequences: list[tuple[Table, int, bool]] = []

    def put(self, text: str | bytes) -> None:
        """Add text."""
        self.file.write(text if isinstance(text, bytes) else text.encode())

    def count(self, unit: rowdiff.Unit, found: rowdiff.Count) -> None:
        """Add rows to what is in it."""
        self.rows.setdefault(str(unit.relation), rowdiff.Count()).add(found)


def write(script: Script, found: Difference, identity: Mapping[str, Any], *, partial: bool) -> IO[bytes]:
    """Return the script between what a segment begins and ends with; of some tables without a word of positions."""
    out: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  (it lives as long as what was found)
    title = f"-- pg_scribe difference, database {identity['database']!a}, from {found.first} to {found.second}\n"
    moves = "".join(rowdiff.set_sequence(name, value, called=called) for name, value, called in script.sequences)
    if moves:
        moves = f"BEGIN;\nSET LOCAL client_encoding = 'UTF8';\n{moves}COMMIT;\n"
    header = build_header(
        database="", decoder="", server="", encoding=identity["encoding"], from_lsn=found.first.lsn
    ).partition("\n")[2]
    footer = build_footer(sequences=(), to_lsn=found.second.lsn)
    if partial:
        encoding = quote_literal(identity["encoding"])
        header = f"\\set ON_ERROR_STOP on\nSET client_encoding = {encoding};\n{SETTINGS}"
        footer = ""
    out.write((title + header).encode())
    script.file.seek(0)
    for block in iter(lambda: script.file.read(1 << 20), b""):
        out.write(block)
    out.write((moves + footer).encode())
    out.seek(0)
    return out


def describe(found: Difference) -> list[str]:
    """Return the difference in numbers, for people."""
    lines = [f"from {found.first} to {found.second}"]
    for change in found.schema:
        names = ", ".join(".".join(filter(None, name)) for name in change.names)
        lines.append(f"{change.tag} {names}".rstrip() + f" (transaction {change.begin.xid}, {change.begin.time})")
    for name, count in sorted(found.rows.items()):
        lines.append(
            f"{name}: {count.first} rows only in the first, {count.second} only in the second, {count.changed} changed"
        )
    lines += [f"sequence {name}" for name in found.sequences]
    lines += [f"materialized view {name}" for name in found.refreshed]
    lines += [f"{found.objects} large objects"] if found.objects else []
    return lines if len(lines) > 1 else [*lines, "no difference"]
