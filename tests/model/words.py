"""What the programs do to an archive's disk, seen at their system calls, in the words of the model."""

from __future__ import annotations

import json
import os
from pathlib import Path

from scribe.archive.layout import Archive
from scribe.common.lsn import parse_lsn


class Words:
    """The words for one archive. numbers: of the spool's files, by inode; pieces: the offsets at which those end."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self.numbers: dict[int, int] = {}
        self.pieces: dict[int, list[int]] = {}

    @property
    def stream(self) -> Path:
        """The file that pg_recvlogical writes to."""
        return self.archive.spool / "stream.sql"

    def number(self, path: Path) -> int:
        """The number of a file of the spool."""
        inode = os.stat(path).st_ino
        return self.numbers.setdefault(inode, max(self.numbers.values(), default=0) + 1)

    def words_before(self, call: str, *arguments: object) -> list[str]:
        """Return what a system call means, before it is made."""
        if call == "fsync":
            return self._synced(Path(os.readlink(f"/proc/self/fd/{arguments[0]}")))
        path = Path(str(arguments[0]))
        if call in ("rename", "replace"):
            return self._named(path, Path(str(arguments[1])))
        if call == "unlink" and path.parent == self.archive.spool:
            if path == self.stream:
                return ["removes the file being written"]
            return [f"removes part {int(path.stem[5:])}"] if path.name.startswith("part-") else []
        if call == "unlink" and path.parent == self.archive.cuts:
            return [f"cut at {int(path.name, 16)} is done"]
        if call == "truncate" and path.parent == self.archive.spool and path.suffix == ".sql":
            left = self.pieces_within(self.number(path), int(str(arguments[1])))
            return [f"cuts file {self.number(path)} to {len(left)}"]
        return []

    def pieces_within(self, number: int, size: int) -> list[int]:
        """Return where the pieces end that a file has within its first bytes."""
        return [end for end in self.pieces.get(number, []) if end <= size]

    def _synced(self, path: Path) -> list[str]:
        if path == self.archive.spool:
            return ["names are on disk"]
        if path == self.archive.incremental:
            return ["segments are on disk"]
        if path.parent == self.archive.spool and path.suffix == ".sql" and path.exists():
            return [f"fsync of file {self.number(path)}"]
        if path.parent == self.archive.incremental and ".sql" in path.name:
            return ["data of a segment is on disk"]
        return []

    def _named(self, old: Path, new: Path) -> list[str]:
        if old == self.stream:
            return [f"part {int(new.stem[5:])} is file {self.number(old)}"]
        if new.parent == self.archive.incremental and new.suffix == ".json":
            manifest = json.loads(old.read_text())
            return [f"segment {parse_lsn(manifest['from_lsn'])} to {parse_lsn(manifest['to_lsn'])}"]
        if new.parent == self.archive.cuts:
            return [f"cut wanted at {int(new.name, 16)}"]
        if new.parent == self.archive.bases_path and (old / "manifest.json").is_file():
            manifest = json.loads((old / "manifest.json").read_text())
            return [f"base at {int(manifest['consistent_point'], 16)}"]
        return ["broken"] if new == self.archive.broken_path else []
