-- A table that could not publish a DELETE is rewritten all the same.
CREATE TABLE listed (a int, b text); INSERT INTO listed VALUES (1, 'x'), (2, 'y');
CREATE TABLE filtered (a int PRIMARY KEY, b text); INSERT INTO filtered VALUES (1, 'x');
CREATE TABLE refers (a int REFERENCES filtered); INSERT INTO refers VALUES (1);
CREATE TABLE parts (a int, b text) PARTITION BY LIST (a); CREATE TABLE part PARTITION OF parts DEFAULT;
INSERT INTO parts VALUES (1, 'x');
CREATE TABLE made (a int, g int GENERATED ALWAYS AS (a * 2) STORED); INSERT INTO made VALUES (1);
CREATE TABLE nothing (a int); INSERT INTO nothing VALUES (1);
-- after init
SELECT current_setting('server_version_num')::int >= 150000 AS in_part \gset
\if :in_part
CREATE PUBLICATION "some'
columns" FOR TABLE listed (a), filtered WHERE (b = 'x') WITH (publish = 'insert, delete');
CREATE PUBLICATION root FOR TABLE parts WHERE (b = 'x') WITH (publish_via_partition_root);
\endif
CREATE PUBLICATION everything FOR ALL TABLES;
INSERT INTO filtered VALUES (2, 'y');
ALTER TABLE listed ADD COLUMN z float8 DEFAULT random();
ALTER TABLE filtered ADD COLUMN z float8 DEFAULT random(), ADD COLUMN t timestamptz DEFAULT now();
ALTER TABLE parts ADD COLUMN z float8 DEFAULT random();
ALTER TABLE made ADD COLUMN z float8 DEFAULT random();
BEGIN;
ALTER TABLE nothing REPLICA IDENTITY NOTHING;
ALTER TABLE nothing ADD COLUMN z float8 DEFAULT random();
DROP PUBLICATION everything;
ALTER TABLE listed ALTER b TYPE varchar(40) USING random()::text;
COMMIT;
INSERT INTO listed VALUES (9);
