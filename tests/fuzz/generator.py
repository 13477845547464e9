"""Random but reproducible transactions: the seed and what the source accepted so far decide what comes next.

A Generator looks at the catalog through the session that is about to act, so that what it writes mostly runs; it never
looks at anything that differs between two runs (OIDs, times, contents). It yields steps, and is told what came of them.

The modules, in the order of their imports: catalog (what there is), draw (objects, names and values at random); rows,
tables, objects, shared, acting and further (statements, by what they act on), statements (any of them), surroundings
(what they run in), this.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import rows
from catalog import QUERY, Catalog, quote
from draw import ROLES, Draw, NothingToDo
from statements import ROWS, one
from surroundings import outside, setting, wrapped
from values import Values


@dataclass(frozen=True)
class Step:
    """One thing a session does. how: simple, extended (with parameters) or copy (data follows the statement)."""

    session: int
    transaction: int
    sql: str
    how: str = "simple"
    parameters: tuple[str | None, ...] = ()
    data: str = ""
    guarded: bool = False  # within a savepoint of its own, so that an error costs only itself

    def as_json(self) -> dict[str, Any]:
        """What a script file holds."""
        return {k: v for k, v in self.__dict__.items() if v not in ("", (), False) or k == "sql"}


# Not of a session: what the runner does there.
INIT, ROTATE = Step(-1, 0, "scribe-init"), Step(-1, 0, "scribe-rotate")


@dataclass
class Session:
    """What the generator remembers of one session."""

    number: int
    transaction: int = 0
    planned: int = 0  # statements still to come in this transaction; 0: none is open
    guarded: bool = True
    role: str | None = None
    savepoints: list[str] = field(default_factory=list)
    ending: str = "COMMIT"


class Generator:
    """Steps for some sessions. query(session, sql) reads the source as that session sees it."""

    def __init__(self, values: Values, query: Callable[[int, str], Any], sessions: int = 3) -> None:
        self.random = values.random
        self.values = values
        self.query = query
        self.draw = Draw(values)
        self.sessions = [Session(n) for n in range(sessions)]
        self.transactions = 0
        self.prepared: list[str] = []
        self.rows_only = False  # no schema change any more
        self.exclusive: Session | None = None  # alone until its transaction ends

    def step(self, closing: bool = False) -> Step | None:
        """The next step of some session; closing: only what ends transactions, None when all have ended."""
        if closing:
            busy = [s for s in self.sessions if s.planned]
            if not busy:
                return self._finish_prepared(self.sessions[0]) if self.prepared else None
            session = busy[0]
            session.planned = 1
        else:
            session = self.exclusive or self.random.choice(self.sessions)
        if session.planned == 0:
            return self._begin(session)
        session.planned -= 1
        if session.planned == 0:
            self.exclusive = None
            return self._end(session)
        if self.values.chance(0.12):
            return self._savepoint(session)
        return self._statement(session)

    def aborted(self, session: int) -> None:
        """Told by the runner: that session's transaction has failed; all it can do is roll back."""
        self.sessions[session].planned = 1
        self.sessions[session].ending = "ROLLBACK"

    def _step(self, session: Session, sql: str, how: str = "simple", **rest: Any) -> Step:
        return Step(session.number, session.transaction, sql, how, **rest)

    def _look(self, session: Session) -> None:
        """Read the catalog as that session sees it."""
        self.draw.catalog = Catalog(self.query(session.number, QUERY))
        self.draw.role = session.role
        self.draw.alone = self._others_idle(session) and (session.planned == 0 or self.exclusive is session)

    def _begin(self, session: Session) -> Step:
        self.transactions += 1
        session.transaction = self.transactions
        session.role, session.savepoints, session.ending = None, [], "COMMIT"
        draw = self.random.random()
        if self.prepared and draw < 0.12:
            return self._finish_prepared(session)
        if draw < 0.25 and not self.rows_only:
            return self._alone(session)
        if draw < 0.5:
            return self._statement(session)
        session.planned = self.random.randint(2, 8)
        session.guarded = self.values.chance(0.8)
        if self.values.chance(0.12):
            session.ending = "ROLLBACK"
        elif self._others_idle(session) and self.values.chance(0.5):
            self.exclusive = session
        elif self.values.chance(0.12):
            session.ending = f"PREPARE TRANSACTION 'GID{session.transaction}'"
        begin = self.random.choice(["BEGIN", "BEGIN", "START TRANSACTION", "BEGIN ISOLATION LEVEL REPEATABLE READ"])
        return self._step(session, begin)

    def _others_idle(self, session: Session) -> bool:
        """Whether no other transaction is open."""
        return not self.prepared and all(s.planned == 0 for s in self.sessions if s is not session)

    def _end(self, session: Session) -> Step:
        ending = session.ending
        if ending.startswith("PREPARE"):
            self.prepared.append(f"GID{session.transaction}")
        session.role = None
        return self._step(session, ending)

    def _finish_prepared(self, session: Session) -> Step:
        gid = self.prepared.pop(self.random.randrange(len(self.prepared)))
        return self._step(session, f"{self.random.choice(['COMMIT', 'COMMIT', 'ROLLBACK'])} PREPARED '{gid}'")

    def _savepoint(self, session: Session) -> Step:
        if session.savepoints and self.values.chance(0.6):
            at = self.random.randrange(len(session.savepoints))
            name = session.savepoints[at]
            if self.values.chance(0.5):
                del session.savepoints[at + 1 :]
                return self._step(session, f"ROLLBACK TO {name}")
            del session.savepoints[at:]
            return self._step(session, f"RELEASE {name}")
        self.draw.counter += 1
        session.savepoints.append(f"sp{self.draw.counter}")
        return self._step(session, f"SAVEPOINT sp{self.draw.counter}")

    def _statement(self, session: Session) -> Step:
        """One statement, or a string of several, in one of the ways a client or a function has to run it."""
        self._look(session)
        guarded = session.guarded and session.planned > 0
        if self.rows_only:
            return self._step(session, one(self.draw, ROWS), guarded=guarded)
        if session.planned and session.role is None and self.values.chance(0.06):
            session.role = self.random.choice(ROLES + self.draw.catalog.roles)
            return self._step(session, f"SET LOCAL ROLE {quote(session.role)}", guarded=False)
        if session.planned and self.values.chance(0.04):
            return self._step(session, setting(self.draw, "SET LOCAL"), guarded=guarded)
        draw = self.random.random()
        if draw < 0.05:
            with contextlib.suppress(NothingToDo):
                sql, data = rows.copy(self.draw)
                return self._step(session, sql, "copy", data=data, guarded=guarded)
        if draw < 0.12:
            with contextlib.suppress(NothingToDo):
                sql, parameters = rows.with_parameter(self.draw)
                return self._step(session, sql, "extended", parameters=parameters, guarded=guarded)
        if draw < 0.2:
            statements = [one(self.draw) for _ in range(self.random.randint(2, 3))]
            return self._step(session, "; ".join(statements) + self.random.choice(["", ";"]), guarded=guarded)
        if draw < 0.34:
            return self._step(session, wrapped(self.draw), guarded=guarded)
        how = "extended" if self.values.chance(0.25) else "simple"
        return self._step(session, one(self.draw), how, guarded=guarded)

    def _alone(self, session: Session) -> Step:
        """What no transaction block allows, and settings that last."""
        self._look(session)
        if self.values.chance(0.7):
            with contextlib.suppress(NothingToDo):
                return self._step(session, outside(self.draw))
        return self._step(session, setting(self.draw, "SET"))
