"""scribe-stream: run pg_recvlogical under supervision, exactly once, until told to stop."""

from __future__ import annotations

import os
import sys

from scribe.archive.layout import Archive
from scribe.common.cli import Parser, Talk, make_parser, prepare, run
from scribe.decoders.registry import check_setting
from scribe.stream.supervision import Supervisor

PROGRAM = "scribe-stream"
EPILOG = """\
Stays in the foreground, for a supervisor of services to keep; tells systemd when it streams, and that it is alive. An
outage of the server is waited for. Its pg_recvlogical never outlives it.

Exit status: 0 stopped by a signal; 1 failed: the slot or the chain is lost; 2 wrong use or configuration, or there is
no archive; 75 the server is away at the first connection, or another scribe-stream is at work: try again later.
"""


def make_arguments() -> Parser:
    """Return the parser."""
    purpose = "Receive the source's changes into the archive's spool, until SIGTERM or SIGINT."
    return make_parser(PROGRAM, purpose, EPILOG)


def main(argv: list[str]) -> int:
    """Run the program."""
    arguments = make_arguments().parse_args(argv)
    settings = prepare(arguments)
    os.environ.setdefault("PGCONNECT_TIMEOUT", "30")  # seconds; a host that does not answer is an outage
    archive = Archive(settings.archive)
    check_setting(archive.identity(), settings)
    archive.create_directories()  # a spool that was deleted is made again; whether that broke the chain is then told
    Supervisor(archive, settings, Talk(PROGRAM, arguments)).run()
    return 0


if __name__ == "__main__":
    sys.exit(run(PROGRAM, main))
