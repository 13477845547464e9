"""scribe-globals and scribe-meta, and the settings of the database itself."""

from __future__ import annotations

import json

import pytest
from cluster import Cluster
from source import Scribe

from scribe.archive.layout import Archive
from scribe.archive.manifest import read_manifest
from scribe.source.metadata import normalise_globals, split_list


@pytest.mark.unit
def test_the_random_key_is_no_change() -> None:
    texts = [b"--\n\\restrict %b\n\nCREATE ROLE a;\n\n\\unrestrict %b\n\n" % (key, key) for key in (b"k1", b"k2")]
    assert normalise_globals(texts[0]) == normalise_globals(texts[1])
    assert b"\\restrict " in normalise_globals(texts[0])
    assert normalise_globals(b"CREATE ROLE a;\n") == b"CREATE ROLE a;\n"


@pytest.mark.unit
@pytest.mark.parametrize(
    ("value", "names"),
    [('"$user", public', ["$user", "public"]), ('"a""b", "c, d",e', ['a"b', "c, d", "e"]), ('""', [""]), ("", [])],
)
def test_list_settings_are_taken_apart(value: str, names: list[str]) -> None:
    assert split_list(value) == names


def test_globals_are_stored_only_when_they_changed(scribe: Scribe, cluster: Cluster) -> None:
    scribe.run("scribe-init")
    archive = Archive(scribe.archive)
    assert scribe.run("scribe-globals").stdout == ""
    cluster.psql("CREATE ROLE \"new one\" LOGIN PASSWORD 'secret';")
    try:
        assert scribe.run("scribe-globals", "-n").stdout.startswith("would store")
        assert archive.globals_files() == []
        stored = scribe.run("scribe-globals").stdout.strip()
        assert [str(path) for path in archive.globals_files()] == [stored]
        text = archive.globals_files()[0].read_text()
        assert 'CREATE ROLE "new one";' in text
        assert "SCRAM-SHA-256$" in text or "md5" in text
        assert scribe.run("scribe-globals").stdout == ""
        assert scribe.run("scribe-globals", "--stdout").stdout == text
    finally:
        cluster.psql('DROP ROLE "new one";')
    assert scribe.run("scribe-globals").stdout != stored


def test_a_later_globals_file_has_a_later_name(scribe: Scribe, cluster: Cluster) -> None:
    scribe.run("scribe-init")
    archive = Archive(scribe.archive)
    names = []
    for comment in ("one", "two", "three"):
        cluster.psql(f"COMMENT ON ROLE postgres IS '{comment}';")
        names.append(scribe.run("scribe-globals").stdout.strip())
    assert names == sorted(set(names))
    assert archive.bases()[0].stamp < archive.globals_files()[0].stem


def test_a_role_that_is_no_superuser_gets_globals_without_passwords(scribe: Scribe, cluster: Cluster) -> None:
    cluster.psql("CREATE ROLE clerk LOGIN PASSWORD 'x';")
    try:
        result = scribe.run("scribe-globals", "--stdout", "-U", "clerk")
        assert "CREATE ROLE clerk;" in result.stdout
        assert "PASSWORD '" not in result.stdout.upper().replace("BYPASSRLS", "")
        assert "the globals hold no passwords" in result.stderr
    finally:
        cluster.psql("DROP ROLE clerk;")


def test_what_a_role_makes_too_long_keeps_nobody_from_reading_the_rest(scribe: Scribe, cluster: Cluster) -> None:
    """Each role may give itself a setting of any length, and its functions, too; a file of 256 MB is read by nobody."""
    long = "x" * 70_000
    try:
        cluster.psql(
            f"CREATE ROLE scribe_long; ALTER ROLE scribe_long SET search_path = '{long}';"
            "ALTER ROLE scribe_long SET work_mem = '2MB'"
        )
        cluster.psql(
            f"CREATE FUNCTION f() RETURNS int LANGUAGE sql SET search_path = '{long}' AS 'SELECT 1'", scribe.dbname
        )
        result = scribe.run("scribe-globals", "--stdout")
        assert "ALTER ROLE scribe_long SET work_mem" in result.stdout and long not in result.stdout
        assert "is left out of the globals: ALTER ROLE scribe_long SET search_path" in result.stderr
        (entry,) = json.loads(scribe.run("scribe-meta", "--stdout").stdout)["function_settings"]
        assert entry["function"] == "public.f()" and len(entry["setting"]) == 1000
    finally:
        cluster.psql("DROP ROLE IF EXISTS scribe_long")


def test_meta_describes_the_database(scribe: Scribe, cluster: Cluster) -> None:
    tables = "CREATE TABLE t (id int PRIMARY KEY); CREATE SEQUENCE s; CREATE UNLOGGED TABLE u (x int);"
    tables += "CREATE TABLE p (x int) PARTITION BY LIST (x); CREATE TABLE p_1 PARTITION OF p DEFAULT;"
    cluster.psql(tables, scribe.dbname)
    scribe.run("scribe-init", "--no-base")
    printed = scribe.run("scribe-meta").stdout.strip()
    assert printed == str(scribe.archive / "meta.json")
    meta = read_manifest("meta", scribe.archive / "meta.json")
    assert meta["database"] == scribe.dbname
    assert (meta["owner"], meta["encoding"], meta["collate"]) == ("postgres", "UTF8", "C")
    tables = {table["name"]: table for table in meta["tables"]}
    assert {name for name in tables if tables[name]["persistence"] == "unlogged"} == {"u"} < set(tables)
    parents = {name: table["partition_of"] for name, table in tables.items()}
    assert parents == {"t": None, "u": None, "p": None, "p_1": {"schema": "public", "name": "p"}}
    assert [sequence["name"] for sequence in meta["sequences"]] == ["s"]
    assert [extension["name"] for extension in meta["extensions"]] == ["plpgsql"]
    assert json.loads(scribe.run("scribe-meta", "--stdout").stdout)["settings"]["wal_level"] == "logical"
    assert scribe.run("scribe-meta", "-n").stdout == f"would write {scribe.archive / 'meta.json'}\n"


def test_sequences_that_are_being_dropped_are_not_waited_for(scribe: Scribe, cluster: Cluster) -> None:
    cluster.psql("CREATE SEQUENCE s; CREATE SEQUENCE t INCREMENT 2", scribe.dbname)
    scribe.run("scribe-init", "--no-base")
    with cluster.connect(scribe.dbname, autocommit=False) as conn:
        conn.execute("DROP SEQUENCE s")
        meta = json.loads(scribe.run("scribe-meta", "--stdout", timeout=20).stdout)
    found = [row for row in meta["sequences"] if row["schema"] == "public"]
    same = {"schema": "public", "data_type": "bigint", "start_value": 1, "cycle": False}
    assert found == [same | {"name": "s", "increment_by": 1}, same | {"name": "t", "increment_by": 2}]


def test_database_sql_carries_over_under_another_name(scribe: Scribe, cluster: Cluster) -> None:
    name = scribe.dbname
    cluster.psql(
        f"""CREATE ROLE "odd ""$scribe$"" {{}} %I"; CREATE ROLE clerk;
        COMMENT ON DATABASE {name} IS E'it''s 100%I \\\\ $scribe$\\nsecond {{}}';
        ALTER DATABASE {name} SET search_path = "$user", public, "odd, one";
        ALTER DATABASE {name} SET DateStyle = 'SQL, DMY';
        ALTER DATABASE {name} SET my.setting = 'a''b';
        ALTER DATABASE {name} CONNECTION LIMIT 7;
        ALTER ROLE "odd ""$scribe$"" {{}} %I" IN DATABASE {name} SET work_mem = '5MB';
        GRANT CREATE ON DATABASE {name} TO clerk; GRANT CONNECT ON DATABASE {name} TO clerk WITH GRANT OPTION;
        REVOKE TEMPORARY ON DATABASE {name} FROM PUBLIC;"""
    )
    target = f"{name}_copy"
    try:
        scribe.run("scribe-init")
        base = Archive(scribe.archive).bases()[0]
        scribe.restore_with_psql(target)
        query = (
            "SELECT datconnlimit, shobj_description(oid, 'pg_database'), ARRAY(SELECT a::text FROM unnest(datacl) AS a"
            " ORDER BY 1), ARRAY(SELECT ROW(setrole, setconfig)::text FROM pg_db_role_setting WHERE setdatabase = d.oid"
            " ORDER BY 1) FROM pg_database AS d WHERE datname = '{}'"
        )
        assert cluster.query(query.format(target))[0][2] == cluster.query(query.format(name))[0][2]
        text = (base.path / "database.sql").read_text()
        unknown = text.replace('SET "my"."setting"', 'SET "no_such_setting"', 1)
        assert "no_such_setting" in cluster.psql(unknown, target).stderr
        cluster.psql(text, target)
        assert cluster.query(query.format(target)) == cluster.query(query.format(name))
    finally:
        cluster.dropdb(target)
        cluster.psql(
            f"""ALTER DATABASE {name} CONNECTION LIMIT -1; REVOKE ALL ON DATABASE {name} FROM clerk;
            DROP ROLE clerk; DROP ROLE "odd ""$scribe$"" {{}} %I";"""
        )


@pytest.mark.parametrize("program", ["scribe-globals", "scribe-meta"])
def test_wrong_uses(scribe: Scribe, program: str) -> None:
    result = scribe.run(program, check=False)
    assert (result.returncode, "there is no archive" in result.stderr) == (2, True)
    result = scribe.run(program, "--stdout", check=False, env={"PGPORT": "1"})
    assert (result.returncode, "could not connect" in result.stderr) == (75, True)
    assert scribe.run(program, "--no-such-flag", check=False).returncode == 2
