"""Tables and columns through their renames: under which names, and when, the tables go that a pattern fits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from scribe.archive.layout import Archive, Segment
from scribe.archive.segments import Reader, open_plain
from scribe.common.ddlnames import name_objects, read_rename, resolve
from scribe.common.lsn import parse_lsn
from scribe.history.changes import Ddl, Transaction, codec_of, read_events
from scribe.history.query import Query
from scribe.history.sieve import DDL_LINE, Sieve
from scribe.history.statements import Table


@dataclass(frozen=True, slots=True)
class Change:
    """What matters of a schema change: which tables it made or dropped, or what it renamed."""

    lsn: int
    tag: str
    objects: tuple[Table, ...]
    new: Table | None = None
    column: str | None = None
    new_column: str | None = None


@dataclass
class _Life:
    """A table's names, each with the LSNs from and up to which it was called so (None: no end known)."""

    names: list[tuple[Table, int, int | None]] = field(default_factory=list)
    columns: list[tuple[str, str, int]] = field(default_factory=list)


def follow(query: Query, archive: Archive, segments: Iterable[Segment]) -> Query:
    """Return the query with the other names of the tables and columns that it names.

    segments: of the archive, in commit order.
    """
    if not query.by_table:
        return query
    changes = list(_changes(archive, segments))
    moves = [(c.objects[0].name, c.new.name, c.lsn) for c in changes if c.tag == "ALTER SCHEMA" and c.objects and c.new]
    moved = replace(query, moves=tuple(moves))
    chosen = [life for life in _lives(changes) if any(moved.fits_table(table) for table, _, _ in life.names)]
    return replace(
        moved,
        names=tuple(name for life in chosen if len(life.names) > 1 for name in life.names),
        aliases=tuple(renamed for life in chosen for renamed in life.columns),
    )


def _lives(changes: Iterable[Change]) -> list[_Life]:
    """Return the lives of all tables that were renamed, or had a column renamed."""
    current: dict[Table, _Life] = {}
    found: list[_Life] = []
    for change in changes:
        if change.tag in ("DROP TABLE", "CREATE TABLE"):
            for table in change.objects:
                current.pop(table, None)
            continue
        for old in change.objects[:1] if change.tag == "ALTER TABLE" else ():
            life = current.pop(old, None)
            if life is None:
                life = _Life([(old, 0, None)])
                found.append(life)
            new = old
            if change.column is not None and change.new_column is not None:
                life.columns.append((change.column, change.new_column, change.lsn))
            elif change.new is not None:
                new = change.new
                name, start, _ = life.names[-1]
                life.names[-1] = (name, start, change.lsn)
                life.names.append((new, change.lsn, None))
            current[new] = life
    return found


def _changes(archive: Archive, segments: Iterable[Segment]) -> Iterator[Change]:
    for segment in segments:
        recorded = segment.manifest.get("schema_changes")
        if recorded is None:
            for brought in archive.bring([segment] if segment.manifest["counts"]["ddl"] else []):
                yield from _read(brought)
            continue
        for entry in recorded:
            renamed = entry.get("renamed")
            if renamed is not None or entry["tag"] in ("DROP TABLE", "CREATE TABLE"):
                yield _recorded(entry, renamed or {})


def _recorded(entry: dict[str, Any], renamed: dict[str, Any]) -> Change:
    tables = tuple(Table(name["schema"] or "", name["name"]) for name in entry["names"])
    new = Table(renamed["schema"] or "", renamed["name"]) if "name" in renamed else None
    return Change(parse_lsn(entry["lsn"]), entry["tag"], tables, new, renamed.get("column"), renamed.get("new_column"))


def _read(segment: Segment) -> Iterator[Change]:
    """Read a segment whose manifest does not list its schema changes."""
    lsn = 0
    with open_plain(segment.data, segment.manifest["plain_bytes"]) as plain:
        reader = Reader(Sieve(plain, (DDL_LINE,)), segment.data.name, comments=True)  # type: ignore[arg-type]
        codec = codec_of(reader.read_header().settings)
        for item in read_events(reader, codec, wanted=lambda table: False):
            if isinstance(item, Transaction):
                lsn = item.commit_lsn
            elif isinstance(item, Ddl) and item.own is None:
                yield _of(item, lsn)


def _of(ddl: Ddl, lsn: int) -> Change:
    tables = tuple(Table(schema or "", name) for schema, name in name_objects(ddl.statement, ddl.search_path))
    renamed = read_rename(ddl.statement)
    if renamed is None:
        return Change(lsn, ddl.tag, tables)
    schema, name = resolve(renamed.new, ddl.search_path)
    new = None if renamed.column is not None else Table(schema or "", name)
    return Change(lsn, ddl.tag, tables, new, renamed.column, renamed.new_column)
