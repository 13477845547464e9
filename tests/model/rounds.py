#!/usr/bin/env python3
"""Runs of the programs' own code, told in the model's words, which the model has to accept: random, but reproducible.

    rounds.py [--rounds N] [--seed N] [--json FILE]

A round ends with a fault, at any system call of a rotation or a start: a kill, or a power cut after which nothing is
there but what was synced, on one of two file systems. What the programs do to the disk is seen at their system calls.
The server and pg_recvlogical are played. Exit status: 0 all were accepted; 1 one was not: its words are printed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(Path(__file__).resolve().parent), str(ROOT / "tests/py"), str(ROOT / "lib")]

import pytest  # noqa: E402
from archives import make_archive, transaction  # noqa: E402
from test_power import SERVER, SLOT, Disk, Machine  # noqa: E402
from test_rotation import Crash  # noqa: E402
from traces import Model, RefusedError  # noqa: E402
from words import Words  # noqa: E402

from scribe.archive.layout import Archive  # noqa: E402
from scribe.common.lsn import format_lsn  # noqa: E402
from scribe.spool.contents import Spool  # noqa: E402
from scribe.stream import recovery  # noqa: E402
from scribe.stream.rotation import rotate  # noqa: E402

FIRST = 0x200  # the first transaction's LSN
LENGTH = 8  # of a transaction in the WAL
NEVER = 1 << 30


class Watch(Machine):
    """Tells of what the programs do to the disk, in the model's words; stops at the step with a given number."""

    def __init__(self, patch: pytest.MonkeyPatch, run: Run, stop: int) -> None:
        self.run = run
        super().__init__(patch, run.disk, stop)
        patch.setattr(os, "open", self._opening(os.open))

    def _opening(self, function: Callable[..., int]) -> Callable[..., int]:
        def opens(path: str | Path, flags: int, *arguments: object, **named: object) -> int:
            is_new = flags & os.O_CREAT and Path(path) == self.run.stream and not os.path.exists(path)
            descriptor = function(path, flags, *arguments, **named)
            if is_new:
                self.run.tell(f"file {self.run.number(self.run.stream)} is new")
            return descriptor

        return opens

    def _wrap(self, name: str, function: Callable[..., object]) -> Callable[..., object]:
        step = super()._wrap(name, function)

        def told(*arguments: object, **named: object) -> object:
            words = self.run.words_before(name, *arguments)
            result = step(*arguments, **named)
            for word in words:
                self.run.tell(word)
            return result

        return told


class Run(Words):
    """One archive, its faults, and the words that tell of them."""

    def __init__(self, seed: str, place: Path) -> None:
        self.random, self.place = random.Random(seed), place
        super().__init__(make_archive(place / "0"))
        self.words: list[str] = []
        self.disk = Disk(self.archive.path, names_last=False)
        self.times = 0  # that power was cut
        self.committed: list[int] = []
        self.confirmed = 0x100
        self.next = 0  # of the committed ones: what the receiver gets next
        self.open = False  # whether the receiver is within a transaction
        self.running = False
        self.tell(f"file {self.number(self.stream)} is new")
        self.tell("names are on disk")

    def tell(self, word: str) -> None:
        """Write down a word."""
        if word.startswith("cuts file"):
            number, left = (int(each) for each in word[10:].split(" to "))
            del self.pieces[number][left:]
        self.words.append(word)

    # --- the server and pg_recvlogical -------------------------------------------------------------------------

    def commit(self, count: int) -> None:
        """Transactions are committed."""
        for _ in range(count):
            lsn = self.committed[-1] + 2 * LENGTH if self.committed else FIRST
            self.committed.append(lsn)
            self.tell(f"commit {lsn} to {lsn + LENGTH}")

    def receive(self, pieces: int) -> None:
        """pg_recvlogical writes so many pieces of what there is."""
        number = self.number(self.stream)
        with open(self.stream, "ab") as stream:
            for _ in range(pieces):
                if self.next >= len(self.committed):
                    break
                lsn = self.committed[self.next]
                text = transaction(lsn, b"INSERT INTO public.t (id) VALUES (1);\n")
                half = text.index(b"COMMIT; ")
                stream.write(text[half:] if self.open else text[:half])
                stream.flush()
                ends = self.pieces.setdefault(number, [])
                ends.append(stream.tell())
                if self.open:
                    self.tell(f"end of {lsn} to {lsn + LENGTH} into file {number}")
                    self.next += 1
                else:
                    self.tell(f"begin of {lsn} into file {number}")
                self.open = not self.open

    def confirm(self) -> None:
        """pg_recvlogical syncs its file, and has confirmed what is whole by then."""
        descriptor = os.open(self.stream, os.O_RDONLY)
        os.fsync(descriptor)
        self.disk.sync(os.fstat(descriptor), self.stream)
        os.close(descriptor)
        self.tell(f"fsync of file {self.number(self.stream)}")
        whole = self.committed[: self.next]
        if whole:
            self.confirmed = whole[-1] + LENGTH
            self.tell(f"confirms {self.confirmed}")

    # --- the programs ------------------------------------------------------------------------------------------

    def start(self, stop: int = NEVER) -> None:
        """What scribe-stream does up to the start of pg_recvlogical."""
        slot = SLOT.__class__(**(SLOT.__dict__ | {"confirmed_flush": format_lsn(self.confirmed)}))
        server = SERVER.__class__(**(SERVER.__dict__ | {"flush_lsn": NEVER}))
        with pytest.MonkeyPatch.context() as patch:
            Watch(patch, self, stop)
            position = recovery.recover(self.archive, server, slot)
        self.tell(f"spawn at {position}")
        self.next = sum(lsn < position for lsn in self.committed)
        self.open, self.running = False, True

    def rotate(self, stop: int = NEVER) -> None:
        """A rotation; pg_recvlogical syncs its file when it takes up the new one, and confirms it sooner or later."""
        if self.running:
            self.confirm()
        with pytest.MonkeyPatch.context() as patch:
            Watch(patch, self, stop)
            report = rotate(self.archive, None)
        self.tell(f"archived up to {report.archived}")

    def want_cut(self) -> None:
        """A base's point is recorded, and the base taken, as scribe-dump does it: nothing of it is archived yet."""
        lsn = self.committed[-1] + LENGTH + 4 if self.committed else FIRST - 4
        if lsn > self.archive.archived_lsn() and self.next >= len(self.committed) and not self.open:
            with pytest.MonkeyPatch.context() as patch:
                Watch(patch, self, NEVER)
                self.archive.record_cut(lsn)
            self.tell(f"base at {lsn}")

    # --- faults ------------------------------------------------------------------------------------------------

    def work(self) -> None:
        """Something happens that nothing goes wrong with."""
        self.commit(self.random.randrange(3))
        if self.running:
            self.receive(self.random.randrange(7))
            if self.random.random() < 0.4:
                self.confirm()
        if self.random.random() < 0.2:
            self.want_cut()
        if self.random.random() < 0.4:
            self.rotate()

    def fail(self) -> None:
        """A program is killed, or power is cut, at some step; then scribe-stream starts again."""
        stop = 1 + int(self.random.expovariate(1 / 8))
        with contextlib.suppress(Crash):
            (self.rotate if self.random.random() < 0.6 else self.start)(stop)
        self.running = self.open = False
        if self.random.random() < 0.5:
            self.tell("kill")
        else:
            self.lose_power()
        if self.random.random() < 0.3:
            self.rotate()
        self.start()

    def lose_power(self) -> None:
        """Go on with what is on disk, in another directory."""
        self.disk.names_last = self.random.random() < 0.5
        words = ["names stay"] if self.disk.names_last else ["names go", "segments go"]
        for word in ["power cut, bytes 1", *words, "power is back"]:
            self.tell(word)
        before = self.archive
        inodes = dict(self.numbers)
        names = self._names_on_disk()
        self.times += 1
        self.disk.lose_power(self.place / str(self.times))
        self.archive = Archive(self.place / str(self.times))
        self.disk = Disk(self.archive.path, names_last=False)
        self.numbers = {}
        found = 0
        for path in Spool(self.archive.spool).paths():
            number = inodes[names[path.name]]
            self.numbers[os.stat(path).st_ino] = number
            self.pieces[number] = self.pieces_within(number, os.path.getsize(path))
            found += len(self.pieces[number])
        self.numbers[-1] = max(inodes.values())  # no number is used again
        self.tell(f"there is {self.archive.archived_lsn()} archived and {found} in the spool")
        assert before != self.archive

    def _names_on_disk(self) -> dict[str, int]:
        spool = self.archive.spool
        if self.disk.names_last:
            return {entry.name: entry.inode() for entry in os.scandir(spool)}
        return self.disk.names[os.stat(spool).st_ino]


def play(seed: str, faults: int) -> list[str]:
    """Return the words of one archive's life with so many faults."""
    with tempfile.TemporaryDirectory(prefix="scribe-trace-") as place:
        run = Run(seed, Path(place))
        run.start()
        for _ in range(faults):
            for _ in range(run.random.randrange(1, 4)):
                run.work()
            run.fail()
        run.work()
        run.rotate()
        return run.words


def check(words: list[str], start: int = 0x100) -> Model:
    """Return the model after a trace; start: LSN at which the archive begins. Raises RefusedError."""
    model = Model(archived=start, d_archived=start)
    model.accept(words)
    return model


FAULTS = 5  # of one archive


def main() -> int:
    """Play rounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1000, help="how many faults")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    arguments = parser.parse_args()
    began, steps, segments, rounds = time.monotonic(), 0, 0, 0
    while rounds < arguments.rounds:
        seed = f"{arguments.seed}-{rounds}"
        words = play(seed, FAULTS)
        try:
            model = check(words)
        except RefusedError as error:
            print("\n".join(words), file=sys.stderr)
            print(f"check-traces: error: seed {seed}: {error}", file=sys.stderr)
            return 1
        rounds, steps, segments = rounds + FAULTS, steps + model.steps, segments + len(model.segments)
    seconds = time.monotonic() - began
    print(
        f"check-traces: the model accepts {rounds} rounds of {steps} steps,"
        f" with {segments} transactions archived, in {seconds:.0f} s"
    )
    if arguments.json is not None:
        figures = {"rounds": rounds, "steps": steps, "transactions": segments, "seed": arguments.seed}
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
