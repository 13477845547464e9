"""Several files read as one, by offsets from the first byte of the first."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scribe.common.errors import ScribeError

BLOCK = 4 << 20  # bytes read at a time
FRAME = 256  # bytes; longer than any frame line


Key = tuple[int, int]  # device and inode


def key_of(status: os.stat_result) -> Key:
    """Return what a file is known by."""
    return status.st_dev, status.st_ino


@dataclass(frozen=True)
class Place:
    """Where in the spool: a file and an offset in bytes."""

    path: Path
    offset: int


class Tape:
    """The spool's files read as one. Offsets count bytes from the first file's first; later additions are not seen.

    Use as a context manager. The files stay readable after they were renamed or removed.
    """

    def __init__(self, paths: list[Path]) -> None:
        self._files: list[tuple[int, int, int, Path]] = []  # start, end, descriptor, path
        self.size = 0
        try:
            for path in paths:
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                end = self.size + os.fstat(descriptor).st_size
                self._files.append((self.size, end, descriptor, path))
                self.size = end
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Tape:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files."""
        for _, _, descriptor, _ in self._files:
            os.close(descriptor)
        self._files = []

    def ends(self) -> list[tuple[Path, int]]:
        """Return each file with the offset at which it ends."""
        return [(path, end) for _, end, _, path in self._files]

    def inodes(self) -> list[tuple[Key, int, int]]:
        """Return what each file is known by, whatever its name, and where it begins and ends."""
        return [(key_of(os.fstat(descriptor)), start, end) for start, end, descriptor, _ in self._files]

    def sync(self) -> None:
        """Put what was written to the files on disk, whoever wrote it. Raises OSError."""
        for _, _, descriptor, _ in self._files:
            os.fsync(descriptor)

    def place(self, offset: int) -> Place:
        """Return the file and the offset in it; the end of a file rather than the beginning of the next."""
        for start, _, _, path in reversed(self._files):
            if offset > start or start == 0:
                return Place(path, offset - start)
        raise ScribeError("the spool has no files")

    def offset(self, path: Path, offset: int) -> int | None:
        """Return the tape offset of a place, or None when the tape does not have it."""
        for start, end, _, known in self._files:
            if known.name == path.name and start + offset <= end:
                return start + offset
        return None

    def read(self, offset: int, length: int) -> bytes:
        """Return up to length bytes from offset, from one file; b"" at the end of the tape."""
        length = min(length, self.size - offset)
        for start, end, descriptor, path in self._files:
            if start <= offset < end:
                data = os.pread(descriptor, min(length, end - offset), offset - start)
                if not data:
                    raise ScribeError(f'could not read "{path}": it became shorter')
                return data
        return b""

    def blocks(self, start: int, stop: int | None = None) -> Iterator[bytes]:
        """Yield the bytes between two offsets in blocks of at most BLOCK bytes."""
        stop = self.size if stop is None else stop
        while start < stop and (block := self.read(start, min(BLOCK, stop - start))):
            yield block
            start += len(block)

    def line(self, offset: int) -> bytes:
        """Return the frame line at offset: up to FRAME bytes, with its newline."""
        data = b"".join(self.blocks(offset, min(self.size, offset + FRAME)))
        return data[: data.find(b"\n") + 1]
