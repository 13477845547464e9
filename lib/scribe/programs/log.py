"""scribe-log: what changed, when, by whom: a search through an archive."""

from __future__ import annotations

import argparse
import gc
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from scribe.archive.layout import Archive, Segment
from scribe.common.cli import Parser, Talk, make_parser, prepare, run, stop_on_sigterm
from scribe.common.errors import FAILED, ScribeError, UsageError
from scribe.common.lsn import parse_lsn
from scribe.common.patterns import read_pattern
from scribe.common.printable import json_text
from scribe.history.absence import explain_absence, refuse_outside
from scribe.history.blame import OLDER, Trace, json_lines, lines
from scribe.history.changes import Range
from scribe.history.names import follow
from scribe.history.query import DDL, Query, read_pair, read_pairs
from scribe.history.render import Entry, Style
from scribe.history.report import points, stat, totals
from scribe.history.search import JSON, LINE, POINTS, SQL, STAT, Form, choose_segments, search, text_of, texts
from scribe.history.serverlog import read_logs
from scribe.history.statements import KINDS
from scribe.history.times import read_time
from scribe.offsite.mirror import find_archive

PROGRAM = "scribe-log"
EPILOG = """\
One line for each transaction, the newest first: commit time (UTC), number, LSN of the commit record, rows inserted (+),
updated (~) and deleted (-) in each table, schema changes and who asked for them. Rows that pg_scribe sent again because
a command rewrote their table are left out. A filter that names rows or schema changes leaves the others out of a line.

Times are read as psql reads them (2026-11-22 13:07:00+00, 13:07, yesterday, now; without a zone in the local one), and
as "2 hours ago". Patterns are psql's: table, schema.table, * for any text; without a schema, tables of every schema.
Rows of a partitioned table are shown under the names of its partitions. A table or column that was renamed is found by
any of its names.
An UPDATE of a table with a key lists every column, so --column finds it whether the value is another or not.

schema/log.schema.json has the form of a line of --json.

It reads segments: what was committed since the last rotation is in the spool ("scribe-rotate --wait-lsn current").

Exit status: 0 done; 1 something in the range could not be read, or does not exist; 2 wrong use or configuration.
"""


def make_arguments() -> Parser:
    """Return the parser."""
    parser = make_parser(PROGRAM, "Show what changed, when and by whom.", EPILOG)
    parser.add_argument("--archive", metavar="DIR|URL", help="the archive (default: $SCRIBE_ARCHIVE)")
    _add_filters(parser)
    group = parser.add_argument_group("form")
    form = group.add_mutually_exclusive_group()
    form.add_argument("--stat", dest="form", action="store_const", const=STAT, help="rows by table, over the range")
    form.add_argument("--sql", dest="form", action="store_const", const=SQL, help="the changes, a statement each")
    form.add_argument("--json", dest="form", action="store_const", const=JSON, help="a line of JSON for each change")
    places = "places to restore to: marks, schema changes, TRUNCATEs, the largest DELETEs"
    form.add_argument("--points", dest="form", action="store_const", const=POINTS, help=places)
    blamed = "the transaction that gave each column of a row its value: --blame orders id=42; with --json, as JSON"
    group.add_argument("--blame", nargs=2, metavar=("TABLE", "KEY"), help=blamed)
    group.add_argument("--commands", action="store_true", help="with the commands that restore to before, or undo")
    group.add_argument("--reverse", action="store_true", help="the oldest first")
    group.add_argument("-n", metavar="N", type=_positive, dest="most", help="no more than N transactions")
    group.add_argument("--color", choices=("auto", "always", "never"), default="auto", help="default: auto")
    group.add_argument("--no-pager", action="store_true", help="no pager, also if stdout is a terminal")
    group.add_argument("-j", "--jobs", metavar="N", type=_positive, help="processes (default: one a processor)")
    joined = "PostgreSQL's jsonlog or csvlog, which tells who made a transaction (see docs/runbook.md); repeatable"
    group.add_argument("--server-log", metavar="FILE", type=Path, action="append", default=[], help=joined)
    parser.set_defaults(form=LINE)
    return parser


def _add_filters(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("which transactions, rows and schema changes")
    group.add_argument("--since", metavar="TIME", type=_time, help="committed at or after this time")
    group.add_argument("--until", metavar="TIME", type=_time, help="committed at or before this time")
    group.add_argument("--from-lsn", metavar="LSN", type=_lsn, help="whose commit record starts here or later")
    group.add_argument("--to-lsn", metavar="LSN", type=_lsn, help="whose commit record starts here or earlier")
    _repeated(group, "--xid", "XID", "with this number", _positive)
    _repeated(group, "--table", "PATTERN", "of these tables")
    _repeated(group, "--schema", "PATTERN", "of these schemas")
    _repeated(group, "--key", "KEY", "of the row with this key: id=42, or a=1,b='x'", _pairs)
    _repeated(group, "--column", "NAME", "that give this column a value")
    _repeated(group, "--value", "NAME=VALUE", "of rows with this value, before or after", _pair)
    kinds = "of these kinds: insert, update, delete, truncate, ddl; separated by commas"
    _repeated(group, "--kind", "KIND", kinds, _kinds)
    group.add_argument(
        "--role",
        metavar="NAME",
        help="that this role asked for; rows only where that was recorded, or with --server-log",
    )
    group.add_argument("--grep", metavar="REGEX", type=_regex, help="whose statement, as by --sql, matches")
    group.add_argument("--larger-than", metavar="ROWS", type=int, help="with more rows than this")


def _repeated(
    group: argparse._ArgumentGroup, flag: str, metavar: str, text: str, kind: Callable[[str], object] = str
) -> None:
    group.add_argument(flag, metavar=metavar, action="append", default=[], type=kind, help=f"{text}; repeatable")


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("a whole number of at least 1 is expected")
    return int(text)


def _said(read: Callable[[str], object]) -> Callable[[str], object]:
    """Return a reader of flags whose ValueError is shown as it is."""

    def reader(text: str) -> object:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return reader


_time, _lsn, _pair, _pairs = _said(read_time), _said(parse_lsn), _said(read_pair), _said(read_pairs)


def _kinds(text: str) -> list[str]:
    found = [kind.strip() for kind in text.split(",")]
    for kind in found:
        if kind not in (*KINDS, DDL):
            raise argparse.ArgumentTypeError(f'invalid kind "{kind}"')
    return found


def _regex(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f'invalid regular expression "{text}": {error}') from None
    return text


def _blame_query(arguments: argparse.Namespace) -> None:
    """Let --blame ask for its table and key. Raises UsageError for what does not go with it."""
    filters = ("xid", "table", "schema", "key", "column", "value", "kind", "role", "grep", "larger_than", "server_log")
    forms = ("reverse", "most", "commands")
    for name in (*filters, *forms):
        if getattr(arguments, name):
            flag = "-n" if name == "most" else f"--{name.replace('_', '-')}"
            raise UsageError(f"--blame excludes {flag}", "Leave one out; --since, --until and LSNs limit the range.")
    if arguments.form not in (LINE, JSON):
        raise UsageError(f"--blame excludes --{arguments.form}", "Its forms are lines, and JSON with --json.")
    table, key = arguments.blame
    try:
        arguments.table, arguments.key = [table], [read_pairs(key)]
    except ValueError as error:
        raise UsageError(f"--blame: {error}", "Name the key as id=42, or a=1,b='x'.") from None


def make_query(arguments: argparse.Namespace) -> Query:
    """Return what is asked for. Raises UsageError."""
    if arguments.blame is not None:
        _blame_query(arguments)
    for first, last in (("since", "until"), ("from_lsn", "to_lsn")):
        begin, end = getattr(arguments, first), getattr(arguments, last)
        if begin is not None and end is not None and begin > end:
            flags = f"--{first.replace('_', '-')}", f"--{last.replace('_', '-')}"
            raise UsageError(f"{flags[0]} lies after {flags[1]}", "Name the earlier one first.")
    schemas = tuple(read_pattern(pattern)[1] for pattern in arguments.schema)
    return Query(
        within=Range(arguments.from_lsn, arguments.to_lsn, arguments.since, arguments.until),
        xids=frozenset(arguments.xid),
        tables=tuple(map(read_pattern, arguments.table)),
        schemas=schemas,
        key=tuple(pair for pairs in arguments.key for pair in pairs),
        columns=tuple(arguments.column),
        values=tuple(arguments.value),
        kinds=frozenset(kind for kinds in arguments.kind for kind in kinds),
        role=arguments.role,
        grep=arguments.grep,
        larger_than=arguments.larger_than,
    )


class _Search:
    """One run: what it prints, and what was in the way."""

    def __init__(self, archive: Archive, arguments: argparse.Namespace, talk: Talk) -> None:
        self.archive = archive
        self.arguments = arguments
        self.talk = talk
        self.problems = 0
        self.printed = 0

    def tell(self, problem: str) -> None:
        """Say that something in the range could not be read."""
        self.problems += 1
        self.talk.warn(problem)

    def print(self, segments: list[Segment], query: Query, form: Form, output: IO[bytes]) -> None:
        """Print what is found."""
        if form.name in (POINTS, STAT):
            self._print_gathered(segments, query, form, output)
            return
        most = self.arguments.most
        reverse, jobs = self.arguments.reverse, self.arguments.jobs
        for found in search(self.archive, segments, query, form, reverse=reverse, jobs=jobs):
            if found.problem is not None:
                self.tell(found.problem)
            left = None if most is None else most - self.printed
            for text in texts(found, reverse=self.arguments.reverse, most=left):
                output.write(text)
            for entry in (found.entries if self.arguments.reverse else found.entries[::-1])[:left]:
                output.write(text_of(entry, form).encode("utf-8", "surrogateescape"))
            self.printed += len(found.starts) + len(found.entries)
            if most is not None and self.printed >= most:
                return

    def print_blame(self, segments: list[Segment], query: Query, form: Form, output: IO[bytes]) -> None:
        """Print where the values of a row's columns came from. Raises ScribeError."""
        found = Trace(self.archive, segments, query, self.tell).blame()
        self.printed = len(found.columns)
        if not found.columns:
            return
        as_json = (json_text(line, indent=None) for line in json_lines(found))
        for text in as_json if form.name == JSON else lines(found, form.style):
            output.write(text.encode("utf-8", "surrogateescape"))
        if not found.whole:
            self.talk.info(OLDER)

    def _print_gathered(self, segments: list[Segment], query: Query, form: Form, output: IO[bytes]) -> None:
        entries: list[Entry] = []
        for found in search(self.archive, segments, query, form, reverse=True, jobs=self.arguments.jobs):
            if found.problem is not None:
                self.tell(found.problem)
            entries += found.entries
        self.printed = len(entries)
        if form.name == STAT:
            lines = stat(totals(entries), sum(len(entry.ddl) for entry in entries))
        else:
            chosen = entries if self.arguments.reverse else entries[::-1]
            lines = points(chosen[: self.arguments.most], form.style, commands=form.commands)
        for line in lines:
            output.write(line.encode("utf-8", "surrogateescape"))


@contextmanager
def pager(arguments: argparse.Namespace) -> Iterator[tuple[IO[bytes], Style]]:
    """Yield where to print, and how: through a pager if stdout is a terminal, as git does."""
    terminal = sys.stdout.isatty()
    colour = arguments.color == "always" or (arguments.color == "auto" and terminal and "NO_COLOR" not in os.environ)
    style = Style(colour, terminal)
    command = os.environ.get("PAGER") or shutil.which("less") or ""
    if not terminal or arguments.no_pager or command in ("", "cat"):
        yield sys.stdout.buffer, style
        sys.stdout.flush()
        return
    with subprocess.Popen(command, shell=True, stdin=subprocess.PIPE, env={"LESS": "FRX"} | dict(os.environ)) as shown:
        assert shown.stdin is not None
        yield shown.stdin, style
        shown.stdin.close()


def body(argv: list[str]) -> int:
    """Run the program; return its exit status."""
    arguments = make_arguments().parse_args(argv)
    settings = prepare(arguments, {"SCRIBE_ARCHIVE": arguments.archive})
    archive = find_archive(settings)
    identity = archive.known_identity()
    query = make_query(arguments)
    who = read_logs(arguments.server_log, str(identity["database"]))
    state = _Search(archive, arguments, Talk(PROGRAM, arguments))
    everything = archive.all_segments()
    gc.freeze()  # they stay to the end
    refuse_outside(everything, query)
    query = follow(query, archive, everything)
    segments = choose_segments(everything, query, state.tell)
    tell_of_joined(segments, state.talk)
    try:
        with pager(arguments) as (output, style):
            form = Form(arguments.form, style, arguments.commands, who)
            if arguments.blame is not None:
                state.print_blame(segments, query, form, output)
            else:
                state.print(segments, query, form, output)
    except BrokenPipeError:  # whoever read has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    if not state.printed and not state.problems:
        explain_absence(archive, segments, query)
        if arguments.blame is not None:
            raise ScribeError("no transaction in the segments has touched that row", "scribe-peek shows it as it is.")
    return FAILED if state.problems else 0


def tell_of_joined(segments: list[Segment], talk: Talk) -> None:
    """Say where single transactions are no longer told apart."""
    joined = [segment for segment in segments if segment.joined is not None and segment.joined["first_commit_lsn"]]
    if joined:
        first, last = joined[0].joined_times[0], joined[-1].joined_times[1]
        talk.info(
            f"scribe-compact has joined transactions between {first} and {last}: one there may stand for several, of"
            " which it has the number and time of the last, and their net changes"
        )


def main(argv: list[str] | None = None) -> int:
    """Run the program; return its exit status."""
    stop_on_sigterm()
    return run(PROGRAM, body, argv)


if __name__ == "__main__":
    sys.exit(main())
