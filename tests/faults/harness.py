#!/usr/bin/env python3
"""The fault harness: change a source, break something, restore elsewhere, compare. Random but reproducible.

usage: harness.py [--seed N] [--rounds N] [--keep]

Each round breaks one thing while clients write and every acknowledged transaction is noted; then everything is
started once more, rotated and restored, and both databases are compared: schema, rows, sequences. A transaction that
was acknowledged and is missing, or stands there twice, is a failure; so is anything that would need a person.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "py"))

import psycopg
from cluster import ROOT, Cluster, install_decoder, poll
from compare import assert_equal
from source import Scribe

CLIENTS = 3
SCHEMA = """
CREATE TABLE ack (client int, n int, note text, PRIMARY KEY (client, n));
CREATE TABLE counter (client int PRIMARY KEY, n bigint, at timestamptz DEFAULT now());
CREATE TABLE bag (client int, v text);
CREATE SEQUENCE tickets;
INSERT INTO counter SELECT generate_series(0, 9), 0;
"""


class Client(threading.Thread):
    """One session that writes as fast as it can and remembers what the server acknowledged."""

    def __init__(self, cluster: Cluster, dbname: str, number: int, seed: int) -> None:
        super().__init__(daemon=True)
        self.cluster, self.dbname, self.number = cluster, dbname, number
        self.random = random.Random(seed)
        self.acknowledged: set[int] = set()
        self.next = 0
        self.running = threading.Event()
        self.idle = threading.Event()
        self.over = False

    def run(self) -> None:
        """Work while running is set; reconnect whenever the server has gone."""
        while not self.over:
            self.idle.set()
            if not self.running.wait(0.2):
                continue
            self.idle.clear()
            with contextlib.suppress(psycopg.Error), self.cluster.connect(self.dbname, connect_timeout=5) as conn:
                while self.running.is_set() and not self.over:
                    self.transaction(conn)

    def transaction(self, conn: psycopg.Connection) -> None:  # type: ignore[type-arg]
        """One transaction with a number of its own; it is acknowledged when COMMIT has returned."""
        self.next += 1
        n, me = self.next, self.number
        with conn.transaction():
            conn.execute("INSERT INTO ack VALUES (%s, %s, %s)", (me, n, f"line\n{n} \\. ' \x01"))
            conn.execute("UPDATE counter SET n = n + 1, at = now() WHERE client = %s", (me,))
            conn.execute("SELECT nextval('tickets')")
            self.something(conn, n)
        self.acknowledged.add(n)

    def something(self, conn: psycopg.Connection, n: int) -> None:  # type: ignore[type-arg]
        """Now and then something more: rows without a key, DDL, a larger load, a savepoint rolled back."""
        dice = self.random.random()
        if dice < 0.3:
            conn.execute(
                "INSERT INTO bag SELECT %s, CASE WHEN g %% 2 = 0 THEN 'x' END FROM generate_series(1, 5) g",
                (self.number,),
            )
        elif dice < 0.4:
            conn.execute(
                "DELETE FROM bag WHERE ctid = (SELECT ctid FROM bag WHERE client = %s LIMIT 1)", (self.number,)
            )
        elif dice < 0.45:
            table = f"t{self.number}_{n}"
            conn.execute(f"CREATE TABLE {table} AS SELECT g, random() AS r FROM generate_series(1, 20) g")  # type: ignore[arg-type]
            if dice < 0.43:
                conn.execute(f"ALTER TABLE {table} ADD COLUMN u uuid DEFAULT gen_random_uuid()")  # type: ignore[arg-type]
            if dice < 0.42:
                conn.execute(f"DROP TABLE {table}")  # type: ignore[arg-type]
        elif dice < 0.46:
            conn.execute(
                "INSERT INTO bag SELECT %s, repeat(md5(g::text), 20) FROM generate_series(1, 3000) g", (self.number,)
            )
            conn.execute("DELETE FROM bag WHERE length(v) > 100")
        elif dice < 0.5:
            with contextlib.suppress(psycopg.errors.DivisionByZero), conn.transaction():
                conn.execute("INSERT INTO bag VALUES (-1, 'rolled back')")
                conn.execute("SELECT 1 / 0")


class Harness:
    """A cluster, a source, its archive, and the faults."""

    def __init__(self, seed: int, directory: Path) -> None:
        self.random = random.Random(seed)
        self.cluster = Cluster()
        install_decoder(self.cluster.pg_config)
        self.cluster.create(fsync="on", wal_sender_timeout="5s")
        self.cluster.createdb("faulty")
        self.scribe = Scribe(self.cluster, "faulty", directory / "archive")
        self.scribe.settings |= {"SCRIBE_STATUS_INTERVAL": "1", "SCRIBE_FSYNC_INTERVAL": "1"}
        self.cluster.psql(SCHEMA, "faulty")
        self.scribe.run("scribe-init")
        self.clients = [Client(self.cluster, "faulty", i, seed * 10 + i) for i in range(CLIENTS)]
        self.stream: subprocess.Popen[bytes] | None = None
        self.done: Counter[str] = Counter()
        self.faults: dict[str, Callable[[], None]] = {
            "stream killed": self.kill_stream,
            "receiver killed": self.kill_receiver,
            "receiver stopped for a while": self.pause_receiver,
            "walsender terminated": self.terminate_walsender,
            "server stopped at once": self.restart_server,
            "rotate killed": lambda: self.kill_program("scribe-rotate"),
            "rotate --wait-lsn killed": lambda: self.kill_program("scribe-rotate", "--wait-lsn", "current"),
            "dump killed": lambda: self.kill_program("scribe-dump"),
            "dump": lambda: self.program("scribe-dump"),
            "rotate": lambda: self.program("scribe-rotate"),
            "stream ended by SIGTERM": self.end_stream,
            "stream killed while rotating": self.kill_while_rotating,
            "leftovers": self.leave_leftovers,
            "stale process file": self.kill_and_fake_processes,
        }

    # --- faults -------------------------------------------------------------------------------------------------

    def ensure_stream(self) -> None:
        """One more start, as a supervisor would do; nothing else is done by hand."""
        while self.stream is None or self.stream.poll() is not None:
            if self.stream is not None and self.stream.returncode not in (0, 75, -signal.SIGKILL):
                raise AssertionError(f"scribe-stream gave up with {self.stream.returncode}\n{self.log()}")
            self.stream = self.scribe.start_stream(wait=False)
            with contextlib.suppress(TimeoutError):
                poll(lambda: self.stream.poll() is not None or self.is_active(), 60, "the stream")

    def log(self) -> str:
        """The end of what scribe-stream said."""
        return self.scribe.log.read_text(errors="replace")[-3000:]

    def is_active(self) -> bool:
        """Whether the slot is being read."""
        return self.cluster.query(
            f"SELECT active FROM pg_replication_slots WHERE slot_name = '{self.scribe.slot}'"
        ) == [(True,)]

    def kill_stream(self) -> None:
        """SIGKILL of scribe-stream; its pg_recvlogical must go with it."""
        if self.stream is not None and self.stream.poll() is None:
            self.stream.kill()
            self.stream.wait()

    def end_stream(self) -> None:
        """SIGTERM: a safe point, exit status 0."""
        if self.stream is not None and self.stream.poll() is None:
            self.stream.terminate()
            if self.stream.wait(60) != 0:
                raise AssertionError(f"SIGTERM gave {self.stream.returncode}\n{self.log()}")

    def receivers(self) -> list[int]:
        """Pids of our pg_recvlogical: children of the stream only, so that nobody else's is touched."""
        if self.stream is None or self.stream.poll() is not None:
            return []
        children = Path(f"/proc/{self.stream.pid}/task/{self.stream.pid}/children")
        with contextlib.suppress(OSError):
            return [int(pid) for pid in children.read_text().split()]
        return []

    def kill_receiver(self) -> None:
        """SIGKILL of pg_recvlogical alone."""
        for pid in self.receivers():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def pause_receiver(self) -> None:
        """SIGSTOP for longer than the server's wal_sender_timeout may be, then SIGCONT."""
        pids = self.receivers()
        for action, pause in ((signal.SIGSTOP, self.random.choice([0.5, 6])), (signal.SIGCONT, 0)):
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, action)
            time.sleep(pause)

    def terminate_walsender(self) -> None:
        """pg_terminate_backend of the walsender."""
        self.cluster.query(
            "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active_pid IS NOT NULL"
        )

    def restart_server(self) -> None:
        """Immediate stop, crash recovery."""
        self.cluster.restart("immediate")

    def program(self, name: str, *arguments: str) -> None:
        """Run a program to its end; only "try again" is a fair answer beside success."""
        result = self.scribe.run(name, *arguments, check=False)
        if result.returncode not in (0, 75):
            raise AssertionError(f"{name} exited {result.returncode}\n{result.stderr}")

    def kill_program(self, name: str, *arguments: str) -> None:
        """SIGKILL of a program and its children at a random moment of its life."""
        process = subprocess.Popen(
            [str(ROOT / "bin" / name), *arguments],
            env=self.scribe.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(self.random.uniform(0.1, 2.0))
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def kill_while_rotating(self) -> None:
        """The stream dies while a rotation talks to it."""
        process = subprocess.Popen(
            [str(ROOT / "bin/scribe-rotate")],
            env=self.scribe.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        time.sleep(self.random.uniform(0.1, 0.8))
        self.kill_stream()
        _, said = process.communicate()
        if process.returncode not in (0, 75):
            raise AssertionError(f"scribe-rotate exited {process.returncode}\n{said}")

    def leave_leftovers(self) -> None:
        """What programs that died may leave behind."""
        for place in ("incremental", "base", "globals", "spool", "spool/cuts"):
            (self.scribe.archive / place / f".tmp-{self.random.random()}").write_bytes(b"half")
        (self.scribe.archive / "base/.tmp-dir").mkdir(exist_ok=True)
        (self.scribe.archive / "base/.tmp-dir/base.sql").write_bytes(b"half")

    def kill_and_fake_processes(self) -> None:
        """A process file that names somebody else's live process must not get that process killed."""
        self.kill_stream()
        bystander = subprocess.Popen(["sleep", "600"])
        try:
            path = self.scribe.archive / "spool/stream.json"
            if path.exists():
                text = path.read_text()
                path.write_text(text.replace(str(self.stream.pid), str(bystander.pid)) if self.stream else text)
            self.ensure_stream()
            if bystander.poll() is not None:
                raise AssertionError("a process that is not ours was ended")
        finally:
            bystander.kill()
            bystander.wait()

    # --- rounds -------------------------------------------------------------------------------------------------

    def round(self, number: int) -> str:
        """Work, break something, start once more, rotate, restore, compare."""
        self.ensure_stream()
        for client in self.clients:
            client.running.set()
        time.sleep(self.random.uniform(0.1, 0.6))  # work for a while before and after the fault
        fault = self.random.choice(sorted(self.faults))
        self.faults[fault]()
        time.sleep(self.random.uniform(0.0, 0.3))
        self.ensure_stream()
        for client in self.clients:
            client.running.clear()
        for client in self.clients:
            if not client.idle.wait(60):
                raise AssertionError("a client hangs")
        self.check(number)
        self.done[fault] += 1
        return fault

    def check(self, number: int) -> None:
        """Rotate, restore and compare; by psql alone every fifth time."""
        for attempt in range(3):
            self.ensure_stream()
            result = self.scribe.run("scribe-rotate", "--wait-lsn", "current", check=False)
            if result.returncode == 0:
                break
            if result.returncode != 75 or attempt == 2:
                raise AssertionError(f"scribe-rotate exited {result.returncode}\n{result.stderr}\n{self.log()}")
        self.check_acknowledged()
        source = self.cluster.dump("faulty")
        base = self.random.choice(["latest", self.random.choice(self.bases())]) if number % 3 == 0 else "latest"
        self.scribe.run("scribe-restore", "-d", "copy", "--no-globals", "--base", base)
        self.compare(source, "copy", "scribe-restore")
        if number % 5 == 0:
            self.scribe.restore_with_psql("copy")
            self.compare(source, "copy", "psql alone")

    def compare(self, source: dict[str, list[str]], target: str, way: str) -> None:
        """Compare and drop the target."""
        assert_equal(source, self.cluster.dump(target), ("source", way))
        self.cluster.dropdb(target)

    def bases(self) -> list[str]:
        """Stamps of complete bases."""
        return sorted(p.parent.name for p in (self.scribe.archive / "base").glob("2*/manifest.json"))

    def check_acknowledged(self) -> None:
        """The source itself must have what it acknowledged, or the comparison would prove nothing."""
        for client in self.clients:
            there = {n for (n,) in self.cluster.query(f"SELECT n FROM ack WHERE client = {client.number}", "faulty")}
            if client.acknowledged - there:
                raise AssertionError(f"the server lost transactions of client {client.number}")

    def run(self, rounds: int) -> None:
        """Run the rounds and print one line for each."""
        for client in self.clients:
            client.start()
        try:
            for number in range(1, rounds + 1):
                started = time.monotonic()
                fault = self.round(number)
                total = sum(len(c.acknowledged) for c in self.clients)
                print(
                    f"round {number}: {fault}: equal, {total} transactions, {time.monotonic() - started:.1f} s",
                    flush=True,
                )
        finally:
            for client in self.clients:
                client.over = True
            self.kill_stream()

    def close(self, keep: bool) -> None:
        """End everything this harness started."""
        self.kill_stream()
        self.cluster.remove(keep_files=keep)


def main() -> int:
    """Run the harness; exit status 1 and the seed when a round failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--only", metavar="TEXT", default="", help="only faults whose name contains TEXT")
    parser.add_argument("--keep", action="store_true", help="keep archive and data directory after a failure")
    arguments = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="scribe-faults-"))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    harness = Harness(arguments.seed, directory)
    harness.faults = {name: do for name, do in harness.faults.items() if arguments.only in name}
    failed = True
    try:
        harness.run(arguments.rounds)
        failed = False
    finally:
        harness.close(arguments.keep and failed)
        print(f"seed {arguments.seed}: " + ", ".join(f"{n} x {name}" for name, n in sorted(harness.done.items())))
        if failed:
            print(f"FAILED; again with: --seed {arguments.seed} --rounds {arguments.rounds}")
        if not (failed and arguments.keep):
            subprocess.run(["rm", "-rf", str(directory)], check=False)
        else:
            print(f"kept: {directory} {harness.cluster.directory}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
