"""How much is lost when source and backup host die together: from COMMIT to fsync on the backup host, under load.

Measured from the moment at which a client has its COMMIT acknowledged to the one at which the server has been told
that the transaction is on the backup host's disk, which is never before its fsync: up to a status interval after it.
Beside the defaults stand the tightest intervals, and a COMMIT that waits for the stream (synchronous_standby_names).
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests/py"))

import psycopg
from cluster import poll
from place import Bench, median, say
from source import Scribe

INTERVALS = {"default": (10, 10), "tightest": (1, 1)}  # seconds: status, fsync
PACE = 0.02  # seconds between the commits that are timed


class Reports(threading.Thread):
    """Notes when the server learns up to which LSN the stream is on disk."""

    def __init__(self, source: Scribe) -> None:
        super().__init__(daemon=True)
        self.source = source
        self.over = threading.Event()
        self.found: list[tuple[float, int]] = []  # when, LSN

    def run(self) -> None:
        """Look every few milliseconds."""
        query = (
            "SELECT (r.flush_lsn - '0/0')::int8 FROM pg_replication_slots s"
            f" JOIN pg_stat_replication r ON r.pid = s.active_pid WHERE s.slot_name = '{self.source.slot}'"
        )
        with self.source.cluster.connect() as conn:
            while not self.over.wait(0.005):
                row = conn.execute(query).fetchone()  # type: ignore[arg-type]
                if row and row[0] and (not self.found or row[0] > self.found[-1][1]):
                    self.found.append((time.monotonic(), row[0]))


def commit(conn: psycopg.Connection[Any], note: str) -> tuple[float, int]:
    """Commit one row; return when it was acknowledged, and an LSN at its end."""
    conn.execute("INSERT INTO timed (note) VALUES (%s)", [note])
    moment = time.monotonic()
    row = conn.execute("SELECT (pg_current_wal_insert_lsn() - '0/0')::int8").fetchone()
    assert row is not None
    return moment, row[0]


def wait_for(reports: Reports, lsn: int) -> None:
    """Wait until the stream is known to be on disk up to an LSN."""
    poll(lambda: reports.found and reports.found[-1][1] >= lsn, 60, "the last report")


def measure_interval(bench: Bench, source: Scribe, name: str) -> dict[str, float]:
    """Commit under pgbench's load for as many intervals as there are rounds; return median and worst delay, seconds."""
    status, sync = INTERVALS[name]
    source.settings |= {"SCRIBE_STATUS_INTERVAL": str(status), "SCRIBE_FSYNC_INTERVAL": str(sync)}
    source.start_stream()
    reports = Reports(source)
    reports.start()
    seconds = bench.rounds * max(status, sync)
    load = subprocess.Popen(
        [f"{bench.cluster.bindir}/pgbench", "-n", "-c", "2", "-R", "200", "-T", str(seconds), "losing"],
        env=bench.cluster.env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    commits = []
    with bench.cluster.connect("losing") as conn:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            commits.append(commit(conn, name))
            time.sleep(PACE)
    load.wait()
    wait_for(reports, commits[-1][1])
    reports.over.set()
    reports.join()
    source.stop_stream()
    delays = []
    for moment, lsn in commits:
        told = next(when for when, reached in reports.found if reached >= lsn)
        delays.append(max(0.0, told - moment))
    return {"median_s": median(delays), "worst_s": float(f"{max(delays):.3g}"), "commits": len(commits)}


def measure_waiting(bench: Bench, source: Scribe) -> dict[str, float]:
    """Let each COMMIT wait until it is on the backup host's disk; return how long one takes."""
    source.settings |= {"SCRIBE_STATUS_INTERVAL": "1", "SCRIBE_FSYNC_INTERVAL": "1"}
    source.start_stream()
    bench.sql(f"ALTER SYSTEM SET synchronous_standby_names = '{source.slot}'")
    bench.sql("SELECT pg_reload_conf()")
    try:
        poll(
            lambda: bench.sql("SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'"), 30, "a synchronous stream"
        )
        times = []
        with bench.cluster.connect("losing") as conn:
            for _ in range(3 * bench.rounds):
                begin = time.monotonic()
                conn.execute("INSERT INTO timed (note) VALUES ('waiting')")
                times.append(time.monotonic() - begin)
    finally:
        bench.sql("ALTER SYSTEM RESET synchronous_standby_names")
        bench.sql("SELECT pg_reload_conf()")
        source.stop_stream()
    return {"median_s": median(times), "worst_s": float(f"{max(times):.3g}")}


def measure_losing(bench: Bench) -> None:
    """Measure each pair of intervals, and COMMITs that wait."""
    cluster = bench.cluster
    cluster.createdb("losing")
    source = Scribe(cluster, "losing", bench.directory / "losing")
    try:
        bench.sql("CREATE TABLE timed (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, note text)", "losing")
        subprocess.run(
            [f"{cluster.bindir}/pgbench", "-i", "-q", "losing"], env=cluster.env, check=True, capture_output=True
        )
        source.run("scribe-init", "-q")
        found: dict[str, Any] = {}
        for name in INTERVALS:
            found[name] = measure_interval(bench, source, name)
            say(f"losing: {name} intervals: {found[name]}")
        found["waiting"] = measure_waiting(bench, source)
        say(f"losing: COMMIT waits for the stream: {found['waiting']}")
        bench.figures["losing"] = found
    finally:
        source.close()


def report_losing(found: dict[str, Any]) -> list[str]:
    """Return a line of the report."""
    texts = {name: "median {median_s} s, worst {worst_s} s".format(**entry) for name, entry in found.items()}
    beside = f"intervals of 1 s: {texts['tightest']}; COMMIT that waits for the stream: takes {texts['waiting']}"
    what = "from COMMIT to the report that it is on the backup host's disk, 250 commits/s"
    return [f"| {what} | intervals of 10 s: {texts['default']} | {beside} |"]
