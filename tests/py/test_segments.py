"""Reading segments as transactions. Nothing here needs a server."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from handmade import Handmade
from hypothesis import given, settings
from hypothesis import strategies as st

from scribe.archive import segments
from scribe.archive.segments import (
    CopyData,
    CopyEnd,
    CopyStart,
    Ddl,
    End,
    Footer,
    Mark,
    Reader,
    Small,
    Start,
    Statements,
)
from scribe.common.errors import ScribeError

pytestmark = pytest.mark.unit

BODIES = [
    "INSERT INTO public.t (id, v) VALUES (1, 'BEGIN; -- xid 1 commit 0/1 time');\n-- rows 1 inserted\n",
    "UPDATE public.t SET v = '; -- 5 rows' WHERE id = 1;\nDELETE FROM public.t WHERE id IN (1,\n(2)\n); -- 2 rows\n",
    "-- mark before-deploy\n",
    "-- warning: COMMIT; -- end 0/1\nTRUNCATE ONLY public.t RESTART IDENTITY;\n-- rows 1 truncated\n",
    "COPY public.t (id, v) FROM stdin;\n1\t\\\\.\n\\BEGIN; -- xid 5\n\\COMMIT; -- end 0/1\n\\-- ddl\n\\N\tx\n\\.\n"
    "INSERT INTO public.t (id, v) VALUES\n(3, 'a'),\n(4, 'b'); -- 2 rows\n-- rows 6 inserted\n",
    "-- ddl CREATE FUNCTION by al (x) from ::1 (psql) inexact: because\n"
    "SET LOCAL search_path = public;\nCREATE FUNCTION f() AS '\n-- no frame\n"
    "RESET ROLE;\n(1);\n'\n;\nSET LOCAL search_path = '';\n-- ddl end\n-- rows 1 ddl\n",
    "COPY public.empty (id) FROM stdin;\n\\.\n",
]


def read(plain: bytes) -> list[tuple[str, bytes]]:
    """Return each transaction as its statements, data and DDL in one text, however it was cut."""
    reader = Reader(io.BytesIO(plain), "test")
    assert reader.read_header().from_lsn
    found: list[tuple[str, bytes]] = []
    for event in reader.events():
        match event:
            case Small(begin, text, _):
                found += [("begin", str(begin.xid).encode()), ("statements", text)]
            case Start(begin):
                found.append(("begin", str(begin.xid).encode()))
            case Statements(text):
                found.append(("statements", text))
            case CopyStart(text):
                found.append(("copy", text))
            case CopyData(data):
                assert data.endswith(b"\n")
                found.append(("data", data))
            case Ddl(tag, text):
                found.append(("ddl " + tag, text))
            case Mark(name):
                found.append(("mark", name.encode()))
            case Footer(text, _):
                found.append(("footer", text))
            case CopyEnd() | End():
                found.append(("end", b""))
    joined: list[tuple[str, bytes]] = []
    for kind, text in found:
        if kind == "end":
            continue
        if joined and joined[-1][0] == kind and kind in ("statements", "data"):
            joined[-1] = (kind, joined[-1][1] + text)
        else:
            joined.append((kind, text))
    return [pair for pair in joined if pair != ("statements", b"")]


@pytest.fixture
def plain(tmp_path: Path) -> bytes:
    """A segment with every kind of block."""
    archive = Handmade(tmp_path / "archive")
    manifest = archive.segment(BODIES, compress=False)
    return manifest.with_suffix(".sql").read_bytes()


def test_a_segment_is_read_as_its_transactions(plain: bytes) -> None:
    kinds = [kind for kind, _ in read(plain)]
    assert kinds.count("begin") == len(BODIES)
    assert kinds[-1] == "footer"
    found = dict(read(plain))
    assert found["mark"] == b"before-deploy"
    assert found["ddl CREATE FUNCTION inexact: because"].count(b"\n") == 8
    assert b"TRUNCATE ONLY public.t RESTART IDENTITY;\n" in [text for _, text in read(plain)]
    assert [text for kind, text in read(plain) if kind == "data"] == [
        b"1\t\\\\.\n\\BEGIN; -- xid 5\n\\COMMIT; -- end 0/1\n\\-- ddl\n\\N\tx\n"
    ]


@pytest.mark.parametrize("block", [1, 2, 3, 5, 7, 64, 300])
@pytest.mark.parametrize("small", [0, 100, 1 << 20])
def test_it_does_not_matter_where_a_block_ends(
    plain: bytes, monkeypatch: pytest.MonkeyPatch, block: int, small: int
) -> None:
    expected = read(plain)
    monkeypatch.setattr(segments, "BLOCK", block)
    monkeypatch.setattr(segments, "SMALL", small)
    assert read(plain) == expected


def test_a_torn_segment_is_refused_wherever_it_ends(plain: bytes) -> None:
    whole = read(plain)
    for length in range(0, len(plain) - 1, 3):
        try:
            found = read(plain[:length])
        except ScribeError:
            continue
        assert found == whole[: len(found)]
        assert "footer" not in dict(found)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from(["\\.", "BEGIN; -- xid 1", "COMMIT; -- end 0/1", "COPY x", "-- ddl", "-- rows", "\\N", "a"])
    ),
    st.integers(1, 40),
)
def test_no_data_is_taken_for_a_frame(tmp_path_factory: pytest.TempPathFactory, values: list[str], block: int) -> None:
    def escape(value: str) -> str:
        value = value.replace("\\", "\\\\")
        return "\\" + value if value.startswith(("BEGIN;", "COMMIT;", "COPY ", "--")) else value

    data = "".join(escape(value) + "\n" for value in values)
    archive = Handmade(tmp_path_factory.mktemp("archive"))
    manifest = archive.segment([f"COPY public.t (v) FROM stdin;\n{data}\\.\n", BODIES[0]], compress=False)
    before, segments.BLOCK = segments.BLOCK, block
    try:
        found = read(manifest.with_suffix(".sql").read_bytes())
    finally:
        segments.BLOCK = before
    assert [text for kind, text in found if kind == "data"] == ([data.encode()] if data else [])
    assert [kind for kind, _ in found].count("begin") == 2


def test_a_long_line_of_data_is_handed_over_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    data = b"1\t" + b"x" * 5000 + b"\\\\.\n\\.x\n" + b"2\t" + b"\\\\" * 3000 + b"\n" + b"\n" * 3 + b"y" * 4000 + b"\n"
    text = b"COPY t FROM stdin;\n" + data + b"\\.\nSELECT 1;\n"
    for block in (7, 64, 1000):
        monkeypatch.setattr(segments, "BLOCK", block)
        monkeypatch.setattr(segments, "LONG_LINE", 1000)
        reader = Reader(io.BytesIO(text), "test")
        parts = [event.data for event in reader.copy_block(reader.take_line()) if isinstance(event, CopyData)]
        assert b"".join(parts) == data
        assert max(map(len, parts)) < 4000
        assert reader.take_line() == b"SELECT 1;\n"
