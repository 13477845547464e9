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
