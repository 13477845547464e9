"""scribe-globals: roles, tablespaces and their settings as SQL."""

from __future__ import annotations

import sys

from scribe.archive.layout import Archive
from scribe.common.cli import Parser, Talk, make_parser, prepare, run
from scribe.common.postgres import connect
from scribe.source.metadata import dump_globals, refresh_globals
from scribe.source.server import check_identity, inspect, open_source

PROGRAM = "scribe-globals"
EPILOG = """\
Stores a new file only when something changed since the newest one in the archive; prints the new file's name.
Run the file with psql, without ON_ERROR_STOP: a role that exists is no error.

Exit status: 0 done, changed or not; 1 failed; 2 wrong use or configuration; 75 try again later (server away).
"""


def body(argv: list[str]) -> int:
    """Run the program; return its exit status."""
    arguments = make_arguments().parse_args(argv)
    settings = prepare(arguments)
    talk = Talk(PROGRAM, arguments)
    if arguments.stdout:
        with connect() as conn:
            sys.stdout.buffer.write(dump_globals(conn, talk.warn))
        return 0
    archive = Archive(settings.archive)
    identity = archive.identity()
    with open_source(identity) as conn:
        check_identity(inspect(conn), identity)
        path = refresh_globals(archive, conn, talk.warn, dry_run=arguments.dry_run)
    if path is None:
        talk.note("nothing changed")
    else:
        print(f"would store {path}" if arguments.dry_run else path)
    return 0


def make_arguments() -> Parser:
    """Return the parser."""
    parser = make_parser(PROGRAM, "Store roles, tablespaces and their settings as SQL, if they changed.", EPILOG)
    parser.add_argument("--stdout", action="store_true", help="print them instead; needs no archive")
    parser.add_argument("-n", "--dry-run", action="store_true", help="print what would be done, and do nothing")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the program; return its exit status."""
    return run(PROGRAM, body, argv)


if __name__ == "__main__":
    sys.exit(main())
