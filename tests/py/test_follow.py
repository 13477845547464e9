"""A copy that follows: from segments and the spool, through every end of it, of the stream and of both servers."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from checking import PROMPT, check, state
from cluster import ROOT, Cluster, poll
from compare import assert_equal
from restoring import Target, insert, small_archive
from source import Scribe


class Copy:
    """A database that follows a source, and the program that keeps it."""

    def __init__(self, source: Scribe, cluster: Cluster, name: str) -> None:
        self.source, self.cluster, self.name = source, cluster, name
        self.process: subprocess.Popen[str] | None = None
        self.log = source.archive.parent / f"{name}.follow.log"

    @property
    def env(self) -> dict[str, str]:
        return self.cluster.env | {"SCRIBE_ARCHIVE": str(self.source.archive)}

    def command(self, *arguments: str) -> list[str]:
        return [str(ROOT / "bin/scribe-restore"), "-d", self.name, *arguments]

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        with open(self.log, "a", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                self.command("--follow", "--interval", "0.05", *arguments),
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                text=True,
            )
        return self.process

    def end(self, signum: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(signum)
        return self.process.wait(60)

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def run(self, *arguments: str, status: int = 0, **env: str) -> str:
        """Run scribe-restore on the copy to its end; return what it said."""
        result = subprocess.run(
            self.command(*arguments), env=self.env | env, capture_output=True, text=True, check=False, timeout=120
        )
        assert result.returncode == status, result.stdout + result.stderr
        return result.stderr

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return self.cluster.query(query, self.name)

    def shows(self, query: str, expected: Any) -> bool:
        """Whether the copy's answer is that; it may not be there yet."""
        if self.process is not None and self.process.poll() is not None:
            raise AssertionError(f"the follower ended with {self.process.returncode}\n{self.said()[-3000:]}")
        with contextlib.suppress(psycopg.Error):
            return self.rows(query) == [(expected,)]
        return False

    def await_value(self, query: str, expected: Any) -> None:
        poll(lambda: self.shows(query, expected), 60, query)

    def state(self) -> dict[str, Any]:
        (path,) = (self.source.archive / "follow").glob("*.json")
        return dict(json.loads(path.read_text()))

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.end(signal.SIGKILL)
        if self.cluster.running():
            self.cluster.dropdb(self.name)


@pytest.fixture
def source(scribe: Scribe) -> Scribe:
    """A source with a stream."""
    scribe.settings |= PROMPT
    scribe.cluster.psql("CREATE TABLE item (id int PRIMARY KEY, word text); CREATE SEQUENCE alone", scribe.dbname)
    scribe.run("scribe-init")
    scribe.start_stream()
    return scribe


@pytest.fixture
def copy(source: Scribe) -> Iterator[Copy]:
    """The copy of it, which nobody follows yet."""
    made = Copy(source, source.cluster, f"{source.dbname}_copy")
    yield made
    made.close()


def write(source: Scribe, sql: str) -> None:
    source.cluster.psql(sql, source.dbname)


COUNT = "SELECT count(*) FROM item"


def test_what_is_committed_arrives_without_a_rotation_and_goes_on_after_each_end(source: Scribe, copy: Copy) -> None:
    write(source, "INSERT INTO item VALUES (1, 'one')")
    copy.start()
    copy.await_value(COUNT, 1)
    write(source, "INSERT INTO item VALUES (2, 'two')")
    copy.await_value(COUNT, 2)
    assert not source.segments()
    # rotated while it follows, and while it is away
    source.run("scribe-rotate", "--wait-lsn", "current")
    write(source, "INSERT INTO item VALUES (3, 'three'); SELECT nextval('alone')")
    copy.await_value(COUNT, 3)
    assert copy.end() == 0
    write(source, "INSERT INTO item VALUES (4, 'four')")
    source.run("scribe-rotate", "--wait-lsn", "current")
    write(source, "UPDATE item SET word = word || '!'; ALTER TABLE item ADD COLUMN more int DEFAULT 7")
    copy.start()
    copy.await_value("SELECT count(*) FROM item WHERE word LIKE '%!' AND more = 7", 4)
    copy.end(signal.SIGKILL)
    write(source, "DELETE FROM item WHERE id = 1")
    copy.start()
    copy.await_value(COUNT, 3)
    # the way out
    write(source, "SELECT nextval('alone'), nextval('alone')")
    lsn = source.cluster.query("SELECT pg_current_wal_lsn()::text", source.dbname)[0][0]
    source.run("scribe-rotate", "--wait-lsn", "current")
    assert copy.end() == 0
    assert "is a database of its own" in copy.run("--promote", "--wait-lsn", lsn)
    assert_equal(source.cluster.dump(source.dbname), source.cluster.dump(copy.name))
    assert copy.rows("SELECT to_regnamespace('scribe') IS NULL") == [(True,)]
    assert not list((source.archive / "follow").iterdir())
    for word in ("--follow", "--resume", "--promote"):
        assert "holds no restore that" in copy.run(word, status=1)


def test_who_watches_sees_a_copy_that_runs_and_one_that_does_not(source: Scribe, copy: Copy) -> None:
    assert check(source, "follow")["text"] == "no copy follows the archive"
    copy.start()
    write(source, "INSERT INTO item VALUES (1, 'one')")
    copy.await_value(COUNT, 1)
    # one at a time, whoever comes second
    assert "another restore is at work on the target" in copy.run("--follow", status=75)
    said = copy.run("--promote", status=75)
    assert "another restore is at work on the target" in said and "stop it if it goes on by --follow" in said
    found = poll(lambda: (each := check(source, "follow"))["values"]["follow_lag_bytes"] == 0 and each, 30, "a note")
    assert (found["state"], found["values"]["followers"], found["values"]["follow_running"]) == ("OK", 1, 1)
    assert "which held everything" in found["text"]
    assert state(source, "follow", "-c", "@0:3600") == "CRITICAL"
    assert copy.end() == 0
    write(source, "INSERT INTO item VALUES (2, 'two')")
    found = poll(lambda: (each := check(source, "follow"))["values"]["follow_lag_bytes"] > 0 and each, 30, "the stream")
    assert (found["state"], found["values"]["follow_running"]) == ("CRITICAL", 0)
    assert "nobody keeps copy" in found["text"]
    # nobody promotes what has not everything that was asked for
    said = copy.run("--promote", "--wait-lsn", "F/0", "--timeout", "1", status=75)
    assert "could not promote: waited 1 s to reach F/0" in said
    assert copy.rows(COUNT) == [(2,)]
    # the target is dropped under it
    copy.start()
    poll(lambda: copy.said().count("follows archive") == 2, 60, "the follower")
    source.cluster.query(f'DROP DATABASE "{copy.name}" WITH (FORCE)')
    assert copy.process is not None
    assert copy.process.wait(60) == 1
    assert "is gone: it was dropped or renamed" in copy.said()


def test_a_chain_that_ends_ends_it_and_a_new_one_does_not_continue_it(source: Scribe, copy: Copy) -> None:
    copy.start()
    write(source, "INSERT INTO item VALUES (1, 'one')")
    copy.await_value(COUNT, 1)
    source.kill_stream()
    poll(lambda: not source.cluster.query("SELECT 1 FROM pg_replication_slots WHERE active_pid > 0"), 30, "the slot")
    source.cluster.query(f"SELECT pg_drop_replication_slot('{source.slot}')")
    source.run("scribe-stream", check=False)
    assert copy.process is not None
    assert copy.process.wait(60) == 1
    assert "the archive's chain is broken after" in copy.said()
    source.run("scribe-init")
    said = copy.run("--follow", status=1)
    assert "the archive's stream began again at" in said
    assert "restore into a new database, or promote this one as it is" in said
    assert "the archive's stream began again at" in copy.run("--promote", status=1)


def test_what_the_copy_differs_in_ends_it_and_can_be_passed_over(source: Scribe, copy: Copy) -> None:
    copy.start()
    write(source, "INSERT INTO item VALUES (1, 'one')")
    copy.await_value(COUNT, 1)
    with copy.cluster.connect(copy.name) as reader, reader.transaction():
        reader.execute("LOCK TABLE item IN SHARE MODE")
        write(source, "UPDATE item SET word = 'more'")
        poll(lambda: "waiting for a lock of process" in copy.said(), 30, "who is in the way")
        assert f"waiting for a lock of process {reader.info.backend_pid} (user postgres" in copy.state()["waiting"]
    copy.await_value("SELECT word FROM item", "more")
    poll(lambda: copy.state()["waiting"] is None, 30, "no more")
    copy.cluster.psql("DELETE FROM item", copy.name)
    write(source, "UPDATE item SET word = 'two'")
    assert copy.process is not None
    assert copy.process.wait(60) == 1
    said = copy.said()
    assert "following again" in said and said.count("waiting for a lock of") == 1
    assert "the statement acted on 0 rows, on the source on 1" in said
    place = re.findall(r"--follow --skip ([0-9A-F/]+:\d+)", said)[-1]
    copy.start("--skip", place)
    write(source, "INSERT INTO item VALUES (2, 'two')")
    copy.await_value(COUNT, 1)


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--follow", "--target-xid", "1"], 2, "--target-xid cannot be combined with it"),
        (["--follow", "--target-exclusive"], 2, "--target-exclusive cannot be combined with it"),
        (["--promote", "--include-spool"], 2, "--include-spool cannot be combined with it"),
        (["--follow", "--table", "t"], 2, "a part of a database cannot follow"),
        (["--follow", "--promote"], 2, "not allowed with"),
        (["--follow", "--interval", "0"], 2, "seconds between 0.01 and 3600"),
        (["--wait-lsn", "0/1"], 2, "--wait-lsn is for --promote"),
        (["--promote"], 1, "does not exist or is empty"),
        (["--promote", "--wait-lsn", "nonsense"], 2, "invalid LSN"),
        (["--follow", "--archive", "file:///"], 2, "SCRIBE_ARCHIVE"),
    ],
)
def test_what_cannot_be_meant_is_refused(target: Target, arguments: list[str], status: int, said: str) -> None:
    small_archive(target)
    assert said in target.refused(*arguments, status=status)
    assert not target.exists()


def test_segments_alone_are_followed_and_a_gap_ends_it(target: Target) -> None:
    """A copy of the archive that brings no spool, such as rsync's: a segment that is missing is never passed over."""
    small_archive(target)
    target.run()
    shutil.rmtree(target.path / "spool")
    process = subprocess.Popen(
        target.command("-d", target.name, "--follow", "--interval", "0.05"),
        env=target.cluster.env,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        target.archive.segment([insert(11)])
        poll(lambda: len(target.rows()) == 11, 30, "the segment")
        before = set((target.path / "incremental").iterdir())
        target.archive.segment([insert(12)])
        # as if it had never come
        process.send_signal(signal.SIGSTOP)
    finally:
        process.kill()
        said = process.communicate()[1]
    assert "there is no spool: only finished segments are applied" in said
    for path in set((target.path / "incremental").iterdir()) - before:
        path.unlink()
    target.cluster.psql("UPDATE scribe.position SET lsn = (SELECT lsn FROM scribe.position)", target.name)
    target.archive.segment([insert(13)])
    assert "a segment is missing between" in target.refused("--follow")
    assert len(target.rows()) in (11, 12)


def test_nothing_is_lost_or_repeated_whatever_is_killed(cluster: Cluster) -> None:
    command = [sys.executable, str(ROOT / "tests/faults/follow.py"), "--seed", "20261129", "--rounds", "4"]
    environment = os.environ | {"PG_CONFIG": cluster.pg_config}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "promoted: equal" in result.stdout
