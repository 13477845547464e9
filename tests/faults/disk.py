"""A small file system for an archive, whose power can be cut: what was not synced is gone, as on a real machine.

An ext4 image on a loop device. The ioctl that the kernel's own file system tests use shuts it down at once without
flushing anything; mounted again, it replays its journal. The boot's identity changes with it. Needs root, and a mount
name space of its own, so that nothing of it is seen outside and nothing is left behind.

The ioctl is no power cut to a process that is within fsync(2) at that moment: the call can return 0 although the bytes
are gone, on Linux 6.18 in every tenth cut or so (sync_check.py --in-the-middle shows it). A machine without power has
nobody whom such a 0 could reach, so whoever writes is stopped first, and the calls under way come to their end.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN
_NO_LOG_FLUSH = 2
_BOOT = "/proc/sys/kernel/random/boot_id"
_MARK = "SCRIBE_FAULTS_NAMESPACE"


def enter_namespace() -> None:
    """Run this program again in a mount name space of its own, if we may; returns otherwise, and the second time."""
    if os.geteuid() == 0 and shutil.which("unshare") and _MARK not in os.environ:
        probe = subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False)
        if probe.returncode == 0:
            command = ["unshare", "-m", "--propagation", "private", sys.executable, *sys.argv]
            os.execvpe(command[0], command, os.environ | {_MARK: "1"})


class Disk:
    """A mounted image; path is where. Raises OSError where that is not possible."""

    def __init__(self, directory: Path, megabytes: int = 768) -> None:
        if os.environ.pop(_MARK, None) is None:
            raise PermissionError("not root: cannot mount a file system")
        self.image = directory / "disk.img"
        self.path = directory / "disk"
        self.path.mkdir()
        self._boot = directory / "boot_id"
        with open(self.image, "wb") as image:
            image.truncate(megabytes << 20)
        try:
            _run("mkfs.ext4", "-q", "-F", "-m", "0", str(self.image))
            self._mount()
            self._boot.write_text(f"{uuid.uuid4()}\n")
            _run("mount", "--bind", str(self._boot), _BOOT)
        except (subprocess.CalledProcessError, FileNotFoundError) as error:
            raise OSError(f"place: cannot mount an image: {error}") from None

    def _mount(self) -> None:
        _run("mount", "-o", "loop,errors=continue", str(self.image), str(self.path))

    def cut_power(self, *writers: int) -> None:
        """Nothing reaches the disk from now on; writers (pids) and their descendants stay stopped, to be killed."""
        stop_all(*writers)
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, _SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
        finally:
            os.close(descriptor)

    def boot(self) -> None:
        """Power is back; nobody may have a file open on the disk."""
        _run("umount", str(self.path))
        self._boot.write_text(f"{uuid.uuid4()}\n")
        self._mount()

    def fill(self) -> Path:
        """Take all the room there is; return the file to remove."""
        filler = self.path / "filler"
        subprocess.run(["dd", "if=/dev/zero", f"of={filler}", "bs=1M"], capture_output=True, check=False)
        return filler

    def remove(self) -> None:
        """Unmount; the files of the image go with their directory."""
        for place in (str(self.path), _BOOT):
            subprocess.run(["umount", "-l", place], capture_output=True, check=False)


def stop_all(*roots: int) -> None:
    """SIGSTOP for processes and their descendants; return when no thread of theirs is within a system call."""
    while moving := [pid for pid in _descendants(*roots) if _is_moving(pid)]:
        for pid in moving:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        time.sleep(0.001)


def _descendants(*roots: int) -> Iterator[int]:
    for root in roots:
        yield root
        for children in Path(f"/proc/{root}/task").glob("*/children"):
            with suppress(OSError):
                yield from _descendants(*map(int, children.read_text().split()))


def _is_moving(pid: int) -> bool:
    """Whether a thread of it is neither stopped (T, t) nor dead (Z, X)."""
    for stat in Path(f"/proc/{pid}/task").glob("*/stat"):
        with suppress(OSError):
            if stat.read_text().rpartition(")")[2].split()[0] not in "TtZX":
                return True
    return False


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
