"""Leaving owners, or event triggers, out of a plain dump: the statements that pg_dump wrote, and no others.

A line that only looks like one may stand in a function's body, in a literal or in data, so quotes, comments and COPY
blocks are followed from line to line, as psql does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import IO

from scribe.archive.segments import Reader
from scribe.common.sqltext import quoting_after

_OWNER = re.compile(rb"ALTER [^\n]* OWNER TO [^\n]*;\n\Z")
_EVENT_TRIGGER = re.compile(rb"(?:CREATE|ALTER|COMMENT ON) EVENT TRIGGER ")
_COPY = re.compile(rb"COPY [^\n]* FROM stdin;\n\Z")


def without_owners(
    stream: IO[bytes], name: str, only: str | None = None, *, owners: bool = False, event_triggers: bool = True
) -> Iterator[bytes]:
    """Yield a plain dump with its ALTER ... OWNER TO lines left empty. name: for messages; only: those of one role,
    whose name needs no quotes; owners: they stay; event_triggers: without, their statements are left out, too.
    Raises ScribeError.
    """
    ending = b" OWNER TO %b;\n" % only.encode() if only is not None else b""
    reader = Reader(stream, name)
    within, dropping = b"", False
    while line := reader.take_line():
        if not within and not dropping:
            if _COPY.match(line):
                yield from reader.copy_text(line)
                continue
            if not owners and _OWNER.match(line) and line.endswith(ending) and not quoting_after(line, b""):
                yield b"\n"  # so that psql's numbers of lines stay right
                continue
            dropping = not event_triggers and _EVENT_TRIGGER.match(line) is not None
        within = quoting_after(line, within)
        yield b"\n" if dropping else line
        dropping = dropping and (within != b"" or not line.endswith(b";\n"))
