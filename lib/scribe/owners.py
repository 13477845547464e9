"""Leaving the owners out of a plain dump: the lines `ALTER ... OWNER TO ...;` that pg_dump wrote, and no others.

A line that only looks like one may stand in a function's body, in a literal or in data, so quotes, comments and COPY
blocks are followed from line to line, as psql does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import IO

from scribe.segments import CopyData, CopyEnd, CopyStart, Reader

_OWNER = re.compile(rb"ALTER [^\n]* OWNER TO [^\n]*;\n\Z")
_COPY = re.compile(rb"COPY [^\n]* FROM stdin;\n\Z")
_IDENTIFIER = rb"[A-Za-z_\x80-\xff][\w$\x80-\xff]*"
_OPENING = re.compile(
    rb"(?P<comment>--[^\n]*)|(?P<block>/\*)|(?P<escape>[eE]')|(?P<word>" + _IDENTIFIER + rb")"
    rb"|(?P<quote>['\"])|(?P<dollar>\$(?:[A-Za-z_\x80-\xff][\w\x80-\xff]*)?\$)"
)
_CLOSING = {
    b"'": re.compile(rb"[^']*'"),
    b'"': re.compile(rb'[^"]*"'),
    b"E'": re.compile(rb"(?:[^\\']|\\.)*'", re.DOTALL),
    b"/*": re.compile(rb".*?\*/", re.DOTALL),
}


def without_owners(stream: IO[bytes], name: str, only: str | None = None) -> Iterator[bytes]:
    """Yield a plain dump with its ALTER ... OWNER TO lines left empty. name: for messages; only: those of one role,
    whose name needs no quotes. Raises ScribeError.
    """
    ending = b" OWNER TO %b;\n" % only.encode() if only is not None else b""
    reader = Reader(stream, name)
    within = b""
    while line := reader.take_line():
        if not within and _COPY.match(line):
            yield from _copy_block(reader, line)
        elif within or not _OWNER.match(line) or not line.endswith(ending):
            within = quoting_after(line, within)
            yield line
        else:
            yield b"\n"  # so that psql's numbers of lines stay right


def _copy_block(reader: Reader, line: bytes) -> Iterator[bytes]:
    for event in reader.copy_block(line):
        match event:
            case CopyStart(text):
                yield text
            case CopyData(data):
                yield data
            case CopyEnd():
                yield b"\\.\n"


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
