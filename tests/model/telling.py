"""Real programs tell of what they do, in the model's words, into one file, in the order in which it happened.

Whatever changes the archive's disk is told under a lock, twice: before it is done, and when it is done. So a program
that is killed in between leaves a step of which nobody knows whether it was taken; who reads the file tries both. A
line begins with "?" for what is about to happen, "!" once it has, "x" if it failed, and a blank for what is certain.

pg_recvlogical tells nothing. What it has written is looked at before each word of the others, and what it has
confirmed in its messages; that it syncs before it confirms is its own promise, and taken for granted.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from words import Words

from scribe.archive.layout import Archive
from scribe.common.lsn import parse_lsn
from scribe.spool.contents import Spool

STEPS = ("rename", "replace", "unlink", "fsync", "truncate")
_FRAME = re.compile(
    rb"^BEGIN; -- xid \d+ commit ([0-9A-F]+/[0-9A-F]+) time [^\n]*\n|^COMMIT; -- end ([0-9A-F]+/[0-9A-F]+)\n", re.M
)
_CONFIRMING = re.compile(rb"confirming write up to [0-9A-F/]+, flush to ([0-9A-F]+/[0-9A-F]+) ")
_KNOWN = ("size", "next", "heard", "numbers", "frames", "offsets", "removed")
_open, _replace = os.open, os.replace  # as they are before anything is wrapped


class Teller(Words):
    """What is known of the spool's files by all programs together, and the file that they write to."""

    def __init__(self, archive: Archive, place: Path) -> None:
        super().__init__(archive)
        self.log, self.state, self.lock = place / "words", place / "state.json", place / "lock"
        self.size = 0  # bytes of the log that count: a program may have been killed before the rest did
        self.next = 0  # the highest number of a file
        self.frames: dict[int, list[list[int]]] = {}  # of files: offset, commit LSN and end LSN (or 0) of each piece
        self.offsets: dict[int, int] = {}
        self.heard = 0  # bytes of pg_recvlogical's messages
        # inode -> number, pieces and offset of a file that was removed: a power cut brings it back
        self.removed: dict[int, tuple[int, list[list[int]], int]] = {}

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else tells anything while the block runs; what is known is read first."""
        descriptor = _open(self.lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            self._load()
            yield
        finally:
            os.close(descriptor)

    def _load(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            known = json.loads(self.state.read_text())
            self.size, self.next, self.heard = known["size"], known["next"], known["heard"]
            self.numbers = {int(inode): number for inode, number in known["numbers"].items()}
            self.frames = {int(number): frames for number, frames in known["frames"].items()}
            self.offsets = {int(number): offset for number, offset in known["offsets"].items()}
            self.removed = {int(inode): tuple(file) for inode, file in known["removed"].items()}
        self.pieces = {number: [frame[0] for frame in frames] for number, frames in self.frames.items()}

    def say(self, lines: list[str]) -> None:
        """Write lines, and what is known now; both count, or neither."""
        with self.log.open("r+b" if self.log.exists() else "w+b") as log:
            log.truncate(self.size)
            log.seek(self.size)
            log.write("".join(f"{line}\n" for line in lines).encode())
        self.size = self.log.stat().st_size
        known = {name: getattr(self, name) for name in _KNOWN}
        temporary = self.state.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps(known))
        _replace(temporary, self.state)

    def number(self, path: Path) -> int:
        """See Words; no number is used again."""
        inode = os.stat(path).st_ino
        if inode not in self.numbers:
            self.removed.pop(inode, None)  # it is another file's now
            self.next += 1
            self.numbers[inode] = self.next
        return self.numbers[inode]

    def observe(self) -> list[str]:
        """Return what pg_recvlogical has done since it was last looked at."""
        confirmed = self._listen()  # before the files are looked at: they have what was confirmed by then
        words = []
        for path in Spool(self.archive.spool).paths():
            known = set(self.numbers.values())
            number = self.number(path)
            if number not in known:
                words.append(f"file {number} is new")
            words += self._read(path, number)
        if confirmed:
            for number, frames in self.frames.items():
                durable = 0
                for at, (_, _, end) in enumerate(frames, 1):
                    durable = at if end and end <= confirmed else durable
                words.append(f"{durable} pieces of file {number} are on disk")
            words.append(f"confirms {confirmed}")
        return words

    def _listen(self) -> int:
        path = self.archive.spool / "receiver.log"
        with contextlib.suppress(FileNotFoundError), path.open("rb") as messages:
            if os.fstat(messages.fileno()).st_size < self.heard:
                self.heard = 0
            messages.seek(self.heard)
            text = messages.read()
            whole = text[: text.rfind(b"\n") + 1]
            self.heard += len(whole)
            return max((parse_lsn(lsn.decode()) for lsn in _CONFIRMING.findall(whole)), default=0)
        return 0

    def find(self) -> list[str]:
        """Return what is there after a power cut, whose words are told before anybody works on the archive again."""
        paths = Spool(self.archive.spool).paths()
        inodes = {os.stat(path).st_ino for path in paths}
        for inode in inodes & self.removed.keys():  # that its name had gone was not on disk
            number, frames, offset = self.removed[inode]
            self.numbers[inode], self.frames[number], self.offsets[number] = number, frames, offset
        self.removed.clear()
        known = set(self.numbers.values())
        self.numbers = {inode: number for inode, number in self.numbers.items() if inode in inodes}
        numbers = {path.name: self.number(path) for path in paths}
        words = [f"file {number} is new" for number in numbers.values() if number not in known]
        parts = "".join(f" {int(name[5:-4])}:{number}" for name, number in numbers.items() if name.startswith("part-"))
        words.append(f"archived up to {self.archive.archived_lsn()} is found")
        words.append(f"file {numbers.get(self.stream.name, 0)} is found, and parts{parts}")
        words.append("cuts are found" + "".join(f" {point}" for point in self.archive.pending_cuts()))
        for path, number in zip(paths, numbers.values(), strict=True):
            text = path.read_bytes()
            hole = text.find(b"\0")
            ends = [match.end() for match in _FRAME.finditer(text[: hole if hole >= 0 else len(text)])]
            frames = self.frames.setdefault(number, [])
            both = zip(ends, (frame[0] for frame in frames), strict=False)
            del frames[len(list(itertools.takewhile(lambda pair: pair[0] == pair[1], both))) :]
            words.append(f"file {number} is found with {len(frames)} pieces")
            self.offsets[number] = frames[-1][0] if frames else 0
            words += self._read(path, number, hole if hole >= 0 else None)  # what came just before the cut
            words.append(f"{len(self.frames[number])} pieces of file {number} are on disk")  # perhaps confirmed
            if hole >= 0:
                self.offsets[number] = len(text)  # what follows is no transaction, and is cut
        self.heard = 0
        return words

    def _read(self, path: Path, number: int, limit: int | None = None) -> list[str]:
        frames = self.frames.setdefault(number, [])
        start = self.offsets.get(number, 0)
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            if size < start:  # whoever cut it was killed before it could tell
                frames[:] = [frame for frame in frames if frame[0] <= size]
                start = size
            stream.seek(start)
            text = stream.read(None if limit is None else max(0, limit - start))
        text = text[: text.rfind(b"\n") + 1]
        self.offsets[number] = start + len(text)
        words = []
        for match in _FRAME.finditer(text):
            if match[1]:
                lsn, end = parse_lsn(match[1].decode()), 0
                words.append(f"begin of {lsn} into file {number}")
            else:
                lsn, end = self._opened(number), parse_lsn(match[2].decode())
                words.append(f"end of {lsn} to {end} into file {number}")
            frames.append([start + match.end(), lsn, end])
        self.pieces[number] = [frame[0] for frame in frames]
        return words

    def _opened(self, number: int) -> int:
        """Return the transaction that is open: in this file, or at the end of the one before it."""
        for frames in (self.frames[each] for each in range(number, 0, -1) if each in self.frames):
            if frames:
                return frames[-1][1]
        return 0

    def forget(self, word: str, gone: int | None) -> None:
        """A step was taken: a file has lost its end, or is gone, and its inode may be another's next."""
        if word.startswith("cuts file"):
            number, left = (int(each) for each in word[10:].split(" to "))
            del self.frames[number][left:]
            self.offsets[number] = self.frames[number][-1][0] if left else 0
        elif word.startswith("removes") and gone is not None:
            number = self.numbers.pop(gone)
            self.removed[gone] = number, self.frames.pop(number, []), self.offsets.pop(number, 0)


def watch(path: Path, place: Path) -> None:
    """From here on this program tells what it does to the archive at path."""
    teller = Teller(Archive(path), place)
    for name in STEPS:
        setattr(os, name, _telling(teller, name, getattr(os, name)))
    os.open = _opening(teller, os.open)
    sys.addaudithook(lambda event, arguments: _spawning(teller, event, arguments))
    if "scribe.programs.rotate" in sys.orig_argv:
        from scribe.stream import rotation

        rotation.rotate = _rotating(teller, rotation.rotate)


def _telling(teller: Teller, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def told(*arguments: Any, **named: Any) -> Any:
        if not _concerns(teller, name, arguments):
            return function(*arguments, **named)
        with teller.locked():
            observed = teller.observe()
            words = teller.words_before(name, *arguments)
            if not words:
                return function(*arguments, **named)
            gone = os.stat(arguments[0]).st_ino if words[0].startswith("removes") else None
            teller.say([*(f" {word}" for word in observed), *(f"?{word}" for word in words)])
            try:
                result = function(*arguments, **named)
            except BaseException:
                teller.say(["x"])
                raise
            for word in words:
                teller.forget(word, gone)
            teller.say(["!"])
            return result

    return told


def _concerns(teller: Teller, name: str, arguments: tuple[Any, ...]) -> bool:
    """Whether a system call may be one that has a word; most are not, and nobody waits for them."""
    if isinstance(arguments[0], int):
        path = os.readlink(f"/proc/self/fd/{arguments[0]}")
    else:
        path = os.fspath(arguments[-1] if name in ("rename", "replace") else arguments[0])
    return str(path).startswith(str(teller.archive.path))


def _opening(teller: Teller, function: Callable[..., int]) -> Callable[..., int]:
    def opens(path: Any, flags: int, *arguments: Any, **named: Any) -> int:
        if not flags & os.O_CREAT or path != teller.stream or os.path.exists(path):
            return function(path, flags, *arguments, **named)
        with teller.locked():
            teller.say([f" {word}" for word in teller.observe()])
            descriptor = function(path, flags, *arguments, **named)
            teller.say([f" {word}" for word in teller.observe()])
            return descriptor

    return opens


def _spawning(teller: Teller, event: str, arguments: tuple[Any, ...]) -> None:
    if event != "subprocess.Popen":
        return
    start = next((each for each in arguments[1] if str(each).startswith("--startpos=")), None)
    if start is None:
        return
    with teller.locked():
        words = teller.observe()
        teller.heard = 0  # its messages begin anew
        teller.say([f" {word}" for word in [*words, f"spawn at {parse_lsn(start.partition('=')[2])}"]])


def _rotating(teller: Teller, function: Callable[..., Any]) -> Callable[..., Any]:
    def rotates(*arguments: Any, **named: Any) -> Any:
        report = function(*arguments, **named)
        with teller.locked():
            teller.say([f" {word}" for word in [*teller.observe(), f"archived up to {report.archived}"]])
        return report

    return rotates
