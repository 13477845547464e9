"""scribe-init: check the server, install the capture, create the slot and take the first base."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

import psycopg

from scribe.archive.layout import Archive
from scribe.common.cli import Parser, Talk, make_parser, parse_wait, prepare, run, stop_on_sigterm
from scribe.common.errors import FAILED, ScribeError, TryAgainError, UsageError
from scribe.common.postgres import connect, make_patient
from scribe.common.printable import json_text
from scribe.common.settings_report import Shown, describe_settings
from scribe.decoders.decoder_raw import trial as gaps
from scribe.decoders.registry import check_setting, plugin_of
from scribe.dump import setup
from scribe.dump.base import Request
from scribe.dump.preflight import Check, Wanted, check_gap, run_checks
from scribe.source.server import NOT_WAITING

PROGRAM = "scribe-init"
EPILOG = """\
Prints one line for each requirement, with the exact remedy where it is not met. Then installs the capture objects
(schema scribe), gives tables without a usable replica identity REPLICA IDENTITY FULL, creates the replication slot and
takes the first base on its snapshot. What is in place already stays as it is; what fails half-way is undone. After a
lost slot or a broken chain it begins a new chain with a new base.

With SCRIBE_DECODER=decoder_raw the installed build of that plugin is tried first, in a throw-away database that is gone
afterwards. What it gets wrong is printed, with the tables concerned: what is mended at rotation ("ok"), and gaps, which
no archive made with it can fill ("failed"). With gaps it goes on only where --accept-gaps is given once; archive.json
and every manifest name them.

Exit status: 0 done or nothing to do; 1 failed, or a requirement is not met; 2 wrong use or configuration, or the
archive belongs to another database; 75 try again later (server away, transactions in the way, another scribe-init).
"""


Tried = tuple[list[gaps.Finding], list[Check]]  # what is lost, and the lines of the report


def make_arguments() -> Parser:
    """Return the parser."""
    parser = make_parser(PROGRAM, "Prepare a database and an archive for pg_scribe.", EPILOG)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--check-only", action="store_true", help="only print the requirements; exit 1 if one is not met")
    what.add_argument("--remove", action="store_true", help="take slot and capture out of the database; files stay")
    what.add_argument(
        "--print-settings", action="store_true", help="print the settings in force and where each comes from; no server"
    )
    what.add_argument("--no-base", action="store_true", help="do everything but take the first base")
    parser.add_argument("-n", "--dry-run", action="store_true", help="print what would be done, and do nothing")
    parser.add_argument(
        "--accept-gaps", action="store_true", help="with decoder_raw: go on although this build of it loses something"
    )
    parser.add_argument("--json", action="store_true", help="print the requirements, or the settings, as JSON")
    parser.add_argument(
        "--wait", type=parse_wait, default=60.0, metavar="SECONDS", help="for other transactions (default 60)"
    )
    return parser


def print_report(checks: list[Check], arguments: argparse.Namespace) -> None:
    """Print the verdicts to stdout."""
    if arguments.json:
        print(json_text([vars(check) for check in checks]), end="")
    elif not arguments.quiet:
        print("\n".join(check.line() for check in checks))
    sys.stdout.flush()


def print_settings(found: list[Shown], arguments: argparse.Namespace) -> None:
    """Print the settings in force to stdout."""
    if arguments.json:
        print(json_text([vars(entry) for entry in found]), end="")
        return
    width = max(len(entry.assignment) for entry in found)
    for entry in found:
        print(f"{entry.assignment:<{min(width, 60)}}  {entry.source}")


def init(
    archive: Archive, conn: psycopg.Connection[Any], options: setup.Options, arguments: argparse.Namespace, talk: Talk
) -> None:
    """Do what is missing, or with --dry-run say what that is."""
    if arguments.dry_run:
        setup.check_directory(archive)
        state = setup.read_state(archive, conn, options.slot)
        setup.check_slot(state, conn, options)
        for step in setup.plan_steps(state, options) or ["nothing: everything is in place"]:
            print(f"would {step}" if "nothing" not in step else step)
        return
    done = setup.initialise(archive, conn, options, talk)
    if not done:
        talk.note("everything is in place")
    identity = archive.identity()
    talk.info(f'archive "{archive.path}" is ready: slot "{identity["slot"]}", chain from {identity["chain_from_lsn"]}')


def remove(conn: psycopg.Connection[Any], name: str, plugin: str, arguments: argparse.Namespace, talk: Talk) -> None:
    """Take slot and capture out of the source, or with --dry-run say so."""

    def act(step: str) -> bool:
        if arguments.dry_run:
            print(f"would {step}")
        else:
            talk.note(step)
        return not arguments.dry_run

    setup.remove(conn, name, plugin, talk, act, wait=arguments.wait)


def try_plugin(conn: psycopg.Connection[Any], accepted: list[gaps.Finding], arguments: argparse.Namespace) -> Tried:
    """Try the installed decoder_raw; accepted: gaps that are in archive.json. Raises TryAgainError."""
    if not gaps.may_try(conn):
        remedy = "connect as a superuser, or as a role with CREATEDB"
        verdict = "warning" if accepted else "failed"
        return accepted, [Check("decoder_raw", verdict, "not tried: that takes a throw-away database", remedy)]
    try:
        found = gaps.find_gaps(conn, arguments.wait)
    except TryAgainError:
        raise
    except ScribeError as error:
        hint = (error.hint or "See the server's log.").rstrip(".")
        return accepted, [Check("decoder_raw", "failed", error.message, hint[0].lower() + hint[1:])]
    names = {finding.name for finding in accepted}
    checks = [check_gap(conn, finding, arguments.accept_gaps or finding.name in names) for finding in found]
    return [finding for finding in found if finding.lost], checks


def refuse_failed(checks: list[Check]) -> None:
    """Raise ScribeError where a requirement is not met, or the decoder has gaps that nobody has accepted."""
    failed = [check.name for check in checks if check.verdict == "failed"]
    unmet = [name for name in failed if not name.startswith("gap ")]
    if unmet:
        raise ScribeError(
            f"the server does not meet {len(unmet)} of the requirements: {', '.join(unmet)}",
            'Do what the lines marked "failed" say, then run scribe-init again.',
        )
    if failed:
        names = ", ".join(name.removeprefix("gap ") for name in failed)
        raise ScribeError(
            f"an archive made with this build of decoder_raw has gaps that nobody has accepted: {names}",
            'Read the lines marked "failed", then run "scribe-init --accept-gaps", or use another decoder.',
        )


def body(argv: list[str]) -> int:
    """Run the program; return its exit status."""
    arguments = make_arguments().parse_args(argv)
    environment = dict(os.environ)
    settings = prepare(arguments)
    if arguments.print_settings:
        print_settings(describe_settings(settings, environment), arguments)
        return 0
    archive = Archive(settings.archive)
    talk = Talk(PROGRAM, arguments)
    identity = archive.identity() if archive.exists() else {}
    plugin = plugin_of(identity) if identity else settings["SCRIBE_DECODER"]
    if arguments.accept_gaps and plugin != gaps.PLUGIN:
        raise UsageError(f'option --accept-gaps is for decoder_raw, and the decoder is "{plugin}"', "Leave it out.")
    with connect(options=NOT_WAITING) as conn:
        make_patient(conn)
        name = setup.choose_slot(archive, settings["SCRIBE_SLOT"], conn.info.dbname)
        if identity:
            setup.read_state(archive, conn, name)  # refuses another database's archive before anything else
            check_setting(identity, settings)
        if arguments.remove:
            remove(conn, name, plugin, arguments, talk)
            return 0
        replica_identity = settings["SCRIBE_REPLICA_IDENTITY"]
        failover = settings["SCRIBE_FAILOVER"] == "on"
        wanted = Wanted(archive.path, name, plugin, replica_identity, settings["SCRIBE_LARGE_OBJECTS"], failover)
        checks = run_checks(conn, wanted)
        accepted = gaps.accepted_gaps(identity)
        if plugin == gaps.PLUGIN and any(check.name == "decoder" and check.verdict == "ok" for check in checks):
            try:
                accepted, more = try_plugin(conn, accepted, arguments)
                checks += more
            except TryAgainError:
                print_report(checks, arguments)
                raise
        print_report(checks, arguments)
        if arguments.check_only:
            return FAILED if any(check.verdict == "failed" for check in checks) else 0
        refuse_failed(checks)
        names = tuple(finding.name for finding in accepted)
        request = Request(
            settings["SCRIBE_DUMP_FORMAT"], settings["SCRIBE_COMPRESS"], settings["SCRIBE_DUMP_JOBS"], gaps=names
        )
        options = setup.Options(
            name, plugin, replica_identity, request, not arguments.no_base, arguments.wait, failover, tuple(accepted)
        )
        init(archive, conn, options, arguments, talk)
    return 0


def main(argv: list[str] | None = None) -> int:
    """Run the program; return its exit status."""
    stop_on_sigterm()
    return run(PROGRAM, body, argv)


if __name__ == "__main__":
    sys.exit(main())
