"""What somebody added to what belongs to an extension: to its types and tables, and hung on its tables and views.

Rows may need values that were added to an enum, or columns: they come right after CREATE EXTENSION. The rest is for the
end of a base.

An index, a constraint, a trigger, a rule, a policy, extended statistics, options, defaults and comments there are no
members of the extension, and pg_dump has of its tables nothing but CREATE EXTENSION. The catalog does not tell who made
them, the extension's scripts or somebody later: so the base names those that another transaction made than the one that
made the table, or updated the extension last, or that one after its script, and makes what the copy lacks, if its
extension has the same version.
"""

from __future__ import annotations

import re
from itertools import groupby
from typing import Any

import psycopg

from scribe.common.dialect import IF_SUPERUSER, or_left_out, quote_identifier, quote_literal, quote_name

# Nothing changes the row of pg_depend, d, that makes a member, nor its xmin. What comes later in that transaction has a
# greater cmin than the last of them; so may have what the script itself makes at its end, which is then there in the
# copy. What the last update of an extension, e, has made has its xmin.
_LAST = """(SELECT pg_catalog.max(o.cmin::text::bigint) FROM pg_catalog.pg_depend AS o
    WHERE o.refclassid = d.refclassid AND o.refobjid = d.refobjid AND o.deptype = 'e' AND o.xmin = d.xmin)"""


def _with_later(query: str, updated: str = "e.xmin", made: str = "d.xmin", last: str = _LAST) -> str:
    """Return a query in which LATER(x) says that a row, x, is of none of an extension's scripts."""
    later = rf"(\1.xmin NOT IN ({made}, {updated}) OR \1.xmin = {made} AND \1.cmin::text::bigint > {last})"
    return re.sub(r"LATER\((\w)\)", later, query)


_VALUES = _with_later(
    """
SELECT e.extname, e.extversion, pg_catalog.format('%I.%I', n.nspname, t.typname), v.enumlabel::text,
  LATER(v)
FROM pg_catalog.pg_depend AS d JOIN pg_catalog.pg_extension AS e ON e.oid = d.refobjid
  JOIN pg_catalog.pg_type AS t ON t.oid = d.objid JOIN pg_catalog.pg_namespace AS n ON n.oid = t.typnamespace
  JOIN pg_catalog.pg_enum AS v ON v.enumtypid = t.oid
WHERE d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND d.deptype = 'e'
  AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass ORDER BY 1, 3, v.enumsortorder
"""
)
# A value that is there and not wanted was renamed on the source: values are never dropped.
_SET_VALUES = """\
  kind := {kind};
  wanted := ARRAY[{wanted}];
  there := ARRAY(SELECT enumlabel::text FROM pg_catalog.pg_enum WHERE enumtypid = kind::pg_catalog.regtype
    ORDER BY enumsortorder);
  at := 1;
  FOR n IN 1 .. pg_catalog.cardinality(wanted) LOOP
    IF wanted[n] = there[at] THEN
      at := at + 1;
    ELSIF at <= pg_catalog.cardinality(there) AND there[at] <> ALL (wanted) THEN
      EXECUTE pg_catalog.format('ALTER TYPE %s RENAME VALUE %L TO %L', kind, there[at], wanted[n]);
      at := at + 1;
    ELSIF n > 1 THEN
      EXECUTE pg_catalog.format('ALTER TYPE %s ADD VALUE IF NOT EXISTS %L AFTER %L', kind, wanted[n], wanted[n - 1]);
    ELSE
      EXECUTE pg_catalog.format('ALTER TYPE %s ADD VALUE IF NOT EXISTS %L BEFORE %L', kind, wanted[n], there[at]);
    END IF;
  END LOOP"""
# The types that are there when the extension is: the server's, and its own. It is the first that a dump makes.
_ADDED_COLUMNS = _with_later(
    """
SELECT e.extname, e.extversion, pg_catalog.format('%I.%I', n.nspname, c.relname), a.attname::text,
  CASE WHEN a.attgenerated = '' AND a.attidentity = '' AND (coalesce(nullif(t.typelem, 0), t.oid) < 16384 OR EXISTS (
      SELECT FROM pg_catalog.pg_depend AS o WHERE o.classid = 'pg_catalog.pg_type'::pg_catalog.regclass
        AND o.objid = coalesce(nullif(t.typelem, 0), t.oid) AND o.deptype = 'e' AND o.refobjid = e.oid))
    AND a.attcollation IN (0, t.typcollation) THEN pg_catalog.format_type(a.atttypid, a.atttypmod) END
FROM pg_catalog.pg_depend AS d JOIN pg_catalog.pg_extension AS e ON e.oid = d.refobjid
  JOIN pg_catalog.pg_class AS c ON c.oid = d.objid JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
  JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objsubid = 0 AND d.deptype = 'e' AND c.relkind = 'r'
  AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND a.attnum > 0 AND NOT a.attisdropped
  AND LATER(a)
ORDER BY 1, 3, a.attnum
"""
)
_MEMBERS = """
WITH member AS MATERIALIZED (
  SELECT e.extname, e.extversion, c.oid, c.relkind, pg_catalog.format('%I.%I', n.nspname, c.relname) AS name,
    e.xmin AS updated, d.xmin AS made,
    LAST AS last
  FROM pg_catalog.pg_depend AS d JOIN pg_catalog.pg_extension AS e ON e.oid = d.refobjid
    JOIN pg_catalog.pg_class AS c ON c.oid = d.objid JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
  WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objsubid = 0 AND d.deptype = 'e'
    AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND c.relkind IN ('r', 'p', 'f', 'v', 'm')
    -- in a copy it belongs to whoever restores, with whose rights a CREATE INDEX would run the functions of its owner
    AND (SELECT r.rolsuper FROM pg_catalog.pg_roles AS r WHERE r.oid = c.relowner)
)
"""
# Each: the extension, its version, an order, where it has to be missing, what makes it. %L and %s quote once for the
# statement; of a name that is looked up in the copy, the table's is a literal of its own.
_ITEMS = """
SELECT m.extname, m.extversion, 1 AS turn, x.relname::text AS item,
  pg_catalog.format('pg_catalog.to_regclass(%L) IS NULL', pg_catalog.format('%I.%I', n.nspname, x.relname)) AS missing,
  pg_catalog.pg_get_indexdef(x.oid) AS command, 'INDEX ' || pg_catalog.format('%I.%I', n.nspname, x.relname) AS object,
  pg_catalog.obj_description(x.oid, 'pg_class') AS comment
FROM member AS m JOIN pg_catalog.pg_index AS i ON i.indrelid = m.oid
  JOIN pg_catalog.pg_class AS x ON x.oid = i.indexrelid
  JOIN pg_catalog.pg_namespace AS n ON n.oid = x.relnamespace
WHERE i.indisvalid AND NOT x.relispartition AND LATER(i)
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint AS k
                  WHERE k.conindid = i.indexrelid AND k.conrelid = m.oid AND k.contype IN ('p', 'u', 'x'))
UNION ALL
SELECT m.extname, m.extversion, CASE k.contype WHEN 'f' THEN 3 ELSE 2 END, k.conname::text,
  pg_catalog.format('NOT EXISTS (SELECT FROM pg_catalog.pg_constraint WHERE conrelid = %L::pg_catalog.regclass'
                    ' AND conname = %L)', m.name, k.conname),
  -- what the source has taken is not asked again
  pg_catalog.format('ALTER TABLE %s ADD CONSTRAINT %I %s', m.name, k.conname, pg_catalog.pg_get_constraintdef(k.oid))
  || CASE WHEN k.contype IN ('c', 'f') AND k.convalidated AND m.relkind = 'r' THEN pg_catalog.format(
       E' NOT VALID;\\nUPDATE pg_catalog.pg_constraint SET convalidated = true WHERE conrelid = %L::pg_catalog.regclass'
       ' AND conname = %L', m.name, k.conname) ELSE '' END,
  pg_catalog.format('CONSTRAINT %I ON %s', k.conname, m.name), pg_catalog.obj_description(k.oid, 'pg_constraint')
FROM member AS m JOIN pg_catalog.pg_constraint AS k ON k.conrelid = m.oid
WHERE k.contype IN ('p', 'u', 'x', 'c', 'f') AND k.conparentid = 0 AND k.conislocal AND LATER(k)
UNION ALL
SELECT m.extname, m.extversion, 4, t.tgname::text,
  pg_catalog.format('NOT EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = %L::pg_catalog.regclass'
                    ' AND tgname = %L)', m.name, t.tgname),
  pg_catalog.pg_get_triggerdef(t.oid), pg_catalog.format('TRIGGER %I ON %s', t.tgname, m.name),
  pg_catalog.obj_description(t.oid, 'pg_trigger')
FROM member AS m JOIN pg_catalog.pg_trigger AS t ON t.tgrelid = m.oid
WHERE NOT t.tgisinternal AND t.tgparentid = 0 AND LATER(t)
UNION ALL
SELECT m.extname, m.extversion, 5, t.tgname::text,
  pg_catalog.format('EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = %L::pg_catalog.regclass AND tgname = %L'
                    ' AND tgenabled <> %L)', m.name, t.tgname, t.tgenabled),
  pg_catalog.format('ALTER TABLE %s %s TRIGGER %I', m.name, CASE t.tgenabled WHEN 'D' THEN 'DISABLE'
    WHEN 'A' THEN 'ENABLE ALWAYS' WHEN 'R' THEN 'ENABLE REPLICA' ELSE 'ENABLE' END, t.tgname), NULL, NULL
FROM member AS m JOIN pg_catalog.pg_trigger AS t ON t.tgrelid = m.oid
WHERE NOT t.tgisinternal AND t.tgparentid = 0 AND LATER(t) AND m.relkind <> 'v'
UNION ALL
SELECT m.extname, m.extversion, 4, r.rulename::text,
  pg_catalog.format('NOT EXISTS (SELECT FROM pg_catalog.pg_rewrite WHERE ev_class = %L::pg_catalog.regclass'
                    ' AND rulename = %L)', m.name, r.rulename),
  pg_catalog.rtrim(pg_catalog.pg_get_ruledef(r.oid), ';'), pg_catalog.format('RULE %I ON %s', r.rulename, m.name),
  pg_catalog.obj_description(r.oid, 'pg_rewrite')
FROM member AS m JOIN pg_catalog.pg_rewrite AS r ON r.ev_class = m.oid
WHERE r.rulename <> '_RETURN' AND LATER(r)
UNION ALL
SELECT m.extname, m.extversion, 5, r.rulename::text,
  pg_catalog.format('EXISTS (SELECT FROM pg_catalog.pg_rewrite WHERE ev_class = %L::pg_catalog.regclass'
                    ' AND rulename = %L AND ev_enabled <> %L)', m.name, r.rulename, r.ev_enabled),
  pg_catalog.format('ALTER TABLE %s %s RULE %I', m.name, CASE r.ev_enabled WHEN 'D' THEN 'DISABLE'
    WHEN 'A' THEN 'ENABLE ALWAYS' WHEN 'R' THEN 'ENABLE REPLICA' ELSE 'ENABLE' END, r.rulename), NULL, NULL
FROM member AS m JOIN pg_catalog.pg_rewrite AS r ON r.ev_class = m.oid
WHERE r.rulename <> '_RETURN' AND LATER(r) AND m.relkind = 'r'
UNION ALL
SELECT m.extname, m.extversion, 4, p.polname::text,
  pg_catalog.format('NOT EXISTS (SELECT FROM pg_catalog.pg_policy WHERE polrelid = %L::pg_catalog.regclass'
                    ' AND polname = %L)', m.name, p.polname),
  pg_catalog.format('CREATE POLICY %I ON %s AS %s FOR %s TO %s', p.polname, m.name,
    CASE WHEN p.polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END,
    CASE p.polcmd WHEN '*' THEN 'ALL' WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE'
      ELSE 'DELETE' END,
    (SELECT pg_catalog.string_agg(CASE u.oid WHEN 0 THEN 'PUBLIC'
       ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(u.oid)) END, ', ')
     FROM pg_catalog.unnest(p.polroles) AS u (oid)))
  || coalesce(' USING (' || pg_catalog.pg_get_expr(p.polqual, p.polrelid) || ')', '')
  || coalesce(' WITH CHECK (' || pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid) || ')', ''),
  pg_catalog.format('POLICY %I ON %s', p.polname, m.name), pg_catalog.obj_description(p.oid, 'pg_policy')
FROM member AS m JOIN pg_catalog.pg_policy AS p ON p.polrelid = m.oid WHERE LATER(p)
UNION ALL
SELECT m.extname, m.extversion, 4, s.stxname::text,
  pg_catalog.format('NOT EXISTS (SELECT FROM pg_catalog.pg_statistic_ext AS s JOIN pg_catalog.pg_namespace AS n'
                    ' ON n.oid = s.stxnamespace WHERE s.stxname = %L AND n.nspname = %L)', s.stxname, n.nspname),
  pg_catalog.pg_get_statisticsobjdef(s.oid), pg_catalog.format('STATISTICS %I.%I', n.nspname, s.stxname),
  pg_catalog.obj_description(s.oid, 'pg_statistic_ext')
FROM member AS m JOIN pg_catalog.pg_statistic_ext AS s ON s.stxrelid = m.oid
  JOIN pg_catalog.pg_namespace AS n ON n.oid = s.stxnamespace WHERE LATER(s)
UNION ALL
SELECT m.extname, m.extversion, 6, 'row security',
  pg_catalog.format('EXISTS (SELECT FROM pg_catalog.pg_class WHERE oid = %L::pg_catalog.regclass AND (relrowsecurity,'
                    ' relforcerowsecurity) <> (%L, %L))', m.name, c.relrowsecurity, c.relforcerowsecurity),
  pg_catalog.format('ALTER TABLE %s %s ROW LEVEL SECURITY, %s ROW LEVEL SECURITY', m.name,
    CASE WHEN c.relrowsecurity THEN 'ENABLE' ELSE 'DISABLE' END,
    CASE WHEN c.relforcerowsecurity THEN 'FORCE' ELSE 'NO FORCE' END), NULL, NULL
FROM member AS m JOIN pg_catalog.pg_class AS c ON c.oid = m.oid
WHERE c.relrowsecurity OR c.relforcerowsecurity
UNION ALL
SELECT m.extname, m.extversion, 6, 'options',
  pg_catalog.format('EXISTS (SELECT FROM pg_catalog.pg_class WHERE oid = %L::pg_catalog.regclass'
                    ' AND reloptions IS DISTINCT FROM %L)', m.name, c.reloptions),
  pg_catalog.format('ALTER TABLE %s SET (%s)', m.name, (SELECT pg_catalog.string_agg(pg_catalog.format('%I=%L',
    pg_catalog.split_part(o.entry, '=', 1), pg_catalog.substr(o.entry, pg_catalog.strpos(o.entry, '=') + 1)), ', ')
    FROM pg_catalog.unnest(c.reloptions) AS o (entry))), NULL, NULL
FROM member AS m JOIN pg_catalog.pg_class AS c ON c.oid = m.oid
WHERE c.reloptions <> '{}' AND c.relkind IN ('r', 'm', 'v')
UNION ALL
SELECT m.extname, m.extversion, 6, 'identity',
  pg_catalog.format('EXISTS (SELECT FROM pg_catalog.pg_class WHERE oid = %L::pg_catalog.regclass'
                    ' AND relreplident <> %L)', m.name, c.relreplident),
  pg_catalog.format('ALTER TABLE %s REPLICA IDENTITY %s', m.name, CASE c.relreplident WHEN 'f' THEN 'FULL'
    WHEN 'n' THEN 'NOTHING' ELSE (SELECT pg_catalog.format('USING INDEX %I', x.relname) FROM pg_catalog.pg_index AS i
      JOIN pg_catalog.pg_class AS x ON x.oid = i.indexrelid
      WHERE i.indrelid = c.oid AND i.indisreplident) END), NULL, NULL
FROM member AS m JOIN pg_catalog.pg_class AS c ON c.oid = m.oid
WHERE c.relkind IN ('r', 'p') AND (c.relreplident IN ('f', 'n') OR EXISTS (SELECT FROM pg_catalog.pg_index AS i
  WHERE i.indrelid = c.oid AND i.indisreplident AND c.relreplident = 'i'))
UNION ALL
SELECT m.extname, m.extversion, 6, 'cluster',
  pg_catalog.format('NOT (SELECT indisclustered FROM pg_catalog.pg_index'
                    ' WHERE indexrelid = pg_catalog.to_regclass(%L))',
                    pg_catalog.format('%I.%I', n.nspname, x.relname)),
  pg_catalog.format('ALTER TABLE %s CLUSTER ON %I', m.name, x.relname), NULL, NULL
FROM member AS m JOIN pg_catalog.pg_index AS i ON i.indrelid = m.oid
  JOIN pg_catalog.pg_class AS x ON x.oid = i.indexrelid
  JOIN pg_catalog.pg_namespace AS n ON n.oid = x.relnamespace WHERE i.indisclustered AND LATER(i)
UNION ALL
SELECT m.extname, m.extversion, 0, a.attname::text,
  pg_catalog.format('EXISTS (SELECT FROM pg_catalog.pg_attribute AS a LEFT JOIN pg_catalog.pg_attrdef AS d'
    ' ON d.adrelid = a.attrelid AND d.adnum = a.attnum WHERE a.attrelid = %L::pg_catalog.regclass AND a.attname = %L'
    ' AND NOT a.attisdropped AND pg_catalog.pg_get_expr(d.adbin, d.adrelid) IS DISTINCT FROM %L)',
    m.name, a.attname, pg_catalog.pg_get_expr(d.adbin, d.adrelid)),
  pg_catalog.format('ALTER TABLE %s ALTER COLUMN %I %s', m.name, a.attname,
    coalesce('SET DEFAULT ' || pg_catalog.pg_get_expr(d.adbin, d.adrelid), 'DROP DEFAULT')), NULL, NULL
FROM member AS m JOIN pg_catalog.pg_attribute AS a ON a.attrelid = m.oid
  LEFT JOIN pg_catalog.pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' AND a.attidentity = ''
  AND (LATER(a) OR LATER(d))
UNION ALL
SELECT m.extname, m.extversion, 0, a.attname::text,
  pg_catalog.format('EXISTS (SELECT FROM pg_catalog.pg_attribute WHERE attrelid = %L::pg_catalog.regclass'
    ' AND attname = %L AND NOT attisdropped AND attnotnull <> %L)', m.name, a.attname, a.attnotnull),
  pg_catalog.format('ALTER TABLE %s ALTER COLUMN %I %s NOT NULL', m.name, a.attname,
    CASE WHEN a.attnotnull THEN 'SET' ELSE 'DROP' END), NULL, NULL
FROM member AS m JOIN pg_catalog.pg_attribute AS a ON a.attrelid = m.oid
WHERE a.attnum > 0 AND NOT a.attisdropped AND m.relkind IN ('r', 'p', 'f') AND LATER(a)
UNION ALL
SELECT m.extname, m.extversion, 7, pg_catalog.format('comment %s', d.objsubid),
  pg_catalog.format(CASE WHEN d.objsubid = 0
    THEN 'pg_catalog.obj_description(%L::pg_catalog.regclass, ''pg_class'') IS DISTINCT FROM %L'
    ELSE 'EXISTS (SELECT FROM pg_catalog.pg_attribute WHERE attrelid = %1$L::pg_catalog.regclass AND attname = %3$L'
      ' AND NOT attisdropped AND pg_catalog.col_description(attrelid, attnum) IS DISTINCT FROM %2$L)' END,
    m.name, d.description, a.attname),
  pg_catalog.format('COMMENT ON %s %s%s IS %L', CASE WHEN d.objsubid > 0 THEN 'COLUMN' WHEN m.relkind = 'v' THEN 'VIEW'
    WHEN m.relkind = 'm' THEN 'MATERIALIZED VIEW' WHEN m.relkind = 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END,
    m.name, coalesce('.' || pg_catalog.quote_ident(a.attname), ''), d.description), NULL, NULL
FROM member AS m JOIN pg_catalog.pg_description AS d
    ON d.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objoid = m.oid
  LEFT JOIN pg_catalog.pg_attribute AS a ON a.attrelid = m.oid AND a.attnum = d.objsubid AND d.objsubid > 0
WHERE LATER(d)
ORDER BY extname, turn, item, object
"""
_QUERY = _MEMBERS.replace("LAST AS", f"{_LAST} AS") + _with_later(_ITEMS, "m.updated", "m.made", "m.last")


def find_added(conn: psycopg.Connection[Any]) -> tuple[dict[str, str], list[str], list[str]]:
    """Return what gives extensions, by their names, the values and columns they were given; what it is; the rest."""
    versions: dict[str, str] = {}
    statements: dict[str, list[str]] = {}
    added: list[str] = []
    lost: list[str] = []
    for (extension, version, kind), rows in groupby(conn.execute(_VALUES).fetchall(), key=lambda row: row[:3]):
        values = [(str(label), bool(new)) for *_, label, new in rows]
        if any(new for _, new in values):
            versions[extension] = version
            wanted = ", ".join(quote_literal(label) for label, _ in values)
            body = _SET_VALUES.format(kind=quote_literal(kind), wanted=wanted)
            statements.setdefault(extension, []).append(f"  {or_left_out(body, f'the values of type {kind}')}\n")
            added += [f"value {quote_literal(label)} of type {kind}" for label, new in values if new]
    for extension, version, table, column, kind in conn.execute(_ADDED_COLUMNS).fetchall():
        (added if kind else lost).append(f"column {quote_identifier(column)} of table {table}")
        if kind:
            versions[extension] = version
            statement = f"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {quote_name(column)} {kind}"
            statements.setdefault(extension, []).append(f"  {or_left_out(statement)}\n")
    return {name: _if_same(name, versions[name], found) for name, found in statements.items()}, added, lost


def _if_same(extension: str, version: str, statements: list[str]) -> str:
    """Return what runs statements for a superuser, if the extension is of that version."""
    same = f"extname = {quote_literal(extension)} AND extversion = {quote_literal(version)}"
    body = "DECLARE wanted text[]; there text[]; kind text; at int; n int;\n"
    body += f"BEGIN {IF_SUPERUSER} IF EXISTS (SELECT FROM pg_catalog.pg_extension WHERE {same}) THEN\n"
    body += "".join(statements) + "END IF; END IF; END"
    return f"-- pg_scribe: what was added to it\nDO LANGUAGE plpgsql {quote_literal(body)};\n"


def on_extensions_tables(conn: psycopg.Connection[Any]) -> list[str]:
    """Return commands that give a copy what it lacks on extensions' tables; conn: in the base's snapshot.

    They take a superuser: what a trusted extension has made is the one of the source's who owns its server.
    """
    commands = []
    rows = conn.execute(_QUERY.encode()).fetchall()
    for (extension, version), items in groupby(rows, key=lambda row: (row[0], row[1])):
        same = f"extname = {quote_literal(extension)} AND extversion = {quote_literal(version)}"
        lines = [f"  {_if_missing(row[4], _command(*row[5:]))}\n" for row in items]
        there = f"IF EXISTS (SELECT FROM pg_catalog.pg_extension WHERE {same}) THEN\n"
        body = f"BEGIN\n{IF_SUPERUSER} {there}" + "".join(lines) + "END IF; END IF;\nEND"
        commands.append(f"DO LANGUAGE plpgsql {quote_literal(body)}")
    return commands


def _if_missing(missing: str, command: str) -> str:
    """Return plpgsql; the condition fails, too, for a table that somebody added to the extension."""
    return or_left_out(f"IF {missing} THEN\n    {command};\n  END IF", command)


def _command(command: str, name: str | None, comment: str | None) -> str:
    if name is None or comment is None:
        return command
    return f"{command};\n    COMMENT ON {name} IS {quote_literal(comment)}"
