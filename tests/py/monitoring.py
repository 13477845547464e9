"""The monitoring programs of the distribution, run for a test: found, started on a free port, stopped."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from cluster import ROOT

ETC = ROOT / "etc"
UNPACKED = ROOT / "build/monitoring"
Ask = Callable[..., Any]


def find(program: str) -> str | None:
    """Return the path of a program, installed or unpacked by tools/unpack-monitoring, or None."""
    places = [os.environ["PATH"], "/usr/sbin:/usr/local/sbin", f"{UNPACKED}/usr/bin:{UNPACKED}/usr/sbin"]
    return shutil.which(program, path=":".join(places))


def free_port() -> int:
    """Return a port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(*command: object, **options: Any) -> Iterator[None]:
    """Run a server for one block."""
    with subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL, **options) as process:
        try:
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)


@contextmanager
def prometheus(directory: Path, programs: tuple[str, str]) -> Iterator[Ask]:
    """Run Prometheus, with our rules, and node_exporter, which reads directory/text, for one block.

    programs: the paths of both. What is yielded asks Prometheus: a path of its HTTP interface, and parameters.
    """
    web, metrics = free_port(), free_port()
    (directory / "text").mkdir()
    (directory / "prometheus.yml").write_text(
        f"global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [{ETC}/prometheus-rules.yml]\n"
        f"scrape_configs: [{{job_name: node, static_configs: [{{targets: ['127.0.0.1:{metrics}']}}]}}]\n"
    )

    def ask(path: str, **parameters: object) -> Any:
        address = f"http://127.0.0.1:{web}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(address, timeout=5) as answer:
            return json.load(answer)["data"]

    with ExitStack() as stack:
        options: dict[str, Any] = {"cwd": directory, "stderr": subprocess.DEVNULL}
        flags = ["--collector.disable-defaults", "--collector.textfile", f"--web.listen-address=127.0.0.1:{metrics}"]
        stack.enter_context(running(programs[1], *flags, f"--collector.textfile.directory={directory}/text", **options))
        flags = [f"--config.file={directory}/prometheus.yml", f"--storage.tsdb.path={directory}/tsdb"]
        stack.enter_context(running(programs[0], *flags, f"--web.listen-address=127.0.0.1:{web}", **options))
        yield ask


def panels() -> list[dict[str, Any]]:
    """Return the dashboard's panels, with the variables of their queries at All."""
    text = (ETC / "grafana-dashboard.json").read_text()
    found: list[dict[str, Any]] = json.loads(re.sub(r"\$(archive|instance)\b", ".*", text))["panels"]
    return found


def queries() -> list[str]:
    """Return the dashboard's queries."""
    return [target["expr"] for panel in panels() for target in panel["targets"]]
