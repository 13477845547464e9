"""Names, literals and rows of the dialect that segments are written in (docs/format.md, "Literals")."""

from __future__ import annotations

import functools
import re

NAME = rb'(?:[a-z_][a-z0-9_]*|(?:U&)?"[^"]*(?:""[^"]*)*")'
QUALIFIED = NAME + rb"\." + NAME
CAST = rb'(?:::(?:text COLLATE "C"|' + QUALIFIED + rb"))"
PIECES = rb"\(SELECT pg_catalog\.string_agg\([tb], '' ORDER BY n\) FROM pg_temp\.scribe_piece WHERE value = \d+\)"
BARRED_NULL = rb"\(SELECT NULL::" + QUALIFIED + rb" WHERE false\)"  # gets past a domain that is NOT NULL
# No possessive quantifiers here: Python 3.11 had a bug with what backtracks inside them.
_PLAIN = rb"'[^']*(?:''[^']*)*'|\d+|NULL|true|false|E'[^'\\]*(?:(?:''|\\.)[^'\\]*)*'"
LITERAL = rb"(?:" + _PLAIN + rb"|" + PIECES + rb"|" + BARRED_NULL + rb")"
LONG = 1 << 20  # bytes of a statement whose literals are taken out before it is looked at

_BARE: dict[bytes, bytes | None] = {b"NULL": None, b"true": b"t", b"false": b"f"}
_ESCAPE = re.compile(rb"''|\\(?:x([0-9A-F]{2})|(.))", re.DOTALL)
_LETTERS = {b"b": b"\b", b"t": b"\t", b"n": b"\n", b"f": b"\f", b"r": b"\r", b"v": b"\v"}
_COPY_ESCAPE = re.compile(rb"\\(?:x([0-9A-F]{2})|(.))", re.DOTALL)
_UNICODE = re.compile(r"\\(?:([0-9A-F]{4})|\\)")
_QUOTE = re.compile(rb"['\"]")
_NUMBER = re.compile(rb"\d+")
_TAKEN = 1  # begins what stands in the place of a literal that was taken out


def split_name(text: str) -> str:
    """Return the name that an identifier of the dialect stands for."""
    if text.startswith('U&"'):
        plain = text[3:-1].replace('""', '"')
        return _UNICODE.sub(lambda m: chr(int(m[1], 16)) if m[1] else "\\", plain)
    return text[1:-1].replace('""', '"') if text.startswith('"') else text


def _unescape(match: re.Match[bytes]) -> bytes:
    if match[0] == b"''":
        return b"'"
    return bytes([int(match[1], 16)]) if match[1] else _LETTERS.get(match[2], match[2])


def read_literal(token: bytes, taken: list[bytes]) -> bytes | None:
    """Return the text of a value, None for NULL; booleans as their type writes them. taken: see shorten()."""
    first = token[:1]
    if first == b"(":  # BARRED_NULL; for values in pieces see pieces_number()
        return None
    if first == b"'":
        body = token[1:-1]
    elif first == b"E":
        body = token[2:-1]
    else:
        return _BARE.get(token, token)
    if taken and body[:1] == b"\1":
        body = taken[int(body[1:])]
    if first == b"E":
        return _ESCAPE.sub(_unescape, body)
    return body.replace(b"''", b"'") if b"''" in body else body


def read_copy_value(field: bytes) -> bytes | None:
    """Return the text of a value in a line of COPY data."""
    if b"\\" not in field:
        return field
    if field == b"\\N":
        return None
    return _COPY_ESCAPE.sub(_unescape, field)


def pieces_number(token: bytes) -> int | None:
    """Return which value of scribe_piece a literal stands for, None where it is one by itself."""
    return int(_NUMBER.findall(token)[-1]) if token.startswith(b"(SELECT pg_catalog") else None


@functools.lru_cache(256)
def row_pattern(columns: int) -> re.Pattern[bytes]:
    """Return a pattern for one row of VALUES with so many columns, a group for each."""
    item = rb"(" + LITERAL + rb")" + CAST + rb"*"
    return re.compile(rb"\(" + rb", ".join([item] * columns) + rb"\)")


def shorten(text: bytes) -> tuple[bytes, list[bytes]]:
    """Return a long statement with numbers in the place of what its literals hold, and that; a short one as it is."""
    if len(text) <= LONG:
        return text, []
    parts: list[bytes] = []
    taken: list[bytes] = []
    start = at = 0
    while match := _QUOTE.search(text, at):
        at = match.end()
        if match[0] == b'"':
            at = _end_of_quotes(text, at, b'"')
            continue
        end = _end_of_escapes(text, at) if text[at - 2 : at - 1] == b"E" else _end_of_quotes(text, at, b"'")
        parts += [text[start:at], b"%c%d" % (_TAKEN, len(taken))]
        taken.append(text[at : end - 1])
        start, at = end - 1, end
    return b"".join([*parts, text[start:]]), taken


def _end_of_quotes(text: bytes, at: int, quote: bytes) -> int:
    """Return where the text in quotes from at on ends, its quote included; quotes in it are doubled."""
    while True:
        at = text.find(quote, at) + 1
        if at == 0:
            return len(text)
        if text[at : at + 1] != quote:
            return at
        at += 1


_ESCAPED_END = re.compile(rb"''|\\.|'", re.DOTALL)


def _end_of_escapes(text: bytes, at: int) -> int:
    for match in _ESCAPED_END.finditer(text, at):
        if match[0] == b"'":
            return match.end()
    return len(text)


def read_image(image: bytes) -> list[bytes | None]:
    """Return the fields of a row's text, which is what record_out() writes. Raises ValueError."""
    fields: list[bytes | None] = []
    at = 0
    while at < len(image) - 1:
        match = _FIELD.match(image, at)
        if match is None:
            raise ValueError("not a row's text")
        quoted, plain = match.groups()
        fields.append((plain or None) if quoted is None else _DOUBLED.sub(lambda m: m[0][:1], quoted))
        at = match.end()
    return fields


_FIELD = re.compile(rb'[(,](?:"([^"\\]*(?:(?:""|\\\\)[^"\\]*)*)"|([^",()\\]*))(?=[,)])')
_DOUBLED = re.compile(rb'""|\\\\')
