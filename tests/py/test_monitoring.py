"""The files in etc/ for monitoring, tried with the programs that read them, where these are installed."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from cluster import ROOT, poll
from source import Scribe

ETC = ROOT / "etc"
_SUDO = "/usr/bin/sudo -n -u scribe /usr/local/bin/scribe-check"


def need(program: str) -> str:
    """Return the path of a program, or skip the test."""
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip(f"place: {program} is not installed")
    return found


def free_port() -> int:
    """Return a port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(*command: object, **options: Any) -> Iterator[None]:
    """Run a server for one block."""
    with subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL, **options) as process:
        try:
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)


@pytest.fixture(scope="module")
def shop(cluster, tmp_path_factory) -> Iterator[Scribe]:
    """A source with capture, an archive with a base, a role for monitoring, and no stream."""
    cluster.createdb("monitored")
    scribe = Scribe(cluster, "monitored", tmp_path_factory.mktemp("monitored") / "archive")
    scribe.run("scribe-init")
    cluster.psql((ROOT / "sql/monitor.sql").read_text(), "monitored")
    yield scribe
    scribe.close()


@pytest.mark.unit
def test_the_alert_rules_fire_when_they_must_and_only_then():
    promtool = need("promtool")
    for arguments in (["check", "rules", "prometheus-rules.yml"], ["test", "rules", "prometheus-rules-test.yml"]):
        result = subprocess.run([promtool, *arguments], cwd=ETC, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout + result.stderr


def test_promtool_finds_nothing_wrong_with_the_metrics(shop):
    text = shop.run("scribe-check", "--format", "prometheus", check=False).stdout
    result = subprocess.run(
        [need("promtool"), "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout + result.stderr) == (0, "")


@pytest.mark.unit
def test_the_dashboard_is_portable():
    board = json.loads((ETC / "grafana-dashboard.json").read_text())
    assert board["uid"] == "pg-scribe"
    assert "id" not in board
    assert {panel["datasource"]["uid"] for panel in board["panels"]} == {"${datasource}"}


def queries() -> list[str]:
    """Return the dashboard's queries with its variables at All."""
    board = json.loads((ETC / "grafana-dashboard.json").read_text())
    found = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    return [re.sub(r"\$(archive|instance)\b", ".*", query) for query in found]


@pytest.mark.slow
def test_a_real_prometheus_scrapes_what_the_dashboard_and_the_rules_ask_for(shop, tmp_path):
    prometheus, exporter = need("prometheus"), need("prometheus-node-exporter")
    shop.start_stream()
    web, metrics = free_port(), free_port()
    (tmp_path / "text").mkdir()
    shop.run("scribe-check", "--format", "prometheus", "--output", str(tmp_path / "text/scribe.prom"))
    (tmp_path / "prometheus.yml").write_text(
        f"global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [{ETC}/prometheus-rules.yml]\n"
        f"scrape_configs: [{{job_name: node, static_configs: [{{targets: ['127.0.0.1:{metrics}']}}]}}]\n"
    )

    def ask(path: str, **parameters: str) -> Any:
        address = f"http://127.0.0.1:{web}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(address, timeout=5) as answer:
            return json.load(answer)["data"]

    def scraped() -> bool:
        try:
            return bool(ask("query", query="scribe_state")["result"])
        except OSError:
            return False

    with ExitStack() as stack:
        flags = ["--collector.disable-defaults", "--collector.textfile", f"--web.listen-address=127.0.0.1:{metrics}"]
        options: dict[str, Any] = {"cwd": tmp_path, "stderr": subprocess.DEVNULL}
        stack.enter_context(running(exporter, *flags, f"--collector.textfile.directory={tmp_path}/text", **options))
        flags = [f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/tsdb"]
        stack.enter_context(running(prometheus, *flags, f"--web.listen-address=127.0.0.1:{web}", **options))
        poll(scraped, 60, "the first scrape")
        assert [query for query in queries() if not ask("query", query=query)["result"]] == []
        groups = ask("rules")["groups"]
        assert {rule["health"] for group in groups for rule in group["rules"]} <= {"ok", "unknown"}
    shop.stop_stream()


@pytest.mark.slow
def test_a_real_nagios_loads_the_file_and_runs_the_checks(shop, tmp_path):
    nagios = need("nagios4")
    wrapper = tmp_path / "check"
    names = ("PGHOST", "PGPORT", "PGUSER", "PGDATABASE", "SCRIBE_ARCHIVE", "PATH")
    exports = "\n".join(f"export {name}='{shop.env[name]}'" for name in names)
    wrapper.write_text(f'#!/bin/sh\n{exports}\nexec "{ROOT}/bin/scribe-check" "$@"\n')
    wrapper.chmod(0o755)
    (tmp_path / "shop.env").write_text("SCRIBE_COMPRESS=zstd\n")
    text = (ETC / "nagios.cfg").read_text()
    assert text.count(_SUDO) == 2
    text = text.replace(_SUDO, str(wrapper)).replace("/etc/scribe", str(tmp_path))
    (tmp_path / "scribe.cfg").write_text(
        re.sub(r"(check|retry)_interval +\d", r"\1_interval 1", text) + _NAGIOS_OBJECTS
    )
    (tmp_path / "resource.cfg").touch()
    for name in ("spool", "archives"):
        (tmp_path / name).mkdir()
    (tmp_path / "nagios.cfg").write_text(_NAGIOS.format(here=tmp_path))
    result = subprocess.run([nagios, "-v", tmp_path / "nagios.cfg"], capture_output=True, text=True, check=False)
    assert (result.returncode, "Total Warnings: 0" in result.stdout) == (0, True), result.stdout
    status = tmp_path / "status.dat"

    def results() -> dict[str, tuple[str, str]]:
        text = status.read_text() if status.exists() else ""
        blocks = re.findall(r"servicestatus \{(.*?)\n\t\}", text, re.S)
        fields = [dict(re.findall(r"\n\t(\w+)=(.*)", block)) for block in blocks]
        return {
            f["service_description"]: (f["current_state"], f["plugin_output"])
            for f in fields
            if f["has_been_checked"] == "1"
        }

    with running(nagios, tmp_path / "nagios.cfg", cwd=tmp_path, stderr=subprocess.DEVNULL):
        found = poll(lambda: results() if len(results()) == 3 else None, 60, "three results")
    assert found["scribe shop"][0] == "2"
    assert found["scribe shop"][1].startswith("SCRIBE CRITICAL: monitored: stream: scribe-stream is not running")
    assert found["scribe shop lag"][0] == "0"
    assert found["scribe shop heartbeat"][0] == "2"


@pytest.mark.parametrize("file", ["postgres_exporter.yml", "sql_exporter.yml"])
def test_the_exporters_queries_run_as_scribe_monitor_and_give_the_columns_named(shop, file):
    text = (ETC / file).read_text()
    found = re.findall(r"query: \|\n((?: {4}.*\n)+)", text)
    assert len(found) == text.count("query: |")
    if shop.cluster.version_num < 140000:
        found = [query for query in found if "spill" not in query]
    with shop.cluster.connect("monitored", user="scribe_monitor") as conn:
        for query in found:
            cursor = conn.execute(query)
            for column in cursor.description or ():
                assert f"- {column.name}:" in text or (file, column.name) in _SQL_EXPORTER
            cursor.fetchall()


_SQL_EXPORTER = {("sql_exporter.yml", "slot_name"), ("sql_exporter.yml", "value")}
_NAGIOS = """
log_file={here}/nagios.log
cfg_file={here}/scribe.cfg
status_file={here}/status.dat
status_update_interval=1
object_cache_file={here}/objects.cache
precached_object_file={here}/objects.precache
state_retention_file={here}/retention.dat
retain_state_information=0
temp_file={here}/nagios.tmp
temp_path={here}
log_archive_path={here}/archives
check_result_path={here}/spool
command_file={here}/nagios.cmd
lock_file={here}/nagios.pid
query_socket={here}/nagios.qh
resource_file={here}/resource.cfg
nagios_user=root
nagios_group=root
service_inter_check_delay_method=n
max_service_check_spread=1
check_external_commands=0
illegal_macro_output_chars=`~$&|'"<>
"""
_NAGIOS_OBJECTS = """
define command {
    command_name    true
    command_line    /bin/true
}
define timeperiod {
    timeperiod_name always
    alias           always
    monday          00:00-24:00
    tuesday         00:00-24:00
    wednesday       00:00-24:00
    thursday        00:00-24:00
    friday          00:00-24:00
    saturday        00:00-24:00
    sunday          00:00-24:00
}
define contact {
    contact_name    admin
    host_notification_period        always
    service_notification_period     always
    host_notification_commands      true
    service_notification_commands   true
}
define host {
    host_name       backup
    address         127.0.0.1
    check_command   true
    check_period    always
    contacts        admin
    max_check_attempts 1
    notification_period always
}
define service {
    name            generic-service
    check_period    always
    contacts        admin
    notification_interval 60
    notification_period always
    register        0
}
"""
