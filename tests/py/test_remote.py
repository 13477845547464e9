"""Object stores: an archive is sent there, write-once, encrypted or not, and a new host restores from there alone."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from aged import Aged
from buckets import Bucket, faulty, served
from checking import check
from cluster import Cluster
from compare import assert_equal
from fleet import run_alone
from source import Scribe
from test_retention import daily, shift

# Times, LSNs and digests, and nothing of what is in a file.
NAME = re.compile(
    r"(?:base/\d{8}T\d{6}Z/(?:base|globals|database|meta|manifest)\.(?:json|sql|sql\.zst)"
    r"|incremental/\d{8}T\d{6}Z-[0-9A-F]{16}\.(?:json|sql\.zst)|globals/\d{8}T\d{6}Z\.(?:json|sql)"
    r"|versions/[a-z]+\.json/\d{8}T\d{6}\.\d{6}Z-[0-9a-f]{32})(?:\.age)?"
)
PLACES = ("file", "s3", "s3-age")
pytestmark = pytest.mark.slow


@dataclass
class Away:
    """A place, what a host that sends there needs, and what one that restores from there does."""

    url: str
    sends: dict[str, str]
    reads: dict[str, str]


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    """A bucket of a server of our own."""
    with served() as port:
        yield Bucket(port, "offsite")


@pytest.fixture(scope="module")
def source(cluster: Cluster, bucket: Bucket, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scribe]:
    """A source whose archive goes to a directory and to a bucket as it grows."""
    directory = tmp_path_factory.mktemp("remote")
    (directory / "mounted").mkdir()
    cluster.createdb("remote")
    scribe = Scribe(cluster, "remote", directory / "archive")
    scribe.settings |= bucket.env | {"SCRIBE_REMOTE": f"file://{directory}/mounted s3://offsite/plain/shop"}
    try:
        cluster.psql("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'in the base')", "remote")
        scribe.run("scribe-init")
        scribe.start_stream()
        for number in (2, 3):
            cluster.psql(f"INSERT INTO t VALUES ({number}, 'in a segment')", "remote")
            assert scribe.run("scribe-rotate", "--wait-lsn", "current").stderr == ""
        yield scribe
    finally:
        scribe.close()


@pytest.fixture(scope="module")
def places(source: Scribe, bucket: Bucket) -> dict[str, Away]:
    """Every place that has the whole archive."""
    directory = source.archive.parent
    found = {
        "file": Away(f"file://{directory}/mounted", {}, {}),
        "s3": Away("s3://offsite/plain/shop", {}, bucket.env),
    }
    if shutil.which("age"):
        secret = directory / "key"
        subprocess.run(["age-keygen", "-o", secret], check=True, capture_output=True)
        public = subprocess.check_output(["age-keygen", "-y", secret], text=True).strip()
        (directory / "public").write_text(public + "\n")
        sends = {"SCRIBE_ENCRYPT_TO": str(directory / "public")}
        away = Away("s3://offsite/secret/shop", sends, bucket.env | {"SCRIBE_DECRYPT_WITH": str(secret)})
        source.run("scribe-sync", "--to", away.url, env=sends)
        found["s3-age"] = away
    source.run("scribe-sync")  # after --to another place, the record is that one's
    return found


@pytest.fixture(params=PLACES)
def away(request: pytest.FixtureRequest, places: dict[str, Away]) -> Away:
    """Each of the places in turn."""
    if request.param not in places:
        pytest.skip("place: there is no age on this machine")
    return places[request.param]


@pytest.fixture
def host(cluster: Cluster, tmp_path: Path) -> Iterator[Scribe]:
    """A new host that has nothing but the URL; its database is dropped afterwards."""
    scribe = Scribe(cluster, "from_remote", tmp_path / "nothing")
    scribe.settings |= {"SCRIBE_CACHE": str(tmp_path / "cache")}
    yield scribe
    cluster.dropdb("from_remote")


@pytest.mark.parametrize("away", ["file", "s3-age"], indirect=True)  # s3 is the point in time's
def test_a_new_host_restores_with_one_command(away, host, source):
    host.run("scribe-restore", "--archive", away.url, "-d", "from_remote", env=away.reads)
    assert_equal(source.cluster.dump("remote"), source.cluster.dump("from_remote"))


def test_everything_there_is_listed_and_verified_and_little_of_it_kept(away, host, source, tmp_path):
    again = host.run("scribe-restore", "--archive", away.url, "--list", "--json", env=away.reads).stdout
    here = source.run("scribe-restore", "--archive", str(source.archive), "--list", "--json").stdout
    assert json.loads(again) == json.loads(here)
    assert host.run("scribe-verify", "--archive", away.url, env=away.reads).stdout == ""
    assert list((tmp_path / "cache").rglob("*.sql.zst")) == []


def test_what_changed_is_told_out_of_the_store(away, host, source, tmp_path):
    for form in (["--stat"], ["--sql", "--table", "t"]):
        here = source.run("scribe-log", "--archive", str(source.archive), *form).stdout
        assert host.run("scribe-log", "--archive", away.url, *form, env=away.reads).stdout == here
        assert "public.t" in here
        fetched = list((tmp_path / "cache").rglob("incremental/*.zst"))
        assert bool(fetched) == ("--sql" in form)  # the manifests tell how many rows there are


def test_the_plan_names_files_that_were_fetched(places, host, tmp_path):
    plan = host.run("scribe-restore", "--archive", places["file"].url, "-d", "from_remote", "--plan").stdout
    named = [Path(name) for name in re.findall(rf"{tmp_path}/cache/\S+\.sql(?:\.zst)?", plan)]
    assert len(named) > 2 and [path for path in named if not path.is_file()] == []


def test_a_look_and_an_undo_out_of_the_store(places, host, source):
    away = places.get("s3-age", places["s3"])
    (row,) = source.run("scribe-log", "--value", "id=2", "--table", "t", "--json").stdout.splitlines()
    xid = str(json.loads(row)["xid"])
    options = ["--archive", away.url, "--target-xid", xid, "-c", "TABLE t", "--", "-At"]
    assert host.run("scribe-peek", *options, env=away.reads).stdout == "1|in the base\n2|in a segment\n"
    undone = host.run("scribe-undo", "--archive", away.url, "--xid", xid, env=away.reads).stdout
    assert xid in undone and "DELETE FROM" in undone


def test_a_point_in_time_is_found_out_there(places, host, source):
    away = places["s3"]
    lsn = source.run("scribe-restore", "--mark", "here", "-d", "remote").stdout.strip()
    assert re.fullmatch(r"[0-9A-F]+/[0-9A-F]+", lsn)
    source.cluster.psql("INSERT INTO t VALUES (0, 'after the mark')", "remote")
    source.run("scribe-rotate", "--wait-lsn", "current")
    host.run("scribe-restore", "--archive", away.url, "--target-name", "here", "-d", "from_remote", env=away.reads)
    source.cluster.psql("DELETE FROM t WHERE id = 0", "remote")
    assert_equal(source.cluster.dump("remote"), source.cluster.dump("from_remote"))


def test_no_key_is_written_twice_and_names_tell_times_and_lsns_only(places, bucket, source):
    source.run("scribe-meta")
    source.run("scribe-rotate")
    source.run("scribe-sync")
    keys = bucket.written()
    assert len(keys) == len(set(keys))
    names = [key.split("/", 2)[2] for key in keys]
    assert [name for name in names if not NAME.fullmatch(name)] == []
    clear = {key.split("/", 2)[2] for key in keys if key.startswith("secret/") and not key.endswith(".age")}
    assert [
        name for name in clear if not re.match(r"base/.*/manifest|globals/|versions/(archive|pruned|broken)", name)
    ] == []


def test_what_is_missing_is_known_by_looking_and_sent_again(places, bucket, source):
    lost = next(key for key in bucket.written() if key.startswith("plain/shop/incremental/") and ".sql" in key)
    bucket.lose(lost)
    said = source.run("scribe-sync", "--dry-run", check=False)
    assert (said.returncode, said.stdout) == (1, f"{lost.removeprefix('plain/shop/')} to s3://offsite/plain/shop\n")
    assert lost not in bucket.written()
    source.run("scribe-sync")
    assert lost in bucket.written()
    assert source.run("scribe-sync", "--dry-run").stdout == ""


def test_a_new_place_gets_everything_and_another_archives_place_is_refused(places, source, cluster, tmp_path):
    (tmp_path / "new").mkdir()
    source.run("scribe-sync", "--to", f"file://{tmp_path}/new")
    there = {path.relative_to(tmp_path / "new").as_posix() for path in (tmp_path / "new").rglob("*") if path.is_file()}
    here = {path.relative_to(source.archive).as_posix() for path in source.archive.rglob("*.sql*")}
    assert {name for name in there if ".sql" in name} == {name for name in here if not name.startswith("spool/")}
    (name,) = (tmp_path / "new/versions/archive.json").iterdir()
    text = name.read_text().replace('"remote"', '"another"')
    later = "20990101T000000.000000Z-" + name.name.partition("-")[2]
    (name.parent / later).write_text(text)
    result = source.run("scribe-sync", "--to", f"file://{tmp_path}/new", check=False)
    assert (result.returncode, "holds the archive of another database" in result.stderr) == (2, True)
    source.run("scribe-sync")


def test_a_place_that_is_away_stops_nothing_and_is_told(places, source):
    missing = {"SCRIBE_REMOTE": f"{source.settings['SCRIBE_REMOTE']} file:///nowhere/mounted"}
    source.cluster.psql("INSERT INTO t VALUES (4, 'while a place is away')", "remote")
    rotated = source.run("scribe-rotate", "--wait-lsn", "current", env=missing)
    assert 'there is no directory "/nowhere/mounted"; the next run sends' in rotated.stderr
    found = check(source, "shipping", **missing)
    assert (found["state"], "file:///nowhere/mounted: there is no directory" in found["text"]) == ("WARNING", True)
    assert source.run("scribe-sync", check=False, env=missing).returncode == 75
    plan = json.loads(source.run("scribe-prune", "--json", env=missing | {"SCRIBE_KEEP_INCREMENTAL_DAYS": "0"}).stdout)
    assert not [file for file in plan["files"] if not file["keep"]]
    source.run("scribe-sync")
    found = check(source, "shipping")
    assert (found["state"], found["values"]["unsent_files"]) == ("OK", 0)
    assert re.match(r"2 places complete, looked at .* ago", found["text"])


def test_a_server_that_is_away_is_try_again(places, source):
    closed = {"SCRIBE_REMOTE": "s3://offsite/plain/shop", "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    result = source.run("scribe-sync", check=False, env=closed)
    assert (result.returncode, "could not list" in result.stderr) == (75, True)
    source.run("scribe-sync")


def test_a_changed_object_is_never_restored(places, bucket, host):
    key = next(k for k in bucket.written() if re.match(r"plain/shop/incremental/.*\.sql\.zst", k))
    before = bucket.client.get_object(Bucket=bucket.name, Key=key)["Body"].read()
    try:
        bucket.change(key, before[:-1] + bytes([before[-1] ^ 1]))
        url = places["s3"].url
        result = host.run("scribe-restore", "--archive", url, "-d", "from_remote", env=bucket.env, check=False)
        assert (result.returncode, "does not have the checksum in its manifest" in result.stderr) == (1, True)
    finally:
        bucket.lose(key)
        bucket.change(key, before)


def test_a_cache_that_is_too_small_and_a_missing_key_are_told(places, host):
    away = places["s3"]
    small = away.reads | {"SCRIBE_CACHE_SIZE": "1kB"}
    result = host.run("scribe-restore", "--archive", away.url, "-d", "from_remote", env=small, check=False)
    assert (result.returncode, "SCRIBE_CACHE_SIZE allows 1024 bytes only" in result.stderr) == (2, True)
    if "s3-age" in places:
        url = places["s3-age"].url
        result = host.run("scribe-restore", "--archive", url, "--list", env=away.reads, check=False)
        assert (result.returncode, "Set SCRIBE_DECRYPT_WITH" in result.stderr) == (2, True)


def test_a_cache_with_room_for_a_base_and_a_segment_is_enough_and_nothing_is_fetched_twice(
    places, host, source, bucket, tmp_path
):
    away = places["s3"]
    cache = tmp_path / "cache"
    for _ in range(3):
        source.cluster.psql("UPDATE t SET v = repeat(md5(random()::text), 300)", "remote")
        source.run("scribe-rotate", "--wait-lsn", "current")
    sizes = sorted(path.stat().st_size for path in (source.archive / "incremental").glob("*.zst"))
    base = max(path.stat().st_size for path in (source.archive / "base").glob("*/base.sql.zst"))
    assert len(sizes) > 4
    with faulty(int(bucket.env["AWS_ENDPOINT_URL"].rpartition(":")[2])) as seen:
        env = away.reads | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{seen.server_address[1]}"}
        host.run("scribe-restore", "--archive", away.url, "--list", env=env)
        fixed = sum(path.stat().st_size for path in cache.rglob("*") if path.is_file())
        seen.begin()
        env["SCRIBE_CACHE_SIZE"] = str(fixed + base + sizes[-1])
        restored = host.run("scribe-restore", "--archive", away.url, "-d", "from_remote", env=env)
    assert "each is checked when its turn comes" in restored.stderr
    assert sum(path.stat().st_size for path in cache.rglob("*") if path.is_file()) <= fixed + base + sizes[-1]
    fetched = [path for method, path in seen.asked if method == "GET" and path.endswith(".sql.zst")]
    assert len(fetched) == len(set(fetched)) == len(sizes) + 1
    assert_equal(source.cluster.dump("remote"), source.cluster.dump("from_remote"))


def test_what_only_reads_refuses_to_write_into_a_store(places, host):
    for program in ("scribe-stream", "scribe-rotate", "scribe-dump", "scribe-sync"):
        result = host.run(program, check=False, env=places["s3"].reads | {"SCRIBE_ARCHIVE": places["s3"].url})
        assert (result.returncode, "can only be read" in result.stderr) == (2, True), program


def test_retention_in_a_bucket_hides_what_goes_and_overwrites_nothing(bucket, tmp_path):
    made = Aged(tmp_path / "archive")
    daily(made, 12, every=3)
    shift(made)
    url, cache = "s3://offsite/aged/shop", str(tmp_path / "cache")
    sends = bucket.env | {"SCRIBE_ARCHIVE": str(made.path), "SCRIBE_REMOTE": url}
    rule = {"SCRIBE_KEEP_INCREMENTAL_DAYS": "1", "SCRIBE_KEEP_BASE_DAYS": "1", "SCRIBE_KEEP_MONTHLY": "0"}
    reads = bucket.env | {"SCRIBE_CACHE": cache} | rule
    if shutil.which("age"):
        subprocess.run(["age-keygen", "-o", tmp_path / "key"], check=True, capture_output=True)
        sends["SCRIBE_ENCRYPT_TO"] = subprocess.check_output(["age-keygen", "-y", tmp_path / "key"], text=True).strip()
        reads["SCRIBE_DECRYPT_WITH"] = str(tmp_path / "key")

    def stored() -> set[str]:
        pages = bucket.client.get_paginator("list_objects_v2").paginate(Bucket=bucket.name, Prefix="aged/shop/")
        keys = [
            item["Key"].removeprefix("aged/shop/").removesuffix(".age") for page in pages for item in page["Contents"]
        ]
        return {key for key in keys if not key.startswith("versions/")}

    assert run_alone("scribe-sync", **sends).returncode == 0
    whole = stored()
    said = run_alone("scribe-prune", "--archive", url, "--confirm", "-v", **reads)
    assert (said.returncode, "scribe-prune: removed 3 bases, " in said.stderr) == (0, True)
    kept = stored()
    assert kept < whole
    assert run_alone("scribe-sync", "-v", **sends).stderr == f"scribe-sync: sent 0 files, 0 bytes, to {url}\n"
    assert run_alone("scribe-verify", "--archive", url, **reads).stdout == ""
    assert run_alone("scribe-prune", "--archive", str(made.path), "--confirm", **rule).returncode == 0
    here = {path.relative_to(made.path).as_posix() for path in made.path.rglob("*") if path.is_file()}
    assert kept == {name for name in here if "/" in name and not name.startswith("spool/")}
    keys = bucket.written()  # what was removed, too
    assert len(keys) == len(set(keys)) and len([key for key in keys if key.startswith("aged/")]) > len(whole)


def test_an_archive_without_archive_json_restores(source, host, tmp_path):
    shutil.copytree(source.archive, tmp_path / "copy", ignore=shutil.ignore_patterns("archive.json", "spool"))
    host.run("scribe-restore", "--archive", str(tmp_path / "copy"), "-d", "from_remote")
    assert_equal(source.cluster.dump("remote"), source.cluster.dump("from_remote"))
    result = host.run("scribe-restore", "--archive", str(tmp_path / "copy"), "-d", "remote", check=False)
    assert (result.returncode, 'database "remote" is the source' in result.stderr) == (2, True)
    assert os.listdir(tmp_path / "copy/base")
