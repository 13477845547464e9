"""Which rows a look at some tables, or an undo of some changes, needs: found in a copy that holds the schema alone.

That copy is brought to where rows will be looked at; what depends on the tables there is then known by the catalogue.
Where rows of others may decide what is in them, everything is needed, which WholeNeededError says.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from scribe.common.cli import Talk
from scribe.common.encodings import python_codec
from scribe.common.errors import ScribeError
from scribe.restore.copies import Copy, Source, some_cluster
from scribe.restore.narrow import Chosen, Name, Watch, WholeNeededError, find_sharing
from scribe.restore.preloads import Preloads
from scribe.restore.selection import check_names, find_named
from scribe.restore.session import Session
from scribe.restore.throwaway import Cluster

_SMALL = 32 << 20  # bytes of SQL in base and segments that are restored sooner than two clusters are made
# What a query of these relations reads: what is below them, and what views and rules name.
_READ = """
WITH RECURSIVE seen (relid) AS (
  SELECT x.relid FROM unnest(%s::oid[]) AS x (relid)
  UNION
  SELECT x.relid FROM seen AS s, LATERAL (
    SELECT i.inhrelid FROM pg_catalog.pg_inherits AS i WHERE i.inhparent = s.relid
    UNION ALL
    SELECT d.refobjid FROM pg_catalog.pg_rewrite AS w JOIN pg_catalog.pg_depend AS d ON d.objid = w.oid
        AND d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass
        AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
     WHERE w.ev_class = s.relid) AS x (relid)
)
SELECT relid::bigint FROM seen
"""
# What foreign keys from and to these tables, or those that they are partitions of, read in order to be checked.
_CHECKED = """
WITH RECURSIVE own (relid) AS (
  SELECT x.relid FROM unnest(%(oids)s::oid[]) AS x (relid)
  UNION
  SELECT i.inhparent FROM own AS o JOIN pg_catalog.pg_inherits AS i ON i.inhrelid = o.relid
), other (relid) AS (
  SELECT x.relid FROM pg_catalog.pg_constraint AS k, LATERAL (VALUES (k.confrelid),
      (CASE WHEN k.conrelid NOT IN (SELECT relid FROM own) THEN k.conrelid END)) AS x (relid)
   WHERE k.contype = 'f' AND x.relid IS NOT NULL
     AND (k.conrelid IN (SELECT relid FROM own) OR k.confrelid IN (SELECT relid FROM own))
  UNION
  SELECT i.inhrelid FROM other AS o JOIN pg_catalog.pg_inherits AS i ON i.inhparent = o.relid
)
SELECT relid::bigint FROM other
"""
_NAMES = """
SELECT oid::pg_catalog.regclass::text FROM pg_catalog.pg_class WHERE oid = ANY (%s::oid[]) AND relkind IN ('r', 'p')
ORDER BY 1
"""
_RELATIONS = "SELECT oid::bigint FROM pg_catalog.pg_class WHERE oid >= 16384 AND relkind IN ('r', 'p', 'S')"
# The executor refuses to read a relation that has not been populated, whatever its kind and by whatever way.
_GUARD = """
UPDATE pg_catalog.pg_class SET relispopulated = false
 WHERE relkind IN ('r', 'm') AND relispopulated AND oid >= 16384 AND oid <> ALL (%s::oid[])
   AND relpersistence <> 't' AND relnamespace::pg_catalog.regnamespace::text <> 'scribe'
"""
_UNGUARD = "UPDATE pg_catalog.pg_class SET relispopulated = true WHERE relkind = 'r' AND NOT relispopulated"
_OIDS = """
SELECT c.oid::bigint FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND (
  pg_catalog.encode(pg_catalog.convert_to(n.nspname, pg_catalog.getdatabaseencoding()), 'hex'),
  pg_catalog.encode(pg_catalog.convert_to(c.relname, pg_catalog.getdatabaseencoding()), 'hex')
) IN (SELECT * FROM unnest(%s::text[], %s::text[]))
"""


@dataclass
class Clusters:
    """Throw-away clusters of one kind, made one after the other; told: whether the operator has had their warnings."""

    source: Source
    directory: str | None = None
    launcher: Path | None = None
    told: bool = False
    preloads: Preloads = field(init=False)

    def __post_init__(self) -> None:
        self.preloads = self.source.find_preloads()

    @contextlib.contextmanager
    def made(self) -> Iterator[Cluster]:
        """Make one for one block. Raises as throwaway() does."""
        told, self.told = self.told, True
        source = self.source
        with some_cluster(
            source.talk, source.major, self.preloads, directory=self.directory, launcher=self.launcher, told=told
        ) as cluster:
            yield cluster


class Outline(Copy):
    """A copy of the schema alone, in which it is noted what the tables are called at each step."""

    def __init__(self, source: Source, cluster: Cluster) -> None:
        super().__init__(source, cluster, "outline", lasting=False)
        self.seen = Watch()
        self.rows = self.seen

    def relations(self) -> set[int]:
        """Return the OIDs of the tables and sequences that are there."""
        with self.connected() as conn:
            return {row[0] for row in conn.execute(_RELATIONS).fetchall()}

    def choose(self, oids: Iterable[int]) -> Chosen:
        """Return what lets the rows of these tables through, and what these need. Raises WholeNeededError."""
        rows = self.seen.choose(self.seen.widen(oids), python_codec(self.source.identity["encoding"]))
        with self.connected() as conn:
            names = [row[0] for row in conn.execute(_NAMES, [sorted(rows.oids)]).fetchall()]
        self.source.talk.note(f"rows are restored of {', '.join(names) or 'no table that is there at the end'}")
        return rows


def is_small(source: Source) -> bool:
    """Whether it is not worth while to look at the schema first."""
    chain = source.chains[-1]
    entries = chain.base.manifest["files"]
    size: int = sum(entry.get("plain_bytes", entry["bytes"]) for entry in entries)
    size += sum(segment.manifest["plain_bytes"] for segment in chain.segments)
    return size < _SMALL


def say_whole(talk: Talk, error: WholeNeededError) -> None:
    """Say why everything is restored."""
    talk.warn(f"everything is restored: {error.message}")


def checked_with(copy: Copy, oids: Iterable[int]) -> set[int]:
    """Return the tables that are read if changes of these are checked, and those that move a sequence with them."""
    with copy.connected() as conn:
        wanted = list(oids)
        found = {int(row[0]) for row in conn.execute(_CHECKED, {"oids": wanted}).fetchall()}
        return found | set(find_sharing(conn, wanted))


# A look


@dataclass(frozen=True)
class Look:
    """A look at what patterns name; without any, at everything."""

    source: Source
    clusters: Clusters
    schemas: Sequence[str]
    tables: Sequence[str]

    @property
    def whole(self) -> bool:
        """Whether everything is asked for."""
        return not (self.schemas or self.tables) or bool(self.source.arguments.skip)

    def find_rows(self) -> Chosen | None:
        """Return which rows are needed at the point asked for, None for all. Raises ScribeError for names."""
        if self.whole or is_small(self.source):
            return None
        try:
            with self.clusters.made() as cluster:
                outline = Outline(self.source, cluster)
                outline.bring_to()
                with outline.connected(own_path=True) as conn:
                    needed = self._needed(conn, outline.seen)
                return outline.choose(needed)
        except WholeNeededError as error:
            say_whole(self.source.talk, error)
            return None

    def going_on(self, copy: Copy, there: Sequence[int]) -> Chosen | None:
        """Return what lets the rows of the tables that a copy has through, None where it lacks some that are needed.

        Only as long as the schema does not change: that raises WholeNeededError. there: their OIDs.
        """
        if self.whole:
            return None
        watch = Watch()
        with copy.connected(own_path=True) as conn:
            watch.begin(Session(conn))
        with contextlib.suppress(ScribeError):  # what is named may be made on the way
            with copy.connected(own_path=True) as conn:
                if not self._needed(conn, watch) <= set(there):
                    return None
            return watch.choose(set(there), python_codec(self.source.identity["encoding"]))
        return None

    def _needed(self, conn: psycopg.Connection[Any], watch: Watch) -> set[int]:
        check_names(conn, self.schemas, self.tables)
        named = [relation.oid for relation in find_named(conn, self.schemas, self.tables)[1]]
        needed = watch.widen(int(row[0]) for row in conn.execute(_READ, [named]).fetchall())
        return watch.widen(needed | set(find_sharing(conn, list(needed))))


def guard(copy: Copy, there: Sequence[int] | None) -> None:
    """Let every query fail that reads a table whose rows are not there, in place of one that finds none.

    there: the OIDs of those that have theirs, None for all.
    """
    if there is None:
        return
    with copy.connected() as conn:
        left = conn.execute(_GUARD, [list(there)]).rowcount
    copy.source.talk.info(
        f'{left} other tables are left out: reading one fails, as if it were a materialized view that "has not been'
        ' populated"; name it with --table, too, or nothing'
    )


def unguard(copy: Copy) -> None:
    """Let tables be read again: sequences are compared with what is in them when a copy goes on."""
    with copy.connected() as conn:
        conn.execute(_UNGUARD)


def find_oids(copy: Copy, rows: Chosen) -> list[int]:
    """Return the OIDs that tables whose rows were let through have in the copy."""
    names = list(rows.names())
    with copy.connected() as conn:
        found = conn.execute(_OIDS, [[schema.hex() for schema, _ in names], [name.hex() for _, name in names]])
        return [int(row[0]) for row in found.fetchall()]


# An undo


@dataclass(frozen=True)
class Undoing:
    """What an undo is of. begin: brings a copy to before it; names: of tables whose rows were changed, at any time.

    dropping: the LSNs of transactions that may have dropped some, in order; patterns: what is asked for, none for all.
    """

    begin: Callable[[Copy], None]
    names: frozenset[Name]
    dropping: Sequence[int]
    patterns: Sequence[str]


def find_rows_for(undoing: Undoing, outline: Outline) -> Chosen:
    """Return which rows are needed to take changes back, and to see what stands in the way. Raises WholeNeededError."""
    undoing.begin(outline)
    needed = _named(outline, undoing.patterns)
    for lsn in undoing.dropping:
        outline.bring_to(target_lsn=lsn, target_exclusive=True)
        with outline.cloned("before") as before:
            there = outline.relations()
            outline.bring_to(target_lsn=lsn)
            gone = there - outline.relations()
            needed |= gone | checked_with(before, gone)
    outline.bring_to()
    changed = needed | _named(outline, undoing.patterns)
    if not undoing.patterns:
        changed |= outline.seen.find(undoing.names)
    return outline.choose(changed | checked_with(outline, changed))


def _named(outline: Outline, patterns: Sequence[str]) -> set[int]:
    """Return what patterns name in a copy. One that names nothing is no error: its table may be at another point."""
    found: set[int] = set()
    with outline.connected(own_path=True) as conn:
        for pattern in patterns:
            with contextlib.suppress(ScribeError):
                found |= {relation.oid for relation in find_named(conn, [], [pattern])[1]}
    return found
