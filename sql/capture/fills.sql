-- fills.sql: values that ADD COLUMN gave to existing rows without a rewrite.

-- Whether an expression, as the catalog holds it, is the same value everywhere: a constant, perhaps cast or put together by
-- functions of PostgreSQL's own that are immutable. Of a constant that is an OID, such as a regclass or an enum's label, these make a value that
-- is another elsewhere. times: a word like 'now' or a number may have become one of its constants.
CREATE OR REPLACE FUNCTION scribe.is_constant(expression text, times boolean) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $function$
    SELECT NOT EXISTS (SELECT FROM regexp_matches(expression, '{([A-Z_0-9]+)', 'g') AS m (node)
            WHERE node[1] NOT IN ('CONST', 'FUNCEXPR', 'OPEXPR', 'RELABELTYPE', 'ARRAYEXPR', 'ARRAY', 'COERCETODOMAIN'))
        AND NOT EXISTS (SELECT FROM regexp_matches(expression, ':(?:funcid|opfuncid) (\d+)', 'g') AS m (function)
            LEFT JOIN pg_proc AS p ON p.oid = function[1]::oid WHERE p.oid IS NULL OR p.oid >= 16384 OR p.provolatile <> 'i')
        AND NOT EXISTS (SELECT FROM regexp_matches(expression, '{CONST :consttype (\d+)', 'g') AS m (type)
            -- bool, bytea, "char", name, integers, text, oid, jsonb, floats, bpchar, varchar, bit, numeric, uuid
            WHERE type[1] NOT IN ('16', '17', '18', '19', '20', '21', '23', '25', '26', '114', '3802', '700', '701', '1042', '1043', '1560',
                '1562', '1700', '2950')
            -- date, time, timestamp, interval and with time zone
            AND (times OR expression ~ '{(FUNCEXPR|OPEXPR|RELABELTYPE) ' AND type[1] NOT IN ('1082', '1083', '1114', '1184', '1186', '1266')))
$function$;

-- The columns of tables that the running command has added; touched: as the library knows them, NULL without it.
CREATE OR REPLACE FUNCTION scribe.added_columns(tables oid[], touched json) RETURNS TABLE (relid oid, attnum smallint)
LANGUAGE plpgsql ROWS 5 SET search_path = pg_catalog, pg_temp AS $function$
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

-- Give existing rows elsewhere the values that the default of a new column had here, unless it has the same everywhere.
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
                OR NOT scribe.is_constant(d.adbin::text, scribe.fleeting_kinds(statement) IS NOT NULL))
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
