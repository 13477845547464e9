"""Manifests: the JSON beside each archived file, checked against the schemas that ship with the project."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scribe.archive.quickcheck import FORMATS, compile_quick
from scribe.common import files
from scribe.common.errors import ScribeError

SCHEMAS = Path(__file__).resolve().parents[3] / "schema"


@functools.cache
def _checker(kind: str) -> Callable[[Any], Any]:
    import fastjsonschema  # it and what it compiles take 0.05 s, which nothing needs that is as it should be

    checker: Callable[[Any], Any] = fastjsonschema.compile(_schema(kind), formats=FORMATS)
    return checker


@functools.cache
def _quick(kind: str) -> Callable[[Any], bool]:
    return compile_quick(_schema(kind))


def _schema(kind: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((SCHEMAS / f"{kind}.schema.json").read_bytes())
    return value


def prepare_checkers() -> None:
    """Compile every schema now, for whoever is about to fork."""
    for path in SCHEMAS.glob("*.schema.json"):
        _quick(path.name.removesuffix(".schema.json"))
        _checker(path.name.removesuffix(".schema.json"))


def check_value(kind: str, value: Any, where: Path) -> None:
    """Check value against schema/KIND.schema.json; raises ScribeError that names where and the first fault."""
    if _quick(kind)(value):
        return
    import fastjsonschema

    try:
        _checker(kind)(value)
    except fastjsonschema.JsonSchemaValueException as fault:
        place = "/".join(fault.path[1:]) or "the document"
        said = fault.message.removeprefix(fault.name or "data").strip()
        raise ScribeError(f'manifest "{where}" is not valid at {place}: it {said[:200]}', files.DAMAGED) from None


def read_manifest(kind: str, path: Path) -> dict[str, Any]:
    """Return a checked manifest. kind: archive, segment, base or meta. Raises FileNotFoundError, ScribeError."""
    value = files.read_json(path)
    check_value(kind, value, path)
    assert isinstance(value, dict)
    return value


def write_manifest(kind: str, path: Path, value: dict[str, Any], *, exclusive: bool = True) -> None:
    """Check value and write it durably; exclusive: it is written once. Raises ScribeError, OSError."""
    check_value(kind, value, path)
    files.write_json(path, value, exclusive=exclusive)
