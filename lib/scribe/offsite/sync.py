"""Bringing a store to what an archive holds. What is there is known by looking, so whatever is missing is sent."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from scribe.archive.layout import Archive
from scribe.common import files
from scribe.common.errors import ScribeError, TryAgainError, UsageError
from scribe.common.settings import Settings
from scribe.offsite.contents import Item, finished, is_stored, key_of
from scribe.offsite.encryption import DamagedError, encrypt
from scribe.offsite.refusals import OtherError
from scribe.offsite.removed import Removed, read_removed
from scribe.offsite.stores import Store, Stored, blocks_of, open_store
from scribe.offsite.versions import LOOSE, REMOVED, Version, digest_of, few, new_version, newest_versions

JOBS = 4  # files sent at once


@dataclass
class Look:
    """What one look at a store has found, and what was done. missing: files of the archive, data before manifests."""

    url: str
    missing: list[Item] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)  # files that are replaced, whose newest version is another
    sent: int = 0
    sent_bytes: int = 0
    fault: ScribeError | None = None
    unseen: bool = True  # whether the place was not looked at
    began: float = field(default_factory=time.time)  # in seconds since 1970

    def as_json(self) -> dict[str, Any]:
        """Return what scribe-check reads."""
        return {
            "url": self.url,
            "missing": [item.name for item in self.missing] + self.replaced,
            "missing_bytes": sum(item.size for item in self.missing),
            "unseen": self.unseen,
            "time": self.began,
            "error": self.fault.message if self.fault else None,
        }


def record_path(archive: Archive) -> Path:
    """Where the last look is recorded."""
    return archive.spool / "remote.json"


def read_record(archive: Archive) -> dict[str, dict[str, Any]]:
    """Return what the last look at each place has found, by its URL; time: seconds since 1970."""
    try:
        value = files.read_json(record_path(archive))
    except (FileNotFoundError, ScribeError):
        return {}
    remotes = value.get("remotes") if isinstance(value, dict) else None
    kinds = {name: type(known) for name, known in Look("").as_json().items()} | {"error": (str, type(None))}
    return {
        remote["url"]: remote
        for remote in (remotes if isinstance(remotes, list) else [])
        if isinstance(remote, dict) and all(isinstance(remote.get(name), kind) for name, kind in kinds.items())
    }


def _record(archive: Archive, looks: Sequence[Look]) -> None:
    known = read_record(archive)
    for look in looks:
        value = look.as_json()
        if look.unseen and look.url in known:  # what the last full look has found holds, and is as old as it was
            value = known[look.url] | {"error": value["error"]}
        known[look.url] = value
    files.write_json(record_path(archive), {"remotes": list(known.values())})


def sync(
    archive: Archive,
    urls: Sequence[str],
    recipients: Sequence[str] = (),
    *,
    dry_run: bool = False,
    jobs: int = JOBS,
    tell: Callable[[str], None] = lambda text: None,
) -> list[Look]:
    """Send what is missing to every place; return what was found and done. tell: called with each file's name.

    A place that fails keeps no other from its files. Raises TryAgainError if another run is at work.
    """
    with files.Lock(archive.spool / "remote.lock", "another program sends files to the same places"):
        looks = [Sender(archive, url, recipients, jobs, tell).run(dry_run=dry_run) for url in urls]
        if not dry_run:
            _record(archive, looks)
    return looks


def unsent(archive: Archive, urls: Sequence[str]) -> list[str]:
    """Return the files that some place lacked at the last look, or that are newer than it.

    Those are all of them if a place was never looked at in full.
    """
    known = read_record(archive)
    looks = [0.0 if url not in known or known[url]["unseen"] else float(known[url]["time"]) for url in urls]
    if not looks:
        return []
    manifests = [archive.incremental / name for name in archive.segment_names()]
    manifests += [base.path / "manifest.json" for base in archive.bases()]
    newer = [path.relative_to(archive.path).as_posix() for path in manifests if _finished(path) >= min(looks)]
    return newer + [name for url in urls if url in known for name in known[url]["missing"]]


def _finished(path: Path) -> float:
    """Return when a file was written and got its name, in seconds since 1970; 0 if it is gone."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return 0.0
    return max(status.st_mtime, status.st_ctime)


class Talker(Protocol):
    """How a program says what goes on."""

    def note(self, text: str) -> None:
        """Say what was done."""

    def warn(self, text: str) -> None:
        """Say what is not as it should be."""


def send(archive: Archive, settings: Settings, talk: Talker) -> None:
    """Send what is missing to the places that the settings name; warn of what fails, which the next run sends."""
    urls = settings["SCRIBE_REMOTE"] or ()
    if not urls:
        return
    try:
        looks = sync(archive, urls, settings["SCRIBE_ENCRYPT_TO"] or ())
    except TryAgainError:
        return  # the other run sends what there is
    for look in looks:
        if look.fault is not None:
            talk.warn(f"{look.fault.message}; the next run sends what is missing")
        elif look.sent:
            talk.note(f"sent {look.sent} files, {look.sent_bytes} bytes, to {look.url}")


class Sender:
    """One place, and what is to be done there."""

    def __init__(
        self, archive: Archive, url: str, recipients: Sequence[str], jobs: int, tell: Callable[[str], None]
    ) -> None:
        self.archive, self.recipients, self.jobs, self.tell = archive, tuple(recipients), jobs, tell
        self.encrypted = bool(recipients)
        self.look = Look(url)
        self.objects: Mapping[str, Stored] = {}  # what is there
        self.away = False  # whether the store takes nothing: each file would wait as long for it to answer

    def run(self, *, dry_run: bool) -> Look:
        look = self.look
        try:
            store = open_store(look.url)
            self.objects = store.objects()
            versions = newest_versions(self.objects)
            self._refuse_foreign(store, versions.get("archive.json", []))
            removed = self._removed(store, versions)
            kept = (thing for thing in finished(self.archive) if not removed.covers(thing[-1].name))
            things = [self._lacking(thing) for thing in kept]
            look.missing = [item for thing in things for item in thing]
            look.unseen = False
            look.replaced = [name for name in LOOSE if self._is_new(store, name, versions.get(name, []))]
            for name in look.replaced + [item.name for item in look.missing]:
                self.tell(f"{name} to {look.url}")
            if not dry_run:
                self._send_all(store, things, versions)
        except ScribeError as error:
            look.fault = look.fault or error
        return look

    def _lacking(self, thing: list[Item]) -> list[Item]:
        """Return what a store lacks of a thing."""
        return [item for item in thing if not is_stored(item, self.objects, encrypted=self.encrypted)]

    def _refuse_foreign(self, store: Store, versions: list[Version]) -> None:
        """Raise UsageError for a place that holds another database's archive: mixed, neither would restore."""
        ours = self.archive.identity()
        for version in versions[:1]:
            try:
                theirs = dict(json.loads(b"".join(few(store.get(version.key)))))
            except (ValueError, TypeError, RecursionError, DamagedError):
                hint = "See who else writes there; its older versions, if the store keeps them, tell what it was."
                raise ScribeError(f'"{store.url}/{version.key}" is not an archive.json', hint) from None
            if any(theirs.get(key) != ours[key] for key in ("system_identifier", "database")):
                text = f'"{store.url}" holds the archive of another database: "{theirs.get("database")}"'
                raise UsageError(text, "Give each archive a prefix of its own in SCRIBE_REMOTE.")

    def _removed(self, store: Store, versions: Mapping[str, list[Version]]) -> Removed:
        """Return what retention has removed there of what lies before the newest base: it is not sent again."""
        bases = self.archive.bases()
        return read_removed(store, versions.get(REMOVED, [])).before(bases[-1]) if bases else Removed()

    def _content(self, name: str) -> bytes:
        try:
            return files.read_archived(self.archive.path / name)
        except FileNotFoundError:
            return b""

    def _is_new(self, store: Store, name: str, versions: list[Version]) -> bool:
        """Whether the newest version is another than the file: what was never there needs no version."""
        content = self._content(name)
        return versions[0].digest != digest_of(content) if versions else bool(content)

    def _send_all(self, store: Store, things: list[list[Item]], versions: dict[str, list[Version]]) -> None:
        for name in list(self.look.replaced):
            self._replace(store, name, next(iter(versions.get(name, [])), None))
            self.look.replaced.remove(name)
        with ThreadPoolExecutor(self.jobs) as pool:
            try:
                done = list(pool.map(lambda thing: self._send(store, thing), filter(None, things)))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        sent = dict.fromkeys(item for items, _ in done for item in items)
        self.look.missing = [item for item in self.look.missing if item not in sent]
        self.look.sent += len(sent)
        self.look.sent_bytes += sum(item.size for item in sent)
        faults = [fault for _, fault in done if fault is not None]
        if faults:
            raise faults[0]

    def _send(self, store: Store, thing: list[Item]) -> tuple[list[Item], ScribeError | None]:
        """Send the files of one thing in their order; return those that went, and what went wrong."""
        sent: list[Item] = []
        try:
            for item in thing if not self.away else ():
                item.path.stat()  # that it is missing is no fault of the store's
                self.put(store, item.name, item.path)
                sent.append(item)
        except ScribeError as error:
            self.away = self.away or isinstance(error, TryAgainError | UsageError)
            return sent, error
        except OSError as error:
            if not thing[-1].path.exists():  # retention has removed it meanwhile
                return thing, None
            return sent, ScribeError(f'could not read "{error.filename}": {error.strerror}')
        return sent, None

    def put(self, store: Store, name: str, path: Path) -> None:
        """Write a file under its key. Raises ScribeError."""
        key = key_of(name, encrypted=self.encrypted)
        if key in self.objects:  # of another size; a store that knows no conditions would overwrite it
            raise OtherError(store.url, key)
        try:
            store.put(key, path if key == name else encrypt(blocks_of(path), self.recipients))
        except OtherError:
            if key == name:
                raise
            hint = "Another host sends the same archive there; the next run compares again."
            raise TryAgainError(f'"{store.url}/{key}" was written meanwhile by somebody else', hint) from None

    def _replace(self, store: Store, name: str, before: Version | None) -> None:
        content = self._content(name)
        key = new_version(name, content, encrypted=self.encrypted, after=before)
        store.put(key, encrypt([content], self.recipients) if key.endswith(".age") else [content])
        self.look.sent += 1
        self.look.sent_bytes += len(content)
