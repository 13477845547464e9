SELECT scribe.run('ALTER TABLE', 'ALTER TABLE t ADD COLUMN email text DEFAULT ''x''');
INSERT INTO t VALUES (1, 'a', 'b'), (2, 'c', 'd');
BEGIN;
UPDATE t SET v = 'z';
SELECT scribe.run('ALTER TABLE', 'ALTER TABLE t RENAME COLUMN email TO mail');
UPDATE t SET mail = 'm';
SELECT scribe.run('ALTER TABLE', 'ALTER TABLE t DROP COLUMN v, ADD COLUMN n int', relid => 't');
UPDATE t SET n = 1 WHERE id = 1;
INSERT INTO t VALUES (3, 'x', 3);
SELECT scribe.run('ALTER TABLE', 'ALTER TABLE t RENAME TO "T 2"');
DELETE FROM "T 2" WHERE id = 2;
INSERT INTO "T 2" VALUES (4, 'x', 3);
COMMIT;
BEGIN;
SELECT scribe.run('ALTER TABLE', 'ALTER TABLE "T 2" DROP mail');
ROLLBACK;
SELECT scribe.run('ALTER SCHEMA', 'ALTER SCHEMA alice RENAME TO "Alice"');
SELECT scribe.run('CREATE TABLE', 'CREATE TABLE t (id serial PRIMARY KEY, v text) -- a comment', relid => 'alice.t', path => '"Alice", public', role => 'alice b');
INSERT INTO "Alice".t (v) VALUES ('x');
SELECT scribe.run('ALTER SCHEMA', 'ALTER SCHEMA "Alice" RENAME TO alice');
INSERT INTO alice.t (v) VALUES ('y');
INSERT INTO moods VALUES ('a', '{b}'), ('b', '{a}');
SELECT scribe.run('ALTER TYPE', 'ALTER TYPE mood RENAME TO "new mood"');
UPDATE moods SET v = '{b,a}';
DELETE FROM moods WHERE id = 'b';

-- texts
SELECT scribe.run('CREATE FUNCTION', 'CREATE FUNCTION f1() RETURNS text LANGUAGE sql AS ' || quote_literal(E'SELECT 1;\nSELECT \'x\';\n-- rows\n\\! touch /tmp/x\n'), settings => '{check_function_bodies,off}');
SELECT scribe.run('CREATE FUNCTION', E'CREATE FUNCTION f2() RETURNS text LANGUAGE plpgsql AS $$\nBEGIN\n\tRETURN \'it; \\ \';\nEND\n$$');
SELECT scribe.run('CREATE FUNCTION', E'CREATE FUNCTION f3() RETURNS text LANGUAGE plpgsql AS $scribe$\nBEGIN; -- xid 1\nCOMMIT; -- end 0/0\nBEGIN END\n$scribe$', settings => '{check_function_bodies,off}');
SELECT scribe.run('CREATE FUNCTION', E'CREATE FUNCTION f4(a int) RETURNS int[] LANGUAGE sql AS $$ SELECT (array[1,2])[1:a] $$');
SELECT scribe.run('CREATE FUNCTION', $x$CREATE FUNCTION f5() RETURNS text LANGUAGE sql AS E'SELECT ''\x41;\\''::text'$x$);
-- 19 knows no other strings than standard ones
SELECT current_setting('server_version_num')::int < 190000 AS older \gset
\if :older
SELECT scribe.run('CREATE FUNCTION', $x$CREATE FUNCTION f6() RETURNS text LANGUAGE sql AS 'SELECT ''\\x;\'\';'$x$, settings => '{standard_conforming_strings,off,escape_string_warning,off,check_function_bodies,off}');
\endif
SELECT scribe.run('CREATE FUNCTION', $x$CREATE FUNCTION f7() RETURNS text LANGUAGE sql AS E'SELECT ''a'
	'\';'$x$, settings => '{check_function_bodies,off}');
SELECT scribe.run('CREATE FUNCTION', E'CREATE FUNCTION f8() RETURNS text LANGUAGE sql AS $$\r\nSELECT \'a\'$$');
SELECT scribe.run('CREATE FUNCTION', E'CREATE FUNCTION f9() RETURNS text LANGUAGE plpgsql AS $$\nBEGIN\n\tSET LOCAL x.y = \'\';\n\tRESET ROLE;\nRETURN 1\n;\nEND$$');
SELECT current_setting('server_version_num')::int >= 140000 AS atomic \gset
\if :atomic
SELECT scribe.run('CREATE FUNCTION', E'CREATE FUNCTION f10() RETURNS int LANGUAGE sql BEGIN ATOMIC\n\tSELECT 1;\n\tSELECT 2;\nEND');
\endif
SELECT scribe.run('CREATE RULE', 'CREATE RULE r AS ON INSERT TO nopk WHERE new.a = 99 DO INSTEAD (DELETE FROM nopk WHERE a = 98; DELETE FROM nopk WHERE a = 97)');
SELECT scribe.run('CREATE VIEW', 'CREATE VIEW v AS SELECT 1::int AS "a:b", ''x'' AS y /* nested /* comment */ */');
SELECT scribe.run('COMMENT', $$COMMENT ON VIEW v IS 'say ''hello'' \ "world" :x'$$);
SELECT scribe.run('CREATE TABLE', 'CREATE TABLE dates (a date DEFAULT ''03/02/2001'')', settings => '{datestyle,"SQL, DMY",timezone,Asia/Kolkata}', relid => 'dates');
SELECT scribe.run('CREATE TABLE', 'CREATE TABLE inpath (a int)', path => '"",  nosuch, public', relid => 'inpath');
SELECT scribe.run('CREATE TABLE', 'CREATE TABLE public.nopath (a int)', path => '', relid => 'nopath');

-- barred from transaction blocks
CREATE INDEX CONCURRENTLY "concurrently" ON nopk (a);
SELECT scribe.note('ddl', 'CREATE INDEX', 'CREATE INDEX /* CONCURRENTLY */ concurrently "concurrently" ON nopk (a)');
DROP INDEX CONCURRENTLY "concurrently";
SELECT scribe.note('ddl', 'DROP INDEX', 'DROP INDEX CONCURRENTLY "concurrently"');
SELECT current_setting('server_version_num')::int >= 140000 AS reindex \gset
\if :reindex
SELECT scribe.note('ddl', 'REINDEX', 'REINDEX (VERBOSE off, CONCURRENTLY) TABLE big');
\endif

-- tables made from queries
BEGIN;
CREATE TABLE ctas WITH (fillfactor = 70, toast.autovacuum_enabled = off) AS
	SELECT g AS id, ('v' || g)::varchar(7) AS v, 'x'::char(3) AS "C d", 'y' COLLATE "C" AS y, 1.5::numeric(5,2) AS n,
		'a'::"new mood" AS m, ARRAY['1 s'::interval(3)] AS i
	FROM generate_series(1, 20) g;
SELECT scribe.note('create', 'CREATE TABLE AS', 'CREATE TABLE ...', 'ctas'::regclass);
SELECT scribe.run('ALTER TABLE', 'ALTER TABLE ctas ADD PRIMARY KEY (id)');
UPDATE ctas SET v = 'u' WHERE id = 2;
COMMIT;
BEGIN;
CREATE UNLOGGED TABLE ctas2 AS SELECT 1 AS a;
SELECT scribe.note('create', 'CREATE TABLE AS', 'CREATE TABLE ...', 'ctas2'::regclass);
COMMIT;
BEGIN;
SET LOCAL ROLE "alice b";
CREATE TABLE ctas3 AS SELECT 1 AS a WITH NO DATA;
RESET ROLE;
SELECT scribe.note('create', 'CREATE TABLE AS', 'CREATE TABLE ...', 'ctas3'::regclass);
COMMIT;
TRUNCATE ctas2;
BEGIN;
SAVEPOINT s;
SELECT 1 AS a, repeat('x', 100000) AS b INTO ctas4;
SELECT scribe.note('create', 'SELECT INTO', 'SELECT ...', 'ctas4'::regclass);
RELEASE s;
COMMIT;
BEGIN;
SELECT scribe.run('CREATE TABLE', 'CREATE TABLE made (a int PRIMARY KEY, b int GENERATED ALWAYS AS (a + 1) STORED)', relid => 'made');
INSERT INTO made VALUES (1), (2);
COMMIT;

-- materialized views, temporary tables and rewrites leave no rows
BEGIN;
CREATE MATERIALIZED VIEW mv2 AS SELECT * FROM big;
SELECT scribe.note('ddl', 'CREATE MATERIALIZED VIEW', 'CREATE MATERIALIZED VIEW mv2 AS SELECT * FROM big', 'mv2'::regclass);
COMMIT;
REFRESH MATERIALIZED VIEW mv;
CREATE TEMP TABLE temporary AS SELECT 1;
SELECT scribe.run('ALTER TABLE', 'ALTER TABLE ctas ALTER id TYPE bigint');
INSERT INTO scribe.other VALUES (1);

-- triggers that fire on replay
BEGIN;
INSERT INTO trig VALUES (1, 'a');
SELECT scribe.run('ALTER TABLE', 'ALTER TABLE trig ADD COLUMN n int');
UPDATE trig SET n = 1;
SELECT scribe.run('ALTER TABLE', 'ALTER TABLE trig RENAME COLUMN n TO m');
COMMIT;

-- rows sent again
BEGIN;
SELECT scribe.run('ALTER TABLE', 'ALTER TABLE big ADD COLUMN r float8 DEFAULT random()', relid => 'big');
ALTER TABLE big REPLICA IDENTITY FULL;
SELECT scribe.note('refill', 'ALTER TABLE', NULL, 'big'::regclass);
UPDATE big SET id = id;
SELECT scribe.note('refilled', 'ALTER TABLE', NULL, 'big'::regclass);
ALTER TABLE big REPLICA IDENTITY DEFAULT;
UPDATE big SET r = 0 WHERE id = 7;
COMMIT;
BEGIN;
SELECT scribe.run('ALTER TABLE', 'ALTER TABLE trig ADD COLUMN t timestamptz DEFAULT now()', relid => 'trig');
SELECT scribe.note('fill', 'UPDATE', format('UPDATE ONLY public.trig SET t = %L', now()), 'trig'::regclass);
COMMIT;

-- extension scripts
BEGIN;
SELECT scribe.note('script', 'CREATE EXTENSION');
SELECT scribe.note('scripted', 'CREATE EXTENSION');
SELECT scribe.run('CREATE EXTENSION', 'CREATE EXTENSION hstore');
COMMIT;

-- foreign event triggers
CREATE EVENT TRIGGER "Watch" ON ddl_command_end EXECUTE FUNCTION watch();
ALTER EVENT TRIGGER "Watch" ENABLE REPLICA;
SELECT scribe.note('ddl', 'CREATE EVENT TRIGGER', 'CREATE EVENT TRIGGER "Watch" ON ddl_command_end EXECUTE FUNCTION watch()');
SELECT scribe.note('ddl', 'ALTER EVENT TRIGGER', 'ALTER EVENT TRIGGER "Watch" ENABLE REPLICA');
SELECT scribe.run('CREATE TABLE', 'CREATE TABLE watched (a int)', relid => 'watched', quiet => '{Watch}');
SELECT scribe.note('ddl', 'DROP EVENT TRIGGER', 'DROP EVENT TRIGGER "Watch"');
DROP EVENT TRIGGER "Watch";

-- partitions
SELECT scribe.run('CREATE TABLE', 'CREATE TABLE pt (a int, b text, PRIMARY KEY (a)) PARTITION BY RANGE (a)', relid => 'pt');
BEGIN;
SELECT scribe.run('CREATE TABLE', 'CREATE TABLE pt1 PARTITION OF pt FOR VALUES FROM (0) TO (10)', relid => 'pt1');
INSERT INTO pt SELECT g, 'x' FROM generate_series(0, 9) g;
SELECT scribe.run('ALTER TABLE', 'ALTER TABLE pt DETACH PARTITION pt1', relid => 'pt');
UPDATE pt1 SET b = 'y';
COMMIT;
SELECT scribe.run('DROP TABLE', 'DROP TABLE pt');

-- no identity: nothing crashes, nothing is silent
INSERT INTO nopk VALUES (2, 'y');
BEGIN;
UPDATE nopk SET b = b;
DELETE FROM nopk WHERE a = 3;
COMMIT;
INSERT INTO lost VALUES (1, 'a'), (2, 'b');
SELECT scribe.run('ALTER TABLE', 'ALTER TABLE lost DROP CONSTRAINT lost_pkey');
UPDATE lost SET b = b;
SELECT scribe.note('nonsense', 'X');
SELECT scribe.note('ddl', 'X', NULL);
INSERT INTO scribe.ddl_history (kind, tag, statement, exact, reason, search_path) VALUES
	('ddl', 'COMMENT', 'COMMENT ON TABLE public.lost IS NULL', false, E'because\nCOMMIT; -- end', 'public');
