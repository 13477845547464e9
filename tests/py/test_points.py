"""Points in time: what is reachable, which files lead there, and that damaged ones are not used."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from cluster import poll
from handmade import START
from restoring import TABLES, Target, insert, small_archive

from scribe.common.lsn import format_lsn


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def newest(target: Target, pattern: str) -> Path:
    return sorted(target.path.glob(pattern))[-1]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda t: flip_a_byte(newest(t, "incremental/*.zst")), "does not have the checksum"),
        (lambda t: flip_a_byte(newest(t, "base/*/base.sql.zst")), "does not have the checksum"),
        (lambda t: flip_a_byte(newest(t, "base/*/meta.json")), "does not have the checksum"),
        (lambda t: os.truncate(newest(t, "incremental/*.zst"), 100), "has 100 bytes"),
        (lambda t: newest(t, "incremental/*.zst").unlink(), "is missing"),
        (lambda t: sorted(t.path.glob("incremental/*.json"))[1].unlink(), "a segment is missing between"),
        (lambda t: sorted(t.path.glob("incremental/*.json"))[0].unlink(), "a segment is missing between"),
        (lambda t: newest(t, "incremental/*.json").write_text("{}"), "is not valid"),
        (
            lambda t: shutil.copy(sorted(t.path.glob("incremental/*.json"))[0], newest(t, "incremental/*.json")),
            "is of another segment",
        ),
        (lambda t: newest(t, "base/*/manifest.json").unlink(), "no complete base"),
    ],
)
def test_a_damaged_archive_is_refused_before_anything_is_touched(target: Target, damage: Any, said: str) -> None:
    small_archive(target)
    damage(target)
    result = target.run(status=1)
    assert said in result.stderr
    assert not target.exists()


def test_a_segment_of_another_database_is_refused(target: Target) -> None:
    small_archive(target)
    path = newest(target, "incremental/*.json")
    path.write_text(path.read_text().replace('"shop"', '"bank"'))
    assert "belongs to another database" in target.refused()


def lsn_of(number: int) -> str:
    """Return the commit LSN of the transaction that small_archive() writes as number (from 1), without gaps."""
    return format_lsn(START + 0x100 * number - 0x30 + 0x10 * ((number > 4) + (number > 7)))


@pytest.mark.parametrize(
    ("arguments", "last"),
    [
        ([], 10),
        (["--target-xid", "703"], 4),
        (["--target-xid", "703", "--target-exclusive"], 3),
        (["--target-time", "2026-11-22 03:00:03+00"], 4),
        (["--target-time", "2026-11-22 04:00:03.999999+01"], 4),
        (["--target-time", "2026-11-22 03:00:03+00", "--target-exclusive"], 3),
        (["--target-time", "2026-11-22 03:00:10+00"], 10),
        (["--target-lsn", lsn_of(5)], 6),
        (["--target-lsn", lsn_of(5), "--target-exclusive"], 5),
        (["--target-lsn", "0/1000000"], 1),
        (["--target-name", "before-lunch"], 6),
    ],
)
def test_a_point_is_reached_exactly(target: Target, arguments: list[str], last: int) -> None:
    small_archive(target)
    target.run(*arguments)
    assert [row[0] for row in target.rows()] == list(range(1, last + 1))
    (value,) = target.rows("SELECT nextval('public.t_id_seq')")[0]
    assert value == 34 if last == 10 else value > last or last == 1


# A statistics expression runs where a query is planned; a foreign partition leads to a server that may be away.
UNREADABLE = """
CREATE FUNCTION public.boom(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
  $$ BEGIN IF current_user = 'postgres' THEN RAISE ASSERT_FAILURE; END IF; RETURN 1; END $$;
CREATE TABLE public.a (id int); CREATE SEQUENCE public.a_seq OWNED BY public.a.id;
CREATE STATISTICS public.s ON (id + public.boom(1)) FROM public.a;
CREATE FOREIGN DATA WRAPPER none; CREATE SERVER away FOREIGN DATA WRAPPER none;
CREATE TABLE public.p (id bigint, k int) PARTITION BY LIST (k); CREATE SEQUENCE public.p_seq OWNED BY public.p.id;
CREATE FOREIGN TABLE public.there PARTITION OF public.p FOR VALUES IN (1) SERVER away;
CREATE TABLE public.here PARTITION OF public.p FOR VALUES IN (2); INSERT INTO public.here VALUES (7, 2);
"""


def test_no_table_that_cannot_be_read_keeps_a_point_from_being_reached(target: Target) -> None:
    target.archive.base(TABLES + UNREADABLE)
    target.archive.segment([insert(2), insert(3)])
    said = target.run("--target-xid", "701").stderr
    assert "left out, since public.a could not be read: sequence public.a_seq" in said
    assert "could not analyze public.a: assert_failure" in said
    assert said.count("warning: ") == 2, said
    done = "SELECT relname FROM pg_stat_user_tables WHERE last_analyze > 'epoch' AND schemaname = 'public' ORDER BY 1"
    poll(lambda: target.rows(done) == [("here",), ("log",), ("t",)], what="statistics")
    assert target.rows("SELECT nextval('public.p_seq'), nextval('public.t_id_seq')") == [(8, 3)]


def test_a_restore_to_a_point_can_go_further(target: Target) -> None:
    small_archive(target)
    for xid in (702, 704, 705, 707, 709):
        target.run("--target-xid", str(xid), *(["--resume"] if target.exists() else []))
        count = xid - 700 + 1 - (xid > 705)
        assert len(target.rows()) == count
    assert "Name a later target" in target.refused("--resume", "--target-xid", "702")
    for point in (["--target-xid", "708"], ["--target-time", target.archive.time(708)]):  # in the segment it stands in
        assert "which is beyond the target" in target.refused("--resume", *point)
    assert len(target.rows()) == 9
    target.run("--resume")
    assert len(target.rows()) == 10
    assert target.rows("SELECT last_value FROM public.t_id_seq") == [(33,)]


def test_the_latest_base_before_the_point_is_used(target: Target) -> None:
    small_archive(target)
    dump = TABLES + "".join(insert(i) for i in range(2, 11))
    newer = target.archive.base(dump)
    target.archive.segment([insert(11)])
    listed = json.loads(target.run("--list", "--json").stdout)["chains"]
    assert [chain["base"] for chain in listed][-1] == newer
    assert [chain["segments"] for chain in listed] == [4, 1]
    assert json.loads(target.run("--json").stdout)["base"] == newer
    target.cluster.dropdb(target.name)
    assert json.loads(target.run("--json", "--target-xid", "703").stdout)["base"] != newer
    target.cluster.dropdb(target.name)
    target.run("--base", listed[0]["base"])
    assert len(target.rows()) == 11


def test_of_a_point_that_cannot_be_reached_the_nearest_that_can_are_named(target: Target) -> None:
    small_archive(target)
    small, first = target.archive, format_lsn(target.archive.lsn)
    stamps = [path.name for path in sorted((target.path / "base").iterdir())]
    for _ in range(3):  # each a chain of its own, after a gap
        small.lsn += 0x1000
        stamps.append(small.base(TABLES))
        small.segment([insert(2)], chain_start=True)
    gap = f"0/{small.lsn - 0x1000:X}"
    said = target.refused("--target-lsn", gap)
    assert [stamp for stamp in stamps if stamp in said] == stamps[2:]
    assert first not in said
    assert [stamp for stamp in stamps if stamp in target.refused("--target-time", "2020-01-01 00:00+00")] == stamps[:1]


def test_a_hole_is_listed_and_not_crossed(target: Target) -> None:
    small_archive(target)
    sorted(target.path.glob("incremental/*.json"))[1].unlink()
    assert "then a hole: a segment is missing between" in target.run("--list").stdout
    assert "--target-lsn" in target.refused()
    reachable = json.loads(target.run("--list", "--json").stdout)["chains"][0]["to_lsn"]
    target.run("--target-lsn", reachable)
    assert len(target.rows()) == 5


def test_a_new_chain_is_not_taken_for_a_continuation(target: Target) -> None:
    small_archive(target)
    target.archive.segment([insert(12)], chain_start=True)
    assert "the stream began again" in target.refused()


def test_a_transaction_that_begins_where_the_one_before_ends_is_applied_once(target: Target) -> None:
    """Its commit record starts at the base's point, or at the end of a segment, to the byte."""
    archive = target.archive

    def adjacent(body: str | bytes) -> bytes:
        archive.xid += 1
        archive.lsn += 0x30
        place = f"xid {archive.xid} commit {format_lsn(archive.lsn - 0x30)} time {archive.time(archive.xid)}"
        return f"BEGIN; -- {place}\n{body!s}COMMIT; -- end {format_lsn(archive.lsn)}\n".encode()

    archive.transaction = adjacent  # type: ignore[method-assign]
    archive.base(TABLES)
    archive.segment([insert(2), insert(3) + "-- mark large\n", insert(4)])
    second = format_lsn(archive.lsn)
    archive.segment([insert(5), insert(6)])
    for arguments, last in ([], 6), (["--target-lsn", second], 5), (["--target-lsn", second, "--target-exclusive"], 4):
        target.run(*arguments)
        assert [row[0] for row in target.rows()] == list(range(1, last + 1))
        if last < 6:
            target.run("--resume")
            assert [row[0] for row in target.rows()] == list(range(1, 7))
        target.cluster.dropdb(target.name)
