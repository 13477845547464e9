"""DDL blocks of older segments whose strings have escapes, for servers that know standard strings only (19 and newer).

Since then, decoders write such a statement so that every server reads it alike.
"""

from __future__ import annotations

import re

_SETTING = b"SET LOCAL standard_conforming_strings = 'off';\n"
_EXECUTED = re.compile(
    rb"^(DO LANGUAGE plpgsql (\$scribe\d*\$)BEGIN EXECUTE )E'((?:[^'\\]++|\\.|(?='')'')*+)'(; END\2;)$",
    re.DOTALL | re.MULTILINE,
)
_ESCAPE = re.compile(r"\\x([0-9A-F]{2})|\\(.)|''", re.DOTALL)
_LETTERS = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}
_SPECIAL = {"'": "''", "\\": "\\\\"}


def read_alike(text: bytes) -> bytes:
    """Return a block's text as one that means the same to a server with standard strings; else as it is."""
    if _SETTING not in text:
        return text
    return _EXECUTED.sub(_rewrite, text.replace(_SETTING, b"", 1), count=1)


def _rewrite(match: re.Match[bytes]) -> bytes:
    from scribe.decoders.rows.plaintext import with_escape_strings  # a tenth of a program's start, and rarely needed

    statement = with_escape_strings(_ESCAPE.sub(_unescape, match[3].decode("latin-1")))
    if statement is None:
        return match[0]
    body = "".join(_SPECIAL.get(c) or (f"\\x{ord(c):02X}" if c < " " else c) for c in statement)
    return match[1] + b"E'" + body.encode("latin-1") + b"'" + match[4]


def _unescape(match: re.Match[str]) -> str:
    if match[1]:
        return chr(int(match[1], 16))
    return "'" if match[2] is None else _LETTERS.get(match[2], match[2])
