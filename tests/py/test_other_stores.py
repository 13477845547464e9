"""Stores of other makes than the one that the other tests use: the same round against each that this machine has."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from aged import Aged
from buckets import azurite, google, s3rver
from fleet import run_alone
from test_retention import daily, shift

from scribe.common.errors import ScribeError
from scribe.offsite.stores import PART, open_store

pytestmark = pytest.mark.slow
MAKES: dict[str, Callable[[Path], contextlib.AbstractContextManager[dict[str, str] | None]]] = {
    "s3": s3rver,
    "az": azurite,
    "gs": google,
}
RULE = {"SCRIBE_KEEP_INCREMENTAL_DAYS": "1", "SCRIBE_KEEP_BASE_DAYS": "1", "SCRIBE_KEEP_MONTHLY": "0"}


@pytest.fixture(scope="module", params=MAKES)
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict]]:
    """A URL in a store of each make, and the environment that it needs."""
    with MAKES[request.param](tmp_path_factory.mktemp(request.param)) as env:
        if env is None:
            pytest.skip(f"place: there is no server for {request.param}:// on this machine")
        yield f"{request.param}://shop/präfix+1&2", env


def test_an_archive_goes_there_and_is_read_checked_and_pruned_there(place, tmp_path):
    url, env = place
    made = Aged(tmp_path / "archive")
    daily(made, 6, every=2)
    shift(made)
    reads = env | RULE | {"SCRIBE_CACHE": str(tmp_path / "cache")}
    sends = env | {"SCRIBE_ARCHIVE": str(made.path), "SCRIBE_REMOTE": f"{url}/one"}
    sent = run_alone("scribe-sync", "-v", **sends)
    assert (sent.returncode, "scribe-sync: sent " in sent.stderr) == (0, True), sent.stderr
    assert run_alone("scribe-sync", "-n", **sends).stdout == ""
    verified = run_alone("scribe-verify", "--read", "all", "--archive", f"{url}/one", **reads)
    assert (verified.returncode, verified.stdout) == (0, ""), verified.stderr
    listed = run_alone("scribe-restore", "--list", "--archive", f"{url}/one", **reads)
    here = run_alone("scribe-restore", "--list", "--archive", str(made.path))
    assert (listed.returncode, listed.stdout, here.returncode) == (0, here.stdout, 0), listed.stderr
    found = run_alone("scribe-check", "--archive", f"{url}/one", "--only", "archive,chain", "--format", "json", **reads)
    assert json.loads(found.stdout)["exit_status"] == 0
    pruned = run_alone("scribe-prune", "--archive", f"{url}/one", "--confirm", "-v", **reads)
    assert (pruned.returncode, "removed 2 bases," in pruned.stderr) == (0, True), pruned.stderr
    assert run_alone("scribe-verify", "--archive", f"{url}/one", **reads).stdout == ""
    assert run_alone("scribe-sync", "-v", **sends).stderr == f"scribe-sync: sent 0 files, 0 bytes, to {url}/one\n"


def test_nothing_is_overwritten_and_what_is_gone_is_gone(place, tmp_path, monkeypatch):
    url, env = place
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    store = open_store(f"{url}/two")
    for size in (1, PART + 1):
        key = f"base/a b+{size}"
        store.put(key, [bytes(size)])
        store.put(key, [bytes(size)])
        if not url.startswith("s3:"):  # s3rver knows no conditions: there, scribe-sync's look has to be enough
            with pytest.raises(ScribeError, match="is there with other contents"):
                store.put(key, [b"x" * size])
        assert store.objects()[key].size == size
        assert b"".join(store.get(key)) == bytes(size)
    keys = ["base/none", *store.objects(), "base/nothing"]
    store.delete(keys)
    store.delete(keys)
    assert store.objects() == {}
    with pytest.raises(ScribeError, match="it is not there"):
        list(store.get("base/none"))


def test_scribe_sync_overwrites_nothing_even_if_the_store_would(place, tmp_path, monkeypatch):
    url, env = place
    made = Aged(tmp_path / "archive")
    made.add_base(0)
    made.add_segment(1)
    sends = env | {"SCRIBE_ARCHIVE": str(made.path), "SCRIBE_REMOTE": f"{url}/three"}
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    (segment,) = made.archive.segments()
    key = f"incremental/{segment.data.name}"
    open_store(f"{url}/three").put(key, [b"somebody else's"])
    sent = run_alone("scribe-sync", **sends)
    assert (sent.returncode, f'/three/{key}" is there with other contents' in sent.stderr) == (1, True)
    assert b"".join(open_store(f"{url}/three").get(key)) == b"somebody else's"
