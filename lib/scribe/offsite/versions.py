"""The files that are replaced, in a store: each version goes under a new key, versions/NAME/STAMP-DIGEST.

The newest whose contents have that digest counts; one without contents says that the file is no more.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from scribe.common.files import MOST
from scribe.offsite.contents import is_readable
from scribe.offsite.encryption import SUFFIX, DamagedError, decrypt
from scribe.offsite.stores import Store

_STAMP = "%Y%m%dT%H%M%S.%fZ"
LOOSE = (
    *("archive.json", "broken.json", "pruned.json", "meta.json"),
    *("verify.json", "rehearsal.json", "derived.json"),
)
REMOVED = "removed.json"  # is in stores alone: removed.py
_LAST_YEAR = 9998  # whatever somebody has put there, a version of ours can come after it
_VERSION = re.compile(r"versions/([a-z]+\.json)/([0-9]{8}T[0-9]{6}\.[0-9]{6}Z)-([0-9a-f]{32})(\.age)?")


@dataclass(frozen=True)
class Version:
    """A stored version of a file that is replaced."""

    key: str
    stamp: str
    digest: str

    @property
    def is_absence(self) -> bool:
        """Whether it says that the file is no more."""
        return self.digest == digest_of(b"")


def time_of(version: Version) -> datetime:
    """Return when a version was written."""
    return datetime.strptime(version.stamp, _STAMP).replace(tzinfo=UTC)


def digest_of(content: bytes) -> str:
    """Return what a version's key says of its contents."""
    return hashlib.sha256(content).hexdigest()[:32]


def new_version(name: str, content: bytes, *, encrypted: bool, after: Version | None = None) -> str:
    """Return the key of a new version of a file that is replaced; it comes after the one before."""
    moment = datetime.now(UTC)
    if after is not None:  # the clock may have been set back
        moment = max(moment, time_of(after) + timedelta(microseconds=1))
    stamp = moment.strftime(_STAMP)
    key = f"versions/{name}/{stamp}-{digest_of(content)}"
    return key + SUFFIX if encrypted and not is_readable(name) else key


def newest_versions(keys: Iterable[str]) -> dict[str, list[Version]]:
    """Return the versions of each file that is replaced, the newest first."""
    found: dict[str, list[Version]] = {}
    for key in sorted(keys, reverse=True):
        if (match := _VERSION.fullmatch(key)) and match[1] in (*LOOSE, REMOVED):
            with contextlib.suppress(ValueError):  # no time that there is: it is not ours
                if datetime.strptime(match[2], _STAMP).year > _LAST_YEAR:
                    continue
                found.setdefault(match[1], []).append(Version(key, match[2], match[3]))
    return found


def read_newest(store: Store, versions: Iterable[Version], secret: Path | None = None) -> tuple[Version, bytes] | None:
    """Return the newest version that is valid, and its contents; None if there is none, or the key to it is missing."""
    for version in versions:
        if version.is_absence:
            return version, b""
        encrypted = version.key.endswith(SUFFIX)
        if encrypted and secret is None:
            return None
        blocks = store.get(version.key)
        with contextlib.suppress(DamagedError):
            content = b"".join(few(decrypt(blocks, secret) if encrypted and secret else blocks))
            if digest_of(content) == version.digest:
                return version, content
    return None


def few(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield blocks of what is read whole. Raises DamagedError if that is too much."""
    left = MOST
    for block in blocks:
        left -= len(block)
        if left < 0:
            raise DamagedError(f"more than {MOST >> 20} MB", "")
        yield block
