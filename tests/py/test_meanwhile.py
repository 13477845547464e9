"""What a statement takes away, and whether another one names it, as far as their texts tell."""

from __future__ import annotations

import pytest

from scribe.decoders.rows.meanwhile import KEPT, find_taken, is_named, taken_names

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("tag", "text", "names"),
    [
        ("ALTER TYPE", "alter type public.mood rename to feeling", ["mood"]),
        ("ALTER TYPE", 'ALTER TYPE "A ""b"" c" . "D;" SET SCHEMA x', ["D;"]),
        ("ALTER TYPE", "ALTER TYPE mood RENAME VALUE 'a' TO 'b'", ["mood"]),
        ("ALTER TYPE", "ALTER TYPE mood ADD VALUE 'rename'", []),
        ("ALTER FUNCTION", "ALTER /* f */ FUNCTION -- g\n s.f(int, text) RENAME TO h", ["f"]),
        ("ALTER OPERATOR", "ALTER OPERATOR s.===(int, int) SET SCHEMA x", ["==="]),
        ("ALTER LANGUAGE", "ALTER PROCEDURAL LANGUAGE l RENAME TO m", ["l"]),
        ("ALTER TEXT SEARCH CONFIGURATION", "ALTER TEXT SEARCH CONFIGURATION c RENAME TO d", ["c"]),
        ("DROP FUNCTION", "DROP FUNCTION IF EXISTS f(int, text), s.g, h() CASCADE", ["f", "g", "h"]),
        ("DROP OPERATOR", "DROP OPERATOR = (int, int)", ["="]),
        ("DROP TABLE", "DROP TABLE t", []),
        ("ALTER TYPE", "CREATE TYPE x AS (rename int)", []),
    ],
)
def test_the_old_names_are_taken_away(tag: str, text: str, names: list[str]) -> None:
    assert taken_names(text, tag) == names


@pytest.mark.parametrize(
    ("name", "text", "named"),
    [
        ("mood", "CREATE TABLE t (m s.MOOD)", True),
        ("mood", "CREATE TABLE moods (a_mood int, mood2 int)", False),
        ('a"b', 'COMMENT ON TYPE "a""b" IS NULL', True),
        ("===", "SELECT a===b", True),
    ],
)
def test_a_name_is_a_word_of_its_own(name: str, text: str, named: bool) -> None:
    assert is_named(name, text) is named


def test_only_what_was_committed_after_the_statement_and_by_others_counts() -> None:
    taken = [("mood", 100, 7)]
    assert find_taken(taken, ("SELECT 'x'::mood",), 99, 8) == "mood"
    assert find_taken(taken, ("SELECT 'x'::mood",), 100, 8) is None
    assert find_taken(taken, ("SELECT 'x'::mood",), 99, 7) is None
    assert find_taken(taken, ("SELECT 1", "public, mood"), 99, 8) == "mood"
    assert find_taken(taken, ("x" * (2 << 20),), 99, 8) == "mood"


def test_a_statement_of_any_length_is_read_in_little_memory() -> None:
    names = taken_names("DROP TYPE " + ", ".join(f"t{i}" for i in range(1_000_000)), "DROP TYPE")
    assert names[:KEPT] == [f"t{i}" for i in range(KEPT)] and len(names) < 10_000
