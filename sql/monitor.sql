-- monitor.sql: how are pg_scribe's slot and stream, asked from psql, by a role that is no superuser.
--
-- Makes the role scribe_monitor, which scribe-check can connect as, and in schema scribe the views
--   slots               each slot of the decoder in this database: WAL held back, wal_status, xmin ages, active
--   spill               what decoding has sent and spilled (PostgreSQL 14 and newer)
--   inexact_ddl         schema changes that were not captured exactly, the newest first
--   tables_without_key  tables whose UPDATEs and DELETEs are not in the stream
-- Run it in the source database after scribe-init; safe to run again. sql/uncapture.sql takes the views away; then
-- "DROP OWNED BY scribe_monitor; DROP ROLE scribe_monitor". The role has no password: let it in by pg_hba.conf.
-- Privilege: superuser. Oldest version: PostgreSQL 13.

BEGIN;
\set ON_ERROR_STOP on
\ir ours.sql
-- not a change of the user's: it must not be recorded and replayed
INSERT INTO scribe.at_work VALUES (pg_current_xact_id());

\set role scribe_monitor
\set rights pg_monitor
\ir own_role.sql
GRANT pg_monitor TO scribe_monitor;

CREATE OR REPLACE VIEW scribe.slots AS
SELECT s.slot_name, s.plugin, s.active, s.active_pid, s.wal_status,
       pg_catalog.pg_wal_lsn_diff(here.lsn, s.restart_lsn)::bigint AS kept_bytes,
       pg_catalog.pg_wal_lsn_diff(here.lsn, s.confirmed_flush_lsn)::bigint AS unconfirmed_bytes,
       s.safe_wal_size AS safe_bytes,
       pg_catalog.age(s.xmin) AS xmin_age, pg_catalog.age(s.catalog_xmin) AS catalog_xmin_age
FROM pg_catalog.pg_replication_slots AS s,
     (SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()
                  ELSE pg_catalog.pg_current_wal_flush_lsn() END AS lsn) AS here
WHERE s.database = pg_catalog.current_database() AND (s.plugin IN ('scribe_decoder', 'decoder_raw')
    OR s.plugin = 'pgoutput' AND EXISTS (SELECT FROM pg_catalog.pg_publication AS p WHERE p.pubname = s.slot_name
        AND pg_catalog.obj_description(p.oid, 'pg_publication') LIKE 'pg\_scribe:%')) AND NOT s.temporary;

DO $spill$
BEGIN
    IF pg_catalog.to_regclass('pg_catalog.pg_stat_replication_slots') IS NOT NULL THEN
        CREATE OR REPLACE VIEW scribe.spill AS
        SELECT t.slot_name, t.total_txns, t.total_bytes, t.spill_txns, t.spill_count, t.spill_bytes, t.stats_reset
        FROM pg_catalog.pg_stat_replication_slots AS t JOIN scribe.slots AS s ON s.slot_name = t.slot_name;
        GRANT SELECT ON scribe.spill TO scribe_monitor;
    END IF;
END
$spill$;

CREATE OR REPLACE VIEW scribe.inexact_ddl AS
SELECT id, at, kind, tag, object_type, object_identity, reason FROM scribe.ddl_history
WHERE NOT exact AND coalesce(reason, '') !~ '^cut( [0-9]+)?: ' ORDER BY id DESC;  -- those are cut, exactly, at rotation

CREATE OR REPLACE VIEW scribe.tables_without_key AS
SELECT n.nspname AS schema, c.relname AS table
FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND c.oid >= 16384
    AND n.nspname NOT IN ('information_schema', 'scribe') AND n.nspname !~ '^pg_'
    AND CASE c.relreplident WHEN 'f' THEN false WHEN 'n' THEN true
        ELSE NOT EXISTS (SELECT FROM pg_catalog.pg_index AS i WHERE i.indrelid = c.oid AND i.indimmediate AND i.indisvalid
            AND CASE c.relreplident WHEN 'd' THEN i.indisprimary ELSE i.indisreplident END) END;

GRANT USAGE ON SCHEMA scribe TO scribe_monitor;
GRANT SELECT ON scribe.slots, scribe.inexact_ddl, scribe.tables_without_key TO scribe_monitor;
GRANT SELECT (id, at, kind, tag, object_type, object_identity, exact, reason) ON scribe.ddl_history TO scribe_monitor;
GRANT SELECT (system_identifier, database_oid) ON scribe.config TO scribe_monitor;

DELETE FROM scribe.at_work WHERE xact = pg_current_xact_id();
COMMIT;
