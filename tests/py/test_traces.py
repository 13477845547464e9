"""Runs of the programs' own code are runs of the model; a run with a step taken out, or out of its order, is none."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cluster import ROOT

sys.path.insert(0, str(ROOT / "tests/model"))

from rounds import FAULTS, check, play
from traces import WORDS, RefusedError, accept_told

pytestmark = pytest.mark.unit
MODEL = (ROOT / "tests/model/protocol.pml").read_text()
# What has to be there for a later word to be allowed; a word, and the one before which it goes.
STEPS = (
    r"names are on disk",
    r"fsync of file \d+",
    r"data of a segment is on disk",
    r"segments are on disk",
    r"segment \d+ to \d+",
    r"part \d+ is file \d+",
    r"end of \d+ to \d+ into file \d+",
)


@pytest.fixture(scope="module")
def runs() -> list[list[str]]:
    """The words of some archives' lives."""
    return [play(f"test-{number}", FAULTS) for number in range(4)]


def test_the_model_accepts_what_the_programs_do(runs: list[list[str]]) -> None:
    models = [check(words) for words in runs]
    assert sum(len(model.segments) for model in models) > 10
    words = {re.sub(r"\d+", "N", word) for run in runs for word in run}
    assert len(words) > 15, words


@pytest.mark.parametrize("step", STEPS)
def test_a_run_without_a_step_is_refused(runs: list[list[str]], step: str) -> None:
    """All of one kind are left out, as if the programs did without."""
    refused = 0
    for words in runs:
        left = [word for word in words if not re.fullmatch(step, word)]
        assert len(left) < len(words)
        refused += is_refused(left)
    assert refused == len(runs)


MUTATIONS: dict[str, Callable[[str], str]] = {
    r"spawn at (\d+)": lambda lsn: f"spawn at {int(lsn) + 16}",
    r"confirms (\d+)": lambda lsn: f"confirms {int(lsn) + 16}",
    r"segment \d+ to (\d+)": lambda lsn: f"segment {int(lsn) - 4} to {lsn}",
    r"archived up to (\d+)": lambda lsn: f"archived up to {int(lsn) + 16}",
}


@pytest.mark.parametrize("word", MUTATIONS)
def test_a_run_with_another_position_is_refused(runs: list[list[str]], word: str) -> None:
    for words in runs:
        found = [(at, match) for at, each in enumerate(words) if (match := re.fullmatch(word, each))]
        changed = [[*words[:at], MUTATIONS[word](match[1]), *words[at + 1 :]] for at, match in found]
        # one is enough: beyond the last transaction any position may be confirmed
        assert any(map(is_refused, changed))


def test_a_part_that_goes_before_its_segment_counts_is_refused(runs: list[list[str]]) -> None:
    refused = 0
    for words in runs:
        index = next((i for i, each in enumerate(words) if each.startswith("segment ")), 0)
        part = next((each for each in words[index:] if each.startswith("removes part")), "")
        refused += bool(part) and is_refused([*words[:index], part, *words[index:]])
    assert refused > 1


def is_refused(words: list[str]) -> bool:
    try:
        check(words)
    except RefusedError:
        return True
    return False


def test_the_words_are_those_that_the_model_prints() -> None:
    printed = {re.sub(r"%d", "1", text) for text in re.findall(r'printf\("([^"]*?)\\n"', MODEL)}
    unknown = [word for word in printed if not any(pattern.fullmatch(word) for pattern, _ in WORDS)]
    silent = {word for word in unknown if word.split()[0] in SILENT}
    assert set(unknown) == silent, set(unknown) - silent
    unused = [pattern.pattern for pattern, _ in WORDS if not any(pattern.fullmatch(word) for word in printed)]
    # told by who looks at the disk, or at what was confirmed
    assert unused == [
        r"(\d+) pieces of file (\d+) are on disk",
        r"there is (\d+) archived and (\d+) in the spool",
        *(pattern for pattern in (pattern.pattern for pattern, _ in WORDS) if "found" in pattern),
    ]


def told(words: list[str], unknown: int = -1) -> list[str]:
    """As real programs tell their steps; a kill leaves it unknown whether one of them was taken."""
    lines: list[str] = []
    for at, word in enumerate(words):
        if word.startswith(("begin of", "end of", "confirms")):  # pg_recvlogical tells nothing
            lines.append(f" {word}")
        elif not word.startswith("commit "):
            lines += [f"?{word}"] if at == unknown else [f"?{word}", "!"]
    return lines


def test_a_step_of_which_nobody_knows_whether_it_was_taken_may_be_either(runs: list[list[str]]) -> None:
    for words in runs:
        at = next(i for i, each in enumerate(words) if each.startswith("segment "))
        whole, steps = accept_told(told(words), 0x100)
        assert (steps, len(whole.segments) > 0) == (0, True)
        taken, steps = accept_told(told(words, unknown=at), 0x100)
        assert (steps, taken.segments) == (1, whole.segments)
        killed = [*told(words[: at + 1], unknown=at), " kill"]
        assert accept_told(killed, 0x100)[0].segments == {}
        with pytest.raises(RefusedError):
            accept_told(told([each for each in words if not each.startswith("fsync of file")]), 0x100)


# Two transactions, one of which was confirmed, and a rotation that has just begun.
CUT_OFF = """
file 1 is new
names are on disk
begin of 512 into file 1
end of 512 to 520 into file 1
2 pieces of file 1 are on disk
confirms 520
begin of 528 into file 1
end of 528 to 536 into file 1
cut wanted at 524
part 1 is file 1
file 2 is new
archived up to 256 is found
"""


@pytest.mark.parametrize(
    ("found", "accepted"),
    [
        ("file 1 is found, and parts|file 1 is found with 2 pieces", True),
        ("file 0 is found, and parts 1:1|file 1 is found with 3 pieces", True),
        ("file 2 is found, and parts 1:1|cuts are found 524|file 1 is found with 4 pieces", True),
        ("file 1 is found, and parts|file 1 is found with 1 pieces", False),  # it was confirmed
        ("file 1 is found, and parts|file 1 is found with 5 pieces", False),
        ("file 0 is found, and parts|cuts are found", False),  # the name was on disk
        ("file 1 is found, and parts 1:1|cuts are found", False),
        ("file 1 is found, and parts|cuts are found 528", False),
    ],
)
def test_what_is_found_after_a_power_cut_was_there_before_it(found: str, accepted: bool) -> None:
    lines = [f" {word}" for word in [*CUT_OFF.strip().splitlines(), *found.split("|"), "power is back"]]
    if accepted:
        assert accept_told(lines, 0x100)[0].sent == 520
    else:
        with pytest.raises(RefusedError):
            accept_told(lines, 0x100)


def test_a_segment_whose_name_was_on_disk_is_found() -> None:
    words = ["file 1 is new", "data of a segment is on disk", "segment 256 to 300", "segments are on disk"]
    with pytest.raises(RefusedError, match="a segment is gone whose name was on disk"):
        check([*words, "archived up to 256 is found"])


# What the model prints, and no trace of the programs' tells: it is of the server, or changes nothing of the state.
SILENT = ("checkpoint", "server", "promotion", "receiver", "reopens:", "start:")


@pytest.mark.parametrize("seed", range(1, 13))
def test_runs_of_the_model_are_accepted(seed: int, tmp_path: Path) -> None:
    """What the model itself does at random, with kills and power cuts, is not refused: the two are of one mind."""
    if shutil.which("spin") is None:
        pytest.skip("place: spin is not installed")
    shutil.copy(ROOT / "tests/model/protocol.pml", tmp_path)
    defines = ["-DW=4", "-DCUTS=1", "-DKILLS=1", "-DROTATIONS=3", "-DDUMPS=1"]
    command = ["spin", *defines, f"-n{seed}", "-u3000", "protocol.pml"]
    text = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False).stdout
    words = [word for line in text.splitlines() if (word := line.strip()).split() and word.split()[0] not in SILENT]
    words = [word for word in words if any(pattern.fullmatch(word) for pattern, _ in WORDS)]
    assert len(words) > 10
    check(words, start=0)
