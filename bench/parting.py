"""Part of a database: one table that holds 1 % of the data, beside a restore of everything, or a look at everything."""

from __future__ import annotations

import resource
import shutil
from typing import Any

from place import FILL, MB, TABLE, Bench, median, say, timed
from source import Scribe

SOURCE = "parted"
OTHERS = 9  # tables, each of which has 11 % of the rows
SEGMENTS = 20
# Transactions of a segment, each with four row changes, spread over the others.
WORK = """
CREATE PROCEDURE work(first int, transactions int) LANGUAGE plpgsql AS $$
DECLARE
  name text;
BEGIN
  FOR n IN first .. first + transactions - 1 LOOP
    name := 'other_' || n %% {others};
    EXECUTE pg_catalog.format('UPDATE %I SET price = price + 1 WHERE id IN ($1, $1 + 1)', name) USING n %% {rows} + 1;
    EXECUTE pg_catalog.format('UPDATE %I SET note = $2 WHERE id = $1 + 2', name) USING n %% {rows} + 1, 'now ' || n;
    EXECUTE pg_catalog.format('INSERT INTO %I (id, name) VALUES (-$1, $2)', name) USING n + 1, 'more ' || n;
    COMMIT;
  END LOOP;
END $$
"""


def measure_parts(bench: Bench) -> None:
    """The time of a restore of one table, and of everything, from one archive, in interleaved rounds."""
    rows = bench.rows * 5  # in the base
    cluster = bench.cluster
    cluster.createdb(SOURCE)
    source = Scribe(cluster, SOURCE, bench.directory / "archive-parts")
    try:
        transactions, xid = fill(bench, source, rows)
        ways = {"whole": ["-d", "whole"], "part": ["--table", "small", "-d", "part"]}
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(bench.rounds):
            for way, arguments in ways.items():
                cluster.query("CHECKPOINT")
                if way == "part":
                    cluster.createdb(way)
                seconds[way].append(timed(source.run, "scribe-restore", "-q", *arguments, timeout=1800))
                if way == "part":
                    compare(bench)
                cluster.dropdb(way)
        plain = sum(size(source, name) for name in ("base", "incremental"))
        bench.figures["parts"] = {"rows": rows, "transactions": transactions, "segments": SEGMENTS} | {
            "stored_mb": round(plain / MB, 1),
            **{f"{way}_s": median(runs) for way, runs in seconds.items()},
            "looks": measure_looks(bench, source, xid),
        }
        say(f"parts: {bench.figures['parts']}")
    finally:
        source.close()


def measure_looks(bench: Bench, source: Scribe, xid: int) -> dict[str, float]:
    """Return the seconds of CPU, with those of the throw-away servers, of looks and of undoing one transaction."""
    kept = bench.directory / "kept"
    one = ["--table", "small", "-c", "SELECT count(*) FROM small"]
    runs = {
        "peek": ["scribe-peek", "-q", "-c", "SELECT count(*) FROM small"],
        "peek_table": ["scribe-peek", "-q", *one],
        "peek_kept": ["scribe-peek", "-q", "--keep", str(kept), *one],
        "peek_again": ["scribe-peek", "-q", "--keep", str(kept), *one],
        "undo": ["scribe-undo", "-q", "-n", "--xid", str(xid)],
    }
    found = {name: cpu_of(source, arguments) for name, arguments in runs.items()}
    shutil.rmtree(kept)
    return found


def cpu_of(source: Scribe, arguments: list[str]) -> float:
    """Return the seconds of CPU of a program and of what it waits for."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    source.run(*arguments, timeout=1800)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1)


def fill(bench: Bench, source: Scribe, rows: int) -> tuple[int, int]:
    """Make the archive: a base, and segments of which two tell of the small table.

    Return how many transactions it has, and the xid of the last that changes the small table.
    """
    each, transactions = rows * 11 // 100, bench.rows // 80
    for name, number in [("small", rows // 100), *((f"other_{n}", each) for n in range(OTHERS))]:
        bench.sql(TABLE.format(name), SOURCE)
        bench.sql(FILL.format(name, number), SOURCE)
    bench.sql(WORK.format(others=OTHERS, rows=each - 3).replace("%%", "%"), SOURCE)
    source.run("scribe-init", "-q")
    source.start_stream()
    for number in range(SEGMENTS):
        bench.sql(f"CALL work({number * transactions}, {transactions})", SOURCE)
        if number % 10 == 5:
            update = f"UPDATE small SET price = {number} WHERE id % 10 = 1 RETURNING pg_current_xact_id()"
            xid = int(bench.sql(update, SOURCE)[0][0])
        source.run("scribe-rotate", "--wait-lsn", "current", timeout=900)
    source.stop_stream()
    return transactions * SEGMENTS, xid


def size(source: Scribe, name: str) -> int:
    """Return the bytes of what is stored below a directory of the archive."""
    return sum(path.stat().st_size for path in (source.archive / name).rglob("*") if path.is_file())


def compare(bench: Bench) -> None:
    """Raise RuntimeError if the part is not what the source has."""
    query = "SELECT count(*), sum(hashtextextended(small::text, 0)) FROM small"
    if bench.sql(query, SOURCE) != bench.sql(query, "part"):
        raise RuntimeError("the part is not what the source has")


def report_parts(entry: dict[str, Any]) -> list[str]:
    """Return lines of the report."""
    what = (
        f"one table that holds 1 % of {entry['rows']:,} rows and is changed in 2 of {entry['segments']} segments"
        f" with {entry['transactions']:,} transactions"
    )
    ratio = entry["part_s"] / entry["whole_s"]
    looks = entry["looks"]
    peeks = f"{looks['peek_table']} s; kept {looks['peek_kept']} s, again {looks['peek_again']} s"
    return [
        f"| {what} | scribe-restore --table {entry['part_s']} s | everything {entry['whole_s']} s, {ratio:.1%} |",
        f"| the same, CPU with throw-away servers | scribe-peek --table {peeks} | everything {looks['peek']} s |",
        f"| the same: one of the transactions | scribe-undo -n {looks['undo']} s | scribe-peek {looks['peek']} s |",
    ]
