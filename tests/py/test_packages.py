"""make deb: the packages hold what an installation holds, and install and go on a Debian system."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import ROOT, find_pg_config

pytestmark = [pytest.mark.unit, pytest.mark.slow]
# Packages are installed into a copy of this very system, which vanishes with the process: an overlay takes the writes.
IN_COPY = """
    mount -t overlay overlay -o lowerdir=/,upperdir="$1/upper",workdir="$1/work" "$1/root" || exit 77
    mount --rbind /proc "$1/root/proc" && mount --rbind /dev "$1/root/dev" && mkdir -p "$1/root/packages" &&
    mount --bind "$2" "$1/root/packages" && exec chroot "$1/root" sh -euc "$3"
"""


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The packages, by name."""
    if shutil.which("dpkg-deb") is None:
        pytest.skip("place: dpkg-deb is not installed")
    directory = tmp_path_factory.mktemp("packages")
    environment = os.environ | {"PG_CONFIG": find_pg_config(), "COMPRESSION": "gzip"}
    said = subprocess.check_output([ROOT / "tools/make-deb", directory], env=environment, text=True)
    return {Path(line).name.split("_")[0]: Path(line) for line in said.splitlines()}


@pytest.fixture
def copy(tmp_path: Path) -> Iterator[Path]:
    """A place for an overlay."""
    if os.geteuid() != 0:
        pytest.skip("not root: only root can mount a copy of the system")
    place = Path(subprocess.check_output(["mktemp", "-d", "/var/tmp/scribe-deb.XXXXXX"], text=True).strip())
    for name in ("upper", "work", "root"):
        (place / name).mkdir()
    yield place
    shutil.rmtree(place)


# What an ordinary user needs to start anything, with the modes as root sees them.
MODES = "stat -L -c '%a %U:%G %n' / /usr /usr/lib /lib/*-linux-gnu /lib/*-linux-gnu/libc.so.6 /bin/sh"
AS_SCRIBE = "setpriv --reuid=scribe --regid=scribe --init-groups"


def run_in(copy: Path, packages: dict[str, Path], script: str) -> str:
    """Run a script as root in the copy of this system; skip where there can be none."""
    directory = next(iter(packages.values())).parent
    command = ["unshare", "-m", "--propagation", "private", "sh", "-c", IN_COPY, "sh", copy, directory, script]
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if result.returncode == 77 or "unshare failed" in result.stderr:
        pytest.skip("place: no overlay can be mounted here")
    if result.returncode == 78:  # seen on build servers: libc.so.6 is there, mode 755, and only root may open it
        pytest.skip("place: ordinary users can run nothing in an overlay here")
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def files_of(package: Path) -> dict[str, str]:
    """Return modes and owners of a package's files, by name."""
    listing = subprocess.check_output(["dpkg-deb", "-c", package], text=True)
    fields = [line.split(None, 5) for line in listing.splitlines()]
    return {name.split(" -> ")[0].removeprefix("."): f"{mode} {owner}" for mode, owner, _, _, _, name in fields}


def test_there_are_two_and_every_file_belongs_to_root(packages):
    major = re.findall(r"\d+", subprocess.check_output([find_pg_config(), "--version"], text=True))[0]
    assert packages.keys() == {"pg-scribe", f"postgresql-{major}-scribe-decoder"}
    for package in packages.values():
        assert all(entry.endswith(" root/root") for entry in files_of(package).values())


def test_the_toolkit_has_programs_units_pages_and_no_live_settings(packages):
    files = files_of(packages["pg-scribe"])
    for program in (path.name for path in (ROOT / "bin").glob("scribe-*")):
        assert f"/usr/bin/{program}" in files
        assert f"/usr/share/man/man1/{program}.1.gz" in files
    assert "/usr/lib/systemd/system/scribe@.target" in files
    assert "/usr/share/doc/pg-scribe/copyright" in files
    assert not any(name.startswith(("/etc/", "/var/", "/usr/local/")) for name in files)


def test_the_libraries_are_alone_in_their_package(packages):
    (name,) = [name for name in packages if name != "pg-scribe"]
    libraries = [file for file in files_of(packages[name]) if not file.endswith("/") and "/doc/" not in file]
    pkglibdir = subprocess.check_output([find_pg_config(), "--pkglibdir"], text=True).strip()
    assert libraries == [f"{pkglibdir}/scribe_capture.so", f"{pkglibdir}/scribe_decoder.so"]


def test_they_are_installed_run_and_are_purged_without_a_trace(packages, copy):
    version = subprocess.check_output(["dpkg-deb", "-f", packages["pg-scribe"], "Depends"], text=True)
    said = run_in(
        copy,
        packages,
        f"""
        alias dpkg='dpkg --no-triggers --force-unsafe-io --force-depends'
        {MODES} >/before
        dpkg -i /packages/*.deb >/dev/null
        {MODES} | diff /before - >&2
        scribe-dump --version
        stat -c '%U:%G %a %n' /etc/scribe /var/lib/scribe /var/backups/scribe
        {AS_SCRIBE} scribe-init --print-settings >/settings 2>&1 || {{
            echo "failed: $?"
            {AS_SCRIBE} /bin/sh -c : || exit 78
        }}
        head -n 1 /settings
        echo SCRIBE_ARCHIVE=/var/backups/scribe/shop >/etc/scribe/shop.env
        dpkg -V pg-scribe
        dpkg -L pg-scribe | grep scribe >/files
        dpkg -i /packages/pg-scribe_*.deb >/dev/null
        dpkg -r pg-scribe >/dev/null
        cat /etc/scribe/shop.env
        rm /etc/scribe/shop.env
        dpkg -P $(cd /packages && ls | sed 's/_.*//') >/dev/null
        ls -d $(cat /files) /etc/scribe /var/lib/scribe /var/backups/scribe 2>/dev/null || true
        """,
    )
    assert "python3 (>= 3." in version
    assert re.fullmatch(
        r"scribe-dump \(pg_scribe\) \S+\n"
        r"root:scribe 750 /etc/scribe\nscribe:scribe 755 /var/lib/scribe\nscribe:scribe 700 /var/backups/scribe\n"
        r"SCRIBE_ARCHIVE +not set\n"
        r"SCRIBE_ARCHIVE=/var/backups/scribe/shop\n",
        said,
    ), said


def test_lintian_finds_no_error(packages):
    lintian = shutil.which("lintian")
    if lintian is None:
        pytest.skip("place: lintian is not installed")
    result = subprocess.run(
        [lintian, "--fail-on", "error", *packages.values()], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout
