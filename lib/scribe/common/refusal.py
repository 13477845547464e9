"""Why a server refused a connection, as an SQLSTATE: libpq passes on a text, which is in the server's language.

libpq writes the SQLSTATE where it is asked to before the server answers, and psycopg has no way to ask: so the
connection is tried once more, through the functions of the libpq that psycopg has loaded.
"""

from __future__ import annotations

import contextlib
import ctypes
import re
import select
import time

from psycopg import pq

_SQLSTATE_ONLY = 3  # PQERRORS_SQLSTATE
_STATE = re.compile(rb"(?m): +([0-9A-Z]{5})$")
_LIMIT = 10.0  # seconds


def find_sqlstates(conninfo: str) -> list[str] | None:
    """Connect again; return the SQLSTATE of each server that refused us, [] when one took us now, None if unknown."""
    conn = pq.PGconn.connect_start(conninfo.encode())
    try:
        if not _ask_for_states(conn):
            return None
        status = _poll(conn)
        if status == pq.PollingStatus.OK:
            return []
        states = [state.decode() for state in _STATE.findall(conn.error_message)]
        return states or None
    finally:
        conn.finish()


def _ask_for_states(conn: pq.abc.PGconn) -> bool:
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(_loaded_libpq())
        library.PQsetErrorVerbosity.argtypes = [ctypes.c_void_p, ctypes.c_int]
        library.PQsetErrorVerbosity(ctypes.c_void_p(getattr(conn, "pgconn_ptr")), _SQLSTATE_ONLY)  # noqa: B009  (no type knows it)
        return True
    return False


def _loaded_libpq() -> str:
    """Return the file of the libpq in this process: another one would not know psycopg's connections."""
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
        for line in maps:
            path = line.partition("/")[2].rstrip("\n")
            if re.search(r"(^|/)libpq[-.][^/]*$", path):
                return f"/{path}"
    raise FileNotFoundError("no libpq is loaded")


def _poll(conn: pq.abc.PGconn) -> pq.PollingStatus:
    deadline = time.monotonic() + _LIMIT
    status = pq.PollingStatus.WRITING
    while status in (pq.PollingStatus.READING, pq.PollingStatus.WRITING):
        left = deadline - time.monotonic()
        wanted = [conn.socket]
        reading, writing = (wanted, []) if status == pq.PollingStatus.READING else ([], wanted)
        if left <= 0 or not any(select.select(reading, writing, [], left)):
            return pq.PollingStatus.FAILED
        status = pq.PollingStatus(conn.connect_poll())
    return status
