"""A hand-made archive, its restored end, and scribe-undo run against them."""

from __future__ import annotations

import subprocess
from pathlib import Path

from cluster import ROOT, Cluster
from compare import assert_equal
from handmade import Handmade
from restoring import Target
from starting import run_program

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
CREATE MATERIALIZED VIEW public.kept AS SELECT v FROM public.seen;
CREATE INDEX t_v ON public.t (v);
GRANT SELECT ON public.t TO PUBLIC;
INSERT INTO public.t (id, v) VALUES (1, 'one'), (2, NULL), (3, 'a "b", \\\\c');
INSERT INTO public.log VALUES ('same', '(1,2)'), ('same', '(1,2)'), ('', NULL);
INSERT INTO public.part VALUES (1, 'low'), (11, 'high');
INSERT INTO public.child VALUES (1, 'of one');
REFRESH MATERIALIZED VIEW public.kept;
"""


class Undone(Target):
    """An archive, its restored end, and scribe-undo run against them."""

    def __init__(self, cluster: Cluster, path: Path) -> None:
        super().__init__(cluster, path)
        self.roles: tuple[str, ...] = ()
        self.archive.base(BASE, globals_sql="CREATE ROLE postgres;\n")

    def begin(self, sql: str, *roles: str) -> None:
        """Use an archive with another base."""
        self.path = self.path.with_name("other")
        self.archive = Handmade(self.path)
        self.roles = roles
        names = ("postgres", *roles)
        self.archive.base(sql, globals_sql="".join(f"CREATE ROLE {name};\n" for name in names))

    def undo(self, *arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        command = [str(ROOT / "bin/scribe-undo"), "--archive", str(self.path), *arguments]
        run = run_program(command, self.cluster.env)
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
