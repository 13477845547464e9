"""The generator of random work, a few rounds of fixed seeds; any number by make check-fuzz and make check-frames."""

from __future__ import annotations

import os
import re
import subprocess
import sys

from cluster import ROOT, Cluster


def run_fuzz(cluster: Cluster, *arguments: str) -> str:
    command = [sys.executable, str(ROOT / "tests/fuzz/run.py"), "--verbose", *arguments]
    environment = os.environ | {"PG_CONFIG": cluster.pg_config}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def share_accepted(said: str) -> int:
    match = re.search(r"(\d+) % of them accepted", said)
    assert match is not None
    return int(match[1])


def test_random_work_of_several_sessions_comes_back_as_it_was(cluster: Cluster) -> None:
    said = run_fuzz(cluster, "--seed", "1", "--transactions", "300")
    assert said.count(": equal, ") == 2
    assert share_accepted(said) >= 70, said


def test_texts_that_imitate_frames_come_back_as_data_from_a_sanitised_decoder(cluster: Cluster) -> None:
    said = run_fuzz(cluster, "--frames", "--asan", "--encoding", "UTF8", "--seed", "1", "--transactions", "60")
    assert said.count(": equal, ") == 1
    assert share_accepted(said) >= 60, said
