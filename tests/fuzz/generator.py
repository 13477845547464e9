"""Random but reproducible transactions: the seed and what the source accepted so far decide what comes next.

A Generator looks at the catalog through the session that is about to act, so that what it writes mostly runs; it never
looks at anything that differs between two runs (OIDs, times, contents). It yields steps, and is told what came of them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from values import COLUMN_TYPES, Types, Values

ROLES = ["fuzz_a", "fuzz_b", 'Fuzz "röle"']
SCHEMAS = ["public", "s1", "S two"]
# What a session can see: relations with columns, and the user's types, functions and sequences.
CATALOG = """
SELECT pg_catalog.json_build_object(
  'relations', (SELECT pg_catalog.json_agg(r ORDER BY r.schema COLLATE "C", r.name COLLATE "C") FROM (
    SELECT n.nspname AS schema, c.relname AS name, c.relkind AS kind, c.relpersistence AS persistence,
      pg_catalog.pg_get_userbyid(c.relowner) AS owner, c.relispartition AS partition,
      c.relispopulated AS populated,
      (SELECT p.partstrat FROM pg_catalog.pg_partitioned_table p WHERE p.partrelid = c.oid) AS strategy,
      EXISTS (SELECT FROM pg_catalog.pg_inherits i WHERE i.inhparent = c.oid) AS parent,
      (SELECT pn.nspname || '|' || p.relname FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class p ON p.oid = i.inhparent
        JOIN pg_catalog.pg_namespace pn ON pn.oid = p.relnamespace WHERE i.inhrelid = c.oid ORDER BY i.inhseqno LIMIT 1) AS child_of,
      (SELECT pg_catalog.json_agg(pg_catalog.json_build_object('name', i.relname, 'unique', x.indisunique, 'primary', x.indisprimary,
          'immediate', x.indimmediate, 'plain', x.indexprs IS NULL AND x.indpred IS NULL, 'valid', x.indisvalid) ORDER BY i.relname COLLATE "C")
        FROM pg_catalog.pg_index x JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid WHERE x.indrelid = c.oid) AS indexes,
      (SELECT pg_catalog.json_agg(pg_catalog.json_build_object('name', k.conname, 'type', k.contype, 'columns', k.conkey) ORDER BY k.conname COLLATE "C")
        FROM pg_catalog.pg_constraint k WHERE k.conrelid = c.oid) AS constraints,
      (SELECT pg_catalog.json_agg(t.tgname ORDER BY t.tgname COLLATE "C") FROM pg_catalog.pg_trigger t
        WHERE t.tgrelid = c.oid AND NOT t.tgisinternal) AS triggers,
      (SELECT pg_catalog.json_agg(pg_catalog.json_build_object('name', a.attname, 'number', a.attnum, 'notnull', a.attnotnull,
          'generated', a.attgenerated, 'identity', a.attidentity, 'default', a.atthasdef, 'local', a.attislocal,
          'type', CASE WHEN tn.nspname IN ('pg_catalog') THEN pg_catalog.format_type(a.atttypid, a.atttypmod)
            WHEN e.oid IS NOT NULL THEN pg_catalog.format('%I.%I[]', en.nspname, e.typname)
            ELSE pg_catalog.format('%I.%I', tn.nspname, t.typname) END) ORDER BY a.attnum)
        FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
        JOIN pg_catalog.pg_namespace tn ON tn.oid = t.typnamespace
        LEFT JOIN pg_catalog.pg_type e ON e.oid = t.typelem AND t.typcategory = 'A' AND tn.nspname <> 'pg_catalog'
        LEFT JOIN pg_catalog.pg_namespace en ON en.oid = e.typnamespace
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'scribe')
      AND c.relname NOT LIKE 'pg\\_%') AS r),
  'types', (SELECT pg_catalog.json_agg(r ORDER BY r.name COLLATE "C") FROM (
    SELECT pg_catalog.format('%I.%I', n.nspname, t.typname) AS name, t.typtype AS kind,
      (SELECT pg_catalog.json_agg(e.enumlabel ORDER BY e.enumsortorder) FROM pg_catalog.pg_enum e WHERE e.enumtypid = t.oid) AS labels,
      pg_catalog.format_type(t.typbasetype, t.typtypmod) AS base,
      (SELECT pg_catalog.json_agg(pg_catalog.json_build_array(a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod)) ORDER BY a.attnum)
        FROM pg_catalog.pg_attribute a WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped) AS columns
    FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace LEFT JOIN pg_catalog.pg_class c ON c.oid = t.typrelid
    WHERE (t.typtype IN ('e', 'd') OR (t.typtype = 'c' AND c.relkind = 'c')) AND n.nspname !~ '^pg_'
      AND n.nspname NOT IN ('information_schema', 'scribe')) AS r),
  'extensions', (SELECT pg_catalog.json_agg(extname ORDER BY extname COLLATE "C") FROM pg_catalog.pg_extension
    WHERE extname IN ('hstore', 'citext')),
  'schemas', (SELECT pg_catalog.json_agg(nspname ORDER BY nspname COLLATE "C") FROM pg_catalog.pg_namespace WHERE nspname ~ 'sch[0-9]+$'),
  'server', pg_catalog.current_setting('server_version_num')::int)
"""


@dataclass(frozen=True)
class Step:
    """One thing a session does. how: simple, extended (parameters in parameters) or copy (data follows the statement)."""

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


class Relation:
    """A relation of the catalog."""

    def __init__(self, raw: dict[str, Any], quote: Callable[[str], str]) -> None:
        self.raw = raw
        self.schema: str = raw["schema"]
        self.bare: str = raw["name"]
        self.name = f"{quote(raw['schema'])}.{quote(raw['name'])}"
        self.kind: str = raw["kind"]
        self.owner: str = raw["owner"]
        self.columns: list[dict[str, Any]] = raw["columns"] or []
        self.constraints: list[dict[str, Any]] = raw["constraints"] or []
        self.indexes: list[dict[str, Any]] = raw["indexes"] or []
        self.triggers: list[str] = raw["triggers"] or []

    def numbers(self, types: tuple[str, ...] = ("integer", "bigint", "smallint", "numeric")) -> list[str]:
        """Columns that can be compared and added to."""
        return [c["name"] for c in self.columns if c["type"] in types and not c["generated"]]

    def unique(self) -> list[str]:
        """Columns of which each is alone in a unique or primary key."""
        by_number = {c["number"]: c["name"] for c in self.columns}
        return [by_number[k["columns"][0]] for k in self.constraints if k["type"] in "pu" and len(k["columns"]) == 1]

    def references(self) -> set[str]:
        """Columns of foreign keys."""
        by_number = {c["number"]: c["name"] for c in self.columns}
        return {by_number[n] for k in self.constraints if k["type"] == "f" for n in k["columns"]}


class NothingToDo(Exception):
    """The kind of statement that was drawn has nothing to act on."""


class Generator:
    """Steps for some sessions. query(session, sql) reads the source as that session sees it."""

    def __init__(self, values: Values, query: Callable[[int, str], Any], sessions: int = 3) -> None:
        self.random = values.random
        self.values = values
        self.quote = values.identifier
        self.query = query
        self.sessions = [Session(n) for n in range(sessions)]
        self.counter = 0
        self.transactions = 0
        self.prepared: list[str] = []
        self.relations: list[Relation] = []
        self.types = Types()
        self.extensions: list[str] = []
        self.schemas: list[str] = []
        self.server = 0
        self.role: str | None = None
        self.exclusive: Session | None = None  # alone until its transaction ends
        self.alone = False

    # --- the catalog --------------------------------------------------------------------------------------------

    def look(self, session: Session) -> None:
        """Read the catalog as that session sees it."""
        raw = self.query(session.number, CATALOG)
        self.relations = [Relation(r, _quote) for r in raw["relations"] or []]
        self.types = Types()
        for t in raw["types"] or []:
            if t["kind"] == "e":
                if t["labels"]:
                    self.types.enums[t["name"]] = t["labels"]
            elif t["kind"] == "d":
                self.types.domains[t["name"]] = t["base"]
            else:
                self.types.composites[t["name"]] = [c[1] for c in t["columns"] or []]
        self.extensions = raw["extensions"] or []
        self.schemas = raw["schemas"] or []
        self.server = raw["server"]
        self.role = session.role
        self.alone = self._others_idle(session) and (session.planned == 0 or self.exclusive is session)

    def pick(self, kinds: str = "r", where: Callable[[Relation], bool] = lambda r: True) -> Relation:
        """Some relation; one the role in effect owns, if there is one. Raises NothingToDo."""
        found = [r for r in self.relations if r.kind in kinds and where(r)]
        if self.role is not None:
            found = [r for r in found if r.owner == self.role]
        if not found:
            raise NothingToDo
        return self.random.choice(found)

    def new(self, stem: str, schema: bool = True) -> str:
        """A new name, qualified or not, as SQL writes it."""
        self.counter += 1
        name = self.quote(self.values.name(f"{stem}{self.counter}"))
        if not schema or self.values.chance(0.1):
            return name
        return f"{_quote(self.random.choice(SCHEMAS))}.{name}"

    def column(self, relation: Relation, where: Callable[[dict[str, Any]], bool] = lambda c: True) -> dict[str, Any]:
        """Some column of it. Raises NothingToDo."""
        found = [c for c in relation.columns if where(c)]
        if not found:
            raise NothingToDo
        return self.random.choice(found)

    def type(self) -> str:
        """A type for a column."""
        own = self.types.names()
        if self.extensions and self.values.chance(0.04):
            return f"public.{self.random.choice(self.extensions)}"
        if own and self.values.chance(0.15):
            return self.random.choice(own) + self.random.choice(["", "", "[]"])
        return self.random.choice(COLUMN_TYPES)

    def text(self) -> str:
        """A text as a literal."""
        return self.values.literal(self.values.text())

    # --- transactions -------------------------------------------------------------------------------------------

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

    def _begin(self, session: Session) -> Step:
        self.transactions += 1
        session.transaction = self.transactions
        session.role, session.savepoints, session.ending = None, [], "COMMIT"
        draw = self.random.random()
        if self.prepared and draw < 0.12:
            return self._finish_prepared(session)
        if draw < 0.25:
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
        self.counter += 1
        session.savepoints.append(f"sp{self.counter}")
        return self._step(session, f"SAVEPOINT sp{self.counter}")

    def _statement(self, session: Session) -> Step:
        """One statement, or a string of several, in one of the ways a client or a function has to run it."""
        self.look(session)
        guarded = session.guarded and session.planned > 0
        if session.planned and session.role is None and self.values.chance(0.06):
            session.role = self.random.choice(ROLES)
            return self._step(session, f"SET LOCAL ROLE {_quote(session.role)}", guarded=False)
        if session.planned and self.values.chance(0.04):
            return self._step(session, self._setting("SET LOCAL"), guarded=guarded)
        draw = self.random.random()
        if draw < 0.05:
            copied = self._copy(session, guarded)
            if copied:
                return copied
        if draw < 0.12:
            extended = self._extended(session, guarded)
            if extended:
                return extended
        if draw < 0.2:
            statements = [self.one() for _ in range(self.random.randint(2, 3))]
            return self._step(session, "; ".join(statements) + self.random.choice(["", ";"]), guarded=guarded)
        if draw < 0.34:
            return self._step(session, self._wrapped(), guarded=guarded)
        how = "extended" if self.values.chance(0.25) else "simple"
        return self._step(session, self.one(), how, guarded=guarded)

    def one(self, kinds: dict[str, int] | None = None) -> str:
        """One statement of any kind."""
        kinds = kinds or KINDS
        while True:
            (name,) = self.random.choices(list(kinds), list(kinds.values()))
            try:
                sql: str = getattr(self, f"_do_{name}")()
                return sql
            except NothingToDo:
                continue

    def _alone(self, session: Session) -> Step:
        """What no transaction block allows, and settings that last."""
        self.look(session)
        if self.values.chance(0.7):
            with contextlib.suppress(NothingToDo):
                return self._step(session, self._outside())
        return self._step(session, self._setting("SET"))

    def _outside(self) -> str:
        t = self.pick("rpm")
        index = [_quote(i["name"]) for i in t.indexes]
        match self.random.randint(0, 8):
            case 0:
                return f"CREATE INDEX CONCURRENTLY {self.new('ix', False)} ON {t.name} ({self._key(t)})"
            case 1 if index:
                return f"DROP INDEX CONCURRENTLY {_quote(t.schema)}.{self.random.choice(index)}"
            case 2:
                return f"REINDEX TABLE CONCURRENTLY {t.name}"
            case 3:
                return f"VACUUM {self.random.choice(['', '(FULL) ', '(FREEZE) '])}{t.name}"
            case 4:
                # one that fails on a lock leaves the partition half detached, which pg_dump takes for attached
                part = self.pick("rp", lambda r: bool(r.raw["partition"]) and self.alone)
                return f"ALTER TABLE {self._parent(part)} DETACH PARTITION {part.name} CONCURRENTLY"
            case 5:
                body = (
                    f"{self.one(PLAIN)}; COMMIT; {self.one(PLAIN)}; {self.random.choice(['ROLLBACK;', 'COMMIT;', ''])}"
                )
                return f"DO $outer$ BEGIN {body} END $outer$"
            case 6:
                procedure = self.new("pr")
                body = f"BEGIN {self.one(PLAIN)}; COMMIT; {self.one(PLAIN)}; END"
                return f"CREATE PROCEDURE {procedure}() LANGUAGE plpgsql AS $outer$ {body} $outer$; CALL {procedure}()"
            case 7 if index:
                # its mark on the index is recorded where another schema change has loaded the library
                return f"{self._do_comment()}; CLUSTER {t.name} USING {self.random.choice(index)}"
            case 7:
                return f"ANALYZE {t.name}"
            case _:
                return f"CREATE UNIQUE INDEX CONCURRENTLY {self.new('ix', False)} ON {t.name} ({self._key(t)})"

    def _setting(self, how: str) -> str:
        """A setting that changes how texts are read or what statements do."""
        choice = self.random.choice(SETTINGS)
        if self.values.chance(0.4):
            choice = "RESET ALL" if how == "SET" else "standard_conforming_strings = on"
            return choice if how == "SET" else f"{how} {choice}"
        return f"{how} {choice}"

    def _wrapped(self) -> str:
        """A statement run by a function, a DO block or a trigger instead of the client."""
        first, second = self.one(PLAIN), self.one(PLAIN)
        security = self.random.choice(
            ["", "", "SECURITY DEFINER ", "SET search_path = s1 ", "SET DateStyle = 'German' "]
        )
        body = f"$outer$ BEGIN {first}; {second}; END $outer$"
        name = self.new("fn")
        match self.random.randint(0, 6):
            case 0:
                return f"DO {body}"
            case 1:
                return f"DO $outer$ BEGIN EXECUTE {self.values.plain(first + '; ' + second)}; END $outer$"
            case 2:
                return f"CREATE FUNCTION {name}() RETURNS void LANGUAGE plpgsql {security}AS {body}; SELECT {name}()"
            case 3:
                return (
                    f"CREATE FUNCTION {name}() RETURNS void LANGUAGE sql {security}AS $outer$ {first}; {second} $outer$; "
                    f"SELECT {name}()"
                )
            case 4:
                caught = f"BEGIN {first}; RAISE 'x'; EXCEPTION WHEN OTHERS THEN {second}; END;"
                return f"DO $outer$ BEGIN {caught} END $outer$"
            case 5:
                inner = (
                    f"BEGIN EXECUTE {self.values.plain(first)}; EXECUTE {self.values.plain(second)}; RETURN NEW; END"
                )
                t = self.pick("r") if any(r.kind == "r" for r in self.relations) and self.role is None else None
                if t is None:
                    return first
                trigger = self.new("tr", False)
                return (
                    f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $outer$ {inner} $outer$; "
                    f"CREATE TRIGGER {trigger} AFTER INSERT ON {t.name} EXECUTE FUNCTION {name}(); "
                    f"{self._insert(t)}; DROP TRIGGER {trigger} ON {t.name}"
                )
            case _:
                return f"DO $outer$ BEGIN FOR i IN 1..2 LOOP BEGIN {first}; EXCEPTION WHEN OTHERS THEN NULL; END; END LOOP; END $outer$"

    # --- row changes --------------------------------------------------------------------------------------------

    def _values(self, t: Relation, column: dict[str, Any]) -> str:
        """A value for a column."""
        if column["name"] in t.references():
            return "NULL"
        if (column["default"] or column["identity"]) and (column["identity"] == "a" or self.values.chance(0.3)):
            return "DEFAULT"
        if not column["notnull"] and self.values.chance(0.15):
            return "NULL"
        return self.values.value(column["type"], self.types)

    def _insert(self, t: Relation, rows: int | None = None) -> str:
        columns = [c for c in t.columns if not c["generated"] and (c["notnull"] or self.values.chance(0.85))]
        if not columns:
            return f"INSERT INTO {t.name} DEFAULT VALUES"
        rows = rows or self.random.choice([1, 1, 2, 3, 12])
        lines = [f"({', '.join(self._values(t, c) for c in columns)})" for _ in range(rows)]
        conflict = " ON CONFLICT DO NOTHING" if self.values.chance(0.7) else ""
        overriding = (
            "OVERRIDING SYSTEM VALUE " if self.values.chance(0.3) and any(c["identity"] for c in columns) else ""
        )
        names = ", ".join(self.quote(c["name"]) for c in columns)
        return f"INSERT INTO {t.name} ({names}) {overriding}VALUES {', '.join(lines)}{conflict}"

    def _where(self, t: Relation) -> str:
        numbers = t.numbers()
        draw = self.random.randint(0, 4)
        if draw == 0 or not numbers:
            texts = [c["name"] for c in t.columns if c["type"] == "text"]
            if texts and draw < 3:
                return (
                    f" WHERE {self.quote(self.random.choice(texts))} {self.random.choice(['IS NULL', 'IS NOT NULL'])}"
                )
            return (
                self.random.choice(
                    ["", " WHERE true", " WHERE ctid IN (SELECT ctid FROM ONLY " + t.name + " ORDER BY ctid LIMIT 2)"]
                )
                if t.kind == "r" and not t.raw["parent"]
                else ""
            )
        name = self.quote(self.random.choice(numbers))
        return f" WHERE {name} {self.random.choice(['<', '>', '=', '<>'])} {self.random.randint(-5, 300)}"

    def _do_insert(self) -> str:
        return self._insert(self.pick("rp", lambda r: bool(r.columns) or self.values.chance(0.5)))

    def _do_insert_series(self) -> str:
        t = self.pick("rp")
        columns = [c for c in t.columns if not c["generated"] and c["identity"] != "a"]
        if not columns:
            raise NothingToDo
        start = self.random.randint(-100, 5000)
        count = self.random.choice([5, 20, 200])
        chosen = []
        for c in columns:
            value = (
                "i"
                if c["type"] in ("integer", "bigint", "numeric") and c["name"] not in t.references()
                else self._values(t, c)
            )
            chosen.append(f"{self._default_free(c, value)}")
        names = ", ".join(self.quote(c["name"]) for c in columns)
        return (
            f"INSERT INTO {t.name} ({names}) SELECT {', '.join(chosen)} "
            f"FROM generate_series({start}, {start + count}) AS i ON CONFLICT DO NOTHING"
        )

    def _default_free(self, column: dict[str, Any], value: str) -> str:
        return self.values.value(column["type"], self.types) if value == "DEFAULT" else value

    def _do_update(self) -> str:
        t = self.pick("rp", lambda r: bool(r.columns))
        columns = [c for c in t.columns if not c["generated"] and c["identity"] != "a"]
        keys = set(t.unique())
        sets = []
        for c in self.random.sample(columns, min(len(columns), self.random.randint(1, 3))):
            name = self.quote(c["name"])
            if c["name"] in keys:
                value = (
                    self.random.choice([name, f"{name} + {self.random.randint(1000, 9999)}"])
                    if c["type"] in ("integer", "bigint", "numeric")
                    else name
                )
            elif c["type"] == "text" and self.values.chance(0.4):
                value = f"{name} || {self.text()}"
            else:
                value = self.random.choice([name, self._values(t, c), self._values(t, c)])
            sets.append(f"{name} = {value}")
        if not sets:
            raise NothingToDo
        only = "ONLY " if t.raw["parent"] and t.kind == "r" and self.values.chance(0.3) else ""
        return f"UPDATE {only}{t.name} SET {', '.join(sets)}{self._where(t)}"

    def _do_swap(self) -> str:
        """Swap unique values; a deferrable constraint allows it in one statement, others when nothing collides."""
        t = self.pick("r", lambda r: bool(set(r.unique()) & set(r.numbers())))
        name = self.quote(self.random.choice(sorted(set(t.unique()) & set(t.numbers()))))
        return f"UPDATE {t.name} SET {name} = {self.random.choice([f'- {name}', f'{name} + 1', f'300 - {name}'])}"

    def _do_delete(self) -> str:
        t = self.pick("rp")
        return f"DELETE FROM {t.name}{self._where(t)}"

    def _do_merge(self) -> str:
        t = self.pick("rp", lambda r: bool(r.numbers()))
        if self.server < 150000:
            raise NothingToDo
        key = self.quote(self.random.choice(t.numbers()))
        sets = [c for c in t.columns if not c["generated"] and not c["identity"] and c["name"] not in t.unique()]
        if not sets:
            raise NothingToDo
        c = self.random.choice(sets)
        return (
            f"MERGE INTO {t.name} AS m USING generate_series({self.random.randint(0, 50)}, {self.random.randint(51, 90)}) AS s(n) "
            f"ON m.{key} = s.n WHEN MATCHED AND s.n % 2 = 0 THEN DELETE "
            f"WHEN MATCHED THEN UPDATE SET {self.quote(c['name'])} = {self._values(t, c)} "
            f"WHEN NOT MATCHED THEN INSERT ({key}) VALUES (s.n)"
        )

    def _do_truncate(self) -> str:
        some = [self.pick("rp") for _ in range(self.random.choice([1, 1, 2]))]
        names = ", ".join(self.random.choice(["", "", "ONLY " if t.kind == "r" else ""]) + t.name for t in some)
        return f"TRUNCATE {names}{self.random.choice(['', ' RESTART IDENTITY'])}{self.random.choice(['', ' CASCADE'])}"

    def _do_sequence_value(self) -> str:
        s = self.pick("S")
        return self.random.choice(
            [
                f"SELECT nextval({self.values.plain(s.name)}) FROM generate_series(1, {self.random.randint(1, 40)})",
                f"SELECT setval({self.values.plain(s.name)}, {self.random.randint(1, 20)}, {self.random.choice(['true', 'false'])})",
            ]
        )

    def _do_large_object(self) -> str:
        number = self.random.randint(900000, 900020)
        data = self.values.value("bytea", self.types)
        return self.random.choice(
            [
                f"SELECT lo_from_bytea({number}, {data})",
                f"SELECT lo_unlink(oid) FROM pg_largeobject_metadata WHERE oid = {number}",
                f"SELECT lo_put({number}, 5, {data}) FROM pg_largeobject_metadata WHERE oid = {number}",
            ]
        )

    def _do_toast(self) -> str:
        """Give a row a value kept out of line, or change another column of a row that has one."""
        t = self.pick("r", lambda r: any(c["type"] == "text" and not c["generated"] for c in r.columns))
        c = self.column(t, lambda c: c["type"] == "text" and not c["generated"])
        name = self.quote(c["name"])
        return f"UPDATE {t.name} SET {name} = (SELECT string_agg(md5(i::text), {self.text()}) FROM generate_series(1, {self.random.choice([90, 400])}) i){self._where(t)}"

    def _do_message(self) -> str:
        return f"SELECT pg_logical_emit_message(true, {self.random.choice(['scribe.mark', 'scribe.ddl', 'x'])!r}, {self.text()})"

    def _copy(self, session: Session, guarded: bool) -> Step | None:
        try:
            t = self.pick("rp", lambda r: any(c["type"] in ("text", "integer") for c in r.columns))
        except NothingToDo:
            return None
        columns = [c for c in t.columns if not c["generated"] and (c["notnull"] or c["type"] in ("text", "integer"))]
        if any(c["type"] not in ("text", "integer", "bigint") for c in columns):
            return None
        lines = []
        for _ in range(self.random.randint(1, 30)):
            fields = []
            for c in columns:
                text = str(self.random.randint(100, 100000)) if c["type"] != "text" else self.values.text()
                for plain, escaped in (("\\", "\\\\"), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t")):
                    text = text.replace(plain, escaped)
                fields.append(text)
            lines.append("\t".join(fields) + "\n")
        names = ", ".join(self.quote(c["name"]) for c in columns)
        return self._step(session, f"COPY {t.name} ({names}) FROM STDIN", "copy", data="".join(lines), guarded=guarded)

    def _extended(self, session: Session, guarded: bool) -> Step | None:
        try:
            t = self.pick("rp", lambda r: any(c["type"] == "text" and not c["generated"] for c in r.columns))
        except NothingToDo:
            return None
        c = self.column(t, lambda c: c["type"] == "text" and not c["generated"])
        name = self.quote(c["name"])
        parameters = tuple(self.random.choice([self.values.text(), None]) for _ in range(1))
        sql = self.random.choice(
            [
                f"UPDATE {t.name} SET {name} = $1::text{self._where(t)}",
                f"INSERT INTO {t.name} ({name}) VALUES ($1::text)",
                f"CREATE TABLE {self.new('xt')} AS SELECT $1::text AS a, i FROM generate_series(1, 3) i",
            ]
        )
        return self._step(session, sql, "extended", parameters=parameters, guarded=guarded)

    # --- definitions --------------------------------------------------------------------------------------------

    def _column(self, keyed: bool = False) -> str:
        name = self.new("c", False)
        if keyed:
            key = self.random.choice(
                [
                    "PRIMARY KEY",
                    "PRIMARY KEY",
                    "UNIQUE",
                    "PRIMARY KEY DEFERRABLE INITIALLY DEFERRED",
                    "UNIQUE DEFERRABLE",
                    "NOT NULL UNIQUE",
                    "",
                ]
            )
            kind = self.random.choice(
                [
                    "int",
                    "bigint",
                    "serial",
                    "int GENERATED ALWAYS AS IDENTITY",
                    "int GENERATED BY DEFAULT AS IDENTITY",
                    "numeric",
                    "text",
                    "int",
                ]
            )
            return f"{name} {kind} {key}"
        kind = self.type()
        draw = self.random.random()
        rest = ""
        if draw < 0.12:
            rest = f" DEFAULT {self.values.value(kind, self.types)}"
        elif draw < 0.17:
            rest = self.random.choice([" NOT NULL", ' COLLATE "C"' if kind == "text" else ""])
        elif draw < 0.22:
            kind, rest = "text", f" DEFAULT {self.random.choice(VOLATILE_TEXT)}"
        elif draw < 0.26:
            kind, rest = (
                "timestamptz",
                f" DEFAULT {self.random.choice(['now()', 'clock_timestamp()', 'current_timestamp'])}",
            )
        return f"{name} {kind}{rest}"

    def _do_create_table(self) -> str:
        name = self.new("t")
        columns = [self._column(True), *(self._column() for _ in range(self.random.randint(0, 6)))]
        if self.values.chance(0.1):
            columns.pop(0)
        if self.values.chance(0.15):
            c = self.new("c", False)
            columns += [f"{c} int", f"{self.new('g', False)} int GENERATED ALWAYS AS ({c} * 2) STORED"]
            if self.server >= 180000 and self.values.chance(0.5):
                columns += [f"{self.new('g', False)} int GENERATED ALWAYS AS ({c} + 1) VIRTUAL"]
        if self.values.chance(0.1):
            columns.append(f"CHECK (length({self.text()}) >= 0)")
        if self.values.chance(0.08):
            columns.append(f"LIKE {self.pick('rv').name} INCLUDING ALL")
        persistence = self.random.choice([""] * 12 + ["UNLOGGED ", "TEMP "])
        if persistence == "TEMP ":
            name = self.new("tmp", False)
        inherits = ""
        if not persistence and self.values.chance(0.08):
            inherits = f" INHERITS ({self.pick('r', lambda r: not r.raw['partition']).name})"
        options = self.random.choice([""] * 6 + [" WITH (fillfactor = 70)", " WITH (autovacuum_enabled = off)"])
        self.random.shuffle(columns)
        return f"CREATE {persistence}TABLE {name} ({', '.join(columns)}){inherits}{options}"

    def _do_create_partitioned(self) -> str:
        key = self.new("k", False)
        columns = [
            f"{key} int" + self.random.choice([" PRIMARY KEY", " NOT NULL", ""]),
            *(self._column() for _ in range(2)),
        ]
        how = self.random.choice(["RANGE", "LIST", "HASH"])
        return f"CREATE TABLE {self.new('p')} ({', '.join(columns)}) PARTITION BY {how} ({key})"

    def _bound(self, t: Relation) -> str:
        if self.values.chance(0.25) and t.raw["strategy"] != "h":
            return "DEFAULT"
        start = self.random.randint(-2, 30) * 10
        match t.raw["strategy"]:
            case "r":
                return f"FOR VALUES FROM ({start}) TO ({start + 10})"
            case "l":
                return f"FOR VALUES IN ({start}, {start + 1}{self.random.choice(['', ', NULL'])})"
            case _:
                return f"FOR VALUES WITH (MODULUS 3, REMAINDER {self.random.randint(0, 2)})"

    def _do_create_partition(self) -> str:
        t = self.pick("p")
        deeper = f" PARTITION BY LIST ({self.quote(t.columns[0]['name'])})" if self.values.chance(0.1) else ""
        return f"CREATE TABLE {self.new('q')} PARTITION OF {t.name} {self._bound(t)}{deeper}"

    def _do_attach(self) -> str:
        t = self.pick("p")
        name = self.new("at")
        insert = self.random.choice(["", f"INSERT INTO {name} SELECT * FROM {t.name} LIMIT 2; "])
        return f"CREATE TABLE {name} (LIKE {t.name} INCLUDING ALL); {insert}ALTER TABLE {t.name} ATTACH PARTITION {name} {self._bound(t)}"

    def _parent(self, part: Relation) -> str:
        schema, _, name = part.raw["child_of"].partition("|")
        return f"{_quote(schema)}.{_quote(name)}"

    def _do_detach(self) -> str:
        part = self.pick("rp", lambda r: r.raw["partition"])
        return f"ALTER TABLE {self._parent(part)} DETACH PARTITION {part.name}"

    def _do_inherit(self) -> str:
        t = self.pick("r", lambda r: r.raw["child_of"] and not r.raw["partition"])
        return f"ALTER TABLE {t.name} NO INHERIT {self._parent(t)}"

    def _do_add_column(self) -> str:
        t = self.pick("rp", lambda r: not r.raw["partition"])
        several = ", ".join(f"ADD COLUMN {self._column()}" for _ in range(self.random.choice([1, 1, 1, 2])))
        if self.values.chance(0.12):
            several = f"ADD COLUMN {self.new('c', False)} {self.random.choice(['serial', 'uuid DEFAULT gen_random_uuid()', 'int GENERATED ALWAYS AS IDENTITY', 'float8 DEFAULT random()', 'bigserial UNIQUE'])}"
        return f"ALTER TABLE {t.name} {several}"

    def _do_drop_column(self) -> str:
        t = self.pick("rp", lambda r: not r.raw["partition"])
        c = self.column(t)
        return f"ALTER TABLE {t.name} DROP COLUMN {self.quote(c['name'])}{self.random.choice(['', ' CASCADE'])}"

    def _do_alter_column(self) -> str:
        t = self.pick("rp", lambda r: bool(r.columns))
        c = self.column(t)
        name = self.quote(c["name"])
        match self.random.randint(0, 9):
            case 0:
                return f"ALTER TABLE {t.name} ALTER {name} TYPE text USING {name}::text"
            case 1:
                return f"ALTER TABLE {t.name} ALTER {name} TYPE text USING {self.random.choice(VOLATILE_TEXT)} || {self.text()}"
            case 2 if c["type"] in ("smallint", "integer"):
                return f"ALTER TABLE {t.name} ALTER {name} TYPE {self.random.choice(['bigint', 'numeric', 'text'])}"
            case 3:
                return f"ALTER TABLE {t.name} ALTER {name} SET DEFAULT {self.values.value(c['type'], self.types)}"
            case 4:
                return f"ALTER TABLE {t.name} ALTER {name} DROP DEFAULT"
            case 5:
                return f"ALTER TABLE {t.name} ALTER {name} {self.random.choice(['SET', 'DROP'])} NOT NULL"
            case 6:
                return f"ALTER TABLE {t.name} ALTER {name} SET STORAGE {self.random.choice(['EXTERNAL', 'MAIN', 'PLAIN', 'EXTENDED'])}"
            case 7:
                return f"ALTER TABLE {t.name} RENAME {name} TO {self.new('c', False)}"
            case 8:
                return f"ALTER TABLE {t.name} ALTER {name} SET STATISTICS {self.random.randint(10, 100)}"
            case _:
                return f"ALTER TABLE {t.name} ALTER {name} ADD GENERATED {self.random.choice(['ALWAYS', 'BY DEFAULT'])} AS IDENTITY"

    def _key(self, t: Relation) -> str:
        return self.quote(self.column(t, lambda c: c["type"] in COMPARABLE)["name"])

    def _do_add_constraint(self) -> str:
        t = self.pick("rp", lambda r: bool(r.columns))
        name = self.new("con", False)
        match self.random.randint(0, 6):
            case 0:
                kind = f"UNIQUE ({self._key(t)}){self.random.choice(['', ' DEFERRABLE', ' DEFERRABLE INITIALLY DEFERRED'])}"
            case 1:
                kind = f"PRIMARY KEY ({self._key(t)})"
            case 2:
                other = self.pick("rp", lambda r: bool(set(r.unique()) & set(r.numbers(("integer", "bigint")))))
                key = self.random.choice(sorted(set(other.unique()) & set(other.numbers(("integer", "bigint")))))
                action = self.random.choice(
                    [
                        "",
                        " ON DELETE CASCADE",
                        " ON DELETE SET NULL ON UPDATE CASCADE",
                        " DEFERRABLE INITIALLY DEFERRED",
                    ]
                )
                return f"ALTER TABLE {t.name} ADD COLUMN {self.new('f', False)} int REFERENCES {other.name} ({self.quote(key)}){action}"
            case 3:
                c = self.column(t)
                kind = f"CHECK ({self.quote(c['name'])} IS NOT NULL OR true){self.random.choice(['', ' NOT VALID'])}"
            case 4:
                c = self.column(t)
                kind = f"CHECK ({self.quote(c['name'])} IS NOT NULL) NOT VALID"
            case 5 if t.constraints:
                return f"ALTER TABLE {t.name} DROP CONSTRAINT {_quote(self.random.choice(t.constraints)['name'])}{self.random.choice(['', ' CASCADE'])}"
            case _:
                if not t.constraints:
                    raise NothingToDo
                old = _quote(self.random.choice(t.constraints)["name"])
                return f"ALTER TABLE {t.name} {self.random.choice([f'RENAME CONSTRAINT {old} TO {name}', f'VALIDATE CONSTRAINT {old}'])}"
        return f"ALTER TABLE {t.name} ADD CONSTRAINT {name} {kind}"

    def _do_identity(self) -> str:
        t = self.pick("r")
        choices = ["DEFAULT", "FULL", "FULL", "NOTHING"]
        choices += [f"USING INDEX {_quote(i['name'])}" for i in t.indexes if i["unique"] and i["plain"]] * 2
        return f"ALTER TABLE {t.name} REPLICA IDENTITY {self.random.choice(choices)}"

    def _do_alter_table(self) -> str:
        t = self.pick("rp")
        viewed = any(r.kind in "vm" for r in self.relations)
        return f"ALTER TABLE {t.name} " + self.random.choice(
            [
                f"RENAME TO {self.new('t', False)}",
                f"SET SCHEMA {_quote(self.random.choice(SCHEMAS))}",
                f"OWNER TO {_quote(self.random.choice(ROLES))}",
                "ENABLE ROW LEVEL SECURITY",
                "FORCE ROW LEVEL SECURITY",
                "SET LOGGED",
                "SET LOGGED" if viewed else "SET UNLOGGED",
                "SET (fillfactor = 50)",
                "DISABLE TRIGGER USER",
                "ENABLE TRIGGER ALL",
            ]
        )

    def _do_drop(self) -> str:
        t = self.pick("rpvmS")
        kind = {"r": "TABLE", "p": "TABLE", "v": "VIEW", "m": "MATERIALIZED VIEW", "S": "SEQUENCE"}[t.kind]
        return f"DROP {kind} {t.name}{self.random.choice(['', '', ' CASCADE'])}"

    def _do_create_index(self) -> str:
        t = self.pick("rpm")
        unique = self.random.choice(["", "", "UNIQUE "])
        name = self.new("ix", False)
        if self.values.chance(0.2):
            return f"CREATE INDEX {name} ON {t.name} ((md5({self.text()} || {self._key(t)}::text)))"
        where = f" WHERE {self._key(t)} IS NOT NULL" if self.values.chance(0.2) else ""
        return f"CREATE {unique}INDEX {name} ON {t.name} ({self._key(t)}){where}"

    def _do_index(self) -> str:
        t = self.pick("rpm", lambda r: bool(r.indexes))
        index = f"{_quote(t.schema)}.{_quote(self.random.choice(t.indexes)['name'])}"
        return self.random.choice(
            [
                f"DROP INDEX {index}",
                f"ALTER INDEX {index} RENAME TO {self.new('ix', False)}",
                f"REINDEX INDEX {index}",
                f"COMMENT ON INDEX {index} IS {self.text()}",
            ]
        )

    def _do_create_type(self) -> str:
        name = self.new("ty")
        match self.random.randint(0, 3):
            case 0:
                labels = sorted({self.values.text()[:15] or "l" for _ in range(3)})
                return f"CREATE TYPE {name} AS ENUM ({', '.join(self.values.plain(x) for x in labels)})"
            case 1:
                base = self.random.choice(["text", "integer", "numeric", "jsonb", "text[]"])
                return f"CREATE DOMAIN {name} AS {base}{self.random.choice([' CHECK (VALUE IS NOT NULL OR true)', '', f' DEFAULT {self.values.value(base, self.types)}'])}"
            case 2:
                columns = ", ".join(f"{self.new('a', False)} {self.type()}" for _ in range(2))
                return f"CREATE TYPE {name} AS ({columns})"
            case _:
                return f"CREATE TYPE {name} AS RANGE (subtype = {self.random.choice(['text', 'float8', 'date'])})"

    def _do_alter_type(self) -> str:
        names = self.types.names()
        # The server does not lock a type that an open transaction uses: its change may be committed before that use,
        # and then the order of commits is not one in which the statements can run.
        if not names or not self.alone:
            raise NothingToDo
        name = self.random.choice(names)
        if name in self.types.enums:
            label = self.values.plain(f"{self.values.text()[:12]}{self.counter}")
            self.counter += 1
            old = self.values.plain(self.random.choice(self.types.enums[name]))
            return self.random.choice(
                [
                    f"ALTER TYPE {name} ADD VALUE {label}",
                    f"ALTER TYPE {name} ADD VALUE {label} BEFORE {old}",
                    f"ALTER TYPE {name} RENAME VALUE {old} TO {label}",
                ]
            )
        if name in self.types.domains:
            return self.random.choice(
                [
                    f"ALTER DOMAIN {name} ADD CONSTRAINT {self.new('dc', False)} CHECK (VALUE IS DISTINCT FROM NULL OR true)",
                    f"ALTER DOMAIN {name} SET DEFAULT {self.values.value(self.types.domains[name], self.types)}",
                    f"ALTER DOMAIN {name} RENAME TO {self.new('ty', False)}",
                    f"DROP DOMAIN {name}",
                ]
            )
        return self.random.choice(
            [
                f"ALTER TYPE {name} ADD ATTRIBUTE {self.new('a', False)} {self.type()}{self.random.choice(['', ' CASCADE'])}",
                f"ALTER TYPE {name} RENAME TO {self.new('ty', False)}",
                f"DROP TYPE {name}",
                f"COMMENT ON TYPE {name} IS {self.text()}",
            ]
        )

    def _do_create_sequence(self) -> str:
        return f"CREATE SEQUENCE {self.new('sq')}" + self.random.choice(
            ["", " CYCLE MAXVALUE 7", " INCREMENT -2", " CACHE 5", " START 10 MINVALUE 5"]
        )

    def _do_alter_sequence(self) -> str:
        s = self.pick("S")
        return f"ALTER SEQUENCE {s.name} " + self.random.choice(
            ["RESTART", "INCREMENT 3", f"RENAME TO {self.new('sq', False)}", "OWNED BY NONE", "RESTART 5", "CYCLE"]
        )

    def _do_ctas(self) -> str:
        source = self.pick("rpvm")
        rows = f"SELECT * FROM {source.name} LIMIT {self.random.randint(0, 9)}"
        made = (
            f"SELECT i, random() AS r, {self.text()}::text AS t FROM generate_series(1, {self.random.randint(0, 30)}) i"
        )
        query = self.random.choice([rows, made])
        name = self.new("ct")
        if self.values.chance(0.2):
            return f"SELECT * INTO {name} FROM ({query}) AS q"
        return f"CREATE {self.random.choice([''] * 8 + ['UNLOGGED ', 'TEMP '])}TABLE {self.random.choice(['', 'IF NOT EXISTS '])}{name} AS {query}{self.random.choice(['', '', ' WITH NO DATA'])}".replace(
            "TEMP TABLE " + name, "TEMP TABLE " + name.split(".")[-1]
        )

    def _do_view(self) -> str:
        # a materialized view's rows are those its query gives, and an unlogged table's are not in the WAL
        t = self.pick("rpm", lambda r: bool(r.columns) and r.raw["persistence"] == "p")
        columns = ", ".join(self.quote(c["name"]) for c in t.columns)
        where = f" WHERE {self.text()} <> ''" if self.values.chance(0.3) else ""
        if self.values.chance(0.4):
            return f"CREATE MATERIALIZED VIEW {self.new('mv')} AS SELECT {columns} FROM {t.name}{where}{self.random.choice(['', ' WITH NO DATA'])}"
        return f"CREATE {self.random.choice(['', 'OR REPLACE '])}VIEW {self.new('v')} AS SELECT {columns}, {self.text()}::text AS said FROM {t.name}{where}"

    def _do_refresh(self) -> str:
        return f"REFRESH MATERIALIZED VIEW {self.pick('m').name}{self.random.choice(['', '', ' WITH NO DATA'])}"

    def _do_trigger(self) -> str:
        t = self.pick("r", lambda r: any(c["type"] == "text" and not c["generated"] for c in r.columns))
        if t.triggers and self.values.chance(0.6):
            name = _quote(self.random.choice(t.triggers))
            return self.random.choice(
                [
                    f"ALTER TABLE {t.name} ENABLE ALWAYS TRIGGER {name}",
                    f"ALTER TABLE {t.name} ENABLE REPLICA TRIGGER {name}",
                    f"ALTER TABLE {t.name} DISABLE TRIGGER {name}",
                    f"DROP TRIGGER {name} ON {t.name}",
                    f"COMMENT ON TRIGGER {name} ON {t.name} IS {self.text()}",
                ]
            )
        c = self.quote(self.column(t, lambda c: c["type"] == "text" and not c["generated"])["name"])
        function = self.new("tg")
        tag = "$tg$" if "$tg$" not in c else "$tg9$"
        return (
            f"CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS {tag} BEGIN NEW.{c} := NEW.{c} || '!'; RETURN NEW; END {tag}; "
            f"CREATE TRIGGER {self.new('tr', False)} BEFORE INSERT OR UPDATE ON {t.name} FOR EACH ROW EXECUTE FUNCTION {function}()"
        )

    def _do_function(self) -> str:
        function = self.new("fn")
        body = self.values.text()
        literal = self.values.literal(
            f"BEGIN\n/* {body.replace('*/', '').replace('/*', '')} */\n-- {body.splitlines()[0] if body.splitlines() else ''}\nRETURN {self.values.plain(body)};\nEND"
        )
        return f"CREATE FUNCTION {function}({self.new('arg', False)} text DEFAULT {self.text()}) RETURNS text LANGUAGE plpgsql AS {literal}"

    def _do_comment(self) -> str:
        t = self.pick("rpvm")
        kind = {"r": "TABLE", "p": "TABLE", "v": "VIEW", "m": "MATERIALIZED VIEW"}[t.kind]
        if t.columns and self.values.chance(0.4):
            return f"COMMENT ON COLUMN {t.name}.{self.quote(self.column(t)['name'])} IS {self.text()}"
        return f"COMMENT ON {kind} {t.name} IS {self.random.choice([self.text(), self.text(), 'NULL'])}"

    def _do_grant(self) -> str:
        t = self.pick("rpvm")
        role = _quote(self.random.choice(ROLES))
        return self.random.choice(
            [
                f"GRANT SELECT, INSERT ON {t.name} TO {role}",
                f"GRANT ALL ON {t.name} TO {role} WITH GRANT OPTION",
                f"REVOKE ALL ON {t.name} FROM {role} CASCADE",
                f"GRANT USAGE ON SCHEMA {_quote(t.schema)} TO {role}",
                f"ALTER DEFAULT PRIVILEGES FOR ROLE {role} GRANT SELECT ON TABLES TO PUBLIC",
            ]
        )

    def _do_policy(self) -> str:
        t = self.pick("rp")
        return f"CREATE POLICY {self.new('po', False)} ON {t.name} USING ({self.text()} <> '')"

    def _do_statistics(self) -> str:
        t = self.pick("r", lambda r: sum(c["type"] in COMPARABLE for c in r.columns) > 1)
        columns = [self.quote(c["name"]) for c in t.columns if c["type"] in COMPARABLE][:2]
        return f"CREATE STATISTICS {self.new('st')} ON {', '.join(columns)} FROM {t.name}"

    def _do_rule(self) -> str:
        t = self.pick("r")
        return f"CREATE RULE {self.new('ru', False)} AS ON DELETE TO {t.name} WHERE false DO ALSO NOTHING"

    def _do_schema(self) -> str:
        if self.schemas and self.alone and self.values.chance(0.5):  # not locked either, see _do_alter_type()
            schema = _quote(self.random.choice(self.schemas))
            return self.random.choice(
                [
                    f"ALTER SCHEMA {schema} RENAME TO {self.new('sch', False)}",
                    f"DROP SCHEMA {schema} CASCADE",
                    f"COMMENT ON SCHEMA {schema} IS {self.text()}",
                ]
            )
        table = self.new("t", False)
        return f"CREATE SCHEMA {self.new('sch', False)} CREATE TABLE {table} ({self._column(True)}, {self._column()}) CREATE VIEW {self.new('v', False)} AS SELECT * FROM {table}"

    def _do_changing_query(self) -> str:
        t = self.pick("r", lambda r: bool(r.columns))
        if self.values.chance(0.3):
            return f"EXPLAIN (ANALYZE, COSTS off) CREATE TABLE {self.new('ex')} AS SELECT * FROM {t.name} LIMIT 3"
        return f"WITH gone AS (DELETE FROM {t.name} WHERE ctid IN (SELECT ctid FROM ONLY {t.name} ORDER BY ctid LIMIT 1) RETURNING 1) {self._insert(t, 1)}"

    def _do_publication(self) -> str:
        t = self.pick("rp", lambda r: r.raw["persistence"] == "p")
        return f"CREATE PUBLICATION {self.new('pub', False)} FOR TABLE {t.name} WITH (publish = 'insert')"


KINDS = {
    "insert": 30,
    "insert_series": 8,
    "update": 26,
    "swap": 4,
    "delete": 12,
    "merge": 3,
    "truncate": 3,
    "sequence_value": 4,
    "large_object": 2,
    "toast": 4,
    "message": 1,
    "create_table": 12,
    "create_partitioned": 3,
    "create_partition": 5,
    "attach": 2,
    "detach": 2,
    "inherit": 1,
    "add_column": 8,
    "drop_column": 3,
    "alter_column": 8,
    "add_constraint": 7,
    "identity": 5,
    "alter_table": 6,
    "drop": 3,
    "create_index": 5,
    "index": 3,
    "create_type": 4,
    "alter_type": 4,
    "create_sequence": 2,
    "alter_sequence": 2,
    "ctas": 4,
    "view": 3,
    "refresh": 2,
    "trigger": 4,
    "function": 2,
    "comment": 4,
    "grant": 3,
    "policy": 1,
    "statistics": 1,
    "rule": 1,
    "publication": 1,
    "schema": 2,
    "changing_query": 2,
}
# What may stand in PL/pgSQL: nothing that returns rows, and no two statements in one.
PLAIN = {
    k: v
    for k, v in KINDS.items()
    if k not in ("sequence_value", "large_object", "message", "attach", "trigger", "ctas")
}
COMPARABLE = {
    "integer",
    "bigint",
    "smallint",
    "numeric",
    "text",
    "date",
    "uuid",
    "boolean",
    "bytea",
    "double precision",
    "name",
}
VOLATILE_TEXT = [
    "md5(random()::text)",
    "clock_timestamp()::text",
    "now()::text",
    "current_user::text",
    "gen_random_uuid()::text",
]
SETTINGS = [
    "search_path = s1, public",
    'search_path = "S two", s1',
    "DateStyle = 'SQL, DMY'",
    "DateStyle = 'German'",
    "IntervalStyle = sql_standard",
    "TimeZone = 'Asia/Tokyo'",
    "standard_conforming_strings = off",
    "backslash_quote = on",
    "extra_float_digits = 0",
    "bytea_output = escape",
    "array_nulls = off",
    "xmloption = document",
    "session_replication_role = replica",
    "default_toast_compression = pglz",
    "check_function_bodies = off",
    "lc_monetary = 'C'",
    "transform_null_equals = on",
    "quote_all_identifiers = on",
    "search_path = public",
]


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
