"""Changes of rows as the SQL of a segment: the same forms as decoder/plugin writes, made at rotation.

Where the changes are read from is the subclasses' matter. What comes with a change is not enough: identity columns,
triggers, the key's operators and tables made by CREATE TABLE AS are known from the facts that capture puts into the
stream, or that were read from the catalog (sql/capture/without_library/table_facts.sql).
"""

from __future__ import annotations

import json
import re
from abc import abstractmethod
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from scribe.common.lsn import format_lsn
from scribe.decoders.base import Text
from scribe.decoders.pgmessages import MISSING, DamageError, Relation, Row
from scribe.decoders.rows.meanwhile import HELD, KEPT, Taken, find_taken, taken_names
from scribe.decoders.rows.runs import Deletes, Images, Inserts, Run, Updates
from scribe.decoders.rows.schema_changes import Audit, create_block, ddl_block, one_line, read_audit
from scribe.decoders.rows.statements import NotSureError, choose, statement_number
from scribe.decoders.rows.tables import CARRIER, Table, quote_qualified
from scribe.spool.concatenation import Tape

FLUSH = 512 << 10  # bytes of the stream after which the SQL made of them is handed over
_MARK = re.compile(rb"[A-Za-z0-9._-]{1,63}\Z")
_LONGEST_LOSS = 800  # as in decoder/plugin/scribe_decoder.c
_CUT = re.compile(r"cut(?: (\d+))?: ")  # how capture says what the recorded text is: a string, or a function's body
_CUT_AS = "cut as "  # then follows what the statement of the string did
_EMPTIED = "own: emptied"  # how capture says that a table's rows went before a command
_ABSENT = "own: emptied till"  # and that event triggers may change them before the source's are sent again
_REGROUPED = re.compile(r"\b(ATTACH|DETACH)\b", re.IGNORECASE)
_SPREAD = ", because they are spread by hashes of OIDs; take a new base"
_ELSEWHERE = "its rows may lie in other partitions of a copy; take a new base"
_KINDS = ("inserted", "updated", "deleted", "truncated", "ddl")


@dataclass
class Knowledge:
    """What is known of the stream at a place: relations and types as last sent, and the facts of tables.

    made: relations made on the strength of rows, whose creation may still be told.
    audit and store: OIDs that scribe.ddl_history and scribe.table_facts have, or had before they were recreated; nobody
    else's table is taken for them. publication: the one the stream is of. taken: names that transactions took away.
    """

    relations: dict[int, Relation] = field(default_factory=dict)
    types: dict[int, tuple[str, str]] = field(default_factory=dict)
    facts: dict[int, dict[str, Any]] = field(default_factory=dict)
    audit: set[int] = field(default_factory=set)
    store: set[int] = field(default_factory=set)
    made: set[int] = field(default_factory=set)
    publication: str = ""
    taken: list[Taken] = field(default_factory=list)
    changed: bool = False


def _no_identity(table: Table) -> str:
    return "no replica identity that is a key of the whole table" if table.route else "no replica identity"


class Translator(Text):
    """The SQL of the transactions on a tape: blocks() of a subclass reads it, and calls what follows here for each."""

    def __init__(self, tape: Tape, start: int, knowledge: Knowledge, save: Callable[[], None] = lambda: None) -> None:
        self._tape = tape
        self._at = start  # up to here the tape is known
        self._known = knowledge
        self._save = save
        self._tables: dict[int, Table] = {}
        self._out: list[bytes] = []
        self._run: Run | None = None
        self._xid = self._commit_lsn = 0
        self._reset()

    def save(self) -> None:
        """See Text."""
        self._save()

    def learn_relation(self, relation: Relation) -> None:
        """Take a Relation message."""
        if self._known.relations.get(relation.relid) == relation:
            return
        if self._run is not None and self._run.table.relid == relation.relid:
            self._end_run()
        self._known.relations[relation.relid] = relation
        self._known.changed = True
        self._tables.pop(relation.relid, None)

    def learn_type(self, oid: int, schema: str, name: str) -> None:
        """Take a Type message."""
        if self._known.types.get(oid) == (schema, name):
            return
        self._known.types[oid] = (schema, name)
        self._known.changed = True
        self._end_run()
        self._tables.clear()

    # --- transactions -------------------------------------------------------------------------------------------

    def _reset(self) -> None:
        self._counts = dict.fromkeys(_KINDS, 0)
        self._script = 0
        self._refill = 0
        self._refill_begun = False
        self._refilled = 0  # the table whose rows have just been sent again
        self._loud: list[bytes] = []
        self._quieted: set[int] = set()
        self._emptied: set[int] = set()  # tables whose rows went before a command that rewrites them
        self._absent: set[int] = set()  # those of them whose rows are yet to be sent again
        self._dropped: dict[str, int] = {}  # partitions with a route that are gone, and the route
        self._announced: set[int] = set()
        self._warned: set[int] = set()
        self._last_piece: dict[tuple[str, str], int] = {}  # session and string -> the last statement of it that ran

    def _begin(self, xid: int, commit_lsn: int, time: str) -> None:
        self._reset()
        self._xid, self._commit_lsn = xid, commit_lsn
        self._out.append(f"BEGIN; -- xid {xid} commit {format_lsn(commit_lsn)} time {time}\n".encode())

    def _mark(self, name: bytes) -> None:
        if _MARK.match(name):
            self._write(b"-- mark " + name + b"\n")

    def _lost(self, said: bytes) -> None:
        """Warn of what capture could not write a row of. Anybody may have sent it, with any bytes."""
        if 0 < len(said) <= _LONGEST_LOSS:
            self._warn(f"capture lost {said.decode('ascii', 'replace')}; take a new base")

    def _commit(self, end_lsn: int) -> None:
        self._end_run()
        self._restore_triggers()
        said = "".join(f" {number} {kind}" for kind, number in self._counts.items() if number)
        rows = f"-- rows{said}\n" if said else ""
        self._out.append(f"{rows}COMMIT; -- end {format_lsn(end_lsn)}\n".encode())

    def _end_run(self) -> None:
        if self._run is not None:
            run, self._run = self._run, None
            self._out.append(run.end())

    def _write(self, text: bytes) -> None:
        self._end_run()
        self._out.append(text)

    def _warn(self, text: str) -> None:
        self._write(b"-- warning: " + one_line(text) + b"\n")

    def _warn_lost(self, table: Table, what: str, why: str) -> None:
        if table.relid not in self._warned:
            self._warned.add(table.relid)
            self._warn(f"{what} of {table.own_name.decode(CARRIER)} could not be carried: {why}")

    def _quiet(self, table: Table) -> None:
        """Switch off what would act a second time, until the next DDL or COMMIT."""
        if table.quiet and table.relid not in self._quieted:
            self._quieted.add(table.relid)
            self._write(b"-- pg_scribe: at rest, since they acted on the source\n" + table.quiet)
            self._loud.append(table.loud)

    def _restore_triggers(self) -> None:
        if self._loud:
            self._write(b"-- pg_scribe: as they were\n" + b"".join(self._loud))
        self._loud = []
        self._quieted.clear()

    # --- tables -------------------------------------------------------------------------------------------------

    def _table(self, relid: int) -> Table:
        table = self._tables.get(relid)
        if table is None:
            relation = self._known.relations.get(relid)
            if relation is None:
                raise DamageError(f"no Relation message describes relation {relid}")
            table = Table(relation, self._known.types, self._known.facts.get(relid, {}))
            self._tables[relid] = table
        return table

    def _written(self, relid: int, offset: int) -> Table | None:
        """Return the table if its rows are to be written; look for its creation if it is new."""
        relation = self._known.relations.get(relid)
        if relation is not None and relation.schema == "scribe":
            return None
        if self._script > 0:
            return None
        if relid not in self._known.facts and relid not in self._announced:
            self._discover(relid, offset)
        return self._table(relid)

    def _discover(self, relid: int, offset: int) -> None:
        """Rows of a table of which nothing was said: CREATE TABLE AS says so when they are there.

        Where no event trigger fired (EXPLAIN ANALYZE CREATE TABLE AS), a rotation has recorded it later.
        """
        self._announced.add(relid)
        if not self._known.store:
            return
        facts = self._look_ahead(relid, offset)
        if facts is None:
            self._make_up(relid)
        elif "c" in facts:
            self.set_facts(relid, facts)
            self._create(facts)
            if "x" in facts:
                self._known.made.add(relid)

    def _make_up(self, relid: int) -> None:
        """Make a table that its rows alone tell of, or the restore would stop at them."""
        table = self._table(relid)
        self._known.made.add(relid)
        self.set_facts(relid, {})
        columns = b", ".join([name + b" " + cast[2:] for name, cast in zip(table.columns, table.casts, strict=True)])
        text = b"CREATE TABLE IF NOT EXISTS " + table.name + b" (" + columns + b")"
        self._restore_triggers()
        name = table.own_name.decode(CARRIER)
        self._warn(f"table {name} was made by no statement, and only its columns are known; take a new base")
        self._write(create_block(text.decode(CARRIER), None, "no event trigger recorded how it was made"))
        self._counts["ddl"] += 1

    @abstractmethod
    def _look_ahead(self, relid: int, offset: int) -> dict[str, Any] | None:
        """Return the facts of a table that stand in the transaction after a tape offset, None where none do.

        Later ones count, too, if they say "x": that a rotation has recorded what no event trigger did.
        """

    def _create(self, facts: dict[str, Any]) -> None:
        self._end_run()
        self._restore_triggers()
        self._write(create_block(facts["c"], facts["o"], facts.get("x")))
        self._counts["ddl"] += 1

    def _learn_facts(self, row: Row) -> None:
        if isinstance(row[0], bytes) and isinstance(row[1], bytes):
            self.set_facts(int(row[0]), json.loads(row[1].decode(CARRIER)))

    def set_facts(self, relid: int, facts: dict[str, Any] | None) -> None:
        """Take the facts of a table; None: it is gone."""
        if self._run is not None and self._run.table.relid == relid:
            self._end_run()
        self._known.changed = True
        self._tables.pop(relid, None)
        if facts is None:
            gone = self._known.facts.pop(relid, None) or {}
            relation = self._known.relations.get(relid)
            if gone.get("h") and relation is not None:
                self._dropped[quote_qualified(relation.schema, relation.name).decode(CARRIER)] = gone["h"]["o"]
        else:
            self._known.facts[relid] = facts
            self._learn_names(relid, facts)

    def _learn_names(self, relid: int, facts: dict[str, Any]) -> None:
        """Take new names of a table and of its columns' types.

        The server says them with the table's description only, which it does not send once more where a type was
        renamed, nor before PostgreSQL 16 where a schema was.
        """
        for oid, (schema, name) in facts.get("t", {}).items():
            self.learn_type(int(oid), schema, name)
        relation = self._known.relations.get(relid)
        if relation is not None and "w" in facts:
            schema, name = facts["w"]
            self.learn_relation(replace(relation, schema=schema, name=name))

    def _family(self, table: Table) -> set[int]:
        """All partitions that rows of a routed table may lie in."""
        if table.route is None:
            return set()
        route, facts = table.route["o"], self._known.facts
        return {relid for relid, of in facts.items() if of.get("h") and of["h"]["o"] == route and not of.get("p")}

    def _forget_lost(self, table: Table, row: Row) -> None:
        for i in table.lost:
            if row[i] is not None:
                row[i] = None
                self._warn_lost(table, table.columns[i].decode(CARRIER), "its type reads no values")

    # --- rows ---------------------------------------------------------------------------------------------------

    def _insert(self, relid: int, row: Row, offset: int) -> None:
        if relid in self._known.audit:
            self._audit(read_audit(self._known.relations[relid], row))
            return
        if relid in self._known.store:
            self._learn_facts(row)
            return
        table = self._written(relid, offset)
        if table is None:
            return
        if self._refill == relid:
            self._put_again(table, None, row)
            return
        if relid == self._refilled:
            self._refilled = 0
            self._write(b"-- pg_scribe: rows of " + table.own_name + b" as statements inserted them\n")
        self._put(table, row)

    def _put(self, table: Table, row: Row) -> None:
        """Write a new row."""
        if MISSING in row:
            raise DamageError("a new row lacks a value")
        self._forget_lost(table, row)
        self._quiet(table)
        self._counts["inserted"] += 1
        if not table.live:
            self._write(table.insert_empty)
            return
        if table.has_barred_null(row, table.live):
            self._write(table.insert_head + b" " + table.values(row) + b";\n")
            return
        if type(self._run) is not Inserts or self._run.table is not table:
            self._end_run()
            self._run = Inserts(table)
        self._out.append(self._run.add(row))

    def _update(self, relid: int, old: Row | None, new: Row, offset: int) -> None:
        if relid in self._known.store:
            self._learn_facts(new)
            return
        table = self._written(relid, offset)
        if table is None:
            return
        self._forget_lost(table, new)
        if self._refill == relid:
            self._put_again(table, old, new)
            return
        if relid in self._absent:
            return
        if not table.full and not table.keys:
            self._warn_lost(table, "UPDATE", _no_identity(table))
            return
        if old is None:
            if table.full or any(not isinstance(new[key.index], bytes) for key in table.keys):
                self._warn_lost(table, "UPDATE", _no_identity(table))
                return
            columns = [i for i in table.live if new[i] is not MISSING and not table.is_key[i]]
        else:
            columns = [
                i
                for i in table.live
                if new[i] is not MISSING and not ((table.full or table.is_key[i]) and new[i] == old[i])
            ]
        if not columns:
            return
        self._quiet(table)
        self._counts["updated"] += 1
        if any(i in table.always for i in columns):
            self._replace(table, old or new, new)
        elif old is None and table.set_update and not table.has_barred_null(new, columns):
            if type(self._run) is not Updates or not self._run.add(table, columns, new):
                self._end_run()
                self._run = Updates(table, columns)
                self._run.add(table, columns, new)
        else:
            pairs = b", ".join([table.assignment(i, new[i]) for i in columns])
            single = b"UPDATE " + table.only + table.name + b" SET " + pairs + table.where(old or new) + b";\n"
            if table.image_update and old is not None:
                whole = [value if value is not MISSING else old[i] for i, value in enumerate(new)]
                if not table.has_barred_null(whole, table.live):
                    self._put_image(table, old, whole, single)
                    return
            self._write(single)

    def _put_image(self, table: Table, old: Row, new: Row | None, single: bytes) -> None:
        updating = new is not None
        if type(self._run) is not Images or not self._run.add(table, updating, old, new, single):
            self._end_run()
            self._run = Images(table, updating)
            self._run.add(table, updating, old, new, single)

    def _replace(self, table: Table, old: Row, new: Row) -> None:
        """An identity column that is GENERATED ALWAYS cannot be SET, so the row is taken out and put back."""
        names = b", ".join([table.columns[i] for i in table.live])
        values = b", ".join(
            [b"d." + table.columns[i] if new[i] is MISSING else table.selected(i, new[i]) for i in table.live]
        )
        self._write(
            b"WITH d AS (DELETE FROM " + table.only + table.name + table.where(old) + b" RETURNING *) INSERT INTO "
            + table.name + b" (" + names + b") OVERRIDING SYSTEM VALUE SELECT " + values + b" FROM d;\n"
        )  # fmt: skip

    def _put_again(self, table: Table, old: Row | None, new: Row) -> None:
        """A row that was rewritten to itself to make its values known."""
        for i, value in enumerate(new):
            if value is MISSING:
                if old is None or not table.full:
                    self._warn_lost(table, "refill", "no replica identity")
                    return
                new[i] = old[i]
        if not self._refill_begun:
            self._refill_begun = True
            if not self._emptied >= self._family(table):
                self._warn_lost(table, "values of a rewritten partition", _ELSEWHERE)
            self._quiet(table)
            self._write(b"-- pg_scribe: rows of " + table.own_name + b" as the source made them\n")
            if table.route is None:  # else all of them were emptied before, and rows of others lie here by now
                self._write(b"DELETE FROM ONLY " + table.own_name + b"; -- * rows\n")
        self._put(table, new)

    def _delete(self, relid: int, old: Row, offset: int) -> None:
        if relid in self._known.store:
            if isinstance(old[0], bytes):
                self.set_facts(int(old[0]), None)
            return
        table = self._written(relid, offset)
        if table is None or self._refill == relid or relid in self._absent:  # its row is inserted once more, or gone
            return
        if not table.full and not table.keys:
            self._warn_lost(table, "DELETE", _no_identity(table))
            return
        self._quiet(table)
        self._counts["deleted"] += 1
        if table.set_delete:
            if type(self._run) is not Deletes or not self._run.add(table, old):
                self._end_run()
                self._run = Deletes(table)
                self._run.add(table, old)
            return
        single = b"DELETE FROM " + table.only + table.name + table.where(old) + b";\n"
        if table.image_delete:
            self._put_image(table, old, None, single)
        else:
            self._write(single)

    def _truncate(self, relids: list[int], flags: int, offset: int) -> None:
        names = []
        for relid in relids:
            table = self._written(relid, offset)
            if table is not None and not set(relids) >= self._family(table):
                self._warn_lost(table, "TRUNCATE", _ELSEWHERE)
            elif table is not None:
                self._quiet(table)
                names.append((b" " if table.partitioned else b" ONLY ") + table.own_name)
        if names:
            self._counts["truncated"] += len(names)
            # The message leaves out partitioned tables. CASCADE reaches them, and nothing that the source left alone:
            # there every table that refers to one of these was truncated, too, or TRUNCATE had failed.
            restart = b" RESTART IDENTITY" if flags & 2 else b""
            self._write(b"TRUNCATE" + b",".join(names) + restart + b" CASCADE;\n")

    # --- DDL ----------------------------------------------------------------------------------------------------

    def _audit(self, audit: Audit) -> None:
        """Act on a row that was added to scribe.ddl_history."""
        self._end_run()
        self._restore_triggers()
        if audit.kind == "ddl":
            self._ddl(audit)
            self._announced.update(audit.relids)
        elif audit.kind == "create":
            self._created(audit)
        elif audit.kind == "fill":
            for relid in audit.relids:
                if relid in self._known.facts:
                    self._quiet_facts(relid)
            self._ddl(audit)
            self._restore_triggers()
        elif audit.kind == "script":
            self._script += 1
        elif audit.kind == "scripted":
            self._script = max(self._script - 1, 0)
        elif audit.kind == "refill":
            self._refill, self._refill_begun = audit.relids[0] if audit.relids else 0, False
            self._absent.discard(self._refill)
        elif audit.kind == "refilled":
            self._refilled = self._refill if self._refill_begun else 0
            self._refill = 0
        elif audit.kind == "lost":
            self._warn(f"{audit.tag} could not be recorded: {audit.reason or 'no reason given'}; take a new base")
        else:
            self._warn(f"DDL of unknown kind {audit.kind} left out: {audit.tag}")

    def _quiet_facts(self, relid: int) -> None:
        """A complete UPDATE must not wake triggers that the source's rows woke."""
        if relid in self._known.relations:
            self._quiet(self._table(relid))

    def _created(self, audit: Audit) -> None:
        """CREATE TABLE AS: its rows, if any, made us write the table already."""
        relid = audit.relids[0] if audit.relids else 0
        if relid in self._announced or relid in self._known.made:
            self._known.made.discard(relid)
            return
        self._announced.add(relid)
        facts = self._known.facts.get(relid, {})
        if "c" in facts:
            self._create(facts)
        else:
            self._warn(f"{audit.tag} could not be carried: table {relid} not found")

    def _ddl(self, audit: Audit) -> None:
        if audit.statement is None or not audit.statement.strip(" \t\r\n"):
            self._warn(f"{audit.tag} without its statement: {audit.reason or 'no reason given'}")
            return
        if audit.tag.endswith(" PUBLICATION") and audit.identity == self._known.publication:
            self._warn(
                f"{audit.tag} on {audit.identity}, which this stream is of: changes may be missing; take a new base"
            )
            return
        try:
            text, why = (audit.statement, None) if audit.exact else self._prove(audit)
        except NotSureError as error:
            # not run: what else the text says was done by the source, and is in the stream already
            self._warn(f"{audit.tag} could not be carried: {error}; take a new base")
            return
        self._warn_regrouped(audit, text)
        self._warn_taken(audit, text)
        if (audit.reason or "").startswith(_EMPTIED):
            self._emptied.update(audit.relids)
        if (audit.reason or "").startswith(_ABSENT):
            self._absent.update(audit.relids)
        self._write(ddl_block(audit, text, why))
        self._counts["ddl"] += 1

    def _warn_taken(self, audit: Audit, text: str) -> None:
        """Flag a statement that names what another transaction took away, and note what this one does."""
        if names := taken_names(text, audit.tag):
            taken = [*self._known.taken, *((name, self._commit_lsn, self._xid) for name in names)]
            self._known.taken, self._known.changed = taken[-KEPT:], True
        name = find_taken(self._known.taken, (text, audit.search_path or ""), audit.place, self._xid)
        if name is not None and audit.tag not in HELD and not (audit.reason or "").startswith("own: "):
            self._warn(
                f"{audit.tag} may find something else or nothing where it is restored: another transaction renamed, "
                f"moved or dropped {name} before this one ended; take a new base"
            )

    def _warn_regrouped(self, audit: Audit, text: str) -> None:
        """Flag partitions that take along, or bring, rows that a copy has in others."""
        routed = {relid: facts["h"]["o"] for relid, facts in self._known.facts.items() if facts.get("h")}
        if audit.tag == "DROP TABLE" and self._dropped.get(audit.identity or "") in routed.values():
            self._warn(f"DROP TABLE of partition {audit.identity} drops other rows in a copy{_SPREAD}")
        regrouped = audit.tag == "ALTER TABLE" and _REGROUPED.search(text)
        if regrouped and any(relid in audit.relids or route in audit.relids for relid, route in routed.items()):
            self._warn(f"a partition attached to or detached from {audit.identity} has other rows in a copy{_SPREAD}")

    def _prove(self, audit: Audit) -> tuple[str, str | None]:
        """Return the one statement that ran, and why it cannot be proved (None: it is). Raises NotSureError."""
        text, reason = audit.statement or "", audit.reason or "no reason given"
        if reason.startswith(_CUT_AS):
            with suppress(NotSureError):
                self._cut(audit, text)
            return reason.removeprefix(_CUT_AS), None
        match = _CUT.match(reason)
        try:
            if match is None:  # a guess
                return (self._cut(audit, text) if ";" in text else text), reason
            reason = reason[match.end() :]
            return statement_number(text, int(match[1])) if match[1] else self._cut(audit, text), None
        except NotSureError as error:
            raise NotSureError(f"{reason}: {error}") from None

    def _cut(self, audit: Audit, text: str) -> str:
        """Return the statement of a string that ran; of those that fit, the next one. Raises NotSureError."""
        key = (audit.pid, text)
        self._last_piece[key], found = choose(text, audit.tag, audit.identity, self._last_piece.get(key, -1))
        return found
