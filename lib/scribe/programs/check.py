"""scribe-check: the health of source and archive, for Nagios, Prometheus, other programs or a person."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from scribe.common import files
from scribe.common.cli import Parser, make_parser, prepare, run
from scribe.common.deadline import Outcome, collect
from scribe.common.errors import ScribeError, UsageError
from scribe.health.checks import BY_NAME, CHECKS, Check, default_limit, run_checks
from scribe.health.facts import Survey
from scribe.health.findings import Finding, Limit, State, parse_range
from scribe.health.formats import FORMATS, Report, format_table

PROGRAM = "scribe-check"
NO_PASSWORD = "no password"  # what -w says when it stands alone
_MARGIN = 0.5  # seconds kept for printing
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
    there = "write there, in one step; what is not OK is said in one line on stderr, too"
    own.add_argument("--output", metavar="FILE", type=Path, help=there)
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


def read_setting(text: str) -> dict[str, dict[str, str]]:
    """Return the ranges in SCRIBE_CHECK_LIMITS: by the check's name, then by level. Raises UsageError."""
    given: dict[str, dict[str, str]] = {}
    for word in text.split():
        name, _, level = word.partition("=")[0].replace("-", "_").rpartition("_")
        if name not in BY_NAME or not BY_NAME[name].unit or level not in ("warning", "critical") or "=" not in word:
            hint = 'Write NAME-warning=RANGE or NAME-critical=RANGE; "scribe-check --help" lists them.'
            raise UsageError(f'SCRIBE_CHECK_LIMITS: there is no limit "{word}"', hint)
        given.setdefault(name, {})[level] = _range(BY_NAME[name], level, word.partition("=")[2])
    return given


def read_limits(arguments: argparse.Namespace, checks: list[Check]) -> dict[str, dict[str, str]]:
    """Return the ranges given as flags: by the check's name, then by level. Raises UsageError."""
    given: dict[str, dict[str, str]] = {}
    for check in CHECKS:
        for level in ("warning", "critical") if check.unit else ():
            text = getattr(arguments, f"{check.name}_{level}")
            if text is not None:
                given.setdefault(check.name, {})[level] = _range(check, level, text)
    for level in ("warning", "critical"):
        text = getattr(arguments, level)
        if text not in (None, NO_PASSWORD):
            if len(checks) != 1 or not checks[0].unit:
                what = "one check is chosen" if len(checks) != 1 else f'check "{checks[0].name}" measures something'
                raise UsageError(f"-{level[0]} takes a range only where {what}", 'Choose with "--only NAME".')
            given.setdefault(checks[0].name, {})[level] = _range(checks[0], level, text)
    return given


def _range(check: Check, level: str, text: str) -> str:
    try:
        return parse_range(text, check.unit)
    except ValueError as error:
        raise UsageError(f"invalid {level} range for {check.name}: {error}", f'Try "{PROGRAM} --help".') from None


def examine(arguments: argparse.Namespace, timeout: float) -> Iterator[dict[str, str] | Finding]:
    """Yield what is known of the subject, then each finding; wrong use and settings are findings too."""
    try:
        checks = choose_checks(arguments)
        given = read_limits(arguments, checks)
        settings = prepare(arguments)
        configured = read_setting(settings["SCRIBE_CHECK_LIMITS"] or "")
        survey = Survey(settings, timeout)
    except ScribeError as error:
        yield Finding("configuration", State.UNKNOWN, error.message, error.hint or f'Try "{PROGRAM} --help".')
        return
    yield {"archive": str(settings.archive)}
    yield _subject(survey)
    limits = {}
    for check in checks:
        default = default_limit(check, settings)
        ranges = {"warning": default.warning, "critical": default.critical}
        limits[check.name] = Limit(**(ranges | configured.get(check.name, {}) | given.get(check.name, {})))
    yield from run_checks(checks, survey, limits)


def _subject(survey: Survey) -> dict[str, str]:
    try:
        return {"database": str(survey.identity["database"]), "slot": survey.slot_name}
    except (ScribeError, OSError):
        return {"database": ""}  # check "archive" says why


def complete(arguments: argparse.Namespace, found: list[dict[str, str] | Finding], outcome: Outcome) -> list[Finding]:
    """Return the findings; where the run did not end in time, what hung is critical and the rest unknown."""
    findings = [value for value in found if isinstance(value, Finding)]
    if outcome == Outcome.DIED:
        text = "the check ended before all was looked at"
        return [*findings, Finding("internal", State.UNKNOWN, text, "Please report this; run it again with --only.")]
    if outcome == Outcome.ENDED:
        return findings
    done = {finding.name for finding in findings}
    left = [check for check in choose_checks(arguments) if check.name not in done]
    archive_read = any(isinstance(value, dict) and "database" in value for value in found)
    culprit = "server" if archive_read and any(check.server for check in left) else "archive"
    text = f"did not answer within {arguments.timeout:g} s" if culprit == "server" else "could not be read in time"
    hint = 'Check the server with "pg_isready".' if culprit == "server" else "See whether its file system hangs."
    findings = [finding for finding in findings if finding.name != culprit]
    findings.append(Finding(culprit, State.CRITICAL, f"the {culprit} {text}", hint))
    return findings + [Finding(c.name, State.UNKNOWN, "not reached in time", hint) for c in left if c.name != culprit]


def publish(arguments: argparse.Namespace, report: Report) -> None:
    """Print the report, or write it to a file in one step. Raises OSError."""
    style = arguments.format or ("table" if sys.stdout.isatty() and not arguments.output else "nagios")
    text = format_table(report, shutil.get_terminal_size().columns) if style == "table" else FORMATS[style](report)
    if arguments.quiet and style in ("nagios", "table"):
        text = text.splitlines(keepends=True)[0 if style == "nagios" else -1]
    if arguments.output is None:
        sys.stdout.write(text)
        sys.stdout.flush()
        return
    # what collects it is another user; nothing in it is secret
    files.write_file(arguments.output, text.encode(), mode=0o644)
    if report.state and not arguments.quiet:
        print(FORMATS["nagios"](report).splitlines()[0].split(" | ")[0], file=sys.stderr)


def main(argv: list[str]) -> int:
    """Run the program; return the state."""
    parser = make_arguments()
    try:
        arguments = parser.parse_args(argv)
        if arguments.timeout <= 0:
            raise UsageError("the timeout must be more than 0 seconds", f'Try "{PROGRAM} --help".')
    except UsageError as error:
        arguments = parser.parse_args([])
        finding = Finding("configuration", State.UNKNOWN, error.message, error.hint or "")
        publish(arguments, Report([finding], time.time(), 0.0))
        return State.UNKNOWN
    if arguments.list:
        for check in CHECKS:
            print(f"{check.name:<14}{check.purpose}")
        return 0
    started = time.time()
    seconds = max(arguments.timeout * 0.5, arguments.timeout - _MARGIN)
    found, outcome = collect(lambda: examine(arguments, seconds * 0.8), seconds)
    subject = {key: text for value in found if isinstance(value, dict) for key, text in value.items()}
    findings = complete(arguments, found, outcome)
    report = Report(findings, started, time.time() - started, **subject)
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
        print(f"SCRIBE UNKNOWN: {PROGRAM} failed: {type(error).__name__}: {' '.join(str(error).split())}")
        return State.UNKNOWN


if __name__ == "__main__":
    sys.exit(run(PROGRAM, guarded))
