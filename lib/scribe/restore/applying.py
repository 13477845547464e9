"""Running an undo on a database: in one transaction, the statements on a table with the rights of its owner.

A role that is set can be left by code that a statement runs: an owner's function in an index or a CHECK would have the
rights of whoever undoes. Within a SECURITY DEFINER function it cannot, but it can leave things behind that would act in
the caller's name: settings, types in pg_temp, prepared statements, held cursors, deferred triggers. None is kept. It
can also give a table's name to another table, if the schema is its owner's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import psycopg
from psycopg import sql

from scribe.common.errors import ScribeError, TryAgainError
from scribe.restore.constraints import Table
from scribe.restore.dropped import Piece
from scribe.restore.undo import Plan, check_function, joined, lock, pieces, settings
from scribe.source import brief_locks
from scribe.source.brief_locks import run_briefly

LOCK_WAIT = 60.0  # seconds for others to end, as long as they keep the locks that are needed

# Both functions are there for one owner's statements alone: code of another owner's could call or replace them.
_RUN = sql.SQL("""
ALTER FUNCTION pg_temp.scribe_undone(pg_catalog.int8, pg_catalog.text) OWNER TO {owner};
CREATE FUNCTION pg_temp.scribe_runner(statements pg_catalog.text) RETURNS pg_catalog.void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $scribe$ BEGIN EXECUTE statements; END $scribe$;
ALTER FUNCTION pg_temp.scribe_runner(pg_catalog.text) OWNER TO {owner};
SELECT pg_temp.scribe_runner({text}::pg_catalog.text);
""")
_CLEAN = "CLOSE ALL; DISCARD TEMP;"  # the query of a held cursor would run at COMMIT, as whoever commits
# A deferred trigger would, too. What may have queued one still has its lock; triggers of constraints are off.
_DEFERRED = """
SELECT t.tgrelid::pg_catalog.regclass::pg_catalog.text, t.tgname FROM pg_catalog.pg_trigger AS t
WHERE t.tgdeferrable AND t.tgenabled IN ('A', 'R') AND t.tgrelid IN (
  SELECT l.relation FROM pg_catalog.pg_locks AS l WHERE l.pid = pg_catalog.pg_backend_pid() AND l.locktype = 'relation'
  AND l.mode NOT IN ('AccessShareLock', 'RowShareLock')
  AND l.database = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database()))
LIMIT 1
"""
# A table that is locked keeps its name and owner; its schema keeps its name with the lock of the row.
_OWNER = """
SELECT c.oid::pg_catalog.int8, pg_catalog.pg_get_userbyid(c.relowner),
  (SELECT pg_catalog.count(DISTINCT m.relowner) FROM pg_catalog.pg_partition_tree(c.oid) AS p
   JOIN pg_catalog.pg_class AS m ON m.oid = p.relid)
FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname = %s AND c.relkind IN ('r', 'p') FOR KEY SHARE OF n
"""
_LACKING = (
    "Statements run with the rights of their table's owner: give it what it lacks, or print the SQL and change it."
)
_LATER = 'Run "scribe-rotate --wait-lsn current", then try again: the archive knows more then.'


def apply(
    conn: psycopg.Connection[Any],
    plan: Plan,
    *,
    wait: float = LOCK_WAIT,
    tell: Callable[[str], None] = lambda text: None,
) -> None:
    """Run a plan in one transaction. Raises ScribeError, which says if it is not known whether anything was changed.

    Whoever may write to a table, or only read it, can keep a lock of it for ever, and everybody who comes later would
    wait behind us. wait: seconds in which the locks are asked for, briefly and again; tell: gets who is in the way.
    """
    conn.prepare_threshold = None  # an owner's code could put a statement of its own under the name of a prepared one
    whole = False

    def work() -> None:
        nonlocal whole
        whole = False
        _Application(conn, plan).run()
        whole = True

    try:
        run_briefly(conn, work, "take it back", wait=wait, tell=tell, limited=False)
    except psycopg.Error as error:
        said = error.diag.message_primary or str(error).strip()
        if conn.broken and whole:
            hint = "Look at the rows before you run it again."
            raise ScribeError(f"lost the server at COMMIT; it may have been taken back, or not: {said}", hint) from None
        if conn.broken:
            raise TryAgainError(f"could not take it back: {said}", "Nothing was changed. Run it again.") from None
        hint = _LACKING if isinstance(error, psycopg.errors.InsufficientPrivilege) else _LATER
        raise _refusal(f"could not take it back: {said}", hint) from None


def _pinned() -> str:
    """Return what pins the meaning of the statements, and bounds how long they wait for a lock."""
    return f"{settings()}SET LOCAL lock_timeout = {brief_locks.LOCK_WAIT * 1000:.0f};\n"


def _refusal(message: str, hint: str) -> ScribeError:
    return ScribeError(message, f"Nothing was changed. {hint}")


class _Application:
    """A plan in the transaction in which it runs."""

    def __init__(self, conn: psycopg.Connection[Any], plan: Plan) -> None:
        self._conn, self._plan = conn, plan
        self._known: dict[Table, tuple[int, str]] = {}  # OIDs and owners

    def run(self) -> None:
        """Run it."""
        self._conn.execute((_pinned() + lock(self._plan)).encode())
        self._known = {table: self._look_up(table) for table in self._plan.tables}
        for piece in joined(map(self._with_owner, pieces(self._plan))):
            self._run(piece)

    def _with_owner(self, piece: Piece) -> Piece:
        """A piece with the present owner of its table, who may be another than the archive's, or who makes it."""
        known = self._known.get(piece.tables[0]) if piece.tables else None
        return replace(piece, owner=known[1] if known else piece.owner or piece.maker)

    def _run(self, piece: Piece) -> None:
        if not piece.owner:
            self._conn.execute(piece.text.encode())
            return
        for table in piece.tables:
            now = self._look_up(table)
            if self._known.get(table, (now[0], piece.owner)) != now:
                raise _refusal(f"{'.'.join(table)} is no longer the table that it was", "Look what has renamed it.")
        self._conn.execute(check_function().encode())
        self._conn.execute(_RUN.format(owner=sql.Identifier(piece.owner), text=sql.Literal(piece.text)))
        self._conn.execute(_pinned().encode())
        self._conn.execute(_CLEAN)
        if (found := self._conn.execute(_DEFERRED).fetchone()) is not None:
            hint = "Let its owner disable it, or print the SQL and run it with psql."
            raise _refusal(
                f"trigger {found[1]} of {found[0]} may act at COMMIT, with more rights than its owner's", hint
            )

    def _look_up(self, table: Table) -> tuple[int, str]:
        """Return OID and owner of a table, and keep its schema's name until the end of the transaction."""
        row = self._conn.execute(_OWNER, table).fetchone()
        name = ".".join(table)
        if row is None:
            raise _refusal(f"{name} is no table there", "Print the SQL and change it.")
        if row[2] > 1:
            hint = "Give them one owner, or print the SQL and change it."
            raise _refusal(f"the partitions of {name} belong to several roles, whose rights cannot be joined", hint)
        return row[0], str(row[1])
