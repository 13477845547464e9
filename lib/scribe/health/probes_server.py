"""The checks of the source server and database: what pg_scribe needs there, and what the stream cannot carry."""

from __future__ import annotations

import contextlib
from typing import Any

import psycopg
from psycopg import sql

from scribe.archive.derivation import origin_of
from scribe.common.dialect import quote_identifier
from scribe.common.errors import ScribeError
from scribe.common.postgres import levels_for_decoding, program_version
from scribe.decoders.registry import plugin_of
from scribe.dump.as_made import find_as_made
from scribe.health.facts import Survey
from scribe.health.findings import Finding, Limit, State, Value, count_text, worst
from scribe.source.capture import GENERATED_KEYS, WITHOUT_IDENTITY, triggers_of
from scribe.source.ownership import refuse_strangers
from scribe.source.server import ANOTHER_DATABASE, ANOTHER_SERVER
from scribe.source.unqualified import find_unqualified
from scribe.source.unrestorable import find_absent, find_absent_values

PROGRAMS = ("pg_recvlogical", "pg_dump")
_INIT = 'Run "scribe-init": it puts right what is missing.'
_DUMP = 'Run "scribe-dump --from-source": a new base holds what the stream could not carry.'
_SHOWN = 3  # names in one line

_TRIGGERS = """
SELECT evtname::text AS name, evtenabled::text AS enabled FROM pg_catalog.pg_event_trigger
WHERE evtname LIKE '!scribe\\_%'
"""
# Those of others that fire before ours: what they do is recorded before the command that fired them.
_EARLIER = """
SELECT u.evtname::text AS name FROM pg_catalog.pg_event_trigger AS u
WHERE u.evtenabled <> 'D' AND u.evtname !~ '^!?scribe_'
  AND u.evtevent IN ('ddl_command_end', 'sql_drop', 'table_rewrite')
  AND u.evtname::text COLLATE "C" < '!scribe_'
ORDER BY 1
"""
# Of ddl_history, scribe_monitor may read these columns (sql/monitor.sql).
_DDL = """
SELECT kind, tag, reason, at::timestamptz(0)::text AS at, count(*) OVER ()::int AS total,
       count(*) FILTER (WHERE kind = 'lost') OVER ()::int AS lost
FROM scribe.ddl_history WHERE NOT exact AND at >= pg_catalog.to_timestamp(%s)
  AND coalesce(reason, '') !~ '^cut( [0-9]+)?: '  -- those are cut, exactly, at rotation
ORDER BY id DESC LIMIT 1
"""


def check_server(survey: Survey, limit: Limit) -> Finding:
    """The server answers, and is the one the archive belongs to."""
    server, identity = survey.server, survey.identity
    skew = server["skew"]
    values = [Value("server_clock_difference_seconds", round(skew, 1), "The server's clock minus this host's.")]
    if server["system_identifier"] != identity["system_identifier"]:
        text = f"this is another server: the archive belongs to system identifier {identity['system_identifier']}"
        return Finding("server", State.CRITICAL, text, ANOTHER_SERVER, values)
    if server["database_oid"] != identity["database_oid"]:
        text = f'the archive belongs to another database than "{server["database"]}" with OID {server["database_oid"]}'
        return Finding("server", State.CRITICAL, text, ANOTHER_DATABASE, values)
    text = f'PostgreSQL {server["version"].split()[0]}, database "{server["database"]}"'
    if abs(skew) > 60:
        text += f", whose clock differs by {abs(skew):.0f} s from this host's"
        return Finding("server", State.WARNING, text, "Set both clocks: restores to a time rely on them.", values)
    return Finding("server", State.OK, text, values=values)


def check_settings(survey: Survey, limit: Limit) -> Finding:
    """The server's settings that decide whether the slot can be lost, and whether the disk can fill."""
    keep, idle = survey.setting("max_slot_wal_keep_size"), survey.setting("idle_replication_slot_timeout")
    if survey.setting("wal_level") not in levels_for_decoding(survey.server["version_num"]):
        hint = 'Run "ALTER SYSTEM SET wal_level = logical", then restart the server.'
        return Finding("settings", State.CRITICAL, f"wal_level is {survey.setting('wal_level')}, not logical", hint)
    bounded = keep not in (None, "-1")
    text = f"max_slot_wal_keep_size is {keep}" if bounded else "max_slot_wal_keep_size is not set"
    advice = "" if bounded else "Advice: set max_slot_wal_keep_size to what the server's disk can spare."
    values = [Value("slot_wal_bounded", int(bounded), "1 if max_slot_wal_keep_size is set.")]
    if idle in (None, "0", "0s"):
        return Finding("settings", State.OK, text, advice, values)
    text = f"{text}, idle_replication_slot_timeout is {idle}"
    if survey.slot is not None and not survey.slot["active"]:
        hint = (
            'Start scribe-stream before the slot is given up, or "ALTER SYSTEM SET idle_replication_slot_timeout = 0".'
        )
        return Finding("settings", State.WARNING, f"{text} and nobody reads the slot", hint, values)
    advice = advice or "Advice: set idle_replication_slot_timeout to 0; a stream stopped for longer loses its slot."
    return Finding("settings", State.OK, text, advice, values)


def check_capture(survey: Survey, limit: Limit) -> Finding:
    """The event triggers that capture schema changes are there and fire always."""
    if survey.identity.get("schema_changes") == "detected":
        return Finding("capture", State.OK, "no event triggers: rotation detects schema changes, and stops at them")
    names = triggers_of(plugin_of(survey.identity))
    found = {row["name"]: row["enabled"] for row in survey.rows(_TRIGGERS)}
    missing = [name for name in names if name not in found]
    if missing:
        return Finding(
            "capture", State.CRITICAL, f"event trigger {', '.join(missing[:_SHOWN])} is missing", _again(_INIT)
        )
    for name in names:
        if found[name] != "A":
            word = "disabled" if found[name] == "D" else "not ENABLE ALWAYS"
            hint = _again(f"Run 'ALTER EVENT TRIGGER \"{name}\" ENABLE ALWAYS'.")
            return Finding("capture", State.CRITICAL, f"event trigger {name} is {word}", hint)
    if survey.setting("event_triggers") == "off":
        hint = _again('Run "ALTER SYSTEM RESET event_triggers", then "SELECT pg_reload_conf()".')
        return Finding("capture", State.CRITICAL, "event triggers are switched off (event_triggers)", hint)
    earlier = [row["name"] for row in survey.rows(_EARLIER)]
    if earlier:
        text = f"event trigger {quote_identifier(earlier[0])} fires before those of capture"
        hint = "Rename it to what begins with a letter or a digit: what it does is recorded before what fired it."
        return Finding("capture", State.WARNING, text, hint)
    return Finding("capture", State.OK, f"{len(names)} event triggers fire always")


def _again(hint: str) -> str:
    return f'{hint} Then run "scribe-dump": schema changes made meanwhile are not in the stream.'


def check_decoder(survey: Survey, limit: Limit) -> Finding:
    """The decoder's library loads, may be used, and the client programs are not older than the server."""
    plugin = plugin_of(survey.identity)
    install = 'Run "make install-decoder PG_CONFIG=..." with the pg_config of this server, on its host.'
    if plugin != "scribe_decoder":
        install = f"Install {plugin} for this server's version on its host."
    text = plugin
    if survey.server["superuser"]:
        try:
            survey.conn.execute(sql.SQL("LOAD {}").format(sql.Literal(f"$libdir/{plugin}")))
        except psycopg.Error as error:
            return Finding("decoder", State.CRITICAL, _first_line(error), install)
        text += " loads"
    allowed = survey.setting("output_plugin_libraries")
    names = [entry.strip().strip("'\"") for entry in (allowed or "").split(",")]
    active = survey.slot is not None and survey.slot["active"]
    if allowed is not None and plugin not in names and not survey.server["superuser"] and not active:
        words = ", ".join([*filter(None, names), plugin])
        hint = f'Run "ALTER ROLE ... SET output_plugin_libraries = {words}" for the role of scribe-stream.'
        return Finding("decoder", State.WARNING, f"{plugin} is not in output_plugin_libraries ({allowed})", hint)
    major = survey.server["version_num"] // 10000
    for program in PROGRAMS:
        with contextlib.suppress(ScribeError):  # not on this host's PATH: scribe-stream would say so
            version = program_version(program)
            if version < major:
                hint = f"Put the bin directory of PostgreSQL {major} or newer first in PATH."
                return Finding(
                    "decoder", State.CRITICAL, f"{program} {version} is older than the server ({major})", hint
                )
    accepted = [gap["name"] for gap in survey.identity.get("accepted_gaps", [])]
    if accepted:
        text += f"; accepted gaps: {', '.join(accepted)}"
    return Finding("decoder", State.OK, text)


def check_identity(survey: Survey, limit: Limit) -> Finding:
    """Every table has a replica identity, without which its UPDATEs and DELETEs are not in the stream."""
    rows = survey.rows(WITHOUT_IDENTITY)
    values = [
        limit.value("tables_without_identity", len(rows), "Tables whose UPDATEs and DELETEs are not in the stream.")
    ]
    if not rows and plugin_of(survey.identity) == "pgoutput":
        rows = survey.rows(GENERATED_KEYS)
        if rows:
            name = f"{quote_identifier(rows[0]['nspname'])}.{quote_identifier(rows[0]['relname'])}"
            text = f"{count_text(len(rows), 'table')} of which a generated column bars UPDATE and DELETE, or hides them"
            hint = f"Give {name} a primary key of columns that are not generated."
            return Finding("identity", limit.judge(len(rows)), f"{text}: {name}", hint, values)
    if not rows:
        return Finding("identity", limit.judge(0), "every table has a usable replica identity", values=values)
    names = [f"{quote_identifier(row['nspname'])}.{quote_identifier(row['relname'])}" for row in rows]
    shown = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
    hint = f'Give each a primary key, or run "ALTER TABLE {names[0]} REPLICA IDENTITY FULL"; then run "scribe-dump".'
    text = f"{count_text(len(rows), 'table')} without a usable replica identity: {shown}"
    return Finding("identity", limit.judge(len(rows)), text, hint, values)


def check_ddl(survey: Survey, limit: Limit) -> Finding:
    """No schema change since the newest base that could not be captured exactly."""
    if survey.base is None:
        return Finding("ddl", State.UNKNOWN, "there is no base to count from", _DUMP)
    if survey.identity.get("schema_changes") == "detected":
        return Finding("ddl", State.OK, "rotation compares the schema each time, and stops where it changed")
    from scribe.health.facts import parse_moment

    # A transaction with a row older than this held an xid when the base's slot was made, which waited for it.
    # One made from the archive holds what the stream carried, and no more.
    started = parse_moment(origin_of(survey.base.manifest)["started"]) + survey.server["skew"]
    refuse_strangers(survey.conn)
    rows = survey.rows(_DDL, [started])
    number, lost = (rows[0]["total"], rows[0]["lost"]) if rows else (0, 0)
    values = [
        limit.value("inexact_ddl", number, "Schema changes since the newest base that were not captured exactly."),
        Value("lost_ddl", lost, "Of these, the ones that are not in the stream at all."),
    ]
    if not rows and (unqualified := find_unqualified(survey.conn, str(survey.identity["decoder"]))):
        text = f"{unqualified[0].text} ({count_text(len(unqualified), 'function')}): {unqualified[0].outcome}"
        return Finding("ddl", State.WARNING, text, unqualified[0].hint, values)
    if not rows and (absent := find_absent(survey.conn)):
        text = f"{absent[0].text} ({count_text(len(absent), 'part')})"
        return Finding("ddl", State.WARNING, text, f"{absent[0].remedy}.", values)
    if not rows and (made := find_as_made(survey.conn).warnings(survey.base.manifest["format"])):
        return Finding("ddl", State.WARNING, *made[0], values)
    if not rows and (columns := find_absent_values(survey.conn)):
        return Finding("ddl", State.WARNING, columns[0].text, f"{columns[0].remedy}, then take a new base.", values)
    if not rows:
        return Finding("ddl", limit.judge(0), "every schema change since the newest base is exact", values=values)
    text = f"{count_text(number, 'change')} not captured exactly, {lost} of them not at all; the newest:"
    text = f"{text} {rows[0]['tag']} at {rows[0]['at']} ({rows[0]['reason'] or 'no reason recorded'})"
    state = worst([limit.judge(number), State.CRITICAL if lost else State.OK])
    return Finding("ddl", state, text, _DUMP if state else "", values)


def check_large_objects(survey: Survey, limit: Limit) -> Finding:
    """Large objects are sent whole at each rotation, or there are none where they are refused."""
    number = survey.rows("SELECT count(*)::int AS n FROM pg_catalog.pg_largeobject_metadata")[0]["n"]
    values = [limit.value("large_objects", number, "Large objects in the database.")]
    text = count_text(number, "large object") if number else "none"
    if number and survey.settings["SCRIBE_LARGE_OBJECTS"] == "refuse":
        hint = "Unset SCRIBE_LARGE_OBJECTS, so that they are archived, or remove those that no row names any more."
        text = f"{text}, and SCRIBE_LARGE_OBJECTS=refuse: changes to them are not archived"
        return Finding("large_objects", State.CRITICAL, text, hint, values)
    state = limit.judge(number)
    hint = "Each rotation reads the state of all of them; see how long it takes." if state else ""
    return Finding("large_objects", state, text, hint, values)


def _first_line(error: Any) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
