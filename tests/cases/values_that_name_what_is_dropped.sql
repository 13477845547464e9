-- Rows that name objects and are found by all of their values, where the same transaction drops, renames or makes those.
CREATE TABLE naming (n int, class regclass, proc regprocedure, type regtype, schema regnamespace);
ALTER TABLE naming REPLICA IDENTITY FULL;
CREATE SCHEMA place;
CREATE TABLE place.one (id int PRIMARY KEY); CREATE TABLE two (id int PRIMARY KEY); CREATE TABLE three (id int PRIMARY KEY);
CREATE FUNCTION fun(int, text) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE TYPE kind AS ENUM ('a');
INSERT INTO naming VALUES (1, 'place.one', 'fun(int, text)', 'kind', 'place'), (2, 'two', NULL, 'kind[]', NULL), (3, 'three', NULL, NULL, NULL);
-- after init
BEGIN;
UPDATE naming SET n = 10 WHERE n = 1;
DELETE FROM naming WHERE n = 10;
DROP SCHEMA place CASCADE; DROP FUNCTION fun;
COMMIT;
BEGIN;
ALTER TABLE two RENAME TO other;
UPDATE naming SET n = 20 WHERE n = 2;
DELETE FROM naming WHERE class = 'other'::regclass;
DROP TABLE other; DROP TYPE kind;
COMMIT;
BEGIN;
CREATE TABLE brief (id int PRIMARY KEY);
INSERT INTO naming VALUES (4, 'brief', NULL, 'brief', NULL);
UPDATE naming SET n = 40 WHERE n = 4;
DELETE FROM naming WHERE n = 40;
DROP TABLE brief;
COMMIT;
UPDATE naming SET n = 30 WHERE n = 3;
