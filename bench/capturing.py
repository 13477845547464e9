"""What capture costs: schema changes and row changes in a database with the capture and in one without it, by turns."""

from __future__ import annotations

from typing import Any

import psycopg
from cluster import Cluster
from draining import read_cpu
from place import FILL, ROOT, TABLE, Bench, cluster_psql, median, say, timed

Statements = tuple[str, ...]
NAMES = ("bare", "captured")
SCHEMA_CHANGES: dict[str, Statements] = {
    "CREATE TABLE with a key and DROP TABLE": ("CREATE TABLE t (id int PRIMARY KEY, v text)", "DROP TABLE t"),
    "CREATE TABLE without a key and DROP TABLE": ("CREATE TABLE t (id int, v text)", "DROP TABLE t"),
    "ALTER TABLE ADD COLUMN and DROP COLUMN": ("ALTER TABLE k ADD COLUMN v text", "ALTER TABLE k DROP COLUMN v"),
}
# Single statements, as a dump or a migration has them: what makes {n} ready, what is measured, and what clears it away.
SINGLE: dict[str, tuple[str, str, str]] = {
    "CREATE TABLE": ("", "CREATE TABLE s{n} (id int NOT NULL, v text)", "DROP TABLE s{n}"),
    "ADD PRIMARY KEY": (
        "CREATE TABLE s{n} (id int NOT NULL, v text)",
        "ALTER TABLE ONLY s{n} ADD CONSTRAINT s{n}_pkey PRIMARY KEY (id)",
        "DROP TABLE s{n}",
    ),
    "CREATE INDEX": ("", "CREATE INDEX i{n} ON k (n)", "DROP INDEX i{n}"),
    "ADD COLUMN": ("", "ALTER TABLE k ADD COLUMN c{n} text", "ALTER TABLE k DROP COLUMN c{n}"),
    "CREATE FUNCTION": ("", "CREATE FUNCTION f{n}() RETURNS int LANGUAGE sql AS 'SELECT 1'", "DROP FUNCTION f{n}()"),
    "CREATE and DROP of a temporary table": ("", "CREATE TEMPORARY TABLE p{n} (id int); DROP TABLE p{n}", ""),
}
ROW_CHANGES: Statements = (
    "INSERT INTO k (id) VALUES (1)",
    "UPDATE k SET n = n + 1 WHERE id = 1",
    "DELETE FROM k WHERE id = 1",
)
USERS = "INSERT, UPDATE and DELETE of one row, users recorded"
RECORDED = "-c session_preload_libraries=scribe_capture -c scribe.record_users=on"
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
    with (
        cluster.connect("bare") as bare,
        cluster.connect("captured") as captured,
        cluster.connect("captured", options=RECORDED) as recorded,
    ):
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
        bench.figures["capture"][USERS] = compare_sessions(captured, recorded, ROW_CHANGES, 40 * bench.rounds, 50)
        for name, parts in SINGLE.items():
            bench.figures["capture"][name] = compare_single(bare, captured, parts, 12 * bench.rounds)
        bench.figures["capture"]["a schema of 200 tables"] = compare_schema(cluster, 4 * bench.rounds)
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
    return summary(wall, cpu)


def summary(wall: list[tuple[float, float]], cpu: list[float]) -> dict[str, float]:
    """Return medians of pairs of seconds without and with capture, and of ratios of CPU time."""
    return {
        "bare_us": median([without * 1e6 for without, _ in wall]),
        "captured_us": median([with_it * 1e6 for _, with_it in wall]),
        "ratio": median([with_it / without for without, with_it in wall]),
        "cpu_ratio": median(cpu),
    }


def compare_single(
    bare: psycopg.Connection[Any], captured: psycopg.Connection[Any], parts: tuple[str, str, str], pairs: int
) -> dict[str, float]:
    """As compare_sessions(), for the second of three parts only, which each run for five objects."""

    def run_part(conn: psycopg.Connection[Any], part: str) -> None:
        for number in range(5 if part else 0):
            conn.execute(part.format(n=number).encode())

    wall: list[tuple[float, float]] = []
    cpu: list[float] = []
    for pair in range(pairs):
        seconds, used = {}, {}
        for conn in (bare, captured) if pair % 2 else (captured, bare):
            run_part(conn, parts[0])
            before = read_cpu(conn.info.backend_pid)
            seconds[conn] = timed(run_part, conn, parts[1]) / 5
            used[conn] = read_cpu(conn.info.backend_pid) - before
            run_part(conn, parts[2])
        wall.append((seconds[bare], seconds[captured]))
        cpu.append(used[captured] / used[bare])
    return summary(wall, cpu)


def compare_schema(cluster: Cluster, pairs: int) -> dict[str, float]:
    """As compare_sessions(), for a schema as pg_dump writes it: tables, then defaults, keys, indexes and references.

    Each run is a session of its own, as psql's is.
    """
    names = [f"tab_{number}" for number in range(200)]
    statements = [
        *(f"CREATE TABLE d.{n} (id integer NOT NULL, of integer, v text, at timestamptz DEFAULT now())" for n in names),
        *(f"ALTER TABLE ONLY d.{n} ADD CONSTRAINT {n}_pkey PRIMARY KEY (id)" for n in names),
        *(f"CREATE INDEX {n}_of ON d.{n} USING btree (of)" for n in names),
        *(f"ALTER TABLE ONLY d.{n} ADD CONSTRAINT {n}_fk FOREIGN KEY (of) REFERENCES d.tab_0(id)" for n in names),
    ]
    wall: list[tuple[float, float]] = []
    cpu: list[float] = []
    for pair in range(pairs):
        seconds, used = {}, {}
        for name in NAMES if pair % 2 else NAMES[::-1]:
            with cluster.connect(name) as conn:
                conn.execute("CREATE SCHEMA d; SET search_path = ''")
                before = read_cpu(conn.info.backend_pid)
                seconds[name] = timed(run_again, conn, tuple(statements), 1)
                used[name] = read_cpu(conn.info.backend_pid) - before
            cluster_psql(cluster, name, "-q", "-c", "SET client_min_messages = warning", "-c", "DROP SCHEMA d CASCADE")
        wall.append((seconds["bare"], seconds["captured"]))
        cpu.append(used["captured"] / used["bare"])
    return summary(wall, cpu)


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
        which = ("", "not recorded") if name == USERS else (", with capture", "without capture")
        lines.append(f"| {name}{which[0]} | {ours} | {which[1]} {entry['bare_us']:,.0f} us |")
    return lines
