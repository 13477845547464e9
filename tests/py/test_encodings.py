"""Databases in other encodings than UTF-8: what the decoder writes and what rotation adds must read back alike."""

from __future__ import annotations

import json

import pytest
from compare import assert_equal
from source import Scribe

WORK = """
CREATE TABLE "tâble" (id serial PRIMARY KEY, "naïve" text);
INSERT INTO "tâble" ("naïve") VALUES ('é ü ß'), (E'x\\ny\\\\');
INSERT INTO "tâble" ("naïve") SELECT 'é' || i FROM generate_series(1, 30) i;
UPDATE "tâble" SET "naïve" = 'ö' WHERE id < 5;
COMMENT ON TABLE "tâble" IS 'Kommentär';
CREATE FUNCTION "fünc"() RETURNS text LANGUAGE sql AS $$ SELECT 'ä'::text $$;
CREATE SEQUENCE "sëq";
SELECT nextval('"sëq"');
SELECT lo_from_bytea(5555, 'x');
COMMENT ON LARGE OBJECT 5555 IS 'ünd';
CREATE TABLE "zwö" (x int PRIMARY KEY, v text)\\;
ALTER TABLE "zwö" ADD "dä" text DEFAULT 'ä;'\\; INSERT INTO "zwö" VALUES (1, 'ö');
CREATE TABLE bare (v text);
INSERT INTO bare VALUES ('ö'), ('ö'), (NULL);
UPDATE bare SET v = 'ä' WHERE v IS NULL;
DELETE FROM bare WHERE ctid = '(0,1)';
"""
BYTES = """
INSERT INTO bare VALUES (E'\\xff\\xfe\\x80');
DO $$ BEGIN EXECUTE format('COMMENT ON TABLE bare IS %L', E'\\xff\\x80'); END $$;
DO $$ BEGIN EXECUTE format('ALTER TABLE bare ADD %I text DEFAULT %L; COMMENT ON COLUMN bare.v IS %L',
    E'c\\xe9', E'\\xe9;', E'\\xe9'); END $$;
DO $$ BEGIN EXECUTE format('CREATE TABLE %1$I (a int); INSERT INTO %1$I VALUES (1)', E't\\xe9'); END $$;
DO $$ BEGIN EXECUTE format('DROP TABLE %I', E't\\xe9'); END $$;
"""


@pytest.mark.parametrize("decoder", ["scribe_decoder", "pgoutput"])
@pytest.mark.parametrize("encoding", ["LATIN1", "EUC_JP", "SQL_ASCII"])
def test_a_database_in_another_encoding_comes_back_as_it_was(scribe: Scribe, encoding: str, decoder: str) -> None:
    scribe.settings["SCRIBE_DECODER"] = decoder
    cluster = scribe.cluster
    cluster.dropdb(scribe.dbname)
    cluster.query(f"CREATE DATABASE {scribe.dbname} TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'")
    targets = f"{scribe.dbname}_copy", f"{scribe.dbname}_psql"
    scribe.run("scribe-init")
    scribe.start_stream()
    cluster.psql("SET client_encoding = 'UTF8';\n" + WORK, scribe.dbname)
    if encoding == "SQL_ASCII":
        cluster.psql(BYTES, scribe.dbname)
    scribe.run("scribe-rotate", "--wait-lsn", "current")
    shown = "t\udce9" if encoding == "SQL_ASCII" else "tâble"
    said = scribe.run("scribe-log", "--json", "--schema", "public").stdout.splitlines()
    assert [change["kind"] for change in map(json.loads, said) if change.get("table") == shown][-1:] == ["insert"]
    scribe.run("scribe-restore", "-d", targets[0], "--no-globals")
    cluster.query(f"CREATE DATABASE {targets[1]} TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'")
    scribe.run_files_with_psql(targets[1])
    source = cluster.dump(scribe.dbname)
    for target in targets:
        assert_equal(source, cluster.dump(target), ("source", target))
        cluster.dropdb(target)
