"""The statements of a segment that act on rows: where each ends, and how many rows it must act on."""

from __future__ import annotations

import re

# Without those that have control characters: they are written as U&"...".
IDENTIFIER = rb'(?:[a-z_][a-z0-9_$]*+|"(?:[^"]|"")*+"(?!"))'
_COUNTED = re.compile(rb"; -- (\d+|\*) rows\n?\Z")
_BETWEEN = re.compile(rb"(?<=\n)(?![()])")
_ROW_STATEMENTS = (b"INSERT INTO ", b"UPDATE ", b"DELETE FROM ", b"WITH v (image")


def split_statements(text: bytes) -> list[bytes]:
    """Cut whole statements at line beginnings; a line that begins with a parenthesis continues the one before."""
    if b"\n(" in text or b"\n)" in text or b"\r" in text:
        return [statement for statement in _BETWEEN.split(text) if statement]
    return text.splitlines(keepends=True)


def count_statements(text: bytes) -> int:
    """Return how many statements split_statements() would find."""
    return text.count(b"\n") - text.count(b"\n(") - text.count(b"\n)")


def expected_rows(statement: bytes) -> int | None:
    """Return how many rows a statement of a segment must act on, None where any number is right."""
    if not statement.startswith(_ROW_STATEMENTS):
        return None
    if not statement.endswith((b" rows\n", b" rows")):
        return 1
    match = _COUNTED.search(statement, max(0, len(statement) - 40))
    if match is None:
        return 1
    return None if match[1] == b"*" else int(match[1])


def unquoted(name: bytes) -> bytes:
    """Return an identifier as the catalogue has it: which names need quotes differs from version to version."""
    return name[1:-1].replace(b'""', b'"') if name.startswith(b'"') else name
