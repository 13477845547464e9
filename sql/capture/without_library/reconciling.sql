-- reconciling.sql: what no event trigger tells: looked for before each recorded command, and at rotation.

-- CREATE TABLE for a table made by a query: its rows are in the stream before the command has ended.
CREATE OR REPLACE FUNCTION scribe.create_text(relation oid) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $function$
    SELECT format('CREATE %sTABLE %s (%s)', CASE WHEN c.relpersistence = 'u' THEN 'UNLOGGED ' END, c.oid::regclass, (
            SELECT string_agg(concat_ws(' ', quote_ident(a.attname), format_type(a.atttypid, a.atttypmod),
                CASE WHEN a.attcollation <> t.typcollation THEN 'COLLATE ' || a.attcollation::regcollation END), ', '
                ORDER BY a.attnum)
            FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = a.atttypid
            WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped))
        || coalesce((SELECT format(' USING %I', amname) FROM pg_am WHERE oid = c.relam AND amname <> 'heap'), '')
        || coalesce((SELECT format(' WITH (%s)', string_agg(format('%s%I=%L', o.prefix, split_part(o.option, '=', 1),
                substr(o.option, strpos(o.option, '=') + 1)), ', '))
            FROM (SELECT '' AS prefix, unnest(c.reloptions) AS option
                UNION ALL SELECT 'toast.', unnest(x.reloptions) FROM pg_class AS x WHERE x.oid = c.reltoastrelid) AS o
            HAVING count(*) > 0), '')
        || coalesce((SELECT format(' TABLESPACE %I', spcname) FROM pg_tablespace WHERE oid = c.reltablespace), '')
    FROM pg_class AS c WHERE c.oid = relation
$function$;

-- The same as they are: for each role (0: PUBLIC) what it may do, and with * what it may grant.
CREATE OR REPLACE FUNCTION scribe.database_privileges() RETURNS TABLE (grantee oid, privileges text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    RETURN QUERY SELECT x.grantee, string_agg(DISTINCT x.privilege_type || CASE WHEN x.is_grantable THEN '*' ELSE '' END, ', ')
    FROM pg_database AS d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) AS x
    WHERE d.datname = current_database() GROUP BY 1;
END
$function$;

-- Privileges on the database, which has another name elsewhere.
CREATE OR REPLACE FUNCTION scribe.reconcile_privileges(record boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    changed record;
    command text;
BEGIN
    FOR changed IN  -- not held until the transaction ends, which may be a user's and keep every GRANT waiting: what comes is seen again
        SELECT coalesce(p.grantee, s.grantee) AS grantee, p.privileges,
            CASE coalesce(p.grantee, s.grantee) WHEN 0 THEN 'PUBLIC' ELSE replace(quote_ident(r.rolname), '%', '%%') END AS name
        FROM scribe.database_privileges() AS p FULL JOIN scribe.seen_privilege AS s USING (grantee)
            LEFT JOIN pg_roles AS r ON r.oid = coalesce(p.grantee, s.grantee)
        WHERE p.privileges IS DISTINCT FROM s.privileges ORDER BY 1
    LOOP
        EXIT WHEN NOT scribe.try_lock('scribe.seen_privilege');  -- somebody else is at it
        FOREACH command IN ARRAY ARRAY['REVOKE ALL ON DATABASE %I FROM ' || changed.name,
            'GRANT ' || (SELECT string_agg(w, ', ') FROM string_to_table(changed.privileges, ', ') AS w WHERE w !~ '[*]$')
                || ' ON DATABASE %I TO ' || changed.name,
            'GRANT ' || (SELECT string_agg(rtrim(w, '*'), ', ') FROM string_to_table(changed.privileges, ', ') AS w WHERE w ~ '[*]$')
                || ' ON DATABASE %I TO ' || changed.name || ' WITH GRANT OPTION']
        LOOP
            IF record AND command IS NOT NULL THEN
                PERFORM scribe.write_row('ddl', 'GRANT', 'database', NULL, format('DO %L', format('BEGIN EXECUTE '
                    'pg_catalog.format(%L, pg_catalog.current_database()); END', command)), true, NULL, NULL, current_user, '""');
            END IF;
        END LOOP;
        DELETE FROM scribe.seen_privilege AS s WHERE s.grantee = changed.grantee;
        INSERT INTO scribe.seen_privilege SELECT changed.grantee, changed.privileges WHERE changed.privileges IS NOT NULL;
    END LOOP;
END
$function$;

-- Tablespaces that were renamed or dropped since a statement named them: no command can follow that within a transaction, so it is
-- flagged. New ones are in the globals that rotation keeps.
CREATE OR REPLACE FUNCTION scribe.reconcile_tablespaces(record boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    changed record;
BEGIN
    FOR changed IN
        SELECT coalesce(s.space, t.oid) AS space, s.name AS was, t.spcname::text AS is_now
        FROM scribe.seen_tablespace AS s FULL JOIN pg_tablespace AS t ON t.oid = s.space
        WHERE s.name IS DISTINCT FROM t.spcname::text
    LOOP
        EXIT WHEN NOT scribe.try_lock('scribe.seen_tablespace');
        IF record AND changed.was IS NOT NULL AND EXISTS (SELECT FROM scribe.ddl_history AS h
            WHERE strpos(h.statement, changed.was) > 0 OR changed.was = ANY (h.settings))
        THEN
            PERFORM scribe.write_row('lost', CASE WHEN changed.is_now IS NULL THEN 'DROP TABLESPACE' ELSE 'ALTER TABLESPACE' END,
                'tablespace', changed.was, '', false, format('tablespace %I, which statements name, %s', changed.was,
                coalesce('is called ' || quote_ident(changed.is_now) || ' now', 'is gone')), NULL, current_user, '');
        END IF;
        DELETE FROM scribe.seen_tablespace AS s WHERE s.space = changed.space;
        INSERT INTO scribe.seen_tablespace SELECT changed.space, changed.is_now WHERE changed.is_now IS NOT NULL;
    END LOOP;
END
$function$;

-- What else a rotation records. record: false only remembers what was not seen before, which is all of it on installation.
CREATE OR REPLACE FUNCTION scribe.reconcile_more(record boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    IF record OR NOT EXISTS (SELECT FROM scribe.seen_tablespace) THEN
        PERFORM scribe.reconcile_roles(record), scribe.reconcile_tablespaces(record);
    END IF;
    PERFORM scribe.sweep('attached', 'true'),  -- of transactions that have ended
        scribe.sweep('table_facts', 'NOT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = r.relid)');
    IF record OR NOT EXISTS (SELECT FROM scribe.seen_privilege) THEN
        PERFORM scribe.reconcile_privileges(record), scribe.reconcile_clusters(record);
    END IF;
END
$function$;

-- Record a relation of whose making nothing told, as it is now. Rows that came before this make the translator look ahead for it.
CREATE OR REPLACE FUNCTION scribe.record_unknown(relation oid, object_type text, object_identity text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $function$
DECLARE
    reason constant text := 'nothing told how it was made: so it is now';
    made record;
    command text;
BEGIN
    SELECT c.*, pg_get_userbyid(relowner) AS role INTO made FROM pg_class AS c WHERE oid = relation;
    IF made.relkind = 'm' THEN
        INSERT INTO scribe.table_facts SELECT * FROM scribe.read_facts(ARRAY[relation])  -- decoder_raw's only
            ON CONFLICT (relid) DO UPDATE SET facts = EXCLUDED.facts;
        PERFORM scribe.write_row('ddl', 'CREATE MATERIALIZED VIEW', object_type, object_identity,
            scribe.matview_text(relation), false, reason, ARRAY[relation], made.role, '""');
    ELSIF made.relkind = 'r' AND NOT made.relispartition THEN
        INSERT INTO scribe.table_facts AS f
            SELECT r.relid, (r.facts::jsonb || jsonb_build_object('c', scribe.create_text(r.relid), 'x', reason))::text
            FROM scribe.read_facts(ARRAY[relation]) AS r
        ON CONFLICT (relid) DO UPDATE SET facts = EXCLUDED.facts;
        PERFORM scribe.write_row('create', 'CREATE TABLE', object_type, object_identity, '', false, reason, ARRAY[relation],
            made.role, '""');
        FOR command IN
            SELECT format('ALTER TABLE ONLY %s ALTER COLUMN %I %s', relation::regclass, a.attname, x.change)
            FROM pg_attribute AS a LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum,
                LATERAL (VALUES (CASE WHEN a.attnotnull THEN 'SET NOT NULL' END),
                    (CASE WHEN a.attgenerated = '' THEN 'SET DEFAULT ' || pg_get_expr(d.adbin, d.adrelid) END)) AS x (change)
            WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped AND x.change IS NOT NULL
            UNION ALL SELECT t FROM scribe.table_definition(relation) AS t WHERE t !~ '^CREATE (UNLOGGED )?TABLE '
        LOOP
            PERFORM scribe.write_row('ddl', 'ALTER TABLE', object_type, object_identity, command, false, reason,
                ARRAY[relation], made.role, '""');
        END LOOP;
        BEGIN
            PERFORM scribe.mend_identity(ARRAY[relation]);
        EXCEPTION WHEN lock_not_available OR SQLSTATE 'SC001' THEN
            RAISE WARNING 'pg_scribe could not give % a replica identity: %', object_identity, SQLERRM;
        END;
    ELSE
        PERFORM scribe.write_row('lost', 'CREATE', object_type, object_identity, '', false,
            format('%s %s is there, and nothing told how it was made', object_type, object_identity), NULL, current_user, '');
    END IF;
END
$function$;

-- What fires no event trigger is recorded before the next statement that does and may depend on it: roles, event triggers,
-- privileges on the database, and owners that REASSIGN OWNED changed. objects: what the statement touches.
CREATE OR REPLACE FUNCTION scribe.catch_up(tag text, objects oid[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on SET quote_all_identifiers = off
SET lock_timeout = '100ms' AS $function$
DECLARE
    notes constant text[] := '{scribe.role,scribe.path,scribe.settings}';
    values constant text[] := ARRAY(SELECT coalesce(current_setting(n, true), '') FROM unnest(notes) AS n);
    unknown record;
BEGIN
    PERFORM scribe.reconcile_roles(true);
    PERFORM scribe.reconcile_tablespaces(true);
    PERFORM scribe.reconcile_event_triggers(true);
    PERFORM scribe.reconcile_privileges(true);
    IF objects = '{}' THEN
        RETURN;
    ELSIF tag !~ '^(CREATE|IMPORT) |^SELECT INTO$' THEN
        FOR unknown IN SELECT c.oid, c.relkind, i.* FROM pg_class AS c JOIN scribe.owners(objects) AS o
                ON o.classid = 'pg_class'::regclass AND o.objid = c.oid, LATERAL pg_identify_object(o.classid, c.oid, 0) AS i
            WHERE c.relkind IN ('r', 'p', 'm', 'f') AND NOT EXISTS (SELECT FROM scribe.seen_owner AS s
                WHERE s.classid = o.classid AND s.objid = c.oid)
        LOOP
            IF unknown.relkind = 'm' OR tag = 'COMMENT' THEN  -- which change nothing of how it is made
                PERFORM scribe.record_unknown(unknown.oid, unknown.type, unknown.identity);
                PERFORM scribe.note(n, v) FROM unnest(notes, values) AS x (n, v);  -- statements of our own took notes
            ELSE
                PERFORM scribe.write_row('lost', tag, unknown.type, unknown.identity, '', false,
                    format('nothing told how %s %s was made', unknown.type, unknown.identity), NULL);
            END IF;
        END LOOP;
    END IF;
    IF current_query() ~* '\mOWNER\s+TO\M' THEN  -- which may be a change of its own; others wait for the rotation
        INSERT INTO scribe.seen_owner AS s SELECT * FROM scribe.owners(objects)
            ON CONFLICT (classid, objid) DO UPDATE SET owner = EXCLUDED.owner WHERE scribe.is_owner_change(btrim(current_query()));
    ELSIF tag !~ '^ALTER ' OR current_query() !~* '\mRENAME\s+TO\M|\mSET\s+SCHEMA\M' THEN  -- whose new name is nowhere else yet
        PERFORM scribe.reconcile_owners(true, objects, false);
    END IF;
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'pg_scribe could not record what went before %: %', tag, SQLERRM;
END
$function$;
