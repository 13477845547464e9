"""make bench: what pg_scribe costs and how fast it is, beside a named peer on the same work in the same run.

Everything happens in a private cluster under /tmp. Rounds are interleaved and medians are printed: a machine that is
busy with something else moves both sides. The report goes to stdout, --json FILE has the raw figures.

    memory   the walsender's peak while it decodes one transaction, by its size
    rotate   MB of plain SQL per second into a zstd segment, and scribe-rotate's peak memory, by the spool's size
    decode   the walsender's CPU per change: scribe_decoder, test_decoding and pgoutput on copies of one slot
    restore  scribe-restore, and psql with the same files, beside the time the source itself took
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests/py"), str(ROOT / "lib")]

from archives import make_archive  # noqa: E402
from cluster import Cluster, install_decoder, poll, temporary_cluster  # noqa: E402
from source import Scribe  # noqa: E402

from scribe.lsn import format_lsn  # noqa: E402
from scribe.spool import Spool  # noqa: E402

MB = 1_000_000
PLUGINS = {
    "scribe_decoder": (),
    "test_decoding": (),
    "pgoutput": ("-o", "proto_version=1", "-o", "publication_names=bench"),
}
ROW = "n, 'name ' || n, n * 1.5, md5(n::text), now() - n * interval '1 second'"
TABLE = "CREATE TABLE {} (id int PRIMARY KEY, name text, price numeric(12,2), note text, at timestamptz)"
FILL = "INSERT INTO {} SELECT " + ROW + " FROM generate_series(1, {}) n"


@dataclass
class Bench:
    """A private cluster with a database, how much is done, and what was found."""

    cluster: Cluster
    directory: Path
    rows: int
    rounds: int
    figures: dict[str, Any] = field(default_factory=dict)

    def sql(self, statement: str, dbname: str = "bench") -> Any:
        """Run a statement."""
        return self.cluster.query(statement, dbname)


def say(text: str) -> None:
    """Print what is being done."""
    print(f"bench: {text}", file=sys.stderr, flush=True)


def median(values: list[float]) -> float:
    """Return the median, rounded to three digits that mean something."""
    return float(f"{statistics.median(values):.4g}")


def timed(function: Callable[..., Any], *arguments: Any) -> float:
    """Return the seconds a call took."""
    begin = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - begin


# --- draining a slot ------------------------------------------------------------------------------------------------


@dataclass
class Drain:
    """One drain of a slot: the walsender's CPU seconds and its peak of private memory, wall seconds, bytes written."""

    cpu: float = 0.0
    peak: int = 0
    wall: float = 0.0
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


def drain(bench: Bench, slot: str, plugin: str, end: str, output: Path) -> Drain:
    """Read a slot to an LSN with pg_recvlogical, which ends there."""
    watch = Watch(bench.cluster, slot)
    watch.start()
    command = [f"{bench.cluster.bindir}/pg_recvlogical", "-d", "bench", "-S", slot, "--start", "--no-loop"]
    command += ["--endpos", end, "--fsync-interval=0", "-f", str(output), *PLUGINS[plugin]]
    watch.drain.wall = timed(
        lambda: subprocess.run(command, env=bench.cluster.env, check=True, capture_output=True)
    )
    watch.gone.set()
    watch.join()
    watch.drain.bytes = output.stat().st_size
    return watch.drain


def allow_plugins(cluster: Cluster) -> None:
    """Let every decoder be used, on servers that restrict them."""
    if cluster.query("SELECT 1 FROM pg_settings WHERE name = 'output_plugin_libraries'"):
        cluster.query(f"ALTER SYSTEM SET output_plugin_libraries = {', '.join(PLUGINS)}")
        cluster.query("SELECT pg_reload_conf()")
        poll(lambda: "scribe_decoder" in cluster.value("SHOW output_plugin_libraries"), 10, "a reload")


def make_slot(bench: Bench, name: str, plugin: str) -> None:
    """Create a slot."""
    bench.sql(f"SELECT pg_create_logical_replication_slot('{name}', '{plugin}')")


def end_of_work(bench: Bench) -> str:
    """Return the LSN after everything so far, and write something after it, so that a drain to there ends."""
    lsn = bench.sql("SELECT pg_current_wal_insert_lsn()")[0][0]
    bench.sql("CREATE TABLE fence ()")
    bench.sql("DROP TABLE fence")
    return str(lsn)


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


# --- the measurements -----------------------------------------------------------------------------------------------


def measure_memory(bench: Bench) -> None:
    """The walsender over one transaction, of several sizes; the server itself needs logical_decoding_work_mem."""
    found = []
    for rows in (bench.rows // 10, bench.rows // 2, bench.rows):
        bench.sql(TABLE.format("big"))
        work = functools.partial(bench.sql, FILL.format("big", rows))
        drained = drain_work(bench, work, ["scribe_decoder", "test_decoding"], 1)
        peaks = {plugin: round(drains[0].peak / MB, 1) for plugin, drains in drained.items()}
        found.append({"rows": rows, "peak_mb": peaks})
        say(f"memory: {rows:,} rows: {peaks}")
        bench.sql("DROP TABLE big")
    bench.figures["memory"] = found


def workloads(bench: Bench) -> dict[str, tuple[int, Callable[[], Any], Callable[[], Any]]]:
    """Return name -> (changes, preparation, work)."""
    rows, some = bench.rows, bench.rows // 2

    def fill() -> None:
        bench.sql(TABLE.format("big"))
        bench.sql(FILL.format("big", rows))

    def pgbench(*arguments: str) -> None:
        command = [f"{bench.cluster.bindir}/pgbench", *arguments, "bench"]
        subprocess.run(command, env=bench.cluster.env, check=True, capture_output=True)

    transactions = max(250, rows // 100)
    return {
        "bulk": (rows, lambda: bench.sql(TABLE.format("big")), lambda: bench.sql(FILL.format("big", rows))),
        "update": (some, fill, lambda: bench.sql(f"UPDATE big SET price = price + 1 WHERE id <= {some}")),
        "delete": (some, fill, lambda: bench.sql(f"DELETE FROM big WHERE id <= {some}")),
        "oltp": (
            transactions * 4 * 4,  # four clients; three updates and an insert in each transaction
            lambda: pgbench("-i", "-q", "-s", "5"),
            lambda: pgbench("-n", "-c", "4", "-j", "2", "-t", str(transactions)),
        ),
    }


def measure_decoding(bench: Bench) -> None:
    """CPU of the walsender per change, by decoder."""
    found = {}
    bench.sql("CREATE PUBLICATION bench FOR ALL TABLES")
    for name, (changes, prepare, work) in workloads(bench).items():
        prepare()
        drained = drain_work(bench, work, list(PLUGINS), bench.rounds)
        found[name] = {
            "changes": changes,
            "cpu_us_per_change": {p: median([d.cpu / changes * 1e6 for d in drains]) for p, drains in drained.items()},
            "mb": {p: round(drains[0].bytes / MB, 1) for p, drains in drained.items()},
        }
        say(f"decode: {name}: {found[name]['cpu_us_per_change']}")
        bench.sql("DROP TABLE IF EXISTS big")
    bench.sql("DROP PUBLICATION bench")
    bench.figures["decode"] = found


def write_spool(path: Path, sample: bytes, size: int) -> int:
    """Write the sample again and again, each with LSNs after the last, up to a size; return the bytes written."""
    head, _, body = sample.partition(b"\n")
    body = body[: body.index(b"\nCOMMIT; -- end ") + 1]
    xid, when = head.split(b" commit ")[0], head.split(b" time ")[1]
    lsn, written = 0x1000, 0
    with path.open("wb") as spool:
        while written < size:
            begin, end = format_lsn(lsn).encode(), format_lsn(lsn + 0x30).encode()
            written += spool.write(b"%b commit %b time %b\n%bCOMMIT; -- end %b\n" % (xid, begin, when, body, end))
            lsn += 0x100
    return written


def run_rotate(bench: Bench, archive: Path) -> tuple[float, int]:
    """Run scribe-rotate with no server to ask; return its seconds and the peak of its memory in bytes."""
    environment = bench.cluster.env | {"SCRIBE_ARCHIVE": str(archive), "PGHOST": str(bench.directory / "nobody")}
    command = [str(ROOT / "bin/scribe-rotate"), "-q"]
    begin = time.perf_counter()
    child = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - begin
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 75:  # the server is away, and the segments are written all the same
        raise RuntimeError(f"scribe-rotate exited {child.returncode}")
    return seconds, usage.ru_maxrss * 1024


def measure_rotation(bench: Bench, sizes: list[int]) -> None:
    """scribe-rotate over spools made of what the decoder wrote: whole run of the program, start included."""
    sample = sample_stream(bench)
    runs: dict[int, list[tuple[int, float, int]]] = {size: [] for size in sizes}
    for _ in range(bench.rounds):
        for size in sizes:
            path = bench.directory / "rotated"
            make_archive(path, chain_from_lsn="0/100", system_identifier="1")
            written = write_spool(Spool(path / "spool").stream, sample, size)
            seconds, peak = run_rotate(bench, path)
            runs[size].append((written, seconds, peak))
            shutil.rmtree(path)
    bench.figures["rotate"] = [
        {
            "spool_mb": round(made[0][0] / MB),
            "mb_per_s": median([written / MB / seconds for written, seconds, _ in made]),
            "peak_mb": median([peak / MB for _, _, peak in made]),
        }
        for made in runs.values()
    ]
    say(f"rotate: {bench.figures['rotate']}")


def sample_stream(bench: Bench) -> bytes:
    """Return a transaction of about 4 MB as the decoder wrote it: COPY, an UPDATE run, single statements."""
    bench.sql(TABLE.format("big"))
    make_slot(bench, "sample", "scribe_decoder")
    with bench.cluster.connect("bench", autocommit=False) as conn:
        conn.execute(FILL.format("big", 20_000))
        conn.execute("UPDATE big SET name = name || ' again' WHERE id % 3 = 0")
        for number in range(5_000):
            conn.execute("UPDATE big SET note = 'one' WHERE id = %s", [number + 1])
            conn.execute("INSERT INTO big (id) VALUES (%s)", [-number - 1])
        conn.commit()
    output = bench.directory / "sample"
    drain(bench, "sample", "scribe_decoder", end_of_work(bench), output)
    drop_slot(bench, "sample")
    bench.sql("DROP TABLE big")
    text = output.read_bytes()
    return text[: text.index(b"\n", text.index(b"\nCOMMIT; -- end ") + 1) + 1]


def measure_restore(bench: Bench) -> None:
    """A COPY of many rows, and pgbench's transactions: the source's time, and that of replaying their segments."""
    found = {}
    for name in ("copy", "pgbench"):
        found[name] = restore_workload(bench, name)
        say(f"restore: {name}: {found[name]}")
    bench.figures["restore"] = found


def restore_workload(bench: Bench, name: str) -> dict[str, Any]:
    """Stream one workload, then replay its segments into copies of the restored base, in interleaved rounds."""
    cluster, transactions = bench.cluster, max(250, bench.rows // 100)
    cluster.createdb("source")
    source = Scribe(cluster, "source", bench.directory / f"archive-{name}", {"SCRIBE_COMPRESS": "none"})
    try:
        if name == "copy":
            bench.sql(TABLE.format("big"), "source")
            rows = bench.directory / "rows"
            copy_out = f"COPY (SELECT {ROW} FROM generate_series(1, {bench.rows}) n) TO STDOUT"
            cluster_psql(cluster, "source", "-o", str(rows), "-c", copy_out)
        else:
            cluster_program(cluster, "pgbench", "-i", "-q", "-s", "5", "source")
        source.run("scribe-init", "-q")
        if name == "copy":
            seconds = timed(cluster_psql, cluster, "source", "-c", f"\\copy big FROM '{rows}'")
        else:
            arguments = ("-n", "-c", "4", "-j", "2", "-t", str(transactions), "source")
            seconds = timed(cluster_program, cluster, "pgbench", *arguments)
        source.start_stream()
        source.run("scribe-rotate", "--wait-lsn", "current", timeout=900)
        source.stop_stream()
        return {"source_s": median([seconds])} | replay_rounds(bench, source)
    finally:
        source.close()


def replay_rounds(bench: Bench, source: Scribe) -> dict[str, Any]:
    """Replay a source's segments with scribe-restore and with psql, each into a fresh copy of its base."""
    cluster = bench.cluster
    base = json.loads(next((source.archive / "base").glob("*/manifest.json")).read_text())["consistent_point_lsn"]
    source.run("scribe-restore", "-q", "-d", "at_base", "--target-lsn", base, "--target-exclusive")
    segments = sorted((source.archive / "incremental").glob("*.sql"))
    seconds: dict[str, list[float]] = {"scribe-restore": [], "psql": []}
    for _ in range(bench.rounds):
        for way, runs in seconds.items():
            cluster.createdb("target", template="at_base")
            cluster.query("CHECKPOINT")
            if way == "psql":
                files = [word for path in segments for word in ("-f", str(path))]
                runs.append(timed(cluster_psql, cluster, "target", "-o", "/dev/null", *files))
            else:
                runs.append(timed(source.run, "scribe-restore", "-q", "-d", "target", "--resume"))
            cluster.dropdb("target")
    cluster.dropdb("at_base")
    return {"plain_mb": round(sum(path.stat().st_size for path in segments) / MB, 1)} | {
        f"{way.replace('-', '_')}_s": median(runs) for way, runs in seconds.items()
    }


def cluster_program(cluster: Cluster, program: str, *arguments: str) -> None:
    """Run a client program of the server's version."""
    subprocess.run([f"{cluster.bindir}/{program}", *arguments], env=cluster.env, check=True, capture_output=True)


def cluster_psql(cluster: Cluster, dbname: str, *arguments: str) -> None:
    """Run psql."""
    cluster_program(cluster, "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", dbname, *arguments)


# --- the report -----------------------------------------------------------------------------------------------------


def find_processor() -> str:
    """Return the processor's name."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(": ")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def describe(bench: Bench) -> dict[str, Any]:
    """Return where and when this was measured."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "postgresql": str(bench.cluster.value("SHOW server_version")),
        "python": platform.python_version(),
        "processor": find_processor(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "rows": bench.rows,
        "rounds": bench.rounds,
    }


def report(figures: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    place = (
        "Measured on {date}: PostgreSQL {postgresql}, Python {python}, {cores} cores ({processor}), fsync off,\n"
        "load {load} when it began; {rows:,} rows, medians of {rounds} interleaved rounds."
    )
    lines = [
        place.format(**figures["machine"]),
        "",
        "| what | pg_scribe | beside it |",
        "| --- | --- | --- |",
    ]
    lines += [report_memory(entry) for entry in figures.get("memory", [])]
    lines += [report_decoding(name, entry) for name, entry in figures.get("decode", {}).items()]
    lines += [report_rotation(entry) for entry in figures.get("rotate", [])]
    lines += [report_restore(name, entry) for name, entry in figures.get("restore", {}).items()]
    return "\n".join(lines)


def report_memory(entry: dict[str, Any]) -> str:
    """Return a line of the report."""
    what = "walsender's own memory at its peak, a transaction of {rows:,} rows".format(**entry)
    return f"| {what} " + "| {scribe_decoder} MB | test_decoding {test_decoding} MB |".format(**entry["peak_mb"])


def report_decoding(name: str, entry: dict[str, Any]) -> str:
    """Return a line of the report."""
    cpu, size = entry["cpu_us_per_change"], entry["mb"]
    ours, *others = [f"{cpu[plugin]:.2f} us, {size[plugin]} MB" for plugin in PLUGINS]
    ratios = [f"{cpu['scribe_decoder'] / cpu[plugin]:.2f}" for plugin in PLUGINS][1:]
    pairs = zip(list(PLUGINS)[1:], others, ratios, strict=True)
    beside = "; ".join(f"{plugin} {figures}, ratio {ratio}" for plugin, figures, ratio in pairs)
    return f"| decoding {entry['changes']:,} changes, {name}: walsender's CPU per change, output | {ours} | {beside} |"


def report_rotation(entry: dict[str, Any]) -> str:
    """Return a line of the report."""
    speed = "{mb_per_s:.0f} MB/s, peak {peak_mb:.0f} MB of memory".format(**entry)
    return f"| scribe-rotate with zstd, a spool of {entry['spool_mb']} MB | {speed} | |"


def report_restore(name: str, entry: dict[str, Any]) -> str:
    """Return a line of the report."""
    what = {"copy": "one COPY", "pgbench": "pgbench, 4 clients"}[name]
    ours = "{scribe_restore_s} s".format(**entry) + f", ratio {entry['scribe_restore_s'] / entry['source_s']:.2f}"
    psql = "psql {psql_s} s".format(**entry) + f", ratio {entry['psql_s'] / entry['source_s']:.2f}"
    return f"| replay of {what}, {entry['plain_mb']} MB of SQL | {ours} | the source {entry['source_s']} s; {psql} |"


def parse(argv: list[str]) -> argparse.Namespace:
    """Return the flags."""
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="bench/run.py", description=__doc__, formatter_class=style)
    parser.add_argument("--quick", action="store_true", help="small sizes, one round: to see that it works")
    parser.add_argument("--rows", type=int, help="rows of the big transactions (default 1,000,000; quick: 50,000)")
    parser.add_argument("--rounds", type=int, help="interleaved rounds (default 3; quick: 1)")
    parser.add_argument("--spool-mb", type=int, nargs="+", metavar="MB", help="of spools (default 50 500; quick: 5 20)")
    parser.add_argument("--only", default="memory,rotate,decode,restore", help="what is measured")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the raw figures there")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Measure, and print the report."""
    flags = parse(sys.argv[1:] if argv is None else argv)
    rows, rounds = flags.rows or (50_000 if flags.quick else 1_000_000), flags.rounds or (1 if flags.quick else 3)
    sizes = [size * MB for size in flags.spool_mb or ([5, 20] if flags.quick else [50, 500])]
    measures: dict[str, Callable[[Bench], None]] = {
        "memory": measure_memory,
        "rotate": lambda bench: measure_rotation(bench, sizes),
        "decode": measure_decoding,
        "restore": measure_restore,
    }
    directory = tempfile.TemporaryDirectory(prefix="pg_scribe-bench-")
    with directory as place, temporary_cluster(max_wal_size="4GB") as cluster:
        os.chmod(place, 0o755)
        install_decoder(cluster.pg_config)
        allow_plugins(cluster)
        cluster.createdb("bench")
        bench = Bench(cluster, Path(place), rows, rounds)
        bench.figures["machine"] = describe(bench)
        for name in flags.only.split(","):
            measures[name](bench)
    if flags.json:
        flags.json.write_text(json.dumps(bench.figures, indent=2) + "\n")
    print(report(bench.figures))
    return 0


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.exit(main())
