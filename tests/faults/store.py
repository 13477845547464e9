#!/usr/bin/env python3
"""The fault harness of the object store: the store is killed, stopped and slowed, and so is whoever sends and reads.

Clients write, and the archive goes to a bucket, by scribe-sync, scribe-rotate and scribe-dump. Each round hurts the
store or a program in the middle of its work. Before anything is mended, every object in the bucket has to be the
archive's file, to the byte; nothing may have been written twice or removed, no manifest may be there before what it
describes, and what the archive believes to be unsent has to be at least what the bucket lacks. Then one scribe-sync has
to complete the bucket, and what is restored from there alone has to be the source. Random, reproducible by its seed.

Whether objects are encrypted, and locked by the bucket, the seed decides. The store is kept_store.py, which is moto and
survives its death; between it and the programs stands what breaks connections, buckets.Faulty. For the programs that
are hurt almost every file is a large one, which goes in parts: small_parts.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "model"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "py"))

import workload
from buckets import BROKEN, BUSY, CHANGED, CUT, LOST, REFUSED, TORN, Bucket, Faulty, faulty
from cluster import ROOT, poll
from compare import assert_equal
from harness import Harness
from kept_store import entries

from scribe.archive.layout import Archive
from scribe.common.lsn import format_lsn
from scribe.offsite.contents import finished
from scribe.offsite.sync import unsent

HERE = Path(__file__).resolve().parent
URL = "s3://faults/shop"
PACE = 0.15  # seconds between transactions of a client
JUDGED = 3  # every so many rounds scribe-check looks at a bucket that lacks something
WHOLE = 10  # every so many rounds everything is restored from the bucket by a host that has nothing
LATEST = 14  # request of a program at which something happens to it
EVERY = (REFUSED, LOST, TORN, CUT, BUSY, BROKEN, CHANGED)
SENDERS = {
    "sync": ("scribe-sync",),
    "rotate": ("scribe-rotate", "--wait-lsn", "current", "--timeout", "20"),
    "dump": ("scribe-dump", "--wait", "20"),
}
READER = "restore"
_SAID = re.compile(r"scribe-[a-z]+: (?:(error|hint|warning): )?")


class Store:
    """The server's process, which may be killed, and its journal."""

    def __init__(self, directory: Path) -> None:
        self.journal = directory / "journal"
        self.log = directory / "store.log"
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it with what was written."""
        command = [sys.executable, str(HERE / "kept_store.py"), str(self.port), str(self.journal)]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        poll(self._answers, 60, "the store")

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def kill(self) -> None:
        """SIGKILL, wherever it is."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def signal(self, number: int) -> None:
        """Stop it, or let it go on."""
        assert self.process is not None
        self.process.send_signal(number)


class StoreHarness(Harness):
    """A source, its archive, a bucket, and what goes wrong on the way there and back."""

    def __init__(self, seed: int, directory: Path, record: Path | None = None) -> None:
        super().__init__(seed, directory, record)
        workload.PACE = PACE
        self.store = Store(directory)
        self.store.start()
        self.bucket = Bucket(self.store.port, "faults")
        self.stack = contextlib.ExitStack()
        self.proxy: Faulty = self.stack.enter_context(faulty(self.store.port))
        self.locked = self.random.random() < 0.5
        if self.locked:
            self.bucket.lock(1)
        self.secret: Path | None = directory / "key" if self.random.random() < 0.4 and shutil.which("age") else None
        self.scribe.settings |= self.bucket.env | {"SCRIBE_CACHE": str(directory / "cache")}
        if self.secret is not None:
            subprocess.run(["age-keygen", "-o", self.secret], check=True, capture_output=True)
            public = subprocess.check_output(["age-keygen", "-y", self.secret], text=True).strip()
            self.scribe.settings |= {"SCRIBE_ENCRYPT_TO": public, "SCRIBE_DECRYPT_WITH": str(self.secret)}
        self.launchers = directory / "bin"
        self._write_launchers()
        self.archive = Archive(self.scribe.archive)
        self.right: dict[str, int] = {}  # objects that were compared, and their sizes
        self.seen = 0  # bytes of the journal
        self.statuses: Counter[str] = Counter()
        self.number = 0
        hurts: dict[str, Callable[[str], None]] = {
            "store killed": self.kill_store,
            "store killed and away for a while": self.take_store_away,
            "store stopped for a while": self.stop_store,
            "store slow": self.slow_store,
            "uploads cut": lambda name: self.break_requests(name, CUT),
            "store answers 500 and 503": lambda name: self.break_requests(name, BUSY, BROKEN),
            "answers lost": lambda name: self.break_requests(name, LOST),
            "answers torn": lambda name: self.break_requests(name, TORN),
            "bytes changed on the way": lambda name: self.break_requests(name, CHANGED),
            "everything breaks": lambda name: self.break_requests(name, *EVERY),
            "program killed": self.kill_at_work,
            "program killed while the store stands still": self.kill_before_still_store,
        }
        self.faults = {
            f"{hurt}: {name}": lambda hurt=act, name=name: hurt(name)  # type: ignore[misc]
            for hurt, act in hurts.items()
            for name in (*SENDERS, READER)
        } | {"all programs at once": self.run_all}
        self.scribe.run("scribe-sync", env={"SCRIBE_REMOTE": URL})
        print(f"seed {seed}: {'encrypted' if self.secret else 'plain'}, {'locked' if self.locked else 'not locked'}")

    def _write_launchers(self) -> None:
        """Let the programs that are hurt send almost everything in parts."""
        self.launchers.mkdir()
        for name in ("sync", "rotate", "dump", "restore"):
            path = self.launchers / f"scribe-{name}"
            path.write_text(
                f"#!/bin/sh\nexport PYTHONPATH={HERE}/small_parts:{ROOT}/lib\n"
                f'exec {ROOT}/.venv/bin/python -P -m scribe.programs.{name} "$@"\n'
            )
            path.chmod(0o755)

    # --- programs -----------------------------------------------------------------------------------------------

    def begin(self, name: str, *, direct: bool = False) -> subprocess.Popen[str]:
        """Start a program that sends to the store or restores from it; direct: not through what breaks requests."""
        if name == READER:
            exists = bool(self.cluster.query("SELECT 1 FROM pg_database WHERE datname = 'hurt'"))
            command = ["scribe-restore", "-d", "hurt", "--archive", URL]
            command += ["--resume"] if exists else ["--no-globals"]
        else:
            command = list(SENDERS[name])
        port = self.store.port if direct else self.proxy.server_address[1]
        return subprocess.Popen(
            [str(self.launchers / command[0]), *command[1:]],
            env=self.scribe.env | {"SCRIBE_REMOTE": URL, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def end_program(self, process: subprocess.Popen[str], *fair: int) -> int:
        """Wait for a program's end; it has succeeded, or has said in one line why not, and that a retry may help."""
        _, said = process.communicate(timeout=300)
        status = process.returncode
        self.statuses[f"{Path(process.args[0]).name} {status}"] += 1  # type: ignore[index]
        kinds = [match[1] or "note" if (match := _SAID.match(line)) else line for line in said.splitlines()]
        told = [kind for kind in kinds if kind not in ("note", "warning")]
        if status not in (0, 75, *fair) or (status >= 0 and told not in ([], ["error"], ["error", "hint"])):
            raise AssertionError(f"{process.args} exited {status}\n{said}")
        if status > 0 and not told:
            raise AssertionError(f"{process.args} exited {status} without a word")
        return status

    # --- what goes wrong ----------------------------------------------------------------------------------------

    def strike(self, name: str, act: Callable[[], None], *, direct: bool = False) -> subprocess.Popen[str]:
        """Start a program, and do something at a request of it or, if there are not so many, at another moment."""
        number, struck = self.random.randint(1, LATEST), threading.Event()
        self.detail = f"request {number}"

        def see(n: int) -> None:
            if n == number:
                struck.set()

        self.proxy.begin(see)  # type: ignore[arg-type]
        last = time.monotonic() + self.random.uniform(0.3, 3)
        process = self.begin(name, direct=direct)
        while not struck.wait(0.01) and process.poll() is None and time.monotonic() < last:
            pass
        act()
        return process

    def kill_store(self, name: str) -> None:
        """SIGKILL of the store, which comes back at once: what it has said that it has is there again."""
        process = self.strike(name, self.store.kill, direct=self.random.random() < 0.5)
        self.store.start()
        self.end_program(process)

    def take_store_away(self, name: str) -> None:
        """It stays away for longer than the library tries again, or for shorter."""
        process = self.strike(name, self.store.kill)
        time.sleep(self.random.uniform(0.5, 5))
        self.end_program(self.begin("sync"))
        self.store.start()
        self.end_program(process)

    def stop_store(self, name: str) -> None:
        """SIGSTOP and SIGCONT: requests wait, and connections are open."""
        process = self.strike(name, lambda: self.store.signal(signal.SIGSTOP), direct=self.random.random() < 0.5)
        time.sleep(self.random.uniform(0.1, 3))
        self.store.signal(signal.SIGCONT)
        self.end_program(process)

    @contextlib.contextmanager
    def pace(self, bytes_per_second: float) -> Iterator[None]:
        """Let the way be slow while the block runs."""
        self.proxy.pace = bytes_per_second
        try:
            yield
        finally:
            self.proxy.pace = None

    def slow_store(self, name: str) -> None:
        """A few kB/s, for each connection, for a while."""
        self.proxy.begin()
        with self.pace(self.random.uniform(2000, 9000)):
            process = self.begin(name)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(self.random.uniform(1, 5))
        self.end_program(process)

    def break_requests(self, name: str, *kinds: str) -> None:
        """Some requests go wrong, or from one on all."""
        share = self.random.choice([0.1, 0.3, 0.6, 1.0])
        first = self.random.randint(1, LATEST)
        if CHANGED in kinds and len(kinds) == 1:  # it is about few requests
            share, first = 1.0, self.random.randint(1, 4)
        self.detail = f"{share:.0%} from request {first} on"
        dice = self.random.random
        self.proxy.begin(lambda n: self.random.choice(kinds) if n >= first and dice() < share else None)
        # what it has fetched may be damaged: then this run has failed, and the next one fetches it again
        self.end_program(self.begin(name), *((1,) if name == READER and CHANGED in kinds else ()))
        self.proxy.begin()

    def kill_at_work(self, name: str) -> None:
        """SIGKILL of a program in the middle of its work, and sometimes at once another one of its kind."""
        with self.pace(self.random.choice([8e3, 4e4, 1e9])):
            process = self.strike(name, lambda: None)
            self.kill(process)
        if self.random.random() < 0.5:
            self.end_program(self.begin(name))

    def kill_before_still_store(self, name: str) -> None:
        """SIGKILL of a program whose request lies in the store, which carries it out while the next one looks."""
        process = self.strike(name, lambda: self.store.signal(signal.SIGSTOP), direct=self.random.random() < 0.5)
        time.sleep(self.random.uniform(0.0, 0.5))
        self.kill(process)
        following = self.begin("sync" if name != READER else name)
        time.sleep(self.random.uniform(0.2, 1.0))
        self.store.signal(signal.SIGCONT)
        self.end_program(following)

    def kill(self, process: subprocess.Popen[str]) -> None:
        """SIGKILL of a program, with its children or alone."""
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if self.random.random() < 0.5 else os.kill)(process.pid, signal.SIGKILL)
        self.end_program(process, -signal.SIGKILL)

    def run_all(self) -> None:
        """A timer's scribe-sync, a rotation, a base and a restore at once, with a store that answers now and then."""
        self.proxy.begin(lambda n: self.random.choice([LOST, BUSY, CUT]) if self.random.random() < 0.1 else None)
        processes = [self.begin(name) for name in (*SENDERS, READER)]
        for process in processes:
            self.end_program(process)
        self.proxy.begin()

    # --- rounds -------------------------------------------------------------------------------------------------

    def round(self, number: int, fault: str, act: Callable[[], object]) -> None:
        """One round of the harness; the bucket is looked at after the fault, before anything is mended."""
        self.number = number

        def hurt() -> None:
            for _ in range(self.random.randint(2, 4)):  # which nobody has sent yet
                self.program("scribe-rotate")
                time.sleep(self.random.uniform(0.0, 0.2))
            act()
            lacking = self.look()
            if lacking and number % JUDGED == 0:
                self.judge_unmended(set(lacking))

        super().round(number, fault, hurt)

    def check(self, number: int) -> None:
        """Everything is sent by one scribe-sync, and restored from there alone it is the source."""
        self.check_acknowledged()
        sent = self.scribe.run("scribe-sync", "-n", env={"SCRIBE_REMOTE": URL}, check=False)
        assert sent.returncode == (1 if sent.stdout else 0), sent.stderr
        assert self.scribe.run("scribe-sync", env={"SCRIBE_REMOTE": URL}).stderr == ""
        assert not self.look(), "the bucket lacks something after scribe-sync"
        assert not unsent(self.archive, [URL])
        source = self.cluster.dump("faulty")
        self.finish_hurt(source)
        if not self.standing:
            self.scribe.run("scribe-restore", "-d", "standing", "--no-globals", "--archive", URL)
            self.standing = True
        else:
            self.scribe.run("scribe-restore", "-d", "standing", "--resume", "--archive", URL, "--base", self.bases()[0])
        assert_equal(source, self.cluster.dump("standing"), ("source", "standing copy"))
        if number % WHOLE == 0:
            self.restore_elsewhere(source)

    def judge_unmended(self, lacking: set[str]) -> None:
        """What scribe-check says of a bucket that lacks something: how far it goes, and a gap if there is one.

        Segments that are missing between the last one that is there and a base are none: a base needs none before it.
        """
        segments = [(segment, f"incremental/{segment.path.name}" in lacking) for segment in self.archive.segments()]
        ends = [segment.to_lsn for segment, is_lacking in segments if not is_lacking]
        gap = any(is_lacking and segment.to_lsn < max(ends) for segment, is_lacking in segments)
        self.statuses["buckets with a gap" if gap else "buckets that end early"] += 1
        options = ("--archive", URL, "--only", "archive,chain", "--format", "json")
        found = self.scribe.run("scribe-check", *options, check=False).stdout
        assert (json.loads(found)["exit_status"] == 0) != gap, f"lacking {sorted(lacking)}\n{found}"
        assert gap or f"up to {format_lsn(max(ends))}" in found, found

    def finish_hurt(self, source: dict[str, list[str]]) -> None:
        """A restore that was hurt goes on to the end of the archive, and is the source then."""
        if not self.cluster.query("SELECT 1 FROM pg_database WHERE datname = 'hurt'"):
            return
        resumed = self.scribe.run("scribe-restore", "-d", "hurt", "--resume", "--archive", URL, check=False)
        self.statuses[f"scribe-restore --resume {resumed.returncode}"] += 1
        if resumed.returncode:  # it had not come as far as there is something to go on with
            assert len(resumed.stderr.splitlines()) == 2, resumed.stderr
            self.cluster.dropdb("hurt")
            self.scribe.run("scribe-restore", "-d", "hurt", "--no-globals", "--archive", URL)
        self.compare(source, "hurt", "a restore that was hurt")

    def restore_elsewhere(self, source: dict[str, list[str]]) -> None:
        """A host that has nothing restores from the bucket, which says of itself what the archive says."""
        base = self.random.choice(self.bases())
        place = self.directory / f"host-{self.number}"
        elsewhere = {"SCRIBE_CACHE": str(place), "SCRIBE_ARCHIVE": str(place / "none")}
        options = ("-d", "copy", "--no-globals", "--archive", URL, "--base", base)
        self.scribe.run("scribe-restore", *options, env=elsewhere)
        self.compare(source, "copy", f"a restore elsewhere from {base}")
        listed = [
            json.loads(self.scribe.run("scribe-restore", "--list", "--json", "--archive", where, env=elsewhere).stdout)
            for where in (str(self.scribe.archive), URL)
        ]
        assert listed[0] == listed[1], listed
        options = ("--archive", URL, "--only", "archive,chain", "--format", "json")
        found = self.scribe.run("scribe-check", *options, env=elsewhere, check=False)
        assert json.loads(found.stdout)["exit_status"] == 0, found.stdout
        assert self.scribe.run("scribe-verify", "--read", "all", "--archive", URL, env=elsewhere).stdout == ""
        shutil.rmtree(place)

    # --- the bucket ---------------------------------------------------------------------------------------------

    def look(self) -> list[str]:
        """Look at every object and at everything that was done to one; return what the bucket lacks."""
        for entry in entries(self.store.journal, self.seen):
            self.seen += entry["length"]
            method, query = entry["environ"]["REQUEST_METHOD"], entry["environ"].get("QUERY_STRING", "")
            if (method == "DELETE" and "uploadId" not in query) or query.startswith("delete"):
                raise AssertionError(f"removed: {method} {entry['environ']['PATH_INFO']} {query}")
        written = Counter(key.removeprefix("shop/") for key in self.bucket.written())
        twice = [key for key, versions in written.items() if versions > 1]
        assert not twice, f"written more than once: {twice}"
        objects = self._list()  # a request of a program that was killed may still be under way: then there is one more
        assert set(written) <= set(objects), set(written) - set(objects)
        for key, size in objects.items():
            if self.right.get(key) != size:
                self._compare_object(key)
                self.right[key] = size
        return self._judge_lack(objects)

    def _list(self) -> dict[str, int]:
        pages = self.bucket.client.get_paginator("list_objects_v2").paginate(Bucket="faults")
        found = [item for page in pages for item in page.get("Contents", [])]
        return {item["Key"].removeprefix("shop/"): item["Size"] for item in found}

    def _content(self, key: str) -> bytes:
        """Return what is in an object, decrypted."""
        content: bytes = self.bucket.client.get_object(Bucket="faults", Key=f"shop/{key}")["Body"].read()
        if not key.endswith(".age"):
            return content
        command = ["age", "--decrypt", "-i", str(self.secret)]
        return subprocess.run(command, input=content, capture_output=True, check=True).stdout

    def _compare_object(self, key: str) -> None:
        """What is under a key is the archive's file, or what the key says of it."""
        content, name = self._content(key), key.removesuffix(".age")
        if name.startswith("versions/"):
            assert name.endswith(hashlib.sha256(content).hexdigest()[:32]), f"{key} is another version"
            return
        path = self.scribe.archive / name
        assert path.exists(), f"the archive has no {name}"
        assert content == path.read_bytes(), f"{key} is not the archive's file"

    def _judge_lack(self, objects: dict[str, Any]) -> list[str]:
        """Return the files that are missing; nothing may be there before what completes it, or count as sent."""
        names = {key.removesuffix(".age") for key in objects}
        lacking = []
        for thing in finished(self.archive):
            missing = [item.name for item in thing if item.name not in names]
            if missing and thing[-1].name in names:
                raise AssertionError(f"{thing[-1].name} is there, and not {missing}")
            lacking += missing
        manifests = {name for name in lacking if re.fullmatch(r"incremental/.*\.json|base/.*/manifest\.json", name)}
        forgotten = manifests - set(unsent(self.archive, [URL]))
        assert not forgotten, f"counted as sent: {forgotten}"
        return lacking

    def close(self, keep: bool) -> None:
        """End everything this harness started."""
        self.stack.close()
        self.store.kill()
        super().close(keep)


def parse() -> argparse.Namespace:
    """Return the flags."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--only", metavar="TEXT,...", default="", help="only faults with one of these in their names")
    parser.add_argument("--record", metavar="FILE", type=Path, help="append a JSON line for each round")
    parser.add_argument("--keep", action="store_true", help="keep archive and data directory after a failure")
    return parser.parse_args()


def main() -> int:
    """Run the harness; exit status 1 and the seed when a round failed."""
    arguments = parse()
    directory = Path(tempfile.mkdtemp(prefix="scribe-faults-"))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    harness = StoreHarness(arguments.seed, directory, arguments.record)
    only = arguments.only.split(",")
    harness.faults = {name: do for name, do in harness.faults.items() if any(text in name for text in only)}
    failed = True
    try:
        harness.run(arguments.rounds)
        failed = False
    finally:
        harness.close(arguments.keep and failed)
        print(f"seed {arguments.seed}: " + ", ".join(f"{n} x {name}" for name, n in sorted(harness.done.items())))
        print(f"{len(harness.right)} objects; exit statuses: {dict(sorted(harness.statuses.items()))}")
        if failed:
            print(f"FAILED; again with: --seed {arguments.seed} --rounds {arguments.rounds}")
        if arguments.keep and failed:
            print(f"kept: {directory} {harness.cluster.directory}")
        else:
            shutil.rmtree(directory, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
