"""What the source held at an exact point, each table's rows and the schema, for a rehearsal to be compared with.

The point is the consistent point of a temporary slot, as for a base, a segment ends there, and one that reaches beyond
it keeps the record in its manifest. The schema is pg_dump's, as one digest for each object, so that a difference has a
name. A record of all tables has what else a base of that point says of the source, so that one can be made without it.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import secrets
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import psycopg

from scribe.archive.layout import Archive
from scribe.common.cli import Talk
from scribe.common.errors import ScribeError, TryAgainError
from scribe.common.files import read_archived
from scribe.common.lsn import format_lsn, parse_lsn
from scribe.common.postgres import child_environment, connect, fetch_value, find_program, patient_options
from scribe.common.process import die_with
from scribe.decoders.registry import decoder_of
from scribe.dump.base import LOCK_WAIT, begin_cut, ending, refuse_other_timeline
from scribe.dump.contents import TEXT_OPTIONS, Contents, choose_tables, read_contents
from scribe.dump.gate import NoGate
from scribe.dump.guard import Guard, MovedError, Table, in_snapshot, read_tables
from scribe.source import largeobjects
from scribe.source.metadata import (
    database_acl,
    database_sql,
    describe_database,
    hidden_contents,
    newest_globals,
    refresh_globals,
    utc_now,
)
from scribe.source.ownership import has_table
from scribe.source.server import read_sequences
from scribe.source.slot import Export, create_slot

ATTEMPTS = 3
_OBJECT = re.compile(rb"(?m)^--\n-- (?:Data for )?Name: (.*); Type: ([A-Z ]+); Schema: ([^;]*); Owner: .*$")
_NOISE = re.compile(rb"(?m)^(?:--.*|\\(?:un)?restrict .*|SET .*|SELECT pg_catalog\.set_config.*)?\n")
_OWN = re.compile(r"(EVENT TRIGGER|PUBLICATION|COMMENT) - ((EVENT TRIGGER|PUBLICATION) )?\"?!?scribe_")
# Of a partition, pg_dump says which triggers of its foreign keys are switched off or on. Their names hold OIDs, which
# are others in a copy.
_NUMBERED = re.compile(
    rb"(?s)\AALTER TABLE .* ((?:DIS|EN)ABLE(?: ALWAYS| REPLICA)?) TRIGGER"
    rb' "(?:RI|Unique)_ConstraintTrigger_(?:[ac]_)?\d+";\n\Z'
)
_UNLOGGED = "SELECT oid::bigint FROM pg_catalog.pg_class WHERE relpersistence = 'u' AND relkind = 'r'"
_DDL = "SELECT pg_catalog.count(*) FROM scribe.ddl_history"


@dataclass(frozen=True)
class Record:
    """What the source held at lsn. rows, contents: by table; objects: digest by type and name; pg_dump: its version.

    complete: whether every table is there, and not only those whose turn it was; source: if so, what a base of that
    point says beside its rows and schema.
    """

    lsn: int
    time: str
    rows: Mapping[str, int]
    objects: Mapping[str, str]
    server_version: str
    pg_dump: int
    contents: Mapping[str, Contents]
    complete: bool = True
    source: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return it for a segment's manifest."""
        return {
            "lsn": format_lsn(self.lsn),
            "time": self.time,
            "server_version": self.server_version,
            "pg_dump": self.pg_dump,
            "rows": dict(self.rows),
            "schema": dict(self.objects),
            "contents": {name: contents.as_json() for name, contents in sorted(self.contents.items())},
            "complete": self.complete,
            **({"source": dict(self.source)} if self.source else {}),
        }


@dataclass(frozen=True)
class Share:
    """Which tables are to be read. percent: of all pages; known: by name, the LSN of a table's last record."""

    percent: int = 100
    known: Mapping[str, int] = field(default_factory=dict)


def read_share(archive: Archive, percent: int) -> Share:
    """Return the share to record, after what the archive's segments say of earlier records."""
    known: dict[str, int] = {}
    for segment in archive.segments() if percent < 100 else ():
        recorded = segment.manifest.get("recorded", {})
        known |= dict.fromkeys(recorded.get("contents", {}), parse_lsn(recorded.get("lsn", "0/0")))
    return Share(percent, known)


def take_record(
    archive: Archive,
    conn: psycopg.Connection[Any],
    talk: Talk,
    *,
    plugin: str,
    wait: float,
    share: Share | None = None,
) -> Record:
    """Count and digest the source at a point of its WAL, at which a segment will end.

    conn: to the source; plugin: the slot's; wait: seconds for its creation; share: all tables if None.
    Raises TryAgainError where transactions or schema changes are in the way.
    """
    refuse_other_timeline(archive, conn)
    fault = ""
    for _ in range(ATTEMPTS):
        export = _begin(archive, conn, plugin, wait)
        with export.conn:
            try:
                return _look(archive, conn, export, talk, share or Share())
            except MovedError as error:
                fault = error.message
    raise TryAgainError(f"could not record what the source holds: {fault}", "Run it again at a quieter time.")


def _begin(archive: Archive, conn: psycopg.Connection[Any], plugin: str, wait: float) -> Export:
    """Create a temporary slot. No cut is made for a decoder to which it costs another decoding of everything."""
    if decoder_of(archive.identity()).points == "transaction":
        return begin_cut(archive, conn, NoGate(), plugin=plugin, wait=wait)
    return create_slot(conn, f"scribe_record_{os.getpid()}_{secrets.token_hex(3)}", plugin, temporary=True, wait=wait)


def _look(archive: Archive, conn: psycopg.Connection[Any], export: Export, talk: Talk, share: Share) -> Record:
    began, options = utc_now(), f"{patient_options(conn)} {TEXT_OPTIONS}"
    with connect(options=options) as reader, in_snapshot(reader, export.snapshot):
        before = read_tables(reader)
        unlogged = {row[0] for row in reader.execute(_UNLOGGED).fetchall()}
        ddl = _count_ddl(reader)
        chosen = choose_tables(reader, _readable(before, unlogged), share.known, share.percent)
        source = _describe_source(archive, conn, reader) if share.percent == 100 else {}
    talk.note(f"reading {len(chosen)} of {len(before)} tables at {format_lsn(export.consistent_point)}")
    contents: dict[str, Contents] = {}

    def measure(counter: psycopg.Connection[Any], table: Table) -> int:
        found = contents[table.name_text] = read_contents(counter, table)
        return found.rows

    name = f"pg_scribe record {secrets.token_hex(6)}"
    guard = Guard(export.snapshot, name, before, options, measure=measure, only=chosen)
    environment = child_environment(conn, PGAPPNAME=guard.application)
    dump = [f"--snapshot={export.snapshot}", f"--lock-wait-timeout={LOCK_WAIT * 1000}"]
    with ThreadPoolExecutor(1) as pool:
        process = subprocess.Popen(
            dump_command(find_program("pg_dump")) + dump,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            preexec_fn=functools.partial(die_with, os.getpid()),  # noqa: PLW1509  (no thread has been started yet)
        )
        with ending(process, guard):
            watching = pool.submit(guard.watch)
            watching.add_done_callback(lambda future: process.terminate() if future.exception() else None)
            text, said = process.communicate()
            changed = _count_ddl(conn) != ddl
            guard.end(process.returncode == 0 and not changed)
            rows = watching.result()
    if process.returncode != 0:
        lines = said.decode(errors="replace").strip().splitlines()
        raise MovedError(f"could not dump the schema: {lines[0] if lines else 'pg_dump failed'}")
    if changed:
        raise MovedError("the schema was changed meanwhile")
    for line in guard.warnings:
        talk.warn(line)
    version = str(fetch_value(conn, "SHOW server_version")).split()[0]
    complete = share.percent == 100 and not guard.warnings
    if complete:
        with connect(options=options) as reader, in_snapshot(reader, export.snapshot):
            source["large_objects"] = largeobjects.digest(reader)
    return Record(
        export.consistent_point,
        began,
        rows,
        digest_schema(text),
        version,
        major_of(text),
        {name: contents[name] for name in rows},
        complete=complete,
        source=source if complete else {},
    )


def _describe_source(
    archive: Archive, conn: psycopg.Connection[Any], reader: psycopg.Connection[Any]
) -> dict[str, Any]:
    """Return what a base says of the source beside what pg_dump does; reader: in the snapshot."""
    with contextlib.suppress(ScribeError, psycopg.Error, OSError):  # the rotation that follows tries again, and warns
        refresh_globals(archive, conn, lambda text: None)
    newest = newest_globals(archive)
    sequences, warnings = read_sequences(conn)
    return {
        "meta": describe_database(conn),
        "database_sql": database_sql(reader),
        "database_acl": database_acl(reader),
        "globals": None if newest is None else hashlib.sha256(read_archived(newest)).hexdigest(),
        "sequences": [[each.schema, each.name, each.last_value, each.is_called] for each in sequences],
        "warnings": [*hidden_contents(conn), *warnings],
    }


def _readable(tables: dict[int, Table], unlogged: set[int]) -> dict[int, Table]:
    """Return the tables whose rows a restore brings: no partitioned, unlogged or extensions' ones."""
    return {oid: t for oid, t in tables.items() if t.kind == "r" and not t.member and oid not in unlogged}


def _count_ddl(conn: psycopg.Connection[Any]) -> int:
    return int(fetch_value(conn, _DDL)) if has_table(conn, "ddl_history") else 0


def dump_command(program: str) -> list[str]:
    """Return the command whose output digest_schema() takes."""
    return [program, "--schema-only", "--no-password", "--exclude-schema=scribe", "--no-subscriptions"]


def major_of(text: bytes) -> int:
    """Return the major version of the pg_dump that wrote text. Raises ScribeError."""
    match = re.search(rb"(?m)^-- Dumped by pg_dump version (\d+)", text)
    if match is None:
        raise ScribeError("could not read what pg_dump wrote")
    return int(match[1])


def digest_schema(text: bytes) -> dict[str, str]:
    """Return a digest for each object that a pg_dump of the schema holds, by type and name; capture's own left out."""
    found: dict[str, str] = {}
    for mark, after in pairwise([*_OBJECT.finditer(text), None]):
        assert mark is not None
        name, kind, schema = (group.decode(errors="replace") for group in mark.groups())
        key = f"{kind} {schema}.{name}" if schema != "-" else f"{kind} - {name}"
        if _OWN.match(key):
            continue
        body = _NOISE.sub(b"", text[mark.end() + 1 : after.start() if after else len(text)])
        if kind == "TRIGGER" and (switched := _NUMBERED.match(body)):
            key = re.sub(r"\d+$", switched[1].decode(), key)
            body = switched[1]
        found[key] = hashlib.sha256(found.get(key, "").encode() + body).hexdigest()[:16]
    return found
