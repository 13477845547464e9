"""SQL that pg_dump, pg_dumpall or we have written, cut into statements and the data of COPYs."""

from __future__ import annotations

import io
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from scribe.archive.segments import LONGEST, CopyData, Reader
from scribe.common.errors import ScribeError
from scribe.common.lexing import Lexer

# What pg_dump itself writes for psql since the minor releases of August 2025, against the like of what is refused here.
_RESTRICTING = re.compile(rb"\\(?:un)?restrict [0-9A-Za-z]+\s*\Z")
_COPY = re.compile(rb"^COPY .* FROM stdin;\s*\Z", re.DOTALL | re.MULTILINE)


@dataclass
class Piece:
    """Some whole lines: one statement, or several that share a line; with copy, a COPY whose data must be taken next.

    line: the number of its last line; command: what psql would take for a command of its own, None if there is nothing;
    misread: whether a literal is still open for psql at its end, so that it reads otherwise what follows.
    """

    line: int
    text: bytes
    words: frozenset[bytes]
    command: bytes | None
    copy: Iterator[bytes] | None = None
    misread: bool = False


class Cutter:
    """Cuts SQL into pieces. line: how many lines were taken."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.line = 0

    def pieces(self) -> Iterator[Piece]:
        """Yield everything; comments between statements are left out. Raises ScribeError for a torn file."""
        lexer, held = Lexer(), bytearray()
        while line := self._reader.take_line():
            self.line += 1
            if not held and not lexer.within and _RESTRICTING.match(line):
                continue
            lexer.read(line)
            held += line
            if len(held) > LONGEST:
                raise ScribeError(
                    f"line {self.line}: a statement of more than {LONGEST >> 20} MB, which no server takes"
                )
            if lexer.command is not None:
                yield Piece(self.line, bytes(held), frozenset(lexer.firsts), lexer.command)
                return
            if lexer.within or not lexer.whole:
                continue
            if lexer.continued:
                yield (piece := self._as_psql(lexer, held))
                if piece.command is not None:
                    return
            elif not lexer.blank:
                yield self._piece(lexer, bytes(held))
            held.clear()
            lexer.begin()
        if not lexer.blank:
            yield self._as_psql(lexer, held)

    def _as_psql(self, lexer: Lexer, text: bytearray) -> Piece:
        """Return a statement that goes on after an E'...' on the line before, if it does, which psql does not see."""
        psql = Lexer(apart=True)
        for line in io.BytesIO(text) if lexer.continued else ():
            psql.read(line)
        return Piece(self.line, bytes(text), frozenset(lexer.firsts), psql.command, misread=bool(psql.within))

    def _piece(self, lexer: Lexer, text: bytes) -> Piece:
        copy = _COPY.search(text) if lexer.firsts == {b"copy"} else None
        return Piece(self.line, text, frozenset(lexer.firsts), None, self._data(text) if copy else None)

    def _data(self, statement: bytes) -> Iterator[bytes]:
        for event in self._reader.copy_block(statement):
            if isinstance(event, CopyData):
                self.line += event.data.count(b"\n")
                yield event.data
        self.line += 1


def find_command(reader: Reader) -> tuple[int, str] | None:
    """Return line and text of the first thing in an SQL file that psql would take for a command, None if there is none.

    What the settings standard_conforming_strings and client_encoding could make of a later quote is not followed.
    """
    for piece in Cutter(reader).pieces():
        if piece.command is not None:
            return piece.line, piece.command.decode("utf-8", "replace")
        if piece.misread:
            return piece.line, "(not known: psql sees no end of a literal)"
        deque(piece.copy or (), maxlen=0)
    return None
