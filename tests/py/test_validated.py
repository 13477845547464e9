"""CHECKs that say something else by now, of rows that the source took: in a base of either format."""

from __future__ import annotations

import io
import subprocess
from itertools import chain

import pytest
from cluster import Cluster
from compare import assert_equal
from source import Scribe

from scribe.common.postgres import connect
from scribe.dump.validated import find_checked, without_validation
from scribe.source import unsaid

SCHEMA = """
CREATE TABLE until_now (id int PRIMARY KEY, until timestamptz CHECK (until > now()));
CREATE TABLE plain (id int CHECK (id > 0));
INSERT INTO until_now SELECT i, clock_timestamp() + interval '0.2 s' FROM generate_series(1, 2000) i;
INSERT INTO plain SELECT generate_series(1, 2000);
CREATE TABLE plain_key (id int PRIMARY KEY); CREATE FOREIGN DATA WRAPPER w; CREATE SERVER far FOREIGN DATA WRAPPER w;
CREATE TABLE parted (id int REFERENCES plain_key, v text COMPRESSION pglz) PARTITION BY LIST (id);
CREATE TABLE part PARTITION OF parted FOR VALUES IN (1); ALTER TABLE part DISABLE TRIGGER ALL;
CREATE TABLE elder (v text COMPRESSION pglz); CREATE FOREIGN TABLE younger () INHERITS (elder) SERVER far;
CREATE TABLE refers (id int REFERENCES until_now);
ALTER TABLE refers DISABLE TRIGGER ALL; INSERT INTO refers VALUES (0); ALTER TABLE refers ENABLE TRIGGER ALL;
"""
CHECKS = "SELECT relname, relchecks FROM pg_class WHERE relname IN ('plain', 'until_now') ORDER BY 1"


def test_a_base_in_directory_format_takes_the_rows_too(
    scribe: Scribe, cluster: Cluster, targets: tuple[str, str]
) -> None:
    cluster.psql(SCHEMA, scribe.dbname)
    scribe.run("scribe-init", env={"SCRIBE_DUMP_FORMAT": "directory"})
    source = cluster.dump(scribe.dbname)
    scribe.run("scribe-restore", "-d", targets[0], "--no-globals", "--jobs", "2")
    # pg_restore by itself asks foreign keys, and stops at what pg_dump says and no server takes
    cluster.psql("DELETE FROM refers; DROP TABLE parted; DROP FOREIGN TABLE younger", scribe.dbname)
    scribe.run("scribe-dump", env={"SCRIBE_DUMP_FORMAT": "directory"})
    plan = scribe.run("scribe-restore", "-d", targets[1], "--no-globals", "--plan").stdout
    subprocess.run(["sh", "-c", plan], env=cluster.env, check=True, stdout=subprocess.DEVNULL)
    for target, expected in zip(targets, (source, cluster.dump(scribe.dbname)), strict=True):
        assert_equal(expected, cluster.dump(target))
        assert cluster.query(CHECKS, target) == [("plain", 1), ("until_now", 1)]


def test_a_check_too_long_to_be_looked_at_stops_no_base(cluster: Cluster, database: str) -> None:
    """One with a literal of 70 MB, which anybody may write, is as long as this in the catalog."""
    with cluster.connect(database) as conn:
        conn.execute("CREATE TABLE long (id int CHECK (id > 0)); CREATE TABLE short (id int CHECK (id > 0))")
        conn.execute("CREATE CAST (text AS pg_node_tree) WITHOUT FUNCTION")
        conn.execute(
            "UPDATE pg_constraint SET conbin = (conbin::text || repeat(' ', 270000000))::pg_node_tree"
            " WHERE conrelid = 'long'::regclass AND contype = 'c'"
        )
        assert find_checked(conn) == {(b"public", b"long")}


def test_comments_do_not_make_the_end_of_a_base_too_long(
    cluster: Cluster, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is quoted grows at each level, and a server takes no statement of more than 1 GB."""
    cluster.psql(
        "CREATE TABLE t (); CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
        "DO $$ BEGIN FOR i IN 1 .. 4 LOOP EXECUTE format('CREATE CONSTRAINT TRIGGER c%s AFTER INSERT ON t FOR EACH ROW"
        " EXECUTE FUNCTION f()', i); EXECUTE format('COMMENT ON CONSTRAINT c%s ON t IS %L', i,"
        " repeat(chr(39), CASE i WHEN 1 THEN 65537 ELSE i * 1000 END)); END LOOP; END $$",
        database,
    )
    monkeypatch.setattr(unsaid, "_MOST_COMMENTS", 12_000)
    for name, value in (cluster.env | {"PGDATABASE": database}).items():
        monkeypatch.setenv(name, value)
    with connect() as conn:
        text = "".join(unsaid.never_said(conn, "plain"))
    assert [f"CONSTRAINT c{i} ON" in text for i in (1, 2, 3, 4)] == [False, True, True, False]


def test_what_a_base_in_directory_format_cannot_have_is_named(scribe: Scribe, cluster: Cluster) -> None:
    cluster.psql(
        "CREATE TABLE fits (id int GENERATED ALWAYS AS IDENTITY); CREATE TABLE like_it (LIKE fits INCLUDING ALL);"
        "CREATE TABLE wide (id int GENERATED ALWAYS AS IDENTITY); ALTER SEQUENCE wide_id_seq AS bigint",
        scribe.dbname,
    )
    scribe.run("scribe-init", env={"SCRIBE_DUMP_FORMAT": "directory"})
    scribe.start_stream()
    said = scribe.run("scribe-check", "--only", "ddl", check=False).stdout
    assert "identity column public.wide.id has a range beyond the column's" in said, said
    scribe.run("scribe-dump", "--no-prune", env={"SCRIBE_DUMP_FORMAT": "plain"})
    assert scribe.run("scribe-check", "--only", "ddl").stdout.startswith("SCRIBE OK")


def test_one_table_out_of_the_archive_takes_its_rows_too(
    scribe: Scribe, cluster: Cluster, targets: tuple[str, str]
) -> None:
    cluster.psql(SCHEMA, scribe.dbname)
    scribe.run("scribe-init")
    cluster.createdb(targets[0])
    scribe.run("scribe-restore", "-d", targets[0], "--table", "until_now")
    assert cluster.query("SELECT count(*) FROM until_now", targets[0]) == [(2000,)]
    assert cluster.query(CHECKS, targets[0]) == [("until_now", 1)]
    printed = scribe.run("scribe-restore", "--table", "refers", "--stdout").stdout
    assert "NOT VALID" not in printed and "relchecks" not in printed  # what it refers to is the target's


@pytest.mark.unit
def test_only_what_is_a_copy_gets_lines_around_it() -> None:
    copy = b'COPY public."a\nb" (id) FROM stdin;\n1\nCOPY public.t (id) FROM stdin;\n\\.\n\n'
    other = b"COPY public.other (id) FROM stdin;\n1\n\\.\n"
    body = b"CREATE FUNCTION f() RETURNS void LANGUAGE sql AS $_$\nCOPY public.t (id) FROM stdin;\n\\.\n$_$;\n"
    tables = frozenset({(b"public", b"t"), (b"public", b"a\nb")})
    text = body + other + copy + body
    for size in (1, 7, 1 << 20):
        stream = io.BytesIO(text)
        blocks = chain([b""], iter(lambda: stream.read(size), b""))  # noqa: B023
        dump = b"".join(without_validation(blocks, tables))
        before, after = dump.split(copy.removesuffix(b"\n"))
        assert before.startswith(body + other) and after.endswith(body)
        assert before.count(b"relchecks = 0") == 1 and after.count(b"relchecks = (SELECT count(*)") == 1
        assert b"''public.\"a\nb\"''::pg_catalog.regclass" in before
        assert dump.count(b"UPDATE ") == 2


MANY = """
DO $$ BEGIN FOR i IN 1..1200 LOOP
  EXECUTE format('CREATE TABLE t%s (id int PRIMARY KEY, until timestamptz, %s)', i,
    (SELECT string_agg(format('CHECK (id <> %s)', n), ', ') FROM generate_series(1, 5) AS n)); COMMIT;
END LOOP; END $$;
"""


def test_what_is_done_around_rows_and_keys_takes_no_longer_in_a_large_schema(cluster: Cluster, database: str) -> None:
    """A catalog that was just filled has no statistics: what reads all of it for each table takes hours."""
    cluster.psql(MANY, database)
    copy = b"COPY public.t1 (id) FROM stdin;\n\\.\n"
    key = b"ALTER TABLE ONLY public.t2\n    ADD CONSTRAINT key FOREIGN KEY (id) REFERENCES public.t1(id);\n"
    text = b"".join(without_validation(iter([copy + key]), frozenset({(b"public", b"t1")}))).decode()
    assert (text.count("relchecks = "), text.count("convalidated = true")) == (2, 1)
    catalogs = "ARRAY['pg_constraint', 'pg_class']::regclass[]"
    read = f"SELECT sum(pg_stat_get_xact_tuples_returned(c)) FROM unnest({catalogs}) AS c"
    before, after = cluster.psql(f"BEGIN; {read}; {text} {read}; COMMIT", database).stdout.split()
    assert int(after) - int(before) < 100, "rows of the catalog that were read one after the other"
    assert cluster.query("SELECT convalidated FROM pg_constraint WHERE conname = 'key'", database) == [(True,)]
    assert cluster.query("SELECT relchecks FROM pg_class WHERE relname = 't1'", database) == [(5,)]
