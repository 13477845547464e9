"""What refers to the chosen objects of a part, and went with them where they were dropped with CASCADE, as SQL.

pg_dump says it: of its table of contents, the entries of those objects are taken, with their privileges and comments.
Other tables are not among them, but what ties them to the chosen ones is: foreign keys, rules, defaults, policies.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from scribe.common.errors import ScribeError
from scribe.restore.throwaway import Cluster

# pg_dump leaves them out with --table, and with --schema if they are in another one.
_STATISTICS = """
SELECT s.oid, s.stxname
  FROM pg_catalog.pg_statistic_ext AS s JOIN pg_catalog.pg_namespace AS n ON n.oid = s.stxnamespace
 WHERE s.stxrelid IN (SELECT objid FROM scribe_part WHERE classid = 'pg_catalog.pg_class'::pg_catalog.regclass)
   AND n.nspname <> ALL (%(schemas)s)
"""
# A view stands for its rule. A column of another table, and a table that inherits, cannot be made from here.
_FOUND = f"""
WITH RECURSIVE found (classid, objid) AS (
  SELECT p.classid, p.objid FROM scribe_part AS p
  UNION
  SELECT CASE WHEN v.oid IS NULL THEN d.classid ELSE 'pg_catalog.pg_class'::pg_catalog.regclass::oid END,
         coalesce(v.oid, d.objid)
    FROM found AS f JOIN pg_catalog.pg_depend AS d ON d.refclassid = f.classid AND d.refobjid = f.objid
    LEFT JOIN pg_catalog.pg_rewrite AS w
      ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND w.oid = d.objid
    LEFT JOIN pg_catalog.pg_class AS v ON v.oid = w.ev_class AND v.relkind IN ('v', 'm')
    LEFT JOIN pg_catalog.pg_class AS c ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND c.oid = d.objid
   WHERE d.deptype IN ('n', 'a', 'i') AND (c.oid IS NULL OR c.relkind NOT IN ('r', 'p', 'f'))
), new AS (
  INSERT INTO scribe_part SELECT classid, objid FROM found EXCEPT SELECT classid, objid FROM scribe_part
  RETURNING classid, objid
)
SELECT new.classid::bigint, new.objid::bigint, n.nspname, coalesce(c.relname, p.proname), c.relkind::text,
  c.relkind = 'm' AND c.relispopulated, pg_catalog.pg_describe_object(new.classid, new.objid, 0)
FROM (SELECT classid, objid FROM new UNION ALL SELECT p.classid, p.objid FROM scribe_part AS p
  WHERE p.classid = 'pg_catalog.pg_publication_rel'::pg_catalog.regclass
  UNION ALL SELECT 'pg_catalog.pg_statistic_ext'::pg_catalog.regclass, s.oid FROM ({_STATISTICS}) AS s) AS new
LEFT JOIN pg_catalog.pg_class AS c ON new.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND c.oid = new.objid
LEFT JOIN pg_catalog.pg_proc AS p ON new.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND p.oid = new.objid
LEFT JOIN pg_catalog.pg_namespace AS n ON n.oid = coalesce(c.relnamespace, p.pronamespace)
"""
_ENTRY = re.compile(r"\d+; (\d+) (\d+) (.*)")
_ABOUT = ("ACL", "COMMENT", "SECURITY LABEL")


@dataclass(frozen=True)
class Dependent:
    """An object that refers to the part. classid, oid: of its catalogue, and its own; name: of a view or function.

    kind: as in pg_class.relkind; populated: a materialized view that is; description: for messages.
    """

    classid: int
    oid: int
    schema: str | None
    name: str | None
    kind: str | None
    populated: bool | None
    description: str

    def __str__(self) -> str:
        return sql.Identifier(self.schema or "", self.name or "").as_string(None)

    def entries(self) -> list[str]:
        """Return how the entries begin that say more about it: its privileges, comments and labels."""
        if self.name is None:
            return []
        kinds = ("TABLE ", "VIEW ", "MATERIALIZED VIEW ", "COLUMN ", "FUNCTION ", "PROCEDURE ", "AGGREGATE ")
        ends = (" ", ".", "(")
        schema, name = (" ".join(text.splitlines()) for text in (self.schema or "", self.name))
        return [f"{about} {schema} {kind}{name}{end}" for about in _ABOUT for kind in kinds for end in ends]


def add_dependents(conn: psycopg.Connection[Any], schemas: Sequence[str]) -> list[Dependent]:
    """Add what refers to the part, directly or not, to the temporary table of what it consists of; return it.

    schemas: those that are dumped as a whole.
    """
    return [Dependent(*row) for row in conn.execute(_FOUND.encode(), {"schemas": [*schemas]}).fetchall()]


def find_statistics(conn: psycopg.Connection[Any], schemas: Sequence[str]) -> list[str]:
    """Return the names of statistics objects that are not dumped with the part's tables."""
    return [str(row[1]) for row in conn.execute(_STATISTICS.encode(), {"schemas": [*schemas]}).fetchall()]


def dump_dependents(cluster: Cluster, dbname: str, chosen: Sequence[Dependent], *, owners: bool) -> Path:
    """Return a file of the SQL that makes them. Raises ScribeError."""
    path = cluster.directory / "dependents"
    dump = [cluster.find_program("pg_dump"), "-Fc", "--schema-only", "--no-password", "--no-subscriptions"]
    _run(cluster, [*dump, f"--file={path}", dbname])
    restore = cluster.find_program("pg_restore")
    lines = _run(cluster, [restore, "--list", str(path)]).decode().split("\n")
    listing, made = path.with_suffix(".list"), path.with_suffix(".sql")
    listing.write_text("".join(f"{line}\n" for line in _choose(lines, chosen)))
    flags = [] if owners else ["--no-owner"]
    _run(cluster, [restore, f"--use-list={listing}", f"--file={made}", *flags, str(path)])
    with made.open("a") as stream:  # a dump without rows fills no view
        stream.writelines(f"REFRESH MATERIALIZED VIEW {each};\n" for each in chosen if each.populated)
    return made


def _choose(lines: Sequence[str], chosen: Sequence[Dependent]) -> Iterator[str]:
    """Yield the entries of objects, and those of their privileges, comments and labels."""
    oids = {(str(each.classid), str(each.oid)) for each in chosen}
    about = tuple(text for each in chosen for text in each.entries())
    for line in lines:
        entry = _ENTRY.match(line)
        if entry is not None and ((entry[1], entry[2]) in oids or entry[3].startswith(about)):
            yield line


def _run(cluster: Cluster, command: Sequence[str]) -> bytes:
    run = subprocess.run(command, env=cluster.env, capture_output=True, check=False)
    if run.returncode != 0:
        said = run.stderr.decode(errors="replace").strip().splitlines()
        raise ScribeError(f"could not dump what refers to the objects: {said[0] if said else command[0]}")
    return run.stdout
