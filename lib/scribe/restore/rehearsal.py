"""A rehearsal: the newest base and its segments into a throw-away cluster, compared with what the source recorded."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from scribe.archive.chains import find_chain, within_joined
from scribe.archive.layout import Archive, Base
from scribe.common.errors import ScribeError
from scribe.common.lsn import format_lsn, parse_lsn
from scribe.common.postgres import OWN_ROLE, PINNED, major_of_server
from scribe.dump.base import Talker
from scribe.dump.contents import TEXT_OPTIONS, Contents, describe_difference, from_json, read_contents, read_roots
from scribe.dump.guard import Table, read_tables
from scribe.dump.source_record import digest_schema, dump_command, major_of
from scribe.restore.copies import some_cluster
from scribe.restore.preloads import find_preloads
from scribe.restore.target import read_meta
from scribe.restore.throwaway import Cluster

DATABASE = "rehearsal"
_MOST = 100  # differences listed


@dataclass
class Rehearsal:
    """What came of it. seconds: of wall time; compared: in words, what the restored database was compared with."""

    base: str
    time: str
    seconds: float = 0.0
    reached_lsn: str | None = None
    reached_time: str | None = None
    server_version: str | None = None
    tables: int = 0
    rows: int = 0
    transactions: int = 0
    compared: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return what rehearsal.json says."""
        value = asdict(self) | {"ok": not self.differences}
        value["differences"] = self.differences[:_MOST]
        return value


def rehearse(
    archive: Archive, talk: Talker, *, directory: str | None = None, jobs: str = "1", launcher: Path | None = None
) -> Rehearsal:
    """Restore the newest base, then its segments, and compare. A restore that fails is a difference.

    directory: where the cluster is made; launcher: the socket of who makes it instead. Raises ScribeError where there
    is no base, UsageError where no server is installed.
    """
    bases = archive.bases()
    if not bases:
        raise ScribeError("the archive has no complete base", 'Run "scribe-dump" on the source to take one.')
    base = bases[-1]
    result = Rehearsal(base.stamp, datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
    began = time.monotonic()
    preloads = find_preloads(read_meta(base), DATABASE)
    major = major_of_server(base.manifest["server_version"])
    with some_cluster(talk, major, preloads, directory=directory, launcher=launcher) as cluster:
        result.warnings = preloads.describe_missing()
        with contextlib.suppress(_Failed):
            _rehearse_in(cluster, archive, base, result, talk, jobs=jobs)
    result.seconds = round(time.monotonic() - began, 3)
    return result


class _Failed(Exception):
    """A step failed and is in the list of differences; there is no use in going on."""


def _rehearse_in(cluster: Cluster, archive: Archive, base: Base, result: Rehearsal, talk: Talker, *, jobs: str) -> None:
    words = ["--base", base.stamp, "--jobs", jobs]
    words += [word for pair in cluster.map_tablespaces(base) for word in ("--tablespace-mapping", pair)]
    talk.note(f"restoring base {base.stamp}")
    point = ["--target-lsn", format_lsn(base.consistent_point), "--target-exclusive"]
    _restore(cluster, archive, result, f"base {base.stamp}", [*words, *point])
    with _connect(cluster) as conn:
        result.server_version = conn.info.parameter_status("server_version")
        compare_rows(conn, base.manifest["rows"], result, "at the base")
    records = find_records(archive, base)
    for recorded in records:
        point = ["--target-lsn", recorded["lsn"], "--target-exclusive"]
        _restore(cluster, archive, result, f"the segments up to {recorded['lsn']}", [*words, *point, "--resume"])
        where = f"at {recorded['lsn']} ({recorded['time']})"
        with _connect(cluster) as conn:
            left_out = _unlogged(conn) if recorded.get("complete", True) else None
            compare_rows(conn, recorded["rows"], result, where, left_out)
            compare_contents(conn, recorded, result, where)
        if recorded is records[-1]:
            compare_schema(cluster, recorded, result, where)
    talk.note("applying the segments")
    said = _restore(cluster, archive, result, "the segments", [*words, "--resume"])
    result.reached_lsn, result.reached_time = said["reached_lsn"], said["reached_time"]
    result.transactions = said["transactions"]
    result.compared.append(
        f"while {said['transactions']} transactions were applied, how many rows were changed with how many were on the"
        " source"
    )
    with _connect(cluster) as conn:
        compare_sequences(conn, archive, base, result)
        _count_everything(conn, result)
    if dump_schema(cluster, result) is not None:
        result.compared.append("at the end, the schema was dumped, with nothing to compare")


def find_records(archive: Archive, base: Base) -> list[dict[str, Any]]:
    """Return what scribe-rotate --record recorded, as far as the chain of base leads there, in order.

    Of several, the last one of each table counts; those of which nothing does are left out.
    """
    chain = find_chain(base, archive.all_segments())
    found: list[dict[str, Any]] = [s.manifest["recorded"] for s in chain.segments if "recorded" in s.manifest]
    found = [recorded for recorded in found if not within_joined(chain.segments, parse_lsn(recorded["lsn"]))]
    needed: list[dict[str, Any]] = []
    seen: set[str] = set()
    for recorded in reversed(found):
        names = set(recorded.get("contents", recorded["rows"]))
        if parse_lsn(recorded["lsn"]) >= base.consistent_point and (not needed or names - seen):
            needed.append(recorded)
            seen |= names
    return needed[::-1]


def _restore(cluster: Cluster, archive: Archive, result: Rehearsal, what: str, words: list[str]) -> Mapping[str, Any]:
    """Run scribe-restore as an operator would; return its report. Raises _Failed."""
    command = [sys.executable, "-P", "-m", "scribe.programs.restore", "--json", "--archive", str(archive.path)]
    env = cluster.env | {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    run = subprocess.run([*command, "-d", DATABASE, *words], env=env, capture_output=True, text=True, check=False)
    if run.returncode == 0:
        report: Mapping[str, Any] = json.loads(run.stdout)
        return report
    lines = run.stderr.strip().splitlines()
    said = next((line for line in lines if ": error: " in line), lines[-1] if lines else f"status {run.returncode}")
    result.differences.append(f"could not restore {what}: {said.removeprefix('scribe-restore: error: ')}")
    raise _Failed


def _connect(cluster: Cluster) -> psycopg.Connection[Any]:
    env = cluster.env
    where = psycopg.conninfo.make_conninfo(host=env["PGHOST"], port=env["PGPORT"], user=env["PGUSER"], dbname=DATABASE)
    return psycopg.connect(where, autocommit=True, options=f"{OWN_ROLE} {PINNED} {TEXT_OPTIONS} -c search_path=")


# --- what is compared -------------------------------------------------------------------------------------------------


def compare_rows(
    conn: psycopg.Connection[Any],
    recorded: Mapping[str, int],
    result: Rehearsal,
    where: str,
    left_out: Collection[str] | None = (),
) -> None:
    """Compare each table's rows with those counted on the source in a snapshot. where: which, in words.

    left_out: what need not be recorded; None: nothing has to be.
    """
    there = {table.name_text: table for table in read_tables(conn).values()}
    roots = read_roots(conn)
    known, found = Counter[str](), Counter[str]()
    for name, rows in sorted(recorded.items()):
        if name not in there:
            result.differences.append(f"table {name}: not there {where}, {rows} rows were recorded")
        else:
            known[roots.get(name, name)] += rows
            found[roots.get(name, name)] += _count(conn, there[name])
    for name, rows in known.items():
        if found[name] != rows:
            result.differences.append(f"table {name}: {found[name]} rows {where}, {rows} were recorded")
    for name, table in sorted(there.items()):
        if left_out is None:
            break
        if table.kind == "r" and not table.member and name not in recorded and name not in left_out:
            result.differences.append(f"table {name}: there {where}, not recorded on the source")
    result.compared.append(f"{where}, the rows of {len(recorded)} tables with those counted on the source")


def compare_contents(conn: psycopg.Connection[Any], recorded: Mapping[str, Any], result: Rehearsal, where: str) -> None:
    """Compare what is in each table with the sums over its rows that were recorded; older versions recorded none."""
    there = {table.name_text: table for table in read_tables(conn).values()}
    roots = read_roots(conn)
    known: dict[str, Contents] = {}
    found: dict[str, Contents] = {}
    for name, value in sorted(recorded.get("contents", {}).items()):
        if name not in there:
            continue  # said already
        before = from_json(value, recorded["rows"][name])
        try:
            after = read_contents(conn, there[name], before)
        except psycopg.Error as error:
            result.differences.append(f"table {name}: could not be read {where}: {str(error).splitlines()[0]}")
            continue
        for sums, contents in ((known, before), (found, after)):
            sums.setdefault(roots.get(name, name), Contents(contents.columns, contents.key)).merge(contents)
    for name, contents in known.items():
        difference = describe_difference(contents, found[name])
        if difference is not None and contents.rows == found[name].rows:  # else counted as different already
            result.differences.append(f"table {name}: {difference} {where}")
        elif difference is not None and ": " in difference:
            result.differences.append(f"table {name}: {difference.split(': ', 1)[1]} {where}")
    if known:
        result.compared.append(f"{where}, the contents of {len(known)} tables with those read on the source")


def _unlogged(conn: psycopg.Connection[Any]) -> set[str]:
    """Return the tables whose rows are not in the stream, and so were not recorded."""
    query = "SELECT oid::bigint FROM pg_catalog.pg_class WHERE relpersistence = 'u'"
    oids = {row[0] for row in conn.execute(query).fetchall()}
    return {table.name_text for oid, table in read_tables(conn).items() if oid in oids}


def compare_schema(
    cluster: Cluster, recorded: Mapping[str, Any], result: Rehearsal, where: str, database: str = DATABASE
) -> None:
    """Compare what pg_dump says of each object with what it said on the source, if versions allow that."""
    text = dump_schema(cluster, result, database)
    if text is None:
        return
    here, there = (major_of(text), str(result.server_version)), (recorded["pg_dump"], recorded["server_version"])
    if here[0] != there[0] or major_of_server(here[1]) != major_of_server(there[1]):
        result.compared.append(
            f"{where}, the schema was not compared: it was recorded by pg_dump {there[0]} of server {there[1]},"
            f" and this is {here[0]} of {here[1]}"
        )
        return
    found, known = digest_schema(text), recorded["schema"]
    for name in sorted(found.keys() | known.keys()):
        if found.get(name) != known.get(name):
            how = "is missing" if name not in found else "was not on the source" if name not in known else "differs"
            result.differences.append(f"schema {where}: {name} {how}")
    result.compared.append(f"{where}, {len(known)} objects of the schema with those dumped on the source")


def _count(conn: psycopg.Connection[Any], table: Table) -> int:
    row = conn.execute(sql.SQL("SELECT pg_catalog.count(*) FROM ONLY {}").format(table.qualified)).fetchone()
    return int(row[0]) if row else 0


def compare_sequences(conn: psycopg.Connection[Any], archive: Archive, base: Base, result: Rehearsal) -> None:
    """Compare the sequences at the end with their positions as the last rotation read them on the source."""
    last = archive.last_segment()
    if last is None or last.to_lsn <= base.consistent_point or last.manifest["sequences"] is None:
        return
    compared = 0
    for known in last.manifest["sequences"]:
        name = sql.Identifier(known["schema"], known["name"])
        try:
            row = conn.execute(sql.SQL("SELECT last_value, is_called FROM {}").format(name)).fetchone()
        except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
            continue  # renamed or dropped since: no error
        compared += 1
        if row != (known["last_value"], known["is_called"]):
            text = f'sequence "{known["schema"]}.{known["name"]}"'
            result.differences.append(f"{text}: stands at {row}, {known['last_value']} was recorded")
    result.compared.append(f"at the end, {compared} sequences with their positions at the last rotation")


def _count_everything(conn: psycopg.Connection[Any], result: Rehearsal) -> None:
    """Read every table once; what the source held at the end is not recorded."""
    tables = [table for table in read_tables(conn).values() if table.kind == "r"]
    result.tables, result.rows = len(tables), sum(_count(conn, table) for table in tables)
    result.compared.append(
        f"at the end, {result.tables} tables and {result.rows} rows were read, with nothing to compare"
    )


def dump_schema(cluster: Cluster, result: Rehearsal, database: str = DATABASE) -> bytes | None:
    """Return the restored schema as pg_dump writes it; that it cannot is a difference."""
    command = [*dump_command(cluster.find_program("pg_dump")), "-d", database]
    run = subprocess.run(command, env=cluster.env, capture_output=True, check=False)
    if run.returncode == 0:
        return run.stdout
    said = run.stderr.decode(errors="replace").strip().splitlines()
    result.differences.append(f"could not dump the restored schema: {said[0] if said else 'pg_dump failed'}")
    return None
