#!/usr/bin/env python3
"""Chaos: everything at once on a source, then every base restored to every later mark, to transactions and to the end.

usage: run.py [--minutes N] [--seed N] [--bases N] [--decoder NAME] [--told] [--keep]

Sessions change rows and schema without a pause; rotations follow each other each second, bases come back to back, and
now and then the stream is killed. At a pause everything stands still: a reference dump is made, and a mark written.
At the end each base is restored to each later mark, to random transactions and to the end of the archive, and compared
where there is a reference. The seed decides what each session does, not when: two runs are alike, not the same.
--told: the programs tell what they do to the disk, and the model of the protocol has to accept it.
"""

from __future__ import annotations

import argparse
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "model"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "py"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from cluster import Cluster, install_decoder
from compare import State, assert_equal
from judging import judge_told, let_tell
from sessions import SCHEMA, SESSIONS, Session
from source import Scribe

PAUSE = 20.0  # seconds of chaos between two references
XIDS = 2  # transactions to restore to, for each base
DATABASE, COPY = "chaos", "chaos_copy"


class Program(threading.Thread):
    """Runs one of our programs again and again; what it exits with is counted, 1 and 2 are failures."""

    def __init__(self, scribe: Scribe, pause: float, *command: str) -> None:
        super().__init__(daemon=True, name=command[0])
        self.scribe, self.pause, self.command = scribe, pause, command
        self.exits: Counter[int] = Counter()
        self.failures: list[str] = []
        self._ended = threading.Event()

    def run(self) -> None:
        """Run it until the end."""
        while not self._ended.wait(self.pause):
            result = self.scribe.run(*self.command, check=False, timeout=900)
            self.exits[result.returncode] += 1
            if result.returncode == 75:
                print(f"{' '.join(self.command)} exited 75: {result.stderr[-400:]}", flush=True)
            if result.returncode not in (0, 75):
                self.failures.append(f"{' '.join(self.command)} exited {result.returncode}: {result.stderr[-600:]}")

    def end(self) -> None:
        """End after the run at hand."""
        self._ended.set()
        self.join()


class Chaos:
    """A cluster, a source, its archive, the sessions, and the references taken while they stood still."""

    def __init__(self, cluster: Cluster, directory: Path, seed: int, decoder: str, *, told: bool) -> None:
        self.cluster, self.seed = cluster, seed
        self.told = directory / "told" if told else None
        self.words = Path()
        self.random = random.Random(seed)
        self.scribe = Scribe(cluster, DATABASE, directory / "archive", {"SCRIBE_DECODER": decoder})
        self.references: dict[str, tuple[str, State]] = {}
        self.sessions: list[Session] = []
        self.programs: list[Program] = []
        self.faults: list[str] = []

    def prepare(self) -> None:
        """Make the source, its archive and the stream."""
        self.cluster.psql("".join(f"CREATE ROLE chaos_{n};" for n in range(3)))
        self.cluster.createdb(DATABASE)
        self.cluster.psql(SCHEMA, DATABASE)
        self.scribe.run("scribe-init")
        if self.told:
            self.words = let_tell(self.scribe, self.told)
        self.scribe.start_stream()
        self.sessions = [Session(self.cluster, DATABASE, name, self.seed) for name in SESSIONS]
        self.programs = [
            Program(self.scribe, 1.0, "scribe-rotate"),
            Program(self.scribe, 0.1, "scribe-dump", "--no-prune"),
        ]
        for thread in (*self.sessions, *self.programs):
            thread.start()

    def rage(self, seconds: float) -> None:
        """Let everything run for so long, and kill the stream once or twice."""
        for session in self.sessions:
            session.go()
        kills = sorted(self.random.uniform(0, seconds) for _ in range(self.random.randrange(3)))
        began = time.monotonic()
        for at in kills:
            time.sleep(max(0.0, began + at - time.monotonic()))  # chaos lasts for a time, nothing is waited for
            self.scribe.kill_stream()
            self.scribe.start_stream()
        time.sleep(max(0.0, began + seconds - time.monotonic()))
        for session in self.sessions:
            session.hold()
        for session in self.sessions:
            session.wait_still()

    def take_reference(self) -> None:
        """Write a mark and dump the source; nobody changes anything."""
        name = f"mark-{len(self.references)}"
        lsn = self.scribe.run("scribe-restore", "--mark", name, "-d", DATABASE).stdout.strip()
        self.references[name] = (lsn, self.cluster.dump(DATABASE))
        print(f"{name} at {lsn}", flush=True)

    def finish(self) -> None:
        """End all that runs, and archive everything."""
        for program in self.programs:
            program.end()
            for failure in program.failures:
                self.note(failure)
        for session in self.sessions:
            session.end()
        self.scribe.run("scribe-rotate", "--wait-lsn", "current")
        if self.told:
            self.scribe.stop_stream()
            print(judge_told(self.words, self.scribe.archive), flush=True)
        done = {session.name: dict(session.done) for session in self.sessions}
        print(f"sessions: {done}")
        print(f"programs: { {program.name: dict(program.exits) for program in self.programs} }")

    def note(self, fault: str) -> None:
        """Take down a fault, and print it at once: a run that is ended early tells what it found."""
        self.faults.append(fault)
        print(f"FAULT {fault}\n", flush=True)

    # --- restores -------------------------------------------------------------------------------------------------

    def restore(self, base: str, *point: str, further: bool = False) -> bool:
        """Restore into COPY, or go on with what is there; what stops it is a fault."""
        if not further:
            self.cluster.dropdb(COPY)
        start = ("--resume",) if further else ("--base", base)
        command = ("scribe-restore", "-q", "-d", COPY, *start, *point)
        result = self.scribe.run(*command, check=False, env={"PGDATABASE": ""}, timeout=1800)
        if result.returncode:
            self.note(f"{' '.join(command)}: {result.stderr.strip()[-800:]}")
        return result.returncode == 0

    def compare(self, what: str, reference: State, *, sequences: bool) -> None:
        """Compare COPY with a reference; sequences: they are promised at the end of a segment only."""
        copy = self.cluster.dump(COPY)
        kept = [{k: v for k, v in s.items() if sequences or not k.startswith("sequence ")} for s in (reference, copy)]
        try:
            assert_equal(*kept)
        except AssertionError as error:
            self.note(f"{what}: {str(error)[:1500]}")

    def restore_all(self, most: int) -> int:
        """Restore so many of the bases to each later mark and to the end, and to random transactions; return how many.

        A restore to a mark goes on from the mark before; each starts again with its base now and then.
        """
        bases = sorted((self.scribe.archive / "base").glob("*/manifest.json"))
        xids = find_xids(self.scribe.archive)
        made = 0
        for manifest in self.random.sample(bases, min(len(bases), most)):
            base = manifest.parent.name
            begun = parse(re.search(r'"consistent_point_lsn": "([^"]+)"', manifest.read_text()))
            there = False
            for name, (lsn, state) in self.references.items():
                if parse(lsn) > begun:
                    made += 1
                    there = self.restore(base, "--target-name", name, further=there and self.random.random() < 0.9)
                    if there:
                        self.compare(f"base {base} to {name}", state, sequences=False)
            made += 1
            if self.restore(base, further=there) and self.references:
                self.compare(f"base {base} to the end", list(self.references.values())[-1][1], sequences=True)
            later = [xid for commit, xid in xids if commit > begun]
            for xid in self.random.sample(later, min(len(later), XIDS)):
                made += 1
                self.restore(base, "--target-xid", xid)
        return made


def parse(lsn: str | re.Match[str] | None) -> int:
    """Return an LSN as a number."""
    text = lsn if isinstance(lsn, str) else (lsn[1] if lsn else "0/0")
    high, _, low = text.partition("/")
    return (int(high, 16) << 32) + int(low, 16)


def find_xids(archive: Path) -> list[tuple[int, str]]:
    """Return commit LSN and xid of every transaction in the segments."""
    found = []
    for path in sorted((archive / "incremental").glob("*.sql.zst")):
        text = subprocess.run(["zstdcat", path], capture_output=True, check=True).stdout.decode(errors="replace")
        found += [(parse(m[2]), m[1]) for m in re.finditer(r"(?m)^BEGIN; -- xid (\d+) commit (\S+) time", text)]
    return found


def main() -> int:
    """Run chaos for so many minutes, then restore; return 1 if anything differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--bases", type=int, default=12, help="so many of the bases are restored (12)")
    parser.add_argument("--decoder", default="scribe_decoder")
    parser.add_argument("--told", action="store_true", help="the programs tell what they do, and the model accepts it")
    parser.add_argument("--keep", action="store_true", help="keep the cluster and the archive")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    cluster = Cluster()
    install_decoder(cluster.pg_config)
    directory = Path(tempfile.mkdtemp(prefix="scribe-chaos-"))
    chaos = Chaos(cluster, directory, arguments.seed, arguments.decoder, told=arguments.told)
    try:
        cluster.create(logical_decoding_work_mem="64kB", wal_sender_timeout="10s", deadlock_timeout="200ms")
        chaos.prepare()
        deadline = time.monotonic() + 60 * arguments.minutes
        while time.monotonic() < deadline:
            chaos.rage(PAUSE)
            chaos.take_reference()
        chaos.finish()
        made = chaos.restore_all(arguments.bases)
        print(f"restores: {made}; faults: {len(chaos.faults)}")
        return 1 if chaos.faults or not made else 0
    finally:
        chaos.scribe.kill_streams()
        keep = arguments.keep or bool(chaos.faults)
        cluster.remove(keep_files=keep)
        print(f"the cluster is in {cluster.directory}, the archive in {directory}" if keep else "nothing is kept")
        if not keep:
            subprocess.run(["rm", "-rf", directory], check=True)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    sys.exit(main())
