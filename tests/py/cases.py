"""The correctness list: each file in tests/cases changes a source that is then restored twice and compared.

What stands before the line "-- after init" is in the source before pg_scribe comes; the rest goes through the stream.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from cluster import ROOT
from compare import assert_equal
from source import Scribe

from scribe.archive.layout import Archive, Segment
from scribe.history.changes import Change, Ddl, Mark, read_segment

ALL = os.environ.get("PG_SCRIBE_ALL_CASES") == "1"
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
        assert_manifest_tells_the_same(segment)
        counts = segment.manifest["counts"]
        kinds = {"insert": "inserted", "update": "updated", "delete": "deleted", "truncate": "truncated", "ddl": "ddl"}
        assert {kind: found[kind] for kind in kinds} == {kind: counts[count] for kind, count in kinds.items()}


def assert_manifest_tells_the_same(segment: Segment) -> None:
    """What the manifest counts by table and lists is what reading the segment finds."""
    rows: Counter[tuple[str, str, str]] = Counter()
    events: list[tuple[str, str]] = []
    kinds = {"insert": "inserted", "update": "updated", "delete": "deleted", "truncate": "truncated"}
    for item in read_segment(segment):
        if isinstance(item, Change):
            rows[item.table.schema, item.table.name, "resent" if item.resent else kinds[item.kind]] += 1
            events += [("truncates", item.table.name)] if item.kind == "truncate" else []
        elif isinstance(item, Ddl) and item.own is None:
            events.append(("schema_changes", item.tag))
        elif isinstance(item, Mark) and not item.name.startswith("rotate."):
            events.append(("marks", item.name))
    manifest = segment.manifest
    assert rows == {
        (table["schema"], table["name"], kind): table[kind]
        for table in manifest["tables"]
        for kind in (*kinds.values(), "resent")
        if kind in table
    }
    for key, name in (("truncates", "name"), ("schema_changes", "tag"), ("marks", "name")):
        assert [event[name] for event in manifest[key]] == [what for kind, what in events if kind == key]


def assert_both_restores_equal(scribe: Scribe, targets: tuple[str, str]) -> None:
    """Restore with scribe-restore into one target and with psql alone into the other; both are as the source is."""
    source = scribe.cluster.dump(scribe.dbname)
    scribe.run("scribe-restore", "-d", targets[0], "--no-globals", env={"PGUSER": "postgres"})
    assert_equal(source, scribe.cluster.dump(targets[0]), ("source", "scribe-restore"))
    scribe.restore_with_psql(targets[1])
    assert_equal(source, scribe.cluster.dump(targets[1]), ("source", "psql alone"))


def assert_serial_restore_equal(scribe: Scribe, target: str) -> None:
    """Restore once more, every statement in its turn."""
    scribe.cluster.dropdb(target)
    scribe.run("scribe-restore", "-d", target, "--no-globals", "--serial", env={"PGUSER": "postgres"})
    names = ("source", "scribe-restore --serial")
    assert_equal(scribe.cluster.dump(scribe.dbname), scribe.cluster.dump(target), names)
