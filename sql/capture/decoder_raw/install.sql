-- install.sql: the event triggers that only decoder_raw needs, and who may write a mark, after everything else.

DO $install$
BEGIN
    PERFORM scribe.run_own('GRANT EXECUTE ON FUNCTION scribe.write_mark(text) TO PUBLIC');
    PERFORM scribe.install_event_trigger('!scribe_3_names', 'ddl_command_end WHEN TAG IN (''ALTER SCHEMA'', ''ALTER TYPE'', '
        '''ALTER DOMAIN'', ''ALTER EXTENSION'')', 'note_names');
    PERFORM scribe.install_event_trigger('!scribe_3_guard', 'ddl_command_start WHEN TAG IN (''DROP INDEX'')',
        'refuse_concurrent_drop');
    PERFORM scribe.install_event_trigger('!scribe_5_guard', 'ddl_command_end', 'guard_identity');
END
$install$;
