"""Who changed rows: recorded once for each transaction where the library is preloaded and scribe.record_users is on."""

from __future__ import annotations

import json

from cases import assert_both_restores_equal
from source import Scribe

from scribe.archive.layout import Archive
from scribe.archive.segments import open_plain

RECORDED = "-c session_preload_libraries=scribe_capture -c scribe.record_users=on"
FORGED = "SELECT pg_logical_emit_message(true, 'scribe.session', E'mallory\\t10.9.8.7\\tforged')"


def test_who_changed_rows_stands_in_the_segment(scribe: Scribe, targets: tuple[str, str]) -> None:
    """Small transactions and large ones; what a user sends under that name counts only where nothing is recorded."""
    cluster, name = scribe.cluster, scribe.dbname
    cluster.psql("CREATE TABLE t (id int PRIMARY KEY, v text)", name)
    scribe.run("scribe-init")
    scribe.start_stream()
    with cluster.connect(name, options=RECORDED, application_name="shop (1):x") as conn:
        conn.execute("INSERT INTO t VALUES (1, 'small')")
        conn.execute("CREATE TEMP TABLE passing AS SELECT 1")
        conn.execute("SELECT id FROM t FOR UPDATE")
        with conn.transaction():
            conn.execute(FORGED)
            conn.execute("INSERT INTO t SELECT g, repeat('x', 1000) FROM generate_series(2, 400) AS g")
            conn.execute("UPDATE t SET v = 'large' WHERE id < 4")
        with conn.transaction(force_rollback=True):
            conn.execute("INSERT INTO t VALUES (1000)")
    with cluster.connect(name) as conn:
        conn.execute("UPDATE t SET v = 'plain' WHERE id = 5")
        assert conn.execute("SELECT count(*) FROM pg_settings WHERE name = 'scribe.record_users'").fetchone() == (0,)
    scribe.run("scribe-rotate", "--wait-lsn", "current")
    (segment,) = [each for each in Archive(scribe.archive).segments() if each.manifest["counts"]["inserted"]]
    with open_plain(segment.data) as stream:
        lines = [line for line in stream.read().decode().splitlines() if line.startswith("-- session ")]
    assert lines == ["-- session postgres (shop ?1??x)"] * 2
    changes = [json.loads(line) for line in scribe.run("scribe-log", "--json", "--table", "t").stdout.splitlines()]
    rows = [change for change in changes if change["kind"] in ("insert", "update")]
    who = {change["xid"]: (change.get("asked_by"), change.get("application")) for change in rows}
    assert sorted(who.values(), key=str) == [("postgres", "shop ?1??x")] * 2 + [(None, None)]
    assert len(rows) == 404
    found = scribe.run("scribe-log", "--role", "postgres", "--kind", "insert,update").stdout.splitlines()
    assert len(found) == 2 and all("by postgres (shop ?1??x)" in line for line in found)
    assert scribe.run("scribe-log", "--role", "mallory", "--kind", "insert,update").stdout == ""
    assert_both_restores_equal(scribe, targets)
    assert scribe.stop_stream() == 0
