"""Bases made from the archive alone: restored to a point of which the source was recorded, compared, and dumped.

A throw-away cluster is brought to the newest recorded point and dumped there, if it is what the record says: then the
dump is what a dump of the source at that point would be. Nothing is asked of the source. What a dump reads and no
stream carries was written down with the record: the sequences' positions, what stands beside the rows.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from scribe.archive import rolefiles
from scribe.archive.chains import Chain, describe_range
from scribe.archive.derivation import Fault, keep_outcome, origin_of
from scribe.archive.layout import Archive, Base, Segment
from scribe.common import files
from scribe.common.dialect import format_time
from scribe.common.errors import ScribeError, TryAgainError, UsageError
from scribe.common.lsn import format_lsn, parse_lsn
from scribe.common.postgres import connect, fetch_value, major_of_server, program_version
from scribe.decoders.registry import decoder_of
from scribe.dump.base import Beside, Request, Talker, take_base
from scribe.dump.contents import TEXT_OPTIONS
from scribe.dump.gate import NoGate
from scribe.dump.guard import Table, read_tables
from scribe.restore.copies import Copy, Source, some_cluster
from scribe.restore.kept import BASES, kept_copy
from scribe.restore.rehearsal import Rehearsal, compare_contents, compare_rows, compare_schema
from scribe.restore.throwaway import major_of
from scribe.source import largeobjects
from scribe.source.metadata import utc_now
from scribe.source.slot import Export

_RECORD = 'Run "scribe-rotate --record", which asks the source for nothing else, then this again.'
_FROM_SOURCE = 'Run "scribe-dump --from-source": that base holds what the source holds.'
_SHOWN = 3  # differences in the error
_UNLOGGED = """
SELECT oid::bigint FROM pg_catalog.pg_class WHERE relpersistence = 'u' AND relkind = 'r'
"""
_MEMBERS = """
SELECT c.oid::bigint FROM pg_catalog.pg_class AS c WHERE c.oid = ANY (
  SELECT pg_catalog.unnest(e.extconfig) FROM pg_catalog.pg_extension AS e)
"""
_ANY_OBJECTS = "SELECT EXISTS (SELECT FROM pg_catalog.pg_largeobject_metadata)"
_STATISTICS = "data of statistics, which ANALYZE gathers again"


class DiffersError(ScribeError):
    """The archive does not restore to what the source held."""


@dataclass(frozen=True)
class At:
    """A point as asked for: of the recorded ones, the last that is not after it. Both None: the newest one."""

    lsn: int | None = None
    time: datetime | None = None

    def reaches(self, recorded: Mapping[str, Any]) -> bool:
        """Whether a record's point is not after this one."""
        if self.lsn is not None:
            return parse_lsn(recorded["lsn"]) <= self.lsn
        return self.time is None or _moment(recorded) <= self.time

    @property
    def words(self) -> str:
        """How an error names it."""
        if self.lsn is not None:
            return f" up to {format_lsn(self.lsn)}"
        return "" if self.time is None else f" up to {self.time.isoformat()}"


def parse_at(text: str) -> At:
    """Return the point that --at names. Raises UsageError."""
    with contextlib.suppress(ValueError):
        return At(lsn=parse_lsn(text))
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        hint = 'Give an LSN such as "16/B374D848", or a time such as "2026-11-22T13:07:00Z".'
        raise UsageError(f'invalid point "{text}" for --at', hint) from None
    return At(time=moment if moment.tzinfo else moment.replace(tzinfo=UTC))


@dataclass(frozen=True)
class Wanted:
    """What is asked for. copy: the directory in which the cluster is kept, None if it is thrown away."""

    request: Request
    at: At = At()
    copy: Path | None = None
    directory: str | None = None
    launcher: Path | None = None


@dataclass(frozen=True)
class Point:
    """A recorded point, and the way there: the newest base and the segments after it."""

    base: Base
    segments: tuple[Segment, ...]
    record: Mapping[str, Any]
    holder: Segment  # whose manifest has the record

    @property
    def lsn(self) -> int:
        """Its LSN."""
        return parse_lsn(self.record["lsn"])

    @property
    def where(self) -> str:
        """How a difference names it."""
        return f"at {self.record['lsn']} ({self.record['time']})"

    @property
    def stamp(self) -> str:
        """The name of a base of it: the time of the record, as a base of the source's has that of its beginning."""
        return max(format_time(_moment(self.record)), _next_stamp(self.base.stamp))


def _moment(recorded: Mapping[str, Any]) -> datetime:
    return datetime.fromisoformat(recorded["time"].replace("Z", "+00:00"))


def _next_stamp(stamp: str) -> str:
    moment = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    return format_time(datetime.fromtimestamp(moment.timestamp() + 1, UTC))


# --- which point ------------------------------------------------------------------------------------------------------


def find_point(archive: Archive, chains: Sequence[Chain], at: At) -> Point:
    """Return the newest recorded point that the newest base leads to. Raises ScribeError if there is none."""
    decoder = decoder_of(archive.identity())
    if decoder.points != "transaction":
        raise ScribeError("could not make a base from this archive: its decoder tells no exact points", _FROM_SOURCE)
    broken = archive.broken()
    if broken is not None:
        raise ScribeError(
            f"the archive's chain is broken: {broken.get('reason')}", 'Run "scribe-init" to begin a new chain.'
        )
    chain = chains[-1]
    ends = {segment.to_lsn for segment in chain.segments}
    reasons = []
    for holder in reversed(chain.segments):
        record = holder.manifest.get("recorded")
        if record is None or parse_lsn(record["lsn"]) <= chain.first or not at.reaches(record):
            continue
        reason = _describe_fault(record, ends)
        if reason is None:
            lsn = parse_lsn(record["lsn"])
            return Point(chain.base, tuple(s for s in chain.segments if s.to_lsn <= lsn), record, holder)
        reasons.append(f"that at {record['lsn']} {reason}")
    said = f"there is no recorded point after base {chain.base.stamp}{at.words} that a base can be made of"
    if chain.hole is not None:
        raise ScribeError(f"{said}; the chain ends at {format_lsn(chain.last)}: {chain.hole}", _FROM_SOURCE)
    hint = _RECORD
    if at != At():
        hint = f'Reachable are the recorded points within {describe_range(chain)}; leave out "--at" for the newest.'
    raise ScribeError("; ".join([said, *reasons[:1]]), hint)


def _describe_fault(record: Mapping[str, Any], ends: set[int]) -> str | None:
    """Return why no base can be made of a record, None if one can."""
    if not record.get("complete", True):
        return "is of some tables only"
    if not record.get("source"):
        return "was made by an older pg_scribe"
    if parse_lsn(record["lsn"]) not in ends:
        return "lies within a segment"
    return None


def find_globals(archive: Archive, digest: str | None) -> bytes:
    """Return the globals that were in force at a record. Raises ScribeError if they are gone."""
    paths = [path for path, _ in rolefiles.usable(archive)] + [base.path / "globals.sql" for base in archive.bases()]
    for path in paths if digest is not None else ():
        with contextlib.suppress(FileNotFoundError):
            content = files.read_archived(path)
            if hashlib.sha256(content).hexdigest() == digest:
                return content
    raise ScribeError("the archive has no longer the roles and tablespaces that were in force at the record", _RECORD)


# --- the copy ---------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _copy_at(point: Point, source: Source, wanted: Wanted) -> Iterator[Copy]:
    """Bring a copy to a point, for one block. Raises ScribeError."""
    target = {"target_lsn": point.lsn, "target_exclusive": True}
    preloads = source.find_preloads()
    if wanted.copy is not None:
        # one that goes back to an older base of the source's may lack what that one was taken for
        origin = origin_of(point.base.manifest)
        with kept_copy(wanted.copy, source, preloads, target, use=BASES, origin=origin) as copy:
            _check_versions(copy, point)
            yield copy
        return
    with some_cluster(
        source.talk, source.major, preloads, directory=wanted.directory, launcher=wanted.launcher
    ) as cluster:
        copy = Copy(source, cluster, lasting=False)
        _check_versions(copy, point)
        copy.bring_to(**target)
        yield copy


def _check_versions(copy: Copy, point: Point) -> None:
    """Raise UsageError where the copy could not be dumped, or compared, as the source was."""
    source, here = major_of_server(point.record["server_version"]), major_of(copy.cluster.bindir)
    if here != source:
        raise UsageError(
            f"could not make a base of PostgreSQL {source} with a server of version {here}",
            f"Install the server of PostgreSQL {source} on this host, or put its bin directory first in PATH.",
        )
    with copy.cluster.entered():
        program = program_version("pg_dump")
    if program != point.record["pg_dump"]:
        raise UsageError(
            f"the source's schema was recorded by pg_dump {point.record['pg_dump']}, and this is {program}",
            f"Put the bin directory of PostgreSQL {program} first in PATH for scribe-rotate --record.",
        )


def compare(copy: Copy, point: Point, result: Rehearsal) -> None:
    """Compare a copy with the record of its point; result gets what was compared, and what differs."""
    with copy.connected(options=TEXT_OPTIONS) as conn:
        result.server_version = conn.info.parameter_status("server_version")
        unlogged = {table.name_text for table in _tables(conn, _UNLOGGED)}
        compare_rows(conn, point.record["rows"], result, point.where, unlogged)
        compare_contents(conn, point.record, result, point.where)
    compare_schema(copy.cluster, point.record, result, point.where, copy.name)
    compare_extensions(copy, point, result)


def compare_extensions(copy: Copy, point: Point, result: Rehearsal) -> None:
    """Compare the versions of extensions: a dump does not name them, and their tables and functions depend on them."""
    with copy.connected() as conn:
        rows = conn.execute("SELECT extname, extversion FROM pg_catalog.pg_extension").fetchall()
    known = {each["name"]: each["version"] for each in point.record["source"]["meta"]["extensions"]}
    for name, version in rows:
        if known.get(name, version) != version:
            result.differences.append(f"extension {name}: version {version} here, {known[name]} on the source")
    result.compared.append(f"{point.where}, the versions of {len(rows)} extensions with the source's")


def _tables(conn: psycopg.Connection[Any], query: str) -> list[Table]:
    """Return the tables whose OIDs a query returns, in the order of their names."""
    oids = {row[0] for row in conn.execute(query.encode()).fetchall()}
    found = [table for oid, table in read_tables(conn).items() if oid in oids]
    return sorted(found, key=lambda table: table.name_text)


def set_sequences(conn: psycopg.Connection[Any], known: Sequence[Sequence[Any]], talk: Talker) -> None:
    """Give a copy's sequences the source's positions. Those not there were made after the point."""
    for schema, name, value, called in known:
        place = sql.Identifier(schema, name).as_string(conn)
        try:
            conn.execute("SELECT pg_catalog.setval(%s::pg_catalog.regclass, %s, %s)", [place, value, called])
        except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
            continue
        except psycopg.Error as error:
            talk.warn(f"could not set sequence {place}: {' '.join(str(error).split())}")


# --- the base ---------------------------------------------------------------------------------------------------------


def make_base(archive: Archive, source: Source, wanted: Wanted, talk: Talker) -> Base:
    """Make a base of the newest recorded point; it is complete or not there. Its outcome is kept for scribe-check.

    Raises ScribeError where there is no such point; DiffersError where the archive does not restore to what was
    recorded; TryAgainError where another base is being taken.
    """
    began = utc_now()
    with archive.base_lock():
        for _ in range(files.remove_leftovers(archive.bases_path)):
            talk.note("removed an unfinished base")
        try:
            base = _make(archive, source, find_point(archive, source.chains, wanted.at), wanted)
        except TryAgainError:
            raise
        except (ScribeError, psycopg.Error, OSError) as caught:
            error = _as_ours(caught)
            fault = Fault(began, error.message, error.hint or "", isinstance(error, DiffersError))
            with contextlib.suppress(OSError):
                keep_outcome(archive, began, fault=fault)
            raise error from None
        with contextlib.suppress(OSError):  # the base is there, and a later one than whatever failed before
            keep_outcome(archive, began, base=base)
    return base


def _as_ours(error: ScribeError | psycopg.Error | OSError) -> ScribeError:
    """Return an error with a hint; what the copy's server says is not said by the source's, and no reason to wait."""
    if isinstance(error, OSError):
        where = f' "{error.filename}"' if error.filename else ""
        error = ScribeError(f"could not make a base: could not use{where}: {error.strerror or error}")
    elif isinstance(error, psycopg.Error):
        said = " ".join(str(error).split())
        error = ScribeError(f"could not make a base: the copy's server said: {said}")
    error.hint = error.hint or _FROM_SOURCE
    return error


def _make(archive: Archive, source: Source, point: Point, wanted: Wanted) -> Base:
    talk, known = source.talk, point.record["source"]
    talk.note(f"making a base of {point.record['lsn']} from base {point.base.stamp}")
    globals_sql = find_globals(archive, known["globals"])
    with _copy_at(point, source, wanted) as copy:
        proof = prove(copy, point)
        with copy.entered() as conn:
            set_sequences(conn, known["sequences"], talk)
            unlogged, members = _tables(conn, _UNLOGGED), _tables(conn, _MEMBERS)
            proof["not_compared"] = [f"rows of {table.name_text}, which is an extension's" for table in members]
            if known.get("large_objects") is None and fetch_value(conn, _ANY_OBJECTS):
                proof["not_compared"].append("large objects, which follow the rows by up to one rotation")
            left_out = [f"rows of {table.name_text}, which is unlogged" for table in unlogged] + [_STATISTICS]
            made_from = _describe(point, copy, left_out)
            beside = _beside(point, globals_sql, {"made_from": made_from, "proof": proof})
            request = replace(wanted.request, without_rows=tuple(unlogged), without_schema=True)
            with _exported(point.lsn) as export:
                return take_base(archive, conn, export, request, talk, gate=NoGate(), known=beside)


def prove(copy: Copy, point: Point) -> dict[str, Any]:
    """Return what shows that a copy is what its record says. Raises DiffersError, and spoils it, if it is not."""
    result = Rehearsal(point.base.stamp, utc_now())
    if copy.stands_at() == point.lsn:
        compare(copy, point, result)
    else:
        result.differences.append(f"the copy does not stand {point.where}")
    if result.differences:
        copy.spoil()
        raise _describe_differences(result.differences)
    compare_objects(copy, point, result)
    return {"time": utc_now(), "compared": result.compared}


def compare_objects(copy: Copy, point: Point, result: Rehearsal) -> None:
    """Compare the large objects, if the record's role could read them.

    Raises ScribeError, and spoils the copy, if it has others. That is no fault of the archive's if some changed just
    before the record: then they follow at the next rotation.
    """
    known = point.record["source"].get("large_objects")
    if known is None:
        return
    with copy.connected() as conn:
        found = largeobjects.digest(conn)
    if found != known:
        copy.spoil()
        raise ScribeError(
            f"the large objects are not the {known['number']} that the source had {point.where}: what changed while the"
            " record was taken comes after it",
            _RECORD,
        )
    result.compared.append(f"{point.where}, {known['number']} large objects with those of the source")


def _describe_differences(differences: Sequence[str]) -> DiffersError:
    more = f" and {len(differences) - _SHOWN} more" if len(differences) > _SHOWN else ""
    return DiffersError(
        f"no base was made: the archive does not restore to what the source held: "
        f"{'; '.join(differences[:_SHOWN])}{more}",
        _FROM_SOURCE,
    )


@contextlib.contextmanager
def _exported(lsn: int) -> Iterator[Export]:
    """Export a snapshot of the copy, in which nothing changes any more."""
    with connect() as conn:
        conn.execute("BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        row = conn.execute("SELECT pg_catalog.pg_export_snapshot()").fetchone()
        assert row is not None
        yield Export(conn, "", lsn, row[0])


def _describe(point: Point, copy: Copy, left_out: list[str]) -> dict[str, Any]:
    """Return what the manifest says of what the base was made from."""
    return {
        "base": copy.began_with or point.base.stamp,
        "origin": origin_of(point.base.manifest),
        "segments": len(point.segments),
        "last_segment": point.segments[-1].data.name,
        "record": {"lsn": point.record["lsn"], "time": point.record["time"], "segment": point.holder.path.name},
        "left_out": left_out,
    }


def _beside(point: Point, globals_sql: bytes, more: Mapping[str, Any]) -> Beside:
    """Return what the record says of the source beside its rows."""
    source = point.record["source"]
    lacks = [f"not in this base: {line}" for line in more["made_from"]["left_out"] if line != _STATISTICS]
    return Beside(
        acl=lambda: str(source["database_acl"]),
        globals=lambda warn: globals_sql,
        database=lambda: str(source["database_sql"]),
        meta=lambda: dict(source["meta"]),
        warnings=[*source["warnings"], *lacks],
        stamp=point.stamp,
        more=more,
    )
