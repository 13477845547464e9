"""Whose schema scribe is. Everything in it is read and called with our rights, so nothing in it is used before that.

A role that may create schemas could have made it first, with a view or a function of its own where ours are expected.
What a superuser or our own role owns, nobody else can replace; so the answer holds once it was given.
"""

from __future__ import annotations

from typing import Any

import psycopg

from scribe.common.errors import UsageError
from scribe.common.paths import SQL

_HINT = 'Look at what is in it, then give all of it to a superuser or run "DROP SCHEMA scribe CASCADE".'
# One statement, so that the answer about an object and the answer about the schema are of one moment.
_FAULTS = (SQL / "ours.sql").read_text(encoding="utf-8").split("-- $faults$")[1].replace("%", "%%")
_LOOK = f"""
{_FAULTS}
SELECT (SELECT fault FROM faults ORDER BY place, fault LIMIT 1),
  (SELECT c.relkind::text FROM home JOIN pg_catalog.pg_class AS c ON c.relnamespace = home.oid
    WHERE c.relname = %(name)s),
  (SELECT count(*) FROM home JOIN pg_catalog.pg_proc AS p ON p.pronamespace = home.oid WHERE p.proname = %(name)s)
"""


def _look(conn: psycopg.Connection[Any], name: str) -> tuple[str | None, int]:
    """Return the kind of relation scribe.NAME is (None: there is none), and how many functions have that name."""
    row = conn.execute(_LOOK, {"name": name}).fetchone()
    assert row is not None
    fault, kind, functions = row
    if fault is not None:
        raise UsageError(str(fault), _HINT)
    return kind, int(functions)


def refuse_strangers(conn: psycopg.Connection[Any]) -> None:
    """Raise UsageError if schema scribe, or something in it, is neither a superuser's nor our role's."""
    _look(conn, "")


def has_table(conn: psycopg.Connection[Any], name: str) -> bool:
    """Whether there is a table scribe.NAME that can be trusted. Raises UsageError for anything else of that name."""
    kind, _ = _look(conn, name)
    if kind not in (None, "r"):
        raise UsageError(f"relation scribe.{name} is no table", _HINT)
    return kind == "r"


def has_function(conn: psycopg.Connection[Any], name: str) -> bool:
    """Whether there is a function scribe.NAME that can be trusted. Raises UsageError as refuse_strangers() does."""
    return _look(conn, name)[1] > 0
