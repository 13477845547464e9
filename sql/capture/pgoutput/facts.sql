-- facts.sql: what a translator of pgoutput's stream must know of each table: what table_facts.sql reads, as it is.

CREATE OR REPLACE FUNCTION scribe.read_facts(tables oid[]) RETURNS TABLE (relid oid, facts text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    RETURN QUERY SELECT * FROM scribe.read_base_facts(tables);
END
$function$;
