"""Everything but the capture's installation works without superuser, over TLS, and no secret gets anywhere.

One database goes the whole way once, by the roles of sql/roles.sql and the lines of etc/*.example; the tests look at
what came of it.
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cluster import ROOT, State, find_pg_config, poll
from compare import assert_equal
from secured import CLIENT_PROGRAMS, ROLES, SECRET, CommandLineWatch, SecuredServer


def _has_tls() -> bool:
    said = subprocess.run([find_pg_config(), "--configure"], capture_output=True, text=True, check=True).stdout
    return "--with-openssl" in said or "--with-ssl" in said


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="place: there is no openssl to make a certificate"),
    pytest.mark.skipif(not _has_tls(), reason="place: this server was built without TLS"),
]
ORIGIN = """
CREATE ROLE alice NOLOGIN;
CREATE ROLE bob LOGIN PASSWORD 'of-bob';
CREATE SCHEMA shop AUTHORIZATION alice;
SET ROLE alice;
CREATE TABLE shop.orders (id int PRIMARY KEY, item text);
INSERT INTO shop.orders SELECT n, 'item ' || n FROM generate_series(1, 100) AS n;
CREATE TABLE shop.secrets (owner text DEFAULT current_user, what text, PRIMARY KEY (owner, what));
ALTER TABLE shop.secrets ENABLE ROW LEVEL SECURITY;
ALTER TABLE shop.secrets FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON shop.secrets USING (owner = current_user);
INSERT INTO shop.secrets (what) VALUES ('one');
CREATE FUNCTION shop.fits(int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN true; END';
CREATE TABLE shop.paid (id int PRIMARY KEY REFERENCES shop.orders, CHECK (shop.fits(id)));
INSERT INTO shop.paid VALUES (1);
CREATE SEQUENCE shop.numbers;
GRANT SELECT ON shop.orders TO bob;
SELECT lo_from_bytea(4711, 'large');
RESET ROLE;
CREATE FUNCTION public.watch() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN NULL; END';
CREATE EVENT TRIGGER "watch; $$ it" ON ddl_command_start WHEN TAG IN ('CREATE TABLE', 'DROP TABLE')
    EXECUTE FUNCTION public.watch();
ALTER EVENT TRIGGER "watch; $$ it" ENABLE ALWAYS;
"""
CHANGES = """
SET ROLE alice;
ALTER TABLE shop.orders ADD COLUMN paid boolean DEFAULT false;
UPDATE shop.orders SET paid = true WHERE id % 2 = 0;
DELETE FROM shop.orders WHERE id = 42;
INSERT INTO shop.paid VALUES (2), (3);
CREATE TABLE shop.visits (page text);
INSERT INTO shop.visits VALUES ('/'), ('/');
DELETE FROM shop.visits WHERE ctid = '(0,1)';
INSERT INTO shop.secrets (what) VALUES ('two');
SELECT nextval('shop.numbers') FROM generate_series(1, 7);
SELECT lo_put(4711, 0, 'LARGER');
RESET ROLE;
COMMENT ON EVENT TRIGGER "watch; $$ it" IS 'watches';
DROP FUNCTION IF EXISTS public.nothing();
"""


@dataclass
class Way:
    """What is left of the one way through all programs: the server, the archive, and everything that was said."""

    server: SecuredServer
    archive: Path
    watch: CommandLineWatch
    said: dict[str, str] = field(default_factory=dict)

    def env(self, service: str) -> dict[str, str]:
        path = f"{self.watch.path}:{self.server.env['PATH']}"
        return self.server.env | {"SCRIBE_ARCHIVE": str(self.archive), "PGSERVICE": service, "PATH": path}

    def run(self, program: str, service: str, *arguments: str, status: int = 0, **variables: str) -> str:
        """Run a program by the role of a service; return what it said."""
        result = subprocess.run(
            [ROOT / "bin" / program, *arguments],
            env=self.env(service) | variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            umask=0,
            check=False,
        )
        text = result.stdout + result.stderr
        assert result.returncode == status, f"{program} {' '.join(arguments)} exited {result.returncode}\n{text}"
        self.said[f"{len(self.said)} {program} {' '.join(arguments)}"] = text
        return text


def psql(way: Way, script: str) -> None:
    """Run a script in the source as its superuser."""
    way.server.cluster.psql(script, "shop")


@pytest.fixture(scope="module")
def way(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Way]:
    """The whole way once: set up by a superuser, everything after that by the lesser roles."""
    directory = tmp_path_factory.mktemp("secured")
    server = SecuredServer(directory)
    if "PostgreSQL 14" in subprocess.check_output([server.cluster.pg_config, "--version"], text=True):
        pytest.skip("server version: sql/roles_restore.sql grants SET on parameters, which comes with 15")
    way = Way(server, directory / "archive", CommandLineWatch(SECRET, server.cluster.bindir, directory))
    try:
        way.server.create("shop")
        psql(way, ORIGIN)
        way.watch.start()
        way.run("scribe-init", "shop")
        log = open(directory / "stream.log", "wb")  # noqa: SIM115  it outlives this block
        stream = subprocess.Popen(
            [ROOT / "bin/scribe-stream", "-v"], env=way.env("shop-stream"), stdout=log, stderr=log, umask=0
        )
        try:
            poll(lambda: way.server.cluster.query("SELECT 1 FROM pg_replication_slots WHERE active"), 60, "streaming")
            psql(way, CHANGES)
            way.run("scribe-rotate", "shop", "--wait-lsn", "current", "-v")
            # by a variable instead of ~/.pgpass, and in directory format
            way.run("scribe-dump", "shop", "--format", "directory", PGPASSWORD=SECRET, PGPASSFILE=os.devnull)
            psql(way, "SET ROLE alice; INSERT INTO shop.orders VALUES (101, 'after the base')")
            psql(way, 'ALTER EVENT TRIGGER "watch; $$ it" DISABLE')
            way.run("scribe-rotate", "shop", "--wait-lsn", "current")
            way.run("scribe-globals", "shop", "-v")
            way.run("scribe-meta", "shop")
            checks = "archive,stream,chain,base,server,slot,lag,wal,capture,identity,heartbeat"
            way.run("scribe-check", "shop-monitor", "--only", checks, "-v")
            way.run("scribe-verify", "shop")
        finally:
            stream.terminate()
            assert stream.wait(60) == 0
            log.close()
        yield way
    finally:
        if way.watch.is_alive():
            way.watch.stop()
        way.server.cluster.remove()


def state_without_owners(way: Way, dbname: str) -> State:
    """Return what a restore without superuser keeps: not owners, and no event triggers."""
    state = way.server.cluster.dump(dbname)
    text = "\n".join(state["schema"]) + "\n"
    text = re.sub(r"(?m)^(CREATE|ALTER|COMMENT ON) EVENT TRIGGER [^\n]*(\n  [^\n]*)*\n", "", text)
    state["schema"] = [line for line in text.splitlines() if " OWNER TO " not in line]
    return {key: [re.sub(r"^owner \S+ ", "", line) for line in lines] for key, lines in state.items()}


def read_plain(path: Path) -> bytes:
    """Return what is in a file, compressed or not."""
    if path.suffix == ".zst":
        return subprocess.check_output(["zstdcat", path])
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def test_no_role_is_a_superuser(way):
    found = way.server.cluster.query("SELECT rolname, rolsuper FROM pg_roles WHERE rolname LIKE 'scribe%'")
    assert dict(found) == dict.fromkeys(ROLES, False)


@pytest.mark.parametrize("which", ["first", "second"])  # plain SQL, and pg_dump's directory format
def test_a_role_that_is_no_superuser_restores_everything_but_owners_and_event_triggers(way, which):
    bases = sorted(path.name for path in (way.archive / "base").iterdir())
    target = f"copy_of_{which}"
    flags = ("--no-owner", "--no-globals", "--base", bases[which == "second"])
    said = way.run("scribe-restore", "restore", "-d", target, *flags)
    assert "event triggers are left out" in said
    assert_equal(state_without_owners(way, "shop"), state_without_owners(way, target))


def test_restoring_more_than_the_role_may_is_refused_before_anything_is_done(way):
    said = way.run("scribe-restore", "restore", "-d", "refused", status=2)
    assert "--no-owner and --no-globals" in said
    assert way.server.cluster.query("SELECT 1 FROM pg_database WHERE datname = 'refused'") == []


def test_what_changed_without_event_trigger_is_recorded_by_a_rotation_without_superuser(way):
    rows = way.server.cluster.query("SELECT statement FROM scribe.ddl_history WHERE tag = 'EVENT TRIGGER'", "shop")
    assert [row for row in rows if row[0].endswith(" DISABLE")]


def test_a_base_says_what_this_role_could_not_read(way):
    psql(way, "CREATE FOREIGN DATA WRAPPER wrapper; CREATE SERVER other FOREIGN DATA WRAPPER wrapper")
    psql(way, "CREATE USER MAPPING FOR bob SERVER other OPTIONS (password 'of-bob')")
    said = way.run("scribe-dump", "shop", "--no-prune")
    base = Path(said.splitlines()[-1] if said.startswith("scribe-dump:") else said.splitlines()[0])
    warning = "the options (passwords) of 1 user mappings are not in this base"
    assert warning in said and warning in (way.archive / "base" / base.name / "manifest.json").read_text()


def test_globals_hold_the_password_hashes_where_the_role_may_read_them(way):
    stored = [path.read_text() for path in way.archive.glob("base/*/globals.sql")]
    assert stored and all("PASSWORD 'SCRAM-SHA-256$" in text for text in stored)


def test_globals_without_passwords_say_so(way):
    said = way.run("scribe-globals", "shop-stream", "--stdout")
    assert "the globals hold no passwords" in said and "-- pg_scribe: without passwords" in said
    assert "PASSWORD '" not in said and "CREATE ROLE alice" in said


def test_the_password_is_in_no_command_line_file_or_message(way):
    assert way.watch.programs == CLIENT_PROGRAMS
    assert way.watch.found == set()
    assert [key for key, text in way.said.items() if SECRET in text] == []
    files = [path for path in [*way.archive.rglob("*"), way.archive.parent / "stream.log"] if path.is_file()]
    assert len(files) > 10 and [path for path in files if SECRET.encode() in read_plain(path)] == []
    assert SECRET not in way.server.cluster.log.read_text(errors="replace")


def test_password_hashes_are_in_the_globals_alone(way):
    files = [path for path in way.archive.rglob("*") if path.is_file()]
    hashed = [path for path in files if b"SCRAM-SHA-256$" in read_plain(path)]
    assert hashed and all(path.name == "globals.sql" or path.parent.name == "globals" for path in hashed)


def test_nobody_else_may_read_the_archive_whatever_the_umask(way):
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in [way.archive, *way.archive.rglob("*")]}
    assert [path for path, mode in modes.items() if mode != (0o700 if path.is_dir() else 0o600)] == []


def test_connections_without_tls_are_refused(way):
    said = way.run("scribe-init", "shop", "-d", "service=shop sslmode=disable", "--check-only", status=2)
    assert "reject" in said and "no encryption" in said


def test_a_server_with_another_certificate_is_refused(way, tmp_path):
    from secured import make_certificates

    make_certificates(tmp_path, "localhost")
    other = f"service=shop sslrootcert={tmp_path / 'root.crt'}"
    said = way.run("scribe-rotate", "shop", "-d", other, status=2)
    assert "certificate verify failed" in said


def test_a_certificate_for_another_host_is_refused(way):
    said = way.run("scribe-rotate", "shop", "-d", "service=shop host=127.0.0.1", status=2)
    assert 'does not match host name "127.0.0.1"' in said


def test_init_names_what_a_role_lacks(way):
    said = way.run("scribe-init", "shop-stream", "--check-only", status=1)
    assert re.search(r'failed +privileges: "scribe_stream" lacks pg_read_all_data, BYPASSRLS; .*sql/roles\.sql', said)


def test_a_flag_comes_before_what_the_service_says(way):
    said = way.run("scribe-init", "shop", "-U", "scribe_nobody", "--check-only", status=2)
    assert "scribe_nobody" in said
    assert '"nowhere"' in way.run("scribe-globals", "shop", "-d", "nowhere", "--stdout", status=2)


def test_a_service_that_is_not_there_is_named(way):
    said = way.run("scribe-globals", "nowhere", "-U", "x", "--stdout", status=2)
    assert 'definition of service "nowhere" not found' in said


def test_a_new_chain_needs_no_superuser(way):
    way.server.cluster.query("SELECT pg_drop_replication_slot('scribe_shop')")
    said = way.run("scribe-init", "shop")
    assert "is ready" in said


def test_removing_the_capture_takes_a_superuser_and_changes_nothing_without(way):
    said = way.run("scribe-init", "shop", "--remove", status=2)
    assert "the capture objects can only be removed by a superuser" in said
    assert way.server.cluster.query("SELECT slot_name FROM pg_replication_slots") == [("scribe_shop",)]
