"""The spool is cut after its last whole transaction, wherever the write was torn."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from archives import make_archive, transaction

from scribe import tape as tape_module
from scribe.errors import ScribeError
from scribe.spool import Place, Scan, Spool, Tape, cut, find_start, frames_after, read_transactions

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
