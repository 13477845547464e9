-- capture.sql: record every schema change of this database in its place in the WAL.
--
-- Installs the schema scribe: the audit table ddl_history, whose INSERTs the decoder turns into the DDL they record,
-- and the event triggers that write it. Safe to run again. sql/uncapture.sql takes it away.
-- Privilege: superuser (event triggers, LOAD). Oldest version: PostgreSQL 13.
--
-- The parts are in capture/, in the order in which they are loaded: tables first, event triggers last. This file lists them for
-- scribe_decoder, sql/pgoutput.sql and sql/decoder_raw.sql for those decoders: what differs is a file of its own for each, and of one
-- list each function is in one file only. The parts are run by these files alone, after ours.sql, which pins the search path.
--
-- A function that is called from outside and holds a backslash reads it with standard_conforming_strings on, whatever the
-- session's is. Two rules hold throughout. What capture does never makes a user's statement fail: its own errors become a WARNING
-- and a flagged row. And no user can write a row: whatever inserts into ddl_history is an event trigger function,
-- which SQL cannot call, or a function only the owner may execute.

\set ON_ERROR_STOP on
\ir ours.sql

COMMENT ON SCHEMA scribe IS 'pg_scribe: capture of schema changes; see scribe.ddl_history';

\ir capture/tables.sql
\ir capture/activity.sql
\ir capture/locks.sql
\ir capture/caller.sql
\ir capture/rows.sql
\ir capture/failures.sql
\ir capture/families.sql
\ir capture/statement_text.sql
\ir capture/library/statement.sql
\ir capture/definitions.sql
\ir capture/left_out.sql
\ir capture/drops.sql
\ir capture/constraints.sql
\ir capture/rewrites.sql
\ir capture/library/rewrites.sql
\ir capture/fills.sql
\ir capture/identities.sql
\ir capture/subscriptions.sql
\ir capture/times.sql
\ir capture/indexes.sql
\ir capture/chosen_names.sql
\ir capture/referenced_keys.sql
\ir capture/numbered_names.sql
\ir capture/extensions.sql
\ir capture/detaching.sql
\ir capture/commands.sql
\ir capture/library/silent.sql
\ir capture/reconciling.sql
\ir capture/firm_names.sql
\ir capture/library/reconciling.sql
\ir capture/privileges.sql
\ir capture/install.sql
\ir capture/older.sql
