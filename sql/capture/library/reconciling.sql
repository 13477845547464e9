-- reconciling.sql: what rotation makes of a relation of whose making nothing told, and what else it looks at: nothing.

-- Record a relation of whose making nothing told, such as what EXPLAIN ANALYZE CREATE TABLE AS made.
-- A table or sequence the decoder has made from the catalog, in its place.
CREATE OR REPLACE FUNCTION scribe.record_unknown(relation oid, object_type text, object_identity text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    IF object_type IN ('table', 'sequence') THEN
        PERFORM scribe.mend_identity(ARRAY[relation]);
        RETURN;
    ELSIF EXISTS (SELECT FROM scribe.left_out WHERE classid = 'pg_class'::regclass AND objid = relation) THEN
        RETURN;
    END IF;
    PERFORM scribe.write_row('lost', 'CREATE', object_type, object_identity, '', false,
        format('%s %s is there, and nothing told how it was made', object_type, object_identity), NULL, current_user, '');
END
$function$;

-- What else a rotation records: nothing where the library does.
CREATE OR REPLACE FUNCTION scribe.reconcile_more(record boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
END
$function$;
