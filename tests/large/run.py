#!/usr/bin/env python3
"""Transactions larger than anything set aside for them: they arrive once, and memory stays bounded.

Each workload is one transaction (or value) on a source of its own. scribe-stream, its pg_recvlogical, scribe-rotate and
scribe-restore run under a limit on their address space that is a fraction of what they carry; rotations go on while it
arrives. Afterwards source and copy are compared, and the peaks of memory are printed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "py"))

from cluster import ROOT, Cluster, install_decoder, poll, temporary_cluster
from compare import assert_equal
from source import Scribe

LIMIT = 512 << 20  # bytes of address space for each of our programs
MB = 1 << 20


@dataclass(frozen=True)
class Workload:
    """One transaction: what it is called, what is there before, and its statements with {n} for the size."""

    name: str
    n: int
    before: str
    change: str


WORKLOADS = {
    "rows": Workload(
        "one transaction of {n:,} rows",
        4_000_000,
        "CREATE TABLE big (id int PRIMARY KEY, name text, price numeric, at timestamptz);",
        "INSERT INTO big SELECT i, md5(i::text) || repeat(' padding', 15), i / 7.0, '2026-11-22'::timestamptz"
        " + i * interval '1 s' FROM generate_series(1, {n}) i;",
    ),
    "bytea": Workload(
        "one bytea of {n:,} bytes",
        500_000_000,
        "CREATE TABLE big (id int PRIMARY KEY, v bytea); ALTER TABLE big ALTER v SET STORAGE EXTERNAL;",
        "INSERT INTO big SELECT 1, decode(repeat('00ff5c27', {n} / 4), 'hex');",
    ),
    "text": Workload(
        "one text of {n:,} bytes, changed under REPLICA IDENTITY FULL",
        250_000_000,
        "CREATE TABLE big (id int, v text); ALTER TABLE big REPLICA IDENTITY FULL, ALTER v SET STORAGE EXTERNAL;"
        "INSERT INTO big SELECT 1, repeat(E'l\\n\\\\e\\'', {n} / 5);",
        "UPDATE big SET v = v || '!';",
    ),
    "subtransactions": Workload(
        "{n:,} subtransactions",
        100_000,
        "CREATE TABLE big (id int PRIMARY KEY, v text);",
        "DO $$ BEGIN FOR i IN 1..{n} LOOP BEGIN INSERT INTO big VALUES (i, 'x');"
        " IF i % 10 = 0 THEN RAISE division_by_zero; END IF;"
        " EXCEPTION WHEN division_by_zero THEN NULL; END; END LOOP; END $$;",
    ),
    "tables": Workload(
        "{n:,} tables in one transaction",
        10_000,
        "SELECT 1;",
        "DO $$ BEGIN FOR i IN 1..{n} LOOP EXECUTE format('CREATE TABLE t%s (id int, v text)', i);"
        " EXECUTE format('INSERT INTO t%s VALUES (%s, ''one'')', i, i); END LOOP; END $$;",
    ),
}


@dataclass
class Peaks:
    """The most memory of its own that each process had, in bytes, sampled."""

    found: dict[str, int] = field(default_factory=dict)

    def note(self, name: str, pid: int | None) -> None:
        """Look at a process's anonymous memory now."""
        with contextlib.suppress(OSError, ValueError):
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("RssAnon:"):
                    self.found[name] = max(self.found.get(name, 0), int(line.split()[1]) * 1024)

    def text(self) -> str:
        """Return them for people."""
        return ", ".join(f"{name} {peak / MB:.0f} MB" for name, peak in self.found.items())


class Watch(threading.Thread):
    """Samples the stream's processes until it is told to stop."""

    def __init__(self, source: Scribe, peaks: Peaks) -> None:
        super().__init__(daemon=True)
        self.source, self.peaks = source, peaks
        self.over = threading.Event()

    def run(self) -> None:
        """Sample."""
        slot = f"SELECT active_pid FROM pg_replication_slots WHERE slot_name = '{self.source.slot}'"
        with self.source.cluster.connect() as conn:
            while not self.over.wait(0.05):
                row = conn.execute(slot).fetchone()  # type: ignore[arg-type]
                self.peaks.note("walsender", row[0] if row else None)
                stream = self.source.streams[-1].pid
                self.peaks.note("scribe-stream", stream)
                with contextlib.suppress(OSError, IndexError):
                    children = Path(f"/proc/{stream}/task/{stream}/children").read_text().split()
                    self.peaks.note("pg_recvlogical", int(children[0]))


def run_limited(source: Scribe, peaks: Peaks, program: str, *arguments: str) -> None:
    """Run a program under the limit and note its peak."""
    command = ["prlimit", f"--as={LIMIT}", str(ROOT / "bin" / program), *arguments]
    with tempfile.TemporaryFile("w+") as said:
        child = subprocess.Popen(command, env=source.env, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        while child.poll() is None:
            peaks.note(program, child.pid)
            time.sleep(0.05)
        if child.returncode:
            said.seek(0)
            raise AssertionError(f"{program} exited {child.returncode}\n{said.read()}")


def carry(cluster: Cluster, directory: Path, workload: Workload, scale: float) -> None:
    """Change a source, let it arrive, restore, compare; print what it took."""
    n = max(1000, int(workload.n * scale)) // 1000 * 1000
    cluster.createdb("large")
    source = Scribe(cluster, "large", directory / "archive")
    peaks = Peaks()
    try:
        cluster.psql(workload.before.replace("{n}", str(n)), "large")
        source.run("scribe-init", "-q", timeout=900)
        began = time.monotonic()
        stream = source.start_stream(wait=False)
        subprocess.run(["prlimit", f"--pid={stream.pid}", f"--as={LIMIT}"], check=True)
        poll(lambda: cluster.value("SELECT count(*) FROM pg_replication_slots WHERE active"), 60, "streaming")
        watch = Watch(source, peaks)
        watch.start()
        cluster.psql(workload.change.replace("{n}", str(n)), "large")
        wrote = time.monotonic() - began
        for _ in range(3):  # what is not whole yet stays where it is
            run_limited(source, peaks, "scribe-rotate")
        run_limited(source, peaks, "scribe-rotate", "--wait-lsn", "current", "--timeout", "600")
        watch.over.set()
        watch.join()
        archived = time.monotonic() - began
        run_limited(source, peaks, "scribe-restore", "-q", "-d", "copy", "--no-globals")
        restored = time.monotonic() - began
        assert_equal(cluster.dump("large"), cluster.dump("copy"))
        if source.stop_stream() != 0:
            raise AssertionError(source.log.read_text())
        print(
            f"{workload.name.format(n=n)}: equal; {wrote:.0f} s to write, {archived - wrote:.0f} s more until"
            f" archived, {restored - archived:.0f} s to restore; own memory at most: {peaks.text()}",
            flush=True,
        )
    finally:
        source.close()
        cluster.dropdb("copy")
        subprocess.run(["rm", "-rf", str(source.archive)], check=False)


def main() -> int:
    """Run the workloads."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0, help="of the full sizes")
    parser.add_argument("--only", default=",".join(WORKLOADS), metavar="NAME,...", help=f"of {', '.join(WORKLOADS)}")
    arguments = parser.parse_args()
    settings = {"logical_decoding_work_mem": "1MB", "max_locks_per_transaction": "1024", "max_wal_size": "2GB"}
    with tempfile.TemporaryDirectory(prefix="scribe-large-") as place, temporary_cluster(**settings) as cluster:
        os.chmod(place, 0o755)
        install_decoder(cluster.pg_config)
        print(f"PostgreSQL {cluster.value('SHOW server_version')}; address space limited to {LIMIT // MB} MB")
        for name in arguments.only.split(","):
            carry(cluster, Path(place), WORKLOADS[name], arguments.scale)
    return 0


if __name__ == "__main__":
    sys.exit(main())
