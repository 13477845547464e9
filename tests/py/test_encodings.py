"""Databases in other encodings than UTF-8: what the decoder writes and what rotation adds must read back alike."""

from __future__ import annotations

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
"""


@pytest.mark.parametrize("encoding", ["LATIN1", "EUC_JP", "SQL_ASCII"])
def test_a_database_in_another_encoding_comes_back_as_it_was(scribe: Scribe, encoding: str) -> None:
    cluster = scribe.cluster
    cluster.dropdb(scribe.dbname)
    cluster.query(f"CREATE DATABASE {scribe.dbname} TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'")
    targets = f"{scribe.dbname}_copy", f"{scribe.dbname}_psql"
    scribe.run("scribe-init")
    scribe.start_stream()
    cluster.psql("SET client_encoding = 'UTF8';\n" + WORK, scribe.dbname)
    scribe.run("scribe-rotate", "--wait-lsn", "current")
    scribe.run("scribe-restore", "-d", targets[0], "--no-globals")
    cluster.query(f"CREATE DATABASE {targets[1]} TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'")
    scribe.run_files_with_psql(targets[1])
    source = cluster.dump(scribe.dbname)
    for target in targets:
        assert_equal(source, cluster.dump(target), ("source", target))
        cluster.dropdb(target)
