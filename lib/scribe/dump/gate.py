"""The gate: no schema change begins for a moment, so that a base comes through where one follows the other.

Between a snapshot and pg_dump's locks a table must not be dropped or changed, nor anything else before pg_dump has read
how it is defined. If others make schema changes without pause, no attempt would ever succeed: after some that did not,
capture lets none begin until then. The server itself ends that after HOLD seconds, for the last attempts LONG ones,
whatever becomes of us, and pauses keep it from happening too often.
"""

from __future__ import annotations

import contextlib
import time
from typing import Any, Self

import psycopg

from scribe.common.errors import ScribeError
from scribe.common.postgres import connect
from scribe.source.ownership import has_function

WAIT = 0.2  # seconds for schema changes under way to end; who begins one meanwhile waits behind us
HOLD = 0.7  # seconds at most for which none begins
LONG = 3.0  # seconds, where that was not enough
SHARE = 20  # pauses are this many times as long as what they follow


class Gate:
    """Closed by close(); opened by open(), by the end of the block, or by the server.

    hold: seconds after which the server opens it; shut_for: the seconds for which it kept others waiting.
    """

    def __init__(self, hold: float = HOLD) -> None:
        self._hold = hold
        self._holder: psycopg.Connection[Any] | None = None
        self._since = 0.0
        self.shut_for = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.open()

    def close(self) -> None:
        """Let no schema change begin. Where that cannot be had, the base takes its chance."""
        self.open()
        self._since = time.monotonic()
        with contextlib.suppress(ScribeError, psycopg.Error):
            idle = f"-c idle_in_transaction_session_timeout={self._hold * 1000:.0f}"
            self._holder = connect(options=f"-c lock_timeout={WAIT * 1000:.0f} {idle}")
            if has_function(self._holder, "hold_schema_changes"):
                self._since = time.monotonic()
                self._holder.execute("BEGIN")
                self._holder.execute("SELECT scribe.hold_schema_changes()")

    def open(self) -> None:
        """Let schema changes begin."""
        holder, self._holder = self._holder, None
        if holder is not None:
            holder.close()
            self.shut_for = min(time.monotonic() - self._since, WAIT + self._hold)


class NoGate(Gate):
    """Never closed."""

    def close(self) -> None:
        """Leave everybody alone."""
