"""Rows of extensions' tables that pg_dump leaves out, for the end of a base.

An extension may register a table with a condition: pg_dump then leaves out the rows that its script makes. The stream
changes them all the same, and whoever changed one would find another in the copy. So a base replaces those that the
script made in the copy by those the source has, if the version is the same; another version may have other ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from scribe.common.dialect import quote_identifier, quote_literal

_ROWS_AT_ONCE = 500
_FILTERED = """
SELECT e.extname::text, e.extversion, n.nspname::text, c.relname::text, f.condition,
       ARRAY(SELECT a.attname::text FROM pg_catalog.pg_attribute AS a WHERE a.attrelid = c.oid AND a.attnum > 0
             AND NOT a.attisdropped AND a.attgenerated = '' ORDER BY a.attnum)
FROM pg_catalog.pg_extension AS e,
     ROWS FROM (pg_catalog.unnest(e.extconfig), pg_catalog.unnest(e.extcondition)) AS f (oid, condition)
JOIN pg_catalog.pg_class AS c ON c.oid = f.oid JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE f.condition ~* '^\\s*where\\M' AND c.relkind = 'r'
  -- what an owner hangs on a table is code that would run here
  AND (SELECT r.rolsuper FROM pg_catalog.pg_roles AS r WHERE r.oid = c.relowner) ORDER BY 1, 3, 4
"""


@dataclass(frozen=True)
class _Config:
    """An extension's table of which a dump leaves out rows."""

    extension: str
    version: str
    schema: str
    table: str
    condition: str
    columns: list[str]


def build_config_rows(conn: psycopg.Connection[Any]) -> str:
    """Return SQL that gives a copy the rows that pg_dump leaves out by a condition; conn: in the base's snapshot."""
    text = "".join(_table_sql(conn, _Config(*row)) for row in conn.execute(_FILTERED).fetchall())
    return f"\nSET session_replication_role = replica;\n{text}RESET session_replication_role;\n" if text else ""


def _table_sql(conn: psycopg.Connection[Any], config: _Config) -> str:
    name = f"{quote_identifier(config.schema, force=True)}.{quote_identifier(config.table, force=True)}"
    names = ", ".join(quote_identifier(column, force=True) for column in config.columns)
    condition = config.condition.strip()
    where = f"WHERE NOT coalesce(({condition[len('WHERE') :].strip()}), false)"
    commands = [f"DELETE FROM ONLY {name} {where}"]
    values = sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(column)) for column in config.columns)
    query = sql.SQL("SELECT {} FROM ONLY {} ").format(values, sql.Identifier(config.schema, config.table))
    rows = conn.execute(query.as_string(conn).encode() + where.encode()).fetchall()
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        lines = ",\n".join(_row(row) for row in rows[start : start + _ROWS_AT_ONCE])
        commands.append(f"INSERT INTO {name} ({names}) OVERRIDING SYSTEM VALUE VALUES\n{lines}")
    head = f"\n-- pg_scribe: rows of {name} that pg_dump leaves out\n"
    same = f"extname = {quote_literal(config.extension)} AND extversion = {quote_literal(config.version)}"
    return head + "".join(_guarded(command, same) for command in commands)


def _row(values: tuple[Any, ...]) -> str:
    return "(" + ", ".join("NULL" if value is None else quote_literal(value) for value in values) + ")"


def _guarded(command: str, same: str) -> str:
    tag = "$scribe$"
    while tag in command:
        tag = f"{tag[:-1]}_$"
    return (
        f"DO LANGUAGE plpgsql {tag}\nBEGIN\nIF EXISTS (SELECT FROM pg_catalog.pg_extension WHERE {same}) THEN\n"
        f"{command};\nEND IF;\nEND\n{tag};\n"
    )
