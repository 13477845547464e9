"""Replication slots: created with an exported snapshot, looked at, dropped."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import psycopg
from psycopg import sql

from scribe.common.errors import TryAgainError
from scribe.common.lsn import parse_lsn
from scribe.common.postgres import connect, patient_options, plugin_options

_T = TypeVar("_T")
_PAUSE = 0.2  # seconds before a slot is tried again whose snapshot was too large
SNAPSHOT_OPTION_SINCE = 150000  # server_version_num
FAILOVER_SINCE = 170000  # server_version_num
REPACK_SINCE = 190000  # server_version_num

_SLOT = """
SELECT slot_name, plugin, database, active, active_pid, temporary, wal_status, confirmed_flush_lsn::text,
       coalesce(pg_catalog.to_jsonb(s) ->> 'invalidation_reason', ''),
       coalesce((pg_catalog.to_jsonb(s) ->> 'failover')::bool, false)
FROM pg_catalog.pg_replication_slots AS s WHERE slot_name = %s
"""

# A walsender that creates a slot waits for every transaction that holds an xid, in any database: REPACK (CONCURRENTLY)
# holds one for as long as it runs.
_BLOCKERS = """
SELECT pg_catalog.format('process %%s (user %%s, database %%s, %%s for %%s s)', pid, usename, datname,
         coalesce((SELECT c.command FROM pg_catalog.{progress} AS c WHERE c.pid = a.pid), state),
         round(extract(epoch FROM pg_catalog.clock_timestamp() - xact_start)))
FROM pg_catalog.pg_stat_activity AS a
WHERE backend_xid IS NOT NULL AND pid <> pg_catalog.pg_backend_pid()
  AND xact_start < pg_catalog.clock_timestamp() - pg_catalog.make_interval(secs => %(seconds)s)
ORDER BY xact_start
"""
_PREPARED = """
SELECT pg_catalog.format('prepared transaction %%L (database %%s, since %%s)', gid, database, prepared::timestamptz(0))
FROM pg_catalog.pg_prepared_xacts
WHERE prepared < pg_catalog.clock_timestamp() - pg_catalog.make_interval(secs => %(seconds)s)
ORDER BY prepared
"""


@dataclass(frozen=True)
class Slot:
    """A replication slot as the server shows it."""

    name: str
    plugin: str | None
    database: str | None
    active: bool
    active_pid: int | None
    temporary: bool
    wal_status: str | None
    confirmed_flush: str | None
    invalidation: str
    failover: bool  # standbys keep it too

    @property
    def usable(self) -> bool:
        """Whether the server still has all the WAL the slot needs."""
        return self.wal_status != "lost" and not self.invalidation


@dataclass(frozen=True)
class Export:
    """A slot just created and the snapshot of its consistent point, which lives as long as conn is idle and open."""

    conn: psycopg.Connection[Any]
    slot: str
    consistent_point: int
    snapshot: str


def find_slot(conn: psycopg.Connection[Any], name: str) -> Slot | None:
    """Return the slot called name, or None."""
    row = conn.execute(_SLOT, [name]).fetchone()
    return None if row is None else Slot(*row)


def drop_slot(conn: psycopg.Connection[Any], name: str) -> None:
    """Drop an inactive slot; that it is gone already is no error. Raises psycopg.errors.ObjectInUse."""
    with contextlib.suppress(psycopg.errors.UndefinedObject):
        conn.execute("SELECT pg_catalog.pg_drop_replication_slot(%s)", [name])


def find_blockers(conn: psycopg.Connection[Any], seconds: float = 0) -> list[str]:
    """Return a description of each transaction, older than seconds, that slot creation waits for."""
    parameters = {"seconds": seconds}
    view = "pg_stat_progress_repack" if conn.info.server_version >= REPACK_SINCE else "pg_stat_progress_cluster"
    blockers = _BLOCKERS.replace("{progress}", view).encode()
    rows = conn.execute(blockers, parameters).fetchall() + conn.execute(_PREPARED, parameters).fetchall()
    return [str(row[0]) for row in rows]


def make_failover(name: str, wait: float = 5.0) -> None:
    """Make an existing slot one that standbys keep too. Raises TryAgainError when it is in use for wait seconds."""
    command = sql.SQL("ALTER_REPLICATION_SLOT {} (FAILOVER true)").format(sql.Identifier(name))
    with connect(replication=True) as sender:
        try:
            _run_within(sender, lambda: sender.execute(command), wait)  # the server waits for whoever reads the slot
        except (psycopg.errors.ObjectInUse, psycopg.errors.QueryCanceled):
            raise TryAgainError(
                f'could not make replication slot "{name}" a failover slot: it is in use',
                "Stop scribe-stream, then run the same command again.",
            ) from None


def creation_command(version: int, name: str, plugin: str, *, temporary: bool, failover: bool = False) -> sql.Composed:
    """Return the replication command for a logical slot with an exported snapshot; version: server_version_num."""
    options = "SNAPSHOT 'export'" + (", FAILOVER true" if failover else "")
    export = f"({options})" if version >= SNAPSHOT_OPTION_SINCE else "EXPORT_SNAPSHOT"
    words = sql.SQL("CREATE_REPLICATION_SLOT {} {} LOGICAL {} {}")
    return words.format(
        sql.Identifier(name), sql.SQL("TEMPORARY" if temporary else ""), sql.Identifier(plugin), sql.SQL(export)
    )


def create_slot(
    conn: psycopg.Connection[Any], name: str, plugin: str, *, temporary: bool, wait: float, failover: bool = False
) -> Export:
    """Create a logical slot and export the snapshot of its consistent point.

    conn: an ordinary connection to the database; wait: seconds to wait for transactions that hold an xid; failover:
    standbys keep the slot too (PostgreSQL 17 or newer).
    Raises TryAgainError that names them when they do not end in time; the server then drops the slot itself.
    The caller closes Export.conn, which ends the snapshot, and drops the slot if it is temporary.
    """
    deadline = time.monotonic() + wait
    while True:
        left = deadline - time.monotonic()
        try:
            return _try_slot(conn, name, plugin, temporary=temporary, wait=max(0.1, left), failover=failover)
        except psycopg.errors.SerializationFailure:
            # a snapshot names what has begun and not committed, savepoints too, and has room for a name per session
            if left <= 2 * _PAUSE:
                raise TryAgainError(
                    f'could not create replication slot "{name}" within {wait:g} s: more transactions and savepoints'
                    " were open, or rolled back, than a snapshot has room for under this max_connections",
                    "Pause what opens many savepoints or makes many schema changes in one transaction, or raise"
                    " max_connections; then run the same command again.",
                ) from None
            time.sleep(_PAUSE)


def _try_slot(
    conn: psycopg.Connection[Any], name: str, plugin: str, *, temporary: bool, wait: float, failover: bool
) -> Export:
    """Create a slot as create_slot() does; raises SerializationFailure, too, where its snapshot would be too large."""
    milliseconds = max(1, int(wait * 1000))
    options = f"{patient_options(conn)} {plugin_options(conn, plugin)} -c lock_timeout={milliseconds}"
    sender = connect(replication=True, options=options)
    try:
        command = creation_command(conn.info.server_version, name, plugin, temporary=temporary, failover=failover)
        row = _run_within(sender, lambda: sender.execute(command).fetchone(), wait)
        assert row is not None
        return Export(sender, name, parse_lsn(row[1]), row[2])
    except (psycopg.errors.LockNotAvailable, psycopg.errors.QueryCanceled):
        blockers = find_blockers(conn, seconds=wait)
        sender.close()
        raise TryAgainError(
            f'could not create replication slot "{name}" within {wait:g} s: it waits for '
            + ("; ".join(blockers[:5]) or "transactions that were open all the time"),
            "Wait for these transactions to end, or end them, then run the same command again.",
        ) from None
    except BaseException:
        sender.close()
        raise


def _run_within(conn: psycopg.Connection[Any], work: Callable[[], _T], seconds: float) -> _T:
    """Run work on conn and cancel it after seconds: each of several lock waits may be shorter than lock_timeout."""
    watchdog = threading.Timer(seconds, conn.cancel)
    watchdog.daemon = True
    watchdog.start()
    try:
        return work()
    finally:
        watchdog.cancel()


def wait_inactive(conn: psycopg.Connection[Any], name: str, seconds: float) -> bool:
    """Wait until nobody uses the slot; return whether that is so."""
    deadline = time.monotonic() + seconds
    while (slot := find_slot(conn, name)) is not None and slot.active:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
