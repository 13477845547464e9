"""A throw-away cluster that is kept: stopped and whole between two uses, in a directory that the caller named."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scribe.common import files
from scribe.common.errors import ScribeError, UsageError
from scribe.restore.concerned import Look, find_oids, guard, say_whole, unguard
from scribe.restore.copies import Copy, Source, warn_of_user
from scribe.restore.narrow import Chosen, Rows, WholeNeededError
from scribe.restore.preloads import Preloads
from scribe.restore.throwaway import Cluster, find_bindir, find_user, major_of, make_cluster, served

_OLD_SERVER_WAIT = 30.0  # seconds for the processes of a server that was killed to end
_BLOCKED = ("pre-existing shared memory block", "Is another postmaster")


@dataclass(frozen=True)
class Use:
    """What a cluster is kept for. state: the file that says so; named: what names the directory."""

    state: str
    named: str
    program: str
    lasting: bool = True


PEEK = Use("peek.json", "--keep", "scribe-peek")
# Never what a person has worked with: what is in it becomes a base.
BASES = Use("copy.json", "SCRIBE_COPY", "scribe-dump", lasting=False)


class Kept:
    """The directory of a kept cluster, locked. source: whose copy is in it.

    origin: what a copy must go back to, None for anything; base: with which that began; tables: the OIDs of those whose
    rows are in it, None for all.
    """

    def __init__(self, path: Path, source: Source, use: Use = PEEK, origin: Mapping[str, str] | None = None) -> None:
        self.path, self.source, self.use, self.origin = path, source, use, origin
        self.base: str | None = None
        self.tables: list[int] | None = None
        self._mine = {
            "system_identifier": source.identity["system_identifier"],
            "database": source.identity["database"],
            "major": source.major,
        }

    def cluster(self) -> Cluster | None:
        """Return the cluster that is there, None where it cannot be used: of a server that is gone, or torn."""
        state = self._read()
        if state is None:
            return None
        for key in ("system_identifier", "database"):
            if state.get(key) != self._mine[key]:
                hint = f"Name another directory with {self.use.named}, or remove this one."
                raise UsageError(f'"{self.path}" keeps a copy of another archive\'s database', hint)
        self.base, self.tables = state.get("base"), state.get("tables")
        whole = state.get("origin") == self.origin and (state.get("stopped") or state.get("boot") == _boot())
        bindir = Path(state.get("bindir", "/"))
        if not whole or major_of(bindir) != state.get("server") or state.get("major") != self._mine["major"]:
            return None
        return Cluster(self.path, bindir, find_user())

    def make(self) -> Cluster:
        """Make a new cluster in the place of what is there."""
        self.base = self.tables = None
        self.spoil()  # whatever happens next, the directory is ours, and holds nothing yet that can be used
        for entry in list(os.scandir(self.path)):
            if entry.is_dir(follow_symlinks=False):
                files.remove_tree(Path(entry.path))
            elif entry.name != self.use.state:
                os.unlink(entry.path)
        cluster = Cluster(self.path, find_bindir(self.source.major), find_user())
        make_cluster(cluster)
        return cluster

    @contextlib.contextmanager
    def served(self, cluster: Cluster, preloads: Preloads) -> Iterator[None]:
        """Run its server for one block; afterwards it is stopped, and all of it is on the disk."""
        self._note(cluster, stopped=False)
        with contextlib.ExitStack() as stack:
            self._start(stack, cluster, preloads)
            yield
        self._sync(cluster)
        self._note(cluster, stopped=True)

    def _start(self, stack: contextlib.ExitStack, cluster: Cluster, preloads: Preloads) -> None:
        deadline = time.monotonic() + _OLD_SERVER_WAIT
        while True:
            try:
                stack.enter_context(served(cluster, preloads, last=signal.SIGINT))
                return
            except ScribeError:
                said = "\n".join(cluster.lines()[-5:])
                if not any(text in said for text in _BLOCKED) or time.monotonic() > deadline:
                    raise

    def _sync(self, cluster: Cluster) -> None:
        """Make the files durable: the server that wrote them did not."""
        with cluster.log.open("ab") as log:
            command = [str(cluster.bindir / "initdb"), "--sync-only", "-D", str(cluster.data)]
            if cluster.popen(command, log.fileno()).wait() != 0:
                raise ScribeError(f'could not sync "{cluster.data}": {cluster.last_line()}')

    def _read(self) -> Mapping[str, Any] | None:
        hint = f"Name a new directory, or one that an earlier {self.use.named} made."
        if not files.is_safe_place(self.path):  # the programs that its state names are run
            raise UsageError(f'others can write to directory "{self.path}"', hint)
        try:
            state = json.loads((self.path / self.use.state).read_bytes())
        except FileNotFoundError:
            if any(self.path.iterdir()):
                raise UsageError(f'directory "{self.path}" is not empty', hint) from None
            return None
        except (ValueError, RecursionError):
            state = None
        if not isinstance(state, dict):
            path = self.path / self.use.state
            raise UsageError(f'"{path}" is not what an earlier {self.use.named} wrote', hint)
        return state

    def _note(self, cluster: Cluster, *, stopped: bool) -> None:
        state = self._mine | {"bindir": str(cluster.bindir), "server": major_of(cluster.bindir)}
        state |= {"stopped": stopped, "boot": _boot(), "base": self.base, "origin": self.origin}
        state |= {"tables": self.tables}
        files.write_json(self.path / self.use.state, state)

    def began(self, copy: Copy) -> None:
        """Note with which base the copy began, and which rows are in it."""
        self.base = copy.began_with
        self.tables = find_oids(copy, copy.rows) if isinstance(copy.rows, Chosen) else None
        self._note(copy.cluster, stopped=False)

    def copy(self, cluster: Cluster) -> Copy:
        """Return what is in its cluster."""
        copy = Copy(self.source, cluster, lasting=self.use.lasting)
        copy.began_with, copy.spoil = self.base, self.spoil
        return copy

    def spoil(self) -> None:
        """Let nobody use what is in the directory."""
        files.write_json(self.path / self.use.state, self._mine)

    def go_on(self, copy: Copy, point: Mapping[str, Any], look: Look | None) -> bool:
        """Bring what is there to a point, if it can go on to it with the rows that it has."""
        if not copy.can_reach(**point):
            return False
        if self.tables is not None:
            unguard(copy)
            copy.rows = look.going_on(copy, self.tables) if look is not None else None
            if copy.rows is None:
                return False
        try:
            copy.bring_to(**point)
        except WholeNeededError:
            return False
        return True


@contextlib.contextmanager
def kept_copy(
    path: Path,
    source: Source,
    preloads: Preloads,
    point: Mapping[str, Any],
    *,
    use: Use = PEEK,
    origin: Mapping[str, str] | None = None,
    look: Look | None = None,
) -> Iterator[Copy]:
    """Bring the copy kept in a directory to a point, for one block; it is made if it is not there or will not do.

    look: what is asked for, None for everything. Raises UsageError for a directory that holds anything else,
    TryAgainError where another program uses it.
    """
    path.mkdir(mode=0o711, exist_ok=True)
    with files.DirectoryLock(path, f"another {use.program} uses it", shared=False):
        kept = Kept(path, source, use, origin)
        cluster = kept.cluster()
        path.chmod(0o711)  # the server's user has to pass through, and can see no name in it
        warn_of_user(source.talk)
        if cluster is not None:
            with contextlib.ExitStack() as stack:
                stack.enter_context(kept.served(cluster, preloads))
                copy = kept.copy(cluster)
                if kept.go_on(copy, point, look):
                    guard(copy, kept.tables)
                    yield copy
                    return
            what = "cannot go on to" if kept.tables is not None else "cannot go back to"
            more = " with what is asked for" if kept.tables is not None else ""
            source.talk.info(f'the copy in "{path}" {what} that point{more}: it is made again')
        rows = look.find_rows() if look is not None else None
        if rows is not None:
            try:
                with _made(kept, preloads, point, rows) as copy:
                    yield copy
                return
            except WholeNeededError as error:
                say_whole(source.talk, error)
        with _made(kept, preloads, point, None) as copy:
            yield copy


@contextlib.contextmanager
def _made(kept: Kept, preloads: Preloads, point: Mapping[str, Any], rows: Rows | None) -> Iterator[Copy]:
    """Make the copy of a kept cluster again, for one block."""
    cluster = kept.make()
    with kept.served(cluster, preloads):
        copy = kept.copy(cluster)
        copy.rows = rows
        copy.bring_to(**point)
        kept.began(copy)
        guard(copy, kept.tables)
        yield copy


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
