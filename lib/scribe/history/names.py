"""Tables and columns through their renames: under which names, and when, the tables go that a pattern fits.

Rows of a partitioned table stand in segments under the names of its partitions, which are asked for with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from scribe.archive.layout import Archive, Base, Segment
from scribe.archive.manifest import read_manifest
from scribe.archive.segments import Reader, open_plain
from scribe.common.ddlnames import Name, name_objects, read_dropped_columns, read_partition, read_rename, resolve
from scribe.common.errors import ScribeError
from scribe.common.lsn import parse_lsn
from scribe.history.changes import Ddl, Transaction, codec_of, read_events
from scribe.history.query import Called, Query
from scribe.history.sieve import DDL_LINE, Sieve
from scribe.history.statements import Table

_TELLING = {"renamed", "dropped_columns", "partition"}  # keys of a schema change


@dataclass(frozen=True, slots=True)
class Change:
    """What matters of a schema change: which tables it made or dropped, what it renamed, which columns it dropped.

    partition: a table that is a partition from then on, and of which.
    """

    lsn: int
    tag: str
    objects: tuple[Table, ...]
    new: Table | None = None
    column: str | None = None
    new_column: str | None = None
    dropped: tuple[str, ...] = ()
    partition: tuple[Table, Table] | None = None


@dataclass(eq=False)
class _Life:
    """A table's names, each with the LSNs from and up to which it was called so (None: no end known).

    columns: those that were renamed, through their names; left: up to when names were those of columns that are gone;
    parents: the tables whose partition it was.
    """

    names: list[tuple[Table, int, int | None]]
    columns: list[list[Called]] = field(default_factory=list)
    left: dict[str, int] = field(default_factory=dict)
    parents: set[Table] = field(default_factory=set)

    def rename(self, new: Table, lsn: int) -> None:
        """Give it another name."""
        name, start, _ = self.names[-1]
        self.names[-1] = (name, start, lsn)
        self.names.append((new, lsn, None))

    def end(self, lsn: int) -> None:
        """Note that it is dropped: what has its name later is another."""
        name, start, _ = self.names[-1]
        self.names[-1] = (name, start, lsn)

    def _column(self, name: str) -> list[Called] | None:
        return next((each for each in self.columns if each[-1][0] == name and each[-1][2] is None), None)

    def rename_column(self, old: str, new: str, lsn: int) -> None:
        """Give a column another name."""
        column = self._column(old)
        if column is None:
            column = [(old, self.left.get(old, 0), None)]
            self.columns.append(column)
        column[-1] = (old, column[-1][1], lsn)
        column.append((new, lsn, None))
        self.left[old] = lsn

    def drop_column(self, name: str, lsn: int) -> None:
        """Note that a column is dropped: what has its name later is another."""
        if (column := self._column(name)) is not None:
            column[-1] = (name, column[-1][1], lsn)
        self.left[name] = lsn


def follow(query: Query, archive: Archive, segments: Iterable[Segment]) -> Query:
    """Return the query with the other names of the tables and columns that it names, and the partitions of the tables.

    segments: of the archive, in commit order.
    """
    if not query.by_table:
        return query
    changes = sorted([*_partitions(archive), *_changes(archive, segments)], key=lambda change: change.lsn)
    moves = [(c.objects[0].name, c.new.name, c.lsn) for c in changes if c.tag == "ALTER SCHEMA" and c.objects and c.new]
    moved = replace(query, moves=tuple(moves))
    lives = _lives(changes)
    named = [life for life in lives if any(moved.fits_table(table) for table, _, _ in life.names)]
    below = _below(lives, named, moved)
    above = _above(lives, [*named, *below])
    names = [name for life in named if len(life.names) > 1 for name in life.names]
    return replace(
        moved,
        names=(*names, *(name for life in below for name in life.names)),
        aliases=tuple(tuple(column) for life in (*named, *below, *above) for column in life.columns),
    )


def _below(lives: Iterable[_Life], named: Iterable[_Life], query: Query) -> list[_Life]:
    """Return the lives of the partitions of tables that are asked for, and of theirs; those asked for are left out."""
    left = [life for life in lives if life.parents and life not in named]
    found: list[_Life] = []
    asked = {table for life in named for table, _, _ in life.names}
    while True:
        some = [life for life in left if any(each in asked or query.fits_table(each) for each in life.parents)]
        if not some:
            return found
        found += some
        left = [life for life in left if life not in some]
        asked |= {table for life in some for table, _, _ in life.names}


def _above(lives: Iterable[_Life], chosen: Iterable[_Life]) -> list[_Life]:
    """Return the lives of the tables whose partitions are chosen: what renames their columns renames those, too."""
    wanted = {parent for life in chosen for parent in life.parents}
    left, found = [life for life in lives if life not in chosen], list[_Life]()
    while some := [life for life in left if any(table in wanted for table, _, _ in life.names)]:
        found += some
        left = [life for life in left if life not in some]
        wanted = {parent for life in some for parent in life.parents}
    return found


def _lives(changes: Iterable[Change]) -> list[_Life]:
    """Return the lives of all tables that were renamed, had a column renamed or dropped, or are partitions."""
    current: dict[Table, _Life] = {}
    found: list[_Life] = []

    def life_of(table: Table, start: int = 0) -> _Life:
        if table not in current:
            current[table] = _Life([(table, start, None)])
            found.append(current[table])
        return current[table]

    for change in changes:
        if change.tag in ("DROP TABLE", "CREATE TABLE"):
            for table in change.objects:
                life = current.pop(table, None)
                if life is not None and change.tag == "DROP TABLE":
                    life.end(change.lsn)
        elif change.tag == "ALTER TABLE" and change.objects:
            life = life_of(change.objects[0])
            for column in change.dropped:
                life.drop_column(column, change.lsn)
            if change.column is not None and change.new_column is not None:
                life.rename_column(change.column, change.new_column, change.lsn)
            elif change.new is not None:
                life.rename(change.new, change.lsn)
                current[change.new] = current.pop(change.objects[0])
        if change.partition is not None:
            child, parent = change.partition
            life_of(child, change.lsn if change.tag == "CREATE TABLE" else 0).parents.add(parent)
    return found


def _partitions(archive: Archive) -> Iterator[Change]:
    """Yield what the first and the last base tell of partitions: those that were made later are in segments."""
    bases = archive.bases()
    for base in [*bases[:1], *bases[1:][-1:]]:
        for table in base_tables(archive, base):
            if (parent := table.get("partition_of")) is not None:
                pair = Table(table["schema"], table["name"]), Table(parent["schema"], parent["name"])
                yield Change(base.consistent_point, "BASE", (), partition=pair)


def base_tables(archive: Archive, base: Base) -> list[dict[str, Any]]:
    """Return what a base tells of its tables, none if that cannot be read. In the form of schema/meta.schema.json."""
    path = base.path / "meta.json"
    try:
        archive.fetch([path])
        tables: list[dict[str, Any]] = read_manifest("meta", path).get("tables", [])
    except (ScribeError, OSError):
        return []
    return tables


def _changes(archive: Archive, segments: Iterable[Segment]) -> Iterator[Change]:
    for segment in segments:
        recorded = segment.manifest.get("schema_changes")
        if recorded is None:
            for brought in archive.bring([segment] if segment.manifest["counts"]["ddl"] else []):
                yield from _read(brought)
            continue
        for entry in recorded:
            if entry["tag"] in ("DROP TABLE", "CREATE TABLE") or _TELLING & entry.keys():
                yield _recorded(entry)


def _recorded(entry: dict[str, Any]) -> Change:
    renamed, partition = entry.get("renamed", {}), entry.get("partition")
    tables = tuple(Table(name["schema"] or "", name["name"]) for name in entry["names"])
    new = Table(renamed["schema"] or "", renamed["name"]) if "name" in renamed else None
    pair = None
    if partition is not None:
        child = Table(partition["schema"] or "", partition["name"])
        pair = child, Table(partition["of_schema"] or "", partition["of_name"])
    columns = renamed.get("column"), renamed.get("new_column"), tuple(entry.get("dropped_columns", ()))
    return Change(parse_lsn(entry["lsn"]), entry["tag"], tables, new, *columns, pair)


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
    names = name_objects(ddl.statement, ddl.search_path, ddl.codec)
    tables = tuple(Table(schema or "", name) for schema, name in names)
    renamed, partition = read_rename(ddl.statement, ddl.codec), read_partition(ddl.statement, ddl.codec)
    dropped = tuple(read_dropped_columns(ddl.statement, ddl.codec))
    pair = None if partition is None else (_table(partition[0], ddl), _table(partition[1], ddl))
    if renamed is None:
        return Change(lsn, ddl.tag, tables, dropped=dropped, partition=pair)
    new = None if renamed.column is not None else _table(renamed.new, ddl)
    return Change(lsn, ddl.tag, tables, new, renamed.column, renamed.new_column)


def _table(name: Name, ddl: Ddl) -> Table:
    schema, own = resolve(name, ddl.search_path)
    return Table(schema or "", own)
