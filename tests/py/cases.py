"""The correctness list: each file in tests/cases changes a source that is then restored twice and compared.

What stands before the line "-- after init" is in the source before pg_scribe comes; the rest goes through the stream.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from cluster import ROOT
from compare import assert_equal
from source import Scribe

from scribe.archive.layout import Archive
from scribe.history.changes import Change, Ddl, read_segment

CASES = sorted((ROOT / "tests/cases").glob("*.sql"))


def play_case(case: Path, scribe: Scribe) -> None:
    """Bring the source to the case's end, and all of it into segments; the stream goes on."""
    before, after = case.read_text().split("-- after init\n")
    scribe.cluster.psql(before, scribe.dbname)
    scribe.run("scribe-init")
    scribe.start_stream()
    scribe.cluster.psql(after, scribe.dbname)
    scribe.run("scribe-rotate", "--wait-lsn", "current")
    assert_history_is_read(Archive(scribe.archive))


def assert_history_is_read(archive: Archive) -> None:
    """Every statement of every segment is read back, and into as many changes as the manifest counts."""
    for segment in archive.segments():
        found = Counter(
            item.kind if isinstance(item, Change) else "ddl"
            for item in read_segment(segment)
            if isinstance(item, Change | Ddl)
        )
        counts = segment.manifest["counts"]
        kinds = {"insert": "inserted", "update": "updated", "delete": "deleted", "truncate": "truncated", "ddl": "ddl"}
        assert {kind: found[kind] for kind in kinds} == {kind: counts[count] for kind, count in kinds.items()}


def assert_both_restores_equal(scribe: Scribe, targets: tuple[str, str]) -> None:
    """Restore with scribe-restore into one target and with psql alone into the other; both are as the source is."""
    source = scribe.cluster.dump(scribe.dbname)
    scribe.run("scribe-restore", "-d", targets[0], "--no-globals", env={"PGUSER": "postgres"})
    assert_equal(source, scribe.cluster.dump(targets[0]), ("source", "scribe-restore"))
    scribe.restore_with_psql(targets[1])
    assert_equal(source, scribe.cluster.dump(targets[1]), ("source", "psql alone"))
