"""SQL text line by line, as psql reads it: where statements end, and what psql would take for a command of its own.

Followed are quotes of all kinds, nested comments, parentheses and the bodies of functions in SQL. COPY data is the
caller's business.
"""

from __future__ import annotations

import re

_IDENTIFIER = rb"[A-Za-z_\x80-\xff][\w$\x80-\xff]*"
_TOKEN = re.compile(
    rb"(?P<comment>--[^\n]*)|(?P<block>/\*)|(?P<escape>[eE]')|(?P<word>" + _IDENTIFIER + rb")"
    rb"|(?P<quote>['\"])|(?P<dollar>\$(?:[A-Za-z_\x80-\xff][\w\x80-\xff]*)?\$)|(?P<char>[^\s\w])"
)
_CLOSING = {
    b"'": re.compile(rb"[^']*'"),
    b'"': re.compile(rb'[^"]*"'),
    b"E'": re.compile(rb"(?:[^\\']++|\\.|(?='')'')*+'(?!')", re.DOTALL),
}
_NESTING = re.compile(rb"/\*|\*/")
_WORDS = 4  # of a statement, by which psql knows a function's body
_BODY = {b"function", b"procedure"}


class Lexer:
    """Reads line after line. within: what is open at the end of the last one (b"": nothing).

    whole: whether a statement ended there; blank: whether nothing but blanks and comments came since one ended;
    command: what follows the first backslash that psql would act on; words: the first words of a statement.
    apart: read as psql does, which looks at each line by itself, that E'a' goes on in no line after it; to a server it
    does, and continued says that it did since begin().
    """

    def __init__(self, *, apart: bool = False) -> None:
        self._apart = apart
        self.continued = False
        self.within = b""
        self.whole = True
        self.blank = True
        self.command: bytes | None = None
        self.words: list[bytes] = []
        self.firsts: set[bytes] = set()  # the first word of each statement since begin()
        self._level = 0  # of nested comments
        self._depth = 0  # of parentheses
        self._bodies = 0  # of BEGIN ATOMIC ... END, and of CASE within
        self._escape = 0  # 1: an E'' string has ended; 2: and a newline has followed, after which it may go on

    def begin(self) -> None:
        """Forget the statements so far."""
        self.command = None
        self.firsts = set()
        self.blank = True
        self.continued = False

    def read(self, line: bytes) -> None:
        """Take the next line."""
        self._escape = 2 if self._escape else 0
        at = 0
        while at < len(line):
            if self.within:
                at = self._close(line, at)
                continue
            match = _TOKEN.search(line, at)
            if match is None:
                return
            at = match.end()
            self._take(match, line)

    def _close(self, line: bytes, at: int) -> int:
        """Return where what is open ends, or the line's length."""
        if self.within == b"/*":
            return self._close_comment(line, at)
        closing = _CLOSING.get(self.within) or re.compile(rb".*?" + re.escape(self.within), re.DOTALL)
        found = closing.match(line, at)
        if found is None:
            return len(line)
        self._escape, self.within = int(self.within == b"E'"), b""
        return found.end()

    def _close_comment(self, line: bytes, at: int) -> int:
        for match in _NESTING.finditer(line, at):
            self._level += 1 if match[0] == b"/*" else -1
            if self._level == 0:
                self.within = b""
                return match.end()
        return len(line)

    def _take(self, match: re.Match[bytes], line: bytes) -> None:
        kind, token = match.lastgroup, match[0]
        if kind == "comment":
            return
        if kind == "block":
            self.within, self._level = token, 1
            return
        self.whole, self.blank = False, False
        if token == b"'" and self._escape == 2:
            self.continued = True
            token = token if self._apart else b"E'"  # a newline between two literals makes them one
        self._escape = 0
        if kind == "escape":
            self.within = b"E'"
        elif kind in ("quote", "dollar"):
            self.within = token
        elif kind == "word":
            self._word(token.lower())
        else:
            self._char(token, line, match.end())

    def _word(self, word: bytes) -> None:
        if not self.words:
            self.firsts.add(word)
        if len(self.words) < _WORDS:
            self.words.append(word)
        if self.words[0] == b"create" and _BODY & set(self.words[1:4]) and self._depth == 0:
            if word == b"begin" or (word == b"case" and self._bodies):
                self._bodies += 1
            elif word == b"end" and self._bodies:
                self._bodies -= 1

    def _char(self, token: bytes, line: bytes, end: int) -> None:
        if token == b"(":
            self._depth += 1
        elif token == b")":
            self._depth = max(0, self._depth - 1)
        elif token == b"\\" and self.command is None:
            self.command = line[end:].split(b"\n")[0]
        elif token == b";" and self._depth == 0 and self._bodies == 0:
            self.whole, self.words = True, []
