"""An archive that came from somebody else, or through somebody's hands: what is not as it was written is refused."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
import zstandard
from cluster import ROOT
from handmade import Handmade
from restoring import TABLES, Target, insert
from starting import run_program

from scribe.archive import rolefiles
from scribe.archive.checksums import list_base, read_entry
from scribe.archive.layout import Archive
from scribe.archive.verification import Fault, Verification

DUMP = TABLES + "\n-- PostgreSQL database dump complete\n\n"
EVIL = "CREATE ROLE evil SUPERUSER;\n"


@pytest.fixture
def made(tmp_path: Path) -> Handmade:
    """A base, a segment and two files of globals."""
    archive = Handmade(tmp_path / "archive")
    archive.base(DUMP, globals_sql="CREATE ROLE postgres;\n")
    archive.segment([insert(2)])
    archive.globals("20261123T000000Z", "CREATE ROLE one;\n")
    archive.globals("20261124T000000Z", "CREATE ROLE two;\n")
    for path in [archive.path, *archive.path.rglob("*")]:
        path.chmod(0o700 if path.is_dir() else 0o600)
    return archive


def faults(made: Handmade) -> list[Fault]:
    return [fault for fault in Verification(Archive(made.path)).run().faults if fault.file != "base"]


def only_fault(made: Handmade, file: str, what: str) -> None:
    found = faults(made)
    assert [(file in fault.file, what in fault.what) for fault in found] == [(True, True)], list(map(str, found))


def first_globals(made: Handmade) -> Path:
    return made.path / "globals" / "20261123T000000Z.sql"


def test_a_good_archive_has_no_fault(made: Handmade) -> None:
    assert faults(made) == []
    assert [path.stem for path, _ in rolefiles.usable(Archive(made.path))] == ["20261123T000000Z", "20261124T000000Z"]


def test_globals_with_a_line_added_or_cut_off_are_found(made: Handmade) -> None:
    path = first_globals(made)
    text = path.read_text()
    path.write_text(text.upper())
    only_fault(made, path.name, "checksum")
    path.write_text(text + EVIL)
    only_fault(made, path.name, "its manifest says")


def test_globals_without_their_manifest_are_found(made: Handmade) -> None:
    last = made.path / "globals" / "20261125T000000Z.sql"
    last.write_text(EVIL)
    last.chmod(0o600)
    outcome = Verification(Archive(made.path)).run()
    assert any("unfinished; no restore runs it" in note for note in outcome.notes)
    assert last not in [path for path, _ in rolefiles.usable(Archive(made.path))]
    between = made.path / "globals" / "20261123T120000Z.sql"
    last.rename(between)
    only_fault(made, between.name, "its manifest is missing")
    between.unlink()
    first_globals(made).unlink()
    only_fault(made, first_globals(made).name, "it is missing")


def test_globals_of_older_versions_are_accepted_and_said(made: Handmade) -> None:
    for path in (made.path / "globals").glob("*.json"):
        path.unlink()
    outcome = Verification(Archive(made.path)).run()
    assert [note for note in outcome.notes if "has no checksum" in note] == [
        f"globals/{stamp}.sql: it has no checksum; an older pg_scribe wrote it"
        for stamp in ("20261123T000000Z", "20261124T000000Z")
    ]
    rolefiles.write(Archive(made.path), "20261126T000000Z", b"CREATE ROLE three;\n")
    found = rolefiles.look(Archive(made.path))
    assert (len(found.good), len(found.old), found.unfinished, found.lost) == (1, 2, [], [])


def test_what_a_program_that_died_has_left_is_removed_by_the_next(made: Handmade) -> None:
    left = made.path / "globals" / "20261125T000000Z.sql"
    left.write_text(EVIL)
    rolefiles.write(Archive(made.path), "20261126T000000Z", b"CREATE ROLE three;\n")
    assert not left.exists()
    assert len(rolefiles.usable(Archive(made.path))) == 3


def test_a_file_in_a_base_that_its_manifest_does_not_name_is_found(made: Handmade) -> None:
    extra = next((made.path / "base").iterdir()) / "base.dir"
    extra.mkdir(mode=0o700)
    (extra / "toc.dat").write_text("x")
    (extra / "toc.dat").chmod(0o600)
    only_fault(made, "toc.dat", "its base's manifest does not name it")


@pytest.mark.parametrize("text", ["\\! id\n", "SELECT 1 \\! id\n"])
def test_a_command_of_psqls_in_a_base_is_found_though_its_checksum_fits(tmp_path: Path, text: str) -> None:
    archive = Handmade(tmp_path / "archive")
    archive.base(DUMP + text)
    for path in [archive.path, *archive.path.rglob("*")]:
        path.chmod(0o700 if path.is_dir() else 0o600)
    only_fault(archive, "base.sql.zst", "is a command to psql")


def strange(path: Path, how: str) -> str:
    """Make something else of a file, with the same contents if there are any; return what is said of it."""
    content = path.read_bytes()
    other = path.parents[2] / f"other-{path.name}"
    if how == "link":
        path.rename(other)
        path.symlink_to(other)
        return "it is a symbolic link"
    if how == "pipe":
        path.unlink()
        os.mkfifo(path, 0o600)
        return "it is no plain file"
    if how == "open":
        path.parent.chmod(0o777)
        return "others may put another in its place"
    if how == "writable":
        path.chmod(0o666)
        return "others may change it (mode 0666)"
    assert content
    os.chown(path, 65534, 65534)
    return "it belongs to another user (uid 65534)"


@pytest.mark.parametrize("how", ["link", "pipe", "writable", "owner", "open"])
@pytest.mark.parametrize("where", ["incremental/*.sql.zst", "base/*/meta.json", "incremental/*.json"])
def test_what_is_no_plain_file_of_ours_is_found(made: Handmade, how: str, where: str) -> None:
    if how == "owner" and os.geteuid() != 0:
        pytest.skip("not root: cannot give files away")
    path = next(made.path.glob(where))
    what = strange(path, how)
    assert any(what in fault.what for fault in faults(made)), list(map(str, faults(made)))


def test_what_is_said_of_it_is_one_line_and_controls_no_terminal(made: Handmade) -> None:
    path = next(made.path.glob("incremental/*.json"))
    value = json.loads(path.read_text())
    path.write_text(json.dumps(value | {"database": "x\nnothing is wrong\x1b[2J"}))
    (made.path / "base" / "y\x1b[2J").touch()
    result = run_program([str(ROOT / "bin/scribe-verify")], os.environ | {"SCRIBE_ARCHIVE": str(made.path)})
    assert (result.returncode, result.stdout.count("nothing is wrong")) == (1, 1)
    assert "\nnothing" not in result.stdout and "\x1b" not in result.stdout + result.stderr


def test_a_directory_on_another_disk_is_the_operators_business(made: Handmade, tmp_path: Path) -> None:
    (made.path / "incremental").rename(tmp_path / "disk")
    (made.path / "incremental").symlink_to(tmp_path / "disk")
    assert faults(made) == []
    stamp = next((made.path / "base").iterdir())
    stamp.rename(tmp_path / "stamp")
    stamp.symlink_to(tmp_path / "stamp")
    assert any("it is a symbolic link" in fault.what for fault in faults(made))


# --- what scribe-restore says to it -----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["link", "writable", "pipe", "open"])
def test_a_restore_refuses_it_before_anything_is_done(target: Target, how: str) -> None:
    target.archive.base(TABLES)
    target.archive.segment([insert(2)])
    what = strange(next(target.path.glob("incremental/*.zst")), how)
    assert what in target.refused()
    assert not target.exists()


def test_changed_globals_are_refused(target: Target) -> None:
    target.archive.base(TABLES)
    path = target.archive.globals("20261123T000000Z", "SELECT 1;\n")
    path.write_text("SELECT 2;\n")
    assert "checksum" in target.refused()
    assert not target.exists()


def test_what_a_manifest_does_not_name_is_not_run(target: Target) -> None:
    stamp = target.archive.base(TABLES)
    path = target.path / "base" / stamp
    manifest = json.loads((path / "manifest.json").read_text())
    left = ("globals.sql", "database.sql")
    manifest["files"] = [entry for entry in manifest["files"] if entry["name"] not in left]
    (path / "manifest.json").write_text(json.dumps(manifest))
    for name in left:
        (path / name).write_text("CREATE ROLE evil_unlisted;\n")
    target.run()
    assert not target.cluster.query("SELECT 1 FROM pg_roles WHERE rolname = 'evil_unlisted'")


def test_a_segment_that_holds_more_than_its_manifest_says_is_refused(target: Target) -> None:
    target.archive.base(TABLES)
    manifest = target.archive.segment([insert(2)])
    value = json.loads(manifest.read_text())
    value["plain_bytes"] = 100
    manifest.write_text(json.dumps(value))
    assert "holds more than its manifest says" in target.refused()
    assert zstandard.decompress(next(target.path.glob("incremental/*.zst")).read_bytes())


def counted(text: bytes) -> bytes:
    """A text as a dump's table of contents has it."""
    return b"\0" + len(text).to_bytes(4, "little") + text


def test_a_dump_names_no_file_outside_its_directory(target: Target, tmp_path: Path) -> None:
    """The pg_restore of many versions would bring the host's file into the database."""
    secret = tmp_path / "secret"
    secret.write_text("7\tsecret\n\\.\n")
    stamp = target.archive.base(TABLES + "SELECT lo_from_bytea(77, 'x');\n")
    target.run()
    directory = target.as_directory(stamp)
    target.cluster.dropdb(target.name)
    whole = {path: path.read_bytes() for path in (directory / "toc.dat", next(directory.glob("blobs*.toc")))}
    contents, blobs = whole
    data = next(path.name.partition(".")[0] for path in directory.glob("[0-9]*.dat*")) + ".dat"
    away = f"{'../' * 40}{secret}"
    program = subprocess.check_output([f"{target.cluster.bindir}/pg_dump", "--version"])
    version = counted(program.strip().partition(b"(PostgreSQL) ")[2])
    start = whole[contents].rindex(version) + len(version)
    number = whole[contents][start : start + 5]  # of entries
    none_to_us = b"\1" + (2**32 - int.from_bytes(number[1:], "little")).to_bytes(4, "little")
    for path, old, new, what in (
        (contents, counted(data.encode()), counted(away.encode()), "it names the file"),
        (contents, counted(blobs.name.encode()), counted(b"../base.dir/blobs.toc"), "it names the file"),
        (blobs, b"blob_77.dat", away.encode(), "has a line that is not pg_dump's"),
        (contents, b"PGDMP", b"PGDMQ", "pg_dump has not written it"),
        # what it names is read from a number that only a 32-bit integer makes the same
        (contents, version + number, version + none_to_us, "it has a number that is not pg_dump's"),
        (contents, counted(data.encode()), b"\1" + b"\xff" * 4, "it has a number that is not pg_dump's"),
        (contents, version + number, version + b"\0" * 5, "it goes on after its end"),
    ):
        assert whole[path].count(old) == 1
        path.write_bytes(whole[path].replace(old, new))
        target.sign(stamp)
        assert what in target.refused() and what in target.refused("--plan")
        target.cluster.dropdb(target.name)
        entry = next(
            each
            for each in list_base(Archive(target.path), Archive(target.path).bases()[0])
            if each.name.endswith(contents.name)
        )
        assert what in (read_entry(entry) or "")
        path.write_bytes(whole[path])
    (directory / "toc.glo").write_bytes(b"")  # a pg_restore of 19 or newer would take it for a dump of a whole cluster
    target.sign(stamp)
    assert 'beside it is "toc.glo", which pg_dump has not written' in target.refused()
    (directory / "toc.glo").unlink()
    target.cluster.dropdb(target.name)
    rows = next(directory.glob("[0-9]*.dat*"))
    kept = rows.read_bytes()
    rows.write_bytes(kept[: len(kept) // 2])  # which ends within a COPY
    target.sign(stamp)
    assert all(line.startswith("scribe-restore: ") for line in target.refused().splitlines())
    target.cluster.dropdb(target.name)
    rows.write_bytes(kept)
    target.sign(stamp)
    target.run()
    assert target.rows("SELECT lo_get(77)") == [(b"x",)]
