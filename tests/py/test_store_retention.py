"""Retention in a place of SCRIBE_REMOTE: by the same policy as here, proved there, and never sent again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from aged import Aged, find_lost
from fleet import run_alone
from test_retention import POLICY, daily, promised, shift

from scribe.archive.removal import prune
from scribe.archive.retention import Policy
from scribe.archive.verification import Verification
from scribe.common.errors import ScribeError
from scribe.offsite.mirror import Cache, Mirror, open_mirror
from scribe.offsite.retention import prune_store
from scribe.offsite.stores import DirectoryStore
from scribe.offsite.sync import sync, unsent

pytestmark = pytest.mark.unit


@pytest.fixture
def made(tmp_path: Path) -> Aged:
    """An archive of 60 days, and a place beside it, "store", that has it."""
    archive = Aged(tmp_path / "archive")
    daily(archive, 60, every=3)
    (tmp_path / "store").mkdir()
    assert sent(archive) > 0
    return archive


def url(made: Aged) -> str:
    return f"file://{made.path.parent}/store"


def sent(made: Aged) -> int:
    (look,) = sync(made.archive, [url(made)])
    assert (look.fault, look.missing) == (None, [])
    return look.sent


def opened(made: Aged) -> Mirror:
    mirror = open_mirror(url(made), Cache(made.path.parent / "cache", 1 << 30), None)
    mirror.lock.__exit__()
    return mirror


def names(directory: Path) -> set[str]:
    found = (path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file())
    return {name for name in found if name.startswith(("base/", "incremental/", "globals/"))}


def stored(made: Aged) -> set[str]:
    return names(made.path.parent / "store")


def test_the_same_policy_removes_there_what_it_removes_here(made: Aged) -> None:
    there = opened(made)
    plan = prune_store(there, POLICY, confirm=False, now=made.now())
    assert stored(made) == names(made.path)
    assert prune_store(there, POLICY, confirm=True, now=made.now()) == plan
    before = names(made.path)
    assert sent(made) == 0  # what went is here still, and not sent again
    here = prune(made.archive, POLICY, None, confirm=True, now=made.now())
    assert [(v.kind, v.path.name, v.reason) for v in plan.removals] == [
        (v.kind, v.path.name, v.reason) for v in here.removals
    ]
    assert stored(made) == names(made.path) < before
    assert not [path for path in (made.path.parent / "store/base").iterdir() if not any(path.iterdir())]
    assert [str(fault) for fault in Verification(opened(made)).run().faults] == []


def test_each_has_its_own_rule(made: Aged) -> None:
    before = promised(made, Policy(20, 40, 1))
    prune_store(opened(made), Policy(0, 0, 0), confirm=True, now=made.now())
    few = stored(made)
    assert len(opened(made).bases()) == 1
    stamp = made.add_base(60)
    assert unsent(made.archive, [url(made)]) != []
    sent(made)
    assert {name.partition("/")[2][:16] for name in stored(made) - few} == {stamp}  # and nothing else
    prune(made.archive, Policy(20, 40, 1), None, confirm=True, now=made.now())
    assert not find_lost(made, before)
    assert sent(made) == 1  # pruned.json
    mirror = opened(made)
    assert [str(fault) for fault in Verification(mirror).run().faults] == []
    prune_store(mirror, Policy(0, 0, 0), confirm=True, now=made.now())
    assert len(opened(made).bases()) == 1


class Stubborn(DirectoryStore):
    """A place that lets so many files be removed, and no more."""

    left = 0

    def delete(self, keys: Sequence[str]) -> None:
        may, self.left = list(keys)[: self.left], self.left - len(keys)
        super().delete(may)
        if self.left < 0:
            self.left = 0
            raise ScribeError("no more")


def test_a_removal_cut_off_anywhere_leaves_a_whole_archive_and_is_ended_by_the_next(made: Aged) -> None:
    policy = Policy(7, 10, 1)
    before = promised(made, policy)
    number = 0
    while True:
        number += 5
        mirror = opened(made)
        store = Stubborn(url(made))
        store.left = number
        object.__setattr__(mirror, "store", store)
        try:
            prune_store(mirror, policy, confirm=True, now=made.now())
            break
        except ScribeError as error:
            assert error.message == "no more"
        after = opened(made)
        assert [str(fault) for fault in Verification(after, percent=1).run().faults] == []
        after.fetch(after.path / name for name in after.keys)
        view = Aged.__new__(Aged)
        view.archive = after
        assert not find_lost(view, before)
        assert sent(made) == 0
    assert number > 25
    prune(made.archive, policy, None, confirm=True, now=made.now())
    assert stored(made) == names(made.path)


def test_nothing_goes_if_the_rest_would_not_restore(made: Aged) -> None:
    there = stored(made)
    (path,) = (made.path.parent / "store/base").glob(f"{made.archive.bases()[-1].stamp}/base.sql.zst")
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ScribeError, match="nothing is removed"):
        prune_store(opened(made), Policy(0, 0, 0), confirm=True, now=made.now())
    path.write_bytes(whole)
    segment = sorted(made.path.parent.glob("store/incremental/*.zst"))[-1]
    segment.write_bytes(segment.read_bytes()[:-1])
    with pytest.raises(ScribeError, match=f"nothing is removed.*{segment.name}.*its manifest says"):
        prune_store(opened(made), POLICY, confirm=True, now=made.now())
    assert stored(made) == there


def test_nobody_who_writes_there_keeps_the_newest_away_or_stops_the_rest(made: Aged) -> None:
    record = {"to_lsn": "FFFF/0", "bases": [base.stamp for base in made.archive.bases()], "globals": "9"}
    for value in (record, [[[]]], "nonsense"):
        _put_version(made, "removed.json", value)
        newest = made.archive.bases()[-1]
        for name in (f"base/{newest.stamp}/manifest.json", f"incremental/{made.archive.segment_names()[-1]}"):
            (made.path.parent / "store" / name).unlink()
            assert sent(made) == 1, name


def _put_version(made: Aged, name: str, value: Any) -> None:
    from scribe.offsite.versions import new_version, newest_versions

    store = DirectoryStore(url(made))
    content = json.dumps(value).encode()
    before = newest_versions(store.objects()).get(name, [None])[0]
    store.put(new_version(name, content, encrypted=False, after=before), [content])


def test_versions_that_count_no_more_go_and_the_one_that_counts_stays(made: Aged) -> None:
    for number in range(3):
        (made.path / "meta.json").write_text(json.dumps({"number": number}))
        assert sent(made) == 1
    _put_version(made, "verify.json", {"a": 1})
    later = made.now().replace(year=made.now().year + 9)
    prune_store(opened(made), POLICY, confirm=True, now=later)
    left = {path.parent.name: path for path in made.path.parent.glob("store/versions/*/*")}
    assert len(left) == len(list(made.path.parent.glob("store/versions/*/*")))
    assert json.loads(left["meta.json"].read_text()) == {"number": 2}
    assert sorted(left) == ["archive.json", "meta.json", "removed.json", "verify.json"]


def test_the_program_takes_a_url_and_says_what_the_store_refuses(made: Aged, monkeypatch) -> None:
    shift(made)
    for path in (made.path.parent / "store").rglob("*.json"):
        if "versions" not in path.parts:
            path.unlink()
    sent(made)
    env = {"SCRIBE_CACHE": str(made.path.parent / "cache"), "SCRIBE_KEEP_BASE_DAYS": "10", "SCRIBE_KEEP_MONTHLY": "0"}
    said = run_alone("scribe-prune", "--archive", url(made), **env)
    assert said.returncode == 0 and "add --confirm to do it" in said.stderr
    going = [line.split(": ")[0].removeprefix("remove").strip() for line in said.stdout.splitlines() if line[0] == "r"]
    assert going and stored(made) == names(made.path)
    said = run_alone("scribe-prune", "--archive", url(made), "--confirm", "-v", **env)
    assert (said.returncode, said.stderr.splitlines()[-1][:22]) == (0, "scribe-prune: removed ")
    assert not [name for name in going if (made.path.parent / "store" / name).exists()]

    def refuse(*arguments: object, **more: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(ScribeError, match='could not remove ".*/store/x": Operation not permitted') as caught:
        DirectoryStore(url(made)).delete(["x"])
    assert "when the lock has ended" in str(caught.value.hint)
