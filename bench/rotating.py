"""Rotation: from a spool to zstd segments."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any, NamedTuple

from archives import make_archive
from draining import drain, drop_slot, end_of_work, make_slot
from place import FILL, MB, ROOT, TABLE, Bench, cluster_program, median, say

from scribe.common.lsn import format_lsn
from scribe.spool.contents import Spool


def cut_transactions(stream: bytes) -> list[tuple[bytes, bytes, bytes]]:
    """Return of each transaction what stands before the LSN in its BEGIN line, after it, and its body."""
    found = []
    for text in stream.split(b"\nCOMMIT; -- end ")[:-1]:
        head, _, body = text[text.index(b"BEGIN; -- xid ") :].partition(b"\n")
        begin, _, rest = head.partition(b" commit ")
        found.append((begin + b" commit ", b" time " + rest.split(b" time ")[1] + b"\n", body + b"\n"))
    return found


def write_spool(path: Path, stream: bytes, size: int) -> int:
    """Write a stream's transactions again and again, each with LSNs after the last, up to a size; return the bytes."""
    lsn, written = 0x1000, 0
    with path.open("wb") as spool:
        for begin, when, body in itertools.cycle(cut_transactions(stream)):
            if written >= size:
                break
            commit, end = format_lsn(lsn).encode(), format_lsn(lsn + 0x30).encode()
            written += spool.write(b"%b%b%b%bCOMMIT; -- end %b\n" % (begin, commit, when, body, end))
            lsn += 0x100
    return written


class Run(NamedTuple):
    """One run of scribe-rotate: bytes of the spool, seconds of time and of CPU, and the peak of memory in bytes."""

    written: int
    seconds: float
    cpu: float
    peak: int


def run_rotate(bench: Bench, archive: Path, written: int) -> Run:
    """Run scribe-rotate with no server to ask. written: bytes in the archive's spool."""
    environment = bench.cluster.env | {"SCRIBE_ARCHIVE": str(archive), "PGHOST": str(bench.directory / "nobody")}
    command = [str(ROOT / "bin/scribe-rotate"), "-q"]
    begin = time.perf_counter()
    child = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - begin
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 75:  # the server is away, and the segments are written all the same
        raise RuntimeError(f"scribe-rotate exited {child.returncode}")
    return Run(written, seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def measure_rotation(bench: Bench) -> None:
    """scribe-rotate over spools made of what the decoder wrote, of two sizes: their difference is free of its start."""
    streams = {"COPY and runs": sample_stream(bench), "pgbench's transactions": sample_pgbench(bench)}
    found: dict[str, Any] = {}
    for name, stream in streams.items():
        runs: dict[int, list[Run]] = {size: [] for size in sorted(bench.spools)}
        for _ in range(bench.rounds):
            for size, made in runs.items():
                path = bench.directory / "rotated"
                make_archive(path, chain_from_lsn="0/100", system_identifier="1")
                made.append(run_rotate(bench, path, write_spool(Spool(path / "spool").stream, stream, size)))
                shutil.rmtree(path)
        found[name] = {"sizes": [describe_runs(made) for made in runs.values()], "mb_per_cpu_s": marginal(runs)}
        say(f"rotate: {name}: {found[name]}")
    bench.figures["rotate"] = found


def describe_runs(made: list[Run]) -> dict[str, float]:
    """Return what a size's runs say."""
    return {
        "spool_mb": round(made[0].written / MB),
        "mb_per_s": median([run.written / MB / run.seconds for run in made]),
        "peak_mb": median([run.peak / MB for run in made]),
    }


def marginal(runs: dict[int, list[Run]]) -> float:
    """Return the MB per second of CPU that the largest size needs beyond what the smallest does; of one size, all."""
    large = runs[max(runs)]
    small = runs[min(runs)] if len(runs) > 1 else [Run(0, 0, 0, 0)] * len(large)
    return median([(b.written - a.written) / MB / (b.cpu - a.cpu) for a, b in zip(small, large, strict=True)])


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
    text = read_sample(bench)
    bench.sql("DROP TABLE big")
    return text


def sample_pgbench(bench: Bench) -> bytes:
    """Return some thousand of pgbench's transactions as the decoder wrote them."""
    cluster_program(bench.cluster, "pgbench", "-i", "-q", "-s", "5", "bench")
    make_slot(bench, "sample", "scribe_decoder")
    cluster_program(bench.cluster, "pgbench", "-n", "-c", "4", "-t", "1000", "bench")
    return read_sample(bench)


def read_sample(bench: Bench) -> bytes:
    """Return what the decoder wrote since the slot was made, up to here; the slot goes."""
    output = bench.directory / "sample"
    output.unlink(missing_ok=True)
    drain(bench, "sample", "scribe_decoder", end_of_work(bench), output)
    drop_slot(bench, "sample")
    return output.read_bytes()


def report_rotation(figures: dict[str, Any]) -> list[str]:
    """Return lines of the report."""
    lines = []
    whole = "a spool of {spool_mb} MB: {mb_per_s:.0f} MB/s with the program's start, peak {peak_mb:.0f} MB"
    for name, entry in figures.items():
        sizes = "; ".join(whole.format(**size) for size in entry["sizes"])
        ours = f"{entry['mb_per_cpu_s']:.0f} MB per second of CPU"
        lines.append(f"| scribe-rotate with zstd, {name} | {ours} | {sizes} |")
    return lines
