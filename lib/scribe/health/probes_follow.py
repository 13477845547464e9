"""The check of the copies that follow: do they run, and how far behind are they?"""

from __future__ import annotations

from scribe.archive import followers
from scribe.archive.followers import Follower
from scribe.common.lsn import parse_lsn
from scribe.common.process import from_json
from scribe.health.facts import Survey
from scribe.health.findings import Finding, Limit, State, Value, size_text, time_text, worst
from scribe.spool.contents import find_last_end

_START = 'Start it: "systemctl start scribe-follow@NAME", or "scribe-restore --follow -d NAME"'


def check_follow(survey: Survey, limit: Limit) -> Finding:
    """The copies that follow the archive run, and since when the one that is furthest behind has not had everything."""
    found = followers.read_all(survey.archive)
    unreadable = [path for path, follower in found if follower is None]
    if unreadable:
        return Finding("follow", State.WARNING, f'could not read "{unreadable[0]}"', "Remove it, if it stays so.")
    copies = [(path, follower) for path, follower in found if follower is not None]
    values = [Value("followers", len(copies), "Copies that follow the archive.")]
    if not copies:
        return Finding("follow", State.OK, "no copy follows the archive", values=values)
    end = _find_end(survey)
    path, behind = min(copies, key=lambda pair: pair[1].current or pair[1].began)
    since = behind.current or behind.began
    age, lag = max(0.0, survey.now - since), max(0, end - parse_lsn(behind.position))
    dead = [(where, each) for where, each in copies if not _is_alive(each)]
    values += [
        limit.value("follow_age_seconds", age, "How long ago the copy furthest behind held all of the archive."),
        Value("follow_timestamp_seconds", since, "When the copy furthest behind last held all of the archive."),
        Value("follow_lag_bytes", lag, "WAL between what the copy furthest behind holds and what the archive does."),
        Value("follow_running", len(copies) - len(dead), "Copies whose follower runs."),
    ]
    if dead:
        where, each = dead[0]
        said = f"nobody keeps {_name(each)} up to date, {_words(survey, each)}"
        hint = f'{_START}; or, if that copy is gone, remove "{where}".'
        return Finding("follow", State.CRITICAL, said, hint, values)
    state = limit.judge(age)
    stuck = next((each for _, each in copies if each.waiting is not None), None)
    if stuck is not None:
        said = f"{_name(stuck)} waits: {stuck.waiting}; {_words(survey, stuck)}"
        return Finding("follow", worst([State.WARNING, state]), said, "Give its server what it lacks.", values)
    said = f"{_name(behind)}: {size_text(lag)} of WAL behind, {_words(survey, behind)}"
    hint = "See what the follower and the copy's server are busy with, and who holds locks there." if state else ""
    return Finding("follow", state, f"{len(copies)} copies; {said}" if copies[1:] else said, hint, values)


def _name(follower: Follower) -> str:
    return f'copy "{follower.database}" on {follower.server}'


def _words(survey: Survey, follower: Follower) -> str:
    if follower.current is None:
        return "which has not held everything yet"
    return f"which held everything {time_text(survey.now - follower.current)} ago"


def _is_alive(follower: Follower) -> bool:
    process = from_json(follower.process)
    return process is not None and process.alive()


def _find_end(survey: Survey) -> int:
    """Return the last LSN that the archive holds, as far as the ends of its files tell."""
    manifests = survey.tail.manifests
    archived = parse_lsn(manifests[-1][1]["to_lsn"]) if manifests else parse_lsn(survey.identity["chain_from_lsn"])
    return max(archived, find_last_end(survey.spool) or 0)
