"""scribe-check is never green over a dead stream, however alive that looks: each case is brought about for real."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from checking import PROMPT, check, report, states
from cluster import ROOT, poll
from source import Scribe

from scribe.common.postgres import plugin_options
from scribe.common.settings import load_settings
from scribe.health.facts import Survey
from scribe.health.findings import Limit, State
from scribe.health.probes_slot import check_slot

QUICK = ("-t", "10")  # half of it a mark is waited for; the rest is for a machine that has other things to do


@pytest.fixture(scope="module")
def watched(cluster, tmp_path_factory) -> Iterator[Scribe]:
    """A source, its archive and a running stream. Each test leaves it healthy."""
    cluster.createdb("dead")
    scribe = Scribe(cluster, "dead", tmp_path_factory.mktemp("dead") / "archive", PROMPT)
    cluster.psql("CREATE TABLE item (id int PRIMARY KEY)", "dead")
    scribe.run("scribe-init")
    scribe.start_stream()
    scribe.run("scribe-rotate", "--wait-lsn", "current")
    yield scribe
    scribe.close()


@pytest.fixture(autouse=True)
def healthy_afterwards(watched) -> Iterator[None]:
    """Whatever a test has broken, its remedy makes everything OK again."""
    yield
    poll(lambda: states(watched)["all"] == "OK", 30, "all checks")


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Stop a process for one block: it is there, and does nothing."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def processes(scribe: Scribe) -> dict[str, int]:
    """Return the pids of scribe-stream and its pg_recvlogical, as "stream" and "receiver"."""
    known = json.loads((scribe.archive / "spool/stream.json").read_text())
    return {name: known[name]["pid"] for name in ("stream", "receiver")}


def walsender(scribe: Scribe) -> int:
    """Return the pid of the server process that reads the slot."""
    query = f"SELECT active_pid FROM pg_catalog.pg_replication_slots WHERE slot_name = '{scribe.slot}'"
    return int(scribe.cluster.value(query))


def test_a_pg_recvlogical_that_hangs_is_critical_with_and_without_a_heartbeat(watched):
    with stopped(processes(watched)["receiver"]):
        found = states(watched, *QUICK)
        assert (found["heartbeat"], found["stream"], found["server"]) == ("CRITICAL", "CRITICAL", "OK")
        assert states(watched, "--no-heartbeat")["all"] == "CRITICAL"
        hint = check(watched, "stream")["hint"]
        assert hint == f'Run "kill -CONT {processes(watched)["receiver"]}".'


def test_a_scribe_stream_that_hangs_is_critical_though_data_still_arrives(watched):
    with stopped(processes(watched)["stream"]):
        assert states(watched, *QUICK)["stream"] == "CRITICAL"


def test_a_walsender_that_hangs_is_critical(watched):
    with stopped(walsender(watched)):
        found = states(watched, *QUICK)
        assert (found["heartbeat"], found["slot"], found["stream"]) == ("CRITICAL", "OK", "OK")


def test_a_reader_that_says_nothing_is_a_warning_without_any_heartbeat(watched, monkeypatch):
    for name, value in watched.env.items():
        monkeypatch.setenv(name, value)

    def look(seconds: float) -> State:
        survey = Survey(load_settings(None, {}, watched.env), 5)
        survey.now += seconds
        with survey.conn:
            return check_slot(survey, Limit()).state

    poll(lambda: look(120) == State.WARNING, 30, "the first reply")
    assert look(0) == State.OK


def test_a_spool_file_that_somebody_moved_away_is_critical(watched):
    spool, elsewhere = watched.archive / "spool/stream.sql", watched.archive.parent / "stream.sql.1"
    spool.rename(elsewhere)
    try:
        found = report(watched, *QUICK)
        said = {f["name"]: (f["state"], f["text"]) for f in found["checks"]}
        assert said["stream"] == ("CRITICAL", f'pg_recvlogical writes to "{elsewhere}"')
        assert said["heartbeat"][0] == "CRITICAL"
    finally:
        elsewhere.rename(spool)


def test_a_copy_of_the_archive_is_critical_while_the_stream_of_the_original_runs(watched, tmp_path):
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-a", watched.archive, copy], check=True)
    found = states(watched, SCRIBE_ARCHIVE=str(copy))
    assert {found[name] for name in ("stream", "slot", "heartbeat")} == {"CRITICAL"}
    assert check(watched, "slot", SCRIBE_ARCHIVE=str(copy))["text"].endswith(
        "scribe-stream does not run on this archive"
    )


@contextmanager
def foreign_reader(scribe: Scribe, output: Path) -> Iterator[None]:
    """Let somebody else's pg_recvlogical read the slot for one block, without telling the server how far it is."""
    silent = ["--status-interval=0", "--fsync-interval=3600"]
    command = [f"{scribe.cluster.bindir}/pg_recvlogical", "--start", "--no-loop", "-S", scribe.slot, *silent]
    with scribe.cluster.connect() as conn:
        # without a timeout it is not asked how far it is: an answer would move the slot
        options = f"-c wal_sender_timeout=0 {plugin_options(conn, 'scribe_decoder')}"
        env = scribe.env | {"PGOPTIONS": options}
    with subprocess.Popen([*command, "-d", "dead", "-f", output], env=env, stderr=subprocess.DEVNULL) as process:
        try:
            active = f"SELECT active FROM pg_catalog.pg_replication_slots WHERE slot_name = '{scribe.slot}'"
            poll(lambda: scribe.cluster.value(active), 30, "the other reader")
            yield
        finally:
            process.kill()
    poll(lambda: not scribe.cluster.value(active), 30, "the end of the other reader")


def test_a_slot_that_somebody_else_reads_is_critical(watched, tmp_path):
    watched.stop_stream()
    inactive = f"SELECT NOT active FROM pg_catalog.pg_replication_slots WHERE slot_name = '{watched.slot}'"
    poll(lambda: watched.cluster.value(inactive), 30, "the slot's release")
    with foreign_reader(watched, tmp_path / "theirs"):
        found = states(watched, *QUICK)
        assert {found[name] for name in ("stream", "slot", "heartbeat")} == {"CRITICAL"}
        assert "pg_recvlogical at " in check(watched, "slot")["text"]
    watched.start_stream()


def test_while_it_waits_for_a_mark_it_holds_no_lock(watched):
    with stopped(processes(watched)["receiver"]), watched.cluster.connect("dead") as conn:
        command = [ROOT / "bin/scribe-check", "-t", "4"]
        with subprocess.Popen(command, env=watched.env, stdout=subprocess.PIPE, text=True) as process:
            sessions = "SELECT pid FROM pg_stat_activity WHERE application_name = 'pg_scribe check' AND state = 'idle'"
            last = "AND query = 'COMMIT'"
            poll(lambda: conn.execute(f"{sessions} {last}").fetchall(), 30, "a check that waits for its mark")
            held = f"SELECT mode, relation::regclass FROM pg_locks WHERE pid IN ({sessions})"
            assert conn.execute(held).fetchall() == []
            conn.execute("SET lock_timeout = 100")
            conn.execute("ALTER TABLE item ADD COLUMN word text")
            assert process.communicate()[0].startswith("SCRIBE CRITICAL: ")
