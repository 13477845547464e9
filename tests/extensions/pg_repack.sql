-- extension: pg_repack
CREATE EXTENSION pg_repack;
CREATE TABLE keyed (id int PRIMARY KEY, v text);
INSERT INTO keyed SELECT n, repeat('x', 50) FROM generate_series(1, 200) AS n;
CREATE INDEX ON keyed (v);
-- after init
DELETE FROM keyed WHERE id % 3 = 0;
\! pg_repack -d shop -t keyed
UPDATE keyed SET v = 'packed' WHERE id < 9;
CREATE TABLE later (id int PRIMARY KEY, v text);
INSERT INTO later SELECT * FROM keyed;
\! pg_repack -d shop -t later
DELETE FROM later WHERE id % 2 = 0;
CREATE TABLE busy (id int PRIMARY KEY, v text, n int DEFAULT 0);
INSERT INTO busy SELECT n, repeat('y', 100) FROM generate_series(1, 3000) AS n;
CREATE TABLE work AS SELECT 0 AS id;
\! work=$(mktemp); (echo '\set i random(1, 3000)'; echo 'UPDATE busy SET n = n + 1 WHERE id = :i; DELETE FROM busy WHERE id = :i + 1 AND n > 1; INSERT INTO work VALUES (:i);') >"$work"; pgbench -n -c 2 -t 400 -f "$work" shop >"$work.log" 2>&1 & for i in 1 2 3; do pg_repack -d shop -t busy; done; wait; rm "$work" "$work.log"
DELETE FROM busy WHERE id % 5 = 0;
DROP EXTENSION pg_repack;
CREATE EXTENSION pg_repack;
