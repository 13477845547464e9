"""Moving to another server: from the last write on the old one to the first on the new one, beside pg_dump into psql.

The steps are those of the runbook's major upgrade. PG_CONFIG_NEW names the new server (default: the same version).
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from typing import Any

from cluster import Cluster, poll
from place import ROOT, Bench, cluster_program, median, say
from source import Scribe

ROWS_PER_SCALE = 15_000  # so that the default of a million rows is 1 GB of pgbench's
WRITING = 20  # seconds that clients write while the copy follows


def measure_moving(bench: Bench) -> None:
    """The seconds without a database that can be written to, for as large a database as rows says."""
    new = Cluster(os.environ.get("PG_CONFIG_NEW"))
    new.create(max_wal_size="4GB")
    try:
        moves = [_move(bench, new, number) for number in range(bench.rounds)]
        bench.figures["moving"] = {
            "from": bench.cluster.value("SHOW server_version"),
            "to": new.value("SHOW server_version"),
            "mb": moves[-1][2],
            "moved_s": median([moved for moved, _, _ in moves]),
            "dumped_s": median([dumped for _, dumped, _ in moves]),
        }
        say(f"moving: {bench.figures['moving']}")
    finally:
        new.remove()


def _move(bench: Bench, new: Cluster, number: int) -> tuple[float, float, int]:
    """Move once; return the seconds, those of a dump into psql, and the database's MB."""
    old, name = bench.cluster, f"moved{number}"
    old.createdb(name)
    cluster_program(old, "pgbench", "-i", "-q", "-s", str(max(1, bench.rows // ROWS_PER_SCALE)), name)
    source = Scribe(old, name, bench.directory / f"archive-{name}", {"SCRIBE_STATUS_INTERVAL": "1"})
    restore = [str(ROOT / "bin/scribe-restore"), "-q", "-d", name]
    env = new.env | {"SCRIBE_ARCHIVE": str(source.archive)}
    follower = None
    try:
        source.run("scribe-init")
        source.start_stream()
        follower = subprocess.Popen([*restore, "--follow"], env=env)
        poll(lambda: new.query(f"SELECT 1 FROM pg_database WHERE datname = '{name}'"), 600, "the copy")
        poll(lambda: new.query("SELECT to_regclass('scribe.followed') IS NOT NULL", name) == [(True,)], 600, "its base")
        cluster_program(old, "pgbench", "-n", "-c", "4", "-j", "2", "-T", str(WRITING), name)
        source.run("scribe-rotate")
        poll(lambda: source.run("scribe-check", "--only", "follow", "-c", "2", check=False).returncode == 0, 600, "it")
        cluster_program(old, "pgbench", "-n", "-c", "4", "-j", "2", "-T", "5", name)
        begin = time.perf_counter()
        lsn = str(old.value("SELECT pg_current_wal_lsn()::text"))
        source.run("scribe-rotate", "--wait-lsn", "current")
        follower.send_signal(signal.SIGTERM)
        follower.wait()
        subprocess.run([*restore, "--promote", "--wait-lsn", lsn], env=env, check=True)
        new.query("UPDATE pgbench_branches SET bbalance = bbalance WHERE bid = 1", name)
        moved = time.perf_counter() - begin
        _compare(old, new, name)
        megabytes = int(old.query(f"SELECT pg_database_size('{name}') / 1000000")[0][0])
        return moved, _dump(old, new, name), megabytes
    finally:
        if follower is not None and follower.poll() is None:
            follower.kill()
            follower.wait()
        source.close()
        for cluster in (old, new):
            cluster.dropdb(name)


def _compare(old: Cluster, new: Cluster, name: str) -> None:
    query = "SELECT sum(abalance), (SELECT count(*) FROM pgbench_history) FROM pgbench_accounts"
    if old.query(query, name) != new.query(query, name):
        raise RuntimeError("the moved database is not as the old one")


def _dump(old: Cluster, new: Cluster, name: str) -> float:
    """Return the seconds of the way that everybody knows."""
    new.createdb("dumped")
    begin = time.perf_counter()
    dump = subprocess.Popen([f"{old.bindir}/pg_dump", "-t", "pgbench_*", name], env=old.env, stdout=subprocess.PIPE)
    subprocess.run(
        [f"{new.bindir}/psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-o", os.devnull, "-d", "dumped"],
        env=new.env,
        stdin=dump.stdout,
        check=True,
    )
    if dump.wait():
        raise RuntimeError("pg_dump failed")
    took = time.perf_counter() - begin
    new.dropdb("dumped")
    return took


def report_moving(figures: dict[str, Any]) -> list[str]:
    """Return a line of the report."""
    what = "from the last write on {from} to the first on {to}, {mb} MB under pgbench".format(**figures)
    ratio = figures["moved_s"] / figures["dumped_s"]
    beside = f"pg_dump into psql, without what comes meanwhile {figures['dumped_s']} s: {ratio:.3f} of it"
    return [f"| {what} | {figures['moved_s']} s | {beside} |"]
