"""Clients that change a source and remember what the server acknowledged."""

from __future__ import annotations

import contextlib
import random
import threading
import time

import psycopg
from cluster import Cluster

SCHEMA = """
CREATE TABLE ack (client int, n int, note text, PRIMARY KEY (client, n));
CREATE TABLE counter (client int PRIMARY KEY, n bigint, at timestamptz DEFAULT now());
CREATE TABLE bag (client int, v text);
CREATE SEQUENCE tickets;
INSERT INTO counter SELECT generate_series(0, 9), 0;
"""
PACE = 0.03  # seconds between transactions: what counts is faults, not volume
MOST_TABLES = 3  # that a client leaves standing
MOST_ROWS = 2000  # that stand in the bag


class Client(threading.Thread):
    """One session that writes as fast as it can while running is set, and remembers what was acknowledged."""

    def __init__(self, cluster: Cluster, dbname: str, number: int, seed: int) -> None:
        super().__init__(daemon=True)
        self.cluster, self.dbname, self.number = cluster, dbname, number
        self.random = random.Random(seed)
        self.acknowledged: set[int] = set()
        self.total = 0
        self.next = 0
        self.tables: list[str] = []
        self.running = threading.Event()
        self.idle = threading.Event()
        self.over = False

    def run(self) -> None:
        """Work while running is set; reconnect whenever the server has gone."""
        while not self.over:
            self.idle.set()
            if not self.running.wait(0.2):
                continue
            self.idle.clear()
            with contextlib.suppress(psycopg.Error), self.cluster.connect(self.dbname, connect_timeout=5) as conn:
                while self.running.is_set() and not self.over:
                    self.transaction(conn)
                    time.sleep(PACE)

    def transaction(self, conn: psycopg.Connection) -> None:  # type: ignore[type-arg]
        """One transaction with a number of its own; it is acknowledged when COMMIT has returned."""
        self.next += 1
        n, me = self.next, self.number
        with conn.transaction():
            conn.execute("INSERT INTO ack VALUES (%s, %s, %s)", (me, n, f"line\n{n} \\. ' \x01"))
            conn.execute("UPDATE counter SET n = n + 1, at = now() WHERE client = %s", (me,))
            conn.execute("SELECT nextval('tickets')")
            self.something(conn, n)
        if conn.broken:  # psycopg leaves the block without an error, and without a COMMIT
            raise psycopg.OperationalError("the server went away")
        self.acknowledged.add(n)
        self.total += 1

    def something(self, conn: psycopg.Connection, n: int) -> None:  # type: ignore[type-arg]
        """Now and then something more: rows without a key, DDL, a larger load, a savepoint rolled back."""
        dice = self.random.random()
        if dice < 0.3:
            conn.execute(
                "INSERT INTO bag SELECT %s, CASE WHEN g %% 2 = 0 THEN 'x' END FROM generate_series(1, 5) g",
                (self.number,),
            )
        elif dice < 0.4:
            conn.execute(
                "DELETE FROM bag WHERE ctid = (SELECT ctid FROM bag WHERE client = %s LIMIT 1)", (self.number,)
            )
        elif dice < 0.43:
            self.schema_change(conn, n, dice)
        elif dice < 0.435:
            conn.execute(
                "INSERT INTO bag SELECT %s, repeat(md5(g::text), 20) FROM generate_series(1, 2000) g", (self.number,)
            )
            conn.execute("DELETE FROM bag WHERE length(v) > 100")
        elif dice < 0.48:
            with contextlib.suppress(psycopg.errors.DivisionByZero), conn.transaction():
                conn.execute("INSERT INTO bag VALUES (-1, 'rolled back')")
                conn.execute("SELECT 1 / 0")
        elif dice < 0.49:
            (count,) = conn.execute("SELECT count(*) FROM bag WHERE client = %s", (self.number,)).fetchone() or (0,)
            if count > MOST_ROWS:
                conn.execute("DELETE FROM bag WHERE client = %s", (self.number,))

    def schema_change(self, conn: psycopg.Connection, n: int, dice: float) -> None:  # type: ignore[type-arg]
        """Make a table with rows, sometimes with a volatile default; drop it, or an older one."""
        table = f"t{self.number}_{n}"
        conn.execute(f"CREATE TABLE {table} AS SELECT g, random() AS r FROM generate_series(1, 20) g")  # type: ignore[arg-type]
        if dice < 0.42:
            conn.execute(f"ALTER TABLE {table} ADD COLUMN u uuid DEFAULT gen_random_uuid()")  # type: ignore[arg-type]
        if dice < 0.41:
            conn.execute(f"DROP TABLE {table}")  # type: ignore[arg-type]
            return
        self.tables.append(table)  # it may not come to be: hence IF EXISTS
        if len(self.tables) > MOST_TABLES:
            conn.execute(f"DROP TABLE IF EXISTS {self.tables.pop(0)}")  # type: ignore[arg-type]
