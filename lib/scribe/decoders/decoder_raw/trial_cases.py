"""Small workloads, and what decoder_raw must write of each: the material of trial.py.

The tables that each concerns are found by a condition on pg_class, called c. Names in the workloads are without a
schema: search_path is public.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Change = tuple[Any, ...]  # ("INSERT", table, values), ("UPDATE", table, values, where), ("DELETE", table, where) ...


@dataclass(frozen=True)
class Probe:
    """One workload and what the plugin must write of it.

    work: one transaction; expected: the changes, read back; fault: what psql would make of the text, where shows
    matches it; loss: what is missing when the changes are not as expected; hit: a condition on pg_class c for the
    tables concerned.
    """

    name: str
    setup: str
    work: str
    expected: Sequence[Change]
    fault: str
    loss: str
    hit: str = ""
    shows: str = ""
    since: int = 0  # server_version_num
    optional: frozenset[str] = frozenset()  # columns that need not be among those set
    beside: frozenset[str] = frozenset()  # columns that may be compared besides the key


def insert(table: str, **values: str | None) -> Change:
    """Return the change an INSERT must be read as."""
    return ("INSERT", f"public.{table}", values)


def update(table: str, values: Mapping[str, str | None], **where: str | None) -> Change:
    """Return the change an UPDATE must be read as."""
    return ("UPDATE", f"public.{table}", dict(values), where)


def delete(table: str, **where: str | None) -> Change:
    """Return the change a DELETE must be read as."""
    return ("DELETE", f"public.{table}", where)


def truncate(*tables: str, restart: bool = False) -> Change:
    """Return the change a TRUNCATE must be read as."""
    return ("TRUNCATE", frozenset(f"public.{table}" for table in tables), restart)


_USABLE = """EXISTS (SELECT FROM pg_catalog.pg_index AS i WHERE i.indrelid = c.oid AND i.indimmediate AND i.indisvalid
    AND CASE c.relreplident WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident END)"""
_FULL = f"(c.relreplident = 'f' OR NOT {_USABLE})"  # scribe-init makes it so
_COLUMN = "EXISTS (SELECT FROM pg_catalog.pg_attribute AS a WHERE a.attrelid = c.oid AND a.attnum > 0"
_COLUMN += " AND NOT a.attisdropped AND {})"
_OF_TYPES = "a.atttypid = ANY ('{{{}}}'::pg_catalog.regtype[])"
_WIDE = "(SELECT string_agg(md5(g::text), '') FROM generate_series(1, 200) AS g)"

PROBES: tuple[Probe, ...] = (
    Probe(
        "null_identity",
        "CREATE TABLE nulls (a int, b text); ALTER TABLE nulls REPLICA IDENTITY FULL;"
        "INSERT INTO nulls VALUES (1, NULL)",
        "UPDATE nulls SET a = 2; DELETE FROM nulls",
        [update("nulls", {"a": "2", "b": None}, a="1", b=None), delete("nulls", a="2", b=None)],
        "a NULL under REPLICA IDENTITY FULL is compared with =, which finds no row",
        "UPDATE and DELETE of rows with a NULL under REPLICA IDENTITY FULL",
        f"{_FULL} AND {_COLUMN.format('NOT a.attnotnull')}",
        r"= null\b",
    ),
    Probe(
        "duplicate_rows",
        "CREATE TABLE twins (a int NOT NULL, b text NOT NULL); ALTER TABLE twins REPLICA IDENTITY FULL;"
        "INSERT INTO twins VALUES (1, 'x'), (1, 'x'), (1, 'x')",
        "DELETE FROM twins WHERE ctid = (SELECT min(ctid) FROM twins)",
        [delete("twins", a="1", b="x")],
        "one of several equal rows under REPLICA IDENTITY FULL is addressed as all of them",
        "DELETE of one of several equal rows under REPLICA IDENTITY FULL",
        _FULL,
        "DELETE",
    ),
    Probe(
        "types_without_equality",
        "CREATE TABLE odd (j json, x polygon, p point); ALTER TABLE odd REPLICA IDENTITY FULL;"
        """INSERT INTO odd VALUES ('{"a": 1}', '((1,2),(3,4))', '(1,2.5)')""",
        "UPDATE odd SET p = NULL; DELETE FROM odd",
        [
            update(
                "odd",
                {"j": '{"a": 1}', "x": "((1,2),(3,4))", "p": None},
                j='{"a": 1}',
                x="((1,2),(3,4))",
                p="(1,2.5)",
            ),
            delete("odd", j='{"a": 1}', x="((1,2),(3,4))", p=None),
        ],
        "json, xml, point and polygon under REPLICA IDENTITY FULL are compared with =, which they do not have",
        "UPDATE and DELETE of tables with json, xml, point or polygon under REPLICA IDENTITY FULL",
        f"{_FULL} AND {_COLUMN.format(_OF_TYPES.format('json,xml,point,polygon'))}",
        r"WHERE [^;]*\bj = '",
    ),
    Probe(
        "generated_columns",
        "CREATE TABLE made (id int PRIMARY KEY, a int, g int GENERATED ALWAYS AS (a * 2) STORED);"
        "INSERT INTO made VALUES (1, 1)",
        "INSERT INTO made VALUES (2, 3); UPDATE made SET a = 4 WHERE id = 2",
        [insert("made", id="2", a="3", g="6"), update("made", {"id": "2", "a": "4", "g": "8"}, id="2")],
        "generated columns are named among those that are set",
        "INSERT and UPDATE of tables with generated columns",
        _COLUMN.format("a.attgenerated <> ''"),
        r"\bg\b",
        optional=frozenset("g"),
    ),
    Probe(
        "virtual_columns",
        "CREATE TABLE virtual (id int PRIMARY KEY, a int, g int GENERATED ALWAYS AS (a * 2) VIRTUAL)",
        "INSERT INTO virtual VALUES (2, 3); UPDATE virtual SET a = 4",
        [insert("virtual", id="2", a="3"), update("virtual", {"id": "2", "a": "4"}, id="2")],
        "virtual generated columns are set to NULL",
        "INSERT and UPDATE of tables with virtual generated columns",
        _COLUMN.format("a.attgenerated = 'v'"),
        r"\bg\b",
        since=180000,
        optional=frozenset("g"),
    ),
    Probe(
        "identity_columns",
        "CREATE TABLE numbered (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text)",
        "INSERT INTO numbered (v) VALUES ('a'); UPDATE numbered SET v = 'b'",
        [insert("numbered", id="1", v="a"), update("numbered", {"id": "1", "v": "b"}, id="1")],
        "GENERATED ALWAYS AS IDENTITY is set without OVERRIDING SYSTEM VALUE",
        "rows of tables with identity columns",
        _COLUMN.format("a.attidentity = 'a'"),
        r"INSERT INTO public\.numbered \(id, v\) VALUES",
    ),
    Probe(
        "truncate_only",
        "CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child () INHERITS (parent)",
        "TRUNCATE ONLY parent",
        [truncate("parent")],
        "TRUNCATE ONLY is written without ONLY, and would empty the tables that inherit, too",
        "which tables a TRUNCATE ONLY emptied",
        "c.relkind = 'r' AND c.relhassubclass",
        r"TRUNCATE (?!ONLY)",
    ),
    Probe(
        "truncate",
        "CREATE TABLE one (id serial PRIMARY KEY); CREATE TABLE two (id int PRIMARY KEY REFERENCES one);"
        "CREATE TABLE three (id int PRIMARY KEY); CREATE TABLE heir () INHERITS (three)",
        "TRUNCATE one, three RESTART IDENTITY CASCADE",
        [truncate("one", "two", "three", "heir", restart=True)],
        "",
        "which tables a TRUNCATE of several tables, of parents or with CASCADE emptied, and if it restarted sequences",
    ),
    Probe(
        "toast_only_update",
        "CREATE TABLE toasted (k text PRIMARY KEY); ALTER TABLE toasted ALTER k SET STORAGE EXTERNAL;"
        "INSERT INTO toasted VALUES (repeat('k', 2500))",
        "UPDATE toasted SET k = k",
        [update("toasted", {}, k="k" * 2500)],
        "an UPDATE in which only unchanged TOAST values are is written with nothing to set",
        "UPDATE in which only unchanged TOAST values are",
        f"NOT {_COLUMN.format('a.attlen >= 0')}",
        r"SET +WHERE",
        optional=frozenset("k"),
    ),
    Probe(
        "unchanged_toast",
        f"CREATE TABLE heavy (id int PRIMARY KEY, v text, n int); ALTER TABLE heavy ALTER v SET STORAGE EXTERNAL;"
        f"INSERT INTO heavy VALUES (1, {_WIDE}, 1)",
        "UPDATE heavy SET n = 2; UPDATE heavy SET id = 5",
        [update("heavy", {"id": "1", "n": "2"}, id="1"), update("heavy", {"id": "5", "n": "2"}, id="1")],
        "",
        "UPDATE of rows with large values that did not change",
        _COLUMN.format("a.attlen = -1 AND a.attstorage <> 'p'"),
        optional=frozenset("v"),
    ),
    Probe(
        "columns_beside_the_key",
        "CREATE TABLE beside (id int, x int, PRIMARY KEY (id) INCLUDE (x)); INSERT INTO beside VALUES (1, 7), (2, 8)",
        "UPDATE beside SET x = 9 WHERE id = 1; DELETE FROM beside WHERE id = 2",
        [update("beside", {"id": "1", "x": "9"}, id="1"), delete("beside", id="2")],
        "columns that an index only INCLUDEs are compared with values that the old row did not have",
        "UPDATE and DELETE of tables whose key INCLUDEs columns",
        "EXISTS (SELECT FROM pg_catalog.pg_index AS i WHERE i.indrelid = c.oid AND i.indnatts > i.indnkeyatts"
        " AND CASE c.relreplident WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident END)",
        r"\bx = (?:null|9);",
        beside=frozenset("x"),
    ),
    Probe(
        "changed_key",
        "CREATE TABLE keys (a int, b text, v int, PRIMARY KEY (a, b)); INSERT INTO keys VALUES (1, 'x', 3);"
        "CREATE TABLE chosen (a int NOT NULL, b int); CREATE UNIQUE INDEX chosen_a ON chosen (a);"
        "ALTER TABLE chosen REPLICA IDENTITY USING INDEX chosen_a; INSERT INTO chosen VALUES (1, 2), (3, 4)",
        "UPDATE keys SET b = 'y'; UPDATE chosen SET a = 5 WHERE a = 1; DELETE FROM chosen WHERE a = 3",
        [
            update("keys", {"a": "1", "b": "y", "v": "3"}, a="1", b="x"),
            update("chosen", {"a": "5", "b": "2"}, a="1"),
            delete("chosen", a="3"),
        ],
        "",
        "UPDATE of a key",
    ),
    Probe(
        "numbers",
        "CREATE TABLE numbers (id int PRIMARY KEY, f float8, g float4, n numeric)",
        "INSERT INTO numbers VALUES (1, 0.1::float8 + 0.2, 1.17549435e-38, 1.500), (2, 'NaN', 'Infinity', 'NaN'),"
        "(3, '-Infinity', 3.4028235e38, -0.00), (4, 1.7976931348623157e308, 1e-45, 1e20),"
        "(5, 5e-324, 0.1, 12345678901234567890)",
        [
            insert("numbers", id="1", f="0.30000000000000004", g="1.1754944e-38", n="1.500"),
            insert("numbers", id="2", f="NaN", g="Infinity", n="NaN"),
            insert("numbers", id="3", f="-Infinity", g="3.4028235e+38", n="0.00"),
            insert("numbers", id="4", f="1.7976931348623157e+308", g="1e-45", n="100000000000000000000"),
            insert("numbers", id="5", f="5e-324", g="0.1", n="12345678901234567890"),
        ],
        "",
        "digits of floating-point or numeric values",
        _COLUMN.format(_OF_TYPES.format("float4,float8,numeric")),
    ),
    Probe(
        "minus_zero",
        "CREATE TABLE zeros (id int PRIMARY KEY, f float8)",
        "INSERT INTO zeros VALUES (1, '-0')",
        [insert("zeros", id="1", f="-0")],
        "the floating-point value -0 is written without quotes, and read as 0",
        "the sign of the floating-point value -0",
        _COLUMN.format(_OF_TYPES.format("float4,float8")),
        r"(?<!')-0(?!')",
    ),
    Probe(
        "formats",
        "CREATE TABLE formats (id int PRIMARY KEY, t timestamptz, d date, i interval, b bytea, m money, o bool,"
        ' s bit(3), c "char")',
        "INSERT INTO formats VALUES (1, '2026-07-04 05:06:07.89+09', '0044-03-15 BC', '1 day -2:03', '\\x00ff5c27', "
        "'12.5', true, B'101', 'x'),"
        "(2, 'infinity', '-infinity', NULL, '', '-1', false, NULL, '')",
        [
            insert(
                "formats",
                id="1",
                t="2026-07-03 20:06:07.89+00",
                d="0044-03-15 BC",
                i="1 day -02:03:00",
                b="\\x00ff5c27",
                m="$12.50",
                o="t",
                s="101",
                c="x",
            ),
            insert("formats", id="2", t="infinity", d="-infinity", i=None, b="\\x", m="-$1.00", o="f", s=None, c=""),
        ],
        "",
        "values whose text depends on settings: times, bytea, money",
        _COLUMN.format(_OF_TYPES.format("timestamptz,timestamp,date,interval,bytea,money")),
    ),
    Probe(
        "types",
        "CREATE TYPE mood AS ENUM ('it''s', 'ok'); CREATE TYPE pair AS (a int, b text); CREATE DOMAIN truth AS bool;"
        "CREATE TABLE kinds (id int PRIMARY KEY, e mood, p pair, a text[], r int4range, j jsonb, u uuid, d truth)",
        "INSERT INTO kinds VALUES (1, 'it''s', '(1,\"a,b\")', '[0:1]={\"a b\",NULL}', '[1,5)', '{\"a\": [1, null]}',"
        " '1228ac14-0000-0000-0000-000000000000', false)",
        [
            insert(
                "kinds",
                id="1",
                e="it's",
                p='(1,"a,b")',
                a='[0:1]={"a b",NULL}',
                r="[1,5)",
                j='{"a": [1, null]}',
                u="1228ac14-0000-0000-0000-000000000000",
                d="f",
            )
        ],
        "",
        "values of enums, composites, arrays, ranges, json or domains",
    ),
    Probe(
        "names",
        'CREATE SCHEMA "a.b"; CREATE TABLE "a.b"."t ""q"" \\ \' ž" ("c\n""d" int PRIMARY KEY, "SELECT" text)',
        'INSERT INTO "a.b"."t ""q"" \\ \' ž" VALUES (1, \'x\'); UPDATE "a.b"."t ""q"" \\ \' ž" SET "SELECT" = \'y\'',
        [
            ("INSERT", 'a.b.t "q" \\ \' ž', {'c\n"d': "1", "SELECT": "x"}),
            ("UPDATE", 'a.b.t "q" \\ \' ž', {'c\n"d': "1", "SELECT": "y"}, {'c\n"d': "1"}),
        ],
        "",
        "changes of tables and columns with unusual names",
    ),
    Probe(
        "frames_in_values",
        "CREATE TABLE texts (id int PRIMARY KEY, v text)",
        "INSERT INTO texts VALUES (1, E'a\\nCOMMIT;\\nBEGIN;\\n\\\\.\\n'';\\\\''\\r\\t\\x01'), "
        "(2, E'\\n'';\\nCOMMIT;\\n')",
        [
            insert("texts", id="1", v="a\nCOMMIT;\nBEGIN;\n\\.\n';\\'\r\t\x01"),
            insert("texts", id="2", v="\n';\nCOMMIT;\n"),
        ],
        "",
        "where a transaction ends, if a value holds a line with COMMIT",
    ),
    Probe(
        "tables_without_columns",
        "CREATE TABLE bare (); ALTER TABLE bare REPLICA IDENTITY FULL; INSERT INTO bare DEFAULT VALUES",
        "INSERT INTO bare DEFAULT VALUES; DELETE FROM bare WHERE ctid = (SELECT min(ctid) FROM bare)",
        [insert("bare"), delete("bare")],
        "rows of tables without columns are written as syntax errors",
        "rows of tables without columns",
        f"NOT {_COLUMN.format('true')}",
        r"\(\) VALUES|WHERE ;",
    ),
    Probe(
        "no_identity",
        "CREATE TABLE keyless (a int); INSERT INTO keyless VALUES (1); CREATE TABLE silent (a int PRIMARY KEY);"
        "ALTER TABLE silent REPLICA IDENTITY NOTHING; INSERT INTO silent VALUES (1);"
        "CREATE TABLE later (a int PRIMARY KEY DEFERRABLE); INSERT INTO later VALUES (1)",
        "UPDATE keyless SET a = 2; DELETE FROM silent; DELETE FROM later",
        [update("keyless", {"a": "2"}, a="1"), delete("silent", a="1"), delete("later", a="1")],
        "",
        "UPDATE and DELETE of tables without a usable replica identity, unless they get REPLICA IDENTITY FULL before",
        f"c.relkind = 'r' AND c.relreplident <> 'f' AND NOT {_USABLE}",
    ),
    Probe(
        "partitions",
        "CREATE TABLE parted (id int PRIMARY KEY, v text) PARTITION BY LIST (id);"
        "CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1);"
        "CREATE TABLE parted_2 PARTITION OF parted DEFAULT;"
        "CREATE TABLE elder (id int PRIMARY KEY); CREATE TABLE younger (PRIMARY KEY (id)) INHERITS (elder);"
        "INSERT INTO younger VALUES (1)",
        "INSERT INTO parted VALUES (1, 'a'); UPDATE parted SET id = 2; UPDATE elder SET id = 3; TRUNCATE parted",
        [
            insert("parted_1", id="1", v="a"),
            delete("parted_1", id="1"),
            insert("parted_2", id="2", v="a"),
            update("younger", {"id": "3"}, id="1"),
            truncate("parted", "parted_1", "parted_2"),
        ],
        "",
        "into which partition or inheriting table a row went",
        "c.relispartition",
    ),
    Probe(
        "materialized_views",
        "CREATE TABLE seen (id int PRIMARY KEY); CREATE MATERIALIZED VIEW view AS SELECT * FROM seen;"
        "CREATE UNIQUE INDEX ON view (id)",
        "INSERT INTO seen VALUES (1); REFRESH MATERIALIZED VIEW CONCURRENTLY view",
        [insert("seen", id="1")],
        "rows of materialized views are written as if they were tables",
        "what is a row of a materialized view and what is one of a table",
        "c.relkind = 'm'",
        r"INTO public\.view\b",
    ),
    Probe(
        "rolled_back",
        "CREATE TABLE tried (id int PRIMARY KEY); CREATE UNLOGGED TABLE lazy (id int PRIMARY KEY);"
        "CREATE TABLE dropped (id int PRIMARY KEY, gone text, v int DEFAULT 1); ALTER TABLE dropped DROP gone;"
        "INSERT INTO dropped VALUES (1); ALTER TABLE dropped ADD w int DEFAULT 7",
        "INSERT INTO tried VALUES (1); SAVEPOINT s; INSERT INTO tried VALUES (2); ROLLBACK TO s;"
        "INSERT INTO lazy VALUES (1); UPDATE dropped SET v = 2",
        [insert("tried", id="1"), update("dropped", {"id": "1", "v": "2", "w": "7"}, id="1")],
        "",
        "which rows were rolled back, or what columns they have",
    ),
)
