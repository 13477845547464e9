"""What the spool holds beyond the last segment: whole transactions that a restore may apply when the source is gone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import IO, Any, cast

from scribe.archive.layout import Archive
from scribe.archive.segments import Reader
from scribe.common.dialect import HEADER_SETTINGS, quote_literal
from scribe.common.errors import ScribeError
from scribe.decoders.registry import decoder_of
from scribe.spool.contents import Spool, Tape


class BlockStream:
    """Blocks of bytes as a file that can be read."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._rest = memoryview(b"")

    def read(self, size: int) -> bytes:
        if not self._rest:
            self._rest = memoryview(next((block for block in self._blocks if block), b""))
        data, self._rest = self._rest[:size], self._rest[size:]
        return bytes(data)


def count_bytes(archive: Archive) -> int:
    """Return how many bytes of the spool no segment holds yet; 0 where that cannot be known."""
    spool, last = Spool(archive.spool), archive.last_segment()
    try:
        with Tape(spool.paths()) as tape:
            return tape.size - decoder_of(archive.identity()).find_start(tape, spool, last.to_lsn if last else 0)
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
        decoder = decoder_of(identity)
        start = decoder.find_start(tape, spool, archived)
        scan = decoder.scan(tape, start).run()
        scan.refuse_damage()
        text = decoder.open_text(spool, tape, scan)
        yield Reader(cast(IO[bytes], BlockStream(text.blocks(start, scan.end))), "the spool")


def session_settings(encoding: str) -> bytes:
    """Return what a segment's header sets, for transactions that are in no segment yet."""
    lines = [f"SET client_encoding = {quote_literal(encoding)};\n"]
    lines += [f"SET {name} = {value};\n" for name, value in HEADER_SETTINGS]
    return "".join(lines).encode()
