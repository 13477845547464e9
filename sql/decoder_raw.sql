-- decoder_raw.sql: what capture needs beyond pgoutput.sql where decoder_raw is the decoder.
--
-- Run after capture.sql and pgoutput.sql. The plugin sees rows and no messages, and names tables and types only: marks are
-- rows of a table that nobody else may write, and whatever renames many things at once brings the facts up to date.
-- Privilege: superuser. Oldest version: PostgreSQL 14.

\set ON_ERROR_STOP on
\ir ours.sql

CREATE TABLE IF NOT EXISTS scribe.mark (name text PRIMARY KEY);

-- Write a mark: it appears in the stream in the place of the calling transaction, and nowhere else.
CREATE OR REPLACE FUNCTION scribe.write_mark(called text) RETURNS pg_lsn
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    IF called !~ '^[A-Za-z0-9._-]{1,63}$' THEN
        RAISE EXCEPTION 'invalid mark %', quote_literal(called);
    END IF;
    INSERT INTO scribe.mark (name) VALUES (called);
    DELETE FROM scribe.mark WHERE name = called;
    RETURN pg_current_wal_insert_lsn();
END
$function$;

-- Event trigger ddl_command_end: what these commands rename may stand in the facts of any table.
CREATE OR REPLACE FUNCTION scribe.note_names() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    INSERT INTO scribe.table_facts AS f SELECT * FROM scribe.read_facts(NULL)
        ON CONFLICT (relid) DO UPDATE SET facts = EXCLUDED.facts
        WHERE f.facts::jsonb - 'c' <> EXCLUDED.facts::jsonb;
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'pg_scribe could not note what % renamed: %', tg_tag, SQLERRM;
END
$function$;

-- Replaces capture.sql's: this decoder sends no message, so the row is waited for a little longer.
CREATE OR REPLACE FUNCTION scribe.record_failure(tag text, message text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $function$
BEGIN
    PERFORM scribe.write_row('lost', tag, NULL, NULL, CASE WHEN octet_length(current_query()) < 100000 THEN current_query() ELSE '' END,
        false, message, NULL);
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'pg_scribe could not even record that % is missing from the archive: take a new base', tag;
END
$function$;

DO $install$
BEGIN
    PERFORM scribe.set_privileges();
    PERFORM scribe.run_own('GRANT EXECUTE ON FUNCTION scribe.write_mark(text) TO PUBLIC');
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_event_trigger WHERE evtname = '!scribe_3_names') THEN
        CREATE EVENT TRIGGER "!scribe_3_names" ON ddl_command_end
            WHEN TAG IN ('ALTER SCHEMA', 'ALTER TYPE', 'ALTER DOMAIN', 'ALTER EXTENSION')
            EXECUTE FUNCTION scribe.note_names();
    END IF;
    ALTER EVENT TRIGGER "!scribe_3_names" ENABLE ALWAYS;
END
$install$;
