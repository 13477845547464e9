"""SQL that pg_dump, pg_dumpall or we have written, sent to a server statement by statement.

psql is not asked: in a file that somebody else has written it would run commands of the shell as whoever restores.
Here a line is SQL, data of a COPY, or refused.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import psycopg

from scribe.archive.cutting import Cutter, Piece
from scribe.archive.segments import Reader
from scribe.common.errors import ScribeError
from scribe.common.postgres import WRITING, connect
from scribe.restore.crew import Crew
from scribe.restore.session import ServerError, Session

THERE_ALREADY = {"42710", "42P04", "42P06"}
_FOREIGN = "Nothing that pg_dump has written looks like this. Do not restore an archive that you do not trust."
_MESSAGES = 1000
_LONGEST = 2000  # characters of one
_OPTIONS = f"{WRITING} -c synchronous_commit=off -c client_min_messages=warning"


Takes = Callable[[Piece], bool]
Jump = Callable[[int], bool]  # gets the number of bytes that were read and not yet used; returns whether it has jumped


class _Chunks:
    """Chunks of bytes as a file to read from."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks

    def read(self, size: int = -1) -> bytes:
        return next(filter(None, self._chunks), b"")


class Feed:
    """One file on its way to a server. what: the file, for messages; stop: at the first error.

    crew: further connections, which may take what needs no order; takes: which pieces are run, None for all; jump: over
    the data of those that are not, where the source of the chunks can do that.
    """

    def __init__(
        self,
        session: Session,
        what: str,
        *,
        stop: bool,
        crew: Crew | None = None,
        takes: Takes | None = None,
        jump: Jump = lambda held: False,
    ) -> None:
        self.session, self.what, self.stop, self.crew, self.takes = session, what, stop, crew, takes
        self.jump = jump
        self.messages: list[str] = []

    def note(self, said: psycopg.errors.Diagnostic) -> None:
        """Take a warning of the server's."""
        if said.severity_nonlocalized == "WARNING" and said.sqlstate not in THERE_ALREADY:
            self._tell(said.message_primary or "")

    def send(self, chunks: Iterator[bytes]) -> None:
        """Send everything. Raises ScribeError."""
        reader = Reader(_Chunks(chunks), self.what)  # type: ignore[arg-type]
        for piece in Cutter(reader).pieces():
            self._refuse(piece)
            if self.takes is not None and not self.takes(piece):
                if piece.copy is not None:
                    reader.pass_data(self.jump)
                deque(piece.copy or (), maxlen=0)
                continue
            try:
                if self.crew is None or not self._deal_out(self.crew, piece):
                    self._run(piece)
            except ServerError as error:
                self._failed(piece, error)
                deque(piece.copy or (), maxlen=0)
        if self.crew is not None:
            self.crew.settle()

    def _refuse(self, piece: Piece) -> None:
        where = f"{self.what}, line {piece.line}"
        if piece.command is not None:
            shown = piece.command[:40].decode("utf-8", "replace")
            raise ScribeError(f'{where}: "\\{shown}" is a command to psql and no SQL', _FOREIGN)
        if piece.copy is None and b"copy" in piece.words:
            raise ScribeError(f"{where}: a COPY that does not read what follows it", _FOREIGN)

    def _deal_out(self, crew: Crew, piece: Piece) -> bool:
        """Give a piece to the crew if its place in the file does not matter; else wait for what the crew is doing."""
        if piece.copy is None:
            if crew.run(piece.line, piece.text):
                return True
        elif crew.takes_data(piece.text):
            crew.copy(piece.line, piece.text, piece.copy)
            return True
        crew.settle()
        if piece.words == {b"set"}:
            crew.run_everywhere(piece.text)
        return False

    def _run(self, piece: Piece) -> None:
        if piece.copy is None:
            self.session.run(piece.text)
            return
        self.session.start_copy(piece.text)
        for block in piece.copy:
            self.session.put_data(block)
        self.session.end_copy()

    def _failed(self, piece: Piece, error: ServerError) -> None:
        if self.stop:
            raise ScribeError(f"line {piece.line}: {error.said}")
        if error.sqlstate not in THERE_ALREADY:
            self._tell(error.said)

    def _tell(self, text: str) -> None:
        """Note what the server said; whoever wrote the file chooses how often and how much it says."""
        if len(self.messages) < _MESSAGES:
            self.messages.append(text[:_LONGEST])
        elif len(self.messages) == _MESSAGES:
            self.messages.append("further messages are left out")


def feed(
    name: str,
    chunks: Iterator[bytes],
    *,
    what: str,
    stop: bool,
    hint: str,
    single: bool = False,
    jobs: int = 1,
    takes: Takes | None = None,
    jump: Jump = lambda held: False,
) -> list[str]:
    """Run SQL in a database; return what the server said of it: warnings, and errors where stop is not given.

    what: the file, for messages; stop: at the first error, which is raised as ScribeError, with hint; single: all of
    it in one transaction; jobs: connections that work side by side; takes, jump: as for Feed. That something exists
    already is said by nobody.
    """
    with ExitStack() as stack:
        conn = stack.enter_context(connect(dbname=name, options=_OPTIONS))
        session = Session(conn)
        crew = stack.enter_context(Crew(name, jobs, _OPTIONS, session)) if jobs > 1 else None
        sender = Feed(session, what, stop=stop, crew=crew, takes=takes, jump=jump)
        conn.add_notice_handler(sender.note)
        try:
            if single:
                sender.session.run(b"BEGIN")
            sender.send(chunks)
            if single:
                sender.session.run(b"COMMIT")
        except ServerError as error:
            raise ScribeError(f'could not restore into database "{name}": {error.said}', hint) from None
        except ScribeError as error:
            if error.hint is None:
                error = type(error)(f'could not restore into database "{name}": {error.message}', hint)
            raise error from None
    return sender.messages
