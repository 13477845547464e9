"""Which rows a part of the database needs: those of its tables, under every name that they have had.

The schema is restored first, with every change of it and without a row: what the tables are called in the end, and what
they were called before, is then known by their OIDs. Rows are chosen by name as they pass. To the chosen tables come
those without which their own changes cannot be repeated: others below one root where rows are spread by it, tables that
a new foreign key is checked against, and tables whose rows move the same sequence.
"""

from __future__ import annotations

import contextlib
import json
import re
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import psycopg

from scribe.archive.cutting import Piece
from scribe.archive.layout import Segment
from scribe.common.errors import ScribeError, TryAgainError
from scribe.restore.session import Session
from scribe.restore.statements import IDENTIFIER, split_statements, unquoted
from scribe.restore.tables import has_made_up_types, uses_in_column, uses_in_key

Name = tuple[bytes, bytes]  # schema and name, as the catalogue has them
_NAME = b"(" + IDENTIFIER + rb")\.(" + IDENTIFIER + b")"
_HEAD = rb"(?:INSERT INTO|(?:WITH d AS \()?(?:UPDATE|DELETE FROM)(?: ONLY)?) " + _NAME + rb"[ ;]"
_ROW = re.compile(_HEAD)
_LINES = re.compile(rb"\n(?:" + _HEAD + rb"|[()]|([^\n]))")
_RUN = re.compile(rb"\"(?:[^\"]|\"\")*+\"|'(?:[^']|'')*+'|\) (?:UPDATE|DELETE FROM)(?: ONLY)? " + _NAME + b" ")
_COPY = re.compile(rb"COPY " + _NAME + b" ")
_ACTS_ON_ROWS = (b"INSERT INTO ", b"UPDATE ", b"DELETE FROM ", b"WITH ")
_CONTROL = re.compile(rb"[\x00-\x1f\x7f\\]")
_PIECES = (b"pg_temp", b"scribe_piece")
_SCRIPT = re.compile(rb"(?i)\bUPDATE\b")


_HASHED = """(SELECT pg_catalog.pg_partition_root(h.partrelid) FROM pg_catalog.pg_partitioned_table AS h
       WHERE h.partstrat = 'h')"""
# Tables as they are now, if they have changed since a transaction; foreign keys; what lies below a root that spreads;
# tables of which other rows may decide what is in them, each with the reason; how many tables there are, and the sum of
# their OIDs.
_CHANGED = f"""
SELECT pg_catalog.json_build_array(pg_catalog.pg_current_xact_id()::text::bigint, (
  SELECT pg_catalog.json_agg(pg_catalog.json_build_array(c.oid::bigint,
      pg_catalog.encode(pg_catalog.convert_to(n.nspname, pg_catalog.getdatabaseencoding()), 'hex'),
      pg_catalog.encode(pg_catalog.convert_to(c.relname, pg_catalog.getdatabaseencoding()), 'hex')))
    FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
   WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND c.oid >= 16384
     AND (c.xmin::text::bigint >= :since OR n.xmin::text::bigint >= :since)
), (
  SELECT pg_catalog.json_agg(pg_catalog.json_build_array(k.conrelid::bigint, k.confrelid::bigint))
    FROM pg_catalog.pg_constraint AS k WHERE k.contype = 'f' AND k.xmin::text::bigint >= :since
), (
  SELECT pg_catalog.json_agg(pg_catalog.json_build_array(i.inhrelid::bigint, i.inhparent::bigint))
    FROM pg_catalog.pg_inherits AS i JOIN pg_catalog.pg_partitioned_table AS p ON p.partrelid = i.inhparent
   WHERE EXISTS (SELECT FROM pg_catalog.pg_inherits AS j WHERE j.xmin::text::bigint >= :since)  -- what was below before
     AND pg_catalog.pg_partition_root(i.inhparent) IN {_HASHED}
), (
  SELECT pg_catalog.json_agg(pg_catalog.json_build_array(r.relid::bigint,
      pg_catalog.encode(pg_catalog.convert_to(r.reason, pg_catalog.getdatabaseencoding()), 'hex')))
    FROM (
      SELECT e.adrelid, e.adrelid::pg_catalog.regclass::text
        || ': a function that may look at other tables makes one of its columns'
        FROM pg_catalog.pg_attrdef AS e JOIN pg_catalog.pg_attribute AS a
          ON a.attrelid = e.adrelid AND a.attnum = e.adnum AND a.attgenerated <> ''
       WHERE e.xmin::text::bigint >= :since
         AND ({uses_in_column("e")} OR {has_made_up_types("e.adrelid")})
      UNION
      SELECT p.partrelid, p.partrelid::pg_catalog.regclass::text
        || ': a function that may look at other tables tells which partition a row is in'
        FROM pg_catalog.pg_partitioned_table AS p WHERE pg_catalog.pg_partition_root(p.partrelid) IN {_HASHED}
         AND {uses_in_key("p.partrelid")}
      UNION
      SELECT t.tgrelid, t.tgrelid::pg_catalog.regclass::text || ': its trigger ' || pg_catalog.quote_ident(t.tgname)
        || ' acts on rows that are restored'
        FROM pg_catalog.pg_trigger AS t WHERE t.tgenabled IN ('A', 'R') AND t.xmin::text::bigint >= :since
      UNION
      SELECT c.oid, c.oid::pg_catalog.regclass::text || ': a materialized view holds what was found in other tables'
        FROM pg_catalog.pg_class AS c WHERE c.relkind = 'm' AND c.xmin::text::bigint >= :since
    ) AS r (relid, reason)
), (
  SELECT pg_catalog.json_build_array(pg_catalog.count(*), coalesce(pg_catalog.sum(c.oid::bigint), 0))
    FROM pg_catalog.pg_class AS c WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND c.oid >= 16384
))
"""
_THERE = b"""
SELECT c.oid FROM pg_catalog.pg_class AS c
 WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND c.oid >= 16384
"""
# What moves a sequence at a point between two records of its position: tables that own it or have it as a default, and
# what lies below those.
_SEQUENCES = """
WITH RECURSIVE used AS (
  SELECT d.objid AS seq, d.refobjid AS relid FROM pg_catalog.pg_depend AS d
   WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.deptype IN ('a', 'i')
     AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
  UNION
  SELECT d.refobjid, f.adrelid
    FROM pg_catalog.pg_depend AS d JOIN pg_catalog.pg_attrdef AS f ON f.oid = d.objid
   WHERE d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass
     AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
), moving AS (
  SELECT u.relid FROM used AS u JOIN pg_catalog.pg_class AS s ON s.oid = u.seq AND s.relkind = 'S'
   WHERE u.seq = ANY (%(oids)s::oid[]) OR u.seq IN (SELECT seq FROM used WHERE relid = ANY (%(oids)s::oid[]))
  UNION
  SELECT i.inhrelid FROM pg_catalog.pg_inherits AS i JOIN moving AS m ON i.inhparent = m.relid
)
SELECT relid::bigint FROM moving
"""


class WholeNeededError(ScribeError):
    """The part cannot be restored without the rest: everything has to be."""


_ANY = "surrogateescape"  # bytes that are no text are kept
_KINDS = ("inserted", "updated", "deleted", "truncated")


def _may_change_schema(segment: Segment) -> bool:
    return bool(segment.manifest["counts"]["ddl"] or segment.manifest["warnings"])


def _tells_tables(segment: Segment) -> bool:
    """Whether a manifest names all tables of which its segment has rows; older ones name none, and some too many."""
    tables, counts = segment.manifest.get("tables"), segment.manifest["counts"]
    return tables is not None and all(sum(each.get(kind, 0) for each in tables) == counts[kind] for kind in _KINDS)


def _encoded(name: tuple[str, str], codec: str) -> Name:
    return name[0].encode(codec, "replace"), name[1].encode(codec, "replace")


def name_of(match: re.Match[bytes]) -> Name:
    """Return the name that a match has found."""
    return unquoted(match[1]), unquoted(match[2])


def row_table(statement: bytes) -> Name | None:
    """Return the table of a statement that acts on rows, None for other statements. Raises WholeNeededError."""
    if not statement.startswith(_ACTS_ON_ROWS):
        return None
    match = _ROW.match(statement)
    if match is None and statement.startswith(b"WITH v (image"):
        last = statement.rfind(b"\n)") + 1
        match = next((found for found in _RUN.finditer(statement, last) if found[1]), None)
    if match is None:
        raise WholeNeededError(f"a statement does not tell its table: {statement[:80]!r}")
    return name_of(match)


@dataclass(frozen=True)
class _Step:
    """What a table is called from one schema change on; name: None if it is gone."""

    number: int
    oid: int
    name: Name | None


class Rows(ABC):
    """Which rows are let through, by the names of their tables at each step: a step is one schema change."""

    watching = False  # the schema is restored only to see what the tables are called

    def begin(self, session: Session) -> None:  # noqa: B027  (there need not be anything to look at)
        """Look at the schema before its first change."""

    def filter(self, text: bytes) -> bytes:
        """Leave out the statements that act on rows of other tables. Raises WholeNeededError."""
        return b"".join([each for each in split_statements(text) if self._lets(row_table(each))])

    @abstractmethod
    def filter_rows(self, text: bytes) -> bytes:
        """Do the same with the text of a small transaction, most of which are of no use. Raises WholeNeededError."""

    def takes_copy(self, statement: bytes) -> bool:
        """Whether the data of a COPY is let through. Raises WholeNeededError."""
        match = _COPY.match(statement)
        if match is None:
            raise WholeNeededError(f"a COPY does not tell its table: {statement[:80]!r}")
        return self._lets(name_of(match))

    def takes_piece(self, piece: Piece) -> bool:
        """Whether a piece of a base is run: its schema, and the data that is let through. Raises WholeNeededError."""
        if piece.copy is not None:
            return self.takes_copy(piece.text)
        return not piece.text.startswith(b"SELECT pg_catalog.lowrite(")

    @abstractmethod
    def concerns(self, segment: Segment) -> bool:
        """Whether a segment has to be read, as far as its manifest tells. Raises WholeNeededError."""

    @abstractmethod
    def after_ddl(self, session: Session, tag: str, text: bytes) -> None:
        """Take the next step: a schema change has been repeated. Raises WholeNeededError."""

    def _lets(self, name: Name | None) -> bool:
        return name is None or name == _PIECES or self.wants(name)

    @abstractmethod
    def wants(self, name: Name) -> bool:
        """Whether the rows of a table of that name are let through."""


class Watch(Rows):
    """No row is let through, and what the tables are called at each step is noted."""

    watching = True

    def __init__(self) -> None:
        self._step = 0
        self._since = 0
        self._steps: list[_Step] = []
        self._there: set[int] = set()
        self._references: set[tuple[int, int]] = set()
        self._spread: set[tuple[int, int]] = set()
        self._reasons: dict[int, str] = {}  # by OID: why everything has to be restored for a table

    def begin(self, session: Session) -> None:
        """Look at the schema before its first change."""
        self._look(session)

    def filter_rows(self, text: bytes) -> bytes:
        """Leave everything out."""
        return b""

    def concerns(self, segment: Segment) -> bool:
        """Whether there is anything to be seen in a segment."""
        return _may_change_schema(segment)

    def after_ddl(self, session: Session, tag: str, text: bytes) -> None:
        """Take the next step, and look at what has changed. Raises WholeNeededError."""
        if tag == "CREATE EXTENSION" or (tag == "ALTER EXTENSION" and _SCRIPT.search(text)):
            raise WholeNeededError("the script of an extension may look at other tables")
        self._step += 1
        self._look(session)

    def wants(self, name: Name) -> bool:
        """Whether the rows of a table of that name are let through: none are."""
        return False

    def _look(self, session: Session) -> None:
        found = session.fetch(_CHANGED.replace(":since", str(self._since)).encode())
        self._since, tables, references, spread, reasons, there = json.loads(found[0])
        for oid, schema, name in tables or ():
            new = self._step > 0 and oid not in self._there  # its first rows may come in the step that makes it
            self._steps.append(_Step(self._step - new, oid, (bytes.fromhex(schema), bytes.fromhex(name))))
            self._there.add(oid)
        if [len(self._there), sum(self._there)] != there:
            now = set(map(int, session.fetch(_THERE)))
            self._steps += [_Step(self._step, oid, None) for oid in self._there - now]
            self._there &= now
        self._references |= {(one, other) for one, other in references or ()}
        self._spread |= {(one, other) for one, other in spread or ()}
        self._reasons |= {oid: bytes.fromhex(reason).decode(errors="replace") for oid, reason in reasons or ()}

    def find(self, names: Iterable[Name]) -> set[int]:
        """Return the tables that have had one of these names at any step."""
        wanted = frozenset(names)
        return {step.oid for step in self._steps if step.name in wanted}

    def widen(self, oids: Iterable[int]) -> set[int]:
        """Return these tables and those that their rows cannot be repeated without."""
        found = set(oids)
        while True:
            more = {other for one, other in self._references if one in found}
            more |= {one for one, other in self._spread if other in found}
            more |= {other for one, other in self._spread if one in found}
            if more <= found:
                return found
            found |= more

    def choose(self, oids: set[int], codec: str) -> Chosen:
        """Return what lets the rows of these tables through; codec: of names. Raises WholeNeededError."""
        reason = next((self._reasons[oid] for oid in sorted(oids) if oid in self._reasons), None)
        if reason is not None:
            raise WholeNeededError(reason)
        for step in self._steps:
            if step.oid in oids and step.name is not None and _CONTROL.search(step.name[0] + step.name[1]):
                raise WholeNeededError(f"the name of a table is written in escapes: {step.name[1]!r}")
        return Chosen(oids, self._steps, self._step, codec)


class Chosen(Rows):
    """The rows of some tables are let through, under the names that these have at each step.

    A name that no table has at a step shows that a schema change is missing: a restore of everything stops there.
    """

    def __init__(self, oids: set[int], steps: Iterable[_Step], last: int, codec: str) -> None:
        self.oids = oids
        self._last = last
        self._codec = codec
        self._steps = deque(sorted(steps, key=lambda step: step.number))
        self._step = 0
        self._names: dict[int, Name] = {}
        self._wanted: dict[Name, bool] = {}  # of each name that some table has now
        self._known: dict[tuple[bytes, bytes, bytes], bool] = {}  # of the beginnings of lines
        self._told: dict[tuple[str, str], Name] = {}  # the names that some table has now, as manifests tell them
        self._advance()

    def filter_rows(self, text: bytes) -> bytes:
        """Leave out the statements that act on rows of other tables. Raises WholeNeededError."""
        wanted = False
        for line in set(_LINES.findall(b"\n" + text)):
            if line not in self._known:
                schema, name, other = line
                self._known[line] = bool(other) or (bool(name) and self._lets((unquoted(schema), unquoted(name))))
            wanted |= self._known[line]
        return self.filter(text) if wanted else b""

    def concerns(self, segment: Segment) -> bool:
        """Whether a segment may have rows that are let through, or a schema change. Raises WholeNeededError."""
        if _may_change_schema(segment) or not _tells_tables(segment):
            return True
        names = [(each["schema"], each["name"]) for each in segment.manifest["tables"]]
        wanted = [self._lets(self._told.get(name) or _encoded(name, self._codec)) for name in names]
        return any(wanted)

    def after_ddl(self, session: Session, tag: str, text: bytes) -> None:
        """Take the next step. Raises WholeNeededError."""
        self._step += 1
        if self._step > self._last:
            raise WholeNeededError("a manifest does not tell of all schema changes")
        self._advance()

    def _advance(self) -> None:
        changed = False
        while self._steps and self._steps[0].number <= self._step:
            step = self._steps.popleft()
            if step.name is None:
                del self._names[step.oid]
            else:
                self._names[step.oid] = step.name
            changed = True
        if changed:
            self._wanted, self._known, self._told = {}, {}, {}
            for oid, name in self._names.items():
                wanted = self._wanted[name] = self._wanted.get(name, False) or oid in self.oids
                told = (name[0].decode(self._codec, _ANY), name[1].decode(self._codec, _ANY))
                if wanted or told not in self._told:
                    self._told[told] = name

    def names(self) -> set[Name]:
        """Return what the chosen tables are called now."""
        return {name for name, wanted in self._wanted.items() if wanted}

    def wants(self, name: Name) -> bool:
        """Whether the rows of a table of that name are let through. Raises WholeNeededError if there is none."""
        try:
            return self._wanted[name]
        except KeyError:
            shown = b".".join(name).decode("utf-8", "replace")
            raise WholeNeededError(f"there are rows of a table that is not there: {shown!r}") from None


@contextlib.contextmanager
def or_whole(rows: Rows | None) -> Iterator[None]:
    """Let what stops a restore of some rows be a reason to restore all of them: WholeNeededError."""
    try:
        yield
    except (TryAgainError, WholeNeededError):
        raise
    except ScribeError as error:
        if rows is None:
            raise
        where = "a schema change needs rows: " if rows.watching else ""
        raise WholeNeededError(where + error.message) from None


def find_sharing(conn: psycopg.Connection[Any], oids: list[int]) -> list[int]:
    """Return the tables whose rows move a sequence that is among these, or a sequence of these tables."""
    return [int(row[0]) for row in conn.execute(_SEQUENCES, {"oids": oids}).fetchall()]
