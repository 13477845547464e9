#!/usr/bin/env python3
"""The same WAL through every output plugin that the server has: change by change alike, and the same rows in the end.

usage: run.py [--seed N] [--transactions N] [--plant PLUGIN] [--json FILE] [--keep]

scribe_decoder, pgoutput as it is and as pg_scribe translates it, test_decoding, and wal2json if it is installed, each
through a slot of its own that begins at the same place. Of each round of up to 500 transactions the tables, types,
values and statements are random; its seed alone repeats it. Then:

- what each plugin says of a change is brought to one form, applied to the rows that were there before, and compared
  with what test_decoding says: the kind, the table, the whole old row, the whole new row, the columns whose TOASTed
  value was not sent, the transaction's number and where it ends;
- in the end, the rows that each stream leads to are those of the source;
- what pg_scribe writes, of both decoders, is run by psql in a copy of the database, and leads to them as well.

--plant: change one value of what that plugin said; the comparison has to fail, and it is an error if it does not.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / part) for part in ("tests/differential", "tests/fuzz", "tests/py", "lib")]

from cluster import Cluster, install_decoder  # noqa: E402
from comparing import OURS, RAW, REFERENCE, Source, check, has_library, plant_difference  # noqa: E402
from replica import Difference  # noqa: E402

ROUND = 500  # transactions
CLUSTER = {
    "logical_decoding_work_mem": "64kB",  # transactions of some size are spilled
    "autovacuum": "off",  # it would take locks at will
    "max_prepared_transactions": "50",
    "log_min_messages": "error",
    "deadlock_timeout": "10s",
}


def run_round(cluster: Cluster, directory: Path, number: int, arguments: argparse.Namespace) -> Counter[str]:
    """Run one round and return its counts; "failed" is among them if it did."""
    seed, transactions = arguments.seed + number, min(ROUND, arguments.transactions - number * ROUND)
    source, began = Source(cluster, f"differ{number}", directory), time.monotonic()
    difference = None
    try:
        source.make(seed, transactions)
        streams, sql = source.read()
        if arguments.plant is not None:
            plant_difference(streams[arguments.plant], random.Random(seed))
        check(source, streams, sql)
    except (Difference, ValueError, KeyError) as error:
        difference = f"{type(error).__name__}: {error}"
        source.count["failed"] = 1
    verdict = "alike" if difference is None else "DIFFERENT"
    count, took = source.count, time.monotonic() - began
    print(
        f"seed {seed}: {verdict}, {count['transactions']} transactions, {count['changes']} changes"
        f" ({count['insert']} inserts, {count['update']} updates, {count['delete']} deletes, {count['truncate']} tables"
        f" truncated), {count['values']} values, {count['unchanged']} of TOAST unchanged, {len(source.tables)} tables,"
        f" {took:.1f} s",
        flush=True,
    )
    if difference is not None:
        print(f"  {difference}\nagain with: tests/differential/run.py --seed {seed} --transactions {transactions}")
    if difference is None or not arguments.keep:
        source.close()
    return source.count


def run(arguments: argparse.Namespace, cluster: Cluster, directory: Path) -> bool:
    """Run all rounds; return whether everything was as it must be."""
    install_decoder(cluster.pg_config)
    cluster.create(**CLUSTER)
    version = cluster.value("SHOW server_version")
    if not has_library(cluster, "wal2json"):
        print(
            f"check-differential: warning: wal2json is NOT compared: the server {version} does not have it", flush=True
        )
    rounds = -(-arguments.transactions // ROUND)
    total: Counter[str] = Counter()
    for number in range(rounds):
        count = run_round(cluster, directory, number, arguments)
        total.update(count)
        total["plugins"] = count["plugins"]
    statements = total["accepted"] + total["rejected"]
    print(
        f"PostgreSQL {version}: {rounds} rounds, {total['failed']} different; {total['transactions']} transactions,"
        f" {total['changes']} changes, {total['values']} values through {total['plugins']} readings;"
        f" {100 * total['accepted'] // max(1, statements)} % of {statements} statements accepted"
    )
    if arguments.json:
        Path(arguments.json).write_text(json.dumps({"version": version, "seed": arguments.seed, **total}) + "\n")
    if arguments.plant is not None:
        return total["failed"] == rounds
    return total["failed"] == 0 and total["changes"] > 0


def main() -> int:
    """Parse, run, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--transactions", type=int, default=ROUND)
    parser.add_argument("--plant", choices=[REFERENCE, RAW, *OURS, "wal2json"])
    parser.add_argument("--json", metavar="FILE", help="write the totals there")
    parser.add_argument("--keep", action="store_true", help="keep the cluster of a round that failed")
    arguments = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="scribe-differential-"))
    cluster = Cluster()
    good = False
    try:
        good = run(arguments, cluster, directory)
    finally:
        keep = arguments.keep and not good
        cluster.remove(keep_files=keep)
        if keep:
            print(f"kept: {cluster.directory} {directory}")
        else:
            subprocess.run(["rm", "-rf", str(directory)], check=False)
    return 0 if good else 1


if __name__ == "__main__":
    os.umask(0o022)
    sys.exit(main())
