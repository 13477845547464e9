"""docs/extensions.md: what the suite found, between two marks in a text that people write."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_BEGIN = "<!-- written by make check-extensions -->\n"
_END = "<!-- end -->\n"
_ROW = re.compile(r"^\| ([^|]+) \| ([^|]*) \| ([^|]*) \| ([^|]*) \| ([^|]*) \| ([^|]*) \|$", re.MULTILINE)
_HEAD = "| case | on 15 | on 17 | tried with | verdict | condition |\n| --- | --- | --- | --- | --- | --- |\n"


def write_report(path: Path, pg_config: str, outcomes: Iterable[Any]) -> None:
    """Put what was found on this server into the table, beside what other versions had."""
    said = subprocess.check_output([pg_config, "--version"], text=True)
    major = int(re.findall(r"\d+", said)[0])
    text = path.read_text(encoding="utf-8")
    before, _, rest = text.partition(_BEGIN)
    table, _, after = rest.partition(_END)
    rows = {name: [*cells] for name, *cells in _ROW.findall(table) if name not in ("case", "---")}
    for name, group in _group(outcomes).items():
        row = rows.setdefault(name, ["", "", "", "", ""])
        row[0 if major == 15 else 1] = group[0].version
        row[2] = ", ".join(sorted({*filter(None, row[2].split(", ")), *(outcome.decoder for outcome in group)}))
        row[3], row[4] = _verdict(group)
    lines = "".join(f"| {name} | {' | '.join(cells)} |\n" for name, cells in sorted(rows.items()))
    path.write_text(before + _BEGIN + _HEAD + lines + _END + after, encoding="utf-8")


def _group(outcomes: Iterable[Any]) -> dict[str, list[Any]]:
    groups: dict[str, list[Any]] = {}
    for outcome in outcomes:
        if not outcome.missing:
            groups.setdefault(outcome.case.name, []).append(outcome)
    return groups


def _verdict(group: list[Any]) -> tuple[str, str]:
    case = group[0].case
    failed = [outcome.decoder for outcome in group if outcome.fault]
    if failed:
        return "fails", f"with {', '.join(failed)}"
    if case.text("refused"):
        return "refused", case.text("condition") or case.text("refused")
    if case.text("flagged"):
        return "flagged", case.text("condition") or case.text("flagged")
    words = [case.text("condition")] if case.text("condition") else []
    words += [f"flagged with {decoder}: {case.flag(decoder)}" for decoder in ("pgoutput",) if case.flag(decoder)]
    if case.words("preload"):
        words.append(f"`shared_preload_libraries` of the target: {', '.join(case.words('preload'))}")
    return ("works with a condition" if words else "works"), "; ".join(words)
