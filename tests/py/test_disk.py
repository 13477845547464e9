"""The archive's disk is full, read-only, gone or over quota: nothing half-written looks finished, and all goes on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import ROOT, poll
from compare import assert_equal
from source import Scribe

sys.path.insert(0, str(ROOT / "tests/faults"))
import stepping

pytestmark = pytest.mark.slow
QUICK = {"SCRIBE_STATUS_INTERVAL": "1", "SCRIBE_FSYNC_INTERVAL": "1"}
MANY = "INSERT INTO t SELECT g, md5(g::text) FROM generate_series({}, {}) g"


def run(*command: object) -> None:
    """Run a program that must succeed."""
    subprocess.run([str(word) for word in command], check=True, capture_output=True)


@pytest.fixture
def mounted(scribe: Scribe, tmp_path: Path) -> Iterator[Scribe]:
    """A source whose archive is on a small file system of its own."""
    if os.geteuid() != 0:
        pytest.skip("not root: cannot mount a file system")
    place = tmp_path / "mnt"
    place.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", place)
    scribe.archive = place / "archive"
    scribe.log = tmp_path / "log"
    scribe.settings |= QUICK
    try:
        scribe.cluster.psql("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (0, '');", scribe.dbname)
        scribe.run("scribe-init")
        yield scribe
    finally:
        scribe.kill_streams()
        run("umount", "-l", place)


def finished(source: Scribe) -> list[str]:
    """Return what claims to be finished: bases and segments with a manifest."""
    bases = [path.parent.name for path in (source.archive / "base").glob("2*/manifest.json")]
    return sorted(bases + [path.name for path in (source.archive / "incremental").glob("*.json")])


def check(source: Scribe) -> None:
    """Everything committed so far is archived and restores."""
    source.run("scribe-rotate", "--wait-lsn", "current")
    source.run("scribe-restore", "-d", "disk_copy", "--no-globals")
    try:
        assert_equal(source.cluster.dump(source.dbname), source.cluster.dump("disk_copy"))
    finally:
        source.cluster.dropdb("disk_copy")


def test_a_full_disk_while_rotating_and_dumping(mounted: Scribe) -> None:
    stream = mounted.start_stream()
    mounted.cluster.query(MANY.format(1, 20000), mounted.dbname)
    poll(lambda: (mounted.archive / "spool/stream.sql").stat().st_size > 700_000, 30, "the transaction in the spool")
    before = finished(mounted)
    filler = mounted.archive.parent / "filler"
    subprocess.run(["dd", "if=/dev/zero", f"of={filler}", "bs=64k"], capture_output=True, check=False)
    for program in ("scribe-rotate", "scribe-dump"):
        result = mounted.run(program, check=False)
        assert (result.returncode, "No space left on device" in result.stderr) == (1, True), result.stderr
        assert finished(mounted) == before
    disk = mounted.run("scribe-check", "--only", "disk", check=False)
    assert (disk.returncode, "CRITICAL" in disk.stdout) == (2, True)
    mounted.cluster.query(MANY.format(20001, 40000), mounted.dbname)
    poll(lambda: "No space left" in mounted.log.read_text(), 30, "word of the stream")
    assert stream.poll() is None
    filler.unlink()
    mounted.run("scribe-dump")
    check(mounted)
    assert mounted.stop_stream() == 0


def test_a_read_only_archive_is_waited_for(mounted: Scribe) -> None:
    stream = mounted.start_stream()
    mounted.cluster.query(MANY.format(1, 10), mounted.dbname)
    place = mounted.archive.parent
    run("mount", "--bind", place, place)  # as after an error on the disk: what is open stays so
    run("mount", "-o", "remount,bind,ro", place)
    try:
        os.kill(_receiver(stream.pid), 9)
        before = finished(mounted)
        for program in ("scribe-rotate", "scribe-dump"):
            result = mounted.run(program, check=False)
            assert (result.returncode, "Read-only file system" in result.stderr) == (1, True), result.stderr
        poll(lambda: "Read-only file system" in mounted.log.read_text(), 30, "word of the stream")
        assert stream.poll() is None
        assert finished(mounted) == before
    finally:
        run("umount", "-l", place)
    check(mounted)
    assert mounted.stop_stream() == 0


def _receiver(stream: int) -> int:
    return int(Path(f"/proc/{stream}/task/{stream}/children").read_text().split()[0])


def test_nothing_is_written_into_an_empty_mount_point(mounted: Scribe, tmp_path: Path) -> None:
    stream = mounted.start_stream()
    mounted.cluster.query(MANY.format(1, 10), mounted.dbname)
    place, elsewhere = mounted.archive.parent, tmp_path / "elsewhere"
    elsewhere.mkdir()
    run("mount", "--bind", place, elsewhere)
    try:
        receiver = _receiver(stream.pid)
        run("umount", "-l", place)
        os.kill(receiver, 9)
        poll(lambda: "there is no archive in" in mounted.log.read_text(), 30, "word of the stream")
        for program, *arguments in (("scribe-rotate",), ("scribe-dump",), ("scribe-stream",), ("scribe-init",)):
            result = mounted.run(program, *arguments, check=False)
            assert result.returncode == 2, (program, result.stderr)
        assert mounted.run("scribe-check", check=False).returncode == 2
        assert list(place.iterdir()) == []
        assert stream.poll() is None
    finally:
        run("mount", "--bind", elsewhere, place)
        run("umount", elsewhere)
    mounted.cluster.query(MANY.format(11, 20), mounted.dbname)
    check(mounted)
    assert mounted.stop_stream() == 0


@pytest.mark.skipif(stepping.available() is not None, reason=str(stepping.available()))
def test_a_quota_is_like_a_full_disk(scribe: Scribe, tmp_path: Path) -> None:
    scribe.settings |= QUICK
    scribe.cluster.psql("CREATE TABLE t (id int PRIMARY KEY, v text)", scribe.dbname)
    scribe.run("scribe-init")
    shims = tmp_path / "shims"
    shims.mkdir()
    shim = shims / "pg_recvlogical"
    exceeded = "-e trace=write,fsync -e inject=write:error=EDQUOT:when=40+"
    shim.write_text(
        f'#!/bin/sh\nexec strace -D -q -o /dev/null {exceeded} {scribe.cluster.bindir}/pg_recvlogical "$@"\n'
    )
    shim.chmod(0o755)
    stream = scribe.start_stream(env={"PATH": f"{shims}:{scribe.env['PATH']}"})
    for start in range(0, 100):
        scribe.cluster.query(MANY.format(100 * start, 100 * start + 99), scribe.dbname)
    # what pg_recvlogical says goes to the same disk
    poll(lambda: "ended with status 1" in scribe.log.read_text(), 60, "word of the stream")
    before = finished(scribe)
    command = ["strace", "-D", "-q", "-o", "/dev/null", "-e", "trace=write", "-e", "inject=write:error=EDQUOT:when=2+"]
    result = subprocess.run(
        [*command, str(ROOT / "bin/scribe-rotate")], env=scribe.env, capture_output=True, text=True, check=False
    )
    assert result.returncode != 0
    assert finished(scribe) == before
    assert stream.poll() is None
    shutil.rmtree(shims)
    check(scribe)
    assert scribe.stop_stream() == 0
