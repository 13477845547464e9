"""scribe-sync: bring object stores to what the archive holds."""

from __future__ import annotations

import json
import sys

from scribe.archive.layout import Archive
from scribe.common.cli import Parser, Talk, make_parser, prepare, run, stop_on_sigterm
from scribe.common.errors import FAILED, TryAgainError, UsageError
from scribe.common.settings import parse_positive, parse_urls
from scribe.offsite.sync import JOBS, Look, sync

PROGRAM = "scribe-sync"
EPILOG = """\
Looks at what is in each place of SCRIBE_REMOTE and sends what is missing there, whatever the reason: a new place gets
everything, and an object that was lost comes again. scribe-rotate and scribe-dump do the same for what they finish.
Nothing is overwritten and nothing removed, so it works with buckets whose objects are locked. With SCRIBE_ENCRYPT_TO,
files are encrypted with age before they leave the host; manifests stay readable. Credentials come from the environment,
as the store's own tools have it (AWS_ACCESS_KEY_ID, ...).

Exit status: 0 every place is complete; 1 a file could not be sent, or with --dry-run, something is missing; 2 wrong use
or configuration; 75 a place could not be reached, or another run is at work: try again.
"""


def make_arguments() -> Parser:
    """Return the parser."""
    parser = make_parser(PROGRAM, "Bring object stores to what the archive holds.", EPILOG)
    parser.add_argument("--to", metavar="URL", help="this place alone (default: every one of SCRIBE_REMOTE)")
    parser.add_argument("-j", "--jobs", metavar="N", default=str(JOBS), help=f"files sent at once (default {JOBS})")
    parser.add_argument("-n", "--dry-run", action="store_true", help="print what is missing, and send nothing")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser


def body(argv: list[str]) -> int:
    """Run the program; return its exit status."""
    arguments = make_arguments().parse_args(argv)
    settings = prepare(arguments)
    archive = Archive(settings.archive)
    archive.identity()
    talk = Talk(PROGRAM, arguments)
    try:
        urls = parse_urls(arguments.to) if arguments.to else settings["SCRIBE_REMOTE"] or ()
        jobs = parse_positive(arguments.jobs)
    except ValueError as error:
        raise UsageError(str(error), f'Try "{PROGRAM} --help".') from None
    if not urls:
        raise UsageError("no place is named", "Set SCRIBE_REMOTE, for instance to s3://bucket/prefix, or use --to.")
    silent = arguments.json or not (arguments.dry_run or arguments.verbose)
    looks = sync(
        archive,
        urls,
        settings["SCRIBE_ENCRYPT_TO"] or (),
        dry_run=arguments.dry_run,
        jobs=jobs,
        tell=(lambda text: None) if silent else print,
    )
    if arguments.json:
        print(json.dumps([look.as_json() | {"sent": look.sent, "sent_bytes": look.sent_bytes} for look in looks]))
    return tell(looks, arguments.dry_run, talk)


def tell(looks: list[Look], dry_run: bool, talk: Talk) -> int:
    """Say what was found and done; return the exit status. Raises ScribeError, what cannot be waited for first."""
    faults = [look.fault for look in looks if look.fault is not None]
    worst = next((fault for fault in faults if not isinstance(fault, TryAgainError)), next(iter(faults), None))
    for look in looks:
        number, size = len(look.missing) + len(look.replaced), sum(item.size for item in look.missing)
        if look.fault is not None:
            if look.fault is not worst:
                talk.warn(look.fault.message)
        elif dry_run:
            talk.info(f"would send {number} files, {size} bytes, to {look.url}")
        else:
            talk.note(f"sent {look.sent} files, {look.sent_bytes} bytes, to {look.url}")
    if worst is not None:
        raise worst
    return FAILED if dry_run and any(look.missing or look.replaced for look in looks) else 0


def main(argv: list[str] | None = None) -> int:
    """Run the program and return its exit status."""
    stop_on_sigterm()
    return run(PROGRAM, body, argv)


if __name__ == "__main__":
    sys.exit(main())
