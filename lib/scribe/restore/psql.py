"""psql on a copy in a throw-away cluster, as the person at the terminal would run it."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from scribe.common.process import die_with
from scribe.restore.copies import Copy


@dataclass(frozen=True)
class Psql:
    """What psql is told. actions: -c and -f in their order; more: other options of its own."""

    actions: Sequence[str]
    more: Sequence[str]
    read_only: bool = False


def run_psql(copy: Copy, psql: Psql) -> int:
    """Run psql to its end; return its exit status. Ctrl-C is psql's own business meanwhile."""
    env = copy.cluster.env | {"PGDATABASE": copy.name, "PGAPPNAME": "scribe-peek"}
    if psql.read_only:
        env["PGOPTIONS"] += " -c default_transaction_read_only=on"
    with _left_to_psql():
        child = subprocess.Popen(
            [copy.cluster.find_program("psql"), *_options(psql)],
            env=env,
            preexec_fn=functools.partial(die_with, os.getpid()),  # noqa: PLW1509  (no thread has been started)
        )
        try:
            status = child.wait()
        except BaseException:
            child.terminate()
            child.wait()
            raise
    return status if status >= 0 else 128 - status


def _options(psql: Psql) -> list[str]:
    """A prompt that cannot be taken for the source's, or a script's psql."""
    if psql.actions or not sys.stdin.isatty():
        return ["-X", "-v", "ON_ERROR_STOP=1", *psql.more, *psql.actions]
    return ["-v", "PROMPT1=%/ (scribe-peek)%R%x%# ", "-v", "PROMPT2=%/ (scribe-peek)%R%x%# ", *psql.more]


@contextlib.contextmanager
def _left_to_psql() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
