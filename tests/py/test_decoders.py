"""What is wrong with a decoder, a slot, a spool or a publication is one clear error with a hint, and loses nothing."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import Cluster
from source import Scribe

DECODERS = ("scribe_decoder", "pgoutput", "decoder_raw")
# The spool of each, as another one's would be found in it.
SPOOLS = {
    "scribe_decoder": b"BEGIN; -- xid 7 commit 0/1 time 2026-01-01 00:00:00.000000+00\nCOMMIT; -- end 0/2\n",
    "pgoutput": b"B" + bytes(7) + b"\x01" + bytes(12) + b"\nC" + bytes(25) + b"\n",
    "decoder_raw": b"BEGIN;\nINSERT INTO public.t (x) VALUES (1);\nCOMMIT;\n",
}


@pytest.fixture(params=DECODERS)
def source(request: pytest.FixtureRequest, scribe: Scribe) -> Scribe:
    """A source with each of the decoders."""
    libraries = subprocess.check_output([scribe.cluster.pg_config, "--pkglibdir"], text=True).strip()
    if not Path(libraries, f"{request.param}.so").exists():
        pytest.skip(f"place: {request.param} is not installed in this server")
    scribe.settings["SCRIBE_DECODER"] = request.param
    scribe.cluster.psql("CREATE TABLE t (x int PRIMARY KEY)", scribe.dbname)
    return scribe


@pytest.fixture
def sender(source: Scribe) -> Iterator[Scribe]:
    """The same, as a role that may not use the decoder's library."""
    if not source.cluster.query("SELECT 1 FROM pg_settings WHERE name = 'output_plugin_libraries'"):
        pytest.skip("server version: has no output_plugin_libraries")
    source.cluster.psql(
        "CREATE ROLE odd_sender LOGIN REPLICATION; ALTER ROLE odd_sender SET output_plugin_libraries = test_decoding"
    )
    source.settings["PGUSER"] = "odd_sender"
    yield source
    source.cluster.psql("DROP ROLE odd_sender")


def init(source: Scribe) -> None:
    """Make the archive, without a base."""
    accept = ["--accept-gaps"] if source.settings["SCRIBE_DECODER"] == "decoder_raw" else []
    source.run("scribe-init", "--no-base", *accept)


def make_foreign_slot(source: Scribe) -> None:
    """Make the slot with another plugin."""
    with source.cluster.connect(source.dbname) as conn:
        conn.execute("SELECT pg_create_logical_replication_slot(%s, 'test_decoding')", [source.slot])


def assert_told(result: subprocess.CompletedProcess[str], status: int, *words: str) -> None:
    """One error and one hint."""
    assert result.returncode == status, result.stderr
    assert len(re.findall(r"^[\w-]+: error: ", result.stderr, re.M)) == 1, result.stderr
    assert len(re.findall(r"^[\w-]+: hint: ", result.stderr, re.M)) == 1, result.stderr
    for word in words:
        assert word in result.stderr


def test_a_slot_made_with_another_decoder_is_left_alone(source: Scribe) -> None:
    make_foreign_slot(source)
    result = source.run("scribe-init", check=False, env={"SCRIBE_REPLICA_IDENTITY": "full"})
    if source.settings["SCRIBE_DECODER"] == "decoder_raw":
        result = source.run("scribe-init", "--accept-gaps", check=False)
    assert_told(result, 2, f'replication slot "{source.slot}" is for', '"test_decoding"', "Set SCRIBE_SLOT")
    assert not source.archive.exists()
    assert source.cluster.query("SELECT plugin::text FROM pg_replication_slots") == [("test_decoding",)]


def test_a_slot_changed_for_one_of_another_decoder_breaks_the_chain(source: Scribe) -> None:
    init(source)
    source.cluster.query(f"SELECT pg_drop_replication_slot('{source.slot}')", source.dbname)
    make_foreign_slot(source)
    before = sorted(source.archive.rglob("*.sql*"))
    assert_told(source.run("scribe-stream", check=False), 1, "is another one", '"test_decoding"', '"scribe-init"')
    assert json.loads((source.archive / "broken.json").read_text())["reason"]
    assert sorted(source.archive.rglob("*.sql*")) == before


def test_a_spool_of_another_decoder_is_not_taken_for_ours(source: Scribe) -> None:
    init(source)
    source.start_stream()
    assert source.stop_stream() == 0
    stream = source.archive / "spool" / "stream.sql"
    for decoder in set(DECODERS) - {source.settings["SCRIBE_DECODER"]}:
        held = [path for path in stream.parent.glob("part-*.sql") if path.stat().st_size]
        for path in held:
            path.unlink()
        stream.write_bytes(SPOOLS[decoder])
        result = source.run("scribe-rotate", check=False)
        assert_told(result, 1, "is damaged", "Stop scribe-stream")
        kept = b"".join(path.read_bytes() for path in stream.parent.glob("*.sql"))
        assert SPOOLS[decoder] in kept, "nothing is thrown away"
        assert not list((source.archive / "incremental").glob("*.sql*"))


def test_an_archive_tells_which_decoder_it_was_made_with(source: Scribe) -> None:
    init(source)
    decoder = source.settings["SCRIBE_DECODER"]
    other = DECODERS[DECODERS.index(decoder) - 1]
    for program in ("scribe-init", "scribe-stream", "scribe-rotate", "scribe-dump"):
        result = source.run(program, check=False, env={"SCRIBE_DECODER": other})
        assert_told(result, 2, f'made with decoder "{decoder}"', f"Set SCRIBE_DECODER={decoder}")
    # one that is not known
    path = source.archive / "archive.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"decoder": "wal2json 2.6"}))
    del source.settings["SCRIBE_DECODER"]
    for program in ("scribe-stream", "scribe-rotate"):
        assert_told(source.run(program, check=False), 2, 'made with decoder "wal2json"', "knows scribe_decoder")
    assert not (source.archive / "broken.json").exists()


def test_a_server_that_does_not_allow_the_decoder_gets_the_remedy(sender: Scribe) -> None:
    decoder = sender.settings["SCRIBE_DECODER"]
    result = sender.run("scribe-init", check=False)
    names = ", ".join(dict.fromkeys(["pgoutput", "test_decoding", decoder]))  # the default's, as it cannot be seen
    remedy = f'ALTER ROLE "odd_sender" SET output_plugin_libraries = {names}'
    assert_told(result, 1, "requirements: ", "decoder")
    assert f'run "{remedy}" as a superuser' in result.stdout
    sender.cluster.psql(remedy)
    assert re.search(r"^ok +decoder: ", sender.run("scribe-init", "--check-only", check=False).stdout, re.M)


def test_a_superuser_is_allowed_the_decoder_for_its_own_connections(source: Scribe, cluster: Cluster) -> None:
    if not cluster.query("SELECT 1 FROM pg_settings WHERE name = 'output_plugin_libraries'"):
        pytest.skip("server version: has no output_plugin_libraries")
    cluster.psql(f"ALTER DATABASE {source.dbname} SET output_plugin_libraries = test_decoding")
    init(source)
    source.start_stream()
    assert source.stop_stream() == 0


def test_a_table_made_outside_of_the_publication_stops_the_rotation(scribe: Scribe, cluster: Cluster) -> None:
    cluster.psql(f"CREATE ROLE outsider LOGIN REPLICATION; ALTER DATABASE {scribe.dbname} OWNER TO outsider")
    try:
        scribe.settings |= {"PGUSER": "outsider", "SCRIBE_DECODER": "pgoutput"}
        cluster.psql("SET ROLE outsider; CREATE TABLE t (x int PRIMARY KEY)", scribe.dbname)
        init(scribe)
        scribe.start_stream()
        cluster.psql("INSERT INTO t VALUES (1)", scribe.dbname)
        scribe.run("scribe-rotate", "--wait-lsn", "current")
        before = sorted((scribe.archive / "incremental").iterdir())
        cluster.psql(
            "SET ROLE outsider; CREATE TABLE new (x int PRIMARY KEY); INSERT INTO new VALUES (1)", scribe.dbname
        )
        result = scribe.run("scribe-rotate", "--wait-lsn", "current", check=False)
        assert_told(result, 1, "relation public.new", '"scribe-init"')
        assert sorted((scribe.archive / "incremental").iterdir()) == before
        assert scribe.stop_stream() == 0
        scribe.run("scribe-init")
        tables = "SELECT tablename::text FROM pg_publication_tables WHERE schemaname = 'public' ORDER BY 1"
        assert cluster.query(tables, scribe.dbname) == [("new",), ("t",)]
    finally:
        scribe.close()
        cluster.psql("DROP ROLE outsider")


def test_nobody_but_a_superuser_gives_the_decoder_orders(
    cluster: Cluster, database: str, request: pytest.FixtureRequest
) -> None:
    """Neither a table that looks like the audit table, nor a message that looks like a mark."""
    cluster.psql("DO $$ BEGIN CREATE ROLE mallory LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
    cluster.psql(f'GRANT CREATE ON DATABASE "{database}" TO mallory', database)
    request.addfinalizer(lambda: cluster.psql("SELECT pg_drop_replication_slot('orders')"))
    with cluster.connect(database) as conn:
        if conn.execute("SELECT 1 FROM pg_settings WHERE name = 'output_plugin_libraries'").fetchone():
            conn.execute("SET output_plugin_libraries = scribe_decoder")
        conn.execute("SELECT pg_create_logical_replication_slot('orders', 'scribe_decoder')")
        with cluster.connect(database, user="mallory") as mallory:
            mallory.execute(
                "CREATE SCHEMA scribe CREATE TABLE ddl_history (id bigint, kind text, tag text, object_type text,"
                " object_identity text, statement text, exact boolean, reason text, role text, search_path text,"
                " settings text[], relids oid[])"
            )
            mallory.execute(
                "INSERT INTO scribe.ddl_history VALUES (1, 'ddl', 'CREATE ROLE', NULL, NULL, 'CREATE ROLE forged',"
                " true, NULL, 'postgres', '', '{}', '{}')"
            )
            mallory.execute("SELECT pg_logical_emit_message(true, 'scribe.mark', E'x\nCREATE ROLE forged;')")
            mallory.execute("SELECT pg_logical_emit_message(true, 'scribe.mark', 'true')")
        rows = conn.execute("SELECT data FROM pg_logical_slot_get_changes('orders', NULL, NULL)").fetchall()
    stream = "\n".join(row[0] for row in rows)
    assert "forged" not in stream
    assert "-- mark true" in stream
