"""Writing a joined segment: the transactions of several, small ones as their net effects, in the same dialect.

What has to stand where it is (schema changes, TRUNCATEs, large transactions, large objects) is copied byte by byte.
Small transactions between are joined as far as a copy has shown that they can be (net.py): what the copy was sent, and
found right, is what is written. Of the footers the last one remains, of scribe-rotate's own marks none.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from scribe import FORMAT_VERSION
from scribe.archive.chains import within_joined
from scribe.archive.joining import Run
from scribe.archive.layout import Segment
from scribe.archive.manifest import write_manifest
from scribe.archive.segments import SMALL, End, Event, Footer, LargeObjects, Mark, Reader, Small, Start, open_plain
from scribe.archive.summary import OWN_MARK, count_rows
from scribe.common.dialect import FOOTER_BEGIN, FOOTER_END, Begin, Sequence, build_footer
from scribe.common.encodings import python_codec
from scribe.common.errors import ScribeError
from scribe.common.lsn import format_lsn, parse_lsn
from scribe.restore.net import Joined
from scribe.stream.writer import Counter, Storage, storing

LEVEL = 9  # of zstd: written once, and read seldom
BATCH = 32 << 20  # bytes of small transactions that become net effects together
_BLOCK = 512 << 10


class JoinedFile:
    """A joined segment in the making. directory: where it is put; encoding: the database's.

    events() reads the run's segments, and copies what the copy need not show; take() gets from the Replayer what became
    of the small transactions between.
    """

    def __init__(self, run: Run, directory: Path, encoding: str, *, compress: bool) -> None:
        self.run = run
        self._path = directory / f"{run.stem}{'.sql.zst' if compress else '.sql'}"
        self._compress = compress
        self._counter = Counter(python_codec(encoding))
        self._storage: Storage | None = None
        self._seen: list[Begin] = []  # the first and the last transaction of the originals
        self._times: list[str] = []  # the earliest and the latest
        self._transactions = 0
        self.settings = _read_settings(run.segments[0])  # of the header

    @property
    def _file(self) -> Storage:
        assert self._storage is not None
        return self._storage

    def events(self, stack: ExitStack) -> Iterator[Event]:
        """Begin the file, which is closed with stack; yield what the copy has to be sent, but for the footer."""
        self._storage = stack.enter_context(storing(self._path, compress=self._compress, level=LEVEL))
        for segment in self.run.segments:
            yield from self._read(segment)

    def end(self) -> Footer:
        """Write the footer, once the copy has taken everything; return it."""
        text = build_footer(
            sequences=self._sequences() or (), to_lsn=self.run.to_lsn, changed=self._counter.changed()
        ).encode()
        self._file.write(text)
        return Footer(text[len(FOOTER_BEGIN) : text.index(FOOTER_END)], self.run.to_lsn)

    def _read(self, segment: Segment) -> Iterator[Event]:
        size = segment.manifest["plain_bytes"]
        with open_plain(segment.data, size) as stream, open_plain(segment.data, size) as again:
            # What was joined before is as large as a batch, and is joined further.
            reader = Reader(stream, segment.data.name, small=SMALL if segment.joined is None else 2 * BATCH)
            settings = reader.read_header().settings
            verbatim = _Verbatim(again)
            if segment is self.run.segments[0]:
                for block in verbatim.blocks(0, reader.consumed):
                    self._file.write(block)
            elif settings != self.settings:
                raise ScribeError(
                    f'the header of "{segment.data.name}" sets other things than that of the first segment'
                )
            yield from self._keep(reader, verbatim)

    def _keep(self, reader: Reader, verbatim: _Verbatim) -> Iterator[Event]:
        """Yield a segment's events but the footer; copy what is no small transaction once the copy has taken it."""
        events = reader.events()
        start = reader.consumed
        for event in events:
            if isinstance(event, Footer):
                return
            if isinstance(event, Start):
                held = [next(events)]
                if isinstance(held[0], Mark):
                    held.append(next(events))
                if _is_own_mark(held):
                    start = reader.consumed
                    continue
                self._note(event.begin)
                yield event
                for each in itertools.chain(held, events):
                    yield each
                    if isinstance(each, End):
                        break
                self._transactions += 1
                self._copy(verbatim, start, reader.consumed)
            else:
                if isinstance(event, Small):
                    self._note(event.begin)
                yield event
                if isinstance(event, LargeObjects) and not event.last:
                    continue
                if isinstance(event, LargeObjects):
                    for block in verbatim.blocks(start, reader.consumed):
                        self._file.write(block)
            start = reader.consumed

    def _copy(self, verbatim: _Verbatim, start: int, stop: int) -> None:
        for block in verbatim.blocks(start, stop):
            self._body(block)

    def _body(self, block: bytes) -> None:
        self._counter.feed(block)
        self._file.write(block)

    def _note(self, begin: Begin) -> None:
        self._seen = [*self._seen[:1], begin]
        self._times = [min([begin.time, *self._times[:1]]), max([begin.time, *self._times[1:]])]

    def take(self, batch: list[Small], joined: Joined | None) -> None:
        """Write small transactions that the copy has taken, or what it was sent in their place."""
        if joined is None:
            for small in batch:
                self._frame(small.begin, small.text, small.end)
            return
        text, last = joined.lasting, batch[-1]
        if text:
            self._frame(last.begin, text, last.end)

    def _frame(self, begin: Begin, text: bytes, end: int) -> None:
        counts = "".join(f" {number} {kind}" for kind, number in count_rows(text).items() if number)
        rows = f"-- rows{counts}\n" if counts else ""
        first = f"BEGIN; -- xid {begin.xid} commit {format_lsn(begin.commit_lsn)} time {begin.time}\n"
        self._body(first.encode() + text + f"{rows}COMMIT; -- end {format_lsn(end)}\n".encode())
        self._transactions += 1

    def _sequences(self) -> list[Sequence] | None:
        """Where the sequences stood at the last of the rotations that could tell."""
        known = [s.manifest["sequences"] for s in self.run.segments if s.manifest["sequences"] is not None]
        return [Sequence(**each) for each in known[-1]] if known else None

    def finish(self) -> Segment:
        """Complete the file, and write its manifest beside it."""
        sums = self._file.finish()
        lists = self._counter.summary()
        segments = self.run.segments
        first, last = segments[0].manifest, segments[-1].manifest
        kept = ("database", "system_identifier", "to_lsn", "decoder", "server_version", "timeline", "closed")
        sequences = self._sequences()
        manifest: dict[str, Any] = {
            "format_version": FORMAT_VERSION,
            "file": self._path.name,
            **sums,
            **{key: last[key] for key in kept},
            "from_lsn": first["from_lsn"],
            "first_commit_time": _first(s.manifest["first_commit_time"] for s in segments),
            "last_commit_time": _first(s.manifest["last_commit_time"] for s in reversed(segments)),
            "counts": {"transactions": self._transactions, **self._counter.counts},
            "previous_sha256": first["previous_sha256"],
            "chain_start": first["chain_start"],
            "sequences": None if sequences is None else [vars(each) for each in sequences],
            "warnings": [text for s in segments for text in s.manifest["warnings"]],
            **lists,
            "joined": self._describe(),
        }
        if times := self._times_of():
            manifest["commit_times"] = times
        if last.get("accepted_gaps"):
            manifest["accepted_gaps"] = last["accepted_gaps"]
        path = self._path.with_name(f"{self.run.stem}.json")
        made = Segment(path, manifest)
        records = [s.manifest["recorded"] for s in segments if "recorded" in s.manifest]
        records = [each for each in records if not within_joined([made], parse_lsn(each["lsn"]))]
        if records:
            manifest["recorded"] = records[-1]
        write_manifest("segment", path, manifest)
        return made

    def _times_of(self) -> list[str]:
        """The earliest and the latest commit of everything that it is made from, as in BEGIN lines."""
        times = [
            *self._times,
            *(time for s in self.run.segments if s.joined for time in s.manifest.get("commit_times", [])),
        ]
        return [min(times), max(times)] if times else []

    def _describe(self) -> dict[str, Any]:
        """Return what the manifest says of what it was made from; segments that were joined before count as theirs."""
        segments = self.run.segments
        before = [s.joined for s in segments if s.joined is not None]
        plain = [s.manifest for s in segments if s.joined is None]
        seen = [begin.commit_lsn for begin in self._seen]
        seen += [
            parse_lsn(each[key]) for each in before for key in ("first_commit_lsn", "last_commit_lsn") if each[key]
        ]
        return {
            "segments": len(plain) + sum(each["segments"] for each in before),
            "transactions": sum(
                [m["counts"]["transactions"] for m in plain] + [each["transactions"] for each in before]
            ),
            "bytes": sum([m["bytes"] for m in plain] + [each["bytes"] for each in before]),
            "first_commit_lsn": format_lsn(min(seen)) if seen else None,
            "last_commit_lsn": format_lsn(max(seen)) if seen else None,
            "last_sha256": segments[-1].last_sha256,
        }


def _read_settings(segment: Segment) -> bytes:
    with open_plain(segment.data, segment.manifest["plain_bytes"]) as stream:
        return Reader(stream, segment.data.name).read_header().settings


class _Verbatim:
    """Parts of a stream, each of them after the one before."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self._at = stream, 0

    def blocks(self, start: int, stop: int) -> Iterator[bytes]:
        """Yield the bytes from start to stop."""
        while self._at < stop:
            wanted = start if self._at < start else stop
            block = self._stream.read(min(_BLOCK, wanted - self._at))
            if not block:
                raise ScribeError("a segment has become shorter while it was read")
            begun, self._at = self._at, self._at + len(block)
            if begun >= start:
                yield block


def _is_own_mark(events: list[Event]) -> bool:
    """Whether all that a transaction holds is a mark of scribe-rotate's."""
    return (
        len(events) == 2
        and isinstance(events[0], Mark)
        and events[0].name.startswith(OWN_MARK)
        and isinstance(events[1], End)
    )


def _first(values: Iterator[Any]) -> Any:
    return next((value for value in values if value is not None), None)
