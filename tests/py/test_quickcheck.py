"""The quick look at a manifest: it takes no value that the thorough checker refuses, and ordinary ones it does take."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fastjsonschema
import pytest
from handmade import Handmade

from scribe.archive.layout import Archive
from scribe.archive.manifest import SCHEMAS, check_value
from scribe.archive.quickcheck import compile_quick
from scribe.common.errors import ScribeError

pytestmark = pytest.mark.unit
KINDS = sorted(path.name.removesuffix(".schema.json") for path in SCHEMAS.glob("*.schema.json"))
ODD: list[Any] = [None, True, 0, -1, 1, 1.0, 0.5, "", "x", "0/0", "a" * 64, "a" * 64 + "\n", [], {}, [None], {"x": 1}]
DDL = "-- ddl CREATE TABLE by app from 10.0.0.5 (psql)\nCREATE TABLE made ()\n;\n-- ddl end\n-- rows 1 ddl\n"


def schema_of(kind: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((SCHEMAS / f"{kind}.schema.json").read_bytes())
    return value


def example_of(schema: dict[str, Any], chance: random.Random) -> Any:
    """Return a value that has what a schema names, if it can be told from it; else something odd."""
    if "const" in schema:
        return schema["const"]
    if "anyOf" in schema:
        return example_of(chance.choice(schema["anyOf"]), chance)
    if "enum" in schema:
        return chance.choice(schema["enum"])
    kind = schema.get("type", "null")
    match chance.choice(kind) if isinstance(kind, list) else kind:
        case "object":
            return {
                name: example_of(about, chance)
                for name, about in schema.get("properties", {}).items()
                if name in schema.get("required", []) or chance.random() < 0.7
            }
        case "array" if isinstance(schema.get("items"), dict):
            number = chance.randint(schema.get("minItems", 0), schema.get("maxItems", 2))
            return [example_of(schema["items"], chance) for _ in range(number)]
        case "string":
            return _FITTING.get(schema.get("pattern", ""), "text")
        case "integer":
            return max(1, schema.get("minimum", 1))
        case "boolean":
            return chance.random() < 0.5
    return None


_TIME = "2026-11-22T03:00:01.000000+00"
_FITTING = {
    "": "text",
    r"^\d{8}T\d{6}Z-[0-9A-F]{16}\.sql(\.zst)?$": "20261122T030002Z-0000000001000210.sql.zst",
    r"^\d{8}T\d{6}Z-[0-9A-F]{16}\.json$": "20261122T030002Z-0000000001000210.json",
    r"^\d{8}T\d{6}Z$": "20261122T030002Z",
    r"^\d{8}T\d{6}Z\.sql$": "20261122T030002Z.sql",
    "^[0-9a-f]{64}$": "a" * 64,
    "^[0-9a-f]{32}$": "a" * 32,
    "^[0-9a-f]{16}$": "a" * 16,
    "^[0-9a-f]+$": "a",
    "^[0-9A-F]{16}$": "A" * 16,
    "^[0-9A-F]{1,8}/[0-9A-F]{1,8}$": "0/A",
    r"^\d{4,}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|\+00(:00)?)( BC)?$": _TIME,
}


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each place within a value: what holds it, and its name or number there."""
    for name in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, name
        yield from places(value[name])


def spoil(value: Any, chance: random.Random) -> Any:
    """Return a value with something odd at a place, or without it."""
    spoilt = copy.deepcopy(value)
    if not (found := list(places(spoilt))):
        return chance.choice(ODD)
    holder, name = chance.choice(found)
    if isinstance(holder, dict) and chance.random() < 0.3:
        del holder[name]
    else:
        holder[name] = copy.deepcopy(chance.choice(ODD))
    return spoilt


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_quick_look_takes_is_valid(kind: str) -> None:
    """Values that are as the schema has them, or nearly."""
    schema, chance = schema_of(kind), random.Random(kind)
    thorough, quick = fastjsonschema.compile(schema), compile_quick(schema)
    taken = refused = 0
    for _ in range(100):
        value = example_of(schema, chance)
        for each in (value, spoil(value, chance), spoil(value, chance), chance.choice(ODD)):
            try:
                thorough(each)
            except fastjsonschema.JsonSchemaValueException:
                assert not quick(each), each
                refused += 1
            else:
                taken += quick(each)
    assert refused
    assert taken or kind != "segment"


def test_a_word_that_is_not_known_is_left_to_the_thorough_checker() -> None:
    within = {"type": "object", "properties": {"a": {"type": "string", "maxLength": 1}}}
    for schema in (
        {"type": "string", "enum": ["a"]},
        {"type": "string", "pattern": "a"},
        {"type": ["string", "integer"]},
        {"type": "object", "minItems": 0},
        {"anyOf": [{"type": "string"}, {"type": "integer"}]},
    ):
        assert not any(compile_quick(schema)(value) for value in ("a", 1, {})), schema
    assert compile_quick(within)({}) and not compile_quick(within)({"a": "a"})


def test_segments_as_rotations_write_them_need_no_other_look(tmp_path: Path) -> None:
    archive = Handmade(tmp_path)
    archive.segment(
        [DDL, "INSERT INTO public.t (id) VALUES (1);\n-- rows 1 inserted\n", "TRUNCATE ONLY public.t;\n"], told=True
    )
    quick = compile_quick(schema_of("segment"))
    (segment,) = Archive(tmp_path).all_segments()
    assert segment.manifest["schema_changes"] and segment.manifest["truncates"]
    assert quick(segment.manifest)
    with pytest.raises(ScribeError, match='"x" is not valid at bytes: it must be bigger than or equal to 0'):
        check_value("segment", segment.manifest | {"bytes": -1}, Path("x"))
