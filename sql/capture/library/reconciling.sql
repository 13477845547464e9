-- reconciling.sql: what rotation makes of a relation of whose making nothing told, and what else it looks at.

-- Record a relation of whose making nothing told, such as what EXPLAIN ANALYZE CREATE TABLE AS made.
-- A table or sequence the decoder has made from the catalog, in its place.
CREATE OR REPLACE FUNCTION scribe.record_unknown(relation oid, object_type text, object_identity text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    IF object_type IN ('table', 'sequence') THEN
        PERFORM scribe.mend_identity(ARRAY[relation]);
        RETURN;
    ELSIF EXISTS (SELECT FROM scribe.left_out WHERE classid = 'pg_class'::regclass AND objid = relation) THEN
        RETURN;
    END IF;
    PERFORM scribe.write_row('lost', 'CREATE', object_type, object_identity, '', false,
        format('%s %s is there, and nothing told how it was made', object_type, object_identity), NULL, current_user, '');
END
$function$;

-- What else a rotation records: the rest is in the stream.
CREATE OR REPLACE FUNCTION scribe.reconcile_more(record boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    PERFORM scribe.reconcile_clusters(record);
END
$function$;

-- A REASSIGN OWNED that was the first command of its session fires no event trigger and was not seen by the library. What it changed is
-- recorded before the first command of the next session, which may depend on it. What no rotation has seen yet waits for DROP OWNED.
CREATE OR REPLACE FUNCTION scribe.catch_up_owners(tag text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on SET quote_all_identifiers = off
SET lock_timeout = '100ms' AS $function$
DECLARE
    changed oid[];
BEGIN
    -- What no rotation has seen yet, and whose owner was written by another transaction than its schema. Of schemas that cannot be told;
    -- what the first superuser was given has no owner there, and he needs no right of an owner's.
    changed := ARRAY(SELECT o.objid
        FROM pg_shdepend AS o LEFT JOIN pg_depend AS n ON n.classid = o.classid AND n.objid = o.objid AND n.objsubid = 0
            AND n.refclassid = 'pg_namespace'::regclass AND n.deptype = 'n'
        WHERE o.dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND o.deptype = 'o' AND o.objsubid = 0
            AND o.classid = ANY ('{pg_class,pg_proc,pg_type,pg_namespace}'::regclass[]::oid[]) AND o.xmin IS DISTINCT FROM n.xmin
            AND NOT EXISTS (SELECT FROM scribe.seen_owner AS s WHERE s.classid = o.classid AND s.objid = o.objid));
    IF changed <> '{}' AND EXISTS (SELECT FROM scribe.owners(changed)) THEN
        changed := scribe.given_away();
        IF changed <> '{}' THEN
            SET LOCAL scribe.settings = '{}';  -- they are noted after this
            PERFORM scribe.reconcile_owners(true, changed, true);
        END IF;
    END IF;
    changed := ARRAY(
        SELECT s.objid FROM scribe.seen_owner AS s JOIN pg_class AS o ON o.oid = s.objid
            WHERE s.classid = 'pg_class'::regclass AND o.relowner <> s.owner
        UNION ALL SELECT s.objid FROM scribe.seen_owner AS s JOIN pg_proc AS o ON o.oid = s.objid
            WHERE s.classid = 'pg_proc'::regclass AND o.proowner <> s.owner
        UNION ALL SELECT s.objid FROM scribe.seen_owner AS s JOIN pg_type AS o ON o.oid = s.objid
            WHERE s.classid = 'pg_type'::regclass AND o.typowner <> s.owner
        UNION ALL SELECT s.objid FROM scribe.seen_owner AS s JOIN pg_namespace AS o ON o.oid = s.objid
            WHERE s.classid = 'pg_namespace'::regclass AND o.nspowner <> s.owner);
    IF changed <> '{}' THEN
        SET LOCAL scribe.settings = '{}';  -- they are noted after this
        PERFORM scribe.reconcile_owners(true, changed, false);
    END IF;
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'pg_scribe leaves changes of owners before % to the next rotation: %', tag, SQLERRM;
END
$function$;
