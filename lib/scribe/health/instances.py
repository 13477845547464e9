"""The databases of this host: a settings file for each, as the systemd templates have them, looked at side by side."""

from __future__ import annotations

import argparse
import copy
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scribe.archive.manifest import prepare_checkers
from scribe.common.deadline import Collected, collect_all
from scribe.common.errors import UsageError
from scribe.health.formats import plain

DIRECTORY = Path("/etc/scribe")
# What names one database: in the environment, it would come before what every file says.
_ONE = ("PGDATABASE", "PGSERVICE", "PGSERVICEFILE")


@dataclass(frozen=True)
class Instance:
    """A database by the name of its settings file, NAME.env, as it is shown."""

    name: str
    path: Path


def add_options(group: Any) -> None:
    """Add --all and --config-dir to a parser or a group of its options."""
    there = f"every database that has a file NAME.env in {DIRECTORY}"
    group.add_argument("--all", action="store_true", help=there)
    group.add_argument("--config-dir", metavar="DIR", type=Path, help="the same with another directory")


def are_wanted(arguments: argparse.Namespace) -> bool:
    """Whether all databases are asked for."""
    return bool(arguments.all or arguments.config_dir)


def find_instances(arguments: argparse.Namespace) -> list[Instance]:
    """Return the databases that have settings, by name. Raises UsageError where there are none, or one is named."""
    directory: Path = arguments.config_dir or DIRECTORY
    for flag in ("archive", "config", "dbname", "host", "port", "username"):
        if getattr(arguments, flag, None):
            raise UsageError(f"--{flag} is for one database", "Leave out --all, or the option.")
    try:
        paths = sorted(path for path in directory.iterdir() if path.suffix == ".env" and not path.name.startswith("."))
    except OSError as error:
        hint = "Name the directory with --config-dir, and run this as a user who may read it."
        raise UsageError(f'could not read directory "{directory}": {error.strerror}', hint) from None
    if not paths:
        hint = "Name the directory of the settings with --config-dir DIR."
        raise UsageError(f'there is no file NAME.env in "{directory}"', hint)
    return [Instance(plain(path.stem), path) for path in paths]


def look_at_all(
    instances: Iterable[Instance],
    arguments: argparse.Namespace,
    look: Callable[[argparse.Namespace], Iterable[Any]],
    seconds: float,
) -> list[Collected]:
    """Return what look yields of each database within so many seconds; each is looked at in a process of its own.

    look gets the arguments with --config set, and an environment that names no database.
    """

    def enter(instance: Instance) -> Iterable[Any]:
        for name in [name for name in os.environ if name.startswith("SCRIBE_") or name in _ONE]:
            del os.environ[name]
        own = copy.copy(arguments)
        own.config = str(instance.path)
        yield from look(own)

    prepare_checkers()
    return collect_all([lambda instance=instance: enter(instance) for instance in instances], seconds)  # type: ignore[misc]
