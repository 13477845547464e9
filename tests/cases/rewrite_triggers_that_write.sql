-- Event triggers that write rows to the table which is about to be rewritten: those rows come with the rewritten ones.
CREATE TABLE log (what text, id serial PRIMARY KEY);
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE child (PRIMARY KEY (id)) INHERITS (parent);
CREATE FUNCTION note() RETURNS event_trigger LANGUAGE plpgsql SET search_path = public AS $$
BEGIN
    INSERT INTO log SELECT 'rewritten ' || pg_event_trigger_table_rewrite_reason();
    INSERT INTO child SELECT 1 WHERE pg_event_trigger_table_rewrite_oid() = 'child'::regclass;
    INSERT INTO parent SELECT 2 WHERE pg_event_trigger_table_rewrite_oid() = 'child'::regclass;  -- which has been rewritten
END $$;
CREATE EVENT TRIGGER "0note" ON table_rewrite EXECUTE FUNCTION note();
INSERT INTO log VALUES ('first');
-- and such as change rows that are there: those of the table, and of one that is rewritten later
CREATE TABLE changed (id int PRIMARY KEY, v text);
CREATE TABLE keyless (v text);
CREATE TABLE hollow (id int PRIMARY KEY, v text);
INSERT INTO changed SELECT i, 'x' FROM generate_series(1, 4) AS i;
INSERT INTO keyless VALUES ('a'), ('a'), ('b');
CREATE FUNCTION change() RETURNS event_trigger LANGUAGE plpgsql SET search_path = public AS $$
BEGIN
    UPDATE changed SET v = v || pg_event_trigger_table_rewrite_reason() WHERE id = 2;
    DELETE FROM changed WHERE id = 3;
    UPDATE keyless SET v = v || '.' WHERE v LIKE 'a%';
    DELETE FROM keyless WHERE v = 'b';
END $$;
CREATE EVENT TRIGGER "1change" ON table_rewrite EXECUTE FUNCTION change();
-- after init
ALTER TABLE log ADD COLUMN made uuid DEFAULT gen_random_uuid();
INSERT INTO log VALUES ('between');
ALTER TABLE parent ADD COLUMN r float8 DEFAULT random();
UPDATE parent SET r = 7 WHERE id = 1;
BEGIN;
ALTER TABLE log ALTER made TYPE text USING made::text || random();
INSERT INTO log VALUES ('last');
DELETE FROM log WHERE id = 1;
COMMIT;
ALTER TABLE keyless ADD COLUMN r float8 DEFAULT random();
INSERT INTO keyless VALUES ('b');
INSERT INTO changed VALUES (3, 'again');
ALTER TABLE changed ADD COLUMN r float8 DEFAULT random();
INSERT INTO changed VALUES (3, 'and again');
BEGIN;
ALTER TABLE hollow ADD COLUMN r float8 DEFAULT random();
INSERT INTO hollow VALUES (1, 'a'), (2, 'b');
UPDATE hollow SET v = 'c' WHERE id = 1;
DELETE FROM hollow WHERE id = 2;
COMMIT;
