"""Can psql be trusted to send a statement's text as it is? The same scanner as decoder/plugin/scribe_text.c.

And how is it written so that every server reads it alike?

It knows PostgreSQL's rules for quotes and comments (with standard_conforming_strings on); whatever it is not sure of
makes the text unfit, and the caller writes it as a literal.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_START, _PART = r"[A-Za-z_\x80-\U0010ffff]", r"[A-Za-z0-9_$\x80-\U0010ffff]"
_TOKEN = re.compile(
    rf"""
    (?P<comment> --[^\n\r]* )
  | (?P<block> /\* )
  | (?P<escape> [eE]'(?:[^'\\]|\\.|'')*' )
  | (?P<quoted> '(?:[^']|'')*' | "(?:[^"]|"")*" )
  | (?P<bad> [eE]?' | " )
  | (?P<dollar> \$(?:{_START}[A-Za-z0-9_\x80-\U0010ffff]*)?\$ )
  | (?P<word> {_START}{_PART}* | [0-9](?:{_PART}|\.)* )
  | (?P<char> [^ \t\n\r\f\v] )
    """,
    re.VERBOSE | re.DOTALL,
)
_BLANK = re.compile(r"[ \t\n\r\f\v]*")
_NESTED = re.compile(r"/\*|\*/")
_CONTINUED = re.compile(r"[ \t\n\r\f\v]*(?:'|--)")
_RESERVED_LINE = re.compile(
    r"^[ \t]*(?:(?:BEGIN|COMMIT); --|-- (?:rows|ddl|mark|warning|pg_scribe:)|COPY|\\"
    r"|SET LOCAL ROLE|RESET ROLE)",
    re.MULTILINE,
)
_VARIABLE = re.compile(rf":(?:{_START}|['\"{{])")  # psql's, except within quotes and comments
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_CONCURRENT = {"ALTER TABLE", "REINDEX", "CREATE INDEX", "DROP INDEX", "REFRESH MATERIALIZED VIEW"}


@dataclass(frozen=True)
class Token:
    """A token: word, quoted, comment, char or bad; depth: of parentheses before it."""

    kind: str
    start: int
    end: int
    depth: int


def tokens(text: str) -> Iterator[Token]:
    """Yield the tokens of an SQL text; a bad one ends it."""
    at, depth = 0, 0
    while True:
        blank = _BLANK.match(text, at)
        at = blank.end() if blank else at
        match = _TOKEN.match(text, at)
        if match is None:
            return
        kind, end = str(match.lastgroup), match.end()
        if kind == "block":
            kind, end = "comment", _block_end(text, at)
        elif kind == "escape":
            kind, end = "quoted", -1 if _CONTINUED.match(text, end) else end
        elif kind == "dollar":
            found = text.find(match[0], end)
            kind, end = "quoted", found + len(match[0]) if found >= 0 else -1
        elif kind == "word" and match[0][0].isdigit() and text[end : end + 1] == "'":
            end = -1
        if kind == "bad" or end < 0:
            yield Token("bad", at, len(text), depth)
            return
        yield Token(kind, at, end, depth)
        if kind == "char":
            depth += {"(": 1, ")": -1}.get(match[0], 0)
        at = end


def _block_end(text: str, at: int) -> int:
    depth = 0
    for match in _NESTED.finditer(text, at):
        depth += 1 if match[0] == "/*" else -1
        if depth == 0:
            return match.end()
    return -1


def is_plain(text: str) -> bool:
    """Whether this is one statement that psql, at defaults, sends exactly as it stands."""
    if _CONTROL.search(text) or _RESERVED_LINE.search(text):
        return False
    empty, depth, cast = True, 0, -1
    for token in tokens(text):
        depth = token.depth
        word = text[token.start : token.end]
        if token.kind == "bad" or depth < 0:
            return False
        if token.kind == "comment":
            if "\\" in word:
                return False
            continue
        empty = False
        if token.kind == "char":
            if word == "\\" or (word == ";" and depth == 0):
                return False
            if word == ":" and token.start != cast:  # two are a cast
                if _VARIABLE.match(text, token.start):
                    return False
                cast = token.end
            depth += {"(": 1, ")": -1}.get(word, 0)
        # psql before 14 knows nothing of bodies in SQL, later ones guess
        if token.kind == "word" and (word.lower() == "atomic" or (depth == 0 and word.lower() == "begin")):
            return False
    return depth == 0 and not empty


def without_concurrently(text: str, tag: str) -> str | None:
    """Return the text without the keyword CONCURRENTLY, None where it does not stand there."""
    if tag not in _CONCURRENT:
        return None
    seen, found = False, list(tokens(text))
    for number, token in enumerate(found):
        word = text[token.start : token.end].lower()
        if token.kind == "bad":
            return None
        seen = seen or word == "detach"
        if token.kind != "word" or word != "concurrently" or (tag == "ALTER TABLE" and not seen):
            continue
        if token.depth > 0:
            if tag != "REINDEX":
                continue
            value = found[number + 1] if number + 1 < len(found) else token
            end = value.end if value.kind in ("word", "quoted") else token.end
            return f"{text[: token.start]}CONCURRENTLY false{text[end:]}"
        rest = text[token.end :].lstrip(" \t")
        return (text[: token.start] if rest else text[: token.start].rstrip()) + rest
    return None


# A literal goes on on a later line. Nothing is given back (++): the signs of a comment can be shared out in many ways.
_LATER = r"(?:[ \t\f\v]++|--[^\n\r]*+)*+[\n\r](?:[ \t\f\v\n\r]++|--[^\n\r]*+)*+(?=')"
_ESCAPED = rf"'(?:[^'\\]|\\.|'')*'(?:{_LATER}'(?:[^'\\]|\\.|'')*')*"
_PLACE = re.compile(
    rf"""
    (?P<string> {_ESCAPED} )
  | (?P<national> [nN](?=') )
  | (?P<bad> ' | [uU]&' | "(?:[^"]|"")*\Z )
  | (?P<block> /\* )
  | (?P<dollar> \$(?:{_START}[A-Za-z0-9_\x80-\U0010ffff]*)?\$ )
  | [eE]{_ESCAPED} | [bBxX]'[^']*'(?:{_LATER}'[^']*')* | "(?:[^"]|"")*" | --[^\n\r]* | {_START}{_PART}* | .
    """,
    re.VERBOSE | re.DOTALL,
)


def with_escape_strings(text: str) -> str | None:
    """Return a text that was read with standard_conforming_strings off as one that means the same whatever that is.

    19 cannot switch it off. None where the text cannot be read.
    """
    out, at = "", 0
    while at < len(text):
        match = _PLACE.match(text, at)
        assert match is not None
        kind, found, end = match.lastgroup, match[0], match.end()
        if kind == "bad":
            return None
        if kind == "block":
            end = _block_end(text, at)
        elif kind == "dollar":
            closing = text.find(found, end)
            end = closing + len(found) if closing >= 0 else -1
        elif kind == "string":
            out += " E" if re.match(_PART, out[-1:]) else "E"
        if end < 0:
            return None
        out += "NCHAR" if kind == "national" else text[at:end]
        at = end
    return out
