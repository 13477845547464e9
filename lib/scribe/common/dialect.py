"""The SQL dialect of a segment: frames, header, footer, quoting. docs/format.md is the contract."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from scribe import FORMAT_VERSION
from scribe.common.lsn import format_lsn, parse_lsn

BEGIN_PREFIX = b"BEGIN; -- xid "
COMMIT_PREFIX = b"COMMIT; -- end "
FOOTER_BEGIN = b"BEGIN; -- footer\n"
FOOTER_END = b"COMMIT; -- footer\n"
OBJECTS_BEGIN = b"BEGIN; -- large objects\n"
OBJECTS_END = b"COMMIT; -- large objects\n"
_BEGIN = re.compile(
    rb"BEGIN; -- xid (\d+) commit ([0-9A-F]+/[0-9A-F]+) time (\d{4,}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}\+00(?: BC)?)\n"
)
_COMMIT = re.compile(rb"COMMIT; -- end ([0-9A-F]+/[0-9A-F]+)\n")
# Where scanning for whole transactions may look: the line after a newline, complete with its own.
COMMIT_LINE = re.compile(rb"(?:^|(?<=\n))COMMIT; -- end ([0-9A-F]+/[0-9A-F]+)\n")
ROWS_LINE = re.compile(
    rb"\n-- rows(?: (\d+) inserted)?(?: (\d+) updated)?(?: (\d+) deleted)?(?: (\d+) truncated)?(?: (\d+) ddl)?(?=\n)"
)
WARNING_LINE = re.compile(rb"\n-- warning: ([^\n]*)(?=\n)")
INEXACT_LINE = re.compile(rb"\n-- ddl ([^\n]*? inexact: [^\n]*)(?=\n)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_PLAIN_NAME = re.compile(r"[a-z_][a-z0-9_]*")
_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f", "\\": "\\\\", "'": "''"}

# What makes reading agree with the decoder's writing, whatever the target's defaults are. (name, SQL value)
HEADER_SETTINGS = (
    ("role", "none"),  # a database's owner may have set one for all sessions
    ("session_replication_role", "replica"),
    ("standard_conforming_strings", "on"),
    ("backslash_quote", "safe_encoding"),
    ("array_nulls", "on"),
    ("transform_null_equals", "off"),
    ("quote_all_identifiers", "off"),
    ("DateStyle", "'ISO, MDY'"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "'UTC'"),
    ("lc_monetary", "'C'"),
    ("extra_float_digits", "3"),
    ("bytea_output", "hex"),
    ("xmlbinary", "base64"),
    ("xmloption", "content"),
    ("search_path", "''"),
    ("check_function_bodies", "off"),
    ("row_security", "off"),
    ("default_tablespace", "''"),
    ("default_table_access_method", "heap"),
    ("default_transaction_read_only", "off"),
    ("default_transaction_isolation", "'read committed'"),
    ("default_transaction_deferrable", "off"),
    ("client_min_messages", "warning"),
    ("statement_timeout", "0"),
    ("lock_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
)
# The like for a base, whose triggers, functions and data are made as pg_dump has them made.
_NOT_OF_A_BASE = {"session_replication_role", "check_function_bodies", "client_min_messages", "xmloption"}
BASE_SETTINGS = tuple(setting for setting in HEADER_SETTINGS if setting[0] not in _NOT_OF_A_BASE)


@dataclass(frozen=True)
class Begin:
    """A transaction's first line: xid, LSN of its commit record, commit time."""

    xid: int
    commit_lsn: int
    time: str


@dataclass(frozen=True)
class Sequence:
    """A sequence's position: name as (schema, name), last_value and is_called as in the sequence relation."""

    schema: str
    name: str
    last_value: int
    is_called: bool

    @property
    def qualified(self) -> str:
        """The name as to_regclass() reads it."""
        return f"{quote_identifier(self.schema, force=True)}.{quote_identifier(self.name, force=True)}"


def parse_begin(line: bytes) -> Begin | None:
    """Return what a BEGIN line (with its newline) says, or None if line is not one."""
    match = _BEGIN.fullmatch(line)
    if match is None:
        return None
    return Begin(int(match[1]), parse_lsn(match[2].decode()), match[3].decode())


def parse_commit(line: bytes) -> int | None:
    """Return the end LSN of a COMMIT line (with its newline), or None if line is not one."""
    match = _COMMIT.fullmatch(line)
    return None if match is None else parse_lsn(match[1].decode())


def quote_literal(text: str) -> str:
    """Return text as an SQL literal on one line, the same under any standard_conforming_strings."""
    if "\\" not in text and _CONTROL.search(text) is None:
        return "'" + text.replace("'", "''") + "'"
    body = "".join(_ESCAPES.get(c) or (f"\\x{ord(c):02X}" if _CONTROL.match(c) else c) for c in text)
    return f"E'{body}'"


def quote_identifier(name: str, *, force: bool = False) -> str:
    """Return name as an SQL identifier; with force in double quotes even where none are needed.

    Without, it is for people: a word of SQL such as user is not quoted. A control character makes it U&"...", except
    with force, where to_regclass() has to read it.
    """
    if force:
        return '"' + name.replace('"', '""') + '"'
    return name if _PLAIN_NAME.fullmatch(name) else quote_name(name)


def quote_name(name: str) -> str:
    """Return name as an SQL identifier for a statement: always quoted, on one line."""
    quoted = name.replace('"', '""')
    if _CONTROL.search(name) is None:
        return f'"{quoted}"'
    return 'U&"' + re.sub(r"[\x00-\x1f\x7f\\]", lambda m: f"\\{ord(m[0]):04X}", quoted) + '"'


def _comment_text(text: str) -> str:
    # ASCII, since it is read before the header has set the encoding
    return _CONTROL.sub("?", text).encode("ascii", "backslashreplace").decode()


# What rotation adds is UTF-8 whatever the database's encoding is; COMMIT takes the setting back.
UTF8_LINE = "SET LOCAL client_encoding = 'UTF8';\n"


# How many rows of the user's tables have been updated or deleted since the server's statistics began, as this session
# knows it: what it has not sent off yet is included. Exact from 15 on, if statistics are kept; else nothing is noted.
_CHANGED = """(SELECT coalesce(sum(
        pg_catalog.pg_stat_get_tuples_updated(c.oid) + pg_catalog.pg_stat_get_xact_tuples_updated(c.oid)
        + pg_catalog.pg_stat_get_tuples_deleted(c.oid) + pg_catalog.pg_stat_get_xact_tuples_deleted(c.oid)), 0)
        FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
        WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND c.oid >= 16384 AND n.nspname <> 'scribe')"""
_NOTE_COUNTS = f"""      PERFORM pg_catalog.set_config('scribe.changed',
        CASE WHEN pg_catalog.current_setting('server_version_num')::int >= 150000
        AND pg_catalog.current_setting('track_counts')::boolean THEN {_CHANGED}::text ELSE '' END, false);
"""


def _check_counts(changed: int) -> str:
    """Return a statement that fails if the file changed another number of rows here than in the source.

    Only psql notes what stood before, in the header; scribe-restore looks at each statement itself.
    """
    return (
        "DO LANGUAGE plpgsql $scribe$\n"
        "DECLARE\n"
        "  noted text := pg_catalog.current_setting('scribe.changed', true);\n"
        "  changed numeric;\n"
        "BEGIN\n"
        "  IF noted IS NULL OR noted = '' THEN RETURN; END IF;\n"
        "  PERFORM pg_catalog.pg_stat_force_next_flush();\n"  # with COMMIT: the next file's session counts from there
        f"  changed := {_CHANGED} - noted::numeric;\n"
        f"  IF changed < {changed} THEN\n"
        f"    RAISE EXCEPTION 'this file updated or deleted % rows here, and {changed} in the source', changed\n"
        "      USING HINT = 'Rows were not found: this copy is not what the file follows. Restore again.';\n"
        f"  ELSIF changed > {changed} THEN\n"
        f"    RAISE WARNING 'this file updated or deleted % rows here, and {changed} in the source', changed\n"
        "      USING HINT = 'Unless other sessions have been at work here, this copy is not what the file follows.';\n"
        "  END IF;\n"
        "END\n"
        "$scribe$;\n"
    )


# No event trigger of the database's own fires while a file is read. From 17 on a setting sees to that; before, those
# that are ENABLE ALWAYS or REPLICA are disabled, and set back by fire_event_triggers(true).
# A database's owner may have views refused to everybody: then nothing could be refreshed that reads one.
_SWITCH_OFF = """\
  IF pg_catalog.current_setting('restrict_nonsystem_relation_kind', true) <> '' THEN
    PERFORM pg_catalog.set_config('restrict_nonsystem_relation_kind', '', false);
  END IF;
  IF EXISTS (SELECT FROM pg_catalog.pg_settings WHERE name = 'event_triggers')
    AND (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = CURRENT_USER) THEN
    PERFORM pg_catalog.set_config('event_triggers', 'off', false);
  END IF;
"""
_DISABLE = """\
  FOR found IN SELECT evtname, evtenabled FROM pg_catalog.pg_event_trigger WHERE evtenabled IN ('A', 'R')
    AND pg_catalog.current_setting('event_triggers', true) IS DISTINCT FROM 'off' LOOP
    EXECUTE pg_catalog.format('ALTER EVENT TRIGGER %I DISABLE', found.evtname);
    {keep}
  END LOOP;
"""
_REMEMBER = "names := names || found.evtname::text; modes := modes || found.evtenabled::text;"
_ENABLE = (
    "    EXECUTE pg_catalog.format('ALTER EVENT TRIGGER %I ENABLE %s', found.name,"
    " CASE found.mode WHEN 'A' THEN 'ALWAYS' ELSE 'REPLICA' END);\n"
)
# What is in the schema is called and written with the rights of who restores: default privileges give nobody a part.
_KEEP_TO_OURSELVES = """\
  FOR found IN SELECT DISTINCT o.what, CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE r.rolname::text END AS who, a.grantee
    FROM (SELECT 'SCHEMA scribe' AS what, n.nspowner AS owner, n.nspacl AS acl FROM pg_catalog.pg_namespace AS n
        WHERE n.nspname = 'scribe'
      UNION ALL SELECT 'TABLE scribe.' || c.relname::text, c.relowner, c.relacl FROM pg_catalog.pg_class AS c
        WHERE c.relnamespace = pg_catalog.to_regnamespace('scribe') AND c.relkind = 'r') AS o,
      pg_catalog.aclexplode(o.acl) AS a LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = a.grantee
    WHERE a.grantee <> o.owner LOOP
    EXECUTE pg_catalog.format(CASE found.grantee WHEN 0 THEN 'REVOKE ALL ON %s FROM PUBLIC'
      ELSE 'REVOKE ALL ON %s FROM %I' END, found.what, found.who);
  END LOOP;
"""
QUIET = (
    "DO LANGUAGE plpgsql $scribe$\n"
    "DECLARE\n"
    "  found record;\n"
    "  names text[] := '{}';\n"
    "  modes text[] := '{}';\n"
    "BEGIN\n"
    + _SWITCH_OFF
    + "  IF pg_catalog.to_regprocedure('scribe.fire_event_triggers(boolean)') IS NOT NULL THEN\n"
    "    PERFORM scribe.fire_event_triggers(false);\n"
    "    RETURN;\n"
    "  END IF;\n"
    + _DISABLE.format(keep=_REMEMBER)
    + "  CREATE TABLE scribe.quieted (name text PRIMARY KEY, mode text NOT NULL);\n"
    "  INSERT INTO scribe.quieted SELECT * FROM unnest(names, modes);\n"
    "  CREATE FUNCTION scribe.fire_event_triggers(fire boolean) RETURNS void LANGUAGE plpgsql AS $function$\n"
    "DECLARE\n"
    "  found record;\n"
    "BEGIN\n"
    "  FOR found IN SELECT q.* FROM scribe.quieted AS q JOIN pg_catalog.pg_event_trigger AS e ON e.evtname = q.name"
    " WHERE fire LOOP\n" + _ENABLE + "  END LOOP;\n"
    "  DELETE FROM scribe.quieted WHERE fire;\n"
    "  IF fire THEN RETURN; END IF;\n"
    + _DISABLE.format(
        keep="INSERT INTO scribe.quieted VALUES (found.evtname, found.evtenabled)"
        " ON CONFLICT (name) DO UPDATE SET mode = EXCLUDED.mode;"
    )
    + "END\n"
    "$function$;\n" + _KEEP_TO_OURSELVES + "END\n"
    "$scribe$;\n"
)
WAKE = "SELECT scribe.fire_event_triggers(true);\n"
# The same at the end of a copy that is to be a database of its own, once the schema is gone: one of them may
# forbid a DROP.
LEAVE = (
    "DO LANGUAGE plpgsql $scribe$\n"
    "DECLARE\n"
    "  found record;\n"
    "  names text[] := ARRAY(SELECT name FROM scribe.quieted ORDER BY name);\n"
    "  modes text[] := ARRAY(SELECT mode FROM scribe.quieted ORDER BY name);\n"
    "BEGIN\n"
    "  DROP SCHEMA scribe CASCADE;\n"
    "  FOR found IN SELECT q.* FROM unnest(names, modes) AS q (name, mode)"
    " JOIN pg_catalog.pg_event_trigger AS e ON e.evtname = q.name LOOP\n" + _ENABLE + "  END LOOP;\n"
    "END\n"
    "$scribe$;\n"
)


def build_header(*, database: str, decoder: str, server: str, encoding: str, from_lsn: int) -> str:
    """Return the text before a segment's first transaction.

    decoder: name and version ("scribe_decoder 1.0"); server: version number ("15.18"); encoding: the database's.
    """
    position = format_lsn(from_lsn)
    settings = "".join(f"SET {name} = {value};\n" for name, value in HEADER_SETTINGS)
    return (
        f"-- pg_scribe {FORMAT_VERSION} incremental, database {_comment_text(database)}, decoder {decoder}, "
        f"server {server}\n"
        f"-- from {position}\n"
        "\\set ON_ERROR_STOP on\n"
        f"SET client_encoding = {quote_literal(encoding)};\n"
        f"{settings}"
        "DO LANGUAGE plpgsql $scribe$\n"
        "DECLARE\n"
        "  here text := 'was not restored from a pg_scribe base';\n"
        "BEGIN\n"
        "  IF pg_catalog.to_regclass('scribe.position') IS NOT NULL THEN\n"
        f"    UPDATE scribe.position SET inside = true WHERE lsn = '{position}' AND NOT inside;\n"
        "    IF FOUND THEN\n"
        f"{_NOTE_COUNTS}"
        "      RETURN;\n"
        "    END IF;\n"
        "    SELECT pg_catalog.format(CASE WHEN inside THEN 'stopped within the file that follows %s'\n"
        "      ELSE 'stands at %s' END, lsn) INTO here FROM scribe.position;\n"
        "  END IF;\n"
        f"  RAISE EXCEPTION 'this file continues a database that stands at {position}, and this database %', here\n"
        "    USING HINT = 'Run each file once, in the order of the names, after the base; nothing was changed.';\n"
        "END\n"
        "$scribe$;\n" + QUIET
    )


def build_footer(*, sequences: Iterable[Sequence], to_lsn: int, changed: int | None = None) -> str:
    """Return the text after a segment's last transaction.

    changed: how many rows the segment updates and deletes, None if that cannot be told from the target's statistics.
    A sequence that has since been dropped, renamed or given other bounds is passed over; the next segment has it.
    """
    rows = ",\n".join(
        f"({quote_literal(s.qualified)}, {s.last_value}, {'true' if s.is_called else 'false'})" for s in sequences
    )
    positions = (
        "SELECT pg_catalog.count(pg_catalog.setval(s.seqrelid::pg_catalog.regclass, v.last_value, v.is_called))"
        " AS sequences FROM (VALUES\n"
        f"{rows}\n"
        ") AS v (name, last_value, is_called) JOIN pg_catalog.pg_sequence AS s"
        " ON s.seqrelid = pg_catalog.to_regclass(v.name) AND v.last_value BETWEEN s.seqmin AND s.seqmax;\n"
    )
    return (
        FOOTER_BEGIN.decode()
        + ("" if rows.isascii() else UTF8_LINE)
        + (positions if rows else "")
        + ("" if changed is None else _check_counts(changed))
        + WAKE
        + f"UPDATE scribe.position SET lsn = '{format_lsn(to_lsn)}', inside = false;\n"
        + FOOTER_END.decode()
        + f"-- to {format_lsn(to_lsn)}\n"
    )


def build_base_header() -> str:
    """Return what begins a base: what pg_dump leaves to the target's settings is pinned, for psql alone too."""
    settings = "".join(f"SET {name} = {value};\n" for name, value in BASE_SETTINGS)
    return (
        "-- pg_scribe: what follows means the same whatever the settings of role, database and server are.\n"
        f"{settings}"
        "SELECT pg_catalog.set_config(name, '0', false) FROM pg_catalog.pg_settings"  # older servers know neither
        " WHERE name IN ('transaction_timeout', 'idle_session_timeout');\n"
        "-- No event trigger fires.\n"
        "SET session_replication_role = replica;\n"
        "DO LANGUAGE plpgsql $scribe$\nBEGIN\n" + _SWITCH_OFF + "END\n$scribe$;\n\n"
    )


# CHECKs that call what is not immutable, or what a user made, whatever it claims to be: of the same row they may say
# something else by now. The source took the rows, so they are loaded unasked. So are those of a CHECK that is too long
# to be looked at: a server fails that would search one for a pattern. k: pg_constraint
CHECKS_THAT_CHANGE = """k.contype = 'c' AND k.conrelid <> 0
  AND CASE WHEN pg_catalog.octet_length(k.conbin::pg_catalog.text) > 10000000 THEN true ELSE
    k.conbin::pg_catalog.text ~ '{(SQLVALUEFUNCTION|COERCETODOMAIN|COERCEVIAIO) ' OR EXISTS (
      SELECT FROM pg_catalog.regexp_matches(k.conbin::pg_catalog.text, ':(?:func|opfunc)id ([0-9]+)', 'g') AS m (id)
      JOIN pg_catalog.pg_proc AS p ON p.oid = m.id[1]::pg_catalog.oid WHERE p.provolatile <> 'i' OR p.oid >= 16384)
    END"""
# How many CHECKs a table has. Nothing else says whether there are any to look at; ALTER TABLE has no word for it.
# c: pg_class
ALL_CHECKS = "(SELECT count(*) FROM pg_catalog.pg_constraint AS k WHERE k.conrelid = c.oid AND k.contype = 'c')"
# Only a superuser writes to the catalog. For anybody else CHECKs are looked at as rows come, as they are without this.
IF_SUPERUSER = "IF (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = CURRENT_USER) THEN"
# Between the sections of a dump in directory format.
CHECKS_OFF = (
    f"DO LANGUAGE plpgsql $scribe$ BEGIN {IF_SUPERUSER}\n"
    "UPDATE pg_catalog.pg_class AS c SET relchecks = 0 WHERE c.oid IN (\n"
    f"  SELECT k.conrelid FROM pg_catalog.pg_constraint AS k WHERE {CHECKS_THAT_CHANGE});\n"
    "END IF; END $scribe$;\n"
)
CHECKS_ON = (
    f"DO LANGUAGE plpgsql $scribe$ BEGIN {IF_SUPERUSER}\n"
    f"UPDATE pg_catalog.pg_class AS c SET relchecks = {ALL_CHECKS} WHERE c.relchecks = 0 AND {ALL_CHECKS} > 0;\n"
    "END IF; END $scribe$;\n"
)

# Roles that globals.sql made carry a mark (scribe.source.globals_text): it goes from them into the restored database.
TAKE_MARKS = (
    "INSERT INTO scribe.made SELECT 'role', r.rolname FROM pg_catalog.pg_db_role_setting AS s\n"
    "  JOIN pg_catalog.pg_roles AS r ON r.oid = s.setrole\n"
    "  WHERE s.setdatabase = 0 AND 'scribe.made=on' = ANY (s.setconfig)\n"
    "  AND EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = current_user AND rolsuper) ON CONFLICT DO NOTHING;\n"
    "DO LANGUAGE plpgsql $scribe$\n"
    "DECLARE\n"
    "  made text;\n"
    "BEGIN\n"
    "  FOR made IN SELECT name FROM scribe.made LOOP\n"
    "    EXECUTE pg_catalog.format('ALTER ROLE %I RESET scribe.made', made);\n"
    "  END LOOP;\n"
    "END\n"
    "$scribe$;\n"
)


LEFT_OUT = ("setting left out: ", "left out, since ")  # how warnings of our own lines begin


def or_left_out(statement: str, what: str | None = None) -> str:
    """Return plpgsql for a statement that a copy may refuse: it is left out with a warning then.

    what: how the warning names it; the statement itself if None.
    """
    shown = quote_literal(" ".join((what or statement).split())[:200])
    return f"BEGIN {statement}; EXCEPTION WHEN OTHERS THEN RAISE WARNING 'left out, since %: %', SQLERRM, {shown}; END;"


# Roles that are named there are changed by what follows. A member of pg_write_all_data could name others.
_MADE_BY_US = """\
  CREATE FUNCTION scribe.refuse_write() RETURNS trigger LANGUAGE plpgsql AS $function$
BEGIN
  IF NOT pg_catalog.has_table_privilege(current_user, tg_relid, 'TRIGGER') THEN
    RAISE EXCEPTION 'only a restore writes into %', tg_relid::pg_catalog.regclass
      USING ERRCODE = 'insufficient_privilege';
  END IF;
  RETURN NULL;
END
$function$;
  CREATE TRIGGER only_a_restore AFTER INSERT OR UPDATE OR DELETE ON scribe.made
    FOR EACH ROW EXECUTE FUNCTION scribe.refuse_write();
  ALTER TABLE scribe.made ENABLE ALWAYS TRIGGER only_a_restore;
"""


def build_epilogue(consistent_point: int, commands: Iterable[str] = ()) -> str:
    """Return what ends a base: the capture objects go, the position in the stream comes.

    commands: SQL for what pg_dump leaves otherwise than the source has it; no event trigger fires meanwhile.
    """
    # nothing that is in a name may end the block
    escaped = [each.replace("\\", "\\\\").replace("'", "''").replace("$", "\\044") for each in commands]
    executed = "".join(f"  EXECUTE E'{each}';\n" for each in escaped)
    return (
        "\n-- pg_scribe: this copy is not captured; it stands at the base's consistent point.\n"
        "SET client_min_messages = warning;\n"
        "SET session_replication_role = replica;\n"
        "DO LANGUAGE plpgsql $scribe$\n"
        "DECLARE\n"
        "  found record;\n"
        "  names text[] := '{}';\n"
        "  modes text[] := '{}';\n"
        "BEGIN\n"
        + _SWITCH_OFF
        + _DISABLE.format(keep=_REMEMBER)
        + "  DROP SCHEMA IF EXISTS scribe CASCADE;\n"
        + executed
        + "  CREATE SCHEMA scribe;\n"
        "  CREATE TABLE scribe.position (lsn pg_catalog.pg_lsn NOT NULL, inside boolean NOT NULL);\n"
        "  ALTER TABLE scribe.position REPLICA IDENTITY FULL;\n"  # or a publication of all tables would bar its UPDATE
        "  COMMENT ON TABLE scribe.position IS"
        " 'where in the source''s WAL this copy stands; DROP SCHEMA scribe CASCADE when it is a database of its own';\n"
        "  CREATE TABLE scribe.made (kind text, name text, PRIMARY KEY (kind, name));\n"
        "  COMMENT ON TABLE scribe.made IS"
        " 'roles and tablespaces that this restore made, and its files may change; all others stay as they are';\n"
        + _MADE_BY_US
        + _KEEP_TO_OURSELVES
        + "  FOR found IN SELECT m.* FROM unnest(names, modes) AS m (name, mode)"
        " JOIN pg_catalog.pg_event_trigger AS e ON e.evtname = m.name LOOP\n" + _ENABLE + "  END LOOP;\n"
        "END\n"
        "$scribe$;\n" + TAKE_MARKS + "RESET session_replication_role;\n" + end_of_epilogue(consistent_point)
    )


def end_of_epilogue(consistent_point: int) -> str:
    """Return the last lines of a base, which those of older versions end with, too."""
    return (
        f"INSERT INTO scribe.position VALUES ('{format_lsn(consistent_point)}', false);\nRESET client_min_messages;\n"
    )


_TIMEOUT = re.compile(
    rb"\A((?:--[^\n]*\n|\\restrict [^\n]*\n|SET (?!transaction_timeout)[^\n]*\n"
    rb"|SELECT pg_catalog\.set_config\([^\n]*\n"
    rb"|DO LANGUAGE plpgsql \$scribe\$\n(?:(?!\$scribe\$).)*\$scribe\$;\n|\n)*)"
    rb"SET transaction_timeout = 0;\n",
    re.DOTALL,
)
TIMEOUT_SINCE = 170000  # server_version_num


def drop_transaction_timeout(head: bytes) -> bytes:
    """Return the beginning of a dump without the setting that pg_dump 17 writes for every server, and older ones lack.

    Its line stays, empty. Nothing but the lines before the first object is looked at: data may look like anything.
    """
    return _TIMEOUT.sub(rb"\1\n", head)


def format_time(moment: datetime) -> str:
    """Return a moment as it stands in file names: ISO 8601 basic, UTC."""
    return moment.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
