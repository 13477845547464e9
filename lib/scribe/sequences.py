"""Sequences after a restore to a point inside a segment: never behind the data they number."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql

# Each sequence with each column of whole numbers it owns, or is the default of. Cyclic ones may be anywhere.
_COLUMNS = """
WITH used AS (
  SELECT d.objid AS seq, d.refobjid AS relid, d.refobjsubid AS attnum
    FROM pg_catalog.pg_depend AS d
   WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.deptype IN ('a', 'i')
     AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
  UNION
  SELECT d.refobjid, f.adrelid, f.adnum
    FROM pg_catalog.pg_depend AS d JOIN pg_catalog.pg_attrdef AS f ON f.oid = d.objid
   WHERE d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass
     AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
)
SELECT sn.nspname, sc.relname, tn.nspname, tc.relname, a.attname, s.seqincrement > 0, s.seqmin, s.seqmax
  FROM used AS u
  JOIN pg_catalog.pg_sequence AS s ON s.seqrelid = u.seq
  JOIN pg_catalog.pg_class AS sc ON sc.oid = u.seq JOIN pg_catalog.pg_namespace AS sn ON sn.oid = sc.relnamespace
  JOIN pg_catalog.pg_class AS tc ON tc.oid = u.relid JOIN pg_catalog.pg_namespace AS tn ON tn.oid = tc.relnamespace
  JOIN pg_catalog.pg_attribute AS a ON a.attrelid = u.relid AND a.attnum = u.attnum
 WHERE NOT s.seqcycle AND tc.relkind IN ('r', 'p')
   AND a.atttypid = ANY ('{int2,int4,int8,numeric}'::pg_catalog.regtype[])
 ORDER BY 1, 2, 3, 4, 5
"""
_ADVANCE = """
SELECT pg_catalog.setval({name}::pg_catalog.regclass, pg_catalog.trunc(v.edge)::bigint)
  FROM (SELECT pg_catalog.{furthest}({column}) AS edge FROM {table}
         WHERE {column} BETWEEN {lowest} AND {highest}) AS v, {sequence} AS s
 WHERE v.edge IS NOT NULL AND (v.edge {beyond} s.last_value OR (v.edge = s.last_value AND NOT s.is_called))
"""


def advance_sequences(conn: psycopg.Connection[Any]) -> int:
    """Move each sequence that is behind a column it numbers to that column's furthest value; return how many moved."""
    moved = 0
    for schema, name, table_schema, table, column, ascending, lowest, highest in conn.execute(_COLUMNS).fetchall():
        sequence = sql.Identifier(schema, name)
        query = sql.SQL(_ADVANCE).format(
            name=sql.Literal(sequence.as_string(conn)),
            furthest=sql.SQL("max" if ascending else "min"),
            column=sql.Identifier(column),
            table=sql.Identifier(table_schema, table),
            sequence=sequence,
            beyond=sql.SQL(">" if ascending else "<"),
            lowest=sql.Literal(lowest),
            highest=sql.Literal(highest),
        )
        moved += len(conn.execute(query).fetchall())
    return moved
