"""Schema changes of transactions that see the database as it was before: nothing is missing without a word."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cluster import Cluster
from source import Scribe

ROWS = "SELECT string_agg(to_jsonb(r)::text, ' ' ORDER BY to_jsonb(r)::text) FROM {} AS r"
LOST = "SELECT coalesce(string_agg(DISTINCT reason, '; '), '') FROM scribe.ddl_history WHERE kind = 'lost'"
# With pgoutput capture keeps a row for each table, which cannot be changed if it was written after the snapshot.
NOT_CHANGED = "could not serialize access due to concurrent update"


@pytest.fixture(params=["scribe_decoder", "pgoutput"])
def source(request: pytest.FixtureRequest, scribe: Scribe) -> Scribe:
    """A source that is not initialised yet, with a role snap and its schema."""
    scribe.settings["SCRIBE_DECODER"] = request.param
    scribe.cluster.psql(
        "DO $$ BEGIN CREATE ROLE snap LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$", "postgres"
    )
    scribe.cluster.psql(
        "CREATE SCHEMA snap AUTHORIZATION snap; SET ROLE snap;"
        " CREATE TABLE snap.t (a int PRIMARY KEY); INSERT INTO snap.t VALUES (1)",
        scribe.dbname,
    )
    return scribe


def in_old_snapshot(source: Scribe, meanwhile: Callable[[], object], *statements: str) -> None:
    """Run statements as the role in a transaction whose snapshot was taken before meanwhile."""
    with source.cluster.connect(source.dbname, user="snap") as old:
        old.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        old.execute("SELECT count(*) FROM pg_class")
        meanwhile()
        for statement in statements:
            old.execute(statement)
        old.execute("COMMIT")


def restored(source: Scribe, cluster: Cluster, *tables: str) -> None:
    """Restore what was streamed, and compare the rows of tables."""
    name = f"{source.dbname}_restore"
    source.start_stream()
    source.run("scribe-rotate", "--wait-lsn", "current")
    source.run("scribe-restore", "-d", name)
    try:
        for table in tables:
            assert cluster.value(ROWS.format(table), name) == cluster.value(ROWS.format(table), source.dbname), table
    finally:
        cluster.dropdb(name)


def test_a_transaction_older_than_the_installation_hides_nothing(source: Scribe, cluster: Cluster) -> None:
    in_old_snapshot(
        source,
        lambda: source.run("scribe-init"),
        "ALTER TABLE snap.t ADD COLUMN b int DEFAULT 7",
        "CREATE TABLE snap.hidden (a int)",
        "INSERT INTO snap.hidden VALUES (1), (1), (2)",
        "CREATE TABLE snap.made AS SELECT a + 1 AS a FROM snap.t",
        "DROP TABLE snap.made",
        "CREATE VIEW snap.v AS SELECT * FROM snap.t",
    )
    cluster.psql("UPDATE snap.hidden SET a = 3 WHERE a = 2", source.dbname)
    if source.settings["SCRIBE_DECODER"] == "pgoutput":
        assert cluster.value(LOST, source.dbname) == NOT_CHANGED
        return
    assert cluster.value(LOST, source.dbname) == ""
    restored(source, cluster, "snap.t", "snap.hidden", "snap.v")


def test_schemas_and_tables_that_a_transaction_cannot_see(source: Scribe, cluster: Cluster) -> None:
    source.run("scribe-init")
    in_old_snapshot(
        source,
        lambda: cluster.psql(
            "CREATE SCHEMA later AUTHORIZATION snap; SET ROLE snap; CREATE TABLE snap.seen (a int PRIMARY KEY, b int);"
            " CREATE TABLE snap.made_later (a int PRIMARY KEY, b int);"
            " INSERT INTO snap.made_later VALUES (1, 1), (2, 2)",
            source.dbname,
        ),
        "SET search_path = later, snap",
        "CREATE TABLE in_later (a int)",
        "INSERT INTO in_later VALUES (1), (2)",
        "ALTER TABLE made_later DROP CONSTRAINT made_later_pkey",
    )
    cluster.psql("UPDATE later.in_later SET a = 3 WHERE a = 2; DELETE FROM snap.made_later WHERE a = 1", source.dbname)
    lost = str(cluster.value(LOST, source.dbname)).split("; ")
    assert "the snapshot of the transaction is older than table snap.made_later" in lost
    assert set(lost[:-1]) <= {NOT_CHANGED}
    restored(source, cluster, "later.in_later", "snap.made_later")


def test_a_table_that_others_changed_meanwhile_is_dropped_and_nothing_is_missing(
    source: Scribe, cluster: Cluster
) -> None:
    cluster.psql("SET ROLE snap; CREATE TABLE snap.kept (a int); CREATE TABLE snap.gone (a int)", source.dbname)
    source.run("scribe-init")
    in_old_snapshot(
        source,
        lambda: cluster.psql(
            "SET ROLE snap; ALTER TABLE snap.t ADD COLUMN b int; CREATE TABLE snap.later (a int PRIMARY KEY);"
            " DROP TABLE snap.gone",
            source.dbname,
        ),
        "DROP TABLE snap.t",
        "DROP TABLE snap.later",
        "CREATE TABLE snap.made (a int, b text, PRIMARY KEY (a) INCLUDE (b))",
        "ALTER TABLE snap.made ADD COLUMN c int",
        "INSERT INTO snap.kept VALUES (1)",
    )
    assert cluster.value(LOST, source.dbname) == ""
    restored(source, cluster, "snap.kept", "snap.made")


def test_a_table_whose_key_a_transaction_cannot_see_keeps_an_identity(source: Scribe, cluster: Cluster) -> None:
    cluster.psql(
        "SET ROLE snap; CREATE TABLE snap.rows (a int NOT NULL); CREATE TABLE snap.above (a int NOT NULL)",
        source.dbname,
    )
    source.run("scribe-init")
    in_old_snapshot(
        source,
        lambda: cluster.psql(
            "SET ROLE snap; ALTER TABLE snap.rows ADD CONSTRAINT fresh PRIMARY KEY (a);"
            " CREATE TABLE snap.below (PRIMARY KEY (a)) INHERITS (snap.above)",
            source.dbname,
        ),
        "ALTER TABLE snap.rows DROP CONSTRAINT fresh",
        "ALTER TABLE snap.above ADD COLUMN b int, DROP COLUMN a",
        "INSERT INTO snap.rows VALUES (1), (2)",
        "INSERT INTO snap.below VALUES (1), (2)",
    )
    for change in ("UPDATE snap.{} SET {} = 3 WHERE {} = 2", "DELETE FROM snap.{} WHERE {} = 1"):
        cluster.psql(change.replace("{}", "rows", 1).replace("{}", "a"), source.dbname)
        cluster.psql(change.replace("{}", "below", 1).replace("{}", "b"), source.dbname)
    flagged = NOT_CHANGED if source.settings["SCRIBE_DECODER"] == "pgoutput" else ""
    assert cluster.value(LOST, source.dbname) == flagged
    restored(source, cluster, "snap.rows", "snap.below")
