"""scribe-verify: every kind of damage is found and named, and a rehearsal tells a good archive from a bad one."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import zlib
from pathlib import Path
from typing import Any

import pytest
import zstandard
from aged import WHOLE, Aged, change, insert
from cluster import ROOT, Cluster, poll
from source import Scribe
from starting import run_program

from scribe.archive.checksums import Entry
from scribe.archive.verification import Fault, Verification, choose
from scribe.common.dialect import Sequence
from scribe.common.lsn import format_lsn


@pytest.fixture
def made(tmp_path: Path) -> Aged:
    """Two bases and five segments."""
    archive = Aged(tmp_path / "archive")
    archive.add_base(0)
    for day in (1, 2):
        archive.add_segment(day)
    archive.add_base(3)
    for day in (4, 5, 6):
        archive.add_segment(day, rows=3)
    return archive


def verify(made: Aged, *arguments: str, status: int = 0, env: dict[str, str] | None = None) -> list[str]:
    """Run the program; return the lines of its stdout."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SCRIBE_")}
    result = run_program([ROOT / "bin/scribe-verify", "--archive", made.path, *arguments], env or inherited)
    assert result.returncode == status, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    return result.stdout.splitlines()


def faults(made: Aged) -> list[Fault]:
    return Verification(made.archive).run().faults


def only_fault(made: Aged, file: str, what: str) -> None:
    """Check that there is one fault, and that it names this file (a part of its path) and this reason."""
    found = faults(made)
    assert len(found) == 1, [str(fault) for fault in found]
    assert file in found[0].file
    assert what in found[0].what
    assert found[0].remedy


def segment(made: Aged, number: int) -> Path:
    return made.archive.incremental / made.archive.segment_names()[number]


def data(made: Aged, number: int) -> Path:
    return segment(made, number).with_suffix(".sql.zst")


# --- the program ------------------------------------------------------------------------------------------------------


def test_a_good_archive_has_no_fault_and_the_result_is_written(made: Aged) -> None:
    assert verify(made) == []
    value = json.loads((made.path / "verify.json").read_text())
    assert (value["ok"], value["faults"], value["files"]) == (True, [], 2 * 4 + 5)
    assert value["bytes"] > 1000
    assert len(value["read"]) == value["files"]
    report = json.loads("\n".join(verify(made, "--json")))
    assert report["ok"] is True
    assert (made.path / "verify.json").stat().st_mode & 0o777 == 0o600


def test_a_fault_is_one_line_with_the_file_and_what_to_do(made: Aged) -> None:
    data(made, 3).unlink()
    lines = verify(made, status=1)
    assert lines == [f"incremental/{data(made, 3).name}: it is missing; {lines[0].partition('; ')[2]}"]
    assert "scribe-dump" in lines[0]
    value = json.loads((made.path / "verify.json").read_text())
    assert (value["ok"], value["faults"]) == (False, lines)
    report = json.loads("\n".join(verify(made, "--json", status=1)))
    assert report["faults"][0]["file"] == f"incremental/{data(made, 3).name}"


@pytest.mark.parametrize("share", ["", "ten", "101%", "-1%"])
def test_a_wrong_share_is_refused(made: Aged, share: str) -> None:
    verify(made, f"--read={share}", status=2)


def test_a_dry_run_writes_nothing(made: Aged) -> None:
    assert verify(made, "-n") == []
    assert not (made.path / "verify.json").exists()


def test_an_archive_that_may_not_be_written_is_read(made: Aged) -> None:
    for path in [made.path, *made.path.rglob("*")]:
        path.chmod(0o500 if path.is_dir() else 0o400)
    assert verify(made) == []
    for path in [made.path, *made.path.rglob("*")]:
        path.chmod(0o700 if path.is_dir() else 0o600)


# --- damage -----------------------------------------------------------------------------------------------------------


@pytest.mark.unit
@pytest.mark.parametrize("number", range(8))
def test_a_flipped_bit_is_found_wherever_it_is(made: Aged, number: int) -> None:
    paths = sorted([*made.path.glob("base/*/*.*"), *made.path.glob("incremental/*")])
    chosen = [path for path in paths if path.stat().st_size][number::8]
    for path in chosen:
        good = path.read_bytes()
        bad = bytearray(good)
        bad[zlib.crc32(path.name.encode()) % len(bad)] ^= 1 << number
        path.write_bytes(bad)
        if path.suffix == ".json" and path.name != "meta.json" and not _matters(good, bytes(bad)):
            path.write_bytes(good)
            continue
        assert faults(made), path
        path.write_bytes(good)
    assert faults(made) == []


def _matters(good: bytes, bad: bytes) -> bool:
    """Whether a changed manifest says anything else of the file it describes."""
    try:
        one, two = json.loads(good), json.loads(bad)
    except ValueError:
        return True
    keys = ("sha256", "bytes", "plain_sha256", "from_lsn", "to_lsn", "file", "previous_sha256", "files", "stamp")
    return any(one.get(key) != two.get(key) for key in keys)


@pytest.mark.unit
def test_a_truncated_file_and_a_missing_one_are_found(made: Aged) -> None:
    os.truncate(data(made, 2), data(made, 2).stat().st_size - 1)
    only_fault(made, data(made, 2).name, "its manifest says")
    data(made, 2).unlink()
    only_fault(made, data(made, 2).name, "missing")


@pytest.mark.unit
def test_a_missing_segment_is_found_at_the_beginning_in_the_middle_and_at_the_end(made: Aged) -> None:
    assert verify(made) == []
    previous = json.loads((made.path / "verify.json").read_text())
    for number, found in ((0, "are missing"), (1, "a segment is missing"), (-1, "it was here on")):
        kept = [(path, path.read_bytes()) for path in (segment(made, number), data(made, number))]
        for path, _ in kept:
            path.unlink()
        outcome = Verification(made.archive, previous).run()
        assert [fault for fault in outcome.faults if found in fault.what], (number, outcome.faults)
        again = Verification(made.archive, {"newest": outcome.newest, "time": "then"}).run()
        assert again.faults, "a fault does not go away by itself"
        for path, content in kept:
            path.write_bytes(content)
            path.chmod(0o600)
    assert Verification(made.archive, previous).run().faults == []


@pytest.mark.unit
def test_a_lost_manifest_in_the_middle_is_told_from_an_unfinished_segment_at_the_end(made: Aged) -> None:
    last = segment(made, -1)
    content = last.read_bytes()
    last.unlink()
    outcome = Verification(made.archive).run()
    assert outcome.faults == []
    assert any("an unfinished segment" in note for note in outcome.notes)
    last.write_bytes(content)
    last.chmod(0o600)
    name = data(made, 1).name
    segment(made, 1).unlink()
    assert any(name in fault.file and "manifest is missing" in fault.what for fault in faults(made))


@pytest.mark.unit
def test_swapped_manifests_are_found(made: Aged) -> None:
    first, second = segment(made, 0), segment(made, 1)
    one, two = first.read_text(), second.read_text()
    first.write_text(two)
    second.write_text(one)
    found = faults(made)
    assert {fault.file for fault in found if "of another file" in fault.what} == {
        f"incremental/{first.name}",
        f"incremental/{second.name}",
    }
    first.write_text(one)
    second.write_text(two)
    bases = [base.path / "manifest.json" for base in made.archive.bases()]
    shutil.copy(bases[0], bases[1])
    assert any("of another file" in fault.what for fault in faults(made))


@pytest.mark.unit
def test_swapped_segments_with_their_manifests_made_to_fit_break_the_chain(made: Aged) -> None:
    change(segment(made, 3), previous_sha256="0" * 64)
    assert any("does not continue" in fault.what for fault in faults(made))


@pytest.mark.unit
def test_files_of_another_database_are_found(made: Aged, tmp_path: Path) -> None:
    change(made.path / "archive.json", database="other")
    found = faults(made)
    assert len([fault for fault in found if "belongs to another archive: database shop" in fault.what]) >= 7
    change(made.path / "archive.json", database="shop", system_identifier="77")
    assert any("system identifier" in fault.what for fault in faults(made))


@pytest.mark.unit
def test_an_unfinished_base_is_a_note_and_a_base_without_manifest_a_fault(made: Aged) -> None:
    (made.path / "base/.tmp-20270101T000000Z").mkdir(mode=0o700)
    outcome = Verification(made.archive).run()
    assert outcome.faults == []
    assert any("unfinished base" in note for note in outcome.notes)
    (made.archive.bases()[0].path / "manifest.json").unlink()
    only_fault(made, "base/", "without its manifest.json")


@pytest.mark.unit
def test_no_base_and_a_broken_chain_are_faults(tmp_path: Path) -> None:
    made = Aged(tmp_path / "none")
    only_fault(made, "base", "no complete base")
    made.add_base(0)
    assert faults(made) == []
    made.archive.declare_broken("the slot was lost", made.lsn)
    only_fault(made, "broken.json", "the slot was lost")


@pytest.mark.unit
def test_a_recorded_break_is_a_note_when_a_base_follows_it(made: Aged) -> None:
    made.start_chain(9)
    outcome = Verification(made.archive).run()
    assert outcome.faults == []
    assert any("the stream began again" in note for note in outcome.notes)
    shutil.rmtree(made.archive.bases()[-1].path)
    assert any("the end of the archive cannot be reached" in fault.what for fault in faults(made))


def _rewrite(made: Aged, plain: bytes) -> None:
    """Store other SQL as the newest base's, with checksums that fit."""
    path = made.archive.bases()[-1].path
    stored = zstandard.compress(plain)
    (path / "base.sql.zst").write_bytes(stored)
    manifest = json.loads((path / "manifest.json").read_text())
    for entry in manifest["files"]:
        if entry["name"] == "base.sql.zst":
            entry |= {"bytes": len(stored), "sha256": hashlib.sha256(stored).hexdigest()}
            entry |= {"plain_bytes": len(plain), "plain_sha256": hashlib.sha256(plain).hexdigest()}
    change(path / "manifest.json", files=manifest["files"])


@pytest.mark.unit
def test_a_dump_that_is_not_complete_is_found_though_its_checksum_fits(made: Aged) -> None:
    stored = (made.archive.bases()[-1].path / "base.sql.zst").read_bytes()
    plain = zstandard.ZstdDecompressor().decompressobj().decompress(stored)
    _rewrite(made, plain)
    assert faults(made) == []
    _rewrite(made, plain[:-20])
    only_fault(made, "base.sql.zst", "does not end as a finished file does")
    _rewrite(made, plain.replace(b"-- PostgreSQL database dump complete\n", b""))
    only_fault(made, "base.sql.zst", "pg_dump did not finish it")


@pytest.mark.unit
def test_the_checksum_of_the_sql_itself_is_compared(made: Aged) -> None:
    change(segment(made, 2), plain_sha256="0" * 64)
    only_fault(made, data(made, 2).name, "the SQL in it")


@pytest.mark.unit
def test_modes_that_let_others_in_are_found(made: Aged) -> None:
    data(made, 0).chmod(0o640)
    only_fault(made, data(made, 0).name, "mode 0640")
    data(made, 0).chmod(0o600)
    made.path.chmod(0o755)
    only_fault(made, ".", "mode 0755")


# --- a share of the files ---------------------------------------------------------------------------------------------


def entry(name: str, size: int) -> Entry:
    return Entry(Path(name), name, size, "")


@pytest.mark.unit
def test_ten_runs_of_a_tenth_read_everything_and_start_over() -> None:
    entries = [entry(f"file{number:02}", 1 + number % 7) for number in range(50)]
    known: dict[str, str] = {}
    for day in range(10):
        for chosen in choose(entries, known, 10):
            known[chosen.name] = f"day {day}"
    assert set(known) == {one.name for one in entries}
    assert choose(entries, known, 10)[0].name == min(known, key=lambda name: (known[name], name))
    assert choose(entries, {}, 100) == entries
    assert choose(entries, {}, 0) == []


@pytest.mark.unit
def test_a_file_found_bad_is_read_again_by_every_run_until_it_is_good(made: Aged) -> None:
    previous: dict[str, Any] = {}
    for _ in range(4):
        previous = _run_share(made, previous)
    path = made.archive.bases()[0].path / "base.sql.zst"
    good = path.read_bytes()
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    while not previous["faults"]:
        previous = _run_share(made, previous)
    for _ in range(10):
        previous = _run_share(made, previous)
        assert previous["faults"]
    path.write_bytes(good)
    assert not _run_share(made, previous)["faults"]


def _run_share(made: Aged, previous: dict[str, Any]) -> dict[str, Any]:
    outcome = Verification(made.archive, previous, 20).run()
    return {"read": outcome.read, "newest": outcome.newest, "bad": outcome.bad, "faults": outcome.faults}


# --- the rehearsal ----------------------------------------------------------------------------------------------------


def _server_env(cluster: Cluster) -> dict[str, str]:
    """The server's programs on PATH, and no connection to any server."""
    return {name: value for name, value in cluster.env.items() if not name.startswith("PG")}


def rehearsed(made: Aged) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((made.path / "rehearsal.json").read_text())
    return value


def test_a_rehearsal_restores_the_newest_base_and_compares(made: Aged, cluster: Cluster, place: Path) -> None:
    sql = "CREATE SEQUENCE public.s;\n" + WHOLE.replace("\n\n--", "\nINSERT INTO public.t VALUES (0, 'null');\n\n--", 1)
    stamp = made.add_base(7, sql)
    change(made.path / f"base/{stamp}/manifest.json", rows={"public.t": 1})
    made.at(8).segment([insert(number) for number in (1, 2, 3)], sequences=[Sequence("public", "s", 41, True)])
    change(segment(made, -1), sequences=[{"schema": "public", "name": "s", "last_value": 41, "is_called": True}])
    made.tidy()
    arguments = ["--rehearse", "--directory", str(place)]
    abandoned = place / "scribe-rehearsal-killed"
    abandoned.mkdir()
    assert verify(made, *arguments, env=_server_env(cluster)) == []
    value = rehearsed(made)
    assert (value["ok"], value["differences"], value["base"]) == (True, [], stamp)
    assert (value["reached_lsn"], value["rows"], value["transactions"]) == (format_lsn(made.lsn), 4, 3)
    assert value["seconds"] > 0
    assert value["reached_time"]
    assert list(place.iterdir()) == []

    change(made.path / f"base/{stamp}/manifest.json", rows={"public.t": 2, "public.gone": 5})
    change(segment(made, -1), sequences=[{"schema": "public", "name": "s", "last_value": 42, "is_called": True}])
    lines = verify(made, *arguments, env=_server_env(cluster), status=1)
    assert lines == [
        "table public.gone: not there at the base, 5 rows were recorded",
        "table public.t: 1 rows at the base, 2 were recorded",
        'sequence "public.s": stands at (41, True), 42 was recorded',
    ]
    assert rehearsed(made)["ok"] is False


def test_a_rehearsal_of_a_damaged_archive_says_what_stopped_the_restore(made: Aged, cluster: Cluster) -> None:
    path = data(made, -1)
    path.write_bytes(path.read_bytes()[:-4])
    change(made.archive.bases()[-1].path / "manifest.json", rows={"public.t": 0})
    lines = verify(made, "--rehearse", env=_server_env(cluster), status=1)
    assert len(lines) == 1
    assert path.name in lines[0]
    assert rehearsed(made)["reached_lsn"] is None
    shutil.rmtree(made.path / "base")
    (made.path / "base").mkdir()
    verify(made, "--rehearse", env=_server_env(cluster), status=1)


def make_space(cluster: Cluster, name: str) -> Path:
    """Make a directory the server may keep a tablespace in."""
    path = cluster.directory / name
    path.mkdir()
    if cluster.user:
        os.chown(path, cluster.user.pw_uid, cluster.user.pw_gid)
    return path


def test_a_rehearsal_of_a_real_source(scribe: Scribe, cluster: Cluster) -> None:
    space = f"space_{scribe.dbname}"
    cluster.query(f"CREATE TABLESPACE {space} LOCATION '{make_space(cluster, space)}'")
    cluster.psql(f"CREATE TABLE spaced (x int) TABLESPACE {space}; INSERT INTO spaced VALUES (1);", scribe.dbname)
    cluster.psql(
        """CREATE TABLE a (id serial PRIMARY KEY, v text); INSERT INTO a (v) SELECT g FROM generate_series(1, 100) g;
           CREATE TABLE "B b" (x int); INSERT INTO "B b" VALUES (1), (2);""",
        scribe.dbname,
    )
    scribe.run("scribe-init")
    scribe.start_stream()
    cluster.psql(
        "INSERT INTO a (v) SELECT g FROM generate_series(1, 50) g; DELETE FROM a WHERE id < 11;", scribe.dbname
    )
    scribe.run("scribe-rotate", "--wait-lsn", "current")
    env = _server_env(cluster) | {"SCRIBE_ARCHIVE": str(scribe.archive)}
    scribe.run("scribe-verify")
    run = subprocess.run(
        [ROOT / "bin/scribe-verify", "--rehearse", "--json"], env=env, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    value = json.loads(run.stdout)
    assert (value["ok"], value["tables"], value["rows"]) == (True, 3, 143)
    said = scribe.run("scribe-dump", "-v", "--format", "directory", "--jobs", "2").stderr
    assert "removed nothing" in said
    scribe.run("scribe-verify")
    cluster.psql(
        """INSERT INTO spaced VALUES (2); CREATE UNLOGGED TABLE u AS SELECT 1 AS x; CREATE VIEW w AS SELECT * FROM a;
           CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE TABLE empty (x int);""",
        scribe.dbname,
    )
    scribe.run("scribe-rotate", "--record")
    cluster.psql("INSERT INTO spaced VALUES (3); DROP VIEW w; DELETE FROM a;", scribe.dbname)
    scribe.run("scribe-rotate", "--wait-lsn", "current")
    said = json.loads(scribe.run("scribe-verify", "--rehearse", "--json", env=env).stdout)
    (path,) = (p for p in (scribe.archive / "incremental").glob("*.json") if '"recorded"' in p.read_text())
    recorded = json.loads(path.read_text())["recorded"]
    assert recorded["rows"] == {"public.a": 140, 'public."B b"': 2, "public.spaced": 2, "public.empty": 0}
    assert {"FUNCTION public.f()", "VIEW public.w", "TABLE public.u"} <= recorded["schema"].keys()
    where = f"at {recorded['lsn']} ({recorded['time']})"
    assert f"{where}, the rows of 4 tables with those counted on the source" in said["compared"]
    number = len(recorded["schema"])
    assert f"{where}, {number} objects of the schema with those dumped on the source" in said["compared"]
    recorded["rows"] |= {"public.a": 141}
    recorded["schema"] |= {"VIEW public.w": "0" * 16, "VIEW public.v": "0" * 16}
    del recorded["schema"]["FUNCTION public.f()"]
    change(path, recorded=recorded)
    run = scribe.run("scribe-verify", "--rehearse", env=env, check=False)
    assert run.returncode == 1
    assert run.stdout.splitlines() == [
        f"table public.a: 140 rows {where}, 141 were recorded",
        f"schema {where}: FUNCTION public.f() was not on the source",
        f"schema {where}: VIEW public.v is missing",
        f"schema {where}: VIEW public.w differs",
    ]
    cluster.psql("DROP TABLE spaced", scribe.dbname)
    cluster.query(f"DROP TABLESPACE {space}")


def test_a_rehearsal_of_an_empty_database(scribe: Scribe, cluster: Cluster) -> None:
    scribe.run("scribe-init")
    scribe.start_stream()
    scribe.run("scribe-rotate", "--record")
    said = json.loads(scribe.run("scribe-verify", "--rehearse", "--json", env=_server_env(cluster)).stdout)
    assert (said["ok"], said["tables"]) == (True, 0)


def test_neither_cluster_nor_files_outlive_a_rehearsal_that_is_killed(
    made: Aged, cluster: Cluster, place: Path
) -> None:
    command = [ROOT / "bin/scribe-verify", "--archive", made.path, "--rehearse", "--directory", place]
    with subprocess.Popen(command, env=_server_env(cluster), stderr=subprocess.DEVNULL) as process:
        pid_files = "scribe-rehearsal-*/data/postmaster.pid"
        running = poll(lambda: [w for p in place.glob(pid_files) for w in p.read_text().split()], 60, "a server")
        server = int(running[0])
        process.kill()
    poll(lambda: not Path(f"/proc/{server}").exists(), 30, "the server's end")
    assert list(place.iterdir())
    change(made.archive.bases()[-1].path / "manifest.json", rows={"public.t": 0})
    verify(made, "--rehearse", "--directory", str(place), env=_server_env(cluster))
    assert list(place.iterdir()) == []
