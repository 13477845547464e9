"""Waiting until what is committed now has reached the spool: a mark goes into the source's WAL and is looked for."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from pathlib import Path
from typing import Any

import psycopg

from scribe.archive.layout import Archive
from scribe.common.errors import TryAgainError
from scribe.common.lsn import format_lsn
from scribe.common.process import from_json
from scribe.decoders.base import Decoder
from scribe.decoders.registry import decoder_of
from scribe.source import server as source
from scribe.spool.contents import Spool, Tape, part_number

POLL = 0.02  # seconds between looks at the spool
ASK = 1.0  # seconds between questions to the server
ABSENCE = 30.0  # seconds that scribe-stream may be away: it is starting, or systemd is about to start it again


class MarkWatch:
    """Looks for a mark in what is added to the spool from now on, reading each byte once."""

    def __init__(self, spool: Spool, decoder: Decoder, mark: str) -> None:
        self._spool = spool
        self._decoder = decoder
        self._line = decoder.mark(mark)
        self._read: dict[tuple[int, int], int] = {}  # device and inode -> bytes looked at
        for path in self._paths():
            with contextlib.suppress(FileNotFoundError):
                status = os.stat(path)
                self._read[status.st_dev, status.st_ino] = status.st_size

    def _paths(self) -> list[Path]:
        """Return what files there are; a rotation that was killed has left none under the name of the one written."""
        names = sorted(entry.name for entry in os.scandir(self._spool.path))
        stream = [self._spool.stream] if self._spool.stream.exists() else []
        return [self._spool.path / n for n in names if part_number(Path(n))] + stream

    def size(self) -> int:
        """Return how much has been looked at, in bytes."""
        return sum(self._read.values())

    def look(self) -> int | None:
        """Return the end LSN of the transaction with the mark once it is whole in the spool, else None."""
        try:
            paths = self._paths()
            for number, path in enumerate(paths):
                status = os.stat(path)
                with Tape([path]) as tape:
                    found = self._find(tape, (status.st_dev, status.st_ino))
                if found is not None:
                    with Tape(paths[number:]) as tape:
                        return self._decoder.end_after(tape, found)
        except FileNotFoundError:  # a rotation renames just now; the next look finds it
            pass
        return None

    def _find(self, tape: Tape, key: tuple[int, int]) -> int | None:
        """Return the offset after the mark, or None."""
        start = self._read.get(key, 0)
        if start > tape.size:  # cut when the stream started again, or another file with the same inode
            start = 0
        start = max(0, start - len(self._line))
        data, base = (b"", start) if start else (b"\n", -1)
        for block in tape.blocks(start):
            data += block
            at = data.find(self._line)
            if at >= 0:
                self._read[key] = max(0, base + at)
                return base + at + len(self._line)
            keep = max(0, len(data) - len(self._line))
            data, base = data[keep:], base + keep
        self._read[key] = tape.size
        return None


class StreamWatch:
    """Notices when scribe-stream has been away for too long to be merely starting."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._seen = time.monotonic()

    def check(self, patience: float) -> None:
        """Raise TryAgainError when no stream has run for ABSENCE, or for patience if that is less (seconds)."""
        stream = from_json(self._spool.read_processes().get("stream"))
        if stream is not None and stream.alive():
            self._seen = time.monotonic()
        elif time.monotonic() - self._seen >= min(ABSENCE, patience):
            raise TryAgainError(
                "no stream is running that could bring what is committed into the archive",
                "Start scribe-stream, then try again.",
            )


def _newest_segment(archive: Archive) -> str:
    return (archive.segment_names() or [""])[-1]


def _await_mark(archive: Archive, spool: Spool, conn: psycopg.Connection[Any], slot: str, timeout: float) -> int | None:
    """Write one mark and return its end LSN; None when another rotation may have taken it out of the spool unseen."""
    newest = _newest_segment(archive)
    mark = f"rotate.{secrets.token_hex(8)}"
    decoder = decoder_of(archive.identity())
    watch = MarkWatch(spool, decoder, mark)
    stream = StreamWatch(spool)
    source.emit_mark(conn, mark)
    progress: tuple[int, str | None] = (-1, None)
    moved = asked = time.monotonic()
    written = source.inspect(conn).flush_lsn
    while (found := watch.look()) is None:
        now = time.monotonic()
        if now - asked >= ASK:
            asked = now
            stream.check(timeout)
            if _newest_segment(archive) != newest:
                return None
            state = (watch.size(), source.sent_lsn(conn, slot))
            progress, moved = state, (now if state != progress else moved)
            if now - moved > timeout:
                raise TryAgainError(
                    f"the stream made no progress for {timeout:g} s",
                    f'Look at what scribe-stream says, and at slot "{slot}" in pg_replication_slots.',
                )
        time.sleep(POLL)
    return found if decoder.points == "transaction" else written


def wait_for_now(
    archive: Archive, conn: psycopg.Connection[Any], slot: str, timeout: float, lsn: int | None = None
) -> int:
    """Wait until everything committed before now is in the spool or in segments; return an LSN past it.

    lsn: wait until the server's WAL has reached it first; timeout: seconds without any progress.
    Raises TryAgainError.
    """
    spool = Spool(archive.spool)
    started = time.monotonic()
    while lsn is not None and source.inspect(conn).flush_lsn < lsn:
        if time.monotonic() - started > timeout:
            raise TryAgainError(
                f"the server's WAL did not reach {format_lsn(lsn)} within {timeout:g} s",
                'Compare it with "SELECT pg_current_wal_lsn()".',
            )
        time.sleep(0.1)
    while (found := _await_mark(archive, spool, conn, slot, timeout)) is None:
        pass
    return found
