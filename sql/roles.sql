-- roles.sql: the roles that run pg_scribe on a source without superuser, each with what its programs need.
--
--   psql -d shop -f sql/roles.sql
--   psql -d shop -v stream=backup_stream -v dump=backup_dump -v large_objects=on -v slot=backup -f sql/roles.sql
--   psql -d shop -v existing=on -f sql/roles.sql        roles of these names are there, and they are yours (sql/own_role.sql)
--
--   scribe_stream   scribe-stream. REPLICATION and nothing else; that attribute alone reads every change of the server.
--   scribe_dump     scribe-init (once capture is there), -rotate, -dump, -globals, -meta; can stream, too. REPLICATION,
--                   pg_read_all_data (which includes the password hashes in pg_authid), pg_monitor, BYPASSRLS.
--   scribe_monitor  scribe-check; see sql/monitor.sql, which this file runs.
--   large_objects   on: scribe_dump may read every large object. The server's only way to allow that is
--                   lo_compat_privileges, which lets the role write them, too; so it is off unless asked for.
--
-- None of them can log in before pg_hba.conf lets it in (etc/pg_hba.conf.example) and it has a password or certificate:
-- "\password scribe_dump" in psql, which sends and logs nothing but the hash. Roles for restoring: sql/roles_restore.sql.
-- Run it in each source database after scribe-init, or after sql/capture.sql (for pgoutput sql/pgoutput.sql: the publication, of
-- the slot's name, is then made here). Safe to run again. To take it away: in each database "DROP OWNED BY scribe_stream, scribe_dump, scribe_monitor", then "DROP ROLE ...".
-- Privilege: superuser. Oldest version: PostgreSQL 14 (pg_read_all_data).

BEGIN;
\set ON_ERROR_STOP on
\ir ours.sql
\if :{?stream}
\else
    \set stream scribe_stream
\endif
\if :{?dump}
\else
    \set dump scribe_dump
\endif
\if :{?large_objects}
\else
    \set large_objects off
\endif

-- not a change of the user's: it must not be recorded and replayed
INSERT INTO scribe.at_work VALUES (pg_current_xact_id());

\set role :stream
\set rights REPLICATION
\ir own_role.sql
\set role :dump
\set rights 'REPLICATION BYPASSRLS pg_read_all_data pg_monitor'
\ir own_role.sql
ALTER ROLE :"stream" LOGIN REPLICATION;
ALTER ROLE :"dump" LOGIN REPLICATION BYPASSRLS;
-- what pg_dump and pg_recvlogical pass on of the server's messages decides what is tried again
ALTER ROLE :"stream" SET lc_messages = 'C';
ALTER ROLE :"dump" SET lc_messages = 'C';
GRANT pg_read_all_data, pg_monitor TO :"dump";
SELECT pg_catalog.format('GRANT CONNECT ON DATABASE %I TO %I', pg_catalog.current_database(), name)
FROM (VALUES (:'stream'), (:'dump')) AS wanted (name) \gexec
GRANT USAGE ON SCHEMA scribe TO :"stream", :"dump";
GRANT EXECUTE ON FUNCTION scribe.reconcile(), scribe.hold_schema_changes() TO :"dump";

-- Since the minor releases of August 2026 a server loads only the output plugins it is told of (CVE-2026-6471).
SELECT pg_catalog.format('ALTER ROLE %I SET output_plugin_libraries = %s, scribe_decoder', wanted.name, s.setting)
FROM pg_catalog.pg_settings AS s, (VALUES (:'stream'), (:'dump')) AS wanted (name)
WHERE s.name = 'output_plugin_libraries' AND s.setting !~ '\mscribe_decoder\M' \gexec

-- pgoutput: what it sends is a publication's, and one of all tables takes a superuser. One that is sound stays.
\if :{?slot}
\else
    SELECT left(regexp_replace('scribe_' || lower(pg_catalog.current_database()), '[^a-z0-9_]', '_', 'g'), 63) AS slot \gset
\endif
SELECT pg_catalog.to_regclass('scribe.table_facts') IS NOT NULL AS pgoutput,
    pg_catalog.current_setting('server_version_num')::int >= 180000 AS generated,
    EXISTS (SELECT FROM pg_catalog.pg_publication AS p WHERE p.pubname = :'slot' AND p.puballtables
        AND p.pubinsert AND p.pubupdate AND p.pubdelete AND p.pubtruncate AND NOT p.pubviaroot) AS sound \gset
\if :pgoutput
    \if :sound
    \else
        SELECT pg_catalog.format('DROP PUBLICATION %I', p.pubname) FROM pg_catalog.pg_publication AS p
        WHERE p.pubname = :'slot' AND pg_catalog.obj_description(p.oid, 'pg_publication') LIKE 'pg\_scribe:%' \gexec
        \if :generated
            CREATE PUBLICATION :"slot" FOR ALL TABLES WITH (publish_generated_columns = stored);
        \else
            CREATE PUBLICATION :"slot" FOR ALL TABLES;
        \endif
        COMMENT ON PUBLICATION :"slot" IS
            'pg_scribe: what scribe-stream receives; dropping or changing it breaks the archive''s chain';
    \endif
\endif

ALTER ROLE :"dump" SET lo_compat_privileges = :large_objects;
DELETE FROM scribe.at_work WHERE xact = pg_current_xact_id();
COMMIT;

\ir monitor.sql
