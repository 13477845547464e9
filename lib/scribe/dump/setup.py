"""Making an archive and what it needs in the source, and taking that away again.

A run that dies leaves spool/init.json, which says what it had begun: the next run undoes that first. archive.json is
written when everything it promises is there; a run that fails undoes what it did itself.
"""

from __future__ import annotations

import contextlib
import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg

from scribe import FORMAT_VERSION
from scribe.archive.layout import Archive
from scribe.common import files
from scribe.common.dialect import format_time
from scribe.common.errors import ScribeError, TryAgainError, UsageError
from scribe.common.lsn import format_lsn, parse_lsn
from scribe.common.postgres import advisory_unlock, connect, fetch_value, is_superuser, try_advisory_lock
from scribe.decoders.decoder_raw import trial as gaps
from scribe.decoders.registry import decoder_named, plugin_of
from scribe.dump.base import Request, Talker, take_aligned_base, take_stream_base
from scribe.dump.gate import Gate, NoGate
from scribe.dump.guard import in_snapshot
from scribe.source import capture, largeobjects, slot
from scribe.source.capture import WITHOUT_IDENTITY
from scribe.source.server import ReplacedError, check_identity, inspect
from scribe.spool.contents import Spool

DECODER_VERSION = "1.0"
_OURS = {"archive.json", "broken.json", "meta.json", "spool", "base", "incremental", "globals", "lost+found"}


@dataclass(frozen=True)
class Options:
    """What is wanted: slot and decoder, how tables are treated, the base, seconds to wait for other transactions."""

    slot: str
    plugin: str
    replica_identity: str
    request: Request
    with_base: bool = True
    wait: float = 60
    failover: bool = False  # standbys shall keep the slot too
    accepted: tuple[gaps.Finding, ...] = ()  # what this build of the decoder loses, and may


@dataclass(frozen=True)
class State:
    """What there is of an archive and of its objects in the source."""

    identity: dict[str, Any] | None
    intent: dict[str, Any] | None
    slot: slot.Slot | None
    captured: bool
    has_base: bool  # of the present chain
    broken: str | None
    without_identity: int

    @property
    def chained(self) -> bool:
        """Whether the archive's chain can go on: its slot has all the WAL it needs."""
        return self.identity is not None and self.slot is not None and self.slot.usable and not self.broken


def default_slot(database: str) -> str:
    """Return scribe_DATABASE with what a slot's name cannot have replaced by underscores."""
    return re.sub(r"[^a-z0-9_]", "_", f"scribe_{database}".lower())[:63]


def choose_slot(archive: Archive, given: str | None, database: str) -> str:
    """Return the slot's name: the archive's if there is one. Raises UsageError when another one is asked for."""
    if not archive.exists():
        return given or default_slot(database)
    name = str(archive.identity()["slot"])
    if given and given != name:
        raise UsageError(f'the archive belongs to slot "{name}", not "{given}"', "Unset SCRIBE_SLOT, or correct it.")
    return name


def intent_path(archive: Archive) -> Path:
    """The record of an unfinished scribe-init."""
    return archive.spool / "init.json"


def read_state(archive: Archive, conn: psycopg.Connection[Any], name: str) -> State:
    """Look at archive and source. Raises UsageError for an archive of another server or database."""
    identity = archive.identity() if archive.exists() else None
    known = archive.broken()
    broken = str(known["reason"]) if known else None
    if identity is not None:
        try:
            check_identity(inspect(conn), identity)
        except ReplacedError as error:
            broken = error.message
    intent = None
    with contextlib.suppress(FileNotFoundError):
        intent = files.read_json(intent_path(archive))
    chain = parse_lsn(identity["chain_from_lsn"]) if identity else 0
    count = f"SELECT count(*) FROM ({WITHOUT_IDENTITY}) AS t"
    return State(
        identity=identity,
        intent=intent if isinstance(intent, dict) else None,
        slot=slot.find_slot(conn, name),
        captured=capture.is_complete(conn, plugin_of(identity)) if identity else capture.is_active(conn),
        has_base=any(base.consistent_point >= chain for base in archive.bases()) if identity else False,
        broken=broken,
        without_identity=int(fetch_value(conn, count)),
    )


def check_directory(archive: Archive) -> None:
    """Raise UsageError for a directory that is in use for something else."""
    if not archive.path.exists() or archive.exists():
        return
    foreign = sorted(entry.name for entry in archive.path.iterdir() if entry.name not in _OURS)
    foreign = [name for name in foreign if not name.startswith(files.TEMPORARY)]
    if foreign:
        raise UsageError(
            f'directory "{archive.path}" holds "{foreign[0]}" and no archive',
            "Set SCRIBE_ARCHIVE to an empty directory.",
        )
    if archive.segment_names():
        raise UsageError(
            f'directory "{archive.path}" holds segments and no archive.json',
            "Bring archive.json back from a copy, or set SCRIBE_ARCHIVE to an empty directory.",
        )


def check_slot(state: State, conn: psycopg.Connection[Any], options: Options) -> None:
    """Raise UsageError when the slot is somebody else's: made for another archive, database or decoder."""
    found = state.slot
    if found is None:
        return
    if found.database != conn.info.dbname or found.plugin != options.plugin:
        text = f'replication slot "{found.name}" is for database "{found.database}" with "{found.plugin}"'
        raise UsageError(text, "Set SCRIBE_SLOT to another name.")
    ours = state.identity is not None or (state.intent is not None and state.intent.get("slot") == found.name)
    if not ours:
        raise UsageError(
            f'replication slot "{found.name}" exists and does not belong to this archive',
            "Mount the file system of the slot's archive, or correct SCRIBE_ARCHIVE; for a second archive of this"
            ' database set SCRIBE_SLOT; if that archive is given up, run "scribe-init --remove" first.',
        )


def plan_steps(state: State, options: Options) -> list[str]:
    """Return what initialise() will do, in words; nothing when everything is in place."""
    steps = []
    if state.intent is not None:
        steps.append("undo what an unfinished scribe-init left")
    if not state.captured:
        steps.append("install the capture objects in schema scribe")
    if state.without_identity and options.replica_identity == "full":
        steps.append(f"set REPLICA IDENTITY FULL on {state.without_identity} tables")
    if not state.chained:
        if state.identity is not None:
            steps.append(f"give up the chain: {state.broken or 'its replication slot is gone or has lost WAL'}")
        steps.append(f'create replication slot "{options.slot}"')
    elif options.failover and state.slot is not None and not state.slot.failover:
        steps.append(f'make replication slot "{options.slot}" a failover slot')
    if state.chained and state.identity is not None and _gaps(options) != state.identity.get("accepted_gaps", []):
        steps.append("record the gaps of the decoder that were accepted")
    if options.with_base and (not state.has_base or not state.chained or not state.captured):
        steps.append("take a base")
    return steps


def _gaps(options: Options) -> list[dict[str, str]]:
    return [finding.as_json() for finding in options.accepted]


@contextlib.contextmanager
def _locked(archive: Archive, conn: psycopg.Connection[Any]) -> Iterator[None]:
    """Hold what keeps a second scribe-init away, from this archive and from this database."""
    with files.Lock(archive.spool / "init.lock", "another scribe-init is at work"):
        if not try_advisory_lock(conn, "pg_scribe init"):
            raise TryAgainError(
                "another scribe-init is at work on this database", "Wait for it to end, then try again."
            )
        try:
            yield
        finally:
            if not conn.closed and not conn.broken:
                advisory_unlock(conn, "pg_scribe init")


def initialise(archive: Archive, conn: psycopg.Connection[Any], options: Options, talk: Talker) -> list[str]:
    """Bring about whatever is missing of archive, capture, slot and base; return what was done.

    Raises UsageError where archive or slot belong to something else, TryAgainError where others are in the way,
    ScribeError for failures; what was done is then undone.
    """
    if options.failover and not decoder_named(options.plugin).failover:
        raise UsageError(f"SCRIBE_FAILOVER is not for the decoder {options.plugin}", "Unset it: see docs/decoders.md.")
    check_directory(archive)
    check_slot(read_state(archive, conn, options.slot), conn, options)
    fresh = not archive.path.exists()
    archive.create_directories()
    try:
        with _locked(archive, conn):
            return _initialise(archive, conn, options, talk)
    except BaseException:
        if not archive.exists() and not intent_path(archive).exists():
            _remove_empty(archive, itself=fresh)
        raise


def _initialise(archive: Archive, conn: psycopg.Connection[Any], options: Options, talk: Talker) -> list[str]:
    repair(archive, conn, talk)
    state = read_state(archive, conn, options.slot)
    check_slot(state, conn, options)
    steps = plan_steps(state, options)
    if not state.chained:
        _begin_chain(archive, conn, options, talk, state)
        return steps
    if not state.captured:
        talk.warn("schema changes made while the capture objects were missing are not in the stream")
        capture.install(conn, options.replica_identity, options.plugin, wait=options.wait, tell=talk.warn)
        with files.Lock(Spool(archive.spool).rotate_lock, "scribe-rotate is at work", wait=options.wait):
            decoder_named(options.plugin).look_again(conn, Spool(archive.spool))
    identity = archive.identity()
    if _gaps(options) != identity.get("accepted_gaps", []):
        archive.write_identity(identity | {"accepted_gaps": _gaps(options)})
    if options.failover and state.slot is not None and not state.slot.failover:
        slot.make_failover(options.slot)
    if options.replica_identity == "full":
        capture.set_identities(conn, talk.note, options.wait, talk.warn)
    if options.with_base and not (state.has_base and state.captured):
        take_stream_base(archive, conn, options.request, talk, plugin=options.plugin, wait=options.wait)
    return steps


def repair(archive: Archive, conn: psycopg.Connection[Any], talk: Talker) -> None:
    """Undo what a scribe-init that died had begun; nothing if it had come to its end."""
    with contextlib.suppress(FileNotFoundError):
        intent = files.read_json(intent_path(archive))
        identity = archive.identity() if archive.exists() else {}
        if identity.get("spool_id") != intent["spool_id"]:
            talk.note("undoing what an unfinished scribe-init left")
            with archive.base_lock():
                _undo(archive, conn, intent)
        files.sync_directory(archive.path)  # it may have been killed when archive.json had its name, and no more
        files.remove_file(intent_path(archive))


def _undo(archive: Archive, conn: psycopg.Connection[Any], intent: dict[str, Any]) -> None:
    """Remove slot, base and capture of an unfinished scribe-init."""
    name = intent["slot"]
    found = slot.find_slot(conn, name)
    if found is not None and found.database == conn.info.dbname:
        if not slot.wait_inactive(conn, name, 10):
            raise TryAgainError(
                f'could not drop replication slot "{name}": process {found.active_pid} uses it',
                "Run the same command again when that process has ended.",
            )
        slot.drop_slot(conn, name)
    decoder_named(intent.get("plugin", "scribe_decoder")).drop_slots(conn, name)
    if intent.get("base"):
        with contextlib.suppress(FileNotFoundError):
            files.remove_tree(archive.bases_path / intent["base"])
    files.remove_leftovers(archive.bases_path)
    files.remove_file(largeobjects.state_path(archive.spool))
    if intent.get("captured"):
        decoder_named(intent.get("plugin", "scribe_decoder")).retire(conn, name, lambda step: True)
        capture.uninstall(conn)


def _refuse_rewound(archive: Archive, reached: int) -> None:
    """Raise UsageError for a server that is older than the archive: files there are ordered by LSN.

    reached: an LSN that its WAL has reached, and beyond which it has nothing that counts.
    """
    last = archive.last_segment()
    ends = [base.consistent_point for base in archive.bases()] + ([last.to_lsn] if last else [])
    if ends and reached < max(ends):
        raise UsageError(
            f"the archive holds what was committed up to {format_lsn(max(ends))}, and the server's WAL ends"
            f" at {format_lsn(reached)}: it was put back to an older state, and a new chain cannot follow that archive",
            f'Move "{archive.path}" aside, where it stays restorable, then run "scribe-init" again.',
        )


def _begin_chain(archive: Archive, conn: psycopg.Connection[Any], options: Options, talk: Talker, state: State) -> None:
    """Create the slot and what goes with it; the archive names them when all is there."""
    _refuse_rewound(archive, inspect(conn).flush_lsn)
    spool = Spool(archive.spool)
    fresh = not capture.is_installed(conn)
    intent: dict[str, Any] = {"slot": options.slot, "spool_id": str(uuid.uuid4()), "captured": fresh}
    intent["plugin"] = options.plugin
    with (
        archive.base_lock(),  # or a scribe-dump would remove our base as a leftover
        files.Lock(spool.stream_lock, "scribe-stream is running"),
        files.Lock(spool.rotate_lock, "scribe-rotate is at work"),
    ):
        if state.identity is not None and state.slot is not None:
            slot.drop_slot(conn, state.slot.name)
            decoder_named(options.plugin).drop_slots(conn, state.slot.name)
        files.write_json(intent_path(archive), intent)
        try:
            objects: dict[str, Any] = {}
            begun, keep = _create_parts(archive, conn, options, talk, intent, objects=objects)
            _refuse_rewound(archive, begun)  # the slot is on another server if a standby has taken over meanwhile
            set_spool_aside(archive, talk)
            keep(spool)
            largeobjects.write_state(archive.spool, objects)
            spool.write_id(intent["spool_id"])
            name = state.identity["database"] if state.identity else None
            archive.write_identity(describe(conn, options, intent["spool_id"], begun, name))
        except BaseException:
            _undo_quietly(archive, conn, intent, talk)
            raise
    archive.clear_broken()
    files.remove_file(intent_path(archive))


def _create_parts(
    archive: Archive,
    conn: psycopg.Connection[Any],
    options: Options,
    talk: Talker,
    intent: dict[str, Any],
    *,
    objects: dict[str, Any],
) -> tuple[int, Callable[[Spool], None]]:
    """Install capture, set replica identities, create the slot, take the base; return where the chain begins.

    The second value keeps in the spool what the decoder must know of that point.

    objects: takes the state of the large objects as it was just before the slot.
    """
    if not capture.is_active(conn):
        talk.note("installing the capture objects")
        capture.install(conn, options.replica_identity, options.plugin, wait=options.wait, tell=talk.warn)
    if options.replica_identity == "full":
        capture.set_identities(conn, talk.note, options.wait, talk.warn)
    decoder = decoder_named(options.plugin)
    decoder.prepare(conn, options.slot)
    points: list[tuple[int, Callable[[Spool], None]]] = []

    def begin(gate: Gate) -> slot.Export:
        # before the slot, so that nothing that changes after the consistent point is taken for known
        objects.update(largeobjects.look(conn, None).state)
        talk.note(f'creating replication slot "{options.slot}"')
        gate.close()
        export = slot.create_slot(
            conn, options.slot, options.plugin, temporary=False, wait=options.wait, failover=options.failover
        )
        with connect() as reader, in_snapshot(reader, export.snapshot):
            points.append((export.consistent_point, decoder.look(reader, options.slot)))
        return export

    def announce(stamp: str) -> None:
        intent["base"] = stamp
        files.write_json(intent_path(archive), intent)

    def discard(export: slot.Export) -> None:
        export.conn.close()
        _drop_own(conn, options.slot)

    if options.with_base:
        take_aligned_base(archive, conn, options.request, talk, begin=begin, discard=discard, announce=announce)
    else:
        begin(NoGate()).conn.close()
    return points[-1]


def _drop_own(conn: psycopg.Connection[Any], name: str) -> None:
    slot.wait_inactive(conn, name, 10)
    slot.drop_slot(conn, name)


def _undo_quietly(archive: Archive, conn: psycopg.Connection[Any], intent: dict[str, Any], talk: Talker) -> None:
    """Undo after a failure; where that fails too, the record stays for the next run."""
    try:
        _undo(archive, conn, intent)
        files.remove_file(intent_path(archive))
    except (psycopg.Error, ScribeError, OSError) as error:
        talk.warn(f'could not undo everything ({error}); run "scribe-init" again to finish that')


def _remove_empty(archive: Archive, *, itself: bool) -> None:
    """Remove the archive's directories if nothing was put into them; itself: the archive's own, too."""
    with contextlib.suppress(OSError):
        for name in ("init.lock", "base.lock", "stream.lock", "rotate.lock"):
            (archive.spool / name).unlink(missing_ok=True)
        for path in (archive.cuts, archive.spool, archive.bases_path, archive.incremental, archive.globals_path):
            path.rmdir()
        if itself:
            archive.path.rmdir()


def set_spool_aside(archive: Archive, talk: Talker) -> None:
    """Move what is left of an older chain's stream out of the way, into spool/old-TIME/: it is not thrown away."""
    spool = Spool(archive.spool)
    for point in archive.pending_cuts():
        files.remove_file(archive.cuts / f"{point:016X}")
    left = [path for path in spool.paths() if path.stat().st_size > 0]
    if left:
        aside = archive.spool / f"old-{format_time(datetime.now(UTC))}"
        files.make_directory(aside)
        for path in left:
            path.rename(aside / path.name)
        files.sync_directory(aside)
        talk.warn(f'the older stream that no segment holds was moved to "{aside}"')
    for path in [*spool.paths(), spool.state_path, spool.bounds_path, spool.processes_path]:
        files.remove_file(path)  # the last one too: it names the timeline that the older chain followed
    files.sync_directory(archive.spool)


def describe(
    conn: psycopg.Connection[Any], options: Options, spool_id: str, begun: int, name: str | None = None
) -> dict[str, Any]:
    """Return archive.json for a chain that begins at LSN begun; name: the database's, in an archive that is there."""
    server = inspect(conn)
    return {
        "format_version": FORMAT_VERSION,
        "system_identifier": server.system_identifier,
        "database": name or server.database,
        "database_oid": server.database_oid,
        "slot": options.slot,
        "decoder": f"{options.plugin} {DECODER_VERSION}",
        **decoder_named(options.plugin).describe(conn, options.slot),
        **({"accepted_gaps": _gaps(options)} if options.accepted else {}),
        "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "spool_id": spool_id,
        "chain_from_lsn": format_lsn(begun),
        "encoding": fetch_value(conn, "SHOW server_encoding"),
        "server_version": server.version,
        "timeline": server.timeline,
    }


def remove(
    conn: psycopg.Connection[Any], name: str, plugin: str, talk: Talker, act: Callable[[str], bool], *, wait: float
) -> None:
    """Take slot, capture objects and the replica identities set by us out of the source; archive files stay.

    act: called with each step, returns whether to take it; wait: seconds for those who lock the capture objects. Raises
    TryAgainError while the slot is in use, or if they do not end in time.
    """
    if capture.has_triggers(conn) and not is_superuser(conn):
        hint = "Connect as a superuser with -U; to give up the slot alone, use sql/drop_slot.sql."
        raise UsageError("the capture objects can only be removed by a superuser", hint)
    found = slot.find_slot(conn, name)
    if found is not None and found.database == conn.info.dbname and found.plugin == plugin:
        if found.active:
            raise TryAgainError(
                f'could not drop replication slot "{name}": process {found.active_pid} uses it',
                "Stop scribe-stream, then run the same command again.",
            )
        if act(f'drop replication slot "{name}"'):
            slot.drop_slot(conn, name)
    decoder_named(plugin).drop_slots(conn, name, act)
    others = conn.execute(
        "SELECT slot_name FROM pg_catalog.pg_replication_slots"
        " WHERE database = pg_catalog.current_database() AND plugin = %s AND NOT temporary"
        " AND slot_name NOT IN (%s, pg_catalog.left(%s, 58) || '_kept')"  # decoder_raw has a second one
        " AND (plugin <> 'pgoutput' OR slot_name IN (SELECT pubname FROM pg_catalog.pg_publication"
        " WHERE pg_catalog.obj_description(oid, 'pg_publication') LIKE 'pg\\_scribe:%%'))",
        [plugin, name, name],
    ).fetchall()
    decoder_named(plugin).retire(conn, name, act)
    if plugin == gaps.PLUGIN and gaps.is_left(conn) and act("drop the database that an unfinished scribe-init left"):
        gaps.remove_database(conn)
    if others:
        talk.warn(f'the capture objects stay: replication slot "{others[0][0]}" needs them')
    elif capture.is_installed(conn) and act("remove the capture objects and the replica identities set by scribe-init"):
        for table in capture.uninstall(conn, wait=wait, tell=talk.warn):
            talk.warn(f"the replica identity of {table} stays FULL: the table is locked")
