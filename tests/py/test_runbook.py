"""The commands in README.md, docs/runbook.md and docs/alarms.md do what is said there.

A page is one session of bash: its blocks marked "sh run" are executed in order against a real server. "sh run, exits 1"
must end with that status; a block "text said" lists lines that the block before it must have printed, with ... for what
differs. A comment that begins with "<!-- test:" is executed too: it brings about what the reader is supposed to meet.
A word before the comma or colon ("sh run promoted", "<!-- test promoted:") names a scene: another session, against a
server to which something has happened. "sh booted" is for a booted system, "sh" alone for nobody: it is to be adapted.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from checking import PROMPT
from cluster import ROOT, Cluster, install_decoder, temporary_cluster
from compare import assert_equal
from source import Scribe
from standby import catch_up, promote, standby

from scribe.health.checks import CHECKS

_BLOCK = re.compile(
    r"^```sh run(?: (?P<scene>\w+))?(?:, exits (?P<status>\d+))?\n(?P<code>.*?)^```$|^```text said\n(?P<said>.*?)^```$"
    r"|^<!-- test(?: (?P<hidden_scene>\w+))?:\n(?P<hidden>.*?)^-->$",
    re.M | re.S,
)
PAGES = ("README.md", "docs/runbook.md", "docs/alarms.md")


@dataclass
class Block:
    """Commands of a page, the line they begin at, the exit status they must have, and what they must print."""

    line: int
    code: str
    status: int
    said: list[str] = field(default_factory=list)


def read_blocks(text: str, scene: str | None = None) -> list[Block]:
    """Return the blocks of a page that are executed in a scene; None: in the page's own session."""
    blocks: list[Block] = []
    last: Block | None = None
    for match in _BLOCK.finditer(text):
        if match["said"] is not None:
            assert last is not None
            last.said += match["said"].splitlines()
        else:
            line = text.count("\n", 0, match.start()) + 1
            last = Block(line, match["code"] or match["hidden"], int(match["status"] or 0))
            if (match["scene"] or match["hidden_scene"]) == scene:
                blocks.append(last)
    return blocks


def write_script(blocks: list[Block], output: Path) -> str:
    """Return a script for bash that runs the blocks one after the other, each with its output in a file of its own."""
    lines = ["set -u"]
    for block in blocks:
        lines.append(f"exec >'{output}/{block.line}' 2>&1")
        if block.status:  # in a subshell, which an exit or an error may end
            lines += ["set +e", f"( set -e\n{block.code})", f"[ $? -eq {block.status} ] || exit 99", "set -e"]
        else:
            lines += ["set -e", block.code]
    return "\n".join(lines)


def pattern(line: str) -> str:
    """Return a regular expression for a line in which ... stands for anything."""
    return "(?m)^" + ".*".join(re.escape(part) for part in line.split("...")) + "$"


@pytest.fixture
def shop(cluster: Cluster, tmp_path: Path) -> Iterator[Scribe]:
    """The database the pages speak of, before pg_scribe; and whatever they make is dropped afterwards."""
    before = {name for (name,) in cluster.query("SELECT datname FROM pg_database")}
    cluster.createdb("shop")
    source = Scribe(cluster, "shop", tmp_path / "archive" / "shop")
    source.archive.parent.mkdir()
    yield source
    source.close()
    for (name,) in cluster.query("SELECT datname FROM pg_database"):
        if name not in before:
            Scribe(cluster, name, tmp_path / name).close()


def play(page: str, env: Mapping[str, str], directory: Path, scene: str | None = None) -> None:
    """Execute a page's blocks in one session; fail where one does not do what the page says."""
    blocks = read_blocks((ROOT / page).read_text(), scene)
    output = directory / f"output of {scene}"
    output.mkdir()
    with subprocess.Popen(
        ["bash", "-c", write_script(blocks, output)],
        env=env,
        cwd=directory,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    ) as session:
        status = session.wait(900)
    last = max((block for block in blocks if (output / str(block.line)).exists()), key=lambda block: block.line)
    said = {block.line: (output / str(block.line)).read_text() for block in blocks if block.line <= last.line}
    assert status == 0, f"{page}, line {last.line}:\n{last.code}{said[last.line]}"
    for block in blocks:
        for line in block.said:
            text = said[block.line]
            assert re.search(pattern(line), text), f"{page}, line {block.line}: no {line!r} in\n{text}"


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_every_command_on_the_page_does_what_it_says(page, shop, tmp_path):
    play(page, shop.env, tmp_path)


@pytest.mark.slow
def test_the_way_on_after_a_promotion(tmp_path):
    with temporary_cluster() as primary:
        install_decoder(primary.pg_config)
        primary.createdb("shop")
        shop = Scribe(primary, "shop", tmp_path / "archive")
        primary.psql("CREATE TABLE orders (id int PRIMARY KEY, item text)", "shop")
        shop.run("scribe-init")
        with standby(primary) as other:
            catch_up(primary, other)
            primary.stop()
            promote(other)
            both = {"PGHOST": f"{primary.host},{other.host}", "PGPORT": f"{primary.port},{other.port}"}
            play("docs/runbook.md", shop.env | both, tmp_path, "promoted")


@pytest.mark.slow
def test_the_way_to_a_newer_version_and_back(cluster, shop, tmp_path):
    """PG_CONFIG_NEW names the newer version; else the copy is on another server of the same one."""
    new = Cluster(os.environ.get("PG_CONFIG_NEW"))
    install_decoder(new.pg_config)
    shop.settings |= PROMPT
    cluster.psql("CREATE TABLE orders (id int PRIMARY KEY, item text); CREATE SEQUENCE tickets", "shop")
    shop.run("scribe-init")
    shop.start_stream()
    cluster.psql("INSERT INTO orders VALUES (1, 'one'); SELECT nextval('tickets'), nextval('tickets')", "shop")
    try:
        new.create()
        back = f"host={cluster.host} port={cluster.port} dbname=shop_back"
        there = {"NEW": f"host={new.host} port={new.port} dbname=shop", "BACK": back}
        path = shop.env["PATH"].replace(cluster.bindir, f"{new.bindir}:{cluster.bindir}", 1)
        play("docs/runbook.md", shop.env | there | {"PATH": path}, tmp_path, "moving")
        assert new.query("SELECT last_value FROM tickets", "shop") == [(2,)]
        assert_equal(new.dump("shop"), cluster.dump("shop_back", bindir=new.bindir))
    finally:
        new.remove()


@pytest.mark.unit
def test_every_alarm_has_a_section_from_what_you_see_to_what_if_that_fails():
    steps = ("You see", "Check", "It means", "Do", "Verify", "If that fails")
    sections = (ROOT / "docs/alarms.md").read_text().split("\n## ")
    told: set[str] = set()
    for section in sections:
        names = re.search(r"(?m)^Alarms: (.*)\.$", section)
        if names:
            places = [section.find(f"**{step}**") for step in steps]
            assert (min(places) >= 0, places == sorted(places)) == (True, True), section.splitlines()[0]
            told |= set(re.findall(r"`(\w+)`", names[1]))
    assert told == {check.name for check in CHECKS} | {"configuration"}


@pytest.mark.unit
@pytest.mark.parametrize("page", [*PAGES, "docs/format.md"])
def test_every_heading_a_page_links_to_is_there(page):
    for name, heading in re.findall(r"\]\(([^)#:]*)#([^)]*)\)", (ROOT / page).read_text()):
        target = ((ROOT / page).parent / name) if name else ROOT / page
        headings = re.findall(r"(?m)^#+ (.*)$", target.read_text())
        anchors = {re.sub(r"[^\w -]", "", text.lower()).replace(" ", "-") for text in headings}
        assert heading in anchors, f"{page}: {target.name} has no heading #{heading}"


@pytest.mark.unit
@pytest.mark.parametrize("page", [*PAGES, "docs/format.md", "docs/security.md"])
def test_every_file_a_page_links_to_is_there(page):
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (ROOT / page).read_text())
    assert [target for target in targets if not ((ROOT / page).parent / target).exists()] == []
