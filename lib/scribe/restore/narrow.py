"""Which rows a part of the database needs: those of its tables, under every name that they have had.

The schema is restored first, with every change of it and without a row: what the tables are called in the end, and what
they were called before, is then known by their OIDs. Rows are chosen by name as they pass. To the chosen tables come
those without which their own changes cannot be repeated: others below one root where rows are spread by it, tables that
a new foreign key is checked against, and tables whose rows move the same sequence.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable
from typing import Any

import psycopg

from scribe.archive.cutting import Piece
from scribe.common.errors import ScribeError
from scribe.restore.session import Session
from scribe.restore.statements import IDENTIFIER, split_statements, unquoted

Name = tuple[bytes, bytes]  # schema and name, as the catalogue has them
_NAME = b"(" + IDENTIFIER + rb")\.(" + IDENTIFIER + b")"
_ROW = re.compile(rb"(?:INSERT INTO|(?:WITH d AS \()?(?:UPDATE|DELETE FROM)(?: ONLY)?) " + _NAME + rb"[ ;]")
_RUN = re.compile(rb"\"(?:[^\"]|\"\")*+\"|'(?:[^']|'')*+'|\) (?:UPDATE|DELETE FROM)(?: ONLY)? " + _NAME + b" ")
_COPY = re.compile(rb"COPY " + _NAME + b" ")
_ACTS_ON_ROWS = (b"INSERT INTO ", b"UPDATE ", b"DELETE FROM ", b"WITH ")
_CONTROL = re.compile(rb"[\x00-\x1f\x7f\\]")
_PIECES = (b"pg_temp", b"scribe_piece")
# Tables as they are now, if they have changed since a transaction; foreign keys; what lies below a root that spreads.
_CHANGED = """
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
   WHERE i.xmin::text::bigint >= :since AND pg_catalog.pg_partition_root(i.inhparent) IN (
     SELECT pg_catalog.pg_partition_root(h.partrelid) FROM pg_catalog.pg_partitioned_table AS h WHERE h.partstrat = 'h')
))
"""
# What moves a sequence at a point between two records of its position: tables that own it or have it as a default.
_SEQUENCES = """
WITH used AS (
  SELECT d.objid AS seq, d.refobjid AS relid FROM pg_catalog.pg_depend AS d
   WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.deptype IN ('a', 'i')
     AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
  UNION
  SELECT d.refobjid, f.adrelid
    FROM pg_catalog.pg_depend AS d JOIN pg_catalog.pg_attrdef AS f ON f.oid = d.objid
   WHERE d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass
     AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
)
SELECT u.relid::bigint FROM used AS u JOIN pg_catalog.pg_class AS s ON s.oid = u.seq AND s.relkind = 'S'
 WHERE u.seq = ANY (%(oids)s::oid[]) OR u.seq IN (SELECT seq FROM used WHERE relid = ANY (%(oids)s::oid[]))
"""
# What computes a row's columns from more than the row, or acts on rows that are loaded.
_COMPUTED = """
SELECT c.oid::pg_catalog.regclass::text || ': '
  || CASE c.relkind WHEN 'm' THEN 'a materialized view holds what was found in other tables'
     ELSE 'a function that may look at other tables makes one of its columns' END
FROM pg_catalog.pg_class AS c
WHERE c.oid = ANY (%(oids)s::oid[]) AND (c.relkind = 'm' OR EXISTS (
  SELECT FROM pg_catalog.pg_attrdef AS e JOIN pg_catalog.pg_attribute AS a
    ON a.attrelid = e.adrelid AND a.attnum = e.adnum AND a.attgenerated <> ''
    JOIN pg_catalog.pg_depend AS d ON d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND d.objid = e.oid
     AND d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.refobjid >= 16384
   WHERE e.adrelid = c.oid)) LIMIT 1
"""
_ACTING = """
SELECT t.tgrelid::pg_catalog.regclass::text || ': its trigger ' || pg_catalog.quote_ident(t.tgname)
  || ' acts on rows that are restored'
FROM pg_catalog.pg_trigger AS t WHERE t.tgenabled IN ('A', 'R') AND t.tgrelid = ANY (%(oids)s::oid[]) LIMIT 1
"""


class WholeNeededError(ScribeError):
    """The part cannot be restored without the rest: everything has to be."""


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


@functools.cache
def _pattern(names: frozenset[Name]) -> re.Pattern[bytes]:
    """What a text has in it if it names one of these tables."""
    spelt = [re.escape(name.replace(b'"', b'""')) for _, name in names]
    return re.compile(b"|".join(spelt) if spelt else b"(?!)")


class Rows:
    """Which rows are let through, by the names of their tables at each step: a step is one schema change.

    Without names no row is let through, and what the tables are called at each step is noted.
    """

    def __init__(self, names: list[frozenset[Name]] | None = None) -> None:
        self._names = names  # at each step; None: watching
        self._step = 0
        self._since = 0
        self._known: list[tuple[int, int, Name]] = []  # (step, OID, name): as of that step
        self._references: set[tuple[int, int]] = set()
        self._spread: set[tuple[int, int]] = set()

    def begin(self, session: Session) -> None:
        """Look at the schema before its first change."""
        if self._names is None:
            self._look(session)

    def filter(self, text: bytes) -> bytes:
        """Leave out the statements that act on rows of other tables."""
        return b"".join([each for each in split_statements(text) if self._lets(row_table(each))])

    def filter_rows(self, text: bytes) -> bytes:
        """Do the same with statements that all act on rows, most of which are of no use."""
        return self.filter(text) if self._names is not None and _pattern(self._now).search(text) else b""

    def takes_copy(self, statement: bytes) -> bool:
        """Whether the data of a COPY is let through."""
        match = _COPY.match(statement)
        return match is not None and self._lets(name_of(match))

    def takes_piece(self, piece: Piece) -> bool:
        """Whether a piece of a base is run: of its schema while watching, else the data, under the same settings."""
        if self._names is None:
            return piece.copy is None and not piece.text.startswith(b"SELECT pg_catalog.lowrite(")
        if piece.copy is not None:
            return self.takes_copy(piece.text)
        return piece.words == {b"set"} or piece.text.startswith(b"SELECT pg_catalog.set_config(")

    def after_ddl(self, session: Session) -> None:
        """Take the next step: a schema change has been repeated."""
        self._step += 1
        if self._names is None:
            self._look(session)
        elif self._step == len(self._names):
            raise WholeNeededError("a manifest does not tell of all schema changes")

    @property
    def _now(self) -> frozenset[Name]:
        assert self._names is not None
        return self._names[self._step]

    def _lets(self, name: Name | None) -> bool:
        if name is None or name == _PIECES:
            return True
        return self._names is not None and name in self._now

    def _look(self, session: Session) -> None:
        found = session.fetch(_CHANGED.replace(":since", str(self._since)).encode())
        self._since, tables, references, spread = json.loads(found[0])
        for oid, schema, name in tables or ():
            self._known.append((self._step, oid, (bytes.fromhex(schema), bytes.fromhex(name))))
        self._references |= {(one, other) for one, other in references or ()}
        self._spread |= {(one, other) for one, other in spread or ()}

    # After watching

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

    def choose(self, oids: set[int]) -> Rows:
        """Return what lets the rows of these tables through, under the names that they had at each step."""
        steps: list[dict[int, set[Name]]] = [{} for _ in range(self._step + 1)]
        seen: set[int] = set()
        for step, oid, name in self._known:
            if oid in oids:
                first = step if oid in seen else max(0, step - 1)  # its first rows may come in the step that makes it
                seen.add(oid)
                if _CONTROL.search(name[0] + name[1]):
                    raise WholeNeededError(f"the name of a table is written in escapes: {name[1]!r}")
                for at in {first, step}:
                    steps[at].setdefault(oid, set()).add(name)
        names: list[frozenset[Name]] = []
        now: dict[int, set[Name]] = {}
        for changed in steps:
            now |= changed
            names.append(frozenset(name for some in now.values() for name in some))
        return Rows(names)


def why_whole(conn: psycopg.Connection[Any], oids: list[int]) -> str | None:
    """Return why tables and views cannot be restored without everything else, None if they can."""
    for query in (_COMPUTED, _ACTING):
        row = conn.execute(query, {"oids": oids}).fetchone()
        if row is not None:
            return str(row[0])
    return None


def find_sharing(conn: psycopg.Connection[Any], oids: list[int]) -> list[int]:
    """Return the tables whose rows move a sequence that is among these, or a sequence of these tables."""
    return [int(row[0]) for row in conn.execute(_SEQUENCES, {"oids": oids}).fetchall()]
