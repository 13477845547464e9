"""Private PostgreSQL clusters for tests and the demo.

A cluster lives in one directory of its own under $TMPDIR, listens on a free port, and never collides with another one.
Servers refuse to run as root: started by root, it belongs to postgres (or nobody); programs run as the caller.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "lib"))  # for programs that do not run under pytest, which knows it

from compare import DUMP_OPTIONS, State, drop_unlogged, dump_state  # noqa: E402

SETTINGS = {
    "fsync": "off",
    # In the data directory: a server that was killed would leave it behind in /dev/shm.
    "dynamic_shared_memory_type": "mmap",
    "wal_level": "logical",
    "max_wal_senders": "20",
    "max_replication_slots": "20",
    "max_prepared_transactions": "20",
    "max_connections": "60",
    "shared_buffers": "64MB",
    "listen_addresses": "127.0.0.1",
    "log_line_prefix": "%m [%p] %q%d %a ",
    "log_min_messages": "warning",
}


# Before a command: it takes these signals as they come from a terminal, even if the tests run under nohup or as a job.
HEARING = ("env", "--default-signal=INT,HUP")


def poll(condition: Callable[[], Any], timeout: float = 30, what: str = "the condition") -> Any:
    """Return the first true value of condition(); fail after timeout seconds."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not come about within {timeout} s")
        time.sleep(0.05)
    return value


def short_place() -> str:
    """Return $TMPDIR, or /tmp if a socket in a directory there could have a longer path than the 107 bytes allowed."""
    place = tempfile.gettempdir()
    return place if len(place) <= 50 else "/tmp"


def find_pg_config() -> str:
    """Return the pg_config of the server to test: $PG_CONFIG, else the newest one with its headers."""
    given = os.environ.get("PG_CONFIG")
    if not given and os.environ.get("PG_BINDIR"):
        given = os.path.join(os.environ["PG_BINDIR"], "pg_config")
    found = given or subprocess.check_output([ROOT / "tools/find-pg-config"], text=True).strip()
    if not found:
        raise RuntimeError('no PostgreSQL server found; run "tools/install-dependencies.sh" as root')
    return found


def install_decoder(pg_config: str) -> None:
    """Build and install the decoder of this tree for that server; cheap when it is there already."""
    with contextlib.suppress(OSError):
        pkglibdir = Path(subprocess.check_output([pg_config, "--pkglibdir"], text=True).strip())
        oldest = min((pkglibdir / f"{library}.so").stat().st_mtime for library in ("scribe_decoder", "scribe_capture"))
        newest_source = max(path.stat().st_mtime for path in (ROOT / "decoder").rglob("*.[ch]"))
        if not os.access(pkglibdir, os.W_OK) and oldest > newest_source:
            return
    subprocess.run(
        [ROOT / "tools/build-decoder", "--install"],
        env=os.environ | {"PG_CONFIG": pg_config},
        stdout=subprocess.DEVNULL,
        check=True,
    )


def _server_user() -> pwd.struct_passwd | None:
    """Return the user a server started by root runs as, None when we are not root."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class ServerError(Exception):
    """A program of the server failed; the message holds what it and the server's log said."""


class Cluster:
    """A private cluster. After create(): env, connect(), psql(), createdb(), dump(), stop(), start(), remove()."""

    def __init__(self, pg_config: str | None = None, directory: Path | None = None) -> None:
        self.pg_config = pg_config or find_pg_config()
        self.bindir = subprocess.check_output([self.pg_config, "--bindir"], text=True).strip()
        self.user = _server_user()
        self.directory = directory or Path(tempfile.mkdtemp(prefix="scr", dir=short_place()))
        self.data = self.directory / "data"
        self.log = self.directory / "log"
        self.host = str(self.directory)
        self.port = 0
        self.server_env: dict[str, str] = {}  # what the server's own programs get beside the caller's environment

    # --- life ---------------------------------------------------------------------------------------------------

    def create(self, **settings: str) -> Cluster:
        """Make the cluster and start it; settings are written to postgresql.conf."""
        self.directory.chmod(0o755)
        if self.user:
            os.chown(self.directory, self.user.pw_uid, self.user.pw_gid)
        self.server_program(
            "initdb", "-N", "-D", self.data, "-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-locale"
        )
        lines = {**SETTINGS, "unix_socket_directories": self.host, **settings}
        with open(self.data / "postgresql.conf", "a", encoding="utf-8") as conf:
            conf.writelines(f"{key} = '{value}'\n" for key, value in lines.items())
        self.start()
        return self

    def start(self) -> None:
        """Start the server; before the first success, another port is tried when somebody was quicker."""
        for attempt in range(5):
            port = self.port or _free_port()
            try:
                self.server_program("pg_ctl", "start", "-w", "-s", "-D", self.data, "-l", self.log, "-o", f"-p {port}")
                self.port = port
                return
            except ServerError:
                if self.port or attempt == 4:
                    raise

    def stop(self, mode: str = "fast") -> None:
        """Stop the server: "smart", "fast" or "immediate"."""
        self.server_program("pg_ctl", "stop", "-w", "-s", "-D", self.data, "-m", mode)

    def restart(self, mode: str = "fast") -> None:
        """Stop and start on the same port."""
        self.stop(mode)
        self.start()

    def running(self) -> bool:
        """Say whether a postmaster is there."""
        return (self.data / "postmaster.pid").exists()

    def remove(self, keep_files: bool = False) -> None:
        """Stop the server if it runs, and delete everything unless keep_files."""
        if self.running():
            with contextlib.suppress(ServerError):
                self.stop("immediate")
        if not keep_files:
            shutil.rmtree(self.directory, ignore_errors=True)

    def server_program(self, program: str, *arguments: object) -> str:
        """Run one of the server's programs as the server's user and return what it printed."""
        command = [f"{self.bindir}/{program}", *map(str, arguments)]
        if self.user:
            identity = ["--reuid", str(self.user.pw_uid), "--regid", str(self.user.pw_gid), "--clear-groups"]
            command = ["setpriv", *identity, *command]
        # pg_ctl's server keeps the standard streams: files, not pipes, or the reader would wait for the server's end.
        with tempfile.TemporaryFile("w+") as output:
            result = subprocess.run(
                command,
                cwd="/",
                env={k: v for k, v in self.env.items() if not k.startswith("PG")} | {"LC_ALL": "C", **self.server_env},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                check=False,
            )
            output.seek(0)
            text = output.read()
        if result.returncode:
            raise ServerError(f"{program} exited {result.returncode}\n{text}{self._last_log_lines()}")
        return text

    def _last_log_lines(self) -> str:
        return "".join(self.log.read_text(errors="replace").splitlines(True)[-10:]) if self.log.exists() else ""

    # --- use ----------------------------------------------------------------------------------------------------

    @property
    def env(self) -> dict[str, str]:
        """Return an environment for client programs: this cluster, these programs, no settings of the caller's."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PG", "SCRIBE_"))}
        path = f"{ROOT / 'bin'}:{self.bindir}:{os.environ.get('PATH', '/usr/bin:/bin')}"
        return inherited | {"PGHOST": self.host, "PGPORT": str(self.port), "PGUSER": "postgres", "PATH": path}

    def connect(self, dbname: str = "postgres", **parameters: Any) -> psycopg.Connection[Any]:
        """Return a psycopg connection in autocommit mode."""
        defaults: dict[str, Any] = {"host": self.host, "port": self.port, "user": "postgres", "client_encoding": "utf8"}
        parameters = defaults | {"autocommit": True} | parameters
        return psycopg.connect(dbname=dbname, **parameters)

    def query(self, statement: str, dbname: str = "postgres") -> list[tuple[Any, ...]]:
        """Run one statement and return its rows."""
        with self.connect(dbname) as conn:
            cursor = conn.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def value(self, statement: str, dbname: str = "postgres") -> Any:
        """Run one statement and return the first column of its first row."""
        return self.query(statement, dbname)[0][0]

    def psql(self, script: str, dbname: str = "postgres", check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a script through psql, unaligned, stopping at the first error; \\ir finds the files of sql/."""
        result = subprocess.run(
            [f"{self.bindir}/psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-d", dbname, "-f", "-"],
            cwd=ROOT / "sql",
            env=self.env,
            input=script,
            capture_output=True,
            text=True,
            check=False,
        )
        if check and result.returncode:
            raise AssertionError(f"psql failed in {dbname}: {result.stderr}")
        return result

    def createdb(self, name: str, template: str = "template0") -> None:
        """Create a database."""
        self._run_with_names("CREATE DATABASE {} TEMPLATE {}", name, template)

    def dropdb(self, name: str) -> None:
        """Drop a database that may not exist, with everybody and every subscription in it."""
        with self.connect() as conn:
            find = "SELECT subname::text FROM pg_subscription JOIN pg_database d ON d.oid = subdbid WHERE datname = %s"
            subscriptions = [row[0] for row in conn.execute(find, [name])]
        for subscription in subscriptions:
            for change in ("ALTER SUBSCRIPTION {} DISABLE", "ALTER SUBSCRIPTION {} SET (slot_name = NONE)"):
                self._run_with_names(change, subscription, dbname=name)
            self._run_with_names("DROP SUBSCRIPTION {}", subscription, dbname=name)
        self._run_with_names("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)

    def _run_with_names(self, statement: str, *names: str, dbname: str = "postgres") -> None:
        with self.connect(dbname) as conn:
            conn.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))

    @property
    def version_num(self) -> int:
        """Return 150020 for 15.20."""
        return int(self.value("SHOW server_version_num"))

    def dump(self, dbname: str, unlogged: bool = True, bindir: str | None = None) -> State:
        """Return everything two equal databases have in common; see compare.dump_state().

        unlogged: with the contents of unlogged tables, which the WAL does not have; bindir: of the pg_dump to use,
        since those of two versions print the same database differently.
        """
        with self.connect(dbname, options=DUMP_OPTIONS) as conn:
            bytes_only = conn.info.parameter_status("server_encoding") == "SQL_ASCII"
            encoding = "SQL_ASCII" if bytes_only else "UTF8"
            env = self.env | {"PGDATABASE": dbname, "PGCLIENTENCODING": encoding}
            state = dump_state(conn, f"{bindir or self.bindir}/pg_dump", env)
            if not unlogged:
                drop_unlogged(conn, state)
            return state


@contextlib.contextmanager
def temporary_cluster(**settings: str) -> Iterator[Cluster]:
    """A cluster for one block of code."""
    cluster = Cluster()
    try:
        yield cluster.create(**settings)
    finally:
        cluster.remove()
