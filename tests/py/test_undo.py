"""scribe-undo: what transactions did is taken back exactly, or what stands in the way is named."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import ROOT, Cluster
from compare import assert_equal
from handmade import Handmade
from restoring import Target

BASE = """
CREATE TABLE public.t (id integer PRIMARY KEY, v text, n numeric GENERATED ALWAYS AS (id * 2) STORED);
CREATE TABLE public.log (note text, p point);
CREATE TABLE public.counted (id int GENERATED ALWAYS AS IDENTITY);
INSERT INTO public.counted OVERRIDING SYSTEM VALUE VALUES (7), (8);
SELECT pg_catalog.setval('public.counted_id_seq', 8);
CREATE TABLE public.child (t int REFERENCES public.t, w text);
CREATE TABLE public.part (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
CREATE TABLE public.part_1 PARTITION OF public.part FOR VALUES FROM (0) TO (10);
CREATE TABLE public.part_2 PARTITION OF public.part FOR VALUES FROM (10) TO (20);
CREATE VIEW public.seen AS SELECT v FROM public.t;
CREATE INDEX t_v ON public.t (v);
GRANT SELECT ON public.t TO PUBLIC;
INSERT INTO public.t (id, v) VALUES (1, 'one'), (2, NULL), (3, 'a "b", \\\\c');
INSERT INTO public.log VALUES ('same', '(1,2)'), ('same', '(1,2)'), ('', NULL);
INSERT INTO public.part VALUES (1, 'low'), (11, 'high');
INSERT INTO public.child VALUES (1, 'of one');
"""
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


class Undone(Target):
    """An archive, its restored end, and scribe-undo run against them."""

    def __init__(self, cluster: Cluster, path: Path) -> None:
        super().__init__(cluster, path)
        self.archive = Handmade(path)
        self.archive.base(BASE, globals_sql="CREATE ROLE postgres;\n")

    def undo(self, *arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        command = [str(ROOT / "bin/scribe-undo"), "--archive", str(self.path), *arguments]
        run = subprocess.run(command, env=self.cluster.env, capture_output=True, text=True, check=False)
        assert run.returncode == status, run.stdout + run.stderr
        return run

    def check(self, text: str, *point: str) -> None:
        """Restore to the end, run the undo's SQL, and compare with the database at a point."""
        name, self.name = self.name, f"{self.name}_wanted"
        try:
            self.run(*point)
            wanted = self.cluster.dump(self.name)
        finally:
            self.cluster.dropdb(self.name)
            self.name = name
        self.run()
        self.cluster.psql(text, self.name)
        found = self.cluster.dump(self.name)
        assert_equal(found, wanted, ("undone", "wanted"))


@pytest.fixture
def undone(cluster: Cluster, tmp_path: Path) -> Iterator[Undone]:
    made = Undone(cluster, tmp_path / "archive")
    yield made
    cluster.dropdb(made.name)


def test_rows_of_every_kind_are_taken_back(undone: Undone) -> None:
    undone.archive.segment([FIRST])
    run = undone.undo("--xid", "701")
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


def test_later_transactions_are_taken_back_too_if_that_is_wanted(undone: Undone) -> None:
    later = "UPDATE public.t SET v = 'eins' WHERE id = 1;\nDELETE FROM public.log WHERE note = '';\n-- rows 1 updated\n"
    undone.archive.segment([FIRST, later])
    run = undone.undo("--xid", "701", "--conflicts", "include")
    undone.check(run.stdout, "--target-xid", "701", "--target-exclusive")


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
    ):
        said = undone.undo(*arguments, status=status).stderr
        assert words in said and "hint: " in said


def test_code_of_a_tables_owner_has_no_more_rights_than_its_owner(undone: Undone) -> None:
    """A CHECK that looks who it is, and would be somebody else; what is given back runs it."""
    owner = f"{undone.name}_owner"
    planted = f"""
CREATE FUNCTION public.planted(v text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  IF to_regclass('public.armed') IS NULL THEN RETURN true; END IF;
  IF current_user <> '{owner}' THEN RAISE EXCEPTION 'run as %', current_user; END IF;
  BEGIN RESET ROLE; EXCEPTION WHEN OTHERS THEN RETURN true; END;
  RAISE EXCEPTION 'escaped as %', current_user;
END $$;
CREATE TABLE public.trap (v text CHECK (public.planted(v)));
INSERT INTO public.trap VALUES ('bait');
ALTER TABLE public.trap OWNER TO {owner};
"""
    undone.archive = Handmade(undone.path)
    undone.archive.lsn += 0x10000
    undone.archive.xid += 100
    undone.archive.base(BASE + planted, globals_sql=f"CREATE ROLE postgres;\nCREATE ROLE {owner};\n")
    undone.archive.segment(["DELETE FROM public.trap;\n-- rows 1 deleted\n"])
    try:
        undone.run()
        undone.cluster.psql("CREATE TABLE armed ()", undone.name)
        undone.undo("--xid", "801", "--apply", "-d", undone.name)
        assert undone.rows("SELECT v FROM trap") == [("bait",)]
    finally:
        undone.cluster.dropdb(undone.name)
        undone.cluster.psql(f"DROP ROLE {owner}")
