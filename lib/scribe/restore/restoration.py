"""A restore: what was asked for, what was found, and the steps in their order."""

from __future__ import annotations

import argparse
import io
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg

from scribe.archive.chains import (
    Chain,
    Target,
    Way,
    check_file,
    check_files,
    find_chains,
    find_way,
    goes_back,
    line_time,
    list_files,
)
from scribe.archive.layout import Archive, Segment
from scribe.archive.segments import Event, Reader, open_plain
from scribe.common.cli import Talk
from scribe.common.dialect import LEFT_OUT, QUIET, WAKE, Sequence, build_footer, quote_identifier
from scribe.common.errors import ScribeError, UsageError
from scribe.common.lsn import format_lsn
from scribe.common.postgres import WRITING, connect, export_connection, is_superuser
from scribe.common.progress import Progress
from scribe.offsite.mirror import NoRoomError
from scribe.restore import target as server
from scribe.restore.extensions import compare_extensions
from scribe.restore.narrow import Rows
from scribe.restore.plan import build_plan
from scribe.restore.refused import STANDARD_STRINGS_ONLY, check_function_settings, check_names
from scribe.restore.replay import Replayer, Totals
from scribe.restore.sequences import ADVANCE
from scribe.restore.session import Session
from scribe.restore.spool_tail import count_bytes, open_transactions, session_settings
from scribe.restore.target import Options

# temp_buffers: of what staging.py sends, which a new session has to be told.
REPLAYING = f"{WRITING} -c synchronous_commit=off -c temp_buffers=32MB"
_MESSAGES, _LONGEST = 100, 500  # of what was left out; characters of one


def _begin_session(replayer: Replayer, encoding: str) -> None:
    """Do what a segment's header does."""
    replayer.session.run(session_settings(encoding))
    replayer.session.run(QUIET.encode())


def _pass_over(replayer: Replayer, segments: list[Segment], encoding: str) -> None:
    """Stand at the end of segments of which nothing is asked for but where sequences stood."""
    if not segments:
        return
    _begin_session(replayer, encoding)
    known = [each.manifest["sequences"] for each in segments if each.manifest["sequences"] is not None][-1:]
    positions = [Sequence(**each) for last in known for each in last]
    footer, last = build_footer(sequences=positions, to_lsn=segments[-1].to_lsn), segments[-1].data.name
    replayer.apply(Reader(io.BytesIO(footer.encode()), last).events(), last)
    for closed in (each.manifest["last_commit_time"] for each in segments):
        replayer.totals.time = line_time(closed) if closed is not None else replayer.totals.time


def joined_at_once(arguments: argparse.Namespace) -> int:
    """Return how many bytes of small transactions become net effects together, 0 if none are to."""
    return 0 if arguments.serial else int(arguments.batch) << 20


def name_target(arguments: argparse.Namespace) -> str:
    """Return the name of the target database, and take it out of libpq's environment. Raises UsageError."""
    if arguments.dbname is None:
        raise UsageError("no target database is named", 'Name it: "scribe-restore -d TARGET".')
    os.environ.pop("PGDATABASE", None)
    export_connection({"dbname": arguments.dbname})
    name = os.environ.pop("PGDATABASE", "")
    if not name:
        raise UsageError("no target database is named", 'The connection string needs "dbname=".')
    return name


class Restore:
    """One run: what was asked for, and what was found. run() does the steps in order.

    arguments: as scribe-restore reads them; libpq's environment names the server, and PGDATABASE is taken out of it.
    """

    def __init__(
        self, archive: Archive, identity: Mapping[str, Any], arguments: argparse.Namespace, talk: Talk
    ) -> None:
        self.archive, self.identity, self.arguments, self.talk = archive, identity, arguments, talk
        self.name = name_target(arguments)
        jobs = 1 if arguments.serial else arguments.jobs
        self.options = Options(jobs, not arguments.no_owner, not arguments.no_tablespaces, self._mapping())
        self.rows: Rows | None = None  # those that are restored, None for all
        self.lasting = True  # what is restored stays
        self.takes_up: bool = arguments.resume  # what an earlier run has left
        self.checked = False  # all files have been
        self.passed: list[str] = []  # segments of which nothing is restored
        self._heard: set[str] = set()
        self.began = time.monotonic()
        self.progress = Progress(talk.program, quiet=arguments.quiet)

    def narrow(self, rows: Rows | None) -> None:
        """Restore only some rows; None: all."""
        self.rows = rows
        if rows is not None:
            self.options = replace(self.options, takes=rows.takes_piece)

    def _mapping(self) -> dict[str, str]:
        pairs = [text.partition("=") for text in self.arguments.tablespace_mapping]
        for old, _, new in pairs:
            if not old or not Path(new).is_absolute():
                raise UsageError("--tablespace-mapping needs OLD=NEW, two directories", "Name both from the root on.")
        return {old: new for old, _, new in pairs}

    def run(self, way: Way | None = None) -> dict[str, Any] | None:
        """Do it; return what came of it, None where nothing was to be restored. Raises ScribeError.

        way: where find_way() leads, if it was asked before.
        """
        with server.connect_server() as conn, server.without_login_triggers(conn):
            return self._run(way)

    def _run(self, way: Way | None) -> dict[str, Any] | None:
        with server.connect_server() as conn:
            way = way or self.find_way(conn)
            if not self.arguments.no_globals:
                check_names(conn, [path for path, _ in server.globals_files(self.archive, way)])
            if self.arguments.plan:
                self._print_plan(conn, way)
                return None
            server.check_privileges(conn, self.options, with_globals=not self.arguments.no_globals)
            if not is_superuser(conn):
                self.options = replace(self.options, event_triggers=False, shared=False)
                self.talk.info("event triggers are left out: only a superuser can create them")
            oid = server.database_oid(conn, self.name)
            if oid is not None:
                server.refuse_source(conn, self.name, oid, self.identity)
            position = self._look_at_target(way, oid)
            if not self.checked:
                self.check(way, resumed=position is not None)
            if not self.arguments.no_globals:
                server.check_globals(self.archive, way, self.talk.warn)
            server.check_options(way.base, self.options)
            if position is None:
                compare_extensions(conn, server.read_meta(way.base), self.talk.warn)
                check_function_settings(conn, server.read_meta(way.base))
                server.warn_of_older(conn, server.read_meta(way.base), self.talk.warn)
                if self.arguments.no_globals:
                    server.warn_of_missing_roles(conn, self.archive, way, self.talk.warn)
            if self.arguments.dry_run:
                self.talk.info("nothing stands in the way; nothing was changed")
                return None
            if position is None:
                self._begin(conn, way, exists=oid is not None)
            elif server.is_unfinished(conn, self.name):
                self._end_base(conn, way)
        return self._replay(way, position)

    def check(self, way: Way, *, resumed: bool = False) -> None:
        """Compare all files with their manifests, those out of a store as far as they have room. Raises ScribeError."""
        self.talk.note(f"checking {len(way.segments)} segments and base {way.base.stamp}")
        try:
            self.archive.fetch(path for path, _ in list_files(way))
        except NoRoomError:
            self.talk.info("SCRIBE_CACHE_SIZE has no room for all files at once: each is checked when its turn comes")
            if not resumed:
                self._bring_base(way)
        else:
            check_files(way)

    def _bring_base(self, way: Way) -> None:
        """Fetch a base's files, and compare them with its manifest. Raises ScribeError."""
        alone = replace(way, segments=())
        self.archive.fetch(path for path, _ in list_files(alone))
        check_files(alone)

    def _print_plan(self, conn: psycopg.Connection[Any], way: Way) -> None:
        self.archive.fetch(path for path, _ in list_files(way))
        plan = build_plan(
            self.archive,
            way,
            self.name,
            conn.info.server_version,
            replace(self.options, event_triggers=is_superuser(conn)),
            with_globals=not self.arguments.no_globals,
            first=conn.info.dbname,
        )
        print(plan, end="")

    def find_way(self, conn: psycopg.Connection[Any]) -> Way:
        """Return base and segments that lead to the point asked for; conn: times are read there. Raises ScribeError."""
        arguments = self.arguments
        when = arguments.target_time
        target = Target(
            lsn=arguments.target_lsn,
            time=server.read_time(conn, when) if when is not None else None,
            xid=arguments.target_xid,
            name=arguments.target_name,
            inclusive=not arguments.target_exclusive,
        )
        if arguments.skip and arguments.plan:
            raise UsageError("--skip is not for --plan", "Leave the statement out of what psql is fed by hand.")
        if arguments.include_spool and (arguments.plan or not target.is_end):
            raise UsageError("--include-spool is for a restore to the end", "Leave out the target, or --plan.")
        if target.is_end and not arguments.include_spool and (size := count_bytes(self.archive)):
            self.talk.note(f"{size} bytes of the spool are in no segment yet; --include-spool applies them too")
        stamp = None if arguments.base == "latest" else arguments.base
        chains = find_chains(self.archive, dict(self.identity))
        if arguments.resume and stamp is None:
            chains = self._chains_of_target(conn, chains)
        way = find_way(chains, target, stamp, self.archive.bring)
        if way.coarse:
            self.talk.warn(
                f"the archive's decoder tells no LSN or time of single transactions: the restore stops at the last"
                f" known point before {target}"
            )
        return way

    def _chains_of_target(self, conn: psycopg.Connection[Any], chains: list[Chain]) -> list[Chain]:
        """Leave out the bases that were taken after the place where the target stands: it did not begin with those."""
        if server.database_oid(conn, self.name) is None:
            return chains
        with connect(dbname=self.name) as there:
            state = server.read_position(there)
        return chains if state is None else [c for c in chains if c.base.consistent_point <= state[0]] or chains

    def _look_at_target(self, way: Way, oid: int | None) -> int | None:
        """Return where an interrupted restore stands, None where a new one may begin. Raises ScribeError."""
        if oid is None:
            if self.arguments.resume:
                raise ScribeError(f'database "{self.name}" does not exist', "Leave out --resume to begin.")
            return None
        with connect(dbname=self.name) as conn:
            if self.takes_up:
                return self._check_resume(conn, way)
            found = server.find_contents(conn)
            if found is not None:
                hint = "Name a new database, or go on with --resume if it is an interrupted restore of this archive."
                raise ScribeError(f'database "{self.name}" is not empty: it has {found}', hint)
            server.check_encoding(conn, server.read_meta(way.base))
            if self.options.owners:
                server.warn_of_owner(conn, server.read_meta(way.base), self.talk.warn)
        return None

    def _check_resume(self, conn: psycopg.Connection[Any], way: Way) -> int | None:
        again = f'Drop database "{self.name}" and restore again.'
        state = server.read_position(conn)
        if state is None and server.is_unfinished(conn, self.name):
            return None
        if state is None and server.find_contents(conn) is None:
            server.check_encoding(conn, server.read_meta(way.base))
            return None
        if state is None:
            raise ScribeError(f'database "{self.name}" holds no restore that reached the end of its base', again)
        position, inside = state
        if inside:
            raise ScribeError(f'psql was cut off inside a segment in database "{self.name}"', again)
        last = way.segments[-1].to_lsn if way.segments else way.base.consistent_point
        if position < way.base.consistent_point or (position > last and not self.arguments.include_spool):
            raise ScribeError(
                f'database "{self.name}" stands at {format_lsn(position)}, the way to the target leads from'
                f" {format_lsn(way.base.consistent_point)} to {format_lsn(last)}",
                "Name a later target, or with --base the base it began with, or restore into a new database.",
            )
        if goes_back(way, position, self.archive.bring):
            raise ScribeError(
                f'database "{self.name}" stands at {format_lsn(position)}, which is beyond the target',
                "Name a later target, or restore into a new database.",
            )
        return position

    def _begin(self, conn: psycopg.Connection[Any], way: Way, *, exists: bool) -> None:
        """Globals, database, base. Raises ScribeError."""
        if not self.arguments.no_globals:
            server.restore_globals(conn, self.archive, way, self.options, self.talk.warn)
        if exists and server.is_unfinished(conn, self.name):
            self.talk.info(f'database "{self.name}" holds a part of its base: it is made again')
            server.drop_unfinished(conn, self.name)
            exists = False
        if not exists:
            server.create_database(conn, self.name, server.read_meta(way.base), self.options)
            server.begin_base(conn, self.name)
        self.talk.note(f"restoring base {way.base.stamp}")
        if self.checked and self.archive.fetches:
            self._bring_base(way)  # it may have made room for others since
        self.progress.start("base", 0)
        try:
            left_out = server.restore_base(way, self.name, self.options, conn.info.server_version, self.progress.add)
        except KeyboardInterrupt:
            drop = f'drop it ("DROP DATABASE {quote_identifier(self.name)}"), then run the same command again'
            how = drop if exists else "--resume begins with it again"
            self.talk.info(f'database "{self.name}" holds a part of its base; {how}')
            raise
        for text in left_out:
            self.talk.warn(text)
        self._end_base(conn, way)

    def _end_base(self, conn: psycopg.Connection[Any], way: Way) -> None:
        """What belongs to the database itself. Raises ScribeError."""
        server.run_database_sql(way.base, self.name, self.talk.warn)
        server.end_base(conn, self.name)

    def _replay(self, way: Way, resumed: int | None) -> dict[str, Any]:
        """Segments, sequences, settings, ANALYZE. Raises ScribeError."""
        with connect(dbname=self.name, options=REPLAYING) as conn:
            conn.add_notice_handler(self.hear)
            server.lock_target(conn)
            server.quiet_session(conn)
            state = server.read_position(conn)
            if state is None or state[1]:
                raise ScribeError(f'database "{self.name}" was changed by another program', "Restore into a new one.")
            if resumed is None:  # what the base took hours for is not to be lost with the server's last moments
                conn.execute("BEGIN; SET LOCAL synchronous_commit = on; UPDATE scribe.position SET lsn = lsn; COMMIT")
            skips = frozenset(self.arguments.skip)
            replayer = Replayer(
                Session(conn), state[0], way.stop, self.options.owners, tick=self.progress.set, skips=skips
            )
            replayer.joining = joined_at_once(self.arguments)
            replayer.stages = not self.arguments.serial
            replayer.rows = self.rows
            replayer.event_triggers = self.options.event_triggers
            replayer.shared = self.options.shared
            replayer.standard_strings = conn.info.server_version >= STANDARD_STRINGS_ONLY
            try:
                self._apply(replayer, way, resumed=resumed is not None)
            except (ScribeError, KeyboardInterrupt):
                self._say_where(conn, replayer)
                raise
        for place in skips - {entry.place for entry in replayer.totals.skipped}:
            if place.commit_lsn >= state[0]:
                self.talk.warn(f"statement {place}, which --skip names, was not met")
        if self.lasting:
            server.finish(self.name, self.talk.warn)
        return self._report(way, replayer.position, replayer.totals)

    def hear(self, said: psycopg.errors.Diagnostic) -> None:
        """Pass on what lines of ours say that they have left out; whoever wrote what is replayed may say that, too."""
        text = (said.message_primary or "")[:_LONGEST]
        if text.startswith(LEFT_OUT) and text not in self._heard and len(self._heard) < _MESSAGES:
            self._heard.add(text)
            self.talk.warn(text)

    def _apply(self, replayer: Replayer, way: Way, *, resumed: bool) -> None:
        # A resumed run repeats the footer of the segment it stands at the end of: it may have been missed.
        start = replayer.position
        again = resumed and start > way.base.consistent_point
        segments = [s for s in way.segments if s.to_lsn > start or (again and s.to_lsn == start)]
        self.progress.start("segments", sum(segment.manifest["plain_bytes"] for segment in segments))
        if self.rows is not None:
            self.rows.begin(replayer.session)
        chosen = self._choose(replayer, way, self._brought(segments))
        to_segment_end = all(self._apply_segment(replayer, segment) for segment in chosen)
        self.progress.end()
        if self.arguments.include_spool and self._apply_spool(replayer, way):
            to_segment_end = False
        if not to_segment_end:
            self.settle(replayer)

    def settle(self, replayer: Replayer) -> None:
        """Do at a point within a segment what its footer does at its end."""
        replayer.session.run(ADVANCE.encode())
        replayer.session.run(WAKE.encode())

    def _choose(self, replayer: Replayer, way: Way, segments: Iterable[Segment]) -> Iterator[Segment]:
        """Yield the segments that have to be read, when all before them were applied."""
        passed: list[Segment] = []
        for segment in segments:
            if self.rows is None or self.rows.concerns(segment) or way.stop.may_be_in(segment):
                _pass_over(replayer, passed, self.identity["encoding"])
                passed = []
                yield segment
            else:
                self.passed.append(segment.data.name)
                passed.append(segment)
        _pass_over(replayer, passed, self.identity["encoding"])

    def _brought(self, segments: Iterable[Segment]) -> Iterator[Segment]:
        """Yield segments that are here; what comes out of a store is compared with its manifest whenever it is used."""
        for segment in self.archive.bring(segments):
            if self.archive.fetches:
                check_file(segment.data, segment.manifest["bytes"], segment.manifest["sha256"])
            yield segment

    def _apply_spool(self, replayer: Replayer, way: Way) -> int:
        """Apply what is only in the spool; return how many transactions that was."""
        before = replayer.totals.transactions
        _begin_session(replayer, self.identity["encoding"])
        last = way.segments[-1].to_lsn if way.segments else way.base.consistent_point
        with open_transactions(self.archive, self.identity, min(last, replayer.position)) as reader:
            replayer.apply(self.watch(reader.events()), "the spool")
        return replayer.totals.transactions - before

    def _apply_segment(self, replayer: Replayer, segment: Segment) -> bool:
        self.talk.note(f"applying {segment.data.name}")
        with open_plain(segment.data, segment.manifest["plain_bytes"]) as stream:
            reader = Reader(stream, segment.data.name)
            header = reader.read_header()
            if header.from_lsn != segment.from_lsn:
                raise ScribeError(f'segment "{segment.data}" does not begin where its manifest says')
            replayer.session.run(header.settings)
            replayer.session.run(QUIET.encode())
            joined_from = segment.from_lsn if segment.joined is not None else None
            return replayer.apply(self.watch(reader.events()), segment.data.name, joined_from)

    def watch(self, events: Iterable[Event]) -> Iterator[Event]:
        """Return what is applied: for who wants to see it, or put something between."""
        return iter(events)

    def _say_where(self, conn: psycopg.Connection[Any], replayer: Replayer) -> None:
        conn.close()
        where = format_lsn(replayer.position)
        self.talk.info(
            f'database "{self.name}" is kept as it is, at {where} or shortly after; --resume goes on from there'
        )

    def _report(self, way: Way, position: int, totals: Totals) -> dict[str, Any]:
        for entry in totals.skipped:
            self.talk.warn(f'passed over {entry.place} in "{entry.file}": {entry.statement}')
        return {
            "database": self.name,
            "base": way.base.stamp,
            "reached_lsn": format_lsn(position),
            "reached_time": totals.time,
            "transactions": totals.transactions,
            "rows": totals.rows,
            "ddl": totals.ddl,
            "skipped": [f"{entry.place} {entry.statement}" for entry in totals.skipped],
            "seconds": round(time.monotonic() - self.began, 3),
        }
