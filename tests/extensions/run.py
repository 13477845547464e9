#!/usr/bin/env python3
"""The extensions people run: each before and during the stream, restored twice, rehearsed and compared.

usage: run.py [--only NAME,...] [--decoder NAME] [--jobs N] [--keep] [--write]

Each NAME.sql beside this file is a case like those in tests/cases: what stands before "-- after init" is in the source
before pg_scribe comes. Its first lines say what it needs and what has to come of it:

    -- extension: NAME ...        the extensions; the first one's version is reported
    -- preload: NAME ...          shared_preload_libraries
    -- set: NAME = VALUE          a setting of the server; {database} is the source's name, in a copy the copy's
    -- decoder: NAME ...          only these decoders
    -- condition: TEXT            works under this condition
    -- refused: TEXT              scribe-init refuses the database, and its message holds the text
    -- unlike: PATTERN            of tables whose rows and sequences a copy has not, as docs/extensions.md explains
    -- flagged: TEXT              scribe-check reports it, and what it says or the files hold has the text
    -- flagged with DECODER: TEXT  the same with that decoder alone
    -- leave out: NAME ...        SCRIBE_LEAVE_OUT

PG_CONFIG names the server; its extensions come from tools/unpack-extensions. --write: put what was found on it into
docs/extensions.md.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / "tests/py"))
sys.path.insert(0, str(HERE))

from cluster import Cluster, install_decoder  # noqa: E402
from compare import State, assert_equal  # noqa: E402
from report import write_report  # noqa: E402
from source import Scribe  # noqa: E402

DECODERS = ("scribe_decoder", "pgoutput")
DATABASE = "shop"
SERVER = {"max_worker_processes": "40", "autovacuum_naptime": "1d", "timescaledb.telemetry_level": "off"}
_DIRECTIVE = re.compile(
    r"^-- (extension|preload|set|decoder|condition|refused|flagged(?: with \w+)?|leave out|unlike): (.*)$", re.MULTILINE
)


@dataclass
class Case:
    """A file: what it says first, and its SQL before and after scribe-init."""

    name: str
    before: str
    after: str
    said: dict[str, list[str]] = field(default_factory=dict)

    def words(self, directive: str) -> list[str]:
        """Return the words of all lines of a directive."""
        return " ".join(self.said.get(directive, [])).split()

    def text(self, directive: str) -> str:
        """Return what a directive says, "" where it is not there."""
        return " ".join(self.said.get(directive, []))

    @property
    def programs(self) -> dict[str, str]:
        """Return settings of the programs."""
        return {"SCRIBE_LEAVE_OUT": " ".join(self.words("leave out"))} if self.words("leave out") else {}

    def settings(self, database: str) -> dict[str, str]:
        """Return the settings a server needs that holds this database."""
        pairs = [line.partition("=") for line in self.said.get("set", [])]
        wanted = {name.strip(): value.strip().format(database=database) for name, _, value in pairs}
        return wanted | {"shared_preload_libraries": ", ".join(self.words("preload"))}

    def flag(self, decoder: str) -> str:
        """Return what is reported of it with a decoder, "" for nothing."""
        return self.text("flagged") or self.text(f"flagged with {decoder}")

    @property
    def is_tied(self) -> bool:
        """Say whether a server's settings name the one database that may have the extension."""
        return any("{database}" in line for line in self.said.get("set", []))


@dataclass
class Outcome:
    """What came of a case with a decoder: version of the extension, and what was wrong, "" for nothing."""

    case: Case
    decoder: str
    version: str
    fault: str = ""
    missing: bool = False


def read_case(path: Path) -> Case:
    """Read a file. Raises ValueError."""
    text = path.read_text(encoding="utf-8")
    before, mark, after = text.partition("-- after init\n")
    if not mark:
        raise ValueError(f"{path.name} has no line '-- after init'")
    case = Case(path.stem, before, after)
    for directive, value in _DIRECTIVE.findall(text):
        case.said.setdefault(directive, []).append(value.strip())
    return case


def unpack() -> str | None:
    """Return the pg_config of the server's copy with its extensions; None where there can be none."""
    found = subprocess.run([ROOT / "tools/unpack-extensions"], stdout=subprocess.PIPE, text=True, check=True).stdout
    return found.strip() or None


def setting_names(cluster: Cluster) -> set[str]:
    """Return the names of the server's own settings: minor releases may add one."""
    said = subprocess.check_output([f"{cluster.bindir}/postgres", "--describe-config"], text=True)
    return {line.partition("\t")[0] for line in said.splitlines()}


@contextmanager
def server(pg_config: str, case: Case, database: str, *, keep: bool) -> Iterator[Cluster]:
    """A private server with what the case needs."""
    cluster = Cluster(pg_config)
    known = {n: value for n, value in SERVER.items() if "." not in n or n.partition(".")[0] in case.words("preload")}
    wanted = {n: value for n, value in case.settings(database).items() if "." in n or n in setting_names(cluster)}
    try:
        yield cluster.create(**(known | wanted))
    finally:
        cluster.remove(keep_files=keep)


def has_all(pg_config: str, case: Case) -> bool:
    """Say whether the server's directory has the case's extensions: without them it may not even start."""
    place = Path(subprocess.check_output([pg_config, "--sharedir"], text=True).strip()) / "extension"
    return all((place / f"{name}.control").exists() for name in case.words("extension") or [case.name])


def find_version(cluster: Cluster, case: Case) -> str | None:
    """Return the version of the first extension; None unless the server has all of them."""
    available = dict(cluster.query("SELECT name::text, default_version FROM pg_catalog.pg_available_extensions"))
    wanted = case.words("extension") or [case.name]
    return available[wanted[0]] if all(name in available for name in wanted) else None


def play(case: Case, scribe: Scribe) -> str:
    """Do the case's work; return what was wrong with how scribe-init refused it, "" for nothing."""
    scribe.cluster.psql(case.before, scribe.dbname)
    begun = scribe.run("scribe-init", check=False)
    if case.text("refused"):
        if begun.returncode == 0:
            return "scribe-init did not refuse it"
        said = begun.stdout + begun.stderr
        return "" if case.text("refused") in said else f"scribe-init refused it otherwise: {said}"
    if begun.returncode:
        return f"scribe-init failed: {begun.stdout}{begun.stderr}"
    scribe.start_stream()
    scribe.cluster.psql(case.after, scribe.dbname)
    scribe.run("scribe-rotate", "--wait-lsn", "current", "--record")
    return ""


def judge(flag: str, scribe: Scribe) -> str:
    """Ask scribe-check; return what is wrong with its answer. flag: what it has to report, "" for nothing."""
    found = scribe.run("scribe-check", "--only", "capture,ddl", "--format", "json", check=False)
    if flag:
        files = "".join(read_segment(path) for path in sorted((scribe.archive / "incremental").glob("*.sql*")))
        if found.returncode == 0:
            return "nothing was flagged"
        return "" if flag in found.stdout + files else f"flagged otherwise: {found.stdout}"
    return "" if found.returncode == 0 else f"scribe-check exited {found.returncode}: {found.stdout}{found.stderr}"


def read_segment(path: Path) -> str:
    """Return a segment's text."""
    reader = "zstdcat" if path.suffix == ".zst" else "cat"
    return subprocess.check_output([reader, str(path)]).decode(errors="replace")


@contextmanager
def moved(scribe: Scribe, cluster: Cluster) -> Iterator[None]:
    """Let the programs work on another server."""
    own, scribe.cluster = scribe.cluster, cluster
    try:
        yield
    finally:
        scribe.cluster = own


def compare(case: Case, scribe: Scribe, pg_config: str, *, keep: bool) -> Iterator[str]:
    """Restore in each way and compare; yield what was wrong with each."""
    source = scribe.cluster.dump(scribe.dbname)
    for way in ("scribe-restore", "psql"):
        copy = f"{DATABASE}_{way.replace('-', '_')}"
        with ExitStack() as stack:
            if case.is_tied:
                stack.enter_context(moved(scribe, stack.enter_context(server(pg_config, case, copy, keep=keep))))
            yield restore(case, scribe, copy, way, source)
    rehearsed = scribe.run("scribe-verify", "--rehearse", check=False)
    yield "" if rehearsed.returncode == 0 else f"rehearsal: {rehearsed.stdout}{rehearsed.stderr}"


def alike(case: Case, state: State) -> State:
    """Leave out of a database's state what a copy need not have."""
    unlike = case.text("unlike")
    return {key: value for key, value in state.items() if not unlike or not re.search(unlike, key)}


def restore(case: Case, scribe: Scribe, copy: str, way: str, source: State) -> str:
    """Restore in one way and compare with the source; return what was wrong."""
    try:
        if way == "psql":
            scribe.restore_with_psql(copy)
        else:
            env = {"PGUSER": "postgres"}
            scribe.run("scribe-restore", "-d", copy, *([] if case.is_tied else ["--no-globals"]), env=env)
        assert_equal(alike(case, source), alike(case, scribe.cluster.dump(copy)), ("source", way))
    except AssertionError as error:
        return f"{way}: {error}"
    return ""


def try_case(case: Case, decoder: str, pg_config: str, *, keep: bool = False) -> Outcome:
    """Play a case with a decoder, and compare."""
    outcome = Outcome(case, decoder, "", missing=not has_all(pg_config, case))
    if outcome.missing:
        return outcome
    place = Path(tempfile.mkdtemp(prefix="scrext", dir="/tmp"))
    try:
        with server(pg_config, case, DATABASE, keep=keep) as cluster:
            version = find_version(cluster, case)
            if version is None:
                outcome.missing = True
                return outcome
            outcome.version = version
            cluster.createdb(DATABASE)
            scribe = Scribe(cluster, DATABASE, place / "archive", {"SCRIBE_DECODER": decoder, **case.programs})
            try:
                faults = [play(case, scribe)]
                if not faults[0] and not case.text("refused"):
                    faults.append(judge(case.flag(decoder), scribe))
                    if not case.text("flagged"):
                        faults += compare(case, scribe, pg_config, keep=keep)
                outcome.fault = "\n".join(fault for fault in faults if fault)
            finally:
                scribe.kill_streams()
    except Exception as error:  # whatever goes wrong is this case's
        outcome.fault = f"{type(error).__name__}: {error}"
    if not keep:
        shutil.rmtree(place, ignore_errors=True)
    return outcome


def report(outcome: Outcome) -> None:
    """Print a line for the outcome, and what was wrong."""
    what = f"{outcome.case.name} ({outcome.decoder})"
    if outcome.missing:
        print(f"skipped  {what}: this server does not have it")
    elif outcome.fault:
        print(f"FAILED   {what} {outcome.version}\n{outcome.fault}")
    else:
        verdict = (
            "refused" if outcome.case.text("refused") else "flagged" if outcome.case.flag(outcome.decoder) else "equal"
        )
        print(f"{verdict:<8} {what} {outcome.version}")
    sys.stdout.flush()


def main(argv: list[str]) -> int:
    """Run the cases; 0: each came out as its file says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="")
    parser.add_argument("--decoder", choices=DECODERS)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args(argv)
    pg_config = unpack()
    if pg_config is None:
        return 0
    os.environ["PG_CONFIG"] = pg_config
    install_decoder(pg_config)
    wanted = set(filter(None, arguments.only.split(",")))
    cases = [read_case(path) for path in sorted(HERE.glob("*.sql")) if not wanted or path.stem in wanted]
    work = [
        (case, decoder)
        for case in cases
        for decoder in DECODERS
        if decoder in (case.words("decoder") or DECODERS) and arguments.decoder in (None, decoder)
    ]
    outcomes = []
    with ThreadPoolExecutor(arguments.jobs) as pool:
        for outcome in pool.map(lambda one: try_case(*one, pg_config, keep=arguments.keep), work):
            report(outcome)
            outcomes.append(outcome)
    if arguments.write:
        write_report(ROOT / "docs/extensions.md", pg_config, outcomes)
    return int(any(outcome.fault for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
