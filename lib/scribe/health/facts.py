"""What the checks look at: facts of the archive and of the server, each read when first wanted and only once.

Nothing here depends on how many segments there are but one pass over their names; only the newest manifests are read.
"""

from __future__ import annotations

import functools
import heapq
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg

from scribe.archive.derivation import time_of
from scribe.archive.layout import Archive
from scribe.archive.manifest import read_manifest
from scribe.common import files
from scribe.common.errors import ScribeError
from scribe.common.lsn import parse_lsn
from scribe.common.postgres import PINNED, server_options
from scribe.common.settings import Settings
from scribe.decoders.registry import decoder_of
from scribe.offsite.mirror import find_archive
from scribe.spool.contents import FRAME, Spool

NEWEST = 20  # manifests read of the end of the chain
LOCK_TIMEOUT = 1000  # milliseconds a question waits for somebody's lock on a catalog

_SLOT = """
SELECT plugin, database, active, active_pid, wal_status,
       pg_catalog.to_jsonb(s) ->> 'invalidation_reason' AS invalidation,
       (SELECT min(k.restart_lsn) FROM pg_catalog.pg_replication_slots AS k  -- decoder_raw has a second one
        WHERE k.slot_name IN (s.slot_name, pg_catalog.left(s.slot_name, 58) || '_kept'))::text AS restart_lsn,
       confirmed_flush_lsn::text, safe_wal_size,
       pg_catalog.age(xmin) AS xmin_age, pg_catalog.age(catalog_xmin) AS catalog_xmin_age,
       extract(epoch FROM (pg_catalog.to_jsonb(s) ->> 'inactive_since')::timestamptz)::float8 AS inactive_since,
       r.application_name AS reader, r.client_addr::text AS reader_host,
       extract(epoch FROM r.reply_time)::float8 AS replied
FROM pg_catalog.pg_replication_slots AS s LEFT JOIN pg_catalog.pg_stat_replication AS r ON r.pid = s.active_pid
WHERE slot_name = %s
"""
_SERVER = """
SELECT (SELECT system_identifier::text FROM pg_catalog.pg_control_system()) AS system_identifier,
       datname AS database, oid::int8 AS database_oid, pg_catalog.current_setting('server_version') AS version,
       pg_catalog.current_setting('server_version_num')::int AS version_num,
       pg_catalog.pg_is_in_recovery() AS in_recovery,
       (CASE WHEN pg_catalog.pg_is_in_recovery()
             THEN coalesce(pg_catalog.pg_last_wal_receive_lsn(), pg_catalog.pg_last_wal_replay_lsn())
             ELSE pg_catalog.pg_current_wal_flush_lsn() END)::text AS flush_lsn,
       extract(epoch FROM pg_catalog.clock_timestamp())::float8 AS clock,
       (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) AS superuser
FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()
"""


class AwayError(Exception):
    """The server cannot be asked; why, in one line."""


@dataclass(frozen=True)
class Tail:
    """The end of the chain: the newest manifests, oldest first; how many there are, and how many lack their data."""

    manifests: list[tuple[Path, dict[str, Any]]]
    total: int
    lacking: int


@dataclass(frozen=True)
class NewestBase:
    """The newest complete base: what its manifest says, and of when it is (seconds since 1970)."""

    path: Path
    manifest: dict[str, Any]
    finished: float

    @property
    def consistent_point(self) -> int:
        """The LSN at which it stands."""
        return int(self.manifest["consistent_point"], 16)


def _counting(manifests: list[tuple[Path, dict[str, Any]]]) -> list[tuple[Path, dict[str, Any]]]:
    """Leave out what joined segments stand for, which a scribe-compact that died has left."""
    ends = [(parse_lsn(m["from_lsn"]), parse_lsn(m["to_lsn"]), "joined" in m) for _, m in manifests]
    joined = [(start, end) for start, end, is_joined in ends if is_joined]
    return [
        manifest
        for manifest, (start, end, is_joined) in zip(manifests, ends, strict=True)
        if not any(
            first <= start and first < end <= last and not (is_joined and (start, end) == (first, last))
            for first, last in joined
        )
    ]


class Survey:
    """The archive and its source as they are now. timeout: seconds one question to the server may take."""

    def __init__(self, settings: Settings, timeout: float) -> None:
        self.settings = settings
        self.stored = not isinstance(settings.place, Path)
        self.timeout = timeout
        self.now = time.time()

    # --- the archive --------------------------------------------------------------------------------------------

    @functools.cached_property
    def _opened(self) -> Archive | ScribeError:
        try:
            return find_archive(self.settings)
        except ScribeError as error:
            return error  # nobody has to wait for it twice

    @property
    def archive(self) -> Archive:
        """The archive, in a directory or in a store. Raises ScribeError."""
        if isinstance(self._opened, ScribeError):
            raise self._opened
        return self._opened

    @functools.cached_property
    def identity(self) -> dict[str, Any]:
        """archive.json. Raises ScribeError, OSError."""
        return self.archive.known_identity() if self.stored else self.archive.identity()

    @property
    def slot_name(self) -> str:
        """The slot's name."""
        return str(self.identity["slot"])

    @functools.cached_property
    def created(self) -> float:
        """When the archive was made, in seconds since 1970."""
        return parse_moment(self.identity["created"])

    @functools.cached_property
    def spool(self) -> Spool:
        """The spool."""
        return Spool(self.archive.spool)

    @functools.cached_property
    def base(self) -> NewestBase | None:
        """The newest complete base, or None. Raises ScribeError for a manifest that is not valid."""
        with suppress(FileNotFoundError):
            for name in sorted(os.listdir(self.archive.bases_path), reverse=True):
                path = self.archive.bases_path / name
                with suppress(FileNotFoundError, NotADirectoryError):
                    if not name.startswith(files.TEMPORARY):
                        manifest = read_manifest("base", path / "manifest.json")
                        return NewestBase(path, manifest, parse_moment(time_of(manifest)))
        return None

    @functools.cached_property
    def tail(self) -> Tail:
        """The newest segments; memory does not grow with their number. Raises ScribeError, OSError."""
        counts = [0, 0]  # manifests; exclusive-or of the names of manifests and data, 0 where they agree

        def keys() -> Any:
            for name in self._segment_files():
                stem, _, kind = name.partition(".")
                if len(stem) == 33 and kind in ("json", "sql", "sql.zst"):
                    counts[1] ^= hash(stem)
                    if kind == "json":
                        counts[0] += 1
                        yield stem[17:], name

        names = sorted(heapq.nlargest(NEWEST, keys()))
        paths = [self.archive.incremental / name for _, name in names]
        manifests = _counting([(path, read_manifest("segment", path)) for path in paths])
        return Tail(manifests, counts[0], self._count_lacking() if counts[1] else 0)

    def _segment_files(self) -> Iterator[str]:
        if self.stored:
            yield from self.archive.names_in(self.archive.incremental)
            return
        with suppress(FileNotFoundError), os.scandir(self.archive.incremental) as entries:
            yield from (entry.name for entry in entries)

    def _count_lacking(self) -> int:
        """Count the manifests without a data file; a data file alone is a rotation at work, or one that died."""
        names = {name.partition(".") for name in self._segment_files()}
        stems = {stem for stem, _, kind in names if kind != "json"}
        lacking = [stem for stem, _, kind in names if kind == "json" and stem not in stems]
        here = self.archive.incremental
        if lacking:
            replaced = {name.partition(".")[0] for name in self.archive.replaced_names()}
            lacking = [stem for stem in lacking if stem not in replaced]
        return sum(not any((here / f"{stem}{end}").exists() for end in (".sql", ".sql.zst")) for stem in lacking)

    @functools.cached_property
    def waiting_since(self) -> float | None:
        """Commit time (seconds since 1970) of the first transaction in the spool; None when there is none."""
        for path in self.spool.paths():
            with path.open("rb") as stream:
                block = stream.read(64 * FRAME)
            time = decoder_of(self.identity).first_time(block)
            if time is not None and not time.endswith("BC"):
                return parse_moment(time)
            if block:
                return path.stat().st_mtime
        return None

    # --- the server ---------------------------------------------------------------------------------------------

    @functools.cached_property
    def conn(self) -> psycopg.Connection[Any]:
        """A connection whose questions end in time and wait for no lock for long. Raises AwayError."""
        limits = {
            "statement_timeout": int(self.timeout * 1000),
            "lock_timeout": LOCK_TIMEOUT,
            "default_transaction_read_only": "off",
            "search_path": "",  # what users of the database have made is not what we mean
        }
        options = " ".join(f"-c {name}={value}" for name, value in limits.items())
        try:
            return psycopg.connect(
                "" if os.environ.get("PGDATABASE") or os.environ.get("PGSERVICE") else _dbname(self.identity),
                autocommit=True,
                application_name="pg_scribe check",
                client_encoding="utf8",
                connect_timeout=max(2, int(self.timeout)),
                options=server_options(PINNED, options),
            )
        except psycopg.OperationalError as error:
            text = " ".join(str(error).split())
            raise AwayError(text.removeprefix("connection failed: ")) from None

    def rows(self, query: str, parameters: list[Any] | None = None) -> list[dict[str, Any]]:
        """Ask the server; each row by its column names. Raises AwayError, psycopg.Error."""
        try:
            cursor = self.conn.execute(query.encode(), parameters)
            names = [column.name for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        except (psycopg.errors.QueryCanceled, psycopg.errors.LockNotAvailable):
            raise
        except psycopg.OperationalError as error:
            raise AwayError(" ".join(str(error).split())) from None

    def setting(self, name: str) -> str | None:
        """Return a setting of the server as it applies here; None where it is not known."""
        value = self.rows("SELECT pg_catalog.current_setting(%s, true) AS value", [name])[0]["value"]
        return None if value is None else str(value)

    @functools.cached_property
    def server(self) -> dict[str, Any]:
        """What the server says of itself; skew: its clock minus this host's, in seconds."""
        began = time.time()
        row = self.rows(_SERVER)[0]
        return row | {"skew": row["clock"] - (began + time.time()) / 2}

    @functools.cached_property
    def flush_lsn(self) -> int:
        """Up to where the server's WAL is on its disk."""
        return parse_lsn(self.server["flush_lsn"])

    @functools.cached_property
    def slot(self) -> dict[str, Any] | None:
        """The slot's row, or None."""
        found = self.rows(_SLOT, [self.slot_name])
        return found[0] if found else None

    def behind(self, column: str) -> int | None:
        """Return how many bytes a position of the slot is behind the server's WAL; None without a position."""
        text = self.slot[column] if self.slot else None
        return None if text is None else max(0, self.flush_lsn - parse_lsn(text))


def parse_moment(text: str) -> float:
    """Return a time of a manifest or a BEGIN line in seconds since 1970; UTC where it names no zone."""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ScribeError(f'could not read the time "{text}"') from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _dbname(identity: dict[str, Any]) -> str:
    return psycopg.conninfo.make_conninfo(dbname=identity["database"])
