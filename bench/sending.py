"""Off-site: sending to a store and fetching from it beside the library alone, and a restore out of a store far away."""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from aged import WHOLE, Aged, insert
from buckets import Bucket, served
from place import FILL, MB, TABLE, Bench, median, say
from source import Scribe

from scribe.archive.layout import Archive
from scribe.offsite import mirror, sync
from scribe.offsite.mirror import Cache, open_mirror
from scribe.offsite.stores import PART

SEGMENTS = 32
SOURCE = "sent"
RATE = 125_000_000  # bytes a second: 1 Gbit/s
DELAY = 0.01  # seconds each way: 20 ms there and back
PIECE = 1 << 16  # bytes
NAMES = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION")


def measure_offsite(bench: Bench) -> None:
    """MB per second to and from moto, ours and the library's by turns; a restore from here and from far away."""
    before = {name: os.environ.get(name) for name in NAMES}
    with served() as port:
        bucket = Bucket(port, "locked")
        bucket.client.create_bucket(Bucket="bench")
        os.environ.update(bucket.env)
        try:
            bench.figures["offsite"] = measure_copies(bench, bucket) | measure_far_restore(bench, port, bucket.env)
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})
    say(f"offsite: {bench.figures['offsite']}")


def measure_copies(bench: Bench, bucket: Bucket) -> dict[str, Any]:
    """Return seconds, and those of this process's CPU, of sending and fetching an archive."""
    place = bench.directory / "sent"
    size = make_archive(place, max(1 << 20, bench.rows * 16))
    seconds: dict[str, list[float]] = {}
    cpu: dict[str, list[float]] = {}

    def run(way: str, function: Callable[[], None]) -> None:
        began, used = time.perf_counter(), time.process_time()
        function()
        seconds.setdefault(way, []).append(time.perf_counter() - began)
        cpu.setdefault(way, []).append(time.process_time() - used)

    for number in range(2 * bench.rounds):
        ours, theirs = f"s3://bench/ours{number}", f"s3://bench/theirs{number}"
        works: list[tuple[str, Callable[[], None]]] = [
            ("send", lambda ours=ours: send(place, ours)),
            ("send_library", lambda theirs=theirs: send_plainly(place, theirs)),
            ("fetch", lambda ours=ours: fetch(ours, bench.directory / "fetched")),
            ("fetch_library", lambda theirs=theirs: fetch_plainly(theirs, bench.directory / "fetched_plainly")),
        ]
        for first in (0, 2):  # the server is slower with what comes first: each is first by turns
            pair = works[first : first + 2]
            for way, work in pair if number % 2 else reversed(pair):
                run(way, work)
        empty(bucket)
    shutil.rmtree(place)
    return {
        "mb": round(size / MB, 1),
        **{f"{way}_s": median(runs) for way, runs in seconds.items()},
        **{f"{way}_cpu_s": median(runs) for way, runs in cpu.items()},
    }


def make_archive(place: Path, size: int) -> int:
    """Write an archive whose segments hold what does not compress; return its bytes. size: of a segment's SQL."""
    made = Aged(place)
    made.add_base(0, WHOLE)
    for number in range(SEGMENTS):
        made.at(number + 1).segment([insert(1).replace("v1", os.urandom(size // 2).hex())])
    made.tidy()
    return sum(path.stat().st_size for path in place.rglob("*") if path.is_file())


def send(place: Path, url: str) -> None:
    """Send with what scribe-sync does."""
    (look,) = sync.sync(Archive(place), [url])
    if look.fault is not None:
        raise look.fault


def send_plainly(place: Path, url: str) -> None:
    """Send the same files by the library alone, as many at once."""
    import obstore

    store = open_plainly(url)

    def put(path: Path) -> None:
        obstore.put(store, path.relative_to(place).as_posix(), path, chunk_size=PART, max_concurrency=4)

    paths = [path for path in place.rglob("*") if path.is_file() and path.parent.name != "spool"]
    with ThreadPoolExecutor(sync.JOBS) as pool:
        list(pool.map(put, paths))


def fetch(url: str, directory: Path) -> None:
    """Fetch everything with what scribe-restore does."""
    fetched = open_mirror(url, Cache(directory, 1 << 40), None)
    fetched.fetch(fetched.path / name for name in fetched.keys)
    fetched.lock.__exit__()
    shutil.rmtree(directory)


def fetch_plainly(url: str, directory: Path) -> None:
    """Fetch everything by the library alone, as many at once, and write it."""
    import obstore

    store = open_plainly(url)
    directory.mkdir()

    def get(key: str) -> None:
        with (directory / key.replace("/", "_")).open("wb") as stream:
            for block in obstore.get(store, key).stream(min_chunk_size=1 << 20):
                stream.write(block)

    keys = [entry["path"] for page in obstore.list(store) for entry in page]
    with ThreadPoolExecutor(mirror.JOBS) as pool:
        list(pool.map(get, keys))
    shutil.rmtree(directory)


def open_plainly(url: str) -> Any:
    """Return the library's store, with the checksums that ours has."""
    import obstore.store

    options: Any = {"allow_http": True}
    return obstore.store.from_url(url, config={"checksum_algorithm": "sha256"}, client_options=options)


def empty(bucket: Bucket) -> None:
    """Remove what a round has left in the server's memory."""
    for page in bucket.client.get_paginator("list_objects_v2").paginate(Bucket="bench"):
        keys = [{"Key": item["Key"]} for item in page.get("Contents", [])]
        if keys:
            bucket.client.delete_objects(Bucket="bench", Delete={"Objects": keys})


def measure_far_restore(bench: Bench, port: int, env: dict[str, str]) -> dict[str, Any]:
    """Return the seconds of a restore out of the directory, and out of a store at 1 Gbit/s and 20 ms, by turns."""
    cluster, url = bench.cluster, "s3://bench/far"
    cluster.createdb(SOURCE)
    source = Scribe(cluster, SOURCE, bench.directory / "archive-sent")
    seconds: dict[str, list[float]] = {"near": [], "far": [], "far_fetch": []}
    try:
        bench.sql(TABLE.format("filled"), SOURCE)
        bench.sql(FILL.format("filled", bench.rows), SOURCE)
        source.run("scribe-init", "-q")
        source.start_stream()
        for number in range(4):
            bench.sql(f"UPDATE filled SET price = {number} WHERE id % 10 = {number}", SOURCE)
            source.run("scribe-rotate", "--wait-lsn", "current", timeout=900)
        source.stop_stream()
        source.run("scribe-sync", "--to", url, env=env)
        with far(port) as there:
            reads = env | {
                "AWS_ENDPOINT_URL": f"http://127.0.0.1:{there}",
                "SCRIBE_CACHE": str(bench.directory / "far"),
            }
            ways: list[tuple[str, list[str]]] = [("near", []), ("far", ["--archive", url])]
            for number in range(2 * bench.rounds):
                for way, options in ways if number % 2 else reversed(ways):
                    cluster.query("CHECKPOINT")
                    began = time.perf_counter()
                    source.run("scribe-restore", "-q", *options, "-d", "restored", env=reads, timeout=1800)
                    seconds[way].append(time.perf_counter() - began)
                    cluster.dropdb("restored")
                shutil.rmtree(bench.directory / "far")
            os.environ["AWS_ENDPOINT_URL"] = reads["AWS_ENDPOINT_URL"]
            for _ in range(2 * bench.rounds):  # what is to be waited for beforehand
                began = time.perf_counter()
                fetch(url, bench.directory / "far")
                seconds["far_fetch"].append(time.perf_counter() - began)
        stored = sum(path.stat().st_size for path in source.archive.rglob("*") if path.is_file())
        return {"restored_mb": round(stored / MB, 1)} | {f"{way}_s": median(runs) for way, runs in seconds.items()}
    finally:
        source.close()


@contextlib.contextmanager
def far(port: int) -> Iterator[int]:
    """Stand before a server of this machine as a line would: each way so late, and both ways so many bytes a second."""
    line = [Line(), Line()]
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    ours = server.accept()[0]
                    theirs = socket.create_connection(("127.0.0.1", port))
                    for end in (ours, theirs):
                        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    line[0].carry(ours, theirs)
                    line[1].carry(theirs, ours)

        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


class Line:
    """One direction, which all connections share."""

    def __init__(self) -> None:
        self.free = 0.0  # when it has sent what it has taken
        self.taking = threading.Lock()

    def carry(self, source: socket.socket, target: socket.socket) -> None:
        """Carry what one socket yields to another, until it ends."""
        under_way: queue.Queue[tuple[float, bytes]] = queue.Queue(64)

        def take() -> None:
            data = b"?"
            while data:
                with contextlib.suppress(OSError):
                    data = b""
                    data = source.recv(PIECE)
                with self.taking:
                    self.free = max(self.free, time.monotonic()) + len(data) / RATE
                    due = self.free + DELAY
                under_way.put((due, data))

        def give() -> None:
            data = b"?"
            while data:
                due, data = under_way.get()
                time.sleep(max(0.0, due - time.monotonic()))
                with contextlib.suppress(OSError):
                    target.sendall(data) if data else target.shutdown(socket.SHUT_WR)

        for work in (take, give):
            threading.Thread(target=work, daemon=True).start()


def report_offsite(entry: dict[str, Any]) -> list[str]:
    """Return lines of the report."""
    size, lines = entry["mb"], []
    for way, what in (("send", "sending"), ("fetch", "fetching")):
        ours, theirs = entry[f"{way}_s"], entry[f"{way}_library_s"]
        cpu = entry[f"{way}_library_cpu_s"] / entry[f"{way}_cpu_s"]
        lines.append(
            f"| {what} an archive of {size} MB, moto on loopback | {size / ours:.0f} MB/s, {theirs / ours:.2f} of the"
            f" library's speed (by CPU {cpu:.2f}) | obstore alone, as many at once: {size / theirs:.0f} MB/s |"
        )
    return [
        *lines,
        f"| restoring {entry['restored_mb']} MB out of a store at 1 Gbit/s and 20 ms | {entry['far_s']} s,"
        f" {entry['far_s'] / entry['near_s']:.2f} of it; to fetch it takes {entry['far_fetch_s']} s |"
        f" out of a directory {entry['near_s']} s |",
    ]
