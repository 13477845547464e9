"""Starts programs of pg_scribe out of a process that has their modules already.

Importing takes a quarter of a second of each start, and the tests start thousands of programs. The process, Starter, is
forked for each; what runs in the fork is the program's module as "python -m" runs it, with the environment, the working
directory and the standard streams it was given. Tests of the launchers start programs as a shell does, and so does
run_program() if the environment has what only a new interpreter would notice, or with PG_SCRIBE_STARTS=real.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import re
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parents[2]
_PROGRAM = re.compile(re.escape(str(ROOT / "bin")) + r"/scribe-([a-z]+)")
_LIBRARY = str(ROOT / "lib")
# What an interpreter, the loader or the C library reads once, when a process starts.
_READ_AT_START = re.compile(r"(?:PYTHON|LD_|LC_|LANG|GLIBC_|MALLOC_|TZ$|COVERAGE|ASAN_|LSAN_)")
_ORIGINAL = dict(os.environ)


def run_program(
    command: Sequence[str | Path],
    env: Mapping[str, str] | None = None,
    *,
    text: str = "",
    timeout: float | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program of this tree to its end; return its exit status and what it printed.

    command: the path of its launcher, and arguments; text: its input; timeout: seconds, then it is killed. Raises
    subprocess.TimeoutExpired.
    """
    words = [str(word) for word in command]
    environment = dict(os.environ if env is None else env)
    program = _PROGRAM.fullmatch(words[0])
    if program is None or not _may_fork(environment):
        return subprocess.run(
            words,
            env=environment,
            timeout=timeout,
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )
    module = "scribe.programs." + {"globals": "globals_"}.get(program[1], program[1])
    return _starter_of(os.getpid()).run(words, module, environment, text, timeout)


@functools.cache
def _starter_of(_pid: int) -> Starter:
    return Starter()


def _may_fork(environment: Mapping[str, str]) -> bool:
    """Say whether a new interpreter would be as the starter is."""
    if os.environ.get("PG_SCRIBE_STARTS") == "real":
        return False
    names = {name for name in {*environment, *_ORIGINAL} if _READ_AT_START.match(name)}
    return all(environment.get(name) == _ORIGINAL.get(name) for name in names)


class Starter:
    """The process that is forked for each program, for as long as this one lives."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self._directory = tempfile.TemporaryDirectory(prefix="scrs")
        self._address = f"{self._directory.name}/starter"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self._address)
            listener.listen(64)
            # The other end of its standard input is ours alone: when we end, however that is, it ends.
            self._process = subprocess.Popen(
                [ROOT / ".venv/bin/python", "-P", __file__, str(listener.fileno())],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                pass_fds=[listener.fileno()],
                env=_ORIGINAL | {"PYTHONPATH": _LIBRARY},
            )
        atexit.register(self.close)

    def close(self) -> None:
        """End the process."""
        if self.owner == os.getpid():
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.wait(60)
            self._directory.cleanup()

    def run(
        self, words: list[str], module: str, environment: dict[str, str], text: str, timeout: float | None
    ) -> subprocess.CompletedProcess[str]:
        """Run a program's module to its end; parameters and errors as of run_program()."""
        deadline = None if timeout is None else time.monotonic() + timeout
        asked = json.dumps([module, words, environment, os.getcwd(), _umask()]).encode()
        with (
            tempfile.TemporaryFile() as given,
            tempfile.TemporaryFile() as output,
            tempfile.TemporaryFile() as errors,
            socket.socket(socket.AF_UNIX) as line,
        ):
            given.write(text.encode())
            given.seek(0)
            line.connect(self._address)
            streams = [stream.fileno() for stream in (given, output, errors)]
            socket.send_fds(line, [len(asked).to_bytes(8, "big")], streams)
            line.sendall(asked)
            answers = line.makefile("r")
            pid = int(answers.readline())
            try:
                line.settimeout(None if deadline is None else max(deadline - time.monotonic(), 0.001))
                status = int(answers.readline())
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                line.settimeout(None)
                line.recv(64)  # it has been waited for
                raise subprocess.TimeoutExpired(words, timeout or 0, _content(output), _content(errors)) from None
            return subprocess.CompletedProcess(words, status, _content(output), _content(errors))


def _umask() -> int:
    """Return this process's umask; os.umask() would change it for a moment, for all threads."""
    found = re.search(r"^Umask:\s*(\d+)", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1], 8)


def _content(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


def _serve(listener: socket.socket) -> str:
    """Fork for each program asked for, until standard input ends; return its module in the fork that is to run it."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that wait for programs
    while True:
        ready, _, _ = select.select([listener.fileno(), 0], [], [])
        if 0 in ready:
            sys.exit(0)
        line, _ = listener.accept()
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            listener.close()
            return _become_program(line)
        line.close()


def _become_program(line: socket.socket) -> str:
    """Read which program is asked for, and fork: report the fork's end here, and become the program there."""
    length, streams, _, _ = socket.recv_fds(line, 8, 3)
    with line.makefile("rb") as asked:
        module, words, environment, place, mask = json.loads(asked.read(int.from_bytes(length, "big")))
    pid = os.fork()
    if pid:
        for stream in streams:
            os.close(stream)
        line.sendall(f"{pid}\n".encode())
        _, status = os.waitpid(pid, 0)
        with contextlib.suppress(BrokenPipeError):
            line.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
        os._exit(0)
    line.close()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.environ.clear()
    os.environ.update(environment | {"PYTHONPATH": _LIBRARY})
    os.umask(mask)
    os.chdir(place)
    sys.argv[1:] = words[1:]
    return str(module)


def _import_all() -> None:
    """Import what the programs import; their own modules are loaded by each start, as "python -m" does it."""
    for path in sorted(Path(_LIBRARY, "scribe/programs").glob("[a-z]*.py")):
        importlib.import_module(f"scribe.programs.{path.stem}")
    package = sys.modules["scribe.programs"]
    for name in [name for name in sys.modules if name.startswith("scribe.programs.")]:
        del sys.modules[name]
        delattr(package, name.rpartition(".")[2])
    gc.freeze()


if __name__ == "__main__":
    _import_all()
    with socket.socket(fileno=int(sys.argv[1])) as accepting:
        wanted = _serve(accepting)
    runpy.run_module(wanted, run_name="__main__", alter_sys=True)
