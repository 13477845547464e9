"""What is in the database already and that a copy does not have: objects that use temporary ones, or pg_scribe's own.

A dump that has the former cannot be restored, with psql or otherwise; they are gone when their session is. The same
holds for what uses a TOAST table, which has an OID in its name. The latter go from a copy with the schema scribe.
What somebody added to an extension is in no dump, nor what he made in the server's own schemas. And there are values
that nothing reads back elsewhere, at which a dump's COPY stops: names of what a copy does not have, and NULL in a
column whose domain is NOT NULL.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from scribe.common.dialect import quote_identifier

# Parts of users' objects that depend on objects of temporary schemas or of ours. users: in which schema each part lies.
_USERS = """
WITH absent (class, object, kind) AS (
  SELECT o.class, o.oid, CASE WHEN n.nspname ~ '^pg_temp' THEN 'temporary' ELSE n.nspname END
  FROM pg_catalog.pg_namespace AS n JOIN (
      SELECT 'pg_catalog.pg_class'::pg_catalog.regclass, oid, relnamespace FROM pg_catalog.pg_class
      UNION ALL SELECT 'pg_catalog.pg_type'::pg_catalog.regclass, oid, typnamespace FROM pg_catalog.pg_type
      UNION ALL SELECT 'pg_catalog.pg_proc'::pg_catalog.regclass, oid, pronamespace FROM pg_catalog.pg_proc
      UNION ALL SELECT 'pg_catalog.pg_operator'::pg_catalog.regclass, oid, oprnamespace FROM pg_catalog.pg_operator
      UNION ALL SELECT 'pg_catalog.pg_collation'::pg_catalog.regclass, oid, collnamespace FROM pg_catalog.pg_collation
      UNION ALL SELECT 'pg_catalog.pg_ts_config'::pg_catalog.regclass, oid, cfgnamespace FROM pg_catalog.pg_ts_config
    ) AS o (class, oid, schema) ON o.schema = n.oid
  WHERE n.nspname IN ('scribe', 'pg_toast') OR n.nspname ~ '^pg_temp_[0-9]+$'),
users (class, object, schema) AS (
  SELECT 'pg_catalog.pg_class'::pg_catalog.regclass, oid, relnamespace FROM pg_catalog.pg_class
  UNION ALL SELECT 'pg_catalog.pg_proc'::pg_catalog.regclass, oid, pronamespace FROM pg_catalog.pg_proc
  UNION ALL SELECT 'pg_catalog.pg_type'::pg_catalog.regclass, oid, typnamespace FROM pg_catalog.pg_type
  UNION ALL SELECT 'pg_catalog.pg_operator'::pg_catalog.regclass, oid, oprnamespace FROM pg_catalog.pg_operator
  UNION ALL SELECT 'pg_catalog.pg_statistic_ext'::pg_catalog.regclass, oid, stxnamespace
    FROM pg_catalog.pg_statistic_ext
  UNION ALL SELECT 'pg_catalog.pg_constraint'::pg_catalog.regclass, oid, connamespace FROM pg_catalog.pg_constraint
  UNION ALL SELECT p.class, p.oid, c.relnamespace FROM pg_catalog.pg_class AS c JOIN (
      SELECT 'pg_catalog.pg_attrdef'::pg_catalog.regclass, oid, adrelid FROM pg_catalog.pg_attrdef
      UNION ALL SELECT 'pg_catalog.pg_rewrite'::pg_catalog.regclass, oid, ev_class FROM pg_catalog.pg_rewrite
      UNION ALL SELECT 'pg_catalog.pg_trigger'::pg_catalog.regclass, oid, tgrelid FROM pg_catalog.pg_trigger
      UNION ALL SELECT 'pg_catalog.pg_policy'::pg_catalog.regclass, oid, polrelid FROM pg_catalog.pg_policy
    ) AS p (class, oid, relation) ON p.relation = c.oid)
SELECT pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid),
  pg_catalog.pg_describe_object(d.refclassid, d.refobjid, d.refobjsubid), a.kind
FROM pg_catalog.pg_depend AS d JOIN absent AS a ON a.class = d.refclassid AND a.object = d.refobjid
  JOIN users AS u ON u.class = d.classid AND u.object = d.objid
  JOIN pg_catalog.pg_namespace AS n ON n.oid = u.schema AND n.nspname <> 'scribe' AND n.nspname !~ '^pg_(temp|toast)'
WHERE d.deptype IN ('n', 'a') ORDER BY a.kind = 'scribe', 1, 2
"""
# What a role that is no superuser made and added to an extension: pg_dump expects that the extension's script makes it.
# What a script made has got its owner, its schema and all else that it needs by the same command as its place in the
# extension, though ALTER may have changed some of that; superusers own that, and what pg_upgrade put together.
_ADDED = """
SELECT i.type, i.identity, pg_catalog.quote_ident(e.extname)
FROM pg_catalog.pg_depend AS d JOIN pg_catalog.pg_extension AS e ON e.oid = d.refobjid
  JOIN pg_catalog.pg_shdepend AS o ON o.classid = d.classid AND o.objid = d.objid AND o.objsubid = 0 AND o.deptype = 'o'
    AND o.dbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
  JOIN pg_catalog.pg_roles AS r ON r.oid = o.refobjid AND NOT r.rolsuper,
  LATERAL pg_catalog.pg_identify_object(d.classid, d.objid, 0) AS i
WHERE d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'e'
  AND NOT (o.xmin = d.xmin AND o.cmin = d.cmin) AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS s
    WHERE s.classid = d.classid AND s.objid = d.objid AND s.refclassid <> d.refclassid
      AND s.xmin = d.xmin AND s.cmin = d.cmin)
ORDER BY 3, 1, 2
"""
# What somebody made in the server's own schemas, where pg_dump takes everything for the server's. Collations come from
# pg_import_system_collations(), and a new server has those of its own.
_SYSTEM = """
SELECT i.type, i.identity
FROM (
    SELECT 'pg_catalog.pg_type'::pg_catalog.regclass, oid, typnamespace
      FROM pg_catalog.pg_type WHERE typrelid = 0 AND typcategory <> 'A'
    UNION ALL SELECT 'pg_catalog.pg_class'::pg_catalog.regclass, oid, relnamespace
      FROM pg_catalog.pg_class WHERE relkind NOT IN ('i', 'I')
    UNION ALL SELECT 'pg_catalog.pg_proc'::pg_catalog.regclass, oid, pronamespace FROM pg_catalog.pg_proc
    UNION ALL SELECT 'pg_catalog.pg_operator'::pg_catalog.regclass, oid, oprnamespace FROM pg_catalog.pg_operator
    UNION ALL SELECT 'pg_catalog.pg_opclass'::pg_catalog.regclass, oid, opcnamespace FROM pg_catalog.pg_opclass
    UNION ALL SELECT 'pg_catalog.pg_conversion'::pg_catalog.regclass, oid, connamespace FROM pg_catalog.pg_conversion
    UNION ALL SELECT 'pg_catalog.pg_ts_config'::pg_catalog.regclass, oid, cfgnamespace FROM pg_catalog.pg_ts_config
    UNION ALL SELECT 'pg_catalog.pg_ts_dict'::pg_catalog.regclass, oid, dictnamespace FROM pg_catalog.pg_ts_dict
  ) AS o (class, oid, schema), LATERAL pg_catalog.pg_identify_object(o.class, o.oid, 0) AS i
WHERE o.oid >= 16384 AND o.schema IN ('pg_catalog'::pg_catalog.regnamespace,
    (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = 'information_schema'))
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS d
    WHERE d.classid = o.class AND d.objid = o.oid AND d.deptype IN ('e', 'i'))
ORDER BY 1, 2
"""
# Columns of types whose text names objects or roles, and of domains that are NOT NULL. The size by pages: asking for
# bytes would wait for whoever has locked a table.
_COLUMNS = """
SELECT c.oid::bigint, n.nspname, c.relname, a.attname, d.name, c.relpages
FROM pg_catalog.pg_attribute AS a JOIN pg_catalog.pg_class AS c ON c.oid = a.attrelid
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
  LEFT JOIN pg_catalog.pg_type AS e ON e.oid = t.typelem AND t.typcategory = 'A'
  LEFT JOIN LATERAL (
    WITH RECURSIVE family (id) AS (SELECT t.oid UNION
      SELECT f.typbasetype FROM family JOIN pg_catalog.pg_type AS f ON f.oid = family.id WHERE f.typtype = 'd')
    SELECT pg_catalog.format('%%I.%%I', s.nspname, f.typname) AS name
    FROM family JOIN pg_catalog.pg_type AS f ON f.oid = family.id AND f.typtype = 'd' AND f.typnotnull
      JOIN pg_catalog.pg_namespace AS s ON s.oid = f.typnamespace LIMIT 1) AS d ON t.typtype = 'd' AND NOT a.attnotnull
WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'scribe')
  AND n.nspname !~ '^pg_' AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
  AND (d.name IS NOT NULL OR coalesce(e.typname, t.typname) = ANY ('{aclitem,regclass,regproc,regprocedure,regoper,
    regoperator,regtype,regconfig,regdictionary,regcollation,regnamespace}')
    AND coalesce(e.typnamespace, t.typnamespace) = 'pg_catalog'::pg_catalog.regnamespace)
  AND (NOT c.relrowsecurity OR (SELECT r.rolsuper FROM pg_catalog.pg_roles AS r WHERE r.rolname = CURRENT_USER))
  AND pg_catalog.has_column_privilege(c.oid, a.attnum, 'SELECT') AND c.relpages < %s
ORDER BY 2, 3, 4
"""
# In a line of COPY: a name of a temporary schema, of pg_toast or of ours, or a role that is no more than a number.
_ABSENT = re.compile(rb'(?:^|[{,"])(?:pg_temp_\d+(?:\.|$)|pg_toast\.|scribe\.|\d+=)|=[a-zA-Z*]*/\d+(?:[,}"]|$)')
_NO_TIME = 8192  # pages of a table that is read in no time
_ALL = 1 << 32


@dataclass(frozen=True)
class Absent:
    """A part of an object, and what it uses that a copy does not have."""

    user: str
    used: str
    kind: str  # of what it uses: "temporary", "pg_toast", "scribe" or, if it is what no dump has, "system"
    added: str = ""  # the extension that it was added to

    @property
    def stops_a_dump(self) -> bool:
        """Whether no dump that has the object can be restored."""
        return self.kind in ("temporary", "pg_toast")

    @property
    def text(self) -> str:
        """What is wrong, in words."""
        if self.added:
            return f"{self.user} was added to extension {self.added} and is in no base: a restore may stop at it"
        if self.kind == "system":
            return f"{self.user} is in a schema of the server's, and so in no base: a restore may stop at it"
        return f"{self.user} uses {self.used}, which no copy has"

    @property
    def remedy(self) -> str:
        """What to do about it, as a sentence without its full stop."""
        if self.added:
            return f'Run "ALTER EXTENSION {self.added} DROP {self.user}", then take a new base'
        if self.kind == "system":
            return f'Run "ALTER {self.user} SET SCHEMA ..." with a schema of your own, then take a new base'
        if self.kind == "pg_toast":
            return f"Drop {self.user}"
        if self.kind == "temporary":
            return f"End the session that made {self.used}, or drop {self.user}"
        return f"Drop {self.user}, or make it without what is in the schema scribe"


def find_absent(conn: psycopg.Connection[Any]) -> list[Absent]:
    """Return what users' objects use that a copy does not have, what stops a dump first."""
    absent = [Absent(*row) for row in conn.execute(_USERS).fetchall()]
    for kind, identity, extension in conn.execute(_ADDED).fetchall():
        absent.append(Absent(f"{kind.upper()} {identity}", "", "", extension))
    for kind, identity in conn.execute(_SYSTEM).fetchall():
        absent.append(Absent(f"{kind.upper()} {identity}", "", "system"))
    return absent


@dataclass(frozen=True)
class ValueColumn:
    """A column that may have values that cannot be read back in a copy. domain: the one that is NOT NULL, if any."""

    relid: int
    schema: str
    table: str
    column: str
    domain: str | None
    pages: int

    @property
    def text(self) -> str:
        """What is wrong where it has one, in words."""
        name = ".".join(quote_identifier(part) for part in (self.schema, self.table, self.column))
        if self.domain:
            return f"a row has NULL in {name}, whose domain {self.domain} is NOT NULL: no dump of it can be loaded"
        return f"a value of {name} names something that no copy has: a restore stops there"

    @property
    def remedy(self) -> str:
        """What to do about it, as a sentence without its full stop."""
        if self.domain:
            return f'Give such rows a value, or run "ALTER DOMAIN {self.domain} DROP NOT NULL"'
        return "Keep such values as text"

    def has_absent(self, conn: psycopg.Connection[Any]) -> bool:
        """Whether a row has a value that cannot be read back. COPY, because a query could run code of the owner."""
        relation, column = sql.Identifier(self.schema, self.table), sql.Identifier(self.column)
        with conn.cursor().copy(sql.SQL("COPY {} ({}) TO STDOUT").format(relation, column)) as lines:
            # to the end, since a COPY that is broken off is an error
            absent = sum(line == b"\\N\n" if self.domain else _ABSENT.search(line) is not None for line in lines)
        return absent > 0


def value_columns(conn: psycopg.Connection[Any], pages: int = _ALL) -> list[ValueColumn]:
    """Return the columns to be looked at, of tables with fewer pages than that."""
    return [ValueColumn(*row) for row in conn.execute(_COLUMNS, [pages]).fetchall()]


def find_absent_values(conn: psycopg.Connection[Any]) -> list[ValueColumn]:
    """Return the columns of which a value cannot be read back in a copy, of tables that are read in no time."""
    found = []
    for column in value_columns(conn, _NO_TIME):
        try:
            if column.has_absent(conn):
                found.append(column)
        except psycopg.errors.LockNotAvailable:
            if not conn.autocommit:
                raise
            # the next look will find it free
    return sorted(found, key=lambda column: column.domain is None)  # what keeps a base from being taken first
