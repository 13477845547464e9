"""What pg_recvlogical has confirmed to the server: nobody else may have moved the slot.

A slot that was dropped and recreated under the same name, or advanced by hand, looks like one that followed an idle
database: it stands beyond the last transaction we have. But pg_recvlogical says each position it is about to confirm
(with --verbose), into a file, so that not even SIGKILL of everything loses the last of them. A slot that stands beyond
them all was moved by somebody else, and what lies between is missing.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from scribe.common import files
from scribe.common.errors import ScribeError
from scribe.common.lsn import format_lsn, parse_lsn

# Written before the feedback message is sent: sendFeedback() of pg_recvlogical, PostgreSQL 13 to 18.
_CONFIRMING = re.compile(rb"confirming write up to [0-9A-F/]+, flush to ([0-9A-F]+/[0-9A-F]+) ")
_SETTLED = "any"  # in place of the boot's identity: pg_recvlogical has ended, and no message is missing
_BOOT = Path("/proc/sys/kernel/random/boot_id")


TAIL = 1 << 20  # bytes of the log that are read, and after which it is emptied


def log_path(spool: Path) -> Path:
    """Where pg_recvlogical's messages go."""
    return spool / "receiver.log"


def _record_path(spool: Path) -> Path:
    return spool / "confirmed.json"


def _boot() -> str:
    return _BOOT.read_text().strip()


def _said(log: Path) -> int:
    """Return the highest LSN that the log says was confirmed: its last lines do, since none goes back."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - TAIL))
            found = _CONFIRMING.findall(stream.read())
    except FileNotFoundError:
        return 0
    return max((parse_lsn(lsn.decode()) for lsn in found), default=0)


def _record(spool: Path) -> dict[str, Any] | None:
    try:
        value = files.read_json(_record_path(spool))
    except (FileNotFoundError, ScribeError):
        return None
    return value if isinstance(value, dict) and {"lsn", "boot"} <= value.keys() else None


def highest(spool: Path, chain_from: int) -> int | None:
    """Return the highest LSN that can have been confirmed; None when a power loss may have taken the last messages.

    chain_from: LSN at which the slot was made.
    """
    record = _record(spool)
    if record is None:
        return None if log_path(spool).exists() else chain_from
    if record["boot"] == _SETTLED:
        return max(chain_from, parse_lsn(record["lsn"]))
    if record["boot"] != _boot():
        return None
    return max(chain_from, parse_lsn(record["lsn"]), _said(log_path(spool)))


def begin(spool: Path, lsn: int) -> None:
    """Remember durably that nothing beyond lsn was confirmed, before a new pg_recvlogical empties the messages."""
    files.write_json(_record_path(spool), {"lsn": format_lsn(lsn), "boot": _boot()})


def shorten(spool: Path) -> None:
    """Empty the messages, and remember durably what they say. Only while pg_recvlogical can write no more of them."""
    record = _record(spool)
    if record is not None and record["boot"] == _boot():
        begin(spool, max(parse_lsn(record["lsn"]), _said(log_path(spool))))
        os.truncate(log_path(spool), 0)


def settle(spool: Path) -> None:
    """After pg_recvlogical has ended: remember durably what it confirmed, so that a reboot does not matter."""
    record = _record(spool)
    if record is not None and record["boot"] == _boot():
        lsn = max(parse_lsn(record["lsn"]), _said(log_path(spool)))
        files.write_json(_record_path(spool), {"lsn": format_lsn(lsn), "boot": _SETTLED})
