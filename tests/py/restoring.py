"""A hand-made archive, the database it is restored into, and scribe-restore run against them."""

from __future__ import annotations

import hashlib
import itertools
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cluster import ROOT, Cluster
from handmade import START, Handmade
from starting import run_program

from scribe.common.dialect import Sequence, build_epilogue
from scribe.common.lsn import format_lsn, parse_lsn

TABLES = """
CREATE TABLE public.t (id integer PRIMARY KEY, v text);
CREATE SEQUENCE public.t_id_seq OWNED BY public.t.id;
ALTER TABLE public.t ALTER COLUMN id SET DEFAULT nextval('public.t_id_seq');
CREATE TABLE public.log (at timestamptz, note text);
INSERT INTO public.t VALUES (1, 'one');
"""
DDL = (
    "-- ddl ALTER TABLE\nSET LOCAL search_path = public;\n{}\n;\nSET LOCAL search_path = '';\n-- ddl end\n"
    "-- rows 1 ddl\n"
)
LONG = "".join(f"INSERT INTO public.log (note) VALUES ('{i:0100}');\n" for i in range(9000))
_numbers = itertools.count(1)


class Target:
    """An archive, the name of a database to restore it into, and the program run against them."""

    def __init__(self, cluster: Cluster, path: Path) -> None:
        self.cluster, self.path = cluster, path
        self.archive = Handmade(path)
        self.archive.major = min(15, cluster.version_num // 10000)  # a target may not be older
        self.name = f"copy{next(_numbers)}"

    def command(self, *arguments: str) -> list[str]:
        return [str(ROOT / "bin/scribe-restore"), "--archive", str(self.path), *arguments]

    def run(self, *arguments: str, status: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
        """Restore into the database and check the exit status."""
        environment = self.cluster.env | {"PGDATABASE": "is_ignored", **env}
        result = run_program(self.command("-d", self.name, *arguments), environment, timeout=120)
        assert result.returncode == status, result.stdout + result.stderr
        return result

    def refused(self, *arguments: str, status: int = 1, **env: str) -> str:
        """Restore, expecting a refusal: one error line and a hint. Return what was said."""
        said = self.run(*arguments, status=status, **env).stderr
        assert said.count("scribe-restore: error: ") == 1, said
        assert said.count("scribe-restore: hint: ") == 1, said
        return said

    def as_directory(self, stamp: str) -> Path:
        """Make a plain base one in directory format, of what was restored from it; return that directory."""
        base = self.path / "base" / stamp
        command = [f"{self.cluster.bindir}/pg_dump", "-Fd", "-N", "scribe", "-f", base / "base.dir", self.name]
        subprocess.run(command, env=self.cluster.env, check=True)
        (base / "epilogue.sql").write_text(build_epilogue(START))
        (base / "base.sql.zst").unlink()
        self.sign(stamp, format="directory")
        return base / "base.dir"

    def sign(self, stamp: str, **more: Any) -> None:
        """Let the manifest of a base fit what lies there, whatever that is. more: other values in it."""
        base = self.path / "base" / stamp
        manifest = json.loads((base / "manifest.json").read_text())
        files = [path for path in sorted(base.rglob("*")) if path.is_file() and path.name != "manifest.json"]
        manifest["files"] = [
            {
                "name": path.relative_to(base).as_posix(),
                "bytes": path.stat().st_size,
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            }
            for path in files
        ]
        (base / "manifest.json").write_text(json.dumps(manifest | more))

    def exists(self) -> bool:
        return bool(self.cluster.query(f"SELECT 1 FROM pg_database WHERE datname = '{self.name}'"))

    def rows(self, query: str = "SELECT id, v FROM public.t ORDER BY id") -> list[tuple[Any, ...]]:
        return self.cluster.query(query, self.name)

    def position(self) -> tuple[str, bool]:
        lsn, inside = self.rows("SELECT lsn::text, inside FROM scribe.position")[0]
        return format_lsn(parse_lsn(lsn)), inside  # 19 prints it with zeros


def insert(number: int) -> str:
    return f"INSERT INTO public.t (id, v) VALUES ({number}, 'v{number}');\n-- rows 1 inserted\n"


def small_archive(target: Target) -> None:
    """A base and three segments; transaction 701 + i inserts row 2 + i, ten of them."""
    target.archive.base(TABLES)
    target.archive.segment([insert(i) for i in (2, 3, 4, 5)], sequences=[Sequence("public", "t_id_seq", 5, True)])
    target.archive.segment([insert(6), "-- mark before-lunch\n", insert(7)], compress=False)
    target.archive.segment([insert(i) for i in (8, 9, 10)], sequences=[Sequence("public", "t_id_seq", 33, True)])


def twice_restored(cluster: Cluster, path: Path, schema: str) -> Iterator[Target]:
    """Yield a target whose archive has a base with a schema; it, and a copy called serial, are dropped afterwards."""
    target = Target(cluster, path / "archive")
    target.archive.base(schema)
    yield target
    for name in (target.name, "serial"):
        if cluster.query(f"SELECT 1 FROM pg_database WHERE datname = '{name}'"):
            cluster.dropdb(name)
