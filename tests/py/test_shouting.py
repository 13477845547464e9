"""Code of an ordinary role, in every spot PostgreSQL lets it stand in, runs with that role's rights at most.

Each function tells the server's log as whom it runs. In a restore, as with pg_restore, that may be the restoring role;
see docs/security.md. The planner evaluates calls whose arguments are constants, so some have none but those.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from cluster import ROOT, Cluster
from source import Scribe

SHOUT = re.compile(r"shout in (\S+) at (\S+) as (\S+)")
SPOTS = (
    *("check", "default", "generated", "index", "predicate", "statistics", "policy", "view", "matview", "partition"),
    *("exclusion", "when", "later_default", "later_type", "later_check", "later_index", "rule"),
)
PLANT = [
    "CREATE FUNCTION shouter.shout(spot text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN"
    " RAISE LOG 'shout in % at % as %', current_database(), spot, current_user; RETURN true; END $$",
    *(
        f"CREATE FUNCTION shouter.at_{spot}(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS"
        f" $$ BEGIN PERFORM shouter.shout('{spot}'); RETURN $1; END $$"
        for spot in SPOTS
    ),
    "CREATE FUNCTION shouter.at_trigger() RETURNS trigger LANGUAGE plpgsql AS"
    " $$ BEGIN PERFORM shouter.shout('trigger'); RETURN NEW; END $$",
    "CREATE FUNCTION shouter.at_domain(int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS"
    " $$ BEGIN RETURN shouter.shout('domain'); END $$",
    "CREATE DOMAIN shouter.dom AS int DEFAULT shouter.at_default(1)"
    " CHECK (shouter.at_domain(value) AND shouter.at_domain(1))",
    "CREATE TYPE shouter.pair AS (a int, b shouter.dom)",
    "CREATE FUNCTION shouter.at_cast(shouter.pair) RETURNS int LANGUAGE plpgsql IMMUTABLE AS"
    " $$ BEGIN PERFORM shouter.shout('cast'); RETURN 1; END $$",
    "CREATE CAST (shouter.pair AS int) WITH FUNCTION shouter.at_cast(shouter.pair) AS IMPLICIT",
    "CREATE FUNCTION shouter.at_operator(int, int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS"
    " $$ BEGIN RETURN shouter.shout('operator'); END $$",
    "CREATE OPERATOR shouter.= (LEFTARG = int, RIGHTARG = int, FUNCTION = shouter.at_operator)",
    "CREATE FUNCTION shouter.at_oid(oid, oid) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS"
    " $$ BEGIN PERFORM shouter.shout('operator'); RETURN $1::text OPERATOR(pg_catalog.=) $2::text; END $$",
    "CREATE OPERATOR shouter.= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = shouter.at_oid)",
    "CREATE FUNCTION shouter.at_name(name, text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS"
    " $$ BEGIN PERFORM shouter.shout('operator'); RETURN $1::text OPERATOR(pg_catalog.=) $2; END $$",
    "CREATE OPERATOR shouter.= (LEFTARG = name, RIGHTARG = text, FUNCTION = shouter.at_name)",
    "CREATE FUNCTION shouter.at_text(text, text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS"
    " $$ BEGIN PERFORM shouter.shout('operator'); RETURN $1 OPERATOR(pg_catalog.~) $2; END $$",
    "CREATE OPERATOR shouter.!~ (LEFTARG = text, RIGHTARG = text, FUNCTION = shouter.at_text)",
    "CREATE FUNCTION shouter.lower(name) RETURNS text LANGUAGE plpgsql IMMUTABLE AS"
    " $$ BEGIN PERFORM shouter.shout('function'); RETURN $1::text; END $$",
    "CREATE FUNCTION shouter.format(text, name) RETURNS text LANGUAGE plpgsql IMMUTABLE AS"
    " $$ BEGIN PERFORM shouter.shout('function'); RETURN pg_catalog.format($1, $2); END $$",
    "CREATE FUNCTION shouter.add(int, int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS"
    " $$ BEGIN PERFORM shouter.shout('aggregate'); RETURN 1; END $$",
    "CREATE AGGREGATE shouter.total (int) (SFUNC = shouter.add, STYPE = int)",
    "CREATE TYPE shouter.span AS RANGE (SUBTYPE = int4)",
    "CREATE TABLE shouter.t (id int PRIMARY KEY, a int DEFAULT shouter.at_default(1), d shouter.dom, p shouter.pair,"
    " s shouter.span, g int GENERATED ALWAYS AS (id + shouter.at_generated(1)) STORED,"
    " CHECK (shouter.at_check(a) > 0 AND a >= shouter.at_check(0)),"
    " EXCLUDE ((shouter.at_exclusion(id)) WITH OPERATOR(pg_catalog.=)))",
    "CREATE INDEX ON shouter.t ((a + shouter.at_index(1)))",
    "CREATE INDEX ON shouter.t (a) WHERE shouter.at_predicate(a + 1) > shouter.at_predicate(0)",
    "CREATE STATISTICS shouter.st ON (a + shouter.at_statistics(1)), (id + shouter.at_statistics(2)) FROM shouter.t",
    "CREATE TABLE shouter.keyless (a int, d shouter.dom, CHECK (shouter.at_check(a) > 0))",
    "CREATE STATISTICS shouter.sk ON (a + shouter.at_statistics(1)), (a * shouter.at_statistics(2))"
    " FROM shouter.keyless",
    "CREATE INDEX ON shouter.keyless ((a + shouter.at_index(1)))",
    "ALTER TABLE shouter.t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
    "CREATE POLICY pol ON shouter.t USING (shouter.at_policy(1) > 0)",
    "CREATE TRIGGER tr BEFORE INSERT OR UPDATE ON shouter.t FOR EACH ROW WHEN (shouter.at_when(NEW.a) > 0)"
    " EXECUTE FUNCTION shouter.at_trigger()",
    "ALTER TABLE shouter.t ENABLE ALWAYS TRIGGER tr",
    "CREATE TRIGGER tk BEFORE INSERT OR UPDATE ON shouter.keyless FOR EACH ROW EXECUTE FUNCTION shouter.at_trigger()",
    "ALTER TABLE shouter.keyless ENABLE ALWAYS TRIGGER tk",
    "CREATE VIEW shouter.v AS SELECT shouter.at_view(a) AS a FROM shouter.t",
    "CREATE RULE r AS ON UPDATE TO shouter.v DO INSTEAD SELECT shouter.at_rule(1)",
    "CREATE MATERIALIZED VIEW shouter.m AS SELECT shouter.at_matview(a) AS a FROM shouter.keyless",
    "CREATE TABLE shouter.parts (a int, b int) PARTITION BY LIST ((a * shouter.at_partition(1)))",
    "CREATE TABLE shouter.part1 PARTITION OF shouter.parts FOR VALUES IN (1, 2)",
    "CREATE TABLE shouter.rest PARTITION OF shouter.parts DEFAULT",
    "CREATE SEQUENCE shouter.seq",
    'CREATE COLLATION shouter."C" FROM pg_catalog."POSIX"',
]
WRITE = [
    "INSERT INTO shouter.t (id, d, p, s) SELECT n, n, ROW(n, n)::shouter.pair, '[1,2]'"
    " FROM generate_series(1, 20) AS n",
    "INSERT INTO shouter.keyless SELECT n, n FROM generate_series(1, 20) AS n",
    "INSERT INTO shouter.parts SELECT n, n FROM generate_series(1, 4) AS n",
    "SELECT nextval('shouter.seq')",
]
CHANGE = [
    "ALTER TABLE shouter.t ADD COLUMN u uuid DEFAULT gen_random_uuid()",
    "ALTER TABLE shouter.keyless ADD COLUMN u uuid DEFAULT gen_random_uuid()",
    "ALTER TABLE shouter.t ADD COLUMN w timestamptz DEFAULT now()",
    "ALTER TABLE shouter.t ADD COLUMN l int DEFAULT shouter.at_later_default(1)",
    "ALTER TABLE shouter.t ALTER COLUMN l TYPE bigint USING shouter.at_later_type(l) + random()",
    "ALTER TABLE shouter.keyless ALTER COLUMN d TYPE bigint",
    "ALTER TABLE shouter.t ADD CONSTRAINT later CHECK (shouter.at_later_check(a) > 0) NOT VALID",
    "ALTER TABLE shouter.t ADD COLUMN x uuid DEFAULT gen_random_uuid()",
    "ALTER TABLE shouter.parts ADD COLUMN u uuid DEFAULT gen_random_uuid()",
    "CREATE INDEX later ON shouter.t ((a + shouter.at_later_index(1)))",
    "UPDATE shouter.t SET a = 2; UPDATE shouter.keyless SET a = a + 1; DELETE FROM shouter.keyless WHERE a < 5",
    "CREATE TABLE shouter.empty (a int); CREATE STATISTICS shouter.se"
    " ON (a + shouter.at_statistics(1)), (a * shouter.at_statistics(2)) FROM shouter.empty;"
    " ALTER TABLE shouter.empty ADD COLUMN u uuid DEFAULT gen_random_uuid(); ALTER TABLE shouter.empty SET UNLOGGED;"
    " ALTER TABLE shouter.empty SET LOGGED",
    "CREATE TABLE shouter.made AS SELECT shouter.at_view(a::int) AS a FROM shouter.keyless",
    "REFRESH MATERIALIZED VIEW shouter.m",
    "CREATE TABLE shouter.part3 (LIKE shouter.parts); ALTER TABLE shouter.parts ATTACH PARTITION shouter.part3"
    " FOR VALUES IN (30)",
    "ALTER TABLE shouter.t DROP CONSTRAINT t_pkey",
]
# Every file that stands alone, as psql runs it; the others are parts that scribe-init runs.
FILES = ("monitor.sql", "fingerprint.sql", "roles.sql", "roles_restore.sql")
CAPTURE = {"scribe_decoder": "capture.sql", "pgoutput": "pgoutput.sql"}
# roles.sql and roles_restore.sql make roles, for which other tests have the names that they have by default.
ROLES = ("shout_stream", "shout_dump", "shout_restore")
OTHER_NAMES = "".join(f"\\set {name.removeprefix('shout_')} {name}\n" for name in ROLES)


class Log:
    """What the server's log tells of a database from now on."""

    def __init__(self, cluster: Cluster, database: str) -> None:
        self._path, self._database = Path(cluster.log), database
        self._at = self._path.stat().st_size

    def shouts(self) -> set[tuple[str, str]]:
        """Return the spots and the roles that have been heard since the last call."""
        data = self._path.read_bytes()
        text, self._at = data[self._at :].decode(errors="replace"), len(data)
        return {(match[2], match[3]) for match in SHOUT.finditer(text) if match[1] == self._database}


@pytest.mark.parametrize("decoder", ["scribe_decoder", "pgoutput"])
def test_no_shout_comes_with_more_rights_than_its_owners(
    cluster: Cluster, scribe: Scribe, targets: tuple[str, str], request: pytest.FixtureRequest, decoder: str
) -> None:
    scribe.settings["SCRIBE_DECODER"] = decoder
    database, found = scribe.dbname, set()
    cluster.psql(
        "DO $$ BEGIN CREATE ROLE shouter LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;"
        f"CREATE SCHEMA shouter AUTHORIZATION shouter; ALTER DATABASE {database} OWNER TO shouter",
        database,
    )
    log = Log(cluster, database)

    def listen(step: str) -> None:
        heard = log.shouts()
        found.update(spot for spot, _ in heard)
        assert {(spot, role) for spot, role in heard if role != "shouter"} == set(), step

    with cluster.connect(database, user="shouter") as conn:
        for statement in (*PLANT, *WRITE):
            conn.execute(statement)  # type: ignore[arg-type]
        conn.execute(f"ALTER DATABASE {database} SET search_path = shouter, pg_catalog")  # type: ignore[arg-type]
    listen("planting")
    scribe.run("scribe-init")
    listen("scribe-init")
    scribe.start_stream()
    for number, statement in enumerate(CHANGE):
        with cluster.connect(database, user="shouter") as conn:
            conn.execute("SET search_path = pg_catalog")
            conn.execute(statement)  # type: ignore[arg-type]
        listen(f"statement {number}: {statement}")
    for program, *arguments in (
        ("scribe-rotate", "--wait-lsn", "current"),
        ("scribe-rotate", "--record"),
        ("scribe-dump",),
        ("scribe-meta",),
        ("scribe-globals",),
        ("scribe-check",),
        ("scribe-verify",),
        ("scribe-prune",),
        ("scribe-init",),
    ):
        scribe.run(program, *arguments, check=program != "scribe-check")
        listen(program)
    request.addfinalizer(lambda: drop_roles(cluster, database))
    for name in (CAPTURE[decoder], *FILES):
        if name == "roles_restore.sql" and cluster.version_num < 150000:
            continue  # GRANT SET ON PARAMETER came with 15
        cluster.psql(OTHER_NAMES + (ROOT / "sql" / name).read_text(), database)
        listen(name)
    in_copy = Log(cluster, targets[0])
    scribe.run("scribe-restore", "-d", targets[0])
    assert {role for _, role in in_copy.shouts()} <= {"shouter", "postgres"}  # as docs/security.md says
    listen("scribe-restore")
    scribe.stop_stream()
    scribe.run("scribe-init", "--remove")
    listen("scribe-init --remove")
    cluster.psql((ROOT / "sql/uncapture.sql").read_text(), database)
    listen("uncapture.sql")
    assert {"check", "generated", "index", "statistics", "policy", "trigger", "later_type"} <= found


# Operators that a query finds before the server's own, for whoever has this schema before pg_catalog in his path.
OPERATORS = "".join(
    f"CREATE FUNCTION shouter.op({kind}, {kind}) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN"
    f" RAISE LOG 'shout in % at operator as %', current_database(), current_user; RETURN true; END $$;"
    f"CREATE OPERATOR shouter.{name} (LEFTARG = {kind}, RIGHTARG = {kind}, FUNCTION = shouter.op);"
    for name, kind in (("=", "text"), ("=", "name"), ("<", "int"))
)
# A schema change of each kind that stands among lines of ours, with settings of each kind.
UNDER_A_PATH = """
SET search_path = shouter, pg_catalog;
SET default_text_search_config = 'pg_catalog.german'; SET shouter.own = 'x'; SET lc_monetary = 'C.UTF-8';
SET {strings} = off;
CREATE SCHEMA hers; ALTER SCHEMA hers RENAME TO his; CREATE TABLE his.t (a int PRIMARY KEY);
"""


@pytest.mark.parametrize("decoder", ["scribe_decoder", "pgoutput"])
def test_a_replay_reads_no_line_of_ours_under_a_users_path(
    cluster: Cluster, scribe: Scribe, targets: tuple[str, str], decoder: str
) -> None:
    scribe.settings["SCRIBE_DECODER"] = decoder
    cluster.psql(
        "DO $$ BEGIN CREATE ROLE shouter LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;"
        f"CREATE SCHEMA shouter AUTHORIZATION shouter; GRANT CREATE ON DATABASE {scribe.dbname} TO shouter;"
        f"SET ROLE shouter; {OPERATORS}",
        scribe.dbname,
    )
    scribe.run("scribe-init")
    scribe.start_stream()
    modern = cluster.version_num >= 190000
    strings = "array_nulls" if modern else "standard_conforming_strings"
    cluster.psql(f"SET ROLE shouter; {UNDER_A_PATH.format(strings=strings)}", scribe.dbname)
    scribe.run("scribe-rotate", "--wait-lsn", "current")
    logs = [Log(cluster, target) for target in targets]
    scribe.run("scribe-restore", "-d", targets[0], "--no-globals")
    scribe.restore_with_psql(targets[1])
    for target, log in zip(targets, logs, strict=True):
        assert {role for _, role in log.shouts()} <= {"shouter"}, target
        assert cluster.query("SELECT to_regclass('his.t')::text", target) == [("his.t",)]
    # the operators are found before the server's own: where it is his statement that reads, it is he who shouts
    with cluster.connect(targets[0], user="shouter") as conn:
        conn.execute("SET search_path = shouter, pg_catalog")
        conn.execute("SELECT FROM pg_catalog.pg_settings WHERE name = 'x'")
    assert {role for _, role in logs[0].shouts()} == {"shouter"}
    cluster.dropdb(targets[0])
    scribe.run("scribe-restore", "-d", targets[0], "--no-globals", "--no-owner")
    assert cluster.value("SELECT pg_get_userbyid(relowner) FROM pg_class WHERE relname = 't'", targets[0]) == "postgres"


def drop_roles(cluster: Cluster, database: str) -> None:
    """Take away what OTHER_NAMES has made of the roles' files."""
    for role in ROLES:
        if cluster.query(f"SELECT 1 FROM pg_roles WHERE rolname = '{role}'"):
            cluster.psql(f"DROP OWNED BY {role}", database)
            cluster.psql(f"DROP OWNED BY {role}; DROP ROLE {role}")
