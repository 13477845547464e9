#!/usr/bin/env python3
"""Random pairs of points of an archive are compared by scribe-restore --diff, and its SQL is tried.

usage: diff.py --archive DIR [--rounds N] [--seed N]

For each pair the difference from the first to the second point is run by psql on a copy of the first, which then has to
be dumped as a copy of the second is; and the difference back on a copy of the second. What is refused, or named as not
in the difference, has to be what docs/limits.md says; it is counted.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "py"))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "lib"))

from archived import Rounds, try_archive  # noqa: E402
from compare import State, assert_equal  # noqa: E402
from undo import dump, psql  # noqa: E402

from scribe.common.cli import Talk  # noqa: E402
from scribe.common.errors import ScribeError  # noqa: E402
from scribe.restore.copies import Copy, Source  # noqa: E402
from scribe.restore.difference import Comparison  # noqa: E402

# What docs/limits.md says of differences: which way, and a part of the message.
_LIMITS = {
    "back past a schema change": (True, "its statements lead only forward"),
    "rows that a CHECK no longer takes": (False, "violates check constraint"),
    "rows that a domain no longer takes": (False, "value for domain"),
    "an owner who has no right to the rows": (False, "who owns it: permission denied"),
}
_VIEW = re.compile(r"materialized view (.+?): (?:it could not be refreshed|at the second point it holds)")


class Silent(Talk):
    """Says nothing: each comparison warns of whose code it runs."""

    def warn(self, text: str) -> None:
        """Say nothing."""


class Pairs(Rounds):
    """Pairs of points of one archive that are compared."""

    def __init__(self, source: Source, cluster: Any, seed: int) -> None:
        super().__init__(source, cluster, seed)
        self.copies: dict[int, tuple[Copy, State]] = {}
        self.comparison = Comparison(source, None, [], [])

    def run(self, rounds: int) -> None:
        """Compare pairs, every other of which lies where only rows changed, if there is such a part of the history."""
        places = [each.commit_lsn for each in self.begins()]
        few = sorted(self.random.sample(places, min(len(places), rounds + 1)))
        for number in range(rounds):
            first, second = sorted(self.random.sample(few[len(few) // 3 if number % 2 else 0 :], 2))
            self.try_pair(first, second)
            self.try_pair(second, first)

    def _copy(self, lsn: int) -> tuple[Copy, State]:
        if lsn not in self.copies:
            copy = Copy(self.source, self.cluster, f"at_{lsn:x}")
            copy.bring_to(target_lsn=lsn)
            self.copies[lsn] = copy, dump(copy)
        return self.copies[lsn]

    def try_pair(self, first: int, second: int) -> None:
        """Compare two points, and try what comes of it."""
        pair = f"from {first:X} to {second:X}"
        try:
            found = self.comparison.run({"target_lsn": first}, {"target_lsn": second})
        except ScribeError as error:
            named = next(
                (name for name, (back, text) in _LIMITS.items() if text in error.message and back <= (first > second)),
                None,
            )
            self.count[f"refused: {named}"] += 1
            if named is None:
                self.failures.append(f"{pair}: {error.message}")
            return
        views = {match[1] for each in found.left if (match := _VIEW.match(each))}
        if other := [each for each in found.left if not _VIEW.match(each)]:
            self.failures.append(f"{pair}: not in the difference, though nothing is flagged: {other}")
        self.count["materialized views that are named"] += len(views)
        found.sql.seek(0)
        text = found.sql.read().decode(self.comparison.codec)
        (copy, _), (_, wanted) = self._copy(first), self._copy(second)
        try:
            with copy.cloned("trial") as clone:
                if text:
                    psql(clone, text)
                states = [dict(state) for state in (dump(clone), wanted)]
        except AssertionError as error:
            self.failures.append(f"{pair}: {error}")
            return
        for state in states:
            for name in views:
                state.pop(f"rows of {name}", None)
            for name in [name for name in state if name.startswith("sequence ")]:
                del state[name]  # within a segment they stand where the way there has left them
        try:
            assert_equal(*states, ("with the difference", "second point"))
        except AssertionError as error:
            self.failures.append(f"{pair}: {error}\n{text[-6000:]}")
            return
        way = "back" if first > second else "forward"
        self.count[f"equal {way}{', with schema changes' if found.schema else ''}"] += 1
        self.count["empty"] += not text


def main() -> int:
    """Run the program; return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archive", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    talk = Silent("diff.py", argparse.Namespace(quiet=True, verbose=False))

    def run(source: Source, cluster: Any) -> Pairs:
        pairs = Pairs(source, cluster, arguments.seed)
        pairs.run(arguments.rounds)
        return pairs

    return try_archive(arguments.archive, talk, run)


if __name__ == "__main__":
    sys.exit(main())
