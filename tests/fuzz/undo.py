#!/usr/bin/env python3
"""Random transactions of an archive are taken back, and the outcome is compared with histories that lack them.

usage: undo.py --archive DIR [--rounds N] [--seed N]

Right after a transaction, its undo must give the very dump of before. At the archive's end, it must give the dump of a
history that was replayed without it, or name transactions that stand in the way. What scribe-undo refuses is counted.
"""

from __future__ import annotations

import argparse
import io
import random
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "py"))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "lib"))

import psycopg  # noqa: E402
from compare import DUMP_OPTIONS, State, assert_equal, dump_state  # noqa: E402

from scribe.archive.layout import Archive  # noqa: E402
from scribe.archive.segments import Event, Reader, Small, Start, open_plain  # noqa: E402
from scribe.common.cli import Talk  # noqa: E402
from scribe.common.errors import ScribeError  # noqa: E402
from scribe.programs import restore  # noqa: E402
from scribe.restore.copies import Copy, Source, some_cluster  # noqa: E402
from scribe.restore.restoration import Restore  # noqa: E402
from scribe.restore.undo import RecordedCopy, Undo, Wanted, find_transactions, write  # noqa: E402


class Without(Copy):
    """A copy of a history from which one transaction is left out."""

    lsn = 0

    def _restore(self, arguments: Any) -> Restore:
        made = super()._restore(arguments)
        made.watch = self.left_out  # type: ignore[method-assign]
        return made

    def left_out(self, events: Iterable[Event]) -> Iterator[Event]:
        """Pass on what is not of the transaction."""
        inside = False
        for event in events:
            if isinstance(event, Small | Start):
                inside = event.begin.commit_lsn == self.lsn
            if not inside:
                yield event


def dump(copy: Copy) -> State:
    """Return what is compared; what records the changes goes first."""
    env = copy.cluster.env | {"PGDATABASE": copy.name, "PGCLIENTENCODING": "UTF8"}
    where = {"host": env["PGHOST"], "port": env["PGPORT"], "user": env["PGUSER"], "dbname": copy.name}
    with psycopg.connect(autocommit=True, client_encoding="utf8", options=DUMP_OPTIONS, **where) as conn:  # type: ignore[arg-type]
        conn.execute("SET client_min_messages = error; DROP SCHEMA IF EXISTS scribe_undo CASCADE")
        return dump_state(conn, copy.cluster.find_program("pg_dump"), env)


def taken_back(copy: Copy, text: str) -> State:
    """Run an undo's SQL with psql on a clone, and return what is there then."""
    with copy.cloned("trial") as clone:
        command = [copy.cluster.find_program("psql"), "-XqAt", "-d", clone.name]
        run = subprocess.run(command, env=copy.cluster.env, input=text, capture_output=True, text=True, check=False)
        if run.returncode:
            raise AssertionError(f"psql could not run the undo: {run.stderr[-2000:]}\n{text[-6000:]}")
        return dump(clone)


def text_of(undo: Undo, lsns: set[int], recorder: Any) -> tuple[str, list[Any]]:
    """Return the SQL that takes transactions back, and what stands in the way."""
    plan = undo._try(recorder, lsns)
    out = io.StringIO()
    write(plan, out.write)
    return out.getvalue(), plan.conflicts


class Rounds:
    """The rounds on one archive."""

    def __init__(self, source: Source, cluster: Any, seed: int) -> None:
        self.source, self.cluster, self.random = source, cluster, random.Random(seed)
        self.count: Counter[str] = Counter()
        self.failures: list[str] = []

    def transactions(self) -> list[int]:
        """The xids of a chain, in order."""
        xids = []
        for segment in self.source.chains[0].segments:
            with open_plain(segment.data) as stream:
                reader = Reader(stream, segment.data.name)
                reader.read_header()
                xids += [event.begin.xid for event in reader.events() if isinstance(event, Small | Start)]
        return xids

    def run(self, rounds: int) -> None:
        """Take each of some transactions back, right after it and at the end."""
        able = [
            each
            for each in find_transactions(self.source.archive, self.source.chains, self.transactions())
            if all(tag.startswith("DROP ") for tag in each.ddl)
        ]
        found = sorted(self.random.sample(able, min(rounds, len(able))), key=lambda each: each.begin.commit_lsn)
        chosen = [each.begin.xid for each in found]
        copy = RecordedCopy(self.source, self.cluster, "history")
        recorder = None
        undo = Undo(self.source, copy, Wanted(tuple(chosen)), "stop")
        texts = {}
        for each in found:
            lsn, xid = each.begin.commit_lsn, each.begin.xid
            copy.bring_to(target_lsn=lsn, target_exclusive=True)
            recorder = recorder or copy.install()
            with copy.cloned("before") as clone:
                before = dump(clone)
            try:
                if each.ddl:
                    undo.go_past(each)
                else:
                    copy.bring_to(target_lsn=lsn)
            except ScribeError as error:
                if "has made or changed" not in error.message:
                    raise
                self.count["refused"] += 1
                continue
            text, conflicts = text_of(undo, {lsn}, recorder)
            texts[each] = text
            if conflicts:
                self.failures.append(f"transaction {xid}: conflicts right after it: {conflicts}")
                continue
            self._compare(xid, "right after", taken_back(copy, text), before, text)
        copy.bring_to()
        for each in texts:
            text, conflicts = text_of(undo, {each.begin.commit_lsn}, recorder)
            if conflicts:
                self.count["conflicts"] += 1
            else:
                self._without(each.begin.commit_lsn, each.begin.xid, taken_back(copy, text), text)

    def _without(self, lsn: int, xid: int, found: State, text: str) -> None:
        other = Without(self.source, self.cluster, f"without_{lsn}")
        other.lsn = lsn
        try:
            other.bring_to()
        except ScribeError as error:
            self.failures.append(f"transaction {xid}: undone, but history does not go on without it: {error}\n{text}")
            return
        wanted = dump(other)
        for state in (found, wanted):
            for name in self.sent_again():
                state.pop(f"rows of {name}", None)
        self._compare(xid, "at the end", found, wanted, text)

    def sent_again(self) -> set[str]:
        """The tables whose rows a rewrite sends again: with them, a history without a transaction gets its rows."""
        names: set[str] = set()
        for segment in self.source.chains[0].segments:
            with open_plain(segment.data) as stream:
                found = re.findall(rb"(?m)^-- pg_scribe: rows of (.+) as the source made them$", stream.read())
            names |= {name.decode() for name in found}
        return names

    def _compare(self, xid: int, where: str, found: State, wanted: State, text: str) -> None:
        for state in (found, wanted):
            for key in [key for key in state if key.startswith(("sequence ", "large object "))]:
                del state[key]  # they change with no transaction
        try:
            assert_equal(found, wanted, ("undone", "wanted"))
            self.count[f"equal {where}"] += 1
        except AssertionError as error:
            self.failures.append(f"transaction {xid}, {where}: {error}\n{text}")


def main() -> int:
    """Run the program; return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archive", required=True)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    archive = Archive(Path(arguments.archive))
    talk = Talk("undo.py", argparse.Namespace(quiet=True, verbose=False))
    defaults = argparse.Namespace(**vars(restore.make_arguments().parse_args([])) | {"quiet": True})
    source = Source(archive, archive.identity(), defaults, talk)
    with some_cluster(talk, source.major, source.find_preloads()) as cluster:
        rounds = Rounds(source, cluster, arguments.seed)
        rounds.run(arguments.rounds)
    print(f"{arguments.archive}: {dict(rounds.count)}, failures: {len(rounds.failures)}")
    for failure in rounds.failures:
        print(failure)
    return 1 if rounds.failures else 0


if __name__ == "__main__":
    sys.exit(main())
