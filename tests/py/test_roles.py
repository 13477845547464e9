"""Roles on the target: those that are missing are created, those that are there stay as they are."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from cluster import Cluster, poll, temporary_cluster
from compare import assert_equal
from restoring import TABLES, Target
from source import Scribe


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


def test_an_empty_database_of_another_owner_is_said(target: Target) -> None:
    """Who owns the database decides about the schema public, and a GRANT of somebody else's is no error."""
    target.cluster.createdb(target.name)
    target.archive.base(TABLES, globals_sql=f"CREATE ROLE {target.name}_owner;\n", owner=f"{target.name}_owner")
    try:
        (warning,) = [line for line in target.run().stderr.splitlines() if "warning" in line]
        assert f'belongs to "postgres", and on the source to "{target.name}_owner"' in warning
        target.cluster.dropdb(target.name)
        assert "warning" not in target.run().stderr
    finally:
        target.cluster.dropdb(target.name)
        target.cluster.psql(f"DROP ROLE {target.name}_owner")


def test_names_of_roles_that_look_like_statements_are_names(target: Target) -> None:
    """Whoever may create roles on the source must not be able to run anything on the target."""
    if target.cluster.version_num >= 190000:
        pytest.skip("server version: takes no line break in the name of a role")
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


GIVEN = """
CREATE ROLE {0}_boss; CREATE ROLE {0}_there; CREATE ROLE {0}_gone LOGIN PASSWORD 'x'; CREATE ROLE {0}_renamed;
GRANT {0}_boss TO {0}_there; GRANT {0}_boss TO {0}_gone; ALTER ROLE {0}_there SET work_mem = '7MB';
"""
TAKEN = """
REVOKE {0}_boss FROM {0}_there; ALTER ROLE {0}_there RESET work_mem; DROP ROLE {0}_gone;
ALTER ROLE {0}_renamed RENAME TO {0}_newly; CREATE ROLE {0}_late;
"""
ON_PARAMETER = "SET ON PARAMETER session_replication_role"
STATE = """
SELECT r.rolname, r.rolcanlogin, r.rolpassword, shobj_description(oid, 'pg_authid'),
    ARRAY(SELECT roleid::regrole::text FROM pg_auth_members WHERE member = r.oid),
    (SELECT setconfig FROM pg_db_role_setting WHERE setrole = r.oid AND setdatabase = 0)
FROM pg_authid AS r WHERE rolname ~ '^%s_' ORDER BY 1
"""


def psql_globals(scribe: Scribe, cluster: Cluster) -> None:
    """Run the globals as the runbook does: the newest first, each without ON_ERROR_STOP."""
    files = sorted((scribe.archive / "globals").glob("*.sql"), reverse=True)
    for path in [*files, *(scribe.archive / "base").glob("*/globals.sql")]:
        command = [f"{cluster.bindir}/psql", "-Xq", "-d", "postgres", "-f", str(path)]
        subprocess.run(command, env=cluster.env, check=True, capture_output=True)


@pytest.fixture
def changed(scribe: Scribe) -> Iterator[tuple[Scribe, str]]:
    """An archive whose base and segments have rights that were revoked since, and roles that are gone."""
    cluster, prefix = scribe.cluster, f"{scribe.dbname}_role"
    parameters = cluster.version_num >= 150000
    cluster.psql(GIVEN.format(prefix) + (f"GRANT {ON_PARAMETER} TO {prefix}_there" if parameters else ""))
    cluster.psql(
        f"CREATE TABLE t (id int PRIMARY KEY); GRANT SELECT ON t TO {prefix}_gone, {prefix}_renamed", scribe.dbname
    )
    scribe.run("scribe-init")
    scribe.start_stream()
    cluster.psql(f"REVOKE ALL ON t FROM {prefix}_gone", scribe.dbname)
    scribe.run("scribe-rotate", "--wait-lsn", "current")
    cluster.psql(TAKEN.format(prefix) + (f"REVOKE {ON_PARAMETER} FROM {prefix}_there" if parameters else ""))
    cluster.psql(f"GRANT INSERT ON t TO {prefix}_late, {prefix}_newly", scribe.dbname)
    scribe.run("scribe-rotate", "--wait-lsn", "current")
    yield scribe, prefix
    scribe.close()
    for name in ("boss", "there", "gone", "renamed", "newly", "late"):
        cluster.psql(f"DROP ROLE IF EXISTS {prefix}_{name}")


def may_set(cluster: Cluster, role: str) -> bool:
    if cluster.version_num < 150000:
        return False
    return bool(cluster.value(f"SELECT has_parameter_privilege('{role}', 'session_replication_role', 'SET')"))


def test_a_restore_on_the_sources_own_server_gives_no_right_back(
    changed: tuple[Scribe, str], targets: tuple[str, str]
) -> None:
    scribe, prefix = changed
    cluster = scribe.cluster
    source, roles = cluster.dump(scribe.dbname), cluster.query(STATE % prefix)
    scribe.run("scribe-restore", "-d", targets[0])
    assert cluster.query(STATE % prefix) == roles and not may_set(cluster, f"{prefix}_there")
    assert_equal(source, cluster.dump(targets[0]), ("source", "scribe-restore"))
    psql_globals(scribe, cluster)
    scribe.restore_with_psql(targets[1])
    assert cluster.query(STATE % prefix) == roles and not may_set(cluster, f"{prefix}_there")
    assert_equal(source, cluster.dump(targets[1]), ("source", "psql alone"))


@pytest.mark.parametrize("by", ["scribe-restore", "psql alone"])
def test_a_restore_on_another_server_brings_the_roles_as_they_are_now(changed: tuple[Scribe, str], by: str) -> None:
    scribe, prefix = changed
    source, roles = scribe.cluster.dump(scribe.dbname), scribe.cluster.query(STATE % prefix)
    with temporary_cluster() as other:
        there = Scribe(other, "copy", scribe.archive)
        if by == "psql alone":
            psql_globals(scribe, other)
            there.restore_with_psql("copy")
        else:
            plan = there.run("scribe-restore", "-d", "copy", "--plan").stdout
            assert plan.count("globals") >= 2
            there.run("scribe-restore", "-d", "copy")
        assert other.query(STATE % prefix) == roles
        assert_equal(source, other.dump("copy"), ("source", by))


def give_as_an_older_server(scribe: Scribe, member: str) -> None:
    """Run what gives a membership as a server reads it that knows no options: it may give no more than the source."""
    cluster, text = scribe.cluster, subprocess.check_output(["zstdcat", *scribe.segments()], text=True)
    blocks = re.findall(r"DO LANGUAGE plpgsql \$scribe\$\n.*?\n\$scribe\$;\n", text, re.DOTALL)
    (block,) = [each for each in blocks if f" TO {member} " in each]
    member_of = f"SELECT count(*) FROM pg_auth_members WHERE member = '{member}'::regrole"
    group = cluster.value(f"SELECT roleid::regrole::text FROM pg_auth_members WHERE member = '{member}'::regrole")
    name = f"{scribe.dbname}_older"
    cluster.createdb(name)
    cluster.psql(f"CREATE SCHEMA scribe; CREATE TABLE scribe.made AS SELECT 'role' AS kind, '{member}' AS name", name)
    cluster.psql(f"REVOKE {group} FROM {member}")
    cluster.psql(block.replace(" WITH ADMIN ", " WITH NO ADMIN "), name)
    assert cluster.value(member_of) == 0, block
    cluster.dropdb(name)


def test_memberships_are_those_of_the_source_on_a_server_of_another_superuser(scribe: Scribe) -> None:
    """The source's first superuser has given them, who is not that of a throw-away server, nor of many a target."""
    cluster, prefix = scribe.cluster, f"{scribe.dbname}_m"
    options = cluster.version_num >= 160000
    other = " WITH INHERIT FALSE, SET FALSE" if options else ""
    cluster.psql(
        f"CREATE ROLE {prefix}_team; CREATE ROLE {prefix}_early LOGIN; CREATE ROLE {prefix}_gone;"
        f"CREATE ROLE {prefix}_left; CREATE ROLE {prefix}_late;"
        f"GRANT {prefix}_team TO {prefix}_early; GRANT {prefix}_team TO {prefix}_gone;"
        f"GRANT {prefix}_team TO {prefix}_left{other}"
    )
    cluster.psql(f"CREATE TABLE t (id int PRIMARY KEY); ALTER TABLE t OWNER TO {prefix}_team", scribe.dbname)
    try:
        scribe.run("scribe-init")
        scribe.start_stream()
        cluster.psql(f"GRANT {prefix}_team TO {prefix}_late{other}; REVOKE {prefix}_team FROM {prefix}_gone")
        with cluster.connect(scribe.dbname, user=f"{prefix}_early") as conn:
            conn.execute("ALTER TABLE t ADD b int")
        scribe.run("scribe-rotate", "--wait-lsn", "current")
        which = "admin_option" + (", inherit_option, set_option" if options else "")
        query = (
            f"SELECT row(roleid::regrole, member::regrole, {which})::text FROM pg_auth_members"
            f" WHERE roleid::regrole::text ~ '^{prefix}_' ORDER BY 1"
        )
        found = scribe.run("scribe-peek", "-c", query, "--", "-At").stdout.split()
        assert found == [line for (line,) in cluster.query(query)]
        assert len(found) == 3
        if options:
            give_as_an_older_server(scribe, f"{prefix}_late")
    finally:
        scribe.close()
        for name in ("team", "early", "gone", "left", "late"):
            cluster.psql(f"DROP ROLE {prefix}_{name}")


@pytest.mark.parametrize("decoder", ["scribe_decoder", "pgoutput"])
def test_memberships_that_were_turned_round_stop_no_restore(scribe: Scribe, decoder: str) -> None:
    """Who has CREATEROLE grants one way and then the other; the roles of a restore are as they are in the end."""
    cluster, prefix = scribe.cluster, f"{scribe.dbname}_turned"
    scribe.settings["SCRIBE_DECODER"] = decoder
    cluster.psql(f"CREATE ROLE {prefix} LOGIN CREATEROLE")
    try:
        scribe.run("scribe-init")
        scribe.start_stream()
        for statements in (
            f"CREATE ROLE {prefix}_a; CREATE ROLE {prefix}_b; GRANT {prefix}_a TO {prefix}_b",
            f"REVOKE {prefix}_a FROM {prefix}_b; GRANT {prefix}_b TO {prefix}_a",
        ):
            cluster.psql(f"SET ROLE {prefix}; {statements}")
            cluster.psql("CREATE TABLE IF NOT EXISTS t (id int PRIMARY KEY)", scribe.dbname)
            scribe.run("scribe-rotate", "--wait-lsn", "current")
        query = (
            "SELECT DISTINCT roleid::regrole || ' ' || member::regrole || ' ' || admin_option FROM pg_auth_members"
            f" WHERE roleid::regrole::text ~ '^{prefix}_[ab]' AND member::regrole::text ~ '^{prefix}_[ab]'"
        )
        assert cluster.query(query) == [(f"{prefix}_b {prefix}_a false",)]
        with temporary_cluster() as other:
            Scribe(other, "copy", scribe.archive).run("scribe-restore", "-d", "copy")
            assert other.query(query) == [(f"{prefix}_b {prefix}_a false",)]
        with temporary_cluster() as other:
            there = Scribe(other, "copy", scribe.archive)
            psql_globals(scribe, other)
            there.restore_with_psql("copy")
            assert other.query(query) == [(f"{prefix}_b {prefix}_a false",)]
    finally:
        scribe.close()
        for name in ("_a", "_b", ""):
            cluster.psql(f"DROP ROLE {prefix}{name}")


def commits_wait(conn: psycopg.Connection, look: psycopg.Connection) -> bool:
    """Return whether a COMMIT of conn waits for a standby: after a reload the checkpointer has to say so first."""
    pid, query = conn.info.backend_pid, "SELECT wait_event FROM pg_stat_activity WHERE pid = %s"
    with ThreadPoolExecutor() as pool:
        probe = pool.submit(conn.execute, "SELECT pg_logical_emit_message(true, 'probe', '')")
        while not probe.done():
            if look.execute(query, [pid]).fetchone() == ("SyncRep",):
                conn.cancel()
                probe.result()
                return True
    return False


def test_a_role_whose_new_name_nobody_sees_yet_is_found_by_its_old_one(scribe: Scribe) -> None:
    """The rename is in the WAL, and its COMMIT waits for a standby: what runs meanwhile names the role as before."""
    cluster, prefix = scribe.cluster, f"{scribe.dbname}_unseen"
    roles = [f"{prefix}_a", f'"{prefix} ""B"""', f"{prefix}_c"]
    tables = "".join(f"CREATE TABLE t{n} (id int PRIMARY KEY);" for n in range(3))
    cluster.psql("".join(f"CREATE ROLE {role};" for role in roles))
    cluster.psql(f"{tables} GRANT CREATE ON SCHEMA public TO {roles[2]}", scribe.dbname)
    renames = "".join(f"ALTER ROLE {role} RENAME TO {prefix}_new_{n};" for n, role in enumerate(roles))
    try:
        scribe.run("scribe-init")
        scribe.start_stream()
        with (
            cluster.connect(scribe.dbname, options="-c synchronous_commit=local") as conn,
            cluster.connect(scribe.dbname) as renaming,
            ThreadPoolExecutor() as pool,
        ):
            cluster.psql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
            cluster.psql("SELECT pg_reload_conf()")
            try:
                poll(lambda: commits_wait(renaming, conn), 30, "commits that wait")
                waiting = pool.submit(renaming.execute, f"DO $$BEGIN {renames} END$$".encode())
                waits = f"SELECT wait_event = 'SyncRep' FROM pg_stat_activity WHERE pid = {renaming.info.backend_pid}"
                poll(lambda: cluster.value(waits), 30, "the COMMIT that waits")
                for statement in (
                    f"GRANT SELECT ON t0 TO {roles[0]}",
                    f"ALTER TABLE t1 OWNER TO {roles[1]}",
                    f"CREATE POLICY p ON t2 TO {roles[0]}",  # pg_dump gives several in the order of pg_authid's rows
                    f"CREATE POLICY q ON t2 TO {roles[1]}",
                    f"SET ROLE {roles[2]}",
                    "CREATE TABLE t3 (id int PRIMARY KEY)",
                    "RESET ROLE",
                ):
                    conn.execute(statement.encode())
                assert not waiting.done()
            finally:
                cluster.psql("ALTER SYSTEM RESET synchronous_standby_names")
                cluster.psql("SELECT pg_reload_conf()")
            waiting.result(timeout=60)
            conn.execute(f"GRANT INSERT ON t0 TO {prefix}_new_1, {prefix}_new_2".encode())
            conn.execute(f"SET ROLE {prefix}_new_2; ALTER TABLE t3 ADD was text DEFAULT '{roles[2]}'".encode())
        scribe.run("scribe-rotate", "--wait-lsn", "current")
        text = subprocess.check_output(["zstdcat", *scribe.segments()], text=True)
        before, _, after = text.partition("GRANT INSERT ON t0")
        given_back = f"RENAME TO {roles[2]};"  # whoever has seen the new name needs no old one
        assert given_back in before and "ALTER TABLE t3 ADD was" in after and given_back not in after
        source = cluster.dump(scribe.dbname)
        with temporary_cluster() as other:
            there = Scribe(other, "copy", scribe.archive)
            there.run("scribe-restore", "-d", "copy")
            assert_equal(source, other.dump("copy"), ("source", "scribe-restore"))
            other.dropdb("copy")
            psql_globals(scribe, other)
            there.restore_with_psql("copy")
            assert_equal(source, other.dump("copy"), ("source", "psql alone"))
    finally:
        scribe.close()
        for name in (*roles, *(f"{prefix}_new_{n}" for n in range(3))):
            cluster.psql(f"DROP ROLE IF EXISTS {name}")
