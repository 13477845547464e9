-- extension: ltree
CREATE EXTENSION ltree;
CREATE TABLE keyed (path ltree PRIMARY KEY, q lquery);
CREATE TABLE keyless (path ltree[], t ltxtquery);
INSERT INTO keyed VALUES ('Top', '*.a'), ('Top.Science', NULL), ('Top.Arts', 'Top.*{1,2}');
INSERT INTO keyless VALUES ('{Top,Top.A}', 'a & !b'), (NULL, NULL);
CREATE INDEX ON keyed USING gist (path);
-- after init
UPDATE keyed SET path = 'Top.Science.Physics' WHERE path = 'Top.Science';
DELETE FROM keyed WHERE path ~ 'Top.Arts';
UPDATE keyless SET path = '{A.B.C}' WHERE path IS NULL;
DELETE FROM keyless WHERE 'Top' = ANY (path);
