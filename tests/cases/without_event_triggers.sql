-- Commands that fire no event trigger, as the first of their sessions: recorded at rotation.
DO $$ BEGIN CREATE ROLE scribe_case_fay; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
DO $$ BEGIN CREATE ROLE scribe_case_gus; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
CREATE FUNCTION evt() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE DEBUG 'fired'; END $$;
CREATE EVENT TRIGGER casevt_gone ON sql_drop EXECUTE FUNCTION evt();
CREATE EVENT TRIGGER casevt_changed ON ddl_command_end WHEN TAG IN ('CREATE TABLE', 'DROP TABLE') EXECUTE FUNCTION evt();
CREATE SCHEMA s AUTHORIZATION scribe_case_fay;
CREATE TABLE s.t (id serial PRIMARY KEY, v text);
CREATE VIEW s.v AS SELECT id FROM s.t;
CREATE FUNCTION s.f(a int, b text[]) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE TYPE s.mood AS ENUM ('a');
CREATE DOMAIN s.d AS int;
ALTER TABLE s.t OWNER TO scribe_case_fay;
ALTER VIEW s.v OWNER TO scribe_case_fay;
ALTER FUNCTION s.f(int, text[]) OWNER TO scribe_case_fay;
ALTER TYPE s.mood OWNER TO scribe_case_fay;
ALTER DOMAIN s.d OWNER TO scribe_case_fay;
-- after init
DROP EVENT TRIGGER casevt_gone;
ALTER EVENT TRIGGER casevt_changed ENABLE ALWAYS;
CREATE EVENT TRIGGER "casevt New" ON ddl_command_start EXECUTE FUNCTION evt();
COMMENT ON EVENT TRIGGER "casevt New" IS 'it''s new';
REASSIGN OWNED BY scribe_case_fay TO scribe_case_gus;
