"""A copy that follows: a restore that goes on with what arrives, and its promotion to a database of its own.

Position and data move in the same transaction of the target, so that any end of this program, of the target or of the
source is followed by another start that goes on exactly. Nothing is passed over: what cannot be applied ends it.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import signal
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import psycopg

from scribe.archive import followers, rolefiles
from scribe.archive.chains import check_file
from scribe.archive.layout import Archive, Segment
from scribe.archive.segments import Event, Footer, LargeObjects, Small, Start
from scribe.common.cli import Talk
from scribe.common.dialect import LEAVE, QUIET, TAKE_MARKS
from scribe.common.errors import ScribeError, TryAgainError, UsageError
from scribe.common.files import DirectoryLock
from scribe.common.lsn import format_lsn, parse_lsn
from scribe.common.postgres import connect, fetch_value, is_superuser
from scribe.common.process import find_process
from scribe.restore import target as server
from scribe.restore.arrivals import NEW_COPY, Arrivals, Tail
from scribe.restore.refused import STANDARD_STRINGS_ONLY
from scribe.restore.replay import Replayer, StoppedError
from scribe.restore.restoration import REPLAYING, Restore, joined_at_once
from scribe.restore.sequences import ADVANCE
from scribe.restore.session import Session
from scribe.restore.spool_tail import count_bytes, session_settings
from scribe.source.brief_locks import find_blockers
from scribe.source.ownership import has_table
from scribe.spool import confirmed_position
from scribe.stream.notify import notify

FIRST_DELAY, LONGEST_DELAY = 0.1, 30.0  # seconds before the target is tried again
STATE_INTERVAL = 5.0  # seconds between notes for scribe-check, and looks whether an idle target is still there
PAUSE = 0.2  # of the interval, after something was taken from the spool
GRACE = 10.0  # seconds that what is being applied may take when it is to end; then it is taken back
LONGEST = 300  # characters of an error that is waited out
LOCK_WAIT = 60.0  # seconds for scribe-prune to end
# Reasons of the target's server that pass: deadlock, no room, locks, a query that somebody cancelled.
_PASSING = ("40", "53", "55", "57")
_FOLLOWED = """
CREATE TABLE IF NOT EXISTS scribe.followed (database text NOT NULL, system_identifier text NOT NULL,
  spool_id text NOT NULL, since pg_catalog.timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp());
COMMENT ON TABLE scribe.followed IS 'the stream that this copy follows: no other one can continue it';
"""


class Following(Restore):
    """One run of --follow or --promote."""

    def __init__(
        self, archive: Archive, identity: Mapping[str, Any], arguments: argparse.Namespace, talk: Talk
    ) -> None:
        refuse_misuse(archive, arguments)
        super().__init__(archive, identity, arguments, talk)
        self.takes_up = True
        self.promoting: bool = arguments.promote
        self.wanted: int | None = arguments.wait_lsn
        self.stopping = self.restoring = False
        self.arrivals = Arrivals(archive, identity["spool_id"], talk.warn)
        self.replayer: Replayer | None = None
        self.position = 0
        self.reached: str | None = None
        self.transactions = 0
        self.started = time.time()
        self.current: float | None = None  # when the copy held all that the archive held
        self.moved = time.monotonic()  # when something was last applied
        self._system = self._server = ""
        self._waiting: str | None = None
        self._written = 0.0
        self._globals: set[str] | None = None
        self._failed_at: int | None = None  # position at which the spool could not be applied
        self._wake, self._woken = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    # --- the steps in their order -------------------------------------------------------------------------------

    def run(self, way: object = None) -> dict[str, Any] | None:
        """Follow until told to stop, or promote. Raises ScribeError."""
        self._catch_signals()
        with contextlib.ExitStack() as stack:
            with server.connect_server() as conn:
                stack.enter_context(server.without_login_triggers(conn))
                self._prepare(conn)
                begun = self._is_begun(conn)
            if not begun:
                if self.promoting:
                    raise ScribeError(f'database "{self.name}" does not exist or is empty', _NOTHING_TO_PROMOTE)
                self._restore()
            with contextlib.suppress(_GiveUpError):
                self._supervise()
            signal.setitimer(signal.ITIMER_REAL, 0)
        return self._report_run()

    def _restore(self) -> None:
        """Restore base and segments, as without --follow: a signal ends it at once."""
        self.restoring = True
        if self.stopping:
            raise KeyboardInterrupt
        with self._keep_files():
            super().run()
        self.restoring = False

    def _prepare(self, conn: psycopg.Connection[Any]) -> None:
        """Look at the target's server as a restore does. Raises ScribeError."""
        server.check_privileges(conn, self.options, with_globals=not self.arguments.no_globals)
        self._system = str(fetch_value(conn, "SELECT system_identifier::text FROM pg_catalog.pg_control_system()"))
        self._server = f"{conn.info.host}:{conn.info.port}"

    def _is_begun(self, conn: psycopg.Connection[Any]) -> bool:
        """Whether the target holds a restore that can go on. Raises ScribeError for what is neither that nor empty."""
        oid = server.database_oid(conn, self.name)
        if oid is None:
            return False
        server.refuse_source(conn, self.name, oid, self.identity)
        if server.is_unfinished(conn, self.name):
            return False
        with connect(dbname=self.name) as there:
            if server.read_position(there) is not None:
                return True
            found = server.find_contents(there)
        if found is None:
            return False
        raise ScribeError(f'database "{self.name}" holds no restore that can go on: it has {found}', _OF_ITS_OWN)

    def _keep_files(self) -> DirectoryLock:
        return DirectoryLock(self.archive.path, "scribe-prune removes files", shared=True, wait=LOCK_WAIT)

    def _supervise(self) -> None:
        """Work; after what passes, try again. Raises ScribeError; TryAgainError at the very first connection only."""
        delay, first, moved = FIRST_DELAY, True, self.moved
        while not self.stopping:
            try:
                with self._open_target() as replayer:
                    if first:
                        self._say_begin()
                    first = False
                    self._work(replayer)
                    return
            except (ScribeError, psycopg.OperationalError, OSError) as error:
                if first or not _passes(error):
                    self._waiting = _words(error)
                    self._note()
                    raise _for_following(error) from None
                if self.promoting and time.monotonic() - self.moved > self.arguments.timeout:
                    raise
                self._begin_outage(_words(error))
            delay, moved = FIRST_DELAY if self.moved > moved else min(2 * delay, LONGEST_DELAY), self.moved
            self._sleep(delay)

    @contextlib.contextmanager
    def _open_target(self) -> Iterator[Replayer]:
        """Connect to the target and find out where it stands."""
        with self._connect() as conn:
            conn.add_notice_handler(self.hear)
            server.lock_target(conn)
            server.quiet_session(conn)
            self._check_followed(conn)
            state = server.read_position(conn)
            assert state is not None
            self.position = state[0]
            skips = frozenset(self.arguments.skip)
            replayer = Replayer(
                Session(conn), state[0], owners=self.options.owners, tick=lambda _: self._tick(), skips=skips
            )
            replayer.joining = joined_at_once(self.arguments)
            replayer.stages = not self.arguments.serial
            replayer.event_triggers = is_superuser(conn)
            replayer.shared = replayer.event_triggers
            replayer.standard_strings = conn.info.server_version >= STANDARD_STRINGS_ONLY
            replayer.session.waits = lambda: self._look_for_locks(conn.info.backend_pid)
            self.replayer = replayer
            self.arrivals.begin(state[0])
            try:
                replayer.session.run(QUIET.encode())
                yield replayer
            except _GiveUpError:
                conn.cancel()
                raise
            finally:
                self.replayer = None
                conn.close()

    def _connect(self) -> psycopg.Connection[Any]:
        try:
            return connect(dbname=self.name, options=REPLAYING)
        except UsageError:
            with server.connect_server() as conn:
                if server.database_oid(conn, self.name) is None:
                    said = f'database "{self.name}" is gone: it was dropped or renamed'
                    raise ScribeError(said, "Run the same command once more to restore it.") from None
            raise

    def _check_followed(self, conn: psycopg.Connection[Any]) -> None:
        """Compare the archive with the one that the target follows, and mark the target. Raises ScribeError."""
        state = server.read_position(conn)
        if state is None:
            raise ScribeError(f'database "{self.name}" holds no restore that can go on', _OF_ITS_OWN)
        if state[1]:
            raise ScribeError(f'psql was cut off inside a segment in database "{self.name}"', "Restore into a new one.")
        identity = self.identity
        mine = (identity["database"], identity["system_identifier"], identity["spool_id"])
        if not has_table(conn, "followed"):
            with conn.transaction():
                conn.execute(_FOLLOWED)
                insert = "INSERT INTO scribe.followed (database, system_identifier, spool_id) VALUES (%s, %s, %s)"
                conn.execute(insert, mine)
            return
        known = conn.execute("SELECT database, system_identifier, spool_id FROM scribe.followed").fetchone()
        if known is None or known[:2] != mine[:2]:
            raise ScribeError(f'database "{self.name}" follows another archive', "Name that one with --archive.")
        if known[2] != mine[2]:
            raise ScribeError(
                f"the archive's stream began again at {identity['chain_from_lsn']}, after the place at which database"
                f' "{self.name}" stands, {format_lsn(state[0])}',
                NEW_COPY,
            )

    # --- work ---------------------------------------------------------------------------------------------------

    def _work(self, replayer: Replayer) -> None:
        """Apply what is there and wait for more, until told to stop or promoted. Raises ScribeError."""
        while not self.stopping:
            looked = time.time()
            known = self._known_to_be_complete() if self.promoting else 0
            took = time.monotonic()
            if self._apply_next(replayer):
                self.moved = time.monotonic()
                self._tick()
                continue
            if not self.arrivals.waits:
                self.arrivals.refuse_broken(self.position)
                if self._failed_at is None:
                    self.current = looked if self._is_all() else self.current
                    self._end_outage()
            if self.promoting and self._is_there(known):
                self._promote(replayer)
                return
            self._tick(idle=True)
            self._sleep(max(self.arguments.interval, 3 * (time.monotonic() - took)))

    def _is_all(self) -> bool:
        """Whether nothing waits in the spool that only a rotation makes a segment of."""
        return self.arrivals.takes_spool or not count_bytes(self.archive)

    def _apply_next(self, replayer: Replayer) -> bool:
        """Apply the next segment, or what the spool has; return whether there was something."""
        with self._keep_files():
            segment = self.arrivals.next_segment(self.position)
            if segment is not None:
                self._take_segment(replayer, segment)
                return True
        if not self.arrivals.takes_spool or self._failed_at == self.position:
            return False
        looked = time.time()
        tail = self.arrivals.look(self.position)
        if tail is None:
            return False
        with tail:
            self._take_tail(replayer, tail)
        if not self.arrivals.waits and not self.stopping:
            self.current = looked
            self._end_outage()
        self._sleep(self.arguments.interval * PAUSE)  # what is small is taken together: each time the spool is synced
        return True

    def _take_segment(self, replayer: Replayer, segment: Segment) -> None:
        check_file(segment.data, segment.manifest["bytes"], segment.manifest["sha256"])
        self._run_new_globals(replayer)
        self._apply_segment(replayer, segment)
        self._moved(replayer)
        if not self.stopping:
            replayer.session.run(QUIET.encode())  # the footer has let event triggers fire again
            self.arrivals.took(segment)
            self._failed_at = None

    def _take_tail(self, replayer: Replayer, tail: Tail) -> None:
        replayer.session.run(session_settings(self.identity["encoding"]))
        try:
            replayer.apply(self.watch(tail.events()), "the spool")
        except StoppedError as error:
            if _passes(error):
                raise
            # a rotation may bring what is lacking, such as a role made in another database
            self._failed_at = replayer.position
            raise TryAgainError(f"{error.message}; waiting for the segment that will hold this") from None
        self._moved(replayer)
        self.arrivals.took_tail(tail)

    def _moved(self, replayer: Replayer) -> None:
        self.position = replayer.position
        self.reached = replayer.totals.time or self.reached
        self.transactions += replayer.totals.transactions
        replayer.totals.transactions = 0

    def watch(self, events: Iterable[Event]) -> Iterator[Event]:
        """Pass events on until it is to end: then what is whole so far is committed."""
        for event in events:
            if self.stopping and isinstance(event, Small | Start | LargeObjects | Footer):
                return
            yield event

    def _run_new_globals(self, replayer: Replayer) -> None:
        """Create roles and tablespaces that other databases' sessions have made on the source."""
        if self.arguments.no_globals:
            return
        names = {path.name for path in self.archive.globals_files()}
        if self._globals is None or names - self._globals:
            with server.connect_server() as conn:
                for path, entry in rolefiles.usable(self.archive):
                    if self._globals is not None and path.name not in self._globals:
                        if entry is not None:
                            check_file(path, entry["bytes"], entry["sha256"])
                        server.run_globals(conn, path, self.options, self.talk.warn)
            replayer.session.run(TAKE_MARKS.encode())
            self._globals = names

    # --- promotion ----------------------------------------------------------------------------------------------

    def _known_to_be_complete(self) -> int:
        """Return an LSN: what is committed before it was in the spool before now."""
        if not self.arrivals.takes_spool:
            return 0
        chain_from = parse_lsn(self.identity["chain_from_lsn"])
        return confirmed_position.highest(self.archive.spool, chain_from) or 0

    def _is_there(self, known: int) -> bool:
        """Whether all is applied that is to be. Raises TryAgainError if that does not come about in time."""
        if self.arrivals.waits or self._failed_at is not None:
            missing = "a rotation is needed for what is left"
        elif self.wanted is None or self.wanted <= max(self.position, known):
            return True
        else:
            missing = f"the copy stands at {format_lsn(self.position)}, and nothing tells that it is all"
        if time.monotonic() - self.moved > self.arguments.timeout:
            where = f" to reach {format_lsn(self.wanted)}" if self.wanted is not None else ""
            raise TryAgainError(f"could not promote: waited {self.arguments.timeout:g} s{where}: {missing}", _ROTATE)
        return False

    def _promote(self, replayer: Replayer) -> None:
        """Do what ends a restore, and take the mark away: all of it or nothing."""
        last = self.arrivals.last
        exact = last is not None and last.to_lsn == self.position and last.manifest["sequences"] is not None
        session = replayer.session
        session.run(b"BEGIN; SET LOCAL synchronous_commit = on")
        if not exact:
            session.run(ADVANCE.encode())
        session.run(b"SET LOCAL client_min_messages = warning;" + LEAVE.encode())
        session.run(b"COMMIT")
        with contextlib.suppress(OSError):
            followers.forget(self.archive, self.name, self._system)
        if not exact:
            self.talk.warn(
                "sequences stand where the last rotation recorded them, or after the rows they number: what was only"
                " drawn from them since is not known"
            )
        self.talk.info(
            f'database "{self.name}" is a database of its own: it holds all that was committed before'
            f" {format_lsn(max(self.position, self.wanted or 0))}"
        )

    # --- what is said -------------------------------------------------------------------------------------------

    def _say_begin(self) -> None:
        notify("READY=1")
        if not self.promoting:
            self.talk.info(f'database "{self.name}" follows archive "{self.archive.path}"')
        if not self.archive.spool.is_dir():
            self.talk.warn("there is no spool: only finished segments are applied")
        elif not self.arrivals.takes_spool:
            self.talk.info("this decoder's spool is not read: only finished segments are applied")

    def _begin_outage(self, text: str) -> None:
        if self._waiting is None:
            self.talk.warn(f"{text}; trying again until it works")
        elif self._waiting != text:
            self.talk.note(text)
        notify(f"STATUS=waiting: {text}")
        self._waiting = text
        self._note()

    def _look_for_locks(self, pid: int) -> None:
        """Say who has the lock that the target's process waits for: whoever may read a table can keep one for ever."""
        with contextlib.suppress(ScribeError, psycopg.Error), server.connect_server() as conn:
            found = find_blockers(conn, pid)
            if not found:
                return
            text = f"waiting for a lock of {'; '.join(found[:3])}"
            if self._waiting is None:
                self.talk.warn(text)
            notify(f"STATUS={text}")
            self._waiting = text
            self._note()

    def _end_outage(self) -> None:
        if self._waiting is not None:
            self.talk.info("following again")
            self._waiting = None

    def _tick(self, *, idle: bool = False) -> None:
        """Leave a note for scribe-check now and then; and see whether an idle target is still there."""
        if time.monotonic() - self._written < STATE_INTERVAL:
            return
        if self.replayer is not None:
            if idle:
                self.replayer.session.run(b"SELECT 1")
            self.position = max(self.position, self.replayer.position)
        self._note()
        notify(f"STATUS=at {format_lsn(self.position)}")

    def _note(self) -> None:
        self._written = time.monotonic()
        if self.promoting:
            return
        me = find_process(os.getpid())
        state = followers.Follower(
            self.name,
            self._server,
            self._system,
            me.as_json() if me else None,
            format_lsn(self.position),
            self.reached,
            self.started,
            self.current,
            time.time(),
            self._waiting,
        )
        try:
            followers.write(self.archive, state)
        except OSError as error:
            self.talk.note(f"could not leave a note for scribe-check: {error}")

    def _report_run(self) -> dict[str, Any] | None:
        if not self.promoting:
            self._note()
            self.talk.info(f'database "{self.name}" stands at {format_lsn(self.position)}; --follow goes on from there')
        return None

    # --- time and signals ---------------------------------------------------------------------------------------

    def _catch_signals(self) -> None:
        signal.set_wakeup_fd(self._woken, warn_on_full_buffer=False)
        signal.signal(signal.SIGALRM, self._give_up)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._stop)

    def _stop(self, *_: object) -> None:
        self.stopping = True
        if self.restoring:
            raise KeyboardInterrupt
        signal.setitimer(signal.ITIMER_REAL, GRACE)

    def _give_up(self, *_: object) -> None:
        raise _GiveUpError

    def _sleep(self, seconds: float) -> None:
        """Wait so many seconds, or for a signal."""
        if not self.stopping:
            select.select([self._wake], [], [], seconds)
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake, 4096)


class _GiveUpError(Exception):
    """It is to end, and what it does takes too long."""


_NOTHING_TO_PROMOTE = 'Promote a copy that "scribe-restore --follow" keeps up to date.'
_OF_ITS_OWN = (
    "It was promoted, holds a part of a base, or was not made by scribe-restore: name another one, or drop it first."
)
_ROTATE = 'Run "scribe-rotate --wait-lsn current" where the archive is, see "scribe-check", then try again.'


def refuse_misuse(archive: Archive, arguments: argparse.Namespace) -> None:
    """Raise UsageError for options that cannot be meant."""
    word = "--promote" if arguments.promote else "--follow"
    points = ("target_time", "target_lsn", "target_xid", "target_name", "target_exclusive", "target_inclusive")
    for name in (*points, "include_spool"):
        if getattr(arguments, name) not in (None, False):
            hint = "Leave it out; to stop at a point, restore into another database."
            raise UsageError(f"{word} goes on to the end: --{name.replace('_', '-')} cannot be combined with it", hint)
    if type(archive) is not Archive:
        raise UsageError(f"{word} needs the archive's directory, and this one is in a store", "Run it where that is.")


def _passes(error: Exception) -> bool:
    """Whether trying again may help."""
    if isinstance(error, StoppedError):
        return error.sqlstate.startswith(_PASSING)
    return isinstance(error, TryAgainError | psycopg.OperationalError | OSError)


def _words(error: Exception) -> str:
    """Return what is said of an error while it is waited out."""
    if isinstance(error, ScribeError):
        return error.message if len(error.message) <= LONGEST else error.message[:LONGEST] + "..."
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _for_following(error: Exception) -> Exception:
    """Return an error with a hint that fits: what a restore does with --resume is done with --follow."""
    if isinstance(error, ScribeError) and error.hint is not None:
        error.hint = error.hint.replace("--resume", "--follow")
    return error
