"""pruned.json: what retention has removed, which tells a file that went on purpose from one that is lost."""

from __future__ import annotations

from dataclasses import dataclass

from scribe.archive.layout import Archive
from scribe.common import files
from scribe.common.errors import ScribeError
from scribe.common.lsn import format_lsn, parse_lsn


@dataclass(frozen=True)
class Pruned:
    """What pruned.json says was meant to go: segments that end at or before to_lsn, and these bases."""

    to_lsn: int = 0
    bases: tuple[str, ...] = ()

    def describe(self) -> str:
        """Return what to add to a message about a transaction that is not in the archive: it may have been there."""
        return f", whose segments before {format_lsn(self.to_lsn)} scribe-prune has removed" if self.to_lsn else ""


def read_pruned(archive: Archive) -> Pruned:
    """Return what retention has removed so far. Raises ScribeError when the record is damaged."""
    try:
        value = files.read_json(archive.path / "pruned.json")
    except FileNotFoundError:
        return Pruned()
    try:
        return Pruned(parse_lsn(value["to_lsn"]), tuple(map(str, value["bases"])))
    except (KeyError, TypeError, ValueError):
        raise ScribeError(f'could not read "{archive.path / "pruned.json"}": not a record of scribe-prune') from None
