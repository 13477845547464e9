"""scribe-check: a healthy system, a server that is away or locked, its use and its formats."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

import psycopg
import pytest
from checking import report, state
from cluster import ROOT, temporary_cluster
from handmade import Handmade
from source import Scribe

from scribe.health.checks import CHECKS


def test_a_healthy_system_is_ok_in_every_check(watched):
    value = report(watched)
    assert {finding["name"]: finding["text"] for finding in value["checks"] if finding["state"] != "OK"} == {}
    assert len(value["checks"]) == 27
    assert (value["database"], value["slot"], value["archive"]) == ("watched", "scribe_watched", str(watched.archive))


def test_a_server_that_is_away_is_critical_whatever_is_asked(watched, tmp_path):
    for arguments in ([], ["--only", "lag"]):
        value = report(watched, *arguments, PGHOST=str(tmp_path))
        states = {finding["name"]: finding["state"] for finding in value["checks"]}
        assert (value["state"], states["server"], states["lag"]) == ("CRITICAL", "CRITICAL", "UNKNOWN")
    refused = report(watched, "--only", "server", PGUSER="nobody_here")
    assert (refused["state"], "nobody_here" in refused["checks"][0]["text"]) == ("CRITICAL", True)


@pytest.mark.slow
def test_a_server_that_hangs_is_critical_within_the_timeout(tmp_path):
    with temporary_cluster() as cluster, socket.create_server(("127.0.0.1", 0)) as mute:
        cluster.createdb("shop")
        scribe = Scribe(cluster, "shop", tmp_path / "archive")
        scribe.run("scribe-init")
        somewhere = {"PGHOST": "127.0.0.1", "PGPORT": str(mute.getsockname()[1])}
        assert report(scribe, "-t", "2", **somewhere)["state"] == "CRITICAL"
        postmaster = int((cluster.data / "postmaster.pid").read_text().split()[0])
        os.kill(postmaster, signal.SIGSTOP)
        try:
            for seconds in (1, 4):
                value = report(scribe, "-t", str(seconds))
                assert value["seconds"] < seconds + 1  # by its own clock: a busy machine may take long to start it
                states = {finding["name"]: finding["state"] for finding in value["checks"]}
                assert (value["state"], states["server"], states["archive"]) == ("CRITICAL", "CRITICAL", "OK")
        finally:
            os.kill(postmaster, signal.SIGCONT)


def test_a_lock_on_a_table_of_the_user_does_not_matter(watched):
    with watched.cluster.connect("watched", autocommit=False) as conn:
        conn.execute("LOCK TABLE item IN ACCESS EXCLUSIVE MODE")
        value = report(watched)
        assert (value["state"], value["seconds"] < 3) == ("OK", True)
        conn.rollback()


def test_a_lock_on_the_audit_table_makes_one_check_unknown_and_blocks_nobody(watched):
    with watched.cluster.connect("watched", autocommit=False) as conn:
        conn.execute("LOCK TABLE scribe.ddl_history IN ACCESS EXCLUSIVE MODE")
        value = report(watched, "--no-heartbeat")
        assert [f["name"] for f in value["checks"] if f["state"] != "OK"] == ["ddl"]
        conn.rollback()


def test_looking_at_an_archive_changes_nothing_in_it(tmp_path, watched):
    archive = Handmade(tmp_path / "archive")
    archive.base("")
    archive.segment(["INSERT INTO t VALUES (1);\n"])

    def listing() -> dict[str, tuple[int, int]]:
        return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in archive.path.rglob("*")}

    before = listing()
    report(watched, SCRIBE_ARCHIVE=str(archive.path))
    assert listing() == before


def test_an_archive_of_10000_segments_takes_less_than_a_second(tmp_path, watched):
    archive = Handmade(tmp_path / "archive")
    archive.base("")
    first = archive.segment(["INSERT INTO t VALUES (1);\n"])
    for number in range(10_000):
        stem = f"20261121T{number // 3600:02}{number // 60 % 60:02}{number % 60:02}Z-{number:016X}"
        for end, source in ((".json", first), (".sql.zst", first.with_suffix(".sql.zst"))):
            os.link(source, archive.path / f"incremental/{stem}{end}")
    identity = json.loads((watched.archive / "archive.json").read_text())
    (archive.path / "archive.json").write_text(json.dumps(identity | {"chain_from_lsn": "0/0"}))
    report(watched, SCRIBE_ARCHIVE=str(archive.path))  # files are in memory, as they are where a check runs each minute

    def measure(path: Path) -> tuple[float, int]:
        env = watched.env | {"SCRIBE_ARCHIVE": str(path)}
        with subprocess.Popen([ROOT / "bin/scribe-check"], env=env, stdout=subprocess.PIPE, text=True) as process:
            text = process.stdout.read()
            _, _, usage = os.wait4(process.pid, 0)
            process.returncode = 0
        assert "[UNKNOWN]" not in text, text
        assert f"segments={'10001' if path == archive.path else ''}" in text
        return usage.ru_utime + usage.ru_stime, usage.ru_maxrss  # seconds of a processor: the machine may be busy

    runs = [measure(archive.path) for _ in range(3)]
    assert min(seconds for seconds, _ in runs) < 1
    assert min(kilobytes for _, kilobytes in runs) < min(measure(watched.archive)[1] for _ in range(3)) + 2048


def run(scribe: Scribe, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run scribe-check and return what it printed."""
    return scribe.run("scribe-check", *arguments, check=False, env=settings)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--only", "nothing"], 'there is no check "nothing"'),
        (["-w", "10"], "takes a range only where one check is chosen"),
        (["--only", "lag", "-w", "1:2:3"], "invalid warning range"),
        (["--only", "lag", "--base-critical", "x"], "invalid critical range for base"),
        (["--only", "slot", "-w", "10"], "measures something"),
        (["-t", "0"], "timeout"),
        (["--format", "xml"], "invalid choice"),
        (["surplus"], "surplus"),
    ],
)
def test_wrong_use_is_unknown_in_one_status_line(watched, arguments, said):
    result = run(watched, *arguments)
    assert (result.returncode, result.stderr) == (3, "")
    assert result.stdout.startswith("SCRIBE UNKNOWN: configuration: ")
    assert said in result.stdout.splitlines()[0]


@pytest.mark.parametrize("text", ["base-warning", "nothing-warning=1", "slot-critical=1", "lag-warning=1:2:3", "lag=1"])
def test_a_setting_of_limits_that_is_none_is_unknown(watched, text):
    result = run(watched, SCRIBE_CHECK_LIMITS=text)
    assert (result.returncode, result.stderr) == (3, "")
    assert re.match(r"SCRIBE UNKNOWN: configuration: .*(SCRIBE_CHECK_LIMITS|invalid)", result.stdout)


def test_every_check_that_measures_can_be_limited_by_flags_and_by_the_setting(watched):
    limited = [check.name for check in CHECKS if check.unit]
    words = [f"{name.replace('_', '-')}-critical=@~:" for name in limited]
    expected = set(limited) - {"wal", "shipping", "follow"}  # nothing is measured: no bound, nothing waits, no copy
    for arguments, text in (([f"--{word}" for word in words], ""), ([], " ".join(words))):
        value = report(watched, *arguments, SCRIBE_CHECK_LIMITS=text)
        assert {f["name"] for f in value["checks"] if f["state"] == "CRITICAL"} == expected
    assert state(watched, "base", "-c", "1d", SCRIBE_CHECK_LIMITS=" ".join(words)) == "OK"


def test_a_w_that_stands_alone_is_no_password_as_in_psql(watched):
    assert run(watched, "-w", "--only", "lag,slot").returncode == 0
    assert run(watched, "--no-password", "--only", "lag").returncode == 0


_PERFORMANCE = re.compile(
    r"^(?P<label>[a-z_0-9]+)=(?P<value>-?\d+(\.\d+)?)(?P<unit>B|s|%|)(;[@~:\d.]*){0,2}(;-?\d*){0,2}$"
)


def test_nagios_gets_a_status_line_performance_data_and_a_line_for_each_check(watched):
    result = run(watched)
    first, *rest = result.stdout.splitlines()
    text, _, performance = first.partition(" | ")
    assert (result.returncode, text) == (0, "SCRIBE OK: watched: 27 checks")
    assert all(_PERFORMANCE.match(item) for item in performance.split())
    assert {"lag_bytes", "heartbeat_delay_seconds", "disk_used_percent"} <= {
        p.split("=")[0] for p in performance.split()
    }
    assert len(rest) == 27
    assert not any("|" in line for line in rest)
    assert len(run(watched, "-q").stdout.splitlines()) == 1


def test_nagios_is_told_the_worst_first(watched):
    first = run(watched, "--only", "lag,base", "--base-critical", "@0:", "--lag-warning", "@0:").stdout.splitlines()[0]
    assert re.match(r"SCRIBE CRITICAL: watched: base: .* \(and 1 more\) \| ", first)


def test_prometheus_gets_moments_in_base_units_in_a_file_written_in_one_step(watched, tmp_path):
    from prometheus_client.parser import text_string_to_metric_families

    output = tmp_path / "scribe.prom"
    result = run(watched, "--format", "prometheus", "--output", str(output))
    assert (result.returncode, result.stdout, os.listdir(tmp_path)) == (0, "", ["scribe.prom"])
    assert output.stat().st_mode & 0o777 == 0o644
    families = {family.name: family for family in text_string_to_metric_families(output.read_text())}
    assert all(family.documentation for family in families.values())
    counters = {name for name, family in families.items() if family.type != "gauge"}
    words = [f"scribe_{what}_{unit}" for what in ("spilled", "decoded") for unit in ("bytes", "transactions")]
    assert counters == (set(words) if watched.cluster.version_num >= 140000 else set())
    assert {families[name].type for name in counters} <= {"counter"}
    assert all(sample.timestamp is None for family in families.values() for sample in family.samples)
    assert not any(name.endswith("_age_seconds") for name in families)
    assert {sample.labels["check"] for sample in families["scribe_check_state"].samples} >= {"lag", "heartbeat"}
    assert 0 <= families["scribe_disk_used_ratio"].samples[0].value <= 1
    assert abs(families["scribe_heartbeat_timestamp_seconds"].samples[0].value - time.time()) < 60
    assert families["scribe_info"].samples[0].labels["database"] == "watched"


def test_what_is_not_ok_is_said_in_one_line_beside_the_output_file(watched, tmp_path):
    limits = ["--only", "base", "--base-critical", "@0:"]
    arguments = [*limits, "--format", "prometheus", "--output", str(tmp_path / "out")]
    result = run(watched, *arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert re.fullmatch(r"SCRIBE CRITICAL: watched: base: [^|\n]+\n", result.stderr)
    assert run(watched, *arguments, "-q").stderr == ""


def test_an_output_that_cannot_be_written_is_unknown(watched, tmp_path):
    result = run(watched, "--only", "lag", "--output", str(tmp_path / "absent/file"))
    assert (result.returncode, "could not write" in result.stderr) == (3, True)


def test_a_person_on_a_terminal_gets_a_table(watched):
    command = ["script", "-qec", f"{ROOT}/bin/scribe-check --only lag,base", "/dev/null"]
    text = subprocess.run(command, env=watched.env, capture_output=True, text=True, check=False).stdout
    assert re.search(r"(?m)^OK        lag   .* of WAL kept for the slot\r?$", text), text


def test_a_role_without_superuser_can_run_every_check(watched):
    watched.cluster.psql((ROOT / "sql/monitor.sql").read_text(), "watched")
    rows = watched.cluster.value(
        "SELECT count(*) FROM scribe.ddl_history WHERE tag LIKE '%VIEW%' OR tag = 'GRANT'", "watched"
    )
    assert rows == 0
    assert run(watched, PGUSER="scribe_monitor").stdout.splitlines()[0].startswith("SCRIBE OK: watched: 27 checks")
    with watched.cluster.connect("watched", user="scribe_monitor") as conn:
        assert conn.execute("SELECT slot_name, active FROM scribe.slots").fetchall() == [("scribe_watched", True)]
        for view in ("spill", "inexact_ddl", "tables_without_key"):
            conn.execute(f"SELECT * FROM scribe.{view}").fetchall()
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute("SELECT replica_identity FROM scribe.config")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute("SELECT statement FROM scribe.ddl_history")
