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


class _Grammar:
    """The tokens of a statement but its comments, read one after the other."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = [token for token in tokens(text) if token.kind != "comment"]
        self.at = 0

    def is_next(self, *words: str, ahead: int = 0) -> bool:
        """Say whether these words or signs come next, so far ahead."""
        coming = self.tokens[self.at + ahead : self.at + ahead + len(words)]
        return [self.text[t.start : t.end].lower() if t.kind in ("word", "char") else "" for t in coming] == [*words]

    def take(self, *words: str) -> bool:
        """Pass over these, if they come next."""
        found = self.is_next(*words)
        self.at += len(words) if found else 0
        return found

    def skip_name(self) -> None:
        """Pass over a name, which may have a schema, and be written as U&"..." UESCAPE '...'."""
        while True:
            here = self.tokens[self.at].start if self.at < len(self.tokens) else len(self.text)
            if self.text[here : here + 3].lower() == 'u&"':
                self.at += 3
                self.at += 2 if self.is_next("uescape") else 0
            else:
                self.at += 1
            if not self.take("."):
                return

    def find_option(self) -> bool:
        """Pass over the options of REINDEX, up to CONCURRENTLY; say whether that is among them."""
        begins = True
        while self.at < len(self.tokens) and not self.is_next(")"):
            if begins and self.is_next("concurrently"):
                return True
            begins = self.is_next(",")
            self.at += 1
        return False


_BEFORE = {
    "CREATE INDEX": ("create", "unique", "index"),
    "DROP INDEX": ("drop", "index"),
    "REFRESH MATERIALIZED VIEW": ("refresh", "materialized", "view"),
}


def _find_barred_word(words: _Grammar, tag: str) -> bool:
    """Go to CONCURRENTLY, or to FINALIZE after a DETACH PARTITION that had it; say whether it is there.

    Types and functions may have the one name, anything the other: both are looked for where the grammar has them alone.
    """
    if tag == "ALTER TABLE":
        if not words.take("alter", "table"):
            return False
        words.take("if", "exists")
        words.take("only")
        words.take("(")
        words.skip_name()
        if not words.take(")"):
            words.take("*")
        if not words.take("detach", "partition"):
            return False
        words.skip_name()
        return words.is_next("concurrently") or words.is_next("finalize")
    if tag == "REINDEX":
        if not words.take("reindex"):
            return False
        if words.take("("):
            if words.find_option():
                return True
            words.at += 1
        words.at += 1
    elif tag in _BEFORE:
        for word in _BEFORE[tag]:
            words.take(word)
    else:
        return False
    return words.is_next("concurrently")


def without_concurrently(text: str, tag: str) -> str | None:
    """Return the text without the keyword CONCURRENTLY, or FINALIZE; None where it does not stand there."""
    if tag not in _CONCURRENT:
        return None
    words = _Grammar(text)
    if not _find_barred_word(words, tag):
        return None
    token = words.tokens[words.at]
    if token.depth > 0:
        following = words.tokens[words.at + 1] if words.at + 1 < len(words.tokens) else token
        end = following.end if following.kind in ("word", "quoted") else token.end
        return f"{text[: token.start]}CONCURRENTLY false{text[end:]}"
    rest = text[token.end :].lstrip(" \t")
    return (text[: token.start] if rest else text[: token.start].rstrip()) + rest


# A literal goes on on a later line. Nothing is given back (++): the signs of a comment can be shared out in many ways.
_LATER = r"(?:[ \t\f\v]++|--[^\n\r]*+)*+[\n\r](?:[ \t\f\v\n\r]++|--[^\n\r]*+)*+(?=')"
_ESCAPED = rf"'(?:[^'\\]++|\\.|(?='')'')*+'(?:{_LATER}'(?:[^'\\]++|\\.|(?='')'')*+')*"
_PLACE = re.compile(
    rf"""
    (?P<string> {_ESCAPED} )
  | (?P<national> [nN](?=') )
  | (?P<bad> ' | [uU]&' | "(?:[^"]++|(?="")"")*+\Z )
  | (?P<block> /\* )
  | (?P<dollar> \$(?:{_START}[A-Za-z0-9_\x80-\U0010ffff]*)?\$ )
  | [eE]{_ESCAPED} | [bBxX]'[^']*'(?:{_LATER}'[^']*')* | "(?:[^"]++|(?="")"")*+" | --[^\n\r]* | {_START}{_PART}* | .
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
