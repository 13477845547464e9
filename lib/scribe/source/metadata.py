"""What stands beside the data: roles and tablespaces, the database's own settings, a description for later readers."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import subprocess
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg

from scribe import FORMAT_VERSION, __version__
from scribe.archive import rolefiles
from scribe.archive.layout import Archive
from scribe.common import files
from scribe.common.dialect import format_time, quote_identifier, quote_literal
from scribe.common.errors import ScribeError
from scribe.common.postgres import child_environment, fetch_value, find_program
from scribe.common.sqltext import whole_statements
from scribe.source.globals_text import guard_globals
from scribe.source.server import inspect

LOCK_WAIT = 30.0  # seconds for another program that stores globals
_RESTRICT = re.compile(rb"\A((?:--[^\n]*\n|\n)*+)\\restrict ([0-9A-Za-z]+)\n(.*)\n\\unrestrict \2\n(.*)\Z", re.DOTALL)
# Settings whose value is a list of names; each has to be quoted by itself (variable_is_guc_list_quote() in pg_dump).
_LISTS = {
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
    "output_plugin_libraries",
}
_LIST_ENTRY = re.compile(r'\s*(?:"((?:[^"]|"")*)"|([^",\s][^",]*?))\s*(?:,|$)')

HOW_TO_RESTORE = (
    "psql -f, without ON_ERROR_STOP: the files of globals/, newest first, then globals.sql;"
    " createdb -T template0 with the owner, encoding and locale named here;"
    " then with ON_ERROR_STOP: base.sql (zstdcat base.sql.zst), or pg_restore base.dir and then epilogue.sql;"
    " database.sql; then each file in incremental/ whose end LSN (16 digits in its name) is greater than"
    " consistent_point in manifest.json, in the order of the names."
)


def utc_now() -> str:
    """Return the time as it stands in manifests: ISO 8601, UTC, microseconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


# --- roles and tablespaces ------------------------------------------------------------------------------------------


def normalise_globals(text: bytes) -> bytes:
    """Return pg_dumpall's output with nothing in it that differs from run to run.

    The random key of \\restrict becomes a digest of the text: the same text keeps the same key, and still no text
    can hold its own.
    """
    match = _RESTRICT.match(text)
    if match is None:
        return text
    head, _, body, tail = match.groups()
    key = hashlib.sha256(body).hexdigest().encode()
    return head + b"\\restrict " + key + b"\n" + body + b"\n\\unrestrict " + key + b"\n" + tail


_WITHOUT_PASSWORDS = b"-- pg_scribe: without passwords, which the role that wrote this could not read\n"


def dump_globals(conn: psycopg.Connection[Any], warn: Callable[[str], None]) -> bytes:
    """Return roles, tablespaces and their settings as SQL. Raises ScribeError when pg_dumpall fails."""
    command = [find_program("pg_dumpall"), "--globals-only", "--no-password", f"--database={_conninfo(conn)}"]
    note = b""
    if not fetch_value(conn, "SELECT pg_catalog.has_table_privilege('pg_catalog.pg_authid', 'SELECT')"):
        command.append("--no-role-passwords")
        note = _WITHOUT_PASSWORDS
        warn("the globals hold no passwords: this role may not read pg_authid, as a superuser or pg_read_all_data may")
    result = subprocess.run(command, capture_output=True, check=False, env=child_environment(conn))
    lines = result.stderr.decode(errors="replace").splitlines()
    if result.returncode != 0:
        raise ScribeError(f"could not dump the globals: {lines[0] if lines else 'pg_dumpall failed'}")
    for line in lines:
        warn(line)
    return note + normalise_globals(guard_globals(_without_long(result.stdout, warn)))


_LONGEST = 64 << 10  # bytes of a statement of globals


def _without_long(text: bytes, warn: Callable[[str], None]) -> bytes:
    """Return globals without what a role has made so long, for itself, that nobody could read the whole again."""
    if len(text) <= _LONGEST:
        return text
    kept = []
    for statement in whole_statements(text.splitlines(keepends=True)):
        if len(statement) <= _LONGEST:
            kept.append(statement)
        else:
            shown = " ".join(statement[:80].decode(errors="replace").split())
            warn(f"a statement of {len(statement)} bytes is left out of the globals: {shown}...")
    return b"".join(kept)


def _conninfo(conn: psycopg.Connection[Any]) -> str:
    return psycopg.conninfo.make_conninfo(dbname=conn.info.dbname)


def newest_globals(archive: Archive) -> Path | None:
    """Return the file that holds the newest globals: of globals/ and of the bases; None when there is none."""
    found = [(path.stem, path) for path, _ in rolefiles.usable(archive)]
    found += [(base.stamp, base.path / "globals.sql") for base in archive.bases()]
    found = [(stamp, path) for stamp, path in found if path.is_file()]
    return max(found)[1] if found else None


def refresh_globals(
    archive: Archive, conn: psycopg.Connection[Any], warn: Callable[[str], None], *, dry_run: bool = False
) -> Path | None:
    """Store the globals if they differ from the newest ones in the archive; return the new file, or None.

    dry_run: only say which file it would be.
    """
    content = dump_globals(conn, warn)
    with files.Lock(archive.spool / "globals.lock", "another program stores the globals", wait=LOCK_WAIT):
        newest = newest_globals(archive)
        if newest is not None and files.read_archived(newest) == content:
            return None
        stamp = _later_stamp(archive)
        return archive.globals_path / f"{stamp}.sql" if dry_run else rolefiles.write(archive, stamp, content)


def _later_stamp(archive: Archive) -> str:
    """Return a stamp later than that of every globals file and every base: the newest must win, whatever the clock."""
    taken = [path.stem for path in archive.globals_files()] + [base.stamp for base in archive.bases()]
    now = format_time(datetime.now(UTC))
    if not taken or now > max(taken):
        return now
    moment = datetime.strptime(max(taken), "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    return format_time(datetime.fromtimestamp(moment.timestamp() + 1, UTC))


# --- the database itself --------------------------------------------------------------------------------------------

_DATABASE = """
SELECT d.datname, pg_catalog.pg_get_userbyid(d.datdba) AS owner, d.datconnlimit, d.datistemplate,
       pg_catalog.shobj_description(d.oid, 'pg_database') AS comment, d.datacl IS NOT NULL AS has_acl, d.oid
FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database()
"""
_ACL = """
SELECT CASE a.grantee WHEN 0 THEN NULL ELSE pg_catalog.pg_get_userbyid(a.grantee) END AS grantee,
       pg_catalog.string_agg(a.privilege_type, ', ' ORDER BY a.privilege_type), a.is_grantable
FROM pg_catalog.pg_database AS d, pg_catalog.aclexplode(d.datacl) AS a
WHERE d.datname = pg_catalog.current_database()
GROUP BY a.grantee, a.is_grantable ORDER BY 1 NULLS FIRST, 3
"""
_PUBLIC = """
SELECT pg_catalog.pg_get_userbyid(n.nspowner), pg_catalog.obj_description(n.oid, 'pg_namespace'),
  (SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_array(g.grantee, g.words, g.is_grantable) ORDER BY g.place)
   FROM (SELECT CASE a.grantee WHEN 0 THEN NULL ELSE pg_catalog.pg_get_userbyid(a.grantee) END AS grantee,
           pg_catalog.string_agg(a.privilege_type, ', ' ORDER BY a.privilege_type) AS words, a.is_grantable,
           min(a.place) AS place
         FROM pg_catalog.aclexplode(coalesce(n.nspacl, pg_catalog.acldefault('n', n.nspowner)))
           WITH ORDINALITY AS a (grantor, grantee, privilege_type, is_grantable, place)
         GROUP BY 1, 3) AS g),
  n.nspowner = 10 AND n.nspacl IS NOT DISTINCT FROM (SELECT i.initprivs FROM pg_catalog.pg_init_privs AS i
      WHERE i.classoid = 'pg_catalog.pg_namespace'::pg_catalog.regclass AND i.objoid = n.oid)
    AND pg_catalog.obj_description(n.oid, 'pg_namespace') = 'standard public schema'
FROM pg_catalog.pg_namespace AS n WHERE n.nspname = 'public'
"""
_SETTINGS = """
SELECT r.rolname, s.entry
FROM pg_catalog.pg_db_role_setting AS c
LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = c.setrole,
  pg_catalog.unnest(c.setconfig) WITH ORDINALITY AS s (entry, place)
WHERE c.setdatabase = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
ORDER BY r.rolname NULLS FIRST, s.place
"""
_LABELS = """
SELECT l.provider, l.label FROM pg_catalog.pg_shseclabel AS l
WHERE l.classoid = 'pg_catalog.pg_database'::pg_catalog.regclass
  AND l.objoid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
ORDER BY 1
"""


def _on_database(before: str, after: str) -> str:
    """Return plpgsql that runs a statement with the name of whatever database it is run in between before and after."""
    template = before.replace("%", "%%") + " %I " + after.replace("%", "%%")
    return f"  EXECUTE pg_catalog.format({quote_literal(template.strip())}, pg_catalog.current_database());\n"


def _if_role(role: str | None, line: str) -> str:
    """Return plpgsql that runs line if the role is there (None: always), since globals may not have been restored."""
    if role is None:
        return line
    known = f"EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = {quote_literal(role)})"
    return f"  IF {known} THEN\n  {line}  END IF;\n"


def _if_possible(clause: str, line: str) -> str:
    """Return plpgsql that warns where the server refuses line, which sets clause: it may have no such setting."""
    failed = f"RAISE WARNING '%: %', {quote_literal(clause)}, SQLERRM;"
    return f"  BEGIN\n  {line}  EXCEPTION WHEN OTHERS THEN {failed}\n  END;\n"


def _block(lines: Iterable[str]) -> str:
    """Return a DO statement around plpgsql lines, with a dollar quote they do not hold; "" when there are none."""
    body = "".join(lines)
    if not body:
        return ""
    tag = "scribe"
    while f"${tag}$" in body:
        tag += "_"
    return f"DO LANGUAGE plpgsql ${tag}$\nBEGIN\n{body}END\n${tag}$;\n"


def holder(grantee: str | None) -> str:
    """Return a role as GRANT names it; None is everybody."""
    return "PUBLIC" if grantee is None else quote_identifier(grantee, force=True)


def database_acl(conn: psycopg.Connection[Any]) -> str:
    """Return SQL that gives the database it is run in the source's privileges; "" where they are the default ones."""
    row = conn.execute(_DATABASE).fetchone()
    assert row is not None
    if not row[5]:
        return ""
    owner = quote_identifier(row[1], force=True)
    lines = [_on_database("REVOKE ALL ON DATABASE", "FROM PUBLIC")]
    lines.append(_if_role(row[1], _on_database("REVOKE ALL ON DATABASE", f"FROM {owner}")))
    for grantee, privileges, grantable in conn.execute(_ACL).fetchall():
        option = " WITH GRANT OPTION" if grantable else ""
        whom = f"TO {holder(grantee)}{option}"
        lines.append(_if_role(grantee, _on_database(f"GRANT {privileges} ON DATABASE", whom)))
    return _block(lines)


def public_schema(conn: psycopg.Connection[Any]) -> list[str]:
    """Return statements for the schema public, which every new database has and pg_dump therefore never makes or drops:
    that it is not there, or owner, privileges and comment, which pg_dump passes over before 15, whose defaults differ.

    One that nobody has changed is left alone by a server of such a version: it is as the source's, whoever owns it.
    """
    row = conn.execute(_PUBLIC).fetchone()
    if row is None:
        return ["DROP SCHEMA IF EXISTS public"]
    owner, comment, privileges, unchanged = row
    if conn.info.server_version >= 150000:
        return []
    name = quote_identifier(owner, force=True)
    possible = "pg_catalog.pg_has_role(oid, 'MEMBER')"  # for restores by others than superusers
    found = f"FROM pg_catalog.pg_roles WHERE rolname = {quote_literal(owner)} AND {possible}"
    text = quote_literal(comment) if comment is not None else "NULL"
    lines = [f"  COMMENT ON SCHEMA public IS {text};\n"]
    lines += [f"  IF EXISTS (SELECT {found}) THEN\n    ALTER SCHEMA public OWNER TO {name};\n  END IF;\n"]
    for grantee in dict.fromkeys([None, owner, *(grantee for grantee, _, _ in privileges or ())]):
        lines.append(_if_role(grantee, f"  REVOKE ALL ON SCHEMA public FROM {holder(grantee)};\n"))
    for grantee, words, grantable in privileges or ():
        option = " WITH GRANT OPTION" if grantable else ""
        lines.append(_if_role(grantee, f"  GRANT {words} ON SCHEMA public TO {holder(grantee)}{option};\n"))
    if unchanged:
        since = "pg_catalog.current_setting('server_version_num')::pg_catalog.int4 >= 150000"
        lines = [f"  IF {since} THEN\n", *lines, "  END IF;\n"]
    return [_block(lines)]


def split_list(value: str) -> list[str]:
    """Return the names in a list setting as pg_db_role_setting stores it: '"$user", public' -> ['$user', 'public']."""
    return [quoted.replace('""', '"') if quoted else bare for quoted, bare in _LIST_ENTRY.findall(value)]


def setting_clause(entry: str) -> str:
    """Return SET ... TO ... for an entry of pg_db_role_setting or of a function's settings."""
    name, _, value = entry.partition("=")
    quoted = ".".join(quote_identifier(part, force=True) for part in name.split("."))
    if name in _LISTS:
        return f"SET {quoted} TO " + (", ".join(quote_literal(item) for item in split_list(value)) or "''")
    return f"SET {quoted} TO {quote_literal(value)}"


def database_sql(conn: psycopg.Connection[Any]) -> str:
    """Return settings, privileges, comment, labels and limits of the database as SQL for the database it is run in."""
    row = conn.execute(_DATABASE).fetchone()
    assert row is not None
    lines = []
    if row[2] != -1:
        lines.append(_on_database("ALTER DATABASE", f"CONNECTION LIMIT {row[2]}"))
    if row[4] is not None:
        lines.append(_on_database("COMMENT ON DATABASE", f"IS {quote_literal(row[4])}"))
    for provider, label in conn.execute(_LABELS).fetchall():
        words = f"SECURITY LABEL FOR {quote_identifier(provider, force=True)} ON DATABASE"
        lines.append(_on_database(words, f"IS {quote_literal(label)}"))
    for role, entry in conn.execute(_SETTINGS).fetchall():
        clause = setting_clause(entry)
        if role is None:
            lines.append(_if_possible(clause, _on_database("ALTER DATABASE", clause)))
        else:
            words = f"ALTER ROLE {quote_identifier(role, force=True)} IN DATABASE"
            lines.append(_if_role(role, _if_possible(clause, _on_database(words, clause))))
    head = "-- pg_scribe: settings, privileges and comment of the database; for whatever database this is run in\n"
    return head + f"SET client_encoding = 'UTF8';\n{_block(lines)}{database_acl(conn)}"


# What pg_dump leaves out without a word when it is run by another role than a superuser.
_HIDDEN_MAPPINGS = """
SELECT count(*) FROM pg_catalog.pg_user_mapping AS m JOIN pg_catalog.pg_user_mappings AS v ON v.umid = m.oid
WHERE m.umoptions IS NOT NULL AND v.umoptions IS NULL
"""


def hidden_contents(conn: psycopg.Connection[Any]) -> list[str]:
    """Return a warning for what a dump by this role does not hold and pg_dump does not tell of."""
    if not fetch_value(conn, "SELECT pg_catalog.has_table_privilege('pg_catalog.pg_user_mapping', 'SELECT')"):
        return ["the options of user mappings are not in this base where this role may not read them"]
    count = fetch_value(conn, _HIDDEN_MAPPINGS)
    text = f"the options (passwords) of {count} user mappings are not in this base: only a superuser's dump has them"
    return [text] if count else []


# --- the description for later readers ------------------------------------------------------------------------------

_IDENTITY = """
SELECT d.datname AS database, d.oid::bigint AS database_oid, pg_catalog.pg_get_userbyid(d.datdba) AS owner,
       pg_catalog.pg_encoding_to_char(d.encoding) AS encoding, d.datcollate AS collate, d.datctype AS ctype,
       CASE coalesce(pg_catalog.to_jsonb(d) ->> 'datlocprovider', 'c')
         WHEN 'i' THEN 'icu' WHEN 'b' THEN 'builtin' ELSE 'libc' END AS locale_provider,
       coalesce(pg_catalog.to_jsonb(d) ->> 'datlocale', pg_catalog.to_jsonb(d) ->> 'daticulocale') AS locale,
       pg_catalog.to_jsonb(d) ->> 'daticurules' AS icu_rules,
       pg_catalog.to_jsonb(d) ->> 'datcollversion' AS collation_version,
       (SELECT spcname FROM pg_catalog.pg_tablespace WHERE oid = d.dattablespace) AS tablespace,
       pg_catalog.pg_database_size(d.oid) AS bytes,
       pg_catalog.split_part(pg_catalog.current_setting('server_version'), ' ', 1) AS server_version,
       pg_catalog.current_setting('server_version_num')::int AS server_version_num,
       pg_catalog.version() AS server_build,
       (SELECT system_identifier::text FROM pg_catalog.pg_control_system()) AS system_identifier
FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database()
"""
_LISTS_OF: dict[str, str] = {
    "extensions": """
        SELECT e.extname AS name, e.extversion AS version, n.nspname AS schema
        FROM pg_catalog.pg_extension AS e JOIN pg_catalog.pg_namespace AS n ON n.oid = e.extnamespace ORDER BY 1""",
    "tablespaces": """
        SELECT spcname AS name, pg_catalog.pg_tablespace_location(oid) AS location,
               pg_catalog.pg_get_userbyid(spcowner) AS owner
        FROM pg_catalog.pg_tablespace ORDER BY 1""",
    "tables": """
        SELECT n.nspname AS schema, c.relname AS name,
               CASE c.relkind WHEN 'p' THEN 'partitioned table' WHEN 'm' THEN 'materialized view'
                 WHEN 'f' THEN 'foreign table' ELSE 'table' END AS kind,
               CASE c.relpersistence WHEN 'u' THEN 'unlogged' ELSE 'permanent' END AS persistence,
               CASE c.relreplident WHEN 'd' THEN 'default' WHEN 'f' THEN 'full'
                 WHEN 'i' THEN 'index' ELSE 'nothing' END AS replica_identity,
               CASE WHEN c.reltuples >= 0 THEN c.reltuples::bigint END AS estimated_rows,
               CASE WHEN c.relkind IN ('r', 'm') THEN c.relpages::bigint * 8192 END AS estimated_bytes,
               CASE WHEN c.relispartition THEN pg_catalog.json_build_object('schema', pn.nspname, 'name', p.relname)
                 END AS partition_of
        FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
          LEFT JOIN pg_catalog.pg_inherits AS i ON i.inhrelid = c.oid AND c.relispartition
          LEFT JOIN pg_catalog.pg_class AS p ON p.oid = i.inhparent
          LEFT JOIN pg_catalog.pg_namespace AS pn ON pn.oid = p.relnamespace
        WHERE c.relkind IN ('r', 'p', 'm', 'f') AND c.relpersistence <> 't'
          AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'scribe') AND n.nspname !~ '^pg_toast'
        ORDER BY 1, 2""",
    "sequences": """
        SELECT n.nspname AS schema, c.relname AS name, s.seqtypid::pg_catalog.regtype::text AS data_type,
               s.seqstart AS start_value, s.seqincrement AS increment_by, s.seqcycle AS cycle
        FROM pg_catalog.pg_sequence AS s JOIN pg_catalog.pg_class AS c ON c.oid = s.seqrelid
          JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
        WHERE n.nspname <> 'scribe' AND n.nspname !~ '^pg_temp' ORDER BY 1, 2""",  # pg_sequences opens each of them
    "function_settings": """
        SELECT p.oid::pg_catalog.regprocedure::text AS function, pg_catalog.left(s.entry, 1000) AS setting
        FROM pg_catalog.pg_proc AS p JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace,
          pg_catalog.unnest(p.proconfig) AS s (entry)
        WHERE p.oid >= 16384 AND n.nspname <> 'scribe' AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS d
          WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid = p.oid AND d.deptype = 'e')
        ORDER BY 1, 2""",
    "subscriptions": """
        SELECT subname AS name, subenabled AS enabled FROM pg_catalog.pg_subscription
        WHERE subdbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
        ORDER BY 1""",
}
_SETTINGS_THAT_MATTER = """
SELECT name, CASE name WHEN 'search_path' THEN reset_val ELSE setting END AS setting
FROM pg_catalog.pg_settings WHERE name = ANY (ARRAY['block_size', 'data_checksums', 'DateStyle',
  'IntervalStyle', 'TimeZone', 'lc_collate', 'lc_ctype', 'lc_messages', 'lc_monetary', 'lc_numeric', 'lc_time',
  'default_text_search_config', 'standard_conforming_strings', 'bytea_output', 'xmloption', 'integer_datetimes',
  'max_identifier_length', 'max_index_keys', 'shared_preload_libraries', 'session_preload_libraries',
  'default_toast_compression', 'default_table_access_method', 'password_encryption', 'wal_level',
  'max_slot_wal_keep_size', 'logical_decoding_work_mem', 'wal_segment_size', 'search_path']) ORDER BY name
"""

# What somebody set for the extensions that are loaded, and is no secret: a rehearsal needs it.
_EXTENSION_SETTINGS = """
SELECT name, reset_val AS setting FROM pg_catalog.pg_settings
WHERE name LIKE '%.%' AND name NOT LIKE 'scribe.%' AND name !~* 'passw|secret|token|key'
  AND source IN ('configuration file', 'command line') AND reset_val IS DISTINCT FROM boot_val ORDER BY name
"""


def _rows(conn: psycopg.Connection[Any], query: str) -> list[dict[str, Any]]:
    cursor = conn.execute(query)
    names = [column.name for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def tool_versions() -> dict[str, str]:
    """Return the versions of the programs a base is made with."""
    found = {"pg_scribe": __version__, "python": platform.python_version()}
    for name in ("pg_dump", "pg_dumpall"):
        found[name] = subprocess.check_output([find_program(name), "--version"], text=True).strip()
    return found


def describe_database(conn: psycopg.Connection[Any]) -> dict[str, Any]:
    """Return what schema/meta.schema.json describes. Sizes in bytes, times in UTC; row counts are estimates."""
    value: dict[str, Any] = {"format_version": FORMAT_VERSION, "taken": utc_now(), **_rows(conn, _IDENTITY)[0]}
    value["timeline"] = inspect(conn).timeline
    value.update({name: _rows(conn, query) for name, query in _LISTS_OF.items()})
    value["large_objects"] = fetch_value(conn, "SELECT count(*) FROM pg_catalog.pg_largeobject_metadata")
    value["settings"] = {row["name"]: row["setting"] for row in _rows(conn, _SETTINGS_THAT_MATTER)}
    value["extension_settings"] = {row["name"]: row["setting"] for row in _rows(conn, _EXTENSION_SETTINGS)}
    value["tools"] = tool_versions()
    value["host"] = os.uname().nodename
    value["how_to_restore"] = HOW_TO_RESTORE
    return value
