"""Locks that others may hold: asked for briefly and again, so that nobody waits long behind us, within a bound.

While a lock is waited for, everybody who comes later and wants a lock that conflicts with it waits, readers included.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg

from scribe.common.errors import ScribeError, TryAgainError
from scribe.common.postgres import connect

LOCK_WAIT = 0.2  # seconds for one lock
LIMIT = 0.8  # seconds for all locks of one attempt, and what is done under them
PAUSE = 4.0  # seconds in which others have their way: twenty times as long
LOOK = 0.1  # seconds after which it is looked up who is in the way

_BLOCKERS = """
SELECT pg_catalog.format('process %%s (user %%s, application %%s, %%s, query since %%s)', pid, coalesce(usename, '?'),
         coalesce(nullif(application_name, ''), '?'), coalesce(state, '?'),
         coalesce(query_start::timestamptz(0)::text, '?'))
FROM pg_catalog.pg_stat_activity WHERE pid = ANY (pg_catalog.pg_blocking_pids(%s)) ORDER BY query_start
"""
_NOT_HAD = (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected, psycopg.errors.QueryCanceled)


class Attempts:
    """Attempts at what needs locks, on one connection; blockers: who was in the way of the last one that failed."""

    def __init__(self, conn: psycopg.Connection[Any], tell: Callable[[str], None]) -> None:
        """Prepare; tell: called once with a line that names who is in the way."""
        self.conn = conn
        self.blockers: list[str] = []
        self._tell = tell
        self._told = False
        self._slow = False

    def attempt(self, work: Callable[[], None], *, limited: bool = True) -> bool:
        """Run work in a transaction of its own; return False if it could not have a lock.

        limited: work that takes longer than LIMIT in all is given up; else only the wait for each lock is bounded.
        """
        try:
            with self._watched(limited and not self._slow), self.conn.transaction():
                self.conn.execute(f"SET LOCAL lock_timeout = {LOCK_WAIT * 1000:.0f}")
                work()
        except _NOT_HAD as error:
            # nobody is in the way, and LIMIT is too short for the work itself
            self._slow = isinstance(error, psycopg.errors.QueryCanceled) and not self.blockers
            if self.blockers and not self._told:
                self._tell(f"waiting for {'; '.join(self.blockers[:3])}")
                self._told = True
            return False
        return True

    @contextlib.contextmanager
    def _watched(self, limited: bool) -> Iterator[None]:
        self.blockers = []
        timers = [threading.Timer(LOOK, self._look)]
        if limited:
            timers.append(threading.Timer(LIMIT, self.conn.cancel))
        for timer in timers:
            timer.daemon = True
            timer.start()
        try:
            yield
        finally:
            for timer in timers:
                timer.cancel()
            for timer in timers:
                timer.join()  # a cancel request must not reach what comes next

    def _look(self) -> None:
        with contextlib.suppress(ScribeError, psycopg.Error), connect() as other:
            self.blockers = find_blockers(other, self.conn.info.backend_pid)

    def describe(self) -> str:
        """Return who was in the way, for an error."""
        return "; ".join(self.blockers[:3]) or "others hold its locks"


def find_blockers(conn: psycopg.Connection[Any], pid: int) -> list[str]:
    """Return in words which sessions have the lock that a server process waits for; none if it does not wait."""
    return [str(row[0]) for row in conn.execute(_BLOCKERS, [pid]).fetchall()]


def run_briefly(
    conn: psycopg.Connection[Any],
    work: Callable[[], None],
    what: str,
    *,
    wait: float,
    tell: Callable[[str], None],
    limited: bool = True,
) -> None:
    """Run work until it had its locks. Raises TryAgainError that names who is in the way after wait seconds.

    what: as in "could not WHAT"; limited: see Attempts.attempt().
    """
    attempts, deadline = Attempts(conn, tell), time.monotonic() + wait
    while not attempts.attempt(work, limited=limited):
        if time.monotonic() + PAUSE > deadline:
            raise TryAgainError(
                f"could not {what} within {wait:g} s: {attempts.describe()} is in the way",
                "Wait for that to end, or end it, then run the same command again.",
            )
        time.sleep(PAUSE)
