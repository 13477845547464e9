"""The table of contents of a dump in directory format: which files pg_restore would read by it.

A name in it may lead out of the directory, and pg_restore of many versions follows it: an archive that somebody else
has made would bring the files of whoever restores it into the database.
"""

from __future__ import annotations

import io
import re
from pathlib import Path

from scribe.common.errors import ScribeError
from scribe.common.files import open_archived, read_archived

CONTENTS = "toc.dat"
MAGIC = b"PGDMP"
_DIRECTORY = 3  # the format's number
_OLDEST, _NEWEST = (1, 14, 0), (1, 16, 0)  # of PostgreSQL 12 and 17
_DATA = re.compile(rb"[0-9]+\.dat|blobs(?:_[0-9]+)?\.toc|")
_BLOB = re.compile(rb"[0-9]+ blob_[0-9]+\.dat\n?")
# All that pg_dump writes there. Other names may mean something to a pg_restore: toc.glo, a dump of a whole cluster.
_FILE = re.compile(r"toc\.dat|(?:blob_)?[0-9]+\.dat(?:\.(?:gz|lz4|zst))?|blobs(?:_[0-9]+)?\.toc", re.ASCII)
_LONGEST = 4096  # bytes of a line that pg_restore reads
_INT_SIZE, _OFFSET_SIZE = 4, 8  # bytes; PostgreSQL has no others
_INT_MAX = 2**31 - 1


class _Contents:
    """What is in toc.dat, from a place on. Raises ScribeError where it ends too early.

    What pg_dump does not write is refused, too, wherever it is: pg_restore could read it otherwise. -4294967295 is 1 to
    it.
    """

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, len(MAGIC)

    @property
    def is_read(self) -> bool:
        return self._at == len(self._data)

    def byte(self) -> int:
        return self._take(1)[0]

    def number(self) -> int:
        sign, value = self.byte(), int.from_bytes(self._take(_INT_SIZE), "little")
        if value > _INT_MAX or sign > (value > 0):
            raise ScribeError("it has a number that is not pg_dump's")
        return -value if sign else value

    def count(self) -> int:
        number = self.number()
        if number < 0:
            raise ScribeError("it has a number that is not pg_dump's")
        return number

    def text(self) -> bytes | None:
        length = self.number()
        if length < -1:
            raise ScribeError("it has a number that is not pg_dump's")
        return None if length < 0 else self._take(length)

    def _take(self, size: int) -> bytes:
        taken = self._data[self._at : self._at + size]
        if len(taken) < size:
            raise ScribeError("it ends too early")
        self._at += size
        return taken


def find_foreign_name(directory: Path) -> str | None:
    """Return what is wrong with the names of files in a dump and in its table of contents, or None. Raises OSError."""
    try:
        for path in directory.iterdir():
            if _FILE.fullmatch(path.name) is None:
                raise ScribeError(f'beside it is "{path.name[:80]}", which pg_dump has not written')
        for name in _file_names(read_archived(directory / CONTENTS)):
            if _DATA.fullmatch(name) is None:
                raise ScribeError(f'it names the file "{name[:80].decode("utf-8", "replace")}"')
        for path in directory.glob("blobs*.toc*"):
            with io.BufferedReader(open_archived(path)) as stream:
                while line := stream.readline(_LONGEST):
                    if _BLOB.fullmatch(line) is None:
                        raise ScribeError(f'"{path.name}" has a line that is not pg_dump\'s')
    except ScribeError as error:
        return error.message
    return None


def _file_names(data: bytes) -> list[bytes]:
    """Return the names of files in a table of contents. Raises ScribeError for what pg_dump has not written."""
    if not data.startswith(MAGIC):
        raise ScribeError("pg_dump has not written it")
    contents = _Contents(data)
    version = (contents.byte(), contents.byte(), contents.byte())
    if not _OLDEST <= version <= _NEWEST:
        raise ScribeError("it has version {}.{}, which this pg_scribe does not know".format(*version))
    if (contents.byte(), contents.byte()) != (_INT_SIZE, _OFFSET_SIZE):
        raise ScribeError("it has numbers of other sizes than PostgreSQL's")
    if contents.byte() != _DIRECTORY:
        raise ScribeError("it is not that of a directory")
    contents.byte() if version >= (1, 15, 0) else contents.number()  # the compression
    for _ in range(7):
        contents.number()  # the time
    for _ in range(3):
        contents.text()  # database, versions
    names = [_read_entry(contents, version) for _ in range(contents.count())]
    if not contents.is_read:
        raise ScribeError("it goes on after its end")
    return names


def _read_entry(contents: _Contents, version: tuple[int, int, int]) -> bytes:
    """Take one entry; return the name of its file, nothing if it has none."""
    for _ in range(2):
        contents.number()  # its number, whether it has data
    for _ in range(4):
        contents.text()  # OIDs, tag, kind
    contents.number()  # section
    for _ in range(6):
        contents.text()  # statements, schema, tablespace, access method
    if version >= (1, 16, 0):
        contents.number()  # kind of relation
    for _ in range(2):
        contents.text()  # owner, OIDs of rows
    while contents.text() is not None:
        pass  # what it depends on
    return contents.text() or b""
