#!/usr/bin/env python3
"""The fault harness: change a source, break something, restore elsewhere, compare. Random but reproducible.

Each round breaks one thing while clients write and every acknowledged transaction is noted; then everything is
started once more, rotated and restored, and both databases are compared: schema, rows, sequences. A transaction that
was acknowledged and is missing, or stands there twice, is a failure; so is anything that would need a person.

New segments are restored into a standing copy; every twentieth round a whole restore is made, by psql alone or by
scribe-restore from any base. --steps kills each program at every system call in turn, instead of at random.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "model"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "py"))

import stepping
from cluster import Cluster, install_decoder, poll
from compare import assert_equal
from disk import Disk, enter_namespace
from judging import judge_told, let_tell
from source import Scribe
from telling import Teller
from workload import SCHEMA, Client

from scribe.archive.layout import Archive

CLIENTS = 3
SENDER_TIMEOUT = 2  # seconds; the server gives up a receiver that is silent for longer
WHOLE = 20  # every so many rounds everything is restored again
SPARING = 4  # rounds from one comparison of rows to the next where the model looks at each step
STEP_CALLS = ("write", "fsync", "rename", "unlink", "mkdir", "ftruncate", "truncate", "flock", "sendto")
STEPPED: dict[str, tuple[str, ...]] = {
    "scribe-rotate": ("scribe-rotate",),
    "scribe-rotate --wait-lsn": ("scribe-rotate", "--wait-lsn", "current", "--timeout", "20"),
    "scribe-dump": ("scribe-dump", "--wait", "20"),
}
MOST_STEPS = 400


class Harness:
    """A cluster, a source, its archive, and the faults."""

    def __init__(
        self,
        seed: int,
        directory: Path,
        record: Path | None = None,
        decoder: str = "scribe_decoder",
        *,
        told: bool = False,
    ) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        self.directory = directory
        self.record = record
        self.disk: Disk | None = None
        with contextlib.suppress(OSError):
            self.disk = Disk(directory)
        self.cluster = Cluster()
        install_decoder(self.cluster.pg_config)
        self.cluster.create(wal_sender_timeout=f"{SENDER_TIMEOUT}s")
        self.cluster.createdb("faulty")
        place = self.disk.path if self.disk else directory
        self.scribe = Scribe(self.cluster, "faulty", place / "archive")
        self.scribe.log = directory / "stream.log"
        self.scribe.settings |= {"SCRIBE_STATUS_INTERVAL": "1", "SCRIBE_FSYNC_INTERVAL": "1", "SCRIBE_DECODER": decoder}
        self.cluster.psql(SCHEMA, "faulty")
        self.scribe.run("scribe-init", *(("--accept-gaps",) if decoder == "decoder_raw" else ()))
        self.told: Path | None = None
        if told:
            self.told = let_tell(self.scribe, directory / "told")
        self.version = str(self.cluster.value("SHOW server_version")).split()[0]
        self.clients = [Client(self.cluster, "faulty", i, seed * 10 + i) for i in range(CLIENTS)]
        self.stream: subprocess.Popen[bytes] | None = None
        self.detail = ""
        self.done: Counter[str] = Counter()
        self.standing = False
        self.faults: dict[str, Callable[[], None]] = {
            "stream killed": self.kill_stream,
            "stream stopped for a while": self.pause_stream,
            "stream ended by SIGTERM": self.end_stream,
            "stream killed while rotating": self.kill_while_rotating,
            "receiver killed": self.kill_receiver,
            "receiver stopped for a while": self.pause_receiver,
            "walsender terminated": self.terminate_walsender,
            "walsender stopped for a while": self.pause_walsender,
            "server stopped at once": self.restart_server,
            "server away for longer than wal_sender_timeout": self.leave_server_stopped,
            "rotate killed": lambda: self.kill_program("scribe-rotate"),
            "rotate --wait-lsn killed": lambda: self.kill_program("scribe-rotate", "--wait-lsn", "current"),
            "dump killed": lambda: self.kill_program("scribe-dump"),
            "dump": lambda: self.program("scribe-dump"),
            "rotate": lambda: self.program("scribe-rotate"),
            "two rotations and a dump at once": self.run_at_once,
            "leftovers": self.leave_leftovers,
            "process file of a live bystander": self.kill_and_fake_processes,
            "stale locks and process file of the dead": self.leave_stale_locks,
        }
        if stepping.available() is None:
            self.faults |= {
                "stream killed at a step": self.step_stream,
                "receiver killed at a step": self.step_receiver,
                "rotate killed at a step": lambda: self.step_random("scribe-rotate"),
                "rotate --wait-lsn killed at a step": lambda: self.step_random("scribe-rotate --wait-lsn"),
                "dump killed at a step": lambda: self.step_random("scribe-dump"),
            }
        if self.disk is not None:
            self.faults |= {
                "power cut": self.cut_power,
                "power cut while rotating": lambda: self.cut_power("scribe-rotate"),
                "power cut while dumping": lambda: self.cut_power("scribe-dump"),
                "disk full for a while": self.fill_disk,
            }

    # --- what the programs tell ---------------------------------------------------------------------------------

    def teller(self) -> Teller:
        """Who writes into the same file."""
        assert self.told is not None
        return Teller(Archive(self.scribe.archive), self.told.parent)

    @contextlib.contextmanager
    def between_steps(self) -> Iterator[None]:
        """What pg_recvlogical has written is told, and no program is within a step while the block runs."""
        if self.told is None:
            yield
            return
        teller = self.teller()
        with teller.locked():
            teller.say([f" {word}" for word in teller.observe()])
            yield

    # --- faults -------------------------------------------------------------------------------------------------

    def ensure_stream(self) -> None:
        """One more start, as a supervisor would do; nothing else is done by hand."""
        while self.stream is None or self.stream.poll() is not None:
            if self.stream is not None and self.stream.returncode not in (0, 75, -signal.SIGKILL):
                raise AssertionError(f"scribe-stream gave up with {self.stream.returncode}\n{self.log()}")
            self.stream = self.scribe.start_stream(wait=False)
            with contextlib.suppress(TimeoutError):
                poll(lambda: self.has_ended() or self.is_active(), 60, "the stream")

    def has_ended(self) -> bool:
        """Whether scribe-stream is not running."""
        return self.stream is None or self.stream.poll() is not None

    def log(self) -> str:
        """The end of what scribe-stream said."""
        return self.scribe.log.read_text(errors="replace")[-3000:]

    def is_active(self) -> bool:
        """Whether the slot is being read."""
        return self.cluster.query(
            f"SELECT active FROM pg_replication_slots WHERE slot_name = '{self.scribe.slot}'"
        ) == [(True,)]

    def kill_stream(self) -> None:
        """SIGKILL of scribe-stream; its pg_recvlogical must go with it."""
        if self.stream is not None and self.stream.poll() is None:
            self.stream.kill()
            self.stream.wait()

    def end_stream(self) -> None:
        """SIGTERM: a safe point, exit status 0."""
        if self.stream is not None and self.stream.poll() is None:
            self.stream.terminate()
            if self.stream.wait(60) != 0:
                raise AssertionError(f"SIGTERM gave {self.stream.returncode}\n{self.log()}")

    def receivers(self) -> list[int]:
        """Pids of our pg_recvlogical: children of the stream only, so that nobody else's is touched."""
        if self.stream is None or self.stream.poll() is not None:
            return []
        children = Path(f"/proc/{self.stream.pid}/task/{self.stream.pid}/children")
        with contextlib.suppress(OSError):
            return [int(pid) for pid in children.read_text().split()]
        return []

    def kill_receiver(self) -> None:
        """SIGKILL of pg_recvlogical alone."""
        for pid in self.receivers():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def pause_receiver(self) -> None:
        """SIGSTOP for longer than the server's wal_sender_timeout may be, then SIGCONT."""
        self.pause(self.receivers())

    def pause_stream(self) -> None:
        """SIGSTOP of scribe-stream, whose receiver may die meanwhile."""
        if self.stream is not None and not self.has_ended():
            if self.random.random() < 0.5:
                self.kill_receiver()
            self.pause([self.stream.pid])

    def pause_walsender(self) -> None:
        """SIGSTOP of the server's process, then SIGCONT."""
        rows = self.cluster.query("SELECT active_pid FROM pg_replication_slots WHERE active_pid IS NOT NULL")
        self.pause([row[0] for row in rows])

    def pause(self, pids: list[int]) -> None:
        """Stop processes for a short time or a long one."""
        for action, pause in ((signal.SIGSTOP, self.random.choice([0.5, SENDER_TIMEOUT + 1])), (signal.SIGCONT, 0)):
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, action)
            time.sleep(pause)

    def terminate_walsender(self) -> None:
        """pg_terminate_backend of the walsender."""
        self.cluster.query(
            "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active_pid IS NOT NULL"
        )

    def restart_server(self) -> None:
        """Immediate stop, crash recovery."""
        self.cluster.restart("immediate")

    def leave_server_stopped(self) -> None:
        """Crash, and nobody there for longer than any time-out of the stream's connection."""
        self.cluster.stop(self.random.choice(["immediate", "fast"]))
        time.sleep(SENDER_TIMEOUT + 0.5)
        self.cluster.start()

    def program(self, name: str, *arguments: str) -> None:
        """Run a program to its end; only "try again" is a fair answer beside success."""
        result = self.scribe.run(name, *arguments, check=False)
        if result.returncode not in (0, 75):
            raise AssertionError(f"{name} exited {result.returncode}\n{result.stderr}")

    def start_program(self, name: str, *arguments: str, step: tuple[str, int] | None = None) -> subprocess.Popen[str]:
        """Start a program; step: the system call, and at which of its kind, where it is to be killed."""
        command = [str(self.scribe.bin / name), *arguments]
        return subprocess.Popen(
            stepping.traced(command, *step) if step else command,
            env=self.scribe.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def end_program(self, process: subprocess.Popen[str], *fair: int) -> int:
        """Wait for a program's end; fair: exit statuses besides 0 and "try again" that are in order."""
        _, said = process.communicate(timeout=120)
        if process.returncode not in (0, 75, *fair):
            raise AssertionError(f"{process.args} exited {process.returncode}\n{said}")
        return process.returncode

    def kill_program(self, name: str, *arguments: str) -> None:
        """SIGKILL of a program and its children at a random moment of its life."""
        process = self.start_program(name, *arguments)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(self.random.uniform(0.1, 2.0))
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()

    def step_random(self, program: str) -> None:
        """Kill a program at one of its system calls."""
        self.step_program(program, self.random.choice(STEP_CALLS), self.random.randint(1, 30))

    def step_program(self, program: str, call: str, number: int) -> bool:
        """Kill a program at a certain system call; return False when it came to its end before."""
        self.detail = f"{call} {number}"
        name, *arguments = STEPPED[program]
        return self.end_program(self.start_program(name, *arguments, step=(call, number)), -signal.SIGKILL) < 0

    def step_stream(self) -> None:
        """A stream that starts is killed at one of its system calls."""
        self.step_stream_at(self.random.choice(STEP_CALLS), self.random.randint(1, 12))

    def step_stream_at(self, call: str, number: int) -> bool:
        """Start scribe-stream so that it is killed at a step; return False when it is still alive after a while."""
        self.detail = f"{call} {number}"
        self.kill_stream()
        process = self.start_program("scribe-stream", step=(call, number))
        with contextlib.suppress(TimeoutError):
            poll(lambda: process.poll() is not None or self.is_active(), 20, "a step")
        if process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.3)
        killed = process.poll() is not None
        if not killed:  # it is past that step: SIGTERM takes it through those of its end
            process.terminate()
        # what was active may have been the receiver before it, and this one not far enough to take SIGTERM as its end
        self.end_program(process, -signal.SIGKILL, -signal.SIGTERM)
        return killed or process.returncode < 0

    def step_receiver(self) -> None:
        """Every receiver of a stream is killed at one of its system calls."""
        self.step_receiver_at(self.random.choice(stepping.RECEIVER_CALLS), self.random.randint(1, 60))

    def step_receiver_at(self, call: str, number: int) -> None:
        """Start scribe-stream with a receiver that is killed at a step, and again and again, for a while."""
        self.detail = f"{call} {number}"
        self.kill_stream()
        shims = self.directory / "shims"
        stepping.write_shim(shims, f"{self.cluster.bindir}/pg_recvlogical", call, number)
        path = f"{shims}:{self.scribe.env['PATH']}"
        self.stream = self.scribe.start_stream(wait=False, env={"PATH": path})
        time.sleep(self.random.uniform(0.5, 2.5))
        self.kill_stream()

    def run_at_once(self) -> None:
        """Programs that must keep each other out; the second waits or says that it does not."""
        names = ["scribe-rotate", "scribe-dump", "scribe-rotate", "scribe-stream"]
        for process in [self.start_program(name) for name in names]:
            self.end_program(process)

    # --- the archive's disk -------------------------------------------------------------------------------------

    def cut_power(self, program: str | None = None) -> None:
        """The backup host loses its power: what was not synced is gone, and so are all processes."""
        assert self.disk is not None
        process = self.start_program(program) if program else None
        time.sleep(self.random.uniform(0.1, 1.2))
        writers = [process.pid for process in (self.stream, process) if process and process.poll() is None]
        with self.between_steps():
            self.disk.cut_power(*writers)
        self.kill_stream()
        if process:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        poll(self.boot, 20, "the disk to be free")
        if self.told is not None:
            slot = f"pg_replication_slots WHERE slot_name = '{self.scribe.slot}'"
            confirmed = self.cluster.value(f"SELECT confirmed_flush_lsn - '0/0' FROM {slot}")
            teller = self.teller()
            with teller.locked():
                words = [*teller.find(), f"confirms {confirmed}", "power is back"]
                teller.say([f" {word}" for word in words])

    def boot(self) -> bool:
        """Bring the disk back; False while a process that was killed is still going."""
        assert self.disk is not None
        try:
            self.disk.boot()
        except subprocess.CalledProcessError:
            return False
        return True

    def fill_disk(self) -> None:
        """No room for anything, for a while: everybody waits or says so, and goes on afterwards."""
        assert self.disk is not None
        filler = self.disk.fill()
        time.sleep(self.random.uniform(0.2, 1.5))
        for name in self.random.sample(["scribe-rotate", "scribe-dump"], 1):
            self.end_program(self.start_program(name), 1)
        filler.unlink()

    def kill_while_rotating(self) -> None:
        """The stream dies while a rotation talks to it."""
        process = self.start_program("scribe-rotate")
        time.sleep(self.random.uniform(0.1, 0.8))
        self.kill_stream()
        self.end_program(process)

    def leave_leftovers(self) -> None:
        """What programs that died may leave behind."""
        for place in ("incremental", "base", "globals", "spool", "spool/cuts"):
            (self.scribe.archive / place / f".tmp-{self.random.random()}").write_bytes(b"half")
        (self.scribe.archive / "base/.tmp-dir").mkdir(exist_ok=True)
        (self.scribe.archive / "base/.tmp-dir/base.sql").write_bytes(b"half")

    def kill_and_fake_processes(self) -> None:
        """A process file that names somebody else's live process must not get that process killed."""
        self.kill_stream()
        bystander = subprocess.Popen(["sleep", "600"])
        try:
            path = self.scribe.archive / "spool/stream.json"
            if path.exists():
                text = path.read_text()
                path.write_text(text.replace(str(self.stream.pid), str(bystander.pid)) if self.stream else text)
            self.ensure_stream()
            if bystander.poll() is not None:
                raise AssertionError("a process that is not ours was ended")
        finally:
            bystander.kill()
            bystander.wait()

    def leave_stale_locks(self) -> None:
        """Lock files and the pids of processes that ended long ago, or whose pid another one has now."""
        self.kill_stream()
        spool = self.scribe.archive / "spool"
        for name in ("stream.lock", "rotate.lock", "base.lock", "init.lock"):
            (spool / name).write_text("4711\n")
        path = spool / "stream.json"
        if path.exists():
            value = json.loads(path.read_text())
            for key in ("stream", "receiver"):
                if value.get(key):
                    value[key]["pid"] = self.random.choice([1, os.getpid(), 4194303])
            path.write_text(json.dumps(value))

    # --- rounds -------------------------------------------------------------------------------------------------

    def round(self, number: int, fault: str, act: Callable[[], object]) -> None:
        """Work, break something, start once more, rotate, restore, compare, and put it on record."""
        began = time.monotonic()
        self.detail = ""
        outcome = "not equal"
        try:
            self.ensure_stream()
            for client in self.clients:
                client.running.set()
            time.sleep(self.random.uniform(0.05, 0.4))  # work for a while before and after the fault
            act()
            time.sleep(self.random.uniform(0.0, 0.2))
            self.ensure_stream()
            for client in self.clients:
                client.running.clear()
            for client in self.clients:
                if not client.idle.wait(60):
                    raise AssertionError("a client hangs")
            self.archive_all()
            if self.told is None or number % SPARING == 0:
                self.check(number)
                outcome = "equal"
            else:
                outcome = "archived"
            self.done[fault] += 1
        except (KeyboardInterrupt, SystemExit):
            outcome = "interrupted"
            raise
        finally:
            self.put_down(number, fault, outcome, time.monotonic() - began)

    def put_down(self, number: int, fault: str, outcome: str, seconds: float) -> None:
        """Say and record what came of a round."""
        total = sum(client.total for client in self.clients)
        step = f" ({self.detail})" if self.detail else ""
        print(f"round {number}: {fault}{step}: {outcome}, {total} transactions, {seconds:.1f} s", flush=True)
        if self.record:
            entry = {"seed": self.seed, "round": number, "server": self.version, "fault": fault, "step": self.detail}
            entry |= {"outcome": outcome, "transactions": total, "seconds": round(seconds, 1)}
            with self.record.open("a") as stream:
                stream.write(json.dumps(entry) + "\n")

    def archive_all(self) -> None:
        """Rotate until everything committed is in segments."""
        for attempt in range(3):
            self.ensure_stream()
            result = self.scribe.run("scribe-rotate", "--wait-lsn", "current", check=False)
            if result.returncode == 0:
                break
            if result.returncode != 75 or attempt == 2:
                raise AssertionError(f"scribe-rotate exited {result.returncode}\n{result.stderr}\n{self.log()}")

    def check(self, number: int) -> None:
        """Restore what is new into the standing copy, compare; now and then restore everything again."""
        self.check_acknowledged()
        source = self.cluster.dump("faulty")
        if self.standing:
            self.scribe.run("scribe-restore", "-d", "standing", "--resume", "--base", self.bases()[0])
        else:
            self.scribe.run("scribe-restore", "-d", "standing", "--no-globals")
            self.standing = True
        assert_equal(source, self.cluster.dump("standing"), ("source", "standing copy"))
        if number % (2 * WHOLE) == 0:
            self.scribe.restore_with_psql("copy")
            self.compare(source, "copy", "psql alone")
        elif number % WHOLE == 0:
            base = self.random.choice(self.bases())
            self.scribe.run("scribe-restore", "-d", "copy", "--no-globals", "--base", base)
            self.compare(source, "copy", f"scribe-restore from {base}")

    def compare(self, source: dict[str, list[str]], target: str, way: str) -> None:
        """Compare and drop the target."""
        assert_equal(source, self.cluster.dump(target), ("source", way))
        self.cluster.dropdb(target)

    def bases(self) -> list[str]:
        """Stamps of complete bases."""
        return sorted(p.parent.name for p in (self.scribe.archive / "base").glob("2*/manifest.json"))

    def check_acknowledged(self) -> None:
        """The source itself must have what it acknowledged, or the comparison would prove nothing."""
        for client in self.clients:
            there = {n for (n,) in self.cluster.query(f"SELECT n FROM ack WHERE client = {client.number}", "faulty")}
            if client.acknowledged - there:
                raise AssertionError(f"the server lost transactions of client {client.number}")

    # --- runs ---------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Clients at work while the block runs."""
        for client in self.clients:
            client.start()
        try:
            yield
        finally:
            for client in self.clients:
                client.over = True
            self.kill_stream()

    def run(self, rounds: int) -> None:
        """Run so many rounds, each with one of the faults. Every kind comes before one comes again."""
        kinds: list[str] = []
        with self.working():
            for number in range(1, rounds + 1):
                if not kinds:
                    kinds = self.random.sample(sorted(self.faults), len(self.faults))
                fault = kinds.pop()
                self.round(number, fault, self.faults[fault])
            if self.told is not None and rounds % SPARING:
                self.check(1)

    def run_steps(self, only: str, calls: list[str]) -> None:
        """Kill each program at the first, second, third ... of each system call, until it comes to its end."""
        number = 0
        with self.working():
            for call in calls:
                for program in [name for name in sorted([*STEPPED, "scribe-stream"]) if only in name]:
                    for step in range(1, MOST_STEPS):
                        number += 1
                        killed: list[bool] = []

                        def act(program: str = program, call: str = call, step: int = step) -> None:
                            if program == "scribe-stream":
                                killed.append(self.step_stream_at(call, step))  # noqa: B023
                            else:
                                killed.append(self.step_program(program, call, step))  # noqa: B023

                        self.round(number, f"{program} killed at a step", act)
                        if not killed[0]:
                            break

    def close(self, keep: bool) -> None:
        """End everything this harness started."""
        self.kill_stream()
        self.cluster.remove(keep_files=keep)
        if self.disk is not None and not keep:
            self.disk.remove()


def parse() -> argparse.Namespace:
    """Return the flags."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--steps", action="store_true", help="kill at every step, program by program")
    parser.add_argument("--calls", default=",".join(STEP_CALLS), metavar="CALL,...", help="of which steps are made")
    parser.add_argument("--only", metavar="TEXT", default="", help="only faults (with --steps, programs) with TEXT")
    parser.add_argument("--record", metavar="FILE", type=Path, help="append a JSON line for each round")
    parser.add_argument("--decoder", default="scribe_decoder", help="SCRIBE_DECODER (default: scribe_decoder)")
    parser.add_argument("--told", action="store_true", help="the programs tell what they do, and the model accepts it")
    parser.add_argument("--keep", action="store_true", help="keep archive and data directory after a failure")
    return parser.parse_args()


def main() -> int:
    """Run the harness; exit status 1 and the seed when a round failed."""
    enter_namespace()
    arguments = parse()
    directory = Path(tempfile.mkdtemp(prefix="scribe-faults-"))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    harness = Harness(arguments.seed, directory, arguments.record, arguments.decoder, told=arguments.told)
    failed = True
    try:
        if arguments.steps:
            harness.run_steps(arguments.only, arguments.calls.split(","))
        else:
            harness.faults = {name: do for name, do in harness.faults.items() if arguments.only in name}
            harness.run(arguments.rounds)
        if harness.told is not None:
            print(judge_told(harness.told, harness.scribe.archive))
        failed = False
    finally:
        keep = arguments.keep and failed
        if keep and harness.disk:
            shutil.copytree(harness.scribe.archive, directory / "archive", dirs_exist_ok=True)
        if failed:
            print(harness.log())
            if harness.told is not None:  # which may know the step at which it went wrong
                try:
                    print(judge_told(harness.told, harness.scribe.archive))
                except Exception as refused:
                    print(f"the model: {refused}")
        harness.close(keep)
        print(f"seed {arguments.seed}: " + ", ".join(f"{n} x {name}" for name, n in sorted(harness.done.items())))
        if failed:
            print(f"FAILED; again with: --seed {arguments.seed} --rounds {arguments.rounds}")
        if keep:
            print(f"kept: {directory} {harness.cluster.directory}")
        else:
            shutil.rmtree(directory, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
