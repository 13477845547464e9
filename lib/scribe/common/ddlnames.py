"""What a schema change is about, as its text says it: the objects' names, new names, columns.

The texts are those of segments: one statement that the server has run. No more of it is read than its beginning.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass

_TOKEN = re.compile(
    r"(?P<blank>\s+|--[^\n]*|/\*.*?\*/)|(?P<quoted>(?:[uU]&)?\"(?:[^\"]|\"\")*\")|(?P<text>[eE]?'(?:[^']|'')*')"
    r"|(?P<word>[^\W\d][\w$]*)|(?P<sign>.)",
    re.DOTALL,
)
_LONGEST = 60  # characters of a statement that has no name to show
_BLANKS = re.compile(r"[\s\x00-\x1f\x7f-\x9f]+")
_MOST = 60  # tokens of a statement that are looked at
_SKIPPED = {"if", "not", "exists", "only", "concurrently"}
_TYPES = (
    *("materialized view", "foreign table", "event trigger", "foreign data wrapper", "text search configuration"),
    *("text search dictionary", "text search parser", "text search template", "operator class", "operator family"),
    *("access method", "user mapping", "table", "index", "view", "sequence", "function", "procedure", "routine"),
    *("aggregate", "schema", "type", "domain", "trigger", "rule", "policy", "extension", "publication", "role"),
    *(
        "subscription",
        "server",
        "collation",
        "conversion",
        "database",
        "tablespace",
        "statistics",
        "language",
        "column",
    ),
    *("constraint", "operator", "cast"),
)
_WITHIN_SCHEMA = {"table", "foreign table", "index", "view", "materialized view", "sequence", "function", "procedure"}
_WITHIN_SCHEMA |= {"routine", "aggregate", "type", "domain", "statistics"}
_PATH_ITEM = re.compile(r'"((?:[^"]|"")*)"|([^\s,"\']+)')

Name = tuple[str | None, str]  # schema, None where none was written, and name


@dataclass(frozen=True, slots=True)
class _Word:
    """A token: its text, lower case unless quoted."""

    text: str
    kind: str


def _tokens(statement: str) -> Iterator[_Word]:
    for match in _TOKEN.finditer(statement):
        kind, text = match.lastgroup or "", match[0]
        if kind == "blank":
            continue
        if kind == "quoted":
            text = text[text.index('"') + 1 : -1].replace('""', '"')
        yield _Word(text.lower() if kind == "word" else text, kind)


class _Words:
    """The first tokens of a statement, read one after the other."""

    def __init__(self, statement: str) -> None:
        self.words = list(itertools.islice(_tokens(statement), _MOST))
        self.at = 0

    def take(self, *texts: str) -> bool:
        """Pass over these keywords, if they come next."""
        found = self.words[self.at : self.at + len(texts)]
        if [(word.text, word.kind) for word in found] != [(text, "word") for text in texts]:
            return False
        self.at += len(texts)
        return True

    def sign(self, text: str) -> bool:
        """Pass over a sign, if it comes next."""
        if self.at < len(self.words) and self.words[self.at] == _Word(text, "sign"):
            self.at += 1
            return True
        return False

    def skip(self) -> None:
        """Pass over IF EXISTS and the like."""
        while self.at < len(self.words) and self.words[self.at].kind == "word" and self._here() in _SKIPPED:
            self.at += 1

    def _here(self) -> str:
        return self.words[self.at].text

    def name(self) -> Name | None:
        """Take a name, with its schema if it has one."""
        parts: list[str] = []
        while self.at < len(self.words) and self.words[self.at].kind in ("word", "quoted"):
            parts.append(self._here())
            self.at += 1
            if not self.sign("."):
                break
        if not parts:
            return None
        return (parts[-2] if len(parts) > 1 else None, parts[-1])

    def find_type(self) -> str | None:
        """Pass over everything before the kind of object, and that; return it."""
        for start in range(min(len(self.words), 8)):
            self.at = start
            for kind in _TYPES:
                if self.take(*kind.split()):
                    return kind
        return None


def read_path(path: str | None) -> list[str]:
    """Return the schemas of a search_path."""
    found = _PATH_ITEM.findall(path or "")
    return [quoted.replace('""', '"') or plain for quoted, plain in found if quoted or plain]


def brief(statement: str) -> str:
    """Return the beginning of a statement on one line, for one that names nothing."""
    text = _BLANKS.sub(" ", statement).strip()
    return f"({text[:_LONGEST]}{'...' if len(text) > _LONGEST else ''})"


def resolve(name: Name, path: str | None) -> Name:
    """Return a name with its schema: the first one of the path, where none was written."""
    schema, own = name
    return (schema or next(iter(read_path(path)), None), own)


def name_objects(statement: str, path: str | None) -> list[Name]:
    """Return the objects that a statement makes, changes or drops; without a schema in the path's first."""
    words = _Words(statement)
    if words.words[:1] and words.words[0].text in ("grant", "revoke"):
        return _granted(words, path)
    kind = words.find_type()
    if kind is None:
        return []
    first = (read_path(path) or [None])[0] if kind in _WITHIN_SCHEMA else None  # type: ignore[list-item]
    found: list[Name] = []
    while True:
        words.skip()
        if kind == "index" and words.take("on"):  # it was given no name: the table's has to do
            words.skip()
        name = words.name()
        if name is None:
            return found
        found.append((name[0] or first, name[1]))
        if words.words[0].text != "drop" or not words.sign(","):
            return found


def _granted(words: _Words, path: str | None) -> list[Name]:
    """Return what GRANT and REVOKE name after ON."""
    for start in range(len(words.words)):
        words.at = start
        if words.take("on"):
            words.take("table")
            name = words.name()
            return [] if name is None else [(name[0] or (read_path(path) or [None])[0], name[1])]  # type: ignore[list-item]
    return []


@dataclass(frozen=True, slots=True)
class Renamed:
    """A table (old and new name), a schema (both schemas None), or a column of the table old."""

    old: Name
    new: Name
    column: str | None = None
    new_column: str | None = None


def read_rename(statement: str) -> Renamed | None:
    """Return what a statement renames, or moves to another schema; None for any other."""
    words = _Words(statement)
    if words.take("alter", "schema"):
        old = words.name()
        if old is not None and words.take("rename", "to") and (new := words.name()) is not None:
            return Renamed((None, old[1]), (None, new[1]))
        return None
    if not words.take("alter", "table"):
        return None
    words.skip()
    old = words.name()
    if old is None:
        return None
    words.sign("*")
    if words.take("set", "schema"):
        schema = words.name()
        return None if schema is None else Renamed(old, (schema[1], old[1]))
    if not words.take("rename") or words.take("constraint"):
        return None
    if words.take("to"):
        new = words.name()
        return None if new is None else Renamed(old, (old[0], new[1]))
    words.take("column")
    column = words.name()
    if column is None or not words.take("to") or (new := words.name()) is None:
        return None
    return Renamed(old, old, column[1], new[1])
