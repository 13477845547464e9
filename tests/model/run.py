#!/usr/bin/env python3
"""The model of the protocol, checked by spin: every configuration holds, and with one step taken out it does not.

A configuration is what may go wrong at once, and how often. A planted one takes a step out of the model; it must fail,
or the model would not notice that step's absence. docs/protocol.md explains both. Nothing is written to the tree.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

MODEL = Path(__file__).with_name("protocol.pml")
MEMORY = 2500  # MB for one search at most
DEPTH = 100_000  # steps
PATIENCE = 600  # seconds for one search; one that is not finished proves nothing and counts as failed


@dataclass(frozen=True)
class Configuration:
    """What may go wrong, by the model's names; without is the step that is taken out, for which it must fail.

    also: another step that is taken out with it, where either alone is enough; long: its search is long enough to be
    worth the compiler's time, as that of every state is.
    """

    name: str
    defines: dict[str, int]
    without: str = ""
    says: str = ""
    also: str = ""
    long: bool = False
    depth: int = DEPTH  # less where a fault is known to be near: its search is not whole, and need not be


HOLDS = (
    Configuration("nothing goes wrong", {"W": 3, "ROTATIONS": 3}),
    Configuration("a program is killed", {"W": 3, "KILLS": 1}),
    Configuration("two programs are killed", {"W": 2, "KILLS": 2}),
    Configuration("the server forgets, and a program is killed", {"W": 2, "KILLS": 1, "CRASHES": 1}),
    Configuration("power is cut", {"W": 3, "CUTS": 1}),
    Configuration("the slot is dropped, then a new chain", {"W": 3, "DROPS": 1, "INITS": 1, "ROTATIONS": 1}),
    Configuration("the spool is damaged", {"W": 2, "DAMAGES": 1}),
    Configuration("power is cut, and a program is killed", {"W": 2, "CUTS": 1, "KILLS": 1, "ROTATIONS": 1}),
    Configuration("clean stops and a moved slot", {"W": 3, "STOPS": 1, "MOVES": 1, "ROTATIONS": 1}),
    Configuration("the spool is gone", {"W": 2, "LOSSES": 1}),
    Configuration("a second stream", {"W": 2, "STREAMS": 2, "KILLS": 1, "ROTATIONS": 1}),
    Configuration("a second stream, and two kills", {"W": 2, "STREAMS": 2, "KILLS": 2, "ROTATIONS": 0}),
    Configuration("two rotations at once", {"W": 2, "ROTATORS": 2, "KILLS": 1}),
    Configuration("a base, and a program is killed", {"W": 3, "DUMPS": 1, "KILLS": 1, "ROTATIONS": 1}),
    Configuration("a base, and a promotion", {"W": 3, "DUMPS": 1, "PROMOTIONS": 1, "ROTATIONS": 1}),
    Configuration("a new chain, and a promotion", {"W": 3, "PROMOTIONS": 1, "DROPS": 1, "INITS": 1, "ROTATIONS": 1}),
    Configuration("a new chain, and a program is killed", {"W": 3, "KILLS": 1, "DROPS": 1, "INITS": 1, "ROTATIONS": 1}),
)


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """Return the arguments."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", metavar="TEXT", help="configurations whose name contains TEXT")
    parser.add_argument("--jobs", type=int, default=2, help="searches at once (default 2)")
    parser.add_argument("--json", metavar="FILE", help="write the results there")
    return parser.parse_args(argv)


def search(configuration: Configuration, directory: Path) -> dict[str, object]:
    """Search every state of a configuration; return what came out."""
    directory.mkdir()
    shutil.copy(MODEL, directory)
    defines = [f"-D{name}={value}" for name, value in configuration.defines.items()]
    defines += [f"-D{step}" for step in (configuration.without, configuration.also) if step]
    began = time.monotonic()
    say("spin", *defines, "-a", MODEL.name, directory=directory)
    # optimised, the search takes half the time, and the compiler five seconds more
    effort = "-O1" if configuration.long or not configuration.without else "-O0"
    say("gcc", effort, "-w", "-DSAFETY", "-DNOFAIR", f"-DMEMLIM={MEMORY}", "-o", "pan", "pan.c", directory=directory)
    out = say("./pan", "-E", f"-m{configuration.depth}", directory=directory)
    fault = re.search(r"^pan:\d+: (?!wrote)(.*?)(?: \(at depth.*)?$", out, re.MULTILINE)
    whole = "Search not completed" not in out and "max search depth too small" not in out
    stored = re.search(r"(\d+) states, stored", out)
    trail = ""
    if (directory / f"{MODEL.name}.trail").exists():
        trail = say("spin", *defines, "-t", MODEL.name, directory=directory).partition("spin: trail ends")[0]
    return {
        "name": configuration.name,
        "without": configuration.without,
        "fault": fault[1] if fault else None,
        "whole": whole,
        "states": int(stored[1]) if stored else 0,
        "seconds": round(time.monotonic() - began, 1),
        "trail": [line.strip() for line in trail.splitlines()],
    }


def say(*command: str, directory: Path) -> str:
    """Run a command and return what it says."""
    result = subprocess.run(
        command,
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    if result.returncode and command[0] != "./pan":
        raise SystemExit(f"check-model: error: {command[0]} failed:\n{result.stdout}")
    return result.stdout


def judge(configuration: Configuration, found: dict[str, object]) -> bool:
    """Print one line, and the run that led to a fault nobody expected; return whether it is as it must be."""
    good = bool(found["fault"]) if configuration.without else found["fault"] is None and bool(found["whole"])
    what = (
        f"without {configuration.says or configuration.without}: {configuration.name}" if configuration.without else ""
    )
    seen = "open" if configuration in OPEN else "found"
    verdict = seen if configuration.without and good else "holds" if good else "MISSED" if what else "FAILED"
    print(f"{verdict:7} {found['states']:>9} states {found['seconds']:>6} s  {what or configuration.name}", flush=True)
    if not good and not configuration.without:
        print("\n".join([f"        {line}" for line in found["trail"]] + [f"        {found['fault']}"]))  # type: ignore[attr-defined]
    return good


def main(argv: list[str]) -> int:
    """Search all configurations; return 0 if each is as it must be."""
    arguments = parse_arguments(argv)
    if shutil.which("spin") is None:
        print("check-model: error: spin is not installed: the model was NOT checked", file=sys.stderr)
        print('check-model: hint: Run "apt-get install spin", then "make check-model" again.', file=sys.stderr)
        return 1
    every = HOLDS + PLANTED + OPEN
    chosen = [c for c in every if not arguments.only or arguments.only in f"{c.name} {c.without}"]
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="scribe-model-") as where, ThreadPoolExecutor(arguments.jobs) as pool:
        runs = [(c, pool.submit(search, c, Path(where, str(number)))) for number, c in enumerate(chosen)]
        results = [(judge(c, run.result()), run.result()) for c, run in runs]
    wrong = sum(not good for good, _ in results)
    print(f"{len(chosen)} configurations, {wrong} not as they must be, {time.monotonic() - began:.0f} s")
    if arguments.json:
        Path(arguments.json).write_text(json.dumps([found for _, found in results], indent=1) + "\n")
    return 1 if wrong or not chosen else 0


# Each takes one step out. The first are this project's own history.
PLANTED = (
    Configuration(
        "a moved slot", {"W": 3, "MOVES": 1, "ROTATIONS": 1}, "PLANT_no_confirmations", "comparing what was confirmed"
    ),
    Configuration(
        "a program is killed", {"W": 2, "KILLS": 1}, "PLANT_no_passing_over", "passing over what segments hold"
    ),
    Configuration(
        "the spool is damaged, and a program is killed",
        {"W": 3, "DAMAGES": 1, "KILLS": 1, "ROTATIONS": 1},
        "PLANT_cut_truncates_first",
        "removing later files before an earlier one is cut",
    ),
    Configuration("a program is killed", {"W": 2, "KILLS": 1}, "PLANT_no_cut", "cutting a torn end"),
    Configuration("nothing goes wrong", {"W": 3, "KILLS": 1}, "PLANT_start_beyond", "starting exactly at the end"),
    Configuration("power is cut", {"W": 2, "CUTS": 1}, "PLANT_no_directory_sync", "syncing the segments' directory"),
    Configuration("power is cut", {"W": 2, "CUTS": 1}, "PLANT_no_data_sync", "syncing a segment's data"),
    Configuration("nothing goes wrong", {"W": 3}, "PLANT_no_hup", "making pg_recvlogical take up a new file"),
    Configuration(
        "nothing goes wrong", {"W": 2, "KILLS": 1}, "PLANT_parts_removed_first", "keeping parts until a segment counts"
    ),
    Configuration("nothing goes wrong", {"W": 3}, "PLANT_torn_parts_removed", "keeping a part whose end is torn"),
    Configuration(
        "a base", {"W": 3, "DUMPS": 1, "ROTATIONS": 1}, "PLANT_no_cut_for_bases", "cutting segments at bases' points"
    ),
    Configuration(
        "a base", {"W": 3, "DUMPS": 1, "ROTATIONS": 1}, "PLANT_cut_outside_lock", "the lock round a base's point"
    ),
    Configuration("a promotion", {"W": 3, "PROMOTIONS": 1, "ROTATIONS": 1}, "PLANT_no_timeline", "comparing timelines"),
    Configuration("two rotations at once", {"W": 2, "ROTATORS": 2}, "PLANT_no_rotate_lock", "the rotations' lock"),
    Configuration("power is cut", {"W": 2, "CUTS": 1}, "PLANT_no_sync_at_start", "syncing the spool at a start"),
    Configuration(
        "power is cut, and a program is killed",
        {"W": 2, "CUTS": 1, "KILLS": 1, "ROTATIONS": 2},
        "PLANT_named_not_synced",
        "syncing what a killed rotation has named",
        long=True,
        depth=300,
    ),
    Configuration(
        "the spool is damaged",
        {"W": 2, "DAMAGES": 1, "ROTATIONS": 1},
        "PLANT_no_frames_check",
        "asking whether what is cut was confirmed",
    ),
    Configuration(
        "power is cut",
        {"W": 3, "CUTS": 1, "ROTATIONS": 1},
        "PLANT_rotation_before_open",
        "waiting until pg_recvlogical has opened its file",
        long=True,
    ),
    Configuration(
        "a promotion, and a program is killed",
        {"W": 3, "PROMOTIONS": 1, "KILLS": 1, "ROTATIONS": 0},
        "PLANT_record_late",
        "recording the timeline before anything can arrive",
    ),
    Configuration(
        "a base, and a promotion",
        {"W": 3, "DUMPS": 1, "PROMOTIONS": 1, "ROTATIONS": 1},
        "PLANT_base_of_left_history",
        "leaving out a base when the server has left its history",
    ),
    Configuration(
        "a base, and a promotion",
        {"W": 3, "DUMPS": 1, "PROMOTIONS": 1, "ROTATIONS": 1},
        "PLANT_dump_of_other_timeline",
        "refusing a base on a server that the stream has yet to see",
        long=True,
    ),
    Configuration(
        "a base, and a promotion",
        {"W": 3, "DUMPS": 1, "PROMOTIONS": 1, "ROTATIONS": 1},
        "PLANT_promoted_meanwhile",
        "looking at the server of a base's slot, too",
        long=True,
    ),
    Configuration(
        "a new chain, and a promotion",
        {"W": 3, "PROMOTIONS": 1, "DROPS": 1, "INITS": 1, "ROTATIONS": 0},
        "PLANT_stale_stream_json",
        "removing stream.json with the old chain's spool",
    ),
    Configuration(
        "a new chain, and a promotion",
        {"W": 3, "PROMOTIONS": 1, "DROPS": 1, "INITS": 1, "ROTATIONS": 1},
        "PLANT_rewound_meanwhile",
        "comparing a new chain's point with what is archived",
    ),
    Configuration(
        "a second stream, and two kills",
        {"W": 2, "STREAMS": 2, "KILLS": 2, "ROTATIONS": 0},
        "PLANT_no_stray",
        "ending a stray pg_recvlogical",
    ),
    Configuration(
        "a second stream",
        {"W": 2, "STREAMS": 2, "ROTATIONS": 0},
        "PLANT_no_stream_lock",
        "the stream's lock and ending a stray pg_recvlogical",
        also="PLANT_no_stray",
    ),
)

# What the model found in the programs and is not corrected; the other configurations leave it out.
OPEN = (
    Configuration(
        "a promotion",
        {"W": 3, "PROMOTIONS": 1, "ROTATIONS": 0},
        "OPEN_other_server",
        "a connection that is led to the server that was looked at",
    ),
)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
