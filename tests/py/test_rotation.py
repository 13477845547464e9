"""Rotation: the spool's transactions are in the segments once, whatever step of it was the last before a crash."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
import zstandard
from archives import make_archive, transaction

from scribe.archive.layout import Archive, Segment
from scribe.common import files
from scribe.common.errors import ScribeError, TryAgainError
from scribe.decoders.registry import decoder_named
from scribe.spool import concatenation as tape_module
from scribe.spool.contents import Spool
from scribe.stream.rotation import rotate
from scribe.stream.waiting import MarkWatch
from scribe.stream.writer import LONGEST, Counter

pytestmark = pytest.mark.unit

ROWS = b"INSERT INTO public.t (id) VALUES (1);\n-- rows 1 inserted 2 updated 1 ddl\n"
TRANSACTIONS = [transaction(0x200 + 16 * i, ROWS) for i in range(6)]
SAMPLE = b"".join(TRANSACTIONS)
# What changes the disk for good; a crash may come before or after each one.
STEPS = ("rename", "replace", "unlink", "fsync", "truncate")


class Crash(BaseException):
    """The machine stops here."""


def plain(segment: Segment) -> bytes:
    """Return the transactions of a segment, after checking its sums."""
    stored = segment.data.read_bytes()
    text = stored
    if segment.data.suffix == ".zst":
        text = zstandard.ZstdDecompressor().decompressobj().decompress(stored)
    manifest = segment.manifest
    assert (manifest["bytes"], manifest["sha256"]) == (len(stored), hashlib.sha256(stored).hexdigest())
    assert (manifest["plain_bytes"], manifest["plain_sha256"]) == (len(text), hashlib.sha256(text).hexdigest())
    footer = text.index(b"BEGIN; -- footer")
    return text[text.index(b"BEGIN; -- ") : footer] if b"BEGIN; -- " in text[:footer] else b""


def archived(archive: Archive) -> bytes:
    """Return the transactions of all segments, after checking that each continues the one before."""
    position, before, found = archive.identity()["chain_from_lsn"], None, b""
    for segment in archive.segments():
        manifest = segment.manifest
        assert (manifest["from_lsn"], manifest["previous_sha256"]) == (position, before)
        assert manifest["chain_start"] == (before is None)
        position, before = manifest["to_lsn"], manifest["sha256"]
        found += plain(segment)
    return found


def append(archive: Archive, text: bytes) -> None:
    with open(archive.spool / "stream.sql", "ab") as stream:
        stream.write(text)


def ends(archive: Archive) -> list[str]:
    return [segment.manifest["to_lsn"] for segment in archive.segments()]


@pytest.mark.parametrize("compress", [True, False])
def test_a_segment_holds_the_bytes_of_the_spool(tmp_path: Path, compress: bool) -> None:
    archive = make_archive(tmp_path / "a")
    append(archive, SAMPLE)
    report = rotate(archive, None, compress=compress)
    assert archived(archive) == SAMPLE
    (segment,) = report.segments
    assert segment.manifest["counts"] == {
        "transactions": 6, "inserted": 6, "updated": 12, "deleted": 0, "truncated": 0, "ddl": 6
    }  # fmt: skip
    assert (segment.manifest["from_lsn"], segment.manifest["to_lsn"]) == ("0/100", "0/258")
    assert segment.manifest["first_commit_time"] == "2026-11-22 13:07:00.123456+00"
    assert segment.manifest["sequences"] is None
    assert segment.data.name.endswith("-0000000000000258.sql" + (".zst" if compress else ""))
    assert oct(segment.data.stat().st_mode & 0o777) == oct(segment.path.stat().st_mode & 0o777) == "0o600"


def test_nothing_to_rotate_makes_no_segment(tmp_path: Path) -> None:
    archive = make_archive(tmp_path / "a")
    assert rotate(archive, None).segments == []
    append(archive, SAMPLE)
    rotate(archive, None)
    assert rotate(archive, None).segments == []
    assert [path.name for path in Spool(archive.spool).paths()] == ["stream.sql"]


def test_a_torn_end_waits_for_its_rest(tmp_path: Path) -> None:
    lines = SAMPLE.splitlines(True)
    for first in range(len(lines)):
        archive = make_archive(tmp_path / str(first))
        append(archive, b"".join(lines[:first]))
        rotate(archive, None)
        append(archive, b"".join(lines[first:]))
        rotate(archive, None)
        assert archived(archive) == SAMPLE


def test_a_transaction_may_span_many_rotations(tmp_path: Path) -> None:
    archive = make_archive(tmp_path / "a")
    for line in SAMPLE.splitlines(True):
        append(archive, line)
        rotate(archive, None)
    assert archived(archive) == SAMPLE
    assert ends(archive) == ["0/208", "0/218", "0/228", "0/238", "0/248", "0/258"]


def test_the_hint_may_be_lost(tmp_path: Path) -> None:
    archive = make_archive(tmp_path / "a")
    for line in SAMPLE.splitlines(True):
        append(archive, line)
        rotate(archive, None)
        (archive.spool / "state.json").unlink(missing_ok=True)
    assert archived(archive) == SAMPLE


def test_what_segments_hold_already_is_passed_over(tmp_path: Path) -> None:
    archive = make_archive(tmp_path / "a")
    append(archive, b"".join(TRANSACTIONS[:3]))
    rotate(archive, None)
    append(archive, SAMPLE)
    rotate(archive, None)
    assert archived(archive) == SAMPLE


def test_what_comes_before_the_chain_is_passed_over(tmp_path: Path) -> None:
    archive = make_archive(tmp_path / "a", chain_from_lsn="0/218")
    append(archive, SAMPLE)
    rotate(archive, None)
    assert archived(archive) == b"".join(TRANSACTIONS[2:])


def test_segments_end_at_every_cut(tmp_path: Path) -> None:
    archive = make_archive(tmp_path / "a")
    for lsn in (0x20C, 0x210, 0x230, 0x23A, 0x258, 0x270):
        archive.record_cut(lsn)
    append(archive, SAMPLE)
    rotate(archive, None)
    assert archived(archive) == SAMPLE
    # 0x20C and 0x210 enclose no transaction; 0x258 is where the last one ends; past 0x270 nothing has come yet
    assert ends(archive) == ["0/20C", "0/210", "0/230", "0/23A", "0/258"]
    assert archive.pending_cuts() == [0x270]
    append(archive, transaction(0x270))
    rotate(archive, None)
    assert ends(archive)[5:] == ["0/270", "0/278"]
    assert archive.pending_cuts() == []


def test_a_cut_that_comes_too_late_is_reported(tmp_path: Path) -> None:
    archive = make_archive(tmp_path / "a")
    append(archive, SAMPLE)
    rotate(archive, None)
    archive.record_cut(0x230)
    said: list[str] = []
    rotate(archive, None, warn=said.append)
    assert said == ["no segment ends at 0/230: it was archived before the cut was asked for"]
    assert archive.pending_cuts() == []


def test_a_cut_where_the_chain_begins_is_done(tmp_path: Path) -> None:
    archive = make_archive(tmp_path / "a")
    archive.record_cut(0x100)
    rotate(archive, None, warn=pytest.fail)
    assert archive.pending_cuts() == []


def test_a_damaged_spool_is_refused_and_stays(tmp_path: Path) -> None:
    archive = make_archive(tmp_path / "a")
    append(archive, TRANSACTIONS[1] + TRANSACTIONS[0])
    with pytest.raises(ScribeError, match="committed later"):
        rotate(archive, None)
    assert list(archive.segments()) == []
    assert b"".join(path.read_bytes() for path in Spool(archive.spool).paths()) == TRANSACTIONS[1] + TRANSACTIONS[0]


def test_a_second_rotation_waits_then_gives_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = make_archive(tmp_path / "a")
    monkeypatch.setattr("scribe.stream.rotation.LOCK_WAIT", 0.1)
    with files.Lock(archive.spool / "rotate.lock", "test"), pytest.raises(TryAgainError, match="rotate.lock"):
        rotate(archive, None)


def test_a_dry_run_changes_nothing(tmp_path: Path) -> None:
    archive = make_archive(tmp_path / "a")
    append(archive, SAMPLE)
    before = {path: path.stat().st_mtime_ns for path in archive.path.rglob("*")}
    report = rotate(archive, None, dry_run=True)
    assert [piece.transactions for piece in report.planned] == [6]
    after = {path: path.stat().st_mtime_ns for path in archive.path.rglob("*")}
    assert {p: t for p, t in after.items() if p.name != "rotate.lock"} | {archive.spool: 0} == before | {
        archive.spool: 0
    }


def test_warnings_are_copied_into_the_manifest(tmp_path: Path) -> None:
    archive = make_archive(tmp_path / "a")
    body = (
        b"-- warning: large object 7 was not carried\n-- ddl ALTER TABLE inexact: no library\nSELECT 1\n;\n-- ddl end\n"
    )
    append(archive, transaction(0x200, body))
    (segment,) = rotate(archive, None).segments
    assert segment.manifest["warnings"][1:] == [
        "large object 7 was not carried",
        "inexact DDL: ALTER TABLE inexact: no library",
    ]


def test_counts_do_not_depend_on_where_blocks_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text = b"".join(transaction(0x200 + 16 * i, ROWS + b"-- warning: w%d\n" % i) for i in range(400))
    for size in (97, 4096, LONGEST, LONGEST + 1, 1 << 20):
        counter = Counter()
        for start in range(0, len(text), size):
            counter.feed(text[start : start + size])
        assert counter.counts == {"inserted": 400, "updated": 800, "deleted": 0, "truncated": 0, "ddl": 400}
        assert counter.warnings == [f"w{i}" for i in range(400)]
    monkeypatch.setattr(tape_module, "BLOCK", 777)
    archive = make_archive(tmp_path / "a")
    append(archive, text)
    rotate(archive, None)
    assert archived(archive) == text


def test_the_archive_command_gets_every_file_once_and_is_tried_again(tmp_path: Path) -> None:
    archive = make_archive(tmp_path / "a")
    away, log = tmp_path / "away", tmp_path / "log"
    command = f"test ! -e {away} && echo %f >> {log} && test -f %p && echo 100%% > /dev/null"
    append(archive, TRANSACTIONS[0])
    away.touch()
    said: list[str] = []
    rotate(archive, None, command=command, warn=said.append)
    assert len(said) == 1 and "the next rotation tries again" in said[0]
    away.unlink()
    append(archive, TRANSACTIONS[1])
    rotate(archive, None, command=command, warn=pytest.fail)
    rotate(archive, None, command=command, warn=pytest.fail)
    names = [name for segment in archive.segments() for name in (segment.data.name, segment.path.name)]
    assert [name for name in log.read_text().split() if name != "archive.json"] == names


class Machine:
    """Counts the steps that change the disk and stops before or after the one with a given number."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, stop: int, *, after: bool) -> None:
        self.steps = 0
        for name in STEPS:
            monkeypatch.setattr(os, name, self._wrap(getattr(os, name), stop, after))

    def _wrap(self, function, stop, after):  # type: ignore[no-untyped-def]
        def step(*arguments, **named):  # type: ignore[no-untyped-def]
            self.steps += 1
            if self.steps == stop and not after:
                raise Crash
            if self.steps > stop:  # nothing happens on a machine that has stopped, clean-up code included
                raise Crash
            result = function(*arguments, **named)
            if self.steps == stop:
                raise Crash
            return result

        return step


@pytest.mark.parametrize("after", [False, True])
def test_a_crash_at_any_step_loses_and_repeats_nothing(tmp_path: Path, after: bool) -> None:
    stop = 0
    while True:
        stop += 1
        archive = make_archive(tmp_path / f"{after}{stop}")
        append(archive, b"".join(TRANSACTIONS[:2]) + TRANSACTIONS[2][:30])
        rotate(archive, None)
        append(archive, TRANSACTIONS[2][30:] + b"".join(TRANSACTIONS[3:5]) + TRANSACTIONS[5][:90])
        archive.record_cut(0x230)
        with pytest.MonkeyPatch.context() as patch:
            machine = Machine(patch, stop, after=after)
            try:
                rotate(archive, None, command="true")
                crashed = False
            except Crash:
                crashed = True
        again = rotate(archive, None, command="true")
        append(archive, TRANSACTIONS[5][90:])
        rotate(archive, None, command="true")
        assert archived(archive) == SAMPLE, stop
        assert "0/230" in ends(archive)
        assert archive.pending_cuts() == []
        names = {path.name for path in archive.incremental.iterdir()}
        kept = {name for s in archive.segments() for name in (s.data.name, s.path.name)}
        assert names == kept, "leftovers"
        assert json.loads((archive.spool / "unsent.json").read_text()) == []
        if not crashed:
            assert not again.segments
            break
    assert machine.steps > 20


def test_a_mark_is_found_while_a_rotation_that_was_killed_has_left_no_file_to_write_to(tmp_path: Path) -> None:
    archive = make_archive(tmp_path / "a")
    spool = Spool(archive.spool)
    append(archive, SAMPLE)
    watch = MarkWatch(spool, decoder_named("scribe_decoder"), "rotate.one")
    append(archive, transaction(0x300, b"-- mark rotate.one\n"))
    os.rename(spool.stream, spool.next_part())
    assert watch.look() == 0x308
