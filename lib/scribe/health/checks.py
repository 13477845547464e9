"""The list of checks, their default limits, and running them: each answers, whatever happens to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import psycopg

from scribe.common.errors import ScribeError, TryAgainError
from scribe.common.paths import SQL
from scribe.common.settings import Settings
from scribe.health import probes_age, probes_archive, probes_follow, probes_server, probes_slot
from scribe.health.facts import AwayError, Survey
from scribe.health.findings import Finding, Limit, State

AWAY_HINT = 'Check the server with "pg_isready", and PGHOST, PGPORT, PGUSER, PGDATABASE and "~/.pgpass".'
GRANT_HINT = f'Run "psql -f {SQL}/monitor.sql" as a superuser, and connect as scribe_monitor.'


@dataclass(frozen=True)
class Check:
    """A named check: what looks, whether it needs the server, what is measured, the default ranges."""

    name: str
    probe: Callable[[Survey, Limit], Finding]
    server: bool = False
    unit: str = ""  # bytes, seconds, percent or count; "": nothing that has limits
    warning: str = ""  # a range, or the name of a setting
    critical: str = ""
    store: bool = False  # whether an archive in a store tells it

    @property
    def purpose(self) -> str:
        """What it asserts, in one line."""
        return (self.probe.__doc__ or "").strip().splitlines()[0]


_DAY = 86400
CHECKS: tuple[Check, ...] = (
    Check("archive", probes_archive.check_archive, store=True),
    Check("stream", probes_archive.check_stream),
    Check("chain", probes_archive.check_chain, store=True),
    Check("segment", probes_archive.check_segment, False, "seconds", "3600", str(6 * 3600), store=True),
    Check("base", probes_age.check_base, False, "seconds", str(2 * _DAY), str(7 * _DAY), store=True),
    Check("globals", probes_age.check_globals, False, "seconds", store=True),
    Check("metadata", probes_age.check_metadata, False, "seconds", store=True),
    Check("verification", probes_age.check_verification, False, "seconds", str(8 * _DAY), str(31 * _DAY), store=True),
    Check("rehearsal", probes_age.check_rehearsal, False, "seconds", str(8 * _DAY), str(31 * _DAY), store=True),
    Check("disk", probes_archive.check_disk, False, "percent", "SCRIBE_DISK_WARNING", "95"),
    Check("shipping", probes_archive.check_shipping, False, "seconds", "900", str(_DAY)),
    Check("follow", probes_follow.check_follow, False, "seconds", "300", "3600"),
    Check("server", probes_server.check_server, True),
    Check("slot", probes_slot.check_slot, True),
    Check("lag", probes_slot.check_lag, True, "bytes", "SCRIBE_LAG_WARNING", "SCRIBE_LAG_CRITICAL"),
    Check("confirmed", probes_slot.check_confirmed, True, "bytes", "SCRIBE_LAG_WARNING", "SCRIBE_LAG_CRITICAL"),
    Check("standstill", probes_slot.check_standstill, True, "seconds", "3600", "SCRIBE_SLOT_AGE_EMERGENCY"),
    Check("wal", probes_slot.check_wal, True, "seconds", "3600:", "600:"),
    Check("xmin", probes_slot.check_xmin, True, "count", "200000000", "1000000000"),
    Check("spill", probes_slot.check_spill, True, "bytes"),
    Check("settings", probes_server.check_settings, True),
    Check("capture", probes_server.check_capture, True),
    Check("decoder", probes_server.check_decoder, True),
    Check("identity", probes_server.check_identity, True, "count", "0", "0"),
    Check("ddl", probes_server.check_ddl, True, "count", "0"),
    Check("large_objects", probes_server.check_large_objects, True, "count"),
    Check("heartbeat", probes_slot.check_heartbeat, True, "seconds", "5"),
)
BY_NAME: Mapping[str, Check] = {check.name: check for check in CHECKS}


def default_limit(check: Check, settings: Settings) -> Limit:
    """Return a check's ranges: what the settings say, else the defaults."""

    def text(word: str) -> str:
        return str(settings[word]) if word.startswith("SCRIBE_") else word

    return Limit(text(check.warning), text(check.critical))


def run_checks(checks: list[Check], survey: Survey, limits: Mapping[str, Limit]) -> Iterator[Finding]:
    """Yield a finding for each check; a fault in the archive or the server once, and why the rest is not known.

    limits: by name. The checks "archive" and "server" are added where they are not wanted and find a fault.
    """
    archive = answer(BY_NAME["archive"], survey, Limit())
    if archive.state or any(check.name == "archive" for check in checks):
        yield archive
    if archive.state:
        for check in checks:
            if check.name != "archive":
                yield Finding(check.name, State.UNKNOWN, "not looked at: the archive cannot be used")
        return
    server: Finding | None = None
    for check in sorted(checks, key=lambda c: c.server):
        if check.name == "archive":
            continue
        if check.server and server is None:
            server = answer(BY_NAME["server"], survey, Limit())
            if server.state == State.CRITICAL or any(c.name == "server" for c in checks):
                yield server
        if check.server and server is not None and server.state == State.CRITICAL and check.name != "server":
            yield Finding(check.name, State.UNKNOWN, "not looked at: the server cannot be asked")
        elif check.name != "server":
            yield answer(check, survey, limits[check.name])


def answer(check: Check, survey: Survey, limit: Limit) -> Finding:
    """Return what a check finds; whatever it raises is a finding too."""
    name = check.name
    try:
        return check.probe(survey, limit)
    except AwayError as error:
        return Finding(name, State.CRITICAL, f"the server cannot be asked: {error}", AWAY_HINT)
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedTable) as error:
        return Finding(name, State.UNKNOWN, f"could not ask the server: {_line(error)}", GRANT_HINT)
    except psycopg.errors.QueryCanceled:
        text = f"the server did not answer within {survey.timeout:g} s"
        return Finding(name, State.CRITICAL, text, "See what the server is busy with, or use -t SECONDS.")
    except psycopg.Error as error:
        return Finding(name, State.UNKNOWN, f"could not ask the server: {_line(error)}", "See the server's log.")
    except TryAgainError as error:
        return Finding(name, State.UNKNOWN, error.message, error.hint or "")
    except ScribeError as error:
        return Finding(name, State.CRITICAL, error.message, error.hint or 'Run "scribe-verify" to see what is wrong.')
    except OSError as error:
        where = f' "{error.filename}"' if error.filename else ""
        text = f"could not read{where}: {error.strerror or error}"
        return Finding(name, State.UNKNOWN, text, "Run scribe-check as the user who owns the archive.")
    except Exception as error:  # a plugin never ends in a traceback
        text = f"the check failed: {type(error).__name__}: {_line(error)}"
        return Finding(name, State.UNKNOWN, text, "Please report this with the line above.")


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
