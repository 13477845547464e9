"""scribe-verify: checks checksums and continuity, and rehearses a restore."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scribe.archive.layout import Archive
from scribe.archive.verification import Outcome, Verification, read_result
from scribe.common import files
from scribe.common.cli import Parser, Talk, make_parser, prepare, run, stop_on_sigterm
from scribe.common.errors import FAILED, UsageError
from scribe.common.printable import printable
from scribe.common.settings import parse_percent
from scribe.offsite.mirror import find_archive
from scribe.restore.launcher import find_launcher, serve
from scribe.restore.rehearsal import Rehearsal, rehearse

PROGRAM = "scribe-verify"
LOCK_WAIT = 60.0  # seconds for scribe-prune to end
EPILOG = """\
Prints one line for each fault: the file, what is wrong with it, what to do. Reads every file and compares it with the
checksums in its manifest, as it is stored and as the SQL in it; with --read 10% each run reads those that have gone
unread the longest, so that ten runs read everything. What is known of every file is in ARCHIVE/verify.json.

--rehearse restores the newest base and its segments into a throw-away cluster, made by the initdb on PATH (or of the
newest PostgreSQL installed) and run as the system's user postgres where the program is run by root. It compares
every table's rows with those counted on the source when the base was taken; rows and schema with what the last
"scribe-rotate --record" recorded, at exactly that point (the schema only where pg_dump and server have the same major
version as then); and the sequences with those recorded at the last rotation. The result is in ARCHIVE/rehearsal.json.
The source is not touched.

Exit status: 0 all is good; 1 a fault was found; 2 wrong use or configuration; 75 the archive is in use: try again.
"""


def make_arguments() -> Parser:
    """Return the parser."""
    parser = make_parser(PROGRAM, "Check an archive, and rehearse its restore.", EPILOG)
    parser.add_argument("--archive", metavar="DIR|URL", help="the archive (default: $SCRIBE_ARCHIVE)")
    parser.add_argument("--read", metavar="all|N%", default="all", help="how much of all bytes to read (default: all)")
    parser.add_argument(
        "--rehearse", action="store_true", help="restore into a throw-away cluster instead, and compare"
    )
    parser.add_argument("--directory", metavar="DIR", help="where the throw-away cluster is made (default: $TMPDIR)")
    parser.add_argument(
        "--launcher",
        metavar="SOCKET",
        help="who makes it, as another user (default: the installed one, if any)",
    )
    parser.add_argument("--launch", action="store_true", help="be the launcher: orders come from standard input")
    parser.add_argument("-j", "--jobs", metavar="N", default="1", help="connections over which a base is restored")
    parser.add_argument("-n", "--dry-run", action="store_true", help="do not write the result into the archive")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    return parser


def read_share(text: str) -> int:
    """Return the percentage that --read names. Raises UsageError."""
    try:
        return 100 if text == "all" else parse_percent(text)
    except ValueError:
        raise UsageError(f'invalid value "{text}" for --read', 'Give "all", or a percentage such as "10%".') from None


@contextlib.contextmanager
def locks(archive: Archive, name: str) -> Iterator[None]:
    """Keep retention and a second run away. Raises TryAgainError. An archive that may not be written is only read."""
    with contextlib.ExitStack() as stack:
        directory = files.DirectoryLock(archive.path, "scribe-prune removes files", shared=True, wait=LOCK_WAIT)
        stack.enter_context(directory)
        with contextlib.suppress(OSError):
            stack.enter_context(files.Lock(archive.spool / name, "another scribe-verify is at work"))
        yield


def save(path: Path, value: dict[str, Any], talk: Talk) -> None:
    """Write a result where scribe-check reads it; that the archive cannot be written is said and no fault."""
    try:
        files.write_json(path, value)
    except OSError as error:
        talk.warn(f'could not write "{path}": {error.strerror}; scribe-check will not know of this run')


def verify(archive: Archive, percent: int, arguments: argparse.Namespace, talk: Talk) -> int:
    """Check the archive, print and save what was found."""
    path = archive.results / "verify.json"
    with locks(archive, "verify.lock"):
        check = Verification(archive, read_result(path), percent)
        outcome = check.run()
        value = describe(outcome, check.now)
        if not arguments.dry_run:
            save(path, value, talk)
    if arguments.json:
        report = {key: item for key, item in value.items() if key not in ("read", "newest", "bad")}
        report["faults"] = [vars(fault) for fault in outcome.faults]
        print(json.dumps(report, indent=2))
    else:
        for fault in outcome.faults:
            print(printable(str(fault)))
        for note in outcome.notes:
            talk.info(note)
    faults = f"faults: {len(outcome.faults)}"
    talk.note(f"read {outcome.files} files, {outcome.bytes} bytes; {faults}")
    return FAILED if outcome.faults else 0


def describe(outcome: Outcome, now: str) -> dict[str, Any]:
    """Return what verify.json says."""
    return {
        "time": now,
        "ok": not outcome.faults,
        "files": outcome.files,
        "bytes": outcome.bytes,
        "faults": [str(fault) for fault in outcome.faults],
        "notes": outcome.notes,
        "newest": outcome.newest,
        "bad": outcome.bad,
        "read": outcome.read,
    }


def practise(archive: Archive, arguments: argparse.Namespace, talk: Talk) -> int:
    """Rehearse a restore, print and save what came of it."""
    with locks(archive, "rehearsal.lock"):
        archive.fetch(needed_files(archive))
        result = rehearse(
            archive,
            talk,
            directory=arguments.directory,
            jobs=arguments.jobs,
            launcher=find_launcher(arguments.launcher) if arguments.directory is None else None,
        )
        if not arguments.dry_run:
            save(archive.results / "rehearsal.json", result.as_json(), talk)
    if arguments.json:
        print(json.dumps(result.as_json(), indent=2))
    else:
        for line in result.differences:
            print(printable(line))
        talk.info(summarize(result))
    return FAILED if result.differences else 0


def needed_files(archive: Archive) -> Iterator[Path]:
    """Yield what a rehearsal reads: the newest base, and the segments after it."""
    for base in archive.bases()[-1:]:
        yield from (base.path / entry["name"] for entry in base.manifest["files"])
        yield from (s.data for s in archive.segments() if s.to_lsn > base.consistent_point)


def summarize(result: Rehearsal) -> str:
    """Return a rehearsal in one line."""
    outcome = "as recorded" if not result.differences else f"differences: {len(result.differences)}"
    reached = f"base {result.base} to {result.reached_lsn or 'nowhere'}"
    return (
        f"rehearsed {reached} in {result.seconds:.1f} s: {outcome}; compared: {'; '.join(result.compared) or 'nothing'}"
    )


def body(argv: list[str]) -> int:
    """Run the program; return its exit status."""
    arguments = make_arguments().parse_args(argv)
    if arguments.launch:
        serve(sys.stdin, sys.stdout, arguments.directory)
        return 0
    percent = read_share(arguments.read)
    settings = prepare(arguments, {"SCRIBE_ARCHIVE": arguments.archive})
    archive = find_archive(settings)
    archive.known_identity()
    talk = Talk(PROGRAM, arguments)
    if arguments.rehearse:
        return practise(archive, arguments, talk)
    return verify(archive, percent, arguments, talk)


def main(argv: list[str] | None = None) -> int:
    """Run the program; return its exit status."""
    stop_on_sigterm()
    return run(PROGRAM, body, argv)


if __name__ == "__main__":
    sys.exit(main())
