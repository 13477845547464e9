-- statement_text.sql: the text of the running statement, as far as SQL can tell it.

-- Whether a piece of SQL that a quotation mark follows ends there: nothing in it is still open, as far as a look tells.
CREATE OR REPLACE FUNCTION scribe.is_closed(statement text) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $function$
    SELECT statement !~ '--|/[*]|[$\\]|"$' AND length(replace(statement, '''', '')) % 2 = length(statement) % 2
        AND length(replace(statement, '"', '')) % 2 = length(statement) % 2
$function$;

-- The text that holds the statement which is running, as far as SQL can tell. reason: NULL if the text is that and nothing else;
-- "cut: ..." if it may hold further statements, "cut 2: ..." if it is the second; anything else marks a guess. Of the call stack, all
-- frames are one text here, and users choose names and statements that look like frames: what could be two things is a guess.
CREATE OR REPLACE FUNCTION scribe.running_text(tag text, OUT statement text, OUT reason text)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    frame constant text := E'"\n(?=PL/|SQL function "|SQL statement ")';
    stack constant text := scribe.outer_stack();
    known record;
BEGIN
    -- looking into what holds it would take minutes
    IF octet_length(CASE stack WHEN '' THEN current_query() ELSE stack END) > scribe.longest_text() THEN
        reason := format('its text has more than %s bytes', scribe.longest_text());
        RETURN;
    END IF;
    statement := regexp_replace(current_query(), '[\s;]+$', '');
    reason := 'run by a function whose text is not known';
    IF stack = '' THEN  -- sent by the client itself
        reason := 'cut: only the whole string is known';
        IF strpos(statement, ';') = 0 THEN
            reason := CASE WHEN tag = 'SELECT INTO' OR upper(substring(statement FROM '^(?:\s|--[^\n]*\n|/[*].*?[*]/)*(\w+)'))
                IS NOT DISTINCT FROM split_part(tag, ' ', 1) THEN NULL ELSE 'run by a statement of another kind' END;
        END IF;
    ELSIF stack LIKE 'SQL statement "%' THEN
        statement := regexp_replace((regexp_split_to_array(substr(stack, 16) || E'\n', frame || E'|"\n$'))[1], '[\s;]+$', '');
        IF (SELECT count(*) FROM regexp_matches(stack, frame, 'g')) < 2 OR scribe.is_closed(statement) THEN
            reason := CASE WHEN strpos(statement, ';') > 0 THEN 'cut: only the string that a function ran is known' END;
        ELSE
            reason := 'run by a function in a string that may end in more than one place';
        END IF;
    ELSIF stack LIKE 'SQL function "%' THEN
        SELECT count(*) AS number, min(p.prosrc) AS body, min(f.place) AS place, bool_and(p.pronamespace = 'scribe'::regnamespace) AS ours
            INTO known
            FROM pg_proc AS p JOIN pg_language AS l ON l.oid = p.prolang, LATERAL (SELECT substring(
                substr(stack, length('SQL function "' || p.proname) + 1) FROM '^" statement (\d+)(?:\n|$)')) AS f (place)
            WHERE l.lanname = 'sql' AND starts_with(stack, 'SQL function "' || p.proname) AND f.place IS NOT NULL;
        IF known.number = 1 AND known.body <> '' THEN
            statement := known.body;
            reason := CASE WHEN NOT known.ours THEN format('cut %s: only the body of the function is known', known.place) END;
        ELSE
            reason := 'run by a function that is not the only one of its name';
        END IF;
    END IF;
    -- A guess is replayed as the role that ran it. If that was not the user's own, the user could lend it any words.
    IF reason !~ '^cut( \d+)?: ' AND current_setting('scribe.role', true) IS DISTINCT FROM session_user THEN
        statement := NULL;
    END IF;
END
$function$;

-- Whether a GRANT or REVOKE names a temporary function or type, which no copy has.
CREATE OR REPLACE FUNCTION scribe.grants_on_temporary(statement text) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $function$
    SELECT coalesce(statement ~* ('^\s*(?:GRANT|REVOKE)\M[^"'']*\mON\s+(?:FUNCTION|PROCEDURE|ROUTINE|TYPE|DOMAIN)\s+pg_temp\s*\.'
        || '[^,()]*(?:\([^()]*\))?\s+(?:TO|FROM)\M')
        OR statement ~* '^\s*(?:GRANT|REVOKE)\M[^"'']*\mON\s+SCHEMA\s+pg_(?:toast_)?temp_\d+\s+(?:TO|FROM)\M', false)
$function$;
