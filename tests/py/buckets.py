"""An S3 server on loopback: moto, which keeps versions and locks of objects as S3 does, and faults before it."""

from __future__ import annotations

import contextlib
import http.client
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cluster import poll


class Bucket:
    """A bucket with object lock, and what the programs need to reach it."""

    def __init__(self, port: int, name: str) -> None:
        import boto3

        self.name = name
        self.env = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "somebody",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
        }
        self.client: Any = boto3.client(
            "s3",
            endpoint_url=self.env["AWS_ENDPOINT_URL"],
            aws_access_key_id="somebody",
            aws_secret_access_key="secret",
            region_name="us-east-1",
        )
        self.client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)

    def written(self) -> list[str]:
        """Return the key of every version of every object: a key that was written twice is there twice."""
        pages = self.client.get_paginator("list_object_versions").paginate(Bucket=self.name)
        return [version["Key"] for page in pages for version in page.get("Versions", [])]

    def lose(self, key: str) -> None:
        """Remove an object with all its versions, as if it had never been there."""
        for version in self.client.list_object_versions(Bucket=self.name, Prefix=key)["Versions"]:
            self.client.delete_object(Bucket=self.name, Key=version["Key"], VersionId=version["VersionId"])

    def change(self, key: str, content: bytes) -> None:
        """Put something else in an object's place, as nobody should."""
        self.client.put_object(Bucket=self.name, Key=key, Body=content)


@contextlib.contextmanager
def served() -> Iterator[int]:
    """Run the server; yields its port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            poll(lambda: _answers(port), 60, "the S3 server")
            yield port
        finally:
            server.kill()


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


REFUSED, BUSY, LOST, TORN = "refused", "busy", "lost", "torn"
_BUSY = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"


class Faulty(ThreadingHTTPServer):
    """Stands before the S3 server and goes wrong at the requests that fault() names.

    refused: the connection ends without a word; busy: the answer is 503; lost: the server does what it is asked for,
    and the answer is lost; torn: half of the answer arrives.
    """

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behind = port
        self.count = 0
        self.counting = threading.Lock()
        self.fault: Callable[[int], str | None] = lambda number: None

    def begin(self, fault: Callable[[int], str | None] = lambda number: None) -> None:
        """Count from 1 again. fault: called with a request's number, returns what goes wrong with it."""
        self.count, self.fault = 0, fault

    def next(self) -> str | None:
        """Count a request; return what goes wrong with it."""
        with self.counting:
            self.count += 1
            return self.fault(self.count)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that goes away is none of ours."""


class _Handler(BaseHTTPRequestHandler):
    server: Faulty
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.server.next()
        if fault == BUSY:
            self._answer(503, {"Content-Type": "application/xml"}, _BUSY, len(_BUSY))
            return
        if fault == REFUSED:
            self._hang_up()
            return
        asked = http.client.HTTPConnection("127.0.0.1", self.server.behind, timeout=60)
        asked.request(self.command, self.path, body, dict(self.headers))
        got = asked.getresponse()
        content = got.read()
        asked.close()
        headers = {
            k: v for k, v in got.getheaders() if k.lower() not in ("content-length", "connection", "server", "date")
        }
        if fault == LOST:
            self._hang_up()
            return
        length = int(got.headers.get("Content-Length") or len(content)) if self.command == "HEAD" else len(content)
        self._answer(got.status, headers, content[: len(content) // 2] if fault == TORN else content, length)
        if fault == TORN:
            self._hang_up()

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _serve

    def _answer(self, status: int, headers: dict[str, str], content: bytes, length: int) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()

    def _hang_up(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def faulty(port: int) -> Iterator[Faulty]:
    """Run what goes wrong before the S3 server."""
    with Faulty(port) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
