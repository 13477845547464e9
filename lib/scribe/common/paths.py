"""Where the project's own files are, in the source tree and installed."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
SQL = ROOT / "sql"


def find_document(name: str) -> Path:
    """Return the path of a file of docs/ or etc/: in the tree, else where "make install" puts it."""
    installed = (ROOT / "../../share/doc/pg_scribe" / name.removeprefix("docs/")).resolve()
    return ROOT / name if (ROOT / name).exists() or not installed.exists() else installed
