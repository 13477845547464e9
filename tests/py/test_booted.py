"""The installation of docs/install.md on a booted system, given a root and a way to boot it; see tests/booted."""

from __future__ import annotations

import os
import subprocess

import pytest
from cluster import ROOT


@pytest.mark.unit
@pytest.mark.slow
def test_a_backup_is_installed_runs_survives_and_leaves_without_a_trace():
    given = {name: os.environ.get(f"PG_SCRIBE_{name}", "") for name in ("ROOTFS", "BOOT", "PREPARED")}
    if not given["ROOTFS"] or not given["BOOT"]:
        pytest.skip('place: no system to boot; "make check-booted" says what is needed')
    result = subprocess.run([ROOT / "tests/booted/run"], env=os.environ | given, check=False)
    assert result.returncode == 0
