"""make install: what is put where, that it runs elsewhere, manual pages and completion, and that nothing is left."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import ROOT, find_pg_config

PROGRAMS = sorted(path.name for path in (ROOT / "bin").glob("scribe-*"))
THEIRS = ("etc/scribe/shop.env", "units/scribe-stream@.service.d/site.conf", "usr/share/man/man1/other.1")
pytestmark = [pytest.mark.unit, pytest.mark.slow]


def make(target: str, destdir: Path) -> None:
    """Run make for an installation below destdir, with the prefix /usr."""
    words = {"DESTDIR": str(destdir), "PREFIX": "/usr", "systemdsystemunitdir": "/units", "PG_CONFIG": find_pg_config()}
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    command = ["sh", "-c", 'umask 077 && exec make -C "$@"', "sh", str(ROOT), target]
    subprocess.run(
        [*command, *(f"{k}={v}" for k, v in words.items())], env=environment, check=True, capture_output=True
    )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The root of an installation, moved to another place after it was made."""
    directory = tmp_path_factory.mktemp("installed")
    destdir = directory / "made"
    for name in THEIRS:
        (destdir / name).parent.mkdir(parents=True)
        (destdir / name).write_text("theirs\n")
    make("install", destdir)
    destdir.rename(directory / "moved")
    directory.chmod(0o755)
    yield directory / "moved"
    shutil.rmtree(directory)


def test_programs_run_where_they_were_moved_to(installed):
    said = subprocess.check_output([installed / "usr/bin/scribe-meta", "--version"], env={}, text=True)
    assert said.startswith("scribe-meta (pg_scribe) ")


def test_other_users_may_read_it(installed):
    ours = [path for path in installed.rglob("*") if str(path.relative_to(installed)) not in THEIRS]
    assert [path for path in ours if path.is_file() and not path.stat().st_mode & 0o004] == []


LIBRARIES = [("scribe_decoder", "_PG_output_plugin_init"), ("scribe_capture", "_PG_init")]


@pytest.mark.parametrize(("name", "entry"), LIBRARIES)
def test_a_library_shows_other_libraries_nothing_but_its_entry_points(installed, name, entry):
    (library,) = installed.rglob(f"{name}.so")
    listed = subprocess.check_output(["nm", "--dynamic", "--defined-only", "--just-symbols", library], text=True)
    assert sorted(listed.split()) == ["Pg_magic_func", entry]


def test_a_start_compiles_nothing(installed):
    tree = installed / "usr/lib/pg_scribe"
    before = {path: path.stat().st_mtime_ns for path in tree.rglob("*.pyc")}
    assert any("lib/scribe/__pycache__" in str(path) for path in before)
    subprocess.run([installed / "usr/bin/scribe-restore", "--help"], check=True, stdout=subprocess.DEVNULL)
    assert {path: path.stat().st_mtime_ns for path in tree.rglob("*.pyc")} == before


def test_nothing_names_the_place_it_was_made_in(installed):
    # not the tree alone: a short path such as /src is in what others have built, too
    names = [installed.parent / "made", *(ROOT / part for part in ("bin/scribe", "lib/scribe", ".venv"))]
    command = ["grep", "-rlF", *(f"--regexp={name}" for name in names), installed / "usr/lib/pg_scribe"]
    assert subprocess.run(command, capture_output=True, text=True, check=False).stdout == ""


@pytest.mark.parametrize("name", ["scribe_decoder", "scribe_capture"])
def test_the_libraries_are_in_their_servers_library_directory(installed, name):
    pkglibdir = subprocess.check_output([find_pg_config(), "--pkglibdir"], text=True).strip()
    assert (installed / pkglibdir.lstrip("/") / f"{name}.so").stat().st_mode & 0o111


def test_what_hints_and_pages_name_is_where_they_say(installed):
    paths = "SQL / 'drop_slot.sql', SQL / 'monitor.sql', find_document('docs/alarms.md')"
    script = f"from scribe.common.paths import SQL, find_document; print({paths})"
    tree = installed / "usr/lib/pg_scribe"
    command = [tree / ".venv/bin/python", "-P", "-c", script]
    named = subprocess.check_output(command, env={"PYTHONPATH": str(tree / "lib")}, text=True).split()
    assert [Path(name).is_file() for name in named] == [True] * 3
    assert named[2] == str(installed / "usr/share/doc/pg_scribe/alarms.md")
    check = installed / "usr/bin/scribe-check"
    said = subprocess.run([check], env={"SCRIBE_NOPE": "1"}, capture_output=True, text=True, check=False).stdout
    assert Path(str(re.search(r'See "([^"]*)"', said)[1])).is_file(), said


def test_live_settings_are_left_alone(installed):
    assert [path.name for path in (installed / "etc").rglob("*") if path.is_file()] == ["shop.env"]
    assert (installed / "etc/scribe/shop.env").read_text() == "theirs\n"
    assert (installed / "usr/share/doc/pg_scribe/etc/scribe.env.example").is_file()


def test_uninstall_leaves_nothing_but_what_others_put_there(installed, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(installed, copy, symlinks=True)
    assert (copy / "units/scribe-stream@.service.d/10-hardening.conf").is_file()
    make("uninstall", copy)
    assert sorted(path for path in copy.rglob("*") if not path.is_dir()) == [copy / name for name in sorted(THEIRS)]
    assert [(copy / name).read_text() for name in THEIRS] == ["theirs\n"] * len(THEIRS)


# --- documents ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_option_of_help_is_in_the_manual_page(installed, program):
    page = (installed / f"usr/share/man/man1/{program}.1").read_text().replace("\\-", "-")
    said = subprocess.check_output([installed / "usr/bin" / program, "--help"], env={}, text=True)
    flags = set(re.findall(r"(?m)^  (?:-., )*(--[a-z-]+|-.)\b", said))
    assert len(flags) > 5
    assert [flag for flag in flags if not re.search(rf"\\fB{re.escape(flag)}\\fR", page)] == []
    for section in ("NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "SEE ALSO"):
        assert f".SH {section}\n" in page


def test_the_settings_have_a_manual_page_with_every_key(installed):
    page = (installed / "usr/share/man/man5/scribe.env.5").read_text()
    example = (ROOT / "etc/scribe.env.example").read_text()
    for key in re.findall(r"(?m)^#?([A-Z_]+)=", example):
        assert f"\\fB{key}=" in page


def test_manual_pages_are_well_formed(installed):
    checker = shutil.which("mandoc")
    if checker is None:
        pytest.skip("place: mandoc is not installed")
    for page in (installed / "usr/share/man").rglob("scribe*"):
        command = [checker, "-T", "lint", "-W", "warning", page]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (result.returncode, result.stdout) == (0, "")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("scribe-dump --form", ["--format"]),
        ("scribe-dump --format ", ["plain", "directory"]),
        ("scribe-dump --format = d", ["directory"]),
        ("scribe-check --format ", ["json", "nagios", "prometheus", "table"]),
        ("scribe-rotate --wait-lsn ", ["current"]),
        ("scribe-restore --target-e", ["--target-exclusive"]),
        ("scribe-restore -d ", []),
        ("scribe-init --config /etc/passw", ["/etc/passwd"]),
    ],
)
def test_bash_completes_options_values_and_files(installed, line, words):
    program, *rest = line.split(" ")
    file = installed / f"usr/share/bash-completion/completions/{program}"
    script = '. "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _scribe; printf "%s\\n" "${COMPREPLY[@]}"'
    said = subprocess.check_output(["bash", "-c", script, file, program, *rest], text=True).split()
    assert [word for word in said if not word.startswith("/etc/passwd-")] == words


def test_a_server_without_its_headers_is_not_built_for(tmp_path: Path) -> None:
    """So they are installed: Debian's client package has PGXS, and a server alone has no headers."""
    place = tmp_path / "15"
    (place / "bin").mkdir(parents=True)
    answers = f'case $1 in --bindir) echo "{place}/bin" ;; *) echo "{place}" ;; esac\n'
    for program, text in (("postgres", ""), ("pg_config", answers)):
        (place / "bin" / program).write_text("#!/bin/sh\n" + text)
        (place / "bin" / program).chmod(0o755)
    command = [ROOT / "tools/find-pg-config", tmp_path]
    found = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    assert found != str(place / "bin/pg_config")
    (place / "postgres.h").touch()
    assert subprocess.check_output(command, text=True).strip() == str(place / "bin/pg_config")
