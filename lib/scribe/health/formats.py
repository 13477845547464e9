"""How findings are said: for Nagios, Prometheus and other programs, and as a table for a person."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from nagiosplugin import Performance

from scribe import __version__
from scribe.health.findings import Finding, State, Value, worst

FORMAT_VERSION = 1
_LINE = 80  # characters of a status line before it is cut to the first finding


@dataclass(frozen=True)
class Report:
    """All findings of one run. started: seconds since 1970; seconds: how long it took; the rest is "" if unknown."""

    findings: list[Finding]
    started: float
    seconds: float
    archive: str = ""
    database: str = ""
    slot: str = ""

    @property
    def state(self) -> State:
        """The state of the whole."""
        return worst(finding.state for finding in self.findings)

    def ranked(self) -> list[Finding]:
        """Return the findings that are not OK, the worst first."""
        faults = [finding for finding in self.findings if finding.state != State.OK]
        return sorted(faults, key=lambda finding: worst([finding.state, State.UNKNOWN]) != finding.state)


def plain(text: str) -> str:
    """Return text without what would end a line, begin performance data, or control a terminal."""
    return "".join(c if c.isprintable() else "?" for c in text).replace("|", "/")


# --- Nagios -------------------------------------------------------------------------------------------------------


def format_nagios(report: Report) -> str:
    """Return status line with performance data, then one line for each check, as the plugin protocol has it."""
    faults = sorted(report.ranked(), key=lambda f: [State.CRITICAL, State.UNKNOWN, State.WARNING].index(f.state))
    subject = f"{report.database}: " if report.database else ""
    if faults:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        said = f"{faults[0].name}: {faults[0].text}{more}"
    else:
        said = "; ".join(f"{f.name}: {f.text}" for f in report.findings)
        said = said if len(said) <= _LINE else f"{len(report.findings)} checks"
    performance = " ".join(_performance(v) for f in report.findings for v in f.values if not v.is_moment)
    first = plain(f"SCRIBE {report.state.name}: {subject}{said}")
    lines = [first + (f" | {performance}" if performance else "")]
    if len(report.findings) > 1 or faults:
        rest = [f for f in report.findings if f.state == State.OK]
        lines += [
            plain(f"[{f.state.name}] {f.name}: {f.text}" + (f"; {f.hint}" if f.hint else "")) for f in faults + rest
        ]
    return "\n".join(lines) + "\n"


def _performance(value: Value) -> str:
    number = int(value.number) if float(value.number).is_integer() else round(value.number, 3)
    least = "" if value.name.endswith("_difference_seconds") else 0
    most = 100 if value.unit == "%" else ""
    return str(Performance(value.name, number, value.unit, value.warning, value.critical, least, most))


# --- JSON ---------------------------------------------------------------------------------------------------------


def format_json(report: Report) -> str:
    """Return the report as docs/alarms.md describes it: keys are only ever added."""
    return (
        json.dumps(
            {
                "format_version": FORMAT_VERSION,
                "state": report.state.name,
                "exit_status": int(report.state),
                "archive": report.archive,
                "database": report.database,
                "slot": report.slot,
                "checked": datetime.fromtimestamp(report.started, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                "seconds": round(report.seconds, 3),
                "checks": [_finding_json(finding) for finding in report.findings],
            },
            indent=2,
            ensure_ascii=False,
        )
        + "\n"
    )


def _finding_json(finding: Finding) -> dict[str, object]:
    return {
        "name": finding.name,
        "state": finding.state.name,
        "text": finding.text,
        "hint": finding.hint,
        "values": {value.name: value.number for value in finding.values},
        "limits": {
            value.name: {"warning": value.warning, "critical": value.critical}
            for value in finding.values
            if value.warning or value.critical
        },
    }


# --- Prometheus ---------------------------------------------------------------------------------------------------


def format_prometheus(report: Report) -> str:
    """Return the metrics in the text exposition format: moments and never ages, since a file can outlive its writer."""
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

    families: dict[str, Metric] = {}

    def gauge(name: str, text: str, number: float, **labels: str) -> None:
        family = families.setdefault(name, GaugeMetricFamily(f"scribe_{name}", text))
        family.add_sample(f"scribe_{name}", {"archive": report.archive, **labels}, number)

    def counter(name: str, text: str, number: float) -> None:
        family = families.setdefault(name, CounterMetricFamily(f"scribe_{name}", text))
        family.add_sample(f"scribe_{name}_total", {"archive": report.archive}, number)

    info = {"version": __version__, "database": report.database, "slot": report.slot}
    gauge("info", "What is watched; always 1.", 1, **info)
    gauge("state", "Worst of all checks: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN.", report.state)
    gauge("check_timestamp_seconds", "When scribe-check last ran.", report.started)
    gauge("check_duration_seconds", "How long scribe-check took.", report.seconds)
    for finding in report.findings:
        gauge(
            "check_state",
            "State of a check: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN.",
            finding.state,
            check=finding.name,
        )
        for value in finding.values:
            if value.counts:
                counter(value.name, value.description, value.number)
            elif not value.is_age:
                gauge(_base_unit(value.name), value.description, _base_number(value))
    registry = CollectorRegistry()
    registry.register(_Found(list(families.values())))
    return generate_latest(registry).decode()


class _Found:
    """A collector of what was found, once."""

    def __init__(self, families: list[Any]) -> None:
        self._families = families

    def collect(self) -> list[Any]:
        """Return all metrics."""
        return self._families


def _base_unit(name: str) -> str:
    return f"{name.removesuffix('_percent')}_ratio" if name.endswith("_percent") else name


def _base_number(value: Value) -> float:
    return value.number / 100 if value.unit == "%" else value.number


# --- a table ------------------------------------------------------------------------------------------------------


def format_table(report: Report, width: int = 100) -> str:
    """Return a table for a person; width: of the terminal, in columns."""
    longest = max((len(finding.name) for finding in report.findings), default=0)
    indent = " " * (10 + longest + 2)
    lines = []
    for finding in report.findings:
        begin = f"{finding.state.name:<10}{finding.name:<{longest}}  "
        for text, first in ((finding.text, begin), (finding.hint, indent)):
            if text:
                lines += textwrap.wrap(plain(text), max(50, width), initial_indent=first, subsequent_indent=indent)
    faults = len(report.ranked())
    lines.append(f"{report.state.name}: {len(report.findings)} checks, {faults} not OK, {report.seconds:.1f} s")
    return "\n".join(lines) + "\n"


FORMATS: dict[str, Callable[[Report], str]] = {
    "nagios": format_nagios,
    "json": format_json,
    "prometheus": format_prometheus,
    "table": format_table,
}
