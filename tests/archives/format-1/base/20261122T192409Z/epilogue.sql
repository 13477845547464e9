
SET client_encoding = 'UTF8';

-- pg_scribe: this copy is not captured; it stands at the base's consistent point.
SET client_min_messages = warning;
DROP SCHEMA IF EXISTS scribe CASCADE;
CREATE SCHEMA scribe;
CREATE TABLE scribe.position (lsn pg_catalog.pg_lsn NOT NULL, inside boolean NOT NULL);
ALTER TABLE scribe.position REPLICA IDENTITY FULL;
COMMENT ON TABLE scribe.position IS 'where in the source''s WAL this copy stands; DROP SCHEMA scribe CASCADE when it is a database of its own';
INSERT INTO scribe.position VALUES ('0/19BE128', false);
RESET client_min_messages;
