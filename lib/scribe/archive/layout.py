"""The archive: the directory that holds everything about one source database."""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

from scribe.archive.manifest import read_manifest, write_manifest
from scribe.common import files
from scribe.common.dialect import format_time
from scribe.common.errors import ScribeError, UsageError
from scribe.common.lsn import file_lsn, format_lsn, parse_lsn

_SEGMENT = re.compile(r"^(\d{8}T\d{6}Z)-([0-9A-F]{16})\.json$")
_BASE = re.compile(r"^\d{8}T\d{6}Z$")
_GLOBALS = re.compile(r"^\d{8}T\d{6}Z\.sql$")


@dataclass(frozen=True)
class Segment:
    """A finished segment: its manifest's path and what the manifest says."""

    path: Path
    manifest: dict[str, Any]

    @property
    def data(self) -> Path:
        """The SQL file, compressed or plain."""
        return self.path.with_name(self.manifest["file"])

    @functools.cached_property
    def from_lsn(self) -> int:
        """Where the segment begins: the end of the one before."""
        return parse_lsn(self.manifest["from_lsn"])

    @functools.cached_property
    def to_lsn(self) -> int:
        """Where the segment ends."""
        return parse_lsn(self.manifest["to_lsn"])

    @property
    def joined(self) -> dict[str, Any] | None:
        """What scribe-compact has made it from, None if a rotation has written it."""
        return self.manifest.get("joined")

    @property
    def joined_times(self) -> tuple[str, str]:
        """The earliest and the latest commit of what a joined segment was made from, as in BEGIN lines."""
        first, last = self.manifest["commit_times"]
        return str(first), str(last)

    @property
    def last_sha256(self) -> str:
        """The checksum that the next segment names: its own, or that of the last one it was made from."""
        return str(self.manifest["sha256"] if self.joined is None else self.joined["last_sha256"])


@dataclass(frozen=True)
class Base:
    """A complete base: its directory and what its manifest says."""

    path: Path
    manifest: dict[str, Any]

    @property
    def stamp(self) -> str:
        """The base's name: the UTC time at which it was begun."""
        return self.path.name

    @property
    def consistent_point(self) -> int:
        """LSN: transactions whose commit record starts before it are in the base, the others are not."""
        return int(self.manifest["consistent_point"], 16)


@dataclass(frozen=True)
class Archive:
    """The paths of an archive and what is finished in it."""

    path: Path

    @property
    def identity_path(self) -> Path:
        """archive.json."""
        return self.path / "archive.json"

    @property
    def spool(self) -> Path:
        """pg_recvlogical's files; private to stream and rotate."""
        return self.path / "spool"

    @property
    def bases_path(self) -> Path:
        """The directory of bases."""
        return self.path / "base"

    @property
    def incremental(self) -> Path:
        """The directory of segments."""
        return self.path / "incremental"

    @property
    def globals_path(self) -> Path:
        """The directory of globals files."""
        return self.path / "globals"

    @property
    def cuts(self) -> Path:
        """Consistent points at which segments must be cut, one empty file each."""
        return self.spool / "cuts"

    @property
    def results(self) -> Path:
        """The directory of what scribe-verify has found."""
        return self.path

    def base_lock(self) -> files.Lock:
        """The lock of whoever takes a base, or removes what is left of one."""
        return files.Lock(self.spool / "base.lock", "a base is being taken")

    def exists(self) -> bool:
        """Whether scribe-init has made this archive."""
        return self.identity_path.is_file()

    def identity(self) -> dict[str, Any]:
        """Return archive.json. Raises UsageError where there is no archive."""
        try:
            return read_manifest("archive", self.identity_path)
        except FileNotFoundError:
            raise UsageError(f'there is no archive in "{self.path}"', self._hint_without_identity()) from None

    def _hint_without_identity(self) -> str:
        """Return how to go on where archive.json is missing: a new archive must not begin beside older segments."""
        if self.incremental.is_dir() and self.segment_names():
            return "There are segments: bring archive.json back from a copy of the archive."
        return 'Mount its file system, or set SCRIBE_ARCHIVE to an archive; "scribe-init" makes one where none was.'

    def known_identity(self) -> dict[str, Any]:
        """Return archive.json, or what bases and segments tell of it, which is enough to read the archive.

        Raises UsageError where there is neither.
        """
        if self.exists() or not (bases := self.bases()):
            return self.identity()
        base, last = bases[-1], self.last_segment()
        meta = read_manifest("meta", base.path / "meta.json")
        return {
            "format_version": base.manifest["format_version"],
            "system_identifier": base.manifest["system_identifier"],
            "database": base.manifest["database"],
            "database_oid": None,
            "slot": "",
            "decoder": last.manifest["decoder"] if last else "scribe_decoder",
            "created": bases[0].manifest["finished"],
            "spool_id": None,
            "chain_from_lsn": format_lsn(bases[0].consistent_point),
            "encoding": meta["encoding"],
        }

    @property
    def fetches(self) -> bool:
        """Whether files are brought here when they are read, and may go again."""
        return False

    def fetch(self, paths: Iterable[Path]) -> None:
        """Bring files here that are about to be read; in a directory they are here."""

    def bring(self, segments: Iterable[Segment], behind: int = 0) -> Iterator[Segment]:
        """Yield segments whose data files are here, also for as long as the next behind ones are asked for."""
        yield from segments

    def release(self, path: Path) -> None:
        """Let a file that was fetched go; in a directory it stays."""

    def names_in(self, directory: Path) -> set[str]:
        """Return the names of what is in a directory of the archive, hidden files left out."""
        return {path.name for path in directory.glob("[!.]*")}

    def size_fault(self, path: Path, size: int) -> str | None:
        """Return what a file's size shows to be wrong with it, or None; nothing is fetched for that. Raises OSError."""
        try:
            found = path.stat().st_size
        except FileNotFoundError:
            return "it is missing"
        return None if found == size else f"it has {found} bytes, its manifest says {size}"

    @property
    def broken_path(self) -> Path:
        """The record that the chain is broken: what follows cannot continue what is archived."""
        return self.path / "broken.json"

    def declare_broken(self, reason: str, lsn: int) -> None:
        """Record durably, once, that transactions after lsn are lost to this archive until a new chain begins."""
        if self.broken() is None:
            since = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            files.write_json(self.broken_path, {"since": since, "reason": reason, "lsn": format_lsn(lsn)})

    def broken(self) -> dict[str, Any] | None:
        """Return since (UTC), reason and lsn of a broken chain, or None where all is well."""
        try:
            value = files.read_json(self.broken_path)
        except FileNotFoundError:
            return None
        return value if isinstance(value, dict) else {"since": "", "reason": "unknown", "lsn": "0/0"}

    def clear_broken(self) -> None:
        """Take the record away; for whoever begins a new chain, after archive.json names its start."""
        files.remove_file(self.broken_path)

    def archived_lsn(self) -> int:
        """Return the LSN up to which the present chain is in segments: its start where it has none yet."""
        start = parse_lsn(self.identity()["chain_from_lsn"])
        last = self.last_segment()
        return start if last is None else max(start, last.to_lsn)

    def create_directories(self) -> None:
        """Make the archive's directories, durably; those that are there are left alone."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        for path in (self.path, self.spool, self.cuts, self.bases_path, self.incremental, self.globals_path):
            files.make_directory(path)

    def write_identity(self, value: dict[str, Any]) -> None:
        """Write archive.json, replacing it."""
        write_manifest("archive", self.identity_path, value, exclusive=False)

    def segment_names(self) -> list[str]:
        """Return the names of all segment manifests in commit order, which is the order of their LSNs.

        Those that a joined segment stands for are left out.
        """
        return self._sort_names()[0]

    def replaced_names(self) -> list[str]:
        """Return the manifests' names of what a joined segment stands for and was not removed yet, in order."""
        return self._sort_names()[1]

    def _sort_names(self) -> tuple[list[str], list[str]]:
        """Return the names of the segments that count, and of those that others stand for.

        Of the latter, the last one goes last (scribe.archive.joining): while any is there, two end at the same LSN.
        """
        if not self.incremental.is_dir():
            return [], []
        found = sorted((match[2], name) for name in _names(self.incremental) if (match := _SEGMENT.match(name)))
        replaced: set[str] = set()
        for (lsn, name), (other_lsn, other) in pairwise(found):
            if lsn == other_lsn:
                first = self._joined_from((name, other))
                replaced |= {
                    each for end, each in found if first is not None and first[1] < int(end, 16) < int(lsn, 16)
                }
                replaced |= {each for each in (name, other) if first is not None and each != first[0]}
        names = [name for _, name in found]
        return [name for name in names if name not in replaced], [name for name in names if name in replaced]

    def _joined_from(self, names: Iterable[str]) -> tuple[str, int] | None:
        """Return the joined one of segments that end at one LSN, and where it begins: the one from furthest back."""
        found = []
        for name in names:
            with contextlib.suppress(FileNotFoundError, ScribeError):
                segment = Segment(self.incremental / name, read_manifest("segment", self.incremental / name))
                found += [(segment.from_lsn, name)] if segment.joined is not None else []
        return (min(found)[1], min(found)[0]) if found else None

    def segments(self) -> Iterator[Segment]:
        """Yield every finished segment in commit order. Raises ScribeError for a manifest that is not valid."""
        directory = self.incremental
        for name in self.segment_names():
            path = directory / name
            yield Segment(path, read_manifest("segment", path))

    def all_segments(self) -> list[Segment]:
        """Return every finished segment in commit order. Raises ScribeError for a manifest that is not valid."""
        collecting = gc.isenabled()
        gc.disable()  # no manifest refers to anything in a circle, and looking for one takes a third of the time
        try:
            return list(self.segments())
        finally:
            if collecting:
                gc.enable()

    def last_segment(self) -> Segment | None:
        """Return the newest finished segment, or None."""
        names = self.segment_names()
        if not names:
            return None
        path = self.incremental / names[-1]
        return Segment(path, read_manifest("segment", path))

    def bases(self) -> list[Base]:
        """Return every complete base, oldest first; but not of a timeline that was left."""
        if not self.bases_path.is_dir():
            return []
        found: list[Base] = []
        left = self._left_timelines()
        for name in sorted(filter(_BASE.match, _names(self.bases_path))):
            with contextlib.suppress(FileNotFoundError):
                path = self.bases_path / name
                base = Base(path, read_manifest("base", path / "manifest.json"))
                if base.consistent_point <= left.get(base.manifest["timeline"], base.consistent_point):
                    found.append(base)
        return found

    def _left_timelines(self) -> dict[int, int]:
        """Return where the stream has left timelines: number -> LSN."""
        if not self.exists():
            return {}
        return {each["timeline"]: parse_lsn(each["lsn"]) for each in self.identity().get("left_timelines", [])}

    def leave_timeline(self, timeline: int, lsn: int) -> None:
        """Record that the stream goes on with a server whose history left a timeline at an LSN.

        A base of that timeline from beyond holds what the new server never had, and is none any more.
        """
        identity = self.identity()
        known = [each for each in identity.get("left_timelines", []) if each["timeline"] != timeline]
        left = {"timeline": timeline, "lsn": format_lsn(lsn)}
        self.write_identity(identity | {"left_timelines": [*known, left]})

    def globals_files(self) -> list[Path]:
        """Return the globals files, oldest first."""
        if not self.globals_path.is_dir():
            return []
        return [self.globals_path / name for name in sorted(filter(_GLOBALS.match, _names(self.globals_path)))]

    def pending_cuts(self) -> list[int]:
        """Return the recorded consistent points, in order."""
        return sorted(int(name, 16) for name in _names(self.cuts) if re.fullmatch(r"[0-9A-F]{16}", name))

    def record_cut(self, lsn: int) -> None:
        """Record durably that a segment must end at lsn, before anything past it can be archived."""
        files.write_file(self.cuts / file_lsn(lsn), b"")

    def closing_stamp(self, now: datetime | None = None) -> str:
        """Return the UTC time for the next segment's name: never before the newest's, so name order is commit order."""
        stamp = format_time(now or datetime.now(UTC))
        names = self.segment_names()
        return max(stamp, names[-1][:16]) if names else stamp

    def base_stamp(self) -> str:
        """Return an unused name for a new base, later than every other."""
        moment = datetime.now(UTC)
        names = [name for name in _names(self.bases_path) if _BASE.match(name)]
        if names and format_time(moment) <= max(names):
            moment = datetime.strptime(max(names), "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC) + timedelta(seconds=1)
        return format_time(moment)


def _names(directory: Path) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError as error:
        raise ScribeError(f'could not read directory "{directory}": {error.strerror}') from None
