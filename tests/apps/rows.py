"""Rows for tables nobody here has designed: plausible values by type, and foreign keys that hold."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import psycopg
from psycopg import sql

_TABLES = """
    SELECT c.oid, n.nspname::text, c.relname::text FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'scribe')
      AND n.nspname !~ '^pg_'
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS d WHERE d.objid = c.oid AND d.deptype = 'e')
    ORDER BY 2, 3"""
_COLUMNS = """
    SELECT a.attname::text, a.atthasdef, a.attnotnull, a.atttypmod, t.typname::text, t.typtype::text, t.typcategory::text,
        b.typname::text, ARRAY(SELECT e.enumlabel::text FROM pg_catalog.pg_enum AS e WHERE e.enumtypid = t.oid),
        k.confrelid::pg_catalog.regclass::text, f.attname::text
    FROM pg_catalog.pg_attribute AS a JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
        LEFT JOIN pg_catalog.pg_type AS b ON b.oid = t.typbasetype
        LEFT JOIN pg_catalog.pg_constraint AS k ON k.conrelid = a.attrelid AND k.contype = 'f' AND k.conkey = ARRAY[a.attnum]
        LEFT JOIN pg_catalog.pg_attribute AS f ON f.attrelid = k.confrelid AND f.attnum = k.confkey[1]
    WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' AND a.attidentity <> 'a'
    ORDER BY a.attnum"""
_WORDS = [
    "alpha",
    "Beta",
    "o'clock",
    "back\\slash",
    "tab\there",
    "Zürich",
    "line\nbreak",
    "",
    "x" * 300,
    "a@example.org",
]


class Rows:
    """Inserts, updates and deletes rows at random, reproducibly by seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.done: Counter[str] = Counter()

    def tables(self, conn: psycopg.Connection[Any]) -> list[tuple[int, str, str]]:
        """OID, schema and name of every table of the application's."""
        return conn.execute(_TABLES).fetchall()

    def change(self, conn: psycopg.Connection[Any], per_table: int = 2, tables: int | None = None) -> None:
        """Change a few rows of every table, or of so many tables; conn is in autocommit mode."""
        found = self.tables(conn)
        if tables is not None and tables < len(found):
            found = self.random.sample(found, tables)
        for oid, schema, name in found:
            table = sql.Identifier(schema, name)
            columns = conn.execute(_COLUMNS, [oid]).fetchall()
            if not columns:
                continue
            self._change_table(conn, table, columns, per_table)

    def _change_table(
        self, conn: psycopg.Connection[Any], table: sql.Identifier, columns: list[Any], inserts: int
    ) -> None:
        """In one transaction, which deferred constraints may refuse as a whole."""
        before = self.done.copy()
        try:
            with conn.transaction():
                for _ in range(inserts):
                    self._attempt(conn, "inserted", partial(self._insert, conn, table, columns))
                self._attempt(conn, "updated", partial(self._update, conn, table, columns))
                if self.random.random() < 0.2:
                    self._attempt(conn, "deleted", partial(self._delete, conn, table))
        except psycopg.errors.IntegrityError:
            self.done = before + Counter(refused=1)

    def _attempt(self, conn: psycopg.Connection[Any], what: str, act: Callable[[], int]) -> None:
        try:
            with conn.transaction():
                self.done[what] += act()
        except psycopg.Error:
            self.done["refused"] += 1

    def _insert(self, conn: psycopg.Connection[Any], table: sql.Identifier, columns: list[Any]) -> int:
        names, values = [], []
        for column in columns:
            if column[1] and self.random.random() < 0.6:
                continue
            names.append(sql.Identifier(column[0]))
            values.append(self._value(conn, column))
        if not names:
            return conn.execute(sql.SQL("INSERT INTO {} DEFAULT VALUES").format(table)).rowcount
        statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})")
        return conn.execute(
            statement.format(table, sql.SQL(", ").join(names), sql.SQL(", ").join(map(sql.Literal, values)))
        ).rowcount

    def _update(self, conn: psycopg.Connection[Any], table: sql.Identifier, columns: list[Any]) -> int:
        column = self.random.choice(columns)
        statement = sql.SQL("UPDATE {} SET {} = {} WHERE ctid IN (SELECT ctid FROM {} LIMIT {})").format(
            table,
            sql.Identifier(column[0]),
            sql.Literal(self._value(conn, column)),
            table,
            sql.Literal(self.random.choice([1, 3])),
        )
        return conn.execute(statement).rowcount

    def _delete(self, conn: psycopg.Connection[Any], table: sql.Identifier) -> int:
        statement = sql.SQL("DELETE FROM {} WHERE ctid IN (SELECT ctid FROM {} LIMIT 1)").format(table, table)
        return conn.execute(statement).rowcount

    def _value(self, conn: psycopg.Connection[Any], column: Any) -> str | None:
        _name, _default, notnull, typmod, typname, typtype, category, base, labels, referenced, key = column
        if not notnull and self.random.random() < 0.2:
            return None
        if referenced:
            row = conn.execute(
                sql.SQL("SELECT {}::text FROM {} LIMIT 50").format(sql.Identifier(key), sql.SQL(referenced))
            ).fetchall()
            return self.random.choice(row)[0] if row else None
        if typtype == "e":
            return str(self.random.choice(labels)) if labels else None
        return self._literal(base or typname, category, typmod)

    def _literal(self, typname: str, category: str, typmod: int) -> str | None:
        pick = self.random
        number = pick.randrange(1, 30_000)
        literals = {
            "uuid": f"{pick.getrandbits(128):032x}",
            "bool": pick.choice(["t", "f"]),
            "json": '{"a": [1, "two", null]}',
            "jsonb": f'{{"n": {number}, "s": "ü\\n"}}',
            "bytea": f"\\x{pick.getrandbits(64):016x}",
            "date": f"20{pick.randrange(10, 26)}-0{pick.randrange(1, 9)}-11",
            "time": "12:34:56.789",
            "interval": f"{number} minutes",
            "inet": f"10.0.{pick.randrange(255)}.{pick.randrange(255)}",
            "cidr": "10.0.0.0/8",
            "xml": "<a/>",
            "ltree": f"a.b{number}",
            "hstore": f"k=>{number}",
            "tsvector": "word:1 other:2",
            "float4": f"{number}.25",
            "float8": f"{number}.1",
            "numeric": f"{number}.50",
            "oid": str(number),
        }
        if typname in literals:
            return literals[typname]
        if category == "A":
            return "{}"
        if typname.startswith("timestamp"):
            return f"2026-0{pick.randrange(1, 9)}-12 01:02:03.{pick.randrange(1_000_000):06}"
        if category == "N":
            return str(number)
        if category == "S" or typname == "citext":
            word = f"{pick.choice(_WORDS)} {number}"
            return word[: typmod - 4] if typmod > 4 else word
        return None
