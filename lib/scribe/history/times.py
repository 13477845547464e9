"""Times as people name them: as psql reads them, and "2 hours ago"."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_UNITS = {"second": 1, "sec": 1, "minute": 60, "min": 60, "hour": 3600, "day": 86400, "week": 604800}
_AGO = re.compile(r"(\d+(?:\.\d+)?) *(second|sec|minute|min|hour|day|week)s? ago")
_POINT = re.compile(
    r"(?:(?P<date>\d{4,}-\d{1,2}-\d{1,2})|(?P<word>now|today|yesterday))?"
    r"(?:(?:^|[ T])(?P<hour>\d{1,2}):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:\.(?P<fraction>\d{1,6}))?)?)?"
    r" *(?P<zone>Z|z|[+-]\d\d(?::?\d\d)?|[A-Za-z][A-Za-z_]*(?:/[A-Za-z_]+)*)?"
)


def read_time(text: str, now: datetime | None = None) -> str:
    """Return a time as BEGIN lines have it: UTC, microseconds. Without a zone it is this machine's local time.

    Raises ValueError.
    """
    present = (now or datetime.now(UTC)).astimezone(UTC)
    stripped = text.strip()
    if ago := _AGO.fullmatch(stripped.lower()):
        return _line_time(present - timedelta(seconds=float(ago[1]) * _UNITS[ago[2]]))
    match = _POINT.fullmatch(stripped)
    if not stripped or match is None or not (match["date"] or match["word"] or match["hour"]):
        raise ValueError(f'invalid time "{text}"')
    if match["word"] == "now":
        return _line_time(present)
    zone = _zone(match["zone"], text)
    today = present.astimezone(zone)
    if match["date"]:
        year, month, day = (int(part) for part in match["date"].split("-"))
    else:
        date = today - timedelta(days=1 if match["word"] == "yesterday" else 0)
        year, month, day = date.year, date.month, date.day
    clock = (int(match["hour"] or 0), int(match["minute"] or 0), int(match["second"] or 0))
    moment = datetime(year, month, day, *clock, int((match["fraction"] or "").ljust(6, "0")))
    return _line_time(moment.replace(tzinfo=zone) if zone is not None else moment.astimezone())


def _zone(name: str | None, text: str) -> tzinfo | None:
    if name is None:
        return None
    if name in ("Z", "z"):
        return UTC
    if name[0] in "+-":
        digits = name[1:].replace(":", "").ljust(4, "0")
        offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
        return timezone(offset if name[0] == "+" else -offset)
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f'invalid time "{text}": there is no time zone "{name}"') from None


def _line_time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f+00")
