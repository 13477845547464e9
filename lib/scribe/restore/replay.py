"""Replaying transactions into the target: exactly once, resumable at every batch, every row count checked.

Small transactions are joined into one transaction of the target and one message; while the server works on it, the
next is put together. The position moves in the same transaction as the data, and nothing is committed before every
statement has been seen to act on as many rows as on the source.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from scribe.archive.chains import Stop
from scribe.archive.segments import (
    CopyData,
    CopyEnd,
    CopyStart,
    Ddl,
    End,
    Event,
    Footer,
    LargeObjects,
    Mark,
    Small,
    Start,
    Statements,
)
from scribe.common.dialect import UTF8_LINE, Begin, quote_literal
from scribe.common.errors import ScribeError
from scribe.common.lsn import format_lsn
from scribe.restore import net, staging
from scribe.restore.escapes import read_alike
from scribe.restore.narrow import Rows
from scribe.restore.session import ServerError, Session
from scribe.restore.statements import count_statements, expected_rows, split_statements
from scribe.restore.tables import IN_ORDER, Table, find_table

BATCH_BYTES = 256 << 10
BATCH_TRANSACTIONS = 500
_UTF8_LINE = UTF8_LINE.encode()
_SHOWN = 200  # characters of a statement in a message
_ON_EVENT_TRIGGER = re.compile(r"(?:CREATE |ALTER |DROP )?EVENT TRIGGER\b")
_SHARED = re.compile(r"(?:CREATE|ALTER|DROP|GRANT|REVOKE) (?:ROLE|TABLESPACE)|ALTER DATABASE")
_OUTSIDE = re.compile(r"(?:CREATE|DROP) TABLESPACE")
_GEXEC = b" \\gexec\n"
_DATABASE_OWNER = b"  EXECUTE pg_catalog.format('ALTER DATABASE %I OWNER TO %I', "
_COMMENT_ON_EVENT_TRIGGER = re.compile(rb"(?i)(?:\A|\n)[^\S\n]*COMMENT\s+ON\s+EVENT\s+TRIGGER\b")
_OBJECT_OWNER = re.compile(rb"ALTER LARGE OBJECT \d+ OWNER TO ")
_NOT_OF_ROWS = re.compile(rb"^(?!INSERT INTO |UPDATE |DELETE FROM |WITH |TRUNCATE |[()])", re.MULTILINE)
_SKIPPED_TABLE = (
    "CREATE TABLE IF NOT EXISTS scribe.skipped (place text, file text, statement text,"
    " at timestamptz DEFAULT pg_catalog.clock_timestamp())"
)
_MOVED = "23502"  # not_null_violation: what a position that is not where it should be runs into


@dataclass(frozen=True)
class Place:
    """One statement of an archive: its transaction's commit LSN, and its number in the transaction, from 1.

    A statement is one that acts on rows, with all its lines; a COPY with its data; a DDL block.
    """

    commit_lsn: int
    number: int

    def __str__(self) -> str:
        return f"{format_lsn(self.commit_lsn)}:{self.number}"


class StoppedError(ScribeError):
    """The target's server would not run something. sqlstate: its reason."""

    def __init__(self, message: str, hint: str, sqlstate: str) -> None:
        super().__init__(message, hint)
        self.sqlstate = sqlstate


@dataclass(frozen=True)
class Skipped:
    """A statement that was passed over because the operator named it."""

    place: Place
    file: str
    statement: str


@dataclass
class Totals:
    """What was applied so far; time: the commit time of the last transaction, as in its BEGIN line."""

    transactions: int = 0
    rows: int = 0
    ddl: int = 0
    bytes: int = 0
    time: str | None = None
    skipped: list[Skipped] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Part:
    """Some statements of one source transaction; end: its end LSN, None where it is not known yet.

    before: how many statements of the transaction come before these.
    """

    begin: Begin
    end: int | None
    text: bytes
    before: int = 0


@dataclass
class _Sent:
    """The message on its way: its statements, and how many control statements come before and after them.

    joined: what was sent of them as net effects, if anything was; move: the statement that moves the position, if the
    message ends with it: else net effects stand after a savepoint;
    run: what was sent of them by COPY and as one statement, if they were.
    """

    parts: list[_Part]
    before: int = 0
    after: int = 0
    joined: net.Joined | None = None
    move: bytes = b""
    run: staging.Run | None = None


@dataclass
class Replayer:
    """Applies events to the target behind session. file: the name of what is being read, for messages.

    position: where the target stands (LSN); transactions whose commit record starts before it are passed over;
    skips: statements to pass over, which is recorded in the target's scribe.skipped; joining: how many bytes of small
    transactions become net effects together, 0 if each statement is to be sent as it stands; stages: whether the rows
    of long UPDATEs are sent by COPY; rows: those that are replayed, None for all; proved(): gets small transactions
    that were right, and what was sent for them.
    """

    session: Session
    position: int
    stop: Stop = field(default_factory=Stop)
    owners: bool = True
    event_triggers: bool = True
    shared: bool = True  # roles, tablespaces and the database itself
    standard_strings: bool = False  # the target knows no others
    file: str = ""
    totals: Totals = field(default_factory=Totals)
    tick: Callable[[int], None] = lambda done: None
    skips: frozenset[Place] = frozenset()
    joining: int = 0
    stages: bool = False
    rows: Rows | None = None
    proved: Callable[[list[Small], net.Joined | None], None] = lambda batch, joined: None
    _open: bool = False  # a transaction of the target is open
    _objects: bool = False  # a transaction of large objects is open
    _ahead: int = 0  # the position once everything sent has been committed
    _passed: int = 0  # the end of the last transaction of which no row was wanted
    _batch: list[_Part] = field(default_factory=list)
    _batch_bytes: int = 0
    _sent: _Sent | None = None
    _copying: _Part | None = None
    _fresh: bool = False  # nothing of the present large transaction was run
    _held: list[Ddl] = field(default_factory=list)  # what no transaction allows, for the transaction's end
    _passing: bool = False  # over the data of a COPY
    _lines: int = 0
    _number: int = 0  # statements of the present large transaction so far
    _joiner: net.Joiner = field(default_factory=net.Joiner)
    _tables: dict[bytes, Table | None] = field(default_factory=dict)  # as they are now; None: nothing of it is joined
    _run_now: staging.Run | None = None  # of which more may follow
    _places: dict[staging.Shape, int] = field(default_factory=dict)  # the temporary tables of this transaction
    _made: int = 0  # how many of those there were
    _waiting: list[bytes] = field(default_factory=list)  # statements of this transaction that may be joined
    _waiting_bytes: int = 0
    _skipping: frozenset[int] = frozenset()  # the LSNs of transactions in which something is to be passed over

    def __post_init__(self) -> None:
        self._skipping = frozenset(place.commit_lsn for place in self.skips)

    def apply(self, events: Iterable[Event], file: str, joined_from: int | None = None) -> bool:
        """Apply events; return False when the stop was reached before their end. Raises ScribeError.

        joined_from: where a file begins of which transactions are joined, so that only some of the points in it are
        known. After an exception the caller closes the connection, which rolls back what was not committed.
        """
        self.file, self._ahead = file, self.position
        current: Begin | None = None
        if joined_from is not None and self.position > joined_from:
            events = self._go_on(events)
        for event in self._cut_small(events) if self.skips else events:
            if isinstance(event, Small | Start):
                current = event.begin
                if self.stop.excludes(current):
                    self.finish()
                    return False
                if current.commit_lsn < self.position:
                    current = None
                elif isinstance(event, Small):
                    self._small(event)
                else:
                    self._begin(current)
            elif isinstance(event, LargeObjects):
                if self.rows is not None:
                    continue  # they belong to no table
                self.finish()
                self._large_objects(event)
            elif isinstance(event, Footer):
                self._footer(event)
            elif current is not None:
                self._large(event, current)
        self.finish()
        return True

    def _go_on(self, events: Iterable[Event]) -> Iterator[Event]:
        """Leave out what the target has of a file of joined transactions. Raises ScribeError if it has some of one."""
        position, reached = self.position, None
        leaving = True
        for event in events:
            if leaving and isinstance(event, Small | Start):
                if event.begin.commit_lsn >= position:
                    if reached != position:
                        raise ScribeError(_BETWEEN.format(format_lsn(position), self.file), _BEGIN_AGAIN)
                    leaving = False
            elif leaving and isinstance(event, LargeObjects) and reached is not None and reached < position:
                continue
            if leaving and isinstance(event, Small | End):
                reached = event.end
            yield event

    def _cut_small(self, events: Iterable[Event]) -> Iterator[Event]:
        """Take a small transaction apart where one of its statements is to be passed over."""
        for event in events:
            if isinstance(event, Small) and event.begin.commit_lsn in self._skipping:
                yield from (Start(event.begin), Statements(event.text), End(event.end))
            else:
                yield event

    def finish(self) -> None:
        """Commit everything applied so far."""
        self._flush()
        self._settle()
        if self._open:
            self._run(b"COMMIT", None)
            self._open = False
        self.position = max(self.position, self._ahead, self._passed)

    # Small transactions, many to a message

    def _small(self, event: Small) -> None:
        text = event.text if self.rows is None else self.rows.filter_rows(event.text)
        if text:
            self._add(_Part(event.begin, event.end, text))
        else:
            self._passed, self.totals.time = event.end, event.begin.time

    def _add(self, part: _Part) -> None:
        self._batch.append(part)
        self._batch_bytes += len(part.text)
        full = len(self._batch) >= BATCH_TRANSACTIONS and not self.joining
        if full or self._batch_bytes >= (self.joining or BATCH_BYTES):
            self._flush()

    def _flush(self) -> None:
        """Send the batch: commit the one before, once it has proved right, and begin a transaction with this one."""
        if not self._batch:
            return
        batch, self._batch, self._batch_bytes = self._batch, [], 0
        statements = [statement for part in batch for statement in split_statements(part.text)] if self.joining else []
        joined = self._join(statements) if self.joining else None
        self._settle()
        control, before = self._turn()
        end = batch[-1].end
        assert end is not None
        texts = b"".join([part.text for part in batch])
        move = self._move(end)
        self.session.send(control + (joined.text if joined else texts) + move)
        self._sent = _Sent(batch, before, 1, joined, move)
        self.totals.transactions += len(batch)
        self.totals.bytes += len(texts)
        self.totals.time = batch[-1].begin.time

    def _join(self, statements: list[bytes]) -> net.Joined | None:
        """Return the net effects of statements; None where they are the statements themselves."""
        names = list(map(net.table_of, statements))
        there = set(filter(None, names))
        if unknown := there - self._tables.keys():
            self._settle()
            self._tables |= {name: find_table(self.session, name) for name in unknown}
        return self._joiner.join(statements, names, {name: self._tables[name] for name in there})

    def _turn(self) -> tuple[bytes, int]:
        """What ends the target's transaction and begins the next, and how many results it gives."""
        was_open, self._open = self._open, True
        if was_open:
            self.position = self._ahead
            return b"COMMIT;BEGIN;\n", 2
        return b"BEGIN;\n", 1

    def _move(self, end: int) -> bytes:
        """The statement that moves the position; if somebody else moved it, NULL meets NOT NULL and all is undone."""
        before, self._ahead = self._ahead, end
        return (
            f"UPDATE scribe.position SET lsn = CASE WHEN lsn = '{format_lsn(before)}' AND NOT inside"
            f" THEN '{format_lsn(end)}'::pg_catalog.pg_lsn END;\n"
        ).encode()

    def _settle(self) -> None:
        """Wait for what was sent and check every result. Raises ScribeError naming the statement."""
        sent, self._sent = self._sent, None
        if sent is None:
            return
        self.tick(self.totals.bytes)
        try:
            counts = self.session.collect()
            if sent.run is not None:
                if counts == [sent.run.rows]:
                    self.session.run(staging.KEEP)
                    self.totals.rows += sent.run.rows
                else:
                    self._unstage(sent)
                return
            if sent.joined is None:
                self._check(sent, counts)
            if sent.joined is None or self._proves(sent.joined, counts[sent.before :], [1] * sent.after):
                if sent.joined is not None and not sent.move:
                    self.session.run(staging.KEEP)
                self.proved([Small(p.begin, p.text, p.end) for p in sent.parts if p.end is not None], sent.joined)
                return
        except ServerError as error:
            if sent.run is not None:
                self._unstage(sent)
                return
            if sent.joined is None or error.index < sent.before:
                raise self._failed(sent, error) from None
            self._give_up_joining(sent.joined.statements[error.index - sent.before :][:1])
        # Serially, what is wrong is found and named; or it was only net effects that could not be.
        undo = b"ROLLBACK;BEGIN;\n" if sent.move else staging.UNDO
        self.session.send(undo + b"".join([part.text for part in sent.parts]) + sent.move)
        self._sent = _Sent(sent.parts, 2, sent.after)
        self._settle()

    def _proves(self, joined: net.Joined, counts: list[int | None], after: list[int]) -> bool:
        """Whether net effects acted on what they should have. after: the counts of what follows, the position's."""
        pairs = list(zip(joined.statements, counts, strict=False))
        wrong = [sent for sent, count in pairs if sent.count not in (None, count)]
        if wrong or counts[len(pairs) :] != after:
            self._give_up_joining(wrong)
            return False
        self.totals.rows += joined.changes + sum(count or 0 for sent, count in pairs if sent.plain)
        return True

    def _give_up_joining(self, statements: list[net.Sent]) -> None:
        """Send what is of the tables of these as it stands, from here on; if it was, and failed, all else with it."""
        self._tables |= {each.table: IN_ORDER if each.plain else None for each in statements if each.table is not None}

    def _check(self, sent: _Sent, counts: list[int | None]) -> None:
        text = b"".join([part.text for part in sent.parts])
        number = count_statements(text)
        done = counts[sent.before : sent.before + number]
        if len(counts) != sent.before + number + sent.after:
            raise self._mismatch(sent.parts[-1], 0, b"", f"gave {len(counts)} results where {number} were expected")
        plain = b" rows\n" not in text and b"TRUNCATE " not in text
        if not (plain and done.count(1) == number):
            self._check_each(sent, done)
        if sent.after and counts[-1] != 1:
            raise ScribeError("scribe.position in the target does not have exactly one row", _AGAIN)
        self.totals.rows += sum(filter(None, done))

    def _check_each(self, sent: _Sent, done: list[int | None]) -> None:
        results = iter(done)
        for part in sent.parts:
            for index, statement in enumerate(split_statements(part.text), part.before + 1):
                expected, count = expected_rows(statement), next(results)
                if expected is not None and count != expected:
                    what = f"acted on {count} rows, on the source on {expected}"
                    raise self._mismatch(part, index, statement, what)

    # Other transactions, piece by piece

    def _begin(self, begin: Begin) -> None:
        self._places, self._made = {}, 0
        self._flush()
        self._settle()
        self._run(self._turn()[0], _Part(begin, None, b""))
        self._number, self._fresh = 0, True

    def _large(self, event: Event, begin: Begin) -> None:
        if not isinstance(event, Statements):
            self._end_run(begin)
            self._join_waiting(begin)
        if isinstance(event, Statements):
            self._statements(event.text, begin)
        elif isinstance(event, CopyData):
            if self._passing:
                return
            self.session.put_data(event.data)
            self._lines += event.data.count(b"\n")
            self.totals.bytes += len(event.data)
            self.tick(self.totals.bytes)
        elif isinstance(event, CopyStart):
            self._start_copy(_Part(begin, None, event.text, self._number))
        elif isinstance(event, CopyEnd):
            self._end_copy()
        elif isinstance(event, Ddl):
            self._ddl(event, begin)
        elif isinstance(event, End):
            self._settle()
            self._run(self._move(event.end), _Part(begin, event.end, b""))
            self.totals.transactions += 1
            self.totals.time = begin.time
            if self._held:
                self.finish()
                self._run_held(begin)
        else:
            assert isinstance(event, Mark)

    def _statements(self, text: bytes, begin: Begin) -> None:
        if self.rows is not None:
            text = self.rows.filter(text)
            if not text:
                return
        if begin.commit_lsn in self._skipping:
            for statement in split_statements(text):
                if not self._passed_over(_Part(begin, None, statement, self._number)):
                    self._send_some(statement, begin)
        elif self.stages:
            self._stage(text, begin)
        else:
            self._send_some(text, begin)

    def _stage(self, text: bytes, begin: Begin) -> None:
        """Send some statements, but keep those that may become fewer together with what follows."""
        plain: list[bytes] = []
        for statement in split_statements(text):
            read = self._read_rows(statement)
            run = self._run_now
            if run is not None and (read is None or run.shape != read[0] or run.size >= staging.MOST):
                self._end_run(begin)
                run = None
            if plain and (read is not None or staging.may_be_joined(statement)):
                self._send_some(b"".join(plain), begin)
                plain = []
            if read is not None:
                run = self._run_now = run or staging.Run(read[0])
                run.take(statement, *read[1:])
            elif staging.may_be_joined(statement):
                self._wait(statement, begin)
            else:
                self._join_waiting(begin)
                plain.append(statement)
        if plain:
            self._send_some(b"".join(plain), begin)

    def _wait(self, statement: bytes, begin: Begin) -> None:
        """Keep a statement on a single row or a few, to be joined with others."""
        self._waiting.append(statement)
        self._waiting_bytes += len(statement)
        if self._waiting_bytes >= self.joining:
            self._join_waiting(begin)

    def _join_waiting(self, begin: Begin) -> None:
        """Send the net effects of the statements that were kept, or the statements."""
        statements, self._waiting, self._waiting_bytes = self._waiting, [], 0
        if not statements:
            return
        text = b"".join(statements)
        joined = self._join(statements) if len(statements) >= staging.FEWEST else None
        if joined is None:
            self._send_some(text, begin)
            return
        self._settle()
        self._fresh = False
        self.session.send(staging.SAVE + joined.text)
        self._sent = _Sent([_Part(begin, None, text, self._number)], 1, 0, joined)
        self._number += len(statements)
        self.totals.bytes += len(text)

    def _read_rows(self, statement: bytes) -> tuple[staging.Shape, bytes, int] | None:
        """Return the rows of a statement that may be sent by COPY, None if it has to be sent as it stands."""
        name = net.table_of(statement) if staging.may_be_staged(statement) else None
        if name is None:
            return None
        if name not in self._tables:
            self._settle()
            self._tables[name] = find_table(self.session, name)
        table = self._tables[name]
        try:
            return staging.read(statement, table) if table is not None else None
        except net.UnprovedError:
            return None

    def _end_run(self, begin: Begin) -> None:
        """Send the rows of the run; if that would take longer, or cannot be, its statements are as any others."""
        run, self._run_now = self._run_now, None
        if run is None:
            return
        known = run.shape in self._places or self._made < staging.TABLES
        if run.size < staging.LEAST or len(run.statements) == 1 or not known:
            for statement in run.statements:
                if staging.may_be_joined(statement):
                    self._wait(statement, begin)
                else:
                    self._join_waiting(begin)
                    self._send_some(statement, begin)
            return
        self._join_waiting(begin)
        part = _Part(begin, None, b"".join(run.statements), self._number)
        self._settle()
        self._fresh = False
        self._number += len(run.statements)
        self.totals.bytes += len(part.text)
        sent = _Sent([part], run=run)
        try:
            if run.shape not in self._places:
                self._made += 1
                self.session.run(staging.create(run.shape, self._made))
                self._places[run.shape] = self._made
            number = self._places[run.shape]
            self.session.run(staging.begin(number))
            self.session.start_copy(b"COPY %b FROM stdin;\n" % staging.place(number))
            for data in run.data:
                self.session.put_data(data)
            if self.session.end_copy() != run.rows:
                raise ServerError(0, "other rows were taken", "", "")
            self.session.send(staging.update(run.shape, number))
        except ServerError:
            self._unstage(sent)
        else:
            self._sent = sent

    def _unstage(self, sent: _Sent) -> None:
        """Send the statements of a run whose rows could not be sent otherwise; what is wrong of them is found there."""
        assert sent.run is not None
        self._tables[sent.run.shape.name] = None
        self.session.run(staging.UNDO)
        before, begin = sent.parts[0].before, sent.parts[0].begin
        for statement in sent.run.statements:
            self.session.send(statement)
            self._sent = _Sent([_Part(begin, None, statement, before)])
            self._settle()
            before += 1

    def _send_some(self, text: bytes, begin: Begin) -> None:
        self._settle()
        self._fresh = False
        if _NOT_OF_ROWS.search(text):
            self._tables.clear()
        self.session.send(text)
        self._sent = _Sent([_Part(begin, None, text, self._number)])
        self._number += count_statements(text)
        self.totals.bytes += len(text)

    def _passed_over(self, part: _Part) -> bool:
        """Pass over the next statement if it was named; that is recorded in the target, in the same transaction."""
        place = Place(part.begin.commit_lsn, part.before + 1)
        if place not in self.skips:
            return False
        self._settle()
        self._number += 1
        skipped = Skipped(place, self.file, show(part.text))
        texts = [text.encode("ascii", "backslashreplace").decode() for text in (self.file, skipped.statement)]
        literals = ", ".join(map(quote_literal, (str(place), *texts)))
        self._run(f"{_SKIPPED_TABLE};\nINSERT INTO scribe.skipped VALUES ({literals})".encode(), None)
        self.totals.skipped.append(skipped)
        return True

    def _start_copy(self, part: _Part) -> None:
        left_out = self.rows is not None and not self.rows.takes_copy(part.text)
        self._passing = left_out or self._passed_over(part)
        if self._passing:
            return
        self._settle()
        self._number += 1
        self._fresh = False
        self._copying, self._lines = part, 0
        try:
            self.session.start_copy(part.text)
        except ServerError as error:
            raise self._failed(_Sent([part]), error) from None

    def _end_copy(self) -> None:
        if self._passing:
            self._passing = False
            return
        part = self._copying
        assert part is not None
        try:
            count = self.session.end_copy()
        except ServerError as error:
            raise self._failed(_Sent([part]), error) from None
        if count != self._lines:
            raise self._mismatch(part, part.before + 1, part.text, f"took {count} rows of {self._lines}")
        self.totals.rows += count

    def _is_left_out(self, event: Ddl) -> bool:
        if not self.shared and _SHARED.fullmatch(event.tag):
            return True
        return not self.owners and event.tag == "ALTER DATABASE" and _DATABASE_OWNER in event.text

    def _ddl(self, event: Ddl, begin: Begin) -> None:
        if self._is_left_out(event):
            self._number += 1
            return
        if not self.event_triggers:
            comment = event.tag == "COMMENT" and _COMMENT_ON_EVENT_TRIGGER.search(event.text)
            if comment or _ON_EVENT_TRIGGER.match(event.tag):
                self._number += 1
                return
            event = Ddl(event.tag, without_quieting(event.text))
        text = read_alike(event.text) if self.standard_strings else event.text
        texts = split_ddl(text, owners=self.owners)
        if self._passed_over(_Part(begin, None, texts[-1], self._number)):
            return
        self._settle()
        if self._places:
            self.session.run(staging.drop(self._places.values()))  # they use types that it may be about
            self._places = {}
        if _OUTSIDE.fullmatch(event.tag):
            self._outside(event, begin)
        else:
            self._fresh = False
            for text in texts:
                self._run(text, _Part(begin, None, text, self._number), event.tag)
        self._tables.clear()
        if self.rows is not None:
            self.rows.after_ddl(self.session, event.tag, event.text)
        self._number += 1
        self.totals.ddl += 1

    def _outside(self, event: Ddl, begin: Begin) -> None:
        """What makes or drops a tablespace stands first or last in its frame: run it before the transaction or after.

        It is the same run twice as once, since it begins with a condition.
        """
        self._held.append(event)
        if self._fresh:
            self._run(b"COMMIT", None)
            self._run_held(begin)
            self._run(b"BEGIN", None)

    def _run_held(self, begin: Begin) -> None:
        held, self._held = self._held, []
        for event in held:
            part = _Part(begin, None, event.text, self._number)
            first, _, rest = event.text.partition(b"\nCOMMIT;\n")
            self._run(first, part, event.tag)
            for line in rest.splitlines(keepends=True):
                if line.endswith(_GEXEC):
                    for command in self._fetch(line.removesuffix(_GEXEC), part, event.tag):
                        self._run(command, part, event.tag)
                elif line != b"BEGIN;\n":
                    self._run(line, part, event.tag)

    def _fetch(self, query: bytes, part: _Part, tag: str) -> list[bytes]:
        try:
            return self.session.fetch(query)
        except ServerError as error:
            raise self._failed_ddl(part, tag, error) from None

    def _large_objects(self, event: LargeObjects) -> None:
        if not self.owners:
            lines = event.text.splitlines(keepends=True)
            event = LargeObjects(b"".join(line for line in lines if not _OBJECT_OWNER.match(line)), last=event.last)
        # sent whole, so running them again after an interruption is the same as running them once
        if not self._objects:
            self._run(b"BEGIN", None)
        self._objects = not event.last
        self._run_encoded(event.text)
        if event.last:
            self._run(b"COMMIT", None)

    def _run_encoded(self, text: bytes) -> None:
        """Run statements whose first line may set the encoding, which holds from the next message on."""
        if text.startswith(_UTF8_LINE):
            self._run(_UTF8_LINE, None)
            text = text[len(_UTF8_LINE) :]
        if text:
            self._run(text, None)

    def _footer(self, footer: Footer) -> None:
        self.finish()
        self._run(b"BEGIN", None)
        self._run_encoded(footer.text if footer.to_lsn >= self.position else without_move(footer.text))
        self._run(b"COMMIT", None)
        self.position = self._ahead = max(self.position, footer.to_lsn)

    def _run(self, sql: bytes, part: _Part | None, tag: str = "") -> None:
        try:
            self.session.run(sql)
        except ServerError as error:
            if part is None or not (tag or part.text):
                raise self._uncommitted(error, part) from None
            raise self._failed_ddl(part, tag, error) from None

    # What is said when it stops

    def _where(self, part: _Part, number: int | None = None) -> str:
        end = f" end {format_lsn(part.end)}" if part.end is not None else ""
        begin = part.begin
        which = f", statement {number}" if number else ""
        return (
            f'stopped in "{self.file}" at transaction {begin.xid} (commit {format_lsn(begin.commit_lsn)}{end},'
            f" {begin.time}){which}"
        )

    def _mismatch(self, part: _Part, number: int, statement: bytes, what: str) -> ScribeError:
        said = f"{self._where(part, number)}: the statement {what}: {show(statement)}"
        return ScribeError(said, _how_to_go_on(_DIFFERS, part, number) if number else f"{_DIFFERS}.")

    def _failed(self, sent: _Sent, error: ServerError) -> ScribeError:
        index = error.index - sent.before
        for part in sent.parts:
            for number, statement in enumerate(split_statements(part.text), part.before + 1):
                if index == 0:
                    said = f"{self._where(part, number)}: {error.said}: {show(statement)}"
                    return StoppedError(said, _hint_after(error, part, number), error.sqlstate)
                index -= 1
        return self._uncommitted(error, sent.parts[-1])

    def _failed_ddl(self, part: _Part, tag: str, error: ServerError) -> ScribeError:
        number = part.before + 1
        said = f"{self._where(part, number)}: {tag}: {error.said}: {show(part.text)}"
        return StoppedError(said, _hint_after(error, part, number), error.sqlstate)

    def _uncommitted(self, error: ServerError, part: _Part | None) -> ScribeError:
        if error.sqlstate == _MOVED:
            return ScribeError("the target was moved by another program while it was being restored", _AGAIN)
        where = self._where(part) if part else f'stopped in "{self.file}"'
        return StoppedError(f"{where}: could not commit: {error.said}", _hint_after(error), error.sqlstate)


_BETWEEN = 'the database stands at {}, between transactions that scribe-compact has joined in "{}"'
_BEGIN_AGAIN = "Restore into a new database, from the base."
_LACKS = "Give the target what the statement needs, and go on with --resume, which begins with this transaction"
_FULL = "Make room on the target server, then go on with --resume, which begins with this transaction."
_DIFFERS = "Find out what the target differs in from the source, and fix it before --resume, or begin again"


def _hint_after(error: ServerError, part: _Part | None = None, number: int = 0) -> str:
    """Return how to go on after an error of the server's; part, number: the statement that may be passed over."""
    if error.sqlstate.startswith("53"):  # insufficient resources: the statement has nothing to do with it
        return _FULL
    return _how_to_go_on(_LACKS, part, number) if part is not None else f"{_LACKS}."


def _how_to_go_on(first: str, part: _Part, number: int) -> str:
    place = Place(part.begin.commit_lsn, number)
    return f"{first}; or pass over this one statement, and lose what it does: --resume --skip {place}."


def without_move(text: bytes) -> bytes:
    """Return a footer's text without its last statement, which would take a target back that is beyond its file."""
    return text[: text.rindex(b"UPDATE scribe.position ")]


_AGAIN = "Let one restore work on a database at a time; begin again from the base."


def show(statement: bytes) -> str:
    """Return the first characters of a statement for a message."""
    text = " ".join(statement[: 4 * _SHOWN].decode("utf-8", "replace").split())
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


def without_quieting(text: bytes) -> bytes:
    """Return a DDL block's text without the lines that keep event triggers quiet, which stand around the statement."""
    lines = text.splitlines(keepends=True)
    last = max((i for i, line in enumerate(lines) if line == b";\n"), default=len(lines) - 1)
    first = next((i for i, line in enumerate(lines) if not line.startswith((b"SET LOCAL ", _QUIETING))), len(lines))
    return b"".join(line for i, line in enumerate(lines) if first <= i <= last or not line.startswith(_QUIETING))


_QUIETING = b"ALTER EVENT TRIGGER "  # in segments of older versions
_FIRING = b"SELECT scribe.fire_event_triggers("
_LOAN = b"DO LANGUAGE plpgsql $scribe_loan"  # what a role had once is lent to it, and taken back
_SETTING = b"DO LANGUAGE plpgsql $scribe_setting"  # one that the server may refuse
_WARNING = b"-- warning: setting left out: "
# What stands before a statement and after it.
_AROUND = (b"SET LOCAL ", b"SELECT pg_catalog.set_config(", _FIRING, _LOAN, _SETTING, _WARNING)
_PATH = (b"SET LOCAL search_path ", b"SELECT pg_catalog.set_config('search_path'")
_ROLE = (b"SET LOCAL ROLE", b"RESET ROLE")


def _inwards(line: bytes) -> int:
    """How near to its statement a line stands: a user's path is in force for no other line of ours.

    Older versions wrote the settings between path and role: an operator of the user's could come before the server's.
    """
    return 2 if line.startswith(_ROLE) else 1 if line.startswith(_PATH) else 0


_OF_THE_HOST = re.compile(rb"SET LOCAL (?i:lc_monetary|TimeZone|default_tablespace) = ")
_TRY = b"$scribe_try$"


def tried(line: bytes) -> bytes:
    """Return a line so that a value which this server does not have is left out with a warning.

    A locale, a time zone, a tablespace: anybody may choose one that the source has, and stop every other's restore.
    """
    if not _OF_THE_HOST.match(line) or _TRY in line:
        return line
    body = line.rstrip(b"\n") + b" EXCEPTION WHEN OTHERS THEN RAISE WARNING 'setting left out: %', SQLERRM;"
    return b"DO LANGUAGE plpgsql " + _TRY + b"BEGIN " + body + b" END" + _TRY + b";\n"


def split_ddl(text: bytes, *, owners: bool) -> list[bytes]:
    """Cut the text of a DDL block into the settings before it and the rest: a setting may change how the rest is read.

    owners: without, lines that change the role are left out (before the statement and after it, never within).
    """
    lines = text.splitlines(keepends=True)
    first = next((i for i, line in enumerate(lines) if not line.startswith(_AROUND)), len(lines))
    last = len(lines)
    while last > first and lines[last - 1].startswith((b"RESET ", *_AROUND)):
        last -= 1
    before = [tried(line) for line in sorted(lines[:first], key=_inwards)]
    after = sorted(lines[last:], key=_inwards, reverse=True)
    if not owners:
        before = [line for line in before if not line.startswith((*_ROLE, _LOAN))]
        after = [line for line in after if not line.startswith((*_ROLE, _LOAN))]
    return [part for part in (b"".join(before), b"".join(lines[first:last] + after)) if part]
