"""Who made transactions, as the server's own log tells: jsonlog or csvlog, joined by the transaction's number.

A line has the number of the transaction that was open when it was written, 0 if none had one yet: of a transaction of
one statement, which gets its number only then, the log usually tells nothing.
https://www.postgresql.org/docs/current/runtime-config-logging.html
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from scribe.common.errors import ScribeError, UsageError
from scribe.history.render import describe_asker

_USER, _DATABASE, _CLIENT, _XID, _APPLICATION = 1, 2, 4, 10, 22  # columns of csvlog
_HINT = "Name a file that the server wrote with log_destination jsonlog or csvlog."
_LONGEST = 64 << 20  # bytes of a field of csvlog: a statement


@dataclass(frozen=True, slots=True)
class Asker:
    """Who made a transaction: the session's user, the client's address (None: a socket) and application."""

    role: str
    address: str | None
    application: str | None

    def __str__(self) -> str:
        return describe_asker(self.role, self.address, self.application)


def read_logs(paths: Iterable[Path], database: str) -> dict[int, Asker]:
    """Return who made each transaction of a database that the logs name, by its number.

    Numbers have 32 bits and come again after four billion transactions: the logs have to be of the time in question.
    Raises UsageError for files that cannot be opened, ScribeError for those of another form.
    """
    found: dict[int, Asker] = {}
    for path in paths:
        for xid, where, asker in _read(path):
            if xid and where == database and asker.role:
                found.setdefault(xid, asker)
    return found


def _read(path: Path) -> Iterator[tuple[int, str, Asker]]:
    csv.field_size_limit(_LONGEST)
    try:
        with open(path, encoding="utf-8", errors="replace", newline="") as stream:
            first = stream.read(1)
            stream.seek(0)
            yield from _read_json(stream) if first == "{" else _read_csv(stream)
    except OSError as error:
        raise UsageError(f'could not open file "{path}": {error.strerror}', _HINT) from None
    except (ValueError, IndexError, AttributeError, csv.Error):
        raise ScribeError(f'file "{path}" is no jsonlog or csvlog of PostgreSQL', _HINT) from None


def _read_json(lines: Iterable[str]) -> Iterator[tuple[int, str, Asker]]:
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            if not line.endswith("\n"):  # the server is writing it
                return
            raise
        asker = Asker(
            entry.get("user") or "", _address(entry.get("remote_host")), entry.get("application_name") or None
        )
        yield int(entry.get("txid") or 0), entry.get("dbname") or "", asker


def _read_csv(lines: Iterable[str]) -> Iterator[tuple[int, str, Asker]]:
    for row in csv.reader(lines):
        client = row[_CLIENT].rpartition(":")[0] if row[_CLIENT] != "[local]" else None
        yield int(row[_XID] or 0), row[_DATABASE], Asker(row[_USER], _address(client), row[_APPLICATION] or None)


def _address(client: str | None) -> str | None:
    return None if client in (None, "", "[local]") else client
