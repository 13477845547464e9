"""Archives written by hand whose files are days apart, for tests of retention and verification."""

from __future__ import annotations

import json
import os
import random
import stat
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from handmade import Handmade

from scribe.archive.chains import Chain, Target, find_chains, find_way
from scribe.archive.layout import Archive
from scribe.common.errors import ScribeError

EPOCH = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)  # Handmade's
DAY = 86400  # seconds
WHOLE = "CREATE TABLE public.t (id integer PRIMARY KEY, v text);\n\n--\n-- PostgreSQL database dump complete\n--\n"


class Aged(Handmade):
    """An archive whose files are written at days after its beginning; modes are as the programs set them."""

    def __init__(self, path: Path, **options: Any) -> None:
        super().__init__(path, **options)
        self.archive = Archive(path)
        (path / "spool/cuts").mkdir(exist_ok=True)
        self.tidy()

    def tidy(self) -> None:
        """Give every file and directory the mode the programs give it."""
        for directory, names, found in os.walk(self.path):
            for name in names:
                os.chmod(os.path.join(directory, name), stat.S_IRWXU)
            for name in found:
                os.chmod(os.path.join(directory, name), stat.S_IRUSR | stat.S_IWUSR)
        self.path.chmod(stat.S_IRWXU)

    def at(self, day: float) -> Aged:
        """Set the clock; Handmade counts a second for each transaction from 700 on."""
        self.xid = max(self.xid + 1, 700 + round(day * DAY))
        return self

    def now(self) -> datetime:
        """Return what the clock shows."""
        return EPOCH + timedelta(seconds=self.xid - 700)

    def add_base(self, day: float, sql: str = WHOLE) -> str:
        """Take a base; returns its stamp."""
        stamp = self.at(day).base(sql, globals_sql="CREATE ROLE postgres SUPERUSER;\n")
        self.tidy()
        return stamp

    def add_segment(self, day: float, rows: int = 1) -> Path:
        """Write a segment; returns its manifest's path."""
        path = self.at(day).segment([insert(self.xid + i) for i in range(rows)])
        self.tidy()
        return path

    def start_chain(self, day: float) -> str:
        """Lose the stream: a base follows a gap in the WAL, and a segment that says so."""
        self.lsn += 0x5000
        stamp = self.add_base(day)
        path = self.at(day).segment([insert(self.xid)], chain_start=True)
        change(path, previous_sha256=None)
        self.tidy()
        return stamp


def insert(number: int) -> str:
    """Return the body of a transaction that inserts one row."""
    return f"INSERT INTO public.t (id, v) VALUES ({number}, 'v{number}');\n-- rows 1 inserted\n"


def change(path: Path, **values: object) -> None:
    """Change what a manifest says."""
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def random_archive(path: Path, seed: int) -> Aged:
    """Return an archive of up to 500 days with bases, segments and breaks at random times."""
    dice = random.Random(seed)
    made = Aged(path)
    day, length = 0.0, dice.choice([3, 20, 60, 500])
    if dice.random() < 0.7:
        made.add_base(0)
    while day < length and made.xid < 700 + 600 * DAY:
        day += dice.expovariate(30 / length)
        event = dice.random()
        if event < 0.3:
            made.add_base(day)
        elif event < 0.34:
            made.start_chain(day)
        else:
            made.add_segment(day, dice.choice([0, 1, 3]))
    return made


def points(made: Aged) -> list[Target]:
    """Return the points that can be reached, the end among them: ends of files, and moments between them."""
    chains = find_chains(made.archive, made.archive.identity())
    lsns = {c.first for c in chains} | {s.to_lsn for c in chains for s in c.segments}
    times = {c.first_time for c in chains} | {s.manifest["closed"] for c in chains for s in c.segments}
    candidates = [Target(), *(Target(lsn=lsn) for lsn in sorted(lsns))]
    candidates += [Target(time=time.replace("T", " ").replace("Z", ".000000+00")) for time in sorted(times)]
    return [target for target in candidates if _leads(chains, target)]


def find_lost(made: Aged, targets: Iterable[Target]) -> list[Target]:
    """Return those to which no restore could get: a base and every segment on the way must be there."""
    chains = find_chains(made.archive, made.archive.identity())
    return [target for target in targets if not _leads(chains, target)]


def _leads(chains: list[Chain], target: Target) -> bool:
    try:
        way = find_way(chains, target)
    except ScribeError:
        return False
    return all(segment.data.exists() for segment in way.segments) and way.base_file.exists()
