"""What the spool holds beyond the last segment: whole transactions that a restore may apply when the source is gone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import IO, Any, cast

from scribe.archive import Archive
from scribe.dialect import HEADER_SETTINGS, quote_literal
from scribe.errors import ScribeError
from scribe.segments import Reader
from scribe.spool import Scan, Spool, Tape, find_start


class _Stream:
    """A stretch of a tape as a file that can be read."""

    def __init__(self, tape: Tape, start: int, stop: int) -> None:
        self._tape, self._at, self._stop = tape, start, stop

    def read(self, size: int) -> bytes:
        data = self._tape.read(self._at, min(size, self._stop - self._at)) if self._at < self._stop else b""
        self._at += len(data)
        return data


def count_bytes(archive: Archive) -> int:
    """Return how many bytes of the spool no segment holds yet; 0 where that cannot be known."""
    spool, last = Spool(archive.spool), archive.last_segment()
    try:
        with Tape(spool.paths()) as tape:
            return tape.size - find_start(tape, spool, last.to_lsn if last else 0)
    except (OSError, ScribeError):
        return 0


@contextlib.contextmanager
def open_transactions(archive: Archive, identity: Mapping[str, Any], archived: int) -> Iterator[Reader]:
    """Open the whole transactions that follow archived (LSN). Raises ScribeError for a spool that is not the archive's.

    A torn transaction at the end is left out.
    """
    spool = Spool(archive.spool)
    if spool.read_id() != identity["spool_id"]:
        raise ScribeError(
            f'the spool in "{spool.path}" is not the one archive.json names', "Leave out --include-spool."
        )
    with Tape(spool.paths()) as tape:
        start = find_start(tape, spool, archived)
        scan = Scan(tape, start, 0).run()
        scan.refuse_damage()
        yield Reader(cast(IO[bytes], _Stream(tape, start, scan.end)), "the spool")


def session_settings(encoding: str) -> bytes:
    """Return what a segment's header sets, for transactions that are in no segment yet."""
    lines = [f"SET client_encoding = {quote_literal(encoding)};\n"]
    lines += [f"SET {name} = {value};\n" for name, value in HEADER_SETTINGS]
    return "".join(lines).encode()
