-- install.sql: the event triggers, after all functions.

-- ENABLE ALWAYS, since loaders and subscribers run DDL under session_replication_role = replica.
-- The names matter: triggers of one event fire in the order of their names, compared bytewise, and what a user's does stands
-- after the command that fired it.
CREATE OR REPLACE FUNCTION scribe.install_event_trigger(trigger_name name, event text, handler name) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_event_trigger WHERE evtname = trigger_name) THEN
        EXECUTE format('CREATE EVENT TRIGGER %I ON %s EXECUTE FUNCTION scribe.%I()', trigger_name, event, handler);
    END IF;
    EXECUTE format('ALTER EVENT TRIGGER %I ENABLE ALWAYS', trigger_name);
END
$function$;

DO $install$
DECLARE
    before name;
BEGIN
    -- What there is at the first time was not captured, and is in the base. An installation that is brought up to date records, as a
    -- rotation does, what no event trigger told since the last one.
    PERFORM scribe.reconcile(EXISTS (SELECT FROM pg_catalog.pg_event_trigger WHERE evtname = '!scribe_4_end' AND evtenabled <> 'D'));
    PERFORM scribe.set_privileges();
    FOR before IN SELECT e.evtname FROM pg_catalog.pg_event_trigger AS e JOIN pg_catalog.pg_proc AS f ON f.oid = e.evtfoid
            WHERE f.pronamespace = 'scribe'::pg_catalog.regnamespace AND e.evtname ~ '^scribe_' LOOP
        EXECUTE pg_catalog.format('DROP EVENT TRIGGER %I', before);  -- as they were called once
    END LOOP;
    PERFORM scribe.install_event_trigger('!scribe_1_caller_drop', 'sql_drop', 'note_caller');
    PERFORM scribe.install_event_trigger('!scribe_2_start', 'ddl_command_start', 'command_start');
    PERFORM scribe.install_event_trigger('!scribe_3_caller_start', 'ddl_command_start', 'note_caller');
    PERFORM scribe.install_event_trigger('!scribe_4_detach', 'ddl_command_start WHEN TAG IN (''ALTER TABLE'')', 'detach_start');
    PERFORM scribe.install_event_trigger('!scribe_1_caller_rewrite', 'table_rewrite', 'note_caller');
    PERFORM scribe.install_event_trigger('!scribe_2_rewrite', 'table_rewrite', 'note_rewrite');
    PERFORM scribe.install_event_trigger('!scribe_2_drop', 'sql_drop', 'note_drop');
    PERFORM scribe.install_event_trigger('!scribe_3_caller_end', 'ddl_command_end', 'note_caller');
    PERFORM scribe.install_event_trigger('!scribe_4_end', 'ddl_command_end', 'command_end');
END
$install$;
