"""PostgreSQL's own isolation suite on a captured database: it goes as without capture, and restores both ways.

    isolation.py [--decoder NAME] [--keep-going] [--keep] [TEST ...]

REGRESS_TREE names a PostgreSQL source tree of the server's major version, PG_CONFIG the server. Each test runs many
orders of statements in two or three sessions, on tables that it drops afterwards. Here they are kept: what a
permutation leaves goes into a schema of its own. The suite runs once without capture and once with it, and what the
sessions are told, waits and deadlocks included, has to be the same.
"""

from __future__ import annotations

import argparse
import difflib
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "py"))

from cluster import Cluster  # noqa: E402
from run import DATABASE, SETTINGS, give, known_options, main, report_source, restore, run_as_server  # noqa: E402
from source import Scribe  # noqa: E402

PLAIN = "plain"
EXCLUDED = {
    "insert-conflict-specconflict": "its index reads settings of the session: pg_dump's own output stops, too",
    "intra-grant-inplace": "deletes a table's row of pg_class",
    "intra-grant-inplace-db": "names a database of its own",
    "reindex-concurrently-toast": "renames a TOAST table, with allow_system_table_mods",
}
# What no schema holds cannot be kept and made again.
_SHARED = re.compile(r"\bcreate\s+(schema|role|user|database|tablespace|publication)\b", re.IGNORECASE)
_TEARDOWN = re.compile(r"^teardown\s*\{[^}]*\}", re.MULTILINE)
_OID = re.compile(r"\bpg_toast_\d+")
_TOLD = re.compile(r"^s\d+: NOTICE:  pg_scribe: the rows of .*\n", re.MULTILINE)  # with pgoutput, see docs/limits.md
_KEEP = """
CREATE SCHEMA keeping;
CREATE SEQUENCE keeping.number;
CREATE FUNCTION keeping.keep() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    kept name := 'kept_' || nextval('keeping.number');
    command text;
BEGIN
    EXECUTE format('CREATE SCHEMA %I', kept);
    FOR command IN  -- pg_dump does not know what is half detached
        SELECT format('ALTER TABLE %s DETACH PARTITION %s FINALIZE', inhparent::regclass, inhrelid::regclass)
        FROM pg_inherits AS i WHERE (to_jsonb(i)->>'inhdetachpending')::boolean
    LOOP
        EXECUTE command;
    END LOOP;
    FOR command IN
        SELECT format('ALTER %s %s SET SCHEMA %I',
            CASE relkind WHEN 'S' THEN 'SEQUENCE' WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW'
                WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END, oid::regclass, kept)
        FROM pg_class AS c WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
            AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i') AND c.relkind = 'S')
        UNION ALL
        SELECT format('ALTER ROUTINE %s SET SCHEMA %I', oid::regprocedure, kept)
        FROM pg_proc WHERE pronamespace = 'public'::regnamespace
        UNION ALL
        SELECT format('ALTER TYPE %s SET SCHEMA %I', oid::regtype, kept)
        FROM pg_type WHERE typnamespace = 'public'::regnamespace AND (typtype IN ('e', 'd', 'r')
            OR typtype = 'c' AND (SELECT relkind FROM pg_class WHERE oid = typrelid) = 'c')
    LOOP
        EXECUTE command;
    END LOOP;
END
$$;
"""


class Suite:
    """A copy of the specifications that keep what they make, and the schedule. only: the tests to run, all if empty."""

    def __init__(self, tree: Path, work: Path, only: list[str]) -> None:
        self.work = work
        source = tree / "src/test/isolation"
        shutil.copytree(source / "expected", work / "expected")
        (work / "specs").mkdir()
        for path in (source / "specs").glob("*.spec"):
            (work / "specs" / path.name).write_text(self._keep(path.read_text()))
        schedule = (source / "isolation_schedule").read_text()
        names = only or [name for name in re.findall(r"^test: (\S+)", schedule, re.MULTILINE) if name not in EXCLUDED]
        self.tests = set(names)
        schedule = "".join(f"test: {name}\n" for name in names)
        (work / "schedule").write_text(schedule)

    def _keep(self, text: str) -> str:
        head, session, rest = text.partition("\nsession")
        if _SHARED.search(head):
            return text
        return _TEARDOWN.sub("teardown { SELECT keeping.keep(); }", head) + session + rest


def run_suite(cluster: Cluster, suite: Suite, dbname: str) -> dict[str, str]:
    """Run it in a database; return what each test printed, without OIDs."""
    pgxs = subprocess.check_output([cluster.pg_config, "--pgxs"], text=True).strip()
    program = Path(pgxs).parents[1] / "test/isolation/pg_isolation_regress"
    out = suite.work / f"out_{dbname}"
    (out / "output_iso").mkdir(parents=True)
    give(cluster, out)
    command = [str(program), "--use-existing", f"--bindir={cluster.bindir}", f"--dbname={dbname}"]
    command += [f"--schedule={suite.work / 'schedule'}", f"--inputdir={suite.work}", f"--outputdir={out}/output_iso"]
    command += known_options(program, {"expecteddir": suite.work})
    said = run_as_server(cluster, command, suite.work)
    (suite.work / f"{dbname}.out").write_text(said)
    results = {
        path.stem: _TOLD.sub("", _OID.sub("pg_toast_N", path.read_text())) for path in out.rglob("results/*.out")
    }
    if results.keys() != suite.tests:
        raise SystemExit(f"check-isolation: error: these were not run: {sorted(suite.tests - results.keys())}\n{said}")
    return results


def compare_runs(plain: dict[str, str], captured: dict[str, str]) -> bool:
    """Print where the sessions were told something else; return whether they were."""
    different = False
    for name in sorted(plain):
        before, after = plain[name].splitlines(), captured[name].splitlines()
        if before != after:
            different = True
            print(f"test {name} goes otherwise:")
            print("\n".join(difflib.unified_diff(before, after, "without capture", "with capture", lineterm="")))
    print(f"{len(captured)} tests were run with capture and without it")
    return different


def make_database(cluster: Cluster, dbname: str) -> None:
    """Create a database such as the suite makes for itself, with the means to keep what it makes."""
    cluster.createdb(dbname)
    for name in SETTINGS:
        cluster.query(f"ALTER DATABASE {dbname} SET {name} TO 'C'")
    cluster.psql(_KEEP, dbname)


def run(cluster: Cluster, tree: Path, arguments: argparse.Namespace) -> int:
    """Everything; return the exit status."""
    work = cluster.directory / "isolation"
    work.mkdir()
    suite = Suite(tree, work, arguments.tests)
    give(cluster, work)
    make_database(cluster, PLAIN)
    plain = run_suite(cluster, suite, PLAIN)
    make_database(cluster, DATABASE)
    scribe = Scribe(cluster, DATABASE, cluster.directory / "archive", {"SCRIBE_DECODER": arguments.decoder})
    scribe.run("scribe-init")
    scribe.start_stream()
    try:
        began = time.monotonic()
        captured = run_suite(cluster, suite, DATABASE)
        print(f"the suite took {time.monotonic() - began:.0f} s")
        cluster.query("SELECT keeping.keep()", DATABASE)  # what the last test of a file leaves half detached
        different = compare_runs(plain, captured)
        scribe.run("scribe-rotate", "--wait-lsn", "current", timeout=900)
        report_source(scribe)
        return max(restore(scribe, arguments), int(different))
    finally:
        scribe.kill_streams()


if __name__ == "__main__":
    sys.exit(main("check-isolation", __doc__, "src/test/isolation/isolation_schedule", run))
