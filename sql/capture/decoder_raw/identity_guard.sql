-- identity_guard.sql: where decoder_raw is the decoder, capture sees to it that the server stays up.
--
-- decoder_raw takes the old row of an UPDATE or DELETE for granted. A table with REPLICA IDENTITY USING INDEX whose index
-- is gone, or not valid, has none in the WAL: the process that decodes it crashes, the whole server with it, and again
-- whenever the stream is started. Therefore no command may leave such a table behind. This is the one part of capture
-- that makes a user's command fail where it must: a command refused is better than a server that does not stay up.

-- Tables whose next UPDATE or DELETE would crash the server. Temporary and unlogged ones are not decoded.
CREATE OR REPLACE FUNCTION scribe.endangered() RETURNS SETOF regclass
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    RETURN QUERY SELECT c.oid::regclass FROM pg_class AS c
        WHERE c.relreplident = 'i' AND c.relkind = 'r' AND c.relpersistence = 'p'
            AND NOT EXISTS (SELECT FROM pg_index AS i
                WHERE i.indrelid = c.oid AND i.indisreplident AND i.indimmediate AND i.indisvalid)
        ORDER BY c.oid;
END
$function$;

-- Event trigger ddl_command_start: DROP INDEX CONCURRENTLY commits in the midst of its work, where nobody can step in.
-- It is never part of a longer string, so the name stands in the query; what looks like it is refused, too.
CREATE OR REPLACE FUNCTION scribe.refuse_concurrent_drop() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off
SET standard_conforming_strings = on AS $function$
DECLARE
    query constant text := current_query();
    held record;
BEGIN
    IF query !~* '\mCONCURRENTLY\M' OR NOT scribe.is_active() THEN
        RETURN;
    END IF;
    SELECT i.indexrelid::regclass AS index, i.indrelid::regclass AS relation INTO held
        FROM pg_index AS i JOIN pg_class AS t ON t.oid = i.indrelid AND t.relreplident = 'i'
            JOIN pg_class AS x ON x.oid = i.indexrelid
        WHERE i.indisreplident AND t.relpersistence = 'p' AND (query ~* '\mU&"'
            OR query ~* ('(^|[^\w$])' || regexp_replace(replace(x.relname, '"', '""'), '(\W)', '\\\1', 'g')
                || CASE WHEN octet_length(x.relname::text) < 60 THEN '($|[^\w$])' ELSE '' END))  -- a longer name is cut to that one
        LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'index % is the replica identity of table %: dropping it concurrently could crash the server',
                held.index, held.relation
            USING ERRCODE = 'SC001',
                DETAIL = 'The decoder in use is decoder_raw, which cannot decode the changes made before the command has ended.',
                HINT = format('Drop it without CONCURRENTLY, or run "ALTER TABLE %s REPLICA IDENTITY FULL" first.',
                    held.relation);
    END IF;
END
$function$;

-- Event trigger ddl_command_end, after capture's own: such a table gets REPLICA IDENTITY FULL in the same transaction,
-- or the command is refused.
CREATE OR REPLACE FUNCTION scribe.guard_identity() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off SET lock_timeout = '1min'
SET standard_conforming_strings = on AS $function$
DECLARE
    relation regclass;
    reason text;
BEGIN
    IF tg_tag ~ '^(COMMENT|GRANT|REVOKE|SECURITY LABEL|CREATE (TABLE|INDEX|VIEW|SEQUENCE|FUNCTION|TRIGGER))' THEN
        RETURN;  -- these take no index away
    END IF;
    IF NOT EXISTS (SELECT FROM scribe.endangered()) OR NOT scribe.is_active() THEN
        RETURN;
    END IF;
    BEGIN
        PERFORM scribe.mend_identity(ARRAY(SELECT e FROM scribe.endangered() AS e));
    EXCEPTION
        WHEN SQLSTATE 'SC001' THEN
            RAISE;  -- the refusal that SCRIBE_REPLICA_IDENTITY=refuse asks for
        WHEN OTHERS THEN
            reason := SQLERRM;
    END;
    SELECT e INTO relation FROM scribe.endangered() AS e LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'table % would have no usable replica identity, and its next change could crash the server', relation
            USING ERRCODE = 'SC001',
                DETAIL = concat_ws(' ', 'The decoder in use is decoder_raw, which cannot decode that change.', reason),
                HINT = format('Run "ALTER TABLE %s REPLICA IDENTITY FULL" first.', relation);
    END IF;
END
$function$;
