"""The checks of what must not grow old: base, globals, metadata, verification, rehearsal."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from checking import check, emptied, state
from cluster import poll


def test_a_missing_base_and_an_old_one_are_told(watched):
    with emptied(watched.archive / "base"):
        finding = check(watched, "base")
        assert (finding["state"], "scribe-dump" in finding["hint"]) == ("CRITICAL", True)
    poll(lambda: state(watched, "base", "-w", "0", "-c", "1h") == "WARNING", 30, "the warning")
    assert state(watched, "base") == "OK"


def test_missing_globals_and_metadata_are_told(watched):
    with emptied(watched.archive / "globals"), emptied(watched.archive / "base"):
        assert (state(watched, "globals"), state(watched, "metadata")) == ("CRITICAL", "WARNING")
        for name in ("globals", "metadata"):
            watched.run(str(re.search(r'"(scribe-\w+)"', check(watched, name)["hint"])[1]))
            assert state(watched, name) == "OK"
        for path in (watched.archive / "globals").iterdir():
            path.unlink()


def test_globals_of_an_older_base_count_when_the_newest_was_taken_without(watched):
    with emptied(watched.archive / "globals"):
        base = Path(watched.run("scribe-dump", "--no-globals", "--no-prune").stdout.strip())
        assert not (base / "globals.sql").exists()
        assert state(watched, "globals") == "OK"
    shutil.rmtree(base)


@pytest.mark.parametrize(("name", "file"), [("verification", "verify.json"), ("rehearsal", "rehearsal.json")])
def test_a_forgotten_verification_is_told(watched, name, file):
    path = watched.archive / file
    assert check(watched, name)["text"] == "none yet"
    assert state(watched, name, "-w", "0") == "WARNING"
    path.write_text(json.dumps({"time": "2026-01-01T00:00:00Z", "ok": True}))
    assert (state(watched, name), state(watched, name, "-c", "20000d")) == ("CRITICAL", "WARNING")
    path.write_text(json.dumps({"time": "2099-01-01T00:00:00Z", "ok": True}))
    finding = check(watched, name)
    assert (finding["state"], "days ahead of this host's clock" in finding["text"]) == ("CRITICAL", True)
    assert "timedatectl" in finding["hint"]
    path.write_text("[]")
    assert state(watched, name) == "WARNING"
    path.unlink()


def test_a_damaged_file_is_critical_from_its_verification_until_the_next(watched):
    newest = sorted((watched.archive / "incremental").glob("*.sql.zst"))[-1]
    content = newest.read_bytes()
    newest.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    try:
        assert state(watched, "verification") == "OK"
        assert watched.run("scribe-verify", check=False).returncode == 1
        finding = check(watched, "verification")
        assert (finding["state"], newest.name in finding["text"]) == ("CRITICAL", True)
    finally:
        newest.write_bytes(content)
    watched.run("scribe-verify")
    finding = check(watched, "verification")
    assert (finding["state"], finding["values"]["verification_succeeded"]) == ("OK", 1)
    (watched.archive / "verify.json").unlink()


@pytest.mark.slow
def test_a_rehearsal_is_seen(watched):
    watched.run("scribe-verify", "--rehearse")
    assert check(watched, "rehearsal")["values"]["rehearsal_succeeded"] == 1
    path = watched.archive / "rehearsal.json"
    value = json.loads(path.read_text()) | {"ok": False, "differences": ["table item has 3 rows, not 4"]}
    path.write_text(json.dumps(value))
    finding = check(watched, "rehearsal")
    assert (finding["state"], "3 rows, not 4" in finding["text"]) == ("CRITICAL", True)
    path.unlink()
