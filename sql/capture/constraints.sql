-- constraints.sql: constraints that are NOT VALID, taken away around rows that they would bar.

-- Constraints that are NOT VALID let old rows be, but nothing that is written: commands that take those of a table and of its
-- columns' domains away (false) or bring them back (true). An inherited one is taken away where it comes from.
CREATE OR REPLACE FUNCTION scribe.invalid_constraints(relation oid, back boolean, OUT command text, OUT owner name, OUT own boolean)
RETURNS SETOF record
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $function$
    WITH RECURSIVE domains (id) AS (
        SELECT atttypid FROM pg_attribute WHERE attrelid = relation AND attnum > 0 AND NOT attisdropped
        UNION SELECT v.id FROM domains AS d, LATERAL (SELECT * FROM pg_type AS t WHERE t.oid = d.id OFFSET 0) AS t,  -- one by one
            LATERAL (VALUES (t.typbasetype), (t.typelem)) AS v (id)
        WHERE v.id <> 0 AND (t.typtype = 'd' OR t.typcategory = 'A'))
    -- it comes to the table's children, too, which may be somebody else's; then it is for us: what is NOT VALID is read and not run
    SELECT v.command, CASE WHEN back AND NOT EXISTS (SELECT FROM pg_class AS k WHERE k.oid = ANY (scribe.with_children(ARRAY[c.conrelid]))
            AND k.relowner <> c.owner) THEN pg_get_userbyid(c.owner) ELSE current_user END, c.own FROM (
        SELECT c.oid, c.conrelid, c.conname, pg_get_constraintdef(c.oid) AS definition, obj_description(c.oid, 'pg_constraint') AS comment,
            CASE c.contypid WHEN 0 THEN 'TABLE ' || c.conrelid::regclass ELSE 'DOMAIN ' || c.contypid::regtype END AS named,
            CASE c.contypid WHEN 0 THEN c.conrelid::regclass::text ELSE 'DOMAIN ' || c.contypid::regtype END AS commented,
            coalesce((SELECT relowner FROM pg_class WHERE oid = c.conrelid), (SELECT typowner FROM pg_type WHERE oid = c.contypid)) AS owner,
            c.contypid = 0 AS own  -- an UPDATE minds a table's, an INSERT a domain's, too
        FROM pg_constraint AS c
        WHERE c.oid = ANY (ARRAY(  -- by indexes
                SELECT k.oid FROM pg_constraint AS k WHERE k.conrelid = ANY (relation || scribe.lineage(relation))
                UNION ALL SELECT d.objid FROM pg_depend AS d WHERE d.refclassid = 'pg_type'::regclass
                    AND d.refobjid = ANY (ARRAY(SELECT id FROM domains)) AND d.classid = 'pg_constraint'::regclass))
            AND c.contype IN ('c', 'n') AND NOT c.convalidated AND c.coninhcount = 0 AND (c.contypid IN (SELECT id FROM domains)
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
