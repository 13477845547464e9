-- tables.sql: the facts of tables, which travel in the stream, and what rotation saw last of what fires no event trigger.

-- What a translator of the stream must know of each table; its rows travel in the stream, before the rows that need them.
CREATE TABLE IF NOT EXISTS scribe.table_facts (relid oid PRIMARY KEY, facts text NOT NULL);

-- Partitions whose bound the present transaction has recorded, and the command that made or attached them.
CREATE TABLE IF NOT EXISTS scribe.attached (xact xid8, partition oid, command text, PRIMARY KEY (xact, partition, command));

-- Privileges on the database itself, as reconcile_privileges() saw them last; a GRANT of them fires no event trigger.
CREATE TABLE IF NOT EXISTS scribe.seen_privilege (grantee oid PRIMARY KEY, privileges text NOT NULL);

-- What reconcile_roles() saw last of each role, and of the database: name, attributes, comment, settings, memberships; owner.
CREATE TABLE IF NOT EXISTS scribe.seen_role (role oid, fact text, value text NOT NULL, PRIMARY KEY (role, fact));
CREATE TABLE IF NOT EXISTS scribe.seen_tablespace (space oid PRIMARY KEY, name text NOT NULL);
