"""The seam between the archive and the output plugin that fills the spool.

A decoder says how pg_recvlogical asks for its stream, how the spool is cut into whole transactions, and how these
become the SQL of docs/format.md. Nothing that reads a segment knows which decoder it came from.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from scribe import spool
from scribe.dialect import BEGIN_PREFIX, COMMIT_LINE, parse_begin
from scribe.errors import UsageError
from scribe.lsn import parse_lsn
from scribe.spool import FRAME, Scan, Spool, Tape


class Text(ABC):
    """The SQL of a spool. Pieces are asked for once each, in the order of the tape."""

    @abstractmethod
    def blocks(self, start: int, stop: int) -> Iterator[bytes]:
        """Yield the SQL of the whole transactions between two tape offsets. Raises ScribeError."""

    @abstractmethod
    def commit_time(self, offset: int) -> str | None:
        """Return the commit time, as in a BEGIN line, of the transaction at a tape offset."""

    def save(self) -> None:  # noqa: B027  most decoders carry nothing over
        """Keep what the next rotation must know of what was read; before anything of it is removed from the spool."""


class Decoder(ABC):
    """One output plugin."""

    plugin: str

    def receiver_options(self, identity: Mapping[str, Any]) -> list[str]:
        """Return what pg_recvlogical is to ask of the plugin, as its flags; identity: archive.json."""
        return []

    def server_options(self, identity: Mapping[str, Any]) -> str:
        """Return the "-c name=value" options of pg_recvlogical's connection."""
        return ""

    @abstractmethod
    def scan(self, tape: Tape, start: int, position: int = 0, tick: Callable[[], None] = lambda: None) -> Scan:
        """Return the whole transactions on a tape from an offset on; see Scan."""

    @abstractmethod
    def find_start(self, tape: Tape, spool: Spool, archived: int) -> int:
        """Return the tape offset of a transaction before which everything is archived; archived: LSN of segments."""

    @abstractmethod
    def frames_after(self, tape: Tape, offset: int, position: int) -> int | None:
        """Return the lowest commit LSN from position on in what cutting at offset removes, or None."""

    @abstractmethod
    def first_time(self, block: bytes) -> str | None:
        """Return the first commit time in the first bytes of a spool file, as in a BEGIN line, or None."""

    @abstractmethod
    def mark(self, name: str) -> bytes:
        """Return the bytes by which a mark called name shows in the spool, up to its end."""

    @abstractmethod
    def end_after(self, tape: Tape, offset: int) -> int | None:
        """Return the end LSN of the transaction that the mark which ends at offset stands in, None if it is torn."""

    @abstractmethod
    def open_text(self, spool: Spool, tape: Tape, start: int) -> Text:
        """Return the SQL of the tape; start: the tape offset from which on it will be asked for."""


class _PlainText(Text):
    def __init__(self, tape: Tape) -> None:
        self._tape = tape

    def blocks(self, start: int, stop: int) -> Iterator[bytes]:
        return self._tape.blocks(start, stop)

    def commit_time(self, offset: int) -> str | None:
        begin = parse_begin(self._tape.line(offset))
        return begin.time if begin else None


class ScribeDecoder(Decoder):
    """Our own plugin: what it writes is the SQL of a segment already."""

    plugin = "scribe_decoder"

    def scan(self, tape: Tape, start: int, position: int = 0, tick: Callable[[], None] = lambda: None) -> Scan:
        """See Decoder."""
        return Scan(tape, start, position, tick)

    def find_start(self, tape: Tape, spool_: Spool, archived: int) -> int:
        """See Decoder."""
        return spool.find_start(tape, spool_, archived)

    def frames_after(self, tape: Tape, offset: int, position: int) -> int | None:
        """See Decoder."""
        return spool.frames_after(tape, offset, position)

    def first_time(self, block: bytes) -> str | None:
        """See Decoder."""
        at = 0 if block.startswith(BEGIN_PREFIX) else block.find(b"\n" + BEGIN_PREFIX) + 1
        begin = parse_begin(block[at : block.find(b"\n", at) + 1])
        return begin.time if begin else None

    def mark(self, name: str) -> bytes:
        """See Decoder."""
        return f"\n-- mark {name}\n".encode()

    def end_after(self, tape: Tape, offset: int) -> int | None:
        """See Decoder."""
        data = b""
        for block in tape.blocks(offset):
            data += block
            match = COMMIT_LINE.search(data)
            if match is not None:
                return parse_lsn(match[1].decode())
            if len(data) > 16 * FRAME:
                data = b"\n" + data[-FRAME:]
        return None

    def open_text(self, spool_: Spool, tape: Tape, start: int) -> Text:
        """See Decoder."""
        return _PlainText(tape)


DECODERS: dict[str, Decoder] = {decoder.plugin: decoder for decoder in (ScribeDecoder(),)}


def plugin_of(identity: Mapping[str, Any]) -> str:
    """Return the output plugin that archive.json names."""
    return str(identity["decoder"]).split()[0]


def decoder_of(identity: Mapping[str, Any]) -> Decoder:
    """Return the decoder of an archive. Raises UsageError where archive.json names one that is not known here."""
    plugin = plugin_of(identity)
    if plugin not in DECODERS:
        known = ", ".join(DECODERS)
        raise UsageError(f'the archive was made with decoder "{plugin}"', f"This version of pg_scribe knows {known}.")
    return DECODERS[plugin]
