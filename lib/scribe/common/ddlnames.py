"""What a schema change is about, as its text says it: the objects' names, new names, columns.

The texts are those of segments: one statement that the server has run. They are read as the server reads them,
with escapes and comments within comments: who writes a statement is not to choose what it is taken for.
"""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from string import ascii_lowercase, ascii_uppercase

_TOKEN = re.compile(  # of letters that are not ASCII, all make words, and none is lower case of another
    r"(?P<blank>[ \t\n\r\f\v]+|--[^\n\r]*)|(?P<comment>/\*)|(?P<quoted>(?:[uU]&)?\"(?:[^\"]++|(?=\"\")\"\")*+\")"
    r"|(?P<text>[eE]'(?:[^'\\]++|\\.|(?='')'')*+'|'(?:[^']++|(?='')'')*+')"
    r"|(?P<word>[A-Za-z_\x80-\U0010ffff][A-Za-z0-9_$\x80-\U0010ffff]*)"
    r"|(?P<sign>.)",
    re.DOTALL,
)
_COMMENT_EDGE = re.compile(r"/\*|\*/")
_UESCAPE = re.compile(r"(?:[ \t\n\r\f\v]+|--[^\n\r]*)*uescape[ \t\n\r\f\v]*'(.)'", re.IGNORECASE)
_FOLD = str.maketrans(ascii_uppercase, ascii_lowercase)
_LONGEST = 60  # characters of a statement that has no name to show
UTF8 = "utf-8"
_NAME_BYTES = 63  # of an identifier that a server takes; it cuts the rest off
_PASSED = 4096  # tokens that are passed and held before they are let go
_BLANKS = re.compile(r"[\s\x00-\x1f\x7f-\x9f]+")
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
    *("constraint trigger", "constraint", "operator", "cast"),
)
_WITHIN_SCHEMA = {"table", "foreign table", "index", "view", "materialized view", "sequence", "function", "procedure"}
_WITHIN_SCHEMA |= {"routine", "aggregate", "type", "domain", "statistics"}
_GRANTED = (
    *("table", "sequence", "schema", "database", "domain", "foreign data wrapper", "foreign server", "function"),
    *("procedure", "routine", "language", "large object", "parameter", "tablespace", "type"),
)
# A change of a role, tablespace or the database, as the decoder writes it, and what it does (docs/format.md).
_SHARED = re.compile(r"DO LANGUAGE plpgsql \$scribe\d*\$\n")
_DONE = re.compile(
    r"^ *(?:SELECT ')?((?:CREATE|ALTER|DROP|COMMENT ON) (?:ROLE|TABLESPACE) .*|(?:GRANT|REVOKE) .*|EXECUTE .*)$",
    re.MULTILINE,
)
_PATH_ITEM = re.compile(r'"((?:[^"]|"")*)"|([^\s,"\']+)')

Name = tuple[str | None, str]  # schema, None where none was written, and name


@dataclass(frozen=True, slots=True)
class _Word:
    """A token: its text, lower case unless quoted."""

    text: str
    kind: str


_END = _Word("", "end")


def _tokens(statement: str, codec: str) -> Iterator[_Word]:
    at = 0
    while match := _TOKEN.match(statement, at):
        kind, text, at = match.lastgroup or "", match[0], match.end()
        if kind == "comment":
            at = _comment_end(statement, at)
        elif kind == "quoted":
            if text[0] != '"' and (escape := _UESCAPE.match(statement, at)) is not None:
                at = escape.end()
                yield _Word(_cut(_name_of(text, escape[1]), codec), kind)
            else:
                yield _Word(_cut(_name_of(text, "\\"), codec), kind)
        elif kind == "word":
            yield _Word(_cut(text.translate(_FOLD), codec), kind)
        elif kind == "sign":
            yield _Word(text, kind)
        elif kind == "text":
            yield _Word("''", kind)  # whatever it says, it names nothing


def _comment_end(statement: str, at: int) -> int:
    """Return where the comment that has begun ends; one may hold others."""
    depth = 1
    for edge in _COMMENT_EDGE.finditer(statement, at):
        depth += 1 if edge[0] == "/*" else -1
        if depth == 0:
            return edge.end()
    return len(statement)


def _cut(name: str, codec: str) -> str:
    """Return a name as the server has it, which cuts off what is too long. codec: of the database's encoding."""
    if len(name) * 4 <= _NAME_BYTES:
        return name
    size = 0
    for at, character in enumerate(name):
        size += len(character.encode(codec, "surrogateescape"))
        if size > _NAME_BYTES:
            return name[:at]
    return name


def _name_of(quoted: str, escape: str) -> str:
    """Return the name that an identifier in quotes stands for, whatever its characters are written as."""
    name = quoted[quoted.index('"') + 1 : -1].replace('""', '"')
    if quoted[0] == '"':
        return name
    mark = re.escape(escape)
    name = re.sub(rf"{mark}(?:\+([0-9A-Fa-f]{{6}})|([0-9A-Fa-f]{{4}})|{mark})", _character, name)
    return name.encode("utf-16", "surrogatepass").decode("utf-16", "replace")  # two escapes may make one character


def _character(match: re.Match[str]) -> str:
    digits = match[1] or match[2]
    return match[0][0] if digits is None else chr(min(int(digits, 16), sys.maxunicode))


class _Words:
    """The tokens of a statement, read one after the other, and no more of them than is needed."""

    def __init__(self, statement: str, codec: str) -> None:
        self._coming = _tokens(statement, codec)
        self._words: list[_Word] = []
        self.at = 0

    def look(self, ahead: int = 0) -> _Word:
        """Return the token so far ahead; an empty one after the last."""
        if self.at > _PASSED:
            del self._words[: self.at]
            self.at = 0
        lacking = self.at + ahead + 1 - len(self._words)
        self._words += itertools.islice(self._coming, max(lacking, 0))
        return self._words[self.at + ahead] if self.at + ahead < len(self._words) else _END

    def ended(self) -> bool:
        """Say whether all are read."""
        return self.look() is _END

    def take(self, *texts: str) -> bool:
        """Pass over these keywords, if they come next."""
        if any(self.look(ahead) != _Word(text, "word") for ahead, text in enumerate(texts)):
            return False
        self.at += len(texts)
        return True

    def sign(self, text: str) -> bool:
        """Pass over a sign, if it comes next."""
        if self.look() != _Word(text, "sign"):
            return False
        self.at += 1
        return True

    def skip(self) -> None:
        """Pass over IF EXISTS and the like."""
        while self.look().kind == "word" and self.look().text in _SKIPPED:
            self.at += 1

    def group(self) -> bool:
        """Pass over what stands in parentheses, if that comes next."""
        if not self.sign("("):
            return False
        depth = 1
        while depth and not self.ended():
            depth += {"(": 1, ")": -1}.get(self.look().text, 0) if self.look().kind == "sign" else 0
            self.at += 1
        return True

    def find(self, word: str) -> bool:
        """Pass over everything up to a keyword outside of parentheses, and over that."""
        while not self.ended():
            if self.take(word):
                return True
            if not self.group():
                self.at += 1
        return False

    def parts(self) -> list[str]:
        """Take a name, with what stands before it and a dot."""
        found: list[str] = []
        while self.look().kind in ("word", "quoted"):
            found.append(self.look().text)
            self.at += 1
            if not self.sign("."):
                break
        return found

    def name(self) -> Name | None:
        """Take a name, with its schema if it has one."""
        parts = self.parts()
        return (parts[-2] if len(parts) > 1 else None, parts[-1]) if parts else None

    def find_type(self) -> str | None:
        """Pass over everything before the kind of object, and that; return it."""
        for start in range(8):
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
    text = _BLANKS.sub(" ", _shared_change(statement) or statement).strip()
    return f"({text[:_LONGEST]}{'...' if len(text) > _LONGEST else ''})"


def resolve(name: Name, path: str | None) -> Name:
    """Return a name with its schema: the first one of the path, where none was written."""
    schema, own = name
    return (schema or next(iter(read_path(path)), None), own)


def name_objects(statement: str, path: str | None, codec: str = UTF8, most: int | None = None) -> list[Name]:
    """Return the objects that a statement makes, changes or drops; without a schema in the path's first.

    codec: Python's name of the database's encoding, in which names are cut; most: no more than so many are looked for.
    """
    if (shared := _shared_change(statement)) is not None:
        return (
            [] if shared.startswith("EXECUTE ") else _granted_roles(shared, codec) or name_objects(shared, None, codec)
        )
    words = _Words(statement, codec)
    first = next(iter(read_path(path)), None)
    if words.take("grant") or words.take("revoke"):
        return _granted(words, first, most)
    if words.look() in (_Word("select", "word"), _Word("with", "word")):
        return _selected_into(words, first)
    drops = words.look() == _Word("drop", "word")
    kind = words.find_type()
    if kind is None:
        return []
    if kind == "column":
        parts = words.parts()[:-1]
        return [(parts[-2] if len(parts) > 1 else first, parts[-1])] if parts else []
    return _listed(words, kind, first if kind in _WITHIN_SCHEMA else None, several=drops, most=most)


def _shared_change(statement: str) -> str | None:
    """Return what a change of a role, tablespace or the database does, None for any other statement."""
    done = _DONE.search(statement) if _SHARED.match(statement) else None
    return None if done is None else done[1]


def _granted_roles(statement: str, codec: str) -> list[Name]:
    """Return the role that is granted or revoked, and the one it is granted to; none if it is something else."""
    words = _Words(statement, codec)
    if not (words.take("grant") or words.take("revoke")):
        return []
    granted = words.name()
    member = words.name() if words.take("to") or words.take("from") else None
    return [] if granted is None or member is None else [granted, member]


def _listed(words: _Words, kind: str, first: str | None, *, several: bool, most: int | None) -> list[Name]:
    """Return the names that follow; first: the schema of those without one; most: of them."""
    found: list[Name] = []
    while True:
        words.skip()
        if kind == "index" and words.take("on"):  # it was given no name: the table's has to do
            words.skip()
        name = words.name()
        if name is None:
            return found
        found.append((name[0] or first, name[1]))
        if not several or len(found) == most:
            return found
        words.group()  # the arguments of a routine
        if not words.sign(","):
            return found


def _granted(words: _Words, first: str | None, most: int | None) -> list[Name]:
    """Return what GRANT and REVOKE name after ON."""
    if not words.find("on"):
        return []
    if words.take("all"):
        return _listed(words, "schema", None, several=True, most=most) if words.find("schema") else []
    for kind in _GRANTED:
        if words.take(*kind.split()):
            return _listed(words, kind, first if kind in _WITHIN_SCHEMA else None, several=True, most=most)
    return _listed(words, "table", first, several=True, most=most)


def _selected_into(words: _Words, first: str | None) -> list[Name]:
    """Return what SELECT INTO makes."""
    if not words.find("into"):
        return []
    while words.look().text in ("unlogged", "table") and words.look().kind == "word":
        words.at += 1
    return _listed(words, "table", first, several=False, most=1)


@dataclass(frozen=True, slots=True)
class Renamed:
    """A table (old and new name), a schema (both schemas None), or a column of the table old."""

    old: Name
    new: Name
    column: str | None = None
    new_column: str | None = None


def read_rename(statement: str, codec: str = UTF8) -> Renamed | None:
    """Return what a statement renames, or moves to another schema; None for any other. codec: as for name_objects()."""
    words = _Words(statement, codec)
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


def read_dropped_columns(statement: str, codec: str = UTF8, most: int | None = None) -> list[str]:
    """Return the columns of a table that ALTER TABLE drops. codec, most: as for name_objects()."""
    words = _Words(statement, codec)
    if not words.take("alter", "table"):
        return []
    words.skip()
    words.name()
    words.sign("*")
    found: list[str] = []
    while not words.ended() and len(found) != most:
        if words.take("drop") and not words.take("constraint"):
            words.take("column")
            words.skip()
            found += [name[1]] if (name := words.name()) is not None else []
        while not (words.ended() or words.sign(",")):
            if not words.group():
                words.at += 1
    return found


def read_partition(statement: str, codec: str = UTF8) -> tuple[Name, Name] | None:
    """Return the table that a statement makes a partition, and the one whose partition it is; None for any other.

    codec: as for name_objects().
    """
    words = _Words(statement, codec)
    if words.take("alter", "table"):
        words.skip()
        parent = words.name()
        child = words.name() if parent is not None and words.take("attach", "partition") else None
        return None if parent is None or child is None else (child, parent)
    if not words.take("create") or words.find_type() not in ("table", "foreign table"):
        return None
    words.skip()
    child = words.name()
    parent = words.name() if child is not None and words.take("partition", "of") else None
    return None if parent is None or child is None else (child, parent)
