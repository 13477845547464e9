-- tables.sql: what capture remembers: the history that is decoded, the configuration, and what it saw last.

-- id is no sequence: taking a number from one would change what lastval() says in the user's session. The end of the WAL
-- moves with every row of a session, so that (id, pid) is unique.
CREATE TABLE IF NOT EXISTS scribe.ddl_history (
    id bigint NOT NULL DEFAULT (pg_catalog.pg_current_wal_insert_lsn() OPERATOR(pg_catalog.-) '0/0'::pg_catalog.pg_lsn),
    pid int NOT NULL DEFAULT pg_catalog.pg_backend_pid(),
    at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    kind text NOT NULL,
    tag text NOT NULL,
    object_type text,
    object_identity text,
    statement text NOT NULL,
    exact boolean NOT NULL,
    reason text,
    role text NOT NULL,
    search_path text NOT NULL,
    settings text[] NOT NULL DEFAULT '{}',
    relids oid[] NOT NULL DEFAULT '{}',
    quiet text[] NOT NULL DEFAULT '{}',
    PRIMARY KEY (id, pid)
);
-- Who asked. The defaults are set by themselves, so that rows of older versions stay without.
ALTER TABLE scribe.ddl_history ADD COLUMN IF NOT EXISTS session_role text, ADD COLUMN IF NOT EXISTS client_addr text,
    ADD COLUMN IF NOT EXISTS application_name text;
ALTER TABLE scribe.ddl_history ALTER session_role SET DEFAULT SESSION_USER,
    ALTER client_addr SET DEFAULT pg_catalog.host(pg_catalog.inet_client_addr()),
    ALTER application_name SET DEFAULT pg_catalog.current_setting('application_name');
COMMENT ON TABLE scribe.ddl_history IS 'every schema change, in order; kind, exact and relids are explained in docs/format.md';
CREATE INDEX IF NOT EXISTS ddl_history_inexact ON scribe.ddl_history (id) WHERE NOT exact;

-- One row. The identity makes a copy of this database inert: what was captured here is not captured there again.
CREATE TABLE IF NOT EXISTS scribe.config (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    system_identifier bigint NOT NULL,
    database_oid oid NOT NULL,
    replica_identity text NOT NULL DEFAULT 'full' CHECK (replica_identity IN ('full', 'refuse'))
);
INSERT INTO scribe.config (system_identifier, database_oid)
    SELECT c.system_identifier, d.oid
    FROM pg_catalog.pg_control_system() AS c, pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database()
ON CONFLICT (one) DO UPDATE
    SET system_identifier = EXCLUDED.system_identifier, database_oid = EXCLUDED.database_oid;

-- Tables whose REPLICA IDENTITY FULL is ours, to be set back when they get a key or capture goes.
CREATE TABLE IF NOT EXISTS scribe.replica_identity (relid oid PRIMARY KEY);

-- Objects, and parts of tables and domains, that are not recorded: they use something temporary and go with it, or something of
-- capture's own, which no copy has.
CREATE TABLE IF NOT EXISTS scribe.left_out (classid oid, objid oid, PRIMARY KEY (classid, objid));

-- Partitions that DETACH PARTITION ... CONCURRENTLY has begun to detach: see detaching.sql.
CREATE TABLE IF NOT EXISTS scribe.detaching (relid oid PRIMARY KEY);
INSERT INTO scribe.detaching SELECT inhrelid FROM pg_catalog.pg_inherits AS i
    WHERE (pg_catalog.to_jsonb(i)->>'inhdetachpending')::boolean ON CONFLICT DO NOTHING;

-- Tables the running command rewrites: why, whether the command stands recorded already, and whether the copy's rows go before
-- the source's come. Columns whose value for the rows that were there (attmissingval) is known, and is no new one. In tables and
-- not in settings, since a user's code that runs within the command could change those.
CREATE TABLE IF NOT EXISTS scribe.rewritten (pid int DEFAULT pg_catalog.pg_backend_pid(), relid oid, reasons int NOT NULL,
    PRIMARY KEY (pid, relid));
ALTER TABLE scribe.rewritten ADD COLUMN IF NOT EXISTS recorded boolean NOT NULL DEFAULT false,
    ADD COLUMN IF NOT EXISTS emptied boolean NOT NULL DEFAULT false, ADD COLUMN IF NOT EXISTS xact xid8;
CREATE TABLE IF NOT EXISTS scribe.filled (relid oid, attnum smallint, xact xid8 NOT NULL, PRIMARY KEY (relid, attnum));
INSERT INTO scribe.filled SELECT attrelid, attnum, pg_catalog.pg_current_xact_id() FROM pg_catalog.pg_attribute WHERE atthasmissing
    ON CONFLICT DO NOTHING;

-- The transactions in which capture itself is at work. A row and not a setting: nobody else can write one, and none outlives
-- its transaction, as others have other numbers.
CREATE TABLE IF NOT EXISTS scribe.at_work (xact xid8 NOT NULL);
DO $$  -- a publication of all tables bars DELETE otherwise
BEGIN
    IF EXISTS (SELECT FROM pg_catalog.pg_class WHERE oid = 'scribe.at_work'::pg_catalog.regclass AND relreplident <> 'f') THEN
        ALTER TABLE scribe.at_work REPLICA IDENTITY FULL;
    END IF;
END
$$;

-- What an event trigger of a command has left for a later one of the same command, by the place in the session's calls that the
-- command runs at. A table, since a user can set any setting, and since commands run within others.
CREATE TABLE IF NOT EXISTS scribe.noted (pid int DEFAULT pg_catalog.pg_backend_pid(), place bigint, what text, xact xid8 NOT NULL,
    note text NOT NULL, PRIMARY KEY (pid, place, what));

-- Transactions in which scripts of extensions run, and how many, one within the other.
CREATE TABLE IF NOT EXISTS scribe.script (xact xid8 PRIMARY KEY, depth int NOT NULL);

-- What reconcile() saw last: event triggers as the statements that make them, who owns what, which indexes are valid, and by which
-- a table is clustered, with the transaction that marked it.
CREATE TABLE IF NOT EXISTS scribe.seen_event_trigger (name text PRIMARY KEY, statements text[] NOT NULL);
CREATE TABLE IF NOT EXISTS scribe.seen_owner (classid oid, objid oid, owner oid NOT NULL, PRIMARY KEY (classid, objid));
CREATE TABLE IF NOT EXISTS scribe.seen_index (objid oid PRIMARY KEY, valid boolean NOT NULL);
CREATE TABLE IF NOT EXISTS scribe.seen_cluster (relid oid PRIMARY KEY, index oid NOT NULL);
ALTER TABLE scribe.seen_cluster ADD COLUMN IF NOT EXISTS marked xid;
