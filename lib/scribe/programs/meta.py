"""scribe-meta: everything a reader needs years later, as JSON."""

from __future__ import annotations

import sys
from pathlib import Path

from scribe.archive.layout import Archive
from scribe.archive.manifest import check_value, write_manifest
from scribe.common.cli import Parser, json_ready, make_parser, prepare, run
from scribe.common.postgres import connect
from scribe.common.printable import json_text
from scribe.source.metadata import describe_database
from scribe.source.server import check_identity, inspect, open_source

PROGRAM = "scribe-meta"
EPILOG = """\
Writes ARCHIVE/meta.json, the newest state, in place of the older one; each base has its own meta.json, which stays.
schema/meta.schema.json describes it.

Exit status: 0 done; 1 failed; 2 wrong use or configuration; 75 try again later (server away).
"""


def make_arguments() -> Parser:
    """Return the parser."""
    parser = make_parser(PROGRAM, "Describe the database for a reader who has only the archive.", EPILOG)
    parser.add_argument("--stdout", action="store_true", help="print the description instead; needs no archive")
    parser.add_argument("-n", "--dry-run", action="store_true", help="print what would be done, and do nothing")
    return parser


def body(argv: list[str]) -> int:
    """Run the program; return its exit status."""
    arguments = make_arguments().parse_args(argv)
    settings = prepare(arguments)
    if arguments.stdout:
        with connect() as conn:
            value = describe_database(conn)
        check_value("meta", value, Path("meta.json"))
        print(json_text(value, default=json_ready), end="")
        return 0
    archive = Archive(settings.archive)
    identity = archive.identity()
    with open_source(identity) as conn:
        check_identity(inspect(conn), identity)
        value = describe_database(conn)
    path = archive.path / "meta.json"
    if arguments.dry_run:
        print(f"would write {path}")
    else:
        write_manifest("meta", path, value, exclusive=False)
        print(path)
    return 0


def main(argv: list[str] | None = None) -> int:
    """Run the program; return its exit status."""
    return run(PROGRAM, body, argv)


if __name__ == "__main__":
    sys.exit(main())
