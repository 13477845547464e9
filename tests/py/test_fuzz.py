"""The generator of random work, a few rounds of fixed seeds; any number by make check-fuzz and make check-frames."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cluster import ROOT, Cluster

sys.path.insert(0, str(ROOT / "tests/fuzz"))

import minimise
from generator import INIT, ROTATE, Step


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
    said = run_fuzz(cluster, "--seed", "1", "--transactions", "300", "--undo", "2")
    assert said.count(": equal, ") == 2
    undone = re.findall(r"'equal right after(?: a DROP)?': (\d+)", said)
    assert sum(map(int, undone)) == 4 and said.count("failures: 0") == 2, said
    assert share_accepted(said) >= 70, said


def test_texts_that_imitate_frames_come_back_as_data_from_a_sanitised_decoder(cluster: Cluster, tmp_path: Path) -> None:
    for program in ("initdb", "psql"):
        copy = shutil.copy(Path(cluster.bindir) / program, tmp_path)
        if subprocess.run([copy, "--version"], capture_output=True, check=False).returncode:
            pytest.skip("place: a copy of this server's programs does not find its libraries")
    said = run_fuzz(cluster, "--frames", "--asan", "--encoding", "UTF8", "--seed", "1", "--transactions", "60")
    assert said.count(": equal, ") == 1
    assert share_accepted(said) >= 60, said


def step(session: int, transaction: int, sql: str) -> Step:
    return Step(session, transaction, sql)


@pytest.mark.unit
def test_a_failing_script_is_made_as_small_as_the_failure_allows() -> None:
    noise = [step(n % 3, 100 + n, f"SELECT {n}") for n in range(40)]
    steps = [*noise[:9], step(0, 1, "CREATE TABLE t ()"), *noise[9:15], INIT, ROTATE, *noise[15:30]]
    steps += [step(1, 2, "BEGIN"), *noise[30:], step(1, 2, "DROP TABLE t;"), step(1, 2, "COMMIT")]

    def fails(some: list[Step]) -> bool:
        texts = [s.sql for s in some]
        return (
            INIT in some and "DROP TABLE t;" in texts and "CREATE TABLE t ()" in texts[: texts.index("DROP TABLE t;")]
        )

    small = minimise.shrink(steps, fails)
    assert [s.sql for s in small] == ["CREATE TABLE t ()", "scribe-init", "DROP TABLE t;"]
    case = minimise.as_case(small)
    assert case.splitlines()[1:] == ["CREATE TABLE t ();", "-- after init", "DROP TABLE t;"]


@pytest.mark.unit
def test_a_failure_that_needs_two_sessions_keeps_them() -> None:
    steps = [INIT, step(0, 1, "BEGIN"), step(1, 2, "SELECT 1"), step(0, 1, "COMMIT"), step(2, 3, "SELECT 2")]

    def fails(some: list[Step]) -> bool:
        return [s.session for s in some if s.transaction in (1, 2)] == [0, 1, 0]

    small = minimise.shrink(steps, fails)
    assert small == steps[:4]
    assert "NOT A CASE YET" in minimise.as_case(small)
