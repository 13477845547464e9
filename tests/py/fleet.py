"""Programs run for all databases, in surroundings that name one, which must not matter."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from cluster import ROOT, find_pg_config
from starting import run_program


def run_alone(program: str, *arguments: object, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a program where another database is named in the environment."""
    path = f"{Path(find_pg_config()).parent}:{os.environ['PATH']}"
    env = {"PATH": path, "PGDATABASE": "template1", "SCRIBE_ARCHIVE": "/nowhere", **more}
    command = [str(ROOT / "bin" / program), *map(str, arguments)]
    return run_program(command, env)
