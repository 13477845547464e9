"""One connection to the target in PostgreSQL's simple query protocol: whole batches of statements in one message."""

from __future__ import annotations

import contextlib
import select
from collections.abc import Callable
from typing import Any

import psycopg
from psycopg import pq

from scribe.common.errors import ScribeError, TryAgainError

_DONE = (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK, pq.ExecStatus.EMPTY_QUERY)
WATCH = 3.0  # seconds
_LOST = "Start the server, then go on with --resume."


class ServerError(ScribeError):
    """What the server said of a statement. index: how many results came before it in the same message."""

    def __init__(self, index: int, message: str, detail: str, sqlstate: str) -> None:
        super().__init__(f"the target server said: {message}")
        self.index = index
        self.said = f"{message} ({' '.join(detail.split())})" if detail else message
        self.sqlstate = sqlstate


class Session:
    """Sends SQL as bytes, unparsed, and collects the results; conn must be in autocommit and not used otherwise."""

    def __init__(self, conn: psycopg.Connection[Any]) -> None:
        self._conn = conn
        self._pgconn = conn.pgconn
        self.waits: Callable[[], None] | None = None  # called every WATCH seconds in which the server says nothing
        self._pgconn.nonblocking = 0  # sending waits; libpq reads meanwhile, so neither side blocks the other

    def send(self, sql: bytes) -> None:
        """Send one message; collect() must follow. Raises TryAgainError when the server is gone."""
        try:
            self._pgconn.send_query(sql)
            self._pgconn.set_single_row_mode()  # rows that nobody has asked for are not gathered
        except psycopg.OperationalError as error:
            raise lost(str(error)) from None

    def collect(self) -> list[int | None]:
        """Wait for the results of what was sent; return the row count of each (None where there is none).

        Raises ServerError for the first statement that failed (the transaction is then aborted), TryAgainError.
        """
        counts: list[int | None] = []
        failure: ServerError | None = None
        while (result := self._next_result()) is not None:
            if result.status in _DONE:
                counts.append(result.command_tuples)
            elif result.status != pq.ExecStatus.SINGLE_TUPLE and failure is None:
                failure = self._failure(result, len(counts))
            self._end_copying(result.status)
        if failure is not None:
            raise failure
        return counts

    def run(self, sql: bytes) -> list[int | None]:
        """Send one message and collect its results."""
        self.send(sql)
        return self.collect()

    def fetch(self, sql: bytes) -> list[bytes]:
        """Send one query and return the first column of its rows. Raises ServerError."""
        self.send(sql)
        rows: list[bytes] = []
        while (result := self._next_result()) is not None:
            if result.status not in (*_DONE, pq.ExecStatus.SINGLE_TUPLE):
                raise self._failure(result, 0)
            rows += [result.get_value(i, 0) or b"" for i in range(result.ntuples)]
        return rows

    def start_copy(self, sql: bytes) -> None:
        """Run a COPY ... FROM stdin; put_data() and end_copy() follow. Raises ServerError."""
        self.send(sql)
        result = self._next_result()
        if result is not None and result.status == pq.ExecStatus.COPY_IN:
            return
        failure = ServerError(0, "the statement does not read data", "", "")
        if result is not None and result.status == pq.ExecStatus.FATAL_ERROR:
            failure = self._failure(result, 0)
        while result is not None:
            self._end_copying(result.status)
            result = self._next_result()
        raise failure

    def put_data(self, data: bytes) -> None:
        """Send whole lines of COPY data; an error of the server's shows in end_copy()."""
        try:
            self._pgconn.put_copy_data(data)
        except psycopg.OperationalError as error:
            raise lost(str(error)) from None

    def end_copy(self) -> int:
        """End the data; return the number of rows the server took. Raises ServerError."""
        try:
            self._pgconn.put_copy_end()
        except psycopg.OperationalError as error:
            raise lost(str(error)) from None
        counts = self.collect()
        return counts[0] or 0

    def _end_copying(self, status: int) -> None:
        """End a COPY that is none of ours: the server would wait for its data, or for somebody who takes them."""
        if status == pq.ExecStatus.COPY_IN:
            self._pgconn.put_copy_end(b"no data follows")
        elif status == pq.ExecStatus.COPY_OUT:
            self._pgconn.get_cancel().cancel()
            with contextlib.suppress(psycopg.Error):  # the next result says what went wrong
                while self._pgconn.get_copy_data(0)[0] > 0:
                    pass

    def _next_result(self) -> pq.abc.PGresult | None:
        pgconn = self._pgconn
        try:
            while pgconn.is_busy():
                # not within libpq, where no signal would get through
                ready, _, _ = select.select([pgconn.socket], [], [], WATCH if self.waits else None)
                if ready:
                    pgconn.consume_input()
                elif self.waits is not None:
                    self.waits()
            return pgconn.get_result()
        except psycopg.OperationalError as error:
            raise lost(str(error)) from None

    def _failure(self, result: pq.abc.PGresult, index: int) -> ServerError:
        if self._pgconn.status == pq.ConnStatus.BAD:
            raise lost(result.get_error_message())

        if result.status in (pq.ExecStatus.COPY_IN, pq.ExecStatus.COPY_OUT):
            return ServerError(index, "a COPY from or to whoever restores", "", "")

        def field(code: pq.DiagnosticField) -> str:
            return (result.error_field(code) or b"").decode("utf-8", "replace")

        message = field(pq.DiagnosticField.MESSAGE_PRIMARY) or result.get_error_message()
        details = (field(pq.DiagnosticField.MESSAGE_DETAIL), field(pq.DiagnosticField.CONTEXT))
        sqlstate = field(pq.DiagnosticField.SQLSTATE)
        if sqlstate.startswith(("57P", "08")):
            raise lost(message)
        return ServerError(index, message, "; ".join(text for text in details if text), sqlstate)


def lost(text: str) -> ScribeError:
    """Return the error of a connection that is gone. text: what libpq said."""
    return TryAgainError(f"lost the target server: {' '.join(text.split()) or 'no answer'}", _LOST)
