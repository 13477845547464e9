"""Archives written by hand: bases and segments from SQL text, exactly as docs/format.md has them, without a source."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import zstandard

from scribe.common import dialect
from scribe.common.lsn import file_lsn, format_lsn
from scribe.dump.base import _Sink
from scribe.stream.writer import Counter

START = 0x1000000
CREATED = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)
_EPOCH = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)
BASE_SETTINGS = (
    "SET transaction_timeout = 0;\nSET standard_conforming_strings = on;\n"
    "SELECT pg_catalog.set_config('search_path', '', false);\n"
)


class Handmade:
    """An archive in the making. One transaction takes 0x100 bytes of WAL, its commit record the last 0x30."""

    def __init__(self, path: Path, *, encoding: str = "UTF8", system_identifier: str = "1", oid: int = 0) -> None:
        self.path = path
        self.encoding = encoding
        self.system_identifier = system_identifier
        self.lsn = START
        self.xid = 700
        self.major = 15  # of the source
        self.previous: str | None = None
        for name in (".", "spool", "base", "incremental", "globals"):
            (path / name).mkdir(mode=0o700, exist_ok=True, parents=True)
        identity = {
            "format_version": 1,
            "system_identifier": system_identifier,
            "database": "shop",
            "database_oid": oid,
            "slot": "scribe_shop",
            "decoder": "scribe_decoder",
            "created": _stamp(CREATED),
            "spool_id": "hand",
            "chain_from_lsn": format_lsn(START),
            "encoding": encoding,
        }
        self._write(path / "archive.json", json.dumps(identity).encode())

    def _write(self, path: Path, content: bytes) -> dict[str, Any]:
        path.write_bytes(content)
        return {"name": path.name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}

    def base(
        self, sql: str, *, globals_sql: str = "", database_sql: str = "", owner: str = "postgres", **more: Any
    ) -> str:
        """Write a base at the present LSN from the SQL of its schema and rows; return its stamp; more: for meta."""
        when = _EPOCH + timedelta(seconds=self.xid - 700)
        directory = self.path / "base" / dialect.format_time(when)
        directory.mkdir()
        meta = {
            "format_version": 1,
            "taken": _stamp(when),
            "database": "shop",
            "owner": owner,
            "encoding": self.encoding,
            "collate": "C",
            "ctype": "C",
            "locale_provider": "libc",
            "locale": None,
            "icu_rules": None,
            "server_version": f"{self.major}.18",
            "server_version_num": self.major * 10000 + 18,
            "system_identifier": self.system_identifier,
            **more,
        }
        plain = BASE_SETTINGS + sql + dialect.build_epilogue(self.lsn)
        sink = _Sink(directory / "base.sql.zst", compress=True)
        for at in range(0, len(plain), 1000):
            sink.write(plain[at : at + 1000].encode())
        sink.close()
        files = [
            sink.written.entry(),
            self._write(directory / "globals.sql", globals_sql.encode()),
            self._write(directory / "database.sql", database_sql.encode()),
            self._write(directory / "meta.json", json.dumps(meta).encode()),
        ]
        manifest = {
            "format_version": 1,
            "stamp": directory.name,
            "database": "shop",
            "system_identifier": self.system_identifier,
            "consistent_point": file_lsn(self.lsn),
            "consistent_point_lsn": format_lsn(self.lsn),
            "snapshot": "00000003-1",
            "format": "plain",
            "server_version": f"{self.major}.18",
            "timeline": 1,
            "tools": {},
            "started": _stamp(when),
            "finished": _stamp(when),
            "files": files,
            "rows": {},
            "warnings": [],
        }
        self._write(directory / "manifest.json", json.dumps(manifest).encode())
        return directory.name

    def globals(self, stamp: str, text: str) -> Path:
        """Write globals that are newer than a base's, with their manifest; return their path."""
        path = self.path / "globals" / f"{stamp}.sql"
        entry = self._write(path, text.encode())
        manifest = {
            "format_version": 1,
            "file": path.name,
            "bytes": entry["bytes"],
            "sha256": entry["sha256"],
            "system_identifier": self.system_identifier,
            "written": _stamp(CREATED),
        }
        self._write(path.with_suffix(".json"), json.dumps(manifest).encode())
        return path

    def transaction(self, body: str | bytes) -> bytes:
        """Return a transaction with its frames at the next LSN; body: its lines, each with a newline."""
        self.xid += 1
        self.lsn += 0x100
        return (
            f"BEGIN; -- xid {self.xid} commit {format_lsn(self.lsn - 0x30)} time {self.time(self.xid)}\n".encode()
            + (body if isinstance(body, bytes) else body.encode())
            + f"COMMIT; -- end {format_lsn(self.lsn)}\n".encode()
        )

    @staticmethod
    def time(xid: int) -> str:
        """Return the commit time of a transaction as its BEGIN line has it: one each second."""
        return (_EPOCH + timedelta(seconds=xid - 700)).strftime("%Y-%m-%d %H:%M:%S.%f+00")

    def segment(
        self,
        bodies: Iterable[str | bytes],
        *,
        sequences: Sequence[dialect.Sequence] = (),
        compress: bool = True,
        chain_start: bool = False,
        told: bool = False,
    ) -> Path:
        """Write a segment of these transactions, beginning at the present LSN; return its manifest's path.

        told: its manifest tells what is in it, as scribe-rotate makes it.
        """
        from_lsn, first = self.lsn, self.xid + 1
        text = b"".join(self.transaction(body) for body in bodies)
        counted = self.xid + 1 - first
        self.lsn += 0x10
        header = dialect.build_header(
            database="shop", decoder="scribe_decoder 1.0", server="15.18", encoding=self.encoding, from_lsn=from_lsn
        )
        footer = dialect.build_footer(sequences=sequences, to_lsn=self.lsn)
        plain = header.encode() + text + footer.encode()
        closed = _EPOCH + timedelta(seconds=self.xid - 700)
        stem = f"{dialect.format_time(closed)}-{file_lsn(self.lsn)}"
        stored = zstandard.compress(plain) if compress else plain
        entry = self._write(self.path / "incremental" / f"{stem}.sql{'.zst' if compress else ''}", stored)
        manifest = {
            "format_version": 1,
            "file": entry["name"],
            "bytes": entry["bytes"],
            "sha256": entry["sha256"],
            "plain_bytes": len(plain),
            "plain_sha256": hashlib.sha256(plain).hexdigest(),
            "database": "shop",
            "system_identifier": self.system_identifier,
            "from_lsn": format_lsn(from_lsn),
            "to_lsn": format_lsn(self.lsn),
            "first_commit_time": self.time(first).replace(" ", "T") if counted else None,
            "last_commit_time": self.time(self.xid).replace(" ", "T") if counted else None,
            "counts": dict.fromkeys(("inserted", "updated", "deleted", "truncated"), 0)
            | {"transactions": counted, "ddl": text.count(b"\n-- ddl ") - text.count(b"\n-- ddl end\n")},
            "previous_sha256": self.previous,
            "chain_start": chain_start,
            "sequences": None,
            "decoder": "scribe_decoder 1.0",
            "server_version": f"{self.major}.18",
            "timeline": 1,
            "closed": _stamp(closed),
            "warnings": [],
        }
        if told:
            counter = Counter()
            counter.feed(text)
            manifest["counts"] = {"transactions": counted, **counter.counts}
            manifest["sequences"] = [vars(each) for each in sequences]
            manifest |= counter.summary()
        self.previous = entry["sha256"]
        path = self.path / "incremental" / f"{stem}.json"
        self._write(path, json.dumps(manifest).encode())
        return path


def _stamp(when: datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")
