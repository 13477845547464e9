"""Fixtures: one private cluster for the session, and a database with its archive for each test that asks for one.

With PG_SCRIBE_CI=1 a skipped test is a failed one unless its reason begins with a word of ALLOWED_SKIPS.
"""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
import time
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from checking import PROMPT
from cluster import Cluster, install_decoder, short_place
from restoring import Target
from source import Scribe
from undoing import Undone

# Reasons that say nothing is missing from this machine.
ALLOWED_SKIPS = ("server version:", "not root:", "place:")
# What "make check-quick" takes, besides what is marked as unit; the rest is slow and runs last.
QUICK_MODULES = ("test_compare", "test_metadata", "test_rotation", "test_spool")
QUICK_CASES = ("full_identity_duplicates", "hostile_names", "key_updates", "toast", "transactions", "values")
_numbers = itertools.count(1)


def is_slow(item: pytest.Item) -> bool:
    """Say whether a test takes part in the long run only."""
    if item.get_closest_marker("unit") or item.get_closest_marker("slow"):
        return item.get_closest_marker("slow") is not None
    if item.path.stem == "test_correctness" and isinstance(item, pytest.Function):
        return item.callspec.id not in QUICK_CASES
    return item.path.stem not in QUICK_MODULES


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the slow tests and put them last."""
    for item in filter(is_slow, items):
        item.add_marker("slow")
    items.sort(key=is_slow)


def remove_old_clusters() -> None:
    """Remove what failed runs of an hour ago and earlier have kept."""
    for mark in Path(short_place()).glob("scr*/kept"):
        if mark.stat().st_mtime < time.time() - 3600:
            shutil.rmtree(mark.parent, ignore_errors=True)


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """The session's cluster. Its files stay, and their place is printed, when a test failed."""
    remove_old_clusters()
    private = Cluster()
    install_decoder(private.pg_config)
    try:
        yield private.create()
    finally:
        failed = request.session.testsfailed > 0
        private.remove(keep_files=failed)
        if failed:
            (private.directory / "kept").touch()
            print(f"\nthe server's files are kept in {private.directory} until a run an hour from now or later")


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    """Give the next test the umask that this one had: a program that is run within the process changes it."""
    before = os.umask(0o022)
    os.umask(before)
    yield
    os.umask(before)


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory with a short name that every user may pass through."""
    with tempfile.TemporaryDirectory(dir=short_place(), prefix="scr") as name:
        os.chmod(name, 0o755)
        yield Path(name)


@pytest.fixture
def database(cluster: Cluster) -> Iterator[str]:
    """An empty database, dropped afterwards."""
    name = f"db{next(_numbers)}"
    cluster.createdb(name)
    yield name
    cluster.dropdb(name)


@pytest.fixture
def scribe(cluster: Cluster, tmp_path: Path) -> Iterator[Scribe]:
    """An empty source database with an archive directory that does not exist yet; nothing is initialised."""
    name = f"src{next(_numbers)}"
    cluster.createdb(name)
    private = Scribe(cluster, name, tmp_path / "archive")
    yield private
    private.close()


@pytest.fixture
def targets(scribe: Scribe) -> Iterator[tuple[str, str]]:
    """Names of two databases to restore the source into, by scribe-restore and by psql alone; dropped afterwards."""
    names = (f"{scribe.dbname}_restore", f"{scribe.dbname}_psql")
    yield names
    for name in names:
        scribe.cluster.dropdb(name)


@pytest.fixture
def target(cluster: Cluster, tmp_path: Path) -> Iterator[Target]:
    """An empty hand-made archive and the name of a database that does not exist yet."""
    made = Target(cluster, tmp_path / "archive")
    yield made
    cluster.dropdb(made.name)


@pytest.fixture
def undone(cluster: Cluster, tmp_path: Path) -> Iterator[Undone]:
    """A hand-made archive for scribe-undo, and the name of a database that does not exist yet."""
    made = Undone(cluster, tmp_path / "archive")
    yield made
    cluster.dropdb(made.name)
    for role in made.roles:
        cluster.psql(f"DROP ROLE IF EXISTS {role}")


@pytest.fixture(scope="module")
def watched(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scribe]:
    """A source with a table, its archive, and a running stream. Each test leaves it healthy."""
    cluster.createdb("watched")
    scribe = Scribe(cluster, "watched", tmp_path_factory.mktemp("watched") / "archive", PROMPT)
    cluster.psql("CREATE TABLE item (id int PRIMARY KEY, word text); INSERT INTO item VALUES (1, 'one')", "watched")
    scribe.run("scribe-init")
    scribe.start_stream()
    cluster.psql("UPDATE item SET word = 'two'", "watched")
    scribe.run("scribe-rotate", "--wait-lsn", "current")
    yield scribe
    scribe.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip nobody expects into a failure, where that is asked for."""
    report = yield
    if os.environ.get("PG_SCRIBE_CI") == "1" and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not reason.removeprefix("Skipped: ").startswith(ALLOWED_SKIPS):
            report.outcome = "failed"
            report.longrepr = f"skipped, and no skip is expected here: {reason}"
    return report
