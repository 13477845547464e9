"""What is looked for in an archive: filters over transactions, changes of rows and schema changes."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from scribe.common.ddlnames import Name, name_objects, read_path
from scribe.common.dialect import BEGIN_PREFIX
from scribe.history.changes import Change, Count, Ddl, Range, Transaction
from scribe.history.render import statement_of
from scribe.history.statements import Table

DDL = "ddl"
_PLAIN = re.compile(r"[A-Za-z0-9_.:@ -]{2,}|\d+")  # a value that stands in the stream as it is, in every form
_PLAIN_NAME = re.compile(r"[a-z_][a-z0-9_]*")

Pattern = tuple[str | None, str]  # regular expressions for schema and name
Called = tuple[str, int, int | None]  # a name, and the LSNs from and up to which it was so called; None: no end known


@dataclass(frozen=True)
class Query:
    """Filters; those that are empty let everything through.

    tables, schemas: patterns, any of which has to fit; key, values, columns: all of them have to; xids: any.
    names: other names of the tables that fit, from and up to which LSN; moves: schemas that were renamed (old name, new
    name, LSN); aliases: columns that were renamed, each with its names, in that order.
    """

    within: Range = field(default_factory=Range)
    xids: frozenset[int] = frozenset()
    tables: tuple[Pattern, ...] = ()
    schemas: tuple[str, ...] = ()
    names: tuple[tuple[Table, int, int | None], ...] = ()
    moves: tuple[tuple[str, str, int], ...] = ()
    aliases: tuple[tuple[Called, ...], ...] = ()
    key: tuple[tuple[str, str | None], ...] = ()
    columns: tuple[str, ...] = ()
    values: tuple[tuple[str, str | None], ...] = ()
    kinds: frozenset[str] = frozenset()
    role: str | None = None
    grep: str | None = None
    larger_than: int | None = None

    @property
    def by_row(self) -> bool:
        """Whether rows have to be looked at, and not only counted."""
        return bool(self.key or self.columns or self.values or self.grep)

    @property
    def takes_ddl(self) -> bool:
        """Whether a schema change can fit."""
        return self.fits_kind(DDL) and not (self.key or self.values or self.columns)

    @property
    def by_table(self) -> bool:
        """Whether some tables only are asked for."""
        return bool(self.tables or self.schemas)

    def fits_table(self, table: Table, lsn: int | None = None) -> bool:
        """Whether a table is asked for, by the name that it has (at an LSN) or another that it had or got."""
        if not self.by_table:
            return True
        if any(
            table == name and (lsn is None or (start <= lsn and (end is None or lsn <= end)))
            for name, start, end in self.names
        ):
            return True
        schemas = {table.schema}
        schemas |= {new for old, new, at in self.moves if table.schema == old and (lsn is None or lsn <= at)}
        schemas |= {old for old, new, at in self.moves if table.schema == new and (lsn is None or lsn >= at)}
        return any(self.fits_name((schema, table.name)) for schema in schemas)

    def renames_within(self, start: int, end: int) -> bool:
        """Whether a table that is asked for gets or loses a name between two LSNs."""
        places = [lsn for _, first, last in self.names for lsn in (first, last)] + [lsn for _, _, lsn in self.moves]
        return any(lsn is not None and start < lsn <= end for lsn in places)

    def fits_name(self, name: Name) -> bool:
        """Whether the patterns fit a name; without a schema, those of any do."""
        schema, own = name
        if self.schemas and not any(_fits(pattern, schema or "") for pattern in self.schemas):
            return False
        return not self.tables or any(
            _fits(pattern, own) and (place is None or schema is None or _fits(place, schema))
            for place, pattern in self.tables
        )

    def fits_rows(self, item: Change | Count, lsn: int) -> bool:
        """Whether rows that were changed by the transaction at an LSN are asked for."""
        if item.resent or not (self.fits_kind(item.kind) and self.fits_table(item.table, lsn)):
            return False
        return not self.by_row or (isinstance(item, Change) and self._fits_change(item, lsn))

    def fits_kind(self, kind: str) -> bool:
        return not self.kinds or kind in self.kinds

    def _fits_change(self, change: Change, lsn: int) -> bool:
        return (
            all(
                any(_has(change, n, value) for n in self._called(name, lsn))
                for name, value in (*self.key, *self.values)
            )
            and all(any(_touches(change, n) for n in self._called(name, lsn)) for name in self.columns)
            and (self.grep is None or re.search(self.grep, statement_of(change)) is not None)
        )

    def _called(self, column: str, lsn: int) -> set[str]:
        """Return what columns are called at an LSN that have, had or get a name."""
        chosen = [names for names in self.aliases if any(name == column for name, _, _ in names)]
        then = {name for names in chosen for name, start, end in names if start <= lsn and (end is None or lsn <= end)}
        return {column} | then

    def fits_ddl(self, ddl: Ddl, lsn: int) -> bool:
        """Whether a schema change is asked for."""
        if not self.takes_ddl:
            return False
        if self.role is not None and self.role not in (ddl.asked_by, ddl.role if ddl.asked_by is None else None):
            return False
        if self.grep is not None and re.search(self.grep, ddl.statement) is None:
            return False
        return not self.by_table or any(
            self.fits_object(name, lsn)
            for name in name_objects(ddl.statement, ddl.search_path, ddl.codec)
            for name in ([name] if len(read_path(ddl.search_path)) < 2 else [name, (None, name[1])])
        )

    def fits_object(self, name: Name, lsn: int) -> bool:
        """Whether an object of a schema change is asked for, under any of its names."""
        schema, own = name
        return self.fits_name(name) if schema is None else self.fits_table(Table(schema, own), lsn)

    def fits_transaction(self, head: Transaction) -> bool:
        """Whether a transaction is asked for, as far as its first line tells."""
        return not self.xids or head.xid in self.xids

    def needles(self) -> tuple[bytes, ...]:
        """Return bytes that have to be in every transaction that fits by its rows; the rarest first.

        In a schema change, a name may be written in other ways.
        """
        found = [value.encode() for _, value in self.key if value is not None and _PLAIN.fullmatch(value)]
        if len(self.xids) == 1:
            found.append(BEGIN_PREFIX + b"%d commit " % next(iter(self.xids)))
        if len(self.tables) == 1 and not self.names and (name := _plain_name(self.tables[0][1])):
            found.append(name.encode())
        return tuple(found)


def _fits(pattern: str, name: str) -> bool:
    """Whether a pattern fits a name as it does in PostgreSQL: newlines are characters as others are."""
    return re.fullmatch(pattern, name, re.DOTALL) is not None


def _plain_name(pattern: str) -> str | None:
    name = pattern.removeprefix("^(?:").removesuffix(")$")
    return name if _PLAIN_NAME.fullmatch(name) else None


def _has(change: Change, name: str, value: str | None) -> bool:
    """Whether a column has a value, before or after the change."""
    return (name in change.key and change.key[name] == value) or (
        name in change.values and change.values[name] == value
    )


def _touches(change: Change, name: str) -> bool:
    """Whether a change gives a column a value, or takes the row away that has it."""
    return name in (change.key if change.kind == "delete" else change.values)


def read_pair(text: str) -> tuple[str, str | None]:
    """Return column and value of NAME=LITERAL: NULL, 'quoted' or as it is. Raises ValueError."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise ValueError(f'"{text}" is not NAME=VALUE')
    name = name.strip()
    name = name[1:-1].replace('""', '"') if name.startswith('"') and name.endswith('"') else name
    stripped = value.strip()
    if stripped.upper() == "NULL":
        return name, None
    if len(stripped) > 1 and stripped[0] == stripped[-1] == "'":
        return name, stripped[1:-1].replace("''", "'")
    return name, stripped


def read_pairs(text: str) -> tuple[tuple[str, str | None], ...]:
    """Return the columns and values of a key: id=42, or a=1 AND b='x, y'. Raises ValueError."""
    parts = _SEPARATOR.split(text)
    return tuple(read_pair(part) for part in parts)


_SEPARATOR = re.compile(r"(?:, *| +[aA][nN][dD] +)(?=(?:[^']*'[^']*')*[^']*\Z)")
