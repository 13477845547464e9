"""Hash partitions of enums: what goes through the root, and what is flagged because no copy can have it."""

from __future__ import annotations

import json

import pytest
from cases import assert_both_restores_equal
from source import Scribe

# So many values, of numbers by chance, that each partition has some.
TABLES = f"""
CREATE TYPE mood AS ENUM ('sad', 'ok', {", ".join(f"'mood {n}'" for n in range(12))});
CREATE TABLE moods (m mood, n int, v text) PARTITION BY HASH (m);
CREATE TABLE moods0 PARTITION OF moods FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE moods1 PARTITION OF moods FOR VALUES WITH (MODULUS 2, REMAINDER 1);
"""
FILL = (
    "INSERT INTO moods SELECT m, n, 'x' FROM unnest(enum_range(NULL::mood)) AS m, generate_series(1, 10) AS n"
    " ORDER BY m, n;"
)


def streamed(scribe: Scribe, script: str) -> tuple[str, list[str]]:
    """The segment's text and warnings after a script."""
    scribe.cluster.psql(script, scribe.dbname)
    report = json.loads(scribe.run("scribe-rotate", "--wait-lsn", "current", "--json").stdout)
    texts = [path.read_text() for path in sorted((scribe.archive / "incremental").glob("*.sql"))]
    return texts[-1], [text for segment in report["segments"] for text in segment["warnings"]]


@pytest.fixture
def source(scribe: Scribe) -> Scribe:
    """A source with a table spread by moods, and a stream of it."""
    scribe.settings["SCRIBE_COMPRESS"] = "none"
    scribe.cluster.psql(TABLES, scribe.dbname)
    scribe.run("scribe-init")
    scribe.start_stream()
    return scribe


def test_rows_go_through_the_root_and_nothing_is_flagged(source: Scribe) -> None:
    text, warnings = streamed(source, f"{FILL} UPDATE moods SET v = 'y' WHERE n < 4; DELETE FROM moods WHERE n > 8;")
    assert "COPY public.moods (" in text and "UPDATE public.moods AS t" in text and "DELETE FROM public.moods " in text
    assert "public.moods0" not in text and "public.moods1" not in text
    assert warnings == []


def test_the_whole_is_truncated_and_a_part_is_flagged(source: Scribe) -> None:
    text, warnings = streamed(source, f"{FILL} TRUNCATE moods;")
    assert "TRUNCATE public.moods, ONLY public.moods0, ONLY public.moods1;" in text
    assert warnings == []
    text, warnings = streamed(source, f"{FILL} TRUNCATE moods1;")
    assert "\nTRUNCATE" not in text
    assert len(warnings) == 1 and "TRUNCATE of public.moods1, a part of public.moods could not" in warnings[0]


def test_a_partition_that_leaves_is_flagged(source: Scribe) -> None:
    # a hash of OIDs may leave a partition empty: TRUNCATE shows both to the decoder
    _, warnings = streamed(source, f"TRUNCATE moods; {FILL} ALTER TABLE moods DETACH PARTITION moods0;")
    assert len(warnings) == 1 and "attached to moods or detached from it" in warnings[0]
    _, warnings = streamed(source, "INSERT INTO moods0 VALUES ('sad', 100); DROP TABLE moods1;")
    first, second = warnings  # the flag that rotation has put on the first one, and this one
    assert "could not be recorded: a partition with rows" in first and "DROP TABLE of partition public.moods1" in second
    _, warnings = streamed(source, "DROP TABLE moods; DROP TABLE moods0;")
    assert len(warnings) == 1 and warnings[0].startswith("DROP TABLE could not be recorded: ")


def test_a_key_of_one_partition_alone_finds_no_row(source: Scribe) -> None:
    script = "ALTER TABLE moods{n} ADD PRIMARY KEY (n, m); ALTER TABLE moods{n} REPLICA IDENTITY DEFAULT;"
    _, warnings = streamed(source, FILL + "".join(script.format(n=n) for n in (0, 1)))
    assert warnings == []
    _, warnings = streamed(source, "UPDATE moods SET v = 'y'")
    assert warnings and all("no replica identity that is a key of the whole table" in text for text in warnings)


def test_a_rewrite_of_one_partition_is_flagged_and_leaves_its_rows(source: Scribe) -> None:
    text, warnings = streamed(source, f"{FILL} ALTER TABLE moods0 SET UNLOGGED; ALTER TABLE moods0 SET LOGGED;")
    assert "\nDELETE FROM" not in text
    assert warnings and all("values of a rewritten partition of public.moods" in text for text in warnings)


def test_pgoutput_flags_the_same(scribe: Scribe, targets: tuple[str, str]) -> None:
    scribe.settings |= {"SCRIBE_DECODER": "pgoutput", "SCRIBE_COMPRESS": "none"}
    scribe.cluster.psql(TABLES + "CREATE TABLE lower (v text) PARTITION BY HASH (lower(v));", scribe.dbname)
    said = scribe.run("scribe-init", "--check-only", check=False)
    lines = (said.stdout + said.stderr).splitlines()
    assert any("hash partitions" in line and "1 tables" in line and ": public.lower;" in line for line in lines), lines
    scribe.run("scribe-init")
    scribe.start_stream()
    text, warnings = streamed(scribe, f"{FILL} UPDATE moods SET v = 'y' WHERE n < 4; TRUNCATE moods; {FILL}")
    assert warnings == [] and "COPY public.moods (" in text and "COPY public.moods0" not in text
    assert_both_restores_equal(scribe, targets)
    _, warnings = streamed(
        scribe,
        "TRUNCATE moods1; ALTER TABLE moods0 SET UNLOGGED; ALTER TABLE moods0 SET LOGGED;"
        "ALTER TABLE moods0 ADD PRIMARY KEY (n, m); ALTER TABLE moods0 REPLICA IDENTITY DEFAULT;"
        "UPDATE moods SET v = 'z'; ALTER TABLE moods DETACH PARTITION moods0; DROP TABLE moods1;",
    )
    flagged = ("TRUNCATE of public.moods1", "values of a rewritten partition", "no replica identity", "attached to or")
    for what in (*flagged, "DROP TABLE of partition public.moods1"):
        assert any(what in text for text in warnings), (what, warnings)
