"""make demo: back up a busy database, kill the stream, restore twice, and prove both copies equal to the source.

Everything happens in a cluster of its own under /tmp, which is gone afterwards; the archive stays in build/demo until
the next run. Exit status 0 only if all are equal.
"""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from cluster import ROOT, Cluster, install_decoder, temporary_cluster
from compare import State, assert_equal
from source import Scribe

SCALE = 10
CLIENTS = 4
SECONDS = 22
# An upper bound: a fast machine would be busy for minutes with replaying in one session what four clients did at once.
TRANSACTIONS_PER_SECOND = 2000
DATABASE = "shop"
DIRECTORY = ROOT / "build/demo"
INDENT = " " * 12

PREPARATION = """
    CREATE TABLE notes (body text, stars int);              -- no key: rows are found by their whole contents
    INSERT INTO notes SELECT 'note ' || n % 7, n % 5 FROM generate_series(1, 500) n;
    INSERT INTO notes VALUES (NULL, NULL), (NULL, NULL), ('note 1', 1);
    CREATE TABLE customers (id serial PRIMARY KEY, name text NOT NULL, discount int DEFAULT 0);
    INSERT INTO customers (name) SELECT 'customer ' || n FROM generate_series(1, 2000) n;
    CREATE TABLE events (id bigint GENERATED ALWAYS AS IDENTITY, at timestamptz DEFAULT now(), what jsonb);
    CREATE TABLE discarded (id int PRIMARY KEY, body text);
    INSERT INTO discarded SELECT n, repeat('x', n % 100) FROM generate_series(1, 5000) n;
"""

# What happens to the schema while pgbench runs, in this order, spread over its time.
CHANGES: list[tuple[str, str]] = [
    (
        "create a table, fill it",
        """CREATE TABLE measurements (id serial PRIMARY KEY, sensor text, value numeric(10,3), raw bytea);
           INSERT INTO measurements (sensor, value, raw)
           SELECT 's' || n % 10, n / 7.0, decode(md5(n::text), 'hex') FROM generate_series(1, 3000) n;""",
    ),
    (
        "add a column with a default to a table pgbench writes to",
        "ALTER TABLE pgbench_tellers ADD note text DEFAULT 'none'",
    ),
    ("update and delete in a table without a key", "UPDATE notes SET stars = stars + 1 WHERE body LIKE 'note 1%'"),
    (
        "add a column whose default differs from row to row",
        "ALTER TABLE customers ADD token uuid DEFAULT gen_random_uuid()",
    ),
    ("change a column's type (the table is rewritten)", "ALTER TABLE measurements ALTER value TYPE double precision"),
    ("create an index", "CREATE INDEX measurements_sensor ON measurements (sensor)"),
    ("create an index concurrently", "CREATE INDEX CONCURRENTLY customers_name ON customers (name)"),
    (
        "create a function",
        """CREATE FUNCTION discounted(price numeric, percent int) RETURNS numeric LANGUAGE plpgsql IMMUTABLE AS $$
           BEGIN
               RETURN price * (100 - percent) / 100;      -- BEGIN; -- xid 1 is not the beginning of anything
           END $$""",
    ),
    (
        "create a view",
        "CREATE VIEW generous AS SELECT id, discounted(100, discount) AS price FROM customers WHERE discount > 0",
    ),
    ("update many rows at once", "UPDATE customers SET discount = id % 40, name = upper(name) WHERE id % 3 = 0"),
    ("truncate a table", "TRUNCATE discarded; INSERT INTO discarded VALUES (1, 'after the TRUNCATE')"),
    ("change the type of a column pgbench writes to", "ALTER TABLE pgbench_branches ALTER bbalance TYPE bigint"),
    (
        "rename a column and a table",
        """INSERT INTO events (what) VALUES ('{"renamed": false}');
           ALTER TABLE events RENAME what TO payload; ALTER TABLE events RENAME TO history;
           INSERT INTO history (payload) VALUES ('{"renamed": true}')""",
    ),
    ("delete from a table without a key", "DELETE FROM notes WHERE stars IS NULL OR stars = 3"),
    (
        "do and undo in a subtransaction",
        """BEGIN; INSERT INTO customers (name) VALUES ('kept'); SAVEPOINT s; CREATE TABLE never (a int);
           DELETE FROM customers; ROLLBACK TO s; INSERT INTO customers (name) VALUES ('kept too'); COMMIT""",
    ),
    ("drop a table", "DROP TABLE discarded"),
    ("drop a column", "ALTER TABLE measurements DROP raw"),
]

started = time.monotonic()


def say(text: str) -> None:
    """Print a line with the time since the beginning."""
    print(f"{time.monotonic() - started:6.1f} s  {text}", flush=True)


class Workload(threading.Thread):
    """Schema changes, a big COPY and small writes, one after the other while pgbench runs beside them."""

    def __init__(self, cluster: Cluster, seconds: float) -> None:
        super().__init__(daemon=True)
        self.cluster = cluster
        self.pause = seconds / (len(CHANGES) + 2)
        self.failure: BaseException | None = None

    def run(self) -> None:
        """Do it; what goes wrong is in failure."""
        try:
            with self.cluster.connect(DATABASE) as conn:
                for number, (_, statements) in enumerate(CHANGES):
                    conn.execute(statements)
                    if number == len(CHANGES) // 2:
                        self._copy(conn)
                    self._write_a_little(conn, number)
                    time.sleep(self.pause)
        except BaseException as failure:
            self.failure = failure

    def _copy(self, conn: Any) -> None:
        conn.execute("CREATE TABLE imported (id int PRIMARY KEY, body text, at timestamptz)")
        with conn.cursor().copy("COPY imported FROM STDIN") as copy:
            for number in range(100_000):
                copy.write_row((number, f"row {number}\twith a tab, a \\ and a ', and é", "2026-11-22 12:00:00+01"))

    def _write_a_little(self, conn: Any, number: int) -> None:
        conn.execute("INSERT INTO notes VALUES (%s, %s)", (f"during change {number}\nsecond line", number))
        conn.execute("UPDATE customers SET discount = discount + 1 WHERE id = %s", (number + 1,))


def run_pgbench(cluster: Cluster, *arguments: str) -> str:
    """Run pgbench and return what it printed."""
    return subprocess.run(
        [f"{cluster.bindir}/pgbench", *arguments, DATABASE], env=cluster.env, capture_output=True, text=True, check=True
    ).stdout


def work_and_kill(cluster: Cluster, source: Scribe) -> None:
    """Run the workload; half-way through, kill the stream and start it again; rotate now and then."""
    say(f"pgbench with {CLIENTS} clients for {SECONDS} s; at the same time another session does this:")
    changes = "; ".join([*(what for what, _ in CHANGES), "load 100,000 rows by COPY"])
    print(textwrap.fill(changes, 110, initial_indent=INDENT, subsequent_indent=INDENT))
    workload = Workload(cluster, SECONDS)
    with ThreadPoolExecutor() as pool:
        arguments = ("-n", "-c", str(CLIENTS), "-j", "2", "-T", str(SECONDS), "-R", str(TRANSACTIONS_PER_SECOND))
        pgbench = pool.submit(run_pgbench, cluster, *arguments)
        workload.start()
        time.sleep(SECONDS / 3)
        source.run("scribe-rotate")
        say("  scribe-rotate: the first segment is closed, the stream goes on")
        time.sleep(SECONDS / 6)
        source.kill_stream()
        say("  scribe-stream killed with SIGKILL, started again")
        source.start_stream()
        output = pgbench.result()
    workload.join()
    if workload.failure:
        raise workload.failure
    for line in output.splitlines():
        if line.startswith(("number of transactions actually", "tps")):
            say(f"  pgbench: {line}")


def timed(function: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
    """Return the function's result and the seconds it took."""
    begin = time.monotonic()
    return function(*arguments), time.monotonic() - begin


def print_archive(source: Scribe) -> None:
    """Say what is in the archive."""
    manifests = [json.loads(path.read_text()) for path in sorted((source.archive / "incremental").glob("*.json"))]
    counts: dict[str, int] = {}
    for manifest in manifests:
        for name, number in manifest["counts"].items():
            counts[name] = counts.get(name, 0) + number
    size = sum(path.stat().st_size for path in source.archive.rglob("*") if path.is_file())
    say(f"the archive: {size / 1e6:.1f} MB, {len(manifests)} segments; in them:")
    say("  " + ", ".join(f"{number:,} {name}" for name, number in counts.items()))


def print_sql(source: Scribe) -> None:
    """Show one transaction and one schema change as they stand in the segments."""
    text = ""
    for path in sorted((source.archive / "incremental").glob("*.sql*")):
        text += subprocess.run(["zstdcat", "-f", str(path)], capture_output=True, text=True, check=True).stdout
    say("one transaction of pgbench and one schema change, as they stand there:")
    for pattern in (
        r"^BEGIN; -- xid [^\n]*\nUPDATE public\.pgbench_accounts.*?^COMMIT; -- end [^\n]*$",
        r"^-- ddl CREATE VIEW.*?^-- ddl end$",
    ):
        found = re.search(pattern, text, re.MULTILINE | re.DOTALL)
        if found is None:
            raise AssertionError("the segments hold no transaction of pgbench or no CREATE VIEW")
        print(textwrap.indent("\n".join(line[:150] for line in found[0].splitlines()), INDENT))


def restore_and_compare(cluster: Cluster, source: Scribe) -> None:
    """Restore with scribe-restore and with psql alone, side by side, and compare both with the source."""
    say("restore with scribe-restore and, beside it, with psql alone")
    with ThreadPoolExecutor() as pool:
        expected = pool.submit(cluster.dump, DATABASE)
        with_tool = pool.submit(timed, source.run, "scribe-restore", "-d", "by_scribe")
        with_psql = pool.submit(timed, source.restore_with_psql, "by_psql")
        say(f"  scribe-restore: {with_tool.result()[1]:.1f} s")
        say(f"  psql alone: {with_psql.result()[1]:.1f} s")
        copies = {name: pool.submit(cluster.dump, name) for name in ("by_scribe", "by_psql")}
    for name, copy in copies.items():
        assert_equal(expected.result(), copy.result(), ("source", name))
    print_equal(cluster, expected.result())


def print_equal(cluster: Cluster, state: State) -> None:
    """Say what was compared."""
    tables = [key.removeprefix("rows of ") for key in state if key.startswith("rows of ")]
    rows = sum(cluster.value(f"SELECT count(*) FROM ONLY {table}", DATABASE) for table in tables)
    sequences = sum(key.startswith("sequence ") for key in state)
    say(f"equal: source, scribe-restore's copy, psql's copy: {len(state['schema'])} lines of schema,")
    say(f"  {len(tables)} tables with {rows:,} rows, {sequences} sequences with their positions")


def run_demo(cluster: Cluster, directory: Path) -> None:
    """Do the whole job against this cluster; raises where something is not as promised."""
    source = Scribe(cluster, DATABASE, directory / DATABASE)
    say(f"PostgreSQL {cluster.value('SHOW server_version')}, a throw-away cluster in {cluster.directory}")
    cluster.createdb(DATABASE)
    run_pgbench(cluster, "-i", "-q", "-s", str(SCALE))
    cluster.psql(PREPARATION, DATABASE)
    source.run("scribe-init")
    say(f"scribe-init: capture, slot and first base of a database with pgbench at scale {SCALE}")
    source.start_stream()
    say("scribe-stream runs")
    try:
        work_and_kill(cluster, source)
        _, seconds = timed(source.run, "scribe-rotate", "--wait-lsn", "current")
        say(f"scribe-rotate --wait-lsn current: everything is in segments after {seconds:.1f} s")
        status = source.stop_stream()
        if status:
            raise AssertionError(f"scribe-stream exited {status} on SIGTERM")
        say("scribe-stream stopped by SIGTERM")
        print_archive(source)
        print_sql(source)
        restore_and_compare(cluster, source)
    finally:
        source.kill_streams()


def main() -> int:
    """Return 0 only if both copies are equal to the source."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    shutil.rmtree(DIRECTORY, ignore_errors=True)
    DIRECTORY.mkdir(parents=True)
    try:
        with temporary_cluster() as cluster:
            install_decoder(cluster.pg_config)
            run_demo(cluster, DIRECTORY)
    except (AssertionError, TimeoutError, OSError, subprocess.SubprocessError) as failure:
        print(f"demo: error: {failure}", file=sys.stderr)
        print(f"demo: hint: Look at the archive and the stream's messages in {DIRECTORY}.", file=sys.stderr)
        return 1
    say("done; the archive stays until the next run, read it with:")
    print(f"{INDENT}zstdcat {DIRECTORY.relative_to(ROOT)}/{DATABASE}/incremental/*.sql.zst | less")
    return 0


if __name__ == "__main__":
    sys.exit(main())
