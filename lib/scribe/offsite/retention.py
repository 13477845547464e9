"""Retention in a store: the same policy, judged by what is there, and the same proof that the rest restores.

First a version of removed.json says what is meant to go; then manifests go before what they describe, so that nothing
half gone looks complete. The next run ends what one has begun.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime

from scribe.archive.layout import Base, Segment
from scribe.archive.removal import prove
from scribe.archive.retention import Plan, Policy, Verdict, days_before, make_plan
from scribe.archive.rolefiles import manifest_of
from scribe.offsite.encryption import SUFFIX
from scribe.offsite.mirror import Mirror
from scribe.offsite.removed import read_removed
from scribe.offsite.versions import REMOVED, new_version, newest_versions


def prune_store(
    mirror: Mirror,
    policy: Policy,
    *,
    confirm: bool,
    now: datetime | None = None,
    locked: Callable[[datetime], None] = lambda until: None,
) -> Plan:
    """Decide what may go, prove that the rest restores and, with confirm, remove it; return what was decided.

    locked: called with the time until which the store keeps what goes, if a lock outlives the policy.
    Raises ScribeError when the proof fails, or the store lets nothing be removed.
    """
    moment = now or datetime.now(UTC)
    plan = make_plan(mirror, mirror.known_identity(), policy, moment)
    if plan.removals:
        prove(mirror, plan)
        _tell_lock(mirror, plan, locked)
        if confirm:
            _record(mirror, plan)
            for keys in _steps(mirror, plan):
                mirror.store.delete(keys)
    if confirm and plan.hold is None:
        mirror.store.delete(_old_versions(mirror, days_before(moment, policy.incremental_days)))
    return plan


def _chosen(plan: Plan, kind: str) -> list[Verdict]:
    return [verdict for verdict in plan.removals if verdict.kind == kind]


def _tell_lock(mirror: Mirror, plan: Plan, tell: Callable[[datetime], None]) -> None:
    """Tell of the lock of what was written last of what goes: a bucket locks each object for as long."""
    keys = [key for step in _steps(mirror, plan) for key in step]
    if keys:
        until = mirror.store.locked_until(max(keys, key=lambda key: mirror.objects[key].changed))
        if until is not None and until > datetime.now(UTC):
            tell(until)


def _record(mirror: Mirror, plan: Plan) -> None:
    """Write what is meant to go, before any of it does."""
    versions = newest_versions(mirror.objects).get(REMOVED, [])
    before = read_removed(mirror.store, versions)
    ends = [v.item.to_lsn for v in _chosen(plan, "segment") if isinstance(v.item, Segment)]
    stamps = frozenset(v.item.stamp for v in _chosen(plan, "base") if isinstance(v.item, Base))
    roles = [verdict.path.stem for verdict in _chosen(plan, "globals")]
    after = before.with_more(max(ends, default=0), stamps, max(roles, default=""))
    if after != before:
        content = (json.dumps(after.as_json()) + "\n").encode()
        key = new_version(REMOVED, content, encrypted=False, after=next(iter(versions), None))
        mirror.store.put(key, [content])


def _steps(mirror: Mirror, plan: Plan) -> Iterator[list[str]]:
    """Yield keys that may go at once, in order: the archive there is whole after any number of them."""
    for verdict in _chosen(plan, "leftover"):
        yield _keys(mirror, _within(mirror, verdict))
    for verdict in _chosen(plan, "base"):
        names = _within(mirror, verdict)
        yield _keys(mirror, [name for name in names if name.endswith("/manifest.json")])
        yield _keys(mirror, [name for name in names if not name.endswith("/manifest.json")])
    segments = [verdict.item for verdict in _chosen(plan, "segment") if isinstance(verdict.item, Segment)]
    yield _keys(mirror, [mirror.name_of(segment.path) for segment in segments])
    yield _keys(mirror, [mirror.name_of(segment.data) for segment in segments])
    roles = [verdict.path for verdict in _chosen(plan, "globals")]
    yield _keys(mirror, [mirror.name_of(manifest_of(path)) for path in roles])
    yield _keys(mirror, [mirror.name_of(path) for path in roles])


def _within(mirror: Mirror, verdict: Verdict) -> list[str]:
    """Return the names of a file, or of all files of a base."""
    name = mirror.name_of(verdict.path)
    return [each for each in mirror.keys if each == name or each.startswith(f"{name}/")]


def _keys(mirror: Mirror, names: Sequence[str]) -> list[str]:
    """Return every key of these files, encrypted or not."""
    return [key for name in names for key in (name, name + SUFFIX) if key in mirror.objects]


def _old_versions(mirror: Mirror, limit: datetime) -> list[str]:
    """Return the versions, of files that are replaced, from before a time that are older than the one that counts."""
    stamp = limit.strftime("%Y%m%dT%H%M%S")
    return [
        version.key
        for name, versions in newest_versions(mirror.objects).items()
        for version in versions
        if name in mirror.counted and version.stamp < min(stamp, mirror.counted[name])
    ]
