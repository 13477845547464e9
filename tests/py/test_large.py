"""Large transactions, scaled down: enough to see that it runs; at their full sizes by make check-large."""

from __future__ import annotations

import os
import subprocess
import sys

from cluster import ROOT, Cluster


def test_large_transactions_arrive_once_in_bounded_memory(cluster: Cluster) -> None:
    workloads = "rows,subtransactions"
    command = [sys.executable, str(ROOT / "tests/large/run.py"), "--scale", "0.01", "--only", workloads]
    environment = os.environ | {"PG_CONFIG": cluster.pg_config}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count(": equal; ") == 2
