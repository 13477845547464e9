"""The files of globals/: roles and tablespaces, each with a manifest beside it that is written after it.

Older versions of pg_scribe wrote none. Where there is any, a file without one is either older than all of them, or
newer: then a program that died has left it. Between two, somebody has taken the manifest away.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from scribe import FORMAT_VERSION
from scribe.archive.layout import Archive
from scribe.archive.manifest import read_manifest, write_manifest
from scribe.common import files
from scribe.common.errors import ScribeError


@dataclass(frozen=True)
class Found:
    """What is in globals/. good: with their manifests; old: of older versions; lost: with what is wrong."""

    good: list[tuple[Path, dict[str, Any]]] = field(default_factory=list)
    old: list[Path] = field(default_factory=list)
    unfinished: list[Path] = field(default_factory=list)
    lost: list[tuple[Path, str]] = field(default_factory=list)


def manifest_of(path: Path) -> Path:
    """Return the path of a file's manifest."""
    return path.with_suffix(".json")


def look(archive: Archive) -> Found:
    """Sort the files of globals/."""
    found = Found()
    paths = archive.globals_files()
    manifests = sorted(archive.globals_path.glob("*.json")) if paths or archive.globals_path.is_dir() else []
    for path in paths:
        if manifest_of(path) in manifests:
            _judge(found, path)
        elif not manifests or path.stem < manifests[0].stem:
            found.old.append(path)
        elif path.stem > manifests[-1].stem:
            found.unfinished.append(path)
        else:
            found.lost.append((path, "its manifest is missing"))
    there = {manifest_of(path) for path in paths}
    found.lost.extend((path.with_suffix(".sql"), "it is missing") for path in manifests if path not in there)
    return found


def _judge(found: Found, path: Path) -> None:
    try:
        manifest = read_manifest("globals", manifest_of(path))
    except ScribeError as error:
        found.lost.append((path, error.message))
        return
    if manifest["file"] == path.name:
        found.good.append((path, manifest))
    else:
        found.lost.append((path, "its manifest is that of another file"))


def usable(archive: Archive) -> list[tuple[Path, dict[str, Any] | None]]:
    """Return the files a restore may run, oldest first, each with its manifest if it has one. Raises ScribeError."""
    found = look(archive)
    if found.lost:
        path, what = found.lost[0]
        raise ScribeError(f'could not use "{path}": {what}', files.DAMAGED)
    return sorted([*found.good, *((path, None) for path in found.old)], key=lambda pair: pair[0])


def write(archive: Archive, stamp: str, content: bytes) -> Path:
    """Store globals, durably; a file that a program which died has left is removed first."""
    for path in look(archive).unfinished:
        files.remove_file(path)
    path = archive.globals_path / f"{stamp}.sql"
    files.write_file(path, content, exclusive=True)
    manifest = {
        "format_version": FORMAT_VERSION,
        "file": path.name,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "system_identifier": archive.identity()["system_identifier"],
        "written": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    write_manifest("globals", manifest_of(path), manifest)
    return path
