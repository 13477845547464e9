"""Rotation: the whole transactions of the spool become segments, while the stream goes on.

Every step may be the last before a crash: a segment counts once its manifest is there, the spool's files go only
after that, and the next rotation passes over what segments already hold.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import psycopg

from scribe.archive.layout import Archive, Segment
from scribe.archive.shipping import Outbox
from scribe.common import files
from scribe.common.dialect import Sequence
from scribe.common.errors import ScribeError, TryAgainError
from scribe.common.lsn import file_lsn, format_lsn, parse_lsn
from scribe.decoders.registry import decoder_of
from scribe.source import largeobjects
from scribe.source import server as source
from scribe.spool.contents import Batch, Scan, Spool, Tape, alone, part_number
from scribe.stream.recovery import break_chain
from scribe.stream.writer import Circumstances, Piece, write_segment

LOCK_WAIT = 60.0  # seconds for another rotation, or a stream that starts, to end


@dataclass
class Report:
    """What a rotation did. archived: LSN at which the last segment ends; reached: up to which nothing is missing."""

    segments: list[Segment] = field(default_factory=list)
    archived: int = 0
    reached: int = 0
    planned: list[Piece] = field(default_factory=list)
    sequences_moved: bool = False
    objects_refused: bool = False
    torn_bytes: int = 0

    def as_json(self) -> dict[str, Any]:
        """Return it for --json."""
        keys = ("file", "from_lsn", "to_lsn", "bytes", "plain_bytes", "counts", "warnings")
        return {
            "archived_lsn": format_lsn(self.archived),
            "segments": [{key: segment.manifest[key] for key in keys} for segment in self.segments],
            "planned": [
                {"from_lsn": format_lsn(p.from_lsn), "to_lsn": format_lsn(p.to_lsn), "transactions": p.transactions}
                for p in self.planned
            ],
            "unfinished_bytes": self.torn_bytes,
        }


def lock(spool: Spool) -> files.Lock:
    """The lock under which the spool's files are renamed, cut or archived, and pg_recvlogical is started."""
    return files.Lock(spool.rotate_lock, "a rotation, or a stream that just starts, holds it", wait=LOCK_WAIT)


def plan(scan: Scan, archived: int, cuts: list[int]) -> list[Piece]:
    """Return the pieces of the tape that become segments.

    archived: LSN where the first begins; cuts: LSNs at which a segment must end, in order. A cut is made when a
    transaction past it is there, since only then everything before it is there too.
    """
    waiting = [lsn for lsn in cuts if lsn > archived]
    piece = Piece(scan.end, scan.end, archived)
    pieces: list[Piece] = []
    for part in _divide(scan, archived, waiting):
        if part.end_lsn <= archived:
            piece.start = piece.stop = part.stop
            continue
        if part.commit_lsn < archived:
            raise ScribeError(
                f"the spool holds a transaction from {format_lsn(part.commit_lsn)} to {format_lsn(part.end_lsn)}, "
                f"and the archive ends between, at {format_lsn(archived)}"
            )
        while waiting and part.commit_lsn >= waiting[0]:
            piece.to_lsn = waiting.pop(0)
            pieces.append(piece)
            piece = Piece(part.start, part.start, piece.to_lsn)
        if piece.first is None:
            piece.first = part.start
        piece.last, piece.stop, piece.to_lsn = part.last_start, part.stop, part.end_lsn
        piece.transactions += part.size
    return pieces + ([piece] if piece.transactions else [])


def _divide(scan: Scan, archived: int, waiting: list[int]) -> Iterator[Batch]:
    """Yield a scan's batches; transaction by transaction where the archive's end or the next cut may lie within."""
    for batch in scan.batches():
        ahead = batch.commit_lsn >= archived and not (waiting and batch.last_commit_lsn >= waiting[0])
        if ahead or batch.end_lsn <= archived:
            yield batch
        else:
            yield from map(alone, batch.each())


def remove_unfinished(archive: Archive) -> None:
    """Remove what a rotation that died left in incremental/: temporary names, and newest data without a manifest."""
    files.remove_leftovers(archive.incremental)
    files.remove_leftovers(archive.spool)
    last = archive.last_segment()
    newest = file_lsn(last.to_lsn) if last else ""
    names = {path.name for path in archive.incremental.iterdir()}
    for name in sorted(names):
        stem = name.split(".")[0]
        if name.endswith((".sql", ".sql.zst")) and f"{stem}.json" not in names and stem.rpartition("-")[2] > newest:
            (archive.incremental / name).unlink()


def previous_segment(archive: Archive, chain_from: int) -> Segment | None:
    """Return the last segment of the present chain, None where the chain has none yet."""
    last = archive.last_segment()
    return last if last is not None and last.to_lsn >= chain_from else None


def same_sequences(segment: Segment | None, sequences: list[Sequence]) -> bool:
    """Return whether the last segment has recorded exactly these positions."""
    known = segment.manifest["sequences"] if segment else []
    if known is None:
        return False
    return [(s["schema"], s["name"], s["last_value"], s["is_called"]) for s in known] == [
        (s.schema, s.name, s.last_value, s.is_called) for s in sequences
    ]


def _circumstances(
    archive: Archive,
    conn: psycopg.Connection[Any] | None,
    previous: Segment | None,
    compress: bool,
) -> Circumstances:
    """Read what the header, the footer and the manifest say of the source; from the last time where it is away."""
    identity = archive.identity()
    if conn is not None:
        server = source.inspect(conn)
        source.check_identity(server, identity)
        sequences, warnings = source.read_sequences(conn)
        return Circumstances(identity, server.version, server.timeline, sequences, None, warnings, compress)
    known = Spool(archive.spool).read_processes()
    known = previous.manifest if previous and "server_version" not in known else known
    if "server_version" not in known:
        raise TryAgainError("the server is away, and nothing is known of it yet", 'Check it with "pg_isready".')
    warning = ["the server was away: the positions of its sequences are not recorded"]
    return Circumstances(identity, known["server_version"], known["timeline"], None, None, warning, compress)


def _with_objects(
    facts: Circumstances, conn: psycopg.Connection[Any] | None, changes: largeobjects.Changes | None, capture: bool
) -> Circumstances:
    """Add what is to be sent, or else said, of large objects that changed."""
    if conn is None or not changes:
        return facts
    if capture and changes.readable:
        return replace(facts, objects=lambda: largeobjects.statements(conn, changes))
    return replace(
        facts, warnings=[*facts.warnings, "large objects changed, and by setting they are not in this archive"]
    )


def _finish(archive: Archive, spool: Spool, tape: Tape, end: int) -> None:
    """Remove the parts that segments hold entirely, and remember where the next rotation begins."""
    parts = spool.parts()
    place = tape.place(end) if parts else None
    numbers = [part_number(path) for path in parts]
    last = max(numbers, default=int(spool.read_state().get("part", 0)))
    if place is not None and end:
        files.write_json(spool.state_path, {"part": last, "file": place.path.name, "offset": place.offset})
    for path in parts:
        stop = tape.offset(path, os.path.getsize(path))
        if stop is None or stop > end or not end:
            break
        path.unlink()
        files.sync_directory(spool.path)


def _remove_cuts(archive: Archive, archived: int, chain_from: int, warn: Callable[[str], None]) -> None:
    ends = {name[17:33] for name in archive.segment_names()}
    for lsn in archive.pending_cuts():
        if lsn > archived:
            continue
        if file_lsn(lsn) not in ends and lsn != chain_from:
            warn(f"no segment ends at {format_lsn(lsn)}: it was archived before the cut was asked for")
        files.remove_file(archive.cuts / file_lsn(lsn))


def rotate(
    archive: Archive,
    conn: psycopg.Connection[Any] | None,
    *,
    compress: bool = True,
    capture_objects: bool = True,
    command: str | None = None,
    warn: Callable[[str], None] = lambda text: None,
    recorded: Mapping[str, Any] | None = None,
    dry_run: bool = False,
) -> Report:
    """Turn the whole transactions in the spool into segments.

    conn: None when the server is away; compress: zstd; capture_objects: send large objects that changed, else only say
    that they did; command: SCRIBE_ARCHIVE_COMMAND; recorded: what the source held, for the newest
    segment. Raises TryAgainError when
    another rotation runs, ScribeError when the spool is damaged.
    """
    spool = Spool(archive.spool)
    with lock(spool):
        identity = archive.identity()
        chain_from, decoder = parse_lsn(identity["chain_from_lsn"]), decoder_of(identity)
        if not dry_run:
            remove_unfinished(archive)
            files.sync_directory(archive.incremental)  # one that was killed may have named a segment, and no more
            decoder.close(spool)
        previous = previous_segment(archive, chain_from)
        report = Report(archived=previous.to_lsn if previous else chain_from)
        if not dry_run:
            _examine(archive, spool, conn, report.archived)
        outbox = Outbox(archive, command)
        with Tape(spool.paths() if dry_run else spool.parts()) as tape:
            scan = decoder.scan(tape, decoder.find_start(tape, spool, report.archived))
            text = decoder.open_text(spool, tape, scan)
            pieces = plan(scan, report.archived, archive.pending_cuts())
            scan.refuse_damage()
            report.torn_bytes = tape.size - scan.end
            if dry_run:
                report.planned = pieces
                return report
            noted = largeobjects.read_noted(archive.spool)
            changes = None if conn is None else largeobjects.look_again(conn, archive.spool, noted)
            facts = None
            if pieces or conn is not None:
                facts = replace(_circumstances(archive, conn, previous, compress), recorded=recorded)
                facts = _with_objects(facts, conn, changes, capture_objects)
            for piece in pieces:
                assert facts is not None
                newest = piece is pieces[-1]
                previous = write_segment(
                    archive, text, piece, facts, previous=previous, announce=outbox.add, newest=newest
                )
                report.segments.append(previous)
                report.archived = piece.to_lsn
            if changes is not None and (pieces or not changes):
                largeobjects.write_state(archive.spool, changes.state)
                for path in noted:
                    files.remove_file(path)
            text.save()
            _finish(archive, spool, tape, scan.end)
            report.reached = max(report.archived, scan.position)
        _remove_cuts(archive, report.archived, chain_from, warn)
        if facts is not None and facts.sequences is not None and not pieces:
            report.sequences_moved = not same_sequences(previous, facts.sequences) or bool(changes)
        report.objects_refused = changes is not None and bool(changes) and not (capture_objects and changes.readable)
        if conn is not None:
            decoder.release(conn, identity["slot"], report.reached, warn)
            _refresh_globals(archive, conn, warn)
        outbox.catch_up()
    outbox.send(warn)  # without the lock, for which a stream that starts would have to wait
    return report


def _examine(archive: Archive, spool: Spool, conn: psycopg.Connection[Any] | None, archived: int) -> None:
    """Archive nothing that follows what the stream did not tell. Raises ScribeError, after recording that.

    Called when the spool's files are closed: what is committed later is not in them.
    """
    identity = archive.identity()
    decoder = decoder_of(identity)
    if conn is None:
        if decoder.needs_source(identity):
            raise TryAgainError(
                "the server is away, and only it can tell whether the schema was changed", 'Check it with "pg_isready".'
            )
        return
    reason = decoder.fault(conn, identity) or decoder.examine(conn, spool, identity)
    if reason is not None:
        raise break_chain(archive, reason, archived)


def _refresh_globals(archive: Archive, conn: psycopg.Connection[Any], warn: Callable[[str], None]) -> None:
    from scribe.source import metadata

    try:
        metadata.refresh_globals(archive, conn, warn)
    except (ScribeError, psycopg.Error, OSError) as error:
        warn(f"could not refresh the globals: {str(error).strip().splitlines()[0] if str(error) else error!r}")
