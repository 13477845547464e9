-- locks.sql: keeping others away: from what is being recorded, or from changing the schema at all.

-- Keeps schema changes from beginning until the caller's transaction ends: for a base that could not be had otherwise.
-- Every command takes the other lock before it takes any of its own, so nobody holds what the base needs and waits here.
CREATE OR REPLACE FUNCTION scribe.hold_schema_changes() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    LOCK TABLE scribe.config IN EXCLUSIVE MODE;
END
$function$;

-- Whether an object's row in its catalog could be locked against any change until this transaction ends. What is recorded of
-- it is then true at its place in the WAL: whoever changed it has committed before, and whoever will does so after.
CREATE OR REPLACE FUNCTION scribe.hold(catalog regclass, object oid) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    held boolean;
BEGIN
    EXECUTE format('SELECT true FROM %s WHERE %I = $1 FOR SHARE NOWAIT', catalog,
        CASE WHEN catalog = 'pg_index'::regclass THEN 'indexrelid' ELSE 'oid' END) INTO held USING object;
    RETURN coalesce(held, false);
EXCEPTION WHEN lock_not_available OR serialization_failure THEN
    RETURN false;
END
$function$;

-- The same of an index; false also while somebody builds, rebuilds or drops an index of its table, which takes several
-- transactions if it is done CONCURRENTLY: the lock on the table stays between them.
CREATE OR REPLACE FUNCTION scribe.hold_index(index oid) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    RETURN scribe.hold('pg_index', index) AND scribe.hold('pg_class', index)
        AND NOT EXISTS (SELECT FROM pg_locks AS l JOIN pg_index AS i ON i.indrelid = l.relation
            WHERE i.indexrelid = index AND l.locktype = 'relation' AND l.pid <> pg_backend_pid() AND l.database =
                (SELECT oid FROM pg_database WHERE datname = current_database())
                AND l.mode NOT IN ('AccessShareLock', 'RowShareLock', 'RowExclusiveLock'));
END
$function$;

-- Let a table, its columns, its schema and an index of it keep their names until the transaction ends; waits for whoever changes them.
CREATE OR REPLACE FUNCTION scribe.hold_names(relation oid, index oid) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    PERFORM FROM pg_class WHERE oid IN (relation, index) ORDER BY oid FOR SHARE;
    PERFORM FROM pg_attribute WHERE attrelid = relation AND attnum > 0 ORDER BY attnum FOR SHARE;
    PERFORM FROM pg_namespace WHERE oid = (SELECT relnamespace FROM pg_class WHERE oid = relation) FOR SHARE;
EXCEPTION WHEN serialization_failure OR deadlock_detected THEN
    NULL;  -- they changed after the transaction's snapshot, which what is asked next sees; or whoever changes them waits for us in turn: to
           -- drop an index in whose row we have written, which fails once we have committed
END
$function$;

-- Keep others away from one of our tables until the transaction ends; false if somebody is at it. No advisory lock, as anybody may take
-- one of any number; a table of ours is for its owner to lock.
CREATE OR REPLACE FUNCTION scribe.try_lock(relation regclass) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    EXECUTE format('LOCK TABLE ONLY %s IN EXCLUSIVE MODE NOWAIT', relation);
    RETURN true;
EXCEPTION WHEN lock_not_available THEN
    RETURN false;
END
$function$;
