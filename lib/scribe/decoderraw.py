"""The decoder decoder_raw: Michael Paquier's plugin, for sites that run it already. It writes SQL without LSNs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import psycopg
from psycopg import sql

from scribe.capture import ENDANGERED
from scribe.decoder import Decoder, Text
from scribe.errors import ScribeError
from scribe.pgoutput import pinned_options
from scribe.spool import Scan, Spool, Tape

_NOT_YET = ScribeError("this version cannot read the stream of decoder_raw yet")


class DecoderRaw(Decoder):
    """See the module."""

    plugin = "decoder_raw"

    def fault(self, conn: psycopg.Connection[Any], identity: Mapping[str, Any]) -> str | None:
        """See Decoder: a table whose changes would crash the server."""
        rows = conn.execute(ENDANGERED).fetchall()
        if not rows:
            return None
        table = sql.Identifier(*rows[0]).as_string(conn)
        return (
            f"table {table} has REPLICA IDENTITY USING INDEX and no valid index, and decoding an UPDATE or DELETE of it"
            f' would crash the server: run "ALTER TABLE {table} REPLICA IDENTITY FULL"'
        )

    def receiver_options(self, identity: Mapping[str, Any]) -> list[str]:
        """See Decoder."""
        return ["--option=include_transaction=on"]

    def server_options(self, identity: Mapping[str, Any]) -> str:
        """See Decoder."""
        return pinned_options(str(identity["encoding"]))

    def scan(self, tape: Tape, start: int, position: int = 0, tick: Callable[[], None] = lambda: None) -> Scan:
        """See Decoder."""
        raise _NOT_YET

    def find_start(self, tape: Tape, spool: Spool, archived: int) -> int:
        """See Decoder."""
        raise _NOT_YET

    def frames_after(self, tape: Tape, offset: int, position: int) -> int | None:
        """See Decoder."""
        raise _NOT_YET

    def first_time(self, block: bytes) -> str | None:
        """See Decoder."""
        return None

    def mark(self, name: str) -> bytes:
        """See Decoder."""
        raise _NOT_YET

    def end_after(self, tape: Tape, offset: int) -> int | None:
        """See Decoder."""
        raise _NOT_YET

    def open_text(self, spool: Spool, tape: Tape, start: int) -> Text:
        """See Decoder."""
        raise _NOT_YET
