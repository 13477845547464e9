"""An undo that is applied: what belongs to a table's owner has the rights of that owner, then and at COMMIT."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from cluster import ROOT, Cluster, poll
from compare import assert_equal
from starting import run_program
from undoing import Undone

from scribe.common.errors import ScribeError
from scribe.restore.applying import apply
from scribe.restore.constraints import read_constraints
from scribe.restore.dropped import Piece, split_dump
from scribe.restore.undo import Plan, Step

TABLES = """
CREATE ROLE {one}; CREATE ROLE {two};
GRANT CREATE ON SCHEMA public TO {one}; GRANT CREATE ON DATABASE {name} TO {one};
CREATE FUNCTION public.who(v text, name) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  IF current_user <> $2 THEN RAISE EXCEPTION 'run as %', current_user; END IF; RETURN true;
END $$;
CREATE SCHEMA s AUTHORIZATION {one}; GRANT CREATE, USAGE ON SCHEMA s TO {two};
CREATE TABLE s.mine (v text); ALTER TABLE s.mine OWNER TO {one};
CREATE TABLE s.other (v text CHECK (public.who(v, '{two}') AND current_setting('DateStyle') = 'ISO, MDY'));
ALTER TABLE s.other OWNER TO {two};
"""
HELD = """
CREATE SEQUENCE s.number; ALTER SEQUENCE s.number OWNER TO {one};
CREATE FUNCTION s.planted(v text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  PERFORM public.who(v, '{one}');
  BEGIN RESET ROLE; RAISE EXCEPTION 'escaped'; EXCEPTION WHEN insufficient_privilege THEN NULL; END;
  IF to_regtype('pg_temp.text') IS NULL THEN
    CREATE DOMAIN pg_temp.text AS pg_catalog.text CHECK (public.who(VALUE, '{one}'));
    CREATE DOMAIN pg_temp.int8 AS pg_catalog.int8 CHECK (public.who(VALUE::pg_catalog.text, '{one}'));
  END IF;
  EXECUTE 'DECLARE x' || nextval('s.number') || $q$ CURSOR WITH HOLD FOR SELECT public.who('x', '{one}')$q$;
  EXECUTE 'PREPARE "_pg3_' || nextval('s.number') || '" AS SELECT 1';
  PERFORM set_config('search_path', 's', true), set_config('client_encoding', 'SJIS', false),
    set_config('DateStyle', 'SQL, DMY', true);
  RETURN true;
END $$;
ALTER TABLE s.mine ADD CHECK (s.planted(v));
"""
DEFERRED = """
CREATE FUNCTION s.late() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN PERFORM public.who('', '{one}'); RETURN NULL; END $$;
CREATE TABLE s.quiet (v text); ALTER TABLE s.quiet OWNER TO {one};
CREATE CONSTRAINT TRIGGER late AFTER INSERT ON s.quiet DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION s.late();
ALTER TABLE s.quiet ENABLE ALWAYS TRIGGER late;
CREATE FUNCTION s.planted(v text) RETURNS boolean LANGUAGE plpgsql AS
  $$ BEGIN INSERT INTO s.quiet VALUES (v); RETURN true; END $$;
ALTER TABLE s.mine ADD CHECK (s.planted(v));
"""
SWAPPED = """
CREATE FUNCTION s.planted(v text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  ALTER SCHEMA s RENAME TO away; CREATE SCHEMA s; GRANT USAGE ON SCHEMA s TO PUBLIC;
  CREATE TABLE s.other (v text CHECK (public.who(v, '{one}'))); GRANT ALL ON s.other TO PUBLIC; RETURN true;
END $$;
ALTER TABLE s.mine ADD CHECK (s.planted(v));
"""
PARTS = """
CREATE TABLE s.parts (v text) PARTITION BY LIST (v); ALTER TABLE s.parts OWNER TO {one};
CREATE TABLE s.part PARTITION OF s.parts DEFAULT; ALTER TABLE s.part OWNER TO {two};
"""
REFERRED = """
CREATE TABLE s.parent (id int PRIMARY KEY); ALTER TABLE s.parent OWNER TO {two};
CREATE TABLE s.child (id int REFERENCES s.parent); ALTER TABLE s.child OWNER TO {one};
"""


def step(schema: str, table: str, owner: str = "postgres") -> Step:
    """An insert; owner: as an archive has it."""
    text = f"INSERT INTO {schema}.{table} VALUES ('\u8868');\n"
    return Step(Piece(owner, text, ((schema, table),)), ())


class Applied:
    """A database with tables of two roles, and plans that are run on it."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.cluster, self.name = cluster, name
        self.roles = {"one": f"{name}_one", "two": f"{name}_two", "name": name}
        self.add(TABLES)

    def add(self, text: str) -> None:
        for name, role in self.roles.items():
            text = text.replace(f"{{{name}}}", role)
        self.cluster.psql(text, self.name)

    def apply(self, *steps: Step, relids: tuple[str, ...] = ()) -> None:
        with self.cluster.connect(self.name) as conn:
            oids = [self.cluster.value(f"SELECT '{name}'::regclass::oid::int", self.name) for name in relids]
            apply(conn, Plan([], list(steps), constraints=read_constraints(conn, oids)))

    def refused(self, *steps: Step, relids: tuple[str, ...] = ()) -> str:
        with pytest.raises(ScribeError) as caught:
            self.apply(*steps, relids=relids)
        assert str(caught.value.hint).startswith("Nothing was changed. ")
        return str(caught.value)

    def count(self, table: str) -> int:
        return int(self.cluster.query(f"SELECT count(*) FROM {table}", self.name)[0][0])


@pytest.fixture
def applied(cluster: Cluster, database: str) -> Iterator[Applied]:
    made = Applied(cluster, database)
    yield made
    cluster.psql("DROP SCHEMA IF EXISTS s, away CASCADE; DROP OWNED BY {one}, {two};".format(**made.roles), database)
    cluster.psql("DROP ROLE {one}, {two}".format(**made.roles))


def test_nothing_that_an_owners_code_leaves_behind_acts_with_other_rights(applied: Applied) -> None:
    applied.add(HELD)
    applied.apply(*[step("s", table) for table in ("mine", "other", "mine", "other")])
    assert (applied.count("s.mine"), applied.count("s.other")) == (2, 2)


def test_a_trigger_that_would_act_at_commit_is_refused(applied: Applied) -> None:
    applied.add(DEFERRED)
    assert "trigger late of s.quiet may act at COMMIT" in applied.refused(step("s", "mine"))
    assert (applied.count("s.mine"), applied.count("s.quiet")) == (0, 0)


def test_a_table_that_took_the_name_of_another_is_noticed(applied: Applied) -> None:
    applied.add(SWAPPED)
    said = applied.refused(step("s", "other"), step("s", "mine"), step("s", "other"))
    assert "s.other is no longer the table that it was" in said
    assert applied.count("s.other") == 0


def test_rights_of_several_owners_are_not_joined(applied: Applied) -> None:
    applied.add(PARTS + REFERRED)
    assert "the partitions of s.parts belong to several roles" in applied.refused(step("s", "parts"))
    assert "permission denied for table parent" in applied.refused(step("s", "mine"), relids=("s.child",))
    applied.add("GRANT SELECT ON s.parent TO {one}")
    applied.apply(step("s", "mine"), relids=("s.child",))
    assert applied.count("s.mine") == 1


def test_what_was_checked_at_the_end_still_holds_at_commit(applied: Applied) -> None:
    """A row is given back while another session takes away what it refers to."""
    applied.add(REFERRED + "GRANT SELECT ON s.parent TO {one}; INSERT INTO s.parent VALUES (1);")
    given = Step(Piece("", "INSERT INTO s.child VALUES (1);\n", (("s", "child"),)), ())
    waiting = f"SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = '{applied.name}'"
    with ThreadPoolExecutor(1) as pool, applied.cluster.connect(applied.name) as other:
        other.execute("BEGIN")
        other.execute("DELETE FROM s.parent")
        said = pool.submit(applied.refused, given, relids=("s.child",))
        poll(lambda: applied.cluster.value(waiting) == 1, 30, "the undo waits")
        other.execute("COMMIT")
        assert "a row of s.child would refer to no row of s.parent" in said.result(30)


def test_who_keeps_a_lock_is_named_and_nobody_waits_behind_us(
    applied: Applied, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    for name in ("PGHOST", "PGPORT", "PGUSER"):
        monkeypatch.setenv(name, applied.cluster.env[name])
    with applied.cluster.connect(applied.name) as other, applied.cluster.connect(applied.name) as conn:
        other.execute("BEGIN")
        other.execute("INSERT INTO s.mine VALUES ('x')")
        with pytest.raises(ScribeError, match=f"process {other.info.backend_pid} .* is in the way") as caught:
            apply(conn, Plan([], [step("s", "mine")]), wait=1, tell=said.append)
        assert caught.value.status == 75 and len(said) == 1
        other.execute("COMMIT")
        apply(conn, Plan([], [step("s", "mine")]), wait=1)
    assert applied.count("s.mine") == 2


def test_a_server_that_goes_away_is_tried_again_unless_it_may_have_committed(applied: Applied) -> None:
    applied.add(DEFERRED.replace("PERFORM public.who('', '{one}')", "PERFORM pg_terminate_backend(pg_backend_pid())"))
    end = Step(Piece("", "SELECT pg_catalog.pg_terminate_backend(pg_catalog.pg_backend_pid());\n"), ())
    late = Step(Piece("", "INSERT INTO s.quiet VALUES ('x');\n"), ())
    for steps, status, words in (
        ((step("s", "other"), end), 75, "could not take it"),
        ((late,), 1, "may have been taken"),
    ):
        with pytest.raises(ScribeError, match=words) as caught:
            applied.apply(*steps)
        assert caught.value.status == status
    assert (applied.count("s.other"), applied.count("s.quiet")) == (0, 0)


# What may hold an expression: to read a constant of a domain's array runs the domain's CHECKs, as whoever reads it.
SHOUTS = """
CREATE SCHEMA s; ALTER SCHEMA s OWNER TO {role};
CREATE FUNCTION s.shout(v int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS
  $$ BEGIN RAISE LOG 'shout at % as %', current_database(), current_user; RETURN true; END $$;
CREATE DOMAIN s.d AS int CHECK (s.shout(VALUE)); ALTER DOMAIN s.d OWNER TO {role};
CREATE SCHEMA gone; GRANT CREATE, USAGE ON SCHEMA gone TO {role};
CREATE FUNCTION gone.f(a boolean DEFAULT {lit}) RETURNS boolean LANGUAGE sql BEGIN ATOMIC SELECT {lit}; END;
CREATE FUNCTION gone.add(s.d, int) RETURNS s.d LANGUAGE sql AS 'SELECT $1';
CREATE AGGREGATE gone.agg (int) (SFUNC = gone.add, STYPE = s.d, INITCOND = '1');
CREATE DOMAIN gone.d AS int DEFAULT 1 CHECK (VALUE = ANY ({array}));
CREATE TABLE gone.t (a int, b boolean DEFAULT {lit}, d gone.d, g boolean GENERATED ALWAYS AS ({lit}) STORED,
  CHECK (a = ANY ({array})), EXCLUDE USING btree (a WITH =) WHERE ({lit}));
INSERT INTO gone.t (a, d) VALUES (1, 1);
CREATE INDEX i ON gone.t (a) WHERE {lit};
CREATE STATISTICS gone.st ON (a = ANY ({array})), a FROM gone.t;
CREATE POLICY p ON gone.t USING ({lit});
CREATE RULE r AS ON DELETE TO gone.t WHERE {lit} DO ALSO NOTHING;
CREATE TRIGGER g BEFORE INSERT ON gone.t FOR EACH ROW WHEN ({lit})
  EXECUTE FUNCTION pg_catalog.suppress_redundant_updates_trigger();
CREATE VIEW gone.v AS SELECT {lit} AS x FROM gone.t;
CREATE MATERIALIZED VIEW gone.m AS SELECT {lit} AS x;
CREATE TABLE gone.p (a s.d) PARTITION BY LIST (a);
CREATE TABLE gone.p1 PARTITION OF gone.p FOR VALUES IN (1);
COMMENT ON TABLE gone.t IS 'hers'; GRANT SELECT ON gone.t TO PUBLIC;
"""
OWNED = ("FUNCTION f(boolean)", "FUNCTION add(s.d, int)", "AGGREGATE agg(int)", "DOMAIN d", "TABLE t", "STATISTICS st")
OWNED += ("VIEW v", "MATERIALIZED VIEW m", "TABLE p", "TABLE p1")


def test_what_was_dropped_is_made_again_with_its_owners_rights(undone: Undone, cluster: Cluster) -> None:
    role = f"{undone.name}_role"
    array = "'{1}'::s.d[]::int[]"
    text = SHOUTS.replace("{role}", role).replace("{lit}", f"(1 = ANY ({array}))").replace("{array}", array)
    owned = "".join(f"ALTER {what.replace(' ', ' gone.', 1)} OWNER TO {role};\n" for what in OWNED)
    owned = owned.replace("MATERIALIZED gone.VIEW ", "MATERIALIZED VIEW gone.")
    undone.begin(text + owned, role)
    undone.archive.segment(["-- ddl DROP SCHEMA\nDROP SCHEMA gone CASCADE\n;\n-- ddl end\n-- rows 1 ddl\n"])
    undone.run("--target-xid", "701", "--target-exclusive")
    wanted = cluster.dump(undone.name)
    cluster.dropdb(undone.name)
    undone.run()
    before = cluster.log.stat().st_size
    program = [str(ROOT / "bin/scribe-undo"), "--archive", str(undone.path)]
    run = run_program([*program, "--xid", "701", "--apply", "-d", undone.name], cluster.env)
    assert run.returncode == 0, run.stderr
    heard = cluster.log.read_text(errors="replace")[before:]
    assert set(re.findall(f"shout at {undone.name} as (\\S+)", heard)) == {role}
    assert_equal(cluster.dump(undone.name), wanted, ("undone", "wanted"))


@pytest.mark.unit
def test_a_dump_is_cut_where_another_role_has_to_make_what_follows() -> None:
    """Settings that hold for several objects go with each; what only looks like a heading, in a body, does not."""
    heading = "--\n-- TOC entry {} (class 1259 OID {})\n-- Name: t; Type: TABLE; Schema: s; Owner: x\n--\n\n"
    body = "CREATE FUNCTION s.f() RETURNS void LANGUAGE sql AS $$\n-- TOC entry 3 (class 1259 OID 22)\n$$;\n\n"
    text = (
        "SET statement_timeout = 0;\nSET default_tablespace = space;\n\n"
        + heading.format(1, 21)
        + body
        + "SET default_table_access_method = heap;\n\n"
        + heading.format(2, 22)
        + "CREATE TABLE s.t ();\n\n\n-- Completed on today\n\n--\n-- PostgreSQL database dump complete\n--\n\n"
    )
    first, second = split_dump(text.encode(), {(1259, 21): "one", (1259, 22): "two"})
    assert (first.owner, first.maker, second.maker) == ("", "one", "two")
    assert body in first.text and first.text.startswith("SET default_tablespace = space;\n")
    assert second.text.startswith("SET default_tablespace = space;\nSET default_table_access_method = heap;\n--\n")
    assert second.text.endswith("CREATE TABLE s.t ();\n\n\n\n") and "statement_timeout" not in first.text
