-- Found by tests/fuzz: an index that CREATE INDEX CONCURRENTLY left invalid, renamed, commented on, used as a replica
-- identity (PostgreSQL 17), and made valid by a command that is not about indexes.
CREATE TABLE t (id int PRIMARY KEY, v int);
INSERT INTO t VALUES (1, 5), (2, 5);
CREATE TABLE u (id int PRIMARY KEY, v int);
INSERT INTO u VALUES (1, 5), (2, 5);
CREATE TABLE w (id int NOT NULL UNIQUE, v int NOT NULL);
INSERT INTO w VALUES (1, 5), (2, 5);
CREATE INDEX before_init ON w (v);
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
ALTER INDEX by_truncate RENAME TO by_truncate_too;
CREATE INDEX by_retyping ON u (v);
ALTER TABLE u ALTER v TYPE text USING v || 'x';
ALTER INDEX by_retyping RENAME TO retyped;
COMMENT ON INDEX retyped IS 'one of two';
CREATE TABLE x (id int PRIMARY KEY, v int);
INSERT INTO x VALUES (1, 5), (2, 5);
\set ON_ERROR_STOP off
CREATE UNIQUE INDEX CONCURRENTLY by_cluster ON x (v);
\set ON_ERROR_STOP on
UPDATE x SET v = id;
VACUUM FULL x;
CREATE TABLE likes (LIKE x INCLUDING ALL);
\set ON_ERROR_STOP off
CREATE UNIQUE INDEX CONCURRENTLY as_identity ON w (v);
ALTER TABLE w REPLICA IDENTITY USING INDEX as_identity;
\set ON_ERROR_STOP on
UPDATE w SET v = v + 1 WHERE id = 2;
