-- caller.sql: who runs a command, with which search_path and settings: noted as the user, before anything else acts.

-- Event trigger, runs as the user, touches nothing: notes who the user is in effect, the search_path and, as names and values, the
-- settings of the session; the lists and their reasons are in decoder/capture/scribe_settings.c. What is listed by no view, settings that
-- no extension defines, is found by name: see scribe.write_row(). A role that could not be noted is empty, and what would be recorded
-- of it is flagged instead. Whoever the user is, what is noted is himself; nothing of his runs
-- between this and scribe.command_end(). One function, since a user may use nothing in this schema and so can call no other.
CREATE OR REPLACE FUNCTION scribe.note_caller() RETURNS event_trigger
LANGUAGE plpgsql AS $function$
DECLARE
    pinned constant pg_catalog.text[] := ARRAY[
        ['standard_conforming_strings', 'on'], ['DateStyle', 'ISO, MDY'], ['IntervalStyle', 'postgres'],
        ['TimeZone', 'UTC|Etc/UTC|Etc/UCT|UCT|Zulu|Universal'], ['array_nulls', 'on'], ['backslash_quote', 'safe_encoding'],
        ['bytea_output', 'hex'], ['default_table_access_method', 'heap'], ['default_tablespace', ''],
        ['extra_float_digits', '1|2|3'], ['lc_monetary', 'C'], ['quote_all_identifiers', 'off'],
        ['timezone_abbreviations', 'Default'], ['transform_null_equals', 'off'], ['xmlbinary', 'base64'], ['xmloption', 'content']];
    harmless constant pg_catalog.text[] := '{
        application_name, auto_explain.%, backend_flush_after, backtrace_functions, check_function_bodies, client_%,
        commit_%, compute_query_id, constraint_exclusion, cpu_%, createrole_self_grant, cursor_tuple_fraction,
        deadlock_timeout, debug_%, default_statistics_target, default_toast_compression, default_transaction_%,
        dynamic_library_path, effective_%, enable_%, escape_string_warning, event_triggers, exit_on_error,
        force_parallel_mode, from_collapse_limit, geqo%, gin_%, hash_mem_multiplier, idle_%, ignore_%, io_%, jit%,
        join_collapse_limit, lc_messages, lc_numeric, lc_time, lo_compat_privileges, local_preload_libraries,
        lock_timeout, log_%, logical_decoding_work_mem, maintenance_%, max_parallel_%, max_stack_depth, min_parallel_%,
        output_plugin_libraries, parallel_%, password_encryption, pg_hint_plan.%, pg_stat_statements.%, pgaudit.%,
        plan_cache_mode, random_page_cost, recursive_worktable_factor, restrict_nonsystem_relation_kind, role,
        row_security, scribe.%, search_path, seed, seq_page_cost, session_%, set_user.%, statement_timeout, stats_%,
        synchronize_seqscans, synchronous_commit, tcp_%, temp_%, trace_%, track_%, transaction_%, update_process_title,
        vacuum_%, wal_%, work_mem, zero_damaged_pages}';
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
    FOR other IN SELECT s.name FROM pg_catalog.pg_show_all_settings() AS s  -- the view may be locked by anybody
        WHERE s.source OPERATOR(pg_catalog.=) ANY ('{global,database,user,"database user",client,interactive,test,session}')
            AND s.context OPERATOR(pg_catalog.=) ANY ('{user,superuser}')
            AND NOT s.name OPERATOR(pg_catalog.=) ANY (pinned)
            AND NOT pg_catalog.lower(s.name) OPERATOR(pg_catalog.~~) ANY (harmless)
    LOOP
        found := found OPERATOR(pg_catalog.||) ARRAY[other.name, pg_catalog.current_setting(other.name)];
    END LOOP;
    EXECUTE pg_catalog.format('SET LOCAL scribe.settings = %L', found::pg_catalog.text);
EXCEPTION WHEN OTHERS THEN
    SET LOCAL scribe.role = '';  -- what stood there before may be the user's own, and is no note of ours
    SET LOCAL scribe.path = '';
    SET LOCAL scribe.settings = '';
    RAISE WARNING 'pg_scribe could not note who runs %: %', TG_TAG, SQLERRM;
END
$function$;
