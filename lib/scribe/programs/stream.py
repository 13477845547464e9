"""scribe-stream: run pg_recvlogical under supervision, exactly once, until told to stop."""

from __future__ import annotations

import os
import sys

from scribe.archive import Archive
from scribe.cli import Talk, make_parser, prepare, run
from scribe.stream import Supervisor

PROGRAM = "scribe-stream"


def main(argv: list[str]) -> int:
    """Run the program."""
    parser = make_parser(PROGRAM, "Receive the source's changes into the archive's spool, until SIGTERM or SIGINT.")
    arguments = parser.parse_args(argv)
    settings = prepare(arguments)
    os.environ.setdefault("PGCONNECT_TIMEOUT", "30")  # seconds; a host that does not answer is an outage
    archive = Archive(settings.archive)
    archive.identity()
    archive.create_directories()  # a spool that was deleted is made again; whether that broke the chain is then told
    Supervisor(archive, settings, Talk(PROGRAM, arguments)).run()
    return 0


if __name__ == "__main__":
    sys.exit(run(PROGRAM, main))
