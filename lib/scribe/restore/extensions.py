"""The extensions of a source, and what the target's server offers of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import psycopg

from scribe.common.errors import ScribeError

_OFFERED = """
SELECT a.name::text, a.default_version, pg_catalog.array_agg(v.version::text)
FROM pg_catalog.pg_available_extensions AS a JOIN pg_catalog.pg_available_extension_versions AS v ON v.name = a.name
GROUP BY 1, 2
"""


def compare_extensions(conn: psycopg.Connection[Any], meta: Mapping[str, Any], warn: Callable[[str], None]) -> None:
    """Report versions that will differ; conn: to any database of the target's server.

    Raises ScribeError for extensions that are not there: the base could not be restored.
    """
    offered = {name: (default, versions) for name, default, versions in conn.execute(_OFFERED).fetchall()}
    wanted = {entry["name"]: entry["version"] for entry in meta.get("extensions", [])}
    missing = sorted(wanted.keys() - offered.keys())
    if missing:
        names = ", ".join(missing)
        raise ScribeError(
            f"the target's server lacks extensions that the source has: {names}",
            "Install their packages on the target's host, then begin again.",
        )
    for name, version in sorted(wanted.items()):
        default, versions = offered[name]
        if default == version:
            continue
        text = f'extension "{name}" is {version} in the source and will be {default} in the target'
        if version in versions:
            text += f', where "ALTER EXTENSION {name} UPDATE" cannot go back: its own tables may differ'
        warn(text)
