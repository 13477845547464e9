-- statement.sql: the running statement as the library knows it, which is loaded here; without it, what SQL can tell.

-- Event trigger ddl_command_start: loads the library in this session; announces extension scripts.
CREATE OR REPLACE FUNCTION scribe.command_start() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    BEGIN
        LOCK TABLE scribe.config IN ROW SHARE MODE;  -- see hold_schema_changes(): mostly nobody is there to wait for
    EXCEPTION WHEN OTHERS THEN
        NULL;  -- the user's lock_timeout is shorter: the base finds out that the table changed, and is taken again
    END;
    BEGIN
        LOAD '$libdir/scribe_capture';
    EXCEPTION WHEN OTHERS THEN
        NULL;  -- said where it matters: the row will be flagged
    END;
    -- a row only here: a start trigger that writes would break DROP INDEX CONCURRENTLY
    IF tg_tag !~ 'INDEX' AND scribe.is_active() AND NOT scribe.in_script() THEN
        PERFORM scribe.catch_up_owners(tg_tag);
        IF tg_tag = 'DROP OWNED' THEN
            PERFORM scribe.catch_up_owned();
        END IF;
    END IF;
    IF tg_tag IN ('CREATE EXTENSION', 'ALTER EXTENSION') AND scribe.is_active() THEN
        PERFORM scribe.begin_script(tg_tag);
    END IF;
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'pg_scribe could not prepare to record %: %', tg_tag, SQLERRM;
    PERFORM scribe.record_failure(tg_tag, SQLERRM);
END
$function$;

-- What the library knows of the statement that is running, as JSON; NULL without it.
CREATE OR REPLACE FUNCTION scribe.library_facts() RETURNS json
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    LOAD '$libdir/scribe_capture';
    RETURN nullif(current_setting('scribe.facts'), '');
EXCEPTION WHEN OTHERS THEN
    RETURN NULL;
END
$function$;

-- What the running command has dropped, noted in sql_drop by the library or by note_drop(); NULL: nothing. A session that loaded the
-- library before it was brought up to date has it in a setting, which the library sets right before.
CREATE OR REPLACE FUNCTION scribe.take_dropped() RETURNS json
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    noted constant text := scribe.take_note('dropped');
    facts constant json := scribe.library_facts();
BEGIN
    RETURN coalesce(noted::json, CASE WHEN facts IS NULL OR facts::jsonb ? 'dropped' THEN nullif(facts->>'dropped', '')
        ELSE nullif(current_setting('scribe.dropped', true), '') END::json);
END
$function$;

-- The statement that is running, its exactness and more, as JSON: from the library, else as far as SQL can tell.
CREATE OR REPLACE FUNCTION scribe.statement_facts(tag text) RETURNS json
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    facts constant json := scribe.library_facts();
    known record;
BEGIN
    IF facts IS NOT NULL THEN
        RETURN facts;
    END IF;
    BEGIN
        LOAD '$libdir/scribe_capture';
    EXCEPTION WHEN OTHERS THEN
        RAISE WARNING 'pg_scribe could not load its library: %', SQLERRM;
    END;
    SELECT * INTO known FROM scribe.running_text(tag);
    -- of a partition or a table LIKE another more would have to be known than the text
    RETURN json_build_object('statement', known.statement,
        'switches_triggers', known.statement ~* '\m(ENABLE|DISABLE)\M',
        'exact', known.reason IS NULL AND known.statement !~* '\m(PARTITION|LIKE)\M',
        'reason', concat_ws('; ', 'the library scribe_capture could not be loaded', CASE WHEN known.statement IS NULL THEN known.reason END),
        'temporary', scribe.grants_on_temporary(known.statement), 'in_extension', false,
        'detached', 0, 'attached', 0, 'bound_mutable', false, 'like_temporary', false);
END
$function$;
