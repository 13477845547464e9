"""What a build of decoder_raw writes that is not what was done: found by running it, before anybody relies on it.

Small workloads run in a throw-away database of their own, so that neither the archive's stream nor capture sees them
and no table of the user's is decoded; the plugin is asked for them through a temporary slot there, with the options and
settings that the stream will have. What it writes is read by the reader that rotation uses. A fault that leaves the
information in the text is mended by the translation at rotation; a gap is what no translation can bring back.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from scribe.capture import WITHOUT_IDENTITY
from scribe.decoders import DECODERS
from scribe.errors import ScribeError, TryAgainError
from scribe.postgres import connect, fetch_value, plugin_options
from scribe.slot import find_blockers

PLUGIN = "decoder_raw"
MARK = "pg_scribe: throw-away database in which decoder_raw is tried"
_SHOWN = 5  # tables in one line
_DROP_WAIT = 10.0  # seconds

Change = tuple[Any, ...]  # ("INSERT", table, values), ("UPDATE", table, values, where), ("DELETE", table, where) ...


@dataclass(frozen=True)
class Finding:
    """One way in which the text is not what was done. lost: no translation can mend it; tables: those hit now."""

    name: str
    text: str
    lost: bool
    tables: tuple[tuple[str, str], ...] = ()

    def as_json(self) -> dict[str, str]:
        """Return what archive.json says of it."""
        return {"name": self.name, "text": self.text}


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


def truncate(*tables: str, restart: bool = False, cascade: bool = False) -> Change:
    """Return the change a TRUNCATE must be read as."""
    return ("TRUNCATE", frozenset(f"public.{table}" for table in tables), restart, cascade)


_USABLE = """EXISTS (SELECT FROM pg_catalog.pg_index AS i WHERE i.indrelid = c.oid AND i.indimmediate AND i.indisvalid
    AND CASE c.relreplident WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident END)"""
_FULL = f"(c.relreplident = 'f' OR NOT {_USABLE})"  # scribe-init makes it so
_COLUMN = "EXISTS (SELECT FROM pg_catalog.pg_attribute AS a WHERE a.attrelid = c.oid AND a.attnum > 0"
_COLUMN += " AND NOT a.attisdropped AND {})"
_OF_TYPES = "a.atttypid = ANY ('{{{}}}'::pg_catalog.regtype[])"
_TABLES = """
SELECT n.nspname, c.relname FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm') AND c.relpersistence = 'p' AND c.oid >= 16384
  AND n.nspname NOT IN ('information_schema', 'scribe') AND n.nspname !~ '^pg_' AND ({}) ORDER BY 1, 2
"""
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
        [truncate("one", "two", "three", "heir", restart=True, cascade=True)],
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
                o="true",
                s="101",
                c="x",
            ),
            insert(
                "formats", id="2", t="infinity", d="-infinity", i=None, b="\\x", m="-$1.00", o="false", s=None, c=""
            ),
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


def accepted_gaps(identity: Mapping[str, Any]) -> list[Finding]:
    """Return what was accepted when the archive was made; identity: archive.json."""
    return [Finding(gap["name"], gap["text"], True) for gap in identity.get("accepted_gaps", [])]


# --- running them ---------------------------------------------------------------------------------------------------


def may_try(conn: psycopg.Connection[Any]) -> bool:
    """Whether the role may make a database."""
    query = "SELECT rolsuper OR rolcreatedb FROM pg_catalog.pg_roles WHERE rolname = current_user"
    return fetch_value(conn, query) is True


def find_gaps(conn: psycopg.Connection[Any], wait: float) -> list[Finding]:
    """Return what the installed plugin gets wrong, with the tables of conn's database that each concerns.

    wait: seconds for other transactions. Raises TryAgainError where those are in the way, ScribeError where the plugin
    cannot be used.
    """
    texts = run_probes(conn, PROBES, wait)
    findings = [find_frames(texts)]
    for probe in PROBES:
        if probe.name in texts:
            findings.append(judge(probe, texts[probe.name]))
    return [_with_tables(conn, finding) for finding in findings if finding is not None]


def _with_tables(conn: psycopg.Connection[Any], finding: Finding) -> Finding:
    hit = next((probe.hit for probe in PROBES if probe.name == finding.name), "")
    if not hit:
        return finding
    query = WITHOUT_IDENTITY if finding.name == "no_identity" else _TABLES.format(hit)
    return Finding(finding.name, finding.text, finding.lost, tuple(conn.execute(query).fetchall()))


def find_frames(texts: Mapping[str, list[bytes]]) -> Finding | None:
    """Return what the frames of transactions lack. Raises ScribeError where there are none."""
    if any(text[:1] != [b"BEGIN;"] or text[-1:] != [b"COMMIT;"] for text in texts.values()):
        seen = next(text for text in texts.values() if text[:1] != [b"BEGIN;"] or text[-1:] != [b"COMMIT;"])
        shown = seen[0][:60].decode(errors="replace") if seen else "nothing"
        raise ScribeError(f'this build of {PLUGIN} does not begin a transaction with "BEGIN;", but with "{shown}"')
    text = (
        "transactions come without their number, LSN and time: a restore ends at the end of a segment, not within one"
    )
    return Finding("positions", text, True)


def judge(probe: Probe, messages: list[bytes]) -> Finding | None:
    """Return what is wrong with what the plugin wrote of a probe, None where nothing is."""
    text = b"\n".join(messages).decode(errors="replace")
    try:
        found = [_normal(change, probe) for change in read_changes(text)]
    except ValueError as error:
        return Finding(probe.name, f"{probe.loss}: could not read {error}", True)
    if [change for change in found if change[1] != "public.view"] != [
        _normal(change, probe) for change in probe.expected
    ]:
        return Finding(probe.name, probe.loss, True)
    if probe.shows and re.search(probe.shows, text):
        return Finding(probe.name, probe.fault, False)
    return None


def _normal(change: Change, probe: Probe) -> Change:
    """Leave out of a change what need not be in it."""
    kind, table, *parts = change
    if kind == "TRUNCATE":
        return change
    left_out = {"INSERT": [probe.optional], "UPDATE": [probe.optional, probe.beside], "DELETE": [probe.beside]}[kind]
    kept = [{k: v for k, v in part.items() if k not in out} for part, out in zip(parts, left_out, strict=True)]
    return (kind, table, *kept)


def run_probes(conn: psycopg.Connection[Any], probes: Iterable[Probe], wait: float) -> dict[str, list[bytes]]:
    """Return what the plugin writes of each probe's transaction, message by message."""
    chosen = [probe for probe in probes if conn.info.server_version >= probe.since]
    with throwaway_database(conn) as name, connect(dbname=name, options=_options(conn, wait)) as work:
        for probe in chosen:
            work.execute(probe.setup.encode())
        with _temporary_slot(conn, work, wait) as slot:
            xids = {_run(work, probe): probe.name for probe in chosen}
            texts: dict[str, list[bytes]] = {probe.name: [] for probe in chosen}
            words = [word for option in _plugin_options() for word in option]
            query = sql.SQL("SELECT xid::text, data FROM pg_catalog.pg_logical_slot_get_binary_changes({})").format(
                sql.SQL(", ").join([sql.Literal(slot), sql.SQL("NULL, NULL"), *map(sql.Literal, words)])
            )
            for xid, data in work.execute(query).fetchall():
                if xid in xids:
                    texts[xids[xid]].append(bytes(data))
    return texts


def _run(work: psycopg.Connection[Any], probe: Probe) -> str:
    with work.transaction():
        xid = str(fetch_value(work, "SELECT pg_catalog.pg_current_xact_id()::pg_catalog.xid::text"))
        work.execute(probe.work.encode())
    return xid


def _options(conn: psycopg.Connection[Any], wait: float) -> str:
    pinned = DECODERS[PLUGIN].server_options({"encoding": "UTF8"})
    return f"{plugin_options(conn, PLUGIN)} {pinned} -c lock_timeout={max(1, int(wait * 1000))} -c search_path=public"


def _plugin_options() -> list[tuple[str, str]]:
    """Return the names and values of the options that pg_recvlogical will ask for."""
    flags = [flag.removeprefix("--option=") for flag in DECODERS[PLUGIN].receiver_options({"encoding": "UTF8"})]
    return [(name, value) for name, _, value in (flag.partition("=") for flag in flags)]


@contextlib.contextmanager
def _temporary_slot(conn: psycopg.Connection[Any], work: psycopg.Connection[Any], wait: float) -> Iterator[str]:
    name = f"scribe_test_{work.info.backend_pid}"
    try:
        work.execute("SELECT pg_catalog.pg_create_logical_replication_slot(%s, %s, true)", [name, PLUGIN])
    except psycopg.errors.LockNotAvailable:
        blockers = "; ".join(find_blockers(conn, wait)[:_SHOWN]) or "transactions that were open all the time"
        raise TryAgainError(
            f"could not test {PLUGIN} within {wait:g} s: a replication slot waits for {blockers}",
            "Wait for these transactions to end, or end them, then run the same command again.",
        ) from None
    except psycopg.Error as error:
        said = (str(error).strip().splitlines() or ["?"])[0]
        raise ScribeError(f"could not test {PLUGIN}: {said}") from None
    yield name  # it goes with the connection


@contextlib.contextmanager
def throwaway_database(conn: psycopg.Connection[Any]) -> Iterator[str]:
    """Make an empty database for one block; what a run that died has left is removed first."""
    name = database_name(conn)
    if not fetch_value(conn, "SELECT pg_catalog.pg_try_advisory_lock(pg_catalog.hashtext(%s), 0)", [MARK]):
        raise TryAgainError("another scribe-init is at work on this database", "Wait for it to end, then try again.")
    try:
        remove_database(conn)
        words = sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'")
        conn.execute(words.format(sql.Identifier(name)))
        try:
            conn.execute(sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(name), sql.Literal(MARK)))
            yield name
        finally:
            if not conn.closed and not conn.broken:
                _drop(conn, name)
    finally:
        if not conn.closed and not conn.broken:
            conn.execute("SELECT pg_catalog.pg_advisory_unlock(pg_catalog.hashtext(%s), 0)", [MARK])


def database_name(conn: psycopg.Connection[Any]) -> str:
    """Return the name of the throw-away database that goes with conn's."""
    oid = fetch_value(conn, "SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()")
    return f"scribe_test_of_{oid}"


def is_left(conn: psycopg.Connection[Any]) -> bool:
    """Whether a run that died has left its throw-away database."""
    query = "SELECT true FROM pg_catalog.pg_database WHERE datname = %s"
    return fetch_value(conn, query, [database_name(conn)]) is True


def remove_database(conn: psycopg.Connection[Any]) -> bool:
    """Remove the throw-away database that a run that died has left; return whether there was one."""
    name = database_name(conn)
    marked = "SELECT pg_catalog.shobj_description(oid, 'pg_database') FROM pg_catalog.pg_database WHERE datname = %s"
    row = conn.execute(marked, [name]).fetchone()
    if row is None:
        return False
    if row[0] not in (MARK, None):
        raise ScribeError(f'database "{name}" exists and is not pg_scribe\'s', "Rename it.")
    _drop(conn, name)
    return True


def _drop(conn: psycopg.Connection[Any], name: str) -> None:
    """Drop the database; a session of a killed run keeps its slot for a moment longer."""
    deadline = time.monotonic() + _DROP_WAIT
    while True:
        try:
            conn.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
            return
        except psycopg.errors.ObjectInUse:
            if time.monotonic() > deadline:
                raise
        query = "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity WHERE datname = %s"
        conn.execute(query, [name])
        time.sleep(0.05)


# --- reading what came ----------------------------------------------------------------------------------------------

_TOKEN = re.compile(
    r"""\s*(?:(?P<name>"(?:[^"]|"")*")|(?P<text>B?'(?:[^']|'')*')|(?P<word>[^\W\d][\w$]*)|(?P<number>[-+]?\d[\w.+-]*|-?\.\d+)
    |(?P<sign>[(),.;=]))""",
    re.VERBOSE,
)


class _Reader:
    """The tokens of a text."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0

    def peek(self) -> tuple[str, str]:
        match = _TOKEN.match(self.text, self.at)
        return ("", "") if match is None else (str(match.lastgroup), match[str(match.lastgroup)])

    def take(self, *wanted: str) -> str:
        """Take the next token, which is one of wanted where that is given."""
        match = _TOKEN.match(self.text, self.at)
        value = "" if match is None else match[str(match.lastgroup)]
        if match is None or (wanted and value not in wanted):
            raise ValueError(repr(self.text[self.at : self.at + 40].strip()))
        self.at = match.end()
        return value

    def name(self) -> str:
        kind, _ = self.peek()
        value = self.take()
        if kind not in ("name", "word"):
            raise ValueError(repr(value))
        return value[1:-1].replace('""', '"') if kind == "name" else value

    def table(self) -> str:
        first = self.name()
        self.take(".")
        return f"{first}.{self.name()}"

    def value(self) -> str | None:
        kind, _ = self.peek()
        value = self.take()
        if kind == "text":
            return value[value.index("'") + 1 : -1].replace("''", "'")
        if kind == "word" and value in ("null", "true", "false"):
            return None if value == "null" else value
        if kind != "number":
            raise ValueError(repr(value))
        return value

    def listed(self, take: Any) -> list[Any]:
        """Take "(a, b)"."""
        self.take("(")
        found = []
        while self.peek()[1] != ")":
            found.append(take())
            if self.peek()[1] != ")":
                self.take(",")
        self.take(")")
        return found

    def pairs(self, between: str, ends: tuple[str, ...]) -> dict[str, str | None]:
        """Take "a = 1, b = 2" up to one of ends."""
        found: dict[str, str | None] = {}
        while self.peek()[1] not in ends:
            if found:
                self.take(between)
            name = self.name()
            if self.peek()[1] == "IS":
                self.take("IS"), self.take("NULL")
                found[name] = None
            else:
                self.take("=")
                found[name] = self.value()
        return found


def read_changes(text: str) -> list[Change]:
    """Return the changes in a text of decoder_raw's. Raises ValueError where it has another form."""
    reader, found = _Reader(text.strip()), list[Change]()
    while reader.at < len(reader.text):
        match reader.take("BEGIN", "COMMIT", "INSERT", "UPDATE", "DELETE", "TRUNCATE"):
            case "INSERT":
                reader.take("INTO")
                table, names = reader.table(), reader.listed(reader.name)
                reader.take("VALUES")
                values = reader.listed(reader.value)
                if len(names) != len(values):
                    raise ValueError(repr(text[:40]))
                found.append(("INSERT", table, dict(zip(names, values, strict=True))))
            case "UPDATE":
                table = reader.table()
                reader.take("SET")
                values_ = reader.pairs(",", ("WHERE",))
                reader.take("WHERE")
                found.append(("UPDATE", table, values_, reader.pairs("AND", (";",))))
            case "DELETE":
                reader.take("FROM")
                table = reader.table()
                reader.take("WHERE")
                found.append(("DELETE", table, reader.pairs("AND", (";",))))
            case "TRUNCATE":
                tables, restart, cascade = [reader.table()], False, False
                while reader.peek()[1] == ",":
                    reader.take(",")
                    tables.append(reader.table())
                if reader.peek()[1] == "RESTART":
                    reader.take("RESTART"), reader.take("IDENTITY")
                    restart = True
                if reader.peek()[1] == "CASCADE":
                    reader.take("CASCADE")
                    cascade = True
                found.append(("TRUNCATE", frozenset(tables), restart, cascade))
        reader.take(";")
    return found
