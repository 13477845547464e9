"""The files in etc/ for monitoring, tried with the programs that read them, where these are installed."""

from __future__ import annotations

import grp
import json
import os
import pwd
import re
import subprocess
import sys
import time
import urllib.request
import xml.etree.ElementTree
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from cluster import ROOT, poll
from monitoring import ETC, UNPACKED, find, free_port, panels, prometheus, queries, running
from source import Scribe

from scribe.health.checks import CHECKS

sys.path.append(str(ROOT / "tools"))
from draw_dashboard import draw

_SUDO = "/usr/bin/sudo -n -u scribe /usr/local/bin/scribe-check"


def need(program: str) -> str:
    """Return the path of a program, or skip the test."""
    found = find(program)
    if found is None:
        pytest.skip(f'place: {program} is not here; "tools/unpack-monitoring" could not get it')
    return found


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


@pytest.mark.slow
def test_a_real_prometheus_scrapes_what_the_dashboard_and_the_rules_ask_for(shop, tmp_path):
    programs = need("prometheus"), need("prometheus-node-exporter")
    shop.start_stream()
    with prometheus(tmp_path, programs) as ask:
        shop.run("scribe-check", "--format", "prometheus", "--output", str(tmp_path / "text/scribe.prom"))

        def scraped() -> bool:
            with suppress(OSError):
                return bool(ask("query", query="scribe_state")["result"])
            return False

        poll(scraped, 60, "the first scrape")
        assert [query for query in queries() if not ask("query", query=query)["result"]] == []
        groups = ask("rules")["groups"]
        assert {rule["health"] for group in groups for rule in group["rules"]} <= {"ok", "unknown"}
        began = time.time() - 10
        draw(ask, (began, began + 20), tmp_path / "dashboard.svg")
    shop.stop_stream()
    root = xml.etree.ElementTree.parse(tmp_path / "dashboard.svg").getroot()
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {panel["title"] for panel in panels()} <= set(texts)
    assert {check.name for check in CHECKS} <= set(texts)


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


@pytest.mark.slow
def test_a_real_icinga_loads_the_file(tmp_path):
    need("icinga2")  # a shell script with a path in it that only holds where it is installed
    found = [*Path("/usr/lib").glob("*/icinga2/sbin/icinga2"), *UNPACKED.glob("usr/lib/*/icinga2/sbin/icinga2")][0]
    root = found.parents[5]
    (tmp_path / "icinga2.conf").write_text(_ICINGA.format(etc=ETC))
    places = [f"-D{name}={tmp_path}" for name in ("DataDir", "CacheDir", "LogDir", "InitRunDir", "SpoolDir")]
    user = {"ICINGA2_USER": pwd.getpwuid(os.getuid()).pw_name, "ICINGA2_GROUP": grp.getgrgid(os.getgid()).gr_name}
    environment = {**os.environ, **user, "LD_LIBRARY_PATH": str(found.parents[2])}

    def icinga(*arguments: object) -> str:
        result = subprocess.run(
            [str(word) for word in (found, *arguments, *places)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    check = ["daemon", "-C", "-c", tmp_path / "icinga2.conf", "-I", root / "usr/share/icinga2/include"]
    # 2.14 (Debian 13) writes what "object list" reads only when told to; 2.13 does not know the word
    newer = "--dump-objects" in icinga("daemon", "--help")
    said = icinga(*check, *(["--dump-objects"] if newer else []))
    assert ("Instantiated 2 Services" in said, "warning" in said) == (True, False), said
    listed = icinga("object", "list", "--type", "Service", "--name", "backup!scribe shop lag")
    assert re.findall(r"\* scribe_(\w+) = (.*)", listed) == [
        ("critical", '"1GB"'),
        ("only", '"lag"'),
        ("settings", '"/etc/scribe/shop.env"'),
        ("warning", '"512MB"'),
    ]


def exported(exporter: str, flags: list[object], cwd: Path, wanted: str, **environment: str) -> list[str]:
    """Run an exporter until the metric wanted is there; return the lines of ours."""
    port = free_port()
    found: list[str] = []

    def scrape() -> bool:
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            found[:] = [line for line in answer.read().decode().splitlines() if "scribe_server" in line]
        return any(line.startswith(wanted) for line in found)

    flags = [*flags, f"--web.listen-address=127.0.0.1:{port}"]
    with running(exporter, *flags, cwd=cwd, stderr=subprocess.DEVNULL, env=os.environ | environment):
        poll(scrape, 60, f"{wanted} of {exporter}")
    return found


@pytest.mark.slow
def test_a_real_postgres_exporter_exports_the_slot(shop, tmp_path):
    program = need("prometheus-postgres-exporter")
    if shop.cluster.version_num < 140000:
        pytest.skip("server version: PostgreSQL 13 has no statistics of spilling")
    env = shop.env
    source = f"host={env['PGHOST']} port={env['PGPORT']} user=scribe_monitor dbname=monitored sslmode=disable"
    flags: list[object] = [f"--extend.query-path={ETC}/postgres_exporter.yml", "--disable-default-metrics"]
    found = exported(program, flags, tmp_path, "scribe_server_spill_bytes_total", DATA_SOURCE_NAME=source)
    names = {line.split("{")[0] for line in found if not line.startswith("#")}
    text = (ETC / "postgres_exporter.yml").read_text()
    blocks = re.findall(r"(?m)^(scribe_\w+):\n((?: .*\n)+)", text)
    wanted = {f"{n}_{c}" for n, block in blocks for c in re.findall(r"- (\w+): \{usage: (?!LABEL)", block)}
    assert names == wanted
    assert any(re.match(r'scribe_server_slot_active\{.*slot_name="scribe_monitored".*\} 0$', line) for line in found)
    assert not any("untyped" in line for line in found)


@pytest.mark.slow
def test_a_real_sql_exporter_exports_the_views(shop, tmp_path):
    program = need("prometheus-sql-exporter")
    if shop.cluster.version_num < 140000:
        pytest.skip("server version: PostgreSQL 13 has no statistics of spilling")
    text = (ETC / "sql_exporter.yml").read_text()
    address = re.search(r"postgres://\S+", text)
    assert address
    env = shop.env
    socket_address = f"postgres://scribe_monitor@/monitored?host={env['PGHOST']}&port={env['PGPORT']}&sslmode=disable"
    (tmp_path / "sql_exporter.yml").write_text(text.replace(address[0], socket_address))
    found = exported(program, ["-config.file", tmp_path / "sql_exporter.yml"], tmp_path, "sql_scribe_server_capture")
    columns = {match[1] for line in found if (match := re.search(r'col="(\w+)"', line))}
    named = re.findall(r"values: \[(.*)\]", text)
    assert columns == {word.strip() for words in named for word in words.split(",")}


_ICINGA = """
include <itl>
template Service "generic-service" {{ max_check_attempts = 3 }}
object Host "backup" {{
  check_command = "dummy"
  vars.scribe["shop"] = {{ settings = "/etc/scribe/shop.env" }}
  vars.scribe["shop lag"] = {{ settings = "/etc/scribe/shop.env", only = "lag", warning = "512MB", critical = "1GB" }}
}}
include "{etc}/icinga2.conf"
"""
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
