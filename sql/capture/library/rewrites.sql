-- rewrites.sql: rows that a command rewrote: the decoder finds them in the WAL, and is only told where they begin and end.

-- The tables that the running command rewrites for the same reason as a table: those in which it has added or changed all columns
-- that it has in that one. touched: as the library knows them; NULL without it, and then only partitions can be told, which have
-- no columns of their own.
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

-- Tell the decoder that the next command is recorded before its end, as one that is empty_tables()'s business is: what it makes beside the
-- rows, a sequence for instance, is not owned by a table yet.
CREATE OR REPLACE FUNCTION scribe.announce_rewrite(tag text, relation regclass) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    PERFORM scribe.write_row('rewrite', tag, 'table', relation::text, '', true, NULL, '{0}');
END
$function$;

-- Before the source's rows of a rewritten table come, and after. Rows that a constraint which is NOT VALID bars could not be written.
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

-- Triggers and rules that fire in a replica, too, come to rest or back: the decoder does it.
CREATE OR REPLACE FUNCTION scribe.record_switches(tag text, relation regclass, back boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
END
$function$;
