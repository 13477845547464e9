"""What a database holds, in words that every PostgreSQL version says alike: for archives that are kept over versions.

pg_dump's output, view definitions and access lists change from version to version; what is asked for here does not.
"""

from __future__ import annotations

import hashlib
from typing import Any

import psycopg

OPTIONS = "-c extra_float_digits=3 -c datestyle=iso -c timezone=utc -c bytea_output=hex -c search_path="
_OURS = "n.nspname NOT IN ('pg_catalog', 'information_schema', 'scribe') AND n.nspname !~ '^pg_'"
_QUERIES = {
    "database": """
        SELECT pg_encoding_to_char(encoding), pg_get_userbyid(datdba), datcollate, datctype,
               shobj_description(oid, 'pg_database'),
               (SELECT string_agg(s, ',' ORDER BY s) FROM pg_db_role_setting, unnest(setconfig) AS s
                 WHERE setdatabase = d.oid AND setrole = 0)
        FROM pg_database AS d WHERE datname = current_database()""",
    "relations": f"""
        SELECT c.oid::regclass::text, c.relkind, c.relpersistence, c.relreplident, pg_get_userbyid(c.relowner),
               obj_description(c.oid, 'pg_class'), c.relrowsecurity, c.reloptions::text,
               CASE WHEN c.relispartition THEN pg_get_expr(c.relpartbound, c.oid) END
        FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE {_OURS} AND c.relkind <> 'i'""",
    "columns": f"""
        SELECT c.oid::regclass::text, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity,
               a.attgenerated, pg_get_expr(f.adbin, f.adrelid), col_description(c.oid, a.attnum),
               row_number() OVER (PARTITION BY c.oid ORDER BY a.attnum)
        FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        LEFT JOIN pg_attrdef AS f ON f.adrelid = c.oid AND f.adnum = a.attnum
        WHERE {_OURS} AND c.relkind IN ('r', 'p', 'v', 'm', 'c', 'f')""",
    "constraints": f"""
        SELECT conrelid::regclass::text, contypid::regtype::text, conname, pg_get_constraintdef(o.oid), convalidated
        FROM pg_constraint AS o JOIN pg_namespace AS n ON n.oid = o.connamespace WHERE {_OURS} AND contype IN
        ('p', 'u', 'f', 'c', 'x')""",
    "indexes": f"""
        SELECT pg_get_indexdef(indexrelid), indisvalid FROM pg_index JOIN pg_class AS c ON c.oid = indexrelid
        JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE {_OURS}""",
    "triggers": f"""
        SELECT pg_get_triggerdef(t.oid), tgenabled FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = tgrelid
        JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE {_OURS} AND NOT tgisinternal""",
    "functions": f"""
        SELECT p.oid::regprocedure::text, prosrc, lanname, pg_get_userbyid(proowner), prosecdef, provolatile,
               proconfig::text
        FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = pronamespace JOIN pg_language AS l ON l.oid = prolang
        WHERE {_OURS}""",
    "types": f"""
        SELECT t.oid::regtype::text, typtype, pg_get_userbyid(typowner), format_type(typbasetype, typtypmod),
               (SELECT string_agg(enumlabel, ',' ORDER BY enumsortorder) FROM pg_enum WHERE enumtypid = t.oid)
        FROM pg_type AS t JOIN pg_namespace AS n ON n.oid = typnamespace WHERE {_OURS} AND typtype IN
        ('e', 'd', 'r')""",
    "policies": "SELECT schemaname, tablename, policyname, roles::text, cmd, qual FROM pg_policies",
    "grants": f"""
        SELECT c.oid::regclass::text, g.privilege_type, pg_get_userbyid(g.grantee), g.is_grantable
        FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace, aclexplode(c.relacl) AS g
        WHERE {_OURS} AND g.grantee <> c.relowner AND g.privilege_type <> 'MAINTAIN'""",
    "large objects": "SELECT oid, pg_get_userbyid(lomowner), md5(lo_get(oid)) FROM pg_largeobject_metadata",
    "event triggers": "SELECT evtname, evtevent, evtenabled FROM pg_event_trigger WHERE evtname NOT LIKE '%scribe%'",
    "publications": "SELECT pubname, puballtables FROM pg_publication",
}
_RELATIONS = f"""
SELECT c.oid::regclass::text, c.relkind::text FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE {_OURS} AND c.relkind IN ('r', 'v', 'm', 'S') ORDER BY 1"""


def read_fingerprint(conn: psycopg.Connection[Any]) -> dict[str, list[str]]:
    """Return everything by kind, as sorted lines. conn: opened with OPTIONS."""
    found = {kind: sorted(map(repr, conn.execute(query).fetchall())) for kind, query in _QUERIES.items()}
    for name, kind in conn.execute(_RELATIONS).fetchall():
        if kind == "S":
            found[f"sequence {name}"] = [repr(conn.execute(f"SELECT last_value, is_called FROM {name}").fetchone())]
            continue
        with conn.cursor().copy(f"COPY (SELECT * FROM {name}) TO STDOUT") as copy:
            lines = sorted(b"".join(bytes(block) for block in copy).splitlines(keepends=True))
        found[f"rows of {name}"] = [f"{len(lines)} rows, sha256 {hashlib.sha256(b''.join(lines)).hexdigest()}"]
    return found
