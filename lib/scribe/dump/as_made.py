"""What pg_dump makes otherwise than the source has it: ranges' functions, the order of inherited columns, extensions.

A range type that was renamed or moved keeps its constructors where they were, while a new type has them beside it: what
calls them could not be made. CREATE TABLE ... INHERITS puts its parents' columns first, also one that came to them
later: a value of the table's row type would be read into other columns, and SELECT * would give another order. Another
parent for the length of a statement, with the columns in their order, sees to that. CREATE EXTENSION makes neither the
values that somebody added to an enum of the extension nor the columns of its tables, which rows may need.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import psycopg

from scribe.archive.segments import Reader
from scribe.common.dialect import IF_SUPERUSER, quote_identifier, quote_literal
from scribe.common.sqltext import quoting_after
from scribe.dump.validated import in_blocks, plain_name, read_dump
from scribe.source.unsaid import text_search

_HELPER = "!scribe_columns"  # the other parent
_QUOTED = rb'(?:[a-z_][a-z0-9_]*|"(?:[^"]|"")*")'
_NAME = rb"(" + _QUOTED + rb")\.(" + _QUOTED + rb")"
_RANGE = re.compile(rb"\ACREATE TYPE " + _NAME + rb" AS RANGE \(\n\Z")
_TABLE = re.compile(rb"\ACREATE (?:UNLOGGED |FOREIGN )?TABLE " + _NAME + rb" \(\n\Z")
_EXTENSION = re.compile(rb"\ACREATE EXTENSION IF NOT EXISTS (" + _QUOTED + rb")(?: WITH SCHEMA [^\n]*)?;\n\Z")
_IDENTITY = re.compile(
    rb"\AALTER TABLE " + _NAME + rb" ALTER COLUMN (" + _QUOTED + rb") ADD GENERATED (?:ALWAYS|BY DEFAULT) AS IDENTITY"
    rb" \(\n\Z"
)
_RANGE_OF_SEQUENCE = re.compile(rb"\A    (?:START WITH|INCREMENT BY|(?:NO )?MINVALUE|(?:NO )?MAXVALUE)\b")
_STARTS = (
    b"ALTER TABLE ",
    b"CREATE EXTENSION ",
    b"CREATE TYPE ",
    b"CREATE TABLE ",
    b"CREATE UNLOGGED TABLE ",
    b"CREATE FOREIGN TABLE ",
)

# Constructors belong to their type as nothing else does. Those of a multirange are made in its range's schema.
_CONSTRUCTORS = """
SELECT rn.nspname, r.typname, t.typname, pn.nspname, p.proname,
  pg_catalog.pg_get_function_identity_arguments(p.oid)
FROM pg_catalog.pg_range AS g JOIN pg_catalog.pg_type AS r ON r.oid = g.rngtypid
  JOIN pg_catalog.pg_namespace AS rn ON rn.oid = r.typnamespace
  JOIN pg_catalog.pg_type AS t ON t.oid IN (g.rngtypid, g.rngmultitypid)
  JOIN pg_catalog.pg_depend AS d ON d.refclassid = 'pg_catalog.pg_type'::pg_catalog.regclass AND d.refobjid = t.oid
    AND d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.deptype = 'i'
  JOIN pg_catalog.pg_proc AS p ON p.oid = d.objid
  JOIN pg_catalog.pg_namespace AS pn ON pn.oid = p.pronamespace
WHERE (p.proname, p.pronamespace) <> (t.typname, r.typnamespace)
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS e
    WHERE e.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND e.objid = r.oid AND e.deptype = 'e')
ORDER BY r.oid, p.oid
"""
# Partitions are made by themselves, and attached.
_HEIRS = """
SELECT i.inhrelid::bigint, pg_catalog.array_agg(i.inhparent::bigint ORDER BY i.inhseqno)
FROM pg_catalog.pg_inherits AS i JOIN pg_catalog.pg_class AS c ON c.oid = i.inhrelid
WHERE c.relkind IN ('r', 'f') AND NOT c.relispartition GROUP BY 1 ORDER BY 1
"""
_COLUMNS = """
SELECT a.attrelid::bigint, n.nspname, c.relname, a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod),
  CASE WHEN a.attcollation <> t.typcollation THEN pg_catalog.format('%%I.%%I', ln.nspname, l.collname) END,
  a.attstorage::text, a.attcompression::text, a.attgenerated::text, pg_catalog.pg_get_expr(f.adbin, f.adrelid),
  a.attislocal
FROM pg_catalog.pg_attribute AS a JOIN pg_catalog.pg_class AS c ON c.oid = a.attrelid
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
  LEFT JOIN pg_catalog.pg_collation AS l ON l.oid = a.attcollation
  LEFT JOIN pg_catalog.pg_namespace AS ln ON ln.oid = l.collnamespace
  LEFT JOIN pg_catalog.pg_attrdef AS f ON f.adrelid = a.attrelid AND f.adnum = a.attnum AND a.attgenerated <> ''
WHERE a.attrelid = ANY (%s::pg_catalog.oid[]) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attrelid, a.attnum
"""
# Before 18 an heir could be rid of its parent's NOT NULL, or be without it from the beginning (ALTER TABLE ONLY).
_NULLABLE = """
SELECT n.nspname, c.relname, a.attname FROM pg_catalog.pg_attribute AS a
  JOIN pg_catalog.pg_class AS c ON c.oid = a.attrelid JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'f') AND NOT c.relispartition AND NOT a.attnotnull AND NOT a.attisdropped
  AND EXISTS (SELECT FROM pg_catalog.pg_inherits AS i JOIN pg_catalog.pg_attribute AS p ON p.attrelid = i.inhparent
    WHERE i.inhrelid = c.oid AND p.attname = a.attname AND p.attnotnull AND NOT p.attisdropped)
ORDER BY 1, 2, a.attnum
"""
# pg_dump gives an identity column's sequence its range, but the column's type, where it may not fit.
_IDENTITIES = """
SELECT n.nspname, c.relname, a.attname, pg_catalog.format('ALTER SEQUENCE %I.%I AS %s INCREMENT %s MINVALUE %s'
    ' MAXVALUE %s START %s RESTART %s', qn.nspname, q.relname, pg_catalog.format_type(s.seqtypid, NULL), s.seqincrement,
    s.seqmin, s.seqmax, s.seqstart, s.seqstart),
  CASE a.atttypid WHEN 21 THEN s.seqmin < -32768 OR s.seqmax > 32767
    WHEN 23 THEN s.seqmin < -2147483648 OR s.seqmax > 2147483647 ELSE false END
FROM pg_catalog.pg_sequence AS s JOIN pg_catalog.pg_class AS q ON q.oid = s.seqrelid
  JOIN pg_catalog.pg_namespace AS qn ON qn.oid = q.relnamespace
  JOIN pg_catalog.pg_depend AS d ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = q.oid
    AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.deptype = 'i'
  JOIN pg_catalog.pg_attribute AS a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
  JOIN pg_catalog.pg_class AS c ON c.oid = a.attrelid JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE a.attidentity <> '' AND s.seqtypid <> a.atttypid ORDER BY 1, 2, 3
"""
# Tables of whose row type another relation has a column.
_HELD = """
SELECT t.typrelid::bigint FROM pg_catalog.pg_type AS t WHERE t.typrelid = ANY (%s::pg_catalog.oid[]) AND EXISTS (
  SELECT FROM pg_catalog.pg_attribute AS a
  WHERE a.atttypid IN (t.oid, t.typarray) AND a.attrelid <> t.typrelid AND NOT a.attisdropped)
"""
_TAKEN = "SELECT typname FROM pg_catalog.pg_type WHERE typname ~ '^!scribe_columns'"  # tables have a type of their name
# A member has the xmin of the transaction that made it one, and what the last update made has the extension's. What
# comes later in that transaction has a greater cmin than the last member.
_VALUES = """
SELECT e.extname, e.extversion, pg_catalog.format('%I.%I', n.nspname, t.typname), v.enumlabel::text,
  v.xmin NOT IN (e.xmin, d.xmin) OR v.xmin = d.xmin AND v.cmin::text::bigint > (
    SELECT pg_catalog.max(o.cmin::text::bigint) FROM pg_catalog.pg_depend AS o
    WHERE o.refclassid = d.refclassid AND o.refobjid = d.refobjid AND o.deptype = 'e' AND o.xmin = d.xmin)
FROM pg_catalog.pg_depend AS d JOIN pg_catalog.pg_extension AS e ON e.oid = d.refobjid
  JOIN pg_catalog.pg_type AS t ON t.oid = d.objid JOIN pg_catalog.pg_namespace AS n ON n.oid = t.typnamespace
  JOIN pg_catalog.pg_enum AS v ON v.enumtypid = t.oid
WHERE d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND d.deptype = 'e'
  AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass ORDER BY 1, 3, v.enumsortorder
"""
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
  END LOOP;
"""
# The types that are there when the extension is: the server's, and its own. It is the first that a dump makes.
_ADDED_COLUMNS = """
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
  AND (a.xmin NOT IN (e.xmin, d.xmin) OR a.xmin = d.xmin AND a.cmin::text::bigint > (
    SELECT pg_catalog.max(o.cmin::text::bigint) FROM pg_catalog.pg_depend AS o
    WHERE o.refclassid = d.refclassid AND o.refobjid = d.refobjid AND o.deptype = 'e' AND o.xmin = d.xmin))
ORDER BY 1, 3, a.attnum
"""
_STORAGE = {"p": "PLAIN", "e": "EXTERNAL", "m": "MAIN", "x": "EXTENDED"}
_COMPRESSION = {"p": "pglz", "l": "lz4"}


_PLAIN = "Take bases in plain format (unset SCRIBE_DUMP_FORMAT), and a new one now."
Name = tuple[bytes, bytes]  # schema and name


@dataclass(frozen=True)
class AsMade:
    """Statements that pg_dump lacks, by the name that it gives a type or table, in the database's encoding.

    ranges: for after a range type; heirs: for before a table, its further parent, for after it; nullable: for after a
    table, too; unordered: tables whose columns come in another order in any base; held: tables of whose row type there
    are values; before_rows: for before the first rows, with which generated columns are computed; members: for after an
    extension; added: what that is, for people; lost: such things that are in no base; identities: for after a column's
    identity, whose sequence gets its range there; beyond: columns whose sequence has a range that their type has not.
    """

    ranges: Mapping[Name, bytes] = field(default_factory=dict)
    heirs: Mapping[Name, tuple[bytes, bytes, bytes]] = field(default_factory=dict)
    unordered: tuple[Name, ...] = ()
    held: frozenset[Name] = frozenset()
    before_rows: bytes = b""
    members: Mapping[bytes, bytes] = field(default_factory=dict)
    added: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    nullable: Mapping[Name, bytes] = field(default_factory=dict)
    identities: Mapping[tuple[bytes, bytes, bytes], bytes] = field(default_factory=dict)
    beyond: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        tables = self.heirs or self.nullable or self.identities
        return bool(self.ranges or tables or self.before_rows or self.members)

    def warnings(self, form: str) -> list[tuple[str, str]]:
        """Return what a base of that format (plain or directory) does to values, and what to do about it."""
        plain = form == "plain"
        said = []
        for what in self.lost if plain else [*self.lost, *self.added]:
            hint = "Rehearse the archive: rows may need that." if what in self.lost else _PLAIN
            said.append((f"{what} is in no such base, as pg_dump has nothing of an extension but its creation", hint))
        for name in () if plain else self.ranges:
            text = (
                f"the constructors of range type {_shown(name)} have another name or schema than it, which only a base"
            )
            said.append((f"{text} in plain format keeps: a restore stops at what calls them", _PLAIN))
        for name in () if plain else self.nullable:
            text = f"{_shown(name)} may have NULL where a table that it inherits from may not"
            said.append((f"{text}, which only a base in plain format keeps: a restore stops at such a row", _PLAIN))
        for column in () if plain else self.beyond:
            text = f"the sequence of identity column {column} has a range beyond the column's, which only a base"
            said.append((f"{text} in plain format keeps: a restore stops there", _PLAIN))
        for name in self.unordered if plain else [*self.heirs, *self.unordered]:
            if name in self.held:
                text = f"the columns of {_shown(name)}, which inherits some, come in another order in a restore"
                hint = _PLAIN if name in self.heirs else "Keep rows of that table as jsonb, or in a type of their own."
                said.append((f"{text}, where values of its row type are read into other columns", hint))
        if self.before_rows and not plain:
            text = "the server's own text search configurations were changed, which this base does after the rows"
            said.append((f"{text}: columns generated with them may differ in a restore", _PLAIN))
        return said


def find_as_made(conn: psycopg.Connection[Any]) -> AsMade:
    """Return what pg_dump would make otherwise; conn has an empty search_path."""
    encoding = conn.execute("SHOW server_encoding").fetchone()
    assert encoding is not None

    def encode(text: str) -> bytes:
        (converted,) = conn.execute("SELECT pg_catalog.convert_to(%s, %s)", [text, encoding[0]]).fetchone() or (b"",)
        return bytes(converted)

    ranges: dict[Name, bytes] = {}
    for schema, name, *row in conn.execute(_CONSTRUCTORS).fetchall():
        key = encode(schema), encode(name)
        ranges[key] = ranges.get(key, b"") + encode(_rename(schema, *row))
    heirs: dict[Name, tuple[bytes, bytes, bytes]] = {}
    unordered, held, helper = [], [], _HELPER
    found = list(_find_heirs(conn))
    rows = {relid for (relid,) in conn.execute(_HELD, [[relid for relid, _ in found]]).fetchall()} if found else set()
    taken = {name for (name,) in conn.execute(_TAKEN).fetchall()} if found else set()
    while helper in taken:
        helper += "_"
    for relid, columns in found:
        key = encode(columns[0][0]), encode(columns[0][1])
        if relid in rows:
            held.append(key)
        if conn.info.server_version < 160000 and any(local and generated for *_, generated, _, local in columns):
            unordered.append(key)  # such a column may not be a parent's, too
        else:
            before, parent, after = map(encode, _ordering(columns, helper))
            heirs[key] = before, parent, after
    nullable: dict[Name, bytes] = {}
    if conn.info.server_version < 180000:
        for schema, name, column in conn.execute(_NULLABLE).fetchall():
            key = encode(schema), encode(name)
            nullable[key] = nullable.get(key, b"") + encode(_without_not_null(_qualified(schema, name), column))
    before = b"".join(encode(f"{line};\n") for line in text_search(conn))
    members, added, lost = _find_added(conn)
    encoded = {encode(name): encode(text) for name, text in members.items()}
    sequences = conn.execute(_IDENTITIES).fetchall()
    identities = {
        (encode(schema), encode(name), encode(column)): encode(f"{text};\n")
        for schema, name, column, text, _ in sequences
    }
    beyond = tuple(
        f"{_qualified(schema, name)}.{quote_identifier(column)}"
        for schema, name, column, _, misfit in sequences
        if misfit
    )
    unmade = tuple(unordered), frozenset(held)
    return AsMade(ranges, heirs, *unmade, before, encoded, tuple(added), tuple(lost), nullable, identities, beyond)


def _find_added(conn: psycopg.Connection[Any]) -> tuple[dict[str, str], list[str], list[str]]:
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
            statements.setdefault(extension, []).append(_SET_VALUES.format(kind=quote_literal(kind), wanted=wanted))
            added += [f"value {quote_literal(label)} of type {kind}" for label, new in values if new]
    for extension, version, table, column, kind in conn.execute(_ADDED_COLUMNS).fetchall():
        (added if kind else lost).append(f"column {quote_identifier(column)} of table {table}")
        if kind:
            versions[extension] = version
            statement = f"  ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {quote_identifier(column)} {kind};\n"
            statements.setdefault(extension, []).append(statement)
    return {name: _if_same(name, versions[name], found) for name, found in statements.items()}, added, lost


def _if_same(extension: str, version: str, statements: list[str]) -> str:
    """Return what runs statements for a superuser, if the extension is of that version."""
    same = f"extname = {quote_literal(extension)} AND extversion = {quote_literal(version)}"
    body = "DECLARE wanted text[]; there text[]; kind text; at int; n int;\n"
    body += f"BEGIN {IF_SUPERUSER} IF EXISTS (SELECT FROM pg_catalog.pg_extension WHERE {same}) THEN\n"
    body += "".join(statements) + "END IF; END IF; END"
    return f"-- pg_scribe: what was added to it\nDO LANGUAGE plpgsql {quote_literal(body)};\n"


def _shown(name: Name) -> str:
    return ".".join(quote_identifier(part.decode(errors="replace")) for part in name)


def _rename(made_in: str, made_as: str, schema: str, name: str, arguments: str) -> str:
    """Return the statements that give a constructor its name and schema."""
    lines = ""
    if name != made_as:
        lines = f"ALTER FUNCTION {_qualified(made_in, made_as)}({arguments}) RENAME TO {quote_identifier(name)};\n"
    if schema != made_in:
        lines += f"ALTER FUNCTION {_qualified(made_in, name)}({arguments}) SET SCHEMA {quote_identifier(schema)};\n"
    return lines


def _without_not_null(table: str, column: str) -> str:
    """Return a statement for a column that its table's parents have as NOT NULL; servers from 18 on refuse that."""
    change = f"ALTER TABLE ONLY {table} ALTER COLUMN {quote_identifier(column)} DROP NOT NULL"
    older = "pg_catalog.current_setting('server_version_num')::pg_catalog.int4 < 180000"
    return f"DO LANGUAGE plpgsql {quote_literal(f'BEGIN IF {older} THEN {change}; END IF; END')};\n"


def _qualified(schema: str, name: str) -> str:
    return f"{quote_identifier(schema)}.{quote_identifier(name)}"


def _find_heirs(conn: psycopg.Connection[Any]) -> Iterator[tuple[int, list[tuple[Any, ...]]]]:
    """Yield OID and first columns of the tables whose columns CREATE TABLE would put into another order."""
    parents: dict[int, list[int]] = dict(conn.execute(_HEIRS).fetchall())
    if not parents:
        return
    columns: dict[int, list[tuple[Any, ...]]] = {}
    for relid, *column in conn.execute(_COLUMNS, [list({*parents, *sum(parents.values(), [])})]).fetchall():
        columns.setdefault(relid, []).append(tuple(column))
    for relid, above in parents.items():
        order = [column[2] for column in columns.get(relid, ())]
        inherited = list(dict.fromkeys(column[2] for parent in above for column in columns.get(parent, ())))
        # as few columns as will do
        first = next(n for n in range(len(order) + 1) if order == list(dict.fromkeys(order[:n] + inherited + order)))
        if first:
            yield relid, columns[relid][:first]


def _ordering(columns: list[tuple[Any, ...]], helper_name: str) -> tuple[str, str, str]:
    """Return the statements around CREATE TABLE, and the further parent that gives the columns their order."""
    schema, table = columns[0][:2]
    helper = _qualified(schema, helper_name)
    defined, altered = [], ""
    for _, _, column, kind, collation, storage, compression, generated, expression, _ in columns:
        name = quote_identifier(column)
        collate = f" COLLATE {collation}" if collation else ""
        computed = f" GENERATED ALWAYS AS ({expression})" if generated else ""
        defined.append(f"    {name} {kind}{collate}{computed}{' STORED' if generated == 's' else ''}")
        altered += f"ALTER TABLE {helper} ALTER COLUMN {name} SET STORAGE {_STORAGE[storage]};\n"
        if compression in _COMPRESSION:
            altered += f"ALTER TABLE {helper} ALTER COLUMN {name} SET COMPRESSION {_COMPRESSION[compression]};\n"
    before = "-- pg_scribe: the order of the next table's columns\n"
    before += f"CREATE TABLE {helper} (\n" + ",\n".join(defined) + f"\n);\n{altered}"
    after = f"ALTER TABLE {_qualified(schema, table)} NO INHERIT {helper};\nDROP TABLE {helper};\n"
    return before, helper, after


# --- the dump ---------------------------------------------------------------------------------------------------------


def made_alike(dump: Iterator[bytes], made: AsMade) -> Iterator[bytes]:
    """Yield a plain dump with what it lacks, in blocks; a line in a body stays as it is. Raises ScribeError."""
    yield from in_blocks(_parts(read_dump(dump), made))


def _parts(reader: Reader, made: AsMade) -> Iterator[bytes]:
    before_rows = made.before_rows
    for part in _as_made(reader, made):
        if part.startswith(b"COPY ") and part.endswith(b" FROM stdin;\n"):
            yield before_rows
            before_rows = b""
        yield part
    yield before_rows


def _as_made(reader: Reader, made: AsMade) -> Iterator[bytes]:
    within = b""
    while line := reader.take_line():
        first = not within
        within = quoting_after(line, within)
        if not first:
            yield line
        elif line.startswith(b"COPY ") and not within and line.endswith(b" FROM stdin;\n"):
            yield from reader.copy_text(line)
        elif line.startswith((*_STARTS, b"COPY ")):
            while within and (more := reader.take_line()):  # a line break in a name
                line += more
                within = quoting_after(more, within)
            if line.startswith(b"COPY ") and line.endswith(b" FROM stdin;\n"):
                yield from reader.copy_text(line)
            elif (kind := _RANGE.match(line)) and (name := _name(kind)) in made.ranges:
                yield from _statement(reader, line)
                yield made.ranges[name]
            elif (column := _IDENTITY.match(line)) and (*_name(column), plain_name(column[3])) in made.identities:
                for part in _statement(reader, line):
                    yield b"" if _RANGE_OF_SEQUENCE.match(part) else part
                yield made.identities[*_name(column), plain_name(column[3])]
            elif (made_of := _EXTENSION.match(line)) and (extension := plain_name(made_of[1])) in made.members:
                yield line
                yield made.members[extension]
            elif (table := _TABLE.match(line)) and _name(table) in {*made.heirs, *made.nullable}:
                before, parent, after = made.heirs.get(_name(table), (b"", b"", b""))
                begun = b"INHERITS (" + parent + b", " if parent else b"INHERITS ("
                yield before
                for part in _statement(reader, line):
                    yield part.replace(b"INHERITS (", begun, 1) if _inherits(part) else part
                yield after + made.nullable.get(_name(table), b"")
            else:
                yield line
        else:
            yield line


def _name(match: re.Match[bytes]) -> Name:
    return plain_name(match[1]), plain_name(match[2])


def _inherits(part: bytes) -> bool:
    return part.startswith(b"INHERITS (")


def _statement(reader: Reader, line: bytes) -> Iterator[bytes]:
    """Yield the parts of a statement that begins with line, each of whole lines that nothing quoted goes over."""
    yield line
    while line := reader.take_line():
        within = quoting_after(line, b"")
        while within and (more := reader.take_line()):
            line += more
            within = quoting_after(more, within)
        yield line
        if line.endswith(b";\n"):
            return
