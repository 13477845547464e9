-- install.sql: the event triggers that keep the facts, after everything else.

DO $install$
BEGIN
    PERFORM scribe.install_event_trigger('!scribe_1_facts', 'sql_drop', 'note_dropped_facts');
    PERFORM scribe.install_event_trigger('!scribe_3_facts', 'ddl_command_end', 'note_facts');
    INSERT INTO scribe.table_facts AS f SELECT * FROM scribe.read_facts(NULL)
        ON CONFLICT (relid) DO UPDATE SET facts = EXCLUDED.facts WHERE f.facts <> EXCLUDED.facts;
    DELETE FROM scribe.table_facts AS f WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_class WHERE oid = f.relid);
END
$install$;
