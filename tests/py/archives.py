"""Archives made by hand, for tests that look at the spool and its rotation without a base."""

from __future__ import annotations

from pathlib import Path

import psycopg

from scribe.archive.layout import Archive
from scribe.common.lsn import format_lsn
from scribe.source.slot import create_slot
from scribe.spool.contents import Spool

IDENTITY = {
    "format_version": 1,
    "system_identifier": "1",
    "database": "shop",
    "database_oid": 5,
    "slot": "scribe_shop",
    "decoder": "scribe_decoder",
    "created": "2026-11-22T02:00:00Z",
    "spool_id": "s1",
    "chain_from_lsn": "0/100",
    "encoding": "UTF8",
}


def make_archive(path: Path, **changes: object) -> Archive:
    """Return a new archive that belongs to no server, with an empty spool; changes: to archive.json."""
    archive = Archive(path)
    archive.create_directories()
    identity = IDENTITY | changes
    archive.write_identity(identity)
    spool = Spool(archive.spool)
    spool.reset(str(identity["spool_id"]))
    spool.processes_path.write_text('{"server_version": "15.18", "timeline": 1}')
    return archive


def attach_archive(path: Path, conn: psycopg.Connection[object], slot: str) -> Archive:
    """Return a new archive that begins at a new slot in conn's database; capture is not installed."""
    export = create_slot(conn, slot, "scribe_decoder", temporary=False, wait=30)
    export.conn.close()
    row = conn.execute(
        "SELECT (SELECT system_identifier::text FROM pg_control_system()), datname, oid::int8,"
        " pg_encoding_to_char(encoding) FROM pg_database WHERE datname = current_database()"
    ).fetchone()
    assert isinstance(row, tuple)
    names = ("system_identifier", "database", "database_oid", "encoding")
    changes = dict(zip(names, row, strict=True))
    return make_archive(path, **changes, slot=slot, chain_from_lsn=format_lsn(export.consistent_point))


def transaction(commit: int, body: bytes = b"", *, xid: int = 7, length: int = 8) -> bytes:
    """Return a transaction as the decoder writes it; its end LSN is commit + length."""
    return (
        b"BEGIN; -- xid %d commit %b time 2026-11-22 13:07:00.123456+00\n" % (xid, format_lsn(commit).encode())
        + body
        + b"COMMIT; -- end %b\n" % format_lsn(commit + length).encode()
    )
