"""Runs of row changes of one table as one statement; the forms are those of docs/format.md, section 3.

The effect of every statement is that of its rows one after the other.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from scribe.decoders.pgmessages import Row
from scribe.decoders.rows.tables import Table, copy_line, quote_value

INSERT_MAX_ROWS = 8  # then COPY
SET_MAX_ROWS = 500
IN_MAX_ROWS = 1000
SET_MAX_BYTES = 64 << 10
IMAGE_MAX_ROWS = 10000
IMAGE_MAX_BYTES = 2 << 20
IMAGE_FEW_ROWS = 64  # single statements while an index helps


class Run(ABC):
    """Some changes of one table that become one statement, or a few."""

    def __init__(self, table: Table) -> None:
        self.table = table

    @abstractmethod
    def end(self) -> bytes:
        """Return what is still to be written of the run."""


class Inserts(Run):
    """Rows of one multi-row INSERT, then of a COPY."""

    def __init__(self, table: Table) -> None:
        super().__init__(table)
        self.rows: list[bytes] = []
        self.copying = False

    def add(self, row: Row) -> bytes:
        """Take a row; return what can be written already."""
        if self.copying:
            return copy_line(self.table.live_values(row))
        if len(self.rows) < INSERT_MAX_ROWS:
            self.rows.append(self.table.values(row))
            return b""
        self.copying = True
        return self._insert() + self.table.copy_head + copy_line(self.table.live_values(row))

    def _insert(self) -> bytes:
        if len(self.rows) == 1:
            return self.table.insert_head + b" " + self.rows[0] + b";\n"
        return self.table.insert_head + b"\n" + b",\n".join(self.rows) + b"; -- %d rows\n" % len(self.rows)

    def end(self) -> bytes:
        """See Run."""
        return b"\\.\n" if self.copying else self._insert()


class Updates(Run):
    """UPDATEs of the same columns by key; no key twice."""

    def __init__(self, table: Table, columns: list[int]) -> None:
        super().__init__(table)
        self.columns = columns
        self.rows: list[tuple[list[bytes], list[bytes]]] = []
        self.seen: set[tuple[bytes, ...]] = set()
        self.bytes = 0

    def add(self, table: Table, columns: list[int], row: Row) -> bool:
        """Take a row, if it fits; return whether it did."""
        if table is not self.table or columns != self.columns:
            return False
        if len(self.rows) >= SET_MAX_ROWS or self.bytes > SET_MAX_BYTES:
            return False
        keys = [table.literal(key.index, row[key.index]) for key in table.keys]
        if tuple(keys) in self.seen:
            return False
        values = [table.literal(i, row[i]) for i in columns]
        self.seen.add(tuple(keys))
        self.rows.append((keys, values))
        self.bytes += sum(map(len, values)) + sum(map(len, keys))
        return True

    def end(self) -> bytes:
        """See Run."""
        table = self.table
        if len(self.rows) == 1:
            keys, values = self.rows[0]
            pairs = b", ".join(
                [table.columns[i] + b" = " + value for i, value in zip(self.columns, values, strict=True)]
            )
            return b"UPDATE " + table.only + table.name + b" SET " + pairs + single_where(table, keys) + b";\n"
        sets = b", ".join([table.columns[i] + b" = v." + table.columns[i] for i in self.columns])
        head = b"UPDATE " + table.only + table.name + b" AS t SET " + sets + b" FROM (VALUES\n"
        indexes = [key.index for key in table.keys] + self.columns
        return head + join_values(table, [keys + values for keys, values in self.rows], indexes)


class Deletes(Run):
    """DELETEs by key."""

    def __init__(self, table: Table) -> None:
        super().__init__(table)
        self.rows: list[list[bytes]] = []
        self.bytes = 0
        # IN would look for an operator = that search_path shows
        self.by_list = len(table.keys) == 1 and table.keys[0].equals == b" = "

    def add(self, table: Table, row: Row) -> bool:
        """Take a row, if it fits; return whether it did."""
        most = IN_MAX_ROWS if self.by_list else SET_MAX_ROWS
        if table is not self.table or len(self.rows) >= most or self.bytes > SET_MAX_BYTES:
            return False
        keys = [table.literal(key.index, row[key.index]) for key in table.keys]
        self.rows.append(keys)
        self.bytes += sum(map(len, keys))
        return True

    def end(self) -> bytes:
        """See Run."""
        table, count = self.table, len(self.rows)
        head = b"DELETE FROM " + table.only + table.name
        if count == 1:
            return head + single_where(table, self.rows[0]) + b";\n"
        if self.by_list:
            key = table.keys[0]
            items = b", ".join([keys[0] + key.cast for keys in self.rows])
            column = table.columns[key.index] + key.base
            return head + b" WHERE " + column + b" IN (" + items + b"); -- %d rows\n" % count
        return head + b" AS t USING (VALUES\n" + join_values(table, self.rows, [key.index for key in table.keys])


def single_where(table: Table, keys: list[bytes]) -> bytes:
    """Return the WHERE for a key whose literals are made already."""
    parts = [
        table.columns[key.index] + key.base + key.collate + (key.equals or b" = ") + literal + key.cast
        for key, literal in zip(table.keys, keys, strict=True)
    ]
    return b" WHERE " + b" AND ".join(parts)


def join_values(table: Table, rows: list[list[bytes]], indexes: list[int]) -> bytes:
    """Return the rows of a VALUES join, from the first one to the statement's end."""
    first = b", ".join([value + table.casts[i] for value, i in zip(rows[0], indexes, strict=True)])
    lines = [b"(" + first + b")", *[b"(" + b", ".join(row) + b")" for row in rows[1:]]]
    names = b", ".join([table.columns[i] for i in indexes])
    pairs = b" AND ".join(
        [
            b"t." + table.columns[key.index] + key.base + (key.equals or b" = ") + b"v." + table.columns[key.index]
            for key in table.keys
        ]
    )
    return b",\n".join(lines) + b"\n) AS v (" + names + b") WHERE " + pairs + b"; -- %d rows\n" % len(rows)


class Images(Run):
    """UPDATEs or DELETEs under REPLICA IDENTITY FULL: rows are found by their text, equal ones numbered."""

    def __init__(self, table: Table, updating: bool) -> None:
        super().__init__(table)
        self.updating = updating
        self.rows: list[bytes] = []
        self.bytes = 0
        self.made: set[bytes] = set()  # images of rows that the statement makes
        self.singles: list[bytes] = []
        self.least = IMAGE_FEW_ROWS if table.leads else 2
        self.given = [i for i in table.live if i not in table.always]

    def add(self, table: Table, updating: bool, old: Row, new: Row | None, single: bytes) -> bool:
        """Take a change, if it fits; return whether it did. single: the statement that does it alone."""
        if table is not self.table or updating is not self.updating:
            return False
        if len(self.rows) >= IMAGE_MAX_ROWS or self.bytes > IMAGE_MAX_BYTES:
            return False
        image = table.image(old)
        if new is not None:
            if image in self.made:
                return False
            self.made.add(table.image(new))
        first = not self.rows
        text = quote_value(image) + (b'::text COLLATE "C"' if first else b"")
        if new is not None:
            for i in self.given:
                text += b", " + table.literal(i, new[i]) + (table.casts[i] if first else b"")
        if len(self.rows) + 1 < self.least:
            self.singles.append(single)
        self.rows.append(b"(" + text + b")")
        self.bytes += len(text)
        return True

    def end(self) -> bytes:
        """See Run."""
        if len(self.rows) < self.least:
            return b"".join(self.singles)
        table = self.table
        names = b"".join([b", c%d" % n for n in range(1, len(self.given) + 1)]) if self.updating else b""
        head = b"WITH v (image" + names + b") AS (VALUES\n" + b",\n".join(self.rows) + b"\n"
        stored = b", ".join([table.columns[i] for i in table.stored])
        text = (
            head + b"), o AS (SELECT *, row_number() OVER (PARTITION BY image) AS n FROM v),"
            b" r AS (SELECT " + table.place + b", image, row_number() OVER (PARTITION BY image) AS n FROM (SELECT "
            + table.place + b", ROW(" + stored + b')::text COLLATE "C" AS image FROM ' + table.alone + table.name
            + b") AS s WHERE image IN (SELECT image FROM v))"
        )  # fmt: skip
        if self.updating:
            sets = b", ".join([table.columns[i] + b" = o.c%d" % n for n, i in enumerate(self.given, 1)])
            text += b" UPDATE " + table.alone + table.name + b" AS t SET " + sets + b" FROM"
        else:
            text += b" DELETE FROM " + table.alone + table.name + b" AS t USING"
        same = b" AND t.tableoid = r.tableoid" if table.route else b""
        return text + b" r JOIN o USING (image, n) WHERE t.ctid = r.ctid%s; -- %d rows\n" % (same, len(self.rows))
