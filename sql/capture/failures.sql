-- failures.sql: the row that reports that something could not be recorded, or a message in its stead.

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
        -- Out of stack, memory or locks: an error that the server itself would have raised a little later. A statement that nobody
        -- could ever know of does not happen.
        IF SQLSTATE ~ '^5[34]' THEN
            RAISE;
        END IF;
        RAISE WARNING 'pg_scribe could not even record that % is missing from the archive: take a new base', tag;
    END;
END
$function$;
