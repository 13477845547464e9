-- statement.sql: the running statement without the library: texts that may be more than the one statement are cut at rotation.

-- What the running command has dropped, as note_drop() noted it in sql_drop; NULL: nothing.
CREATE OR REPLACE FUNCTION scribe.take_dropped() RETURNS json
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    RETURN scribe.take_note('dropped')::json;
END
$function$;

-- The partition that the running command attached or made, NULL for none: the newest row of pg_inherits among those of its
-- tables, if it was not there for an earlier command of this transaction.
CREATE OR REPLACE FUNCTION scribe.newest_partition() RETURNS oid
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    top_xid constant bigint := pg_current_xact_id()::text::bigint;
    touched constant oid[] := ARRAY(SELECT objid FROM pg_event_trigger_ddl_commands() WHERE classid = 'pg_class'::regclass);
    newest record;
BEGIN
    SELECT i.inhrelid, i.cmin INTO newest FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhparent
    WHERE c.relkind = 'p' AND (i.inhparent = ANY (touched) OR i.inhrelid = ANY (touched))
        AND CASE WHEN i.xmin::text::bigint >= top_xid & 4294967295 THEN
            pg_xact_status((((top_xid >> 32) << 32) | i.xmin::text::bigint)::text::xid8) = 'in progress' ELSE false END
    ORDER BY i.cmin::text::bigint DESC LIMIT 1;
    IF newest.inhrelid IS NULL THEN
        RETURN NULL;
    END IF;
    INSERT INTO scribe.attached VALUES (pg_current_xact_id(), newest.inhrelid, newest.cmin::text) ON CONFLICT DO NOTHING;
    RETURN CASE WHEN FOUND THEN newest.inhrelid END;
END
$function$;

-- Whether a name, as it is written in a statement, is that of a temporary relation of this session.
CREATE OR REPLACE FUNCTION scribe.is_temporary_name(name text) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    words constant text[] := parse_ident(name, false);
BEGIN
    -- where the path names pg_temp, another of that name may come first
    RETURN (cardinality(words) = 1 AND current_setting('scribe.path', true) !~* 'pg_temp' OR words[1] ~ '^pg_temp') AND EXISTS (SELECT FROM pg_class
        WHERE relnamespace = pg_my_temp_schema() AND relname = words[cardinality(words)]);
EXCEPTION WHEN invalid_parameter_value THEN
    RETURN false;
END
$function$;

-- A GRANT or REVOKE without the temporary tables that it names, empty if it names no others; any other text as it is.
CREATE OR REPLACE FUNCTION scribe.without_temporary(statement text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    parts constant text[] := regexp_match(statement,
        '^(\s*(?:GRANT|REVOKE)\M.*?\mON\s+(?:TABLE\s+|SEQUENCE\s+)?)((?:"(?:[^"]|"")+"|[^"])+?)(\s+(?:TO|FROM)\M.*)$', 'is');
    names text[];
    kept text[];
BEGIN
    IF scribe.grants_on_temporary(statement) THEN
        RETURN '';
    END IF;
    IF parts IS NULL THEN
        RETURN statement;
    END IF;
    names := ARRAY(SELECT m[1] FROM regexp_matches(parts[2],
        '((?:(?:"(?:[^"]|"")+"|[^\s,."]+)\s*\.\s*)?(?:"(?:[^"]|"")+"|[^\s,."]+))(?:\s*,|\s*$)', 'g') AS m);
    kept := ARRAY(SELECT n FROM unnest(names) AS n WHERE NOT scribe.is_temporary_name(n));
    RETURN CASE cardinality(kept) WHEN cardinality(names) THEN statement WHEN 0 THEN ''
        ELSE parts[1] || array_to_string(kept, ', ') || parts[3] END;
END
$function$;

-- What a word of a statement names; standard_conforming_strings is on.
CREATE OR REPLACE FUNCTION scribe.name_of(word text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    name text := (parse_ident(regexp_replace(word, '^U&', '', 'i')))[1];
BEGIN
    IF word ~* '^U&' THEN
        EXECUTE 'SELECT U&''' || replace(name, '''', '''''') || '''' INTO name;
    END IF;
    RETURN name;
END
$function$;

-- A statement with a space for each comment, as far as it is of names, words and signs; NULL: it holds something else, does not end, or is
-- longer than any that is asked for.
CREATE OR REPLACE FUNCTION scribe.without_comments(statement text) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    piece text;
    rest text := statement;
    kept text := '';
    depth int := 0;
BEGIN
    IF length(statement) > 10000 THEN
        RETURN NULL;
    END IF;
    WHILE rest <> '' LOOP
        piece := substring(rest FROM CASE WHEN depth > 0 THEN '^(?:/\*|\*/|[^*/]+|[*/])'
            ELSE '^(?:/\*|--[^\n\r]*|"(?:[^"]|"")*"|\w[\w$]*|[^"''$/\w-]+|[/-])' END);
        IF piece IS NULL THEN
            RETURN NULL;
        END IF;
        kept := kept || CASE WHEN depth > 0 THEN '' WHEN piece ~ '^(/\*|--)' THEN ' ' ELSE piece END;
        depth := depth + CASE piece WHEN '/*' THEN 1 WHEN '*/' THEN -1 ELSE 0 END;
        rest := substr(rest, length(piece) + 1);
    END LOOP;
    RETURN CASE depth WHEN 0 THEN kept END;
END
$function$;

-- The partition that a statement detaches CONCURRENTLY, or whose detaching it ends with FINALIZE; NULL: it is another statement. Read from
-- its first word to its last, since a literal or the name of a type may hold the same words.
CREATE OR REPLACE FUNCTION scribe.detached_by(statement text) RETURNS oid
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    word constant text := '((?:U&)?"(?:[^"]|"")+"|[^\s"''(),.;:*/=<>+|&~!@#%^`?\\\[\]{}-]+)';
    named text[];
BEGIN
    IF statement !~* '\mDETACH\M' THEN
        RETURN NULL;
    END IF;
    named := regexp_match(scribe.without_comments(statement), replace(
        '^\s*ALTER\s+TABLE(?:\s+IF\s+EXISTS)?(?:\s+ONLY)?\s*\(?\s*(?:WORD\s*\.\s*)?WORD\s*[*)]?\s*DETACH\s+PARTITION'
        '\s*(?:WORD\s*\.\s*)?WORD\s*(?:CONCURRENTLY|FINALIZE)\s*$', 'WORD', word), 'i');
    RETURN (SELECT c.oid FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE c.relname = scribe.name_of(named[4]) AND CASE WHEN named[3] IS NOT NULL THEN n.nspname = scribe.name_of(named[3])
            ELSE n.nspname = ANY (string_to_array(replace(current_setting('scribe.path', true), '"', ''), ', ')) END LIMIT 1);
END
$function$;

-- The statement that is running, its exactness and more, as JSON. A reason that begins with "cut" says that the text may be more than the
-- one statement and is to be cut: of a string, or the given statement of a function's body; "cut as", that it ran and this is
-- what it did.
CREATE OR REPLACE FUNCTION scribe.statement_facts(tag text) RETURNS json
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    text text;
    reason text;
    detached oid;
    partition oid;
    computed boolean;
    bound_mutable boolean := false;
    like_temporary boolean := false;
    temporary boolean := false;
    less text;
BEGIN
    SELECT r.statement, r.reason INTO text, reason FROM scribe.running_text(tag) AS r;
    -- what the library would see in the parsed statement
    computed := tag IN ('CREATE TABLE', 'CREATE FOREIGN TABLE', 'CREATE SCHEMA', 'ALTER TABLE') AND text IS NOT NULL
        AND text ~* '\mFOR\s+VALUES\M.*(\m(current_date|current_timestamp|localtimestamp)\M|\m(?!(IN|FROM|TO|WITH|VALUES)\M)\w+\s*\()';
    IF computed OR (tag = 'ALTER TABLE' AND text ~* '\mATTACH\M') THEN
        partition := scribe.newest_partition();
    END IF;
    IF computed AND partition IS NOT NULL AND tag = 'ALTER TABLE' THEN
        IF reason LIKE 'cut: %' THEN
            reason := 'cut as ' || scribe.attach_text(partition);
        ELSE
            text := scribe.attach_text(partition);
            reason := NULL;
        END IF;
    ELSE
        bound_mutable := computed AND partition IS NOT NULL;
    END IF;
    IF pg_my_temp_schema() <> 0 AND tag = 'CREATE TABLE' AND text ~* '\mLIKE\M' THEN
        like_temporary := EXISTS (
            SELECT FROM pg_event_trigger_ddl_commands() AS e JOIN pg_class AS c ON e.classid = 'pg_class'::regclass AND c.oid = e.objid,
                regexp_split_to_table(text, ';') AS part,
                regexp_matches(part, '\mLIKE\s+((?:(?:"(?:[^"]|"")+"|[^\s,.()"]+)\s*\.\s*)?(?:"(?:[^"]|"")+"|[^\s,.()"]+))', 'gi') AS m (name)
            WHERE c.relkind = 'r' AND strpos(lower(part), lower(c.relname)) > 0 AND scribe.is_temporary_name(m.name[1]));
    END IF;
    IF pg_my_temp_schema() <> 0 AND tag IN ('GRANT', 'REVOKE') THEN
        SELECT string_agg(scribe.without_temporary(part), ';' ORDER BY place) INTO less
        FROM regexp_split_to_table(text, ';') WITH ORDINALITY AS p (part, place);
        IF btrim(less, ' ;') = '' THEN
            temporary := true;
        ELSIF strpos(text, ';') = 0 THEN
            text := less;
        ELSIF less <> text THEN
            reason := 'a string that holds a GRANT on a temporary table';
        END IF;
    END IF;
    IF tag = 'ALTER TABLE' AND coalesce(reason, 'cut: only the whole string is known') = 'cut: only the whole string is known' THEN
        detached := scribe.detached_by(text);
    END IF;
    RETURN json_build_object('statement', text, 'exact', reason IS NULL, 'reason', reason,
        'switches_triggers', text ~* '\m(ENABLE|DISABLE)\M',
        'temporary', temporary, 'in_extension', scribe.in_script(),
        'detached', coalesce(detached, 0), 'attached', coalesce(partition, 0), 'bound_mutable', bound_mutable,
        'like_temporary', like_temporary);
END
$function$;

-- Event trigger ddl_command_start: announces extension scripts; no library is loaded.
CREATE OR REPLACE FUNCTION scribe.command_start() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    IF tg_tag IN ('CREATE EXTENSION', 'ALTER EXTENSION') AND scribe.is_active() THEN
        PERFORM scribe.begin_script(tg_tag);
    ELSIF tg_tag = 'DROP OWNED' AND scribe.is_active() AND NOT scribe.in_script() THEN
        PERFORM scribe.catch_up_owned();
    END IF;
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'pg_scribe could not prepare to record %: %', tg_tag, SQLERRM;
    PERFORM scribe.record_failure(tg_tag, SQLERRM);
END
$function$;
