"""What tools/private-cluster does; see there."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

from cluster import Cluster, install_decoder, temporary_cluster


def start() -> int:
    """Start a cluster that outlives this program and print its directory."""
    cluster = Cluster()
    install_decoder(cluster.pg_config)
    try:
        cluster.create()
    except BaseException:
        cluster.remove()
        raise
    names = ("PGHOST", "PGPORT", "PGUSER", "PATH")
    env = cluster.env
    lines = [f"export {name}={shlex.quote(env[name])}\n" for name in names]
    (cluster.directory / "env").write_text("".join(lines))
    (cluster.directory / "pg_config").write_text(cluster.pg_config)
    print(cluster.directory)
    return 0


def stop(directory: Path) -> int:
    """Stop and delete a cluster that start() made."""
    Cluster((directory / "pg_config").read_text(), directory).remove()
    return 0


def run(command: list[str]) -> int:
    """Run a command against a cluster made for it, and return its exit status."""
    with temporary_cluster() as cluster:
        install_decoder(cluster.pg_config)
        return subprocess.run(command, env=cluster.env | {"PG_CONFIG": cluster.pg_config}, check=False).returncode


def main(argv: list[str]) -> int:
    """Dispatch."""
    match argv:
        case ["start"]:
            return start()
        case ["stop", directory]:
            return stop(Path(directory))
        case ["run", _, *_]:
            return run(argv[1:])
    print('private-cluster: error: "start", "stop DIRECTORY" or "run COMMAND..." is expected', file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
