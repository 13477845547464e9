"""SCRIBE_ARCHIVE_COMMAND: run for every finished file, tried again at the next rotation until it succeeds."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

from scribe import files
from scribe.archive import Archive
from scribe.errors import ScribeError

TIMEOUT = 600  # seconds for one file


class Outbox:
    """The finished files that the archive command has not taken yet, by their paths within the archive.

    Only used under rotate.lock. A file is named here before it is finished, so that none is forgotten in a crash.
    """

    def __init__(self, archive: Archive, command: str | None) -> None:
        self.archive = archive
        self.command = command
        self.path = archive.spool / "unsent.json"
        self.bases_path = archive.spool / "queued_bases.json"

    def waiting(self) -> list[str]:
        """Return what has not been sent, oldest first."""
        try:
            value = files.read_json(self.path)
        except (FileNotFoundError, ScribeError):
            return []
        return [str(name) for name in value] if isinstance(value, list) else []

    def add(self, paths: Iterable[Path]) -> None:
        """Remember, durably, files that are about to be finished; nothing happens where no command is set."""
        if self.command:
            known = self.waiting()
            names = [str(path.relative_to(self.archive.path)) for path in paths]
            files.write_json(self.path, known + [name for name in names if name not in known])

    def add_bases(self) -> None:
        """Remember the files of bases that were finished since the last rotation."""
        if not self.command:
            return
        try:
            queued = set(files.read_json(self.bases_path))
        except (FileNotFoundError, ScribeError):
            queued = set()
        stamps = [base.stamp for base in self.archive.bases()]
        for stamp in stamps:
            if stamp not in queued:
                self.add(sorted(p for p in (self.archive.bases_path / stamp).rglob("*") if p.is_file()))
        if queued != set(stamps):
            files.write_json(self.bases_path, stamps)

    def send(self, warn: Callable[[str], None]) -> None:
        """Run the command for each file; the first failure is reported and ends this attempt."""
        waiting = self.waiting() if self.command else []
        if not waiting:
            return
        left = list(waiting)
        for name in waiting:
            path = self.archive.path / name
            if path.exists() and (fault := self._run(path)) is not None:
                warn(f'archive command failed for "{path}": {fault}; the next rotation tries again')
                break
            left.remove(name)
        files.write_json(self.path, left)

    def _flat_name(self, path: Path) -> str:
        """A name that no other file of the archive has: a base's files are alike but for their directory."""
        if path.is_relative_to(self.archive.bases_path):
            return "-".join(path.relative_to(self.archive.bases_path).parts)
        return path.name

    def _run(self, path: Path) -> str | None:
        values = {"p": str(path), "f": self._flat_name(path), "%": "%"}
        line = re.sub(r"%([pf%])", lambda match: values[match[1]], self.command or "")
        try:
            result = subprocess.run(
                ["/bin/sh", "-c", line],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                timeout=TIMEOUT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"not done after {TIMEOUT} s"
        if result.returncode == 0:
            return None
        said = result.stderr.decode(errors="replace").strip().splitlines()
        return f"exit status {result.returncode}" + (f" ({said[-1]})" if said else "")
