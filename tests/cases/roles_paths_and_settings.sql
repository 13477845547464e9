-- DDL by different roles, SECURITY DEFINER, changed search_path, DateStyle, standard_conforming_strings = off.
DO $$ BEGIN CREATE ROLE scribe_case_carol; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
DO $$ BEGIN CREATE ROLE scribe_case_dave; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
CREATE SCHEMA one AUTHORIZATION scribe_case_carol;
CREATE SCHEMA two AUTHORIZATION scribe_case_dave;
CREATE SCHEMA "Três" ;
GRANT ALL ON SCHEMA public, one, two, "Três" TO scribe_case_carol, scribe_case_dave;
CREATE FUNCTION one.definer() RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = two AS $$ BEGIN CREATE TABLE by_definer (a int); END $$;
ALTER FUNCTION one.definer() OWNER TO scribe_case_dave;
DO $$ BEGIN EXECUTE format('GRANT CREATE ON DATABASE %I TO scribe_case_carol', current_database()); END $$;
-- after init
SET ROLE scribe_case_carol;
SET search_path = one;
CREATE TABLE where_am_i (a int PRIMARY KEY);
INSERT INTO where_am_i VALUES (1);
SELECT one.definer();
SET search_path = two, one;
CREATE TABLE second (a int);
CREATE SCHEMA by_carol;
RESET ROLE;
SET search_path = "Três", public;
CREATE TABLE "naïve tâble" ("çol" int PRIMARY KEY, "日本" text);
INSERT INTO "naïve tâble" VALUES (1, 'ü €');
SET DateStyle = 'SQL, DMY';
SET IntervalStyle = sql_standard;
CREATE TABLE dated (a int, d date DEFAULT '03/04/2024', i interval DEFAULT '1-2');
INSERT INTO dated DEFAULT VALUES;
SET TimeZone = 'Asia/Tokyo';
CREATE TABLE zoned (a int, t timestamptz DEFAULT '2024-01-01 00:00:00');
INSERT INTO zoned VALUES (1);
RESET DateStyle; RESET IntervalStyle; RESET TimeZone;
-- 19 knows no other strings than standard ones
SELECT current_setting('server_version_num')::int < 190000 AS older \gset
\if :older
SET escape_string_warning = off;
SET standard_conforming_strings = off;
SELECT unnest(ARRAY[$$CREATE TABLE backslash (a text DEFAULT 'a\\b\'c\n')$$, $$INSERT INTO backslash DEFAULT VALUES$$,
    $$COMMENT ON TABLE backslash IS 'x\\y'$$]) \gexec
SET standard_conforming_strings = on;
\endif
SET search_path = public;
CREATE TABLE plain_again (a text DEFAULT 'a\b');
INSERT INTO plain_again DEFAULT VALUES;
SET session_replication_role = replica;
CREATE TABLE as_replica (a int PRIMARY KEY);
INSERT INTO as_replica VALUES (1);
RESET session_replication_role;
SET default_table_access_method = heap;
SET array_nulls = off;
CREATE TABLE an (a text[] DEFAULT '{NULL,a}');
INSERT INTO an DEFAULT VALUES;
RESET array_nulls;
