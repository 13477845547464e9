-- The same where the base has them ENABLE ALWAYS and REPLICA, without a materialized view, which a base refreshes after them.
CREATE TABLE ddl_log (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, event text, tag text);
CREATE FUNCTION log_ddl() RETURNS event_trigger LANGUAGE plpgsql SET search_path = public AS
    $$ BEGIN INSERT INTO ddl_log (event, tag) VALUES (tg_event, tg_tag); END $$;
CREATE EVENT TRIGGER a_log ON ddl_command_end EXECUTE FUNCTION log_ddl();
CREATE EVENT TRIGGER "0_log_start" ON ddl_command_start EXECUTE FUNCTION log_ddl();
CREATE EVENT TRIGGER a_log_drop ON sql_drop EXECUTE FUNCTION log_ddl();
CREATE FUNCTION secure() RETURNS event_trigger LANGUAGE plpgsql SET search_path = public AS $$
DECLARE made record;
BEGIN
    FOR made IN SELECT * FROM pg_event_trigger_ddl_commands() WHERE command_tag = 'CREATE TABLE' AND schema_name = 'public' LOOP
        EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', made.object_identity);
        EXECUTE format('INSERT INTO %s DEFAULT VALUES', made.object_identity);
    END LOOP;
END $$;
CREATE EVENT TRIGGER "00_secure" ON ddl_command_end WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION secure();
CREATE FUNCTION make_again() RETURNS event_trigger LANGUAGE plpgsql SET search_path = public AS $$
BEGIN
    IF EXISTS (SELECT FROM pg_event_trigger_dropped_objects() WHERE object_identity = 'public.eternal' AND object_type = 'table') THEN
        CREATE TABLE eternal (id int PRIMARY KEY DEFAULT 1, lives int DEFAULT 9);
    END IF;
END $$;
CREATE EVENT TRIGGER "00_again" ON sql_drop EXECUTE FUNCTION make_again();
CREATE FUNCTION forbid() RETURNS event_trigger LANGUAGE plpgsql SET search_path = public AS
    $$ BEGIN RAISE EXCEPTION 'schemas are not dropped here'; END $$;
CREATE EVENT TRIGGER forbid ON sql_drop WHEN TAG IN ('DROP SCHEMA', 'DROP VIEW') EXECUTE FUNCTION forbid();
CREATE TABLE eternal (id int PRIMARY KEY DEFAULT 1, lives int DEFAULT 9);
ALTER EVENT TRIGGER "0_log_start" ENABLE ALWAYS;
ALTER EVENT TRIGGER "00_secure" ENABLE ALWAYS;
ALTER EVENT TRIGGER "00_again" ENABLE ALWAYS;
ALTER EVENT TRIGGER forbid ENABLE REPLICA;
-- after init
CREATE TABLE plain (id int PRIMARY KEY DEFAULT 7);
CREATE TABLE copied AS SELECT * FROM plain;
DROP TABLE eternal CASCADE;
UPDATE eternal SET lives = lives - 1;
DO $$ BEGIN CREATE TABLE made_twice (id int PRIMARY KEY DEFAULT 1); DROP TABLE made_twice; END $$;
ALTER TABLE plain ADD COLUMN v text DEFAULT 'x';
ALTER TABLE plain DROP COLUMN v;
CREATE EVENT TRIGGER later ON ddl_command_end EXECUTE FUNCTION log_ddl();
ALTER EVENT TRIGGER later ENABLE ALWAYS;
CREATE TABLE after_always (id int PRIMARY KEY DEFAULT 1);
CREATE TABLE after_always_copied AS SELECT * FROM after_always;
ALTER EVENT TRIGGER later RENAME TO later_still;
CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1';
ALTER EVENT TRIGGER a_log ENABLE REPLICA;
CREATE INDEX ON after_always (id);
ALTER EVENT TRIGGER a_log_drop ENABLE ALWAYS;
DROP FUNCTION f();
DROP EVENT TRIGGER a_log_drop;
ALTER EVENT TRIGGER later_still DISABLE;
CREATE VIEW w AS SELECT 1 AS one;
ALTER EVENT TRIGGER later_still ENABLE ALWAYS;
ALTER EVENT TRIGGER forbid ENABLE ALWAYS;
CREATE TABLE last (id int PRIMARY KEY DEFAULT 1);
