"""The checks of how old things are: the newest base, globals and metadata, the last verification and rehearsal."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from scribe.archive.derivation import read_fault
from scribe.common import files
from scribe.common.lsn import parse_lsn
from scribe.health.facts import Survey, parse_moment
from scribe.health.findings import SET_CLOCK, SLACK, Finding, Limit, State, Value, age_text, ago_text, worst

_DUMP = 'Run "scribe-dump" to take a new base.'


def check_base(survey: Survey, limit: Limit) -> Finding:
    """There is a base that the chain continues, and it is not too old."""
    base = survey.base
    if base is None:
        return Finding("base", State.CRITICAL, "there is no base: nothing can be restored", _DUMP)
    age = survey.now - base.finished
    values = [
        limit.value("base_age_seconds", age, "Age of the newest base."),
        Value("base_timestamp_seconds", base.finished, "When the newest base was finished, or recorded."),
    ]
    text = f"{base.path.name} is {age_text(age)}"
    if base.consistent_point < parse_lsn(survey.identity["chain_from_lsn"]):
        return Finding("base", State.CRITICAL, f"{text} and belongs to an older chain", _DUMP, values)
    state = limit.judge(age)
    fault = read_fault(survey.archive)
    if fault is not None and parse_moment(fault.time) > parse_moment(base.manifest["finished"]):
        ago = ago_text(survey.now - parse_moment(fault.time))
        failed = State.CRITICAL if fault.differs else State.WARNING
        text = f"{text}; none could be made from the archive {ago}: {fault.text}"
        return Finding("base", worst([state, failed]), text, fault.hint or _DUMP, values)
    return Finding("base", state, text, _hint(state, age, f"{_DUMP[:-1]}, and see whether its timer is on."), values)


def _hint(state: State, age: float, hint: str) -> str:
    """What helps if something's age is not OK. age: in seconds."""
    return "" if not state else SET_CLOCK if age < -SLACK else hint


def _stamp(name: str) -> float:
    return datetime.strptime(name[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()


def check_globals(survey: Survey, limit: Limit) -> Finding:
    """Roles and tablespaces are in the archive; a new file is only made when something changed.

    A base that was taken without them is restored with an older one's.
    """
    found = [_stamp(path.name) for path in survey.archive.globals_files()[-1:]]
    own = [base.stamp for base in survey.archive.bases() if (base.path / "globals.sql").is_file()]
    found += [_stamp(stamp) for stamp in own[-1:]]
    if not found:
        return Finding(
            "globals", State.CRITICAL, "roles and tablespaces are not in the archive", 'Run "scribe-globals".'
        )
    texts = "Age of the newest globals.", "When the newest globals were read."
    return _aged(survey, limit, "globals", max(found), texts=texts, hint='Run "scribe-globals".')


def check_metadata(survey: Survey, limit: Limit) -> Finding:
    """What a reader needs years later is in the archive."""
    places = [survey.archive.path / "meta.json"] + ([survey.base.path / "meta.json"] if survey.base else [])
    found = [path.stat().st_mtime for path in places if path.is_file()]
    if not found:
        return Finding(
            "metadata", State.WARNING, "no description of the database is in the archive", 'Run "scribe-meta".'
        )
    texts = "Age of the newest description of the database.", "When the database was last described."
    return _aged(survey, limit, "metadata", max(found), texts=texts, hint='Run "scribe-meta".')


def _aged(survey: Survey, limit: Limit, name: str, moment: float, *, texts: tuple[str, str], hint: str) -> Finding:
    """Judge something by its age. texts: what its age is, and what its moment."""
    age = survey.now - moment
    values = [
        limit.value(f"{name}_age_seconds", age, texts[0]),
        Value(f"{name}_timestamp_seconds", moment, texts[1]),
    ]
    state = limit.judge(age)
    return Finding(name, state, age_text(age), _hint(state, age, hint), values)


def check_verification(survey: Survey, limit: Limit) -> Finding:
    """The archive's files were compared with their checksums, and all were right."""
    return _result(survey, limit, "verification", "verify.json", 'Run "scribe-verify".')


def check_rehearsal(survey: Survey, limit: Limit) -> Finding:
    """A restore was rehearsed, and the copy was right."""
    return _result(survey, limit, "rehearsal", "rehearsal.json", 'Run "scribe-verify --rehearse".')


def _result(survey: Survey, limit: Limit, name: str, file: str, hint: str) -> Finding:
    """Judge what scribe-verify has left: time (UTC), ok, faults. What never happened is as old as the archive."""
    path, text = survey.archive.results / file, f"Age of the last {name}; of the archive where there was none."
    try:
        value: Any = files.read_json(path)
        moment, good, faults = parse_moment(str(value["time"])), value["ok"] is True, _faults(value)
    except FileNotFoundError:
        age = survey.now - survey.created
        values = [limit.value(f"{name}_age_seconds", age, text)]
        return Finding(name, limit.judge(age), "none yet", hint, values)
    except (KeyError, TypeError, AttributeError):
        return Finding(name, State.WARNING, f'could not read the result in "{path}"', hint)
    age = survey.now - moment
    values = [
        limit.value(f"{name}_age_seconds", age, text),
        Value(f"{name}_timestamp_seconds", moment, f"When the last {name} began."),
        Value(f"{name}_succeeded", int(good), f"1 if the last {name} found nothing wrong."),
    ]
    if not good:
        said = f"failed {ago_text(age)}: {(faults or ['it does not say why'])[0]}"
        more = f" and {len(faults) - 1} more" if len(faults) > 1 else ""
        return Finding(name, State.CRITICAL, said + more, f"Mend what it names; then: {hint}", values)
    state = limit.judge(age)
    return Finding(name, state, f"{ago_text(age)}, nothing wrong", _hint(state, age, hint), values)


def _faults(value: dict[str, Any]) -> list[str]:
    return [str(fault) for fault in value.get("faults", value.get("differences", []))]
