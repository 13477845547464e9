"""Bases made from the archive alone (scribe.restore.derived): what their manifests tell, and the last outcome.

Whatever such a base says, it says of the source as recorded: what was never captured is not in it either.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from scribe.archive.layout import Archive, Base
from scribe.common import files
from scribe.common.errors import ScribeError

RESULT = "derived.json"
_CONTENTS = "the contents of"  # in what a rehearsal says that it has compared


def is_derived(manifest: Mapping[str, Any]) -> bool:
    """Whether a base's manifest is that of one made from the archive."""
    return "made_from" in manifest


def time_of(manifest: Mapping[str, Any]) -> str:
    """Return the time of which a base is: that of its record, of the source's ones that of their end."""
    made_from = manifest.get("made_from")
    return str(made_from["record"]["time"] if made_from else manifest["finished"])


def origin_of(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Return the base of the source's to which a base goes back (base), and when that was begun (started)."""
    made_from = manifest.get("made_from")
    return dict(made_from["origin"]) if made_from else {"base": manifest["stamp"], "started": manifest["started"]}


def proof_times(archive: Archive, base: Base, others: Iterable[Base]) -> list[str] | None:
    """Return when it was shown that a base is what the source held; None if the last rehearsal showed that it is not.

    It is shown by the comparison when it was made, by those of bases that were made of it, and by a rehearsal.
    """
    times = [base.manifest["proof"]["time"]] if is_derived(base.manifest) else []
    times += [
        other.manifest["proof"]["time"]
        for other in others
        if is_derived(other.manifest) and other.manifest["made_from"]["base"] == base.stamp
    ]
    with contextlib.suppress(FileNotFoundError, ScribeError, KeyError, TypeError):
        rehearsal = files.read_json(archive.results / "rehearsal.json")
        if rehearsal["base"] == base.stamp:
            if rehearsal["ok"] is not True:
                return None
            times += [str(rehearsal["time"])] if any(_CONTENTS in text for text in rehearsal["compared"]) else []
    return times


@dataclass(frozen=True)
class Fault:
    """Why the last attempt left no base. time: when it began; differs: the archive is not what the source held."""

    time: str
    text: str
    hint: str
    differs: bool


def keep_outcome(
    archive: Archive,
    began: str,
    *,
    base: Base | None = None,
    fault: Fault | None = None,
) -> None:
    """Write down what came of an attempt. Raises OSError."""
    value = {
        "time": began,
        "ok": fault is None,
        "base": None if base is None else base.stamp,
        "differs": fault is not None and fault.differs,
        "faults": [] if fault is None else [fault.text],
        "hint": "" if fault is None else fault.hint,
    }
    files.write_json(archive.results / RESULT, value)


def read_fault(archive: Archive) -> Fault | None:
    """Return why the last attempt left no base, None if it left one, or there was none, or nothing can be read."""
    with contextlib.suppress(FileNotFoundError, ScribeError, KeyError, TypeError, IndexError):
        value = files.read_json(archive.results / RESULT)
        if value["ok"] is not True:
            return Fault(str(value["time"]), str(value["faults"][0]), str(value["hint"]), value["differs"] is True)
    return None
