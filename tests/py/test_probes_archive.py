"""The checks of the archive: every alarm is provoked by its real condition, and cleared by doing what its hint says."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import time
from contextlib import suppress

import pytest
from aged import EPOCH
from checking import check, moved_away, report, state
from cluster import ROOT, poll
from handmade import Handmade


def test_a_missing_or_damaged_archive_is_said_clearly(watched, tmp_path):
    missing = report(watched, SCRIBE_ARCHIVE=str(tmp_path / "nothing"))
    assert (missing["state"], missing["checks"][0]["name"]) == ("CRITICAL", "archive")
    with moved_away(watched.archive / "archive.json"):
        assert state(watched, "archive") == "CRITICAL"
        (watched.archive / "archive.json").write_text("{")
        assert state(watched, "base") == "UNKNOWN"
        (watched.archive / "archive.json").unlink()
    assert state(watched, "archive") == "OK"


def test_an_archive_that_belongs_to_another_user_is_unknown(watched):
    if os.geteuid():
        pytest.skip("not root: only root can become another user")
    command = ["setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups", ROOT / "bin/scribe-check"]
    result = subprocess.run(command, env=watched.env, capture_output=True, text=True, check=False)
    if "Permission denied" in result.stderr and "SCRIBE" not in result.stdout:
        pytest.skip("place: the checkout is in a directory closed to other users")
    assert (result.returncode, "SCRIBE UNKNOWN: archive" in result.stdout) == (3, True)


def test_a_broken_chain_a_missing_and_a_cut_segment_are_critical(watched):
    newest = sorted((watched.archive / "incremental").glob("*.sql.zst"))[-1]
    with moved_away(newest):
        finding = check(watched, "chain")
        assert (finding["state"], newest.name in finding["text"]) == ("CRITICAL", True)
    content = newest.read_bytes()
    newest.write_bytes(content[:-1])
    assert state(watched, "chain") == "CRITICAL"
    newest.write_bytes(content)
    assert state(watched, "chain") == "OK"


def test_a_segment_missing_from_the_middle_is_critical(tmp_path, watched):
    archive = Handmade(tmp_path / "archive")
    archive.base("")
    paths = [archive.segment(["INSERT INTO t VALUES (1);\n"]) for _ in range(5)]
    settings = {"SCRIBE_ARCHIVE": str(archive.path)}
    assert state(watched, "chain", **settings) == "OK"
    manifest = json.loads(paths[2].read_text())
    paths[2].with_name(manifest["file"]).unlink()
    assert state(watched, "chain", **settings) == "CRITICAL"
    paths[2].unlink()
    assert "begins at" in check(watched, "chain", **settings)["text"]


def test_changes_that_wait_too_long_for_a_rotation_are_told(watched):
    watched.run("scribe-rotate", "--wait-lsn", "current")
    watched.cluster.psql("INSERT INTO item VALUES (-9, 'waits'); DELETE FROM item WHERE id = -9", "watched")
    poll(lambda: state(watched, "segment", "-w", "0") == "WARNING", 30, "the wait")
    hint = check(watched, "segment", "-c", "0")["hint"]
    assert "scribe-rotate" in hint
    watched.run("scribe-rotate")
    poll(lambda: watched.run("scribe-rotate") and state(watched, "segment", "-w", "0") == "OK", 30, "the rotation")


def test_a_full_disk_is_told(watched, tmp_path):
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "x", tmp_path], check=False).returncode:
        pytest.skip("not root: only root can mount a small file system")
    try:
        archive = Handmade(tmp_path / "archive")
        settings = {"SCRIBE_ARCHIVE": str(archive.path), "SCRIBE_DISK_WARNING": "50%"}
        assert state(watched, "disk", **settings) == "OK"
        (tmp_path / "filler").write_bytes(bytes(700_000))
        assert state(watched, "disk", **settings) == "WARNING"
        with suppress(OSError), (tmp_path / "more").open("wb", buffering=0) as stream:
            while stream.write(bytes(4096)):
                pass
        finding = check(watched, "disk", **settings)
        assert (finding["state"], "scribe-prune" in finding["hint"]) == ("CRITICAL", True)
        (tmp_path / "filler").unlink()
        (tmp_path / "more").unlink()
        assert state(watched, "disk", **settings) == "OK"
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_the_time_until_the_disk_is_full_is_told(watched, tmp_path):
    archive = Handmade(tmp_path / "archive")
    archive.base("")
    assert "disk_left_seconds" not in check(watched, "disk", SCRIBE_ARCHIVE=str(archive.path))["values"]
    archive.xid += int(time.time() - EPOCH.timestamp()) - 3600  # an hour of segments up to now
    paths = []
    for _ in range(4):
        archive.xid += 1199
        paths.append(archive.segment([f"INSERT INTO t VALUES ('{secrets.token_hex(4096)}');\n"]))
    finding = check(watched, "disk", SCRIBE_ARCHIVE=str(archive.path))
    rate = sum(json.loads(path.read_text())["bytes"] for path in paths[1:]) / 3600
    left = finding["values"]["disk_left_seconds"]
    assert left == pytest.approx(finding["values"]["disk_free_bytes"] / rate, rel=0.4)
    assert "of segments" in finding["text"]


def test_files_that_the_archive_command_does_not_take_are_told(watched):
    watched.cluster.psql("UPDATE item SET word = 'three' WHERE id = 1", "watched")
    watched.run("scribe-rotate", "--wait-lsn", "current", env={"SCRIBE_ARCHIVE_COMMAND": "false"})
    poll(lambda: state(watched, "shipping", "-w", "0") == "WARNING", 30, "the warning")
    assert check(watched, "shipping", "-w", "0")["values"]["unsent_files"] > 0
    watched.run("scribe-rotate", env={"SCRIBE_ARCHIVE_COMMAND": "true"})
    found = check(watched, "shipping", SCRIBE_ARCHIVE_COMMAND="true elsewhere")
    assert (found["state"], found["text"]) == ("WARNING", "another archive command has sent what is sent")
    assert state(watched, "shipping", "-w", "0") == "OK"
