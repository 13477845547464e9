"""Roles that are on the target already: they stay as they are, and where they differ from the source's is said.

Both sides are compared as pg_dumpall writes them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import psycopg

from scribe.common.errors import ScribeError
from scribe.source.globals_text import plain_statements
from scribe.source.metadata import dump_globals

_ALTER = re.compile(r'^ALTER ROLE (?:"((?:[^"]++|(?="")"")++)"|([^\s;"]+)) (WITH |SET )(.*);\n?\Z', re.DOTALL)
_ATTRIBUTE = re.compile(r"(?:PASSWORD|VALID UNTIL) '(?:[^']++|(?='')'')*+'|CONNECTION LIMIT -?\d+|[A-Z]+")


def read_roles(text: bytes) -> dict[str, set[str]]:
    """Return the attributes and settings of each role in pg_dumpall's output."""
    found: dict[str, set[str]] = {}
    for statement in plain_statements(text):
        match = _ALTER.match(statement.decode("utf-8", "replace"))
        if match is not None:
            quoted, plain, kind, rest = match.groups()
            has = found.setdefault(quoted.replace('""', '"') if quoted is not None else plain, set())
            has.update(_ATTRIBUTE.findall(rest) if kind == "WITH " else [f"SET {rest}"])
    return found


def describe_differences(source: dict[str, set[str]], target: dict[str, set[str]]) -> Iterator[str]:
    """Yield a line for each role that both have, and that is not the same."""
    for name in sorted(source.keys() & target.keys()):
        there, here = source[name] - target[name], target[name] - source[name]
        if there or here:
            said = f"the source's has {_words(there)}" + (f", this one {_words(here)}" if here else "")
            yield f'role "{name}" is there already and was left as it is: {said}'


def _words(attributes: set[str]) -> str:
    """Name attributes; of a password, only that it is another."""
    words = sorted("a password of its own" if a.startswith("PASSWORD ") else a for a in attributes)
    return ", ".join(words) or "nothing of that"


def report_missing(conn: psycopg.Connection[Any], text: bytes, warn: Callable[[str], None]) -> None:
    """Warn of roles in the source's globals that the target lacks, where nobody creates them."""
    here = {row[0] for row in conn.execute("SELECT rolname FROM pg_catalog.pg_roles").fetchall()}
    missing = sorted(read_roles(text).keys() - here)
    if missing:
        names = ", ".join(f'"{name}"' for name in missing[:5]) + (" and more" if len(missing) > 5 else "")
        warn(
            f"the target lacks {len(missing)} roles of the source, and none is created: {names};"
            " a restore stops at the first that owns something or has a privilege"
        )


def report_differences(
    conn: psycopg.Connection[Any], text: bytes, roles: set[str], warn: Callable[[str], None]
) -> None:
    """Say which of the target's roles differ. conn: to it; text: the source's globals; roles: those of the target."""
    source = {name: has for name, has in read_roles(text).items() if name in roles}
    if not source:
        return
    try:
        target = read_roles(dump_globals(conn, warn))
    except ScribeError as error:
        warn(f"roles that are there already were not compared with the source's: {error.message}")
        return
    for line in describe_differences(source, target):
        warn(f"globals: {line}")
