-- referenced_keys.sql: foreign keys that use another of several equal keys in a copy: PostgreSQL takes the one with the lowest OID.

-- Record, around an ALTER TABLE that dropped constraints, that foreign keys which do not use them here go first if they do so in a copy
-- (false), and come back (true), to one that is left; and that those which CASCADE dropped are gone. dropped: as note_drop() has it.
CREATE OR REPLACE FUNCTION scribe.record_references(tag text, tables oid[], dropped json, back boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    keys constant text[] := ARRAY(SELECT d->>'identity' FROM json_array_elements(dropped->'named') AS d WHERE d->>'type' = 'table constraint');
    went constant text[] := ARRAY(SELECT json_array_elements_text(dropped->'went'));
    reference record;
BEGIN
    IF tag <> 'ALTER TABLE' OR keys = '{}' THEN
        RETURN;
    END IF;
    FOR reference IN
        SELECT k.conname, k.conrelid::regclass AS place, pg_get_constraintdef(k.oid) AS definition,
            obj_description(k.oid, 'pg_constraint') AS comment, pg_get_userbyid(c.relowner)::text AS owner
        FROM pg_constraint AS k JOIN pg_class AS c ON c.oid = k.conrelid
        WHERE k.contype = 'f' AND k.conparentid = 0 AND k.confrelid = ANY (tables) ORDER BY k.oid
    LOOP
        PERFORM scribe.write_row('ddl', tag, 'table constraint', NULL, format('DO LANGUAGE plpgsql %L', CASE WHEN back
            THEN format('BEGIN IF NOT EXISTS (SELECT FROM pg_catalog.pg_constraint WHERE conrelid = %L::pg_catalog.regclass '
                'AND conname = %L) THEN ALTER TABLE %s ADD CONSTRAINT %I %s;%s END IF; END', reference.place, reference.conname,
                reference.place, reference.conname, reference.definition,
                CASE WHEN reference.comment IS NOT NULL THEN format(' COMMENT ON CONSTRAINT %I ON %s IS %L;', reference.conname,
                    reference.place, reference.comment) END)
            ELSE format('BEGIN IF EXISTS (SELECT FROM pg_catalog.pg_constraint AS k JOIN pg_catalog.pg_constraint AS u '
                'ON u.conindid = k.conindid AND u.conrelid = k.confrelid WHERE k.conrelid = %L::pg_catalog.regclass AND k.conname = %L AND '
                '(pg_catalog.pg_identify_object(''pg_catalog.pg_constraint''::pg_catalog.regclass, u.oid, 0)).identity = ANY (%L)) '
                'THEN ALTER TABLE %s DROP CONSTRAINT %I; END IF; END', reference.place, reference.conname, keys,
                reference.place, reference.conname) END), true,
            CASE WHEN back THEN 'own: as on the source' ELSE 'own: in a copy it may use the key that goes' END, NULL, reference.owner, '""');
    END LOOP;
    IF back AND went <> '{}' THEN
        PERFORM scribe.write_row('ddl', tag, 'table constraint', NULL, format('DO LANGUAGE plpgsql %L', format('DECLARE r record; BEGIN FOR r IN '
            'SELECT conrelid::pg_catalog.regclass AS place, conname FROM pg_catalog.pg_constraint WHERE contype = ''f'' AND conparentid = 0 AND '
            'confrelid = ANY (%L::pg_catalog.regclass[]) AND '
            '(pg_catalog.pg_identify_object(''pg_catalog.pg_constraint''::pg_catalog.regclass, oid, 0)).identity = ANY (%L) '
            'LOOP EXECUTE pg_catalog.format(''ALTER TABLE %%s DROP CONSTRAINT %%I'', r.place, r.conname); END LOOP; END',
            ARRAY(SELECT id::regclass::text FROM unnest(tables) AS t (id)), went)), true, 'own: as on the source', NULL, current_user, '""');
    END IF;
END
$function$;

-- A statement that names triggers of foreign keys, whose names hold OIDs, as one that finds those of the copy; any other as it is.
CREATE OR REPLACE FUNCTION scribe.with_internal_triggers(statement text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    trigger record;
    expression text := format('%L', statement);
BEGIN
    FOR trigger IN
        SELECT t.tgname, k.conname, k.conrelid::regclass AS place, t.tgrelid::regclass AS here, t.tgfoid::regprocedure AS function
        FROM pg_trigger AS t JOIN pg_constraint AS k ON k.oid = t.tgconstraint
        WHERE t.tgisinternal AND t.oid::text IN (SELECT m[1]
            FROM regexp_matches(statement, '"RI_ConstraintTrigger_[ac]_(\d+)"', 'g') AS m) AND strpos(statement, quote_ident(t.tgname)) > 0
    LOOP
        expression := format($text$pg_catalog.replace(%s, %L, coalesce((SELECT pg_catalog.quote_ident(t.tgname) FROM pg_catalog.pg_trigger AS t
            JOIN pg_catalog.pg_constraint AS k ON k.oid = t.tgconstraint WHERE k.conrelid = pg_catalog.to_regclass(%L) AND k.conname = %L
            AND t.tgrelid = pg_catalog.to_regclass(%L) AND t.tgfoid = pg_catalog.to_regprocedure(%L)), %L))$text$, expression,
            quote_ident(trigger.tgname), trigger.place, trigger.conname, trigger.here, trigger.function, quote_ident(trigger.tgname));
    END LOOP;
    RETURN CASE WHEN trigger.tgname IS NULL THEN statement ELSE format('DO LANGUAGE plpgsql %L', format('BEGIN EXECUTE %s; END', expression)) END;
END
$function$;
