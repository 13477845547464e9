"""Programs at once: the kernel's locks keep them apart, and the second one says which is in its way.

Two streams are in test_stream.py, two rotations in test_rotation.py, two bases in test_dump.py, two of scribe-init in
test_init.py, pruning during a restore in test_retention.py, two restores in test_target.py.
"""

from __future__ import annotations

import subprocess

from cluster import ROOT
from source import Scribe

from scribe.archive.layout import Archive
from scribe.common import files
from scribe.spool.contents import Spool
from scribe.stream.recovery import break_chain


def test_init_during_a_stream_has_nothing_to_do_or_is_told_to_wait(scribe: Scribe) -> None:
    scribe.cluster.psql("CREATE TABLE t (id int PRIMARY KEY)", scribe.dbname)
    scribe.run("scribe-init")
    stream = scribe.start_stream()
    assert "everything is in place" in scribe.run("scribe-init", "-v").stderr
    archive = Archive(scribe.archive)
    break_chain(archive, "a test", archive.archived_lsn())
    result = scribe.run("scribe-init", check=False)
    assert (result.returncode, "scribe-stream is running" in result.stderr) == (75, True)
    assert stream.poll() is None
    assert scribe.stop_stream() == 0
    scribe.run("scribe-init")
    assert archive.broken() is None


def test_a_base_waits_for_a_rotation_and_gives_up(scribe: Scribe) -> None:
    scribe.cluster.psql("CREATE TABLE t (id int PRIMARY KEY)", scribe.dbname)
    scribe.run("scribe-init", "--no-base")
    with files.Lock(Spool(scribe.archive / "spool").rotate_lock, "a test"):
        result = scribe.run("scribe-dump", "--wait", "1", check=False)
        assert (result.returncode, "scribe-rotate is at work" in result.stderr) == (75, True)
        waiting = subprocess.Popen([ROOT / "bin/scribe-dump", "-q"], env=scribe.env, stdout=subprocess.DEVNULL)
    assert waiting.wait(120) == 0
    assert len(Archive(scribe.archive).bases()) == 1
