"""Archives that earlier versions made, restored on the server under test for good: by scribe-restore, by psql alone."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster import ROOT, Cluster
from fingerprint import OPTIONS, read_fingerprint
from source import Scribe

KEPT = sorted((ROOT / "tests/archives").glob("format-*"))
ROLES = ("kept_owner", "kept_reader")


@pytest.fixture(params=KEPT, ids=lambda path: path.name)
def kept(request: pytest.FixtureRequest, cluster: Cluster) -> Iterator[Path]:
    """A kept archive that the server under test is new enough for; it must be as it was afterwards."""
    path: Path = request.param
    if json.loads((path / "expected.json").read_text())["server"] // 10000 > cluster.version_num // 10000:
        pytest.skip("server version: the archive was made by a newer one")
    before = digest(path)
    yield path
    cluster.dropdb("kept_copy")
    cluster.psql("".join(f"DROP ROLE IF EXISTS {role};" for role in ROLES))
    assert digest(path) == before


def digest(path: Path) -> dict[str, str]:
    files = [file for file in sorted(path.rglob("*")) if file.is_file()]
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def restore(cluster: Cluster, archive: Path, *arguments: str) -> dict[str, Any]:
    command = [str(ROOT / "bin/scribe-restore"), "--archive", str(archive), "-d", "kept_copy", "--json", *arguments]
    result = subprocess.run(command, env=cluster.env, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "warning" not in result.stderr
    report: dict[str, Any] = json.loads(result.stdout)
    return report


def assert_as_recorded(cluster: Cluster, archive: Path, point: str, *, database: bool = True) -> None:
    """Compare the copy with the source. database: also what createdb alone does not give it."""
    expected: dict[str, list[str]] = json.loads((archive / "expected.json").read_text())[point]
    with cluster.connect("kept_copy", options=OPTIONS) as conn:
        found = read_fingerprint(conn)
    if not database:
        del found["database"], expected["database"]
    for kind in expected.keys() | found.keys():
        assert found.get(kind) == expected.get(kind), kind


def test_an_archive_of_each_format_is_restored_from_each_of_its_bases(kept: Path, cluster: Cluster) -> None:
    stamps = sorted(path.name for path in (kept / "base").iterdir())
    formats = []
    for stamp in stamps:
        restore(cluster, kept, "--base", stamp, "--target-name", "kept", "--jobs", "2")
        assert_as_recorded(cluster, kept, "at the mark")
        restore(cluster, kept, "--base", stamp, "--resume")
        assert_as_recorded(cluster, kept, "at the end")
        formats.append(json.loads((kept / "base" / stamp / "manifest.json").read_text())["format"])
        cluster.dropdb("kept_copy")
    assert formats == ["plain", "directory"]


def test_an_archive_of_each_format_is_restored_by_psql_alone(kept: Path, cluster: Cluster) -> None:
    base = min((kept / "base").iterdir())
    cluster.psql((base / "globals.sql").read_text().replace("CREATE ROLE postgres;", ""))
    Scribe(cluster, "kept", kept).restore_with_psql("kept_copy", base)
    assert_as_recorded(cluster, kept, "at the end", database=False)


def test_an_archive_of_each_format_is_restored_from_joined_segments(
    kept: Path, cluster: Cluster, tmp_path: Path
) -> None:
    archive = tmp_path / "archive"
    shutil.copytree(kept, archive)
    before = len(list((archive / "incremental").glob("*.json")))
    env = cluster.env | {"SCRIBE_KEEP_EXACT_DAYS": "0"}
    command = [str(ROOT / "bin/scribe-compact"), "--archive", str(archive)]
    result = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert len(list((archive / "incremental").glob("*.json"))) < before, result.stderr
    restore(cluster, archive)
    assert_as_recorded(cluster, archive, "at the end")


@pytest.mark.unit
def test_there_is_one_for_each_format_version() -> None:
    from scribe import FORMAT_VERSION

    assert [path.name for path in KEPT] == [f"format-{number}" for number in range(1, FORMAT_VERSION + 1)]
