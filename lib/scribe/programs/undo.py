"""scribe-undo: SQL that takes named changes back, or what stands in the way."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from scribe.common.cli import Parser, Talk, make_parser, prepare, run, stop_on_sigterm
from scribe.common.errors import ScribeError, UsageError
from scribe.common.postgres import WRITING, connect, export_connection
from scribe.history.times import read_time
from scribe.offsite.mirror import find_archive
from scribe.programs import restore
from scribe.restore.applying import apply
from scribe.restore.concerned import Clusters
from scribe.restore.copies import Source
from scribe.restore.launcher import find_launcher
from scribe.restore.rowtext import KINDS
from scribe.restore.undo import Conflict, Plan, describe, take_back, write
from scribe.restore.undo_scope import Wanted

PROGRAM = "scribe-undo"
_MOST = 20  # conflicts listed
_EPILOG = """\
Prints SQL for psql, in one transaction, newest change first. Each statement checks that its row still is what the
change made it; where it is not, a later transaction has changed it, and nothing is printed: those transactions are
listed, and the exit status is 1. --conflicts skip leaves such rows out, --conflicts include takes the later
transactions back, too.

What was there before is found by restoring to just before the first of the transactions, into a throw-away cluster as
scribe-peek makes one, and from there to the end of the archive; of a large database, only the tables concerned are
restored. Archive what the source has committed since, with "scribe-rotate --wait-lsn current", or later changes are
known to the statements' checks only.

Rows are given back after INSERT, UPDATE, DELETE, COPY and TRUNCATE; after DROP TABLE and other DROPs the objects, with
rows, indexes, constraints, privileges and all that went by CASCADE. Other schema changes are refused.
Triggers of the database do not fire, foreign keys are checked at the end; till then, others cannot write to the tables.

--apply runs it on the database that -d names, as a superuser; what concerns a table's rows with its owner's rights.

Exit status: 0 printed or done; 1 something stands in the way, or failed; 2 wrong use; 75 server away: try again
"""


def make_arguments() -> Parser:
    """Return the parser."""
    parser = make_parser(PROGRAM, "Print SQL that takes transactions back.", _EPILOG, source=False)
    parser.add_argument("-d", "--dbname", metavar="TARGET", help="with --apply: the database to change")
    parser.add_argument("--archive", metavar="DIR|URL", help="the archive (default: $SCRIBE_ARCHIVE)")
    group = parser.add_argument_group("what is taken back")
    group.add_argument(
        "--xid", metavar="XID", type=_xid, action="append", default=[], help="this transaction; repeatable"
    )
    group.add_argument("--since", metavar="TIME", type=_time, help="or all that were committed at this time or later")
    group.add_argument("--until", metavar="TIME", type=_time, help="with --since: committed at this time or earlier")
    group.add_argument(
        "--table", metavar="PATTERN", action="append", default=[], help="of these, changes of these tables; repeatable"
    )
    group.add_argument(
        "--key", metavar="NAME=VALUE", action="append", default=[], help="changes of rows with this value; repeatable"
    )
    group.add_argument(
        "--kind", metavar="KIND,...", default="", help=f"changes of these kinds: {', '.join(KINDS.values())}, ddl"
    )
    parser.add_argument(
        "--conflicts",
        choices=("stop", "skip", "include"),
        default="stop",
        help="what to do about rows that were changed later (default: stop)",
    )
    parser.add_argument("--apply", action="store_true", help="run it on the database that -d names")
    parser.add_argument("-n", "--dry-run", action="store_true", help="tell what would be taken back, and no more")
    parser.add_argument("--directory", metavar="DIR", help="where the cluster is made (default: $TMPDIR)")
    parser.add_argument(
        "--launcher", metavar="SOCKET", help="who makes it, as another user (default: the installed one, if any)"
    )
    return parser


def _time(text: str) -> str:
    try:
        return read_time(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _xid(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f'invalid transaction "{text}"')
    return int(text)


def read_wanted(arguments: argparse.Namespace) -> Wanted:
    """Return what is to be taken back. Raises UsageError."""
    if bool(arguments.xid) == bool(arguments.since):
        hint = "Name transactions with --xid, or a time to begin at with --since."
        raise UsageError("--xid or --since says what is to be taken back", hint)
    if arguments.until and not arguments.since:
        raise UsageError("--until is for --since", "Name the time to begin at, too.")
    kinds = tuple(filter(None, arguments.kind.split(",")))
    for kind in kinds:
        if kind not in (*KINDS.values(), "ddl"):
            raise UsageError(f'invalid kind "{kind}"', f"Name some of {', '.join(KINDS.values())}, ddl.")
    keys = [text.partition("=") for text in arguments.key]
    for name, equals, _ in keys:
        if not (name and equals):
            raise UsageError("--key needs NAME=VALUE", "Write it as --key 'id=42'.")
    return Wanted(
        tuple(dict.fromkeys(arguments.xid)),
        arguments.since,
        arguments.until,
        tuple(arguments.table),
        tuple((name, value) for name, _, value in keys),
        kinds,
    )


def body(argv: list[str]) -> int:
    """Run the program; return its exit status."""
    arguments = make_arguments().parse_args(argv)
    settings = prepare(arguments, {"SCRIBE_ARCHIVE": arguments.archive}, source=False)
    archive = find_archive(settings)
    identity = archive.known_identity()
    wanted = read_wanted(arguments)
    if arguments.apply != (arguments.dbname is not None):
        raise UsageError("--apply and -d go together", 'Name the database to change: "--apply -d TARGET".')
    talk = Talk(PROGRAM, arguments)
    defaults = argparse.Namespace(**vars(restore.make_arguments().parse_args([])) | {"quiet": arguments.quiet})
    source = Source(archive, identity, defaults, talk)
    launcher = find_launcher(arguments.launcher) if arguments.directory is None else None
    plan = take_back(source, Clusters(source, arguments.directory, launcher), wanted, arguments.conflicts)
    for line in describe(plan):
        talk.info(line)
    if plan.skipped:
        talk.warn(f"{plan.skipped} changes are left out: later transactions have changed their rows")
    if plan.left:
        xids = ", ".join(str(begin.xid) for begin in plan.left[:_MOST])
        more = " and others" if len(plan.left) > _MOST else ""
        talk.warn(f"what {xids}{more} did to the schema is not taken back: name a transaction with --xid for that")
    if plan.conflicts:
        raise tell_conflicts(plan.conflicts, arguments.conflicts, talk)
    if plan.empty:
        raise ScribeError(
            "there is nothing to take back", "Look at what the transactions did in the archive's segments."
        )
    if arguments.dry_run:
        return 0
    if arguments.apply:
        return apply_to(arguments.dbname, plan, talk)
    write(plan, lambda text: sys.stdout.buffer.write(text.encode()))
    sys.stdout.buffer.flush()
    return 0


def tell_conflicts(conflicts: Sequence[Conflict], mode: str, talk: Talk) -> ScribeError:
    """Say what stands in the way, and return the error to end with. mode: of those that --conflicts names."""
    for conflict in conflicts[:_MOST]:
        later = ", ".join(f"{begin.xid} ({begin.time})" for begin in conflict.later)
        talk.warn(f"{conflict.what}; changed later by {later}" if later else conflict.what)
    more = f"; {len(conflicts) - _MOST} more are not listed" if len(conflicts) > _MOST else ""
    return ScribeError(f"{len(conflicts)} changes cannot be taken back as they are{more}", _way_on(conflicts, mode))


def _way_on(conflicts: Sequence[Conflict], mode: str) -> str:
    """What can be done about conflicts. A row that would break a constraint is nothing that could be skipped."""
    found = {begin for conflict in conflicts for begin in conflict.later}
    xids = [begin.xid for begin in sorted(found, key=lambda begin: begin.commit_lsn)]
    ways = []
    if xids and mode != "include":
        named = ", ".join(map(str, xids[:_MOST])) + (" and others" if len(xids) > _MOST else "")
        ways.append(f"take {named} back, too, with --conflicts include")
    if mode != "skip" and any(conflict.change for conflict in conflicts):
        ways.append("leave such rows out with --conflicts skip")
    text = ", or ".join(ways) or "choose among the changes with --table, --key and --kind"
    return f"{text[0].upper()}{text[1:]}."


def apply_to(target: str, plan: Plan, talk: Talk) -> int:
    """Run the plan on a database."""
    export_connection({"dbname": target})
    with connect(options=WRITING) as conn:
        apply(conn, plan, tell=talk.info)
    talk.info("done")
    return 0


def main(argv: list[str] | None = None) -> int:
    """Run the program; return its exit status."""
    stop_on_sigterm()
    return run(PROGRAM, body, argv)


if __name__ == "__main__":
    sys.exit(main())
