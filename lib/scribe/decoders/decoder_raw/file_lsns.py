"""Bounds: where in the spool an LSN lies, for a stream that has none inside.

pg_recvlogical tells the server as flushed only what it has put on disk, and here it does that only when it is made to
close its file. What it confirms next is therefore exactly where the closed file ends: each transaction committed before
that LSN is in the files up to that one, whole, and no other is (of one, the beginning may be). It says each position
before it sends it, into receiver.log; where what it says leaves room for doubt, no bound is recorded and the next one
covers the file.
"""

from __future__ import annotations

import os
import re
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from scribe.common import files
from scribe.common.errors import ScribeError
from scribe.common.lsn import format_lsn, parse_lsn
from scribe.common.process import Process
from scribe.spool import confirmed_position as confirmation
from scribe.spool.contents import Spool, part_number
from scribe.spool.switch_file import receivers, switch

# Seconds after which pg_recvlogical may put on disk, and confirm, by itself: never; it takes no more than 24 days.
FSYNC_INTERVAL = 2_000_000
STATUS_INTERVAL = 1  # seconds between what it says; it may add one
TRIES = 10  # closings until the end of one is known
_LOG = 4 << 20  # bytes of what it said that are kept
_TAIL = 64 << 10  # bytes of what it said that are looked at
SILENCE = 10.0  # seconds without a word after which its end is not waited for
_SAID = re.compile(rb"confirming write up to ([0-9A-F]+/[0-9A-F]+), flush to ([0-9A-F]+/[0-9A-F]+) [^\n]*\n")


@dataclass(frozen=True)
class Bound:
    """All that was committed before lsn, and nothing else whole, is in the parts up to this number.

    time: when that was, as in BEGIN lines, by the server's clock.
    """

    lsn: int
    part: int
    time: str


@dataclass(frozen=True)
class Cut:
    """A base's consistent point: of the transactions after the bound at LSN after, so many come before it."""

    lsn: int
    after: int
    count: int


def read(spool: Spool) -> list[Bound]:
    """Return the bounds in order. Raises ScribeError where they are gone."""
    try:
        value = files.read_json(spool.bounds_path)
        return [Bound(parse_lsn(b["lsn"]), int(b["part"]), str(b["time"])) for b in value["bounds"]]
    except (FileNotFoundError, KeyError, TypeError, ValueError) as error:
        raise ScribeError(
            f'the LSNs of the spool\'s files are not in "{spool.bounds_path}": {error}',
            'If the file cannot be brought back from a copy, run "scribe-init" to begin a new chain.',
        ) from None


def read_cuts(spool: Spool) -> list[Cut]:
    """Return the points at which segments are to be cut, in order."""
    found = [Cut(parse_lsn(c["lsn"]), parse_lsn(c["after"]), int(c["count"])) for c in _hint(spool).get("cuts", [])]
    return sorted(found, key=lambda cut: cut.lsn)


def add_cut(spool: Spool, cut: Cut) -> None:
    """Record a point at which a segment is to be cut, which lies beyond all bounds."""
    _write(spool, read(spool), cuts=[*read_cuts(spool), cut])


def _write(spool: Spool, bounds: list[Bound], skew: float | None = None, cuts: list[Cut] | None = None) -> None:
    value = {
        "cuts": [
            {"lsn": format_lsn(cut.lsn), "after": format_lsn(cut.after), "count": cut.count}
            for cut in (read_cuts(spool) if cuts is None else cuts)
        ],
        "part": max(bound.part for bound in bounds),
        "skew": float(_hint(spool).get("skew", 0.0)) if skew is None else skew,
        "bounds": [{"lsn": format_lsn(bound.lsn), "part": bound.part, "time": bound.time} for bound in bounds],
    }
    files.write_json(spool.bounds_path, value)


def _hint(spool: Spool) -> dict[str, Any]:
    with suppress(FileNotFoundError, ScribeError):
        value = files.read_json(spool.bounds_path)
        return value if isinstance(value, dict) else {}
    return {}


def _time(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%S.%f+00")


def begin(spool: Spool, lsn: int, clock: float) -> None:
    """Begin with an empty spool at an LSN. clock: the server's, in seconds since 1970."""
    _write(spool, [Bound(lsn, 0, _time(clock))], clock - time.time(), [])


def start(spool: Spool, lsn: int, clock: float) -> None:
    """Before pg_recvlogical starts at lsn: forget bounds beyond it, and parts that were cut; note the server's clock.

    Numbers of parts that held nothing but the beginning of a transaction are used again, so that none is missing.
    """
    newest = max(map(part_number, spool.parts()), default=int(spool.read_state().get("part", 0)))
    kept = [replace(bound, part=min(bound.part, newest)) for bound in read(spool) if bound.lsn <= lsn]
    _write(spool, kept, clock - time.time())


def add(spool: Spool, lsn: int) -> None:
    """Record that lsn is where the newest part ends; of several at one place the first and the last are kept."""
    bounds = read(spool)
    last = bounds[-1]
    if lsn <= last.lsn:  # what followed is at most the beginning of a transaction
        return
    part = max([last.part, *map(part_number, spool.parts())])
    if len(bounds) > 1 and bounds[-2].part == last.part == part:
        bounds.pop()
    _write(spool, [*bounds, Bound(lsn, part, _time(time.time() + float(_hint(spool).get("skew", 0.0))))])


def forget(spool: Spool, lsn: int, cuts: list[Cut]) -> None:
    """Forget what lies before the bound lsn; cuts: those that are still to be made."""
    bounds = read(spool)
    kept = [bound for bound in bounds if bound.lsn >= lsn] or bounds
    if len(kept) < len(bounds) or cuts != read_cuts(spool):
        _write(spool, kept, cuts=cuts)


class _Ear:
    """Hears what pg_recvlogical says."""

    def __init__(self, spool: Spool) -> None:
        self._path = confirmation.log_path(spool.path)
        self._at = 0
        with suppress(FileNotFoundError):
            self._at = max(0, self._path.stat().st_size - _TAIL)

    def lines(self) -> list[tuple[int, int]]:
        """Return what was said since the last time: LSNs up to which was written, and put on disk."""
        with suppress(FileNotFoundError), self._path.open("rb") as log:
            log.seek(self._at)
            text = log.read()
            whole = text.rfind(b"\n") + 1
            self._at += whole
            return [(parse_lsn(w.decode()), parse_lsn(f.decode())) for w, f in _SAID.findall(text, 0, whole)]
        return []

    def next_line(self, receiver: Process) -> tuple[int, int] | None:
        """Wait for the next thing that is said; None when there is none."""
        deadline = time.monotonic() + SILENCE
        while not (lines := self.lines()):
            if time.monotonic() > deadline or not receiver.alive():
                return None
            time.sleep(0.02)
        return lines[0]


def close(spool: Spool) -> bool:
    """Close the file being written and record the LSN at which it ends; return whether that is known.

    Called under rotate.lock. Raises TryAgainError when pg_recvlogical does not take up a new file.
    """
    _empty_log(spool)
    ear = _Ear(spool)
    last = max((flush for _, flush in ear.lines()), default=0)
    for _ in range(TRIES):
        running = receivers(spool)
        if len(running) != 1 or not _may_signal(spool, running[0]):
            switch(spool)
            return False  # nobody will say where it ends; the next start takes what follows the last bound once more
        switch(spool, always=True, once=True)
        files.remove_file(_signal_path(spool))
        _drop_empty(spool)
        between = [flush for _, flush in ear.lines()]
        line = ear.next_line(running[0])
        if line is None:
            return False
        written, flushed = line
        # While the new file is empty, all that is confirmed ends where the old one does. Otherwise this must be the
        # first position after the closing, and not what the server made it put on disk since: then both are one.
        if flushed > 0 and spool.stream.stat().st_size == 0:
            add(spool, flushed)
            return True
        if written > flushed > 0 and all(flush <= last for flush in between):
            add(spool, flushed)
            return True
        last = max(last, flushed, *between)
    return False


def _empty_log(spool: Spool) -> None:
    """Throw away what it has said when that has become much; only the last words count."""
    path = confirmation.log_path(spool.path)
    with suppress(FileNotFoundError):
        if path.stat().st_size > _LOG:
            os.truncate(path, 0)


def _signal_path(spool: Spool) -> Path:
    return spool.path / "closing.json"


def _may_signal(spool: Spool, receiver: Process) -> bool:
    """Note that the receiver will be told to close its file; end it where it may have been told so already.

    One that closes twice confirms what is in the second file, too.
    """
    with suppress(FileNotFoundError, ScribeError):
        if files.read_json(_signal_path(spool)) == receiver.as_json():
            receiver.end(10)
            return False
    files.write_json(_signal_path(spool), receiver.as_json())
    return True


def _drop_empty(spool: Spool) -> None:
    """Remove the newest part if nothing was written to it."""
    parts = spool.parts()
    if parts and parts[-1].stat().st_size == 0:
        parts[-1].unlink()
        files.sync_directory(spool.path)
