"""What a copy that follows an archive says of itself: a file for each of them, follow/NAME-SYSTEM.json."""

from __future__ import annotations

import urllib.parse
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from scribe.archive.layout import Archive
from scribe.common import files
from scribe.common.errors import ScribeError


@dataclass(frozen=True)
class Follower:
    """One copy. Moments are in seconds since 1970.

    server: host and port; position: LSN up to which everything is applied; reached: commit time of the last
    transaction that was; current: when it was last known to hold all that the archive held, None if it never did;
    waiting: why it does not go on, None if nothing keeps it.
    """

    database: str
    server: str
    system_identifier: str
    process: Mapping[str, Any] | None
    position: str
    reached: str | None
    began: float
    current: float | None
    written: float
    waiting: str | None


def path_of(archive: Archive, database: str, system_identifier: str) -> Path:
    """Return where a copy's state is kept."""
    name = urllib.parse.quote(database, safe="")[:150]
    return archive.path / "follow" / f"{name}-{system_identifier}.json"


def write(archive: Archive, follower: Follower) -> None:
    """Keep a copy's state, durably. Raises OSError."""
    path = path_of(archive, follower.database, follower.system_identifier)
    files.make_directory(path.parent)
    files.write_json(path, {"format_version": 1} | asdict(follower))


def forget(archive: Archive, database: str, system_identifier: str) -> None:
    """Take a copy's state away. Raises OSError."""
    path = path_of(archive, database, system_identifier)
    if path.parent.is_dir():
        files.remove_file(path)


def read_all(archive: Archive) -> list[tuple[Path, Follower | None]]:
    """Return every copy's state, None where it cannot be read."""
    return [(path, _read(path)) for path in sorted((archive.path / "follow").glob("[!.]*.json"))]


def _read(path: Path) -> Follower | None:
    try:
        value = files.read_json(path)
        found = Follower(**{field.name: value[field.name] for field in fields(Follower)})
        float(found.began), float(found.written), float(found.current or 0.0)
    except (ScribeError, KeyError, TypeError, ValueError, FileNotFoundError):
        return None
    return found
