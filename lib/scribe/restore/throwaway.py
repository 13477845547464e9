"""A throw-away PostgreSQL cluster: private, reached through a socket only, gone with the program that made it."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import glob
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psycopg
from psycopg import pq

from scribe.archive.layout import Base
from scribe.common import files
from scribe.common.errors import ScribeError, TryAgainError, UsageError
from scribe.common.postgres import OWN_ROLE, find_program
from scribe.common.process import die_with
from scribe.restore.preloads import Preloads
from scribe.restore.target import EVENT_TRIGGERS_SINCE, read_meta

ROLE = "pg_scribe"  # the bootstrap superuser: of names that begin with pg_, no source can have one of its own
_BORN = "scribe_rehearsal"  # what initdb calls it, which takes no such name
PREFIX = "scribe-rehearsal-"
START_WAIT = 120.0  # seconds
_USERS = ("scribe-rehearsal", "nobody")  # never postgres, who may be let in to the source without a password
_PR_SET_NO_NEW_PRIVS = 38
# What a server is given of our environment: code of the source's users reads it there, and who starts us may have the
# keys of an object store in it, or passwords of whatever else he works with.
_FOR_SERVER = re.compile(r"PATH|TZ|(?:LD|ASAN|LSAN|UBSAN)_[A-Z_]+")
IN_PLACE_SINCE = 15  # major version
_SOCKET_PATH = 90  # bytes a socket's directory may have
SETTINGS = {
    "listen_addresses": "",
    "dynamic_shared_memory_type": "mmap",  # in its files, which go with it, and not in /dev/shm, if somebody kills it
    "unix_socket_permissions": "0700",
    "fsync": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "4GB",
    "max_locks_per_transaction": "1024",
    "max_prepared_transactions": "0",
    "log_min_messages": "warning",
}


class Cluster:
    """A running cluster. env: for client programs; make_directory(): one that the server may use."""

    def __init__(self, directory: Path, bindir: Path, user: pwd.struct_passwd | None, *, shared: bool = False) -> None:
        self.directory, self.bindir, self.user, self.shared = directory, bindir, user, shared
        self.data = directory / "data"
        self.sockets = directory / "s"
        self.log = directory / "log"

    @property
    def env(self) -> dict[str, str]:
        """The environment of client programs: this cluster and its programs, none of the caller's settings."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PG", "SCRIBE_"))}
        path = f"{self.bindir}:{os.environ.get('PATH', '/usr/bin:/bin')}"
        # A server that an archive's code has taken over gets no password of the caller's by asking for one.
        nothing = {"PGPASSFILE": str(self.directory / "no-passwords")}
        where = {"PGHOST": str(self.sockets), "PGPORT": "5432", "PGUSER": ROLE, "PGOPTIONS": OWN_ROLE}
        return inherited | nothing | where | {"PATH": path}

    def make_directory(self, name: str) -> Path:
        """Make a directory (mode 0700) that belongs to the server's user."""
        path = self.directory / name
        path.mkdir(mode=files.DIRECTORY_MODE)
        if self.user is not None:
            os.chown(path, self.user.pw_uid, self.user.pw_gid, follow_symlinks=False)
        return path

    def popen(self, command: Sequence[str], log: int) -> subprocess.Popen[bytes]:
        """Start one of the server's programs as the server's user; it does not outlive this process."""
        user = self.user
        return subprocess.Popen(
            command,
            cwd="/",
            env={k: v for k, v in self.env.items() if _FOR_SERVER.fullmatch(k)} | {"LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            user=user.pw_uid if user else None,
            group=user.pw_gid if user else None,
            extra_groups=[] if user else None,
            start_new_session=True,  # Ctrl-C at a terminal is for us alone
            preexec_fn=functools.partial(_confine, os.getpid()),  # noqa: PLW1509  (no thread has been started)
        )

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Make this cluster the one that libpq's environment names, for this process and its children."""
        outside = dict(os.environ)
        os.environ.clear()
        os.environ.update(self.env)
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(outside)

    def map_tablespaces(self, base: Base) -> list[str]:
        """Return OLD=NEW for each of a base's tablespaces, below this cluster: the source's may be on this host."""
        spaces = [space["location"] for space in read_meta(base).get("tablespaces", []) if space.get("location")]
        return [f"{old}={self.make_directory(f'space{number}')}" for number, old in enumerate(spaces)]

    def find_program(self, name: str) -> str:
        """Return a client program's path: the server's own, else that on PATH. Raises UsageError."""
        own = self.bindir / name
        return str(own) if own.exists() else find_program(name)

    def lines(self) -> list[str]:
        """Return what the server's programs said."""
        return self.log.read_text(errors="replace").strip().splitlines() if self.log.exists() else []

    def last_line(self) -> str:
        """Return the last thing the server's programs said."""
        return (self.lines() or ["it said nothing"])[-1]


def _confine(parent: int) -> None:
    """In a child: it dies with its parent, and nothing that it runs gains rights by running another program."""
    die_with(parent)
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


@contextlib.contextmanager
def throwaway(
    major: int, directory: str | None = None, preloads: Preloads | None = None, *, shared: bool = False
) -> Iterator[Cluster]:
    """Make a cluster of that major version or a newer one for one block; directory: where, else the system's choice.

    preloads: what it loads, as far as it is there; it tells afterwards what was not; shared: with the other members of
    our group, who may connect to it.

    Raises UsageError where nothing is installed for it, ScribeError where it does not start.
    """
    with unused(major, directory, shared=shared) as cluster, served(cluster, preloads or Preloads()):
        yield cluster


@contextlib.contextmanager
def unused(major: int, directory: str | None = None, *, shared: bool = False) -> Iterator[Cluster]:
    """Make the files of a cluster for one block, as throwaway() does, without a server. Raises as it does."""
    bindir, user = find_bindir(major), find_user()
    parent = files.scratch_directory(directory)
    remove_abandoned(parent)
    path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    try:
        with files.DirectoryLock(path, "another program removes it", shared=False):
            path.chmod(0o711)  # the server's user has to pass through, and can see no name in it
            cluster = Cluster(path, bindir, user, shared=shared)
            make_cluster(cluster)
            yield cluster
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def duplicated(cluster: Cluster) -> Iterator[Cluster]:
    """Make another cluster of the files of one in which no server runs, for one block. Raises ScribeError."""
    copy = Cluster(cluster.make_directory("copy"), cluster.bindir, cluster.user)
    try:
        _check_sockets(copy)
        copy.make_directory("s")
        with copy.log.open("ab") as log:
            done = subprocess.run(["cp", "-a", str(cluster.data), str(copy.data)], stdout=log, stderr=log, check=False)
        if done.returncode != 0:
            raise ScribeError(f"could not make a cluster: {copy.last_line()}")
        yield copy
    finally:
        shutil.rmtree(copy.directory, ignore_errors=True)


def make_cluster(cluster: Cluster) -> None:
    """Make the files of a cluster in its directory. Raises ScribeError."""
    _check_sockets(cluster)
    for name in ("data", "s"):
        cluster.make_directory(name)
    if cluster.shared:
        cluster.sockets.chmod(0o710)
    with cluster.log.open("ab") as log:
        words = ["-D", str(cluster.data), "-A", "trust", "-U", _BORN, "-N", "-E", "UTF8", "--no-locale"]
        initdb = cluster.popen([str(cluster.bindir / "initdb"), *words], log.fileno())
        try:
            status = initdb.wait()
        except BaseException:
            _end(initdb)
            raise
        if status != 0:
            raise ScribeError(f"could not make a cluster: {cluster.last_line()}")


def _check_sockets(cluster: Cluster) -> None:
    if len(str(cluster.sockets).encode()) > _SOCKET_PATH:
        raise UsageError(f'the path "{cluster.directory}" is too long for a socket', "Name a shorter one: --directory.")


@contextlib.contextmanager
def served(cluster: Cluster, preloads: Preloads, *, last: int = signal.SIGQUIT) -> Iterator[None]:
    """Run the server of a cluster for one block. last: how it ends; by default at once, for nothing is to be kept."""
    server = _start(cluster, preloads)
    try:
        yield
    finally:
        _end(server, last)


def _end(server: subprocess.Popen[bytes], last: int = signal.SIGQUIT) -> None:
    server.send_signal(last)
    server.wait()


def _start(cluster: Cluster, preloads: Preloads) -> subprocess.Popen[bytes]:
    """Start the server with the libraries that it can load."""
    while True:
        options = [f"--{name}={value}" for name, value in SETTINGS.items()]
        options += [f"--unix_socket_directories={cluster.sockets}", *preloads.options()]
        options += ["--unix_socket_permissions=0770"] if cluster.shared else []
        # developers have tablespaces within the server's directory
        options += ["--allow_in_place_tablespaces=on"] if major_of(cluster.bindir) >= IN_PLACE_SINCE else []
        options += ["--event_triggers=off"] if major_of(cluster.bindir) >= EVENT_TRIGGERS_SINCE else []
        with cluster.log.open("ab") as log:
            server = cluster.popen([str(cluster.bindir / "postgres"), "-D", str(cluster.data), *options], log.fileno())
        try:
            _await(cluster, server)
            _rename_superuser(cluster)
        except ScribeError as error:
            _end(server)
            if isinstance(error, TryAgainError) or not preloads.leave_out(cluster.lines()):
                raise
        except BaseException:
            _end(server)
            raise
        else:
            return server


def _await(cluster: Cluster, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_WAIT
    where = _where(cluster, ROLE).encode()
    while pq.PGconn.ping(where) != pq.Ping.OK:
        if server.poll() is not None:
            raise ScribeError(f"could not start the throw-away cluster: {cluster.last_line()}")
        if time.monotonic() > deadline:
            raise TryAgainError(f"the throw-away cluster did not start within {START_WAIT:g} s")
        time.sleep(0.05)


def _rename_superuser(cluster: Cluster) -> None:
    """Give the superuser of a new cluster the name that no role of a source's can have. Raises ScribeError."""
    with contextlib.suppress(psycopg.OperationalError), psycopg.connect(_where(cluster, ROLE)):
        return
    try:
        with psycopg.connect(_where(cluster, _BORN), options="-c allow_system_table_mods=on") as conn:
            conn.execute("UPDATE pg_catalog.pg_authid SET rolname = %s WHERE oid = 10", [ROLE])
    except psycopg.Error as error:
        raise ScribeError(f"could not name the superuser of the throw-away cluster: {error}") from None


def _where(cluster: Cluster, user: str) -> str:
    return f"host={cluster.sockets} port=5432 user={user} dbname=postgres"


def remove_abandoned(parent: Path) -> None:
    """Remove what a run that was killed has left; those of others and of runs at work are left alone."""
    for path in parent.glob(f"{PREFIX}*"):
        if path.is_symlink() or not path.is_dir() or path.stat().st_uid != os.geteuid():
            continue
        with (
            contextlib.suppress(TryAgainError, FileNotFoundError),
            files.DirectoryLock(path, "in use", shared=False),
        ):
            shutil.rmtree(path, ignore_errors=True)


def find_user() -> pwd.struct_passwd | None:
    """Return the user a server started by root runs as, None where we are not root. Raises UsageError."""
    if os.geteuid() != 0:
        return None
    for name in _USERS:
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise UsageError(f'there is no user "{_USERS[0]}" to run a server as', "Run this as an ordinary user, not as root.")


def find_bindir(major: int) -> Path:
    """Return a directory with a server's programs, of that version or newer: on PATH, else the oldest that will do."""
    on_path = [str(Path(found).parent) for name in ("initdb", "pg_ctl") if (found := shutil.which(name))]
    installed = sorted(glob.glob("/usr/lib/postgresql/*/bin") + glob.glob("/usr/pgsql-*/bin"), key=_number)
    for candidate in on_path + _by_pg_config() + installed:
        bindir = Path(candidate)
        if (bindir / "initdb").exists() and (bindir / "postgres").exists() and major_of(bindir) >= major:
            return bindir
    raise UsageError(
        f"could not find the programs of a PostgreSQL server of version {major} or newer",
        "Install the server's package on this host, or add its bin directory to PATH.",
    )


def _by_pg_config() -> list[str]:
    found = shutil.which("pg_config")
    return [subprocess.check_output([found, "--bindir"], text=True).strip()] if found else []


def _number(path: str) -> int:
    match = re.search(r"(\d+)/bin$", path)
    return int(match[1]) if match else 0


def major_of(bindir: Path) -> int:
    if not (bindir / "postgres").exists():
        return 0
    said = subprocess.run([bindir / "postgres", "--version"], capture_output=True, text=True, check=False).stdout
    match = re.search(r"\(PostgreSQL\) (\d+)", said)
    return int(match[1]) if match else 0
