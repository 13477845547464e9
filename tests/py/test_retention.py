"""Retention: what the policy promises stays reachable, whatever the archive, the clock or a crash does."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from aged import EPOCH, Aged, change, find_lost, points, random_archive
from cluster import ROOT
from starting import run_program

from scribe.archive.chains import Target, find_chains
from scribe.archive.removal import list_steps, prune
from scribe.archive.retention import Policy, find_trusted, make_plan, read_contents, read_time
from scribe.archive.verification import Verification
from scribe.common.dialect import format_time
from scribe.common.errors import ScribeError, TryAgainError

pytestmark = pytest.mark.unit
POLICY = Policy(7, 30, 12)


@pytest.fixture
def made(tmp_path: Path) -> Aged:
    return Aged(tmp_path / "archive")


def daily(made: Aged, days: int, *, every: int = 1) -> list[str]:
    """A base every so many days and a segment each half day."""
    stamps = []
    for day in range(days):
        if day % every == 0:
            stamps.append(made.add_base(day))
        made.add_segment(day + 0.25)
        made.add_segment(day + 0.75)
    return stamps


def names(made: Aged) -> set[str]:
    found = (path.relative_to(made.path).as_posix() for path in made.path.rglob("*") if path.is_file())
    return {name for name in found if not name.startswith("spool/")}


def run(made: Aged, *arguments: str, status: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SCRIBE_")}
    environment = inherited | {"SCRIBE_ARCHIVE": str(made.path), **env}
    result = run_program([ROOT / "bin/scribe-prune", *arguments], environment)
    assert result.returncode == status, result.stdout + result.stderr
    return result


def faults(made: Aged) -> list[str]:
    return [str(fault) for fault in Verification(made.archive).run().faults]


# --- the policy -------------------------------------------------------------------------------------------------------


def promised(made: Aged, policy: Policy) -> list[Target]:
    """The points that must stay: those of the last days, and the consistent points of the bases to keep."""
    newest = made.now()
    window = (newest - timedelta(days=policy.incremental_days)).strftime("%Y-%m-%d %H:%M:%S.%f+00")
    since = newest - timedelta(days=policy.base_days)
    bases = made.archive.bases()
    recent = {b.consistent_point for b in bases if read_time(b.manifest["finished"]) >= since}
    later = {s.to_lsn for s in made.archive.segments() if _line(s.manifest["closed"]) >= window}
    found = []
    for target in points(made):
        if target.is_end or (target.time and target.time >= window) or target.lsn in recent | later:
            found.append(target)
    return found


def _line(text: str) -> str:
    return text.replace("T", " ").replace("Z", ".000000+00")


@pytest.mark.parametrize("seed", range(40))
def test_every_point_the_policy_promises_stays_reachable(tmp_path: Path, seed: int) -> None:
    policy = [POLICY, Policy(0, 0, 0), Policy(30, 3, 2), Policy(2, 10, 0)][seed % 4]
    made = random_archive(tmp_path / "archive", seed)
    before = promised(made, policy)
    had_bases = bool(made.archive.bases())
    plan = prune(made.archive, policy, None, confirm=True, now=made.now())
    assert not find_lost(made, before), plan
    assert bool(made.archive.bases()) == had_bases
    assert not [line for line in faults(made) if "hole" not in line and "no complete base" not in line]
    again = prune(made.archive, policy, None, confirm=True, now=made.now())
    assert again.removals == []


def test_the_policy_in_words(made: Aged) -> None:
    stamps = daily(made, 100, every=2)
    plan = prune(made.archive, POLICY, None, confirm=True, now=made.now())
    kept = [base.stamp for base in made.archive.bases()]
    assert kept[-1] == stamps[-1]
    month_ago = format_time(made.now() - timedelta(days=30))
    old = [stamp for stamp in kept if stamp < month_ago]
    assert old == [min(s for s in stamps if s.startswith(month)) for month in ("202611", "202612", "202701")]
    assert [stamp for stamp in kept if stamp >= month_ago] == [stamp for stamp in stamps if stamp >= month_ago]
    anchor = next(v for v in plan.verdicts if "last days" in v.reason)
    first = next(made.archive.segments())
    assert first.from_lsn <= next(b for b in made.archive.bases() if b.path == anchor.path).consistent_point
    assert len(made.archive.segment_names()) in (16, 18)
    assert "scribe-prune has removed" in str(find_chains(made.archive, made.archive.identity())[0].hole)
    assert faults(made) == []


@pytest.mark.parametrize("days", [1_000_000, 10**14])
def test_more_days_than_there_are_keep_everything(made: Aged, days: int) -> None:
    daily(made, 20)
    before = names(made)
    assert not prune(made.archive, Policy(days, days, 0), None, confirm=True, now=made.now()).removals
    assert names(made) == before


def test_no_base_and_one_base_stay_as_they_are(made: Aged) -> None:
    made.add_segment(1)
    before = names(made)
    assert "no complete base" in str(prune(made.archive, POLICY, None, confirm=True, now=made.now()).hold)
    assert names(made) == before
    made.add_base(2)
    before = names(made)
    made.at(400)
    plan = prune(made.archive, Policy(0, 0, 0), None, confirm=True, now=made.now())
    assert not plan.removals
    assert names(made) == before


def test_the_newest_segment_stays_though_no_point_needs_it(made: Aged) -> None:
    for day in range(5):
        made.add_segment(day)
    made.add_base(20)
    prune(made.archive, Policy(0, 0, 0), None, confirm=True, now=made.now())
    assert len(made.archive.segment_names()) == 1


# --- clocks -----------------------------------------------------------------------------------------------------------


def test_a_clock_before_the_newest_file_holds_everything(made: Aged) -> None:
    daily(made, 60)
    before = names(made)
    plan = prune(made.archive, POLICY, None, confirm=True, now=made.now() - timedelta(days=1))
    assert "the clock says" in str(plan.hold)
    assert names(made) == before


def test_a_clock_far_ahead_removes_no_more_than_the_archives_own_time_allows(made: Aged) -> None:
    daily(made, 20)
    plan = prune(made.archive, POLICY, None, confirm=False, now=made.now())
    assert prune(made.archive, POLICY, None, confirm=False, now=made.now() + timedelta(days=9000)) == plan


def test_a_file_from_the_future_holds_everything(made: Aged) -> None:
    daily(made, 20)
    stamp = made.add_base(20)
    change(made.path / f"base/{stamp}/manifest.json", finished="2031-01-01T00:00:00Z")
    assert "2031-01-01" in str(prune(made.archive, POLICY, None, confirm=True, now=made.now()).hold)


def test_a_base_written_under_a_clock_set_back_is_not_taken_for_old(made: Aged) -> None:
    daily(made, 20)
    stamp = made.add_base(20)
    change(made.path / f"base/{stamp}/manifest.json", started="2001-01-01T00:00:00Z", finished="2001-01-01T00:00:00Z")
    before = [target for target in points(made) if target.time and target.time >= "2026-12-05"]
    assert before
    prune(made.archive, POLICY, None, confirm=True, now=made.now())
    assert not find_lost(made, before)


# --- what holds it back -----------------------------------------------------------------------------------------------


def test_nothing_goes_while_the_chain_is_broken(made: Aged) -> None:
    daily(made, 60)
    shift(made)
    made.archive.declare_broken("the slot was lost", made.lsn)
    before = names(made)
    said = run(made, "--confirm", status=1)
    assert "the slot was lost" in said.stderr
    assert names(made) == before


def test_nothing_goes_when_a_segment_is_missing_and_no_base_follows(made: Aged) -> None:
    daily(made, 60)
    name = made.archive.segment_names()[-2]
    (made.archive.incremental / name).unlink()
    assert "cannot be reached" in str(prune(made.archive, POLICY, None, confirm=True, now=made.now()).hold)


@pytest.mark.parametrize("damage", ["flipped", "short", "gone"])
def test_nothing_goes_when_the_base_to_rely_on_is_damaged(made: Aged, damage: str) -> None:
    daily(made, 60)
    plan = make_plan(made.archive, made.archive.identity(), POLICY, made.now())
    path = plan.relies_on[0].path / "base.sql.zst"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data if damage == "flipped" else data[:-1])
    if damage == "gone":
        path.unlink()
    before = names(made)
    with pytest.raises(ScribeError, match="nothing is removed") as caught:
        prune(made.archive, POLICY, None, confirm=True, now=made.now())
    assert str(path) in caught.value.message
    assert names(made) == before


def test_a_foreign_or_swapped_manifest_stops_it(made: Aged) -> None:
    daily(made, 40)
    first, second = (made.archive.incremental / name for name in made.archive.segment_names()[:2])
    text = first.read_text()
    first.write_text(second.read_text())
    with pytest.raises(ScribeError, match="does not belong here"):
        prune(made.archive, POLICY, None, confirm=True, now=made.now())
    first.write_text(text.replace('"system_identifier": "1"', '"system_identifier": "2"'))
    with pytest.raises(ScribeError, match="system identifier"):
        prune(made.archive, POLICY, None, confirm=True, now=made.now())


def test_nothing_at_or_after_an_unfinished_base_goes(made: Aged) -> None:
    stamps = daily(made, 60)
    (made.path / f"base/.tmp-{stamps[2]}").mkdir(mode=0o700)
    prune(made.archive, Policy(0, 0, 0), None, confirm=True, now=made.now())
    kept = [base.stamp for base in made.archive.bases()]
    assert kept == stamps[2:]
    assert made.archive.segment_names()[0] >= stamps[2]


def test_what_the_archive_command_has_not_taken_stays(made: Aged) -> None:
    stamps = daily(made, 60)
    waiting = made.archive.segment_names()[4].replace(".json", ".sql.zst")
    unsent = [f"base/{stamps[1]}/base.sql.zst", f"incremental/{waiting}"]
    (made.archive.spool / "unsent.json").write_text(json.dumps(unsent))
    prune(made.archive, Policy(0, 0, 0), "cp %p /elsewhere", confirm=True, now=made.now())
    assert [base.stamp for base in made.archive.bases()] == [stamps[1], stamps[-1]]
    assert made.archive.segment_names()[0].startswith(waiting.split(".")[0])
    prune(made.archive, Policy(0, 0, 0), None, confirm=True, now=made.now())
    assert [base.stamp for base in made.archive.bases()] == [stamps[-1]]


def test_globals_in_force_at_the_oldest_base_stay(made: Aged) -> None:
    stamps = daily(made, 50)
    for stamp in (stamps[0], stamps[1], stamps[49]):
        (made.path / f"globals/{stamp}.sql").write_text("")
    prune(made.archive, Policy(0, 0, 0), None, confirm=True, now=made.now())
    assert [path.stem for path in made.archive.globals_files()] == [stamps[49]]
    for stamp in (stamps[0], stamps[1]):
        (made.path / f"globals/{stamp}.sql").write_text("")
    (made.path / f"globals/{stamps[49]}.sql").unlink()
    prune(made.archive, Policy(0, 0, 0), None, confirm=True, now=made.now())
    assert [path.stem for path in made.archive.globals_files()] == [stamps[1]]


# --- crashes and company ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_removal_cut_off_anywhere_leaves_a_whole_archive_and_is_ended_by_the_next(tmp_path: Path) -> None:
    made = Aged(tmp_path / "archive")
    daily(made, 50, every=7)
    (made.path / "globals/20261101T000000Z.sql").touch(mode=0o600)
    (made.path / "globals/20261102T000000Z.sql").touch(mode=0o600)
    policy = Policy(7, 10, 1)
    before = promised(made, policy)
    pristine = tmp_path / "pristine"
    made.path.rename(pristine)
    number, final = 0, None
    while True:
        shutil.copytree(pristine, made.path)
        plan = make_plan(made.archive, made.archive.identity(), policy, made.now())
        steps = list(list_steps(made.archive, plan))
        for step in steps[:number]:
            step()
        assert faults(made) == []
        assert not find_lost(made, before)
        prune(made.archive, policy, None, confirm=True, now=made.now())
        left = names(made)
        final = left if final is None else final
        assert left == final, f"after {number} steps"
        assert faults(made) == []
        shutil.rmtree(made.path)
        if number >= len(steps):
            break
        number += 1 if number < 12 or number > len(steps) - 6 else 7
    assert number > 20


def test_a_base_cut_off_while_its_files_go_is_ended_by_the_next_run(made: Aged) -> None:
    stamps = daily(made, 50)
    plan = make_plan(made.archive, made.archive.identity(), Policy(0, 0, 0), made.now())
    steps = list(list_steps(made.archive, plan))
    steps[0]()
    steps[1]()
    (made.path / f"base/{stamps[0]}/base.sql.zst").unlink()
    assert not (made.path / f"base/{stamps[0]}/manifest.json").exists()
    assert faults(made) == []
    prune(made.archive, Policy(0, 0, 0), None, confirm=True, now=made.now())
    assert [path.name for path in made.archive.bases_path.iterdir()] == [stamps[-1]]


def test_a_base_whose_manifest_was_lost_otherwise_is_not_touched(made: Aged) -> None:
    stamps = daily(made, 50)
    (made.path / f"base/{stamps[3]}/manifest.json").unlink()
    prune(made.archive, Policy(0, 0, 0), None, confirm=True, now=made.now())
    assert (made.path / f"base/{stamps[3]}/base.sql.zst").exists()
    assert any(stamps[3] in line for line in faults(made))


def test_a_copy_made_without_the_spool_can_be_pruned(made: Aged) -> None:
    stamps = daily(made, 50)
    shutil.rmtree(made.archive.spool)
    prune(made.archive, Policy(0, 0, 0), None, confirm=True, now=made.now())
    assert [base.stamp for base in made.archive.bases()] == stamps[-1:]


def test_a_restore_and_a_base_keep_it_away(made: Aged) -> None:
    daily(made, 20)
    shift(made)
    descriptor = os.open(made.path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    assert "restore" in run(made, "--confirm", status=75).stderr
    run(made)
    os.close(descriptor)
    with open(made.path / "spool/base.lock", "w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        with pytest.raises(TryAgainError):
            prune(made.archive, POLICY, None, confirm=True, now=made.now())


def test_a_restore_waits_for_no_other_restore_and_is_kept_away_by_a_removal(made: Aged) -> None:
    from scribe.common.files import DirectoryLock

    def lock(*, shared: bool) -> DirectoryLock:
        return DirectoryLock(made.path, "at work", shared=shared)

    with lock(shared=True), lock(shared=True), pytest.raises(TryAgainError), lock(shared=False):
        pass
    with lock(shared=False), pytest.raises(TryAgainError), lock(shared=True):
        pass


# --- the program ------------------------------------------------------------------------------------------------------


def test_the_program_removes_nothing_unless_told_to(made: Aged) -> None:
    daily(made, 60)
    shift(made)
    before = names(made)
    said = run(made)
    lines = said.stdout.splitlines()
    assert len(lines) == 60 + 120
    assert all(line.startswith(("keep   ", "remove ")) and ": " in line for line in lines)
    policy = "keep 7 days of increments, bases for 30 days, then one a month for a year"
    assert said.stderr.splitlines()[0] == f"scribe-prune: policy: {policy}"
    assert "--confirm" in said.stderr
    assert names(made) == before
    value = json.loads(run(made, "--json").stdout)
    assert value["hold"] is None
    going = [entry["path"] for entry in value["files"] if not entry["keep"]]
    assert run(made, "--confirm", "-q").stderr == ""
    assert not [path for path in going if (made.path / path).exists()]
    assert run(made, "-v", "--confirm").stderr == "scribe-prune: removed nothing\n"
    run(made, "--confirm", "-n", status=2)
    run(made, "--policy", status=2)
    run(made, status=2, SCRIBE_ARCHIVE=str(made.path / "nowhere"))


def shift(made: Aged) -> None:
    """Tell every manifest's time eight years back, so that the real clock is later."""
    for path in [*made.path.glob("base/*/manifest.json"), *made.path.glob("incremental/*.json")]:
        value = json.loads(path.read_text())
        moved = {
            key: f"{int(value[key][:4]) - 8}{value[key][4:]}"
            for key in ("started", "finished", "closed")
            if key in value
        }
        change(path, **moved)


# --- bases made from the archive --------------------------------------------------------------------------------------


def derive(made: Aged, stamp: str, of: str, day: float) -> None:
    """Let a base be one made from the archive at a day."""
    time = (EPOCH + timedelta(days=day)).strftime("%Y-%m-%dT%H:%M:%S.000000Z")
    record = {"lsn": "0/1", "time": time, "segment": "x.json"}
    origin = {"base": of, "started": time}
    made_from = {"base": of, "origin": origin, "segments": 1, "last_segment": "x.sql", "record": record, "left_out": []}
    proof = {"time": time, "compared": [], "not_compared": []}
    change(made.path / "base" / stamp / "manifest.json", made_from=made_from, proof=proof)


def test_a_base_made_from_the_archive_counts_while_something_stands_behind_it(made: Aged) -> None:
    source = made.add_base(0)
    made.add_segment(1)
    first = made.add_base(10)
    derive(made, first, source, 10)
    for day in range(11, 80):
        made.add_segment(day)

    def trusted(days: int = 35) -> list[str]:
        contents = read_contents(made.archive, made.archive.identity())
        return [base.stamp for base in find_trusted(made.archive, contents, days)]

    assert trusted(70) == [source, first]  # by the proof with which it was made
    assert trusted() == [source]
    plan = prune(made.archive, Policy(7, 30, 0), None, confirm=True, now=made.now())
    assert plan.removals == [v for v in plan.removals if v.path.name == first]  # every segment since the source's base
    shown = find_chains(made.archive, made.archive.identity())
    assert [(chain.base.stamp, len(chain.segments)) for chain in shown] == [(source, 70)]

    second = made.add_base(81)
    derive(made, second, source, 81)
    third = made.add_base(90)
    derive(made, third, second, 90)
    made.add_segment(100)
    assert trusted() == [source, second, third]
    made.add_segment(120)
    assert trusted() == [source, second, third]  # by the proof of what was made of it
    made.add_segment(130)
    assert trusted() == [source]
    rehearsal = made.path / "rehearsal.json"
    time = made.now().strftime("%Y-%m-%dT%H:%M:%SZ")
    value = {"time": time, "ok": True, "base": third, "compared": ["at x, the contents of 2 tables with those"]}
    rehearsal.write_text(json.dumps(value))
    assert trusted() == [source, third]
    rehearsal.write_text(json.dumps(value | {"compared": []}))
    assert trusted() == [source]
    rehearsal.write_text(json.dumps(value | {"ok": False}))
    assert trusted(1000) == [source, second]
    rehearsal.unlink()
    prune(made.archive, Policy(7, 10, 0), None, confirm=True, now=made.now())
    assert [base.stamp for base in made.archive.bases()] == [source]


def test_nothing_is_removed_if_no_base_counts(made: Aged) -> None:
    first = made.add_base(0)
    derive(made, first, "20250101T000000Z", 0)
    made.add_segment(20)
    made.add_segment(60)
    plan = prune(made.archive, Policy(0, 0, 0), None, confirm=True, now=made.now())
    assert plan.removals == []
    assert "no base counts as one" in str(plan.hold)
    assert "no proof behind it of the last 35 days" in str(plan.hold)
    assert make_plan(made.archive, made.archive.identity(), Policy(0, 0, 0, 61), made.now()).hold is None
