"""One of PostgreSQL's programs with something in front of it: what others do at the worst moment."""

from __future__ import annotations

from pathlib import Path

from cluster import Cluster


def wrap_program(directory: Path, cluster: Cluster, name: str, before: str) -> dict[str, str]:
    """Return an environment in which NAME first runs shell text; in it $count is the number of the call.

    What the text prints goes to a file, or with ">&3" to stderr; "exit 1" in it makes the program fail.
    """
    directory.mkdir(exist_ok=True)
    real = Path(cluster.bindir, name)
    counter = directory / f"{name}.count"
    script = directory / name
    script.write_text(
        "#!/bin/sh\n"
        f'case "$*" in *--version*) exec "{real}" "$@" ;; esac\n'
        f'echo x >> "{counter}"; count=$(wc -l < "{counter}"); real="{real}"\n'
        "name=$PGAPPNAME; unset PGAPPNAME\n"
        f'{{ {before}\n}} 3>&2 > "{directory}/{name}.log" 2>&1\n'
        'PGAPPNAME=$name exec "$real" "$@"\n'
    )
    script.chmod(0o755)
    return {"PATH": f"{directory}:{cluster.env['PATH']}"}


def count_calls(directory: Path, name: str) -> int:
    """Return how often the wrapped program was called."""
    path = directory / f"{name}.count"
    return len(path.read_text().splitlines()) if path.exists() else 0
