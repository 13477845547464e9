"""Capture: the objects in the source that put schema changes into the stream, and the replica identities it needs."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from scribe.common.errors import TryAgainError
from scribe.common.paths import SQL
from scribe.common.postgres import fetch_value
from scribe.source.brief_locks import PAUSE, Attempts, run_briefly
from scribe.source.ownership import has_function, has_table, refuse_strangers

RESET_WAIT = 20.0  # seconds
LOCKED_WAIT = 60.0  # seconds
# Tables whose UPDATEs and DELETEs would be missing from the stream, without an error.
WITHOUT_IDENTITY = """
SELECT n.nspname, c.relname FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND c.oid >= 16384
  AND n.nspname NOT IN ('information_schema', 'scribe') AND n.nspname !~ '^pg_'
  AND CASE c.relreplident
        WHEN 'f' THEN false
        WHEN 'n' THEN true
        WHEN 'd' THEN NOT EXISTS (SELECT FROM pg_catalog.pg_index AS i
          WHERE i.indrelid = c.oid AND i.indisprimary AND i.indisvalid AND i.indimmediate)
        ELSE NOT EXISTS (SELECT FROM pg_catalog.pg_index AS i
          WHERE i.indrelid = c.oid AND i.indisreplident AND i.indimmediate AND i.indisvalid)
      END
ORDER BY 1, 2
"""
# Tables whose next UPDATE or DELETE makes decoder_raw crash the server; see sql/capture/decoder_raw/identity_guard.sql.
ENDANGERED = """
SELECT n.nspname, c.relname FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relreplident = 'i' AND c.relkind = 'r' AND c.relpersistence = 'p'
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_index AS i
    WHERE i.indrelid = c.oid AND i.indisreplident AND i.indimmediate AND i.indisvalid)
ORDER BY 1, 2
"""
TRIGGERS = (
    "!scribe_1_caller_drop",
    "!scribe_2_drop",
    "!scribe_1_caller_rewrite",
    "!scribe_2_rewrite",
    "!scribe_2_start",
    "!scribe_3_caller_end",
    "!scribe_3_caller_start",
    "!scribe_4_end",
)
_MORE_TRIGGERS = {
    "pgoutput": ("!scribe_1_facts", "!scribe_3_facts"),
    "decoder_raw": ("!scribe_1_facts", "!scribe_3_facts", "!scribe_3_guard", "!scribe_3_names", "!scribe_5_guard"),
}
# Tables whose UPDATE and DELETE a publication bars, or sends too little of: a key with a generated column before 18;
# from 18 on a virtual one where the whole row is, or would be, the identity.
GENERATED_KEYS = """
SELECT n.nspname, c.relname FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
  LEFT JOIN pg_catalog.pg_index AS i ON i.indrelid = c.oid
    AND CASE c.relreplident WHEN 'd' THEN i.indisprimary AND i.indimmediate
          WHEN 'i' THEN i.indisreplident ELSE false END
WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
  AND EXISTS (SELECT FROM pg_catalog.pg_attribute AS a WHERE a.attrelid = c.oid AND NOT a.attisdropped
    AND CASE WHEN pg_catalog.current_setting('server_version_num')::int >= 180000
        THEN a.attgenerated = 'v' AND i.indexrelid IS NULL ELSE a.attgenerated = 's' AND a.attnum = ANY (i.indkey) END)
ORDER BY 1, 2
"""
# What is installed is no change of the user's: the user's event triggers, such as one that switches row security on for
# each new table, let it be. Only a superuser's capture has event triggers, and may say so.
_AT_REST = (
    "SELECT pg_catalog.set_config('session_replication_role', 'replica', true)"
    " FROM pg_catalog.pg_roles WHERE rolname = CURRENT_USER AND rolsuper"
)
# How a table's replica identity is set and remembered; and taken back, unseen by capture, which would mend it at once.
_SET = (
    sql.SQL("ALTER TABLE ONLY {table} REPLICA IDENTITY FULL"),
    sql.SQL("INSERT INTO scribe.replica_identity (relid) VALUES ({name}::pg_catalog.regclass) ON CONFLICT DO NOTHING"),
)
_RESET = (
    sql.SQL("SELECT scribe.run_own({statement})"),
    sql.SQL("DELETE FROM scribe.replica_identity WHERE relid = {name}::pg_catalog.regclass"),
)
_RESET_TABLE = sql.SQL("ALTER TABLE ONLY {} REPLICA IDENTITY DEFAULT")
_ACTIVE = """
SELECT EXISTS (
    SELECT FROM scribe.config AS c, pg_catalog.pg_control_system() AS s, pg_catalog.pg_database AS d
    WHERE d.datname = pg_catalog.current_database()
        AND d.oid = c.database_oid AND s.system_identifier = c.system_identifier)
"""
EDITIONS = {"scribe_decoder": "capture.sql", "pgoutput": "pgoutput.sql", "decoder_raw": "decoder_raw.sql"}
_INCLUDE = re.compile(rb"^\\ir (\S+)$", re.M)
_SET_OF_PSQL = re.compile(rb"^\\set .*\n", re.M)
_Commands = tuple[sql.SQL, sql.SQL]


def is_installed(conn: psycopg.Connection[Any]) -> bool:
    """Whether the capture objects are in this database."""
    return has_table(conn, "replica_identity")


def has_triggers(conn: psycopg.Connection[Any]) -> bool:
    """Whether schema changes are captured: by a superuser's event triggers."""
    return has_table(conn, "ddl_history")


def is_active(conn: psycopg.Connection[Any]) -> bool:
    """Whether they act in this database: in a copy of it, or after pg_upgrade, they are there and inert."""
    if not has_table(conn, "config"):
        return False
    if not fetch_value(conn, "SELECT pg_catalog.has_column_privilege('scribe.config', 'database_oid', 'SELECT')"):
        return True  # as far as this role may see; what it lacks is reported elsewhere
    return fetch_value(conn, _ACTIVE) is True


def triggers_of(plugin: str) -> tuple[str, ...]:
    """Return the names of the event triggers that capture has for a decoder."""
    return TRIGGERS + _MORE_TRIGGERS.get(plugin, ())


def is_complete(conn: psycopg.Connection[Any], plugin: str) -> bool:
    """Whether capture acts here and lacks none of its event triggers, where a superuser has installed it."""
    if not is_active(conn) or not has_triggers(conn):
        return is_active(conn)
    query = "SELECT count(*) FROM pg_catalog.pg_event_trigger WHERE evtname = ANY (%s)"
    names = triggers_of(plugin)
    return int(fetch_value(conn, query, [list(names)])) == len(names)


def is_restored(conn: psycopg.Connection[Any]) -> bool:
    """Whether this database came from a base: schema scribe holds its position and nothing of capture."""
    return has_table(conn, "position")


def install(
    conn: psycopg.Connection[Any],
    replica_identity: str,
    plugin: str = "scribe_decoder",
    *,
    wait: float = LOCKED_WAIT,
    tell: Callable[[str], None] = lambda text: None,
) -> None:
    """Install the capture objects in one transaction; what is there already stays, a restored copy's position goes.

    replica_identity: full or refuse; what capture does about a table that comes without a usable one; wait, tell: as
    for uninstall().
    """

    def work() -> None:
        conn.execute("SET LOCAL client_min_messages = warning")
        conn.execute(_AT_REST)
        if is_restored(conn) and not is_installed(conn):
            conn.execute("DROP TABLE IF EXISTS scribe.position, scribe.made, scribe.quieted, scribe.skipped")
            conn.execute("DROP FUNCTION IF EXISTS scribe.fire_event_triggers(boolean), scribe.refuse_write()")
            _drop_empty_schema(conn)
        try:
            with conn.transaction():
                _install(conn, replica_identity, plugin)
        except psycopg.errors.InsufficientPrivilege:
            if plugin != "pgoutput":
                raise
            _run_file(conn, "identities.sql")  # schema changes are detected, not captured

    run_briefly(conn, work, "install the capture objects", wait=wait, tell=tell, limited=False)


def _install(conn: psycopg.Connection[Any], replica_identity: str, plugin: str) -> None:
    refuse_strangers(conn)
    conn.execute(read_edition(plugin))
    if has_table(conn, "config"):
        conn.execute("UPDATE scribe.config SET replica_identity = %s", [replica_identity])


def _drop_empty_schema(conn: psycopg.Connection[Any]) -> None:
    rest = "SELECT EXISTS (SELECT FROM pg_catalog.pg_class WHERE relnamespace = 'scribe'::pg_catalog.regnamespace)"
    if not fetch_value(conn, rest):
        conn.execute("DROP SCHEMA scribe")


def read_edition(plugin: str) -> bytes:
    """Return the SQL of capture for a decoder: the files that its list names, in that order."""
    return _read_file(SQL / EDITIONS[plugin])


def _read_file(path: Path) -> bytes:
    """Return the SQL of a file, without what only psql needs: the files that it includes stand in their places."""
    included = _INCLUDE.sub(lambda found: _read_file(path.parent / found[1].decode()), path.read_bytes())
    return _SET_OF_PSQL.sub(b"", included)


def _run_file(conn: psycopg.Connection[Any], name: str) -> None:
    conn.execute(_read_file(SQL / name))


def uninstall(
    conn: psycopg.Connection[Any], *, wait: float = LOCKED_WAIT, tell: Callable[[str], None] = lambda text: None
) -> list[str]:
    """Take back the replica identities set, and remove the capture objects; return the tables that were locked.

    A table that stays locked keeps FULL. wait: seconds for transactions that have changed the schema, which hold locks
    on the capture objects. Raises TryAgainError that names who is in the way; tell: called at once with that line.
    """
    left = list(_restore_identities(conn, tell)) if is_installed(conn) else []

    def work() -> None:
        conn.execute("SET LOCAL client_min_messages = warning")
        if left:
            conn.execute("DELETE FROM scribe.replica_identity")
        if fetch_value(conn, "SELECT pg_catalog.to_regnamespace('scribe')") is not None:
            _run_file(conn, "uncapture.sql")

    run_briefly(conn, work, "remove the capture objects", wait=wait, tell=tell)
    return left


def _restore_identities(conn: psycopg.Connection[Any], tell: Callable[[str], None]) -> dict[str, str]:
    """Set REPLICA IDENTITY DEFAULT where scribe set FULL and FULL still stands; return the tables that stay locked."""
    if not is_installed(conn):
        return {}
    rows = conn.execute(
        "SELECT n.nspname, c.relname FROM scribe.replica_identity AS r"
        " JOIN pg_catalog.pg_class AS c ON c.oid = r.relid AND c.relreplident = 'f'"
        " JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace ORDER BY 1, 2"
    ).fetchall()
    commands = _RESET
    if not has_function(conn, "run_own"):
        commands = (sql.SQL("ALTER TABLE ONLY {table} REPLICA IDENTITY DEFAULT"), _RESET[1])
    return _alter_tables(conn, rows, commands, RESET_WAIT, tell)


def set_identities(
    conn: psycopg.Connection[Any],
    note: Callable[[str], None],
    wait: float,
    tell: Callable[[str], None] = lambda text: None,
) -> list[str]:
    """Set REPLICA IDENTITY FULL on every table without a usable one, and remember that; return their names.

    wait: seconds to go on trying for tables that are locked; tell: called with who locks them. Raises TryAgainError
    that names both.
    """
    rows = [row for row in conn.execute(WITHOUT_IDENTITY).fetchall() if is_owner(conn, row)]
    locked = _alter_tables(conn, rows, _SET, wait, tell)
    if locked:
        words = "; ".join(f"{table} is locked by {who}" for table, who in list(locked.items())[:5])
        raise TryAgainError(
            f"could not set the replica identity of {len(locked)} tables within {wait:g} s: {words}",
            "Wait for that to end, or end it, then run the same command again.",
        )
    names = [sql.Identifier(*row).as_string(conn) for row in rows]
    for name in names:
        note(f"set REPLICA IDENTITY FULL on {name}")
    return names


def is_owner(conn: psycopg.Connection[Any], table: tuple[str, str]) -> bool:
    """Whether the role may alter the table, named by schema and name."""
    query = "SELECT pg_catalog.pg_has_role(relowner, 'USAGE') FROM pg_catalog.pg_class WHERE oid = %s::regclass"
    return fetch_value(conn, query, [sql.Identifier(*table).as_string(conn)]) is True


def _alter_tables(
    conn: psycopg.Connection[Any],
    rows: list[tuple[str, str]],
    commands: _Commands,
    wait: float,
    tell: Callable[[str], None],
) -> dict[str, str]:
    """Change the tables' replica identity, each in a transaction of its own; return who locks the others."""
    deadline = time.monotonic() + wait
    rest = [sql.Identifier(*row) for row in rows]
    while True:
        locked = []
        for table in rest:
            attempts = Attempts(conn, tell)
            if not _alter_table(attempts, table, commands):
                locked.append((table, attempts.describe()))
        if not locked or time.monotonic() + PAUSE > deadline:
            return {table.as_string(conn): who for table, who in locked}
        rest, tell = [table for table, _ in locked], _silent
        time.sleep(PAUSE)


def _silent(_text: str) -> None:
    """Say nothing: it has been said."""


def _alter_table(attempts: Attempts, table: sql.Identifier, commands: _Commands) -> bool:
    """Change one table's replica identity unless it is locked; a table that is gone is done."""
    conn = attempts.conn
    name = table.as_string(conn)

    def work() -> None:
        reset = sql.Literal(_RESET_TABLE.format(table).as_string(conn))
        for command in commands:
            conn.execute(command.format(table=table, name=sql.Literal(name), statement=reset))

    try:
        return attempts.attempt(work)
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
        return True
