-- Statements: plain ones as they are, others as a literal; path, role and settings of the session around them.
CREATE VIEW w AS SELECT 1 AS a;
CREATE VIEW x AS SELECT 'it''s
two lines' AS a; COMMENT ON VIEW x IS '
COMMIT; -- end 0/0
\.';
COMMENT ON VIEW w IS 'a \! b';
COMMENT ON VIEW w IS E'\\\n\t''';
CREATE FUNCTION body() RETURNS text LANGUAGE sql AS $$ SELECT '\.'; -- $scribe$
$$;
CREATE FUNCTION dollars() RETURNS text LANGUAGE sql AS $scribe$
-- ddl end
SELECT $a$x$a$ $scribe$;
CREATE TABLE ends (a int) -- here
;
ALTER TABLE /* before */ ends ADD COLUMN b int /* after */;
ALTER TABLE ends ADD PRIMARY KEY (a);
CREATE INDEX CONCURRENTLY i ON ends (b);
DROP INDEX CONCURRENTLY i;
SET search_path = "$user", public, "Odd one", 'pg_catalog'; CREATE SCHEMA "Odd one"; CREATE TABLE there (a int PRIMARY KEY);
SET search_path = ''; CREATE TABLE public.nowhere (a int PRIMARY KEY);
SET search_path = public; SET DateStyle = 'SQL, DMY'; SET TimeZone = 'Asia/Kolkata'; CREATE VIEW dated AS SELECT date '01/02/2026' AS d;
SET DateStyle = 'ISO, MDY'; SET TimeZone = 'UTC'; SET my.own = E'it''s\n\\'; CREATE VIEW own AS SELECT current_setting('my.own') AS s;
RESET my.own; SET standard_conforming_strings = off; SET escape_string_warning = off; CREATE VIEW slashed AS SELECT 'a\\b' AS s;
RESET ALL;
GRANT CREATE ON SCHEMA public TO "scribe vector"; SET ROLE "scribe vector";
CREATE TABLE theirs (a int PRIMARY KEY); DROP TABLE theirs; RESET ROLE;
SET application_name = 'app) by x: -- ddl end'; CREATE TABLE asked (a int PRIMARY KEY); SET application_name = '';
CREATE TABLE made AS SELECT 1 AS a, 'x'::text AS b;
CREATE MATERIALIZED VIEW m AS SELECT 2 AS a; REFRESH MATERIALIZED VIEW m;
ALTER TABLE made ADD COLUMN c int DEFAULT 7, ADD COLUMN d text DEFAULT 'x' || 'y';
DO $$ BEGIN EXECUTE 'CREATE TABLE inner_one (a int PRIMARY KEY); CREATE TABLE inner_two (a int PRIMARY KEY)'; END $$;
