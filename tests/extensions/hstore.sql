-- extension: hstore
CREATE EXTENSION hstore;
CREATE TABLE keyed (id int PRIMARY KEY, h hstore);
CREATE TABLE keyless (h hstore);
INSERT INTO keyed SELECT n, hstore(n::text, 'v' || n) FROM generate_series(1, 5) AS n;
INSERT INTO keyless SELECT h FROM keyed;
-- after init
UPDATE keyed SET h = h || '"a b"=>NULL, "c\"d"=>"e,f"' WHERE id < 3;
UPDATE keyless SET h = h || 'x=>y' WHERE h ? '1';
DELETE FROM keyless WHERE h ? '2';
DROP EXTENSION hstore CASCADE;
CREATE EXTENSION hstore;
ALTER TABLE keyed ADD COLUMN h hstore DEFAULT 'k=>1';
CREATE INDEX ON keyed USING gin (h);
UPDATE keyed SET h = delete(h, 'k') WHERE id = 4;
CREATE SCHEMA elsewhere;
ALTER EXTENSION hstore SET SCHEMA elsewhere;
INSERT INTO keyed VALUES (9, 'z=>9');
