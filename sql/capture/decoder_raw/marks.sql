-- marks.sql: marks in the stream and names of things, where decoder_raw is the decoder: it sees rows and no messages, and names
-- tables and types only. Marks are rows of a table that nobody else may write, and whatever renames many things at once brings
-- the facts up to date.

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
    INSERT INTO scribe.table_facts AS f SELECT * FROM scribe.read_facts(NULL) AS r
        WHERE NOT EXISTS (SELECT FROM scribe.table_facts AS o WHERE o.relid = r.relid AND o.facts::jsonb - 'c' = r.facts::jsonb)
        ON CONFLICT (relid) DO UPDATE SET facts = EXCLUDED.facts
        WHERE f.facts::jsonb - 'c' <> EXCLUDED.facts::jsonb;
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'pg_scribe could not note what % renamed: %', tg_tag, SQLERRM;
END
$function$;
