"""The stream on a real server: whatever is killed or restarted, the segments hold every transaction once."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import zstandard
from archives import attach_archive
from cases import assert_both_restores_equal
from cluster import ROOT, Cluster, poll, temporary_cluster
from psycopg.conninfo import conninfo_to_dict
from source import Scribe

from scribe.archive.layout import Archive
from scribe.common.postgres import plugin_options
from scribe.common.process import find_receivers, from_json
from scribe.spool.contents import Spool
from scribe.stream.recovery import break_chain

_VALUE = re.compile(rb"^(?:\((\d+)|(\d+)\t|INSERT INTO public\.ticket \(id, pad\) VALUES \((\d+))", re.M)


class Writers:
    """Clients that insert numbers, one to a transaction, and remember which were acknowledged."""

    def __init__(self, cluster: Cluster, dbname: str, count: int = 3) -> None:
        self.cluster, self.dbname = cluster, dbname
        self.acknowledged: set[int] = set()
        self.tried: set[int] = set()
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self._write, args=(i * 10_000_000,)) for i in range(1, count + 1)]

    def __enter__(self) -> Writers:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        for thread in self.threads:
            thread.join()

    def go_on(self, count: int = 300) -> None:
        """Wait until so many more rows are acknowledged."""
        enough = len(self.acknowledged) + count
        poll(lambda: len(self.acknowledged) >= enough, 60, "more transactions")

    def _write(self, number: int) -> None:
        while not self.stopping.is_set():
            try:
                with self.cluster.connect(self.dbname) as conn:
                    while not self.stopping.is_set():
                        number += 1
                        self.tried.add(number)
                        conn.execute("INSERT INTO ticket VALUES (%s, repeat('x', %s))", [number, number % 300])
                        self.acknowledged.add(number)
            except psycopg.OperationalError:
                time.sleep(0.05)


@pytest.fixture
def attached(scribe: Scribe, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scribe]:
    """A source with a table, a slot and an archive; no capture, no base."""
    attach(scribe, monkeypatch)
    yield scribe


def attach(scribe: Scribe, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in scribe.env.items():
        if name.startswith("PG"):
            monkeypatch.setenv(name, value)
    with scribe.cluster.connect(scribe.dbname) as conn:
        conn.execute("CREATE TABLE ticket (id int PRIMARY KEY, pad text)")
        attach_archive(scribe.archive, conn, scribe.slot)


def transactions(archive: Path) -> list[bytes]:
    """Return the transactions of all segments, after checking that the segments continue each other."""
    text, position = b"", None
    for segment in Archive(archive).segments():
        assert position is None or position == segment.from_lsn
        position = segment.to_lsn
        plain = zstandard.ZstdDecompressor().decompressobj().decompress(segment.data.read_bytes())
        text += plain[plain.index(b"BEGIN; -- ") : plain.index(b"BEGIN; -- footer")]
    found = re.split(rb"(?<=\n)(?=BEGIN; -- xid )", text) if text else []
    assert all(re.search(rb"\nCOMMIT; -- end [0-9A-F/]+\n\Z", t) and t.count(b"COMMIT; --") == 1 for t in found)
    return found


def inserted(archive: Path) -> list[int]:
    """Return the numbers in the segments, in order; each transaction has one."""
    return [int(next(filter(None, m))) for t in transactions(archive) for m in _VALUE.findall(t)]


def check(scribe: Scribe, writers: Writers) -> None:
    """Compare the segments with the table: the same rows, each once, all that were acknowledged among them."""
    scribe.run("scribe-rotate", "--wait-lsn", "current")
    found = inserted(scribe.archive)
    there = {row[0] for row in scribe.cluster.query("SELECT id FROM ticket", scribe.dbname)}
    assert len(found) == len(set(found))
    assert set(found) == there >= writers.acknowledged
    assert len(there) > 100


def receiver(scribe: Scribe) -> int:
    """Return the pid of the pg_recvlogical at work."""

    def look() -> int | None:
        process = from_json(Spool(scribe.archive / "spool").read_processes().get("receiver"))
        return process.pid if process and process.alive() else None

    return int(poll(look, 30, "a receiver"))


@pytest.mark.slow
def test_killing_the_stream_loses_and_repeats_nothing(attached: Scribe) -> None:
    with Writers(attached.cluster, attached.dbname) as writers:
        for _ in range(5):
            attached.start_stream()
            writers.go_on()
            attached.kill_stream()
            poll(lambda: not find_receivers(attached.archive / "spool/stream.sql"), 10, "the receiver's end")
            attached.run("scribe-rotate")
    attached.start_stream()
    check(attached, writers)


@pytest.mark.slow
def test_killing_the_receiver_is_mended_without_a_person(attached: Scribe) -> None:
    attached.start_stream()
    with Writers(attached.cluster, attached.dbname) as writers:
        for _ in range(5):
            os.kill(receiver(attached), signal.SIGKILL)
            writers.go_on()
            attached.run("scribe-rotate")
    check(attached, writers)
    assert attached.stop_stream() == 0
    assert "trying again" in attached.log.read_text()


def test_terminated_and_stopped_connections_are_mended(attached: Scribe) -> None:
    attached.start_stream()
    with Writers(attached.cluster, attached.dbname) as writers:
        end = "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active"
        for _ in range(3):
            poll(lambda: attached.cluster.query(end), 30, "a walsender to end")
            writers.go_on()
    check(attached, writers)


@pytest.mark.slow
def test_a_server_that_crashes_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with temporary_cluster(fsync="on", autovacuum="off") as cluster:
        cluster.createdb("crash")
        scribe = Scribe(cluster, "crash", tmp_path / "archive")
        attach(scribe, monkeypatch)
        stream = scribe.start_stream()
        with Writers(cluster, "crash") as writers:
            for _ in range(4):
                writers.go_on()
                cluster.stop("immediate")
                cluster.start()
        assert stream.poll() is None
        check(scribe, writers)
        poll(lambda: "streaming again" in scribe.log.read_text(), 10, "word that it streams again")
        assert scribe.stop_stream() == 0
        scribe.close()


@pytest.mark.slow
def test_a_stream_that_crashes_the_server_ends_and_others_crashes_do_not_end_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"restart_after_crash": "on", "wal_sender_timeout": "1s"}
    with temporary_cluster(fsync="on", autovacuum="off", **settings) as cluster:
        cluster.createdb("crash")
        scribe = Scribe(cluster, "crash", tmp_path / "archive")
        attach(scribe, monkeypatch)
        stream = scribe.start_stream()

        def walsender() -> int | None:
            with contextlib.suppress(psycopg.Error):  # the server may be recovering
                for row in cluster.query("SELECT active_pid FROM pg_replication_slots WHERE active"):
                    return int(row[0])
            return None

        for number in range(3):  # the server gives up who is silent, without a word, and nothing has crashed
            silent = poll(walsender, 30, "a walsender")
            cluster.query(f"CREATE TABLE other_{number} ()", "crash")  # progress, so that it starts again at once
            with contextlib.suppress(ProcessLookupError):
                stopped = receiver(scribe)
                os.kill(stopped, signal.SIGSTOP)
                poll(lambda old=silent: walsender() != old, 30, "the end of a silent connection")
                os.kill(stopped, signal.SIGCONT)
        poll(walsender, 30, "a walsender")
        crashes = 0
        while crashes < 6:  # as soon as it streams, and also while it looks whether the server stands without it
            with contextlib.suppress(TimeoutError):
                poll(walsender, 2, "a walsender")
            with contextlib.suppress(psycopg.Error), cluster.connect("crash") as victim:
                os.kill(victim.info.backend_pid, signal.SIGKILL)
                crashes += 1
                poll(lambda: victim.execute("SELECT 1") is None, 30, "the server to crash")
        poll(walsender, 60, "a walsender")
        assert stream.poll() is None
        done: set[int] = set()
        while stream.poll() is None:
            if (pid := walsender()) is not None and pid not in done:
                os.kill(pid, signal.SIGKILL)
                done.add(pid)
        said = scribe.log.read_text()
        assert stream.returncode == 2 and len(done) <= 3, said
        assert "error: the server crashed 3 times in a row when the decoder had begun to work" in said
        assert "hint: The server's log has the crash. Nothing is lost up to there." in said
        assert Archive(scribe.archive).broken() is None
        with Writers(cluster, "crash") as writers:
            scribe.start_stream()
            writers.go_on()
        check(scribe, writers)
        scribe.close()


def test_a_huge_transaction_arrives_once_while_rotations_go_on(attached: Scribe) -> None:
    attached.start_stream()
    done = threading.Event()

    def write() -> None:
        attached.cluster.query(
            "INSERT INTO ticket SELECT i, repeat('y', 100) FROM generate_series(1, 300000) i", attached.dbname
        )
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    rotations = 0
    while not done.is_set() or rotations < 5:
        attached.run("scribe-rotate")
        rotations += 1
    writer.join()
    attached.run("scribe-rotate", "--wait-lsn", "current")
    whole = [t for t in transactions(attached.archive) if b"300000\t" in t]
    assert len(whole) == 1
    assert sorted(map(int, re.findall(rb"^\(?(\d+)(?:\t|, ')", whole[0], re.M)))[-1] == 300000
    assert b"-- rows 300000 inserted" in whole[0]


def test_a_stop_leaves_a_clean_spool_and_no_receiver(attached: Scribe) -> None:
    attached.start_stream()
    attached.cluster.query("INSERT INTO ticket VALUES (1)", attached.dbname)
    stream = attached.archive / "spool/stream.sql"
    poll(lambda: stream.stat().st_size, 10, "the transaction")
    pid = receiver(attached)
    assert attached.stop_stream() == 0
    assert not Path(f"/proc/{pid}").exists()
    assert stream.read_bytes().count(b"COMMIT; -- end") == 1
    assert json.loads((attached.archive / "spool/confirmed.json").read_text())["boot"] == "any"  # of no boot
    attached.run("scribe-rotate")
    assert inserted(attached.archive) == [1]


@pytest.mark.parametrize("decoder", ["scribe_decoder", "pgoutput"])
def test_a_large_rollback_that_the_stream_learns_of_late_does_not_stop_it(scribe: Scribe, decoder: str) -> None:
    scribe.settings["SCRIBE_DECODER"] = decoder
    scribe.cluster.psql(
        f"""CREATE TABLE item (id int PRIMARY KEY, pad text);
        ALTER DATABASE {scribe.dbname} SET logical_decoding_work_mem = '64kB';""",
        scribe.dbname,
    )
    scribe.run("scribe-init")
    scribe.cluster.psql(
        """BEGIN; SAVEPOINT s; INSERT INTO item VALUES (1); RELEASE s;
        INSERT INTO item SELECT g, repeat('x', 100) FROM generate_series(2, 5000) AS g; ROLLBACK;
        INSERT INTO item VALUES (6);
        BEGIN; SAVEPOINT s; INSERT INTO item SELECT g, repeat('x', 100) FROM generate_series(10, 5000) AS g;
        SAVEPOINT t; INSERT INTO item SELECT g, repeat('x', 100) FROM generate_series(6000, 9000) AS g; ROLLBACK TO s;
        INSERT INTO item SELECT g, repeat('y', 100) FROM generate_series(5000, 9000) AS g; COMMIT;""",
        scribe.dbname,
    )
    scribe.start_stream()
    scribe.run("scribe-rotate", "--wait-lsn", "current")
    scribe.cluster.psql("DELETE FROM item WHERE id = 6", scribe.dbname)
    scribe.run("scribe-rotate", "--wait-lsn", "current")
    copy = f"{scribe.dbname}_copy"
    try:
        scribe.run("scribe-restore", "-d", copy, "--no-globals")
        ours, theirs = (scribe.cluster.query("SELECT * FROM item ORDER BY id", name) for name in (scribe.dbname, copy))
        assert ours == theirs
    finally:
        scribe.cluster.query(f"DROP DATABASE IF EXISTS {copy}")


def test_the_receiver_goes_to_the_server_that_was_looked_at(attached: Scribe) -> None:
    there = attached.env["PGHOST"]
    several = {"PGHOST": f"{attached.archive},{there}", "PGPORT": f"1,{attached.env['PGPORT']}"}
    attached.start_stream(env=several)
    words = Path(f"/proc/{receiver(attached)}/cmdline").read_text().split("\0")
    (conninfo,) = (word.removeprefix("--dbname=") for word in words if word.startswith("--dbname="))
    assert conninfo_to_dict(conninfo).items() >= {"host": there, "port": str(attached.cluster.port)}.items()


def test_a_receiver_that_outlived_its_stream_is_ended_before_another_starts(attached: Scribe) -> None:
    """The kernel ends it with its scribe-stream; one that was started otherwise may be there all the same."""
    stream = attached.archive / "spool/stream.sql"
    command = [f"{attached.cluster.bindir}/pg_recvlogical", "--start", "-S", attached.slot, f"--file={stream}"]
    with attached.cluster.connect(attached.dbname) as conn:
        options = plugin_options(conn, "scribe_decoder")
    env = attached.env | {"PGOPTIONS": options}
    with subprocess.Popen([*command, "-d", attached.dbname], env=env, stderr=subprocess.DEVNULL) as stray:
        try:
            poll(lambda: find_receivers(stream), 30, "the stray")
            attached.start_stream(wait=False)
            assert stray.wait(30) is not None
        finally:
            stray.kill()
    poll(lambda: "which outlived its scribe-stream" in attached.log.read_text())
    attached.cluster.query("INSERT INTO ticket VALUES (1, 'x')", attached.dbname)
    receiver(attached)
    attached.run("scribe-rotate", "--wait-lsn", "current")
    assert inserted(attached.archive) == [1]


def test_the_timeline_is_on_record_before_anything_can_arrive(attached: Scribe, tmp_path: Path) -> None:
    """What comes from a new timeline would else be taken for the old one's, if everything is killed right then."""
    program = tmp_path / "bin/pg_recvlogical"
    program.parent.mkdir()
    program.write_bytes(b"\0 no program")
    program.chmod(0o755)
    env = {"PATH": f"{program.parent}:{attached.env['PATH']}"}
    (attached.archive / "spool/stream.json").unlink()
    assert "Exec format error" in attached.run("scribe-stream", check=False, env=env).stderr
    assert json.loads((attached.archive / "spool/stream.json").read_text())["timeline"] == 1


def test_a_second_stream_is_refused(attached: Scribe) -> None:
    attached.start_stream()
    result = attached.run("scribe-stream", check=False)
    assert result.returncode == 75
    assert "another scribe-stream is running" in result.stderr


def test_a_slot_that_another_program_reads_is_refused(attached: Scribe) -> None:
    command = [f"{attached.cluster.bindir}/pg_recvlogical", "--start", "--no-loop", "-d", attached.dbname]
    with attached.cluster.connect(attached.dbname) as conn:
        env = attached.env | {"PGOPTIONS": plugin_options(conn, "scribe_decoder")}
    with subprocess.Popen([*command, "--slot", attached.slot, "-f", "/dev/null"], env=env) as other:
        poll(lambda: attached.cluster.value("SELECT count(*) FROM pg_replication_slots WHERE active"), 10, "the other")
        result = attached.run("scribe-stream", check=False)
        other.kill()
    assert (result.returncode, "is in use by server process" in result.stderr) == (75, True)


def test_a_server_that_is_away_at_the_start_is_reported(attached: Scribe) -> None:
    result = attached.run("scribe-stream", check=False, env={"PGPORT": "1"})
    assert (result.returncode, result.stderr.count("scribe-stream: error: could not connect")) == (75, 1)


def test_an_archive_of_another_database_is_refused(attached: Scribe, database: str) -> None:
    for program in ("scribe-stream", "scribe-rotate"):
        result = attached.run(program, "-d", database, check=False)
        assert (result.returncode, "belongs to another database" in result.stderr) == (2, True)
    archive = Archive(attached.archive)
    archive.write_identity(archive.identity() | {"system_identifier": "1"})
    result = attached.run("scribe-stream", check=False)
    assert (result.returncode, "belongs to another server" in result.stderr) == (2, True)


def test_a_missing_slot_is_an_error(attached: Scribe) -> None:
    attached.cluster.query(f"SELECT pg_drop_replication_slot('{attached.slot}')")
    result = attached.run("scribe-stream", check=False)
    assert (result.returncode, "does not exist" in result.stderr) == (1, True)
    assert "does not exist" in json.loads((attached.archive / "broken.json").read_text())["reason"]


def test_an_archive_ahead_of_the_server_is_an_error(attached: Scribe) -> None:
    archive = Archive(attached.archive)
    archive.write_identity(archive.identity() | {"chain_from_lsn": "FF/0"})
    result = attached.run("scribe-stream", check=False)
    assert (result.returncode, "the server is older than the archive" in result.stderr) == (1, True)
    assert (attached.archive / "broken.json").exists()


def test_a_spool_that_vanished_breaks_the_chain(attached: Scribe) -> None:
    attached.start_stream(env={"SCRIBE_STATUS_INTERVAL": "1", "SCRIBE_FSYNC_INTERVAL": "1"})
    attached.cluster.query("INSERT INTO ticket VALUES (1)", attached.dbname)
    confirmed = f"SELECT confirmed_flush_lsn > %s FROM pg_replication_slots WHERE slot_name = '{attached.slot}'"
    start = Archive(attached.archive).identity()["chain_from_lsn"]
    poll(lambda: attached.cluster.value(confirmed.replace("%s", f"'{start}'")), 20, "a confirmation")
    attached.stop_stream()
    for path in (attached.archive / "spool").iterdir():
        if path.is_file():
            path.unlink()
    for _ in range(2):
        result = attached.run("scribe-stream", check=False)
        assert (result.returncode, "the chain is broken after" in result.stderr) == (1, True)
    assert json.loads((attached.archive / "broken.json").read_text())["lsn"] == start


def test_a_spool_that_vanished_before_anything_was_confirmed_is_made_anew(attached: Scribe) -> None:
    (attached.archive / "spool/spool.json").unlink()
    attached.start_stream()
    attached.cluster.query("INSERT INTO ticket VALUES (1)", attached.dbname)
    attached.run("scribe-rotate", "--wait-lsn", "current")
    assert inserted(attached.archive) == [1]


@pytest.mark.slow
def test_a_slot_without_its_wal_breaks_the_chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with temporary_cluster(max_slot_wal_keep_size="1MB", max_wal_size="32MB", min_wal_size="32MB") as cluster:
        cluster.createdb("lost")
        scribe = Scribe(cluster, "lost", tmp_path / "archive")
        attach(scribe, monkeypatch)
        for _ in range(4):
            cluster.query("SELECT pg_switch_wal() FROM pg_logical_emit_message(false, 'x', repeat('x', 1000))", "lost")
            cluster.query("CHECKPOINT")
        result = scribe.run("scribe-stream", check=False)
        assert (result.returncode, "is lost" in result.stderr) == (1, True)
        assert (scribe.archive / "broken.json").exists()


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="not root: cannot mount a small file system")
def test_a_full_disk_is_waited_for(attached: Scribe, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(small)], check=True)
    try:
        attached.archive.rename(tmp_path / "old")
        subprocess.run(["cp", "-a", str(tmp_path / "old"), str(small / "archive")], check=True)
        attached.archive = small / "archive"
        stream = attached.start_stream()
        many = "INSERT INTO ticket SELECT i, repeat(md5(i::text), 10) FROM generate_series({}) i"
        attached.cluster.query(many.format("1, 1000"), attached.dbname)
        attached.cluster.query(many.format("1001, 9000"), attached.dbname)
        poll(lambda: "could not write" in attached.log.read_text(), 30, "a full disk")
        assert stream.poll() is None
        subprocess.run(["mount", "-o", "remount,size=64m", str(small)], check=True)
        attached.run("scribe-rotate", "--wait-lsn", "current")
        found = inserted(attached.archive)
        assert sorted(found) == list(range(1, 9001))
        assert attached.stop_stream() == 0
    finally:
        attached.kill_streams()
        subprocess.run(["umount", "-l", str(small)], check=True)


def test_a_broken_chain_is_declared_once(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    assert archive.broken() is None
    break_chain(archive, "first", 16)
    break_chain(archive, "second", 32)
    known = archive.broken()
    assert known is not None and (known["reason"], known["lsn"]) == ("first", "0/10")
    archive.clear_broken()
    assert archive.broken() is None


def test_what_was_found_broken_stays_broken_though_its_cause_has_gone(attached: Scribe) -> None:
    break_chain(Archive(attached.archive), "somebody has put it right", 16)
    result = attached.run("scribe-stream", check=False)
    assert (result.returncode, "somebody has put it right" in result.stderr) == (1, True)


def test_moved_sequences_are_recorded_without_a_row(attached: Scribe) -> None:
    attached.cluster.query("CREATE SEQUENCE s", attached.dbname)
    attached.start_stream()
    attached.cluster.query("SELECT nextval('s') FROM generate_series(1, 5)", attached.dbname)
    attached.run("scribe-rotate")
    attached.run("scribe-rotate")
    (segment,) = Archive(attached.archive).segments()
    assert segment.manifest["sequences"] == [{"schema": "public", "name": "s", "last_value": 5, "is_called": True}]


def test_waiting_without_a_stream_is_refused(attached: Scribe) -> None:
    result = attached.run("scribe-rotate", "--wait-lsn", "current", "--timeout", "1", check=False)
    assert (result.returncode, "no stream is running" in result.stderr) == (75, True)
    assert attached.run("scribe-rotate", "--wait-lsn", "nonsense", check=False).returncode == 2


def test_waiting_ends_when_nothing_moves(attached: Scribe) -> None:
    attached.start_stream()
    os.kill(receiver(attached), signal.SIGSTOP)
    result = attached.run("scribe-rotate", "--wait-lsn", "current", "--timeout", "2", check=False)
    os.kill(receiver(attached), signal.SIGCONT)
    assert (result.returncode, "no progress" in result.stderr) == (75, True)


def test_a_server_that_is_away_leaves_sequences_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with temporary_cluster() as cluster:
        cluster.createdb("away")
        scribe = Scribe(cluster, "away", tmp_path / "archive")
        attach(scribe, monkeypatch)
        scribe.start_stream()
        cluster.query("INSERT INTO ticket VALUES (1)", "away")
        poll(lambda: (scribe.archive / "spool/stream.sql").stat().st_size, 10, "the transaction")
        cluster.stop("immediate")
        result = scribe.run("scribe-rotate", check=False)
        assert (result.returncode, "without the sequences' positions" in result.stderr) == (75, True)
        assert inserted(scribe.archive) == [1]
        scribe.kill_streams()


def test_programs_say_what_they_are(cluster: Cluster) -> None:
    for program in ("scribe-stream", "scribe-rotate"):
        for flag, text in (("--help", "usage: " + program), ("--version", program + " (pg_scribe)")):
            result = subprocess.run([ROOT / "bin" / program, flag], capture_output=True, text=True, check=True)
            assert result.stdout.startswith(text)
        result = subprocess.run([ROOT / "bin" / program, "--nonsense"], capture_output=True, text=True, check=False)
        assert result.returncode == 2


def test_rights_that_are_taken_away_meanwhile_are_told(scribe: Scribe, cluster: Cluster) -> None:
    """A restore follows the order of commits, in which a role has lost what it needs for an earlier statement."""
    cluster.psql(
        "CREATE ROLE scribe_test_maker; CREATE SCHEMA made; GRANT ALL ON SCHEMA made TO scribe_test_maker;"
        "CREATE TABLE t (id int PRIMARY KEY); GRANT SELECT ON t TO scribe_test_maker",
        scribe.dbname,
    )
    scribe.run("scribe-init")
    scribe.start_stream()
    for name, taken in (("first", "SELECT ON t"), ("second", "CREATE ON SCHEMA made")):
        with cluster.connect(scribe.dbname, autocommit=False) as maker:
            maker.execute(f"SET LOCAL ROLE scribe_test_maker; CREATE TABLE made.{name} (id int PRIMARY KEY)".encode())
            cluster.psql(f"REVOKE {taken} FROM scribe_test_maker", scribe.dbname)
            maker.commit()
        said = scribe.run("scribe-rotate", "--wait-lsn", "current").stderr
        assert ("CREATE TABLE by role scribe_test_maker may not be allowed" in said) == (name == "second")
    assert scribe.run("scribe-check", "--only", "ddl", check=False).returncode == 2
    cluster.psql("DROP OWNED BY scribe_test_maker; DROP ROLE scribe_test_maker", scribe.dbname)


@pytest.mark.parametrize("decoder", ["scribe_decoder", "pgoutput"])
def test_names_that_are_taken_away_meanwhile_are_told(scribe: Scribe, cluster: Cluster, decoder: str) -> None:
    """In the order of commits, an earlier statement comes after the type it names has got another name."""
    scribe.settings["SCRIBE_DECODER"] = decoder
    cluster.psql(
        "CREATE SCHEMA made; CREATE TYPE made.mood AS ENUM ('a'); CREATE DOMAIN \"Other\" AS int;"
        "CREATE TYPE gone AS (a int); CREATE SCHEMA s; CREATE TABLE s.t (id int PRIMARY KEY)",
        scribe.dbname,
    )
    scribe.run("scribe-init")
    scribe.start_stream()
    for statement, taken, told in (
        ("CREATE TABLE x (id int PRIMARY KEY, m made.mood)", "ALTER TYPE made.mood RENAME TO feeling", "dropped mood "),
        ('COMMENT ON DOMAIN "Other" IS $$$$', 'ALTER DOMAIN public . "Other" SET SCHEMA made', "dropped Other "),
        ("SET search_path = s; ALTER TABLE t ADD b int", "ALTER SCHEMA s RENAME TO s2", "dropped s "),
        # too long to be searched for any name
        (f"COMMENT ON TYPE gone IS '{'x' * (1 << 20)}'", 'ALTER DOMAIN made."Other" RENAME TO late', "dropped Other "),
        ("CREATE TABLE y (id int PRIMARY KEY, mood int)", "DROP TYPE /* , */ IF EXISTS no, gone", ""),
        ("CREATE TABLE z (id int PRIMARY KEY, feeling int)", "ALTER TYPE made.feeling ADD VALUE 'b'", ""),
    ):
        with cluster.connect(scribe.dbname, autocommit=False) as conn:
            conn.execute(statement.encode())
            cluster.psql(f"SET lock_timeout = '10s'; {taken}", scribe.dbname)
            conn.commit()
        said = scribe.run("scribe-rotate", "--wait-lsn", "current").stderr
        found = [line for line in said.splitlines() if " may find " in line]
        now = [line for line in found if "could not be recorded" not in line]  # else it is the last one's flag
        assert len(now) == bool(told) and told in "".join(now), (statement[:99], said)
    assert scribe.run("scribe-check", "--only", "ddl", check=False).returncode == 2


@pytest.mark.parametrize("decoder", ["scribe_decoder", "pgoutput"])
def test_what_a_rotation_holds_is_not_taken_away(scribe: Scribe, cluster: Cluster, decoder: str) -> None:
    """It records a table's owner, and a function of the same name gets another one before it has ended."""
    scribe.settings["SCRIBE_DECODER"] = decoder
    owner = f"{scribe.dbname}_owner"
    cluster.psql(
        "CREATE TABLE owned (id int PRIMARY KEY); CREATE FUNCTION owned() RETURNS int LANGUAGE sql AS 'SELECT 1';"
        f"CREATE ROLE {owner}",
        scribe.dbname,
    )
    scribe.run("scribe-init")
    scribe.start_stream()
    with cluster.connect(scribe.dbname, autocommit=False) as rotation:
        unseen = f"UPDATE pg_class SET relowner = '{owner}'::regrole WHERE oid = 'owned'::regclass"
        cluster.psql(unseen, scribe.dbname)
        rotation.execute("SELECT scribe.reconcile()")
        cluster.psql("SET lock_timeout = '10s'; ALTER FUNCTION owned() RENAME TO other", scribe.dbname)
        rotation.commit()
    said = scribe.run("scribe-rotate", "--wait-lsn", "current").stderr
    text = subprocess.check_output(["zstdcat", *scribe.segments()], text=True)
    assert f"ALTER TABLE public.owned OWNER TO {owner}" in text and " may find " not in said
    cluster.psql(f"ALTER TABLE owned OWNER TO postgres; DROP ROLE {owner}", scribe.dbname)


def test_rows_go_where_their_table_is_when_their_transaction_ends(scribe: Scribe, targets: tuple[str, str]) -> None:
    """ALTER SCHEMA waits for no change of rows, and is replayed before one whose transaction ends later."""
    cluster, dbname = scribe.cluster, scribe.dbname
    for schema in ("live", "staging"):
        cluster.psql(
            f"CREATE SCHEMA {schema}; CREATE TYPE {schema}.mood AS ENUM ('{schema}');"
            f"CREATE TABLE {schema}.t (id int PRIMARY KEY, m {schema}.mood[]);"
            f"CREATE TABLE {schema}.keyless (id int, p point); INSERT INTO {schema}.keyless VALUES (1, '(1,1)');"
            f"INSERT INTO {schema}.t VALUES (1, '{{{schema}}}')",
            dbname,
        )
    scribe.run("scribe-init")
    scribe.start_stream()
    with cluster.connect(dbname, autocommit=False) as conn, cluster.connect(dbname, autocommit=False) as own:
        conn.execute("INSERT INTO live.t VALUES (2, '{live}'); UPDATE live.t SET id = 10 WHERE id = 1")
        conn.execute("SAVEPOINT s; DELETE FROM live.keyless; INSERT INTO live.t VALUES (3, '{live}'); RELEASE s")
        own.execute("INSERT INTO staging.t VALUES (5, '{staging}')")
        cluster.psql("ALTER SCHEMA live RENAME TO old; CREATE SCHEMA other", dbname)
        scribe.run("scribe-rotate", "--wait-lsn", "current")
        scribe.stop_stream()
        scribe.start_stream()
        own.execute("ALTER SCHEMA staging RENAME TO live; INSERT INTO live.t VALUES (6, '{staging}')")
        own.commit()
        conn.execute("INSERT INTO old.t VALUES (4, '{live}')")
        conn.commit()
    scribe.run("scribe-rotate", "--wait-lsn", "current")
    assert_both_restores_equal(scribe, targets)
    assert cluster.value("SELECT count(*) FROM scribe.ddl_history WHERE NOT exact", dbname) == 0


def test_a_schema_renamed_under_a_schema_change_is_flagged(cluster: Cluster, database: str) -> None:
    cluster.psql("\\ir capture.sql\nCREATE SCHEMA live; CREATE TABLE live.t (id int PRIMARY KEY)", database)
    lost = "SELECT count(*) FROM scribe.ddl_history WHERE kind = 'lost'"
    with cluster.connect(database, autocommit=False) as conn:
        conn.execute("ALTER TABLE live.t ADD v text")
        cluster.psql("ALTER SCHEMA live RENAME TO old", database)
        assert cluster.value(lost, database) == 1
        conn.commit()
    cluster.psql("ALTER SCHEMA old RENAME TO live", database)
    assert cluster.value(lost, database) == 1
