"""Replay: scribe-restore and psql with the same files, beside the source's own time, COPY of the rows, and peers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from copying import Follower, begin_following, same_rows
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


class Workload(NamedTuple):
    """What is done on the source. before: statements before the base; filled: tables of which all rows are new."""

    changes: int
    before: list[str]
    work: Callable[[], None]
    filled: list[str]


def workloads(bench: Bench) -> dict[str, Workload]:
    """Return them by name."""
    rows, some, transactions = bench.rows, bench.rows // 2, max(250, bench.rows * 3 // 200)
    big, fill = TABLE.format("big"), FILL.format("big", rows)
    file, sides = bench.directory / "rows", [SIDES.format("a"), SIDES.format("b")]

    def sql(statement: str) -> Callable[[], None]:
        return lambda: cluster_psql(bench.cluster, SOURCE, "-c", statement)

    def copy() -> None:
        cluster_psql(bench.cluster, SOURCE, "-c", f"\\copy big FROM '{file}'")

    def pgbench() -> None:
        cluster_program(bench.cluster, "pgbench", "-n", "-c", "4", "-j", "2", "-t", str(transactions), SOURCE)

    copy_out = f"COPY (SELECT {ROW} FROM generate_series(1, {rows}) n) TO STDOUT"
    cluster_psql(bench.cluster, "bench", "-o", str(file), "-c", copy_out)
    return {
        "one COPY": Workload(rows, [big], copy, ["big"]),
        "a mass UPDATE": Workload(some, [big, fill], sql(f"UPDATE big SET price = price + 1 WHERE id <= {some}"), []),
        "a mass DELETE": Workload(some, [big, fill], sql(f"DELETE FROM big WHERE id <= {some}"), []),
        "wide rows": Workload(rows // 20, [WIDE], sql(FILL_WIDE.format(rows // 20)), ["wide"]),
        "alternating tables": Workload(some, sides, sql(ALTERNATE.format(some // 2)), ["side_a", "side_b"]),
        "pgbench, 4 clients": Workload(transactions * 16, [], pgbench, []),
    }


def measure_restore(bench: Bench) -> None:
    """The source's time, and that of replaying what was streamed, for each workload."""
    found = {}
    for name, workload in workloads(bench).items():
        found[name] = {"changes": workload.changes} | replay_workload(bench, name, workload)
        say(f"restore: {name}: {found[name]}")
    bench.figures["restore"] = found


def replay_workload(bench: Bench, name: str, workload: Workload) -> dict[str, Any]:
    """Stream one workload, then replay its segments into copies of the restored base, in interleaved rounds."""
    cluster = bench.cluster
    cluster.createdb(SOURCE)
    archive = bench.directory / f"archive-{name.replace(' ', '-')}"
    source = Scribe(cluster, SOURCE, archive, {"SCRIBE_COMPRESS": "none"})
    try:
        for statement in workload.before:
            bench.sql(statement, SOURCE)
        if not workload.before:
            cluster_program(cluster, "pgbench", "-i", "-q", "-s", "5", SOURCE)
        source.run("scribe-init", "-q")
        if PEER in bench.plugins:
            bench.sql(f"SELECT pg_create_logical_replication_slot('peer', '{PEER}')", SOURCE)
        follower = begin_following(bench, SOURCE, "target")
        seconds = timed(workload.work)
        end = str(bench.sql("SELECT pg_current_wal_insert_lsn()")[0][0])
        stream = drain_peer(bench) if PEER in bench.plugins else None
        source.start_stream()
        source.run("scribe-rotate", "--wait-lsn", "current", timeout=900)
        source.stop_stream()
        found = {"source_s": median([seconds])} | replay_rounds(bench, source, workload, stream)
        found |= follow(bench, follower, end) if follower is not None else {}
        cluster.dropdb("at_base")
        return found
    finally:
        source.close()


def follow(bench: Bench, follower: Follower, end: str) -> dict[str, float]:
    """Return the seconds pgcopydb takes for its own stream up to an LSN, once; nothing where its copy differs."""
    bench.cluster.createdb("target", template="at_base")
    try:
        follower.fetch(end)
        bench.cluster.query("CHECKPOINT")
        seconds = timed(follower.apply, end)
        return {"pgcopydb_s": median([seconds])} if same_rows(bench, SOURCE, "target") else {}
    except (RuntimeError, OSError) as error:
        say(f"pgcopydb is left out: {error}")
        return {}
    finally:
        bench.cluster.dropdb("target")
        follower.close()


def drain_peer(bench: Bench) -> Path:
    """Write what the peer makes of the same changes to a file."""
    stream = bench.directory / "peer.sql"
    stream.unlink(missing_ok=True)
    drain(bench, "peer", PEER, end_of_work(bench, SOURCE), stream)
    drop_slot(bench, "peer")
    return stream


def replay_rounds(bench: Bench, source: Scribe, workload: Workload, peer: Path | None) -> dict[str, Any]:
    """Replay a source's segments with scribe-restore and with psql, each into a fresh copy of its base.

    peer: its stream for psql, once only: it takes many times as long.
    """
    base = json.loads(next((source.archive / "base").glob("*/manifest.json")).read_text())["consistent_point_lsn"]
    source.run("scribe-restore", "-q", "-d", "at_base", "--target-lsn", base, "--target-exclusive")
    segments = sorted((source.archive / "incremental").glob("*.sql"))
    command = ["scribe-restore", "-q", "-d", "target", "--resume"]
    ways: dict[str, Callable[[], Any]] = {
        "scribe_restore": lambda: source.run(*command, timeout=900),
        "psql": lambda: run_files(bench, segments),
    }
    if workload.filled:
        copies = [copy_out(bench, table) for table in workload.filled]
        ways["copy"] = lambda: cluster_psql(bench.cluster, "target", *copies)
    else:
        ways["serial"] = lambda: source.run(*command, "--serial", timeout=900)
    if peer is not None:
        ways["peer"] = lambda: run_files(bench, [peer])
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(bench.rounds):
        for way, replay in ways.items():
            if way != "peer" or number == 0:
                seconds[way].append(time_on_copy(bench, replay))
    return {"plain_mb": round(sum(path.stat().st_size for path in segments) / MB, 1)} | {
        f"{way}_s": median(runs) for way, runs in seconds.items()
    }


def time_on_copy(bench: Bench, replay: Callable[[], Any]) -> float:
    """Return the seconds of a replay into a fresh copy of the base, called target."""
    bench.cluster.createdb("target", template="at_base")
    bench.cluster.query("CHECKPOINT")
    seconds = timed(replay)
    bench.cluster.dropdb("target")
    return seconds


def run_files(bench: Bench, paths: list[Path]) -> None:
    """Let psql run files, in one session."""
    cluster_psql(bench.cluster, "target", "-o", "/dev/null", *(word for path in paths for word in ("-f", str(path))))


def copy_out(bench: Bench, table: str) -> str:
    """Write the source's rows of a table to a file; return the flag with which psql copies them into the target's."""
    file = bench.directory / f"rows-{table}"
    cluster_psql(bench.cluster, SOURCE, "-c", f"\\copy {table} TO '{file}'")
    return f"-c\\copy {table} FROM '{file}'"


def report_restore(figures: dict[str, Any]) -> list[str]:
    """Return lines of the report."""
    return [report_workload(name, entry) for name, entry in figures.items()]


BESIDE = {
    "source_s": "the source",
    "copy_s": "COPY of the rows by psql",
    "peer_s": f"{PEER}'s stream by psql",
    "pgcopydb_s": "pgcopydb with its own stream",
}


def report_workload(name: str, entry: dict[str, Any]) -> str:
    """Return a line of the report: seconds, thousand row changes a second, and how fast we are beside the others."""

    def cell(key: str) -> str:
        return f"{entry[key]} s, {entry['changes'] / entry[key] / 1000:.0f} k/s"

    ours = f"scribe-restore {cell('scribe_restore_s')}; psql {cell('psql_s')}"
    if "serial_s" in entry:
        times = entry["serial_s"] / entry["scribe_restore_s"]
        ours += f"; scribe-restore --serial {cell('serial_s')}, {times:.3g} times as long"
    beside = []
    for key, what in BESIDE.items():
        if key in entry:
            restore, psql = (entry[key] / entry[way] for way in ("scribe_restore_s", "psql_s"))
            beside.append(f"{what} {cell(key)}, ours {restore:.3g} and {psql:.3g} times that speed")
    return f"| replay of {name}, {entry['plain_mb']} MB of SQL | {ours} | {'; '.join(beside)} |"
