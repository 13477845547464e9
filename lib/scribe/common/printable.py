"""Text that others chose, for a terminal or a page of this program's, and JSON of it."""

from __future__ import annotations

import json
from collections.abc import Callable


def printable(text: str, keep: str = "") -> str:
    """Return text with "?" for each character that could control a terminal, reorder a line or end it; but for keep."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else "?" for c in text)


def json_text(value: object, indent: int | None = 2, default: Callable[[object], object] | None = None) -> str:
    """Return JSON that a person can read, that controls no terminal, and that UTF-8 can write, with its line end.

    indent, default: as json.dumps() has them. What is not printable stands there as \\uXXXX; a byte that is no text in
    a database's encoding as \\udcXX.
    """
    text = json.dumps(value, indent=indent, ensure_ascii=False, default=default)
    if not text.isprintable():
        text = "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)
    return text + "\n"
