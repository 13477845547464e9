"""Foreign keys of tables, and the rows that refer to none: replay and undo run without the triggers that would tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from scribe.common.dialect import quote_literal, quote_name
from scribe.restore.throwaway import ROLE

_MOST = 1000  # rows that are named
_KEYS = f"""
SELECT DISTINCT k.oid::bigint, k.conname, pg_catalog.format('%%I.%%I', cn.nspname, c.relname),
  pg_catalog.format('%%I.%%I', pn.nspname, p.relname),
  coalesce(nullif(pg_catalog.pg_get_userbyid(c.relowner), '{ROLE}'), ''),
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
WHERE k.contype = 'f' AND k.conparentid = 0 AND k.convalidated
  AND (k.conrelid = ANY (%(oids)s::oid[]) OR k.confrelid = ANY (%(oids)s::oid[])
    OR k.conrelid IN (SELECT pg_catalog.pg_partition_root(r) FROM unnest(%(oids)s::oid[]) AS r)
    OR k.confrelid IN (SELECT pg_catalog.pg_partition_root(r) FROM unnest(%(oids)s::oid[]) AS r))
ORDER BY 3, 2
"""


@dataclass(frozen=True)
class ForeignKey:
    """A foreign key; child, parent and operators as SQL; owner: of the child."""

    name: str
    child: str
    parent: str
    owner: str
    condition: str

    def check(self) -> str:
        """Return a statement that fails if a row refers to none."""
        said = quote_literal(f"a row of {self.child} would refer to no row of {self.parent} ({self.name})")
        return (
            "DO LANGUAGE plpgsql $scribe$\nBEGIN\n"
            f"  IF EXISTS (SELECT FROM {self.child} AS c WHERE {self.condition}) THEN\n"
            f"    RAISE EXCEPTION USING MESSAGE = {said};\n"
            "  END IF;\nEND\n$scribe$;\n"
        )


def read_foreign_keys(conn: psycopg.Connection[Any], relids: Sequence[int]) -> list[ForeignKey]:
    """Return the foreign keys from and to tables."""
    found = []
    for _, name, child, parent, owner, own, other, operators in conn.execute(_KEYS, {"oids": list(relids)}).fetchall():
        given = " AND ".join(f"c.{quote_name(column)} IS NOT NULL" for column in own)
        pairs = zip(other, operators, own, strict=True)
        equal = " AND ".join(f"p.{quote_name(a)} {operator} c.{quote_name(b)}" for a, operator, b in pairs)
        condition = f"{given} AND NOT EXISTS (SELECT FROM {parent} AS p WHERE {equal})"
        found.append(ForeignKey(name, child, parent, owner, condition))
    return found


def find_orphans(conn: psycopg.Connection[Any], key: ForeignKey) -> list[tuple[int, str]]:
    """Return rows that refer to none: the table's OID, and the row's text."""
    columns = "c.tableoid::bigint, pg_catalog.format('%s', c)"
    query = f"SELECT {columns} FROM {key.child} AS c WHERE {key.condition} LIMIT {_MOST}"
    return [(row[0], row[1]) for row in conn.execute(query.encode()).fetchall()]
