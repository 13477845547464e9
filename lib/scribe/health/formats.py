"""How findings are said: for Nagios, Prometheus and other programs, and as a table for a person."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from nagiosplugin import Performance

from scribe import __version__
from scribe.common.printable import json_text, printable
from scribe.health.findings import Finding, State, Value, count_text, worst

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

    def faults(self) -> list[Finding]:
        """Return the findings that are not OK: what is critical first, then what is not known."""
        order = [State.CRITICAL, State.UNKNOWN, State.WARNING]
        return sorted((f for f in self.findings if f.state != State.OK), key=lambda finding: order.index(finding.state))

    def summary(self) -> str:
        """Return the whole in one sentence: the worst of what is not OK, or what is."""
        faults = self.faults()
        if faults:
            more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
            return f"{faults[0].name}: {faults[0].text}{more}"
        said = "; ".join(f"{f.name}: {f.text}" for f in self.findings)
        return said if len(said) <= _LINE else f"{len(self.findings)} checks"


@dataclass(frozen=True)
class Fleet:
    """The reports of several databases, each by its name. started: seconds since 1970; seconds: how long it took."""

    reports: list[tuple[str, Report]]
    started: float
    seconds: float

    @property
    def state(self) -> State:
        """The state of the whole."""
        return worst(report.state for _, report in self.reports)

    def summary(self) -> str:
        """Return the whole in one sentence."""
        faults = [(name, report) for name, report in self.reports if report.state != State.OK]
        first = next(((name, report) for name, report in faults if report.state == self.state), None)
        more = f" (and {count_text(len(faults) - 1, 'other database')})" if len(faults) > 1 else ""
        worse = f"{first[0]}: {first[1].summary()}{more}" if first else "all OK"
        return f"{count_text(len(self.reports), 'database')}: {worse}"


def plain(text: str) -> str:
    """Return text without what would end a line, begin performance data, or control a terminal."""
    return printable(text).replace("|", "/")


# --- Nagios -------------------------------------------------------------------------------------------------------


def format_nagios(report: Report) -> str:
    """Return status line with performance data, then one line for each check, as the plugin protocol has it."""
    faults = report.faults()
    subject = f"{report.database}: " if report.database else ""
    performance = " ".join(_performance(v) for f in report.findings for v in f.values if not v.is_moment)
    first = plain(f"SCRIBE {report.state.name}: {subject}{report.summary()}")
    lines = [first + (f" | {performance}" if performance else "")]
    if len(report.findings) > 1 or faults:
        rest = [f for f in report.findings if f.state == State.OK]
        lines += [
            plain(f"[{f.state.name}] {f.name}: {f.text}" + (f"; {f.hint}" if f.hint else "")) for f in faults + rest
        ]
    return "\n".join(lines) + "\n"


def format_nagios_fleet(fleet: Fleet) -> str:
    """Return one status line, then a line for each database."""
    bad = sum(report.state != State.OK for _, report in fleet.reports)
    performance = f"databases={len(fleet.reports)};;;0 databases_not_ok={bad};;;0"
    lines = [plain(f"SCRIBE {fleet.state.name}: {fleet.summary()}") + f" | {performance}"]
    lines += [plain(f"[{report.state.name}] {name}: {report.summary()}") for name, report in fleet.reports]
    return "\n".join(lines) + "\n"


def _performance(value: Value) -> str:
    number = int(value.number) if float(value.number).is_integer() else round(value.number, 3)
    least = "" if value.name.endswith("_difference_seconds") else 0
    most = 100 if value.unit == "%" else ""
    return str(Performance(value.name, number, value.unit, value.warning, value.critical, least, most))


# --- JSON ---------------------------------------------------------------------------------------------------------


def format_json(report: Report) -> str:
    """Return the report as docs/alarms.md describes it: keys are only ever added."""
    return json_text(_report_json(report))


def format_json_fleet(fleet: Fleet) -> str:
    """Return the reports of all databases, each as format_json() has it and with its name."""
    return json_text(
        _whole_json(fleet) | {"databases": [{"name": name} | _report_json(report) for name, report in fleet.reports]}
    )


def _report_json(report: Report) -> dict[str, Any]:
    subject = {"archive": report.archive, "database": report.database, "slot": report.slot}
    return _whole_json(report) | subject | {"checks": [_finding_json(finding) for finding in report.findings]}


def _whole_json(whole: Report | Fleet) -> dict[str, Any]:
    return {
        "format_version": FORMAT_VERSION,
        "state": whole.state.name,
        "exit_status": int(whole.state),
        "checked": datetime.fromtimestamp(whole.started, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "seconds": round(whole.seconds, 3),
    }


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
    return _expose([({}, report)])


def format_prometheus_fleet(fleet: Fleet) -> str:
    """Return the metrics of all databases, each with its name as a label."""
    return _expose([({"name": name}, report) for name, report in fleet.reports])


def _expose(reports: list[tuple[dict[str, str], Report]]) -> str:
    from prometheus_client import CollectorRegistry, generate_latest

    families = _Families()
    for more, report in reports:
        families.labels = {"archive": report.archive, **more}
        families.add(report)
    registry = CollectorRegistry()
    registry.register(families)
    return generate_latest(registry).decode()


class _Families:
    """The metrics of what was found. labels: of what is added next."""

    def __init__(self) -> None:
        self._families: dict[str, Any] = {}
        self.labels: dict[str, str] = {}

    def collect(self) -> list[Any]:
        """Return all metrics, as a registry wants them."""
        return list(self._families.values())

    def gauge(self, name: str, text: str, number: float, **labels: str) -> None:
        """Add a value that goes up and down."""
        from prometheus_client.core import GaugeMetricFamily

        family = self._families.setdefault(name, GaugeMetricFamily(f"scribe_{name}", text))
        family.add_sample(f"scribe_{name}", {**self.labels, **labels}, number)

    def counter(self, name: str, text: str, number: float) -> None:
        """Add a value that only grows."""
        from prometheus_client.core import CounterMetricFamily

        family = self._families.setdefault(name, CounterMetricFamily(f"scribe_{name}", text))
        family.add_sample(f"scribe_{name}_total", self.labels, number)

    def add(self, report: Report) -> None:
        """Add what was found of one database."""
        info = {"version": __version__, "database": report.database, "slot": report.slot}
        self.gauge("info", "What is watched; always 1.", 1, **info)
        self.gauge("state", "Worst of all checks: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN.", report.state)
        self.gauge("check_timestamp_seconds", "When scribe-check last ran.", report.started)
        self.gauge("check_duration_seconds", "How long scribe-check took.", report.seconds)
        for finding in report.findings:
            text = "State of a check: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN."
            self.gauge("check_state", text, finding.state, check=finding.name)
            for value in finding.values:
                if value.counts:
                    self.counter(value.name, value.description, value.number)
                elif not value.is_age:
                    self.gauge(_base_unit(value.name), value.description, _base_number(value))


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
    faults = len(report.faults())
    lines.append(f"{report.state.name}: {len(report.findings)} checks, {faults} not OK, {report.seconds:.1f} s")
    return "\n".join(lines) + "\n"


def format_table_fleet(fleet: Fleet, width: int = 100) -> str:
    """Return a line for each database; width: of the terminal, in columns."""
    longest = max(len(name) for name, _ in fleet.reports)
    indent = " " * (10 + longest + 2)
    lines = []
    for name, report in fleet.reports:
        begin = f"{report.state.name:<10}{name:<{longest}}  "
        text = plain(report.summary())
        lines += textwrap.wrap(text, max(50, width), initial_indent=begin, subsequent_indent=indent)
    bad = sum(report.state != State.OK for _, report in fleet.reports)
    number = count_text(len(fleet.reports), "database")
    lines.append(f"{fleet.state.name}: {number}, {bad} not OK, {fleet.seconds:.1f} s")
    return "\n".join(lines) + "\n"


FORMATS: dict[str, Callable[[Report], str]] = {
    "nagios": format_nagios,
    "json": format_json,
    "prometheus": format_prometheus,
    "table": format_table,
}
FLEET_FORMATS: dict[str, Callable[[Fleet], str]] = {
    "nagios": format_nagios_fleet,
    "json": format_json_fleet,
    "prometheus": format_prometheus_fleet,
    "table": format_table_fleet,
}
