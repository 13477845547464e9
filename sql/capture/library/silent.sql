-- silent.sql: called by the library: commands that fire no event trigger, or ran under event_triggers = off.

-- Called by the library after a command that fires no event trigger.
CREATE OR REPLACE FUNCTION scribe.record_plain(tag text, statement text, role text, path text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    named text;
BEGIN
    IF NOT scribe.is_active() THEN
        RETURN;
    END IF;
    IF tag IN ('GRANT', 'REVOKE') THEN  -- on the database, which has another name elsewhere
        named := substring(statement FROM '(?i)\mON\s+DATABASE\s+("(?:[^"]|"")+"|[^\s,"]+)\s+(?:TO|FROM)\M');
        IF named IS NULL OR (parse_ident(named))[1] <> current_database() THEN
            RETURN;
        END IF;
        -- twice a literal: no text can end one
        statement := format('DO %L', format('BEGIN EXECUTE pg_catalog.format(%L, pg_catalog.current_database()); END',
            regexp_replace(replace(statement, '%', '%%'), '(?i)(\mON\s+DATABASE\s+)("(?:[^"]|"")+"|[^\s,"]+)', '\1%I')));
    ELSIF tag ~ 'EVENT TRIGGER$' THEN
        LOCK TABLE scribe.seen_event_trigger IN ROW SHARE MODE;  -- reconcile() keeps away until this ends
    END IF;
    PERFORM scribe.write_row('ddl', tag, NULL, NULL, statement, true, NULL, NULL, role, path);
END
$function$;

-- Called by the library after a schema change under event_triggers = off: without the triggers nobody knows its effects.
-- Left out is what is of the whole cluster or made as temporary; words alone say nothing, a column may be called "role".
CREATE OR REPLACE FUNCTION scribe.record_unseen(tag text, statement text, role text, path text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    plain constant text := regexp_replace(statement, '/\*.*?\*/|--[^\n]*', ' ', 'g');  -- comments aside, to look at only
BEGIN
    IF scribe.is_active()
        AND tag !~ '\m(ROLE|DATABASE|TABLESPACE|SYSTEM)$'
        AND plain !~* '^\s*(COMMENT|SECURITY\s+LABEL|GRANT|REVOKE)\M.*\mON\s+(ROLE|DATABASE|TABLESPACE|PARAMETER)\M'
        AND plain !~* '^\s*CREATE\s+(OR\s+REPLACE\s+)?((LOCAL|GLOBAL)\s+)?TEMP(ORARY)?\M'
        AND plain !~* '\mINTO\s+((LOCAL|GLOBAL)\s+)?TEMP(ORARY)?\s|\mpg_temp\M' THEN
        PERFORM scribe.write_row('ddl', tag, NULL, NULL, statement, false, 'event_triggers was off', NULL, role, path);
    END IF;
END
$function$;

-- Called by the library after EXPLAIN ANALYZE made a table or materialized view, which fires no event trigger.
CREATE OR REPLACE FUNCTION scribe.record_explained(relation oid, statement text, role text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    made record;
BEGIN
    SELECT * INTO made FROM pg_class WHERE oid = relation AND relpersistence <> 't';
    IF NOT FOUND OR NOT scribe.is_active() THEN
        RETURN;
    END IF;
    IF made.relkind = 'm' THEN
        PERFORM scribe.write_row('ddl', 'CREATE MATERIALIZED VIEW', 'materialized view', relation::regclass::text,
            scribe.matview_text(relation), true, NULL, ARRAY[relation], role, '""');
    ELSE
        PERFORM scribe.write_row('create', 'CREATE TABLE AS', 'table', relation::regclass::text, statement, true, NULL,
            ARRAY[relation], role, '""');
        PERFORM scribe.mend_identity(ARRAY[relation]);
    END IF;
END
$function$;

-- Called by the library after REINDEX of an index or a table, which fires no event trigger before PostgreSQL 17.
CREATE OR REPLACE FUNCTION scribe.record_reindexed(relation oid, moved boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off AS $function$
BEGIN
    IF scribe.is_active() THEN
        PERFORM scribe.record_reindex(ARRAY(SELECT indexrelid FROM pg_index, scribe.with_children(ARRAY[relation]) AS family
            WHERE indexrelid = ANY (family) OR indrelid = ANY (family)), moved);
    END IF;
END
$function$;
