-- reconciling.sql: what changed without an event trigger, recorded at rotation.

-- Event triggers of this database that are not ours, as the statements that make them.
CREATE OR REPLACE FUNCTION scribe.event_triggers() RETURNS TABLE (name text, statements text[])
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    RETURN QUERY SELECT e.evtname::text, array_remove(ARRAY[
        format('CREATE EVENT TRIGGER %I ON %s%s EXECUTE FUNCTION %s()', e.evtname, e.evtevent,
            CASE WHEN e.evttags IS NULL THEN ''
                ELSE ' WHEN TAG IN (' || (SELECT string_agg(quote_literal(t), ', ') FROM unnest(e.evttags) AS t) || ')' END,
            e.evtfoid::regproc),
        format('ALTER EVENT TRIGGER %I OWNER TO %I', e.evtname, pg_get_userbyid(e.evtowner)),
        CASE e.evtenabled WHEN 'D' THEN format('ALTER EVENT TRIGGER %I DISABLE', e.evtname)
            WHEN 'A' THEN format('ALTER EVENT TRIGGER %I ENABLE ALWAYS', e.evtname)
            WHEN 'R' THEN format('ALTER EVENT TRIGGER %I ENABLE REPLICA', e.evtname) END,
        CASE WHEN obj_description(e.oid, 'pg_event_trigger') IS NOT NULL THEN
            format('COMMENT ON EVENT TRIGGER %I IS %L', e.evtname, obj_description(e.oid, 'pg_event_trigger')) END], NULL)
    FROM pg_event_trigger AS e
    WHERE NOT EXISTS (SELECT FROM pg_proc AS f WHERE f.oid = e.evtfoid AND f.pronamespace = 'scribe'::regnamespace)
        AND NOT EXISTS (SELECT FROM pg_depend AS d
        WHERE d.classid = 'pg_event_trigger'::regclass AND d.objid = e.oid AND d.deptype = 'e');
END
$function$;

-- Owners of what REASSIGN OWNED changes: everything that is not an extension's. objects: OIDs, NULL for all. Of the rarer kinds the
-- server's list of who owns what is taken, which does not have what the first superuser owns: what was seen and is no more on that list,
-- but there, is his.
CREATE OR REPLACE FUNCTION scribe.owners(objects oid[]) RETURNS TABLE (classid oid, objid oid, owner oid)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    kinds constant oid[] := '{pg_foreign_server,pg_foreign_data_wrapper,pg_statistic_ext,pg_collation,pg_conversion,pg_ts_config,pg_ts_dict,
        pg_publication,pg_subscription,pg_operator,pg_opclass,pg_opfamily,pg_language}'::regclass[]::oid[];
BEGIN
    RETURN QUERY SELECT o.classid, o.objid, o.owner FROM (
        SELECT 'pg_class'::regclass::oid AS classid, oid, relowner, relnamespace FROM pg_class
            WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND relpersistence <> 't'
        UNION ALL SELECT 'pg_proc'::regclass::oid, oid, proowner, pronamespace FROM pg_proc
        UNION ALL SELECT 'pg_type'::regclass::oid, oid, typowner, typnamespace FROM pg_type
            WHERE typtype IN ('b', 'd', 'e', 'r') AND typcategory <> 'A'
                OR typtype = 'c' AND EXISTS (SELECT FROM pg_class AS c WHERE c.oid = typrelid AND c.relkind = 'c')
        UNION ALL SELECT 'pg_namespace'::regclass::oid, oid, nspowner, oid FROM pg_namespace
        UNION ALL SELECT d.classid, d.objid, d.refobjid, NULL FROM pg_shdepend AS d
            WHERE d.dbid = (SELECT b.oid FROM pg_database AS b WHERE b.datname = current_database())
                AND d.deptype = 'o' AND d.classid = ANY (kinds)
        UNION ALL SELECT s.classid, s.objid, 10, NULL FROM scribe.seen_owner AS s  -- the first superuser's OID
            WHERE s.classid = ANY (kinds) AND (pg_identify_object(s.classid, s.objid, 0)).identity IS NOT NULL
                AND NOT EXISTS (SELECT FROM pg_shdepend AS d WHERE d.classid = s.classid AND d.objid = s.objid AND d.deptype = 'o'))
        AS o (classid, objid, owner, schema)
        LEFT JOIN pg_namespace AS n ON n.oid = o.schema
    WHERE o.objid >= 16384 AND (n.oid IS NULL OR (n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'scribe')))
        AND (objects IS NULL OR o.objid = ANY (objects))
        AND NOT EXISTS (SELECT FROM pg_depend AS d  -- a column's sequence follows it
            WHERE d.classid = o.classid AND d.objid = o.objid
                AND (d.deptype = 'e' OR (d.deptype IN ('a', 'i') AND d.refobjsubid > 0)));
END
$function$;

-- Record what changed about event triggers that are not ours; none fires for that. record: false only remembers.
CREATE OR REPLACE FUNCTION scribe.reconcile_event_triggers(record boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $function$
DECLARE
    changed record;
    statement text;
BEGIN
    FOR changed IN
        SELECT coalesce(s.name, e.name) AS name, t.oid, t.evtfoid
        FROM scribe.event_triggers() AS e FULL JOIN scribe.seen_event_trigger AS s USING (name)
            LEFT JOIN pg_event_trigger AS t ON t.evtname = e.name
        WHERE s.statements IS DISTINCT FROM e.statements ORDER BY 1
    LOOP
        EXIT WHEN NOT scribe.try_lock('scribe.seen_event_trigger');  -- somebody else is at it
        CONTINUE WHEN changed.oid IS NOT NULL
            AND NOT (scribe.hold('pg_event_trigger', changed.oid) AND scribe.hold('pg_proc', changed.evtfoid));
        SELECT changed.name, e.statements INTO changed
            FROM (VALUES (1)) AS one LEFT JOIN scribe.event_triggers() AS e ON e.name = changed.name;
        FOREACH statement IN ARRAY format('DROP EVENT TRIGGER IF EXISTS %I', changed.name) || changed.statements LOOP
            IF record THEN
                PERFORM scribe.write_row('ddl', 'EVENT TRIGGER', 'event trigger', changed.name, statement, true, NULL,
                    NULL, current_user, '""');
            END IF;
        END LOOP;
        DELETE FROM scribe.seen_event_trigger AS s WHERE s.name = changed.name;
        INSERT INTO scribe.seen_event_trigger SELECT changed.name, changed.statements WHERE changed.statements IS NOT NULL;
    END LOOP;
END
$function$;

-- What no rotation has seen yet, and which the history does not have as made by its owner or given to it since: REASSIGN OWNED came in
-- between.
CREATE OR REPLACE FUNCTION scribe.given_away() RETURNS oid[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $function$
    WITH fresh AS MATERIALIZED (
        SELECT o.classid, o.objid, pg_get_userbyid(o.owner) AS owner, i.identity
        FROM scribe.owners(NULL) AS o CROSS JOIN LATERAL pg_identify_object(o.classid, o.objid, 0) AS i
        WHERE NOT EXISTS (SELECT FROM scribe.seen_owner AS s WHERE s.classid = o.classid AND s.objid = o.objid)
    ), told AS (
        SELECT f.classid, f.objid, f.owner, h.id, h.tag, h.role, h.statement
        FROM fresh AS f JOIN (SELECT r AS objid, h.* FROM scribe.ddl_history AS h, unnest(h.relids) AS r) AS h
            ON f.classid = 'pg_class'::regclass AND h.objid = f.objid
        UNION ALL
        SELECT f.classid, f.objid, f.owner, h.id, h.tag, h.role, h.statement
        FROM fresh AS f JOIN scribe.ddl_history AS h ON h.object_identity = f.identity
    ), last AS (  -- that said whose it is
        SELECT DISTINCT ON (classid, objid) classid, objid, owner, role, statement FROM told
        WHERE tag ~ '^(CREATE|SELECT INTO|IMPORT)' OR statement ~* '\mOWNER\s+TO\M' ORDER BY classid, objid, id DESC
    )
    SELECT coalesce(array_agg(objid), '{}') FROM last
    WHERE CASE WHEN statement ~* '\m(OWNER\s+TO|AUTHORIZATION)\M' THEN right(statement, length(quote_ident(owner)) + 1) <> ' ' || quote_ident(owner)
        ELSE role <> owner END
$function$;

-- The name by which a command finds an object. A routine's has the modes of its arguments: without them, one name may be that of two
-- procedures, or of no aggregate.
CREATE OR REPLACE FUNCTION scribe.name_of(class oid, object oid, identity text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $function$
    SELECT coalesce((SELECT format('%I.%I(%s)', n.nspname, p.proname, CASE
            WHEN p.prokind = 'a' AND p.pronargs = 0 THEN '*' ELSE pg_get_function_identity_arguments(p.oid) END)
        FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
        WHERE class = 'pg_proc'::regclass AND p.oid = object), identity)
$function$;

-- Remember what was seen. While others may be at it, which they are not at an installation: an open transaction that has a row of the same
-- object keeps nobody waiting, and the next rotation sees it again.
CREATE OR REPLACE FUNCTION scribe.remember(beside_others boolean, command text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET lock_timeout = '100ms' AS $function$
BEGIN
    IF NOT beside_others THEN
        EXECUTE command;
        RETURN;
    END IF;
    BEGIN
        EXECUTE command;
    EXCEPTION WHEN lock_not_available THEN
        NULL;
    END;
END
$function$;

-- Record owners that changed by REASSIGN OWNED; objects: of these, NULL for all; new: also of what was not seen before, which a rotation
-- has yet to see. Returns the relations not seen before.
CREATE OR REPLACE FUNCTION scribe.reconcile_owners(record boolean, objects oid[], new boolean) RETURNS oid[]
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $function$
DECLARE
    changed record;
    fresh oid[] := '{}';
    given oid[] := '{}';
BEGIN
    IF record AND objects IS NULL AND NOT new THEN
        given := scribe.given_away();
    END IF;
    FOR changed IN
        SELECT o.classid, o.objid, o.owner, s.owner AS before, NULL::text AS type, NULL::text AS identity, NULL::text AS name
        FROM scribe.owners(objects) AS o LEFT JOIN scribe.seen_owner AS s USING (classid, objid)
        WHERE s.owner IS DISTINCT FROM o.owner ORDER BY 1, 2
    LOOP
        IF record AND (new OR changed.before IS NOT NULL OR changed.objid = ANY (given)) THEN
            CONTINUE WHEN NOT scribe.hold(changed.classid, changed.objid);
            SELECT o.classid, o.objid, o.owner, changed.before, i.type, i.identity, scribe.name_of(o.classid, o.objid, i.identity) AS name
                INTO changed
                FROM scribe.owners(ARRAY[changed.objid]) AS o
                    CROSS JOIN LATERAL pg_identify_object(o.classid, o.objid, 0) AS i
                WHERE o.classid = changed.classid AND i.identity IS NOT NULL AND (i.schema IS NULL
                    OR scribe.hold('pg_namespace', to_regnamespace(i.schema)));
            CONTINUE WHEN NOT FOUND;
            PERFORM scribe.write_row('ddl', 'ALTER OWNER', changed.type, changed.identity,
                format('ALTER %s %s OWNER TO %I', CASE changed.type WHEN 'statistics object' THEN 'STATISTICS'
                    WHEN 'foreign-data wrapper' THEN 'FOREIGN DATA WRAPPER' ELSE upper(changed.type) END, changed.name,
                    pg_get_userbyid(changed.owner)),
                true, NULL, NULL, current_user, '""');
        END IF;
        IF changed.before IS NULL AND changed.classid = 'pg_class'::regclass THEN
            fresh := fresh || changed.objid;
        END IF;
        CONTINUE WHEN new AND changed.before IS NULL;
        PERFORM scribe.remember(record, format('INSERT INTO scribe.seen_owner VALUES (%s, %s, %s)'
            ' ON CONFLICT (classid, objid) DO UPDATE SET owner = EXCLUDED.owner', changed.classid, changed.objid, changed.owner));
    END LOOP;
    RETURN fresh;
END
$function$;

-- Before a DROP OWNED, which would leave in a copy what that does not know to be the role's by now: afterwards, what it dropped can no
-- longer be looked at. Of what changed hands alone, since each object is held until the transaction ends.
CREATE OR REPLACE FUNCTION scribe.catch_up_owned() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on SET quote_all_identifiers = off
SET lock_timeout = '100ms' AS $function$
DECLARE
    changed constant oid[] := scribe.given_away() || ARRAY(SELECT s.objid
        FROM scribe.seen_owner AS s JOIN scribe.owners(NULL) AS o USING (classid, objid) WHERE o.owner <> s.owner);
BEGIN
    IF changed <> '{}' THEN
        SET LOCAL scribe.settings = '{}';  -- they are noted after this
        PERFORM scribe.reconcile_owners(true, changed, true);
    END IF;
END
$function$;

-- Record what became of indexes without a word. One that a failed CREATE INDEX CONCURRENTLY left becomes valid by whatever
-- rebuilds it: TRUNCATE, VACUUM FULL, ALTER TABLE; one that a failed DROP INDEX CONCURRENTLY left is none any more. What
-- stands already does nothing.
CREATE OR REPLACE FUNCTION scribe.reconcile_indexes(record boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $function$
DECLARE
    index record;
    valid boolean;
BEGIN
    FOR index IN
        SELECT i.indexrelid AS oid, i.indisvalid, i.indisvalid AND EXISTS (SELECT FROM scribe.ddl_history AS h, unnest(h.relids) AS r
            WHERE r = i.indexrelid AND h.tag IN ('CREATE INDEX', 'REINDEX')) AS known
        FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid LEFT JOIN scribe.seen_index AS s ON s.objid = c.oid
        WHERE s.valid IS DISTINCT FROM i.indisvalid
            AND c.relkind = 'i' AND c.relpersistence <> 't' AND c.oid >= 16384
            AND (NOT c.relispartition OR s.objid IS NOT NULL)
            AND c.relnamespace::regnamespace::text !~ '^"?(pg_|scribe"?$|information_schema"?$)'
            AND NOT EXISTS (SELECT FROM pg_constraint AS k WHERE k.conindid = c.oid AND k.contype IN ('p', 'u', 'x'))
            AND NOT EXISTS (SELECT FROM pg_depend AS d  -- an extension's table
                WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indrelid AND d.deptype = 'e')
        ORDER BY 1
    LOOP
        IF NOT record OR index.known THEN
            valid := index.indisvalid;
        ELSE
            CONTINUE WHEN NOT scribe.hold_index(index.oid);
            SELECT i.indisvalid INTO valid FROM pg_index AS i WHERE i.indexrelid = index.oid
                AND NOT EXISTS (SELECT FROM pg_constraint AS k WHERE k.conindid = index.oid AND k.contype IN ('p', 'u', 'x'));
            CONTINUE WHEN NOT FOUND;
            IF valid THEN
                PERFORM scribe.record_reindex(ARRAY[index.oid], false);
            ELSE
                PERFORM scribe.write_row('ddl', 'DROP INDEX', 'index', index.oid::regclass::text,
                    format('DROP INDEX IF EXISTS %s', index.oid::regclass), true, NULL, NULL, current_user, '""');
            END IF;
        END IF;
        PERFORM scribe.remember(record, format('INSERT INTO scribe.seen_index VALUES (%s, %L)'
            ' ON CONFLICT (objid) DO UPDATE SET valid = EXCLUDED.valid', index.oid, valid));
    END LOOP;
END
$function$;

-- By which index a table is clustered: CLUSTER fires no event trigger, and the library sees it only in sessions that have loaded it.
-- An index that was given the mark has a row of another transaction: what a statement in its place has set is set once more.
CREATE OR REPLACE FUNCTION scribe.reconcile_clusters(record boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    changed record;
BEGIN
    FOR changed IN
        SELECT coalesce(i.indrelid, s.relid) AS relid, i.indexrelid, i.xmin AS marked, n.relname, c.relkind
        FROM (SELECT indrelid, indexrelid, xmin FROM pg_index WHERE indisclustered) AS i
            FULL JOIN scribe.seen_cluster AS s ON s.relid = i.indrelid
            LEFT JOIN pg_class AS c ON c.oid = coalesce(i.indrelid, s.relid) LEFT JOIN pg_class AS n ON n.oid = i.indexrelid
        WHERE (i.indexrelid, i.xmin) IS DISTINCT FROM (s.index, s.marked) AND coalesce(c.relpersistence <> 't' AND c.oid >= 16384
            AND c.relnamespace::regnamespace::text !~ '^"?(pg_|scribe"?$|information_schema"?$)'
            AND NOT EXISTS (SELECT FROM scribe.left_out WHERE classid = 'pg_class'::regclass AND objid IN (c.oid, n.oid)), true) ORDER BY 1
    LOOP
        IF record AND changed.relkind IN ('r', 'm') THEN
            CONTINUE WHEN NOT scribe.hold('pg_class', changed.relid)
                OR EXISTS (SELECT FROM pg_index WHERE indrelid = changed.relid AND NOT scribe.hold_index(indexrelid));
            SELECT c.oid AS relid, n.oid AS indexrelid, i.xmin AS marked, n.relname, c.relkind INTO changed
            FROM pg_class AS c LEFT JOIN (pg_index AS i JOIN pg_class AS n ON n.oid = i.indexrelid) ON i.indrelid = c.oid AND i.indisclustered
            WHERE c.oid = changed.relid;
        END IF;
        IF record AND changed.relkind IN ('r', 'm') THEN
            PERFORM scribe.write_row('ddl', 'CLUSTER', NULL, NULL, format('ALTER %s %s %s',
                CASE changed.relkind WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'TABLE ONLY' END, changed.relid::regclass,
                coalesce('CLUSTER ON ' || quote_ident(changed.relname), 'SET WITHOUT CLUSTER')), true, NULL, NULL, current_user, '""');
        END IF;
        DELETE FROM scribe.seen_cluster AS s WHERE s.relid = changed.relid;
        INSERT INTO scribe.seen_cluster SELECT changed.relid, changed.indexrelid, changed.marked WHERE changed.indexrelid IS NOT NULL;
    END LOOP;
END
$function$;

-- Delete what is not needed any more from a table of ours. Rows that an open transaction has changed, and may keep as long as it likes,
-- are for the next rotation.
CREATE OR REPLACE FUNCTION scribe.sweep(relation name, condition text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    EXECUTE format('DELETE FROM scribe.%I AS d WHERE d.ctid IN (SELECT r.ctid FROM scribe.%1$I AS r WHERE %s FOR UPDATE SKIP LOCKED)',
        relation, condition);
END
$function$;

-- Record owners that changed, and relations of whose making nothing is known, such as what EXPLAIN ANALYZE CREATE TABLE AS made.
CREATE OR REPLACE FUNCTION scribe.reconcile_relations(record boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $function$
DECLARE
    fresh constant oid[] := scribe.reconcile_owners(record, NULL, false);
    unknown record;
BEGIN
    IF record AND fresh <> '{}' THEN
        FOR unknown IN
            SELECT f AS relation, i.type, i.identity FROM unnest(fresh) AS f
                CROSS JOIN LATERAL pg_identify_object('pg_class'::regclass, f, 0) AS i
            WHERE NOT EXISTS (SELECT FROM scribe.ddl_history AS h, unnest(h.relids) AS r WHERE r = f)
                AND NOT EXISTS (SELECT FROM scribe.ddl_history AS h WHERE NOT h.exact AND h.reason = 'event_triggers was off'
                    AND strpos(h.statement, i.name) > 0)
        LOOP
            IF scribe.hold('pg_class', unknown.relation) THEN
                PERFORM scribe.record_unknown(unknown.relation, unknown.type, unknown.identity);
            ELSE  -- gone, or another command is at it: seen again at the next rotation
                DELETE FROM scribe.seen_owner AS s WHERE s.classid = 'pg_class'::regclass AND s.objid = unknown.relation;
            END IF;
        END LOOP;
    END IF;
    DELETE FROM scribe.seen_owner AS s WHERE NOT EXISTS (SELECT FROM scribe.owners(NULL) AS o
        WHERE o.classid = s.classid AND o.objid = s.objid);
END
$function$;

-- Record what changed without an event trigger and without our library in the session. Called at each rotation, so such a
-- change stands at the rotation and not where it was made. What goes away under a step leaves that step to the next rotation.
-- record: false only remembers what there is.
CREATE OR REPLACE FUNCTION scribe.reconcile(record boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on SET lock_timeout = '1min' AS $function$
DECLARE
    step name;
BEGIN
    IF NOT scribe.is_active() THEN
        RETURN;
    END IF;
    FOREACH step IN ARRAY '{reconcile_event_triggers,reconcile_relations,reconcile_more,reconcile_indexes}'::name[] LOOP
        BEGIN
            EXECUTE format('SELECT scribe.%I($1)', step) USING record;
        EXCEPTION WHEN internal_error OR undefined_object OR undefined_table OR undefined_function OR invalid_schema_name
                OR lock_not_available THEN
            RAISE WARNING 'pg_scribe leaves % to the next rotation: %', step, SQLERRM;
        END;
    END LOOP;
    PERFORM scribe.sweep('seen_index', 'NOT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = r.objid)'),
        scribe.sweep('replica_identity', 'NOT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = r.relid)'),
        scribe.sweep('detaching', 'NOT EXISTS (SELECT FROM pg_inherits AS i WHERE i.inhrelid = r.relid'
            ' AND (to_jsonb(i)->>''inhdetachpending'')::boolean)'),
        scribe.sweep('filled', 'NOT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = r.relid)'),
        scribe.sweep('rewritten', 'true'), scribe.sweep('noted', 'true'), scribe.sweep('script', 'true'),  -- of commands that have ended
        -- what is there belongs to something, or something belongs to it
        scribe.sweep('left_out', 'NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = r.classid AND d.objid = r.objid)'
            ' AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.refclassid = r.classid AND d.refobjid = r.objid)'),
        scribe.sweep('at_work', 'r.xact < pg_snapshot_xmin(pg_current_snapshot())');
END
$function$;

-- The same for a role that may do nothing else to capture (sql/roles.sql): it cannot keep a change from being recorded.
CREATE OR REPLACE FUNCTION scribe.reconcile() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    PERFORM scribe.reconcile(true);
END
$function$;
