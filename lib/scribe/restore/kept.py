"""A throw-away cluster that is kept: stopped and whole between two uses, in a directory that the caller named."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from scribe.common import files
from scribe.common.errors import ScribeError, UsageError
from scribe.restore.copies import Copy, Source, warn_of_user
from scribe.restore.preloads import Preloads
from scribe.restore.throwaway import Cluster, find_bindir, find_user, major_of, make_cluster, served

STATE = "peek.json"
_OLD_SERVER_WAIT = 30.0  # seconds for the processes of a server that was killed to end
_BLOCKED = "pre-existing shared memory block"


class Kept:
    """The directory of a kept cluster, locked. source: whose copy is in it."""

    def __init__(self, path: Path, source: Source) -> None:
        self.path, self.source = path, source
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
                hint = "Name another directory with --keep, or remove this one."
                raise UsageError(f'"{self.path}" keeps a copy of another archive\'s database', hint)
        whole = state.get("stopped") or state.get("boot") == _boot()
        bindir = Path(state.get("bindir", "/"))
        if not whole or major_of(bindir) != state.get("server") or state.get("major") != self._mine["major"]:
            return None
        return Cluster(self.path, bindir, find_user())

    def make(self) -> Cluster:
        """Make a new cluster in the place of what is there."""
        for entry in list(os.scandir(self.path)):
            if entry.is_dir(follow_symlinks=False):
                files.remove_tree(Path(entry.path))
            else:
                os.unlink(entry.path)
        cluster = Cluster(self.path, find_bindir(self.source.major), find_user())
        self._note(cluster, stopped=True)  # whatever happens next, the directory is ours
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
                if _BLOCKED not in "\n".join(cluster.lines()[-5:]) or time.monotonic() > deadline:
                    raise

    def _sync(self, cluster: Cluster) -> None:
        """Make the files durable: the server that wrote them did not."""
        with cluster.log.open("ab") as log:
            command = [str(cluster.bindir / "initdb"), "--sync-only", "-D", str(cluster.data)]
            if cluster.popen(command, log.fileno()).wait() != 0:
                raise ScribeError(f'could not sync "{cluster.data}": {cluster.last_line()}')

    def _read(self) -> Mapping[str, Any] | None:
        hint = "Name a new directory, or one that an earlier --keep made."
        try:
            state = json.loads((self.path / STATE).read_bytes())
        except FileNotFoundError:
            if any(self.path.iterdir()):
                raise UsageError(f'directory "{self.path}" is not empty', hint) from None
            return None
        except ValueError:
            state = None
        if not isinstance(state, dict):
            raise UsageError(f'"{self.path / STATE}" is not what an earlier --keep wrote', hint)
        found = self.path.stat()
        if found.st_uid != os.geteuid() or found.st_mode & 0o022:  # the programs that its state names are run
            raise UsageError(f'others can write to directory "{self.path}"', hint)
        return state

    def _note(self, cluster: Cluster, *, stopped: bool) -> None:
        state = self._mine | {"bindir": str(cluster.bindir), "server": major_of(cluster.bindir)}
        files.write_json(self.path / STATE, state | {"stopped": stopped, "boot": _boot()})


@contextlib.contextmanager
def kept_copy(path: Path, source: Source, preloads: Preloads, point: Mapping[str, Any]) -> Iterator[Copy]:
    """Bring the copy kept in a directory to a point, for one block; it is made if it is not there or is beyond it.

    Raises UsageError for a directory that holds anything else, TryAgainError where another program uses it.
    """
    path.mkdir(mode=0o711, exist_ok=True)
    with files.DirectoryLock(path, "another scribe-peek uses it", shared=False):
        kept = Kept(path, source)
        cluster = kept.cluster()
        path.chmod(0o711)  # the server's user has to pass through, and can see no name in it
        warn_of_user(source.talk)
        if cluster is not None:
            with contextlib.ExitStack() as stack:
                stack.enter_context(kept.served(cluster, preloads))
                copy = Copy(source, cluster)
                if copy.can_reach(**point):
                    copy.bring_to(**point)
                    yield copy
                    return
            source.talk.info(f'the copy in "{path}" cannot go back to that point: it is made again')
        cluster = kept.make()
        with kept.served(cluster, preloads):
            copy = Copy(source, cluster)
            copy.bring_to(**point)
            yield copy


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
