"""Connections that fail: what is said, and whether trying again can help."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from cluster import Cluster

from scribe.common.errors import ScribeError, TryAgainError, UsageError
from scribe.common.postgres import _failure, connect


@pytest.fixture
def failure(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what connecting to hosts and ports raises."""

    def attempt(ports: list[int], user: str = "nobody_of_that_name") -> ScribeError:
        monkeypatch.setenv("PGHOST", ",".join(["127.0.0.1"] * len(ports)))
        monkeypatch.setenv("PGPORT", ",".join(map(str, ports)))
        monkeypatch.setenv("PGUSER", user)
        monkeypatch.setenv("PGDATABASE", "postgres")
        with pytest.raises(ScribeError) as raised:
            connect()
        return raised.value

    return attempt


@pytest.mark.parametrize("unreachable", [[], [1], [1, 2]])
@pytest.mark.parametrize("last", [True, False])
def test_a_servers_answer_is_told_wherever_its_address_stands(
    cluster: Cluster, failure: Any, unreachable: list[int], last: bool
) -> None:
    error = failure([*unreachable, cluster.port] if last else [cluster.port, *unreachable])
    assert isinstance(error, UsageError)
    assert error.message.endswith('FATAL: role "nobody_of_that_name" does not exist')
    assert error.message.startswith('could not connect: connection to server at "127.0.0.1", port')


@pytest.mark.parametrize("ports", [[1], [1, 2]])
def test_servers_that_cannot_be_reached_are_tried_again(failure: Any, ports: list[int]) -> None:
    error = failure(ports)
    assert isinstance(error, TryAgainError)
    assert error.message.count("Connection refused") == 1


@pytest.mark.unit
@pytest.mark.parametrize("rest", ["connection failed: FATAL:  no", "FATAL:  no"])
def test_what_psycopg_puts_before_a_servers_words_is_not_told(rest: str) -> None:
    error = psycopg.OperationalError(
        "connection timeout expired\nMultiple connection attempts failed. All failures were:\n"
        f"- host: None, port: '5432', hostaddr: None: {rest}\n- host: None, port: '5433', hostaddr: None: refused"
    )
    assert _failure(error, "host=/nowhere").message == "could not connect: FATAL: no"
