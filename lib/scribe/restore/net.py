"""Net effects: the row changes of many small transactions, joined by table and key into a few statements.

A row that is updated ten times is updated once, to its last values; one that is inserted and deleted is never made.
What is found in the end is the same only if a row's key has one spelling, and if no row decides what becomes of
another: of tables where that is not proved (tables.py), every statement is sent as it stands, in its order, before the
joined ones. Foreign keys and triggers are off in a replay, so that tables see each other only by code of users': if it
may make values of rows or find their partition, nothing of the batch is joined; if it can only refuse a row, the batch
is replayed in order after it did. Each statement must act on as many rows as there are keys in it, and keys that came
and went must not be there.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from scribe.restore.statements import IDENTIFIER, expected_rows, unquoted
from scribe.restore.tables import Table

_NAME = IDENTIFIER + rb"\." + IDENTIFIER
_LITERAL = rb"(?:'[^']*+(?:''[^']*+)*+'|[0-9]++|true|false|NULL|E'[^'\\]*+(?:(?:\\.|'')[^'\\]*+)*+')"
_HEAD = re.compile(rb"(?:INSERT INTO|UPDATE(?: ONLY)?|DELETE FROM(?: ONLY)?) (" + _NAME + rb") ")
_INSERT = re.compile(rb"\(([^()']*)\) ((?:OVERRIDING SYSTEM VALUE )?)VALUES[ \n]")
COLUMN = re.compile(IDENTIFIER)
_VALUE = re.compile(rb"(" + _LITERAL + rb")(, |\))")
_PAIR = re.compile(rb"(" + IDENTIFIER + rb") = (" + _LITERAL + rb")(, | WHERE | AND |;\n)")
_ROWS_END = re.compile(rb"(,\n\(|;\n|; -- [0-9]+ rows\n)")
# What was joined before: rows as a table v, of which the first has the types of all.
SETS = re.compile(rb"AS t SET (" + IDENTIFIER + rb" = v\..*?) FROM \(VALUES\n\(", re.DOTALL)
_USING = re.compile(rb"AS t USING \(VALUES\n\(")
ROWS_OF = re.compile(
    rb"\n\) AS v \((" + IDENTIFIER + rb"(?:, " + IDENTIFIER + rb")*)\) WHERE (.*); -- [0-9]+ rows\n\Z", re.DOTALL
)
_TYPED = re.compile(rb"(" + _LITERAL + rb")::")
_LISTED = re.compile(rb"WHERE (" + IDENTIFIER + rb") IN \(")
_MOST = 1000  # rows of a statement
_SHAPES = 8  # of the statements of one kind on one table that are remembered
# Few keys are looked up in many rows: what the planner knows of a table that was filled a moment ago is nothing.

METHODS = (b"hashjoin", b"mergejoin", b"seqscan")

Key = tuple[bytes, ...]


@dataclass(slots=True)
class Change:
    """One row change. kind: INSERT, UPDATE or DELETE by its first letter; of an INSERT, key is empty and values are in
    the order of columns, which the head names."""

    kind: bytes
    key: dict[bytes, bytes]
    values: dict[bytes, bytes]
    head: bytes = b""  # what stands between the table's name and VALUES


@dataclass(frozen=True)
class Sent:
    """One statement of a message. count: of the rows it must act on, None if that is any number; table: that it is of,
    None if it is none's; plain: it is one of the batch's, unchanged."""

    text: bytes
    count: int | None = None
    table: bytes | None = None
    plain: bool = False


@dataclass(frozen=True)
class Joined:
    """What is sent instead of a batch. changes: how many row changes were joined."""

    statements: list[Sent]
    changes: int

    @property
    def text(self) -> bytes:
        """The message."""
        return b"".join([sent.text for sent in self.statements])

    @property
    def lasting(self) -> bytes:
        """What of it a segment has to hold, as the decoder would have written it."""
        return b"".join([_counted(sent) for sent in self.statements if sent.plain or sent.count])


def _counted(sent: Sent) -> bytes:
    if sent.plain or sent.count == 1:
        return sent.text
    return b"%b; -- %d rows\n" % (sent.text.removesuffix(b";\n"), sent.count or 0)


_BY_INDEX = [Sent(b"SET LOCAL enable_%b = off;\n" % method) for method in METHODS]


class UnprovedError(Exception):
    """The changes of a table cannot be joined, in this batch at least."""


def table_of(statement: bytes) -> bytes | None:
    """Return the name of the table that a statement of a small transaction changes, None if it is not plain to see."""
    match = _HEAD.match(statement)
    return None if match is None else match[1]


class Joiner:
    """Joins batch after batch. Most statements are like one before: how those are read is remembered."""

    def __init__(self) -> None:
        self._shapes: dict[tuple[bytes, bytes], list[_Shape]] = {}  # by kind and table

    def join(
        self, statements: list[bytes], names: list[bytes | None], tables: Mapping[bytes, Table | None]
    ) -> Joined | None:
        """Join the statements of some transactions; None if none of them can be.

        names: of the table that each changes, as table_of() gives it; tables: what is known of each.
        """
        gc.disable()  # what is made here refers to nothing in a circle, and looking for one takes a third of the time
        try:
            return self._join(statements, names, tables)
        finally:
            gc.enable()

    def _join(
        self, statements: list[bytes], names: list[bytes | None], tables: Mapping[bytes, Table | None]
    ) -> Joined | None:
        if any(table is not None and table.computes for table in tables.values()):
            return None
        if None in names:
            return None  # it may be about any of them
        found = self._read_all(statements, names, tables)
        made = {name: _try_table(name, table, changes) for name, (table, changes) in found.items()}
        joined = [sent for some in made.values() for sent in some or ()]
        if not joined:
            return None
        plain = [
            Sent(statement, expected_rows(statement), name, plain=True)
            for name, statement in zip(names, statements, strict=True)
            if name is None or made.get(name) is None
        ]
        return Joined(
            [*plain, *_BY_INDEX, *joined], sum(len(found[name][1]) for name in made if made[name] is not None)
        )

    def _read_all(
        self, statements: list[bytes], names: list[bytes | None], tables: Mapping[bytes, Table | None]
    ) -> dict[bytes, tuple[Table, list[Change]]]:
        """Return the changes of each table of which all can be read."""
        found = {name: (table, list[Change]()) for name, table in tables.items() if table is not None and table.alone}
        for name, statement in zip(names, statements, strict=True):
            if name is not None and name in found:
                table, changes = found[name]
                try:
                    changes += self._read(statement, name, table)
                except UnprovedError:
                    del found[name]
        return {name: each for name, each in found.items() if each[1]}

    def _read(self, statement: bytes, name: bytes, table: Table) -> list[Change]:
        """Return what a statement does. Raises UnprovedError."""
        if not table.keys:
            return _as_counted(statement, [read_whole(statement, len(name))])
        shapes = self._shapes.setdefault((statement[:1], name), [])
        for shape in shapes:
            match = shape.pattern.fullmatch(statement)
            if match is not None:
                return [shape.read(match.groups())]
        changes = _as_counted(statement, list(read_changes(statement, len(name), table)))
        if len(changes) == 1 and len(shapes) < _SHAPES:
            shapes += _shapes_of(statement, name, changes[0])
        return changes


def _as_counted(statement: bytes, changes: list[Change]) -> list[Change]:
    """Return the changes of a statement if it tells of as many rows. Raises UnprovedError."""
    if len(changes) != expected_rows(statement):
        raise UnprovedError
    return changes


@dataclass(frozen=True, slots=True)
class _Shape:
    """A statement with any values. columns: in the order of its values, those of the key last."""

    pattern: re.Pattern[bytes]
    kind: bytes
    values: tuple[bytes, ...]
    key: tuple[bytes, ...]
    head: bytes

    def read(self, found: tuple[bytes, ...]) -> Change:
        number = len(self.values)
        return Change(
            self.kind,
            dict(zip(self.key, found[number:], strict=True)),
            dict(zip(self.values, found[:number], strict=True)),
            self.head,
        )


def _shapes_of(statement: bytes, name: bytes, change: Change) -> Iterator[_Shape]:
    """Yield the shape of a statement that makes one change, unless it stands on several lines."""

    def listed(columns: Iterable[bytes], between: bytes) -> bytes:
        return between.join(re.escape(column) + b" = (" + _LITERAL + b")" for column in columns)

    only = rb"(?: ONLY)? " + re.escape(name)
    if change.kind == b"I":
        values = b", ".join([b"(" + _LITERAL + b")"] * len(change.values))
        text = re.escape(b"INSERT INTO " + name + b" " + change.head) + rb" \(" + values + rb"\);\n"
    elif change.kind == b"U":
        text = b"UPDATE" + only + b" SET " + listed(change.values, b", ")
        text += b" WHERE " + listed(change.key, b" AND ") + rb";\n"
    else:
        text = b"DELETE FROM" + only + b" WHERE " + listed(change.key, b" AND ") + rb";\n"
    pattern = re.compile(text)
    if pattern.fullmatch(statement) is not None:
        yield _Shape(pattern, change.kind, tuple(change.values), tuple(change.key), change.head)


def _try_table(name: bytes, table: Table, changes: list[Change]) -> list[Sent] | None:
    try:
        return [Sent(text, count, name) for text, count in _join_table(name, table, changes)]
    except UnprovedError:
        return None


def read_whole(statement: bytes, name: int) -> Change:
    """Return the row that an INSERT into a table without keys makes, its values unread. Raises UnprovedError."""
    at = len(b"INSERT INTO ") + name + 1
    match = _INSERT.match(statement, at) if statement.startswith(b"INSERT INTO ") else None
    if match is None or not statement.startswith(b"(", match.end()) or not statement.endswith(b");\n"):
        raise UnprovedError
    return Change(b"I", {}, {b"": statement[match.end() + 1 : -3]}, statement[at : match.end() - 1])


def read_changes(statement: bytes, name: int, table: Table) -> Iterator[Change]:
    """Yield the row changes of a statement whose table's name has so many bytes. Raises UnprovedError."""
    if statement.startswith(b"INSERT INTO "):
        return _read_insert(statement, len(b"INSERT INTO ") + name + 1)
    at = statement.index(b" ") + 1 if statement.startswith(b"UPDATE") else len(b"DELETE FROM ")
    at += len(b"ONLY ") if statement.startswith(b"ONLY ", at) else 0
    at += name + 1
    if statement.startswith(b"AS t ", at):
        return _read_rows(statement, at, table)
    if listed := _LISTED.match(statement, at):
        return _read_list(statement, listed)
    return _read_other(statement, at)


def _read_insert(statement: bytes, at: int) -> Iterator[Change]:
    match = _INSERT.match(statement, at)
    if match is None or not statement.startswith(b"(", match.end()):
        raise UnprovedError
    columns = COLUMN.findall(match[1])
    if b", ".join(columns) != match[1]:
        raise UnprovedError
    head = statement[at : match.end() - 1]
    at, end = match.end() + 1, len(statement)
    while True:
        values, at = _read_row(statement, at)
        if len(values) != len(columns):
            raise UnprovedError
        yield Change(b"I", {}, dict(zip(columns, values, strict=True)), head)
        after = _ROWS_END.match(statement, at)
        if after is None:
            raise UnprovedError
        at = after.end()
        if at == end:
            return


def _read_other(statement: bytes, at: int) -> Iterator[Change]:
    change = Change(statement[:1], {}, {})
    if change.kind == b"U":
        if not statement.startswith(b"SET ", at):
            raise UnprovedError
        at = _read_pairs(statement, at + len(b"SET "), change.values, (b", ", b" WHERE "))
    else:
        if not statement.startswith(b"WHERE ", at):
            raise UnprovedError
        at += len(b"WHERE ")
    if _read_pairs(statement, at, change.key, (b" AND ", b";\n")) != len(statement):
        raise UnprovedError
    yield change


def _read_list(statement: bytes, listed: re.Match[bytes]) -> Iterator[Change]:
    """Yield what a DELETE of the keys in a list does."""
    keys, at = _read_row(statement, listed.end())
    after = _ROWS_END.match(statement, at)
    if after is None or after.end() != len(statement) or not statement.startswith(b"DELETE "):
        raise UnprovedError
    for key in keys:
        yield Change(b"D", {listed[1]: key}, {})


def _read_rows(statement: bytes, at: int, table: Table) -> Iterator[Change]:
    """Yield what an UPDATE or DELETE of the rows of a table v does, as _update() and _delete() write it."""
    head = (SETS if statement.startswith(b"UPDATE ") else _USING).match(statement, at)
    if head is None:
        raise UnprovedError
    first, types, at = _read_first(statement, head.end(), table)
    rows = [first]
    while statement.startswith(b",\n(", at):
        row, at = _read_row(statement, at + len(b",\n("))
        rows.append(row)
    rest = ROWS_OF.match(statement, at)
    if rest is None:
        raise UnprovedError
    columns = tuple(COLUMN.findall(rest[1]))
    keys = rest[2].count(b" AND ") + 1
    key, others = columns[:keys], columns[keys:]
    sets = b", ".join(b"%b = v.%b" % (column, column) for column in others)
    if (
        rest[2] != on_key(key)
        or sets != (head[1] if head.re is SETS else b"")
        or types != [table.types.get(unquoted(column)) for column in columns]
        or any(len(row) != len(columns) for row in rows)
    ):
        raise UnprovedError
    for row in rows:
        yield Change(statement[:1], dict(zip(key, row, strict=False)), dict(zip(others, row[keys:], strict=True)))


def _read_first(statement: bytes, at: int, table: Table) -> tuple[list[bytes], list[bytes | None], int]:
    """Read the row that has types after its values; return both, and where it ends. Raises UnprovedError."""
    names = sorted(set(table.types.values()), key=len, reverse=True)
    row: list[bytes] = []
    types: list[bytes | None] = []
    while True:
        value = _TYPED.match(statement, at)
        if value is None:
            raise UnprovedError
        at = value.end()
        name = next((name for name in names if statement.startswith((name + b", ", name + b")"), at)), None)
        if name is None:
            raise UnprovedError
        row.append(value[1])
        types.append(name)
        at += len(name)
        if statement.startswith(b")", at):
            return row, types, at + 1
        at += len(b", ")


def _read_row(statement: bytes, at: int) -> tuple[list[bytes], int]:
    """Read a row's values up to its parenthesis; return them, and where it ends. Raises UnprovedError."""
    row: list[bytes] = []
    while True:
        value = _VALUE.match(statement, at)
        if value is None:
            raise UnprovedError
        row.append(value[1])
        at = value.end()
        if value[2] == b")":
            return row, at


def _read_pairs(statement: bytes, at: int, into: dict[bytes, bytes], ends: tuple[bytes, bytes]) -> int:
    """Read columns and their values up to the second of the ends; return where that ends. Raises UnprovedError."""
    while True:
        pair = _PAIR.match(statement, at)
        if pair is None or pair[3] not in ends or pair[1] in into:
            raise UnprovedError
        into[pair[1]] = pair[2]
        at = pair.end()
        if pair[3] == ends[1]:
            return at


# What is left of the changes of one table


@dataclass(slots=True)
class _Row:
    """What becomes of one key. before: whether the row was there; after: what it is then, None if it is gone."""

    before: bool
    after: Change | None


def _join_table(name: bytes, table: Table, changes: list[Change]) -> Iterator[tuple[bytes, int]]:
    """Yield statements, and how many rows each acts on. Raises UnprovedError."""
    keyed = next((change for change in changes if change.key), None)
    if keyed is None:
        yield from _insert(name, changes)
        return
    key = tuple(sorted(keyed.key))
    if tuple(sorted(map(unquoted, key))) not in table.keys:
        raise UnprovedError
    rows = _follow(key, changes)
    gone = [k for k, row in rows.items() if row.before and (row.after is None or row.after.kind == b"I")]
    yield from _delete(name, table, key, gone, len(gone))
    yield from _delete(name, table, key, [k for k, row in rows.items() if not row.before and row.after is None], 0)
    updates = [(k, row.after.values) for k, row in rows.items() if row.after is not None and row.after.kind == b"U"]
    yield from _update(name, table, key, updates)
    yield from _insert(name, [row.after for row in rows.values() if row.after is not None and row.after.kind == b"I"])


def _follow(key: Key, changes: list[Change]) -> dict[Key, _Row]:
    """Return what becomes of each key. Raises UnprovedError for what a serial replay has to judge."""
    rows: dict[Key, _Row] = {}
    for change in changes:
        where = change.values if change.kind == b"I" else change.key
        try:
            found = tuple([where[column] for column in key])
        except KeyError:
            raise UnprovedError from None
        if (change.kind != b"I" and len(where) != len(key)) or b"NULL" in found:
            raise UnprovedError
        row = rows.get(found)
        if change.kind == b"U":
            _update_row(rows, found, row, change)
        elif change.kind == b"D":
            if row is None:
                rows[found] = _Row(True, None)
            elif row.after is None:
                raise UnprovedError
            else:
                row.after = None
        elif row is None:
            rows[found] = _Row(False, change)
        elif row.after is None:
            rows[found] = _Row(rows.pop(found).before, change)  # rows are made in the order in which they came last
        else:
            raise UnprovedError
    return rows


def _update_row(rows: dict[Key, _Row], found: Key, row: _Row | None, change: Change) -> None:
    for column, value in change.key.items():
        if change.values.pop(column, value) != value:
            raise UnprovedError  # it gets another key
    if not change.values:
        raise UnprovedError
    if row is None:
        rows[found] = _Row(True, change)
    elif row.after is None:
        raise UnprovedError
    else:
        if row.after.kind == b"I" and not row.after.values.keys() >= change.values.keys():
            raise UnprovedError
        row.after.values.update(change.values)


def _insert(name: bytes, changes: Iterable[Change]) -> Iterator[tuple[bytes, int]]:
    by_head: dict[bytes, list[bytes]] = {}
    for change in changes:
        by_head.setdefault(change.head, []).append(b"(" + b", ".join(change.values.values()) + b")")
    for head, rows in by_head.items():
        for at in range(0, len(rows), _MOST):
            some = rows[at : at + _MOST]
            between = b"\n" if len(some) > 1 else b" "
            yield b"INSERT INTO %b %b%b%b;\n" % (name, head, between, b",\n".join(some)), len(some)


def _delete(name: bytes, table: Table, key: Key, keys: list[Key], expected: int) -> Iterator[tuple[bytes, int]]:
    """Delete the rows with these keys: all of them are there, or (expected 0) none of them may be."""
    for at in range(0, len(keys), _MOST):
        some = keys[at : at + _MOST]
        count = len(some) if expected else 0
        if len(some) == 1:
            yield b"DELETE FROM ONLY %b WHERE %b;\n" % (name, _pairs(key, some[0], b" AND ")), count
        elif len(key) == 1:
            values = b", ".join([values[0] for values in some])
            yield b"DELETE FROM ONLY %b WHERE %b IN (%b);\n" % (name, key[0], values), count
        else:
            rows_of = _values(table, key, some)
            yield b"DELETE FROM ONLY %b AS t USING %b WHERE %b;\n" % (name, rows_of, on_key(key)), count


def _update(
    name: bytes, table: Table, key: Key, updates: list[tuple[Key, dict[bytes, bytes]]]
) -> Iterator[tuple[bytes, int]]:
    groups: dict[Key, list[Key]] = {}
    for found, values in updates:
        columns = tuple(sorted(values))
        groups.setdefault(columns, []).append(found + tuple([values[column] for column in columns]))
    for columns, rows in groups.items():
        sets = b", ".join(b"%b = v.%b" % (column, column) for column in columns)
        for at in range(0, len(rows), _MOST):
            some = rows[at : at + _MOST]
            if len(some) == 1:
                found, last = some[0][: len(key)], some[0][len(key) :]
                pairs = _pairs(columns, last, b", "), _pairs(key, found, b" AND ")
                yield b"UPDATE ONLY %b SET %b WHERE %b;\n" % (name, *pairs), 1
                continue
            rows_of = _values(table, key + columns, some)
            yield b"UPDATE ONLY %b AS t SET %b FROM %b WHERE %b;\n" % (name, sets, rows_of, on_key(key)), len(some)


def _pairs(columns: Key, values: Key, between: bytes) -> bytes:
    return between.join(b"%b = %b" % pair for pair in zip(columns, values, strict=True))


def _values(table: Table, columns: Key, rows: list[Key]) -> bytes:
    """Return rows as a table v with these columns; the first row has the types that all of them have."""
    try:
        first = [
            b"%b::%b" % pair
            for pair in zip(rows[0], [table.types[unquoted(column)] for column in columns], strict=True)
        ]
    except KeyError:
        raise UnprovedError from None
    texts = [b"(" + b", ".join(row) + b")" for row in [tuple(first), *rows[1:]]]
    return b"(VALUES\n%b\n) AS v (%b)" % (b",\n".join(texts), b", ".join(columns))


def on_key(key: Key) -> bytes:
    """Return the condition that joins a table t and rows v by a key."""
    return b" AND ".join(b"t.%b = v.%b" % (column, column) for column in key)
