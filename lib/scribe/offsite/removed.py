"""What retention has removed from a store: removed.json, which is there alone.

It tells a file that went on purpose from one that is lost, so that scribe-sync does not send it again while the archive
still has it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from scribe.archive.layout import Base
from scribe.common.lsn import format_lsn, parse_lsn
from scribe.offsite.stores import Store
from scribe.offsite.versions import Version, read_newest

_SEGMENT = re.compile(r"incremental/[^/]*-([0-9A-F]{16})\.json")
_BASE = re.compile(r"base/([^/]*)/manifest\.json")
_GLOBALS = re.compile(r"globals/([^/]*)\.json")


@dataclass(frozen=True)
class Removed:
    """Segments that end at or before to_lsn, these bases, and globals of that stamp and before."""

    to_lsn: int = 0
    bases: frozenset[str] = frozenset()
    globals: str = ""

    def covers(self, manifest: str) -> bool:
        """Whether the file went that has this manifest."""
        if match := _SEGMENT.fullmatch(manifest):
            return int(match[1], 16) <= self.to_lsn
        if match := _BASE.fullmatch(manifest):
            return match[1] in self.bases
        return (match := _GLOBALS.fullmatch(manifest)) is not None and match[1] <= self.globals

    def before(self, base: Base) -> Removed:
        """Return what of it lies before a base: whoever can write into a store keeps nothing newer out of it."""
        older = frozenset(stamp for stamp in self.bases if stamp < base.stamp)
        return Removed(min(self.to_lsn, base.consistent_point), older, min(self.globals, base.stamp))

    def with_more(self, to_lsn: int, bases: frozenset[str], stamp: str) -> Removed:
        """Return it with what goes now."""
        return Removed(max(self.to_lsn, to_lsn), self.bases | bases, max(self.globals, stamp))

    def as_json(self) -> dict[str, Any]:
        """Return what removed.json says."""
        return {"to_lsn": format_lsn(self.to_lsn), "bases": sorted(self.bases), "globals": self.globals}


def read_removed(store: Store, versions: list[Version]) -> Removed:
    """Return what was removed so far; nothing if the record cannot be read: then it is sent and removed again."""
    found = read_newest(store, versions)
    if found is None:
        return Removed()
    try:
        value = json.loads(found[1])
        return Removed(parse_lsn(value["to_lsn"]), frozenset(map(str, value["bases"])), str(value["globals"]))
    except (KeyError, TypeError, ValueError, RecursionError):
        return Removed()
