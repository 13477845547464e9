"""The decoders that there are."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from scribe.common.dialect import BEGIN_PREFIX, COMMIT_LINE, parse_begin
from scribe.common.errors import UsageError
from scribe.common.lsn import parse_lsn
from scribe.common.settings import Settings
from scribe.decoders.base import Decoder, Text
from scribe.spool import contents as spool
from scribe.spool.contents import FRAME, Scan, Spool, Tape


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
    plain = True

    def receiver_options(self, identity: Mapping[str, Any], left_out: Sequence[str] = ()) -> list[str]:
        """See Steps."""
        return [f"--option=leave-out={item}" for item in left_out]

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

    def open_text(self, spool_: Spool, tape: Tape, scan: Scan) -> Text:
        """See Decoder."""
        return _PlainText(tape)


# The others are imported when an archive needs them: each is a tenth of a program's start.
def _pgoutput() -> Decoder:
    from scribe.decoders.pgoutput import PgOutput

    return PgOutput()


def _decoder_raw() -> Decoder:
    from scribe.decoders.decoder_raw.decoder import DecoderRaw

    return DecoderRaw()


_MAKERS: dict[str, Callable[[], Decoder]] = {
    ScribeDecoder.plugin: ScribeDecoder,
    "pgoutput": _pgoutput,
    "decoder_raw": _decoder_raw,
}


@functools.cache
def decoder_named(plugin: str) -> Decoder:
    """Return the decoder of an output plugin. Raises KeyError if none of that name is known here."""
    return _MAKERS[plugin]()


def plugin_of(identity: Mapping[str, Any]) -> str:
    """Return the output plugin that archive.json names."""
    return str(identity["decoder"]).split()[0]


def decoder_of(identity: Mapping[str, Any]) -> Decoder:
    """Return the decoder of an archive. Raises UsageError where archive.json names one that is not known here."""
    plugin = plugin_of(identity)
    if plugin not in _MAKERS:
        known = ", ".join(_MAKERS)
        raise UsageError(f'the archive was made with decoder "{plugin}"', f"This version of pg_scribe knows {known}.")
    return decoder_named(plugin)


def check_setting(identity: Mapping[str, Any], settings: Settings) -> None:
    """Raise UsageError where SCRIBE_DECODER is set and names another decoder than the archive was made with.

    Or where no decoder of that name is known here: looking further would only find a slot that is another one's.
    """
    decoder_of(identity)
    wanted, plugin = settings["SCRIBE_DECODER"], plugin_of(identity)
    if settings.sources.get("SCRIBE_DECODER") not in (None, "default") and wanted != plugin:
        raise UsageError(
            f'the archive was made with decoder "{plugin}", and SCRIBE_DECODER is "{wanted}"',
            f"Set SCRIBE_DECODER={plugin}, or set SCRIBE_ARCHIVE to another directory.",
        )
