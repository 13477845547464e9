"""What pg_dump makes otherwise than the source has it: ranges' functions, and the order of inherited columns.

A range type that was renamed or moved keeps its constructors where they were, while a new type has them beside it: what
calls them could not be made. CREATE TABLE ... INHERITS puts its parents' columns first, also one that came to them
later: a value of the table's row type would be read into other columns, and SELECT * would give another order. Another
parent for the length of a statement, with the columns in their order, sees to that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import psycopg

from scribe.archive.segments import Reader
from scribe.common.dialect import quote_identifier
from scribe.common.sqltext import quoting_after
from scribe.dump.validated import in_blocks, plain_name, read_dump
from scribe.source.unsaid import text_search

_HELPER = "!scribe_columns"  # the other parent
_QUOTED = rb'(?:[a-z_][a-z0-9_]*|"(?:[^"]|"")*")'
_NAME = rb"(" + _QUOTED + rb")\.(" + _QUOTED + rb")"
_RANGE = re.compile(rb"\ACREATE TYPE " + _NAME + rb" AS RANGE \(\n\Z")
_TABLE = re.compile(rb"\ACREATE (?:UNLOGGED |FOREIGN )?TABLE " + _NAME + rb" \(\n\Z")
_STARTS = (b"CREATE TYPE ", b"CREATE TABLE ", b"CREATE UNLOGGED TABLE ", b"CREATE FOREIGN TABLE ")

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

    ranges: for after a range type; heirs: for before a table, its further parent, for after it; unordered: tables whose
    columns come in another order in any base; held: tables of whose row type there are values; before_rows: for before
    the first rows, with which generated columns are computed.
    """

    ranges: Mapping[Name, bytes] = field(default_factory=dict)
    heirs: Mapping[Name, tuple[bytes, bytes, bytes]] = field(default_factory=dict)
    unordered: tuple[Name, ...] = ()
    held: frozenset[Name] = frozenset()
    before_rows: bytes = b""

    def __bool__(self) -> bool:
        return bool(self.ranges or self.heirs or self.before_rows)

    def warnings(self, form: str) -> list[tuple[str, str]]:
        """Return what a base of that format (plain or directory) does to values, and what to do about it."""
        plain = form == "plain"
        said = []
        for name in () if plain else self.ranges:
            text = (
                f"the constructors of range type {_shown(name)} have another name or schema than it, which only a base"
            )
            said.append((f"{text} in plain format keeps: a restore stops at what calls them", _PLAIN))
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
    before = b"".join(encode(f"{line};\n") for line in text_search(conn))
    return AsMade(ranges, heirs, tuple(unordered), frozenset(held), before)


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
            elif (table := _TABLE.match(line)) and (name := _name(table)) in made.heirs:
                before, parent, after = made.heirs[name]
                yield before
                for part in _statement(reader, line):
                    yield part.replace(b"INHERITS (", b"INHERITS (" + parent + b", ", 1) if _inherits(part) else part
                yield after
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
