#!/usr/bin/env python3
"""Random transactions of an archive are taken back, and the outcome is compared with histories that lack them.

usage: undo.py --archive DIR [--rounds N] [--older N] [--seed N]

Right after a transaction, its undo must give what was there before: the very dump where it dropped something, else the
rows of every table. So many others are taken back at the archive's end: that must give the dump of a history that was
replayed without them, or name transactions that stand in the way; with these (and those that stand in their way), it
has to be the dump of a history that lacks them all. What scribe-undo refuses is counted.
"""

from __future__ import annotations

import argparse
import io
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "py"))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "lib"))

import psycopg  # noqa: E402
from archived import Rounds, try_archive  # noqa: E402
from compare import DUMP_OPTIONS, State, assert_equal, dump_state  # noqa: E402

from scribe.archive.segments import Event, Small, Start, open_plain  # noqa: E402
from scribe.common.cli import Talk  # noqa: E402
from scribe.common.errors import ScribeError  # noqa: E402
from scribe.restore import target as server  # noqa: E402
from scribe.restore.copies import Copy, Source  # noqa: E402
from scribe.restore.restoration import Restore  # noqa: E402
from scribe.restore.undo import RecordedCopy, Undo, settings, write  # noqa: E402
from scribe.restore.undo_scope import Found, Wanted, find_transactions  # noqa: E402

# One query of the rows of every table. What is in the way of a digest is none of an undo's doing.
_TABLES = """
SELECT pg_catalog.string_agg(pg_catalog.format('SELECT %L, pg_catalog.md5(coalesce(pg_catalog.string_agg('
  't.line, chr(10) ORDER BY t.line COLLATE "C"), %L)) FROM (SELECT pg_catalog.format(%L, t.*) AS line'
  ' FROM ONLY %I.%I AS t) AS t', c.oid::pg_catalog.regclass, '', '%s', n.nspname, c.relname),
  ' UNION ALL ' ORDER BY c.oid)
FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.oid >= 16384 AND n.nspname NOT IN ('scribe', 'scribe_undo')
"""


class Without(Copy):
    """A copy of a history from which some transactions are left out."""

    lsns: frozenset[int] = frozenset()

    def _restore(self, arguments: Any) -> Restore:
        made = super()._restore(arguments)
        made.watch = self.left_out  # type: ignore[method-assign]
        return made

    def left_out(self, events: Iterable[Event]) -> Iterator[Event]:
        """Pass on what is not of the transactions."""
        inside = False
        for event in events:
            if isinstance(event, Small | Start):
                inside = event.begin.commit_lsn in self.lsns
            if not inside:
                yield event


def dump(copy: Copy) -> State:
    """Return what is compared; what records the changes goes first."""
    env = copy.cluster.env | {"PGDATABASE": copy.name, "PGCLIENTENCODING": "UTF8"}
    where = {"host": env["PGHOST"], "port": env["PGPORT"], "user": env["PGUSER"], "dbname": copy.name}
    with psycopg.connect(autocommit=True, client_encoding="utf8", options=DUMP_OPTIONS, **where) as conn:  # type: ignore[arg-type]
        conn.execute("SET client_min_messages = error; DROP SCHEMA IF EXISTS scribe_undo CASCADE")
        return dump_state(conn, copy.cluster.find_program("pg_dump"), env)


def psql(copy: Copy, text: str) -> str:
    """Run a script with psql, and return what it printed."""
    command = [copy.cluster.find_program("psql"), "-XqAt", "-v", "ON_ERROR_STOP=1", "-d", copy.name]
    run = subprocess.run(command, env=copy.cluster.env, input=text, capture_output=True, text=True, check=False)
    if run.returncode:
        raise AssertionError(f"psql could not run the undo: {run.stderr[-2000:]}\n{text[-6000:]}")
    return "\n".join(filter(None, run.stdout.splitlines()))  # an undo's own results are empty


def rows_of(copy: Copy) -> str:
    """Return the query of all rows as it is at this point."""
    with copy.connected() as conn:
        row = conn.execute(_TABLES.encode()).fetchone()
    return f"{row[0] if row and row[0] else 'SELECT 1'};\n"


def taken_back(copy: Copy, text: str) -> State:
    """Run an undo's SQL with psql on a clone, and return what is there then."""
    with copy.cloned("trial") as clone:
        psql(clone, text)
        return dump(clone)


def text_of(undo: Undo, lsns: set[int], recorder: Any) -> tuple[str, list[Any]]:
    """Return the SQL that takes transactions back, and what stands in the way."""
    plan = undo._try(recorder, lsns)
    out = io.StringIO()
    write(plan, out.write)
    return out.getvalue(), plan.conflicts


class Undos(Rounds):
    """Transactions that are taken back, on one archive."""

    def run(self, rounds: int, older: int) -> None:
        """Take each of some transactions back, right after it; and some at the end."""
        able = [
            each
            for each in find_transactions(self.source.archive, self.source.chains, [each.xid for each in self.begins()])
            if all(tag.startswith("DROP ") for tag in each.ddl)
        ]
        found = sorted(self.random.sample(able, min(rounds, len(able))), key=lambda each: each.begin.commit_lsn)
        copy = RecordedCopy(self.source, self.cluster, "history", lasting=False)
        recorder = None
        undo = Undo(self.source, copy, Wanted(tuple(each.begin.xid for each in found)), "stop")
        taken = []
        for each in found:
            copy.bring_to(target_lsn=each.begin.commit_lsn, target_exclusive=True)
            recorder = recorder or copy.install()
            if self._right_after(undo, copy, recorder, each):
                taken.append(each)
        copy.bring_to()
        for each in self.random.sample(taken, min(older, len(taken))):
            self._at_the_end(undo, copy, recorder, each)

    def _right_after(self, undo: Undo, copy: RecordedCopy, recorder: Any, each: Found) -> bool:
        """Go past a transaction and take it back; return whether that is something scribe-undo does."""
        lsn, xid = each.begin.commit_lsn, each.begin.xid
        if each.ddl:
            with copy.cloned("before") as clone:
                before = dump(clone)
        else:
            query = rows_of(copy)
            digests = psql(copy, f"BEGIN;\n{settings()}{query}ROLLBACK;\n")  # as texts are in an undo
        try:
            if each.ddl:
                undo.go_past(each)
            else:
                copy.bring_to(target_lsn=lsn)
        except ScribeError as error:
            if "has made or changed" not in error.message:
                raise
            self.count["refused"] += 1
            return False
        text, conflicts = text_of(undo, {lsn}, recorder)
        if conflicts:
            self.failures.append(f"transaction {xid}: conflicts right after it: {conflicts}")
        elif each.ddl:
            self._compare(xid, "right after a DROP", taken_back(copy, text), before, text)
        else:
            body, commit, _ = text.rpartition("COMMIT;\n")
            assert commit
            try:
                now = psql(copy, f"{body}{query}ROLLBACK;\n")
                if now == digests:
                    self.count["equal right after"] += 1
                else:
                    other = sorted(line.partition("|")[0] for line in set(now.splitlines()) ^ set(digests.splitlines()))
                    self.failures.append(f"transaction {xid}: other rows right after it in {other}\n{text[-6000:]}")
            except AssertionError as error:
                self.failures.append(f"transaction {xid}: {error}")
        return not conflicts

    def _at_the_end(self, undo: Undo, copy: RecordedCopy, recorder: Any, each: Found) -> None:
        """Take a transaction back with all that stand in its way; then the history must be as if none had been."""
        chosen, more = {each.begin.commit_lsn}, {0}
        while more:
            text, conflicts = text_of(undo, chosen, recorder)
            more = {begin.commit_lsn for conflict in conflicts for begin in conflict.later} - chosen
            if any(lsn < min(chosen) for lsn in more):
                self.failures.append(f"transaction {each.begin.xid}: an earlier one stands in its way: {conflicts}")
                return
            changed = {recorder.begins[stamp].commit_lsn for stamp in recorder.ddl}
            if more & changed:
                self.count["conflicts with schema changes"] += 1
                return
            chosen |= more
        if conflicts:
            self.count["conflicts that none explains"] += 1
            return
        self.count["taken back with others"] += len(chosen) > 1
        self._without(chosen, each.begin.xid, (copy, recorder), text)

    def _without(self, lsns: set[int], xid: int, recorded: tuple[RecordedCopy, Any], text: str) -> None:
        found = taken_back(recorded[0], text)
        other = Without(self.source, self.cluster, f"without_{min(lsns)}", lasting=False)
        other.lsns = frozenset(lsns)
        try:
            other.bring_to()
        except ScribeError as error:
            if self._repeats(*recorded, error.message):
                self.count["a later one only repeats what was there"] += 1
            else:
                what = f"transaction {xid}: undone, but history does not go on without it: {error.message[:500]}"
                self.failures.append(f"{what}\n{text[-6000:]}")
            return
        wanted = dump(other)
        with self.cluster.entered(), server.connect_server() as conn:
            conn.execute(f"DROP DATABASE {other.name}".encode())
        for state in (found, wanted):
            for name in self.sent_again():
                state.pop(f"rows of {name}", None)
        for name in self._repeated(*recorded, lsns):
            if found.get(name) != wanted.get(name):  # without what was changed, it brings that along
                self.count["a later one only repeats what was there"] += 1
                found.pop(name, None)
                wanted.pop(name, None)
        self._compare(xid, "at the end", found, wanted, text)

    def _repeated(self, copy: RecordedCopy, recorder: Any, lsns: set[int]) -> set[str]:
        """The rows, as a dump calls them, of tables that a later transaction has updated without changing them."""
        stamps = [n for n, b in enumerate(recorder.begins) if b.commit_lsn > min(lsns) and b.commit_lsn not in lsns]
        query = (
            "SELECT DISTINCT relid::regclass::text FROM scribe_undo.log"
            " WHERE op = 'U' AND old = new AND stamp = ANY (%s)"
        )
        with copy.connected() as conn:
            return {f"rows of {row[0]}" for row in conn.execute(query, [stamps]).fetchall()}

    def _repeats(self, copy: RecordedCopy, recorder: Any, message: str) -> bool:
        """Whether the transaction at which a replay stopped has updated rows without changing them."""
        at = re.search(r"at transaction (\d+) ", message)
        stamps = [n for n, begin in enumerate(recorder.begins) if at is not None and begin.xid == int(at[1])]
        with copy.connected() as conn:
            query = "SELECT count(*) FROM scribe_undo.log WHERE stamp = ANY (%s) AND op = 'U' AND old = new"
            row = conn.execute(query, [stamps]).fetchone()
        return row is not None and row[0] > 0

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
    parser.add_argument("--older", type=int, default=12, help="those that are taken back at the end; default: 12")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    talk = Talk("undo.py", argparse.Namespace(quiet=True, verbose=False))

    def run(source: Source, cluster: Any) -> Undos:
        undos = Undos(source, cluster, arguments.seed)
        undos.run(arguments.rounds, arguments.older)
        return undos

    return try_archive(arguments.archive, talk, run)


if __name__ == "__main__":
    sys.exit(main())
