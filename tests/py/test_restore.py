"""scribe-restore: its use, interruptions, and what a person is shown."""

from __future__ import annotations

import contextlib
import os
import pty
import random
import re
import signal
import subprocess
import time
from pathlib import Path

import psycopg
import pytest
from cluster import poll
from handmade import START
from restoring import DDL, LONG, TABLES, Target, insert, small_archive

from scribe.common.dialect import build_base_header
from scribe.common.lsn import format_lsn


def test_what_is_only_in_the_spool_is_applied_when_asked_for(target: Target) -> None:
    small_archive(target)
    spool = target.path / "spool"
    (spool / "spool.json").write_text('{"spool_id": "hand"}')
    rows = [insert(i).encode() for i in (11, 12, 13)]
    before, *after = [target.archive.transaction(body) for body in rows]
    (spool / "part-00000001.sql").write_bytes(before + after[0][:50])
    (spool / "stream.sql").write_bytes(after[0][50:] + after[1][:-10])
    assert "are in no segment yet" in target.run("-v").stderr
    assert len(target.rows()) == 10
    target.run("--resume", "--include-spool")
    assert len(target.rows()) == 12
    assert target.rows("SELECT last_value FROM public.t_id_seq") == [(33,)]
    target.run("--resume", "--include-spool")
    assert len(target.rows()) == 12
    (spool / "spool.json").write_text('{"spool_id": "other"}')
    assert "is not the one archive.json names" in target.refused("--resume", "--include-spool")


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--target-lsn", "0/1"], 1, "reachable is 0/1000000"),
        (["--target-lsn", "F/0"], 1, "could not reach LSN F/0"),
        (["--target-time", "2020-01-01 00:00+00"], 1, "could not reach time 2020-01-01"),
        (["--target-time", "2030-01-01 00:00+00"], 1, "could not reach time 2030"),
        (["--target-xid", "12"], 1, "could not find transaction 12"),
        (["--target-name", "nowhere"], 1, 'could not find mark "nowhere"'),
        (["--target-time", "yesterdayish"], 2, "invalid time"),
        (["--target-lsn", "nonsense"], 2, "invalid LSN"),
        (["--target-lsn", "0/1", "--target-xid", "1"], 2, "not allowed with"),
        (["--base", "20200101T000000Z"], 2, "there is no base"),
        (["--frobnicate"], 2, "unrecognized arguments"),
        (["--resume"], 1, "does not exist"),
    ],
)
def test_what_cannot_be_is_refused(target: Target, arguments: list[str], status: int, said: str) -> None:
    small_archive(target)
    assert said in target.refused(*arguments, status=status)
    assert not target.exists()


def test_a_mark_that_somebody_wrote_again_is_no_point(target: Target) -> None:
    small_archive(target)
    target.archive.segment([insert(11), "-- mark before-lunch\n"])
    said = target.refused("--target-name", "before-lunch")
    assert 'mark "before-lunch" is there 2 times' in said
    assert "--target-lsn" in said
    assert not target.exists()


def test_a_server_that_is_away_can_be_tried_again(target: Target) -> None:
    small_archive(target)
    assert "could not connect" in target.refused(status=75, PGPORT="1")


def test_a_mark_is_written_on_the_source(target: Target, database: str) -> None:
    result = subprocess.run(
        target.command("--mark", "before-lunch"),
        env=target.cluster.env | {"PGDATABASE": database},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "/" in result.stdout
    result = subprocess.run(
        target.command("--mark", "no spaces"), env=target.cluster.env, capture_output=True, text=True, check=False
    )
    assert result.returncode == 2


def test_a_dry_run_changes_nothing(target: Target) -> None:
    small_archive(target)
    target.run("--dry-run")
    assert not target.exists()


def long_archive(target: Target) -> None:
    """Segments in which a transaction applied twice, or not at all, shows: sums, keyless rows, DDL, COPY."""
    target.archive.base(TABLES + "CREATE TABLE public.sums (n bigint);\nINSERT INTO public.sums VALUES (0);\n")
    for segment in range(4):
        bodies = []
        for i in range(1500):
            bodies.append(
                "UPDATE public.sums SET n = n + 1 WHERE true;\n"
                f"INSERT INTO public.log (note) VALUES ('{segment}.{i} {'x' * 300}');\n"
            )
        bodies.insert(700, DDL.format(f"CREATE TABLE made{segment} (id int)"))
        for i in range(1400, 0, -100):  # long enough to be interrupted
            bodies.insert(i, DDL.format("DO $$BEGIN PERFORM pg_sleep(0.03); END$$"))
        copied = "".join(f"{i}\n" for i in range(2000))
        bodies.insert(1300, f"COPY public.made{segment} (id) FROM stdin;\n{copied}\\.\n")
        target.archive.segment(bodies)


@pytest.fixture
def interrupted(target: Target) -> Target:
    """A long archive, and an uninterrupted restore of it called NAME_whole to compare with."""
    long_archive(target)
    return target


def finish_and_compare(target: Target) -> None:
    expected = (6000, 6000, 2000 * 4)
    made = " + ".join(f"(SELECT count(*) FROM public.made{i})" for i in range(4))
    found = target.rows(f"SELECT n, (SELECT count(DISTINCT note) FROM public.log), {made} FROM public.sums")
    assert found == [expected]
    assert target.rows("SELECT count(*) FROM public.log") == [(6000,)]
    assert target.position() == (format_lsn(target.archive.lsn), False)


def is_past_base(target: Target) -> bool:
    """Whether the base is there for good: the first transactions after it are."""
    try:
        there = target.exists() and target.rows("SELECT 1 FROM pg_class WHERE relname = 'position'")
        found = target.rows(f"SELECT lsn <> '{format_lsn(START)}' FROM scribe.position") if there else []
        return found == [(True,)]
    except psycopg.OperationalError:
        return False


@pytest.mark.slow
@pytest.mark.parametrize("how", ["kill the program", "end the backend", "crash the server"])
def test_an_interrupted_restore_goes_on_exactly_where_it_was(interrupted: Target, how: str) -> None:
    target, chance = interrupted, random.Random(how)
    arguments: list[str] = []
    interruptions = 0
    for _ in range(60):
        process = subprocess.Popen(
            target.command("-d", target.name, *arguments),
            env=target.cluster.env,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
        )
        try:
            poll(lambda p=process: p.poll() is not None or is_past_base(target), 60)
            time.sleep(chance.uniform(0.15, 0.5) if arguments else chance.uniform(0.0, 0.3))
            if how == "kill the program":
                process.send_signal(signal.SIGKILL)
            elif how == "crash the server":
                target.cluster.restart("immediate")
            else:
                target.cluster.query(
                    f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{target.name}'"
                )
        finally:
            _, said = process.communicate(timeout=60)
        if process.returncode == 0:
            break
        assert process.returncode in (-9, 75), said
        interruptions += 1
        arguments = ["--resume"]
    else:
        target.run("--resume")
    assert interruptions > 0
    finish_and_compare(target)


def test_a_database_in_which_psql_was_cut_off_is_not_resumed(target: Target) -> None:
    small_archive(target)
    target.run("--target-xid", "703")
    target.cluster.psql("UPDATE scribe.position SET inside = true", target.name)
    assert "psql was cut off" in target.refused("--resume")


def remount(directory: Path, size: str) -> bool:
    """Make directory a file system of that size, or give the one that is there another; False where we may not."""
    options = f"size={size}" + (",remount" if directory.is_mount() else "")
    command = ["mount", "-t", "tmpfs", "-o", options, "scribe", str(directory)]
    return os.geteuid() == 0 and subprocess.run(command, check=False, capture_output=True).returncode == 0


def test_a_full_disk_stops_it_with_one_line_and_it_goes_on_where_there_is_room(target: Target) -> None:
    target.archive.base(TABLES)
    target.archive.segment([insert(2), LONG * 12, insert(3)])
    space = target.cluster.directory / target.name
    space.mkdir()
    if not remount(space, "12m"):
        pytest.skip("place: no file system can be mounted")
    try:
        assert target.cluster.user is not None
        os.chown(space, target.cluster.user.pw_uid, target.cluster.user.pw_gid)
        target.cluster.query(f"CREATE TABLESPACE {target.name} LOCATION '{space}'")
        target.cluster.query(f"CREATE DATABASE {target.name} TEMPLATE template0 TABLESPACE {target.name}")
        full = re.compile("No space left on device|wrote only [0-9]+ of 8192 bytes")
        said = target.refused()
        assert full.search(said)
        assert "Make room on the target server, then go on with --resume" in said
        assert "--skip" not in said
        assert full.search(target.refused("--resume"))
        assert remount(space, "100m")
        target.run("--resume")
        assert target.rows() == [(1, "one"), (2, "v2"), (3, "v3")]
        assert target.rows("SELECT count(*) FROM public.log") == [(108000,)]
    finally:
        target.cluster.dropdb(target.name)
        target.cluster.query(f"DROP TABLESPACE IF EXISTS {target.name}")
        subprocess.run(["umount", str(space)], check=True)


def test_a_terminal_is_shown_progress_with_rate_and_remaining_time(target: Target) -> None:
    target.archive.base(TABLES)
    slow = DDL.format("DO $$BEGIN PERFORM pg_sleep(0.7); END$$")
    target.archive.segment([insert(2), LONG, slow, LONG])
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        target.command("-d", target.name), env=target.cluster.env, stdout=subprocess.DEVNULL, stderr=terminal
    )
    os.close(terminal)
    shown = b""
    with contextlib.suppress(OSError):  # EIO: its last writer has ended
        while block := os.read(controller, 1 << 16):
            shown += block
    os.close(controller)
    assert process.wait(60) == 0
    assert re.search(rb"\rscribe-restore: segments: \d+ %, \d+ of \d+ MB, [\d.]+ MB/s, \d+:\d\d min left\x1b\[K", shown)
    assert b"\r\x1b[Kscribe-restore: restored database" in shown
    assert b"min left" not in target.run("--resume").stderr.encode()


def test_a_setting_that_only_the_sources_host_knows_is_left_out_and_said(target: Target) -> None:
    """A locale, a time zone, a tablespace: whoever changes the schema chooses it, and would stop every restore."""
    target.archive.base(TABLES)
    settings = (
        "SET LOCAL lc_monetary = 'xx_XX';\nSET LOCAL TimeZone = E'No/\\where';\n"
        "SET LOCAL default_tablespace = 'no';\nSET LOCAL DateStyle = 'SQL, DMY';\n"
    )
    block = DDL.format("ALTER TABLE t ADD w text DEFAULT current_setting('DateStyle')").partition("\n")
    target.archive.segment([f"{block[0]}\n{settings}{block[2]}"])
    said = target.run().stderr
    for name, value in (("lc_monetary", "xx_XX"), ("TimeZone", "No/where"), ("default_tablespace", "no")):
        left = f'warning: setting left out: invalid value for parameter "{name}": "{value}"'
        assert said.count(left) == 1, said
    assert target.rows("SELECT w FROM public.t") == [("SQL, DMY",)]


def test_a_databases_owner_stops_no_restore_by_its_settings(target: Target) -> None:
    """Views are refused to everybody there, and what PL/pgSQL only warns of is an error."""
    view = "CREATE VIEW public.seen AS SELECT id FROM public.t;\nCREATE MATERIALIZED VIEW public.kept AS"
    body = "DECLARE a int; BEGIN SELECT 1, 2 INTO a; RETURN a; END"
    function = f"CREATE FUNCTION public.f() RETURNS int LANGUAGE plpgsql AS '{body}'"
    target.archive.base(
        f"{build_base_header()}{TABLES}{view} SELECT * FROM public.seen WITH NO DATA;\n{function};\n"
        "REFRESH MATERIALIZED VIEW public.kept;\n"
    )
    refresh = "REFRESH MATERIALIZED VIEW public.kept\n;\nCREATE TABLE public.made AS SELECT public.f()"
    target.archive.segment([insert(2), DDL.format(refresh)])
    target.cluster.createdb(target.name)
    for setting in ("restrict_nonsystem_relation_kind = 'view'", "plpgsql.extra_errors = 'all'"):
        target.cluster.psql(f"LOAD 'plpgsql'; ALTER DATABASE {target.name} SET {setting}")
    target.run()
    assert target.rows("TABLE public.kept") == [(1,), (2,)]
