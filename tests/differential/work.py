"""What there is to decode: tables with columns of every type and every identity, and random transactions on them."""

from __future__ import annotations

import contextlib

import objects
import rows
import tables
from catalog import QUERY, Catalog
from draw import Draw, Kind, NothingToDo
from generator import Generator, Session, Step
from statements import one
from values import COLUMN_TYPES

# TRUNCATE is rare, or there would be no rows to change.
KINDS: dict[Kind, int] = {
    rows.insert: 30,
    rows.insert_series: 4,
    rows.update: 36,
    rows.swap: 4,
    rows.delete: 10,
    rows.merge: 3,
    rows.toast: 6,
    rows.truncate: 1,
}
_KEYS = [
    "int PRIMARY KEY",
    "bigint PRIMARY KEY",
    "text PRIMARY KEY",
    "numeric PRIMARY KEY",
    "int GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
    "int NOT NULL UNIQUE",
    "int UNIQUE DEFERRABLE INITIALLY DEFERRED",
    "int",
]
_MOST = 7  # columns of a table beside its key
# What is made after the tables that have a column of every type, and how often it is tried.
_FURTHER: dict[Kind, int] = {
    tables.create_table: 3,
    tables.create_partitioned: 2,
    tables.create_partition: 8,
    tables.create_index: 4,
    tables.add_constraint: 4,
    rows.insert: 40,
    rows.toast: 8,
}


class Work(Generator):
    """Steps that change rows and nothing else."""

    def start(self) -> None:
        """From here on no table changes, so that one look at the catalog will do."""
        self.rows_only = True
        self.draw.catalog = Catalog(self.query(0, QUERY))

    def _look(self, session: Session) -> None:
        if not self.rows_only:
            super()._look(session)

    def _statement(self, session: Session) -> Step:
        self._look(session)
        guarded = session.guarded and session.planned > 0
        with contextlib.suppress(NothingToDo):
            if self.values.chance(0.06):
                sql, data = rows.copy(self.draw)
                return self._step(session, sql, "copy", data=data, guarded=guarded)
            if self.values.chance(0.06):
                sql, parameters = rows.with_parameter(self.draw)
                if not sql.startswith("CREATE"):
                    return self._step(session, sql, "extended", parameters=parameters, guarded=guarded)
        return self._step(session, one(self.draw, KINDS), guarded=guarded)


class Schema:
    """Makes the tables through one session, before anything is decoded."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.draw = work.draw

    def steps(self) -> list[Kind]:
        """Return all kinds of statements in the order in which they are to be run."""
        return [
            *[objects.create_type] * 8,
            *self._tables(),
            *[kind for kind, times in _FURTHER.items() for _ in range(times)],
            *[_identity] * 12,
        ]

    def _tables(self) -> list[Kind]:
        """Tables that together have a column of every type."""
        kinds = list(dict.fromkeys(COLUMN_TYPES))
        self.work.random.shuffle(kinds)
        return [_table_of(kinds[at : at + _MOST]) for at in range(0, len(kinds), _MOST)] + [_table_of_own] * 3

    def next(self, kind: Kind, query: object) -> str | None:
        """Return a statement of that kind for the database as it is; query: what QUERY returns. None if none fits."""
        self.draw.catalog = Catalog(query)  # type: ignore[arg-type]
        with contextlib.suppress(NothingToDo):
            return kind(self.draw)
        return None


def _table_of(kinds: list[str]) -> Kind:
    def make(draw: Draw) -> str:
        columns = [f"{draw.new('k', False)} {draw.random.choice(_KEYS)}"]
        columns += [f"{draw.new('c', False)} {kind}" for kind in kinds]
        if draw.values.chance(0.4):
            number, made = draw.new("c", False), draw.new("g", False)
            columns += [f"{number} int", f"{made} int GENERATED ALWAYS AS ({number} * 2) STORED"]
        draw.random.shuffle(columns)
        return f"CREATE TABLE {draw.new('t')} ({', '.join(columns)})"

    return make


def _table_of_own(draw: Draw) -> str:
    """A table with columns of the types that were made."""
    names = draw.catalog.types.names()
    if not names:
        raise NothingToDo
    some = draw.random.sample(names, min(4, len(names)))
    return _table_of([*some, f"{some[0]}[]"])(draw)


def _identity(draw: Draw) -> str:
    """Another identity for a table; one by which its rows can be found, mostly."""
    t = draw.pick("r")
    usable = any(i["primary"] and i["immediate"] for i in t.indexes)
    if not usable and draw.values.chance(0.9):
        return f"ALTER TABLE {t.name} REPLICA IDENTITY FULL"
    return tables.identity(draw)
