"""The examples in etc/offsite send an archive away while it grows, and a database comes back out of each copy."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import ROOT, Cluster
from compare import assert_equal
from source import Scribe

OFFSITE = ROOT / "etc/offsite"
TOOLS = ("copy", "rclone", "restic", "age")
pytestmark = pytest.mark.slow


class Away:
    """Where a tool's copy of the archive is, outside of the archive's own directory tree."""

    def __init__(self, tool: str, directory: Path) -> None:
        self.tool, self.directory = tool, directory
        self.store, self.key, self.public = directory / "store", directory / "key", directory / "public"

    def prepare(self) -> None:
        """Do what the tool needs once."""
        self.directory.mkdir()
        if self.tool == "restic":
            self.key.write_text("a password")
            self._run("restic", "-q", "-r", self.store, "--password-file", self.key, "init")
            return
        self.store.mkdir()
        if self.tool == "age":
            self._run("age-keygen", "-o", self.key)
            self.public.write_text(subprocess.check_output(["age-keygen", "-y", self.key], text=True))

    def _run(self, *command: object) -> None:
        subprocess.run([str(word) for word in command], check=True, capture_output=True)

    @property
    def command(self) -> str:
        """Return what belongs in SCRIBE_ARCHIVE_COMMAND."""
        arguments = {"restic": f" {self.key}", "age": f" {self.public}"}.get(self.tool, "")
        return f"{OFFSITE / self.tool} put %p %r {self.store}{arguments}"

    def fetch(self, target: Path) -> None:
        """Make a new archive directory out of the copy."""
        secret = [self.key] if self.tool in ("restic", "age") else []
        self._run(OFFSITE / self.tool, "get", self.store, *secret, target)


@pytest.fixture(scope="module")
def shipped(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Scribe, dict[str, Away]]]:
    """A source whose archive every tool of this machine has sent away."""
    directory = tmp_path_factory.mktemp("offsite")
    aways = {tool: Away(tool, directory / tool) for tool in TOOLS if tool == "copy" or shutil.which(tool)}
    for away in aways.values():
        away.prepare()
    cluster.createdb("offsite")
    source = Scribe(cluster, "offsite", directory / "archive")
    source.settings["SCRIBE_ARCHIVE_COMMAND"] = " && ".join(away.command for away in aways.values())
    try:
        cluster.psql("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'in the base')", "offsite")
        source.run("scribe-init")
        source.start_stream()
        cluster.psql("CREATE ROLE offsite_only", "offsite")  # new globals are sent, too
        for number in (2, 3):
            cluster.psql(f"INSERT INTO t VALUES ({number}, 'in a segment')", "offsite")
            said = source.run("scribe-rotate", "--wait-lsn", "current").stderr
            assert "archive command" not in said
        assert source.stop_stream() == 0
        yield source, aways
    finally:
        source.close()
        cluster.psql("DROP ROLE IF EXISTS offsite_only", "postgres")


def contents(archive: Path) -> dict[str, bytes]:
    """Return every file of an archive, its spool left out, by its path."""
    paths = {path.relative_to(archive).as_posix(): path for path in archive.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in paths.items() if not name.startswith("spool/")}


@pytest.mark.parametrize("tool", TOOLS)
def test_every_file_of_the_archive_comes_back_out_of_the_copy(tool, shipped, tmp_path):
    source, aways = shipped
    if tool not in aways:
        pytest.skip(f"place: there is no {tool} on this machine")
    aways[tool].fetch(tmp_path / "fetched")
    expected = contents(source.archive)
    assert {name.partition("/")[0] for name in expected} >= {"archive.json", "base", "globals", "incremental"}
    assert contents(tmp_path / "fetched").items() >= expected.items()


def test_a_new_host_restores_the_database_out_of_the_copy(shipped, cluster, tmp_path):
    source, aways = shipped
    fetched = Scribe(cluster, "from_copy", tmp_path / "fetched")
    aways["copy"].fetch(fetched.archive)
    try:
        fetched.run("scribe-verify")
        fetched.run("scribe-restore", "-d", fetched.dbname)
        assert_equal(cluster.dump(source.dbname), cluster.dump(fetched.dbname))
    finally:
        cluster.dropdb(fetched.dbname)


@pytest.mark.parametrize("tool", ["rclone", "restic", "age"])
def test_what_cannot_be_sent_is_a_failure(tool, shipped, tmp_path):
    source, aways = shipped
    if tool not in aways:
        pytest.skip(f"place: there is no {tool} on this machine")
    away = Away(tool, tmp_path / tool)  # was never prepared
    path = source.archive / "archive.json"
    line = away.command.replace("%p", str(path)).replace("%r", "archive.json").replace(str(away.store), "/proc/none")
    assert subprocess.run(["sh", "-c", line], capture_output=True, check=False).returncode > 0


def test_a_directory_that_is_not_mounted_is_no_success(shipped, tmp_path):
    source, aways = shipped
    path, away = source.archive / "archive.json", tmp_path / "not-mounted"
    commands = [[OFFSITE / "copy", "put", path, "archive.json", away]]
    if "age" in aways:
        commands.append([OFFSITE / "age", "put", path, "archive.json", away, aways["age"].public])
        commands.append([OFFSITE / "age", "get", away, aways["age"].key, tmp_path / "fetched"])
    for command in commands:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == 1 and "is the file system mounted?" in result.stderr


def test_age_writes_nothing_beside_the_directory_whatever_the_names_in_the_store(shipped, tmp_path):
    _, aways = shipped
    if "age" not in aways:
        pytest.skip("place: there is no age on this machine")
    (tmp_path / "store").mkdir()
    public = aways["age"].public
    subprocess.run([OFFSITE / "age", "put", public, " blank", tmp_path / "store", public], check=True)
    (tmp_path / "store/x\n..").mkdir()
    for copy in ("y.age", "store/x\n../y.age"):  # each line of the name is a path of its own
        shutil.copy(tmp_path / "store/ blank.age", tmp_path / copy)
    subprocess.run([OFFSITE / "age", "get", tmp_path / "store", aways["age"].key, tmp_path / "to"], check=True)
    assert contents(tmp_path / "to") == dict.fromkeys([" blank", "x\n../y"], aways["age"].public.read_bytes())
    assert not (tmp_path / "y").exists()


def test_rclone_sends_nothing_where_it_cannot_see_whose_archive_is_there(shipped):
    _, aways = shipped
    if "rclone" not in aways:
        pytest.skip("place: there is no rclone on this machine")
    command = [OFFSITE / "rclone", "put", "/dev/null", "archive.json", "no-such-remote:shop"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode, "could not see whether" in result.stderr) == (1, True)


@pytest.fixture
def other(shipped, tmp_path) -> Path:
    """archive.json of another database's archive."""
    source, _ = shipped
    (tmp_path / "other").mkdir()
    path = tmp_path / "other/archive.json"
    path.write_text((source.archive / "archive.json").read_text().replace('"offsite"', '"another"'))
    return path


@pytest.mark.parametrize("tool", ["copy", "rclone", "age"])
def test_two_archives_are_not_mixed_in_one_place(tool, shipped, other):
    _, aways = shipped
    if tool not in aways:
        pytest.skip(f"place: there is no {tool} on this machine")
    line = aways[tool].command.replace("%p", str(other)).replace("%r", "archive.json")
    result = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
    assert (result.returncode, "holds another database's archive" in result.stderr) == (1, True)


def test_restic_fetches_the_archive_that_is_named(shipped, other, tmp_path):
    source, aways = shipped
    if "restic" not in aways:
        pytest.skip("place: there is no restic on this machine")
    away = aways["restic"]
    line = away.command.replace("%p", str(other)).replace("%r", "archive.json")
    subprocess.run(["sh", "-c", line], check=True, capture_output=True)  # the last one sent
    command = [OFFSITE / "restic", "get", away.store, away.key, tmp_path / "fetched"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode, "more than one archive" in result.stderr) == (1, True)
    name = next(word for word in result.stderr.split() if word.startswith("offsite-"))
    subprocess.run([*command, name], check=True, capture_output=True)
    assert (tmp_path / "fetched/archive.json").read_bytes() == (source.archive / "archive.json").read_bytes()
