-- Table rewrites, temporary and unlogged tables: nothing bogus in the stream.
CREATE TABLE t (id int PRIMARY KEY, v text);
INSERT INTO t SELECT i, 'v' FROM generate_series(1, 100) i;
CREATE TABLE gone (x int);
-- after init
CREATE TEMP TABLE tmp (id int PRIMARY KEY, v text);
INSERT INTO tmp VALUES (1, 'x');
CREATE INDEX ON tmp (v);
ALTER TABLE tmp ADD COLUMN w int DEFAULT 3;
COMMENT ON TABLE tmp IS 'temporary';
GRANT SELECT ON tmp TO PUBLIC;
CREATE TEMP VIEW tmpv AS SELECT * FROM tmp;
CREATE TEMP SEQUENCE tmps;
CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE TABLE from_tmp AS SELECT * FROM tmp;
CREATE TEMP TABLE tmp2 ON COMMIT DROP AS SELECT * FROM t;
CREATE TEMP TABLE tmp3 AS SELECT * FROM t;
DROP TABLE tmp3, gone;
DROP VIEW tmpv;
ALTER TABLE t ALTER COLUMN id TYPE bigint;
UPDATE t SET v = 'after' WHERE id < 10;
VACUUM FULL t;
CLUSTER t USING t_pkey;
REINDEX TABLE t;
CREATE UNLOGGED TABLE u (id int PRIMARY KEY, v text);
INSERT INTO t SELECT i, 'late' FROM generate_series(1000, 1010) i;
ALTER TABLE t ADD COLUMN n numeric;
UPDATE t SET n = id / 7.0 WHERE id > 90;
