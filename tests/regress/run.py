"""PostgreSQL's own regression suite against a captured database, restored twice and compared with the source.

    run.py [--decoder NAME] [--keep-going] [--keep] [--required] [TEST ...]

REGRESS_TREE names a PostgreSQL source tree of the server's major version, PG_CONFIG the server. TEST: only these,
after test_setup, one after the other. --keep-going is for looking into errors: psql alone goes on after one, and all
are listed with the statements they belong to. --keep leaves the files of cluster and archive where they are. Without
such a tree nothing is done, which --required makes an error.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "py"))

from cluster import Cluster, install_decoder  # noqa: E402
from compare import State, assert_equal  # noqa: E402
from source import Scribe  # noqa: E402

EXCLUSIONS = Path(__file__).with_name("exclusions")
DATABASE = "regression"
# What pg_regress sets on the database it creates.
SETTINGS = ("lc_messages", "lc_monetary", "lc_numeric", "lc_time")
CLUSTER = {"max_connections": "100", "max_prepared_transactions": "20", "log_min_messages": "error"}
_MAKEFILE = "MODULES = regress\nPGXS := $(shell $(PG_CONFIG) --pgxs)\ninclude $(PGXS)\n"
_BLOCK = re.compile(r"^(BEGIN; -- |COMMIT; -- |-- ddl )")


class Suite:
    """A copy of the suite's files in work, without what is excluded, and its library."""

    def __init__(self, tree: Path, work: Path, pg_config: str) -> None:
        self.source = tree / "src/test/regress"
        self.work = work
        self.pg_config = pg_config
        self.tests: set[str] = set()
        self.statements: list[re.Pattern[str]] = []
        for line in EXCLUSIONS.read_text().splitlines():
            kind, _, rest = line.partition(" ")
            if kind == "test":
                self.tests.add(rest.split(":")[0])
            elif kind == "statement":
                self.statements.append(re.compile(rest.split(": ")[0], re.IGNORECASE))

    def prepare(self, only: list[str]) -> None:
        """Copy, filter and build."""
        for name in ("data", "expected", "output"):  # input and output: up to 14, where pg_regress fills in paths
            if (self.source / name).is_dir():
                shutil.copytree(self.source / name, self.work / name)
        for name, pattern in (("sql", "*.sql"), ("input", "*.source")):
            (self.work / name).mkdir()
            for path in (self.source / name).glob(pattern):
                (self.work / name / path.name).write_bytes(self._filter(path.read_bytes()))
        lines = (self.source / "parallel_schedule").read_text().splitlines()
        if only:
            lines = [f"test: {name}" for name in ["test_setup", *only]]
        (self.work / "schedule").write_text("".join(f"{self._schedule_line(line)}\n" for line in lines))
        self._build()

    def _filter(self, text: bytes) -> bytes:
        """Leave out excluded statements: from a line that begins with one to the line that ends with a semicolon."""
        kept: list[bytes] = []
        skipping = False
        for line in text.split(b"\n"):
            said = line.decode("latin-1")
            skipping = skipping or any(pattern.match(said) for pattern in self.statements)
            if not skipping:
                kept.append(line)
            elif said.split("--")[0].rstrip().endswith(";"):
                skipping = False
        return b"\n".join(kept)

    def _schedule_line(self, line: str) -> str:
        kind, _, names = line.partition(": ")
        if kind != "test":
            return line
        rest = [name for name in names.split() if name not in self.tests]
        return f"test: {' '.join(rest)}" if rest else ""

    def _build(self) -> None:
        library = self.work / "lib"
        library.mkdir()
        for path in [*self.source.glob("regress.c"), *self.source.glob("*.h")]:
            shutil.copy(path, library)
        (library / "Makefile").write_text(_MAKEFILE)
        make = ["make", "-s", "-C", str(library), "with_llvm=no", f"PG_CONFIG={self.pg_config}"]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
        built = subprocess.run(make, capture_output=True, text=True, env=environment, check=False)
        if built.returncode:
            raise SystemExit(f"check-regress: error: could not build regress.so\n{built.stderr}")
        directory = Path(subprocess.check_output([self.pg_config, "--pkglibdir"], text=True).strip())
        for name in ("autoinc.so", "refint.so"):  # the suite looks for them beside its own
            (library / name).symlink_to(directory / name)


def give(cluster: Cluster, work: Path) -> None:
    """Let the server's user read and write below a directory."""
    subprocess.run(["chmod", "-R", "a+rX", str(work)], check=True)
    if cluster.user:
        subprocess.run(["chown", "-R", f"{cluster.user.pw_uid}:{cluster.user.pw_gid}", str(work)], check=True)


def known_options(program: Path, values: Mapping[str, object]) -> list[str]:
    """Those of the options that this version of one of PostgreSQL's test programs has."""
    known = subprocess.run([program, "--help"], capture_output=True, text=True, check=False).stdout
    return [f"--{name}={value}" for name, value in values.items() if f"--{name}" in known]


def run_suite(cluster: Cluster, suite: Suite) -> str:
    """Run pg_regress as the server's user; return what it printed. Tests may fail: only the database counts here."""
    pgxs = subprocess.check_output([cluster.pg_config, "--pgxs"], text=True).strip()
    program = Path(pgxs).parents[1] / "test/regress/pg_regress"
    where = {"inputdir": suite.work, "outputdir": suite.work, "expecteddir": suite.work, "dlpath": suite.work / "lib"}
    command = [str(program), "--use-existing", f"--bindir={cluster.bindir}", f"--schedule={suite.work / 'schedule'}"]
    command += known_options(program, where)
    command += ["--max-concurrent-tests=20"]
    return run_as_server(cluster, command, suite.work)


def run_as_server(cluster: Cluster, command: list[str], work: Path) -> str:
    """Run one of PostgreSQL's test programs as the server's user, in work; return what it printed. Tests may fail."""
    if cluster.user:
        ids = ["--reuid", str(cluster.user.pw_uid), "--regid", str(cluster.user.pw_gid), "--clear-groups"]
        command = ["setpriv", *ids, *command]
    where = [f"--host={cluster.host}", f"--port={cluster.port}", "--user=postgres"]
    environment = {k: v for k, v in cluster.env.items() if not k.startswith("PG")}
    result = subprocess.run(
        [*command, *where], cwd=work, env=environment | {"LC_ALL": "C"}, capture_output=True, text=True, check=False
    )
    if result.returncode > 1:
        raise SystemExit(f"error: the suite could not run\n{result.stdout}{result.stderr}")
    return result.stdout


def replay_on(scribe: Scribe, target: str) -> list[str]:
    """Restore with psql, going on after errors; return each with its place and its statement."""
    cluster = scribe.cluster
    cluster.createdb(target)
    base = sorted((scribe.archive / "base").iterdir())[-1]
    found: list[str] = []
    for path in [next(base.glob("base.sql*")), *sorted((scribe.archive / "incremental").glob("*.sql*"))]:
        reader = "zstdcat" if path.suffix == ".zst" else "cat"
        script = subprocess.run([reader, str(path)], capture_output=True, check=True).stdout
        script = script.replace(b"\\set ON_ERROR_STOP on\n", b"\\set ON_ERROR_ROLLBACK on\n", 1)
        (scribe.archive.parent / f"{path.stem}.replayed").write_bytes(script)
        result = subprocess.run(
            [f"{cluster.bindir}/psql", "-X", "-q", "-d", target, "-f", "-"],
            env=cluster.env,
            input=script,
            capture_output=True,
            check=False,
        )
        lines = script.decode(errors="replace").split("\n")
        errors = re.finditer(r"<stdin>:(\d+): ERROR: +(.*)", result.stderr.decode(errors="replace"))
        found += [f"{path.name}: {error[2]}\n{_block(lines, int(error[1]) - 1)}" for error in errors]
    return found


def _block(lines: list[str], at: int) -> str:
    """The lines of the frame around line `at`."""
    first = at
    while first > 0 and not _BLOCK.match(lines[first]) and at - first < 30:
        first -= 1
    return "\n".join(f"    {line[:300]}" for line in lines[first : at + 1][:40])


def differences(source: State, copy: State) -> Counter[str]:
    """How many tables, sequences, large objects and schema lines differ."""
    count: Counter[str] = Counter()
    for key in source.keys() | copy.keys():
        if source.get(key) == copy.get(key):
            continue
        if key == "schema":
            a, b = Counter(source[key]), Counter(copy[key])
            count["schema lines"] += sum((a - b).values()) + sum((b - a).values())
        else:
            count[key.split()[0].replace("rows", "table") + "s"] += 1
    return count


def report_source(scribe: Scribe) -> None:
    """Say what capture recorded and what it could not."""
    cluster, dbname = scribe.cluster, scribe.dbname
    wanted = "NOT exact AND coalesce(reason, '') !~ '^cut'"  # rotation cuts those out of their strings, or warns
    number, inexact = cluster.query(
        f"SELECT count(*), count(*) FILTER (WHERE {wanted}) FROM scribe.ddl_history", dbname
    )[0]
    print(f"DDL rows: {number}, inexact: {inexact}")
    flagged = f"SELECT kind, tag, reason, left(statement, 200) FROM scribe.ddl_history WHERE {wanted}"
    for row in cluster.query(flagged, dbname):
        print("  inexact:", *row)
    warnings: Counter[str] = Counter()
    for path in sorted((scribe.archive / "incremental").glob("*.sql*")):
        text = subprocess.run(["zstdcat", "-f", str(path)], capture_output=True, check=True).stdout
        warnings.update(line.decode(errors="replace") for line in text.split(b"\n") if line.startswith(b"-- warning"))
    print(f"warnings: {warnings.total()}")
    for line, times in warnings.most_common(40):
        print(f"  {times}x {line[:200]}")


def compare(name: str, source: State, copy: State) -> bool:
    """Print how a copy differs; return whether it does."""
    count = differences(source, copy)
    tables = sum(key.startswith("rows of") for key in source)
    sequences = sum(key.startswith("sequence") for key in source)
    print(
        f"{name}: of {tables} tables {count['tables']} differ, of {sequences} sequences {count['sequences']}, "
        f"of {len(source['schema'])} schema lines {count['schema lines']}, large objects {count['larges']}"
    )
    try:
        assert_equal(source, copy, ("source", name))
    except AssertionError as error:
        print(error)
        return True
    return False


def run(cluster: Cluster, tree: Path, arguments: argparse.Namespace) -> int:
    """Everything; return the exit status."""
    work = cluster.directory / "regress"
    work.mkdir()
    suite = Suite(tree, work, cluster.pg_config)
    suite.prepare(arguments.tests)
    give(cluster, work)
    cluster.createdb(DATABASE)
    for name in SETTINGS:
        cluster.query(f"ALTER DATABASE {DATABASE} SET {name} TO 'C'")
    cluster.query(f"ALTER DATABASE {DATABASE} SET bytea_output TO 'hex'")
    cluster.query(f"ALTER DATABASE {DATABASE} SET timezone_abbreviations TO 'Default'")

    scribe = Scribe(cluster, DATABASE, cluster.directory / "archive", {"SCRIBE_DECODER": arguments.decoder})
    scribe.run("scribe-init")
    scribe.start_stream()
    try:
        return play(scribe, suite, arguments)
    finally:
        scribe.kill_streams()


def play(scribe: Scribe, suite: Suite, arguments: argparse.Namespace) -> int:
    """Run the suite on a source that streams, restore and compare; return the exit status."""
    cluster = scribe.cluster
    began = time.monotonic()
    said = run_suite(cluster, suite)
    passed, failed = (len(re.findall(p, said, re.MULTILINE)) for p in (r"^ok |\.\.\. ok", r"^not ok |FAILED"))
    print(f"the suite took {time.monotonic() - began:.0f} s: {passed} tests as expected, {failed} not")
    (cluster.directory / "regress.out").write_text(said)
    scribe.run("scribe-rotate", "--wait-lsn", "current", timeout=900)
    report_source(scribe)
    return restore(scribe, arguments)


def restore(scribe: Scribe, arguments: argparse.Namespace) -> int:
    """Restore by every way and compare."""
    cluster = scribe.cluster
    source = cluster.dump(DATABASE, unlogged=False)
    bad = False
    if arguments.keep_going:
        errors = replay_on(scribe, "copy_going")
        print(f"replay errors: {len(errors)}")
        print("\n".join(errors))
        bad = compare("psql going on", source, cluster.dump("copy_going", unlogged=False)) or bool(errors)
    for name, target in (("scribe-restore", "copy_restore"), ("psql alone", "copy_psql")):
        try:
            if target == "copy_psql":
                scribe.restore_with_psql(target)
            else:
                scribe.run("scribe-restore", "-d", target, "--no-globals", timeout=1800)
        except AssertionError as error:
            print(f"{name}: replay error: {error}")
            bad = True
            continue
        print(f"{name}: 0 replay errors")
        bad |= compare(name, source, cluster.dump(target, unlogged=False))
    return 1 if bad else 0


Run = Callable[[Cluster, Path, argparse.Namespace], int]


def main(program: str, about: str | None, schedule: str, run: Run) -> int:
    """Run a suite if there is one. about: what --help says; schedule: a file that is in its source tree."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--decoder", default="scribe_decoder")
    parser.add_argument("--keep-going", action="store_true")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--required", action="store_true", help="fail, rather than skip, if there is no source tree")
    parser.add_argument("tests", nargs="*")
    arguments = parser.parse_args()
    tree = Path(os.environ.get("REGRESS_TREE") or "/nonexistent")
    cluster = Cluster()
    version = subprocess.check_output([cluster.pg_config, "--version"], text=True).split()[1]
    if not (tree / schedule).exists():
        said = "error" if arguments.required else "SKIPPED"
        print(f"{program}: {said}: REGRESS_TREE names no source tree of PostgreSQL {version}", file=sys.stderr)
        return 2 if arguments.required else 0
    print(f"PostgreSQL {version}, suite from {tree}, {arguments.decoder}")
    install_decoder(cluster.pg_config)
    try:
        cluster.create(**CLUSTER)
        return run(cluster, tree, arguments)
    finally:
        cluster.remove(keep_files=arguments.keep)
        if arguments.keep:
            print(f"kept in {cluster.directory}")


if __name__ == "__main__":
    sys.exit(main("check-regress", __doc__, "src/test/regress/parallel_schedule", run))
