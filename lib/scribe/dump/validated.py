"""What the source has taken, and a base does not ask again: CHECKs that change, and foreign keys.

`until > now()` holds no more, a function looks at other tables or was replaced; rows came under
session_replication_role = replica, or past triggers that were disabled, and lack what they refer to. The source has the
rows all the same, so a copy takes them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import IO, Any, cast

import psycopg

from scribe.archive.segments import Reader
from scribe.common.dialect import ALL_CHECKS, CHECKS_THAT_CHANGE, IF_SUPERUSER
from scribe.common.sqltext import quoting_after

_BLOCK = 64 << 10  # bytes that are given out at once, at least
_NAME = rb'(?:[a-z_][a-z0-9_]*|"(?:[^"]|"")*")'
_ALTER = re.compile(rb"\AALTER TABLE ONLY ((?:" + _NAME + rb")\.(?:" + _NAME + rb"))\n\Z")
_FOREIGN_KEY = re.compile(
    rb"\A    ADD CONSTRAINT (" + _NAME + rb") FOREIGN KEY \(.*(?<! NOT VALID)(?<! NOT ENFORCED);\n\Z", re.DOTALL
)
# What pg_dump says and no server takes: the compression that a foreign table inherits, and the name that the trigger of
# a partition's constraint has on the source. What they are for comes at a base's end (scribe.source.unsaid).
_REFUSED = re.compile(
    rb"\AALTER FOREIGN TABLE ONLY .* SET COMPRESSION [a-z0-9]+;\n\Z"
    rb"|\AALTER TABLE .* (?:DISABLE|ENABLE(?: ALWAYS| REPLICA)?)"
    rb' TRIGGER "(?:RI|Unique)_ConstraintTrigger_(?:[ac]_)?\d+";\n\Z'
)
_COPY = re.compile(rb"\ACOPY (" + _NAME + rb")\.(" + _NAME + rb")(?: \(.*\))? FROM stdin;\n\Z", re.DOTALL)

# A partition's rows may be loaded through its root (by_root). The names are in the database's encoding, as pg_dump
# writes them.
_TABLES = f"""
WITH RECURSIVE checked (relid) AS (
  SELECT k.conrelid FROM pg_catalog.pg_constraint AS k WHERE {CHECKS_THAT_CHANGE}
  UNION SELECT i.inhparent FROM checked JOIN pg_catalog.pg_inherits AS i ON i.inhrelid = checked.relid
    JOIN pg_catalog.pg_class AS c ON c.oid = i.inhparent AND c.relkind = 'p')
SELECT pg_catalog.convert_to(n.nspname, d.encoding), pg_catalog.convert_to(c.relname, d.encoding)
FROM checked JOIN pg_catalog.pg_class AS c ON c.oid = checked.relid
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace,
  (SELECT pg_catalog.pg_encoding_to_char(encoding) AS encoding FROM pg_catalog.pg_database
   WHERE datname = pg_catalog.current_database()) AS d
WHERE n.nspname <> 'scribe'
"""
# Both find their rows by indexes: a catalog that was filled a moment ago has no statistics, and there may be thousands.
_SWITCH = (
    b"BEGIN " + IF_SUPERUSER.encode() + b" UPDATE pg_catalog.pg_class AS c SET relchecks = %b\n"
    b"  WHERE c.oid = ANY (ARRAY(SELECT %b::pg_catalog.regclass::pg_catalog.oid UNION ALL"
    b" SELECT relid FROM pg_catalog.pg_partition_tree(%b))); END IF; END"
)
# Those of partitions of the table that is referred to, too.
_VALID = (
    b"DECLARE ids pg_catalog.oid[]; BEGIN " + IF_SUPERUSER.encode() + b" ids := ARRAY("
    b"SELECT oid FROM pg_catalog.pg_constraint WHERE conrelid = %b::pg_catalog.regclass AND contype = 'f'"
    b" AND conname = %b);"
    b" WHILE ids <> '{}' LOOP UPDATE pg_catalog.pg_constraint SET convalidated = true WHERE oid = ANY (ids);"
    b" ids := ARRAY(SELECT oid FROM pg_catalog.pg_constraint WHERE conparentid = ANY (ids)); END LOOP;"
    b" ELSE ALTER TABLE ONLY %b VALIDATE CONSTRAINT %b; END IF; END"
)

Names = frozenset[tuple[bytes, bytes]]


class _Blocks:
    """Blocks, read as a file is. read() returns the next one, whatever its size."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks

    def read(self, size: int) -> bytes:
        return next((block for block in self._blocks if block), b"")


def read_dump(dump: Iterator[bytes]) -> Reader:
    """Return a reader of what pg_dump writes, which comes in blocks."""
    return Reader(cast(IO[bytes], _Blocks(dump)), "pg_dump's output")


def in_blocks(parts: Iterator[bytes]) -> Iterator[bytes]:
    """Yield parts, joined so that none but the last is small."""
    held: list[bytes] = []
    size = 0
    for part in parts:
        held.append(part)
        size += len(part)
        if size >= _BLOCK:
            yield b"".join(held)
            held, size = [], 0
    yield b"".join(held)


def find_checked(conn: psycopg.Connection[Any]) -> Names:
    """Return schema and name, in the database's encoding, of the tables into which rows go without their CHECKs."""
    return frozenset((bytes(schema), bytes(name)) for schema, name in conn.execute(_TABLES.encode()).fetchall())


def without_validation(dump: Iterator[bytes], tables: Names = frozenset(), *, keys: bool = True) -> Iterator[bytes]:
    """Yield a plain dump with lines around the COPYs of tables, and foreign keys that take all rows (keys), in blocks.

    A line in a function's body that only looks like such a statement stays as it is, and so does a foreign key of a
    partitioned table, which older servers cannot make NOT VALID. Raises ScribeError.
    """
    yield from in_blocks(_parts(read_dump(dump), tables, keys))


def _parts(reader: Reader, tables: Names, keys: bool) -> Iterator[bytes]:
    within = b""
    while line := reader.take_line():
        if keys and not within and line.startswith(b"ALTER TABLE ONLY "):
            line = _whole(reader, line)
            if altered := _ALTER.match(line):
                yield line
                line = _whole(reader, reader.take_line())
                if key := _FOREIGN_KEY.match(line):
                    yield line[: -len(b";\n")] + b" NOT VALID;\n"
                    yield _block(_VALID % (_literal(altered[1]), _literal(plain_name(key[1])), altered[1], key[1]))
                    continue
        if not within and _REFUSED.match(line):
            continue
        copying = not within and line.startswith(b"COPY ")
        within = quoting_after(line, within)
        while copying and within and (more := reader.take_line()):  # a line break in the table's name
            line += more
            within = quoting_after(more, within)
        if not copying or not line.endswith(b" FROM stdin;\n"):
            yield line
            continue
        match = _COPY.match(line)
        if match is None or (plain_name(match[1]), plain_name(match[2])) not in tables:
            yield from reader.copy_text(line)
            continue
        table = _literal(match[1] + b"." + match[2])
        yield b"-- pg_scribe: its CHECKs are at rest, since the source took the rows\n"
        yield _block(_SWITCH % (b"0", table, table))
        yield from reader.copy_text(line)
        yield _block(_SWITCH % (ALL_CHECKS.encode(), table, table))


def _whole(reader: Reader, line: bytes) -> bytes:
    """Return a line with those after it, as far as something quoted goes on: a line break in a name."""
    within = quoting_after(line, b"")
    while within and (more := reader.take_line()):
        line += more
        within = quoting_after(more, within)
    return line


def _block(body: bytes) -> bytes:
    return b"DO LANGUAGE plpgsql " + _literal(body) + b";\n"


def _literal(text: bytes) -> bytes:
    return b"'" + text.replace(b"'", b"''") + b"'"


def plain_name(name: bytes) -> bytes:
    """Return a name as it is in the catalog."""
    return name[1:-1].replace(b'""', b'"') if name.startswith(b'"') else name
