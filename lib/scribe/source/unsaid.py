"""What pg_dump never says, although the source has it, as statements for the end of a base.

A trigger that a constraint made may be switched off or fire always (DISABLE TRIGGER ALL); a comment may be on the
constraint of a constraint trigger; a foreign table has the compression of the columns that it inherits; the sequence
of an identity column may be of another type than the column (CREATE TABLE ... LIKE makes it a bigint); a NOT NULL has
the name that was chosen for it, and so has another table's; a partition that was attached has its own names for its
parent's foreign keys, by which they are dropped once it is detached. What the server itself brought may have another
owner, other privileges (those in pg_catalog are in a dump, no others), settings or comments, and users' operators in
its families. What tells these changes is that they came after initdb's transactions, of which making plpgsql was the
last.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import count, groupby
from typing import Any, NamedTuple

import psycopg

from scribe.common.dialect import IF_SUPERUSER, or_left_out, quote_literal, quote_name
from scribe.common.postgres import fetch_value
from scribe.source.metadata import holder, setting_clause

# Their names are made of numbers. A constraint that came to a partition with its parent's has a name by chance.
_TRIGGERS = """
SELECT t.tgenabled::text, pg_catalog.format('%I.%I', n.nspname, c.relname), t.tgfoid::pg_catalog.regproc::text,
  CASE WHEN t.tgconstrrelid <> 0 THEN pg_catalog.format('%I.%I', rn.nspname, r.relname) END,
  CASE WHEN k.conparentid = 0 THEN k.conname END
FROM pg_catalog.pg_trigger AS t JOIN pg_catalog.pg_class AS c ON c.oid = t.tgrelid
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
  JOIN pg_catalog.pg_constraint AS k ON k.oid = t.tgconstraint
  LEFT JOIN pg_catalog.pg_class AS r ON r.oid = t.tgconstrrelid
  LEFT JOIN pg_catalog.pg_namespace AS rn ON rn.oid = r.relnamespace
WHERE t.tgisinternal AND t.tgenabled <> 'O' AND n.nspname <> 'scribe' ORDER BY 2, 1, 3, 5
"""
# What pg_dump says of triggers with such names is left out of a base (scribe.dump.validated); some are users' own.
_NAMESAKES = """
SELECT pg_catalog.format('ALTER TABLE ONLY %I.%I %s TRIGGER %I', n.nspname, c.relname, CASE t.tgenabled WHEN 'D' THEN
    'DISABLE' WHEN 'A' THEN 'ENABLE ALWAYS' ELSE 'ENABLE REPLICA' END, t.tgname)
FROM pg_catalog.pg_trigger AS t JOIN pg_catalog.pg_class AS c ON c.oid = t.tgrelid
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE NOT t.tgisinternal AND t.tgenabled <> 'O' AND t.tgname ~ '^(RI|Unique)_ConstraintTrigger_([ac]_)?[0-9]+$'
ORDER BY 1
"""
_MODES = {"D": "DISABLE", "A": "ENABLE ALWAYS", "R": "ENABLE REPLICA"}
_COMMENTS = """
SELECT pg_catalog.format('COMMENT ON CONSTRAINT %I ON %I.%I IS %L', k.conname, n.nspname, c.relname, d.description)
FROM pg_catalog.pg_description AS d JOIN pg_catalog.pg_constraint AS k ON k.oid = d.objoid AND k.contype = 't'
  JOIN pg_catalog.pg_class AS c ON c.oid = k.conrelid JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE d.classoid = 'pg_catalog.pg_constraint'::pg_catalog.regclass AND n.nspname <> 'scribe'
  AND pg_catalog.octet_length(d.description) <= 65536 ORDER BY pg_catalog.octet_length(d.description), 1
"""
_MOST_COMMENTS = 8 << 20  # characters: quoted several times, they are part of one statement, and a server takes 1 GB
_COMPRESSION = """
SELECT pg_catalog.format('UPDATE pg_catalog.pg_attribute SET attcompression = %L WHERE attname = %L'
    ' AND attrelid = pg_catalog.to_regclass(%L)', a.attcompression, a.attname,
    pg_catalog.format('%I.%I', n.nspname, c.relname))
FROM pg_catalog.pg_attribute AS a JOIN pg_catalog.pg_class AS c ON c.oid = a.attrelid
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind = 'f' AND a.attcompression <> '' AND NOT a.attisdropped ORDER BY 1
"""
# pg_dump gives such a sequence its range without its type; misfit: the range is beyond that of the column's type.
_SEQUENCES = """
SELECT n.nspname, c.relname, a.attname, pg_catalog.format('%I.%I', qn.nspname, q.relname),
  pg_catalog.format_type(s.seqtypid, NULL), s.seqincrement, s.seqmin, s.seqmax, s.seqstart,
  CASE a.atttypid WHEN 21 THEN s.seqmin < -32768 OR s.seqmax > 32767
    WHEN 23 THEN s.seqmin < -2147483648 OR s.seqmax > 2147483647 ELSE false END AS misfit
FROM pg_catalog.pg_sequence AS s JOIN pg_catalog.pg_class AS q ON q.oid = s.seqrelid
  JOIN pg_catalog.pg_namespace AS qn ON qn.oid = q.relnamespace
  JOIN pg_catalog.pg_depend AS d ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = q.oid
    AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.deptype = 'i'
  JOIN pg_catalog.pg_attribute AS a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
  JOIN pg_catalog.pg_class AS c ON c.oid = a.attrelid JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE a.attidentity <> '' AND s.seqtypid <> a.atttypid AND n.nspname <> 'scribe' ORDER BY 1, 2, 3
"""
# A partition that was attached has its own name for its parent's foreign key; parents come first.
_KEYS = """
WITH RECURSIVE keys AS (
  SELECT oid, conname, conrelid, confrelid, conparentid, 0 AS depth FROM pg_catalog.pg_constraint
    WHERE contype = 'f' AND conparentid = 0
  UNION ALL SELECT k.oid, k.conname, k.conrelid, k.confrelid, k.conparentid, p.depth + 1
    FROM keys AS p JOIN pg_catalog.pg_constraint AS k ON k.conparentid = p.oid),
named AS (SELECT c.oid, pg_catalog.format('%I.%I', n.nspname, c.relname) AS name
  FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace)
SELECT c.name, f.name, pc.name, p.conname, k.conname
FROM keys AS k JOIN keys AS p ON p.oid = k.conparentid
  JOIN named AS c ON c.oid = k.conrelid JOIN named AS f ON f.oid = k.confrelid JOIN named AS pc ON pc.oid = p.conrelid
WHERE k.conname <> p.conname AND k.conrelid <> p.conrelid ORDER BY k.depth, 1, 2, 5
"""
# From 18 on, a NOT NULL has a name, which pg_dump leaves to be chosen if that would give it in an empty schema: where a
# table made earlier has a namesake (CREATE TABLE ... LIKE makes one), another is chosen.
_CHOSEN = """
SELECT pg_catalog.format('UPDATE pg_catalog.pg_constraint SET conname = %L WHERE contype = %L AND conname <> %L'
    ' AND conrelid = pg_catalog.to_regclass(%L) AND conkey = ARRAY(SELECT attnum FROM pg_catalog.pg_attribute'
    ' WHERE attrelid = conrelid AND attname = %L)', k.conname, 'n', k.conname,
    pg_catalog.format('%I.%I', n.nspname, c.relname), a.attname)
FROM pg_catalog.pg_constraint AS k JOIN pg_catalog.pg_class AS c ON c.oid = k.conrelid
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
  JOIN pg_catalog.pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = k.conkey[1]
WHERE k.contype = 'n' AND k.conname = pg_catalog.concat(c.relname, '_', a.attname, '_not_null')
  AND n.nspname <> 'scribe' AND EXISTS (SELECT FROM pg_catalog.pg_constraint AS o
    WHERE o.conname = k.conname AND o.connamespace = k.connamespace AND o.oid <> k.oid) ORDER BY 1
"""
_TAKEN = "SELECT conname FROM pg_catalog.pg_constraint WHERE conname ~ '^!scribe_key'"  # by somebody who knew
# A NOT NULL of a parent that is not valid there comes to an heir once more, as its own.
_NOT_NULLS = """
SELECT pg_catalog.format('UPDATE pg_catalog.pg_constraint SET conislocal = false WHERE conname = %L AND contype = %L'
    ' AND conrelid = pg_catalog.to_regclass(%L) AND coninhcount > 0', k.conname, k.contype,
    pg_catalog.format('%I.%I', n.nspname, c.relname))
FROM pg_catalog.pg_constraint AS k JOIN pg_catalog.pg_class AS c ON c.oid = k.conrelid
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE k.contype = 'n' AND NOT k.conislocal AND EXISTS (SELECT FROM pg_catalog.pg_inherits AS i
    JOIN pg_catalog.pg_constraint AS p ON p.conrelid = i.inhparent AND p.contype = 'n' AND p.conname = k.conname
  WHERE i.inhrelid = k.conrelid AND NOT p.convalidated) ORDER BY 1
"""
# The last of initdb's transactions; a database's rows come from its template. Numbers are not reused within reach.
_SINCE = """
SELECT coalesce((SELECT p.xmin::text::bigint FROM pg_catalog.pg_proc AS p
    WHERE p.proname = 'plpgsql_validator' AND p.oid < 16384),
  (SELECT pg_catalog.percentile_disc(0.9) WITHIN GROUP (ORDER BY c.xmin::text::bigint) + 8 FROM pg_catalog.pg_class AS c
    WHERE c.relnamespace = (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = 'information_schema')))
"""
_OWNERS = """
SELECT pg_catalog.format('ALTER %s %s OWNER TO %I', pg_catalog.upper(i.type), i.identity,
  pg_catalog.pg_get_userbyid(o.owner))
FROM (
    SELECT 'pg_catalog.pg_class'::pg_catalog.regclass, oid, relowner
      FROM pg_catalog.pg_class WHERE relkind IN ('r', 'v')
    UNION ALL SELECT 'pg_catalog.pg_proc'::pg_catalog.regclass, oid, proowner FROM pg_catalog.pg_proc
    UNION ALL SELECT 'pg_catalog.pg_type'::pg_catalog.regclass, oid, typowner
      FROM pg_catalog.pg_type WHERE typrelid = 0 AND typcategory <> 'A'
    UNION ALL SELECT 'pg_catalog.pg_namespace'::pg_catalog.regclass, oid, nspowner
      FROM pg_catalog.pg_namespace WHERE nspname = 'information_schema'
    UNION ALL SELECT 'pg_catalog.pg_language'::pg_catalog.regclass, oid, lanowner FROM pg_catalog.pg_language
    UNION ALL SELECT 'pg_catalog.pg_collation'::pg_catalog.regclass, oid, collowner FROM pg_catalog.pg_collation
    UNION ALL SELECT 'pg_catalog.pg_operator'::pg_catalog.regclass, oid, oprowner FROM pg_catalog.pg_operator
    UNION ALL SELECT 'pg_catalog.pg_ts_config'::pg_catalog.regclass, oid, cfgowner FROM pg_catalog.pg_ts_config
    UNION ALL SELECT 'pg_catalog.pg_ts_dict'::pg_catalog.regclass, oid, dictowner FROM pg_catalog.pg_ts_dict
  ) AS o (class, oid, owner), LATERAL pg_catalog.pg_identify_object(o.class, o.oid, 0) AS i
WHERE o.oid < 16384 AND o.owner <> 10 ORDER BY 1
"""
# Those of pg_catalog, but for languages, are in a dump; plpgsql's are, too.
_PRIVILEGES = """
SELECT o.kind || ' ' || o.name, (SELECT pg_catalog.json_agg(pg_catalog.json_build_array(
    CASE a.grantee WHEN 0 THEN NULL ELSE pg_catalog.pg_get_userbyid(a.grantee) END, a.privilege_type, a.is_grantable)
  ORDER BY a.place) FROM pg_catalog.aclexplode(o.acl)
    WITH ORDINALITY AS a (grantor, grantee, privilege_type, is_grantable, place))
FROM (
    SELECT 'TABLE', c.oid::pg_catalog.regclass::text, c.relacl, c.xmin FROM pg_catalog.pg_class AS c
      JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace AND n.nspname = 'information_schema'
      WHERE c.oid < 16384 AND c.relkind IN ('r', 'v')
    UNION ALL SELECT 'FUNCTION', p.oid::pg_catalog.regprocedure::text, p.proacl, p.xmin FROM pg_catalog.pg_proc AS p
      JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace AND n.nspname = 'information_schema'
      WHERE p.oid < 16384
    UNION ALL SELECT 'SCHEMA', nspname, nspacl, xmin FROM pg_catalog.pg_namespace WHERE nspname = 'information_schema'
    UNION ALL SELECT 'LANGUAGE', pg_catalog.quote_ident(lanname), lanacl, xmin FROM pg_catalog.pg_language
      WHERE oid < 16384 AND lanpltrusted AND lanname <> 'plpgsql'
  ) AS o (kind, name, acl, xmin)
WHERE o.xmin::text::bigint > %(since)s AND o.acl IS NOT NULL ORDER BY 1
"""
_SETTINGS = """
SELECT p.oid::pg_catalog.regprocedure::text, p.proconfig FROM pg_catalog.pg_proc AS p
WHERE p.oid < 16384 AND p.proconfig IS NOT NULL AND p.xmin::text::bigint > %(since)s ORDER BY 1
"""
_BUILT_IN_COMMENTS = """
SELECT pg_catalog.format('COMMENT ON %%s %%s IS %%L', CASE WHEN i.type LIKE '%% column' THEN 'COLUMN'
    ELSE pg_catalog.upper(i.type) END, i.identity, d.description)
FROM pg_catalog.pg_description AS d, LATERAL pg_catalog.pg_identify_object(d.classoid, d.objoid, d.objsubid) AS i
WHERE d.objoid < 16384 AND d.xmin::text::bigint > %(since)s AND i.identity <> 'public' ORDER BY 1
"""
# Members of an operator family by themselves, not of an operator class.
_MEMBERS = """
WITH loose (class, oid) AS (
  SELECT m.* FROM (
      SELECT 'pg_catalog.pg_amop'::pg_catalog.regclass, oid FROM pg_catalog.pg_amop WHERE amopfamily < 16384
      UNION ALL SELECT 'pg_catalog.pg_amproc'::pg_catalog.regclass, oid FROM pg_catalog.pg_amproc
        WHERE amprocfamily < 16384) AS m (class, oid)
  WHERE m.oid >= 16384 AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS d
    WHERE d.classid = m.class AND d.objid = m.oid AND (d.deptype = 'e'
      OR d.refclassid = 'pg_catalog.pg_opclass'::pg_catalog.regclass)))
SELECT pg_catalog.format('ALTER OPERATOR FAMILY %%s ADD OPERATOR %%s %%s%%s', f.identity, m.amopstrategy,
  m.amopopr::pg_catalog.regoperator, CASE WHEN m.amoppurpose = 'o' THEN pg_catalog.format(' FOR ORDER BY %%I.%%I',
    sn.nspname, s.opfname) ELSE '' END)
FROM loose AS l JOIN pg_catalog.pg_amop AS m ON m.oid = l.oid AND l.class = 'pg_catalog.pg_amop'::pg_catalog.regclass
  LEFT JOIN pg_catalog.pg_opfamily AS s ON s.oid = m.amopsortfamily
  LEFT JOIN pg_catalog.pg_namespace AS sn ON sn.oid = s.opfnamespace,
  LATERAL pg_catalog.pg_identify_object('pg_catalog.pg_opfamily'::pg_catalog.regclass, m.amopfamily, 0) AS f
UNION ALL
SELECT pg_catalog.format('ALTER OPERATOR FAMILY %%s ADD FUNCTION %%s (%%s, %%s) %%s', f.identity, m.amprocnum,
  pg_catalog.format_type(m.amproclefttype, NULL), pg_catalog.format_type(m.amprocrighttype, NULL),
  m.amproc::pg_catalog.regprocedure)
FROM loose AS l JOIN pg_catalog.pg_amproc AS m ON m.oid = l.oid
    AND l.class = 'pg_catalog.pg_amproc'::pg_catalog.regclass,
  LATERAL pg_catalog.pg_identify_object('pg_catalog.pg_opfamily'::pg_catalog.regclass, m.amprocfamily, 0) AS f
ORDER BY 1
"""
_DICTIONARIES = """
SELECT pg_catalog.format('ALTER TEXT SEARCH DICTIONARY pg_catalog.%%I (%%s)', dictname, dictinitoption)
FROM pg_catalog.pg_ts_dict WHERE oid < 16384 AND xmin::text::bigint > %(since)s AND dictinitoption <> '' ORDER BY 1
"""
# A mapping that was dropped leaves nothing behind: then there are fewer of them than the parser has words for.
_MAPPINGS = """
SELECT pg_catalog.format('pg_catalog.%%I', c.cfgname), t.alias, (SELECT pg_catalog.string_agg(
    pg_catalog.format('%%I.%%I', n.nspname, d.dictname), ', ' ORDER BY m.mapseqno)
  FROM pg_catalog.pg_ts_config_map AS m JOIN pg_catalog.pg_ts_dict AS d ON d.oid = m.mapdict
    JOIN pg_catalog.pg_namespace AS n ON n.oid = d.dictnamespace WHERE m.mapcfg = c.oid AND m.maptokentype = t.tokid)
FROM pg_catalog.pg_ts_config AS c, LATERAL pg_catalog.ts_token_type(c.cfgparser) AS t
WHERE c.oid < 16384 AND (EXISTS (SELECT FROM pg_catalog.pg_ts_config_map AS m
    WHERE m.mapcfg = c.oid AND m.xmin::text::bigint > %(since)s)
  OR (SELECT count(DISTINCT m.maptokentype) FROM pg_catalog.pg_ts_config_map AS m WHERE m.mapcfg = c.oid) < 19)
ORDER BY 1, t.tokid
"""


class OddSequence(NamedTuple):
    """The sequence of an identity column of another type; misfit: its range is beyond that of the column's type."""

    schema: str
    table: str
    column: str
    name: str
    type: str
    increment: int
    low: int
    high: int
    start: int
    misfit: bool

    @property
    def typed(self) -> str:
        """What gives a sequence the type and the range."""
        return f"ALTER SEQUENCE {self.name} AS {self.type} MINVALUE {self.low} MAXVALUE {self.high}"


def odd_sequences(conn: psycopg.Connection[Any]) -> list[OddSequence]:
    """Return the sequences of identity columns whose type is not the column's; conn has an empty search_path."""
    return [OddSequence(*row) for row in conn.execute(_SEQUENCES).fetchall()]


def never_said(conn: psycopg.Connection[Any], form: str) -> list[str]:
    """Return the statements; each does nothing for a role that is no superuser. conn has an empty search_path.

    form: of the base, plain or directory; a plain one gives a sequence its type as it makes it (scribe.dump.as_made).
    """
    by_table: dict[tuple[str, str], list[str]] = {}
    for mode, table, function, other, constraint in conn.execute(_TRIGGERS).fetchall():
        found = [f"t.tgfoid = {quote_literal(function)}::pg_catalog.regproc"]
        found.append(f"t.tgconstrrelid = {_relation(other) if other else '0'}")
        found.append(f"k.conname = {quote_literal(constraint)}" if constraint else "k.conparentid <> 0")
        by_table.setdefault((table, mode), []).append(f"({' AND '.join(found)})")
    lines = [_switch(table, mode, found) for (table, mode), found in by_table.items()]
    for query in (_NAMESAKES, _COMPRESSION, _CHOSEN, _NOT_NULLS):
        lines += [or_left_out(row[0]) for row in conn.execute(query).fetchall()]
    room = _MOST_COMMENTS
    for (comment,) in conn.execute(_COMMENTS).fetchall():
        room -= len(comment)
        lines += [or_left_out(comment)] if room > 0 else []
    if form == "directory":
        lines += [or_left_out(sequence.typed) for sequence in odd_sequences(conn)]
    lines += _name_keys(conn)
    return [*map(_by_a_superuser, [*lines, *(or_left_out(line) for line in _built_in(conn))])]


def free_names(start: str, taken: Collection[str]) -> Iterator[str]:
    """Yield names that nobody has, for what is there for a while."""
    return (name for name in map(f"{start}_{{}}".format, count()) if name not in taken)


def _name_keys(conn: psycopg.Connection[Any]) -> list[str]:
    """Return what names partitions' foreign keys; no ALTER TABLE does. Two of a table may have exchanged names."""
    found = conn.execute(_KEYS).fetchall()
    unused = free_names("!scribe_key", {name for (name,) in conn.execute(_TAKEN).fetchall()} if found else set())
    passing = {(table, name): next(unused) for table, _, _, _, name in found}
    first, then = [], []
    for table, referred, parent, parents_name, name in found:
        of_parent = quote_literal(passing.get((parent, parents_name), parents_name))
        within = f"contype = 'f' AND conrelid = {_relation(table)}"
        passed = quote_literal(passing[table, name])
        first.append(
            f"UPDATE pg_catalog.pg_constraint SET conname = {passed} WHERE {within}"
            f" AND confrelid = {_relation(referred)} AND conparentid IN (SELECT oid FROM pg_catalog.pg_constraint"
            f" WHERE contype = 'f' AND conrelid = {_relation(parent)} AND conname = {of_parent});"
        )
        then.append(
            f"UPDATE pg_catalog.pg_constraint SET conname = {quote_literal(name)}"
            f" WHERE {within} AND conname = {passed};"
        )
    return first + then


def text_search(conn: psycopg.Connection[Any]) -> list[str]:
    """Return statements that change the server's own configurations as the source has them, as they go before rows."""
    since = {"since": fetch_value(conn, _SINCE)}
    lines = [row[0] for row in conn.execute(_DICTIONARIES, since).fetchall()]
    for name, mappings in groupby(conn.execute(_MAPPINGS, since).fetchall(), key=lambda row: str(row[0])):
        for _, alias, dictionaries in mappings:
            change = f"ALTER TEXT SEARCH CONFIGURATION {name}"
            lines.append(f"{change} DROP MAPPING IF EXISTS FOR {quote_name(alias)}")
            if dictionaries:
                lines.append(f"{change} ADD MAPPING FOR {quote_name(alias)} WITH {dictionaries}")
    return [_by_a_superuser(or_left_out(line)) for line in lines]


def _built_in(conn: psycopg.Connection[Any]) -> list[str]:
    """Return what gives the server's own objects what the source's have."""
    since = {"since": fetch_value(conn, _SINCE)}
    lines = [row[0] for row in conn.execute(_OWNERS).fetchall()]
    for name, privileges in conn.execute(_PRIVILEGES, since).fetchall():
        for name_of in dict.fromkeys(["PUBLIC", *(holder(row[0]) for row in privileges)]):
            lines.append(f"REVOKE ALL ON {name} FROM {name_of}")
        for grantee, privilege, grantable in privileges:
            option = " WITH GRANT OPTION" if grantable else ""
            lines.append(f"GRANT {privilege} ON {name} TO {holder(grantee)}{option}")
    for function, entries in conn.execute(_SETTINGS, since).fetchall():
        lines += [f"ALTER FUNCTION {function} {setting_clause(entry)}" for entry in entries]
    for query in (_BUILT_IN_COMMENTS, _MEMBERS):
        lines += [row[0] for row in conn.execute(query, since).fetchall()]
    return lines


def _by_a_superuser(line: str) -> str:
    body = f"DECLARE found record; BEGIN {IF_SUPERUSER} {line} END IF; END"
    return f"DO LANGUAGE plpgsql {quote_literal(body)}"


def _relation(name: str) -> str:
    return f"pg_catalog.to_regclass({quote_literal(name)})"


def _switch(table: str, mode: str, triggers: list[str]) -> str:
    """Return plpgsql that gives a table's triggers of constraints that mode."""
    statement = quote_literal(f"ALTER TABLE ONLY %s {_MODES[mode]} TRIGGER %I")
    return (
        "FOR found IN SELECT t.tgname FROM pg_catalog.pg_trigger AS t"
        " JOIN pg_catalog.pg_constraint AS k ON k.oid = t.tgconstraint"
        f" WHERE t.tgisinternal AND t.tgrelid = {_relation(table)} AND ({' OR '.join(triggers)}) LOOP"
        f" EXECUTE pg_catalog.format({statement}, {quote_literal(table)}, found.tgname); END LOOP;"
    )
