"""Extensions: their tables that a dump leaves out, update scripts, versions, and those that are refused.

The extensions here are made for the test; tests/extensions has real ones.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cases import assert_both_restores_equal
from cluster import Cluster
from source import Scribe

CONTROL = "default_version = '1.0'\nrelocatable = true\n"
INSTALL = """
CREATE TABLE references_of_mine (id int PRIMARY KEY, own boolean DEFAULT false, v text);
INSERT INTO references_of_mine VALUES (1, true, 'one'), (2, true, 'two'), (3, true, E'a''b\\nc');
SELECT pg_catalog.pg_extension_config_dump('references_of_mine', 'WHERE NOT own');
CREATE TABLE settings_of_mine (id int PRIMARY KEY, v text);
SELECT pg_catalog.pg_extension_config_dump('settings_of_mine', '');
CREATE TABLE node_of_mine (id int PRIMARY KEY, v text);
"""
UPDATE = "UPDATE settings_of_mine SET v = v || ' updated'; INSERT INTO settings_of_mine VALUES (7, 'by the script');"


@pytest.fixture
def mine(cluster: Cluster) -> Iterator[Path]:
    """The directory of the server's extensions, with one of ours that has the versions 1.0 and 1.1."""
    sharedir = subprocess.check_output([cluster.pg_config, "--sharedir"], text=True).strip()
    directory = Path(sharedir, "extension")
    if not os.access(directory, os.W_OK):
        pytest.skip("place: the server's extensions cannot be added to here")
    names = {"mine.control": CONTROL, "mine--1.0.sql": INSTALL, "mine--1.0--1.1.sql": UPDATE}
    for name, text in names.items():
        (directory / name).write_text(text)
    yield directory
    for name in names:
        (directory / name).unlink()


def test_rows_that_a_dump_leaves_out_stand_in_a_base(scribe: Scribe, targets: tuple[str, str], mine: Path) -> None:
    """Deleted, changed and added ones of the script's own, before and after."""
    before = "CREATE EXTENSION mine; DELETE FROM references_of_mine WHERE id = 1;"
    scribe.cluster.psql(before + "UPDATE references_of_mine SET v = 'changed' WHERE id = 2", scribe.dbname)
    scribe.run("scribe-init")
    scribe.start_stream()
    after = "INSERT INTO references_of_mine VALUES (1, true, 'again'), (9, false, 'mine');"
    scribe.cluster.psql(after + "UPDATE references_of_mine SET v = 'more' WHERE id = 2", scribe.dbname)
    scribe.cluster.psql("DELETE FROM references_of_mine WHERE id = 3", scribe.dbname)
    scribe.run("scribe-rotate", "--wait-lsn", "current")
    assert_both_restores_equal(scribe, targets)


def test_rows_that_no_dump_has_are_not_in_the_stream(scribe: Scribe, mine: Path) -> None:
    """A copy has none, so none can be changed in it."""
    scribe.cluster.psql("CREATE EXTENSION mine; INSERT INTO node_of_mine VALUES (1, 'x')", scribe.dbname)
    scribe.run("scribe-init")
    scribe.start_stream()
    scribe.cluster.psql("UPDATE node_of_mine SET v = 'y'; DELETE FROM node_of_mine", scribe.dbname)
    scribe.cluster.psql("INSERT INTO settings_of_mine VALUES (1, 'kept')", scribe.dbname)
    scribe.run("scribe-rotate", "--wait-lsn", "current")
    copy = f"{scribe.dbname}_copy"
    try:
        scribe.run("scribe-restore", "-d", copy, "--no-globals")
        assert scribe.cluster.query("SELECT * FROM node_of_mine", copy) == []
        assert scribe.cluster.query("SELECT * FROM settings_of_mine", copy) == [(1, "kept")]
    finally:
        scribe.cluster.dropdb(copy)


def test_what_an_update_script_does_to_rows_comes_from_the_source(scribe: Scribe, mine: Path) -> None:
    """The copy may be of the new version from its beginning, or have no newer one."""
    cluster, dbname, copy = scribe.cluster, scribe.dbname, f"{scribe.dbname}_copy"
    cluster.psql("CREATE EXTENSION mine; INSERT INTO settings_of_mine VALUES (1, 'one')", dbname)
    scribe.run("scribe-init")
    scribe.start_stream()
    cluster.psql("ALTER EXTENSION mine UPDATE TO '1.1'; UPDATE settings_of_mine SET v = 'last' WHERE id = 7", dbname)
    scribe.run("scribe-rotate", "--wait-lsn", "current")
    control = mine / "mine.control"
    try:
        for version in ("1.0", "1.1"):
            control.write_text(CONTROL.replace("1.0", version))
            said = scribe.run("scribe-restore", "-d", copy, "--no-globals").stderr
            assert ('extension "mine" is 1.0 in the source and will be 1.1 in the target' in said) == (version == "1.1")
            assert sorted(cluster.query("SELECT * FROM settings_of_mine", copy)) == [(1, "one updated"), (7, "last")]
            cluster.dropdb(copy)
    finally:
        cluster.dropdb(copy)


def test_a_copy_gets_the_version_that_the_source_made_if_it_can(scribe: Scribe, mine: Path) -> None:
    scribe.run("scribe-init")
    scribe.start_stream()
    scribe.cluster.psql("CREATE EXTENSION mine -- the first\n", scribe.dbname)
    scribe.run("scribe-rotate", "--wait-lsn", "current")
    (mine / "mine.control").write_text(CONTROL.replace("1.0", "1.1"))
    copy = f"{scribe.dbname}_copy"
    try:
        scribe.run("scribe-restore", "-d", copy, "--no-globals")
        assert scribe.cluster.value("SELECT extversion FROM pg_extension WHERE extname = 'mine'", copy) == "1.0"
    finally:
        scribe.cluster.dropdb(copy)


def test_an_extension_that_the_target_lacks_stops_a_restore_before_it_begins(scribe: Scribe, mine: Path) -> None:
    scribe.cluster.psql("CREATE EXTENSION mine", scribe.dbname)
    scribe.run("scribe-init")
    control = mine / "mine.control"
    control.unlink()
    try:
        found = scribe.run("scribe-restore", "-d", "nowhere", "--no-globals", check=False)
    finally:
        control.write_text(CONTROL)
    assert found.returncode == 1
    assert "the target's server lacks extensions that the source has: mine" in found.stderr
    assert scribe.cluster.query("SELECT 1 FROM pg_database WHERE datname = 'nowhere'") == []
