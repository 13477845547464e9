-- Values older than the constraint of their domain, and values of types that read none.
CREATE DOMAIN small AS int;
CREATE TABLE t (v small, w int);
INSERT INTO t VALUES (100, 1), (200, 2);
CREATE DOMAIN few AS text COLLATE "C";
CREATE DOMAIN fewer AS few;
CREATE TABLE k (id int PRIMARY KEY, v small, f fewer, w int);
INSERT INTO k SELECT i, i * 30, NULLIF('v' || i, 'v3'), 0 FROM generate_series(1, 6) i;
-- after init
ALTER DOMAIN small ADD CHECK (VALUE < 50) NOT VALID;
ALTER DOMAIN few ADD CHECK (VALUE ~ 'w' AND VALUE IS NOT NULL) NOT VALID;
UPDATE k SET w = w + 1;
UPDATE k SET v = 1, f = 'wide' WHERE id = 2;
UPDATE k SET id = 30, w = 7 WHERE id = 3;
UPDATE t SET w = 3 WHERE v = 100;
UPDATE t SET v = 7 WHERE v = 200;
DELETE FROM t WHERE v = 100;
CREATE TABLE classes AS SELECT relname, CASE WHEN false THEN relpartbound END AS bound FROM pg_class WHERE relname = 't';
ALTER TABLE classes ADD PRIMARY KEY (relname);
UPDATE classes SET relname = 'u';
