"""Supervision of pg_recvlogical: every start goes through recovery, every end is followed by another start."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType
from typing import IO, Any, Protocol

import psycopg
from psycopg.conninfo import make_conninfo

from scribe.archive.layout import Archive
from scribe.common import files
from scribe.common.errors import ScribeError, TryAgainError, UsageError
from scribe.common.lsn import format_lsn
from scribe.common.postgres import address_of, child_environment, fetch_value, find_program, plugin_options
from scribe.common.process import RECEIVER, die_with, find_process
from scribe.common.settings import Settings
from scribe.decoders.base import Decoder
from scribe.decoders.registry import decoder_of
from scribe.source import server as source
from scribe.source.slot import find_slot
from scribe.spool import confirmed_position as confirmation
from scribe.spool.contents import Spool
from scribe.spool.switch_file import receivers
from scribe.stream import recovery
from scribe.stream.notify import notify, watchdog_interval

FIRST_DELAY, LONGEST_DELAY = 0.1, 30.0  # seconds before another start
STOP_WAIT = 5.0  # seconds for pg_recvlogical to end after SIGINT
LASTING = 5.0  # seconds of an outage after which a reason that is new is said, too
STEADY = 1.0  # seconds of streaming after which an outage is over
REFUSALS = 3  # times in a row the server may refuse to start the stream, fail to decode the same transaction, or crash
BRIEF = 10.0  # seconds of streaming after which a crash was not caused by what was sent first
CALM = 5.0  # seconds for which the server has to stand without a decoder before another crash is held against that


UNDECODABLE = (
    "Nothing is lost up to there. Start the stream again once the cause is corrected or the server's or pg_scribe's"
    ' libraries are newer; if it stops there again, run "scribe-init --remove" and "scribe-init" to begin a new chain.'
)

# What the server itself fails at, with every plugin and each time it comes there, and what to do about it.
NEW_CHAIN = 'and no decoder gets past it. Run "scribe-init --remove" and "scribe-init" for a new chain'
SERVER_FAULTS = {
    "could not find pg_class entry": (
        "This is PostgreSQL's own fault: a table with user_catalog_table was filled and dropped before the stream had"
        f' come there, {NEW_CHAIN}, and "ALTER TABLE ... RESET (user_catalog_table)" before such a table gets rows.'
    ),
    "unexpected duplicate for tablespace": (
        "This is PostgreSQL's own fault: a transaction that rewrote a table, went back to a savepoint and rewrote it"
        f" again cannot be decoded, {NEW_CHAIN}."
    ),
}


class Talk(Protocol):
    """How the supervisor speaks; see scribe.cli.Talk."""

    def note(self, text: str) -> None:
        """Say something with -v."""

    def info(self, text: str) -> None:
        """Say something unless -q."""

    def warn(self, text: str) -> None:
        """Say that something is not as it should be."""


def private(path: str, flags: int) -> int:
    """An opener for files that nobody else may read."""
    return os.open(path, flags | os.O_CLOEXEC, files.FILE_MODE)


class Stopped(Exception):
    """SIGTERM or SIGINT arrived."""


@dataclass(frozen=True)
class Life:
    """Since when a server's processes run. started: the postmaster; counted: the statistics, which a crash loses.

    Both in seconds since 1970. If one process crashes, the postmaster stays and starts all the others again.
    """

    started: float
    counted: float

    def crashed_before(self, later: Life) -> bool:
        """Whether a crash lies between this look and a later one."""
        return self.started == later.started and self.counted != later.counted


_LIFE = """SELECT extract(epoch FROM pg_catalog.pg_postmaster_start_time())::float8,
    coalesce(extract(epoch FROM stats_reset), 0)::float8 FROM pg_catalog.pg_stat_bgwriter"""


@dataclass
class Receiver:
    """A running pg_recvlogical. initiated: when it said that it streams (monotonic seconds), None before."""

    child: subprocess.Popen[bytes]
    position: int
    decoder: Decoder
    life: Life  # of the server, when it was started
    initiated: float | None = None
    refused: bool = False
    last: str = ""

    @property
    def undecodable(self) -> bool:
        """Whether the decoder met something that it will meet again; for want of memory it may well not."""
        in_plugin = "output plugin" in self.last and " callback" in self.last
        # PostgreSQL up to 17 says so of a text beyond 1 GB, too
        want = "out of memory" in self.last and "Cannot enlarge string buffer" not in self.last
        return (in_plugin and not want) or self.server_fault is not None

    @property
    def server_fault(self) -> str | None:
        """The hint for what the server fails at, whatever the decoder; None if it is nothing of the kind."""
        return next((hint for said, hint in SERVER_FAULTS.items() if said in self.last), None)

    @property
    def dropped(self) -> bool:
        """Whether the server's process was gone without a word, soon after the decoder had begun: perhaps a crash."""
        brief = self.initiated is not None and time.monotonic() - self.initiated < BRIEF
        return brief and "server closed the connection unexpectedly" in self.last


class Supervisor:
    """Keeps one pg_recvlogical running until it is told to stop."""

    def __init__(self, archive: Archive, settings: Settings, talk: Talk) -> None:
        self.archive = archive
        self.settings = settings
        self.talk = talk
        self.spool = Spool(archive.spool)
        self.stopping = False
        self._wake, self._woken = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._watchdog = watchdog_interval()
        self._alive_said = 0.0
        self._outage: str | None = None  # what was said when it began
        self._told: set[str] = set()  # the reasons that were said in this outage
        self._outage_began = 0.0
        self._first = True
        self._dropped_by: Life | None = None  # the server's, whose process was gone
        self._drops = 0  # times in a row

    def run(self) -> None:
        """Stream until SIGTERM or SIGINT. Raises TryAgainError when the server is away at the very first connection."""
        self._catch_signals()
        with files.Lock(self.spool.stream_lock, "another scribe-stream is running on this archive", wait=1.0):
            with suppress(Stopped):
                self._supervise()
            notify("STOPPING=1")
            self._tidy()

    def _catch_signals(self) -> None:
        signal.set_wakeup_fd(self._woken, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._on_stop)

    def _on_stop(self, _number: int, _frame: FrameType | None) -> None:
        self.stopping = True

    def _supervise(self) -> None:
        delay, refusals, stuck, reached = FIRST_DELAY, 0, 0, -1
        while True:
            if self._dropped_by is not None and self._drops:
                self._watch_server()
            receiver = self._try_start()
            if receiver is not None:
                began = time.monotonic()
                self._watch(receiver)
                self._dropped_by = receiver.life if receiver.dropped else None
                refusals = refusals + 1 if receiver.refused else 0
                if refusals >= REFUSALS:
                    raise ScribeError(
                        f"the server refuses to stream: {receiver.last}", 'See "scribe-init --check-only".'
                    )
                stuck = (stuck + 1 if receiver.position == reached else 1) if receiver.undecodable else 0
                if stuck >= REFUSALS:
                    hint = receiver.server_fault or UNDECODABLE
                    raise ScribeError(f"the server cannot decode a transaction: {receiver.last}", hint)
                if receiver.position > reached or (receiver.initiated and time.monotonic() - began > 10):
                    delay = FIRST_DELAY
                reached = max(reached, receiver.position)
                self._begin_outage(receiver.last or f"{RECEIVER} ended with status {receiver.child.returncode}")
            self._sleep(delay)
            delay = min(2 * delay, LONGEST_DELAY)

    # --- starting -----------------------------------------------------------------------------------------------

    def _try_start(self) -> Receiver | None:
        """Start a receiver; None when that may work later. Raises whatever cannot be mended by trying again."""
        try:
            self._reachable_identity()  # before anything is opened: the archive's disk may not be mounted
            with self._rotate_lock():
                receiver = self._start()
            self._first = False
            return receiver
        except (TryAgainError, psycopg.OperationalError, OSError) as error:
            if self._first:
                raise
            text = str(error).strip()
            self._begin_outage(text.splitlines()[0] if text else repr(error))
            return None

    @contextmanager
    def _rotate_lock(self) -> Iterator[None]:
        """Hold the lock between rotations and starts; a long rotation is waited for. Raises Stopped."""
        lock = files.Lock(self.spool.rotate_lock, "a rotation is running", wait=0.2)
        said = False
        while True:
            self._tick()
            try:
                lock.__enter__()
                break
            except TryAgainError:
                if not said:
                    self.talk.note("waiting for a rotation to end")
                said = True
        try:
            yield
        finally:
            lock.__exit__()

    def _start(self) -> Receiver:
        """Check the server, recover the spool and start pg_recvlogical; under rotate.lock."""
        identity = self._reachable_identity()
        decoder = decoder_of(identity)
        for stray in receivers(self.spool):
            self.talk.info(f"ending {RECEIVER} (process {stray.pid}), which outlived its scribe-stream")
            if not stray.end(10):
                raise TryAgainError(f"could not end {RECEIVER} (process {stray.pid})")
        with self._connect(identity) as conn:
            server = source.inspect(conn)
            recovery.check_source(self.archive, server)
            if self.archive.broken() is None and not server.in_recovery:
                try:
                    decoder.ready(conn, self.spool, identity)
                except ScribeError as error:  # what it knew of the spool is gone
                    raise recovery.break_at_end(self.archive, error.message) from None
            found = recovery.await_slot(lambda: find_slot(conn, identity["slot"]), self._sleep)
            slot = recovery.check_slot(self.archive, found, server)
            recovery.check_stream(self.archive, conn)
            life = self._count_drops(conn)
            position = recovery.recover(self.archive, server, slot, self._tick)
            decoder.started(conn, self.spool, position)
            options = f"{plugin_options(conn, str(slot.plugin))} {decoder.server_options(identity)}".strip()
            environment = child_environment(conn, options)
            conninfo = make_conninfo(dbname=server.database, application_name=identity["slot"], **address_of(conn))
        # before anything can arrive: what came from a new timeline must not be taken for the old one's
        self._record(None, position, server)
        child = self._spawn(identity, conninfo, position, environment)
        try:
            self._record(child, position, server)
        except BaseException:
            child.kill()
            child.wait()
            raise
        self.talk.note(f"starting at {format_lsn(position)}")
        return Receiver(child, position, decoder, life)

    def _watch_server(self) -> None:
        """See whether the server crashes without the decoder, too: a walsender does not say why it has to end."""
        with suppress(ScribeError, OSError):
            try:
                with self._connect(self._reachable_identity()) as conn:
                    self._sleep(CALM)
                    fetch_value(conn, "SELECT 1")
            except psycopg.OperationalError:
                self._dropped_by = None

    def _count_drops(self, conn: psycopg.Connection[Any]) -> Life:
        """Return since when the server runs. Raises ScribeError where the decoder crashes it again and again.

        Each crash ends all sessions of the server: better no stream than one more.
        """
        started, counted = conn.execute(_LIFE).fetchall()[0]
        life = Life(started, counted)
        crashed = self._dropped_by is not None and self._dropped_by.crashed_before(life)
        self._drops = self._drops + 1 if crashed else 0
        if self._drops >= REFUSALS:
            reason = f"the server crashed {self._drops} times in a row when the decoder had begun to work"
            if decoder_of(self.archive.identity()).may_crash:
                raise recovery.break_at_end(self.archive, reason)
            raise UsageError(reason, f"The server's log has the crash. {UNDECODABLE}")
        return life

    def _reachable_identity(self) -> dict[str, Any]:
        """Return archive.json; once it was there, its absence is an outage: a file system may be mounted again."""
        try:
            return self.archive.identity()
        except UsageError as error:
            if self._first:
                raise
            raise TryAgainError(error.message, error.hint) from None

    def _connect(self, identity: dict[str, Any]) -> psycopg.Connection[Any]:
        try:
            return source.open_source(identity)
        except UsageError as error:
            if self._first:
                raise
            raise TryAgainError(error.message, error.hint) from None

    def _spawn(
        self, identity: dict[str, Any], conninfo: str, position: int, environment: dict[str, str]
    ) -> subprocess.Popen[bytes]:
        parent = os.getpid()
        status_interval, fsync_interval = decoder_of(identity).intervals(self.settings)
        command = [
            find_program(RECEIVER),
            "--start",
            "--no-loop",
            "--verbose",
            "--no-password",
            f"--dbname={conninfo}",
            f"--slot={identity['slot']}",
            f"--file={self.spool.stream}",
            f"--startpos={format_lsn(position)}",
            f"--status-interval={status_interval}",
            f"--fsync-interval={fsync_interval}",
            *decoder_of(identity).receiver_options(identity, self.settings["SCRIBE_LEAVE_OUT"] or ()),
        ]
        path = confirmation.log_path(self.archive.spool)
        open(path, "wb", opener=private).close()
        with open(path, "ab", opener=private) as log:  # to its end, also where it was emptied meanwhile
            return subprocess.Popen(
                command,
                env={k: v for k, v in environment.items() if k not in ("PGCLIENTENCODING", "NOTIFY_SOCKET")},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,  # a file and not a pipe: what it said outlives us both
                process_group=0,  # Ctrl-C is for us alone
                preexec_fn=lambda: die_with(parent),  # noqa: PLW1509  there are no threads here
            )

    def _record(self, child: subprocess.Popen[bytes] | None, position: int, server: source.Server) -> None:
        me, receiver = find_process(os.getpid()), find_process(child.pid) if child else None
        value = {
            "stream": me.as_json() if me else None,
            "receiver": receiver.as_json() if receiver else None,
            "position": format_lsn(position),
            "timeline": server.timeline,
            "server_version": server.version,
        }
        files.write_json(self.spool.processes_path, value)

    # --- watching -----------------------------------------------------------------------------------------------

    def _watch(self, receiver: Receiver) -> None:
        """Repeat what the receiver says until it ends. Raises Stopped after ending it."""
        with open(confirmation.log_path(self.archive.spool), "rb") as log:
            text = b""
            tended = time.monotonic()
            while True:
                ended = receiver.child.poll() is not None  # before reading, so that its last words are heard
                if os.fstat(log.fileno()).st_size < log.tell():
                    log.seek(0)
                *lines, text = (text + log.read()).split(b"\n")
                for line in lines:
                    self._hear(receiver, line.decode(errors="replace"))
                if log.tell() > confirmation.TAIL and not ended:
                    text += self._shorten_log(receiver, log)
                if self.stopping:
                    if receiver.initiated:
                        receiver.decoder.tend(self.spool, self.settings, tended, final=True)
                    self._end(receiver)
                    raise Stopped
                if ended:
                    return
                if self._outage and receiver.initiated and time.monotonic() - receiver.initiated >= STEADY:
                    self.talk.info("streaming again")
                    self._outage = None
                if receiver.initiated:
                    tended = receiver.decoder.tend(self.spool, self.settings, tended)
                self._wait(1.0 if receiver.initiated else 0.05)  # its end wakes us up (SIGCHLD)

    def _shorten_log(self, receiver: Receiver, log: IO[bytes]) -> bytes:
        """Empty the log of a receiver that is stopped meanwhile, so that no word is lost; return what was not read."""
        receiver.child.send_signal(signal.SIGSTOP)
        try:
            os.waitid(os.P_PID, receiver.child.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
            rest = log.read()
            confirmation.shorten(self.archive.spool)
        finally:
            receiver.child.send_signal(signal.SIGCONT)
        return rest

    def _hear(self, receiver: Receiver, line: str) -> None:
        if line.startswith("\t"):  # what libpq explains
            return
        line = line.removeprefix(f"{RECEIVER}: ").removeprefix("error: ").removeprefix("fatal: ").strip()
        if line == "streaming initiated":
            receiver.initiated = time.monotonic()
            self.talk.note("streaming")
            notify("READY=1", f"STATUS=streaming from {format_lsn(receiver.position)}")
        elif line.startswith("confirming write up to "):
            notify(f"STATUS={line}")
        elif line and line != "disconnected" and not line.startswith("starting log streaming at "):
            receiver.refused = receiver.refused or ("START_REPLICATION" in line and receiver.initiated is None)
            receiver.last = f"{receiver.last}; {line}" if receiver.last else line

    def _end(self, receiver: Receiver) -> None:
        receiver.child.send_signal(signal.SIGINT)
        try:
            receiver.child.wait(STOP_WAIT)
        except subprocess.TimeoutExpired:
            receiver.child.kill()
            receiver.child.wait()

    def _tidy(self) -> None:
        """Leave a clean spool; where that cannot be, the next start does it."""
        lock = files.Lock(self.spool.rotate_lock, "a rotation is running", wait=STOP_WAIT)
        with suppress(ScribeError, OSError), lock:
            if self.archive.exists() and not receivers(self.spool):
                recovery.tidy(self.archive)
                confirmation.settle(self.archive.spool)

    def _begin_outage(self, text: str) -> None:
        if self._outage is None:
            self.talk.warn(f"{text}; trying again until it works")
            notify(f"STATUS=waiting: {text}")
            self._told, self._outage_began = {text}, time.monotonic()
        elif text not in self._told and time.monotonic() - self._outage_began > LASTING:
            self.talk.warn(f"still waiting: {text}")
            notify(f"STATUS=waiting: {text}")
            self._told.add(text)
        elif text != self._outage:
            self.talk.note(text)
        self._outage = text

    # --- time ---------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        """Tell the service manager that we live. Raises Stopped when we shall stop."""
        if self._watchdog and time.monotonic() - self._alive_said >= self._watchdog:
            notify("WATCHDOG=1")
            self._alive_said = time.monotonic()
        if self.stopping:
            raise Stopped

    def _wait(self, seconds: float) -> None:
        """Wait for a signal or for the time to pass."""
        if self._watchdog:
            seconds = min(seconds, self._watchdog)
        select.select([self._wake], [], [], seconds)
        with suppress(BlockingIOError):
            os.read(self._wake, 4096)
        if not self.stopping:
            self._tick()

    def _sleep(self, seconds: float) -> None:
        """Wait so many seconds. Raises Stopped when we shall stop."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._wait(left)
            self._tick()
        self._tick()
