"""Rows too large for one statement: they go in pieces and arrive as they were; what cannot be carried is an error."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import cast

import pytest
import zstandard
from cases import assert_both_restores_equal
from cluster import poll
from source import Scribe

from scribe.decoders.base import Decoder
from scribe.stream.supervision import Receiver

# EXTERNAL: not compressed, which would take most of the time
TABLES = r"""
CREATE TABLE keyed (id int PRIMARY KEY, t text, b bytea, j json, big numeric DEFAULT 1);
CREATE TABLE twins (t text, b bytea);
ALTER TABLE keyed ALTER t SET STORAGE EXTERNAL, ALTER b SET STORAGE EXTERNAL, ALTER j SET STORAGE EXTERNAL;
ALTER TABLE twins ALTER t SET STORAGE EXTERNAL;
CREATE INDEX ON twins (left(t, 10));
"""
CHANGES = r"""
INSERT INTO keyed SELECT 1, repeat(E'Zeile \n\\ \x01 äöü € \'\'', 400000), decode(repeat('00ff5c27', 1500000), 'hex'),
  to_json(repeat('"x"', 300000));
INSERT INTO keyed VALUES (3, 'small');
UPDATE keyed SET id = 4 WHERE id = 1;
UPDATE keyed SET big = 2;
INSERT INTO twins SELECT repeat('twins ', 1500000), decode(repeat('00', 8000000), 'hex') FROM generate_series(1, 2);
INSERT INTO twins VALUES ('', NULL);
UPDATE twins SET b = b || '\x01' WHERE ctid = (SELECT ctid FROM twins WHERE t <> '' LIMIT 1);
DELETE FROM twins WHERE ctid = (SELECT ctid FROM twins WHERE length(b) = 8000000);
BEGIN;
SAVEPOINT a;
INSERT INTO keyed SELECT 5, repeat('nothing', 2500000);
ROLLBACK TO a;
ALTER TABLE twins ADD COLUMN u uuid DEFAULT gen_random_uuid();
COMMIT;
"""
# As text it has a byte for each of its 1.2 billion bits: more than the server can make, and pg_dump fails alike.
TOO_LARGE = """
DO $$
DECLARE v varbit := repeat('1', 134217720)::bit varying;
BEGIN
  INSERT INTO bits VALUES (3, v || v || v || v || v || v || v || v || v);
END $$
"""


def test_rows_too_large_for_a_statement_arrive_as_they_were(scribe: Scribe, targets: tuple[str, str]) -> None:
    server = scribe.cluster
    server.psql(TABLES, scribe.dbname)
    scribe.run("scribe-init")
    scribe.start_stream()
    server.psql(CHANGES, scribe.dbname)
    scribe.run("scribe-rotate", "--wait-lsn", "current")
    assert_both_restores_equal(scribe, targets)
    assert count_pieces(scribe.archive) > 5


def count_pieces(archive: Path) -> int:
    """Return how many statements in the segments take values from pieces."""
    count = 0
    for path in (archive / "incremental").glob("*.sql.zst"):
        with path.open("rb") as stream:
            text = zstandard.ZstdDecompressor().stream_reader(stream).read()
        count += text.count(b"\nCREATE TEMP TABLE pg_temp.scribe_piece ")
    return count


def test_a_value_that_no_text_can_hold_is_an_error_that_names_the_way_out(scribe: Scribe) -> None:
    server = scribe.cluster
    server.psql("CREATE TABLE bits (id int PRIMARY KEY, v bit varying)", scribe.dbname)
    scribe.run("scribe-init", "--no-base")
    stream = scribe.start_stream()
    server.psql("INSERT INTO bits VALUES (1, B'10110100')", scribe.dbname)
    scribe.run("scribe-rotate", "--wait-lsn", "current")
    server.psql(TOO_LARGE, scribe.dbname)
    poll(lambda: stream.poll() is not None, 120, "the stream's end")
    assert stream.returncode == 1
    said = scribe.log.read_text()
    assert "the server cannot decode a transaction" in said
    assert "scribe-stream: hint: " in said


@pytest.mark.unit
@pytest.mark.parametrize(
    ("said", "again"),
    [
        ("out of memory; DETAIL:  Failed on request of size 64 in memory context", False),
        ("out of memory; DETAIL:  Cannot enlarge string buffer containing 1073741822 bytes by 1 more bytes.", True),
        ("string buffer exceeds maximum allowed length (1073741823 bytes)", True),
    ],
)
def test_a_text_beyond_a_gigabyte_is_no_want_of_memory(said: str, again: bool) -> None:
    """A row of 34 composite types, each within another, has one: quoting doubles it each time."""
    context = 'CONTEXT:  slot "s", output plugin "scribe_decoder", in the change callback, associated LSN 0/1'
    receiver = Receiver(cast("subprocess.Popen[bytes]", None), 0, cast(Decoder, None), None, last=f"{said}; {context}")
    assert receiver.undecodable is again
