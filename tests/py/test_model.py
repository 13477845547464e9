"""The model of the protocol names functions that exist, and its runner names words of the model."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cluster import ROOT

pytestmark = pytest.mark.unit
MODEL = (ROOT / "tests/model/protocol.pml").read_text()
RUN = (ROOT / "tests/model/run.py").read_text()


def functions(path: Path) -> set[str]:
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}


def test_every_step_of_the_model_stands_for_a_function_that_is_there() -> None:
    steps = re.findall(r"@([a-z_/]+\.py):(\w+)", MODEL)
    assert len(steps) > 30
    assert [f"{path}:{name}" for path, name in steps if name not in functions(ROOT / "lib/scribe" / path)] == []


def test_every_step_that_can_be_taken_out_is_taken_out_by_a_configuration() -> None:
    words = set(re.findall(r"\b(?:PLANT|OPEN)_\w+", MODEL))
    assert words == set(re.findall(r'"((?:PLANT|OPEN)_\w+)"', RUN))


def test_the_model_tells_a_step_taken_out_from_one_that_is_there() -> None:
    if shutil.which("spin") is None or shutil.which("gcc") is None:
        pytest.skip("place: spin or gcc is not installed")
    command = [sys.executable, str(ROOT / "tests/model/run.py"), "--only", "PLANT_no_hup"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.startswith("found")
