"""What differs in the rows, sequences and large objects of two databases whose schemas are the same, as SQL.

Rows are compared by their text, sorted by the server: with a key by that, without one as often as they are there. A
partitioned table is compared as one, with all that is below it, because a row may lie elsewhere in the other one.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import IO, Any

import psycopg

from scribe.common.dialect import quote_literal, quote_name
from scribe.common.errors import ScribeError
from scribe.restore.constraints import Table, sql_name
from scribe.restore.recording import read_row
from scribe.restore.rowtext import (
    DELETE,
    INSERT,
    UPDATE,
    Change,
    Relation,
    describe_row,
    read_relations,
    undo_deletes,
    undo_one,
)
from scribe.source import largeobjects

CHECK = "scribe_compared"  # the function that each statement passes its number of rows to
_TOGETHER = 100  # rows inserted by one statement
_IMAGES = 1000  # rows without a key that are deleted by one: it reads the whole table
_BLOCK = 64 << 10  # characters that are run at once
_OURS = "n.nspname NOT IN ('pg_catalog', 'information_schema', 'scribe') AND n.nspname !~ '^pg_(toast|temp)'"
_UNITS = f"""
SELECT c.oid::bigint, c.relkind::text, n.nspname, c.relname
FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'm') AND NOT c.relispartition AND c.relpersistence <> 't' AND {_OURS}
  AND (c.relkind <> 'm' OR c.relispopulated)
ORDER BY 3, 4
"""
_LEAVES = """
SELECT c.oid::bigint, n.nspname, c.relname
FROM pg_catalog.pg_partition_tree(%s::pg_catalog.regclass) AS t JOIN pg_catalog.pg_class AS c ON c.oid = t.relid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' ORDER BY 2, 3
"""
_SEQUENCES = f"""
SELECT n.nspname, c.relname, c.oid::bigint || ARRAY(SELECT d.refobjid::bigint FROM pg_catalog.pg_depend AS d
    WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.deptype IN ('a', 'i')
    AND d.refclassid = d.classid AND d.refobjsubid > 0)
FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind = 'S' AND c.relpersistence <> 't' AND {_OURS} ORDER BY 1, 2
"""
_REFRESH = """
SELECT pg_catalog.format('REFRESH MATERIALIZED VIEW %%I.%%I;%%s', n.nspname, c.relname, pg_catalog.chr(10))
FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = %s
"""


@dataclass(frozen=True)
class Unit:
    """What is compared at once. relation: as statements name it; leaves: the tables that hold its rows, with OIDs."""

    relation: Relation
    kind: str
    leaves: tuple[tuple[int, Table], ...]

    @property
    def oids(self) -> set[int]:
        """It and all that is below it."""
        return {self.relation.oid, *(oid for oid, _ in self.leaves)}

    @property
    def stored(self) -> list[int]:
        """The columns that hold a value of their own."""
        return [number for number, column in self.relation.columns.items() if not column.generated]


@dataclass
class Count:
    """Rows of one table that are in the first database only, in the second only, and in both with other values."""

    first: int = 0
    second: int = 0
    changed: int = 0

    def add(self, other: Count) -> None:
        """Add others to it."""
        self.first += other.first
        self.second += other.second
        self.changed += other.changed

    def __bool__(self) -> bool:
        return bool(self.first or self.second or self.changed)


def read_units(conn: psycopg.Connection[Any]) -> dict[Table, Unit]:
    """Return what there is to compare, by schema and name."""
    found = conn.execute(_UNITS.encode()).fetchall()
    relations = read_relations(conn, [row[0] for row in found])
    units = {}
    for oid, kind, schema, name in found:
        relation = relations[oid]
        leaves: tuple[tuple[int, Table], ...] = ((oid, (schema, name)),)
        if kind == "p":
            leaves = tuple((leaf, (s, n)) for leaf, s, n in conn.execute(_LEAVES, [oid]).fetchall())
            relation = replace(relation, root=(schema, name))
        units[schema, name] = Unit(relation, kind, leaves)
    return units


def rows_of(conn: psycopg.Connection[Any], unit: Unit) -> Iterator[tuple[str, str]]:
    """The rows of a table, each with its key, in the order of both."""
    columns = unit.relation.columns
    whole = ", ".join(f"t.{quote_name(columns[n].name)}" for n in unit.stored)
    key = ", ".join(f"t.{quote_name(columns[n].name)}" for n in unit.relation.key)
    parts = [
        f"SELECT {f'ROW({key})::pg_catalog.text' if key else chr(39) * 2} AS k, ROW({whole})::pg_catalog.text AS r"
        f" FROM ONLY {sql_name(leaf)} AS t"
        for _, leaf in unit.leaves
    ]
    if not parts:
        return
    as_bytes = (
        '{} COLLATE "C"'
        if conn.info.parameter_status("server_encoding") == "UTF8"
        else (
            "pg_catalog.convert_to({}, 'UTF8')"  # in the order of characters, as they are compared here
        )
    )
    order = ", ".join(as_bytes.format(name) for name in ("x.k", "x.r"))
    query = f"SELECT x.k, x.r FROM ({' UNION ALL '.join(parts)}) AS x ORDER BY {order}"
    with conn.cursor("scribe_rows") as cursor:
        cursor.itersize = 5000
        cursor.execute(query.encode())
        yield from cursor


def compare_rows(
    first: Iterator[tuple[str, str]], second: Iterator[tuple[str, str]], *, keyed: bool
) -> Iterator[tuple[str | None, str | None]]:
    """Yield rows as they are in the first and in the second, None where a row is not there."""
    end: tuple[str, str] | None = None
    a, b = next(first, end), next(second, end)
    while a is not None or b is not None:
        if a == b:
            a, b = next(first, end), next(second, end)
        elif keyed and a is not None and b is not None and a[0] == b[0]:
            yield a[1], b[1]
            a, b = next(first, end), next(second, end)
        elif b is None or (a is not None and a < b):
            assert a is not None
            yield a[1], None
            a = next(first, end)
        else:
            yield None, b[1]
            b = next(second, end)


class Batches:
    """Statements on the way to be run, in a file: blocks of them, as long as is run at once."""

    def __init__(self) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  (it lives as long as this)
        self._sizes: list[int] = []
        self._held: list[str] = []
        self._length = 0

    def add(self, text: str) -> None:
        """Add a statement, or some that belong together."""
        self._held.append(text)
        self._length += len(text)
        if self._length >= _BLOCK:
            self._write()

    def _write(self) -> None:
        data = "".join(self._held).encode()
        self._file.write(data)
        self._sizes.append(len(data))
        self._held, self._length = [], 0

    def __iter__(self) -> Iterator[bytes]:
        if self._held:
            self._write()
        self._file.seek(0)
        for size in self._sizes:
            yield self._file.read(size)
        self._file.seek(0, 2)


class Rows:
    """The statements that make one table of the first database what it is in the second."""

    def __init__(self, unit: Unit) -> None:
        self.unit, self.count = unit, Count()
        self._phases = {INSERT: Batches(), UPDATE: Batches(), DELETE: Batches()}
        self._new: list[Change] = []
        self._gone: list[str] = []  # rows without a key

    def find(self, conns: Sequence[psycopg.Connection[Any]], other: Unit, *, replacing: bool = False) -> None:
        """Compare; replacing: a row that has changed is deleted and inserted, since another may have its values."""
        keyed = bool(self.unit.relation.key)
        with conns[0].transaction(), conns[1].transaction():
            both = compare_rows(rows_of(conns[0], self.unit), rows_of(conns[1], other), keyed=keyed)
            for before, after in both:
                self._add(before, after, replacing=replacing)
        self._delete()
        self._insert()

    def _add(self, before: str | None, after: str | None, *, replacing: bool) -> None:
        stored = self.unit.stored
        # The second database is what is given back: its rows are the old ones, those of the first are to go.
        new, old = (None if text is None else read_row(text, len(stored)) for text in (before, after))
        attnums = tuple(stored)
        if new is None:
            self.count.second += 1
        elif old is None:
            self.count.first += 1
        else:
            self.count.changed += 1
        if new is not None and old is not None and not replacing:
            self._one(Change(0, 0, self.unit.relation.oid, UPDATE, attnums, old, new))
            return
        if before is not None and not self.unit.relation.key:
            self._gone.append(before)
            if len(self._gone) >= _IMAGES:
                self._delete()
        elif new is not None:
            self._one(Change(0, 0, self.unit.relation.oid, INSERT, attnums, None, new))
        if old is not None:
            self._new.append(Change(0, 0, self.unit.relation.oid, DELETE, attnums, old, None))
            if len(self._new) >= _TOGETHER:
                self._insert()

    def _one(self, change: Change) -> None:
        relation = self.unit.relation
        text = undo_one(relation, change, describe_row(relation, change, old=False), CHECK)
        if text is not None:
            self._phases[change.op].add(text)

    def _delete(self) -> None:
        if self._gone:
            self._phases[INSERT].add(delete_images(self.unit, self._gone))
        self._gone = []

    def _insert(self) -> None:
        if self._new:
            self._phases[DELETE].add(undo_deletes(self.unit.relation, self._new))
        self._new = []

    def __iter__(self) -> Iterator[bytes]:
        """Deletes first, then updates, then inserts."""
        for phase in self._phases.values():
            yield from phase


def delete_images(unit: Unit, rows: Sequence[str]) -> str:
    """Return a statement that deletes rows by their text, equal ones as often as they are named, all or none."""
    relation = unit.relation
    names = ", ".join(f"t.{quote_name(relation.columns[n].name)}" for n in unit.stored)
    values = ", ".join(f"({quote_literal(row)})" for row in rows)
    image = f'ROW({names})::pg_catalog.text COLLATE "C" AS image'
    numbered = "pg_catalog.row_number() OVER (PARTITION BY {0}.image) AS n"
    what = quote_literal(f"{relation}, {len(rows)} rows")
    return (
        f"WITH o AS (SELECT v.image, {numbered.format('v')}"
        f' FROM (SELECT x.image COLLATE "C" AS image FROM (VALUES {values}) AS x (image)) AS v),'
        f" r AS (SELECT s.tableoid, s.ctid, s.image, {numbered.format('s')}"
        f" FROM (SELECT t.tableoid, t.ctid, {image} FROM {relation.target} AS t) AS s"
        " WHERE s.image IN (SELECT o.image FROM o)),"
        f" done AS (DELETE FROM {relation.target} AS t USING r, o WHERE r.image = o.image AND r.n = o.n"
        " AND t.tableoid = r.tableoid AND t.ctid = r.ctid RETURNING 1)"
        f" SELECT pg_temp.{CHECK}(pg_catalog.count(*) - {len(rows) - 1}, {what}::pg_catalog.text) FROM done;\n"
    )


def check_function() -> str:
    """Return what makes the function that each statement passes its number of rows to."""
    return f"""\
CREATE FUNCTION pg_temp.{CHECK}(number pg_catalog.int8, what pg_catalog.text) RETURNS pg_catalog.void
LANGUAGE plpgsql AS $scribe$
BEGIN
  IF number <> 1 THEN
    RAISE EXCEPTION '%: the row is not what it was at the first point', what
      USING HINT = 'Run this on a database that is as it was at the first point. Nothing of its rows was changed.';
  END IF;
END
$scribe$;
"""


def drop_check() -> str:
    """Return what takes it away."""
    return f"DROP FUNCTION pg_temp.{CHECK}(pg_catalog.int8, pg_catalog.text);\n"


def compare_sequences(
    conns: Sequence[psycopg.Connection[Any]], wanted: Sequence[set[int] | None]
) -> Iterator[tuple[Table, int, bool]]:
    """Yield the sequences that stand elsewhere in the second database, and where.

    wanted: for each, the OIDs of sequences and of tables that own some, None for all.
    """
    before, after = (dict(_positions(conn, oids)) for conn, oids in zip(conns, wanted, strict=True))
    for name, (value, called) in after.items():
        if before.get(name) != (value, called):
            yield name, value, called


def _positions(conn: psycopg.Connection[Any], wanted: set[int] | None) -> Iterator[tuple[Table, tuple[int, bool]]]:
    for schema, name, oids in conn.execute(_SEQUENCES.encode()).fetchall():
        if wanted is None or wanted.intersection(oids):
            row = conn.execute(f"SELECT last_value, is_called FROM {sql_name((schema, name))}".encode()).fetchone()
            assert row is not None
            yield (schema, name), (row[0], row[1])


def set_sequence(name: Table, value: int, *, called: bool) -> str:
    """Return the statement that moves a sequence."""
    named = ".".join('"' + part.replace('"', '""') + '"' for part in name)  # as regclass reads it
    return f"SELECT pg_catalog.setval({quote_literal(named)}, {value}, {'true' if called else 'false'});\n"


def compare_objects(conns: Sequence[psycopg.Connection[Any]]) -> tuple[list[int], list[int]]:
    """Return the large objects of the second database that the first has otherwise or not, and those to be removed."""
    before, after = (largeobjects.fingerprints(conn) for conn in conns)
    changed = sorted(oid for oid, mark in after.items() if before.get(oid) != mark)
    return changed, sorted(before.keys() - after.keys())


def carry_objects(conn: psycopg.Connection[Any], changed: list[int], gone: list[int]) -> Iterator[str]:
    """Yield the statements that bring large objects; conn: to the second database."""
    if changed or gone:
        yield from largeobjects.statements(conn, largeobjects.Changes(changed, gone, {}))


def refresh(conn: psycopg.Connection[Any], oid: int) -> str:
    """Return the statement that fills a materialized view."""
    row = conn.execute(_REFRESH.encode(), [oid]).fetchone()
    if row is None:
        raise ScribeError("a materialized view went away")
    return str(row[0])
