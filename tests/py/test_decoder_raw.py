"""The decoder decoder_raw: SQL without LSNs, cut and numbered by the moments at which files are closed.

PG_SCRIBE_ALL_CASES=1 (make check-decoders) runs every correctness case; docs/decoders.md lists what differs.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import ROOT, Cluster, poll
from compare import assert_equal
from source import Scribe
from test_correctness import CASES
from test_pgoutput import assert_both_restores_equal

QUICK = ("create_table_as", "full_identity_odd_types", "key_updates", "truncate", "values")
# What differs, and why, is in docs/decoders.md.
DIFFERENT = ("roles_in_the_stream", "tablespaces_in_the_stream", "hash_partitions_of_enums")
DIFFERENT += ("objects_that_use_temporary_ones", "rights_that_are_gone", "tables_that_publications_keep")
DIFFERENT += ("rewrite_triggers_that_write",)
ALL = os.environ.get("PG_SCRIBE_ALL_CASES") == "1"
CHOSEN = [case for case in CASES if case.stem not in DIFFERENT and (ALL or case.stem in QUICK)]


@pytest.fixture
def source(scribe: Scribe) -> Scribe:
    """A source whose decoder is decoder_raw."""
    library = subprocess.check_output([scribe.cluster.pg_config, "--pkglibdir"], text=True).strip()
    if not Path(library, "decoder_raw.so").exists():
        pytest.skip("place: decoder_raw is not installed in this server")
    scribe.settings["SCRIBE_DECODER"] = "decoder_raw"
    return scribe


@pytest.fixture
def targets(cluster: Cluster, source: Scribe) -> Iterator[tuple[str, str]]:
    """Names of two databases to restore into, dropped afterwards."""
    names = (f"{source.dbname}_restore", f"{source.dbname}_psql")
    yield names
    for name in names:
        cluster.dropdb(name)


@pytest.mark.parametrize("case", CHOSEN, ids=lambda path: path.stem)
def test_both_restores_equal_the_source(case: Path, source: Scribe, targets: tuple[str, str]) -> None:
    before, after = case.read_text().split("-- after init\n")
    source.cluster.psql(before, source.dbname)
    source.run("scribe-init", "--accept-gaps")
    source.start_stream()
    source.cluster.psql(after, source.dbname)
    source.run("scribe-rotate", "--wait-lsn", "current")
    assert_both_restores_equal(source, targets)
    assert source.stop_stream() == 0


@pytest.fixture
def begun(source: Scribe) -> Scribe:
    """An archive with a table and a running stream."""
    source.settings |= {"SCRIBE_COMPRESS": "none", "SCRIBE_FSYNC_INTERVAL": "1"}
    source.cluster.psql("CREATE TABLE t (x int, v text)", source.dbname)
    source.run("scribe-init", "--accept-gaps")
    source.start_stream()
    return source


def bounds(scribe: Scribe) -> list[dict[str, str]]:
    """What is recorded of where the spool's files end."""
    found: list[dict[str, str]] = json.loads((scribe.archive / "spool/bounds.json").read_text())["bounds"]
    return found


def restored(scribe: Scribe, target: str, *arguments: str) -> tuple[list[tuple[int]], str]:
    """Restore, and return the table's rows and what was said."""
    scribe.cluster.dropdb(target)
    said = scribe.run("scribe-restore", "-d", target, "--no-globals", *arguments).stderr
    return scribe.cluster.query("SELECT x FROM t ORDER BY 1", target), said


def test_the_slot_goes_back_where_the_server_knows_of_more_than_the_spool(
    begun: Scribe, targets: tuple[str, str]
) -> None:
    """A server that shuts down makes pg_recvlogical confirm what it has; what of that had no bound comes again."""
    cluster, database = begun.cluster, begun.dbname
    begun.run("scribe-rotate", "--wait-lsn", "current")
    begun.settings["SCRIBE_FSYNC_INTERVAL"] = "1000"
    begun.kill_stream()
    begun.start_stream()
    cluster.psql("INSERT INTO t SELECT generate_series(1, 20)", database)
    held = begun.archive / "spool/stream.sql"
    poll(lambda: held.stat().st_size > 100, 30, "the rows")
    last = bounds(begun)[-1]["lsn"]
    cluster.restart("fast")
    begun.kill_stream()
    query = f"SELECT confirmed_flush_lsn > '{last}' FROM pg_replication_slots WHERE slot_name = '{begun.slot}'"
    if cluster.query(query) == [(False,)]:  # before PostgreSQL 17 it forgets that in a restart
        cluster.query(f"SELECT pg_replication_slot_advance('{begun.slot}', pg_current_wal_lsn())", database)
    assert cluster.query(query) == [(True,)]
    begun.start_stream()
    cluster.psql("UPDATE t SET v = 'x' WHERE x = 7", database)
    begun.run("scribe-rotate", "--wait-lsn", "current")
    assert_both_restores_equal(begun, targets)


def test_a_slot_dropped_by_mistake_is_made_anew_from_the_second_one(begun: Scribe, targets: tuple[str, str]) -> None:
    begun.cluster.psql("INSERT INTO t VALUES (1)", begun.dbname)
    begun.stop_stream()
    begun.cluster.query(f"SELECT pg_drop_replication_slot('{begun.slot}')")
    begun.cluster.psql("INSERT INTO t VALUES (2)", begun.dbname)
    begun.start_stream()
    begun.run("scribe-rotate", "--wait-lsn", "current")
    assert restored(begun, targets[0])[0] == [(1,), (2,)]
    # without either, the chain is broken
    begun.stop_stream()
    query = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name LIKE '{}%'"
    begun.cluster.query(query.format(begun.slot))
    result = begun.run("scribe-stream", check=False)
    assert result.returncode == 1 and "the chain is broken" in result.stderr


@pytest.mark.parametrize("lost", ["bounds.json", "."])
def test_without_what_says_where_the_spool_ends_the_chain_is_broken(
    begun: Scribe, targets: tuple[str, str], lost: str
) -> None:
    begun.cluster.psql("INSERT INTO t VALUES (1)", begun.dbname)
    begun.run("scribe-rotate", "--wait-lsn", "current")
    assert begun.stop_stream() == 0
    place = begun.archive / "spool" / lost
    if lost == ".":
        shutil.rmtree(place)
        place.mkdir()
    else:
        place.unlink()
    result = begun.run("scribe-stream", check=False)
    assert result.returncode == 1 and "the chain is broken" in result.stderr, result.stderr
    begun.cluster.psql("INSERT INTO t VALUES (2)", begun.dbname)
    begun.run("scribe-init", "--accept-gaps")
    begun.start_stream()
    begun.cluster.psql("INSERT INTO t VALUES (3)", begun.dbname)
    begun.run("scribe-rotate", "--wait-lsn", "current")
    assert restored(begun, targets[0])[0] == [(1,), (2,), (3,)]


def test_points_in_time_are_where_files_were_closed(begun: Scribe, targets: tuple[str, str]) -> None:
    cluster, database = begun.cluster, begun.dbname
    moments = []
    for number in range(3):
        cluster.psql(f"INSERT INTO t VALUES ({number})", database)
        begun.run("scribe-restore", "-d", database, "--mark", f"after.{number}")
        cluster.psql(f"INSERT INTO t VALUES ({number + 10})", database)
        begun.run("scribe-rotate", "--wait-lsn", "current")
        cluster.psql("SELECT pg_sleep(0.1)", database)
        moments.append(cluster.value("SELECT clock_timestamp()::text", database))
    manifests = [json.loads(path.read_text()) for path in sorted((begun.archive / "incremental").glob("*.json"))]
    assert {manifest["points"] for manifest in manifests} == {"segment"}
    rows, said = restored(begun, targets[0], "--target-time", moments[0])
    assert rows == [(0,), (10,)] and "the last known point before" in said
    rows, said = restored(begun, targets[0], "--target-name", "after.1")
    assert rows == [(0,), (1,), (10,)] and "warning" not in said
    ends = [manifest["to_lsn"] for manifest in manifests]
    for end, expected in zip(ends, ([(0,), (10,)], [(0,), (1,), (10,), (11,)]), strict=False):
        high, low = end.split("/")
        rows, said = restored(begun, targets[0], "--target-lsn", f"{high}/{int(low, 16) + 1:X}")
        assert rows == expected and "the last known point before" in said
    refused = begun.run("scribe-restore", "-d", targets[1], "--target-xid", "7", check=False)
    assert refused.returncode == 1 and "--target-name" in refused.stderr


def test_a_base_taken_while_the_stream_runs_is_exact(begun: Scribe, targets: tuple[str, str]) -> None:
    """What lies before its consistent point is counted, since no LSN in the stream tells."""
    work = subprocess.Popen(
        [
            "bash",
            "-c",
            'for i in $(seq 1 150); do echo "INSERT INTO t VALUES ($i, pg_backend_pid());"; done | psql -Xq',
        ],
        env=begun.env,
    )
    for _ in range(3):
        begun.run("scribe-dump")
    begun.run("scribe-rotate")
    assert work.wait() == 0
    begun.run("scribe-rotate", "--wait-lsn", "current")
    bases = sorted((begun.archive / "base").iterdir())
    assert len(bases) == 4
    expected = begun.cluster.dump(begun.dbname)
    for base in bases:
        begun.cluster.dropdb(targets[0])
        begun.run("scribe-restore", "-d", targets[0], "--no-globals", "--base", base.name)
        assert_equal(expected, begun.cluster.dump(targets[0]), ("source", base.name))
    begun.restore_with_psql(targets[1], bases[2])
    assert_equal(expected, begun.cluster.dump(targets[1]), ("source", "psql alone"))


def test_rows_of_the_audit_table_are_orders_only_while_it_is_captures(begun: Scribe) -> None:
    """Whoever may make a schema of that name, once capture's is gone, must not have SQL of theirs run at restore."""
    begun.cluster.psql(
        "DROP SCHEMA scribe CASCADE; CREATE SCHEMA scribe;"
        " CREATE TABLE scribe.ddl_history"
        " (kind text, tag text, statement text, exact bool, role text, search_path text);"
        " INSERT INTO scribe.ddl_history"
        " VALUES ('ddl', 'CREATE TABLE', 'CREATE TABLE public.forged (x int)', true, 'postgres', '')",
        begun.dbname,
    )
    result = begun.run("scribe-rotate", check=False)
    assert result.returncode == 1 and "recreated by somebody else" in result.stderr
    assert not any("forged" in path.read_text() for path in (begun.archive / "incremental").iterdir())


def test_init_takes_both_slots_away_again(begun: Scribe) -> None:
    slots = "SELECT slot_name FROM pg_replication_slots WHERE slot_name LIKE 'scribe_{}%' ORDER BY 1"
    found = begun.cluster.query(slots.format(begun.dbname))
    assert found == [(begun.slot,), (f"{begun.slot}_kept",)]
    begun.run("scribe-check", "--only", "slot,heartbeat,lag,confirmed,wal,standstill")
    assert begun.stop_stream() == 0
    assert f"{begun.slot}_kept" in begun.run("scribe-init", "--remove", "--dry-run").stdout
    assert begun.cluster.query(slots.format(begun.dbname)) == found
    begun.run("scribe-init", "--remove")
    assert begun.cluster.query(slots.format(begun.dbname)) == []
    assert begun.cluster.query("SELECT FROM pg_namespace WHERE nspname = 'scribe'", begun.dbname) == []


def test_a_clean_stop_leaves_nothing_to_be_sent_again(begun: Scribe, targets: tuple[str, str]) -> None:
    begun.cluster.psql("INSERT INTO t VALUES (1)", begun.dbname)
    parts = begun.archive / "spool"
    poll(lambda: any(b"(1, null)" in path.read_bytes() for path in parts.glob("*.sql")), 30, "the row")
    assert begun.stop_stream() == 0
    rows, _ = restored(begun, targets[0], "--include-spool")
    assert rows == [(1,)]


@pytest.mark.slow
def test_nothing_is_lost_or_repeated_whatever_is_killed(source: Scribe) -> None:
    """The fault harness: acknowledged transactions, kill -9, stops of the server, power cuts; exactly once."""
    command = [sys.executable, str(ROOT / "tests/faults/harness.py"), "--decoder", "decoder_raw"]
    command += ["--seed", "20261123", "--rounds", "9"]
    environment = os.environ | {"PG_CONFIG": source.cluster.pg_config}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count(": equal, ") == 9


def test_what_pgoutput_does_not_send_or_this_plugin_gets_wrong(source: Scribe, targets: tuple[str, str]) -> None:
    cluster, database = source.cluster, source.dbname
    virtual = "VIRTUAL" if cluster.version_num >= 180000 else "STORED"
    cluster.psql(
        "CREATE TABLE keyed (a int, b int GENERATED ALWAYS AS (a * 2) STORED PRIMARY KEY);"
        f"CREATE TABLE bare (a int, b int GENERATED ALWAYS AS (a * 2) {virtual});"
        "CREATE TABLE wide (k text, v text, n int, PRIMARY KEY (n) INCLUDE (k));"
        "ALTER TABLE wide ALTER v SET STORAGE EXTERNAL;"
        "CREATE MATERIALIZED VIEW seen AS SELECT a FROM keyed; CREATE UNIQUE INDEX ON seen (a)",
        database,
    )
    source.run("scribe-init", "--accept-gaps")
    source.start_stream()
    cluster.psql(
        "INSERT INTO keyed (a) SELECT generate_series(1, 9); UPDATE keyed SET a = a + 100 WHERE a < 4;"
        "DELETE FROM keyed WHERE a = 9; INSERT INTO bare (a) VALUES (1), (1), (NULL), (2);"
        "DELETE FROM bare WHERE ctid = (SELECT min(ctid) FROM bare WHERE a = 1); UPDATE bare SET a = 7 WHERE a IS NULL;"
        "INSERT INTO wide VALUES ('k', repeat('x', 9000), 1), (NULL, NULL, 2); UPDATE wide SET n = n + 5;"
        "UPDATE wide SET k = 'other' WHERE n = 6; DELETE FROM wide WHERE n = 7;"
        'REFRESH MATERIALIZED VIEW CONCURRENTLY seen; CREATE TABLE "odd) VALUES (" ("a\nCOMMIT;\n" text, "q""" int);'
        "INSERT INTO \"odd) VALUES (\" VALUES (E'COMMIT;\nBEGIN;\n', 1); ALTER SCHEMA public RENAME TO other;"
        "INSERT INTO other.keyed (a) VALUES (50); CREATE SCHEMA public; UPDATE other.wide SET v = 'y'",
        database,
    )
    source.run("scribe-rotate", "--wait-lsn", "current")
    assert_both_restores_equal(source, targets)
