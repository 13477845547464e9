"""scribe-dump: take a new base aligned with the running stream."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import Any

from scribe.archive.layout import Archive, Base
from scribe.archive.removal import prune, summarize
from scribe.archive.retention import Policy
from scribe.common.cli import Parser, Talk, make_parser, parse_wait, prepare, run, stop_on_sigterm
from scribe.common.errors import ScribeError, TryAgainError, UsageError
from scribe.common.postgres import make_patient
from scribe.common.settings import Settings
from scribe.decoders.registry import check_setting, plugin_of
from scribe.dump import setup
from scribe.dump.base import Request, take_stream_base
from scribe.dump.turns import take_turn
from scribe.offsite.sync import send, unsent
from scribe.programs import restore
from scribe.restore.copies import Source
from scribe.restore.derived import At, Wanted, find_point, make_base, parse_at
from scribe.restore.launcher import find_launcher
from scribe.source.server import open_source

PROGRAM = "scribe-dump"
EPILOG = """\
The base is exact at its consistent point, at which the stream's segments are cut; it is complete, or not there at all.
Prints the new base's directory.

--from-archive asks nothing of the source: it restores the newest base and the segments up to the newest point of which
"scribe-rotate --record" has recorded what the source held, into a throw-away cluster, compares the rows and the schema
with the record, and makes a base of that point. If anything differs, or nothing was recorded since the newest base,
there is no base, and scribe-check reports it. With SCRIBE_COPY the cluster is kept, and the next base replays only what
came since. SCRIBE_BASE_FROM chooses for a run without either flag.

Exit status: 0 done; 1 failed; 2 wrong use or configuration; 75 try again later (server away, another base is being
taken, transactions in the way).
"""


_ARCHIVE = "make it of the archive's contents at a recorded point"
_SOURCE = "take it of the source's database (default: SCRIBE_BASE_FROM)"


def make_arguments() -> Parser:
    """Return the parser."""
    parser = make_parser(PROGRAM, "Take a new base aligned with the running stream.", EPILOG)
    parser.add_argument("--format", choices=("plain", "directory"), help="of pg_dump (default: SCRIBE_DUMP_FORMAT)")
    parser.add_argument("--jobs", metavar="N", help="tables dumped at once, directory format only")
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--from-archive", dest="origin", action="store_const", const="archive", help=_ARCHIVE)
    group.add_argument("--from-source", dest="origin", action="store_const", const="source", help=_SOURCE)
    parser.add_argument("--at", metavar="LSN|TIME", help="the newest recorded point up to here, with --from-archive")
    parser.add_argument("--directory", metavar="DIR", help="where a throw-away cluster is made (default: $TMPDIR)")
    parser.add_argument(
        "--launcher", metavar="SOCKET", help="who makes it, as another user (default: the installed one, if any)"
    )
    parser.add_argument("--no-prune", action="store_true", help="do not apply retention afterwards")
    parser.add_argument("--no-globals", action="store_true", help="leave out roles and tablespaces")
    parser.add_argument("-n", "--dry-run", action="store_true", help="print what would be done, and do nothing")
    parser.add_argument(
        "--wait", type=parse_wait, default=60.0, metavar="SECONDS", help="for other transactions (default 60)"
    )
    return parser


def make_request(settings: Settings, arguments: argparse.Namespace, identity: Mapping[str, Any]) -> Request:
    """Return the kind of base that is wanted. Raises UsageError for parallel plain dumps."""
    request = Request(
        settings["SCRIBE_DUMP_FORMAT"],
        settings["SCRIBE_COMPRESS"],
        settings["SCRIBE_DUMP_JOBS"],
        not arguments.no_globals,
        tuple(gap["name"] for gap in identity.get("accepted_gaps", [])),
    )
    if arguments.jobs and request.format == "plain" and request.jobs > 1:
        raise UsageError("a plain dump takes one job", 'Add "--format directory".')
    return request


def body(argv: list[str]) -> int:
    """Run the program; return its exit status."""
    arguments = make_arguments().parse_args(argv)
    flags = {"SCRIBE_DUMP_FORMAT": arguments.format, "SCRIBE_DUMP_JOBS": arguments.jobs}
    settings = prepare(arguments, flags | {"SCRIBE_BASE_FROM": arguments.origin})
    archive = Archive(settings.archive)
    talk = Talk(PROGRAM, arguments)
    derived = settings["SCRIBE_BASE_FROM"] == "archive"
    if arguments.at is not None and not derived:
        raise UsageError("--at is for a base made from the archive", 'Add "--from-archive".')
    if not derived:
        check_setting(archive.identity(), settings)
    take = derive if derived else take_from_source
    with take_turn(settings["SCRIBE_DUMPS_AT_ONCE"], talk.info):
        base = take(archive, arguments, settings, talk)
    if base is None:
        return 0
    print(base.path)
    send(archive, settings, talk)
    if not arguments.no_prune:
        apply_retention(archive, settings, talk)
    return 0


def take_from_source(archive: Archive, arguments: argparse.Namespace, settings: Settings, talk: Talk) -> Base | None:
    """Take a base of the source. Raises ScribeError if the chain is broken."""
    identity = archive.identity()
    request = make_request(settings, arguments, identity)
    with open_source(identity) as conn:
        make_patient(conn)
        state = setup.read_state(archive, conn, identity["slot"])
        if not state.chained:
            reason = state.broken or f'replication slot "{identity["slot"]}" is gone or has lost WAL'
            raise ScribeError(f"the archive's chain is broken: {reason}", 'Run "scribe-init" to begin a new chain.')
        if arguments.dry_run:
            print(f'would take a base in {request.format} format in "{archive.bases_path}"')
            return None
        plugin = plugin_of(identity)
        return take_stream_base(archive, conn, request, talk, plugin=plugin, wait=arguments.wait)


def derive(archive: Archive, arguments: argparse.Namespace, settings: Settings, talk: Talk) -> Base | None:
    """Make a base from the archive. Raises ScribeError if there is no recorded point, or the copy differs."""
    identity = archive.identity()
    request = make_request(settings, arguments, identity)
    at = parse_at(arguments.at) if arguments.at is not None else At()
    copy = settings["SCRIBE_COPY"]
    launcher = find_launcher(arguments.launcher) if arguments.directory is None and copy is None else None
    # as they stand: what is made of them takes their place
    source = Source(archive, identity, restore.make_arguments().parse_args(["--serial"]), talk)
    if arguments.dry_run:
        point = find_point(archive, source.chains, at)
        print(f'would make a base of {point.record["lsn"]} from base {point.base.stamp} in "{archive.bases_path}"')
        return None
    return make_base(archive, source, Wanted(request, at, copy, arguments.directory, launcher), talk)


def apply_retention(archive: Archive, settings: Settings, talk: Talk) -> None:
    """Remove what the policy lets go, as "scribe-prune --confirm" does; the base is there whatever comes of it.

    Raises ScribeError when what would stay is damaged.
    """
    try:
        plan = prune(
            archive,
            Policy.from_settings(settings),
            settings["SCRIBE_ARCHIVE_COMMAND"],
            confirm=True,
            unsent=unsent(archive, settings["SCRIBE_REMOTE"] or ()),
        )
    except TryAgainError as error:
        talk.warn(f"retention is not applied: {error.message}")
        return
    if plan.hold is not None:
        talk.warn(f"retention is not applied: {plan.hold}")
    else:
        talk.note(f"removed {summarize(plan)}")


def main(argv: list[str] | None = None) -> int:
    """Run the program; return its exit status."""
    stop_on_sigterm()
    return run(PROGRAM, body, argv)


if __name__ == "__main__":
    sys.exit(main())
