"""Work that must end in time, whatever hangs: a server, a library's call, a file system.

A child does the work and hands over each result as soon as it has it. The parent waits no longer than it may, and
leaves behind a child that not even SIGKILL can end.
"""

from __future__ import annotations

import enum
import os
import pickle
import select
import signal
import struct
import time
from collections.abc import Callable, Iterable
from typing import Any

from scribe.common.process import die_with

_LENGTH = struct.Struct("!I")


class Outcome(enum.Enum):
    """How the work ended."""

    ENDED = "ended"
    LATE = "late"
    DIED = "died"


def collect(work: Callable[[], Iterable[Any]], seconds: float) -> tuple[list[Any], Outcome]:
    """Return what work yields within so many seconds, and how it ended. What it yields is pickled, and never None."""
    deadline = time.monotonic() + seconds
    reading, writing = os.pipe()
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _work(work, writing, parent)
    os.close(writing)
    try:
        found = _receive(reading, deadline)
    finally:
        os.close(reading)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, os.WNOHANG if time.monotonic() >= deadline else 0)
    late = Outcome.LATE if time.monotonic() >= deadline else Outcome.DIED
    outcome = Outcome.ENDED if found and found[-1] is None else late
    return [value for value in found if value is not None], outcome


def _work(work: Callable[[], Iterable[Any]], writing: int, parent: int) -> None:
    """In the child: hand over everything, then a None. Never returns."""
    try:
        die_with(parent)
        for value in work():
            _send(writing, value)
        _send(writing, None)
    except BaseException:
        os._exit(1)  # the missing None says so
    os._exit(0)


def _send(writing: int, value: Any) -> None:
    data = pickle.dumps(value)
    data = _LENGTH.pack(len(data)) + data
    while data:
        data = data[os.write(writing, data) :]


def _receive(reading: int, deadline: float) -> list[Any]:
    data, found = b"", []
    while (left := deadline - time.monotonic()) > 0:
        ready, _, _ = select.select([reading], [], [], left)
        block = os.read(reading, 1 << 16) if ready else b""
        if not block:
            break
        data += block
        while len(data) >= _LENGTH.size and len(data) >= (end := _LENGTH.size + _LENGTH.unpack_from(data)[0]):
            found.append(pickle.loads(data[_LENGTH.size : end]))
            data = data[end:]
    return found
