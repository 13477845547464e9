"""Connections to PostgreSQL: libpq's ways only, errors told apart by whether trying again may help."""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from scribe.common.errors import ScribeError, TryAgainError, UsageError

if TYPE_CHECKING:  # psycopg takes 0.15 s to load, which programs that read an archive need not wait for
    import psycopg

# SQLSTATEs of a server that is there and cannot serve now: out of slots, memory or disk; starting or stopping; the
# connection lost. Its words are in its own language (lc_messages).
_BUSY = re.compile(r"53...|57P0.|08...")
# libpq's own words: Python leaves LC_MESSAGES at C, so they are English.
_LOST = re.compile(r"server closed the connection")
_UNREACHABLE = re.compile(r"Connection refused|No such file|timeout expired")
# What libpq itself says where trying again cannot help: it does not trust the server, or knows no such service.
_DISTRUST = re.compile(r"certificate|SSL error|definition of service|service file")


def export_connection(parameters: Mapping[str, str | None]) -> None:
    """Put connection flags into this process's environment, where psycopg and PostgreSQL's programs find them.

    parameters: dbname (a name, conninfo string or URI), host, port, user; None where the flag was not given.
    A password in a conninfo string thus never reaches a command line. Raises UsageError.
    """
    given = {name: value for name, value in parameters.items() if value is not None}
    if not given:
        return
    import psycopg
    from psycopg import pq
    from psycopg.conninfo import conninfo_to_dict

    variables = {
        option.keyword.decode(): option.envvar.decode() for option in pq.Conninfo.get_defaults() if option.envvar
    }
    dbname = given.get("dbname", "")
    if "=" in dbname or dbname.startswith(("postgres://", "postgresql://")):
        try:
            given = {k: str(v) for k, v in conninfo_to_dict(given.pop("dbname"), **given).items()}
        except psycopg.ProgrammingError as error:
            hint = "Where an equals sign is part of the database's name, write dbname='NAME'."
            raise UsageError(f"invalid connection string: {str(error).strip()}", hint) from None
    unknown = [keyword for keyword in given if keyword not in variables]
    if unknown:
        raise UsageError(f'connection option "{unknown[0]}" cannot be given here')
    if "service" in given:
        os.environ["PGSERVICE"] = given.pop("service")
    if given and os.environ.get("PGSERVICE"):
        _unfold_service()
    for keyword, value in given.items():
        os.environ[variables[keyword]] = value


def _unfold_service() -> None:
    """Put what the service in PGSERVICE says into the environment: libpq lets a service win over variables.

    A service that cannot be found is left for libpq to complain of. Raises UsageError.
    """
    from psycopg import pq

    effective = pq.Conninfo.get_defaults()
    name = os.environ.pop("PGSERVICE")
    before = {option.keyword: option.val for option in pq.Conninfo.get_defaults()}
    changed = [o for o in effective if o.val != before[o.keyword] and o.keyword != b"service"]
    for option in changed:
        if not option.envvar:
            raise UsageError(
                f'service "{name}" sets {option.keyword.decode()}, which cannot be combined with connection flags',
                "Put everything into the service, or leave that option out.",
            )
    if not changed:
        os.environ["PGSERVICE"] = name
    for option in changed:
        os.environ[option.envvar.decode()] = (option.val or b"").decode()  # type: ignore[union-attr]


# What psycopg puts before the words of libpq; where neither host nor port is given, it says None.
_ATTEMPT = re.compile(
    r"^(?:host: (?:None|'[^']*'), port: (?:None|'[^']*'), hostaddr: (?:None|'[^']*'): )?(?:connection failed: )?"
)


def _failure(error: psycopg.OperationalError, conninfo: str) -> ScribeError:
    from psycopg import pq

    # a server that refuses says "FATAL:  ..." in its own language; libpq's words have no two blanks there
    text = " ".join(re.sub(r"(?<=failed: )[^\s:]+(?=:  )", "FATAL", str(error)).split())
    # psycopg tries each address of each host, and lists the failures after the last one; a server's answer says most
    attempts = re.split(r" Multiple connection attempts failed\. All failures were:(?: - |$)| - (?=host: )", text)
    answer = next((attempt for attempt in attempts if "FATAL:" in attempt), None)
    first = _ATTEMPT.sub("", answer or attempts[0])
    if _DISTRUST.search(text):
        return UsageError(f"could not connect: {first}", "Check PGHOST, PGSSLMODE, PGSSLROOTCERT, or the service's.")
    if pq.PGconn.ping(conninfo.encode()) == pq.Ping.OK and not _is_busy(text, answer is not None, conninfo):
        return UsageError(f"could not connect: {first}", 'Check PGHOST, PGPORT, PGUSER, PGDATABASE and "~/.pgpass".')
    return TryAgainError(f"could not connect: {first}", 'Check the server with "pg_isready".')


def _is_busy(text: str, answered: bool, conninfo: str) -> bool:
    """Whether a server that is there may take the connection later."""
    if _LOST.search(text) or (not answered and _UNREACHABLE.search(text)):
        return True
    from scribe.common.refusal import find_sqlstates

    states = find_sqlstates(conninfo)
    return states == [] or any(_BUSY.fullmatch(state) for state in states or ())


# A database's owner, and a role for itself, may set the role that its sessions begin with: ours would work as that
# one. In libpq's PGOPTIONS the operator may name one.
OWN_ROLE = "-c role=none"
# What role, database or server may have set that changes what our SQL means, or what the server answers to it; or that
# ends or keeps out our sessions, or fills what we read of pg_dump's messages.
PINNED = " ".join(
    f"-c {setting}"
    for setting in (
        "standard_conforming_strings=on",
        "quote_all_identifiers=off",
        "array_nulls=on",
        "transform_null_equals=off",
        "lc_monetary=C",
        "bytea_output=hex",
        "xmlbinary=base64",
        "extra_float_digits=3",
        "default_transaction_isolation=read\\ committed",
        "default_transaction_deferrable=off",
        "default_tablespace=",
        "default_table_access_method=heap",
        "local_preload_libraries=",
        "exit_on_error=off",
        "client_min_messages=notice",
    )
)
# What may keep a restore from writing, or end it; not set on a source, where that is the administrator's word.
WRITING = " ".join(
    f"-c {setting}"
    for setting in (
        "default_transaction_read_only=off",
        "statement_timeout=0",
        "lock_timeout=0",
        "idle_in_transaction_session_timeout=0",
        "plpgsql.extra_errors=none",
    )
)
_SILENT = logging.NullHandler()


def server_options(*options: str) -> str:
    """Return options for the server, of "-c name=value" each, after our own role and what PGOPTIONS says."""
    return " ".join(filter(None, [OWN_ROLE, os.environ.get("PGOPTIONS", ""), *options]))


def connect(
    *, dbname: str | None = None, replication: bool = False, options: str = "", own_path: bool = False
) -> psycopg.Connection[Any]:
    """Open a connection with autocommit on, by libpq's environment.

    dbname: instead of PGDATABASE; replication: a walsender connection to that database; options: further
    "-c name=value" server options; own_path: the database's search_path stays.
    Raises TryAgainError when the server is away, UsageError when it refuses us.
    """
    import psycopg

    logging.getLogger("psycopg").addHandler(_SILENT)  # what it cannot do as a connection ends is nobody's concern
    parameters: dict[str, Any] = {"application_name": "pg_scribe", "client_encoding": "utf8"}
    if dbname is not None:
        parameters["dbname"] = dbname
    if replication:
        parameters["replication"] = "database"
    parameters["options"] = server_options(PINNED, options)  # before 15 a walsender loads libraries, too
    try:
        conn = psycopg.connect("", autocommit=True, **parameters)
        if not replication:
            if not own_path and "search_path" not in options:
                # the database's owner may have set one for us, or made what fits better than what we mean
                conn.execute("SELECT pg_catalog.set_config('search_path', '', false)")
            conn.execute(_SPEAK_ENGLISH)
        elif is_superuser(conn):
            conn.execute("SET lc_messages = 'C'")
    except psycopg.OperationalError as error:
        raise _failure(error, psycopg.conninfo.make_conninfo("", **parameters)) from None
    return conn


# Messages are for people and for the archive; the few that decide something are of pg_dump and pg_recvlogical.
_MAY_SPEAK = "(SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user)"
_SPEAK_ENGLISH = f"SELECT pg_catalog.set_config('lc_messages', 'C', false) WHERE {_MAY_SPEAK}"


def child_environment(conn: psycopg.Connection[Any], options: str = "", **variables: str) -> dict[str, str]:
    """Return the environment for PostgreSQL's programs: their messages, which are read, are English, the server's too.

    conn: to the server they use; only a superuser may choose its language, for other roles sql/roles.sql has done so.
    options: further "-c name=value" server options; variables: further variables.
    """
    english = "-c lc_messages=C" if is_superuser(conn) else ""
    merged = server_options(PINNED, options, english)
    return os.environ | {"LC_ALL": "C", "PGOPTIONS": merged} | variables


def address_of(conn: psycopg.Connection[Any]) -> dict[str, str]:
    """Return the parameters that lead to conn's server: of several hosts, and of a name's addresses, only this one."""
    info = conn.info
    found = {"host": info.host, "hostaddr": info.hostaddr, "port": str(info.port)}
    return {name: value for name, value in found.items() if value}


def fetch_value(conn: psycopg.Connection[Any], query: str, parameters: Sequence[Any] | None = None) -> Any:
    """Return the first column of the query's first row, None when there is no row."""
    row = conn.execute(query, parameters).fetchone()
    return None if row is None else row[0]


def is_superuser(conn: psycopg.Connection[Any]) -> bool:
    """Whether the role in effect is a superuser."""
    return fetch_value(conn, "SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user") is True


def patient_options(conn: psycopg.Connection[Any]) -> str:
    """Return the server options that keep a long-running connection to conn's server from being timed out."""
    return " ".join(f"-c {name}=0" for name in _timeouts(conn))


def make_patient(conn: psycopg.Connection[Any]) -> None:
    """Keep conn from being timed out while it waits for long work on other connections."""
    for name in _timeouts(conn):
        conn.execute(f"SET {name} = 0")


def _timeouts(conn: psycopg.Connection[Any]) -> list[str]:
    version = conn.info.server_version
    names = ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"]
    names += ["idle_session_timeout"] if version >= 140000 else []
    return names + (["transaction_timeout"] if version >= 170000 else [])


def levels_for_decoding(version: int) -> tuple[str, ...]:
    """Return the values of wal_level that logical decoding can do with; version: server_version_num.

    From 19 on the server writes what decoding needs as soon as there is a logical slot (effective_wal_level).
    """
    return ("logical", "replica") if version >= 190000 else ("logical",)


def refuse_views(conn: psycopg.Connection[Any]) -> None:
    """Let conn read no view or foreign table of a user's, whose functions would run as its role.

    What is read by name may have become one since its name was looked up. Servers older than the minor releases of
    August 2024 (CVE-2024-7348) have no such setting, and pg_dump has the same gap there.
    """
    conn.execute(
        "SELECT pg_catalog.set_config(name, 'view, foreign-table', false)"
        " FROM (VALUES ('restrict_nonsystem_relation_kind')) AS s (name)"
        " WHERE pg_catalog.current_setting(name, true) IS NOT NULL"  # pg_settings does not show it everywhere
    )


def plugin_options(conn: psycopg.Connection[Any], plugin: str) -> str:
    """Return the server option that lets this connection's role use plugin, or "".

    Since the minor releases of August 2026 a server loads only the output plugins in output_plugin_libraries
    (CVE-2026-6471); a superuser may set it for one connection; an older server does not know it.
    """
    known = fetch_value(conn, "SELECT setting FROM pg_catalog.pg_settings WHERE name = 'output_plugin_libraries'")
    if known is None or plugin in [entry.strip().strip("'\"") for entry in known.split(",")]:
        return ""
    if not is_superuser(conn):
        return ""
    return f"-c output_plugin_libraries={plugin}"


def find_program(name: str) -> str:
    """Return the path of one of PostgreSQL's programs. Raises UsageError when PATH does not have it."""
    path = shutil.which(name)
    if path is None:
        raise UsageError(f'could not find program "{name}"', "Add PostgreSQL's bin directory to PATH.")
    return path


def program_version(name: str) -> int:
    """Return the major version of one of PostgreSQL's programs. Raises UsageError when it is not there."""
    text = subprocess.run([find_program(name), "--version"], capture_output=True, text=True, check=True).stdout
    match = re.search(r"\(PostgreSQL\) (\d+)", text)
    if match is None:
        raise UsageError(f'could not read the version of "{name}"')
    return int(match[1])


def major_of_server(version: str) -> int:
    """Return the major version in a server_version, also in one such as "19beta2" or "20devel". Raises ScribeError."""
    match = re.match(r"\d+", version)
    if match is None:
        raise ScribeError(f'could not read server version "{version}"')
    return int(match[0])


# Anybody may take any advisory lock, and keep it: who has it says whether it means anything.
_HELD_BY_OURS = """
SELECT EXISTS (SELECT FROM pg_catalog.pg_locks AS l JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid
    JOIN pg_catalog.pg_roles AS r ON r.oid = a.usesysid
  WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND l.classid::bigint = %s AND l.objid::bigint = %s
    AND l.database = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database())
    AND (r.rolsuper OR r.rolname = CURRENT_USER))
"""


def lock_number(name: str) -> int:
    """Return the number of the advisory lock that a name stands for."""
    return 0x73637269 << 32 | zlib.crc32(name.encode())


def is_locked_by_ours(conn: psycopg.Connection[Any], number: int) -> bool:
    """Whether a superuser or conn's own role holds an advisory lock in conn's database."""
    return fetch_value(conn, _HELD_BY_OURS, [number >> 32, number & 0xFFFFFFFF]) is True


def try_advisory_lock(conn: psycopg.Connection[Any], name: str) -> bool:
    """Take an advisory lock; False where a run of ours has it. A stranger's keeps nobody away."""
    number = lock_number(name)
    if fetch_value(conn, "SELECT pg_catalog.pg_try_advisory_lock(%s)", [number]):
        return True
    return not is_locked_by_ours(conn, number)


def advisory_unlock(conn: psycopg.Connection[Any], name: str) -> None:
    """Give an advisory lock back, if it is ours."""
    conn.execute("SELECT pg_catalog.pg_advisory_unlock(%s)", [lock_number(name)])
