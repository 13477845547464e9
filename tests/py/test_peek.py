"""scribe-peek: psql on the database as it was at any point; nothing of it is left afterwards."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
from pathlib import Path

import pytest
from cluster import HEARING, ROOT, Cluster, poll
from handmade import Handmade
from restoring import TABLES, insert
from starting import run_program

COUNT = "SELECT count(*) FROM t"


class Peeker:
    """A hand-made archive of ten transactions, 701 to 710, which insert rows 2 to 11; and the program run on it."""

    def __init__(self, cluster: Cluster, path: Path, place: Path) -> None:
        self.archive, self.path, self.place = Handmade(path), path, place
        sql = f"{TABLES}CREATE SCHEMA app;\nCREATE TABLE app.orders (id int);\n"
        self.archive.base(sql, globals_sql="CREATE ROLE postgres;\n")
        self.archive.segment([insert(number) for number in range(2, 7)])
        self.archive.segment([insert(number) for number in range(7, 12)])
        self.env = {name: value for name, value in cluster.env.items() if not name.startswith("PG")}

    def command(self, *arguments: str) -> list[str]:
        where = [] if "--keep" in arguments else ["--directory", str(self.place)]
        return [str(ROOT / "bin/scribe-peek"), "--archive", str(self.path), *where, *arguments]

    def run(self, *arguments: str, text: str = "", status: int = 0) -> subprocess.CompletedProcess[str]:
        command = self.command(*arguments)
        run = run_program(command, self.env, text=text)
        assert run.returncode == status, run.stdout + run.stderr
        return run

    def count(self, *arguments: str) -> int:
        return int(self.run("-c", COUNT, *arguments, "--", "-At").stdout)

    def refused(self, *arguments: str, status: int = 1) -> str:
        said = self.run("-c", COUNT, *arguments, status=status).stderr
        assert said.count("scribe-peek: error: ") == said.count("scribe-peek: hint: ") == 1, said
        return said


@pytest.fixture
def peeker(cluster: Cluster, tmp_path: Path, place: Path) -> Peeker:
    return Peeker(cluster, tmp_path / "archive", place)


def test_psql_sees_the_database_as_it_was_and_nothing_is_left(peeker: Peeker) -> None:
    (peeker.place / "script.sql").write_text("SELECT max(id) FROM t;\n")
    file = ["-f", str(peeker.place / "script.sql")]
    point = ["--target-xid", "703", "--table", "app.ord*"]
    run = peeker.run("-c", COUNT, *file, "-c", "TABLE app.orders", *point, "--", "-At")
    assert run.stdout == "4\n4\n"
    assert "code that users of the source have written runs as " in run.stderr
    assert "runs as root" not in run.stderr
    assert {path.name for path in peeker.place.iterdir()} == {"script.sql"}


def test_its_status_is_that_of_psql(peeker: Peeker) -> None:
    run = peeker.run("--", "-At", text="SELECT 1/0;\nSELECT 2;\n", status=3)
    assert (run.stdout, run.stderr.count("division by zero")) == ("", 1)
    assert list(peeker.place.iterdir()) == []


def test_what_cannot_be_shown_is_refused_with_the_nearest_that_can(peeker: Peeker) -> None:
    assert "could not reach LSN F/0" in peeker.refused("--target-lsn", "F/0")
    assert 'Did you mean "app"."orders"?' in peeker.refused("--table", "orders")
    assert "a.b.c" in peeker.refused("--table", "a.b.c", status=2)
    assert "excludes" in peeker.refused("--keep", "/x", "--launcher", "/y", status=2)
    assert list(peeker.place.iterdir()) == []


def test_a_kept_copy_goes_on_to_later_points_and_is_made_again_for_earlier_ones(peeker: Peeker) -> None:
    keep = ["--keep", str(peeker.place / "kept")]
    assert peeker.count(*keep, "--target-xid", "702") == 3
    assert list((peeker.place / "kept").glob("data/postmaster.pid")) == []
    assert "read-only" in peeker.run(*keep, "--target-xid", "702", "-c", "DELETE FROM t", status=1).stderr
    made = (peeker.place / "kept/data/PG_VERSION").stat()
    for arguments, expected in ((["--target-xid", "702"], 3), (["--target-xid", "707"], 8)):
        assert peeker.count(*keep, *arguments) == expected
        assert (peeker.place / "kept/data/PG_VERSION").stat().st_ino == made.st_ino
    for exclusive in ("707", "705"):  # in the segment it stands in, and in the one before
        again = peeker.run("-c", COUNT, *keep, "--target-xid", exclusive, "--target-exclusive", "--", "-At")
        assert (int(again.stdout), "it is made again" in again.stderr) == (int(exclusive) - 700, True)
    assert peeker.count(*keep) == 11


def test_only_a_directory_of_its_own_keeps_a_copy_and_only_of_one_archive(peeker: Peeker, tmp_path: Path) -> None:
    mode = tmp_path.stat().st_mode
    assert "is not empty" in peeker.refused("--keep", str(tmp_path), status=2)
    assert tmp_path.stat().st_mode == mode
    keep = peeker.place / "kept"
    keep.mkdir()
    (keep / "peek.json").write_text('{"system_identifier": "2", "database": "shop"}')
    assert "another archive's database" in peeker.refused("--keep", str(keep), status=2)
    keep.chmod(0o777)
    assert "others can write to directory" in peeker.refused("--keep", str(keep), status=2)
    (keep / "peek.json").unlink()
    assert "others can write to directory" in peeker.refused("--keep", str(keep), status=2)
    keep.chmod(0o700)
    (keep / "peek.json").write_text("[1]")
    assert "is not what an earlier --keep wrote" in peeker.refused("--keep", str(keep), status=2)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_neither_server_nor_files_outlive_a_program_that_is_ended(peeker: Peeker, number: signal.Signals) -> None:
    terminal, other = pty.openpty()
    process = subprocess.Popen([*HEARING, *peeker.command()], env=peeker.env, stdin=other, stdout=other, stderr=other)
    os.close(other)
    said = b""
    while b"(scribe-peek)" not in said:
        said += os.read(terminal, 1000)
    if number is signal.SIGTERM:
        os.write(terminal, b"SELECT pg_sleep(3600);\n")
        while b"pg_sleep" not in said:
            said += os.read(terminal, 1000)
        os.write(terminal, b"\x03")  # no terminal of the process's own: an input like any other
    (pid_file,) = peeker.place.glob("scribe-rehearsal-*/data/postmaster.pid")
    server = int(pid_file.read_text().splitlines()[0])
    process.send_signal(number)
    process.wait(60)
    poll(lambda: not Path(f"/proc/{server}").exists(), 60, "the server has ended")
    os.close(terminal)
    if number is signal.SIGKILL:
        assert peeker.count() == 11
    assert list(peeker.place.iterdir()) == []
