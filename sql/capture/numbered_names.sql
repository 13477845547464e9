-- numbered_names.sql: names that hold the OID of what they belong to, which a copy's do not: triggers of constraints and TOAST tables.

-- An expression for the name that such a trigger has in a copy; NULL: the trigger is none of a constraint's.
CREATE OR REPLACE FUNCTION scribe.trigger_elsewhere(trigger oid) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $function$
    SELECT format('(SELECT pg_catalog.quote_ident(t.tgname) FROM pg_catalog.pg_trigger AS t JOIN pg_catalog.pg_constraint AS k '
        'ON k.oid OPERATOR(pg_catalog.=) t.tgconstraint WHERE k.conrelid OPERATOR(pg_catalog.=) pg_catalog.to_regclass(%L) '
        'AND k.conname OPERATOR(pg_catalog.=) %L AND t.tgrelid OPERATOR(pg_catalog.=) pg_catalog.to_regclass(%L) '
        'AND t.tgfoid OPERATOR(pg_catalog.=) pg_catalog.to_regprocedure(%L))',
        k.conrelid::regclass, k.conname, t.tgrelid::regclass, t.tgfoid::regprocedure)
    FROM pg_trigger AS t JOIN pg_constraint AS k ON k.oid = t.tgconstraint WHERE t.oid = trigger AND t.tgisinternal
$function$;

-- The same of a TOAST table or its index; NULL: it is neither.
CREATE OR REPLACE FUNCTION scribe.toast_elsewhere(relation oid) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $function$
    SELECT format('(SELECT pg_catalog.quote_ident(i.relname) FROM pg_catalog.pg_class AS c %s '
        'WHERE c.oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass(%L))', CASE i.relkind WHEN 't'
            THEN 'JOIN pg_catalog.pg_class AS i ON i.oid OPERATOR(pg_catalog.=) c.reltoastrelid'
            ELSE 'JOIN pg_catalog.pg_index AS x ON x.indrelid OPERATOR(pg_catalog.=) c.reltoastrelid '
                'JOIN pg_catalog.pg_class AS i ON i.oid OPERATOR(pg_catalog.=) x.indexrelid' END, c.oid::regclass)
    FROM pg_class AS i LEFT JOIN pg_index AS x ON x.indexrelid = i.oid JOIN pg_class AS c ON c.reltoastrelid = coalesce(x.indrelid, i.oid)
    WHERE i.oid = relation AND i.relnamespace = 'pg_toast'::regnamespace
$function$;

-- Of a statement the names after a word, in their order, each with what stands before it; the last row is what stands after them all.
CREATE OR REPLACE FUNCTION scribe.names_after(word text, statement text, OUT before text, OUT name text) RETURNS SETOF record
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    found text;
BEGIN
    LOOP
        found := (regexp_match(statement, word || '(?:"(?:[^"]|"")+"|[[:alpha:]_][\w$]*)', 'i'))[1];
        EXIT WHEN found IS NULL;
        name := regexp_replace(found, '^' || word, '', 'i');
        before := left(statement, strpos(statement, found) + length(found) - length(name) - 1);
        statement := substr(statement, length(before) + length(name) + 1);
        RETURN NEXT;
    END LOOP;
    before := statement;
    name := NULL;
    RETURN NEXT;
END
$function$;

-- A statement of these pieces, which are expressions, as one that a copy puts together.
CREATE OR REPLACE FUNCTION scribe.put_together(pieces text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp AS $function$
    SELECT format('DO LANGUAGE plpgsql %L', format('BEGIN EXECUTE pg_catalog.array_to_string(ARRAY[%s], ''''); END', pieces))
$function$;

-- COMMENT, or ALTER TRIGGER ... RENAME TO, of such an object, with all names qualified; NULL: it is of another one.
CREATE OR REPLACE FUNCTION scribe.about_numbered(tag text, statement text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    pieces text;
BEGIN
    IF tag = 'COMMENT' THEN
        SELECT format('%L, %s, %L', CASE WHEN t.oid IS NULL THEN 'COMMENT ON INDEX pg_toast.' ELSE 'COMMENT ON TRIGGER ' END,
                coalesce(scribe.trigger_elsewhere(t.oid), scribe.toast_elsewhere(e.objid)), concat(' ON ' || t.tgrelid::regclass,
                    format(' IS %L', obj_description(e.objid, e.classid::regclass::text::name))))
            INTO pieces FROM pg_event_trigger_ddl_commands() AS e
                LEFT JOIN pg_trigger AS t ON e.classid = 'pg_trigger'::regclass AND t.oid = e.objid
            WHERE t.tgisinternal OR e.classid = 'pg_class'::regclass AND e.schema_name = 'pg_toast';
    ELSIF tag = 'ALTER TRIGGER' AND statement ~* '\mRENAME\M' THEN
        SELECT format('%L, %s, %L', 'ALTER TRIGGER ', scribe.trigger_elsewhere(t.oid), format(' ON %s RENAME TO %I', t.tgrelid::regclass, t.tgname))
            INTO pieces FROM pg_event_trigger_ddl_commands() AS e JOIN pg_trigger AS t ON e.classid = 'pg_trigger'::regclass AND t.oid = e.objid
            WHERE t.tgisinternal;
    END IF;
    RETURN scribe.put_together(pieces);
END
$function$;

-- Any other statement that names such objects as one that finds those of the copy; what names none stays as it is.
CREATE OR REPLACE FUNCTION scribe.with_numbered(tag text, statement text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    toast constant boolean := tag IN ('GRANT', 'REVOKE');
    word constant text := CASE WHEN toast THEN '\mpg_toast\s*\.\s*' ELSE '\mTRIGGER\s+' END;
    piece record;
    pieces text[];
    elsewhere text;
    found boolean := false;
BEGIN
    IF tag = 'COMMENT' OR statement !~* word THEN
        RETURN statement;
    END IF;
    FOR piece IN SELECT * FROM scribe.names_after(word, statement) LOOP
        elsewhere := CASE WHEN toast THEN scribe.toast_elsewhere(to_regclass('pg_toast.' || piece.name))
            ELSE (SELECT scribe.trigger_elsewhere(t.oid) FROM pg_trigger AS t JOIN pg_event_trigger_ddl_commands() AS e
                ON e.classid = 'pg_trigger'::regclass AND e.objid = t.oid OR e.classid = 'pg_class'::regclass AND e.objid = t.tgrelid
                WHERE t.tgisinternal AND t.tgname = (parse_ident(piece.name))[1] LIMIT 1) END;
        found := found OR elsewhere IS NOT NULL;
        pieces := pieces || quote_literal(piece.before) || coalesce(elsewhere, quote_nullable(piece.name));
    END LOOP;
    RETURN CASE WHEN found THEN scribe.put_together(array_to_string(pieces, ', ')) ELSE statement END;
END
$function$;
