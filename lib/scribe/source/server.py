"""What stream and rotate ask of the source: who it is, how far it is, its sequences, and a mark in its WAL."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from scribe.common.dialect import Sequence
from scribe.common.errors import TryAgainError, UsageError
from scribe.common.lsn import parse_lsn
from scribe.common.postgres import connect, fetch_value, refuse_views
from scribe.source.ownership import has_function

# What we commit ourselves must not wait for a stream that synchronous_standby_names names and that is not running.
NOT_WAITING = "-c synchronous_commit=local"
SEQUENCE_BATCH = 500  # sequences read by one query
NEW_CHAIN = 'Run "scribe-init" to begin a new chain with a new base.'
LOSS = "capture lost "  # how the decoder begins the warning that a change could not be recorded at all
# Warnings about what is not in the stream, or is another thing in a copy, but stands in no row of scribe.ddl_history.
_LOST = re.compile(
    rf"{LOSS}|(?![A-Z ]+ (?:could not be recorded: |left out, )).*(?: could not be carried: |; take a new base\Z)",
    re.DOTALL,
)
ANOTHER_SERVER = (
    "Check PGHOST and PGPORT; if this is the same database after pg_upgrade or on a rebuilt server,"
    ' set SCRIBE_ARCHIVE to a new directory and run "scribe-init": the old archive stays restorable.'
)
ANOTHER_DATABASE = "Check PGDATABASE, or SCRIBE_ARCHIVE."
LOCK_TIMEOUT = 5000  # milliseconds for what else is asked on that connection
# Milliseconds for a batch of sequences, and for each of a batch that was not had: one is locked by a transaction that
# has altered it, and that may stay open for long.
BATCH_TIMEOUT, ONE_TIMEOUT = 1000, 20

_SERVER = """
SELECT (SELECT system_identifier::text FROM pg_catalog.pg_control_system()),
       CASE WHEN pg_catalog.pg_is_in_recovery()
            THEN (SELECT timeline_id FROM pg_catalog.pg_control_checkpoint())
            ELSE ('x' || pg_catalog.left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 8))
                 ::pg_catalog.varbit::pg_catalog.bit(32)::int4 END,
       CASE WHEN pg_catalog.pg_is_in_recovery()
            THEN coalesce(pg_catalog.pg_last_wal_receive_lsn(), pg_catalog.pg_last_wal_replay_lsn())
            ELSE pg_catalog.pg_current_wal_flush_lsn() END::text,
       datname, oid::int8, pg_catalog.current_setting('server_version'), pg_catalog.pg_is_in_recovery(),
       (SELECT pg_catalog.array_agg(d.oid::int8) FROM pg_catalog.pg_database AS d)
FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()
"""
_SEQUENCES = """
SELECT n.nspname, c.relname FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind = 'S' AND c.relpersistence <> 't' AND n.nspname <> 'scribe'
ORDER BY 1, 2
"""


@dataclass(frozen=True)
class Server:
    """The source as it is now. flush_lsn: up to where its WAL is on its disk; databases: the OIDs of all."""

    system_identifier: str
    timeline: int
    flush_lsn: int
    database: str
    database_oid: int
    version: str
    in_recovery: bool
    databases: tuple[int, ...] = ()


class ReplacedError(UsageError):
    """The archive's database was dropped, and another one made under its name."""


def open_source(identity: Mapping[str, Any]) -> psycopg.Connection[Any]:
    """Connect to the source database: the one libpq's environment names, else the one archive.json names.

    The programs and connections that follow are led there, too: a service's database still comes before PGDATABASE.
    """
    os.environ["PGDATABASE"] = os.environ.get("PGDATABASE") or identity["database"]
    return connect(options=NOT_WAITING)


def inspect(conn: psycopg.Connection[Any]) -> Server:
    """Return what the server says of itself."""
    row = conn.execute(_SERVER).fetchone()
    assert row is not None
    return Server(row[0], row[1], parse_lsn(row[2]), row[3], row[4], row[5].split()[0], row[6], tuple(row[7]))


def check_identity(server: Server, identity: Mapping[str, Any]) -> None:
    """Raise UsageError unless the archive belongs to this server and this database.

    Raises ReplacedError where the database is gone and this one has its name.
    """
    if server.system_identifier != identity["system_identifier"]:
        raise UsageError(
            f"the archive belongs to another server: system identifier {identity['system_identifier']}, "
            f"and this one is {server.system_identifier}",
            ANOTHER_SERVER,
        )
    old = identity["database_oid"]
    if server.database_oid != old and server.database == identity["database"] and old not in server.databases:
        raise ReplacedError(
            f'database "{server.database}" was dropped and created again: the archive belongs to the one with OID'
            f" {old}, and this one has {server.database_oid}",
            NEW_CHAIN,
        )
    if server.database_oid != old:
        raise UsageError(
            f'the archive belongs to another database: "{identity["database"]}" with OID {identity["database_oid"]}, '
            f'and this is "{server.database}" with OID {server.database_oid}',
            ANOTHER_DATABASE,
        )


def read_sequences(conn: psycopg.Connection[Any]) -> tuple[list[Sequence], list[str]]:
    """Return the position of every sequence that is not temporary or ours, and a warning for each that is locked."""
    names = [(row[0], row[1]) for row in conn.execute(_SEQUENCES).fetchall()]
    refuse_views(conn)  # a view put in a sequence's place would run its owner's functions as us
    found: list[Sequence] = []
    warnings: list[str] = []
    for start in range(0, len(names), SEQUENCE_BATCH):
        batch = names[start : start + SEQUENCE_BATCH]
        conn.execute(f"SET lock_timeout = {BATCH_TIMEOUT}")
        try:
            found += _read_batch(conn, batch)
        except (*_NO_SEQUENCE, psycopg.errors.LockNotAvailable):
            conn.execute(f"SET lock_timeout = {ONE_TIMEOUT}")
            for name in batch:  # one of them was dropped just now, or is being altered
                try:
                    found += _read_batch(conn, [name])
                except _NO_SEQUENCE:
                    continue
                except psycopg.errors.LockNotAvailable:
                    warnings.append(f'could not read the position of sequence "{name[0]}.{name[1]}": it is locked')
    conn.execute(f"SET lock_timeout = {LOCK_TIMEOUT}")
    return found, warnings


_NO_SEQUENCE = (
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedColumn,
    psycopg.errors.InvalidSchemaName,
    psycopg.errors.ObjectNotInPrerequisiteState,  # a view, refused
)


def _read_batch(conn: psycopg.Connection[Any], names: list[tuple[str, str]]) -> list[Sequence]:
    queries = [
        sql.SQL("SELECT {}::int4, last_value, is_called FROM {}").format(sql.Literal(i), sql.Identifier(*name))
        for i, name in enumerate(names)
    ]
    rows = conn.execute(sql.SQL(" UNION ALL ").join(queries)).fetchall()
    return [Sequence(names[i][0], names[i][1], last_value, is_called) for i, last_value, is_called in sorted(rows)]


def emit_mark(conn: psycopg.Connection[Any], name: str) -> str:
    """Commit a transaction that appears in the stream as "-- mark NAME"; it is in the server's WAL on return.

    Return an LSN within the transaction.
    """
    by_row = has_function(conn, "write_mark")  # no decoder's messages
    write = "scribe.write_mark(%s)" if by_row else "pg_catalog.pg_logical_emit_message(true, 'scribe.mark', %s)"
    try:
        with conn.transaction():
            conn.execute("SET LOCAL synchronous_commit = local")
            return str(fetch_value(conn, f"SELECT {write}", [name]))
    except psycopg.errors.ReadOnlySqlTransaction as error:
        raise TryAgainError(
            f"could not write a mark into the server's WAL: {str(error).strip()}", "Connect to the primary server."
        ) from None


def reconcile(conn: psycopg.Connection[Any]) -> None:
    """Let capture record what changed without an event trigger: event triggers, and owners by REASSIGN OWNED.

    A role that may not do so leaves it to the next rotation by one that may. Each look is at what is committed by then.
    """
    with suppress(psycopg.errors.UndefinedFunction, psycopg.errors.InvalidSchemaName):
        try:
            if has_function(conn, "reconcile"):
                with conn.transaction():
                    conn.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
                    conn.execute("SELECT scribe.reconcile()")
        except (psycopg.errors.InsufficientPrivilege, psycopg.errors.ReadOnlySqlTransaction):
            return


def flag_losses(conn: psycopg.Connection[Any], warnings: Iterable[str]) -> None:
    """Let scribe-check see what only the stream knows: the warnings of a segment that tell of a loss."""
    for warning in dict.fromkeys(warnings):
        if _LOST.match(warning) and has_function(conn, "flag_lost"):
            conn.execute("SELECT scribe.flag_lost(%s)", [warning.removeprefix(LOSS).removesuffix("; take a new base")])


def sent_lsn(conn: psycopg.Connection[Any], slot: str) -> str | None:
    """Return how far the walsender of the slot has read, or None when nobody reads it."""
    row = conn.execute(
        "SELECT r.sent_lsn::text FROM pg_catalog.pg_replication_slots AS s"
        " JOIN pg_catalog.pg_stat_replication AS r ON r.pid = s.active_pid WHERE s.slot_name = %s",
        [slot],
    ).fetchone()
    return None if row is None else row[0]


def timeline_switch(identity: Mapping[str, Any], old: int, new: int) -> int | None:
    """Return the LSN at which timeline new's history leaves timeline old, or None when it never was on it."""
    with connect(dbname=None if os.environ.get("PGDATABASE") else identity["database"], replication=True) as conn:
        row = conn.execute(f"TIMELINE_HISTORY {int(new)}").fetchone()
    content = row[1] if row else b""
    text = content.decode(errors="replace") if isinstance(content, bytes) else str(content)
    for line in text.splitlines():
        fields = line.split()
        if len(fields) >= 2 and fields[0] == str(old):
            return parse_lsn(fields[1])
    return None
