"""Why nothing was found: what was asked for is not in the archive, and what is nearest to it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from scribe.archive.chains import line_time
from scribe.archive.layout import Archive, Segment
from scribe.archive.pruned import read_pruned
from scribe.common.errors import ScribeError
from scribe.common.lsn import format_lsn
from scribe.history.changes import Change, Count, Item, Range, read_segment
from scribe.history.names import base_tables
from scribe.history.query import Query
from scribe.history.render import table_name
from scribe.history.statements import Table

_ROTATE = (
    'Run "scribe-rotate --wait-lsn current" to have what was committed since; "scribe-restore --list" shows the rest.'
)
_MADE = ("CREATE TABLE", "CREATE TABLE AS", "SELECT INTO")
_MOST = 5  # names that are proposed


def refuse_outside(segments: Sequence[Segment], query: Query) -> None:
    """Raise ScribeError if the whole range lies outside of what the archive's segments hold."""
    if not segments:
        raise ScribeError("the archive has no segments yet", 'Run "scribe-rotate --wait-lsn current" on the source.')
    first, last = segments[0], segments[-1]
    within = query.within
    reach = f"the archive's segments hold {format_lsn(first.from_lsn)} to {format_lsn(last.to_lsn)}"
    if within.from_lsn is not None and within.from_lsn > last.to_lsn:
        raise ScribeError(f"could not find anything from {format_lsn(within.from_lsn)} on: {reach}", _ROTATE)
    if within.to_lsn is not None and within.to_lsn < first.from_lsn:
        raise ScribeError(f"could not find anything up to {format_lsn(within.to_lsn)}: {reach}", _ROTATE)
    _refuse_times(segments, within)


def _refuse_times(segments: Sequence[Segment], within: Range) -> None:
    if within.since is None and within.until is None:
        return
    closed = max(line_time(segment.manifest["closed"]) for segment in segments[-1:])
    starts = [segment.manifest["first_commit_time"] for segment in segments if segment.manifest["first_commit_time"]]
    ends = [
        line_time(segment.manifest["last_commit_time"]) for segment in segments if segment.manifest["last_commit_time"]
    ]
    end = max([closed, *ends])
    if within.since is not None and within.since > end:
        raise ScribeError(f"could not find anything since {within.since}: the archive's segments end at {end}", _ROTATE)
    if within.until is not None and starts and within.until < (first := line_time(starts[0])):
        raise ScribeError(
            f"could not find anything until {within.until}: the archive's segments begin at {first}", _ROTATE
        )


def explain_absence(archive: Archive, segments: Iterable[Segment], query: Query) -> None:
    """Raise ScribeError if nothing was found because what was asked for has never been there."""
    if query.xids:
        wanted = ", ".join(map(str, sorted(query.xids)))
        where = f"the archive{read_pruned(archive).describe()}"
        raise ScribeError(f"could not find transaction {wanted} with what was asked for in {where}", _ROTATE)
    if query.by_table:
        known = _known_tables(archive)
        fitting = {table for table in known if replace(query, kinds=frozenset()).fits_table(table)}
        if not fitting:
            raise ScribeError("no table of that name was ever in the archive", _nearest(query, known))
    if query.key or query.values or query.columns:
        _explain_columns(archive.bring(segments), query)


def _nearest(query: Query, known: Iterable[Table]) -> str:
    asked = [re.sub(r"\W", "", pattern.removeprefix("^(?:").removesuffix(")$")) for _, pattern in query.tables]
    asked += [re.sub(r"\W", "", pattern.removeprefix("^(?:").removesuffix(")$")) for pattern in query.schemas]
    names = {table.name: table for table in known} | {table.schema: table for table in known}
    near = [names[name] for word in asked for name in difflib.get_close_matches(word, names, _MOST, 0.5)]
    shown = list(dict.fromkeys(map(table_name, near or sorted(known, key=str))))[:_MOST]
    if not shown:
        return "The archive has no changes of any table in that range."
    return f"Tables there are: {', '.join(shown)}."


def _known_tables(archive: Archive) -> set[Table]:
    """Return every table that a base or a segment names."""
    found: set[Table] = set()
    for base in archive.bases():
        found |= {Table(row["schema"], row["name"]) for row in base_tables(archive, base)}
    segments = archive.all_segments()
    for change in [change for segment in segments for change in segment.manifest.get("schema_changes", [])]:
        if change["tag"] in _MADE:
            found |= {Table(name["schema"] or "", name["name"]) for name in change["names"]}
    for row in [row for segment in segments for row in segment.manifest.get("tables", [])]:
        found.add(Table(row["schema"], row["name"]))
    for segment in archive.bring(segment for segment in segments if "tables" not in segment.manifest):
        found |= {item.table for item in _read(segment, wanted=False) if isinstance(item, Change | Count)}
    return found


def _read(segment: Segment, *, wanted: bool) -> Iterable[Item]:
    try:
        yield from read_segment(segment, wanted=lambda table: wanted)
    except (ScribeError, OSError):
        return  # told by the search


def _explain_columns(segments: Iterable[Segment], query: Query) -> None:
    """Raise ScribeError if the tables have no column of that name in their changes."""
    asked = [name for name, _ in (*query.key, *query.values)] + list(query.columns)
    seen: dict[str, None] = {}
    keys: dict[str, None] = {}
    for segment in segments:
        for item in _read(segment, wanted=True):
            if isinstance(item, Change) and query.fits_table(item.table):
                seen |= dict.fromkeys((*item.key, *item.values))
                keys |= dict.fromkeys(item.key)
        if all(name in seen for name in asked):
            return
    missing = next((name for name in asked if name not in seen), None)
    if missing is None or not seen:
        return
    near = difflib.get_close_matches(missing, list(seen), _MOST, 0.5) or list(keys or seen)[:_MOST]
    raise ScribeError(
        f'no row that was changed there has a column "{missing}"', f"Columns there are: {', '.join(near)}."
    )
