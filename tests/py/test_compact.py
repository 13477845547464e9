"""Segments joined into one for each day, then month: in one step, and only if that is proved to restore to the same."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Collection
from pathlib import Path

import pytest
from aged import DAY, Aged, change
from cases import ALL, CASES, assert_both_restores_equal, assert_history_is_read, play_case
from cluster import ROOT, find_pg_config, poll
from restoring import TABLES, Target, insert
from source import Scribe
from starting import run_program

from scribe.archive import chains
from scribe.archive.joining import ASIDE, Ages, Plan, Run, check_still, list_steps, make_plan
from scribe.archive.layout import Archive, Segment
from scribe.archive.retention import Policy, read_contents
from scribe.archive.segments import open_plain
from scribe.archive.verification import Verification
from scribe.common import files
from scribe.common.errors import TryAgainError
from scribe.common.lsn import format_lsn
from scribe.common.settings import Settings, load_settings
from scribe.health.facts import Survey
from scribe.health.findings import Limit, State
from scribe.health.probes_archive import check_chain
from scribe.offsite.mirror import Cache, open_mirror
from scribe.offsite.retention import prune_store
from scribe.offsite.sync import sync
from scribe.programs import compact
from scribe.restore.compaction import alone, clear
from scribe.restore.net import Joined

SETUP = """
CREATE TABLE t (id serial PRIMARY KEY, n int, v text, UNIQUE (n));
CREATE TABLE two (a int, "Odd b" text, v text, PRIMARY KEY (a, "Odd b"));
CREATE TABLE log (at timestamptz DEFAULT now(), note text);
CREATE TABLE full_identity (a int, b text);
CREATE TABLE gone (id int PRIMARY KEY);
INSERT INTO t (n, v) SELECT g, 'before' FROM generate_series(1, 50) AS g;
SELECT lo_from_bytea(91001, 'first');
"""
ROUNDS = (
    """
DO $$ BEGIN FOR i IN 1..30 LOOP
  UPDATE t SET v = 'round ' || i WHERE id = i % 5 + 1; COMMIT;
  INSERT INTO t (n, v) VALUES (1000 + i, 'new'); COMMIT;
  INSERT INTO log (note) VALUES ('line ' || i || E' with a\\ttab'); COMMIT;
  DELETE FROM t WHERE n = 1000 + i AND i % 2 = 0; COMMIT;
  INSERT INTO two VALUES (i, 'x' || i % 3, 'a'); COMMIT;
END LOOP; END $$;
SELECT lo_put(91001, 0, 'FIRST');
""",
    """
UPDATE two SET v = 'b'; DELETE FROM two WHERE a > 20;
INSERT INTO full_identity VALUES (1, NULL), (1, NULL), (2, 'x');
DELETE FROM full_identity WHERE a = 2;
ALTER TABLE t ADD COLUMN extra int DEFAULT 7;
UPDATE t SET extra = 8 WHERE id < 4;
CREATE TABLE made AS SELECT id, v FROM t;
INSERT INTO gone VALUES (1), (2); TRUNCATE gone; INSERT INTO gone VALUES (3);
SELECT lo_create(91002), lo_put(91002, 10, 'second');
""",
    """
BEGIN; UPDATE t SET n = -1 WHERE id = 1; UPDATE t SET n = 1 WHERE id = 2; UPDATE t SET n = 2 WHERE id = 1; COMMIT;
UPDATE two SET a = 100 WHERE a = 1;
INSERT INTO log (note) SELECT repeat('x', 200) FROM generate_series(1, 3000);
DROP TABLE made;
UPDATE t SET v = 'last' WHERE id = 1;
SELECT setval('t_id_seq', 9000);
SELECT lo_unlink(91001);
""",
)


def play(scribe: Scribe) -> None:
    """A day of work in several segments, and one after it, which stays."""
    scribe.settings |= {"SCRIBE_KEEP_EXACT_DAYS": "0"}
    scribe.cluster.psql(SETUP, scribe.dbname)
    scribe.run("scribe-init")
    scribe.start_stream()
    for text in ROUNDS:
        scribe.cluster.psql(text, scribe.dbname)
        scribe.run("scribe-rotate", "--wait-lsn", "current")
    last = segments(scribe)[-1].path.name[:16]
    scribe.cluster.psql("INSERT INTO log (note) VALUES ('after')", scribe.dbname)
    poll(lambda: Archive(scribe.archive).closing_stamp() > last, 10, "another second")
    scribe.run("scribe-rotate", "--wait-lsn", "current")


def segments(scribe: Scribe) -> list[Segment]:
    return list(Archive(scribe.archive).segments())


def test_a_day_of_work_is_joined_and_restores_to_the_same(scribe: Scribe, targets: tuple[str, str]) -> None:
    play(scribe)
    before = segments(scribe)
    assert scribe.run("scribe-compact", "--dry-run").stdout.startswith("would join ")
    assert segments(scribe) == before
    run = scribe.run("scribe-compact", "-v")
    assert run.stdout.startswith("joined "), run.stdout + run.stderr
    joined, last = segments(scribe)
    assert last == before[-1]
    assert joined.joined is not None
    assert joined.joined["segments"] == len(before) - 1
    assert (joined.from_lsn, joined.to_lsn) == (before[0].from_lsn, before[-2].to_lsn)
    assert not (scribe.archive / "incremental/.joining").exists()
    assert len(list((scribe.archive / "incremental").iterdir())) == 4
    assert_history_is_read(Archive(scribe.archive))
    assert_both_restores_equal(scribe, targets)
    assert_what_is_given_up_is_told(scribe, joined, before)
    for name in targets:
        scribe.cluster.dropdb(name)
    assert_what_was_joined_is_joined_further(scribe)
    assert_history_is_read(Archive(scribe.archive))
    assert_both_restores_equal(scribe, targets)


def assert_what_was_joined_is_joined_further(scribe: Scribe) -> None:
    """The day once more, then the month: set-based statements meet the changes after them."""
    for word, daily in (("second", 365), ("third", 0)):
        number = segments(scribe)[0].joined["segments"] + len(segments(scribe)) - 1  # type: ignore[index]
        scribe.cluster.psql(
            f"UPDATE t SET v = '{word} ' || id WHERE id <= 5; DELETE FROM two WHERE a IN (SELECT a FROM two LIMIT 3);"
            f"INSERT INTO two VALUES (-1, '{word}'), (-2, '{word}'), (-3, '{word}')",
            scribe.dbname,
        )
        scribe.run("scribe-rotate", "--wait-lsn", "current")
        last = segments(scribe)[-1].path.name[:16]
        poll(lambda last=last: Archive(scribe.archive).closing_stamp() > last, 10, "another second")  # type: ignore[misc]
        scribe.run("scribe-rotate", "--wait-lsn", "current")
        (run,) = json.loads(scribe.run("scribe-compact", "--json", env={"SCRIBE_KEEP_DAILY_DAYS": str(daily)}).stdout)[
            "runs"
        ]
        joined, _ = segments(scribe)
        assert joined.joined is not None
        assert joined.joined["segments"] == number + 1
        assert run["month" if daily == 0 else "day"] == joined.manifest["closed"][: 7 if daily == 0 else 10]
    with open_plain(joined.data) as stream:
        text = stream.read()
    assert text.count(b"'third 3'") == 1 and b"'second 3'" not in text


def assert_what_is_given_up_is_told(scribe: Scribe, joined: Segment, before: list[Segment]) -> None:
    """The list, a refused point with the nearest ones, the log, the other programs."""
    ends = format_lsn(joined.from_lsn), format_lsn(joined.to_lsn)
    listed = scribe.run("scribe-restore", "--list").stdout
    assert f"points given up: between {ends[0]} and {ends[1]} (" in listed
    (chain,) = json.loads(scribe.run("scribe-restore", "--list", "--json").stdout)["chains"]
    assert chain["joined"] == [{"from_lsn": ends[0], "to_lsn": ends[1], "segments": 3}]
    for words in (
        ("--target-lsn", format_lsn(before[0].to_lsn)),
        ("--target-time", before[1].manifest["commit_times"][0]),
        ("--target-xid", str(before[1].manifest["schema_changes"][0]["xid"])),
    ):
        refused = scribe.run("scribe-restore", "--plan", "-d", "none", *words, check=False)
        assert refused.returncode == 1
        assert "points scribe-compact has given up" in refused.stderr, refused.stderr
        found = re.findall(r"--target-lsn \S+ --target-exclusive", refused.stderr)
        assert found == [f"--target-lsn {end} --target-exclusive" for end in ends]
    for words in found:
        scribe.run("scribe-restore", "--plan", "-d", "none", *words.split())
    log = scribe.run("scribe-log", "--table", "two")
    assert "public.two +30" in log.stdout
    assert "one there may stand for several" in log.stderr
    undo = scribe.run("scribe-undo", "--xid", str(joined.manifest["largest_deletes"][0]["xid"]), check=False)
    assert (undo.returncode, "points scribe-compact has given up" in undo.stderr) == (1, True)
    assert scribe.run("scribe-verify").stderr == ""
    assert scribe.run("scribe-check", "--only", "chain,segment,archive").returncode == 0
    assert scribe.run("scribe-prune").stdout.count("keep ") == 3


# --- archives by hand: what is joined, and how it takes the place of the others ---------------------------------------


@pytest.fixture
def made(tmp_path: Path) -> Aged:
    """Days 0 and 1, with a base at the beginning and one within day 1, and day 9, from which a week is counted."""
    archive = Aged(tmp_path / "archive")
    archive.add_base(0)
    for day in (0.2, 0.5, 0.8, 1.1, 1.3):
        archive.add_segment(day, rows=3)
    archive.add_base(1.5)
    for day in (1.6, 1.7, 1.8, 9):
        archive.add_segment(day, rows=3)
    return archive


def plan_of(made: Aged, days: int = 7, unsent: Collection[str] = (), daily: int = 365) -> Plan:
    contents = read_contents(made.archive, made.archive.identity())
    return make_plan(made.archive, contents, Ages(days, daily), unsent)


def numbers(made: Aged, plan: Plan) -> list[list[int]]:
    """Which segments become one, by their numbers in the archive."""
    names = [segment.path.name for segment in made.archive.segments()]
    return [[names.index(segment.path.name) for segment in run.segments] for run in plan.runs]


@pytest.mark.unit
def test_whole_days_are_joined_and_never_across_the_point_of_a_base(made: Aged) -> None:
    plan = plan_of(made)
    assert numbers(made, plan) == [[0, 1, 2], [3, 4], [5, 6, 7]]
    assert [run.period for run in plan.runs] == ["2026-11-22", "2026-11-23", "2026-11-23"]
    assert [run.base for run in plan.runs] == [made.archive.bases()[0]] * 2 + [made.archive.bases()[1]]
    assert numbers(made, plan_of(made, 8)) == [[0, 1, 2]]
    assert numbers(made, plan_of(made, 9)) == []
    assert plan_of(made, 0).left[-1].reason.startswith("the newest segment")


@pytest.mark.unit
def test_months_are_joined_once_all_of_them_is_older(made: Aged) -> None:
    """Days 0 to 8 are November's, 9 and 12 December's, and 45 is in January."""
    for day in (12, 45):
        made.add_segment(day)
    plan = plan_of(made, daily=34)
    assert numbers(made, plan) == [[0, 1, 2, 3, 4], [5, 6, 7]], "no base's point lies within"
    assert [run.period for run in plan.runs] == ["2026-11", "2026-11"]
    assert [run.period for run in plan_of(made, daily=44).runs] == ["2026-11-22", "2026-11-23", "2026-11-23"]
    plan = plan_of(made, daily=0)
    assert [(run.period, len(run.segments)) for run in plan.runs][2:] == [("2026-12", 2)]
    assert plan_of(made, 60, daily=0).runs == (), "days that stay as they are are no part of a month"


@pytest.mark.unit
def test_what_has_not_been_sent_and_what_has_a_mark_stays(made: Aged) -> None:
    paths = [segment.path for segment in made.archive.segments()]
    plan = plan_of(made, unsent=[f"incremental/{paths[1].name}"])
    assert numbers(made, plan) == [[3, 4], [5, 6, 7]]
    assert [(each.segment.path, each.reason) for each in plan.left] == [(paths[1], "it has not been sent yet")]
    change(paths[6], marks=[{"time": "t", "xid": 1, "lsn": "0/1", "name": "release-7"}])
    plan = plan_of(made)
    assert numbers(made, plan) == [[0, 1, 2], [3, 4]]
    assert "set a mark" in plan.left[0].reason


@pytest.mark.unit
def test_nothing_is_joined_across_a_gap_or_without_a_base(made: Aged) -> None:
    paths = [segment.path for segment in made.archive.segments()]
    paths[1].unlink()
    assert numbers(made, plan_of(made)) == [[4, 5, 6]]
    assert "no base leads to it" in plan_of(made).left[0].reason


@pytest.mark.unit
def test_a_base_that_was_taken_meanwhile_keeps_its_point(made: Aged) -> None:
    run = plan_of(made).runs[0]
    check_still(made.archive, run)
    made.lsn = run.from_lsn + 0x100
    made.add_base(9.5)
    with pytest.raises(TryAgainError, match="a base was taken within 2026-11-22 meanwhile"):
        check_still(made.archive, run)


def compacted(made: Aged, *arguments: str, status: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("SCRIBE_", "PG"))}
    path = f"{Path(find_pg_config()).parent}:{inherited['PATH']}"
    environment = inherited | {"SCRIBE_ARCHIVE": str(made.path), "PATH": path, **env}
    result = run_program([ROOT / "bin/scribe-compact", *arguments], environment, timeout=300)
    assert result.returncode == status, result.stdout + result.stderr
    return result


def faults(archive: Archive) -> list[str]:
    return [str(fault) for fault in Verification(archive).run().faults]


def settings_of(archive: Archive) -> Settings:
    return load_settings(None, {"SCRIBE_ARCHIVE": str(archive.path)}, {})


def is_whole_for_check(archive: Archive) -> bool:
    """Whether scribe-check finds nothing wrong with the end of the chain."""
    survey = Survey(settings_of(archive), 5)
    return check_chain(survey, Limit()).state == State.OK


def reached(archive: Archive) -> tuple[int, list[int]]:
    """Where a restore from the first base gets, and where the segments on its way end."""
    way = chains.find_way(chains.find_chains(archive, archive.identity())[:1], chains.Target())
    assert all(segment.data.exists() for segment in way.segments)
    ends = [segment.to_lsn for segment in way.segments]
    assert [s.from_lsn for s in way.segments] == [way.base.consistent_point, *ends[:-1]]
    return ends[-1], ends


def assert_every_step_is_whole(before: Path, segment: Segment, place: Path) -> None:
    """A run that dies after any number of steps leaves an archive that restores, and so does the one that ends it."""
    end, ends = reached(Archive(before))
    steps = 2 + 2 * 3
    for done in range(steps + 1):
        shutil.copytree(before, place / f"killed{done}")
        again = Archive(place / f"killed{done}")
        run = make_plan(again, read_contents(again, again.identity()), Ages(7, 365), []).runs[0]
        files.make_directory(again.incremental / ASIDE)
        for path in (segment.data, segment.path):
            shutil.copy2(path, again.incremental / ASIDE)
        aside = Segment(again.incremental / ASIDE / segment.path.name, segment.manifest)
        for step in list(list_steps(again, run, aside))[:done]:
            step()
        for _ in ("killed", "ended by the next run"):
            assert reached(again) == (end, ends if done < 2 else ends[2:]), done
            assert faults(again) == []
            assert is_whole_for_check(again)
            with alone(again):
                clear(again)
        left = {path.name for path in again.incremental.iterdir()}
        assert len(left) == 2 * len(ends if done < 2 else ends[2:]), left


def test_what_does_not_restore_to_the_same_takes_no_place(
    made: Aged, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path.name for path in made.archive.incremental.iterdir()}
    with open_plain(list(made.archive.segments())[1].data) as stream:
        row = re.search(rb"\((\d+), 'v", stream.read())
    assert row is not None
    lasting = Joined.lasting.fget  # type: ignore[attr-defined]
    wrong = property(lambda self: lasting(self).replace(b"'v%b'" % row[1], b"'other'"))
    monkeypatch.setattr(Joined, "lasting", wrong)
    monkeypatch.setenv("PATH", f"{Path(find_pg_config()).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("SCRIBE_ARCHIVE", str(made.path))
    assert compact.main(["-q"]) == 1
    said = capsys.readouterr().err
    assert "2026-11-22: what was joined does not restore to the same: table public.t: " in said
    assert f"row ({row[1].decode()}) differs; they stay as they are" in said
    # of the first base, that day and the one after it; the other base's day is judged for itself
    assert len(before - {path.name for path in made.archive.incremental.iterdir()}) == 2 * 3
    assert [segment.joined is not None for segment in made.archive.segments()] == [*[False] * 5, True, False]
    assert faults(made.archive) == []


def test_a_run_that_is_killed_at_any_instant_leaves_an_archive_that_restores(made: Aged, tmp_path: Path) -> None:
    shutil.copytree(made.path, tmp_path / "before")
    end, ends = reached(made.archive)
    before = {path.name for path in made.archive.incremental.iterdir()}
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SCRIBE_", "PG"))}
    environment |= {"PATH": f"{Path(find_pg_config()).parent}:{environment['PATH']}"}
    command = [ROOT / "bin/scribe-compact", "-q", "--archive", str(made.path)]
    with subprocess.Popen(command, env=environment, start_new_session=True) as running:
        aside = made.archive.incremental / ASIDE
        poll(lambda: aside.exists() and any(aside.glob("*.json")), 120, "a joined segment that is not proved yet")
        os.killpg(running.pid, signal.SIGKILL)
    assert {path.name for path in made.archive.incremental.iterdir()} == before | {ASIDE}
    assert faults(made.archive) == []
    first = compacted(made).stdout
    assert first.count("joined ") == 3
    assert compacted(made).stdout == "", "there is nothing more to join"
    more = list(made.archive.segments())
    assert [segment.joined["segments"] for segment in more[:-1] if segment.joined] == [3, 2, 3]
    assert reached(made.archive) == (end, [ends[2], ends[4], *ends[7:]])
    assert faults(made.archive) == []
    assert_every_step_is_whole(tmp_path / "before", more[0], tmp_path)


def test_a_database_goes_on_from_the_ends_of_joined_transactions_only(target: Target) -> None:
    rows = [insert(i) for i in range(2, 30)]
    rows[3] = "-- warning: what was done here could not be recorded\n"  # nothing else; then what is copied as it is
    rows[4] = "COPY public.t (id, v) FROM stdin;\n6\tv6\n\\.\n-- rows 1 inserted\n"
    target.archive.base(TABLES, globals_sql="CREATE ROLE postgres SUPERUSER;\n")
    for some in (rows[:10], rows[10:20]):
        target.archive.segment(some)
    target.archive.xid += 9 * DAY
    target.archive.segment(rows[20:])
    archive = Archive(target.path)
    target.run("--target-lsn", format_lsn(next(archive.segments()).to_lsn - 0x300))
    path = f"{target.cluster.bindir}:{os.environ['PATH']}"
    environment = target.cluster.env | {"PATH": path, "SCRIBE_ARCHIVE": str(target.path)}
    subprocess.run([ROOT / "bin/scribe-compact", "-q"], env=environment, check=True, stdout=subprocess.DEVNULL)
    assert [segment.joined is not None for segment in archive.segments()] == [True, False]
    said = target.refused("--resume")
    assert "between transactions that scribe-compact has joined" in said
    target.cluster.dropdb(target.name)
    target.run()
    assert target.rows("SELECT count(*) FROM public.t") == [(28,)]


def test_no_points_no_joining(made: Aged) -> None:
    change(made.path / "archive.json", decoder="decoder_raw")
    said = compacted(made, status=1).stderr
    assert "could not join segments of decoder_raw: it tells no exact points" in said


def joined_by_hand(made: Aged, run: Run) -> Segment:
    """What a run might become, aside."""
    last = run.segments[-1]
    manifest = last.manifest | {
        "from_lsn": format_lsn(run.from_lsn),
        "previous_sha256": run.segments[0].manifest["previous_sha256"],
        "file": f"{run.stem}.sql.zst",
        "joined": {
            **{"segments": 3, "transactions": 9, "bytes": 1, "last_sha256": last.last_sha256},
            **{"first_commit_lsn": "0/1", "last_commit_lsn": "0/2"},
        },
    }
    files.make_directory(made.archive.incremental / ASIDE)
    path = made.archive.incremental / ASIDE / f"{run.stem}.json"
    shutil.copy2(last.data, path.with_name(manifest["file"]))
    path.write_text(json.dumps(manifest))
    return Segment(path, manifest)


@pytest.mark.unit
def test_a_month_takes_the_place_of_its_days_at_any_step(made: Aged, tmp_path: Path) -> None:
    made.add_segment(45)
    for run in plan_of(made).runs:
        for step in list_steps(made.archive, run, joined_by_hand(made, run)):
            step()
    (run,) = plan_of(made, daily=0).runs
    assert [segment.joined is not None for segment in run.segments] == [True, True]
    end, ends = reached(made.archive)
    for done in range(2 + 2 * 2 + 1):
        shutil.copytree(made.path, tmp_path / str(done))
        again = Archive(tmp_path / str(done))
        (run,) = make_plan(again, read_contents(again, again.identity()), Ages(7, 0), []).runs
        for step in list(list_steps(again, run, joined_by_hand(made, run)))[:done]:
            step()
        assert reached(again) == (end, ends if done < 2 else ends[1:]), done
        assert is_whole_for_check(again)
        counting = {m["file"] for _, m in Survey(settings_of(again), 5).tail.manifests}
        assert counting == {segment.manifest["file"] for segment in again.segments()}, done
        with alone(again):
            clear(again)
        assert reached(again) == (end, ends if done < 2 else ends[1:]), done


@pytest.mark.unit
def test_a_store_is_read_by_what_stands_for_the_others_and_pruned_of_them(made: Aged, tmp_path: Path) -> None:
    """Nothing was removed there when the days became a month."""
    (tmp_path / "store").mkdir()
    url = f"file://{tmp_path}/store"
    made.add_segment(45)
    assert sync(made.archive, [url])[0].fault is None
    gone: list[Segment] = []
    for daily in (365, 0):
        runs = [
            run for run in plan_of(made, daily=daily).runs if run.to_lsn <= made.archive.bases()[1].consistent_point
        ]
        for run in runs:
            for step in list_steps(made.archive, run, joined_by_hand(made, run)):
                step()
            gone += run.segments
        clear(made.archive)
        made.tidy()
        assert sync(made.archive, [url])[0].sent == 2 * len(runs)
    assert len(gone) == 3 + 2 + 2
    mirror = open_mirror(url, Cache(tmp_path / "cache", 1 << 30), None)
    mirror.lock.__exit__()
    assert [s.path.name for s in mirror.segments()] == [s.path.name for s in made.archive.segments()]
    plan = prune_store(mirror, Policy(365, 365, 12), confirm=True, now=made.now())
    assert sorted(verdict.path.name for verdict in plan.removals) == sorted(
        name for segment in gone for name in (f"{segment.path.stem}.sql.zst", segment.path.name)
    )
    here, there = (made.archive.incremental, tmp_path / "store/incremental")
    assert {path.name for path in here.iterdir()} == {path.name for path in there.iterdir()}


if ALL:

    @pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
    def test_a_case_restores_to_the_same_from_a_joined_segment(
        case: Path, scribe: Scribe, targets: tuple[str, str]
    ) -> None:
        scribe.settings |= {"SCRIBE_KEEP_EXACT_DAYS": "0"}
        play_case(case, scribe)
        for last in (2, 3):  # what was joined is joined further, but for what has a mark
            for number in (last - 1, last):
                scribe.cluster.psql(f"CREATE SCHEMA IF NOT EXISTS more_{number}", scribe.dbname)
                scribe.run("scribe-rotate", "--wait-lsn", "current")
            scribe.run("scribe-compact")
        assert [segment.joined is not None for segment in segments(scribe)][-2:] == [True, False]
        assert_history_is_read(Archive(scribe.archive))
        assert_both_restores_equal(scribe, targets)
