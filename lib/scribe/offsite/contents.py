"""Under which keys an archive's files are in a store.

What is written once has the key of its path in the archive, what is replaced (archive.json, ...) a new one each time:
versions.py. So nothing is ever overwritten. What is encrypted has ".age" after it; the manifests of bases and globals
stay readable, those of segments do not, because they tell of statements and of who ran them.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from scribe.archive import rolefiles
from scribe.archive.layout import Archive
from scribe.offsite.encryption import SUFFIX
from scribe.offsite.stores import Stored

_READABLE = re.compile(r"base/[^/]*/manifest\.json|globals/[^/]*\.json|(?:archive|broken|pruned|removed)\.json")
_MANIFEST = re.compile(r"incremental/[^/]*\.json|base/[^/]*/manifest\.json|globals/[^/]*\.json")
_NAME = "/[A-Za-z0-9_-][A-Za-z0-9._-]*"
_STORED = re.compile(rf"base/[0-9]{{8}}T[0-9]{{6}}Z(?:{_NAME}){{1,2}}|(?:incremental|globals){_NAME}")


@dataclass(frozen=True)
class Item:
    """A file that belongs in a store. name: its path in the archive; size: in bytes, 0 if it is missing."""

    name: str
    path: Path
    size: int


def is_manifest(name: str) -> bool:
    """Whether a file is a manifest: small, and read by whoever wants to know what there is."""
    return _MANIFEST.fullmatch(name) is not None


def is_readable(name: str) -> bool:
    """Whether a file is never encrypted: it holds no values and no password hashes."""
    return _READABLE.fullmatch(name) is not None


def key_of(name: str, *, encrypted: bool) -> str:
    """Return the key of a file that is written once."""
    return name + SUFFIX if encrypted and not is_readable(name) else name


def archived_files(keys: Collection[str]) -> dict[str, str]:
    """Return the keys of what is written once, by the files' names; the plain one if there are two.

    Whatever else somebody has put into the store is left out: a name says where a file is put on this host.
    """
    found = {key.removesuffix(SUFFIX): key for key in keys if key.endswith(SUFFIX)} | {
        key: key for key in keys if not key.endswith(SUFFIX)
    }
    return {name: key for name, key in found.items() if _STORED.fullmatch(name)}


def finished(archive: Archive) -> Iterator[list[Item]]:
    """Yield what is finished in an archive, each thing with the file last that completes it. Raises ScribeError."""
    for path, _ in rolefiles.look(archive).good:
        yield [_item(archive, each) for each in (path, rolefiles.manifest_of(path))]
    for base in archive.bases():
        paths = [base.path / entry["name"] for entry in base.manifest["files"]]
        yield [_item(archive, path) for path in [*paths, base.path / "manifest.json"]]
    for segment in archive.segments():
        yield [_item(archive, path) for path in (segment.data, segment.path)]


def _item(archive: Archive, path: Path) -> Item:
    size = 0
    with contextlib.suppress(FileNotFoundError):
        size = path.stat().st_size
    return Item(path.relative_to(archive.path).as_posix(), path, size)


def is_stored(item: Item, objects: Mapping[str, Stored], *, encrypted: bool) -> bool:
    """Whether a store has a file: encrypted ones are longer than the file, by an amount that age decides."""
    found = objects.get(key_of(item.name, encrypted=encrypted))
    if found is None or not item.size:
        return found is not None
    return found.size > item.size if encrypted and not is_readable(item.name) else found.size == item.size
