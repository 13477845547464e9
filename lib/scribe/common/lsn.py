"""Log sequence numbers: positions in the WAL as integers, as PostgreSQL prints them, and as 16 digits in file names."""

from __future__ import annotations

import re

_TEXT = re.compile(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})")


def parse_lsn(text: str) -> int:
    """Return the byte position that "16/B374D848" names; raises ValueError for anything else."""
    match = _TEXT.fullmatch(text)
    if match is None:
        raise ValueError(f'invalid LSN "{text}"')
    return (int(match[1], 16) << 32) | int(match[2], 16)


def format_lsn(lsn: int) -> str:
    """Return a byte position in PostgreSQL's own notation, as pg_lsn prints it."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


def file_lsn(lsn: int) -> str:
    """Return a byte position as the 16 upper-case hex digits that stand in file names."""
    return f"{lsn:016X}"
