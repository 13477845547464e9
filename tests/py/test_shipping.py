"""SCRIBE_ARCHIVE_COMMAND: order, retries, crashes, and what is sent; without a server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from archives import make_archive, transaction
from cluster import poll

from scribe.archive import shipping
from scribe.archive.layout import Archive
from scribe.archive.shipping import Outbox
from scribe.stream.rotation import rotate

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again at once."""
    monkeypatch.setattr(shipping, "PAUSES", (0.0, 0.0))


def add_segment(archive: Archive, commit: int, command: str | None) -> list[str]:
    """Archive one transaction; return the warnings."""
    warnings: list[str] = []
    with (archive.spool / "stream.sql").open("ab") as stream:
        stream.write(transaction(commit))
    rotate(archive, None, command=command, warn=warnings.append)
    return [text for text in warnings if "archive command" in text]


def sent(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def test_files_are_sent_in_order_data_before_manifest(tmp_path):
    archive, log = make_archive(tmp_path / "a"), tmp_path / "log"
    for commit in (0x200, 0x300):
        assert add_segment(archive, commit, f"echo %r >> {log}") == []
    names = [name.removesuffix(".json") for name in archive.segment_names()]
    expected = [f"incremental/{name}{end}" for name in names for end in (".sql.zst", ".json")]
    assert [name for name in sent(log) if name != "archive.json"] == expected
    assert sent(log).count("archive.json") == 1


def test_placeholders(tmp_path):
    archive, log = make_archive(tmp_path / "with blank"), tmp_path / "log"
    assert add_segment(archive, 0x200, f"printf '%%s|' \"%p\" %f %r %x >> {log}; echo >> {log}") == []
    name = archive.segment_names()[0]
    path = archive.incremental / name
    assert f"{path}|{name}|incremental/{name}|%x|" in sent(log)


def test_a_file_counts_as_sent_only_when_the_command_succeeds(tmp_path):
    archive, mark = make_archive(tmp_path / "a"), tmp_path / "up"
    (warning,) = add_segment(archive, 0x200, f"test -e {mark}")
    assert "exit status 1; the next rotation tries again" in warning
    assert len(Outbox(archive, "x").waiting()) == 3
    mark.touch()
    assert add_segment(archive, 0x300, f"test -e {mark}") == []
    assert Outbox(archive, "x").waiting() == []


def test_a_failure_is_tried_three_times_and_nothing_overtakes_it(tmp_path):
    archive, log = make_archive(tmp_path / "a"), tmp_path / "log"
    assert len(add_segment(archive, 0x200, f"echo %f >> {log}; false")) == 1
    assert len(sent(log)) == 3 and len(set(sent(log))) == 1


def test_a_command_that_fails_once_is_no_failure(tmp_path):
    archive, mark = make_archive(tmp_path / "a"), tmp_path / "seen"
    assert add_segment(archive, 0x200, f"test -e {mark} || {{ touch {mark}; exit 1; }}") == []


@pytest.mark.parametrize("end", ["exit 126", "exit 127", "kill -9 $$"])
def test_a_command_that_cannot_run_or_dies_is_not_tried_again_at_once(tmp_path, end):
    archive, log = make_archive(tmp_path / "a"), tmp_path / "log"
    (warning,) = add_segment(archive, 0x200, f"echo >> {log}; echo why >&2; {end}")
    assert len(sent(log)) == 1
    assert ("signal 9" if "kill" in end else f"exit status {end[5:]} (why)") in warning


def test_what_was_sent_before_a_crash_is_not_sent_again(tmp_path):
    archive, log = make_archive(tmp_path / "a"), tmp_path / "log"

    class Crash(BaseException):
        pass

    outbox = Outbox(archive, f"echo %r >> {log}")
    add_segment(archive, 0x200, None)
    outbox.catch_up()
    number = len(outbox.waiting())
    with pytest.MonkeyPatch.context() as patch:
        run = outbox._run

        def run_and_crash(path: Path) -> tuple[str | None, bool]:
            result = run(path)
            if len(sent(log)) == 2:
                raise Crash  # after the command, before it is noted
            return result

        patch.setattr(outbox, "_run", run_and_crash)
        with pytest.raises(Crash):
            outbox.send(print)
    Outbox(archive, outbox.command).send(print)
    assert len(sent(log)) == number + 1 and sent(log)[1] == sent(log)[2]


def test_what_was_finished_while_no_command_was_set_is_sent_once_one_is(tmp_path):
    archive, log = make_archive(tmp_path / "a"), tmp_path / "log"
    add_segment(archive, 0x200, None)
    (archive.globals_path / "20261122T020000Z.sql").write_text("-- by scribe-globals\n")
    assert sent(log) == []
    add_segment(archive, 0x300, f"echo %r >> {log}")
    first, second = archive.segment_names()
    assert {"archive.json", "globals/20261122T020000Z.sql", f"incremental/{first}", f"incremental/{second}"} < set(
        sent(log)
    )
    assert len(sent(log)) == len(set(sent(log)))


def test_another_command_sends_everything_in_order(tmp_path):
    archive, first, second = make_archive(tmp_path / "a"), tmp_path / "first", tmp_path / "second"
    for commit in (0x200, 0x300):
        add_segment(archive, commit, f"echo %r >> {first}")
    assert Outbox(archive, f"echo %r >> {second}").is_new_command()
    assert not Outbox(archive, f"echo %r >> {first}").is_new_command()
    add_segment(archive, 0x400, f"echo %r >> {second}")
    names = [name.removesuffix(".json") for name in archive.segment_names()]
    expected = [f"incremental/{name}{end}" for name in names for end in (".sql.zst", ".json")]
    assert sent(second) == ["archive.json", *expected]
    add_segment(archive, 0x500, f"echo %r >> {second}")
    assert len(sent(second)) == len(set(sent(second)))


def test_a_record_from_before_commands_were_told_apart_sends_nothing_twice(tmp_path):
    archive, log = make_archive(tmp_path / "a"), tmp_path / "log"
    add_segment(archive, 0x200, f"echo %r >> {log}")
    record = json.loads(Outbox(archive, "x").queued_path.read_text())
    del record["command"]
    Outbox(archive, "x").queued_path.write_text(json.dumps(record))
    add_segment(archive, 0x300, f"echo %r >> {log}")
    assert len(sent(log)) == len(set(sent(log)))


def test_a_file_that_is_replaced_is_sent_again_when_it_changed(tmp_path):
    archive, log = make_archive(tmp_path / "a"), tmp_path / "log"
    add_segment(archive, 0x200, f"echo %r >> {log}")
    (archive.path / "meta.json").write_text("{}")
    add_segment(archive, 0x300, f"echo %r >> {log}")
    (archive.path / "meta.json").write_text('{"a": 1}')
    add_segment(archive, 0x400, f"echo %r >> {log}")
    add_segment(archive, 0x500, f"echo %r >> {log}")
    assert (sent(log).count("meta.json"), sent(log).count("archive.json")) == (2, 1)


def test_a_base_is_complete_at_the_other_end_only_with_its_last_file(tmp_path):
    archive = make_archive(tmp_path / "a")
    base = archive.bases_path / "20261122T020000Z"
    (base / "base.dir").mkdir(parents=True)
    for name in ("manifest.json", "meta.json", "globals.sql", "base.dir/toc.dat"):
        (base / name).write_text("x")
    assert Outbox(archive, "x")._files_of_base(base.name)[-1] == f"base/{base.name}/manifest.json"


def test_a_second_sender_leaves_the_work_to_the_first(tmp_path):
    archive, log = make_archive(tmp_path / "a"), tmp_path / "log"
    nested = Outbox(archive, f"echo nested >> {log}")
    add_segment(archive, 0x200, None)
    outbox = Outbox(archive, "true")
    outbox.catch_up()
    with pytest.MonkeyPatch.context() as patch:
        run = outbox._run
        patch.setattr(outbox, "_run", lambda path: (nested.send(print), run(path))[1])
        outbox.send(print)
    assert sent(log) == [] and json.loads(outbox.path.read_text()) == []


def test_nothing_of_a_command_outlives_its_time(tmp_path, monkeypatch):
    monkeypatch.setattr(shipping, "TIMEOUT", 0.5)
    archive, pid = make_archive(tmp_path / "a"), tmp_path / "pid"
    (warning,) = add_segment(archive, 0x200, f"sleep 300 & echo $! > {pid}; wait")
    assert "not done after" in warning
    child = int(pid.read_text())
    poll(lambda: not is_running(child), 10, "the end of the command's child")


def is_running(pid: int) -> bool:
    """Whether a process does anything yet: one that has ended may wait to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
