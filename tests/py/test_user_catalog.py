"""A table that PostgreSQL takes for a catalog, filled and dropped behind the stream, ends it with a word of why."""

from __future__ import annotations

from source import Scribe


def test_the_stream_that_no_decoder_gets_past_ends_and_says_why(scribe: Scribe) -> None:
    scribe.cluster.psql("CREATE TABLE t (id int PRIMARY KEY)", scribe.dbname)
    scribe.run("scribe-init")
    scribe.cluster.psql("CREATE TABLE c (id int PRIMARY KEY) WITH (user_catalog_table = true)", scribe.dbname)
    scribe.cluster.psql("INSERT INTO c VALUES (1)", scribe.dbname)
    scribe.cluster.psql("DROP TABLE c", scribe.dbname)
    stream = scribe.start_stream(wait=False)
    assert stream.wait(120) == 1
    assert "user_catalog_table" in scribe.log.read_text()
    said = scribe.run("scribe-rotate", "--wait-lsn", "current", check=False).stderr
    assert "no stream is running" in said
