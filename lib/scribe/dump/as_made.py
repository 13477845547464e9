"""What pg_dump makes otherwise than the source has it: ranges' functions, the order of inherited columns, extensions.

A range type that was renamed or moved keeps its constructors where they were, while a new type has them beside it: what
calls them could not be made. CREATE TABLE ... INHERITS puts its parents' columns first, also one that came to them
later: a value of the table's row type would be read into other columns, and SELECT * would give another order. Another
parent for the length of a statement, with the columns in their order, sees to that. An heir also takes what its parents
have by then of storage, compression and defaults, and cannot be made if they differ. CREATE EXTENSION makes neither the
values that somebody added to an enum of the extension nor the columns of its tables, which rows may need.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import psycopg

from scribe.archive.segments import Reader
from scribe.common.dialect import quote_identifier, quote_literal, quote_name
from scribe.common.sqltext import quoting_after
from scribe.dump.extension_additions import find_added
from scribe.dump.validated import in_blocks, plain_name, read_dump
from scribe.source.unsaid import free_names, odd_sequences, text_search

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
  a.attislocal, ARRAY(SELECT u.attname FROM pg_catalog.pg_depend AS d JOIN pg_catalog.pg_attribute AS u
      ON u.attrelid = d.refobjid AND u.attnum = d.refobjsubid
    WHERE d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND d.objid = f.oid AND d.refobjid = a.attrelid)
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
# What ALTER TABLE ONLY gave a parent, or an heir, of its own.
_MERGED = """
SELECT n.nspname, c.relname, pn.nspname, p.relname, a.attname, a.attstorage::text, x.attstorage::text,
  a.attcompression::text, x.attcompression::text
FROM pg_catalog.pg_inherits AS i JOIN pg_catalog.pg_class AS c ON c.oid = i.inhrelid
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace JOIN pg_catalog.pg_class AS p ON p.oid = i.inhparent
  JOIN pg_catalog.pg_namespace AS pn ON pn.oid = p.relnamespace
  JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attinhcount > 0 AND NOT a.attisdropped
  JOIN pg_catalog.pg_attribute AS x ON x.attrelid = p.oid AND x.attname = a.attname AND NOT x.attisdropped
WHERE c.relkind = 'r' AND p.relkind = 'r' AND NOT c.relispartition
  AND (a.attstorage <> x.attstorage OR a.attcompression <> x.attcompression)
ORDER BY c.oid, i.inhseqno, a.attnum
"""
# Columns that pg_dump leaves to the parents, which have not the same default for them.
_DEFAULTS = """
SELECT n.nspname, c.relname, a.attname, pg_catalog.array_agg(pn.nspname::text ORDER BY i.inhseqno),
  pg_catalog.array_agg(p.relname::text ORDER BY i.inhseqno)
FROM pg_catalog.pg_inherits AS i JOIN pg_catalog.pg_class AS c ON c.oid = i.inhrelid
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace JOIN pg_catalog.pg_class AS p ON p.oid = i.inhparent
  JOIN pg_catalog.pg_namespace AS pn ON pn.oid = p.relnamespace
  JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND NOT a.attislocal AND NOT a.attisdropped
  JOIN pg_catalog.pg_attribute AS x ON x.attrelid = p.oid AND x.attname = a.attname AND x.attgenerated = ''
  JOIN pg_catalog.pg_attrdef AS f ON f.adrelid = x.attrelid AND f.adnum = x.attnum
WHERE NOT c.relispartition GROUP BY n.nspname, c.relname, c.oid, a.attname, a.attnum
HAVING pg_catalog.count(DISTINCT pg_catalog.pg_get_expr(f.adbin, f.adrelid)) > 1
ORDER BY c.oid, a.attnum
"""
# Tables of whose row type another relation has a column.
_HELD = """
SELECT t.typrelid::bigint FROM pg_catalog.pg_type AS t WHERE t.typrelid = ANY (%s::pg_catalog.oid[]) AND EXISTS (
  SELECT FROM pg_catalog.pg_attribute AS a
  WHERE a.atttypid IN (t.oid, t.typarray) AND a.attrelid <> t.typrelid AND NOT a.attisdropped)
"""
_TAKEN = "SELECT typname FROM pg_catalog.pg_type WHERE typname ~ '^!scribe_columns'"  # tables have a type of their name
_STORAGE = {"p": "PLAIN", "e": "EXTERNAL", "m": "MAIN", "x": "EXTENDED"}
_COMPRESSION = {"p": "pglz", "l": "lz4"}


_PLAIN = "Take bases in plain format (unset SCRIBE_DUMP_FORMAT), and a new one now."
Name = tuple[bytes, bytes]  # schema and name


@dataclass(frozen=True)
class AsMade:
    """Statements that pg_dump lacks, by the name that it gives a type or table, in the database's encoding.

    ranges: for after a range type; heirs: for before a table, its further parent, for after it; nullable: for after a
    table, too; merged: for before and after a table, whose parents differ from it; unordered: tables whose columns come
    in another order in any base; held: tables of whose row type there are values; before_rows: for before the first
    rows, with which generated columns are computed; members: for after an extension; added: what that is, for people;
    lost: such things that are in no base; identities: for after a column's identity, whose sequence gets its range
    there; beyond: columns whose sequence has a range that their type has not.
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
    merged: Mapping[Name, tuple[bytes, bytes]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        tables = self.heirs or self.nullable or self.identities or self.merged
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
        for name in () if plain else self.merged:
            text = f"{_shown(name)} has another storage, compression or default than a table that it inherits from"
            said.append((f"{text}, which only a base in plain format keeps: a restore may stop there", _PLAIN))
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
    unordered, held = [], []
    found = list(_find_heirs(conn))
    rows = {relid for (relid,) in conn.execute(_HELD, [[relid for relid, _ in found]]).fetchall()} if found else set()
    taken = {name for (name,) in conn.execute(_TAKEN).fetchall()} if found else set()
    helper = next(free_names(_HELPER, taken))
    for relid, columns in found:
        key = encode(columns[0][0]), encode(columns[0][1])
        if relid in rows:
            held.append(key)
        if conn.info.server_version < 160000 and any(local and generated for *_, generated, _, local, _ in columns):
            unordered.append(key)  # such a column may not be a parent's, too
        else:
            before, parent, after = map(encode, _ordering(columns, helper))
            heirs[key] = before, parent, after
    nullable: dict[Name, bytes] = {}
    if conn.info.server_version < 180000:
        for schema, name, column in conn.execute(_NULLABLE).fetchall():
            key = encode(schema), encode(name)
            nullable[key] = nullable.get(key, b"") + encode(_without_not_null(_qualified(schema, name), column))
    merged: dict[Name, tuple[bytes, bytes]] = {}
    for schema, name, around in _find_merged(conn):
        key = encode(schema), encode(name)
        begun, ended = merged.get(key, (b"", b""))
        merged[key] = begun + encode(around[0]), ended + encode(around[1])
    before = b"".join(encode(f"{line};\n") for line in text_search(conn))
    members, added, lost = find_added(conn)
    encoded = {encode(name): encode(text) for name, text in members.items()}
    odd = odd_sequences(conn)
    identities = {
        (encode(each.schema), encode(each.table), encode(each.column)): encode(
            f"{each.typed} INCREMENT {each.increment} START {each.start} RESTART {each.start};\n"
        )
        for each in odd
    }
    beyond = tuple(
        ".".join(map(quote_identifier, (each.schema, each.table, each.column))) for each in odd if each.misfit
    )
    unmade = tuple(unordered), frozenset(held)
    return AsMade(
        ranges, heirs, *unmade, before, encoded, tuple(added), tuple(lost), nullable, identities, beyond, merged
    )


def _shown(name: Name) -> str:
    return ".".join(quote_identifier(part.decode(errors="replace")) for part in name)


def _rename(made_in: str, made_as: str, schema: str, name: str, arguments: str) -> str:
    """Return the statements that give a constructor its name and schema."""
    lines = ""
    if name != made_as:
        lines = f"ALTER FUNCTION {_qualified(made_in, made_as)}({arguments}) RENAME TO {quote_name(name)};\n"
    if schema != made_in:
        lines += f"ALTER FUNCTION {_qualified(made_in, name)}({arguments}) SET SCHEMA {quote_name(schema)};\n"
    return lines


def _without_not_null(table: str, column: str) -> str:
    """Return a statement for a column that its table's parents have as NOT NULL; servers from 18 on refuse that."""
    change = f"ALTER TABLE ONLY {table} ALTER COLUMN {quote_name(column)} DROP NOT NULL"
    older = "pg_catalog.current_setting('server_version_num')::pg_catalog.int4 < 180000"
    return f"DO LANGUAGE plpgsql {quote_literal(f'BEGIN IF {older} THEN {change}; END IF; END')};\n"


def _find_merged(conn: psycopg.Connection[Any]) -> Iterator[tuple[str, str, tuple[str, str]]]:
    """Yield schema and name of an heir, and statements around CREATE TABLE that give it its own, not its parents'."""
    for schema, name, *parent, column, own, storage, own_way, way in conn.execute(_MERGED).fetchall():
        change = f"ALTER TABLE ONLY {_qualified(*parent)} ALTER COLUMN {quote_name(column)} SET"
        before = after = ""
        if own != storage:
            before, after = f"{change} STORAGE {_STORAGE[own]};\n", f"{change} STORAGE {_STORAGE[storage]};\n"
        if own_way != way:
            before += f"{change} COMPRESSION {_COMPRESSION.get(own_way, 'default')};\n"
            after += f"{change} COMPRESSION {_COMPRESSION.get(way, 'default')};\n"
        yield schema, name, (before, after)
    for schema, name, column, schemas, tables in conn.execute(_DEFAULTS).fetchall():
        for number, parent in enumerate(zip(schemas, tables, strict=True)):
            yield schema, name, _without_default(parent, column, f"pg_scribe.default_{number}")


def _without_default(table: tuple[str, str], column: str, kept: str) -> tuple[str, str]:
    """Return statements that take a column's default and bring it back, if it is there by then; kept: a setting."""
    change = f"ALTER TABLE ONLY {_qualified(*table)} ALTER COLUMN {quote_name(column)}"
    schema, name, attribute = map(quote_literal, (*table, column))
    found = (
        "SELECT pg_catalog.pg_get_expr(f.adbin, f.adrelid) FROM pg_catalog.pg_attrdef AS f"
        " JOIN pg_catalog.pg_attribute AS a ON a.attrelid = f.adrelid AND a.attnum = f.adnum"
        " JOIN pg_catalog.pg_class AS c ON c.oid = a.attrelid"
        " JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace"
        f" WHERE n.nspname = {schema} AND c.relname = {name} AND a.attname = {attribute}"
    )
    taken = f"BEGIN PERFORM pg_catalog.set_config('{kept}', ({found}), false); {change} DROP DEFAULT; END"
    setting = f"pg_catalog.current_setting('{kept}')"
    given = f"BEGIN IF {setting} <> '' THEN EXECUTE {quote_literal(f'{change} SET DEFAULT ')} || {setting}; END IF; END"
    return f"DO LANGUAGE plpgsql {quote_literal(taken)};\n", f"DO LANGUAGE plpgsql {quote_literal(given)};\n"


def _qualified(schema: str, name: str) -> str:
    return f"{quote_name(schema)}.{quote_name(name)}"


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
            yield relid, _with_used(columns[relid], first)


def _with_used(columns: list[tuple[Any, ...]], first: int) -> list[tuple[Any, ...]]:
    """Return a table's first columns, and as many more as expressions of generated ones among them use."""
    places = {column[2]: place for place, column in enumerate(columns, 1)}
    for place, (*_, used) in enumerate(columns, 1):
        if place <= first:  # which grows on the way
            first = max([first, *(places[name] for name in used)])
    return columns[:first]


def _ordering(columns: list[tuple[Any, ...]], helper_name: str) -> tuple[str, str, str]:
    """Return the statements around CREATE TABLE, and the further parent that gives the columns their order."""
    schema, table = columns[0][:2]
    helper = _qualified(schema, helper_name)
    defined, altered = [], ""
    for _, _, column, kind, collation, storage, compression, generated, expression, *_ in columns:
        name = quote_name(column)
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
            elif (table := _TABLE.match(line)) and _name(table) in {*made.heirs, *made.nullable, *made.merged}:
                before, parent, after = made.heirs.get(_name(table), (b"", b"", b""))
                merging, merged = made.merged.get(_name(table), (b"", b""))
                begun = b"INHERITS (" + parent + b", " if parent else b"INHERITS ("
                yield merging + before
                for part in _statement(reader, line):
                    yield part.replace(b"INHERITS (", begun, 1) if _inherits(part) else part
                yield after + merged + made.nullable.get(_name(table), b"")
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
