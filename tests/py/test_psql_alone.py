"""psql alone is no weaker than scribe-restore: a copy that is not what a file follows stops it."""

from __future__ import annotations

import pytest
from source import Scribe

WORK = """
    UPDATE item SET v = v + 1 WHERE id < 400;
    DELETE FROM item WHERE id BETWEEN 600 AND 900;
    UPDATE log SET v = 0 WHERE v = 2;
    DELETE FROM log WHERE v = 3;
    UPDATE numbered SET id = DEFAULT;
"""


@pytest.fixture
def copied(scribe: Scribe, targets: tuple[str, str]) -> tuple[Scribe, str]:
    """A source, and a copy of its base made by psql; a segment that changes rows follows."""
    scribe.cluster.psql(
        """CREATE TABLE item (id int PRIMARY KEY, v int);
        INSERT INTO item SELECT g, g FROM generate_series(1, 1000) AS g;
        CREATE TABLE log (v int);
        INSERT INTO log SELECT g % 4 FROM generate_series(1, 40) AS g;
        CREATE TABLE numbered (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY);
        INSERT INTO numbered DEFAULT VALUES;""",
        scribe.dbname,
    )
    scribe.run("scribe-init")
    scribe.start_stream()
    scribe.run_base_with_psql(targets[1])
    scribe.cluster.psql(WORK, scribe.dbname)
    scribe.run("scribe-rotate", "--wait-lsn", "current")
    return scribe, targets[1]


def test_a_file_that_finds_its_rows_says_nothing(copied: tuple[Scribe, str]) -> None:
    scribe, copy = copied
    assert scribe.run_segments_with_psql(copy) == (0, "")
    scribe.cluster.psql("UPDATE item SET v = 0 WHERE id < 100", scribe.dbname)
    scribe.run("scribe-rotate", "--wait-lsn", "current")
    segments = scribe.segments()
    assert scribe.run_segments_with_psql(copy, segments[-1:]) == (0, "")


@pytest.mark.parametrize("damage", ["DELETE FROM item WHERE id = 7", "UPDATE log SET v = 5 WHERE v = 2"])
def test_a_row_that_is_missing_stops_it(copied: tuple[Scribe, str], damage: str) -> None:
    scribe, copy = copied
    if scribe.cluster.version_num < 150000:
        pytest.skip("server version: the statistics of a session are not exact before 15")
    scribe.cluster.psql(damage, copy)
    status, said = scribe.run_segments_with_psql(copy)
    assert status != 0
    assert "rows here, and" in said
    assert scribe.cluster.query("SELECT inside FROM scribe.position", copy) == [(True,)]


def test_rows_that_another_session_changes_meanwhile_are_a_warning(copied: tuple[Scribe, str]) -> None:
    scribe, copy = copied
    scribe.cluster.psql("CREATE TABLE theirs AS SELECT 1 AS v", copy)
    trigger = "UPDATE public.theirs SET v = v + 1;\n"
    status, said = scribe.run_segments_with_psql(copy, before_footer=trigger)
    assert status == 0
    if scribe.cluster.version_num >= 150000:
        assert "WARNING:  this file updated or deleted" in said
