-- Row changes: frames, single statements, runs.
\set VERBOSITY terse
\pset format unaligned
\pset tuples_only on
SELECT 'slot' FROM pg_create_logical_replication_slot('rows', 'scribe_decoder');
CREATE VIEW stream AS SELECT data FROM pg_logical_slot_get_changes('rows', NULL, NULL, 'include-position', 'off');

CREATE TABLE users (id int PRIMARY KEY, name text, n int);
SELECT * FROM stream;

-- one of each
INSERT INTO users VALUES (1, 'Alice', 1);
UPDATE users SET name = 'Alice Smith' WHERE id = 1;
UPDATE users SET id = 2;
DELETE FROM users WHERE id = 2;
SELECT * FROM stream;

-- nothing is written of nothing
BEGIN;
UPDATE users SET n = 1 WHERE false;
COMMIT;
BEGIN;
INSERT INTO users VALUES (9, 'no', 0);
ROLLBACK;
SELECT * FROM stream;

-- runs: VALUES, then COPY; joins; lists
INSERT INTO users SELECT g, 'name', g FROM generate_series(1, 3) g;
INSERT INTO users SELECT g, 'name', g FROM generate_series(4, 14) g;
UPDATE users SET n = -n WHERE id < 4;
DELETE FROM users WHERE id > 3;
SELECT * FROM stream;

-- a row changed twice begins a new statement
BEGIN;
UPDATE users SET n = 1;
UPDATE users SET n = 2 WHERE id = 1;
COMMIT;
SELECT * FROM stream;

-- another unique index forbids runs: the order of rows could matter
UPDATE users SET n = id;
SELECT count(*) FROM stream;
CREATE UNIQUE INDEX users_n ON users (n);
UPDATE users SET n = id + 10;
SELECT * FROM stream;

-- a key of two columns
CREATE TABLE two (a int, b text, c text, PRIMARY KEY (b, a));
INSERT INTO two VALUES (1, 'x', 'c'), (2, 'y', NULL), (3, 'z', 'c');
UPDATE two SET c = 'd' WHERE a < 3;
UPDATE two SET c = 'e' WHERE a = 3;
DELETE FROM two WHERE a < 3;
DELETE FROM two WHERE a = 3;
SELECT * FROM stream;

-- COPY data that would look like a frame
CREATE TABLE texts (t text);
INSERT INTO texts SELECT t FROM generate_series(1, 8), unnest('{x}'::text[]) t
	UNION ALL SELECT t FROM unnest(ARRAY['BEGIN; -- xid', 'COMMIT; -- end', 'COPY x', '-- rows', '\.', E'a\tb\nc\x01', '', NULL]) t;
SELECT * FROM stream;

-- TRUNCATE
CREATE TABLE part (a int) PARTITION BY LIST (a);
CREATE TABLE part1 PARTITION OF part FOR VALUES IN (1);
CREATE TABLE parent (a int);
CREATE TABLE child () INHERITS (parent);
TRUNCATE part, ONLY parent, users RESTART IDENTITY CASCADE;
SELECT * FROM stream;

-- inheritance
INSERT INTO parent VALUES (1);
ALTER TABLE parent REPLICA IDENTITY FULL;
DELETE FROM ONLY parent;
SELECT * FROM stream;

-- marks; anything else in messages is ignored
SELECT 'mark' FROM pg_logical_emit_message(true, 'scribe.mark', 'release-1.2');
SELECT 'mark' FROM pg_logical_emit_message(true, 'scribe.mark', E'x\nCOMMIT;');
SELECT 'mark' FROM pg_logical_emit_message(true, 'scribe.ddl', 'DROP TABLE users');
SELECT * FROM stream;

SELECT data FROM pg_logical_slot_get_changes('rows', NULL, NULL, 'nonsense', 'on');
SELECT data FROM pg_logical_slot_get_changes('rows', NULL, NULL, 'include-position', 'maybe');
SELECT 'dropped' FROM pg_drop_replication_slot('rows');
DROP VIEW stream;
DROP TABLE users, two, texts, part, parent, child;
