"""Retention: which bases, segments and globals a policy keeps, and why. Nothing is removed here (scribe.removal).

Time is read from the manifests, and always so that less is removed: "now" is never after the newest file, and a base
or segment is never taken for older than one before it in the WAL, whatever the clock said when it was written.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from scribe.archive.chains import find_chain
from scribe.archive.derivation import is_derived, proof_times
from scribe.archive.layout import Archive, Base, Segment
from scribe.archive.pruned import read_pruned
from scribe.common import files
from scribe.common.errors import ScribeError
from scribe.common.lsn import format_lsn
from scribe.common.settings import Settings


@dataclass(frozen=True)
class Policy:
    """What stays. Days: 24 hours back from the newest file; monthly: calendar months (UTC) before the present one.

    proof_days: how old what stands behind a base made from the archive may be, for the base to be relied on.
    """

    incremental_days: int = 7
    base_days: int = 30
    monthly: int = 12
    proof_days: int = 35

    @classmethod
    def from_settings(cls, settings: Settings) -> Policy:
        """Return the policy that the settings name."""
        names = ("SCRIBE_KEEP_INCREMENTAL_DAYS", "SCRIBE_KEEP_BASE_DAYS", "SCRIBE_KEEP_MONTHLY", "SCRIBE_PROOF_DAYS")
        return cls(*(settings[name] for name in names))

    def __str__(self) -> str:
        length = "a year" if self.monthly == 12 else f"{self.monthly} months"
        monthly = f", then one a month for {length}" if self.monthly else ""
        return f"keep {self.incremental_days} days of increments, bases for {self.base_days} days{monthly}"


@dataclass(frozen=True)
class Verdict:
    """What becomes of one base (kind "base"), "segment", "globals" file, or "leftover" of an interrupted removal.

    path: a base's directory, a segment's manifest, or the file itself; size: bytes on disk by the manifest.
    """

    kind: str
    path: Path
    keep: bool
    reason: str
    size: int = 0
    item: Base | Segment | None = None


@dataclass(frozen=True)
class Plan:
    """A verdict for every file, oldest first, and the bases on which the promise rests.

    hold: why nothing may be removed now, whatever the policy says; None where nothing stands in the way.
    """

    verdicts: tuple[Verdict, ...]
    relies_on: tuple[Base, ...] = ()
    segments: tuple[Segment, ...] = ()  # those that stay
    hold: str | None = None

    @property
    def removals(self) -> list[Verdict]:
        """What goes, oldest first."""
        return [verdict for verdict in self.verdicts if not verdict.keep]


@dataclass(frozen=True)
class Contents:
    """An archive's complete files in the order of the WAL, each with the time it is judged by."""

    bases: Sequence[Base]
    segments: Sequence[Segment]
    base_times: Mapping[str, datetime]  # by stamp
    segment_times: Sequence[datetime]
    newest: datetime


def read_time(text: str) -> datetime:
    """Return a manifest's time of writing."""
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def days_before(moment: datetime, days: int) -> datetime:
    """Return the time so many days before; the earliest there is, where that is before it."""
    try:
        return moment - timedelta(days=days)
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC)


def find_foreign(manifest: Mapping[str, Any], identity: Mapping[str, Any]) -> str | None:
    """Return what shows that a manifest belongs to another archive, None where it belongs to this one.

    The archive, its bases and segments keep the name that the database had when the archive began; metadata have the
    one that it has, and its OID.
    """
    for key in ("system_identifier", "database"):
        if manifest[key] != identity[key] and not (key == "database" and _is_renamed(manifest, identity)):
            return f"{key.replace('_', ' ')} {manifest[key]}, the archive's is {identity[key]}"
    return None


def _is_renamed(manifest: Mapping[str, Any], identity: Mapping[str, Any]) -> bool:
    return identity["database_oid"] is not None and manifest.get("database_oid") == identity["database_oid"]


def read_contents(archive: Archive, identity: Mapping[str, Any]) -> Contents:
    """Read every manifest. Raises ScribeError for one that is not valid, foreign, or of another file."""
    bases, segments = archive.bases(), archive.all_segments()
    for base in bases:
        _check(base, identity)
    for segment in segments:
        _check(segment, identity)
    if any(b.consistent_point < a.consistent_point for a, b in zip(bases, bases[1:], strict=False)):
        raise ScribeError("the bases' names are not in the order of their consistent points", _VERIFY)
    base_times: dict[str, datetime] = {}
    segment_times = []
    latest = datetime.min.replace(tzinfo=UTC)
    waiting = list(segments)
    for base in bases:  # a base is never older than what lies before its consistent point, nor the other way round
        while waiting and waiting[0].to_lsn <= base.consistent_point:
            latest = max(latest, read_time(waiting.pop(0).manifest["closed"]))
            segment_times.append(latest)
        latest = base_times[base.stamp] = max(latest, read_time(base.manifest["finished"]))
    for segment in waiting:
        latest = max(latest, read_time(segment.manifest["closed"]))
        segment_times.append(latest)
    return Contents(bases, segments, base_times, segment_times, latest)


_VERIFY = 'Run "scribe-verify" to see what is wrong; nothing was removed.'


def _check(item: Base | Segment, identity: Mapping[str, Any]) -> None:
    manifest = item.manifest
    fault = find_foreign(manifest, identity)
    if isinstance(item, Base):
        named = manifest["stamp"] == item.stamp
    else:
        named = manifest["file"].startswith(f"{item.path.stem}.sql") and item.path.stem.endswith(f"{item.to_lsn:016X}")
    if fault or not named:
        raise ScribeError(f'"{item.path}" does not belong here: {fault or "its manifest is of another file"}', _VERIFY)


# --- the decision ---------------------------------------------------------------------------------------------------


def make_plan(
    archive: Archive, identity: Mapping[str, Any], policy: Policy, now: datetime, unsent: Collection[str] = ()
) -> Plan:
    """Decide on every file. unsent: paths within the archive that have not been sent yet.

    Raises ScribeError where the archive cannot be judged: a manifest is damaged or belongs elsewhere.
    """
    contents = read_contents(archive, identity)
    if not contents.bases:
        return hold_all(archive, contents, "there is no complete base")
    hold = find_hold(archive, contents, now)
    if hold is not None:
        return hold_all(archive, contents, hold)
    trusted = find_trusted(archive, contents, policy.proof_days)
    if not trusted:
        return hold_all(
            archive, contents, f"no base counts as one: each was made from the archive, {_unproved(policy)}"
        )
    window = days_before(contents.newest, policy.incremental_days)
    needed = find_needed(replace(contents, bases=trusted), window)
    keep = explain_bases(contents, policy, needed)
    unsure = [base.stamp for base in contents.bases if base not in trusted and base.stamp in keep]
    keep |= {stamp: f"{keep[stamp]}; it does not count as one, {_unproved(policy)}" for stamp in unsure}
    limit = find_limit(archive, unsent)
    base_verdicts = [_judge_base(base, keep.get(base.stamp), limit) for base in contents.bases]
    anchor = contents.bases[min(i for i, base in enumerate(contents.bases) if base.stamp in needed)]
    segment_verdicts = list(_judge_segments(contents, policy, anchor, limit))
    oldest = next(v.item for v in base_verdicts if v.keep)
    assert isinstance(oldest, Base)
    kept = tuple(v.item for v in segment_verdicts if v.keep and isinstance(v.item, Segment))
    relied = tuple(base for base in contents.bases if base.stamp in needed)
    verdicts = [*find_leftovers(archive), *base_verdicts, *segment_verdicts, *_judge_globals(archive, oldest)]
    return Plan(tuple(verdicts), relied, kept)


def find_trusted(archive: Archive, contents: Contents, days: int) -> list[Base]:
    """Return the bases on which a promise may rest: the source's, and those made from the archive that are proved.

    Behind one stands what was proved of it itself, and a base of the source's from before it; one of these must not be
    older than so many days.
    """
    since = days_before(contents.newest, days)
    trusted = []
    source = datetime.min.replace(tzinfo=UTC)
    for base in contents.bases:
        if not is_derived(base.manifest):
            source = contents.base_times[base.stamp]
            trusted.append(base)
            continue
        proofs = proof_times(archive, base, contents.bases)
        if proofs is not None and max([source, *map(read_time, proofs)]) >= since:
            trusted.append(base)
    return trusted


def _unproved(policy: Policy) -> str:
    return f"with no base of the source's and no proof behind it of the last {policy.proof_days} days"


def find_hold(archive: Archive, contents: Contents, now: datetime) -> str | None:
    """Return why nothing may be removed now, None where nothing stands in the way."""
    if now < contents.newest:
        return f"the clock says {_text(now)}, and the newest file was written at {_text(contents.newest)}"
    broken = archive.broken()
    if broken is not None:
        return f"the chain is broken since {broken.get('since')}: {broken.get('reason')}"
    newest = find_chain(contents.bases[-1], list(contents.segments))
    if newest.hole is not None:
        return f"the newest segments cannot be reached from base {newest.base.stamp}: {newest.hole}"
    return None


def find_needed(contents: Contents, window: datetime) -> dict[str, str]:
    """Return the bases (stamp -> reason) from which every point after window that is reachable now stays reachable.

    That is the newest base that was complete by then (or the oldest), and after each break the first one that leads on.
    """
    segments = list(contents.segments)
    start = max((i for i, b in enumerate(contents.bases) if contents.base_times[b.stamp] <= window), default=0)
    found = {contents.bases[start].stamp: "the points of the last days are reached from it"}
    chain = find_chain(contents.bases[start], segments)
    for base in contents.bases[start + 1 :]:
        following = find_chain(base, segments)
        if chain.hole is not None and (following.last > chain.last or following.last_time > chain.last_time):
            found[base.stamp] = "what follows a break is reached from it"
            chain = following
    found.setdefault(contents.bases[-1].stamp, "the newest base")
    return found


def explain_bases(contents: Contents, policy: Policy, needed: Mapping[str, str]) -> dict[str, str]:
    """Return the bases to keep, stamp -> reason."""
    reasons = dict(needed)
    since = days_before(contents.newest, policy.base_days)
    months: set[int] = set()
    present = _month(contents.newest)
    for base in contents.bases:
        when = contents.base_times[base.stamp]
        first = _month(when) not in months
        months.add(_month(when))
        if when >= since:
            reasons.setdefault(base.stamp, f"not older than {policy.base_days} days")
        elif first and policy.monthly and present - _month(when) <= policy.monthly:
            reasons.setdefault(base.stamp, f"the first base of {when:%Y-%m}, kept for {policy.monthly} months")
    return reasons


def _month(moment: datetime) -> int:
    utc = moment.astimezone(UTC)
    return utc.year * 12 + utc.month


@dataclass(frozen=True)
class Limit:
    """What may not go although the policy has no use for it."""

    unfinished: str | None  # stamp of the oldest unfinished base
    unsent: Collection[str]

    def protects(self, stamp: str, path: str) -> str | None:
        """Return why a file stays; stamp: the time in its name, path: within the archive, up to its suffix."""
        if self.unfinished is not None and stamp >= self.unfinished:
            return f"not older than the unfinished base {self.unfinished}"
        if any(name.startswith(path) for name in self.unsent):
            return "it has not been sent yet"
        return None


def find_limit(archive: Archive, unsent: Collection[str]) -> Limit:
    """Look for bases that are being taken, or were when their program died."""
    names = [path.name.removeprefix(files.TEMPORARY) for path in archive.bases_path.glob(f"{files.TEMPORARY}*")]
    return Limit(min(names, default=None), unsent)


def _judge_base(base: Base, reason: str | None, limit: Limit) -> Verdict:
    size = sum(entry["bytes"] for entry in base.manifest["files"])
    reason = reason or limit.protects(base.stamp, f"base/{base.stamp}/")
    said = reason or "older than the policy keeps bases, and no point that is kept needs it"
    return Verdict("base", base.path, reason is not None, said, size, base)


def _judge_segments(contents: Contents, policy: Policy, anchor: Base, limit: Limit) -> Iterator[Verdict]:
    """What goes is always a beginning of the run: the first segment that stays keeps all after it."""
    window = days_before(contents.newest, policy.incremental_days)
    kept: str | None = None
    last = len(contents.segments) - 1
    for index, segment in enumerate(contents.segments):
        if kept is None:
            if segment.to_lsn > anchor.consistent_point:
                kept = f"points after base {anchor.stamp} need it"
            elif contents.segment_times[index] >= window:
                kept = f"not older than {policy.incremental_days} days"
            elif index == last:
                kept = "the newest segment: the next one continues it"
            else:
                kept = limit.protects(segment.path.name[:16], f"incremental/{segment.path.stem}")
        reason = kept or f"older than {policy.incremental_days} days, and before base {anchor.stamp}"
        yield Verdict("segment", segment.path, kept is not None, reason, segment.manifest["bytes"], segment)


def _judge_globals(archive: Archive, oldest: Base) -> Iterator[Verdict]:
    """Those in force at the oldest base that stays or later; the newest in any case."""
    paths = archive.globals_files()
    before = [path for path in paths if path.stem <= oldest.stamp]
    for path in paths:
        keep = path not in before[:-1]
        reason = f"in force at base {oldest.stamp} or later" if keep else f"replaced before base {oldest.stamp}"
        yield Verdict("globals", path, keep, reason, path.stat().st_size)


def hold_all(archive: Archive, contents: Contents, why: str) -> Plan:
    """Return the plan that removes nothing."""
    verdicts = [Verdict("base", base.path, True, why, item=base) for base in contents.bases]
    verdicts += [Verdict("segment", segment.path, True, why, item=segment) for segment in contents.segments]
    verdicts += [Verdict("globals", path, True, why) for path in archive.globals_files()]
    leftovers = [replace(verdict, keep=True, reason=why) for verdict in find_leftovers(archive)]
    return Plan(tuple(leftovers + verdicts), hold=why)


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# --- what an interrupted removal has left -----------------------------------------------------------------------------


def find_leftovers(archive: Archive) -> list[Verdict]:
    """Return what a removal that died has begun: named in pruned.json, its manifest gone, the rest still there."""
    pruned = read_pruned(archive)
    why = f"its removal was begun, segments up to {format_lsn(pruned.to_lsn)} went"
    paths = [archive.bases_path / name for name in archive.names_in(archive.bases_path) if name in pruned.bases]
    found = [path for path in sorted(paths) if "manifest.json" not in archive.names_in(path)]
    found += [path for lsn, path in orphans(archive) if lsn <= pruned.to_lsn]
    return [Verdict("leftover", path, False, why) for path in found] + list(_find_replaced(archive))


def _find_replaced(archive: Archive) -> Iterator[Verdict]:
    """What joined segments stand for, in the order in which it goes: scribe-compact died, or this is a store."""
    names = archive.names_in(archive.incremental)
    for name in archive.replaced_names():
        stem = name.removesuffix(".json")
        for each in (f"{stem}.sql.zst", f"{stem}.sql", name):
            if each in names:
                yield Verdict("leftover", archive.incremental / each, False, "a joined segment stands for it")


def orphans(archive: Archive) -> list[tuple[int, Path]]:
    """Return the segments' data files that have no manifest, each with its end LSN, in order."""
    names = archive.names_in(archive.incremental)
    found = []
    for name in sorted(names):
        stem = name.split(".")[0]
        if name.endswith((".sql", ".sql.zst")) and f"{stem}.json" not in names and "-" in stem:
            try:
                found.append((int(stem.rpartition("-")[2], 16), archive.incremental / name))
            except ValueError:
                continue
    return found
