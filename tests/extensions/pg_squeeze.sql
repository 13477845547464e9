-- extension: pg_squeeze
-- preload: pg_squeeze
-- condition: its schedules and its log are not in a copy, as they are not in a dump
-- decoder: scribe_decoder
-- unlike: squeeze\.
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
CREATE TABLE busy (id int PRIMARY KEY, v text, n int DEFAULT 0);
INSERT INTO busy SELECT n, repeat('y', 100) FROM generate_series(1, 3000) AS n;
DELETE FROM busy WHERE id % 3 = 0;
\! work=$(mktemp); (echo '\set i random(1, 3000)'; echo 'UPDATE busy SET n = n + 1 WHERE id = :i; DELETE FROM busy WHERE id = :i + 1 AND n > 1;') >"$work"; pgbench -n -c 2 -t 400 -f "$work" shop >"$work.log" 2>&1 & for i in 1 2 3; do psql -Xqd shop -c "SELECT squeeze.squeeze_table('public', 'busy', NULL, NULL, NULL)"; done; wait; rm "$work" "$work.log"
UPDATE busy SET v = 'z' WHERE id < 100;
