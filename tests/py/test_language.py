"""A server that speaks another language: what is decided by its answers is decided as in English."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from cluster import Cluster, install_decoder
from source import Scribe

from scribe.common import postgres
from scribe.common.errors import TryAgainError, UsageError
from scribe.common.postgres import child_environment, connect
from scribe.dump import base


@pytest.fixture(scope="module")
def german() -> Iterator[Cluster]:
    """A cluster whose messages are German, with few connections."""
    cluster = Cluster()
    install_decoder(cluster.pg_config)
    cluster.server_env = {"LANGUAGE": "de"}
    try:
        few = {"max_connections": "8", "superuser_reserved_connections": "2", "max_wal_senders": "2"}
        cluster.create(lc_messages="C.UTF-8", **few)
        with cluster.connect() as conn, pytest.raises(psycopg.errors.DivisionByZero) as raised:
            conn.execute("SELECT 1/0")
        if "division by zero" in str(raised.value):
            pytest.skip("place: this server has no German messages")
        yield cluster
    finally:
        cluster.remove()


@pytest.fixture
def at_german(german: Cluster, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """The environment of this process leads to the German cluster."""
    for name, value in {"PGHOST": german.host, "PGPORT": str(german.port), "PGUSER": "postgres"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PGDATABASE", "postgres")
    return german


def all_slots(cluster: Cluster, stack: contextlib.ExitStack) -> None:
    """Take every connection there is."""
    with contextlib.suppress(psycopg.OperationalError):
        while True:
            stack.enter_context(cluster.connect())


def test_no_connection_left_is_tried_again_in_any_language(at_german: Cluster) -> None:
    with contextlib.ExitStack() as stack:
        all_slots(at_german, stack)
        with pytest.raises(TryAgainError, match="Verbindungen|Clients|FATAL"):
            connect()


def test_no_walsender_left_is_tried_again(at_german: Cluster) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(connect(replication=True))
        with pytest.raises(TryAgainError):
            connect(replication=True)


def test_a_wrong_name_is_a_wrong_configuration_in_any_language(
    at_german: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGDATABASE", "nowhere")
    with pytest.raises(UsageError, match="nowhere"):
        connect()
    monkeypatch.setenv("PGUSER", "nobody_of_that_name")
    with pytest.raises(UsageError):
        connect()


def test_a_superusers_connections_and_children_hear_english(at_german: Cluster) -> None:
    with connect() as conn:
        with pytest.raises(psycopg.errors.DivisionByZero, match="division by zero"):
            conn.execute("SELECT 1/0")
        environment = child_environment(conn, "-c work_mem=1MB", PGAPPNAME="x")
    assert "-c lc_messages=C" in environment["PGOPTIONS"] and "-c work_mem=1MB" in environment["PGOPTIONS"]
    assert (environment["LC_ALL"], environment["PGAPPNAME"]) == ("C", "x")


def test_a_role_that_may_not_choose_the_language_connects_all_the_same(
    at_german: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_german.psql("CREATE ROLE plain LOGIN REPLICATION")
    monkeypatch.setenv("PGUSER", "plain")
    with connect() as conn, connect(replication=True):
        assert "lc_messages" not in child_environment(conn)["PGOPTIONS"]


def test_init_stream_and_base_work_on_a_server_in_another_language(german: Cluster, tmp_path: Path) -> None:
    german.createdb("meeting")
    german.psql("CREATE TABLE here AS SELECT 1 AS a", "meeting")
    source = Scribe(german, "meeting", tmp_path / "archive")
    try:
        source.run("scribe-init", "--no-base")
        source.start_stream()
        source.run("scribe-dump", "--no-prune")
        assert source.stop_stream(signal.SIGTERM) == 0
        assert len(list((source.archive / "base").iterdir())) == 1
    finally:
        source.close()


@pytest.mark.unit
def test_sqlstates_decide_whether_to_try_again() -> None:
    busy = ["53300", "53200", "57P01", "57P02", "57P03", "08006"]
    wrong = ["28P01", "28000", "3D000", "42501"]
    assert [bool(postgres._BUSY.fullmatch(state)) for state in busy + wrong] == [True] * 6 + [False] * 4


@pytest.mark.unit
def test_a_dump_that_fails_in_another_language_is_taken_again() -> None:
    assert base._MOVED.search('pg_dump: error: query failed: FEHLER:  Relation "public.gone" existiert nicht')
    assert base._MOVED.search("pg_dump: error: query failed: ERROR:  deadlock detected")
    assert not base._MOVED.search("pg_dump: error: query failed: ERROR:  permission denied for table secret")
