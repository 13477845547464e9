-- Values older than the constraint of their domain, and values of types that read none.
CREATE DOMAIN small AS int;
CREATE TABLE t (v small, w int);
INSERT INTO t VALUES (100, 1), (200, 2);
-- after init
ALTER DOMAIN small ADD CHECK (VALUE < 50) NOT VALID;
UPDATE t SET w = 3 WHERE v = 100;
UPDATE t SET v = 7 WHERE v = 200;
DELETE FROM t WHERE v = 100;
CREATE TABLE classes AS SELECT relname, CASE WHEN false THEN relpartbound END AS bound FROM pg_class WHERE relname = 't';
ALTER TABLE classes ADD PRIMARY KEY (relname);
UPDATE classes SET relname = 'u';
