"""What acts on statements though triggers are off: triggers and rules that are to act always, forced row security."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from scribe.restore.recording import SCHEMA

# Before PostgreSQL 15 a partition's copy of a user's trigger counts as internal.
_IS_USERS = """(NOT t.tgisinternal OR t.tgparentid <> 0 AND NOT EXISTS (
    SELECT FROM pg_catalog.pg_constraint AS k WHERE k.oid = t.tgconstraint AND k.contype <> 't'))"""
# A statement on a partition names its root: triggers and rules of the whole tree are looked at.
_ACTING = f"""
WITH tables AS (
  SELECT r AS oid FROM unnest(%(oids)s::oid[]) AS r
  UNION SELECT t.relid FROM unnest(%(oids)s::oid[]) AS r,
    LATERAL pg_catalog.pg_partition_tree(pg_catalog.pg_partition_root(r)) AS t
), acting AS (
  SELECT t.tgrelid AS oid, 'TRIGGER' AS kind, t.tgname AS name, t.tgenabled AS mode FROM pg_catalog.pg_trigger AS t
  WHERE {_IS_USERS} AND t.tgfoid IS DISTINCT FROM pg_catalog.to_regprocedure('{SCHEMA}.note()')
  UNION ALL SELECT r.ev_class, 'RULE', r.rulename, r.ev_enabled FROM pg_catalog.pg_rewrite AS r
)
SELECT pg_catalog.format('ALTER TABLE ONLY %%I.%%I', n.nspname, c.relname) AS head,
  pg_catalog.format('DISABLE %%s %%I', a.kind, a.name) AS off,
  pg_catalog.format('ENABLE %%s %%s %%I', CASE a.mode WHEN 'A' THEN 'ALWAYS' ELSE 'REPLICA' END, a.kind, a.name)
FROM tables JOIN acting AS a USING (oid) JOIN pg_catalog.pg_class AS c USING (oid)
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE a.mode IN ('A', 'R')
UNION ALL SELECT pg_catalog.format('ALTER TABLE ONLY %%I.%%I', n.nspname, c.relname),
  'NO FORCE ROW LEVEL SECURITY', 'FORCE ROW LEVEL SECURITY'
FROM tables JOIN pg_catalog.pg_class AS c USING (oid) JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relforcerowsecurity ORDER BY 1, 2
"""


@dataclass(frozen=True)
class Acting:
    """Something that would act: statements that keep it from it, and let it again."""

    off: str
    on: str


def read_acting(conn: psycopg.Connection[Any], relids: Sequence[int]) -> list[Acting]:
    """Return what would act on statements on tables."""
    rows = conn.execute(_ACTING.encode(), {"oids": list(relids)}).fetchall()
    return [Acting(f"{head} {off};\n", f"{head} {on};\n") for head, off, on in rows]
