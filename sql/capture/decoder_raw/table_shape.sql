-- table_shape.sql: what decoder_raw does not say of a table: beside table_facts.sql's, what pgoutput describes by itself.
--
-- Columns: relid; facts (json text): those of table_facts.sql, with r schema, name, replica identity, kind, and of each column
-- name, type's OID, and schema and name of the type that is beneath a domain; g generated columns, virtual ones too.
-- tables: their OIDs, NULL for all.

CREATE OR REPLACE FUNCTION scribe.read_facts(tables oid[]) RETURNS TABLE (relid oid, facts text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $function$
SELECT c.oid, (coalesce(f.facts::jsonb, '{}') || jsonb_build_object(
    'r', jsonb_build_array(n.nspname, c.relname, c.relreplident, c.relkind, (
        SELECT coalesce(jsonb_agg(jsonb_build_array(a.attname, a.atttypid::int8, tn.nspname, t.typname) ORDER BY a.attnum), '[]')
        FROM pg_attribute AS a
            JOIN pg_type AS t ON t.oid = (
                WITH RECURSIVE beneath (base) AS (
                    SELECT a.atttypid
                    UNION ALL SELECT y.typbasetype FROM beneath JOIN pg_type AS y ON y.oid = base WHERE y.typtype = 'd')
                SELECT base FROM beneath JOIN pg_type AS y ON y.oid = base WHERE y.typtype <> 'd')
            JOIN pg_namespace AS tn ON tn.oid = t.typnamespace
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)),
    'g', (SELECT coalesce(jsonb_agg(a.attname ORDER BY a.attnum), '[]') FROM pg_attribute AS a
        WHERE a.attrelid = c.oid AND a.attgenerated <> '' AND NOT a.attisdropped)))::text
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    LEFT JOIN scribe.read_base_facts(tables) AS f ON f.relid = c.oid
WHERE c.relkind IN ('r', 'p', 'm') AND c.relpersistence <> 't' AND n.nspname NOT IN ('information_schema', 'scribe')
    AND n.nspname !~ '^pg_' AND (tables IS NULL OR c.oid = ANY (tables))
$function$;
