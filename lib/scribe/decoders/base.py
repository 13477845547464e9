"""What an output plugin is to the archive: the seam.

A decoder says how pg_recvlogical asks for its stream, how the spool is cut into whole transactions, and how these
become the SQL of docs/format.md: the seven methods of Decoder. What else it may do has a default, in Steps. Nothing
that reads a segment knows which decoder it came from.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import psycopg

from scribe.common.errors import UsageError
from scribe.common.settings import Settings
from scribe.spool.contents import Scan, Spool, Tape
from scribe.spool.switch_file import switch


class Text(ABC):
    """The SQL of a spool. Pieces are asked for once each, in the order of the tape."""

    points = "transaction"  # where a restore can stop: after each of them, or only where a segment ends

    @abstractmethod
    def blocks(self, start: int, stop: int) -> Iterator[bytes]:
        """Yield the SQL of the whole transactions between two tape offsets. Raises ScribeError."""

    @abstractmethod
    def commit_time(self, offset: int) -> str | None:
        """Return the commit time, as in a BEGIN line, of the transaction at a tape offset."""

    def save(self) -> None:  # noqa: B027  most decoders carry nothing over
        """Keep what the next rotation must know of what was read; before anything of it is removed from the spool."""


class Steps:
    """What a decoder may have to do at a step of the programs besides reading its stream; by default nothing.

    In the order of an archive's life: is the source as it has to be, set-up, the stream, a rotation, the end.
    """

    plugin: str

    def fault(self, conn: psycopg.Connection[Any], identity: Mapping[str, Any]) -> str | None:
        """Return why the source no longer sends everything, None where it does; identity: archive.json."""
        return None

    def needs_source(self, identity: Mapping[str, Any]) -> bool:
        """Whether nothing may be archived before the source was examined."""
        return False

    def examine(self, conn: psycopg.Connection[Any], spool: Spool, identity: Mapping[str, Any]) -> str | None:
        """Return what happened in the source that the stream does not tell, None where nothing did."""
        return None

    def prepare(self, conn: psycopg.Connection[Any], slot: str) -> None:  # noqa: B027
        """Make what the plugin needs in the source, before the slot is made."""

    def describe(self, conn: psycopg.Connection[Any], slot: str) -> dict[str, Any]:
        """Return what archive.json says for this plugin beyond its name."""
        return {}

    def look(self, conn: psycopg.Connection[Any], slot: str) -> Callable[[Spool], None]:
        """Read what the stream will not say; conn sees the snapshot at which it begins. Return what keeps it."""
        return lambda spool: None

    def look_again(self, conn: psycopg.Connection[Any], spool: Spool) -> None:  # noqa: B027
        """Take note of capture objects that were recreated while the chain goes on."""

    def receiver_options(self, identity: Mapping[str, Any], left_out: Sequence[str] = ()) -> list[str]:
        """Return what pg_recvlogical is to ask of the plugin, as its flags; identity: archive.json.

        left_out: what SCRIBE_LEAVE_OUT names. Raises UsageError if the decoder cannot leave anything out.
        """
        if left_out:
            raise UsageError(
                f"{self.plugin} cannot leave anything out",
                "Unset SCRIBE_LEAVE_OUT; only scribe_decoder knows it.",
            )
        return []

    def server_options(self, identity: Mapping[str, Any]) -> str:
        """Return the "-c name=value" options of pg_recvlogical's connection."""
        return ""

    def intervals(self, settings: Settings) -> tuple[int, int]:
        """Return pg_recvlogical's --status-interval and --fsync-interval in seconds."""
        return settings["SCRIBE_STATUS_INTERVAL"], settings["SCRIBE_FSYNC_INTERVAL"]

    def ready(self, conn: psycopg.Connection[Any], spool: Spool, identity: Mapping[str, Any]) -> None:  # noqa: B027
        """Before recovery: make the slot fit to go on from what the spool holds."""

    def started(self, conn: psycopg.Connection[Any], spool: Spool, position: int) -> None:  # noqa: B027
        """After recovery has cut the spool: pg_recvlogical will be started at position (LSN)."""

    def missing(self, position: int, confirmed: int) -> str | None:
        """Return why the server will not send all that follows position, None where it will; confirmed: to the slot."""
        return None

    def tend(self, spool: Spool, settings: Settings, since: float, *, final: bool = False) -> float:
        """Look after a stream that runs, about once a second; final: it is about to be ended.

        Gives back what it wants to be given as since the next time: at first when the stream began (monotonic seconds).
        """
        return since

    def close(self, spool: Spool) -> None:
        """Close the file that pg_recvlogical writes, as the next part; called under rotate.lock."""
        switch(spool)

    def release(  # noqa: B027
        self, conn: psycopg.Connection[Any], slot: str, position: int, warn: Callable[[str], None]
    ) -> None:
        """Let the source forget what segments hold: all up to position (LSN); called under rotate.lock."""

    def place_cut(  # noqa: B027
        self, conn: psycopg.Connection[Any], spool: Spool, identity: Mapping[str, Any], lsn: int
    ) -> None:
        """Find out where lsn, a base's consistent point, lies in the stream, before it is to be cut there."""

    def drop_slots(  # noqa: B027
        self, conn: psycopg.Connection[Any], slot: str, act: Callable[[str], bool] = lambda step: True
    ) -> None:
        """Drop what other slots there are besides the archive's own; act: as in retire()."""

    def retire(self, conn: psycopg.Connection[Any], slot: str, act: Callable[[str], bool]) -> None:  # noqa: B027
        """Remove from the source what prepare() made; act: called with each step, returns whether to take it."""


class Decoder(Steps, ABC):
    """One output plugin: what its stream means. These methods are all that a decoder has to have."""

    failover = True  # whether standbys can keep what it needs of the source
    points = "transaction"  # see Text
    plain = False  # whether what it writes is the SQL of a segment already
    may_crash = False  # whether what has crashed the server's processes is known to do so for ever

    @abstractmethod
    def scan(self, tape: Tape, start: int, position: int = 0, tick: Callable[[], None] = lambda: None) -> Scan:
        """Return the whole transactions on a tape from an offset on; see Scan."""

    @abstractmethod
    def find_start(self, tape: Tape, spool: Spool, archived: int) -> int:
        """Return the tape offset of a transaction before which everything is archived; archived: LSN of segments."""

    @abstractmethod
    def frames_after(self, tape: Tape, offset: int, position: int) -> int | None:
        """Return the lowest commit LSN from position on in what cutting at offset removes, or None."""

    @abstractmethod
    def first_time(self, block: bytes) -> str | None:
        """Return the first commit time in the first bytes of a spool file, as in a BEGIN line, or None."""

    @abstractmethod
    def mark(self, name: str) -> bytes:
        """Return the bytes by which a mark called name shows in the spool, up to its end."""

    @abstractmethod
    def end_after(self, tape: Tape, offset: int) -> int | None:
        """Return the end LSN of the transaction that the mark which ends at offset stands in, None if it is torn."""

    @abstractmethod
    def open_text(self, spool: Spool, tape: Tape, scan: Scan) -> Text:
        """Return the SQL of the transactions of a scan, which may be still to be made."""
