"""One dialect: the plugin in C and the translator in Python write the same, which is what tests/vectors holds.

Of each NAME.sql, run on a source, NAME.segment is what a segment has: a frame for each transaction, without the xid,
the positions and the time. SCRIBE_WRITE_VECTORS=1 writes those files again, as scribe_decoder does.
"""

from __future__ import annotations

import os
import re

import pytest
from cluster import ROOT, Cluster
from source import Scribe

from scribe.common.dialect import quote_identifier, quote_literal, quote_name

CONTROLS = re.compile(r"[\x00-\x1f\x7f]")
VECTORS = sorted((ROOT / "tests/vectors").glob("*.sql"))
FRAME = re.compile(
    rb"^BEGIN; -- xid \d+ commit [0-9A-F/]+ time [0-9:. +-]+\n(.*?)^COMMIT; -- end [0-9A-F/]+\n", re.M | re.S
)
BEGINS = re.compile(rb"(?<=COMMIT;\n)(?=BEGIN;\n-- ddl COMMENT by \w+\n(?:.*\n){2}COMMENT ON SCHEMA)")
# What the translator cannot write as the plugin does, and why: pattern, and what stands for it.
DIFFERENCES = (
    # pgoutput does not name the partitioned tables that were truncated, and CASCADE reaches them
    (re.compile(rb"^(TRUNCATE .*?)(?: CASCADE)?;$", re.M), rb"\1 CASCADE;"),
    # of a table that a query made, the source's own format_type() names the types
    (re.compile(rb"(?<=[a-z] )pg_catalog\.(?=text[,)])"), rb""),
)
ROLE = '"scribe vector"'
COMMENT = b" -- here"


def frames(scribe: Scribe) -> bytes:
    """What the archive's transactions are made of, but marks and transactions that wrote nothing."""
    data = b"".join(path.read_bytes() for path in scribe.segments())
    bodies = [re.sub(rb"^-- mark .*\n", b"", match[1], flags=re.M) for match in FRAME.finditer(data)]
    return b"".join(b"BEGIN;\n" + body + b"COMMIT;\n" for body in bodies if body)


def expected(data: bytes, decoder: str) -> bytes:
    """Return what a decoder writes for a vector."""
    for pattern, instead in DIFFERENCES if decoder == "pgoutput" else ():
        data = pattern.sub(instead, data)
    return data


@pytest.mark.parametrize("decoder", ["scribe_decoder", "pgoutput"])
def test_both_writers_write_the_vectors(scribe: Scribe, decoder: str, request: pytest.FixtureRequest) -> None:
    cluster, database = scribe.cluster, scribe.dbname
    if cluster.version_num >= 190000:
        pytest.skip("server version: some vectors have strings that 19 does not take")
    comment = b"" if cluster.version_num < 150000 else COMMENT  # psql sends such comments from 15 on
    cluster.psql(f"DROP ROLE IF EXISTS {ROLE}; CREATE ROLE {ROLE} VALID UNTIL '2031-02-01'")
    request.addfinalizer(lambda: cluster.psql(f"DROP ROLE {ROLE}"))
    request.addfinalizer(lambda: cluster.psql(f"DROP OWNED BY {ROLE}", database))
    scribe.settings.update(SCRIBE_DECODER=decoder, SCRIBE_COMPRESS="none")
    scribe.run("scribe-init")
    scribe.start_stream()
    for path in VECTORS:
        begin = f"SET application_name = ''; COMMENT ON SCHEMA public IS '{path.stem}';\n"
        cluster.psql(begin + path.read_text(), database)
    scribe.run("scribe-rotate", "--wait-lsn", "current")
    scribe.stop_stream()
    written = BEGINS.split(frames(scribe))
    assert len(written) == len(VECTORS)
    for path, found in zip(VECTORS, written, strict=True):
        segment = path.with_suffix(".segment")
        if os.environ.get("SCRIBE_WRITE_VECTORS") and decoder == "scribe_decoder":
            segment.write_bytes(found)
        assert found == expected(segment.read_bytes(), decoder).replace(COMMENT, comment), path.stem


@pytest.mark.parametrize("standard", ["on", "off"])
def test_texts_and_names_that_python_writes_are_read_as_they_were(cluster: Cluster, standard: str) -> None:
    if standard == "off" and cluster.version_num >= 190000:
        pytest.skip("server version: 19 has standard strings only")
    texts = ["", "it's", "'", "''; DROP TABLE t; --", 'say "hi"', "\\", "\\'", "a\nb\t\x01\x7f", "é日本😀", "$$"]
    with cluster.connect(options=f"-c standard_conforming_strings={standard}") as conn:
        for text in texts:
            assert CONTROLS.search(quote_literal(text)) is None  # a line of its own could be taken for a frame
            assert conn.execute(f"SELECT {quote_literal(text)}".encode()).fetchone() == (text,)
        for name in texts[1:]:
            assert CONTROLS.search(quote_name(name)) is None
            for quoted in (quote_name(name), quote_identifier(name, force=True)):
                if standard == "on" or not quoted.startswith("U&"):
                    found = conn.execute(f"SELECT 1 AS {quoted}".encode())
                    assert found.description is not None and found.description[0].name == name
