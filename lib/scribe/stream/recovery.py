"""Before a start of pg_recvlogical: cut the spool after its last whole transaction, and prove that nothing is missing.

The server never sends again what it has had confirmed, and silently swallows what lies before a start position that
is too far ahead; so what the spool holds is compared with the server before anything is cut or asked for.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psycopg

from scribe.archive.layout import Archive
from scribe.common.errors import ScribeError, TryAgainError
from scribe.common.lsn import format_lsn, parse_lsn
from scribe.decoders.registry import decoder_of, plugin_of
from scribe.source.server import NEW_CHAIN, ReplacedError, Server, check_identity, timeline_switch
from scribe.source.slot import Slot
from scribe.spool import confirmed_position as confirmation
from scribe.spool.contents import Spool, Tape, cut, sync


def break_chain(archive: Archive, reason: str, lsn: int) -> ScribeError:
    """Record that the chain is broken after lsn, and return the error that says so."""
    archive.declare_broken(reason, lsn)
    return ScribeError(f"the chain is broken after {format_lsn(lsn)}: {reason}", NEW_CHAIN)


def refuse_broken(archive: Archive) -> None:
    """Raise ScribeError if the chain is known to be broken."""
    known = archive.broken()
    if known is not None:
        raise ScribeError(
            f"the chain is broken after {known.get('lsn')} since {known.get('since')}: {known.get('reason')}", NEW_CHAIN
        )


def check_source(archive: Archive, server: Server) -> None:
    """Raise UsageError unless the archive is this database's; ScribeError, on record, if that is gone for good."""
    try:
        check_identity(server, archive.identity())
    except ReplacedError as error:
        refuse_broken(archive)
        raise break_at_end(archive, error.message) from None


def check_slot(archive: Archive, slot: Slot | None, server: Server) -> Slot:
    """Return the slot if it is the archive's. Raises ScribeError, after recording it where the chain is broken."""
    identity = archive.identity()
    name = identity["slot"]
    plugin = plugin_of(identity)
    if slot is None and server.in_recovery:
        raise ScribeError(
            f'replication slot "{name}" does not exist on this standby',
            "Connect to the primary, or see SCRIBE_FAILOVER for a slot that standbys keep.",
        )
    refuse_broken(archive)
    if slot is None:
        raise break_at_end(archive, f'replication slot "{name}" does not exist')
    if slot.plugin != plugin or slot.database != server.database:
        reason = f'replication slot "{name}" is another one: for database "{slot.database}" with "{slot.plugin}"'
        raise break_at_end(archive, reason)
    return slot


def check_stream(archive: Archive, conn: psycopg.Connection[Any]) -> None:
    """Raise ScribeError, after recording it, if the source no longer sends everything."""
    identity = archive.identity()
    fault = decoder_of(identity).fault(conn, identity)
    if fault is not None:
        raise break_at_end(archive, fault)


def break_at_end(archive: Archive, reason: str) -> ScribeError:
    """Break the chain after the last whole transaction in the spool, or where that cannot be read, the last segment."""
    archived = archive.archived_lsn()
    lsn = archived
    with suppress(ScribeError):
        lsn = max(archived, _end(archive, archived, lambda: None))
    return break_chain(archive, reason, lsn)


def followed_timeline(archive: Archive, server: Server) -> int:
    """Return the timeline that the end of the present chain was written on; the server's where nothing tells."""
    known = Spool(archive.spool).read_processes().get("timeline")
    if isinstance(known, int):
        return known
    identity, last = archive.identity(), archive.last_segment()
    if last is not None and last.to_lsn >= parse_lsn(identity["chain_from_lsn"]):
        return int(last.manifest["timeline"])
    return int(identity.get("timeline", server.timeline))


def _check_server(archive: Archive, server: Server, position: int) -> None:
    """Raise unless the server is the continuation of the one that the spool came from."""
    old = followed_timeline(archive, server)
    switch = None
    if old != server.timeline:
        switch = timeline_switch(archive.identity(), old, server.timeline) if old < server.timeline else None
        if switch is None or switch < position:
            where = "does not descend from it" if switch is None else f"left it at {format_lsn(switch)}"
            raise break_chain(
                archive, f"the archive follows timeline {old}, and the server's {server.timeline} {where}", position
            )
    if position > server.flush_lsn:
        # recorded, since its WAL will have grown past this position some day, with other transactions in it
        reason = (
            f"the server is older than the archive: its WAL ends at {format_lsn(server.flush_lsn)}, "
            f"and the archive holds {format_lsn(position)}"
        )
        raise break_chain(archive, reason, position)
    if switch is not None:
        archive.leave_timeline(old, switch)


def _check_spool(archive: Archive, spool: Spool, slot: Slot, archived: int) -> None:
    """Make the spool if it never was; raise ScribeError if it vanished with what the server will not send again."""
    wanted, found = archive.identity()["spool_id"], spool.read_id()
    filled = [path for path in spool.paths() if os.path.getsize(path)]
    if found != wanted and filled:
        raise ScribeError(f'the files in "{spool.path}" belong to another archive', "Move them away, then start again.")
    gone = found != wanted or not spool.paths()
    if gone and slot.confirmed_flush and parse_lsn(slot.confirmed_flush) > archived:
        raise break_chain(archive, "the spool is gone, and the server will not send what was in it again", archived)
    if gone:
        spool.create_stream()
        spool.write_id(wanted)


def _check_confirmations(archive: Archive, slot: Slot, position: int) -> None:
    """Raise, after recording it, if somebody else has moved the slot or recreated it."""
    confirmed = parse_lsn(slot.confirmed_flush) if slot.confirmed_flush else 0
    highest = confirmation.highest(archive.spool, parse_lsn(archive.identity()["chain_from_lsn"]))
    if highest is not None and confirmed > max(highest, position):
        reason = (
            f"the replication slot was recreated or moved by somebody else: it stands at {format_lsn(confirmed)}, "
            f"and scribe-stream has confirmed no more than {format_lsn(highest)}"
        )
        raise break_chain(archive, reason, position)
    confirmation.begin(archive.spool, max(confirmed, highest or 0))


def recover(archive: Archive, server: Server, slot: Slot, tick: Callable[[], None] = lambda: None) -> int:
    """Cut the spool after its last whole transaction, put it on disk, and return the LSN to start from.

    Called under rotate.lock with no pg_recvlogical running. tick: called once for every block read.
    Raises ScribeError, after recording it, when the chain is broken.
    """
    refuse_broken(archive)
    spool = Spool(archive.spool)
    archived = archive.archived_lsn()
    if not slot.usable:
        raise break_chain(archive, _lost(slot), max(archived, _end(archive, archived, tick)))
    _check_spool(archive, spool, slot, archived)
    confirmed = parse_lsn(slot.confirmed_flush) if slot.confirmed_flush else 0
    decoder = decoder_of(archive.identity())
    with Tape(spool.paths()) as tape:
        scan = decoder.scan(tape, decoder.find_start(tape, spool, archived), tick=tick).run()
        position = max(scan.position, archived)
        _check_server(archive, server, position)
        if scan.end < tape.size:
            lowest = decoder.frames_after(tape, scan.end, position)
            if lowest is not None and confirmed > lowest:
                reason = f"the spool is damaged ({scan.damage or 'cut short'}), and the server will not send it again"
                raise break_chain(archive, reason, position)
        _check_confirmed(archive, spool, position, confirmed)
        if (missing := decoder.missing(position, confirmed)) is not None:
            raise break_chain(archive, missing, position)
        if scan.end < tape.size:
            cut(spool, tape.place(scan.end))
    _check_confirmations(archive, slot, position)
    spool.create_stream()
    sync(spool)
    return position


def _check_confirmed(archive: Archive, spool: Spool, position: int, confirmed: int) -> None:
    known = spool.read_processes().get("position")
    if isinstance(known, str) and parse_lsn(known) > position and confirmed > position:
        raise break_chain(archive, f"the spool held everything up to {known}, and its end is gone", position)


def _lost(slot: Slot) -> str:
    why = slot.invalidation or "the server removed WAL that it needed"
    return f'replication slot "{slot.name}" is lost ({why})'


def _end(archive: Archive, archived: int, tick: Callable[[], None]) -> int:
    spool, decoder = Spool(archive.spool), decoder_of(archive.identity())
    with Tape(spool.paths()) as tape:
        return decoder.scan(tape, decoder.find_start(tape, spool, archived), tick=tick).run().position


def tidy(archive: Archive) -> None:
    """After a clean stop: cut a torn end, and put the spool on disk; anything unusual is left for the next start."""
    spool, decoder = Spool(archive.spool), decoder_of(archive.identity())
    with Tape(spool.paths()) as tape:
        scan = decoder.scan(tape, decoder.find_start(tape, spool, archive.archived_lsn())).run()
        if scan.damage is None and scan.end < tape.size:
            cut(spool, tape.place(scan.end))
    spool.create_stream()
    sync(spool)


def await_slot(look: Callable[[], Slot | None], wait: Callable[[float], None], tries: int = 50) -> Slot | None:
    """Return the slot once nobody reads it; a walsender notices within moments that its client is gone.

    look: asks the server; wait: sleeps so many seconds. Raises TryAgainError after tries times 0.1 s.
    """
    for _ in range(tries):
        slot = look()
        if slot is None or not slot.active:
            return slot
        wait(0.1)
    assert slot is not None
    raise TryAgainError(
        f'replication slot "{slot.name}" is in use by server process {slot.active_pid}',
        "Stop the other program that reads it, or wait for wal_sender_timeout if its connection was cut.",
    )
