"""Keeping up: a stream and a rotation every ten seconds while a source makes 10,000 row changes a second."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from typing import Any

from place import MB, ROOT, Bench, say
from source import Scribe

RATE = 10_000  # row changes a second
EVERY = 10.0  # seconds from one rotation to the next
SECONDS = {True: 10, False: 60}  # quick or not
BATCH = 20  # row changes of a transaction
TABLE = "CREATE TABLE busy (id int PRIMARY KEY, name text, price numeric(12, 2))"
CHANGES = (
    "INSERT INTO busy SELECT n, 'name ' || n, n * 1.5 FROM generate_series({0}, {0} + 9) n;"
    "UPDATE busy SET price = price + 1 WHERE id BETWEEN {0} AND {0} + 4;"
    "DELETE FROM busy WHERE id BETWEEN {0} + 5 AND {0} + 9"
)


class Source(threading.Thread):
    """Makes row changes at RATE for so many seconds; done: how many there were."""

    def __init__(self, bench: Bench, seconds: float) -> None:
        super().__init__(daemon=True)
        self._bench, self._seconds = bench, seconds
        self.done, self.took = 0, 0.0

    def run(self) -> None:
        """See the class."""
        with self._bench.cluster.connect("bench") as conn:
            begin = time.perf_counter()
            while self.took < self._seconds:
                conn.execute(CHANGES.format(self.done // 2).encode())
                self.done += BATCH
                time.sleep(max(0.0, begin + self.done / RATE - time.perf_counter()))
                self.took = time.perf_counter() - begin


def _rotate(scribe: Scribe, *arguments: str) -> tuple[float, float, int]:
    """Return the seconds a rotation took, of time and of CPU, and its peak of memory in bytes."""
    begin = time.perf_counter()
    child = subprocess.Popen([str(ROOT / "bin/scribe-rotate"), "-q", *arguments], env=scribe.env)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise RuntimeError(f"scribe-rotate exited {child.returncode}")
    return time.perf_counter() - begin, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024


def _keep(bench: Bench, plugin: str, seconds: float) -> dict[str, Any]:
    """Return what became of one run."""
    archive = bench.directory / "kept" / "archive"
    archive.parent.mkdir()
    scribe = Scribe(bench.cluster, "bench", archive, {"SCRIBE_DECODER": plugin, "SCRIBE_STATUS_INTERVAL": "1"})
    bench.sql(TABLE)
    try:
        scribe.run("scribe-init")
        scribe.start_stream()
        source = Source(bench, seconds)
        source.start()
        rotations = []
        for number in range(1, int(seconds / EVERY) + 1):
            time.sleep(max(0.0, EVERY * number - source.took))
            rotations.append(_rotate(scribe))
        source.join()
        sent = "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), sent_lsn)::int8 FROM pg_stat_replication"
        behind = bench.sql(sent)[0][0]
        last = _rotate(scribe, "--wait-lsn", "current")
        return {
            "plugin": plugin,
            "rate": round(source.done / source.took),
            "seconds": [round(s, 2) for s, _, _ in rotations],
            "cpu": [round(cpu, 2) for _, cpu, _ in rotations],
            "unsent_bytes": int(behind),
            "caught_up": round(last[0], 2),
            "peak_mb": round(max(peak for _, _, peak in [*rotations, last]) / MB),
        }
    finally:
        scribe.kill_streams()
        scribe.run("scribe-init", "--remove", check=False)
        bench.sql("DROP TABLE busy")
        shutil.rmtree(archive.parent)


def measure_keeping(bench: Bench) -> None:
    """Each decoder that the toolkit's users choose without a library of somebody else's."""
    seconds = SECONDS[bench.rounds == 1]
    bench.figures["keep"] = [_keep(bench, plugin, seconds) for plugin in ("scribe_decoder", "pgoutput")]
    say(f"keep: {bench.figures['keep']}")


def report_keeping(figures: Any) -> list[str]:
    """Return the lines of the report."""
    lines = []
    for f in figures:
        length = f"{len(f['seconds']) * EVERY:.0f} s, rotated each {EVERY:.0f} s"
        what = f"| {f['plugin']}: {f['rate']:,} row changes a second for {length}"
        spent = f"{f['cpu'][0]:.2f} to {f['cpu'][-1]:.2f} s of CPU a rotation, {f['peak_mb']} MB at most"
        lines.append(f"{what} | all archived {f['caught_up']:.1f} s after the end | {spent} |")
    return lines
