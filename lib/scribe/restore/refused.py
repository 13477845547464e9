"""What a newer server no longer takes: found before a restore changes anything."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg

from scribe.common.dialect import quote_name
from scribe.common.errors import UsageError
from scribe.common.files import read_archived
from scribe.common.postgres import fetch_value
from scribe.source.globals_text import plain_statements

WITHOUT_LINE_BREAKS = 190000  # server_version_num since which no role or tablespace may have one in its name
STANDARD_STRINGS_ONLY = 190000
_CREATED = re.compile(rb'CREATE (ROLE|TABLESPACE) "((?:[^"]++|(?="")"")*+)"')
_SHOWN = 5
_OLDER = "Restore into an older server, or change it at the source and take a new base"


def check_names(conn: psycopg.Connection[Any], files: Iterable[Path]) -> None:
    """Raise UsageError for a role or tablespace whose name the target's server refuses; files: the globals to run."""
    if conn.info.server_version < WITHOUT_LINE_BREAKS:
        return
    found = sorted({name for path in files for name in _with_line_breaks(read_archived(path))})
    if found:
        raise UsageError(
            f"the target's server takes no name with a line break, and the source has {_list(found)}",
            f"{_OLDER}; if nothing in the database needs it, --no-globals restores without it.",
        )


def _with_line_breaks(text: bytes) -> Iterator[str]:
    for statement in plain_statements(text):
        match = _CREATED.match(statement)
        if match is not None and re.search(rb"[\n\r]", match[2]):
            name = match[2].replace(b'""', b'"').decode("utf-8", "replace")
            yield f"{match[1].decode().lower()} {quote_name(name)}"


def check_function_settings(conn: psycopg.Connection[Any], meta: Mapping[str, Any]) -> None:
    """Raise UsageError for functions with settings that the target's server does not have; meta: a base's."""
    settings = meta.get("function_settings", [])
    refused = {setting for setting in {entry["setting"] for entry in settings} if not _takes(conn, setting)}
    found = sorted(f"{entry['function']} ({entry['setting']})" for entry in settings if entry["setting"] in refused)
    if found:
        raise UsageError(
            f"the target's server does not take settings that functions of the source have: {_list(found)}",
            f"{_OLDER}.",
        )


def _takes(conn: psycopg.Connection[Any], entry: str) -> bool:
    name, _, value = entry.partition("=")
    if name.lower() == "standard_conforming_strings" and value != "on":
        return conn.info.server_version < STANDARD_STRINGS_ONLY
    try:
        return "." in name or fetch_value(conn, "SELECT pg_catalog.current_setting(%s, true)", [name]) is not None
    except psycopg.errors.InsufficientPrivilege:
        return True


def _list(found: list[str]) -> str:
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return ", ".join(found[:_SHOWN]) + more
