"""Programs that tests start out of a process that has their modules: as a shell starts them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from cluster import ROOT
from starting import run_program

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("program", "arguments"),
    [
        ("scribe-globals", ["--version"]),
        ("scribe-log", ["--help"]),
        ("scribe-prune", ["--nonsense"]),
        ("scribe-prune", ["--archive", "/nowhere"]),
        ("scribe-status", ["--config-dir", "nowhere"]),
    ],
)
def test_it_is_what_a_shell_would_start(
    program: str, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Status, output, working directory."""
    monkeypatch.chdir(tmp_path)
    command = [str(ROOT / "bin" / program), *arguments]
    wanted = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert vars(run_program(command)) == vars(wanted)


def test_nothing_that_a_new_interpreter_would_notice_is_passed_over(tmp_path: Path) -> None:
    """With PYTHONHOME or the like in the environment, a program is started as a shell does it."""
    env = os.environ | {"PYTHONHOME": str(tmp_path)}  # where no interpreter finds its own modules
    said = run_program([ROOT / "bin/scribe-prune", "--version"], env)
    assert said.returncode != 0
    assert "encodings" in said.stderr


def test_a_program_that_takes_too_long_is_killed(tmp_path: Path) -> None:
    """Nothing of it is left."""
    os.mkfifo(tmp_path / "settings")
    command: list[str | Path] = [ROOT / "bin/scribe-prune", "--config", tmp_path / "settings"]
    with pytest.raises(subprocess.TimeoutExpired):
        run_program(command, timeout=1)
    with pytest.raises(OSError, match="No such device"):  # nobody reads it
        os.open(tmp_path / "settings", os.O_WRONLY | os.O_NONBLOCK)
