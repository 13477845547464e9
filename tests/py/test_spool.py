"""The spool is cut after its last whole transaction, wherever the write was torn."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import pytest
from archives import make_archive, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scribe.common.errors import ScribeError
from scribe.spool import concatenation as tape_module
from scribe.spool import contents as spool_module
from scribe.spool.contents import Place, Scan, Spool, Tape, cut, find_start, frames_after, read_transactions
from scribe.stream.rotation import plan

pytestmark = pytest.mark.unit

TRICKY = (
    b"COPY public.t (id, v) FROM stdin;\n1\t\\\\BEGIN; -- xid 1 commit 0/1\n\\BEGIN; -- xid 9 commit 0/1 time x\n"
    b"\\COMMIT; -- end 0/999\n2\tCOMMIT; -- end 0/999\n\\.\n-- rows 3 inserted\n"
)
BODIES = [
    b"INSERT INTO public.t (id) VALUES (1);\n-- rows 1 inserted\n",
    TRICKY,
    b"UPDATE public.t SET v = E'\\nCOMMIT; -- end 0/1\\n' WHERE id = 1;\n-- rows 1 updated\n",
    b"-- ddl CREATE TABLE\nCREATE TABLE x (\n  a int\n)\n;\n-- ddl end\n-- rows 1 ddl\n",
]
TRANSACTIONS = [transaction(0x200 + 16 * i, body) for i, body in enumerate(BODIES)]
SAMPLE = b"".join(TRANSACTIONS)
ENDS = [sum(map(len, TRANSACTIONS[: i + 1])) for i in range(len(TRANSACTIONS))]


def fill(path: Path, *contents: bytes) -> Spool:
    """Return a spool whose files hold contents, the last one being written."""
    spool = make_archive(path).spool
    for number, content in enumerate(contents[:-1], start=1):
        (spool / f"part-{number:08d}.sql").write_bytes(content)
    (spool / "stream.sql").write_bytes(contents[-1])
    return Spool(spool)


def content(spool: Spool) -> bytes:
    return b"".join(path.read_bytes() for path in spool.paths())


def recover(spool: Spool) -> Scan:
    with Tape(spool.paths()) as tape:
        scan = Scan(tape, 0).run()
        if scan.end < tape.size:
            cut(spool, tape.place(scan.end))
    spool.create_stream()
    return scan


def test_a_write_torn_at_any_byte_leaves_the_whole_transactions_before_it(tmp_path: Path) -> None:
    spool = fill(tmp_path / "a", b"")
    for size in range(len(SAMPLE) + 1):
        spool.stream.write_bytes(SAMPLE[:size])
        scan = recover(spool)
        whole = max([end for end in ENDS if end <= size], default=0)
        assert (content(spool), scan.damage) == (SAMPLE[:whole], None), size


@pytest.mark.parametrize("block", [7, 64, 300, 4 << 20])
def test_blocks_may_end_anywhere(tmp_path: Path, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tape_module, "BLOCK", block)
    spool = fill(tmp_path / "a", SAMPLE + TRANSACTIONS[0][:50])
    with Tape(spool.paths()) as tape:
        found = list(Scan(tape, 0))
    assert [transaction.stop for transaction in found] == ENDS
    assert b"".join(read_transactions(spool.path, 0)) == SAMPLE


def test_a_transaction_may_span_three_files_split_at_any_line(tmp_path: Path) -> None:
    lines = SAMPLE.splitlines(True)
    pick = random.Random(1)
    for number in range(60):
        a, b = sorted(pick.sample(range(len(lines)), 2))
        parts = [b"".join(part) for part in (lines[:a], lines[a:b], lines[b:])]
        spool = fill(tmp_path / str(number), *parts)
        assert b"".join(read_transactions(spool.path, 0)) == SAMPLE
        spool.stream.write_bytes(parts[2][:-3])
        recover(spool)
        assert content(spool) == SAMPLE[: ENDS[-2]]


def test_what_follows_a_hole_of_zeros_is_cut(tmp_path: Path) -> None:
    spool = fill(tmp_path / "a", TRANSACTIONS[0] + TRANSACTIONS[1][:20] + bytes(4096) + SAMPLE[ENDS[1] :])
    scan = recover(spool)
    assert content(spool) == TRANSACTIONS[0]
    assert scan.damage == "there are zero bytes"


def test_a_hole_between_transactions_is_cut_too(tmp_path: Path) -> None:
    spool = fill(tmp_path / "a", TRANSACTIONS[0] + bytes(1) + SAMPLE[ENDS[0] :], SAMPLE[ENDS[2] :])
    recover(spool)
    assert content(spool) == TRANSACTIONS[0]


@pytest.mark.parametrize(
    "text",
    [
        TRANSACTIONS[0] + TRANSACTIONS[1][: TRANSACTIONS[1].index(b"COPY")] + TRANSACTIONS[1],
        TRANSACTIONS[1] + TRANSACTIONS[0],
        TRANSACTIONS[0] + TRANSACTIONS[0],
        TRANSACTIONS[0] + b"INSERT INTO x VALUES (1);\n" * 20,
        TRANSACTIONS[0] + b"\n" + TRANSACTIONS[1],
        TRANSACTIONS[0] + TRANSACTIONS[1].replace(b"COMMIT; -- end 0/218", b"COMMIT; -- end 0/200"),
    ],
)
def test_what_is_not_a_stream_of_transactions_is_damage(tmp_path: Path, text: bytes) -> None:
    spool = fill(tmp_path / "a", text)
    with Tape(spool.paths()) as tape:
        scan = Scan(tape, 0).run()
        assert scan.damage is not None
        with pytest.raises(ScribeError, match="damaged after byte"):
            scan.refuse_damage()


def test_a_missing_part_is_noticed(tmp_path: Path) -> None:
    spool = fill(tmp_path / "a", b"", b"", b"", b"")
    (spool.path / "part-00000002.sql").unlink()
    with pytest.raises(ScribeError, match="part-00000003"):
        spool.paths()


def test_cutting_removes_later_files_and_keeps_earlier_ones(tmp_path: Path) -> None:
    spool = fill(tmp_path / "a", TRANSACTIONS[0], TRANSACTIONS[1], TRANSACTIONS[2], TRANSACTIONS[3])
    cut(spool, Place(spool.path / "part-00000002.sql", 10))
    assert content(spool) == TRANSACTIONS[0] + TRANSACTIONS[1][:10]


def test_a_cut_that_is_interrupted_leaves_no_hole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = fill(tmp_path / "a", *TRANSACTIONS[:5])
    place = Place(spool.path / "part-00000001.sql", 10)
    removed = []

    def unlink(path: Path) -> None:
        removed.append(path)
        if len(removed) == 2:
            raise OSError
        os.remove(path)

    with monkeypatch.context() as patch, pytest.raises(OSError):
        patch.setattr(os, "unlink", unlink)
        cut(spool, place)
    assert content(spool) == b"".join(TRANSACTIONS[:3])
    cut(spool, place)
    assert content(spool) == TRANSACTIONS[0][:10]


def test_the_hint_is_used_only_after_an_archived_transaction(tmp_path: Path) -> None:
    spool = fill(tmp_path / "a", SAMPLE)
    for offset, archived, start in [
        (ENDS[1], 0x218, ENDS[1]),
        (ENDS[1], 0x217, 0),
        (ENDS[1] - 1, 0x218, 0),
        (ENDS[1] + 1, 0x218, 0),
        (10**9, 0x218, 0),
    ]:
        spool.state_path.write_text(f'{{"part": 1, "file": "stream.sql", "offset": {offset}}}')
        with Tape(spool.paths()) as tape:
            assert find_start(tape, spool, archived) == start
    spool.state_path.write_text("not JSON")
    with Tape(spool.paths()) as tape:
        assert find_start(tape, spool, 0x218) == 0


def test_a_tape_that_begins_within_an_archived_transaction_is_read_from_the_next_one(tmp_path: Path) -> None:
    lines = TRANSACTIONS[1].splitlines(True)
    for first in range(1, len(lines)):
        spool = fill(tmp_path / str(first), b"".join(lines[first:]) + TRANSACTIONS[2])
        assert b"".join(read_transactions(spool.path, 0x218)) == TRANSACTIONS[2]
        with pytest.raises(ScribeError, match="starts too late"):
            list(read_transactions(spool.path, 0x208))


def test_frames_that_a_cut_removes_are_found(tmp_path: Path) -> None:
    spool = fill(tmp_path / "a", SAMPLE)
    with Tape(spool.paths()) as tape:
        assert frames_after(tape, ENDS[0], 0x208) == 0x210
        assert frames_after(tape, ENDS[0], 0x210) == 0x210
        assert frames_after(tape, ENDS[0], 0x218) == 0x220
        assert frames_after(tape, ENDS[3], 0) is None
    spool.stream.write_bytes(b"2\tx\n\\.\nCOMMIT; -- end 0/218\n")
    with Tape(spool.paths()) as tape:
        assert frames_after(tape, 0, 0x208) == 0x217


def test_part_numbers_are_not_used_again(tmp_path: Path) -> None:
    spool = fill(tmp_path / "a", b"x", b"y")
    assert spool.next_part().name == "part-00000002.sql"
    spool.state_path.write_text('{"part": 7}')
    assert spool.next_part().name == "part-00000008.sql"


# --- many short transactions at a time --------------------------------------------------------------------------

FRAGMENTS = [
    b"BEGIN; -- xid 7 commit 0/1 time 2026-11-22 13:07:00.123456+00\n",
    b"BEGIN; -- xid 7 commit FFFFFFFF/FFFFFFF0 time 2026-11-22 13:07:00.123456+00 BC\n",
    b"COMMIT; -- end 0/1\n",
    b"COMMIT; -- end 0/00000208\n",
    b"COMMIT; -- end FFFFFFFF/FFFFFFFF\n",
    b"BEGIN; -- xid ",
    b"COMMIT; -- end ",
    b"x\n",
    b"\n",
    b"\0",
    b"0",
]
KINDS = ["insert at line", "insert", "drop", "repeat", "swap", "cut"]


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, list[int]]:
    """Return what may be in a spool, most of it short transactions, and LSNs at which they are committed."""
    lsn = draw(st.sampled_from([0x200, 0xFFFFF00, 0xFFFFFF00, 0x1_0FFFFF00]))
    bodies = draw(st.lists(st.sampled_from([*BODIES, b""]), min_size=1, max_size=5))
    gaps = draw(st.lists(st.sampled_from([8, 16, 0x30, 0x100]), min_size=3, max_size=40))
    odd = draw(st.integers(0, 2 * len(gaps)))  # the transaction that is before or after its time, if any
    text, lsns = b"", [lsn]
    for number, gap in enumerate(gaps):
        early, length = draw(st.sampled_from([(0, 0), (0, -8), (0x200, 8), (-8, 0x400)])) if number == odd else (0, 8)
        text += transaction(lsn - early, bodies[number % len(bodies)], length=length)
        lsn += gap
        lsns.append(lsn)
    for mutation in draw(st.lists(st.tuples(st.sampled_from(KINDS), st.floats(0, 1), st.integers(0, 10)), max_size=2)):
        text = mutate(text, *mutation)
    return text, lsns


def mutate(text: bytes, kind: str, where: float, which: int) -> bytes:
    """Return a text with one change; at a line for all kinds but the first and the last."""
    lines = text.splitlines(True)
    at, line = int(where * len(text)), int(where * len(lines))
    if kind == "insert":
        return text[:at] + FRAGMENTS[which] + text[at:]
    if kind == "insert at line":
        lines.insert(line, FRAGMENTS[which])
    elif kind == "drop":
        del lines[line : line + 1 + which % 3]
    elif kind == "repeat":
        lines[line:line] = lines[line : line + 1 + which]
    elif kind == "swap":
        lines[line : line + 2] = reversed(lines[line : line + 2])
    else:
        return text[:at]
    return b"".join(lines)


def read_all(path: Path, few: int, block: int, archived: int, cuts: list[int]) -> tuple[Any, ...]:
    """Return all that a scan says, and what rotation would make of it. few: transactions not worth a batch."""
    with pytest.MonkeyPatch.context() as patch, Tape([path]) as tape:
        patch.setattr(spool_module, "FEW", few)
        patch.setattr(tape_module, "BLOCK", block)
        scan, again = Scan(tape, 0, cuts[0]), Scan(tape, 0, cuts[0])
        found = list(scan)
        for batch in again.batches():
            each = list(batch.each())
            first, last = each[0], each[-1]
            ends = first.start, last.stop, first.commit_lsn, last.end_lsn, last.start, last.commit_lsn
            assert batch[:-1] == (*ends, len(each))
            assert each == found[: len(each)]
            found = found[len(each) :]
        assert not found
        try:
            planned: object = plan(Scan(tape, 0), archived, cuts)
        except ScribeError as error:
            planned = str(error)
        return list(Scan(tape, 0, cuts[0])), scan.end, scan.position, scan.damage, planned


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(streams(), st.sampled_from([300, 2000, 4 << 20]), st.lists(st.floats(0, 1), max_size=4))
def test_many_transactions_at_a_time_are_found_as_one_by_one(
    tmp_path: Path, stream: tuple[bytes, list[int]], block: int, marks: list[float]
) -> None:
    text, lsns = stream
    path = tmp_path / "part-00000001.sql"
    path.write_bytes(text)
    cuts = sorted({lsns[0] - 8, *(int(lsns[0] + mark * (lsns[-1] - lsns[0])) for mark in marks)})
    for archived in cuts:
        assert read_all(path, 2, block, archived, cuts) == read_all(path, 10**9, block, archived, cuts)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"COMMIT; -- end 0/10328\n", FRAGMENTS[0] + b"COMMIT; -- end 0/10328\n"),
        (b"COMMIT; -- end 0/10328\n", b"COMMIT; -- end 0/10320\n"),
        (b"COMMIT; -- end 0/10328\n", b"COMMIT; -- end 0/10331\n"),
        (b"COMMIT; -- end 0/10328\n", b"COMMIT; -- end 0/10328\n" * 2),
        (b"COMMIT; -- end 0/10328\n", b""),
        (b"commit 0/10320 ", b"commit 0/10317 "),
        (b"COMMIT; -- end 0/10018\n", b"COMMIT; -- end 0/10010\n"),
    ],
)
def test_a_fault_among_many_transactions_is_found(tmp_path: Path, before: bytes, after: bytes) -> None:
    text = b"".join(transaction(0x10000 + 16 * number, BODIES[number % 4]) for number in range(100))
    assert text.count(before) == 1
    path = tmp_path / "part-00000001.sql"
    path.write_bytes(text.replace(before, after))
    found = read_all(path, 2, 4 << 20, 0x10000, [0x10000])
    assert found == read_all(path, 10**9, 4 << 20, 0x10000, [0x10000])
    assert found[3] is not None


def test_short_transactions_are_read_many_at_a_time(tmp_path: Path) -> None:
    text = b"".join(transaction(0x10000 + 16 * number, BODIES[number % 4]) for number in range(1000))
    spool = fill(tmp_path / "a", text)
    with Tape(spool.paths()) as tape:
        batches = list(Scan(tape, 0).batches())
    assert [batch.size for batch in batches] == [1, 998, 1]
