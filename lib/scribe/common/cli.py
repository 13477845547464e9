"""What all programs share on the command line: flags, help, messages, exit statuses."""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from scribe import __version__
from scribe.common.errors import FAILED, ScribeError, TryAgainError, UsageError
from scribe.common.postgres import export_connection
from scribe.common.printable import printable
from scribe.common.settings import Settings, load_settings

if TYPE_CHECKING:  # see scribe.common.postgres
    import psycopg

_GONE = re.compile(r"cache lookup failed|could not open relation with OID")  # a snapshot shows it, others dropped it
_LOST = ("08", "57P")  # SQLSTATEs of connections that are gone, and of servers that go


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors look like PostgreSQL's: one line, a hint, exit status 2."""

    def error(self, message: str) -> NoReturn:
        """Raise UsageError with argparse's message."""
        raise UsageError(message, f'Try "{self.prog} --help" for more information.')


def make_parser(program: str, purpose: str, epilog: str | None = None, *, source: bool = True) -> Parser:
    """Return a parser with the common flags; -h is the host, as in psql.

    program: "scribe-dump"; purpose: the program in one sentence; source: -d names the source database.
    """
    parser = Parser(
        prog=program,
        description=purpose,
        epilog=epilog,
        add_help=False,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    common = parser.add_argument_group("common options")
    common.add_argument("--config", metavar="FILE", help="settings file (default: $SCRIBE_CONFIG)")
    common.add_argument("-q", "--quiet", action="store_true", help="print errors only")
    common.add_argument("-v", "--verbose", action="store_true", help="print what is done")
    common.add_argument("-V", "--version", action="version", version=f"{program} (pg_scribe) {__version__}")
    common.add_argument("-?", "--help", action="help", help="show this help, then exit")
    connection = parser.add_argument_group("connection options")
    if source:
        connection.add_argument("-d", "--dbname", metavar="DBNAME", help="database to back up, or a connection string")
    connection.add_argument("-h", "--host", metavar="HOSTNAME", help="server host or socket directory")
    connection.add_argument("-p", "--port", metavar="PORT", help="server port")
    connection.add_argument("-U", "--username", metavar="NAME", help="connect as this user")
    connection.add_argument(
        "-w", "--no-password", action="store_true", help="never prompt for a password; they never do"
    )
    return parser


def prepare(
    arguments: argparse.Namespace, flags: Mapping[str, str | None] | None = None, *, source: bool = True
) -> Settings:
    """Return the settings in force, and put the connection into the environment.

    flags: settings given as flags (key -> text or None). Raises UsageError.
    """
    given = {key: text for key, text in (flags or {}).items() if text is not None}
    settings = load_settings(arguments.config, given)
    os.environ.update(settings.environment)
    export_connection(
        {
            "dbname": arguments.dbname if source else None,
            "host": arguments.host,
            "port": arguments.port,
            "user": arguments.username,
        }
    )
    return settings


def say(program: str, kind: str, text: str) -> None:
    """Print one line for people: "scribe-dump: kind: text"."""
    line = printable(text)
    print(f"{program}: {kind}: {line}" if kind else f"{program}: {line}", file=sys.stderr, flush=True)


def run(program: str, body: Callable[[list[str]], int], argv: list[str] | None = None) -> int:
    """Run a program's body and turn what it raises into one error line, a hint and the exit status."""
    os.umask(0o077)
    _forget_relative_path()
    try:
        return body(sys.argv[1:] if argv is None else argv)
    except ScribeError as error:
        return _report(program, error)
    except OSError as error:
        where = f' "{error.filename}"' if error.filename else ""
        return _report(program, ScribeError(f"could not use{where}: {error.strerror or error}"))
    except KeyboardInterrupt:
        say(program, "error", "interrupted")
        return FAILED
    except Exception as error:
        if (refusal := _from_server(error)) is None:
            raise
        return _report(program, refusal)


def _forget_relative_path() -> None:
    """Leave out of PATH what is looked up in the current directory, an empty entry among it.

    Whoever may write where the operator happens to stand would choose the pg_dump, age or less that runs as him.
    """
    given = os.environ.get("PATH")
    if given is not None:
        absolute = [entry for entry in given.split(os.pathsep) if os.path.isabs(entry)]
        os.environ["PATH"] = os.pathsep.join(absolute) or os.defpath


def _from_server(error: Exception) -> ScribeError | None:
    """Return what an error of psycopg's means for whoever ran the program; None for any other error."""
    psycopg = sys.modules.get("psycopg")
    if psycopg is None or not isinstance(error, psycopg.Error):
        return None
    if isinstance(error, psycopg.errors.InternalError_) and _GONE.match(str(error)):
        return TryAgainError(f"the schema changed meanwhile: {_first_line(error)}", "Run the same command again.")
    if not isinstance(error, psycopg.OperationalError):
        return ScribeError(f"the server said: {_first_line(error)}")
    if error.sqlstate is None or error.sqlstate.startswith(_LOST):
        return TryAgainError(f"lost the server: {_first_line(error)}", 'Check the server with "pg_isready".')
    return TryAgainError(f"the server said: {_first_line(error)}", "Run the same command again.")


def parse_wait(text: str) -> float:
    """Return the seconds a flag names; raises ArgumentTypeError for what is not a number of seconds."""
    if re.fullmatch(r"\d{1,9}(\.\d+)?", text) is None:
        raise argparse.ArgumentTypeError(f'invalid number of seconds "{text}"')
    return float(text)


def stop_on_sigterm() -> None:
    """Make SIGTERM, and SIGHUP unless it is ignored, end the program as Ctrl-C does: what it has begun is undone."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup
        signal.signal(signal.SIGHUP, stop)


def _first_line(error: psycopg.Error) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _report(program: str, error: ScribeError) -> int:
    say(program, "error", error.message)
    if error.hint:
        say(program, "hint", error.hint)
    return error.status


class Talk:
    """What a program says while it works: note() with -v, warn() always, to stderr."""

    def __init__(self, program: str, arguments: argparse.Namespace) -> None:
        self.program = program
        self.verbose: bool = arguments.verbose and not arguments.quiet
        self.quiet: bool = arguments.quiet

    def note(self, text: str) -> None:
        """Say what is being done, with -v."""
        if self.verbose:
            say(self.program, "", text)

    def info(self, text: str) -> None:
        """Say something a person wants to know unless -q."""
        if not self.quiet:
            say(self.program, "", text)

    def warn(self, text: str) -> None:
        """Say that something is not as it should be."""
        say(self.program, "warning", text)


def json_ready(value: Any) -> Any:
    """Return value with what JSON does not know turned into text."""
    return value if isinstance(value, str | int | float | bool | None | list | dict) else str(value)
