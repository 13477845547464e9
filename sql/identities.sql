-- identities.sql: what is installed where the role may not make event triggers: the memory of replica identities set.
--
-- Safe to run again. sql/uncapture.sql takes it away. Privilege: CREATE on the database. Oldest version: PostgreSQL 14.
\set ON_ERROR_STOP on
\ir ours.sql
COMMENT ON SCHEMA scribe IS 'pg_scribe: replica identities that scribe-init has set';
CREATE TABLE IF NOT EXISTS scribe.replica_identity (relid oid PRIMARY KEY);
CREATE TABLE IF NOT EXISTS scribe.config (one boolean PRIMARY KEY DEFAULT true CHECK (one),
    system_identifier bigint NOT NULL, database_oid oid NOT NULL);
INSERT INTO scribe.config (system_identifier, database_oid)
    SELECT c.system_identifier, d.oid
    FROM pg_catalog.pg_control_system() AS c, pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database()
ON CONFLICT (one) DO UPDATE
    SET system_identifier = EXCLUDED.system_identifier, database_oid = EXCLUDED.database_oid;
