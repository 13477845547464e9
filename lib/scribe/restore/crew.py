"""Several connections for a base: the data of a COPY is dealt out among them, and indexes are built side by side.

The file is still read once, from its beginning to its end. What is dealt out is only what the order cannot matter to:
rows of tables whose constraints and generated columns call no function, indexes on columns, and keys. Everything else
waits until all of that is done, and runs on the first connection, as it does without others.
"""

from __future__ import annotations

import re
import select
from collections.abc import Iterator
from contextlib import ExitStack
from types import TracebackType
from typing import Any

import psycopg

from scribe.common.errors import ScribeError
from scribe.common.postgres import connect
from scribe.restore.session import ServerError, Session, lost
from scribe.restore.tables import stands_alone

CHUNK = 1 << 20  # bytes of COPY data that go to one connection before another gets some
_NAME = rb'(?:[a-z_][a-z0-9_$]*|"(?:[^"]++|(?="")"")++")(?:\.(?:[a-z_][a-z0-9_$]*|"(?:[^"]++|(?="")"")++"))?'
_COPY = re.compile(rb"\ACOPY (" + _NAME + rb") (?:\(.*\) )?FROM stdin;\s*\Z")
# No expression, and so no function of a user's: the only parentheses are those round columns and storage parameters.
_INDEX = re.compile(
    rb"\ACREATE (?:UNIQUE )?INDEX " + _NAME + rb" ON (?:ONLY )?(" + _NAME + rb") USING \w+ \([^()']*\)"
    rb"(?: INCLUDE \([^()']*\))?(?: NULLS NOT DISTINCT)?(?: WITH \([^()]*\))?;\s*\Z"
)
_KEY = re.compile(
    rb"\AALTER TABLE ONLY (" + _NAME + rb")\n    ADD CONSTRAINT " + _NAME + rb" (?:PRIMARY KEY|UNIQUE|FOREIGN KEY)"
    rb"(?: NULLS NOT DISTINCT)? \([^()']*\)(?: REFERENCES (" + _NAME + rb")\([^()']*\))?"
    rb"(?: INCLUDE \([^()']*\))?(?: WITH \([^()]*\))?[A-Z ]*;\s*\Z"
)


class _Worker:
    """One of the connections. line: of the file, where what it is doing stands; tables: that this locks."""

    def __init__(self, conn: psycopg.Connection[Any]) -> None:
        self.session = Session(conn)
        self.pgconn = conn.pgconn
        self.line = 0
        self.tables: frozenset[bytes] = frozenset()
        self.copying: bytes | None = None  # the COPY that is open
        self._lines = 0  # that were sent to it
        self._waiting = False  # for a result

    def start(self, line: int, text: bytes, tables: frozenset[bytes]) -> None:
        """Begin a statement without waiting for its end."""
        self.line, self.tables, self._waiting = line, tables, True
        self.session.send(text)

    def put(self, line: int, statement: bytes, data: bytes) -> None:
        """Take some lines of a COPY's data, without waiting until they are sent. Raises ServerError."""
        if self.copying is None:
            self.line, self.copying, self._lines = line, statement, 0
            self.session.start_copy(statement)
        self._lines += data.count(b"\n")
        self.pgconn.nonblocking = 1
        while not self.pgconn.put_copy_data(data):
            select.select([], [self.pgconn.socket], [])
            self.pgconn.flush()

    def end_data(self) -> None:
        """Let the COPY end."""
        self.pgconn.put_copy_end()
        self._waiting = True

    def is_free(self) -> bool:
        """Send and take what can be without waiting; return whether there is nothing left of it. Raises ServerError."""
        if self.pgconn.flush():
            return False
        if not self._waiting:
            return True
        self.pgconn.consume_input()
        if self.pgconn.is_busy():
            return False
        self.settle()
        return True

    def settle(self) -> None:
        """Wait for what was begun, and check it. Raises ServerError."""
        self.pgconn.nonblocking = 0  # sends what is left
        if not self._waiting:
            return
        self._waiting, self.tables = False, frozenset()
        statement, self.copying = self.copying, None
        counts = self.session.collect()
        if statement is not None and counts[0] != self._lines:
            raise ServerError(0, f"took {counts[0]} rows of {self._lines}", "", "")


class Crew:
    """The connections to a database. first: the one on which everything else runs."""

    def __init__(self, name: str, number: int, options: str, first: Session) -> None:
        self._stack = ExitStack()
        self._first = first
        self._workers: list[_Worker] = []
        with ExitStack() as stack:
            for _ in range(number):
                self._workers.append(_Worker(stack.enter_context(connect(dbname=name, options=options))))
            self._stack = stack.pop_all()

    def __enter__(self) -> Crew:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.pgconn.nonblocking = 1  # so that closing does not wait for a server that reads no more
        self._stack.__exit__(kind, error, trace)

    def takes_data(self, statement: bytes) -> bool:
        """Whether the rows of a COPY may be dealt out: no row of the table can see another, or another table's."""
        match = _COPY.match(statement)
        return match is not None and stands_alone(self._first, match[1])

    def copy(self, line: int, statement: bytes, data: Iterator[bytes]) -> None:
        """Deal out a COPY's data. Raises ScribeError."""
        for chunk in whole_lines(data):
            self._free_worker(statement).put(line, statement, chunk)
        for worker in self._workers:
            if worker.copying is statement:
                worker.end_data()

    def run(self, line: int, text: bytes) -> bool:
        """Begin a statement that builds an index or checks a key; return False if it is none. Raises ScribeError."""
        match = _INDEX.match(text) or _KEY.match(text)
        if match is None:
            return False
        tables = frozenset(filter(None, match.groups()))
        while busy := [each for each in self._workers if each.tables & tables and not self._is_free(each)]:
            _wait(busy)
        self._free_worker().start(line, text, tables)
        return True

    def run_everywhere(self, text: bytes) -> None:
        """Give every connection a setting. Raises ScribeError."""
        for worker in self._workers:
            worker.session.run(text)

    def settle(self) -> None:
        """Wait until everything is done. Raises ScribeError."""
        busy = self._workers
        while busy := [worker for worker in busy if not self._is_free(worker)]:
            _wait(busy)

    def _free_worker(self, statement: bytes | None = None) -> _Worker:
        """Return a connection that has nothing to do, or is at this COPY and has sent all it got."""
        while True:
            busy = [worker for worker in self._workers if not self._is_free(worker)]
            for worker in self._workers:
                if worker not in busy and worker.copying in (None, statement):
                    self._workers.remove(worker)
                    self._workers.append(worker)  # each in its turn
                    return worker
            _wait(busy)

    def _is_free(self, worker: _Worker) -> bool:
        try:
            return worker.is_free()
        except ServerError as error:
            raise ScribeError(f"line {worker.line}: {error.said}") from None
        except psycopg.OperationalError as error:
            raise lost(str(error)) from None


def _wait(busy: list[_Worker]) -> None:
    """Wait until one of these can go on."""
    sockets = [worker.pgconn.socket for worker in busy]
    writing = [worker.pgconn.socket for worker in busy if worker.pgconn.flush()]
    select.select(sockets, writing, [])


def whole_lines(data: Iterator[bytes]) -> Iterator[bytes]:
    """Yield data in chunks that end where a line does."""
    held: list[bytes] = []
    size = 0
    for block in data:
        held.append(block)
        size += len(block)
        if size >= CHUNK and block.endswith(b"\n"):
            yield b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)
