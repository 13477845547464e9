#!/usr/bin/env python3
"""An S3 server that may be killed: moto behind a journal of what was written, which the next start plays again.

    kept_store.py PORT JOURNAL

moto has versions, conditions and locks of objects as S3 has them, but in memory alone. A store of another make that
keeps files (s3rver) writes an object in its place: killed, it leaves half of one, which no provider does. Here a
request that changes something is in the journal whole before it is answered, or has never happened.

What moto does not look at is refused as S3 refuses it: a body that is shorter than its length says, or that has another
checksum than its request. The journal is what the harness reads to see that nothing was removed.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

os.environ.setdefault("S3_UPLOAD_PART_MIN_SIZE", "1")  # read by moto; it would refuse the parts of small files
os.environ.setdefault("MOTO_S3_DEFAULT_KEY_BUFFER_SIZE", str(1 << 20))

_UPLOAD = re.compile(r"(?<=uploadId=)[^&]+")
_MADE = re.compile(rb"<UploadId>([^<]+)</UploadId>")
_BAD = b"<?xml version='1.0'?><Error><Code>BadDigest</Code><Message>The checksum did not match.</Message></Error>"


def entries(journal: Path, start: int = 0) -> Iterator[dict[str, Any]]:
    """Yield the requests that were carried out, oldest first: what the next start of the server would play again.

    start: where to begin in the journal, in bytes; length: those of an entry.
    """
    with open(journal, "rb") as stream:
        stream.seek(start)
        for line in stream:
            if line.endswith(b"\n"):  # else it was killed while it wrote this one, and never answered
                yield json.loads(line) | {"length": len(line)}


class Kept:
    """A WSGI application that remembers what another one was asked to change."""

    def __init__(self, app: Callable[..., Iterable[bytes]], journal: Path) -> None:
        from moto.s3 import models

        self.app, self.path = app, journal
        self.lock = threading.Lock()
        self.uploads: dict[str, str] = {}  # as the client knows them: as moto does since its last start
        self.then: datetime | None = None  # when what is played again was done
        now = models.utcnow
        models.utcnow = lambda: self.then or now()  # type: ignore[assignment]
        self.journal = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        whole = list(entries(journal))
        os.ftruncate(self.journal, sum(entry["length"] for entry in whole))
        for entry in whole:
            self.then = datetime.fromisoformat(entry["time"])
            self._carry_out(entry["environ"], base64.b64decode(entry["body"]), entry["upload"])
        self.then = None
        self.now = now

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
        """Answer a request."""
        length = int(environ.get("CONTENT_LENGTH") or 0)
        body = environ["wsgi.input"].read(length)
        wanted = environ.get("HTTP_X_AMZ_CHECKSUM_SHA256")
        if len(body) < length or (wanted and wanted != base64.b64encode(hashlib.sha256(body).digest()).decode()):
            start_response("400 Bad Request", [("Content-Type", "application/xml"), ("Content-Length", str(len(_BAD)))])
            return [_BAD]
        if wanted:  # what S3 asks of one, and moto words otherwise
            environ["HTTP_X_AMZ_SDK_CHECKSUM_ALGORITHM"] = "SHA256"
        plain = {key: value for key, value in environ.items() if key.isupper() and isinstance(value, str)}
        if environ["REQUEST_METHOD"] in ("GET", "HEAD"):
            status, headers, content, _ = self._carry_out(plain, body)
        else:
            with self.lock:
                moment = self.now()
                status, headers, content, upload = self._carry_out(plain, body)
                if int(status.split()[0]) < 300 and b"<Error>" not in content:
                    entry = {"time": moment.isoformat(), "environ": plain, "upload": upload}
                    entry |= {"body": base64.b64encode(body).decode()}
                    os.write(self.journal, json.dumps(entry).encode() + b"\n")
        start_response(status, headers)
        return [content]

    def _carry_out(
        self, plain: dict[str, str], body: bytes, upload: str | None = None
    ) -> tuple[str, list[tuple[str, str]], bytes, str | None]:
        """Let moto do it; upload: as which the client knows the upload that begins, if it does. Return that as well."""
        from werkzeug.test import EnvironBuilder, run_wsgi_app

        environ = EnvironBuilder().get_environ() | plain
        environ["wsgi.input"] = io.BytesIO(body)
        for name in ("QUERY_STRING", "REQUEST_URI", "RAW_URI"):
            environ[name] = _UPLOAD.sub(lambda match: self.uploads.get(match[0], match[0]), environ.get(name, ""))
        answer, status, headers = run_wsgi_app(self.app, environ, buffered=True)
        content = b"".join(answer)
        if plain["REQUEST_METHOD"] == "POST" and (made := _MADE.search(content)) and "uploads" in plain["QUERY_STRING"]:
            upload = upload or made[1].decode()
            self.uploads[upload] = made[1].decode()
        return status, list(headers), content, upload


def main() -> None:
    """Serve until it is killed."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from werkzeug.serving import run_simple

    app = Kept(DomainDispatcherApplication(create_backend_app), Path(sys.argv[2]))
    run_simple("127.0.0.1", int(sys.argv[1]), app, threaded=True, request_handler=MotoRequestHandler)


if __name__ == "__main__":
    main()
