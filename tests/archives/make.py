#!/usr/bin/env python3
"""Make tests/archives/format-N: a small archive by the programs of this tree, and what its source held at the end.

    PG_CONFIG=... PYTHONPATH=tests/py .venv/bin/python -P tests/archives/make.py

It is made once for each format version, before that version is released, by the oldest PostgreSQL at hand, committed,
and never changed: tests/py/test_kept_archives.py restores every one of them for good.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from cluster import Cluster, install_decoder
from fingerprint import OPTIONS, read_fingerprint
from source import Scribe

from scribe import FORMAT_VERSION

HERE = Path(__file__).resolve().parent
PARTS = ("before", "stream", "later", "end")


def main() -> int:
    """Make the archive of the present format; return the exit status."""
    target = HERE / f"format-{FORMAT_VERSION}"
    if target.exists():
        print(f"make.py: error: {target} is there already; a kept archive is never made anew", file=sys.stderr)
        return 1
    texts = dict(zip(PARTS, (HERE / "source.sql").read_text().split("\n-- next: ")[0:], strict=True))
    scripts = [text if part == "before" else text.split("\n", 1)[1] for part, text in texts.items()]
    cluster = Cluster()
    install_decoder(cluster.pg_config)
    with tempfile.TemporaryDirectory() as directory:
        try:
            cluster.create()
            archive = Path(directory) / "archive"
            made = make(cluster, archive, scripts)
            for path in archive.rglob("*"):
                os.chmod(path, 0o755 if path.is_dir() else 0o644)
            shutil.copytree(archive, target, ignore=shutil.ignore_patterns("spool", "*.json.tmp"))
            text = json.dumps({"server": cluster.version_num} | made, indent=1, ensure_ascii=False)
            (target / "expected.json").write_text(text + "\n")
        finally:
            cluster.remove()
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    print(f"made {target}: {size} bytes; add it to git, and never change it")
    return 0


def make(cluster: Cluster, archive: Path, scripts: list[str]) -> dict[str, object]:
    """Run the source's life; return what it held at the mark and at the end."""
    before, stream, later, end = scripts
    cluster.psql("CREATE ROLE kept_owner; CREATE ROLE kept_reader CONNECTION LIMIT 3")
    cluster.psql("CREATE DATABASE kept TEMPLATE template0 OWNER kept_owner")
    scribe = Scribe(cluster, "kept", archive)
    found: dict[str, object] = {}
    try:
        cluster.psql(before, "kept")
        scribe.run("scribe-init")
        scribe.start_stream()
        cluster.psql(stream, "kept")
        scribe.run("scribe-rotate", "--wait-lsn", "current", env={"SCRIBE_COMPRESS": "none"})
        scribe.run("scribe-dump", "--format", "directory")
        cluster.psql(later, "kept")
        scribe.run("scribe-rotate", "--wait-lsn", "current")
        found["at the mark"] = fingerprint(cluster)
        scribe.run("scribe-restore", "-d", "kept", "--mark", "kept")
        cluster.psql(end, "kept")
        scribe.run("scribe-rotate", "--wait-lsn", "current")
        found["at the end"] = fingerprint(cluster)
        scribe.stop_stream()
    finally:
        scribe.close()
    return found


def fingerprint(cluster: Cluster) -> dict[str, list[str]]:
    """Return what the source holds now."""
    with cluster.connect("kept", options=OPTIONS) as conn:
        return read_fingerprint(conn)


if __name__ == "__main__":
    sys.exit(main())
