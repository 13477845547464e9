"""The checks of the source: every alarm is provoked by its real condition, and cleared by doing what its hint says."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from checking import check, report, state
from cluster import ROOT, Cluster, poll
from handmade import Handmade
from source import Scribe

from scribe.common.settings import load_settings
from scribe.health.facts import Survey
from scribe.health.findings import Limit, State
from scribe.health.probes_server import check_server


@contextmanager
def server_setting(cluster: Cluster, name: str, value: str) -> Iterator[None]:
    """Set a setting of the server for one block, by reloading."""
    with cluster.connect() as conn:
        conn.execute(f"ALTER SYSTEM SET {name} = '{value}'")
        conn.execute("SELECT pg_reload_conf()")
        try:
            yield
        finally:
            conn.execute(f"ALTER SYSTEM RESET {name}")
            conn.execute("SELECT pg_reload_conf()")


def test_a_table_that_lost_its_key_is_critical_until_it_has_an_identity(watched):
    watched.cluster.psql(
        'CREATE TABLE bare (id int PRIMARY KEY); ALTER EVENT TRIGGER "!scribe_4_end" DISABLE; '
        'ALTER TABLE bare DROP CONSTRAINT bare_pkey; ALTER EVENT TRIGGER "!scribe_4_end" ENABLE ALWAYS',
        "watched",
    )
    finding = check(watched, "identity")
    assert (finding["state"], "public.bare" in finding["hint"]) == ("CRITICAL", True)
    watched.cluster.psql(str(re.search(r'run "(ALTER TABLE .* FULL)"', finding["hint"])[1]), "watched")
    watched.cluster.psql("DROP TABLE bare", "watched")
    watched.run("scribe-rotate", "--wait-lsn", "current")  # flags that nothing recorded how the key went
    clear_ddl(watched)
    assert state(watched, "identity") == "OK"


def test_a_disabled_or_missing_event_trigger_is_critical(watched):
    watched.cluster.psql('ALTER EVENT TRIGGER "!scribe_2_drop" DISABLE', "watched")
    finding = check(watched, "capture")
    assert (finding["state"], "disabled" in finding["text"]) == ("CRITICAL", True)
    watched.cluster.psql(str(re.search(r"'(ALTER [^']*)'", finding["hint"])[1]), "watched")
    assert state(watched, "capture") == "OK"
    watched.cluster.psql('DROP EVENT TRIGGER "!scribe_2_drop"', "watched")
    finding = check(watched, "capture")
    assert (finding["state"], "missing" in finding["text"]) == ("CRITICAL", True)
    watched.cluster.psql((ROOT / "sql/capture.sql").read_text(), "watched")
    assert state(watched, "capture") == "OK"


def test_event_triggers_that_are_switched_off_are_critical(watched):
    if watched.cluster.version_num < 170000:
        pytest.skip("server version: there is no setting event_triggers before 17")
    with server_setting(watched.cluster, "event_triggers", "off"):
        finding = check(watched, "capture")
        assert (finding["state"], "ALTER SYSTEM RESET event_triggers" in finding["hint"]) == ("CRITICAL", True)
    assert state(watched, "capture") == "OK"


def test_ddl_that_was_not_captured_is_told_until_a_base_holds_it(watched):
    assert state(watched, "ddl") == "OK"
    wait = "ALTER FUNCTION scribe.command_end() SET lock_timeout = {}"
    with watched.cluster.connect("watched") as other:
        other.execute(wait.format("'100ms'"))  # a minute is what it is given otherwise
        other.execute("BEGIN")
        other.execute("LOCK TABLE scribe.ddl_history")  # capture gives up, and cannot write even that
        watched.cluster.psql("ALTER TABLE item ADD COLUMN lost int", "watched")
        other.execute("ROLLBACK")
        other.execute(wait.format("'1min'"))
    watched.run("scribe-rotate", "--wait-lsn", "current")
    finding = check(watched, "ddl")
    assert (finding["state"], finding["values"]["lost_ddl"]) == ("CRITICAL", 1)
    assert ("ALTER TABLE" in finding["text"], "scribe-dump" in finding["hint"]) == (True, True)
    clear_ddl(watched)


def test_ddl_that_was_captured_inexactly_is_a_warning(watched):
    row = "('ddl', 'COMMENT', 'COMMENT ON TABLE public.item IS NULL', false, 'a test', 'postgres', '')"
    columns = "(kind, tag, statement, exact, reason, role, search_path)"
    watched.cluster.psql(f"INSERT INTO scribe.ddl_history {columns} VALUES {row}", "watched")
    finding = check(watched, "ddl")
    assert (finding["state"], finding["values"]["inexact_ddl"]) == ("WARNING", 1)
    assert state(watched, "ddl", "-w", "5") == "OK"
    clear_ddl(watched)


def clear_ddl(scribe: Scribe) -> None:
    """Take a base, in a later second than the change: manifests have whole seconds."""
    second = int(time.time())
    poll(lambda: int(time.time()) > second, 5, "the next second")
    scribe.run("scribe-dump")
    assert state(scribe, "ddl") == "OK"


def test_a_decoder_that_is_not_installed_is_critical(watched, tmp_path):
    archive = tmp_path / "archive"
    subprocess.run(["cp", "-R", watched.archive, archive], check=True)
    identity = json.loads((archive / "archive.json").read_text())
    (archive / "archive.json").write_text(json.dumps(identity | {"decoder": "no_such_decoder 1.0"}))
    finding = check(watched, "decoder", SCRIBE_ARCHIVE=str(archive))
    assert (finding["state"], "Install no_such_decoder" in finding["hint"]) == ("CRITICAL", True)
    assert state(watched, "slot", SCRIBE_ARCHIVE=str(archive)) == "CRITICAL"
    assert state(watched, "decoder") == "OK"


def test_client_programs_older_than_the_server_are_critical(watched, tmp_path):
    for name in ("pg_recvlogical", "pg_dump"):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\necho '{name} (PostgreSQL) 12.22'\n")
        program.chmod(0o755)
    finding = check(watched, "decoder", PATH=f"{tmp_path}:{watched.env['PATH']}")
    assert (finding["state"], "older than the server" in finding["text"]) == ("CRITICAL", True)
    assert "PATH" in finding["hint"]


def test_a_decoder_that_the_stream_may_not_use_is_a_warning_while_nobody_reads_the_slot(watched):
    allowed = "SELECT setting FROM pg_settings WHERE name = 'output_plugin_libraries'"
    if not watched.cluster.query(allowed):
        pytest.skip("server version: this minor release has no setting output_plugin_libraries")
    watched.cluster.psql((ROOT / "sql/monitor.sql").read_text(), "watched")
    watched.stop_stream()
    poll(lambda: state(watched, "slot") == "WARNING", 30, "an idle slot")
    finding = check(watched, "decoder", PGUSER="scribe_monitor")
    assert finding["state"] == "WARNING"
    libraries = str(re.search(r"SET (output_plugin_libraries = .*?)\"", finding["hint"])[1])
    watched.cluster.query(f"ALTER ROLE scribe_monitor SET {libraries}")
    assert state(watched, "decoder", PGUSER="scribe_monitor") == "OK"
    watched.cluster.query("ALTER ROLE scribe_monitor RESET output_plugin_libraries")
    watched.start_stream()


def test_clocks_that_differ_are_a_warning(watched, monkeypatch):
    for name, value in watched.env.items():
        monkeypatch.setenv(name, value)
    survey = Survey(load_settings(None, {}, watched.env), 5)
    with survey.conn:
        assert check_server(survey, Limit()).state == State.OK
        survey.server["skew"] = -90.0
        assert check_server(survey, Limit()).state == State.WARNING


def test_large_objects_are_told_or_refused(watched):
    watched.cluster.psql("SELECT lo_from_bytea(4711, 'x')", "watched")
    assert (state(watched, "large-objects"), state(watched, "large_objects", "-w", "0")) == ("OK", "WARNING")
    finding = check(watched, "large_objects", SCRIBE_LARGE_OBJECTS="refuse")
    assert (finding["state"], finding["hint"][:27]) == ("CRITICAL", "Unset SCRIBE_LARGE_OBJECTS,")
    watched.cluster.psql("SELECT lo_unlink(oid) FROM pg_largeobject_metadata", "watched")
    assert state(watched, "large_objects") == "OK"


def test_settings_that_can_lose_the_slot_are_advice_and_an_alarm_when_it_is_idle(watched):
    finding = check(watched, "settings")
    assert (finding["state"], finding["hint"].startswith("Advice: ")) == ("OK", True)
    if watched.cluster.version_num >= 180000:
        with server_setting(watched.cluster, "idle_replication_slot_timeout", "1d"):
            watched.stop_stream()
            poll(lambda: state(watched, "settings") == "WARNING", 30, "the alarm")
            watched.start_stream()
            assert state(watched, "settings") == "OK"


def test_another_server_or_database_is_critical(watched, tmp_path):
    Handmade(tmp_path / "foreign")
    finding = report(watched, "--only", "server,lag", SCRIBE_ARCHIVE=str(tmp_path / "foreign"))["checks"]
    assert [(f["name"], f["state"]) for f in finding] == [("server", "CRITICAL"), ("lag", "UNKNOWN")]
    finding = check(watched, "server", PGDATABASE="postgres")
    assert (finding["state"], "another database" in finding["text"]) == ("CRITICAL", True)
