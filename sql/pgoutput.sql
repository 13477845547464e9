-- pgoutput.sql: what capture needs beyond capture.sql where pgoutput is the decoder and no library is on the server.
--
-- Run after capture.sql. The facts of each table (sql/table_facts.sql) go into the stream when DDL changes them, and
-- statements' texts come from what SQL can tell; whatever is more than one statement is cut at rotation, by a parser.
-- Privilege: superuser. Oldest version: PostgreSQL 14.

DO $quiet$
BEGIN
    PERFORM pg_catalog.set_config('scribe.own', (SELECT token FROM scribe.config), false);
END
$quiet$;

-- What a translator of the stream must know of each table; its rows travel in the stream, before the rows that need them.
CREATE TABLE IF NOT EXISTS scribe.table_facts (relid oid PRIMARY KEY, facts text NOT NULL);
REVOKE ALL ON scribe.table_facts FROM PUBLIC;

-- CREATE TABLE for a table made by a query: its rows are in the stream before the command has ended.
CREATE OR REPLACE FUNCTION scribe.create_text(relation oid) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $function$
    SELECT format('CREATE %sTABLE %s (%s)', CASE WHEN c.relpersistence = 'u' THEN 'UNLOGGED ' END, c.oid::regclass, (
            SELECT string_agg(concat_ws(' ', quote_ident(a.attname), format_type(a.atttypid, a.atttypmod),
                CASE WHEN a.attcollation <> t.typcollation THEN 'COLLATE ' || a.attcollation::regcollation END), ', '
                ORDER BY a.attnum)
            FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = a.atttypid
            WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped))
        || coalesce((SELECT format(' USING %I', amname) FROM pg_am WHERE oid = c.relam AND amname <> 'heap'), '')
        || coalesce((SELECT format(' WITH (%s)', string_agg(format('%s%I=%L', o.prefix, split_part(o.option, '=', 1),
                substr(o.option, strpos(o.option, '=') + 1)), ', '))
            FROM (SELECT '' AS prefix, unnest(c.reloptions) AS option
                UNION ALL SELECT 'toast.', unnest(x.reloptions) FROM pg_class AS x WHERE x.oid = c.reltoastrelid) AS o
            HAVING count(*) > 0), '')
        || coalesce((SELECT format(' TABLESPACE %I', spcname) FROM pg_tablespace WHERE oid = c.reltablespace), '')
    FROM pg_class AS c WHERE c.oid = relation
$function$;

-- Event trigger sql_drop: notes of which tables the facts may have changed.
CREATE OR REPLACE FUNCTION scribe.note_dropped_facts() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    PERFORM set_config('scribe.facts_changed', (
        SELECT CASE WHEN bool_or(object_type = 'index' AND tg_tag NOT IN ('ALTER TABLE', 'DROP TABLE')) THEN 'all'
            ELSE string_agg(DISTINCT to_regclass(format('%I.%I', address_names[1], address_names[2]))::oid::text, ' ') END
        FROM pg_event_trigger_dropped_objects()
        WHERE object_type IN ('index', 'table constraint', 'trigger', 'rule', 'table column', 'default value')), true);
    DELETE FROM scribe.table_facts AS f USING pg_event_trigger_dropped_objects() AS d
        WHERE d.classid = 'pg_class'::regclass AND d.objsubid = 0 AND f.relid = d.objid;
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'pg_scribe could not note what % dropped: %', tg_tag, SQLERRM;
END
$function$;

-- Event trigger ddl_command_end: brings the facts up to date, before the command itself is recorded.
CREATE OR REPLACE FUNCTION scribe.note_facts() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    noted constant text := coalesce(current_setting('scribe.facts_changed', true), '');
    touched oid[];
BEGIN
    PERFORM set_config('scribe.facts_changed', '', true);
    IF tg_tag IN ('CREATE EXTENSION', 'ALTER EXTENSION') THEN
        PERFORM set_config('scribe.in_script', '', true);
    END IF;
    IF noted <> 'all' THEN
        touched := ARRAY(SELECT CASE e.classid
                WHEN 'pg_class'::regclass THEN coalesce((SELECT indrelid FROM pg_index WHERE indexrelid = e.objid), e.objid)
                WHEN 'pg_trigger'::regclass THEN (SELECT tgrelid FROM pg_trigger WHERE oid = e.objid)
                WHEN 'pg_rewrite'::regclass THEN (SELECT ev_class FROM pg_rewrite WHERE oid = e.objid) END
            FROM pg_event_trigger_ddl_commands() AS e) || string_to_array(nullif(noted, ''), ' ')::oid[];
        touched := array_remove(touched, NULL);
        IF touched = '{}' THEN
            RETURN;
        END IF;
        touched := scribe.with_children(touched) || ARRAY(SELECT inhparent FROM pg_inherits WHERE inhrelid = ANY (touched));
    END IF;
    INSERT INTO scribe.table_facts AS f
        SELECT r.relid, CASE WHEN tg_tag IN ('CREATE TABLE AS', 'SELECT INTO')
            THEN (r.facts::jsonb || jsonb_build_object('c', scribe.create_text(r.relid)))::text ELSE r.facts END
        FROM scribe.read_facts(touched) AS r
    ON CONFLICT (relid) DO UPDATE SET facts = EXCLUDED.facts WHERE f.facts <> EXCLUDED.facts;
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'pg_scribe could not note what % changed: %', tg_tag, SQLERRM;
END
$function$;

-- Replaces capture.sql's: without the library. A reason that begins with "cut" says that the text may be more than the
-- one statement and is to be cut: of a string, or the given statement of a function's body.
CREATE OR REPLACE FUNCTION scribe.statement_facts(tag text) RETURNS json
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET lc_messages = 'C' AS $function$
DECLARE
    text text := regexp_replace(current_query(), '[\s;]+$', '');
    reason text := 'cut: only the whole string is known';
    stack text;
    ending int;
    called text[];
    named text[];
    detached oid;
BEGIN
    GET DIAGNOSTICS stack = PG_CONTEXT;
    stack := regexp_replace(stack, '^(PL/pgSQL function scribe\.[^\n]*(\n|$))+', '');  -- our own frames
    IF stack = '' THEN
        IF strpos(text, ';') = 0 THEN
            reason := NULL;
        END IF;
    ELSIF stack LIKE 'SQL statement "%' THEN
        ending := strpos(stack, E'"\nPL/pgSQL ');
        text := regexp_replace(CASE WHEN ending > 0 THEN substr(stack, 16, ending - 16) ELSE rtrim(substr(stack, 16), '"') END,
            '[\s;]+$', '');
        reason := 'cut: only the string that a function ran is known';
    ELSE
        called := regexp_match(stack, '^SQL function "([^"]+)" statement (\d+)');
        reason := 'run by a function whose text is not known';
        IF called IS NOT NULL THEN
            SELECT max(p.prosrc), 'cut ' || called[2] || ': only the body of the function is known' INTO text, reason
            FROM pg_proc AS p JOIN pg_language AS l ON l.oid = p.prolang
            WHERE p.proname = called[1] AND l.lanname = 'sql' AND p.prosrc <> '' HAVING count(*) = 1;
            IF NOT FOUND THEN
                text := regexp_replace(current_query(), '[\s;]+$', '');
                reason := 'run by a function that is not the only one of its name';
            END IF;
        END IF;
    END IF;
    -- what the library would see in the parsed statement
    IF tag IN ('CREATE TABLE', 'ALTER TABLE') AND (
            (text ~* '\mLIKE\M' AND pg_my_temp_schema() <> 0)
            OR text ~* '\mFOR\s+VALUES\M.*(\m(current_date|current_timestamp|localtimestamp)\M|\m(?!(IN|FROM|TO|WITH|VALUES)\M)\w+\s*\()')
    THEN
        reason := 'a temporary table or an expression in a bound may change its meaning';
    END IF;
    IF tag = 'ALTER TABLE' AND text ~* '\mDETACH\s+PARTITION\M.*\mCONCURRENTLY\s*$' THEN  -- which leaves a constraint behind
        named := parse_ident(substring(text FROM '(?i)\mDETACH\s+PARTITION\s+(.*\S)\s+CONCURRENTLY\s*$'), false);
        SELECT c.oid INTO detached FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE c.relname = named[cardinality(named)] AND CASE WHEN cardinality(named) > 1 THEN n.nspname = named[1]
            ELSE n.nspname = ANY (string_to_array(replace(current_setting('scribe.path', true), '"', ''), ', ')) END LIMIT 1;
    END IF;
    RETURN json_build_object('statement', text, 'exact', reason IS NULL, 'reason', reason, 'using_mutable', true,
        'temporary', false, 'in_extension', coalesce(current_setting('scribe.in_script', true), '') = 'yes',
        'detached', coalesce(detached, 0), 'attached', 0, 'bound_mutable', false, 'like_temporary', false);
END
$function$;

-- Replaces capture.sql's: no library is loaded.
CREATE OR REPLACE FUNCTION scribe.command_start() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    PERFORM set_config('scribe.dropped', '', true), set_config('scribe.rewritten', '', true),
        set_config('scribe.facts_changed', '', true);
    IF tg_tag IN ('CREATE EXTENSION', 'ALTER EXTENSION') AND scribe.is_active() THEN
        -- what a script drops, the event triggers do not call an extension's: note_facts() ends this
        PERFORM set_config('scribe.in_script', 'yes', true);
        PERFORM scribe.write_row('script', tg_tag, NULL, NULL, '', true, NULL, NULL);
    END IF;
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'pg_scribe could not prepare to record %: %', tg_tag, SQLERRM;
END
$function$;

-- Before each row of ddl_history: foreign event triggers are named with their mode, which nobody can look up later.
CREATE OR REPLACE FUNCTION scribe.complete_row() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    NEW.quiet := ARRAY(SELECT CASE evtenabled WHEN 'A' THEN 'ALWAYS ' ELSE 'REPLICA ' END || evtname::text
        FROM pg_event_trigger WHERE evtname::text = ANY (NEW.quiet));
    RETURN NEW;
END
$function$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA scribe FROM PUBLIC;
GRANT EXECUTE ON FUNCTION scribe.note_caller() TO PUBLIC;

DO $install$
DECLARE
    wanted constant text[] := ARRAY[
        ['scribe_2_facts', 'sql_drop', 'note_dropped_facts'], ['scribe_3_facts', 'ddl_command_end', 'note_facts']];
BEGIN
    DROP TRIGGER IF EXISTS complete_row ON scribe.ddl_history;
    CREATE TRIGGER complete_row BEFORE INSERT ON scribe.ddl_history FOR EACH ROW
        WHEN (NEW.quiet <> '{}') EXECUTE FUNCTION scribe.complete_row();
    ALTER TABLE scribe.ddl_history ENABLE ALWAYS TRIGGER complete_row;
    FOR i IN 1 .. array_length(wanted, 1) LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_event_trigger WHERE evtname = wanted[i][1]) THEN
            EXECUTE pg_catalog.format('CREATE EVENT TRIGGER %I ON %s EXECUTE FUNCTION scribe.%I()',
                wanted[i][1], wanted[i][2], wanted[i][3]);
        END IF;
        EXECUTE pg_catalog.format('ALTER EVENT TRIGGER %I ENABLE ALWAYS', wanted[i][1]);
    END LOOP;
    INSERT INTO scribe.table_facts AS f SELECT * FROM scribe.read_facts(NULL)
        ON CONFLICT (relid) DO UPDATE SET facts = EXCLUDED.facts WHERE f.facts <> EXCLUDED.facts;
    DELETE FROM scribe.table_facts AS f WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_class WHERE oid = f.relid);
END
$install$;

SELECT pg_catalog.set_config('scribe.own', '', false) AS capture;
