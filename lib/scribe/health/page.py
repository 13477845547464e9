"""One static HTML page about all databases: no script, nothing from the network, charts as SVG.

Every figure stands in a <data> element whose value is the one of scribe-status --json, whatever its text.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from scribe import __version__
from scribe.common.printable import printable
from scribe.health.findings import ago_text, count_text, size_text, time_text
from scribe.health.overview import Json, read_moment

_STYLE = Path(__file__).with_name("page.css")
_TABLES = 20  # the most changed tables that are shown
_CHANGES = 50  # the newest schema changes that are shown
_HEADS = ("database", "state", "restorable to", "from", "size", "a day", "next alarm")


def write_page(databases: Sequence[Json], checked: float) -> str:
    """Return the page. databases: as as_json() has them; checked: seconds since 1970."""
    moment = datetime.fromtimestamp(checked, UTC)
    bad = sum(value["state"] != "OK" for value in databases)
    said = f"{count_text(len(databases), 'database')}, {bad} not OK"
    sections = "".join(_section(value, moment) for value in databases)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>pg_scribe: {said}</title>\n<style>\n{_STYLE.read_text()}</style></head>\n<body>\n"
        f"<header><h1>pg_scribe: {said}</h1>"
        f'<p class="soft">looked at {moment:%Y-%m-%d %H:%M:%S} UTC, pg_scribe {_text(__version__)}; times are UTC</p>'
        f"</header>\n{_fleet(databases, moment)}{sections}</body></html>\n"
    )


def _text(value: object) -> str:
    """Return text in which nothing is a tag and nothing controls the reader's display."""
    return html.escape(printable(str(value)))


def _figure(path: str, value: object, text: str) -> str:
    """Return a figure. path: its key in the JSON."""
    return f'<data data-key="{path}" value="{_text(value)}">{_text(text)}</data>'


def _when(path: str, value: str | None, now: datetime) -> str:
    if value is None:
        return "-"
    ago = _text(ago_text((now - read_moment(value)).total_seconds()))
    return f'{_figure(path, value, f"{read_moment(value):%Y-%m-%d %H:%M}")} <span class="soft">({ago})</span>'


def _state(value: Json) -> str:
    return f'<span class="state {value["state"]}">{_figure("state", value["state"], value["state"])}</span>'


def _alarm(value: Json) -> str:
    alarm = value["next_alarm"]
    if alarm is None:
        return "-"
    return f"{_text(alarm['check'])} in {_figure('next_alarm.seconds', alarm['seconds'], time_text(alarm['seconds']))}"


def _fleet(databases: Sequence[Json], now: datetime) -> str:
    """Return the table of all databases; on a narrow screen its lines become blocks."""
    rows = []
    for value in databases:
        cells = (
            f'<a href="#{_anchor(value)}">{_text(value["name"])}</a>',
            _state(value),
            _when("restorable_to", value["restorable_to"], now),
            _when("restorable_from", value["restorable_from"], now),
            _figure("bytes", value["bytes"], size_text(value["bytes"])),
            _figure("bytes_per_day", value["bytes_per_day"], size_text(value["bytes_per_day"])),
            _alarm(value),
        )
        body = "".join(f'<td data-head="{h}"><span>{c}</span></td>' for h, c in zip(_HEADS, cells, strict=True))
        rows.append(f'<tr data-name="{_text(value["name"])}">{body}</tr>')
    heads = "".join(f"<th>{head}</th>" for head in _HEADS)
    table = f"<thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody>"
    return f'<div class="wide"><table class="fleet">{table}</table></div>\n'


def _anchor(value: Json) -> str:
    return _text(f"database-{value['name']}".replace(" ", "_"))


def _section(value: Json, now: datetime) -> str:
    """Return what is known of one database."""
    subject = f"database {_text(value['database'])} in {_text(value['archive'])}" if value["database"] else ""
    parts = [
        f'<section id="{_anchor(value)}" data-name="{_text(value["name"])}">',
        f'<h2>{_text(value["name"])} {_state(value)}</h2><p class="soft">{subject}</p>',
        _faults(value["faults"]),
        _figures(value, now),
        _timeline(value, now),
        _bars(value["days"], "bytes", "Segments: bytes a day", size_text),
        _bars(value["days"], "rows", "Rows changed a day", lambda number: f"{number:,.0f}"),
        _table_changes(value),
        _schema_changes(value["schema_changes"]),
        "</section>\n",
    ]
    return "\n".join(part for part in parts if part)


def _faults(faults: Sequence[Json]) -> str:
    """Return what is wrong and what to do."""
    if not faults:
        return ""
    lines = "".join(
        f'<li><span class="state {f["state"]}">{f["state"]}</span> {_text(f["check"])}: {_text(f["text"])}.'
        f' <span class="soft">{_text(f["hint"])}</span></li>'
        for f in faults
    )
    return f"<h3>What is wrong, and what to do</h3><ul>{lines}</ul>"


def _figures(value: Json, now: datetime) -> str:
    def result(name: str) -> str:
        found = value[name]
        if found is None:
            return "never"
        word = "" if found["ok"] else ' <span class="state CRITICAL">failed</span>'
        return _when(f"{name}.time", found["time"], now) + word

    tiles = {
        "restorable to": _when("restorable_to", value["restorable_to"], now),
        "restorable from": _when("restorable_from", value["restorable_from"], now),
        "size": _figure("bytes", value["bytes"], size_text(value["bytes"])),
        "of that, bases": _figure("base_bytes", value["base_bytes"], size_text(value["base_bytes"])),
        "growth a day": _figure("bytes_per_day", value["bytes_per_day"], size_text(value["bytes_per_day"])),
        "segments": _figure("segments", value["segments"], format(value["segments"], ",")),
        "transactions": _figure("transactions", value["transactions"], format(value["transactions"], ",")),
        "verified": result("verification"),
        "restore rehearsed": result("rehearsal"),
        "next alarm": _alarm(value),
    }
    return "<dl>" + "".join(f"<div><dt>{head}</dt><dd>{cell}</dd></div>" for head, cell in tiles.items()) + "</dl>"


class _Scale:
    """Where a time stands between the first and the last one, in percent."""

    def __init__(self, times: Iterable[str], now: datetime) -> None:
        moments = [read_moment(text) for text in times]
        self.first = min([*moments, now])
        self.last = max([*moments, now])

    def at(self, text: str) -> float:
        """Return the place of a time."""
        whole = (self.last - self.first).total_seconds()
        return 100 * (read_moment(text) - self.first).total_seconds() / whole if whole else 0.0


def _timeline(value: Json, now: datetime) -> str:
    """Return windows, gaps, bases and what scribe-verify found, on one axis of time."""
    if not value["bases"]:
        return ""
    marks = [(name, value[name]) for name in ("verification", "rehearsal") if value[name]]
    times = [time for span in value["windows"] for time in span.values()]
    times += [base["finished"] for base in value["bases"]] + [mark["time"] for _, mark in marks]
    scale = _Scale(times, now)
    shapes = [_span("window", span, scale, span["from"] + " to " + span["to"]) for span in value["windows"]]
    shapes += [_span("gap", gap, scale, gap["reason"]) for gap in value["gaps"]]
    for base in value["bases"]:
        title = f"base {base['stamp']}, {size_text(base['bytes'])}, reaches {base['reaches']}"
        shapes.append(
            f'<rect class="base" x="{scale.at(base["finished"]):.3f}%" y="8" width="3" height="30">'
            f"<title>{_text(title)}</title></rect>"
        )
    for name, mark in marks:
        kind = "seen" if mark["ok"] else "failed"
        shapes.append(
            f'<circle class="{kind}" cx="{min(99.5, scale.at(mark["time"])):.3f}%" cy="54" r="5">'
            f"<title>{name} {_text(mark['time'])}</title></circle>"
        )
    label = f"{len(value['bases'])} bases, {len(value['windows'])} windows, {len(value['gaps'])} gaps"
    gaps = "".join(
        f"<li>{_figure(f'gaps.{i}.from', gap['from'], gap['from'])} to {_figure(f'gaps.{i}.to', gap['to'], gap['to'])}:"
        f" {_text(gap['reason'])}</li>"
        for i, gap in enumerate(value["gaps"])
    )
    return (
        f'<h3>What can be restored</h3><figure><svg height="66" role="img" aria-label="{label}">{"".join(shapes)}</svg>'
        f"<figcaption><span>{scale.first:%Y-%m-%d %H:%M}</span><span>{scale.last:%Y-%m-%d %H:%M}</span></figcaption>"
        '</figure><p class="key"><span><i style="background: var(--data-soft)"></i>can be restored</span>'
        '<span><i style="background: var(--bad)"></i>gap</span><span><i style="background: var(--data)"></i>base</span>'
        '<span><i style="background: var(--good); border-radius: 50%"></i>verified or rehearsed</span></p>'
        + (f"<h3>Gaps</h3><ul>{gaps}</ul>" if gaps else "")
    )


def _span(kind: str, span: Json, scale: _Scale, title: str) -> str:
    first, last = scale.at(span["from"]), scale.at(span["to"])
    return (
        f'<rect class="{kind}" x="{first:.3f}%" y="14" width="{max(0.15, last - first):.3f}%" height="18">'
        f"<title>{_text(title)}</title></rect>"
    )


def _number(day: Json, key: str) -> int:
    return sum(day[kind] for kind in ("inserted", "updated", "deleted")) if key == "rows" else int(day[key])


def _bars(days: Sequence[Json], key: str, title: str, say: Any) -> str:
    """Return a bar for each day. say: how a number is written."""
    numbers = [_number(day, key) for day in days]
    if not numbers or not max(numbers):
        return ""
    height, most, width = 90, max(numbers), 100 / len(days)
    bars = "".join(
        f'<rect class="bar" data-key="days.{i}.{key}" data-value="{number}" x="{i * width + width * 0.1:.3f}%"'
        f' y="{height - height * 0.95 * number / most:.1f}" width="{width * 0.8:.3f}%"'
        f' height="{height * 0.95 * number / most:.1f}"><title>{day["day"]}: {_text(say(number))}</title></rect>'
        for i, (day, number) in enumerate(zip(days, numbers, strict=True))
    )
    return (
        f'<h3>{title}</h3><figure><svg height="{height}" role="img" aria-label="{title}, at most {_text(say(most))}">'
        f"{bars}</svg><figcaption><span>{days[0]['day']}</span><span>at most {_text(say(most))}</span>"
        f"<span>{days[-1]['day']}</span></figcaption></figure>"
    )


def _table_changes(value: Json) -> str:
    """Return the most changed tables, each with its days."""
    tables = value["tables"][:_TABLES]
    silent = value["silent_segments"]
    number = _figure("silent_segments", silent, count_text(silent, "segment"))
    untold = f'<p class="soft">{number} without changes by table in the manifest</p>' if silent else ""
    if not tables:
        return untold
    days = [day["day"] for day in value["days"]]
    rows = "".join(
        f"<tr><td>{_text(table['table'])}</td>"
        f'<td class="number">{_figure(f"tables.{i}.rows", table["rows"], format(table["rows"], ","))}</td>'
        f"<td>{_spark([table['days'].get(day, 0) for day in days])}</td></tr>"
        for i, table in enumerate(tables)
    )
    more = len(value["tables"]) - len(tables)
    rest = f'<p class="soft">and {count_text(more, "other table")}</p>' if more else ""
    head = '<tr><th>table</th><th class="number">rows changed</th><th>by day</th></tr>'
    return f'<h3>Changes by table</h3><div class="wide"><table>{head}{rows}</table></div>{rest}{untold}'


def _spark(numbers: Sequence[int]) -> str:
    width, most = 100 / max(1, len(numbers)), max(numbers, default=0)
    bars = "".join(
        f'<rect class="bar" x="{i * width:.2f}%" y="{22 - 20 * number / most:.1f}" width="{width * 0.8:.2f}%"'
        f' height="{20 * number / most:.1f}"/>'
        for i, number in enumerate(numbers)
        if number
    )
    return f'<svg aria-hidden="true">{bars}</svg>'


def _schema_changes(changes: Sequence[Json]) -> str:
    """Return the newest schema changes."""
    if not changes:
        return ""
    rows = "".join(
        f"<tr><td>{_text(change['time'][:19])}</td><td>{_text(change['tag'])}</td><td>{_text(change['name'])}</td></tr>"
        for change in reversed(changes[-_CHANGES:])
    )
    more = len(changes) - _CHANGES
    rest = f'<p class="soft">and {more} before them</p>' if more > 0 else ""
    head = "<tr><th>time</th><th>command</th><th>object</th></tr>"
    return f'<h3>Schema changes</h3><div class="wide"><table>{head}{rows}</table></div>{rest}'
