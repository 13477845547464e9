"""Taking transactions back: what they did is recorded in a copy, reversed, and tried on the copy as it is at the end.

The copy is restored to just before the first of them, and brought to the archive's end with triggers that note every
row. The statements that take the chosen changes back, newest first, are then run there: one that does not find its row
as the change left it has met a conflict, and the row's later changes name the transactions behind it.
"""

from __future__ import annotations

import itertools
import tempfile
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psycopg

from scribe.common.dialect import HEADER_SETTINGS, Begin, quote_name
from scribe.common.errors import ScribeError, UsageError
from scribe.common.files import scratch_directory
from scribe.common.lsn import format_lsn
from scribe.restore import target as server
from scribe.restore.acting import Acting, read_acting
from scribe.restore.concerned import Clusters, say_whole
from scribe.restore.constraints import Constraint, Table, find_wrong, read_constraints, sql_name
from scribe.restore.copies import Copy, Source
from scribe.restore.dropped import Given, Piece, give_back, take_shot
from scribe.restore.narrow import WholeNeededError
from scribe.restore.recording import SCHEMA, Recorder, Recording, Stamped, read_row
from scribe.restore.restoration import Restore
from scribe.restore.rowtext import (
    DELETE,
    INSERT,
    KINDS,
    TRUNCATE,
    UPDATE,
    Change,
    Relation,
    Values,
    advance_sequences,
    describe_row,
    read_relations,
    undo_deletes,
    undo_one,
    write_row,
)
from scribe.restore.selection import find_named
from scribe.restore.undo_scope import Found, Wanted, find_rows, find_transactions, go_before, refuse_coarse

_TOGETHER = 500  # rows given back by one statement
_CHECK = """\
CREATE FUNCTION pg_temp.scribe_undone(number pg_catalog.int8, what pg_catalog.text) RETURNS pg_catalog.void
LANGUAGE plpgsql AS $scribe$
BEGIN
  IF number <> 1 THEN
    RAISE EXCEPTION '%: the row is not what the transaction made it', what
      USING HINT = 'A later transaction has changed it. Nothing was taken back.';
  END IF;
END
$scribe$;
"""
_LOG = f"SELECT seq, stamp, relid::bigint, op::text, old, new FROM {SCHEMA}.log"


@dataclass(frozen=True)
class Step:
    """One statement, and the changes that it takes back."""

    piece: Piece
    changes: tuple[Change, ...]


@dataclass
class Conflict:
    """A row that is not what a change made it. later: the transactions that have touched it since."""

    what: str
    later: list[Begin]
    change: Change | None = None


@dataclass
class Plan:
    """What takes the changes back; conflicts: what stands in the way; skipped: rows that were left out for it."""

    begins: list[Begin]
    steps: list[Step] = field(default_factory=list)
    given: list[Given] = field(default_factory=list)
    constraints: list[Constraint] = field(default_factory=list)
    acting: list[Acting] = field(default_factory=list)
    sequences: list[Piece] = field(default_factory=list)
    conflicts: list[Conflict] = field(default_factory=list)
    skipped: int = 0
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    left: list[Begin] = field(default_factory=list)  # that changed the schema, which is not taken back

    @property
    def empty(self) -> bool:
        """Whether there is nothing to take back."""
        return not (self.steps or self.given)

    @property
    def tables(self) -> list[Table]:
        """The tables that have to be there."""
        pieces = [step.piece for step in self.steps] + self.sequences
        found = {table for piece in pieces for table in piece.tables}
        made = {table for given in self.given for piece in given.rows for table in piece.tables}
        made |= {relation.table for given in self.given for relation in given.relations.values()}
        return sorted(found.union(*(constraint.tables for constraint in self.constraints)) - made)


class DroppedLaterError(Exception):
    """Transactions that have dropped something are to be taken back, too. xids: their numbers."""

    def __init__(self, xids: Sequence[int]) -> None:
        super().__init__()
        self.xids = xids


class RecordedCopy(Copy):
    """A copy that records what is done to it, once install() has been called."""

    recorder: Recorder | None = None

    def install(self) -> Recorder:
        """Begin to record."""
        self.recorder = Recorder()
        with self.connected() as conn:
            self.recorder.install(conn)
        return self.recorder

    def _restore(self, arguments: Any) -> Restore:
        if self.recorder is None:
            return super()._restore(arguments)
        arguments.serial = True  # a transaction after the other, as they stand
        restore = Recording(self.source.archive, self.source.identity, arguments, self.source.talk, self.recorder)
        restore.narrow(Stamped(self.rows) if self.rows is not None else None)
        return restore


def take_back(source: Source, clusters: Clusters, wanted: Wanted, conflicts: str) -> Plan:
    """Return what takes back what is wanted, and what stands in the way. Raises ScribeError.

    The rows that it needs are restored; all of them if others may decide what comes of it.
    """
    if source.identity["encoding"] == "SQL_ASCII":
        hint = "Restore to just before with scribe-restore --target-xid and --target-exclusive."
        raise ScribeError("texts of a database in SQL_ASCII have no encoding in which SQL could be written", hint)
    refuse_coarse(source.chains)
    while True:
        try:
            return _take_back(source, clusters, wanted, conflicts)
        except DroppedLaterError as error:  # what they dropped can only be kept on the way past them
            source.talk.note(f"begun again, to give back what {error.xids[0]} has dropped, too")
            wanted = replace(wanted, xids=(*wanted.xids, *error.xids))


def _take_back(source: Source, clusters: Clusters, wanted: Wanted, conflicts: str) -> Plan:
    transactions = find_transactions(source.archive, source.chains, wanted.xids) if wanted.xids else []
    rows = find_rows(source, clusters, wanted, transactions)
    if rows is not None:
        try:
            with clusters.made() as cluster:
                copy = RecordedCopy(source, cluster)
                copy.rows = rows
                return Undo(source, copy, wanted, conflicts).run(transactions)
        except WholeNeededError as error:
            say_whole(source.talk, error)
    with clusters.made() as cluster:
        return Undo(source, RecordedCopy(source, cluster), wanted, conflicts).run(transactions)


class Undo:
    """One run: what is wanted, the copy in which it is recorded and tried, and the source it is of."""

    def __init__(self, source: Source, copy: RecordedCopy, wanted: Wanted, conflicts: str) -> None:
        self.source, self.copy, self.wanted, self.mode = source, copy, wanted, conflicts
        self.given: dict[int, Given] = {}  # by LSN
        self.relids: set[int] | None = None  # of the tables that are wanted
        self._named: set[str] = set()  # patterns that name some

    def run(self, transactions: Sequence[Found]) -> Plan:
        """Record, reverse and try. transactions: those that are named, in order.

        Raises ScribeError where the archive does not tell, WholeNeededError where rows that are not there might.
        """
        go_before(self.copy, self.wanted, transactions)
        if transactions:
            self.source.talk.note(f"restored to just before {format_lsn(transactions[0].begin.commit_lsn)}")
        recorder = self.copy.install()
        self._choose_tables(first=True)
        for found in transactions:
            if found.ddl and self.wanted.ddl and not self.wanted.keys:
                self.go_past(found)
        self.copy.bring_to()
        self._choose_tables(first=False)
        chosen = {found.begin.commit_lsn for found in transactions} or self._in_range(recorder)
        while True:
            plan = self._try(recorder, chosen)
            if self.wanted.since and self.wanted.ddl:
                changed = dict.fromkeys(recorder.begins[stamp] for stamp in recorder.ddl)
                plan.left = [begin for begin in changed if begin.commit_lsn in chosen]
            later = {begin.commit_lsn for conflict in plan.conflicts for begin in conflict.later}
            if self.mode != "include" or not later - chosen:
                return plan
            self._refuse_schema_changes(recorder, later - chosen)
            if self.copy.rows is not None and self.relids is None:
                raise WholeNeededError("later transactions are taken back, too")
            chosen |= later

    # What is recorded

    def go_past(self, found: Found) -> None:
        """Go past a transaction that changed the schema, and keep what gives back what it dropped."""
        lsn = found.begin.commit_lsn
        self.copy.bring_to(target_lsn=lsn, target_exclusive=True)
        with (
            tempfile.TemporaryDirectory(prefix="scribe-undo-", dir=scratch_directory()) as place,
            self.copy.cloned(f"before_{lsn}") as clone,
        ):
            before = take_shot(clone, Path(place) / "before")
            self.copy.bring_to(target_lsn=lsn)
            after = take_shot(self.copy, Path(place) / "after")
            given = give_back(clone, before, after, f"transaction {found.begin.xid}")
        if given.names and (self.relids is None or self.relids & given.relids):
            self.given[lsn] = given

    def _choose_tables(self, *, first: bool) -> None:
        """Resolve the patterns, at the beginning and at the end: a table may be there at one of them only."""
        if not self.wanted.tables:
            return
        self.relids = self.relids or set()
        with self.copy.connected(own_path=True) as conn:
            for pattern in self.wanted.tables:
                try:
                    self.relids |= {relation.oid for relation in find_named(conn, [], [pattern])[1]}
                    self._named.add(pattern)
                except ScribeError:
                    if not first and pattern not in self._named:
                        raise

    def _in_range(self, recorder: Recorder) -> set[int]:
        with self.copy.cluster.entered(), server.connect_server() as conn:
            since = server.read_time(conn, str(self.wanted.since))
            until = server.read_time(conn, self.wanted.until) if self.wanted.until is not None else None
        return {b.commit_lsn for b in recorder.begins if b.time >= since and (until is None or b.time <= until)}

    def _refuse_schema_changes(self, recorder: Recorder, lsns: set[int]) -> None:
        """Raise for transactions that changed the schema: DroppedLaterError if what they did can be taken back."""
        changed: dict[Begin, list[str]] = {}
        for stamp, tags in recorder.ddl.items():
            if (begin := recorder.begins[stamp]).commit_lsn in lsns:
                changed.setdefault(begin, []).extend(tags)
        able = bool(self.wanted.xids) and self.wanted.ddl and not self.wanted.keys
        for begin, tags in changed.items():
            if not (able and all(tag.startswith("DROP ") for tag in tags)):
                raise ScribeError(
                    f"the later transaction {begin.xid} has changed the schema ({tags[0]}) and cannot be included",
                    "Leave out the rows that it has changed with --conflicts skip.",
                )
        if changed:
            raise DroppedLaterError([begin.xid for begin in changed])

    # What takes it back

    def _try(self, recorder: Recorder, chosen: set[int]) -> Plan:
        with self.copy.connected() as conn:
            changes = list(self._changes(conn, recorder, chosen))
            relations = read_relations(conn, sorted({change.relid for change in changes}))
            begins = [begin for begin in dict.fromkeys(recorder.begins) if begin.commit_lsn in chosen]
            given = [self.given[b.commit_lsn] for b in reversed(begins) if b.commit_lsn in self.given]
            for each in given:
                relations |= each.relations
            trial = Trial(conn, Plan(begins, given=given), recorder, relations, self.mode)
            trial.partial = self.copy.rows is not None
            return trial.run(changes)

    def _changes(self, conn: psycopg.Connection[Any], recorder: Recorder, chosen: set[int]) -> Iterator[Change]:
        """The chosen changes, newest first."""
        stamps = [stamp for stamp, begin in enumerate(recorder.begins) if begin.commit_lsn in chosen]
        altering = {stamp: tag for stamp in stamps for tag in recorder.ddl.get(stamp, ()) if tag.startswith("ALTER ")}
        shapes = Shapes(conn)
        gone = {
            (lsn, relid) for lsn, given in self.given.items() for relid in given.relids
        }  # given back as it was before
        names: dict[int, dict[str, int]] = {}
        query = f"{_LOG} WHERE stamp = ANY (%s) ORDER BY seq DESC"
        for row in conn.execute(query.encode(), [stamps]):
            stamp, relid, op = row[1:4]
            if (recorder.begins[stamp].commit_lsn, relid) in gone or (
                self.relids is not None and relid not in self.relids
            ):
                continue
            if self.wanted.kinds and KINDS[op] not in self.wanted.kinds:
                continue
            change = shapes.change(row)
            if self.wanted.keys and not self._has_key(names, change):
                continue
            if stamp_tag := altering.get(change.stamp):
                raise ScribeError(
                    f"transaction {recorder.begins[change.stamp].xid} has changed rows and run {stamp_tag},"
                    " which may have changed them, too",
                    "Leave it out with --until, --table or --key, or see how it was before with scribe-peek.",
                )
            yield change
        columns = {name for known in names.values() for name in known}
        for name, _ in self.wanted.keys:
            if names and name not in columns:
                hint = "Name a column of the table: --key 'id=42'."
                raise UsageError(f'no table that was changed has a column "{name}"', hint)

    def _has_key(self, names: dict[int, dict[str, int]], change: Change) -> bool:
        if change.relid not in names:
            query = "SELECT attname, attnum::int FROM pg_catalog.pg_attribute WHERE attrelid = %s AND attnum > 0"
            with self.copy.connected() as other:
                names[change.relid] = dict(other.execute(query, [change.relid]).fetchall())
        known = names[change.relid]
        if not all(name in known for name, _ in self.wanted.keys):
            return False
        sides = [old for old in (True, False) if (change.old if old else change.new) is not None]
        return any(all(change.value(known[n], old=old) == v for n, v in self.wanted.keys) for old in sides)


class Shapes:
    """The columns that each table had at each place of the recording."""

    def __init__(self, conn: psycopg.Connection[Any]) -> None:
        query = f"SELECT relid::bigint, seq, stamp, attnums FROM {SCHEMA}.shape ORDER BY seq"
        self.gone: dict[int, int] = {}  # the stamp at which a table went
        self._known: dict[int, list[tuple[int, tuple[int, ...]]]] = {}
        for relid, seq, stamp, attnums in conn.execute(query.encode()).fetchall():
            if attnums is None:
                self.gone[relid] = stamp
            else:
                self._known.setdefault(relid, []).append((seq, tuple(attnums)))

    def change(self, row: Sequence[Any]) -> Change:
        """Return a change with its values. row: of the log."""
        seq, stamp, relid, op, old, new = row
        attnums = next(known for since, known in reversed(self._known[relid]) if since < seq)
        rows = [None if text is None else read_row(text, len(attnums)) for text in (old, new)]
        return Change(seq, stamp, relid, op, attnums, rows[0], rows[1])


class Trial:
    """The reversal of changes, run in the copy as it is at the end, and rolled back.

    partial: rows of other tables are not there, so that what no later transaction explains may be for want of them.
    """

    partial = False

    def __init__(
        self,
        conn: psycopg.Connection[Any],
        plan: Plan,
        recorder: Recorder,
        relations: dict[int, Relation],
        mode: str,
    ) -> None:
        self.conn, self.plan, self.recorder, self.relations, self.mode = conn, plan, recorder, relations, mode
        self._later: dict[int, list[Change]] = {}
        self._touched: dict[int, dict[Values, list[Change]]] = {}
        self._taken: dict[tuple[int, tuple[int, ...]], dict[Values, list[Change]]] = {}
        self._truncated: set[int] = set()
        self._shapes = Shapes(conn)
        self._chosen = {begin.commit_lsn for begin in plan.begins}

    def run(self, changes: Sequence[Change]) -> Plan:
        """Return the plan with its steps and conflicts."""
        touched = sorted(self.relations)
        constraints = read_constraints(self.conn, touched)
        named = {relid for constraint in constraints for relid in constraint.relids}
        self.plan.acting = read_acting(self.conn, sorted(named.union(touched)))
        with self.conn.transaction(force_rollback=True):
            self.conn.execute((settings() + check_function()).encode())
            wrong = {constraint: set(find_wrong(self.conn, constraint)) for constraint in constraints}
            self.conn.execute("".join(each.off for each in self.plan.acting).encode())
            for given in self.plan.given:
                self._give(given.before, "what was dropped")
                self._give(given.rows, "rows of what was dropped")
            for relation, group in gather(changes, self.relations):
                self._step(relation, group)
            for given in reversed(self.plan.given):
                self._give(given.after, "what was dropped")
            for constraint in constraints:
                for row in find_wrong(self.conn, constraint):
                    if row not in wrong[constraint]:
                        self._broken(constraint, *row)
        self.plan.constraints = [constraint for constraint in constraints if not wrong[constraint]]
        for relid in sorted(self._truncated):  # RESTART IDENTITY has set its sequences back
            relation = self.relations[relid]
            texts = [given.sequences[relid] for given in self.plan.given if relid in given.sequences]
            text = texts[0] if texts else advance_sequences(self.conn, relation)
            self.plan.sequences += [Piece(relation.owner, text, (relation.table,))] if text else []
        return self.plan

    def _give(self, pieces: Sequence[Piece], what: str) -> None:
        for piece in pieces:
            self._attempt(piece, what)

    def _attempt(self, piece: Piece, what: str) -> str | None:
        """Run SQL as it is printed; return what the server said against it, a conflict unless it is of a row's."""
        if not piece.text.strip():
            return None
        try:
            with self.conn.transaction():
                self.conn.execute(with_rights(piece).encode())
        except psycopg.Error as error:
            said = error.diag.message_primary or str(error)
            if what and self.partial:
                raise WholeNeededError(f"what was dropped does not come back without other rows ({said})") from None
            if what:
                self.plan.conflicts.append(Conflict(f"could not give back {what}: {said}", []))
            return said
        return None

    def _step(self, relation: Relation | None, group: Sequence[Change]) -> None:
        """Take back one change, or some deletes of one table together."""
        if relation is None:
            stamp = self._shapes.gone.get(group[0].relid)
            later = [self.recorder.begins[stamp]] if stamp is not None and stamp >= 0 else []
            self._conflict(
                Conflict(f"a table of transaction {self._xid(group[0])} is no longer there", later, group[0])
            )
            return
        touched = [self._find_later(relation, change) for change in group]
        if any(touched) and len(group) > 1:
            for change in group:
                self._step(relation, [change])
            return
        if any(touched):
            self._conflict(Conflict(self._describe(relation, group[0]), touched[0], group[0]))
            return
        if group[0].op in (DELETE, TRUNCATE):
            text: str | None = undo_deletes(relation, group)
        else:
            text = undo_one(relation, group[0], self._describe(relation, group[0]))
        if text is None:
            return
        piece = Piece(relation.owner, text, (relation.table,))
        said = self._attempt(piece, "")
        if said is None:
            self._keep(Step(piece, tuple(group)), relation)
        elif len(group) > 1:
            for change in group:
                self._step(relation, [change])
        else:
            self._refused(relation, group[0], said)

    def _keep(self, step: Step, relation: Relation) -> None:
        self.plan.steps.append(step)
        if step.changes[0].op == TRUNCATE:
            self._truncated.add(relation.oid)
        counts = self.plan.counts.setdefault(str(relation), {})
        for change in step.changes:
            counts[KINDS[change.op]] = counts.get(KINDS[change.op], 0) + 1

    def _refused(self, relation: Relation, change: Change, said: str) -> None:
        later = self._find_later(relation, change)
        what = self._describe(relation, change)
        if self.partial and not later:
            raise WholeNeededError(f"other rows may tell why a row does not take its change back: {what}")
        self._conflict(Conflict(what if "not what the transaction" in said else f"{what}: {said}", later, change))

    def _conflict(self, conflict: Conflict) -> None:
        if self.mode == "skip":
            self.plan.skipped += 1
        else:
            self.plan.conflicts.append(conflict)

    def _broken(self, constraint: Constraint, relid: int, row: str) -> None:
        later = [
            self.recorder.begins[change.stamp]
            for change in self._changes_of(relid)
            if change.new is not None and write_row(change.new) == row
        ]
        if self.partial and not later:
            raise WholeNeededError(f"other rows may tell why {constraint.said}")
        self.plan.conflicts.append(
            Conflict(constraint.said, [begin for begin in later if begin.commit_lsn not in self._chosen])
        )

    def _describe(self, relation: Relation, change: Change) -> str:
        done = {INSERT: "inserted", "U": "updated", DELETE: "deleted", TRUNCATE: "truncated"}[change.op]
        row = describe_row(relation, change, old=change.new is None)
        return f"{row} ({done} by transaction {self._xid(change)})"

    def _xid(self, change: Change) -> int:
        return self.recorder.begins[change.stamp].xid

    def _changes_of(self, relid: int) -> list[Change]:
        """What was recorded of a table, in order."""
        if relid not in self._later:
            with self.conn.transaction():
                rows = self.conn.execute(f"{_LOG} WHERE relid = %s ORDER BY seq".encode(), [relid]).fetchall()
            self._later[relid] = [self._shapes.change(row) for row in rows]
        return self._later[relid]

    def _find_later(self, relation: Relation, change: Change) -> list[Begin]:
        """The transactions that have touched a change's row after it, though it may be as it was again.

        A row without a key that was deleted is missed by nobody: those that are like it are others.
        """
        found: dict[Begin, None] = dict.fromkeys(self._takers(relation, change))
        for old in (False, True) if relation.key or change.new is not None else ():
            mine, seq = change.identity(relation, old=old), change.seq
            if mine is None or (old and not relation.key):
                continue
            while True:
                touched = self._touched_of(relation).get(mine, [])
                moved = None
                for later in touched[bisect_right(touched, seq, key=lambda each: each.seq) :]:
                    before, after = later.identity(relation, old=True), later.identity(relation, old=False)
                    if relation.key or before == mine:  # of equal rows without a key, one more is another
                        found[self.recorder.begins[later.stamp]] = None
                    if before == mine and after is not None and after != mine and not old:
                        moved, seq = after, later.seq
                        break
                if moved is None:
                    break
                mine = moved
        return [begin for begin in found if begin.commit_lsn not in self._chosen]

    def _takers(self, relation: Relation, change: Change) -> Iterator[Begin]:
        """The later transactions in which another row took what the row had in a further key, if for a time only."""
        for columns, nulls in relation.unique:
            mine = change.place(columns, old=True, nulls=nulls)
            if mine is not None and mine != change.place(columns, old=False, nulls=nulls):
                for later in self._taken_of(relation.oid, columns, nulls).get(mine, ()):
                    if later.seq > change.seq:
                        yield self.recorder.begins[later.stamp]

    def _taken_of(self, relid: int, columns: tuple[int, ...], nulls: bool) -> dict[Values, list[Change]]:
        """The changes by which a row got the values of a key that it has, by these."""
        if (relid, columns) not in self._taken:
            taken = self._taken[relid, columns] = {}
            for change in self._changes_of(relid):
                place = change.place(columns, old=False, nulls=nulls)
                if place is not None and place != change.place(columns, old=True, nulls=nulls):
                    taken.setdefault(place, []).append(change)
        return self._taken[relid, columns]

    def _touched_of(self, relation: Relation) -> dict[Values, list[Change]]:
        """What was recorded of each row of a table, by its key or all of it, in order; without what changed nothing."""
        if relation.oid not in self._touched:
            touched = self._touched[relation.oid] = {}
            for change in self._changes_of(relation.oid):
                if change.op == UPDATE and change.old == change.new:
                    continue
                both = [change.identity(relation, old=old) for old in (True, False)]
                for identity in dict.fromkeys(each for each in both if each is not None):
                    touched.setdefault(identity, []).append(change)
        return self._touched[relation.oid]


def gather(changes: Sequence[Change], relations: dict[int, Relation]) -> Iterator[tuple[Relation | None, list[Change]]]:
    """Put deletes of one table that follow each other together, as far as they are of the same columns."""
    group: list[Change] = []
    for change in changes:
        first = group[0] if group else None
        if first is not None and not (
            change.op in (DELETE, TRUNCATE)
            and first.op in (DELETE, TRUNCATE)
            and (change.relid, change.attnums) == (first.relid, first.attnums)
            and len(group) < _TOGETHER
        ):
            yield relations.get(first.relid), group
            group = []
        group.append(change)
    if group:
        yield relations.get(group[0].relid), group


def settings() -> str:
    """Return what pins the meaning of the statements for the transaction around them."""
    lines = [f"SET LOCAL {name} = {value};\n" for name, value in HEADER_SETTINGS if not name.startswith("default_tr")]
    return "SET LOCAL client_encoding = 'UTF8';\n" + "".join(lines)


def check_function() -> str:
    """Return what makes the function that each statement passes its number of rows to."""
    return _CHECK


def lock(plan: Plan) -> str:
    """Return what keeps others from writing: what is checked at the end has to hold at COMMIT."""
    names = ", ".join(map(sql_name, plan.tables))
    return f"LOCK TABLE {names} IN SHARE ROW EXCLUSIVE MODE;\n" if names else ""


# What is printed


def write(plan: Plan, put: Callable[[str], object]) -> None:
    """Write a plan as SQL that psql runs."""
    put("-- pg_scribe undo of " + ", ".join(f"transaction {b.xid} ({b.time})" for b in plan.begins[:20]))
    put(f" and {len(plan.begins) - 20} more\n" if len(plan.begins) > 20 else "\n")
    put("\\set ON_ERROR_STOP on\nBEGIN;\n" + settings() + lock(plan) + _CHECK)
    for piece in joined(pieces(plan)):
        put(with_rights(piece))
    put("DROP FUNCTION pg_temp.scribe_undone(pg_catalog.int8, pg_catalog.text);\nCOMMIT;\n")


def with_rights(piece: Piece) -> str:
    """Return a piece's text between what sets its owner's rights, and what ends that."""
    owner = piece.owner
    return f"SET LOCAL ROLE {quote_name(owner)};\n{piece.text}SET LOCAL ROLE NONE;\n" if owner else piece.text


def pieces(plan: Plan) -> Iterator[Piece]:
    """Return the SQL between the settings and COMMIT."""
    yield from (Piece("", each.off) for each in plan.acting)
    for given in plan.given:
        yield from given.before
        yield from given.rows
    yield from (step.piece for step in plan.steps)
    yield from plan.sequences
    for given in reversed(plan.given):
        yield from given.after
    yield from (Piece(each.owner, each.check(), each.tables) for each in plan.constraints)
    yield from (Piece("", each.on) for each in plan.acting)


def joined(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """Put pieces of one owner that follow each other together; not those that make tables and those that name them."""
    for (owner, _), group in itertools.groupby(pieces, lambda piece: (piece.owner, bool(piece.tables))):
        while some := list(itertools.islice(group, _TOGETHER)):
            tables = dict.fromkeys(table for piece in some for table in piece.tables)
            yield Piece(owner, "".join(piece.text for piece in some), tuple(tables))


def describe(plan: Plan) -> list[str]:
    """Return what a plan takes back, for people."""
    lines = []
    for name, counts in sorted(plan.counts.items()):
        lines.append(f"{name}: " + ", ".join(f"{n} {_PAST[kind]}" for kind, n in sorted(counts.items())))
    for given in plan.given:
        lines.append(f"dropped, with {given.count} rows: " + ", ".join(given.names))
    return lines


_PAST = {"insert": "inserted", "update": "updated", "delete": "deleted", "truncate": "truncated"}
