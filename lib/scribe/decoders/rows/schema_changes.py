"""Rows of scribe.ddl_history as DDL blocks; the forms are those of docs/format.md, section 3."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass

from scribe.decoders.pgmessages import Relation, Row
from scribe.decoders.rows.plaintext import is_plain, with_escape_strings, without_concurrently
from scribe.decoders.rows.tables import CARRIER, quote_name, quote_value

# what the header of a segment sets; anything else goes back by RESET
_HEADER = {
    "standard_conforming_strings": "on",
    "datestyle": "ISO",
    "intervalstyle": "postgres",
    "timezone": "UTC",
    "xmloption": "content",
    "xmlbinary": "base64",
    "array_nulls": "on",
    "backslash_quote": "safe_encoding",
    "bytea_output": "hex",
    "extra_float_digits": "3",
    "quote_all_identifiers": "off",
    "transform_null_equals": "off",
    "lc_monetary": "C",
    "default_tablespace": "",
    "default_table_access_method": "heap",
    "check_function_bodies": "off",
}
STRINGS = "standard_conforming_strings"  # 19 cannot switch it off; statements are written so that it is of no account
_IF_CHANGEABLE = b" WHERE pg_catalog.current_setting('server_version_num')::int < 190000;\n"
_IF_THERE = b" FROM pg_catalog.pg_settings WHERE name = '%s'"
_SETTING = re.compile(r"[A-Za-z0-9_.]+\Z")
_OWN = "own: "  # how the reason of a row begins that is not a user's command
_WORDS = re.compile(r"[\x00-\x1f\x7f:()]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_PATH = re.compile(r'(?:"[^"\x00-\x1f\x7f\\:]+"(?!")|[a-z0-9_]+)(?:, *(?:"[^"\x00-\x1f\x7f\\:]+"(?!")|[a-z0-9_]+))*\Z')
_ELEMENT = re.compile(r'"((?:[^"\\]++|\\.)*+)"|([^,{}]+)', re.DOTALL)

_LEND = (
    "IF (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = CURRENT_USER) AND EXISTS (SELECT FROM "
    "pg_catalog.pg_roles AS r WHERE r.rolname = %ROLE% AND NOT pg_catalog.has_database_privilege(r.oid, "
    "pg_catalog.current_database(), 'CREATE')) THEN EXECUTE pg_catalog.format('GRANT CREATE ON DATABASE %I TO %I', "
    "pg_catalog.current_database(), %ROLE%); IF pg_catalog.to_regclass('scribe.made') IS NULL THEN CREATE TABLE "
    "scribe.made (kind text, name text, PRIMARY KEY (kind, name)); END IF; "
    "INSERT INTO scribe.made VALUES ('loan', %ROLE%); END IF;"
)
_TAKE_BACK = (
    "IF pg_catalog.to_regclass('scribe.made') IS NOT NULL THEN DELETE FROM scribe.made "
    "WHERE kind = 'loan' AND name = %ROLE%; IF FOUND THEN EXECUTE pg_catalog.format("
    "'REVOKE CREATE ON DATABASE %I FROM %I', pg_catalog.current_database(), %ROLE%); END IF; END IF;"
)


@dataclass(frozen=True)
class Audit:
    """A row of scribe.ddl_history; text is Latin-1 for bytes in the database's encoding."""

    kind: str | None
    tag: str
    identity: str | None
    pid: str
    statement: str | None
    exact: bool
    reason: str | None
    role: str | None
    search_path: str | None
    settings: list[str]
    relids: list[int]
    place: int = 0  # an LSN: where it was recorded
    session_role: str | None = None
    client_addr: str | None = None
    application_name: str | None = None


def parse_array(text: str | None) -> list[str]:
    """Return the elements of an array as its output function writes it; NULL as ""."""
    found = []
    for match in _ELEMENT.finditer(text or ""):
        plain = match[2]
        found.append(re.sub(r"\\(.)", r"\1", match[1], flags=re.DOTALL) if plain is None else plain)
    return ["" if item == "NULL" else item for item in found]


def read_audit(relation: Relation, row: Row) -> Audit:
    """Return the row as an Audit; columns are found by name."""
    texts = {
        column.name: value.decode(CARRIER) if isinstance(value, bytes) else None
        for column, value in zip(relation.columns, row, strict=True)
    }
    settings = parse_array(texts.get("settings"))
    statement, reason = texts.get("statement"), texts.get("reason")
    if statement is not None and not _has_standard_strings(settings):
        statement = with_escape_strings(statement)
        reason = reason if statement is not None else "its strings could not be read"
    return Audit(
        kind=texts.get("kind"),
        tag=texts.get("tag") or "UNKNOWN",
        identity=texts.get("object_identity"),
        pid=texts.get("pid") or "",
        statement=statement,
        exact=texts.get("exact") != "f",
        reason=reason,
        role=texts.get("role"),
        search_path=texts.get("search_path"),
        settings=settings,
        relids=[int(item) for item in parse_array(texts.get("relids")) if item],
        place=int(texts.get("id") or 0),
        session_role=texts.get("session_role"),
        client_addr=texts.get("client_addr"),
        application_name=texts.get("application_name"),
    )


def _has_standard_strings(settings: list[str]) -> bool:
    pairs = zip(settings[::2], settings[1::2], strict=False)
    return all(value.lower() == "on" for name, value in pairs if name.lower() == STRINGS)


def one_line(text: str) -> bytes:
    """Return text on one line: it only informs."""
    return _CONTROL.sub(" ", text).encode(CARRIER, "replace")


def literal(text: str) -> bytes:
    """Return text as an SQL literal."""
    return quote_value(text.encode(CARRIER))


def _search_path(path: str) -> bytes:
    if path in ("", '""'):
        return b"SET LOCAL search_path = '';\n"
    words = re.findall(r'"[^"]*"|[^ ,]+', path)
    if _PATH.match(path) and all(word[0] == '"' or quote_name(word) == word.encode(CARRIER) for word in words):
        return b"SET LOCAL search_path = " + path.encode(CARRIER) + b";\n"
    return b"SELECT pg_catalog.set_config('search_path', " + literal(path) + b", true);\n"


def _block(prefix: str, body: bytes) -> bytes:
    """Return a block of ours on one line, that readers tell from others by its tag."""
    tag = _free_tag(body.decode(CARRIER), prefix).encode(CARRIER)
    return b"DO LANGUAGE plpgsql " + tag + b"BEGIN " + body + b" END" + tag + b";\n"


def _tried_setting(role: str | None, name: str, value: str) -> bytes:
    """Return the line for a setting that no header has: where the server refuses it, the restore goes on without.

    As scribe_ddl.c writes it: one with a dot is given with the rights of the statement's role.
    """
    there = b"PERFORM pg_catalog.set_config('" + name.encode() + b"', " + literal(value) + b", true)"
    if "." not in name:
        there += _IF_THERE % name.encode()
    elif role is not None:
        take = b"BEGIN SET LOCAL ROLE " + quote_name(role) + b"; EXCEPTION WHEN OTHERS THEN NULL; END; "
        there = take + there + b"; SET LOCAL ROLE NONE"
    return _block(
        "$scribe_setting", there + b"; EXCEPTION WHEN OTHERS THEN RAISE WARNING 'setting left out: %', SQLERRM;"
    )


def _settings(role: str | None, settings: list[str]) -> tuple[bytes, bytes]:
    """Return the lines that set them, and those that set them back."""
    there, back = b"", b""
    for name, value in zip(settings[::2], settings[1::2], strict=False):
        if not _SETTING.match(name):
            there += b"-- warning: setting left out: " + one_line(name) + b"\n"
            continue
        plain, known = name.encode(), _HEADER.get(name.lower())
        if known is not None:
            back += b"SET LOCAL " + plain + b" = '" + known.encode() + b"';\n"
        if name.lower() == STRINGS:
            there += b"SELECT pg_catalog.set_config('" + plain + b"', " + literal(value) + b", true)" + _IF_CHANGEABLE
        elif known is not None:
            there += b"SET LOCAL " + plain + b" = " + literal(value) + b";\n"
        else:
            there += _tried_setting(role, name, value)
            if "." in name:
                reset = b"RESET " + b".".join(quote_name(part) for part in name.split("."))
                back += _block("$scribe_setting", reset + b"; EXCEPTION WHEN OTHERS THEN NULL;")
            else:
                back += b"SELECT pg_catalog.set_config(name, reset_val, true)" + _IF_THERE % plain + b";\n"
    return there, back


def _firing(tag: str, fire: bool) -> bytes:
    """Return the line around a statement with which the event triggers that fire may change."""
    if "EVENT TRIGGER" not in tag and "EXTENSION" not in tag:
        return b""
    return b"SELECT scribe.fire_event_triggers(" + (b"true" if fire else b"false") + b");\n"


def _executed(text: str) -> bytes:
    """Return the statement in a form that can neither be misread nor forge a line."""
    tag = _free_tag(text)
    quoted = literal(text)
    body = quoted if quoted.startswith(b"E") else b"E" + quoted
    return b"DO LANGUAGE plpgsql " + tag.encode() + b"BEGIN EXECUTE " + body + b"; END" + tag.encode() + b";\n"


def _asker(audit: Audit) -> bytes:
    """Who asked for it: texts that users choose cannot end the line, nor look like another part of it."""
    if audit.session_role is None:
        return b""
    said = b" by " + _WORDS.sub("?", audit.session_role).encode(CARRIER)
    if audit.client_addr is not None:
        said += b" from " + one_line(audit.client_addr)
    if audit.application_name:
        said += b" (" + _WORDS.sub("?", audit.application_name).encode(CARRIER) + b")"
    return said


def _free_tag(text: str, prefix: str = "$scribe") -> str:
    taken = set(re.findall(re.escape(prefix) + r"([1-9]\d*)?(?=\$)", text))
    number = next(n for n in itertools.count() if (str(n) if n else "") not in taken)
    return f"{prefix}{number or ''}$"


def _loan(audit: Audit) -> tuple[bytes, bytes]:
    """Return the lines that lend the role CREATE on the database, where it has that no longer, and take it back.

    As scribe_ddl.c writes them, which lends more: that the role was a superuser is not in the stream of other decoders.
    """
    if audit.role is None or audit.tag not in ("CREATE EXTENSION", "CREATE SCHEMA", "ALTER SCHEMA"):
        return b"", b""
    role = literal(audit.role).decode(CARRIER)
    there, back = (_block("$scribe_loan", body.replace("%ROLE%", role).encode(CARRIER)) for body in (_LEND, _TAKE_BACK))
    return there, back


def _statement(audit: Audit, text: str) -> bytes:
    note = b""
    inside = without_concurrently(text, audit.tag)
    if inside is not None:
        note, text = b"-- CONCURRENTLY left out\n", inside
    if is_plain(text):
        return note + text.encode(CARRIER) + b"\n;\n"
    return note + _executed(text)


def ddl_block(audit: Audit, text: str, inexact: str | None) -> bytes:
    """Return the block of one statement; inexact: why it could not be proved, None where it is exact."""
    head = b"-- ddl " + one_line(audit.tag) + _asker(audit)
    if audit.exact and audit.reason and audit.reason.startswith(_OWN):
        head = b"-- pg_scribe: " + one_line(audit.reason.removeprefix(_OWN)) + b"\n" + head
    if inexact is not None:
        head += b" inexact: " + one_line(inexact or "no reason given")
    there, back = _settings(audit.role, audit.settings)
    lent, returned = _loan(audit)
    block = head + b"\n" + _firing(audit.tag, True)
    # ours are read before the path and after it: it may find a user's operator before the server's
    block += lent + there
    block += _search_path(audit.search_path) if audit.search_path is not None else b""
    block += b"SET LOCAL ROLE " + quote_name(audit.role) + b";\n" if audit.role is not None else b""
    block += _statement(audit, text)
    block += b"SET LOCAL ROLE NONE;\n" if audit.role is not None else b""
    block += b"SET LOCAL search_path = '';\n" if audit.search_path is not None else b""
    block += back + returned
    return block + _firing(audit.tag, False) + b"-- ddl end\n"


def create_block(create: str, owner: str | None, inexact: str | None = None) -> bytes:
    """Return the block that makes a table whose own statement would fill it, too; inexact: see ddl_block()."""
    body = create.encode(CARRIER) + b"\n;\n" if is_plain(create) else _executed(create)
    head = b"-- ddl CREATE TABLE" + (b"" if inexact is None else b" inexact: " + one_line(inexact)) + b"\n"
    if owner is None:
        return head + body + b"-- ddl end\n"
    return head + b"SET LOCAL ROLE " + quote_name(owner) + b";\n" + body + b"SET LOCAL ROLE NONE;\n-- ddl end\n"
