-- extension: prefix
CREATE EXTENSION prefix;
CREATE TABLE keyed (p prefix_range PRIMARY KEY, v text);
CREATE TABLE keyless (p prefix_range, v text);
INSERT INTO keyed SELECT ('01' || n)::prefix_range, 'v' || n FROM generate_series(1, 30) AS n;
INSERT INTO keyless SELECT p, v FROM keyed;
CREATE INDEX ON keyless USING gist (p);
-- after init
UPDATE keyless SET v = v || '!' WHERE p @> '0112';
DELETE FROM keyless WHERE p = '013';
UPDATE keyless SET p = '99[0-5]' WHERE v = 'v7';
DELETE FROM keyed WHERE p = '015';
UPDATE keyed SET p = '77' WHERE p = '016';
CREATE TABLE made (p prefix_range[], q prefix_range);
INSERT INTO made VALUES ('{123,456[7-8]}', '1'), (NULL, '2');
UPDATE made SET q = '5' WHERE q = '2';
DELETE FROM made WHERE q = '1';
