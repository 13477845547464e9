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
DROP EXTENSION pg_repack;
CREATE EXTENSION pg_repack;
