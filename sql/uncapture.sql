-- uncapture.sql: take away everything sql/capture.sql installed, and the replica identities pg_scribe set.
--
-- Safe to run again. Privilege: superuser. Oldest version: PostgreSQL 13.

\set ON_ERROR_STOP on
\ir ours.sql

DO $remove$
DECLARE
    trigger_name name;
    relation pg_catalog.regclass;
    others record;
    back text[] := '{}';
    command text;
BEGIN
    -- no event trigger of anybody's own fires for this, such as one that forbids dropping
    IF pg_catalog.to_regclass('scribe.at_work') IS NOT NULL THEN
        INSERT INTO scribe.at_work VALUES (pg_catalog.pg_current_xact_id()) ON CONFLICT DO NOTHING;
    END IF;
    PERFORM pg_catalog.set_config('session_replication_role', 'replica', true)
        FROM pg_catalog.pg_roles WHERE rolname OPERATOR(pg_catalog.=) CURRENT_USER AND rolsuper;  -- a lesser one has no event triggers
    PERFORM pg_catalog.set_config('event_triggers', 'off', true) FROM pg_catalog.pg_settings AS s, pg_catalog.pg_roles AS r
        WHERE s.name OPERATOR(pg_catalog.=) 'event_triggers' AND r.rolname OPERATOR(pg_catalog.=) CURRENT_USER AND r.rolsuper;
    FOR others IN SELECT evtname, evtenabled FROM pg_catalog.pg_event_trigger WHERE evtenabled IN ('A', 'R')
            AND EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname OPERATOR(pg_catalog.=) CURRENT_USER AND rolsuper)
            AND pg_catalog.current_setting('event_triggers', true) IS DISTINCT FROM 'off'
            AND evtfoid NOT IN (SELECT oid FROM pg_catalog.pg_proc WHERE pronamespace = pg_catalog.to_regnamespace('scribe')) LOOP
        EXECUTE pg_catalog.format('ALTER EVENT TRIGGER %I DISABLE', others.evtname);
        back := back || pg_catalog.format('ALTER EVENT TRIGGER %I ENABLE %s', others.evtname,
            CASE others.evtenabled WHEN 'A' THEN 'ALWAYS' ELSE 'REPLICA' END);
    END LOOP;
    FOR trigger_name IN SELECT e.evtname FROM pg_catalog.pg_event_trigger AS e JOIN pg_catalog.pg_proc AS f ON f.oid = e.evtfoid
            WHERE f.pronamespace = pg_catalog.to_regnamespace('scribe') LOOP
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
    IF pg_catalog.to_regclass('scribe.replica_identity') IS NOT NULL
            OR NOT EXISTS (SELECT FROM pg_catalog.pg_class WHERE relnamespace = pg_catalog.to_regnamespace('scribe')) THEN
        DROP SCHEMA IF EXISTS scribe CASCADE;
    END IF;
    FOREACH command IN ARRAY back LOOP
        EXECUTE command;
    END LOOP;
END
$remove$;
