-- ours.sql: refuse to go on if schema scribe, or anything in it, is neither a superuser's nor the running role's.
--
-- The other files begin with it, after ON_ERROR_STOP is set, since what is in the schema is read, written and called with the rights of whoever runs them.
-- A role that may create schemas could have made it first. It is made here if it is not there: from then on nobody else can.
-- lib/scribe/source/ownership.py asks the same, with the part between the two marks.
-- Privilege: CREATE on the database, if the schema is not there. Oldest version: PostgreSQL 13.

SET search_path = pg_catalog, pg_temp;
SET standard_conforming_strings = on;

DO $ours$
DECLARE
    wrong text;
    granted text;
BEGIN
    IF pg_catalog.to_regnamespace('scribe') IS NULL THEN
        CREATE SCHEMA scribe;
        FOR granted IN SELECT DISTINCT pg_catalog.quote_ident(r.rolname) FROM pg_catalog.pg_namespace AS n,
                pg_catalog.aclexplode(n.nspacl) AS a JOIN pg_catalog.pg_roles AS r ON r.oid = a.grantee
                WHERE n.nspname = 'scribe' AND a.grantee <> n.nspowner LOOP
            EXECUTE 'REVOKE ALL ON SCHEMA scribe FROM ' || granted;  -- of default privileges
        END LOOP;
        REVOKE ALL ON SCHEMA scribe FROM PUBLIC;
    END IF;
    -- $faults$
    WITH trusted AS (SELECT oid FROM pg_catalog.pg_roles WHERE rolsuper OR rolname = CURRENT_USER),
      home AS (SELECT oid, nspowner, nspacl FROM pg_catalog.pg_namespace WHERE nspname = 'scribe'),
      owned AS (
        SELECT 1 AS place, 'schema scribe' AS what, nspowner AS owner FROM home
        UNION ALL SELECT 2, pg_catalog.format('relation scribe.%I', c.relname), c.relowner
          FROM home JOIN pg_catalog.pg_class AS c ON c.relnamespace = home.oid
        UNION ALL SELECT 3, pg_catalog.format('function scribe.%I', p.proname), p.proowner
          FROM home JOIN pg_catalog.pg_proc AS p ON p.pronamespace = home.oid),
      faults AS (
        SELECT place, pg_catalog.format('%s belongs to role %I, which is no superuser', what,
          pg_catalog.pg_get_userbyid(owner)) AS fault FROM owned WHERE owner NOT IN (SELECT oid FROM trusted)
        UNION ALL SELECT 4, pg_catalog.format('%s may create objects in schema scribe',
          CASE a.grantee WHEN 0 THEN 'everybody'
            ELSE pg_catalog.format('role %I', pg_catalog.pg_get_userbyid(a.grantee)) END)
          FROM home, pg_catalog.aclexplode(home.nspacl) AS a
          WHERE a.privilege_type = 'CREATE' AND a.grantee NOT IN (SELECT oid FROM trusted))
    -- $faults$
    SELECT fault INTO wrong FROM faults ORDER BY place, fault LIMIT 1;
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION '%', wrong
            USING ERRCODE = 'SC003',
                HINT = 'Look at what is in it, then give all of it to a superuser or run "DROP SCHEMA scribe CASCADE".';
    END IF;
END
$ours$;
