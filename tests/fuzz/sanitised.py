"""A private cluster whose server runs the decoder compiled with AddressSanitizer and UndefinedBehaviorSanitizer.

A server finds its libraries relative to its own program: so a copy of the programs, beside links to the rest and the
decoder's other build, is a server of its own, and the one it was copied from stays as it is.

Only the decoder is instrumented. Its accesses to the stack and to globals are checked, and everybody's through the C
library (memcpy, strlen ...) to blocks of malloc(); chunks that palloc() cuts from one block are not told apart.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from cluster import ROOT, Cluster


class SanitisedCluster(Cluster):
    """As Cluster, with a server of its own; reports go to asan.PID in its directory, or to the server's log."""

    def __init__(self) -> None:
        super().__init__()
        self.directory.chmod(0o755)
        root = self.directory / "server"
        original = Path(self.bindir)
        libraries = self._directory("--pkglibdir")
        shutil.copytree(original, _below(root, original), symlinks=True)
        _below(root, libraries).mkdir(parents=True, exist_ok=True)
        for entry in libraries.iterdir():
            if entry.name not in ("scribe_decoder.so", "scribe_capture.so"):
                _below(root, libraries).joinpath(entry.name).symlink_to(entry)
        share = _below(root, self._directory("--sharedir"))
        share.parent.mkdir(parents=True, exist_ok=True)
        share.symlink_to(self._directory("--sharedir"))
        subprocess.run(
            [ROOT / "tools/build-decoder", "--install", "--sanitise", "--destdir", root],
            env=os.environ | {"PG_CONFIG": self.pg_config},
            stdout=subprocess.DEVNULL,
            check=True,
        )
        self.preload = _below(root, libraries).joinpath("preload").read_text().strip()
        self.bindir = str(_below(root, original))
        self.pg_config = f"{self.bindir}/pg_config"

    def _directory(self, which: str) -> Path:
        return Path(subprocess.check_output([self.pg_config, which], text=True).strip())

    def start(self) -> None:
        """Start the server with the sanitiser's library before all others."""
        self.server_env = {
            "LD_PRELOAD": self.preload,
            "ASAN_OPTIONS": f"detect_leaks=0:abort_on_error=1:log_path={self.directory}/asan",
            "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
        }
        try:
            super().start()
        finally:
            self.server_env = {}
        pid = (self.data / "postmaster.pid").read_text().split()[0]
        if "libasan" not in Path(f"/proc/{pid}/maps").read_text():
            raise AssertionError("the server runs without the sanitiser")


def _below(root: Path, path: Path) -> Path:
    return root / path.relative_to("/")
