"""A search through an archive: segments in parallel processes, each one's findings in a file of its own.

Memory follows neither the number of transactions nor their size: what a process finds goes into a temporary file as
text, with the places where each transaction's begins, so that it can be printed in either order.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from array import array
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from scribe.archive.chains import commit_times, describe_break
from scribe.archive.layout import Archive, Segment
from scribe.archive.segments import Reader, open_plain
from scribe.common.errors import ScribeError
from scribe.common.files import scratch_directory
from scribe.common.lsn import parse_lsn
from scribe.common.printable import json_text, printable
from scribe.history.changes import (
    Asked,
    Change,
    Count,
    Ddl,
    End,
    Item,
    Mark,
    Notice,
    Range,
    Transaction,
    codec_of,
    read_events,
)
from scribe.history.query import DDL, Query
from scribe.history.render import (
    Entry,
    ShortDdl,
    Style,
    commands_of,
    json_change,
    json_ddl,
    json_head,
    line_of,
    shorten_ddl,
    show_names,
    sql_of_ddl,
    statement_of,
)
from scribe.history.serverlog import Asker
from scribe.history.sieve import DDL_LINE, Sieve
from scribe.history.statements import DELETE, KINDS, TRUNCATE, Table

LINE, SQL, JSON, POINTS, STAT = "line", "sql", "json", "points", "stat"
OWN_MARK = "rotate."  # how the marks begin that scribe-rotate writes for itself
_BLOCK = 1 << 20
FEW_ROWS = 10  # deleted in a transaction, which are no place to restore to


@dataclass(frozen=True)
class Form:
    """How transactions are printed. who: what a server's log says of transactions."""

    name: str = LINE
    style: Style = field(default_factory=Style)
    commands: bool = False
    who: dict[int, Asker] = field(default_factory=dict)

    @property
    def by_row(self) -> bool:
        """Whether every row is printed."""
        return self.name in (SQL, JSON)


@dataclass
class Found:
    """What one segment had. text: a file, each transaction's part of which begins at one of starts.

    entries: instead, for those forms that gather what they print. problem: why the segment could not be read.
    """

    segment: str
    text: Path | None = None
    starts: array[int] = field(default_factory=lambda: array("Q"))
    entries: list[Entry] = field(default_factory=list)
    problem: str | None = None


def search_segment(segment: Segment, query: Query, form: Form, directory: str) -> Found:
    """Return what a segment has of what is looked for."""
    found = Found(segment.data.name)
    try:
        with open(os.path.join(directory, f"{segment.data.name}.found"), "w+b") as output:
            found.text = Path(output.name)
            printer = _Printer(output, query, form, found)
            needles = query.needles()
            try:
                printer.print(_items(segment, query, form, needles))
            except ScribeError:
                if not needles:
                    raise
                for _ in _items(segment, query, form, ()):  # names the place, which is another behind a sieve
                    pass
                raise
    except (ScribeError, OSError) as error:
        found.problem = f'segment "{segment.data.name}" could not be read: {error}'
    return found


def _items(segment: Segment, query: Query, form: Form, needles: tuple[bytes, ...]) -> Iterator[Item]:
    by_row = query.by_row or form.by_row
    with open_plain(segment.data, segment.manifest["plain_bytes"]) as plain:
        stream = Sieve(plain, needles, DDL_LINE if query.takes_ddl else None) if needles else plain
        reader = Reader(stream, segment.data.name, comments=True)  # type: ignore[arg-type]
        codec = codec_of(reader.read_header().settings)
        yield from read_events(reader, codec, query.within, wanted=query.fits_table if by_row else _none)


def _none(_table: object) -> bool:
    return False


class _Printer:
    """Prints the transactions of one segment that fit."""

    def __init__(self, output: IO[bytes], query: Query, form: Form, found: Found) -> None:
        self._output = output
        self._query = query
        self._form = form
        self._found = found
        self._entry: Entry | None = None
        self._start = 0
        self._who: Asker | None = None  # of the present transaction
        self._headed = False
        self._late = False  # who made it was told when some of it had been printed

    def print(self, items: Iterator[Item]) -> None:
        for item in items:
            if isinstance(item, Transaction):
                self._begin(item)
            elif self._entry is not None:
                self._take(self._entry, item)

    def _begin(self, head: Transaction) -> None:
        self._who = self._form.who.get(head.xid)
        self._entry = Entry(head, who=str(self._who or "")) if self._query.fits_transaction(head) else None
        self._start = self._output.tell()
        self._headed = self._form.name != SQL
        self._late = False

    def _head(self, entry: Entry) -> None:
        self._headed = True
        self._write(f"-- {line_of(entry, Style()).split('  (nothing)')[0].rstrip()}\n")

    def _asked(self, entry: Entry, asked: Asked) -> None:
        """Note who made the transaction; the server's log, if it was named, goes before."""
        if self._who is None:
            self._who = Asker(asked.role, asked.address, asked.application)
            entry.who = str(self._who)
            self._late = self._output.tell() > self._start

    def _write(self, text: str) -> None:
        self._output.write(text.encode("utf-8", "surrogateescape"))

    def _write_sql(self, text: str) -> None:
        self._write(printable(text, "\n\t") if self._form.style.terminal else text)

    def _take(self, entry: Entry, item: Item) -> None:
        if isinstance(item, Asked):
            self._asked(entry, item)
            return
        if not self._headed:
            self._head(entry)
        if isinstance(item, Change | Count):
            if self._query.fits_rows(item, entry.head.commit_lsn):
                entry.count(item.kind, item.table, item.rows if isinstance(item, Count) else 1)
                if isinstance(item, Change):
                    self._print_change(entry.head, item)
        elif isinstance(item, Ddl):
            if item.own is None and self._query.fits_ddl(item, entry.head.commit_lsn):
                entry.ddl.append(shorten_ddl(item))
                self._print_ddl(entry.head, item)
        elif isinstance(item, Mark):
            self._mark(entry, item)
        elif isinstance(item, Notice):
            if not self._is_narrow():
                entry.notices.append(item.text)
        elif isinstance(item, End):
            self._end(entry)

    def _is_narrow(self) -> bool:
        query = self._query
        return bool(query.by_table or query.by_row or query.kinds or query.role)

    def _mark(self, entry: Entry, mark: Mark) -> None:
        if self._is_narrow() or mark.name.startswith(OWN_MARK):
            return
        entry.marks.append(mark.name)
        if self._form.name == JSON:
            self._write(json_text(json_head(entry.head, "mark") | {"name": mark.name}, indent=None))

    def _print_change(self, head: Transaction, change: Change) -> None:
        if self._form.name == SQL:
            self._write_sql(statement_of(change) + "\n")
        elif self._form.name == JSON:
            self._write(json_text(json_change(head, change) | self._json_who(), indent=None))

    def _print_ddl(self, head: Transaction, ddl: Ddl) -> None:
        if self._form.name == SQL:
            self._write_sql(sql_of_ddl(ddl.statement))
        elif self._form.name == JSON:
            self._write(json_text(json_ddl(head, ddl), indent=None))

    def _json_who(self) -> dict[str, str | None]:
        who = self._who
        return {"asked_by": who.role, "address": who.address, "application": who.application} if who else {}

    def _end(self, entry: Entry) -> None:
        self._entry = None
        there = bool(entry.rows or entry.ddl or entry.marks or entry.notices)
        if self._query.role is not None and not entry.ddl:
            there = there and self._who is not None and self._who.role == self._query.role
        least = self._query.larger_than
        if not there or (least is not None and entry.total <= least):
            self._output.seek(self._start)
            self._output.truncate()
            return
        if self._late and self._form.name == JSON:
            self._add_who()
        if self._form.name in (POINTS, STAT):
            if self._form.name == STAT or entry.ddl or entry.marks or _loses_rows(entry):
                self._found.entries.append(entry)
            return
        self._write(text_of(entry, self._form))
        self._found.starts.append(self._start)

    def _add_who(self) -> None:
        """Add who made the transaction to the lines of its changes: a long one tells that only at its end."""
        self._output.seek(self._start)
        with tempfile.TemporaryFile() as lines:
            shutil.copyfileobj(self._output, lines)
            lines.seek(0)
            self._output.seek(self._start)
            self._output.truncate()
            for line in lines:
                value = json.loads(line)
                added = self._json_who() if value["kind"] in KINDS else {}
                self._write(json_text(value | added, indent=None))


def text_of(entry: Entry, form: Form) -> str:
    """Return what stands of a transaction beside its changes."""
    text = line_of(entry, form.style) if form.name == LINE else ""
    text += commands_of(entry) if form.commands and form.name != JSON else ""
    return text + ("\n" if form.name == SQL else "")


def _loses_rows(entry: Entry) -> bool:
    return any(counts["truncate"] or counts["delete"] >= FEW_ROWS for counts in entry.rows.values())


# What manifests tell alone


def from_manifest(segment: Segment, query: Query, form: Form) -> Found | None:
    """Return what a segment has, if its manifest is enough to know; None if the segment has to be read."""
    manifest = segment.manifest
    if "schema_changes" not in manifest or not _is_within(segment, query.within):
        return None
    if query.by_table and not _may_fit(manifest, query):
        return Found(manifest["file"])
    if query.by_row or query.xids or query.larger_than is not None or form.who or form.by_row:
        return None
    if query.role is not None and query.kinds != {DDL}:  # who changed rows is in the segment alone
        return None
    if form.name == LINE and query.kinds != {DDL}:
        return None
    found = Found(manifest["file"])
    if form.name == STAT and query.renames_within(segment.from_lsn, segment.to_lsn):
        return None  # rows are not told by what the table was called
    if form.name == STAT:
        found.entries = [_rows_of(manifest, query)]
        return found
    entries = _events_of(manifest, query, points=form.name == POINTS)
    if entries is None:
        return None
    found.entries = [entries[lsn] for lsn in sorted(entries)]
    return found


def _is_within(segment: Segment, within: Range) -> bool:
    """Whether all of a segment's transactions are within a range."""
    if (within.from_lsn or 0) > segment.from_lsn or (within.to_lsn is not None and within.to_lsn < segment.to_lsn):
        return False
    if within.since is None and within.until is None:
        return True
    first, last = commit_times(segment)
    if first is None or last is None:
        return False
    return (within.since or first) <= first and last <= (within.until or last)


def _may_fit(manifest: dict[str, Any], query: Query) -> bool:
    names = [name for change in manifest["schema_changes"] for name in change["names"]]
    return any(query.fits_table(Table(t["schema"], t["name"])) for t in manifest["tables"]) or any(
        query.fits_object((schema, name["name"]), 0) for name in names for schema in (name["schema"], None)
    )


def _rows_of(manifest: dict[str, Any], query: Query) -> Entry:
    """Return the rows of all transactions of a segment as those of one."""
    entry = Entry(Transaction(0, parse_lsn(manifest["to_lsn"]), manifest["last_commit_time"] or "", manifest["file"]))
    lsn = parse_lsn(manifest["from_lsn"])
    for row in manifest["tables"]:
        table = Table(row["schema"], row["name"])
        for kind, name in _COUNTED.items():
            if row.get(name) and query.fits_kind(kind) and query.fits_table(table, lsn):
                entry.count(kind, table, row[name])
    entry.ddl = [_short(change) for change in manifest["schema_changes"] if _fits_change(change, query)]
    return entry


def _events_of(manifest: dict[str, Any], query: Query, *, points: bool) -> dict[int, Entry] | None:
    """Return the transactions with schema changes, and if points are asked for, with other events; None: not known."""
    found: dict[int, Entry] = {}

    def entry_of(event: dict[str, Any]) -> Entry:
        lsn = parse_lsn(event["lsn"])
        return found.setdefault(lsn, Entry(Transaction(event["xid"], lsn, event["time"], manifest["file"])))

    for change in manifest["schema_changes"]:
        if _fits_change(change, query):
            entry_of(change).ddl.append(_short(change))
    if not points:
        return found
    if not (query.by_table or query.kinds or query.role):
        for mark in manifest["marks"]:
            entry_of(mark).marks.append(mark["name"])
    for kind, rows in _losses(manifest):
        for event, table, number in rows:
            if table is None:
                return None
            if query.role is None and query.fits_kind(kind) and query.fits_table(table, parse_lsn(event["lsn"])):
                entry_of(event).count(kind, table, number)
    return found


def _losses(manifest: dict[str, Any]) -> Iterator[tuple[str, list[tuple[dict[str, Any], Table | None, int]]]]:
    """Yield the TRUNCATEs and the largest DELETEs: event, table (None: not known), rows."""
    yield TRUNCATE, [(event, Table(event["schema"], event["name"]), 1) for event in manifest["truncates"]]
    for event in manifest["largest_deletes"]:
        tables = [(event, Table(t["schema"], t["name"]), t["rows"]) for t in event["tables"]]
        yield DELETE, [*tables] or [(event, None, event["rows"])]


def _fits_change(change: dict[str, Any], query: Query) -> bool:
    if not query.fits_kind(DDL) or (query.role is not None and query.role != change.get("by")):
        return False
    lsn = parse_lsn(change["lsn"])
    names = [(name["schema"], name["name"]) for name in change["names"]]
    if change.get("ambiguous"):
        names += [(None, name) for _, name in names]
    return not query.by_table or any(query.fits_object(name, lsn) for name in names)


def _short(change: dict[str, Any]) -> ShortDdl:
    names = [(name["schema"], name["name"]) for name in change["names"]]
    asked = change.get("by"), change.get("from"), change.get("application")
    return ShortDdl(change["tag"], show_names(names) or change.get("text", ""), *asked)


_COUNTED = {"insert": "inserted", "update": "updated", "delete": "deleted", "truncate": "truncated"}


# The whole archive


def choose_segments(segments: Iterable[Segment], query: Query, on_gap: Callable[[str], None]) -> list[Segment]:
    """Return the segments that may hold something within the query's range; tell of gaps between them."""
    chosen: list[Segment] = []
    before: Segment | None = None
    for segment in segments:
        if not query.within.may_hold(segment):
            before = None if chosen else segment
            continue
        if chosen and before is not None and (gap := describe_break(before, segment)) is not None:
            on_gap(f"the archive has a gap: {gap}")
        chosen.append(segment)
        before = segment
    return chosen


def search(
    archive: Archive, segments: list[Segment], query: Query, form: Form, *, reverse: bool, jobs: int | None = None
) -> Iterator[Found]:
    """Yield what each segment of an archive has: the newest first, or with reverse the oldest.

    Files are removed behind it.
    """
    order = segments if reverse else list(reversed(segments))
    work = [from_manifest(segment, query, form) or segment for segment in order]
    unread = [item for item in work if isinstance(item, Segment)]
    number = min(jobs or os.cpu_count() or 1, len(unread))
    brought = archive.bring(unread, behind=2 * number)
    todo = (next(brought) if isinstance(item, Segment) else item for item in work)
    with tempfile.TemporaryDirectory(prefix="scribe-log-", dir=scratch_directory()) as directory:
        if number < 2:
            for item in todo:
                yield search_segment(item, query, form, directory) if isinstance(item, Segment) else item
            return
        yield from _in_processes(todo, query, form, directory, number)


def _in_processes(
    work: Iterable[Segment | Found], query: Query, form: Form, directory: str, number: int
) -> Iterator[Found]:
    """Yield results in order, with no more of them waiting than are being worked at."""
    waiting: list[Future[Found]] = []
    with ProcessPoolExecutor(number) as pool:
        try:
            for item in work:
                if isinstance(item, Segment):
                    waiting.append(pool.submit(search_segment, item, query, form, directory))
                else:
                    waiting.append(Future())
                    waiting[-1].set_result(item)
                if len(waiting) > 2 * number:
                    yield waiting.pop(0).result()
            while waiting:
                yield waiting.pop(0).result()
        finally:
            for future in waiting:
                future.cancel()


def texts(found: Found, *, reverse: bool, most: int | None = None) -> Iterator[bytes]:
    """Yield the text of transactions, no more than most, in blocks, the newest or oldest first; then the file goes."""
    if found.text is None:
        return
    with open(found.text, "rb") as stream:
        ends = [*found.starts[1:], os.fstat(stream.fileno()).st_size] if found.starts else []
        places = list(zip(found.starts, ends, strict=True))
        for start, end in (places if reverse else places[::-1])[:most]:
            stream.seek(start)
            for at in range(start, end, _BLOCK):
                yield stream.read(min(end - at, _BLOCK))
    found.text.unlink()
