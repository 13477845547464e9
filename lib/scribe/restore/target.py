"""The target: is it safe to restore into, globals, creating the database, the base, and what is done at the end."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import IO, Any

import psycopg
from psycopg import sql

from scribe.archive import rolefiles
from scribe.archive.chains import Way, check_file
from scribe.archive.dumpdir import CONTENTS, find_foreign_name
from scribe.archive.layout import Archive, Base
from scribe.archive.manifest import read_manifest
from scribe.archive.segments import BLOCK
from scribe.archive.skips import Skippable
from scribe.common.dialect import (
    CHECKS_OFF,
    CHECKS_ON,
    LEFT_OUT,
    TIMEOUT_SINCE,
    build_base_header,
    drop_transaction_timeout,
    quote_identifier,
    quote_literal,
)
from scribe.common.errors import ScribeError, TryAgainError, UsageError
from scribe.common.files import open_archived, read_archived, scratch_directory
from scribe.common.lsn import parse_lsn
from scribe.common.postgres import (
    WRITING,
    connect,
    fetch_value,
    find_program,
    is_locked_by_ours,
    is_superuser,
    major_of_server,
    program_version,
)
from scribe.common.sqltext import whole_statements
from scribe.dump.validated import without_validation
from scribe.restore.feeding import Jump, Takes, feed
from scribe.restore.owners import without_owners
from scribe.restore.roles import report_differences, report_missing
from scribe.source.globals_text import guard_globals
from scribe.source.ownership import has_table

EVENT_TRIGGERS_SINCE = 17  # has the setting that keeps them from firing, and those that fire at login
LOCK = 0x7363726962650001  # the advisory lock of the one restore that may work on a database
_AT_WORK = (
    "another restore is at work on the target",
    "Wait until it has ended, or stop it if it goes on by --follow.",
)
_LOCK_WAIT = 5  # seconds; a backend whose restore was killed may still be at its last statement
_PROVIDERS = {"c": "libc", "i": "icu", "b": "builtin"}
Globals = tuple[Path, Mapping[str, Any] | None]  # a file of globals, and what its manifest says of it
_Stamped = tuple[str, Path, Mapping[str, Any] | None]
# Of whole statements: a name may go over several lines, and hold anything.
_TABLESPACE_LINE = re.compile(rb"^(CREATE TABLESPACE .* LOCATION )'((?:[^']++|(?='')'')*+)';\n\Z", re.DOTALL)

# An event trigger, or a comment on one, in what "pg_restore --list" prints.
_ENTRY = re.compile(rb"\d+; \d+ \d+ (?:EVENT TRIGGER - |COMMENT - EVENT TRIGGER )")

_CONTENTS = """
SELECT kind FROM (
  SELECT 'relation ' || oid::pg_catalog.regclass::text AS kind FROM pg_catalog.pg_class
   WHERE oid >= 16384 AND relkind NOT IN ('t', 'i', 'I')
  UNION ALL SELECT 'schema ' || nspname FROM pg_catalog.pg_namespace
   WHERE oid >= 16384 AND nspname !~ '^pg_(toast_)?temp_'
  UNION ALL SELECT 'function ' || proname FROM pg_catalog.pg_proc WHERE oid >= 16384
  UNION ALL SELECT 'type ' || typname FROM pg_catalog.pg_type WHERE oid >= 16384
  UNION ALL SELECT 'extension ' || extname FROM pg_catalog.pg_extension WHERE oid >= 16384
  UNION ALL SELECT 'event trigger ' || evtname FROM pg_catalog.pg_event_trigger
  UNION ALL SELECT 'publication ' || pubname FROM pg_catalog.pg_publication
  UNION ALL SELECT 'foreign data wrapper ' || fdwname FROM pg_catalog.pg_foreign_data_wrapper
  UNION ALL SELECT 'cast from ' || castsource::pg_catalog.regtype || ' to ' || casttarget::pg_catalog.regtype
   FROM pg_catalog.pg_cast WHERE oid >= 16384
  UNION ALL SELECT 'default privileges of ' || pg_catalog.pg_get_userbyid(defaclrole) FROM pg_catalog.pg_default_acl
  UNION ALL SELECT 'text search configuration ' || cfgname FROM pg_catalog.pg_ts_config WHERE oid >= 16384
  UNION ALL SELECT 'text search dictionary ' || dictname FROM pg_catalog.pg_ts_dict WHERE oid >= 16384
  UNION ALL SELECT 'text search parser ' || prsname FROM pg_catalog.pg_ts_parser WHERE oid >= 16384
  UNION ALL SELECT 'text search template ' || tmplname FROM pg_catalog.pg_ts_template WHERE oid >= 16384
  UNION ALL SELECT 'collation ' || collname FROM pg_catalog.pg_collation WHERE oid >= 16384
  UNION ALL SELECT 'operator ' || oprname FROM pg_catalog.pg_operator WHERE oid >= 16384
  UNION ALL SELECT 'operator family ' || opfname FROM pg_catalog.pg_opfamily WHERE oid >= 16384
  UNION ALL SELECT 'conversion ' || conname FROM pg_catalog.pg_conversion WHERE oid >= 16384
  UNION ALL SELECT 'access method ' || amname FROM pg_catalog.pg_am WHERE oid >= 16384
  UNION ALL SELECT 'language ' || lanname FROM pg_catalog.pg_language WHERE oid >= 16384
  UNION ALL SELECT 'large object ' || oid::text FROM pg_catalog.pg_largeobject_metadata
) AS c LIMIT 1
"""


@dataclass(frozen=True)
class Options:
    """How a base is restored. jobs: connections that work side by side; takes: which pieces are run, None for all."""

    jobs: int = 1
    owners: bool = True
    tablespaces: bool = True
    mapping: Mapping[str, str] = field(default_factory=dict)  # directories of tablespaces: old -> new
    event_triggers: bool = True
    shared: bool = True  # what segments do to roles, tablespaces and the database itself
    takes: Takes | None = None


@contextlib.contextmanager
def without_login_triggers(conn: psycopg.Connection[Any]) -> Iterator[None]:
    """Let no event trigger of the target's fire where this process and its children connect; conn: to the server."""
    before = os.environ.get("PGOPTIONS")
    if conn.info.server_version >= EVENT_TRIGGERS_SINCE * 10000 and is_superuser(conn):
        os.environ["PGOPTIONS"] = f"{before or ''} -c event_triggers=off".strip()
    try:
        yield
    finally:
        os.environ.pop("PGOPTIONS", None)
        if before is not None:
            os.environ["PGOPTIONS"] = before


def connect_server() -> psycopg.Connection[Any]:
    """Connect to a database that is always there, to look at the target's server. Raises as connect() does."""
    try:
        return connect(dbname="postgres", options=WRITING)
    except UsageError:
        return connect(dbname="template1", options=WRITING)


def database_oid(conn: psycopg.Connection[Any], name: str) -> int | None:
    """Return the oid of a database, None where it does not exist."""
    oid = fetch_value(conn, "SELECT oid::bigint FROM pg_catalog.pg_database WHERE datname = %s", [name])
    return None if oid is None else int(oid)


_MAY_REPLAY = "SELECT pg_catalog.has_parameter_privilege('session_replication_role', 'SET')"


def check_privileges(conn: psycopg.Connection[Any], options: Options, *, with_globals: bool) -> None:
    """Raise UsageError where the role cannot do what is asked for; a superuser can do all of it."""
    if is_superuser(conn):
        return
    what = f'role "{fetch_value(conn, "SELECT current_user")}" is not a superuser of the target server'
    if conn.info.server_version < 150000 or not fetch_value(conn, _MAY_REPLAY):
        hint = "Name one that is with -U or PGUSER, or let one run sql/roles_restore.sql (PostgreSQL 15 or newer)."
        raise UsageError(f"{what} and may not set session_replication_role", hint)
    if options.owners or with_globals:
        raise UsageError(
            f"{what}, and can give objects no owners and create no roles",
            "Add --no-owner and --no-globals; roles that privileges name must be there (globals.sql).",
        )


def warn_of_older(conn: psycopg.Connection[Any], meta: Mapping[str, Any], warn: Callable[[str], None]) -> None:
    """Warn of a server older than the source's; meta: a base's."""
    before, here = major_of_server(str(meta["server_version"])), conn.info.server_version // 10000
    if here < before:
        warn(f"the target server is PostgreSQL {here}, the source's was {before}: what only that one knows fails")


def refuse_source(conn: psycopg.Connection[Any], name: str, oid: int, identity: Mapping[str, Any]) -> None:
    """Raise UsageError where the database is the one the archive is of."""
    here = fetch_value(conn, "SELECT system_identifier::text FROM pg_catalog.pg_control_system()")
    # without archive.json, nothing but its name is known of the source
    same = oid == identity["database_oid"] if identity["database_oid"] is not None else name == identity["database"]
    if here == identity["system_identifier"] and same:
        raise UsageError(
            f'database "{name}" is the source of this archive', "Name another database with -d, then compare or swap."
        )


def find_contents(conn: psycopg.Connection[Any]) -> str | None:
    """Return something a new database does not have, None where there is nothing."""
    found = fetch_value(conn, _CONTENTS)
    return None if found is None else str(found)


def check_encoding(conn: psycopg.Connection[Any], meta: Mapping[str, Any]) -> None:
    """Raise UsageError where an empty database that was there has another encoding than the source."""
    here = fetch_value(conn, "SHOW server_encoding")
    if here != meta["encoding"]:
        raise UsageError(
            f"the target database is encoded in {here}, the source in {meta['encoding']}",
            "Drop it and let scribe-restore create it, or create it from template0 with that encoding.",
        )


def warn_of_owner(conn: psycopg.Connection[Any], meta: Mapping[str, Any], warn: Callable[[str], None]) -> None:
    """Warn of an empty database that was there and is another's than the source was; meta: a base's.

    It is the owner who decides about the schema public: what the source's did there fails, or its GRANT does nothing.
    """
    name, here = conn.execute(_OWNER).fetchone() or ("", "")
    if here != meta["owner"] and not fetch_value(conn, _IS_SUPERUSER, [meta["owner"]]):
        warn(
            f'database "{name}" belongs to "{here}", and on the source to "{meta["owner"]}", whose GRANT ON SCHEMA'
            " public and the like may fail or be missing: let scribe-restore create it, or change its owner first"
        )


_OWNER = """
SELECT datname, pg_catalog.pg_get_userbyid(datdba) FROM pg_catalog.pg_database
WHERE datname = pg_catalog.current_database()
"""
_IS_SUPERUSER = "SELECT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = %s AND rolsuper)"


def read_position(conn: psycopg.Connection[Any]) -> tuple[int, bool] | None:
    """Return where the database stands and whether psql was cut off inside a segment; None: it was not restored."""
    if not has_table(conn, "position"):
        return None
    rows = conn.execute("SELECT lsn::text, inside FROM scribe.position").fetchall()
    return (parse_lsn(rows[0][0]), rows[0][1]) if len(rows) == 1 else None


def lock_target(conn: psycopg.Connection[Any]) -> None:
    """Keep other restores away from the database until conn closes. Raises TryAgainError."""
    conn.execute(f"SET lock_timeout = '{_LOCK_WAIT}s'".encode())
    try:
        conn.execute("SELECT pg_catalog.pg_advisory_lock(%s)", [LOCK])
    except psycopg.errors.LockNotAvailable:
        if is_locked_by_ours(conn, LOCK):
            raise TryAgainError(*_AT_WORK) from None
    conn.execute("RESET lock_timeout")


def quiet_session(conn: psycopg.Connection[Any]) -> None:
    """Switch off time limits that newer servers have and a segment's header does not know."""
    names = ["transaction_timeout", "idle_session_timeout"]
    conn.execute(
        "SELECT pg_catalog.set_config(name, '0', false) FROM pg_catalog.pg_settings WHERE name = ANY (%s)", [names]
    )


def read_time(conn: psycopg.Connection[Any], text: str) -> str:
    """Return a time as BEGIN lines have it, read as the server reads it. Raises UsageError."""
    query = "SELECT pg_catalog.to_char(%s::timestamptz AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') || '+00'"
    try:
        value = fetch_value(conn, query, [text])
    except psycopg.DataError:
        value = None
    if value is None:
        raise UsageError(f'invalid time "{text}"', 'Write it as "2026-11-22 13:07:00.123456+00".')
    return str(value)


# Globals


def map_locations(statements: Iterator[bytes], mapping: Mapping[str, str]) -> Iterator[bytes]:
    """Change the directories in which tablespaces are created."""
    for statement in statements:
        match = _TABLESPACE_LINE.match(statement)
        new = mapping.get(match[2].replace(b"''", b"'").decode("utf-8", "replace")) if match else None
        yield statement if match is None or new is None else match[1] + quote_literal(new).encode() + b";\n"


def globals_files(archive: Archive, way: Way) -> list[Globals]:
    """Return the globals to run on the way to a point, in order, with what manifests say of them. Raises ScribeError.

    Each file makes what is still missing, and nothing else: first the newest from before the last segment was closed,
    and back to those in force at the base, so that what is missing gets the last state it had. Then the next one after
    it: roles of the last segment may be in that alone. None stands for files without a manifest, of older versions.
    """
    stored: list[_Stamped] = [(path.stem, path, entry) for path, entry in rolefiles.usable(archive)]
    before: list[_Stamped] = [(way.base.stamp, path, entry) for path, entry in _own_globals(way.base)]
    if not before:
        found: list[_Stamped] = stored + [
            (other.stamp, *pair) for other in archive.bases() for pair in _own_globals(other)
        ]
        before = sorted((each for each in found if each[0] <= way.base.stamp), key=lambda each: each[:2])[-1:]
    after = [each for each in stored if each[0] > way.base.stamp]
    last = way.segments[-1].data.name[: len(way.base.stamp)] if way.segments else way.base.stamp
    reached = [each for each in after if way.stop.is_end or each[0] <= last]
    chosen = [*reversed(before + reached), *after[len(reached) : len(reached) + 1]]
    return [(path, entry) for _, path, entry in chosen]


def _own_globals(base: Base) -> list[Globals]:
    return [(base.path / "globals.sql", e) for e in base.manifest["files"] if e["name"] == "globals.sql"]


def check_globals(archive: Archive, way: Way, warn: Callable[[str], None]) -> None:
    """Compare the globals with their manifests, before anything is run. Raises ScribeError."""
    for path, entry in globals_files(archive, way):
        if entry is None:
            warn(f'"{path}" has no checksum: an older pg_scribe wrote it')
        else:
            check_file(path, entry["bytes"], entry["sha256"])


def warn_of_missing_roles(
    conn: psycopg.Connection[Any], archive: Archive, way: Way, warn: Callable[[str], None]
) -> None:
    """Warn of roles that the base may name, and that a restore without globals does not create."""
    paths = [path for path, _ in globals_files(archive, way)]
    if paths:
        report_missing(conn, read_archived(paths[0]), warn)


def restore_globals(
    conn: psycopg.Connection[Any], archive: Archive, way: Way, options: Options, warn: Callable[[str], None]
) -> None:
    """Create the roles and tablespaces that are missing; what the server says of others is passed to warn.

    So is what differs in the roles that are there.
    """
    roles = {row[0] for row in conn.execute("SELECT rolname FROM pg_catalog.pg_roles").fetchall()}
    paths = [path for path, _ in globals_files(archive, way)]
    if paths:
        report_differences(conn, read_archived(paths[0]), roles, warn)
    for path in paths:
        run_globals(conn, path, options, warn)


def run_globals(conn: psycopg.Connection[Any], path: Path, options: Options, warn: Callable[[str], None]) -> None:
    """Create what is missing of the roles and tablespaces in a file; what the server says of it is passed to warn."""
    lines = guard_globals(read_archived(path)).splitlines(keepends=True)
    statements = map_locations(whole_statements(lines), options.mapping)
    for message in feed(conn.info.dbname, statements, what=str(path), stop=False, hint=_BASE):
        warn(f"globals: {message}")


# The database


def create_database(conn: psycopg.Connection[Any], name: str, meta: Mapping[str, Any], options: Options) -> None:
    """Create the database as the source was: encoding, locale, owner. Raises ScribeError when the server cannot."""
    statement = build_create(conn.info.server_version, name, meta, options)
    try:
        conn.execute(statement.encode())
    except psycopg.Error as error:
        text = " ".join(str(error).split())
        raise ScribeError(f'could not create database "{name}": {text}', _create_hint(error)) from None


# A database that a restore made is marked until it holds its whole base and the database's own settings: what a killed
# run has left is known by that, and made again. A setting nobody reads, because nothing in the database itself may
# differ; only a superuser can make one that no server knows.
_MARK = "pg_scribe.unfinished"
_MARKED = """
SELECT EXISTS (SELECT FROM pg_catalog.pg_db_role_setting AS s JOIN pg_catalog.pg_database AS d ON d.oid = s.setdatabase
    WHERE d.datname = %s AND s.setrole = 0 AND s.setconfig::text[] @> ARRAY[%s])
"""


def is_unfinished(conn: psycopg.Connection[Any], name: str) -> bool:
    """Whether a restore made the database and did not get to the end of its base."""
    return bool(fetch_value(conn, _MARKED, [name, f"{_MARK}=base"]))


def begin_base(conn: psycopg.Connection[Any], name: str) -> None:
    """Mark a database that was just made, and keep others away from it until conn closes."""
    _lock_unfinished(conn, name)
    if is_superuser(conn):
        conn.execute(f"ALTER DATABASE {quote_identifier(name, force=True)} SET {_MARK} = 'base'".encode())


def end_base(conn: psycopg.Connection[Any], name: str) -> None:
    """Take the mark away, if there is one."""
    if is_unfinished(conn, name):
        conn.execute(f"ALTER DATABASE {quote_identifier(name, force=True)} RESET {_MARK}".encode())


def drop_unfinished(conn: psycopg.Connection[Any], name: str) -> None:
    """Drop what a killed run has left, and end what is still at work there for it. Raises ScribeError."""
    _lock_unfinished(conn, name)
    try:
        conn.execute(f"DROP DATABASE {quote_identifier(name, force=True)} WITH (FORCE)".encode())
    except psycopg.Error as error:
        text = " ".join(str(error).split())
        raise ScribeError(f'could not drop database "{name}": {text}', "Drop it, and restore again.") from None


def _lock_unfinished(conn: psycopg.Connection[Any], name: str) -> None:
    query = "SELECT pg_catalog.pg_try_advisory_lock(%s, pg_catalog.hashtext(%s))"
    if not fetch_value(conn, query, [LOCK >> 32, name]):
        raise TryAgainError(*_AT_WORK)


def _create_hint(error: psycopg.Error) -> str:
    if isinstance(error, psycopg.errors.UndefinedObject) and "role" in str(error):
        return "Restore the globals too (without --no-globals), or leave the owners out with --no-owner."
    return "Install the locale on the target's host, or create an empty database from template0 that will do."


def build_create(version: int, name: str, meta: Mapping[str, Any], options: Options) -> str:
    """Return CREATE DATABASE for a server of that version (150004 for 15.4). Raises ScribeError."""
    words = ["CREATE DATABASE", quote_identifier(name, force=True), "TEMPLATE template0"]

    def add(keyword: str, value: Any) -> None:
        if value is not None:
            words.append(f"{keyword} {sql.Literal(value).as_string(None)}")

    add("ENCODING", meta["encoding"])
    for keyword, value in locale_options(version, meta).items():
        add(keyword, value)
    if options.owners:
        words.append(f"OWNER {quote_identifier(meta['owner'], force=True)}")
    space = meta.get("tablespace") or "pg_default"
    if space != "pg_default" and options.tablespaces:
        words.append(f"TABLESPACE {quote_identifier(space, force=True)}")
    return " ".join(words)


def locale_options(version: int, meta: Mapping[str, Any]) -> dict[str, Any]:
    """Return the locale options of CREATE DATABASE (keyword -> value or None) for a server of that version."""
    provider = meta.get("locale_provider") or "libc"
    provider = _PROVIDERS.get(provider, provider)
    if (provider == "icu" and version < 150000) or (provider == "builtin" and version < 170000):
        raise ScribeError(
            f"a server of version {version // 10000} has no databases with locale provider {provider}",
            "Restore to a newer server, or create an empty database from template0 that will do.",
        )
    options = {"LC_COLLATE": meta.get("collate"), "LC_CTYPE": meta.get("ctype")}
    if version >= 150000:
        options["LOCALE_PROVIDER"] = provider
    if provider == "icu":
        options |= {"ICU_LOCALE": meta.get("locale"), "ICU_RULES": meta.get("icu_rules")}
    if provider == "builtin":
        options["BUILTIN_LOCALE"] = meta.get("locale")
    return options


def read_meta(base: Base) -> dict[str, Any]:
    """Return what is known of the source database. Raises ScribeError."""
    return read_manifest("meta", base.path / "meta.json")


# The base


def check_options(base: Base, options: Options) -> None:
    """Raise UsageError where the base's format cannot be restored as asked for."""
    if base.manifest["format"] == "directory":
        return
    if not options.tablespaces and any(
        space["name"] not in ("pg_default", "pg_global") for space in read_meta(base).get("tablespaces", [])
    ):
        raise UsageError(
            f"base {base.stamp} is plain SQL, from which tablespaces cannot be left out",
            "Give each a directory with --tablespace-mapping OLD=NEW.",
        )


def _nowhere(_held: int) -> bool:
    return False


def restore_base(way: Way, name: str, options: Options, version: int, tick: Callable[[int], None]) -> list[str]:
    """Restore a base into an empty database; version: the server's number; tick gets the bytes of SQL sent.

    Returns what lines of ours say that they have left out. Raises ScribeError.
    """
    messages: list[str] = []
    if way.base.manifest["format"] == "directory":
        with tempfile.TemporaryFile() as said:
            header = [build_base_header().encode()]
            dump = _sections_as_sql(way.base, options, said, version)
            messages += _feed_base(name, chain(header, dump), "what pg_restore wrote", options, tick)
        messages += run_file(way.base.path / "epilogue.sql", name)
    else:
        with Skippable(way.base_file, way.base_bytes, way.base_skips) as stream:
            text = known_settings(_plain_base(stream, way.base_file.name, options), version)
            jump = stream.jump if options.owners else _nowhere
            messages += _feed_base(name, text, str(way.base_file), options, tick, jump=jump)
    return [message for message in messages if message.startswith(LEFT_OUT)]


def _feed_base(
    name: str,
    text: Iterator[bytes],
    what: str,
    options: Options,
    tick: Callable[[int], None],
    *,
    jump: Jump = _nowhere,
) -> list[str]:
    def counted() -> Iterator[bytes]:
        for block in text:
            tick(len(block))
            yield block

    return feed(name, counted(), what=what, stop=True, hint=_BASE, jobs=options.jobs, takes=options.takes, jump=jump)


def known_settings(chunks: Iterator[bytes], version: int) -> Iterator[bytes]:
    """Leave out of a dump's beginning the setting that a server of that version does not know."""
    head = b""
    while version < TIMEOUT_SINCE and len(head) < BLOCK and (chunk := next(chunks, b"")):
        head += chunk
    yield drop_transaction_timeout(head)
    yield from chunks


def _plain_base(stream: Skippable, name: str, options: Options) -> Iterator[bytes]:
    if options.owners:
        return iter(lambda: stream.read(BLOCK), b"")
    return without_owners(stream, name, event_triggers=options.event_triggers)  # type: ignore[arg-type]


SECTIONS = ("pre-data", "data", "post-data")  # of a dump in directory format; the data go in without the CHECKs
BETWEEN = ("", CHECKS_OFF, CHECKS_ON)  # before each


def restore_command(base: Base, options: Options, section: str, *, as_sql: bool) -> list[str]:
    """Return pg_restore's command, without the database. as_sql: it writes SQL, and restores nothing."""
    command = [find_program("pg_restore"), f"--section={section}"]
    command += [] if options.owners else ["--no-owner"]
    command += [] if options.tablespaces else ["--no-tablespaces"]
    command += ["--file=-"] if as_sql else ["--exit-on-error", "--no-password", f"--jobs={options.jobs}"]
    return [*command, str(base.path / "base.dir")]


def says_too_much(version: int) -> bool:
    """Whether pg_restore sets what a server of that version does not know: 17 does, by itself."""
    return version < TIMEOUT_SINCE and program_version("pg_restore") * 10000 >= TIMEOUT_SINCE


def _sections_as_sql(base: Base, options: Options, said: IO[bytes], version: int) -> Iterator[bytes]:
    """Yield a base in directory format as what pg_restore makes of it. said: where its messages go.

    Raises ScribeError. pg_restore could restore it by itself, but deals out whole tables only, and slowly.
    """
    for section, before in zip(SECTIONS, BETWEEN, strict=True):
        yield before.encode()
        dump = known_settings(_directory_as_sql(base, options, said, section), version)
        yield from dump if section == "data" else without_validation(dump)


def refuse_foreign_names(base: Base) -> None:
    """Raise ScribeError if pg_restore would read other files than the dump's."""
    foreign = find_foreign_name(base.path / "base.dir")
    if foreign is not None:
        path = base.path / "base.dir" / CONTENTS
        raise ScribeError(f'could not use "{path}" of the archive: {foreign}', _FOREIGN)


def _directory_as_sql(base: Base, options: Options, said: IO[bytes], section: str) -> Iterator[bytes]:
    command = restore_command(base, options, section, as_sql=True)
    refuse_foreign_names(base)
    with tempfile.NamedTemporaryFile(dir=scratch_directory()) as chosen:
        if not options.event_triggers:
            listing = [command[0], "--list", str(base.path / "base.dir")]
            listed = subprocess.run(listing, stdout=subprocess.PIPE, stderr=said, check=False)
            if listed.returncode != 0:
                raise _failed(base, said)
            chosen.writelines(line for line in listed.stdout.splitlines(keepends=True) if not _ENTRY.match(line))
            chosen.flush()
            command.insert(1, f"--use-list={chosen.name}")
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=said, env=os.environ | {"LC_ALL": "C"}
        ) as process:
            out = process.stdout
            assert out is not None
            yield from iter(lambda: out.read(BLOCK), b"")
    if process.returncode != 0:
        raise _failed(base, said)


def _failed(base: Base, said: IO[bytes]) -> ScribeError:
    """Return an error with the first line that pg_restore has said."""
    said.seek(0)
    lines = said.read().decode("utf-8", "replace").strip().splitlines()
    return ScribeError(f"could not restore base {base.stamp}: {lines[0] if lines else 'pg_restore failed'}", _BASE)


_FOREIGN = "Nothing that pg_dump has written looks like this. Do not restore an archive that you do not trust."
_BASE = "Give the target what it lacks, drop the database and begin again: a base cannot be resumed."


def conninfo(name: str) -> str:
    """Return a connection string for a database name, whatever is in the name."""
    return psycopg.conninfo.make_conninfo("", dbname=name)


def _blocks(stream: IO[bytes]) -> Iterator[bytes]:
    return iter(lambda: stream.read(BLOCK), b"")


def run_file(path: Path, name: str) -> list[str]:
    """Run an SQL file that must not fail; return its warnings. Raises ScribeError."""
    with open_archived(path) as stream:
        return feed(name, _blocks(stream), what=str(path), stop=True, hint=_BASE)


def run_database_sql(base: Base, name: str, warn: Callable[[str], None]) -> None:
    """Give the database its settings, privileges and comment; what the server refuses is passed to warn."""
    path = base.path / "database.sql"
    if any(entry["name"] == path.name for entry in base.manifest["files"]):
        with open_archived(path) as stream:
            for message in feed(name, _blocks(stream), what=str(path), stop=False, hint=_BASE):
                warn(f"database settings: {message}")


# What can be analyzed with no foreign server being asked, whose rows are part of a parent's statistics. A partitioned
# table stands for its partitions.
_ANALYZED = """
WITH RECURSIVE above AS (
  SELECT i.inhparent AS oid FROM pg_catalog.pg_inherits AS i JOIN pg_catalog.pg_class AS c ON c.oid = i.inhrelid
   WHERE c.relkind = 'f'
  UNION SELECT i.inhparent FROM above AS a JOIN pg_catalog.pg_inherits AS i ON i.inhrelid = a.oid
)
SELECT pg_catalog.format('%I.%I', n.nspname, c.relname)
FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'm') AND c.relpersistence <> 't' AND c.oid NOT IN (SELECT oid FROM above)
  AND NOT (c.relispartition AND EXISTS (SELECT FROM pg_catalog.pg_inherits AS i WHERE i.inhrelid = c.oid
    AND i.inhparent NOT IN (SELECT oid FROM above)))
ORDER BY c.oid
"""


def finish(name: str, warn: Callable[[str], None]) -> None:
    """Gather statistics, and make everything durable: one commit that is waited for covers all before it."""
    with connect(dbname=name, options=WRITING) as conn:
        _analyze(conn, warn)
        conn.execute("SET synchronous_commit = on")
        conn.execute("UPDATE scribe.position SET lsn = lsn")


def _analyze(conn: psycopg.Connection[Any], warn: Callable[[str], None]) -> None:
    """Analyze all tables; an owner's function that fails in one, or somebody's lock, keeps no other from it."""
    names = [row[0] for row in conn.execute(_ANALYZED)]
    with contextlib.suppress(psycopg.Error):
        conn.execute(f"ANALYZE (SKIP_LOCKED) {', '.join(names)}".encode())
        return
    failed = 0
    for each in names:
        try:
            conn.execute(f"ANALYZE (SKIP_LOCKED) {each}".encode())
        except psycopg.Error as error:
            failed += 1
            if failed == 1:
                said = " ".join(str(error).split())
                warn(f"could not analyze {' '.join(each.split())}: {said}")
    if failed > 1:
        warn(f"could not analyze {failed - 1} more tables")
