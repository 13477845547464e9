"""Zabbix: the agent runs what etc/zabbix-agent2.conf says, and the template takes out what scribe-check prints."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from aged import Aged
from cluster import ROOT

CONF = (ROOT / "etc/zabbix-agent2.conf").read_text()
TEMPLATE = (ROOT / "etc/zabbix-template.yml").read_text()
pytestmark = [pytest.mark.unit, pytest.mark.slow]


def parameter(settings: Path) -> str:
    """Return the agent's command with the programs of this tree, as this user, and settings from a directory."""
    command = re.search(r"(?m)^UserParameter=scribe\.all,(.*)$", CONF)
    assert command is not None and command[1].startswith("sudo -n -u scribe /usr/local/bin/scribe-check --all ")
    return command[1].replace("sudo -n -u scribe /usr/local", str(ROOT)).replace("--all", f"--config-dir {settings}")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Settings of two databases without a server."""
    directory = tmp_path_factory.mktemp("zabbix")
    for name in ("one", "two"):
        archive = Aged(directory / f"archive-{name}")
        archive.add_base(0)
        (directory / f"{name}.env").write_text(f"SCRIBE_ARCHIVE={archive.path}\nPGHOST={directory}\n")
    return directory


def test_the_agent_gets_the_json_whatever_the_state(settings, tmp_path):
    agent = shutil.which("zabbix_agent2", path="/usr/sbin:/usr/bin")
    if agent is None:
        pytest.skip("place: zabbix_agent2 is not installed")
    lines = ["Hostname=here", "Server=127.0.0.1", "Timeout=30", f"UserParameter=scribe.all,{parameter(settings)}"]
    (tmp_path / "agent.conf").write_text("\n".join(lines) + "\n")
    command = [agent, "-c", tmp_path / "agent.conf", "-t", "scribe.all"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    value = json.loads(said[said.index("{") : said.rindex("}") + 1])
    assert [database["name"] for database in value["databases"]] == ["one", "two"]
    assert value["exit_status"] == 2


def test_what_the_template_takes_out_is_there(settings):
    said = subprocess.run(["sh", "-c", parameter(settings)], capture_output=True, text=True, check=True).stdout
    value = json.loads(said)
    for path in re.findall(r"(?m)^ +- (\$\..*)$", TEMPLATE):
        keys = set(re.findall(r"\.(\w+)(?!\()\b", re.sub(r"'[^']*'", "", path).replace("first()", "")))
        assert keys <= {"databases", "exit_status", "name", "checks", "state", "text", "values", "lag_bytes"}, path
    assert {"exit_status", "name", "checks"} <= value["databases"][0].keys()
    assert {"state", "text", "values"} <= value["databases"][0]["checks"][0].keys()


def test_the_template_is_well_formed():
    yaml = pytest.importorskip("yaml", reason="place: yaml is not installed")
    (template,) = yaml.safe_load(TEMPLATE)["zabbix_export"]["templates"]
    identities = re.findall(r"uuid: (\w+)", TEMPLATE)
    assert len(identities) == len(set(identities))
    assert all(re.fullmatch(r"[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}", identity) for identity in identities)
    assert template["discovery_rules"][0]["master_item"]["key"] == template["items"][0]["key"] == "scribe.all"
