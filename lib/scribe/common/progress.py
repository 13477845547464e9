"""Progress of long work, for a person at a terminal: amount, rate and remaining time."""

from __future__ import annotations

import sys
import time

_INTERVAL = 0.5  # seconds between two lines


class Progress:
    """Shows on stderr, if it is a terminal, how much of a known number of bytes is done."""

    def __init__(self, program: str, *, quiet: bool) -> None:
        self._program = program
        self._shown = sys.stderr.isatty() and not quiet
        self._what, self._total, self._done = "", 0, 0
        self._began = self._last = time.monotonic()

    def start(self, what: str, total: int) -> None:
        """Begin a stretch of work of total bytes."""
        self.end()
        self._what, self._total, self._done = what, total, 0
        self._began = self._last = time.monotonic()

    def add(self, count: int) -> None:
        """Say that count more bytes are done."""
        self.set(self._done + count)

    def set(self, done: int) -> None:
        """Say how many bytes are done."""
        self._done = done
        now = time.monotonic()
        if self._shown and now - self._last >= _INTERVAL:
            self._last = now
            print(f"\r{self._line(now - self._began)}\033[K", end="", file=sys.stderr, flush=True)

    def _line(self, seconds: float) -> str:
        rate = self._done / seconds
        total = max(self._total, self._done)
        percent = 100 * self._done // total if total else 100
        left = round((total - self._done) / rate) if rate else 0
        return (
            f"{self._program}: {self._what}: {percent} %, {self._done >> 20} of {total >> 20} MB,"
            f" {rate / (1 << 20):.1f} MB/s, {left // 60}:{left % 60:02d} min left"
        )

    def end(self) -> None:
        """Take the line away."""
        if self._shown and self._what:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
        self._what = ""
