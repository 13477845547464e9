-- drop_slot.sql: give up a replication slot to save the database's disk, after a look at what that costs.
--
--   psql -d shop -v slot=scribe_shop -f sql/drop_slot.sql                       shows it, changes nothing, exit status 3
--   psql -d shop -v slot=scribe_shop -v confirm=scribe_shop -f sql/drop_slot.sql        drops it
--
-- What it costs: every change after confirmed_flush_lsn that is in no segment and not in the spool is lost to the archive;
-- the chain ends there, and "scribe-init" begins a new one with a new base. What is archived stays restorable.
-- The source itself loses nothing, and its next checkpoints give the disk back.
-- Privilege: REPLICATION or superuser. Oldest version: PostgreSQL 13.

SET standard_conforming_strings = on;
\set ON_ERROR_STOP on
SET search_path = pg_catalog, pg_temp;
\if :{?confirm}
\else
    \set confirm ''
\endif

SELECT slot_name, active_pid, wal_status, confirmed_flush_lsn AS archive_reaches,
       pg_catalog.pg_size_pretty(pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), restart_lsn)) AS disk_given_back
FROM pg_catalog.pg_replication_slots WHERE slot_name = :'slot';

SELECT :'confirm' = :'slot' AS confirmed \gset
\if :confirmed
    SELECT pg_catalog.set_config('scribe.slot', :'slot', false) AS slot \gset
    DO $end$
    DECLARE
        reader int;
    BEGIN
        FOR attempt IN 1 .. 100 LOOP
            SELECT active_pid INTO reader FROM pg_catalog.pg_replication_slots
            WHERE slot_name = pg_catalog.current_setting('scribe.slot');
            EXIT WHEN reader IS NULL;
            PERFORM pg_catalog.pg_terminate_backend(reader);
            PERFORM pg_catalog.pg_sleep(0.1);
        END LOOP;
    END
    $end$;
    SELECT pg_catalog.pg_drop_replication_slot(slot_name) AS dropped, slot_name FROM pg_catalog.pg_replication_slots
    WHERE slot_name IN (:'slot', pg_catalog.left(:'slot', 58) || '_kept');  -- decoder_raw has a second one
    CHECKPOINT;
\else
    DO $refuse$
    BEGIN
        RAISE EXCEPTION 'not confirmed, so nothing was changed'
            USING HINT = 'To drop the slot, stop scribe-stream, then run this again with "-v confirm=NAME", the slot''s name.';
    END
    $refuse$;
\endif
