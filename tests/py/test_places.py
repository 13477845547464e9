"""Where the project's own files are found."""

from __future__ import annotations

from pathlib import Path

import pytest

from scribe.common import paths as places

pytestmark = pytest.mark.unit


def test_documents_are_in_the_tree_or_where_they_were_installed(tmp_path, monkeypatch):
    assert places.find_document("docs/runbook.md") == places.ROOT / "docs/runbook.md"
    monkeypatch.setattr(places, "ROOT", tmp_path / "lib/pg_scribe")
    assert places.find_document("docs/runbook.md") == tmp_path / "lib/pg_scribe/docs/runbook.md"
    installed = tmp_path / "share/doc/pg_scribe/runbook.md"
    installed.parent.mkdir(parents=True)
    installed.touch()
    assert places.find_document("docs/runbook.md") == installed


def test_a_tree_just_below_the_root_directory_is_one_too(monkeypatch):
    monkeypatch.setattr(places, "ROOT", Path("/src"))
    assert places.find_document("docs/no such file") == Path("/src/docs/no such file")
