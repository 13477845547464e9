"""What a planted bug is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Bug:
    """A replacement of a text that stands once in its file.

    name: what is missing with it; old, new: texts; tests: what pytest is given, below tests/py, the narrowest that
    ought to notice, or a file in decoder/; since: the oldest major version of the server on which it shows; short:
    in the shortened run.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    since: int = 0
    short: bool = False
