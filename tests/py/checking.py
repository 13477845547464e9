"""Running scribe-check in tests, and reading what it says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from source import Scribe

from scribe.archive.manifest import check_value
from scribe.health.findings import State

PROMPT = {"SCRIBE_STATUS_INTERVAL": "1", "SCRIBE_FSYNC_INTERVAL": "1"}  # a stream that says soon how far it is


def report(scribe: Scribe, *arguments: str, **settings: str) -> dict[str, Any]:
    """Run scribe-check and return its JSON; the exit status is the state's."""
    result = scribe.run("scribe-check", "--format", "json", *arguments, check=False, env=settings)
    assert result.stderr == ""
    value = json.loads(result.stdout)
    check_value("check", value, Path("scribe-check"))
    assert result.returncode == value["exit_status"] == State[value["state"]]
    return dict(value)


def states(scribe: Scribe, *arguments: str, **settings: str) -> dict[str, str]:
    """Run scribe-check and return the state of each check by its name; that of the whole is "all"."""
    value = report(scribe, *arguments, **settings)
    return {"all": value["state"]} | {finding["name"]: finding["state"] for finding in value["checks"]}


def check(scribe: Scribe, name: str, *arguments: str, **settings: str) -> dict[str, Any]:
    """Run one check and return its finding."""
    checks = report(scribe, "--only", name, *arguments, **settings)["checks"]
    return dict(next(finding for finding in checks if finding["name"] == name.replace("-", "_")))


def state(scribe: Scribe, name: str, *arguments: str, **settings: str) -> str:
    """Run one check and return its state."""
    return str(check(scribe, name, *arguments, **settings)["state"])


@contextmanager
def moved_away(path: Path) -> Iterator[None]:
    """Rename a file for one block."""
    aside = path.with_name(f"aside-{path.name}")
    path.rename(aside)
    try:
        yield
    finally:
        aside.rename(path)


@contextmanager
def emptied(path: Path) -> Iterator[None]:
    """Put an empty directory in the place of one for one block."""
    with moved_away(path):
        path.mkdir(mode=0o700)
        yield
        path.rmdir()
