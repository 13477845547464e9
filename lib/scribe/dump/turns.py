"""Taking turns: no more than so many bases are taken at once for the databases of one host.

Each base takes two walsenders of its server, and the host's disk and network. Whoever has a turn holds the lock of one
of so many files in the user's home directory, which are the same for every instance that the user runs.
"""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from scribe.common import files
from scribe.common.errors import TryAgainError

LONGEST = 12 * 3600.0  # seconds to wait
_PAUSE = 1.0  # seconds between two looks


@contextlib.contextmanager
def take_turn(number: int, tell: Callable[[str], None], longest: float = LONGEST) -> Iterator[None]:
    """Hold one of number turns; 0: there is no limit. Raises TryAgainError after longest.

    tell: called with a line for people if it has to wait.
    """
    if not number:
        yield
        return
    deadline = time.monotonic() + longest
    directory = _directory()
    told = False
    while (lock := _free(directory, number)) is None:
        if not told:
            bases = "1 base is" if number == 1 else f"{number} bases are"
            tell(f"waiting for a turn: {bases} being taken on this host, and SCRIBE_DUMPS_AT_ONCE allows no more")
            told = True
        if time.monotonic() >= deadline:
            raise TryAgainError(
                f"no turn to take a base came within {longest / 3600:.0f} h",
                f'See who holds the files in "{directory}": "fuser -v {directory}/*".',
            )
        select.select([], [], [], _PAUSE)  # a signal must still get through
    try:
        yield
    finally:
        lock.__exit__()


def _directory() -> Path:
    home = Path(os.path.expanduser("~"))
    for path in (home / ".pg_scribe", home / ".pg_scribe/dumps"):
        files.make_directory(path)
    return home / ".pg_scribe/dumps"


def _free(directory: Path, number: int) -> files.Lock | None:
    """Return the lock of a turn that nobody has, None if there is none."""
    for turn in range(1, number + 1):
        with contextlib.suppress(TryAgainError):
            return files.Lock(directory / f"{turn}.lock", "a base is being taken").__enter__()
    return None
