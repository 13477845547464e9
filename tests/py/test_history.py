"""Changes read back out of segments: every form a change may stand in, against what triggers on the source saw."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import subprocess
import time
import tracemalloc
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from archives import make_archive
from archives import transaction as written
from cases import assert_manifest_tells_the_same
from cluster import ROOT, Cluster
from handmade import Handmade
from source import Scribe

from scribe.archive.layout import Archive
from scribe.archive.manifest import check_value
from scribe.archive.segments import Reader, open_plain
from scribe.archive.summary import MOST, Summary
from scribe.archive.tokens import read_image
from scribe.common.ddlnames import Renamed, brief, name_objects, read_dropped_columns, read_partition, read_rename
from scribe.common.errors import ScribeError
from scribe.common.patterns import read_pattern
from scribe.history.changes import (
    Change,
    Count,
    Ddl,
    Mark,
    Range,
    Transaction,
    read_archive,
    read_events,
    whole,
)
from scribe.history.query import Query
from scribe.history.render import Entry, ShortDdl, Style, line_of
from scribe.history.statements import Table
from scribe.history.times import read_time
from scribe.programs.log import main
from scribe.stream.rotation import rotate
from scribe.stream.writer import Counter

# Every change of a row with its old and new row as text, by the settings that a segment's header has.
AUDIT = """
SET datestyle = 'ISO, MDY'; SET timezone = 'UTC'; SET extra_float_digits = 3; SET bytea_output = hex;
CREATE UNLOGGED TABLE audit (n bigserial, xid bigint, what text, op text, columns text[], old text, new text);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
  INSERT INTO audit (xid, what, op, columns, old, new) SELECT pg_current_xact_id()::text::bigint, TG_TABLE_NAME,
    lower(TG_OP), array_agg(attname ORDER BY attnum), OLD::text, NEW::text
    FROM pg_attribute WHERE attrelid = TG_RELID AND attnum > 0 AND NOT attisdropped;
  RETURN NULL; END $$;
"""
TABLES = """
CREATE TYPE pair AS (a int, b text);
CREATE TABLE keyed (id int PRIMARY KEY, v text, f float8, b bytea, on_ boolean, p pair, n int[]);
CREATE TABLE two (a text, b int, v text, PRIMARY KEY (b, a));
CREATE TABLE "odd ""name, (1)" (id int PRIMARY KEY, "select" text, "wéird ) AS v (" text);
CREATE TABLE whole (a int, v text, p pair);
CREATE TABLE led (a int, v text);
CREATE INDEX ON led (a);
CREATE TABLE identity_ (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text);
"""
NAMES = ("keyed", "two", 'odd "name, (1)', "whole", "led", "identity_")
STRANGE = """E'it''s \\\\ a "quote", (and)\\ttab\\nline; -- 5 rows\\n) AS v (\\nCOPY x\\x01'"""
WORKLOAD = f"""
INSERT INTO keyed VALUES (1, {STRANGE}, 'NaN', '\\x00ff5c', true, (1, 'x,")('), '{{1,NULL}}'),
  (-2, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO keyed SELECT i, 'v' || i || chr(9) || '\\', i / 3.0, NULL, i % 2 = 0, (i, NULL)::pair, '{{}}'
  FROM generate_series(3, 40) i;
UPDATE keyed SET v = {STRANGE} WHERE id = 1;
UPDATE keyed SET v = v || '!', on_ = NOT on_ WHERE id > 10;
UPDATE keyed SET id = id + 1000 WHERE id BETWEEN 20 AND 22;
DELETE FROM keyed WHERE id = 1;
DELETE FROM keyed WHERE id BETWEEN 30 AND 35;
INSERT INTO two SELECT 'k' || i % 3, i, {STRANGE} FROM generate_series(1, 30) i;
UPDATE two SET v = NULL WHERE b > 20;
DELETE FROM two WHERE b < 5;
INSERT INTO "odd ""name, (1)" SELECT i, 'BEGIN; -- ' || i, E'\\\\.' FROM generate_series(1, 20) i;
UPDATE "odd ""name, (1)" SET "wéird ) AS v (" = 'é' WHERE id > 5;
INSERT INTO whole SELECT i / 2, CASE WHEN i > 3 THEN {STRANGE} END, (i, '')::pair FROM generate_series(1, 9) i;
UPDATE whole SET v = 'same' WHERE a = 1;
UPDATE whole SET p = (1, 'q"')::pair WHERE a > 1;
DELETE FROM whole WHERE a = 2;
DELETE FROM whole;
INSERT INTO led SELECT i, 'v' FROM generate_series(1, 5) i;
UPDATE led SET v = NULL WHERE a = 2;
DELETE FROM led WHERE a < 4;
INSERT INTO identity_ (v) SELECT 'v' FROM generate_series(1, 3);
UPDATE identity_ SET id = DEFAULT WHERE id = 2;
BEGIN;
INSERT INTO keyed VALUES (2000, 'one transaction'); INSERT INTO two VALUES ('x', 2000, '');
UPDATE keyed SET v = 'again' WHERE id = 2000; DELETE FROM keyed WHERE id = 2000;
COMMIT;
INSERT INTO keyed (id, v, b) SELECT 3000, repeat('large ', 1500000), decode(repeat('00ff5c', 2700000), 'hex');
UPDATE keyed SET f = 2 WHERE id = 3000;
"""
AFTER = """
INSERT INTO whole VALUES (7, 'old');
BEGIN;
ALTER TABLE whole ADD COLUMN r float8 DEFAULT random();
INSERT INTO whole VALUES (8, 'new');
INSERT INTO keyed (id) VALUES (4000);
COMMIT;
SET application_name = 'psql (mine)';
TRUNCATE keyed, two RESTART IDENTITY CASCADE;
COMMENT ON TABLE two IS E'one\\n;\\ntwo';
SELECT pg_logical_emit_message(true, 'scribe.mark', 'here');
ALTER TABLE identity_ RENAME TO named;
INSERT INTO named (v) VALUES ('x');
ALTER TABLE named RENAME v TO w;
UPDATE named SET w = 'y' WHERE w = 'x';
"""


@pytest.fixture(scope="module")
def told(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scribe]:
    """A source on which triggers have seen every change, and its archive."""
    cluster.createdb("told")
    scribe = Scribe(cluster, "told", tmp_path_factory.mktemp("told") / "archive")
    triggers = [
        f'CREATE TRIGGER z AFTER INSERT OR UPDATE OR DELETE ON "{name}" FOR EACH ROW EXECUTE FUNCTION note();'
        for name in (name.replace('"', '""') for name in NAMES)
    ]
    cluster.psql(AUDIT + TABLES + "".join(triggers) + "INSERT INTO whole VALUES (0, 'first')", "told")
    try:
        scribe.run("scribe-init")
        scribe.start_stream()
        cluster.psql("TRUNCATE audit;" + AUDIT.splitlines()[1] + WORKLOAD, "told")
        scribe.run("scribe-rotate", "--wait-lsn", "current")
        cluster.psql(AFTER, "told")
        scribe.run("scribe-rotate", "--wait-lsn", "current")
        yield scribe
    finally:
        scribe.close()


def row_of(columns: list[str], text: str | None) -> dict[str, str | None]:
    """Return the columns of a row that a trigger noted as text."""
    if text is None:
        return {}
    fields = [None if field is None else field.decode() for field in read_image(text.encode())]
    return dict(zip(columns, fields, strict=True))


def test_every_change_is_told_as_triggers_saw_it(told: Scribe) -> None:
    seen: dict[tuple[int, str], list[tuple[str, list[str], str | None, str | None]]] = {}
    for xid, what, op, columns, old, new in told.cluster.query(
        "SELECT xid, what, op, columns, old, new FROM audit ORDER BY n", "told"
    ):
        if what in NAMES:
            seen.setdefault((xid, what), []).append((op, columns, old, new))
    found: dict[tuple[int, str], list[Change]] = {}
    for transaction in whole(read_archive(Archive(told.archive))):
        for change in transaction.changes:
            if change.table.name in NAMES and change.kind != "truncate":
                found.setdefault((transaction.head.xid, change.table.name), []).append(change)
    assert set(found) == set(seen)
    for place, changes in found.items():
        assert [change.kind for change in changes] == [op for op, *_ in seen[place]]
        for change, (_, columns, before, after) in zip(changes, seen[place], strict=True):
            old, new = row_of(columns, before), row_of(columns, after)
            assert change.key.items() <= old.items()
            assert bool(change.key) == (change.kind != "insert")
            assert not change.whole or change.key == old
            if change.kind == "insert":
                assert change.values == new
            elif change.kind == "update":
                assert old | change.values == new


def test_rows_that_were_sent_again_are_none_of_the_applications(told: Scribe) -> None:
    transactions = list(whole(read_archive(Archive(told.archive))))
    altered = next(t for t in transactions if any(isinstance(item, Ddl) for item in t.items))
    inserted = [(change.table.name, next(iter(change.values.values()))) for change in altered.changes]
    assert inserted == [("whole", "8"), ("keyed", "4000")]
    resent = [item.values["a"] for item in altered.items if isinstance(item, Change) and item.resent]
    assert resent == ["7"]


def test_schema_changes_marks_and_truncates_are_told(told: Scribe) -> None:
    items = [item for t in whole(read_archive(Archive(told.archive))) for item in t.items]
    ddl = [item for item in items if isinstance(item, Ddl) and item.own is None]
    assert [item.tag for item in ddl] == ["ALTER TABLE", "COMMENT", "ALTER TABLE", "ALTER TABLE"]
    assert ddl[1].statement == "COMMENT ON TABLE two IS E'one\\n;\\ntwo'"
    assert ddl[1].application == "psql ?mine?"
    assert ddl[1].asked_by == told.cluster.env["PGUSER"]
    emptied = [item for item in items if isinstance(item, Change) and item.kind == "truncate"]
    assert [(item.table.name, item.options) for item in emptied] == [
        ("keyed", "RESTART IDENTITY CASCADE"),
        ("two", "RESTART IDENTITY CASCADE"),
    ]
    assert "here" in [item.name for item in items if isinstance(item, Mark)]


def test_tables_that_are_not_wanted_are_counted_only(told: Scribe) -> None:
    everything = list(read_archive(Archive(told.archive)))
    counted = list(read_archive(Archive(told.archive), wanted=lambda table: False))
    assert not any(isinstance(item, Change) and item.kind != "truncate" for item in counted)
    for name in NAMES:
        for kind in ("insert", "update", "delete"):
            rows = sum(i.rows for i in counted if isinstance(i, Count) and (i.kind, i.table.name) == (kind, name))
            assert rows == sum(isinstance(i, Change) and (i.kind, i.table.name) == (kind, name) for i in everything)


def test_a_range_begins_and_ends_at_transactions(told: Scribe) -> None:
    heads = [item for item in read_archive(Archive(told.archive)) if isinstance(item, Transaction)]
    within = Range(from_lsn=heads[2].commit_lsn, to_lsn=heads[-2].commit_lsn)
    assert [item for item in read_archive(Archive(told.archive), within) if isinstance(item, Transaction)] == heads[
        2:-1
    ]
    within = Range(since=heads[3].time, until=heads[5].time)
    assert [item for item in read_archive(Archive(told.archive), within) if isinstance(item, Transaction)] == heads[3:6]


def test_a_line_that_is_none_of_the_dialects_is_named_with_its_place(tmp_path: Path) -> None:
    text = (
        b"BEGIN; -- xid 7 commit 0/1 time 2026-01-01 00:00:00.000000+00\n"
        b"INSERT INTO public.t (a) VALUES (1);\nUPDATE public.t SET a = a + 1 WHERE a = 1;\nCOMMIT; -- end 0/2\n"
    )
    with pytest.raises(ScribeError, match=f'file "it" at byte {text.index(b"UPDATE")} of its SQL: UPDATE public.t'):
        list(read_events(Reader(io.BytesIO(text), "it", comments=True), "utf-8"))


# scribe-log


def test_patterns_fit_names_as_in_psql_and_who_asked_is_said_once() -> None:
    strange, other = Table("public", 'we"ird\nTbl'), Table("public", "orders\n")
    assert Query(tables=(read_pattern("we*"),)).fits_table(strange)
    assert not Query(tables=(read_pattern("orders"),)).fits_table(other)
    head = Transaction(7, 1, "2026-01-01 00:00:00.000000+00", "segment")
    dropped = ShortDdl("DROP TABLE", "public.t", "app", None, "psql")
    assert line_of(Entry(head, ddl=[dropped], who=" by app (psql)"), Style()).count("by app (psql)") == 1
    assert line_of(Entry(head, who=" by app (psql)"), Style()).endswith("(nothing) by app (psql)\n")


@pytest.fixture
def log(told: Scribe, capfdbinary: pytest.CaptureFixture[bytes]):
    """Run scribe-log and return what it printed; said holds its messages."""

    def run(*arguments: str, status: int = 0) -> list[str]:
        found = main(["--archive", str(told.archive), "-j", "1", *arguments])
        output, said = capfdbinary.readouterr()
        assert (found, b"" if status == 0 else said) == (status, said)
        return (output if status == 0 else said).decode().splitlines()

    return run


def changes_of(lines: list[str]) -> list[dict[str, object]]:
    changes = [json.loads(line) for line in lines]
    for change in changes:
        check_value("log", change, Path("scribe-log --json"))
    return changes


def test_the_log_has_a_line_for_each_transaction_in_either_order(told: Scribe, log) -> None:
    lines = log()
    assert lines == log("--reverse")[::-1]
    assert lines[:3] == log("-n", "3")
    assert any(
        "public.whole +1, public.keyed +1, ALTER TABLE public.whole by postgres (psql)" in line for line in lines
    )
    assert any("public.keyed +1 ~1 -1, public.two +1" in line for line in lines)
    assert told.run("scribe-log").stdout.splitlines() == lines


def test_the_log_follows_a_row_through_every_form(told: Scribe, log) -> None:
    found = changes_of(log("--table", "keyed", "--key", "id=20", "--json", "--reverse"))
    assert [change["kind"] for change in found] == ["insert", "update", "update"]
    assert found[0]["values"]["v"] == "v20\t\\"  # type: ignore[index]
    assert log("--table", "public.ke*", "--key", "id=20", "--sql", "--reverse")[1].startswith(
        "INSERT INTO public.keyed"
    )
    assert len(log("--value", "a=4", "--kind", "delete")) == 1
    assert len(log("--table", "two", "--key", "a='k1' AND b=10")) == 1
    assert log("--column", "r", "--kind", "update") == []


def test_every_line_of_json_is_as_its_schema_says(told: Scribe, log) -> None:
    kinds = {change["kind"] for change in changes_of(log("--json"))}
    assert kinds == {"insert", "update", "delete", "truncate", "ddl", "mark"}


def test_the_log_takes_ranges_kinds_roles_sizes_and_expressions(told: Scribe, log) -> None:
    lines = log("--reverse")
    times = [line[:29] for line in lines]
    assert log("--since", times[3], "--until", times[5], "--reverse") == lines[3:6]
    lsn = lines[4].split()[4]
    assert log("--from-lsn", lsn, "--to-lsn", lsn) == [lines[4]]
    xid = lines[4].split()[3]
    assert log("--xid", xid) == [lines[4]]
    assert len(log("--kind", "ddl")) == 4
    assert len(log("--kind", "ddl,truncate")) == 5
    assert len(log("--role", "postgres")) == 4
    assert len(log("--grep", "DELETE FROM public.two .*'k1'")) == 1
    assert log("--larger-than", "37", "--table", "keyed")[0].endswith("public.keyed +38")
    assert log("--schema", "pub*", "--table", "led", "-n", "1")[0].endswith("public.led -3")


def test_the_log_names_places_to_restore_to_and_counts_by_table(told: Scribe, log) -> None:
    points = log("--points")
    assert [line.split(maxsplit=5)[5] for line in points if "DELETE" not in line] == [
        "ALTER TABLE public.named by postgres (psql ?mine?)",
        "ALTER TABLE public.identity_ by postgres (psql ?mine?)",
        "mark here",
        "COMMENT public.two by postgres (psql ?mine?)",
        "TRUNCATE public.keyed",
        "TRUNCATE public.two",
        "ALTER TABLE public.whole by postgres (psql)",
    ]
    for chosen, undone in (("--kind=truncate", True), ("--kind=ddl", False)):  # scribe-undo refuses ALTER TABLE
        commands = log("--points", "--commands", "-n", "1", chosen)
        xid = commands[0].split()[3]
        expected = [f"    scribe-restore -d TARGET --target-xid {xid} --target-exclusive"]
        expected += [f"    scribe-undo --xid {xid}"] if undone else []
        assert [line for line in commands if line.startswith("    ")] == expected
    assert [line.split() for line in log("--stat", "--table", "led")][1] == ["public.led", "5", "1", "3", "0"]


def test_the_log_follows_tables_and_columns_through_their_renames(told: Scribe, log) -> None:
    for name in ("identity_", "named"):
        lines = log("--table", name, "--reverse")
        rows = [line.split(maxsplit=5)[5] for line in lines if " by " not in line]
        assert rows == ["public.identity_ +3", "public.identity_ ~1", "public.named +1", "public.named ~1"]
    for column in ("v", "w"):
        assert len(log("--table", "named", "--value", f"{column}=x")) == 1
        assert len(log("--table", "named", "--value", f"{column}=y")) == 1


def test_each_column_of_a_row_has_the_transaction_that_gave_it_its_value(told: Scribe, log) -> None:
    moved, marked, made = (
        log("--table", "keyed", "--key", "id=20", "--kind", kind, "--reverse")[n]
        for kind, n in (("update", 1), ("update", 0), ("insert", 0))
    )
    emptied = log("--table", "keyed", "--kind", "truncate")[0]
    rows = {line.split()[0]: line for line in log("--blame", "keyed", "id=1020")}
    for name, line, value in (
        ("id", moved, "'1020'"),
        ("v", marked, "E'v20\\t\\\\!'"),
        ("on_", marked, "'f'"),
        ("n", made, "'{}'"),
        ("b", made, "NULL"),
    ):
        assert line.split()[:5] == rows[name].split()[1:6] and rows[name].endswith(value), rows[name]
    assert log("--blame", "keyed", "id=1020")[-1].split() == [*emptied.split()[:5], "truncated"]
    assert changes_of(log("--blame", "keyed", "id=1020", "--json"))[0]["xid"] == int(moved.split()[3])
    assert log("--blame", "keyed", "id=2000")[-1].endswith("deleted")


def test_a_row_is_followed_through_renames_and_out_of_the_base(told: Scribe, log) -> None:
    for name in ("named", "identity_"):
        rows = {line.split()[0]: line for line in log("--blame", name, "id=5")}
        assert rows["w"].endswith("'y'") and "v" not in rows
    (older,) = (line for line in log("-q", "--blame", "whole", "a=0 AND v=first") if line.startswith("a "))
    assert "older than what the segments tell" in older


def altered(tag: str, text: str) -> str:
    """Return a transaction that changes the schema."""
    return f"-- ddl {tag} by app\n{text}\n;\n-- ddl end\n-- rows 1 ddl\n"


PARTED = (
    "INSERT INTO public.p_1 (id, note) VALUES (1, 'a');\n-- rows 1 inserted\n",  # 701
    altered("CREATE TABLE", "CREATE TABLE public.p_2 PARTITION OF public.p FOR VALUES IN (2)"),
    "INSERT INTO public.p_2 (id, note) VALUES (2, 'b');\n-- rows 1 inserted\n",
    altered("ALTER TABLE", 'ALTER TABLE public.p RENAME note TO "re,mark"'),
    "UPDATE public.p_1 SET \"re,mark\" = 'c' WHERE id = 1;\n-- rows 1 updated\n",  # 705
    altered("ALTER TABLE", 'ALTER TABLE public.p ADD n int, DROP "re,mark"'),
    altered("ALTER TABLE", 'ALTER TABLE public.p ADD "re,mark" int'),
    "UPDATE public.p_1 SET \"re,mark\" = '7' WHERE id = 1;\n-- rows 1 updated\n",  # 708
    altered("ALTER TABLE", "ALTER TABLE public.p RENAME TO q"),
    "DELETE FROM public.p_2 WHERE id = 2;\n-- rows 1 deleted\n",  # 710
    altered("DROP TABLE", "DROP TABLE public.q"),
    altered("CREATE TABLE", "CREATE TABLE public.q (id int PRIMARY KEY)"),
    "INSERT INTO public.q (id) VALUES (3);\n-- rows 1 inserted\n",  # 713
)


@pytest.mark.parametrize("told", [True, False])
def test_partitions_are_asked_for_with_their_table_and_columns_end_when_they_are_dropped(
    told: bool, tmp_path: Path, capfd
) -> None:
    """Manifests tell as much as segments do. What has a name later is another table, or column."""
    archive = Handmade(tmp_path)
    known = {"kind": "table", "persistence": "permanent", "replica_identity": "default"}
    tables = [{"schema": "public", "name": name, **known} for name in ("p", "p_1", "quiet")]
    archive.base("", tables=[tables[0], tables[1] | {"partition_of": {"schema": "public", "name": "p"}}, tables[2]])
    archive.segment(PARTED, told=told)

    def ask(*arguments: str, status: int = 0) -> list[str]:
        assert main(["--archive", str(tmp_path), "-j", "1", "--reverse", *arguments]) == status
        return capfd.readouterr().out.splitlines()

    def xids(*arguments: str) -> list[int]:
        return [int(line.split()[3]) for line in ask("--kind", "insert,update,delete", *arguments)]

    assert xids("--table", "p") == [701, 703, 705, 708, 710]
    assert xids("--table", "q") == [701, 703, 705, 708, 710, 713]
    assert xids("--table", "p", "--column", "note") == [701, 703, 705]
    assert xids("--table", "p", "--column", "re,mark") == [701, 703, 705, 708]
    assert xids("--table", "p_1", "--column", "note") == [701, 705]
    stat = [line.split() for line in ask("--stat", "--table", "p", "--kind", "insert,update,delete")[1:]]
    assert stat == [["public.p_1", "1", "2", "0", "0"], ["public.p_2", "1", "0", "1", "0"]]
    assert ask("--table", "quiet") == []  # it is there, and has no changes
    (tmp_path / "pruned.json").write_text('{"to_lsn": "0/500", "bases": []}')
    assert main(["--archive", str(tmp_path), "--xid", "5"]) == 1
    assert "in the archive, whose segments before 0/500 scribe-prune has removed" in capfd.readouterr().err
    assert main(["--archive", str(tmp_path), "--blame", "p", "id=1"]) == 0
    lines = [line.split() for line in capfd.readouterr().out.splitlines()]
    assert [(line[0], line[4], line[6]) for line in lines[:2]] == [("id", "701", "'1'"), ('"re,mark"', "708", "'7'")]


@pytest.fixture
def swapped(tmp_path: Path) -> Path:
    """An archive in which two rows change places, one of them twice in a transaction; return its directory."""
    archive = make_archive(tmp_path / "swapped")
    made = "INSERT INTO public.t (id, v) VALUES ({}, '{}');\n-- rows 1 inserted\n"
    moved = "UPDATE public.t SET id = {}, v = '{}' WHERE id = {};\n"
    bodies = [
        made.format(1, "a"),
        made.format(2, "b"),
        moved.format(9, "a", 1) + "-- rows 1 updated\n",
        moved.format(5, "b", 2) + moved.format(1, "b", 5) + "-- rows 2 updated\n",
        moved.format(2, "c", 9) + "-- rows 1 updated\n",
    ]
    with (archive.spool / "stream.sql").open("wb") as spool:
        for number, body in enumerate(bodies):
            spool.write(written(0x200 + 16 * number, body.encode(), xid=100 + number))
    rotate(archive, None)
    return archive.path


def test_rows_that_change_places_are_told_apart(swapped: Path, capfd) -> None:
    def ask(key: str) -> list[tuple[object, ...]]:
        assert main(["--archive", str(swapped), "--json", "--blame", "t", key]) == 0
        lines = changes_of(capfd.readouterr().out.splitlines())
        return [(line["xid"], *(line[k] for k in ("column", "value", "by") if k in line)) for line in lines]

    assert ask("id=1") == [(103, "id", "1"), (101, "v", "b")]
    assert ask("id=2") == [(104, "id", "2"), (104, "v", "c")]
    assert ask("id=9") == [(102, "id", "9"), (100, "v", "a"), (104, "update")]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("keyed", "v=again"), "that is not the key of public.keyed, which is (id)"),
        (("two", "a=k1"), "that is not the key of public.two, which is (a, b)"),
        (("led", "v=v"), "more than one row of public.led has that key"),
        (("keyed", "id=77777"), "no transaction in the segments has touched that row"),
        (("keyedd", "id=1"), "no table of that name was ever in the archive"),
        (("*", "id=2"), "rows of several tables have that key: "),
    ],
)
def test_what_no_row_can_be_blamed_by_is_refused(told: Scribe, log, arguments, said) -> None:
    assert said in log("--blame", *arguments, status=1)[0]


@pytest.mark.parametrize(
    "form",
    [("--points",), ("--stat",), ("--kind", "ddl"), ("--points", "--table", "keyed"), ("--stat", "--kind", "delete")],
)
def test_manifests_alone_tell_what_reading_the_segments_does(told: Scribe, log, form, monkeypatch) -> None:
    short = log(*form)
    monkeypatch.setattr("scribe.history.search.from_manifest", lambda *_: None)
    assert log(*form) == short


@pytest.mark.unit
@pytest.mark.parametrize("line", [b"-- mark m\n", b"TRUNCATE ONLY public.t;\n"])
def test_what_anybody_can_repeat_is_summed_up_in_a_time_that_does_not_grow_with_its_square(line: bytes) -> None:
    summary = Summary("utf-8")
    begin = b"-- head\nBEGIN; -- xid 7 commit 0/1 time 2026-01-01 00:00:00.000000+00\n"
    began = time.process_time()
    summary.feed(begin + line * 100_000 + b"COMMIT; -- end 0/2\n")
    assert time.process_time() - began < 5  # 0.3 s; more than 15 s if the BEGIN line is looked for each time


@pytest.mark.unit
def test_a_statement_that_comes_in_many_blocks_is_not_looked_at_again_with_each(monkeypatch) -> None:
    """A statement of 200 MB took a rotation minutes: anybody may run one."""
    statement = b"ALTER TABLE t DROP a, ALTER b SET DEFAULT '" + b"x" * 8_000_000 + b"'"
    text = b"-- ddl ALTER TABLE\n" + statement + b"\n;\n-- ddl end\n-- rows 1 ddl\nCOMMIT; -- end 0/2\n"
    looked: list[int] = []
    plain = Summary._plain

    def counted(self: Summary, data: bytes, at: int) -> tuple[int, bool]:
        looked.append(len(data) - at)
        return plain(self, data, at)

    monkeypatch.setattr(Summary, "_plain", counted)
    summary = Summary("utf-8")
    summary.feed(b"-- head\nBEGIN; -- xid 7 commit 0/1 time 2026-01-01 00:00:00.000000+00\n")
    for at in range(0, len(text), 100_000):
        summary.feed(text[at : at + 100_000])
    assert summary.as_manifest()["schema_changes"][0]["dropped_columns"] == ["a"]
    assert sum(looked) < 5 * len(text)


@pytest.mark.unit
@pytest.mark.parametrize("statement", ["DROP TABLE IF EXISTS {}", "GRANT SELECT ON {} TO r", "ALTER TABLE t DROP {}"])
def test_of_a_statement_with_very_many_names_a_manifest_tells_nothing(statement: str) -> None:
    """Else it would grow with the statement's text, beyond what is read of a manifest."""
    for number, told in ((MOST, True), (MOST + 1, False)):
        between = ", DROP " if statement.startswith("ALTER") else ", "
        names = between.join(["a"] * (number - statement.count("TABLE t")))
        ddl = f"-- ddl X\n{statement.format(names)}\n;\n-- ddl end\n-- rows 1 ddl\n"
        assert ("schema_changes" in summed(ddl.encode())) is told


def test_a_manifests_summary_is_the_same_however_the_text_is_cut(told: Scribe) -> None:
    for segment in Archive(told.archive).segments():
        with open_plain(segment.data) as stream:
            text = stream.read()
        body = text[text.index(b"\nBEGIN; -- xid ") + 1 : text.index(b"\nBEGIN; -- footer") + 1]
        for size in (len(body), 1 << 16, 61):
            if len(body) // size > 100000:
                continue
            summary = Summary("utf-8")
            for at in range(0, len(body), size):
                summary.feed(body[at : at + size])
            found = summary.as_manifest()
            assert found == {key: segment.manifest[key] for key in found}
            assert len(found) == 6
        assert_manifest_tells_the_same(segment)


def summed(*bodies: bytes, codec: str = "utf-8") -> dict[str, object]:
    """What a manifest tells of transactions with these bodies."""
    summary = Summary(codec)
    for body in bodies:
        summary.feed(b"BEGIN; -- xid 7 commit 0/1 time 2026-01-01 00:00:00.000000+00\n%bCOMMIT; -- end 0/2\n" % body)
    return summary.as_manifest()


@pytest.mark.parametrize(
    "body",
    [
        b'-- ddl CREATE TABLE by x\nCREATE TABLE "t\xe9" (a int)\n;\n-- ddl end\n',
        b"-- ddl CREATE TABLE by r\xe9le\nCREATE TABLE t (a int)\n;\n-- ddl end\n",
        b'INSERT INTO public."t\xe9" (a) VALUES (1);\n-- rows 1 inserted\n',
        b'TRUNCATE public."t\xe9";\n-- rows 1 truncated\n',
    ],
)
def test_a_name_that_is_no_text_is_left_to_readers_of_the_segment(body: bytes) -> None:
    assert list(summed(body)) == ["commit_times"]
    assert len(summed(body, codec="iso8859-1")) == 6


@pytest.mark.parametrize(
    "line",
    [
        b"TRUNCATE public.t;\n",
        b"-- mark here\n",
        b"-- ddl DROP VIEW by x\nDROP VIEW v\n;\n-- ddl end\n",
        b"INSERT INTO public.t%d (a) VALUES (1);\n",
    ],
)
def test_a_manifest_lists_no_more_than_people_read(line: bytes) -> None:
    def lines(number: int) -> list[bytes]:
        return [line % i if b"%" in line else line for i in range(number)]

    assert len(summed(b"".join(lines(MOST)))) == 6
    assert list(summed(b"".join(lines(MOST + 1)))) == ["commit_times"]


def test_a_text_that_cannot_be_listed_stops_no_rotation() -> None:
    counter = Counter()
    counter.feed(b"TRUNCATE public.t;\n")  # in no transaction
    counter.feed(b"-- rows 1 truncated\n")
    assert counter.counts["truncated"] == 1
    assert counter.summary() == {}
    assert [warning.split(":")[0] for warning in counter.all_warnings()] == [
        "the manifest does not list what the segment holds"
    ]


CONTROL = "\x9b2J\u202e"  # an escape sequence of eight bits, and what turns the order of a line round


@pytest.fixture
def forged(tmp_path: Path) -> Path:
    """An archive in which names and texts would control a terminal; return its directory."""
    archive = make_archive(tmp_path / "forged")
    body = f"""INSERT INTO public."n{CONTROL}" (v) VALUES ('v{CONTROL}');
-- rows 1 inserted
-- warning: w{CONTROL}
-- ddl COMMENT by r{CONTROL}
COMMENT ON TABLE t IS 'c{CONTROL}\x1b[2J
\td'
;
-- ddl end
"""
    (archive.spool / "stream.sql").write_bytes(written(0x200, body.encode()))
    rotate(archive, None)
    return archive.path


SPELLINGS = ('U&"vic\\0074im"', "VICTIM", "public.Victim", '"victim"')


def test_a_schema_change_is_found_however_it_spells_the_name(tmp_path: Path, capfd) -> None:
    """Anybody chooses the spelling of what he drops, and what stands in comments beside it."""
    archive = make_archive(tmp_path / "spelled")
    texts = [f"DROP TABLE {name}" for name in SPELLINGS] + ["/* /* */ ALTER TABLE victim */ DROP TABLE mine"]
    with (archive.spool / "stream.sql").open("wb") as spool:
        for number, text in enumerate(texts):
            block = f"-- ddl DROP TABLE by r\nSET LOCAL search_path = public;\n{text}\n;\n-- ddl end\n-- rows 1 ddl\n"
            spool.write(written(0x200 + 16 * number, block.encode(), xid=100 + number))
    rotate(archive, None)
    for form in ((), ("--points",), ("--kind", "ddl")):
        assert main(["--archive", str(archive.path), "--table", "victim", "--reverse", *form]) == 0
        assert re.findall(r"xid (\d+)", capfd.readouterr().out) == ["100", "101", "102", "103"], form


def on_terminal(*command: str) -> str:
    """Return what a program prints on a terminal."""
    master, slave = pty.openpty()
    with os.fdopen(master, "rb", 0) as shown:
        with os.fdopen(slave, "wb", 0) as terminal:
            subprocess.run(command, stdout=terminal, stdin=subprocess.DEVNULL, check=True, timeout=60)
        return shown.read(1 << 16).decode().replace("\r\n", "\n")


@pytest.mark.parametrize("form", [(), ("--points",), ("--stat",), ("--json",), ("--sql",), ("--kind", "ddl")])
def test_no_text_of_a_users_controls_the_terminal(forged: Path, form: tuple[str, ...], capfdbinary) -> None:
    command = (str(ROOT / "bin/scribe-log"), "--archive", str(forged), "--no-pager", "--color", "never", *form)
    said = on_terminal(*command)
    assert all(character.isprintable() or character in "\n\t" for character in said)
    assert main([*command[1:]]) == 0
    piped = capfdbinary.readouterr().out.decode()
    if form == ("--sql",):  # as it is: a program reads it, or a shell
        assert f"""VALUES ('v{CONTROL}');""" in piped and f"""IS 'c{CONTROL}\x1b[2J\n\td'\n;""" in piped
        assert """VALUES ('v?2J?');""" in said and """IS 'c?2J??[2J\n\td'\n;""" in said
    else:
        assert piped == said
    if form == ("--json",):
        assert json.loads(said.splitlines()[0])["values"]["v"] == f"v{CONTROL}"


def test_names_and_values_stay_on_the_line_of_their_transaction(told: Scribe, log) -> None:
    lines = log("--sql", "--table", "keyed", "--key", "id=1", "--kind", "insert")
    assert lines[1].startswith("INSERT INTO public.keyed") and "\\x01" in lines[1]
    assert len(lines) == 3
    assert log("--table", '"odd ""name, (1)"', "-n", "1")[0].endswith(""" public."odd ""name, (1)" ~15""")


def test_what_never_was_is_refused_with_what_is_nearest(told: Scribe, log) -> None:
    assert log("--table", "keyedd", status=1) == [
        "scribe-log: error: no table of that name was ever in the archive",
        "scribe-log: hint: Tables there are: public.keyed.",
    ]
    assert log("--table", "two", "--key", "c=1", status=1)[0] == (
        'scribe-log: error: no row that was changed there has a column "c"'
    )
    assert "segments end at" in log("--since", "2999-01-01", status=1)[0]
    assert "segments hold" in log("--from-lsn", "FF/0", status=1)[0]
    assert "could not find transaction 5" in log("--xid", "5", status=1)[0]


def test_a_gap_and_a_damaged_segment_are_named_and_the_rest_is_shown(told: Scribe, log, tmp_path: Path) -> None:
    data = sorted((told.archive / "incremental").glob("*.sql.zst"))
    manifest = data[0].with_name(data[0].name.replace(".sql.zst", ".json"))
    kept, whole_lines = data[0].read_bytes(), log()
    try:
        data[0].write_bytes(kept[: len(kept) // 2])
        assert main(["--archive", str(told.archive)]) == 1
        data[0].rename(tmp_path / "moved")
        said = log(status=1)
        assert said[0].startswith(f'scribe-log: warning: segment "{data[0].name}" could not be read: file ')
        manifest.rename(tmp_path / "manifest")
        assert set(log()) < set(whole_lines)  # the archive begins later now: no gap
    finally:
        data[0].write_bytes(kept)
        if (tmp_path / "manifest").exists():
            (tmp_path / "manifest").rename(manifest)


@pytest.mark.parametrize(
    ("statement", "path", "names"),
    [
        ('DROP TABLE IF EXISTS a, "B".c CASCADE', "s, public", [("s", "a"), ("B", "c")]),
        ("create unique index concurrently if not exists i on t (x)", "public", [("public", "i")]),
        ("CREATE INDEX CONCURRENTLY ON ONLY s.t (x)", "public", [("s", "t")]),
        ('CREATE INDEX "on" ON s.t (x)', "public", [("public", "on")]),
        ("CREATE TABLE/* x */ s.t (table_ int)", None, [("s", "t")]),
        ("GRANT SELECT ON TABLE t TO x", "p", [("p", "t")]),
        ("COMMENT ON COLUMN t.s IS 'x'", "p", [("p", "t")]),
        ("COMMENT ON COLUMN s.t.c IS 'x'", "p", [("s", "t")]),
        ("CREATE ROLE alice", "p", [(None, "alice")]),
        ("CREATE CONSTRAINT TRIGGER c AFTER INSERT ON t EXECUTE FUNCTION f()", "p", [(None, "c")]),
        # as long as it may be
        ("DROP TABLE " + ", ".join(f"s.t{n}" for n in range(40)), "p", [("s", f"t{n}") for n in range(40)]),
        ("DROP FUNCTION a(int, text), s.b()", "p", [("p", "a"), ("s", "b")]),
        (f"GRANT SELECT ({', '.join('abcdefghijklmnopqrstuvwxyz' * 2)}) ON s.t TO x", "p", [("s", "t")]),
        ("GRANT SELECT ON a, s.b TO x", "p", [("p", "a"), ("s", "b")]),
        ("REVOKE EXECUTE ON FUNCTION s.f(int), g() FROM x", "p", [("s", "f"), ("p", "g")]),
        ("GRANT USAGE ON SCHEMA s TO x", "p", [(None, "s")]),
        ("GRANT SELECT ON ALL TABLES IN SCHEMA s TO x", "p", [(None, "s")]),
        ("SELECT f(1) AS table, (SELECT 1) INTO s.t FROM u", "p", [("s", "t")]),
        ("WITH w AS (SELECT 1) SELECT * INTO UNLOGGED t FROM w", "p", [("p", "t")]),
        # whatever its letters are written as
        (r'DROP TABLE U&"t\0061b\+00006Ce"', "p", [("p", "table")]),
        ("""DROP TABLE u&"t!0061!!""x" UESCAPE '!', b""", "p", [("p", 'ta!"x'), ("p", "b")]),
        (r'DROP TABLE U&"\D83D\DE00\\"', "p", [("p", "\U0001f600\\")]),
        ("DROP TABLE S.T", "p", [("s", "t")]),
        # and whatever comments and letters would have it taken for
        ("/* /* */ ALTER TABLE s.t */ DROP TABLE mine", "p", [("p", "mine")]),
        ("-- \rDROP TABLE mine -- \r, b", "p", [("p", "mine"), ("p", "b")]),
        ("DROP TABLE s.t\u00a0x", "p", [("s", "t\u00a0x")]),
        ("DROP TABLE s.\u212aelvin", "p", [("s", "\u212aelvin")]),
    ],
)
def test_a_schema_changes_text_names_its_objects(statement, path, names) -> None:
    assert name_objects(statement, path) == names


ROLE_BLOCK = """DO LANGUAGE plpgsql $scribe1$
BEGIN
  IF pg_catalog.to_regclass('scribe.made') IS NULL THEN
    CREATE TABLE scribe.made (kind text, name text, PRIMARY KEY (kind, name));
  END IF;
  IF EXISTS (SELECT FROM scribe.made WHERE kind = 'role' AND name = 'r') THEN
    {};
  END IF;
END
$scribe1$;
"""


@pytest.mark.parametrize(
    ("done", "names"),
    [
        ("CREATE ROLE r", ["r"]),
        ('ALTER ROLE "r s" RENAME TO t', ["r s"]),
        ("DROP ROLE r", ["r"]),
        ("COMMENT ON ROLE r IS 'GRANT a TO b'", ["r"]),
        ('GRANT r TO "r s" WITH ADMIN OPTION', ["r", "r s"]),
        ("REVOKE r FROM t", ["r", "t"]),
        ("ALTER TABLESPACE ts OWNER TO r", ["ts"]),
        ("GRANT CREATE ON TABLESPACE ts TO r", ["ts"]),
        ("EXECUTE pg_catalog.format('ALTER DATABASE %I OWNER TO %I', pg_catalog.current_database(), 'r')", []),
    ],
)
def test_a_change_of_a_role_names_the_role_and_not_what_the_restore_asks(done: str, names: list[str]) -> None:
    statement = ROLE_BLOCK.format(done)
    assert [name for _, name in name_objects(statement, "public")] == names
    assert brief(statement).startswith(f"({done}"[:40])


def test_renames_are_read_from_their_text() -> None:
    assert read_rename("/* /* */ ALTER TABLE a RENAME TO b -- */ */ ALTER TABLE b ADD x int") is None
    assert read_rename("ALTER TABLE IF EXISTS ONLY a.b RENAME TO c") == Renamed(("a", "b"), ("a", "c"))
    assert read_rename("ALTER TABLE b SET SCHEMA s") == Renamed((None, "b"), ("s", "b"))
    assert read_rename("ALTER TABLE b RENAME x TO y") == Renamed((None, "b"), (None, "b"), "x", "y")
    assert read_rename("ALTER TABLE b RENAME CONSTRAINT x TO y") is None
    assert read_rename("ALTER TABLE b ADD x int") is None
    assert read_rename("ALTER SCHEMA s RENAME TO t") == Renamed((None, "s"), (None, "t"))


@pytest.mark.parametrize(
    ("name", "codec", "kept"),
    [
        ("x" * 64, "utf-8", "x" * 63),
        ('"' + "X" * 63 + 'yy"', "utf-8", "X" * 63),
        ('U&"' + r"\0061" * 70 + '"', "utf-8", "a" * 63),
        ("\u00e9" * 40, "utf-8", "\u00e9" * 31),
        ("\u00e9" * 40, "latin-1", "\u00e9" * 40),
        ("\u00e9" * 64, "latin-1", "\u00e9" * 63),
        ("\u3042" * 32, "euc_jp", "\u3042" * 31),
        ("\udcff" * 64, "ascii", "\udcff" * 63),
    ],
)
def test_a_name_is_cut_where_the_server_cuts_it(name: str, codec: str, kept: str) -> None:
    """Who writes a name too long drops the table of the shorter one, and nobody looking for that may miss it."""
    assert name_objects(f"DROP TABLE {name}, s.{name}", "p", codec) == [("p", kept), ("s", kept)]
    assert read_rename(f"ALTER TABLE {name} RENAME TO {name}", codec) == Renamed((None, kept), (None, kept))
    assert read_dropped_columns(f"ALTER TABLE t DROP {name}", codec) == [kept]
    child = read_partition(f"CREATE TABLE {name} PARTITION OF {name} DEFAULT", codec)
    assert child == ((None, kept), (None, kept))


@pytest.mark.unit
@pytest.mark.parametrize(
    "long",
    [
        *("'" + "x" * 200000 + "'", "E'" + r"\\" * 100000 + "'", "'" + "''" * 100000 + "'", '"' + "x" * 200000 + '"'),
        "1," * 15000,
    ],
)
def test_a_long_text_takes_no_more_memory_than_a_few_of_its_kind(long: str) -> None:
    """A statement may have 200 MB, and whoever has a table may write one."""
    statement = f"ALTER TABLE t ALTER c SET DEFAULT f({long}), DROP COLUMN d"
    tracemalloc.start()
    assert read_dropped_columns(statement) == ["d"]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12 * len(long) + 1000000


def test_times_are_read_as_people_write_them() -> None:
    now = datetime.fromisoformat("2026-11-22T13:07:00+00:00")
    for text, read in {
        "2 hours ago": "2026-11-22 11:07:00.000000+00",
        "2026-11-22 13:07:00.5+02": "2026-11-22 11:07:00.500000+00",
        "2026-11-22T13:07Z": "2026-11-22 13:07:00.000000+00",
        "2026-11-22 13:07:00 Europe/Berlin": "2026-11-22 12:07:00.000000+00",
        "yesterday Z": "2026-11-21 00:00:00.000000+00",
        "13:00+00": "2026-11-22 13:00:00.000000+00",
        "now": "2026-11-22 13:07:00.000000+00",
    }.items():
        assert read_time(text, now) == read
    with pytest.raises(ValueError, match='invalid time "soon"'):
        read_time("soon")
