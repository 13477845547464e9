"""Programs that tell what they do to the disk, in the model's words, and the model's judgement of a harness's run."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

from cluster import ROOT
from source import Scribe
from traces import RefusedError, accept_told, without

from scribe.archive.layout import Archive
from scribe.common.lsn import parse_lsn

TOLD_STEPS = ("names are on disk", "data of a segment is on disk", "segment ", "file ")


def let_tell(scribe: Scribe, place: Path) -> Path:
    """From here on the programs tell what they do to the disk; return the file that has their words."""
    place.mkdir(mode=0o777)
    launchers = place / "bin"
    launchers.mkdir()
    words = ROOT / "tests/model/told"
    for launcher in (ROOT / "bin").iterdir():
        module = launcher.name.removeprefix("scribe-").replace("globals", "globals_")
        (launchers / launcher.name).write_text(
            f"#!/bin/sh\nexport PYTHONPATH={words}:{ROOT}/lib\n"
            f'exec {ROOT}/.venv/bin/python -P -m scribe.programs.{module} "$@"\n'
        )
        (launchers / launcher.name).chmod(0o755)
    scribe.bin = launchers
    scribe.settings |= {"TOLD_ARCHIVE": str(scribe.archive), "TOLD_TO": str(place)}
    return place / "words"


def judge_told(words: Path, archive: Path) -> str:
    """Let the model accept what the programs told. Raises RefusedError."""
    start = parse_lsn(Archive(archive).identity()["chain_from_lsn"])
    lines = words.read_text().splitlines()
    try:
        model, unknown = accept_told(lines, start)
    except RefusedError as refused:
        number = re.match(r"line (\d+)", str(refused))
        last = int(number[1]) if number else len(lines)
        told = "\n".join(lines[max(0, last - 40) : last])
        raise RefusedError(f"{refused}; what was told before that:\n{told}") from None
    for step in TOLD_STEPS:  # or its acceptance would say nothing
        with contextlib.suppress(RefusedError):
            accept_told(without(lines, step), start)
            raise AssertionError(f'the model accepts the same without "{step}", too')
    return (
        f"the model accepts {model.steps} steps, with {len(model.segments)} transactions archived, and none of"
        f" these runs with a kind of step left out; of {unknown} steps nobody knows whether a kill came before them"
    )
