"""Translation: pgoutput's messages as SQL, the work that scribe-rotate has with that decoder and no other."""

from __future__ import annotations

import shutil
import struct
import time
from pathlib import Path
from typing import Any

from archives import make_archive
from place import MB, Bench, median, say
from rotating import run_rotate

from scribe.decoders.pgmessages import BinaryScan
from scribe.decoders.pgoutput import write_knowledge
from scribe.decoders.pgstream import MessageTranslator
from scribe.decoders.rows.text import Knowledge
from scribe.spool.concatenation import Tape
from scribe.spool.contents import Spool

RELID = 16385
ROW_BYTES = 50  # of a narrow INSERT in the spool, about
FACTS = {"a": [], "g": [], "l": {}, "k": [["id", " = ", False, ""]], "u": False, "q": [], "s": False}
COLUMNS = ((b"id", 23, 1), (b"name", 25, 0), (b"price", 1700, 0))


def _row(*values: bytes | None) -> bytes:
    fields = [b"n" if value is None else b"t" + struct.pack(">I", len(value)) + value for value in values]
    return struct.pack(">H", len(values)) + b"".join(fields)


def write_spool(path: Path, kind: str, rows: int) -> None:
    """Write one transaction of changes of one kind (I, U or D), as pg_recvlogical does."""
    described = b"".join(bytes([key]) + name + b"\0" + struct.pack(">Ii", oid, -1) for name, oid, key in COLUMNS)
    head = kind.encode() + struct.pack(">I", RELID)
    with path.open("wb") as spool:
        spool.write(b"B" + struct.pack(">QqI", 0x1000, 0, 7) + b"\n")
        spool.write(b"R" + struct.pack(">I", RELID) + b"public\0t\0d" + struct.pack(">H", 3) + described + b"\n")
        for number in range(rows):
            key = str(number).encode()
            row = b"K" + _row(key, None, None) if kind == "D" else b"N" + _row(key, b"some name " + key, b"12.50")
            spool.write(head + row + b"\n")
        spool.write(b"C\0" + struct.pack(">QQq", 0x1000, 0x2000, 0) + b"\n")


def _translate(path: Path) -> tuple[float, float]:
    """Return the seconds of CPU for cutting the spool into transactions, and for their SQL."""
    with Tape([path]) as tape:
        begin = time.process_time()
        scan = BinaryScan(tape, 0).run()
        cut = time.process_time()
        for _ in MessageTranslator(tape, 0, Knowledge(facts={RELID: FACTS})).blocks(0, scan.end):
            pass
        return cut - begin, time.process_time() - cut


def _peaks(bench: Bench) -> list[dict[str, float]]:
    """Return the peak of scribe-rotate's memory for a transaction of each size."""
    found = []
    for size in sorted(bench.spools):
        path = bench.directory / "translated"
        archive = make_archive(path, decoder="pgoutput", publication="p", schema_changes="captured")
        spool = Spool(archive.spool)
        write_knowledge(spool, Knowledge(facts={RELID: FACTS}))
        write_spool(spool.stream, "I", size // ROW_BYTES)
        run = run_rotate(bench, path, spool.stream.stat().st_size)
        found.append({"spool_mb": round(run.written / MB), "peak_mb": round(run.peak / MB, 1)})
        shutil.rmtree(path)
    return found


def measure_translation(bench: Bench) -> None:
    """Rows per second of CPU, by kind of change: cutting, and SQL; and the memory that one transaction takes."""
    path = bench.directory / "translated"
    runs: dict[str, list[tuple[float, float]]] = {"I": [], "U": [], "D": []}
    for _ in range(bench.rounds):
        for kind, found in runs.items():
            write_spool(path, kind, bench.rows)
            found.append(_translate(path))
    path.unlink()
    rates = [
        {"kind": kind, "rows": bench.rows, "cut": median([a for a, _ in found]), "sql": median([b for _, b in found])}
        for kind, found in runs.items()
    ]
    bench.figures["translate"] = {"rates": rates, "peaks": _peaks(bench)}
    say("translate: " + ", ".join(report_translation(bench.figures["translate"])))


def report_translation(figures: Any) -> list[str]:
    """Return the lines of the report."""
    names = {"I": "INSERTs", "U": "UPDATEs", "D": "DELETEs"}
    lines = []
    for f in figures["rates"]:
        rate, cut = f["rows"] / (f["cut"] + f["sql"]), f["rows"] / f["cut"]
        what = f"| pgoutput: {f['rows']:,} narrow {names[f['kind']]} as SQL"
        lines.append(f"{what} | {rate:,.0f} rows per second of CPU | cutting alone {cut:,.0f} |")
    peaks = [f"{f['peak_mb']} MB for {f['spool_mb']} MB" for f in figures["peaks"]]
    return [*lines, f"| pgoutput: scribe-rotate's memory for one transaction | {', '.join(peaks)} | |"]
