"""What our programs ask a database never means anything that its users have made."""

from __future__ import annotations

from cluster import Cluster
from source import Scribe

# Each fits a call in our queries better than the system's own: it would be run by whoever runs our programs.
TRAPS = """
CREATE FUNCTION public.trap() RETURNS numeric LANGUAGE plpgsql AS
  $$ BEGIN RAISE EXCEPTION 'ran as %', current_user; END $$;
CREATE FUNCTION public.mod(numeric, bigint) RETURNS numeric LANGUAGE sql AS 'SELECT public.trap()';
CREATE FUNCTION public.add(numeric, bigint) RETURNS numeric LANGUAGE sql AS 'SELECT public.trap()';
CREATE FUNCTION public.less(numeric, int) RETURNS bool LANGUAGE sql AS 'SELECT public.trap() > 0';
CREATE FUNCTION public.less(bigint, numeric) RETURNS bool LANGUAGE sql AS 'SELECT public.trap() > 0';
CREATE FUNCTION public.round(double precision, int) RETURNS numeric LANGUAGE sql AS 'SELECT public.trap()';
CREATE FUNCTION public.differs(name, varchar) RETURNS bool LANGUAGE sql AS 'SELECT public.trap() > 0';
CREATE OPERATOR public.+ (LEFTARG = numeric, RIGHTARG = bigint, FUNCTION = public.add);
CREATE OPERATOR public.> (LEFTARG = numeric, RIGHTARG = int, FUNCTION = public.less);
CREATE OPERATOR public.< (LEFTARG = bigint, RIGHTARG = numeric, FUNCTION = public.less);
CREATE OPERATOR public.= (LEFTARG = name, RIGHTARG = varchar, FUNCTION = public.differs);
"""


def test_functions_and_operators_of_users_are_not_run(scribe: Scribe, cluster: Cluster) -> None:
    cluster.psql(TRAPS + "CREATE TABLE t (a int); SELECT lo_create(4711);", scribe.dbname)
    scribe.run("scribe-init")
    scribe.start_stream()
    cluster.psql("SELECT lo_put(4711, 0, 'x'); INSERT INTO t VALUES (1)", scribe.dbname)
    scribe.run("scribe-rotate", "--record")
    for program in ("scribe-dump", "scribe-globals", "scribe-meta"):
        scribe.run(program)
    said = scribe.run("scribe-check", check=False)
    assert "could not ask" not in said.stdout and "ran as" not in said.stdout + scribe.log.read_text()
    target = f"{scribe.dbname}_copy"
    scribe.run("scribe-restore", "-d", target)
    try:
        assert cluster.value("SELECT lo_get(4711) = 'x' AND EXISTS (SELECT FROM t)", target)
    finally:
        cluster.dropdb(target)
