"""Rotation: from a spool to zstd segments."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from archives import make_archive
from draining import drain, drop_slot, end_of_work, make_slot
from place import FILL, MB, ROOT, TABLE, Bench, median, say

from scribe.lsn import format_lsn
from scribe.spool import Spool


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


def measure_rotation(bench: Bench) -> None:
    """scribe-rotate over spools made of what the decoder wrote: whole run of the program, start included."""
    sample, sizes = sample_stream(bench), bench.spools
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


def report_rotation(figures: list[dict[str, Any]]) -> list[str]:
    """Return lines of the report."""
    speed = "{mb_per_s:.0f} MB/s, peak {peak_mb:.0f} MB of memory"
    return [f"| scribe-rotate with zstd, a spool of {e['spool_mb']} MB | {speed.format(**e)} | |" for e in figures]
