"""A program killed at its N-th call of one system call, by strace: stepping, not luck.

The signal arrives when the call begins, so the call itself does not happen: a kill at every N of every call that
changes a disk, frees a lock or speaks to somebody else is a kill between every two of them.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path

# What a receiver calls; it polls, reads and writes for ever.
RECEIVER_CALLS = ("write", "fsync", "openat", "sendto", "recvfrom", "poll", "select", "pselect6")


def available() -> str | None:
    """Return why processes cannot be traced here, None where they can."""
    if shutil.which("strace") is None:
        return "place: strace is not installed"
    probe = subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True, check=False)
    return None if probe.returncode == 0 else "place: processes may not be traced here"


def traced(command: list[str], call: str, number: int) -> list[str]:
    """Return a command that runs command and kills it at the number-th time it makes that system call.

    The process that is started is the program itself (strace -D), so its pid and its parent are what they always are.
    """
    inject = [f"--inject={call}:signal=KILL:when={number}"]
    return ["strace", "-D", "-q", "-o", "/dev/null", f"--trace={call}", *inject, *command]


def write_shim(directory: Path, real: str, call: str, number: int) -> None:
    """Put a program of the same name into directory that is killed at a step; for PATH of the one that starts it."""
    directory.mkdir(exist_ok=True)
    shim = directory / os.path.basename(real)
    shim.write_text(f'#!/bin/sh\nexec {shlex.join(traced([real], call, number))} "$@"\n')
    shim.chmod(0o755)
