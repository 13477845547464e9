"""Whether a run, told in the model's words, is one of the model's: each word is a step, enabled or not, and what must
hold is asked after each.

The words are those that protocol.pml prints, so that a simulation of the model is a trace as a run of the programs is:
what is accepted of one and refused of the other would show that the two differ. LSNs may be of any size here, and
transactions of any number; the model itself has four records of WAL. What a word demands is what the step of that name
demands in the model: docs/protocol.md.
"""

from __future__ import annotations

import contextlib
import copy
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

NEVER = 1 << 63  # where a transaction ends whose end was never seen
_SEEN = re.compile(r" (?:begin|end) of (\d+)(?: to (\d+))? into")
ZERO = (-1, -1)  # a piece that a power cut has left as zeros
Piece = tuple[int, int]  # commit LSN; end LSN, 0 for a transaction's beginning


class RefusedError(Exception):
    """The model has no such step here."""


def demand(condition: bool, what: str) -> None:
    """Raise RefusedError unless the condition holds."""
    if not condition:
        raise RefusedError(what)


@dataclass
class File:
    """A file of the spool; kept: how many of its pieces are on disk."""

    pieces: list[Piece] = field(default_factory=list)
    kept: int = 0


@dataclass
class Scan:
    """What is whole in the spool. torn: something follows that is not; bad: at something that no transaction has."""

    done: dict[int, int] = field(default_factory=dict)  # commit LSN: end LSN
    position: int = 0
    torn: bool = False
    bad: bool = False


@dataclass
class Model:
    """The state. history: commit LSN to end LSN of what the server has committed; stream, parts: names to files."""

    archived: int = 0
    history: dict[int, int] = field(default_factory=dict)
    files: dict[int, File] = field(default_factory=dict)
    stream: int = 0  # 0: there is none
    parts: dict[int, int] = field(default_factory=dict)
    d_stream: int = 0
    d_parts: dict[int, int] = field(default_factory=dict)
    d_archived: int = 0
    segments: dict[int, int] = field(default_factory=dict)  # the transactions in them
    ends: list[int] = field(default_factory=list)
    cuts: set[int] = field(default_factory=set)
    bases: set[int] = field(default_factory=set)
    data_on_disk: bool = False
    sent: int = 0
    said: int = 0
    names: list[tuple[int, dict[int, int]]] = field(default_factory=list)  # stream and parts since they were on disk
    steps: int = field(default=0, compare=False)

    # --- the words ----------------------------------------------------------------------------------------------

    def accept(self, words: Iterable[str]) -> None:
        """Take steps. Raises RefusedError, which names the first that the model does not have."""
        for number, word in enumerate(words, 1):
            found = ((pattern.fullmatch(word), step) for pattern, step in WORDS)
            match, step = next((each for each in found if each[0] is not None), (None, None))
            if match is None or step is None:
                raise RefusedError(f'step {number}, "{word}": the model has no such word')
            try:
                step(self, *(int(each) if each.isdigit() else each for each in match.groups()))
            except RefusedError as error:
                raise RefusedError(f'step {number}, "{word}": {error}') from None
            self.steps += 1

    # pg_recvlogical and the server

    def commit(self, lsn: int, end: int) -> None:
        """A transaction is committed on the server."""
        demand(not self.history or lsn >= max(self.history.values()), "it is committed before an earlier one")
        self.history[lsn] = end

    def begin(self, lsn: int, number: int) -> None:
        """The beginning of a transaction reaches the spool."""
        demand(lsn in self.history, "the server has no such transaction")
        self._file(number).pieces.append((lsn, 0))

    def end(self, lsn: int, end: int, number: int) -> None:
        """And its end."""
        pieces = self._file(number).pieces
        before = [piece for _, each in self._tape() for piece in each.pieces]
        demand(bool(before) and before[-1] == (lsn, 0), "its beginning does not stand before it")
        demand(self.history[lsn] == end, "it ends elsewhere")
        pieces.append((lsn, end))

    def sync_file(self, number: int) -> None:
        """A file's contents are on disk."""
        if number in self.files:
            self.files[number].kept = len(self.files[number].pieces)

    def sync_pieces(self, pieces: int, number: int) -> None:
        """So many pieces of a file are on disk, at least: they were confirmed."""
        if number in self.files:
            self.files[number].kept = max(self.files[number].kept, pieces)

    def confirm(self, lsn: int) -> None:
        """The server is told that what ends before an LSN is safe."""
        self.sent = max(self.sent, lsn)
        self._check_kept(durable=True)

    # scribe-stream

    def spawn(self, position: int) -> None:
        """pg_recvlogical is started; what lies before its position is counted on."""
        scan = self.scan()
        demand(not scan.torn, "a torn end stands in the spool")
        demand(position == max(scan.position, self.archived), f"the spool ends at {max(scan.position, self.archived)}")
        demand(self.stream != 0, "there is no file to write to")
        demand((self.d_stream, self.d_parts) == (self.stream, self.parts), "the spool's names are not on disk")
        unsynced = [name for name, each in self._tape() if each.kept != len(each.pieces)]
        demand(not unsynced, f"file {unsynced[:1]} is not on disk")
        self._check_kept()

    def cut(self, number: int, pieces: int) -> None:
        """A file loses its end."""
        each = self._file(number)
        demand(pieces <= len(each.pieces), "it is shorter")
        demand(list(self._tape())[-1][0] == number, "a later file is there still")
        self._lose(lambda: each.pieces.__delitem__(slice(pieces, None)))
        each.kept = min(each.kept, pieces)

    def remove_stream(self) -> None:
        """The file being written goes: nothing of it is whole."""
        self._lose(lambda: setattr(self, "stream", 0))
        self._name()

    # scribe-rotate

    def close(self, part: int, number: int) -> None:
        """The file being written gets a part's name."""
        demand(number == self.stream, "it is not the file being written")
        demand(part > max(self.parts, default=0), "the number was used")
        self.parts[part], self.stream = number, 0
        self._name()

    def create(self, number: int) -> None:
        """A new file to write to; nobody else has it."""
        demand(self.stream == 0, "there is one")
        self.files[number], self.stream = File(), number
        self._name()

    def sync_names(self) -> None:
        """The spool's names are on disk."""
        self.d_stream, self.d_parts = self.stream, dict(self.parts)
        self.names = []

    def sync_data(self) -> None:
        """A segment's data is on disk."""
        self.data_on_disk = True

    def add_segment(self, start: int, stop: int) -> None:
        """A segment's manifest gets its name: it counts."""
        demand(start == self.archived, f"the archive ends at {self.archived}")
        demand(self.data_on_disk, "its data is not on disk")
        demand(stop > start, "it is empty")
        inside = [lsn for lsn in self.cuts | self.bases if start < lsn < stop]
        demand(not inside, f"a base's point lies within it: {inside}")
        for lsn, end in self.scan(closed=True).done.items():
            if start <= lsn and end <= stop:
                demand(lsn not in self.segments, "a transaction stands twice")
                self.segments[lsn] = end
        wanted = (lsn for lsn, end in self.history.items() if lsn >= start and end <= stop)
        missing = [lsn for lsn in wanted if lsn not in self.segments]
        demand(not missing, f"it continues over a gap: {missing[:3]}")
        self.archived, self.data_on_disk = stop, False
        self.ends.append(stop)

    def sync_segments(self) -> None:
        """The segments' names are on disk."""
        self.d_archived = self.archived

    def remove_part(self, part: int) -> None:
        """A part goes: segments hold all of it, durably; or a start cuts it, and nothing of it is whole."""
        demand(part in self.parts, "it is not there")
        name = self.parts[part]
        if list(self._tape())[-1][0] == name:
            self._lose(lambda: self.parts.pop(part))
            self._name()
            return
        demand(part == min(self.parts), "an earlier part is there still")
        durable = {lsn for lsn, end in self.segments.items() if end <= self.d_archived}
        held = [lsn for lsn, _ in self.files[name].pieces if lsn not in durable]
        demand(not held, f"segments do not hold what it holds: {held[:1]}")
        del self.parts[part]
        self._name()
        self._check_kept()

    def report(self, lsn: int) -> None:
        """A rotation reports up to where all is archived."""
        demand(lsn <= self.archived, f"the archive ends at {self.archived}")
        self.said = max(self.said, lsn)

    # scribe-dump

    def want_cut(self, lsn: int) -> None:
        """A base's point is on record: a segment has to end there."""
        self.cuts.add(lsn)

    def drop_cut(self, lsn: int) -> None:
        """The record of a base's point goes: a segment ends there."""
        demand(self.archived >= lsn, "it was not archived up to there")
        self.cuts.discard(lsn)

    def take_base(self, lsn: int) -> None:
        """A base is there."""
        demand(self.archived <= lsn or lsn in self.ends, "a segment goes over its point")
        self.bases.add(lsn)

    # what goes wrong

    def kill(self) -> None:
        """Programs are killed: what they wrote stays."""

    def break_chain(self) -> None:
        """The chain is broken, on record: nothing of what these traces do may bring that about."""
        raise RefusedError("no chain breaks without a fault that loses something")

    def cut_power(self, mode: int) -> None:
        """Bytes that were not synced are there (0), gone (1), or zeros (2)."""
        for each in self.files.values():
            if mode and each.kept < len(each.pieces):
                each.pieces[each.kept :] = [ZERO] * (mode - 1)
            each.kept = len(each.pieces)
        self.data_on_disk = False

    def keep_names(self) -> None:
        """Names in the spool that were not synced are there."""

    def lose_names(self) -> None:
        """They are as they were before."""
        self.stream, self.parts = self.d_stream, dict(self.d_parts)

    def lose_segments(self) -> None:
        """A segment's name that was not synced is gone."""
        self.archived = self.d_archived
        self.segments = {lsn: end for lsn, end in self.segments.items() if end <= self.archived}
        self.ends = [end for end in self.ends if end <= self.archived]

    def return_power(self) -> None:
        """What must hold after it."""
        self.sync_names()
        self.sync_segments()
        demand(self.archived >= self.said, "what was reported as archived is gone")
        self._check_kept()

    def find(self, archived: int, pieces: int) -> None:
        """What is there after a power cut: where segments end, and how many pieces the spool has."""
        demand(archived == self.archived, f"the archive should end at {self.archived}")
        there = sum(len(each.pieces) for _, each in self._tape())
        demand(pieces == there, f"the spool should have {there} pieces")

    # the same of a real file system, which keeps what was synced and of the rest some of what came first

    def find_archived(self, archived: int) -> None:
        """Power was cut; segments whose names were not synced may be gone."""
        demand(archived >= self.d_archived, f"a segment is gone whose name was on disk: {self.d_archived}")
        demand(archived in (self.archived, self.d_archived, *self.ends), "no segment ended there")
        self.d_archived = archived
        self.lose_segments()
        self.data_on_disk = False

    def find_names(self, stream: int, parts: str) -> None:
        """The spool has these names after a power cut: as they were on disk, or at some time since."""
        found = (stream, {int(part): int(number) for part, number in re.findall(r"(\d+):(\d+)", parts)})
        known = [(self.d_stream, self.d_parts), *self.names]
        demand(found in known, f"the spool's names should be one of {known}")
        self.stream, self.parts = found
        self.sync_names()

    def find_cuts(self, cuts: str) -> None:
        """These points of bases are on record after a power cut."""
        found = {int(each) for each in cuts.split()}
        demand(found <= self.cuts, "there are others on record")
        self.cuts = found

    def find_pieces(self, number: int, pieces: int) -> None:
        """So many of a file's pieces are there after a power cut."""
        each = self._file(number)
        demand(pieces >= each.kept, f"{each.kept} pieces were on disk")
        demand(pieces <= len(each.pieces), "it had less")
        del each.pieces[pieces:]
        each.kept = pieces

    # --- what they use ------------------------------------------------------------------------------------------

    def _name(self) -> None:
        """The spool's names are others now, but not on disk yet."""
        self.names.append((self.stream, dict(self.parts)))

    def _file(self, number: int) -> File:
        demand(number in self.files, "there is no such file")
        return self.files[number]

    def _tape(self, *, closed: bool = False) -> Iterator[tuple[int, File]]:
        for part in sorted(self.parts):
            yield self.parts[part], self.files[self.parts[part]]
        if self.stream and not closed:
            yield self.stream, self.files[self.stream]

    def scan(self, *, closed: bool = False) -> Scan:
        """The whole transactions of the spool's files as one tape; see scan() of the model."""
        found, opened, front = Scan(), -1, True
        for _, each in self._tape(closed=closed):
            for lsn, end in each.pieces:
                if found.bad or (lsn, end) == ZERO:
                    found.bad = found.torn = True
                elif end and opened == lsn:
                    found.done[lsn] = found.position = end
                    found.torn, opened = False, -1
                elif end and not (front and end <= self.archived):
                    found.bad = found.torn = True
                elif not end:
                    found.bad = opened >= 0 or lsn < found.position
                    opened, found.torn = lsn, True
                front = False
        if found.bad:
            found.torn = True
        return found

    def _lose(self, change: Callable[[], object]) -> None:
        """Take something from the spool's end: nothing that is whole may go."""
        before = self.scan().done
        change()
        gone = before.keys() - self.scan().done.keys()
        demand(not gone, f"what is whole goes with it: {sorted(gone)[:1]}")

    def _check_kept(self, *, durable: bool = False) -> None:
        """Nothing that was confirmed is missing; durable: it is on disk."""
        scan = self.scan().done
        if durable:
            reached = {end for _, each in self._tape() for lsn, end in each.pieces[: each.kept] if end}
            scan = {lsn: end for lsn, end in scan.items() if end in reached}
        held = self.segments.keys() | scan.keys()
        lost = [lsn for lsn, end in self.history.items() if end <= self.sent and lsn not in held]
        demand(not lost, f"what was confirmed is missing: {lost[:3]}")


WORDS: tuple[tuple[re.Pattern[str], Callable[..., None]], ...] = tuple(
    (re.compile(text), step)
    for text, step in (
        (r"commit (\d+) to (\d+)", Model.commit),
        (r"begin of (\d+) into file (\d+)", Model.begin),
        (r"end of (\d+) to (\d+) into file (\d+)", Model.end),
        (r"fsync of file (\d+)", Model.sync_file),
        (r"(\d+) pieces of file (\d+) are on disk", Model.sync_pieces),
        (r"confirms (\d+)", Model.confirm),
        (r"spawn at (\d+)", Model.spawn),
        (r"cuts file (\d+) to (\d+)", Model.cut),
        (r"removes the file being written", Model.remove_stream),
        (r"part (\d+) is file (\d+)", Model.close),
        (r"file (\d+) is new", Model.create),
        (r"names are on disk", Model.sync_names),
        (r"data of a segment is on disk", Model.sync_data),
        (r"segment (\d+) to (\d+)", Model.add_segment),
        (r"segments are on disk", Model.sync_segments),
        (r"removes part (\d+)", Model.remove_part),
        (r"archived up to (\d+)", Model.report),
        (r"cut wanted at (\d+)", Model.want_cut),
        (r"cut at (\d+) is done", Model.drop_cut),
        (r"base at (\d+)", Model.take_base),
        (r"kill(?: \d+)?", Model.kill),
        (r"broken", Model.break_chain),
        (r"power cut, bytes (\d)", Model.cut_power),
        (r"names stay", Model.keep_names),
        (r"names go", Model.lose_names),
        (r"segments go", Model.lose_segments),
        (r"power is back", Model.return_power),
        (r"there is (\d+) archived and (\d+) in the spool", Model.find),
        (r"archived up to (\d+) is found", Model.find_archived),
        (r"file (\d+) is found, and parts((?: \d+:\d+)*)", Model.find_names),
        (r"cuts are found((?: \d+)*)", Model.find_cuts),
        (r"file (\d+) is found with (\d+) pieces", Model.find_pieces),
    )
)


def accept_told(lines: Iterable[str], start: int) -> tuple[Model, int]:
    """Return the model after what programs told (module telling), and of how many steps nobody knows whether they were
    taken, since a program was killed: the model has to accept one of the two. start: LSN at which the archive begins.

    Raises RefusedError.
    """
    lines = list(lines)
    seen = [match for match in map(_SEEN.match, lines) if match]
    history = {int(match[1]): int(match[2] or NEVER) for match in seen} | {int(m[1]): int(m[2]) for m in seen if m[2]}
    models = [Model(archived=start, d_archived=start, history=dict(sorted(history.items())))]
    begun, unknown = "", 0
    for number, line in enumerate(lines, 1):
        mark, word = line[:1], line[1:]
        if mark == "!":
            models, begun = _each(models, begun, number), ""
        elif mark == "x":
            begun = ""
        else:
            if begun:
                unknown += 1
                taken = [copy.deepcopy(model) for model in models]
                with contextlib.suppress(RefusedError):
                    models = models + [m for m in _each(taken, begun, number) if m not in models]
                begun = ""
            if mark == "?":
                begun = word
            else:
                models = _each(models, word, number)
    return models[0], unknown


def without(lines: Iterable[str], step: str) -> list[str]:
    """Return what programs told without the steps whose words begin so."""
    kept: list[str] = []
    left_out = False
    for line in lines:
        if line[:1] in "!x":
            kept += [] if left_out else [line]
        elif not (left_out := line[1:].startswith(step)):
            kept.append(line)
    return kept


def _each(models: list[Model], word: str, number: int) -> list[Model]:
    """Return those of the models that accept a word. Raises RefusedError if none does."""
    accepted, refused = [], None
    for model in models:
        try:
            model.accept([word])
            accepted.append(model)
        except RefusedError as error:
            refused = error
    if not accepted:
        raise RefusedError(f"line {number}: {refused}")
    return accepted
