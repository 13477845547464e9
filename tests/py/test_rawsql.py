"""decoder_raw's SQL read back: whatever stands in names and values, each statement is found and says what it said."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scribe.common.errors import ScribeError
from scribe.decoders.decoder_raw import file_lsns as bounds
from scribe.decoders.decoder_raw import output as rawsql
from scribe.decoders.decoder_raw.decoder import DecoderRaw
from scribe.decoders.decoder_raw.file_lsns import Bound, Cut
from scribe.decoders.decoder_raw.output import (
    read_delete,
    read_insert_head,
    read_truncate,
    read_update,
    read_values,
    statement_end,
)
from scribe.decoders.decoder_raw.stream import RawScan, RawTranslator
from scribe.decoders.pgmessages import MISSING, DamageError
from scribe.decoders.rows.text import Knowledge
from scribe.spool.concatenation import Tape
from scribe.spool.contents import Spool, cut

pytestmark = pytest.mark.unit

NASTY = st.sampled_from(
    ["'", '"', "\n", ";", "COMMIT;\n", "BEGIN;\n", " WHERE ", " AND ", ", ", ") VALUES (", "\\", "é"]
)
TEXTS = (
    st.lists(st.one_of(NASTY, st.text(max_size=3)), max_size=8)
    .map("".join)
    .filter(lambda text: "\0" not in text and text.isprintable() or "\n" in text)
)
VALUES = st.one_of(
    st.none(), st.just(b"t"), st.integers().map(lambda i: str(i).encode()),
    TEXTS.map(lambda text: text.replace("\0", "").encode("utf-8", "replace")),
)  # fmt: skip
NAMES = TEXTS.map(lambda text: text.replace("\0", "").encode("utf-8", "replace").decode("latin-1")).filter(bool)
ROWS = st.dictionaries(NAMES, VALUES, min_size=1, max_size=5)


def word(name: str) -> bytes:
    """Write a name as quote_identifier() does."""
    plain = re.fullmatch(r"[a-z_][a-z0-9_]*", name)
    return (name if plain else '"' + name.replace('"', '""') + '"').encode("latin-1")


def literal(value: bytes | None) -> bytes:
    """Write a value as print_literal() does: for the tests, what looks like a number is one."""
    if value is None:
        return b"null"
    if value == b"t":
        return b"true"
    return value if re.fullmatch(rb"-?\d+", value) else b"'" + value.replace(b"'", b"''") + b"'"


def pairs(row: dict[str, Any], between: bytes) -> bytes:
    """Write "a = 1, b = 2"."""
    return between.join([word(name) + b" = " + literal(value) for name, value in row.items()])


def insert(table: tuple[str, str], row: dict[str, Any]) -> bytes:
    """Write an INSERT."""
    names, values = b", ".join(map(word, row)), b", ".join(map(literal, row.values()))
    return b"INSERT INTO " + b".".join(map(word, table)) + b" (" + names + b") VALUES (" + values + b");\n"


@given(table=st.tuples(NAMES, NAMES), row=ROWS, old=ROWS, rest=TEXTS)
@settings(max_examples=100, deadline=None)
def test_a_statement_says_what_was_written(
    table: tuple[str, str], row: dict[str, Any], old: dict[str, Any], rest: str
) -> None:
    qualified = b".".join(map(word, table))
    statements = [
        insert(table, row),
        b"UPDATE " + qualified + b" SET " + pairs(row, b", ") + b" WHERE " + pairs(old, b" AND ") + b";\n",
        b"UPDATE " + qualified + b" SET  WHERE " + pairs(old, b" AND ") + b";\n",
        b"DELETE FROM " + qualified + b" WHERE " + pairs(old, b" AND ") + b";\n",
        b"TRUNCATE " + qualified + b", " + qualified + b" RESTART IDENTITY CASCADE;\n",
    ]
    data, at, ends = b"".join(statements) + b"DELETE FROM a.b WHERE c = '" + rest.encode("utf-8", "replace"), 0, []
    for statement in statements:
        for short in (1, len(statement) // 2, len(statement) - 1):
            try:
                assert statement_end(statement[:short], 0) == 0
            except DamageError:
                pytest.fail("a torn statement is no damage")
        ends.append(statement_end(data, at))
        assert data[at : ends[-1]] == statement
        at = ends[-1]
    for long in (rawsql.LONG, 0):  # a long statement is read in another way
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(rawsql, "LONG", long)
            check_statements(data, ends, table, row, old)


def check_statements(
    data: bytes, ends: list[int], table: tuple[str, str], row: dict[str, Any], old: dict[str, Any]
) -> None:
    head = read_insert_head(data, 0)
    assert (head.table, list(head.columns)) == (table, list(row))
    assert read_values(data, len(head.text), ends[0]) == list(row.values())
    assert read_update(data, ends[0], ends[1]) == (table, row, old)
    assert read_update(data, ends[1], ends[2]) == (table, {}, old)
    assert read_delete(data, ends[2], ends[3]) == (table, old)
    assert read_truncate(data, ends[3]) == ([table, table], True)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"-0", b"-0"), (b"1e+300", b"1e+300"), (b"'NaN'", b"NaN"), (b"B'0101'", b"0101"), (b"B''", b""),
        (b"''", b""), (b"false", b"f"), (b"'null'", b"null"), (b"unchanged-toast-datum", MISSING),
    ],
)  # fmt: skip
def test_values_without_quotes(value: bytes, expected: object) -> None:
    text = b"DELETE FROM public.t WHERE a = " + value + b";\n"
    assert read_delete(text, 0, len(text))[1] == {"a": expected}
    text = b"INSERT INTO public.t (a) VALUES (" + value + b");\n"
    assert read_values(text, text.index(b"VALUES (") + 8, len(text)) == [expected]


@pytest.mark.parametrize(
    "values",
    [b"f(1, 2), 3", b"1 + 2, 3", b"E'a\\'b', 3", b"ARRAY[1, 2], f(3, 4)", b"'a''::text, 'b'", b"1,2", b"1, ", b", 1"],
)
def test_what_is_no_literal_is_not_passed_over(values: bytes) -> None:
    text = b"INSERT INTO public.t (a, b) VALUES (" + values + b");\n"
    with pytest.raises(DamageError):
        read_values(text, text.index(b"VALUES (") + 8, len(text))


def test_tables_without_columns() -> None:
    text = b"INSERT INTO public.t () VALUES ();\n"
    head = read_insert_head(text, 0)
    assert head.columns == () and read_values(text, len(head.text), len(text)) == []
    text = b"DELETE FROM public.t WHERE ;\n"
    assert read_delete(text, 0, len(text)) == (("public", "t"), {})


def test_damage_is_told_from_a_torn_end() -> None:
    with pytest.raises(DamageError):
        statement_end(b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 0)
    with pytest.raises(DamageError):
        statement_end(b"SELECT 1;\n", 0)
    assert statement_end(b"DELETE FRO", 0) == 0


# --- transactions ---------------------------------------------------------------------------------------------------

TIME = "2026-11-22 13:07:00.000000+00"
FACTS = {
    "a": [], "g": ["twice"], "l": {}, "k": [["id", " = ", False, ""]], "u": False, "q": [], "s": False, "p": False,
    "o": "postgres", "r": ["public", "t", "d", "r", [
        ["id", 23, "pg_catalog", "int4"], ["v", 25, "pg_catalog", "text"], ["twice", 23, "pg_catalog", "int4"]]],
}  # fmt: skip


def transaction(number: int) -> bytes:
    """One transaction with one row."""
    return (
        b"BEGIN;\n" + insert(("public", "t"), {"id": b"%d" % number, "v": b"COMMIT;\n", "twice": b"0"}) + b"COMMIT;\n"
    )


def make_tape(path: Path, parts: list[bytes], stream: bytes = b"") -> Tape:
    """Return a spool's files as a tape."""
    paths = []
    for number, data in enumerate(parts, 1):
        paths.append(path / f"part-{number:08d}.sql")
        paths[-1].write_bytes(data)
    (path / "stream.sql").write_bytes(stream)
    return Tape([*paths, path / "stream.sql"])


def test_transactions_are_numbered_between_bounds(tmp_path: Path) -> None:
    one, two, three, four, five = map(transaction, range(1, 6))
    parts = [one + two + three[:20], three[20:], four]
    known = [Bound(100, 0, TIME), Bound(200, 1, TIME), Bound(250, 1, TIME), Bound(400, 3, TIME), Bound(450, 3, TIME)]
    with make_tape(tmp_path, parts, five) as tape:
        scan = RawScan(tape, 0, known)
        found = [(t.commit_lsn, t.end_lsn) for t in scan]
        assert found == [(100, 101), (101, 200), (250, 251), (251, 400)]
        assert (scan.end, scan.position, scan.damage) == (sum(map(len, parts)), 450, None)
        # begun later, the numbers are the same
        again = RawScan(tape, len(one + two), known)
        assert [(t.commit_lsn, t.end_lsn) for t in again] == found[2:]


def test_a_cut_is_made_where_it_was_counted_to_be(tmp_path: Path) -> None:
    parts = [transaction(1), transaction(2) + transaction(3), transaction(4) + transaction(5)]
    known = [Bound(100, 0, TIME), Bound(200, 1, TIME), Bound(300, 2, TIME), Bound(400, 3, TIME)]
    with make_tape(tmp_path, parts) as tape:
        scan = RawScan(tape, 0, known, [Cut(350, 200, 3)])
        assert [(t.commit_lsn, t.end_lsn) for t in scan][3:] == [(300, 350), (350, 400)]
        assert scan.cuts_left() == []
        at_bound = RawScan(tape, 0, known, [Cut(310, 200, 2)])
        assert [(t.commit_lsn, t.end_lsn) for t in at_bound][3:] == [(310, 311), (311, 400)]
        # the last bound may come before the cut: what is counted is taken off
        early = RawScan(tape, 0, known[:3], [Cut(350, 200, 3)])
        assert len(list(early)) == 3
        assert early.cuts_left() == [Cut(350, 300, 1)]
        rest = RawScan(tape, sum(map(len, parts[:2])), known, early.cuts_left())
        assert [(t.commit_lsn, t.end_lsn) for t in rest] == [(300, 350), (350, 400)]


def test_the_frames_have_the_numbers_and_the_rows_their_forms(tmp_path: Path) -> None:
    text = (
        b"BEGIN;\n"
        + insert(("public", "t"), {"id": b"1", "v": b"x", "twice": b"2"})
        + b"UPDATE public.t SET id = 1, v = 'y', twice = 2 WHERE id = 1;\n"
        + b"UPDATE public.t SET id = 2, twice = 4 WHERE id = 1;\n"
        + b"DELETE FROM public.t WHERE id = 2;\nDELETE FROM public.unknown WHERE a = null;\nCOMMIT;\n"
    )
    with make_tape(tmp_path, [text]) as tape:
        scan = RawScan(tape, 0, [Bound(16, 0, TIME), Bound(256, 1, TIME)])
        made = RawTranslator(tape, scan, Knowledge(facts={5: FACTS}), lambda: None)
        assert len(list(scan)) == 1
        assert b"".join(made.blocks(0, scan.end)).decode().splitlines() == [
            f"BEGIN; -- xid 0 commit 0/10 time {TIME}",
            "INSERT INTO public.t (id, v) VALUES (1, 'x');",
            "UPDATE public.t SET v = 'y' WHERE id = 1;",
            "UPDATE public.t SET id = 2 WHERE id = 1;",
            "DELETE FROM public.t WHERE id = 2;",
            "-- warning: DELETE of public.unknown is as decoder_raw wrote it: nothing fitting is known of that table",
            "DELETE FROM public.unknown WHERE a IS NULL;",
            "-- rows 1 inserted 2 updated 2 deleted",
            "COMMIT; -- end 0/100",
        ]
        assert made.commit_time(0) == TIME


def test_facts_in_the_stream_rename_tables(tmp_path: Path) -> None:
    renamed = FACTS | {"r": ["public", "u", *FACTS["r"][2:]]}  # type: ignore[misc]
    facts = json.dumps(renamed).encode()
    text = (
        b"BEGIN;\n" + insert(("public", "u"), {"id": b"1", "v": None, "twice": b"2"}) + b"COMMIT;\n"
        b"BEGIN;\nUPDATE scribe.table_facts SET relid = 5, facts = '" + facts + b"' WHERE relid = 5;\n"
        + insert(("public", "u"), {"id": b"1", "v": None, "twice": b"2"}) + b"COMMIT;\n"
    )  # fmt: skip
    with make_tape(tmp_path, [text]) as tape:
        scan = RawScan(tape, 0, [Bound(16, 0, TIME), Bound(256, 1, TIME)])
        made = RawTranslator(tape, scan, Knowledge(facts={5: FACTS}), lambda: None)
        assert len(list(scan)) == 2
        first, second = b"".join(made.blocks(0, scan.end)).decode().split("BEGIN; --")[1:]
        assert "nothing fitting is known" in first and "nothing" not in second


def test_a_renamed_tables_old_name_is_anothers_at_once(tmp_path: Path) -> None:
    """CREATE TABLE AS makes a table of that name in the same transaction, and its rows come before its facts."""
    renamed = json.dumps(FACTS | {"r": ["public", "u", *FACTS["r"][2:]], "w": ["public", "u"]}).encode()  # type: ignore[misc]
    made = json.dumps(FACTS | {"w": ["public", "t"], "c": "CREATE TABLE public.t (id int, v text, twice int)"}).encode()
    row = {"id": b"1", "v": b"x", "twice": b"2"}
    text = (
        b"BEGIN;\nUPDATE scribe.table_facts SET relid = 5, facts = '" + renamed + b"' WHERE relid = 5;\n"
        + insert(("public", "t"), row)
        + b"INSERT INTO scribe.table_facts (relid, facts) VALUES (6, '" + made + b"');\nCOMMIT;\n"
    )  # fmt: skip
    with make_tape(tmp_path, [text]) as tape:
        scan = RawScan(tape, 0, [Bound(16, 0, TIME), Bound(256, 1, TIME)])
        translator = RawTranslator(tape, scan, Knowledge(facts={5: FACTS}), lambda: None)
        assert len(list(scan)) == 1
        lines = b"".join(translator.blocks(0, scan.end)).decode().splitlines()
        created = lines.index("CREATE TABLE public.t (id int, v text, twice int)")
        assert lines.index("INSERT INTO public.t (id, v) VALUES (1, 'x');") > created


def test_the_number_of_a_part_that_was_cut_is_used_again(tmp_path: Path) -> None:
    """A bound may lie behind parts with nothing but the beginning of a transaction: the next start cuts these."""
    whole = transaction(1)
    make_tape(tmp_path, [whole + whole[:20], whole[20:30]], whole).close()
    spool = Spool(tmp_path)
    bounds.begin(spool, 16, 0.0)
    bounds.add(spool, 256)
    assert bounds.read(spool)[-1].part == 2
    with Tape(spool.paths()) as tape:
        scan = RawScan(tape, 0, bounds.read(spool)).run()
        cut(spool, tape.place(scan.end))
    spool.create_stream()
    bounds.start(spool, 256, 0.0)
    assert [path.name for path in spool.parts()] == ["part-00000001.sql"]
    assert spool.next_part().name == "part-00000002.sql"
    with Tape(spool.paths()) as tape:
        assert DecoderRaw().find_start(tape, spool, 16) == 0
        assert [t.end_lsn for t in RawScan(tape, 0, bounds.read(spool))] == [256]


def test_a_hole_in_a_part_is_damage(tmp_path: Path) -> None:
    whole = transaction(1)
    for at in range(1, len(whole), 7):
        with make_tape(tmp_path, [whole + whole[:at] + b"\0" * 64 + whole[at + 64 :]]) as tape:
            scan = RawScan(tape, 0, [Bound(16, 0, TIME), Bound(256, 1, TIME)])
            assert len(list(scan)) == 1
            with pytest.raises(ScribeError):
                scan.refuse_damage()
    assert os.listdir(tmp_path)
