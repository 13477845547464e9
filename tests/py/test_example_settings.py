"""etc/scribe.env.example is read alike by sh, systemd and python-dotenv, and names every key."""

from __future__ import annotations

import re
import subprocess

import pytest
from cluster import ROOT
from dotenv import dotenv_values

from scribe.common.errors import UsageError
from scribe.common.settings import KEYS, load_settings

EXAMPLE = ROOT / "etc/scribe.env.example"
pytestmark = pytest.mark.unit


def uncommented() -> str:
    """Return the example with every setting in force."""
    return re.sub(r"(?m)^#(?=[A-Z_]+=)", "", EXAMPLE.read_text())


def read_with_sh(path: str) -> dict[str, str]:
    """Return what a shell has after sourcing the file."""
    text = subprocess.check_output(["env", "-i", "sh", "-c", f'set -a; . "{path}"; env'], text=True)
    return {k: v for k, v in (line.split("=", 1) for line in text.splitlines()) if k not in ("PWD", "_", "SHLVL")}


def read_with_systemd_rules(text: str) -> dict[str, str]:
    """Return what systemd.exec(5) makes of the file, for the two forms that are allowed in it."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {key: value.strip('"') for key, value in (line.split("=", 1) for line in lines)}


def test_every_key_is_explained_and_no_other(tmp_path):
    assert {key for key in read_with_systemd_rules(uncommented()) if key.startswith("SCRIBE_")} == KEYS.keys()


def test_only_the_two_forms_that_all_three_readers_share_are_used():
    for line in uncommented().splitlines():
        assert re.fullmatch(r'|#.*|[A-Z_]+=([^\s"\'$\\`#]+|"[^"$\\`]*")', line), line


def test_sh_systemd_and_dotenv_read_the_same(tmp_path):
    path = tmp_path / "shop.env"
    path.write_text(uncommented())
    expected = read_with_systemd_rules(uncommented())
    assert read_with_sh(str(path)) == expected
    assert dotenv_values(path) == expected


def test_the_values_shown_are_the_defaults():
    shown = read_with_systemd_rules(uncommented())
    for key, entry in KEYS.items():
        if entry.default is not None:
            assert shown[key] == entry.default


def test_the_programs_accept_it(tmp_path, monkeypatch):
    for key in KEYS:
        monkeypatch.delenv(key, raising=False)
    path = tmp_path / "shop.env"
    path.write_text(uncommented())
    load_settings(str(path), {})


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("SCRIBE_SLOT", "shop\n"),
        ("SCRIBE_SLOT", "x" * 64),
        ("SCRIBE_STATUS_INTERVAL", "10\n"),
        ("SCRIBE_STATUS_INTERVAL", "0"),
        ("SCRIBE_FSYNC_INTERVAL", "2147484"),
        ("SCRIBE_LAG_CRITICAL", "1GB\n"),
        ("SCRIBE_LAG_CRITICAL", "\u0661GB"),
        ("SCRIBE_SLOT_AGE_EMERGENCY", "24h\n"),
        ("SCRIBE_DISK_WARNING", "80%\n"),
        ("SCRIBE_DISK_WARNING", "101%"),
        ("SCRIBE_KEEP_MONTHLY", "-1"),
        ("SCRIBE_KEEP_MONTHLY", "\u0661"),
    ],
)
def test_what_only_looks_like_a_value_is_refused(key, text):
    with pytest.raises(UsageError, match=key):
        load_settings(None, {}, {key: text})
