-- identities.sql: replica identities: FULL for a table that has no usable one.

-- Tables among tables (NULL: among all) whose UPDATE and DELETE would not be in the WAL with their old key.
-- Manual, ALTER TABLE, REPLICA IDENTITY: a deferrable primary key does not serve.
CREATE OR REPLACE FUNCTION scribe.without_identity(tables oid[] DEFAULT NULL) RETURNS SETOF oid
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    -- PL/pgSQL keeps the plan; planning it costs more than running it
    RETURN QUERY SELECT c.oid FROM pg_class AS c
        WHERE c.oid = ANY (coalesce(tables, ARRAY(SELECT oid FROM pg_class WHERE relkind = 'r' AND oid >= 16384)))
            AND c.relkind = 'r' AND c.relpersistence = 'p' AND c.oid >= 16384
            AND c.relnamespace::regnamespace::text !~ '^"?(pg_|scribe"?$|information_schema"?$)'
            AND CASE c.relreplident WHEN 'f' THEN false WHEN 'n' THEN true
                WHEN 'd' THEN NOT EXISTS (SELECT FROM pg_index AS i
                    WHERE i.indrelid = c.oid AND i.indisprimary AND i.indimmediate AND i.indisvalid)
                ELSE NOT EXISTS (SELECT FROM pg_index AS i
                    WHERE i.indrelid = c.oid AND i.indisreplident AND i.indimmediate AND i.indisvalid) END;
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

-- See to it that the tables a command touched have a replica identity; recorded as the DDL it is.
CREATE OR REPLACE FUNCTION scribe.mend_identity(tables oid[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    relation regclass;
BEGIN
    FOR relation IN SELECT * FROM scribe.without_identity(tables) ORDER BY 1 LOOP
        IF (SELECT replica_identity FROM scribe.config) = 'refuse' THEN
            RAISE EXCEPTION 'table % would have no usable replica identity', relation
                USING ERRCODE = 'SC001',
                    HINT = 'Give it a primary key or set REPLICA IDENTITY in the same statement; SCRIBE_REPLICA_IDENTITY=refuse is in force.';
        END IF;
        PERFORM scribe.change_identity(relation, 'FULL');
        INSERT INTO scribe.replica_identity VALUES (relation) ON CONFLICT DO NOTHING;
    END LOOP;
    IF NOT EXISTS (SELECT FROM scribe.replica_identity WHERE relid = ANY (tables)) THEN
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
    IF current_setting('transaction_isolation') NOT IN ('repeatable read', 'serializable') THEN
        RETURN;
    END IF;
    FOR unseen IN
        SELECT t.id, i.identity FROM unnest(tables) AS t (id), LATERAL pg_identify_object('pg_class'::regclass, t.id, 0) AS i
        WHERE i.type = 'table' AND NOT scribe.is_foreign(i.schema) AND NOT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = t.id) ORDER BY t.id
    LOOP
        PERFORM scribe.write_row('lost', tag, 'table', unseen.identity, '', false,
            format('the snapshot of the transaction is older than table %s', unseen.identity), ARRAY[unseen.id]);
        PERFORM scribe.change_identity(unseen.id::regclass, 'FULL');
        INSERT INTO scribe.replica_identity VALUES (unseen.id) ON CONFLICT DO NOTHING;
    END LOOP;
END
$function$;
