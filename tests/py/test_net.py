"""Net effects end in the same rows as every statement in its turn, or are not used; what is lost is noticed as well."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator

import pytest
from cluster import Cluster, poll
from compare import assert_equal
from restoring import Target, twice_restored

from scribe.common.dialect import Sequence
from scribe.restore.net import Joined, Joiner, table_of
from scribe.restore.statements import split_statements
from scribe.restore.tables import Table

KEYED = Table({b"id": b"pg_catalog.int4", b"v": b"pg_catalog.text", b"w": b"pg_catalog.text"}, frozenset({(b"id",)}))
TWO = Table({b"a": b"pg_catalog.int4", b"Odd b": b"pg_catalog.text", b"v": b"s.mood"}, frozenset({(b"Odd b", b"a")}))
TABLES = {b"public.t": KEYED, b'public."T 2"': TWO, b"public.other": None}


def joined(*statements: bytes) -> list[tuple[bytes, int | None]]:
    """Return what is sent, but for the settings."""
    found = Joiner().join(list(statements), list(map(table_of, statements)), TABLES)
    assert isinstance(found, Joined), "nothing was joined"
    return [(sent.text, sent.count) for sent in found.statements if not sent.text.startswith(b"SET LOCAL ")]


@pytest.mark.unit
def test_the_last_values_of_a_row_are_what_is_sent() -> None:
    assert joined(
        b"UPDATE public.t SET v = 'a', w = E'x\\\\''y' WHERE id = 1;\n",
        b"INSERT INTO public.t (id, v, w) VALUES\n(2, NULL, 'it''s'),\n(3, 'gone', ''); -- 2 rows\n",
        b"UPDATE public.t SET v = 'b' WHERE id = 1;\n",
        b"UPDATE public.t SET w = ' WHERE id = 1;' WHERE id = 2;\n",
        b"DELETE FROM public.t WHERE id = 3;\n",
        b"DELETE FROM public.t WHERE id = '-4';\n",
        b"DELETE FROM public.t WHERE id = 5;\n",
        b"INSERT INTO public.t (id, v, w) VALUES (5, 'again', NULL);\n",
    ) == [
        (b"DELETE FROM ONLY public.t WHERE id IN ('-4', 5);\n", 2),
        (b"DELETE FROM ONLY public.t WHERE id = 3;\n", 0),
        (b"UPDATE ONLY public.t SET v = 'b', w = E'x\\\\''y' WHERE id = 1;\n", 1),
        (b"INSERT INTO public.t (id, v, w) VALUES\n(2, NULL, ' WHERE id = 1;'),\n(5, 'again', NULL);\n", 2),
    ]


@pytest.mark.unit
def test_keys_of_several_columns_and_odd_names_are_joined() -> None:
    assert joined(
        b"UPDATE ONLY public.\"T 2\" SET a = 1, v = 'good' WHERE \"Odd b\" = 'x' AND a = 1;\n",
        b"UPDATE ONLY public.\"T 2\" SET v = 'bad' WHERE \"Odd b\" = 'x' AND a = 2;\n",
        b'DELETE FROM ONLY public."T 2" WHERE "Odd b" = \'y\' AND a = 1;\n',
        b'DELETE FROM ONLY public."T 2" WHERE "Odd b" = \'y\' AND a = 2;\n',
        b"UPDATE public.other SET v = 1 WHERE id = 1;\n",
    ) == [
        (b"UPDATE public.other SET v = 1 WHERE id = 1;\n", 1),
        (
            b"DELETE FROM ONLY public.\"T 2\" AS t USING (VALUES\n('y'::pg_catalog.text, 1::pg_catalog.int4),\n('y', 2)"
            b'\n) AS v ("Odd b", a) WHERE t."Odd b" = v."Odd b" AND t.a = v.a;\n',
            2,
        ),
        (
            b'UPDATE ONLY public."T 2" AS t SET v = v.v FROM (VALUES\n'
            b"('x'::pg_catalog.text, 1::pg_catalog.int4, 'good'::s.mood),\n('x', 2, 'bad')\n) AS v (\"Odd b\", a, v)"
            b' WHERE t."Odd b" = v."Odd b" AND t.a = v.a;\n',
            2,
        ),
    ]


@pytest.mark.unit
def test_what_looks_like_a_statement_before_is_read_alike() -> None:
    updates = [b"UPDATE public.t SET v = %b WHERE id = %d;\n" % (b"'%b'" % (b"''" * n), n % 7) for n in range(40)]
    updates += [b"UPDATE public.t SET v = E'\\\\' WHERE id = 6;\n", b"UPDATE public.t SET v = NULL WHERE id = '-1';\n"]
    ((text, count),) = joined(*updates)
    assert count == 8
    assert b"(5, '%b')" % (b"''" * 33) in text
    assert b"(6, E'\\\\')" in text
    assert b"('-1', NULL)" in text


@pytest.mark.unit
def test_what_was_joined_before_is_joined_further() -> None:
    first = joined(
        b"INSERT INTO public.t (id, v, w) VALUES (9, 'new', ') AS v (id');\n",
        b"INSERT INTO public.t (id, v, w) VALUES (8, 'new', NULL);\n",
        *(b"UPDATE public.t SET v = '%d', w = E'x\\\\''y' WHERE id = %d;\n" % (n, n) for n in range(3)),
        *(b"DELETE FROM public.t WHERE id = '-%d';\n" % n for n in range(1, 4)),
        *(b"UPDATE public.\"T 2\" SET v = 'good' WHERE \"Odd b\" = 'x' AND a = %d;\n" % n for n in range(3)),
        *(b'DELETE FROM public."T 2" WHERE "Odd b" = \', \' AND a = %d;\n' % n for n in range(2)),
    )
    again = [b"%b; -- %d rows\n" % (text.removesuffix(b";\n"), count or 0) for text, count in first]
    assert sum(b"VALUES\n" in text for text in again) == 4 and sum(b" IN (" in text for text in again) == 1
    assert joined(*again) == first
    assert joined(
        *again,
        b"UPDATE public.t SET v = 'later' WHERE id = 1;\n",
        b"INSERT INTO public.t (id, v, w) VALUES ('-2', 'back', '');\n",
        b"DELETE FROM public.t WHERE id = 8;\n",
        b'DELETE FROM public."T 2" WHERE "Odd b" = \'x\' AND a = 2;\n',
        b"INSERT INTO public.\"T 2\" (a, \"Odd b\", v) VALUES (1, ', ', 'bad');\n",
    ) == [
        (b"DELETE FROM ONLY public.t WHERE id IN ('-1', '-3', '-2');\n", 3),
        (b"DELETE FROM ONLY public.t WHERE id = 8;\n", 0),
        (
            b"UPDATE ONLY public.t AS t SET v = v.v, w = v.w FROM (VALUES\n(0::pg_catalog.int4, '0'::pg_catalog.text, "
            b"E'x\\\\''y'::pg_catalog.text),\n(1, 'later', E'x\\\\''y'),\n(2, '2', E'x\\\\''y')\n) AS v (id, v, w)"
            b" WHERE t.id = v.id;\n",
            3,
        ),
        (b"INSERT INTO public.t (id, v, w) VALUES\n(9, 'new', ') AS v (id'),\n('-2', 'back', '');\n", 2),
        (
            b"DELETE FROM ONLY public.\"T 2\" AS t USING (VALUES\n(', '::pg_catalog.text, 0::pg_catalog.int4),\n"
            b'(\'x\', 2),\n(\', \', 1)\n) AS v ("Odd b", a) WHERE t."Odd b" = v."Odd b" AND t.a = v.a;\n',
            3,
        ),
        (
            b'UPDATE ONLY public."T 2" AS t SET v = v.v FROM (VALUES\n'
            b"('x'::pg_catalog.text, 0::pg_catalog.int4, 'good'::s.mood),\n('x', 1, 'good')\n) AS v (\"Odd b\", a, v)"
            b' WHERE t."Odd b" = v."Odd b" AND t.a = v.a;\n',
            2,
        ),
        (b"INSERT INTO public.\"T 2\" (a, \"Odd b\", v) VALUES (1, ', ', 'bad');\n", 1),
    ]


ROWS_OF = (
    b"UPDATE ONLY public.t AS t SET v = v.v FROM (VALUES\n(1::pg_catalog.int4, 'x'::pg_catalog.text),\n(2, 'y')\n)"
)
UNPROVED = [
    ROWS_OF + b" AS v (id, w) WHERE t.id = v.id; -- 2 rows\n",
    ROWS_OF + b" AS v (id, v) WHERE t.id = v.v; -- 2 rows\n",
    ROWS_OF + b" AS v (id, v) WHERE t.id = v.id OR true; -- 2 rows\n",
    ROWS_OF + b" AS v (id, v) WHERE t.id = v.id; -- 3 rows\n",
    ROWS_OF + b" AS v (v, id) WHERE t.v = v.v; -- 2 rows\n",
    ROWS_OF.replace(b"int4", b"int8") + b" AS v (id, v) WHERE t.id = v.id; -- 2 rows\n",
    ROWS_OF.replace(b"pg_catalog.text", b"pg_catalog.int4") + b" AS v (id, v) WHERE t.id = v.id; -- 2 rows\n",
    ROWS_OF.replace(b"'y'", b"'y', 3") + b" AS v (id, v) WHERE t.id = v.id; -- 2 rows\n",
    ROWS_OF.replace(b"'y'", b"now()") + b" AS v (id, v) WHERE t.id = v.id; -- 2 rows\n",
    b"UPDATE ONLY public.t SET v = 'x' WHERE id IN (1, 2); -- 2 rows\n",
    b"DELETE FROM ONLY public.t WHERE id IN (1, 2) OR true; -- 2 rows\n",
    b"DELETE FROM ONLY public.t WHERE v IN ('1', '2'); -- 2 rows\n",
    b"UPDATE public.t SET id = 2 WHERE id = 1;\n",
    b"UPDATE public.t SET v = (SELECT 'x') WHERE id = 1;\n",
    b"UPDATE public.t SET v = 'x' WHERE v = 'y';\n",
    b"DELETE FROM public.t WHERE v = 'y';\n",
    b"DELETE FROM public.t WHERE ctid = (SELECT ctid FROM ONLY public.t WHERE id = 1 LIMIT 1);\n",
    b"DELETE FROM public.t WHERE id IS NULL;\n",
    b"DELETE FROM public.t WHERE id = 1;\nDELETE FROM public.t WHERE id = 1;\n",
    b"DELETE FROM public.t WHERE id = 1;\nUPDATE public.t SET v = 'x' WHERE id = 1;\n",
    b"INSERT INTO public.t DEFAULT VALUES;\n",
    b"UPDATE public.t SET v = 'x' WHERE id = 1;\nINSERT INTO public.t (id, v) VALUES (1, 'x');\n",
    b"INSERT INTO public.t (id, v) VALUES (1, 'x');\nUPDATE public.t SET w = 'x' WHERE id = 1;\n",
    b"INSERT INTO public.t (v) VALUES ('x');\nUPDATE public.t SET w = 'x' WHERE id = 1;\n",
    b"UPDATE public.t SET v = 'x' WHERE id = 1; -- 0 rows\n",
    b"DELETE FROM public.t WHERE id = NULL;\n",
    b"INSERT INTO public.t (id, v, w) VALUES\n(2, NULL, ''),\n(3, 'x', ''); -- 3 rows\n",
]


@pytest.mark.unit
@pytest.mark.parametrize("text", UNPROVED)
def test_what_is_not_proved_is_sent_as_it_stands(text: bytes) -> None:
    statements = split_statements(text)
    joiner, names = Joiner(), list(map(table_of, statements))
    assert joiner.join(statements, names, TABLES) is None
    insert = b"INSERT INTO public.\"T 2\" (a, \"Odd b\", v) VALUES (1, 'x', 'good');\n"
    found = joiner.join([*statements, insert], [*names, table_of(insert)], TABLES)
    assert found is not None and [sent.text for sent in found.statements[: len(statements)]] == statements


@pytest.mark.unit
def test_a_statement_that_may_be_about_any_table_keeps_all_in_their_order() -> None:
    insert = b"INSERT INTO public.t (id, v, w) VALUES (1, 'x', 'y');\n"
    statements = [insert, b"DELETE FROM ONLY public.t; -- * rows\n", insert]
    assert Joiner().join(statements, list(map(table_of, statements)), TABLES) is None


SCHEMA = """
SET search_path = public;
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE TABLE plain (id int PRIMARY KEY, v text, u int UNIQUE, n numeric(10, 3), c char(5), m mood, f float8);
CREATE TABLE "Two keys" (a text, b int, v varchar(20), PRIMARY KEY (a, b), s text GENERATED ALWAYS AS (a || v) STORED);
CREATE TABLE spelt (k numeric PRIMARY KEY, v text);
CREATE TABLE named (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v bigint);
CREATE TABLE log (at timestamptz, v text);
CREATE TABLE ranges (id int PRIMARY KEY, v int, EXCLUDE USING gist (int4range(v, v + 1) WITH &&));
CREATE FUNCTION rows_of_log() RETURNS bigint LANGUAGE sql STABLE AS 'SELECT count(*) FROM public.log';
CREATE TABLE counted (id int PRIMARY KEY, v int, CHECK (v <= rows_of_log()));
INSERT INTO plain SELECT n, 'v' || n, n, n, 'c', 'good', n FROM generate_series(1, 20) AS n;
INSERT INTO "Two keys" SELECT 'a' || n % 3, n, 'v' FROM generate_series(1, 20) AS n;
INSERT INTO ranges SELECT n, n FROM generate_series(1, 20) AS n;
CREATE TABLE seen (id int PRIMARY KEY);
CREATE FUNCTION seen_now(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 + count(*)::int FROM public.seen';
CREATE FUNCTION hash_now(int, bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS 'SELECT count(*) FROM public.seen';
CREATE TABLE made (id int PRIMARY KEY, n int GENERATED ALWAYS AS (seen_now(id)) STORED);
CREATE OPERATOR CLASS by_seen FOR TYPE int USING hash AS OPERATOR 1 =, FUNCTION 2 hash_now(int, bigint);
CREATE TABLE spread (id int) PARTITION BY HASH (id by_seen);
CREATE TABLE part0 PARTITION OF spread FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE part1 PARTITION OF spread FOR VALUES WITH (MODULUS 2, REMAINDER 1);
SET search_path = '';
"""


class Source:
    """Makes up statements, and knows which keys are there. draw: where chance comes from."""

    def __init__(self, draw: random.Random) -> None:
        self.draw = draw
        self.keys: dict[str, dict[int, int]] = {name: {} for name in ("plain", "keys", "spelt", "named", "ranges", "c")}
        for name in ("plain", "keys", "ranges"):
            self.keys[name] = {n: n for n in range(1, 21)}
        self.unique = {"plain": 100, "ranges": 100}
        self.logged = 0

    def statement(self) -> str:
        """Return one that the source could have run after those before."""
        return getattr(
            self, f"_{self.draw.choice(['plain', 'plain', 'keys', 'spelt', 'named', 'log', 'ranges', 'c'])}"
        )()

    def _pick(self, name: str) -> tuple[str, int]:
        there = self.keys[name]
        if not there or (len(there) < 150 and self.draw.random() < 0.4):
            free = [n for n in range(1, 200) if n not in there]
            key = self.draw.choice(free)
            there[key] = key
            return "insert", key
        key = self.draw.choice(list(there))
        if self.draw.random() < 0.4:
            del there[key]
            return "delete", key
        return "update", key

    def _text(self) -> str:
        return self.draw.choice(["'x'", "E'a\\\\b\\nc'", "'it''s'", "NULL", "''", "' WHERE id = 1;'", "'Ünï'"])

    def _next(self, name: str) -> int:
        self.unique[name] += 1
        return self.unique[name]

    def _plain(self) -> str:
        what, key = self._pick("plain")
        f = self.draw.choice(["'1.5'", "'NaN'", "'-0'", "'1e+300'"])
        if what == "insert":
            values = f"{key}, {self._text()}, {self._next('plain')}, '{key}.500', 'ab   ', 'bad', {f}"
            return f"INSERT INTO public.plain (id, v, u, n, c, m, f) VALUES ({values});\n"
        if what == "delete":
            return f"DELETE FROM public.plain WHERE id = {key};\n"
        sets = self.draw.choice([f"v = {self._text()}", f"u = {self._next('plain')}, m = 'good'", f"f = {f}, c = NULL"])
        return f"UPDATE public.plain SET {sets} WHERE id = {key};\n"

    def _keys(self) -> str:
        what, key = self._pick("keys")
        where = f"a = 'a{key % 3}' AND b = {key}"
        if what == "insert":
            return f"INSERT INTO public.\"Two keys\" (a, b, v) VALUES ('a{key % 3}', {key}, {self._text()});\n"
        if what == "delete":
            return f'DELETE FROM public."Two keys" WHERE {where};\n'
        return f"UPDATE public.\"Two keys\" SET a = 'a{key % 3}', b = {key}, v = {self._text()} WHERE {where};\n"

    def _spelt(self) -> str:
        what, key = self._pick("spelt")
        spelling = self.draw.choice([f"'{key}'", f"'{key}.0'"])
        if what == "insert":
            return f"INSERT INTO public.spelt (k, v) VALUES ({spelling}, {self._text()});\n"
        if what == "delete":
            return f"DELETE FROM public.spelt WHERE k = {spelling};\n"
        return f"UPDATE public.spelt SET v = {self._text()} WHERE k = {spelling};\n"

    def _named(self) -> str:
        what, key = self._pick("named")
        if what == "insert":
            return f"INSERT INTO public.named (id, v) OVERRIDING SYSTEM VALUE VALUES ({key}, '-{key}');\n"
        if what == "delete":
            return f"DELETE FROM public.named WHERE id = {key};\n"
        return f"UPDATE public.named SET v = {self.draw.randrange(2**40)} WHERE id = {key};\n"

    def _log(self) -> str:
        self.logged += 1
        return f"INSERT INTO public.log (at, v) VALUES\n('2026-11-22 13:07:00+00', {self._text()}); -- 1 rows\n"

    def _ranges(self) -> str:
        what, key = self._pick("ranges")
        if what == "insert":
            return f"INSERT INTO public.ranges (id, v) VALUES ({key}, {self._next('ranges')});\n"
        if what == "delete":
            return f"DELETE FROM public.ranges WHERE id = {key};\n"
        return f"UPDATE public.ranges SET v = {self._next('ranges')} WHERE id = {key};\n"

    def _c(self) -> str:
        what, key = self._pick("c")
        if what == "insert":
            return f"INSERT INTO public.counted (id, v) VALUES ({key}, {self.logged});\n"
        if what == "delete":
            return f"DELETE FROM public.counted WHERE id = {key};\n"
        return f"UPDATE public.counted SET v = {self.logged} WHERE id = {key};\n"


DDL = "-- ddl ALTER TABLE\nALTER TABLE public.plain ADD COLUMN IF NOT EXISTS x int\n;\n-- ddl end\n"
SWAP = "-- ddl ALTER TABLE\nALTER TABLE public.spelt ALTER v SET NOT NULL, ALTER v DROP NOT NULL\n;\n-- ddl end\n"


def bodies(source: Source) -> Iterator[str]:
    """Yield transactions."""
    for number in range(300):
        yield "".join(source.statement() for _ in range(source.draw.randrange(1, 5)))
        if number % 100 == 99:
            yield source.draw.choice([DDL, SWAP.replace("SET NOT NULL, ALTER v ", "")])
    parts = ["".join(source.statement() for _ in range(3000)) for _ in range(2)]
    yield f"{parts[0]}{DDL}{parts[1]}"  # too long to be joined with others


@pytest.fixture
def target(cluster: Cluster, tmp_path) -> Iterator[Target]:
    yield from twice_restored(cluster, tmp_path, SCHEMA)


@pytest.mark.parametrize("seed", range(2))
def test_net_effects_are_what_every_statement_in_its_turn_ends_in(target: Target, seed: int) -> None:
    source = Source(random.Random(seed))
    target.archive.segment(bodies(source), sequences=[Sequence("public", "named_id_seq", 200, True)])
    some = json.loads(target.run("--json", "--target-xid", "850").stdout)
    rest = json.loads(target.run("--json", "--net", "--resume").stdout)
    serial = json.loads(target.run("--json", "--serial", "-d", "serial").stdout)
    assert some["transactions"] == 150
    for key in ("transactions", "rows", "ddl"):
        assert some[key] + rest[key] == serial[key], key
    assert_equal(target.cluster.dump("serial"), target.cluster.dump(target.name), ("--serial", "net effects"))


FILLING = "".join(f"UPDATE public.plain SET v = '{'x' * 40}{n}' WHERE id = {n % 20 + 1};\n" for n in range(5000))


def test_statements_of_a_long_transaction_are_joined_as_well(target: Target) -> None:
    inserts = "".join(f"INSERT INTO public.log (v) VALUES ('{n}');\n" for n in range(30))
    swap = "".join(f"UPDATE public.plain SET u = {u} WHERE id = {key};\n" for key, u in [(1, "NULL"), (2, 1), (1, 2)])
    others = "TRUNCATE public.log;\n", "DELETE FROM ONLY public.log; -- * rows\n"
    target.archive.segment([FILLING + inserts.join(["", *others, ""]), inserts + swap + FILLING])
    target.run()
    target.run("--serial", "-d", "serial")
    updates = "SELECT n_tup_upd FROM pg_stat_user_tables WHERE relname = 'plain'"
    assert poll(lambda: target.rows(updates)[0][0], what="statistics") < 6000  # the latter half as they stand
    assert_equal(target.cluster.dump("serial"), target.cluster.dump(target.name), ("--serial", "net effects"))


def test_a_change_that_a_long_transaction_lost_stops_it_at_its_statement(target: Target) -> None:
    lost = "INSERT INTO public.log (v) VALUES ('before');\n" * 30 + LOST[0][1] + "DELETE FROM public.log;\n"
    target.archive.segment([FILLING + lost + FILLING])
    said = target.refused()
    assert "at transaction 701" in said
    assert "statement 5031: the statement acted on 0 rows, on the source on 1: DELETE FROM public.plain" in said
    assert target.rows("SELECT count(*) FROM public.plain WHERE v LIKE 'x%'") == [(0,)]


def test_values_that_change_places_are_replayed_in_their_turn(target: Target) -> None:
    swap = [(1, "NULL"), (2, "1"), (1, "2")]
    target.archive.segment([f"UPDATE public.plain SET u = {u} WHERE id = {key};\n" for key, u in swap])
    target.run()
    assert target.rows("SELECT id, u FROM public.plain WHERE id < 4 ORDER BY id") == [(1, 2), (2, 1), (3, 3)]


def test_what_is_computed_from_rows_of_others_is_computed_in_its_turn(target: Target) -> None:
    made = [f"INSERT INTO public.made (id) VALUES ({n});\nINSERT INTO public.seen (id) VALUES ({n});\n" for n in (1, 2)]
    spread = [
        f"INSERT INTO public.spread (id) VALUES ({n});\nDELETE FROM public.seen WHERE id = {n};\n" for n in (1, 2)
    ]
    target.archive.segment(made)
    target.archive.segment(spread)
    target.run()
    target.run("--serial", "-d", "serial")
    for query in ("TABLE public.made ORDER BY id", "TABLE public.part0", "TABLE public.part1"):
        assert target.rows(query) == target.cluster.query(query, "serial"), query
    assert target.rows("TABLE public.made ORDER BY id") == [(1, 1), (2, 3)]


LOST = [
    ["INSERT INTO public.plain (id, v) VALUES (50, 'x');\n", "DELETE FROM public.plain WHERE id = 50;\n"],
    ["DELETE FROM public.plain WHERE id = 1;\n", "INSERT INTO public.plain (id, v) VALUES (1, 'x');\n"],
    ["INSERT INTO public.plain (id, v) VALUES (50, 'x');\n", "UPDATE public.plain SET v = 'y' WHERE id = 50;\n"],
    [
        "DELETE FROM public.plain WHERE id = 1;\n",
        "INSERT INTO public.plain (id, v) VALUES (1, 'x');\n",
        "DELETE FROM public.plain WHERE id = 1;\n",
    ],
]


@pytest.mark.parametrize("mode", [(), ("--serial",)], ids=["net", "serial"])
def test_a_lost_change_stops_it_at_the_statement_that_missed_it(target: Target, mode: tuple[str, ...]) -> None:
    target.archive.segment(
        ["INSERT INTO public.log (v) VALUES ('before');\n", *LOST[0][1:], "DELETE FROM public.log;\n"]
    )
    said = target.refused(*mode)
    assert "at transaction 702" in said
    assert "statement 1: the statement acted on 0 rows, on the source on 1: DELETE FROM public.plain" in said


@pytest.mark.parametrize("statements", LOST, ids=range(len(LOST)))
def test_no_lost_change_is_hidden_by_those_that_follow(target: Target, statements: list[str]) -> None:
    target.archive.segment(statements[1:])
    assert "at transaction 70" in target.refused()
    assert target.rows("SELECT count(*) FROM public.plain") == [(20,)]
