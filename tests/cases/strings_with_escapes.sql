-- A session whose strings have escapes: what capture's own functions look for does not change with it.
DO $$ BEGIN CREATE ROLE scribe_case_gina; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
CREATE TABLE old (id int PRIMARY KEY);
INSERT INTO old VALUES (1);
-- after init
-- 19 knows no other strings than standard ones
SELECT current_setting('server_version_num')::int < 190000 AS older \gset
\if :older
SET escape_string_warning = off;
SET standard_conforming_strings = off;
SELECT unnest(ARRAY[
$q$CREATE FUNCTION f() RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN \'a\\\\b\'; END'$q$,
$q$CREATE TEMP TABLE tmp (id int)$q$,
$q$CREATE FUNCTION of_tmp(tmp) RETURNS text LANGUAGE sql AS 'SELECT \'\\\\\''$q$,
$q$DROP TABLE tmp CASCADE$q$,
$q$CREATE TABLE t (a text DEFAULT 'x\\y\'', at timestamptz DEFAULT 'now', CHECK (a <> '\\'))$q$,
$q$INSERT INTO t DEFAULT VALUES$q$,
$q$ALTER TABLE old ADD COLUMN at timestamptz DEFAULT 'now', ADD COLUMN b text DEFAULT '\\' || now()$q$,
$q$DO $$ BEGIN EXECUTE format('GRANT CREATE ON DATABASE %I TO scribe_case_gina', current_database()); END $$$q$,
$q$SET ROLE scribe_case_gina$q$,
$q$CREATE SCHEMA gina$q$,
$q$CREATE TABLE gina.t (id int PRIMARY KEY)$q$,
$q$COMMENT ON TABLE gina.t IS 'a\\b\'c'$q$,
$q$ALTER TABLE gina.t OWNER TO scribe_case_gina$q$,
$q$DROP TABLE gina.t$q$,
$q$RESET ROLE$q$,
$q$COMMENT ON COLUMN t.a IS '\\'$q$,
$q$CREATE INDEX ON t (a) WHERE a <> '\\'$q$,
$q$DROP INDEX t_a_idx$q$
]) \gexec
\endif
