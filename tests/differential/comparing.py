"""One database, the same WAL of it through every output plugin that its server has, and the comparison."""

from __future__ import annotations

import contextlib
import random
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import plugins
import psycopg
from catalog import QUERY
from cluster import Cluster
from draw import SCHEMAS
from generator import Step
from plugins import Name, Table, Tables, Transaction, Values
from replica import Difference, Replica, compare_rows, compare_stream, take_reference
from sessions import SESSIONS, Sessions
from values import Values as Drawing
from work import Schema, Work

from scribe.archive.tokens import read_copy_value
from scribe.common.dialect import HEADER_SETTINGS, quote_identifier
from scribe.decoders.pgoutput import pinned_options
from scribe.decoders.registry import decoder_named
from scribe.spool.contents import Spool

FORGING = 0.08  # the share of texts that imitate frames and commands
REFERENCE, RAW = "test_decoding", "pgoutput, untranslated"
OURS = ("scribe_decoder", "pgoutput")
_TABLES = """
SELECT n.nspname, c.relname, c.relreplident::text,
  ARRAY(SELECT attname FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped
        AND attgenerated = '' ORDER BY attnum)::text[],
  ARRAY(SELECT format_type(atttypid, NULL) FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0
        AND NOT attisdropped AND attgenerated = '' ORDER BY attnum)::text[],
  ARRAY(SELECT attname FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped
        AND attgenerated <> '')::text[],
  ARRAY(SELECT a.attname FROM pg_index AS i
        JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])
        WHERE i.indrelid = c.oid AND CASE c.relreplident WHEN 'd' THEN i.indisprimary AND i.indimmediate
        WHEN 'i' THEN i.indisreplident ELSE false END)::text[]
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
"""


class Source:
    """One database, its slots, and what they say."""

    def __init__(self, cluster: Cluster, dbname: str, directory: Path) -> None:
        self.cluster = cluster
        self.dbname = dbname
        self.directory = directory
        self.copies = {plugin: f"{dbname}_{number}" for number, plugin in enumerate(OURS)}
        self.spools = {plugin: Spool(directory / dbname / plugin) for plugin in OURS}
        self.identity = {"publication": f"{dbname}_pgoutput", "schema_changes": "detected", "encoding": "UTF8"}
        self.others = [REFERENCE, *(["wal2json"] if has_library(cluster, "wal2json") else [])]
        self.allowing = ""
        if cluster.query("SELECT true FROM pg_settings WHERE name = 'output_plugin_libraries'"):
            self.allowing = " -c output_plugin_libraries=pgoutput,test_decoding,scribe_decoder,wal2json"
        self.tables: Tables = {}
        self.before: dict[Name, list[Values]] = {}
        self.count: Counter[str] = Counter()

    def connect(self, dbname: str | None = None) -> psycopg.Connection[Any]:
        """Return a connection on which values have the text that a segment's header asks for."""
        return self.cluster.connect(dbname or self.dbname, options=pinned_options("UTF8") + self.allowing)

    def make(self, seed: int, transactions: int) -> None:
        """Tables, then the slots and copies, then transactions."""
        self.cluster.query(f"CREATE DATABASE {self.dbname} TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'")
        schemas = "".join(f"CREATE SCHEMA IF NOT EXISTS {quote_identifier(s)};\n" for s in SCHEMAS)
        self.cluster.psql(schemas + self._extensions(), self.dbname)
        sessions = Sessions(self.cluster, self.dbname, "UTF8")
        work = Work(Drawing(random.Random(seed), "UTF8", FORGING), sessions.query, SESSIONS)
        try:
            self._make_tables(work, sessions)
        finally:
            sessions.close()
        self._begin()
        sessions = Sessions(self.cluster, self.dbname, "UTF8")
        work.query = sessions.query
        work.start()
        try:
            while work.transactions < transactions:
                self._run(work, sessions, work.step())
            while (step := work.step(closing=True)) is not None:
                self._run(work, sessions, step)
        finally:
            sessions.close()

    def _extensions(self) -> str:
        names = self.cluster.query("SELECT name FROM pg_available_extensions WHERE name IN ('hstore', 'citext')")
        return "".join(f"CREATE EXTENSION {name} SCHEMA public;\n" for (name,) in names)

    def _make_tables(self, work: Work, sessions: Sessions) -> None:
        schema = Schema(work)
        for kind in schema.steps():
            sql = schema.next(kind, sessions.query(0, QUERY))
            if sql is not None:
                self.count["made" if sessions.run(Step(0, 0, sql)) is None else "not made"] += 1

    def _run(self, work: Work, sessions: Sessions, step: Step | None) -> None:
        assert step is not None
        message = sessions.run(step)
        self.count["rejected" if message else "accepted"] += 1
        if message and step.sql.startswith("PREPARE TRANSACTION"):
            work.prepared.remove(step.sql.split("'")[1])
        if sessions.in_failed_transaction(step.session):
            work.aborted(step.session)

    def _begin(self) -> None:
        """Slots, what the translator has to know, what there is, and copies of it; nobody is at work meanwhile."""
        pgoutput = decoder_named("pgoutput")
        with self.connect() as conn:
            pgoutput.prepare(conn, self.identity["publication"])
            for plugin in [*OURS, *self.others]:
                slot = self._slot(plugin)
                conn.execute("SELECT pg_create_logical_replication_slot(%s, %s)", [slot, plugin])
            for spool in self.spools.values():
                spool.path.mkdir(parents=True)
                spool.create_stream()
            with conn.transaction():
                pgoutput.look(conn, self.identity["publication"])(self.spools["pgoutput"])
            for schema, name, identity, columns, types, generated, key in conn.execute(_TABLES).fetchall():
                named = dict(zip(columns, types, strict=True))
                self.tables[schema, name] = Table(named, frozenset(generated), identity, tuple(key))
            self.before = self.rows(conn)
        for copy in self.copies.values():
            self.cluster.createdb(copy, self.dbname)

    def _slot(self, plugin: str) -> str:
        return f"{self.dbname}_{plugin}"

    def rows(self, conn: psycopg.Connection[Any]) -> dict[Name, list[Values]]:
        """Return all rows as a connection sees them, their values as the types write them."""
        found = {}
        for name, table in self.tables.items():
            columns = ", ".join(quote_identifier(c, force=True) for c in table.columns)
            of = ".".join(quote_identifier(part, force=True) for part in name)
            with conn.cursor().copy(f"COPY (SELECT {columns} FROM ONLY {of}) TO STDOUT") as copy:
                lines = b"".join(copy).split(b"\n")[:-1]
            fields = [[read_copy_value(f) for f in line.split(b"\t")] if table.columns else [] for line in lines]
            texts = [[None if f is None else f.decode() for f in row] for row in fields]
            found[name] = [dict(zip(table.columns, row, strict=True)) for row in texts]
        return found

    # --- what the slots say -------------------------------------------------------------------------------------

    def read(self) -> tuple[dict[str, list[Transaction]], dict[str, bytes]]:
        """Return what each plugin says, in one form, the reference first; and the SQL of pg_scribe's own two."""
        end = self.cluster.value("SELECT pg_current_wal_insert_lsn()")
        for plugin in OURS:
            self._receive(plugin, end)
        sql = {plugin: plugins.translate(self.spools[plugin], plugin) for plugin in OURS}
        pgoutput, tables = self.spools["pgoutput"].stream, self.tables
        readers: dict[str, Callable[[], Any]] = {
            REFERENCE: lambda: plugins.read_test_decoding(self._changes(REFERENCE, "include-xids", "on"), tables),
            RAW: lambda: plugins.read_pgoutput(pgoutput, tables),
            **{p: lambda p=p: plugins.read_dialect(sql[p], p, tables) for p in OURS},  # type: ignore[misc]
        }
        if "wal2json" in self.others:
            options = ("format-version", "2", "include-xids", "true", "include-lsn", "true", "include-types", "false")
            readers["wal2json"] = lambda: plugins.read_wal2json(self._changes("wal2json", *options), tables)
        return {name: plugins.tidy(read(), tables) for name, read in readers.items()}, sql

    def _changes(self, plugin: str, *options: str) -> list[tuple[str, str]]:
        query = "SELECT lsn::text, data FROM pg_logical_slot_get_changes(%s, NULL, NULL, VARIADIC %s::text[])"
        with self.connect() as conn:
            return conn.execute(query, [self._slot(plugin), list(options)]).fetchall()

    def _receive(self, plugin: str, end: str) -> None:
        """Let pg_recvlogical write what there is, as scribe-stream has it do."""
        decoder = decoder_named(plugin)
        command = [f"{self.cluster.bindir}/pg_recvlogical", "--start", "--no-loop", f"--dbname={self.dbname}"]
        command += [f"--slot={self._slot(plugin)}", f"--file={self.spools[plugin].stream}", f"--endpos={end}"]
        environment = self.cluster.env | {"PGOPTIONS": decoder.server_options(self.identity) + self.allowing}
        said = subprocess.run(
            [*command, *decoder.receiver_options(self.identity)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if said.returncode:
            raise Difference(f"{plugin}: pg_recvlogical exited {said.returncode}: {said.stderr}")

    def close(self) -> None:
        """Drop slots and databases."""
        with self.cluster.connect() as conn:
            slots = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = %s"
            conn.execute(slots, [self.dbname])
            prepared = conn.execute("SELECT gid, database FROM pg_prepared_xacts").fetchall()
        for gid, database in prepared:
            self.cluster.query(f"ROLLBACK PREPARED '{gid}'", database)
        for name in (*self.copies.values(), self.dbname):
            self.cluster.dropdb(name)


def compare_all(streams: Mapping[str, list[Transaction]], source: Source) -> dict[str, Replica]:
    """Compare what every plugin says, change by change; return what each leads to. Raises Difference."""
    known = source.tables, source.before
    reference = take_reference(REFERENCE, streams[REFERENCE], *known)
    replicas = {REFERENCE: reference.replica}
    for name, stream in streams.items():
        if name != REFERENCE:
            like = reference.without_silent() if name in OURS else reference
            replicas[name] = compare_stream(name, stream, like, *known)
    return replicas


def check(source: Source, streams: Mapping[str, list[Transaction]], sql: Mapping[str, bytes]) -> None:
    """Compare what read() returned, and what comes of it. Raises Difference."""
    replicas = compare_all(streams, source)
    with source.connect() as conn:
        after = source.rows(conn)
    for name, replica in replicas.items():
        with _telling(f"{name}: the stream leads to other rows"):
            replica.compare(after)
    for plugin, copy in source.copies.items():
        _run_with_psql(source, plugin, sql[plugin], copy)
        with source.connect(copy) as conn:
            found = source.rows(conn)
        with _telling(f"{plugin}: psql leads to other rows"):
            for name, table in source.tables.items():
                compare_rows(name, table, found[name], after[name])
    for transaction in streams[REFERENCE]:
        source.count["transactions"] += 1
        for change in transaction.changes:
            source.count["changes"] += 1
            source.count[change.kind] += 1
            source.count["values"] += len(change.old) + len(change.new)
            source.count["unchanged"] += len(change.unchanged)
    source.count["plugins"] = len(streams)


def _run_with_psql(source: Source, plugin: str, sql: bytes, copy: str) -> None:
    settings = "".join(f"SET {name} = {value};\n" for name, value in HEADER_SETTINGS)
    try:
        source.cluster.psql(f"SET client_encoding = 'UTF8';\n{settings}{sql.decode()}", copy)
    except AssertionError as error:
        raise Difference(f"{plugin}: {error}") from None


@contextlib.contextmanager
def _telling(what: str) -> Iterator[None]:
    try:
        yield
    except Difference as error:
        raise Difference(f"{what}: {error}") from None


def plant_difference(stream: list[Transaction], rng: random.Random) -> None:
    """Change one value that a plugin told of a new row."""
    changes = [
        c for t in stream for c in t.changes if c.kind != "delete" and any(v is not None for v in c.new.values())
    ]
    change = rng.choice(changes)
    column = rng.choice(sorted(name for name, value in change.new.items() if value is not None))
    change.new[column] = f"{change.new[column]} "


def has_library(cluster: Cluster, name: str) -> bool:
    """Whether the server has a library of that name."""
    return (
        Path(subprocess.check_output([cluster.pg_config, "--pkglibdir"], text=True).strip()) / f"{name}.so"
    ).exists()
