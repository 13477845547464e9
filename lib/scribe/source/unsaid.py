"""What pg_dump never says, although the source has it, as statements for the end of a base.

A trigger that a constraint made may be switched off or fire always (DISABLE TRIGGER ALL); a comment may be on the
constraint of a constraint trigger; a foreign table has the compression of the columns that it inherits.
"""

from __future__ import annotations

from typing import Any

import psycopg

from scribe.common.dialect import IF_SUPERUSER, quote_literal

# Their names are made of numbers. A constraint that came to a partition with its parent's has a name by chance.
_TRIGGERS = """
SELECT t.tgenabled::text, pg_catalog.format('%I.%I', n.nspname, c.relname), t.tgfoid::pg_catalog.regproc::text,
  CASE WHEN t.tgconstrrelid <> 0 THEN pg_catalog.format('%I.%I', rn.nspname, r.relname) END,
  CASE WHEN k.conparentid = 0 THEN k.conname END
FROM pg_catalog.pg_trigger AS t JOIN pg_catalog.pg_class AS c ON c.oid = t.tgrelid
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
  JOIN pg_catalog.pg_constraint AS k ON k.oid = t.tgconstraint
  LEFT JOIN pg_catalog.pg_class AS r ON r.oid = t.tgconstrrelid
  LEFT JOIN pg_catalog.pg_namespace AS rn ON rn.oid = r.relnamespace
WHERE t.tgisinternal AND t.tgenabled <> 'O' AND n.nspname <> 'scribe' ORDER BY 2, 1, 3, 5
"""
_MODES = {"D": "DISABLE", "A": "ENABLE ALWAYS", "R": "ENABLE REPLICA"}
_COMMENTS = """
SELECT pg_catalog.format('COMMENT ON CONSTRAINT %I ON %I.%I IS %L', k.conname, n.nspname, c.relname, d.description)
FROM pg_catalog.pg_description AS d JOIN pg_catalog.pg_constraint AS k ON k.oid = d.objoid AND k.contype = 't'
  JOIN pg_catalog.pg_class AS c ON c.oid = k.conrelid JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE d.classoid = 'pg_catalog.pg_constraint'::pg_catalog.regclass AND n.nspname <> 'scribe' ORDER BY 1
"""
_COMPRESSION = """
SELECT pg_catalog.format('UPDATE pg_catalog.pg_attribute SET attcompression = %L WHERE attname = %L'
    ' AND attrelid = pg_catalog.to_regclass(%L)', a.attcompression, a.attname,
    pg_catalog.format('%I.%I', n.nspname, c.relname))
FROM pg_catalog.pg_attribute AS a JOIN pg_catalog.pg_class AS c ON c.oid = a.attrelid
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind = 'f' AND a.attcompression <> '' AND NOT a.attisdropped ORDER BY 1
"""


def never_said(conn: psycopg.Connection[Any]) -> list[str]:
    """Return the statements; each does nothing for a role that is no superuser. conn has an empty search_path."""
    by_table: dict[tuple[str, str], list[str]] = {}
    for mode, table, function, other, constraint in conn.execute(_TRIGGERS).fetchall():
        found = [f"t.tgfoid = {quote_literal(function)}::pg_catalog.regproc"]
        found.append(f"t.tgconstrrelid = {_relation(other) if other else '0'}")
        found.append(f"k.conname = {quote_literal(constraint)}" if constraint else "k.conparentid <> 0")
        by_table.setdefault((table, mode), []).append(f"({' AND '.join(found)})")
    lines = [_switch(table, mode, found) for (table, mode), found in by_table.items()]
    for query in (_COMMENTS, _COMPRESSION):
        lines += [f"  {row[0]};" for row in conn.execute(query).fetchall()]
    return [
        f"DO LANGUAGE plpgsql {quote_literal(f'DECLARE found record; BEGIN {IF_SUPERUSER} {line} END IF; END')}"
        for line in lines
    ]


def _relation(name: str) -> str:
    return f"{quote_literal(name)}::pg_catalog.regclass"


def _switch(table: str, mode: str, triggers: list[str]) -> str:
    """Return plpgsql that gives a table's triggers of constraints that mode."""
    statement = quote_literal(f"ALTER TABLE ONLY %s {_MODES[mode]} TRIGGER %I")
    return (
        "FOR found IN SELECT t.tgname FROM pg_catalog.pg_trigger AS t"
        " JOIN pg_catalog.pg_constraint AS k ON k.oid = t.tgconstraint"
        f" WHERE t.tgisinternal AND t.tgrelid = {_relation(table)} AND ({' OR '.join(triggers)}) LOOP"
        f" EXECUTE pg_catalog.format({statement}, {quote_literal(table)}, found.tgname); END LOOP;"
    )
