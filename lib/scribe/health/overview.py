"""What an archive holds at a glance, from its manifests alone: what can be restored, how large it is, how it grows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from nagiosplugin import Range

from scribe.archive.chains import Chain, find_chains
from scribe.archive.layout import Archive, Base, Segment
from scribe.common import files
from scribe.common.errors import ScribeError
from scribe.health.findings import Finding, State
from scribe.health.formats import Report

GROWTH_DAYS = 7  # days of segments by which growth is judged
KINDS = ("inserted", "updated", "deleted", "truncated")
Json = dict[str, Any]


@dataclass(frozen=True)
class Facts:
    """What the manifests say, as it is printed as JSON: times in UTC, sizes in bytes."""

    bases: list[Json] = field(default_factory=list)
    windows: list[Json] = field(default_factory=list)  # from, to: what can be restored
    gaps: list[Json] = field(default_factory=list)  # from, to, reason
    segments: int = 0
    transactions: int = 0
    base_bytes: int = 0
    segment_bytes: int = 0
    bytes_per_day: int = 0
    days: list[Json] = field(default_factory=list)
    tables: list[Json] = field(default_factory=list)
    schema_changes: list[Json] = field(default_factory=list)
    silent_segments: int = 0  # whose manifests do not tell tables and schema changes
    verification: Json | None = None
    rehearsal: Json | None = None


def read_facts(archive: Archive) -> Facts:
    """Read every manifest of an archive. Raises ScribeError for one that is damaged or foreign, OSError."""
    segments = archive.all_segments()
    chains = find_chains(archive, archive.known_identity(), segments)
    spans = [Span(chain, read_moment(chain.first_time), read_moment(chain.last_time)) for chain in chains]
    bases = [_base(span) for span in spans]
    spans.sort(key=lambda span: span.first)
    return Facts(
        bases=bases,
        windows=_windows(spans),
        gaps=_gaps(spans),
        segments=len(segments),
        transactions=sum(segment.manifest["counts"]["transactions"] for segment in segments),
        base_bytes=sum(base["bytes"] for base in bases),
        segment_bytes=sum(segment.manifest["bytes"] for segment in segments),
        bytes_per_day=_growth(segments),
        days=_days(segments),
        tables=_tables(segments),
        schema_changes=_schema_changes(segments),
        silent_segments=sum("tables" not in segment.manifest for segment in segments),
        verification=_result(archive, "verify.json"),
        rehearsal=_result(archive, "rehearsal.json"),
    )


def as_json(name: str, report: Report, facts: Facts | None) -> Json:
    """Return everything that is known of one database."""
    known = facts or Facts()
    return {
        "name": name,
        "database": report.database,
        "archive": report.archive,
        "state": report.state.name,
        "checked": _text(datetime.fromtimestamp(report.started, UTC)),
        "restorable_from": known.windows[0]["from"] if known.windows else None,
        "restorable_to": known.windows[-1]["to"] if known.windows else None,
        "bytes": known.base_bytes + known.segment_bytes,
        "next_alarm": next_alarm(report.findings),
        "faults": [
            {"check": finding.name, "state": finding.state.name, "text": finding.text, "hint": finding.hint}
            for finding in report.faults()
        ],
        **vars(known),
    }


def next_alarm(findings: Iterable[Finding]) -> Json | None:
    """Return which check raises the next alarm if nothing happens, and in how many seconds; None if none does."""
    found = []
    for finding in findings:
        for value in finding.values if finding.state == State.OK else ():
            if value.is_age:
                ends = [Range(text).end for text in (value.warning, value.critical) if text]
                found += [(end - value.number, finding.name) for end in ends if end != float("inf")]
            elif value.name == "disk_left_seconds":
                found.append((value.number, finding.name))
    if not found:
        return None
    seconds, name = min(found)
    return {"check": name, "seconds": max(0, round(seconds))}


@dataclass(frozen=True)
class Span:
    """A chain, and the times that it reaches; to tell them takes a look at every segment."""

    chain: Chain
    first: datetime
    last: datetime


def _base(span: Span) -> Json:
    base = span.chain.base
    return {
        "stamp": base.stamp,
        "finished": _text(read_moment(base.manifest["finished"])),
        "bytes": _bytes_of(base),
        "format": base.manifest["format"],
        "server_version": base.manifest["server_version"],
        "reaches": _text(span.last),
        "segments": len(span.chain.segments),
        "hole": span.chain.hole,
    }


def _bytes_of(base: Base) -> int:
    return sum(entry["bytes"] for entry in base.manifest["files"])


def _windows(spans: list[Span]) -> list[Json]:
    """Return the times that can be restored, those that overlap as one. spans: in order."""
    joined: list[tuple[datetime, datetime]] = []
    for span in spans:
        if joined and span.first <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], span.last))
        else:
            joined.append((span.first, span.last))
    return [{"from": _text(first), "to": _text(last)} for first, last in joined]


def _gaps(spans: list[Span]) -> list[Json]:
    """Return the times between two windows, which no restore reaches, each with the reason. spans: in order."""
    gaps: list[Json] = []
    widest: Span | None = None
    for span in spans:
        if widest is not None and span.first > widest.last:
            reason = widest.chain.hole or "retention keeps the base, and no segments after it"
            gaps.append({"from": _text(widest.last), "to": _text(span.first), "reason": reason})
        if widest is None or span.last > widest.last:
            widest = span
    return gaps


def _growth(segments: list[Segment]) -> int:
    """Return the bytes of segments a day, of the last days."""
    if not segments:
        return 0
    last = read_moment(segments[-1].manifest["closed"])
    recent = [s for s in segments if (last - read_moment(s.manifest["closed"])).days < GROWTH_DAYS]
    seconds = (last - read_moment(recent[0].manifest["closed"])).total_seconds()
    return round(sum(s.manifest["bytes"] for s in recent[1:]) * 86400 / seconds) if seconds > 0 else 0


def _days(segments: list[Segment]) -> list[Json]:
    """Return bytes and changes of each day (UTC) on which a segment was closed."""
    days: dict[str, Json] = {}
    for segment in segments:
        counts = segment.manifest["counts"]
        name = read_moment(segment.manifest["closed"]).strftime("%Y-%m-%d")
        empty = {"day": name, "bytes": 0, "transactions": 0, **dict.fromkeys(KINDS, 0), "ddl": 0}
        day = days.setdefault(name, empty)
        day["bytes"] += segment.manifest["bytes"]
        for kind in ("transactions", *KINDS, "ddl"):
            day[kind] += counts[kind]
    return [days[name] for name in sorted(days)]


def _tables(segments: list[Segment]) -> list[Json]:
    """Return the changes of each table by day, the most changed first; nothing of manifests that do not tell."""
    found: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for segment in segments:
        day = read_moment(segment.manifest["closed"]).strftime("%Y-%m-%d")
        for table in segment.manifest.get("tables") or []:
            found[_name(table)][day] += sum(table.get(kind, 0) for kind in KINDS)
    tables = [{"table": table, "rows": sum(days.values()), "days": dict(days)} for table, days in found.items()]
    return sorted(tables, key=lambda entry: (-entry["rows"], entry["table"]))


def _name(value: Json) -> str:
    """Return the name of an object, with its schema if it is known."""
    return ".".join(part for part in (value.get("schema"), value["name"]) if part)


def _schema_changes(segments: list[Segment]) -> list[Json]:
    """Return time, xid, tag and name of each schema change; the beginning of its text if it names nothing."""
    return [
        {
            "time": change["time"],
            "xid": change["xid"],
            "tag": change["tag"],
            "name": ", ".join(map(_name, change["names"])) or change.get("text", ""),
        }
        for segment in segments
        for change in segment.manifest.get("schema_changes") or []
    ]


def _result(archive: Archive, name: str) -> Json | None:
    """Return what scribe-verify has left, None if there is nothing that can be read."""
    try:
        value = files.read_json(archive.results / name)
        return {"time": _text(read_moment(str(value["time"]))), "ok": value["ok"] is True}
    except (FileNotFoundError, ScribeError, KeyError, TypeError, ValueError, OverflowError):
        return None


def read_moment(text: str) -> datetime:
    """Return a time of a manifest or a BEGIN line; the earliest there is for one before our era."""
    if text.endswith("BC"):
        return datetime.min.replace(tzinfo=UTC)
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
