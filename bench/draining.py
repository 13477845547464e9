"""Draining a slot: the walsender's CPU and memory, the receiver's CPU and what is written, by decoder."""

from __future__ import annotations

import functools
import os
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from cluster import Cluster, poll
from place import ALTERNATE, FILL, FILL_WIDE, MB, PLUGINS, SIDES, TABLE, WIDE, Bench, cluster_program, median, say

OURS = "scribe_decoder"


class End(NamedTuple):
    """Where a drain ends: LSN, in a database's stream."""

    lsn: str
    dbname: str


@dataclass
class Drain:
    """One drain of a slot: CPU seconds of walsender and receiver, the walsender's peak of private memory, bytes."""

    cpu: float = 0.0
    client: float = 0.0
    peak: int = 0
    bytes: int = 0


def read_cpu(pid: int) -> float:
    """Return the CPU seconds a process has used, to the nanosecond."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def read_memory(pid: int) -> int:
    """Return a process's resident memory that is not shared, in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0


class Watch(threading.Thread):
    """Looks at the walsender again and again until it is gone; the last look counts."""

    def __init__(self, cluster: Cluster, slot: str) -> None:
        super().__init__(daemon=True)
        self.cluster, self.slot, self.drain = cluster, slot, Drain()
        self.gone = threading.Event()

    def run(self) -> None:
        """Look until told to end."""
        query = f"SELECT active_pid FROM pg_replication_slots WHERE slot_name = '{self.slot}'"
        with self.cluster.connect("bench") as conn:
            pid = None
            while pid is None and not self.gone.is_set():
                row = conn.execute(query).fetchone()
                pid = row[0] if row else None
                time.sleep(0.001)
        try:
            while pid is not None and not self.gone.is_set():
                self.drain.cpu = read_cpu(pid)
                self.drain.peak = max(self.drain.peak, read_memory(pid))
                time.sleep(0.002)
        except (FileNotFoundError, ProcessLookupError):
            pass


def drain(bench: Bench, slot: str, plugin: str, end: End, output: Path) -> Drain:
    """Read a slot to an LSN with pg_recvlogical, which ends there."""
    watch = Watch(bench.cluster, slot)
    watch.start()
    command = [f"{bench.cluster.bindir}/pg_recvlogical", "-d", end.dbname, "-S", slot, "--start", "--no-loop"]
    command += ["--endpos", end.lsn, "--fsync-interval=0", "-f", str(output), *PLUGINS[plugin]]
    receiver = subprocess.Popen(command, env=bench.cluster.env, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(receiver.pid, 0)
    receiver.returncode = os.waitstatus_to_exitcode(status)
    if receiver.returncode:
        raise RuntimeError(f"pg_recvlogical -P {plugin} exited {receiver.returncode}")
    watch.drain.client = usage.ru_utime + usage.ru_stime
    watch.gone.set()
    watch.join()
    watch.drain.bytes = output.stat().st_size
    return watch.drain


def make_slot(bench: Bench, name: str, plugin: str, dbname: str = "bench") -> None:
    """Create a slot."""
    bench.sql(f"SELECT pg_create_logical_replication_slot('{name}', '{plugin}')", dbname)


def end_of_work(bench: Bench, dbname: str = "bench") -> End:
    """Return the LSN after everything so far, and write something after it, so that a drain to there ends."""
    lsn = bench.sql("SELECT pg_current_wal_insert_lsn()")[0][0]
    bench.sql("CREATE TABLE fence (i int)", dbname)
    bench.sql("INSERT INTO fence VALUES (1)", dbname)
    bench.sql("DROP TABLE fence", dbname)
    return End(str(lsn), dbname)


def drain_work(bench: Bench, work: Callable[[], Any], plugins: list[str], rounds: int) -> dict[str, list[Drain]]:
    """Do some work, then drain copies of the slot made before it, in interleaved rounds."""
    for plugin in plugins:
        make_slot(bench, f"first_{plugin}", plugin)
    work()
    end = end_of_work(bench)
    bench.sql("CHECKPOINT")
    found: dict[str, list[Drain]] = {plugin: [] for plugin in plugins}
    for _ in range(rounds):
        for plugin in plugins:
            slot = f"copy_{plugin}"
            bench.sql(f"SELECT pg_copy_logical_replication_slot('first_{plugin}', '{slot}')")
            found[plugin].append(drain(bench, slot, plugin, end, bench.directory / "drained"))
            (bench.directory / "drained").unlink()
            drop_slot(bench, slot)
    for plugin in plugins:
        drop_slot(bench, f"first_{plugin}")
    return found


def drop_slot(bench: Bench, name: str) -> None:
    """Drop a slot once its walsender is gone."""
    idle = f"SELECT NOT active FROM pg_replication_slots WHERE slot_name = '{name}'"
    poll(lambda: bench.sql(idle)[0][0], 30, "the end of a walsender")
    bench.sql(f"SELECT pg_drop_replication_slot('{name}')")


def measure_memory(bench: Bench) -> None:
    """The walsender over one transaction, of several sizes; the server itself needs logical_decoding_work_mem."""
    found = []
    plugins = [name for name in bench.plugins if name in {OURS, "decoder_raw", "test_decoding"}]
    for rows in (bench.rows // 10, bench.rows // 2, bench.rows):
        bench.sql(TABLE.format("big"))
        work = functools.partial(bench.sql, FILL.format("big", rows))
        drained = drain_work(bench, work, plugins, 1)
        peaks = {plugin: round(drains[0].peak / MB, 1) for plugin, drains in drained.items()}
        found.append({"rows": rows, "peak_mb": peaks})
        say(f"memory: {rows:,} rows: {peaks}")
        bench.sql("DROP TABLE big")
    bench.figures["memory"] = found


def workloads(bench: Bench) -> dict[str, tuple[int, Callable[[], Any], Callable[[], Any]]]:
    """Return name -> (changes, preparation, work)."""
    rows, some = bench.rows, bench.rows // 2

    def run(*statements: str) -> Callable[[], None]:
        def execute() -> None:
            for statement in statements:
                bench.sql(statement)

        return execute

    def pgbench(*arguments: str) -> Callable[[], None]:
        return lambda: cluster_program(bench.cluster, "pgbench", *arguments, "bench")

    transactions = max(250, rows // 100)
    big, fill = TABLE.format("big"), FILL.format("big", rows)
    return {
        "bulk": (rows, run(big), run(fill)),
        "update": (some, run(big, fill), run(f"UPDATE big SET price = price + 1 WHERE id <= {some}")),
        "delete": (some, run(big, fill), run(f"DELETE FROM big WHERE id <= {some}")),
        # four clients; three updates and an insert in each transaction
        "oltp": (
            transactions * 4 * 4,
            pgbench("-i", "-q", "-s", "5"),
            pgbench("-n", "-c", "4", "-j", "2", "-t", str(transactions)),
        ),
        "wide": (rows // 20, run(WIDE), run(FILL_WIDE.format(rows // 20))),
        "alternate": (some, run(SIDES.format("a"), SIDES.format("b")), run(ALTERNATE.format(some // 2))),
    }


def measure_decoding(bench: Bench) -> None:
    """CPU of the walsender and of its client per change, by decoder."""
    found = {}
    bench.sql("CREATE PUBLICATION bench FOR ALL TABLES")
    for name, (changes, prepare, work) in workloads(bench).items():
        prepare()
        drained = drain_work(bench, work, bench.plugins, bench.rounds)
        found[name] = {
            "changes": changes,
            "cpu_us_per_change": {p: median([d.cpu / changes * 1e6 for d in drains]) for p, drains in drained.items()},
            "client_us_per_change": {
                p: median([d.client / changes * 1e6 for d in drains]) for p, drains in drained.items()
            },
            "mb": {p: median([drain.bytes / MB for drain in drains]) for p, drains in drained.items()},
        }
        say(f"decode: {name}: {found[name]['cpu_us_per_change']}")
        bench.sql("DROP TABLE IF EXISTS big, wide, side_a, side_b")
    bench.sql("DROP PUBLICATION bench")
    bench.figures["decode"] = found


def report_memory(figures: list[dict[str, Any]]) -> list[str]:
    """Return lines of the report."""
    what = "walsender's own memory at its peak, a transaction of {rows:,} rows"
    lines = []
    for entry in figures:
        ours, *others = (f"{plugin} {peak} MB" for plugin, peak in entry["peak_mb"].items())
        lines.append(f"| {what.format(**entry)} | {ours.split(' ', 1)[1]} | {'; '.join(others)} |")
    return lines


def report_decoding(figures: dict[str, Any]) -> list[str]:
    """Return lines of the report."""
    return [report_workload(name, entry) for name, entry in figures.items()]


def report_workload(name: str, entry: dict[str, Any]) -> str:
    """Return a line of the report."""
    figures = [entry[key] for key in ("cpu_us_per_change", "client_us_per_change", "mb")]
    cells = {plugin: "{:.2f} + {:.2f} us, {:g} MB".format(*(by[plugin] for by in figures)) for plugin in figures[0]}
    ours = cells.pop(OURS)
    ratios = {plugin: ", ".join(f"{by[OURS] / by[plugin]:.2f}" for by in figures) for plugin in cells}
    beside = "; ".join(f"{plugin} {cell}: {ratios[plugin]} of it" for plugin, cell in cells.items())
    what = f"decoding {entry['changes']:,} changes, {name}: CPU per change of walsender + client, output"
    return f"| {what} | {ours} | {beside} |"
