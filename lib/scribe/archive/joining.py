"""Which segments may become one for each day, then month, and how it takes their place, safe against a crash anywhere.

The joined segment ends where the last of them ends, and so does its name; it is written aside, and counts from the
moment its manifest gets its name: from then on readers leave out what it stands for (Archive.segment_names). Those go
afterwards, the last one last, and for each its data before its manifest: the next run ends what one has begun.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from scribe.archive.chains import find_chain
from scribe.archive.layout import Archive, Base, Segment
from scribe.archive.retention import Contents, Limit, days_before, find_limit, orphans
from scribe.archive.segments import Mark, Reader, open_plain
from scribe.archive.summary import OWN_MARK
from scribe.common import files
from scribe.common.dialect import format_time
from scribe.common.errors import TryAgainError
from scribe.common.lsn import file_lsn

ASIDE = ".joining"  # in incremental/: where joined segments are until they are proved
_DAY, _MONTH = "%Y-%m-%d", "%Y-%m"
_STAMP = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True)
class Run:
    """Segments that follow each other and are to become one. period: 2026-11-22 or 2026-11; base: which leads there."""

    period: str
    base: Base
    segments: tuple[Segment, ...]
    stem: str  # the new one's name, without its suffix

    @property
    def from_lsn(self) -> int:
        """Where it begins."""
        return self.segments[0].from_lsn

    @property
    def to_lsn(self) -> int:
        """Where it ends."""
        return self.segments[-1].to_lsn

    @property
    def bytes(self) -> int:
        """What its segments take on disk."""
        return sum(segment.manifest["bytes"] for segment in self.segments)


@dataclass(frozen=True)
class Left:
    """A segment that stays as it is although it is old enough, and why."""

    segment: Segment
    reason: str


@dataclass(frozen=True)
class Plan:
    """What is to be joined, oldest first, and what of that age is not."""

    runs: tuple[Run, ...]
    left: tuple[Left, ...]


@dataclass(frozen=True)
class Ages:
    """How many days, back from the newest file, segments stay as they are, and how many the ends of days stay."""

    exact: int
    daily: int


def make_plan(archive: Archive, contents: Contents, ages: Ages, unsent: Collection[str]) -> Plan:
    """Choose what to join. unsent: files that have to be sent first.

    A day, or a month, is joined once all of it is old enough.
    """
    limit = find_limit(archive, unsent)
    periods = _periods(contents, ages)
    groups: list[list[Segment]] = []
    left: list[Left] = []
    before: tuple[object, ...] | None = None
    for index, segment in enumerate(contents.segments):
        period = periods[index]
        base = _base_of(contents, segment)
        reason = None if period is None else _why_left(contents, index, base, limit)
        if period is None or reason is not None:
            left += [Left(segment, reason)] if reason is not None else []
            before = None
            continue
        alike = (period, base.stamp if base else None, *_circumstances(segment))
        if before == alike:  # one base leads to both: there is no gap between them
            groups[-1].append(segment)
        else:
            groups.append([segment])
        before = alike
    runs = []
    for group in groups:
        run = _make_run(contents, group, str(periods[contents.segments.index(group[0])]))
        if isinstance(run, Run):
            runs.append(run)
        elif run is not None:
            left.append(run)
    return Plan(tuple(runs), tuple(left))


def _periods(contents: Contents, ages: Ages) -> list[str | None]:
    """Return the day or the month that each segment becomes a part of; None if it is too young."""
    times = [time.astimezone(UTC) for time in contents.segment_times]
    exact, daily = (days_before(contents.newest, days) for days in (ages.exact, max(ages.exact, ages.daily)))
    young_days = {time.strftime(_DAY) for time in times if time > exact}
    young_months = {time.strftime(_MONTH) for time in times if time > daily}
    found: list[str | None] = []
    for time in times:
        day, month = time.strftime(_DAY), time.strftime(_MONTH)
        found.append(None if day in young_days else day if month in young_months else month)
    return found


def _circumstances(segment: Segment) -> tuple[object, ...]:
    """What all segments that become one have in common."""
    manifest = segment.manifest
    version = manifest["server_version"].split(".")[0]
    with open_plain(segment.data, manifest["plain_bytes"]) as stream:
        settings = Reader(stream, segment.data.name).read_header().settings
    return manifest["timeline"], manifest["decoder"].split(" ")[0], version, manifest.get("accepted_gaps"), settings


def _base_of(contents: Contents, segment: Segment) -> Base | None:
    """Return the latest base from which a segment is reached: what is joined is proved from there, and no base's point
    lies within it."""
    bases = [base for base in contents.bases if base.consistent_point <= segment.from_lsn]
    if not bases or any(segment.from_lsn < base.consistent_point < segment.to_lsn for base in contents.bases):
        return None
    chain = find_chain(bases[-1], list(contents.segments))
    return bases[-1] if chain.last >= segment.to_lsn else None


def _why_left(contents: Contents, index: int, base: Base | None, limit: Limit) -> str | None:
    """Return why a segment stays as it is, None if it need not."""
    segment = contents.segments[index]
    if index == len(contents.segments) - 1:
        return "the newest segment: the next one continues it"
    if base is None:
        return "no base leads to it, from which a joined one could be proved"
    if segment.joined is None and _has_marks(segment):
        return "an operator has set a mark in it, which stays a point to restore to"
    return limit.protects(segment.path.name[:16], f"incremental/{segment.path.stem}")


def _has_marks(segment: Segment) -> bool:
    known = segment.manifest.get("marks")
    if known is not None:
        return bool(known)
    with open_plain(segment.data, segment.manifest["plain_bytes"]) as stream:
        reader = Reader(stream, segment.data.name)
        reader.read_header()
        return any(isinstance(event, Mark) and not event.name.startswith(OWN_MARK) for event in reader.events())


def _make_run(contents: Contents, group: Sequence[Segment], period: str) -> Run | Left | None:
    """Return the run that a group is; None for a single segment, which there is nothing to join with."""
    if len(group) < 2:
        return None
    last = group[-1].path.name[:16]
    at = contents.segments.index(group[0])
    floor = contents.segments[at - 1].path.name[:16] if at else ""
    stamp = format_time(datetime.strptime(last, _STAMP).replace(tzinfo=UTC) - timedelta(seconds=1))
    if stamp < floor:  # names are in the order of the WAL, and its own has to be another than the last one's
        return Left(group[-1], "its segments were closed within one second, and there is no name between them")
    base = _base_of(contents, group[0])
    assert base is not None
    return Run(period, base, tuple(group), f"{stamp}-{file_lsn(group[-1].to_lsn)}")


# --- taking their place -----------------------------------------------------------------------------------------------


def list_steps(archive: Archive, run: Run, joined: Segment) -> Iterator[Callable[[], None]]:
    """Yield the single steps by which a joined segment takes the place of a run's; any number of them may be done.

    joined: as it lies aside, proved.
    """
    yield lambda: files.publish(joined.data, archive.incremental / joined.data.name, exclusive=True)
    yield lambda: files.publish(joined.path, archive.incremental / joined.path.name, exclusive=True)
    for segment in run.segments:
        for path in (segment.data, segment.path):
            yield lambda path=path: files.remove_file(path)  # type: ignore[misc]


def check_still(archive: Archive, run: Run) -> None:
    """Raise TryAgainError if a run is no longer what it was when the plan was made."""
    now = {segment.path.name: segment.manifest for segment in archive.segments()}
    if any(now.get(segment.path.name) != segment.manifest for segment in run.segments):
        raise TryAgainError(f"the segments of {run.period} have changed meanwhile", "Run it again.")
    if any(run.from_lsn < base.consistent_point < run.to_lsn for base in archive.bases()):
        raise TryAgainError(f"a base was taken within {run.period} meanwhile", "Run it again.")


def find_unfinished(archive: Archive) -> list[Path]:
    """Return what a run that died has left in incremental/, in the order in which it goes: a joined segment's data
    that got no manifest, and what a joined segment stands for."""
    ends = {name[17:33] for name in archive.segment_names()}
    found = [path for lsn, path in orphans(archive) if file_lsn(lsn) in ends]
    replaced = archive.replaced_names()
    for name in replaced:
        stem = name.removesuffix(".json")
        found = [path for path in found if not path.name.startswith(stem)]
        found += [archive.incremental / f"{stem}{end}" for end in (".sql.zst", ".sql", ".json")]
    return [path for path in found if path.name in archive.names_in(archive.incremental)]


def end_unfinished(archive: Archive) -> int:
    """Remove what a run that died has left; return how many files. The caller keeps readers away."""
    paths = find_unfinished(archive)
    for path in paths:
        files.remove_file(path)
    with contextlib.suppress(FileNotFoundError):
        files.remove_tree(archive.incremental / ASIDE)
    return len(paths)
