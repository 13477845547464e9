#!/usr/bin/env python3
"""Random but reproducible work on a source, restored by scribe-restore, and --serial, by psql alone, and compared.

usage: run.py [--seed N] [--transactions N] [--rows] [--frames] [--derived] [--undo N [--only-undo]] [--diff N]
    [--encoding NAME] [--decoder NAME] [--asan] [--minimise] [--script FILE] [--keep]

Each round of up to 150 transactions has a database and a seed of its own: the round's seed alone repeats it. Three
sessions take turns as the seed says; a lock that another one holds is an error after 30 ms, since nobody else moves.
A statement the server rejects is fine, and counted. --rows: after the first quarter of a round only rows change, so
that there is much to join. --frames: nearly every text and name imitates a frame, a COPY end or a psql command, in
several encodings. --derived: bases made from the archive are compared with the source's. --undo, --diff: see undo.py
and diff.py. --asan: the server runs the decoder compiled with AddressSanitizer.
--minimise: after a failure, leave out what it does not need, and write the rest to a file.
--script: run the steps of such a file instead of new ones.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "py"))
sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "lib"))

import acting  # noqa: E402
import minimise  # noqa: E402
import psycopg  # noqa: E402
from catalog import quote  # noqa: E402
from cluster import Cluster, install_decoder  # noqa: E402
from compare import State, assert_equal  # noqa: E402
from draw import ROLES, SCHEMAS  # noqa: E402
from generator import INIT, ROTATE, Generator, Step  # noqa: E402
from sanitised import SanitisedCluster  # noqa: E402
from sessions import CODECS, SESSIONS, Sessions  # noqa: E402
from source import Scribe  # noqa: E402
from values import Values  # noqa: E402

from scribe.archive.segments import Ddl, End, Footer, Reader, Small, Start, open_plain  # noqa: E402

ROUND = 150  # transactions
DECODERS = ["scribe_decoder", "pgoutput"]
ENCODINGS = ["UTF8", "LATIN1", "EUC_JP", "SQL_ASCII"]
# Autovacuum would take locks at will, see module sessions.
CLUSTER = {
    "logical_decoding_work_mem": "64kB",  # transactions of some size are spilled
    "autovacuum": "off",
    "max_prepared_transactions": "50",
    "log_min_messages": "error",
    "deadlock_timeout": "10s",
    "allow_in_place_tablespaces": "on",
}
# What a round has made for the whole server, memberships and settings of its own roles included.
_SHARED = """
    SELECT format('DROP TABLESPACE %I', spcname) FROM pg_tablespace WHERE spcname ~ 'ts[0-9]+$'
    UNION ALL SELECT format('DROP ROLE %I', rolname) FROM pg_roles WHERE rolname ~ 'ro[0-9]+$'"""
# What no server's log may say. (A pattern that takes in the line before it is quadratic in the length of lines.)
_ALARM = re.compile(r"AddressSanitizer|runtime error:|terminated by signal|PANIC:|could not record")


_BEFORE = "came before the statement that changed it"


class Failure(Exception):
    """The copies differ, or could not be made. kind: what a smaller script must show, too."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class Round:
    """One database: work, restore, compare."""

    def __init__(
        self,
        cluster: Cluster,
        directory: Path,
        name: str,
        encoding: str,
        canary: Path,
        *,
        rows_only: bool,
        decoder: str,
    ) -> None:
        self.cluster, self.encoding, self.canary = cluster, encoding, canary
        self.rows_only = rows_only
        self.scribe = Scribe(cluster, name, directory / name, {"SCRIBE_DECODER": decoder})
        self.copies = (f"{name}_restore", f"{name}_psql", f"{name}_net")
        self.steps: list[Step] = []
        self.count: Counter[str] = Counter()
        self.messages: Counter[str] = Counter()
        self.flags: Counter[str] = Counter()  # why what was recorded is no proof, and what then became of the copy
        self.source: Sessions | None = None
        self.derived = False  # a base is made from the archive at the end
        self.only_undo = False
        self.seed = 0

    def prepare(self) -> None:
        """The database, its roles and schemas."""
        dbname = self.scribe.dbname
        self._createdb(dbname)
        roles = "".join(
            f"DO $$ BEGIN CREATE ROLE {quote(r)}; EXCEPTION WHEN duplicate_object THEN NULL; END $$;\n" for r in ROLES
        )
        schemas = "".join(
            f"CREATE SCHEMA IF NOT EXISTS {quote(s)}; GRANT ALL ON SCHEMA {quote(s)} TO PUBLIC;\n" for s in SCHEMAS
        )
        extensions = "".join(
            f"CREATE EXTENSION {name} SCHEMA public;\n"
            for (name,) in self.cluster.query(
                "SELECT name FROM pg_available_extensions WHERE name IN ('hstore', 'citext')"
            )
        )
        self.cluster.psql(
            f"SET client_encoding = 'UTF8';\n{roles if self.encoding == 'UTF8' else ''}{schemas}{extensions}", dbname
        )
        self.source = Sessions(self.cluster, dbname, self.encoding)

    def _createdb(self, name: str) -> None:
        self.cluster.query(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{self.encoding}' LOCALE 'C'")

    def begin(self) -> None:
        """From here on everything goes through the stream."""
        self.scribe.run("scribe-init")
        self.scribe.start_stream()

    def run(self, step: Step) -> str | None:
        """Run a step and note it."""
        assert self.source is not None
        self.steps.append(step)
        message = self.source.run(step)
        if step.sql not in ("COMMIT", "ROLLBACK"):
            self.count["rejected" if message else "accepted"] += 1
        if message:
            self.messages[re.sub(r"\"[^\"]*\"|\d+", "_", message.splitlines()[0])[:90]] += 1
        return message

    def generate(self, seed: int, transactions: int, forging: float) -> None:
        """New steps, some of them before capture begins."""
        assert self.source is not None
        self.seed = seed
        values = Values(random.Random(seed), self.encoding, forging, str(self.canary))
        generator = Generator(values, self.source.query, SESSIONS)
        started, halfway = False, transactions // 2
        while True:
            if not started and generator.transactions >= transactions // 8:
                self._close(generator)
                self.steps.append(INIT)
                self.begin()
                started = generator.draw.streaming = True
            if generator.transactions >= transactions:
                break
            if self.derived and started and generator.transactions >= halfway:
                self._close(generator)  # a record waits for what is open
                self._derive()
                halfway = transactions
            if self.rows_only and generator.transactions >= transactions // 4:
                generator.rows_only = True
            self._step(generator, generator.step())
            if started and generator.random.random() < 0.004:
                self.steps.append(ROTATE)
                self.scribe.run("scribe-rotate", "--wait-lsn", "current")
        self._close(generator)

    def _step(self, generator: Generator, step: Step | None) -> None:
        assert self.source is not None and step is not None
        message = self.run(step)
        if message and step.sql.startswith("PREPARE TRANSACTION"):
            generator.prepared.remove(step.sql.split("'")[1])
        if self.source.in_failed_transaction(step.session):
            generator.aborted(step.session)

    def _close(self, generator: Generator) -> None:
        while (step := generator.step(closing=True)) is not None:
            self._step(generator, step)

    def repeat(self, steps: Iterable[Step]) -> None:
        """The steps of a script; what it left open is ended."""
        for step in steps:
            if step == INIT:
                self._settle()
                self.begin()
                self.steps.append(step)
            elif step == ROTATE:
                self.scribe.run("scribe-rotate", "--wait-lsn", "current")
                self.steps.append(step)
            else:
                self.run(step)
        self._settle()

    def _settle(self) -> None:
        assert self.source is not None
        for conn in self.source.connections:
            conn.pgconn.exec_(b"COMMIT")
        with self.cluster.connect(self.scribe.dbname) as conn:
            for (gid,) in conn.execute(
                "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()"
            ).fetchall():
                conn.execute(f"COMMIT PREPARED '{gid}'")

    # --- what came of it ----------------------------------------------------------------------------------------

    def check(self, psql: bool = True) -> None:
        """Rotate, restore, --serial, too, and with psql alone if asked for, and compare. Raises Failure."""
        assert self.source is not None
        self.source.close()
        scribe = self.scribe
        if self.derived:
            self._derive()
        self._run("scribe-rotate", "--wait-lsn", "current")
        if scribe.stop_stream() != 0:
            raise Failure("stream", f"scribe-stream failed\n{scribe.log.read_text(errors='replace')[-2000:]}")
        flagged = self._check_flagged()
        self._check_frames()
        if flagged:
            self.count["flagged"] += 1
            self._restore_flagged()
            return
        if self.derived:
            self._check_derived()
            return
        if self.only_undo:
            return
        state = self._dump(scribe.dbname)
        self._run("scribe-restore", "-d", self.copies[0], "--no-globals")
        self._compare(state, self.copies[0], "scribe-restore")
        self._run("scribe-restore", "-d", self.copies[2], "--no-globals", "--serial")
        self._compare(state, self.copies[2], "scribe-restore --serial")
        if psql:
            self._createdb(self.copies[1])
            try:
                scribe.run_files_with_psql(self.copies[1])
            except AssertionError as error:
                raise Failure("psql " + _kind(str(error)), str(error)) from None
            self._compare(state, self.copies[1], "psql alone")
        if self.canary.exists():
            raise Failure("canary", "a text was run as a shell command")
        self._check_log()

    def _restore_flagged(self) -> None:
        """Note what became of a copy that may differ: it may also be equal, and then the flag was a false alarm."""
        try:
            self._run("scribe-restore", "-d", self.copies[0], "--no-globals")
            self._compare(self._dump(self.scribe.dbname), self.copies[0], "scribe-restore")
        except Failure as error:
            self.flags[f"and so: {error.kind}"] += 1
        else:
            self.flags["and the copy is equal all the same"] += 1

    def _derive(self) -> None:
        """A base made from the archive, and one of the source's beside it; nothing changes in between."""
        self._run("scribe-rotate", "--record")
        with self._offering(max((self.scribe.archive / "base").iterdir())):
            self._run("scribe-dump", "--from-archive", "--no-prune")
        self._run("scribe-dump", "--no-prune")

    @contextlib.contextmanager
    def _offering(self, base: Path) -> Iterator[None]:
        """Have the server offer the version of the extension that a base is of: CREATE EXTENSION makes no other."""
        entries = json.loads((base / "meta.json").read_text())["extensions"]
        version = next((entry["version"] for entry in entries if entry["name"] == acting.EXTENSION), "1")
        share = subprocess.check_output([self.cluster.pg_config, "--sharedir"], text=True).strip()
        path = Path(share) / "extension" / acting.CONTROL
        path.write_text(acting.control(version))
        try:
            yield
        finally:
            path.write_text(acting.control("1"))

    def _check_derived(self) -> None:
        """From both bases of each pair leads the same to the end: as with pg_dump, materialized views are refreshed."""
        bases = sorted((self.scribe.archive / "base").iterdir())[1:]
        for derived, source in zip(bases[::2], bases[1::2], strict=True):
            states = []
            for base in (source, derived):
                self.cluster.dropdb(self.copies[0])
                # with globals: the stream may have dropped a role since, of this very cluster
                with self._offering(base):
                    self._run("scribe-restore", "-d", self.copies[0], "--base", base.name)
                states.append(self._dump(self.copies[0]))
            for name in ("scribe-restore", "psql alone"):
                try:
                    assert_equal(states[0], states[1], ("the source's base", f"the archive's, {name}"))
                except AssertionError as error:
                    raise Failure(f"derived differs: {_kind(str(error))}", f"{name}: {error}") from None
                if name == "scribe-restore":
                    self._createdb(self.copies[1])
                    self.cluster.psql((derived / "globals.sql").read_text(), "postgres", check=False)
                    with self._offering(derived):
                        self.scribe.run_files_with_psql(self.copies[1], derived)
                    states[1] = self._dump(self.copies[1])
                    self.cluster.dropdb(self.copies[1])

    def undo(self, rounds: int) -> None:
        """Take random transactions back, and compare with histories that lack them. Raises Failure."""
        self._try("undo", rounds)

    def diff(self, rounds: int) -> None:
        """Compare random points, and run what turns the one into the other. Raises Failure."""
        self._try("diff", rounds, "--seed", str(self.seed))

    def _try(self, name: str, rounds: int, *arguments: str) -> None:
        command = [sys.executable, str(Path(__file__).with_name(f"{name}.py")), "--archive", str(self.scribe.archive)]
        command += ["--rounds", str(rounds), *arguments]
        run = subprocess.run(command, env=self.cluster.env, capture_output=True, text=True, check=False)
        if run.returncode:
            raise Failure(name, run.stdout + run.stderr)
        print(run.stdout.strip(), flush=True)

    def _run(self, program: str, *arguments: str) -> None:
        try:
            self.scribe.run(program, *arguments)
        except AssertionError as error:
            raise Failure(f"{program} {_kind(str(error))}", str(error)) from None

    def _dump(self, dbname: str) -> State:
        return self.cluster.dump(dbname, unlogged=False)

    def _compare(self, state: State, copy: str, way: str) -> None:
        try:
            assert_equal(state, self._dump(copy), ("source", way))
        except AssertionError as error:
            raise Failure(f"{way} differs: {_kind(str(error))}", f"{way}: {error}") from None

    def _check_flagged(self) -> bool:
        """Nothing here is beyond what capture can prove; with pgoutput there may be, and then the copies may differ."""
        rows = self.cluster.query(
            "SELECT kind, tag, reason, left(statement, 300) FROM scribe.ddl_history WHERE NOT exact ORDER BY id",
            self.scribe.dbname,
        )
        self.count["ddl"] += int(
            self.cluster.value(
                "SELECT count(*) FROM scribe.ddl_history WHERE kind IN ('ddl', 'create')", self.scribe.dbname
            )
        )
        if self.scribe.settings["SCRIBE_DECODER"] == "pgoutput":
            rows = [row for row in rows if not (row[0] == "ddl" and str(row[2]).startswith("cut"))]
            self.flags.update(f"{kind} {tag}: {_kind(str(reason))}" for kind, tag, reason, _ in rows)
            return bool(rows)
        if rows and rows[0][3] == "" and _BEFORE in str(rows[0][2]):  # a trigger that logs into what is altered
            self.flags[_BEFORE] += 1
            return True
        if rows:
            raise Failure(f"flagged {rows[0][0]} {rows[0][1]} {_kind(str(rows[0][2]))}", "\n".join(map(str, rows[:5])))
        return False

    def _check_frames(self) -> None:
        """The frames a reader finds are those of the server's commits, and each transaction counts what it holds."""
        for path in sorted((self.scribe.archive / "incremental").glob("*.sql*")):
            manifest = json.loads(path.with_name(path.name.split(".")[0] + ".json").read_text())
            found: Counter[str] = Counter()
            with open_plain(path) as stream:
                reader = Reader(stream, path.name)
                reader.read_header()
                last = 0
                for event in reader.events():
                    if isinstance(event, Small | Start):
                        found["transactions"] += 1
                    if isinstance(event, Small | End):
                        if event.end <= last:
                            raise Failure(
                                "frames",
                                f"{path.name}: a transaction ends at {event.end:X}, after one that ends at {last:X}",
                            )
                        last = event.end
                    found["ddl"] += isinstance(event, Ddl)
                    if (
                        isinstance(event, Footer)
                        and f"{event.to_lsn >> 32:X}/{event.to_lsn & 0xFFFFFFFF:X}" != manifest["to_lsn"]
                    ):
                        raise Failure("frames", f"{path.name} does not end where its manifest says")
            self.count["committed"] += found["transactions"]
            if found["transactions"] != manifest["counts"]["transactions"] or found["ddl"] != manifest["counts"]["ddl"]:
                raise Failure("frames", f"{path.name}: found {dict(found)}, the manifest says {manifest['counts']}")

    def _check_log(self) -> None:
        said = self.cluster.log.read_text(errors="replace")
        for path in self.cluster.directory.glob("asan.*"):
            said += path.read_text(errors="replace")
        found = _ALARM.search(said)
        if found:
            line = said.rfind("\n", 0, found.start()) + 1
            raise Failure("server " + _kind(said[line : found.end()]), said[line : found.end() + 2500])

    def close(self) -> None:
        """Remove the databases."""
        if self.source is not None:
            self.source.close()
        self.scribe.kill_streams()
        if self.cluster.running():
            with self.cluster.connect() as conn:
                for (gid,) in conn.execute("SELECT gid FROM pg_prepared_xacts").fetchall():
                    with self.cluster.connect(self.scribe.dbname) as own:
                        own.execute(f"ROLLBACK PREPARED '{gid}'")
        self.scribe.close()
        for name in self.copies:
            self.cluster.dropdb(name)
        if self.cluster.running():
            self._drop_shared()

    def _drop_shared(self) -> None:
        """Drop what the round left to the whole server: the next one's names may be the same."""
        with self.cluster.connect() as conn:
            for statement in conn.execute(_SHARED).fetchall():
                conn.execute(statement[0])


def _kind(text: str) -> str:
    """What two failures of the same cause have in common."""
    lines = text.splitlines()
    line = next((x for x in lines if "ERROR:" in x), None) or next(
        (x for x in lines if "error:" in x), lines[0] if lines else ""
    )
    if lines and lines[0] == "the databases differ":
        keys = sorted(
            {
                x.split()[0]
                for x in lines[1:]
                if re.match(r"(schema|rows of|sequence|large object)\b.*: (\d+ and|only in)", x)
            }
        )
        line = " ".join(keys)
    line = re.sub(r"\"[^\"]*\"|'[^']*'|[0-9A-F]+/[0-9A-F]+|\d+", "_", line)
    return re.sub(r".*(ERROR|error): ", "", line)[:60]


class Run:
    """Many rounds in one cluster."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.directory = Path(tempfile.mkdtemp(prefix="scribe-fuzz-"))
        self.canary = self.directory / "canary"
        self.directory.chmod(0o777)  # a command that ran as the server's user, too, could leave its mark
        self.cluster = SanitisedCluster() if arguments.asan else Cluster()
        self.total: Counter[str] = Counter()
        self.messages: Counter[str] = Counter()
        self.flags: Counter[str] = Counter()
        self.numbers = 0

    def _install_extension(self) -> None:
        """Give the server the extension of module acting; where that is not allowed, CREATE EXTENSION is rejected."""
        share = subprocess.check_output([self.cluster.pg_config, "--sharedir"], text=True).strip()
        for name, text in acting.FILES.items():
            with contextlib.suppress(PermissionError):
                (Path(share) / "extension" / name).write_text(text)

    def new_round(self, encoding: str) -> Round:
        """A round in a database of its own."""
        self.numbers += 1
        rows_only, decoder = self.arguments.rows, self.arguments.decoder
        name = f"fuzz{self.numbers}"
        made = Round(self.cluster, self.directory, name, encoding, self.canary, rows_only=rows_only, decoder=decoder)
        made.derived, made.only_undo = self.arguments.derived, self.arguments.only_undo
        return made

    def attempt(self, encoding: str, work: Callable[[Round], None], psql: bool = True) -> tuple[Failure | None, Round]:
        """Prepare, work, check; return the failure, if any."""
        round_ = self.new_round(encoding)
        failure = None
        try:
            round_.prepare()
            work(round_)
            round_.check(psql)
            if self.arguments.undo:
                round_.undo(self.arguments.undo)
            if self.arguments.diff:
                round_.diff(self.arguments.diff)
        except Failure as error:
            failure = error
        except (AssertionError, TimeoutError, RuntimeError, subprocess.SubprocessError, psycopg.Error) as error:
            failure = Failure(f"{type(error).__name__} {_kind(str(error))}", str(error))
        if failure is None or not self.arguments.keep:
            round_.close()
        return failure, round_

    def round(self, seed: int, transactions: int) -> bool:
        """One round from a seed; return whether the copies were equal."""
        arguments = self.arguments
        encoding = arguments.encoding or (ENCODINGS[seed % len(ENCODINGS)] if arguments.frames else "UTF8")
        forging = 0.75 if arguments.frames else 0.08
        began = time.monotonic()
        failure, done = self.attempt(encoding, lambda r: r.generate(seed, transactions, forging))
        self.total += done.count
        self.messages += done.messages
        self.flags += done.flags
        counts = ", ".join(f"{done.count[k]} {k}" for k in ("accepted", "rejected", "committed", "ddl"))
        verdict = "FAILED" if failure else "flagged" if done.count["flagged"] else "equal"
        took = f"{time.monotonic() - began:.1f} s"
        print(f"seed {seed} {encoding}: {verdict}, {transactions} transactions: {counts}, {took}", flush=True)
        if failure is None:
            return True
        flags = "".join(f" --{name}" for name in ("rows", "frames", "asan", "derived") if getattr(arguments, name))
        flags += "".join(f" --{n} {getattr(arguments, n)}" for n in ("undo", "diff") if getattr(arguments, n))
        flags += " --only-undo" if arguments.only_undo else ""
        flags += f" --encoding {arguments.encoding}" if arguments.encoding else ""
        flags += f" --decoder {arguments.decoder}" if arguments.decoder != DECODERS[0] else ""
        again = f"tests/fuzz/run.py --seed {seed} --transactions {transactions}{flags}"
        print(f"  {failure.kind}\n{failure}\nagain with: {again}", flush=True)
        self.save(done.steps, encoding, failure, f"seed-{seed}")
        return False

    def save(self, steps: list[Step], encoding: str, failure: Failure, name: str) -> None:
        """Write the script of a failure, made small if that is wanted."""
        out = Path(self.arguments.output or tempfile.gettempdir())
        if self.arguments.minimise:
            steps = minimise.shrink(steps, lambda some: self._fails(some, encoding, failure.kind))
            case = out / f"fuzz-{name}.sql"
            case.write_text(minimise.as_case(steps), errors="surrogateescape")
            print(f"minimised: {case}")
        script = out / f"fuzz-{name}.json"
        minimise.write_script(script, steps, encoding)
        print(f"steps: tests/fuzz/run.py --script {script}", flush=True)

    def _fails(self, steps: list[Step], encoding: str, kind: str) -> bool:
        needs_psql = not kind.startswith("scribe-")
        failure, _ = self.attempt(encoding, lambda r: r.repeat(steps), needs_psql)
        print(f"  {len(steps)} steps: {failure.kind if failure else 'equal'}", flush=True)
        return failure is not None and failure.kind == kind

    def script(self, path: Path) -> bool:
        """Run a script; return whether the copies were equal."""
        steps, encoding = minimise.read_script(path)
        failure, done = self.attempt(encoding, lambda r: r.repeat(steps))
        print(f"{path.name}: {'FAILED' if failure else 'equal'}, {dict(done.count)}")
        if failure:
            print(f"  {failure.kind}\n{failure}")
            if self.arguments.minimise:
                self.save(steps, encoding, failure, path.stem.removeprefix("fuzz-"))
        return failure is None

    def run(self) -> bool:
        """Everything that was asked for."""
        if not self.arguments.asan:
            install_decoder(self.cluster.pg_config)
        self._install_extension()
        self.cluster.create(**CLUSTER)
        arguments = self.arguments
        if arguments.script:
            return self.script(Path(arguments.script))
        good = True
        seed, left = arguments.seed, arguments.transactions
        while left > 0 and (good or arguments.keep_going):
            good &= self.round(seed, min(left, arguments.round))
            left -= arguments.round
            seed += 1
        statements = self.total["accepted"] + self.total["rejected"]
        share = 100 * self.total["accepted"] // max(1, statements)
        print(
            f"{statements} statements, {share} % of them accepted; {self.total['committed']} transactions and "
            f"{self.total['ddl']} schema changes restored twice"
        )
        for flag, times in self.flags.most_common():
            print(f"  {times}x flagged {flag}")
        if arguments.verbose:
            for message, times in self.messages.most_common(40):
                print(f"  {times}x {message}")
        return good

    def close(self) -> None:
        """Remove everything, unless a failure is to be looked at."""
        self.cluster.remove(keep_files=self.arguments.keep)
        if self.arguments.keep:
            print(f"kept: {self.directory} {self.cluster.directory}")
        else:
            subprocess.run(["rm", "-rf", str(self.directory)], check=False)


def main() -> int:
    """Parse, run, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--transactions", type=int, default=ROUND)
    parser.add_argument("--round", type=int, default=ROUND, help="transactions of one round; default: %(default)s")
    parser.add_argument("--rows", action="store_true")
    parser.add_argument("--frames", action="store_true")
    parser.add_argument("--asan", action="store_true")
    parser.add_argument("--derived", action="store_true")
    parser.add_argument("--encoding", choices=sorted(CODECS))
    parser.add_argument("--decoder", choices=DECODERS, default=DECODERS[0])
    parser.add_argument("--minimise", action="store_true")
    parser.add_argument("--script")
    parser.add_argument("--output", help="directory for the scripts of failures; default: the temporary directory")
    parser.add_argument("--undo", type=int, default=0, metavar="N", help="take N transactions of each round back, too")
    parser.add_argument("--diff", type=int, default=0, metavar="N", help="compare N pairs of points of each round, too")
    only = "with --undo or --diff: without restoring and comparing first"
    parser.add_argument("--only-undo", action="store_true", help=only)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--keep-going", action="store_true", help="go on with the next seed after a failure")
    parser.add_argument("-v", "--verbose", action="store_true", help="say what the server rejected")
    run = Run(parser.parse_args())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    try:
        return 0 if run.run() else 1
    finally:
        run.close()


if __name__ == "__main__":
    sys.exit(main())
