"""Joining old segments into one for each day or month, and the proof that it restores to the same.

All that follow one base go together through three throw-away clusters: one is what the joined files are written by,
one is restored from the segments as they are, and one from the joined ones. Where the latter two are not equal at the
end of a day or month, that one and those after it stay as they are.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scribe.archive.chains import Stop, Way, check_files
from scribe.archive.joining import (
    ASIDE,
    Plan,
    Run,
    check_still,
    end_unfinished,
    find_unfinished,
    list_steps,
)
from scribe.archive.layout import Archive, Segment
from scribe.archive.shipping import Outbox
from scribe.common import files
from scribe.common.cli import Talk
from scribe.common.dialect import QUIET
from scribe.common.errors import ScribeError
from scribe.dump.contents import TEXT_OPTIONS, Contents, describe_difference, read_contents, read_roots
from scribe.dump.guard import read_tables
from scribe.dump.source_record import digest_schema
from scribe.restore.copies import Copy, Source, some_cluster
from scribe.restore.joined_file import BATCH, JoinedFile
from scribe.restore.rehearsal import Rehearsal, dump_schema
from scribe.restore.replay import Replayer
from scribe.restore.restoration import Restore
from scribe.source import largeobjects
from scribe.source.metadata import database_acl, database_sql

LOCK_WAIT = 60.0  # seconds for readers to end
_SHOWN = 3  # differences in a message
_SEQUENCES = """
SELECT pg_catalog.format('%I.%I', schemaname, sequencename), last_value::text FROM pg_catalog.pg_sequences
"""
_ROLES = """
SELECT 'role ' || r.rolname, pg_catalog.concat_ws('|', r.rolsuper, r.rolinherit, r.rolcreaterole, r.rolcreatedb,
  r.rolcanlogin, r.rolreplication, r.rolbypassrls, r.rolconnlimit, r.rolvaliduntil, r.rolpassword,
  (SELECT s.setconfig::text FROM pg_catalog.pg_db_role_setting AS s WHERE s.setrole = r.oid AND s.setdatabase = 0),
  (SELECT pg_catalog.string_agg(m.rolname, ',' ORDER BY m.rolname) FROM pg_catalog.pg_auth_members AS a
    JOIN pg_catalog.pg_roles AS m ON m.oid = a.roleid WHERE a.member = r.oid))
FROM pg_catalog.pg_authid AS r
"""
_OTHERS = """
SELECT 'extension ' || extname, extversion FROM pg_catalog.pg_extension
UNION ALL SELECT 'tablespace ' || spcname, pg_catalog.pg_get_userbyid(spcowner) FROM pg_catalog.pg_tablespace
UNION ALL SELECT 'event trigger ' || evtname, evtenabled::text FROM pg_catalog.pg_event_trigger
UNION ALL SELECT 'the position', pg_catalog.concat(lsn, ' ', inside) FROM scribe.position
"""


# --- what is compared -------------------------------------------------------------------------------------------------


@dataclass
class State:
    """What a copy holds. contents: by table; others: by what it is, a text."""

    contents: dict[str, Contents] = field(default_factory=dict)
    others: dict[str, str] = field(default_factory=dict)

    def differences(self, other: State) -> Iterator[str]:
        """Yield in words how another copy differs from this one."""
        for name in sorted(self.contents.keys() | other.contents.keys()):
            before, after = self.contents.get(name), other.contents.get(name)
            if before is None or after is None:
                yield f"table {name} is there in one of them only"
            elif (difference := describe_difference(before, after)) is not None:
                yield f"table {name}: {difference.replace('were recorded', 'by the segments as they are')}"
        for name in sorted(self.others.keys() | other.others.keys()):
            if self.others.get(name) != other.others.get(name):
                yield f"{name} differs"


def look(copy: Copy) -> State:
    """Return what a copy holds. Raises ScribeError."""
    state = State()
    with copy.connected(options=TEXT_OPTIONS) as conn:
        roots = read_roots(conn)
        for table in read_tables(conn).values():
            if table.kind == "r":
                found = read_contents(conn, table)
                name = roots.get(table.name_text, table.name_text)
                state.contents.setdefault(name, Contents(found.columns, found.key)).merge(found)
        for query in (_SEQUENCES, _ROLES, _OTHERS):
            state.others |= {f"{name}": str(value) for name, value in conn.execute(query.encode()).fetchall()}
        state.others["the large objects"] = json.dumps(largeobjects.digest(conn))
        state.others["the database"] = database_sql(conn) + database_acl(conn)
    said = Rehearsal("", "")
    text = dump_schema(copy.cluster, said, copy.name)
    if text is None:
        raise ScribeError(said.differences[0])
    state.others |= {f"schema: {name}": digest for name, digest in digest_schema(text).items()}
    return state


# --- the copies -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Arranged(Archive):
    """An archive of which only some segments are seen, or others in their place."""

    arranged: tuple[Segment, ...] = ()

    def segments(self) -> Iterator[Segment]:
        """Yield them."""
        yield from self.arranged


class _Writing(Restore):
    """A restore of a run's segments that writes them joined. made: what came of it."""

    file: JoinedFile | None = None
    made: Segment

    def _apply(self, replayer: Replayer, way: Way, *, resumed: bool) -> None:
        if self.file is None:
            super()._apply(replayer, way, resumed=resumed)
            return
        replayer.joining, replayer.proved = BATCH, self.file.take
        replayer.session.run(self.file.settings)
        replayer.session.run(QUIET.encode())
        with ExitStack() as stack:
            replayer.apply(self.file.events(stack), self.file.run.stem)
            replayer.apply([self.file.end()], self.file.run.stem)
            self.made = self.file.finish()


class _Copy(Copy):
    """A copy in which a joined file may be written. The files were compared with their manifests before."""

    file: JoinedFile | None = None
    _last: _Writing

    def _restore(self, arguments: argparse.Namespace) -> Restore:
        self._last = _Writing(self.source.archive, self.source.identity, arguments, self.source.talk)
        self._last.lasting, self._last.checked, self._last.file = self.lasting, True, self.file
        return self._last

    def write(self, file: JoinedFile) -> Segment:
        """Go on to the end of a run, and return what it is joined into."""
        self.file = file
        try:
            self.bring_to()
            return self._last.made
        finally:
            self.file = None


class _Once(Talk):
    """Says a warning once: three clusters have the same to say."""

    def __init__(self, talk: Talk) -> None:
        self.program, self.verbose, self.quiet = talk.program, talk.verbose, talk.quiet
        self._said: set[str] = set()

    def warn(self, text: str) -> None:
        """Say that something is not as it should be, if it was not said before."""
        if text not in self._said:
            self._said.add(text)
            super().warn(text)


# --- the work ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Wanted:
    """What is asked for. directory, launcher: where clusters are made; command: SCRIBE_ARCHIVE_COMMAND.

    arguments: all that scribe-restore reads, at their defaults.
    """

    arguments: argparse.Namespace
    directory: str | None = None
    launcher: Path | None = None
    compress: bool = True
    command: str | None = None


@dataclass
class Done:
    """What came of a plan. joined: runs and what took their place; faults: why others stay as they are."""

    joined: list[tuple[Run, Segment]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


@contextlib.contextmanager
def alone(archive: Archive) -> Iterator[None]:
    """Keep other runs away. Raises TryAgainError if one is at work."""
    archive.create_directories()
    with files.Lock(archive.spool / "compact.lock", "scribe-compact is at work"):
        yield


@contextlib.contextmanager
def _changing(archive: Archive) -> Iterator[None]:
    """Keep readers, new bases and removals away for a moment."""
    with (
        files.Lock(archive.spool / "base.lock", "a base is being taken, or scribe-prune is at work", wait=LOCK_WAIT),
        files.DirectoryLock(archive.path, "a restore reads the archive", shared=False, wait=LOCK_WAIT),
    ):
        yield


def clear(archive: Archive) -> int:
    """End what a run that died has begun; return how many files went."""
    if not find_unfinished(archive) and not (archive.incremental / ASIDE).exists():
        return 0
    with _changing(archive):
        return end_unfinished(archive)


def compact(archive: Archive, identity: Mapping[str, Any], plan: Plan, wanted: Wanted, talk: Talk) -> Done:
    """Join every run of a plan that is proved to restore to the same. Raises ScribeError."""
    done = Done()
    aside = archive.incremental / ASIDE
    try:
        for _, runs in itertools.groupby(plan.runs, key=lambda run: run.base.stamp):
            files.make_directory(aside)
            _Work(archive, identity, list(runs), wanted, _Once(talk)).run(done)
    finally:
        with contextlib.suppress(FileNotFoundError):
            files.remove_tree(aside)
    return done


class _Work:
    """Runs that are reached from one base."""

    def __init__(
        self, archive: Archive, identity: Mapping[str, Any], runs: list[Run], wanted: Wanted, talk: Talk
    ) -> None:
        self.archive, self.identity, self.runs, self.wanted, self.talk = archive, identity, runs, wanted, talk
        self.base = runs[0].base
        within = range(self.base.consistent_point + 1, runs[-1].to_lsn + 1)
        self.segments = [segment for segment in archive.segments() if segment.to_lsn in within]

    def run(self, done: Done) -> None:
        """Write, prove, and put in place."""
        reading = "scribe-prune removes files"
        with files.DirectoryLock(self.archive.path, reading, shared=True, wait=LOCK_WAIT):
            check_files(Way(self.base, tuple(self.segments), Stop()))
            made = self._write()
            plain = self._restore(self.segments)
            try:
                check_files(Way(self.base, tuple(made), Stop()))
                joined = self._restore(_replaced(self.segments, self.runs, made))
            except ScribeError as error:
                done.faults.append(f"{self._periods()}: what was joined could not be restored: {error.message}")
                return
        for run, segment, before, after in zip(self.runs, made, plain, joined, strict=True):
            differences = list(before.differences(after))
            if differences:
                more = f" and {len(differences) - _SHOWN} more" if len(differences) > _SHOWN else ""
                shown = "; ".join(differences[:_SHOWN])
                done.faults.append(f"{run.period}: what was joined does not restore to the same: {shown}{more}")
                return  # what comes after is compared on top of it
            self._put_in_place(run, segment)
            done.joined.append((run, Segment(self.archive.incremental / segment.path.name, segment.manifest)))

    def _periods(self) -> str:
        first, last = self.runs[0].period, self.runs[-1].period
        return first if first == last else f"{first} to {last}"

    @contextlib.contextmanager
    def _copy(self) -> Iterator[_Copy]:
        source = self._source(())
        preloads, wanted = source.find_preloads(), self.wanted
        with some_cluster(
            self.talk, source.major, preloads, directory=wanted.directory, launcher=wanted.launcher
        ) as cluster:
            yield _Copy(source, cluster, lasting=False)

    def _source(self, segments: Sequence[Segment]) -> Source:
        """The archive as it would be if it ended with these segments."""
        arguments = argparse.Namespace(**vars(self.wanted.arguments) | {"base": self.base.stamp})
        archive = Arranged(self.archive.path, tuple(segments))
        return Source(archive, self.identity, arguments, self.talk)

    def _write(self) -> list[Segment]:
        made = []
        with self._copy() as copy:
            for run in self.runs:
                self.talk.note(f"joining {len(run.segments)} segments of {run.period}")
                copy.source = self._source([s for s in self.segments if s.to_lsn <= run.from_lsn])
                copy.bring_to()
                copy.source = self._source([s for s in self.segments if s.to_lsn <= run.to_lsn])
                encoding = str(self.identity["encoding"])
                aside = self.archive.incremental / ASIDE
                made.append(copy.write(JoinedFile(run, aside, encoding, compress=self.wanted.compress)))
        return made

    def _restore(self, segments: Sequence[Segment]) -> list[State]:
        """Restore segments in a cluster of their own; return what is there at the end of each run."""
        states = []
        with self._copy() as copy:
            for run in self.runs:
                copy.source = self._source([s for s in segments if s.to_lsn <= run.to_lsn])
                copy.bring_to()
                states.append(look(copy))
        return states

    def _put_in_place(self, run: Run, joined: Segment) -> None:
        with _changing(self.archive):
            check_still(self.archive, run)
            places = [self.archive.incremental / path.name for path in (joined.data, joined.path)]
            Outbox(self.archive, self.wanted.command).add(places)
            for step in list_steps(self.archive, run, joined):
                step()
        self.talk.note(f"joined {len(run.segments)} segments of {run.period} into {joined.data.name}")


def _replaced(segments: Sequence[Segment], runs: Sequence[Run], made: Sequence[Segment]) -> list[Segment]:
    """Return segments with what was made of runs in their place."""
    gone = {segment.path for run in runs for segment in run.segments}
    return sorted([s for s in segments if s.path not in gone] + list(made), key=lambda segment: segment.to_lsn)
