"""What is reachable: bases, the unbroken runs of segments that follow them, and the way to a point in time."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from scribe.archive.layout import Archive, Base, Segment
from scribe.archive.pruned import read_pruned
from scribe.archive.segments import Mark, Reader, Small, Start, open_plain
from scribe.common import files
from scribe.common.dialect import Begin
from scribe.common.errors import ScribeError, UsageError
from scribe.common.lsn import format_lsn, parse_lsn

_LIST = 'Run "scribe-restore --list" for the points that can be reached.'


@dataclass(frozen=True)
class Stop:
    """Where to stop: before the first transaction that is beyond. lsn: of commit records; time: as in BEGIN lines.

    inclusive: a transaction exactly at lsn (or time) is still applied.
    """

    lsn: int | None = None
    time: str | None = None
    inclusive: bool = True

    @property
    def is_end(self) -> bool:
        """Whether there is no stop before the end."""
        return self.lsn is None and self.time is None

    def excludes(self, begin: Begin) -> bool:
        """Return whether begin is the first transaction that must not be applied."""
        if self.lsn is not None:
            return begin.commit_lsn > self.lsn if self.inclusive else begin.commit_lsn >= self.lsn
        if self.time is not None:
            return begin.time > self.time if self.inclusive else begin.time >= self.time
        return False

    def may_be_in(self, segment: Segment) -> bool:
        """Return whether a segment may hold a transaction that must not be applied."""
        if self.lsn is not None:
            return segment.to_lsn > self.lsn
        last = commit_times(segment)[1]
        return self.time is not None and (last is None or last >= self.time)


@dataclass(frozen=True)
class Chain:
    """A base and the unbroken run of segments that follow it; hole: why it ends before the archive does, or None."""

    base: Base
    segments: tuple[Segment, ...]
    hole: str | None

    @property
    def first(self) -> int:
        """The first reachable LSN: the base's consistent point."""
        return self.base.consistent_point

    @property
    def last(self) -> int:
        """The last reachable LSN."""
        return self.segments[-1].to_lsn if self.segments else self.first

    @property
    def first_time(self) -> str:
        """A time from which on every one is reachable, as in BEGIN lines."""
        return line_time(self.base.manifest["finished"])

    @property
    def last_time(self) -> str:
        """The time up to which the chain is known to hold every commit, as in BEGIN lines."""
        times = [line_time(s.manifest[key]) for s in self.segments for key in _TIMES if s.manifest[key]]
        return max([self.first_time, *times])


_TIMES = ("last_commit_time", "closed")
_UTC = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(\.\d{6})?(?:Z|\+00(?::00)?)", re.ASCII)


def line_time(text: str) -> str:
    """Return a manifest's time in the form of a BEGIN line, which sorts as text: microseconds, UTC."""
    if text.endswith("BC"):
        return text
    if (match := _UTC.fullmatch(text)) is not None:  # as we write it; of many segments, the other way takes a third
        return f"{match[1]} {match[2]}{match[3] or '.000000'}+00"
    moment = datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(UTC)
    return moment.strftime("%Y-%m-%d %H:%M:%S.%f+00")


def commit_times(segment: Segment) -> tuple[str | None, str | None]:
    """Return times between which all of a segment's transactions were committed, as in BEGIN lines; None: not known."""
    times = segment.manifest.get("commit_times")  # older manifests name those of the first and last transaction only
    return (line_time(times[0]), line_time(times[1])) if times else (None, None)


def describe_break(before: Segment | None, after: Segment) -> str | None:
    """Return why after does not continue before (None: the archive's beginning), or None where it does."""
    if before is None:
        return None
    if after.manifest["chain_start"]:
        return f"the stream began again {_between(before, after)}"
    if before.to_lsn != after.from_lsn:
        return f"a segment is missing {_between(before, after)}"
    if after.manifest["previous_sha256"] != before.last_sha256:
        return f'segment "{after.data.name}" does not continue "{before.data.name}": another checksum is recorded'
    return None


def _between(before: Segment, after: Segment) -> str:
    return f"between {format_lsn(before.to_lsn)} and {format_lsn(after.from_lsn)}"


def find_chain(base: Base, segments: list[Segment], pruned: int = 0) -> Chain:
    """Return what follows base. segments: all of the archive's, in order; pruned: retention took some up to there."""
    later = [segment for segment in segments if segment.to_lsn > base.consistent_point]
    if not later:
        return Chain(base, (), None)
    if later[0].from_lsn > base.consistent_point:
        gap = f"between {format_lsn(base.consistent_point)} and {format_lsn(later[0].from_lsn)}"
        if later[0].from_lsn <= pruned:
            return Chain(base, (), f"scribe-prune has removed the segments {gap}")
        return Chain(base, (), f"a segment is missing {gap}")
    for index in range(1, len(later)):
        reason = describe_break(later[index - 1], later[index])
        if reason is not None:
            return Chain(base, tuple(later[:index]), reason)
    return Chain(base, tuple(later), None)


def find_chains(archive: Archive, identity: dict[str, Any], segments: list[Segment] | None = None) -> list[Chain]:
    """Return the chain of every complete base, oldest first. Raises ScribeError for files of another database.

    segments: all of the archive's, if they have been read already.
    """
    segments = archive.all_segments() if segments is None else segments
    for segment in segments:
        check_segment(segment, identity)
    bases = archive.bases()
    for base in bases:
        if base.manifest["system_identifier"] != identity["system_identifier"]:
            raise ScribeError(f'base "{base.stamp}" belongs to another server than archive.json', _FOREIGN)
    pruned = read_pruned(archive).to_lsn
    return [find_chain(base, segments, pruned) for base in bases]


_FOREIGN = "Move what does not belong to this archive out of it."


def check_segment(segment: Segment, identity: Mapping[str, Any]) -> None:
    """Raise ScribeError for a segment of another database."""
    manifest = segment.manifest
    if manifest["system_identifier"] != identity["system_identifier"] or manifest["database"] != identity["database"]:
        raise ScribeError(f'segment "{segment.path.name}" belongs to another database than archive.json', _FOREIGN)
    if not manifest["file"].startswith(f"{segment.path.stem}.sql") or not segment.path.stem.endswith(
        f"{segment.to_lsn:016X}"
    ):
        raise ScribeError(f'manifest "{segment.path}" is of another segment', _FOREIGN)


# Where to stop


@dataclass(frozen=True)
class Target:
    """A point in time as asked for; at most one of lsn, time (as in BEGIN lines), xid and name is set."""

    lsn: int | None = None
    time: str | None = None
    xid: int | None = None
    name: str | None = None
    inclusive: bool = True

    def __str__(self) -> str:
        if self.lsn is not None:
            return f"LSN {format_lsn(self.lsn)}"
        if self.time is not None:
            return f"time {self.time}"
        return f"transaction {self.xid}" if self.xid is not None else f'mark "{self.name}"'

    @property
    def is_end(self) -> bool:
        """Whether everything there is was asked for."""
        return (self.lsn, self.time, self.xid, self.name) == (None, None, None, None)


@dataclass(frozen=True)
class Way:
    """How to get there: the base, the segments to apply, and where to stop in the last of them.

    coarse: it leads to the last point before the one asked for that the decoder lets be known.
    """

    base: Base
    segments: tuple[Segment, ...]
    stop: Stop
    coarse: bool = False

    @property
    def base_bytes(self) -> int | None:
        """The bytes of SQL in a plain base, None where its manifest does not tell."""
        return self._base_entry.get("plain_bytes")

    @property
    def base_skips(self) -> list[list[int]]:
        """Where the data of long COPYs in a plain base end (scribe.archive.skips)."""
        return self._base_entry.get("skips", [])  # type: ignore[no-any-return]

    @property
    def _base_entry(self) -> dict[str, Any]:
        return next(e for e in self.base.manifest["files"] if e["name"] == self.base_file.name)

    @property
    def base_file(self) -> Path:
        """The SQL of a base in plain format."""
        names: list[str] = [entry["name"] for entry in self.base.manifest["files"]]
        return self.base.path / next(name for name in names if name.startswith("base.sql"))


Bring = Callable[[Iterable[Segment]], Iterator[Segment]]  # Archive.bring, or iter where the files are


def find_way(chains: list[Chain], target: Target, stamp: str | None = None, bring: Bring = iter) -> Way:
    """Return the way to target, from the base named stamp or the latest one that leads there. Raises ScribeError."""
    if not chains:
        raise ScribeError("the archive has no complete base", 'Run "scribe-dump" on the source to take one.')
    usable = [chain for chain in chains if stamp in (None, chain.base.stamp)]
    if not usable:
        raise UsageError(f'there is no base "{stamp}"', _LIST)
    if target.is_end:
        return _way_to_end(usable[-1])
    named = target.xid is not None or target.name is not None
    if named:
        target = _find_commit(usable, target, bring)
    _refuse_given_up(usable, target)
    for chain in reversed(usable):
        if _reaches(chain, target):
            stop = Stop(target.lsn, target.time, target.inclusive)
            way = Way(chain.base, _needed(chain, stop), stop)
            return way if named or not _is_coarse(way.segments) else _coarse_way(way)
    ranges = "; ".join(describe_range(chain) for chain in _nearest(usable, target))
    raise ScribeError(f"could not reach {target}: reachable is {ranges}", _LIST)


def joined_segments(chains: Iterable[Chain]) -> list[Segment]:
    """Return what scribe-compact has joined in any of these chains, in order."""
    found = {s.to_lsn: s for chain in chains for s in chain.segments if s.joined is not None}
    return [found[lsn] for lsn in sorted(found)]


def _refuse_given_up(chains: Iterable[Chain], target: Target) -> None:
    """Raise ScribeError for a point between transactions that scribe-compact has joined."""
    for segment in joined_segments(chains):
        if _gives_up(segment, target):
            ends = format_lsn(segment.from_lsn), format_lsn(segment.to_lsn)
            raise ScribeError(
                f"could not reach {target}: it lies within {segment.data.name}, whose points scribe-compact has given"
                f" up from {segment.joined_times[0]} to {segment.joined_times[1]}",
                f"The nearest points are --target-lsn {ends[0]} --target-exclusive before it, and"
                f" --target-lsn {ends[1]} --target-exclusive after it.",
            )


def _gives_up(segment: Segment, target: Target) -> bool:
    """Whether some of what a segment was made from lies before the target, and some beyond."""
    joined = segment.joined
    if joined is None or joined["first_commit_lsn"] is None:
        return False
    where: int | str | None
    first: int | str
    last: int | str
    if target.lsn is not None:
        where, first, last = target.lsn, parse_lsn(joined["first_commit_lsn"]), parse_lsn(joined["last_commit_lsn"])
    else:
        where, (first, last) = str(target.time), segment.joined_times
    if target.inclusive:
        return first <= where < last  # type: ignore[operator]
    return first < where <= last  # type: ignore[operator]


def within_joined(segments: Iterable[Segment], lsn: int) -> bool:
    """Whether a joined segment has given up the point at an LSN, of before which all is wanted and nothing after."""
    return any(_gives_up(segment, Target(lsn=lsn, inclusive=False)) for segment in segments)


def _is_coarse(segments: Iterable[Segment]) -> bool:
    """Whether the decoder has told neither LSNs nor times of single transactions."""
    return any(segment.manifest.get("points") == "segment" for segment in segments)


def _coarse_way(way: Way) -> Way:
    """Lead to the last segment's end before an LSN; in frames stand times at which all before was committed."""
    if way.stop.lsn is None:
        return Way(way.base, way.segments, way.stop, coarse=True)
    lsn = way.stop.lsn
    whole = [segment for segment in way.segments if segment.to_lsn <= lsn]
    return Way(way.base, tuple(whole), Stop(), coarse=True)


def _widest(chains: list[Chain]) -> list[Chain]:
    """Leave out chains that lie within an earlier one."""
    found: list[Chain] = []
    for chain in sorted(chains, key=lambda chain: chain.first):
        if not found or chain.last > found[-1].last:
            found.append(chain)
    return found


def _nearest(chains: list[Chain], target: Target) -> list[Chain]:
    """Return the chain that ends before the target and the one that begins after it."""
    widest = _widest(chains)
    after = [c for c in widest if (c.first > target.lsn if target.lsn is not None else c.first_time > str(target.time))]
    return [chain for chain in widest if chain not in after][-1:] + after[:1]


def _way_to_end(chain: Chain) -> Way:
    if chain.hole is not None:
        hint = f"Restore to the end of what is unbroken with --target-lsn {format_lsn(chain.last)}, or take a new base."
        raise ScribeError(f"the archive has a gap after base {chain.base.stamp}: {chain.hole}", hint)
    return Way(chain.base, chain.segments, Stop())


def describe_range(chain: Chain) -> str:
    """Return what a chain reaches, for a message."""
    gap = f", where the archive has a gap: {chain.hole}" if chain.hole is not None else ""
    return (
        f"{format_lsn(chain.first)} ({chain.first_time}) to {format_lsn(chain.last)} ({chain.last_time})"
        f" from base {chain.base.stamp}{gap}"
    )


def _reaches(chain: Chain, target: Target) -> bool:
    if target.lsn is not None:
        return chain.first <= target.lsn <= chain.last
    assert target.time is not None
    commits = [s.manifest["first_commit_time"] for s in chain.segments if s.manifest["first_commit_time"]]
    first = min([chain.first_time, *map(line_time, commits[:1])])
    return first <= target.time <= chain.last_time


def _needed(chain: Chain, stop: Stop) -> tuple[Segment, ...]:
    """The segments up to the one that holds the first transaction beyond stop."""
    needed = []
    for segment in chain.segments:
        if stop.lsn is not None and segment.from_lsn > stop.lsn:
            break
        needed.append(segment)
    return tuple(needed)


def _find_commit(chains: list[Chain], target: Target, bring: Bring) -> Target:
    """Turn a transaction or a mark into the LSN of its commit record, by reading the segments. Raises ScribeError."""
    segments = {segment.path: segment for chain in chains for segment in chain.segments}
    if target.xid is not None and _is_coarse(segments.values()):
        raise ScribeError(
            f"could not find {target}: the archive's decoder does not tell the numbers of transactions",
            "Name a mark with --target-name, or a time with --target-time.",
        )
    found = sorted({lsn for segment in bring(segments.values()) for lsn in _commits(segment, target)})
    if not found:
        ranges = "; ".join(describe_range(chain) for chain in _widest(chains))
        joined = ", and what scribe-compact has joined tells no single transactions" if joined_segments(chains) else ""
        raise ScribeError(f"could not find {target}: reachable is {ranges}{joined}", _LIST)
    if len(found) > 1:
        places = ", ".join(format_lsn(lsn) for lsn in found)
        raise ScribeError(f"{target} is there {len(found)} times: {places}", "Name one of them with --target-lsn.")
    return Target(lsn=found[0], inclusive=target.inclusive)


def _commits(segment: Segment, target: Target) -> Iterator[int]:
    with open_plain(segment.data, segment.manifest["plain_bytes"]) as stream:
        reader = Reader(stream, segment.data.name)
        reader.read_header()
        lsn = 0
        for event in reader.events():
            if isinstance(event, Small | Start):
                lsn = event.begin.commit_lsn
                if event.begin.xid == target.xid:
                    yield lsn
            elif isinstance(event, Mark) and event.name == target.name:
                yield lsn


def goes_back(way: Way, position: int, bring: Bring = iter) -> bool:
    """Whether a database that stands at position holds a transaction beyond the stop of way: it cannot be undone."""
    if way.stop.is_end:
        return False
    held = (segment for segment in way.segments if segment.from_lsn < position)
    if way.stop.lsn is not None:
        held = (segment for segment in held if segment.to_lsn > way.stop.lsn)
    return any(way.stop.excludes(begin) for segment in bring(held) for begin in _begins(segment, position))


def _begins(segment: Segment, before: int) -> Iterator[Begin]:
    """Yield the transactions of a segment whose commit record starts before an LSN."""
    with open_plain(segment.data, segment.manifest["plain_bytes"]) as stream:
        reader = Reader(stream, segment.data.name)
        reader.read_header()
        for event in reader.events():
            if isinstance(event, Small | Start):
                if event.begin.commit_lsn >= before:
                    return
                yield event.begin


# Checksums


def list_files(way: Way) -> list[tuple[Path, dict[str, Any]]]:
    """Return every file of a way, each with what its manifest says of it: bytes and sha256."""
    found = [(way.base.path / entry["name"], entry) for entry in way.base.manifest["files"]]
    return found + [(segment.data, segment.manifest) for segment in way.segments]


def check_files(way: Way) -> int:
    """Read every file of a way and compare it with its manifest; return the bytes read. Raises ScribeError."""
    total = 0
    root = way.base.path.parents[1]
    for path in [way.base.path / "manifest.json", *(segment.path for segment in way.segments)]:
        _refuse_strange(path, root)
    for path, entry in list_files(way):
        _refuse_strange(path, root)
        check_file(path, entry["bytes"], entry["sha256"])
        total += entry["bytes"]
    return total


def _refuse_strange(path: Path, root: Path) -> None:
    try:
        what = files.describe_strange(path, root)
    except FileNotFoundError:
        return  # said by whoever reads it
    if what is not None:
        raise ScribeError(f'could not use "{path}" of the archive: {what}', _STRANGE)


_STRANGE = 'If you know where it comes from, copy it to a directory of your own, and run "chmod -R go-w" on the copy.'


def check_file(path: Path, size: int, digest: str) -> None:
    """Compare one file with what its manifest says of it. Raises ScribeError."""
    try:
        with files.open_archived(path) as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
            length = stream.tell()
    except FileNotFoundError:
        raise ScribeError(f'file "{path}" of the archive is missing', _CHECK) from None
    if length != size:
        raise ScribeError(f'file "{path}" has {length} bytes, its manifest says {size}', _CHECK)
    if found != digest:
        raise ScribeError(f'file "{path}" does not have the checksum in its manifest', _CHECK)


_CHECK = "Fetch the file from another copy of the archive, or restore from another base or to an earlier point."
