"""DDL blocks of segments: whose command it was, and its text without the lines around it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from scribe.archive import segments
from scribe.archive.tokens import read_literal, split_name

_AROUND = re.compile(
    rb"SELECT scribe\.fire_event_triggers\([^\n]*\n|SET LOCAL [^\n]*\n|SELECT pg_catalog\.set_config\([^\n]*\n"
    rb"|DO LANGUAGE plpgsql \$scribe_(?:loan|setting)\d*\$[^\n]*\n|ALTER EVENT TRIGGER [^\n]* DISABLE;\n"
    rb"|-- CONCURRENTLY left out\n|-- warning: [^\n]*\n"
)
_ROLE = re.compile(rb"SET LOCAL ROLE ([^\n]+);\n")
_PATH = re.compile(rb"SET LOCAL search_path = ([^\n]+);\n")
_EXECUTED = re.compile(rb"DO LANGUAGE plpgsql (\$scribe\d*\$)BEGIN EXECUTE (E'(?:[^'\\]++|\\.|(?='')'')*+'); END\1;\n")
_ASKER = re.compile(r"(?P<role>.*?)(?: from (?P<address>[^ ()]+))?(?: \((?P<application>[^()]*)\))?")
_INEXACT = " inexact: "


@dataclass(frozen=True, slots=True)
class Asked:
    """Who asked for something: the session's role, the client's address (None: a local socket) and application."""

    role: str
    address: str | None = None
    application: str | None = None


def read_asker(text: bytes, codec: str) -> Asked | None:
    """Return who asked, as a DDL block and a line `-- session` have it; None if it cannot be read."""
    asker = _ASKER.fullmatch(text.decode(codec, "surrogateescape"))
    return Asked(asker["role"], asker["address"], asker["application"]) if asker is not None else None


@dataclass(slots=True)
class Ddl:
    """A schema change. statement: its text as it ran; where several lines make the object, all of them.

    asked_by: the session's role, address: the client's (None: a local socket), application: what it calls itself;
    asked_by is None where it was not recorded. role: under which it runs at replay; search_path: as it stands there.
    inexact: why the text is not proved. own: why pg_scribe added it, None for a command of a user's.
    codec: of its encoding.
    """

    tag: str
    statement: str
    asked_by: str | None = None
    address: str | None = None
    application: str | None = None
    role: str | None = None
    search_path: str | None = None
    inexact: str | None = None
    own: str | None = None
    offset: int = 0
    codec: str = "utf-8"


def read_block(event: segments.Ddl, codec: str, own: str | None, offset: int) -> Ddl:
    """Return what a DDL block says."""
    tag, _, inexact = event.tag.partition(_INEXACT)
    ddl = Ddl(tag, "", inexact=inexact or None, own=own, offset=offset, codec=codec)
    if event.asked and (asked := read_asker(event.asked, codec)) is not None:
        ddl.asked_by, ddl.address, ddl.application = asked.role, asked.address, asked.application
    at = 0
    while match := _AROUND.match(event.text, at):
        line, at = match[0], match.end()
        if role := _ROLE.fullmatch(line):
            ddl.role = split_name(role[1].decode(codec, "surrogateescape"))
        elif path := _PATH.fullmatch(line):
            ddl.search_path = path[1].decode(codec, "surrogateescape")
    ddl.statement = _statement(event.text[at:]).decode(codec, "surrogateescape")
    return ddl


def _statement(text: bytes) -> bytes:
    """Return the statement at the beginning of what is left of a block."""
    executed = _EXECUTED.match(text)
    if executed is not None:
        return read_literal(executed[2], []) or b""
    end = text.rfind(b"\n;\n")  # one within quotes is followed by the statement's own
    return (text if end < 0 else text[:end]).rstrip(b"\n")
