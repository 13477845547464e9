"""Processes known by pid and start time, so that a pid used again by another program is never signalled."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1
RECEIVER = "pg_recvlogical"


@dataclass(frozen=True)
class Process:
    """A process of this boot: pid, and start time in clock ticks since the boot that boot_id names."""

    pid: int
    start: int
    boot: str

    def alive(self) -> bool:
        """Whether it still runs; one that has ended and waits for its parent does not."""
        return find_process(self.pid) == self

    def stopped(self) -> bool:
        """Whether it is there and does nothing, stopped by SIGSTOP or a debugger."""
        return self.alive() and _read_fields(self.pid)[0] in "Tt"

    def signal(self, number: int) -> None:
        """Send a signal if it still runs."""
        if self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def wait(self, seconds: float) -> bool:
        """Wait until it has ended; return whether it has."""
        deadline = time.monotonic() + seconds
        while self.alive():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True

    def end(self, seconds: float) -> bool:
        """Kill it, which pg_recvlogical survives without harm: the spool is cut afterwards. Return whether it ended."""
        self.signal(signal.SIGKILL)
        return self.wait(seconds)

    def opened(self) -> set[tuple[int, int]]:
        """Return device and inode of every file it has open; nothing if it has ended."""
        found = set()
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for entry in os.scandir(f"/proc/{self.pid}/fd"):
                with contextlib.suppress(OSError):
                    status = os.stat(entry.path)
                    found.add((status.st_dev, status.st_ino))
        return found

    def as_json(self) -> dict[str, Any]:
        """Return it as it is written to stream.json."""
        return asdict(self)


def find_process(pid: int) -> Process | None:
    """Return the running process with this pid, or None."""
    try:
        fields = _read_fields(pid)
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    return None if fields[0] in "ZX" else Process(pid, int(fields[19]), boot)


def _read_fields(pid: int) -> list[str]:
    """Return what /proc says of a process, from its state on. Raises OSError."""
    text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    return text.rpartition(")")[2].split()  # the command's name may hold blanks and brackets


def from_json(value: Any) -> Process | None:
    """Return the process that stream.json names, or None if it names none."""
    try:
        return Process(int(value["pid"]), int(value["start"]), str(value["boot"]))
    except (TypeError, KeyError, ValueError):
        return None


def find_receivers(stream: Path) -> list[Process]:
    """Return every pg_recvlogical that writes to stream, by its command line."""
    found = []
    wanted = f"--file={stream}".encode()
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                words = Path(f"/proc/{entry.name}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if wanted in words and os.path.basename(words[0]) == RECEIVER.encode():
                process = find_process(int(entry.name))
                found += [process] if process else []
    return found


def die_with(parent: int) -> None:
    """In a child that is about to run another program: the kernel kills it when parent ends, however that ends.

    SIGHUP is ignored until the program sets its own handler, so that a rotation cannot end one that just starts.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if os.getppid() != parent:
        os._exit(1)
