"""The decoder decoder_raw: SQL without LSNs, cut and numbered by the moments at which files are closed.

PG_SCRIBE_ALL_CASES=1 (make check-decoders) runs every correctness case; docs/decoders.md lists what differs.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import Cluster
from source import Scribe
from test_correctness import CASES
from test_pgoutput import assert_both_restores_equal

QUICK = ("create_table_as", "full_identity_odd_types", "key_updates", "truncate", "values")
# What differs, and why, is in docs/decoders.md.
DIFFERENT: tuple[str, ...] = ()
ALL = os.environ.get("PG_SCRIBE_ALL_CASES") == "1"
CHOSEN = [case for case in CASES if case.stem not in DIFFERENT and (ALL or case.stem in QUICK)]


@pytest.fixture
def source(scribe: Scribe) -> Scribe:
    """A source whose decoder is decoder_raw."""
    library = subprocess.check_output([scribe.cluster.pg_config, "--pkglibdir"], text=True).strip()
    if not Path(library, "decoder_raw.so").exists():
        pytest.skip("place: decoder_raw is not installed in this server")
    scribe.settings["SCRIBE_DECODER"] = "decoder_raw"
    return scribe


@pytest.fixture
def targets(cluster: Cluster, source: Scribe) -> Iterator[tuple[str, str]]:
    """Names of two databases to restore into, dropped afterwards."""
    names = (f"{source.dbname}_restore", f"{source.dbname}_psql")
    yield names
    for name in names:
        cluster.dropdb(name)


@pytest.mark.parametrize("case", CHOSEN, ids=lambda path: path.stem)
def test_both_restores_equal_the_source(case: Path, source: Scribe, targets: tuple[str, str]) -> None:
    before, after = case.read_text().split("-- after init\n")
    source.cluster.psql(before, source.dbname)
    source.run("scribe-init", "--accept-gaps")
    source.start_stream()
    source.cluster.psql(after, source.dbname)
    source.run("scribe-rotate", "--wait-lsn", "current")
    assert_both_restores_equal(source, targets)
    assert source.stop_stream() == 0
