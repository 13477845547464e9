"""scribe-compact: old segments joined into one for each day, then month, proved to restore equal."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from scribe.archive.joining import Ages, Plan, Run, make_plan
from scribe.archive.layout import Archive
from scribe.archive.retention import read_contents
from scribe.archive.shipping import Outbox
from scribe.common.cli import Parser, Talk, make_parser, prepare, run, stop_on_sigterm
from scribe.common.errors import FAILED, ScribeError
from scribe.common.lsn import format_lsn
from scribe.common.settings import Settings
from scribe.decoders.registry import decoder_of
from scribe.offsite.sync import send, unsent
from scribe.programs import restore
from scribe.restore.compaction import Done, Wanted, alone, clear, compact
from scribe.restore.launcher import find_launcher

PROGRAM = "scribe-compact"
EPILOG = """\
Of each day (UTC) whose segments are all older than SCRIBE_KEEP_EXACT_DAYS days, the segments become one, in the same
form, which psql alone runs as well: consecutive small transactions by their net effects, and what cannot be joined as
it stands. Its ends stay points to restore to; those between are given up, and "scribe-restore --list" shows where.
Months (UTC) all of which is older than SCRIBE_KEEP_DAILY_DAYS days become one in the same way. Days are counted back
from the newest file.

Three throw-away clusters are made, one after the other, with the base that leads there: in the first, the joined
segments are written; the second is restored from the segments as they are, the third from the joined ones. If the two
are not equal at the end of each day or month (rows, schema, sequences, large objects, roles), nothing takes the place
of its segments, nor of those after it. Else the joined one does, in one step, and they are removed.

What stays as it is: the newest segment, what has not been sent yet (SCRIBE_REMOTE, SCRIBE_ARCHIVE_COMMAND), segments
with a mark of an operator's, and what no base leads to. Nothing is joined across the point of a base or a gap.

Exit status: 0 done; 1 failed, or something did not restore to the same and stays as it was; 2 wrong use or
configuration; 75 the archive is in use: try again later.
"""


def make_arguments() -> Parser:
    """Return the parser."""
    parser = make_parser(PROGRAM, "Join old segments into one for each day, then month.", EPILOG)
    parser.add_argument("--archive", metavar="DIR", help="the archive (default: $SCRIBE_ARCHIVE)")
    parser.add_argument("--directory", metavar="DIR", help="where throw-away clusters are made (default: $TMPDIR)")
    parser.add_argument(
        "--launcher", metavar="SOCKET", help="who makes them, as another user (default: the installed one, if any)"
    )
    parser.add_argument("-n", "--dry-run", action="store_true", help="print what would be joined, and do nothing")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    return parser


def body(argv: list[str]) -> int:
    """Run the program; return its exit status."""
    arguments = make_arguments().parse_args(argv)
    settings = prepare(arguments, {"SCRIBE_ARCHIVE": arguments.archive})
    archive = Archive(settings.archive)
    identity = archive.identity()
    if decoder_of(identity).points != "transaction":
        hint = "Its segments stay as they are; scribe-prune removes them when they are old enough."
        raise ScribeError(f"could not join segments of {identity['decoder']}: it tells no exact points", hint)
    talk = Talk(PROGRAM, arguments)
    if arguments.dry_run:
        report(look(archive, settings), None, arguments)
        return 0
    with alone(archive):
        if removed := clear(archive):
            talk.note(f"removed {removed} files that an earlier run had left")
        plan = look(archive, settings)
        done = compact(archive, identity, plan, wanted(arguments, settings), talk)
        report(plan, done, arguments)
    for fault in done.faults:
        talk.warn(f"{fault}; they stay as they are")
    if done.joined:
        send(archive, settings, talk)
    return FAILED if done.faults else 0


def look(archive: Archive, settings: Settings) -> Plan:
    """Return what is to be joined. Raises ScribeError."""
    command = settings["SCRIBE_ARCHIVE_COMMAND"]
    waiting = [
        *unsent(archive, settings["SCRIBE_REMOTE"] or ()),
        *(Outbox(archive, command).waiting() if command else []),
    ]
    ages = Ages(settings["SCRIBE_KEEP_EXACT_DAYS"], settings["SCRIBE_KEEP_DAILY_DAYS"])
    return make_plan(archive, read_contents(archive, archive.identity()), ages, waiting)


def wanted(arguments: argparse.Namespace, settings: Settings) -> Wanted:
    """Return how it is to be done."""
    return Wanted(
        # what was joined is compared with what every statement in its turn ends in
        argparse.Namespace(**vars(restore.make_arguments().parse_args(["--serial"])) | {"quiet": arguments.quiet}),
        arguments.directory,
        find_launcher(arguments.launcher) if arguments.directory is None else None,
        settings["SCRIBE_COMPRESS"] == "zstd",
        settings["SCRIBE_ARCHIVE_COMMAND"],
    )


def describe(each: Run) -> dict[str, Any]:
    """Return what --json says of a run."""
    return {
        "day" if each.period.count("-") == 2 else "month": each.period,
        "base": each.base.stamp,
        "segments": len(each.segments),
        "from_lsn": format_lsn(each.from_lsn),
        "to_lsn": format_lsn(each.to_lsn),
        "bytes": each.bytes,
    }


def report(plan: Plan, done: Done | None, arguments: argparse.Namespace) -> None:
    """Print what was joined, or would be, and what stays although it is old enough."""
    made = {each.stem: segment for each, segment in done.joined} if done else {}
    entries = [describe(each) for each in plan.runs]
    for entry, each in zip(entries, plan.runs, strict=True):
        if each.stem in made:
            entry |= {"file": made[each.stem].data.name, "joined_bytes": made[each.stem].manifest["bytes"]}
    left = [{"file": each.segment.data.name, "reason": each.reason} for each in plan.left]
    if arguments.json:
        print(json.dumps({"dry_run": done is None, "runs": entries, "left": left}, indent=2))
        return
    for each, entry in zip(plan.runs, entries, strict=True):
        what = f"{each.period}: {entry['segments']} segments of {_size(entry['bytes'])}"
        if "file" in entry:
            print(f"joined {what} into {entry['file']} of {_size(entry['joined_bytes'])}")
        elif done is None:
            print(f"would join {what}, from {entry['from_lsn']} to {entry['to_lsn']}, proved from base {entry['base']}")
    for one in left:
        print(f"leave  {one['file']}: {one['reason']}")


def _size(number: int) -> str:
    return f"{number / (1 << 20):.1f} MB" if number >= 1 << 20 else f"{number / (1 << 10):.1f} kB"


def main(argv: list[str] | None = None) -> int:
    """Run the program; return its exit status."""
    stop_on_sigterm()
    return run(PROGRAM, body, argv)


if __name__ == "__main__":
    sys.exit(main())
