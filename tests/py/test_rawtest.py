"""decoder_raw: the test of the installed build at scribe-init, and the guard that keeps it from crashing the server."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from cluster import Cluster, poll
from compare import assert_equal
from source import Scribe

from scribe.common.postgres import connect
from scribe.decoders.decoder_raw import trial as gaps
from scribe.decoders.decoder_raw.trial_cases import PROBES
from scribe.source import capture


@pytest.fixture(scope="session")
def with_plugin(cluster: Cluster) -> None:
    """Skip where this server has no decoder_raw."""
    libraries = subprocess.check_output([cluster.pg_config, "--pkglibdir"], text=True).strip()
    if not Path(libraries, "decoder_raw.so").exists():
        pytest.skip("place: decoder_raw is not installed in this server")


@pytest.fixture
def guarded(cluster: Cluster, database: str) -> Iterator[psycopg.Connection[object]]:
    """A database with capture and the guard."""
    with cluster.connect(database) as conn:
        capture.install(conn, "full", "decoder_raw")
        conn.execute("RESET search_path")  # the files have set their own
        yield conn


INDEXED = (
    "CREATE TABLE t (a int PRIMARY KEY, b text); INSERT INTO t VALUES (1, 'x'), (2, 'y'), (3, NULL);"
    "ALTER TABLE t REPLICA IDENTITY USING INDEX t_pkey;"
)
IDENTITY = "SELECT relreplident::text FROM pg_class WHERE oid = 't'::regclass"


@pytest.mark.parametrize(
    "drop",
    [
        "ALTER TABLE t DROP CONSTRAINT t_pkey",
        "ALTER TABLE t DROP a",
        "DO $$ BEGIN ALTER TABLE t DROP CONSTRAINT t_pkey; DELETE FROM t WHERE b = 'x'; END $$",
        "SET session_replication_role = replica; ALTER TABLE t DROP CONSTRAINT t_pkey; RESET session_replication_role",
        # capture itself cannot write: the guard does without
        'ALTER EVENT TRIGGER "!scribe_4_end" DISABLE; ALTER TABLE t DROP CONSTRAINT t_pkey;'
        'ALTER EVENT TRIGGER "!scribe_4_end" ENABLE ALWAYS',
    ],
)
def test_a_table_whose_identity_index_goes_gets_full_at_once(guarded: psycopg.Connection[object], drop: str) -> None:
    guarded.execute(INDEXED)
    guarded.execute(drop)
    assert guarded.execute(IDENTITY).fetchone() == ("f",)
    recorded = "SELECT count(*) FROM scribe.ddl_history WHERE statement LIKE '%REPLICA IDENTITY FULL'"
    assert guarded.execute(recorded).fetchone() == (1,)


def test_what_goes_with_another_table_is_guarded_too(guarded: psycopg.Connection[object]) -> None:
    guarded.execute(
        "CREATE TABLE of_type (x int PRIMARY KEY); CREATE TABLE t (a of_type NOT NULL, b text);"
        "CREATE UNIQUE INDEX t_a ON t (a); ALTER TABLE t REPLICA IDENTITY USING INDEX t_a"
    )
    guarded.execute("DROP TABLE of_type CASCADE")
    assert guarded.execute(IDENTITY).fetchone() == ("f",)


def test_where_identities_are_refused_the_command_is(cluster: Cluster, database: str) -> None:
    with cluster.connect(database) as conn:
        capture.install(conn, "refuse", "decoder_raw")
        conn.execute("RESET search_path")
        conn.execute(INDEXED)
        with pytest.raises(psycopg.Error, match="would have no usable replica identity"):
            conn.execute("ALTER TABLE t DROP CONSTRAINT t_pkey")
        assert conn.execute(IDENTITY).fetchone() == ("i",)
        assert conn.execute("SELECT to_regclass('t_pkey') IS NOT NULL").fetchone() == (True,)


def test_an_invalid_index_is_no_identity(guarded: psycopg.Connection[object]) -> None:
    guarded.execute("CREATE TABLE t (a int NOT NULL); INSERT INTO t VALUES (1), (1)")
    with pytest.raises(psycopg.errors.UniqueViolation):
        guarded.execute("CREATE UNIQUE INDEX CONCURRENTLY t_a ON t (a)")
    with contextlib.suppress(psycopg.Error):  # servers differ in whether they allow it
        guarded.execute("ALTER TABLE t REPLICA IDENTITY USING INDEX t_a")
    assert guarded.execute(IDENTITY).fetchone() == ("f",)


def test_an_identity_index_is_not_dropped_concurrently(guarded: psycopg.Connection[object]) -> None:
    guarded.execute(
        'CREATE TABLE t (a int NOT NULL); CREATE UNIQUE INDEX "Odd ""index"" é" ON t (a); CREATE INDEX other ON t (a);'
        'ALTER TABLE t REPLICA IDENTITY USING INDEX "Odd ""index"" é"'
    )
    name = '"Odd ""index"" é"'
    for written in (name, f"public . {name}", f"/* no */ IF EXISTS {name}"):
        with pytest.raises(psycopg.Error, match="dropping it concurrently could crash the server"):
            guarded.execute(f"DROP INDEX CONCURRENTLY {written}")  # type: ignore[arg-type]
    guarded.execute("DROP INDEX CONCURRENTLY other")
    for long in ("x" * 63, "x" + "é" * 31):  # the server cuts names at 63 bytes, and between characters
        guarded.execute(f"ALTER INDEX {name} RENAME TO {long}")  # type: ignore[arg-type]
        name = f"{long}yé"
        with pytest.raises(psycopg.Error, match="dropping it concurrently could crash the server"):
            guarded.execute(f"DROP INDEX CONCURRENTLY {name}")  # type: ignore[arg-type]
    guarded.execute("ALTER TABLE t REPLICA IDENTITY FULL")
    guarded.execute(f"DROP INDEX CONCURRENTLY {name}")  # type: ignore[arg-type]


@pytest.mark.usefixtures("with_plugin")
def test_the_server_survives_what_crashes_it_without_the_guard(
    cluster: Cluster, guarded: psycopg.Connection[object]
) -> None:
    allow = "SELECT set_config(name, 'decoder_raw', false) FROM pg_settings WHERE name = 'output_plugin_libraries'"
    guarded.execute(allow)
    guarded.execute("SELECT pg_create_logical_replication_slot('raw', 'decoder_raw', true)")
    guarded.execute(INDEXED)
    guarded.execute("ALTER TABLE t DROP CONSTRAINT t_pkey; UPDATE t SET b = 'z' WHERE a = 1; DELETE FROM t WHERE a > 1")
    rows = guarded.execute("SELECT data FROM pg_logical_slot_get_changes('raw', NULL, NULL)").fetchall()
    texts = [str(row[0]) for row in rows if " public.t " in str(row[0])]  # type: ignore[index]
    assert "UPDATE public.t SET a = 1, b = 'z' WHERE a = 1 AND b = 'x';" in texts
    assert "DELETE FROM public.t WHERE a = 3 AND b = null;" in texts
    assert cluster.running()


# --- scribe-init tries the installed build ----------------------------------------------------------------------------

SOME_TABLES = """
CREATE TABLE keyed (id int PRIMARY KEY, f float8);
CREATE TABLE "no key" (a int, j json);
CREATE TABLE made (id int PRIMARY KEY, g int GENERATED ALWAYS AS (id * 2) STORED);
CREATE TABLE broken (id int PRIMARY KEY);
ALTER TABLE broken REPLICA IDENTITY USING INDEX broken_pkey;
ALTER TABLE broken DROP CONSTRAINT broken_pkey;
"""


@pytest.fixture
def source(scribe: Scribe) -> Scribe:
    """A source with tables, whose decoder is decoder_raw."""
    scribe.settings |= {"SCRIBE_DECODER": "decoder_raw", "SCRIBE_COMPRESS": "none"}
    scribe.cluster.psql(SOME_TABLES, scribe.dbname)
    return scribe


def databases(cluster: Cluster) -> list[tuple[object, ...]]:
    """The databases that tests of the plugin have left."""
    return cluster.query("SELECT datname FROM pg_database WHERE datname LIKE 'scribe_test_of_%'")


def nothing_is_left(source: Scribe) -> bool:
    """Whether scribe-init has changed nothing."""
    rest = source.cluster.query(
        "SELECT 1 FROM pg_namespace WHERE nspname = 'scribe' UNION ALL SELECT 1 FROM pg_replication_slots",
        source.dbname,
    )
    return rest == databases(source.cluster) == [] and not source.archive.exists()


@pytest.mark.usefixtures("with_plugin")
def test_what_a_build_loses_has_to_be_accepted(source: Scribe) -> None:
    refused = source.run("scribe-init", check=False)
    assert refused.returncode == 1 and nothing_is_left(source)
    assert "has gaps that nobody has accepted: positions, no_identity" in refused.stderr
    assert 'hint: Read the lines marked "failed", then run "scribe-init --accept-gaps"' in refused.stderr
    lost = re.search(r"^failed +gap no_identity: .*\(2 tables now: (.*)\)", refused.stdout, re.M)
    assert lost and lost[1] == '"public"."broken", "public"."no key"'
    for name, table in (("types_without_equality", "no key"), ("generated_columns", "made"), ("minus_zero", "keyed")):
        mended = rf'^ok +fault {name}: .*\(1 tables now: "public"."{table}"\): mended at rotation$'
        assert re.search(mended, refused.stdout, re.M), name
    looked = source.run("scribe-init", "--check-only", "--json", check=False)
    assert looked.returncode == 1 and nothing_is_left(source)
    verdicts = {check["name"]: check["verdict"] for check in json.loads(looked.stdout)}
    assert verdicts["gap positions"] == "failed" and verdicts["fault truncate_only"] == "ok"
    assert source.run("scribe-init", "--check-only", "--accept-gaps", "-q").returncode == 0


@pytest.mark.usefixtures("with_plugin")
def test_what_was_accepted_is_on_record(source: Scribe) -> None:
    names = ["positions", "no_identity"]
    source.run("scribe-init", "--accept-gaps")
    assert databases(source.cluster) == []
    identity = json.loads((source.archive / "archive.json").read_text())
    assert [gap["name"] for gap in identity["accepted_gaps"]] == names
    manifest = json.loads(next(source.archive.glob("base/*/manifest.json")).read_text())
    assert manifest["accepted_gaps"] == names
    identities = "SELECT relname::text FROM pg_class WHERE relreplident = 'f' AND relnamespace = 'public'::regnamespace"
    assert source.cluster.query(f"{identities} ORDER BY 1", source.dbname) == [("broken",), ("no key",)]
    assert "everything is in place" in source.run("scribe-init", "-v").stderr
    said = source.run("scribe-check", "--only", "decoder", "--format", "json", check=False).stdout
    assert "accepted gaps: positions, no_identity" in said
    assert "a gap of the decoder was accepted: transactions come without" in source.run("scribe-verify").stderr
    # another build, which loses more than was accepted
    (source.archive / "archive.json").write_text(json.dumps(identity | {"accepted_gaps": []}))
    again = source.run("scribe-init", check=False)
    assert again.returncode == 1 and "nobody has accepted: positions, no_identity" in again.stderr
    source.run("scribe-init", "--accept-gaps")
    assert json.loads((source.archive / "archive.json").read_text()) == identity


@pytest.mark.usefixtures("with_plugin")
def test_what_a_killed_test_has_left_goes_with_the_next(source: Scribe, cluster: Cluster) -> None:
    oid = cluster.value(f"SELECT oid FROM pg_database WHERE datname = '{source.dbname}'")
    name = f"scribe_test_of_{oid}"
    cluster.psql(f"CREATE DATABASE {name}; COMMENT ON DATABASE {name} IS '{gaps.MARK}'")
    source.run("scribe-init", "--check-only", "--accept-gaps")
    assert databases(cluster) == []
    cluster.psql(f"CREATE DATABASE {name}; COMMENT ON DATABASE {name} IS '{gaps.MARK}'")
    source.run("scribe-init", "--remove")
    assert databases(cluster) == []
    cluster.psql(f"CREATE DATABASE {name}; COMMENT ON DATABASE {name} IS 'mine'")
    try:
        refused = source.run("scribe-init", check=False)
        assert refused.returncode == 1 and f'database "{name}" exists and is not pg_scribe' in refused.stdout
        assert databases(cluster) == [(name,)]
    finally:
        cluster.dropdb(name)


def test_the_throw_away_database_is_nobody_elses(
    cluster: Cluster, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (cluster.env | {"PGDATABASE": database}).items():
        monkeypatch.setenv(name, value)
    cluster.psql("CREATE ROLE scribe_stranger LOGIN CREATEDB")
    try:
        with connect() as conn:
            with gaps.throwaway_database(conn) as name:
                with pytest.raises(psycopg.OperationalError, match="CONNECT"):
                    cluster.connect(name, user="scribe_stranger")
                cluster.connect(name).close()
            for words, goes in (
                (f"CREATE DATABASE {name}", False),
                (f"CREATE DATABASE {name} OWNER scribe_stranger; COMMENT ON DATABASE {name} IS '{gaps.MARK}'", False),
                (f"CREATE DATABASE {name} ALLOW_CONNECTIONS false", True),  # by a run that was killed right after it
                (f"CREATE DATABASE {name}; COMMENT ON DATABASE {name} IS '{gaps.MARK}'", True),
            ):
                cluster.psql(words)
                if goes:
                    assert gaps.remove_database(conn)
                    continue
                with pytest.raises(gaps.ScribeError, match="is not pg_scribe's"):
                    gaps.remove_database(conn)
                cluster.dropdb(name)
    finally:
        cluster.psql("DROP ROLE scribe_stranger")


@pytest.mark.usefixtures("with_plugin")
def test_a_build_that_crashes_the_server_is_refused(
    cluster: Cluster, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (cluster.env | {"PGDATABASE": database}).items():
        monkeypatch.setenv(name, value)
    crash = INDEXED + "ALTER TABLE t DROP CONSTRAINT t_pkey"
    probe = replace(PROBES[0], name="crash", setup=crash, work="DELETE FROM t")
    with connect() as conn, pytest.raises(gaps.ScribeError, match="closed the connection while decoder_raw was tried"):
        gaps.run_probes(conn, [probe], 10)
    found: list[bool] = []

    def remove() -> bool:
        with contextlib.suppress(psycopg.OperationalError), cluster.connect(database) as conn:  # it may still recover
            found.append(gaps.remove_database(conn))
            return databases(cluster) == []
        return False

    poll(remove, 30, "a server without the throw-away database")
    assert any(found)


@pytest.mark.usefixtures("with_plugin")
def test_what_is_called_mended_is_restored_equal(scribe: Scribe, cluster: Cluster) -> None:
    """The workloads that tell what a build does, and what the guard does, through stream, rotation and restore."""
    scribe.settings |= {"SCRIBE_DECODER": "decoder_raw", "SCRIBE_COMPRESS": "none"}
    probes = [probe for probe in PROBES if cluster.version_num >= probe.since]
    with cluster.connect(scribe.dbname) as conn:
        for probe in probes:
            conn.execute(probe.setup.encode())
        conn.execute(INDEXED)
        scribe.run("scribe-init", "--accept-gaps")
        scribe.start_stream()
        for probe in probes:
            conn.execute(b"BEGIN; " + probe.work.encode() + b"; COMMIT")
        conn.execute(
            "ALTER TABLE t DROP CONSTRAINT t_pkey; UPDATE t SET b = 'z' WHERE b IS NULL; DELETE FROM t WHERE a = 1"
        )
    scribe.run("scribe-rotate", "--wait-lsn", "current")
    assert scribe.stop_stream() == 0 and cluster.running()
    manifests = [json.loads(path.read_text()) for path in (scribe.archive / "incremental").glob("*.json")]
    assert manifests and all(each["accepted_gaps"] == ["positions", "no_identity"] for each in manifests)
    assert [warning for each in manifests for warning in each["warnings"]] == []
    expected = cluster.dump(scribe.dbname, unlogged=False)
    restored, by_psql = f"{scribe.dbname}_restore", f"{scribe.dbname}_psql"
    try:
        scribe.run("scribe-restore", "-d", restored, "--no-globals")
        assert_equal(expected, cluster.dump(restored, unlogged=False), ("source", "scribe-restore"))
        scribe.restore_with_psql(by_psql)
        assert_equal(expected, cluster.dump(by_psql, unlogged=False), ("source", "psql alone"))
    finally:
        cluster.dropdb(restored)
        cluster.dropdb(by_psql)


def test_accepting_gaps_is_for_decoder_raw(scribe: Scribe) -> None:
    for decoder in ("scribe_decoder", "pgoutput"):
        result = scribe.run("scribe-init", "--accept-gaps", check=False, env={"SCRIBE_DECODER": decoder})
        assert result.returncode == 2 and "hint:" in result.stderr
        assert f'option --accept-gaps is for decoder_raw, and the decoder is "{decoder}"' in result.stderr
    assert not scribe.archive.exists()


@pytest.mark.usefixtures("with_plugin")
def test_without_identities_nothing_is_begun_where_they_are_refused(source: Scribe) -> None:
    source.settings["SCRIBE_REPLICA_IDENTITY"] = "refuse"
    result = source.run("scribe-init", "--accept-gaps", check=False)
    assert result.returncode == 1 and "requirements: replica identity" in result.stderr
    assert 'run "ALTER TABLE "public"."broken" REPLICA IDENTITY FULL"' in result.stdout and nothing_is_left(source)


@pytest.mark.usefixtures("with_plugin")
def test_a_stream_that_would_crash_the_server_is_not_started(source: Scribe) -> None:
    source.run("scribe-init", "--accept-gaps", "--no-base")
    source.cluster.psql(
        'ALTER EVENT TRIGGER "!scribe_4_end" DISABLE; ALTER EVENT TRIGGER "!scribe_5_guard" DISABLE;'
        "CREATE TABLE t (a int PRIMARY KEY); ALTER TABLE t REPLICA IDENTITY USING INDEX t_pkey;"
        "ALTER TABLE t DROP CONSTRAINT t_pkey; DELETE FROM t",
        source.dbname,
    )
    result = source.run("scribe-stream", check=False)
    assert result.returncode == 1 and 'run "ALTER TABLE "public"."t" REPLICA IDENTITY FULL"' in result.stderr
    source.cluster.psql("ALTER TABLE t REPLICA IDENTITY FULL", source.dbname)
    assert source.run("scribe-stream", check=False).returncode == 1, "what was done before is still to be decoded"
    assert source.cluster.running()


@pytest.mark.usefixtures("with_plugin")
def test_a_server_that_is_crashed_again_and_again_is_left_in_peace(source: Scribe) -> None:
    """Where the guard was out of force: what crashed the server once does so at each new start of the stream."""
    source.run("scribe-init", "--accept-gaps", "--no-base")
    stream = source.start_stream()
    source.cluster.psql(
        'ALTER EVENT TRIGGER "!scribe_4_end" DISABLE; ALTER EVENT TRIGGER "!scribe_5_guard" DISABLE;'
        "CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1);"
        "ALTER TABLE t REPLICA IDENTITY USING INDEX t_pkey;"
        "BEGIN; ALTER TABLE t DROP CONSTRAINT t_pkey; DELETE FROM t; ALTER TABLE t REPLICA IDENTITY FULL; COMMIT",
        source.dbname,
        check=False,  # the crash may end this session, too, before it is told of its COMMIT
    )
    assert stream.wait(60) == 1
    said = source.log.read_text()
    assert "the server crashed 3 times in a row when the decoder had begun to work" in said
    assert 'hint: Run "scribe-init" to begin a new chain' in said
    assert (source.archive / "broken.json").exists()
    source.run("scribe-init", "--no-base")
    source.start_stream()
    assert source.stop_stream() == 0


@pytest.mark.usefixtures("with_plugin")
def test_a_role_that_may_not_use_it_is_told_the_remedy(source: Scribe, cluster: Cluster) -> None:
    if not cluster.query("SELECT 1 FROM pg_settings WHERE name = 'output_plugin_libraries'"):
        pytest.skip("server version: has no output_plugin_libraries")
    cluster.psql("CREATE ROLE raw_sender LOGIN REPLICATION;")
    try:
        result = source.run("scribe-init", "-U", "raw_sender", check=False)
        remedy = 'ALTER ROLE "raw_sender" SET output_plugin_libraries = pgoutput, test_decoding, decoder_raw'
        assert result.returncode == 1 and f'run "{remedy}" as a superuser' in result.stdout
    finally:
        cluster.psql("DROP ROLE raw_sender")


def test_a_server_without_the_plugin_is_told_so(source: Scribe, cluster: Cluster) -> None:
    libraries = subprocess.check_output([cluster.pg_config, "--pkglibdir"], text=True).strip()
    if Path(libraries, "decoder_raw.so").exists():
        pytest.skip("place: decoder_raw is installed in this server")
    result = source.run("scribe-init", check=False)
    assert result.returncode == 1 and nothing_is_left(source)
    assert re.search(r"^failed +decoder: could not access file .*; install decoder_raw for this", result.stdout, re.M)


# --- other builds -----------------------------------------------------------------------------------------------------

BY_NAME = {probe.name: probe for probe in PROBES}


@pytest.mark.unit
@pytest.mark.parametrize(
    ("probe", "text", "verdict"),
    [
        (
            "null_identity",
            "UPDATE public.nulls SET a = 2, b = null WHERE a = 1 AND b = null;\n"
            "DELETE FROM public.nulls WHERE a = 2 AND b = null;",
            "mended",
        ),
        ("null_identity", "UPDATE public.nulls SET a = 2 WHERE a = 1;\nDELETE FROM public.nulls WHERE a = 2;", "lost"),
        ("minus_zero", "INSERT INTO public.zeros (id, f) VALUES (1, 0);", "lost"),
        ("minus_zero", "INSERT INTO public.zeros (id, f) VALUES (1, '-0');", "right"),
        ("truncate", "TRUNCATE public.one, public.three, public.two RESTART IDENTITY CASCADE;", "lost"),
        ("truncate", "TRUNCATE public.one, public.three, public.heir, public.two RESTART IDENTITY CASCADE;", "right"),
        ("truncate", "TRUNCATE public.one, public.three, public.heir, public.two CASCADE;", "lost"),
        ("rolled_back", "MERGE INTO public.tried USING x ON y;", "lost"),
        (
            "toast_only_update",
            "UPDATE public.toasted SET k = unchanged-toast-datum WHERE k = unchanged-toast-datum;",
            "lost",
        ),
        ("changed_key", "UPDATE public.keys SET a = 1, b = 'y', v = 3 WHERE a = 1 AND b = 'y';", "lost"),
    ],
)
def test_another_build_is_judged_by_what_its_text_holds(probe: str, text: str, verdict: str) -> None:
    messages = [b"BEGIN;", *text.encode().split(b"\n"), b"COMMIT;"]
    finding = gaps.judge(BY_NAME[probe], messages)
    assert ("right" if finding is None else "lost" if finding.lost else "mended") == verdict


@pytest.mark.unit
def test_a_build_without_frames_cannot_be_used() -> None:
    with pytest.raises(gaps.ScribeError, match='does not write BEGIN; ... COMMIT; but "BEGIN 7 ... COMMIT 7"'):
        gaps.find_frames({"no_identity": [], "numbers": [b"BEGIN 7", b"COMMIT 7"]})
    with pytest.raises(gaps.ScribeError, match="writes nothing"):
        gaps.find_frames({"numbers": []})
    assert gaps.find_frames({"no_identity": [], "numbers": [b"BEGIN;", b"COMMIT;"]}) is not None
