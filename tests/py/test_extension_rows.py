"""Extensions: what their scripts do comes back with CREATE EXTENSION, and everything else is the user's."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cases import assert_both_restores_equal
from cluster import Cluster
from compare import assert_equal
from source import Scribe

SCRIPT = """
CREATE TYPE case_kind AS ENUM ('a', 'b');
CREATE TABLE case_config (id int PRIMARY KEY, v text);
INSERT INTO case_config VALUES (1, 'of the script');
SELECT pg_catalog.pg_extension_config_dump('case_config', 'WHERE id > 1');
CREATE TABLE case_own (id int PRIMARY KEY, v text);
INSERT INTO case_own VALUES (1, NULL);
CREATE VIEW case_view AS SELECT id, v FROM case_config;
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
# What somebody may hang on what belongs to an extension; names and texts that have to be quoted.
HUNG = r"""
CREATE TABLE referred (id int PRIMARY KEY); INSERT INTO referred VALUES (1), (2);
CREATE FUNCTION hung() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE INDEX "it's \x $scribe$" ON case_config (lower(v)) WHERE v <> E'it''s \\';
COMMENT ON INDEX "it's \x $scribe$" IS E'it''s an index\\';
CREATE UNIQUE INDEX full_key ON case_config (id, v) INCLUDE (v);
ALTER TABLE case_config CLUSTER ON full_key, SET (fillfactor = 60, autovacuum_enabled = off);
ALTER TABLE case_config ADD CONSTRAINT positive CHECK (id > 0), ADD CONSTRAINT "of one" UNIQUE (id, v),
    ADD CONSTRAINT known FOREIGN KEY (id) REFERENCES referred ON DELETE CASCADE NOT VALID,
    ADD CONSTRAINT apart EXCLUDE (id WITH =), ALTER v SET DEFAULT 'it''s', ALTER v SET NOT NULL,
    ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE TRIGGER before_it BEFORE UPDATE OF v ON case_config FOR EACH ROW WHEN (old.v <> new.v) EXECUTE FUNCTION hung();
CREATE TRIGGER "off" AFTER INSERT ON case_config FOR EACH ROW EXECUTE FUNCTION hung();
ALTER TABLE case_config DISABLE TRIGGER "off", ENABLE ALWAYS TRIGGER before_it;
COMMENT ON TRIGGER "off" ON case_config IS 'off';
ALTER VIEW case_view SET (security_barrier);
CREATE TRIGGER instead INSTEAD OF INSERT ON case_view FOR EACH ROW EXECUTE FUNCTION hung();
CREATE RULE "a rule" AS ON DELETE TO case_config WHERE old.v = 'kept' DO INSTEAD NOTHING;
CREATE POLICY "some" ON case_config AS RESTRICTIVE FOR UPDATE TO "case reader" USING (id > 1) WITH CHECK (v <> '');
CREATE POLICY "all" ON case_config;
CREATE STATISTICS "both of it" ON id, v FROM case_config;
COMMENT ON TABLE case_config IS 'it''s ours'; COMMENT ON COLUMN case_config.v IS 'a column';
COMMENT ON VIEW case_view IS 'a view';
ALTER TABLE case_config REPLICA IDENTITY FULL;
"""
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


@pytest.mark.parametrize(("form", "at_once"), [("plain", False), ("directory", True)])
def test_what_somebody_hangs_on_an_extensions_tables_is_in_a_base(
    scribe: Scribe, targets: tuple[str, str], extension: str, form: str, at_once: bool
) -> None:
    """pg_dump has none of it, on either side."""
    cluster = scribe.cluster

    def described(database: str) -> str:
        command = [f"{cluster.bindir}/psql", "-Xq", "-d", database]
        for words in (r"\d+ case_config", r"\d+ case_view", r"\dd"):
            command += ["-c", words]
        for words in ("indisclustered FROM pg_index WHERE indrelid", "convalidated FROM pg_constraint WHERE conrelid"):
            command += ["-c", f"SELECT {words} = 'case_config'::regclass ORDER BY 1"]
        return subprocess.run(command, env=cluster.env, capture_output=True, text=True, check=True).stdout

    scribe.settings["SCRIBE_DUMP_FORMAT"] = form
    create = f"CREATE EXTENSION {extension};"
    cluster.psql(create, scribe.dbname)
    plain = described(scribe.dbname)
    cluster.psql('CREATE ROLE "case reader"', scribe.dbname)
    try:
        row = "INSERT INTO case_config VALUES (2, 'of the user');"
        one = f"DROP EXTENSION {extension}; BEGIN; {create} {row} {HUNG} COMMIT"
        cluster.psql(one if at_once else row + HUNG, scribe.dbname)
        scribe.run("scribe-init")
        scribe.start_stream()
        cluster.psql("UPDATE case_config SET v = v || '.'", scribe.dbname)
        scribe.run("scribe-rotate", "--wait-lsn", "current")
        expected = described(scribe.dbname)
        assert expected.count("\n") > plain.count("\n") + 10
        scribe.run("scribe-restore", "-d", targets[0], "--no-globals")
        copies = targets[:1]
        if form == "plain":
            scribe.restore_with_psql(targets[1])
            copies = targets
        for copy in copies:
            assert described(copy) == expected
            assert_equal(cluster.dump(scribe.dbname), cluster.dump(copy), ("source", copy))
        scribe.stop_stream()
    finally:
        for database in (scribe.dbname, *targets):
            cluster.psql('DROP OWNED BY "case reader"', database, check=False)
        cluster.psql('DROP ROLE "case reader"')


@pytest.mark.parametrize("form", ["plain", "directory"])
def test_what_a_copy_refuses_there_is_left_out_with_a_warning(
    scribe: Scribe, targets: tuple[str, str], extension: str, form: str
) -> None:
    """Rows of a table that the extension has not registered are in no dump, so its own are there.

    What its owner, who may be anybody, has added to the extension itself is in no dump either, however much it is.
    """
    cluster = scribe.cluster
    labels = ", ".join(f"'{number}'" for number in range(1100))
    cluster.psql(
        f"CREATE EXTENSION {extension}; UPDATE case_own SET v = 'x'; ALTER TABLE case_own ALTER v SET NOT NULL;"
        f"CREATE INDEX hung ON case_own (v); CREATE TYPE his AS ENUM ({labels}); CREATE TABLE hers (a his);"
        f"ALTER EXTENSION {extension} ADD TYPE his; ALTER EXTENSION {extension} ADD TABLE hers;"
        "ALTER TYPE his ADD VALUE 'b'; ALTER TABLE hers ADD COLUMN b int; CREATE INDEX of_hers ON hers (b)",
        scribe.dbname,
    )
    scribe.run("scribe-init", env={"SCRIBE_DUMP_FORMAT": form})
    (manifest,) = scribe.archive.glob("base/*/manifest.json")
    warned = json.loads(manifest.read_text())["warnings"]
    assert (len(warned), warned[-1][-18:]) == (1001, " more are left out") if form == "directory" else len(warned) < 9
    said = scribe.run("scribe-restore", "-d", targets[0], "--no-globals").stderr
    lines = [line for line in said.splitlines() if line.startswith("scribe-restore: warning: left out, since ")]
    wanted = ["ALTER COLUMN v SET NOT NULL", '"public.hers" does not exist: CREATE INDEX of_hers']
    wanted += ["the values of type public.his", 'hers ADD COLUMN IF NOT EXISTS "b"'] if form == "plain" else []
    for words in wanted:
        assert sum(words in line for line in lines) == 1, said
    assert cluster.query("SELECT to_regclass('hung') IS NOT NULL", targets[0]) == [(True,)]


ADDED = r"""
ALTER TYPE case_kind ADD VALUE 'c'; ALTER TYPE case_kind ADD VALUE E'it''s \\ "first"' BEFORE 'a';
ALTER TYPE case_kind RENAME VALUE 'b' TO 'B''s'; ALTER TYPE case_kind ADD VALUE 'between' AFTER 'a';
ALTER TYPE case_kind ADD VALUE 'after it' AFTER 'between';
ALTER TABLE case_config ADD COLUMN kind case_kind DEFAULT 'c', ADD COLUMN "it's" varchar(9)[] NOT NULL DEFAULT '{}';
CREATE TABLE of_kinds (id int PRIMARY KEY, kind case_kind DEFAULT 'between', CHECK (kind <> 'after it'));
INSERT INTO of_kinds VALUES (1, E'it''s \\ "first"'), (2, 'c'), (3, 'between'), (5, 'B''s');
INSERT INTO case_config VALUES (2, 'of the user', 'c', '{a,b}');
"""


def test_what_somebody_adds_to_an_extensions_objects_is_in_a_plain_base(
    scribe: Scribe, targets: tuple[str, str], extension: str
) -> None:
    """pg_dump has nothing of an extension but CREATE EXTENSION, and rows may need it."""
    cluster = scribe.cluster
    cluster.psql(f"CREATE EXTENSION {extension}", scribe.dbname)
    for statement in ADDED.split(";"):
        cluster.psql(statement, scribe.dbname)
    assert "warning  extensions" not in scribe.run("scribe-init", "--check-only").stdout
    scribe.run("scribe-init")
    scribe.start_stream()
    cluster.psql("INSERT INTO of_kinds VALUES (4, 'a')", scribe.dbname)
    scribe.run("scribe-rotate", "--wait-lsn", "current")
    assert_both_restores_equal(scribe, targets)
    columns = (
        "SELECT attname, format_type(atttypid, atttypmod), attnotnull, pg_get_expr(adbin, adrelid) FROM pg_attribute"
        " LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum"
        " WHERE attrelid = 'case_config'::regclass AND attnum > 0 ORDER BY attnum"
    )
    for query in ("SELECT enum_range(NULL::case_kind)", columns):
        assert len({str(cluster.query(query, database)) for database in (scribe.dbname, *targets)}) == 1
    scribe.run("scribe-dump", env={"SCRIBE_DUMP_FORMAT": "directory"})
    said = scribe.run("scribe-check", "--only", "ddl", check=False).stdout
    assert "WARNING" in said and "of type public.case_kind is in no such base" in said


def test_what_somebody_adds_and_no_base_has_is_reported(scribe: Scribe, extension: str) -> None:
    scribe.cluster.psql(f"CREATE EXTENSION {extension}; ALTER EXTENSION {extension} UPDATE TO '2'", scribe.dbname)
    check = ("scribe-init", "--check-only")
    assert "warning  extensions" not in scribe.run(*check).stdout
    scribe.cluster.psql(
        "ALTER TABLE case_config ADD COLUMN w int GENERATED ALWAYS AS (id + 1) STORED, ADD CHECK (w > 0)", scribe.dbname
    )
    (line,) = (line for line in scribe.run(*check).stdout.splitlines() if line.startswith("warning  extensions: "))
    assert "no base has: column w of table public.case_config;" in line
