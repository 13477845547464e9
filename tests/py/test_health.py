"""States and limits: ranges as the plugin protocol has them, and the worst of several states."""

from __future__ import annotations

import pytest

from scribe.health.findings import Limit, State, parse_range, worst


@pytest.mark.unit
@pytest.mark.parametrize(
    ("text", "unit", "inside", "outside"),
    [
        ("10", "count", [0, 10], [-1, 11]),
        ("10:", "count", [10, 99], [9]),
        ("~:10", "count", [-5, 10], [11]),
        ("10:20", "count", [10, 20], [9, 21]),
        ("@10:20", "count", [9, 21], [10, 15]),
        ("1GB", "bytes", [1 << 30], [(1 << 30) + 1]),
        ("@1h:2h", "seconds", [0, 9999], [3600, 7200]),
        ("80%", "percent", [80], [81]),
        ("0:", "count", [0, 1e12], [-1]),
    ],
)
def test_ranges_are_the_plugin_protocols_with_units(text, unit, inside, outside):
    limit = Limit(critical=parse_range(text, unit))
    assert [limit.judge(number) for number in inside] == [State.OK] * len(inside)
    assert [limit.judge(number) for number in outside] == [State.CRITICAL] * len(outside)


@pytest.mark.unit
@pytest.mark.parametrize("text", ["", "x", "1:2:3", "20:10", "10GB", "1@2", "@"])
def test_what_is_no_range_is_refused(text):
    with pytest.raises(ValueError, match="."):
        parse_range(text, "count")


@pytest.mark.unit
def test_what_is_critical_is_not_hidden_by_what_is_unknown():
    assert worst([State.UNKNOWN, State.CRITICAL, State.OK]) == State.CRITICAL
    assert worst([State.UNKNOWN, State.WARNING]) == State.UNKNOWN
