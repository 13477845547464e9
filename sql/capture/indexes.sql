-- indexes.sql: indexes that became valid, or were left invalid, without an event trigger.

-- Whether an index is that of a primary key, unique or exclusion constraint; no index of pg_constraint would tell.
CREATE OR REPLACE FUNCTION scribe.is_of_constraint(index oid) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    RETURN EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_class'::regclass AND d.objid = index AND d.objsubid = 0
        AND d.refclassid = 'pg_constraint'::regclass AND d.deptype = 'i');
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
    PERFORM scribe.hold_names(i.indrelid, i.indexrelid) FROM pg_index AS i
        WHERE i.indexrelid = ANY (indexes) AND i.indexrelid >= 16384
            AND (moved OR NOT scribe.is_of_constraint(i.indexrelid));
    FOR index IN
        SELECT c.oid, c.oid::regclass AS name, pg_get_indexdef(c.oid) AS definition, h.inhparent::regclass AS parent,
            obj_description(c.oid, 'pg_class') AS comment,
            coalesce(quote_ident(t.spcname), 'pg_default') AS place,
            ARRAY(SELECT r.oid FROM pg_class AS r WHERE r.oid = i.indrelid AND r.relpersistence = 'u' AND r.relkind = 'r'
                AND (i.indisunique OR i.indisexclusion) AND scribe.is_unrecorded_index(c.oid)) AS stale  -- see looked_through()
        FROM pg_class AS c JOIN pg_index AS i ON i.indexrelid = c.oid LEFT JOIN pg_inherits AS h ON h.inhrelid = c.oid
            LEFT JOIN pg_tablespace AS t ON t.oid = c.reltablespace
        WHERE c.oid = ANY (indexes) AND c.relkind = 'i' AND c.relpersistence <> 't' AND i.indisvalid
            AND NOT EXISTS (SELECT FROM scribe.left_out AS l WHERE l.classid = 'pg_class'::regclass AND l.objid = c.oid)
            AND c.oid >= 16384 AND c.relnamespace::regnamespace::text !~ '^(pg_|scribe$|information_schema$)'
            AND (moved OR NOT scribe.is_of_constraint(c.oid))
        ORDER BY c.oid
    LOOP
        IF index.stale <> '{}' THEN
            PERFORM scribe.empty_tables('REINDEX', index.stale, true);
        END IF;
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

-- What CREATE INDEX CONCURRENTLY made, for its last transaction, in which nothing keeps the table from getting other names; the index could have
-- been changed all the while it was built. NULL: the statement is what has to be run. as_path: a search_path that finds what it named.
CREATE OR REPLACE FUNCTION scribe.built_otherwise(index oid, statement text, as_path text) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    word constant text := '(?:"(?:[^"]|"")+"|[[:alpha:]_][\w$]*)';
    named text[];
    same boolean;
BEGIN
    PERFORM scribe.hold_names(i.indrelid, index) FROM pg_index AS i WHERE i.indexrelid = index;
    named := parse_ident((regexp_match(statement, '\mON\s+(?:ONLY\s+)?(' || word || '(?:\s*\.\s*' || word || ')*)', 'i'))[1]);
    SELECT (named = ARRAY[n.nspname::text, t.relname::text] OR named = ARRAY[t.relname::text]
                AND quote_ident(n.nspname) = ANY (regexp_split_to_array(as_path, ', ')))
            AND NOT EXISTS (SELECT FROM pg_depend AS d JOIN pg_attribute AS a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
                WHERE d.classid = 'pg_class'::regclass AND d.objid = index AND d.refclassid = 'pg_class'::regclass AND d.refobjid = t.oid
                    AND strpos(lower(statement), lower(a.attname)) = 0)
            -- the rows of what was made at once have one transaction
            AND NOT EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = index AND a.xmin <> c.xmin)
        INTO same
        FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid JOIN pg_class AS t ON t.oid = i.indrelid
            JOIN pg_namespace AS n ON n.oid = t.relnamespace WHERE i.indexrelid = index;
    RETURN CASE WHEN NOT coalesce(same, false) THEN pg_get_indexdef(index) END;
END
$function$;

-- What was done to an index while it was built, and was not recorded, since it was not valid; anew: its tablespace, too.
CREATE OR REPLACE FUNCTION scribe.done_to_index(index oid, anew boolean) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $function$
    SELECT array_remove(ARRAY[
        CASE WHEN anew AND t.oid IS NOT NULL THEN format('ALTER INDEX %s SET TABLESPACE %I', c.oid::regclass, t.spcname) END,
        format('COMMENT ON INDEX %s IS ', c.oid::regclass) || quote_literal(obj_description(c.oid, 'pg_class'))], NULL)
    FROM pg_class AS c LEFT JOIN pg_tablespace AS t ON t.oid = c.reltablespace WHERE c.oid = index
$function$;

-- Whether a valid index may have come about without a record; see reconcile(), which notices it otherwise.
CREATE OR REPLACE FUNCTION scribe.is_unrecorded_index(index oid) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    RETURN EXISTS (SELECT FROM pg_class AS c WHERE c.oid = index AND c.relkind = 'i' AND c.relpersistence <> 't' AND NOT c.relispartition)
        AND NOT scribe.is_of_constraint(index)
        AND NOT EXISTS (SELECT FROM scribe.seen_index AS s WHERE s.objid = index AND s.valid)
        AND NOT EXISTS (SELECT FROM scribe.ddl_history AS h
            WHERE h.relids @> ARRAY[index] AND h.tag IN ('CREATE INDEX', 'REINDEX'));
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
