"""Where the data of a base's long COPYs end: for whoever reads the base and wants the rows of few of its tables.

The manifest tells it of each COPY with at least LEAST bytes of data; in a compressed file a zstd frame ends there. It
is looked up by the place where a reader has met a COPY, and never taken for one, so that a line in the body of a
function that looks like a COPY does no harm.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from scribe.archive.segments import open_plain

LEAST = 4 << 20  # bytes of data
_LONG_LINE = 4 << 20  # bytes of a line that is given out before its end
_COPY = re.compile(rb"\nCOPY [^\n]+ FROM stdin;\n")
_END = b"\n\\.\n"


class Scanner:
    """Cuts a dump where the data of a long COPY ends: before the line that ends it."""

    def __init__(self) -> None:
        self._held = b"\n"  # what was given out last, one byte, and what was not yet
        self._passed = -1  # bytes before that
        self._seen = 0  # where in it to look on
        self._from: int | None = None  # where the data of the COPY begins that we are in

    def feed(self, block: bytes) -> Iterator[tuple[bytes, tuple[int, int] | None]]:
        """Take the next block; yield what is whole, each part with the beginning and end of data that it ends with."""
        data, at, look = self._held + block, 1, self._seen
        while True:
            if self._from is None:
                match = _COPY.search(data, look)
                if match is None:
                    break
                self._from, look = self._passed + match.end(), match.end() - 1
            else:
                found = data.find(_END, look)
                if found < 0:
                    break
                begin, end, self._from, look = self._from, self._passed + found + 1, None, found + 2
                if end - begin >= LEAST:
                    yield data[at : found + 1], (begin, end)
                    at = found + 1
        keep = len(data) - len(_END) + 1 if self._from is not None else data.rfind(b"\n")
        keep = max(keep, at, look)
        if len(data) - keep > _LONG_LINE:
            keep = len(data)
        yield data[at:keep], None
        self._held, self._passed, self._seen = data[keep - 1 :], self._passed + keep - 1, 0

    def end(self) -> bytes:
        """Return what is left."""
        return self._held[1:]


class Skippable:
    """The SQL of a base as a file to read from. size: as in its manifest; skips: likewise."""

    def __init__(self, path: Path, size: int | None, skips: Iterable[Sequence[int]]) -> None:
        self._path, self._size = path, size
        self._ends = {begin: (end, stored) for begin, end, stored in skips}
        self._stream = open_plain(path, size)
        self._passed = 0

    def __enter__(self) -> Skippable:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def read(self, size: int) -> bytes:
        """Return the next bytes."""
        data = self._stream.read(size)
        self._passed += len(data)
        return data

    def jump(self, held: int) -> bool:
        """Go on at the end of the COPY whose data begin held bytes before what is read next, if that is known."""
        end, stored = self._ends.get(self._passed - held, (0, 0))
        if end <= self._passed:
            return False
        self._stream.close()
        self._stream = open_plain(self._path, None if self._size is None else self._size - end, at=stored)
        self._passed = end
        return True
