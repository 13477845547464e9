"""Rows of a copy are made those of another one, by statements that are kept: what differs in tables, and in what else.

The two have the same schema. Each statement is run as it is kept, so that what is written is what has been seen to do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import psycopg

from scribe.common.dialect import quote_name
from scribe.common.errors import ScribeError
from scribe.restore import rowdiff
from scribe.restore.acting import read_acting
from scribe.restore.constraints import Table
from scribe.restore.copies import Copy
from scribe.restore.difference_script import SETTINGS, Script

Choose = Callable[[psycopg.Connection[Any]], set[int] | None]  # the OIDs of what is compared, None for everything
_WHOLE = "Leave out --table and --schema: the difference of everything can be written."


class RefusedError(ScribeError):
    """Rows cannot be changed under the schema of the second point: a constraint may have come after them, NOT VALID."""


class Rows:
    """The rows that are compared. other: the copy that has them as they are to be; choose: which."""

    def __init__(self, other: Copy, choose: Choose, *, partial: bool) -> None:
        self.other, self.choose, self.partial = other, choose, partial

    def bring(self, changed: Copy, script: Script) -> None:
        """Make the rows of a copy those of the second, and add the statements that do; what is wrong then is said."""
        with changed.connected() as before, self.other.connected() as after:
            conns = (before, after)
            for conn in conns:
                conn.execute(SETTINGS.encode())
            pairs = list(self._pairs(conns))
            self._carry(conns, pairs, script)
            script.sequences = list(rowdiff.compare_sequences(conns, [self._sequences(conn) for conn in conns]))
            for unit, other in pairs:
                if unit.kind != "m" and self._still_differs(conns, unit, other):
                    raise ScribeError(
                        f"the rows of {unit.relation} cannot be written as they are at the second point",
                        "Restore to both points with scribe-restore, and compare dumps of the two.",
                    )

    def _pairs(self, conns: Sequence[psycopg.Connection[Any]]) -> Iterator[tuple[rowdiff.Unit, rowdiff.Unit]]:
        """The tables that differ in rows, as they are in both."""
        before, after = (rowdiff.read_units(conn) for conn in conns)
        wanted = self.wanted(conns[0], before) | self.wanted(conns[1], after)
        for name in sorted(wanted):
            if name not in before or name not in after:
                raise ScribeError(f"{'.'.join(name)} is a table at one of the points only", _WHOLE)
            if _columns(before[name]) != _columns(after[name]):
                raise ScribeError(f"{'.'.join(name)} has other columns than at the second point", _WHOLE)
            if self._still_differs(conns, before[name], after[name]):
                yield before[name], after[name]

    def wanted(self, conn: psycopg.Connection[Any], units: Mapping[Table, rowdiff.Unit]) -> set[Table]:
        """Return the tables that are compared, of those in one database."""
        chosen = self._chosen(conn)
        return {name for name, unit in units.items() if chosen is None or unit.oids & chosen}

    def _chosen(self, conn: psycopg.Connection[Any]) -> set[int] | None:
        conn.execute("RESET search_path")  # a table without a schema is one that is seen
        try:
            return self.choose(conn)
        finally:
            conn.execute("SET search_path = ''")

    def _sequences(self, conn: psycopg.Connection[Any]) -> set[int] | None:
        """The OIDs of the sequences that are compared, and of tables all of whose are; None for all."""
        chosen = self._chosen(conn)
        if chosen is None:
            return None
        units = rowdiff.read_units(conn)
        return chosen.union(*(units[name].oids for name in self.wanted(conn, units)))

    def _still_differs(self, conns: Sequence[psycopg.Connection[Any]], unit: rowdiff.Unit, other: rowdiff.Unit) -> bool:
        with conns[0].transaction(), conns[1].transaction():
            both = rowdiff.compare_rows(rowdiff.rows_of(conns[0], unit), rowdiff.rows_of(conns[1], other), keyed=False)
            return next(both, None) is not None

    def _carry(
        self,
        conns: Sequence[psycopg.Connection[Any]],
        pairs: Sequence[tuple[rowdiff.Unit, rowdiff.Unit]],
        script: Script,
    ) -> None:
        """Add one transaction with what makes the rows equal, and run it."""
        changed, gone = ([], []) if self.partial else rowdiff.compare_objects(conns)
        if not (pairs or changed or gone):
            return
        before = conns[0]
        acting = read_acting(before, sorted({oid for unit, _ in pairs if unit.kind != "m" for oid in unit.oids}))
        script.put("BEGIN;\nSET LOCAL client_encoding = 'UTF8';\n" + rowdiff.check_function())
        script.put("".join(each.off for each in acting))
        with before.transaction():
            before.execute((rowdiff.check_function() + "".join(each.off for each in acting)).encode())
            for unit, other in pairs:
                if unit.kind != "m":
                    _as_owner(script, unit, self._bring(conns, unit, other, script))
            for text in rowdiff.carry_objects(conns[1], changed, gone):
                before.execute(text.encode())
                script.put(text)
            before.execute(("".join(each.on for each in acting) + rowdiff.drop_check()).encode())
        script.objects.update(changed, gone)
        script.put("".join(each.on for each in acting))
        script.put(rowdiff.drop_check() + "COMMIT;\n")
        for unit, other in pairs:
            if unit.kind == "m":
                self._refresh(conns, unit, other, script)

    def _bring(
        self,
        conns: Sequence[psycopg.Connection[Any]],
        unit: rowdiff.Unit,
        other: rowdiff.Unit,
        script: Script,
    ) -> rowdiff.Rows:
        """Make the rows of one table equal; return the statements that did."""
        owner = unit.relation.owner
        for replacing in (False, True):
            rows = rowdiff.Rows(unit)
            rows.find(conns, other, replacing=replacing)
            try:
                with conns[0].transaction():
                    conns[0].execute(f"SET LOCAL ROLE {quote_name(owner) if owner else 'NONE'}".encode())
                    for block in rows:
                        conns[0].execute(block)
                    conns[0].execute("SET LOCAL ROLE NONE")
            except (psycopg.errors.UniqueViolation, psycopg.errors.ExclusionViolation) as error:
                if replacing:
                    raise _refused(unit, error) from None
            except psycopg.errors.InsufficientPrivilege as error:
                raise _refused(unit, error, f" with the rights of {owner}, who owns it") from None
            except psycopg.Error as error:
                raise _refused(unit, error) from None
            else:
                break
        script.count(unit, rows.count)
        return rows

    def _refresh(
        self,
        conns: Sequence[psycopg.Connection[Any]],
        unit: rowdiff.Unit,
        other: rowdiff.Unit,
        script: Script,
    ) -> None:
        text = rowdiff.refresh(conns[0], unit.relation.oid)
        try:
            with conns[0].transaction():
                conns[0].execute(text.encode())
        except psycopg.Error as error:  # its query may need what a session has set
            said = error.diag.message_primary or str(error)
            script.left.append(f"materialized view {unit.relation}: it could not be refreshed ({said})")
            return
        owner = unit.relation.owner
        script.put(f"SET ROLE {quote_name(owner)};\n{text}SET ROLE NONE;\n" if owner else text)
        script.refreshed.append(str(unit.relation))
        if self._still_differs(conns, unit, other):
            script.left.append(
                f"materialized view {unit.relation}: at the second point it holds what its query gave earlier"
            )


def _refused(unit: rowdiff.Unit, error: psycopg.Error, how: str = "") -> RefusedError:
    said = error.diag.message_primary or str(error)
    hint = "Restore to both points with scribe-restore, and compare dumps of the two."
    return RefusedError(f"the rows of {unit.relation} cannot be changed{how}: {said}", hint)


def _columns(unit: rowdiff.Unit) -> list[str]:
    return [unit.relation.columns[number].name for number in unit.stored]


def _as_owner(script: Script, unit: rowdiff.Unit, statements: rowdiff.Rows) -> None:
    """Add statements on a table's rows, with its owner's rights."""
    owner = unit.relation.owner
    script.put(f"SET LOCAL ROLE {quote_name(owner)};\n" if owner else "")
    for block in statements:
        script.put(block)
    script.put("SET LOCAL ROLE NONE;\n" if owner else "")
