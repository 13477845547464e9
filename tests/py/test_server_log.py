"""scribe-log --server-log: who made which transaction, as the logs of a real server tell."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import Cluster, install_decoder
from source import Scribe


@pytest.fixture(scope="module")
def logging(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Scribe, list[Path]]]:
    """A source whose server writes logs for programs, its archive, and those logs."""
    cluster = Cluster()
    install_decoder(cluster.pg_config)
    try:
        cluster.create(logging_collector="on", log_destination="csvlog", log_statement="mod", log_filename="server.log")
        if cluster.version_num >= 150000:
            cluster.psql("ALTER SYSTEM SET log_destination = csvlog, jsonlog; SELECT pg_reload_conf()")
        cluster.createdb("shop")
        scribe = Scribe(cluster, "shop", tmp_path_factory.mktemp("shop") / "archive")
        cluster.psql(
            "CREATE TABLE t (id int PRIMARY KEY, v text); CREATE ROLE app LOGIN; GRANT ALL ON t TO app", "shop"
        )
        try:
            scribe.run("scribe-init")
            scribe.start_stream()
            with cluster.connect("shop", user="app", application_name='till, "1"', autocommit=False) as conn:
                conn.execute("INSERT INTO t VALUES (1, 'it''s, \"one\"\n')")
                conn.execute("UPDATE t SET v = 'two'")
            cluster.psql("BEGIN; INSERT INTO t VALUES (2); DELETE FROM t WHERE id = 2; COMMIT", "shop")
            scribe.run("scribe-rotate", "--wait-lsn", "current")
            yield scribe, [path for path in (cluster.data / "log").iterdir() if path.suffix in (".csv", ".json")]
        finally:
            scribe.close()
    finally:
        cluster.remove(keep_files=False)


def test_each_form_tells_who_made_a_transaction_of_several_statements(logging) -> None:
    scribe, paths = logging
    assert len(paths) == (2 if scribe.cluster.version_num >= 150000 else 1)
    for path in paths:
        lines = scribe.run("scribe-log", "--table", "t", "--server-log", str(path), "--reverse").stdout.splitlines()
        assert [line.split(" by ")[1] for line in lines] == ['app (till, "1")', "postgres (psql)"]
        found = scribe.run("scribe-log", "--role", "app", "--server-log", str(path), "--json").stdout.splitlines()
        assert [(json.loads(line)["kind"], json.loads(line)["asked_by"]) for line in found] == [
            ("insert", "app"),
            ("update", "app"),
        ]
    assert scribe.run("scribe-log", "--role", "app").stdout == ""


def test_a_file_of_another_form_is_refused(logging, tmp_path: Path) -> None:
    scribe, _ = logging
    (tmp_path / "log").write_text("2026-11-22 LOG: of the form for people\n")
    for name, status, said in (("log", 1, "is no jsonlog or csvlog"), ("absent", 2, "No such file")):
        result = scribe.run("scribe-log", "--server-log", str(tmp_path / name), check=False)
        assert (result.returncode, said in result.stderr) == (status, True), result.stderr
