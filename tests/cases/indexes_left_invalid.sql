-- CREATE INDEX CONCURRENTLY that failed leaves an invalid index, which nothing but this source knows.
CREATE TABLE t (id int PRIMARY KEY, v int);
INSERT INTO t VALUES (1, 5), (2, 5), (3, 0);
CREATE TABLE parted (id int, v int) PARTITION BY RANGE (id);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (10);
CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (10) TO (20);
INSERT INTO parted VALUES (1, 0), (11, 1);
-- after init
\set ON_ERROR_STOP off
CREATE UNIQUE INDEX CONCURRENTLY dropped ON t (v);
CREATE UNIQUE INDEX CONCURRENTLY mended ON t (v, (1 / v));
CREATE INDEX CONCURRENTLY parted_1_v ON parted_1 ((1 / v));
\set ON_ERROR_STOP on
DROP INDEX dropped;
CREATE INDEX parted_v ON parted ((1 / v));
UPDATE t SET v = id WHERE true;
REINDEX INDEX CONCURRENTLY mended;
UPDATE parted SET v = 1;
REINDEX TABLE t;
REINDEX TABLE parted;
REINDEX SCHEMA public;
