"""The systemd units and the cron file: well-formed, hardened, complete, and of one schedule."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from cluster import ROOT

pytestmark = pytest.mark.unit
UNITS = ROOT / "systemd"
SERVICES = sorted(path.name for path in UNITS.glob("scribe-*@.service"))
TIMERS = sorted(path.name for path in UNITS.glob("scribe-*@.timer"))
# It hands mail over to programs that gain a group, which hardening forbids.
# Started for each connection, by no instance of a backup, and as another user: see the tests at the end.
LAUNCHER = "scribe-rehearsal@.service"
NOT_HARDENED = "scribe-failure@.service"
SCHEDULE = {  # timer: when in cron, when in systemd
    "rotate": ("*/5 * * * *", "*:0/5"),
    "dump": ("0 2 * * *", "*-*-* 02:00"),
    "globals": ("30 1 * * *", "*-*-* 01:30"),
    "meta": ("40 1 * * *", "*-*-* 01:40"),
    "check": ("* * * * *", "*:*"),
    "verify": ("0 4 * * 0", "Sun *-*-* 04:00"),
    "rehearse": ("0 4 * * 6", "Sat *-*-* 04:00"),
    "compact": ("0 5 * * 0", "Sun *-*-* 05:00"),
}
OPTIONAL = {"compact"}  # to be enabled by who wants it, in cron by taking away the "#"


class Unit(configparser.RawConfigParser):
    """A unit file; of a key that is given more than once, the values are joined by blanks."""

    def __init__(self, path: Path) -> None:
        super().__init__(strict=False, delimiters="=", comment_prefixes="#", interpolation=None)
        self.optionxform = str  # type: ignore[assignment,method-assign]
        self.read_string(path.read_text())


def instance(unit: str) -> str:
    """Return the name of a template's instance."""
    return unit.replace("@.", "@shop.")


@pytest.fixture(scope="module")
def analyze(tmp_path_factory):
    """A function that runs systemd-analyze on the units as they are installed below the prefix /opt/scribe."""
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("place: systemd-analyze is not installed")
    root = tmp_path_factory.mktemp("root")
    directories = {
        "DESTDIR": str(root),
        "PREFIX": "/opt/scribe",
        "systemdsystemunitdir": "/usr/lib/systemd/system",
        "sysusersdir": "/usr/lib/sysusers.d",
        "tmpfilesdir": "/usr/lib/tmpfiles.d",
        "mandir": "/man",
        "bashcompletiondir": "/completions",
    }
    subprocess.run([ROOT / "tools/install-tree", "--units"], env=os.environ | directories, check=True)
    for path in [*(f"opt/scribe/bin/{path.name}" for path in (ROOT / "bin").iterdir()), "usr/bin/test", "bin/sh"]:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text("#!/bin/sh\n")
        (root / path).chmod(0o755)

    for name in ("sysinit", "basic", "shutdown", "timers", "network-online", "time-set", "time-sync"):
        (root / f"usr/lib/systemd/system/{name}.target").write_text("[Unit]\n")

    def run(*arguments: str) -> str:
        command = [program, *arguments[:1], f"--root={root}", *arguments[1:]]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout + result.stderr

    return run


def test_systemd_finds_no_fault(analyze):
    units = [*SERVICES, *TIMERS, "scribe@.target", "scribe-rehearsal.socket"]
    assert analyze("verify", "--man=no", *map(instance, units)) == ""


@pytest.mark.parametrize("unit", [unit for unit in SERVICES if unit != NOT_HARDENED])
def test_every_service_is_hardened(analyze, unit):
    said = analyze("security", "--offline=true", "--no-pager", instance(unit))
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", said)
    assert found is not None
    assert float(found[1]) <= 2.5


def test_every_line_that_denies_something_is_explained_or_plain():
    text = (UNITS / "hardening.conf").read_text()
    plain = (
        "Ambient|Protect(Clock|ControlGroups|Hostname|Kernel)|DevicePolicy|Restrict(Realtime|SUID)|Lock|System|Keyring"
    )
    for before, line in zip(text.splitlines(), text.splitlines()[1:], strict=False):
        if not line.startswith(("#", "[")) and not re.match(plain, line):
            assert before.startswith("#"), line


@pytest.mark.parametrize("unit", [unit for unit in SERVICES if unit not in (NOT_HARDENED, LAUNCHER)])
def test_every_service_reads_its_instances_settings_and_says_when_it_fails(unit):
    found = Unit(UNITS / unit)
    assert found["Service"]["User"] == "scribe"
    assert "SCRIBE_CONFIG=/etc/scribe/%i.env" in (UNITS / unit).read_text()
    assert found["Service"]["EnvironmentFile"] == "-/etc/scribe/%i.env"
    assert found["Service"]["ExecStart"].startswith("/usr/local/bin/scribe-")
    assert found["Unit"]["OnFailure"] == "scribe-failure@%n.service"
    assert found["Unit"]["PartOf"] == "scribe@%i.target"


def test_the_stream_is_kept_up_but_not_when_trying_again_cannot_help():
    stream = Unit(UNITS / "scribe-stream@.service")
    assert stream["Service"]["Type"] == "notify"
    assert stream["Service"]["Restart"] == "on-failure"
    assert stream["Service"]["RestartPreventExitStatus"] == "2"
    assert stream["Unit"]["StartLimitIntervalSec"] == "0"
    assert "WatchdogSec" in stream["Service"]


def test_the_target_starts_everything():
    text = (UNITS / "scribe@.target").read_text()
    wanted = {name for line in re.findall(r"(?m)^Wants=(.*)$", text) for name in line.split()}
    timers = {
        name.replace("@.", "@%i.") for name in TIMERS if name not in {f"scribe-{each}@.timer" for each in OPTIONAL}
    }
    assert wanted == timers | {"scribe-stream@%i.service", "scribe-rehearsal.socket"}
    assert {name.replace(".timer", ".service") for name in TIMERS} <= set(SERVICES)


@pytest.mark.parametrize("timer", TIMERS)
def test_timers_make_up_for_what_was_missed_and_do_not_all_begin_at_once(timer):
    found = Unit(UNITS / timer)["Timer"]
    assert found["Persistent"] == "true"
    assert found["RandomizedDelaySec"] != "0"
    assert found["OnCalendar"] == SCHEDULE[re.findall("scribe-(.*)@", timer)[0]][1]


def cron_lines() -> list[tuple[str, str]]:
    """Return when and what of each job of the cron file, those included that are commented out."""
    lines = re.findall(r"(?m)^#?((?:[0-9*/]+ +){5}) *scribe +(.*)$", (ROOT / "etc/cron").read_text())
    return [(when.strip(), what) for when, what in lines]


def test_cron_has_the_schedule_of_the_timers():
    by_tag = {
        what.rsplit(" -t scribe-", 1)[1].split("@")[0]: when for when, what in cron_lines() if " -t scribe-" in what
    }
    assert by_tag == {name: when for name, (when, _) in SCHEDULE.items()} | {"stream": "* * * * *"}
    assert set(re.findall(r"(?m)^#.* -t scribe-(\w+)@", (ROOT / "etc/cron").read_text())) == OPTIONAL


def test_cron_runs_the_commands_of_the_services():
    for _, what in cron_lines():
        if " -t scribe-" not in what:
            continue
        command = re.sub(r"^flock \S+ \S+ \S+ \S+ ", "", what.split(" 2>&1 |")[0]).replace("$NAME", "%i")
        tag = what.rsplit(" -t scribe-", 1)[1].split("@")[0]
        assert Unit(UNITS / f"scribe-{tag}@.service")["Service"]["ExecStart"] == f"/usr/local/bin/{command}"


def test_cron_accepts_the_file():
    text = (ROOT / "etc/cron").read_text()
    for line in text.splitlines():
        assert re.fullmatch(r"|#.*|[A-Z_]+=\S+|(?:[0-9*/]+ +){5} *scribe +[^%]+", line), line
    assert text.endswith("\n")  # cron ignores a last line without its end


def test_rehearsals_run_as_a_user_of_their_own_without_network_archive_or_the_sources_socket():
    found = Unit(UNITS / LAUNCHER)["Service"]
    assert found["User"] == "scribe-rehearsal"
    assert found["PrivateNetwork"] == "yes"
    text = (UNITS / LAUNCHER).read_text()
    hidden = {path for line in re.findall(r"(?m)^InaccessiblePaths=(.*)$", text) for path in line.split()}
    assert {"-/run/postgresql", "-/etc/scribe", "-/var/backups", "-/var/lib/scribe"} <= hidden
    assert re.findall(r"(?m)^RestrictAddressFamilies=(.*)$", text) == ["", "AF_UNIX"]
    users = (UNITS / "sysusers.conf").read_text()
    assert re.search(r"(?m)^u scribe-rehearsal ", users) and re.search(r"(?m)^m scribe scribe-rehearsal$", users)
    socket = Unit(UNITS / "scribe-rehearsal.socket")["Socket"]
    assert (socket["SocketGroup"], socket["SocketMode"], socket["Accept"]) == ("scribe", "0660", "yes")
