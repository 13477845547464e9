"""SCRIBE_ARCHIVE_COMMAND: run for every finished file, in order, until it succeeds, like PostgreSQL's archive_command.

A file is known as sent only after the command has ended with 0. It is run again for a file when we died in between, so
it must not mind to find the file sent already. A file that is replaced (archive.json) is sent again when it changed.
What is sent is known of one command: another one may send elsewhere, so everything is sent with it.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scribe.archive.layout import Archive
from scribe.archive.rolefiles import manifest_of
from scribe.common import files
from scribe.common.errors import ScribeError, TryAgainError
from scribe.common.process import die_with

TIMEOUT = 600  # seconds for one file, and as many more as it has MB
PAUSES = (1.0, 3.0)  # seconds before the second and the third attempt; then the next rotation tries again
HOPELESS = 125  # an exit status beyond it, or a signal, is no answer of the command's: not tried again at once
LOOSE = ("archive.json", "pruned.json", "meta.json")  # what is replaced when it changes


class Outbox:
    """The finished files that the archive command has not taken yet, by their paths within the archive."""

    _NOTHING: Mapping[str, Any] = {"to_lsn": "", "bases": [], "globals": [], "files": {}}

    def __init__(self, archive: Archive, command: str | None) -> None:
        self.archive = archive
        self.command = command
        self.path = archive.spool / "unsent.json"
        self.queued_path = archive.spool / "queued.json"

    @contextmanager
    def _editing(self) -> Iterator[list[str]]:
        """The list of what waits, to be changed: by a rotation that adds while another one's command runs."""
        with files.Lock(self.archive.spool / "unsent.lock", "another program changes the list", wait=10):
            before = self.waiting()
            names = list(before)
            yield names
            if names != before or not self.path.exists():
                files.write_json(self.path, names)

    def waiting(self) -> list[str]:
        """Return what has not been sent, in the order in which it will be."""
        try:
            value = files.read_json(self.path)
        except (FileNotFoundError, ScribeError):
            return []
        return [str(name) for name in value] if isinstance(value, list) else []

    def add(self, paths: Iterable[Path]) -> None:
        """Remember, durably, files that are about to be finished; nothing happens where no command is set."""
        if self.command:
            self._add([str(path.relative_to(self.archive.path)) for path in paths])

    def _add(self, names: list[str], *, first: bool = False) -> None:
        """Remember files; first: before what waits already, which is newer."""
        with self._editing() as known:
            known[:] = dict.fromkeys([*names, *known] if first else [*known, *names])

    def is_new_command(self) -> bool:
        """Whether what is known as sent was sent by another command, so that nothing is by this one."""
        return bool(self.command) and self._read_queued().get("command", self._command_digest) != self._command_digest

    @property
    def _command_digest(self) -> str:
        """What tells one command from another; the command itself may hold secrets."""
        return hashlib.sha256((self.command or "").encode()).hexdigest()

    def catch_up(self) -> None:
        """Remember what was finished and never named here: by other programs, or while no other command was set."""
        if not self.command:
            return
        elsewhere = self.is_new_command()
        known = self._NOTHING if elsewhere else self._read_queued()
        segments = [name for name in self.archive.segment_names() if name[17:33] > known["to_lsn"]]
        stamps = [base.stamp for base in self.archive.bases()]
        loose = {name: digest for name in LOOSE if (digest := _digest(self.archive.path / name))}
        names = [name for name, digest in loose.items() if digest != known["files"].get(name)]
        for path in self.archive.globals_files():
            names += _with_manifest(path) if path.name not in known["globals"] else []
        for stamp in stamps:
            names += self._files_of_base(stamp) if stamp not in known["bases"] else []
        for name in segments:
            paths = self.archive.incremental.glob(f"{name.removesuffix('.json')}.sql*")
            names += [f"incremental/{data.name}" for data in paths] + [f"incremental/{name}"]
        self._add(names, first=elsewhere)
        now = {
            "command": self._command_digest,
            "to_lsn": segments[-1][17:33] if segments else known["to_lsn"],
            "bases": stamps,
            "globals": [path.name for path in self.archive.globals_files()],
            "files": loose,
        }
        if now != known:
            files.write_json(self.queued_path, now)

    def _read_queued(self) -> Mapping[str, Any]:
        try:
            value = files.read_json(self.queued_path)
        except (FileNotFoundError, ScribeError):
            return self._NOTHING
        whole = isinstance(value, dict) and value.keys() - {"command"} == self._NOTHING.keys()
        return value if whole else self._NOTHING

    def _files_of_base(self, stamp: str) -> list[str]:
        """Return a base's files; its manifest, which makes it complete, comes last."""
        paths = sorted(path for path in (self.archive.bases_path / stamp).rglob("*") if path.is_file())
        paths.sort(key=lambda path: path.name == "manifest.json")
        return [str(path.relative_to(self.archive.path)) for path in paths]

    def send(self, warn: Callable[[str], None]) -> None:
        """Run the command for each file; one that it does not take in three attempts is reported and ends this run."""
        if not self.command:
            return
        try:
            with files.Lock(self.archive.spool / "send.lock", "another rotation is sending files"):
                for name in self.waiting():
                    path = self.archive.path / name
                    if path.exists() and (fault := self._try(path)) is not None:
                        warn(f'archive command failed for "{path}": {fault}; the next rotation tries again')
                        return
                    with self._editing() as left:
                        left.remove(name)
        except TryAgainError:
            return  # the other one sends what there is

    def _try(self, path: Path) -> str | None:
        """Run the command for a file, up to three times; return what went wrong the last time, None for nothing."""
        fault, again = self._run(path)
        for pause in PAUSES:
            if not again:
                break
            time.sleep(pause)
            fault, again = self._run(path)
        return fault

    def _flat_name(self, path: Path) -> str:
        """A name that no other file of the archive has: a base's files are alike but for their directory."""
        if path.is_relative_to(self.archive.bases_path):
            return "-".join(path.relative_to(self.archive.bases_path).parts)
        return path.name

    def _run(self, path: Path) -> tuple[str | None, bool]:
        """Run the command for a file; return what went wrong, and whether trying again at once may help."""
        inner = str(path.relative_to(self.archive.path))
        values = {"p": str(path), "r": inner, "f": self._flat_name(path), "%": "%"}
        line = re.sub(r"%([prf%])", lambda match: values[match[1]], self.command or "")
        limit = TIMEOUT + path.stat().st_size / 1e6
        try:
            result = _run_group(line, limit)
        except subprocess.TimeoutExpired:
            return f"not done after {limit:.0f} s", False
        if result.returncode == 0:
            return None, False
        said = result.stderr.decode(errors="replace").strip().splitlines()
        status = f"signal {-result.returncode}" if result.returncode < 0 else f"exit status {result.returncode}"
        return status + (f" ({said[-1]})" if said else ""), 0 < result.returncode <= HOPELESS


def _with_manifest(path: Path) -> list[str]:
    """Return the names of a file of globals/ and of its manifest, if it has one."""
    return [f"globals/{each.name}" for each in (path, manifest_of(path)) if each.exists()]


def _run_group(line: str, limit: float) -> subprocess.CompletedProcess[bytes]:
    """Run a shell command in a process group of its own, so that what it has started ends with it.

    Raises subprocess.TimeoutExpired after limit seconds; after that, or any other exception, nothing of it runs.
    """
    with subprocess.Popen(
        ["/bin/sh", "-c", line],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        process_group=0,
        preexec_fn=functools.partial(die_with, os.getpid()),  # noqa: PLW1509  (no thread has been started)
    ) as process:
        try:
            _, said = process.communicate(timeout=limit)
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
        return subprocess.CompletedProcess(line, process.returncode, stderr=said)


def _digest(path: Path) -> str:
    """Return a file's SHA-256, "" where there is none."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return ""
