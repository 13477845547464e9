"""Every command of etc/cron works as cron runs it: by sh, with little in the environment."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
from cluster import ROOT, poll

pytestmark = pytest.mark.slow


def jobs(home: Path) -> list[str]:
    """Return the commands, with their paths below home instead of /var/lib/scribe."""
    lines = re.findall(r"(?m)^(?:[0-9*/]+ +){5} *scribe +(.*)$", (ROOT / "etc/cron").read_text())
    return [line.replace("/var/lib/scribe", str(home)) for line in lines]


def test_the_jobs_of_cron_back_up_watch_and_verify(scribe, tmp_path):
    (tmp_path / "metrics").mkdir()
    (tmp_path / "bin").mkdir()
    log = tmp_path / "log"
    (tmp_path / "bin/logger").write_text(f'#!/bin/sh\nsed "s/^/$2: /" >>"{log}"\n')  # there is no syslog here
    (tmp_path / "bin/logger").chmod(0o755)
    config = tmp_path / "shop.env"
    config.write_text(
        "".join(f"{key}={value}\n" for key, value in scribe.env.items() if key[:2] == "PG" or "SCRIBE" in key)
    )
    path = f"{tmp_path}/bin:{scribe.env['PATH']}"
    environment = {"PATH": path, "SCRIBE_CONFIG": str(config), "NAME": "shop", "HOME": str(tmp_path)}
    stream, *others = jobs(tmp_path)
    assert "scribe-stream" in stream
    (mail,) = [line for line in others if "echo" in line]

    def run(command: str) -> str:
        words = ["sh", "-c", command]
        result = subprocess.run(words, env=environment, capture_output=True, text=True, check=False, timeout=120)
        assert (result.returncode, result.stderr) == (0, ""), command
        return result.stdout

    scribe.cluster.psql("CREATE TABLE t (a int)", scribe.dbname)
    scribe.run("scribe-init")
    assert "SCRIBE CRITICAL" in run(mail)  # there is no stream yet
    with subprocess.Popen(["sh", "-c", stream], env=environment, start_new_session=True) as running:
        try:
            poll((scribe.archive / "spool/stream.json").exists, what="the stream")
            scribe.cluster.psql("INSERT INTO t VALUES (1)", scribe.dbname)
            scribe.run("scribe-rotate", "--wait-lsn", "current")
            for command in others:
                assert run(command) == "" or command == mail, command
            assert run(mail) == ""
            run(stream)  # a second one is kept away in silence
        finally:
            pid = json.loads((scribe.archive / "spool/stream.json").read_text())["stream"]["pid"]
            os.kill(pid, signal.SIGTERM)
            running.wait(30)
    assert "scribe_check_state" in (tmp_path / "metrics/scribe-shop.prom").read_text()
    assert len(list((scribe.archive / "base").glob("*/manifest.json"))) == 2
    said = log.read_text()
    assert "error" not in said
