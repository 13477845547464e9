"""Closing the file that pg_recvlogical writes, while it goes on writing to the next one."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

from scribe.common.errors import TryAgainError
from scribe.common.process import Process, find_receivers, from_json
from scribe.spool.contents import Spool

SWITCH_WAIT = 30.0  # seconds for pg_recvlogical to take up a new file


def receivers(spool: Spool) -> list[Process]:
    """Return every pg_recvlogical that may write to the spool."""
    recorded = from_json(spool.read_processes().get("receiver"))
    found = find_receivers(spool.stream)
    return found + ([recorded] if recorded and recorded.alive() and recorded not in found else [])


def switch(spool: Spool, *, always: bool = False, once: bool = False) -> None:
    """Close the file being written under the next part's name, and wait until pg_recvlogical writes to a new one.

    always: also where the file is empty; once: send the signal no more than once.
    """
    for receiver in receivers(spool):
        _wait_until_open(receiver, spool)
    if spool.stream.exists() and (always or os.path.getsize(spool.stream)):
        os.rename(spool.stream, spool.next_part())
    spool.create_stream()  # by us and not by pg_recvlogical, so that its name is on disk before its contents count
    closed = _inodes(spool.parts())
    for receiver in receivers(spool):
        deadline, again = time.monotonic() + SWITCH_WAIT, 0.0
        while receiver.opened() & closed:
            now = time.monotonic()
            if now > deadline:
                raise TryAgainError(
                    f"pg_recvlogical (process {receiver.pid}) did not take up a new file within {SWITCH_WAIT:g} s",
                    "Check whether it is stopped or its disk hangs; nothing is lost.",
                )
            if now >= again:  # a signal that arrives just before it waits is only noticed at its next wake-up
                receiver.signal(signal.SIGHUP)
                again = deadline if once else now + 0.3
            time.sleep(0.005)


def _wait_until_open(receiver: Process, spool: Spool) -> None:
    """Wait until pg_recvlogical has opened its file: in the middle of a switch it would make one that is on no disk.

    Raises TryAgainError; nothing was changed.
    """
    known = _inodes(spool.paths())
    deadline = time.monotonic() + SWITCH_WAIT
    while receiver.alive() and not receiver.opened() & known:
        if time.monotonic() > deadline:
            raise TryAgainError(
                f"pg_recvlogical (process {receiver.pid}) has not begun to receive within {SWITCH_WAIT:g} s",
                "Check whether the server answers; nothing is lost.",
            )
        time.sleep(0.005)


def _inodes(paths: Iterable[Path]) -> set[tuple[int, int]]:
    return {(status.st_dev, status.st_ino) for status in map(os.stat, paths)}
