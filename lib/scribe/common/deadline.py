"""Work that must end in time, whatever hangs: a server, a library's call, a file system.

A child does the work and hands over each result as soon as it has it. The parent waits no longer than it may, and
leaves behind a child that not even SIGKILL can end.
"""

from __future__ import annotations

import enum
import os
import pickle
import selectors
import signal
import struct
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from scribe.common.process import die_with

_LENGTH = struct.Struct("!I")
AT_ONCE = 16  # children; more than hang at a time, and few enough for each to be done soon


class Outcome(enum.Enum):
    """How the work ended."""

    ENDED = "ended"
    LATE = "late"
    DIED = "died"


Collected = tuple[list[Any], Outcome]


def collect(work: Callable[[], Iterable[Any]], seconds: float) -> Collected:
    """Return what work yields within so many seconds, and how it ended. What it yields is pickled, and never None."""
    return collect_all([work], seconds)[0]


def collect_all(works: Sequence[Callable[[], Iterable[Any]]], seconds: float) -> list[Collected]:
    """Return what each of several works yields, all within so many seconds: one that hangs holds up no other."""
    deadline = time.monotonic() + seconds
    children: list[_Child] = []
    try:
        with selectors.DefaultSelector() as selector:
            for work in works:
                while len(selector.get_map()) >= AT_ONCE and _receive(selector, deadline):
                    pass
                children.append(_Child(work))
                selector.register(children[-1].reading, selectors.EVENT_READ, children[-1])
            while selector.get_map() and _receive(selector, deadline):
                pass
    finally:
        for child in children:
            child.end(os.WNOHANG if time.monotonic() >= deadline else 0)
    return [(child.found, child.outcome) for child in children]


def _receive(selector: selectors.BaseSelector, deadline: float) -> bool:
    """Take what the children have handed over; return False when the time is over."""
    left = deadline - time.monotonic()
    for key, _ in selector.select(left) if left > 0 else ():
        if not key.data.receive():
            selector.unregister(key.fd)
    return left > 0


class _Child:
    """A child at work, and what it has handed over."""

    def __init__(self, work: Callable[[], Iterable[Any]]) -> None:
        self.found: list[Any] = []
        self.outcome = Outcome.LATE
        self._data = b""
        self.reading, writing = os.pipe()
        parent = os.getpid()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self.reading)
            _work(work, writing, parent)
        os.close(writing)

    def receive(self) -> bool:
        """Take what is there; return whether more may come."""
        block = os.read(self.reading, 1 << 16)
        if not block:
            self.outcome = Outcome.DIED
            return False
        self._data += block
        while len(self._data) >= _LENGTH.size:
            end = _LENGTH.size + _LENGTH.unpack_from(self._data)[0]
            if len(self._data) < end:
                break
            value = pickle.loads(self._data[_LENGTH.size : end])
            self._data = self._data[end:]
            if value is None:
                self.outcome = Outcome.ENDED
                return False
            self.found.append(value)
        return True

    def end(self, options: int) -> None:
        """Let nothing of it remain, unless not even SIGKILL ends it."""
        os.close(self.reading)
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, options)


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
