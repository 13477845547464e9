"""Manifests: the JSON beside each archived file, checked against the schemas that ship with the project."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import jsonschema

from scribe.common import files
from scribe.common.errors import ScribeError

SCHEMAS = Path(__file__).resolve().parents[3] / "schema"


@functools.cache
def _validator(kind: str) -> jsonschema.Draft202012Validator:
    schema = json.loads((SCHEMAS / f"{kind}.schema.json").read_bytes())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker())


def check_value(kind: str, value: Any, where: Path) -> None:
    """Check value against schema/KIND.schema.json; raises ScribeError that names where and the first fault."""
    fault = next(iter(_validator(kind).iter_errors(value)), None)
    if fault is not None:
        place = "/".join(str(part) for part in fault.absolute_path) or "the document"
        raise ScribeError(f'manifest "{where}" is not valid at {place}: {fault.message[:200]}', files.DAMAGED)


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
