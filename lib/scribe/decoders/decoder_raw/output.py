"""decoder_raw's output read back: which statement says what of which row.

It is SQL of a very regular shape, one statement and a newline after the other. Only quotes have to be understood: a
literal or a name may hold newlines and `COMMIT;`. Literals double their quotes and know no backslash escapes. Names are
read as Latin-1, as in pgtables.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

from scribe.decoders.pgmessages import MISSING, DamageError, Value
from scribe.decoders.rows.tables import CARRIER

BEGIN, COMMIT = b"BEGIN;\n", b"COMMIT;\n"
# No possessive quantifiers here: Python 3.11 had a bug with what backtracks inside them.
_WORD = rb'(?:[a-z_][a-z0-9_]*|"[^"]*(?:""[^"]*)*")'
_TABLE = rb"(" + _WORD + rb")\.(" + _WORD + rb")"
_LITERAL = rb"(?:B?'((?:[^']++|(?='')'')*+)'|([^', ();]+))"
_ANY = rb"(?:B?'(?:[^']++|(?='')'')*+'|[^', ();]+)"  # the same, without groups
_INSERT = re.compile(rb"INSERT INTO " + _TABLE + rb" \((" + _WORD + rb"(?:, " + _WORD + rb")*)?\) VALUES \(")
_UPDATE = re.compile(rb"UPDATE " + _TABLE + rb" SET ")
_DELETE = re.compile(rb"DELETE FROM " + _TABLE + rb" WHERE ")
_TRUNCATE = re.compile(
    rb"TRUNCATE (" + _TABLE + rb"(?:, " + _TABLE + rb")*)(?P<restart> RESTART IDENTITY)?( CASCADE)?;\n"
)
_ITEM = re.compile(_LITERAL + rb"(?:, |\);\n)")
_VALUES = re.compile(rb"(?:" + _ANY + rb"(?:, " + _ANY + rb")*)?\);\n")
_PAIR = re.compile(rb"(" + _WORD + rb") = " + _LITERAL + rb"(?:(, )|( WHERE )|( AND )|;\n)")
_WORDS = re.compile(_WORD)
_TABLES = re.compile(_TABLE)
_QUOTE = re.compile(rb"['\"\n]")
_BARE: dict[bytes, Value] = {b"null": None, b"true": b"t", b"false": b"f", b"unchanged-toast-datum": MISSING}
_STARTS = (b"INSERT INTO ", b"UPDATE ", b"DELETE FROM ", b"TRUNCATE ", BEGIN, COMMIT)
_LONGEST_START = max(map(len, _STARTS))
LONG = 1 << 20  # bytes; of a longer statement the literals are taken out before it is looked at
_TAKEN = 1  # begins what stands in a literal's place

Name = tuple[str, str]  # schema and name
Pairs = dict[str, Value]


def statement_end(data: bytes, at: int) -> int:
    """Return where the statement at at ends, its newline included; 0 where more has to be read. Raises DamageError.

    Outside of quotes a newline stands at a statement's end and nowhere else.
    """
    if not data.startswith(_STARTS, at) and (len(data) - at > _LONGEST_START or data.find(b"\n", at) >= 0):
        raise DamageError("what stands there is not decoder_raw's")
    newline = data.find(b"\n", at)
    if newline < 0:
        return 0
    if data.find(b'"', at, newline) < 0 and not data.count(b"'", at, newline) & 1:
        return newline + 1
    while match := _QUOTE.search(data, at):
        quote = match[0]
        if quote == b"\n":
            return match.end()
        at = data.find(quote, match.end()) + 1
        if not at:
            return 0
    return 0


def _shorten(data: bytes, at: int, end: int) -> tuple[bytes, list[bytes]]:
    """Return a statement with numbers in the place of its literals, and the literals."""
    parts: list[bytes] = []
    taken: list[bytes] = []
    start = at
    while match := _QUOTE.search(data, at, end):
        at = match.end()
        if match[0] == b'"':
            at = data.find(b'"', at) + 1
        elif match[0] == b"'":
            opened = at
            while True:
                at = data.find(b"'", at) + 1
                if data[at : at + 1] != b"'":
                    break
                at += 1
            parts += [data[start:opened], b"%c%d" % (_TAKEN, len(taken))]
            taken.append(data[opened : at - 1])
            start = at - 1
    return b"".join([*parts, data[start:end]]), taken


@functools.lru_cache(4096)
def _name(word: bytes) -> str:
    return (word[1:-1].replace(b'""', b'"') if word[:1] == b'"' else word).decode(CARRIER)


def _value(quoted: bytes, bare: bytes, taken: list[bytes]) -> Value:
    if bare:
        return _BARE.get(bare, bare)
    if taken:
        quoted = taken[int(quoted[1:])]
    return quoted.replace(b"''", b"'") if b"'" in quoted else quoted


@dataclass(frozen=True)
class InsertHead:
    """What an INSERT says before its values, and how many bytes that takes."""

    table: Name
    columns: tuple[str, ...]
    text: bytes


def read_insert_head(data: bytes, at: int) -> InsertHead:
    """Return the beginning of the INSERT at at. Raises DamageError."""
    match = _INSERT.match(data, at)
    if match is None:
        raise DamageError("an INSERT is not one")
    columns = tuple(_name(word) for word in _WORDS.findall(match[3])) if match[3] else ()
    return InsertHead((_name(match[1]), _name(match[2])), columns, match[0])


def read_values(data: bytes, at: int, end: int) -> list[Value]:
    """Return the values of an INSERT, which stand from at on. Raises DamageError where something else stands there."""
    data, at, end, taken = _prepare(data, at, end)
    if _VALUES.fullmatch(data, at, end) is None:
        raise DamageError("the values of an INSERT are not literals")
    return [_value(quoted, bare, taken) for quoted, bare in _ITEM.findall(data, at, end)]


def _pairs(data: bytes, at: int, end: int, taken: list[bytes]) -> tuple[Pairs, int]:
    """Return the pairs at at up to the clause's end, and where WHERE's begin (0: they were WHERE's)."""
    found: Pairs = {}
    while match := _PAIR.match(data, at, end):
        found[_name(match[1])] = _value(match[2] or b"", match[3] or b"", taken)
        at = match.end()
        if match[5]:
            return found, at
        if not match[4] and not match[6]:
            break
    if at != end:
        raise DamageError("an UPDATE or DELETE is not one")
    return found, 0


def read_update(data: bytes, at: int, end: int) -> tuple[Name, Pairs, Pairs]:
    """Return table, SET and WHERE of the UPDATE at at. Raises DamageError."""
    data, at, end, taken = _prepare(data, at, end)
    match = _UPDATE.match(data, at)
    if match is None:
        raise DamageError("an UPDATE is not one")
    sets: Pairs = {}
    place = match.end()
    if data.startswith(b" WHERE ", place):  # nothing but TOAST values that did not change
        place += len(b" WHERE ")
    else:
        sets, place = _pairs(data, place, end, taken)
        if not place:
            raise DamageError("an UPDATE has no WHERE")
    return (_name(match[1]), _name(match[2])), sets, _where(data, place, end, taken)


def read_delete(data: bytes, at: int, end: int) -> tuple[Name, Pairs]:
    """Return table and WHERE of the DELETE at at. Raises DamageError."""
    data, at, end, taken = _prepare(data, at, end)
    match = _DELETE.match(data, at)
    if match is None:
        raise DamageError("a DELETE is not one")
    return (_name(match[1]), _name(match[2])), _where(data, match.end(), end, taken)


def _prepare(data: bytes, at: int, end: int) -> tuple[bytes, int, int, list[bytes]]:
    if end - at <= LONG:
        return data, at, end, []
    short, taken = _shorten(data, at, end)
    return short, 0, len(short), taken


def _where(data: bytes, at: int, end: int, taken: list[bytes]) -> Pairs:
    if data[at:end] == b";\n":  # a table without columns
        return {}
    return _pairs(data, at, end, taken)[0]


def read_truncate(data: bytes, at: int) -> tuple[list[Name], bool]:
    """Return the tables of the TRUNCATE at at, and whether it restarts sequences. Raises DamageError."""
    match = _TRUNCATE.match(data, at)
    if match is None:
        raise DamageError("a TRUNCATE is not one")
    return [(_name(schema), _name(name)) for schema, name in _TABLES.findall(match[1])], bool(match["restart"])
