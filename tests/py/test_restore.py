"""scribe-restore against archives written by hand: exactness, refusals, points in time, interruption, the plan."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import pty
import random
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cluster import ROOT, Cluster, poll
from compare import assert_equal
from handmade import START, Handmade

from scribe import dialect
from scribe.dialect import Sequence
from scribe.lsn import format_lsn

TABLES = """
CREATE TABLE public.t (id integer PRIMARY KEY, v text);
CREATE SEQUENCE public.t_id_seq OWNED BY public.t.id;
ALTER TABLE public.t ALTER COLUMN id SET DEFAULT nextval('public.t_id_seq');
CREATE TABLE public.log (at timestamptz, note text);
INSERT INTO public.t VALUES (1, 'one');
"""
DDL = (
    "-- ddl ALTER TABLE\nSET LOCAL search_path = public;\n{}\n;\nSET LOCAL search_path = '';\n-- ddl end\n"
    "-- rows 1 ddl\n"
)
_numbers = itertools.count(1)


class Target:
    """An archive, the name of a database to restore it into, and the program run against them."""

    def __init__(self, cluster: Cluster, path: Path) -> None:
        self.cluster, self.path = cluster, path
        self.archive = Handmade(path)
        self.name = f"copy{next(_numbers)}"

    def command(self, *arguments: str) -> list[str]:
        return [str(ROOT / "bin/scribe-restore"), "--archive", str(self.path), *arguments]

    def run(self, *arguments: str, status: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
        """Restore into the database and check the exit status."""
        result = subprocess.run(
            self.command("-d", self.name, *arguments),
            env=self.cluster.env | {"PGDATABASE": "is_ignored", **env},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert result.returncode == status, result.stdout + result.stderr
        return result

    def refused(self, *arguments: str, status: int = 1, **env: str) -> str:
        """Restore, expecting a refusal: one error line and a hint. Return what was said."""
        said = self.run(*arguments, status=status, **env).stderr
        assert said.count("scribe-restore: error: ") == 1, said
        assert said.count("scribe-restore: hint: ") == 1, said
        return said

    def exists(self) -> bool:
        return bool(self.cluster.query(f"SELECT 1 FROM pg_database WHERE datname = '{self.name}'"))

    def rows(self, query: str = "SELECT id, v FROM public.t ORDER BY id") -> list[tuple[Any, ...]]:
        return self.cluster.query(query, self.name)

    def position(self) -> tuple[str, bool]:
        return self.rows("SELECT lsn::text, inside FROM scribe.position")[0]  # type: ignore[return-value]


@pytest.fixture
def target(cluster: Cluster, tmp_path: Path) -> Iterator[Target]:
    """An empty hand-made archive and the name of a database that does not exist yet."""
    made = Target(cluster, tmp_path / "archive")
    yield made
    cluster.dropdb(made.name)


def insert(number: int) -> str:
    return f"INSERT INTO public.t (id, v) VALUES ({number}, 'v{number}');\n-- rows 1 inserted\n"


def small_archive(target: Target) -> None:
    """A base and three segments; transaction 701 + i inserts row 2 + i, ten of them."""
    target.archive.base(TABLES)
    target.archive.segment([insert(i) for i in (2, 3, 4, 5)], sequences=[Sequence("public", "t_id_seq", 5, True)])
    target.archive.segment([insert(6), "-- mark before-lunch\n", insert(7)], compress=False)
    target.archive.segment([insert(i) for i in (8, 9, 10)], sequences=[Sequence("public", "t_id_seq", 33, True)])


# --- exactness --------------------------------------------------------------------------------------------------------


def test_every_kind_of_block_is_applied(target: Target) -> None:
    target.archive.base(TABLES)
    target.archive.segment(
        [
            insert(2),
            "INSERT INTO public.t (id, v) VALUES\n(3, 'three'),\n(4, ';\t'); -- 2 rows\n-- rows 2 inserted\n",
            "COPY public.t (id, v) FROM stdin;\n5\t\\N\n6\t\\\\.\n7\t-- ddl end\n\\.\n"
            "UPDATE public.t SET v = 'five' WHERE id = 5;\n-- rows 3 inserted 1 updated\n",
            "COPY public.log (note) FROM stdin;\n"
            "\\BEGIN; -- xid 1\n\\COMMIT; -- end 0/1\n\\-- mark x\n\\COPY x\n\\\\.\n\\.\n",
            "UPDATE public.t AS t SET v = v.v FROM (VALUES\n(2, 'II'),\n(3, 'III')\n) AS v (id, v) WHERE t.id = v.id;"
            " -- 2 rows\nDELETE FROM public.t WHERE id IN (1, 4); -- 2 rows\n-- rows 2 updated 2 deleted\n",
            DDL.format("ALTER TABLE t ADD COLUMN w int DEFAULT 7;"),
            "INSERT INTO public.t (id, v, w) VALUES (8, 'VIII', 8);\n"
            + DDL.format("CREATE VIEW seen AS SELECT * FROM t"),
            "-- warning: something\n-- mark here\n",
            "TRUNCATE ONLY public.log;\nINSERT INTO public.log (note) VALUES ('again');\n"
            "-- rows 1 inserted 1 truncated\n",
            "DELETE FROM ONLY public.log; -- * rows\nCOPY public.log (note) FROM stdin;\n\\.\n",
        ],
        sequences=[Sequence("public", "t_id_seq", 99, False), Sequence("public", "gone", 1, True)],
    )
    report = json.loads(target.run("--json").stdout)
    assert target.rows("SELECT id, v, w FROM public.seen ORDER BY id") == [
        (2, "II", 7),
        (3, "III", 7),
        (5, "five", 7),
        (6, "\\.", 7),
        (7, "-- ddl end", 7),
        (8, "VIII", 8),
    ]
    assert target.rows("SELECT note FROM public.log") == []
    assert target.rows("SELECT last_value, is_called FROM public.t_id_seq") == [(99, False)]
    assert target.position() == (format_lsn(target.archive.lsn), False)
    assert (report["transactions"], report["ddl"], report["reached_lsn"]) == (10, 2, format_lsn(target.archive.lsn))


def test_copy_data_that_looks_like_frames_arrives_as_it_is(target: Target) -> None:
    target.archive.base(TABLES)
    lines = ["BEGIN; -- xid 1 commit 0/1 time x", "COMMIT; -- end 0/1", "-- ddl end", "COPY t FROM stdin;", "\\."]
    data = "".join("\\" + line + "\n" for line in lines)
    target.archive.segment([f"COPY public.log (note) FROM stdin;\n{data}\\.\n"])
    target.run()
    assert [row[0] for row in target.rows("SELECT note FROM public.log")] == lines


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE public.t SET v = 'x' WHERE id = 77;", "acted on 0 rows, on the source on 1"),
        ("DELETE FROM public.t WHERE id < 3;", "acted on 2 rows, on the source on 1"),
        ("DELETE FROM public.t WHERE id IN (1, 9); -- 2 rows", "acted on 1 rows, on the source on 2"),
        ("INSERT INTO public.t (id, v) VALUES (1, 'again');", "duplicate key value"),
        ("TRUNCATE ONLY public.nothere;", "does not exist"),
        ("COPY public.t (id, v) FROM stdin;\n8\tx\n1\tx\n\\.", "duplicate key value"),
        ("COPY public.nothere (id, v) FROM stdin;\n8\tx\n\\.", "does not exist"),
        (DDL.format("ALTER TABLE nothere ADD COLUMN x int").rstrip(), "does not exist"),
    ],
)
def test_a_statement_that_acts_otherwise_than_on_the_source_stops_it(target: Target, statement: str, said: str) -> None:
    target.archive.base(TABLES)
    target.archive.segment([insert(2), insert(3)])
    segment = target.archive.segment([insert(4), f"{insert(5)[:-19]}{statement}\n", insert(6)], compress=False)
    error = target.refused()
    assert said in error
    assert segment.with_suffix(".sql").name in error
    assert "transaction 704 (commit 0/10003E0" in error
    assert target.archive.time(704) in error
    assert statement.split("\n", maxsplit=1)[0][:40] in error or statement.startswith("-- ddl")
    assert [row[0] for row in target.rows()][:3] == [1, 2, 3]
    assert 5 not in [row[0] for row in target.rows()]
    assert target.position()[1] is False


def test_two_wrongs_do_not_make_a_right_number_of_rows(target: Target) -> None:
    target.archive.base(TABLES)
    target.archive.segment([insert(2), "DELETE FROM public.t WHERE id <= 2;\nDELETE FROM public.t WHERE id = 9;\n"])
    assert "acted on 2 rows" in target.refused()
    assert target.rows() == [(1, "one")]


def test_a_failing_ddl_statement_can_be_helped_and_resumed(target: Target) -> None:
    target.archive.base(TABLES)
    target.archive.segment([insert(2), DDL.format("ALTER TABLE missing ADD COLUMN x int"), insert(3)])
    assert "--resume" in target.refused()
    with target.cluster.connect(target.name) as conn:
        conn.execute("CREATE TABLE public.missing ()")
    target.run("--resume")
    assert [row[0] for row in target.rows()] == [1, 2, 3]


LACKING = "ALTER TABLE lacking ADD COLUMN x int"
LONG = "".join(f"INSERT INTO public.log (note) VALUES ('{i:0100}');\n" for i in range(9000))


@pytest.mark.parametrize(
    ("before", "statement", "number"),
    [
        ("", "UPDATE public.t SET v = 'x' WHERE id = 77;\n", 2),
        ("", "INSERT INTO public.t (id, v) VALUES\n(1, 'again'),\n(2, 'and again'); -- 2 rows\n", 2),
        ("", "COPY public.nothere (id, v) FROM stdin;\n8\tx\n1\tx\n\\.\n", 2),
        ("", "-- ddl ALTER TABLE\n" + LACKING + "\n;\n-- ddl end\n", 2),
        (LONG, LACKING + ";\n", 9002),
    ],
)
def test_a_statement_that_fails_is_passed_over_once_the_operator_names_it(
    target: Target, before: str, statement: str, number: int
) -> None:
    target.archive.base(TABLES)
    target.archive.segment([insert(2), f"{insert(4)[:-19]}{before}{statement}{insert(5)}", insert(6)])
    (place,) = re.findall(r"--resume --skip (\S+)\.\n", target.refused())
    assert place == f"0/10001D0:{number}"
    assert 4 not in [row[0] for row in target.rows()]
    assert place in target.refused("--resume", "--skip", f"0/10001D0:{number + 1}")
    result = target.run("--resume", "--skip", place, "--json")
    assert [row[0] for row in target.rows()] == [1, 2, 4, 5, 6]
    (skipped,) = json.loads(result.stdout)["skipped"]
    first = statement.removeprefix("-- ddl ALTER TABLE\n").split("\n")[0]
    assert skipped.startswith(f"{place} {first}")
    assert f"warning: passed over {place} in " in result.stderr
    assert "passed over: 1" in result.stderr
    assert target.rows("SELECT place FROM scribe.skipped") == [(place,)]
    assert target.rows("SELECT count(*) FROM public.log") == [(before.count("\n"),)]


def test_what_is_named_and_not_met_is_said_unless_it_was_passed_over_before(target: Target) -> None:
    target.archive.base(TABLES)
    target.archive.segment([insert(2), insert(1), insert(3), DDL.format(LACKING)])
    target.refused("--skip", "0/10001D0:1")
    result = target.run("--resume", "--skip", "0/10001D0:1", "--skip", "0/10003D0:1", "--skip", "0/10003D0:2")
    assert "0/10003D0:2, which --skip names, was not met" in result.stderr
    assert "0/10001D0:1, which" not in result.stderr
    assert "invalid" in target.refused("--resume", "--skip", "12", status=2)
    assert target.rows("SELECT place FROM scribe.skipped ORDER BY 1") == [("0/10001D0:1",), ("0/10003D0:1",)]


def test_a_huge_transaction_is_applied_in_pieces(target: Target) -> None:
    target.archive.base(TABLES)
    rows = 40_000
    body = "".join(f"INSERT INTO public.log (note) VALUES ('{i:060}');\n" for i in range(rows))
    target.archive.segment([body, insert(2)])
    assert json.loads(target.run("--json").stdout)["rows"] == rows + 1
    assert target.rows("SELECT count(*) FROM public.log") == [(rows,)]


def test_the_encoding_of_the_source_is_kept(cluster: Cluster, tmp_path: Path) -> None:
    target = Target(cluster, tmp_path / "latin")
    target.archive = Handmade(tmp_path / "latin", encoding="LATIN1")
    target.archive.base(TABLES)
    target.archive.segment(["INSERT INTO public.t (id, v) VALUES (2, 'Käse');\n".encode("latin-1")])
    try:
        target.run()
        assert target.rows() == [(1, "one"), (2, "Käse")]
        assert target.rows("SHOW server_encoding") == [("LATIN1",)]
    finally:
        cluster.dropdb(target.name)


# --- globals, settings ------------------------------------------------------------------------------------------------


def test_missing_roles_are_created_and_those_that_are_there_left_alone(target: Target) -> None:
    made, there = f"{target.name}_new", f"{target.name}_there"
    target.cluster.psql(f"CREATE ROLE {there} CONNECTION LIMIT 5 PASSWORD 'secret'")
    globals_sql = (
        f"CREATE ROLE {made};\nALTER ROLE {made} WITH NOLOGIN CONNECTION LIMIT 3;\n"
        f'CREATE ROLE "{there}";\nALTER ROLE "{there}" WITH NOSUPERUSER INHERIT NOCREATEROLE NOCREATEDB LOGIN'
        " NOREPLICATION NOBYPASSRLS CONNECTION LIMIT 9 PASSWORD 'md5x';\n"
        f"ALTER ROLE \"{there}\" SET work_mem TO '1MB';\nCREATE ROLE postgres;\n"
    )
    database_sql = "DO $$BEGIN EXECUTE format('COMMENT ON DATABASE %I IS %L', current_database(), 'shop'); END$$;\n"
    target.archive.base(
        TABLES + f"ALTER TABLE public.t OWNER TO {made};\n",
        globals_sql=globals_sql,
        database_sql=database_sql,
        owner=made,
    )
    try:
        warnings = [line for line in target.run().stderr.splitlines() if "warning" in line]
        assert warnings == [
            f'scribe-restore: warning: globals: role "{there}" is there already and was left as it is:'
            " the source's has CONNECTION LIMIT 9, LOGIN, SET work_mem TO '1MB', a password of its own,"
            " this one CONNECTION LIMIT 5, NOLOGIN, a password of its own"
        ]
        roles = target.rows(
            "SELECT rolname, rolconnlimit, rolsuper FROM pg_roles WHERE rolname ~ '^copy.*_' ORDER BY 1"
        )
        assert roles == [(made, 3, False), (there, 5, False)]
        assert target.rows(
            "SELECT pg_get_userbyid(datdba), shobj_description(oid, 'pg_database') FROM pg_database"
            " WHERE datname = current_database()"
        ) == [(made, "shop")]
    finally:
        target.cluster.dropdb(target.name)
        target.cluster.psql(f"DROP ROLE {made}; DROP ROLE {there}")


def test_newer_globals_are_restored_too_and_what_fails_in_them_is_said(target: Target) -> None:
    role = f"{target.name}_late"
    target.archive.base(TABLES)
    target.archive.segment(
        [
            f"-- ddl ALTER TABLE\nSET LOCAL ROLE postgres;\nALTER TABLE public.t OWNER TO {role}\n;\n"
            "RESET ROLE;\n-- ddl end\n"
        ]
    )
    later = target.path / "globals" / "20261123T000000Z.sql"
    later.write_text(f"CREATE ROLE {role};\nGRANT nobody_here TO {role};\nCREATE ROLE postgres;\n")
    try:
        said = target.run().stderr
        assert 'globals: role "nobody_here" does not exist' in said
        assert said.count("warning") == 1
    finally:
        target.cluster.dropdb(target.name)
        target.cluster.psql(f"DROP ROLE {role}")


def test_names_of_roles_that_look_like_statements_are_names(target: Target) -> None:
    """Whoever may create roles on the source must not be able to run anything on the target."""
    prefix = target.name
    old, odd, evil = f"{prefix}\nold", f"{prefix}\nCREATE ROLE postgres;", f"; CREATE ROLE {prefix}_evil SUPERUSER; --"
    target.cluster.psql(f'CREATE ROLE "{old}" CONNECTION LIMIT 5')
    target.archive.base(
        TABLES,
        globals_sql=f'CREATE ROLE "{odd}";\nCREATE ROLE "{evil}";\n'
        f'CREATE ROLE "{old}";\nALTER ROLE "{old}" WITH NOLOGIN CONNECTION LIMIT 9;\n',
    )
    try:
        warnings = [line for line in target.run().stderr.splitlines() if "warning" in line]
        assert len(warnings) == 1 and "the source's has CONNECTION LIMIT 9" in warnings[0], warnings
        query = f"SELECT rolname, rolconnlimit FROM pg_roles WHERE strpos(rolname, '{prefix}') > 0 ORDER BY 1"
        assert sorted(target.rows(query)) == sorted([(old, 5), (odd, -1), (evil, -1)])
    finally:
        target.cluster.dropdb(target.name)
        for name in (old, odd, evil, f"{prefix}_evil"):
            target.cluster.psql(f'DROP ROLE IF EXISTS "{name}"')


@pytest.mark.parametrize("newest", ["a file of globals", "another base's"])
def test_a_base_without_globals_is_restored_with_those_in_force_then(target: Target, newest: str) -> None:
    role = f"{target.name}_owner"
    create = f"CREATE ROLE {role};\n"
    target.archive.base(TABLES, globals_sql="" if newest == "a file of globals" else create)
    if newest == "a file of globals":
        (target.path / "globals" / "20261122T030000Z.sql").write_text(create)
    target.archive.segment([insert(2)])
    stamp = target.archive.base(TABLES + f"ALTER TABLE public.t OWNER TO {role};\n")
    path = target.path / "base" / stamp
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["files"] = [entry for entry in manifest["files"] if entry["name"] != "globals.sql"]
    (path / "manifest.json").write_text(json.dumps(manifest))
    (path / "globals.sql").unlink()
    try:
        target.run()
        assert target.rows("SELECT tableowner FROM pg_tables WHERE tablename = 't'") == [(role,)]
    finally:
        target.cluster.dropdb(target.name)
        target.cluster.psql(f"DROP ROLE IF EXISTS {role}")


def test_a_server_needs_no_database_called_postgres(target: Target) -> None:
    role = f"{target.name}_made"
    target.archive.base(TABLES, globals_sql=f"CREATE ROLE {role};\n")
    plan = target.run("--plan").stdout
    target.cluster.query("ALTER DATABASE postgres RENAME TO elsewhere", "template1")
    try:
        target.run()
        again = target.run("--plan").stdout
        assert again == plan.replace("-d postgres", "-d template1") != plan
    finally:
        target.cluster.query("ALTER DATABASE elsewhere RENAME TO postgres", "template1")
        target.cluster.dropdb(target.name)
        target.cluster.psql(f"DROP ROLE IF EXISTS {role}")


def test_owners_are_left_out_of_base_and_ddl(target: Target) -> None:
    dump = (
        TABLES
        + "ALTER TABLE public.t OWNER TO nobody_here;\nCOMMENT ON TABLE public.t IS 'x\nALTER a OWNER TO b;\n';\n"
    )
    target.archive.base(dump, owner="nobody_here")
    target.archive.segment(
        [DDL.format("CREATE VIEW w AS SELECT 1").replace("SET LOCAL", "SET LOCAL ROLE bob;\nSET LOCAL", 1)]
    )
    assert 'role "nobody_here" does not exist' in target.refused()
    target.run("--no-owner")
    assert target.rows("SELECT obj_description('public.t'::regclass)") == [("x\nALTER a OWNER TO b;\n",)]
    assert target.rows("SELECT count(*) FROM public.w") == [(1,)]


# --- the spool --------------------------------------------------------------------------------------------------------


def test_what_is_only_in_the_spool_is_applied_when_asked_for(target: Target) -> None:
    small_archive(target)
    spool = target.path / "spool"
    (spool / "spool.json").write_text('{"spool_id": "hand"}')
    rows = [insert(i).encode() for i in (11, 12, 13)]
    before, *after = [target.archive.transaction(body) for body in rows]
    (spool / "part-00000001.sql").write_bytes(before + after[0][:50])
    (spool / "stream.sql").write_bytes(after[0][50:] + after[1][:-10])
    assert "are in no segment yet" in target.run("-v").stderr
    assert len(target.rows()) == 10
    target.run("--resume", "--include-spool")
    assert len(target.rows()) == 12
    assert target.rows("SELECT last_value FROM public.t_id_seq") == [(33,)]
    target.run("--resume", "--include-spool")
    assert len(target.rows()) == 12
    (spool / "spool.json").write_text('{"spool_id": "other"}')
    assert "is not the one archive.json names" in target.refused("--resume", "--include-spool")


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_the_source_is_refused(cluster: Cluster, tmp_path: Path, database: str) -> None:
    (identifier,) = cluster.query("SELECT system_identifier::text FROM pg_control_system()")[0]
    oid = cluster.value(f"SELECT oid::int FROM pg_database WHERE datname = '{database}'")
    target = Target(cluster, tmp_path / "own")
    target.archive = Handmade(tmp_path / "own", system_identifier=identifier, oid=oid)
    target.name = database
    target.archive.base(TABLES)
    assert "is the source" in target.refused(status=2)
    assert cluster.query("SELECT 1 FROM pg_class WHERE relname = 't'", database) == []


def test_a_database_that_is_not_empty_is_refused(target: Target) -> None:
    small_archive(target)
    target.cluster.createdb(target.name)
    target.cluster.psql("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'", target.name)
    assert "is not empty: it has function f" in target.refused()


def test_an_empty_database_is_filled(target: Target) -> None:
    small_archive(target)
    target.cluster.createdb(target.name)
    target.run()
    assert len(target.rows()) == 10


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def newest(target: Target, pattern: str) -> Path:
    return sorted(target.path.glob(pattern))[-1]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda t: flip_a_byte(newest(t, "incremental/*.zst")), "does not have the checksum"),
        (lambda t: flip_a_byte(newest(t, "base/*/base.sql.zst")), "does not have the checksum"),
        (lambda t: flip_a_byte(newest(t, "base/*/meta.json")), "does not have the checksum"),
        (lambda t: os.truncate(newest(t, "incremental/*.zst"), 100), "has 100 bytes"),
        (lambda t: newest(t, "incremental/*.zst").unlink(), "is missing"),
        (lambda t: sorted(t.path.glob("incremental/*.json"))[1].unlink(), "a segment is missing between"),
        (lambda t: sorted(t.path.glob("incremental/*.json"))[0].unlink(), "a segment is missing between"),
        (lambda t: newest(t, "incremental/*.json").write_text("{}"), "is not valid"),
        (
            lambda t: shutil.copy(sorted(t.path.glob("incremental/*.json"))[0], newest(t, "incremental/*.json")),
            "is of another segment",
        ),
        (lambda t: newest(t, "base/*/manifest.json").unlink(), "no complete base"),
    ],
)
def test_a_damaged_archive_is_refused_before_anything_is_touched(target: Target, damage: Any, said: str) -> None:
    small_archive(target)
    damage(target)
    result = target.run(status=1)
    assert said in result.stderr
    assert not target.exists()


def test_a_segment_of_another_database_is_refused(target: Target) -> None:
    small_archive(target)
    path = newest(target, "incremental/*.json")
    path.write_text(path.read_text().replace('"shop"', '"bank"'))
    assert "belongs to another database" in target.refused()


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--target-lsn", "0/1"], 1, "reachable is 0/1000000"),
        (["--target-lsn", "F/0"], 1, "could not reach LSN F/0"),
        (["--target-time", "2020-01-01 00:00+00"], 1, "could not reach time 2020-01-01"),
        (["--target-time", "2030-01-01 00:00+00"], 1, "could not reach time 2030"),
        (["--target-xid", "12"], 1, "could not find transaction 12"),
        (["--target-name", "nowhere"], 1, 'could not find mark "nowhere"'),
        (["--target-time", "yesterdayish"], 2, "invalid time"),
        (["--target-lsn", "nonsense"], 2, "invalid LSN"),
        (["--target-lsn", "0/1", "--target-xid", "1"], 2, "not allowed with"),
        (["--base", "20200101T000000Z"], 2, "there is no base"),
        (["--frobnicate"], 2, "unrecognized arguments"),
        (["--resume"], 1, "does not exist"),
    ],
)
def test_what_cannot_be_is_refused(target: Target, arguments: list[str], status: int, said: str) -> None:
    small_archive(target)
    assert said in target.refused(*arguments, status=status)
    assert not target.exists()


def test_a_server_that_is_away_can_be_tried_again(target: Target) -> None:
    small_archive(target)
    assert "could not connect" in target.refused(status=75, PGPORT="1")


def test_a_role_that_is_no_superuser_is_refused(target: Target) -> None:
    small_archive(target)
    target.cluster.psql(f"CREATE ROLE {target.name} LOGIN CREATEDB")
    try:
        assert "is not a superuser" in target.refused(status=2, PGUSER=target.name)
    finally:
        target.cluster.psql(f"DROP ROLE {target.name}")


def test_a_locale_the_server_does_not_have_is_said(target: Target) -> None:
    stamp = target.archive.base(TABLES)
    directory = target.path / "base" / stamp
    manifest = json.loads((directory / "manifest.json").read_text())
    meta = (directory / "meta.json").read_text().replace('"C"', '"xx_YY.utf8"')
    target.archive._write(directory / "meta.json", meta.encode())
    manifest["files"] = [
        f if f["name"] != "meta.json" else target.archive._write(directory / "meta.json", meta.encode())
        for f in manifest["files"]
    ]
    (directory / "manifest.json").write_text(json.dumps(manifest))
    assert "locale" in target.refused()
    assert not target.exists()


def test_a_base_that_fails_is_said_to_need_a_new_beginning(target: Target) -> None:
    target.archive.base(TABLES + "SELECT 1/0;\n")
    line = (TABLES + "SELECT 1/0").count("\n") + 4  # after three settings
    assert f"line {line}: division by zero" in target.refused()
    assert "holds no restore that reached the end of its base" in target.refused("--resume")


# --- points in time ---------------------------------------------------------------------------------------------------


def lsn_of(number: int) -> str:
    """Return the commit LSN of the transaction that small_archive() writes as number (from 1), without gaps."""
    return format_lsn(START + 0x100 * number - 0x30 + 0x10 * ((number > 4) + (number > 7)))


@pytest.mark.parametrize(
    ("arguments", "last"),
    [
        ([], 10),
        (["--target-xid", "703"], 4),
        (["--target-xid", "703", "--target-exclusive"], 3),
        (["--target-time", "2026-11-22 03:00:03+00"], 4),
        (["--target-time", "2026-11-22 04:00:03.999999+01"], 4),
        (["--target-time", "2026-11-22 03:00:03+00", "--target-exclusive"], 3),
        (["--target-time", "2026-11-22 03:00:10+00"], 10),
        (["--target-lsn", lsn_of(5)], 6),
        (["--target-lsn", lsn_of(5), "--target-exclusive"], 5),
        (["--target-lsn", "0/1000000"], 1),
        (["--target-name", "before-lunch"], 6),
    ],
)
def test_a_point_is_reached_exactly(target: Target, arguments: list[str], last: int) -> None:
    small_archive(target)
    target.run(*arguments)
    assert [row[0] for row in target.rows()] == list(range(1, last + 1))
    (value,) = target.rows("SELECT nextval('public.t_id_seq')")[0]
    assert value == 34 if last == 10 else value > last or last == 1


def test_a_restore_to_a_point_can_go_further(target: Target) -> None:
    small_archive(target)
    for xid in (702, 704, 705, 707, 709):
        target.run("--target-xid", str(xid), *(["--resume"] if target.exists() else []))
        count = xid - 700 + 1 - (xid > 705)
        assert len(target.rows()) == count
    assert "Name a later target" in target.refused("--resume", "--target-xid", "702")
    target.run("--resume")
    assert len(target.rows()) == 10
    assert target.rows("SELECT last_value FROM public.t_id_seq") == [(33,)]


def test_the_latest_base_before_the_point_is_used(target: Target) -> None:
    small_archive(target)
    dump = TABLES + "".join(insert(i) for i in range(2, 11))
    newer = target.archive.base(dump)
    target.archive.segment([insert(11)])
    listed = json.loads(target.run("--list", "--json").stdout)["chains"]
    assert [chain["base"] for chain in listed][-1] == newer
    assert [chain["segments"] for chain in listed] == [4, 1]
    assert json.loads(target.run("--json").stdout)["base"] == newer
    target.cluster.dropdb(target.name)
    assert json.loads(target.run("--json", "--target-xid", "703").stdout)["base"] != newer
    target.cluster.dropdb(target.name)
    target.run("--base", listed[0]["base"])
    assert len(target.rows()) == 11


def test_of_a_point_that_cannot_be_reached_the_nearest_that_can_are_named(target: Target) -> None:
    small_archive(target)
    small, first = target.archive, format_lsn(target.archive.lsn)
    stamps = [path.name for path in sorted((target.path / "base").iterdir())]
    for _ in range(3):  # each a chain of its own, after a gap
        small.lsn += 0x1000
        stamps.append(small.base(TABLES))
        small.segment([insert(2)], chain_start=True)
    gap = f"0/{small.lsn - 0x1000:X}"
    said = target.refused("--target-lsn", gap)
    assert [stamp for stamp in stamps if stamp in said] == stamps[2:]
    assert first not in said
    assert [stamp for stamp in stamps if stamp in target.refused("--target-time", "2020-01-01 00:00+00")] == stamps[:1]


def test_a_hole_is_listed_and_not_crossed(target: Target) -> None:
    small_archive(target)
    sorted(target.path.glob("incremental/*.json"))[1].unlink()
    assert "then a hole: a segment is missing between" in target.run("--list").stdout
    assert "--target-lsn" in target.refused()
    reachable = json.loads(target.run("--list", "--json").stdout)["chains"][0]["to_lsn"]
    target.run("--target-lsn", reachable)
    assert len(target.rows()) == 5


def test_a_new_chain_is_not_taken_for_a_continuation(target: Target) -> None:
    small_archive(target)
    target.archive.segment([insert(12)], chain_start=True)
    assert "the stream began anew" in target.refused()


def test_a_mark_is_written_on_the_source(target: Target, database: str) -> None:
    result = subprocess.run(
        target.command("--mark", "before-lunch"),
        env=target.cluster.env | {"PGDATABASE": database},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "/" in result.stdout
    result = subprocess.run(
        target.command("--mark", "no spaces"), env=target.cluster.env, capture_output=True, text=True, check=False
    )
    assert result.returncode == 2


def test_a_dry_run_changes_nothing(target: Target) -> None:
    small_archive(target)
    target.run("--dry-run")
    assert not target.exists()


# --- interruption -----------------------------------------------------------------------------------------------------


def long_archive(target: Target) -> None:
    """Segments in which a transaction applied twice, or not at all, shows: sums, keyless rows, DDL, COPY."""
    target.archive.base(TABLES + "CREATE TABLE public.sums (n bigint);\nINSERT INTO public.sums VALUES (0);\n")
    for segment in range(4):
        bodies = []
        for i in range(1500):
            bodies.append(
                "UPDATE public.sums SET n = n + 1 WHERE true;\n"
                f"INSERT INTO public.log (note) VALUES ('{segment}.{i} {'x' * 300}');\n"
            )
        bodies.insert(700, DDL.format(f"CREATE TABLE made{segment} (id int)"))
        for i in range(1400, 0, -100):  # long enough to be interrupted
            bodies.insert(i, DDL.format("DO $$BEGIN PERFORM pg_sleep(0.03); END$$"))
        copied = "".join(f"{i}\n" for i in range(2000))
        bodies.insert(1300, f"COPY public.made{segment} (id) FROM stdin;\n{copied}\\.\n")
        target.archive.segment(bodies)


@pytest.fixture
def interrupted(target: Target) -> Target:
    """A long archive, and an uninterrupted restore of it called NAME_whole to compare with."""
    long_archive(target)
    return target


def finish_and_compare(target: Target) -> None:
    expected = (6000, 6000, 2000 * 4)
    made = " + ".join(f"(SELECT count(*) FROM public.made{i})" for i in range(4))
    found = target.rows(f"SELECT n, (SELECT count(DISTINCT note) FROM public.log), {made} FROM public.sums")
    assert found == [expected]
    assert target.rows("SELECT count(*) FROM public.log") == [(6000,)]
    assert target.position() == (format_lsn(target.archive.lsn), False)


def is_past_base(target: Target) -> bool:
    """Whether the base is there for good: the first transactions after it are."""
    try:
        there = target.exists() and target.rows("SELECT 1 FROM pg_class WHERE relname = 'position'")
        found = target.rows("SELECT lsn::text FROM scribe.position") if there else []
        return bool(found) and found != [(format_lsn(START),)]
    except psycopg.OperationalError:
        return False


@pytest.mark.slow
@pytest.mark.parametrize("how", ["kill the program", "end the backend", "crash the server"])
def test_an_interrupted_restore_goes_on_exactly_where_it_was(interrupted: Target, how: str) -> None:
    target, chance = interrupted, random.Random(how)
    arguments: list[str] = []
    interruptions = 0
    for _ in range(60):
        process = subprocess.Popen(
            target.command("-d", target.name, *arguments),
            env=target.cluster.env,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
        )
        try:
            poll(lambda p=process: p.poll() is not None or is_past_base(target), 60)
            time.sleep(chance.uniform(0.15, 0.5) if arguments else chance.uniform(0.0, 0.3))
            if how == "kill the program":
                process.send_signal(signal.SIGKILL)
            elif how == "crash the server":
                target.cluster.restart("immediate")
            else:
                target.cluster.query(
                    f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{target.name}'"
                )
        finally:
            _, said = process.communicate(timeout=60)
        if process.returncode == 0:
            break
        assert process.returncode in (-9, 75), said
        interruptions += 1
        arguments = ["--resume"]
    else:
        target.run("--resume")
    assert interruptions > 0
    finish_and_compare(target)


def test_two_restores_do_not_work_on_one_database(target: Target) -> None:
    small_archive(target)
    target.run("--target-xid", "703")
    with target.cluster.connect(target.name) as conn:
        conn.execute("SELECT pg_advisory_lock(%s)", [0x7363726962650001])
        assert "another restore" in target.refused("--resume", status=75)
    target.run("--resume")


def test_a_database_in_which_psql_was_cut_off_is_not_resumed(target: Target) -> None:
    small_archive(target)
    target.run("--target-xid", "703")
    target.cluster.psql("UPDATE scribe.position SET inside = true", target.name)
    assert "psql was cut off" in target.refused("--resume")


def remount(directory: Path, size: str) -> bool:
    """Make directory a file system of that size, or give the one that is there another; False where we may not."""
    options = f"size={size}" + (",remount" if directory.is_mount() else "")
    command = ["mount", "-t", "tmpfs", "-o", options, "scribe", str(directory)]
    return os.geteuid() == 0 and subprocess.run(command, check=False, capture_output=True).returncode == 0


def test_a_full_disk_stops_it_with_one_line_and_it_goes_on_where_there_is_room(target: Target) -> None:
    target.archive.base(TABLES)
    target.archive.segment([insert(2), LONG * 12, insert(3)])
    space = target.cluster.directory / target.name
    space.mkdir()
    if not remount(space, "12m"):
        pytest.skip("place: no file system can be mounted")
    try:
        assert target.cluster.user is not None
        os.chown(space, target.cluster.user.pw_uid, target.cluster.user.pw_gid)
        target.cluster.query(f"CREATE TABLESPACE {target.name} LOCATION '{space}'")
        target.cluster.query(f"CREATE DATABASE {target.name} TEMPLATE template0 TABLESPACE {target.name}")
        said = target.refused()
        assert "No space left on device" in said
        assert "Make room on the target server, then go on with --resume" in said
        assert "--skip" not in said
        assert "No space left on device" in target.refused("--resume")
        assert remount(space, "100m")
        target.run("--resume")
        assert target.rows() == [(1, "one"), (2, "v2"), (3, "v3")]
        assert target.rows("SELECT count(*) FROM public.log") == [(108000,)]
    finally:
        target.cluster.dropdb(target.name)
        target.cluster.query(f"DROP TABLESPACE IF EXISTS {target.name}")
        subprocess.run(["umount", str(space)], check=True)


def test_a_terminal_is_shown_progress_with_rate_and_remaining_time(target: Target) -> None:
    target.archive.base(TABLES)
    slow = DDL.format("DO $$BEGIN PERFORM pg_sleep(0.7); END$$")
    target.archive.segment([insert(2), LONG, slow, LONG])
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        target.command("-d", target.name), env=target.cluster.env, stdout=subprocess.DEVNULL, stderr=terminal
    )
    os.close(terminal)
    shown = b""
    with contextlib.suppress(OSError):  # EIO: its last writer has ended
        while block := os.read(controller, 1 << 16):
            shown += block
    os.close(controller)
    assert process.wait(60) == 0
    assert re.search(rb"\rscribe-restore: segments: \d+ %, \d+ of \d+ MB, [\d.]+ MB/s, \d+:\d\d min left\x1b\[K", shown)
    assert b"\r\x1b[Kscribe-restore: restored database" in shown
    assert b"min left" not in target.run("--resume").stderr.encode()


def test_tablespaces_of_a_base_are_left_out_or_put_elsewhere(target: Target) -> None:
    old, new = (target.cluster.directory / f"{target.name}_{which}" for which in ("old", "new"))
    for path in (old, new):
        path.mkdir()
        if target.cluster.user:
            os.chown(path, target.cluster.user.pw_uid, target.cluster.user.pw_gid)
    space = f"{target.name}_space"
    where = "SELECT coalesce(t.spcname, 'default') FROM pg_class AS c LEFT JOIN pg_tablespace AS t"
    where += " ON t.oid = reltablespace WHERE relname = 'spaced'"
    globals_sql = f"CREATE TABLESPACE {space} OWNER postgres LOCATION '{old}';\n"
    spaced = f"SET default_tablespace = {space};\nCREATE TABLE public.spaced (x int);\nSET default_tablespace = '';\n"
    stamp = target.archive.base(TABLES + spaced, globals_sql=globals_sql)
    base = target.path / "base" / stamp
    try:
        target.run("--tablespace-mapping", f"{old}={new}")
        assert target.rows(where) == [(space,)]
        assert target.rows(f"SELECT pg_tablespace_location(oid) FROM pg_tablespace WHERE spcname = '{space}'") == [
            (str(new),)
        ]
        # The same base in directory format, of what was just restored.
        command = [f"{target.cluster.bindir}/pg_dump", "-Fd", "-N", "scribe", "-f", base / "base.dir", target.name]
        subprocess.run(command, env=target.cluster.env, check=True)
        (base / "epilogue.sql").write_text(dialect.build_epilogue(START))
        manifest = json.loads((base / "manifest.json").read_text())
        (base / "base.sql.zst").unlink()
        files = [path for path in sorted(base.rglob("*")) if path.is_file() and path.name != "manifest.json"]
        manifest["files"] = [
            {
                "name": path.relative_to(base).as_posix(),
                "bytes": path.stat().st_size,
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            }
            for path in files
        ]
        (base / "manifest.json").write_text(json.dumps(manifest | {"format": "directory"}))
        target.cluster.dropdb(target.name)
        target.cluster.query(f"DROP TABLESPACE {space}")
        target.run("--no-tablespaces", "--no-globals")
        assert target.rows(where) == [("default",)]
        assert target.rows() == [(1, "one")]
    finally:
        target.cluster.dropdb(target.name)
        target.cluster.query(f"DROP TABLESPACE IF EXISTS {space}")


# --- the plan ---------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("zstdcat") is None, reason="zstdcat is not installed")
@pytest.mark.parametrize("arguments", [[], ["--target-xid", "706"], ["--target-lsn", "0/1000000"]])
def test_the_plan_does_what_the_restore_does(target: Target, arguments: list[str]) -> None:
    small_archive(target)
    with_psql = f"{target.name} 'psql'"
    plan = subprocess.run(
        target.command("-d", with_psql, "--plan", *arguments),
        env=target.cluster.env,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    try:
        subprocess.run(["sh", "-c", plan], env=target.cluster.env, check=True, stderr=subprocess.DEVNULL)
        target.run(*arguments)
        with_program, by_hand = target.cluster.dump(target.name), target.cluster.dump(with_psql)
        assert_equal(by_hand, with_program, ("plan", "restore"))
    finally:
        target.cluster.dropdb(with_psql)


@pytest.mark.parametrize("damage", ["a base cut short", "a segment cut short", "another byte"])
def test_the_plan_looks_at_every_file_before_it_begins(target: Target, damage: str) -> None:
    small_archive(target)
    plan = target.run("--plan", "--target-xid", "709").stdout
    paths = [*target.path.glob("base/*/base.sql.zst"), *sorted(target.path.glob("incremental/*.sql*"))]
    path = paths[0] if damage == "a base cut short" else paths[-1]
    data = path.read_bytes()
    path.write_bytes(data[:-40] if "short" in damage else data[:-1] + bytes([data[-1] ^ 1]))
    result = subprocess.run(["sh", "-c", plan], env=target.cluster.env, capture_output=True, text=True, check=False)
    assert result.returncode != 0
    assert path.name in result.stdout + result.stderr
    assert not target.exists()


def test_the_plan_survives_what_a_path_may_hold(cluster: Cluster, tmp_path: Path) -> None:
    target = Target(cluster, tmp_path / "new\nline 'quoted' \\ $(false)")
    small_archive(target)
    try:
        plan = target.run("--plan").stdout
        subprocess.run(["sh", "-c", plan], env=cluster.env, check=True, stderr=subprocess.DEVNULL)
        assert target.rows("SELECT count(*) FROM t") == [(10,)]
    finally:
        cluster.dropdb(target.name)
