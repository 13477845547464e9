"""An S3 server on loopback: moto, which keeps versions and locks of objects as S3 does."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator
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
