"""Several databases at once: scribe-check --all and scribe-status, and turns between their bases."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from aged import Aged
from cluster import ROOT, poll
from fleet import run_alone
from source import Scribe

from scribe.archive.manifest import check_value
from scribe.common import files
from scribe.common.cli import make_parser
from scribe.common.errors import UsageError
from scribe.health.formats import json_text
from scribe.health.instances import add_options, find_instances

NAMES = ["absent", "archived", "watched", "wrong"]


@pytest.fixture(scope="module")
def settings(watched: Scribe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Settings of a healthy database, of two that are not, and of one whose settings are wrong."""
    directory = tmp_path_factory.mktemp("etc")
    archived = Aged(tmp_path_factory.mktemp("aged") / "archive")
    archived.add_base(0)
    archived.add_segment(0.5, 3)
    archived.start_chain(2)
    server = "".join(f"{key}={watched.env[key]}\n" for key in ("PGHOST", "PGPORT", "PGUSER"))
    texts = {
        "watched": f"SCRIBE_ARCHIVE={watched.archive}\nPGDATABASE=watched\n{server}",
        "archived": f"SCRIBE_ARCHIVE={archived.path}\nPGHOST={directory}\n",
        "absent": f"SCRIBE_ARCHIVE={directory}/none\n",
        "wrong": "SCRIBE_NONSENSE=1\n",
    }
    for name, text in texts.items():
        (directory / f"{name}.env").write_text(text)
    return directory


def states(settings: Path, *arguments: object) -> dict[str, Any]:
    """Run scribe-check on all and return its JSON."""
    result = run_alone("scribe-check", "--config-dir", settings, "--format", "json", *arguments)
    assert result.stderr == ""
    value: dict[str, Any] = json.loads(result.stdout)
    check_value("fleet", value, Path("scribe-check --all"))
    for database in value["databases"]:
        check_value("check", database, Path(database["name"]))
    assert result.returncode == value["exit_status"]
    return value


def test_each_database_is_looked_at_with_its_own_settings(settings, watched):
    value = states(settings)
    assert [database["name"] for database in value["databases"]] == NAMES
    found = {database["name"]: database for database in value["databases"]}
    bad = [finding for finding in found["watched"]["checks"] if finding["state"] != "OK"]
    assert (value["state"], bad) == ("CRITICAL", [])
    assert {name: found[name]["state"] for name in NAMES[:2]} == dict.fromkeys(NAMES[:2], "CRITICAL")
    assert (found["wrong"]["state"], found["wrong"]["checks"][0]["name"]) == ("UNKNOWN", "configuration")
    assert found["watched"]["archive"] == str(watched.archive)


def test_nagios_gets_one_status_and_a_line_for_each_database(settings):
    result = run_alone("scribe-check", "--config-dir", settings, "--only", "archive,lag")
    first, *lines = result.stdout.splitlines()
    assert result.returncode == 2
    assert re.match(
        r'SCRIBE CRITICAL: 4 databases: absent: archive: there is no directory ".*" \(and 1 more\)'
        r" \(and 2 other databases\) \| databases=4;;;0 databases_not_ok=3;;;0$",
        first,
    ), first
    assert [re.match(r"\[(\w+)\] (\w+): ", line)[2] for line in lines] == NAMES
    assert run_alone("scribe-check", "--config-dir", settings, "-q").stdout.count("\n") == 1


def test_prometheus_tells_the_databases_apart(settings):
    from prometheus_client.parser import text_string_to_metric_families

    text = run_alone("scribe-check", "--config-dir", settings, "--format", "prometheus").stdout
    families = {family.name: family for family in text_string_to_metric_families(text)}
    found = {sample.labels["name"]: sample.value for sample in families["scribe_state"].samples}
    assert found == {"absent": 2, "archived": 2, "watched": 0, "wrong": 3}
    series = [(s.name, tuple(sorted(s.labels.items()))) for family in families.values() for s in family.samples]
    assert len(series) == len(set(series))


def test_a_table_has_a_line_for_each_database(settings):
    text = run_alone("scribe-check", "--config-dir", settings, "--format", "table", COLUMNS="400").stdout
    assert [line.split()[1] for line in text.splitlines()[:-1]] == NAMES
    assert re.fullmatch(r"CRITICAL: 4 databases, 3 not OK, [\d.]+ s", text.splitlines()[-1])


def test_a_database_that_hangs_holds_up_no_other(settings, watched, tmp_path):
    (tmp_path / "watched.env").write_text((settings / "watched.env").read_text())
    os.mkfifo(tmp_path / "hangs.env")  # whoever reads it waits
    value = states(tmp_path, "-t", "8", "--no-heartbeat")
    found = {database["name"]: database["checks"] for database in value["databases"]}
    assert value["databases"][1]["state"] == "OK", found["watched"]
    assert "could not be read in time" in found["hangs"][0]["text"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--config-dir", "/nowhere"], 'could not read directory "/nowhere"'),
        (["--config-dir", "/proc/self/fdinfo"], 'there is no file NAME.env in "/proc/self/fdinfo"'),
        (["--all", "-d", "shop"], "--dbname is for one database"),
        (["--all", "--config", "x"], "--config is for one database"),
    ],
)
def test_what_is_meant_for_one_database_is_refused(arguments, said):
    parsed = make_parser("scribe-check", "", "")
    add_options(parsed)
    with pytest.raises(UsageError, match=re.escape(said)):
        find_instances(parsed.parse_args(arguments))


def test_wrong_use_is_said_in_the_format_that_was_asked_for():
    result = run_alone("scribe-check", "--config-dir", "/nowhere", "--format", "json")
    value = json.loads(result.stdout)
    check_value("check", value, Path("scribe-check"))
    assert (result.returncode, value["exit_status"], value["checks"][0]["name"]) == (3, 3, "configuration")
    result = run_alone("scribe-status", "--config-dir", "/nowhere")
    assert (result.returncode, result.stdout) == (2, "")


def test_no_name_controls_a_terminal(tmp_path):
    for name in (b"a\x1b[2J|\xff.env", "b\x9b2J\n.env".encode()):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_text("")
    parsed = make_parser("scribe-check", "", "")
    add_options(parsed)
    found = find_instances(parsed.parse_args(["--config-dir", str(tmp_path)]))
    assert [instance.name for instance in found] == ["a?[2J/?", "b?2J?"]
    value = {"name": 'ä \x9b \x7f \udcff " \n'}
    assert json.loads(json_text(value)) == value
    assert json_text(value) == '{\n  "name": "ä \\u009b \\u007f \\udcff \\" \\n"\n}\n'


# scribe-status


def test_a_person_sees_every_database_in_a_line_and_below_it_what_is_wrong(settings, watched):
    result = run_alone("scribe-status", "--config-dir", settings, COLUMNS="400")
    lines = result.stdout.splitlines()
    assert (result.returncode, result.stderr) == (1, "")
    assert " ".join(lines[0].split()) == "database state restorable to from size a day rehearsed next alarm"
    assert [line.split()[:2] for line in lines[1:5]] == [
        ["absent", "CRITICAL"],
        ["archived", "CRITICAL"],
        ["watched", "OK"],
        ["wrong", "UNKNOWN"],
    ]
    assert re.search(r" ago +[\d.]+ [\d.]*k?B? ?.* never +\w+ in \d", lines[3]), lines[3]
    assert any(line.startswith('absent: CRITICAL: archive: there is no directory "') for line in lines[5:])
    quiet = run_alone("scribe-status", "--config-dir", settings, "-q", COLUMNS="400").stdout
    assert "watched" not in quiet and "archived" in quiet


def test_json_tells_what_can_be_restored_where_the_gaps_are_and_how_it_grows(settings):
    result = run_alone("scribe-status", "--config-dir", settings, "--json", "--offline")
    values = {value["name"]: value for value in json.loads(result.stdout)["databases"]}
    found = values["archived"]
    assert (found["database"], len(found["bases"]), found["segments"], found["transactions"]) == ("shop", 2, 2, 4)
    assert [list(window) for window in found["windows"]] == [["from", "to"]] * 2
    (gap,) = found["gaps"]
    assert (gap["from"], gap["to"]) == (found["windows"][0]["to"], found["windows"][1]["from"])
    assert "the stream began again" in gap["reason"]
    assert found["restorable_from"] == found["windows"][0]["from"]
    assert found["bytes"] == found["base_bytes"] + found["segment_bytes"] > 0
    assert sum(day["transactions"] for day in found["days"]) == 4
    assert [day["day"] for day in found["days"]] == ["2026-11-22", "2026-11-24"]
    assert "server" not in {fault["check"] for fault in found["faults"]}
    assert (values["absent"]["bases"], values["absent"]["restorable_to"]) == ([], None)


def test_status_of_one_database_writes_nothing_into_its_wal(watched):
    lsn = "SELECT pg_current_wal_insert_lsn()"
    with watched.cluster.connect("watched") as conn:
        for _ in range(5):  # the server's own processes write now and then: all they need is one turn without them
            before = conn.execute(lsn).fetchone()
            result = watched.run("scribe-status", "--json")
            if conn.execute(lsn).fetchone() == before:
                break
        else:
            pytest.fail("each of five runs wrote into the WAL")
    (value,) = json.loads(result.stdout)["databases"]
    assert (value["state"], value["faults"]) == ("OK", [])
    assert value["next_alarm"]["seconds"] > 0


def test_a_damaged_manifest_is_a_fault_and_the_rest_is_shown(settings, tmp_path, watched):
    archive = Aged(tmp_path / "damaged")
    archive.add_base(0)
    archive.add_segment(1).write_text("{}")
    (tmp_path / "damaged.env").write_text(f"SCRIBE_ARCHIVE={archive.path}\n")
    result = run_alone("scribe-status", "--config-dir", tmp_path, "--offline")
    assert result.returncode == 1
    assert re.search(r"damaged: CRITICAL: manifests: manifest .* is not valid", result.stdout.replace("\n    ", " "))


# turns


def test_no_more_bases_are_taken_at_once_than_the_setting_says(watched, tmp_path):
    env = watched.env | {"SCRIBE_DUMPS_AT_ONCE": "1", "HOME": str(tmp_path)}
    command = [ROOT / "bin/scribe-dump", "--no-prune"]
    lock, said = tmp_path / ".pg_scribe/dumps/1.lock", tmp_path / "said"
    lock.parent.mkdir(parents=True)
    with contextlib.ExitStack() as turn, said.open("w") as stderr:
        turn.enter_context(files.Lock(lock, "the test's turn"))
        with (
            subprocess.Popen(command, env=env, stderr=stderr, stdout=subprocess.DEVNULL) as stopped,
            subprocess.Popen(command, env=env, stderr=stderr, stdout=subprocess.PIPE, text=True) as dump,
        ):
            poll(lambda: said.read_text().count("waiting for a turn: 1 base is being taken") == 2, 30, "both waits")
            stopped.send_signal(signal.SIGTERM)
            assert stopped.wait(30) == 1
            turn.close()
            printed, _ = dump.communicate(timeout=60)
    assert (dump.returncode, Path(printed.strip()).parent.name) == (0, "base")
