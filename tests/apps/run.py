"""Applications' migration histories with rows between the steps, restored both ways to the end and to points between.

    run.py [--seed N] [--keep] [NAME ...]

APPS names a directory of checkouts, one an application, PG_CONFIG the server; nothing of theirs belongs to this
project. NAME: only these. A step that the server refuses because of the rows in a table is sent once more when that
table, and at last every table, is empty, as somebody would who has to get on; one that it refuses otherwise (an
extension that is not there, for instance) is counted and passed over.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "py"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import psycopg  # noqa: E402
from cluster import Cluster, install_decoder  # noqa: E402
from compare import State, assert_equal  # noqa: E402
from histories import TEMPLATE_SCHEMA, History, Step, read_histories  # noqa: E402
from psycopg import sql  # noqa: E402
from rows import Rows  # noqa: E402
from source import Scribe  # noqa: E402

POINTS = 5
TABLES = 12  # that get rows after a step; after every tenth one all do
ATTEMPTS = 6
ROLES = ("supabase_admin", "anon", "authenticated", "service_role", "supabase_auth_admin", "supabase_storage_admin")


class Played:
    """One application's history on a source: what was refused, and the states at the points."""

    def __init__(self, scribe: Scribe, history: History, seed: int) -> None:
        self.scribe = scribe
        self.history = history
        self.rows = Rows(seed)
        self.refused: list[str] = []
        self.emptied = 0
        self.points: dict[str, State] = {}

    def play(self) -> None:
        """Send every step, change rows after it, and note the state at each point."""
        steps = self.history.steps
        at_point = {len(steps) * i // (POINTS + 1) for i in range(1, POINTS + 1)}
        with self.scribe.cluster.connect(self.scribe.dbname) as conn:
            conn.execute(f"CREATE SCHEMA {TEMPLATE_SCHEMA}")
            for number, step in enumerate(steps):
                self._send(conn, step)
                self.rows.change(conn, 3, TABLES if number % 10 else None)
                if number in at_point:
                    self._mark(conn, f"step-{number}")

    def _send(self, conn: psycopg.Connection[Any], step: Step) -> None:
        for attempt in range(ATTEMPTS):
            refused = self._try(conn, step)
            tables = refused and self._in_the_way(conn, refused, attempt == ATTEMPTS - 2)
            if not refused or not tables:
                break
            conn.execute(f"TRUNCATE {tables} CASCADE")
            self.emptied += 1
        if refused:
            self.refused.append(f"{step.name}: {refused.error_message.decode(errors='replace').splitlines()[0]}")

    def _try(self, conn: psycopg.Connection[Any], step: Step) -> psycopg.pq.abc.PGresult | None:
        """Send a step; return the result if it was refused."""
        text = f"BEGIN;\n{step.text}\n;COMMIT;" if step.wrapped else step.text
        conn.pgconn.exec_(b"RESET search_path")
        result = conn.pgconn.exec_(text.encode())
        if conn.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
            conn.pgconn.exec_(b"ROLLBACK")
        return result if result.status == psycopg.pq.ExecStatus.FATAL_ERROR else None

    def _in_the_way(self, conn: psycopg.Connection[Any], refused: psycopg.pq.abc.PGresult, last: bool) -> str | None:
        """The table, quoted, whose rows a step could not bear; all of them if nothing less has helped."""
        field = psycopg.pq.DiagnosticField
        state, *name = (
            (refused.error_field(of) or b"").decode() for of in (field.SQLSTATE, field.SCHEMA_NAME, field.TABLE_NAME)
        )
        if not state.startswith(("22", "23")):
            return None
        found = conn.execute("SELECT to_regclass(format('%%I.%%I', %s::text, %s::text))::text", name).fetchone()
        if found and found[0] and not last:
            return str(found[0])
        return ", ".join(sql.Identifier(*table[1:]).as_string(conn) for table in self.rows.tables(conn)) or None

    def _mark(self, conn: psycopg.Connection[Any], name: str) -> None:
        conn.execute("SELECT pg_catalog.pg_logical_emit_message(true, 'scribe.mark', %s::text)", [name])
        state = self.scribe.cluster.dump(self.scribe.dbname, unlogged=False)
        self.points[name] = _without_sequences(state)


def check_history(cluster: Cluster, history: History, seed: int, number: int) -> list[str]:
    """Play one history and restore it; return what went wrong."""
    dbname = f"app{number}"
    cluster.createdb(dbname)
    scribe = Scribe(cluster, dbname, cluster.directory / f"archive{number}")
    played = Played(scribe, history, seed)
    try:
        scribe.run("scribe-init")
        scribe.start_stream()
        played.play()
        scribe.run("scribe-rotate", "--record", "--wait-lsn", "current", timeout=600)
        wrong = _restores(scribe, played)
    finally:
        scribe.kill_streams()
    done = ", ".join(f"{count} {what}" for what, count in sorted(played.rows.done.items()))
    steps = f"{len(history.steps)} steps, {len(played.refused)} refused, tables emptied {played.emptied} times"
    print(f"{history.name}: {steps}, rows: {done}; {len(wrong)} wrong", flush=True)
    for line in played.refused[:5]:
        print(f"    refused: {line[:150]}")
    for line in wrong:
        print(f"    WRONG: {line[:3000]}")
    if not wrong:
        scribe.close()
    return wrong


def _restores(scribe: Scribe, played: Played) -> list[str]:
    """Every way of restoring; return what failed or differs."""
    cluster = scribe.cluster
    source = cluster.dump(scribe.dbname, unlogged=False)
    wrong: list[str] = []

    def attempt(name: str, expected: State, restore: Any) -> None:
        target = f"{scribe.dbname}_copy"
        try:
            restore(target)
            copy = cluster.dump(target, unlogged=False)
            if name in played.points:
                copy = _without_sequences(copy)
            assert_equal(expected, copy, ("source", name))
        except AssertionError as error:
            wrong.append(f"{name}: {error}")
        cluster.dropdb(target)

    attempt("scribe-restore", source, lambda t: scribe.run("scribe-restore", "-d", t, "--no-globals", timeout=900))
    attempt("psql alone", source, scribe.restore_with_psql)
    for mark, state in played.points.items():
        attempt(mark, state, lambda t, m=mark: _restore_to(scribe, t, m))
    rehearsal = scribe.run("scribe-verify", "--rehearse", check=False, timeout=900)
    if rehearsal.returncode:
        wrong.append(f"rehearsal: {rehearsal.stdout}{rehearsal.stderr}")
    inexact = "SELECT tag, reason, left(statement, 80) FROM scribe.ddl_history WHERE NOT exact"
    return wrong + [f"flagged: {row}" for row in cluster.query(inexact, scribe.dbname)]


def _without_sequences(state: State) -> State:
    """Leave out what a restore to an earlier point need not have exactly: it is never behind the data."""
    return {key: lines for key, lines in state.items() if not key.startswith("sequence ")}


def _restore_to(scribe: Scribe, target: str, mark: str) -> None:
    """Restore to a named mark, which stands in a transaction of its own."""
    lsn = _find_mark(scribe, mark)
    scribe.run("scribe-restore", "-d", target, "--no-globals", "--target-lsn", lsn, timeout=900)


def _find_mark(scribe: Scribe, mark: str) -> str:
    """Return the commit LSN of the transaction that holds a mark."""
    for path in sorted((scribe.archive / "incremental").glob("*.sql*")):
        text = subprocess.run(["zstdcat", "-f", str(path)], capture_output=True, check=True).stdout
        found = re.search(rb"BEGIN; -- xid \d+ commit (\S+) [^\n]*\n-- mark " + mark.encode() + rb"\n", text)
        if found:
            return found[1].decode()
    raise AssertionError(f"mark {mark} is in no segment")


def main() -> int:
    """Check every history that APPS has."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    apps = Path(os.environ.get("APPS") or "/nonexistent")
    if not apps.is_dir():
        print("check-apps: SKIPPED: APPS names no directory of checkouts", file=sys.stderr)
        return 0
    histories = [h for h in read_histories(apps) if not arguments.names or h.name in arguments.names]
    if not histories:
        print(f'check-apps: error: no migration history in "{apps}"', file=sys.stderr)
        return 2
    cluster = Cluster()
    install_decoder(cluster.pg_config)
    wrong: list[str] = []
    try:
        cluster.create(log_min_messages="error")
        print(f"PostgreSQL {cluster.version_num}, {len(histories)} histories, seed {arguments.seed}")
        for role in ROLES:
            cluster.query(f"CREATE ROLE {role}")
        for number, history in enumerate(histories):
            wrong += check_history(cluster, history, arguments.seed, number)
    finally:
        cluster.remove(keep_files=arguments.keep)
        if arguments.keep:
            print(f"kept in {cluster.directory}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
