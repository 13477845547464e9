"""Verification: is every file of an archive there, unchanged, where it belongs, and does each continue the one before?

Nothing is taken for granted: a damaged manifest is a fault like any other, and the rest is still looked at.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from scribe.archive import rolefiles
from scribe.archive.chains import describe_break, find_chain
from scribe.archive.checksums import Entry, list_base, list_globals, list_segment, read_entry
from scribe.archive.joining import find_unfinished
from scribe.archive.layout import Archive, Base, Segment
from scribe.archive.manifest import read_manifest
from scribe.archive.pruned import Pruned, read_pruned
from scribe.archive.retention import find_foreign, orphans
from scribe.common import files
from scribe.common.errors import ScribeError
from scribe.common.lsn import format_lsn, parse_lsn

FETCH = "fetch it from another copy of the archive, or take a new base with scribe-dump"
NEW_BASE = "take a new base with scribe-dump; points across the gap cannot be reached"


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong. file: path within the archive; remedy: what to do about it."""

    file: str
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.file}: {self.what}; {self.remedy}"


@dataclass
class Outcome:
    """What a verification found. files, bytes: how much was read; notes: what is worth knowing and no fault."""

    faults: list[Fault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    files: int = 0
    bytes: int = 0
    read: dict[str, str] = field(default_factory=dict)  # path within the archive -> when it was last read and good
    bad: list[str] = field(default_factory=list)  # what was read and is not as its manifest says
    newest: dict[str, str] = field(default_factory=dict)  # the newest segment seen: file and to_lsn


class Verification:
    """One look at an archive. previous: what verify.json said last time; percent: how much is read, of all bytes.

    What was bad last time is read again whatever the share, so that no fault goes away by not being looked at.
    """

    def __init__(self, archive: Archive, previous: Mapping[str, Any] | None = None, percent: int = 100) -> None:
        self.archive = archive
        self.previous = dict(previous or {})
        self.percent = percent
        self.identity = archive.known_identity()
        self.outcome = Outcome()
        self.now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def run(self) -> Outcome:
        """Do it. Raises ScribeError where archive.json itself cannot be read."""
        pruned = self._read_pruned()
        segments = [segment for path in self._segment_paths() if (segment := self._read_segment(path))]
        bases = [base for path in self._base_paths(pruned) if (base := self._read_base(path))]
        self._check_run(segments, bases, pruned)
        self._check_newest(segments)
        entries = [entry for base in bases for entry in list_base(self.archive, base)]
        entries += [list_segment(self.archive, segment) for segment in segments]
        roles = rolefiles.look(self.archive)
        self._check_globals(roles)
        for base in bases:
            self._check_unlisted(base)
        self._check_entries(entries + list_globals(self.archive, roles))
        self._check_leftovers(pruned)
        self._check_files()
        for gap in self.identity.get("accepted_gaps", []):
            self.outcome.notes.append(f"archive.json: a gap of the decoder was accepted: {gap['text']}")
        return self.outcome

    def _fault(self, path: Path | str, what: str, remedy: str) -> None:
        name = str(path.relative_to(self.archive.path)) if isinstance(path, Path) else path
        self.outcome.faults.append(Fault(name, what, remedy))

    # --- manifests ----------------------------------------------------------------------------------------------

    def _read_pruned(self) -> Pruned:
        try:
            return read_pruned(self.archive)
        except ScribeError as error:
            self._fault("pruned.json", error.message, "remove it; segments missing at the beginning are then faults")
            return Pruned()

    def _segment_paths(self) -> list[Path]:
        names = self.archive.segment_names()
        for before, after in zip(names, names[1:], strict=False):
            if before[:16] > after[:16]:
                what = f'is named earlier than "{before}" and ends later'
                self._fault(self.archive.incremental / after, what, "move what does not belong here out of the archive")
        return [self.archive.incremental / name for name in names]

    def _base_paths(self, pruned: Pruned) -> list[Path]:
        found = []
        for path in sorted(self.archive.bases_path.glob("*")):
            if path.name.startswith(files.TEMPORARY):
                self.outcome.notes.append(f"base/{path.name}: an unfinished base; the next scribe-dump removes it")
            elif (path / "manifest.json").exists():
                found.append(path)
            elif path.name in pruned.bases:
                self.outcome.notes.append(f"base/{path.name}: its removal was begun; the next scribe-prune ends it")
            else:
                self._fault(path, "a base without its manifest.json", f"{FETCH}, or remove the directory")
        return found

    def _read(self, kind: str, path: Path) -> dict[str, Any] | None:
        try:
            return read_manifest(kind, path)
        except FileNotFoundError:
            self._fault(path, "it is missing", FETCH)
        except (ScribeError, OSError) as error:
            self._fault(path, getattr(error, "message", str(error)), FETCH)
        return None

    def _read_segment(self, path: Path) -> Segment | None:
        manifest = self._read("segment", path)
        if manifest is None:
            return None
        segment = Segment(path, manifest)
        matches = manifest["file"].startswith(f"{path.stem}.sql") and path.stem.endswith(f"{segment.to_lsn:016X}")
        return segment if self._belongs(path, manifest, named=matches) else None

    def _read_base(self, directory: Path) -> Base | None:
        path = directory / "manifest.json"
        manifest = self._read("base", path)
        if manifest is None or not self._belongs(path, manifest, named=manifest["stamp"] == directory.name):
            return None
        meta = self._read("meta", directory / "meta.json")
        if meta is not None and (foreign := find_foreign(meta, self.identity)):
            self._fault(directory / "meta.json", f"it belongs to another archive: {foreign}", FETCH)
        return Base(directory, manifest)

    def _belongs(self, path: Path, manifest: Mapping[str, Any], *, named: bool) -> bool:
        foreign = find_foreign(manifest, self.identity)
        if foreign is not None:
            self._fault(path, f"it belongs to another archive: {foreign}", "move it out of this one")
        elif not named:
            self._fault(path, "it is the manifest of another file", FETCH)
        return foreign is None and named

    # --- continuity ---------------------------------------------------------------------------------------------

    def _check_run(self, segments: list[Segment], bases: list[Base], pruned: Pruned) -> None:
        for before, after in zip(segments, segments[1:], strict=False):
            reason = describe_break(before, after)
            if reason is None or after.to_lsn <= pruned.to_lsn:
                continue
            if after.manifest["chain_start"] and before.to_lsn <= after.from_lsn:
                self.outcome.notes.append(f"incremental/{after.path.name}: {reason}; no restore crosses this hole")
            elif before.to_lsn < after.from_lsn and before.to_lsn < pruned.to_lsn >= after.from_lsn:
                continue
            else:
                self._fault(after.path, reason, FETCH)
        self._check_beginning(segments, pruned)
        self._check_end(segments, bases)

    def _check_beginning(self, segments: list[Segment], pruned: Pruned) -> None:
        first = segments[0] if segments else None
        if first is None or first.manifest["previous_sha256"] is None or first.from_lsn <= pruned.to_lsn:
            return
        what = f"the segments between {format_lsn(pruned.to_lsn)} and {format_lsn(first.from_lsn)} are missing"
        self._fault(first.path, f"{what}, and scribe-prune did not remove them", FETCH)

    def _check_end(self, segments: list[Segment], bases: list[Base]) -> None:
        """The archive's end must be reachable from its newest base."""
        broken = self.archive.broken()
        if broken is not None:
            what = f"the chain is broken since {broken.get('since')}: {broken.get('reason')}"
            self._fault("broken.json", what, _ANEW)
        if not bases:
            self._fault("base", "there is no complete base", 'take one with "scribe-dump"')
            return
        chain = find_chain(bases[-1], segments)
        if chain.hole is not None:
            self._fault(bases[-1].path, f"the end of the archive cannot be reached: {chain.hole}", NEW_BASE)

    def _check_newest(self, segments: list[Segment]) -> None:
        """The newest segment of the last time must still be there: nothing else shows that an end was cut off."""
        known = self.previous.get("newest") or {}
        try:
            reached = parse_lsn(known["to_lsn"])
        except (KeyError, TypeError, ValueError):
            reached = 0
        last = segments[-1] if segments else None
        if last is None or last.to_lsn < reached:
            if reached:
                what = f"it was here on {self.previous.get('time')}, and it or its manifest is missing or damaged"
                self._fault(f"incremental/{known.get('file')}", what, FETCH)
                self.outcome.newest = dict(known)
            return
        self.outcome.newest = {"file": last.manifest["file"], "to_lsn": last.manifest["to_lsn"]}

    # --- contents -----------------------------------------------------------------------------------------------

    def _check_entries(self, entries: list[Entry]) -> None:
        known: dict[str, str] = {}
        if isinstance(self.previous.get("read"), dict):
            known = {name: str(when) for name, when in self.previous["read"].items()}
        there = [entry for entry in entries if self._is_there(entry)]
        bad = [name for name in self.previous.get("bad") or [] if isinstance(name, str)]
        chosen = {entry.name for entry in choose(there, known, self.percent)} | set(bad)
        for entry in there:
            if entry.name not in chosen:
                if entry.name in known:
                    self.outcome.read[entry.name] = known[entry.name]
                continue
            self.outcome.files += 1
            self.outcome.bytes += entry.size
            self.archive.fetch([entry.path])
            what = read_entry(entry)
            self.archive.release(entry.path)
            if what is None:
                self.outcome.read[entry.name] = self.now
            else:
                self.outcome.bad.append(entry.name)
                self._fault(entry.name, what, FETCH)

    def _is_there(self, entry: Entry) -> bool:
        try:
            what = self.archive.size_fault(entry.path, entry.size)
        except OSError as error:
            what = str(error)
        if what is not None:
            self._fault(entry.name, what, FETCH)
        return what is None

    # --- what else is there -------------------------------------------------------------------------------------

    def _check_leftovers(self, pruned: Pruned) -> None:
        names = self.archive.segment_names()
        newest = int(names[-1][17:33], 16) if names else 0
        for path in (unfinished := find_unfinished(self.archive)):
            name = f"incremental/{path.name}"
            self.outcome.notes.append(f"{name}: scribe-compact has joined it with others; its next run removes it")
        for lsn, path in orphans(self.archive):
            name = f"incremental/{path.name}"
            if path in unfinished:
                continue
            if lsn <= pruned.to_lsn:
                self.outcome.notes.append(f"{name}: its removal was begun; the next scribe-prune ends it")
            elif lsn > newest:
                self.outcome.notes.append(f"{name}: an unfinished segment; the next scribe-rotate writes it again")
            else:
                self._fault(name, "its manifest is missing", FETCH)
        for directory in (self.archive.path, self.archive.incremental, self.archive.globals_path):
            for path in directory.glob(f"{files.TEMPORARY}*"):
                name = str(path.relative_to(self.archive.path))
                self.outcome.notes.append(f"{name}: left by a program that died; the next run removes it")

    def _check_globals(self, found: rolefiles.Found) -> None:
        for path, what in found.lost:
            self._fault(path, what, FETCH)
        for path in found.old:
            self.outcome.notes.append(f"globals/{path.name}: it has no checksum; an older pg_scribe wrote it")
        for path in found.unfinished:
            self.outcome.notes.append(
                f"globals/{path.name}: unfinished; no restore runs it, and the next run removes it"
            )

    def _check_unlisted(self, base: Base) -> None:
        known = {entry["name"] for entry in base.manifest["files"]} | {"manifest.json"}
        for path in walk(base.path):
            name = path.relative_to(base.path).as_posix()
            if name not in known and not path.is_dir():
                self._fault(path, "its base's manifest does not name it", "move what does not belong here out of it")

    def _check_files(self) -> None:
        for path in walk(self.archive.path):
            try:
                plain = not path.is_dir() or (path.is_symlink() and path.parent != self.archive.path)
                if plain and self.archive.spool not in path.parents:
                    what = files.describe_strange(path, self.archive.path)
                    if what is not None:
                        self._fault(path, what, FETCH)
                mode = stat.S_IMODE(path.lstat().st_mode)
            except FileNotFoundError:  # rotation and stream go on meanwhile
                continue
            if mode & 0o077 and not (path.is_symlink() or mode & 0o022 and path.is_file()):
                wanted = files.DIRECTORY_MODE if path.is_dir() else files.FILE_MODE
                self._fault(path, f"others may use it (mode {mode:04o})", f'run "chmod {wanted:o}" on it')


_ANEW = 'run "scribe-init" to begin a new chain with a new base'


def choose(entries: list[Entry], known: Mapping[str, str], percent: int) -> list[Entry]:
    """Return what to read: the longest unread first, until that many percent of all bytes are chosen.

    known: name -> when it was last read and good; what never was comes first.
    """
    wanted = sum(entry.size for entry in entries) * percent / 100
    chosen, size = [], 0
    for entry in sorted(entries, key=lambda entry: (known.get(entry.name, ""), entry.name)):
        if percent < 100 and size >= wanted:
            break
        chosen.append(entry)
        size += entry.size
    return chosen


def walk(directory: Path) -> Iterator[Path]:
    """Yield a directory and everything in it; symbolic links are not followed."""
    yield directory
    if directory.is_dir() and not directory.is_symlink():
        try:
            below = sorted(directory.iterdir())
        except FileNotFoundError:
            return
        for path in below:
            yield from walk(path)


def read_result(path: Path) -> dict[str, Any]:
    """Return what the last run wrote, nothing where there was none or it cannot be read."""
    try:
        value = files.read_json(path)
    except (OSError, ScribeError):
        return {}
    return value if isinstance(value, dict) else {}
