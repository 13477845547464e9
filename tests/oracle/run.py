#!/usr/bin/env python3
"""What scribe-log tells of rows is compared with what audit triggers on the source have written.

usage: run.py [--changes N] [--seed N] [--plant]

Two sessions take turns on 30 tables, with keys and without: single rows, many, COPY, TRUNCATE, savepoints, renames of
tables and columns, columns that come, go and change their type. A trigger writes each row, before and after, as text.
For each transaction and table the changes of "scribe-log --json" have to be the same ones in the same order. What the
stream leaves out is left out here: an UPDATE that changes no value, of a row that is found by all of its values.

With --plant, three of the audited rows are falsified first, and the run succeeds if just their transactions differ.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "py"))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "lib"))

import psycopg  # noqa: E402
from cluster import ROOT, install_decoder, temporary_cluster  # noqa: E402
from source import Scribe  # noqa: E402

TABLES = 30
SHOWN = 5  # differences
LARGEST = 400  # rows of one statement
ROTATED = 200  # transactions between rotations
AUDIT = """
CREATE SCHEMA app;
CREATE SCHEMA audit;
CREATE TABLE audit.log (seq bigserial PRIMARY KEY, xid bigint NOT NULL, name text NOT NULL, op text NOT NULL,
  old jsonb, new jsonb);
CREATE INDEX ON audit.log (xid);
CREATE FUNCTION audit.text(r jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS
  'SELECT coalesce(jsonb_object_agg(key, value), ''{}'') FROM jsonb_each_text(r)';
CREATE FUNCTION audit.note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO audit.log (xid, name, op, old, new) VALUES (txid_current(), TG_TABLE_NAME, lower(TG_OP),
    CASE WHEN TG_OP IN ('UPDATE', 'DELETE') THEN audit.text(to_jsonb(OLD)) END,
    CASE WHEN TG_OP IN ('INSERT', 'UPDATE') THEN audit.text(to_jsonb(NEW)) END);
  RETURN NULL;
END $$;
"""
KEYLESS = 5  # every so many tables, one has no key
NOTHING = f"op = 'update' AND old = new AND substring(name FROM '^t([0-9]+)')::int % {KEYLESS} = 0"
Row = dict[str, str | None]


class Table:
    """A table of the source, and the columns that it has beside id."""

    def __init__(self, number: int) -> None:
        self.name = f"t{number}"
        self.columns = {"a": "text", "b": "integer", "c": "numeric(12,2)"}
        self.keyed = number % KEYLESS != 0
        self.made = 0  # names of columns
        self.next = 1  # id

    def create(self) -> str:
        """Return what makes it."""
        columns = ", ".join(f"{name} {kind}" for name, kind in self.columns.items())
        key = " PRIMARY KEY" if self.keyed else ""
        return (
            f"CREATE TABLE app.{self.name} (id bigint{key}, {columns});"
            f"CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON app.{self.name}"
            " FOR EACH ROW EXECUTE FUNCTION audit.note();"
            f"CREATE TRIGGER emptied AFTER TRUNCATE ON app.{self.name} EXECUTE FUNCTION audit.note();"
        )


class Work:
    """One session's random statements on its own tables."""

    def __init__(self, conn: psycopg.Connection[Any], tables: list[Table], chance: random.Random) -> None:
        self.conn, self.tables, self.random = conn, tables, chance
        self.open = 0  # statements still to come in this transaction

    def step(self) -> int:
        """Run one statement, and what begins or ends a transaction; return about how many rows it changed."""
        if not self.open:
            self.conn.execute("BEGIN")
            self.open = self.random.choice((1, 1, 2, 5))
        rows = self._statement()
        self.open -= 1
        if not self.open:
            self.conn.execute("ROLLBACK" if self.random.random() < 0.05 else "COMMIT")
        return rows

    def _statement(self) -> int:
        table = self.random.choice(self.tables)
        drawn = self.random.random()
        if drawn < 0.03:
            self._change(table)
            return 0
        sql = self._rows(table)
        if drawn < 0.08:
            self.conn.execute("SAVEPOINT s")
            self.conn.execute(sql.encode())
            self.conn.execute("ROLLBACK TO s")
        if drawn > 0.95:
            return self._copy(table)
        return self.conn.execute(sql.encode()).rowcount

    def _value(self, kind: str) -> str:
        r = self.random
        if r.random() < 0.1:
            return "NULL"
        if kind == "text":
            return r.choice(("'x'", "E'a\\nb\\t''c'", "repeat('long', 900)", "''", "'COMMIT; -- end 0/0'", "'ü'"))
        return str(r.randrange(-1000, 1000)) if "int" in kind else f"{r.randrange(100000) / 100}"

    def _rows(self, table: Table) -> str:
        r, name = self.random, f"app.{table.name}"
        many = r.choice((1, 1, 1, 10, LARGEST))
        columns = table.columns
        drawn = r.random()
        if drawn < 0.45 or table.next == 1:
            first, table.next = table.next, table.next + many
            values = ", ".join(["g", *(self._value(kind) for kind in columns.values())])
            names = ", ".join(("id", *columns))
            series = f"generate_series({first}, {first + many - 1})"
            return f"INSERT INTO {name} ({names}) SELECT {values} FROM {series} AS g"
        start = r.randrange(1, table.next + 1)
        where = f"WHERE id BETWEEN {start} AND {start + many - 1}"
        if drawn < 0.8 and columns:
            chosen = r.sample(sorted(columns), r.randrange(1, len(columns) + 1))
            return f"UPDATE {name} SET " + ", ".join(f"{c} = {self._value(columns[c])}" for c in chosen) + f" {where}"
        if drawn < 0.83:
            return f"UPDATE {name} SET id = id + {1000000 + table.next} WHERE id = {start}"
        return f"TRUNCATE {name}" if drawn > 0.995 else f"DELETE FROM {name} {where}"

    def _copy(self, table: Table) -> int:
        with self.conn.cursor() as cursor, cursor.copy(f"COPY app.{table.name} (id) FROM STDIN".encode()) as copy:
            for _ in range(50):
                copy.write_row((table.next,))
                table.next += 1
        return 50

    def _change(self, table: Table) -> None:
        """Change the schema, and remember it only if the transaction stands: so it is committed at once."""
        if self.open:
            self.conn.execute("COMMIT; BEGIN")
        r, name, columns = self.random, f"app.{table.name}", table.columns
        some = r.choice(sorted(columns)) if columns else None
        table.made += 1
        new = f"n{table.made}"
        kind = r.choice(("add", "volatile", "drop", "rename", "table", "type"))
        if kind == "table":
            renamed = f"{table.name.split('_')[0]}_{table.made}"
            self.conn.execute(f"ALTER TABLE {name} RENAME TO {renamed}".encode())
            table.name = renamed
        elif kind == "volatile":
            columns[new] = "integer"
            self.conn.execute(f"ALTER TABLE {name} ADD {new} integer DEFAULT (random() * 1000)::int".encode())
        elif kind == "add" or some is None:
            columns[new] = "text"
            self.conn.execute(f"ALTER TABLE {name} ADD {new} text DEFAULT 'new'".encode())
        elif kind == "drop":
            del columns[some]
            self.conn.execute(f"ALTER TABLE {name} DROP {some}".encode())
        elif kind == "rename":
            table.columns = {new if c == some else c: t for c, t in columns.items()}
            self.conn.execute(f"ALTER TABLE {name} RENAME {some} TO {new}".encode())
        elif columns[some] == "integer":
            columns[some] = "bigint"
            self.conn.execute(f"ALTER TABLE {name} ALTER {some} TYPE bigint".encode())
        self.conn.execute("COMMIT; BEGIN")


def told(scribe: Scribe) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """What scribe-log tells, by transaction, in commit order."""
    command = [str(ROOT / "bin/scribe-log"), "--json", "--reverse", "--schema", "app"]
    command += ["--kind", "insert,update,delete,truncate"]
    with subprocess.Popen(command, env=scribe.env, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        xid, lines = 0, []
        for line in run.stdout:
            change = json.loads(line)
            if change["xid"] != xid and lines:
                yield xid, lines
                lines = []
            xid = change["xid"]
            lines.append(change)
        if lines:
            yield xid, lines
    if run.returncode:
        raise SystemExit(f"scribe-log exited with {run.returncode}")


def same(change: dict[str, Any], audited: tuple[str, Row | None, Row | None]) -> bool:
    """Whether a change is the one that the trigger has written."""
    op, old, new = audited
    if change["kind"] != op:
        return False
    if op == "truncate":
        return True
    if op == "insert":
        return bool(change["values"] == new)
    assert old is not None
    if any(old.get(column) != value for column, value in change["key"].items()):
        return False
    return op == "delete" or (old | change["values"]) == new


def compare(scribe: Scribe) -> tuple[int, list[str]]:
    """Return how many changes were compared, and what is wrong."""
    wrong: list[str] = []
    compared, seen = 0, set()
    with scribe.cluster.connect(scribe.dbname) as conn:
        for xid, changes in told(scribe):
            seen.add(xid)
            query = f"SELECT name, op, old, new FROM audit.log WHERE xid = {xid} AND NOT ({NOTHING}) ORDER BY seq"
            written = defaultdict(list)
            for name, *rest in conn.execute(query.encode()):
                written[name].append(tuple(rest))
            read = defaultdict(list)
            for change in changes:
                read[change["table"]].append(change)
            if read.keys() != written.keys():
                wrong.append(f"transaction {xid}: tables {sorted(read)} are told, {sorted(written)} were changed")
            for name in read.keys() & written.keys():
                pairs = list(zip(read[name], written[name], strict=False))
                bad = next((pair for pair in pairs if not same(*pair)), None)
                if bad or len(read[name]) != len(written[name]):
                    wrong.append(f"transaction {xid}, {name}: {len(read[name])} and {len(written[name])}; {bad}")
                compared += len(pairs)
        query = f"SELECT DISTINCT xid FROM audit.log WHERE NOT ({NOTHING})"
        wrong += [f"transaction {xid} is missing" for (xid,) in conn.execute(query.encode()) if xid not in seen]
    return compared, wrong


def plant(conn: psycopg.Connection[Any]) -> set[int]:
    """Falsify what was audited of three transactions: one row with another value, one gone, one more; name them."""
    query = f"SELECT min(seq), xid FROM audit.log WHERE op <> 'truncate' AND NOT ({NOTHING}) GROUP BY xid ORDER BY 1"
    rows = conn.execute(query.encode()).fetchall()
    (other, one), (gone, two), (more, three) = (rows[len(rows) * part // 4] for part in (1, 2, 3))
    conn.execute(
        'UPDATE audit.log SET old = old || \'{"id": "-7"}\', new = new || \'{"id": "-7"}\' WHERE seq = %s', [other]
    )
    conn.execute("DELETE FROM audit.log WHERE seq = %s", [gone])
    columns = "xid, name, op, old, new"
    conn.execute(f"INSERT INTO audit.log ({columns}) SELECT {columns} FROM audit.log WHERE seq = %s".encode(), [more])
    return {one, two, three}


def main() -> int:
    """Run the program; return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--changes", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--plant", action="store_true")
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    tables = [Table(number) for number in range(TABLES)]
    with temporary_cluster() as cluster, tempfile.TemporaryDirectory() as place:
        install_decoder(cluster.pg_config)
        cluster.createdb("shop")
        cluster.psql(AUDIT + "".join(table.create() for table in tables), "shop")
        scribe = Scribe(cluster, "shop", Path(place) / "archive")
        scribe.run("scribe-init")
        scribe.start_stream()
        changes = statements = 0
        with cluster.connect("shop") as one, cluster.connect("shop") as other:
            works = [Work(one, tables[::2], chance), Work(other, tables[1::2], chance)]
            while changes < arguments.changes:
                changes += max(0, chance.choice(works).step())
                statements += 1
                if statements % ROTATED == 0:
                    scribe.run("scribe-rotate")
            for work in works:
                work.conn.execute("COMMIT")
        scribe.run("scribe-rotate", "--wait-lsn", "current", timeout=3600)
        scribe.stop_stream()
        if arguments.plant:
            with cluster.connect("shop") as conn:
                planted = plant(conn)
        compared, wrong = compare(scribe)
        scribe.close()
    if arguments.plant:
        found = {int(line.split()[1].rstrip(",:")) for line in wrong}
        print(f"oracle: seed {arguments.seed}, planted in transactions {sorted(planted)}, noticed in {sorted(found)}")
        return 0 if found == planted else 1
    print(f"oracle: seed {arguments.seed}, {compared:,} changes compared, {len(wrong)} transactions differ")
    print("\n".join(wrong[:SHOWN]), end="\n" if wrong else "")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
