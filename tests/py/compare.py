"""What two equal databases have in common, and a readable report of where they differ.

A state leaves out what pg_scribe itself puts into a database: the schema scribe and the event triggers !scribe_*.
"""

from __future__ import annotations

import difflib
import re
import subprocess
from collections.abc import Mapping
from typing import Any

import psycopg

from scribe.dump.contents import read_roots

State = dict[str, list[str]]
DUMP_OPTIONS = "-c extra_float_digits=3 -c datestyle=iso -c timezone=utc -c bytea_output=hex -c search_path="
# A table with more rows than this is compared by count and digest instead of row by row.
ROWS_COMPARED_AS_TEXT = 20_000
LINES_SHOWN = 40

_RELATIONS = """
    SELECT c.oid::pg_catalog.regclass::text, c.relkind::text, pg_catalog.format('%I.%I', n.nspname, c.relname)
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'm', 'S') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'scribe')
      AND n.nspname !~ '^pg_' AND (c.relkind <> 'm' OR c.relispopulated)
    ORDER BY 1"""
# pg_dump never says whether public is there.
_SCHEMAS = "SELECT nspname FROM pg_catalog.pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'scribe' ORDER BY 1"
# What pg_dump says of neither of two databases: how columns that a table inherits are placed, which triggers of
# constraints are switched off, what a range type's functions are called.
_UNSAID = {
    "order of columns": """
        SELECT c.oid::pg_catalog.regclass, pg_catalog.string_agg(a.attname, ', ' ORDER BY a.attnum)
        FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid
        WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'f', 'v', 'm')
          AND c.relnamespace::pg_catalog.regnamespace::text !~ '^(pg_.*|information_schema|scribe)$'
        GROUP BY 1""",
    "triggers of constraints": """
        SELECT t.tgrelid::pg_catalog.regclass, t.tgfoid::pg_catalog.regproc,
          t.tgconstrrelid::pg_catalog.regclass, t.tgenabled
        FROM pg_catalog.pg_trigger AS t WHERE t.tgisinternal AND t.tgenabled <> 'O' AND t.tgconstraint <> 0""",
    "triggers that are called like theirs": """
        SELECT t.tgrelid::pg_catalog.regclass, t.tgname, t.tgenabled
        FROM pg_catalog.pg_trigger AS t WHERE NOT t.tgisinternal AND t.tgname ~ '_ConstraintTrigger_'""",
    "comments on constraint triggers": """
        SELECT k.conrelid::pg_catalog.regclass, k.conname, d.description
        FROM pg_catalog.pg_description AS d JOIN pg_catalog.pg_constraint AS k ON k.oid = d.objoid AND k.contype = 't'
        WHERE d.classoid = 'pg_catalog.pg_constraint'::pg_catalog.regclass""",
    "text search": """
        SELECT m.mapcfg::pg_catalog.regconfig, m.maptokentype, m.mapseqno, m.mapdict::pg_catalog.regdictionary
        FROM pg_catalog.pg_ts_config_map AS m""",
    "members of the server's operator families": """
        SELECT amopfamily, amopstrategy, amopopr::pg_catalog.regoperator::text FROM pg_catalog.pg_amop
        WHERE oid >= 16384 AND amopfamily < 16384
        UNION ALL SELECT amprocfamily, amprocnum, amproc::pg_catalog.regprocedure::text FROM pg_catalog.pg_amproc
        WHERE oid >= 16384 AND amprocfamily < 16384""",
    "comments on the server's objects": """
        SELECT classoid, objoid, objsubid, description FROM pg_catalog.pg_description WHERE objoid < 16384""",
    "privileges on the server's objects": """
        SELECT oid::pg_catalog.regclass::text, relowner, relacl::text FROM pg_catalog.pg_class
        WHERE oid < 16384 AND relkind IN ('r', 'v') AND relnamespace <> 'pg_catalog'::pg_catalog.regnamespace
        UNION ALL SELECT lanname, lanowner, lanacl::text FROM pg_catalog.pg_language WHERE oid < 16384
        UNION ALL SELECT nspname, nspowner, nspacl::text FROM pg_catalog.pg_namespace
        WHERE nspname = 'information_schema'
        UNION ALL SELECT typname, typowner, '' FROM pg_catalog.pg_type WHERE oid < 16384
        UNION ALL SELECT proname, proowner, proconfig::text FROM pg_catalog.pg_proc WHERE oid < 16384""",
    "sequences": """
        SELECT s.seqrelid::pg_catalog.regclass, s.seqtypid::pg_catalog.regtype
        FROM pg_catalog.pg_sequence AS s JOIN pg_catalog.pg_class AS c ON c.oid = s.seqrelid
        WHERE c.relnamespace IS DISTINCT FROM pg_catalog.to_regnamespace('scribe')""",
    "names of foreign keys": """
        SELECT k.conrelid::pg_catalog.regclass, k.conname FROM pg_catalog.pg_constraint AS k
        WHERE k.contype = 'f' AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint AS p  -- the server's own name
            WHERE p.oid = k.conparentid AND p.conrelid = k.conrelid)""",
    "constructors": """
        SELECT p.oid::pg_catalog.regprocedure FROM pg_catalog.pg_proc AS p
        WHERE p.prosrc ~ '^(multi)?range_constructor' AND p.oid >= 16384""",
}
# Of these another version has other ones.
_BUILT_IN = {
    "text search",
    "members of the server's operator families",
    "comments on the server's objects",
    "privileges on the server's objects",
}
_VERSION = "server's version"
_LARGE_OBJECTS = """
    SELECT oid, lomowner::pg_catalog.regrole, pg_catalog.md5(pg_catalog.lo_get(oid))
    FROM pg_catalog.pg_largeobject_metadata ORDER BY 1"""
_UNLOGGED = """
    SELECT c.oid::pg_catalog.regclass::text FROM pg_catalog.pg_class AS c
    WHERE c.relpersistence = 'u' AND c.relkind IN ('r', 'S')"""

_OURS = r'--\n-- Name: ((EVENT TRIGGER|PUBLICATION) )?"?!?scribe_[^;]*; Type: (EVENT TRIGGER|COMMENT|PUBLICATION)'
_OUR_TRIGGER = re.compile(_OURS)
# Of older servers pg_dump does not say it, and with numbers in the names; _UNSAID has these triggers.
_NUMBERED = re.compile(r'ALTER TABLE .* TRIGGER "(RI|Unique)_ConstraintTrigger_([ac]_)?\d+";')
_NOISE = re.compile(r"^(--.*)?$|^\\(un)?restrict |^SET |^SELECT pg_catalog.set_config")


def dump_state(conn: psycopg.Connection[Any], pg_dump: str, env: Mapping[str, str]) -> State:
    """Return schema, rows, sequences and large objects of a database under readable names.

    conn was opened with DUMP_OPTIONS; pg_dump runs in env, which names the same database.
    """
    state: State = {"schema": _dump_schema(pg_dump, env)}
    state["schemas"] = [str(name) for (name,) in conn.execute(_SCHEMAS).fetchall()]
    state[_VERSION] = [str(conn.info.server_version // 10000)]
    encoding = conn.info.parameter_status("client_encoding")
    if conn.info.parameter_status("server_encoding") == "SQL_ASCII":
        conn.execute("SET client_encoding = SQL_ASCII")  # bytes of names may be no characters
    state |= {name: sorted(map(str, conn.execute(query).fetchall())) for name, query in _UNSAID.items()}
    conn.execute(f"SET client_encoding = {encoding}")
    roots = read_roots(conn)
    for relation, kind, name in conn.execute(_RELATIONS).fetchall():
        if kind == "S":
            row = conn.execute(f"SELECT last_value, is_called FROM {relation}").fetchone()
            state[f"sequence {relation}"] = [str(row)]
        elif name not in roots:
            state[f"rows of {relation}"] = _dump_rows(conn, f"ONLY {relation}")
    for root in set(roots.values()):  # in a copy, a row may lie in another partition
        state[f"rows of {root}"] = _dump_rows(conn, root.removesuffix(" (all partitions)"))
    for oid, owner, digest in conn.execute(_LARGE_OBJECTS).fetchall():
        state[f"large object {oid}"] = [f"owner {owner} md5 {digest}"]
    return state


def drop_unlogged(conn: psycopg.Connection[Any], state: State) -> None:
    """Take the contents of unlogged tables out of a database's state: the WAL does not have them."""
    for (name,) in conn.execute(_UNLOGGED).fetchall():
        state.pop(f"rows of {name}", None)
        state.pop(f"sequence {name}", None)


def _dump_schema(pg_dump: str, env: Mapping[str, str]) -> list[str]:
    # errors: a database in SQL_ASCII may hold anything
    command = [pg_dump, "-s", "-N", "scribe"]
    dumped = subprocess.run(command, env=env, capture_output=True, text=True, errors="backslashreplace", check=True)
    text = dumped.stdout
    blocks = [block for block in re.split(r"(?m)^(?=--\n-- Name: )", text) if not _OUR_TRIGGER.match(block)]
    lines = "".join(blocks).splitlines()
    return [line for line in lines if not _NOISE.match(line) and not _NUMBERED.fullmatch(line)]


def _dump_rows(conn: psycopg.Connection[Any], relation: str) -> list[str]:
    """Return a table's rows as sorted text, or, for a large one, their number and a digest that ignores their order."""
    (count,) = conn.execute(f"SELECT count(*) FROM {relation}").fetchall()[0]
    if count > ROWS_COMPARED_AS_TEXT:
        sums = ", ".join(f"sum(hashtextextended(t::text, {seed})::numeric)" for seed in (1, 2))
        digest = conn.execute(f"SELECT {sums} FROM {relation} t").fetchone()
        return [f"{count} rows, digest {digest}"]
    # unconverted where the database may hold bytes that are no characters
    encoding = "SQL_ASCII" if conn.info.parameter_status("server_encoding") == "SQL_ASCII" else "UTF8"
    with conn.cursor().copy(f"COPY (SELECT * FROM {relation}) TO STDOUT (ENCODING '{encoding}')") as copy:
        text = b"".join(bytes(block) for block in copy)
    return sorted(line.decode(errors="backslashreplace") for line in text.split(b"\n")[:-1])


def assert_equal(left: State, right: State, names: tuple[str, str] = ("source", "restored")) -> None:
    """Raise AssertionError with a readable difference unless two dump()s are equal."""
    report: list[str] = []
    passed_over = {_VERSION} | (_BUILT_IN if left.get(_VERSION) != right.get(_VERSION) else set())
    for key in sorted((left.keys() | right.keys()) - passed_over):
        a, b = left.get(key), right.get(key)
        if a == b:
            continue
        if a is None or b is None:
            report.append(f"{key}: only in {names[0] if b is None else names[1]}")
            continue
        lines = list(difflib.unified_diff(a, b, names[0], names[1], lineterm="", n=2 if key == "schema" else 0))
        report.append(f"{key}: {len(a)} and {len(b)} lines")
        report += lines[:LINES_SHOWN]
        if len(lines) > LINES_SHOWN:
            report.append(f"... and {len(lines) - LINES_SHOWN} more")
    if report:
        raise AssertionError("the databases differ\n" + "\n".join(report))
