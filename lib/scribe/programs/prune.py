"""scribe-prune: retention; what may go, and why. Deletes only when it can prove the rest still restores."""

from __future__ import annotations

import argparse
import json
import sys
from datetime import datetime
from typing import Any

from scribe.archive.layout import Archive, Segment
from scribe.archive.removal import prune, summarize
from scribe.archive.retention import Plan, Policy, Verdict
from scribe.common.cli import Parser, Talk, make_parser, prepare, run, stop_on_sigterm
from scribe.common.errors import FAILED, UsageError
from scribe.common.printable import printable
from scribe.offsite.mirror import Mirror, find_archive
from scribe.offsite.retention import prune_store
from scribe.offsite.sync import unsent

PROGRAM = "scribe-prune"
EPILOG = """\
Prints one line and the reason for every base, segment and globals file; removes nothing without --confirm.

What stays: every point of the last SCRIBE_KEEP_INCREMENTAL_DAYS days, so the newest base older than that and every
segment after it; bases for SCRIBE_KEEP_BASE_DAYS days; then the first base of each month for SCRIBE_KEEP_MONTHLY
months. A base alone restores to its own consistent point. Days are counted back from the newest file. A base made from
the archive counts only while a base of the source's from before it, or a proof of its contents (when it was made, when
another was made of it, a rehearsal that began with it), is not older than SCRIBE_PROOF_DAYS days.

With the URL of a store (s3://bucket/prefix), the same policy is judged by what is in the store, and it goes from there;
scribe-sync does not send it again. The newest bases are fetched first, to prove that they restore. The credentials need
the right to remove objects: not those of the source's host, if whoever takes that must not reach the copy.

Exit status: 0 done; 1 nothing may be removed now, or what would stay is damaged; 2 wrong use or configuration;
75 the archive is in use: try again later.
"""


def make_arguments() -> Parser:
    """Return the parser."""
    parser = make_parser(PROGRAM, "Remove what the retention policy lets go.", EPILOG)
    parser.add_argument("--archive", metavar="DIR|URL", help="the archive (default: $SCRIBE_ARCHIVE)")
    parser.add_argument("--confirm", action="store_true", help="remove; without it, only print what would be")
    parser.add_argument("-n", "--dry-run", action="store_true", help="remove nothing (the default)")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    return parser


def parse(argv: list[str]) -> argparse.Namespace:
    """Return the flags. Raises UsageError."""
    arguments = make_arguments().parse_args(argv)
    if arguments.confirm and arguments.dry_run:
        raise UsageError("--confirm and --dry-run exclude each other")
    return arguments


def describe(archive: Archive, verdict: Verdict) -> dict[str, Any]:
    """Return what --json says of one file."""
    path = verdict.item.data if isinstance(verdict.item, Segment) else verdict.path
    return {
        "path": str(path.relative_to(archive.path)),
        "kind": verdict.kind,
        "keep": verdict.keep,
        "reason": verdict.reason,
        "bytes": verdict.size,
    }


def report(archive: Archive, plan: Plan, policy: Policy, arguments: argparse.Namespace) -> None:
    """Print every verdict on stdout."""
    entries = [describe(archive, verdict) for verdict in plan.verdicts]
    if arguments.json:
        value = {"policy": str(policy), "removed": arguments.confirm, "hold": plan.hold, "files": entries}
        print(json.dumps(value, indent=2))
        return
    for entry in entries:
        print(printable(f"{'keep' if entry['keep'] else 'remove':<7}{entry['path']}: {entry['reason']}"))


def locked(until: datetime) -> str:
    """Return what to say of a store whose lock outlives the policy."""
    return f"the store locks what goes until {until:%Y-%m-%d %H:%M} UTC: till then it is hidden, and takes room"


def body(argv: list[str]) -> int:
    """Run the program; return its exit status."""
    arguments = parse(argv)
    settings = prepare(arguments, {"SCRIBE_ARCHIVE": arguments.archive})
    archive = find_archive(settings)
    policy = Policy.from_settings(settings)
    talk = Talk(PROGRAM, arguments)
    if isinstance(archive, Mirror):
        plan = prune_store(archive, policy, confirm=arguments.confirm, locked=lambda until: talk.warn(locked(until)))
    else:
        archive.identity()
        waiting = unsent(archive, settings["SCRIBE_REMOTE"] or ())
        plan = prune(archive, policy, settings["SCRIBE_ARCHIVE_COMMAND"], confirm=arguments.confirm, unsent=waiting)
    report(archive, plan, policy, arguments)
    if plan.hold is not None:
        talk.warn(f"nothing may be removed: {plan.hold}")
        return FAILED
    if arguments.confirm:
        talk.note(f"removed {summarize(plan)}")
    else:
        talk.info(f"policy: {policy}")
        talk.info(f"would remove {summarize(plan)}" + ("; add --confirm to do it" if plan.removals else ""))
    return 0


def main(argv: list[str] | None = None) -> int:
    """Run the program; return its exit status."""
    stop_on_sigterm()
    return run(PROGRAM, body, argv)


if __name__ == "__main__":
    sys.exit(main())
