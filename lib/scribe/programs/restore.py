"""scribe-restore: a base and its segments into a new database, to the end of the archive or to a point in time."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Mapping
from typing import Any

from scribe.archive.chains import Chain, find_chains, joined_segments
from scribe.archive.layout import Archive, Segment
from scribe.common import files
from scribe.common.cli import Parser, Talk, make_parser, parse_wait, prepare, run, stop_on_sigterm
from scribe.common.errors import UsageError
from scribe.common.lsn import format_lsn, parse_lsn
from scribe.common.postgres import connect, export_connection
from scribe.common.printable import printable
from scribe.offsite.mirror import find_archive
from scribe.restore.copies import Source
from scribe.restore.difference import Comparison
from scribe.restore.difference_script import describe
from scribe.restore.following import Following
from scribe.restore.parts import PartRestore, is_part
from scribe.restore.replay import Place
from scribe.restore.restoration import Restore
from scribe.restore.selection import check_patterns
from scribe.source.server import emit_mark

PROGRAM = "scribe-restore"
LOCK_WAIT = 60.0  # seconds for scribe-prune to end
_EPILOG = """\
The server is the one that libpq's environment or -h and -p name; PGDATABASE is ignored. archive.json alone says what
is restored. Times without a zone are read in the target server's time zone; a time target stops before the first
transaction committed after it, an LSN target before the first whose commit record starts after it.

--table and --schema restore part of the database, as it was at the point, into a database that exists (the source is
allowed): in one transaction, refusing what is there already, and naming what the objects need and the database lacks,
such as functions, types, and tables that foreign keys refer to. A partitioned table comes with its partitions. What
refers to the objects is named and left out; with --with-dependents it comes along: views, foreign keys of other tables,
functions of their rows, statistics, and their places in publications that the database has. The schema with all its
changes, and the rows that the part needs, are restored into a throw-away cluster first, as by "scribe-verify
--rehearse", and pg_dump takes the objects from there; times without a zone are read by --stdout in that cluster's. If
rows of other tables may decide what is in the part, that is reported and everything is restored there, as with --whole:
it takes as long as a whole restore, and room for one.

--diff prints SQL that turns the database at one point (--from-time and its like) into that at another (--target-time
and its like; the end): the source's statements on the schema, as far as they are needed, and statements on rows, by
their primary key, net of all that came between; sequences and large objects, too. Both points are restored into
throw-away clusters, and what is printed has been run there and compared. It runs, by a superuser, on a database that
stands at the first point; with --table or --schema on any in which the rows are the same. If the second point is the
earlier one, the schema has to be the same. What the archive lacks in between is named, and the exit status is 1 then.

--follow restores into a new database, or goes on with one that --follow or a restore to the end has left, and then
applies what arrives: finished segments, and from the spool of the archive's directory the transactions that are whole
there. SIGTERM ends it after what it is applying. The copy can be read meanwhile; nobody may write to it. --promote is
for a copy that nobody follows just then: it applies what is left, up to the LSN that is named, sets sequences behind no
row, lets event triggers fire, drops the schema scribe and with it the mark that --resume and --follow need. Run
"scribe-rotate --wait-lsn current" before it, so that sequences are exactly where they were.

Exit status: 0 restored; 1 failed or refused; 2 wrong use; 75 server away or target locked: try again
"""


def make_arguments() -> Parser:
    """Return the parser."""
    parser = make_parser(PROGRAM, "Restore an archive into a new database.", _EPILOG, source=False)
    parser.add_argument("-d", "--dbname", metavar="TARGET", help="database to restore into (with --mark: the source)")
    parser.add_argument("--archive", metavar="DIR|URL", help="the archive (default: $SCRIBE_ARCHIVE)")
    parser.add_argument(
        "-j", "--jobs", type=_positive, default=1, metavar="N", help="connections over which a base is restored"
    )
    parser.add_argument(
        "--batch",
        type=_positive,
        default=2,
        metavar="MB",
        help="of small transactions whose net effects are sent at once (default: 2); memory grows with it",
    )
    ways = parser.add_mutually_exclusive_group()
    ways.add_argument("--net", action="store_true", help="replay the net effects of small transactions (default)")
    ways.add_argument("--serial", action="store_true", help="send every statement as it stands, over one connection")
    parser.add_argument("--json", action="store_true", help="print the report as JSON on stdout")
    add_points(parser)
    _add_parts(parser)
    _add_objects(parser)
    modes = parser.add_argument_group("instead of a new restore")
    chosen = modes.add_mutually_exclusive_group()
    chosen.add_argument("--resume", action="store_true", help="go on with a restore that was interrupted, or further")
    chosen.add_argument(
        "--follow", action="store_true", help="restore, or go on with a restore, and apply what arrives until SIGTERM"
    )
    chosen.add_argument("--promote", action="store_true", help="make a copy that follows a database of its own")
    chosen.add_argument("--list", action="store_true", help="print what is reachable")
    chosen.add_argument(
        "--diff", action="store_true", help="print SQL that turns the first point's database into the target's"
    )
    chosen.add_argument("--plan", action="store_true", help="print shell commands that do the same with psql alone")
    chosen.add_argument("--mark", metavar="NAME", help="write a named point into the source's stream; prints its LSN")
    chosen.add_argument("-n", "--dry-run", action="store_true", help="check everything, restore nothing")
    _add_following(parser)
    _add_difference(parser)
    return parser


def _add_following(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("a copy that follows")
    group.add_argument(
        "--interval",
        metavar="SECONDS",
        type=_interval,
        default=0.5,
        help="with --follow: between looks for something new (default: 0.5)",
    )
    group.add_argument(
        "--wait-lsn", metavar="LSN", type=_lsn, help="with --promote: once all is applied that was committed before LSN"
    )
    group.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=parse_wait,
        default=60.0,
        help="with --promote: without anything to apply, before that is given up (default: 60)",
    )


def _add_difference(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what differs (with --diff)")
    point = group.add_mutually_exclusive_group()
    point.add_argument("--from-time", metavar="TIME", help="first point: the last transaction committed by then")
    point.add_argument(
        "--from-lsn", metavar="LSN", type=_lsn, help="the last transaction whose commit record starts by then"
    )
    point.add_argument("--from-xid", metavar="XID", type=_positive, help="this transaction")
    point.add_argument("--from-name", metavar="NAME", help="the point written by --mark NAME")
    group.add_argument("--from-exclusive", action="store_true", help="the first point is just before that")
    group.add_argument("--stat", action="store_true", help="print numbers instead of SQL")


def add_points(parser: argparse.ArgumentParser) -> None:
    """Add what says how far an archive is to be applied."""
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
    group.add_argument(
        "--base", metavar="STAMP", default="latest", help="begin with this base (default: the latest that will do)"
    )
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


def _add_parts(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what is restored")
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


def _add_objects(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("part of the database")
    group.add_argument(
        "--table",
        metavar="PATTERN",
        action="append",
        default=[],
        help="these tables, views or sequences, named as in psql: table, schema.table, * for any text; repeatable",
    )
    group.add_argument(
        "--schema",
        metavar="PATTERN",
        action="append",
        default=[],
        help="everything in these schemas; with --table, its tables of these schemas; repeatable",
    )
    whole = "restore everything into the throw-away cluster first, and not only what the part needs"
    group.add_argument("--whole", action="store_true", help=whole)
    dependents = "also what refers to them: views, foreign keys of other tables, publications, functions of their rows"
    group.add_argument("--with-dependents", action="store_true", help=dependents)
    group.add_argument("--into-schema", metavar="NAME", help="put the objects into this schema")
    group.add_argument("--stdout", action="store_true", help="print them as SQL, instead of -d")
    group.add_argument("--directory", metavar="DIR", help="where the throw-away cluster is made (default: $TMPDIR)")


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("a whole number of at least 1 is expected")
    return int(text)


def _interval(text: str) -> float:
    seconds = parse_wait(text)
    if not 0.01 <= seconds <= 3600:
        raise argparse.ArgumentTypeError("seconds between 0.01 and 3600 are expected")
    return seconds


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
    archive = find_archive(settings)
    identity = archive.known_identity()
    if arguments.list:
        return list_points(find_chains(archive, identity), arguments)
    if wants_difference(arguments):
        return print_difference(archive, identity, arguments, talk)
    if is_following(arguments):
        if arguments.dbname is None:
            arguments.dbname = settings["SCRIBE_FOLLOW"]
        if arguments.dbname is None:
            hint = 'Name it with -d, as in "scribe-restore --follow -d shop_copy", or set SCRIBE_FOLLOW.'
            raise UsageError("no database is named that is to follow", hint)
        Following(archive, identity, arguments, talk).run()
        return 0
    with files.DirectoryLock(archive.path, "scribe-prune removes files", shared=True, wait=LOCK_WAIT):
        kind = PartRestore if is_part(arguments) else Restore
        report = kind(archive, identity, arguments, talk).run()
    if report is not None:
        tell(report, arguments, talk)
    return 0


_FIRST = {"from_time": "target_time", "from_lsn": "target_lsn", "from_xid": "target_xid", "from_name": "target_name"}


def wants_difference(arguments: argparse.Namespace) -> bool:
    """Whether two points are to be compared. Raises UsageError for what cannot be meant."""
    first = any(getattr(arguments, name) is not None for name in _FIRST)
    if not arguments.diff:
        if first or arguments.from_exclusive or arguments.stat:
            raise UsageError("--from-* and --stat are for --diff", "Add --diff, or name the point with --target-*.")
        return False
    if not first:
        hint = "Name it with --from-time, --from-lsn, --from-xid or --from-name; --target-* names the second."
        raise UsageError("--diff needs a first point", hint)
    check_patterns(arguments.schema, arguments.table, None)
    given = {"-d": arguments.dbname, "--include-spool": arguments.include_spool, "--stdout": arguments.stdout}
    given |= {"--into-schema": arguments.into_schema, "--with-dependents": arguments.with_dependents}
    for flag, value in given.items():
        if value:
            raise UsageError(f"--diff excludes {flag}", "The difference is printed; no database is changed.")
    return True


def print_difference(archive: Archive, identity: Mapping[str, Any], arguments: argparse.Namespace, talk: Talk) -> int:
    """Print what differs between two points; return the exit status."""
    kept = {name: getattr(arguments, name) for name in ("base", "skip", "quiet", "verbose")}
    defaults = argparse.Namespace(**vars(make_arguments().parse_args([])) | kept)
    second = {name: getattr(arguments, name) for name in (*_FIRST.values(), "target_exclusive")}
    first = {target: getattr(arguments, name) for name, target in _FIRST.items()}
    first["target_exclusive"] = arguments.from_exclusive
    source = Source(archive, identity, defaults, talk)
    found = Comparison(source, arguments.directory, arguments.table, arguments.schema).run(first, second)
    if arguments.stat:
        print("\n".join(map(printable, describe(found))))
    else:
        shutil.copyfileobj(found.sql, sys.stdout.buffer)
        sys.stdout.buffer.flush()
        if not found:
            talk.info("no difference")
    for each in found.left:
        talk.warn(f"not in the difference: {each}")
    return 1 if found.left else 0


def is_following(arguments: argparse.Namespace) -> bool:
    """Whether a copy that follows is wanted, or its promotion. Raises UsageError for what cannot be meant."""
    if arguments.wait_lsn is not None and not arguments.promote:
        raise UsageError("--wait-lsn is for --promote", "Add --promote, or restore to a point with --target-lsn.")
    if not (arguments.follow or arguments.promote):
        return False
    if is_part(arguments):
        hint = "Leave out --table and --schema: a copy that follows is of the whole database."
        raise UsageError("a part of a database cannot follow", hint)
    return True


def tell(report: Mapping[str, Any], arguments: argparse.Namespace, talk: Talk) -> None:
    """Print what a restore did."""
    if arguments.json:
        print(json.dumps(report, indent=2))
    reached = f" ({report['reached_time']})" if report["reached_time"] else ""
    passed = f"; passed over: {len(report['skipped'])}" if report["skipped"] else ""
    talk.info(
        f"{describe_outcome(report)} {report['reached_lsn']}{reached} from base {report['base']}:"
        f" {report['transactions']} transactions, {report['rows']} rows, {report['ddl']} DDL in {report['seconds']} s"
        f"{passed}"
    )


def describe_outcome(report: Mapping[str, Any]) -> str:
    """Return what was restored, and where to."""
    database = f'database "{report["database"]}"'
    if "objects" not in report:
        return f"restored {database} to"
    number = f"{len(report['objects'])} objects"
    return f"printed {number} as at" if report["database"] is None else f"restored {number} into {database} as at"


# Marks and lists


def write_mark(arguments: argparse.Namespace) -> int:
    """Write a named point into the source's stream and print its LSN."""
    name: str = arguments.mark
    if not (0 < len(name) <= 63 and all(c.isascii() and (c.isalnum() or c in "._-") for c in name)):
        raise UsageError(f'invalid mark "{name}"', 'Use at most 63 letters, digits, ".", "_" and "-".')
    export_connection({"dbname": arguments.dbname})
    with connect() as conn:
        print(emit_mark(conn, name))
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
        for segment in joined_segments([chain]):
            print(f"{'':<18}points given up: {describe_joined(segment)}")
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
        "joined": [
            {"from_lsn": s.manifest["from_lsn"], "to_lsn": s.manifest["to_lsn"], "segments": s.joined["segments"]}
            for s in chain.segments
            if s.joined is not None
        ],
        "hole": chain.hole,
    }


def describe_joined(segment: Segment) -> str:
    """Return between which points scribe-compact has given up those of a segment."""
    assert segment.joined is not None
    within = f" ({segment.joined_times[0]} to {segment.joined_times[1]})" if segment.joined["first_commit_lsn"] else ""
    return (
        f"between {format_lsn(segment.from_lsn)} and {format_lsn(segment.to_lsn)}{within},"
        f" {segment.joined['segments']} segments in one"
    )


def main(argv: list[str] | None = None) -> int:
    """Run the program and return its exit status."""
    stop_on_sigterm()
    return run(PROGRAM, body, argv)


if __name__ == "__main__":
    sys.exit(main())
