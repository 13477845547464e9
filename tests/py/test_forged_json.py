"""JSON of an archive that somebody has written by hand: whatever stands there, a program says in a line what is wrong.

Any value at any place, in every file that is read as JSON. PG_SCRIBE_FORGERIES=N runs so many, of PG_SCRIBE_SEED=N.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster import ROOT, Cluster
from handmade import Handmade
from restoring import DDL, TABLES, insert
from starting import run_program

from scribe.common.dialect import Sequence

RUNS = int(os.environ.get("PG_SCRIBE_FORGERIES", "25"))
SEED = int(os.environ.get("PG_SCRIBE_SEED", "14"))
GONE, INFINITE = "<gone>", "<infinite>"
ODD: list[Any] = [
    *(GONE, INFINITE, None, True, -1, 10**60, 1.5, 1e308, "", "\x00", "\ud800", "x\ny", [], {}, [None], [[[]]]),
    *({"x": None}, "9999-99-99T99:99:99Z", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "20260230T000000Z"),
    *("2026-11-22 03:00:05+00 BC", "FFFFFFFF/FFFFFFFF", "../../../etc/passwd", "\u0663" * 8, "1" * 30, "A" * 100000),
]
T = "2026-11-22T03:00:05Z"
LOOKS = [
    *(
        "log --stat",
        "log --points",
        "log --points --json",
        "log",
        "log --sql",
        "log --kind ddl --json",
        "log --role app",
    ),
    *("log --table public.t -n 2 --commands", "log --blame t id=1", "log --since 2026-11-22T03:00:02Z --stat"),
    *("status --offline --json", "status --offline", "report --offline -o /dev/stdout", "check -t 1"),
    *(
        "check -t 1 --format json",
        "check -t 1 --format prometheus",
        "verify -n",
        "verify --read 10%",
        "prune",
        "rotate -n",
    ),
    *(
        "prune --json",
        "restore --list",
        "restore --list --json",
        "restore --plan -d x",
        "restore -n -d x",
        "compact -n",
    ),
    *(
        "restore -n -d x --include-spool",
        "restore --plan -d x --target-name lunch",
        "dump --from-archive -n",
        "sync -n",
    ),
    *("restore -n -d x --target-time 2026-11-22T03:00:02Z", "undo --xid 701 -n"),
]


def write(path: Path, value: Any) -> None:
    path.parent.mkdir(exist_ok=True, mode=0o700)
    path.write_text(json.dumps(value).replace(f'"{INFINITE}"', "1e999"))


def change(path: Path, **more: Any) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(path.read_text()) | more
    write(path, value)
    return value


def sign_meta(base: Path) -> None:
    """Let a base's manifest fit its meta.json."""
    content = (base / "meta.json").read_bytes()
    files = json.loads((base / "manifest.json").read_text())["files"]
    for entry in files:
        if entry["name"] == "meta.json":
            entry |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    change(base / "manifest.json", files=files)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive with everything in it that a program of ours writes as JSON."""
    path = tmp_path_factory.mktemp("forged") / "archive"
    made = Handmade(path)
    base = path / "base" / made.base(TABLES + "\n-- PostgreSQL database dump complete\n\n")
    first = made.segment([insert(2), insert(3)], sequences=[Sequence("public", "t_id_seq", 5, True)], told=True)
    drop = DDL.replace("ALTER", "DROP").format("DROP TABLE public.log")
    truncate = "TRUNCATE ONLY public.t;\n-- rows 1 truncated\n"
    made.segment(["-- mark lunch\n", DDL.format("ALTER TABLE t ADD x integer"), truncate, drop], told=True)
    made.segment([insert(7)], told=True)
    made.globals("20261123T000000Z", "CREATE ROLE postgres;\n")
    meta = change(
        base / "meta.json",
        tablespaces=[{"name": "x", "location": "/x", "owner": "o"}],
        tables=[
            {
                "schema": "public",
                "name": "t",
                "kind": "table",
                "persistence": "permanent",
                "replica_identity": "default",
            }
            | {"estimated_rows": 1, "estimated_bytes": 2, "partition_of": None}
        ],
        extensions=[{"name": "plpgsql", "version": "1.0", "schema": "pg_catalog"}],
        sequences=[{"schema": "public", "name": "t_id_seq"}],
        function_settings=[{"function": "f", "setting": "s"}],
        subscriptions=[{"name": "s", "enabled": True}],
        settings={"a": "b"},
        extension_settings={"a": "b"},
    )
    source = {"meta": meta, "database_sql": "", "database_acl": "", "globals": "", "large_objects": {"1": "x"}}
    lsn = json.loads(first.read_text())["to_lsn"]
    told = change(
        first,
        recorded={"lsn": lsn, "time": T, "server_version": "15.18", "pg_dump": 15, "rows": {"public.t": 2}}
        | {"schema": {"public.t": "0" * 16}, "complete": True}
        | {"source": source | {"sequences": [["public", "t_id_seq", 5, True]], "warnings": []}}
        | {
            "contents": {
                "public.t": {"columns": ["id"], "key": 1, "digest": "0" * 32, "cells": {"id": [1, "0", "1", "2"]}}
            }
        },
        joined={"segments": 2, "transactions": 3, "bytes": 100, "first_commit_lsn": lsn, "last_commit_lsn": lsn}
        | {"last_sha256": json.loads(first.read_text())["sha256"]},
        commit_times=["2026-11-22 03:00:01+00", "2026-11-22 03:00:03+00"],
        points="segment",
    )
    sign_meta(base)
    derived = path / "base/20261124T000000Z"
    shutil.copytree(base, derived)
    change(
        derived / "manifest.json",
        stamp=derived.name,
        consistent_point=f"{int(told['to_lsn'].partition('/')[2], 16):016X}",
        consistent_point_lsn=told["to_lsn"],
        rows={"public.t": 1},
        tools={"pg_dump": "15"},
        warnings=["w"],
        made_from={"base": base.name, "origin": {"base": base.name, "started": T}, "segments": 1, "last_segment": "x"}
        | {"record": {"lsn": told["to_lsn"], "time": T, "segment": first.name}, "left_out": ["unlogged"]},
        proof={"time": T, "compared": ["the contents of 1 table"], "not_compared": []},
    )
    change(
        path / "archive.json",
        left_timelines=[{"timeline": 1, "lsn": "F/F"}],
        accepted_gaps=[{"name": "n", "text": "t"}],
    )
    (path / "spool/cuts").mkdir()
    follower = {"format_version": 1, "database": "c", "server": "h:1", "system_identifier": "1", "position": "0/1"}
    for name, value in {
        "broken.json": {"since": T, "reason": "r", "lsn": "0/1000000"},
        "pruned.json": {"to_lsn": "0/10", "bases": ["20200101T000000Z"]},
        "verify.json": {"time": T, "ok": False, "faults": ["f"], "read": {"a": T}, "files": 1, "bytes": 1, "notes": []},
        "rehearsal.json": {
            "time": T,
            "ok": True,
            "differences": [],
            "base": derived.name,
            "compared": ["the contents of"],
        },
        "derived.json": {"time": T, "ok": False, "base": None, "differs": True, "faults": ["x"], "hint": "h"},
        "follow/c-1.json": follower
        | {"process": {"pid": 1, "start": 1, "boot": "b"}, "reached": "2026-11-22 03:00:05+00", "waiting": None}
        | {"began": 1.0, "current": 2.0, "written": 3.0},
        "meta.json": meta,
        "spool/remote.json": {
            "remotes": [
                {"url": "s3://b", "missing": ["x"], "missing_bytes": 1, "unseen": False, "time": 1.0, "error": None}
            ]
        },
        "spool/unsent.json": ["incremental/x"],
        "spool/queued.json": {"command": "x", "to_lsn": "", "bases": [], "globals": [], "files": {"a": "b"}},
        "spool/spool.json": {"spool_id": "hand"},
        "spool/state.json": {"part": 1},
        "spool/stream.json": {"stream": {"pid": 1, "start": 1, "boot": "b"}, "receiver": None, "position": "0/1"},
        "spool/confirmed.json": {"lsn": "0/1", "boot": "b"},
        "spool/large_objects.json": {"snapshot": "1:1:", "objects": [1]},
    }.items():
        write(path / name, value)
    for each in [path, *path.rglob("*")]:
        each.chmod(0o700 if each.is_dir() else 0o600)
    return path


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield at
    if isinstance(value, dict | list):
        for name in value if isinstance(value, dict) else range(min(2, len(value))):
            yield from places(value[name], (*at, name))


def forged(value: Any, at: tuple[Any, ...], odd: Any) -> Any:
    """Return a value with something odd at a place."""
    value = json.loads(json.dumps(value))
    if not at:
        return odd
    holder = value
    for name in at[:-1]:
        holder = holder[name]
    holder[at[-1]] = odd
    if odd == GONE:
        del holder[at[-1]]
    return value


def look(path: Path, command: str, cluster: Cluster, remote: Path) -> str | None:
    """Run a program over an archive; return what is wrong with how it ended, None if it is as documented."""
    program, *words = command.split()
    words += ["--to", f"file://{remote}"] if program == "sync" else []
    env = cluster.env | {"SCRIBE_ARCHIVE": str(path), "PGDATABASE": "shop", "HOME": str(remote)}
    result = run_program([ROOT / f"bin/scribe-{program}", *words], env, timeout=60)
    if "Traceback" in result.stderr + result.stdout or result.returncode not in (0, 1, 2, 3, 75):
        return f"scribe-{command} ended with {result.returncode}: {result.stderr[-600:]}"
    return None


def copy_with(whole: Path, work: Path, file: Path, value: Any, *, heal: bool) -> Path:
    """Return a copy of the archive that has this value in a file."""
    path = work / "archive"
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(whole, path)
    if heal:
        (path / "broken.json").unlink()  # before which many programs stop
    write(path / file, value)
    if file.name == "meta.json" and file.parts[0] == "base":
        sign_meta(path / file.parent)
    return path


def test_an_odd_value_anywhere_ends_in_one_line(whole: Path, tmp_path: Path, cluster: Cluster) -> None:
    chance = random.Random(SEED)
    files = sorted(path.relative_to(whole) for path in whole.rglob("*.json"))
    wrong = []
    for _ in range(RUNS):
        file = chance.choice(files)
        value = json.loads((whole / file).read_text())
        at, odd = chance.choice(list(places(value))), chance.choice(ODD)
        heal = file.name != "broken.json" and chance.random() < 0.8
        path = copy_with(whole, tmp_path, file, forged(value, at, odd), heal=heal)
        said = look(path, chance.choice(LOOKS), cluster, tmp_path)
        wrong += [f"{file} {at}: {odd!r:.60}: {said}"] if said is not None else []
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "case",
    [
        ("incremental/*06Z-*.json", ("tables",), GONE, "log --stat"),
        ("incremental/*06Z-*.json", ("truncates", 0, "schema"), None, "log --points"),
        ("incremental/*06Z-*.json", ("tables", 0, "schema"), None, "log --stat"),
        ("incremental/*07Z-*.json", ("commit_times", 0), "x", "log --since 2026-11-22T03:00:02Z --stat"),
        ("base/20261124*/meta.json", ("extensions",), -1, "restore -n -d x"),
        ("spool/remote.json", ("remotes", 0), [[]], "prune"),
    ],
)
def test_what_has_ended_in_a_traceback_ends_in_one_line(
    whole: Path, tmp_path: Path, cluster: Cluster, case: tuple[str, tuple[Any, ...], Any, str]
) -> None:
    pattern, at, odd, command = case
    file = next(whole.glob(pattern)).relative_to(whole)
    value = json.loads((whole / file).read_text())
    path = copy_with(whole, tmp_path, file, forged(value, at, odd), heal=True)
    assert look(path, command, cluster, tmp_path) is None
