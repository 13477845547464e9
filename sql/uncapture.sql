-- uncapture.sql: take away everything sql/capture.sql installed, and the replica identities pg_scribe set.
--
-- Safe to run again. Privilege: superuser. Oldest version: PostgreSQL 13.

SET search_path = pg_catalog, pg_temp;
SET standard_conforming_strings = on;

DO $remove$
DECLARE
    trigger_name name;
    relation pg_catalog.regclass;
BEGIN
    FOR trigger_name IN SELECT evtname FROM pg_catalog.pg_event_trigger WHERE evtname ~ '^scribe_[1-5]_' LOOP
        EXECUTE pg_catalog.format('DROP EVENT TRIGGER %I', trigger_name);
    END LOOP;
    IF pg_catalog.to_regclass('scribe.replica_identity') IS NOT NULL THEN
        FOR relation IN
            SELECT r.relid FROM scribe.replica_identity AS r JOIN pg_catalog.pg_class AS c ON c.oid = r.relid
            WHERE c.relreplident = 'f'
        LOOP
            EXECUTE pg_catalog.format('ALTER TABLE ONLY %s REPLICA IDENTITY DEFAULT', relation);
        END LOOP;
    END IF;
    IF pg_catalog.to_regclass('scribe.replica_identity') IS NOT NULL THEN
        DROP SCHEMA scribe CASCADE;
    END IF;
END
$remove$;
