"""The plan: shell commands that do what a restore does."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from cluster import Cluster
from compare import assert_equal
from restoring import TABLES, Target, insert, small_archive


@pytest.mark.skipif(shutil.which("zstdcat") is None, reason="zstdcat is not installed")
@pytest.mark.parametrize("arguments", [[], ["--target-xid", "706"], ["--target-lsn", "0/1000000"]])
def test_the_plan_does_what_the_restore_does(target: Target, arguments: list[str]) -> None:
    small_archive(target)
    with_psql = f"{target.name} 'psql'"
    plan = subprocess.run(
        target.command("-d", with_psql, "--plan", *arguments),
        env=target.cluster.env,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    try:
        subprocess.run(["sh", "-c", plan], env=target.cluster.env, check=True, stderr=subprocess.DEVNULL)
        target.run(*arguments)
        with_program, by_hand = target.cluster.dump(target.name), target.cluster.dump(with_psql)
        assert_equal(by_hand, with_program, ("plan", "restore"))
    finally:
        target.cluster.dropdb(with_psql)


@pytest.mark.parametrize("damage", ["a base cut short", "a segment cut short", "another byte"])
def test_the_plan_looks_at_every_file_before_it_begins(target: Target, damage: str) -> None:
    small_archive(target)
    plan = target.run("--plan", "--target-xid", "709").stdout
    paths = [*target.path.glob("base/*/base.sql.zst"), *sorted(target.path.glob("incremental/*.sql*"))]
    path = paths[0] if damage == "a base cut short" else paths[-1]
    data = path.read_bytes()
    path.write_bytes(data[:-40] if "short" in damage else data[:-1] + bytes([data[-1] ^ 1]))
    result = subprocess.run(["sh", "-c", plan], env=target.cluster.env, capture_output=True, text=True, check=False)
    assert result.returncode != 0
    assert path.name in result.stdout + result.stderr
    assert not target.exists()


def test_the_plan_survives_what_a_path_may_hold(cluster: Cluster, tmp_path: Path) -> None:
    target = Target(cluster, tmp_path / "new\nline 'quoted' \\ $(false)")
    small_archive(target)
    try:
        plan = target.run("--plan").stdout
        subprocess.run(["sh", "-c", plan], env=cluster.env, check=True, stderr=subprocess.DEVNULL)
        assert target.rows("SELECT count(*) FROM t") == [(10,)]
    finally:
        cluster.dropdb(target.name)


def test_the_plan_leaves_out_what_the_base_holds(target: Target) -> None:
    small_archive(target)
    target.archive.base(TABLES)
    target.archive.segment([insert(20)])
    plan = target.run("--plan").stdout
    assert plan.count("incremental/") == 2  # its checksum, and psql
    subprocess.run(["sh", "-c", plan], env=target.cluster.env, check=True, stderr=subprocess.DEVNULL)
    assert target.rows() == [(1, "one"), (20, "v20")]
