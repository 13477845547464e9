"""Packages import only downwards, no modules import each other in a circle, and the two C libraries share no file."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from cluster import ROOT

pytestmark = pytest.mark.unit

LIB = ROOT / "lib"
LAYERS = (
    *("common", "archive", "offsite", "source", "spool", "decoders", "stream", "dump", "restore", "history", "health"),
    "programs",
)
LIBRARIES = {"plugin": "capture", "capture": "plugin"}


def name_of(path: Path) -> str:
    """Return a module's name, as in scribe.archive.layout."""
    return ".".join(path.relative_to(LIB).with_suffix("").parts).removesuffix(".__init__")


MODULES = {name_of(path): path for path in sorted(LIB.rglob("*.py"))}


def imports_of(text: str) -> Iterator[str]:
    """Yield the modules of ours that a module's text imports, those within functions and those of types included."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                if whole in MODULES or node.module in MODULES:
                    yield whole if whole in MODULES else str(node.module)


def layer_of(module: str) -> int:
    """Return how high a module's package lies; the root, which holds the version, lies below all."""
    return LAYERS.index(module.split(".")[1]) if "." in module else -1


IMPORTS = {name: set(imports_of(path.read_text())) for name, path in MODULES.items()}


def test_every_package_has_its_place():
    assert {module.split(".")[1] for module in MODULES if "." in module} == set(LAYERS)
    assert all(imports for name, imports in IMPORTS.items() if name.startswith("scribe.programs.")), "nothing was read"


def test_packages_import_only_downwards():
    upward = [
        f"{name} imports {imported}"
        for name, found in IMPORTS.items()
        for imported in found
        if layer_of(imported) > layer_of(name)
    ]
    assert not upward


def test_no_modules_import_each_other_in_a_circle():
    try:
        list(TopologicalSorter(IMPORTS).static_order())
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


@pytest.mark.parametrize("program", ["log", "sync", "prune"])
def test_a_program_that_reads_an_archive_does_not_load_the_driver(program):
    """Loading psycopg and the compiler of schemas took half of a start."""
    code = f"import sys, scribe.programs.{program}; print(*{{'psycopg', 'fastjsonschema'}} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(LIB)}, capture_output=True, check=True)
    assert run.stdout.strip() == b""


@pytest.mark.parametrize("library", LIBRARIES)
def test_no_c_library_includes_a_file_of_the_other(library):
    directory = ROOT / "decoder" / library
    others = {path.name for path in (ROOT / "decoder" / LIBRARIES[library]).glob("*.[ch]")}
    wrong = [
        f"{path.name} includes {included}"
        for path in sorted(directory.glob("*.[ch]"))
        for included in re.findall(r'^\s*#\s*include\s+"(?:[^"]*/)?([^"/]+)"', path.read_text(), re.MULTILINE)
        if included in others - {other.name for other in directory.glob("*.[ch]")}
    ]
    assert not wrong
