"""What a table holds, in numbers that do not depend on the order of its rows, for a copy to be compared with.

Rows are read by COPY: nothing is planned, and so nothing of a table's owner runs with our rights. Columns are taken by
name, since dropped ones leave no gap in a copy; generated ones, which a copy computes, are left out.

Each row is hashed, and the hashes are added up. Tables with a key have further sums, in cells that a row's hash
chooses: where one row alone of a cell differs, the difference of the sums is that row's hash and key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql

from scribe.common.dialect import quote_identifier
from scribe.dump.guard import Table

# What else decides about the text of a value (scribe.common.postgres pins the rest).
TEXT_OPTIONS = "-c DateStyle=ISO,MDY -c IntervalStyle=postgres -c TimeZone=UTC"
CELLS = 16
_SHIFT = 60  # of 64 bits, what is left names a cell
_KEY = 24  # bytes of a key that are kept
_WHOLE, _WORD = (1 << 128) - 1, (1 << 64) - 1
_SHOWN = 5  # rows named
_COLUMNS = """
SELECT a.attname, k.place IS NOT NULL FROM pg_catalog.pg_attribute AS a LEFT JOIN (
  SELECT u.attnum, u.place FROM (SELECT indkey, indnkeyatts FROM pg_catalog.pg_index
    WHERE indrelid = %(oid)s AND indisvalid AND (indisprimary OR indisreplident)
    ORDER BY indisprimary DESC, indexrelid LIMIT 1) AS i,
    pg_catalog.unnest(i.indkey::pg_catalog.int2[]) WITH ORDINALITY AS u (attnum, place) WHERE u.place <= i.indnkeyatts
) AS k ON k.attnum = a.attnum
WHERE a.attrelid = %(oid)s AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
ORDER BY k.place, a.attname
"""


@dataclass
class Contents:
    """A table's sums. columns: the first of them, as many as key says, are its key.

    cells: number -> how many rows, and the sums of their keys, their hashes, and the hashes' squares.
    """

    columns: list[str]
    key: int
    rows: int = 0
    digest: int = 0
    cells: dict[int, list[int]] = field(default_factory=dict)

    def add(self, lines: Iterator[bytes]) -> None:
        """Take rows as COPY writes them."""
        blake, number = hashlib.blake2b, int.from_bytes
        cells, key, rows, digest = self.cells, self.key, self.rows, self.digest
        for line in lines:
            whole = number(blake(line, digest_size=16).digest(), "big")
            rows += 1
            digest += whole
            if key:
                part = whole & _WORD
                cell = cells.setdefault(part >> _SHIFT, [0, 0, 0, 0])
                cell[0] += 1
                cell[1] += number(b"\t".join(line.rstrip(b"\n").split(b"\t", key)[:key])[:_KEY], "big")
                cell[2] += part
                cell[3] += part * part
        self.rows, self.digest = rows, digest & _WHOLE
        for cell in cells.values():
            cell[2], cell[3] = cell[2] & _WORD, cell[3] & _WORD

    def merge(self, other: Contents) -> None:
        """Take another table's rows too: a partition's."""
        self.rows, self.digest = self.rows + other.rows, (self.digest + other.digest) & _WHOLE
        for number, theirs in other.cells.items():
            mine = self.cells.get(number, [0, 0, 0, 0])
            sums = [a + b for a, b in zip(mine, theirs, strict=True)]
            self.cells[number] = [sums[0], sums[1], sums[2] & _WORD, sums[3] & _WORD]

    def as_json(self) -> dict[str, Any]:
        """Return it for a manifest."""
        cells = {str(n): [cell[0], *(f"{value:x}" for value in cell[1:])] for n, cell in sorted(self.cells.items())}
        return {"columns": self.columns, "key": self.key, "digest": f"{self.digest:032x}", "cells": cells}


def from_json(value: dict[str, Any], rows: int) -> Contents:
    """Return what as_json() has written."""
    cells = {int(n): [cell[0], *(int(text, 16) for text in cell[1:])] for n, cell in value["cells"].items()}
    return Contents(list(value["columns"]), value["key"], rows, int(value["digest"], 16), cells)


def read_contents(conn: psycopg.Connection[Any], table: Table, like: Contents | None = None) -> Contents:
    """Read a table. like: a record, of which columns and key are taken; else all of it. Raises psycopg.Error."""
    if like is None:
        found = conn.execute(_COLUMNS, {"oid": table.oid}).fetchall()
        contents = Contents([name for name, _ in found], sum(1 for _, is_key in found if is_key))
    else:
        contents = Contents(like.columns, like.key)
    listed: sql.Composable = sql.SQL("")
    if contents.columns:
        listed = sql.SQL(" ({})").format(sql.SQL(", ").join(map(sql.Identifier, contents.columns)))
    contents.add(_rows(conn, sql.SQL("COPY {}{} TO STDOUT").format(table.qualified, listed)))
    return contents


def _rows(conn: psycopg.Connection[Any], command: sql.Composed) -> Iterator[bytes]:
    with conn.cursor() as cursor, cursor.copy(command) as copy:
        for row in copy:
            yield bytes(row)


def describe_difference(recorded: Contents, found: Contents) -> str | None:
    """Return in words how a copy's rows differ from those recorded, None if they do not."""
    if (recorded.rows, recorded.digest) == (found.rows, found.digest):
        return None
    said = f"{found.rows} rows, {recorded.rows} were recorded" if found.rows != recorded.rows else "other contents"
    (lost, some), (made, others) = _odd_rows(recorded, found, -1), _odd_rows(recorded, found, 1)
    unclear = "differs or " if some & others else ""  # the other half of a change may be in a cell of several
    words = []
    for text, keys in (
        ("differs", lost & made),
        (f"{unclear}is missing", lost - made),
        (f"{unclear}was not recorded", made - lost),
    ):
        words += [f"row {key} {text}" for key in sorted(keys)]
    more = f" and {len(words) - _SHOWN} more" if len(words) > _SHOWN else ""
    return f"{said}: {', '.join(words[:_SHOWN])}{more}" if words else said


def _odd_rows(recorded: Contents, found: Contents, sign: int) -> tuple[set[str], set[int]]:
    """Return the keys of rows that are alone in their cell in being in one of the two only, and the other odd cells.

    sign: 1 for rows of found, -1 for rows of recorded.
    """
    keys, others = set(), set()
    for number in recorded.cells.keys() | found.cells.keys():
        before, after = (each.cells.get(number, [0, 0, 0, 0]) for each in (recorded, found))
        count, key, part, square = (sign * (b - a) for a, b in zip(before, after, strict=True))
        part &= _WORD
        if count == 1 and key >= 0 and part >> _SHIFT == number and part * part & _WORD == square & _WORD:
            text = key.to_bytes((key.bit_length() + 7) // 8, "big").decode("utf-8", "replace")
            keys.add(f"({text.replace(chr(9), ', ')})")
        elif (count, key, part, square & _WORD) != (0, 0, 0, 0):
            others.add(number)
    return keys, others


# --- partitions -------------------------------------------------------------------------------------------------------

_HASHED = """
SELECT n.nspname, c.relname, rn.nspname, r.relname FROM pg_catalog.pg_class AS c
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
  JOIN pg_catalog.pg_class AS r ON r.oid = pg_catalog.pg_partition_root(c.oid)
  JOIN pg_catalog.pg_namespace AS rn ON rn.oid = r.relnamespace
WHERE c.relispartition AND c.relkind = 'r' AND EXISTS (
  SELECT FROM pg_catalog.pg_partitioned_table AS p
  WHERE p.partstrat = 'h' AND pg_catalog.pg_partition_root(p.partrelid) = r.oid
    AND (0 = ANY (p.partattrs::pg_catalog.int2[]) OR EXISTS (
      SELECT FROM pg_catalog.pg_attribute AS a JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
      WHERE a.attrelid = p.partrelid AND (t.oid >= 16384 OR t.typname ~ '^_?reg')
        AND a.attnum = ANY (p.partattrs::pg_catalog.int2[]))))
"""


def read_roots(conn: psycopg.Connection[Any]) -> dict[str, str]:
    """Return the roots of those partitions whose rows may lie in another one in a copy, by the partitions' names.

    The hash of an enum is that of an OID, and so is that of a regclass; every type of a user's may be made of these.
    """

    def name(schema: str, relation: str) -> str:
        return f"{quote_identifier(schema)}.{quote_identifier(relation)}"

    return {name(*row[:2]): f"{name(*row[2:])} (all partitions)" for row in conn.execute(_HASHED).fetchall()}


# --- a share of the tables --------------------------------------------------------------------------------------------

_SIZES = "SELECT oid::bigint, relpages::bigint + 1 FROM pg_catalog.pg_class WHERE oid = ANY (%s)"


def choose_tables(
    conn: psycopg.Connection[Any], tables: dict[int, Table], known: Mapping[str, int], percent: int
) -> set[int]:
    """Return the tables to record this time: those recorded longest ago first, until they are percent of all pages.

    known: by name, the LSN of the last record; what has none comes first.
    """
    sizes = dict(conn.execute(_SIZES, [list(tables)]).fetchall())
    wanted = sum(sizes.values()) * percent / 100
    chosen: set[int] = set()
    size = 0
    for table in sorted(tables.values(), key=lambda table: (known.get(table.name_text, 0), table.name_text)):
        if percent < 100 and size >= wanted:
            break
        chosen.add(table.oid)
        size += sizes.get(table.oid, 0)
    return chosen | _siblings(conn, tables, chosen)


def _siblings(conn: psycopg.Connection[Any], tables: dict[int, Table], chosen: set[int]) -> set[int]:
    """Return the partitions without which those chosen cannot be compared: the others of their root."""
    roots = read_roots(conn)
    wanted = {roots.get(tables[oid].name_text) for oid in chosen} - {None}
    return {oid for oid, table in tables.items() if roots.get(table.name_text) in wanted}
