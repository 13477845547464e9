"""scribe-undo: what transactions did is taken back exactly, or what stands in the way is named."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest
from cases import assert_both_restores_equal
from cluster import HEARING, ROOT, Cluster, poll
from compare import assert_equal
from handmade import Handmade
from source import Scribe
from undoing import BASE, Undone

from scribe.archive.chains import find_chains
from scribe.archive.layout import Archive
from scribe.common.errors import ScribeError
from scribe.restore import undo_scope
from scribe.restore.undo_scope import find_transactions

DROP = "-- ddl DROP TABLE\nDROP TABLE public.t CASCADE\n;\n-- ddl end\n-- rows 1 ddl\n"
RENAME = "-- ddl ALTER TABLE\nALTER TABLE public.t RENAME COLUMN v TO word\n;\n-- ddl end\n-- rows 1 ddl\n"
FIRST = (
    "INSERT INTO public.t (id, v) VALUES\n(4, 'four'),\n(5, E'fi\\nve'); -- 2 rows\n"
    "UPDATE public.t SET v = 'uno' WHERE id = 1;\nUPDATE public.t SET id = 9 WHERE id = 3;\n"
    "DELETE FROM public.log WHERE ctid = (SELECT ctid FROM ONLY public.log"
    " WHERE ROW(note, p)::text = '(same,\"(1,2)\")' LIMIT 1);\n"
    "UPDATE public.part_2 SET v = 'higher' WHERE id = 11;\nDELETE FROM public.part_1 WHERE id = 1;\n"
    "INSERT INTO public.part_2 (id, v) VALUES (12, 'low');\n-- rows 3 inserted 3 updated 2 deleted\n"
)


def test_rows_of_every_kind_are_taken_back(undone: Undone) -> None:
    undone.archive.segment([FIRST])
    run = undone.undo("--xid", "701")
    assert "RESET ROLE" not in run.stdout, "a database's own setting would make it mean another role"
    undone.check(run.stdout, "--target-xid", "701", "--target-exclusive")


def test_what_was_dropped_or_truncated_comes_back_with_all_that_belonged_to_it(undone: Undone) -> None:
    undone.archive.segment(
        ["TRUNCATE ONLY public.log, ONLY public.counted RESTART IDENTITY;\n-- rows 2 truncated\n", DROP]
    )
    run = undone.undo("--xid", "701", "--xid", "702")
    undone.check(run.stdout, "--target-xid", "701", "--target-exclusive")


def test_a_later_change_of_a_row_is_a_conflict_that_names_the_transaction(undone: Undone) -> None:
    undone.archive.segment(
        [
            FIRST,
            "UPDATE public.t SET v = 'eins' WHERE id = 1;\n-- rows 1 updated\n",
            "DELETE FROM public.part_2 WHERE id = 12;\n-- rows 1 deleted\n",
            "INSERT INTO public.child (t, w) VALUES (9, 'of nine');\n-- rows 1 inserted\n",
            "INSERT INTO public.t (id, v) VALUES (20, 'unconcerned');\n-- rows 1 inserted\n",
        ]
    )
    said = undone.undo("--xid", "701", status=1)
    assert said.stdout == ""
    for row, later in (
        ("public.t, id=1 (updated", 702),
        ("public.part_2, id=12 (inserted", 703),
        ("child_t_fkey", 704),
    ):
        assert f"changed later by {later} (" in next(line for line in said.stderr.splitlines() if row in line)
    assert "705" not in said.stderr
    assert "hint: Take 702, 703, 704 back, too, with --conflicts include" in said.stderr


def test_a_row_that_is_as_it_was_again_has_been_touched(undone: Undone) -> None:
    """Changed and changed back, gone and made again, and the place of one that was deleted taken for a time."""
    again = ("UPDATE public.t SET v = 'uno' WHERE id = 1;\n", "INSERT INTO public.log (note) VALUES ('new');\n")
    undone.archive.segment(
        [
            f"{''.join(again)}DELETE FROM public.t WHERE id = 2;\n-- rows 1 inserted 1 updated 1 deleted\n",
            "UPDATE public.t SET v = 'x' WHERE id = 1;\n-- rows 1 updated\n",
            "DELETE FROM public.log WHERE note = 'new';\n-- rows 1 deleted\n",
            "INSERT INTO public.t (id) VALUES (2);\n-- rows 1 inserted\n",
            f"{''.join(again)}DELETE FROM public.t WHERE id = 2;\n-- rows 1 inserted 1 updated 1 deleted\n",
            "UPDATE public.t SET v = 'uno' WHERE id = 1;\n-- rows 1 updated\n",
        ]
    )
    said = undone.undo("--xid", "701", status=1).stderr
    for row, later in (("t, id=1", (702, 705)), ("log, note=new", (703,)), ("t, id=2", (704, 705))):
        line = next(line for line in said.splitlines() if f"public.{row}" in line)
        assert [xid for xid in range(702, 707) if f"{xid} (" in line] == [*later], line
    undone.check(
        undone.undo("--xid", "701", "--conflicts", "include").stdout, "--target-xid", "701", "--target-exclusive"
    )


def test_what_took_a_further_keys_place_for_a_time_stands_in_the_way(undone: Undone) -> None:
    """The history without what made room for it could not have gone on. NULLs are like no others."""
    undone.begin(
        "CREATE TABLE public.u (id int PRIMARY KEY, code text UNIQUE);\n"
        "INSERT INTO public.u VALUES (1, 'a'), (2, NULL);\n"
    )
    undone.archive.segment(
        [
            "DELETE FROM public.u WHERE id = 1;\nDELETE FROM public.u WHERE id = 2;\n-- rows 2 deleted\n",
            "INSERT INTO public.u (id, code) VALUES (3, 'a'), (4, NULL); -- 2 rows\n-- rows 2 inserted\n",
            "UPDATE public.u SET code = 'b' WHERE id = 3;\n-- rows 1 updated\n",
        ]
    )
    said = undone.undo("--xid", "701", status=1).stderr
    (line,) = (line for line in said.splitlines() if "changed later" in line)
    assert "public.u, id=1 (deleted by transaction 701); changed later by 702 (" in line and "703" not in line
    undone.check(
        undone.undo("--xid", "701", "--conflicts", "include").stdout, "--target-xid", "701", "--target-exclusive"
    )


def test_tables_that_inherit_have_no_part_in_foreign_keys(undone: Undone) -> None:
    """Neither may their rows refer to nothing, nor can others refer to theirs."""
    undone.begin(
        "CREATE TABLE public.p (id int PRIMARY KEY);\n"
        "CREATE TABLE public.c (id int PRIMARY KEY, p int REFERENCES public.p);\n"
        "CREATE TABLE public.p_below (PRIMARY KEY (id)) INHERITS (public.p);\n"
        "CREATE TABLE public.c_below (PRIMARY KEY (id)) INHERITS (public.c);\n"
        "INSERT INTO public.p VALUES (9);\nINSERT INTO public.c VALUES (1, 9);\n"
        "INSERT INTO public.c_below VALUES (2, 5);\n"
    )
    undone.archive.segment(
        [
            "DELETE FROM ONLY public.c_below WHERE id = 2;\n-- rows 1 deleted\n",
            "DELETE FROM ONLY public.c WHERE id = 1;\n-- rows 1 deleted\n",
            "DELETE FROM ONLY public.p WHERE id = 9;\nINSERT INTO public.p_below (id) VALUES (9);\n"
            "-- rows 1 inserted 1 deleted\n",
        ]
    )
    assert "('2', '5')" in undone.undo("--xid", "701").stdout
    said = undone.undo("--xid", "702", status=1).stderr
    assert "a row of public.c would refer to no row of public.p (c_p_fkey)" in said


def test_triggers_that_are_turned_off_or_on_do_not_hide_what_follows(undone: Undone) -> None:
    change, place = "UPDATE public.t SET v = '{}' WHERE id = 1;\n-- rows 1 updated\n", "-- rows 1 ddl\n"
    bodies = []
    for turned in ("DISABLE TRIGGER USER", "ENABLE TRIGGER ALL"):
        bodies += [f"-- ddl ALTER TABLE\nALTER TABLE public.t {turned}\n;\n-- ddl end\n{place}", change.format(turned)]
    undone.archive.segment([change.format("uno"), *bodies])
    said = undone.undo("--xid", "701", status=1).stderr
    assert all(f"{xid} (" in said for xid in (703, 705)), said
    since = undone.undo("--since", undone.archive.time(701), "--kind", "update").stdout
    undone.check(since, "--target-xid", "701", "--target-exclusive")


def test_later_transactions_are_taken_back_too_if_that_is_wanted(undone: Undone) -> None:
    later = "UPDATE public.t SET v = 'eins' WHERE id = 1;\nDELETE FROM public.log WHERE note = '';\n-- rows 1 updated\n"
    undone.archive.segment([FIRST, later])
    run = undone.undo("--xid", "701", "--conflicts", "include")
    undone.check(run.stdout, "--target-xid", "701", "--target-exclusive")


def test_a_table_that_was_dropped_later_comes_back_too_if_that_is_wanted(undone: Undone) -> None:
    """What the hint says can be done; a later change of another kind of the schema cannot be included."""
    change = "UPDATE public.t SET v = 'uno' WHERE id = 1;\nTRUNCATE ONLY public.log;\n-- rows 1 updated 1 truncated\n"
    undone.archive.segment([change, "DELETE FROM public.child;\n-- rows 1 deleted\n", DROP])
    assert "hint: Take 703 back, too, with --conflicts include" in undone.undo("--xid", "701", status=1).stderr
    run = undone.undo("--xid", "701", "--conflicts", "include")
    assert run.stdout.startswith("-- pg_scribe undo of transaction 701 (") and "transaction 703 (" in run.stdout
    undone.run()
    undone.cluster.psql(run.stdout, undone.name)
    assert undone.rows("SELECT id, v FROM t ORDER BY id")[:2] == [(1, "one"), (2, None)]
    assert undone.rows("SELECT count(*) FROM log") == [(3,)]
    rows = undone.undo("--xid", "701", "--conflicts", "include", "--kind", "update", status=1).stderr
    assert "703 has changed the schema (DROP TABLE) and cannot be included" in rows


def test_rows_that_were_changed_later_are_left_out_if_that_is_wanted(undone: Undone) -> None:
    undone.archive.segment(
        [
            "UPDATE public.t SET v = 'uno' WHERE id = 1;\nUPDATE public.t SET v = 'due' WHERE id = 2;\n"
            "-- rows 2 updated\n",
            "UPDATE public.t SET v = 'eins' WHERE id = 1;\n-- rows 1 updated\n",
            RENAME,
        ]
    )
    run = undone.undo("--xid", "701", "--conflicts", "skip")
    assert "1 changes are left out" in run.stderr
    undone.run()
    undone.undo("--xid", "701", "--conflicts", "skip", "--apply", "-d", undone.name)
    assert undone.rows("SELECT id, word FROM t ORDER BY id")[:2] == [(1, "eins"), (2, None)]
    assert undone.cluster.psql(run.stdout, undone.name, check=False).returncode == 3
    again = undone.undo("--xid", "701", "--conflicts", "skip", "--apply", "-d", undone.name, status=1)
    assert "id=2 (updated by transaction 701): the row is not what the transaction made it" in again.stderr


def test_a_time_a_table_a_key_and_kinds_choose_what_is_taken_back(undone: Undone) -> None:
    undone.archive.segment([FIRST, "DELETE FROM public.t WHERE id IN (2, 4); -- 2 rows\n-- rows 2 deleted\n"])
    since = ["--since", undone.archive.time(701)]
    for arguments, expected in (
        (["--table", "part"], ["public.part_1: 1 deleted", "public.part_2: 1 inserted, 1 updated"]),
        (["--table", "t", "--key", "id=4"], ["public.t: 1 deleted, 1 inserted"]),
        (
            ["--kind", "delete", "--until", undone.archive.time(701)],
            ["public.log: 1 deleted", "public.part_1: 1 deleted"],
        ),
    ):
        said = undone.undo(*since, *arguments, "-n").stderr
        assert [line.removeprefix("scribe-undo: ") for line in said.splitlines()[1:]] == expected


def test_what_cannot_be_taken_back_is_refused(undone: Undone) -> None:
    undone.archive.segment([RENAME])
    for arguments, status, words in (
        ((), 2, "--xid or --since"),
        (("--xid", "1", "--kind", "x"), 2, 'invalid kind "x"'),
        (("--xid", "1", "--apply"), 2, "--apply and -d go together"),
        (("--xid", "1"), 1, "could not find transaction 1 in the archive"),
        (("--xid", "701"), 1, "transaction 701 has made or changed "),
        (("--since", "2026-11-22 03:00:01+00"), 1, "nothing to take back"),
        (("--since", "2026-11-22 03:00:01+00"), 1, "what 701 did to the schema is not taken back"),
        (("--since", "2026-11-22 03:00:01+00", "--table", "t", "--table", "tt"), 1, '"tt"'),
    ):
        said = undone.undo(*arguments, status=status).stderr
        assert words in said and "hint: " in said


def test_an_archive_that_tells_no_transactions_apart_is_refused(undone: Undone) -> None:
    path = undone.archive.segment([FIRST])
    path.write_text(path.read_text().replace('"timeline"', '"points": "segment", "timeline"'))
    assert "does not tell the numbers and times of transactions" in undone.undo("--xid", "701", status=1).stderr


@pytest.mark.unit
def test_a_transaction_is_found_wherever_a_block_ends_and_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Handmade(tmp_path / "archive")
    made.base(BASE)
    made.segment([FIRST, FIRST])
    archive = Archive(made.path)
    for block in range(1, 90):
        monkeypatch.setattr(undo_scope, "_BLOCK", block)
        (found,) = find_transactions(archive, find_chains(archive, archive.identity()), [702])
        assert found.begin.xid == 702
    made.xid -= 1  # as after a turn of the counter
    made.segment([FIRST])
    with pytest.raises(ScribeError, match="found more than once: transaction 702"):
        find_transactions(archive, find_chains(archive, archive.identity()), [702])


def test_a_segment_that_is_damaged_or_gone_is_named(undone: Undone) -> None:
    manifests = [undone.archive.segment([FIRST]) for _ in range(3)]
    data = [path.with_name(json.loads(path.read_text())["file"]) for path in manifests]
    whole = data[1].read_bytes()
    data[1].write_bytes(whole[:40] + bytes(40) + whole[80:])
    assert f'could not decompress "{data[1].name}"' in undone.undo("--xid", "703", status=1).stderr
    manifests[1].unlink()
    said = undone.undo("--xid", "703", status=1).stderr
    assert "could not find transaction 703 in the archive, which has a gap: a segment is missing between" in said
    said = undone.refused("--target-xid", "703")
    assert "where the archive has a gap: a segment is missing between" in said


def test_names_are_nothing_but_names(undone: Undone) -> None:
    """Breaks of lines of other kinds than SQL's, quotes of ours, and what ends a statement."""
    owner = f"{undone.name}_owner"
    dollar, broken = '"x$scribe$;\n--"', '"a\x0bb\u2028c"'
    hostile = '"a OWNER TO pg_scribe;\nCREATE TABLE hacked (); --"'
    undone.begin(
        f"CREATE TABLE public.p (id int PRIMARY KEY);\nINSERT INTO public.p VALUES (1);\n"
        f'CREATE TABLE public.{dollar} (c int REFERENCES public.p, "$scribe$" int);\n'
        f"INSERT INTO public.{dollar} VALUES (1);\n"
        f"CREATE TABLE public.{broken} (scribe_undo_row int, c int);\nINSERT INTO public.{broken} VALUES (1, 2);\n"
        f"CREATE TABLE public.scribe_undo_x (id int);\nCREATE TABLE public.{hostile} (id int);\n"
        f"ALTER TABLE public.{hostile} OWNER TO {owner};\n",
        owner,
    )
    written = dollar.replace("\n", "\\000A")
    drop = f"-- ddl DROP TABLE\nDROP TABLE public.{broken}, public.scribe_undo_x, public.{hostile}\n;\n-- ddl end\n"
    undone.archive.segment(
        [
            f"DELETE FROM public.U&{written};\nTRUNCATE public.{broken};\n-- rows 1 deleted 1 truncated\n",
            f"{drop}-- rows 1 ddl\n",
        ]
    )
    run = undone.undo("--xid", "701", "--xid", "702")
    undone.check(run.stdout, "--target-xid", "701", "--target-exclusive")


def test_constraints_are_told_apart_by_more_than_their_name(undone: Undone) -> None:
    """Of two foreign keys of one name, one is broken from the beginning and cannot be asked for."""
    undone.begin(
        "".join(
            f"CREATE SCHEMA {s};\nCREATE TABLE {s}.p (id int PRIMARY KEY);\n"
            f"CREATE TABLE {s}.c (c int REFERENCES {s}.p, v text);\n"
            f"INSERT INTO {s}.p VALUES (1);\nINSERT INTO {s}.c VALUES (1, 'x');\n"
            for s in "ab"
        )
        + "SET session_replication_role = replica;\nINSERT INTO a.c VALUES (7, 'orphan');\n"
    )
    undone.archive.segment(["UPDATE a.c SET v = 'y' WHERE c = 1;\nUPDATE b.c SET v = 'y';\n-- rows 2 updated\n"])
    said = undone.undo("--xid", "701").stdout
    assert "a row of b.c would refer to no row of b.p" in said
    assert "a row of a.c would" not in said


def test_what_is_unique_stays_unique_even_if_that_is_checked_late(undone: Undone) -> None:
    undone.begin(
        "CREATE TYPE public.mood AS ENUM ('sad', 'ok');\nCREATE DOMAIN public.temper AS public.mood;\n"
        "CREATE TABLE public.u (id int UNIQUE DEFERRABLE, v text, t public.temper UNIQUE DEFERRABLE,\n"
        "  EXCLUDE (lower(v) WITH =) WHERE (id < 5) DEFERRABLE INITIALLY DEFERRED);\n"
        "INSERT INTO public.u VALUES (1, 'a'), (2, 'X'), (7, 'g'), (8, 'h'), (NULL, 'n'), (NULL, NULL);\n"
        "UPDATE public.u SET t = 'sad' WHERE id = 2;\n"
    )
    undone.archive.segment(
        [
            "UPDATE public.u SET id = 8 WHERE v = 'g';\nUPDATE public.u SET id = 7 WHERE v = 'h';\n-- rows 2 updated\n",
            "DELETE FROM public.u WHERE id IN (1, 2); -- 2 rows\n-- rows 2 deleted\n",
            "INSERT INTO public.u (id, v) VALUES (1, 'b');\n-- rows 1 inserted\n",
            "INSERT INTO public.u (id, v, t) VALUES (3, 'x', 'sad');\n-- rows 1 inserted\n",
        ]
    )
    said = undone.undo("--xid", "702", status=1).stderr.splitlines()
    for name, later in (("u_id_key", 703), ("u_lower_excl", 704), ("u_t_key", 704)):
        assert any(f"like another that is there ({name}); changed later by {later} (" in line for line in said), said
    assert "Take 703, 704 back, too, with --conflicts include." in said[-1]
    undone.run()
    undone.undo("--xid", "701", "--apply", "-d", undone.name)
    assert undone.rows("SELECT id, v FROM u WHERE id > 6 ORDER BY 1") == [(7, "g"), (8, "h")]


def test_nothing_acts_on_what_is_given_back(undone: Undone) -> None:
    """Triggers and rules that are to act always, of a partition's root too; and policies hide nothing from it."""
    owner = f"{undone.name}_owner"
    undone.begin(
        f"{BASE}CREATE TABLE public.audit (n text);\n"
        "CREATE FUNCTION public.noted() RETURNS trigger LANGUAGE plpgsql AS\n"
        "  $$ BEGIN INSERT INTO public.audit VALUES (TG_TABLE_NAME); RETURN NULL; END $$;\n"
        "CREATE RULE r AS ON INSERT TO public.log DO ALSO INSERT INTO public.audit VALUES ('rule');\n"
        "ALTER TABLE public.log ENABLE ALWAYS RULE r;\n"
        "CREATE TRIGGER r AFTER INSERT ON public.part EXECUTE FUNCTION public.noted();\n"
        "ALTER TABLE public.part ENABLE ALWAYS TRIGGER r;\n"
        "CREATE TRIGGER scribe_undo_x AFTER INSERT ON public.part_1 FOR EACH ROW EXECUTE FUNCTION public.noted();\n"
        "ALTER TABLE public.part_1 ENABLE REPLICA TRIGGER scribe_undo_x;\n"
        f"ALTER TABLE public.log OWNER TO {owner};\n"
        "ALTER TABLE public.log ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;\n",
        owner,
    )
    undone.archive.segment(["DELETE FROM public.log WHERE note = '';\nDELETE FROM public.part_1;\n-- rows 2 deleted\n"])
    run = undone.undo("--xid", "701")
    undone.check(run.stdout, "--target-xid", "701", "--target-exclusive")


def test_code_of_what_is_made_again_runs_as_its_owner(undone: Undone) -> None:
    """A foreign key and a partition are made again with queries and checks that plan what their owner has written."""
    owner = f"{undone.name}_owner"
    undone.begin(
        f"CREATE FUNCTION public.planted(v int) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN\n"
        "  IF to_regclass('public.armed') IS NULL THEN RETURN true; END IF;\n"
        f"  IF current_user <> '{owner}' THEN RAISE EXCEPTION 'run as %', current_user; END IF; RETURN true;\n"
        "END $$;\n"
        "CREATE TABLE public.c (id int PRIMARY KEY, other int REFERENCES public.c) PARTITION BY RANGE (id);\n"
        "CREATE TABLE public.c_1 (id int NOT NULL, other int, CHECK (public.planted(1)));\n"
        "ALTER TABLE public.c ATTACH PARTITION public.c_1 FOR VALUES FROM (0) TO (10);\n"
        "CREATE INDEX trap ON public.c_1 (id) WHERE public.planted(1);\nINSERT INTO public.c VALUES (1, 1), (2, 1);\n"
        f"ALTER TABLE public.c OWNER TO {owner};\nALTER TABLE public.c_1 OWNER TO {owner};\n"
        f"GRANT CREATE ON SCHEMA public TO {owner};\n",
        owner,
    )
    undone.archive.segment([f"{DROP.replace('public.t', 'public.c')}"])
    undone.run()
    undone.cluster.psql("CREATE TABLE armed ()", undone.name)
    printed = undone.undo("--xid", "701").stdout
    assert printed.endswith("\nCOMMIT;\n")
    undone.cluster.psql(printed.removesuffix("COMMIT;\n") + "ROLLBACK;\n", undone.name)
    undone.undo("--xid", "701", "--apply", "-d", undone.name)
    undone.cluster.psql("DROP TABLE armed", undone.name)
    assert undone.rows("SELECT id, other FROM c_1 ORDER BY 1") == [(1, 1), (2, 1)]
    keys = "SELECT convalidated FROM pg_constraint WHERE contype = 'f' AND conrelid = 'c'::regclass AND conparentid = 0"
    assert undone.rows(keys) == [(True,)]


def test_what_pgoutput_decoded_is_taken_back_too(scribe: Scribe, targets: tuple[str, str]) -> None:
    """On the source itself, where the undo is captured as any other change is."""
    scribe.settings["SCRIBE_DECODER"] = "pgoutput"
    cluster, name = scribe.cluster, scribe.dbname
    own = 'CREATE TABLE "a\nb" (n serial PRIMARY KEY, i int GENERATED ALWAYS AS IDENTITY);'
    cluster.psql(BASE + own + 'INSERT INTO "a\nb" DEFAULT VALUES', name)
    scribe.run("scribe-init")
    scribe.start_stream()
    before = cluster.dump(name)
    xids = []
    for text in (
        "INSERT INTO t VALUES (4, 'four'); UPDATE t SET id = 9, v = NULL WHERE id = 3; DELETE FROM part WHERE id = 1;"
        " UPDATE part SET id = 3 WHERE id = 11; DELETE FROM log WHERE ctid = '(0,1)'; UPDATE log SET p = NULL;",
        'TRUNCATE log, counted RESTART IDENTITY; DROP TABLE t CASCADE; DROP TABLE "a\nb";',
    ):
        xids.append(cluster.psql(f"BEGIN; SELECT pg_current_xact_id(); {text} COMMIT;", name).stdout.split()[0])
    scribe.run("scribe-rotate", "--wait-lsn", "current")
    chosen = [word for xid in xids for word in ("--xid", xid)]
    scribe.run("scribe-undo", *chosen, "--apply", "-d", name)
    assert_equal(cluster.dump(name), before, ("undone", "before"))
    scribe.run("scribe-rotate", "--wait-lsn", "current")
    assert_both_restores_equal(scribe, targets)
    assert scribe.stop_stream() == 0


def test_nothing_outlives_a_terminal_that_is_closed(undone: Undone, cluster: Cluster, place: Path) -> None:
    undone.archive.segment([FIRST])
    command = [str(ROOT / "bin/scribe-undo"), "--archive", str(undone.path), "--xid", "701", "--directory", str(place)]
    command = [*HEARING, *command]
    process = subprocess.Popen(command, env=cluster.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    poll(lambda: list(place.glob("*/data/postmaster.pid")), 60, "the server starts")
    process.send_signal(signal.SIGHUP)
    said = process.communicate(timeout=60)
    assert (process.returncode, said[0], said[1].splitlines()[-1]) == (1, "", "scribe-undo: error: interrupted")
    assert list(place.iterdir()) == []
