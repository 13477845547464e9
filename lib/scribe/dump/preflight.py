"""What a source must be and have: one check for each requirement, with the verdict and the exact remedy."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from scribe.common.errors import ScribeError, TryAgainError, UsageError
from scribe.common.postgres import (
    connect,
    fetch_value,
    is_superuser,
    levels_for_decoding,
    plugin_options,
    program_version,
)
from scribe.common.printable import printable
from scribe.decoders.decoder_raw import trial as gaps
from scribe.dump.as_made import find_as_made
from scribe.dump.contents import read_roots
from scribe.source import capture
from scribe.source import slot as slots
from scribe.source.capture import GENERATED_KEYS, WITHOUT_IDENTITY
from scribe.source.ownership import refuse_strangers
from scribe.source.unqualified import find_unqualified
from scribe.source.unrestorable import find_absent, find_absent_values

OLDEST = 130000  # server_version_num
TESTED = (14, 15, 16, 17, 18, 19)
PROGRAMS = ("pg_dump", "pg_dumpall", "pg_recvlogical", "psql")
OLD_TRANSACTION = 60  # seconds
_SHOWN = 5  # names in one line

_RIGHTS = """
SELECT rolname, rolsuper, rolreplication,
       EXISTS (SELECT FROM pg_catalog.pg_roles AS r
               WHERE r.rolname = 'pg_read_all_data' AND pg_catalog.pg_has_role(r.oid, 'USAGE')),
       rolbypassrls
FROM pg_catalog.pg_roles WHERE rolname = current_user
"""
_NOT_OURS = """
SELECT n.nspname, c.relname FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
  AND NOT pg_catalog.pg_has_role(c.relowner, 'USAGE')
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS d WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
                  AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY 1, 2
"""
_UNLOGGED = """
SELECT n.nspname, c.relname FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence = 'u' ORDER BY 1, 2
"""

# Extensions that make and drop what no event trigger and no catalog can tell in time, and with which decoders.
REFUSED_EXTENSIONS = {
    "timescaledb": ("scribe_decoder", "pgoutput", "decoder_raw"),
    "age": ("pgoutput", "decoder_raw"),
    "pglogical": ("pgoutput", "decoder_raw"),
    "pg_squeeze": ("pgoutput", "decoder_raw"),
}
_UNREGISTERED = """
SELECT n.nspname, c.relname FROM pg_catalog.pg_depend AS d
JOIN pg_catalog.pg_extension AS e ON e.oid = d.refobjid
JOIN pg_catalog.pg_class AS c ON c.oid = d.objid JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.deptype = 'e' AND c.relkind = 'r'
  AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND c.oid <> ALL (coalesce(e.extconfig, '{}'))
ORDER BY 1, 2
"""


@dataclass(frozen=True)
class Check:
    """One requirement. verdict: ok, warning or failed; remedy: what to do, "" when nothing is to be done."""

    name: str
    verdict: str
    text: str
    remedy: str = ""

    def line(self) -> str:
        """Return the check as one line of the report."""
        line = f"{self.verdict:<8} {self.name}: {self.text}" + (f"; {self.remedy}" if self.remedy else "")
        return printable(line)


@dataclass(frozen=True)
class Wanted:
    """What scribe-init is about to do: the settings that decide what the server must have."""

    archive: Path
    slot: str
    plugin: str
    replica_identity: str
    large_objects: str
    failover: bool = False


_Probe = Callable[[psycopg.Connection[Any], Wanted], Check]


def ok(name: str, text: str) -> Check:
    """Return a requirement that is met."""
    return Check(name, "ok", text)


def _setting(conn: psycopg.Connection[Any], name: str) -> str | None:
    """Return a setting as SHOW gives it; None where the server has none of that name."""
    value = fetch_value(conn, "SELECT pg_catalog.current_setting(%s, true)", [name])
    return None if value is None else str(value)


def _names(rows: list[tuple[str, str]], conn: psycopg.Connection[Any]) -> str:
    shown = ", ".join(sql.Identifier(*row).as_string(conn) for row in rows[:_SHOWN])
    return shown + (f" and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else "")


# --- the server -----------------------------------------------------------------------------------------------------


def check_server(conn: psycopg.Connection[Any], wanted: Wanted) -> Check:
    """The server's version: 13 or newer."""
    version = conn.info.server_version
    text = f"PostgreSQL {_setting(conn, 'server_version')}"
    if version < OLDEST:
        return Check("server", "failed", text, "upgrade the server to PostgreSQL 13 or newer")
    if version // 10000 not in TESTED:
        tested = ", ".join(map(str, TESTED))
        return Check("server", "warning", text, f"tested are {tested}: rehearse a restore")
    return ok("server", text)


def check_recovery(conn: psycopg.Connection[Any], wanted: Wanted) -> Check:
    """Not a standby: capture has to write."""
    if fetch_value(conn, "SELECT pg_catalog.pg_is_in_recovery()"):
        return Check("primary", "failed", "the server is a standby", "connect to the primary (PGHOST, PGPORT)")
    if _setting(conn, "default_transaction_read_only") == "on":
        remedy = "unset default_transaction_read_only for this role and database"
        return Check("primary", "failed", "transactions are read-only", remedy)
    return ok("primary", "the server is not a standby")


def check_database(conn: psycopg.Connection[Any], wanted: Wanted) -> Check:
    """An ordinary database, not a template."""
    name = conn.info.dbname
    if name in ("template0", "template1"):
        return Check("database", "failed", f'"{name}" is a template', "name the database to back up with -d")
    if fetch_value(conn, "SELECT datistemplate FROM pg_catalog.pg_database WHERE datname = current_database()"):
        remedy = "a copy made from it has the capture objects too; they are inert there"
        return Check("database", "warning", f'"{name}" is a template', remedy)
    return ok("database", f'"{name}"')


def check_wal_level(conn: psycopg.Connection[Any], wanted: Wanted) -> Check:
    """wal_level = logical, or replica on a server that raises it while there is a logical slot."""
    level = str(_setting(conn, "wal_level"))
    if level in levels_for_decoding(conn.info.server_version):
        return ok("wal_level", level)
    remedy = 'run "ALTER SYSTEM SET wal_level = logical", then restart the server'
    return Check("wal_level", "failed", level, remedy)


def check_slots(conn: psycopg.Connection[Any], wanted: Wanted) -> Check:
    """A free replication slot to keep, and one more while scribe-dump is at work."""
    most = int(_setting(conn, "max_replication_slots") or 0)
    used = int(fetch_value(conn, "SELECT count(*) FROM pg_catalog.pg_replication_slots"))
    there = slots.find_slot(conn, wanted.slot) is not None
    text = f"{most - used} of {most} free"
    remedy = f'run "ALTER SYSTEM SET max_replication_slots = {max(10, most + 4)}", then restart the server'
    needed = 2 if wanted.plugin == "decoder_raw" else 1  # it has a second one
    if most - used < needed and not there:
        return Check("max_replication_slots", "failed", text, remedy)
    if most - used < (1 if there else needed + 1):
        return Check("max_replication_slots", "warning", f"{text}; scribe-dump needs one more for a while", remedy)
    return ok("max_replication_slots", text)


def check_senders(conn: psycopg.Connection[Any], wanted: Wanted) -> Check:
    """A free walsender for scribe-stream, and one more while scribe-dump is at work."""
    most = int(_setting(conn, "max_wal_senders") or 0)
    used = int(fetch_value(conn, "SELECT count(*) FROM pg_catalog.pg_stat_replication"))
    text = f"{most - used} of {most} free"
    remedy = f'run "ALTER SYSTEM SET max_wal_senders = {max(10, most + 4)}", then restart the server'
    if most - used < 1:
        return Check("max_wal_senders", "failed", text, remedy)
    if most < 2:
        return Check("max_wal_senders", "warning", f"{text}; scribe-dump needs one beside scribe-stream's", remedy)
    return ok("max_wal_senders", text)


def check_retention(conn: psycopg.Connection[Any], wanted: Wanted) -> Check:
    """A bound for the WAL a slot may hold back."""
    name = "max_slot_wal_keep_size"
    keep = _setting(conn, name)
    if keep is None or keep == "-1":
        text = "not set: while the backup host is away the WAL grows until the server's disk is full"
        remedy = (
            f"run \"ALTER SYSTEM SET {name} = '50GB'\" with what the disk can spare, then"
            ' "SELECT pg_reload_conf()"; beyond it the slot is given up and a new base is needed'
        )
        return Check(name, "warning", text, remedy)
    return ok(name, f"{keep}: a stream that falls behind by more loses its slot, and a new base is needed")


def check_idle_timeout(conn: psycopg.Connection[Any], wanted: Wanted) -> Check:
    """No time-out that gives up the slot of a stream that is stopped for a while."""
    name = "idle_replication_slot_timeout"
    timeout = _setting(conn, name)
    if timeout in (None, "0"):
        return ok(name, "not set" if timeout else "this server has none")
    remedy = f'run "ALTER SYSTEM SET {name} = 0", or never stop scribe-stream that long'
    return Check(name, "warning", f"{timeout}: a stream stopped for longer loses its slot", remedy)


def check_failover(conn: psycopg.Connection[Any], wanted: Wanted) -> Check:
    """Where the slot shall survive a failover: a server that can do that, and standbys that are never behind it."""
    name = "failover"
    if not wanted.failover:
        return ok(name, "not asked for (SCRIBE_FAILOVER=off): a promoted standby does not have the slot")
    if conn.info.server_version < slots.FAILOVER_SINCE:
        remedy = "set SCRIBE_FAILOVER=off; after a promotion, scribe-init begins a new chain"
        return Check(name, "failed", "failover slots need PostgreSQL 17 or newer", remedy)
    if not _setting(conn, "synchronized_standby_slots"):
        text = "synchronized_standby_slots is not set: the archive may run ahead of a standby, and then breaks there"
        remedy = "name the standby's physical replication slot in it, then reload the server"
        return Check(name, "warning", text, remedy)
    return ok(name, "the slot is kept by standbys with sync_replication_slots=on")


def check_transactions(conn: psycopg.Connection[Any], wanted: Wanted) -> Check:
    """No old transaction that the creation of a slot would have to wait for."""
    blockers = slots.find_blockers(conn, OLD_TRANSACTION)
    if not blockers:
        return ok("transactions", f"none older than {OLD_TRANSACTION} s")
    text = f"creating the slot waits for {'; '.join(blockers[:_SHOWN])}"
    return Check("transactions", "warning", text, "end them")


# --- rights, programs, places ---------------------------------------------------------------------------------------


def check_privileges(conn: psycopg.Connection[Any], wanted: Wanted) -> Check:
    """Superuser, since nobody else can make event triggers; once they are there, a role of sql/roles.sql."""
    name = "privileges"
    row = conn.execute(_RIGHTS).fetchone()
    assert row is not None
    role, superuser, replication, reads, bypass = row
    if superuser:
        return ok(name, f'"{role}" is a superuser')
    if wanted.plugin == "pgoutput" and not capture.has_triggers(conn):
        return _check_owner(conn, sql.Identifier(role).as_string(conn), replication)
    if not capture.is_active(conn):
        text = f'"{role}" is not a superuser, which installing the capture of schema changes takes'
        files = f"sql/{capture.EDITIONS[wanted.plugin]} and sql/roles.sql"
        remedy = f"let a superuser run {files} in this database, or connect as one with -U"
        return Check(name, "failed", text, remedy)
    rights = {"REPLICATION": replication, "pg_read_all_data": reads, "BYPASSRLS": bypass}
    lacking = [word for word, there in rights.items() if not there]
    if lacking:
        text = f'"{role}" lacks {", ".join(lacking)}'
        return Check(name, "failed", text, "let a superuser run sql/roles.sql in this database, and use scribe_dump")
    return ok(name, f'"{role}" is no superuser and has what it needs')


def _check_owner(conn: psycopg.Connection[Any], role: str, replication: bool) -> Check:
    """A role that may stream, and that owns what it publishes."""
    name = "privileges"
    if not replication:
        return Check(
            name, "failed", f"{role} has no REPLICATION", f'run "ALTER ROLE {role} REPLICATION" as a superuser'
        )
    if not fetch_value(conn, "SELECT pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE')"):
        database = sql.Identifier(conn.info.dbname).as_string(conn)
        remedy = f'run "GRANT CREATE ON DATABASE {database} TO {role}"'
        return Check(name, "failed", f"{role} may not create a publication in this database", remedy)
    rows = conn.execute(_NOT_OURS).fetchall()
    if rows:
        text = f"{len(rows)} tables that {role} does not own cannot be in its stream: {_names(rows, conn)}"
        return Check(name, "failed", text, f'run "ALTER TABLE ... OWNER TO {role}", or grant it their owner\'s role')
    text = f"{role} is not a superuser: where it cannot make event triggers, schema changes are detected, not captured"
    return Check(name, "warning", text, 'after each schema change run "scribe-init" for a new base, or use a superuser')


def check_plpgsql(conn: psycopg.Connection[Any], wanted: Wanted) -> Check:
    """The language of the capture and of what segments begin with."""
    if fetch_value(conn, "SELECT 1 FROM pg_catalog.pg_language WHERE lanname = 'plpgsql'"):
        return ok("plpgsql", "installed")
    return Check("plpgsql", "failed", "not installed", 'run "CREATE EXTENSION plpgsql"')


def check_schema(conn: psycopg.Connection[Any], wanted: Wanted) -> Check:
    """Schema scribe is ours or not there."""
    try:
        refuse_strangers(conn)
    except UsageError as error:
        return Check("schema scribe", "failed", error.message, (error.hint or "").rstrip("."))
    names = [
        row[0]
        for row in conn.execute(
            "SELECT c.relname FROM pg_catalog.pg_namespace AS n LEFT JOIN pg_catalog.pg_class AS c"
            " ON c.relnamespace = n.oid AND c.relkind = 'r' WHERE n.nspname = 'scribe'"
        ).fetchall()
    ]
    if not names:
        return ok("schema scribe", "free")
    if "ddl_history" in names or "replica_identity" in names:
        return ok("schema scribe", "holds the capture objects")
    if "position" in names and set(names) <= {"position", "made", "quieted", "skipped"}:
        return ok("schema scribe", "holds the position of a restored copy, which becomes a source of its own")
    remedy = 'rename it: "ALTER SCHEMA scribe RENAME TO ..."'
    return Check("schema scribe", "failed", "exists and is not pg_scribe's", remedy)


def check_decoder(conn: psycopg.Connection[Any], wanted: Wanted) -> Check:
    """The decoder loads and may be used: a temporary slot is made with it, which is gone at once."""
    options = f"{plugin_options(conn, wanted.plugin)} -c lock_timeout=200"
    name = f"scribe_preflight_{os.getpid()}"
    command = slots.creation_command(conn.info.server_version, name, wanted.plugin, temporary=True)
    try:
        with connect(replication=True, options=options) as sender:
            sender.execute(command)
    except psycopg.errors.LockNotAvailable:
        return ok("decoder", f"{wanted.plugin} loads")  # it was loaded, then the slot waited for a transaction
    except TryAgainError:
        raise  # no walsender left: it says nothing of the decoder
    except (psycopg.Error, ScribeError) as error:
        text = (str(error).strip().splitlines() or ["?"])[0].removeprefix("ERROR: ").strip()
        return Check("decoder", "failed", text, _decoder_remedy(conn, wanted, text))
    return ok("decoder", f"{wanted.plugin} loads")


def _decoder_remedy(conn: psycopg.Connection[Any], wanted: Wanted, text: str) -> str:
    if "may not be used as an output plugin" in text:
        try:
            allowed = _setting(conn, "output_plugin_libraries") or ""
        except psycopg.errors.InsufficientPrivilege:
            allowed = "pgoutput, test_decoding"  # only superusers see it: the server's default
        entries = [entry.strip().strip("'\"") for entry in allowed.split(",") if entry.strip()]
        role = sql.Identifier(conn.info.user).as_string(conn)
        words = ", ".join(dict.fromkeys([*entries, wanted.plugin]))
        return f'run "ALTER ROLE {role} SET output_plugin_libraries = {words}" as a superuser'
    if "could not access file" in text or "could not load" in text or "incompatible library" in text:
        if wanted.plugin != "scribe_decoder":
            return f"install {wanted.plugin} for this server's version on its host, or set SCRIBE_DECODER to another"
        return 'run "make install-decoder PG_CONFIG=..." with the pg_config of this server, on its host'
    if "wal_level" in text:
        return "see wal_level above"
    if "slots are in use" in text:
        return "see max_replication_slots above"
    if "must be superuser or replication role" in text or "permission denied" in text:
        return f'run "ALTER ROLE {sql.Identifier(conn.info.user).as_string(conn)} REPLICATION" as a superuser'
    return "see the server's log"


def check_programs(conn: psycopg.Connection[Any], wanted: Wanted) -> Check:
    """PostgreSQL's programs are there and not older than the server."""
    major = conn.info.server_version // 10000
    found = {}
    for program in PROGRAMS:
        try:
            found[program] = program_version(program)
        except ScribeError as error:
            return Check("programs", "failed", error.message, f"add the bin directory of PostgreSQL {major} to PATH")
    old = [f"{program} {version}" for program, version in found.items() if version < major]
    if old:
        text = f"older than the server: {', '.join(old)}"
        return Check("programs", "failed", text, f"add the bin directory of PostgreSQL {major} or newer to PATH first")
    versions = ", ".join(f"{program} {version}" for program, version in found.items())
    return ok("programs", versions)


def check_disk(conn: psycopg.Connection[Any], wanted: Wanted) -> Check:
    """Room for the archive: a directory that can be written, and as much free as the database is big."""
    place = wanted.archive
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        return Check("archive", "failed", f'"{place}" is not a directory', "set SCRIBE_ARCHIVE to a directory")
    if not os.access(place, os.W_OK | os.X_OK):
        return Check("archive", "failed", f'could not write to "{place}"', f'run "chown {os.getuid()} {place}"')
    free = shutil.disk_usage(place).free
    size = int(fetch_value(conn, "SELECT pg_catalog.pg_database_size(pg_catalog.current_database())"))
    text = f'{free >> 20} MB free in "{place}", the database has {size >> 20} MB'
    if free < size // 10:
        return Check("archive", "failed", text, "make room, or set SCRIBE_ARCHIVE to a bigger file system")
    if free < size:
        return Check("archive", "warning", text, "watch the file system, or make room")
    return ok("archive", text)


# --- what is in the database ----------------------------------------------------------------------------------------


def check_identities(conn: psycopg.Connection[Any], wanted: Wanted) -> Check:
    """Every table has a replica identity, or gets REPLICA IDENTITY FULL."""
    rows = conn.execute(WITHOUT_IDENTITY).fetchall()
    if not rows:
        return ok("replica identity", "every table has a usable one")
    text = f"{len(rows)} tables without a usable one: {_names(rows, conn)}"
    table = sql.Identifier(*rows[0]).as_string(conn)
    if wanted.replica_identity == "full":
        if is_superuser(conn) or all(capture.is_owner(conn, row) for row in rows):
            return ok("replica identity", f"{text}: set to FULL by scribe-init")
        remedy = f'let their owner run "ALTER TABLE {table} REPLICA IDENTITY FULL" for each, or give them primary keys'
        return Check("replica identity", "failed", text, remedy)
    remedy = f'give each a primary key, or run "ALTER TABLE {table} REPLICA IDENTITY FULL", or unset'
    return Check("replica identity", "failed", text, f"{remedy} SCRIBE_REPLICA_IDENTITY=refuse")


def check_generated(conn: psycopg.Connection[Any], wanted: Wanted) -> Check:
    """No generated column where a publication has no way to send it, or bars the table's UPDATE."""
    name = "generated columns"
    if wanted.plugin != "pgoutput":
        return ok(name, "left out, as they should be")
    rows = conn.execute(GENERATED_KEYS).fetchall()
    if not rows:
        return ok(name, "none in a replica identity that pgoutput does not send")
    remedy = "give each a primary key of columns that are not generated, or use another decoder"
    return Check(name, "failed", f"in the replica identity of {len(rows)} tables: {_names(rows, conn)}", remedy)


def check_extensions(conn: psycopg.Connection[Any], wanted: Wanted) -> Check:
    """No extension whose work cannot be followed; docs/extensions.md has the others."""
    names = [str(row[0]) for row in conn.execute("SELECT extname FROM pg_catalog.pg_extension ORDER BY 1").fetchall()]
    refused = [name for name in names if wanted.plugin in REFUSED_EXTENSIONS.get(name, ())]
    if refused:
        text = f"{', '.join(refused)}: tables are made, changed and dropped in ways that cannot be followed"
        return Check("extensions", "failed", text, "see docs/extensions.md")
    rows = conn.execute(_UNREGISTERED).fetchall() if wanted.plugin != "scribe_decoder" else []
    if rows:
        text = (
            f"{len(rows)} tables of extensions whose rows no dump has, but this decoder's stream: {_names(rows, conn)}"
        )
        return Check("extensions", "warning", text, "use SCRIBE_DECODER=scribe_decoder if their rows are ever changed")
    if lost := find_as_made(conn).lost:
        text = f"added to what belongs to one, which no base has: {', '.join(lost[:_SHOWN])}"
        text += f" and {len(lost) - _SHOWN} more" if len(lost) > _SHOWN else ""
        return Check("extensions", "warning", text, "a base may not restore if rows need that: rehearse it")
    return ok("extensions", f"{len(names)}, none that is known not to work")


_BY_EXPRESSION = """
    SELECT partrelid::pg_catalog.regclass::text FROM pg_catalog.pg_partitioned_table
    WHERE partstrat = 'h' AND 0 = ANY (partattrs::pg_catalog.int2[]) ORDER BY 1"""


def check_partitions(conn: psycopg.Connection[Any], wanted: Wanted) -> Check:
    """No rows that lie in other partitions of a copy and that the decoder does not send through their root."""
    name, roots = "hash partitions", sorted(set(read_roots(conn).values()))
    by_expression = [row[0] for row in conn.execute(_BY_EXPRESSION).fetchall()]
    if not by_expression or wanted.plugin == "scribe_decoder":
        return ok(name, f"{len(roots)} tables whose rows a copy spreads otherwise, sent through their roots")
    text = f"{len(by_expression)} tables are partitioned by the hash of an expression: {', '.join(by_expression[:3])}"
    text += "; if that hash is of an enum, rows lie in other partitions of a copy, and a restore stops"
    return Check(name, "warning", text, "use SCRIBE_DECODER=scribe_decoder")


def check_functions(conn: psycopg.Connection[Any], wanted: Wanted) -> Check:
    """No function that a restore would run, and that then finds nothing: rows are loaded with an empty search path."""
    name = "functions"
    found = find_unqualified(conn, wanted.plugin)
    if not found:
        return ok(name, "none that a restore runs names others without their schema")
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    hint = found[0].hint[0].lower() + found[0].hint[1:].removesuffix(".")
    return Check(name, "warning", f"{found[0].text}{more}: {found[0].outcome}", hint)


def check_absent(conn: psycopg.Connection[Any], wanted: Wanted) -> Check:
    """Nothing uses what a copy does not have, and no value names it."""
    name = "objects no copy has"
    found = find_absent(conn)
    if found:
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        return Check(name, "warning", f"{found[0].text}{more}", found[0].remedy[0].lower() + found[0].remedy[1:])
    if columns := find_absent_values(conn):
        remedy = columns[0].remedy
        state = "failed" if columns[0].domain else "warning"
        return Check(name, state, columns[0].text, remedy[0].lower() + remedy[1:])
    return ok(name, "none is used")


def check_unlogged(conn: psycopg.Connection[Any], wanted: Wanted) -> Check:
    """Unlogged tables are in bases only."""
    rows = conn.execute(_UNLOGGED).fetchall()
    if not rows:
        return ok("unlogged tables", "none")
    text = f"{len(rows)}, whose rows are in bases and not in the stream: {_names(rows, conn)}"
    return Check("unlogged tables", "warning", text, 'run "ALTER TABLE ... SET LOGGED" for those that matter')


def check_large_objects(conn: psycopg.Connection[Any], wanted: Wanted) -> Check:
    """Large objects are not in the WAL's logical stream."""
    count = int(fetch_value(conn, "SELECT count(*) FROM pg_catalog.pg_largeobject_metadata"))
    if not count:
        return ok("large objects", "none")
    if wanted.large_objects == "refuse":
        return Check(
            "large objects",
            "failed",
            f"{count}, and SCRIBE_LARGE_OBJECTS=refuse",
            "remove them, or unset SCRIBE_LARGE_OBJECTS",
        )
    if not is_superuser(conn) and _setting(conn, "lo_compat_privileges") == "off":
        remedy = "run sql/roles.sql with -v large_objects=on, or GRANT SELECT ON LARGE OBJECT for each"
        return Check("large objects", "warning", f"{count}, and this role may not read those of others", remedy)
    return ok("large objects", f"{count}; each rotation sends those that changed, whole")


PROBES: tuple[_Probe, ...] = (
    check_server,
    check_recovery,
    check_database,
    check_privileges,
    check_wal_level,
    check_slots,
    check_senders,
    check_retention,
    check_idle_timeout,
    check_failover,
    check_plpgsql,
    check_schema,
    check_decoder,
    check_programs,
    check_disk,
    check_identities,
    check_generated,
    check_extensions,
    check_partitions,
    check_functions,
    check_absent,
    check_unlogged,
    check_large_objects,
    check_transactions,
)


def check_gap(conn: psycopg.Connection[Any], finding: gaps.Finding, accepted: bool) -> Check:
    """What the installed decoder_raw gets wrong: mended at rotation, or lost and then to be accepted."""
    text = finding.text
    if finding.tables:
        text += f" ({len(finding.tables)} tables now: {_names(list(finding.tables), conn)})"
    if not finding.lost:
        return ok(f"fault {finding.name}", f"{text}: mended at rotation")
    name = f"gap {finding.name}"
    if accepted:
        return Check(name, "warning", f"{text}: accepted")
    return Check(name, "failed", text, '"scribe-init --accept-gaps" goes on all the same')


def run_checks(conn: psycopg.Connection[Any], wanted: Wanted) -> list[Check]:
    """Return the verdict on each requirement, in the order of PROBES. Nothing is changed."""
    return [probe(conn, wanted) for probe in PROBES]
