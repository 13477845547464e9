"""What capture costs: schema changes and row changes in a database with the capture and in one without it, by turns."""

from __future__ import annotations

from typing import Any

import psycopg
from draining import read_cpu
from place import FILL, ROOT, TABLE, Bench, cluster_psql, median, say, timed

Statements = tuple[str, ...]
NAMES = ("bare", "captured")
SCHEMA_CHANGES: dict[str, Statements] = {
    "CREATE TABLE with a key and DROP TABLE": ("CREATE TABLE t (id int PRIMARY KEY, v text)", "DROP TABLE t"),
    "CREATE TABLE without a key and DROP TABLE": ("CREATE TABLE t (id int, v text)", "DROP TABLE t"),
    "ALTER TABLE ADD COLUMN and DROP COLUMN": ("ALTER TABLE k ADD COLUMN v text", "ALTER TABLE k DROP COLUMN v"),
}
ROW_CHANGES: Statements = (
    "INSERT INTO k (id) VALUES (1)",
    "UPDATE k SET n = n + 1 WHERE id = 1",
    "DELETE FROM k WHERE id = 1",
)
VOLATILE: Statements = (
    "ALTER TABLE filled ADD COLUMN r float8 DEFAULT random()",
    "ALTER TABLE filled DROP COLUMN r",
)


def measure_capture(bench: Bench) -> None:
    """Microseconds of each, in short stretches by turns: the capture alone, nobody drains a slot."""
    cluster = bench.cluster
    for name in NAMES:
        cluster.createdb(name)
    cluster_psql(cluster, "captured", "-o", "/dev/null", "-f", str(ROOT / "sql/capture.sql"))
    rows = bench.rows // 10
    with cluster.connect("bare") as bare, cluster.connect("captured") as captured:
        for conn in (bare, captured):
            conn.execute("CREATE TABLE k (id int PRIMARY KEY, n int DEFAULT 0)")
            conn.execute(TABLE.format("filled").encode())
            conn.execute(FILL.format("filled", rows).encode())
        work = [(name, statements, 40, 10) for name, statements in SCHEMA_CHANGES.items()]
        work.append(("INSERT, UPDATE and DELETE of one row", ROW_CHANGES, 40, 50))
        work.append((f"ADD COLUMN with a volatile default, {rows:,} rows", VOLATILE, 2, 1))
        bench.figures["capture"] = {
            name: compare_sessions(bare, captured, statements, pairs * bench.rounds, repeat)
            for name, statements, pairs, repeat in work
        }
    for name in NAMES:
        cluster.dropdb(name)
    say(f"capture: {bench.figures['capture']}")


def compare_sessions(
    bare: psycopg.Connection[Any], captured: psycopg.Connection[Any], statements: Statements, pairs: int, repeat: int
) -> dict[str, float]:
    """Run the statements in both sessions by turns; return microseconds for all of them once, and ratios.

    pairs: stretches of `repeat` runs in each session. The ratios are medians over the pairs: of wall time, and of CPU
    time of the server's processes, which other work on the machine moves less.
    """
    wall: list[tuple[float, float]] = []
    cpu: list[float] = []
    for pair in range(pairs):
        seconds, used = {}, {}
        for conn in (bare, captured) if pair % 2 else (captured, bare):
            before = read_cpu(conn.info.backend_pid)
            seconds[conn] = timed(run_again, conn, statements, repeat) / repeat
            used[conn] = read_cpu(conn.info.backend_pid) - before
        wall.append((seconds[bare], seconds[captured]))
        cpu.append(used[captured] / used[bare])
    return {
        "bare_us": median([without * 1e6 for without, _ in wall]),
        "captured_us": median([with_it * 1e6 for _, with_it in wall]),
        "ratio": median([with_it / without for without, with_it in wall]),
        "cpu_ratio": median(cpu),
    }


def run_again(conn: psycopg.Connection[Any], statements: Statements, repeat: int) -> None:
    """Run statements one after the other, several times."""
    for _ in range(repeat):
        for statement in statements:
            conn.execute(statement.encode())


def report_capture(figures: dict[str, dict[str, float]]) -> list[str]:
    """Return lines of the report."""
    lines = []
    for name, entry in figures.items():
        ours = "{captured_us:,.0f} us, ratio {ratio:.2f}; server's CPU {cpu_ratio:.2f}".format(**entry)
        lines.append(f"| {name}, with capture | {ours} | without capture {entry['bare_us']:,.0f} us |")
    return lines
