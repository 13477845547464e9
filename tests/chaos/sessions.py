"""The sessions of chaos: each makes one kind of change again and again until it has to pause or to end."""

from __future__ import annotations

import contextlib
import random
import threading
from collections import Counter
from collections.abc import Callable

import psycopg
from cluster import Cluster

SCHEMA = """
CREATE TABLE accounts (id int PRIMARY KEY, v bigint NOT NULL DEFAULT 0, note text);
INSERT INTO accounts SELECT g, g, 'x' FROM generate_series(1, 500) AS g;
CREATE TABLE keyless (a int, b text);
INSERT INTO keyless SELECT g % 50, repeat('y', g % 30) FROM generate_series(1, 200) AS g;
CREATE TABLE events (at int NOT NULL, what text) PARTITION BY RANGE (at);
CREATE TABLE events_0 PARTITION OF events FOR VALUES FROM (0) TO (100);
CREATE TABLE rewritten (id int PRIMARY KEY, v int);
INSERT INTO rewritten SELECT g, g FROM generate_series(1, 300) AS g;
CREATE TABLE indexed (id int PRIMARY KEY, v int, w int);
INSERT INTO indexed SELECT g, g % 17, g % 5 FROM generate_series(1, 2000) AS g;
CREATE INDEX indexed_v ON indexed (v);
CREATE SEQUENCE numbers;
CREATE SCHEMA aside;
CREATE MATERIALIZED VIEW totals AS SELECT g FROM generate_series(1, 5) AS g;
"""
SESSION = "-c lock_timeout=2s -c statement_timeout=30s -c client_min_messages=error"
Step = Callable[[psycopg.Connection, random.Random], None]


def run(conn: psycopg.Connection, *statements: str) -> None:
    """Run statements, each for itself."""
    for statement in statements:
        conn.execute(statement.encode())


def rows(conn: psycopg.Connection, draw: random.Random) -> None:
    """Row changes of every size, some of them rolled back."""
    with contextlib.suppress(psycopg.Rollback), conn.transaction():
        for _ in range(draw.choice((1, 1, 3, 40))):
            a, b = draw.randrange(1, 700), draw.randrange(1, 700)
            run(
                conn,
                f"INSERT INTO accounts VALUES ({a}, {b}) ON CONFLICT (id) DO UPDATE SET v = EXCLUDED.v",
                f"UPDATE accounts SET note = repeat('n', {b}) WHERE id = {b}",
                f"DELETE FROM accounts WHERE id = {draw.randrange(1, 700)}",
                f"UPDATE keyless SET b = b || 'z' WHERE a = {draw.randrange(50)} AND length(b) < 60",
                "SELECT nextval('numbers')",
            )
        if draw.random() < 0.2:
            raise psycopg.Rollback


def large(conn: psycopg.Connection, draw: random.Random) -> None:
    """Transactions that are spilled, with savepoints, some of them rolled back."""
    with contextlib.suppress(psycopg.Rollback), conn.transaction():
        first = draw.randrange(10_000, 1_000_000)
        with contextlib.suppress(psycopg.Rollback), conn.transaction():
            run(conn, f"INSERT INTO keyless SELECT {first}, repeat('l', 200) FROM generate_series(1, 3000)")
            if draw.random() < 0.4:
                raise psycopg.Rollback
        run(conn, f"DELETE FROM keyless WHERE a = {first}", "UPDATE indexed SET w = w + 1 WHERE v = 3")
        if draw.random() < 0.4:
            raise psycopg.Rollback


def tables(conn: psycopg.Connection, draw: random.Random) -> None:
    """Tables made, changed and dropped."""
    name = f"made_{draw.randrange(4)}"
    run(conn, f"DROP TABLE IF EXISTS {name}", f"CREATE TABLE {name} (a int PRIMARY KEY, b text DEFAULT 'd')")
    run(conn, f"INSERT INTO {name} SELECT g FROM generate_series(1, {draw.randrange(1, 40)}) AS g")
    run(conn, f"ALTER TABLE {name} ADD c timestamptz DEFAULT clock_timestamp()", f"ALTER TABLE {name} DROP b")
    if draw.random() < 0.3:
        run(conn, f"COMMENT ON TABLE {name} IS 'made in chaos'", f"TRUNCATE {name}")


def rewrites(conn: psycopg.Connection, draw: random.Random) -> None:
    """A table that is rewritten, with values that only the source has."""
    name = f"c{draw.randrange(5)}"
    run(conn, f"ALTER TABLE rewritten DROP COLUMN IF EXISTS {name}")
    run(conn, f"ALTER TABLE rewritten ADD {name} uuid DEFAULT gen_random_uuid()")
    run(conn, f"ALTER TABLE rewritten ALTER v TYPE {draw.choice(('int', 'bigint', 'numeric'))}")
    run(conn, f"UPDATE rewritten SET v = v + 1 WHERE id % 7 = {draw.randrange(7)}")
    if draw.random() < 0.3:
        run(conn, draw.choice(("VACUUM FULL rewritten", "CLUSTER rewritten USING rewritten_pkey")))


def indexes(conn: psycopg.Connection, draw: random.Random) -> None:
    """Indexes made, rebuilt and dropped beside everybody's work."""
    run(conn, "REINDEX INDEX CONCURRENTLY indexed_pkey", "REINDEX TABLE CONCURRENTLY indexed")
    run(conn, "DROP INDEX CONCURRENTLY IF EXISTS indexed_w", "CREATE INDEX CONCURRENTLY indexed_w ON indexed (w)")
    if draw.random() < 0.2:
        run(conn, "DROP INDEX CONCURRENTLY indexed_w")


def partitions(conn: psycopg.Connection, draw: random.Random) -> None:
    """Partitions made, filled, detached, attached and dropped."""
    number = draw.randrange(1, 8)
    name, low = f"events_{number}", number * 100
    run(conn, f"DROP TABLE IF EXISTS {name}", f"CREATE TABLE {name} (at int NOT NULL, what text)")
    run(conn, f"INSERT INTO {name} SELECT {low} + g, 'before' FROM generate_series(0, 9) AS g")
    run(conn, f"ALTER TABLE events ATTACH PARTITION {name} FOR VALUES FROM ({low}) TO ({low + 100})")
    run(conn, f"INSERT INTO events VALUES ({low}, 'through the root'), ({draw.randrange(100)}, 'old')")
    run(conn, f"ALTER TABLE events DETACH PARTITION {name}{draw.choice(('', ' CONCURRENTLY'))}")


def views(conn: psycopg.Connection, draw: random.Random) -> None:
    """Views, functions, triggers, types and comments."""
    run(conn, f"CREATE OR REPLACE VIEW seen AS SELECT id, v FROM accounts WHERE v > {draw.randrange(100)}")
    run(conn, f"CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT {draw.randrange(100)}'")
    run(conn, "REFRESH MATERIALIZED VIEW totals", "DROP TYPE IF EXISTS mood", "CREATE TYPE mood AS ENUM ('a', 'b')")
    run(conn, f"ALTER TYPE mood ADD VALUE 'c{draw.randrange(1000)}'", "DROP VIEW seen")


def roles(conn: psycopg.Connection, draw: random.Random) -> None:
    """Owners and privileges."""
    role = f"chaos_{draw.randrange(3)}"
    run(conn, f"GRANT SELECT, UPDATE ON accounts TO {role}", f"ALTER TABLE keyless OWNER TO {role}")
    run(conn, f"REVOKE UPDATE ON accounts FROM {role}", f"COMMENT ON TABLE keyless IS '{role}'")
    run(conn, f"ALTER TABLE accounts {draw.choice(('ENABLE', 'DISABLE'))} ROW LEVEL SECURITY")


def prepared(conn: psycopg.Connection, draw: random.Random) -> None:
    """Two-phase transactions, committed or rolled back."""
    name = f"chaos {draw.randrange(10**9)}"
    run(conn, "BEGIN", f"UPDATE accounts SET v = v + 1 WHERE id % 11 = {draw.randrange(11)}")
    run(conn, f"PREPARE TRANSACTION '{name}'")
    run(conn, f"{draw.choice(('COMMIT', 'COMMIT', 'ROLLBACK'))} PREPARED '{name}'")


def renames(conn: psycopg.Connection, draw: random.Random) -> None:
    """Tables, columns, constraints, sequences and roles that others use get other names, or move."""
    name, role = f"held_{draw.randrange(3)}", f"chaos_{draw.randrange(3)}"
    run(conn, f"CREATE TABLE IF NOT EXISTS {name} (id int PRIMARY KEY GENERATED ALWAYS AS IDENTITY, v int UNIQUE)")
    run(conn, f"INSERT INTO {name} (v) VALUES ({draw.randrange(1000)}) ON CONFLICT DO NOTHING")
    run(conn, f"ALTER TABLE {name} RENAME v TO w", f"ALTER TABLE {name} RENAME CONSTRAINT {name}_v_key TO {name}_w")
    run(conn, f"ALTER TABLE {name} SET SCHEMA aside", f"UPDATE aside.{name} SET w = w + 1000 WHERE id % 3 = 0")
    run(conn, f"ALTER TABLE aside.{name} RENAME TO {name}_old", f"DROP TABLE aside.{name}_old")
    run(conn, f"ALTER ROLE {role} RENAME TO {role}_new", f"ALTER ROLE {role}_new RENAME TO {role}")


def extensions(conn: psycopg.Connection, draw: random.Random) -> None:
    """Extensions made, updated, moved, used and dropped."""
    if draw.random() < 0.3:
        run(conn, "DROP EXTENSION IF EXISTS hstore CASCADE", "DROP TABLE IF EXISTS tagged")
        run(conn, "CREATE EXTENSION hstore VERSION '1.4'", "CREATE TABLE tagged (id int PRIMARY KEY, tags hstore)")
        run(conn, "CREATE INDEX ON tagged USING gin (tags)")
    run(conn, f"INSERT INTO tagged VALUES ({draw.randrange(200)}, 'a=>1') ON CONFLICT (id) DO NOTHING")
    run(conn, f"UPDATE tagged SET tags = tags || 'b=>{draw.randrange(9)}' WHERE id % 5 = {draw.randrange(5)}")
    run(conn, draw.choice(("ALTER EXTENSION hstore UPDATE", "ALTER EXTENSION hstore SET SCHEMA aside")))
    run(conn, "ALTER EXTENSION hstore SET SCHEMA public")


def references(conn: psycopg.Connection, draw: random.Random) -> None:
    """Foreign keys, generated columns, domains, policies and triggers, in one transaction with the rows they judge."""
    name = f"line_{draw.randrange(3)}"
    with contextlib.suppress(psycopg.Rollback), conn.transaction():
        run(conn, f"DROP TABLE IF EXISTS {name}", "DROP DOMAIN IF EXISTS amount", "CREATE DOMAIN amount AS int")
        run(
            conn,
            f"CREATE TABLE {name} (id serial PRIMARY KEY, n amount, of int REFERENCES accounts ON DELETE CASCADE"
            " DEFERRABLE INITIALLY DEFERRED, twice int GENERATED ALWAYS AS (n * 2) STORED)",
            f"INSERT INTO {name} (n, of) SELECT id, id FROM accounts ORDER BY random() LIMIT 5",
            f"CREATE POLICY mine ON {name} USING (n > 0)",
            "CREATE OR REPLACE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS"
            " $$BEGIN NEW.n := coalesce(NEW.n, 0) + 1; RETURN NEW; END$$",
            f"CREATE TRIGGER touched BEFORE INSERT OR UPDATE ON {name} FOR EACH ROW EXECUTE FUNCTION touch()",
            f"UPDATE {name} SET n = n WHERE id % 2 = 0",
        )
        if draw.random() < 0.3:
            raise psycopg.Rollback
    run(conn, f"ALTER TABLE {name} DROP CONSTRAINT {name}_of_fkey", f"DROP TABLE {name}")


_STEPS = (
    rows, large, tables, rewrites, indexes, partitions, views, roles, prepared, renames, extensions, references
)  # fmt: skip
SESSIONS: dict[str, Step] = {step.__name__: step for step in _STEPS}


class Session(threading.Thread):
    """Does one kind of step again and again. hold() lets it finish the one at hand and stand still; go() goes on."""

    def __init__(self, cluster: Cluster, dbname: str, name: str, seed: int) -> None:
        super().__init__(daemon=True, name=name)
        self.cluster, self.dbname = cluster, dbname
        self.random = random.Random(f"{seed} {name}")
        self.done: Counter[str] = Counter()
        self.fault: BaseException | None = None
        self._may_run = threading.Event()
        self._turn = threading.Lock()  # held during a step
        self._ended = threading.Event()

    def run(self) -> None:
        """Run steps. What the server rejects is counted: sessions meet on purpose."""
        try:
            while not self._ended.is_set():
                with self.cluster.connect(self.dbname, options=SESSION) as conn:
                    self._work(conn)
        except BaseException as error:
            self.fault = error

    def _work(self, conn: psycopg.Connection) -> None:
        while not conn.closed:
            self._may_run.wait()
            if self._ended.is_set():
                return
            with self._turn:
                if self._may_run.is_set():
                    self._step(conn)

    def _step(self, conn: psycopg.Connection) -> None:
        try:
            SESSIONS[self.name](conn, self.random)
            self.done["done"] += 1
        except psycopg.Error as error:
            self.done[type(error).__name__] += 1
            if not conn.closed:
                conn.rollback()

    def go(self) -> None:
        """Go on."""
        self._may_run.set()

    def hold(self) -> None:
        """Begin no other step; wait_still() waits for the one at hand."""
        self._may_run.clear()

    def wait_still(self) -> None:
        """Wait until the step at hand is over."""
        if not self._turn.acquire(timeout=120):
            raise TimeoutError(f"session {self.name} does not come to rest")
        self._turn.release()
        if self.fault is not None:
            raise self.fault

    def end(self) -> None:
        """End it."""
        self._ended.set()
        self._may_run.set()
        self.join(120)
