-- CREATE TABLE AS, SELECT INTO: rows are decoded before the command ends. Table first, rows once.
CREATE TABLE src (id int PRIMARY KEY, v varchar(10), n numeric(10,2), c text COLLATE "C");
INSERT INTO src SELECT i, 'v' || i, i / 3.0, 'c' FROM generate_series(1, 50) i;
-- after init
CREATE TABLE cta AS SELECT *, random() AS r, clock_timestamp() AS t FROM src;
SELECT *, random() AS r INTO sel FROM src WHERE id < 10;
CREATE TABLE nodata AS SELECT * FROM src WITH NO DATA;
CREATE TABLE empty AS SELECT * FROM src WHERE false;
CREATE UNLOGGED TABLE unl AS SELECT * FROM src WITH NO DATA;
CREATE TABLE opts WITH (fillfactor = 70, autovacuum_enabled = false) AS SELECT id, v FROM src;
CREATE TABLE "Odd ""name" ("Col 1", "select") AS SELECT id, v FROM src WHERE id = 1;
PREPARE pp(int) AS SELECT id, v, random() r FROM src WHERE id < $1;
CREATE TABLE exe AS EXECUTE pp(5);
CREATE TABLE IF NOT EXISTS exe AS SELECT 1;
DO $$ BEGIN CREATE TABLE in_do AS SELECT i, random() FROM generate_series(1, 15) i; INSERT INTO in_do VALUES (99, 9); END $$;
CREATE FUNCTION make_other() RETURNS int LANGUAGE plpgsql AS $$ BEGIN CREATE TABLE other (x int PRIMARY KEY); INSERT INTO other VALUES (1), (2); RETURN 5; END $$;
CREATE TABLE nested AS SELECT make_other() AS five, i FROM generate_series(1, 1) i;
BEGIN; CREATE TABLE twice AS SELECT 1 AS a; INSERT INTO twice VALUES (2); ALTER TABLE twice ADD COLUMN b text DEFAULT 'x'; UPDATE twice SET b = 'y' WHERE a = 1; COMMIT;
BEGIN; SAVEPOINT s; CREATE TABLE sub AS SELECT g FROM generate_series(1, 5) g; RELEASE s; INSERT INTO sub VALUES (6); COMMIT;
BEGIN; CREATE TABLE rolled AS SELECT 1; ROLLBACK;
UPDATE cta SET v = 'changed' WHERE id = 1;
DELETE FROM sel WHERE id = 2;
-- a key that the same transaction adds
BEGIN;
CREATE TABLE keyed AS SELECT i AS id, 'v' || i AS v FROM generate_series(1, 30) i;
ALTER TABLE keyed ADD PRIMARY KEY (id);
CREATE INDEX ON keyed (v);
UPDATE keyed SET v = 'changed' WHERE id = 3;
COMMIT;
BEGIN;
SELECT 1 AS a, 'x' AS b INTO into_keyed;
ALTER TABLE into_keyed ADD CONSTRAINT k UNIQUE (a), ALTER COLUMN b SET DEFAULT 'y';
COMMIT;
-- exchanged for another, as loaders do: what was made so may go, and its name with it
CREATE TABLE report AS SELECT id, v FROM src;
CREATE TABLE again AS SELECT id FROM src;
SELECT id INTO into_again FROM src;
CREATE TABLE no_rows AS SELECT id FROM src WITH NO DATA;
BEGIN; CREATE TABLE report_new AS SELECT id, n FROM src; DROP TABLE report; ALTER TABLE report_new RENAME TO report; COMMIT;
BEGIN; DROP TABLE again; CREATE TABLE again (z int PRIMARY KEY); INSERT INTO again VALUES (1); COMMIT;
BEGIN; DROP TABLE into_again, no_rows; CREATE VIEW into_again AS SELECT 1 AS one; CREATE TABLE no_rows AS SELECT 'r' AS r; COMMIT;
BEGIN; ALTER TABLE report RENAME TO report_old; CREATE TABLE report AS SELECT 1 AS a; DROP TABLE report_old; COMMIT;
BEGIN; CREATE TABLE passing AS SELECT 1 AS a; DROP TABLE passing; CREATE TABLE passing (b int PRIMARY KEY); COMMIT;
CREATE SCHEMA stage;
CREATE TABLE stage.t AS SELECT id FROM src;
BEGIN; DROP SCHEMA stage CASCADE; CREATE SCHEMA stage; CREATE TABLE stage.t (other int PRIMARY KEY); INSERT INTO stage.t VALUES (5); COMMIT;
CREATE TABLE stage.moved AS SELECT id FROM src;
BEGIN; DROP TABLE cta; ALTER TABLE stage.moved SET SCHEMA public; ALTER TABLE moved RENAME TO cta; COMMIT;
