"""One look at one database: the checks with their limits, in a child that may hang, and what is known if it does."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from scribe.common.cli import prepare
from scribe.common.deadline import Collected, Outcome
from scribe.common.errors import ScribeError, UsageError
from scribe.health.checks import BY_NAME, Check, default_limit, run_checks
from scribe.health.facts import Survey
from scribe.health.findings import Finding, Limit, State, parse_range
from scribe.health.formats import Report
from scribe.health.overview import Facts, read_facts

MARGIN = 0.5  # seconds kept for printing
Ranges = Mapping[str, Mapping[str, str]]  # by the check's name, then by level


def time_for_children(timeout: float) -> float:
    """Return the seconds that a look may take of those the whole run may."""
    return max(timeout * 0.5, timeout - MARGIN)


def read_range(check: Check, level: str, text: str) -> str:
    """Return a range in base units. Raises UsageError."""
    try:
        return parse_range(text, check.unit)
    except ValueError as error:
        hint = 'Try "scribe-check --help".'
        raise UsageError(f"invalid {level} range for {check.name}: {error}", hint) from None


def read_setting(text: str) -> dict[str, dict[str, str]]:
    """Return the ranges in SCRIBE_CHECK_LIMITS. Raises UsageError."""
    given: dict[str, dict[str, str]] = {}
    for word in text.split():
        name, _, level = word.partition("=")[0].replace("-", "_").rpartition("_")
        if name not in BY_NAME or not BY_NAME[name].unit or level not in ("warning", "critical") or "=" not in word:
            hint = 'Write NAME-warning=RANGE or NAME-critical=RANGE; "scribe-check --help" lists them.'
            raise UsageError(f'SCRIBE_CHECK_LIMITS: there is no limit "{word}"', hint)
        given.setdefault(name, {})[level] = read_range(BY_NAME[name], level, word.partition("=")[2])
    return given


def examine(
    arguments: argparse.Namespace, checks: Sequence[Check], given: Ranges, timeout: float, *, with_facts: bool = False
) -> Iterator[dict[str, str] | Finding | Facts]:
    """Yield what is known of the subject, then each finding; wrong settings are a finding too.

    given: limits that come before those of the settings; with_facts: the archive's facts are the last.
    """
    try:
        settings = prepare(arguments, {"SCRIBE_ARCHIVE": getattr(arguments, "archive", None)})
        configured = read_setting(settings["SCRIBE_CHECK_LIMITS"] or "")
        survey = Survey(settings, timeout)
    except ScribeError as error:
        hint = error.hint or 'Try "scribe-check --help".'
        yield Finding("configuration", State.UNKNOWN, error.message, hint)
        return
    if survey.stored:
        if getattr(arguments, "only", None):
            text = "not looked at: the archive is in a store, and nothing there tells"
            yield from (Finding(check.name, State.UNKNOWN, text) for check in checks if not check.store)
        checks = [check for check in checks if check.store]
    yield {"archive": str(settings.place)}
    yield _subject(survey)
    limits = {}
    for check in checks:
        default = default_limit(check, settings)
        ranges: dict[str, str] = {"warning": default.warning, "critical": default.critical}
        limits[check.name] = Limit(**(ranges | configured.get(check.name, {}) | dict(given.get(check.name, {}))))
    yield from run_checks(list(checks), survey, limits)
    if with_facts:
        try:
            yield read_facts(survey.archive)
        except (ScribeError, OSError) as error:
            yield Finding("manifests", State.CRITICAL, str(error), 'Run "scribe-verify" to see what is wrong.')


def _subject(survey: Survey) -> dict[str, str]:
    try:
        return {"database": str(survey.identity["database"]), "slot": survey.slot_name}
    except (ScribeError, OSError):
        return {"database": ""}  # check "archive" says why


def complete(collected: Collected, checks: Sequence[Check], timeout: float) -> list[Finding]:
    """Return the findings; where the run did not end in time, what hung is critical and the rest unknown."""
    found, outcome = collected
    findings = [value for value in found if isinstance(value, Finding)]
    if outcome == Outcome.DIED:
        text = "the check ended before all was looked at"
        return [*findings, Finding("internal", State.UNKNOWN, text, "Please report this; run it again with --only.")]
    if outcome == Outcome.ENDED:
        return findings
    done = {finding.name for finding in findings}
    left = [check for check in checks if check.name not in done]
    archive_read = any(isinstance(value, dict) and "database" in value for value in found)
    culprit = "server" if archive_read and any(check.server for check in left) else "archive"
    text = f"did not answer within {timeout:g} s" if culprit == "server" else "could not be read in time"
    hint = (
        'Check the server with "pg_isready".'
        if culprit == "server"
        else "See whether its file system hangs, or the store answers."
    )
    findings = [finding for finding in findings if finding.name != culprit]
    findings.append(Finding(culprit, State.CRITICAL, f"the {culprit} {text}", hint))
    return findings + [Finding(c.name, State.UNKNOWN, "not reached in time", hint) for c in left if c.name != culprit]


def assemble(collected: Collected, checks: Sequence[Check], timeout: float, started: float) -> Report:
    """Return the report on one database. started: seconds since 1970."""
    subject: dict[str, Any] = {k: v for value in collected[0] if isinstance(value, dict) for k, v in value.items()}
    return Report(complete(collected, checks, timeout), started, time.time() - started, **subject)


def facts_of(collected: Collected) -> Facts | None:
    """Return the archive's facts, None where they could not be read."""
    return next((value for value in collected[0] if isinstance(value, Facts)), None)
