"""Which transaction gave each column of a row its value, as far as an archive's segments tell."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from scribe.archive.layout import Archive, Segment
from scribe.archive.segments import Reader, open_plain
from scribe.common.dialect import quote_literal
from scribe.common.errors import ScribeError
from scribe.common.lsn import format_lsn
from scribe.history.changes import Change, Ddl, Range, Transaction, codec_of, read_events
from scribe.history.query import Query
from scribe.history.render import Style, json_head, name_of, shorten_ddl, table_name
from scribe.history.sieve import Sieve
from scribe.history.statements import DELETE, INSERT, TRUNCATE

_SHOWN = 200  # characters of a value on a line
OLDER = "the row is older than the segments: columns that no change since gave a value are left out"


@dataclass(frozen=True, slots=True)
class Step:
    """A change of the row, or of its table's schema."""

    head: Transaction
    change: Change | Ddl


@dataclass(frozen=True, slots=True)
class Origin:
    """A column's value, and the transaction that gave it; None: it is older than what the segments tell.

    certain: no earlier transaction can have given it already.
    """

    value: str | None
    head: Transaction | None
    certain: bool = True


@dataclass
class Blame:
    """What is known of a row. end: what took it away, if anything has; whole: its INSERT is in the segments."""

    columns: dict[str, Origin] = field(default_factory=dict)
    end: Step | None = None
    whole: bool = False
    altered: list[Step] = field(default_factory=list)  # its table, while the row was there


def read_steps(
    archive: Archive, segments: Sequence[Segment], query: Query, on_problem: Callable[[str], None]
) -> list[Step]:
    """Return the changes of the row with the query's key, oldest first, those under an earlier key included.

    Raises ScribeError if the key is none, or if there are rows of several tables.
    """
    steps: list[Step] = []
    asked = query
    while True:
        found: list[Step] = []
        for segment in archive.bring(each for each in segments if asked.within.may_hold(each)):
            try:
                found += _read(segment, asked)
            except (ScribeError, OSError) as error:
                on_problem(f'segment "{segment.data.name}" could not be read: {error}')
        _refuse_several(found, query)
        steps = found + [step for step in steps if not found or step.head.commit_lsn > found[-1].head.commit_lsn]
        earlier = _earlier_key(found, asked)
        if earlier is None:
            return steps
        first = next(step for step in found if _is_of_row(step.change))
        asked = replace(
            asked,
            key=earlier,
            within=Range(asked.within.from_lsn, first.head.commit_lsn - 1, asked.within.since, asked.within.until),
        )


def _read(segment: Segment, query: Query) -> list[Step]:
    manifest = segment.manifest
    rows_only = manifest.get("truncates") == [] and manifest.get("schema_changes") == []
    needles = query.needles() if rows_only else ()
    with open_plain(segment.data, manifest["plain_bytes"]) as plain:
        stream = Sieve(plain, needles) if needles else plain
        reader = Reader(stream, segment.data.name, comments=True)  # type: ignore[arg-type]
        codec = codec_of(reader.read_header().settings)
        return list(_steps(reader, codec, query))


def _steps(reader: Reader, codec: str, query: Query) -> Iterator[Step]:
    head: Transaction | None = None
    any_row = replace(query, key=())
    for item in read_events(reader, codec, query.within, wanted=query.fits_table):
        if isinstance(item, Transaction):
            head = item
        elif head is None:
            continue
        elif isinstance(item, Change):
            emptied = item.kind == TRUNCATE and query.fits_table(item.table, head.commit_lsn)
            if emptied or query.fits_rows(item, head.commit_lsn):
                yield Step(head, item)
        elif isinstance(item, Ddl) and _is_of_table(item) and any_row.fits_ddl(item, head.commit_lsn):
            yield Step(head, item)


def _is_of_table(ddl: Ddl) -> bool:
    return ddl.own is None and ddl.tag in ("ALTER TABLE", "DROP TABLE")


def _is_of_row(change: Change | Ddl) -> bool:
    return isinstance(change, Change) and change.kind != TRUNCATE


def _refuse_several(steps: Sequence[Step], query: Query) -> None:
    tables = {step.change.table for step in steps if isinstance(step.change, Change)}
    current = {name for name, _, end in query.names if end is None}
    if len(tables) > 1 and (len(tables & current) > 1 or tables - {name for name, _, _ in query.names}):
        shown = ", ".join(sorted(map(table_name, tables)))
        raise ScribeError(f"rows of several tables have that key: {shown}", "Name one of them, with its schema.")
    for step in steps:
        change = step.change
        if not isinstance(change, Change) or change.kind in (INSERT, TRUNCATE) or change.whole:
            continue
        names = {_name_now(name, step.head, query) for name in change.key}
        if names != {name for name, _ in query.key}:
            key = ", ".join(map(name_of, sorted(names)))
            raise ScribeError(
                f"that is not the key of {table_name(change.table)}, which is ({key})", "Name all its columns."
            )


def _name_now(name: str, head: Transaction, query: Query) -> str:
    """Return what a column of a transaction's is called since the last rename."""
    for old, new, lsn in query.aliases:
        if name == old and lsn >= head.commit_lsn:
            name = new
    return name


def _earlier_key(steps: Sequence[Step], query: Query) -> tuple[tuple[str, str | None], ...] | None:
    """Return the key that the row had before it got the one it is asked for by."""
    first = next((step for step in steps if _is_of_row(step.change)), None)
    if first is None or not isinstance(first.change, Change) or first.change.kind == INSERT:
        return None
    before = {_name_now(name, first.head, query): value for name, value in first.change.key.items()}
    earlier = tuple((name, before.get(name, value)) for name, value in query.key)
    return earlier if earlier != query.key else None


def blame(steps: Sequence[Step], query: Query) -> Blame:
    """Return where each column's value came from. Raises ScribeError if there are two rows."""
    found = Blame()
    for step in steps:
        change = step.change
        if isinstance(change, Ddl):
            _alter(found, step, change)
        elif change.kind == INSERT:
            if found.columns and found.end is None:
                raise ScribeError(
                    f"more than one row of {table_name(change.table)} has that key", "Name all columns of the key."
                )
            columns = {_name_now(name, step.head, query): value for name, value in change.values.items()}
            found = Blame({name: Origin(value, step.head) for name, value in columns.items()}, whole=True)
        else:
            _change(found, step, change, query)
    return found


def _change(found: Blame, step: Step, change: Change, query: Query) -> None:
    if change.kind == TRUNCATE:
        found.end = found.end or step
        return
    found.end = step if change.kind == DELETE else None
    for name, value in change.key.items():  # as it was before
        found.columns.setdefault(_name_now(name, step.head, query), Origin(value, None))
    for name, value in change.values.items() if change.kind != DELETE else ():
        now = _name_now(name, step.head, query)
        before = found.columns.get(now)
        if before is None or before.value != value:
            found.columns[now] = Origin(value, step.head, before is not None)


def _alter(found: Blame, step: Step, ddl: Ddl) -> None:
    if ddl.tag == "DROP TABLE":
        found.end = found.end or step
        return
    if found.end is None:
        found.altered.append(step)
    for name in list(found.columns):
        if re.search(
            rf"(?i)\bDROP\s+(?:COLUMN\s+)?(?:IF\s+EXISTS\s+)?{re.escape(name_of(name))}(?![\w$])", ddl.statement
        ):
            del found.columns[name]


def lines(found: Blame, style: Style) -> Iterator[str]:
    """Yield a line for each column, then what took the row away, if anything has."""
    shown = [(name_of(name), origin) for name, origin in found.columns.items()]
    width = max((len(name) for name, _ in shown), default=0)
    for name, origin in shown:
        value = "NULL" if origin.value is None else quote_literal(_cut(origin.value))
        later = "" if origin.certain else "  (or earlier)"
        shown_name = style.paint(f"{name:<{width}}", "32")
        yield f"{shown_name}  {_place(origin.head, style)}  {style.paint(value, '0')}{later}\n"
    for step in found.altered:
        yield f"{'':<{width}}  {_place(step.head, style)}  {style.paint(_describe(step), '36')}\n"
    if found.end is not None:
        yield f"{'':<{width}}  {_place(found.end.head, style)}  {style.paint(_describe(found.end), '31')}\n"


def _cut(value: str) -> str:
    return value if len(value) <= _SHOWN else value[:_SHOWN] + "..."


def _describe(step: Step) -> str:
    change = step.change
    return str(shorten_ddl(change)) if isinstance(change, Ddl) else f"{change.kind}d"


def _place(head: Transaction | None, style: Style) -> str:
    if head is None:
        return style.paint(f"{'older than what the segments tell':<62}", "33")
    number = f"xid {head.xid}" if head.xid else "xid -"
    return f"{head.time}  " + style.paint(f"{number:<14} {format_lsn(head.commit_lsn):<16}", "33")


def json_lines(found: Blame) -> Iterator[dict[str, Any]]:
    """Yield a value for each column, then one for what took the row away, if anything has."""
    for name, origin in found.columns.items():
        head = (
            json_head(origin.head, "blame")
            if origin.head
            else {"xid": None, "lsn": None, "time": None, "kind": "blame"}
        )
        yield head | {"column": name, "value": origin.value, "certain": origin.certain}
    if found.end is not None:
        change = found.end.change
        yield json_head(found.end.head, "gone") | {"by": change.kind if isinstance(change, Change) else change.tag}
