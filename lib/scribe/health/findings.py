"""The words of a check: states, measured values, limits as ranges, findings. Nothing here reads anything.

A finding is one named check's answer: its state, one sentence, the next command, and what was measured. A value's
unit is the end of its name: _bytes, _seconds, _percent, _timestamp_seconds (UTC, since 1970) or a plain count.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from nagiosplugin import Range

from scribe.common.settings import parse_duration, parse_size

_BOUND = re.compile(r"[^@:]+")


class State(enum.IntEnum):
    """A check's answer; the number is the exit status of a Nagios plugin."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


_SEVERITY = (State.OK, State.WARNING, State.UNKNOWN, State.CRITICAL)


def worst(states: Iterable[State]) -> State:
    """Return the state that speaks for all: what is known to be critical before what is not known."""
    return max(states, key=_SEVERITY.index, default=State.UNKNOWN)


@dataclass(frozen=True)
class Value:
    """Something measured: a name whose end is its unit, the number, a description, and the limits it was held to."""

    name: str
    number: float
    description: str
    warning: str = ""
    critical: str = ""
    counts: bool = False  # whether it only ever grows, until statistics are reset

    @property
    def is_moment(self) -> bool:
        """Whether it is a point in time, in seconds since 1970."""
        return self.name.endswith("_timestamp_seconds")

    @property
    def is_age(self) -> bool:
        """Whether it is the age of something; it is out of date as soon as it is stored."""
        return self.name.endswith("_age_seconds")

    @property
    def unit(self) -> str:
        """The unit as the plugin protocol has it: B, s, % or none."""
        ends = {"_bytes": "B", "_seconds": "s", "_percent": "%"}
        return next((unit for end, unit in ends.items() if self.name.endswith(end)), "")


@dataclass(frozen=True)
class Finding:
    """What one check found. text: one sentence; hint: the next command, "" where nothing is to be done."""

    name: str
    state: State
    text: str
    hint: str = ""
    values: list[Value] = field(default_factory=list)


@dataclass(frozen=True)
class Limit:
    """The ranges, in the plugin protocol's syntax and base units, outside of which a value is not OK; "": no limit."""

    warning: str = ""
    critical: str = ""

    def judge(self, number: float) -> State:
        """Return the state that a number has."""
        if self.critical and not Range(self.critical).match(number):
            return State.CRITICAL
        if self.warning and not Range(self.warning).match(number):
            return State.WARNING
        return State.OK

    def value(self, name: str, number: float, description: str) -> Value:
        """Return a measured value that was held to this limit."""
        return Value(name, number, description, self.warning, self.critical)


def parse_range(text: str, unit: str) -> str:
    """Return a range in base units: "~:10GB" for bytes, "@1h:2h" for seconds, "80%", "5". Raises ValueError.

    unit: bytes, seconds, percent or count.
    """
    plain = _BOUND.sub(lambda match: _number(match[0], unit), text)
    if not _BOUND.search(plain) or plain.count(":") > 1 or "@" in plain[1:]:
        raise ValueError(f'a range such as "10", "10:", "~:10", "10:20" or "@10:20" is expected, not "{text}"')
    return str(Range(plain)) or "0:"


def _number(text: str, unit: str) -> str:
    if text == "~" or re.fullmatch(r"-?\d+(\.\d+)?", text):
        return text
    if unit == "bytes":
        return str(parse_size(text))
    if unit == "seconds":
        return str(parse_duration(text))
    if unit == "percent" and re.fullmatch(r"\d+(\.\d+)?%", text):
        return text[:-1]
    raise ValueError(f'a number of {unit} is expected, not "{text}"')


def size_text(number: float) -> str:
    """Return bytes for people: 1.5 GB, in PostgreSQL's units."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if abs(number) < 1024:
            return f"{number:.0f} {unit}" if unit == "bytes" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TB"


SLACK = 60.0  # seconds by which clocks differ, or which pass while the facts are gathered
SET_CLOCK = 'Set the clock of this host, or of the one that wrote it: "timedatectl" shows whether it is synchronised.'


def time_text(seconds: float) -> str:
    """Return a length of time for people: 3 s, 12 min, 5.0 h, 2.0 days."""
    seconds = max(0.0, seconds)
    if seconds < 120:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    if seconds < 172800:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.1f} days"


def age_text(seconds: float) -> str:
    """Return "2.0 days old"; what is newer than this host's clock says so."""
    return f"{time_text(-seconds)} ahead of this host's clock" if seconds < -SLACK else f"{time_text(seconds)} old"


def ago_text(seconds: float) -> str:
    """Return "2.0 days ago", or by how much it is ahead of this host's clock."""
    return f"{time_text(-seconds)} ahead of this host's clock" if seconds < -SLACK else f"{time_text(seconds)} ago"


def count_text(number: int, thing: str) -> str:
    """Return "1 file" or "3 files"."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
