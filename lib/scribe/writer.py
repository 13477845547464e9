"""Writing a segment: header, a piece of the spool as it is, footer; compressed, counted and summed in one pass."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import zstandard

from scribe import FORMAT_VERSION, __version__, files
from scribe.archive import Archive, Segment
from scribe.dialect import INEXACT_LINE, ROWS_LINE, Sequence, build_footer, build_header, parse_begin
from scribe.errors import ScribeError
from scribe.lsn import file_lsn, format_lsn
from scribe.manifest import write_manifest
from scribe.spool import Tape

LEVEL = 3  # of zstd
OVERLAP = 8 << 10  # bytes; a comment line longer than this is cut short in the manifest
MOST_WARNINGS = 1000  # in one manifest
_KINDS = ("inserted", "updated", "deleted", "truncated", "ddl")
_WARNING = b"\n-- warning: "


@dataclass
class Piece:
    """What one segment takes from the tape: offsets, LSNs, and where its first and last transactions begin."""

    start: int
    stop: int
    from_lsn: int
    to_lsn: int = 0
    transactions: int = 0
    first: int | None = None
    last: int | None = None


@dataclass(frozen=True)
class Circumstances:
    """What the segments of one rotation have in common. sequences: None when the server was away."""

    identity: Mapping[str, Any]
    server_version: str
    timeline: int
    sequences: list[Sequence] | None
    warnings: list[str] = field(default_factory=list)
    compress: bool = True

    @property
    def decoder(self) -> str:
        """Name and version of the decoder."""
        name = str(self.identity["decoder"])
        return name if " " in name else f"{name} {__version__}"


class Counter:
    """Counts rows and collects warnings in blocks of text that follow each other."""

    def __init__(self) -> None:
        self.counts = dict.fromkeys(_KINDS, 0)
        self.warnings: list[str] = []
        self.left_out = 0
        self._tail = b"\n"

    def feed(self, block: bytes, *, last: bool = False) -> None:
        """Take the next block; what begins in its last OVERLAP bytes waits for the one after."""
        data = self._tail + block
        limit = len(data) if last else max(0, len(data) - OVERLAP)
        self._count(data, limit)
        if data.find(_WARNING, 0, limit + len(_WARNING)) >= 0:
            self._warn(data, limit)
        if data.find(b" inexact: ") >= 0:
            for match in INEXACT_LINE.finditer(data):
                if match.start() < limit:
                    self._add(f"inexact DDL: {match[1].decode(errors='replace')}")
        self._tail = data[limit:]

    def _count(self, data: bytes, limit: int) -> None:
        counts = self.counts
        for match in ROWS_LINE.finditer(data, 0, min(len(data), limit + OVERLAP)):
            if match.start() >= limit:
                break
            for kind, number in zip(_KINDS, match.groups(), strict=True):
                if number is not None:
                    counts[kind] += int(number)

    def _warn(self, data: bytes, limit: int) -> None:
        at = data.find(_WARNING)
        while 0 <= at < limit:
            text = at + len(_WARNING)
            end = data.find(b"\n", text, text + OVERLAP - 64)
            self._add(data[text : end if end >= 0 else text + OVERLAP - 64].decode(errors="replace"))
            at = data.find(_WARNING, text - 1)

    def _add(self, text: str) -> None:
        if len(self.warnings) < MOST_WARNINGS:
            self.warnings.append(text)
        else:
            self.left_out += 1

    def all_warnings(self) -> list[str]:
        """Return the warnings, with a last one for those that were too many."""
        more = [f"{self.left_out} more warnings stand in the file"] if self.left_out else []
        return self.warnings + more


class _Summed:
    """A file that is written once: counts and sums what goes into it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream = stream
        self.sum = hashlib.sha256()
        self.bytes = 0

    def write(self, data: bytes) -> int:
        self.stream.write(data)
        self.sum.update(data)
        self.bytes += len(data)
        return len(data)


def write_plain(path: Path, blocks: Iterable[bytes], *, compress: bool) -> dict[str, Any]:
    """Write blocks to path, durably; return bytes, sha256, plain_bytes and plain_sha256 as the manifest has them."""
    plain_sum, plain_bytes = hashlib.sha256(), 0
    with open(path, "xb", buffering=0, opener=lambda p, flags: os.open(p, flags, files.FILE_MODE)) as raw:
        stored = _Summed(raw)
        compressor = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compressobj()
        for block in blocks:
            plain_sum.update(block)
            plain_bytes += len(block)
            data = compressor.compress(block) if compress else block
            if data:
                stored.write(data)
        if compress:
            stored.write(compressor.flush())
        os.fsync(raw.fileno())
    return {
        "bytes": stored.bytes,
        "sha256": stored.sum.hexdigest(),
        "plain_bytes": plain_bytes,
        "plain_sha256": plain_sum.hexdigest(),
    }


def _time_of(tape: Tape, offset: int | None) -> str | None:
    if offset is None:
        return None
    begin = parse_begin(tape.line(offset))
    return begin.time if begin else None


def _text(tape: Tape, piece: Piece, facts: Circumstances, counter: Counter) -> Iterable[bytes]:
    yield build_header(
        database=facts.identity["database"],
        decoder=facts.decoder,
        server=facts.server_version,
        encoding=facts.identity["encoding"],
        from_lsn=piece.from_lsn,
    ).encode()
    for block in tape.blocks(piece.start, piece.stop):
        counter.feed(block)
        yield block
    counter.feed(b"", last=True)
    yield build_footer(sequences=facts.sequences or (), to_lsn=piece.to_lsn).encode()


def write_segment(
    archive: Archive,
    tape: Tape,
    piece: Piece,
    facts: Circumstances,
    *,
    previous: Segment | None,
    announce: Callable[[list[Path]], None],
) -> Segment:
    """Write one segment and, last, its manifest.

    previous: the segment it continues, None where a chain starts; announce: told of both files before they get
    their names.
    """
    name = f"{archive.closing_stamp()}-{file_lsn(piece.to_lsn)}"
    data = archive.incremental / (name + (".sql.zst" if facts.compress else ".sql"))
    path = archive.incremental / f"{name}.json"
    announce([data, path])
    counter = Counter()
    temporary = files.temporary_path(data)
    try:
        sums = write_plain(temporary, _text(tape, piece, facts, counter), compress=facts.compress)
        if data.exists():
            raise ScribeError(f'file "{data}" exists already')
        files.publish(temporary, data, exclusive=True)
    except Exception:
        temporary.unlink(missing_ok=True)
        raise
    sequences = facts.sequences
    manifest = {
        "format_version": FORMAT_VERSION,
        "file": data.name,
        **sums,
        "database": facts.identity["database"],
        "system_identifier": facts.identity["system_identifier"],
        "from_lsn": format_lsn(piece.from_lsn),
        "to_lsn": format_lsn(piece.to_lsn),
        "first_commit_time": _time_of(tape, piece.first),
        "last_commit_time": _time_of(tape, piece.last),
        "counts": {"transactions": piece.transactions, **counter.counts},
        "previous_sha256": previous.manifest["sha256"] if previous else None,
        "chain_start": previous is None,
        "sequences": None
        if sequences is None
        else [
            {"schema": s.schema, "name": s.name, "last_value": s.last_value, "is_called": s.is_called}
            for s in sequences
        ],
        "decoder": facts.decoder,
        "server_version": facts.server_version,
        "timeline": facts.timeline,
        "closed": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "warnings": facts.warnings + counter.all_warnings(),
    }
    write_manifest("segment", path, manifest)
    return Segment(path, manifest)
