"""Functions that a restore runs, and that find nothing there: they are reported, with the remedy that works."""

from __future__ import annotations

import re

import pytest
from cluster import Cluster
from source import Scribe

from scribe.source.unqualified import find_unqualified, first_read, first_unqualified

FUNCTIONS = """
CREATE FUNCTION inner_one(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1 + 1';
CREATE FUNCTION outer_one(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN inner_one($1); END';
CREATE TABLE looked_up (x int); INSERT INTO looked_up VALUES (1);
CREATE FUNCTION looks_up(int) RETURNS boolean STABLE LANGUAGE sql AS 'SELECT count(*) >= 0 FROM looked_up';
CREATE FUNCTION harmless(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT abs($1) /* inner_one( */';
CREATE TABLE g (a int, b int GENERATED ALWAYS AS (outer_one(a)) STORED, c int CHECK (looks_up(c)), d int);
CREATE INDEX ON g (harmless(d));
CREATE FUNCTION is_small(int) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN inner_one($1) < 100; END';
CREATE DOMAIN small AS int CHECK (is_small(VALUE));
CREATE TABLE s (v small);
CREATE FUNCTION unused(int) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN inner_one($1); END';
INSERT INTO g (a, c, d) VALUES (1, 1, 1); INSERT INTO s VALUES (1);
"""


@pytest.mark.unit
@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("SELECT f(1)", "f"),
        ("SELECT public.f(1)", None),
        ("SELECT f.x, 'f(', \"F\"(1) -- f(1)\n /* f(1) */", None),
        ('SELECT "f"(1)', "f"),
        ("SELECT FROM t", "t"),
        ("SELECT FROM public.t JOIN T ON true", "t"),
        ("SELECT t FROM pg_class AS t", None),
        ("SELECT '1'::e", "e"),
        ("SELECT '1'::public.e", None),
    ],
)
def test_names_without_a_schema_are_found_in_a_text(text: str, name: str | None) -> None:
    assert first_unqualified(text, {"function": {"f"}, "relation": {"t"}, "type": {"e"}}) == name


@pytest.mark.unit
@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("SELECT EXISTS (SELECT FROM public.t WHERE a = $1)", "t"),
        ('SELECT 1 FROM pg_class JOIN "T" ON true', "T"),
        ("SELECT 'FROM t' /* FROM t */ FROM pg_class", None),
    ],
)
def test_tables_that_a_function_reads_are_found_in_its_text(text: str, name: str | None) -> None:
    assert first_read(text, {"t", "T"}) == name


def test_they_are_reported_and_the_remedy_makes_the_database_restore(
    scribe: Scribe, cluster: Cluster, targets: tuple[str, str]
) -> None:
    cluster.psql(FUNCTIONS, scribe.dbname)
    said = scribe.run("scribe-init").stdout
    assert re.search(
        r"(?m)^warning +functions: function public\.\S+, used by .*: a restore stops there; run \"ALTER F", said
    )
    with cluster.connect(scribe.dbname, options="-c search_path=") as conn:
        found = find_unqualified(conn)
    assert [entry.function.split("(")[0] for entry in found] == [
        "public.is_small",
        "public.looks_up",
        "public.outer_one",
    ]
    stopped = scribe.run("scribe-restore", "-d", targets[0], "--no-globals", check=False)
    assert stopped.returncode == 1 and "does not exist" in stopped.stderr
    scribe.start_stream()
    scribe.run("scribe-rotate", "--wait-lsn", "current")
    check = scribe.run("scribe-check", "--only", "ddl", check=False)
    assert check.returncode == 1 and "a restore stops there" in check.stdout
    for entry in found:
        cluster.psql(entry.remedy, scribe.dbname)
    check = scribe.run("scribe-check", "--only", "ddl", check=False)
    assert check.returncode == 1 and "reads looked_up, which may hold something else in a restore" in check.stdout
    cluster.psql("ALTER TABLE g DROP CONSTRAINT g_c_check", scribe.dbname)
    scribe.run("scribe-dump")
    cluster.dropdb(targets[0])
    scribe.run("scribe-restore", "-d", targets[0], "--no-globals")
    assert cluster.query("SELECT a, b FROM g", targets[0]) == [(1, 2)]
    assert scribe.run("scribe-check", "--only", "ddl").returncode == 0
    assert re.search(r"(?m)^ok +functions: ", scribe.run("scribe-init", "--check-only").stdout)
