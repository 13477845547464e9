"""What a transaction dropped: the objects that are in a copy before it and not after, as SQL that makes them again.

pg_dump tells: the entries of its table of contents that are gone are what is given back, with all that went by CASCADE.
"""

from __future__ import annotations

import io
import itertools
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from scribe.common.dialect import quote_identifier, quote_literal, quote_name
from scribe.common.errors import ScribeError
from scribe.common.sqltext import quoting_after
from scribe.dump.source_record import digest_schema
from scribe.restore.constraints import Table, sql_name
from scribe.restore.copies import Copy
from scribe.restore.owners import without_owners
from scribe.restore.recording import SCHEMA, read_row
from scribe.restore.rowtext import Relation, advance_sequences, insert_rows, literal, read_relations
from scribe.restore.throwaway import ROLE

_CHUNK = 500  # rows to a statement
_OWNER = f"coalesce(nullif(pg_catalog.pg_get_userbyid(c.relowner), '{ROLE}'), '')"
_TABLES = f"""
SELECT n.nspname, c.relname, c.relkind::text, rn.nspname, r.relname,
  ARRAY(SELECT a.attname FROM pg_catalog.pg_attribute AS a WHERE a.attrelid = c.oid AND a.attnum > 0
    AND NOT a.attisdropped AND a.attgenerated = '' ORDER BY a.attnum), {_OWNER}
FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_class AS r ON c.relispartition AND r.oid = pg_catalog.pg_partition_root(c.oid)
LEFT JOIN pg_catalog.pg_namespace AS rn ON rn.oid = r.relnamespace
WHERE c.oid = ANY (%s::oid[]) AND c.relkind IN ('r', 'S') ORDER BY 1, 2
"""
_RELATIONS = (
    "SELECT oid::bigint FROM pg_catalog.pg_class WHERE oid >= 16384 AND relkind IN ('r', 'p', 'S', 'v', 'm', 'f')"
)
_OURS = f"""
SELECT pg_catalog.concat_ws(' ', t.tableoid::pg_catalog.int8, t.oid) FROM pg_catalog.pg_trigger AS t
WHERE t.tgfoid = pg_catalog.to_regprocedure('{SCHEMA}.note()')
"""
# Whose is what may hold expressions, by the numbers that pg_restore gives an entry. The rest of what DROP takes holds
# none: schemas, types other than domains, comments, privileges and so on.
_MAKERS = f"""
SELECT o.tableoid::pg_catalog.int8, o.oid::pg_catalog.int8, pg_catalog.pg_get_userbyid(o.owner) FROM (
  SELECT tableoid, oid, relowner AS owner FROM pg_catalog.pg_class
  UNION ALL SELECT tableoid, oid, proowner FROM pg_catalog.pg_proc
  UNION ALL SELECT tableoid, oid, typowner FROM pg_catalog.pg_type WHERE typtype = 'd'
  UNION ALL SELECT tableoid, oid, stxowner FROM pg_catalog.pg_statistic_ext
  UNION ALL SELECT k.tableoid, k.oid, t.typowner FROM pg_catalog.pg_constraint AS k
    JOIN pg_catalog.pg_type AS t ON t.oid = k.contypid
  UNION ALL SELECT p.tableoid, p.oid, c.relowner FROM pg_catalog.pg_class AS c JOIN (
    SELECT tableoid, oid, conrelid AS relid FROM pg_catalog.pg_constraint
    UNION ALL SELECT tableoid, oid, ev_class FROM pg_catalog.pg_rewrite
    UNION ALL SELECT tableoid, oid, tgrelid FROM pg_catalog.pg_trigger
    UNION ALL SELECT tableoid, oid, polrelid FROM pg_catalog.pg_policy
    UNION ALL SELECT tableoid, oid, adrelid FROM pg_catalog.pg_attrdef) AS p ON p.relid = c.oid) AS o
WHERE o.oid >= 16384 AND pg_catalog.pg_get_userbyid(o.owner) <> '{ROLE}'
"""
_ATTACHED = "SELECT inhrelid::bigint, inhparent::bigint FROM pg_catalog.pg_inherits"
# These run or plan what belongs to the table's owner: functions of CHECKs, domains and indexes.
_ATTACH = f"""
SELECT {_OWNER}, pg_catalog.format('ALTER TABLE ONLY %%I.%%I ATTACH PARTITION %%I.%%I %%s;%%s', n.nspname, c.relname,
  pn.nspname, p.relname, pg_catalog.pg_get_expr(p.relpartbound, p.oid), E'\\n')
FROM unnest(%s::oid[]) WITH ORDINALITY AS x (oid, i) JOIN pg_catalog.pg_class AS p ON p.oid = x.oid AND p.relispartition
  AND p.relkind <> 'I' AND p.relkind <> 'i'
JOIN pg_catalog.pg_namespace AS pn ON pn.oid = p.relnamespace JOIN pg_catalog.pg_inherits AS h ON h.inhrelid = p.oid
JOIN pg_catalog.pg_class AS c ON c.oid = h.inhparent JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
ORDER BY x.i
"""
_FOREIGN_KEYS = f"""
SELECT {_OWNER}, pg_catalog.format('ALTER TABLE %%s%%I.%%I ADD CONSTRAINT %%I %%s;%%s',
  CASE c.relkind WHEN 'p' THEN '' ELSE 'ONLY ' END, n.nspname, c.relname, k.conname,
  pg_catalog.pg_get_constraintdef(k.oid), E'\\n')
FROM unnest(%s::oid[]) WITH ORDINALITY AS x (oid, i) JOIN pg_catalog.pg_constraint AS k ON k.oid = x.oid
JOIN pg_catalog.pg_class AS c ON c.oid = k.conrelid JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
ORDER BY x.i
"""

# pg_dump of a schema alone leaves materialized views empty.
_REFRESH = f"""
SELECT {_OWNER}, pg_catalog.format('REFRESH MATERIALIZED VIEW %%I.%%I;%%s', n.nspname, c.relname, E'\\n')
FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.oid = ANY (%s::oid[]) AND c.relkind = 'm' AND c.relispopulated ORDER BY c.oid
"""


@dataclass
class Shot:
    """A copy's schema at one point. entries: of pg_dump's table of contents; digests: of the objects' definitions."""

    path: Path
    entries: list[str]
    digests: dict[str, str]
    relids: set[int]
    attached: list[tuple[int, int]]  # partitions and their parents


@dataclass(frozen=True)
class Piece:
    """Some SQL. owner: with whose rights it is to run, empty for those of the caller.

    tables: that it names; the first is the owner's. maker: with whose rights it makes objects in a database that is in
    use, where to read a constant of a domain's array runs the domain's CHECKs.
    """

    owner: str
    text: str
    tables: tuple[Table, ...] = ()
    maker: str = ""


@dataclass
class Given:
    """SQL that gives back what was dropped: what rows need, the rows, and what is made once they are there."""

    names: list[str] = field(default_factory=list)
    before: list[Piece] = field(default_factory=list)
    rows: list[Piece] = field(default_factory=list)
    after: list[Piece] = field(default_factory=list)
    relids: set[int] = field(default_factory=set)
    relations: dict[int, Relation] = field(default_factory=dict)
    sequences: dict[int, str] = field(default_factory=dict)  # what moves a relation's own
    count: int = 0  # rows


def take_shot(copy: Copy, path: Path) -> Shot:
    """Dump a copy's schema to a file. Raises ScribeError."""
    dump = [copy.cluster.find_program("pg_dump"), "-Fc", "--schema-only", "--no-password", "--no-subscriptions"]
    dump += ["--exclude-schema=scribe", f"--exclude-schema={SCHEMA}", f"--file={path}", copy.name]
    _run(copy, dump)
    listed = _run(copy, [copy.cluster.find_program("pg_restore"), "--list", str(path)]).decode()
    entries = [line for line in listed.split("\n") if line and not line.startswith(";")]  # names may hold other breaks
    plain = _run(copy, [copy.cluster.find_program("pg_restore"), "--file=-", str(path)])
    with copy.connected() as conn:
        relids = {row[0] for row in conn.execute(_RELATIONS).fetchall()}
        attached = conn.execute(_ATTACHED).fetchall()
        ours = {row[0] for row in conn.execute(_OURS.encode()).fetchall()}
    entries = [entry for entry in entries if " ".join(entry.split()[1:3]) not in ours]
    return Shot(path, entries, digest_schema(plain), relids, attached)


def _run(copy: Copy, command: Sequence[str]) -> bytes:
    run = subprocess.run(command, env=copy.cluster.env, capture_output=True, check=False)
    if run.returncode != 0:
        said = run.stderr.decode(errors="replace").strip().splitlines()
        raise ScribeError(f"could not dump the schema: {said[0] if said else command[0]}")
    return run.stdout


def read_rows(copy: Copy, relids: set[int]) -> Iterator[tuple[Piece, int]]:
    """Yield statements that insert the rows of tables and set sequences, each with its number of rows."""
    with copy.connected() as conn:
        for schema, name, kind, root_schema, root, columns, owner in conn.execute(_TABLES, [list(relids)]).fetchall():
            own = sql_name((schema, name))
            if kind == "S":
                value, called = _fetch(conn, f"SELECT last_value, is_called FROM {own}")
                named = ".".join(quote_identifier(part, force=True) for part in (schema, name))  # as regclass reads it
                yield Piece(owner, f"SELECT pg_catalog.setval({quote_literal(named)}, {value}, {called});\n"), 0
            else:
                into = (root_schema, root) if root is not None else (schema, name)
                for text, rows in _inserts(conn, own, sql_name(into), columns):
                    yield Piece(owner, text, (into,)), rows


def _fetch(conn: psycopg.Connection[tuple[object, ...]], query: str) -> tuple[object, ...]:
    row = conn.execute(query.encode()).fetchone()
    assert row is not None
    return row


def _inserts(
    conn: psycopg.Connection[tuple[object, ...]], name: str, into: str, columns: Sequence[str]
) -> Iterator[tuple[str, int]]:
    names = ", ".join(f"scribe_row.{quote_name(column)}" for column in columns)
    query = f"SELECT ROW({names})::pg_catalog.text FROM ONLY {name} AS scribe_row"
    with conn.transaction(), conn.cursor("scribe_rows") as cursor:
        cursor.execute(query.encode())
        while batch := cursor.fetchmany(_CHUNK):
            rows = [[literal(value) for value in read_row(str(text), len(columns))] for (text,) in batch]
            yield insert_rows(into, columns, rows), len(rows)


def give_back(copy: Copy, before: Shot, after: Shot, what: str) -> Given:
    """Return the SQL that makes what is in one shot and not in the next.

    copy: as it was at the first; what: the transaction, for messages. Raises ScribeError where more has changed than
    that objects are gone.
    """
    there = {_identity(entry) for entry in after.entries}
    gone = [entry for entry in before.entries if _identity(entry) not in there]
    kept = {_identity(entry) for entry in before.entries}
    made = [entry for entry in after.entries if _identity(entry) not in kept]
    changed = sorted(k for k in before.digests.keys() & after.digests.keys() if before.digests[k] != after.digests[k])
    if made or changed:
        name = changed[0] if changed else _name(made[0])
        raise ScribeError(
            f"{what} has made or changed {name}, which scribe-undo cannot take back",
            "Take its rows back alone with --kind insert,update,delete,truncate, or see how it was before with"
            " scribe-peek --target-xid and --target-exclusive.",
        )
    relids = before.relids - after.relids
    given = Given([_name(entry) for entry in gone], relids=relids)
    detached = [relid for relid, parent in before.attached if (relid, parent) not in after.attached]
    with copy.connected() as conn:
        makers = {(tableoid, oid): name for tableoid, oid, name in conn.execute(_MAKERS.encode()).fetchall()}
    for kind, entries in itertools.groupby(gone, _kind):
        if kind == "TABLE ATTACH":
            given.before += _own_pieces(copy, _ATTACH, detached)
            detached = []
        elif kind == "FK CONSTRAINT":
            given.after += _own_pieces(copy, _FOREIGN_KEYS, [int(entry.split()[2]) for entry in entries])
        else:
            listing = before.path.with_suffix(".list")
            listing.write_text("".join(f"{entry}\n" for entry in entries))
            base = [copy.cluster.find_program("pg_restore"), "--verbose", "--file=-", f"--use-list={listing}"]
            given.before += split_dump(_run(copy, [*base, "--section=pre-data", str(before.path)]), makers)
            given.after += split_dump(_run(copy, [*base, "--section=post-data", str(before.path)]), makers)
    given.after += _own_pieces(copy, _REFRESH, sorted(relids))
    for piece, count in read_rows(copy, relids):
        given.rows.append(piece)
        given.count += count
    with copy.connected() as conn:
        given.relations = read_relations(conn, sorted(relids))
        given.sequences = {relid: advance_sequences(conn, each) for relid, each in given.relations.items()}
    return given


def _own_pieces(copy: Copy, query: str, oids: Sequence[int]) -> list[Piece]:
    with copy.connected() as conn:
        return [Piece(owner, text) for owner, text in conn.execute(query.encode(), [list(oids)]).fetchall()]


_KIND = re.compile(r"\d+; \d+ \d+ (TABLE ATTACH|FK CONSTRAINT|(?:ACL - )?SCHEMA)(?: |$)")


def _kind(entry: str) -> str:
    """The kind of an entry if it is one of those that are made by themselves.

    The privileges on a schema, which pg_restore puts after all objects, are what their owners make them by.
    """
    found = _KIND.match(entry)
    return found[1].removeprefix("ACL - ") if found else ""


def _identity(entry: str) -> str:
    """An entry without its number in the dump: OIDs of catalogue and object, kind, schema, name, owner."""
    return entry.partition("; ")[2]


def _name(entry: str) -> str:
    """Kind and name of an entry, without its owner."""
    return _identity(entry).split(" ", 2)[2].rpartition(" ")[0]


_ENTRY = re.compile(rb"-- TOC entry \d+ \(class (\d+) OID (\d+)\)\n\Z")
_OF_VERBOSE = re.compile(rb"-- (?:TOC entry|Dependencies:|Completed on) ")
_STORAGE = re.compile(rb"SET (default_tablespace|default_table_access_method) = ")


def split_dump(text: bytes, makers: Mapping[tuple[int, int], str]) -> list[Piece]:
    """What pg_restore wrote (--verbose) between the settings at its beginning and the line at its end.

    makers: who has the rights to make an entry's object, by the numbers of the entry.
    """
    last = text.rfind(b"\n--\n-- PostgreSQL database dump complete")
    # What had no owner in the archive gets none here either.
    stream = io.BytesIO(text[: last + 1])
    pieces: list[tuple[str, list[bytes]]] = []
    storage: dict[bytes, bytes] = {}  # what pg_restore has set for the objects that follow; each piece sets it again
    within = b""
    for line in without_owners(stream, "the schema's dump", ROLE):
        if not within and (entry := _ENTRY.match(line)):
            maker = makers.get((int(entry[1]), int(entry[2])), "")
            if not pieces or pieces[-1][0] != maker:
                pieces.append((maker, [*storage.values(), b"--\n"]))
        elif not within and (found := _STORAGE.match(line)):
            storage[found[1]] = line
        if pieces and (within or not _OF_VERBOSE.match(line)):
            pieces[-1][1].append(line)
        within = quoting_after(line, within)
    return [Piece("", b"".join(lines).decode(), maker=maker) for maker, lines in pieces]
