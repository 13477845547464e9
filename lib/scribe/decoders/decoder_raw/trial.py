"""What a build of decoder_raw writes that is not what was done: found by running it, before anybody relies on it.

Small workloads run in a throw-away database of their own, so that neither the archive's stream nor capture sees them
and no table of the user's is decoded; the plugin is asked for them through a temporary slot there, with the options and
settings that the stream will have. What it writes is read by the reader that rotation uses. A fault that leaves the
information in the text is mended by the translation at rotation; a gap is what no translation can bring back.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from scribe.common.errors import ScribeError, TryAgainError
from scribe.common.postgres import (
    advisory_unlock,
    connect,
    fetch_value,
    patient_options,
    plugin_options,
    try_advisory_lock,
)
from scribe.decoders.decoder_raw.decoder import DecoderRaw
from scribe.decoders.decoder_raw.output import (
    Name,
    Pairs,
    read_delete,
    read_insert_head,
    read_truncate,
    read_update,
    read_values,
    statement_end,
)
from scribe.decoders.decoder_raw.trial_cases import PROBES, Change, Probe
from scribe.decoders.pgmessages import MISSING, DamageError
from scribe.decoders.registry import decoder_named
from scribe.decoders.rows.tables import CARRIER
from scribe.source.capture import WITHOUT_IDENTITY
from scribe.source.server import NOT_WAITING
from scribe.source.slot import find_blockers

PLUGIN = DecoderRaw.plugin
MARK = "pg_scribe: throw-away database in which decoder_raw is tried"
_SHOWN = 5  # names in one line
_OTHER = "Use another build of it, or another decoder."
_DROP_WAIT = 10.0  # seconds


@dataclass(frozen=True)
class Finding:
    """One way in which the text is not what was done. lost: no translation can mend it; tables: those hit now."""

    name: str
    text: str
    lost: bool
    tables: tuple[tuple[str, str], ...] = ()

    def as_json(self) -> dict[str, str]:
        """Return what archive.json says of it."""
        return {"name": self.name, "text": self.text}


_TABLES = """
SELECT n.nspname, c.relname FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm') AND c.relpersistence = 'p' AND c.oid >= 16384
  AND n.nspname NOT IN ('information_schema', 'scribe') AND n.nspname !~ '^pg_' AND ({}) ORDER BY 1, 2
"""


def accepted_gaps(identity: Mapping[str, Any]) -> list[Finding]:
    """Return what was accepted when the archive was made; identity: archive.json."""
    return [Finding(gap["name"], gap["text"], True) for gap in identity.get("accepted_gaps", [])]


# --- running them ---------------------------------------------------------------------------------------------------


def may_try(conn: psycopg.Connection[Any]) -> bool:
    """Whether the role may make a database."""
    query = "SELECT rolsuper OR rolcreatedb FROM pg_catalog.pg_roles WHERE rolname = current_user"
    return fetch_value(conn, query) is True


def find_gaps(conn: psycopg.Connection[Any], wait: float) -> list[Finding]:
    """Return what the installed plugin gets wrong, with the tables of conn's database that each concerns.

    wait: seconds for other transactions. Raises TryAgainError where those are in the way, ScribeError where the plugin
    cannot be used.
    """
    texts = run_probes(conn, PROBES, wait)
    findings = [find_frames(texts)]
    for probe in PROBES:
        if probe.name in texts:
            findings.append(judge(probe, texts[probe.name]))
    return [_with_tables(conn, finding) for finding in findings if finding is not None]


def _with_tables(conn: psycopg.Connection[Any], finding: Finding) -> Finding:
    hit = next((probe.hit for probe in PROBES if probe.name == finding.name), "")
    if not hit:
        return finding
    query = WITHOUT_IDENTITY if finding.name == "no_identity" else _TABLES.format(hit)
    return Finding(finding.name, finding.text, finding.lost, tuple(conn.execute(query).fetchall()))


def find_frames(texts: Mapping[str, list[bytes]]) -> Finding | None:
    """Return what the frames of transactions lack. Raises ScribeError where there are none."""
    written = [text for text in texts.values() if text]  # one in which nothing happened need not be there
    if not written:
        raise ScribeError(f"this build of {PLUGIN} writes nothing", _OTHER)
    for text in written:
        if text[0] != b"BEGIN;" or text[-1] != b"COMMIT;":
            shown = b" ... ".join([text[0], text[-1]])[:80].decode(errors="replace")
            raise ScribeError(f'this build of {PLUGIN} does not write BEGIN; ... COMMIT; but "{shown}"', _OTHER)
    lack = "transactions come without their number, LSN and time:"
    lack += " a restore stops at marks and where segments end, not anywhere"
    return Finding("positions", lack, True)


def judge(probe: Probe, messages: list[bytes]) -> Finding | None:
    """Return what is wrong with what the plugin wrote of a probe, None where nothing is."""
    text = b"".join(message + b"\n" for message in messages)
    try:
        found = [_normal(change, probe) for change in read_changes(text)]
    except DamageError as error:
        return Finding(probe.name, f"{probe.loss}: it is written in a form that cannot be read ({error})", True)
    expected = [_normal(change, probe) for change in probe.expected]
    if [change for change in found if change[1] != "public.view"] != expected:  # which REFRESH fills
        return Finding(probe.name, probe.loss, True)
    if probe.shows and re.search(probe.shows, text.decode(errors="replace")):
        return Finding(probe.name, probe.fault, False)
    return None


def _normal(change: Change, probe: Probe) -> Change:
    """Leave out of a change what need not be in it."""
    kind, table, *parts = change
    if kind == "TRUNCATE":
        return change
    left_out = {"INSERT": [probe.optional], "UPDATE": [probe.optional, probe.beside], "DELETE": [probe.beside]}[kind]
    kept = [{k: v for k, v in part.items() if k not in out} for part, out in zip(parts, left_out, strict=True)]
    return (kind, table, *kept)


def run_probes(conn: psycopg.Connection[Any], probes: Iterable[Probe], wait: float) -> dict[str, list[bytes]]:
    """Return what the plugin writes of each probe's transaction, message by message."""
    chosen = [probe for probe in probes if conn.info.server_version >= probe.since]
    with throwaway_database(conn) as name, connect(dbname=name, options=_options(conn, wait)) as work:
        for probe in chosen:
            work.execute(probe.setup.encode())
        with _temporary_slot(conn, work, wait) as slot:
            xids = {_run(work, probe): probe.name for probe in chosen}
            texts: dict[str, list[bytes]] = {probe.name: [] for probe in chosen}
            words = [word for option in _plugin_options() for word in option]
            query = sql.SQL("SELECT xid::text, data FROM pg_catalog.pg_logical_slot_get_binary_changes({})").format(
                sql.SQL(", ").join([sql.Literal(slot), sql.SQL("NULL, NULL"), *map(sql.Literal, words)])
            )
            for xid, data in _decode(work, query):
                if xid in xids:
                    texts[xids[xid]].append(bytes(data))
    return texts


def _decode(work: psycopg.Connection[Any], query: sql.Composed) -> list[tuple[str, bytes]]:
    """Run what makes the plugin decode. Raises ScribeError."""
    try:
        return work.execute(query).fetchall()
    except psycopg.Error as error:
        if _is_lost(work, error):
            raise ScribeError(f"the server closed the connection while {PLUGIN} was tried", _OTHER) from None
        raise _failure(error) from None


def _is_lost(conn: psycopg.Connection[Any], error: psycopg.Error) -> bool:
    """Whether the server has gone, or is about to: 57P0x, or no answer at all."""
    return conn.broken or error.sqlstate is None or error.sqlstate.startswith("57P")


def _failure(error: psycopg.Error) -> ScribeError:
    said = (str(error).strip().splitlines() or ["?"])[0]
    return ScribeError(f"could not try {PLUGIN}: {said}", _OTHER)


def _run(work: psycopg.Connection[Any], probe: Probe) -> str:
    with work.transaction():
        xid = str(fetch_value(work, "SELECT pg_catalog.pg_current_xact_id()::pg_catalog.xid::text"))
        work.execute(probe.work.encode())
    return xid


def _options(conn: psycopg.Connection[Any], wait: float) -> str:
    pinned = decoder_named(PLUGIN).server_options({"encoding": "UTF8"})
    own = f"-c lock_timeout={max(1, int(wait * 1000))} -c search_path=public -c standard_conforming_strings=on"
    return f"{patient_options(conn)} {NOT_WAITING} {plugin_options(conn, PLUGIN)} {pinned} {own}"


def _plugin_options() -> list[tuple[str, str]]:
    """Return the names and values of the options that pg_recvlogical will ask for."""
    flags = [flag.removeprefix("--option=") for flag in decoder_named(PLUGIN).receiver_options({"encoding": "UTF8"})]
    return [(name, value) for name, _, value in (flag.partition("=") for flag in flags)]


@contextlib.contextmanager
def _temporary_slot(conn: psycopg.Connection[Any], work: psycopg.Connection[Any], wait: float) -> Iterator[str]:
    name = f"scribe_test_{work.info.backend_pid}"
    try:
        work.execute("SELECT pg_catalog.pg_create_logical_replication_slot(%s, %s, true)", [name, PLUGIN])
    except psycopg.errors.LockNotAvailable:
        blockers = "; ".join(find_blockers(conn, wait)[:_SHOWN]) or "transactions that were open all the time"
        raise TryAgainError(
            f"could not try {PLUGIN} within {wait:g} s: a replication slot waits for {blockers}",
            "Wait for these transactions to end, or end them, then run the same command again.",
        ) from None
    except psycopg.Error as error:
        raise _failure(error) from None
    yield name  # it goes with the connection


# Nobody else gets in, at any moment: before 15 he could make what our statements would find in schema public.
_MAKE = (
    "CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C' ALLOW_CONNECTIONS false",
    "COMMENT ON DATABASE {} IS {mark}",
    "REVOKE ALL ON DATABASE {} FROM PUBLIC",
    "ALTER DATABASE {} ALLOW_CONNECTIONS true",
)


@contextlib.contextmanager
def throwaway_database(conn: psycopg.Connection[Any]) -> Iterator[str]:
    """Make an empty database for one block; what a run that died has left is removed first."""
    name = database_name(conn)
    if not try_advisory_lock(conn, MARK):
        raise TryAgainError("another scribe-init is at work on this database", "Wait for it to end, then try again.")
    with contextlib.ExitStack() as stack:
        stack.callback(_unlock, conn)
        remove_database(conn)
        for number, words in enumerate(_MAKE):
            conn.execute(sql.SQL(words).format(sql.Identifier(name), mark=sql.Literal(MARK)))
            if number == 0:
                stack.callback(_drop, conn, name)
        yield name


def database_name(conn: psycopg.Connection[Any]) -> str:
    """Return the name of the throw-away database that goes with conn's."""
    oid = fetch_value(conn, "SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()")
    return f"scribe_test_of_{oid}"


def is_left(conn: psycopg.Connection[Any]) -> bool:
    """Whether a run that died has left its throw-away database."""
    query = "SELECT true FROM pg_catalog.pg_database WHERE datname = %s"
    return fetch_value(conn, query, [database_name(conn)]) is True


# One that was cut off before it had its comment lets nobody in; any other without one may be somebody's.
_LEFT = """
SELECT coalesce(pg_catalog.shobj_description(d.oid, 'pg_database') = %s, NOT d.datallowconn)
  AND (r.rolsuper OR r.rolname = CURRENT_USER)
FROM pg_catalog.pg_database AS d JOIN pg_catalog.pg_roles AS r ON r.oid = d.datdba WHERE d.datname = %s
"""


def remove_database(conn: psycopg.Connection[Any]) -> bool:
    """Remove the throw-away database that a run that died has left; return whether there was one."""
    name = database_name(conn)
    row = conn.execute(_LEFT, [MARK, name]).fetchone()
    if row is None:
        return False
    if not row[0]:
        raise ScribeError(f'database "{name}" exists and is not pg_scribe\'s', "Rename it.")
    _drop(conn, name)
    return True


def _unlock(conn: psycopg.Connection[Any]) -> None:
    with contextlib.suppress(psycopg.OperationalError):  # the server is gone, and the lock with it
        advisory_unlock(conn, MARK)


def _drop(conn: psycopg.Connection[Any], name: str) -> None:
    """Drop the database; a session of a killed run keeps its slot for a moment longer.

    Where the server is gone it stays, for the next run.
    """
    deadline = time.monotonic() + _DROP_WAIT
    others = "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity WHERE datname = %s"
    while True:
        try:
            conn.execute(others, [name])
            conn.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
            return
        except psycopg.errors.ObjectInUse:
            if time.monotonic() > deadline:
                raise
        except psycopg.OperationalError as error:
            if _is_lost(conn, error):
                return
            raise
        time.sleep(0.05)


# --- reading what came ----------------------------------------------------------------------------------------------


def read_changes(text: bytes) -> list[Change]:
    """Return the changes in a text of decoder_raw's, as rotation reads them. Raises DamageError."""
    found: list[Change] = []
    at = 0
    while at < len(text):
        end = statement_end(text, at)
        if not end:
            raise DamageError("a statement is torn")
        if text.startswith(b"INSERT", at):
            head = read_insert_head(text, at)
            values = read_values(text, at + len(head.text), end)
            if len(values) != len(head.columns):
                raise DamageError("an INSERT has another number of values than of columns")
            found.append(("INSERT", _name(head.table), _row(dict(zip(head.columns, values, strict=True)))))
        elif text.startswith(b"UPDATE", at):
            table, sets, where = read_update(text, at, end)
            written = {name: value for name, value in sets.items() if value is not MISSING}
            found.append(("UPDATE", _name(table), _row(written), _row(where)))
        elif text.startswith(b"DELETE", at):
            table, where = read_delete(text, at, end)
            found.append(("DELETE", _name(table), _row(where)))
        elif text.startswith(b"TRUNCATE", at):
            tables, restart = read_truncate(text, at)
            found.append(("TRUNCATE", frozenset(map(_name, tables)), restart))
        at = end
    return found


def _name(name: Name) -> str:
    return ".".join(name).encode(CARRIER).decode()


def _row(pairs: Pairs) -> dict[str, Any]:
    return {
        name.encode(CARRIER).decode(): value.decode(errors="replace") if isinstance(value, bytes) else value
        for name, value in pairs.items()
    }
