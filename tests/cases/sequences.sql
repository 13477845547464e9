-- Sequences, also not owned by a column; cycles; descending.
CREATE SEQUENCE plain;
CREATE SEQUENCE down INCREMENT -1;
CREATE SEQUENCE "Odd ""seq" START 5;
CREATE SEQUENCE cyc MAXVALUE 3 CYCLE;
CREATE SEQUENCE dropped; CREATE SEQUENCE renamed;
CREATE SEQUENCE never_called START 7;
CREATE TABLE t (id serial PRIMARY KEY, v int);
-- after init
SELECT nextval('plain') FROM generate_series(1, 33);
SELECT nextval('down') FROM generate_series(1, 3);
SELECT nextval('"Odd ""seq"');
SELECT nextval('cyc') FROM generate_series(1, 5);
SELECT setval('plain', 5, false);
INSERT INTO t (v) SELECT 1 FROM generate_series(1, 50);
DROP SEQUENCE dropped;
ALTER SEQUENCE renamed RENAME TO renamed2;
SELECT nextval('renamed2');
CREATE SEQUENCE late AS smallint INCREMENT 7;
SELECT nextval('late') FROM generate_series(1, 9);
ALTER SEQUENCE late RESTART 3;
ALTER SEQUENCE plain MAXVALUE 1000;
