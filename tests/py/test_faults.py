"""The fault harness, a few rounds: enough to see that it runs and that nothing is lost.

More by make check-faults and make check-store-faults.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from cluster import ROOT, Cluster


def test_nothing_is_lost_or_repeated_whatever_is_killed(cluster: Cluster) -> None:
    command = [sys.executable, str(ROOT / "tests/faults/harness.py"), "--seed", "20261122", "--rounds", "9"]
    environment = os.environ | {"PG_CONFIG": cluster.pg_config}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count(": equal, ") == 9


def test_what_the_programs_tell_while_they_are_killed_is_a_run_of_the_model(cluster: Cluster) -> None:
    command = [sys.executable, str(ROOT / "tests/faults/harness.py"), "--seed", "1", "--told", "--only", "rotate"]
    environment = os.environ | {"PG_CONFIG": cluster.pg_config}
    result = subprocess.run(
        [*command, "--rounds", "2"], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    accepted = re.search(r"the model accepts (\d+) steps, with (\d+) transactions", result.stdout)
    assert accepted is not None, result.stdout
    assert int(accepted[1]) > 50
    assert int(accepted[2]) > 0


@pytest.mark.slow
def test_what_a_store_holds_is_right_whatever_is_killed_on_the_way_there(cluster: Cluster) -> None:
    kinds = ("store killed: rotate", "bytes changed on the way: sync", "program killed: restore")
    command = [sys.executable, str(ROOT / "tests/faults/store.py"), "--seed", "20261130", "--only", ",".join(kinds)]
    environment = os.environ | {"PG_CONFIG": cluster.pg_config}
    result = subprocess.run(
        [*command, "--rounds", "3"], env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert all(f": {kind} (" in result.stdout for kind in kinds), result.stdout
    assert result.stdout.count(": equal, ") == 3
