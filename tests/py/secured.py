"""A server as docs/security.md wants it: TLS, scram, the roles of sql/roles.sql; and a watch for secrets."""

from __future__ import annotations

import os
import shlex
import subprocess
import threading
import time
from pathlib import Path

from cluster import ROOT, Cluster, install_decoder

SECRET = "Xyzzy-Tr0ub4dor"  # of every role; must be found nowhere
CLIENT_PROGRAMS = {"pg_recvlogical", "pg_dump", "pg_dumpall", "psql", "pg_restore"}
ROLES = ("scribe_stream", "scribe_dump", "scribe_monitor", "scribe_restore")


def make_certificates(directory: Path, host: str) -> None:
    """Make root.crt, and server.crt and server.key for host that it has signed."""
    config = directory / "server.ext"
    config.write_text(f"subjectAltName = DNS:{host}\n")
    key = ["-newkey", "rsa:2048", "-nodes"]
    commands = [
        ["req", "-x509", "-days", "2", *key, "-subj", "/CN=root", "-keyout", "root.key", "-out", "root.crt"],
        ["req", *key, "-subj", f"/CN={host}", "-keyout", "server.key", "-out", "server.csr"],
        ["x509", "-req", "-in", "server.csr", "-CA", "root.crt", "-CAkey", "root.key", "-set_serial", "1", "-days", "2"]
        + ["-extfile", config.name, "-out", "server.crt"],
    ]
    for command in commands:
        subprocess.run(["openssl", *command], cwd=directory, capture_output=True, check=True)


class SecuredServer:
    """A cluster that the roles of sql/roles.sql enter by TLS and password alone; and files that name it for libpq."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.cluster = Cluster()
        make_certificates(directory, "localhost")

    def create(self, dbname: str) -> None:
        """Make the cluster, the database and the roles, as a superuser does once."""
        cluster = self.cluster
        install_decoder(cluster.pg_config)
        cluster.create()
        for name in ("server.crt", "server.key"):
            target = cluster.data / name
            target.write_bytes((self.directory / name).read_bytes())
            target.chmod(0o600)
            if cluster.user:
                os.chown(target, cluster.user.pw_uid, cluster.user.pw_gid)
        cluster.createdb(dbname)
        for name, database in (("capture", dbname), ("roles", dbname), ("roles_restore", "postgres")):
            self.superuser(database, "-v", "large_objects=on", "-f", ROOT / f"sql/{name}.sql")
        for role in ROLES:
            cluster.query(f"ALTER ROLE {role} PASSWORD '{SECRET}'")
        lines = (ROOT / "etc/pg_hba.conf.example").read_text().replace("192.0.2.10", "127.0.0.1")
        (cluster.data / "pg_hba.conf").write_text(f"{lines}local all all trust\n")
        with open(cluster.data / "postgresql.conf", "a", encoding="utf-8") as conf:
            conf.write("ssl = on\npassword_encryption = 'scram-sha-256'\n")
        cluster.query("SELECT pg_reload_conf()")
        self._write_client_files()

    def superuser(self, dbname: str, *arguments: object) -> None:
        """Run psql as the superuser on the server's own host."""
        command = [f"{self.cluster.bindir}/psql", "-XqAt", "-o", os.devnull, "-d", dbname, *map(str, arguments)]
        subprocess.run(command, env=self.cluster.env, check=True)

    def _write_client_files(self) -> None:
        service = (ROOT / "etc/pg_service.conf.example").read_text().replace("db.example.org", "localhost")
        service = service.replace("5432", str(self.cluster.port))
        service = service.replace("/etc/scribe/root.crt", str(self.directory / "root.crt"))
        (self.directory / "pg_service.conf").write_text(service)
        passwords = (ROOT / "etc/pgpass.example").read_text().replace("db.example.org", "localhost")
        passwords = passwords.replace("5432", str(self.cluster.port)).replace("CHANGE-ME", SECRET)
        (self.directory / "pgpass").write_text(passwords)
        (self.directory / "pgpass").chmod(0o600)

    @property
    def env(self) -> dict[str, str]:
        """Return an environment in which PGSERVICE says the rest."""
        plain = {name: value for name, value in self.cluster.env.items() if not name.startswith("PG")}
        return plain | {
            "PGSERVICEFILE": str(self.directory / "pg_service.conf"),
            "PGPASSFILE": str(self.directory / "pgpass"),
        }


class CommandLineWatch(threading.Thread):
    """Keeps the command lines that hold the secret, of every process that it sees, and of every program that is noted.

    A program that ends within milliseconds may never be seen; those of `paths` write their command lines down first.
    """

    def __init__(self, secret: str, bindir: str, directory: Path) -> None:
        super().__init__(daemon=True)
        self.secret = secret.encode()
        self._found: set[bytes] = set()
        self._ended = threading.Event()
        self._noted = directory / "noted"
        self._noted.touch()
        self.path = directory / "noting"
        self.path.mkdir()
        for name in CLIENT_PROGRAMS:
            program = self.path / name
            note = f"printf '%s\\n' \"{name} $*\" >> {shlex.quote(str(self._noted))}"
            program.write_text(f'#!/bin/sh\n{note}\nexec {shlex.quote(f"{bindir}/{name}")} "$@"\n')
            program.chmod(0o755)

    @property
    def programs(self) -> set[str]:
        """The names of the client programs that ran."""
        return CLIENT_PROGRAMS & {line.partition(" ")[0] for line in self._noted.read_text().splitlines()}

    @property
    def found(self) -> set[bytes]:
        """The command lines with the secret in them."""
        return self._found | {line for line in self._noted.read_bytes().splitlines() if self.secret in line}

    def run(self) -> None:
        while not self._ended.is_set():
            for entry in os.scandir("/proc"):
                if not entry.name.isdigit():
                    continue
                try:
                    line = Path(f"/proc/{entry.name}/cmdline").read_bytes()
                except OSError:
                    continue
                if self.secret in line:
                    self._found.add(line)
            time.sleep(0.02)

    def stop(self) -> None:
        """End it."""
        self._ended.set()
        self.join()
