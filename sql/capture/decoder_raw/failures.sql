-- failures.sql: the row that reports that something could not be recorded. This decoder sends no message, so the row is waited for
-- a little longer.

CREATE OR REPLACE FUNCTION scribe.record_failure(tag text, message text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $function$
BEGIN
    PERFORM scribe.write_row('lost', tag, NULL, NULL, CASE WHEN octet_length(current_query()) < 100000 THEN current_query() ELSE '' END,
        false, message, NULL);
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'pg_scribe could not even record that % is missing from the archive: take a new base', tag;
END
$function$;
