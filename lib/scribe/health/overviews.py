"""The overviews of one database or of all: what scribe-status and scribe-report show."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from scribe.common.cli import prepare
from scribe.common.deadline import collect
from scribe.common.errors import UsageError
from scribe.common.printable import json_text
from scribe.health.checks import CHECKS
from scribe.health.examination import assemble, examine, facts_of, time_for_children
from scribe.health.instances import are_wanted, find_instances, look_at_all
from scribe.health.overview import as_json

FORMAT_VERSION = 1


def add_looks(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how the databases are looked at."""
    parser.add_argument("--offline", action="store_true", help="do not ask the servers: what the archives tell")
    parser.add_argument(
        "-t", "--timeout", metavar="SECONDS", type=float, default=30.0, help="longest run (default: 30)"
    )


def look_at(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Return what is known of each database, as as_json() has it. Raises UsageError."""
    if arguments.timeout <= 0:
        raise UsageError("the timeout must be more than 0 seconds", "Leave out -t, or give it more.")
    # A heartbeat writes into the source's WAL, which a look does not.
    checks = [check for check in CHECKS if check.name != "heartbeat" and not (check.server and arguments.offline)]
    started, timeout = time.time(), arguments.timeout
    seconds = time_for_children(timeout)

    def work(own: argparse.Namespace) -> Iterator[object]:
        return examine(own, checks, {}, seconds * 0.8, with_facts=True)

    if are_wanted(arguments):
        instances = find_instances(arguments)
        names = [instance.name for instance in instances]
        found = look_at_all(instances, arguments, work, seconds)
    else:
        names = [Path(prepare(arguments).place).name]
        found = [collect(lambda: work(arguments), seconds)]
    return [
        as_json(name, assemble(one, checks, timeout, started), facts_of(one))
        for name, one in zip(names, found, strict=True)
    ]


def write_json(databases: list[dict[str, Any]], checked: float) -> str:
    """Return what is known of all as JSON: keys are only ever added. checked: seconds since 1970."""
    moment = datetime.fromtimestamp(checked, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return json_text({"format_version": FORMAT_VERSION, "checked": moment, "databases": databases})
