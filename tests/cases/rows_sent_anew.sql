-- Rows are sent again with the owner's rights only, whatever keeps the owner from them; triggers and rules stay at rest.
DO $$ BEGIN CREATE ROLE anew_owner; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
GRANT CREATE, USAGE ON SCHEMA public TO anew_owner;
CREATE TABLE seen (what text);
ALTER TABLE seen REPLICA IDENTITY FULL;
GRANT INSERT ON seen TO PUBLIC;
SET ROLE anew_owner;
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO seen VALUES (TG_NAME); RETURN NEW; END $$;
CREATE FUNCTION fits(text) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS
  $$ BEGIN IF current_user <> 'anew_owner' THEN RAISE EXCEPTION 'ran as %', current_user; END IF; RETURN true; END $$;
CREATE TABLE parent (id int PRIMARY KEY, "found" text);
CREATE TABLE child ("found" int REFERENCES parent DEFERRABLE INITIALLY DEFERRED, v text UNIQUE DEFERRABLE, g text GENERATED ALWAYS AS (v || '!') STORED);
CREATE TRIGGER often BEFORE UPDATE ON child FOR EACH ROW EXECUTE FUNCTION note();
CREATE TRIGGER always AFTER UPDATE ON child FOR EACH ROW EXECUTE FUNCTION note();
CREATE TRIGGER "never ' \" AFTER UPDATE ON child FOR EACH ROW EXECUTE FUNCTION note();
ALTER TABLE child ENABLE ALWAYS TRIGGER always, DISABLE TRIGGER "never ' \";
CREATE RULE "in\stead" AS ON UPDATE TO parent DO INSTEAD INSERT INTO seen VALUES ('rule');
ALTER TABLE parent ENABLE ALWAYS RULE "in\stead";
ALTER TABLE child ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
RESET ROLE;
-- after init
INSERT INTO parent SELECT i, 'p' || i FROM generate_series(1, 20) i;
INSERT INTO child SELECT i, 'c' || i FROM generate_series(1, 20) i;
SET ROLE anew_owner;
ALTER TABLE child ADD CHECK (fits(v)) NOT VALID;
REVOKE UPDATE, SELECT ON child FROM anew_owner;
BEGIN;
ALTER TABLE parent ADD COLUMN u uuid DEFAULT gen_random_uuid();
ALTER TABLE child ADD COLUMN u uuid DEFAULT gen_random_uuid();
ALTER TABLE child ADD COLUMN w float8 DEFAULT random();
ALTER TABLE child ADD COLUMN at timestamptz DEFAULT now();
COMMIT;
RESET ROLE;
DO $$ BEGIN
  IF EXISTS (SELECT FROM scribe.ddl_history WHERE NOT exact) OR EXISTS (SELECT FROM seen) THEN
    RAISE EXCEPTION 'something was lost or ran: %', (SELECT reason FROM scribe.ddl_history WHERE NOT exact LIMIT 1);
  END IF;
END $$;
-- none of them are left, which the rows themselves do not tell
CREATE TABLE emptied (id int PRIMARY KEY, v text);
INSERT INTO emptied VALUES (1, 'a');
CREATE TABLE emptied_too (LIKE emptied);
INSERT INTO emptied_too VALUES (1, 'a');
ALTER TABLE emptied SET UNLOGGED;
ALTER TABLE emptied_too SET UNLOGGED;
DELETE FROM emptied;
TRUNCATE emptied_too;
ALTER TABLE emptied SET LOGGED;
ALTER TABLE emptied_too SET LOGGED;
INSERT INTO emptied_too VALUES (2, 'b');
