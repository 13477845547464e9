-- extensions.sql: extensions: the version that was installed, rows that an update changed, and those that cannot be followed.

-- CREATE or ALTER EXTENSION with the version that came of it here, where the server offers that; another server may have only a
-- newer one. A version the user named stays.
CREATE OR REPLACE FUNCTION scribe.with_version(tag text, statement text, extension name) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    version constant text := (SELECT extversion FROM pg_extension WHERE extname = extension);
    condition text;
    exact text;
BEGIN
    IF version IS NULL OR statement !~* '^\s*(CREATE\s+EXTENSION|ALTER\s+EXTENSION\s+\S+\s+UPDATE)\M'
        OR statement ~* '\m(VERSION|FROM|TO)\M' THEN
        RETURN statement;
    END IF;
    IF tag = 'CREATE EXTENSION' THEN
        exact := format(E'%s\n VERSION %L', statement, version);
        condition := format('SELECT FROM pg_catalog.pg_available_extension_versions WHERE name = %L AND version = %L',
            extension, version);
    ELSE
        exact := format('ALTER EXTENSION %I UPDATE TO %L', extension, version);
        condition := format('SELECT FROM pg_catalog.pg_extension AS e, pg_catalog.pg_extension_update_paths(e.extname) AS p '
            'WHERE e.extname = %L AND p.source = e.extversion AND p.target = %L AND p.path IS NOT NULL', extension, version);
    END IF;
    RETURN format('DO %L', format('BEGIN IF EXISTS (%s) THEN EXECUTE %L; ELSE EXECUTE %L; END IF; END', condition, exact, statement));
END
$function$;

-- The rows that an update script may have changed in the tables of an extension that a dump has rows of. The copy may have
-- the new version from the beginning, so that nothing is updated there. Only where nobody else's code hangs on them.
CREATE OR REPLACE FUNCTION scribe.record_config(tag text, extension name) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET DateStyle = 'ISO, MDY' SET IntervalStyle = postgres SET TimeZone = 'UTC'
SET extra_float_digits = 3 SET bytea_output = hex SET lc_monetary = 'C' SET row_security = off AS $function$
DECLARE
    config record;
    lines text;
    most constant bigint := 16 * 1024 * 1024;  -- bytes of the table
BEGIN
    FOR config IN
        SELECT c.oid, c.oid::regclass AS name, f.condition, r.rolsuper,
            (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) FROM pg_attribute AS a
                WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '') AS columns,
            (SELECT string_agg(format('quote_nullable(%I::text)', a.attname), ', ' ORDER BY a.attnum) FROM pg_attribute AS a
                WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '') AS texts
        FROM pg_extension AS e, unnest(e.extconfig, e.extcondition) AS f (oid, condition)
            JOIN pg_class AS c ON c.oid = f.oid AND c.relkind = 'r' JOIN pg_roles AS r ON r.oid = c.relowner
        WHERE e.extname = extension ORDER BY c.oid
    LOOP
        IF NOT config.rolsuper OR config.columns IS NULL OR pg_relation_size(config.oid) > most THEN
            PERFORM scribe.write_row('lost', tag, 'table', config.name::text, '', false,
                format('what the update made of the rows of %s was not looked at', config.name), ARRAY[config.oid]);
            CONTINUE;
        END IF;
        EXECUTE format('SELECT string_agg(format(''(%%s)'', concat_ws('', '', %s)), E'',\n'') FROM ONLY %s %s',
            config.texts, config.name, config.condition) INTO lines;
        PERFORM scribe.write_row('fill', tag, 'table', config.name::text, format('DELETE FROM ONLY %s %s', config.name,
            config.condition), true, NULL, ARRAY[config.oid], current_user, '""');
        IF lines IS NOT NULL THEN
            PERFORM scribe.write_row('fill', tag, 'table', config.name::text,
                format(E'INSERT INTO %s (%s) OVERRIDING SYSTEM VALUE VALUES\n%s', config.name, config.columns, lines), true, NULL,
                ARRAY[config.oid], current_user, '""');
        END IF;
    END LOOP;
END
$function$;

-- What an extension does that cannot be followed, as lib/scribe/dump/preflight.py has it.
CREATE OR REPLACE FUNCTION scribe.refuse_extension(tag text, extension name) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    IF extension = 'timescaledb' THEN
        PERFORM scribe.write_row('lost', tag, 'extension', extension::text, '', false,
            'timescaledb makes, changes and drops tables and indexes by itself; a copy of its hypertables is not exact', NULL);
    END IF;
END
$function$;

-- What an event trigger of the user's does to what an extension's script has just made: a copy runs the script, with no such trigger, and
-- pg_dump takes all of it for the script's.
CREATE OR REPLACE FUNCTION scribe.flag_within_script(tag text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    stack constant text := scribe.outer_stack();  -- has the names with a schema, or as the path was when they were compiled
    maker regprocedure;
    made record;
BEGIN
    SELECT p.oid INTO maker
        FROM pg_event_trigger AS e JOIN pg_proc AS p ON p.oid = e.evtfoid JOIN pg_namespace AS n ON n.oid = p.pronamespace
        WHERE n.nspname <> 'scribe' AND (strpos(stack, format('PL/pgSQL function %I() line ', proname)) > 0
            OR strpos(stack, format('PL/pgSQL function %I.%I() line ', nspname, proname)) > 0) LIMIT 1;
    IF maker IS NOT NULL THEN
        SELECT * INTO made FROM pg_event_trigger_ddl_commands() LIMIT 1;
        PERFORM scribe.write_row('lost', tag, made.object_type, made.object_identity, '', false,
            format('the event trigger function %s did this within the script of an extension, where neither a copy nor pg_dump has it',
                maker), NULL);
    END IF;
END
$function$;
