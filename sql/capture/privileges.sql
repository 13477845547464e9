-- privileges.sql: what others may do with what is in the schema.

-- Triggers of each table of ours: a member of pg_write_all_data could else record what did not happen, or say that capture is at work. What
-- a subscription brings fires those of rows alone.
CREATE OR REPLACE FUNCTION scribe.refuse_write() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    -- the owner's and a superuser's alone, see set_privileges(); not read from the catalog, where a snapshot may be older than the table
    IF NOT has_table_privilege(current_user, tg_relid, 'TRIGGER') THEN
        RAISE EXCEPTION 'only capture itself writes into %', tg_relid::regclass USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NULL;
END
$function$;

-- What others may do with what is in the schema, last: a GRANT names nothing by which an event trigger could tell that it is ours.
-- Nothing: who could name it would keep "scribe-init --remove" waiting by reading a table, or make objects of it that no copy has.
-- Default privileges may have given more; whoever may put a trigger on a table of ours is a superuser. Kept is what sql/roles.sql and
-- sql/monitor.sql give, and SELECT that somebody was given by name.
CREATE OR REPLACE FUNCTION scribe.set_privileges() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    home constant oid := 'scribe'::regnamespace;
    command text;
BEGIN
    FOR command IN
        WITH privileges AS (
            SELECT c.relowner AS owner, a.grantee, 'TABLE' AS kind, c.oid::regclass::text AS object, a.privilege_type AS privilege,
                    a.privilege_type = 'SELECT' AND a.grantee <> 0 AND NOT EXISTS (
                        SELECT FROM pg_default_acl AS d, aclexplode(d.defaclacl) AS g
                        WHERE d.defaclrole = c.relowner AND d.defaclobjtype = 'r' AND g.grantee = a.grantee) AS kept
                FROM pg_class AS c, aclexplode(c.relacl) AS a WHERE c.relnamespace = home AND c.relkind IN ('r', 'v')
            UNION ALL SELECT p.proowner, a.grantee, 'FUNCTION', p.oid::regprocedure::text, a.privilege_type,
                    p.prosecdef AND p.prorettype <> 'event_trigger'::regtype
                    AND EXISTS (SELECT FROM pg_roles AS r WHERE r.oid = a.grantee AND r.rolreplication)
                FROM pg_proc AS p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS a WHERE p.pronamespace = home
            UNION ALL SELECT t.typowner, a.grantee, 'TYPE', format_type(t.oid, NULL), a.privilege_type, false
                FROM pg_type AS t, aclexplode(coalesce(t.typacl, acldefault('T', t.typowner))) AS a
                WHERE t.typnamespace = home AND t.typcategory <> 'A'
            UNION ALL SELECT n.nspowner, a.grantee, 'SCHEMA', 'scribe', a.privilege_type, a.privilege_type = 'USAGE' AND a.grantee <> 0
                FROM pg_namespace AS n, aclexplode(n.nspacl) AS a WHERE n.oid = home)
        SELECT format('REVOKE %s ON %s %s FROM %s', privilege, kind, string_agg(object, ', '), CASE grantee WHEN 0 THEN 'PUBLIC'
                ELSE quote_ident(pg_get_userbyid(grantee)) END)
            FROM privileges WHERE grantee <> owner AND NOT kept GROUP BY privilege, kind, grantee
        UNION ALL SELECT DISTINCT format('GRANT USAGE ON SCHEMA scribe TO %I', pg_get_userbyid(a.grantee))  -- PUBLIC had it once
            FROM pg_class AS c JOIN pg_attribute AS t ON t.attrelid = c.oid, aclexplode(t.attacl) AS a
            WHERE c.relnamespace = home AND a.grantee NOT IN (0, c.relowner)
        UNION ALL SELECT v.command FROM pg_class AS c, LATERAL (VALUES ('only_capture', 'INSERT OR UPDATE OR DELETE OR TRUNCATE', ''),
                ('only_capture_rows', 'INSERT OR UPDATE OR DELETE',
                    format(' FOR EACH ROW WHEN (NOT has_table_privilege(current_user, %L::regclass, ''TRIGGER''))', c.oid::regclass)))
                AS g (name, events, rows), LATERAL (VALUES
                    (format('CREATE TRIGGER %I BEFORE %s ON %s%s EXECUTE FUNCTION scribe.refuse_write()', g.name, g.events, c.oid::regclass, g.rows)),
                    (format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I', c.oid::regclass, g.name))) AS v (command)
            WHERE c.relnamespace = home AND c.relkind = 'r'
                AND NOT EXISTS (SELECT FROM pg_trigger AS t WHERE t.tgrelid = c.oid AND t.tgname = g.name)
    LOOP
        PERFORM scribe.run_own(command);
    END LOOP;
END
$function$;
