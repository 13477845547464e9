"""Nobody waits long behind a program of ours: measured by a victim, a session that does the same again and again."""

from __future__ import annotations

import contextlib
import re
import subprocess
import threading
import time
from collections.abc import Iterator

import psycopg
import pytest
from cluster import ROOT, Cluster
from source import Scribe

LONGEST = 1.0  # seconds a victim may wait at once
SHARE = 0.05  # of the time it may wait in all
SLOW = 0.1  # seconds from which on a statement is taken to have waited


class Victim(threading.Thread):
    """Runs one statement again and again; longest: seconds of the slowest; blocked: seconds of all that waited."""

    def __init__(self, cluster: Cluster, dbname: str, statement: str) -> None:
        super().__init__(daemon=True)
        self.conn = cluster.connect(dbname)
        self.statement = statement
        self.longest = self.blocked = 0.0
        self.began = time.monotonic()
        self.ended = threading.Event()

    def run(self) -> None:
        """Do it until the end."""
        while not self.ended.wait(0.005):
            before = time.monotonic()
            self.conn.execute(self.statement)
            took = time.monotonic() - before
            self.longest = max(self.longest, took)
            self.blocked += took if took >= SLOW else 0.0

    def finish(self) -> None:
        """End it, and fail if it had to wait too long."""
        self.ended.set()
        self.join(60)
        lasted = time.monotonic() - self.began
        self.conn.close()
        assert self.longest <= LONGEST, f"waited for {self.longest:.2f} s at once"
        assert self.blocked <= SHARE * lasted + 0.5, f"waited for {self.blocked:.2f} s of {lasted:.1f} s"


@contextlib.contextmanager
def blocking(cluster: Cluster, dbname: str, *statements: str) -> Iterator[psycopg.Connection]:
    """Hold what statements lock, in a transaction that stays open."""
    with cluster.connect(dbname, application_name="long report", autocommit=False) as conn:
        for statement in statements:
            conn.execute(statement)
        yield conn
        conn.rollback()


def named(text: str, conn: psycopg.Connection) -> bool:
    """Whether text names the session of conn, and since when its query runs."""
    who = rf"process {conn.info.backend_pid} \(user postgres, application long report, idle in transaction"
    return re.search(who + r", query since \d{4}-\d\d-\d\d", text) is not None


@pytest.mark.slow
def test_readers_are_hardly_blocked_while_init_waits_for_a_keyless_table(scribe: Scribe, cluster: Cluster) -> None:
    cluster.psql("CREATE TABLE keyless (a int)", scribe.dbname)
    with blocking(cluster, scribe.dbname, "SELECT * FROM keyless") as holder:
        victim = Victim(cluster, scribe.dbname, "SELECT * FROM keyless")
        victim.start()
        result = scribe.run("scribe-init", "--no-base", "--wait", "20", check=False)
        victim.finish()
        assert result.returncode == 75
        assert named(result.stderr.split("error:")[0], holder) and named(result.stderr.split("error:")[1], holder)


@pytest.mark.slow
def test_schema_changes_are_hardly_blocked_while_a_removal_waits(scribe: Scribe, cluster: Cluster) -> None:
    cluster.psql("CREATE TABLE t (a int PRIMARY KEY)", scribe.dbname)
    scribe.run("scribe-init", "--no-base")
    with blocking(cluster, scribe.dbname, "CREATE TABLE pending (a int)") as holder:
        victim = Victim(cluster, scribe.dbname, "CREATE OR REPLACE VIEW v AS SELECT 1 AS a")
        victim.start()
        result = scribe.run("scribe-init", "--remove", "--wait", "20", check=False)
        victim.finish()
        assert result.returncode == 75, result.stderr
        assert "could not remove the capture objects within 20 s" in result.stderr
        assert named(result.stderr, holder)
    scribe.run("scribe-init", "--remove")
    assert cluster.value("SELECT to_regnamespace('scribe') IS NULL", scribe.dbname)


@pytest.mark.slow
def test_init_goes_on_once_the_table_is_free(scribe: Scribe, cluster: Cluster) -> None:
    cluster.psql("CREATE TABLE keyless (a int)", scribe.dbname)
    with blocking(cluster, scribe.dbname, "SELECT * FROM keyless"):
        init = subprocess.Popen(
            [ROOT / "bin/scribe-init", "--no-base"], env=scribe.env, stderr=subprocess.PIPE, text=True
        )
        assert init.stderr is not None
        assert "warning: waiting for process " in init.stderr.readline()
    assert init.communicate(timeout=60) and init.returncode == 0
    assert cluster.value("SELECT relreplident FROM pg_class WHERE relname = 'keyless'", scribe.dbname) == "f"


@pytest.mark.slow
def test_locked_sequences_cost_a_rotation_little(scribe: Scribe, cluster: Cluster) -> None:
    cluster.psql("".join(f"CREATE SEQUENCE s{n};" for n in range(9)), scribe.dbname)
    scribe.run("scribe-init", "--no-base")
    scribe.start_stream()
    renames = [f"ALTER SEQUENCE s{n} RENAME TO renamed{n}" for n in range(8)]
    with blocking(cluster, scribe.dbname, *renames):
        cluster.psql("SELECT nextval('s8')", scribe.dbname)
        victim = Victim(cluster, scribe.dbname, "SELECT nextval('s8')")
        victim.start()
        began = time.monotonic()
        scribe.run("scribe-rotate")
        assert time.monotonic() - began < 15
        victim.finish()
