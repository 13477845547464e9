"""An S3 server on loopback: moto, which keeps versions and locks of objects as S3 does, and faults before it.

And stores of other makes, as far as they are installed: s3rver, Azurite, and what Google's client takes for Google.
"""

from __future__ import annotations

import base64
import contextlib
import email.utils
import hashlib
import hmac
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
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

    def lock(self, days: int) -> None:
        """Let each object that is written be locked for so many days, for everybody."""
        rule = {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": days}}
        configuration = {"ObjectLockEnabled": "Enabled", "Rule": rule}
        self.client.put_object_lock_configuration(Bucket=self.name, ObjectLockConfiguration=configuration)

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
    with _running(lambda port: [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", port]) as port:
        yield port


@contextlib.contextmanager
def _running(command: Callable[[str], list[str]], **env: str) -> Iterator[int]:
    """Run a server on a free port until the block ends; yields the port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command(str(port)), env=os.environ | env, **quiet) as server:
        try:
            poll(lambda: _answers(port), 60, "the server of objects")
            yield port
        finally:
            server.kill()


@contextlib.contextmanager
def s3rver(directory: Path) -> Iterator[dict[str, str] | None]:
    """Run s3rver (npm), which knows no conditions; yields what reaches its bucket "shop", None if it is not here."""
    if shutil.which("s3rver") is None:
        yield None
        return
    options = ["--silent", "-d", str(directory), "-a", "127.0.0.1", "--configure-bucket", "shop"]
    with _running(lambda port: ["s3rver", *options, "-p", port]) as port:
        names = {"AWS_ACCESS_KEY_ID": "S3RVER", "AWS_SECRET_ACCESS_KEY": "S3RVER", "AWS_REGION": "us-east-1"}
        yield names | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}


AZURITE = (  # every Azurite has this account
    "devstoreaccount1",
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==",
)


@contextlib.contextmanager
def azurite(directory: Path) -> Iterator[dict[str, str] | None]:
    """Run Azurite (npm); yields what reaches its container "shop", None if it is not here."""
    if shutil.which("azurite-blob") is None:
        yield None
        return
    options = ["--silent", "--disableTelemetry", "--skipApiVersionCheck", "-l", str(directory)]
    with _running(lambda port: ["azurite-blob", *options, "--blobHost", "127.0.0.1", "--blobPort", port]) as port:
        _make_container(port)
        names = dict(zip(("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT_KEY"), AZURITE, strict=True))
        yield names | {"AZURE_STORAGE_ENDPOINT": f"http://127.0.0.1:{port}/{AZURITE[0]}"}


def _make_container(port: int) -> None:
    """Make the container "shop", by a request that is signed as Azure wants it."""
    account, key = AZURITE
    headers = {"x-ms-date": email.utils.formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
    lines = [f"{name}:{value}" for name, value in headers.items()]
    signed = "\n".join(["PUT", *[""] * 11, *lines, f"/{account}/{account}/shop", "restype:container"])
    digest = hmac.new(base64.b64decode(key), signed.encode(), hashlib.sha256).digest()
    headers |= {"Authorization": f"SharedKey {account}:{base64.b64encode(digest).decode()}", "Content-Length": "0"}
    asked = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    asked.request("PUT", f"/{account}/shop?restype=container", headers=headers)
    answer = asked.getresponse()
    assert answer.status == 201, answer.read()
    asked.close()


@contextlib.contextmanager
def google(directory: Path) -> Iterator[dict[str, str]]:
    """Run moto behind what makes it look like Google's XML interface; yields what reaches its bucket "shop"."""
    with served() as port, faulty(port, _Google) as server:
        Bucket(port, "shop")
        account = directory / "account.json"
        base = f"http://127.0.0.1:{server.server_address[1]}"
        names = dict.fromkeys(("client_email", "private_key", "private_key_id"), "")
        account.write_text(json.dumps(names | {"gcs_base_url": base, "disable_oauth": True}))
        yield {"GOOGLE_SERVICE_ACCOUNT": str(account), "GOOGLE_BASE_URL": base}


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


REFUSED, BUSY, BROKEN, DENIED = "refused", "busy", "broken", "denied"
LOST, TORN, CUT, CHANGED = "lost", "torn", "cut", "changed"
_BUSY = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
_BROKEN = b"<?xml version='1.0'?><Error><Code>InternalError</Code><Message>Please try again.</Message></Error>"
_DENIED = b"<?xml version='1.0'?>\n<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
_ANSWERS: dict[str | None, tuple[int, bytes]] = {BUSY: (503, _BUSY), BROKEN: (500, _BROKEN), DENIED: (403, _DENIED)}


class Faulty(ThreadingHTTPServer):
    """Stands before the S3 server and goes wrong at the requests that fault() names.

    refused: the connection ends without a word; busy: the answer is 503, broken: 500, denied: 403; lost: the server
    does what it is asked for, and the answer is lost; torn: half of the answer arrives; cut: half of what is sent
    arrives; changed: a byte of the SQL that is sent or fetched is another. pace: at most so many bytes go each way
    within a second, None for all at once.
    """

    daemon_threads = True

    def __init__(self, port: int, handler: type[BaseHTTPRequestHandler] | None = None) -> None:
        super().__init__(("127.0.0.1", 0), handler or _Handler)
        self.behind = port
        self.count = 0
        self.asked: list[tuple[str, str]] = []  # methods and paths, since begin()
        self.counting = threading.Lock()
        self.fault: Callable[[int], str | None] = lambda number: None
        self.pace: float | None = None

    def begin(self, fault: Callable[[int], str | None] = lambda number: None) -> None:
        """Count from 1 again. fault: called with a request's number, returns what goes wrong with it."""
        self.count, self.fault, self.asked = 0, fault, []

    def next(self) -> str | None:
        """Count a request; return what goes wrong with it."""
        with self.counting:
            self.count += 1
            return self.fault(self.count)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that goes away is none of ours."""


def _changed(content: bytes) -> bytes:
    at = len(content) // 2
    return content[:at] + bytes(byte ^ 1 for byte in content[at : at + 1]) + content[at + 1 :]


class _Handler(BaseHTTPRequestHandler):
    server: Faulty
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self.server.asked.append((self.command, self.path))
        fault = self.server.next()
        body = b"".join(self._read(length // 2 if fault == CUT else length))
        if len(body) < length:  # cut, or the client has died
            self._pass_on(body)
            self._hang_up()
            return
        if fault == CHANGED and self.command == "PUT":
            body = _changed(body)
        if fault in _ANSWERS:
            status, content = _ANSWERS[fault]
            self._answer(status, {"Content-Type": "application/xml"}, content, len(content))
            return
        if fault == REFUSED:
            self._hang_up()
            return
        got, content = self._ask(self.command, body, dict(self.headers))
        headers = {
            k: v for k, v in got.getheaders() if k.lower() not in ("content-length", "connection", "server", "date")
        }
        if fault == LOST:
            self._hang_up()
            return
        if fault == CHANGED and self.command == "GET" and ".sql" in self.path:
            content = _changed(content)
        length = int(got.headers.get("Content-Length") or len(content)) if self.command == "HEAD" else len(content)
        self._answer(got.status, headers, content[: len(content) // 2] if fault == TORN else content, length)
        if fault == TORN:
            self._hang_up()

    def _read(self, length: int) -> Iterator[bytes]:
        """Yield what the client sends, no faster than it may come."""
        while length and (block := self.rfile.read(min(length, self._step))):
            self._wait(block)
            length -= len(block)
            yield block

    @property
    def _step(self) -> int:
        """How many bytes go at once."""
        return 1 << 10 if self.server.pace else 1 << 20

    def _wait(self, block: bytes) -> None:
        if self.server.pace:
            time.sleep(len(block) / self.server.pace)

    def _pass_on(self, body: bytes) -> None:
        """Let the server have the beginning of a request, and nothing more."""
        head = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.server.behind), 10) as behind:
            behind.sendall(f"{self.command} {self.path} HTTP/1.1\r\n{head}\r\n".encode() + body)

    def _ask(self, command: str, body: bytes, headers: dict[str, str]) -> tuple[http.client.HTTPResponse, bytes]:
        asked = http.client.HTTPConnection("127.0.0.1", self.server.behind, timeout=60)
        asked.request(command, self.path, body, headers)
        got = asked.getresponse()
        content = got.read()
        asked.close()
        return got, content

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _serve

    def _answer(self, status: int, headers: dict[str, str], content: bytes, length: int) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        for at in range(0, len(content), self._step):
            self._wait(content[at : at + self._step])
            self.wfile.write(content[at : at + self._step])
        self.wfile.flush()

    def _hang_up(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)


class _Google(_Handler):
    """Lets the S3 server stand for Google's XML interface: its condition, and that nothing is deleted twice."""

    def _ask(self, command: str, body: bytes, headers: dict[str, str]) -> tuple[http.client.HTTPResponse, bytes]:
        headers = {name.lower(): value for name, value in headers.items()}
        headers["authorization"] = "AWS4-HMAC-SHA256 Credential=a/20261122/us-east-1/s3/aws4_request"
        if headers.pop("x-goog-if-generation-match", None) == "0":
            headers["if-none-match"] = "*"
        there = super()._ask("HEAD", b"", headers) if command == "DELETE" else None
        return there if there is not None and there[0].status == 404 else super()._ask(command, body, headers)


class Strict(_Handler):
    """Asks of each upload what S3 asks of one to a bucket that locks objects, and moto words otherwise."""

    def _ask(self, command: str, body: bytes, headers: dict[str, str]) -> tuple[http.client.HTTPResponse, bytes]:
        if command == "PUT" and any(name.lower().startswith("x-amz-checksum-") for name in headers):
            headers["x-amz-sdk-checksum-algorithm"] = "SHA256"
        return super()._ask(command, body, headers)


@contextlib.contextmanager
def faulty(port: int, handler: type[_Handler] = _Handler) -> Iterator[Faulty]:
    """Run what goes wrong before the S3 server."""
    with Faulty(port, handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
