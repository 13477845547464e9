"""What every program does before anything else."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import psycopg
import pytest

from scribe.common import cli

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("path", [":/usr/bin", "/usr/bin:", ".:/usr/bin", "bin:/usr/bin", "", ":"])
def test_no_program_of_the_current_directory_is_run(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever may write there is not who runs us."""
    for planted in (tmp_path / "pg_dump-planted", tmp_path / "bin" / "pg_dump-planted"):
        planted.parent.mkdir(exist_ok=True)
        planted.write_text("#!/bin/sh\n")
        planted.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", path)

    def body(_: list[str]) -> int:
        assert shutil.which("pg_dump-planted") is None
        assert shutil.which("sh") is not None
        assert os.system("pg_dump-planted 2>/dev/null") != 0
        return 0

    assert cli.run("scribe-x", body, []) == 0


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (psycopg.OperationalError("server closed the connection"), 75, "lost the server"),
        (psycopg.errors.AdminShutdown("terminating connection"), 75, "lost the server"),
        (psycopg.errors.SerializationFailure("initial slot snapshot too large"), 75, "the server said"),
        (psycopg.errors.DiskFull("no space left"), 75, "the server said"),
        (psycopg.errors.UndefinedTable("no such table"), 1, "the server said"),
        (psycopg.errors.InternalError_("cache lookup failed for type 7"), 75, "the schema changed meanwhile"),
    ],
)
def test_only_a_server_that_went_is_called_lost(
    error: psycopg.Error, status: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def body(_: list[str]) -> int:
        raise error

    assert cli.run("scribe-x", body, []) == status
    assert f"scribe-x: error: {words}: {error}" in capsys.readouterr().err
