"""What replay and undo leave unchecked, for PostgreSQL checks it with triggers: foreign keys, deferrable uniqueness."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from scribe.common.dialect import quote_literal, quote_name
from scribe.restore.throwaway import ROLE

Table = tuple[str, str]  # schema and name
_MOST = 1000  # rows that are named
_OWNER = f"coalesce(nullif(pg_catalog.pg_get_userbyid(c.relowner), '{ROLE}'), '')"
_FOREIGN_KEYS = f"""
SELECT DISTINCT k.conrelid::bigint, k.confrelid::bigint, k.conname,
  cn.nspname, c.relname, pn.nspname, p.relname, {_OWNER}, c.relkind::text, p.relkind::text,
  ARRAY(SELECT a.attname FROM unnest(k.conkey) WITH ORDINALITY AS x (n, i)
    JOIN pg_catalog.pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = x.n ORDER BY x.i)::text[],
  ARRAY(SELECT a.attname FROM unnest(k.confkey) WITH ORDINALITY AS x (n, i)
    JOIN pg_catalog.pg_attribute AS a ON a.attrelid = k.confrelid AND a.attnum = x.n ORDER BY x.i)::text[],
  ARRAY(SELECT pg_catalog.format('OPERATOR(%%I.%%s)', n.nspname, o.oprname)
    FROM unnest(k.conpfeqop) WITH ORDINALITY AS x (op, i)
    JOIN pg_catalog.pg_operator AS o ON o.oid = x.op JOIN pg_catalog.pg_namespace AS n ON n.oid = o.oprnamespace
    ORDER BY x.i)
FROM pg_catalog.pg_constraint AS k
JOIN pg_catalog.pg_class AS c ON c.oid = k.conrelid JOIN pg_catalog.pg_namespace AS cn ON cn.oid = c.relnamespace
JOIN pg_catalog.pg_class AS p ON p.oid = k.confrelid JOIN pg_catalog.pg_namespace AS pn ON pn.oid = p.relnamespace
WHERE k.contype = 'f' AND k.conparentid = 0
  AND coalesce((pg_catalog.to_jsonb(k) ->> 'conenforced')::bool, true)  -- since 18
  AND (k.conrelid = ANY (%(oids)s::oid[]) OR k.confrelid = ANY (%(oids)s::oid[])
    OR k.conrelid IN (SELECT pg_catalog.pg_partition_root(r) FROM unnest(%(oids)s::oid[]) AS r)
    OR k.confrelid IN (SELECT pg_catalog.pg_partition_root(r) FROM unnest(%(oids)s::oid[]) AS r))
ORDER BY 4, 5, 3
"""
# Each partition has its own, and no two rows of different partitions can be alike.
_DEFERRABLE = f"""
SELECT c.oid::bigint, k.conname, n.nspname, c.relname, {_OWNER},
  coalesce(pg_catalog.pg_get_expr(x.indpred, x.indrelid), 'true'),
  coalesce((pg_catalog.to_jsonb(x) ->> 'indnullsnotdistinct')::bool, false),  -- since 15
  ARRAY(SELECT pg_catalog.pg_get_indexdef(x.indexrelid, i, true)
      || CASE f.opcintype WHEN 'pg_catalog.anyenum'::pg_catalog.regtype THEN '::pg_catalog.text' ELSE '' END
    FROM pg_catalog.generate_series(1, x.indnkeyatts) AS i  -- enums by their text: no operator of theirs takes a domain
    JOIN pg_catalog.pg_opclass AS f ON f.oid = x.indclass[i - 1] ORDER BY i),
  ARRAY(SELECT pg_catalog.format('OPERATOR(%%I.%%s)', pn.nspname, o.oprname)
    FROM pg_catalog.generate_series(1, x.indnkeyatts) AS i
    JOIN pg_catalog.pg_opclass AS f ON f.oid = x.indclass[i - 1]
    LEFT JOIN pg_catalog.pg_amop AS m ON k.conexclop IS NULL AND m.amopfamily = f.opcfamily AND m.amopstrategy = 3
      AND m.amoplefttype = f.opcintype AND m.amoprighttype = f.opcintype
    JOIN pg_catalog.pg_operator AS o ON o.oid = coalesce(k.conexclop[i], m.amopopr)
    JOIN pg_catalog.pg_namespace AS pn ON pn.oid = o.oprnamespace ORDER BY i)
FROM pg_catalog.pg_constraint AS k JOIN pg_catalog.pg_index AS x ON x.indexrelid = k.conindid
JOIN pg_catalog.pg_class AS c ON c.oid = k.conrelid JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE k.contype IN ('p', 'u', 'x') AND k.condeferrable AND c.relkind = 'r' AND (k.conrelid = ANY (%(oids)s::oid[])
  OR k.conrelid IN (SELECT t.relid FROM unnest(%(oids)s::oid[]) AS r,
    LATERAL pg_catalog.pg_partition_tree(pg_catalog.pg_partition_root(r)) AS t))
ORDER BY 3, 4, 2
"""


def sql_name(table: Table) -> str:
    """Return a table's name for a statement."""
    return ".".join(map(quote_name, table))


@dataclass(frozen=True)
class Constraint:
    """A constraint. tables: that it reads, its own first; owner: of that; wrong: a query of the rows that break it.

    said: what such a row does; relids: of the tables.
    """

    relids: tuple[int, ...]
    tables: tuple[Table, ...]
    owner: str
    wrong: str
    said: str

    def check(self) -> str:
        """Return a statement that fails if a row breaks it."""
        failure = f"RAISE EXCEPTION USING MESSAGE = {quote_literal(self.said)}"
        body = f"BEGIN IF EXISTS ({self.wrong}) THEN {failure}; END IF; END"
        return f"DO LANGUAGE plpgsql {quote_literal(body)};\n"  # names may hold any dollar quote


def read_constraints(conn: psycopg.Connection[Any], relids: Sequence[int]) -> list[Constraint]:
    """Return the foreign keys from and to tables, and what else of theirs is checked by triggers."""
    return [*_foreign_keys(conn, relids), *_deferrable(conn, relids)]


def _foreign_keys(conn: psycopg.Connection[Any], relids: Sequence[int]) -> Iterator[Constraint]:
    rows = conn.execute(_FOREIGN_KEYS, {"oids": list(relids)}).fetchall()
    for relid, other_relid, name, schema, child, other_schema, parent, owner, *kinds, own, other, operators in rows:
        tables = ((schema, child), (other_schema, parent))
        given = " AND ".join(f"c.{quote_name(column)} IS NOT NULL" for column in own)
        pairs = zip(other, operators, own, strict=True)
        equal = " AND ".join(f"p.{quote_name(a)} {operator} c.{quote_name(b)}" for a, operator, b in pairs)
        # tables that inherit from one have no part in its foreign keys, on either side; partitions have
        referring, referred = (("" if k == "p" else "ONLY ") + sql_name(t) for t, k in zip(tables, kinds, strict=True))
        wrong = (  # c.*, for a column may be called c
            f"SELECT c.tableoid::pg_catalog.int8, pg_catalog.format('%s', c.*) FROM {referring} AS c"
            f" WHERE {given} AND NOT EXISTS (SELECT FROM {referred} AS p WHERE {equal})"
        )
        said = f"a row of {schema}.{child} would refer to no row of {other_schema}.{parent} ({name})"
        yield Constraint((relid, other_relid), tables, owner, wrong, said)


def _deferrable(conn: psycopg.Connection[Any], relids: Sequence[int]) -> Iterator[Constraint]:
    rows = conn.execute(_DEFERRABLE, {"oids": list(relids)}).fetchall()
    for relid, name, schema, table, owner, condition, nulls, values, operators in rows:
        columns = ", ".join(f"{value} AS scribe_{i}" for i, value in enumerate(values))
        rows_of = (
            "SELECT tableoid::pg_catalog.int8 AS scribe_table, ctid AS scribe_place,"
            f" pg_catalog.format('%s', {quote_name(table)}.*) AS scribe_row, {columns}"
            f" FROM ONLY {sql_name((schema, table))} WHERE {condition}"
        )
        alike = [f"a.scribe_{i} {operator} b.scribe_{i}" for i, operator in enumerate(operators)]
        if nulls:
            alike = [f"({same} OR a.scribe_{i} IS NULL AND b.scribe_{i} IS NULL)" for i, same in enumerate(alike)]
        wrong = (
            f"SELECT a.scribe_table, a.scribe_row FROM ({rows_of}) AS a WHERE EXISTS (SELECT FROM ({rows_of}) AS b"
            f" WHERE b.scribe_place <> a.scribe_place AND {' AND '.join(alike)})"
        )
        said = f"a row of {schema}.{table} would be like another that is there ({name})"
        yield Constraint((relid,), ((schema, table),), owner, wrong, said)


def find_wrong(conn: psycopg.Connection[Any], constraint: Constraint) -> list[tuple[int, str]]:
    """Return rows that break a constraint: the table's OID, and the row's text."""
    rows = conn.execute(f"{constraint.wrong} LIMIT {_MOST}".encode()).fetchall()
    return [(row[0], row[1]) for row in rows]
