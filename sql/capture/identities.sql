-- identities.sql: replica identities: FULL for a table that has no usable one.

-- Tables among tables whose UPDATE and DELETE would not be in the WAL with their old key.
-- Manual, ALTER TABLE, REPLICA IDENTITY: a deferrable primary key does not serve.
CREATE OR REPLACE FUNCTION scribe.lacking_identity(tables oid[]) RETURNS SETOF oid
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    -- PL/pgSQL keeps the plan; planning it costs more than running it
    RETURN QUERY SELECT c.oid FROM pg_class AS c
        WHERE c.oid = ANY (tables)
            AND c.relkind = 'r' AND c.relpersistence = 'p' AND c.oid >= 16384
            AND c.relnamespace::regnamespace::text !~ '^"?(pg_|scribe"?$|information_schema"?$)'
            AND CASE c.relreplident WHEN 'f' THEN false WHEN 'n' THEN true
                WHEN 'd' THEN NOT EXISTS (SELECT FROM pg_index AS i
                    WHERE i.indrelid = c.oid AND i.indisprimary AND i.indimmediate AND i.indisvalid)
                ELSE NOT EXISTS (SELECT FROM pg_index AS i
                    WHERE i.indrelid = c.oid AND i.indisreplident AND i.indimmediate AND i.indisvalid) END;
END
$function$;

-- Whether the transaction goes on with one snapshot: what it reads of the catalog may be older than what its commands worked on.
CREATE OR REPLACE FUNCTION scribe.keeps_snapshot() RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $function$
    SELECT current_setting('transaction_isolation') IN ('repeatable read', 'serializable')
$function$;

-- lacking_identity() for such a transaction: by the server's own look at a table, and by a row of the catalog that nobody has changed since
-- the snapshot. Of all tables whose lock is held, since a command may have reached some through others.
CREATE OR REPLACE FUNCTION scribe.lacking_identity_now() RETURNS SETOF oid
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    -- in two steps, the first of which asks the server's cache: a table that was dropped may be seen still, and cannot be opened
    RETURN QUERY WITH held AS MATERIALIZED (SELECT c.oid, c.relreplident FROM pg_class AS c
        WHERE pg_table_is_visible(c.oid) IS NOT NULL AND c.oid IN (SELECT l.relation FROM pg_locks AS l
                WHERE l.locktype = 'relation' AND l.pid = pg_backend_pid() AND l.mode = 'AccessExclusiveLock')
            AND c.relkind = 'r' AND c.relpersistence = 'p' AND c.oid >= 16384
            AND c.relnamespace::regnamespace::text !~ '^"?(pg_|scribe"?$|information_schema"?$)'
            -- of what this transaction has made and nothing has told yet, nothing else may tell before it does
            AND (scribe.is_new(c.oid) IS NOT TRUE OR EXISTS (SELECT FROM scribe.seen_owner AS s WHERE s.classid = 'pg_class'::regclass AND s.objid = c.oid)
                OR EXISTS (SELECT FROM scribe.ddl_history AS d WHERE c.oid = ANY (d.relids))))
        SELECT h.oid FROM held AS h
        WHERE pg_get_replica_identity_index(h.oid) IS NULL AND NOT (h.relreplident = 'f' AND scribe.hold('pg_class', h.oid));
END
$function$;

-- Change a table's replica identity, recorded as the DDL it is.
CREATE OR REPLACE FUNCTION scribe.change_identity(relation regclass, identity text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    statement text := format('ALTER TABLE ONLY %s REPLICA IDENTITY %s', relation, identity);
BEGIN
    PERFORM scribe.run_own(statement);
    PERFORM scribe.write_row('ddl', 'ALTER TABLE', 'table', relation::text, statement, true, CASE identity WHEN 'FULL'
        THEN 'own: no key tells the rows of the table apart' ELSE 'own: a key tells the rows apart' END, ARRAY[relation::oid],
        current_user, '""');
END
$function$;

-- Remember that a table's identity is ours. Another transaction may have the same row, unseen; then it is remembered.
CREATE OR REPLACE FUNCTION scribe.remember_identity(relation oid) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    INSERT INTO scribe.replica_identity VALUES (relation) ON CONFLICT DO NOTHING;
EXCEPTION WHEN serialization_failure THEN
    NULL;
END
$function$;

-- See to it that the tables a command touched have a replica identity; recorded as the DDL it is.
CREATE OR REPLACE FUNCTION scribe.mend_identity(tables oid[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    relation regclass;
    old constant boolean := scribe.keeps_snapshot();
BEGIN
    FOR relation IN SELECT w FROM scribe.lacking_identity(tables) AS w WHERE NOT old
        UNION ALL SELECT w FROM scribe.lacking_identity_now() AS w WHERE old ORDER BY 1 LOOP
        IF (SELECT replica_identity FROM scribe.config) = 'refuse' THEN
            RAISE EXCEPTION 'table % would have no usable replica identity', relation
                USING ERRCODE = 'SC001',
                    HINT = 'Give it a primary key or set REPLICA IDENTITY in the same statement; SCRIBE_REPLICA_IDENTITY=refuse is in force.';
        END IF;
        PERFORM scribe.change_identity(relation, 'FULL');
        PERFORM scribe.remember_identity(relation);
    END LOOP;
    IF old OR NOT EXISTS (SELECT FROM scribe.replica_identity WHERE relid = ANY (tables)) THEN
        RETURN;
    END IF;
    FOR relation IN
        SELECT r.relid FROM scribe.replica_identity AS r JOIN pg_class AS c ON c.oid = r.relid
        WHERE r.relid = ANY (tables) AND c.relreplident = 'f' AND EXISTS (SELECT FROM pg_index AS i
            WHERE i.indrelid = c.oid AND i.indisprimary AND i.indimmediate AND i.indisvalid)
        ORDER BY 1
    LOOP
        PERFORM scribe.change_identity(relation, 'DEFAULT');
        DELETE FROM scribe.replica_identity WHERE relid = relation;
    END LOOP;
END
$function$;

-- Tables that a command touched and that its transaction cannot see: they were made by another one, after the snapshot of this one, and so
-- nothing here tells what they are. They are given the identity that always serves, and what may be missing is flagged.
CREATE OR REPLACE FUNCTION scribe.flag_unseen(tag text, tables oid[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    unseen record;
BEGIN
    IF NOT scribe.keeps_snapshot() THEN
        RETURN;
    END IF;
    FOR unseen IN
        SELECT t.id, i.identity FROM unnest(tables) AS t (id), LATERAL pg_identify_object('pg_class'::regclass, t.id, 0) AS i
        WHERE i.type = 'table' AND NOT scribe.is_foreign(i.schema) AND NOT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = t.id) ORDER BY t.id
    LOOP
        PERFORM scribe.write_row('lost', tag, 'table', unseen.identity, '', false,
            format('the snapshot of the transaction is older than table %s', unseen.identity), ARRAY[unseen.id]);
        PERFORM scribe.change_identity(unseen.id::regclass, 'FULL');
        PERFORM scribe.remember_identity(unseen.id);
    END LOOP;
END
$function$;
