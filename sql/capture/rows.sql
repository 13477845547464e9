-- rows.sql: one row of the history: its text without passwords, its path and settings, and the row that reports a loss.

-- Settings that no extension defines and the server lists nowhere, with values: those that a text names, and those that somebody gave the
-- database or a role. Not from pg_settings: anybody may lock that view, since PUBLIC may update it.
CREATE OR REPLACE FUNCTION scribe.custom_settings(statement text, known text[]) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $function$
    SELECT coalesce(array_agg(w.word ORDER BY n.name, w.place), '{}') FROM (
        SELECT m[1] FROM regexp_matches(statement, 'current_setting\s*\(\s*''([A-Za-z0-9_]+\.[A-Za-z0-9_.]+)''', 'gi') AS m
        -- a role's own, of any length, would cost everybody's schema changes the time to read them
        UNION SELECT split_part(entry, '=', 1) FROM pg_db_role_setting, unnest(setconfig) AS entry WHERE pg_column_size(setconfig) <= 16384)
        AS n (name),
        unnest(ARRAY[n.name, current_setting(n.name, true)]) WITH ORDINALITY AS w (word, place)
    WHERE strpos(n.name, '.') > 0 AND n.name !~ '^scribe\.' AND n.name <> ALL (known) AND current_setting(n.name, true) <> ''
        AND NOT EXISTS (SELECT FROM pg_show_all_settings() AS s WHERE s.name = n.name)
$function$;

-- A string of statements in which SELECT stands for each that makes or changes a role, as those may hold passwords and are not for this
-- record; NULL if it cannot be taken apart with certainty.
CREATE OR REPLACE FUNCTION scribe.without_passwords(string text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    token constant text := '[eE]''(?:[^''\\]|\\.|'''')*''|''(?:[^'']|'''')*''|"[^"]*"|--[^\n]*|/\*(?:[^*]|\*+[^*/])*\*+/'
        || '|\$\$(?:[^$]|\$[^$])*\$\$|\w+|[^\w''"$;/-]+|.';
BEGIN
    IF string !~* '\mPASSWORD\M' OR string !~* '\m(ROLE|USER|GROUP)\M' THEN
        RETURN string;
    ELSIF string ~ '(?:^|[^$])\$[A-Za-z_]\w*\$' OR string ~ '/\*(?:[^*]|\*+[^*/])*/\*' OR (string ~ '\\' AND string !~* '\mE''') THEN
        RETURN NULL;
    END IF;
    RETURN (SELECT string_agg(CASE WHEN p.bare ~* '^\s*(CREATE|ALTER)\s+(ROLE|USER|GROUP)\M' THEN ' SELECT' ELSE p.statement END, ';' ORDER BY place)
        FROM (SELECT t.place, string_agg(t.token, '' ORDER BY t.at) FILTER (WHERE t.token <> ';') AS statement,
                string_agg(CASE WHEN t.token ~ '^(--|/\*)' THEN ' ' ELSE t.token END, '' ORDER BY t.at) FILTER (WHERE t.token <> ';') AS bare
            FROM (SELECT m.found[1] AS token, m.at, count(*) FILTER (WHERE m.found[1] = ';') OVER (ORDER BY m.at)
                    - (m.found[1] = ';')::int AS place
                FROM regexp_matches(string, token, 'g') WITH ORDINALITY AS m (found, at)) AS t GROUP BY t.place) AS p);
END
$function$;

-- A search_path without the schemas that are not there or that a role may not use: the server passes over those for it, and a
-- replay by another role would find in them what the role never saw.
CREATE OR REPLACE FUNCTION scribe.usable_path(path text, role name) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $function$
    SELECT coalesce(string_agg(quote_ident(p.name), ', ' ORDER BY m.place), '""')
    FROM regexp_matches(path, '"((?:[^"]|"")*)"|([^",\s]+)', 'g') WITH ORDINALITY AS m (found, place),
        LATERAL (VALUES (coalesce(replace(m.found[1], '""', '"'), lower(m.found[2])))) AS w (word),
        LATERAL (VALUES (CASE w.word WHEN '$user' THEN role ELSE w.word END)) AS p (name)
    -- no look at the catalog, which is older where the transaction's snapshot is
    WHERE p.name = 'pg_temp' OR has_schema_privilege(to_regrole(quote_ident(role)), to_regnamespace(quote_ident(p.name)), 'USAGE')
$function$;

-- The most bytes of a text with its path and settings: escaped, it may have four times its length, and no buffer has more than a gigabyte.
CREATE OR REPLACE FUNCTION scribe.longest_text() RETURNS int
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $function$ SELECT 200000000 $function$;

-- Write one row; the statement's role, search_path and settings come from scribe.note_caller(). Texts that capture has made itself, for
-- the path "", are read with standard_conforming_strings on.
CREATE OR REPLACE FUNCTION scribe.write_row(
    kind text, tag text, object_type text, object_identity text, statement text, exact boolean, reason text,
    relids oid[], role text DEFAULT NULL, path text DEFAULT NULL
) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    most constant int := scribe.longest_text();
    own constant boolean := coalesce(path = '""', false);
    settings text[] := '{}';
BEGIN
    role := coalesce(role, nullif(current_setting('scribe.role', true), ''));
    IF role IS NULL THEN  -- see note_caller()
        role := session_user;
        IF kind IN ('ddl', 'create') THEN
            kind := CASE WHEN kind = 'create' THEN kind ELSE 'lost' END;
            reason := concat_ws('; ', reason, 'who ran it could not be noted');
            exact := false;
        END IF;
    END IF;
    path := CASE WHEN kind = 'lost' THEN ''
        ELSE scribe.usable_path(coalesce(path, current_setting('scribe.path', true), ''), role) END;
    IF NOT exact THEN
        statement := scribe.without_passwords(statement);
        IF statement IS NULL AND kind <> 'lost' THEN
            kind := 'lost';
            reason := concat_ws('; ', reason, 'its text is among passwords');
        END IF;
        statement := coalesce(statement, '');
    END IF;
    IF kind IN ('ddl', 'create') THEN
        settings := coalesce(nullif(current_setting('scribe.settings', true), ''), '{}');
        IF own AND settings[1] = 'standard_conforming_strings' THEN
            settings := settings[3:];
        END IF;
        settings := settings || scribe.custom_settings(statement, settings);
    END IF;
    IF octet_length(statement) + octet_length(path) + octet_length(settings::text) > most THEN
        kind := CASE WHEN kind = 'create' THEN kind ELSE 'lost' END;
        reason := format('its text or its settings have more than %s bytes', most);
        exact := false;
        statement := '';
        path := '';
        settings := '{}';
    END IF;
    INSERT INTO scribe.ddl_history AS h (kind, tag, object_type, object_identity, statement, exact, reason, role,
        search_path, settings, relids)
    VALUES (kind, tag, object_type, object_identity, statement, exact, nullif(reason, ''),
        role, path, settings, coalesce(relids, '{}'));
END
$function$;

-- Flag what such a message told; called by rotation. The row stands where the rotation was.
CREATE OR REPLACE FUNCTION scribe.flag_lost(message text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $function$
BEGIN
    IF scribe.is_active() THEN
        PERFORM scribe.write_row('lost', coalesce(rtrim(substring(message FROM '^[A-Z ]+')), 'UNKNOWN'), NULL, NULL, '', false, message, NULL,
            current_user, '');
    END IF;
END
$function$;
