"""The decoder decoder_raw: Michael Paquier's plugin, for sites that run it already.

It writes SQL without LSNs. Where an LSN lies in the spool is known from the moments at which pg_recvlogical closes a
file (file_lsns.py), so these are where it starts again, where segments end, and what a restore can stop at. The server
may have been told of more than the last of them when pg_recvlogical, or either machine, dies: a second slot stays
behind at a bound that segments hold, and the stream's slot is made again as a copy of that one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql

from scribe.common.errors import ScribeError, TryAgainError
from scribe.common.files import Lock
from scribe.common.lsn import format_lsn, parse_lsn
from scribe.common.postgres import connect, fetch_value, plugin_options
from scribe.common.settings import Settings
from scribe.decoders.base import Decoder, Text
from scribe.decoders.decoder_raw import file_lsns as bounds
from scribe.decoders.decoder_raw.output import COMMIT
from scribe.decoders.decoder_raw.stream import RawScan, RawTranslator
from scribe.decoders.pgoutput import pinned_options, read_capture, read_knowledge, remember_owners, write_knowledge
from scribe.source import capture
from scribe.source.slot import Slot, drop_slot, find_slot
from scribe.spool.contents import Scan, Spool, Tape, part_number

MANY_PARTS = 64  # so many more, and the spool's files are closed half as often
SLOT_WAIT = 5.0  # seconds for a walsender to notice that its client is gone
_CLOCK = "SELECT extract(epoch FROM pg_catalog.clock_timestamp())::float8"
_COUNT = """
SELECT count(*) FROM pg_catalog.pg_logical_slot_peek_changes(%s, %s, NULL, 'include_transaction', 'on')
WHERE data = 'COMMIT;' AND lsn > %s AND lsn <= %s
"""
_FACTS = "SELECT relid, facts FROM scribe.read_facts(NULL)"
_OIDS = "SELECT pg_catalog.to_regclass(%s)::pg_catalog.oid::int8"


def kept_slot(slot: str) -> str:
    """Return the name of the slot that stays behind."""
    return f"{slot[:58]}_kept"


class DecoderRaw(Decoder):
    """See the module."""

    plugin = "decoder_raw"
    points = "segment"
    may_crash = True
    failover = False  # a copy of a slot is none that standbys keep

    def fault(self, conn: psycopg.Connection[Any], identity: Mapping[str, Any]) -> str | None:
        """See Decoder: a table whose changes would crash the server."""
        rows = conn.execute(capture.ENDANGERED).fetchall()
        if not rows:
            return None
        table = sql.Identifier(*rows[0]).as_string(conn)
        return (
            f"table {table} has REPLICA IDENTITY USING INDEX and no valid index, and decoding an UPDATE or DELETE of it"
            f' would crash the server: run "ALTER TABLE {table} REPLICA IDENTITY FULL"'
        )

    def needs_source(self, identity: Mapping[str, Any]) -> bool:
        """See Decoder: only the server can tell that rows of ddl_history are capture's."""
        return True

    def examine(self, conn: psycopg.Connection[Any], spool: Spool, identity: Mapping[str, Any]) -> str | None:
        """See Decoder: the stream names tables, and whoever may make others of capture's names could give orders."""
        knowledge = read_knowledge(spool)
        for name, known in (("ddl_history", knowledge.audit), ("table_facts", knowledge.store)):
            if fetch_value(conn, _OIDS, [f"scribe.{name}"]) not in known:
                return f"table scribe.{name} was dropped, or recreated by somebody else"
        return None

    def look(self, conn: psycopg.Connection[Any], slot: str) -> Callable[[Spool], None]:
        """See Decoder; makes the second slot, too."""
        remember_owners(conn)
        knowledge = read_capture(conn, "", _FACTS)
        clock: float = fetch_value(conn, _CLOCK)
        with connect() as own:
            drop_slot(own, kept_slot(slot))
            _copy_slot(own, slot, kept_slot(slot))
            made = find_slot(own, slot)
        assert made is not None and made.confirmed_flush is not None
        point = parse_lsn(made.confirmed_flush)

        def keep(spool: Spool) -> None:
            write_knowledge(spool, knowledge)
            bounds.begin(spool, point, clock)

        return keep

    def look_again(self, conn: psycopg.Connection[Any], spool: Spool) -> None:
        """See Decoder."""
        knowledge = read_knowledge(spool)
        found = read_capture(conn, "", _FACTS)
        knowledge.audit |= found.audit
        knowledge.store |= found.store
        write_knowledge(spool, knowledge)

    def drop_slots(
        self, conn: psycopg.Connection[Any], slot: str, act: Callable[[str], bool] = lambda step: True
    ) -> None:
        """See Decoder."""
        kept = find_slot(conn, kept_slot(slot))
        ours = kept is not None and (kept.database, kept.plugin) == (conn.info.dbname, self.plugin)
        if ours and act(f'drop replication slot "{kept_slot(slot)}"'):
            drop_slot(conn, kept_slot(slot))

    def receiver_options(self, identity: Mapping[str, Any], left_out: Sequence[str] = ()) -> list[str]:
        """See Decoder."""
        return [*super().receiver_options(identity, left_out), "--option=include_transaction=on"]

    def server_options(self, identity: Mapping[str, Any]) -> str:
        """See Decoder."""
        return pinned_options(str(identity["encoding"]))

    def intervals(self, settings: Settings) -> tuple[int, int]:
        """See Decoder: nothing is confirmed but where a file is closed."""
        return bounds.STATUS_INTERVAL, bounds.FSYNC_INTERVAL

    def ready(self, conn: psycopg.Connection[Any], spool: Spool, identity: Mapping[str, Any]) -> None:
        """See Decoder: bring the slot back to the second one where it stands beyond the last bound."""
        name, last = str(identity["slot"]), bounds.read(spool)[-1].lsn
        slot, kept = _await(conn, name), _await(conn, kept_slot(name))
        if (slot is not None and slot.active) or (kept is not None and kept.active):
            return
        if kept is not None and not (kept.usable and _confirmed(kept) <= last):
            return  # recovery says what that means
        if slot is not None and slot.usable and _confirmed(slot) <= last:
            if kept is None:
                _copy_slot(conn, name, kept_slot(name))
        elif kept is not None and (slot is None or slot.plugin == self.plugin):
            drop_slot(conn, name)
            _copy_slot(conn, kept_slot(name), name)

    def started(self, conn: psycopg.Connection[Any], spool: Spool, position: int) -> None:
        """See Decoder."""
        bounds.start(spool, position, fetch_value(conn, _CLOCK))

    def missing(self, position: int, confirmed: int) -> str | None:
        """See Decoder."""
        if confirmed <= position:
            return None
        return (
            f"the replication slot stands at {format_lsn(confirmed)}, the spool ends at {format_lsn(position)},"
            " and there is no second slot to go back to"
        )

    def close(self, spool: Spool) -> None:
        """See Decoder."""
        bounds.close(spool)

    def tend(self, spool: Spool, settings: Settings, since: float, *, final: bool = False) -> float:
        """See Decoder: close the file now and then, so that the slot moves on."""
        parts = sum(1 for path in spool.path.iterdir() if part_number(path))
        due = since + settings["SCRIBE_FSYNC_INTERVAL"] * 2 ** min(parts // MANY_PARTS, 12)
        if not final and time.monotonic() < due:
            return since
        try:
            with Lock(spool.rotate_lock, "a rotation is running"):
                bounds.close(spool)
        except (TryAgainError, OSError):  # the next time will do
            return since
        return time.monotonic()

    def release(self, conn: psycopg.Connection[Any], slot: str, position: int, warn: Callable[[str], None]) -> None:
        """See Decoder: the second slot moves up to what segments hold."""
        name = kept_slot(slot)
        try:
            kept = find_slot(conn, name)
            if kept is not None and not kept.active and _confirmed(kept) < position:
                conn.execute("SELECT pg_catalog.pg_replication_slot_advance(%s, %s)", [name, format_lsn(position)])
        except psycopg.Error as error:
            warn(f'could not move replication slot "{name}" on: {str(error).strip().splitlines()[0]}')

    def place_cut(self, conn: psycopg.Connection[Any], spool: Spool, identity: Mapping[str, Any], lsn: int) -> None:
        """See Decoder: count, by decoding it once more, what comes before the point."""
        after, copy = bounds.read(spool)[-1].lsn, f"scribe_count_{conn.info.backend_pid}"
        if find_slot(conn, kept_slot(identity["slot"])) is None:
            raise TryAgainError("the second replication slot is missing", "Start scribe-stream, which makes it.")
        _copy_slot(conn, kept_slot(identity["slot"]), copy, temporary=True)
        try:
            if _confirmed_of(conn, copy) < after:
                conn.execute("SELECT pg_catalog.pg_replication_slot_advance(%s, %s)", [copy, format_lsn(after)])
            with _allowed(conn):
                count = fetch_value(conn, _COUNT, [copy, format_lsn(lsn), format_lsn(after), format_lsn(lsn)])
        finally:
            drop_slot(conn, copy)
        bounds.add_cut(spool, bounds.Cut(lsn, after, count))

    def scan(self, tape: Tape, start: int, position: int = 0, tick: Callable[[], None] = lambda: None) -> Scan:
        """See Decoder."""
        files = tape.ends()
        if not files:
            return RawScan(tape, start, [], [], tick)
        spool = Spool(files[0][0].parent)
        return RawScan(tape, start, bounds.read(spool), bounds.read_cuts(spool), tick)

    def find_start(self, tape: Tape, spool: Spool, archived: int) -> int:
        """See Decoder: nothing but the last rotation's record can tell a transaction's beginning."""
        hint = spool.read_state()
        numbers = [number for path, _ in tape.ends() if (number := part_number(path))]
        if isinstance(hint.get("file"), str) and isinstance(hint.get("offset"), int):
            offset = tape.offset(spool.path / hint["file"], hint["offset"])
            if offset is not None:
                return offset
        if "part" not in hint and numbers and numbers[0] > bounds.read(spool)[0].part + 1:
            raise ScribeError(
                f'the spool\'s record "{spool.state_path}" does not fit its files',
                'If it cannot be brought back from a copy, run "scribe-init" to begin a new chain.',
            )
        return 0

    def frames_after(self, tape: Tape, offset: int, position: int) -> int | None:
        """See Decoder: what is cut is sent again from position on, which only the last bound tells."""
        return None

    def first_time(self, block: bytes) -> str | None:
        """See Decoder."""
        return None

    def mark(self, name: str) -> bytes:
        """See Decoder."""
        return f"\nINSERT INTO scribe.mark (name) VALUES ('{name}');\n".encode()

    def end_after(self, tape: Tape, offset: int) -> int | None:
        """See Decoder: whether the mark's transaction is whole; its LSN is not known."""
        data = b""
        for block in tape.blocks(offset):
            data += block
            if b"\n" + COMMIT in b"\n" + data:
                return 1
        return None

    def open_text(self, spool: Spool, tape: Tape, scan: Scan) -> Text:
        """See Decoder."""
        assert isinstance(scan, RawScan)
        knowledge = read_knowledge(spool)

        def save() -> None:
            if knowledge.changed:
                write_knowledge(spool, knowledge)
                knowledge.changed = False
            if scan.stretches:
                bounds.forget(spool, scan.stretches[0].lower, scan.cuts_left())

        return RawTranslator(tape, scan, knowledge, save)


def _confirmed(slot: Slot) -> int:
    return parse_lsn(slot.confirmed_flush) if slot.confirmed_flush else 0


def _await(conn: psycopg.Connection[Any], name: str) -> Slot | None:
    """Return a slot once nobody reads it; recovery waits once more, and says who does."""
    deadline = time.monotonic() + SLOT_WAIT
    while (slot := find_slot(conn, name)) is not None and slot.active and time.monotonic() < deadline:
        time.sleep(0.05)
    return slot


def _confirmed_of(conn: psycopg.Connection[Any], name: str) -> int:
    slot = find_slot(conn, name)
    return _confirmed(slot) if slot is not None else 0


@contextmanager
def _allowed(conn: psycopg.Connection[Any]) -> Iterator[None]:
    """Let the plugin be loaded in this session while the block runs, as plugin_options() does for another one."""
    with conn.transaction():
        if plugin_options(conn, DecoderRaw.plugin):
            conn.execute("SELECT pg_catalog.set_config('output_plugin_libraries', %s, true)", [DecoderRaw.plugin])
        yield


def _copy_slot(conn: psycopg.Connection[Any], source: str, target: str, *, temporary: bool = False) -> None:
    with _allowed(conn):
        conn.execute("SELECT pg_catalog.pg_copy_logical_replication_slot(%s, %s, %s)", [source, target, temporary])
