"""The guard of a running pg_dump: proof that its locks came in time, and the rows it must have dumped.

pg_dump reads the snapshot's catalog, then locks the tables. A table that is rewritten in between is dumped with no
rows, without an error. Therefore the tables are looked at again once pg_dump holds its locks: if each still is what
it is in the snapshot, nothing can have happened to it and nothing can any more; otherwise the dump is thrown away.
No lock of our own is taken: a lock held beside pg_dump's would make it wait for DDL that waits for that lock.

Of what it does not lock (functions, views, types, schemas and so on) pg_dump reads names and definitions as they are by
then, not as in the snapshot: a function that was dropped is dumped without its arguments, a view as it was replaced.
Therefore all of that is looked at again, too, once pg_dump has read it, which is before it writes anything.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from scribe.common.dialect import quote_identifier, quote_literal
from scribe.common.errors import ScribeError
from scribe.common.postgres import connect, is_superuser
from scribe.source.unrestorable import ValueColumn, value_columns

COUNT_WAIT = 10  # seconds a row count waits for a table's lock
TOGETHER = 0.25  # seconds for which rows of further tables are counted in the same transaction

# Everything pg_dump reads of a table by name, or through functions that do not see the snapshot.
_TABLES = """
SELECT c.oid::bigint, n.nspname, c.relname, c.relkind::text,
       EXISTS (SELECT FROM pg_catalog.pg_depend AS d
               WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.deptype = 'e'),
       pg_catalog.md5(pg_catalog.concat_ws('|', n.nspname, c.relname, c.relkind, c.relfilenode,
         (SELECT pg_catalog.string_agg(pg_catalog.concat_ws(',', a.attnum, a.attname, a.atttypid, a.atttypmod,
                   a.attisdropped, a.attgenerated, a.attidentity), ';' ORDER BY a.attnum)
          FROM pg_catalog.pg_attribute AS a WHERE a.attrelid = c.oid AND a.attnum > 0),
         (SELECT pg_catalog.string_agg(i.indexrelid::text, ',' ORDER BY i.indexrelid)
          FROM pg_catalog.pg_index AS i WHERE i.indrelid = c.oid AND i.indisvalid),
         (SELECT pg_catalog.string_agg(o.oid::text, ',' ORDER BY o.oid)
          FROM pg_catalog.pg_constraint AS o WHERE o.conrelid = c.oid),
         (SELECT pg_catalog.string_agg(t.oid::text, ',' ORDER BY t.oid)
          FROM pg_catalog.pg_trigger AS t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal),
         (SELECT pg_catalog.string_agg(r.oid::text, ',' ORDER BY r.oid)
          FROM pg_catalog.pg_rewrite AS r WHERE r.ev_class = c.oid),
         (SELECT pg_catalog.string_agg(s.oid::text, ',' ORDER BY s.oid)
          FROM pg_catalog.pg_statistic_ext AS s WHERE s.stxrelid = c.oid)))
FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
  AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'scribe') AND n.nspname !~ '^pg_(toast|temp)'
  AND (%(only)s::pg_catalog.oid[] IS NULL OR c.oid = ANY (%(only)s::pg_catalog.oid[]))
"""
_UNLOCKED = """
SELECT EXISTS (
  SELECT FROM pg_catalog.unnest(%(oids)s::pg_catalog.oid[]) AS wanted (oid)
  WHERE wanted.oid NOT IN (
    SELECT l.relation FROM pg_catalog.pg_locks AS l JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid
    WHERE a.application_name = %(name)s AND l.locktype = 'relation' AND l.granted AND l.mode = 'AccessShareLock'
      AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())))
"""
# What the server's functions that pg_dump calls (pg_get_viewdef() and the like) read of the present, whatever it is in.
# What can be as long as a text may is hashed by itself: a user's has no room in another text.
_DEFINITIONS = """
WITH passing AS (
  SELECT n.oid FROM pg_catalog.pg_namespace AS n WHERE n.nspname ~ '^pg_(toast|temp)' OR n.nspname = 'scribe'),
held AS (SELECT DISTINCT refobjid FROM pg_catalog.pg_shdepend
  WHERE refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass AND dbid = (
    SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()))
SELECT f.catalog::bigint, f.oid::bigint, f.name, pg_catalog.hashtext(f.definition) FROM (
  SELECT tableoid, oid, proname, pg_catalog.concat_ws('|', proname, pronamespace, prorettype, proretset, proargtypes,
      proallargtypes, proargmodes, proargnames, pg_catalog.hashtext(proargdefaults::text),
      pg_catalog.hashtext(prosqlbody::text))
    FROM pg_catalog.pg_proc WHERE pronamespace NOT IN (TABLE passing)
  UNION ALL SELECT tableoid, oid, relname, pg_catalog.concat_ws('|', relname, relnamespace, (
      SELECT pg_catalog.string_agg(pg_catalog.concat_ws(',', a.attnum, a.attname, a.atttypid, a.atttypmod), ';'
        ORDER BY a.attnum)
      FROM pg_catalog.pg_attribute AS a
      WHERE a.attrelid = c.oid AND a.attnum > 0 AND c.relkind NOT IN ('r', 'p', 'i', 'I')))
    FROM pg_catalog.pg_class AS c WHERE relnamespace NOT IN (TABLE passing) AND relpersistence <> 't'
  UNION ALL SELECT w.tableoid, w.oid, c.relname, pg_catalog.concat_ws('|', w.rulename,
      pg_catalog.hashtext(w.ev_qual::text), pg_catalog.hashtext(w.ev_action::text))
    FROM pg_catalog.pg_rewrite AS w JOIN pg_catalog.pg_class AS c ON c.oid = w.ev_class
    WHERE c.relnamespace NOT IN (TABLE passing) AND c.relpersistence <> 't'
  UNION ALL SELECT g.tableoid, g.oid, g.tgname, pg_catalog.concat_ws('|', g.tgname, g.tgfoid, pg_catalog.md5(g.tgargs))
    FROM pg_catalog.pg_trigger AS g JOIN pg_catalog.pg_class AS c ON c.oid = g.tgrelid
    WHERE c.relkind NOT IN ('r', 'p') AND c.relnamespace NOT IN (TABLE passing)
  UNION ALL SELECT tableoid, oid, conname, pg_catalog.concat_ws('|', conname, convalidated,
      pg_catalog.hashtext(conbin::text))
    FROM pg_catalog.pg_constraint WHERE connamespace NOT IN (TABLE passing)
  UNION ALL SELECT tableoid, oid, typname, pg_catalog.concat_ws('|', typname, typnamespace, typnotnull)
    FROM pg_catalog.pg_type WHERE typnamespace NOT IN (TABLE passing)
  UNION ALL SELECT tableoid, oid, stxname, pg_catalog.concat_ws('|', stxname, stxnamespace)
    FROM pg_catalog.pg_statistic_ext
  UNION ALL SELECT tableoid, oid, oprname, pg_catalog.concat_ws('|', oprname, oprnamespace) FROM pg_catalog.pg_operator
    WHERE oprnamespace NOT IN (TABLE passing)
  UNION ALL SELECT tableoid, oid, opcname, pg_catalog.concat_ws('|', opcname, opcnamespace) FROM pg_catalog.pg_opclass
  UNION ALL SELECT tableoid, oid, opfname, pg_catalog.concat_ws('|', opfname, opfnamespace) FROM pg_catalog.pg_opfamily
  UNION ALL SELECT tableoid, oid, collname, pg_catalog.concat_ws('|', collname, collnamespace)
    FROM pg_catalog.pg_collation
  UNION ALL SELECT tableoid, oid, cfgname, pg_catalog.concat_ws('|', cfgname, cfgnamespace)
    FROM pg_catalog.pg_ts_config
  UNION ALL SELECT tableoid, oid, dictname, pg_catalog.concat_ws('|', dictname, dictnamespace)
    FROM pg_catalog.pg_ts_dict
  UNION ALL SELECT tableoid, oid, nspname, nspname FROM pg_catalog.pg_namespace WHERE oid NOT IN (TABLE passing)
  UNION ALL SELECT 'pg_catalog.pg_authid'::pg_catalog.regclass, oid, rolname, rolname FROM pg_catalog.pg_roles
    WHERE oid IN (TABLE held)
) AS f (catalog, oid, name, definition) WHERE f.oid >= 16384
"""
_NARROWEST = """
SELECT DISTINCT ON (attrelid) attrelid::bigint, attname FROM pg_catalog.pg_attribute
WHERE attrelid = ANY (%s::pg_catalog.oid[]) AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
ORDER BY attrelid, attlen < 0, attlen, attnum
"""


class MovedError(ScribeError):
    """The database's tables changed while pg_dump was about to lock them: that dump is worthless, another may do."""


@dataclass(frozen=True)
class Table:
    """A table as a snapshot shows it; state changes with whatever a dump could stumble over."""

    oid: int
    schema: str
    name: str
    kind: str
    member: bool  # of an extension: pg_dump does not lock it at its start
    state: str

    @property
    def name_text(self) -> str:
        """The name as to_regclass() reads it, quoted only where it has to be."""
        return f"{quote_identifier(self.schema)}.{quote_identifier(self.name)}"

    @property
    def quoted(self) -> str:
        """The name in quotes: as a pattern it fits nothing else."""
        return f"{quote_identifier(self.schema, force=True)}.{quote_identifier(self.name, force=True)}"

    @property
    def qualified(self) -> sql.Composed:
        """The name as it stands in a statement."""
        return sql.Identifier(self.schema, self.name)  # type: ignore[return-value]


def read_tables(conn: psycopg.Connection[Any], only: list[int] | None = None) -> dict[int, Table]:
    """Return the tables conn sees, by oid; only: the oids of those wanted."""
    return {row[0]: Table(*row) for row in conn.execute(_TABLES, {"only": only}).fetchall()}


Definitions = dict[tuple[int, int], tuple[str, int]]  # by catalog and oid, a name for people and a digest


def read_definitions(conn: psycopg.Connection[Any]) -> Definitions:
    """Return what pg_dump would read of whatever it does not lock; new ones may be there too when it is read again."""
    return {(row[0], row[1]): (row[2], row[3]) for row in conn.execute(_DEFINITIONS).fetchall()}


def find_redefined(before: Definitions, now: Definitions) -> list[str]:
    """Return the names of what is gone, or has another definition."""
    return sorted({name for key, (name, digest) in before.items() if key not in now or now[key][1] != digest})


@contextlib.contextmanager
def in_snapshot(conn: psycopg.Connection[Any], snapshot: str) -> Iterator[None]:
    """Run the block in a read-only transaction on an exported snapshot."""
    conn.execute("BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
    try:
        conn.execute(f"SET TRANSACTION SNAPSHOT {quote_literal(snapshot)}".encode())
        yield
    finally:
        conn.execute("ROLLBACK")


def find_changed(before: dict[int, Table], now: dict[int, Table]) -> list[str]:
    """Return the names of the tables of before that are gone or different now."""
    changed = [table for oid, table in before.items() if oid not in now or now[oid].state != table.state]
    return sorted(f"{table.schema}.{table.name}" for table in changed)


def _refuse_changed(before: dict[int, Table], now: dict[int, Table]) -> None:
    _refuse(find_changed(before, now), "had its locks")


def _refuse(changed: list[str], when: str) -> None:
    if changed:
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        raise MovedError(f"could not use the dump: {', '.join(changed[:3])}{more} changed before pg_dump {when}")


Measure = Callable[[psycopg.Connection[Any], Table], int]  # returns the rows of a table


class Guard:
    """Watches a running pg_dump on connections of its own: proves its locks came in time, and counts the rows."""

    def __init__(
        self,
        snapshot: str,
        application: str,
        before: dict[int, Table],
        options: str,
        *,
        defined: Definitions | None = None,
        read: Callable[[], None] = lambda: None,
        measure: Measure | None = None,
        only: Collection[int] | None = None,
    ) -> None:
        """Prepare to watch the pg_dump that connects as application; before: the tables in the snapshot.

        defined: the definitions in the snapshot; read: is called when pg_dump has its locks and has read these;
        measure: reads a table and returns its rows, instead of a RowCount; only: the tables that are read at all.
        """
        self._measure = measure
        self._only = only
        self.snapshot = snapshot
        self.application = application
        self.before = before
        self.options = options
        self._defined = defined or {}
        self._read = read
        self.warnings: list[str] = []
        self._ended = threading.Event()
        self._useless = False
        self._columns: list[ValueColumn] = []  # of domains that are NOT NULL
        self._counter: psycopg.Connection[Any] | None = None

    def end(self, useful: bool) -> None:
        """Say that pg_dump has ended; useful: it has not failed, so the rest of the rows is worth counting."""
        self._useless = not useful
        self._ended.set()
        if self._useless and self._counter is not None:
            self._counter.cancel()

    def watch(self, has_read: Callable[[], bool] = lambda: False) -> dict[str, int]:
        """Return the rows of each table in the snapshot; has_read: whether pg_dump has read all definitions.

        Raises MovedError if the dump cannot be trusted, ScribeError if it could not be loaded.
        """
        with connect(options=self.options) as conn:
            self._wait_locked(conn)
            _refuse_changed({oid: t for oid, t in self.before.items() if not t.member}, read_tables(conn))
            if self._defined:
                self._wait_read(has_read)
                _refuse(find_redefined(self._defined, read_definitions(conn)), "had read everything")
            self._read()
            rows = self._count_rows(conn)
            self._ended.wait()
            _refuse_changed({oid: t for oid, t in self.before.items() if t.member}, read_tables(conn))
            return rows

    def _wait_locked(self, conn: psycopg.Connection[Any]) -> None:
        """Return once pg_dump holds its locks, or has ended: then what is unchanged has not changed before either."""
        oids = [oid for oid, table in self.before.items() if not table.member]
        pause = 0.01
        while not self._ended.is_set():
            row = conn.execute(_UNLOCKED, {"oids": oids, "name": self.application}).fetchone()
            if row is not None and not row[0]:
                return
            self._ended.wait(pause)
            pause = min(pause * 1.5, 0.5)

    def _wait_read(self, has_read: Callable[[], bool]) -> None:
        """Return once pg_dump has read all definitions, or has ended."""
        while not (self._ended.is_set() or has_read()):
            self._ended.wait(0.02)

    def _count_rows(self, conn: psycopg.Connection[Any]) -> dict[str, int]:
        rows: dict[str, int] = {}
        wanted = deque(sorted(filter(self._is_counted, self.before.values()), key=lambda t: (t.schema, t.name)))
        measure = self._measure or RowCount(conn, wanted)
        if self._measure is None:
            self._columns = [column for column in value_columns(conn) if column.domain]
        with connect(options=f"{self.options} -c row_security=off -c lock_timeout={COUNT_WAIT * 1000}") as counter:
            self._counter = counter
            while wanted and not self._useless:
                for table, count in self._count_some(conn, counter, wanted, measure):
                    if count is None:
                        self.warnings.append(
                            f"the rows of {table.name_text} were not counted: the table was changed meanwhile"
                        )
                    else:
                        rows[table.name_text] = count
        return rows

    def _is_counted(self, table: Table) -> bool:
        return table.kind == "r" and not table.member and (self._only is None or table.oid in self._only)

    def _count_some(
        self, conn: psycopg.Connection[Any], counter: psycopg.Connection[Any], wanted: deque[Table], measure: Measure
    ) -> list[tuple[Table, int | None]]:
        """Take tables off the left and count their rows in the snapshot, in one transaction as long as that is short.

        A table that could not be locked, or was changed before it was, has None. Only the first one's lock is waited
        for: with locks of others in its hands, a count could close a circle in which somebody's schema change is ended.
        """
        gone = (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName, psycopg.errors.UndefinedColumn)
        late = (psycopg.errors.LockNotAvailable, psycopg.errors.QueryCanceled)
        counts: dict[int, int] = {}
        tables: list[Table] = []
        now: dict[int, Table] | None = None
        with contextlib.suppress(*gone, *late), in_snapshot(counter, self.snapshot):
            until = time.monotonic() + TOGETHER
            while wanted and not self._useless and (not tables or time.monotonic() < until):
                if len(tables) == 1:
                    counter.execute("SET LOCAL lock_timeout = 1")
                tables.append(wanted.popleft())
                counts[tables[-1].oid] = self._count_table(counter, tables[-1], measure)
            now = read_tables(conn, [*counts])
        if len(tables) > 1 and tables[-1].oid not in counts:
            wanted.appendleft(tables.pop())  # the next transaction waits for it
        now = read_tables(conn, [*counts]) if now is None else now
        changed = {oid for oid in counts if find_changed({oid: self.before[oid]}, now)}
        return [(t, counts[t.oid] if t.oid in counts and t.oid not in changed else None) for t in tables]

    def _count_table(self, counter: psycopg.Connection[Any], table: Table, measure: Measure) -> int:
        count = measure(counter, table)
        for column in self._columns:
            if column.relid == table.oid and column.has_absent(counter):
                hint = f"{column.remedy}, then run the same command again."
                raise ScribeError(f"could not take a base that can be restored: {column.text}", hint)
        return count


class RowCount:
    """Counts rows of tables by COPY, as pg_dump reads them: nothing of their owners' runs with our role's rights.

    To plan a query, a count(*) too, the server evaluates functions in the table's indexes and statistics.
    """

    def __init__(self, conn: psycopg.Connection[Any], tables: Iterable[Table]) -> None:
        """Prepare to count the rows of some tables, which conn sees."""
        self._columns: dict[int, str] = dict(conn.execute(_NARROWEST, [[table.oid for table in tables]]).fetchall())
        self._on_server = is_superuser(conn)

    def __call__(self, conn: psycopg.Connection[Any], table: Table) -> int:
        """Return the rows of a table."""
        name = self._columns.get(table.oid)
        column = sql.SQL("") if name is None else sql.SQL(" ({})").format(sql.Identifier(name))
        command = sql.SQL("COPY {}{} TO ").format(table.qualified, column)
        if self._on_server:
            return conn.execute(command + sql.SQL("'/dev/null'")).rowcount
        with conn.cursor() as cursor, cursor.copy(command + sql.SQL("STDOUT")) as copy:
            return sum(1 for _ in copy)
