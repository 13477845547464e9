-- referenced_keys.sql: foreign keys that use another of several equal keys in a copy: PostgreSQL takes the one with the lowest OID.

-- Foreign keys that may use in a copy an index that a command has dropped here. A command other than ALTER TABLE does not name the table;
-- its lock is held.
CREATE OR REPLACE FUNCTION scribe.references_in_doubt(tag text, tables oid[], dropped json) RETURNS SETOF pg_constraint
LANGUAGE plpgsql STABLE ROWS 5 SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    schemas constant text[] := ARRAY(SELECT (parse_ident(i))[1] FROM json_array_elements_text(dropped->'indexes') AS i);
    referred constant oid[] := ARRAY(SELECT c.oid FROM pg_class AS c
        WHERE c.oid = ANY (CASE tag WHEN 'ALTER TABLE' THEN scribe.with_children(tables)
                ELSE ARRAY(SELECT l.relation FROM pg_locks AS l WHERE l.locktype = 'relation' AND l.pid = pg_backend_pid()
                    AND l.mode IN ('ShareUpdateExclusiveLock', 'AccessExclusiveLock')) END)
            AND c.relnamespace IN (SELECT n.oid FROM pg_namespace AS n WHERE n.nspname = ANY (schemas)));
BEGIN
    -- no index of pg_constraint has the tables that are referred to
    RETURN QUERY SELECT k.* FROM pg_constraint AS k
        WHERE k.contype = 'f' AND k.conparentid = 0 AND k.confrelid = ANY (referred) AND k.oid = ANY (ARRAY(SELECT d.objid FROM pg_depend AS d
            WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = ANY (referred) AND d.classid = 'pg_constraint'::regclass));
END
$function$;

-- Record, around a command that dropped indexes, that foreign keys which do not use them here go first if they do so in a copy (false),
-- and come back (true), to one that is left; and that those which CASCADE dropped are gone. dropped: as note_drop() has it.
CREATE OR REPLACE FUNCTION scribe.record_references(tag text, tables oid[], dropped json, back boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    indexes constant text[] := ARRAY(SELECT json_array_elements_text(dropped->'indexes'));
    went constant text[] := ARRAY(SELECT json_array_elements_text(dropped->'went'));
    reference record;
BEGIN
    IF indexes = '{}' THEN
        RETURN;
    END IF;
    FOR reference IN
        SELECT pg_get_userbyid(c.relowner)::text AS owner,
            string_agg(format('(%L, %L)', c.oid::regclass, k.conname), ', ' ORDER BY k.oid) AS names,
            string_agg(format('(%L, %L, %L, %L)', c.oid::regclass, k.conname, pg_get_constraintdef(k.oid),
                obj_description(k.oid, 'pg_constraint')), ', ' ORDER BY k.oid) AS definitions
        FROM scribe.references_in_doubt(tag, tables, dropped) AS k JOIN pg_class AS c ON c.oid = k.conrelid GROUP BY c.relowner ORDER BY 1
    LOOP
        PERFORM scribe.write_row('ddl', tag, 'table constraint', NULL, format('DO LANGUAGE plpgsql %L', CASE WHEN back
            THEN format($body$DECLARE r record; BEGIN FOR r IN SELECT * FROM (VALUES %s) AS v (place, name, definition, comment)
  WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_constraint AS k WHERE k.conrelid = place::pg_catalog.regclass AND k.conname = name) LOOP
  EXECUTE pg_catalog.format('ALTER TABLE %%s ADD CONSTRAINT %%I %%s', r.place, r.name, r.definition);
  IF r.comment IS NOT NULL THEN
    EXECUTE pg_catalog.format('COMMENT ON CONSTRAINT %%I ON %%s IS %%L', r.name, r.place, r.comment);
  END IF;
END LOOP; END$body$, reference.definitions)
            ELSE format($body$DECLARE r record; BEGIN FOR r IN SELECT v.* FROM (VALUES %s) AS v (place, name) JOIN pg_catalog.pg_constraint AS k
  ON k.conrelid = place::pg_catalog.regclass AND k.conname = name JOIN pg_catalog.unnest(%L::text[]) AS i (index)
  ON k.conindid = pg_catalog.to_regclass(index) LOOP
  EXECUTE pg_catalog.format('ALTER TABLE %%s DROP CONSTRAINT %%I', r.place, r.name);
END LOOP; END$body$, reference.names, indexes) END), true,
            CASE WHEN back THEN 'own: as on the source' ELSE 'own: in a copy it may use the key that goes' END, NULL, reference.owner, '""');
    END LOOP;
    IF back AND went <> '{}' THEN
        PERFORM scribe.write_row('ddl', tag, 'table constraint', NULL, format('DO LANGUAGE plpgsql %L', format('DECLARE r record; BEGIN FOR r IN '
            'SELECT conrelid::pg_catalog.regclass AS place, conname FROM pg_catalog.pg_constraint WHERE contype = ''f'' AND conparentid = 0 AND '
            '(pg_catalog.pg_identify_object(''pg_catalog.pg_constraint''::pg_catalog.regclass, oid, 0)).identity = ANY (%L) '
            'LOOP EXECUTE pg_catalog.format(''ALTER TABLE %%s DROP CONSTRAINT %%I'', r.place, r.conname); END LOOP; END',
            went)), true, 'own: as on the source', NULL, current_user, '""');
    END IF;
END
$function$;
