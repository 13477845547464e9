"""What a search found over the whole range: places to restore to, and rows by table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from scribe.common.lsn import format_lsn
from scribe.common.printable import printable
from scribe.history.render import Entry, Style, commands_of, table_name
from scribe.history.search import FEW_ROWS
from scribe.history.statements import KINDS, Table

MOST_DELETES = 10  # of them are named as places to restore to


def largest_deletes(entries: Iterable[Entry]) -> set[tuple[int, int]]:
    """Return commit LSN and xid of the transactions that deleted most rows."""
    sizes = [(_deleted(entry), entry.head.commit_lsn, entry.head.xid) for entry in entries]
    return {(lsn, xid) for deleted, lsn, xid in sorted(sizes, reverse=True)[:MOST_DELETES] if deleted >= FEW_ROWS}


def _deleted(entry: Entry) -> int:
    return sum(counts["delete"] for counts in entry.rows.values())


def points(entries: list[Entry], style: Style, *, commands: bool) -> Iterator[str]:
    """Yield a line for each mark, schema change, TRUNCATE and large DELETE."""
    largest = largest_deletes(entries)
    for entry in entries:
        lines = [*_marks(entry, style), *_changes(entry, style, (entry.head.commit_lsn, entry.head.xid) in largest)]
        for what in lines:
            number = f"xid {entry.head.xid}" if entry.head.xid else "xid -"
            place = style.paint(f"{number:<14} {format_lsn(entry.head.commit_lsn):<12}", "33")
            yield f"{entry.head.time}  {place} {what}{entry.asked}\n"
        if lines and commands:
            yield commands_of(entry)


def _marks(entry: Entry, style: Style) -> Iterator[str]:
    for name in entry.marks:
        yield style.paint(f"mark {name}", "35")


def _changes(entry: Entry, style: Style, large: bool) -> Iterator[str]:
    for ddl in entry.ddl:
        yield style.paint(str(ddl), "36")
    for table, counts in entry.rows.items():
        if counts["truncate"]:
            yield style.paint(f"TRUNCATE {table_name(table)}", "31")
        if large and counts["delete"]:
            yield style.paint(f"DELETE of {counts['delete']} rows from {table_name(table)}", "31")


def totals(entries: Iterable[Entry]) -> dict[Table, dict[str, int]]:
    """Return the rows of each table by kind."""
    found: dict[Table, dict[str, int]] = {}
    for entry in entries:
        for table, counts in entry.rows.items():
            into = found.setdefault(table, dict.fromkeys(KINDS, 0))
            for kind, number in counts.items():
                into[kind] += number
    return found


def stat(found: dict[Table, dict[str, int]], ddl: int) -> Iterator[str]:
    """Yield a line for each table, and one for the schema changes."""
    names = {table: printable(table_name(table)) for table in found}
    width = max([len("table"), *map(len, names.values())])
    heads = ("inserted", "updated", "deleted", "truncated")
    yield f"{'table':<{width}}" + "".join(f" {head:>12}" for head in heads) + "\n"
    for table in sorted(found, key=lambda table: (table.schema, table.name)):
        yield f"{names[table]:<{width}}" + "".join(f" {found[table][kind]:>12}" for kind in KINDS) + "\n"
    if ddl:
        yield f"schema changes: {ddl}\n"
