"""make bench: what pg_scribe costs and how fast it is, beside a named peer on the same work in the same run.

Everything happens in a private cluster under /tmp. Rounds are interleaved and medians are printed: a machine that is
busy with something else moves both sides. The report goes to stdout, --json FILE has the raw figures.

    memory   the walsender's peak while it decodes one transaction, by its size
    rotate   MB of plain SQL per second of CPU into a zstd segment, and scribe-rotate's rate and peak memory, by size
    decode   CPU per change of walsender and receiver: scribe_decoder and every other output plugin that is installed
    capture  schema changes and row changes with the capture and without it, by turns
    overhead the source's pgbench with nothing, with capture and stream, and with another plugin's slot being drained
    losing   from COMMIT to disk on the backup host: what is lost when both hosts die
    translate  rows per second of CPU that scribe-rotate needs for pgoutput's messages; scribe_decoder's are SQL already
    keep     whether stream and rotation keep up with 10,000 row changes a second, with scribe_decoder and with pgoutput
    restore  scribe-restore, and psql with the same files, beside the source's own time, COPY of the rows, and peers
    parts    scribe-restore --table, scribe-peek and scribe-undo of a table with 1 % of the data, beside all of it
    moving   from the last write on the old server to the first on the new one (PG_CONFIG_NEW), beside pg_dump into psql
    offsite  to and from an object store beside the library alone, and a restore from one that is 20 ms away
    search   MB of plain SQL that scribe-log searches per second of CPU, beside zstdgrep; questions to 10,000 manifests

The other output plugins are test_decoding and pgoutput, which come with PostgreSQL, and wal2json and decoder_raw where
the server has them; pgcopydb takes part in the replay where it is on PATH.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from capturing import measure_capture, report_capture
from cluster import install_decoder, temporary_cluster
from copying import find_version
from draining import measure_decoding, measure_memory, report_decoding, report_memory
from keeping import measure_keeping, report_keeping
from losing import measure_losing, report_losing
from moving import measure_moving, report_moving
from overhead import measure_overhead, report_overhead
from parting import measure_parts, report_parts
from place import MB, Bench, allow_plugins
from replaying import measure_restore, report_restore
from rotating import measure_rotation, report_rotation
from searching import measure_searching, report_searching
from sending import measure_offsite, report_offsite
from translating import measure_translation, report_translation

# What is measured, and how it is reported.
MEASURES: dict[str, tuple[Callable[[Bench], None], Callable[[Any], list[str]]]] = {
    "memory": (measure_memory, report_memory),
    "rotate": (measure_rotation, report_rotation),
    "decode": (measure_decoding, report_decoding),
    "capture": (measure_capture, report_capture),
    "overhead": (measure_overhead, report_overhead),
    "losing": (measure_losing, report_losing),
    "translate": (measure_translation, report_translation),
    "keep": (measure_keeping, report_keeping),
    "restore": (measure_restore, report_restore),
    "parts": (measure_parts, report_parts),
    "search": (measure_searching, report_searching),
    "moving": (measure_moving, report_moving),
    "offsite": (measure_offsite, report_offsite),
}


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
        "pgcopydb": find_version(),
    }


def report(figures: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    place = (
        "Measured on {date}: PostgreSQL {postgresql}, Python {python}, {cores} cores ({processor}), fsync off,\n"
        "load {load} when it began; {rows:,} rows, medians of {rounds} interleaved rounds."
    )
    peer = figures["machine"]["pgcopydb"]
    lines = [
        place.format(**figures["machine"]) + (f" pgcopydb {peer}." if peer else ""),
        "",
        "| what | pg_scribe | beside it |",
        "| --- | --- | --- |",
    ]
    for name, (_, write) in MEASURES.items():
        if name in figures:
            lines += write(figures[name])
    return "\n".join(lines)


def parse(argv: list[str]) -> argparse.Namespace:
    """Return the flags."""
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="bench/run.py", description=__doc__, formatter_class=style)
    parser.add_argument("--quick", action="store_true", help="small sizes, one round: to see that it works")
    parser.add_argument("--rows", type=int, help="rows of the big transactions (default 1,000,000; quick: 50,000)")
    parser.add_argument("--rounds", type=int, help="interleaved rounds (default 3; quick: 1)")
    parser.add_argument("--spool-mb", type=int, nargs="+", metavar="MB", help="of spools (default 50 500; quick: 5 20)")
    parser.add_argument("--only", default=",".join(MEASURES), help="what is measured")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the raw figures there")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Measure, and print the report."""
    flags = parse(sys.argv[1:] if argv is None else argv)
    rows, rounds = flags.rows or (50_000 if flags.quick else 1_000_000), flags.rounds or (1 if flags.quick else 3)
    sizes = [size * MB for size in flags.spool_mb or ([5, 20] if flags.quick else [50, 500])]
    directory = tempfile.TemporaryDirectory(prefix="pg_scribe-bench-")
    with directory as place, temporary_cluster(max_wal_size="4GB") as cluster:
        os.chmod(place, 0o755)
        install_decoder(cluster.pg_config)
        cluster.createdb("bench")
        bench = Bench(cluster, Path(place), rows, rounds, sizes)
        allow_plugins(bench)
        bench.figures["machine"] = describe(bench)
        for name in flags.only.split(","):
            MEASURES[name][0](bench)
    if flags.json:
        flags.json.write_text(json.dumps(bench.figures, indent=2) + "\n")
    print(report(bench.figures))
    return 0


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.exit(main())
