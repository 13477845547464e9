"""Scripts of steps: written, read, made as small as the failure allows, and turned into a case for tests/cases."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from generator import INIT, ROTATE, Step

Fails = Callable[[list[Step]], bool]


def write_script(path: Path, steps: list[Step], encoding: str) -> None:
    """Write steps, one a line."""
    lines = ",\n".join(json.dumps(step.as_json()) for step in steps)
    path.write_text(f'{{"encoding": "{encoding}", "steps": [\n{lines}\n]}}\n')


def read_script(path: Path) -> tuple[list[Step], str]:
    """Return the steps and the encoding of a script."""
    script = json.loads(path.read_text())
    steps = [
        Step(**{"session": 0, "transaction": 0} | s | {"parameters": tuple(s.get("parameters", ()))})
        for s in script["steps"]
    ]
    return steps, script["encoding"]


def shrink(steps: list[Step], fails: Fails) -> list[Step]:
    """Return a subset of steps that still fails, in which no transaction and no statement can be left out.

    Where one session that runs one transaction after the other is enough, it is such a one.
    """
    steps = _reduce(steps, _units(steps), fails)
    serial = _serial(steps)
    if serial != steps and fails(serial):
        steps = serial
    return _reduce(steps, [[at] for at in range(len(steps))], fails)


def _units(steps: list[Step]) -> list[list[int]]:
    """Where the steps of each transaction stand; what is not of a session is alone."""
    units: dict[tuple[int, int], list[int]] = {}
    for at, step in enumerate(steps):
        units.setdefault((step.transaction, 0 if step.session >= 0 else at), []).append(at)
    return list(units.values())


def _serial(steps: list[Step]) -> list[Step]:
    """The same transactions one after the other in one session; scribe-init stays where it is."""
    return [replace(steps[at], session=min(0, steps[at].session)) for unit in _units(steps) for at in unit]


def _reduce(steps: list[Step], units: list[list[int]], fails: Fails) -> list[Step]:
    """Delta debugging: leave out ever smaller parts of the units while what is left fails; scribe-init always stays."""

    def chosen(some: list[list[int]]) -> list[Step]:
        return [steps[at] for at in sorted(at for unit in some for at in unit)]

    size = max(1, len(units) // 2)
    while True:
        at, removed = 0, False
        while at < len(units):
            kept = [unit for unit in units[at : at + size] if steps[unit[0]] == INIT]
            smaller = units[:at] + kept + units[at + size :]
            if len(smaller) < len(units) and fails(chosen(smaller)):
                units, removed = smaller, True
                at += len(kept)
            else:
                at += size
        if size == 1 and not removed:
            return chosen(units)
        size = max(1, size // 2)


def as_case(steps: list[Step]) -> str:
    """Steps as a file for tests/cases, to be run by psql in one session; what needs more is said in a comment."""
    lines = ["-- Found by tests/fuzz; say here what it is about."]
    if len({s.session for s in steps if s.session >= 0}) > 1:
        lines.append("-- NOT A CASE YET: needs several sessions, which the script beside this file has.")
    for step in steps:
        if step == INIT:
            lines.append("-- after init")
        elif step.how == "copy":
            lines.append(f"{step.sql};\n{step.data}\\.")
        elif step != ROTATE:
            sql = step.sql
            for number, value in enumerate(step.parameters, 1):
                literal = "NULL" if value is None else "E'" + value.replace("\\", "\\\\").replace("'", "''") + "'"
                sql = sql.replace(f"${number}", literal)
            lines.append(f"{sql.rstrip(';')};")
    return "\n".join(lines) + "\n"
