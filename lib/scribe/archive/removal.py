"""Removing what retention has no use for, when what stays is proved to restore; safe against a crash at any step.

First pruned.json says what is meant to go; then a manifest goes before what it describes, so that nothing half gone
looks complete; oldest first, so that what stays is always an unbroken run. The next run ends what one has begun.
"""

from __future__ import annotations

import collections
import contextlib
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from scribe.archive.chains import check_file
from scribe.archive.layout import Archive, Base, Segment
from scribe.archive.pruned import read_pruned
from scribe.archive.retention import Plan, Policy, Verdict, make_plan
from scribe.archive.rolefiles import manifest_of
from scribe.archive.shipping import Outbox
from scribe.common import files
from scribe.common.errors import ScribeError
from scribe.common.lsn import format_lsn


@contextlib.contextmanager
def locks(archive: Archive) -> Iterator[None]:
    """Keep new bases, restores and other removals away. Raises TryAgainError when one of them is at work."""
    with (
        files.Lock(archive.spool / "base.lock", "a base is being taken, or scribe-prune is at work"),
        files.DirectoryLock(archive.path, "a restore or scribe-verify reads the archive", shared=False),
    ):
        yield


def prune(
    archive: Archive,
    policy: Policy,
    command: str | None,
    *,
    confirm: bool,
    now: datetime | None = None,
    unsent: Collection[str] = (),
) -> Plan:
    """Decide what may go, prove that the rest restores and, with confirm, remove it; return what was decided.

    command: SCRIBE_ARCHIVE_COMMAND; unsent: files that a place of SCRIBE_REMOTE lacks.
    Raises ScribeError when the proof fails, TryAgainError when the archive is in use.
    """
    if confirm:
        archive.create_directories()  # a copy of an archive may have been made without its spool
    with locks(archive) if confirm else contextlib.nullcontext():
        unsent = [*unsent, *(Outbox(archive, command).waiting() if command else [])]
        plan = make_plan(archive, archive.identity(), policy, now or datetime.now(UTC), unsent)
        if plan.removals:
            prove(archive, plan)
            if confirm:
                remove(archive, plan)
    return plan


def prove(archive: Archive, plan: Plan) -> None:
    """Read the bases on which the promise rests, and look for every segment that stays. Raises ScribeError."""
    try:
        for base in plan.relies_on:
            for entry in base.manifest["files"]:
                archive.fetch([base.path / entry["name"]])
                check_file(base.path / entry["name"], entry["bytes"], entry["sha256"])
        for segment in plan.segments:
            _look_for(archive, segment)
    except ScribeError as error:
        hint = 'Run "scribe-verify" to see everything that is wrong, then take a new base with "scribe-dump".'
        raise ScribeError(f"nothing is removed, since the rest might not restore: {error.message}", hint) from None


def _look_for(archive: Archive, segment: Segment) -> None:
    what = archive.size_fault(segment.data, segment.manifest["bytes"])
    if what is not None:
        raise ScribeError(f'file "{segment.data}": {what}')


def summarize(plan: Plan) -> str:
    """Return what goes, in words: "2 bases, 40 segments (1.5 MB)"."""
    counts = collections.Counter(verdict.kind for verdict in plan.removals)
    words = [f"{count} {kind}{'s' if count > 1 and kind != 'globals' else ''}" for kind, count in counts.items()]
    size = sum(verdict.size for verdict in plan.removals)
    return f"{', '.join(words)} ({size / (1 << 20):.1f} MB)" if words else "nothing"


def remove(archive: Archive, plan: Plan) -> None:
    """Remove what the plan lets go, durably. Raises OSError; whatever was done then, the next run goes on."""
    for directory in (archive.bases_path, archive.incremental, archive.globals_path):
        files.sync_directory(directory)  # a program that was killed may have named what the rest relies on, and no more
    for step in list_steps(archive, plan):
        step()


def list_steps(archive: Archive, plan: Plan) -> Iterator[Callable[[], None]]:
    """Yield the single steps of a removal in order; the archive is whole after any number of them."""
    groups = {kind: [v for v in plan.removals if v.kind == kind] for kind in ("leftover", "base", "segment", "globals")}
    yield lambda: _record(archive, groups["base"] + groups["leftover"], groups["segment"])
    for verdict in groups["leftover"]:
        yield from _steps_of_leftover(verdict.path)
    for verdict in groups["base"]:
        yield from _steps_of_base(verdict.path)
    yield from _steps_of_segments(archive.incremental, [v.item for v in groups["segment"]])
    for verdict in groups["globals"]:
        for path in (manifest_of(verdict.path), verdict.path):
            yield lambda path=path: files.remove_file(path)  # type: ignore[misc]


def _record(archive: Archive, bases: Sequence[Verdict], segments: Sequence[Verdict]) -> None:
    """Write pruned.json: what is meant to go, before any of it does."""
    last = segments[-1].item if segments else None
    reached = max(read_pruned(archive).to_lsn, last.to_lsn if isinstance(last, Segment) else 0)
    value = {
        "time": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "to_lsn": format_lsn(reached),
        "bases": [verdict.path.name for verdict in bases if verdict.path.parent == archive.bases_path],
    }
    files.write_json(archive.path / "pruned.json", value)


def _steps_of_base(path: Path) -> Iterator[Callable[[], None]]:
    yield lambda: files.remove_file(path / "manifest.json")
    yield from _steps_of_leftover(path)


def _steps_of_leftover(path: Path) -> Iterator[Callable[[], None]]:
    if path.is_dir():
        yield lambda: files.remove_tree(path)
        yield lambda: files.sync_directory(path.parent)
    else:
        yield lambda: files.remove_file(path)


def _steps_of_segments(directory: Path, items: Sequence[Base | Segment | None]) -> Iterator[Callable[[], None]]:
    """All manifests, then all data: one sync for each kind instead of one for each file."""
    segments = [item for item in items if isinstance(item, Segment)]
    for path in [segment.path for segment in segments]:
        yield lambda path=path: path.unlink(missing_ok=True)  # type: ignore[misc]
    if segments:
        yield lambda: files.sync_directory(directory)
    for path in [segment.data for segment in segments]:
        yield lambda path=path: path.unlink(missing_ok=True)  # type: ignore[misc]
    if segments:
        yield lambda: files.sync_directory(directory)
