"""Which objects of a database --schema and --table name, what they need that is not among them, and how they move.

All of it is asked of a restored copy that nobody else uses, so that it may be changed: a partition whose parent is not
wanted becomes a table of its own, and objects are moved into another schema by PostgreSQL itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from scribe.common.errors import ScribeError, UsageError
from scribe.common.patterns import read_pattern
from scribe.restore.dependents import Dependent, add_dependents, find_statistics

_SYSTEM = "nspname NOT IN ('pg_catalog', 'information_schema', 'scribe') AND nspname !~ '^pg_(toast|temp)'"
_RELATIONS = f"""
SELECT c.oid::bigint, n.nspname, c.relname, c.relkind::text
FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND c.relpersistence <> 't' AND {_SYSTEM}
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS d
    WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid
      AND (d.deptype = 'e' OR c.relkind = 'S' AND d.deptype = 'i'))
  AND c.relname COLLATE "C" ~ %(name)s
  AND CASE WHEN %(schema)s::text IS NULL THEN pg_catalog.pg_table_is_visible(c.oid)
      ELSE n.nspname COLLATE "C" ~ %(schema)s::text END
ORDER BY 2, 3
"""
_SCHEMAS = f'SELECT nspname FROM pg_catalog.pg_namespace WHERE {_SYSTEM} AND nspname COLLATE "C" ~ %s ORDER BY 1'
_PARTITIONS = """
WITH RECURSIVE below AS (
  SELECT inhrelid FROM pg_catalog.pg_inherits JOIN pg_catalog.pg_class AS p ON p.oid = inhparent
   WHERE inhparent = ANY (%(oids)s::oid[]) AND p.relkind = 'p'
  UNION
  SELECT i.inhrelid FROM pg_catalog.pg_inherits AS i JOIN below AS b ON i.inhparent = b.inhrelid
)
SELECT c.oid::bigint, n.nspname, c.relname, c.relkind::text
FROM below JOIN pg_catalog.pg_class AS c ON c.oid = inhrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace ORDER BY 2, 3
"""
_PARENTS = """
SELECT inhrelid::bigint, c.relispartition, inhparent::pg_catalog.regclass::text
FROM pg_catalog.pg_inherits JOIN pg_catalog.pg_class AS c ON c.oid = inhrelid
WHERE inhrelid = ANY (%(oids)s::oid[]) AND NOT inhparent = ANY (%(oids)s::oid[]) AND c.relkind IN ('r', 'p', 'f')
"""
_CHILDREN = """
SELECT inhrelid::pg_catalog.regclass::text, inhparent::pg_catalog.regclass::text
FROM pg_catalog.pg_inherits JOIN pg_catalog.pg_class AS c ON c.oid = inhrelid
WHERE inhparent = ANY (%(oids)s::oid[]) AND NOT inhrelid = ANY (%(oids)s::oid[]) AND c.relkind IN ('r', 'p', 'f')
"""
# What belongs to the chosen objects.
_PART = """
CREATE TEMPORARY TABLE scribe_part AS
WITH RECURSIVE part (classid, objid) AS (
  SELECT s.classid, s.objid FROM ({seeds}) AS s (classid, objid)
  UNION
  SELECT d.classid, d.objid FROM pg_catalog.pg_depend AS d JOIN part AS p
      ON d.refclassid = p.classid AND d.refobjid = p.objid
   WHERE d.deptype IN ('a', 'i', 'P', 'S')
)
SELECT classid, objid FROM part
"""
_TABLE_SEEDS = (
    "SELECT 'pg_catalog.pg_class'::pg_catalog.regclass::oid, c.oid FROM pg_catalog.pg_class AS c"
    " WHERE c.oid = ANY (%(oids)s::oid[])"
)
_SCHEMA_SEEDS = (
    "SELECT d.classid, d.objid FROM pg_catalog.pg_depend AS d JOIN pg_catalog.pg_namespace AS n ON n.oid = d.refobjid"
    " WHERE d.refclassid = 'pg_catalog.pg_namespace'::pg_catalog.regclass AND n.nspname = ANY (%(schemas)s)"
    "   AND d.classid <> 'pg_catalog.pg_default_acl'::pg_catalog.regclass AND NOT EXISTS (SELECT"
    "   FROM pg_catalog.pg_depend AS e WHERE e.classid = d.classid AND e.objid = d.objid AND e.deptype = 'e')"
)
_NEEDS = """
SELECT DISTINCT a.type, a.object_names, a.object_args, pg_catalog.pg_describe_object(d.refclassid, d.refobjid, 0),
       (SELECT e.extname FROM pg_catalog.pg_depend AS m JOIN pg_catalog.pg_extension AS e ON e.oid = m.refobjid
         WHERE m.classid = d.refclassid AND m.objid = d.refobjid AND m.deptype = 'e')
FROM pg_catalog.pg_depend AS d JOIN scribe_part AS p ON d.classid = p.classid AND d.objid = p.objid,
     pg_catalog.pg_identify_object_as_address(d.refclassid, d.refobjid, 0) AS a
WHERE d.deptype = 'n' AND d.refobjid >= 16384
  AND d.refclassid <> 'pg_catalog.pg_namespace'::pg_catalog.regclass
  AND (d.refclassid, d.refobjid) NOT IN (SELECT classid, objid FROM scribe_part)
ORDER BY 4
"""
# What refers to the chosen objects and is not among them: a view through its rule.
_DEPENDENTS = """
SELECT pg_catalog.pg_describe_object(d.classid, d.objid, 0)
FROM pg_catalog.pg_depend AS d JOIN scribe_part AS p ON d.refclassid = p.classid AND d.refobjid = p.objid
WHERE d.deptype = 'n' AND d.classid <> 'pg_catalog.pg_rewrite'::pg_catalog.regclass
  AND (d.classid, d.objid) NOT IN (SELECT classid, objid FROM scribe_part)
UNION
SELECT pg_catalog.pg_describe_object('pg_catalog.pg_class'::pg_catalog.regclass, w.ev_class, 0)
FROM pg_catalog.pg_depend AS d JOIN scribe_part AS p ON d.refclassid = p.classid AND d.refobjid = p.objid
JOIN pg_catalog.pg_rewrite AS w ON w.oid = d.objid
WHERE d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass
  AND ('pg_catalog.pg_class'::pg_catalog.regclass, w.ev_class) NOT IN (SELECT classid, objid FROM scribe_part)
UNION
SELECT pg_catalog.format('publication %%I of %%s', b.pubname, r.prrelid::pg_catalog.regclass)
FROM pg_catalog.pg_publication_rel AS r JOIN pg_catalog.pg_publication AS b ON b.oid = r.prpubid
WHERE r.prrelid IN (SELECT objid FROM scribe_part WHERE classid = 'pg_catalog.pg_class'::pg_catalog.regclass)
  AND NOT %(brought)s
ORDER BY 1
"""
_ROLES = """
SELECT DISTINCT r.rolname, d.deptype = 'o'
FROM pg_catalog.pg_shdepend AS d JOIN pg_catalog.pg_roles AS r ON r.oid = d.refobjid
WHERE d.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass
  AND d.dbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
  AND (d.classid, d.objid) IN (SELECT classid, objid FROM scribe_part)
ORDER BY 1
"""
_SPACES = """
SELECT DISTINCT t.spcname FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_tablespace AS t ON t.oid = c.reltablespace
WHERE c.oid IN (SELECT objid FROM scribe_part WHERE classid = 'pg_catalog.pg_class'::pg_catalog.regclass) ORDER BY 1
"""
# What is not moved along with something else; a range's multirange is not. ALTER ROUTINE is for aggregates too, ALTER
# TYPE for domains.
_MOVES = """
SELECT CASE WHEN i.type = 'composite type' THEN 'TYPE' WHEN i.type = 'statistics object' THEN 'STATISTICS'
         WHEN i.type IN ('function', 'procedure', 'aggregate') THEN 'ROUTINE' ELSE pg_catalog.upper(i.type) END,
       i.identity
FROM ({seeds} UNION
      SELECT d.classid, d.objid FROM ({seeds}) AS r (classid, objid)
      JOIN pg_catalog.pg_depend AS d ON d.refclassid = r.classid AND d.refobjid = r.objid AND d.deptype = 'i'
      JOIN pg_catalog.pg_type AS m ON m.oid = d.objid AND m.typtype = 'm'
       WHERE d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass) AS s (classid, objid),
     pg_catalog.pg_identify_object(s.classid, s.objid, 0) AS i
WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS d WHERE d.classid = s.classid AND d.objid = s.objid
        AND (d.deptype = 'i' AND d.objsubid = 0 AND NOT EXISTS (SELECT FROM pg_catalog.pg_type AS m
               WHERE m.oid = d.objid AND m.typtype = 'm' AND d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass)
             OR d.deptype = 'a' AND i.type = 'sequence'))
  AND i.type IN ('table', 'view', 'materialized view', 'sequence', 'foreign table', 'function', 'procedure',
    'aggregate', 'type', 'composite type', 'collation', 'conversion', 'operator', 'operator class', 'operator family',
    'statistics object', 'text search parser', 'text search dictionary', 'text search template',
    'text search configuration')
ORDER BY 2
"""
# What was to be moved and is where it was; what is part of something else is where that is.
_LEFT = """
SELECT pg_catalog.pg_describe_object(s.classid, s.objid, 0)
FROM ({seeds}) AS s (classid, objid), pg_catalog.pg_identify_object(s.classid, s.objid, 0) AS i
WHERE i.schema IS NOT NULL AND i.schema <> pg_catalog.quote_ident(%(into)s)
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS d
    WHERE d.classid = s.classid AND d.objid = s.objid AND d.deptype = 'i' AND d.objsubid = 0)
"""
_CONTENTS = """
SELECT c.oid::bigint, n.nspname, c.relname, c.relkind::text
FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = ANY (%s) AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') ORDER BY 2, 3
"""


@dataclass(frozen=True)
class Relation:
    """A table, view, materialized view, foreign table or sequence; kind as in pg_class.relkind."""

    oid: int
    schema: str
    name: str
    kind: str

    def __str__(self) -> str:
        return sql.Identifier(self.schema, self.name).as_string(None)


@dataclass(frozen=True)
class Need:
    """An object that the chosen ones refer to. address: for pg_get_object_address(); extension: that it is part of."""

    address: tuple[str, list[str], list[str]]
    description: str
    extension: str | None

    def __str__(self) -> str:
        return self.description + (f" (of extension {self.extension})" if self.extension else "")


@dataclass(frozen=True)
class Part:
    """What is to be restored. schemas: whole ones, by name; relations: else, these; there, what is in them.

    needs, roles (name, only as an owner), spaces: what must be in the target already; dependents: what comes along.
    """

    schemas: tuple[str, ...]
    relations: tuple[Relation, ...]
    needs: tuple[Need, ...]
    roles: tuple[tuple[str, bool], ...]
    spaces: tuple[str, ...]
    dependents: tuple[Dependent, ...] = ()

    @property
    def dump_options(self) -> list[str]:
        """What pg_dump is told to dump."""
        if self.schemas:
            return [f"--schema={sql.Identifier(name).as_string(None)}" for name in self.schemas]
        return [f"--table={relation}" for relation in self.relations]

    @property
    def homes(self) -> list[str]:
        """The schemas that must be there before the relations are made."""
        return [] if self.schemas else sorted({relation.schema for relation in self.relations})


def check_patterns(schemas: Sequence[str], tables: Sequence[str], into: str | None) -> None:
    """Raise UsageError for what cannot be meant."""
    for pattern in tables:
        if read_pattern(pattern)[0] is not None and schemas:
            hint = "With --schema, --table names tables of those schemas; without, write schema.table."
            raise UsageError(f"--table {pattern} names a schema, and so does --schema", hint)
    for pattern in schemas:
        if read_pattern(pattern)[0] is not None:
            raise UsageError(f"invalid schema '{pattern}'", "Name one without a dot, or put it in double quotes.")
    if into is not None and not (schemas or tables):
        raise UsageError("--into-schema needs --table or --schema", "Name what is to be put there.")


def choose(
    conn: psycopg.Connection[Any],
    schemas: Sequence[str],
    tables: Sequence[str],
    into: str | None,
    *,
    with_dependents: bool = False,
) -> tuple[Part, list[str]]:
    """Return what the patterns name, moved into schema into if one is named; and what is worth knowing.

    with_dependents: what refers to it belongs to it, too.
    conn: the copy, which is changed. Raises ScribeError where a pattern names nothing, or what it names cannot move.
    """
    names, relations = find_named(conn, schemas, tables)
    seeds = _SCHEMA_SEEDS if names else _TABLE_SEEDS
    values = {"oids": [relation.oid for relation in relations], "schemas": names}
    notes = list(_cut_loose(conn, relations))
    if into is not None:
        _move(conn, seeds, values, names, into)
        names = [into] if names else []
        relations = [Relation(r.oid, into, r.name, r.kind) for r in relations]
        values["schemas"] = names
    conn.execute(_PART.format(seeds=seeds).encode(), values)
    dependents = add_dependents(conn, names) if with_dependents else []
    if not with_dependents and (statistics := find_statistics(conn, names)):
        notes.append(f"statistics that are not restored without --with-dependents: {', '.join(statistics)}")
    left = [str(row[0]) for row in conn.execute(_DEPENDENTS, {"brought": with_dependents}).fetchall()]
    notes += [f"not restored with what was named, though it refers to it: {', '.join(left)}"] if left else []
    needs = [Need((r[0], r[1], r[2]), r[3], r[4]) for r in conn.execute(_NEEDS).fetchall()]
    roles = [(row[0], bool(row[1])) for row in conn.execute(_ROLES).fetchall()]
    spaces = [row[0] for row in conn.execute(_SPACES).fetchall()]
    part = Part(tuple(names), tuple(relations), tuple(needs), tuple(roles), tuple(spaces), tuple(dependents))
    return part, notes


def check_names(conn: psycopg.Connection[Any], schemas: Sequence[str], tables: Sequence[str]) -> None:
    """Raise ScribeError for a pattern that names nothing in the copy behind conn."""
    names = [_exactly(name) for pattern in schemas for name in _find_schemas(conn, pattern)]
    for pattern in tables:
        for _ in _find_relations(conn, pattern, names or [None]):
            break


def find_named(
    conn: psycopg.Connection[Any], schemas: Sequence[str], tables: Sequence[str]
) -> tuple[list[str], list[Relation]]:
    """Return the whole schemas, and the relations, that the patterns name. Raises ScribeError if one names nothing."""
    names = list(dict.fromkeys(name for pattern in schemas for name in _find_schemas(conn, pattern)))
    if tables:
        return [], _choose_tables(conn, tables, [_exactly(name) for name in names])
    return names, [Relation(*row) for row in conn.execute(_CONTENTS, [names]).fetchall()]


def _choose_tables(conn: psycopg.Connection[Any], patterns: Sequence[str], schemas: Sequence[str]) -> list[Relation]:
    """Return what the patterns name, in these schemas if any are named, and the partitions of it."""
    places: list[str | None] = [*schemas] or [None]
    found = [relation for pattern in patterns for relation in _find_relations(conn, pattern, places)]
    rows = conn.execute(_PARTITIONS, {"oids": [relation.oid for relation in found]}).fetchall()
    return list({relation.oid: relation for relation in found + [Relation(*row) for row in rows]}.values())


_LOWER = "As in psql, what is not in double quotes is lower case, and * stands for any text."


def _exactly(name: str) -> str:
    return f"^(?:{re.escape(name)})$"


def _find_schemas(conn: psycopg.Connection[Any], pattern: str) -> list[str]:
    names = [row[0] for row in conn.execute(_SCHEMAS, [read_pattern(pattern)[1]]).fetchall()]
    if not names:
        raise ScribeError(f'no schema matches "{pattern}" at that point', _LOWER)
    return names


def _find_relations(conn: psycopg.Connection[Any], pattern: str, places: Sequence[str | None]) -> Iterator[Relation]:
    schema, name = read_pattern(pattern)
    found = False
    for place in places:
        for row in conn.execute(_RELATIONS, {"schema": schema or place, "name": name}).fetchall():
            found = True
            yield Relation(*row)
    if not found:
        elsewhere = [Relation(*row) for row in conn.execute(_RELATIONS, {"schema": "", "name": name}).fetchall()]
        hint = f"Did you mean {', '.join(map(str, elsewhere[:3]))}?" if elsewhere else _LOWER
        raise ScribeError(f'no table matches "{pattern}" at that point', hint)


def _cut_loose(conn: psycopg.Connection[Any], relations: Sequence[Relation]) -> Iterator[str]:
    """Take tables away from parents that are not chosen; yield what is to be said of it."""
    known = {relation.oid: relation for relation in relations}
    for oid, partition, parent in conn.execute(_PARENTS, {"oids": list(known)}).fetchall():
        child = known[oid]
        if partition:
            conn.execute(f"ALTER TABLE {parent} DETACH PARTITION {child}".encode())
            yield f"{child} is a partition of {parent}, which is not restored: it becomes a table of its own"
        else:
            conn.execute(f"ALTER TABLE {child} NO INHERIT {parent}".encode())
            yield f"{child} inherits from {parent}, which is not restored: it becomes a table of its own"
    for below, parent in conn.execute(_CHILDREN, {"oids": list(known)}).fetchall():
        yield f"{below} is below {parent} and was not named: it is not restored, nor are its rows"


def _move(conn: psycopg.Connection[Any], seeds: str, values: dict[str, Any], schemas: Sequence[str], into: str) -> None:
    """Move the chosen objects into a schema, which is made if it is not there."""
    target = sql.Identifier(into).as_string(None)
    there = conn.execute("SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = %s", [into]).fetchone()
    if len(schemas) > 1:
        raise UsageError("--into-schema takes the objects of one schema", f"Name one of {', '.join(schemas)}.")
    if there is not None and schemas:
        raise UsageError(f'the source has a schema "{into}" of its own at that point', "Name another one.")
    moves = conn.execute(_MOVES.format(seeds=seeds).encode(), values).fetchall()
    try:
        with conn.transaction():
            if there is None:
                conn.execute(f"CREATE SCHEMA {target}".encode())
                _give_owner(conn, schemas, target)
            for kind, identity in moves:
                conn.execute(f"ALTER {kind} {identity} SET SCHEMA {target}".encode())
            left = conn.execute(_LEFT.format(seeds=seeds).encode(), values | {"into": into}).fetchall()
    except psycopg.Error as error:
        said = " ".join(str(error).split())
        raise ScribeError(f'could not move the objects into schema "{into}": {said}', "Name another schema.") from None
    if left:
        hint = "Restore them under their own names into another database."
        raise ScribeError(f'could not move into schema "{into}": {", ".join(row[0] for row in left)}', hint)


def _give_owner(conn: psycopg.Connection[Any], schemas: Sequence[str], target: str) -> None:
    query = "SELECT pg_catalog.pg_get_userbyid(nspowner) FROM pg_catalog.pg_namespace WHERE nspname = ANY (%s)"
    for (owner,) in conn.execute(query, [list(schemas)]).fetchall():
        if not owner.startswith("pg_"):
            conn.execute(f"ALTER SCHEMA {target} OWNER TO {sql.Identifier(owner).as_string(None)}".encode())
