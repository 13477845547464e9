-- extension: citext
CREATE EXTENSION citext;
CREATE TABLE keyed (id citext PRIMARY KEY, v citext[]);
CREATE TABLE keyless (v citext);
INSERT INTO keyed VALUES ('Abc', '{x,Y}'), ('def', NULL);
INSERT INTO keyless VALUES ('One'), ('one'), ('ONE');
-- after init
UPDATE keyed SET v = v || 'Z'::citext WHERE id = 'ABC';
UPDATE keyed SET id = 'DEF' WHERE id = 'def';
DELETE FROM keyless WHERE v::text = 'one';
UPDATE keyless SET v = v || '!';
DELETE FROM keyed WHERE id = 'aBC';
