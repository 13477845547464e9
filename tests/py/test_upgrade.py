"""A source that pg_upgrade has brought to a newer version: what the programs say of it, and the new chain.

Takes two versions on one machine: PG_CONFIG_OLD names the older one, PG_CONFIG the newer one. The correctness cases are
restored into each of PG_CONFIGS_NEWER, if that is set (make check-upgrades).
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cases import CASES, play_case
from cluster import Cluster, find_pg_config, install_decoder
from compare import DUMP_OPTIONS, State, assert_equal, dump_state
from source import Scribe
from test_runbook import play

from scribe.common.dialect import quote_identifier
from scribe.common.postgres import major_of_server

OLD = os.environ.get("PG_CONFIG_OLD")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not OLD, reason="place: PG_CONFIG_OLD does not name an older version"),
]

_NAME = r'(?:\w+|"(?:[^"]|"")+")'
_NOTED = re.compile(
    rf"ALTER (?:FOREIGN )?TABLE ONLY {_NAME}\.{_NAME} ALTER COLUMN {_NAME} SET \(pg_attver=[^,)]*\);\n"
    r"|pg_attver=[^,)]*, |, pg_attver=[^,)]*"
)
_POLICY_ROLES = re.compile(rf"(?<= TO ){_NAME}(?:, {_NAME})+(?= USING | WITH CHECK |;)")
_LSN = re.compile(r"(?<=\t)[0-9A-F]+/[0-9A-F]{1,8}(?=\t|$)")
_NAMED_NOT_NULL = re.compile(rf" CONSTRAINT {_NAME} NOT NULL")

_IN_A_QUERY = re.compile(rf'(?<![\w".]){_NAME}\.(?={_NAME})')
_TABLE_PRIVILEGES = re.compile(r"\A(GRANT|REVOKE) ([A-Z,]+)(?= ON TABLE )")
_ALL_BUT_MAINTAIN = {"SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER"}

LINE_BREAKS = "SELECT rolname FROM pg_roles WHERE rolname ~ '[\n\r]'"  # what 19 refuses, see docs/versions.md

# Up to 16 a partition does not have the identity of its parent, from 17 on it does.
PARTITIONS = """
CREATE TABLE numbered (id int GENERATED ALWAYS AS IDENTITY, k int, PRIMARY KEY (id, k)) PARTITION BY LIST (k);
CREATE TABLE numbered_1 PARTITION OF numbered FOR VALUES IN (1);
INSERT INTO numbered (k) VALUES (1);
"""


class Upgraded:
    """The source before and after; its archive was made before."""

    def __init__(self, directory: Path) -> None:
        assert OLD
        self.old, self.new = Cluster(OLD), Cluster(find_pg_config())
        self.before = Scribe(self.old, "shop", directory / "archive")
        self.after = Scribe(self.new, "shop", directory / "archive")
        self.fresh = Scribe(self.new, "shop", directory / "second")

    def make_source(self) -> None:
        """Make a source of the older version with an archive."""
        for cluster in (self.old, self.new):
            install_decoder(cluster.pg_config)
        old, before = self.old.create(), self.before
        old.createdb("shop")
        old.psql("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'in the base')", "shop")
        old.psql(PARTITIONS, "shop")
        before.run("scribe-init")
        before.start_stream()
        old.psql("INSERT INTO t VALUES (2, 'in a segment'); ALTER TABLE t ADD COLUMN w int DEFAULT 7", "shop")
        old.psql("INSERT INTO numbered (k) VALUES (1), (1); UPDATE numbered SET id = DEFAULT WHERE id = 1", "shop")
        before.run("scribe-rotate", "--wait-lsn", "current")

    def upgrade(self) -> None:
        """Stop the older server and bring its data to the newer one, which runs then."""
        self.old.stop()  # while the stream runs, so that the slot, if it is there, has consumed everything
        if self.before.streams:
            assert self.before.stop_stream() == 0
        if int(new_major(OLD)) < 18 <= int(new_major(self.new.pg_config)):  # whose initdb switches checksums on
            self.old.server_program("pg_checksums", "--enable", "-D", self.old.data)
        new = self.new.create()
        plugins = "pgoutput, test_decoding, scribe_decoder"
        if new.query("SELECT 1 FROM pg_settings WHERE name = 'output_plugin_libraries'"):
            new.query(f"ALTER SYSTEM SET output_plugin_libraries = {plugins}")
        new.stop()
        self._upgrade()
        new.start()

    def remove(self) -> None:
        """End and remove everything but the archives."""
        for scribe in (self.before, self.after, self.fresh):
            scribe.kill_streams()
        self.old.remove()
        self.new.remove()

    def _upgrade(self) -> None:
        old, new = self.old, self.new
        arguments = ["-b", old.bindir, "-B", new.bindir, "-d", old.data, "-D", new.data, "-U", "postgres"]
        command = [f"{new.bindir}/pg_upgrade", *map(str, arguments), "--socketdir", new.host, "--no-sync"]
        identity = (
            ["setpriv", f"--reuid={new.user.pw_uid}", f"--regid={new.user.pw_gid}", "--clear-groups"]
            if new.user
            else []
        )
        env = {key: value for key, value in new.env.items() if not key.startswith("PG")} | {"LC_ALL": "C"}
        result = subprocess.run(
            [*identity, *command], cwd=new.directory, env=env, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stdout + result.stderr


@pytest.fixture(scope="module")
def upgraded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upgraded]:
    """The source after pg_upgrade, with slot and capture still there when it was run."""
    pair = Upgraded(tmp_path_factory.mktemp("upgrade"))
    try:
        pair.make_source()
        pair.upgrade()
        yield pair
    finally:
        pair.remove()


def test_the_runbooks_way_through_an_upgrade(tmp_path):
    pair = Upgraded(tmp_path)
    try:
        pair.make_source()
        assert pair.before.stop_stream() == 0
        play("docs/runbook.md", pair.before.env, tmp_path, "upgrading")
        pair.upgrade()
        play("docs/runbook.md", pair.after.env, tmp_path, "upgraded")
    finally:
        pair.remove()


@pytest.mark.parametrize("program", ["scribe-init", "scribe-stream", "scribe-rotate", "scribe-dump"])
def test_the_old_archive_is_refused_with_the_next_step(program, upgraded):
    result = upgraded.after.run(program, check=False)
    assert result.returncode == 2
    assert "the archive belongs to another server" in result.stderr
    assert 'set SCRIBE_ARCHIVE to a new directory and run "scribe-init"' in result.stderr


def test_the_old_archive_restores_to_the_new_version(upgraded):
    upgraded.after.run("scribe-restore", "-d", "from_old")
    assert_equal(upgraded.new.dump("shop"), upgraded.new.dump("from_old"))


def test_a_new_archive_goes_on_with_a_slot_and_capture_that_work(upgraded):
    fresh, new = upgraded.fresh, upgraded.new
    kept = new.query("SELECT slot_name FROM pg_replication_slots")
    assert bool(kept) == (int(new_major(OLD)) >= 17)
    if kept:  # PostgreSQL 17 and newer keep the slot, whose place in the old archive nobody can go on from
        result = fresh.run("scribe-init", check=False)
        assert result.returncode == 2 and "pg_drop_replication_slot('scribe_shop')" in result.stderr
        new.query("SELECT pg_drop_replication_slot('scribe_shop')")
    fresh.run("scribe-init")
    fresh.start_stream()
    new.psql("ALTER TABLE t ADD COLUMN later text; INSERT INTO t VALUES (3, 'after', 8, 'x')", "shop")
    fresh.run("scribe-rotate", "--wait-lsn", "current")
    assert fresh.stop_stream() == 0
    fresh.run("scribe-restore", "-d", "from_new")
    assert_equal(new.dump("shop"), new.dump("from_new"))


def new_major(pg_config: str | None) -> str:
    """Return the major version that a pg_config belongs to."""
    text = subprocess.check_output([str(pg_config), "--version"], text=True)
    return str(major_of_server(text.split()[1]))


@pytest.fixture(scope="module")
def servers() -> Iterator[list[Cluster]]:
    """A server of the older version, and one of each newer one."""
    clusters = [Cluster(name) for name in (OLD, *(os.environ.get("PG_CONFIGS_NEWER") or find_pg_config()).split())]
    try:
        for cluster in clusters:
            install_decoder(cluster.pg_config)
            cluster.create()
        yield clusters
    finally:
        for cluster in clusters:
            cluster.remove()


def _sorted_names(found: re.Match[str]) -> str:
    return ", ".join(sorted(re.findall(_NAME, found[0])))


def _padded(found: re.Match[str]) -> str:
    high, _, low = found[0].partition("/")
    return f"{high}/{low:>08}"


def _without_tables(line: str) -> str:
    return _IN_A_QUERY.sub("", line) if line.startswith(" ") else line


def _without_maintain(found: re.Match[str]) -> str:
    words = set(found[2].split(",")) - {"MAINTAIN"}
    return f"{found[1]} {'ALL' if words == _ALL_BUT_MAINTAIN else ','.join(sorted(words))}"


def states_of(old: Cluster, new: Cluster, dbname: str, target: str) -> tuple[State, State]:
    """Return a source's state and its copy's, as the newer pg_dump prints them, without what the versions print unlike:

    - what 17.12 notes in the options of columns, which only its own pg_dump leaves out;
    - the roles of a policy, which pg_dump prints in the order of their OIDs;
    - names of NOT NULL constraints, which a server has from 18 on: a partition gets those of its parent;
    - values of pg_lsn, which have leading zeros from 19 on;
    - columns in queries, which have their table's name before 16 even if there is only one table;
    - that a subscription runs as its owner, as it does before 16, which pg_dump says of an older server from 16 on;
    - the privilege MAINTAIN, which the owner of a table has from 17 on.
    """
    with old.connect(dbname, options=DUMP_OPTIONS) as conn:
        source = dump_state(conn, f"{new.bindir}/pg_dump", old.env | {"PGDATABASE": dbname, "PGCLIENTENCODING": "UTF8"})
    copy = new.dump(target)
    source["schema"] = _NOTED.sub("", "\n".join(source["schema"])).splitlines()
    for state in (source, copy):
        state["schema"] = [_POLICY_ROLES.sub(_sorted_names, line) for line in state["schema"]]
        for key in [key for key in state if key.startswith("rows of ")]:
            state[key] = [_LSN.sub(_padded, line) for line in state[key]]
    majors = int(new_major(old.pg_config)), int(new_major(new.pg_config))
    for state in (source, copy):
        if majors[0] < 16 <= majors[1]:
            state["schema"] = [_without_tables(line.replace(", run_as_owner = true", "")) for line in state["schema"]]
        if majors[0] < 17 <= majors[1]:
            state["schema"] = [_TABLE_PRIVILEGES.sub(_without_maintain, line) for line in state["schema"]]
        if majors[0] < 18 <= majors[1]:
            state["schema"] = [_NAMED_NOT_NULL.sub(" NOT NULL", line) for line in state["schema"]]
    return source, copy


@pytest.mark.skipif(os.environ.get("PG_SCRIBE_ALL_CASES") != "1", reason="place: PG_SCRIBE_ALL_CASES is not set")
@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_an_archive_of_the_old_version_restores_equal_into_the_new_one(case, servers, tmp_path):
    old, *newer = servers
    name = f"case_{case.stem}"[:50]
    before = Scribe(old, name, tmp_path / "archive")
    old.createdb(name)
    try:
        play_case(case, before)
        assert before.stop_stream() == 0
        for new in newer:
            after = Scribe(new, name, tmp_path / "archive")
            major = new_major(new.pg_config)
            if new.version_num >= 190000 and old.query(LINE_BREAKS):
                result = after.run("scribe-restore", "-d", f"{name}_restore", check=False)
                assert result.returncode == 2 and "takes no name with a line break" in result.stderr
                continue
            if case.stem == "nulls_where_a_parent_has_none" and old.version_num < 180000 <= new.version_num:
                result = after.run("scribe-restore", "-d", f"{name}_restore", check=False)
                assert result.returncode == 1 and "violates not-null constraint" in result.stderr
                continue
            after.run("scribe-restore", "-d", f"{name}_restore", env={"PGUSER": "postgres"})
            assert_equal(*states_of(old, new, name, f"{name}_restore"), ("source", f"scribe-restore into {major}"))
            after.restore_with_psql(f"{name}_psql")
            assert_equal(*states_of(old, new, name, f"{name}_psql"), ("source", f"psql alone into {major}"))
    finally:
        before.close()
        old.dropdb(name)
        for (role,) in old.query(LINE_BREAKS):
            old.query(f"DROP ROLE {quote_identifier(role)}")
        for new in newer:
            for target in (f"{name}_restore", f"{name}_psql"):
                new.dropdb(target)
