"""What the source pays: pgbench's rate with nothing, with capture and stream, and with other plugins being drained."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cluster import poll
from draining import OURS, drop_slot, make_slot
from place import PLUGINS, Bench, cluster_program, median, say
from source import Scribe


def measure_overhead(bench: Bench) -> None:
    """Transactions per second of four pgbench clients, each way on a database of its own, in interleaved rounds."""
    ways = ["nothing", *(name for name in bench.plugins if name in {OURS, "decoder_raw", "pgoutput"})]
    for way in ways:
        bench.cluster.createdb(f"busy_{way}")
        cluster_program(bench.cluster, "pgbench", "-i", "-q", "-s", "10", f"busy_{way}")
    bench.sql("CREATE PUBLICATION bench FOR ALL TABLES", "busy_pgoutput")
    source = Scribe(bench.cluster, f"busy_{OURS}", bench.directory / "archive-busy")
    rates: dict[str, list[float]] = {way: [] for way in ways}
    try:
        source.run("scribe-init", "-q")
        for _ in range(bench.rounds):
            for way in ways:
                bench.cluster.query("CHECKPOINT")
                with drained(bench, way, source):
                    rates[way].append(run_pgbench(bench, f"busy_{way}"))
    finally:
        source.close()
    for way in ways:
        if way != OURS:
            bench.cluster.dropdb(f"busy_{way}")
    bench.figures["overhead"] = {way: median(found) for way, found in rates.items()}
    say(f"overhead: {bench.figures['overhead']}")


@contextmanager
def drained(bench: Bench, way: str, source: Scribe) -> Iterator[None]:
    """Keep a way's slot drained while the block runs."""
    if way == "nothing":
        yield
        return
    if way == OURS:
        source.start_stream()
        try:
            yield
        finally:
            source.stop_stream()
        return
    make_slot(bench, "busy", way, f"busy_{way}")
    command = [f"{bench.cluster.bindir}/pg_recvlogical", "-d", f"busy_{way}", "-S", "busy", "--start"]
    command += ["-f", str(bench.directory / "busy"), *PLUGINS[way]]
    receiver = subprocess.Popen(command, env=bench.cluster.env, stderr=subprocess.DEVNULL)
    try:
        active = "SELECT active FROM pg_replication_slots WHERE slot_name = 'busy'"
        poll(lambda: bench.sql(active)[0][0], 30, "a walsender")
        yield
    finally:
        receiver.terminate()
        receiver.wait(30)
        (bench.directory / "busy").unlink(missing_ok=True)
        drop_slot(bench, "busy")


def run_pgbench(bench: Bench, dbname: str) -> float:
    """Return the transactions per second of four clients."""
    seconds = "3" if bench.rounds == 1 else "15"
    command = [f"{bench.cluster.bindir}/pgbench", "-n", "-c", "4", "-j", "2", "-T", seconds, dbname]
    said = subprocess.run(command, env=bench.cluster.env, check=True, capture_output=True, text=True).stdout
    match = re.search(r"^tps = ([\d.]+) \(without", said, re.MULTILINE)
    assert match is not None, said
    return float(match[1])


def report_overhead(figures: dict[str, Any]) -> list[str]:
    """Return lines of the report."""
    nothing = figures["nothing"]
    ours = f"{figures[OURS]:.0f} tps, {figures[OURS] / nothing:.2f} of no slot's"
    beside = [
        f"{way} drained {rate:.0f} tps, {rate / nothing:.2f}; ours {figures[OURS] / rate:.2f} of it"
        for way, rate in figures.items()
        if way not in {"nothing", OURS}
    ]
    what = "the source's pgbench, 4 clients, capture on and the stream running"
    return [f"| {what} | {ours} | no slot {nothing:.0f} tps; {'; '.join(beside)} |"]
