"""Replay: scribe-restore and psql with the same files, beside the source's own time and a peer's stream."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from draining import drain, drop_slot, end_of_work
from place import (
    ALTERNATE,
    FILL,
    FILL_WIDE,
    MB,
    ROW,
    SIDES,
    TABLE,
    WIDE,
    Bench,
    cluster_program,
    cluster_psql,
    median,
    say,
    timed,
)
from source import Scribe

SOURCE = "source"
PEER = "decoder_raw"


def workloads(bench: Bench) -> dict[str, tuple[int, list[str], Callable[[], None]]]:
    """Return name -> (row changes, statements before the base, work)."""
    rows, some, transactions = bench.rows, bench.rows // 2, max(250, bench.rows * 3 // 200)
    big, fill = TABLE.format("big"), FILL.format("big", rows)
    file = bench.directory / "rows"

    def sql(statement: str) -> Callable[[], None]:
        return lambda: cluster_psql(bench.cluster, SOURCE, "-c", statement)

    def copy() -> None:
        cluster_psql(bench.cluster, SOURCE, "-c", f"\\copy big FROM '{file}'")

    def pgbench() -> None:
        cluster_program(bench.cluster, "pgbench", "-n", "-c", "4", "-j", "2", "-t", str(transactions), SOURCE)

    copy_out = f"COPY (SELECT {ROW} FROM generate_series(1, {rows}) n) TO STDOUT"
    cluster_psql(bench.cluster, "bench", "-o", str(file), "-c", copy_out)
    return {
        "one COPY": (rows, [big], copy),
        "a mass UPDATE": (some, [big, fill], sql(f"UPDATE big SET price = price + 1 WHERE id <= {some}")),
        "a mass DELETE": (some, [big, fill], sql(f"DELETE FROM big WHERE id <= {some}")),
        "wide rows": (rows // 20, [WIDE], sql(FILL_WIDE.format(rows // 20))),
        "alternating tables": (some, [SIDES.format("a"), SIDES.format("b")], sql(ALTERNATE.format(some // 2))),
        "pgbench, 4 clients": (transactions * 16, [], pgbench),
    }


def measure_restore(bench: Bench) -> None:
    """The source's time, and that of replaying what was streamed, for each workload."""
    found = {}
    for name, (changes, before, work) in workloads(bench).items():
        found[name] = {"changes": changes} | replay_workload(bench, name, before, work)
        say(f"restore: {name}: {found[name]}")
    bench.figures["restore"] = found


def replay_workload(bench: Bench, name: str, before: list[str], work: Callable[[], None]) -> dict[str, Any]:
    """Stream one workload, then replay its segments into copies of the restored base, in interleaved rounds."""
    cluster = bench.cluster
    cluster.createdb(SOURCE)
    archive = bench.directory / f"archive-{name.replace(' ', '-')}"
    source = Scribe(cluster, SOURCE, archive, {"SCRIBE_COMPRESS": "none"})
    try:
        for statement in before:
            bench.sql(statement, SOURCE)
        if not before:
            cluster_program(cluster, "pgbench", "-i", "-q", "-s", "5", SOURCE)
        source.run("scribe-init", "-q")
        if PEER in bench.plugins:
            bench.sql(f"SELECT pg_create_logical_replication_slot('peer', '{PEER}')", SOURCE)
        seconds = timed(work)
        stream = drain_peer(bench) if PEER in bench.plugins else None
        source.start_stream()
        source.run("scribe-rotate", "--wait-lsn", "current", timeout=900)
        source.stop_stream()
        return {"source_s": median([seconds])} | replay_rounds(bench, source, stream)
    finally:
        source.close()


def drain_peer(bench: Bench) -> Path:
    """Write what the peer makes of the same changes to a file."""
    stream = bench.directory / "peer.sql"
    stream.unlink(missing_ok=True)
    drain(bench, "peer", PEER, end_of_work(bench, SOURCE), stream)
    drop_slot(bench, "peer")
    return stream


def replay_rounds(bench: Bench, source: Scribe, peer: Path | None) -> dict[str, Any]:
    """Replay a source's segments with scribe-restore and with psql, each into a fresh copy of its base.

    peer: its stream for psql, once only: it takes many times as long.
    """
    cluster = bench.cluster
    base = json.loads(next((source.archive / "base").glob("*/manifest.json")).read_text())["consistent_point_lsn"]
    source.run("scribe-restore", "-q", "-d", "at_base", "--target-lsn", base, "--target-exclusive")
    segments = sorted((source.archive / "incremental").glob("*.sql"))
    seconds: dict[str, list[float]] = {"scribe_restore": [], "psql": []} | ({"peer": []} if peer else {})
    for number in range(bench.rounds):
        for way, runs in seconds.items():
            if way == "peer" and number > 0:
                continue
            cluster.createdb("target", template="at_base")
            cluster.query("CHECKPOINT")
            if way == "scribe_restore":
                runs.append(timed(source.run, "scribe-restore", "-q", "-d", "target", "--resume", timeout=900))
            else:
                paths = segments if peer is None or way == "psql" else [peer]
                files = [word for path in paths for word in ("-f", str(path))]
                runs.append(timed(cluster_psql, cluster, "target", "-o", "/dev/null", *files))
            cluster.dropdb("target")
    cluster.dropdb("at_base")
    return {"plain_mb": round(sum(path.stat().st_size for path in segments) / MB, 1)} | {
        f"{way}_s": median(runs) for way, runs in seconds.items()
    }


def report_restore(figures: dict[str, Any]) -> list[str]:
    """Return lines of the report."""
    return [report_workload(name, entry) for name, entry in figures.items()]


def report_workload(name: str, entry: dict[str, Any]) -> str:
    """Return a line of the report: seconds, thousand row changes a second, and the ratio to the source's time."""

    def cell(seconds: float) -> str:
        rate = entry["changes"] / seconds / 1000
        return f"{seconds} s, {rate:.0f} k/s, {seconds / entry['source_s']:.2f} of the source's time"

    beside = f"psql with the same files {cell(entry['psql_s'])}; the source {entry['source_s']} s"
    if "peer_s" in entry:
        beside += f"; psql with {PEER}'s stream {cell(entry['peer_s'])}"
    return f"| replay of {name}, {entry['plain_mb']} MB of SQL | {cell(entry['scribe_restore_s'])} | {beside} |"
