"""The checks of the replication slot: the one thing of a backup that can take the database down."""

from __future__ import annotations

import os
import secrets
import time
from dataclasses import replace
from typing import Any

from scribe.common.paths import SQL
from scribe.decoders.registry import decoder_of, plugin_of
from scribe.health.facts import Survey
from scribe.health.findings import Finding, Limit, State, Value, size_text, time_text
from scribe.health.probes_archive import is_locked
from scribe.source import server as source
from scribe.stream.waiting import POLL, MarkWatch

_START = 'See "scribe-check --only stream,slot", and what scribe-stream says in its log.'
_NEW_CHAIN = 'Run "scribe-init" to begin a new chain with a new base.'
LEAST_SILENCE = 60.0  # seconds the slot's reader may say nothing; it says how far it is each SCRIBE_STATUS_INTERVAL
LATEST_HEARTBEAT = 5.0  # seconds a mark is waited for, when there is that much time

# When the WAL file was last written that holds an LSN, if a later one is in use; and how fast WAL is made, in bytes a
# second: the highest rate that the files finished within 5 minutes, within an hour and since the oldest one show. So
# nothing has to be kept between runs.
_WAL_FILES = """
WITH finished AS (
    SELECT name, size, modification, extract(epoch FROM pg_catalog.now() - modification)::float8 AS age
    FROM pg_catalog.pg_ls_waldir()
    WHERE name ~ '^[0-9A-F]{24}$' AND name < pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn())
)
SELECT (SELECT extract(epoch FROM modification)::float8 FROM finished
        WHERE name = pg_catalog.pg_walfile_name(%s::pg_lsn)) AS written,
       (SELECT max(made / greatest(60, length))
        FROM (SELECT sum(size) FILTER (WHERE age <= w)::float8 AS made, least(w, max(age)) AS length
              FROM finished, (VALUES (300::float8), (3600), ('Infinity')) AS windows (w) GROUP BY w) AS rates) AS rate
"""
_SPILL = """
SELECT spill_txns, spill_count, spill_bytes, total_txns, total_bytes FROM pg_catalog.pg_stat_replication_slots
WHERE slot_name = %s
"""


def _emergency(survey: Survey) -> str:
    command = f"psql -v slot={survey.slot_name} -f {SQL}/drop_slot.sql"
    return f'If the server\'s disk fills, give up the slot: "{command}" says what that costs, and changes nothing.'


def absent(name: str) -> Finding:
    """Return the answer of a check that has no slot to look at."""
    return Finding(name, State.UNKNOWN, "there is no slot to look at", 'See "scribe-check --only slot".')


def check_slot(survey: Survey, limit: Limit) -> Finding:
    """The slot is there, is ours, has all the WAL it needs, and is being read."""
    slot, name, identity = survey.slot, survey.slot_name, survey.identity
    if slot is None:
        values = [Value("slot_active", 0, "1 while the slot is being read.")]
        return Finding("slot", State.CRITICAL, f'replication slot "{name}" does not exist', _NEW_CHAIN, values)
    values = [Value("slot_active", int(slot["active"]), "1 while the slot is being read.")]
    plugin = plugin_of(identity)
    other = "Point SCRIBE_ARCHIVE, SCRIBE_SLOT and PGDATABASE at what belongs together."
    if slot["plugin"] != plugin:
        text = f'replication slot "{name}" uses "{slot["plugin"] or "no plugin"}", not "{plugin}"'
        return Finding("slot", State.CRITICAL, text, other, values)
    if slot["database"] != survey.server["database"]:
        text = f'replication slot "{name}" belongs to database "{slot["database"]}", not "{survey.server["database"]}"'
        return Finding("slot", State.CRITICAL, text, other, values)
    if slot["wal_status"] == "lost" or slot["invalidation"]:
        text = f'replication slot "{name}" is lost ({slot["invalidation"] or "the server removed WAL that it needed"})'
        return Finding("slot", State.CRITICAL, text, _NEW_CHAIN, values)
    if not slot["active"]:
        return Finding("slot", State.WARNING, f'replication slot "{name}" is not being read', _START, values)
    text = f'"{name}" is read by server process {slot["active_pid"]}'
    if not is_locked(survey.spool.stream_lock):
        reader = f"{slot['reader'] or 'an SQL session'} at {slot['reader_host'] or 'the server itself'}"
        text = f"{text} for {reader}, and scribe-stream does not run on this archive"
        hint = "End that reader: what it takes from the slot will be missing here. Then start scribe-stream."
        return Finding("slot", State.CRITICAL, text, hint, values)
    if slot["replied"] is not None:
        silence = survey.now - slot["replied"]
        values.append(
            Value("slot_reply_timestamp_seconds", slot["replied"], "When the slot's reader last said how far it is.")
        )
        if silence > max(LEAST_SILENCE, 3 * survey.settings["SCRIBE_STATUS_INTERVAL"]):
            text = f"{text}, which has heard nothing from pg_recvlogical for {time_text(silence)}"
            return Finding("slot", State.WARNING, text, _START, values)
    return Finding("slot", State.OK, text, values=values)


def check_lag(survey: Survey, limit: Limit) -> Finding:
    """WAL that the server keeps because of the slot."""
    return _lag(survey, limit, "lag", "restart_lsn", "of WAL kept for the slot")


def check_confirmed(survey: Survey, limit: Limit) -> Finding:
    """WAL that is not yet confirmed to be on the backup host's disk."""
    return _lag(survey, limit, "confirmed", "confirmed_flush_lsn", "not confirmed by the stream")


def _lag(survey: Survey, limit: Limit, name: str, column: str, what: str) -> Finding:
    number = survey.behind(column)
    if number is None:
        return absent(name)
    values = [limit.value(f"{name}_bytes", number, f"Bytes {what}.")]
    state, emergency = limit.judge(number), survey.settings["SCRIBE_LAG_EMERGENCY"]
    text, hint = f"{size_text(number)} {what}", _START if state else ""
    if number > emergency:
        state, hint = State.CRITICAL, f"{_START} {_emergency(survey)}"
        text = f"EMERGENCY: {text}, more than {size_text(emergency)}"
    return Finding(name, state, text, hint, values)


def check_standstill(survey: Survey, limit: Limit) -> Finding:
    """Since when the slot has not been read, or has not let go of WAL."""
    slot = survey.slot
    if slot is None or slot["restart_lsn"] is None:
        return absent("standstill")
    since = [_kept_since(survey)]
    if not slot["active"]:
        since.append(slot["inactive_since"] or _last_received(survey))
    moment = min(filter(None, since), default=None)
    age = survey.now - moment if moment is not None else 0.0
    values = [limit.value("standstill_age_seconds", age, "Since when the slot has stood still.")]
    if moment is not None:
        values.append(Value("slot_stands_since_timestamp_seconds", moment, "Since when the slot has stood still."))
    state = limit.judge(age)
    what = "has kept its oldest WAL" if slot["active"] else "has not been read"
    text = f"the slot {what} for {time_text(age)}" if moment is not None else "the slot advances"
    hint = ""
    if state:
        hint = "End the transaction that is open for that long (pg_stat_activity, pg_prepared_xacts)."
        hint = f"{hint if slot['active'] else _START} {_emergency(survey)}"
    return Finding("standstill", state, text, hint, values)


def _kept_since(survey: Survey) -> float | None:
    """Return when the WAL that the slot's restart_lsn lies in was left behind, None while it is the newest."""
    if survey.server["in_recovery"] or survey.slot is None:
        return None
    return _wal_files(survey)["written"]  # type: ignore[no-any-return]


def _wal_files(survey: Survey) -> dict[str, Any]:
    assert survey.slot is not None
    return survey.rows(_WAL_FILES, [survey.slot["restart_lsn"]])[0]


def _last_received(survey: Survey) -> float | None:
    """Return when something last came; before PostgreSQL 17 the server does not say since when a slot is idle."""
    paths = [survey.spool.stream, survey.spool.processes_path]
    return max((path.stat().st_mtime for path in paths if path.exists()), default=None)


def check_wal(survey: Survey, limit: Limit) -> Finding:
    """Whether the server may take away WAL that the slot needs, and when it will at the present rate."""
    slot = survey.slot
    if slot is None:
        return absent("wal")
    status, safe = slot["wal_status"], slot["safe_wal_size"]
    if status == "lost":
        return Finding("wal", State.CRITICAL, "the server has removed WAL that the slot needed", _NEW_CHAIN)
    values, text, state = [], f"wal_status {status}", State.OK
    if safe is not None:
        values.append(Value("safe_wal_bytes", safe, "WAL that can still be written before the slot is lost."))
        text += f", {size_text(safe)} until the slot is lost"
        rate = None if survey.server["in_recovery"] else _wal_files(survey)["rate"]
        if rate:
            left = max(0.0, safe / rate)
            values.insert(0, limit.value("wal_left_seconds", left, "Time until the slot is lost at the WAL rate."))
            text += f", about {time_text(left)} at the present rate"
            state = limit.judge(left) if _is_behind(survey) else State.OK
    if status == "unreserved":
        state = State.CRITICAL
    return Finding("wal", state, text, f"{_START} Raise max_slot_wal_keep_size to gain time." if state else "", values)


def _is_behind(survey: Survey) -> bool:
    """Whether the slot is not just where it always is: nobody reads it, or it is behind by the limit for a warning."""
    assert survey.slot is not None
    return not survey.slot["active"] or (survey.behind("restart_lsn") or 0) > survey.settings["SCRIBE_LAG_WARNING"]


def check_xmin(survey: Survey, limit: Limit) -> Finding:
    """How many transactions back the slot keeps VACUUM from removing what is dead."""
    slot = survey.slot
    if slot is None:
        return absent("xmin")
    ages = {"xmin": slot["xmin_age"], "catalog_xmin": slot["catalog_xmin_age"]}
    known = {name: age for name, age in ages.items() if age is not None}
    number = max(known.values(), default=0)
    values = [limit.value("xmin_transactions", number, "Transactions since the oldest one the slot keeps visible.")]
    text = ", ".join(f"{name} is {age} transactions old" for name, age in known.items()) or "nothing is kept"
    state = limit.judge(number)
    hint = f"{_START} The slot keeps VACUUM from freezing; at 2 billion the server stops." if state else ""
    return Finding("xmin", state, text, hint, values)


def check_spill(survey: Survey, limit: Limit) -> Finding:
    """What decoding wrote to the server's disk because a transaction was larger than logical_decoding_work_mem."""
    if survey.server["version_num"] < 140000:
        return Finding("spill", State.OK, "PostgreSQL 13 does not count it")
    rows = survey.rows(_SPILL, [survey.slot_name])
    if not rows:
        return absent("spill")
    row = rows[0]
    values = [
        limit.value("spilled_bytes", row["spill_bytes"], "Bytes that decoding has spilled to the server's disk."),
        Value("spilled_transactions", row["spill_txns"], "Transactions that decoding has spilled."),
        Value("decoded_bytes", row["total_bytes"], "Bytes that decoding has sent."),
        Value("decoded_transactions", row["total_txns"], "Transactions that decoding has sent."),
    ]
    values = [replace(value, counts=True) for value in values]
    state = limit.judge(row["spill_bytes"])
    text = f"{row['spill_txns']} of {row['total_txns']} transactions, {size_text(row['spill_bytes'])}"
    hint = f"Raise logical_decoding_work_mem, then \"SELECT pg_stat_reset_replication_slot('{survey.slot_name}')\"."
    return Finding("spill", state, text, hint if state else "", values)


def check_heartbeat(survey: Survey, limit: Limit) -> Finding:
    """A mark written in the source arrives on this host's disk; nothing is locked and nobody waits for it."""
    if survey.server["in_recovery"]:
        text = "the server is a standby: a mark cannot be written here"
        return Finding("heartbeat", State.UNKNOWN, text, "Connect to the primary, or use --no-heartbeat.")
    if not is_locked(survey.spool.stream_lock):
        hint = 'Start it: "systemctl start scribe-stream@NAME", or "scribe-stream".'
        return Finding("heartbeat", State.CRITICAL, "no stream is running that could bring a mark", hint)
    before = _received(survey)
    began = time.monotonic()
    waits = min(LATEST_HEARTBEAT, survey.timeout * 0.7)
    delay = _await_mark(survey, began + waits)
    if delay is None:
        text = f"a mark did not arrive within {time_text(waits)}"
        if _received(survey) != before:
            return Finding("heartbeat", State.WARNING, f"{text}, though data is arriving", _START)
        return Finding("heartbeat", State.CRITICAL, text, _START)
    values = [
        limit.value("heartbeat_delay_seconds", round(delay, 3), "Time from a commit in the source to its line here."),
        Value("heartbeat_timestamp_seconds", time.time(), "When a mark from the source last arrived."),
    ]
    state = limit.judge(delay)
    return Finding("heartbeat", state, f"a mark arrived after {delay:.2f} s", _START if state else "", values)


def _await_mark(survey: Survey, deadline: float) -> float | None:
    """Write a mark and return the seconds until it was in the spool; None when it was not there at the deadline."""
    here = survey.archive.incremental
    while True:
        changed = os.stat(here).st_mtime_ns
        mark = f"check.{secrets.token_hex(8)}"
        watch = MarkWatch(survey.spool, decoder_of(survey.identity), mark)
        began = time.monotonic()
        source.emit_mark(survey.conn, mark)
        while watch.look() is None:
            if time.monotonic() > deadline:
                return None
            if os.stat(here).st_mtime_ns != changed:
                break  # a rotation may have taken the mark out of the spool unseen
            time.sleep(POLL)
        else:
            return time.monotonic() - began


def _received(survey: Survey) -> list[tuple[str, int]]:
    """Return the spool's files with their sizes in bytes."""
    return [(path.name, path.stat().st_size) for path in survey.spool.paths()]
