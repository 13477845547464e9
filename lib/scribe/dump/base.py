"""Bases: a full dump on an exported snapshot, exact at its consistent point or not there at all."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import os
import re
import secrets
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, Protocol

import psycopg
import zstandard

from scribe import FORMAT_VERSION
from scribe.archive.layout import Archive, Base
from scribe.archive.manifest import read_manifest, write_manifest
from scribe.archive.skips import Scanner
from scribe.common import files
from scribe.common.dialect import (
    TIMEOUT_SINCE,
    build_base_header,
    build_epilogue,
    drop_transaction_timeout,
    quote_identifier,
)
from scribe.common.errors import ScribeError, TryAgainError, UsageError
from scribe.common.lsn import file_lsn, format_lsn
from scribe.common.postgres import (
    child_environment,
    connect,
    fetch_value,
    find_program,
    patient_options,
    program_version,
)
from scribe.common.process import die_with
from scribe.decoders.registry import decoder_of
from scribe.dump.as_made import AsMade, find_as_made, made_alike
from scribe.dump.config_rows import build_config_rows
from scribe.dump.contents import read_roots
from scribe.dump.extension_additions import on_extensions_tables
from scribe.dump.gate import HOLD, LONG, SHARE, Gate, NoGate
from scribe.dump.guard import Guard, MovedError, Table, in_snapshot, read_definitions, read_tables
from scribe.dump.validated import find_checked, without_validation
from scribe.source import largeobjects
from scribe.source.metadata import (
    database_acl,
    database_sql,
    describe_database,
    dump_globals,
    hidden_contents,
    public_schema,
    tool_versions,
    utc_now,
)
from scribe.source.ownership import has_table
from scribe.source.server import inspect
from scribe.source.slot import Export, create_slot
from scribe.source.unrestorable import find_absent
from scribe.source.unsaid import never_said, text_search
from scribe.spool.contents import Spool
from scribe.stream.recovery import followed_timeline
from scribe.stream.writer import MOST_WARNINGS

ATTEMPTS = 8  # dumps thrown away before we give up
UNAIDED = 3  # of them, before schema changes are made to wait
LAST = 6  # and from this one on, to wait for longer
LOCK_WAIT = 30  # seconds pg_dump waits for a table's lock
_CHUNK = 1 << 20
_LEVEL = 3  # zstd
_LONGEST = 2000  # characters of a warning
_TOC = "base.dir/toc.dat"  # pg_dump's first file of a directory
_FROM = re.compile(rb"(?m)^-- Dumped from database version (\d+)")

# What pg_dump says when an object went away under it; a new snapshot cures that. A server that says anything but ERROR
# speaks a language that our role may not change: whatever it says is worth another attempt.
_MOVED = re.compile(
    r"query failed: (?!ERROR:)|"
    r"does not exist|cache lookup failed|could not obtain lock|due to lock timeout|appears to be empty"
    r"|deadlock detected|could not open relation|could not find|invalid snapshot identifier|canceling statement"
)


_DENIED_OBJECT = re.compile(r"permission denied for large object")
_LARGE_OBJECTS = 'Run sql/roles.sql with "-v large_objects=on", or "GRANT SELECT ON LARGE OBJECT" for each.'


class Talker(Protocol):
    """Where messages go (scribe.cli.Talk)."""

    def note(self, text: str) -> None:
        """Say what is being done."""

    def warn(self, text: str) -> None:
        """Say that something is not as it should be."""


@dataclass(frozen=True)
class Request:
    """What kind of base is wanted: format plain or directory, compress zstd or none, jobs for the directory format."""

    format: str = "plain"
    compress: str = "zstd"
    jobs: int = 1
    with_globals: bool = True
    gaps: tuple[str, ...] = ()  # names of what the decoder loses, for the manifest
    by_root: bool = False  # partitions' rows are loaded through their roots
    checked: frozenset[tuple[bytes, bytes]] = frozenset()  # tables into which rows go without their CHECKs
    made: AsMade = AsMade()  # what pg_dump makes otherwise than it is
    without_rows: tuple[Table, ...] = ()  # tables of which nothing but the definition is dumped
    without_schema: bool = False  # the schema scribe is left out: in a copy it holds nothing that a base has


@dataclass(frozen=True)
class Beside:
    """What a base says of the source beside what pg_dump does; each part is read when its turn comes.

    stamp: the base's name, the present time if None; more: further keys of the manifest.
    """

    acl: Callable[[], str]
    globals: Callable[[Callable[[str], None]], bytes]
    database: Callable[[], str]
    meta: Callable[[], dict[str, Any]]
    warnings: Sequence[str] = ()
    stamp: str | None = None
    more: Mapping[str, Any] = field(default_factory=dict)


def beside(conn: psycopg.Connection[Any]) -> Beside:
    """Return what the source behind conn says of itself."""
    return Beside(
        acl=functools.partial(database_acl, conn),
        globals=functools.partial(dump_globals, conn),
        database=functools.partial(database_sql, conn),
        meta=functools.partial(describe_database, conn),
    )


@dataclass
class Written:
    """A file of the base and what was written to it."""

    name: str
    bytes: int = 0
    sha256: Any = field(default_factory=hashlib.sha256)
    plain_bytes: int | None = None
    plain_sha256: Any = None
    skips: list[tuple[int, int, int]] = field(default_factory=list)  # scribe.archive.skips

    def entry(self) -> dict[str, Any]:
        """Return its entry in the manifest."""
        value = {"name": self.name, "bytes": self.bytes, "sha256": self.sha256.hexdigest()}
        if self.plain_bytes is not None:
            value |= {"plain_bytes": self.plain_bytes, "plain_sha256": self.plain_sha256.hexdigest()}
        if self.skips:
            value["skips"] = [list(skip) for skip in self.skips]
        return value


# --- the dump -------------------------------------------------------------------------------------------------------


def _dump_command(request: Request, snapshot: str, directory: Path) -> list[str]:
    command = [find_program("pg_dump"), "--no-password", f"--snapshot={snapshot}", "--exclude-table-data=scribe.*"]
    command += [f"--lock-wait-timeout={LOCK_WAIT * 1000}"]
    command += ["--load-via-partition-root"] if request.by_root else []
    command += ["--exclude-schema=scribe"] if request.without_schema else []
    command += [f"--exclude-table-data={table.quoted}" for table in request.without_rows]
    if request.format == "directory":
        command += ["--format=directory", f"--jobs={request.jobs}", f"--file={directory / 'base.dir'}"]
        command += ["--compress=0"] if request.compress == "none" else []
    return command


class _Sink:
    """A file of the base under construction: counts and digests what goes in, compressed or as it is."""

    def __init__(self, path: Path, compress: bool) -> None:
        self.written = Written(path.name, plain_bytes=0, plain_sha256=hashlib.sha256())
        self._file: IO[bytes] = os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, files.FILE_MODE), "wb")
        self._zstd = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True) if compress else None
        self._frame = self._zstd.compressobj() if self._zstd else None
        self._scanner = Scanner()

    def write(self, data: bytes) -> None:
        self.written.plain_sha256.update(data)
        self.written.plain_bytes = (self.written.plain_bytes or 0) + len(data)
        for part, passed in self._scanner.feed(data):
            self._pack(part)
            if passed is not None:
                self._end_frame()
                self.written.skips.append((*passed, self.written.bytes))

    def _pack(self, data: bytes) -> None:
        self._store(self._frame.compress(data) if self._frame else data)

    def _end_frame(self) -> None:
        if self._zstd and self._frame:
            self._store(self._frame.flush())
            self._frame = self._zstd.compressobj()

    def _store(self, data: bytes) -> None:
        self.written.sha256.update(data)
        self.written.bytes += len(data)
        self._file.write(data)

    def close(self) -> None:
        self._pack(self._scanner.end())
        self._end_frame()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()


def _pump(
    process: subprocess.Popen[bytes], request: Request, directory: Path, epilogue: str, begun: threading.Event
) -> list[Written]:
    """Store what pg_dump writes, and the epilogue after it; return the files. Raises ScribeError, MovedError.

    begun: is set when pg_dump has written something to us, so it has read everything but the rows.
    """
    if request.format == "directory":
        process.wait()
        return []
    suffix = ".zst" if request.compress == "zstd" else ""
    sink = _Sink(directory / f"base.sql{suffix}", compress=bool(suffix))
    assert isinstance(process.stdout, io.BufferedReader)
    sink.write(build_base_header().encode())
    process.stdout.peek(1)
    begun.set()
    try:
        dump = _read_dump(process.stdout)
        for block in without_validation(made_alike(dump, request.made) if request.made else dump, request.checked):
            sink.write(block)
    except ScribeError:
        if process.wait() == 0:
            raise  # otherwise pg_dump says itself why its output ends in the middle
    process.wait()
    sink.write(epilogue.encode())
    sink.close()
    return [sink.written]


def _read_dump(stream: IO[bytes]) -> Iterator[bytes]:
    head = stream.read(_CHUNK)
    match = _FROM.search(head)
    yield drop_transaction_timeout(head) if match and int(match[1]) * 10000 < TIMEOUT_SINCE else head
    while chunk := stream.read(_CHUNK):
        yield chunk


def _check_result(process: subprocess.Popen[bytes], messages: list[str]) -> None:
    """Raise ScribeError if pg_dump failed; MovedError where a new snapshot may help."""
    if process.returncode == 0:
        return
    text = next((line for line in messages if "error" in line), (messages or [f"exit status {process.returncode}"])[0])
    kind = MovedError if any(_MOVED.search(line) for line in messages) else ScribeError
    raise kind(f"could not dump the database: {text}", _LARGE_OBJECTS if _DENIED_OBJECT.search(text) else None)


def run_dump(
    request: Request,
    directory: Path,
    *,
    epilogue: str,
    guard: Guard,
    talk: Talker,
    environment: Mapping[str, str],
) -> tuple[list[Written], dict[str, int], list[str]]:
    """Run pg_dump under guard; return the files written, the rows of each table and the warnings.

    Nothing is to be kept of directory when it raises: ScribeError when pg_dump fails, MovedError when a new
    snapshot may help.
    """
    process = subprocess.Popen(
        _dump_command(request, guard.snapshot, directory),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if request.format == "plain" else subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment,
        preexec_fn=functools.partial(die_with, os.getpid()),  # noqa: PLW1509  (no thread has been started yet)
    )
    begun = threading.Event()
    with ThreadPoolExecutor(2) as pool, ending(process, guard):
        reading: Future[list[str]] = pool.submit(_read_messages, process)
        watching = pool.submit(guard.watch, begun.is_set if request.format == "plain" else (directory / _TOC).exists)
        watching.add_done_callback(lambda future: process.terminate() if future.exception() else None)
        written = _pump(process, request, directory, epilogue, begun)
        guard.end(process.returncode == 0)
        messages = reading.result()
        for line in messages:
            talk.warn(line)
        if (fault := watching.exception()) is not None:
            raise fault
        _check_result(process, messages)
        return written, watching.result(), messages + guard.warnings


@contextlib.contextmanager
def ending(process: subprocess.Popen[bytes], guard: Guard) -> Iterator[None]:
    """If the block fails, pg_dump and its guard end with it."""
    try:
        yield
    except BaseException:
        process.terminate()
        process.wait()
        guard.end(False)
        raise


def _read_messages(process: subprocess.Popen[bytes]) -> list[str]:
    assert process.stderr is not None
    return [line.decode(errors="replace").rstrip("\n") for line in process.stderr]


# --- the base -------------------------------------------------------------------------------------------------------


def take_base(
    archive: Archive,
    conn: psycopg.Connection[Any],
    export: Export,
    request: Request,
    talk: Talker,
    *,
    gate: Gate,
    announce: Callable[[str], None] = lambda stamp: None,
    known: Beside | None = None,
) -> Base:
    """Dump the database on an exported snapshot into a new base, which is complete or not there.

    gate: opened when pg_dump has read all definitions; announce: called with the base's name before it appears; known:
    what is said of the source if conn does not lead there. Raises MovedError when the dump could not be trusted,
    ScribeError when it failed.
    """
    of_source, known = known is None, known or beside(conn)
    stamp = known.stamp or archive.base_stamp()
    directory = archive.bases_path / f"{files.TEMPORARY}{stamp}"
    directory.mkdir(mode=files.DIRECTORY_MODE)
    try:
        manifest = _fill(directory, stamp, conn, export=export, request=request, talk=talk, gate=gate, known=known)
        if of_source:
            with connect(options=patient_options(conn)) as reader, in_snapshot(reader, export.snapshot):
                largeobjects.note_base(archive.spool, stamp, reader)
        if archive.exists():  # as segments do, also if the database has another name by now
            manifest["database"] = archive.identity()["database"]
        write_manifest("base", directory / "manifest.json", manifest)
        _sync_tree(directory)
        announce(stamp)
        files.publish(directory, archive.bases_path / stamp, exclusive=True)
    except BaseException:
        with contextlib.suppress(OSError):
            files.remove_tree(directory)
        raise
    path = archive.bases_path / stamp
    return Base(path, read_manifest("base", path / "manifest.json"))


def _fill(
    directory: Path,
    stamp: str,
    conn: psycopg.Connection[Any],
    *,
    export: Export,
    request: Request,
    talk: Talker,
    gate: Gate,
    known: Beside,
) -> dict[str, Any]:
    """Write everything but the manifest into directory; return the manifest."""
    started = utc_now()
    options = patient_options(conn)
    with connect(options=options) as reader, in_snapshot(reader, export.snapshot):
        refuse_temporary(reader)
        before, defined = read_tables(reader), read_definitions(reader)
        config_rows = build_config_rows(reader)
        commands = [*_drop_publications(reader), *_detach(reader), *public_schema(reader)]
        commands += [*on_extensions_tables(reader), *never_said(reader, request.format)]
        commands += text_search(reader) if request.format == "directory" else []
        # from 16 on pg_dump sees to that by itself, but for enums within arrays, rows and ranges
        by_root, checked = bool(read_roots(reader)), find_checked(reader)
        request = replace(request, by_root=by_root, checked=checked, made=find_as_made(reader))
    talk.note(f"dumping {len(before)} tables at {format_lsn(export.consistent_point)}")
    warnings = [*known.warnings, *hidden_contents(conn)]
    warnings += [text for text, _ in request.made.warnings(request.format)]
    # pg_dump's output is in the database's own encoding
    acl = "SET client_encoding = 'UTF8';\n" + known.acl()
    epilogue = "\n" + acl + config_rows + build_epilogue(export.consistent_point, commands)
    counted = set(before) - {table.oid for table in request.without_rows}
    name = f"pg_scribe base {secrets.token_hex(6)}"
    guard = Guard(export.snapshot, name, before, options, defined=defined, read=gate.open, only=counted)
    began = time.monotonic()
    environment = child_environment(conn, PGAPPNAME=guard.application)
    written, rows, said = run_dump(
        request, directory, epilogue=epilogue, guard=guard, talk=talk, environment=environment
    )
    rows |= {table.name_text: 0 for table in request.without_rows}
    talk.note(f"dumped {sum(rows.values())} rows in {time.monotonic() - began:.1f} s")
    meta = known.meta()
    if request.with_globals:
        files.write_file(directory / "globals.sql", known.globals(warnings.append))
    if request.format == "directory":
        files.write_file(directory / "epilogue.sql", epilogue.encode())
    files.write_file(directory / "database.sql", known.database().encode())
    write_manifest("meta", directory / "meta.json", meta)
    for line in few(warnings + guard.warnings):
        talk.warn(line)
    return {
        "format_version": FORMAT_VERSION,
        "stamp": stamp,
        "database": meta["database"],
        "system_identifier": meta["system_identifier"],
        "consistent_point": file_lsn(export.consistent_point),
        "consistent_point_lsn": format_lsn(export.consistent_point),
        "snapshot": export.snapshot,
        "format": request.format,
        "server_version": meta["server_version"],
        "timeline": meta["timeline"],
        "tools": tool_versions(),
        "started": started,
        "finished": utc_now(),
        "files": _list_files(directory, {entry.name: entry for entry in written}),
        "rows": rows,
        "warnings": few(warnings + said),
        **({"accepted_gaps": list(request.gaps)} if request.gaps else {}),
        **known.more,
    }


def few(warnings: list[str]) -> list[str]:
    """Return warnings as a manifest has them: users choose how many there are, and nobody reads one of 256 MB."""
    left = len(warnings) - MOST_WARNINGS
    shown = [text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..." for text in warnings[:MOST_WARNINGS]]
    return [*shown, f"{left} more are left out"] if left > 0 else shown


def _drop_publications(conn: psycopg.Connection[Any]) -> list[str]:
    """What the stream is made of in the source does nothing in a copy.

    Anybody may write the comment of ours on a publication of his, which the stream would then change and not find.
    """
    rows = conn.execute(
        "SELECT pubname FROM pg_catalog.pg_publication"
        " WHERE pg_catalog.obj_description(oid, 'pg_publication') LIKE 'pg\\_scribe:%'"
        " AND pubname IN (SELECT slot_name FROM pg_catalog.pg_replication_slots WHERE plugin = 'pgoutput'"
        " AND database = pg_catalog.current_database())"
    ).fetchall()
    return [f"DROP PUBLICATION IF EXISTS {quote_identifier(row[0], force=True)}" for row in rows]


def _detach(conn: psycopg.Connection[Any]) -> list[str]:
    """Partitions whose DETACH CONCURRENTLY has not ended: the stream takes them for detached."""
    rows = conn.execute(
        "WITH named AS (SELECT c.oid, pg_catalog.format('%I.%I', n.nspname, c.relname) AS name"
        " FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace)"
        " SELECT p.name, c.name FROM pg_catalog.pg_inherits AS i"
        " JOIN named AS p ON p.oid = i.inhparent JOIN named AS c ON c.oid = i.inhrelid"
        " WHERE (pg_catalog.to_jsonb(i)->>'inhdetachpending')::boolean ORDER BY i.inhrelid"
    ).fetchall()
    return [f"ALTER TABLE ONLY {parent} DETACH PARTITION {partition}" for parent, partition in rows]


def _list_files(directory: Path, known: dict[str, Written]) -> list[dict[str, Any]]:
    """Return the manifest's entries for all files under directory; known: those digested while they were written."""
    entries = []
    for path in sorted(path for path in directory.rglob("*") if path.is_file()):
        name = path.relative_to(directory).as_posix()
        if name not in known:
            known[name] = Written(name, path.stat().st_size)
            with path.open("rb") as stream:
                known[name].sha256 = hashlib.file_digest(stream, "sha256")
        entries.append(known[name].entry())
    return entries


def _sync_tree(directory: Path) -> None:
    """Make everything under directory durable; files written through scribe.files are so already."""
    for path, _, names in os.walk(directory):
        for name in names:
            os.chmod(os.path.join(path, name), files.FILE_MODE)
            files.sync_file(Path(path, name))
        os.chmod(path, files.DIRECTORY_MODE)
        files.sync_directory(Path(path))


def take_aligned_base(
    archive: Archive,
    conn: psycopg.Connection[Any],
    request: Request,
    talk: Talker,
    *,
    begin: Callable[[Gate], Export],
    discard: Callable[[Export], None] = lambda export: None,
    announce: Callable[[str], None] = lambda stamp: None,
) -> Base:
    """Take a base, again on a new snapshot as long as DDL comes between a snapshot and pg_dump's locks.

    begin: closes the gate it is given and creates a slot; discard: removes what begin made when no base came of it.
    Raises TryAgainError when DDL came in between ATTEMPTS times, otherwise as take_base() does.
    """
    _refuse_noted_options(conn)
    fault: MovedError | None = None
    for attempt in range(ATTEMPTS):
        gate = NoGate() if attempt < UNAIDED else Gate(HOLD if attempt < LAST else LONG)
        with gate:
            export = begin(gate)
            try:
                with export.conn:
                    return take_base(archive, conn, export, request, talk, gate=gate, announce=announce)
            except MovedError as error:
                fault = error
                discard(export)
                talk.warn(f"{error.message}; taking it again")
            except BaseException:
                discard(export)
                raise
        time.sleep(max(0.2 * attempt, gate.shut_for * SHARE))
    raise TryAgainError(
        f"could not take a base in {ATTEMPTS} attempts: {fault.message if fault else ''}",
        f"Pause what changes the schema{_describe_changes(conn)}, then run the same command again.",
    )


def refuse_temporary(conn: psycopg.Connection[Any]) -> None:
    """Raise TryAgainError where part of the schema goes with a session: no dump of it can be restored."""
    found = [absent for absent in find_absent(conn) if absent.stops_a_dump]
    if found:
        raise TryAgainError(
            f"could not take a base that can be restored: {found[0].text}",
            f"{found[0].remedy}, then run the same command again.",
        )


def refuse_older_programs(conn: psycopg.Connection[Any]) -> None:
    """Raise UsageError where pg_dump is older than the server: it refuses that, in three lines and without a hint."""
    major, found = conn.info.server_version // 10000, program_version("pg_dump")
    if found < major:
        raise UsageError(
            f"could not dump the database: pg_dump {found} is older than the server, PostgreSQL {major}",
            f"Add the bin directory of PostgreSQL {major} or newer to PATH first.",
        )


# 17.12 keeps a note among the options of columns, which no server takes back; its own pg_dump leaves that out.
_NOTED = "SELECT EXISTS (SELECT FROM pg_catalog.pg_attribute WHERE attoptions::text ~ 'pg_attver=')"


def _refuse_noted_options(conn: psycopg.Connection[Any]) -> None:
    """Raise UsageError if pg_dump, being of another major version, would write what no server accepts."""
    major = conn.info.server_version // 10000
    if program_version("pg_dump") != major and fetch_value(conn, _NOTED):
        raise UsageError(
            f"could not dump the database: its columns have an option (pg_attver) that only pg_dump {major} leaves out",
            f"Add the bin directory of PostgreSQL {major} to PATH first.",
        )


_LATEST = """
SELECT pg_catalog.format('%s on %s by role %s, %s', tag, coalesce(object_identity, '?'), role, at::timestamptz(0))
FROM scribe.ddl_history WHERE at > pg_catalog.clock_timestamp() - interval '10 min' ORDER BY id DESC LIMIT 1
"""


def _describe_changes(conn: psycopg.Connection[Any]) -> str:
    """Name the newest schema change that capture has recorded, for a hint."""
    with contextlib.suppress(psycopg.Error):
        if has_table(conn, "ddl_history") and (latest := fetch_value(conn, _LATEST)):
            return f" (at last {latest})"
    return ""


def take_stream_base(
    archive: Archive, conn: psycopg.Connection[Any], request: Request, talk: Talker, *, plugin: str, wait: float
) -> Base:
    """Take a base aligned with the stream that is running, through a temporary slot; wait: seconds for its creation.

    The stream is told to cut a segment at the base's consistent point before a rotation can archive past it.
    """
    refuse_older_programs(conn)
    refuse_other_timeline(archive, conn)
    with archive.base_lock():
        for _ in range(files.remove_leftovers(archive.bases_path)):
            talk.note("removed an unfinished base")
        return take_aligned_base(
            archive, conn, request, talk, begin=lambda gate: begin_cut(archive, conn, gate, plugin=plugin, wait=wait)
        )


class OtherTimelineError(TryAgainError):
    """The server is on a timeline that the stream has yet to see."""


def refuse_other_timeline(archive: Archive, conn: psycopg.Connection[Any]) -> None:
    """Raise OtherTimelineError on a promoted server that the stream has yet to see: it may lack what is archived."""
    server = inspect(conn)
    followed = followed_timeline(archive, server)
    if followed != server.timeline:
        raise OtherTimelineError(
            f"the server is on timeline {server.timeline}, and scribe-stream has followed timeline {followed} so far",
            "Start scribe-stream, which finds out whether the archive can go on; then run the same command again.",
        )


def begin_cut(archive: Archive, conn: psycopg.Connection[Any], gate: Gate, *, plugin: str, wait: float) -> Export:
    """Create a temporary slot and record its consistent point, while no rotation is under way.

    Rotations are kept waiting for ever longer, never for long at once: creating the slot may have to wait.
    Raises OtherTimelineError if the slot is on a server that was promoted since conn was asked.
    """
    deadline = time.monotonic() + wait
    pause = 5.0
    while True:
        left = max(0.1, deadline - time.monotonic())
        try:
            with files.Lock(archive.spool / "rotate.lock", "scribe-rotate is at work", wait=left):
                name = f"scribe_dump_{os.getpid()}_{secrets.token_hex(3)}"
                gate.close()
                export = create_slot(conn, name, plugin, temporary=True, wait=min(pause, left))
                with contextlib.ExitStack() as stack:
                    stack.callback(export.conn.close)
                    with connect() as there, in_snapshot(there, export.snapshot):  # certainly on the slot's server
                        refuse_other_timeline(archive, there)
                    identity = archive.identity()
                    decoder_of(identity).place_cut(conn, Spool(archive.spool), identity, export.consistent_point)
                    archive.record_cut(export.consistent_point)
                    stack.pop_all()
                return export
        except OtherTimelineError:
            raise
        except TryAgainError:
            if time.monotonic() >= deadline:
                raise
        pause *= 2
