"""Relations as they stand in a copy, and the SQL that takes one recorded change of a row back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from scribe.common.dialect import quote_literal, quote_name
from scribe.restore.constraints import Table, sql_name
from scribe.restore.throwaway import ROLE

INSERT, UPDATE, DELETE, TRUNCATE = "I", "U", "D", "T"
KINDS = {INSERT: "insert", UPDATE: "update", DELETE: "delete", TRUNCATE: "truncate"}
Values = Sequence[str | None]

_RELATIONS = """
SELECT c.oid::bigint, n.nspname, c.relname, pg_catalog.pg_get_userbyid(c.relowner), rn.nspname, r.relname,
  ARRAY(SELECT i.indkey[k] FROM pg_catalog.generate_series(0, i.indnkeyatts - 1) AS k)::int[]
FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_class AS r ON c.relispartition AND r.oid = pg_catalog.pg_partition_root(c.oid)
LEFT JOIN pg_catalog.pg_namespace AS rn ON rn.oid = r.relnamespace
LEFT JOIN LATERAL (SELECT x.indkey, x.indnkeyatts FROM pg_catalog.pg_index AS x
  WHERE x.indrelid = c.oid AND x.indisvalid AND (x.indisprimary OR x.indisreplident)
  ORDER BY x.indisprimary DESC LIMIT 1) AS i ON true
WHERE c.oid = ANY (%s::oid[])
"""
# Further keys: no two rows have the same values of these columns, NULLs among them where they count as equal.
# Deferrable ones are checked as constraints.
_UNIQUE = """
SELECT x.indrelid::bigint, coalesce((pg_catalog.to_jsonb(x) ->> 'indnullsnotdistinct')::bool, false),  -- since 15
  ARRAY(SELECT x.indkey[k] FROM pg_catalog.generate_series(0, x.indnkeyatts - 1) AS k)::int[]
FROM pg_catalog.pg_index AS x
WHERE x.indrelid = ANY (%s::oid[]) AND x.indisunique AND x.indimmediate AND x.indisvalid
  AND x.indexprs IS NULL AND x.indpred IS NULL
ORDER BY x.indexrelid
"""
_COLUMNS = """
SELECT a.attrelid::bigint, a.attnum::int, a.attname, a.attgenerated <> '',
  t.typnamespace = 'pg_catalog'::pg_catalog.regnamespace AND t.typname !~ '^reg'  -- "= 'a.b'" reads that as an oid
FROM pg_catalog.pg_attribute AS a JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
WHERE a.attrelid = ANY (%s::oid[]) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY 1, 2
"""


@dataclass(frozen=True)
class Column:
    """A column that is there. plain: its type is PostgreSQL's own, so that its equality is, and it reads its values."""

    name: str
    generated: bool
    plain: bool


@dataclass(frozen=True)
class Relation:
    """A table. target: as statements name it, by its topmost ancestor if it is a partition.

    unique: columns of further keys, and whether NULLs count as equal in them.
    """

    oid: int
    schema: str
    name: str
    owner: str
    root: tuple[str, str] | None
    key: tuple[int, ...]
    columns: dict[int, Column]
    unique: tuple[tuple[tuple[int, ...], bool], ...] = ()

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def table(self) -> Table:
        """What rows are inserted into, and a partition's are changed in."""
        return self.root or (self.schema, self.name)

    @property
    def into(self) -> str:
        """Its name for a statement."""
        return sql_name(self.table)

    @property
    def target(self) -> str:
        """What is updated and deleted from."""
        return self.into if self.root else f"ONLY {self.into}"


@dataclass(frozen=True, slots=True)
class Change:
    """A change of one row; attnums: of the columns its values are of; stamp: of its transaction."""

    seq: int
    stamp: int
    relid: int
    op: str
    attnums: tuple[int, ...]
    old: Values | None
    new: Values | None

    def value(self, attnum: int, *, old: bool) -> str | None:
        """Return one value."""
        values = self.old if old else self.new
        assert values is not None
        return values[self.attnums.index(attnum)] if attnum in self.attnums else None

    def identity(self, relation: Relation | None, *, old: bool) -> Values | None:
        """Return what tells the row from others before or after: its key, or all of it; None where there was none."""
        values = self.old if old else self.new
        if values is None:
            return None
        if relation is None or not relation.key or not set(relation.key) <= set(self.attnums):
            return tuple(values)
        return tuple(self.value(attnum, old=old) for attnum in relation.key)

    def place(self, columns: tuple[int, ...], *, old: bool, nulls: bool) -> Values | None:
        """Return the values of a further key; None where another row may have them, or there was none."""
        if (self.old if old else self.new) is None or not set(columns) <= set(self.attnums):
            return None
        values = tuple(self.value(attnum, old=old) for attnum in columns)
        return values if nulls or None not in values else None


def read_relations(conn: psycopg.Connection[Any], relids: Sequence[int]) -> dict[int, Relation]:
    """Return the relations that are there, by their OIDs."""
    columns: dict[int, dict[int, Column]] = {}
    for relid, attnum, name, generated, plain in conn.execute(_COLUMNS, [list(relids)]).fetchall():
        columns.setdefault(relid, {})[attnum] = Column(name, generated, plain)
    unique: dict[int, list[tuple[tuple[int, ...], bool]]] = {}
    for relid, nulls, numbers in conn.execute(_UNIQUE, [list(relids)]).fetchall():
        unique.setdefault(relid, []).append((tuple(numbers), nulls))
    found = {}
    for oid, schema, name, owner, root_schema, root, key in conn.execute(_RELATIONS, [list(relids)]).fetchall():
        ancestor = (root_schema, root) if root is not None else None
        # What has no owner in the archive belongs to the cluster's own role in the copy, which no other server has.
        known = columns.get(oid, {})
        further = tuple(each for each in unique.get(oid, ()) if each[0] != tuple(key or ()))
        whose = "" if owner == ROLE else owner
        found[oid] = Relation(oid, schema, name, whose, ancestor, tuple(key or ()), known, further)
    return found


_SEQUENCES = """
SELECT pg_catalog.format('%%I.%%I', n.nspname, c.relname), a.attname, s.seqstart
FROM pg_catalog.pg_depend AS d JOIN pg_catalog.pg_sequence AS s ON s.seqrelid = d.objid
JOIN pg_catalog.pg_class AS c ON c.oid = d.objid JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refclassid = d.classid AND d.deptype IN ('a', 'i')
  AND d.refobjid IN (%(oid)s, coalesce(pg_catalog.pg_partition_root(%(oid)s::oid)::oid, 0))
  AND s.seqincrement > 0 AND NOT s.seqcycle ORDER BY 1
"""


def advance_sequences(conn: psycopg.Connection[Any], relation: Relation) -> str:
    """Return statements that move a table's own sequences to its highest values if they are behind.

    They name no sequence but to functions: what else could have got its name would run with the rights of the table's.
    """
    texts = []
    for sequence, column, start in conn.execute(_SEQUENCES, {"oid": relation.oid}).fetchall():
        texts.append(
            f"SELECT pg_catalog.setval({quote_literal(sequence)}, v.edge)"
            f" FROM (SELECT pg_catalog.max({quote_name(column)})::pg_catalog.int8 AS edge FROM {relation.into}) AS v"
            f" WHERE v.edge > coalesce(pg_catalog.pg_sequence_last_value({quote_literal(sequence)}), {start - 1});\n"
        )
    return "".join(texts)


def write_row(values: Values) -> str:
    """Return the text of a row as the server writes it."""
    return "(" + ",".join(map(_write_field, values)) + ")"


def _write_field(value: str | None) -> str:
    if value is None:
        return ""
    if value and not any(c in '"\\(), \t\n\r\v\f' for c in value):
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '""') + '"'


def literal(value: str | None) -> str:
    """Return a value as SQL."""
    return "NULL" if value is None else quote_literal(value)


def describe_row(relation: Relation, change: Change, *, old: bool) -> str:
    """Return which row a change is of, for people: its key, or the beginning of all of it."""
    shown = relation.key or tuple(number for number in change.attnums if number in relation.columns)
    known = [number for number in shown if number in relation.columns]
    texts = [f"{relation.columns[n].name}={change.value(n, old=old) or ''}" for n in known]
    text = ", ".join(texts)
    return f"{relation}, {text if len(text) <= 80 else text[:80] + '...'}"


def undo_one(relation: Relation, change: Change, what: str, check: str = "scribe_undone") -> str | None:
    """Return a statement that takes an insert or update back and fails unless the row is still what it made it.

    None where the update changed nothing. what: the change, for the message; check: the function that counts the rows.
    """
    if change.op == INSERT:
        statement = f"DELETE FROM {relation.target} AS t WHERE {_find(relation, change)}"
    else:
        changed = [
            f"{quote_name(relation.columns[n].name)} = {literal(change.value(n, old=True))}"
            for n in _stored(relation, change)
            if change.value(n, old=True) != change.value(n, old=False)
        ]
        if not changed:
            return None
        statement = f"UPDATE {relation.target} AS t SET {', '.join(changed)} WHERE {_find(relation, change)}"
    return (
        f"WITH done AS ({statement} RETURNING 1)"
        f" SELECT pg_temp.{check}(pg_catalog.count(*), {quote_literal(what)}::pg_catalog.text) FROM done;\n"
    )


def undo_deletes(relation: Relation, changes: Sequence[Change]) -> str:
    """Return a statement that gives deleted rows back; all of the changes are of columns of the same numbers."""
    stored = _stored(relation, changes[0])
    rows = [[literal(change.value(n, old=True)) for n in stored] for change in changes]
    return insert_rows(relation.into, [relation.columns[n].name for n in stored], rows)


def insert_rows(into: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a statement that inserts rows of literals."""
    if not columns:
        return f"INSERT INTO {into} DEFAULT VALUES;\n" * len(rows)
    head = f"INSERT INTO {into} ({', '.join(map(quote_name, columns))}) OVERRIDING SYSTEM VALUE VALUES"
    lines = ["(" + ", ".join(row) + ")" for row in rows]
    return f"{head} {lines[0]};\n" if len(lines) == 1 else head + "\n" + ",\n".join(lines) + ";\n"


def _stored(relation: Relation, change: Change) -> list[int]:
    """The columns of a change that are there and hold a value of their own."""
    return [n for n in change.attnums if n in relation.columns and not relation.columns[n].generated]


def _find(relation: Relation, change: Change) -> str:
    """The condition that finds the one row that still is what the change made it."""
    stored = _stored(relation, change)
    names = ", ".join(f"t.{quote_name(relation.columns[n].name)}" for n in stored)
    text = write_row([change.value(n, old=False) for n in stored])
    same = f'ROW({names})::pg_catalog.text COLLATE "C" = {quote_literal(text)}'
    if relation.key and set(relation.key) <= set(stored):
        keyed = [
            f"t.{quote_name(relation.columns[n].name)} OPERATOR(pg_catalog.=) {literal(change.value(n, old=False))}"
            for n in relation.key
            if relation.columns[n].plain
        ]
        return " AND ".join([*keyed, same])
    return f"(t.tableoid, t.ctid) = (SELECT t.tableoid, t.ctid FROM {relation.target} AS t WHERE {same} LIMIT 1)"
