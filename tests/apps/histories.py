"""Migration histories of applications as their tools keep them in a checkout.

A history is the directory with the most SQL files that are numbered or named as migration tools do. A step is one
file, sent as the tool sends it: the whole text as one simple query, inside a transaction if the tool opens one.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

_OTHER_SERVERS = re.compile(r"mysql|sqlite|cockroach|clickhouse|mssql")
_DOWN = re.compile(r"(^|[._-])down\.sql$|\.down\.")
_NUMBERED = re.compile(r"^V?\d+.*\.sql$")
# Go templates, and the placeholders of others, that stand for a schema's name.
_TEMPLATE = re.compile(r"\{\{[^}]*\}\}|\$\{?flyway:[^}]*\}?")
TEMPLATE_SCHEMA = "auth"
_BARRED = re.compile(r"\b(CONCURRENTLY|VACUUM|ALTER\s+SYSTEM|CREATE\s+DATABASE)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Step:
    """One migration: where it stands, its text, and whether its tool wraps it in a transaction."""

    name: str
    text: str
    wrapped: bool


@dataclass(frozen=True)
class History:
    """An application's name and its migrations in order."""

    name: str
    steps: tuple[Step, ...]


def read_histories(directory: Path) -> list[History]:
    """Return the history of each checkout in a directory; a checkout without one is left out."""
    found = (_read(path) for path in sorted(directory.iterdir()) if path.is_dir())
    return [history for history in found if history is not None]


def _read(checkout: Path) -> History | None:
    files = [path for path in checkout.rglob("*.sql") if path.is_file() and _is_step(path.relative_to(checkout))]
    homes = Counter(_home(path) for path in files)
    if not homes:
        return None
    home = homes.most_common(1)[0][0]
    chosen = _without_general(sorted((path for path in files if _home(path) == home), key=_order))
    return History(checkout.name, tuple(_step(path, home) for path in chosen))


def _is_step(path: Path) -> bool:
    if _DOWN.search(path.name) or _OTHER_SERVERS.search(str(path).lower()):
        return False
    return path.name in ("up.sql", "migration.sql") or bool(_NUMBERED.match(path.name))


def _home(path: Path) -> Path:
    return path.parents[1] if path.name in ("up.sql", "migration.sql") else path.parent


def _order(path: Path) -> tuple[int, str]:
    name = path.parent.name if path.name in ("up.sql", "migration.sql") else path.name
    # tools that count compare numbers; tools that use times have them in one width, Diesel's with or without hyphens
    number = re.match(r"V?(\d[\d-]*)", name)
    return int(number[1].replace("-", "")) if number else 0, name


def _without_general(paths: list[Path]) -> list[Path]:
    """Leave out a file for all servers if there is one of the same number for PostgreSQL."""
    special = {path.name.split(".")[0] for path in paths if ".postgres." in path.name}
    return [path for path in paths if ".postgres." in path.name or path.name.split(".")[0] not in special]


def _step(path: Path, home: Path) -> Step:
    text = _TEMPLATE.sub(TEMPLATE_SCHEMA, path.read_text(errors="replace"))
    metadata = path.with_name("metadata.toml")
    unwrapped = path.name == "migration.sql" or bool(_BARRED.search(text)) or "disable-transaction" in text
    if metadata.exists() and "run_in_transaction = false" in metadata.read_text():
        unwrapped = True
    return Step(str(path.relative_to(home)), text, not unwrapped)
