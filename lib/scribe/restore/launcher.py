"""A throw-away cluster made by another user: what the source's users have written runs in it, and not as us.

One connection to the launcher's socket is one cluster. Orders and answers are lines of JSON: the server's version, then
names of directories for tablespaces. The cluster goes when the connection does. systemd starts the other side for each
connection (systemd/scribe-rehearsal.socket), with the connection as its standard input and output.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from scribe.common import files
from scribe.common.errors import ScribeError, UsageError
from scribe.restore.preloads import Preloads
from scribe.restore.throwaway import Cluster, throwaway

SOCKET = Path("/run/scribe-rehearsal.socket")
_WAIT = 300.0  # seconds for an answer
_LONGEST = 1 << 20  # characters of one


class Launched(Cluster):
    """A cluster of the launcher's."""

    def __init__(self, stream: IO[str], made: Mapping[str, Any]) -> None:
        bindir = Path(made["bindir"]).resolve()
        if not files.is_safe_place(bindir):  # its psql and pg_dump run as us, and who answers is none of us
            raise ScribeError(f'others may change the programs in "{bindir}", which the launcher named')
        super().__init__(Path(made["directory"]), bindir, None)
        self._stream = stream

    def make_directory(self, name: str) -> Path:
        """Let one be made that belongs to the server's user."""
        return Path(_ask(self._stream, {"directory": name})["path"])


def find_launcher(given: str | None) -> Path | None:
    """Return the launcher's socket: the one that was named, else the installed one if we may use it."""
    if given is not None:
        return Path(given)
    return SOCKET if os.access(SOCKET, os.W_OK) else None


@contextlib.contextmanager
def launched(path: Path, major: int, preloads: Preloads) -> Iterator[Cluster]:
    """Have a cluster made for one block. preloads: as throwaway() takes them. Raises ScribeError as it does."""
    order = {"major": major, "libraries": preloads.libraries, "settings": preloads.settings}
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_WAIT)
        try:
            connection.connect(str(path))
        except OSError as error:
            hint = 'Run "systemctl status scribe-rehearsal.socket".'
            raise ScribeError(f'could not connect to "{path}": {error.strerror}', hint) from None
        with connection.makefile("rw") as stream:
            made = _ask(stream, order)
            preloads.missing.update(made["missing"])
            yield Launched(stream, made)


def _ask(stream: IO[str], order: Mapping[str, Any]) -> dict[str, Any]:
    stream.write(json.dumps(order) + "\n")
    stream.flush()
    line = stream.readline(_LONGEST)
    if not line:
        raise ScribeError("the launcher of throw-away clusters ended", 'Run "journalctl -t scribe-verify".')
    answer: dict[str, Any] = json.loads(line)
    if "error" in answer:
        kind = UsageError if answer.get("usage") else ScribeError
        raise kind(answer["error"], answer.get("hint"))
    return answer


def serve(orders: IO[str], answers: IO[str], directory: str | None) -> None:
    """Be the other side: make one cluster, and directories in it, until the orders end."""

    def answer(value: Mapping[str, Any]) -> None:
        answers.write(json.dumps(value) + "\n")
        answers.flush()

    try:
        order = json.loads(orders.readline())
        preloads = Preloads(order.get("libraries", []), order.get("settings", {}))
        with throwaway(int(order["major"]), directory, preloads, shared=True) as cluster:
            places = {"directory": str(cluster.directory), "bindir": str(cluster.bindir)}
            answer({**places, "missing": preloads.missing})
            for line in orders:
                answer({"path": str(cluster.make_directory(_plain(json.loads(line)["directory"])))})
    except ScribeError as error:
        answer({"error": error.message, "hint": error.hint, "usage": isinstance(error, UsageError)})
    except (ValueError, KeyError, TypeError) as error:
        print(f"an order that is none: {error!r}", file=sys.stderr)


def _plain(name: str) -> str:
    if not name.isalnum():
        raise ValueError(name)
    return name
