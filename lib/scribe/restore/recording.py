"""Recording what transactions do to rows: triggers in a copy that is brought forward note each row before and after.

The server itself tells old and new values, whatever form a change stands in: COPY, a set-based statement, a TRUNCATE.
Rows are kept as text with the numbers of their columns, and relations as OIDs: renames on the way change nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import psycopg

from scribe.archive.layout import Archive, Segment
from scribe.archive.segments import Ddl, End, Event, Small, Start, Statements
from scribe.common.cli import Talk
from scribe.common.dialect import Begin
from scribe.restore.narrow import Name, Rows
from scribe.restore.restoration import Restore
from scribe.restore.session import Session

TRIGGER = "scribe_undo"
SCHEMA = "scribe_undo"
_INSTALL = f"""
CREATE SCHEMA {SCHEMA};
CREATE SEQUENCE {SCHEMA}.seq;
CREATE UNLOGGED TABLE {SCHEMA}.log (seq bigint PRIMARY KEY, stamp int NOT NULL, relid oid NOT NULL, op "char" NOT NULL,
  old text, new text);
CREATE TABLE {SCHEMA}.shape (seq bigint PRIMARY KEY, stamp int NOT NULL, relid oid NOT NULL, attnums int[]);

CREATE FUNCTION {SCHEMA}.note() RETURNS trigger LANGUAGE plpgsql SET search_path = '' AS $note$
DECLARE
  now_at int := nullif(pg_catalog.current_setting('scribe_undo.stamp', true), '');
BEGIN
  IF now_at IS NULL THEN
    RETURN NULL;
  ELSIF TG_OP = 'TRUNCATE' THEN
    EXECUTE pg_catalog.format('INSERT INTO {SCHEMA}.log SELECT pg_catalog.nextval(''{SCHEMA}.seq''), $1, $2, ''T'','
      ' pg_catalog.format(''%%s'', scribe_undo_row.*) FROM ONLY %I.%I AS scribe_undo_row',
      TG_TABLE_SCHEMA, TG_TABLE_NAME)
      USING now_at, TG_RELID;
  ELSE
    INSERT INTO {SCHEMA}.log VALUES (pg_catalog.nextval('{SCHEMA}.seq'), now_at, TG_RELID, pg_catalog.left(TG_OP, 1),
      CASE WHEN TG_OP <> 'INSERT' THEN pg_catalog.format('%s', OLD) END,
      CASE WHEN TG_OP <> 'DELETE' THEN pg_catalog.format('%s', NEW) END);
  END IF;
  RETURN NULL;
END $note$;

CREATE FUNCTION {SCHEMA}.watch(at int) RETURNS void LANGUAGE plpgsql SET search_path = '' AS $watch$
DECLARE
  found record;
BEGIN
  PERFORM pg_catalog.set_config('scribe_undo.stamp', at::text, false);
  FOR found IN SELECT c.oid, n.nspname, c.relname FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND c.oid >= 16384 AND n.nspname NOT IN ('{SCHEMA}', 'scribe')
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger AS t WHERE t.tgrelid = c.oid
      AND t.tgfoid = '{SCHEMA}.note()'::pg_catalog.regprocedure) LOOP
    EXECUTE pg_catalog.format('CREATE TRIGGER {TRIGGER} AFTER INSERT OR UPDATE OR DELETE ON %I.%I FOR EACH ROW'
      ' EXECUTE FUNCTION {SCHEMA}.note()', found.nspname, found.relname);
    EXECUTE pg_catalog.format('CREATE TRIGGER {TRIGGER}_all BEFORE TRUNCATE ON %I.%I FOR EACH STATEMENT'
      ' EXECUTE FUNCTION {SCHEMA}.note()', found.nspname, found.relname);
    EXECUTE pg_catalog.format('ALTER TABLE ONLY %I.%I ENABLE ALWAYS TRIGGER {TRIGGER},'
      ' ENABLE ALWAYS TRIGGER {TRIGGER}_all', found.nspname, found.relname);
  END LOOP;
  -- A command on all triggers of a table, or on all of a user's, is one on these.
  FOR found IN SELECT n.nspname, c.relname, t.tgname FROM pg_catalog.pg_trigger AS t
    JOIN pg_catalog.pg_class AS c ON c.oid = t.tgrelid JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE t.tgfoid = '{SCHEMA}.note()'::pg_catalog.regprocedure AND t.tgenabled <> 'A' LOOP
    EXECUTE pg_catalog.format('ALTER TABLE ONLY %I.%I ENABLE ALWAYS TRIGGER %I',
      found.nspname, found.relname, found.tgname);
  END LOOP;
  INSERT INTO {SCHEMA}.shape SELECT pg_catalog.nextval('{SCHEMA}.seq'), at, relid, attnums FROM (
    SELECT coalesce(h.relid, k.relid) AS relid, h.attnums
    FROM (SELECT c.oid AS relid, ARRAY(SELECT a.attnum::int FROM pg_catalog.pg_attribute AS a WHERE a.attrelid = c.oid
            AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum) AS attnums
          FROM pg_catalog.pg_class AS c
          JOIN pg_catalog.pg_trigger AS t ON t.tgrelid = c.oid AND t.tgname = '{TRIGGER}'
            AND t.tgfoid = '{SCHEMA}.note()'::pg_catalog.regprocedure) AS h
    FULL JOIN (SELECT DISTINCT ON (s.relid) s.relid, s.attnums
               FROM {SCHEMA}.shape AS s ORDER BY s.relid, s.seq DESC) AS k
      ON h.relid = k.relid WHERE h.attnums IS DISTINCT FROM k.attnums) AS changed;
END $watch$;
"""


class Recorder:
    """What is recorded. begins: the transactions that were replayed, by their stamp; ddl: the tags of each."""

    def __init__(self) -> None:
        self.begins: list[Begin] = []
        self.ddl: dict[int, list[str]] = {}

    def install(self, conn: psycopg.Connection[Any]) -> None:
        """Begin to record in the copy behind conn."""
        conn.execute(_INSTALL.encode())
        conn.execute(f"SELECT {SCHEMA}.watch(-1)".encode())

    def stamped(self, events: Iterable[Event]) -> Iterator[Event]:
        """Put statements between those of the transactions that tell the triggers which one it is."""
        pending = False  # a transaction has begun and the triggers have not been told
        for event in events:
            if isinstance(event, Small | Start):
                self.begins.append(event.begin)
            stamp = len(self.begins) - 1
            set_stamp = f"SELECT pg_catalog.set_config('scribe_undo.stamp', '{stamp}', false);\n".encode()
            if isinstance(event, Small):
                yield Small(event.begin, set_stamp + event.text, event.end)
            elif isinstance(event, Ddl):
                self.ddl.setdefault(stamp, []).append(event.tag)
                yield event
                yield Statements(f"SELECT {SCHEMA}.watch({stamp});\n".encode())
                pending = False
            else:
                if pending and not isinstance(event, End):
                    yield Statements(set_stamp)
                pending = isinstance(event, Start)
                yield event


class Stamped(Rows):
    """Some rows, where the text of a small transaction has its stamp before it."""

    def __init__(self, rows: Rows) -> None:
        self._rows, self.watching = rows, rows.watching

    def begin(self, session: Session) -> None:
        """Look at the schema."""
        self._rows.begin(session)

    def filter_rows(self, text: bytes) -> bytes:
        """Leave out the stamp with all that it is for. Raises WholeNeededError."""
        stamp, _, rest = text.partition(b"\n")
        kept = self._rows.filter_rows(rest)
        return stamp + b"\n" + kept if kept else b""

    def concerns(self, segment: Segment) -> bool:
        """Whether a segment has to be read. Raises WholeNeededError."""
        return self._rows.concerns(segment)

    def after_ddl(self, session: Session, tag: str, text: bytes) -> None:
        """Take the next step. Raises WholeNeededError."""
        self._rows.after_ddl(session, tag, text)

    def wants(self, name: Name) -> bool:
        """Whether the rows of a table of that name are let through. Raises WholeNeededError."""
        return self._rows.wants(name)


class Recording(Restore):
    """A restore, or its continuation, that is recorded."""

    def __init__(
        self,
        archive: Archive,
        identity: Mapping[str, Any],
        arguments: argparse.Namespace,
        talk: Talk,
        recorder: Recorder,
    ) -> None:
        super().__init__(archive, identity, arguments, talk)
        self.recorder = recorder

    def watch(self, events: Iterable[Event]) -> Iterator[Event]:
        """Pass the events on with stamps between them."""
        return self.recorder.stamped(events)


def read_row(text: str, columns: int) -> list[str | None]:
    """Return the values in the text of a row of so many columns, as the server writes one."""
    values: list[str | None] = []
    at = 1
    while columns and at < len(text):
        null, quoted, value = text[at] in ",)", False, []
        while quoted or text[at] not in ",)":
            if text[at] == '"' and quoted and text[at + 1] == '"' or text[at] == "\\":
                at += 1
                value.append(text[at])
            elif text[at] == '"':
                quoted = not quoted
            else:
                value.append(text[at])
            at += 1
        values.append(None if null else "".join(value))
        at += 1
    return values
