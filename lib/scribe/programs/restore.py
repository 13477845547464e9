"""scribe-restore: a base and its segments into a new database, to the end of the archive or to a point in time."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg

from scribe import files
from scribe import target as server
from scribe.archive import Archive, Segment
from scribe.cli import Parser, Talk, make_parser, prepare, run
from scribe.errors import ScribeError, UsageError
from scribe.lsn import format_lsn, parse_lsn
from scribe.plan import build_plan
from scribe.points import Chain, Target, Way, check_files, find_chains, find_way
from scribe.postgres import connect, export_connection, fetch_value
from scribe.progress import Progress
from scribe.replay import Place, Replayer, Totals
from scribe.segments import Reader, open_plain
from scribe.sequences import ADVANCE
from scribe.session import Session
from scribe.target import Options
from scribe.unrotated import count_bytes, open_transactions, session_settings

PROGRAM = "scribe-restore"
LOCK_WAIT = 60.0  # seconds for scribe-prune to end
_EPILOG = """\
The server is the one that libpq's environment or -h and -p name; PGDATABASE is ignored. archive.json alone says what
is restored. Times without a zone are read in the target server's time zone; a time target stops before the first
transaction committed after it, an LSN target before the first whose commit record starts after it.

Exit status: 0 restored; 1 failed or refused; 2 wrong use; 75 server away or target locked: try again
"""


def make_arguments() -> Parser:
    """Return the parser."""
    parser = make_parser(PROGRAM, "Restore an archive into a new database.", _EPILOG, source=False)
    parser.add_argument("-d", "--dbname", metavar="TARGET", help="database to restore into (with --mark: the source)")
    parser.add_argument("--archive", metavar="DIR", help="the archive (default: $SCRIBE_ARCHIVE)")
    parser.add_argument(
        "--base", metavar="STAMP", default="latest", help="begin with this base (default: the latest that will do)"
    )
    parser.add_argument(
        "-j", "--jobs", type=_positive, default=1, metavar="N", help="processes for a base in directory format"
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON on stdout")
    _add_points(parser)
    _add_parts(parser)
    modes = parser.add_argument_group("instead of a new restore")
    chosen = modes.add_mutually_exclusive_group()
    chosen.add_argument("--resume", action="store_true", help="go on with a restore that was interrupted, or further")
    chosen.add_argument("--list", action="store_true", help="print what is reachable")
    chosen.add_argument("--plan", action="store_true", help="print shell commands that do the same with psql alone")
    chosen.add_argument("--mark", metavar="NAME", help="write a named point into the source's stream; prints its LSN")
    chosen.add_argument("-n", "--dry-run", action="store_true", help="check everything, restore nothing")
    return parser


def _add_points(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("point to restore to (default: the end of the archive)")
    point = group.add_mutually_exclusive_group()
    point.add_argument("--target-time", metavar="TIME", help="the last transaction committed by then")
    point.add_argument(
        "--target-lsn", metavar="LSN", type=_lsn, help="the last transaction whose commit record starts by then"
    )
    point.add_argument("--target-xid", metavar="XID", type=_positive, help="this transaction")
    point.add_argument("--target-name", metavar="NAME", help="the point written by --mark NAME")
    edge = group.add_mutually_exclusive_group()
    edge.add_argument("--target-inclusive", action="store_true", help="with the target itself (default)")
    edge.add_argument("--target-exclusive", action="store_true", help="stop just before the target")


def _add_parts(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what is restored")
    spool = "after the last segment, apply the whole transactions that are only in the spool"
    group.add_argument("--include-spool", action="store_true", help=spool)
    group.add_argument(
        "--skip",
        metavar="LSN:N",
        action="append",
        type=_place,
        default=[],
        help="pass over statement N of the transaction with that commit LSN, as the message that named it says;"
        " repeatable; recorded in the target's table scribe.skipped",
    )
    group.add_argument("--no-globals", action="store_true", help="do not create roles and tablespaces")
    group.add_argument("--no-owner", action="store_true", help="everything belongs to the restoring role")
    group.add_argument("--no-tablespaces", action="store_true", help="everything goes to the default tablespace")
    group.add_argument(
        "--tablespace-mapping",
        metavar="OLD=NEW",
        action="append",
        default=[],
        help="create the tablespace in directory OLD in directory NEW; repeatable",
    )


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("a whole number of at least 1 is expected")
    return int(text)


def _lsn(text: str) -> int:
    try:
        return parse_lsn(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _place(text: str) -> Place:
    lsn, _, number = text.partition(":")
    return Place(_lsn(lsn), _positive(number))


def body(argv: list[str]) -> int:
    """Run the program. Raises ScribeError."""
    arguments = make_arguments().parse_args(argv)
    settings = prepare(arguments, {"SCRIBE_ARCHIVE": arguments.archive}, source=False)
    talk = Talk(PROGRAM, arguments)
    if arguments.mark is not None:
        return write_mark(arguments)
    archive = Archive(settings.archive)
    identity = archive.identity()
    if arguments.list:
        return list_points(find_chains(archive, identity), arguments)
    with files.DirectoryLock(archive.path, "scribe-prune removes files", shared=True, wait=LOCK_WAIT):
        return Restore(archive, identity, arguments, talk).run()


# Marks and lists


def write_mark(arguments: argparse.Namespace) -> int:
    """Write a named point into the source's stream and print its LSN."""
    name: str = arguments.mark
    if not (0 < len(name) <= 63 and all(c.isascii() and (c.isalnum() or c in "._-") for c in name)):
        raise UsageError(f'invalid mark "{name}"', 'Use at most 63 letters, digits, ".", "_" and "-".')
    export_connection({"dbname": arguments.dbname})
    with connect() as conn:
        print(fetch_value(conn, "SELECT pg_catalog.pg_logical_emit_message(true, 'scribe.mark', %s)", [name]))
    return 0


def list_points(chains: list[Chain], arguments: argparse.Namespace) -> int:
    """Print every base and what can be reached from it."""
    if arguments.json:
        print(json.dumps({"chains": [describe_chain(chain) for chain in chains]}, indent=2))
        return 0
    print(f"{'base':<18}{'from LSN':<18}{'to LSN':<18}{'from time':<34}{'to time':<34}segments")
    for chain in chains:
        lsns = f"{format_lsn(chain.first):<18}{format_lsn(chain.last):<18}"
        print(f"{chain.base.stamp:<18}{lsns}{chain.first_time:<34}{chain.last_time:<34}{len(chain.segments)}")
        if chain.hole:
            print(f"{'':<18}then a hole: {chain.hole}")
    return 0


def describe_chain(chain: Chain) -> dict[str, Any]:
    """Return what --list --json says of a chain."""
    return {
        "base": chain.base.stamp,
        "format": chain.base.manifest["format"],
        "server_version": chain.base.manifest["server_version"],
        "from_lsn": format_lsn(chain.first),
        "to_lsn": format_lsn(chain.last),
        "from_time": chain.first_time,
        "to_time": chain.last_time,
        "segments": len(chain.segments),
        "transactions": sum(segment.manifest["counts"]["transactions"] for segment in chain.segments),
        "hole": chain.hole,
    }


# The restore


class Restore:
    """One run: what was asked for, and what was found. run() does the steps in order."""

    def __init__(
        self, archive: Archive, identity: Mapping[str, Any], arguments: argparse.Namespace, talk: Talk
    ) -> None:
        self.archive, self.identity, self.arguments, self.talk = archive, identity, arguments, talk
        if arguments.dbname is None:
            raise UsageError("no target database is named", 'Name it: "scribe-restore -d TARGET".')
        os.environ.pop("PGDATABASE", None)
        export_connection({"dbname": arguments.dbname})
        self.name = os.environ.pop("PGDATABASE", "")
        if not self.name:
            raise UsageError("no target database is named", 'The connection string needs "dbname=".')
        self.options = Options(arguments.jobs, not arguments.no_owner, not arguments.no_tablespaces, self._mapping())
        self.began = time.monotonic()
        self.progress = Progress(PROGRAM, quiet=arguments.quiet)

    def _mapping(self) -> dict[str, str]:
        pairs = [text.partition("=") for text in self.arguments.tablespace_mapping]
        for old, _, new in pairs:
            if not old or not Path(new).is_absolute():
                raise UsageError("--tablespace-mapping needs OLD=NEW, two directories")
        return {old: new for old, _, new in pairs}

    def run(self) -> int:
        """Do it. Raises ScribeError."""
        with server.connect_server() as conn:
            way = self._find_way(conn)
            if self.arguments.plan:
                self._print_plan(conn, way)
                return 0
            server.check_privileges(conn)
            oid = server.database_oid(conn, self.name)
            if oid is not None:
                server.refuse_source(conn, self.name, oid, self.identity)
            position = self._look_at_target(way, oid)
            self.talk.note(f"checking {len(way.segments)} segments and base {way.base.stamp}")
            check_files(way)
            server.check_options(way.base, self.options)
            if self.arguments.dry_run:
                self.talk.info("nothing stands in the way; nothing was changed")
                return 0
            if position is None:
                self._begin(conn, way, exists=oid is not None)
        return self._replay(way, position)

    def _print_plan(self, conn: psycopg.Connection[Any], way: Way) -> None:
        with_globals, version = not self.arguments.no_globals, conn.info.server_version
        print(build_plan(self.archive, way, self.name, version, self.options, with_globals=with_globals), end="")

    def _find_way(self, conn: psycopg.Connection[Any]) -> Way:
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
        return find_way(find_chains(self.archive, dict(self.identity)), target, stamp)

    def _look_at_target(self, way: Way, oid: int | None) -> int | None:
        """Return where an interrupted restore stands, None where a new one may begin. Raises ScribeError."""
        if oid is None:
            if self.arguments.resume:
                raise ScribeError(f'database "{self.name}" does not exist', "Leave out --resume to begin.")
            return None
        with connect(dbname=self.name) as conn:
            if self.arguments.resume:
                return self._check_resume(conn, way)
            found = server.find_contents(conn)
            if found is not None:
                hint = "Name a new database, or go on with --resume if it is an interrupted restore of this archive."
                raise ScribeError(f'database "{self.name}" is not empty: it has {found}', hint)
            server.check_encoding(conn, server.read_meta(way.base))
        return None

    def _check_resume(self, conn: psycopg.Connection[Any], way: Way) -> int:
        again = f'Drop database "{self.name}" and restore again.'
        state = server.read_position(conn)
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
        return position

    def _begin(self, conn: psycopg.Connection[Any], way: Way, *, exists: bool) -> None:
        """Globals, database, base. Raises ScribeError."""
        if not self.arguments.no_globals:
            server.restore_globals(conn, self.archive, way.base, self.options, self.talk.warn)
        if not exists:
            server.create_database(conn, self.name, server.read_meta(way.base), self.options)
        self.talk.note(f"restoring base {way.base.stamp}")
        self.progress.start("base", 0)
        server.restore_base(way, self.name, self.options, self.progress.add)

    def _replay(self, way: Way, resumed: int | None) -> int:
        """Segments, sequences, settings, ANALYZE. Raises ScribeError."""
        with connect(dbname=self.name, options="-c synchronous_commit=off") as conn:
            server.lock_target(conn)
            server.quiet_session(conn)
            state = server.read_position(conn)
            if state is None or state[1]:
                raise ScribeError(f'database "{self.name}" was changed by another program', "Restore into a new one.")
            skips = frozenset(self.arguments.skip)
            replayer = Replayer(
                Session(conn), state[0], way.stop, self.options.owners, tick=self.progress.set, skips=skips
            )
            try:
                self._apply(replayer, way, resumed=resumed is not None)
            except ScribeError:
                self._say_where(conn, replayer)
                raise
        for place in skips - {entry.place for entry in replayer.totals.skipped}:
            if place.commit_lsn >= state[0]:
                self.talk.warn(f"statement {place}, which --skip names, was not met")
        server.run_database_sql(way.base, self.name, self.talk.warn)
        server.finish(self.name, self.talk.warn)
        return self._report(way, replayer.position, replayer.totals)

    def _apply(self, replayer: Replayer, way: Way, *, resumed: bool) -> None:
        # A resumed run repeats the footer of the segment it stands at the end of: it may have been missed.
        start = replayer.position
        again = resumed and start > way.base.consistent_point
        segments = [s for s in way.segments if s.to_lsn > start or (again and s.to_lsn == start)]
        self.progress.start("segments", sum(segment.manifest["plain_bytes"] for segment in segments))
        to_segment_end = all(self._apply_segment(replayer, segment) for segment in segments)
        self.progress.end()
        if self.arguments.include_spool and self._apply_spool(replayer, way):
            to_segment_end = False
        if not to_segment_end:
            replayer.session.run(ADVANCE.encode())

    def _apply_spool(self, replayer: Replayer, way: Way) -> int:
        """Apply what is only in the spool; return how many transactions that was."""
        before = replayer.totals.transactions
        replayer.session.run(session_settings(self.identity["encoding"]))
        last = way.segments[-1].to_lsn if way.segments else way.base.consistent_point
        with open_transactions(self.archive, self.identity, min(last, replayer.position)) as reader:
            replayer.apply(reader.events(), "the spool")
        return replayer.totals.transactions - before

    def _apply_segment(self, replayer: Replayer, segment: Segment) -> bool:
        self.talk.note(f"applying {segment.data.name}")
        with open_plain(segment.data) as stream:
            reader = Reader(stream, segment.data.name)
            header = reader.read_header()
            if header.from_lsn != segment.from_lsn:
                raise ScribeError(f'segment "{segment.data}" does not begin where its manifest says')
            replayer.session.run(header.settings)
            return replayer.apply(reader.events(), segment.data.name)

    def _say_where(self, conn: psycopg.Connection[Any], replayer: Replayer) -> None:
        conn.close()
        where = format_lsn(replayer.position)
        self.talk.info(
            f'database "{self.name}" is kept as it is, at {where} or shortly after; --resume goes on from there'
        )

    def _report(self, way: Way, position: int, totals: Totals) -> int:
        report = {
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
        if self.arguments.json:
            print(json.dumps(report, indent=2))
        for entry in totals.skipped:
            self.talk.warn(f'passed over {entry.place} in "{entry.file}": {entry.statement}')
        reached = f" ({totals.time})" if totals.time else ""
        self.talk.info(
            f'restored database "{self.name}" to {format_lsn(position)}{reached} from base {way.base.stamp}:'
            f" {totals.transactions} transactions, {totals.rows} rows, {totals.ddl} DDL in {report['seconds']} s"
            + (f"; passed over: {len(totals.skipped)}" if totals.skipped else "")
        )
        return 0


def main(argv: list[str] | None = None) -> int:
    """Run the program and return its exit status."""
    return run(PROGRAM, body, argv)


if __name__ == "__main__":
    sys.exit(main())
