"""The checks of the archive as it stands: its stream, its chain, its disk, and what waits to go on."""

from __future__ import annotations

import fcntl
import os
import stat
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from scribe.archive.layout import Archive, Segment
from scribe.archive.shipping import Outbox
from scribe.common.errors import ScribeError
from scribe.common.lsn import format_lsn, parse_lsn
from scribe.common.process import Process, from_json
from scribe.health.facts import Survey, parse_moment
from scribe.health.findings import Finding, Limit, State, Value, count_text, size_text, time_text, worst
from scribe.offsite.sync import read_record, unsent

_DUMP = 'Run "scribe-dump" to take a new base.'
_NEW_CHAIN = 'Run "scribe-init" to begin a new chain with a new base.'


def check_archive(survey: Survey, limit: Limit) -> Finding:
    """The archive can be read and is one."""
    path = survey.archive.path
    unreadable = f'Run scribe-check as the user who owns "{path}".'
    try:
        if not path.is_dir():
            hint = "Mount its file system, or correct SCRIBE_ARCHIVE; a new archive begins with scribe-init."
            return Finding("archive", State.CRITICAL, f'there is no directory "{path}"', hint)
        identity = survey.identity
        missing = [
            p for p in (survey.archive.spool, survey.archive.incremental, survey.archive.bases_path) if not p.is_dir()
        ]
    except PermissionError as error:
        return Finding("archive", State.UNKNOWN, f'could not read "{error.filename}": {error.strerror}', unreadable)
    except ScribeError as error:
        hint = error.hint or 'Bring "archive.json" back from a copy of the archive.'
        return Finding("archive", State.CRITICAL, error.message, hint)
    if missing:
        hint = "Mount its file system, if it has one of its own; or bring it back from a copy of the archive."
        return Finding("archive", State.CRITICAL, f'directory "{missing[0]}" is missing', hint)
    if not all(os.access(p, os.R_OK | os.X_OK) for p in (survey.archive.spool, survey.archive.incremental)):
        return Finding("archive", State.UNKNOWN, f'could not read what is in "{path}"', unreadable)
    text = f'database "{identity["database"]}", slot "{identity["slot"]}"'
    created = Value("archive_created_timestamp_seconds", survey.created, "When the archive was made.")
    return Finding("archive", State.OK, text, values=[created])


def is_locked(path: Path) -> bool:
    """Whether somebody holds the lock; the look takes it, shared, for less than a millisecond."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)


def check_stream(survey: Survey, limit: Limit) -> Finding:
    """scribe-stream runs, and so does its pg_recvlogical."""
    known = survey.spool.read_processes()
    running = is_locked(survey.spool.stream_lock)
    value = [Value("stream_running", int(running), "1 while scribe-stream holds its lock.")]
    if not running:
        last = survey.spool.stream
        ago = f"; its last data came {time_text(survey.now - last.stat().st_mtime)} ago" if last.exists() else ""
        hint = 'Start it: "systemctl start scribe-stream@NAME", or "scribe-stream".'
        return Finding("stream", State.CRITICAL, f"scribe-stream is not running{ago}", hint, value)
    stream, receiver = from_json(known.get("stream")), from_json(known.get("receiver"))
    text = f"process {stream.pid}" if stream else "running"
    log = "See what scribe-stream says in its log"
    if receiver is None or not receiver.alive():
        hint = f"{log}: it is waiting for the server or for the slot."
        return Finding("stream", State.WARNING, f"scribe-stream runs ({text}) and receives nothing", hint, value)
    for process, name in ((receiver, "pg_recvlogical"), (stream, "scribe-stream")):
        if process is not None and process.stopped():
            said, hint = f"{name} is stopped and does nothing (SIGSTOP)", f'Run "kill -CONT {process.pid}".'
            return Finding("stream", State.CRITICAL, said, hint, value)
    elsewhere = _writes_elsewhere(survey, receiver)
    if elsewhere:
        hint = f"Restart scribe-stream, and see who moves or removes files of its spool. {log}."
        return Finding("stream", State.CRITICAL, f'pg_recvlogical writes to "{elsewhere}"', hint, value)
    return Finding("stream", State.OK, f"{text}, pg_recvlogical {receiver.pid}", values=value)


def _writes_elsewhere(survey: Survey, receiver: Process) -> str:
    """Return the file that pg_recvlogical has open outside the spool, where nothing takes it up; "" for none."""
    found = _strangers(survey, receiver)
    return next(iter(found & _strangers(survey, receiver)), "")  # not one that a rotation moves just now


def _strangers(survey: Survey, receiver: Process) -> set[str]:
    found = set()
    with suppress(OSError):  # another user's process does not show its files
        opened = {entry.name: os.stat(entry.path) for entry in os.scandir(f"/proc/{receiver.pid}/fd")}
        spool = {(status.st_dev, status.st_ino) for status in map(os.stat, os.scandir(survey.spool.path))}
        for number, status in opened.items():
            if int(number) > 2 and stat.S_ISREG(status.st_mode) and (status.st_dev, status.st_ino) not in spool:
                found.add(os.readlink(f"/proc/{receiver.pid}/fd/{number}"))
    return found


def check_segment(survey: Survey, limit: Limit) -> Finding:
    """How long the oldest change has been waiting to be in a segment; and when the newest segment was closed."""
    manifests = survey.tail.manifests
    closed = parse_moment(manifests[-1][1]["closed"]) if manifests else None
    if survey.stored:
        return _check_newest(survey, limit, closed)
    since = survey.waiting_since
    age = 0.0 if since is None else survey.now - max(since, closed or 0.0)
    values = [limit.value("unarchived_age_seconds", age, "How long the oldest change has been in the spool only.")]
    if since is not None:
        values.append(
            Value("unarchived_timestamp_seconds", survey.now - age, "Since when changes are in the spool only.")
        )
    if closed is not None:
        values.append(Value("segment_timestamp_seconds", closed, "When the newest segment was closed."))
    values.append(Value("segments", survey.tail.total, "Finished segments in the archive."))
    newest = f"the newest segment is {time_text(survey.now - closed)} old" if closed else "there is no segment yet"
    waiting = "nothing waits" if since is None else f"changes have been waiting for {time_text(age)}"
    state = limit.judge(age)
    hint = 'Run "scribe-rotate", and see whether its timer is on.' if state else ""
    return Finding("segment", state, f"{newest}, {waiting}", hint, values)


def _check_newest(survey: Survey, limit: Limit, closed: float | None) -> Finding:
    """Judge a store by the age of its newest segment: what is not there cannot be seen from there."""
    if closed is None:
        return Finding("segment", State.OK, "there is no segment yet")
    age = survey.now - closed
    values = [
        limit.value("segment_age_seconds", age, "Age of the newest segment in the store."),
        Value("segment_timestamp_seconds", closed, "When the newest segment was closed."),
        Value("segments", survey.tail.total, "Finished segments in the archive."),
    ]
    state = limit.judge(age)
    hint = 'Run "scribe-check --only segment,shipping" where the archive is.' if state else ""
    return Finding("segment", state, f"the newest segment there is {time_text(age)} old", hint, values)


def check_chain(survey: Survey, limit: Limit) -> Finding:
    """The newest segments continue each other from the base on, and no gap is known. scribe-verify looks at all."""
    broken = survey.archive.broken()
    values = [Value("chain_broken", int(broken is not None), "1 while a gap is known and no base follows it.")]
    if broken is not None:
        text = f"broken after {broken.get('lsn')} since {broken.get('since')}: {broken.get('reason')}"
        return Finding("chain", State.CRITICAL, text, _NEW_CHAIN, values)
    fault = _find_fault(survey)
    if fault is not None:
        hint = f'Bring the file back from a copy of the archive, or take a new base; "scribe-verify" says more. {_DUMP}'
        return Finding("chain", State.CRITICAL, fault, hint, values)
    tail = survey.tail
    end = tail.manifests[-1][1]["to_lsn"] if tail.manifests else survey.identity["chain_from_lsn"]
    text = f"{count_text(tail.total, 'segment')}, up to {end}; looked at the newest {len(tail.manifests)}"
    return Finding("chain", State.OK, text, values=values)


def _find_fault(survey: Survey) -> str | None:
    """Return what is wrong with the end of the chain, or None."""
    base, start = survey.base, parse_lsn(survey.identity["chain_from_lsn"])
    before: dict[str, Any] | None = None
    for path, manifest in survey.tail.manifests:
        data = path.with_name(manifest["file"])
        if (what := survey.archive.size_fault(data, manifest["bytes"])) is not None:
            return f'segment "{data.name}": {what}'
        if before is not None and parse_lsn(manifest["to_lsn"]) > start and parse_lsn(manifest["from_lsn"]) != start:
            if manifest["from_lsn"] != before["to_lsn"]:
                return (
                    f'segment "{data.name}" begins at {manifest["from_lsn"]}, the one before ends at {before["to_lsn"]}'
                )
            if manifest["previous_sha256"] not in (None, Segment(path, before).last_sha256):
                return f'segment "{data.name}" does not follow the one before it: its checksum is another'
        before = manifest
    if survey.tail.lacking:
        return f"{count_text(survey.tail.lacking, 'segment')} with a manifest and without its file"
    if base is not None and before is not None and base.consistent_point >= start:
        first = next((m for _, m in survey.tail.manifests if parse_lsn(m["to_lsn"]) > base.consistent_point), None)
        whole = survey.tail.total == len(survey.tail.manifests) or first is not survey.tail.manifests[0][1]
        if first is not None and whole and parse_lsn(first["from_lsn"]) > base.consistent_point:
            return f"no segment holds what follows base {base.path.name} at {format_lsn(base.consistent_point)}"
    return None


def check_disk(survey: Survey, limit: Limit) -> Finding:
    """Room on the archive's file system, and when it will be full at the rate of the newest segments."""
    usage = os.statvfs(survey.archive.path)
    total, free = usage.f_blocks * usage.f_frsize, usage.f_bavail * usage.f_frsize
    used = 100.0 * (usage.f_blocks - usage.f_bfree) / max(1, usage.f_blocks - usage.f_bfree + usage.f_bavail)
    values = [
        limit.value("disk_used_percent", round(used, 1), "How full the archive's file system is."),
        Value("disk_free_bytes", free, "What is free on the archive's file system."),
        Value("disk_size_bytes", total, "The size of the archive's file system."),
    ]
    text = f"{used:.0f} % used, {size_text(free)} free"
    rate = _archive_rate(survey)
    if rate:
        values.append(
            Value("disk_left_seconds", free / rate, "When the file system is full at the newest segments' rate.")
        )
        text += f", enough for {time_text(free / rate)} of segments"
    state = limit.judge(used)
    if usage.f_favail == 0 and usage.f_files:
        state, text = State.CRITICAL, f"{text}, no inode free"
    hint = 'Make room: "scribe-prune" says what may go; or move the archive to a bigger file system.' if state else ""
    return Finding("disk", state, text, hint, values)


def _archive_rate(survey: Survey) -> float:
    """Return the bytes a second by which segments grow the archive, 0 where that cannot be told."""
    with suppress(ScribeError, OSError):
        manifests = [manifest for _, manifest in survey.tail.manifests]
        if len(manifests) >= 3:
            last = max(survey.now, parse_moment(manifests[-1]["closed"]))
            seconds = last - parse_moment(manifests[0]["closed"])
            return sum(m["bytes"] for m in manifests[1:]) / seconds if seconds > 0 else 0.0
    return 0.0


def _check_remotes(survey: Survey, limit: Limit) -> Finding:
    """Judge what the last look at the places of SCRIBE_REMOTE has found."""
    known = read_record(survey.archive)
    hint = 'Run "scribe-sync -v": it says what is missing, and why.'
    for url in survey.settings["SCRIBE_REMOTE"]:
        if url not in known:
            return Finding("shipping", State.WARNING, f"{url} was not looked at yet", hint)
    remotes = [known[url] for url in survey.settings["SCRIBE_REMOTE"]]
    names = set(unsent(survey.archive, survey.settings["SCRIBE_REMOTE"]))
    told, missing = {str(n) for r in remotes for n in r["missing"]}, max(r["missing_bytes"] for r in remotes)
    waiting = missing + _newer(survey.archive, names - told)
    since = [moment for name in names if (moment := _written(survey.archive.path / name))]
    looked = min(float(remote["time"]) for remote in remotes)
    age = max(0.0, survey.now - min([looked, *since]))
    values = [
        limit.value("unsent_age_seconds", age, "Age of the oldest file that waits to be sent, or of the last look."),
        Value("unsent_files", len(names), "Finished files that a place of SCRIBE_REMOTE lacks."),
        Value("unsent_bytes", waiting, "Their size, at the place that lacks most."),
        Value("remote_look_timestamp_seconds", looked, "When the places were last looked at."),
    ]
    faults = [f"{remote['url']}: {remote['error']}" for remote in remotes if remote["error"]]
    unseen = sum(bool(remote["unseen"]) for remote in remotes)
    seen = f"{'tried' if unseen else 'looked at'} {time_text(survey.now - looked)} ago"
    text = f"{count_text(len(names), 'file')} not sent" if names else f"{count_text(len(remotes), 'place')} complete"
    if unseen:
        text = f"{count_text(unseen, 'place')} never seen"
    state = worst([limit.judge(age), State.WARNING if faults else State.OK])
    return Finding("shipping", state, "; ".join([f"{text}, {seen}", *faults]), hint if state else "", values)


def _newer(archive: Archive, manifests: Iterable[str]) -> int:
    """Return the bytes of what was finished since, which no look has counted: manifests, and what they describe."""
    paths = [archive.path / name for name in manifests]
    found = [each for path in paths for each in path.parent.glob("*" if path.stem == "manifest" else f"{path.stem}.*")]
    return sum(each.stat().st_size for each in found if each.is_file())


def _written(path: Path) -> float | None:
    with suppress(OSError):
        return path.stat().st_mtime
    return None


def check_shipping(survey: Survey, limit: Limit) -> Finding:
    """SCRIBE_ARCHIVE_COMMAND has taken every finished file, and the places of SCRIBE_REMOTE have them."""
    if survey.settings["SCRIBE_REMOTE"]:
        remote = _check_remotes(survey, limit)
        if remote.state or not survey.settings["SCRIBE_ARCHIVE_COMMAND"]:
            return remote
    command = survey.settings["SCRIBE_ARCHIVE_COMMAND"]
    outbox = Outbox(survey.archive, command)
    waiting = outbox.waiting()
    values = [Value("unsent_files", len(waiting), "Finished files that the archive command has not taken.")]
    if outbox.is_new_command():
        hint = 'Run "scribe-rotate": it sends everything with the present command.'
        return Finding("shipping", State.WARNING, "another archive command has sent what is sent", hint, values)
    if not waiting:
        return Finding("shipping", State.OK, "nothing waits" if command else "no archive command is set", values=values)
    ages = [0.0]
    for name in waiting:
        with suppress(OSError):
            ages.append(time.time() - (survey.archive.path / name).stat().st_mtime)
    values.insert(0, limit.value("unsent_age_seconds", max(ages), "Age of the oldest file that waits to be sent."))
    state = worst([limit.judge(max(ages))])
    text = f"{count_text(len(waiting), 'file')} not sent, the oldest {time_text(max(ages))} old"
    hint = 'Correct SCRIBE_ARCHIVE_COMMAND, then run "scribe-rotate": it says why the command failed.' if state else ""
    return Finding("shipping", state, text, hint, values)
