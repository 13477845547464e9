-- firm_names.sql: names that a replay finds as the command did, whatever other sessions have made since under the same ones.

-- The path for a statement that is replayed with our rights. Its transaction may end after another's that made, in a schema which comes
-- earlier in the user's path, what has the same name: so the path is the one schema of what was named. NULL: no path will do, since
-- arguments have types of other schemas, or what was named is in several.
CREATE OR REPLACE FUNCTION scribe.firm_path(kinds text[], schemas text[], path text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $function$
    SELECT CASE WHEN strpos(path, ',') = 0 THEN path
        WHEN kinds && '{function,procedure,aggregate,operator,cast,transform}' THEN NULL
        ELSE (SELECT CASE count(DISTINCT s) WHEN 0 THEN '' WHEN 1 THEN quote_ident(min(s)) END FROM unnest(schemas) AS s) END
$function$;

-- The same of what a command has made or changed.
CREATE OR REPLACE FUNCTION scribe.firm_path_of_made(path text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $function$
    SELECT scribe.firm_path(array_agg(e.object_type), array_agg(coalesce(e.schema_name, n.nspname)) || array_agg(t.schema), path)
    FROM pg_event_trigger_ddl_commands() AS e
        LEFT JOIN pg_constraint AS k ON e.classid = 'pg_constraint'::regclass AND k.oid = e.objid
        LEFT JOIN pg_trigger AS g ON e.classid = 'pg_trigger'::regclass AND g.oid = e.objid
        LEFT JOIN pg_rewrite AS w ON e.classid = 'pg_rewrite'::regclass AND w.oid = e.objid
        LEFT JOIN pg_policy AS o ON e.classid = 'pg_policy'::regclass AND o.oid = e.objid
        LEFT JOIN pg_class AS c ON c.oid = coalesce(nullif(k.conrelid, 0), g.tgrelid, w.ev_class, o.polrelid)
        LEFT JOIN pg_type AS d ON d.oid = k.contypid
        LEFT JOIN pg_namespace AS n ON n.oid = coalesce(c.relnamespace, d.typnamespace)
        LEFT JOIN LATERAL (SELECT m.nspname AS schema FROM pg_publication_rel AS r JOIN pg_class AS q ON q.oid = r.prrelid
            JOIN pg_namespace AS m ON m.oid = q.relnamespace
            WHERE e.classid = 'pg_publication'::regclass AND r.prpubid = e.objid) AS t ON true
$function$;

-- A comment on, or a new owner of, what has arguments, with all names qualified; NULL: it is another statement.
CREATE OR REPLACE FUNCTION scribe.firm_statement(tag text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $function$
    SELECT CASE WHEN tag = 'COMMENT' THEN format('COMMENT ON %s %s IS %L', upper(e.object_type),
            scribe.name_of(e.classid, e.objid, e.object_identity), obj_description(e.objid, e.classid::regclass::text::name))
        WHEN p.oid IS NOT NULL THEN format('ALTER %s %s OWNER TO %I', upper(e.object_type),
            scribe.name_of(e.classid, e.objid, e.object_identity), pg_get_userbyid(p.proowner)) END
    FROM pg_event_trigger_ddl_commands() AS e LEFT JOIN pg_proc AS p ON e.classid = 'pg_proc'::regclass AND p.oid = e.objid LIMIT 1
$function$;

-- Whether a DROP has to be recorded by what it dropped: its text is not known, or it named what is in no copy, or what was not there and
-- may be there when its transaction ends.
CREATE OR REPLACE FUNCTION scribe.drops_by_identity(facts json, dropped json) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $function$
    SELECT (dropped->>'temporary')::int > 0 OR NOT coalesce((facts->>'exact')::boolean, false)
        OR CASE WHEN facts->'objects' IS NULL THEN facts->>'statement' ~* '\mIF\s+EXISTS\M' AND strpos(facts->>'statement', ',') > 0
            ELSE (facts->>'objects')::int > json_array_length(dropped->'named') END
$function$;

-- Flag a schema's new name if transactions that are replayed after it named the old one: ALTER SCHEMA waits for those alone that
-- have made something in it. Of rows,
-- scribe_decoder knows what the schema is called when their transaction ends; other decoders do not.
CREATE OR REPLACE FUNCTION scribe.flag_renamed_schema(tag text, statement text, schema oid) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    here constant oid := (SELECT oid FROM pg_database WHERE datname = current_database());
    rows constant boolean := NOT EXISTS (SELECT FROM pg_replication_slots WHERE plugin = 'scribe_decoder' AND database = current_database());
BEGIN
    IF coalesce(statement ~* '\mRENAME\M', true) AND EXISTS (
            SELECT FROM pg_locks AS l JOIN pg_class AS c ON c.oid = l.relation
            WHERE l.database = here AND l.granted AND l.pid IS DISTINCT FROM pg_backend_pid()
                AND l.locktype = 'relation' AND c.relnamespace = schema AND (rows AND l.mode = 'RowExclusiveLock'
                    OR l.mode = ANY ('{ShareLock,ShareRowExclusiveLock,ExclusiveLock,AccessExclusiveLock}'))) THEN
        PERFORM scribe.write_row('lost', tag, 'schema', NULL, '', false,
            'the schema was renamed while other transactions changed what is in it, and they are replayed after that', NULL);
    END IF;
END
$function$;
