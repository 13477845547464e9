"""Restoring without the owners of the source."""

from __future__ import annotations

import io
import time

import pytest
from restoring import DDL, TABLES, Target

from scribe.common.sqltext import quoting_after
from scribe.restore.owners import without_owners


def test_owners_are_left_out_of_base_and_ddl(target: Target) -> None:
    dump = (
        TABLES
        + "ALTER TABLE public.t OWNER TO nobody_here;\nCOMMENT ON TABLE public.t IS 'x\nALTER a OWNER TO b;\n';\n"
    )
    target.archive.base(dump, owner="nobody_here")
    target.archive.segment(
        [DDL.format("CREATE VIEW w AS SELECT 1").replace("SET LOCAL", "SET LOCAL ROLE bob;\nSET LOCAL", 1)]
    )
    assert 'role "nobody_here" does not exist' in target.refused()
    target.run("--no-owner")
    assert target.rows("SELECT obj_description('public.t'::regclass)") == [("x\nALTER a OWNER TO b;\n",)]
    assert target.rows("SELECT count(*) FROM public.w") == [(1,)]


@pytest.mark.unit
def test_only_the_owners_of_a_dump_are_left_out() -> None:
    kept = (
        b"-- Name: it's; Owner: bob\n/* it's */\nCREATE FUNCTION f() AS $$\nALTER TABLE a OWNER TO b;\n$$;\n"
        b"COMMENT ON TABLE t IS 'one''s\nALTER TABLE a OWNER TO b;\n';\n"
        b"CREATE VIEW v AS SELECT E'\\'\nALTER TABLE a OWNER TO b;\n', a$b$c, \"\nALTER TABLE a OWNER TO b;\n\";\n"
        b"COPY public.t (v) FROM stdin;\nALTER TABLE a OWNER TO b;\nit's\n\\.\n"
        b"CREATE FUNCTION g() AS $_x$ $$ '\nALTER TABLE a OWNER TO b;\n $_x$;\n"
        b'ALTER TABLE "a OWNER TO bob;\nDROP TABLE t; --" OWNER TO b;\n'
    )
    lines = b'ALTER TABLE public.t OWNER TO bob;\nALTER FUNCTION f(text) OWNER TO "b;b";\n'
    assert b"".join(without_owners(io.BytesIO(lines + kept + lines), "test")) == b"\n\n" + kept + b"\n\n"
    one = b'\nALTER FUNCTION f(text) OWNER TO "b;b";\n'
    assert b"".join(without_owners(io.BytesIO(lines + kept + lines), "test", "bob")) == one + kept + one


@pytest.mark.unit
@pytest.mark.parametrize(
    ("line", "within", "after"),
    [
        ("'a''b'", "", ""),
        ("'a''", "", "'"),
        ("''", "'", "'"),
        ("'", "'", ""),
        (r"E'a''\' x", "", "E'"),  # what is there twice does not end the escapes
        (r"E'a''\''", "", ""),
        ('"a""b', "", '"'),
        ("x $a$ ' $a$ '", "", "'"),
    ],
)
def test_what_is_open_at_the_end_of_a_line(line: str, within: str, after: str) -> None:
    assert quoting_after(f"{line}\n".encode(), within.encode()) == after.encode()


@pytest.mark.unit
def test_a_text_of_quotes_takes_no_longer_than_another() -> None:
    """Every role may give itself a setting of that kind, which each rotation reads."""
    began = time.process_time()
    assert quoting_after(b"'" + b"''" * 10_000_000 + b"'\n", b"") == b""
    assert time.process_time() - began < 5
