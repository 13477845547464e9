"""SQL cut into statements, as psql does: what is open at the end of a line, and statements that go over several.

A line that only looks like a statement may stand in a function's body, in a literal or in a name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

_IDENTIFIER = rb"[A-Za-z_\x80-\xff][\w$\x80-\xff]*"
_OPENING = re.compile(
    rb"(?P<comment>--[^\n]*)|(?P<block>/\*)|(?P<escape>[eE]')|(?P<word>" + _IDENTIFIER + rb")"
    rb"|(?P<quote>['\"])|(?P<dollar>\$(?:[A-Za-z_\x80-\xff][\w\x80-\xff]*)?\$)"
)
# A sign that is there twice closes nothing; of a text that consists of them, one match has to go over all.
_CLOSING = {
    b"'": re.compile(rb"(?:[^']++|'')*+'"),
    b'"': re.compile(rb'(?:[^"]++|"")*+"'),
    b"E'": re.compile(rb"(?:[^\\']++|\\.|'')*+'", re.DOTALL),
    b"/*": re.compile(rb".*?\*/", re.DOTALL),
}


def quoting_after(line: bytes, within: bytes) -> bytes:
    """Return what is open at the end of a line that began within something open (b"": nothing is)."""
    at = 0
    while True:
        if within:
            closing = _CLOSING.get(within) or re.compile(rb".*?" + re.escape(within), re.DOTALL)
            found = closing.match(line, at)
            if found is None:
                return within
            at, within = found.end(), b""
        match = _OPENING.search(line, at)
        if match is None:
            return b""
        at = match.end()
        kind = match.lastgroup
        if kind in ("block", "quote", "dollar"):
            within = match[0]
        elif kind == "escape":
            within = b"E'"


def whole_statements(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Put lines together that one statement (or string, name or comment in it) goes over; SQL without COPY data."""
    within, held = b"", b""
    for line in lines:
        within, held = quoting_after(line, within), held + line
        if not within:
            yield held
            held = b""
    if held:
        yield held
