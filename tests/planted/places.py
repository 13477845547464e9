"""Where bugs are planted: a copy of the tree, and beside it a copy of the server that gets the copy's libraries.

Nothing outside of the copies is ever changed, whatever ends the run: the server's own directories are only read.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIBRARIES = ("scribe_decoder.so", "scribe_capture.so")
DECODER = "decoder/"  # where a test stands that is none of pytest's
_FAILED = re.compile(r"not ok \d+ +[-+] (\w+)|(?:test)? +(\w+) +\.\.\. FAILED")  # from 16 on, and before


def _ask(pg_config: Path | str, what: str) -> Path:
    return Path(subprocess.check_output([pg_config, f"--{what}"], text=True).strip())


def copy_server(pg_config: str, place: Path) -> Path:
    """Copy a server's programs below place, with links to all else but our libraries; return the copy's pg_config.

    A server finds its own files from where its program lies, so that the copy loads what is built for it alone.
    """
    bindir, pkglibdir = _ask(pg_config, "bindir"), _ask(pg_config, "pkglibdir")
    others = [_ask(pg_config, what) for what in ("sharedir", "includedir-server", "libdir")]
    top = Path(os.path.commonpath([bindir, pkglibdir, *others]))
    shutil.copytree(bindir, place / bindir.relative_to(top))
    for entry in pkglibdir.iterdir():
        target = place / entry.relative_to(top)
        target.parent.mkdir(parents=True, exist_ok=True)
        if entry.name not in LIBRARIES and not target.exists():
            target.symlink_to(entry)
    for directory in others:
        target = place / directory.relative_to(top)
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(directory)
    copy = place / bindir.relative_to(top) / "pg_config"
    if _ask(copy, "pkglibdir") != place / pkglibdir.relative_to(top):
        raise RuntimeError(f'the copy of the server of "{pg_config}" does not look for libraries beside itself')
    return copy


def _build_name(pg_config: str) -> str:
    """Return where tools/build-decoder builds for a server."""
    version = subprocess.check_output([pg_config, "--version"], text=True).split()[1]
    return f"{version}-{hashlib.sha256(str(_ask(pg_config, 'pkglibdir')).encode()).hexdigest()[:8]}"


@dataclass(frozen=True)
class Outcome:
    """What tests said. status: pytest's exit status, None if it took too long; said: its most telling line."""

    status: int | None
    said: str
    failed: tuple[str, ...] = ()  # the tests that failed, or could not be run
    seconds: float = 0.0


class Tree:
    """A copy of the tree that may be changed."""

    def __init__(self, path: Path, pg_config: str) -> None:
        self.path = path / "tree"
        self.path.mkdir(mode=0o755, parents=True)
        names = subprocess.check_output(["git", "-C", ROOT, "ls-files", "-z", "-c", "-o", "--exclude-standard"])
        for name in filter(None, map(os.fsdecode, names.split(b"\0"))):
            if (ROOT / name).exists():
                (self.path / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, self.path / name, follow_symlinks=False)
        (self.path / ".venv").symlink_to(ROOT / ".venv")
        self.pg_config = copy_server(pg_config, path / "server")
        self._take_over_build(pg_config)
        subprocess.run([sys.executable, "-m", "compileall", "-q", "lib"], cwd=self.path, check=True)
        self.build()

    def _take_over_build(self, pg_config: str) -> None:
        """Copy what the tree has built for the server, so that only what a bug changes is compiled."""
        names = [_build_name(each) for each in (pg_config, str(self.pg_config))]
        if (ROOT / "build/decoder" / names[0]).is_dir():
            shutil.copytree(ROOT / "build/decoder" / names[0], self.path / "build/decoder" / names[1])

    @property
    def _environment(self) -> dict[str, str]:
        return os.environ | {"PG_CONFIG": str(self.pg_config), "PG_SCRIBE_RUN_LIMIT": "60"}

    def build(self) -> None:
        """Build the libraries and install them into the copy of the server. Raises CalledProcessError."""
        command = ["tools/build-decoder", "--install"]
        subprocess.run(
            command, cwd=self.path, env=self._environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )

    @contextlib.contextmanager
    def changed(self, file: str, old: str, new: str) -> Iterator[None]:
        """Replace a text in a file of the copy for the time of the block. Raises CalledProcessError."""
        path = self.path / file
        compiled = path.suffix in (".c", ".h")
        text = path.read_text()
        self._write(path, text.replace(old, new))
        try:
            if compiled:
                self.build()
            yield
        finally:
            self._write(path, text)
            if compiled:
                self.build()

    def _write(self, path: Path, text: str) -> None:
        path.write_text(text)
        if path.suffix == ".py":  # what was compiled is told by size and second of the source: another may have both
            Path(importlib.util.cache_from_source(str(path))).unlink(missing_ok=True)

    def test(self, tests: Sequence[str], limit: float, *options: str) -> Outcome:
        """Run tests; limit: in seconds for those of pytest, and for the decoder's."""
        if any(test.startswith(DECODER) for test in tests):
            outcome = self._check_decoder(limit)
            tests = [test for test in tests if not test.startswith(DECODER)]
            if outcome.status != 0 or not tests:
                return outcome
        report = self.path.parent / "report.xml"
        report.unlink(missing_ok=True)
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}"]
        status, lines = self._run([*command, *options, *tests], limit)
        if status is None:
            return Outcome(None, f"no answer in {limit:g} s")
        telling = [line for line in lines if line.startswith(("FAILED", "ERROR"))] or lines[-1:] or ["nothing"]
        return Outcome(status, telling[0], *_read_report(report))

    def _check_decoder(self, limit: float) -> Outcome:
        """Run the decoder's own tests, all of them."""
        status, lines = self._run(["tools/build-decoder", "--check"], limit)
        failed = [f"decoder/sql/{found[1] or found[2]}.sql" for found in map(_FAILED.match, lines) if found is not None]
        differing = [f"decoder/roundtrip: {line}" for line in lines if " differ: " in line]
        said = failed[:1] or differing[:1] or lines[-1:] or ["nothing"]
        return Outcome(status and 1, said[0] if status is not None else f"no answer in {limit:g} s", tuple(failed))

    def _run(self, command: Sequence[str], limit: float) -> tuple[int | None, list[str]]:
        """Return a command's exit status, None if it took longer than limit (seconds), and the lines that it wrote."""
        process = subprocess.Popen(
            command,
            cwd=self.path,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            process_group=0,
        )
        try:
            output, _ = process.communicate(timeout=limit)
        except BaseException as error:
            _end_group(process)
            if isinstance(error, subprocess.TimeoutExpired):
                return None, []
            raise
        return process.returncode, output.splitlines()


def _end_group(process: subprocess.Popen[str]) -> None:
    """End pytest as a person does, so that it stops its servers; then whatever is left of it."""
    for number in (2, 9):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=30)


def _read_report(path: Path) -> tuple[tuple[str, ...], float]:
    """Return the tests that failed, as pytest is told them but without parameters, and the seconds that all took."""
    if not path.exists():
        return (), 0.0
    failed, seconds = [], 0.0
    for case in ET.parse(path).getroot().iter("testcase"):
        seconds += float(case.get("time", 0))
        if case.find("failure") is not None or case.find("error") is not None:
            module = case.get("classname", "").replace(".", "/")
            failed.append(f"{module}.py::{case.get('name', '').partition('[')[0]}")
    return tuple(failed), seconds
