"""scribe-undo and scribe-peek restore the rows that they need, and everything where other rows may decide."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from cluster import ROOT, Cluster
from handmade import Handmade

TABLES = """
CREATE TABLE public.t (id integer PRIMARY KEY, v text);
CREATE TABLE public.child (id integer PRIMARY KEY, t integer, v text);
CREATE TABLE public.part (id integer PRIMARY KEY, v text) PARTITION BY RANGE (id);
CREATE TABLE public.part_1 PARTITION OF public.part FOR VALUES FROM (0) TO (10);
CREATE TABLE public.part_2 PARTITION OF public.part FOR VALUES FROM (10) TO (20);
CREATE TABLE public.other (id integer, v text);
CREATE TABLE public.filler (v text);
CREATE VIEW public.seen AS SELECT t.v FROM public.t JOIN public.part USING (id);
CREATE VIEW public.wide AS SELECT v FROM public.filler;
CREATE FUNCTION public.known(i integer) RETURNS boolean LANGUAGE plpgsql STABLE AS
  $$ BEGIN RETURN EXISTS (SELECT FROM public.other WHERE id = i); END $$;
CREATE TABLE public.judged (id integer CHECK (public.known(id)), v text);
"""
ROWS = {
    "other (id, v)": ("1\tone",),
    "t (id, v)": ("1\tone", "2\ttwo"),
    "child (id, t, v)": ("1\t1\tof one", "2\t2\tof two"),
    "part_1 (id, v)": ("1\tlow",),
    "part_2 (id, v)": ("11\thigh",),
    "judged (id, v)": ("1\tjudged",),
}
KEYS = "ALTER TABLE ONLY public.child ADD CONSTRAINT child_fkey FOREIGN KEY (t) REFERENCES public.t(id);\n"
MUCH = "x" * (1 << 20)


def copied(rows: dict[str, tuple[str, ...]]) -> str:
    """Return the data of tables as pg_dump has them."""
    return "".join(
        f"COPY public.{name} FROM stdin;\n" + "".join(f"{line}\n" for line in lines) + "\\.\n\n\n"
        for name, lines in rows.items()
    )


def ddl(tag: str, text: str) -> str:
    """Return a transaction that changes the schema."""
    return f"-- ddl {tag}\n{text}\n;\n-- ddl end\n-- rows 1 ddl\n"


TRANSACTIONS = (
    "UPDATE public.t SET v = 'uno' WHERE id = 1;\nINSERT INTO public.part_2 (id, v) VALUES (12, 'low');\n",  # 701
    ddl("ALTER TABLE", "ALTER TABLE public.other RENAME TO others"),
    "TRUNCATE ONLY public.part_1;\nUPDATE public.others SET v = 'uno' WHERE id = 1;\n-- rows 1 truncated\n",
    ddl("DROP TABLE", "DROP TABLE public.t CASCADE"),  # 704
    "UPDATE public.child SET v = 'changed' WHERE id = 2;\n",
    ddl("ALTER TABLE", "ALTER TABLE public.others RENAME TO other"),
    "DELETE FROM public.judged WHERE id = 1;\n",  # 707
    "UPDATE public.child SET v = 'again' WHERE id = 2;\n",
)


class Two:
    """A large archive, and one that is the same but for what fills it; what is run on them."""

    def __init__(self, cluster: Cluster, path: Path) -> None:
        self.env = {name: value for name, value in cluster.env.items() if not name.startswith("PG")}
        self.paths = [path / "large", path / "small"]
        for where, rows in zip(self.paths, (34, 1), strict=True):
            archive = Handmade(where)
            filled = {"filler (v)": (MUCH,) * rows}
            archive.base(TABLES + copied(filled | ROWS) + KEYS, globals_sql="CREATE ROLE postgres;\n")
            archive.segment(TRANSACTIONS[:5], told=True)
            archive.segment(TRANSACTIONS[5:], told=True)

    def run(
        self, program: str, *arguments: str, status: int = 0, large: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a program on one of them."""
        path = self.paths[0 if large else 1]
        command = [str(ROOT / "bin" / program), "-v", "--archive", str(path), *arguments]
        run = subprocess.run(command, env=self.env, capture_output=True, text=True, check=False)
        assert run.returncode == status, run.stdout + run.stderr
        return run

    def undo(self, *arguments: str, status: int = 0) -> str:
        """Take back in both; return what was said of the large one. What is printed must be the same."""
        large, small = (self.run("scribe-undo", *arguments, status=status, large=large) for large in (True, False))
        assert large.stdout == small.stdout
        assert "rows are restored of" not in small.stderr
        return large.stderr


@pytest.fixture(scope="module")
def two(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Two:
    path = tmp_path_factory.mktemp("two")
    path.chmod(0o755)
    return Two(cluster, path)


def restored(said: str) -> str | None:
    """Return the tables of which rows were restored, None for all."""
    if "everything is restored: " in said:
        return None
    (line,) = (line for line in said.splitlines() if "rows are restored of " in line)
    return line.partition(" of ")[2]


def test_an_undo_restores_what_was_changed_and_what_that_is_checked_with(two: Two) -> None:
    assert restored(two.undo("--xid", "701", "--kind", "insert")) == "public.part_2"
    assert restored(two.undo("--xid", "701", "--xid", "704", "--xid", "703")) == (
        "public.child, public.other, public.part_1, public.part_2"
    )  # and of what was dropped
    said = two.undo("--xid", "705", status=1)
    assert "changed later by 708" in said
    assert restored(said) == "public.child"
    since = ("--since", Handmade.time(703), "--table", "part")
    assert restored(two.undo(*since)) == "public.part, public.part_1, public.part_2"


def test_an_undo_of_a_time_restores_what_was_changed_in_the_segments_of_that_time(two: Two) -> None:
    """The second segment has changes of a table that needs everything."""
    said = two.undo("--since", Handmade.time(705), "--until", Handmade.time(705), "--conflicts", "skip", status=1)
    assert restored(said) == "public.child, public.other, public.part_1, public.part_2"
    assert restored(two.run("scribe-undo", "--since", Handmade.time(707)).stderr) is None


def test_an_undo_restores_everything_where_other_rows_may_decide(two: Two) -> None:
    """A CHECK that looks at another table refuses a row for want of that table's rows."""
    assert restored(two.undo("--xid", "707")) is None
    assert restored(two.undo("--xid", "705", "--conflicts", "include")) is None


def test_a_look_has_the_rows_of_what_is_named_and_no_query_takes_others_for_empty(two: Two, place: Path) -> None:
    where = ("--directory", str(place), "--target-xid", "703")
    query = ("-c", "SELECT v FROM seen", "-c", "SELECT count(*) FROM part", "--", "-At")
    seen = two.run("scribe-peek", *where, "--table", "seen", "--table", "child", *query)
    assert (seen.stdout, restored(seen.stderr)) == (
        "2\n",
        "public.child, public.part, public.part_1, public.part_2, public.t",
    )
    for table in ("others", "wide"):
        refused = two.run("scribe-peek", *where, "--table", "t", "-c", f"SELECT count(*) FROM {table}", status=1)
        assert "has not been populated" in refused.stderr
        assert "other tables are left out" in refused.stderr
    assert list(place.iterdir()) == []


def test_what_is_kept_is_used_again_if_it_has_what_is_asked_for(two: Two, place: Path) -> None:
    keep = ("--keep", str(place / "kept"))

    def look(xid: int, table: str, query: str, *more: str, status: int = 0) -> tuple[str, bool]:
        run = two.run(
            "scribe-peek",
            *keep,
            "--target-xid",
            str(xid),
            "--table",
            table,
            *more,
            "-c",
            query,
            "--",
            "-At",
            status=status,
        )
        return run.stdout.strip(), "rows are restored of" in run.stderr

    assert look(704, "child", "SELECT count(*) FROM child") == ("2", True)
    assert look(704, "child", "SELECT count(*) FROM child") == ("2", False)
    assert look(704, "childs", "SELECT", status=1) == ("", False)
    assert look(705, "child", "SELECT v FROM child WHERE id = 2") == ("changed", False)
    assert look(705, "child", "SELECT FROM others", status=1) == ("", False)
    assert look(705, "others", "SELECT v FROM others", "--table", "child") == ("uno", True)
    assert look(708, "other", "SELECT v FROM other") == ("uno", True)
    everything = ["scribe-peek", *keep, "--target-xid", "708", "-c", "SELECT count(*) FROM wide", "--", "-At"]
    assert two.run(*everything).stdout == "34\n"
    assert look(708, "other", "SELECT count(*) FROM wide") == ("34", False)
