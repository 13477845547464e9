-- pgoutput.sql: capture where pgoutput is the decoder and no library is on the server.
--
-- What sql/capture.sql does, and besides: the facts of each table go into the stream when DDL changes them, statements' texts come
-- from what SQL can tell, and whatever is more than one statement is cut at rotation, by a parser. What differs is in
-- capture/without_library/ and capture/pgoutput/; a function is made by one of the files below only. Safe to run again.
-- Privilege: superuser. Oldest version: PostgreSQL 14.

\set ON_ERROR_STOP on
\ir ours.sql

COMMENT ON SCHEMA scribe IS 'pg_scribe: capture of schema changes; see scribe.ddl_history';

\ir capture/tables.sql
\ir capture/without_library/tables.sql
\ir capture/activity.sql
\ir capture/locks.sql
\ir capture/caller.sql
\ir capture/rows.sql
\ir capture/failures.sql
\ir capture/families.sql
\ir capture/statement_text.sql
\ir capture/without_library/statement.sql
\ir capture/definitions.sql
\ir capture/left_out.sql
\ir capture/drops.sql
\ir capture/constraints.sql
\ir capture/rewrites.sql
\ir capture/without_library/rewrites.sql
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
\ir capture/without_library/table_facts.sql
\ir capture/pgoutput/facts.sql
\ir capture/without_library/facts.sql
\ir capture/without_library/roles.sql
\ir capture/reconciling.sql
\ir capture/firm_names.sql
\ir capture/without_library/reconciling.sql
\ir capture/privileges.sql
\ir capture/install.sql
\ir capture/without_library/install.sql
\ir capture/older.sql
