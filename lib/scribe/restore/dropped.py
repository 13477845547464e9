"""What a transaction dropped: the objects that are in a copy before it and not after, as SQL that makes them again.

pg_dump tells: the entries of its table of contents that are gone are what is given back, with all that went by CASCADE.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from scribe.common.dialect import quote_literal, quote_name
from scribe.common.errors import ScribeError
from scribe.dump.source_record import digest_schema
from scribe.restore.copies import Copy
from scribe.restore.recording import SCHEMA, TRIGGER, read_row
from scribe.restore.rowtext import insert_rows, literal
from scribe.restore.throwaway import ROLE

_CHUNK = 500  # rows to a statement
_TABLES = f"""
SELECT c.oid::bigint, pg_catalog.format('%%I.%%I', n.nspname, c.relname), c.relkind::text,
  coalesce(pg_catalog.pg_partition_root(c.oid)::pg_catalog.regclass::text, ''),
  ARRAY(SELECT a.attname FROM pg_catalog.pg_attribute AS a WHERE a.attrelid = c.oid AND a.attnum > 0
    AND NOT a.attisdropped AND a.attgenerated = '' ORDER BY a.attnum),
  coalesce(nullif(pg_catalog.pg_get_userbyid(c.relowner), '{ROLE}'), '')
FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.oid = ANY (%s::oid[]) AND c.relkind IN ('r', 'S') ORDER BY 2
"""
_RELATIONS = (
    "SELECT oid::bigint FROM pg_catalog.pg_class WHERE oid >= 16384 AND relkind IN ('r', 'p', 'S', 'v', 'm', 'f')"
)


@dataclass
class Shot:
    """A copy's schema at one point. entries: of pg_dump's table of contents; digests: of the objects' definitions."""

    path: Path
    entries: list[str]
    digests: dict[str, str]
    relids: set[int]


@dataclass
class Given:
    """SQL that gives back what was dropped: before rows, rows by owner, and what is made once rows are there."""

    names: list[str] = field(default_factory=list)
    before: str = ""
    rows: list[tuple[str, str, int]] = field(default_factory=list)  # owner, statement, number of rows
    after: str = ""
    relids: set[int] = field(default_factory=set)


def take_shot(copy: Copy, path: Path) -> Shot:
    """Dump a copy's schema to a file. Raises ScribeError."""
    dump = [copy.cluster.find_program("pg_dump"), "-Fc", "--schema-only", "--no-password", "--no-subscriptions"]
    dump += ["--exclude-schema=scribe", f"--exclude-schema={SCHEMA}", f"--file={path}", copy.name]
    _run(copy, dump)
    listed = _run(copy, [copy.cluster.find_program("pg_restore"), "--list", str(path)]).decode()
    entries = [line for line in listed.splitlines() if line and not line.startswith(";") and TRIGGER not in line]
    plain = _run(copy, [copy.cluster.find_program("pg_restore"), "--file=-", str(path)])
    with copy.connected() as conn:
        relids = {row[0] for row in conn.execute(_RELATIONS).fetchall()}
    return Shot(path, entries, digest_schema(plain), relids)


def _run(copy: Copy, command: Sequence[str]) -> bytes:
    run = subprocess.run(command, env=copy.cluster.env, capture_output=True, check=False)
    if run.returncode != 0:
        said = run.stderr.decode(errors="replace").strip().splitlines()
        raise ScribeError(f"could not dump the schema: {said[0] if said else command[0]}")
    return run.stdout


def read_rows(copy: Copy, relids: set[int]) -> list[tuple[str, str, int]]:
    """Return statements that insert the rows of tables and set sequences, each with an owner and its number of rows."""
    found: list[tuple[str, str, int]] = []
    with copy.connected() as conn:
        for _, name, kind, root, columns, owner in conn.execute(_TABLES, [list(relids)]).fetchall():
            if kind == "S":
                value, called = _fetch(conn, f"SELECT last_value, is_called FROM {name}")
                call = f"SELECT pg_catalog.setval({quote_literal(name)}, {value}, {'true' if called else 'false'});\n"
                found.append((owner, call, 0))
            else:
                found += [(owner, text, rows) for text, rows in _inserts(conn, name, root or name, columns)]
    return found


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
    listing = before.path.with_suffix(".list")
    listing.write_text("".join(f"{entry}\n" for entry in gone))
    base = [copy.cluster.find_program("pg_restore"), "--file=-", f"--use-list={listing}"]
    texts = [
        _statements(_run(copy, [*base, f"--section={section}", str(before.path)]))
        for section in ("pre-data", "post-data")
    ]
    names = [_name(entry) for entry in gone]
    relids = before.relids - after.relids
    return Given(names, texts[0], read_rows(copy, relids), texts[1], relids)


_OWNERLESS = re.compile(rf"ALTER .* OWNER TO {ROLE};\n?")


def _identity(entry: str) -> str:
    """An entry without its number in the dump: OIDs of catalogue and object, kind, schema, name, owner."""
    return entry.partition("; ")[2]


def _name(entry: str) -> str:
    """Kind and name of an entry, without its owner."""
    return _identity(entry).split(" ", 2)[2].rpartition(" ")[0]


def _statements(text: bytes) -> str:
    """What pg_restore wrote between the settings at its beginning and the line at its end."""
    found = text.decode()
    first, last = found.find("\n-- Name: "), found.rfind("\n--\n-- PostgreSQL database dump complete")
    lines = found[first + 1 : last].strip("\n").splitlines(keepends=True) if first >= 0 else []
    # What had no owner in the archive gets none here either.
    return "".join(line for line in [*lines, "\n"] if not _OWNERLESS.fullmatch(line)) if lines else ""
