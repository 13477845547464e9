"""Which transaction gave each column of a row its value, as far as an archive's segments tell."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from scribe.archive.layout import Archive, Segment
from scribe.archive.segments import Reader, open_plain
from scribe.common.ddlnames import read_dropped_columns
from scribe.common.dialect import quote_literal
from scribe.common.errors import ScribeError
from scribe.common.lsn import format_lsn
from scribe.history.changes import Change, Ddl, Transaction, codec_of, read_events
from scribe.history.query import Query
from scribe.history.render import Style, json_head, name_of, shorten_ddl, table_name
from scribe.history.sieve import Sieve
from scribe.history.statements import DELETE, INSERT, TRUNCATE, UPDATE

_SHOWN = 200  # characters of a value on a line
OLDER = "the row is older than the segments: columns that no change since gave a value are left out"


Key = tuple[tuple[str, str | None], ...]  # names, as they are now, and values


@dataclass(frozen=True, slots=True)
class Step:
    """A change of a row, or of its table's schema. number: its place among what the transaction did to the table."""

    head: Transaction
    number: int
    change: Change | Ddl

    @property
    def order(self) -> tuple[int, int]:
        """What steps are sorted by."""
        return self.head.commit_lsn, self.number


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


class Trace:
    """The life of the row that had a key last, followed backwards: through other keys, to its INSERT if that is there.

    on_problem: gets a message for each segment that cannot be read.
    """

    def __init__(
        self, archive: Archive, segments: Sequence[Segment], query: Query, on_problem: Callable[[str], None]
    ) -> None:
        self._archive, self._segments, self._query, self._on_problem = archive, segments, query, on_problem
        self._key: Key = query.key
        self._steps: list[Step] = []  # of the row, the newest first
        self._end: Step | None = None
        self._begun = False  # at its INSERT

    def blame(self) -> Blame:
        """Return where each column's value came from. Raises ScribeError if the key is none, or of several tables."""
        bound: tuple[int, int] | None = None
        altered: list[Step] = []
        while True:
            found = [step for step in self._find(bound) if bound is None or step.order < bound]
            _refuse_several(found, self._query)
            altered = altered or [step for step in found if isinstance(step.change, Ddl)]
            bound = self._follow(found)
            if bound is None:
                return self._gather(altered)

    def _find(self, bound: tuple[int, int] | None) -> list[Step]:
        """Return what happened to rows that had, or got, the present key, and to the table, before a step."""
        within = self._query.within
        if bound is not None:
            within = replace(within, to_lsn=bound[0])
        asked = replace(self._query, key=self._key, within=within)
        found: list[Step] = []
        for segment in self._archive.bring(each for each in self._segments if within.may_hold(each)):
            try:
                found += _read(segment, asked)
            except (ScribeError, OSError) as error:
                self._on_problem(f'segment "{segment.data.name}" could not be read: {error}')
        return found

    def _follow(self, found: Sequence[Step]) -> tuple[int, int] | None:
        """Go back through these steps; return the one at which the row had another key, None at the end."""
        for step in reversed(found):
            change = step.change
            if isinstance(change, Ddl):
                if change.tag == "DROP TABLE" and self._is_free():
                    self._end = self._end or step
                continue
            if change.kind == TRUNCATE:
                self._end = self._end or (step if self._is_free() else None)
                continue
            before, after = self._keys(step, change)
            leaves = before == self._key and after != self._key
            if self._begun:  # the row is known; what had its key before must have lost it
                if not leaves:
                    self._refuse_two(change)
                return None
            if leaves:
                if self._steps or self._has_left():
                    self._refuse_two(change)
                self._end = step  # a TRUNCATE or DROP after it did nothing to the row
                continue
            self._steps.append(step)
            self._begun = change.kind == INSERT
            if before is not None and before != self._key:
                self._key = before
                return step.order
        return None

    def _is_free(self) -> bool:
        return not self._steps and self._end is None

    def _has_left(self) -> bool:
        return self._end is not None and isinstance(self._end.change, Change) and self._end.change.kind != TRUNCATE

    def _keys(self, step: Step, change: Change) -> tuple[Key | None, Key | None]:
        """Return the key that a row had before a change and after it; None: it was not there."""
        old = {_name_now(name, step.head, self._query): value for name, value in change.key.items()}
        new = old | {_name_now(name, step.head, self._query): value for name, value in change.values.items()}
        names = [name for name, _ in self._key]
        before = tuple((name, old.get(name)) for name in names) if change.kind != INSERT else None
        return before, tuple((name, new.get(name)) for name in names) if change.kind != DELETE else None

    def _refuse_two(self, change: Change) -> None:
        raise ScribeError(
            f"more than one row of {table_name(change.table)} has that key", "Name all columns of the key."
        )

    def _gather(self, altered: Sequence[Step]) -> Blame:
        found = Blame(end=self._end, whole=self._begun)
        own = sorted([*self._steps, *altered], key=lambda step: step.order)
        if not self._steps and self._end is not None and isinstance(self._end.change, Change):
            _change(found, self._end, replace(self._end.change, values={}), self._query)
        for step in own:
            change = step.change
            if isinstance(change, Change):
                _change(found, step, change, self._query)
            elif change.tag == "ALTER TABLE" and self._holds(step):
                found.altered.append(step)
                for column in read_dropped_columns(change.statement, change.codec):
                    found.columns.pop(_name_now(column, step.head, self._query), None)
        return found

    def _holds(self, step: Step) -> bool:
        """Whether a step lies between the first that is known of the row and its end."""
        begun = bool(self._steps) and self._steps[-1].order < step.order
        return begun and (self._end is None or step.order < self._end.order)


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
    number = 0
    any_row = replace(query, key=())
    for item in read_events(reader, codec, query.within, wanted=query.fits_table):
        number += 1
        if isinstance(item, Transaction):
            head, number = item, 0
        elif head is None:
            continue
        elif isinstance(item, Change):
            emptied = item.kind == TRUNCATE and query.fits_table(item.table, head.commit_lsn)
            if emptied or query.fits_rows(item, head.commit_lsn):
                yield Step(head, number, item)
        elif isinstance(item, Ddl) and _is_of_table(item) and any_row.fits_ddl(item, head.commit_lsn):
            yield Step(head, number, item)


def _is_of_table(ddl: Ddl) -> bool:
    return ddl.own is None and ddl.tag in ("ALTER TABLE", "DROP TABLE")


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
    lsn = head.commit_lsn
    for names in query.aliases:
        if any(name == each and start <= lsn and (end is None or lsn <= end) for each, start, end in names):
            return names[-1][0]
    return name


def _change(found: Blame, step: Step, change: Change, query: Query) -> None:
    """Take a change of the row, the oldest first."""
    for name, value in change.key.items():  # as it was before
        found.columns.setdefault(_name_now(name, step.head, query), Origin(value, None))
    for name, value in change.values.items():
        now = _name_now(name, step.head, query)
        before = found.columns.get(now)
        if before is None or before.value != value:
            found.columns[now] = Origin(value, step.head, before is not None or change.kind == INSERT)


def lines(found: Blame, style: Style) -> Iterator[str]:
    """Yield a line for each column, then what took the row away, if anything has."""
    shown = [(name_of(name), origin) for name, origin in found.columns.items()]
    width = max((len(name) for name, _ in shown), default=0)
    for name, origin in shown:
        value = _shown(origin.value)
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
    if isinstance(change, Ddl):
        return str(shorten_ddl(change))
    if change.kind == UPDATE:
        return f"now {', '.join(f'{name_of(name)} = {_shown(value)}' for name, value in change.values.items())}"
    return f"{change.kind}d"


def _shown(value: str | None) -> str:
    return "NULL" if value is None else quote_literal(_cut(value))


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
