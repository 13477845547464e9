"""scribe-report: one page that needs nothing else, on which every figure is that of --json."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from aged import Aged, change
from cluster import ROOT
from fleet import run_alone

HOSTILE = "\"'><b onclick=x>\x1b[2J"


class Page(HTMLParser):
    """The figures of a page: by database and key; and the tags and links that are in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.figures: dict[tuple[str, str], set[str]] = {}
        self.tags: set[str] = set()
        self.addresses: list[str] = []
        self._name = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what a tag says."""
        values = {name: value or "" for name, value in attrs}
        self.tags.add(tag)
        self.addresses += [values[name] for name in ("src", "href", "xlink:href", "action") if name in values]
        self._name = values.get("data-name", self._name)
        if "data-key" in values:
            value = values["data-value"] if tag == "rect" else values["value"]
            self.figures.setdefault((self._name, values["data-key"]), set()).add(value)


def look_up(value: Any, path: str) -> Any:
    """Return what a path of keys leads to."""
    for key in path.split("."):
        if key == "rows" and "inserted" in value:
            return sum(value[kind] for kind in ("inserted", "updated", "deleted"))
        value = value[int(key)] if isinstance(value, list) else value[key]
    return value


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Settings of three databases: one with a gap, one that is not there, and one whose names are hostile."""
    directory = tmp_path_factory.mktemp("report")
    for name in ("shop", "hostile"):
        archive = Aged(directory / f"{name}<b>-archive")
        archive.add_base(0)
        for day in range(1, 6):
            path = archive.add_segment(day, day)
            counts = json.loads(path.read_text())["counts"] | {"inserted": day * 1000, "updated": day}
            table = {"schema": "public", "name": "orders" if name == "shop" else HOSTILE}
            when = {"time": "2026-11-23 03:00:00+00", "xid": 7, "lsn": "0/1000000"}
            changes = [when | {"tag": "CREATE TABLE", "names": [table]}]
            changes.append(when | {"tag": "DO", "names": [], "text": f"DO $$ BEGIN {HOSTILE}"})
            tables = [table | {"inserted": day * 1000, "updated": day}]
            none: dict[str, list[Any]] = {"truncates": [], "marks": [], "largest_deletes": []}
            change(path, counts=counts, tables=tables, schema_changes=changes, **none)
        archive.start_chain(9)
        (archive.path / "rehearsal.json").write_text('{"time": "2026-11-24T04:00:00Z", "ok": false, "faults": ["x"]}')
        (archive.path / "verify.json").write_text('{"time": "soon", "ok": true}')  # no time: as if it were not there
        (directory / f"{name}.env").write_text(f"SCRIBE_ARCHIVE={archive.path}\n")
    (directory / "gone.env").write_text(f"SCRIBE_ARCHIVE={directory}/nowhere\n")
    return directory


@pytest.fixture(scope="module")
def made(settings: Path) -> tuple[str, dict[str, Any]]:
    """The page, and the JSON of a moment later."""
    page = settings / "report.html"
    assert run_alone("scribe-report", "--config-dir", settings, "--offline", "-o", page).returncode == 0
    assert page.stat().st_mode & 0o777 == 0o644
    printed = run_alone("scribe-report", "--config-dir", settings, "--offline", "--json").stdout
    return page.read_text(), {value["name"]: value for value in json.loads(printed)["databases"]}


def test_every_figure_on_the_page_is_that_of_the_json(made):
    text, values = made
    figures = Page(text).figures
    assert len(figures) > 40
    for (name, key), found in figures.items():
        if key != "next_alarm.seconds":  # it counts down
            assert found == {str(look_up(values[name], key))}, (name, key)
    shop = {key for name, key in figures if name == "shop"}
    assert {"bytes", "segments", "gaps.0.from", "days.4.rows", "days.0.bytes", "tables.0.rows", "state"} <= shop


def test_the_page_needs_nothing_but_itself(made):
    page = Page(made[0])
    assert not page.tags & {"script", "link", "img", "iframe", "object", "embed", "form", "base"}
    assert all(address.startswith("#") for address in page.addresses)
    assert not re.search(r"(?i)https?:|url\(|@import", made[0])
    assert "default-src 'none'" in made[0]


def test_what_the_archive_says_is_text(made):
    text, _ = made
    said = "&quot;&#x27;&gt;&lt;b onclick=x&gt;?[2J"
    assert f"<td>public.{said}</td>" in text and f"<td>DO $$ BEGIN {said}</td>" in text
    assert "hostile&lt;b&gt;-archive" in text
    assert "b" not in Page(text).tags
    assert [c for c in text if not c.isprintable() and c != "\n"] == []


def test_the_page_says_what_is_wrong_and_what_to_do(made):
    text, values = made
    for value in values.values():
        assert value["state"] == "CRITICAL" and value["faults"]
    assert "Mount its file system" in text  # the hint for the one that is gone
    assert "the stream began again between" in text
    assert "public.orders" in text and "DO $$ BEGIN" in text
    assert values["shop"]["verification"] is None
    assert values["shop"]["rehearsal"] == {"time": "2026-11-24T04:00:00Z", "ok": False}


def test_a_file_that_cannot_be_written_is_one_error(settings):
    result = run_alone("scribe-report", "--config-dir", settings, "--offline", "-o", settings / "none/page.html")
    assert (result.returncode, result.stdout) == (1, "")
    assert re.fullmatch(r'scribe-report: error: could not write ".*": No such file or directory\n', result.stderr)
    assert "no file is named" in run_alone("scribe-report", "--config-dir", settings).stderr


def test_the_style_is_installed_with_the_module():
    assert (ROOT / "lib/scribe/health/page.css").read_text().count("prefers-color-scheme: dark") == 1
