"""pgcopydb as a peer of the replay: it follows a slot of its own, and applies what it made of it to the target.

Only the last step is timed: scribe-restore and psql, too, find their files ready. The peer takes part where it is
installed; tried with 0.17, on the server's wal2json or else test_decoding.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster import poll
from draining import drop_slot
from place import Bench, say

NAME = "pgcopydb"
SLOT = "pgcopydb"


def find_version() -> str | None:
    """Return pgcopydb's version, None where it is not installed."""
    if shutil.which(NAME) is None:
        return None
    said = subprocess.run([NAME, "--version"], capture_output=True, text=True, check=True).stdout
    return said.splitlines()[0].split()[-1]


def _has_content(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


class Follower:
    """pgcopydb between one source and one target database of the bench's cluster."""

    def __init__(self, bench: Bench, source: str, target: str) -> None:
        self.bench, self.source, self.target = bench, source, target
        self.directory = bench.directory / NAME
        cluster = bench.cluster
        self.env = cluster.env | {"PATH": f"{cluster.bindir}:{cluster.env['PATH']}"}

    def _uri(self, dbname: str) -> str:
        env = self.env
        return f"postgresql://{env['PGUSER']}@/{dbname}?host={env['PGHOST']}&port={env['PGPORT']}"

    def _command(self, *words: str, target: bool = True) -> list[str]:
        ends = ["--source", self._uri(self.source), *(["--target", self._uri(self.target)] if target else [])]
        return [NAME, *words, *ends, "--dir", str(self.directory)]

    def run(self, *words: str, target: bool = True, timeout: int = 900) -> None:
        """Run a command. Raises RuntimeError with what it said last."""
        command = self._command(*words, target=target)
        child = subprocess.Popen(command, env=self.env, stderr=subprocess.PIPE, text=True, start_new_session=True)
        try:
            _, said = child.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)  # its own processes, too
            _, said = child.communicate()
        if child.returncode:
            raise RuntimeError(f"pgcopydb {words[1]} ended with {child.returncode}: {said[-500:]}")

    def begin(self) -> None:
        """Make slot, origin and what pgcopydb keeps of them; from here on it has everything that is committed."""
        plugin = "wal2json" if "wal2json" in self.bench.plugins else "test_decoding"
        self.bench.cluster.createdb(self.target)
        try:
            with self._snapshot(plugin) as snapshot:
                names = ("--slot-name", SLOT, "--origin", NAME)
                self.run("stream", "setup", "--snapshot", snapshot, "--plugin", plugin, *names)
        finally:
            self.bench.cluster.dropdb(self.target)

    @contextmanager
    def _snapshot(self, plugin: str) -> Iterator[str]:
        command = self._command("snapshot", "--follow", "--plugin", plugin, "--slot-name", SLOT, target=False)
        files = [self.directory / "snapshot", self.directory / "cdc/slot"]
        holder = subprocess.Popen(command, env=self.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            poll(lambda: holder.poll() is not None or all(map(_has_content, files)), 30, "pgcopydb's snapshot")
            yield files[0].read_text().strip()
        finally:
            holder.terminate()
            holder.wait(30)

    def fetch(self, end: str) -> None:
        """Read the slot to an LSN, and let pgcopydb make its SQL of it; it looks at the target's tables for that."""
        self.run("stream", "prefetch", "--slot-name", SLOT, "--endpos", end, "--not-consistent", "--resume")
        self.run("stream", "sentinel", "set", "apply", target=False)

    def apply(self, end: str) -> None:
        """Apply it to the target."""
        names = ("--slot-name", SLOT, "--origin", NAME)
        self.run("stream", "catchup", *names, "--endpos", end, "--not-consistent", "--resume")

    def close(self) -> None:
        """Remove the slot, the origin, and its files; the target must be gone, and with it whoever uses the origin."""
        ended = "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = '{}'"
        if self.bench.sql(ended.format(SLOT)):
            drop_slot(self.bench, SLOT)
        self.bench.sql(f"SELECT pg_replication_origin_drop(roname) FROM pg_replication_origin WHERE roname = '{NAME}'")
        shutil.rmtree(self.directory, ignore_errors=True)


def begin_following(bench: Bench, source: str, target: str) -> Follower | None:
    """Let pgcopydb follow the source from here on; None where it is not installed or cannot."""
    if find_version() is None:
        return None
    follower = Follower(bench, source, target)
    try:
        follower.begin()
    except (RuntimeError, OSError) as error:
        say(f"pgcopydb is left out: {error}")
        follower.close()
        return None
    return follower


def same_rows(bench: Bench, source: str, target: str) -> bool:
    """Whether all tables of public have the same rows in both databases."""
    names = "SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
    digest = "SELECT count(*), sum(hashtextextended(t::text, 0)) FROM {} t"
    found = [
        [(table, bench.sql(digest.format(table), dbname)) for (table,) in bench.sql(names, dbname)]
        for dbname in (source, target)
    ]
    if found[0] != found[1]:
        say(f"{target} is not as {source}: {found}")
    return found[0] == found[1]
