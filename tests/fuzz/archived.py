"""What the programs have in common that try something again and again on a finished archive."""

from __future__ import annotations

import argparse
import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from scribe.archive.layout import Archive
from scribe.archive.segments import Reader, Small, Start, open_plain
from scribe.common.cli import Talk
from scribe.common.dialect import Begin
from scribe.programs import restore
from scribe.restore.copies import Source, some_cluster


class Rounds:
    """The rounds on one archive, in one throw-away cluster."""

    def __init__(self, source: Source, cluster: Any, seed: int) -> None:
        self.source, self.cluster, self.random = source, cluster, random.Random(seed)
        self.count: Counter[str] = Counter()
        self.failures: list[str] = []

    def begins(self) -> Iterator[Begin]:
        """Yield what the first line of each transaction of a chain says, in order."""
        for segment in self.source.chains[0].segments:
            with open_plain(segment.data) as stream:
                reader = Reader(stream, segment.data.name)
                reader.read_header()
                yield from (event.begin for event in reader.events() if isinstance(event, Small | Start))


def try_archive(path: str, talk: Talk, rounds: Callable[[Source, Any], Rounds]) -> int:
    """Have the rounds made and run on an archive, and report them; return 1 if one failed."""
    archive = Archive(Path(path))
    defaults = argparse.Namespace(**vars(restore.make_arguments().parse_args([])) | {"quiet": True})
    source = Source(archive, archive.identity(), defaults, talk)
    with some_cluster(talk, source.major, source.find_preloads()) as cluster:
        made = rounds(source, cluster)
    print(f"{path}: {dict(made.count)}, failures: {len(made.failures)}")
    for failure in made.failures:
        print(failure)
    return 1 if made.failures else 0
