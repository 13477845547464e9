-- Permanent objects that use temporary ones: what is left of them when the session ends, without an event trigger.
CREATE TABLE before (a int PRIMARY KEY);
-- after init
CREATE TEMP TABLE tt (a int);
CREATE TEMP SEQUENCE ts;
CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION pg_temp.v() RETURNS double precision VOLATILE LANGUAGE sql AS 'SELECT random()';
CREATE FUNCTION pg_temp.fi(int) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT $1 > 0';
CREATE TYPE pg_temp.mood AS ENUM ('a', 'b');
CREATE DOMAIN pg_temp.dom AS int CHECK (VALUE > 0);
CREATE TABLE p1 (a int PRIMARY KEY, b int DEFAULT pg_temp.f(), c text COLLATE "C" NOT NULL DEFAULT 'x');
INSERT INTO p1 (a) VALUES (1);
CREATE TABLE p2 (a int PRIMARY KEY, b int CHECK (pg_temp.fi(b)), CHECK (a > 0));
INSERT INTO p2 VALUES (1, 1);
CREATE TABLE p3 (a int PRIMARY KEY, m pg_temp.mood, d pg_temp.dom);
INSERT INTO p3 VALUES (1, 'a', 1);
CREATE TABLE keyless (a int, m pg_temp.mood[]);
INSERT INTO keyless VALUES (1, '{a}'), (2, NULL);
UPDATE keyless SET a = a + 1;
DELETE FROM keyless WHERE a = 3;
CREATE TABLE p4 (a int PRIMARY KEY, b int DEFAULT nextval('ts'));
INSERT INTO p4 (a) VALUES (1);
CREATE TABLE p5 (a int PRIMARY KEY, b int);
INSERT INTO p5 VALUES (1, 1);
CREATE INDEX p5_i ON p5 (pg_temp.fi(b));
ALTER TABLE p5 ADD c int DEFAULT pg_temp.f();
ALTER TABLE p5 ADD d double precision NOT NULL DEFAULT pg_temp.v();
ALTER TABLE p5 ALTER b SET DEFAULT pg_temp.f();
ALTER TABLE p5 ADD CHECK (pg_temp.fi(b));
CREATE POLICY pol ON p5 USING (pg_temp.fi(b));
CREATE DOMAIN pdom AS int DEFAULT 3 CHECK (pg_temp.fi(VALUE)) CHECK (VALUE < 10);
CREATE TABLE pd (v pdom);
INSERT INTO pd VALUES (1), (DEFAULT);
CREATE VIEW pv AS SELECT pg_temp.f() AS a;
CREATE VIEW pv2 AS SELECT a FROM pv;
COMMENT ON VIEW pv IS 'gone with the session';
CREATE FUNCTION takes(pg_temp.mood) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION def(int DEFAULT pg_temp.f()) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION def2() RETURNS int LANGUAGE sql AS 'SELECT def(1)';
COMMENT ON FUNCTION takes(pg_temp.mood) IS 'gone with the session';
DROP FUNCTION def(int);
CREATE RULE r AS ON INSERT TO before WHERE pg_temp.fi(new.a) DO ALSO SELECT 1;
CREATE FUNCTION pg_temp.trg() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER t BEFORE INSERT ON p1 FOR EACH ROW EXECUTE FUNCTION pg_temp.trg();
CREATE TRIGGER t2 BEFORE INSERT ON p5 FOR EACH ROW WHEN (pg_temp.fi(new.b)) EXECUTE FUNCTION suppress_redundant_updates_trigger();
CREATE AGGREGATE agg(int) (SFUNC = int4pl, STYPE = int);
CREATE FUNCTION pg_temp.sf(int, int) RETURNS int LANGUAGE sql AS 'SELECT $1';
CREATE AGGREGATE agg2(int) (SFUNC = pg_temp.sf, STYPE = int);
CREATE OPERATOR ### (LEFTARG = int, RIGHTARG = int, FUNCTION = pg_temp.sf);
CREATE CAST (pg_temp.mood AS int) WITH FUNCTION takes(pg_temp.mood);
CREATE TABLE pgen (a int PRIMARY KEY, b boolean GENERATED ALWAYS AS (pg_temp.fi(a)) STORED);
INSERT INTO pgen VALUES (1);
-- 19 refuses it
SELECT current_setting('server_version_num')::int < 190000 AS older \gset
\if :older
CREATE MATERIALIZED VIEW pm AS SELECT pg_temp.f() AS a;
REFRESH MATERIALIZED VIEW pm;
\endif
ALTER TABLE before ADD m pg_temp.mood;
INSERT INTO before VALUES (1, 'a');
UPDATE before SET m = 'b';
CREATE PROCEDURE proc(INOUT a pg_temp.mood) LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION p(int DEFAULT pg_temp.f()) RETURNS int LANGUAGE sql AS 'SELECT 1';
GRANT SELECT ON p1 TO PUBLIC;
-- what uses a column that no copy has
CREATE TABLE p6 (a int PRIMARY KEY, m pg_temp.mood UNIQUE, d pg_temp.dom REFERENCES before, CHECK (m <> 'b' OR a > 0),
    EXCLUDE USING btree (d WITH =), g int GENERATED ALWAYS AS (d + 1) STORED);
INSERT INTO p6 VALUES (1, 'a', 1);
CREATE INDEX p6_m ON p6 (a, m);
CREATE STATISTICS p6_s ON a, d FROM p6;
CREATE POLICY pol ON p6 USING (d > 1);
CREATE RULE r AS ON DELETE TO p6 WHERE old.d > 9 DO ALSO SELECT 1;
CREATE TRIGGER t BEFORE UPDATE OF d ON p6 FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();
GRANT SELECT (d) ON p6 TO PUBLIC;
CREATE TABLE "p""7" (m pg_temp.mood PRIMARY KEY, a int);
GRANT SELECT (m) ON "p""7" TO PUBLIC;
CREATE FUNCTION "takes "" too"(pg_temp.mood) RETURNS int LANGUAGE sql AS 'SELECT 1';
GRANT EXECUTE ON FUNCTION "takes "" too" TO PUBLIC;
-- values that name something temporary
CREATE TABLE names (a int PRIMARY KEY, c regclass, p regproc, t regtype, ca regclass[]);
INSERT INTO names (a, c) VALUES (1, 'tt'), (2, 'names'), (3, 0), (4, 99999);
INSERT INTO names (a, p, t) VALUES (5, 'pg_temp.f', 'tt'), (6, 'now', 'pg_temp.dom');
INSERT INTO names (a, ca) VALUES (7, ARRAY['tt'::regclass, 'names', NULL]);
CREATE TABLE keyless_names (c regclass, ca regclass[]);
INSERT INTO keyless_names VALUES ('tt', NULL), ('names', ARRAY['tt'::regclass]);
UPDATE keyless_names SET c = 'names' WHERE ca IS NULL;
DELETE FROM keyless_names WHERE ca IS NOT NULL;
INSERT INTO keyless_names VALUES ('tt', '[2:3]={tt,names}');
DISCARD TEMP;
INSERT INTO p1 (a) VALUES (2);
INSERT INTO p3 VALUES (2);
INSERT INTO p4 VALUES (2);
INSERT INTO p5 VALUES (2, 2, 3, 4);
INSERT INTO before VALUES (2);
INSERT INTO pgen VALUES (2);
INSERT INTO p6 VALUES (2);
INSERT INTO "p""7" VALUES (2);
CREATE VIEW pv AS SELECT 2 AS a;
