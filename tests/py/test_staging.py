"""Rows of long UPDATEs that are sent by COPY end as their statements do, and what is wrong of one is found there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import pytest
from cluster import Cluster
from compare import assert_equal
from restoring import Target, twice_restored

from scribe.restore.net import UnprovedError
from scribe.restore.staging import Shape, read
from scribe.restore.tables import Table

TABLE = Table(
    {b"id": b"pg_catalog.int4", b"n": b'pg_catalog."numeric"', b"Odd": b's."Odd type"', b"v": b"pg_catalog.text"},
    frozenset({(b"id",), (b"id", b"v")}),
)
HEAD = b"UPDATE ONLY public.t AS t SET n = v.n, v = v.v FROM (VALUES\n("
FIRST = b"1::pg_catalog.int4, '1.50'::pg_catalog.numeric, 'a'::pg_catalog.text)"
END = b"\n) AS v (id, n, v) WHERE t.id = v.id; -- %d rows\n"


@pytest.mark.unit
def test_literals_become_what_copy_reads() -> None:
    rows = [
        b"(2, NULL, '')",
        b"('-3', 'NaN', 'it''s')",
        rb"(4, '0', E'a\\b\t\x01''\n')",
        b"(5, '1', ', NULL, ''\xc3\xa4')",
        b"(6, true, 'NULL')",
        b"(7, NULL, 'E')",
        b"(8, 8, NULL)",
    ]
    statement = HEAD + b",\n".join([FIRST, *rows]) + END % 8
    shape, data, number = read(statement, TABLE)
    assert shape == Shape(
        b"public.t",
        HEAD,
        ((b"id", b"pg_catalog.int4"), (b"n", b'pg_catalog."numeric"'), (b"v", b"pg_catalog.text")),
        b"t.id = v.id",
    )
    assert number == 8
    assert data.split(b"\n") == [
        b"1\t1.50\ta",
        b"2\t\\N\t",
        b"-3\tNaN\tit's",
        b"4\t0\ta\\\\b\\t\\x01'\\n",
        b"5\t1\t, NULL, '\xc3\xa4",
        b"6\ttrue\tNULL",
        b"7\t\\N\tE",
        b"8\t8\t\\N",
        b"",
    ]


OTHERS = [
    (HEAD, [FIRST, b"(2, NULL, '')"], END % 3),  # rows
    (HEAD, [FIRST, b"(NULL, NULL, '')"], END % 2),
    (HEAD, [FIRST, b"(2, NULL)"], END % 2),
    (HEAD, [FIRST, b"(2, NULL, '', 1)"], END % 2),
    (HEAD, [FIRST, b"(2, NULL, now())"], END % 2),
    (HEAD, [FIRST, b"(2, NULL, 'a\\')"], END % 2),
    (HEAD, [FIRST, b"(2, NULL, 'a\tb')"], END % 2),
    (HEAD, [FIRST, b"(2, NULL, E'\\101')"], END % 2),
    (HEAD, [FIRST, b"(2, NULL, '') "], END % 2),
    (HEAD, [FIRST, b"(2, NULL, 'a'), (3, NULL, 'b')"], END % 3),
    (HEAD, [FIRST, b"(2, NULL, '%b')" % (b"x" * 2000)], END % 2),
    (HEAD, [FIRST.replace(b"1.50", b"1\t50")], END % 1),
    (HEAD, [FIRST.replace(b"numeric", b"int8")], END % 1),
    (HEAD, [FIRST.replace(b"pg_catalog.numeric", b"s.numeric")], END % 1),
    (HEAD, [FIRST.replace(b"text)", b"text, 1::pg_catalog.int4)")], END % 1),
    (HEAD.replace(b"v = v.v", b"v = v.n"), [FIRST], END % 1),
    (HEAD.replace(b"v = v.v", b"v = t.v || v.v"), [FIRST], END % 1),
    (HEAD, [FIRST], END.replace(b"WHERE t.id = v.id", b"WHERE t.id = v.id OR true") % 1),
    (HEAD, [FIRST], END.replace(b"WHERE t.id = v.id", b"WHERE t.v = v.v") % 1),
    (HEAD, [FIRST], END.replace(b"(id, n, v)", b"(n, id, v)") % 1),
    (HEAD, [FIRST], END.replace(b"(id, n, v)", b"(id, n, w)") % 1),
    (HEAD, [FIRST], b"\n) AS v (id, n, v) WHERE t.id = v.id RETURNING 1;\n"),
]


@pytest.mark.unit
@pytest.mark.parametrize(("head", "rows", "end"), OTHERS, ids=range(len(OTHERS)))
def test_what_is_not_of_that_form_is_sent_as_it_stands(head: bytes, rows: list[bytes], end: bytes) -> None:
    with pytest.raises(UnprovedError):
        read(head + b",\n".join(rows) + end, TABLE)


SCHEMA = """
CREATE SCHEMA s;
CREATE TYPE s."Odd type" AS ENUM ('good', 'very, bad)');
CREATE TABLE public.t (id int PRIMARY KEY, u int UNIQUE, v text, n numeric(12, 3), c char(5), o s."Odd type",
    b bytea, bits bit varying, f float8, at timestamptz, y bool, a text[], g int GENERATED ALWAYS AS (u * 2) STORED);
INSERT INTO public.t (id, u, v) SELECT n, 10 * n, 'v' || n FROM generate_series(1, 4000) AS n;
CREATE TABLE public."Two keys" (ka text COLLATE "C", kb int, v text, PRIMARY KEY (ka, kb));
INSERT INTO public."Two keys" SELECT 'a' || n % 3, n FROM generate_series(1, 4000) AS n;
CREATE FUNCTION s.most() RETURNS bigint LANGUAGE sql STABLE AS 'SELECT max(u) FROM public.t';
CREATE TABLE public.looks (id int PRIMARY KEY, v text, u int CHECK (u <= s.most()));
INSERT INTO public.looks SELECT n, 'v', n FROM generate_series(1, 4000) AS n;
"""
TYPES = {
    "id": "pg_catalog.int4",
    "u": "pg_catalog.int4",
    "v": "pg_catalog.text",
    "n": "pg_catalog.numeric",
    "c": "pg_catalog.bpchar",
    "o": 's."Odd type"',
    "b": "pg_catalog.bytea",
    "bits": "pg_catalog.varbit",
    "f": "pg_catalog.float8",
    "at": "pg_catalog.timestamptz",
    "ka": "pg_catalog.text",
    "kb": "pg_catalog.int4",
    "y": "pg_catalog.bool",
    "a": "pg_catalog._text",
}
ALL = [column for column in TYPES if column not in ("ka", "kb")]
LONG = "x" * 90


def updates(
    table: str, columns: Sequence[str], rows: Iterable[Sequence[object]], keys: int = 1, at_once: int = 500
) -> Iterator[str]:
    """Yield statements as the decoder writes them. keys: how many of the columns find the row."""
    left = list(rows)
    while left:
        some, left = left[:at_once], left[at_once:]
        first = ", ".join(f"{value}::{TYPES[column]}" for value, column in zip(some[0], columns, strict=True))
        others = [", ".join(map(str, row)) for row in some[1:]]
        sets = ", ".join(f"{column} = v.{column}" for column in columns[keys:])
        on = " AND ".join(f"t.{column} = v.{column}" for column in columns[:keys])
        values = "),\n(".join([first, *others])
        yield (
            f"UPDATE public.{table} AS t SET {sets} FROM (VALUES\n({values})\n) AS v ({', '.join(columns)})"
            f" WHERE {on}; -- {len(some)} rows\n"
        )


@pytest.fixture
def target(cluster: Cluster, tmp_path) -> Iterator[Target]:
    yield from twice_restored(cluster, tmp_path, SCHEMA)


def staged(target: Target, name: str | None = None) -> bool:
    """Whether there has been a temporary table in a database."""
    query = "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname ~ '^pg_temp')"
    return bool(target.cluster.query(query, name or target.name)[0][0])


def assert_both_ways_equal(target: Target) -> None:
    target.run()
    target.run("--serial", "-d", "serial")
    assert not staged(target, "serial")
    assert_equal(target.cluster.dump("serial"), target.cluster.dump(target.name), ("--serial", "staged"))


def test_rows_sent_by_copy_are_those_of_the_statements(target: Target) -> None:
    texts = ["'it''s'", "NULL", "''", r"E'a\\b\n\t\x01'", "'ä, NULL, (1)'", r"E'\\N'", r"E'\\.'", "'NULL'", "'E'"]
    fills = ["'1.500'", "NULL", "'NaN'"], ["'ab   '", "NULL", "'x    '"], ["'very, bad)'", "'good'", "NULL"]
    more = [r"E'\\x00ff27'", r"E'\\x'"], ["'101'", "''"], ["'-0'", "'1e+300'", "'NaN'", "1"]
    rest = ["'2026-11-22 13:07:00.1+00'", "'infinity'"], ["true", "false", "NULL"], ["'{a,\"b,c\",NULL}'", "'{}'"]

    def row(n: int) -> list[object]:
        kinds = [texts, *fills, *more, *rest]
        return [n, 10 * n + 5, *(kind[n % len(kind)] for kind in kinds)]

    statements = list(updates("t", list(ALL), map(row, range(1, 3001))))
    statements += updates('"Two keys"', ["ka", "kb", "v"], ((f"'a{n % 3}'", n, f"'{LONG}'") for n in range(1, 3001)), 2)
    statements += ["DELETE FROM public.t WHERE id = 1;\n", "UPDATE public.t SET v = 'after' WHERE id = 2;\n"]
    statements += updates("t", ["id", "v"], ((n, f"'{LONG}{n}'") for n in range(3, 3001)))
    target.archive.segment(["".join(statements), "UPDATE public.t SET v = 'next' WHERE id = 4;\n"])
    assert_both_ways_equal(target)
    assert staged(target)
    assert target.rows(f"SELECT count(*) FROM public.t WHERE v = '{LONG}' || id") == [(2997,)]


def test_a_key_that_comes_twice_has_its_last_values(target: Target) -> None:
    rows = [(n, f"'{LONG}'") for n in range(1, 2001)] + [(n, f"'last{LONG}'") for n in range(2000, 500, -1)]
    target.archive.segment(["".join(updates("t", ["id", "v"], rows))])
    assert_both_ways_equal(target)
    assert staged(target)
    assert target.rows("SELECT count(*) FROM public.t WHERE v LIKE 'last%'") == [(1500,)]


def test_values_that_move_along_a_unique_key_do_so_in_their_order(target: Target) -> None:
    rows = [(n, 10 * n + 500, f"'{LONG}'") for n in range(4000, 0, -1)]
    # in steps, as otherwise the statements themselves could not
    target.archive.segment(["".join(updates("t", ["id", "u", "v"], rows, at_once=50))])
    assert_both_ways_equal(target)
    assert staged(target)
    assert target.rows("SELECT id, u FROM public.t WHERE id < 3 ORDER BY id") == [(1, 510), (2, 520)]


def test_a_row_that_is_missing_is_told_of_by_the_statement_that_missed_it(target: Target) -> None:
    rows = [(n, f"'{LONG}'") for n in range(1, 4001)]
    text = "INSERT INTO public.looks (id, v) VALUES (9999, 'before');\n"
    text += "".join(updates("t", ["id", "v"], rows))
    target.archive.segment(["DELETE FROM public.t WHERE id = 2222;\n", text])
    said = target.refused()
    assert "at transaction 702" in said and "statement 6: the statement acted on 499 rows, on the source on 500" in said
    assert target.rows("SELECT count(*) FROM public.t WHERE v LIKE 'x%'") == [(0,)]
    assert target.rows("SELECT count(*) FROM public.looks WHERE id = 9999") == [(0,)]
    fixed = target.cluster.query("INSERT INTO public.t (id, u) VALUES (2222, 1) RETURNING 1", target.name)
    assert fixed and target.run("--resume")
    assert target.rows("SELECT count(*) FROM public.t WHERE v LIKE 'x%'") == [(4000,)]


def test_a_type_may_be_dropped_after_its_rows_were_sent(target: Target) -> None:
    rows = [(n, "'good'", f"'{LONG}'") for n in range(1, 3001)]
    drop = (
        "-- ddl ALTER TABLE\nALTER TABLE public.t DROP COLUMN o\n;\n-- ddl end\n"
        '-- ddl DROP TYPE\nDROP TYPE s."Odd type"\n;\n-- ddl end\n'
    )
    after = updates("t", ["id", "v"], ((n, f"'after {LONG}'") for n in range(1, 3001)))
    target.archive.segment(["".join([*updates("t", ["id", "o", "v"], rows), drop, *after])])
    assert_both_ways_equal(target)
    assert staged(target)


def test_where_rows_look_at_others_each_statement_is_sent(target: Target) -> None:
    target.archive.segment(["".join(updates("looks", ["id", "v"], ((n, f"'{LONG}'") for n in range(1, 4001))))])
    assert_both_ways_equal(target)
    assert not staged(target)
