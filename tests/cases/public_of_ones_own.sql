-- Owner and privileges of a schema public that is not the one a new database has; an event trigger that always fires
-- refuses what ends a base, with pgoutput.
-- Before 15, pg_dump writes its privileges unlike for one that is not the first.
SELECT current_setting('server_version_num')::int >= 150000 AS new \gset
\if :new
DROP SCHEMA public;
CREATE SCHEMA public;
\endif
GRANT CREATE ON SCHEMA public TO PUBLIC;
CREATE TABLE public.t (id int PRIMARY KEY);
CREATE FUNCTION public.refuse() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'refused: %', TG_TAG; END $$;
CREATE EVENT TRIGGER refuse ON ddl_command_start WHEN TAG IN ('ALTER SCHEMA', 'DROP SCHEMA', 'DROP PUBLICATION')
  EXECUTE FUNCTION public.refuse();
ALTER EVENT TRIGGER refuse ENABLE ALWAYS;
-- after init
INSERT INTO public.t VALUES (1);
GRANT USAGE ON SCHEMA public TO PUBLIC;
INSERT INTO public.t VALUES (2);
