"""decoder_raw's stream: where its transactions end and lie, and what they become.

The stream has no LSNs, but the spool's bounds have. Between two of them transactions are numbered: the lower bound's
LSN and the next ones stand for their commits. A commit record is longer than that, so the numbers end before the upper
bound, which the last transaction is given as its end.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from scribe.common.errors import ScribeError
from scribe.decoders.decoder_raw.file_lsns import Bound, Cut
from scribe.decoders.decoder_raw.output import (
    BEGIN,
    COMMIT,
    InsertHead,
    Name,
    Pairs,
    read_delete,
    read_insert_head,
    read_truncate,
    read_update,
    read_values,
    statement_end,
)
from scribe.decoders.pgmessages import MISSING, Column, DamageError, Relation, Row, read_on
from scribe.decoders.rows.runs import Inserts
from scribe.decoders.rows.schema_changes import read_audit
from scribe.decoders.rows.tables import CARRIER, Table, quote_name, quote_qualified, quote_value
from scribe.decoders.rows.text import FLUSH, Knowledge, Translator
from scribe.spool.contents import Batch, Scan, Tape, Transaction, alone, part_number

OURS = "scribe"  # the schema


class Fit(NamedTuple):
    """What a statement on a table must look like. needed: columns by which rows are found; wanted: their places."""

    table: Table
    names: tuple[str, ...]
    every: frozenset[str]
    needed: frozenset[str]
    wanted: tuple[int, ...]

    def takes(self, where: Pairs, sets: Pairs) -> bool:
        """Whether a statement is about the table as it is known."""
        return (
            bool(self.needed or self.table.full)
            and self.needed <= where.keys() <= self.every
            and sets.keys() <= self.every
        )

    def old_row(self, where: Pairs) -> Row:
        """Return the row that a WHERE tells of."""
        row: Row = [None] * len(self.names)
        for i in self.wanted:
            row[i] = where[self.names[i]]
        return row


@dataclass
class Stretch:
    """Transactions between two LSNs: tape offsets of the first one's beginning and the last one's end, and how many."""

    lower: int
    upper: int
    time: str
    start: int
    stop: int
    count: int = 0


def statements(tape: Tape, start: int, stop: int | None = None) -> Iterator[tuple[bytes, int, int, int]]:
    """Yield (data, at, end, offset) of every statement between two tape offsets that is there as a whole.

    The statement is data[at:end], with its newline; offset: of its first byte on the tape. Raises DamageError.
    """
    blocks, base, at = tape.blocks(start, stop), start, 0
    data = b""
    while (more := read_on(blocks, data, at)) is not None:
        data, base, at = more, base + at, 0
        hole = data.find(0)
        if hole >= 0:
            data = data[:hole]
        while at < len(data) and (end := statement_end(data, at)):
            yield data, at, end, base + at
            at = end
        if hole >= 0:
            raise DamageError("there are zero bytes")


class RawScan(Scan):
    """The whole transactions of the stream up to the last bound; see Scan. stretches: what they lie between."""

    def __init__(
        self,
        tape: Tape,
        start: int,
        bounds: list[Bound],
        cuts: list[Cut] | None = None,
        tick: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(tape, start, 0, tick)
        self._cuts = cuts or []
        self._seen = [0 for _ in self._cuts]  # of the transactions that each counts
        self.stretches: list[Stretch] = []
        ends = tape.ends()
        self._bounds = [
            (bound, max([end for path, end in ends if 0 < part_number(path) <= bound.part], default=0))
            for bound in bounds
        ]

    def batches(self) -> Iterator[Batch]:
        """See Scan."""
        return map(alone, self._transactions())

    def _transactions(self) -> Iterator[Transaction]:
        held: Transaction | None = None
        index = 0
        for start, stop in self._frames():
            while index < len(self._bounds) and self._bounds[index][1] < stop:
                index += 1
            if index == len(self._bounds):
                break
            upper = self._bounds[index][0]
            low, high = self._between_cuts(self._bounds[index - 1][0].lsn, upper.lsn)
            if held is not None and self.stretches[-1].upper != high:
                yield self._last(held)
                held = None
            if held is None:
                self.stretches.append(Stretch(low, high, upper.time, start, stop))
            else:
                self._take(held)
                yield held
            stretch = self.stretches[-1]
            number = stretch.lower + stretch.count
            held = Transaction(start, stop, number, number + 1)
            stretch.count += 1
            stretch.stop = stop
        if held is not None:
            yield self._last(held)
        if self.damage is None and self._bounds:
            self.position = self._bounds[-1][0].lsn

    def _between_cuts(self, lower: int, upper: int) -> tuple[int, int]:
        """Return what the next transaction lies between, given the bounds that it lies between."""
        low, high = lower, upper
        for i, cut in enumerate(self._cuts):
            self._seen[i] += lower >= cut.after
            if lower < cut.lsn < upper and self._seen[i] > cut.count:
                low = max(low, cut.lsn)
            elif lower < cut.lsn < upper:
                high = min(high, cut.lsn)
        return low, high

    def cuts_left(self) -> list[Cut]:
        """Return the cuts beyond the last bound, counted from there."""
        return [
            Cut(cut.lsn, self.position, cut.count - seen) if self.position > cut.after else cut
            for cut, seen in zip(self._cuts, self._seen, strict=True)
            if cut.lsn > self.position
        ]

    def _last(self, held: Transaction) -> Transaction:
        """Return the last transaction of a stretch, whose end is the bound's LSN."""
        last = held._replace(end_lsn=self.stretches[-1].upper)
        self._take(last)
        return last

    def _take(self, transaction: Transaction) -> None:
        self.end, self.position = transaction.stop, transaction.end_lsn

    def _frames(self) -> Iterator[tuple[int, int]]:
        """Yield where each whole transaction begins and ends."""
        opened = -1
        tick = 0
        try:
            for data, at, end, offset in statements(self.tape, self.start):
                tick += 1
                if tick % 65536 == 0:
                    self._tick()
                length = end - at
                if length == len(COMMIT) and data.startswith(COMMIT, at):
                    if opened < 0:
                        raise DamageError("a transaction ends that did not begin")
                    begun, opened = opened, -1
                    yield begun, offset + length
                elif length == len(BEGIN) and data.startswith(BEGIN, at):
                    if opened >= 0:
                        raise DamageError("a transaction begins before the one before it ends")
                    opened = offset
                elif opened < 0:
                    raise DamageError("a transaction does not begin with BEGIN")
        except DamageError as error:
            self.damage = str(error)


def relation_of(relid: int, facts: dict[str, Any]) -> tuple[Relation, dict[int, tuple[str, str]]] | None:
    """Return what a table's facts say as pgoutput's Relation and Type messages would.

    They are those of sql/capture/decoder_raw/table_shape.sql.
    """
    shape = facts.get("r")
    if shape is None:
        return None
    schema, name, identity, _, columns = shape
    keys = {entry[0] for entry in facts.get("k") or []}
    described = tuple(Column(column, oid, -1, column in keys) for column, oid, _, _ in columns)
    return Relation(relid, schema, name, identity, described), {oid: (where, what) for _, oid, where, what in columns}


class RawTranslator(Translator):
    """The SQL of the transactions in a stream of decoder_raw's."""

    points = "segment"

    def __init__(self, tape: Tape, scan: RawScan, knowledge: Knowledge, save: Callable[[], None]) -> None:
        super().__init__(tape, scan.start, knowledge, save)
        self._scan = scan
        self._stretch = -1
        self._number = 0
        self._names: dict[Name, int] = {}
        self._named: dict[int, Name] = {}  # the same by table
        self._heads: dict[bytes, tuple[InsertHead, int, list[int]]] = {}
        self._complained: set[Name] = set()  # of these the transaction does not say how they were made
        self._fitting: dict[int, Fit] = {}
        self._hopeless: set[Name] = set()  # nor does any later one
        for relid, facts in knowledge.facts.items():
            self._describe(relid, facts)

    def commit_time(self, offset: int) -> str | None:
        """See Text: of a transaction only the time of the bound after it is known."""
        return next((s.time for s in self._scan.stretches if s.start <= offset < s.stop), None)

    # --- statements ---------------------------------------------------------------------------------------------

    def blocks(self, start: int, stop: int) -> Iterator[bytes]:
        """See Text."""
        self._pass_over(self._at, start)
        self._at = stop
        flushed = place = start
        try:
            for data, at, end, offset in statements(self._tape, start, stop):
                place = offset
                if data.startswith(b"INSERT", at):
                    self._take_insert(data, at, end, offset)
                else:
                    self._take(data, at, end, offset)
                place = offset + end - at
                if place - flushed > FLUSH:
                    flushed = place
                    yield b"".join(self._out)
                    self._out.clear()
        except (DamageError, UnicodeError, ValueError) as error:
            raise self._damaged(place, str(error)) from None
        if place != stop:
            raise self._damaged(place, "a statement is torn")
        yield b"".join(self._out)
        self._out.clear()

    def _damaged(self, offset: int, why: str) -> ScribeError:
        place = self._tape.place(offset)
        return ScribeError(f'spool file "{place.path}" is damaged after byte {place.offset}: {why}')

    def _take(self, data: bytes, at: int, end: int, offset: int) -> None:
        """Act on a statement that is not an INSERT."""
        if data.startswith(b"UPDATE", at):
            table, sets, where = read_update(data, at, end)
            self._take_update(table, sets, where, offset)
        elif data.startswith(b"DELETE", at):
            table, where = read_delete(data, at, end)
            self._take_delete(table, where, offset)
        elif data.startswith(BEGIN, at):
            self._take_begin(offset)
        elif data.startswith(COMMIT, at):
            stretch = self._scan.stretches[self._stretch]
            self._number += 1
            self._commit(stretch.upper if self._number == stretch.count else stretch.lower + self._number)
        else:
            tables, restart = read_truncate(data, at)
            self._take_truncate(tables, restart, offset)

    def _take_begin(self, offset: int) -> None:
        stretches = self._scan.stretches
        while self._stretch < 0 or offset >= stretches[self._stretch].stop:
            self._stretch += 1
            self._number = 0
        self._complained.clear()
        stretch = stretches[self._stretch]
        self._begin(0, stretch.lower + self._number, stretch.time)

    def _pass_over(self, start: int, stop: int) -> None:
        """Learn from statements whose SQL is in segments already."""
        for data, at, end, _ in statements(self._tape, start, stop):
            self._learn(self._facts_row(data, at, end))
            if data.startswith(b"DELETE FROM scribe.table_facts ", at):
                self._forget(read_delete(data, at, end)[1])

    # --- tables -------------------------------------------------------------------------------------------------

    def _describe(self, relid: int, facts: dict[str, Any]) -> None:
        """Note a table's name, columns and types."""
        found = relation_of(relid, facts)
        if found is None:
            return
        relation, types = found
        self._forget_name(relid)
        self._named[relid] = (relation.schema, relation.name)
        self._names[relation.schema, relation.name] = relid
        self._heads.clear()
        for oid, name in types.items():
            self.learn_type(oid, *name)
        self.learn_relation(relation)

    def _learn(self, row: Pairs) -> None:
        if isinstance(row.get("relid"), bytes) and isinstance(row.get("facts"), bytes):
            relid, facts = int(row["relid"]), json.loads(row["facts"].decode(CARRIER))  # type: ignore[arg-type,union-attr]
            self.set_facts(relid, facts)
            self._describe(relid, facts)

    def _forget(self, where: Pairs) -> None:
        if isinstance(where.get("relid"), bytes):
            relid = int(where["relid"])  # type: ignore[arg-type]
            self.set_facts(relid, None)
            self._known.relations.pop(relid, None)
            self._forget_name(relid)

    def _forget_name(self, relid: int) -> None:
        """What a table was called may be another's name from here on."""
        name = self._named.pop(relid, None)
        if name is not None and self._names.get(name) == relid:
            del self._names[name]
            self._heads.clear()

    def _look_ahead(self, relid: int, offset: int) -> dict[str, Any] | None:
        """See Translator: whatever has columns has its facts."""
        return None

    def _find(self, name: Name, offset: int) -> int | None:
        """Return the table of that name, None where nothing is known of it; CREATE TABLE AS says so after its rows.

        Where no event trigger fired, a rotation has recorded it later.
        """
        relid = self._names.get(name)
        if relid is not None or self._script > 0 or name in self._complained:
            return relid
        inside = True
        for data, at, end, _ in statements(self._tape, offset):
            if end - at == len(COMMIT) and data.startswith(COMMIT, at):
                inside = False
                if name in self._hopeless:
                    break
            row = self._facts_row(data, at, end)
            if not isinstance(row.get("facts"), bytes):
                continue
            facts = json.loads(row["facts"].decode(CARRIER))  # type: ignore[union-attr]
            if facts.get("r", [None, None])[:2] != list(name):
                continue
            relid = int(row["relid"])  # type: ignore[arg-type]
            if facts["r"][3] == "m":
                self.set_facts(relid, facts)
                self._describe(relid, facts)
                return relid
            if "c" in facts and (inside or "x" in facts):
                self.set_facts(relid, facts)
                self._describe(relid, facts)
                self._announced.add(relid)
                self._create(facts)
                if "x" in facts:
                    self._known.made.add(relid)
                return relid
        self._complained.add(name)
        self._hopeless.add(name)
        return None

    @staticmethod
    def _facts_row(data: bytes, at: int, end: int) -> Pairs:
        """Return the new row of a statement on scribe.table_facts, {} of any other."""
        if data.startswith(b"INSERT INTO scribe.table_facts ", at):
            head = read_insert_head(data, at)
            return dict(zip(head.columns, read_values(data, at + len(head.text), end), strict=True))
        if data.startswith(b"UPDATE scribe.table_facts ", at):
            return read_update(data, at, end)[1]
        return {}

    def _is_passed_over(self, relid: int | None) -> bool:
        """Whether rows are left out: what an extension's script made, materialized views."""
        if self._script > 0:
            return True
        return relid is not None and self._known.facts[relid]["r"][3] == "m"

    # --- rows ---------------------------------------------------------------------------------------------------

    def _take_insert(self, data: bytes, at: int, end: int, offset: int) -> None:
        place = data.find(b" VALUES (", at, end)
        known = self._heads.get(data[at : place + 9])
        if known is None:
            head = read_insert_head(data, at)
            if head.table[0] == OURS:
                self._take_own(head, data, at, end)
                return
            relid = self._find(head.table, offset)
            if self._is_passed_over(relid):
                return
            order = self._order(relid, head.columns)
            if relid is None or order is None:
                self._as_written(head, read_values(data, at + len(head.text), end))
                return
            known = self._heads[head.text] = (head, relid, order)
        head, relid, order = known
        if self._script > 0:
            return
        row = read_values(data, at + len(head.text), end)
        if len(row) != len(order):
            raise DamageError("an INSERT has another number of values than of columns")
        row = [row[i] for i in order]
        run = self._run
        if type(run) is Inserts and run.copying and run.table.relid == relid:
            self._counts["inserted"] += 1
            self._out.append(run.add(row))
        else:
            self._insert(relid, row, offset)

    def _order(self, relid: int | None, columns: tuple[str, ...]) -> list[int] | None:
        """Return where in a statement the table's columns stand, in the table's order; None where they are others."""
        if relid is None:
            return None
        names = [column.name for column in self._known.relations[relid].columns]
        if sorted(names) != sorted(columns):
            return None
        return [columns.index(name) for name in names]

    def _take_own(self, head: InsertHead, data: bytes, at: int, end: int) -> None:
        """Act on a row that capture, or a mark, added."""
        if head.table[1] not in ("ddl_history", "table_facts", "mark"):
            return
        row = read_values(data, at + len(head.text), end)
        pairs = dict(zip(head.columns, row, strict=True))
        if head.table[1] == "ddl_history":
            columns = tuple(Column(name, 25, -1, False) for name in head.columns)
            self._audit(read_audit(Relation(0, OURS, "ddl_history", "d", columns), row))
        elif head.table[1] == "table_facts":
            self._learn(pairs)
        elif isinstance(pairs.get("name"), bytes):
            self._mark(pairs["name"])  # type: ignore[arg-type]

    def _take_update(self, name: Name, sets: Pairs, where: Pairs, offset: int) -> None:
        if name == (OURS, "table_facts"):
            self._learn(sets)
        if name[0] == OURS:
            return
        relid = self._find(name, offset)
        if self._is_passed_over(relid):
            return
        fit = None if relid is None else self._fit(self._table(relid))
        if relid is None or fit is None or not fit.takes(where, sets):
            self._update_as_written(name, sets, where)
            return
        table = fit.table
        new: Row = [sets.get(column, MISSING) for column in fit.names]
        old = fit.old_row(where)
        if not table.full:
            for key in table.keys:
                if new[key.index] is MISSING:  # a TOAST value that did not change
                    new[key.index] = old[key.index]
            if all(new[key.index] == old[key.index] for key in table.keys):
                self._update(relid, None, new, offset)
                return
        self._update(relid, old, new, offset)

    def _take_delete(self, name: Name, where: Pairs, offset: int) -> None:
        if name == (OURS, "table_facts"):
            self._forget(where)
        if name[0] == OURS:
            return
        relid = self._find(name, offset)
        if self._is_passed_over(relid):
            return
        fit = None if relid is None else self._fit(self._table(relid))
        if relid is None or fit is None or not fit.takes(where, {}):
            self._delete_as_written(name, where)
            return
        self._delete(relid, fit.old_row(where), offset)

    def _fit(self, table: Table) -> Fit:
        fit = self._fitting.get(table.relid)
        if fit is None or fit.table is not table:
            names = tuple(column.name for column in table.relation.columns)
            wanted = range(len(names)) if table.full else [key.index for key in table.keys]
            needed = frozenset(names[i] for i in wanted)
            fit = Fit(table, names, frozenset(names), needed, tuple(wanted))
            self._fitting[table.relid] = fit
        return fit

    def _take_truncate(self, tables: list[Name], restart: bool, offset: int) -> None:
        relids = []
        for name in tables:
            relid = self._find(name, offset)
            if self._is_passed_over(relid):
                continue
            if relid is None:
                self._complain(name, "TRUNCATE")
                self._counts["truncated"] += 1
                again = b" RESTART IDENTITY" if restart else b""
                self._write(b"TRUNCATE " + quote_qualified(*name) + again + b" CASCADE;\n")
            else:
                relids.append(relid)
        self._truncate(relids, 2 if restart else 0, offset)

    # --- what does not fit ----------------------------------------------------------------------------------------

    def _complain(self, name: Name, what: str) -> None:
        table = quote_qualified(*name).decode(CARRIER)
        self._warn(f"{what} of {table} is as decoder_raw wrote it: nothing fitting is known of that table")

    def _as_written(self, head: InsertHead, row: Row) -> None:
        self._complain(head.table, "INSERT")
        self._counts["inserted"] += 1
        names = b", ".join([quote_name(column) for column in head.columns])
        values = b", ".join([_literal(value) for value in row])
        tail = b" (" + names + b") VALUES (" + values + b");\n" if head.columns else b" DEFAULT VALUES;\n"
        self._write(b"INSERT INTO " + quote_qualified(*head.table) + tail)

    def _update_as_written(self, name: Name, sets: Pairs, where: Pairs) -> None:
        if not sets:
            return
        self._complain(name, "UPDATE")
        self._counts["updated"] += 1
        pairs = b", ".join([quote_name(column) + b" = " + _literal(value) for column, value in sets.items()])
        self._write(b"UPDATE " + quote_qualified(*name) + b" SET " + pairs + _condition(where))

    def _delete_as_written(self, name: Name, where: Pairs) -> None:
        self._complain(name, "DELETE")
        self._counts["deleted"] += 1
        self._write(b"DELETE FROM " + quote_qualified(*name) + _condition(where))


def _literal(value: object) -> bytes:
    return quote_value(value) if isinstance(value, bytes) else b"NULL"


def _condition(where: Pairs) -> bytes:
    parts = [
        quote_name(column) + (b" IS NULL" if value is None else b" = " + _literal(value))
        for column, value in where.items()
    ]
    return b" WHERE " + b" AND ".join(parts) + b";\n" if parts else b";\n"
