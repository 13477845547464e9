"""What is in the database already and that a copy does not have: objects that use temporary ones, or pg_scribe's own.

A dump that has the former cannot be restored, with psql or otherwise; they are gone when their session is. The same
holds for what uses a TOAST table, which has an OID in its name. The latter go from a copy with the schema scribe. What
somebody added to an extension is in no dump. And there are values that nothing reads back elsewhere, at which a dump's
COPY would stop.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

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
# Columns of types whose text names objects or roles, of tables that are read in no time. By their pages: asking for
# bytes would wait for whoever has locked a table.
_COLUMNS = """
SELECT n.nspname, c.relname, a.attname
FROM pg_catalog.pg_attribute AS a JOIN pg_catalog.pg_class AS c ON c.oid = a.attrelid
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
  LEFT JOIN pg_catalog.pg_type AS e ON e.oid = t.typelem AND t.typcategory = 'A'
WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'scribe')
  AND n.nspname !~ '^pg_' AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
  AND coalesce(e.typname, t.typname) = ANY ('{aclitem,regclass,regproc,regprocedure,regoper,regoperator,regtype,
    regconfig,regdictionary,regcollation,regnamespace}')
  AND coalesce(e.typnamespace, t.typnamespace) = 'pg_catalog'::pg_catalog.regnamespace
  AND (NOT c.relrowsecurity OR (SELECT r.rolsuper FROM pg_catalog.pg_roles AS r WHERE r.rolname = CURRENT_USER))
  AND pg_catalog.has_column_privilege(c.oid, a.attnum, 'SELECT') AND c.relpages < 8192
ORDER BY 1, 2, 3
"""
# In a line of COPY: a name of a temporary schema, of pg_toast or of ours, or a role that is no more than a number.
_ABSENT = re.compile(rb'(?:^|[{,"])(?:pg_temp_\d+(?:\.|$)|pg_toast\.|scribe\.|\d+=)|=[a-zA-Z*]*/\d+(?:[,}"]|$)')


@dataclass(frozen=True)
class Absent:
    """A part of an object, and what it uses that a copy does not have."""

    user: str
    used: str
    kind: str  # of what it uses: "temporary", "pg_toast" or "scribe"
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
        return f"{self.user} uses {self.used}, which no copy has"

    @property
    def remedy(self) -> str:
        """What to do about it, as a sentence without its full stop."""
        if self.added:
            return f'Run "ALTER EXTENSION {self.added} DROP {self.user}", then take a new base'
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
    return absent


def find_absent_values(conn: psycopg.Connection[Any]) -> list[str]:
    """Return the columns, with their tables, of which a value cannot be read back in a copy.

    COPY, because a query over a user's table could run code of its owner.
    """
    found = []
    for schema, table, column in conn.execute(_COLUMNS).fetchall():
        relation = sql.Identifier(schema, table)
        copy = sql.SQL("COPY {} ({}) TO STDOUT").format(relation, sql.Identifier(column))
        try:
            with conn.cursor().copy(copy) as lines:
                text = b"".join(bytes(block) for block in lines)
        except psycopg.errors.LockNotAvailable:
            if not conn.autocommit:
                raise
            continue  # the next look will find it free
        if any(_ABSENT.search(line) for line in text.split(b"\n")):
            found.append(f"{sql.Identifier(schema, table, column).as_string(conn)}")
    return found
