"""Replay: every block is applied exactly, every count of rows checked, and what fails is named or passed over."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from cluster import Cluster
from handmade import Handmade
from restoring import DDL, LONG, TABLES, Target, insert, small_archive

from scribe.archive.blocks import read_block
from scribe.archive.chains import Stop
from scribe.archive.segments import Ddl, open_plain
from scribe.common.dialect import Begin, Sequence
from scribe.common.lsn import format_lsn
from scribe.restore.replay import show, split_ddl
from scribe.restore.statements import expected_rows, split_statements


def test_every_kind_of_block_is_applied(target: Target) -> None:
    target.archive.base(TABLES)
    target.archive.segment(
        [
            insert(2),
            "INSERT INTO public.t (id, v) VALUES\n(3, 'three'),\n(4, ';\t'); -- 2 rows\n-- rows 2 inserted\n",
            "COPY public.t (id, v) FROM stdin;\n5\t\\N\n6\t\\\\.\n7\t-- ddl end\n\\.\n"
            "UPDATE public.t SET v = 'five' WHERE id = 5;\n-- rows 3 inserted 1 updated\n",
            "COPY public.log (note) FROM stdin;\n"
            "\\BEGIN; -- xid 1\n\\COMMIT; -- end 0/1\n\\-- mark x\n\\COPY x\n\\\\.\n\\.\n",
            "UPDATE public.t AS t SET v = v.v FROM (VALUES\n(2, 'II'),\n(3, 'III')\n) AS v (id, v) WHERE t.id = v.id;"
            " -- 2 rows\nDELETE FROM public.t WHERE id IN (1, 4); -- 2 rows\n-- rows 2 updated 2 deleted\n",
            DDL.format("ALTER TABLE t ADD COLUMN w int DEFAULT 7;"),
            "INSERT INTO public.t (id, v, w) VALUES (8, 'VIII', 8);\n"
            + DDL.format("CREATE VIEW seen AS SELECT * FROM t"),
            "-- warning: something\n-- mark here\n",
            "TRUNCATE ONLY public.log;\nINSERT INTO public.log (note) VALUES ('again');\n"
            "-- rows 1 inserted 1 truncated\n",
            "DELETE FROM ONLY public.log; -- * rows\nCOPY public.log (note) FROM stdin;\n\\.\n",
        ],
        sequences=[Sequence("public", "t_id_seq", 99, False), Sequence("public", "gone", 1, True)],
    )
    report = json.loads(target.run("--json").stdout)
    assert target.rows("SELECT id, v, w FROM public.seen ORDER BY id") == [
        (2, "II", 7),
        (3, "III", 7),
        (5, "five", 7),
        (6, "\\.", 7),
        (7, "-- ddl end", 7),
        (8, "VIII", 8),
    ]
    assert target.rows("SELECT note FROM public.log") == []
    assert target.rows("SELECT last_value, is_called FROM public.t_id_seq") == [(99, False)]
    assert target.position() == (format_lsn(target.archive.lsn), False)
    assert (report["transactions"], report["ddl"], report["reached_lsn"]) == (10, 2, format_lsn(target.archive.lsn))


def test_a_position_that_somebody_else_moved_stops_it(target: Target) -> None:
    """It is looked at in the very transaction that moves it: here the transaction does what another program would."""
    target.archive.base(TABLES)
    target.archive.segment([insert(2), "UPDATE scribe.position SET lsn = '0/5'::pg_catalog.pg_lsn;\n", insert(3)])
    assert "was moved by another program" in target.refused()
    assert target.rows("SELECT id FROM public.t WHERE id = 3") == []


def test_copy_data_that_looks_like_frames_arrives_as_it_is(target: Target) -> None:
    target.archive.base(TABLES)
    lines = ["BEGIN; -- xid 1 commit 0/1 time x", "COMMIT; -- end 0/1", "-- ddl end", "COPY t FROM stdin;", "\\."]
    data = "".join("\\" + line + "\n" for line in lines)
    target.archive.segment([f"COPY public.log (note) FROM stdin;\n{data}\\.\n"])
    target.run()
    assert [row[0] for row in target.rows("SELECT note FROM public.log")] == lines


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE public.t SET v = 'x' WHERE id = 77;", "acted on 0 rows, on the source on 1"),
        ("DELETE FROM public.t WHERE id < 3;", "acted on 2 rows, on the source on 1"),
        ("DELETE FROM public.t WHERE id IN (1, 9); -- 2 rows", "acted on 1 rows, on the source on 2"),
        ("INSERT INTO public.t (id, v) VALUES (1, 'again');", "duplicate key value"),
        ("TRUNCATE ONLY public.nothere;", "does not exist"),
        ("COPY public.t (id, v) FROM stdin;\n8\tx\n1\tx\n\\.", "duplicate key value"),
        ("COPY public.nothere (id, v) FROM stdin;\n8\tx\n\\.", "does not exist"),
        (DDL.format("ALTER TABLE nothere ADD COLUMN x int").rstrip(), "does not exist"),
    ],
)
def test_a_statement_that_acts_otherwise_than_on_the_source_stops_it(target: Target, statement: str, said: str) -> None:
    target.archive.base(TABLES)
    target.archive.segment([insert(2), insert(3)])
    segment = target.archive.segment([insert(4), f"{insert(5)[:-19]}{statement}\n", insert(6)], compress=False)
    error = target.refused()
    assert said in error
    assert segment.with_suffix(".sql").name in error
    assert "transaction 704 (commit 0/10003E0" in error
    assert target.archive.time(704) in error
    assert statement.split("\n", maxsplit=1)[0][:40] in error or statement.startswith("-- ddl")
    assert [row[0] for row in target.rows()][:3] == [1, 2, 3]
    assert 5 not in [row[0] for row in target.rows()]
    assert target.position()[1] is False


def test_rows_that_a_copy_does_not_take_stop_it(target: Target) -> None:
    keeper = (
        "CREATE FUNCTION public.keep() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN IF NEW.id = 3 THEN RETURN NULL; END IF; RETURN NEW; END $$;\n"
        "CREATE TRIGGER keep BEFORE INSERT ON public.t FOR EACH ROW EXECUTE FUNCTION public.keep();\n"
        "ALTER TABLE public.t ENABLE ALWAYS TRIGGER keep;\n"
    )
    target.archive.base(TABLES + keeper)
    target.archive.segment(["COPY public.t (id, v) FROM stdin;\n2\ttwo\n3\tthree\n\\.\n-- rows 2 inserted\n"])
    assert "took 1 rows of 2" in target.refused()
    assert target.rows() == [(1, "one")]


def test_two_wrongs_do_not_make_a_right_number_of_rows(target: Target) -> None:
    target.archive.base(TABLES)
    target.archive.segment([insert(2), "DELETE FROM public.t WHERE id <= 2;\nDELETE FROM public.t WHERE id = 9;\n"])
    assert "acted on 2 rows" in target.refused()
    assert target.rows() == [(1, "one")]


def test_a_failing_ddl_statement_can_be_helped_and_resumed(target: Target) -> None:
    target.archive.base(TABLES)
    target.archive.segment([insert(2), DDL.format("ALTER TABLE missing ADD COLUMN x int"), insert(3)])
    assert "--resume" in target.refused()
    with target.cluster.connect(target.name) as conn:
        conn.execute("CREATE TABLE public.missing ()")
    target.run("--resume")
    assert [row[0] for row in target.rows()] == [1, 2, 3]


LACKING = "ALTER TABLE lacking ADD COLUMN x int"


@pytest.mark.parametrize(
    ("before", "statement", "number"),
    [
        ("", "UPDATE public.t SET v = 'x' WHERE id = 77;\n", 2),
        ("", "INSERT INTO public.t (id, v) VALUES\n(1, 'again'),\n(2, 'and again'); -- 2 rows\n", 2),
        ("", "COPY public.nothere (id, v) FROM stdin;\n8\tx\n1\tx\n\\.\n", 2),
        ("", "-- ddl ALTER TABLE\n" + LACKING + "\n;\n-- ddl end\n", 2),
        (LONG, LACKING + ";\n", 9002),
    ],
)
def test_a_statement_that_fails_is_passed_over_once_the_operator_names_it(
    target: Target, before: str, statement: str, number: int
) -> None:
    target.archive.base(TABLES)
    target.archive.segment([insert(2), f"{insert(4)[:-19]}{before}{statement}{insert(5)}", insert(6)])
    (place,) = re.findall(r"--resume --skip (\S+)\.\n", target.refused())
    assert place == f"0/10001D0:{number}"
    assert 4 not in [row[0] for row in target.rows()]
    assert place in target.refused("--resume", "--skip", f"0/10001D0:{number + 1}")
    result = target.run("--resume", "--skip", place, "--json")
    assert [row[0] for row in target.rows()] == [1, 2, 4, 5, 6]
    (skipped,) = json.loads(result.stdout)["skipped"]
    first = statement.removeprefix("-- ddl ALTER TABLE\n").split("\n")[0]
    assert skipped.startswith(f"{place} {first}")
    assert f"warning: passed over {place} in " in result.stderr
    assert "passed over: 1" in result.stderr
    assert target.rows("SELECT place FROM scribe.skipped") == [(place,)]
    assert target.rows("SELECT count(*) FROM public.log") == [(before.count("\n"),)]


def test_what_is_named_and_not_met_is_said_unless_it_was_passed_over_before(target: Target) -> None:
    target.archive.base(TABLES)
    target.archive.segment([insert(2), insert(1), insert(3), DDL.format(LACKING)])
    target.refused("--skip", "0/10001D0:1")
    result = target.run("--resume", "--skip", "0/10001D0:1", "--skip", "0/10003D0:1", "--skip", "0/10003D0:2")
    assert "0/10003D0:2, which --skip names, was not met" in result.stderr
    assert "0/10001D0:1, which" not in result.stderr
    assert "invalid" in target.refused("--resume", "--skip", "12", status=2)
    assert target.rows("SELECT place FROM scribe.skipped ORDER BY 1") == [("0/10001D0:1",), ("0/10003D0:1",)]


def test_a_huge_transaction_is_applied_in_pieces(target: Target) -> None:
    target.archive.base(TABLES)
    rows = 40_000
    body = "".join(f"INSERT INTO public.log (note) VALUES ('{i:060}');\n" for i in range(rows))
    target.archive.segment([body, insert(2)])
    assert json.loads(target.run("--json", "--target-xid", "701").stdout)["rows"] == rows
    assert json.loads(target.run("--json", "--resume").stdout)["rows"] == 1  # its end is where the copy stands
    assert target.rows("SELECT count(*) FROM public.log") == [(rows,)]


def test_the_encoding_of_the_source_is_kept(cluster: Cluster, tmp_path: Path) -> None:
    target = Target(cluster, tmp_path / "latin")
    target.archive = Handmade(tmp_path / "latin", encoding="LATIN1")
    target.archive.base(TABLES)
    target.archive.segment(["INSERT INTO public.t (id, v) VALUES (2, 'Käse');\n".encode("latin-1")])
    try:
        target.run()
        assert target.rows() == [(1, "one"), (2, "Käse")]
        assert target.rows("SHOW server_encoding") == [("LATIN1",)]
    finally:
        cluster.dropdb(target.name)


@pytest.mark.unit
def test_statements_are_cut_where_they_begin() -> None:
    text = (
        b"INSERT INTO t VALUES\n(1),\n(2); -- 2 rows\nUPDATE t SET a = 1 FROM (VALUES\n(1)\n) AS v;\nDELETE FROM t;\n"
    )
    assert split_statements(text) == [
        b"INSERT INTO t VALUES\n(1),\n(2); -- 2 rows\n",
        b"UPDATE t SET a = 1 FROM (VALUES\n(1)\n) AS v;\n",
        b"DELETE FROM t;\n",
    ]


@pytest.mark.unit
@pytest.mark.parametrize(
    ("statement", "rows"),
    [
        (b"INSERT INTO t VALUES (1);\n", 1),
        (b"INSERT INTO t VALUES\n(1),\n(2); -- 2 rows\n", 2),
        (b"UPDATE t SET v = '; -- 3 rows';\n", 1),
        (b"DELETE FROM ONLY t; -- * rows\n", None),
        (b"DELETE FROM t; -- 0 rows\n", 0),
        (b"TRUNCATE ONLY t;\n", None),
        (b"WITH v (image) AS (VALUES\n(1)\n), o AS (SELECT 1) UPDATE ONLY t SET a = 1; -- 3 rows\n", 3),
    ],
)
def test_a_statement_says_how_many_rows_it_acts_on(statement: bytes, rows: int | None) -> None:
    assert expected_rows(statement) == rows


@pytest.mark.unit
def test_settings_before_a_ddl_statement_are_run_before_it_is_read() -> None:
    text = b"SET LOCAL standard_conforming_strings = off;\nSET LOCAL ROLE bob;\nSELECT 'a\\'b'\n;\nRESET ROLE;\n"
    before, rest = split_ddl(text, owners=True)
    assert before == b"SET LOCAL standard_conforming_strings = off;\nSET LOCAL ROLE bob;\n"
    assert rest == b"SELECT 'a\\'b'\n;\nRESET ROLE;\n"


@pytest.mark.unit
def test_without_owners_only_the_role_around_a_ddl_statement_is_left_out() -> None:
    text = (
        b"SET LOCAL search_path = a;\nSET LOCAL ROLE bob;\n"
        b"DO $$\nRESET ROLE;\n$$\n;\nRESET ROLE;\nSET LOCAL search_path = '';\n"
    )
    assert b"".join(split_ddl(text, owners=False)) == (
        b"SET LOCAL search_path = a;\nDO $$\nRESET ROLE;\n$$\n;\nSET LOCAL search_path = '';\n"
    )


@pytest.mark.unit
def test_a_users_path_is_in_force_for_no_line_of_ours() -> None:
    older = (
        b"SET LOCAL search_path = a, pg_catalog;\n"
        b"SELECT pg_catalog.set_config('x', 'y', true) FROM pg_catalog.pg_settings WHERE name = 'x';\n"
        b"SET LOCAL ROLE bob;\nCREATE SCHEMA s\n;\nRESET ROLE;\n"
        b"RESET x;\nSET LOCAL search_path = '';\n"
    )
    before, rest = split_ddl(older, owners=True)
    assert [line.split()[1] for line in before.splitlines()] == [b"pg_catalog.set_config('x',", b"LOCAL", b"LOCAL"]
    assert before.endswith(b"SET LOCAL search_path = a, pg_catalog;\nSET LOCAL ROLE bob;\n")
    assert rest == b"CREATE SCHEMA s\n;\nRESET ROLE;\nSET LOCAL search_path = '';\nRESET x;\n"


@pytest.mark.unit
def test_without_owners_nothing_is_lent_to_anybody() -> None:
    loan = b"DO LANGUAGE plpgsql $scribe_loan1$BEGIN NULL; END$scribe_loan1$;\n"
    text = loan + b"-- warning: setting left out: x\nSET LOCAL ROLE bob;\nCREATE SCHEMA s\n;\nRESET ROLE;\n" + loan
    assert b"".join(split_ddl(text, owners=True)) == text
    before, rest = split_ddl(text, owners=False)
    assert (before, rest) == (b"-- warning: setting left out: x\n", b"CREATE SCHEMA s\n;\n")


@pytest.mark.unit
def test_a_setting_that_may_be_refused_stands_before_the_statement_with_and_without_owners() -> None:
    setting = b"DO LANGUAGE plpgsql $scribe_setting1$BEGIN NULL; END$scribe_setting1$;\n"
    text = setting + b"SET LOCAL ROLE bob;\nCREATE TABLE t ()\n;\nSET LOCAL ROLE NONE;\n" + setting
    assert split_ddl(text, owners=True)[0] == setting + b"SET LOCAL ROLE bob;\n"
    assert split_ddl(text, owners=False) == [setting, b"CREATE TABLE t ()\n;\n" + setting]
    ddl = read_block(Ddl("CREATE TABLE", text), "utf-8", None, 0)
    assert (ddl.statement, ddl.role) == ("CREATE TABLE t ()", "bob")


def test_an_older_segment_whose_strings_have_escapes_is_replayed_on_every_server(target: Target) -> None:
    target.archive.base(TABLES)
    literal = r"E'COMMENT ON TABLE public.t IS\n''\\\\a\\''ü$scribe1$'''"
    body = f"DO LANGUAGE plpgsql $scribe$BEGIN EXECUTE {literal}; END$scribe$;"
    settings = "SET LOCAL standard_conforming_strings = '{}';\n"
    target.archive.segment([f"-- ddl COMMENT\n{settings.format('off')}{body}\n{settings.format('on')}-- ddl end\n"])
    target.run()
    assert target.rows("SELECT obj_description('public.t'::regclass)") == [("\\a'ü$scribe1$",)]


@pytest.mark.unit
def test_a_setting_of_somebodys_own_does_not_hide_the_role_that_is_left_out() -> None:
    text = (
        b"SELECT pg_catalog.set_config('app.x', '1', true);\nSET LOCAL ROLE bob;\nCREATE TABLE t ()\n;\n"
        b"RESET ROLE;\nRESET app.x;\n"
    )
    before, rest = split_ddl(text, owners=False)
    assert before == b"SELECT pg_catalog.set_config('app.x', '1', true);\n"
    assert rest == b"CREATE TABLE t ()\n;\nRESET app.x;\n"


@pytest.mark.unit
@pytest.mark.parametrize(
    ("stop", "excluded"),
    [
        (Stop(), [False, False, False]),
        (Stop(lsn=20), [False, False, True]),
        (Stop(lsn=20, inclusive=False), [False, True, True]),
        (Stop(time="2026-11-22 01:00:01.000000+00"), [False, False, True]),
        (Stop(time="2026-11-22 01:00:01.000000+00", inclusive=False), [False, True, True]),
    ],
)
def test_a_target_is_where_postgresql_would_stop(stop: Stop, excluded: list[bool]) -> None:
    begins = [Begin(i, 10 * (i + 1), f"2026-11-22 01:00:0{i}.000000+00") for i in range(3)]
    assert [stop.excludes(begin) for begin in begins] == excluded


@pytest.mark.unit
def test_a_long_statement_is_shown_in_one_short_line() -> None:
    assert show(b"SELECT\n" + b"x" * 1000) == "SELECT " + "x" * 193 + "..."


def test_each_file_refuses_under_psql_what_it_does_not_continue(target: Target) -> None:
    """Repeated, forgotten, out of order, after one that was cut off: nothing changes, whatever psql's settings are."""
    small_archive(target)
    texts = []
    for path in [*target.path.glob("base/*/base.sql.zst"), *sorted(target.path.glob("incremental/*.sql*"))]:
        with open_plain(path) as stream:
            texts.append(stream.read())
    base, first, second, third = texts

    def run(sql: bytes, said: str = "") -> None:
        command = [f"{target.cluster.bindir}/psql", "-XqAt", "-d", target.name]
        result = subprocess.run(command, input=sql, env=target.cluster.env, capture_output=True, check=False)
        assert (result.returncode == 3) == bool(said), result.stderr
        assert said.encode() in result.stderr

    target.cluster.createdb(target.name)
    run(first, "was not restored from a pg_scribe base")
    run(base.replace(b"SET transaction_timeout = 0;\n", b""))
    run(second, "stands at 0/")
    run(first)
    run(first, "stands at")
    run(third, "stands at")
    assert [row[0] for row in target.rows()] == [1, 2, 3, 4, 5]
    torn = second[: second.index(b"COMMIT; -- end", second.index(b"COMMIT; -- end") + 1)]
    run(torn)
    assert [row[0] for row in target.rows()] == [1, 2, 3, 4, 5, 6]
    for text in (second, third, first):
        run(text, "stopped within the file that follows")
    assert [row[0] for row in target.rows()] == [1, 2, 3, 4, 5, 6]


def test_a_resumed_restore_puts_the_sequences_where_the_segment_it_stands_at_the_end_of_has_them(
    target: Target,
) -> None:
    """It may have been interrupted between the last transaction and what follows it."""
    small_archive(target)
    target.run()
    target.rows("SELECT setval('public.t_id_seq', 1)")
    target.run("--resume")
    assert target.rows("SELECT last_value, is_called FROM public.t_id_seq") == [(33, True)]
