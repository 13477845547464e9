"""The correctness list: each file in tests/cases changes a source that is then restored twice and compared.

What stands before the line "-- after init" is in the source before pg_scribe comes; the rest goes through the stream.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import ROOT, Cluster
from compare import assert_equal
from source import Scribe

CASES = sorted((ROOT / "tests/cases").glob("*.sql"))
PWNED = Path("/tmp/scribe_pwned")
_numbers = itertools.count(1)


@pytest.fixture
def targets(cluster: Cluster) -> Iterator[tuple[str, str]]:
    """Names of two databases to restore into, dropped afterwards."""
    number = next(_numbers)
    names = (f"case{number}_restore", f"case{number}_psql")
    yield names
    for name in names:
        cluster.dropdb(name)


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_both_restores_equal_the_source(case: Path, scribe: Scribe, targets: tuple[str, str]) -> None:
    before, after = case.read_text().split("-- after init\n")
    scribe.cluster.psql(before, scribe.dbname)
    scribe.run("scribe-init")
    scribe.start_stream()
    scribe.cluster.psql(after, scribe.dbname)
    scribe.run("scribe-rotate", "--wait-lsn", "current")
    source = scribe.cluster.dump(scribe.dbname)
    scribe.run("scribe-restore", "-d", targets[0], "--no-globals")
    assert_equal(source, scribe.cluster.dump(targets[0]), ("source", "scribe-restore"))
    scribe.restore_with_psql(targets[1])
    assert_equal(source, scribe.cluster.dump(targets[1]), ("source", "psql alone"))
    assert scribe.stop_stream() == 0
    assert not PWNED.exists(), "a name or value was run as a shell command"
