-- activity.sql: whether capture acts here, notes within a command, and statements of its own that it does not record.
--
-- Three settings carry an argument, and have no other way: scribe.role, scribe.path and scribe.settings. Only an event trigger
-- function that runs as the user can see them, such a function can write no table, and a function that writes for it could be called
-- by any user. Each is set by note_caller() right before it is read, at the end of the command and whenever it rewrites or drops
-- something, and nothing of a user's runs in between. The setting scribe.facts is the library's answer, which no user can set.

-- Whether capture is to act here: this is the source, not a copy of it, and not a statement of capture itself. A transaction whose
-- snapshot is older than the installation sees no row of the table, and a copy of the schema alone has none.
CREATE OR REPLACE FUNCTION scribe.is_active() RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    RETURN CASE WHEN EXISTS (SELECT FROM scribe.config) THEN EXISTS (
            SELECT FROM scribe.config AS c, pg_control_system() AS s, pg_database AS d
            WHERE d.datname = current_database() AND d.oid = c.database_oid AND s.system_identifier = c.system_identifier)
        ELSE pg_relation_size('scribe.config') > 0 END
        AND NOT EXISTS (SELECT FROM scribe.at_work AS w WHERE w.xact = pg_current_xact_id_if_assigned());
END
$function$;

-- What a user's command has around it: the calls beneath the event trigger function of ours that is running, as text. It is the same
-- for all event triggers of a command, and another one for a command that runs within it.
CREATE OR REPLACE FUNCTION scribe.outer_stack() RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET lc_messages = 'C' AS $function$
DECLARE
    near constant int := 10000;  -- characters: ours are among these; what follows may be as long as a user likes
    ours constant text := '^.*?\nPL/pgSQL function scribe\.'
        '(?:command_end|detach_start|note_rewrite|note_drop|note_dropped_facts|note_facts)\(\)[^\n]*\n';
    stack text;
    passed text;
BEGIN
    GET DIAGNOSTICS stack = PG_CONTEXT;
    stack := stack || E'\n';
    passed := coalesce(substring(left(stack, near) FROM ours), substring(stack FROM ours), '');
    RETURN left(substr(stack, length(passed) + 1), -1);
END
$function$;

-- Whether a failure of that SQLSTATE ends the transaction, which is to be run again: a SERIALIZABLE one that would depend on others in a
-- circle, be it by rows of capture's own, has to expect that; if it went on, a copy would lack the command.
CREATE OR REPLACE FUNCTION scribe.is_run_again(state text) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $function$
    SELECT state = '40001' AND current_setting('transaction_isolation') = 'serializable'
$function$;

-- Leave a note for a later event trigger of the running command, and take it there; NULL: none.
CREATE OR REPLACE FUNCTION scribe.keep_note(what text, note text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    IF note IS NOT NULL THEN
        INSERT INTO scribe.noted AS n (place, what, xact, note)
            VALUES (hashtextextended(scribe.outer_stack(), 0), what, pg_current_xact_id(), note)
            ON CONFLICT ON CONSTRAINT noted_pkey DO UPDATE SET xact = EXCLUDED.xact, note = EXCLUDED.note;
    END IF;
END
$function$;
CREATE OR REPLACE FUNCTION scribe.take_note(what text) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    taken text;
BEGIN
    IF EXISTS (SELECT FROM scribe.noted AS n WHERE n.pid = pg_backend_pid()) THEN
        DELETE FROM scribe.noted AS n WHERE n.pid = pg_backend_pid() AND n.what = take_note.what
            AND n.place = hashtextextended(scribe.outer_stack(), 0)
            RETURNING CASE WHEN n.xact = pg_current_xact_id() THEN n.note END INTO taken;
    END IF;
    RETURN taken;
END
$function$;

-- Whether an extension's script runs, and its beginning and end. What a script drops, the event triggers do not call an extension's.
CREATE OR REPLACE FUNCTION scribe.in_script() RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    RETURN EXISTS (SELECT FROM scribe.script WHERE xact = pg_current_xact_id_if_assigned());
END
$function$;
CREATE OR REPLACE FUNCTION scribe.begin_script(tag text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    INSERT INTO scribe.script AS s VALUES (pg_current_xact_id(), 1) ON CONFLICT (xact) DO UPDATE SET depth = s.depth + 1;
    PERFORM scribe.write_row('script', tag, NULL, NULL, '', true, NULL, NULL);
END
$function$;
CREATE OR REPLACE FUNCTION scribe.end_script() RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    UPDATE scribe.script SET depth = depth - 1 WHERE xact = pg_current_xact_id_if_assigned();
    DELETE FROM scribe.script WHERE xact = pg_current_xact_id_if_assigned() AND depth = 0;
    RETURN true;
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'pg_scribe could not note that a script has ended: %', SQLERRM;
    RETURN false;
END
$function$;

-- Run a statement of capture's own: not recorded, with users' triggers at rest.
CREATE OR REPLACE FUNCTION scribe.run_own(statement text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET session_replication_role = replica AS $function$
BEGIN
    INSERT INTO scribe.at_work VALUES (pg_current_xact_id());
    EXECUTE statement;
    DELETE FROM scribe.at_work AS w WHERE w.xact = pg_current_xact_id();
END
$function$;
