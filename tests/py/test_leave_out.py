"""A value that its type cannot write as text ends the stream; what is left out for it is on record."""

from __future__ import annotations

import json
import subprocess

import pytest
from cluster import poll
from source import Scribe

from scribe.common.settings import parse_left_out


def said(scribe: Scribe) -> str:
    """What the stream and its receiver have said."""
    files = (scribe.log, scribe.archive / "spool/receiver.log")
    return "".join(path.read_text(errors="replace") for path in files if path.exists())


def last_segment(scribe: Scribe) -> tuple[str, str]:
    """The last segment's text and its manifest's warnings."""
    path = sorted((scribe.archive / "incremental").glob("*.sql.zst"))[-1]
    manifest = json.loads(path.with_name(path.name.replace(".sql.zst", ".json")).read_text())
    return subprocess.check_output(["zstdcat", path], text=True), "\n".join(manifest["warnings"])


def test_a_type_that_fails_is_named_and_can_be_left_out(scribe: Scribe) -> None:
    cluster, dbname = scribe.cluster, scribe.dbname
    cluster.psql(
        "CREATE TYPE mood AS ENUM ('good', 'bad');"
        "CREATE TABLE t (id int, name text, m mood, n int, PRIMARY KEY (id, name));"
        'CREATE TABLE "Whole" (id int PRIMARY KEY, m mood NOT NULL);'
        """INSERT INTO t VALUES (7, 'it''s', 'bad', 1), (8, 'x', 'good', 1); INSERT INTO "Whole" VALUES (1, 'bad')""",
        dbname,
    )
    scribe.run("scribe-init")
    scribe.start_stream()
    # the label of a value that is there goes, and enum_out() fails
    cluster.psql(
        "DELETE FROM pg_catalog.pg_enum WHERE enumlabel = 'bad'; UPDATE t SET n = 2;"
        """UPDATE "Whole" SET id = 2; INSERT INTO t VALUES (9, 'y', 'good', 2)""",
        dbname,
    )
    poll(lambda: "text of column" in said(scribe), 60, "the error")
    assert "text of column m of a row of public.t (id = 7, name = 'it''s'), committed at " in said(scribe)
    assert "set SCRIBE_LEAVE_OUT='public.t.m' and start scribe-stream again" in said(scribe)
    scribe.stop_stream()

    scribe.settings["SCRIBE_LEAVE_OUT"] = 'public.t.m, public."Whole".m'
    scribe.start_stream()
    scribe.run("scribe-rotate", "--wait-lsn", "current")
    text, warnings = last_segment(scribe)
    assert "m of public.t could not be carried: it is left out" in warnings
    assert 'rows of public."Whole" could not be carried: they are left out' in warnings
    assert 'public."Whole" SET' not in text
    assert scribe.run("scribe-check", "--only", "ddl", check=False).returncode == 2
    scribe.run("scribe-rotate", "--wait-lsn", "current")
    flagged = cluster.query("SELECT reason FROM scribe.ddl_history WHERE kind = 'lost'", dbname)
    assert len(flagged) == 3, flagged  # each once, and not again by the rotation that follows; the type, too
    scribe.run("scribe-restore", "-d", "left_out", "--no-globals")
    try:
        rows = cluster.query("SELECT id, n, m IS NULL FROM t ORDER BY id", "left_out")
        assert rows == [(7, 2, True), (8, 2, True), (9, 2, True)]
        assert cluster.query('SELECT id FROM "Whole"', "left_out") == [(1,)]
    finally:
        cluster.dropdb("left_out")


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("public.t", ("public.t",)),
        (' public."a.b, c".d ,s.t', ('public."a.b, c".d', "s.t")),
        *((bad, None) for bad in ("t", "a.b.c.d", "a.b,", "a.b c.d", "public.t'x", "")),
    ],
)
def test_what_is_left_out_is_written_as_in_sql(text: str, items: tuple[str, ...] | None) -> None:
    if items is None:
        with pytest.raises(ValueError, match="schema"):
            parse_left_out(text)
    else:
        assert parse_left_out(text) == items
