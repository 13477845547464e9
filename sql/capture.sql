-- capture.sql: record every schema change of this database in its place in the WAL.
--
-- Installs the schema scribe: the audit table ddl_history, whose INSERTs the decoder turns into the DDL they record,
-- and the event triggers that write it. Safe to run again. sql/uncapture.sql takes it away.
-- Privilege: superuser (event triggers, LOAD). Oldest version: PostgreSQL 13.
--
-- A function that is called from outside and holds a backslash reads it with standard_conforming_strings on, whatever the
-- session's is. Two rules hold throughout. What capture does never makes a user's statement fail: its own errors become a WARNING
-- and a flagged row. And no user can write a row: whatever inserts into ddl_history is an event trigger function,
-- which SQL cannot call, or a function only the owner may execute.

\set ON_ERROR_STOP on
\ir ours.sql

COMMENT ON SCHEMA scribe IS 'pg_scribe: capture of schema changes; see scribe.ddl_history';

-- id is no sequence: taking a number from one would change what lastval() says in the user's session. The end of the WAL
-- moves with every row of a session, so that (id, pid) is unique.
CREATE TABLE IF NOT EXISTS scribe.ddl_history (
    id bigint NOT NULL DEFAULT (pg_catalog.pg_current_wal_insert_lsn() OPERATOR(pg_catalog.-) '0/0'::pg_catalog.pg_lsn),
    pid int NOT NULL DEFAULT pg_catalog.pg_backend_pid(),
    at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    kind text NOT NULL,
    tag text NOT NULL,
    object_type text,
    object_identity text,
    statement text NOT NULL,
    exact boolean NOT NULL,
    reason text,
    role text NOT NULL,
    search_path text NOT NULL,
    settings text[] NOT NULL DEFAULT '{}',
    relids oid[] NOT NULL DEFAULT '{}',
    quiet text[] NOT NULL DEFAULT '{}',
    PRIMARY KEY (id, pid)
);
-- Who asked. The defaults are set by themselves, so that rows of older versions stay without.
ALTER TABLE scribe.ddl_history ADD COLUMN IF NOT EXISTS session_role text, ADD COLUMN IF NOT EXISTS client_addr text,
    ADD COLUMN IF NOT EXISTS application_name text;
ALTER TABLE scribe.ddl_history ALTER session_role SET DEFAULT SESSION_USER,
    ALTER client_addr SET DEFAULT pg_catalog.host(pg_catalog.inet_client_addr()),
    ALTER application_name SET DEFAULT pg_catalog.current_setting('application_name');
COMMENT ON TABLE scribe.ddl_history IS 'every schema change, in order; kind, exact and relids are explained in docs/format.md';
CREATE INDEX IF NOT EXISTS ddl_history_inexact ON scribe.ddl_history (id) WHERE NOT exact;

-- One row. The identity makes a copy of this database inert: what was captured here is not captured there again.
CREATE TABLE IF NOT EXISTS scribe.config (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    system_identifier bigint NOT NULL,
    database_oid oid NOT NULL,
    replica_identity text NOT NULL DEFAULT 'full' CHECK (replica_identity IN ('full', 'refuse'))
);
INSERT INTO scribe.config (system_identifier, database_oid)
    SELECT c.system_identifier, d.oid
    FROM pg_catalog.pg_control_system() AS c, pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database()
ON CONFLICT (one) DO UPDATE
    SET system_identifier = EXCLUDED.system_identifier, database_oid = EXCLUDED.database_oid;

-- Tables whose REPLICA IDENTITY FULL is ours, to be set back when they get a key or capture goes.
CREATE TABLE IF NOT EXISTS scribe.replica_identity (relid oid PRIMARY KEY);

-- Objects, and parts of tables and domains, that are not recorded: they use something temporary and go with it, or something of
-- capture's own, which no copy has.
CREATE TABLE IF NOT EXISTS scribe.left_out (classid oid, objid oid, PRIMARY KEY (classid, objid));

-- Tables the running command rewrites: why, whether the command stands recorded already, and whether the copy's rows go before
-- the source's come. Columns whose value for the rows that were there (attmissingval) is known, and is no new one. In tables and
-- not in settings, since a user's code that runs within the command could change those.
CREATE TABLE IF NOT EXISTS scribe.rewritten (pid int DEFAULT pg_catalog.pg_backend_pid(), relid oid, reasons int NOT NULL,
    PRIMARY KEY (pid, relid));
ALTER TABLE scribe.rewritten ADD COLUMN IF NOT EXISTS recorded boolean NOT NULL DEFAULT false,
    ADD COLUMN IF NOT EXISTS emptied boolean NOT NULL DEFAULT false, ADD COLUMN IF NOT EXISTS xact xid8;
CREATE TABLE IF NOT EXISTS scribe.filled (relid oid, attnum smallint, xact xid8 NOT NULL, PRIMARY KEY (relid, attnum));
INSERT INTO scribe.filled SELECT attrelid, attnum, pg_catalog.pg_current_xact_id() FROM pg_catalog.pg_attribute WHERE atthasmissing
    ON CONFLICT DO NOTHING;

-- The transactions in which capture itself is at work. A row and not a setting: nobody else can write one, and none outlives
-- its transaction, as others have other numbers.
CREATE TABLE IF NOT EXISTS scribe.at_work (xact xid8 NOT NULL);
DO $$  -- a publication of all tables bars DELETE otherwise
BEGIN
    IF EXISTS (SELECT FROM pg_catalog.pg_class WHERE oid = 'scribe.at_work'::pg_catalog.regclass AND relreplident <> 'f') THEN
        ALTER TABLE scribe.at_work REPLICA IDENTITY FULL;
    END IF;
END
$$;

-- Whether capture is to act here: this is the source, not a copy of it, and not a statement of capture itself.
CREATE OR REPLACE FUNCTION scribe.is_active() RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    RETURN EXISTS (
        SELECT FROM scribe.config AS c, pg_control_system() AS s, pg_database AS d
        WHERE d.datname = current_database() AND d.oid = c.database_oid AND s.system_identifier = c.system_identifier)
        AND NOT EXISTS (SELECT FROM scribe.at_work AS w WHERE w.xact = pg_current_xact_id_if_assigned());
END
$function$;

-- A note for what runs later in the same command. Not set_config(), which extensions like set_user forbid.
CREATE OR REPLACE FUNCTION scribe.note(setting text, value text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    EXECUTE format('SET LOCAL %s = %L', setting, coalesce(value, ''));
END
$function$;

-- Settings that no extension defines and the server lists nowhere, with values: those that a text names, and those that somebody gave the
-- database or a role.
CREATE OR REPLACE FUNCTION scribe.custom_settings(statement text, known text[]) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $function$
    SELECT coalesce(array_agg(w.word ORDER BY n.name, w.place), '{}') FROM (
        SELECT m[1] FROM regexp_matches(statement, 'current_setting\s*\(\s*''([A-Za-z0-9_]+\.[A-Za-z0-9_.]+)''', 'gi') AS m
        UNION SELECT split_part(entry, '=', 1) FROM pg_db_role_setting, unnest(setconfig) AS entry) AS n (name),
        unnest(ARRAY[n.name, current_setting(n.name, true)]) WITH ORDINALITY AS w (word, place)
    WHERE strpos(n.name, '.') > 0 AND n.name !~ '^scribe\.' AND n.name <> ALL (known) AND current_setting(n.name, true) <> ''
        AND NOT EXISTS (SELECT FROM pg_settings AS s WHERE s.name = n.name)
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
    WHERE p.name = 'pg_temp' OR EXISTS (SELECT FROM pg_namespace AS n, pg_roles AS r
        WHERE n.nspname = p.name AND r.rolname = role AND has_schema_privilege(r.oid, n.oid, 'USAGE'))
$function$;

-- Write one row; the statement's role, search_path and settings come from scribe.note_caller(). Texts that capture has made itself, for
-- the path "", are read with standard_conforming_strings on.
CREATE OR REPLACE FUNCTION scribe.write_row(
    kind text, tag text, object_type text, object_identity text, statement text, exact boolean, reason text,
    relids oid[], role text DEFAULT NULL, path text DEFAULT NULL
) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    most constant int := 200000000;  -- escaped, it has to fit into a gigabyte
    own constant boolean := coalesce(path = '""', false);
    settings text[] := '{}';
BEGIN
    role := coalesce(role, nullif(current_setting('scribe.role', true), ''), session_user);
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

-- Called by the library after a command that fires no event trigger.
CREATE OR REPLACE FUNCTION scribe.record_plain(tag text, statement text, role text, path text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    named text;
BEGIN
    IF NOT scribe.is_active() THEN
        RETURN;
    END IF;
    IF tag IN ('GRANT', 'REVOKE') THEN  -- on the database, which has another name elsewhere
        named := substring(statement FROM '(?i)\mON\s+DATABASE\s+("(?:[^"]|"")+"|[^\s,"]+)\s+(?:TO|FROM)\M');
        IF named IS NULL OR (parse_ident(named))[1] <> current_database() THEN
            RETURN;
        END IF;
        -- twice a literal: no text can end one
        statement := format('DO %L', format('BEGIN EXECUTE pg_catalog.format(%L, pg_catalog.current_database()); END',
            regexp_replace(replace(statement, '%', '%%'), '(?i)(\mON\s+DATABASE\s+)("(?:[^"]|"")+"|[^\s,"]+)', '\1%I')));
    ELSIF tag ~ 'EVENT TRIGGER$' THEN
        LOCK TABLE scribe.seen_event_trigger IN ROW SHARE MODE;  -- reconcile() keeps away until this ends
    END IF;
    PERFORM scribe.write_row('ddl', tag, NULL, NULL, statement, true, NULL, NULL, role, path);
END
$function$;

-- Called by the library after a schema change under event_triggers = off: without the triggers nobody knows its effects.
-- Left out is what is of the whole cluster or made as temporary; words alone say nothing, a column may be called "role".
CREATE OR REPLACE FUNCTION scribe.record_unseen(tag text, statement text, role text, path text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    plain constant text := regexp_replace(statement, '/\*.*?\*/|--[^\n]*', ' ', 'g');  -- comments aside, to look at only
BEGIN
    IF scribe.is_active()
        AND tag !~ '\m(ROLE|DATABASE|TABLESPACE|SYSTEM)$'
        AND plain !~* '^\s*(COMMENT|SECURITY\s+LABEL|GRANT|REVOKE)\M.*\mON\s+(ROLE|DATABASE|TABLESPACE|PARAMETER)\M'
        AND plain !~* '^\s*CREATE\s+(OR\s+REPLACE\s+)?((LOCAL|GLOBAL)\s+)?TEMP(ORARY)?\M'
        AND plain !~* '\mINTO\s+((LOCAL|GLOBAL)\s+)?TEMP(ORARY)?\s|\mpg_temp\M' THEN
        PERFORM scribe.write_row('ddl', tag, NULL, NULL, statement, false, 'event_triggers was off', NULL, role, path);
    END IF;
END
$function$;

-- A materialized view as the statement that makes it.
CREATE OR REPLACE FUNCTION scribe.matview_text(relation oid) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $function$
    SELECT format('CREATE MATERIALIZED VIEW %s USING %I%s%s AS %s WITH %s', relation::regclass, m.amname,
        ' WITH (' || array_to_string(v.reloptions, ', ') || ')',
        (SELECT format(' TABLESPACE %I', spcname) FROM pg_tablespace WHERE oid = v.reltablespace),
        rtrim(pg_get_viewdef(relation), ';'), CASE WHEN v.relispopulated THEN 'DATA' ELSE 'NO DATA' END)
    FROM pg_class AS v JOIN pg_am AS m ON m.oid = v.relam WHERE v.oid = relation AND v.relkind = 'm'
$function$;

-- Called by the library after EXPLAIN ANALYZE made a table or materialized view, which fires no event trigger.
CREATE OR REPLACE FUNCTION scribe.record_explained(relation oid, statement text, role text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    made record;
BEGIN
    SELECT * INTO made FROM pg_class WHERE oid = relation AND relpersistence <> 't';
    IF NOT FOUND OR NOT scribe.is_active() THEN
        RETURN;
    END IF;
    IF made.relkind = 'm' THEN
        PERFORM scribe.write_row('ddl', 'CREATE MATERIALIZED VIEW', 'materialized view', relation::regclass::text,
            scribe.matview_text(relation), true, NULL, ARRAY[relation], role, '""');
    ELSE
        PERFORM scribe.write_row('create', 'CREATE TABLE AS', 'table', relation::regclass::text, statement, true, NULL,
            ARRAY[relation], role, '""');
        PERFORM scribe.mend_identity(ARRAY[relation]);
    END IF;
END
$function$;

-- Event trigger, runs as the user, touches nothing: notes who the user is in effect, the search_path and, as names and values, the
-- settings of the session; the lists and their reasons are in decoder/capture/scribe_settings.c. What is listed by no view, settings that
-- no extension defines, is found by name: see scribe.write_row(). Whoever the user is, what is noted is himself; nothing of his runs
-- between this and scribe.command_end(). One function, since a user may use nothing in this schema and so can call no other.
DO $$  -- of older versions, which let users call it, and so make objects of theirs depend on it
BEGIN
    DROP FUNCTION IF EXISTS scribe.session_settings();
EXCEPTION WHEN dependent_objects_still_exist THEN
    NULL;
END
$$;
CREATE OR REPLACE FUNCTION scribe.note_caller() RETURNS event_trigger
LANGUAGE plpgsql AS $function$
DECLARE
    pinned constant pg_catalog.text[] := ARRAY[
        ['standard_conforming_strings', 'on'], ['DateStyle', 'ISO, MDY'], ['IntervalStyle', 'postgres'],
        ['TimeZone', 'UTC|Etc/UTC|Etc/UCT|UCT|Zulu|Universal'], ['array_nulls', 'on'], ['backslash_quote', 'safe_encoding'],
        ['bytea_output', 'hex'], ['default_table_access_method', 'heap'], ['default_tablespace', ''],
        ['default_toast_compression', 'pglz'], ['extra_float_digits', '1|2|3'], ['lc_monetary', 'C'],
        ['quote_all_identifiers', 'off'], ['timezone_abbreviations', 'Default'], ['transform_null_equals', 'off'],
        ['xmlbinary', 'base64'], ['xmloption', 'content']];
    harmless constant pg_catalog.text[] := '{
        application_name, auto_explain.%, backend_flush_after, backtrace_functions, check_function_bodies, client_%,
        commit_%, compute_query_id, constraint_exclusion, cpu_%, createrole_self_grant, cursor_tuple_fraction,
        deadlock_timeout, debug_%, default_statistics_target, default_transaction_%, dynamic_library_path, effective_%,
        enable_%, escape_string_warning, event_triggers, exit_on_error, force_parallel_mode, from_collapse_limit, geqo%,
        gin_%, hash_mem_multiplier, idle_%, ignore_%, io_%, jit%, join_collapse_limit, lc_messages, lc_numeric, lc_time,
        lo_compat_privileges, local_preload_libraries, lock_timeout, log_%, logical_decoding_work_mem, maintenance_%,
        max_parallel_%, max_stack_depth, min_parallel_%, output_plugin_libraries, parallel_%, password_encryption,
        pg_hint_plan.%, pg_stat_statements.%, pgaudit.%, plan_cache_mode, random_page_cost, recursive_worktable_factor,
        restrict_nonsystem_relation_kind, role, row_security, scribe.%, search_path, seed, seq_page_cost, session_%,
        set_user.%, statement_timeout, stats_%, synchronize_seqscans, synchronous_commit, tcp_%, temp_%, trace_%, track_%,
        transaction_%, update_process_title, vacuum_%, wal_%, work_mem, zero_damaged_pages}';
    found pg_catalog.text[] := '{}';
    value pg_catalog.text;
    other record;
BEGIN
    EXECUTE pg_catalog.format('SET LOCAL scribe.role = %L; SET LOCAL scribe.path = %L', CURRENT_USER::pg_catalog.text,
        pg_catalog.current_setting('search_path'));
    -- a rewrite is recorded before the end, and a DROP when it has dropped
    IF TG_EVENT OPERATOR(pg_catalog.=) 'ddl_command_start' AND TG_TAG OPERATOR(pg_catalog.!~) '^ALTER ' THEN
        RETURN;
    END IF;
    FOR i IN 1 .. pg_catalog.array_length(pinned, 1) LOOP
        value := pg_catalog.current_setting(pinned[i][1], true);
        IF pg_catalog.strpos(pg_catalog.concat('|', pinned[i][2], '|'), pg_catalog.concat('|', value, '|'))
                OPERATOR(pg_catalog.=) 0 AND value IS NOT NULL THEN
            found := found OPERATOR(pg_catalog.||) ARRAY[pinned[i][1], value];
        END IF;
    END LOOP;
    FOR other IN SELECT s.name FROM pg_catalog.pg_settings AS s
        WHERE s.source OPERATOR(pg_catalog.=) ANY ('{global,database,user,"database user",client,interactive,test,session}')
            AND s.context OPERATOR(pg_catalog.=) ANY ('{user,superuser}')
            AND NOT s.name OPERATOR(pg_catalog.=) ANY (pinned)
            AND NOT pg_catalog.lower(s.name) OPERATOR(pg_catalog.~~) ANY (harmless)
    LOOP
        found := found OPERATOR(pg_catalog.||) ARRAY[other.name, pg_catalog.current_setting(other.name)];
    END LOOP;
    EXECUTE pg_catalog.format('SET LOCAL scribe.settings = %L', found::pg_catalog.text);
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'pg_scribe could not note who runs %: %', TG_TAG, SQLERRM;
END
$function$;

-- Keeps schema changes from beginning until the caller's transaction ends: for a base that could not be had otherwise.
-- Every command takes the other lock before it takes any of its own, so nobody holds what the base needs and waits here.
CREATE OR REPLACE FUNCTION scribe.hold_schema_changes() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    LOCK TABLE scribe.config IN EXCLUSIVE MODE;
END
$function$;

-- Event trigger ddl_command_start: loads the library in this session; announces extension scripts.
CREATE OR REPLACE FUNCTION scribe.command_start() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    -- notes of this command only; a user may have set them too
    PERFORM scribe.note('scribe.dropped', '');
    BEGIN
        LOCK TABLE scribe.config IN ROW SHARE MODE;  -- see hold_schema_changes(): mostly nobody is there to wait for
    EXCEPTION WHEN OTHERS THEN
        NULL;  -- the user's lock_timeout is shorter: the base finds out that the table changed, and is taken again
    END;
    BEGIN
        LOAD '$libdir/scribe_capture';
    EXCEPTION WHEN OTHERS THEN
        NULL;  -- said where it matters: the row will be flagged
    END;
    -- a row only here: a start trigger that writes would break DROP INDEX CONCURRENTLY
    IF tg_tag IN ('CREATE EXTENSION', 'ALTER EXTENSION') AND scribe.is_active() THEN
        PERFORM scribe.write_row('script', tg_tag, NULL, NULL, '', true, NULL, NULL);
    END IF;
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'pg_scribe could not prepare to record %: %', tg_tag, SQLERRM;
    PERFORM scribe.record_failure(tg_tag, SQLERRM);
END
$function$;

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

-- Event trigger sql_drop: notes for the end of the command what went. A DROP is recorded at once: other event triggers of
-- sql_drop may make again what it dropped.
CREATE OR REPLACE FUNCTION scribe.note_drop() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off SET lock_timeout = '2s'
SET standard_conforming_strings = on AS $function$
DECLARE
    done boolean;
BEGIN
    PERFORM scribe.note('scribe.dropped', (
        SELECT json_build_object(
            'named', coalesce(json_agg(json_build_object('type', object_type, 'identity', object_identity, 'ours', schema = 'scribe'
                OR (object_type = 'schema' AND object_identity = 'scribe'))) FILTER (WHERE original AND NOT passing), '[]'),
            'temporary', count(*) FILTER (WHERE original AND passing),
            'keys', count(*) FILTER (WHERE object_type IN ('index', 'table constraint', 'table column')))::text
        FROM (
            SELECT o.*, schema, is_temporary OR coalesce(schema ~ '^pg_temp(_\d+)?$', false)
                OR EXISTS (SELECT FROM scribe.left_out AS l WHERE l.classid = o.classid AND l.objid = o.objid) AS passing
            FROM pg_event_trigger_dropped_objects() AS o,
                LATERAL coalesce(schema_name, scribe.schema_of(object_type, address_names)) AS schema) AS dropped));
    IF EXISTS (SELECT FROM scribe.left_out) THEN
        DELETE FROM scribe.left_out AS l USING pg_event_trigger_dropped_objects() AS o
            WHERE l.classid = o.classid AND l.objid = o.objid;
    END IF;
    IF tg_tag LIKE 'DROP %' AND tg_tag <> 'DROP OWNED' THEN
        done := scribe.record_ended(tg_tag);  -- an assignment adds nothing to the call stack
    END IF;
EXCEPTION
    WHEN SQLSTATE 'SC001' THEN
        RAISE;  -- the refusal that SCRIBE_REPLICA_IDENTITY=refuse asks for
    WHEN OTHERS THEN
        RAISE WARNING 'pg_scribe could not note what % dropped: %', tg_tag, SQLERRM;
        PERFORM scribe.record_failure(tg_tag, SQLERRM);
END
$function$;

-- A relation and whatever it inherits from or is a partition of, and the types they are made of: what a command that rewrites it
-- may have named.
CREATE OR REPLACE FUNCTION scribe.lineage(relation oid) RETURNS oid[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    RETURN (WITH RECURSIVE line (id) AS (
        SELECT relation UNION SELECT i.inhparent FROM line JOIN pg_inherits AS i ON i.inhrelid = line.id)
        SELECT array_agg(id) || array_agg(c.reloftype) FILTER (WHERE c.reloftype <> 0) FROM line JOIN pg_class AS c ON c.oid = line.id);
END
$function$;

-- What a command named that rewrites a relation first of all: this one, unless that has no rows of its own.
CREATE OR REPLACE FUNCTION scribe.altered_by(tag text, relation oid) RETURNS regclass
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    RETURN coalesce((SELECT CASE WHEN tag = 'ALTER TYPE' THEN t.typrelid END
            FROM pg_class AS c JOIN pg_type AS t ON t.oid = c.reloftype WHERE c.oid = relation),
        (SELECT c.oid FROM unnest(scribe.lineage(relation)) AS l JOIN pg_class AS c ON c.oid = l
            WHERE CASE WHEN tag = 'ALTER FOREIGN TABLE' THEN c.relkind = 'f' ELSE c.relkind = 'p' AND NOT c.relispartition END LIMIT 1),
        relation);
END
$function$;

-- The tables that the running command rewrites for the same reason as a table: those in which it has added or changed all columns
-- that it has in that one. touched: as the library knows them; NULL without it, and then only partitions can be told, which have
-- no columns of their own; sql/pgoutput.sql has another.
CREATE OR REPLACE FUNCTION scribe.rewritten_with(relation oid, touched json) RETURNS oid[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    IF touched IS NULL THEN
        RETURN (SELECT array_agg(c.oid ORDER BY c.oid <> relation, c.oid) FROM pg_partition_tree(pg_partition_root(relation)) AS t
            JOIN pg_class AS c ON c.oid = t.relid WHERE c.relkind = 'r' AND c.relpersistence <> 't');
    END IF;
    RETURN (WITH columns AS (
            SELECT a.attrelid, a.attname, (t->>2)::int AS added FROM json_array_elements(touched) AS t
                JOIN pg_attribute AS a ON a.attrelid = (t->>0)::oid AND a.attnum = (t->>1)::int)
        SELECT array_agg(c.oid ORDER BY c.oid <> relation, c.oid) FROM pg_class AS c
        WHERE c.oid IN (SELECT attrelid FROM columns) AND c.relkind = 'r' AND c.relpersistence <> 't' AND NOT EXISTS (
            SELECT attname, added FROM columns WHERE attrelid = relation EXCEPT
            SELECT attname, added FROM columns WHERE attrelid = c.oid));
END
$function$;

-- Tell the decoder that the copy's rows of tables go, since the source's come: before the next command, or at once.
CREATE OR REPLACE FUNCTION scribe.empty_tables(tag text, tables oid[], before boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    PERFORM scribe.write_row(CASE WHEN before THEN 'rewrite' ELSE 'rewritten' END, tag, 'table', tables[1]::regclass::text, '', true,
        NULL, tables);
END
$function$;

-- Before the source's rows of a rewritten table come, and after; sql/pgoutput.sql has others. Rows that a constraint which is NOT
-- VALID bars could not be written.
CREATE OR REPLACE FUNCTION scribe.before_rows(relation oid, tag text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    PERFORM scribe.record_constraints(tag, ARRAY[relation], false);
END
$function$;
CREATE OR REPLACE FUNCTION scribe.after_rows(tables oid[], tag text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    PERFORM scribe.write_row('refilled', tag, 'table', tables[1]::regclass::text, '', true, NULL, tables);
    PERFORM scribe.record_constraints(tag, tables, true);
END
$function$;

-- Whether a row of the catalog was written by the present transaction: nobody else's row in progress can be seen.
CREATE OR REPLACE FUNCTION scribe.is_ours(writer xid) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    epoch constant bigint := pg_current_xact_id()::text::bigint >> 32;
    top_xid constant bigint := pg_current_xact_id()::text::bigint & 4294967295;
BEGIN
    RETURN CASE WHEN writer::text::bigint >= top_xid
        THEN pg_xact_status(((epoch << 32) | writer::text::bigint)::text::xid8) = 'in progress' ELSE false END;
END
$function$;

-- Whether a table was made by the present transaction: the row of a system column is written then, and never again.
CREATE OR REPLACE FUNCTION scribe.is_new(relation oid) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    RETURN (SELECT scribe.is_ours(xmin) FROM pg_attribute WHERE attrelid = relation AND attnum = -1);
END
$function$;

-- Whether the running command has made a foreign key anew that points to one of the tables from another one, as a change of the
-- key's type does: at its end it looks for every referenced row, also in a copy.
CREATE OR REPLACE FUNCTION scribe.must_keep_rows(tables oid[]) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    RETURN EXISTS (SELECT FROM pg_constraint AS c WHERE c.contype = 'f' AND c.convalidated AND c.confrelid = ANY (tables)
        AND c.conrelid <> ALL (tables) AND scribe.is_ours(c.xmin));
END
$function$;

-- Record a command at the first table it rewrites, before the rows that it makes.
CREATE OR REPLACE FUNCTION scribe.record_rewrite(tag text, relation oid, why int, facts json) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    altered constant regclass := scribe.altered_by(tag, relation);
    known constant boolean := facts->>'statement' IS NOT NULL;
    beforehand boolean;
    tables oid[] := ARRAY[relation];
BEGIN
    IF (facts->>'in_extension')::boolean OR (facts->'touched' IS NULL AND scribe.in_script()) THEN
        -- the copy runs the script as well, and computes values by itself
        IF why & 6 <> 0 AND pg_relation_size(relation) > 0 AND NOT scribe.is_new(relation) THEN
            PERFORM scribe.write_row('lost', tag, 'table', altered::text, '', false,
                format('the script of an extension computes values for the rows of %s', altered), NULL);
        END IF;
        RETURN;
    END IF;
    IF why & 6 <> 0 THEN
        tables := coalesce(scribe.rewritten_with(relation, facts->'touched'), tables);
    END IF;
    beforehand := known AND NOT coalesce((facts->>'switches_triggers')::boolean, false) AND NOT scribe.must_keep_rows(tables);
    IF beforehand THEN
        PERFORM scribe.empty_tables(tag, tables, true);
    END IF;
    IF NOT scribe.leave_out(tag, facts, ARRAY['pg_class'::regclass::oid], ARRAY[relation], ARRAY[relation]) THEN
        PERFORM scribe.record_command(tag, facts, NULL, 1, 1, ARRAY[altered::oid], CASE tag WHEN 'ALTER TYPE' THEN 'composite type'
            WHEN 'ALTER FOREIGN TABLE' THEN 'foreign table' ELSE 'table' END, altered::text, NULL);
    END IF;
    IF known AND NOT beforehand THEN
        tables := ARRAY[relation];
        PERFORM scribe.empty_tables(tag, tables, false);
    END IF;
    INSERT INTO scribe.rewritten AS r (relid, reasons, recorded, emptied, xact)
        SELECT t, 0, true, known, pg_current_xact_id() FROM unnest(tables) AS t
        ON CONFLICT (pid, relid) DO UPDATE SET reasons = CASE WHEN r.xact = EXCLUDED.xact THEN r.reasons ELSE 0 END,
            recorded = true, emptied = EXCLUDED.emptied, xact = EXCLUDED.xact;
END
$function$;

-- Whether an extension's script runs, as far as SQL can tell: its beginning stands in the history, and not its end.
CREATE OR REPLACE FUNCTION scribe.in_script() RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    RETURN coalesce((SELECT kind = 'script' FROM scribe.ddl_history
        WHERE pid = pg_backend_pid() AND kind IN ('script', 'scripted') AND at >= now() ORDER BY id DESC LIMIT 1), false);
END
$function$;

-- Event trigger table_rewrite: the command is recorded here, before the rows that it makes; the decoder finds those in the WAL, and
-- writes them for the copy, where the command finds the table empty and computes nothing. What computes nothing here either
-- (SET UNLOGGED, SET ACCESS METHOD) is recorded at its end, like any other command.
CREATE OR REPLACE FUNCTION scribe.note_rewrite() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off SET lock_timeout = '2s'
SET standard_conforming_strings = on AS $function$
DECLARE
    relation constant oid := pg_event_trigger_table_rewrite_oid();
    why constant int := pg_event_trigger_table_rewrite_reason();  -- manual 9.30.3: 1 persistence, 2 default, 4 type, 8 access method
    persistence "char" := (SELECT relpersistence FROM pg_class WHERE oid = relation AND relkind = 'r');
    line oid[];
    sent boolean;
    facts json;
BEGIN
    IF NOT scribe.is_active() OR coalesce(persistence, 't') = 't' THEN
        RETURN;
    END IF;
    DELETE FROM scribe.rewritten WHERE pid = pg_backend_pid() AND xact IS DISTINCT FROM pg_current_xact_id();  -- what was left
    INSERT INTO scribe.rewritten AS r (relid, reasons, xact) VALUES (relation, why, pg_current_xact_id())
        ON CONFLICT (pid, relid) DO UPDATE SET reasons = EXCLUDED.reasons;
    IF why & 6 = 0 AND NOT (why & 1 <> 0 AND persistence = 'u') THEN
        RETURN;
    END IF;
    line := scribe.lineage(relation);
    SELECT bool_or(r.emptied) INTO sent FROM scribe.rewritten AS r
        WHERE r.pid = pg_backend_pid() AND r.recorded AND scribe.lineage(r.relid) && line;
    IF sent IS NULL THEN
        facts := scribe.statement_facts(tg_tag);
        PERFORM scribe.record_rewrite(tg_tag, relation, why, facts);
    ELSIF sent AND NOT (SELECT emptied FROM scribe.rewritten WHERE pid = pg_backend_pid() AND relid = relation) THEN
        PERFORM scribe.empty_tables(tg_tag, ARRAY[relation], false);
        UPDATE scribe.rewritten SET emptied = true WHERE pid = pg_backend_pid() AND relid = relation;
    END IF;
    IF (SELECT emptied FROM scribe.rewritten WHERE pid = pg_backend_pid() AND relid = relation) THEN
        PERFORM scribe.before_rows(relation, tg_tag);
    END IF;
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'pg_scribe could not record that % rewrites a table: %', tg_tag, SQLERRM;
    PERFORM scribe.record_failure(tg_tag, SQLERRM);
END
$function$;

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
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET lc_messages = 'C' AS $function$
DECLARE
    frame constant text := E'"\n(?=PL/|SQL function "|SQL statement ")';
    stack text;
    known record;
BEGIN
    GET DIAGNOSTICS stack = PG_CONTEXT;
    stack := regexp_replace(stack, '^.*?\nPL/pgSQL function scribe\.(?:command_end|note_rewrite|note_drop)\(\)[^\n]*(?:\n|$)', '');  -- our own frames
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

-- The statement that is running, its exactness and more, as JSON: from the library, else as far as SQL can tell.
DROP FUNCTION IF EXISTS scribe.statement_facts(text, text), scribe.text_without_library(), scribe.statement_settings();
CREATE OR REPLACE FUNCTION scribe.statement_facts(tag text) RETURNS json
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    facts text;
    known record;
BEGIN
    BEGIN
        LOAD '$libdir/scribe_capture';
        facts := current_setting('scribe.facts');
        IF facts <> '' THEN
            RETURN facts;
        END IF;
    EXCEPTION WHEN OTHERS THEN
        RAISE WARNING 'pg_scribe could not load its library: %', SQLERRM;
    END;
    SELECT * INTO known FROM scribe.running_text(tag);
    -- of a partition or a table LIKE another more would have to be known than the text
    RETURN json_build_object('statement', known.statement,
        'switches_triggers', known.statement ~* '\m(ENABLE|DISABLE)\M',
        'exact', known.reason IS NULL AND known.statement !~* '\m(PARTITION|LIKE)\M',
        'reason', 'the library scribe_capture could not be loaded', 'temporary', false, 'in_extension', false,
        'detached', 0, 'attached', 0, 'bound_mutable', false, 'like_temporary', false);
END
$function$;

-- Relations in relids and everything that inherits from them or is a partition of them.
CREATE OR REPLACE FUNCTION scribe.with_children(relids oid[]) RETURNS oid[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_inherits WHERE inhparent = ANY (relids)) THEN
        RETURN relids;
    END IF;
    RETURN (WITH RECURSIVE family (relid) AS (
        SELECT unnest(relids) UNION SELECT i.inhrelid FROM family JOIN pg_inherits AS i ON i.inhparent = family.relid)
        SELECT array_agg(relid) FROM family);
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

-- Run a statement with no more rights than the owner of a table has: the expressions of its constraints, generated columns
-- and indexes are the owner's code. DDL is recorded, as the owner's own: what hides ours would be seen by that code. Only a function that is the owner's runs so here, for a role cannot be set.
CREATE OR REPLACE FUNCTION scribe.run_as(owner name, statement text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    made constant text := format('scribe.run_as_owner_%s()', pg_backend_pid());
    notes constant text[] := '{scribe.role,scribe.path,scribe.settings,scribe.dropped}';
    noted constant text[] := ARRAY(SELECT coalesce(current_setting(n, true), '') FROM unnest(notes) AS n);
BEGIN
    PERFORM scribe.run_own(format('CREATE FUNCTION %s RETURNS void LANGUAGE sql SECURITY DEFINER '
        'SET search_path = pg_catalog, pg_temp SET row_security = off AS %L', made, statement));
    PERFORM scribe.run_own(format('ALTER FUNCTION %s OWNER TO %I', made, owner));
    EXECUTE format('SELECT %s', made);
    PERFORM scribe.note(n, v) FROM unnest(notes, noted) AS x (n, v);  -- the owner's code could have set them
    PERFORM scribe.run_own(format('DROP FUNCTION %s', made));
END
$function$;

-- Constraints that are NOT VALID let old rows be, but nothing that is written: commands that take those of a table and of its
-- columns' domains away (false) or bring them back (true). An inherited one is taken away where it comes from.
DROP FUNCTION IF EXISTS scribe.invalid_constraints(regclass, boolean);
CREATE OR REPLACE FUNCTION scribe.invalid_constraints(relation oid, back boolean, OUT command text, OUT owner name, OUT own boolean)
RETURNS SETOF record
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $function$
    WITH RECURSIVE domains (id) AS (
        SELECT atttypid FROM pg_attribute WHERE attrelid = relation AND attnum > 0 AND NOT attisdropped
        UNION SELECT v.id FROM domains AS d JOIN pg_type AS t ON t.oid = d.id, LATERAL (VALUES (t.typbasetype), (t.typelem)) AS v (id)
        WHERE v.id <> 0 AND (t.typtype = 'd' OR t.typcategory = 'A'))
    SELECT v.command, CASE WHEN back THEN pg_get_userbyid(c.owner) ELSE current_user END, c.own FROM (
        SELECT c.oid, c.conname, pg_get_constraintdef(c.oid) AS definition, obj_description(c.oid, 'pg_constraint') AS comment,
            CASE c.contypid WHEN 0 THEN 'TABLE ' || c.conrelid::regclass ELSE 'DOMAIN ' || c.contypid::regtype END AS named,
            CASE c.contypid WHEN 0 THEN c.conrelid::regclass::text ELSE 'DOMAIN ' || c.contypid::regtype END AS commented,
            coalesce((SELECT relowner FROM pg_class WHERE oid = c.conrelid), (SELECT typowner FROM pg_type WHERE oid = c.contypid)) AS owner,
            c.contypid = 0 AS own  -- an UPDATE minds a table's, an INSERT a domain's, too
        FROM pg_constraint AS c
        WHERE c.contype IN ('c', 'n') AND NOT c.convalidated AND c.coninhcount = 0 AND (c.contypid IN (SELECT id FROM domains)
            OR c.conrelid = relation OR c.conrelid = ANY (scribe.lineage(relation)) AND EXISTS (SELECT FROM pg_constraint AS i
                WHERE i.conrelid = relation AND i.conname = c.conname AND NOT i.convalidated AND i.coninhcount > 0))) AS c,
        LATERAL (VALUES
            (NOT back, format('ALTER %s DROP CONSTRAINT IF EXISTS %I', named, conname)),
            (back, format('ALTER %s ADD CONSTRAINT %I %s', named, conname, definition)),
            (back AND comment IS NOT NULL, format('COMMENT ON CONSTRAINT %I ON %s IS %L', conname, commented, comment)))
        AS v (wanted, command)
    WHERE v.wanted ORDER BY c.oid
$function$;

-- Record those commands for some tables. Taking away is ours to do; what brings one back may run code of its owner's.
DROP FUNCTION IF EXISTS scribe.record_own(text, text[], boolean);
CREATE OR REPLACE FUNCTION scribe.record_constraints(tag text, tables oid[], back boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    own record;
BEGIN
    FOR own IN
        SELECT c.command, c.owner FROM unnest(tables) WITH ORDINALITY AS t (id, place),
            LATERAL ROWS FROM (scribe.invalid_constraints(t.id, back)) WITH ORDINALITY AS c (command, owner, own, turn)
        GROUP BY c.command, c.owner ORDER BY min(t.place), min(c.turn)
    LOOP
        PERFORM scribe.write_row('ddl', tag, NULL, NULL, own.command, true, CASE WHEN back THEN 'own: as on the source'
            ELSE 'own: older rows may be what a constraint bars that is NOT VALID' END, NULL, own.owner::text, '""');
    END LOOP;
END
$function$;

-- Whether an expression, as the catalog holds it, is the same value everywhere: a constant, perhaps cast or put together by
-- functions of PostgreSQL's own that are immutable. times: words like 'now' may have become one of its constants.
CREATE OR REPLACE FUNCTION scribe.is_constant(expression text, times boolean) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $function$
    SELECT NOT EXISTS (SELECT FROM regexp_matches(expression, '{([A-Z_0-9]+)', 'g') AS m (node)
            WHERE node[1] NOT IN ('CONST', 'FUNCEXPR', 'OPEXPR', 'RELABELTYPE', 'ARRAYEXPR', 'ARRAY', 'COERCETODOMAIN'))
        AND NOT EXISTS (SELECT FROM regexp_matches(expression, ':(?:funcid|opfuncid) (\d+)', 'g') AS m (function)
            LEFT JOIN pg_proc AS p ON p.oid = function[1]::oid WHERE p.oid IS NULL OR p.oid >= 16384 OR p.provolatile <> 'i')
        -- bool, bytea, "char", name, integers, text, oid, jsonb, floats, bpchar, varchar, bit, numeric, uuid
        AND NOT (times AND EXISTS (SELECT FROM regexp_matches(expression, '{CONST :consttype (\d+)', 'g') AS m (type)
            WHERE type[1] NOT IN ('16', '17', '18', '19', '20', '21', '23', '25', '26', '114', '3802', '700', '701', '1042', '1043', '1560',
                '1562', '1700', '2950')))
$function$;

-- The columns of tables that the running command has added; touched: as the library knows them, NULL without it.
CREATE OR REPLACE FUNCTION scribe.added_columns(tables oid[], touched json) RETURNS TABLE (relid oid, attnum smallint)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    IF touched IS NOT NULL THEN
        RETURN QUERY SELECT DISTINCT (t->>0)::oid, (t->>1)::smallint FROM json_array_elements(touched) AS t WHERE (t->>2)::int = 1;
        RETURN;
    END IF;
    -- a value for older rows comes with the column and with nothing else; so one that was not seen before is of this command
    RETURN QUERY WITH fresh AS (
        INSERT INTO scribe.filled AS f SELECT a.attrelid, a.attnum, pg_current_xact_id() FROM pg_attribute AS a
            WHERE a.attrelid = ANY (tables) AND a.atthasmissing AND NOT a.attisdropped ON CONFLICT DO NOTHING
        RETURNING f.relid, f.attnum)
    SELECT f.relid, f.attnum FROM fresh AS f JOIN pg_attribute AS a ON a.attrelid = f.relid AND a.attnum = f.attnum
    WHERE scribe.is_ours(a.xmin);  -- and of this transaction
END
$function$;

-- Triggers and rules that fire in a replica, too, come to rest or back: the decoder does it; sql/pgoutput.sql has another.
CREATE OR REPLACE FUNCTION scribe.record_switches(tag text, relation regclass, back boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
END
$function$;

-- Give existing rows elsewhere the values that the default of a new column had here, unless it has the same everywhere.
DROP FUNCTION IF EXISTS scribe.fill(oid[], text), scribe.fill(oid[], text, boolean);
CREATE OR REPLACE FUNCTION scribe.fill(tables oid[], tag text, statement text, touched json) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET DateStyle = 'ISO, MDY' SET IntervalStyle = postgres SET TimeZone = 'UTC'
SET extra_float_digits = 3 SET bytea_output = hex SET lc_monetary = 'C' AS $function$
DECLARE
    missing record;
BEGIN
    FOR missing IN
        SELECT a.attrelid::regclass AS relation, a.attname, a.attmissingval, a.atttypid, a.atttypmod
        FROM scribe.added_columns(tables, touched) AS n JOIN pg_attribute AS a ON a.attrelid = n.relid AND a.attnum = n.attnum
            JOIN pg_class AS c ON c.oid = a.attrelid
            LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND a.atthasmissing AND NOT a.attisdropped
            -- a default that was set or dropped by the same command is not the one that made the value
            AND (d.adbin IS NULL OR statement IS NULL OR statement ~* '\m(SET|DROP)\M.*\mDEFAULT\M'
                OR NOT scribe.is_constant(d.adbin::text, scribe.tells_time(statement)))
        ORDER BY a.attrelid, a.attnum
    LOOP
        PERFORM scribe.record_switches(tag, missing.relation, false);
        PERFORM scribe.record_constraints(tag, ARRAY[missing.relation::oid], false);
        PERFORM scribe.write_row('fill', tag, 'table column', format('%s.%I', missing.relation, missing.attname),
            format('UPDATE ONLY %s SET %I = %L::%s', missing.relation, missing.attname,
                (missing.attmissingval::text::text[])[1], format_type(missing.atttypid, missing.atttypmod)),
            true, 'own: existing rows get the value that they got on the source', ARRAY[missing.relation::oid], current_user, '""');
        PERFORM scribe.record_constraints(tag, ARRAY[missing.relation::oid], true);
        PERFORM scribe.record_switches(tag, missing.relation, true);
    END LOOP;
END
$function$;

-- The tables that a command has rewritten; not those of a command within which this one runs.
CREATE OR REPLACE FUNCTION scribe.rewritten_by(tables oid[]) RETURNS oid[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    RETURN ARRAY(SELECT r.relid FROM scribe.rewritten AS r WHERE r.pid = pg_backend_pid() AND (r.relid = ANY (tables)
        OR EXISTS (SELECT FROM pg_class AS c JOIN pg_class AS t ON t.reltype = c.reloftype
            WHERE c.oid = r.relid AND t.relkind = 'c' AND t.oid = ANY (tables))) ORDER BY r.relid);
END
$function$;

-- What is left to do for the rows of tables that a command has just changed.
DROP FUNCTION IF EXISTS scribe.send_values(text, oid[], boolean), scribe.send_values(text, oid[], boolean, boolean),
    scribe.refill(regclass, text);
CREATE OR REPLACE FUNCTION scribe.send_values(tag text, tables oid[], statement text, touched json) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    rewritten constant oid[] := scribe.rewritten_by(tables);
    emptied oid[];
    kept regclass;
BEGIN
    SELECT array_agg(r.relid ORDER BY r.relid) FILTER (WHERE r.emptied), min(r.relid) FILTER (WHERE r.emptied AND r.reasons = 0)
        INTO emptied, kept FROM scribe.rewritten AS r WHERE r.pid = pg_backend_pid() AND r.relid = ANY (rewritten);
    DELETE FROM scribe.rewritten AS r WHERE r.pid = pg_backend_pid() AND r.relid = ANY (rewritten);
    IF emptied IS NOT NULL THEN
        PERFORM scribe.after_rows(emptied, tag);
    END IF;
    IF kept IS NOT NULL THEN
        RAISE EXCEPTION 'the rows of % would be missing: it was not rewritten', kept;
    END IF;
    -- their indexes were built again: one that CREATE INDEX CONCURRENTLY left invalid is valid now
    PERFORM scribe.record_reindex(ARRAY(SELECT indexrelid FROM pg_index
        WHERE indrelid = ANY (rewritten) AND scribe.is_unrecorded_index(indexrelid)), false);
    PERFORM scribe.fill(tables, tag, statement, touched);
END
$function$;

-- Tables among tables (NULL: among all) whose UPDATE and DELETE would not be in the WAL with their old key.
-- Manual, ALTER TABLE, REPLICA IDENTITY: a deferrable primary key does not serve.
CREATE OR REPLACE FUNCTION scribe.without_identity(tables oid[] DEFAULT NULL) RETURNS SETOF oid
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    -- PL/pgSQL keeps the plan; planning it costs more than running it
    RETURN QUERY SELECT c.oid FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE c.oid = ANY (coalesce(tables, ARRAY(SELECT oid FROM pg_class WHERE relkind = 'r' AND oid >= 16384)))
            AND c.relkind = 'r' AND c.relpersistence = 'p' AND c.oid >= 16384 AND n.nspname <> 'scribe'
            AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
            AND CASE c.relreplident WHEN 'f' THEN false WHEN 'n' THEN true
                WHEN 'd' THEN NOT EXISTS (SELECT FROM pg_index AS i
                    WHERE i.indrelid = c.oid AND i.indisprimary AND i.indimmediate AND i.indisvalid)
                ELSE NOT EXISTS (SELECT FROM pg_index AS i
                    WHERE i.indrelid = c.oid AND i.indisreplident AND i.indimmediate AND i.indisvalid) END;
END
$function$;

-- Change a table's replica identity, recorded as the DDL it is.
CREATE OR REPLACE FUNCTION scribe.change_identity(relation regclass, identity text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    statement text := format('ALTER TABLE ONLY %s REPLICA IDENTITY %s', relation, identity);
BEGIN
    PERFORM scribe.run_own(statement);
    PERFORM scribe.write_row('ddl', 'ALTER TABLE', 'table', relation::text, statement, true, CASE identity WHEN 'FULL'
        THEN 'own: no key tells the rows of the table apart' ELSE 'own: a key tells the rows apart' END, ARRAY[relation::oid],
        current_user, '""');
END
$function$;

-- See to it that the tables a command touched have a replica identity; recorded as the DDL it is.
CREATE OR REPLACE FUNCTION scribe.mend_identity(tables oid[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    relation regclass;
BEGIN
    FOR relation IN SELECT * FROM scribe.without_identity(tables) ORDER BY 1 LOOP
        IF (SELECT replica_identity FROM scribe.config) = 'refuse' THEN
            RAISE EXCEPTION 'table % would have no usable replica identity', relation
                USING ERRCODE = 'SC001',
                    HINT = 'Give it a primary key or set REPLICA IDENTITY in the same statement; SCRIBE_REPLICA_IDENTITY=refuse is in force.';
        END IF;
        PERFORM scribe.change_identity(relation, 'FULL');
        INSERT INTO scribe.replica_identity VALUES (relation) ON CONFLICT DO NOTHING;
    END LOOP;
    IF NOT EXISTS (SELECT FROM scribe.replica_identity WHERE relid = ANY (tables)) THEN
        RETURN;
    END IF;
    FOR relation IN
        SELECT r.relid FROM scribe.replica_identity AS r JOIN pg_class AS c ON c.oid = r.relid
        WHERE r.relid = ANY (tables) AND c.relreplident = 'f' AND EXISTS (SELECT FROM pg_index AS i
            WHERE i.indrelid = c.oid AND i.indisprimary AND i.indimmediate AND i.indisvalid)
        ORDER BY 1
    LOOP
        PERFORM scribe.change_identity(relation, 'DEFAULT');
        DELETE FROM scribe.replica_identity WHERE relid = relation;
    END LOOP;
END
$function$;

-- A subscription as the catalog has it, in a form that never connects.
CREATE OR REPLACE FUNCTION scribe.record_subscription(tag text, facts json, dropped json) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    statement text := facts->>'statement';
    subscription record;
    known jsonb;  -- the same, for columns that older servers lack
    origin text;
    publications text;
    commands text[] := '{}';
    command text;
BEGIN
    IF tag = 'DROP SUBSCRIPTION' THEN
        commands := ARRAY[format('ALTER SUBSCRIPTION %s SET (slot_name = NONE)', dropped->'named'->0->>'identity'),
            format('DROP SUBSCRIPTION %s', dropped->'named'->0->>'identity')];
    ELSE
        IF statement IS NULL AND tag <> 'CREATE SUBSCRIPTION' THEN
            PERFORM scribe.write_row('lost', tag, 'subscription', NULL, '', false, facts->>'reason', NULL);
            RETURN;
        END IF;
        SELECT s.* INTO subscription FROM pg_event_trigger_ddl_commands() AS e JOIN pg_subscription AS s ON s.oid = e.objid;
        IF NOT FOUND THEN
            RETURN;
        END IF;
        known := to_jsonb(subscription);
        origin := coalesce((SELECT format('SERVER %I', f.srvname) FROM pg_foreign_server AS f
            WHERE f.oid = (known->>'subserver')::oid), format('CONNECTION %L', subscription.subconninfo));
        SELECT string_agg(quote_ident(p), ', ') INTO publications FROM unnest(subscription.subpublications) AS p;
        IF tag = 'CREATE SUBSCRIPTION' THEN
            commands := ARRAY[format('CREATE SUBSCRIPTION %I %s PUBLICATION %s WITH (connect = false, slot_name = %s, '
                'binary = %s, synchronous_commit = %L, streaming = %s%s)', subscription.subname, origin, publications, coalesce(quote_literal(subscription.subslotname), 'NONE'),
                CASE WHEN subscription.subbinary THEN 'true' ELSE 'false' END,
                subscription.subsynccommit,
                CASE subscription.substream::text WHEN 'p' THEN 'parallel' WHEN 't' THEN 'on' WHEN 'true' THEN 'on' ELSE 'off' END,
                (SELECT string_agg(format(', %s = %L', o.option, known->>o.name), '')
                FROM (VALUES ('disable_on_error', 'subdisableonerr', 'false'), ('password_required', 'subpasswordrequired', 'true'),
                    ('run_as_owner', 'subrunasowner', 'false'), ('origin', 'suborigin', 'any'), ('failover', 'subfailover', 'false'),
                    ('retain_dead_tuples', 'subretaindeadtuples', 'false'), ('max_retention_duration', 'submaxretention', '0'),
                    ('wal_receiver_timeout', 'subwalrcvtimeout', '-1')) AS o (option, name, unset)
                WHERE known->>o.name <> o.unset)),
                format('ALTER SUBSCRIPTION %I OWNER TO %I', subscription.subname, pg_get_userbyid(subscription.subowner))];
        ELSIF statement ~* '\m(RENAME|OWNER)\s+TO\M|\mSET\s*\(|\mSKIP\s*\(' THEN
            commands := ARRAY[statement];
        ELSIF statement !~* '\m(ENABLE|DISABLE|REFRESH\s+PUBLICATION\s*(\(.*\))?)\s*$' THEN
            commands := ARRAY[format('ALTER SUBSCRIPTION %I %s', subscription.subname, origin),
                format('ALTER SUBSCRIPTION %I SET PUBLICATION %s WITH (refresh = false)', subscription.subname, publications)];
        END IF;
    END IF;
    FOREACH command IN ARRAY commands LOOP
        PERFORM scribe.write_row('ddl', tag, 'subscription', NULL, command, true, NULL, NULL, current_user);
    END LOOP;
END
$function$;

-- Whether a text may hold a constant that stands for another time elsewhere: 'now'::timestamptz is one when it is read, and so is
-- 'now()', because punctuation is of no account in a literal; now() is none. Where a literal may have other ends than these quotes, any
-- such word counts. decoder/capture/scribe_plain.c asks the same.
CREATE OR REPLACE FUNCTION scribe.tells_time(statement text) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $function$
    SELECT statement ~* '\m(now|today|tomorrow|yesterday)\M' AND (statement ~ '[$\\]|--|/\*'
        OR EXISTS (SELECT FROM regexp_matches(statement, '"[^"]*"|''([^'']*)''', 'g') AS m (found)
            WHERE m.found[1] ~* '\m(now|today|tomorrow|yesterday)\M'))
$function$;

-- Statements that give what a command made the constants of date and time that such words became here: for each relation,
-- type or other object named, of what the catalog holds in its expressions.
CREATE OR REPLACE FUNCTION scribe.time_constants(classes oid[], objects oid[]) RETURNS SETOF text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET DateStyle = 'ISO, MDY' SET IntervalStyle = postgres SET TimeZone = 'UTC'
AS $function$
DECLARE
    mark constant text := '{CONST :consttype (1082|1083|1114|1184|1266) ';  -- date, time, timestamp and with time zone
BEGIN
    RETURN QUERY SELECT s.command FROM unnest(classes, objects) AS o (class, id), LATERAL (
        SELECT 1, format('ALTER TABLE ONLY %s ALTER COLUMN %I SET DEFAULT %s', id::regclass, a.attname, pg_get_expr(d.adbin, id))
        FROM pg_attrdef AS d JOIN pg_attribute AS a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
        WHERE class = 'pg_class'::regclass AND d.adrelid = id AND a.attgenerated = '' AND d.adbin::text ~ mark
        UNION ALL
        SELECT v.place, v.command FROM pg_constraint AS c, LATERAL (
            SELECT CASE c.contypid WHEN 0 THEN 'TABLE ' || c.conrelid::regclass ELSE 'DOMAIN ' || c.contypid::regtype END) AS n (named),
            LATERAL (VALUES (1, format('ALTER %s DROP CONSTRAINT %I', n.named, c.conname)),
                (2, format('ALTER %s ADD CONSTRAINT %I %s', n.named, c.conname, pg_get_constraintdef(c.oid)))) AS v (place, command)
        WHERE (class = 'pg_class'::regclass AND c.conrelid = id OR class = 'pg_type'::regclass AND c.contypid = id)
            AND c.contype = 'c' AND c.coninhcount = 0 AND c.conbin::text ~ mark
        UNION ALL
        SELECT 1, format('ALTER DOMAIN %s SET DEFAULT %s', id::regtype, pg_get_expr(t.typdefaultbin, 0))
        FROM pg_type AS t WHERE class = 'pg_type'::regclass AND t.oid = id AND t.typtype = 'd' AND t.typdefaultbin::text ~ mark
        UNION ALL
        SELECT 1, format('CREATE OR REPLACE VIEW %s%s AS %s', id::regclass, ' WITH (' || array_to_string(v.reloptions, ', ') || ')',
            rtrim(pg_get_viewdef(id), ';'))
        FROM pg_class AS v JOIN pg_rewrite AS r ON r.ev_class = v.oid
        WHERE class = 'pg_class'::regclass AND v.oid = id AND v.relkind = 'v' AND r.rulename = '_RETURN' AND r.ev_action::text ~ mark
        UNION ALL
        SELECT p.place, p.command FROM pg_class AS v JOIN pg_rewrite AS r ON r.ev_class = v.oid, LATERAL (VALUES
            (1, format('DROP MATERIALIZED VIEW %s', id::regclass)),
            (2, scribe.matview_text(id))) AS p (place, command)
        WHERE class = 'pg_class'::regclass AND v.oid = id AND v.relkind = 'm' AND r.ev_action::text ~ mark
        UNION ALL
        SELECT p.place, p.command FROM pg_index AS i, LATERAL (VALUES (1, format('DROP INDEX %s', id::regclass)),
            (2, pg_get_indexdef(id))) AS p (place, command)
        WHERE class = 'pg_class'::regclass AND i.indexrelid = id AND concat(i.indexprs, i.indpred) ~ mark
            AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = id)
        UNION ALL
        SELECT 1, regexp_replace(pg_get_ruledef(id), '^CREATE RULE', 'CREATE OR REPLACE RULE') FROM pg_rewrite AS r
        WHERE class = 'pg_rewrite'::regclass AND r.oid = id AND r.rulename <> '_RETURN' AND concat(r.ev_qual, r.ev_action) ~ mark
        UNION ALL
        SELECT p.place, p.command FROM pg_trigger AS t, LATERAL (VALUES
            (1, format('DROP TRIGGER %I ON %s', t.tgname, t.tgrelid::regclass)), (2, pg_get_triggerdef(id))) AS p (place, command)
        WHERE class = 'pg_trigger'::regclass AND t.oid = id AND t.tgqual::text ~ mark
        UNION ALL
        SELECT 1, format('ALTER POLICY %I ON %s%s%s', p.polname, p.polrelid::regclass,
            ' USING (' || pg_get_expr(p.polqual, p.polrelid) || ')', ' WITH CHECK (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')')
        FROM pg_policy AS p WHERE class = 'pg_policy'::regclass AND p.oid = id AND concat(p.polqual, p.polwithcheck) ~ mark
        UNION ALL
        SELECT 1, pg_get_functiondef(id) FROM pg_proc AS p
        WHERE class = 'pg_proc'::regclass AND p.oid = id AND p.prokind <> 'a'
            AND concat(p.proargdefaults, to_jsonb(p)->>'prosqlbody') ~ mark
        UNION ALL
        SELECT p.place, p.command FROM pg_statistic_ext AS s, LATERAL (VALUES
            (1, format('DROP STATISTICS %s.%I', s.stxnamespace::regnamespace, s.stxname)), (2, pg_get_statisticsobjdef(id)))
            AS p (place, command)
        WHERE class = 'pg_statistic_ext'::regclass AND s.oid = id AND to_jsonb(s)->>'stxexprs' ~ mark
        ) AS s (place, command)
    WHERE s.command IS NOT NULL ORDER BY s.place;
END
$function$;

-- What has such a constant and no statement that could change it alone.
CREATE OR REPLACE FUNCTION scribe.keeps_time(classes oid[], objects oid[]) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    mark constant text := '{CONST :consttype (1082|1083|1114|1184|1266) ';
BEGIN
    RETURN EXISTS (SELECT FROM unnest(classes, objects) AS o (class, id) WHERE
        class = 'pg_class'::regclass AND (
            EXISTS (SELECT FROM pg_attrdef AS d JOIN pg_attribute AS a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
                WHERE d.adrelid = id AND a.attgenerated <> '' AND d.adbin::text ~ mark)
            OR EXISTS (SELECT FROM pg_index AS i JOIN pg_constraint AS c ON c.conindid = i.indexrelid
                WHERE i.indrelid = id AND concat(i.indexprs, i.indpred) ~ mark)));
END
$function$;

-- Give a partition the bound that expressions like current_date made here.
CREATE OR REPLACE FUNCTION scribe.record_bound(tag text, partition oid) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET DateStyle = 'ISO, MDY' SET IntervalStyle = postgres SET TimeZone = 'UTC'
AS $function$
DECLARE
    parent regclass;
BEGIN
    SELECT inhparent INTO parent FROM pg_inherits WHERE inhrelid = partition;
    IF FOUND THEN
        PERFORM scribe.write_row('ddl', tag, 'table', NULL, format('ALTER TABLE ONLY %s DETACH PARTITION %s', parent,
            partition::regclass), true, NULL, NULL, current_user, '""');
        PERFORM scribe.write_row('ddl', tag, 'table', NULL, format('ALTER TABLE ONLY %s ATTACH PARTITION %s %s', parent,
            partition::regclass, (SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE oid = partition)), true, NULL,
            NULL, current_user, '""');
    END IF;
END
$function$;

-- REINDEX changes nothing elsewhere, but may have made indexes valid (or moved them) that were never recorded: a failed
-- CREATE INDEX CONCURRENTLY fires no trigger at its end.
CREATE OR REPLACE FUNCTION scribe.record_reindex(indexes oid[], moved boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    index record;
    command text;
BEGIN
    FOR index IN
        SELECT c.oid, c.oid::regclass AS name, pg_get_indexdef(c.oid) AS definition, h.inhparent::regclass AS parent,
            obj_description(c.oid, 'pg_class') AS comment,
            coalesce(quote_ident(t.spcname), 'pg_default') AS place
        FROM pg_class AS c JOIN pg_index AS i ON i.indexrelid = c.oid LEFT JOIN pg_inherits AS h ON h.inhrelid = c.oid
            LEFT JOIN pg_tablespace AS t ON t.oid = c.reltablespace
        WHERE c.oid = ANY (indexes) AND c.relkind = 'i' AND c.relpersistence <> 't' AND i.indisvalid
            AND NOT EXISTS (SELECT FROM scribe.left_out AS l WHERE l.classid = 'pg_class'::regclass AND l.objid = c.oid)
            AND c.oid >= 16384 AND c.relnamespace::regnamespace::text !~ '^(pg_|scribe$|information_schema$)'
            AND (moved OR NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = c.oid AND contype IN ('p', 'u', 'x')))
        ORDER BY c.oid
    LOOP
        FOREACH command IN ARRAY ARRAY[
            regexp_replace(index.definition, '^CREATE (UNIQUE )?INDEX ', 'CREATE \1INDEX IF NOT EXISTS '),
            CASE WHEN index.parent IS NOT NULL THEN format('ALTER INDEX %s ATTACH PARTITION %s', index.parent, index.name) END,
            CASE WHEN index.comment IS NOT NULL THEN format('COMMENT ON INDEX %s IS %L', index.name, index.comment) END,
            CASE WHEN moved THEN format('ALTER INDEX %s SET TABLESPACE %s', index.name, index.place) END]
        LOOP
            CONTINUE WHEN command IS NULL;
            PERFORM scribe.write_row('ddl', 'REINDEX', 'index', index.name::text, command, true, NULL, NULL, current_user, '""');
        END LOOP;
    END LOOP;
END
$function$;

-- Whether a valid index may have come about without a record; see reconcile(), which notices it otherwise.
CREATE OR REPLACE FUNCTION scribe.is_unrecorded_index(index oid) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    RETURN EXISTS (SELECT FROM pg_class AS c WHERE c.oid = index AND c.relkind = 'i' AND c.relpersistence <> 't' AND NOT c.relispartition)
        AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = index AND contype IN ('p', 'u', 'x'))
        AND NOT EXISTS (SELECT FROM scribe.seen_index AS s WHERE s.objid = index AND s.valid)
        AND NOT EXISTS (SELECT FROM scribe.ddl_history AS h
            WHERE h.relids @> ARRAY[index] AND h.tag IN ('CREATE INDEX', 'REINDEX'));
END
$function$;

-- Called by the library after REINDEX of an index or a table, which fires no event trigger before PostgreSQL 17.
CREATE OR REPLACE FUNCTION scribe.record_reindexed(relation oid, moved boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off AS $function$
BEGIN
    IF scribe.is_active() THEN
        PERFORM scribe.record_reindex(ARRAY(SELECT indexrelid FROM pg_index, scribe.with_children(ARRAY[relation]) AS family
            WHERE indexrelid = ANY (family) OR indrelid = ANY (family)), moved);
    END IF;
END
$function$;

-- An index on a partitioned table that is not valid, since a part of it could not be built: without that part.
CREATE OR REPLACE FUNCTION scribe.record_invalid_index(index regclass) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    part record;
    definition text;
BEGIN
    INSERT INTO scribe.seen_index SELECT t.relid, false  -- so that reconcile() notices when it is mended
        FROM pg_partition_tree(index) AS t JOIN pg_index AS i ON i.indexrelid = t.relid WHERE t.isleaf AND NOT i.indisvalid
    ON CONFLICT (objid) DO UPDATE SET valid = false;
    FOR part IN
        SELECT t.relid, t.parentrelid FROM pg_partition_tree(index) AS t JOIN pg_index AS i ON i.indexrelid = t.relid
        WHERE i.indisvalid OR NOT t.isleaf ORDER BY t.level, t.relid
    LOOP
        definition := regexp_replace(pg_get_indexdef(part.relid), '^CREATE (UNIQUE )?INDEX ', 'CREATE \1INDEX IF NOT EXISTS ');
        PERFORM scribe.write_row('ddl', 'CREATE INDEX', 'index', part.relid::text, definition, true, NULL, NULL, current_user, '""');
        IF part.relid <> index THEN
            PERFORM scribe.write_row('ddl', 'ALTER INDEX', 'index', part.relid::text, format('ALTER INDEX %s ATTACH PARTITION %s',
                part.parentrelid, part.relid), true, NULL, NULL, current_user, '""');
        END IF;
    END LOOP;
END
$function$;

-- Options of a foreign table or of a column of it, as their clause.
CREATE OR REPLACE FUNCTION scribe.options_clause(options text[]) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $function$
    SELECT format('OPTIONS (%s)', string_agg(format('%I %L', option_name, option_value), ', '))
    FROM pg_options_to_table(options) HAVING count(*) > 0
$function$;

-- Whether a name of this schema means nothing in a copy: somebody's temporary one, or capture's own.
CREATE OR REPLACE FUNCTION scribe.is_foreign(schema text) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $function$
    SELECT coalesce(schema ~ '^pg_temp(_\d+)?$' OR schema = 'scribe', false)
$function$;
CREATE OR REPLACE FUNCTION scribe.is_foreign_type(type oid) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $function$
    SELECT coalesce((SELECT scribe.is_foreign(n.nspname::text) FROM pg_type AS t JOIN pg_namespace AS n ON n.oid = t.typnamespace
        WHERE t.oid = type AND type >= 16384), false)
$function$;

-- A table as statements: for one made in the likeness of a temporary table, which nobody else can see, and for what
-- IMPORT FOREIGN SCHEMA found on another server.
CREATE OR REPLACE FUNCTION scribe.table_definition(relation regclass) RETURNS SETOF text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $function$
    SELECT format('CREATE %sTABLE %s (%s)%s', CASE WHEN c.relpersistence = 'u' THEN 'UNLOGGED ' WHEN c.relkind = 'f' THEN 'FOREIGN ' END,
        relation, (
        SELECT string_agg(concat_ws(' ', quote_ident(a.attname), format_type(a.atttypid, a.atttypmod),
            scribe.options_clause(a.attfdwoptions),
            CASE WHEN a.attcollation <> t.typcollation THEN 'COLLATE ' || a.attcollation::regcollation END,
            CASE WHEN d.oid IN (SELECT objid FROM scribe.left_out WHERE classid = 'pg_attrdef'::regclass) THEN NULL
                WHEN a.attgenerated = 's' THEN format('GENERATED ALWAYS AS (%s) STORED', pg_get_expr(d.adbin, d.adrelid))
                WHEN a.attgenerated <> '' THEN format('GENERATED ALWAYS AS (%s) VIRTUAL', pg_get_expr(d.adbin, d.adrelid))
                WHEN d.adbin IS NOT NULL THEN 'DEFAULT ' || pg_get_expr(d.adbin, d.adrelid) END,
            CASE a.attidentity WHEN 'a' THEN 'GENERATED ALWAYS AS IDENTITY' WHEN 'd' THEN 'GENERATED BY DEFAULT AS IDENTITY' END,
            CASE WHEN a.attnotnull THEN coalesce((  -- named from PostgreSQL 18 on
                SELECT format('CONSTRAINT %I NOT NULL', conname) FROM pg_constraint
                WHERE conrelid = relation AND contype = 'n' AND conkey = ARRAY[a.attnum]), 'NOT NULL') END), ', ' ORDER BY a.attnum)
        FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = a.atttypid
            LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped AND NOT scribe.is_foreign_type(a.atttypid)
            AND NOT (a.attgenerated <> '' AND d.oid IN (SELECT objid FROM scribe.left_out WHERE classid = 'pg_attrdef'::regclass))),
        (SELECT concat_ws(' ', format(' SERVER %I', s.srvname), scribe.options_clause(f.ftoptions))
            FROM pg_foreign_table AS f JOIN pg_foreign_server AS s ON s.oid = f.ftserver WHERE f.ftrelid = relation))
    FROM pg_class AS c WHERE c.oid = relation
    UNION ALL
    SELECT * FROM (SELECT format('ALTER TABLE ONLY %s ADD CONSTRAINT %I %s', relation, conname, pg_get_constraintdef(oid))
        FROM pg_constraint WHERE conrelid = relation AND contype IN ('c', 'f', 'p', 'u', 'x')
            AND oid NOT IN (SELECT objid FROM scribe.left_out WHERE classid = 'pg_constraint'::regclass) ORDER BY contype = 'f', oid) AS k
    UNION ALL
    SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = relation
        AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)
$function$;

-- Whether an object is made of something temporary, for instance a function that returns a temporary table's row.
CREATE OR REPLACE FUNCTION scribe.depends_on_temporary(class oid, object oid) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $function$
    SELECT class NOT IN ('pg_class'::regclass, 'pg_namespace'::regclass) AND EXISTS (
        SELECT FROM pg_depend AS d LEFT JOIN pg_type AS t ON d.refclassid = 'pg_type'::regclass AND t.oid = d.refobjid
            LEFT JOIN pg_class AS c ON d.refclassid = 'pg_class'::regclass AND c.oid = d.refobjid
            LEFT JOIN pg_proc AS p ON d.refclassid = 'pg_proc'::regclass AND p.oid = d.refobjid
            LEFT JOIN scribe.left_out AS l ON l.classid = d.refclassid AND l.objid = d.refobjid
        WHERE d.classid = class AND d.objid = object
            AND (pg_my_temp_schema() IN (t.typnamespace, c.relnamespace, p.pronamespace) OR l.objid IS NOT NULL))
$function$;

-- Flag those of the objects that a command has made use something temporary and that were there before: they go from the source with it,
-- without an event trigger, and stay in a copy. Who owns an object is written when it is made, and by no REPLACE.
CREATE OR REPLACE FUNCTION scribe.flag_passing(tag text, classes oid[], objects oid[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    passing record;
BEGIN
    FOR passing IN
        SELECT DISTINCT o.class, o.id, i.type, i.identity FROM unnest(classes, objects) AS o (class, id),
            LATERAL pg_identify_object(o.class, o.id, 0) AS i
        WHERE scribe.depends_on_temporary(o.class, o.id)
            AND NOT EXISTS (SELECT FROM scribe.left_out AS l WHERE l.classid = o.class AND l.objid = o.id)
            AND (tag !~ '^CREATE ' OR EXISTS (SELECT FROM pg_shdepend AS d WHERE d.classid = o.class AND d.objid = o.id AND d.deptype = 'o'
                AND d.dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND NOT scribe.is_ours(d.xmin)))
    LOOP
        PERFORM scribe.write_row('lost', tag, passing.type, passing.identity, '', false,
            format('%s %s depends on something temporary and goes with it', passing.type, passing.identity), NULL);
    END LOOP;
END
$function$;

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

-- Record one command. commands: what pg_event_trigger_ddl_commands() says of it, gathered by the caller.
CREATE OR REPLACE FUNCTION scribe.record_command(tag text, facts json, dropped json, total int, kept int, relids oid[],
    object_type text, object_identity text, object_schema text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    statement text := facts->>'statement';
    exact boolean := coalesce((facts->>'exact')::boolean, false);
    reason text := facts->>'reason';
    part json;
    command text;
    constraint_name name;
    detached oid := (facts->>'detached')::oid;
    attached oid := (facts->>'attached')::oid;
    caller text := current_setting('scribe.role', true);
    invalid oid;
    as_role text;
    as_path text;
BEGIN
    IF tag = 'CREATE SCHEMA' AND total = 1 AND (caller <> current_user OR NOT exact) THEN  -- what it made says enough
        statement := format('CREATE SCHEMA %s AUTHORIZATION %I', object_identity, (SELECT pg_get_userbyid(nspowner)
            FROM pg_namespace WHERE nspname = (parse_ident(object_identity))[1]));
        exact := true;
        reason := NULL;
    END IF;
    -- What neither depends on who does it nor runs anybody's code is done by us: the role may have lost its privileges, or
    -- have them in the database's own, which another database need not have. Not a guess: who shaped it would have our rights.
    IF exact AND caller <> current_user AND ((tag LIKE 'DROP %' AND tag NOT IN ('DROP OWNED', 'DROP USER MAPPING')) OR tag IN ('COMMENT', 'CREATE PUBLICATION')
            OR (tag = 'CREATE SCHEMA' AND total = 1)
            OR (statement ~* '^ALTER\M.*\mOWNER\s+TO\s+\S+$' AND statement !~* '\m(CURRENT_USER|CURRENT_ROLE|SESSION_USER)$')) THEN
        as_role := current_user;
        as_path := coalesce(nullif(scribe.usable_path(current_setting('scribe.path', true), caller), '""'), '');
    END IF;
    IF tag LIKE '% SUBSCRIPTION' AND tag <> 'COMMENT' THEN
        PERFORM scribe.record_subscription(tag, facts, dropped);
    ELSIF tag = 'IMPORT FOREIGN SCHEMA' THEN  -- what it made, which asking the same server again need not make
        FOR command IN SELECT d FROM pg_class AS c, scribe.table_definition(c.oid) AS d
            WHERE c.oid = ANY (relids) AND c.relkind = 'f' ORDER BY c.oid LOOP
            PERFORM scribe.write_row('ddl', 'CREATE FOREIGN TABLE', 'foreign table', NULL, command, true, NULL, relids, NULL, '""');
        END LOOP;
    ELSIF tag IN ('CREATE TABLE AS', 'SELECT INTO') THEN
        PERFORM scribe.write_row('create', tag, object_type, object_identity, statement, true, NULL, relids);
    ELSIF tag = 'CREATE MATERIALIZED VIEW' AND NOT exact AND cardinality(relids) = 1 THEN  -- its query was analysed before anybody saw it
        PERFORM scribe.write_row('ddl', tag, object_type, object_identity, scribe.matview_text(relids[1]), true, NULL, relids, NULL, '""');
    ELSIF tag LIKE 'DROP %' AND tag NOT IN ('DROP OWNED', 'DROP USER MAPPING')
        AND ((dropped->>'temporary')::int > 0 OR NOT exact) THEN  -- what it dropped says enough
        FOR part IN SELECT * FROM json_array_elements(dropped->'named') LOOP
            PERFORM scribe.write_row('ddl', tag, part->>'type', part->>'identity',
                format('%s %s CASCADE', tag, part->>'identity'), true, NULL, NULL);
        END LOOP;
    ELSIF statement IS NULL THEN
        PERFORM scribe.write_row('lost', tag, object_type, object_identity, '', false, reason, relids);
    ELSIF (facts->>'like_temporary')::boolean AND cardinality(relids) > 0 THEN
        FOR command IN SELECT * FROM scribe.table_definition((SELECT oid FROM pg_class WHERE oid = ANY (relids) AND relkind = 'r'
            ORDER BY oid LIMIT 1)) LOOP
            PERFORM scribe.write_row('ddl', tag, object_type, object_identity, command, true, NULL, relids, NULL, '""');
        END LOOP;
    ELSE
        IF tag = 'DROP INDEX' THEN  -- one that CREATE INDEX CONCURRENTLY left invalid is nowhere else
            statement := regexp_replace(statement, '^\s*(DROP\s+INDEX(?:\s+CONCURRENTLY)?)\s+(?!(?:IF\s+EXISTS|CONCURRENTLY)\M)',
                '\1 IF EXISTS ', 'i');
        ELSIF tag IN ('ALTER INDEX', 'ALTER TABLE', 'COMMENT')  -- ALTER TABLE may rename it as well
            AND EXISTS (SELECT FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
                WHERE c.oid = CASE WHEN attached <> 0 THEN attached ELSE relids[1] END AND c.relkind = 'i' AND NOT i.indisvalid) THEN
            RETURN;  -- as above; it will be recorded as it is when it becomes valid
        ELSIF tag IN ('ALTER INDEX', 'COMMENT') AND attached = 0 AND scribe.is_unrecorded_index(relids[1]) THEN
            IF tag = 'ALTER INDEX' THEN  -- there it is only if it was recorded under another oid
                PERFORM scribe.write_row('ddl', tag, object_type, object_identity, regexp_replace(statement,
                    '^\s*(ALTER\s+INDEX)\s+(?!IF\s+EXISTS\M)', '\1 IF EXISTS ', 'i'), exact, reason, relids, as_role, as_path);
            END IF;
            PERFORM scribe.record_reindex(relids, false);
            RETURN;
        ELSIF tag = 'ALTER TABLE' AND statement ~* '^[^,]*\mREPLICA\s+IDENTITY\s+USING\s+INDEX\M[^,]*$'
            AND EXISTS (SELECT FROM pg_index WHERE indrelid = ANY (relids) AND indisreplident AND NOT indisvalid) THEN
            RETURN;  -- as above, and the table gets another identity at once
        ELSIF tag = 'CREATE INDEX' THEN
            SELECT indexrelid INTO invalid FROM pg_index WHERE indexrelid = ANY (relids) AND NOT indisvalid
                AND NOT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = indexrelid);
            IF FOUND THEN
                PERFORM scribe.record_invalid_index(invalid);
                RETURN;
            END IF;
            -- a name that was chosen beside indexes which are nowhere else would be another one there
            IF statement ~* '^\s*CREATE\s+(UNIQUE\s+)?INDEX\s+CONCURRENTLY\M' OR EXISTS (SELECT FROM pg_index AS i JOIN pg_index AS made
                    ON made.indrelid = i.indrelid WHERE made.indexrelid = relids[1] AND NOT i.indisvalid) THEN
                statement := regexp_replace(statement, '^(\s*CREATE\s+(?:UNIQUE\s+)?INDEX\s+(?:CONCURRENTLY\s+)?)(?=ON\M)', '\1'
                    || (SELECT replace(quote_ident(relname), '\', '\\') FROM pg_class WHERE oid = relids[1]) || ' ', 'i');
            END IF;
        END IF;
        IF tag IN ('CREATE EXTENSION', 'ALTER EXTENSION') AND exact AND object_type = 'extension' THEN
            statement := scribe.with_version(tag, statement, (parse_ident(object_identity))[1]::name);
        END IF;
        PERFORM scribe.write_row('ddl', tag, object_type, object_identity, statement, exact, reason, relids, as_role, as_path);
        IF tag = 'CREATE PUBLICATION' AND as_role IS NOT NULL THEN
            PERFORM scribe.write_row('ddl', 'ALTER PUBLICATION', object_type, object_identity,
                format('ALTER PUBLICATION %s OWNER TO %I', object_identity, caller), true, NULL, NULL, as_role, '""');
        END IF;
        IF (facts->>'bound_mutable')::boolean THEN
            PERFORM scribe.record_bound(tag, CASE WHEN attached <> 0 THEN attached ELSE relids[1] END);
        END IF;
        IF detached <> 0 THEN
            FOR constraint_name IN SELECT conname FROM pg_constraint WHERE conrelid = detached AND contype = 'c' LOOP
                PERFORM scribe.write_row('ddl', tag, 'table constraint', NULL, format('DO %L', format(
                    'BEGIN IF NOT EXISTS (SELECT FROM pg_catalog.pg_constraint WHERE conrelid = %L::pg_catalog.regclass '
                    'AND conname = %L) THEN ALTER TABLE %s ADD CONSTRAINT %I %s; END IF; END', detached::regclass,
                    constraint_name, detached::regclass, constraint_name, (SELECT pg_get_constraintdef(oid) FROM pg_constraint
                        WHERE conrelid = detached AND conname = constraint_name))), true, NULL, NULL);
            END LOOP;
        END IF;
    END IF;
END
$function$;

-- What of the objects that a command made uses something that means nothing in a copy, unless that was found before: the object
-- itself (whole), a default, a constraint or a column of it. own: what is used is capture's.
CREATE OR REPLACE FUNCTION scribe.foreign_parts(classes oid[], objects oid[]) RETURNS TABLE (class oid, object oid, part int, whole boolean,
    own boolean, description text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $function$
    WITH made (class, object) AS (SELECT DISTINCT m.c, m.o FROM unnest(classes, objects) AS m (c, o) WHERE m.o IS NOT NULL),
        parts (class, object, user_class, user_object, whole) AS (  -- what is left out, and what its uses are recorded of
            SELECT class, object, class, object, true FROM made
            UNION ALL SELECT class, object, 'pg_rewrite'::regclass, r.oid, true FROM made JOIN pg_rewrite AS r ON r.ev_class = object
                WHERE class = 'pg_class'::regclass AND r.rulename = '_RETURN'
            UNION ALL SELECT class, object, 'pg_class'::regclass, t.typrelid, true FROM made JOIN pg_type AS t ON t.oid = object
                WHERE class = 'pg_type'::regclass AND t.typtype = 'c'
            UNION ALL SELECT 'pg_publication_rel'::regclass, r.oid, 'pg_publication_rel'::regclass, r.oid, false FROM made
                JOIN pg_publication_rel AS r ON r.prpubid = object WHERE class = 'pg_publication'::regclass
            UNION ALL SELECT 'pg_attrdef'::regclass, d.oid, 'pg_attrdef'::regclass, d.oid, false FROM made
                JOIN pg_attrdef AS d ON d.adrelid = object WHERE class = 'pg_class'::regclass
            UNION ALL SELECT 'pg_constraint'::regclass, k.oid, 'pg_constraint'::regclass, k.oid, false FROM made
                JOIN pg_constraint AS k ON class = 'pg_class'::regclass AND k.conrelid = object
                    OR class = 'pg_type'::regclass AND k.contypid = object)
    SELECT p.class, p.object, d.objsubid, p.whole AND (d.objsubid = 0 OR p.class <> 'pg_class'::regclass), min(i.schema) = 'scribe',
        min(format('%s uses %s', pg_describe_object(p.class, p.object, CASE WHEN p.class = 'pg_class'::regclass THEN d.objsubid ELSE 0 END),
            pg_describe_object(d.refclassid, d.refobjid, d.refobjsubid)))
    FROM parts AS p JOIN pg_depend AS d ON d.classid = p.user_class AND d.objid = p.user_object
        LEFT JOIN scribe.left_out AS l ON l.classid = d.refclassid AND l.objid = d.refobjid,
        LATERAL pg_identify_object(d.refclassid, d.refobjid, 0) AS i
    WHERE d.refobjid >= 16384 AND d.deptype IN ('n', 'a') AND (scribe.is_foreign(i.schema) OR l.objid IS NOT NULL)
        AND (d.refclassid, d.refobjid) <> (p.class, p.object)
        AND NOT EXISTS (SELECT FROM scribe.left_out AS o WHERE (o.classid, o.objid) = (p.class, p.object) AND NOT p.whole)
    GROUP BY p.class, p.object, d.objsubid, p.whole
$function$;

-- A domain as statements, without the constraints that are left out.
CREATE OR REPLACE FUNCTION scribe.domain_definition(domain oid) RETURNS SETOF text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $function$
    SELECT concat_ws(' ', 'CREATE DOMAIN', domain::regtype, 'AS', format_type(t.typbasetype, t.typtypmod),
        CASE WHEN t.typcollation <> b.typcollation THEN 'COLLATE ' || t.typcollation::regcollation END,
        'DEFAULT ' || pg_get_expr(t.typdefaultbin, 0), CASE WHEN t.typnotnull THEN 'NOT NULL' END)
    FROM pg_type AS t JOIN pg_type AS b ON b.oid = t.typbasetype WHERE t.oid = domain
    UNION ALL SELECT format('ALTER DOMAIN %s ADD CONSTRAINT %I %s', domain::regtype, k.conname, pg_get_constraintdef(k.oid))
    FROM pg_constraint AS k WHERE k.contypid = domain AND k.contype = 'c' AND k.oid NOT IN (SELECT objid FROM scribe.left_out
        WHERE classid = 'pg_constraint'::regclass)
$function$;

-- What is left of a command without the parts that mean nothing in a copy, as statements; NULL if that cannot be told.
CREATE OR REPLACE FUNCTION scribe.rest_of_command(tag text, facts json, classes oid[], objects oid[]) RETURNS text[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    tables constant oid[] := ARRAY(SELECT DISTINCT c.oid FROM unnest(classes, objects) AS o (class, id) JOIN pg_class AS c ON c.oid = o.id
        WHERE o.class = 'pg_class'::regclass AND c.relkind IN ('r', 'p', 'f'));
BEGIN
    IF tag = 'CREATE DOMAIN' AND cardinality(objects) = 1 THEN
        RETURN ARRAY(SELECT scribe.domain_definition(objects[1]));
    ELSIF cardinality(tables) <> 1 OR EXISTS (SELECT FROM pg_inherits WHERE tables[1] IN (inhrelid, inhparent))
        OR NOT EXISTS (SELECT FROM pg_class WHERE oid = tables[1] AND relkind = 'r' AND reloftype = 0) THEN
        RETURN NULL;
    ELSIF tag = 'CREATE TABLE' THEN
        RETURN ARRAY(SELECT scribe.table_definition(tables[1]));
    ELSIF tag = 'ALTER TABLE' AND (facts->>'actions')::int = 1 THEN
        RETURN ARRAY(SELECT format('ALTER TABLE %s ADD COLUMN %I %s%s', tables[1]::regclass, a.attname,
                format_type(a.atttypid, a.atttypmod), CASE WHEN a.attnotnull AND a.atthasmissing THEN ''
                    WHEN a.attnotnull THEN ' NOT NULL' END)
            FROM json_array_elements(facts->'touched') AS t JOIN pg_attribute AS a ON a.attrelid = (t->>0)::oid AND a.attnum = (t->>1)::int
            WHERE (t->>2)::int = 1 AND NOT scribe.is_foreign_type(a.atttypid));
    END IF;
    RETURN NULL;
END
$function$;

-- Record a command as far as it means something in a copy; false: all of it does. What uses something temporary goes with that and is
-- no loss; anything else is flagged.
CREATE OR REPLACE FUNCTION scribe.leave_out(tag text, facts json, classes oid[], objects oid[], relids oid[]) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    statement constant text := facts->>'statement';
    parts record;
    rest text[];
    command text;
BEGIN
    IF tag LIKE 'DROP %' OR tag LIKE '% EXTENSION' OR NOT (pg_my_temp_schema() <> 0 OR EXISTS (SELECT FROM scribe.left_out)
            OR concat(statement, current_setting('scribe.path', true)) ~* 'scribe') THEN
        RETURN false;
    ELSIF tag IN ('GRANT', 'REVOKE') THEN
        SELECT min(i.identity) AS identity INTO parts FROM (SELECT l.* FROM scribe.left_out AS l WHERE EXISTS (SELECT FROM pg_depend AS d
            WHERE d.classid = l.classid AND d.objid = l.objid OFFSET 0)) AS l, LATERAL pg_identify_object(l.classid, l.objid, 0) AS i,
            LATERAL pg_identify_object_as_address(l.classid, l.objid, 0) AS a
            WHERE l.classid NOT IN ('pg_attrdef'::regclass, 'pg_constraint'::regclass)
                AND statement ~* format('(?<![\w$])%s(?![\w$])',
                    regexp_replace(a.object_names[cardinality(a.object_names)], '([^\w])', '\\\1', 'g'));
        IF parts.identity IS NULL THEN
            RETURN false;
        END IF;
        PERFORM scribe.write_row('lost', tag, NULL, NULL, '', false, format('%s is left out of every copy', parts.identity), NULL);
        RETURN true;
    END IF;
    SELECT count(*) AS total, count(*) FILTER (WHERE f.whole) AS whole, count(*) FILTER (WHERE NOT f.whole AND f.part > 0) AS columns,
            bool_or(f.own) AS own, min(f.description) AS description,
            array_agg(DISTINCT f.object) FILTER (WHERE f.whole) @> objects AS all_of_it
        INTO parts FROM scribe.foreign_parts(classes, objects) AS f;
    IF parts.total = 0 THEN
        RETURN false;
    END IF;
    INSERT INTO scribe.left_out SELECT DISTINCT f.class, f.object FROM scribe.foreign_parts(classes, objects) AS f
        WHERE f.part = 0 OR f.class <> 'pg_class'::regclass ON CONFLICT DO NOTHING;
    IF parts.whole > 0 AND NOT (parts.all_of_it AND NOT EXISTS (SELECT FROM pg_class WHERE oid = ANY (relids) AND relkind IN ('r', 'p', 'f'))) THEN
        rest := NULL;
    ELSIF parts.whole > 0 THEN
        rest := '{}';
    ELSE
        rest := scribe.rest_of_command(tag, facts, classes, objects);
    END IF;
    FOREACH command IN ARRAY coalesce(rest, '{}') LOOP
        PERFORM scribe.write_row('ddl', tag, NULL, NULL, command, true, 'own: what means nothing in a copy is left out', relids, NULL, '""');
    END LOOP;
    IF rest IS NULL OR parts.own OR parts.columns > 0 THEN
        PERFORM scribe.write_row('lost', tag, NULL, NULL, statement, false, format('%s, which no copy has', parts.description),
            CASE WHEN rest IS NULL THEN relids END);
    END IF;
    RETURN true;
END
$function$;

-- Record a command that has ended, then whatever must follow it; called by event triggers.
CREATE OR REPLACE FUNCTION scribe.record_ended(tg_tag text) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    dropped json;
    is_drop constant boolean := tg_tag LIKE 'DROP %' AND tg_tag <> 'DROP OWNED';
    facts json;
    extension boolean;
    total int;
    kept int;
    ours int;
    tables oid[];
    classes oid[];
    objects oid[];
    command text;
    tells_time boolean;
    first record;
BEGIN
    dropped := coalesce(nullif(current_setting('scribe.dropped', true), ''),
        '{"named": [], "temporary": 0, "keys": 0}')::json;
    PERFORM scribe.note('scribe.dropped', '');
    IF NOT scribe.is_active() THEN
        RETURN true;
    END IF;
    SELECT count(*), count(*) FILTER (WHERE NOT (coalesce(scribe.schema_of(schema_name, classid, objid, objsubid)
                    ~ '^pg_temp(_\d+)?$', false)
                OR lower(object_type) = 'large object'  -- sent by rotation
                OR (pg_my_temp_schema() <> 0 AND scribe.depends_on_temporary(classid, objid)))),
            count(*) FILTER (WHERE scribe.schema_of(schema_name, classid, objid, objsubid) = 'scribe' OR (object_type = 'schema' AND object_identity = 'scribe')),
            coalesce(bool_or(in_extension), false),
            array_agg(objid) FILTER (WHERE classid = 'pg_class'::regclass),
            array_agg(classid), array_agg(objid)
        INTO total, kept, ours, extension, tables, classes, objects FROM pg_event_trigger_ddl_commands();
    IF total > 0 AND kept = 0 AND pg_my_temp_schema() <> 0 THEN
        PERFORM scribe.flag_passing(tg_tag, classes, objects);
        INSERT INTO scribe.left_out SELECT e.classid, e.objid FROM pg_event_trigger_ddl_commands() AS e
            WHERE scribe.depends_on_temporary(e.classid, e.objid) ON CONFLICT DO NOTHING;
    END IF;
    IF extension OR (total > 0 AND (kept = 0 OR ours = total)) THEN
        RETURN true;
    END IF;
    IF tg_tag = 'REINDEX' THEN
        PERFORM scribe.record_reindex(tables, current_query() ~* '\mTABLESPACE\M');
        RETURN true;
    END IF;
    IF tg_tag IN ('CREATE EXTENSION', 'ALTER EXTENSION') AND total = 0 THEN
        PERFORM scribe.write_row('scripted', tg_tag, NULL, NULL, '', true, NULL, NULL);
        RETURN true;
    END IF;
    IF (CASE WHEN is_drop THEN json_array_length(dropped->'named') = 0 
            -- ALTER PUBLICATION ... DROP shows only in what it dropped
            ELSE total = 0 AND json_array_length(dropped->'named') = 0 AND tg_tag <> 'DROP OWNED' END) THEN
        RETURN true;
    END IF;
    IF is_drop AND NOT EXISTS (SELECT FROM json_array_elements(dropped->'named') AS d
            WHERE NOT coalesce((d->>'ours')::boolean, false)) THEN
        RETURN true;
    END IF;
    facts := scribe.statement_facts(tg_tag);
    IF (facts->>'temporary')::boolean OR (facts->>'in_extension')::boolean THEN
        RETURN true;
    END IF;
    SELECT * INTO first FROM pg_event_trigger_ddl_commands() LIMIT 1;
    IF lower(first.object_type) = 'large object' THEN
        RETURN true;  -- rotation sends large objects with their owner, privileges and comment
    END IF;
    IF NOT scribe.leave_out(tg_tag, facts, classes, objects, tables) AND NOT EXISTS (SELECT FROM scribe.rewritten AS r WHERE r.recorded AND r.pid = pg_backend_pid()
            AND r.xact = pg_current_xact_id() AND r.relid = ANY (scribe.rewritten_by(scribe.with_children(coalesce(tables, '{}'))))) THEN
        PERFORM scribe.record_command(tg_tag, facts, dropped, total, kept, tables,
            coalesce(first.object_type, dropped->'named'->0->>'type'),
            coalesce(first.object_identity, dropped->'named'->0->>'identity'), first.schema_name);
    END IF;
    IF tg_tag IN ('CREATE EXTENSION', 'ALTER EXTENSION') THEN
        PERFORM scribe.write_row('scripted', tg_tag, NULL, NULL, '', true, NULL, NULL);
        IF first.object_type = 'extension' AND tg_tag = 'ALTER EXTENSION' AND facts->>'statement' ~* '\mUPDATE\M' THEN
            PERFORM scribe.record_config(tg_tag, (parse_ident(first.object_identity))[1]::name);
        ELSIF first.object_type = 'extension' AND tg_tag = 'CREATE EXTENSION' THEN
            PERFORM scribe.refuse_extension(tg_tag, (parse_ident(first.object_identity))[1]::name);
        END IF;
        tables := NULL;
    END IF;
    tells_time := coalesce(scribe.tells_time(facts->>'statement'), true);
    IF tells_time AND tg_tag ~ '^(CREATE|ALTER)\M' AND tg_tag NOT IN ('CREATE EXTENSION', 'ALTER EXTENSION', 'CREATE TABLE AS') THEN
        FOR command IN SELECT * FROM scribe.time_constants(classes, objects) LOOP
            PERFORM scribe.write_row('ddl', tg_tag, NULL, NULL, command, true, 'own: the time that the words stood for', NULL, NULL, '""');
        END LOOP;
        IF scribe.keeps_time(classes, objects) THEN
            PERFORM scribe.write_row('lost', tg_tag, NULL, NULL, facts->>'statement', false,
                'it made a constant of the time it ran at, and another time would be in its place', NULL);
        END IF;
    END IF;
    IF coalesce(facts->>'statement' ~* '\mFROM\s+CURRENT\M', true) AND tg_tag ~ '^(CREATE|ALTER) (FUNCTION|PROCEDURE|ROUTINE)$' THEN
        FOR command IN SELECT pg_get_functiondef(id) FROM unnest(classes, objects) AS o (class, id)
            WHERE class = 'pg_proc'::regclass AND EXISTS (SELECT FROM pg_proc AS p WHERE p.oid = id AND p.prokind <> 'a') LOOP
            PERFORM scribe.write_row('ddl', tg_tag, NULL, NULL, command, true, NULL, NULL, NULL, '""');  -- settings as they were
        END LOOP;
    END IF;
    tables := scribe.with_children(coalesce(tables, '{}'));
    IF tg_tag IN ('ALTER TABLE', 'ALTER FOREIGN TABLE', 'ALTER TYPE') THEN
        BEGIN
            PERFORM scribe.send_values(tg_tag, tables, facts->>'statement', facts->'touched');
        EXCEPTION WHEN OTHERS THEN  -- the command itself stays recorded
            RAISE WARNING 'pg_scribe could not send the values that % made: %', tg_tag, SQLERRM
                USING HINT = 'Take a new base with scribe-dump.';
            PERFORM scribe.record_failure(tg_tag, SQLERRM);
        END;
    END IF;
    IF tables <> '{}' THEN
        PERFORM scribe.mend_identity(tables);
    END IF;
    IF tg_tag IN ('CREATE EXTENSION', 'ALTER EXTENSION') OR (tg_tag <> 'DROP TABLE' AND (dropped->>'keys')::int > 0) THEN
        PERFORM scribe.mend_identity(ARRAY(SELECT scribe.without_identity()));
    END IF;
    RETURN true;
EXCEPTION
    WHEN SQLSTATE 'SC001' THEN
        RAISE;  -- the refusal that SCRIBE_REPLICA_IDENTITY=refuse asks for
    WHEN OTHERS THEN
        RAISE WARNING 'pg_scribe could not record %: %', tg_tag, SQLERRM
            USING HINT = 'Take a new base with scribe-dump.';
        PERFORM scribe.record_failure(tg_tag, SQLERRM);
        RETURN false;
END
$function$;

-- Event trigger ddl_command_end. Names are looked at as they are quoted by default, in the call stack, too. Nobody waits for
-- long because of us.
CREATE OR REPLACE FUNCTION scribe.command_end() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off SET lock_timeout = '2s'
SET standard_conforming_strings = on AS $function$
DECLARE
    done boolean;
BEGIN
    done := scribe.record_ended(tg_tag);  -- an assignment adds nothing to the call stack
END
$function$;

-- The row that says that something is missing. Where even that cannot be written (somebody has locked the table), a message
-- does: anybody may send one, and all it can cause is an alarm.
CREATE OR REPLACE FUNCTION scribe.record_failure(tag text, message text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET lock_timeout = '100ms' AS $function$
BEGIN
    PERFORM scribe.write_row('lost', tag, NULL, NULL, CASE WHEN octet_length(current_query()) < 100000 THEN current_query() ELSE '' END,
        false, message, NULL);
EXCEPTION WHEN OTHERS THEN
    BEGIN
        PERFORM pg_logical_emit_message(true, 'scribe.lost', left(format('%s: %s', tag, message), 200));
    EXCEPTION WHEN OTHERS THEN
        RAISE WARNING 'pg_scribe could not even record that % is missing from the archive: take a new base', tag;
    END;
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

-- Whether an object's row in its catalog could be locked against any change until this transaction ends. What is recorded of
-- it is then true at its place in the WAL: whoever changed it has committed before, and whoever will does so after.
CREATE OR REPLACE FUNCTION scribe.hold(catalog regclass, object oid) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    held boolean;
BEGIN
    EXECUTE format('SELECT true FROM %s WHERE %I = $1 FOR SHARE NOWAIT', catalog,
        CASE WHEN catalog = 'pg_index'::regclass THEN 'indexrelid' ELSE 'oid' END) INTO held USING object;
    RETURN coalesce(held, false);
EXCEPTION WHEN lock_not_available OR serialization_failure THEN
    RETURN false;
END
$function$;

-- The same of an index; false also while somebody builds, rebuilds or drops an index of its table, which takes several
-- transactions if it is done CONCURRENTLY: the lock on the table stays between them.
CREATE OR REPLACE FUNCTION scribe.hold_index(index oid) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    RETURN scribe.hold('pg_index', index) AND scribe.hold('pg_class', index)
        AND NOT EXISTS (SELECT FROM pg_locks AS l JOIN pg_index AS i ON i.indrelid = l.relation
            WHERE i.indexrelid = index AND l.locktype = 'relation' AND l.pid <> pg_backend_pid() AND l.database =
                (SELECT oid FROM pg_database WHERE datname = current_database())
                AND l.mode NOT IN ('AccessShareLock', 'RowShareLock', 'RowExclusiveLock'));
END
$function$;

-- What reconcile() saw last: event triggers as the statements that make them, who owns what, and which indexes are valid.
CREATE TABLE IF NOT EXISTS scribe.seen_event_trigger (name text PRIMARY KEY, statements text[] NOT NULL);
CREATE TABLE IF NOT EXISTS scribe.seen_owner (classid oid, objid oid, owner oid NOT NULL, PRIMARY KEY (classid, objid));
CREATE TABLE IF NOT EXISTS scribe.seen_index (objid oid PRIMARY KEY, valid boolean NOT NULL);

-- Event triggers of this database that are not ours, as the statements that make them.
CREATE OR REPLACE FUNCTION scribe.event_triggers() RETURNS TABLE (name text, statements text[])
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    RETURN QUERY SELECT e.evtname::text, array_remove(ARRAY[
        format('CREATE EVENT TRIGGER %I ON %s%s EXECUTE FUNCTION %s()', e.evtname, e.evtevent,
            CASE WHEN e.evttags IS NULL THEN ''
                ELSE ' WHEN TAG IN (' || (SELECT string_agg(quote_literal(t), ', ') FROM unnest(e.evttags) AS t) || ')' END,
            e.evtfoid::regproc),
        format('ALTER EVENT TRIGGER %I OWNER TO %I', e.evtname, pg_get_userbyid(e.evtowner)),
        CASE e.evtenabled WHEN 'D' THEN format('ALTER EVENT TRIGGER %I DISABLE', e.evtname)
            WHEN 'A' THEN format('ALTER EVENT TRIGGER %I ENABLE ALWAYS', e.evtname)
            WHEN 'R' THEN format('ALTER EVENT TRIGGER %I ENABLE REPLICA', e.evtname) END,
        CASE WHEN obj_description(e.oid, 'pg_event_trigger') IS NOT NULL THEN
            format('COMMENT ON EVENT TRIGGER %I IS %L', e.evtname, obj_description(e.oid, 'pg_event_trigger')) END], NULL)
    FROM pg_event_trigger AS e
    WHERE NOT EXISTS (SELECT FROM pg_proc AS f WHERE f.oid = e.evtfoid AND f.pronamespace = 'scribe'::regnamespace)
        AND NOT EXISTS (SELECT FROM pg_depend AS d
        WHERE d.classid = 'pg_event_trigger'::regclass AND d.objid = e.oid AND d.deptype = 'e');
END
$function$;

-- Owners of what REASSIGN OWNED changes: relations, functions, types and schemas that are not an extension's. objects: OIDs, NULL
-- for all.
DROP FUNCTION IF EXISTS scribe.owners();
CREATE OR REPLACE FUNCTION scribe.owners(objects oid[]) RETURNS TABLE (classid oid, objid oid, owner oid)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    RETURN QUERY SELECT o.classid, o.objid, o.owner FROM (
        SELECT 'pg_class'::regclass::oid AS classid, oid, relowner, relnamespace FROM pg_class
            WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND relpersistence <> 't'
        UNION ALL SELECT 'pg_proc'::regclass::oid, oid, proowner, pronamespace FROM pg_proc
        UNION ALL SELECT 'pg_type'::regclass::oid, oid, typowner, typnamespace FROM pg_type
            WHERE typtype IN ('b', 'd', 'e', 'r') AND typcategory <> 'A'
        UNION ALL SELECT 'pg_namespace'::regclass::oid, oid, nspowner, oid FROM pg_namespace) AS o (classid, objid, owner, schema)
        JOIN pg_namespace AS n ON n.oid = o.schema
    WHERE o.objid >= 16384 AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'scribe')
        AND (objects IS NULL OR o.objid = ANY (objects))
        AND NOT EXISTS (SELECT FROM pg_depend AS d  -- a column's sequence follows it
            WHERE d.classid = o.classid AND d.objid = o.objid
                AND (d.deptype = 'e' OR (d.deptype IN ('a', 'i') AND d.refobjsubid > 0)));
END
$function$;

-- Keep others away from one of our tables until the transaction ends; false if somebody is at it. No advisory lock, as anybody may take
-- one of any number; a table of ours is for its owner to lock.
CREATE OR REPLACE FUNCTION scribe.try_lock(relation regclass) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    EXECUTE format('LOCK TABLE ONLY %s IN EXCLUSIVE MODE NOWAIT', relation);
    RETURN true;
EXCEPTION WHEN lock_not_available THEN
    RETURN false;
END
$function$;

-- Record what changed about event triggers that are not ours; none fires for that. record: false only remembers.
CREATE OR REPLACE FUNCTION scribe.reconcile_event_triggers(record boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $function$
DECLARE
    changed record;
    statement text;
BEGIN
    FOR changed IN
        SELECT coalesce(s.name, e.name) AS name, t.oid, t.evtfoid
        FROM scribe.event_triggers() AS e FULL JOIN scribe.seen_event_trigger AS s USING (name)
            LEFT JOIN pg_event_trigger AS t ON t.evtname = e.name
        WHERE s.statements IS DISTINCT FROM e.statements ORDER BY 1
    LOOP
        EXIT WHEN NOT scribe.try_lock('scribe.seen_event_trigger');  -- somebody else is at it
        CONTINUE WHEN changed.oid IS NOT NULL
            AND NOT (scribe.hold('pg_event_trigger', changed.oid) AND scribe.hold('pg_proc', changed.evtfoid));
        SELECT changed.name, e.statements INTO changed
            FROM (VALUES (1)) AS one LEFT JOIN scribe.event_triggers() AS e ON e.name = changed.name;
        FOREACH statement IN ARRAY format('DROP EVENT TRIGGER IF EXISTS %I', changed.name) || changed.statements LOOP
            IF record THEN
                PERFORM scribe.write_row('ddl', 'EVENT TRIGGER', 'event trigger', changed.name, statement, true, NULL,
                    NULL, current_user, '""');
            END IF;
        END LOOP;
        DELETE FROM scribe.seen_event_trigger AS s WHERE s.name = changed.name;
        INSERT INTO scribe.seen_event_trigger SELECT changed.name, changed.statements WHERE changed.statements IS NOT NULL;
    END LOOP;
END
$function$;

-- Record owners that changed by REASSIGN OWNED; objects: of these, NULL for all. Returns the relations not seen before.
CREATE OR REPLACE FUNCTION scribe.reconcile_owners(record boolean, objects oid[]) RETURNS oid[]
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $function$
DECLARE
    changed record;
    fresh oid[] := '{}';
BEGIN
    FOR changed IN
        SELECT o.classid, o.objid, o.owner, s.owner AS before, NULL::text AS type, NULL::text AS identity
        FROM scribe.owners(objects) AS o LEFT JOIN scribe.seen_owner AS s USING (classid, objid)
        WHERE s.owner IS DISTINCT FROM o.owner ORDER BY 1, 2
    LOOP
        IF record AND changed.before IS NOT NULL THEN
            CONTINUE WHEN NOT scribe.hold(changed.classid, changed.objid);
            SELECT o.classid, o.objid, o.owner, changed.before, i.type, i.identity INTO changed
                FROM scribe.owners(ARRAY[changed.objid]) AS o
                    CROSS JOIN LATERAL pg_identify_object(o.classid, o.objid, 0) AS i
                WHERE o.classid = changed.classid AND i.identity IS NOT NULL AND (i.schema IS NULL
                    OR scribe.hold('pg_namespace', to_regnamespace(i.schema)));
            CONTINUE WHEN NOT FOUND;
            PERFORM scribe.write_row('ddl', 'ALTER OWNER', changed.type, changed.identity,
                format('ALTER %s %s OWNER TO %I', upper(changed.type), changed.identity, pg_get_userbyid(changed.owner)),
                true, NULL, NULL, current_user, '""');
        END IF;
        IF changed.before IS NULL AND changed.classid = 'pg_class'::regclass THEN
            fresh := fresh || changed.objid;
        END IF;
        INSERT INTO scribe.seen_owner VALUES (changed.classid, changed.objid, changed.owner)
            ON CONFLICT (classid, objid) DO UPDATE SET owner = EXCLUDED.owner;
    END LOOP;
    RETURN fresh;
END
$function$;

-- Record what became of indexes without a word. One that a failed CREATE INDEX CONCURRENTLY left becomes valid by whatever
-- builds it anew: TRUNCATE, VACUUM FULL, ALTER TABLE; one that a failed DROP INDEX CONCURRENTLY left is none any more. What
-- stands already does nothing.
CREATE OR REPLACE FUNCTION scribe.reconcile_indexes(record boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $function$
DECLARE
    index record;
    valid boolean;
BEGIN
    FOR index IN
        SELECT i.indexrelid AS oid, i.indisvalid, i.indisvalid AND EXISTS (SELECT FROM scribe.ddl_history AS h, unnest(h.relids) AS r
            WHERE r = i.indexrelid AND h.tag IN ('CREATE INDEX', 'REINDEX')) AS known
        FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid LEFT JOIN scribe.seen_index AS s ON s.objid = c.oid
        WHERE s.valid IS DISTINCT FROM i.indisvalid
            AND c.relkind = 'i' AND c.relpersistence <> 't' AND c.oid >= 16384
            AND (NOT c.relispartition OR s.objid IS NOT NULL)
            AND c.relnamespace::regnamespace::text !~ '^"?(pg_|scribe"?$|information_schema"?$)'
            AND NOT EXISTS (SELECT FROM pg_constraint AS k WHERE k.conindid = c.oid AND k.contype IN ('p', 'u', 'x'))
            AND NOT EXISTS (SELECT FROM pg_depend AS d  -- an extension's table
                WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indrelid AND d.deptype = 'e')
        ORDER BY 1
    LOOP
        IF NOT record OR index.known THEN
            valid := index.indisvalid;
        ELSE
            CONTINUE WHEN NOT scribe.hold_index(index.oid);
            SELECT i.indisvalid INTO valid FROM pg_index AS i WHERE i.indexrelid = index.oid
                AND NOT EXISTS (SELECT FROM pg_constraint AS k WHERE k.conindid = index.oid AND k.contype IN ('p', 'u', 'x'));
            CONTINUE WHEN NOT FOUND;
            IF valid THEN
                PERFORM scribe.record_reindex(ARRAY[index.oid], false);
            ELSE
                PERFORM scribe.write_row('ddl', 'DROP INDEX', 'index', index.oid::regclass::text,
                    format('DROP INDEX IF EXISTS %s', index.oid::regclass), true, NULL, NULL, current_user, '""');
            END IF;
        END IF;
        INSERT INTO scribe.seen_index AS s VALUES (index.oid, valid) ON CONFLICT (objid) DO UPDATE SET valid = EXCLUDED.valid;
    END LOOP;
END
$function$;

-- Record a relation of whose making nothing told, such as what EXPLAIN ANALYZE CREATE TABLE AS made; sql/pgoutput.sql has another.
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

-- What else a rotation records: nothing where the library does; sql/pgoutput.sql has another.
CREATE OR REPLACE FUNCTION scribe.reconcile_more(record boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
END
$function$;

-- Record owners that changed, and relations of whose making nothing is known, such as what EXPLAIN ANALYZE CREATE TABLE AS made.
CREATE OR REPLACE FUNCTION scribe.reconcile_relations(record boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $function$
DECLARE
    fresh constant oid[] := scribe.reconcile_owners(record, NULL);
    unknown record;
BEGIN
    IF record AND fresh <> '{}' THEN
        FOR unknown IN
            SELECT f AS relation, i.type, i.identity FROM unnest(fresh) AS f
                CROSS JOIN LATERAL pg_identify_object('pg_class'::regclass, f, 0) AS i
            WHERE NOT EXISTS (SELECT FROM scribe.ddl_history AS h, unnest(h.relids) AS r WHERE r = f)
                AND NOT EXISTS (SELECT FROM scribe.ddl_history AS h WHERE NOT h.exact AND h.reason = 'event_triggers was off'
                    AND strpos(h.statement, i.name) > 0)
        LOOP
            IF scribe.hold('pg_class', unknown.relation) THEN
                PERFORM scribe.record_unknown(unknown.relation, unknown.type, unknown.identity);
            ELSE  -- gone, or another command is at it: seen again at the next rotation
                DELETE FROM scribe.seen_owner AS s WHERE s.classid = 'pg_class'::regclass AND s.objid = unknown.relation;
            END IF;
        END LOOP;
    END IF;
    DELETE FROM scribe.seen_owner AS s WHERE NOT EXISTS (SELECT FROM scribe.owners(NULL) AS o
        WHERE o.classid = s.classid AND o.objid = s.objid);
END
$function$;

-- Record what changed without an event trigger and without our library in the session. Called at each rotation, so such a
-- change stands at the rotation and not where it was made. What goes away under a step leaves that step to the next rotation.
-- record: false only remembers what there is.
DROP FUNCTION IF EXISTS scribe.reconcile(boolean);
CREATE FUNCTION scribe.reconcile(record boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $function$
DECLARE
    step name;
BEGIN
    IF NOT scribe.is_active() THEN
        RETURN;
    END IF;
    FOREACH step IN ARRAY '{reconcile_event_triggers,reconcile_relations,reconcile_more,reconcile_indexes}'::name[] LOOP
        BEGIN
            EXECUTE format('SELECT scribe.%I($1)', step) USING record;
        EXCEPTION WHEN internal_error OR undefined_object OR undefined_table OR undefined_function OR invalid_schema_name THEN
            RAISE WARNING 'pg_scribe leaves % to the next rotation: %', step, SQLERRM;
        END;
    END LOOP;
    DELETE FROM scribe.seen_index AS s WHERE NOT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = s.objid);
    DELETE FROM scribe.replica_identity AS r WHERE NOT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = r.relid);
    DELETE FROM scribe.filled AS f WHERE NOT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = f.relid);
    DELETE FROM scribe.rewritten;  -- of commands that have ended
    -- what is there belongs to something, or something belongs to it
    DELETE FROM scribe.left_out AS l WHERE NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = l.classid AND d.objid = l.objid)
        AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.refclassid = l.classid AND d.refobjid = l.objid);
    DELETE FROM scribe.at_work AS w WHERE w.xact < pg_snapshot_xmin(pg_current_snapshot());
END
$function$;
SELECT scribe.reconcile(false);

-- The same for a role that may do nothing else to capture (sql/roles.sql): it cannot keep a change from being recorded.
CREATE OR REPLACE FUNCTION scribe.reconcile() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    PERFORM scribe.reconcile(true);
END
$function$;

-- ENABLE ALWAYS, since loaders and subscribers run DDL under session_replication_role = replica.
-- The names matter: triggers of one event fire in the order of their names, compared bytewise, and what a user's does stands
-- after the command that fired it.
CREATE OR REPLACE FUNCTION scribe.install_event_trigger(trigger_name name, event text, handler name) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_event_trigger WHERE evtname = trigger_name) THEN
        EXECUTE format('CREATE EVENT TRIGGER %I ON %s EXECUTE FUNCTION scribe.%I()', trigger_name, event, handler);
    END IF;
    EXECUTE format('ALTER EVENT TRIGGER %I ENABLE ALWAYS', trigger_name);
END
$function$;

-- Trigger of each table of ours: a member of pg_write_all_data could else record what did not happen, or say that capture is at work.
CREATE OR REPLACE FUNCTION scribe.refuse_write() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_class AS c, pg_roles AS r WHERE c.oid = tg_relid AND r.rolname = current_user
            AND (r.rolsuper OR r.oid = c.relowner)) THEN
        RAISE EXCEPTION 'only capture itself writes into %', tg_relid::regclass USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NULL;
END
$function$;

-- What others may do with what is in the schema, last: a GRANT names nothing by which an event trigger could tell that it is ours.
-- Nothing: who could name it would keep "scribe-init --remove" waiting by reading a table, or make objects of it that no copy has.
-- Default privileges may have given more; whoever may put a trigger on a table of ours is a superuser. Kept is what sql/roles.sql and
-- sql/monitor.sql give, and SELECT that somebody was given by name.
CREATE OR REPLACE FUNCTION scribe.set_privileges() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    home constant oid := 'scribe'::regnamespace;
    command text;
BEGIN
    FOR command IN
        WITH privileges AS (
            SELECT c.relowner AS owner, a.grantee, 'TABLE' AS kind, c.oid::regclass::text AS object, a.privilege_type AS privilege,
                    a.privilege_type = 'SELECT' AND a.grantee <> 0 AND NOT EXISTS (
                        SELECT FROM pg_default_acl AS d, aclexplode(d.defaclacl) AS g
                        WHERE d.defaclrole = c.relowner AND d.defaclobjtype = 'r' AND g.grantee = a.grantee) AS kept
                FROM pg_class AS c, aclexplode(c.relacl) AS a WHERE c.relnamespace = home AND c.relkind IN ('r', 'v')
            UNION ALL SELECT p.proowner, a.grantee, 'FUNCTION', p.oid::regprocedure::text, a.privilege_type,
                    p.prosecdef AND p.prorettype <> 'event_trigger'::regtype
                    AND EXISTS (SELECT FROM pg_roles AS r WHERE r.oid = a.grantee AND r.rolreplication)
                FROM pg_proc AS p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS a WHERE p.pronamespace = home
            UNION ALL SELECT t.typowner, a.grantee, 'TYPE', format_type(t.oid, NULL), a.privilege_type, false
                FROM pg_type AS t, aclexplode(coalesce(t.typacl, acldefault('T', t.typowner))) AS a
                WHERE t.typnamespace = home AND t.typcategory <> 'A'
            UNION ALL SELECT n.nspowner, a.grantee, 'SCHEMA', 'scribe', a.privilege_type, a.privilege_type = 'USAGE' AND a.grantee <> 0
                FROM pg_namespace AS n, aclexplode(n.nspacl) AS a WHERE n.oid = home)
        SELECT format('REVOKE %s ON %s %s FROM %s', privilege, kind, string_agg(object, ', '), CASE grantee WHEN 0 THEN 'PUBLIC'
                ELSE quote_ident(pg_get_userbyid(grantee)) END)
            FROM privileges WHERE grantee <> owner AND NOT kept GROUP BY privilege, kind, grantee
        UNION ALL SELECT DISTINCT format('GRANT USAGE ON SCHEMA scribe TO %I', pg_get_userbyid(a.grantee))  -- PUBLIC had it once
            FROM pg_class AS c JOIN pg_attribute AS t ON t.attrelid = c.oid, aclexplode(t.attacl) AS a
            WHERE c.relnamespace = home AND a.grantee NOT IN (0, c.relowner)
        UNION ALL SELECT format(g.command, c.oid::regclass) FROM pg_class AS c, unnest(ARRAY[
                'CREATE TRIGGER only_capture BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON %s EXECUTE FUNCTION scribe.refuse_write()',
                'ALTER TABLE %s ENABLE ALWAYS TRIGGER only_capture']) AS g (command)
            WHERE c.relnamespace = home AND c.relkind = 'r'
                AND NOT EXISTS (SELECT FROM pg_trigger AS t WHERE t.tgrelid = c.oid AND t.tgname = 'only_capture')
    LOOP
        PERFORM scribe.run_own(command);
    END LOOP;
END
$function$;

DO $install$
DECLARE
    before name;
BEGIN
    PERFORM scribe.set_privileges();
    FOR before IN SELECT e.evtname FROM pg_catalog.pg_event_trigger AS e JOIN pg_catalog.pg_proc AS f ON f.oid = e.evtfoid
            WHERE f.pronamespace = 'scribe'::pg_catalog.regnamespace AND e.evtname ~ '^scribe_' LOOP
        EXECUTE pg_catalog.format('DROP EVENT TRIGGER %I', before);  -- as they were called once
    END LOOP;
    PERFORM scribe.install_event_trigger('!scribe_1_caller_drop', 'sql_drop', 'note_caller');
    PERFORM scribe.install_event_trigger('!scribe_2_start', 'ddl_command_start', 'command_start');
    PERFORM scribe.install_event_trigger('!scribe_3_caller_start', 'ddl_command_start', 'note_caller');
    PERFORM scribe.install_event_trigger('!scribe_1_caller_rewrite', 'table_rewrite', 'note_caller');
    PERFORM scribe.install_event_trigger('!scribe_2_rewrite', 'table_rewrite', 'note_rewrite');
    PERFORM scribe.install_event_trigger('!scribe_2_drop', 'sql_drop', 'note_drop');
    PERFORM scribe.install_event_trigger('!scribe_3_caller_end', 'ddl_command_end', 'note_caller');
    PERFORM scribe.install_event_trigger('!scribe_4_end', 'ddl_command_end', 'command_end');
END
$install$;

ALTER TABLE scribe.config DROP COLUMN IF EXISTS token;  -- of older versions, whose functions asked for it until here
