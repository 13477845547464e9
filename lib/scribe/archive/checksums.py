"""Reading an archived file once: its checksum as it is stored, that of the SQL in it, and whether a dump is whole."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import zstandard

from scribe.archive.cutting import find_command
from scribe.archive.dumpdir import CONTENTS, find_foreign_name
from scribe.archive.layout import Archive, Base, Segment
from scribe.archive.rolefiles import Found
from scribe.archive.segments import WINDOW, Reader, open_plain
from scribe.common.dialect import end_of_epilogue
from scribe.common.errors import ScribeError
from scribe.common.files import open_archived

BLOCK = 1 << 20  # bytes
_TAIL = 1 << 20  # bytes at the end of a dump in which its last lines are looked for
_COMPLETE = b"\n-- PostgreSQL database dump complete\n"


@dataclass(frozen=True)
class Entry:
    """A file and what its manifest says of it. name: path within the archive; sizes in bytes."""

    path: Path
    name: str
    size: int
    sha256: str
    plain_bytes: int | None = None
    plain_sha256: str | None = None
    ending: bytes | None = None  # what its SQL must end with
    dump: bool = False  # it is what pg_dump wrote
    script: bool = False  # SQL of which nothing may be a command of psql's


def list_base(archive: Archive, base: Base) -> list[Entry]:
    """Return the files of a base."""
    epilogue = end_of_epilogue(base.consistent_point).encode()
    entries = []
    for value in base.manifest["files"]:
        path = base.path / value["name"]
        dump = value["name"] in ("base.sql", "base.sql.zst")
        ending = epilogue if dump or value["name"] == "epilogue.sql" else None
        entries.append(_entry(archive, path, value, ending=ending, dump=dump))
    return entries


def list_globals(archive: Archive, found: Found) -> list[Entry]:
    """Return the files of globals/ that have a manifest."""
    return [_entry(archive, path, manifest, ending=None) for path, manifest in found.good]


def list_segment(archive: Archive, segment: Segment) -> Entry:
    """Return the file of a segment."""
    return _entry(archive, segment.data, segment.manifest, ending=f"-- to {segment.manifest['to_lsn']}\n".encode())


def _entry(archive: Archive, path: Path, value: dict[str, Any], *, ending: bytes | None, dump: bool = False) -> Entry:
    return Entry(
        path,
        str(path.relative_to(archive.path)),
        value["bytes"],
        value["sha256"],
        value.get("plain_bytes"),
        value.get("plain_sha256"),
        ending,
        dump,
        path.parent != archive.incremental and path.name.endswith((".sql", ".sql.zst")),
    )


class _Digesting:
    """A file that digests what is read from it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.sha256 = hashlib.sha256()
        self.count = 0

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self.sha256.update(data)
        self.count += len(data)
        return data


def read_entry(entry: Entry) -> str | None:
    """Read a file; return what is wrong with it in words, None where nothing is."""
    plain, size, unreadable = hashlib.sha256(), 0, None
    tail: list[bytes] = []  # the last blocks
    try:
        with open_archived(entry.path) as stream:
            stored = _Digesting(stream)
            try:
                for block in _plain_blocks(stored, compressed=entry.path.suffix == ".zst"):
                    plain.update(block)
                    size += len(block)
                    if entry.plain_bytes is not None and size > entry.plain_bytes:
                        break
                    tail.append(block)
                    while sum(map(len, tail[1:])) >= _TAIL:
                        del tail[0]
            except zstandard.ZstdError as error:
                unreadable = f"it cannot be decompressed: {error}"
            while stored.read(BLOCK):
                pass
    except OSError as error:
        return f"it cannot be read: {error.strerror or error}"
    if stored.count != entry.size or stored.sha256.hexdigest() != entry.sha256:
        return "it does not have the checksum in its manifest"
    if unreadable is not None:
        return unreadable
    if entry.plain_sha256 is not None and (plain.hexdigest(), size) != (entry.plain_sha256, entry.plain_bytes):
        return "the SQL in it does not have the checksum in its manifest"
    return check_ending(entry, b"".join(tail)) or check_script(entry)


def check_script(entry: Entry) -> str | None:
    """Return what psql would take for a command of its own, or pg_restore for a file's name; None if nothing."""
    if entry.path.name == CONTENTS:
        return find_foreign_name(entry.path.parent)
    if not entry.script:
        return None
    try:
        with open_plain(entry.path, entry.plain_bytes) as stream:
            found = find_command(Reader(stream, entry.name))
    except ScribeError as error:
        return error.message
    return f'line {found[0]} is a command to psql: "\\{found[1][:40]}"' if found else None


def check_ending(entry: Entry, tail: bytes) -> str | None:
    """Return what the end of a file lacks. tail: the last bytes of its SQL."""
    if entry.ending is not None and not tail.endswith(entry.ending):
        return "it does not end as a finished file does"
    if entry.dump and _COMPLETE not in tail:
        return "pg_dump did not finish it: its last line is missing"
    return None


def _plain_blocks(stored: _Digesting, *, compressed: bool) -> Iterator[bytes]:
    stream: _Digesting | zstandard.ZstdDecompressionReader = stored
    if compressed:
        decompressor = zstandard.ZstdDecompressor(max_window_size=WINDOW)
        stream = decompressor.stream_reader(stored, read_size=BLOCK, read_across_frames=True)  # type: ignore[arg-type]
    while block := stream.read(BLOCK):
        yield block
