"""scribe-log beside zstdgrep on the same segments, and what manifests alone tell of very many segments."""

from __future__ import annotations

import os
import random
import resource
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cluster import ROOT
from handmade import Handmade
from place import MB, Bench, median, say

TABLES = 20
SEGMENTS = 8
MANY = 10_000  # segments
KEY = 1242
DDL = "-- ddl CREATE TABLE\nCREATE TABLE public.made_{0} (id int)\n;\n-- ddl end\n-- rows 1 ddl\n"


def transactions(chance: random.Random, number: int) -> Iterator[str]:
    """Yield transactions of an application: single rows, some rows together, and a COPY now and then."""
    for _ in range(number):
        table = f"public.t{chance.randrange(TABLES)}"
        key, drawn = chance.randrange(2_000), chance.random()
        if drawn < 0.4:
            what = f"price = '{key}.50', note = 'changed {key} times'"
            yield f"UPDATE {table} SET {what} WHERE id = {key};\n-- rows 1 updated\n"
        elif drawn < 0.7:
            rows = ",\n".join(f"({key + n}, 'some name {n}', '12.50')" for n in range(5))
            yield f"INSERT INTO {table} (id, name, price) VALUES\n{rows}; -- 5 rows\n-- rows 5 inserted\n"
        elif drawn < 0.9:
            yield f"DELETE FROM {table} WHERE id IN ({key}, {key + 1}, {key + 2}); -- 3 rows\n-- rows 3 deleted\n"
        else:
            rows = "".join(f"{key + n}\tsome name {n}\t12.50\n" for n in range(50))
            yield f"COPY {table} (id, name, price) FROM stdin;\n{rows}\\.\n-- rows 50 inserted\n"


def measure_searching(bench: Bench) -> None:
    """MB of plain SQL that are searched per second of CPU, and the seconds of what manifests tell."""
    place = bench.directory / "searched"
    archive = Handmade(place)
    chance = random.Random(1)
    size = 0
    for _ in range(SEGMENTS):
        path = archive.segment(transactions(chance, bench.rows // 16), told=True)
        size += int(path.read_text().partition('"plain_bytes": ')[2].partition(",")[0])
    files = sorted(str(path) for path in (place / "incremental").glob("*.zst"))
    ways = {
        "log": [str(ROOT / "bin/scribe-log"), "--archive", str(place), "--table", "t7", "--key", f"id={KEY}", "--json"],
        "table": [str(ROOT / "bin/scribe-log"), "--archive", str(place), "--table", "t7", "--stat"],
        "grep": ["zstdgrep", "-h", "-E", rf"^(UPDATE|DELETE FROM) public\.t7 .*\b{KEY}\b", *files],
    }
    cpu: dict[str, list[float]] = {way: [] for way in ways}
    wall: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(bench.rounds):
        for way, command in ways.items():
            seconds, used = run(command)
            wall[way].append(seconds)
            cpu[way].append(used)
    shutil.rmtree(place)
    bench.figures["search"] = {
        "plain_mb": round(size / MB, 1),
        **{f"{way}_cpu_s": median(cpu[way]) for way in ways},
        **{f"{way}_s": median(wall[way]) for way in ways},
        "manifests": measure_manifests(bench),
    }
    say(f"search: {bench.figures['search']}")


def measure_manifests(bench: Bench) -> dict[str, Any]:
    """Return the seconds of CPU that questions take of which manifests alone give the answers."""
    place = bench.directory / "many"
    archive = Handmade(place)
    number = MANY if bench.rows >= MANY else 1000
    for n in range(number):
        last = DDL.format(n) if n % 100 == 0 else f"TRUNCATE ONLY public.t{n % TABLES};\n-- rows 1 truncated\n"
        archive.segment([f"INSERT INTO public.t1 (id) VALUES ({n});\n-- rows 1 inserted\n", last], told=True)
    questions = {"ddl": ["--kind", "ddl"], "truncate": ["--kind", "truncate", "-n", "20"], "points": ["--points"]}
    found: dict[str, Any] = {"segments": number}
    for name, arguments in questions.items():
        runs = [run([str(ROOT / "bin/scribe-log"), "--archive", str(place), *arguments]) for _ in range(bench.rounds)]
        found[f"{name}_s"] = median([seconds for seconds, _ in runs])
        found[f"{name}_cpu_s"] = median([used for _, used in runs])
    shutil.rmtree(place)
    return found


def run(command: Sequence[str]) -> tuple[float, float]:
    """Run a search; return its seconds, and its seconds of CPU."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(command, stdout=subprocess.PIPE, env=os.environ | {"PAGER": "cat"}, check=False)
    seconds, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode > (command[0] == "zstdgrep") or not done.stdout:  # 1 if there is nothing in the last file
        raise RuntimeError(f"{Path(command[0]).name} found nothing, or failed: {done.returncode}")
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def report_searching(entry: dict[str, Any]) -> list[str]:
    """Return lines of the report."""
    size, grep = entry["plain_mb"], entry["grep_cpu_s"]
    lines = []
    for way, what in (("log", "--table --key"), ("table", "--table --stat")):
        cpu = entry[f"{way}_cpu_s"]
        lines.append(
            f"| scribe-log {what} over {size} MB of SQL in {SEGMENTS} segments | {size / cpu:.0f} MB per second of CPU,"
            f" {entry[f'{way}_s']} s | zstdgrep {size / grep:.0f} MB, {grep / cpu:.2f} |"
        )
    told = entry["manifests"]
    asked = ", ".join(f"--{name} {told[f'{name}_s']} s ({told[f'{name}_cpu_s']} s of CPU)" for name in ("points",))
    asked += "".join(f", --kind {n} {told[f'{n}_s']} s ({told[f'{n}_cpu_s']} s of CPU)" for n in ("ddl", "truncate"))
    return [*lines, f"| scribe-log over {told['segments']:,} segments, from manifests | {asked} | |"]
