"""Roles, tablespaces and the database itself in the stream: whoever changed them, from wherever, and whenever."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest
from cluster import temporary_cluster
from compare import assert_equal
from source import Scribe

DROP = """
DO $$
DECLARE
    role text;
BEGIN
    FOR role IN SELECT rolname FROM pg_roles WHERE rolname ~ '^scribe_far_' LOOP
        EXECUTE format('DROP ROLE %I', role);
    END LOOP;
END $$;
"""


def segments_text(scribe: Scribe) -> str:
    """Everything in the archive's segments."""
    files = sorted((scribe.archive / "incremental").glob("*.sql*"))
    return "".join(subprocess.run(["zstdcat", "-f", f], capture_output=True, check=True).stdout.decode() for f in files)


@pytest.fixture
def begun(scribe: Scribe) -> Iterator[Scribe]:
    """A source that is being streamed, and from which no role of these tests is left afterwards."""
    scribe.cluster.psql(DROP)
    scribe.cluster.psql("CREATE TABLE t (id int PRIMARY KEY)", scribe.dbname)
    scribe.run("scribe-init")
    scribe.start_stream()
    yield scribe


def restores_equal(scribe: Scribe, targets: tuple[str, str]) -> None:
    source = scribe.cluster.dump(scribe.dbname)
    scribe.run("scribe-restore", "-d", targets[0], "--no-globals")
    assert_equal(source, scribe.cluster.dump(targets[0]), ("source", "scribe-restore"))
    scribe.restore_with_psql(targets[1])
    assert_equal(source, scribe.cluster.dump(targets[1]), ("source", "psql alone"))


def test_a_role_of_another_database_is_there_before_what_needs_it(begun: Scribe, targets: tuple[str, str]) -> None:
    cluster = begun.cluster
    with cluster.connect(begun.dbname) as conn, conn.transaction():
        conn.execute("INSERT INTO t VALUES (1)")  # this transaction is older than the role
        cluster.psql("CREATE ROLE scribe_far_a; ALTER ROLE scribe_far_a RENAME TO scribe_far_b")
        conn.execute("GRANT SELECT ON t TO scribe_far_b")
    cluster.psql("ALTER ROLE scribe_far_b RENAME TO scribe_far_c")
    cluster.psql("GRANT UPDATE ON t TO scribe_far_c", begun.dbname)
    cluster.psql("ALTER ROLE scribe_far_c SET work_mem = '2MB'; COMMENT ON ROLE scribe_far_c IS 'far'")
    cluster.psql("INSERT INTO t VALUES (2)", begun.dbname)
    begun.run("scribe-rotate", "--wait-lsn", "current")
    text = segments_text(begun)
    assert "CREATE ROLE scribe_far_b" in text
    assert "ALTER ROLE scribe_far_b RENAME TO scribe_far_c" in text
    assert "ALTER ROLE scribe_far_c SET work_mem TO '2MB'" in text
    assert "COMMENT ON ROLE scribe_far_c IS 'far'" in text
    restores_equal(begun, targets)


def test_what_happens_while_the_stream_is_down_is_seen_in_its_place(begun: Scribe, targets: tuple[str, str]) -> None:
    cluster = begun.cluster
    cluster.psql("CREATE ROLE scribe_far_a; CREATE ROLE scribe_far_old; CREATE ROLE scribe_far_kept", begun.dbname)
    cluster.psql("GRANT SELECT ON t TO scribe_far_a; GRANT scribe_far_kept TO scribe_far_a", begun.dbname)
    begun.run("scribe-rotate", "--wait-lsn", "current")
    before = segments_text(begun)
    assert before.count("CREATE ROLE scribe_far_a") == 1
    begun.stop_stream()
    cluster.psql(
        "ALTER ROLE scribe_far_a RENAME TO scribe_far_b; DROP ROLE scribe_far_old; CREATE ROLE scribe_far_a;"
        "REVOKE scribe_far_kept FROM scribe_far_b"
    )
    cluster.psql("GRANT UPDATE ON t TO scribe_far_b; GRANT INSERT ON t TO scribe_far_a", begun.dbname)
    begun.start_stream()
    begun.run("scribe-rotate", "--wait-lsn", "current")
    after = segments_text(begun)[len(before) :]
    assert after.count("RENAME TO scribe_far_b") == 1
    assert after.count("  DROP ROLE scribe_far_old") == 1
    assert after.count("-- ddl REVOKE ROLE\n") == 1 and "REVOKE scribe_far_kept FROM scribe_far_b" in after
    assert "scribe_far_kept WITH" not in after
    restores_equal(begun, targets)


def test_a_stream_that_starts_again_sends_nothing_twice(begun: Scribe) -> None:
    begun.cluster.psql("CREATE ROLE scribe_far_a; ALTER ROLE scribe_far_a CONNECTION LIMIT 7")
    begun.cluster.psql("INSERT INTO t VALUES (1)", begun.dbname)
    begun.run("scribe-rotate", "--wait-lsn", "current")
    for number in range(2, 4):
        begun.stop_stream()
        begun.start_stream()
        begun.cluster.psql(f"INSERT INTO t VALUES ({number})", begun.dbname)
        begun.run("scribe-rotate", "--wait-lsn", "current")
    text = segments_text(begun)
    assert text.count("    CREATE ROLE scribe_far_a;") == 1
    assert text.count("CONNECTION LIMIT 7") == 1


def test_the_database_itself_is_changed_in_commit_order(begun: Scribe, targets: tuple[str, str]) -> None:
    cluster, name = begun.cluster, begun.dbname
    cluster.psql("CREATE ROLE scribe_far_owner; CREATE ROLE scribe_far_user")
    cluster.psql(
        f"ALTER DATABASE {name} OWNER TO scribe_far_owner;"
        f"GRANT CREATE ON DATABASE {name}, postgres TO scribe_far_user;"
        f"ALTER DATABASE {name} SET work_mem = '3MB'; ALTER DATABASE {name} SET search_path = public, \"$user\";"
        f"ALTER ROLE scribe_far_user IN DATABASE {name} SET work_mem = '4MB';"
        f"ALTER DATABASE {name} CONNECTION LIMIT 90;"
        f"COMMENT ON DATABASE {name} IS 'it''s %I'; REVOKE TEMPORARY ON DATABASE {name} FROM PUBLIC"
    )
    cluster.psql(
        "SET ROLE scribe_far_owner; CREATE SCHEMA owners; RESET ROLE;"
        "SET ROLE scribe_far_user; CREATE SCHEMA users; RESET ROLE",
        name,
    )
    cluster.psql("REVOKE CREATE ON DATABASE postgres FROM scribe_far_user")
    begun.run("scribe-rotate", "--wait-lsn", "current")
    restores_equal(begun, targets)
    state = """
        SELECT pg_get_userbyid(datdba), datconnlimit, shobj_description(oid, 'pg_database'),
            (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(datacl) AS a),
            (SELECT array_agg(setrole::regrole || ' ' || c ORDER BY setrole, c)
             FROM pg_db_role_setting, unnest(setconfig) AS c WHERE setdatabase = d.oid)
        FROM pg_database AS d WHERE datname = '{}'
    """
    for target in targets:
        assert cluster.query(state.format(target)) == cluster.query(state.format(name))
    cluster.psql(f"ALTER DATABASE {name} RESET ALL; COMMENT ON DATABASE {name} IS NULL; DROP SCHEMA users", name)
    cluster.psql(f"ALTER DATABASE {name} OWNER TO postgres; REVOKE ALL ON DATABASE {name} FROM scribe_far_user")
    cluster.psql("INSERT INTO t VALUES (1)", name)
    begun.run("scribe-rotate", "--wait-lsn", "current")
    begun.run("scribe-restore", "-d", targets[0], "--resume")
    assert cluster.query(state.format(targets[0])) == cluster.query(state.format(name))


def test_on_a_server_without_them_roles_and_tablespaces_are_made(begun: Scribe) -> None:
    cluster, name = begun.cluster, begun.dbname
    cluster.psql(
        "SET allow_in_place_tablespaces = on;"
        "CREATE TABLESPACE scribe_far_space LOCATION ''; CREATE TABLESPACE scribe_far_gone LOCATION ''"
    )
    try:
        cluster.psql("CREATE ROLE scribe_far_a LOGIN PASSWORD 'x'; CREATE ROLE scribe_far_b")
        cluster.psql(
            "GRANT CREATE ON TABLESPACE scribe_far_space TO scribe_far_a; GRANT scribe_far_b TO scribe_far_a;"
            "CREATE SCHEMA a AUTHORIZATION scribe_far_a; SET ROLE scribe_far_a;"
            "CREATE TABLE a.t (id int PRIMARY KEY) TABLESPACE scribe_far_space; RESET ROLE;"
            "CREATE TABLE gone () TABLESPACE scribe_far_gone; DROP TABLE gone; DROP TABLESPACE scribe_far_gone",
            name,
        )
        cluster.psql(
            "ALTER TABLESPACE scribe_far_space RENAME TO scribe_far_place;"
            "ALTER ROLE scribe_far_b RENAME TO scribe_far_c"
        )
        cluster.psql(
            "CREATE TABLE more (id int PRIMARY KEY) TABLESPACE scribe_far_place; INSERT INTO t VALUES (1)", name
        )
        begun.run("scribe-rotate", "--wait-lsn", "current")
        source = cluster.dump(name)
        state = (
            "SELECT rolname, rolpassword, ARRAY(SELECT roleid::regrole::text FROM pg_auth_members WHERE member = r.oid)"
            " FROM pg_authid AS r WHERE rolname ~ '^scribe_far' UNION ALL"
            " SELECT spcname, NULL, NULL FROM pg_tablespace WHERE spcname ~ '^scribe_far' ORDER BY 1"
        )
        with temporary_cluster() as other:
            there = Scribe(other, "copy", begun.archive)
            there.run("scribe-restore", "-d", "copy", "--no-globals")
            assert_equal(source, other.dump("copy"), ("source", "scribe-restore"))
            assert other.query(state) == cluster.query(state)
        with temporary_cluster() as other:
            there = Scribe(other, "copy", begun.archive)
            there.restore_with_psql("copy")
            assert_equal(source, other.dump("copy"), ("source", "psql alone"))
            assert other.query(state) == cluster.query(state)
    finally:
        cluster.psql("DROP TABLE more; DROP TABLE a.t", name, check=False)
        cluster.psql("DROP TABLESPACE scribe_far_place", check=False)
