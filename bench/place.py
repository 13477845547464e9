"""Where the benchmarks happen: a private cluster with a database, how much is done, and what was found."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cluster import Cluster, poll

ROOT = Path(__file__).resolve().parents[1]
MB = 1_000_000
# Output plugins and the options they are read with; those that are not installed are left out.
PLUGINS = {
    "scribe_decoder": (),
    "decoder_raw": ("-o", "include_transaction=on"),
    "wal2json": ("-o", "format-version=2"),
    "test_decoding": (),
    "pgoutput": ("-o", "proto_version=1", "-o", "publication_names=bench"),
}
BUILT_IN = ("pgoutput",)
ROW = "n, 'name ' || n, n * 1.5, md5(n::text), now() - n * interval '1 second'"
TABLE = "CREATE TABLE {} (id int PRIMARY KEY, name text, price numeric(12,2), note text, at timestamptz)"
FILL = "INSERT INTO {} SELECT " + ROW + " FROM generate_series(1, {}) n"
WIDE = "CREATE TABLE wide (id int PRIMARY KEY, doc jsonb, blob bytea, note text)"
FILL_WIDE = (
    "INSERT INTO wide SELECT n,"
    " (SELECT jsonb_object_agg('key ' || k, md5((n * k)::text)) FROM generate_series(1, 20) k),"
    " decode(repeat(md5(n::text), 16), 'hex'), repeat(md5((n + 1)::text) || E'\\t''\\\\', 20)"
    " FROM generate_series(1, {}) n"
)
SIDES = "CREATE TABLE side_{} (id int PRIMARY KEY, note text)"
ALTERNATE = (
    "DO $$ BEGIN FOR i IN 1..{} LOOP INSERT INTO side_a VALUES (i, 'left ' || i);"
    " INSERT INTO side_b VALUES (i, 'right ' || i); END LOOP; END $$"
)


@dataclass
class Bench:
    """A private cluster with a database, how much is done, and what was found."""

    cluster: Cluster
    directory: Path
    rows: int
    rounds: int
    spools: list[int]  # bytes
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def plugins(self) -> list[str]:
        """The output plugins that are there, ours first."""
        libraries = Path(subprocess.check_output([self.cluster.pg_config, "--pkglibdir"], text=True).strip())
        return [name for name in PLUGINS if name in BUILT_IN or (libraries / f"{name}.so").exists()]

    def sql(self, statement: str, dbname: str = "bench") -> Any:
        """Run a statement."""
        return self.cluster.query(statement, dbname)


def say(text: str) -> None:
    """Print what is being done."""
    print(f"bench: {text}", file=sys.stderr, flush=True)


def median(values: list[float]) -> float:
    """Return the median, rounded to three digits that mean something."""
    return float(f"{statistics.median(values):.4g}")


def timed(function: Callable[..., Any], *arguments: Any, **named: Any) -> float:
    """Return the seconds a call took."""
    begin = time.perf_counter()
    function(*arguments, **named)
    return time.perf_counter() - begin


def allow_plugins(bench: Bench) -> None:
    """Let every decoder be used, on servers that restrict them."""
    cluster = bench.cluster
    if cluster.query("SELECT 1 FROM pg_settings WHERE name = 'output_plugin_libraries'"):
        cluster.query(f"ALTER SYSTEM SET output_plugin_libraries = {', '.join(bench.plugins)}")
        cluster.query("SELECT pg_reload_conf()")
        poll(lambda: "scribe_decoder" in cluster.value("SHOW output_plugin_libraries"), 10, "a reload")


def cluster_program(cluster: Cluster, program: str, *arguments: str) -> None:
    """Run a client program of the server's version."""
    subprocess.run([f"{cluster.bindir}/{program}", *arguments], env=cluster.env, check=True, capture_output=True)


def cluster_psql(cluster: Cluster, dbname: str, *arguments: str) -> None:
    """Run psql."""
    cluster_program(cluster, "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", dbname, *arguments)
