"""What of a table in the target decides whether the order of its rows' changes can matter."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scribe.restore.session import Session

# A call of a function is deparsed with its name right before the parenthesis. What is not immutable may look at other
# rows, and so may what a user has made, whatever it claims to be.
_CALLS = """EXISTS (SELECT FROM pg_catalog.regexp_matches(%s, '([[:alnum:]_$]+|")\\(', 'g') AS m (name)
  LEFT JOIN pg_catalog.pg_proc AS p ON p.proname = m.name[1] AND p.pronamespace = 'pg_catalog'::pg_catalog.regnamespace
  WHERE p.provolatile IS DISTINCT FROM 'i')"""
_USES = """EXISTS (SELECT FROM pg_catalog.pg_depend AS d
  WHERE d.classid = 'pg_catalog.%s'::pg_catalog.regclass AND d.objid = %s AND d.objsubid = %s AND d.refobjid >= 16384
    AND d.refclassid = ANY ('{%s}'::pg_catalog.regclass[]))"""
# Its own names are such that none of a caller's is one of them.
_MADE_UP_TYPES = """EXISTS (
  SELECT FROM pg_catalog.pg_attribute AS its JOIN pg_catalog.pg_type AS made ON made.oid = its.atttypid
    LEFT JOIN pg_catalog.pg_type AS element ON element.oid = made.typelem AND made.typlen = -1
   WHERE its.attrelid = %s AND its.attnum > 0 AND NOT its.attisdropped AND made.oid >= 16384
     AND coalesce(element.typtype, made.typtype) IN ('d', 'c', 'r', 'm'))"""


def _calls(text: str) -> str:
    return _CALLS % text


def uses(catalog: str, oid: str, *more: str) -> str:
    """Whether what is in a catalogue calls functions or operators that a user has made; more: other catalogues."""
    return _uses(catalog, oid, "0", *more)


def _uses(catalog: str, oid: str, part: str, *more: str) -> str:
    return _USES % (catalog, oid, part, ",".join(["pg_catalog.pg_proc", "pg_catalog.pg_operator", *more]))


def uses_in_column(default: str) -> str:
    """Whether a generated column uses such; default: the name of its row of pg_attrdef.

    Before PostgreSQL 15 the column itself, and not that row, depends on what it uses.
    """
    own = _uses("pg_class", f"{default}.adrelid", f"{default}.adnum")
    return f"({uses('pg_attrdef', f'{default}.oid')} OR {own})"


def has_made_up_types(oid: str) -> str:
    """Whether a table has columns of a user's types that are made up of others: comparing them may call anything."""
    return _MADE_UP_TYPES % oid


def uses_in_key(oid: str) -> str:
    """Whether users' code may tell in which partition of a partitioned table a row is."""
    return f"({uses('pg_class', oid, 'pg_catalog.pg_opclass')} OR {has_made_up_types(oid)})"


def _makes_columns(oid: str) -> str:
    return f"""EXISTS (
  SELECT FROM pg_catalog.pg_attrdef AS e JOIN pg_catalog.pg_attribute AS a ON a.attrelid = e.adrelid
    AND a.attnum = e.adnum
   WHERE e.adrelid = {oid} AND a.attgenerated <> '' AND ({_calls("pg_catalog.pg_get_expr(e.adbin, e.adrelid)")}
     OR {uses_in_column("e")} OR {has_made_up_types(oid)}))"""


# Whether rows of other tables may decide what becomes of a table's, without an error if it is something else.
_COMPUTES = f"""({_makes_columns("c.oid")} OR (c.relkind = 'p' AND EXISTS (
  SELECT FROM pg_catalog.pg_partition_tree(c.oid) AS b
   WHERE {uses_in_key("b.relid")} OR {_makes_columns("b.relid")})))"""
# Whether rows of a table may decide what becomes of others, in this one or elsewhere.
_LOOKS_AROUND = f"""(c.relkind <> 'r' OR c.relhasrules OR c.relrowsecurity OR {
    _calls("pg_catalog.pg_get_partition_constraintdef(c.oid)")
} OR EXISTS (
  SELECT FROM pg_catalog.pg_constraint AS k WHERE k.conrelid = c.oid AND k.contype = 'c'
     AND ({_calls("pg_catalog.pg_get_constraintdef(k.oid)")} OR {uses("pg_constraint", "k.oid")})
) OR {_makes_columns("c.oid")} OR EXISTS (
  SELECT FROM pg_catalog.pg_index AS i
   WHERE i.indrelid = c.oid AND ({_calls("pg_catalog.pg_get_expr(i.indexprs, i.indrelid)")}
      OR {_calls("pg_catalog.pg_get_expr(i.indpred, i.indrelid)")} OR {uses("pg_class", "i.indexrelid")})
) OR {has_made_up_types("c.oid")})"""
# Types of which equal values have one spelling, and unequal ones have not.
_SPELT_ALIKE = (
    "('bool', 'int2', 'int4', 'int8', 'oid', 'uuid', 'text', 'varchar', 'bytea', 'date', 'timestamp', 'timestamptz')"
)
_FROM = "FROM pg_catalog.pg_class AS c WHERE c.oid = pg_catalog.to_regclass(:name)"
_TABLE = f"""SELECT pg_catalog.json_build_object('alone', NOT {_LOOKS_AROUND}, 'computes', {_COMPUTES}, 'types', (
  SELECT pg_catalog.json_object_agg(a.attname,
      pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(t.typname))
    FROM pg_catalog.pg_attribute AS a JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
    JOIN pg_catalog.pg_namespace AS n ON n.oid = t.typnamespace
   WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
), 'keys', (
  SELECT pg_catalog.json_agg((
    SELECT pg_catalog.json_agg(a.attname) FROM pg_catalog.unnest(i.indkey) WITH ORDINALITY AS k (attnum, n)
      JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = k.attnum WHERE k.n <= i.indnkeyatts))
    FROM pg_catalog.pg_index AS i
   WHERE i.indrelid = c.oid AND i.indisunique AND i.indimmediate AND i.indisvalid AND i.indisready
     AND i.indpred IS NULL AND i.indexprs IS NULL AND NOT EXISTS (
       SELECT FROM ROWS FROM (pg_catalog.unnest(i.indkey), pg_catalog.unnest(i.indclass))
         WITH ORDINALITY AS k (attnum, opclass, n)
         JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = k.attnum
         JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
         LEFT JOIN pg_catalog.pg_collation AS l ON l.oid = a.attcollation
        WHERE k.n <= i.indnkeyatts
          AND (k.opclass >= 16384 OR NOT a.attnotnull OR NOT coalesce(l.collisdeterministic, true)
          OR t.typnamespace <> 'pg_catalog'::pg_catalog.regnamespace OR t.typname NOT IN {_SPELT_ALIKE}))
)) {_FROM}
"""
_ALONE = f"SELECT 1 {_FROM} AND NOT {_LOOKS_AROUND}"


@dataclass(frozen=True)
class Table:
    """What is known of a table. types: of its columns; keys: sets of columns, in order of names, by each of which a row
    is found, if its values are spelt as the source spells them; alone: no row of it decides what becomes of another,
    in it or elsewhere; computes: rows of other tables may decide what becomes of its own, with no error to tell."""

    types: Mapping[bytes, bytes]
    keys: frozenset[tuple[bytes, ...]]
    alone: bool = True
    computes: bool = False


IN_ORDER = Table({}, frozenset(), alone=False, computes=True)  # whose changes have a place among all others


def stands_alone(session: Session, name: bytes) -> bool:
    """Whether no row of a table decides what becomes of another one, in it or elsewhere. Raises ServerError."""
    return bool(session.fetch(_named(_ALONE, name)))


def find_table(session: Session, name: bytes) -> Table | None:
    """Return what is known of a table, None if it is not there. Raises ServerError."""
    rows = session.fetch(_named(_TABLE, name))
    if not rows:
        return None
    found: dict[str, Any] = json.loads(rows[0].decode("latin-1"))  # whatever the encoding, bytes stay bytes
    types = {column.encode("latin-1"): text.encode("latin-1") for column, text in (found["types"] or {}).items()}
    keys = [tuple(sorted(column.encode("latin-1") for column in key)) for key in found["keys"] or []]
    return Table(types, frozenset(keys), found["alone"], found["computes"])


def _named(query: str, name: bytes) -> bytes:
    return query.encode().replace(b":name", b"'%b'" % name.replace(b"'", b"''"))
