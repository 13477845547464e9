"""The shell commands that do what a restore does, with createdb's and psql's means alone."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from scribe.archive.chains import Way, list_files
from scribe.archive.layout import Archive, Segment
from scribe.archive.segments import End, Reader, Small, Start, open_plain
from scribe.common.dialect import TIMEOUT_SINCE, WAKE, Begin
from scribe.common.files import read_archived
from scribe.common.lsn import format_lsn
from scribe.common.postgres import OWN_ROLE, PINNED, WRITING
from scribe.restore.sequences import ADVANCE
from scribe.restore.target import (
    BETWEEN,
    EVENT_TRIGGERS_SINCE,
    SECTIONS,
    Globals,
    Options,
    build_create,
    conninfo,
    globals_files,
    read_meta,
    refuse_foreign_names,
    restore_command,
    says_too_much,
)
from scribe.source.globals_text import is_guarded

# pg_dump 17 sets, before everything else, what an older server does not know.
_OLDER = "1,/^SELECT pg_catalog.set_config('search_path'/{/^SET transaction_timeout = 0;$/d;}"
_STOP = "psql -X -q -v ON_ERROR_STOP=1 -o /dev/null"


def build_plan(
    archive: Archive, way: Way, name: str, version: int, options: Options, *, with_globals: bool, first: str
) -> str:
    """Return a script for sh that restores a way into a database called name.

    version: the target server's number; first: a database that is there already.
    """
    target = shlex.quote(conninfo(name))
    base = way.base.path
    lines = ["#!/bin/sh", f"# base {way.base.stamp}, then {len(way.segments)} segments", "set -eu"]
    lines.append(f"export PGOPTIONS='{OWN_ROLE}'  # whatever role the database's settings name")
    if version >= EVENT_TRIGGERS_SINCE * 10000 and options.event_triggers:
        lines.append('export PGOPTIONS="$PGOPTIONS -c event_triggers=off"  # no event trigger fires, not even at login')
    # before anything else: of a pipe, sh sees only what psql says, which runs the beginning of a damaged file
    roles = _in_order(globals_files(archive, way)) if with_globals else []
    sums = list_files(way) + [(path, entry) for path, entry in roles if entry is not None]
    lines += ["sha256sum --check --quiet <<'SUMS'", *_sums(sums), "SUMS"]
    if with_globals:
        lines.append(
            "# roles and tablespaces: each file makes what is still missing; that a tablespace exists is no error here"
        )
        lines += [f"psql -X -q -d {first} -f {quote(path)}" for path, _ in roles]
    create = build_create(version, name, read_meta(way.base), options)
    lines.append(f"{_STOP} -d {first} -c {shlex.quote(create)}")
    lines += _base_commands(way, target, options, version)
    lines.append(f"{_STOP} -d {target} -f {quote(base / 'database.sql')}")
    lines += _segment_commands(way, target)
    lines.append(f"{_STOP} -d {target} -c ANALYZE")
    return "\n".join(lines) + "\n"


def _in_order(found: list[Globals]) -> list[Globals]:
    """Return globals in the order to run them: in those of older versions, without conditions, the last wins."""
    guarded = all(is_guarded(read_archived(path)) for path, _ in found)
    return found if guarded else sorted(found, key=lambda each: _stamp(each[0]))


def _stamp(path: Path) -> str:
    return path.parent.name if path.name == "globals.sql" else path.stem


def quote(path: Path) -> str:
    """Return a path as a word for the shell."""
    return shlex.quote(str(path))


def _sums(entries: Iterable[tuple[Path, Mapping[str, Any]]]) -> list[str]:
    """Return what sha256sum reads; where a name has to be escaped, its line begins with a backslash."""
    lines = []
    for path, entry in entries:
        name = str(path).replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
        lines.append(f"{'' if name == str(path) else chr(92)}{entry['sha256']}  {name}")
    return lines


def _feed(path: Path, target: str, cut: str | None = None) -> str:
    """Feed a file to psql. cut: a sed script that leaves something out."""
    psql = f"{_STOP} -d {target}"
    stages = [f"zstdcat {quote(path)}"] if path.suffix == ".zst" else [f"cat {quote(path)}"]
    if cut is not None:
        stages.append(f"LC_ALL=C sed {shlex.quote(cut)}")
    return " | ".join([*stages, psql])


def _base_commands(way: Way, target: str, options: Options, version: int) -> list[str]:
    base = way.base.path
    older = _OLDER if version < TIMEOUT_SINCE else None
    if way.base.manifest["format"] != "directory":
        return [_feed(way.base_file, target, older)]
    refuse_foreign_names(way.base)
    lines = []
    for section, before in zip(SECTIONS, BETWEEN, strict=True):
        lines += [f"{_STOP} -d {target} -c {shlex.quote(' '.join(before.split()))}"] if before else []
        words = restore_command(way.base, options, section, as_sql=says_too_much(version))
        pinned = f'PGOPTIONS="${{PGOPTIONS:-}} "{shlex.quote(f"{PINNED} {WRITING}")}'
        restore = f"{pinned} {shlex.join(['pg_restore', *words[1:]])}"
        piped = f" | LC_ALL=C sed {shlex.quote(_OLDER)} | {_STOP} -d {target}"
        lines.append(restore + (piped if "--file=-" in words else f" -d {target}"))
    return [*lines, f"{_STOP} -d {target} -f {quote(base / 'epilogue.sql')}"]


def _segment_commands(way: Way, target: str) -> list[str]:
    lines = []
    for segment in way.segments:
        beyond, reached = find_cut(way, segment)
        if beyond is None:
            lines.append(_feed(segment.data, target))
            continue
        # A line that begins so is a frame, whatever the data: docs/format.md, "Reserved line beginnings".
        pattern = f"/^BEGIN; -- xid {beyond.xid} commit {format_lsn(beyond.commit_lsn).replace('/', '[/]')} /,$d"
        lines.append("# the point is inside this file: it ends before the first transaction beyond")
        lines.append(_feed(segment.data, target, pattern))
        position = f"UPDATE scribe.position SET lsn = '{format_lsn(reached)}', inside = false;"
        lines += [f"{_STOP} -d {target} <<'SQL'", position, ADVANCE.rstrip("\n"), WAKE.rstrip("\n"), "SQL"]
        break
    return lines


def find_cut(way: Way, segment: Segment) -> tuple[Begin | None, int]:
    """Return the first transaction in a segment that the way does not include (or None), and the LSN before it."""
    reached = segment.from_lsn
    if way.stop.is_end:
        return None, reached
    with open_plain(segment.data, segment.manifest["plain_bytes"]) as stream:
        reader = Reader(stream, segment.data.name)
        reader.read_header()
        for event in reader.events():
            if isinstance(event, Small | Start) and way.stop.excludes(event.begin):
                return event.begin, reached
            if isinstance(event, Small | End):
                reached = event.end
    return None, reached
