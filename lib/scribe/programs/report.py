"""scribe-report: all databases as one static HTML page."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from scribe.common import files
from scribe.common.cli import Parser, Talk, make_parser, run
from scribe.common.errors import ScribeError, UsageError
from scribe.health.instances import add_options
from scribe.health.overviews import add_looks, look_at, write_json
from scribe.health.page import write_page

PROGRAM = "scribe-report"
EPILOG = """\
The page needs nothing but itself: no network, no script. For each database it shows what is wrong and what to do, what
can be restored, with its gaps, bases, verifications and rehearsals, size and growth, and what changed by day and table.
It is made from the manifests, and with every check of scribe-check that writes nothing; --json prints the same figures.

Exit status: 0 done, whatever the databases' state; 1 failed; 2 wrong use or configuration.
"""


def make_arguments() -> Parser:
    """Return the parser."""
    parser = make_parser(PROGRAM, "Write one HTML page about all databases.", EPILOG)
    add_options(parser)
    add_looks(parser)
    there = 'write there, in one step; "-" is standard output'
    parser.add_argument("-o", "--output", metavar="FILE", help=there)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON instead")
    return parser


def body(argv: list[str]) -> int:
    """Run the program; return its exit status."""
    arguments = make_arguments().parse_args(argv)
    if arguments.output is None and not arguments.json:
        raise UsageError("no file is named for the page", f'Name it: "{PROGRAM} -o report.html".')
    now = time.time()
    databases = look_at(arguments)
    text = write_json(databases, now) if arguments.json else write_page(databases, now)
    if arguments.output in (None, "-"):
        print(text, end="")
        return 0
    try:
        files.write_output(Path(arguments.output), text.encode())
    except OSError as error:
        raise ScribeError(f'could not write "{arguments.output}": {error.strerror}') from None
    Talk(PROGRAM, arguments).note(f"wrote {len(databases)} databases to {arguments.output}")
    return 0


def main(argv: list[str] | None = None) -> int:
    """Run the program; return its exit status."""
    return run(PROGRAM, body, argv)


if __name__ == "__main__":
    sys.exit(main())
