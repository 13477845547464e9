"""The guard of a running pg_dump: how rows are counted beside others' locks."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg
import pytest
from cluster import Cluster, poll

from scribe.dump import guard
from scribe.dump.guard import Guard, in_snapshot, read_tables


@contextmanager
def ended(cluster: Cluster, database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Guard]:
    """Yield the guard of a dump that has ended; only the rows are left to count."""
    for name, value in (cluster.env | {"PGDATABASE": database}).items():
        if name.startswith("PG"):
            monkeypatch.setenv(name, value)
    with cluster.connect(database, autocommit=False) as conn:
        conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        (snapshot,) = conn.execute("SELECT pg_export_snapshot()").fetchall()[0]
        made = Guard(str(snapshot), "no such pg_dump", read_tables(conn), "")
        made.end(True)
        yield made


def test_many_small_tables_share_a_few_transactions(
    cluster: Cluster, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.psql(
        "DO $$BEGIN FOR i IN 1..40 LOOP EXECUTE format('CREATE TABLE t%s AS SELECT g FROM generate_series(1, %s) AS g',"
        " i, i); END LOOP; END$$; CREATE TABLE none ()",
        database,
    )
    begun = 0

    @contextmanager
    def counted(conn: psycopg.Connection[object], snapshot: str) -> Iterator[None]:
        nonlocal begun
        begun += 1
        with in_snapshot(conn, snapshot):
            yield

    monkeypatch.setattr(guard, "in_snapshot", counted)
    monkeypatch.setattr(guard, "TOGETHER", 60)
    with ended(cluster, database, monkeypatch) as made:
        cluster.psql("INSERT INTO t1 SELECT 1 FROM generate_series(1, 9)", database)  # after the snapshot
        rows = made.watch()
    assert rows == {f"public.t{i}": i for i in range(1, 41)} | {"public.none": 0}
    assert (begun, made.warnings) == (1, [])


@pytest.mark.parametrize("let_go", [True, False])
def test_no_lock_is_waited_for_while_others_are_held(
    cluster: Cluster, database: str, monkeypatch: pytest.MonkeyPatch, let_go: bool
) -> None:
    """Otherwise a schema change that has the one and waits for the other would be ended as a deadlock."""
    monkeypatch.setattr(guard, "TOGETHER", 60)
    monkeypatch.setattr(guard, "COUNT_WAIT", 60 if let_go else 1)
    cluster.psql("".join(f"CREATE TABLE {name} AS SELECT 1 AS a;" for name in "abcd"), database)
    waiting = "SELECT pid FROM pg_locks WHERE relation = 'c'::regclass AND NOT granted"
    with (
        ended(cluster, database, monkeypatch) as made,
        cluster.connect(database, autocommit=False) as locking,
        ThreadPoolExecutor() as pool,
    ):
        locking.execute("LOCK TABLE c")
        watching = pool.submit(made.watch)
        if let_go:
            (pid,) = poll(lambda: [p for (p,) in cluster.query(waiting, database) if _is_patient(cluster, p)], 30)
            held = f"SELECT relation::regclass::text FROM pg_locks WHERE pid = {pid} AND granted AND relation >= 16384"
            assert cluster.query(held, database) == []
            locking.rollback()
        rows = watching.result(timeout=60)
    assert rows == {f"public.{name}": 1 for name in ("abcd" if let_go else "abd")}
    late = "the rows of public.c were not counted: the table was changed meanwhile"
    assert made.warnings == ([] if let_go else [late])


def _is_patient(cluster: Cluster, pid: int) -> bool:
    """Whether a session has waited for longer than one does that holds other locks."""
    waits = f"SELECT clock_timestamp() - waitstart > '200 ms' FROM pg_locks WHERE pid = {pid} AND NOT granted"
    return bool(cluster.value(waits))
