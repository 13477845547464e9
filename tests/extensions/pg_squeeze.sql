-- extension: pg_squeeze
-- preload: pg_squeeze
-- set: output_plugin_libraries = pgoutput, test_decoding, scribe_decoder, pg_squeeze
CREATE EXTENSION pg_squeeze;
CREATE TABLE keyed (id int PRIMARY KEY, v text);
INSERT INTO keyed SELECT n, repeat('x', 100) FROM generate_series(1, 500) AS n;
CREATE INDEX ON keyed (v);
DELETE FROM keyed WHERE id % 3 = 0;
-- after init
SELECT squeeze.squeeze_table('public', 'keyed', NULL, NULL, NULL);
UPDATE keyed SET v = 'squeezed' WHERE id < 5;
INSERT INTO squeeze.tables (tabschema, tabname, schedule) VALUES ('public', 'keyed', ('{30}', '{22}', NULL, NULL, NULL));
DELETE FROM keyed WHERE id % 2 = 0;
SELECT squeeze.squeeze_table('public', 'keyed', NULL, NULL, NULL);
DELETE FROM keyed WHERE id % 5 = 0;
