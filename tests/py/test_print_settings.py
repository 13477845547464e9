"""scribe-init --print-settings: what is in force, from where, and nothing secret."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from cluster import ROOT

from scribe.common.settings import KEYS

pytestmark = pytest.mark.unit


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run scribe-init --print-settings with nothing in the environment but this."""
    return subprocess.run(
        [str(ROOT / "bin/scribe-init"), "--print-settings", *arguments],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def shown(*arguments: str, **environment: str) -> dict[str, tuple[str | None, str]]:
    """Return value and source by key."""
    result = run("--json", *arguments, **environment)
    assert result.returncode == 0, result.stderr
    return {entry["key"]: (entry["value"], entry["source"]) for entry in json.loads(result.stdout)}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "shop.env"
    text = 'SCRIBE_ARCHIVE="/srv/the shop"\nSCRIBE_COMPRESS=none\nSCRIBE_DUMP_JOBS=4\nPGHOST=db\nPGPORT=5433\n'
    path.write_text(text)
    return path


def test_each_key_is_shown_with_where_it_comes_from(config):
    found = shown("--config", str(config), "-h", "other", SCRIBE_DUMP_JOBS="2", PGUSER="scribe")
    assert KEYS.keys() <= found.keys()
    assert found["SCRIBE_ARCHIVE"] == ("/srv/the shop", f"file {config}")
    assert found["SCRIBE_COMPRESS"] == ("none", f"file {config}")
    assert found["SCRIBE_DUMP_JOBS"] == ("2", "environment")
    assert found["SCRIBE_DUMP_FORMAT"] == ("plain", "default")
    assert found["SCRIBE_SLOT"] == (None, "not set")
    assert found["PGHOST"] == ("other", "flag")
    assert found["PGPORT"] == ("5433", f"file {config}")
    assert found["PGUSER"] == ("scribe", "environment")


def test_the_file_that_the_environment_names_is_read(config):
    assert shown(SCRIBE_CONFIG=str(config))["PGHOST"] == ("db", f"file {config}")


def test_what_a_service_manager_has_read_from_the_same_file_comes_from_the_file(config):
    found = shown(SCRIBE_CONFIG=str(config), SCRIBE_COMPRESS="none", SCRIBE_DUMP_JOBS="5")
    assert found["SCRIBE_COMPRESS"] == ("none", f"file {config}")
    assert found["SCRIBE_DUMP_JOBS"] == ("5", "environment")


def test_a_person_reads_one_line_for_each_key(config):
    lines = run("--config", str(config)).stdout.splitlines()
    assert len(lines) == len(KEYS) + 2
    assert all(line.split("  ")[0].startswith(("SCRIBE_", "PG")) for line in lines)


def test_no_password_is_printed_whichever_way_it_is_given(tmp_path):
    config = tmp_path / "shop.env"
    command = "RESTIC_PASSWORD=hush1 restic --token 'hush 2' -r https://me:hush3@host/ backup %p"
    config.write_text(f'PGPASSWORD=hush4\nPGSSLKEY=/etc/key.pem\nSCRIBE_ARCHIVE_COMMAND="{command}"\n')
    dbname = "postgresql://me:hush5@host/shop"
    for arguments in (["--json"], [], ["-v"], ["-d", dbname]):
        result = run("--config", str(config), *arguments)
        assert result.returncode == 0
        assert "hush" not in result.stdout + result.stderr
        assert "/etc/key.pem" in result.stdout


def test_neither_server_nor_archive_is_needed():
    assert shown(PGHOST="/nonexistent")["SCRIBE_ARCHIVE"] == (None, "not set")


def test_a_wrong_key_is_still_refused():
    result = run(SCRIBE_KOMPRESS="none")
    assert result.returncode == 2
    assert 'error: unknown setting "SCRIBE_KOMPRESS" (environment)' in result.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, 'could not open settings file "{}": No such file or directory'),
        ("SCRIBE_ARCHIVE\n", 'settings file "{}" has a line without "=": "SCRIBE_ARCHIVE"'),
        ("SCRIBE_COMPRESS=gzip\n", 'invalid value "gzip" for SCRIBE_COMPRESS (file {}): one of zstd, none is expected'),
        ("SCRIBE_KOMPRESS=none\n", 'unknown setting "SCRIBE_KOMPRESS" (file {})'),
    ],
)
def test_a_wrong_file_is_told_in_one_line_with_a_hint(tmp_path, text, message):
    config = tmp_path / "shop.env"
    if text is not None:
        config.write_text(text)
    result = run(SCRIBE_CONFIG=str(config))
    assert result.returncode == 2
    first, second = result.stderr.splitlines()
    assert first == f"scribe-init: error: {message.format(config)}"
    assert second.startswith("scribe-init: hint: ")
