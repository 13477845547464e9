"""Patterns that name tables and schemas, as psql's \\d reads them."""

from __future__ import annotations

import re

from scribe.common.errors import UsageError


def read_pattern(pattern: str) -> tuple[str | None, str]:
    """Return regular expressions for schema (None: none was named) and name, read as psql's \\d reads a pattern.

    Raises UsageError for more than two parts.
    """
    parts = [""]
    quoted = False
    for token in re.findall(r'""|.', pattern, re.DOTALL):
        if token == '"':
            quoted = not quoted
        elif token == '""':
            parts[-1] += '"' if quoted else ""
        elif quoted:
            parts[-1] += re.escape(token)
        elif token == ".":
            parts.append("")
        else:
            parts[-1] += {"*": ".*", "?": ".", "$": r"\$"}.get(token, token.lower())
    if len(parts) > 2 or "" in parts or quoted:
        raise UsageError(f"invalid name or pattern '{pattern}'", "Write table or schema.table; * stands for any text.")
    found = [f"^(?:{part})$" for part in parts]
    return (found[0], found[1]) if len(found) == 2 else (None, found[0])
