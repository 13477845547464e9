-- roles_restore.sql: a role that restores archives on a target server without superuser.
--
--   psql -d postgres -f sql/roles_restore.sql
--   psql -d postgres -v restore=backup_restore -f sql/roles_restore.sql
--   psql -d postgres -v existing=on -f sql/roles_restore.sql        a role of the name is there, and it is yours (sql/own_role.sql)
--
--   scribe_restore  scribe-restore --no-owner --no-globals. CREATEDB, BYPASSRLS, and the right to set
--                   session_replication_role, which keeps triggers and foreign keys from acting a second time, and
--                   lc_messages, since the server's messages are read.
--
-- What such a role cannot restore, and what becomes of it, is in docs/security.md. Roles that the archive's GRANTs name must
-- be there: a superuser runs the archive's globals.sql first.
-- Privilege: superuser. Oldest version: PostgreSQL 15 (GRANT SET ON PARAMETER).

SET standard_conforming_strings = on;
\set ON_ERROR_STOP on
SET search_path = pg_catalog, pg_temp;
SELECT 'DO $$BEGIN RAISE EXCEPTION USING MESSAGE = ''roles_restore.sql needs PostgreSQL 15 or newer'', HINT ='
    ' ''Before 15 only a superuser may set session_replication_role: restore as one.''; END$$'
WHERE pg_catalog.current_setting('server_version_num')::integer < 150000 \gexec
\if :{?restore}
\else
    \set restore scribe_restore
\endif

\set role :restore
\set rights 'CREATEDB BYPASSRLS SET'
\set may_set 'pg_catalog.has_parameter_privilege(r.oid, ''session_replication_role'', ''SET'')'
\ir own_role.sql
ALTER ROLE :"restore" LOGIN CREATEDB BYPASSRLS;
GRANT SET ON PARAMETER session_replication_role, lc_messages TO :"restore";
