"""scribe-status: all databases at a glance, for a person."""

from __future__ import annotations

import shutil
import sys
import textwrap
import time
from typing import Any

from scribe.common.cli import Parser, make_parser, run
from scribe.common.errors import FAILED
from scribe.health.findings import ago_text, size_text, time_text
from scribe.health.formats import plain
from scribe.health.instances import add_options
from scribe.health.overview import read_moment
from scribe.health.overviews import add_looks, look_at, write_json

PROGRAM = "scribe-status"
EPILOG = """\
A line for each database: its state as scribe-check has it, up to when and from when on it can be restored, the size of
the archive and its growth in a day, when a restore was last rehearsed, and which alarm would be the next one if nothing
happened. What is wrong follows, each with the next command.

Exit status: 0 every database is OK; 1 one is not; 2 wrong use or configuration.
"""
HEADS = ("database", "state", "restorable to", "from", "size", "a day", "rehearsed", "next alarm")


def make_arguments() -> Parser:
    """Return the parser."""
    parser = make_parser(PROGRAM, "Show how all databases are, at a glance.", EPILOG)
    add_options(parser)
    add_looks(parser)
    parser.add_argument("--json", action="store_true", help="print everything that is known as JSON")
    return parser


def ago(text: str | None, now: float) -> str:
    """Return how long ago a time was, "-" for none."""
    return ago_text(now - read_moment(text).timestamp()) if text else "-"


def cells(value: dict[str, Any], now: float) -> tuple[str, ...]:
    """Return what stands in a database's line."""
    rehearsal, alarm = value["rehearsal"], value["next_alarm"]
    rehearsed = "never" if rehearsal is None else ago(rehearsal["time"], now) + ("" if rehearsal["ok"] else ", failed")
    return (
        value["name"],
        value["state"],
        ago(value["restorable_to"], now),
        ago(value["restorable_from"], now),
        size_text(value["bytes"]),
        size_text(value["bytes_per_day"]),
        rehearsed,
        f"{alarm['check']} in {time_text(alarm['seconds'])}" if alarm else "-",
    )


def write_table(values: list[dict[str, Any]], now: float, width: int) -> str:
    """Return the table, and below it what is wrong. width: of the terminal, in columns."""
    rows = [HEADS, *(cells(value, now) for value in values)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADS))]
    lines = [
        "  ".join(plain(cell).ljust(size) for cell, size in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    for value in values:
        for fault in value["faults"]:
            hint = f" {fault['hint']}" if fault["hint"] else ""
            text = plain(f"{value['name']}: {fault['state']}: {fault['check']}: {fault['text']}.{hint}")
            lines += textwrap.wrap(text, max(60, width), subsequent_indent="    ")
    return "\n".join(lines) + "\n"


def body(argv: list[str]) -> int:
    """Run the program; return its exit status."""
    arguments = make_arguments().parse_args(argv)
    now = time.time()
    values = look_at(arguments)
    if arguments.json:
        print(write_json(values, now), end="")
    else:
        bad = [value for value in values if value["state"] != "OK"]
        shown = bad if arguments.quiet else values
        print(write_table(shown, now, shutil.get_terminal_size().columns) if shown else "", end="")
    return FAILED if any(value["state"] != "OK" for value in values) else 0


def main(argv: list[str] | None = None) -> int:
    """Run the program; return its exit status."""
    return run(PROGRAM, body, argv)


if __name__ == "__main__":
    sys.exit(main())
