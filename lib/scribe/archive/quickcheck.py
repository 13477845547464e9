"""A quick look whether a value is as a JSON Schema has it, for archives with very many manifests.

A schema becomes a function of plain comparisons, which takes a third of the time of the thorough checker and is made in
a tenth of its. True means that the value is valid. False means nothing but that the thorough checker has to look: it
is the answer for whatever is wrong, and wherever a schema uses a word that is not known here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

_TYPES = {"string": "str", "integer": "int", "boolean": "bool", "object": "dict", "array": "list"}
_WORDS = {"type", "properties", "required", "items", "pattern", "minimum", "minItems", "maxItems"}
_WORDS |= {"format", "dependencies"}
_REMARKS = {"$schema", "title", "description"}
_MISSING = object()


def is_moment(text: str) -> bool:
    """Whether a text that looks like a time is one that can be reckoned with; one before our era never is."""
    if text.endswith("BC"):
        return True
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


FORMATS: dict[str, Callable[[str], bool]] = {"moment": is_moment}  # ours, of the word "format"


def compile_quick(schema: dict[str, Any]) -> Callable[[Any], bool]:
    """Return the function; schema: one that ships with the project, for its words become code."""
    writer = _Writer()
    lines = ["def fits(v0):", " try:", *(f"  {line}" for line in writer.lines(schema, "v0", 0)), "  return True"]
    lines += [" except KeyError:", "  return False"]  # what is required is missing
    names: dict[str, Any] = {"MISSING": _MISSING, **FORMATS, **writer.patterns}
    exec(compile("\n".join(lines), "<schema>", "exec"), names)
    fits: Callable[[Any], bool] = names["fits"]
    return fits


class _Writer:
    """Writes the lines that compare one value after the other. patterns: name -> what matches a whole text."""

    def __init__(self) -> None:
        self.patterns: dict[str, Callable[[str], Any]] = {}
        self._named: dict[str, str] = {}

    def lines(self, schema: dict[str, Any], value: str, depth: int) -> Iterator[str]:
        """Yield lines that return False unless a value fits. value: its variable; depth: of variables in use."""
        rest = {word: said for word, said in schema.items() if word not in _REMARKS}
        other = _unless_null(rest)
        if other is not None:
            yield f"if {value} is not None:"
            yield from (f" {line}" for line in self.lines(other, value, depth))
        elif rest.keys() == {"const"} and type(only := rest["const"]) in (bool, int, str):
            yield f"if type({value}) is not {type(only).__name__} or {value} != {only!r}: return False"
        elif not (rest.keys() <= _WORDS and str(rest.get("type")) in _TYPES and self._is_known(rest)):
            yield "return False"
        else:
            yield f"if type({value}) is not {_TYPES[rest['type']]}: return False"
            yield from self._further(rest, value, depth)

    def _is_known(self, schema: dict[str, Any]) -> bool:
        """Whether words that belong to one type stand beside that type, and are of the form that is known."""
        kind, pattern = schema["type"], schema.get("pattern", "^$")
        return (
            ("pattern" not in schema or (kind == "string" and pattern[0] == "^" and pattern[-1] == "$"))
            and ("minimum" not in schema or kind == "integer")
            and ("format" not in schema or (kind == "string" and schema["format"] in FORMATS))
            and ("items" not in schema or (kind == "array" and isinstance(schema["items"], dict)))
            and (not schema.keys() & {"minItems", "maxItems"} or kind == "array")
            and (not schema.keys() & {"properties", "required", "dependencies"} or kind == "object")
            and all(isinstance(names, list) for names in schema.get("dependencies", {}).values())
        )

    def _further(self, schema: dict[str, Any], value: str, depth: int) -> Iterator[str]:
        if "minimum" in schema:
            yield f"if {value} < {schema['minimum']!r}: return False"
        if "pattern" in schema:
            yield f"if {self._pattern(schema['pattern'])}({value}) is None: return False"
        if "format" in schema:
            yield f"if not {schema['format']}({value}): return False"
        for word, comparison in (("minItems", "<"), ("maxItems", ">")):
            if word in schema:
                yield f"if len({value}) {comparison} {schema[word]!r}: return False"
        inner = f"v{depth + 1}"
        if "items" in schema:
            yield f"for {inner} in {value}:"
            yield from (f" {line}" for line in self.lines(schema["items"], inner, depth + 1))
        for name, names in schema.get("dependencies", {}).items():
            yield f"if {name!r} in {value} and not {set(names)!r} <= {value}.keys(): return False"
        required = schema.get("required", [])
        for name in [name for name in required if name not in schema.get("properties", {})]:
            yield f"{value}[{name!r}]"
        for name, about in schema.get("properties", {}).items():
            if name in required:
                yield f"{inner} = {value}[{name!r}]"
                yield from self.lines(about, inner, depth + 1)
            else:
                yield f"{inner} = {value}.get({name!r}, MISSING)"
                yield f"if {inner} is not MISSING:"
                yield from (f" {line}" for line in self.lines(about, inner, depth + 1))

    def _pattern(self, pattern: str) -> str:
        name = self._named.setdefault(pattern, f"p{len(self._named)}")
        self.patterns[name] = re.compile(f"(?:{pattern[1:-1]})").fullmatch
        return name


def _unless_null(schema: dict[str, Any]) -> dict[str, Any] | None:
    """Return what a value has to be unless it is null, if that is how a schema is put."""
    null = {"type": "null"}
    match schema:
        case {"anyOf": [dict(other), last]} if last == null and len(schema) == 1:
            return other
        case {"type": [str(kind), "null"]}:
            return schema | {"type": kind}
    return None
