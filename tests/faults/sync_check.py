#!/usr/bin/env python3
"""Does the disk of the fault harness keep what fsync(2) answered for, and lose nothing else than a power cut does?

Writers append and sync, and note outside of the disk how far they got; the power is cut at a random moment. A byte that
was synced and is gone would make the harness blame the programs for what only its disk does. --in-the-middle cuts while
the writers go on, as the harness did once: then it happens.
"""

from __future__ import annotations

import argparse
import mmap
import os
import random
import signal
import struct
import sys
import tempfile
import time
from pathlib import Path

from disk import Disk, enter_namespace

WRITERS = 3


def append(path: Path, number: int, seed: int, synced: mmap.mmap) -> None:
    """Append and sync until the disk is gone; synced has the file's length in bytes at each writer's place."""
    rng = random.Random(seed)
    byte = bytes([ord("a") + number])
    length = 0
    with open(path, "wb", buffering=0) as file:
        directory = os.open(path.parent, os.O_RDONLY)
        os.fsync(directory)
        while True:
            length += file.write(byte * rng.randint(1, 400_000 if rng.random() < 0.1 else 8000))
            os.fsync(file.fileno())
            struct.pack_into("=Q", synced, 8 * number, length)


def cut(disk: Disk, rng: random.Random, *, stopped: bool) -> list[tuple[int, int]]:
    """One power cut; return, for each file that lost what had been synced, the bytes synced and those left."""
    with mmap.mmap(-1, 8 * WRITERS) as synced:
        writers = []
        files = [disk.path / f"file{number}" for number in range(WRITERS)]
        for number, path in enumerate(files):
            seed = rng.getrandbits(32)
            if not (pid := os.fork()):
                try:
                    append(path, number, seed, synced)
                except OSError:
                    os._exit(0)
            writers.append(pid)
        time.sleep(rng.uniform(0.02, 0.2))
        disk.cut_power(*(writers if stopped else ()))
        for pid in writers:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        lengths = struct.unpack(f"={WRITERS}Q", synced[:])
    disk.boot()
    lost = []
    for number, (path, length) in enumerate(zip(files, lengths, strict=True)):
        there = path.read_bytes()[:length] if path.exists() else b""
        kept = len(there) - len(there.lstrip(bytes([ord("a") + number])))
        if kept < length:
            lost.append((length, kept))
        path.unlink(missing_ok=True)
    return lost


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--in-the-middle", action="store_true", help="do not stop the writers first")
    options = parser.parse_args()
    enter_namespace()
    rng = random.Random(options.seed)
    cuts_with_loss = 0
    with tempfile.TemporaryDirectory(prefix="scribe-") as directory:
        try:
            disk = Disk(Path(directory), 256)
        except OSError as error:
            print(f"SKIPPED: the disk's own check: {error}", file=sys.stderr)
            return 0
        try:
            for number in range(options.rounds):
                lost = cut(disk, rng, stopped=not options.in_the_middle)
                cuts_with_loss += bool(lost)
                for synced, kept in lost:
                    print(f"cut {number}: {synced} bytes were synced, {kept} are left")
        finally:
            disk.remove()
    print(f"{options.rounds} power cuts, {cuts_with_loss} took back what had been synced")
    return 1 if cuts_with_loss else 0


if __name__ == "__main__":
    sys.exit(main())
