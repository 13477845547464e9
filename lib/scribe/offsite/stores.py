"""Where objects are kept: a directory on a mounted file system, or an object store reached through obstore.

An object is written once: to write what is there already is success, to write something else under its key an error.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from scribe.common import files
from scribe.common.errors import ScribeError, TryAgainError, UsageError
from scribe.offsite.refusals import LOCKED, LOOK, OtherError, allows_http, is_answer, line_of, translated

BLOCK = 1 << 20  # bytes
MOST = 5_000_000  # objects of an archive
PART = 8 << 20  # bytes of a part of a large object; what is not larger is written in one request
_TIMEOUT = timedelta(minutes=10)  # for one request, the body of a large object included
_CONNECT = timedelta(seconds=10)
_RETAINED = "x-amz-object-lock-retain-until-date"
_RETRY = {"max_retries": 4, "retry_timeout": timedelta(seconds=60)}


@dataclass(frozen=True)
class Stored:
    """An object as it is now. size: in bytes; changed: when it was written, in microseconds since 1970."""

    size: int
    changed: int


class Store(Protocol):
    """What is asked of a place. Everything raises ScribeError, TryAgainError if it cannot be reached."""

    url: str

    def objects(self) -> dict[str, Stored]:
        """Return every object by its key, as they are now."""

    def put(self, key: str, content: Path | Iterable[bytes]) -> None:
        """Write an object, whole or not at all, once."""

    def get(self, key: str) -> Iterator[bytes]:
        """Yield an object's bytes. Raises ScribeError if it is not there."""

    def delete(self, keys: Sequence[str]) -> None:
        """Remove objects, in that order as far as a crash shows it; that one is gone is no error."""

    def locked_until(self, key: str) -> datetime | None:
        """Return until when the store keeps an object, hidden once it was removed; None if it does not tell."""


def open_store(url: str) -> Store:
    """Return the place that a URL names."""
    if url.startswith("file://"):
        return DirectoryStore(url)
    return ObjectStore(url)


class DirectoryStore:
    """A directory on a mounted file system; written as an archive is: nothing is half there, whatever dies."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.path = Path(url.removeprefix("file://"))

    def _check(self) -> None:
        if not self.path.is_dir():
            hint = f'Mount its file system, or make the directory there once: "mkdir {self.path}".'
            raise TryAgainError(f'there is no directory "{self.path}"', hint)

    def objects(self) -> dict[str, Stored]:
        """Return every file."""
        self._check()
        found = {}
        for directory, _, names in os.walk(self.path, onerror=self._refuse_unreadable):
            for name in names:
                path = Path(directory, name)
                if not name.startswith(files.TEMPORARY):
                    with contextlib.suppress(FileNotFoundError):
                        key, status = path.relative_to(self.path).as_posix(), path.stat()
                        found[key] = Stored(status.st_size, status.st_mtime_ns // 1000)
        return found

    def _refuse_unreadable(self, error: OSError) -> None:
        """Raise TryAgainError for a directory that cannot be read: what is in it would seem to be missing."""
        if not isinstance(error, FileNotFoundError):
            text = f'could not read directory "{error.filename}": {error.strerror}'
            raise TryAgainError(text, "See its file system.")

    def put(self, key: str, content: Path | Iterable[bytes]) -> None:
        """Write a file durably, once."""
        self._check()
        path = self.path / key
        try:
            for parent in reversed([p for p in path.parents if p.is_relative_to(self.path)]):
                files.make_directory(parent)
            with files.replacing(path, exclusive=True) as stream:
                for block in blocks_of(content):
                    stream.write(block)
        except FileExistsError:
            _refuse_other(self, key, content)
        except OSError as error:
            raise TryAgainError(f'could not write "{path}": {error.strerror}', "See its file system.") from None

    def get(self, key: str) -> Iterator[bytes]:
        """Yield a file's bytes."""
        try:
            with files.open_archived(self.path / key) as stream:
                while block := stream.read(BLOCK):
                    yield block
        except OSError as error:
            raise ScribeError(f'could not read "{self.path / key}": {error.strerror}', LOOK) from None

    def delete(self, keys: Sequence[str]) -> None:
        """Remove files, and the directories that are empty then."""
        self._check()
        for key in keys:
            path = self.path / key
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise ScribeError(f'could not remove "{path}": {error.strerror}', LOCKED) from None
        parents = {parent for key in keys for parent in Path(key).parents}
        for parent in sorted(parents, key=lambda parent: -len(parent.parts)):
            with contextlib.suppress(OSError):
                files.sync_directory(self.path / parent)
                if len(parent.parts) > 1:
                    (self.path / parent).rmdir()

    def locked_until(self, key: str) -> datetime | None:
        """Return nothing: there are no locks that hide what was removed."""
        return None


class ObjectStore:
    """A bucket. Credentials and endpoint come from the environment, as obstore reads it (AWS_..., GOOGLE_...)."""

    def __init__(self, url: str) -> None:
        import obstore
        import obstore.store

        self.url = url
        self._obstore = obstore
        config: dict[str, Any] = {"checksum_algorithm": "sha256"} if url.startswith("s3://") else {}
        client: dict[str, Any] = {"timeout": _TIMEOUT, "connect_timeout": _CONNECT}
        if allows_http():
            client["allow_http"] = True
        try:
            with translated(url, "open"):
                self._store: Any = obstore.store.from_url(  # type: ignore[call-overload]
                    url, config=config or None, client_options=client, retry_config=_RETRY
                )
        except TryAgainError as error:  # nobody was asked yet: what is wrong is in the settings
            raise UsageError(error.message, error.hint) from None

    def objects(self) -> dict[str, Stored]:
        """Return every object."""
        from obstore.exceptions import GenericError, PermissionDeniedError

        found = {}
        with translated(self.url, "list"):
            try:
                for number, entry in enumerate(entry for page in self._obstore.list(self._store) for entry in page):
                    if number >= MOST:  # a store may repeat itself, or go on for ever
                        raise ScribeError(f'"{self.url}" lists more than {MOST} objects', "Name a prefix of its own.")
                    found[entry["path"]] = Stored(entry["size"], round(entry["last_modified"].timestamp() * 1e6))
            except GenericError as error:
                if is_answer(error) and self._is_refused():
                    raise PermissionDeniedError(str(error)) from None
                raise
        return found

    def put(self, key: str, content: Path | Iterable[bytes]) -> None:
        """Write an object, once: a small one in one request that fails where the key is taken, a large one in parts."""
        from obstore.exceptions import AlreadyExistsError

        blocks = blocks_of(content)
        first = b"".join(_take(blocks, PART))
        rest = next(blocks, None)
        with translated(self.url, f'write "{key}" to'):
            if rest is None:
                try:
                    self._obstore.put(self._store, key, first, mode="create")
                except AlreadyExistsError:
                    _refuse_other(self, key, [first])
                return
            if self._is_there(key):
                _refuse_other(self, key, content)
                return
            try:
                self._obstore.put(self._store, key, _chain(first, rest, blocks), chunk_size=PART, max_concurrency=4)
            except FileNotFoundError as error:  # the upload has ended, and the answer that said so was lost
                raise OSError(line_of(error)) from None

    def _is_refused(self) -> bool:
        """Whether it is the credentials: a list that is refused has no exception of its own, an object has."""
        from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

        try:
            self._is_there("archive.json")
        except (PermissionDeniedError, UnauthenticatedError):
            return True
        except (BaseError, OSError):
            return False
        return False

    def _is_there(self, key: str) -> bool:
        try:
            self._obstore.head(self._store, key)
        except FileNotFoundError:
            return False
        return True

    def get(self, key: str) -> Iterator[bytes]:
        """Yield an object's bytes."""
        with translated(self.url, f'read "{key}" from'):
            for block in self._obstore.get(self._store, key).stream(min_chunk_size=BLOCK):
                yield bytes(block)

    def delete(self, keys: Sequence[str]) -> None:
        """Remove objects, many in one request if the store can."""
        with translated(self.url, "remove from", LOCKED):
            try:
                if keys:
                    self._obstore.delete(self._store, list(keys))
            except FileNotFoundError:  # Azure and Google say so of any; the others are removed, too
                for key in keys:
                    with contextlib.suppress(FileNotFoundError):
                        self._obstore.delete(self._store, key)

    def locked_until(self, key: str) -> datetime | None:
        """Ask S3, whose lock hides what is removed; other stores refuse to remove it. obstore shows no lock."""
        if not self.url.startswith("s3://"):
            return None
        from urllib.request import Request, urlopen

        with contextlib.suppress(Exception):  # it is for a warning; that there is none is no fault
            signed = self._obstore.sign(self._store, "HEAD", key, timedelta(minutes=5))
            with urlopen(Request(signed, method="HEAD"), timeout=30) as answer:
                return datetime.fromisoformat(answer.headers[_RETAINED])
        return None


def blocks_of(content: Path | Iterable[bytes]) -> Iterator[bytes]:
    """Yield what is to be written, in blocks."""
    if isinstance(content, Path):
        with files.open_archived(content) as stream:
            while block := stream.read(BLOCK):
                yield block
    else:
        yield from content


def bounded(blocks: Iterable[bytes], size: int, what: str) -> Iterator[bytes]:
    """Yield blocks of an object; raises ScribeError if they are more than the bytes that the store has listed."""
    for block in blocks:
        size -= len(block)
        if size < 0:
            raise ScribeError(f'"{what}" is larger than the store has listed it', "Run it again; then see the store.")
        yield block


def _take(blocks: Iterator[bytes], size: int) -> Iterator[bytes]:
    taken = 0
    while taken < size and (block := next(blocks, None)) is not None:
        taken += len(block)
        yield block


def _chain(first: bytes, second: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield second
    yield from rest


def _refuse_other(store: Store, key: str, content: Path | Iterable[bytes]) -> None:
    """Raise OtherError if an object that is there is not the one to be written.

    What is encrypted never is the same twice, and is not left of an iterator that was read: that is another one, too.
    """
    if not isinstance(content, Iterator):
        size, ours = _digest(blocks_of(content))
        if _digest(store.get(key), size) == (size, ours):
            return
    raise OtherError(store.url, key)


def _digest(blocks: Iterable[bytes], most: float = math.inf) -> tuple[int, bytes]:
    """Return size and digest; what has more bytes than most is not read to its end, which may never come."""
    size, digest = 0, hashlib.sha256()
    for block in blocks:
        size += len(block)
        if size > most:
            break
        digest.update(block)
    return size, digest.digest()
