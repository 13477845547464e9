"""Rows of tables, to which changes are applied one by one as a plugin tells them, and where two plugins differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from plugins import Change, Name, Table, Tables, Transaction, Untold, Values, short

_NOT_TOLD = {"NaN", "Infinity", "-Infinity", None}  # what UNTOLD may stand for


class Difference(Exception):
    """Two plugins, or a plugin and the source, do not say the same."""


@dataclass
class Full:
    """A change with both rows whole. unchanged: as the plugin told it."""

    kind: str
    table: Name
    old: Values | None
    new: Values | None
    unchanged: set[str]


class _Rows:
    """The rows of one table, found by any set of columns."""

    def __init__(self, table: Table, rows: Iterable[Values]) -> None:
        self.table = table
        self.rows: dict[int, Values] = {}
        self._next = 0
        self._indexes: dict[tuple[str, ...], dict[tuple[Any, ...], list[int]]] = {}
        for row in rows:
            self.add(row)

    def add(self, row: Values) -> None:
        """Put a row in."""
        self._next += 1
        self.rows[self._next] = row
        for columns, index in self._indexes.items():
            index.setdefault(tuple(row[c] for c in columns), []).append(self._next)

    def remove(self, number: int) -> Values:
        """Take a row out."""
        row = self.rows.pop(number)
        for columns, index in self._indexes.items():
            index[tuple(row[c] for c in columns)].remove(number)
        return row

    def find(self, old: Values) -> list[int]:
        """Return the rows that have these values; values that are not told do not count."""
        columns = tuple(sorted(name for name, value in old.items() if not isinstance(value, Untold)))
        if columns not in self._indexes:
            index: dict[tuple[Any, ...], list[int]] = {}
            for number, row in self.rows.items():
                index.setdefault(tuple(row[c] for c in columns), []).append(number)
            self._indexes[columns] = index
        return self._indexes[columns].get(tuple(old[c] for c in columns), [])

    def clear(self) -> None:
        """Take all rows out."""
        self.rows.clear()
        self._indexes.clear()


class Replica:
    """All tables, as one plugin's stream makes them."""

    def __init__(self, tables: Tables, rows: Mapping[Name, Iterable[Values]]) -> None:
        self._rows = {name: _Rows(table, (dict(row) for row in rows[name])) for name, table in tables.items()}

    def apply(self, change: Change, like: Full | None = None) -> Full:
        """Apply a change and return it whole. like: what another plugin told, for what this one does not tell.

        Raises Difference if the row is not there, or could be one of several that are not equal.
        """
        rows = self._rows[change.table]
        if change.kind == "truncate":
            rows.clear()
            return Full(change.kind, change.table, None, None, set())
        old = None if change.kind == "insert" else self._take(rows, change, like)
        if change.kind == "delete":
            return Full(change.kind, change.table, old, None, set())
        new = {name: _told(value, name, like) for name, value in change.new.items()}
        strange = set(new) - set(rows.table.columns)
        if strange:
            raise Difference(f"there is no column {sorted(strange)}")
        new = (old or dict.fromkeys(rows.table.columns)) | new
        rows.add(new)
        return Full(change.kind, change.table, old, new, change.unchanged)

    def _take(self, rows: _Rows, change: Change, like: Full | None) -> Values:
        found = rows.find(change.old)
        if like is not None and len(found) > 1 and any(isinstance(v, Untold) for v in change.old.values()):
            found = [number for number in found if rows.rows[number] == like.old]
        if not found:
            raise Difference(f"no row has {_shown(change.old)}")
        if any(rows.rows[number] != rows.rows[found[0]] for number in found[1:]):
            raise Difference(f"{len(found)} rows that differ have {_shown(change.old)}")
        return rows.remove(found[0])

    def compare(self, rows: Mapping[Name, Iterable[Values]]) -> None:
        """Raise Difference unless these are the rows."""
        for name, mine in self._rows.items():
            compare_rows(name, mine.table, mine.rows.values(), rows[name])


def _told(value: Any, name: str, like: Full | None) -> Any:
    if not isinstance(value, Untold):
        return value
    other = like.new.get(name) if like is not None and like.new is not None else None
    if other not in _NOT_TOLD:
        raise Difference(f"column {name} is NULL, and {short(other)} for others")
    return other


def compare_rows(name: Name, table: Table, mine: Iterable[Values], others: Iterable[Values]) -> None:
    """Raise Difference unless both have the same rows, equal ones as often."""
    left, right = (Counter(tuple(row[c] for c in table.columns) for row in rows) for rows in (mine, others))
    if left != right:
        surplus, lack = list((left - right).elements()), list((right - left).elements())
        shown = [f"{len(surplus)} rows too many, {len(lack)} too few in {name}"]
        for word, some in (("too many", surplus), ("too few", lack)):
            shown += [f"  {word}: {_shown(dict(zip(table.columns, row, strict=True)))}" for row in some[:3]]
        raise Difference("\n".join(shown))


def _shown(row: Values | None) -> str:
    return "no row" if row is None else ", ".join(f"{name}={short(value)}" for name, value in sorted(row.items()))


@dataclass
class Expected:
    """A change that the reference told. silent: pg_scribe's own writers leave it out, as docs/format.md says."""

    change: Full
    silent: bool


@dataclass
class Reference:
    """What the stream with which the others are compared says, change by change."""

    heads: list[tuple[int, int]]  # of the transactions: number and end
    changes: list[list[Expected]]
    replica: Replica

    def without_silent(self) -> Reference:
        """Return it as pg_scribe's writers are to tell it."""
        kept = [[c for c in some if not c.silent] for some in self.changes]
        pairs = [(head, some) for head, some in zip(self.heads, kept, strict=True) if some]
        return Reference([head for head, _ in pairs], [some for _, some in pairs], self.replica)


def take_reference(
    name: str, stream: list[Transaction], tables: Tables, before: Mapping[Name, list[Values]]
) -> Reference:
    """Apply the stream of the reference. Raises Difference if it does not fit the rows."""
    replica = Replica(tables, before)
    heads, found = [], []
    for transaction in stream:
        some = []
        for at, change in enumerate(transaction.changes):
            full = _apply(replica, change, None, f"{name}: {_place(transaction, at)}")
            silent = change.kind == "update" and tables[change.table].identity == "f" and full.old == full.new
            some.append(Expected(full, silent))
        heads.append((transaction.xid, transaction.end))
        found.append(some)
    return Reference(heads, found, replica)


def compare_stream(
    name: str,
    stream: list[Transaction],
    reference: Reference,
    tables: Tables,
    before: Mapping[Name, list[Values]],
) -> Replica:
    """Apply a stream change by change and return what it leads to. Raises Difference at the first that is not alike."""
    replica = Replica(tables, before)
    for number, head in enumerate(reference.heads):
        if number == len(stream) or (stream[number].xid, stream[number].end) != head:
            there = (stream[number].xid, stream[number].end) if number < len(stream) else "nothing"
            raise Difference(f"{name}: transaction {number + 1} (xid, end) is {there}, not {head}")
        transaction, expected = stream[number], reference.changes[number]
        for at, change in enumerate(transaction.changes):
            place = f"{name}: {_place(transaction, at)}"
            if at == len(expected):
                raise Difference(f"{place} is one too many: {change.kind} of {change.table}")
            like = expected[at].change
            if (change.kind, change.table) != (like.kind, like.table):
                raise Difference(f"{place} is {change.kind} of {change.table}, not {like.kind} of {like.table}")
            _compare_changes(place, _apply(replica, change, like, place), like)
        if len(expected) > len(transaction.changes):
            lack = expected[len(transaction.changes)].change
            raise Difference(f"{name}: transaction {transaction.xid} lacks a change: {lack.kind} of {lack.table}")
    if len(stream) > len(reference.heads):
        raise Difference(f"{name}: transaction {stream[len(reference.heads)].xid} is one too many")
    return replica


def _place(transaction: Transaction, at: int) -> str:
    return f"transaction {transaction.xid}, change {at + 1}"


def _apply(replica: Replica, change: Change, like: Full | None, place: str) -> Full:
    try:
        return replica.apply(change, like)
    except Difference as error:
        raise Difference(f"{place}, {change.kind} of {change.table}: {error}") from None


def _compare_changes(place: str, found: Full, expected: Full) -> None:
    for word, mine, other in (("old", found.old, expected.old), ("new", found.new, expected.new)):
        if mine != other:
            columns = sorted(
                c for c in set(mine or ()) | set(other or ()) if (mine or {}).get(c) != (other or {}).get(c)
            )
            shown = "; ".join(f"{c}: {short((mine or {}).get(c))}, not {short((other or {}).get(c))}" for c in columns)
            raise Difference(f"{place}: the {word} row differs in {shown or 'its columns'}")
    if not expected.unchanged <= found.unchanged:
        raise Difference(f"{place}: {sorted(expected.unchanged - found.unchanged)} did not change and have a value")
