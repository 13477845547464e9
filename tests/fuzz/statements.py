"""One statement of any kind."""

from __future__ import annotations

import acting
import further
import objects
import rows
import shared
import tables
from draw import Draw, Kind, NothingToDo

KINDS = rows.KINDS | tables.KINDS | objects.KINDS | acting.KINDS | shared.KINDS | further.KINDS
# What may stand in PL/pgSQL: nothing that returns rows, and no two statements in one.
_NOT_PLAIN = (rows.sequence_value, rows.large_object, rows.message, tables.attach, objects.trigger, objects.ctas)
_NOT_PLAIN += (*acting.SEVERAL, *further.SEVERAL, shared.database)
ROWS = {rows.insert: 30, rows.update: 40, rows.swap: 4, rows.delete: 12, rows.toast: 4}
PLAIN = {k: v for k, v in KINDS.items() if k not in _NOT_PLAIN}


def one(draw: Draw, kinds: dict[Kind, int] = KINDS) -> str:
    """One statement of one of the kinds, drawn by their weights."""
    while True:
        (kind,) = draw.random.choices(list(kinds), list(kinds.values()))
        try:
            return kind(draw)
        except NothingToDo:
            continue
