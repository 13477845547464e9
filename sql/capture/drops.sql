-- drops.sql: what a command drops, noted in sql_drop.

-- The schema that an object's address begins with, NULL where it has none. An identity would not do: it holds names, and
-- a user's names may look like anything. type, names: as pg_identify_object_as_address() has them.
CREATE OR REPLACE FUNCTION scribe.schema_of(type text, names text[]) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $function$
    SELECT CASE WHEN type IN ('type', 'domain constraint') THEN substring(names[1] FROM '^(pg_temp(?:_\d+)?|scribe)\.')
        WHEN type LIKE 'operator %' THEN names[2]
        WHEN cardinality(names) > 1 AND type <> 'default acl' THEN names[1] END
$function$;

-- The same of an object that is there; schema: what the event trigger's function says, NULL for what is part of a table.
CREATE OR REPLACE FUNCTION scribe.schema_of(schema text, class oid, object oid, part int) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    RETURN CASE WHEN schema IS NOT NULL OR class IS NULL OR object IS NULL THEN schema
        ELSE (SELECT scribe.schema_of(a.type, a.object_names) FROM pg_identify_object_as_address(class, object, part) AS a) END;
END
$function$;

-- Whether a command is about what goes with somebody's session. schema: that of the object, NULL if it has none.
CREATE OR REPLACE FUNCTION scribe.is_temporary(type text, identity text, schema text) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $function$
    SELECT coalesce(CASE type WHEN 'schema' THEN identity ELSE schema END ~ '^pg_(toast_)?temp(_\d+)?$', false)
$function$;

-- Event trigger sql_drop: notes for the end of the command what went. A DROP is recorded at once: other event triggers of
-- sql_drop may make again what it dropped.
CREATE OR REPLACE FUNCTION scribe.note_drop() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off SET lock_timeout = '1min'
SET standard_conforming_strings = on AS $function$
DECLARE
    dropped json;
    done boolean;
BEGIN
    dropped := (
        SELECT json_build_object(
            'named', coalesce(json_agg(json_build_object('type', object_type, 'identity', object_identity,
                'schema', to_json(schema), 'ours', schema = 'scribe'
                OR (object_type = 'schema' AND object_identity = 'scribe'))) FILTER (WHERE original AND NOT passing), '[]'),
            'went', coalesce(json_agg(object_identity) FILTER (WHERE object_type = 'table constraint' AND NOT original AND NOT passing), '[]'),
            'indexes', CASE WHEN bool_or(object_type = 'table column') OR NOT bool_or(object_type = 'table')  -- else of those tables
                THEN coalesce(json_agg(object_identity) FILTER (WHERE object_type = 'index' AND NOT passing), '[]') ELSE '[]' END,
            'temporary', count(*) FILTER (WHERE original AND passing),
            'keys', count(*) FILTER (WHERE object_type IN ('index', 'table constraint', 'table column')))
        FROM (
            SELECT o.*, schema, is_temporary OR scribe.is_temporary(object_type, object_identity, schema)
                OR EXISTS (SELECT FROM scribe.left_out AS l WHERE l.classid = o.classid AND l.objid = o.objid) AS passing
            FROM pg_event_trigger_dropped_objects() AS o,
                LATERAL coalesce(schema_name, scribe.schema_of(object_type, address_names)) AS schema) AS dropped);
    IF EXISTS (SELECT FROM scribe.left_out) THEN
        DELETE FROM scribe.left_out AS l USING pg_event_trigger_dropped_objects() AS o
            WHERE l.classid = o.classid AND l.objid = o.objid;
    END IF;
    IF EXISTS (SELECT FROM scribe.detaching) AND scribe.is_active() THEN
        PERFORM scribe.record_detaching_drops(tg_tag);
    END IF;
    IF tg_tag LIKE 'DROP %' AND tg_tag <> 'DROP OWNED' THEN
        done := scribe.record_ended(tg_tag, dropped);  -- an assignment adds nothing to the call stack
    ELSIF json_array_length(dropped->'named') > 0 OR (dropped->>'temporary')::int + (dropped->>'keys')::int > 0 THEN
        done := scribe.keep_note('dropped', dropped::text) IS NULL;
    END IF;
EXCEPTION
    WHEN SQLSTATE 'SC001' THEN
        RAISE;  -- the refusal that SCRIBE_REPLICA_IDENTITY=refuse asks for
    WHEN OTHERS THEN
        IF scribe.is_run_again(SQLSTATE) THEN
            RAISE;
        END IF;
        RAISE WARNING 'pg_scribe could not note what % dropped: %', tg_tag, SQLERRM;
        PERFORM scribe.record_failure(tg_tag, SQLERRM);
END
$function$;
