"""An archive that is read out of a store: its manifests are fetched at once, what they describe when it is needed.

What was fetched lies in a directory of a bounded size, laid out as an archive, so that everything that reads one reads
this. Nothing there counts as good: whoever uses a file compares it with its manifest, as in any archive.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from scribe.archive.chains import check_file
from scribe.archive.layout import Archive, Segment
from scribe.archive.pruned import read_pruned
from scribe.common import files
from scribe.common.errors import ScribeError, UsageError
from scribe.common.lsn import format_lsn
from scribe.common.settings import Settings
from scribe.offsite.contents import archived_files, is_manifest
from scribe.offsite.encryption import SUFFIX, DamagedError, decrypt
from scribe.offsite.removed import Removed, read_removed
from scribe.offsite.stores import Store, Stored, bounded, open_store
from scribe.offsite.versions import LOOSE, REMOVED, newest_versions, read_newest, time_of

JOBS = 8  # files fetched at once
_DIRECTORIES = ("spool", "spool/cuts", "base", "incremental", "globals")
_SMALL = ("meta.json", "globals.sql", "database.sql", "epilogue.sql")  # of a base


@dataclass(frozen=True)
class Cache:
    """Where what is fetched is kept. directory: one for each place; limit: in bytes."""

    directory: Path
    limit: int

    def place(self, url: str) -> Path:
        """Return the directory for a place."""
        return self.directory / hashlib.sha256(url.encode()).hexdigest()[:16]


class NoRoomError(UsageError):
    """What is needed at once is larger than the cache may be."""


@dataclass(frozen=True)
class Mirror(Archive):
    """What is fetched of an archive in a store; path is the directory of that.

    keys: by the file's name; counted: the stamps of the versions that count, by name.
    """

    store: Store = field(compare=False)
    keys: dict[str, str] = field(compare=False)
    objects: dict[str, Stored] = field(compare=False)
    secret: Path | None
    limit: int
    lock: files.Lock = field(compare=False)
    held: dict[Path, int] = field(compare=False, default_factory=dict)  # sizes, the longest unused first
    whole: set[Path] = field(compare=False, default_factory=set)  # what was fetched, or looked at, since the start
    counted: dict[str, str] = field(compare=False, default_factory=dict)

    @property
    def fetches(self) -> bool:
        """Whether files are brought here when they are read: it is so."""
        return True

    @property
    def results(self) -> Path:
        """Where scribe-verify leaves what it has found; what it found of the archive itself came out of the store."""
        return self.spool

    def names_in(self, directory: Path) -> set[str]:
        """Return the names of what is in a directory of the archive."""
        start = self.name_of(directory) + "/"
        return {name.removeprefix(start).partition("/")[0] for name in self.keys if name.startswith(start)}

    def size_fault(self, path: Path, size: int) -> str | None:
        """Return what the object's size shows to be wrong with a file; age makes it longer, by as much as it likes."""
        key = self.keys.get(self.name_of(path))
        if key is None:
            return super().size_fault(path, size)
        found = self.objects[key].size
        right = found > size if key.endswith(SUFFIX) else found == size
        return None if right else f"it has {found} bytes, its manifest says {size}"

    def fetch(self, paths: Iterable[Path]) -> None:
        """Bring files here, several at once. Raises NoRoomError."""
        wanted = {path for path in paths if self.name_of(path) in self.keys}
        self._make_room(wanted)
        with ThreadPoolExecutor(JOBS) as pool:
            list(pool.map(self._bring, sorted(wanted)))

    def bring(self, segments: Iterable[Segment], behind: int = 0) -> Iterator[Segment]:
        """Yield segments whose data files are here; several are fetched ahead, if there is room for them."""
        order = list(segments)
        here = 0
        for at, segment in enumerate(order):
            if at == here:
                here = self._fetch_ahead(order, max(0, at - behind), at)
            yield segment

    def _fetch_ahead(self, order: Sequence[Segment], first: int, at: int) -> int:
        """Fetch the segment at a place and some after it, and keep those from first on; return the next place."""
        with contextlib.suppress(NoRoomError):
            self.fetch(segment.data for segment in order[first : at + JOBS])
            return at + JOBS
        self.fetch(segment.data for segment in order[first : at + 1])
        return at + 1

    def release(self, path: Path) -> None:
        """Let a file go that is not needed again."""
        self.held.pop(path, None)
        self.whole.discard(path)
        path.unlink(missing_ok=True)

    def name_of(self, path: Path) -> str:
        """Return a file's path in the archive."""
        return path.relative_to(self.path).as_posix()

    def _object(self, path: Path) -> Stored:
        return self.objects[self.keys[self.name_of(path)]]

    def _bring(self, path: Path) -> None:
        if not self._is_here(path):
            self._fetch(path)
        self.whole.add(path)

    def _is_here(self, path: Path) -> bool:
        """Whether a file was fetched, out of the object that is there now, and is whole; note that it is used."""
        try:
            changed = path.stat().st_mtime_ns
        except FileNotFoundError:
            return False
        os.utime(path, ns=(time.time_ns(), changed))
        self.held[path] = self.held.pop(path)
        return changed // 1000 == self._object(path).changed and (path in self.whole or self._is_whole(path))

    def _is_whole(self, path: Path) -> bool:
        """Whether a file of an earlier run is as its manifest says: one that is not would stop every run after it."""
        name = self.name_of(path)
        directory, _, rest = name.partition("/")
        try:
            if is_manifest(name):
                return isinstance(files.read_json(path), dict)
            if directory == "base":
                stamp, _, rest = rest.partition("/")
                described = files.read_json(self.bases_path / stamp / "manifest.json")["files"]
                entry = next(entry for entry in described if entry["name"] == rest)
            else:
                entry = files.read_json(self.path / directory / f"{rest.partition('.')[0]}.json")
            check_file(path, entry["bytes"], entry["sha256"])
        except (ScribeError, OSError, KeyError, TypeError, StopIteration):
            return False
        return True

    def _fetch(self, path: Path) -> None:
        key = self.keys[self.name_of(path)]
        for parent in (path.parent.parent, path.parent):
            if parent.is_relative_to(self.path):
                files.make_directory(parent)
        blocks = bounded(self.store.get(key), self._object(path).size, f"{self.store.url}/{key}")
        if key.endswith(SUFFIX):
            if self.secret is None:
                hint = "Set SCRIBE_DECRYPT_WITH to the file of the secret key."
                raise UsageError(f'"{self.store.url}/{key}" is encrypted', hint)
            blocks = decrypt(blocks, self.secret)
        try:
            with files.replacing(path) as stream:
                for block in blocks:
                    stream.write(block)
        except DamagedError as error:
            hint = "Set SCRIBE_DECRYPT_WITH to the secret key to which it was encrypted; if it is, see who changed it."
            raise ScribeError(f'could not decrypt "{self.store.url}/{key}": {error.message}', hint) from None
        os.utime(path, ns=(time.time_ns(), self._object(path).changed * 1000))
        self.held[path] = self._object(path).size

    def _make_room(self, wanted: set[Path]) -> None:
        """Remove data files that were fetched earlier, the longest unused first, if there is no room for more."""
        others = [path for path in self.held if path not in wanted]
        total = needed = sum(self._object(path).size for path in wanted)
        needed += sum(self.held[path] for path in others if not self._may_go(path))
        if needed > self.limit:  # nothing has gone for it
            hint = f"Set SCRIBE_CACHE_SIZE to more, with room for it in SCRIBE_CACHE; {needed} bytes are needed."
            raise NoRoomError(f"SCRIBE_CACHE_SIZE allows {self.limit} bytes only", hint)
        total += sum(self.held[path] for path in others)
        for path in filter(self._may_go, others):
            if total <= self.limit:
                return
            total -= self.held[path]
            self.release(path)

    def _may_go(self, path: Path) -> bool:
        """Whether a file is data, which is fetched again if it is needed; the rest is read at any time."""
        name = self.name_of(path)
        return name in self.keys and not is_manifest(name) and not _is_small(name)


def open_mirror(url: str, cache: Cache, secret: Path | None) -> Mirror:
    """Return the archive in a place, its manifests fetched. Raises ScribeError; UsageError if there is none."""
    store = open_store(url)
    objects = store.objects()
    keys = archived_files(objects)
    if not any(name.startswith("base/") for name in keys):
        raise UsageError(f'there is no archive in "{url}"', "Correct the URL; scribe-sync shows what it sends where.")
    path = cache.place(url)
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        text = f'could not make "{path}", where what is fetched is kept: {error.strerror}'
        raise UsageError(text, "Set SCRIBE_CACHE to a directory in which you may write.") from None
    _refuse_strange(path)
    lock = files.Lock(path / ".lock", "another program reads this archive through the same SCRIBE_CACHE")
    lock.__enter__()  # it is held until the process ends
    for name in _DIRECTORIES:
        files.make_directory(path / name)
    mirror = Mirror(path, store, keys, objects, secret, cache.limit, lock)
    _bring_versions(mirror)
    _look_around(mirror)
    names = [name for name in keys if is_manifest(name) or _is_small(name)]
    mirror.fetch(path / name for name in names)
    return mirror


def _refuse_strange(path: Path) -> None:
    """Raise UsageError for a directory in which somebody else could put files that we would take for fetched ones."""
    status = path.stat()
    if status.st_uid not in (os.geteuid(), 0) or status.st_mode & 0o022:
        hint = "Set SCRIBE_CACHE to a directory of your own."
        raise UsageError(f'others may write what is fetched into "{path}"', hint)


def _is_small(name: str) -> bool:
    return name.startswith("globals/") or (name.startswith("base/") and name.rpartition("/")[2] in _SMALL)


def _look_around(mirror: Mirror) -> None:
    """See what is here from earlier, and remove what the store does not have any more."""
    found = []
    for directory, _, names in os.walk(mirror.path):
        for path in (Path(directory, name) for name in names):
            name = mirror.name_of(path)
            if name in mirror.keys or name in LOOSE or name.startswith("spool/") or path == mirror.lock.path:
                status = path.stat()
                found.append((status.st_atime_ns, path, status.st_size))
            else:
                path.unlink()
    mirror.held.update({path: size for _, path, size in sorted(found)})
    for base in mirror.bases_path.iterdir():
        with contextlib.suppress(OSError):
            base.rmdir()


def _bring_versions(mirror: Mirror) -> None:
    """Put the newest valid version of each file that is replaced in its place."""
    for name in LOOSE:
        (mirror.path / name).unlink(missing_ok=True)
    found = newest_versions(mirror.objects)
    for name, versions in found.items():
        newest = read_newest(mirror.store, versions, mirror.secret)
        if newest is not None:
            mirror.counted[name] = newest[0].stamp
            if name != REMOVED and not newest[0].is_absence:
                files.write_file(mirror.path / name, newest[1])
                written = time_of(newest[0]).timestamp()
                os.utime(mirror.path / name, (written, written))
    _note_removed(mirror, read_removed(mirror.store, found.get(REMOVED, [])))


def _note_removed(mirror: Mirror, removed: Removed) -> None:
    """Let pruned.json say what retention has removed here, there or in both places."""
    if removed != Removed():
        pruned = read_pruned(mirror)
        reached, bases = max(pruned.to_lsn, removed.to_lsn), sorted({*pruned.bases, *removed.bases})
        files.write_json(mirror.path / "pruned.json", {"to_lsn": format_lsn(reached), "bases": bases})


def find_archive(settings: Settings) -> Archive:
    """Return the archive that the settings name, in a directory or in a store. Raises ScribeError."""
    place = settings.place
    if isinstance(place, Path):
        remote = settings["SCRIBE_REMOTE"]
        if remote and not place.exists():
            hint = f'Mount its file system, or read the copy in a store with "--archive {remote[0]}".'
            raise UsageError(f'there is no archive in "{place}"', hint)
        return Archive(place)
    directory = settings["SCRIBE_CACHE"] or Path(os.path.expanduser("~/.cache/pg_scribe"))
    return open_mirror(place, Cache(directory, settings["SCRIBE_CACHE_SIZE"]), settings["SCRIBE_DECRYPT_WITH"])
