"""A throw-away cluster loads what the source loads, as far as it is there, and nothing runs in it by itself."""

from __future__ import annotations

import os

import psycopg
import pytest
from cluster import Cluster

from scribe.restore.preloads import Preloads, find_preloads
from scribe.restore.throwaway import throwaway

META = {
    "database": "shop",
    "settings": {"shared_preload_libraries": 'pg_cron, "pg_stat_statements"'},
    "extension_settings": {
        "cron.database_name": "shop",
        "cron.host": "/var/run/postgresql",
        "pgaudit.log": "ddl",
        "listen_addresses": "127.0.0.1",  # what no source says: an archive may be somebody else's
        "x=y.z": "1",
    },
}


@pytest.mark.unit
def test_settings_that_name_the_database_name_the_copy_and_paths_are_left_out() -> None:
    found = find_preloads(META, "rehearsal")
    assert found.libraries == ["pg_cron", "pg_stat_statements"]
    assert found.settings == {"cron.database_name": "rehearsal", "pgaudit.log": "ddl"}


@pytest.mark.unit
def test_a_base_of_an_older_version_has_no_such_settings() -> None:
    found = find_preloads({"database": "shop", "settings": {}}, "rehearsal")
    assert found.options() == []


def test_a_library_that_is_not_there_is_left_out_and_named(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{cluster.bindir}:{os.environ['PATH']}")
    preloads = Preloads(["no_such_library", "auto_explain"], {"auto_explain.log_min_duration": "77"})
    with throwaway(cluster.version_num // 10000, None, preloads) as made:
        where = f"host={made.sockets} port=5432 user={made.env['PGUSER']} dbname=postgres"
        with psycopg.connect(where) as conn:
            assert conn.execute("SHOW auto_explain.log_min_duration").fetchall() == [("77ms",)]
            assert conn.execute("SHOW max_worker_processes").fetchall() == [("0",)]
            assert conn.execute("SHOW dynamic_shared_memory_type").fetchall() == [("mmap",)]
    assert [*preloads.missing] == ["no_such_library"]
    assert "No such file" in preloads.describe_missing()[0]


def test_a_server_gets_no_passwords_of_who_starts_it(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Code of the source's users runs in it, as a superuser who can read what the server was given."""
    monkeypatch.setenv("PATH", f"{cluster.bindir}:{os.environ['PATH']}")
    for name in ("AWS_SECRET_ACCESS_KEY", "PGPASSWORD", "RESTIC_PASSWORD", "SCRIBE_REMOTE"):
        monkeypatch.setenv(name, "not-for-others")
    with throwaway(cluster.version_num // 10000) as made:
        where = f"host={made.sockets} port=5432 user={made.env['PGUSER']} dbname=postgres"
        with psycopg.connect(where) as conn:
            conn.execute("CREATE TEMP TABLE given (line text)")
            conn.execute("COPY given FROM PROGRAM 'env'")
            lines = [line for (line,) in conn.execute("TABLE given")]
    assert any(line.startswith("PATH=") for line in lines)
    assert [line for line in lines if "not-for-others" in line] == []
