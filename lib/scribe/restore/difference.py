"""What differs between two points, as SQL that turns the database at the one into the database at the other.

Two throw-away clusters are brought to the first point, and one of them on to the second. In the other, the schema
changes between the two are repeated, without the rows; then the rows of the two are compared. So the statements on the
schema are the source's own, those on rows are net of all that came between, and both together are proved: they have
been run on a copy of the first point, and its schema and rows are those of the second afterwards. If a schema change
needs rows that the first point did not have, rows are brought to where its transaction found them, and all of that
transaction is taken.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from scribe.common.encodings import python_codec
from scribe.common.errors import ScribeError
from scribe.common.lsn import format_lsn
from scribe.dump.source_record import digest_schema
from scribe.restore import rowdiff
from scribe.restore.constraints import Table, sql_name
from scribe.restore.copies import Copy, Source, warn_of_user
from scribe.restore.difference_rows import RefusedError, Rows
from scribe.restore.difference_script import Difference, Place, Script, write
from scribe.restore.preloads import Preloads
from scribe.restore.replay import StoppedError
from scribe.restore.schemawalk import Changes, SchemaChange, Walked, read_changes
from scribe.restore.selection import Relation, find_named
from scribe.restore.throwaway import Cluster, duplicated, served, unused

Point = Mapping[str, Any]  # in the names of scribe-restore's arguments
_SHOWN = 3  # objects in a message


class _BackwardsError(Exception):
    """The second point lies before the first."""


class Comparison:
    """One run. tables, schemas: patterns of what is compared, none for everything."""

    def __init__(self, source: Source, directory: str | None, tables: Sequence[str], schemas: Sequence[str]) -> None:
        self.source, self.directory, self.tables, self.schemas = source, directory, tables, schemas
        self.codec = python_codec(source.identity["encoding"])

    @property
    def partial(self) -> bool:
        """Whether only some tables are compared."""
        return bool(self.tables or self.schemas)

    def run(self, first: Point, second: Point) -> Difference:
        """Compare. Raises ScribeError where a point cannot be reached, or the difference cannot be written."""
        if self.source.identity["encoding"] == "SQL_ASCII":
            hint = "Restore to both points with scribe-restore, and compare dumps of the two."
            raise ScribeError("texts of a database in SQL_ASCII have no encoding in which SQL could be written", hint)
        warn_of_user(self.source.talk)
        try:
            return self._compare(first, second)
        except _BackwardsError:
            return self._compare(second, first, backwards=True)
        except RefusedError as error:
            if self.partial:
                raise
            self.source.talk.note(f"{error.message}: rows come before every schema change")
            return self._compare(first, second, closely=True)

    def _compare(self, earlier: Point, later: Point, *, backwards: bool = False, closely: bool = False) -> Difference:
        preloads = self.source.find_preloads()
        with unused(self.source.major, self.directory) as one:
            with served(one, preloads, last=signal.SIGINT):
                origin = Copy(self.source, one, "origin", lasting=False)
                start = _place(origin, origin.bring_to(**earlier))
                self.source.talk.note(f"restored to {start}")
                if not origin.can_reach(**later):
                    if backwards:
                        raise ScribeError("neither of the two points can be reached from the other", _LIST)
                    raise _BackwardsError
                way = origin.find_way(**later)
            changes = read_changes(self.source.archive, way, start.lsn, self.codec)
            with self._second(one, earlier, preloads) as two, served(one, preloads):
                pair = Pair(self, (origin, two), OnTheWay(start, later, changes, closely))
                return pair.run_backwards() if backwards else pair.run()

    @contextlib.contextmanager
    def _second(self, one: Cluster, point: Point, preloads: Preloads) -> Iterator[Copy]:
        """Another cluster, in which a copy is at the same point. A cluster is in use that has tablespaces."""
        if any((one.data / "pg_tblspc").iterdir()):
            with unused(self.source.major, self.directory) as two, served(two, preloads):
                copy = Copy(self.source, two, "origin", lasting=False)
                copy.bring_to(**point)
                yield copy
            return
        with duplicated(one) as two, served(two, preloads):
            yield Copy(self.source, two, "origin", lasting=False)

    def chosen(self, conn: psycopg.Connection[Any]) -> set[int] | None:
        """The OIDs of what is compared, None for everything. conn: under the database's search_path."""
        if not self.partial:
            return None
        found: set[int] = set()
        for pattern in self.tables or self.schemas:
            with contextlib.suppress(ScribeError):  # it need not name anything at both points
                found |= {relation.oid for relation in self._find(conn, pattern)}
        return found

    def _find(self, conn: psycopg.Connection[Any], pattern: str) -> list[Relation]:
        return find_named(conn, *((self.schemas, [pattern]) if self.tables else ([pattern], [])))[1]

    def check_patterns(self, copies: Sequence[Copy]) -> None:
        """Raise ScribeError for a pattern that names nothing at either point."""
        for pattern in self.tables or self.schemas:
            errors = []
            for copy in copies:
                with copy.connected(own_path=True) as conn:
                    try:
                        self._find(conn, pattern)
                    except ScribeError as error:
                        errors.append(error)
            if len(errors) == len(copies):
                raise errors[-1]


_LIST = 'Run "scribe-restore --list" for the points that can be reached.'


def _place(copy: Copy, report: Mapping[str, Any]) -> Place:
    position = copy.stands_at()
    assert position is not None
    return Place(position, report["reached_time"])


@dataclass(frozen=True)
class OnTheWay:
    """The earlier point, the later one, and the schema changes between them.

    closely: rows are brought to where each transaction that changes the schema found them.
    """

    start: Place
    later: Point
    changes: Changes
    closely: bool = False


class Pair:
    """The copies of one comparison: origin stays at the first point, other goes on to the second."""

    def __init__(self, comparison: Comparison, copies: tuple[Copy, Copy], way: OnTheWay) -> None:
        self.comparison, (self.origin, self.other) = comparison, copies
        self.later, self.changes, self.start, self.closely = way.later, way.changes, way.start, way.closely
        self.reached = way.start
        self._number = 0

    @property
    def _rows(self) -> Rows:
        """What makes rows those of the second copy."""
        return Rows(self.other, self.comparison.chosen, partial=self.comparison.partial)

    def run(self) -> Difference:
        """Compare, the second point being the later one."""
        if not self.changes.schema:
            self._go_on(self.later)
            self.comparison.check_patterns([self.origin, self.other])
            script = Script()
            with self._cloned() as changed:
                self._rows.bring(changed, script)
        elif self.comparison.partial:
            self._go_on(self.later)
            self.comparison.check_patterns([self.origin, self.other])
            attempt = self._attempt(self._candidates())
            if attempt is None:
                raise ScribeError(
                    "what is named has a schema that other objects' changes or rows have made",
                    "Leave out --table and --schema: the difference of everything can be written.",
                )
            script = attempt
        else:
            script = self._follow()
            script = self._attempt(self._candidates()) or script
        return self._result(script, self.start, self.reached)

    def run_backwards(self) -> Difference:
        """Compare, the second point being the earlier one."""
        self._go_on(self.later)
        self.comparison.check_patterns([self.origin, self.other])
        if self.changes.schema and self._differs(self.origin):
            raise ScribeError(
                "the schema has changed between the two points, and its statements lead only forward",
                "Name the earlier point first; or take changes back with scribe-undo, or restore with scribe-restore.",
            )
        self.origin, self.other = self.other, self.origin
        script = Script()
        with self._cloned() as changed:
            self._rows.bring(changed, script)
        return self._result(script, self.reached, self.start)

    def _go_on(self, point: Point) -> None:
        self.reached = _place(self.other, self.other.bring_to(**point))

    @contextlib.contextmanager
    def _cloned(self) -> Iterator[Walked]:
        """A copy of the first point in which schema changes can be repeated."""
        self._number += 1
        name = f"walked_{self._number}"
        with self.origin.cloned(name) as clone:
            changed = Walked(clone.source, clone.cluster, name)
            changed.since = self.start.lsn
            yield changed

    # The schema

    def _follow(self) -> Script:
        """Take all schema changes, and rows where they are needed for one."""
        script = Script()
        with self._cloned() as changed:
            while True:
                failed = self._walk_to_barrier(changed)
                for block in changed.give():
                    script.put(block)
                if failed is None:
                    self._go_on(self.later)
                else:
                    self._go_on({"target_lsn": failed, "target_exclusive": True})
                self._rows.bring(changed, script)
                if failed is None:
                    break
                self.comparison.source.talk.note(
                    f"the transaction at {format_lsn(failed)} needs rows: it is taken whole"
                )
                changed.whole = failed
                changed.bring_to(target_lsn=failed)
                changed.whole = None
            if found := self._differs(changed):
                raise ScribeError(
                    f"the schema at the second point cannot be made by the archive's statements alone: {_some(found)}",
                    "Restore to both points with scribe-restore, and compare dumps of the two.",
                )
        script.schema = self.changes.schema
        return script

    def _walk_to_barrier(self, changed: Walked) -> int | None:
        """Go on until a transaction has to be taken whole, or to the second point; return that transaction's LSN."""
        lsns = sorted({each.begin.commit_lsn for each in self.changes.schema})
        barrier = next(
            (lsn for lsn in lsns if lsn >= changed.since and (self.closely or lsn in self.changes.computed)), None
        )
        changed.takes = lambda place: barrier is None or place[0] < barrier
        failed = self._walk(changed)
        return barrier if failed is None else failed

    def _walk(self, changed: Walked) -> int | None:
        """Go on to the second point; return the LSN of the transaction at which that failed, if it did."""
        try:
            changed.bring_to(**self.later)
        except StoppedError:
            if changed.at is None or changed.at.commit_lsn < changed.since:
                raise
            return changed.at.commit_lsn
        return None

    def _candidates(self) -> Iterator[list[SchemaChange]]:
        """Choices of schema changes that may do, the fewest first."""
        shared = [each for each in self.changes.schema if each.shared]
        if self.comparison.partial:
            yield []
            names = {name for copy in (self.origin, self.other) for name in self._names(copy)}
            yield [each for each in self.changes.schema if not each.shared and _concerns(each, names)]
        elif not self.changes.renames_shared:
            yield shared
            gone = self.changes.came_and_went()
            some = [each for each in self.changes.schema if each.shared or not (set(each.names) & gone)]
            if len(some) < len(self.changes.schema):
                yield some

    def _names(self, copy: Copy) -> set[Table]:
        """The tables that are compared, with all that is below them."""
        with copy.connected() as conn:
            units = rowdiff.read_units(conn)
            wanted = self._rows.wanted(conn, units)
        return wanted | {leaf for name in wanted for _, leaf in units[name].leaves}

    def _attempt(self, candidates: Iterator[list[SchemaChange]]) -> Script | None:
        """Return the script with the first choice of schema changes that makes the schema what it is at the second."""
        for chosen in candidates:
            if any(each.begin.commit_lsn in self.changes.computed for each in chosen):
                continue
            places = {each.place for each in chosen}
            with self._cloned() as changed:
                changed.takes = places.__contains__
                script = Script()
                if (places and self._walk(changed) is not None) or self._differs(changed):
                    continue
                for block in changed.give():
                    script.put(block)
                with contextlib.suppress(RefusedError):
                    self._rows.bring(changed, script)
                    script.schema = chosen
                    return script
        return None

    def _differs(self, changed: Copy) -> list[str]:
        """Return the objects that are not in the second copy what they are in this one."""
        before, after = self._digests(changed), self._digests(self.other)
        return sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))

    def _digests(self, copy: Copy) -> dict[str, str]:
        command = [copy.cluster.find_program("pg_dump"), "--schema-only", "--no-password", "--exclude-schema=scribe"]
        if self.comparison.partial:
            names = self._names(copy)
            if not names:
                return {}
            command += [f"--table={_pattern(name)}" for name in sorted(names)]
        run = subprocess.run([*command, copy.name], env=copy.cluster.env, capture_output=True, check=False)
        if run.returncode != 0:
            said = run.stderr.decode(errors="replace").strip().splitlines()
            raise ScribeError(f"could not dump the schema: {said[0] if said else command[0]}")
        return digest_schema(run.stdout)

    # The whole

    def _result(self, script: Script, first: Place, second: Place) -> Difference:
        found = Difference(first, second, {name: c for name, c in script.rows.items() if c}, script.schema)
        found.refreshed, found.objects = list(dict.fromkeys(script.refreshed)), len(script.objects)
        found.left = [*self.changes.flagged, *script.left]
        found.sequences = [sql_name(name) for name, _, _ in script.sequences]
        if found:
            found.sql = write(script, found, self.comparison.source.identity, partial=self.comparison.partial)
        return found


def _concerns(change: SchemaChange, names: set[Table]) -> bool:
    plain = {name for _, name in names}
    return any((schema or "", name) in names or (schema is None and name in plain) for schema, name in change.names)


def _pattern(name: Table) -> str:
    """A name for pg_dump's --table."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in name)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
