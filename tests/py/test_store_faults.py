"""A store that goes wrong at any request: one line says so, nothing is lost or half there, the next run completes."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from aged import Aged
from buckets import BUSY, DENIED, LOST, REFUSED, TORN, Bucket, Faulty, faulty, served
from test_retention import shift

from scribe.common.errors import ScribeError, UsageError
from scribe.offsite import stores
from scribe.offsite.sync import JOBS
from scribe.programs import log, prune, sync, verify

pytestmark = pytest.mark.slow
KINDS = (REFUSED, BUSY, LOST, TORN)
RULE = {"SCRIBE_KEEP_INCREMENTAL_DAYS": "1", "SCRIBE_KEEP_BASE_DAYS": "1", "SCRIBE_KEEP_MONTHLY": "0"}


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    with served() as port:
        yield Bucket(port, "faults")


@pytest.fixture(scope="module")
def proxy(bucket: Bucket) -> Iterator[Faulty]:
    with faulty(int(bucket.env["AWS_ENDPOINT_URL"].rpartition(":")[2])) as server:
        yield server


@pytest.fixture
def made(tmp_path: Path, proxy: Faulty, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Aged:
    """An archive that is sent through what goes wrong, which nobody tries again on the way."""
    archive = Aged(tmp_path / "archive")
    archive.add_base(0)
    archive.add_segment(1)
    archive.add_segment(2)
    shift(archive)
    monkeypatch.setattr(stores, "_RETRY", {"max_retries": 0, "retry_timeout": timedelta(seconds=1)})
    settings = {"SCRIBE_ARCHIVE": str(archive.path), "SCRIBE_CACHE": str(tmp_path / "cache"), "PGDATABASE": "shop"}
    settings |= bucket.env | RULE | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{proxy.server_address[1]}"}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    return archive


def stored(bucket: Bucket, prefix: str) -> dict[str, bytes]:
    """Return what is under a prefix, by its name in the archive."""
    pages = bucket.client.get_paginator("list_objects_v2").paginate(Bucket=bucket.name, Prefix=f"{prefix}/")
    keys = [item["Key"] for page in pages for item in page.get("Contents", [])]
    return {
        key.removeprefix(f"{prefix}/"): bucket.client.get_object(Bucket=bucket.name, Key=key)["Body"].read()
        for key in keys
    }


def here(made: Aged) -> dict[str, bytes]:
    paths = [path for path in made.path.glob("*/**/*") if path.is_file()]
    names = {path.relative_to(made.path).as_posix(): path.read_bytes() for path in paths}
    return {name: content for name, content in names.items() if not name.startswith("spool/")}


def without_versions(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: content for name, content in files.items() if not name.startswith("versions/")}


def every_fault(proxy: Faulty, run: Callable[[str], None], last: int | None = None) -> Iterator[str]:
    """Run with a fault at each request, and without a store from some on; yield where the run has happened.

    last: only at so many at the end.
    """
    proxy.begin()
    run("clean")
    total = proxy.count
    assert total > 3
    numbers = range(max(1, total + 1 - (last or total)), total + 1)
    for number in numbers:
        kind = KINDS[number % len(KINDS)]  # each kind at each request takes four times as long
        proxy.begin(lambda n, kind=kind, number=number: kind if n == number else None)  # type: ignore[misc]
        run(f"{kind}-{number}")
        yield f"{kind}-{number}"
    for number in numbers[::4]:
        proxy.begin(lambda n, number=number: REFUSED if n >= number else None)  # type: ignore[misc]
        run(f"away-{number}")
        yield f"away-{number}"


def ended(program: Callable[[list[str]], int], arguments: list[str]) -> int:
    """Run a program that keeps the lock of its cache until its process ends, which is ours; return its exit status."""
    try:
        return program(arguments)
    finally:
        for entry in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/self/fd/{entry}").endswith("/.lock"):
                    os.close(int(entry))


def said(capfd: pytest.CaptureFixture[str], status: int) -> None:
    """Check that a program has said in one line what went wrong, if anything did."""
    text = capfd.readouterr().err
    assert "Traceback" not in text
    assert status in (0, 1, 75), text
    assert [re.sub(r"^scribe-\w+: (\w+): .*", r"\1", line) for line in text.splitlines()] in (
        [[]] if status == 0 else [["error"], ["error", "hint"]]
    ), text


def test_a_store_that_goes_away_is_asked_no_more(made: Aged, proxy: Faulty, capfd) -> None:
    for day in range(3, 20):
        made.add_segment(day)
    proxy.begin(lambda number: REFUSED if number > 5 else None)
    assert sync.main(["--to", "s3://faults/gone"]) == 75
    assert proxy.count <= 5 + JOBS
    said(capfd, 75)
    proxy.begin()
    assert sync.main(["--to", "s3://faults/gone"]) == 0


def test_credentials_that_are_wrong_lack_a_right_or_are_not_there_are_told(made, proxy, monkeypatch, capfd) -> None:
    for allowed, what in ((0, 'list "s3://faults/denied"'), (1, 'write "versions/archive.json/')):
        proxy.begin(lambda number, allowed=allowed: DENIED if number > allowed else None)
        assert sync.main(["--to", "s3://faults/denied"]) == 2
        text = capfd.readouterr().err
        assert f"scribe-sync: error: could not {what}" in text and "AccessDenied: Access Denied" in text
        assert "hint: Set credentials in the environment (AWS_ACCESS_KEY_ID, ...)" in text
    proxy.begin()
    assert sync.main(["--to", "s3://no-such-bucket/x"]) == 75
    text = capfd.readouterr().err
    assert "NoSuchBucket" in text and "and the bucket's name" in text
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    assert sync.main(["--to", "s3://faults/denied"]) == 2
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:9")
    assert sync.main(["--to", "s3://faults/denied"]) == 75
    assert capfd.readouterr().err.count("Set credentials in the environment, such as AWS_ACCESS_KEY_ID: files") == 2


@pytest.mark.parametrize("url", ["s3://b/x#1", "s3://b/x?1", "s3://b/..", "gs://b/a//b", "az://b/x%20y", "s3://b/./x"])
def test_a_prefix_that_a_store_would_read_as_another_is_refused(url, made, capfd) -> None:
    assert sync.main(["--to", url]) == 2
    assert "a prefix without" in capfd.readouterr().err


@pytest.mark.parametrize("url", ["az://container/x", "s3://not a bucket"])
def test_what_cannot_be_opened_is_wrong_use(url) -> None:
    with pytest.raises(UsageError, match="could not open"):
        stores.open_store(url)


def test_sending(made: Aged, proxy: Faulty, bucket: Bucket, capfd) -> None:
    failed = 0

    def run(prefix: str) -> None:
        nonlocal failed
        status = sync.main(["--to", f"s3://faults/{prefix}"])
        failed += status != 0
        said(capfd, status)

    whole = here(made)
    for prefix in every_fault(proxy, run):
        there = stored(bucket, prefix)
        for name, content in without_versions(there).items():
            assert content == whole[name]  # nothing is half there
            if name.endswith(".json") and name.startswith("incremental/"):
                assert name.replace(".json", ".sql.zst") in there
            if name.endswith("/manifest.json"):
                directory = name.removesuffix("manifest.json")
                assert {n for n in whole if n.startswith(directory)} <= set(there)
        proxy.begin()
        assert sync.main(["--to", f"s3://faults/{prefix}"]) == 0
        said(capfd, 0)
        assert without_versions(stored(bucket, prefix)) == whole, prefix
    assert failed > 8
    keys = bucket.written()
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize(("program", "arguments"), [(verify.main, ["--read", "all"]), (log.main, ["-j", "1"])])
def test_reading(program, arguments, made: Aged, proxy: Faulty, capfd) -> None:
    proxy.begin()
    url = "s3://faults/read"
    assert sync.main(["--to", url]) == 0
    assert program(["--archive", str(made.path), *arguments]) == 0
    here = capfd.readouterr().out
    failed = 0

    def run(name: str) -> None:
        nonlocal failed
        os.environ["SCRIBE_CACHE"] = str(made.path.parent / "caches" / name)
        status = ended(program, ["--archive", url, *arguments])
        failed += status != 0
        output, text = capfd.readouterr()
        assert output in ([here] if status == 0 else ["", here])
        assert status in (0, 75) and "Traceback" not in text and text.count(": error: ") == (status != 0), text

    for name in every_fault(proxy, run):
        proxy.begin()
        before = failed
        run(name)  # with what was fetched the first time
        assert failed == before
    assert failed > 4


def test_removing(made: Aged, proxy: Faulty, bucket: Bucket, capfd) -> None:
    made.add_base(6)
    made.add_segment(7)
    shift(made)
    failed = 0

    def run(prefix: str) -> None:
        nonlocal failed
        fault, proxy.fault = proxy.fault, lambda number: None
        assert sync.main(["--to", f"s3://faults/removed/{prefix}"]) == 0
        proxy.begin(fault)
        status = ended(prune.main, ["--archive", f"s3://faults/removed/{prefix}", "--confirm", "-q"])
        failed += status != 0
        said(capfd, status)

    for prefix in every_fault(proxy, run, last=6):
        proxy.begin()
        url = f"s3://faults/removed/{prefix}"
        assert ended(verify.main, ["--archive", url, "-q"]) == 0, prefix
        assert sync.main(["--to", url]) == 0
        assert ended(prune.main, ["--archive", url, "--confirm", "-q"]) == 0
        assert set(without_versions(stored(bucket, f"removed/{prefix}"))) == set(
            without_versions(stored(bucket, "removed/clean"))
        ), prefix
    assert failed > 4


@pytest.mark.parametrize("kind", [REFUSED, LOST])
def test_a_large_object_is_there_whole_or_not_at_all(kind: str, made: Aged, proxy: Faulty, bucket: Bucket) -> None:
    content = [os.urandom(1 << 20) for _ in range(9)]
    store = stores.open_store(f"s3://faults/large/{kind}")
    proxy.begin()
    store.put("clean", content)
    total, failed = proxy.count, 0
    assert total > 4  # it goes in parts
    for number in range(1, total + 1):
        proxy.begin(lambda n, number=number: kind if n == number else None)  # type: ignore[misc]
        key = f"{kind}-{number}"
        try:
            store.put(key, content)
        except ScribeError as error:
            assert error.status == 75
            failed += 1
            proxy.begin()
            there = store.objects()
            assert key not in there or there[key].size == 9 << 20
            store.put(key, content)
        proxy.begin()
        assert b"".join(store.get(key)) == b"".join(content)
    assert failed > 1
