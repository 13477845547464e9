-- Settings that a session has changed, those of an application too, give a statement the meaning it had.
CREATE TABLE s (id int PRIMARY KEY, v float8, b bytea);
INSERT INTO s VALUES (1, 0.1234567890123, '\x00ff'), (2, 1e300, '\x41');
-- after init
SET app.tenant = 'it''s; \north';
ALTER TABLE s ADD COLUMN tenant text DEFAULT current_setting('app.tenant');
INSERT INTO s (id, v, b) VALUES (3, 0.3333333333333333, '\x42');
CREATE FUNCTION tenant() RETURNS text LANGUAGE sql STABLE AS 'SELECT current_setting(''app.tenant'')';
CREATE MATERIALIZED VIEW of_tenant AS SELECT id, current_setting('app.tenant') AS tenant FROM s;
RESET app.tenant;
SET extra_float_digits = -3;
ALTER TABLE s ALTER v TYPE text;
RESET extra_float_digits;
SET bytea_output = escape;
ALTER TABLE s ALTER b TYPE text USING b::text;
RESET bytea_output;
SET quote_all_identifiers = on;
CREATE VIEW quoted AS SELECT id FROM s;
COMMENT ON VIEW quoted IS 'quoted';
RESET quote_all_identifiers;
SET transform_null_equals = on;
CREATE VIEW nulls AS SELECT id FROM s WHERE tenant = NULL;
SET array_nulls = off;
CREATE TABLE arrays (a text[] DEFAULT '{NULL,x}');
INSERT INTO arrays DEFAULT VALUES;
RESET array_nulls;
RESET transform_null_equals;
-- 19 knows no other strings than standard ones
SELECT current_setting('server_version_num')::int < 190000 AS older \gset
\if :older
SET standard_conforming_strings = off;
CREATE VIEW escaped AS SELECT 'a\\b'::text AS e;
RESET standard_conforming_strings;
\endif
SET work_mem = '1MB';
SET default_text_search_config = 'pg_catalog.german';
CREATE VIEW words AS SELECT to_tsvector('Die Zeiten') AS w;
