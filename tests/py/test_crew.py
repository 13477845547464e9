"""A base over several connections: the same database, and what needs its order keeps it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import Cluster
from compare import assert_equal
from restoring import Target

from scribe.restore.crew import _INDEX, _KEY, CHUNK, whole_lines

SOURCE = """
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE TABLE big (id bigint PRIMARY KEY, name text NOT NULL, parent bigint, CHECK (parent >= 0), UNIQUE (name));
INSERT INTO big SELECT n, repeat('x', 60) || E'\\n\\t\\\\' || n, n / 2 + 1 FROM generate_series(1, 40000) AS n;
ALTER TABLE big ADD FOREIGN KEY (parent) REFERENCES big;
CREATE INDEX ON big (parent) WHERE parent > 3; CREATE INDEX ON big (lower(name)); CREATE INDEX ON big (parent, id DESC);
ALTER TABLE big CLUSTER ON big_pkey;
CREATE TABLE "Odd, name" ("a ""b" int UNIQUE DEFERRABLE INITIALLY DEFERRED, c positive);
INSERT INTO "Odd, name" SELECT n, n FROM generate_series(1, 1000) AS n;
CREATE TABLE "a" (id int PRIMARY KEY, b int); CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a);
INSERT INTO a SELECT n, n FROM generate_series(1, 1000) AS n;
INSERT INTO b SELECT n, n FROM generate_series(1, 1000) AS n;
ALTER TABLE a ADD FOREIGN KEY (b) REFERENCES b DEFERRABLE;
CREATE FUNCTION rows_of_big() RETURNS bigint LANGUAGE sql STABLE AS 'SELECT count(*) FROM public.big';
CREATE TABLE last (id int CHECK (rows_of_big() = 40000));
INSERT INTO last VALUES (1), (2);
CREATE TABLE parted (id int, d date, PRIMARY KEY (id, d)) PARTITION BY RANGE (d);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
CREATE TABLE parted_2 PARTITION OF parted DEFAULT;
INSERT INTO parted SELECT n, date '2020-01-01' + n FROM generate_series(1, 1000) AS n;
CREATE MATERIALIZED VIEW sums AS SELECT parent % 10 AS p, count(*) FROM big GROUP BY 1;
SELECT lo_from_bytea(4711, 'large');
"""


@pytest.fixture(scope="module")
def dumped(cluster: Cluster) -> Iterator[tuple[str, str]]:
    """A database, and what pg_dump makes of it."""
    cluster.createdb("of_a_crew")
    cluster.psql(SOURCE, "of_a_crew")
    command = [f"{cluster.bindir}/pg_dump", "of_a_crew"]
    yield "of_a_crew", subprocess.run(command, env=cluster.env, text=True, check=True, stdout=subprocess.PIPE).stdout
    cluster.dropdb("of_a_crew")


@pytest.fixture
def target(cluster: Cluster, tmp_path: Path) -> Iterator[Target]:
    target = Target(cluster, tmp_path / "archive")
    yield target
    if target.exists():
        cluster.dropdb(target.name)


def test_a_base_over_three_connections_is_the_same(target: Target, dumped: tuple[str, str]) -> None:
    target.archive.base(dumped[1])
    target.run("--jobs", "3")
    assert_equal(target.cluster.dump(dumped[0]), target.cluster.dump(target.name), ("source", "--jobs 3"))


def test_a_bad_row_among_many_stops_it_with_its_place(target: Target, dumped: tuple[str, str]) -> None:
    lines = dumped[1].splitlines(keepends=True)
    number = next(i for i, line in enumerate(lines) if line.startswith("20000\tx"))
    lines[number] = "20000\tno parent column\n"
    target.archive.base("".join(lines))
    said = target.refused("--jobs", "2")
    assert "missing data for column" in said
    assert "COPY big" in said


def test_only_what_calls_no_function_is_built_beside_something_else() -> None:
    alone = [
        b"CREATE INDEX i ON public.t USING btree (lower(name));\n",
        b"CREATE INDEX i ON public.t USING btree (a) WHERE (f(a) > 1);\n",
        b"CREATE INDEX i ON public.t USING btree (((a)::text));\n",
        b"ALTER TABLE ONLY public.t\n    ADD CONSTRAINT c CHECK ((a > 0));\n",
        b"ALTER TABLE ONLY public.t\n    ADD CONSTRAINT c EXCLUDE USING gist (a WITH &&);\n",
        b"ALTER TABLE public.t\n    ADD CONSTRAINT c FOREIGN KEY (a) REFERENCES public.u(b);\n",
    ]
    assert not [text for text in alone if _INDEX.match(text) or _KEY.match(text)]
    index = _INDEX.match(b'CREATE UNIQUE INDEX "an index" ON public."T ""1" USING btree (a DESC, "b c") INCLUDE (d);\n')
    assert index is not None and index[1] == b'public."T ""1"'
    key = _KEY.match(
        b"ALTER TABLE ONLY s.t\n    ADD CONSTRAINT c FOREIGN KEY (a) REFERENCES s.u(b) ON DELETE CASCADE;\n"
    )
    assert key is not None and key.groups() == (b"s.t", b"s.u")


def test_data_is_cut_between_lines_only() -> None:
    blocks = [b"1\tx\n", b"2\t" + b"y" * CHUNK, b"z\n3\n", b"4\n"]
    assert list(whole_lines(iter(blocks))) == [b"".join(blocks[:3]), blocks[3]]
