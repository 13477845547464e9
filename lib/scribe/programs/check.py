"""scribe-check: the health of source and archive, for Nagios, Prometheus, other programs or a person."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from scribe.common import files
from scribe.common.cli import Parser, make_parser, run
from scribe.common.deadline import collect
from scribe.common.errors import UsageError
from scribe.health.checks import BY_NAME, CHECKS, Check
from scribe.health.examination import assemble, examine, read_range, time_for_children
from scribe.health.findings import Finding, State
from scribe.health.formats import FLEET_FORMATS, FORMATS, Fleet, Report, format_table, format_table_fleet, plain
from scribe.health.instances import add_options, are_wanted, find_instances, look_at_all

PROGRAM = "scribe-check"
NO_PASSWORD = "no password"  # what -w says when it stands alone
_EPILOG = """\
Exit status: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN (wrong use and settings too).

A RANGE is one of the plugin protocol, with units where they fit: "10" alerts outside 0 to 10, "10:" below 10,
"~:10" above 10, "10:20" outside, "@10:20" inside; "1GB", "24h", "80%".
Where one check is chosen, -w takes its range; -w alone is --no-password, as in psql.
The setting SCRIBE_CHECK_LIMITS="base-warning=26h disk-critical=90%%" holds any of the limits below; flags win."""


def make_arguments() -> Parser:
    """Return the parser."""
    parser = make_parser(PROGRAM, "Check the health of source and archive.", _EPILOG)
    own = parser.add_argument_group("what to check, and how to say it", conflict_handler="resolve")  # -w: a range here
    own.add_argument("--only", metavar="NAME,...", help="these checks (default: all)")
    own.add_argument("--list", action="store_true", help="print the names of the checks and what they assert")
    own.add_argument("-t", "--timeout", metavar="SECONDS", type=float, default=10.0, help="longest run (default: 10)")
    own.add_argument("--format", choices=sorted(FORMATS), help="default: table on a terminal, else nagios")
    own.add_argument("--archive", metavar="DIR|URL", help="the archive (default: $SCRIBE_ARCHIVE)")
    there = "write there, in one step; what is not OK is said in one line on stderr, too"
    own.add_argument("--output", metavar="FILE", type=Path, help=there)
    add_options(own)
    own.add_argument("--no-heartbeat", action="store_true", help="do not write a mark into the source's WAL")
    one = "where one check is chosen"
    own.add_argument("-w", "--warning", metavar="RANGE", nargs="?", const=NO_PASSWORD, help=one)
    own.add_argument("-c", "--critical", metavar="RANGE", help=one)
    limits = parser.add_argument_group("limits")
    for check in CHECKS:
        if check.unit:
            for level in ("warning", "critical"):
                flag = f"--{check.name.replace('_', '-')}-{level}"
                default = getattr(check, level) or "none"
                limits.add_argument(flag, metavar="RANGE", help=f"{check.unit} (default: {default})")
    return parser


def choose_checks(arguments: argparse.Namespace) -> list[Check]:
    """Return the checks wanted. Raises UsageError for a name that is none."""
    if not arguments.only:
        return [check for check in CHECKS if not (arguments.no_heartbeat and check.name == "heartbeat")]
    names = [name.strip().replace("-", "_") for name in arguments.only.split(",") if name.strip()]
    unknown = [name for name in names if name not in BY_NAME]
    if unknown or not names:
        raise UsageError(f'there is no check "{(unknown or [""])[0]}"', 'Run "scribe-check --list" to see the names.')
    return [check for check in CHECKS if check.name in names]


def read_limits(arguments: argparse.Namespace, checks: list[Check]) -> dict[str, dict[str, str]]:
    """Return the ranges given as flags: by the check's name, then by level. Raises UsageError."""
    given: dict[str, dict[str, str]] = {}
    for check in CHECKS:
        for level in ("warning", "critical") if check.unit else ():
            text = getattr(arguments, f"{check.name}_{level}")
            if text is not None:
                given.setdefault(check.name, {})[level] = read_range(check, level, text)
    for level in ("warning", "critical"):
        text = getattr(arguments, level)
        if text not in (None, NO_PASSWORD):
            if len(checks) != 1 or not checks[0].unit:
                what = "one check is chosen" if len(checks) != 1 else f'check "{checks[0].name}" measures something'
                raise UsageError(f"-{level[0]} takes a range only where {what}", 'Choose with "--only NAME".')
            given.setdefault(checks[0].name, {})[level] = read_range(checks[0], level, text)
    return given


def render(report: Report | Fleet, style: str) -> str:
    """Return what is known in a format."""
    width = shutil.get_terminal_size().columns
    if isinstance(report, Fleet):
        return format_table_fleet(report, width) if style == "table" else FLEET_FORMATS[style](report)
    return format_table(report, width) if style == "table" else FORMATS[style](report)


def publish(arguments: argparse.Namespace, report: Report | Fleet) -> None:
    """Print the report, or write it to a file in one step. Raises OSError."""
    style = arguments.format or ("table" if sys.stdout.isatty() and not arguments.output else "nagios")
    text = render(report, style)
    if arguments.quiet and style in ("nagios", "table"):
        text = text.splitlines(keepends=True)[0 if style == "nagios" else -1]
    if arguments.output is None:
        sys.stdout.write(text)
        sys.stdout.flush()
        return
    files.write_output(arguments.output, text.encode())  # what collects it is another user; nothing in it is secret
    if report.state and not arguments.quiet:
        print(render(report, "nagios").splitlines()[0].split(" | ")[0], file=sys.stderr)


def look(arguments: argparse.Namespace) -> Report | Fleet:
    """Return what is found, of one database or of all. Raises UsageError."""
    checks = choose_checks(arguments)
    given = read_limits(arguments, checks)
    started, timeout = time.time(), arguments.timeout
    seconds = time_for_children(timeout)

    def work(own: argparse.Namespace) -> Iterator[object]:
        return examine(own, checks, given, seconds * 0.8)

    if not are_wanted(arguments):
        return assemble(collect(lambda: work(arguments), seconds), checks, timeout, started)
    instances = find_instances(arguments)
    found = look_at_all(instances, arguments, work, seconds)
    reports = [(i.name, assemble(one, checks, timeout, started)) for i, one in zip(instances, found, strict=True)]
    return Fleet(reports, started, time.time() - started)


def main(argv: list[str]) -> int:
    """Run the program; return the state."""
    parser = make_arguments()
    arguments = parser.parse_args([])
    try:
        arguments = parser.parse_args(argv)
        if arguments.timeout <= 0:
            raise UsageError("the timeout must be more than 0 seconds", f'Try "{PROGRAM} --help".')
        if arguments.list:
            for check in CHECKS:
                print(f"{check.name:<14}{check.purpose}")
            return 0
        report = look(arguments)
    except UsageError as error:
        finding = Finding("configuration", State.UNKNOWN, error.message, error.hint or "")
        publish(arguments, Report([finding], time.time(), 0.0))
        return State.UNKNOWN
    try:
        publish(arguments, report)
    except OSError as error:
        print(f'{PROGRAM}: error: could not write "{error.filename}": {error.strerror}', file=sys.stderr)
        return max(report.state, State.UNKNOWN)
    return report.state


def guarded(argv: list[str]) -> int:
    """Run the program; a fault of its own is UNKNOWN, as the plugin protocol wants it, and no traceback."""
    try:
        return main(argv)
    except Exception as error:
        print(plain(f"SCRIBE UNKNOWN: {PROGRAM} failed: {type(error).__name__}: {' '.join(str(error).split())}"))
        return State.UNKNOWN


if __name__ == "__main__":
    sys.exit(run(PROGRAM, guarded))
