"""A segment's text without the transactions that cannot hold what is looked for, at the speed of a search for bytes.

What begins and ends a transaction stands at the beginning of a line and nowhere else (docs/format.md, "Reserved line
beginnings"), in COPY data too, so whole transactions are passed over without being read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

from scribe.common.dialect import BEGIN_PREFIX, COMMIT_PREFIX

_BLOCK = 4 << 20
_LARGE = 16 << 20  # bytes of a transaction that is let through unseen
_LINE = 64  # bytes; a COMMIT line is shorter
DDL_LINE = b"\n-- ddl "  # begins a schema change
_BEGIN = b"\n" + BEGIN_PREFIX
_COMMIT = b"\n" + COMMIT_PREFIX


class Sieve:
    """Reads like a file. needles: each has to be in a transaction that is let through; other: or this instead."""

    def __init__(self, stream: IO[bytes], needles: tuple[bytes, ...], other: bytes | None = None) -> None:
        self._stream = stream
        self._needles = needles
        self._other = other
        self._blocks = self._let_through()

    def read(self, _size: int) -> bytes:
        """Return the next bytes, of any number; b"" at the end."""
        return next(self._blocks, b"")

    def _let_through(self) -> Iterator[bytes]:
        data = b""
        begun = passing = False  # the header has been let through; a transaction too large to look at is
        while block := self._stream.read(_BLOCK):
            data += block
            if not begun:
                first = data.find(_BEGIN)
                if first < 0:
                    continue
                begun = True
                yield data[: first + 1]
                data = data[first + 1 :]
            if passing:
                commit = data.find(_COMMIT)
                end = data.find(b"\n", commit + 1) + 1 if commit >= 0 else 0
                if not end:  # a COMMIT line may be torn
                    yield data[:-_LINE]
                    data = data[-_LINE:]
                    continue
                passing = False
                yield data[:end]
                data = data[end:]
            last = data.rfind(_COMMIT)
            end = data.find(b"\n", last + 1) + 1 if last >= 0 else 0
            if end:
                yield from self._chosen(data[:end])
                data = data[end:]
            passing = len(data) > _LARGE
        if data:
            yield data

    def _chosen(self, data: bytes) -> Iterator[bytes]:
        """Yield those of some whole transactions that hold every needle, or the other."""
        rarest, *others = self._needles
        at = 0
        needle, other = data.find(rarest), -1 if self._other is None else data.find(self._other)
        while (found := min((place for place in (needle, other) if place >= 0), default=-1)) >= 0:
            start = max(data.rfind(_BEGIN, at, found + 1) + 1, at)
            commit = data.find(_COMMIT, found)
            end = len(data) if commit < 0 else data.find(b"\n", commit + 1) + 1
            if 0 <= other < end or all(needle in data[start:end] for needle in others):
                yield data[start:end]
            at = end
            needle = data.find(rarest, at) if 0 <= needle < at else needle
            other = data.find(self._other, at) if self._other is not None and 0 <= other < at else other
