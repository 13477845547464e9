"""The target: what is refused, globals, creating the database, its base, locks and tablespaces."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from cluster import HEARING, Cluster, poll
from handmade import Handmade
from restoring import TABLES, Target, insert, small_archive

from scribe.common.dialect import drop_transaction_timeout


def test_newer_globals_are_restored_too_and_what_fails_in_them_is_said(target: Target) -> None:
    role = f"{target.name}_late"
    target.archive.base(TABLES)
    target.archive.segment(
        [
            f"-- ddl ALTER TABLE\nSET LOCAL ROLE postgres;\nALTER TABLE public.t OWNER TO {role}\n;\n"
            "RESET ROLE;\n-- ddl end\n"
        ]
    )
    target.archive.globals(
        "20261123T000000Z", f"CREATE ROLE {role};\nGRANT nobody_here TO {role};\nCREATE ROLE postgres;\n"
    )
    try:
        said = target.run().stderr
        assert 'globals: role "nobody_here" does not exist' in said
        assert said.count("globals: role") == 1
    finally:
        target.cluster.dropdb(target.name)
        target.cluster.psql(f"DROP ROLE {role}")


@pytest.mark.parametrize("newest", ["a file of globals", "another base's"])
def test_a_base_without_globals_is_restored_with_those_in_force_then(target: Target, newest: str) -> None:
    role = f"{target.name}_owner"
    create = f"CREATE ROLE {role};\n"
    target.archive.base(TABLES, globals_sql="" if newest == "a file of globals" else create)
    if newest == "a file of globals":
        target.archive.globals("20261122T030000Z", create)
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


def test_the_source_is_refused(cluster: Cluster, tmp_path: Path, database: str) -> None:
    (identifier,) = cluster.query("SELECT system_identifier::text FROM pg_control_system()")[0]
    oid = cluster.value(f"SELECT oid::int FROM pg_database WHERE datname = '{database}'")
    target = Target(cluster, tmp_path / "own")
    target.archive = Handmade(tmp_path / "own", system_identifier=identifier, oid=oid)
    target.name = database
    target.archive.base(TABLES)
    assert "is the source" in target.refused(status=2)
    assert cluster.query("SELECT 1 FROM pg_class WHERE relname = 't'", database) == []


@pytest.mark.parametrize(
    ("made", "named"),
    [
        ("CREATE TABLE s (v text); ALTER TABLE s RENAME TO t", "relation public.t\n"),  # no index of TOAST
        ("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'", "function f"),
        ("SELECT lo_create(4711)", "large object 4711"),
        ("CREATE CAST (text AS int) WITH INOUT", "cast from text to integer"),
        ("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC", "default privileges of postgres"),
        ("CREATE TEXT SEARCH CONFIGURATION c (COPY = simple)", "text search configuration c"),
        ("CREATE TEXT SEARCH DICTIONARY d (TEMPLATE = simple)", "text search dictionary d"),
        ('CREATE COLLATION c FROM "C"', "collation c"),
        ("CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq)", "operator ==="),
        ("CREATE OPERATOR FAMILY f USING btree", "operator family f"),
        ("CREATE CONVERSION c FOR 'UTF8' TO 'LATIN1' FROM utf8_to_iso8859_1", "conversion c"),
        ("CREATE ACCESS METHOD a TYPE INDEX HANDLER bthandler", "access method a"),
        ("CREATE LANGUAGE l HANDLER plpgsql_call_handler", "language l"),
        ("CREATE FOREIGN DATA WRAPPER w", "foreign data wrapper w"),
    ],
)
def test_a_database_that_is_not_empty_is_refused(target: Target, made: str, named: str) -> None:
    target.archive.base(TABLES)
    target.cluster.createdb(target.name)
    target.cluster.psql(made, target.name)
    assert f"is not empty: it has {named}" in target.refused()


def test_an_empty_database_is_filled(target: Target) -> None:
    small_archive(target)
    target.cluster.createdb(target.name)
    target.run()
    assert len(target.rows()) == 10


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
    assert "division by zero" in target.refused("--resume")
    target.cluster.dropdb(target.name)
    target.cluster.createdb(target.name)  # somebody else's database is not made again
    assert "division by zero" in target.refused()
    assert "holds no restore that reached the end of its base" in target.refused("--resume")


def test_two_restores_do_not_work_on_one_database(target: Target) -> None:
    small_archive(target)
    target.run("--target-xid", "703")
    with target.cluster.connect(target.name) as conn:
        conn.execute("SELECT pg_advisory_lock(%s)", [0x7363726962650001])
        assert "another restore" in target.refused("--resume", status=75)
    target.run("--resume")


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
    try:
        target.run("--tablespace-mapping", f"{old}={new}")
        assert target.rows(where) == [(space,)]
        assert target.rows(f"SELECT pg_tablespace_location(oid) FROM pg_tablespace WHERE spcname = '{space}'") == [
            (str(new),)
        ]
        target.as_directory(stamp)
        target.cluster.dropdb(target.name)
        target.cluster.query(f"DROP TABLESPACE {space}")
        target.run("--no-tablespaces", "--no-globals")
        assert target.rows(where) == [("default",)]
        assert target.rows() == [(1, "one")]
    finally:
        target.cluster.dropdb(target.name)
        target.cluster.query(f"DROP TABLESPACE IF EXISTS {space}")


@pytest.mark.unit
def test_the_setting_of_a_newer_pg_dump_is_left_out_of_the_beginning_of_a_dump_only() -> None:
    line = b"SET transaction_timeout = 0;\n"
    head = b"--\n-- PostgreSQL database dump\n\n\\restrict x\n\nSET lock_timeout = 0;\n"
    tail = b"SELECT pg_catalog.set_config('search_path', '', false);\nCOPY t (v) FROM stdin;\n" + line + b"\\.\n"
    assert drop_transaction_timeout(head + line + tail) == head + b"\n" + tail
    assert drop_transaction_timeout(head + tail) == head + tail


def test_what_a_newer_server_refuses_is_named_before_anything_is_run(target: Target) -> None:
    functions = [
        {"function": "f()", "setting": "no_such_setting=off"},
        {"function": "g(integer)", "setting": "role=postgres"},
        {"function": "h()", "setting": "app.tenant=1"},
        {"function": "s()", "setting": "standard_conforming_strings=off"},
    ]
    target.archive.base(TABLES, globals_sql='CREATE ROLE "one\n""two";\n', function_settings=functions)
    said = target.refused("--no-globals", status=2)
    assert "f() (no_such_setting=off)" in said
    assert "g(" not in said
    assert "h()" not in said
    modern = target.cluster.version_num >= 190000
    assert ("s() (standard_conforming_strings=off)" in said) == modern
    assert ('role U&"one\\000A""two"' in target.refused(status=2)) == modern
    assert not target.exists()


def test_roles_that_are_missing_and_that_nobody_creates_are_told_before_anything_runs(target: Target) -> None:
    lines = "CREATE ROLE scribe_nowhere;\nALTER ROLE scribe_nowhere WITH NOSUPERUSER;\n"
    target.archive.base(TABLES, globals_sql=lines)
    said = target.run("-n", "--no-globals").stderr
    assert 'the target lacks 1 roles of the source, and none is created: "scribe_nowhere"' in said
    assert "lacks" not in target.run("-n").stderr
    assert not target.exists()


def test_a_restore_that_ends_in_its_base_begins_again(target: Target) -> None:
    asleep = "(SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE application_name = 'awake') = 0"
    target.archive.base(TABLES + f"SELECT pg_catalog.pg_sleep(600) WHERE {asleep};\n")
    target.archive.segment([insert(2)])
    env = target.cluster.env
    before: set[int] = set()  # a server process may sleep on after its client has gone
    for resume, ended in (([], signal.SIGINT), (["--resume"], signal.SIGKILL), (["--follow"], signal.SIGKILL)):
        command = [*HEARING, *target.command("-d", target.name, *resume)]
        with subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) as restore:
            sleeps = f"SELECT pid FROM pg_stat_activity WHERE datname = '{target.name}' AND wait_event = 'PgSleep'"
            poll(lambda q=sleeps, old=before: {r[0] for r in target.cluster.query(q)} - old, 60, "the base")
            before |= {row[0] for row in target.cluster.query(sleeps)}
            assert "another restore" in target.refused("--resume", status=75)
            restore.send_signal(ended)
            said = restore.communicate(timeout=60)[1]
        assert restore.returncode in (1, -signal.SIGKILL), said
        if ended == signal.SIGINT:
            assert "holds a part of its base; --resume begins with it again" in said
    with target.cluster.connect() as conn:
        conn.execute("SET application_name = awake")
        assert "is not empty" in target.refused()
        target.run("--resume")
    assert len(target.rows()) == 2
    unfinished = "SELECT FROM pg_db_role_setting AS s JOIN pg_database AS d ON d.oid = setdatabase WHERE datname = '{}'"
    assert not target.cluster.query(unfinished.format(target.name))
