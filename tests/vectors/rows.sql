-- Rows and frames: runs of each kind of change, in one transaction and in several, with every form of the replica identity.
CREATE TABLE k (a int, b text, c numeric, PRIMARY KEY (a, b));
INSERT INTO k SELECT i, E'tab\t' || i, i / 2.0 FROM generate_series(1, 12) AS i;
INSERT INTO k SELECT i, CASE i % 4 WHEN 0 THEN 'BEGIN; -- xid' WHEN 1 THEN 'COMMIT; -- end' WHEN 2 THEN '\.' ELSE 'COPY x' END, NULL
    FROM generate_series(21, 32) AS i;
UPDATE k SET c = a WHERE a < 9;
UPDATE k SET c = 1 WHERE a = 1;
UPDATE k SET a = a + 100 WHERE a < 3;
DELETE FROM k WHERE a BETWEEN 3 AND 9;
DELETE FROM k WHERE a = 10;
CREATE TABLE first (t text PRIMARY KEY, n int);
INSERT INTO first SELECT w || i, i FROM unnest(ARRAY['--', 'BEGIN;', 'COMMIT;', 'COPY ', '\.', '']) AS w, generate_series(1, 2) AS i;
CREATE TABLE f (a int, j json, t text);
INSERT INTO f VALUES (1, '{"a": 1}', NULL), (1, '{"a": 1}', NULL), (2, NULL, E'\n');
UPDATE f SET a = 3 WHERE a = 2;
DELETE FROM f WHERE a = 1;
DELETE FROM f;
CREATE TABLE none ();
INSERT INTO none DEFAULT VALUES;
CREATE TABLE g (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a int, b int GENERATED ALWAYS AS (a * 2) STORED);
INSERT INTO g (a) VALUES (1);
INSERT INTO g (a) SELECT i FROM generate_series(1, 10) AS i;
UPDATE g SET a = 5 WHERE id = 1;
BEGIN; INSERT INTO g (a) VALUES (6); UPDATE g SET a = 7 WHERE id = 2; DELETE FROM g WHERE id = 3; TRUNCATE k, f; COMMIT;
TRUNCATE g RESTART IDENTITY CASCADE;
BEGIN; SAVEPOINT s; INSERT INTO g (a) VALUES (8); ROLLBACK TO s; INSERT INTO g (a) VALUES (9); COMMIT;
CREATE TABLE big (id int PRIMARY KEY, t text, n int);
ALTER TABLE big ALTER t SET STORAGE EXTERNAL;
INSERT INTO big VALUES (1, repeat('a', 3000), 1);
UPDATE big SET n = 2;
CREATE TABLE "it's
checked" (id int PRIMARY KEY, until timestamptz CHECK (until > '2000-01-01' AND until < now()));
INSERT INTO "it's
checked" VALUES (1, '2001-01-01'), (2, '2002-01-01');
