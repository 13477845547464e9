"""pgoutput's messages, translated: what pgtext makes of the changes that they tell."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

from scribe.common.errors import ScribeError
from scribe.decoders.pgmessages import (
    ABORT,
    BEGIN,
    COMMIT,
    DELETE,
    INSERT,
    KEY,
    MESSAGE,
    NEW,
    NEWLINE,
    OLD,
    ORIGIN,
    RELATION,
    SHORT,
    TRUNCATE,
    TYPE,
    U32,
    UPDATE,
    DamageError,
    Row,
    format_moment,
    message_end,
    read_begin,
    read_commit,
    read_message,
    read_on,
    read_relation,
    read_row,
    read_type,
    walk,
)
from scribe.decoders.rows.runs import Inserts
from scribe.decoders.rows.tables import CARRIER
from scribe.decoders.rows.text import FLUSH, Translator


class MessageTranslator(Translator):
    """The SQL of the transactions in a stream of pgoutput's."""

    def commit_time(self, offset: int) -> str | None:
        """See Text."""
        with contextlib.suppress(DamageError):
            for data, at, _, _ in walk(self._tape, offset):
                if data[at] == BEGIN:
                    return format_moment(read_begin(data, at).micros)
        return None

    def blocks(self, start: int, stop: int) -> Iterator[bytes]:
        """See Text."""
        self._pass_over(self._at, start)
        self._at = stop
        blocks, base, at = self._tape.blocks(start, stop), start, 0
        data = b""
        try:
            while (more := read_on(blocks, data, at)) is not None:
                data, base, at = more, base + at, 0
                flushed = 0
                try:
                    while True:
                        kind = data[at]
                        if kind == INSERT:
                            row, end = read_row(data, at + 6)
                            if data[end] != NEWLINE or data[at + 5] != NEW:
                                raise DamageError("an Insert message is not one")
                            relid = U32(data, at + 1)[0]
                            run = self._run
                            if type(run) is Inserts and run.copying and run.table.relid == relid:
                                self._counts["inserted"] += 1
                                self._out.append(run.add(row))
                            else:
                                self._insert(relid, row, base + at)
                            at = end + 1
                        else:
                            end = message_end(data, at)
                            self._take(kind, data, at, base + at)
                            at = end
                        if at - flushed > FLUSH:
                            flushed = at
                            yield b"".join(self._out)
                            self._out.clear()
                except SHORT:
                    pass
        except (DamageError, UnicodeError) as error:
            place = self._tape.place(base + at)
            raise ScribeError(f'spool file "{place.path}" is damaged after byte {place.offset}: {error}') from None
        if base + at != stop:
            place = self._tape.place(base + at)
            raise ScribeError(f'spool file "{place.path}" is damaged after byte {place.offset}: a message is torn')
        yield b"".join(self._out)
        self._out.clear()

    def _take(self, kind: int, data: bytes, at: int, offset: int) -> None:
        """Act on a whole message that is not an Insert."""
        if kind == UPDATE:
            old, place, has_old = None, at + 5, data[at + 5]
            if has_old in (KEY, OLD):
                old, place = read_row(data, place + 1)
            new, _ = read_row(data, place + 1)
            self._update(U32(data, at + 1)[0], old, new, offset)
        elif kind == DELETE:
            self._delete(U32(data, at + 1)[0], read_row(data, at + 6)[0], offset)
        elif kind == BEGIN:
            begin = read_begin(data, at)
            self._begin(begin.xid, begin.commit_lsn, format_moment(begin.micros))
        elif kind == COMMIT:
            self._commit(read_commit(data, at)[1])
        elif kind == RELATION:
            self.learn_relation(read_relation(data, at, CARRIER))
        elif kind == TYPE:
            self.learn_type(*read_type(data, at, CARRIER))
        elif kind == TRUNCATE:
            count = U32(data, at + 1)[0]
            self._truncate([U32(data, at + 6 + 4 * i)[0] for i in range(count)], data[at + 5], offset)
        elif kind == MESSAGE:
            transactional, prefix, content = read_message(data, at)
            if transactional and prefix == b"scribe.mark":
                self._mark(content)
            elif transactional and prefix == b"scribe.lost":
                self._lost(content)
        elif kind not in (ORIGIN, ABORT):
            raise DamageError("there is no message of that kind")

    def _pass_over(self, start: int, stop: int) -> None:
        """Learn from messages whose SQL is in segments already."""
        for data, at, _, _ in walk(self._tape, start, stop):
            kind = data[at]
            if kind in (RELATION, TYPE) or (
                kind in (INSERT, UPDATE, DELETE) and U32(data, at + 1)[0] in self._known.store
            ):
                if kind == INSERT:
                    self._learn_facts(read_row(data, at + 6)[0])
                else:
                    self._take(kind, data, at, start)

    def _look_ahead(self, relid: int, offset: int) -> dict[str, Any] | None:
        """See Translator."""
        inside = True
        for data, at, _, _ in walk(self._tape, offset):
            kind = data[at]
            if kind == COMMIT:
                inside = False
            elif kind in (INSERT, UPDATE) and U32(data, at + 1)[0] in self._known.store:
                row = self._new_row(kind, data, at)
                if row[0] == str(relid).encode() and isinstance(row[1], bytes):
                    facts: dict[str, Any] = json.loads(row[1].decode(CARRIER))
                    if inside or "x" in facts:
                        return facts
        return None

    @staticmethod
    def _new_row(kind: int, data: bytes, at: int) -> Row:
        place = at + 5
        if kind == UPDATE and data[place] in (KEY, OLD):
            _, place = read_row(data, place + 1)
        return read_row(data, place + 1)[0]
