-- extension: pgaudit pg_stat_statements
-- preload: pgaudit pg_stat_statements auto_explain
-- set: pgaudit.log = ddl
CREATE TABLE keyed (id int PRIMARY KEY, v text);
INSERT INTO keyed VALUES (1, 'a');
-- after init
CREATE EXTENSION pgaudit;
CREATE EXTENSION pg_stat_statements;
CREATE TABLE keyless AS SELECT * FROM keyed;
UPDATE keyed SET v = 'b';
UPDATE keyless SET v = 'c';
CREATE FUNCTION make() RETURNS void LANGUAGE plpgsql AS $$ BEGIN CREATE TABLE made (id int); INSERT INTO made VALUES (1); END $$;
SELECT make();
DROP EXTENSION pgaudit;
DROP TABLE keyless;
CREATE EXTENSION pgaudit;
CREATE TABLE later (id serial PRIMARY KEY, v text DEFAULT 'x');
INSERT INTO later DEFAULT VALUES;
