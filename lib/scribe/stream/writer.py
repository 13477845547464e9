"""Writing a segment: header, a piece of the spool as it is, footer; compressed, counted and summed in one pass."""

from __future__ import annotations

import collections
import contextlib
import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, TypeVar

import zstandard

from scribe import FORMAT_VERSION, __version__
from scribe.archive.layout import Archive, Segment
from scribe.archive.manifest import write_manifest
from scribe.archive.summary import Summary
from scribe.common import files
from scribe.common.dialect import (
    INEXACT_LINE,
    OBJECTS_BEGIN,
    OBJECTS_END,
    ROWS_LINE,
    WARNING_LINE,
    Sequence,
    build_footer,
    build_header,
)
from scribe.common.encodings import python_codec
from scribe.common.errors import ScribeError
from scribe.common.lsn import file_lsn, format_lsn, parse_lsn
from scribe.decoders.base import Text

LEVEL = 1  # of zstd: on plain SQL hardly larger than level 3, and twice as fast
LONGEST = 4 << 10  # bytes; a comment line longer than this is cut short in the manifest
MOST_WARNINGS = 1000  # in one manifest
_EMPTIED = re.compile(rb"\nDELETE FROM ONLY [^\n]*; -- \* rows\n")
_KINDS = ("inserted", "updated", "deleted", "truncated", "ddl")
_COMMENT = re.compile(rb"\n-- [^\n]*(?=\n)")

_Answer = TypeVar("_Answer")


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
    """What the segments of one rotation have in common. sequences: None when the server was away.

    recorded: what the source held at a point before the end of the newest.
    """

    identity: Mapping[str, Any]
    server_version: str
    timeline: int
    sequences: list[Sequence] | None
    objects: Callable[[], Iterable[str]] | None = None  # statements for large objects that changed
    warnings: list[str] = field(default_factory=list)
    compress: bool = True
    recorded: Mapping[str, Any] | None = None

    @property
    def decoder(self) -> str:
        """Name and version of the decoder."""
        name = str(self.identity["decoder"])
        return name if " " in name else f"{name} {__version__}"


class Counter:
    """Counts rows and collects warnings in blocks of text that follow each other."""

    def __init__(self, codec: str = "utf-8") -> None:
        self.counts = dict.fromkeys(_KINDS, 0)
        self._summary: Summary | None = Summary(codec)
        self.warnings: list[str] = []
        self.left_out = 0
        self.emptied = False  # a table whose rows follow was emptied
        self._tail = b"\n"

    def feed(self, block: bytes) -> None:
        """Take the next block: whole lines are looked at, and the beginning of the last one waits for its end."""
        self._ask(lambda summary: summary.feed(block))
        data = self._tail + block
        end = data.rfind(b"\n")
        self._tail = data[end : end + LONGEST]
        self.emptied = self.emptied or _EMPTIED.search(data) is not None
        # counted first: a line says the same however often it stands there
        for line, times in collections.Counter(_COMMENT.findall(data, 0, end + 1)).items():
            if match := ROWS_LINE.match(line + b"\n"):
                for kind, number in zip(_KINDS, match.groups(), strict=True):
                    self.counts[kind] += int(number or 0) * times
            elif match := WARNING_LINE.match(line + b"\n"):
                self._add(match[1][:LONGEST].decode(errors="replace"), times)
            elif match := INEXACT_LINE.match(line + b"\n"):
                self._add(f"inexact DDL: {match[1][:LONGEST].decode(errors='replace')}", times)

    def _ask(self, step: Callable[[Summary], _Answer]) -> _Answer | None:
        """Do a step for the manifest's lists, which no restore needs: no rotation fails because of a text in them."""
        if self._summary is None:
            return None
        try:
            return step(self._summary)
        except Exception as error:
            self._summary = None
            reason = f"{type(error).__name__} {error}".strip()
            self._add(f"the manifest does not list what the segment holds: {reason}", 1)
            return None

    def summary(self) -> dict[str, Any]:
        """Return the manifest's lists of what the segment holds; none if they could not be made."""
        return self._ask(Summary.as_manifest) or {}

    def _add(self, text: str, times: int) -> None:
        room = MOST_WARNINGS - len(self.warnings)
        self.warnings += [text] * min(times, room)
        self.left_out += max(0, times - room)

    def changed(self) -> int | None:
        """Return how many rows were updated or deleted, None if a target's statistics would not show that.

        TRUNCATE forgets what its transaction did to the table before, a dropped table's statistics go with it, and a
        table whose rows are sent again is emptied first.
        """
        if self.counts["truncated"] or self.counts["ddl"] or self.emptied:
            return None
        return self.counts["updated"] + self.counts["deleted"]

    def all_warnings(self) -> list[str]:
        """Return the warnings, with a last one for those that were too many."""
        more = [f"{self.left_out} more warnings stand in the file"] if self.left_out else []
        return self.warnings + more


class Storage:
    """A segment's file while it is written: what goes in is plain SQL. Use storing()."""

    def __init__(self, stream: IO[bytes], *, compress: bool, level: int) -> None:
        self._stream = stream
        self._compressor = (
            zstandard.ZstdCompressor(level=level, write_checksum=True).compressobj() if compress else None
        )
        self._sum, self._bytes = hashlib.sha256(), 0
        self._plain_sum, self._plain_bytes = hashlib.sha256(), 0

    def write(self, block: bytes) -> None:
        """Take the next block of SQL."""
        self._plain_sum.update(block)
        self._plain_bytes += len(block)
        self._store(self._compressor.compress(block) if self._compressor else block)

    def finish(self) -> dict[str, Any]:
        """Store what is left; return bytes, sha256, plain_bytes and plain_sha256 as the manifest has them."""
        if self._compressor:
            self._store(self._compressor.flush())
        os.fsync(self._stream.fileno())
        return {
            "bytes": self._bytes,
            "sha256": self._sum.hexdigest(),
            "plain_bytes": self._plain_bytes,
            "plain_sha256": self._plain_sum.hexdigest(),
        }

    def _store(self, data: bytes) -> None:
        if data:
            self._stream.write(data)
            self._sum.update(data)
            self._bytes += len(data)


@contextlib.contextmanager
def storing(path: Path, *, compress: bool, level: int = LEVEL) -> Iterator[Storage]:
    """Open a new file for a segment's SQL."""
    with open(path, "xb", buffering=0, opener=lambda p, flags: os.open(p, flags, files.FILE_MODE)) as raw:
        yield Storage(raw, compress=compress, level=level)


def write_plain(path: Path, blocks: Iterable[bytes], *, compress: bool) -> dict[str, Any]:
    """Write blocks to path, durably; return bytes, sha256, plain_bytes and plain_sha256 as the manifest has them."""
    with storing(path, compress=compress) as storage:
        for block in blocks:
            storage.write(block)
        return storage.finish()


def _text(
    text: Text, piece: Piece, facts: Circumstances, counter: Counter, objects: Callable[[], Iterable[str]] | None
) -> Iterable[bytes]:
    yield build_header(
        database=facts.identity["database"],
        decoder=facts.decoder,
        server=facts.server_version,
        encoding=facts.identity["encoding"],
        from_lsn=piece.from_lsn,
    ).encode()
    for block in text.blocks(piece.start, piece.stop):
        counter.feed(block)
        yield block
    if objects is not None:
        yield OBJECTS_BEGIN
        for line in objects():
            yield line.encode()
        yield OBJECTS_END
    yield build_footer(sequences=facts.sequences or (), to_lsn=piece.to_lsn, changed=counter.changed()).encode()


def write_segment(
    archive: Archive,
    text: Text,
    piece: Piece,
    facts: Circumstances,
    *,
    previous: Segment | None,
    announce: Callable[[list[Path]], None],
    newest: bool = True,
) -> Segment:
    """Write one segment and, last, its manifest.

    previous: the segment it continues, None where a chain starts; announce: called with both files before they get
    their names; newest: nothing follows it in this rotation, so that the large objects go with it.
    """
    name = f"{archive.closing_stamp()}-{file_lsn(piece.to_lsn)}"
    data = archive.incremental / (name + (".sql.zst" if facts.compress else ".sql"))
    path = archive.incremental / f"{name}.json"
    announce([data, path])
    counter = Counter(python_codec(facts.identity["encoding"]))
    temporary = files.temporary_path(data)
    try:
        blocks = _text(text, piece, facts, counter, facts.objects if newest else None)
        sums = write_plain(temporary, blocks, compress=facts.compress)
        if data.exists():
            raise ScribeError(f'file "{data}" exists already')
        files.publish(temporary, data, exclusive=True)
    except Exception:
        temporary.unlink(missing_ok=True)
        raise
    sequences = facts.sequences
    lists = counter.summary()  # may add a warning
    manifest = {
        "format_version": FORMAT_VERSION,
        "file": data.name,
        **sums,
        "database": facts.identity["database"],
        "system_identifier": facts.identity["system_identifier"],
        "from_lsn": format_lsn(piece.from_lsn),
        "to_lsn": format_lsn(piece.to_lsn),
        "first_commit_time": None if piece.first is None else text.commit_time(piece.first),
        "last_commit_time": None if piece.last is None else text.commit_time(piece.last),
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
        **lists,
    }
    if facts.identity.get("accepted_gaps"):
        manifest["accepted_gaps"] = [gap["name"] for gap in facts.identity["accepted_gaps"]]
    if text.points != "transaction":
        manifest["points"] = text.points
    if newest and facts.recorded is not None and parse_lsn(facts.recorded["lsn"]) <= piece.to_lsn:
        manifest["recorded"] = facts.recorded
    write_manifest("segment", path, manifest)
    return Segment(path, manifest)
