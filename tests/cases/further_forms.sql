-- Forms of the correctness list that the other cases leave out.
CREATE EXTENSION cube; CREATE EXTENSION ltree; CREATE EXTENSION isn; CREATE EXTENSION seg;
CREATE TABLE k (id int PRIMARY KEY);
INSERT INTO k SELECT generate_series(1, 20);
CREATE SEQUENCE numbers INCREMENT 3;
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE child (id int PRIMARY KEY, p int REFERENCES parent ON UPDATE CASCADE ON DELETE CASCADE);
INSERT INTO parent SELECT generate_series(1, 4); INSERT INTO child SELECT i, i % 4 + 1 FROM generate_series(1, 12) i;
CREATE TABLE ruled (id int PRIMARY KEY, v text);
CREATE RULE replaced AS ON INSERT TO ruled DO INSTEAD NOTHING;
ALTER TABLE ruled ENABLE REPLICA RULE replaced;
CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE FUNCTION member() RETURNS int LANGUAGE sql AS 'SELECT 1';
-- dropped in one statement with what depends on it and with what is not there
CREATE SCHEMA drops;
SET search_path = drops;
CREATE TABLE p (a int PRIMARY KEY) PARTITION BY LIST (a);
CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1);
CREATE TABLE p2 PARTITION OF p FOR VALUES IN (2);
CREATE TABLE i (a int);
CREATE TABLE j () INHERITS (i);
CREATE VIEW v1 AS SELECT * FROM i;
CREATE VIEW v2 AS SELECT * FROM v1;
CREATE TYPE ty AS (a int);
CREATE TYPE ty2 AS (b ty);
CREATE FUNCTION fa(int) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION fb(int) RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT fa(1); END;
CREATE SCHEMA drops_1;
CREATE SCHEMA drops_2;
CREATE TABLE drops_1.t (a int);
CREATE VIEW drops_2.v AS SELECT * FROM drops_1.t;
CREATE SEQUENCE sq;
CREATE TABLE sqt (a int DEFAULT nextval('sq'));
CREATE MATERIALIZED VIEW mv AS SELECT 1 AS a;
CREATE MATERIALIZED VIEW mv2 AS SELECT * FROM mv;
CREATE INDEX ix ON p (a);
CREATE DOMAIN d1 AS int;
CREATE DOMAIN d2 AS d1;
RESET search_path;
CREATE TABLE marked (id int PRIMARY KEY, v int); CREATE INDEX marked_v ON marked (v); ALTER TABLE marked CLUSTER ON marked_v;
CREATE TABLE marked_twice (id int PRIMARY KEY, v int); CREATE INDEX marked_twice_v ON marked_twice (v);
CREATE TABLE unmarked (id int PRIMARY KEY); ALTER TABLE unmarked CLUSTER ON unmarked_pkey;
-- after init
ALTER TABLE k ADD COLUMN n int DEFAULT nextval('numbers') NOT NULL, ADD COLUMN at timestamp DEFAULT localtimestamp;
ALTER TABLE k ADD COLUMN d date DEFAULT current_date, ADD COLUMN s text DEFAULT session_user || ' ' || clock_timestamp();
CREATE TABLE like_postgis (id int PRIMARY KEY, c cube, l ltree, i isbn13, s seg, lq lquery, ca cube[]);
INSERT INTO like_postgis VALUES (1, '(1,2.5),(-3,1e300)', 'Top.Science.Astronomy', '9780393040029', '1.5 .. 2.50', '*.a|b{1,2}.*', '{"(1),(2)",NULL}'), (2, '()', '', NULL, '<7', NULL, '{}');
UPDATE like_postgis SET c = cube_enlarge(c, 1, 2), s = '~5.00' WHERE id = 1;
CREATE TABLE full_postgis AS TABLE like_postgis;
DELETE FROM full_postgis WHERE id = 2;
ALTER EXTENSION cube ADD FUNCTION member();
ALTER EXTENSION cube DROP FUNCTION member();
UPDATE parent SET id = id + 100 WHERE id > 2;
DELETE FROM parent WHERE id = 1;
INSERT INTO ruled VALUES (1, 'kept');
CREATE TABLE p_def (id int PRIMARY KEY);
INSERT INTO p_def VALUES (7);
ALTER TABLE p ATTACH PARTITION p_def DEFAULT;
INSERT INTO p VALUES (8);
BEGIN; ALTER TABLE p DETACH PARTITION p_def; DROP TABLE p_def; COMMIT;
REINDEX SCHEMA public;
CLUSTER k USING k_pkey;
CLUSTER;
ALTER TABLE k SET WITHOUT CLUSTER;
SELECT setval('numbers', 1000);
CREATE TABLE emptied (id int PRIMARY KEY); INSERT INTO emptied VALUES (1); TRUNCATE ONLY emptied CONTINUE IDENTITY;
SET search_path = drops;
DROP MATERIALIZED VIEW IF EXISTS mv, mv2, nomv CASCADE;
DROP VIEW IF EXISTS v1, v2, nov CASCADE;
DROP TABLE IF EXISTS p, p1, absent;
DROP TABLE IF EXISTS i, j, absent CASCADE;
DROP TYPE IF EXISTS ty, ty2, noty CASCADE;
DROP DOMAIN IF EXISTS d1, d2, nod CASCADE;
DROP FUNCTION IF EXISTS fa(int), fb(int), nofu(int) CASCADE;
DROP SCHEMA IF EXISTS drops_1, drops_2, nos CASCADE;
DROP SEQUENCE IF EXISTS sq, nosq CASCADE;
RESET search_path;
-- what no event trigger tells, by sessions that have not loaded the library
ALTER TABLE marked_twice CLUSTER ON marked_twice_v; ALTER TABLE unmarked SET WITHOUT CLUSTER;
\c -
CLUSTER marked USING marked_pkey;
CLUSTER marked_twice USING marked_twice_pkey;
SELECT current_setting('server_version_num')::int >= 150000 AS modern \gset
\if :modern
CLUSTER p USING p_pkey;
\endif
CLUSTER pg_catalog.pg_index USING pg_index_indexrelid_index;
CLUSTER scribe.ddl_history USING ddl_history_pkey;
