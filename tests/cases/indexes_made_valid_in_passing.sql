-- Found by tests/fuzz: an index that CREATE INDEX CONCURRENTLY left invalid, renamed, commented on, and made valid by a
-- command that is not about indexes.
CREATE TABLE t (id int PRIMARY KEY, v int);
INSERT INTO t VALUES (1, 5), (2, 5);
CREATE TABLE u (id int PRIMARY KEY, v int);
INSERT INTO u VALUES (1, 5), (2, 5);
-- after init
\set ON_ERROR_STOP off
CREATE UNIQUE INDEX CONCURRENTLY by_alter ON t (v);
CREATE UNIQUE INDEX CONCURRENTLY by_truncate ON u (v);
\set ON_ERROR_STOP on
ALTER INDEX by_alter RENAME TO by_alter_table;
COMMENT ON INDEX by_truncate IS 'made by truncate';
UPDATE t SET v = id;
ALTER TABLE t ALTER v TYPE text USING v || 'x';
TRUNCATE u;
INSERT INTO u VALUES (3, 3);
