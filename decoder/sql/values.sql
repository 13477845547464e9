-- Literals: exact, typed where they must be, on one line.
\set VERBOSITY terse
\pset format unaligned
\pset tuples_only on
SELECT 'slot' FROM pg_create_logical_replication_slot('values', 'scribe_decoder');
CREATE VIEW stream AS SELECT data FROM pg_logical_slot_get_changes('values', NULL, NULL, 'include-position', 'off');

CREATE TABLE numbers (id bigint PRIMARY KEY, s smallint, o oid, b boolean, f float8, r real, n numeric, m money);
INSERT INTO numbers VALUES (9223372036854775807, -1, 4294967295, true, '-0', 'NaN', 1.50, '1.5'),
	(-9223372036854775808, 1, 0, false, 0.1::float8 + 0.2, '-Infinity', 'NaN', '-2');
INSERT INTO numbers (id) VALUES (0);
SELECT * FROM stream;

CREATE TABLE texts (id int PRIMARY KEY, t text, v varchar(3), c char(3), x bytea, j json);
INSERT INTO texts VALUES (1, 'it''s', 'abc', 'a', '\x00ff5c', '{"a": 1,  "a": 2}'),
	(2, E'back\\slash''\ttab\nline\r\b\f\x0b\x1b\x7f', '', '', '', '"\u00e9"');
SELECT * FROM stream;

CREATE TABLE times (t timestamptz, d date, i interval, tz timetz);
INSERT INTO times VALUES ('2024-02-29 12:00:00.5+05:30', '0044-03-15 BC', '1 year -2 days 03:04', '10:00+02'), ('infinity', '-infinity', '0', '00:00-12');
SET datestyle = 'German';
SET intervalstyle = 'iso_8601';
SET timezone = 'Asia/Tokyo';
SET extra_float_digits = -5;
SET bytea_output = escape;
SET quote_all_identifiers = on;
SELECT * FROM stream;
-- the caller's own settings are as before
SELECT name, setting FROM pg_settings
WHERE name IN ('DateStyle', 'IntervalStyle', 'TimeZone', 'extra_float_digits', 'bytea_output', 'quote_all_identifiers', 'search_path') ORDER BY name COLLATE "C";
RESET ALL;

-- names
CREATE SCHEMA "odd schema";
CREATE TABLE "odd schema"."Odd ""
name\" ("select" int PRIMARY KEY, "a
b" text);
INSERT INTO "odd schema"."Odd ""
name\" VALUES (1, 'x');
UPDATE "odd schema"."Odd ""
name\" SET "a
b" = 'y';
SELECT * FROM stream;

-- generated columns, identities, dropped columns, no columns
CREATE TABLE gen (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a int, gone int, b int GENERATED ALWAYS AS (a + 1) STORED);
ALTER TABLE gen DROP gone;
CREATE TABLE zero ();
INSERT INTO gen (a) VALUES (1), (2);
UPDATE gen SET a = 5 WHERE id = 1;
UPDATE gen SET id = DEFAULT WHERE id = 1;
INSERT INTO zero DEFAULT VALUES;
SELECT * FROM stream;

-- unchanged TOAST is left out, alone it leaves nothing
CREATE TABLE toast (id int PRIMARY KEY, a text, n int);
CREATE TABLE toast1 (id int PRIMARY KEY, a text);
ALTER TABLE toast ALTER a SET STORAGE EXTERNAL;
ALTER TABLE toast1 ALTER a SET STORAGE EXTERNAL;
INSERT INTO toast VALUES (1, repeat('x', 3000), 1);
INSERT INTO toast1 VALUES (1, repeat('x', 3000));
SELECT regexp_replace(data, '(xxx)+', 'xxx') FROM stream;
UPDATE toast SET n = 2;
UPDATE toast SET id = 2;
UPDATE toast1 SET id = id;
SELECT * FROM stream;

SELECT 'dropped' FROM pg_drop_replication_slot('values');
DROP VIEW stream;
DROP TABLE numbers, texts, times, gen, zero, toast, toast1;
DROP SCHEMA "odd schema" CASCADE;
