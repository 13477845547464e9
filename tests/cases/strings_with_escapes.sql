-- A session whose strings have escapes: what capture's own functions look for does not change with it.
DO $$ BEGIN CREATE ROLE scribe_case_gina; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
CREATE TABLE old (id int PRIMARY KEY);
INSERT INTO old VALUES (1);
-- after init
SET escape_string_warning = off;
SET standard_conforming_strings = off;
CREATE FUNCTION f() RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN \'a\\\\b\'; END';
CREATE TEMP TABLE tmp (id int);
CREATE FUNCTION of_tmp(tmp) RETURNS text LANGUAGE sql AS 'SELECT \'\\\\\'';
DROP TABLE tmp CASCADE;
CREATE TABLE t (a text DEFAULT 'x\\y\'', at timestamptz DEFAULT 'now', CHECK (a <> '\\'));
INSERT INTO t DEFAULT VALUES;
ALTER TABLE old ADD COLUMN at timestamptz DEFAULT 'now', ADD COLUMN b text DEFAULT '\\' || now();
DO $$ BEGIN EXECUTE format('GRANT CREATE ON DATABASE %I TO scribe_case_gina', current_database()); END $$;
SET ROLE scribe_case_gina;
CREATE SCHEMA gina;
CREATE TABLE gina.t (id int PRIMARY KEY);
COMMENT ON TABLE gina.t IS 'a\\b\'c';
ALTER TABLE gina.t OWNER TO scribe_case_gina;
DROP TABLE gina.t;
RESET ROLE;
COMMENT ON COLUMN t.a IS '\\';
CREATE INDEX ON t (a) WHERE a <> '\\';
DROP INDEX t_a_idx;
