"""scribe-rotate: turn the whole transactions of the spool into segments without stopping the stream."""

from __future__ import annotations

import argparse
import json
import sys
import time
from contextlib import ExitStack
from typing import Any

import psycopg

from scribe.archive.layout import Archive, Segment
from scribe.common.cli import Parser, Talk, make_parser, prepare, run
from scribe.common.errors import ScribeError, TryAgainError, UsageError
from scribe.common.lsn import format_lsn, parse_lsn
from scribe.common.settings import Settings, parse_percent
from scribe.decoders.registry import check_setting, plugin_of
from scribe.dump.source_record import read_share, take_record
from scribe.offsite.sync import send
from scribe.source import largeobjects
from scribe.source import server as source
from scribe.spool.contents import Spool
from scribe.stream.rotation import Report, rotate
from scribe.stream.waiting import StreamWatch, wait_for_now

PROGRAM = "scribe-rotate"
EPILOG = """\
Then stores roles and tablespaces if they changed, and hands every file that is new to SCRIBE_ARCHIVE_COMMAND.

Exit status: 0 done, also where there was nothing to do; 1 failed, or changed large objects are refused by setting;
2 wrong use or configuration; 75 try again later (server away: what had been received is archived nevertheless).
"""
SHORT = 10.0  # seconds without progress after which moved sequences wait for the next rotation


def parse_record(text: str) -> int:
    """Return the percentage of the tables that --record names."""
    try:
        percent = parse_percent(text)
    except ValueError:
        percent = 0
    if percent == 0:
        raise argparse.ArgumentTypeError(f'invalid share "{text}", give a percentage such as "10%"')
    return percent


def make_arguments() -> Parser:
    """Return the parser."""
    purpose = "Turn whole transactions of the spool into segments, without stopping the stream."
    parser = make_parser(PROGRAM, purpose, EPILOG)
    parser.add_argument(
        "--wait-lsn",
        metavar="LSN|current",
        help="return once everything committed before now, or before LSN, is in a segment",
    )
    parser.add_argument(
        "--timeout", metavar="SECONDS", type=float, default=300.0, help="longest wait without progress (default: 300)"
    )
    parser.add_argument(
        "--record",
        nargs="?",
        type=parse_record,
        const=100,
        default=0,
        metavar="N%",
        help="digest rows and schema at an exact point, for scribe-verify --rehearse to compare with; implies"
        " --wait-lsn current, and reads every table once, or with N%% those whose turn it is",
    )
    parser.add_argument("-n", "--dry-run", action="store_true", help="print what would become segments")
    parser.add_argument("--json", action="store_true", help="print a report as JSON")
    return parser


def parse_target(text: str | None) -> int | None:
    """Return the LSN that --wait-lsn names, None for "current" or nothing. Raises UsageError."""
    if text in (None, "current"):
        return None
    try:
        return parse_lsn(text or "")
    except ValueError as error:
        raise UsageError(str(error), 'Give an LSN such as "16/B374D848", or "current".') from None


def main(argv: list[str]) -> int:
    """Run the program."""
    arguments = make_arguments().parse_args(argv)
    target = parse_target(arguments.wait_lsn)
    settings = prepare(arguments)
    archive = Archive(settings.archive)
    talk = Talk(PROGRAM, arguments)
    identity = archive.identity()
    check_setting(identity, settings)
    away: TryAgainError | None = None
    with ExitStack() as stack:
        conn: psycopg.Connection[Any] | None = None
        try:
            conn = stack.enter_context(source.open_source(identity))
            source.check_identity(source.inspect(conn), identity)
            if not arguments.dry_run:
                source.reconcile(conn)
        except TryAgainError as error:
            if arguments.wait_lsn or arguments.record:
                raise
            away = error
        report = _work(arguments, settings, archive, conn, talk, target=target)
        if conn is not None:
            _flag(conn, report, talk)
    _tell(arguments, report, talk)
    if not arguments.dry_run:
        send(archive, settings, talk)
    if report.objects_refused:
        raise ScribeError(
            "large objects changed, and SCRIBE_LARGE_OBJECTS=refuse keeps them out of the archive",
            'Set SCRIBE_LARGE_OBJECTS=capture, or take a new base with "scribe-dump".',
        )
    if away is not None:
        done = "the whole transactions of the spool are archived, without the sequences' positions"
        raise TryAgainError(f"{away.message}; {done if report.segments else 'nothing new was in the spool'}", away.hint)
    return 0


def _flag(conn: psycopg.Connection[Any], report: Report, talk: Talk) -> None:
    for segment in report.segments:
        try:
            source.flag_losses(conn, segment.manifest["warnings"])
        except psycopg.Error as error:
            talk.warn(f"could not flag what capture lost, take a new base: {str(error).strip().splitlines()[0]}")


def _work(
    arguments: argparse.Namespace,
    settings: Settings,
    archive: Archive,
    conn: psycopg.Connection[Any] | None,
    talk: Talk,
    *,
    target: int | None,
) -> Report:
    recorded: dict[str, Any] | None = None
    earlier: list[Segment] = []

    def once() -> Report:
        return rotate(
            archive,
            conn,
            compress=settings["SCRIBE_COMPRESS"] == "zstd",
            capture_objects=settings["SCRIBE_LARGE_OBJECTS"] == "capture",
            command=settings["SCRIBE_ARCHIVE_COMMAND"],
            warn=talk.warn,
            recorded=recorded,
            dry_run=arguments.dry_run,
        )

    def wait(timeout: float) -> int:
        assert conn is not None
        return wait_for_now(archive, conn, archive.identity()["slot"], timeout, target)

    if arguments.record and not arguments.dry_run:
        assert conn is not None
        plugin = plugin_of(archive.identity())
        StreamWatch(Spool(archive.spool)).check(0)  # the record would be taken for nothing
        # large objects follow at a rotation: those before the record's point are sent first
        if largeobjects.look_again(conn, archive.spool, largeobjects.read_noted(archive.spool)):
            wait(arguments.timeout)
            earlier = once().segments
        share = read_share(archive, arguments.record)
        recorded = take_record(archive, conn, talk, plugin=plugin, wait=arguments.timeout, share=share).as_json()
    waits = arguments.wait_lsn or arguments.record
    reached = wait(arguments.timeout) if waits and not arguments.dry_run else 0
    report = once()
    report.segments[:0] = earlier
    if recorded is not None and not any("recorded" in segment.manifest for segment in report.segments):
        reached = wait(arguments.timeout)  # another rotation was quicker
        earlier = report.segments
        report = once()
        report.segments[:0] = earlier
    if report.sequences_moved and not arguments.dry_run:
        try:
            reached = wait(min(arguments.timeout, SHORT))  # a transaction of ours, to which the positions can be tied
        except TryAgainError as error:
            talk.warn(f"sequences moved and their positions are not recorded: {error.message}")
            return report
    deadline = time.monotonic() + arguments.timeout
    while reached > report.reached:  # the stream was started again in the meantime, and cut the spool
        if time.monotonic() > deadline:
            raise TryAgainError(f"the archive ends at {format_lsn(report.reached)}, before {format_lsn(reached)}")
        time.sleep(0.1)
        again = once()
        again.segments[:0] = report.segments
        report = again
    return report


def _tell(arguments: argparse.Namespace, report: Report, talk: Talk) -> None:
    if arguments.json:
        print(json.dumps(report.as_json(), indent=2))
    for piece in report.planned if not arguments.json else ():
        print(f"{format_lsn(piece.from_lsn)} to {format_lsn(piece.to_lsn)}: {piece.transactions} transactions")
    for segment in report.segments:
        counts = segment.manifest["counts"]
        talk.note(f"wrote {segment.manifest['file']}: " + ", ".join(f"{n} {kind}" for kind, n in counts.items() if n))
        for text in segment.manifest["warnings"]:
            talk.warn(text)
    if not report.segments and not arguments.dry_run:
        talk.note(f"nothing to do: everything received is archived up to {format_lsn(report.archived)}")


if __name__ == "__main__":
    sys.exit(run(PROGRAM, main))
