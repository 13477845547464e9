"""Extensions: what their scripts do comes back with CREATE EXTENSION, and everything else is the user's."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cases import assert_both_restores_equal
from cluster import Cluster
from source import Scribe

SCRIPT = """
CREATE TYPE case_kind AS ENUM ('a', 'b');
CREATE TABLE case_config (id int PRIMARY KEY, v text);
INSERT INTO case_config VALUES (1, 'of the script');
SELECT pg_catalog.pg_extension_config_dump('case_config', 'WHERE id > 1');
CREATE FUNCTION case_fired() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
CREATE EVENT TRIGGER case_on_end ON ddl_command_end EXECUTE FUNCTION case_fired();
CREATE INDEX case_v ON case_config (v);
CLUSTER case_config USING case_v;
REINDEX TABLE case_config;
DO $$ BEGIN EXECUTE format('GRANT TEMP ON DATABASE %I TO PUBLIC', current_database()); END $$;
"""
UPDATE = (
    "ALTER TYPE case_kind ADD VALUE 'aa' AFTER 'a'; ALTER TABLE case_config ADD COLUMN n int;"
    "ALTER EVENT TRIGGER case_on_end ENABLE ALWAYS; CREATE FUNCTION case_more() RETURNS int LANGUAGE sql AS 'SELECT 1';"
)
LOG = """
CREATE TABLE log (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tag text);
CREATE FUNCTION log_event() RETURNS event_trigger LANGUAGE plpgsql SET search_path = public AS
    $$ BEGIN INSERT INTO log (tag) VALUES (tg_tag); END $$;
CREATE EVENT TRIGGER a_log ON ddl_command_end EXECUTE FUNCTION log_event();
"""


@pytest.fixture(scope="module")
def extension(cluster: Cluster) -> Iterator[str]:
    """The name of an extension that the cluster's server can create, in versions 1 and 2."""
    share = subprocess.check_output([cluster.pg_config, "--sharedir"], text=True).strip()
    directory = Path(share) / "extension"
    if not os.access(directory, os.W_OK):
        pytest.skip("place: the server's directory of extensions cannot be written to")
    name = f"scribe_case_{os.getpid()}"  # tests may run beside each other
    texts = {
        f"{name}.control": "default_version = '1'\nrelocatable = true\n",
        f"{name}--1.sql": SCRIPT,
        f"{name}--1--2.sql": UPDATE,
    }
    for file, text in texts.items():
        (directory / file).write_text(text)
    yield name
    for file in texts:
        (directory / file).unlink()


@pytest.mark.parametrize("logged", [False, True])
def test_rows_of_the_user_beside_a_script_are_the_users(
    scribe: Scribe, targets: tuple[str, str], extension: str, logged: bool
) -> None:
    if logged:
        scribe.cluster.psql(LOG, scribe.dbname)
    scribe.run("scribe-init")
    scribe.start_stream()
    scribe.cluster.psql(
        f"BEGIN; CREATE EXTENSION {extension}; INSERT INTO case_config VALUES (2, 'of the user');"
        "UPDATE case_config SET v = 'changed' WHERE id = 2; COMMIT;"
        f"DO $$ BEGIN DROP EXTENSION {extension}; CREATE EXTENSION {extension};"
        " INSERT INTO case_config VALUES (3, 'made again'); END $$;"
        f"INSERT INTO case_config VALUES (4, 'later'); ALTER EXTENSION {extension} UPDATE TO '2';"
        "CREATE TABLE after_it (id int PRIMARY KEY)",
        scribe.dbname,
    )
    scribe.run("scribe-rotate", "--wait-lsn", "current")
    assert_both_restores_equal(scribe, targets)


def test_a_first_statement_that_creates_an_extension(scribe: Scribe, targets: tuple[str, str], extension: str) -> None:
    scribe.run("scribe-init")
    scribe.start_stream()
    scribe.cluster.psql(f"CREATE EXTENSION {extension}", scribe.dbname)
    scribe.cluster.psql(f"ALTER EXTENSION {extension} UPDATE TO '2'", scribe.dbname)
    scribe.run("scribe-rotate", "--wait-lsn", "current")
    assert_both_restores_equal(scribe, targets)


def test_what_somebody_adds_to_an_extensions_objects_is_reported(scribe: Scribe, extension: str) -> None:
    """It is in no base: pg_dump has nothing of an extension but CREATE EXTENSION."""
    scribe.cluster.psql(f"CREATE EXTENSION {extension}; ALTER EXTENSION {extension} UPDATE TO '2'", scribe.dbname)
    check = ("scribe-init", "--check-only")
    assert "warning  extensions" not in scribe.run(*check).stdout
    scribe.cluster.psql(
        "ALTER TYPE case_kind ADD VALUE 'c'; ALTER TABLE case_config ADD COLUMN w int, ADD CHECK (w > 0)", scribe.dbname
    )
    (line,) = (line for line in scribe.run(*check).stdout.splitlines() if line.startswith("warning  extensions: "))
    assert "leaves it out: public.case_config (column w), public.case_kind (value 'c');" in line
