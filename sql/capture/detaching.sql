-- detaching.sql: DETACH PARTITION ... CONCURRENTLY, which works in two transactions. After the first, nothing that is done to the parent
-- reaches the partition any more, and if the second fails, that is so until somebody runs DETACH PARTITION ... FINALIZE. So a copy
-- detaches the partition with the first transaction, and what ends later only makes sure of it.

-- Event trigger ddl_command_start. What is recorded is undone with the first transaction, if that fails.
CREATE OR REPLACE FUNCTION scribe.detach_start() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off SET lock_timeout = '1min'
SET standard_conforming_strings = on AS $function$
DECLARE
    detached oid;
    parent regclass;
BEGIN
    IF current_query() !~* '\mDETACH\M' OR NOT scribe.is_active() THEN  -- it is never one of several statements
        RETURN;
    END IF;
    detached := scribe.statement_facts(tg_tag)->>'detached';
    SELECT inhparent INTO parent FROM pg_inherits AS i WHERE inhrelid = detached AND NOT coalesce((to_jsonb(i)->>'inhdetachpending')::boolean, false);
    IF FOUND THEN
        INSERT INTO scribe.detaching VALUES (detached) ON CONFLICT DO NOTHING;
        PERFORM scribe.write_row('ddl', tg_tag, 'table', parent::text,
            format('ALTER TABLE ONLY %s DETACH PARTITION %s', parent, detached::regclass), true, NULL, ARRAY[parent::oid], NULL, '""');
    END IF;
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'pg_scribe could not prepare to record %: %', tg_tag, SQLERRM;
    PERFORM scribe.record_failure(tg_tag, SQLERRM);
END
$function$;

-- Record the end of such a statement, or FINALIZE: the partition is detached, and has the constraint that stands for its bound.
CREATE OR REPLACE FUNCTION scribe.record_detached(tag text, parent oid, detached oid) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    constraint_name name;
BEGIN
    DELETE FROM scribe.detaching WHERE relid = detached;
    PERFORM scribe.write_row('ddl', tag, 'table', parent::regclass::text, format('DO %L', format(
        'BEGIN IF EXISTS (SELECT FROM pg_catalog.pg_inherits WHERE inhrelid = %L::pg_catalog.regclass AND inhparent = %L::pg_catalog.regclass)'
        ' THEN ALTER TABLE ONLY %s DETACH PARTITION %s; END IF; END', detached::regclass, parent::regclass, parent::regclass,
        detached::regclass)), true, NULL, ARRAY[parent], NULL, '""');
    FOR constraint_name IN SELECT conname FROM pg_constraint WHERE conrelid = detached AND contype = 'c' LOOP
        PERFORM scribe.write_row('ddl', tag, 'table constraint', NULL, format('DO %L', format(
            'BEGIN IF NOT EXISTS (SELECT FROM pg_catalog.pg_constraint WHERE conrelid = %L::pg_catalog.regclass '
            'AND conname = %L) THEN ALTER TABLE %s ADD CONSTRAINT %I %s; END IF; END', detached::regclass,
            constraint_name, detached::regclass, constraint_name, (SELECT pg_get_constraintdef(oid) FROM pg_constraint
                WHERE conrelid = detached AND conname = constraint_name))), true, NULL, NULL, NULL, '""');
    END LOOP;
END
$function$;

-- Record what a command that drops has dropped along with a parent, of partitions that a copy has detached already.
CREATE OR REPLACE FUNCTION scribe.record_detaching_drops(tag text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    gone text;
BEGIN
    FOR gone IN SELECT o.object_identity FROM pg_event_trigger_dropped_objects() AS o
            WHERE o.classid = 'pg_class'::regclass AND o.objsubid = 0 AND NOT o.original AND o.objid IN (SELECT relid FROM scribe.detaching) LOOP
        PERFORM scribe.write_row('ddl', tag, 'table', gone, format('DROP TABLE IF EXISTS %s CASCADE', gone), true, NULL, NULL, current_user, '""');
    END LOOP;
    DELETE FROM scribe.detaching AS d USING pg_event_trigger_dropped_objects() AS o
        WHERE o.classid = 'pg_class'::regclass AND o.objsubid = 0 AND o.objid = d.relid;
    -- FINALIZE itself drops some, and so it does in a copy
    IF current_query() !~* '\mDETACH\M' AND EXISTS (SELECT FROM pg_event_trigger_dropped_objects() AS o WHERE NOT o.original AND (o.object_type = 'index' AND tag = 'DROP INDEX'
            OR o.object_type IN ('table constraint', 'trigger') AND EXISTS (SELECT FROM scribe.detaching AS d JOIN pg_class AS c ON c.oid = d.relid
                JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE o.address_names[1:2] = ARRAY[n.nspname, c.relname]::text[]))) THEN
        PERFORM scribe.write_row('lost', tag, NULL, NULL, '', false,
            'it dropped what a partition has, of which DETACH PARTITION CONCURRENTLY has not ended: run DETACH PARTITION ... FINALIZE', NULL);
    END IF;
END
$function$;
