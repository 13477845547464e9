"""A place of SCRIBE_REMOTE that holds what it should not, or lacks it; without a server."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import pty
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from aged import Aged
from cluster import ROOT
from fleet import run_alone

from scribe.archive.layout import Archive
from scribe.archive.manifest import check_value
from scribe.common.errors import ScribeError, TryAgainError, UsageError
from scribe.offsite import stores, versions
from scribe.offsite.contents import archived_files
from scribe.offsite.encryption import decrypt
from scribe.offsite.mirror import Cache, Mirror, open_mirror
from scribe.offsite.refusals import OtherError
from scribe.offsite.stores import PART, DirectoryStore, ObjectStore
from scribe.offsite.sync import Sender, record_path, sync, unsent
from scribe.offsite.versions import Version, digest_of, newest_versions, read_newest

pytestmark = pytest.mark.unit


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    """An archive with a base and three segments, and a place beside it, "store"."""
    made = Aged(tmp_path / "archive")
    made.add_base(0)
    for day in (1, 2, 3):
        made.add_segment(day, 20)
    (tmp_path / "store").mkdir()
    return made.archive


@pytest.fixture
def url(archive: Archive) -> str:
    """A place that has the whole archive."""
    place = f"file://{archive.path.parent}/store"
    (look,) = sync(archive, [place])
    assert (look.fault, look.missing) == (None, [])
    return place


def opened(url: str, tmp_path: Path, limit: int = 1 << 20) -> Mirror:
    """Return the archive in a place, as a program of its own would open it."""
    mirror = open_mirror(url, Cache(tmp_path / "cache", limit), None)
    mirror.lock.__exit__()
    return mirror


def data(mirror: Mirror) -> list[Path]:
    return [segment.data for segment in mirror.segments()]


def test_no_key_leads_out_of_the_cache():
    good = [
        "base/20261122T030000Z/manifest.json",
        "base/20261122T030000Z/base.dir/3412.dat.zst",
        "incremental/20261123T030000Z-0000000001000000.sql.zst",
        "globals/20261122T030000Z.sql",
    ]
    bad = [
        "globals/../../../.bashrc",
        "globals/..",
        "base/../manifest.json",
        "base/20261122T030000Z/../../.lock",
        "base/20261122T030000Z/.tmp-x",
        "incremental//etc/passwd",
        "incremental/a\nb",
        "spool/remote.lock",
        "archive.json",
        ".lock",
        "versions/archive.json/x",
    ]
    assert archived_files(good + bad + [f"{key}.age" for key in bad]) == {key: key for key in good}
    secret, twice = good[:2]
    assert archived_files([f"{secret}.age", twice, f"{twice}.age"]) == {secret: f"{secret}.age", twice: twice}


@pytest.mark.parametrize("stamp", ["99999999T999999.000000Z", "99991231T235959.999999Z"])
def test_a_version_without_a_time_is_none(stamp):
    """Nor is one after which no other could come."""
    assert newest_versions([f"versions/archive.json/{stamp}-{'0' * 32}"]) == {}


def test_a_store_does_not_choose_how_much_is_fetched(url, tmp_path, monkeypatch):
    """Who may write there would fill the disk, or the memory, of whoever reads."""
    mirror = opened(url, tmp_path)
    path = data(mirror)[0]
    with (tmp_path / "store" / mirror.name_of(path)).open("ab") as stream:
        stream.truncate(1 << 40)
    with pytest.raises(ScribeError, match="is larger than the store has listed it"):
        mirror.fetch([path])
    assert not path.exists()
    store = ObjectStore("memory:///")
    for number in range(3):
        store.put(f"key{number}", [b"x"])
    monkeypatch.setattr(stores, "MOST", 2)
    with pytest.raises(ScribeError, match="lists more than 2 objects"):
        store.objects()
    endless = itertools.repeat(b"x" * 1000)
    monkeypatch.setattr(store, "get", lambda key: endless)
    with pytest.raises(OtherError):
        store.put("key0", [b"other"])
    monkeypatch.undo()
    content = b"7" * 100
    last = Version("key", "20261122T020000.000000Z", digest_of(content))
    store.put("key", [content])
    assert read_newest(store, [last]) == (last, content)
    monkeypatch.setattr(versions, "MOST", 99)
    assert read_newest(store, [last]) is None


def test_what_changed_in_the_store_is_fetched_again(url, tmp_path):
    first = opened(url, tmp_path)
    first.fetch(data(first))
    whole = {path: path.read_bytes() for path in [*data(first), next(first.segments()).path]}
    for path, content in whole.items():  # the same size, as a forger would have it
        (tmp_path / "store" / path.relative_to(first.path)).write_bytes(bytes(len(content)))
    with pytest.raises(ScribeError):
        data(opened(url, tmp_path))
    for path, content in whole.items():
        (tmp_path / "store" / path.relative_to(first.path)).write_bytes(content)
    last = opened(url, tmp_path)
    last.fetch(data(last))
    assert {path: path.read_bytes() for path in whole} == whole


def test_what_is_damaged_in_the_cache_is_fetched_again(url, tmp_path, monkeypatch):
    first = opened(url, tmp_path)
    first.fetch(data(first))
    (base,) = first.bases()
    held = {path: path.read_bytes() for path in first.path.rglob("*") if first.name_of(path) in first.keys}
    paths = {data(first)[0], next(first.segments()).path, base.path / "manifest.json", base.path / "meta.json"}
    assert paths < set(held)
    for path, content in held.items():  # by a disk, say: neither its size nor its time changes
        status = path.stat()
        path.write_bytes(bytes(byte ^ 1 for byte in content))
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    last = opened(url, tmp_path)
    last.fetch(data(last))
    assert {path: path.read_bytes() for path in held} == held
    fetched: list[str] = []
    get = DirectoryStore.get
    monkeypatch.setattr(DirectoryStore, "get", lambda self, key: (fetched.append(key), get(self, key))[1])
    again = opened(url, tmp_path)
    again.fetch(data(again))
    assert [key for key in fetched if not key.startswith("versions/")] == []  # what is whole is not


def test_the_cache_never_holds_more_than_its_bound(url, tmp_path):
    mirror = opened(url, tmp_path)
    paths = data(mirror)
    sizes = [mirror.objects[mirror.name_of(path)].size for path in paths]
    assert min(sizes) > 0

    def held() -> int:
        return sum(path.stat().st_size for path in mirror.path.rglob("*") if path.is_file())

    limit = held() + sizes[0] + max(sizes[1:])
    mirror = opened(url, tmp_path, limit)
    mirror.fetch(paths[:2])
    mirror.fetch(paths[:1])  # used again, so the other one goes first
    mirror.fetch(paths[2:])
    assert [path.exists() for path in paths] == [True, False, True]
    assert held() <= limit
    with pytest.raises(UsageError, match="SCRIBE_CACHE_SIZE allows"):
        mirror.fetch(paths)  # two of them are here


def test_a_cache_that_others_may_write_is_refused(url, tmp_path):
    place = Cache(tmp_path / "cache", 0).place(url)
    place.mkdir(parents=True)
    place.chmod(0o777)
    with pytest.raises(UsageError, match="others may write"):
        opened(url, tmp_path)
    if os.geteuid() == 0:
        place.chmod(0o700)
        os.chown(place, 65534, 65534)
        with pytest.raises(UsageError, match="others may write"):
            opened(url, tmp_path)


@pytest.mark.parametrize("content", [b"\xff", b"[1]", b"3"])
def test_a_place_with_nonsense_in_it_is_one_error_and_keeps_no_other_from_its_files(content, archive, url, tmp_path):
    (tmp_path / "other").mkdir()
    (version,) = (tmp_path / "store/versions/archive.json").iterdir()
    version.write_bytes(content)
    looks = sync(archive, [url, f"file://{tmp_path}/other"])
    assert looks[0].fault is not None and "is not an archive.json" in looks[0].fault.message
    assert (looks[1].fault, looks[1].missing) == (None, [])


def test_a_file_that_the_archive_has_lost_keeps_no_other_from_the_store(archive, tmp_path):
    lost, *kept = archive.segments()
    lost.data.unlink()
    env = {"SCRIBE_ARCHIVE": str(archive.path), "PGDATABASE": "shop"}
    result = run_alone("scribe-sync", "--to", f"file://{tmp_path}/store", **env)
    assert (result.returncode, re.findall("could not read .*", result.stderr)[:1]) == (
        1,
        [f'could not read "{lost.data}": No such file or directory'],
    )
    there = {path.name for path in (tmp_path / "store/incremental").iterdir()}
    assert there == {path.name for segment in kept for path in (segment.data, segment.path)}


def test_what_cannot_be_compared_is_not_taken_for_sent(tmp_path):
    for store in (DirectoryStore(f"file://{tmp_path}"), ObjectStore("memory:///")):
        store.put("key", [b"truncated"])
        store.put("key", [b"truncated"])  # what is there already is success
        for size in (1, PART + 1):
            with pytest.raises(ScribeError, match="is there with other contents"):
                store.put("key", iter([bytes(size), bytes(1)]))
        assert b"".join(store.get("key")) == b"truncated"


def test_a_directory_that_cannot_be_read_is_not_taken_for_empty():
    with tempfile.TemporaryDirectory() as name:
        store = DirectoryStore(f"file://{name}")
        store.put("incremental/x", [b"x"])
        assert list(store.objects()) == ["incremental/x"]
        Path(name).chmod(0o755)
        Path(name, "incremental").chmod(0)
        before = os.geteuid()
        if before == 0:
            os.seteuid(65534)
        try:
            with pytest.raises(TryAgainError, match='could not read directory ".*incremental": Permission denied'):
                store.objects()
        finally:
            os.seteuid(before)
            Path(name, "incremental").chmod(0o700)


def test_a_place_that_is_away_for_long_is_as_old_as_its_last_full_look(archive, url, tmp_path):
    (tmp_path / "store").rename(tmp_path / "away")
    record = record_path(archive)
    looked = json.loads(record.read_text())
    looked["remotes"][0]["time"] -= 3 * 86400
    record.write_text(json.dumps(looked))
    newest = archive.path / "incremental" / archive.segment_names()[-1]
    os.utime(newest)
    (look,) = sync(archive, [url])
    assert look.fault is not None and look.unseen
    env = {"SCRIBE_ARCHIVE": str(archive.path), "SCRIBE_REMOTE": url}
    result = run_alone("scribe-check", "--only", "shipping", "--format", "json", **env)
    (found,) = json.loads(result.stdout)["checks"]
    assert (found["state"], "there is no directory" in found["text"]) == ("CRITICAL", True)
    assert found["values"]["unsent_files"] == 4 and found["values"]["unsent_age_seconds"] > 2 * 86400
    assert found["values"]["unsent_bytes"] >= sum(path.stat().st_size for path in newest.parent.iterdir())
    env["SCRIBE_REMOTE"] = "file:///never/seen"
    assert run_alone("scribe-sync", **env).returncode == 75
    result = run_alone("scribe-check", "--only", "shipping", **env)
    assert "1 place never seen, tried " in result.stdout and "complete" not in result.stdout


def test_why_nothing_can_be_kept_or_decrypted_is_told(archive, url, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="where what is fetched is kept: Not a directory"):
        open_mirror(url, Cache(tmp_path / "file" / "cache", 1 << 20), None)
    mirror = opened(url, tmp_path)
    with pytest.raises(UsageError, match='could not read the keys in "/nowhere/key": No such file'):
        list(decrypt([b""], Path("/nowhere/key")))

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        mirror.fetch(data(mirror)[:1])
    assert str(caught.value.filename) == str(data(mirror)[0])


DECRYPT = """
import sys; from pathlib import Path; from scribe.offsite.encryption import decrypt
print(b"".join(decrypt([b""], Path(sys.argv[1]))).decode())
"""


def test_nobody_is_asked_for_the_passphrase_of_a_key_and_it_is_kept_from_others(tmp_path, monkeypatch):
    key, age = tmp_path / "key", tmp_path / "age"
    key.write_text("")
    key.chmod(0o604)
    with pytest.raises(UsageError, match="everybody may read the secret keys"):
        list(decrypt([b""], key))
    key.chmod(0o640)
    age.write_text("#!/bin/sh\nif (: </dev/tty) 2>/dev/null; then echo asks; else echo cannot; fi\n")
    age.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "lib"))
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-c", DECRYPT, str(key)])
    said = b""
    with contextlib.suppress(OSError):  # as a terminal ends
        while block := os.read(terminal, 1000):
            said += block
    assert os.waitpid(pid, 0)[1] == 0 and said.strip() == b"cannot", said


@pytest.mark.skipif(shutil.which("age") is None, reason="place: there is no age on this machine")
def test_an_encrypted_object_that_is_not_ours_is_named_and_a_lost_race_is_try_again(archive, tmp_path):
    subprocess.run(["age-keygen", "-o", tmp_path / "key"], check=True, capture_output=True)
    public = subprocess.check_output(["age-keygen", "-y", tmp_path / "key"], text=True).strip()
    place = f"file://{tmp_path}/store"
    assert sync(archive, [place], (public,))[0].fault is None
    newest = tmp_path / "store/incremental" / f"{archive.segment_names()[-1]}.age"
    newest.write_bytes(b"somebody else's")
    with pytest.raises(ScribeError, match=f'could not decrypt "{place}/incremental/{newest.name}": age could not'):
        open_mirror(place, Cache(tmp_path / "cache", 1 << 20), tmp_path / "key")
    sender = Sender(archive, place, (public,), 1, lambda text: None)
    first = next(archive.segments()).path
    with pytest.raises(TryAgainError, match="was written meanwhile by somebody else"):
        sender.put(DirectoryStore(place), f"incremental/{first.name}", first)


def test_the_settings_of_the_lost_host_lead_to_the_copy(tmp_path):
    env = {"SCRIBE_ARCHIVE": f"{tmp_path}/lost", "SCRIBE_REMOTE": "s3://offsite/shop"}
    result = run_alone("scribe-restore", "-d", "copy", **env)
    assert (result.returncode, '"--archive s3://offsite/shop"' in result.stderr) == (2, True)


def test_what_was_finished_after_the_last_look_is_not_sent(archive, url):
    assert unsent(archive, [url]) == []
    names = [f"incremental/{name}" for name in archive.segment_names()]
    newest = archive.path / names[-1]
    os.utime(newest, (time.time() + 60, time.time() + 60))
    assert unsent(archive, [url]) == names[-1:]
    assert set(unsent(archive, [url, "file:///never/seen"])) > set(names)
    assert unsent(archive, []) == []


def test_segments_are_fetched_ahead_and_kept_while_they_are_read(url, tmp_path):
    mirror = opened(url, tmp_path)
    segments = list(mirror.segments())
    fixed = sum(path.stat().st_size for path in mirror.path.rglob("*") if path.is_file())
    sizes = [segment.manifest["bytes"] for segment in segments]
    for behind, room, here in ((0, sum(sizes), [3, 3, 3]), (1, 2 * max(sizes), [1, 2, 2]), (0, max(sizes), [1, 1, 1])):
        shutil.rmtree(tmp_path / "cache")
        mirror = opened(url, tmp_path, fixed + room)
        found = []
        for at, segment in enumerate(mirror.bring(segments, behind)):
            assert segment is segments[at]
            assert all(each.data.exists() for each in segments[max(0, at - behind) : at + 1])
            found.append(sum(each.data.exists() for each in segments))
        assert found == here
    with pytest.raises(UsageError, match="SCRIBE_CACHE_SIZE allows"):
        list(opened(url, tmp_path, fixed).bring(segments))


@pytest.mark.parametrize("form", [(), ("--sql", "-j", "2"), ("--stat",), ("--value", "v=none")])
def test_the_log_out_of_a_store_is_that_of_the_archive(form, archive, url, tmp_path):
    here = run_alone("scribe-log", "--archive", archive.path, *form)
    there = run_alone("scribe-log", "--archive", url, *form, SCRIBE_CACHE=str(tmp_path / "cache"))
    assert (there.returncode, there.stdout, there.stderr) == (here.returncode, here.stdout, here.stderr)
    assert "public.t" in here.stdout or form[:1] == ("--value",)


def checked(url: str, tmp_path: Path, *arguments: str) -> dict[str, Any]:
    """Return what scribe-check says of a store: each finding by its name."""
    options = ("--archive", url, "--format", "json", *arguments)
    result = run_alone("scribe-check", *options, SCRIBE_CACHE=str(tmp_path / "cache"))
    assert result.stderr == ""
    value = json.loads(result.stdout)
    check_value("check", value, Path("scribe-check"))
    assert result.returncode == value["exit_status"]
    return {finding["name"]: finding for finding in value["checks"]}


def test_the_health_of_a_store_is_told_by_what_is_there(archive, url, tmp_path):
    found = checked(url, tmp_path)
    names = ["archive", "chain", "segment", "base", "globals", "metadata", "verification", "rehearsal"]
    assert list(found) == names
    assert [found[name]["state"] for name in ("archive", "chain")] == ["OK", "OK"]
    assert found["verification"]["text"] == "none yet"
    age = found["segment"]["values"]["segment_age_seconds"]
    assert found["segment"]["state"] == ("CRITICAL" if age > 6 * 3600 else "WARNING" if age > 3600 else "OK")
    options = ("--archive", url, "-q")
    assert run_alone("scribe-verify", *options, SCRIBE_CACHE=str(tmp_path / "cache")).returncode == 0
    found = checked(url, tmp_path, "--only", "verification,slot")
    assert "nothing wrong" in found["verification"]["text"]
    assert (found["slot"]["state"], "is in a store" in found["slot"]["text"]) == ("UNKNOWN", True)
    for lost in list(archive.segments())[1:]:
        (tmp_path / "store" / lost.data.relative_to(archive.path)).unlink()
        chain = checked(url, tmp_path, "--only", "chain")["chain"]
        assert (chain["state"], 'sql.zst": it is missing' in chain["text"]) == ("CRITICAL", True)
    (tmp_path / "store").rename(tmp_path / "away")
    gone = checked(url, tmp_path)
    assert (gone["archive"]["state"], gone["archive"]["text"]) == (
        "UNKNOWN",
        f'there is no directory "{tmp_path}/store"',
    )
    assert gone["chain"]["state"] == "UNKNOWN"


def test_a_store_stands_beside_an_archive_in_the_view_of_all(archive, url, tmp_path):
    shutil.rmtree(tmp_path / "store/versions")  # bases and segments tell enough
    (tmp_path / "etc").mkdir()
    cache = f"SCRIBE_CACHE={tmp_path}/cache"
    (tmp_path / "etc/here.env").write_text(f"SCRIBE_ARCHIVE={archive.path}\n")
    (tmp_path / "etc/there.env").write_text(f"SCRIBE_ARCHIVE={url}\n{cache}\n")
    result = run_alone("scribe-status", "--config-dir", tmp_path / "etc", "--json")
    here, there = json.loads(result.stdout)["databases"]
    same = ("database", "restorable_from", "restorable_to", "bytes", "segments", "windows")
    assert [here[key] for key in same] == [there[key] for key in same]
    assert (there["archive"], there["restorable_to"] is None) == (url, False)
