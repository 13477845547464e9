-- roles.sql: roles and the database: what became of them, as statements.

-- The value of a setting of a role or database, as it stands after TO; a list's elements are each a literal.
CREATE OR REPLACE FUNCTION scribe.setting_text(name text, value text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $function$
    SELECT CASE WHEN name !~ '^(search_path|temp_tablespaces|(local|session|shared)_preload_libraries)$' THEN quote_literal(value)
        ELSE coalesce((SELECT string_agg(quote_literal(coalesce(replace(m[1], '""', '"'), m[2])), ', ')
            FROM regexp_matches(value, '"((?:[^"]|"")*)"|([^,"\s]+)', 'g') AS m), quote_literal('')) END
$function$;

-- What is known of a role; if that is too long, what was known of it.
CREATE OR REPLACE FUNCTION scribe.short_fact(role oid, fact text, value text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $function$
    SELECT CASE WHEN octet_length(short_fact.value) <= 16384 THEN short_fact.value
        ELSE (SELECT s.value FROM scribe.seen_role AS s WHERE s.role = short_fact.role AND s.fact = short_fact.fact) END
$function$;

-- Roles as they are, as texts that stand in a statement, and settings as the server has them; a membership is the member's. No passwords:
-- the globals have them. Role 0: the database itself. This is read at every schema change, whoever makes it: what a role may make as
-- long as it likes, its settings, and comments are as they were seen last if they would cost everybody time.
CREATE OR REPLACE FUNCTION scribe.role_facts() RETURNS TABLE (role oid, fact text, value text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET DateStyle = 'ISO, MDY' SET TimeZone = 'UTC' AS $function$
DECLARE
    most constant int := 16384;  -- bytes, as they are stored
BEGIN
    RETURN QUERY SELECT r.oid, f.fact, f.value
    FROM pg_roles AS r, LATERAL (
        SELECT v.* FROM (VALUES ('name', r.rolname::text),
            ('comment', (SELECT scribe.short_fact(r.oid, 'comment', quote_literal(c.description)) FROM pg_shdescription AS c
                WHERE c.objoid = r.oid AND c.classoid = 'pg_authid'::regclass AND pg_column_size(c.description) <= most)),
            ('attributes', concat_ws(' ', (SELECT string_agg(CASE WHEN a.has THEN a.word ELSE 'NO' || a.word END, ' ' ORDER BY a.word)
                FROM (VALUES ('SUPERUSER', r.rolsuper), ('INHERIT', r.rolinherit), ('CREATEROLE', r.rolcreaterole),
                    ('CREATEDB', r.rolcreatedb), ('LOGIN', r.rolcanlogin), ('REPLICATION', r.rolreplication),
                    ('BYPASSRLS', r.rolbypassrls)) AS a (word, has)),
                'CONNECTION LIMIT ' || r.rolconnlimit,
                'VALID UNTIL ' || quote_literal(coalesce(r.rolvaliduntil::text, 'infinity'))))) AS v (fact, value)
        UNION ALL SELECT e.fact, scribe.short_fact(r.oid, e.fact, substr(c.entry, strpos(c.entry, '=') + 1))
            FROM pg_db_role_setting AS d, unnest(d.setconfig) AS c (entry), concat('setting ', quote_ident(split_part(c.entry, '=', 1))) AS e (fact)
            WHERE pg_column_size(d.setconfig) <= most AND d.setrole = r.oid AND d.setdatabase = 0
        UNION ALL SELECT e.fact, scribe.short_fact(r.oid, e.fact, substr(c.entry, strpos(c.entry, '=') + 1))
            FROM pg_db_role_setting AS d, unnest(d.setconfig) AS c (entry), concat('here ', quote_ident(split_part(c.entry, '=', 1))) AS e (fact)
            WHERE pg_column_size(d.setconfig) <= most AND d.setrole = r.oid
                AND d.setdatabase = (SELECT b.oid FROM pg_database AS b WHERE b.datname = current_database())
        UNION ALL SELECT 'member of ' || m.roleid, CASE
                WHEN bool_or(to_jsonb(m) ? 'set_option') THEN upper(format(' WITH ADMIN %s, INHERIT %s, SET %s', bool_or(m.admin_option)::text,
                    bool_or((to_jsonb(m) ->> 'inherit_option')::bool)::text, bool_or((to_jsonb(m) ->> 'set_option')::bool)::text))  -- since 16
                WHEN bool_or(m.admin_option) THEN ' WITH ADMIN OPTION' ELSE '' END
            FROM pg_auth_members AS m WHERE m.member = r.oid GROUP BY m.roleid) AS f (fact, value)
    WHERE r.oid >= 16384 AND f.value IS NOT NULL
    UNION ALL SELECT 0::oid, f.fact, f.value
    FROM pg_database AS d, LATERAL (
        SELECT v.* FROM (VALUES ('owner', pg_get_userbyid(d.datdba)::text), ('limit', d.datconnlimit::text),
            ('comment', (SELECT scribe.short_fact(0, 'comment', quote_literal(c.description))
                FROM pg_shdescription AS c WHERE c.objoid = d.oid AND c.classoid = 'pg_database'::regclass AND pg_column_size(c.description) <= most)))
            AS v (fact, value)
        UNION ALL SELECT e.fact, scribe.short_fact(0, e.fact, substr(c.entry, strpos(c.entry, '=') + 1))
            FROM pg_db_role_setting AS s, unnest(s.setconfig) AS c (entry), concat('setting ', quote_ident(split_part(c.entry, '=', 1))) AS e (fact)
            WHERE pg_column_size(s.setconfig) <= most AND s.setrole = 0 AND s.setdatabase = d.oid) AS f (fact, value)
    WHERE d.datname = current_database() AND f.value IS NOT NULL
    UNION ALL SELECT s.role, s.fact, s.value FROM scribe.seen_role AS s JOIN pg_db_role_setting AS d ON d.setrole = s.role
        JOIN pg_database AS b ON b.datname = current_database()
    WHERE s.fact ~ '^(setting|here) ' AND pg_column_size(d.setconfig) > most
        AND d.setdatabase = CASE WHEN s.role = 0 OR starts_with(s.fact, 'here ') THEN b.oid ELSE 0 END
    UNION ALL SELECT s.role, s.fact, s.value FROM scribe.seen_role AS s JOIN pg_database AS b ON b.datname = current_database()
        JOIN pg_shdescription AS c ON c.classoid = CASE s.role WHEN 0 THEN 'pg_database' ELSE 'pg_authid' END::regclass
            AND c.objoid = CASE s.role WHEN 0 THEN b.oid ELSE s.role END
    WHERE s.fact = 'comment' AND pg_column_size(c.description) > most;
END
$function$;

-- A block that does something about a role: only the restore's own are changed (docs/format.md, section 3).
CREATE OR REPLACE FUNCTION scribe.role_block(declarations text, body text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $function$
    SELECT concat('DO LANGUAGE plpgsql ', q.quote, E'\n', declarations, $text$BEGIN
  IF pg_catalog.to_regclass('scribe.made') IS NULL THEN
    CREATE TABLE scribe.made (kind text, name text, PRIMARY KEY (kind, name));
  END IF;
$text$, body, E'END\n', q.quote)
    FROM (SELECT '$scribe' || coalesce(max(n[1]::int) + 1, 0) || '$' AS quote
        FROM regexp_matches(declarations || body, '\$scribe(\d{1,8})\$', 'g') AS n) AS q
$function$;

CREATE OR REPLACE FUNCTION scribe.if_role_made(role text, statement text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $function$
    SELECT scribe.role_block('', format($text$  IF EXISTS (SELECT FROM scribe.made WHERE kind = 'role' AND name = %L) THEN
    BEGIN
      %s;
    EXCEPTION WHEN OTHERS THEN RAISE WARNING '%%', SQLERRM;
    END;
  END IF;
$text$, role, statement))
$function$;

-- command: what stands before the database's name, which is another one elsewhere, as format() takes it; change: what stands behind.
CREATE OR REPLACE FUNCTION scribe.database_changed(command text, change text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $function$
    SELECT scribe.role_block('', format($text$  BEGIN
    EXECUTE pg_catalog.format(%L, pg_catalog.current_database(), %L);
  EXCEPTION WHEN OTHERS THEN RAISE WARNING '%%', SQLERRM;
  END;
$text$, command || ' %I %s', change))
$function$;

CREATE OR REPLACE FUNCTION scribe.role_created(role text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $function$
    SELECT scribe.role_block('', format($text$  IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = %1$L) THEN
    CREATE ROLE %1$I;
    INSERT INTO scribe.made VALUES ('role', %1$L) ON CONFLICT DO NOTHING;
  END IF;
$text$, role))
$function$;

-- Ends within the condition that the restore made it.
CREATE OR REPLACE FUNCTION scribe.role_dropped(role text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $function$
    SELECT format($text$    BEGIN
      DROP ROLE %1$I;
    EXCEPTION WHEN OTHERS THEN RAISE WARNING '%%', SQLERRM;
    END;
    DELETE FROM scribe.made WHERE kind = 'role' AND name = %1$L;
  END IF;
$text$, role)
$function$;

-- A rename, as the decoder writes it (decoder/plugin/scribe_roles.c says why): if the target has a role of the new name, or the old
-- one is not the restore's, what the old one is and has in this database becomes the new one's.
CREATE OR REPLACE FUNCTION scribe.role_renamed(was text, is_now text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $function$
    SELECT scribe.role_block(format($text$DECLARE
  old constant text := %L;
  new constant text := %L;
$text$, was, is_now) || $text$  was pg_catalog.oid := (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = old);
  now pg_catalog.oid := (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = new);
  here constant pg_catalog.oid := (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database());
  ours boolean;
  place record;
$text$, format($text$  ours := EXISTS (SELECT FROM scribe.made WHERE kind = 'role' AND name = old);
  IF ours AND now IS NULL THEN
    ALTER ROLE %1$I RENAME TO %2$I;
    UPDATE scribe.made SET name = new WHERE kind = 'role' AND name = old;
    RETURN;
  END IF;
  IF now IS NULL THEN
    CREATE ROLE %2$I;
    INSERT INTO scribe.made VALUES ('role', new) ON CONFLICT DO NOTHING;
    now := (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = new);
  END IF;
  IF was IS NULL THEN
    RETURN;
  END IF;
$text$, was, is_now) || $text$  FOR place IN SELECT c.oid::pg_catalog.regclass AS relation, a.attname AS name, a.atttypid::pg_catalog.regtype::text AS type
    FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid
    WHERE c.relnamespace = 'pg_catalog'::pg_catalog.regnamespace AND c.relkind = 'r' AND NOT c.relisshared
      AND (a.atttypid = 'pg_catalog.aclitem[]'::pg_catalog.regtype OR a.attname = 'polroles'
        OR a.atttypid = 'pg_catalog.oid'::pg_catalog.regtype AND (a.attname ~ 'owner$' OR a.attname IN ('umuser', 'defaclrole')))
  LOOP
    EXECUTE pg_catalog.format(CASE place.type WHEN 'oid' THEN 'UPDATE %1$s SET %2$I = $2 WHERE %2$I = $1'
      WHEN 'oid[]' THEN 'UPDATE %1$s SET %2$I = pg_catalog.array_replace(%2$I, $1, $2) WHERE $1 = ANY (%2$I)'
      ELSE 'UPDATE %1$s SET %2$I = ARRAY(SELECT CASE WHEN $1 IN (e.grantor, e.grantee) THEN'
        ' (CASE e.grantee WHEN 0 THEN '''' WHEN $1 THEN $4 ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(e.grantee)) END'
        ' || pg_catalog.substring(i.item::text, ''^(?:"(?:[^"]|"")*"|[^="]*)(=[a-zA-Z*]*/)'')'
        ' || CASE e.grantor WHEN $1 THEN $4 ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(e.grantor)) END)'
        '::pg_catalog.aclitem ELSE i.item END FROM pg_catalog.unnest(%2$I) WITH ORDINALITY AS i (item, place),'
        ' LATERAL (SELECT DISTINCT x.grantor, x.grantee FROM pg_catalog.aclexplode(ARRAY[i.item]) AS x) AS e ORDER BY i.place)'
        ' WHERE EXISTS (SELECT FROM pg_catalog.aclexplode(%2$I) AS x WHERE $1 IN (x.grantor, x.grantee))' END,
      place.relation, place.name) USING was, now, old, pg_catalog.quote_ident(new);
  END LOOP;
  UPDATE pg_catalog.pg_shdepend SET refobjid = now WHERE refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass
    AND refobjid = was AND dbid = here;
  DELETE FROM pg_catalog.pg_shdepend AS s USING pg_catalog.pg_shdepend AS t WHERE s.dbid = here AND s.refobjid = now
    AND t.dbid = here AND (t.classid, t.objid, t.objsubid, t.refclassid, t.refobjid, t.deptype)
      = (s.classid, s.objid, s.objsubid, s.refclassid, s.refobjid, s.deptype) AND t.ctid < s.ctid;
  IF EXISTS (SELECT FROM pg_catalog.pg_database WHERE oid = here AND datdba = was) THEN
    EXECUTE pg_catalog.format('ALTER DATABASE %I OWNER TO %I', pg_catalog.current_database(), new);
  END IF;
  IF ours THEN
$text$ || scribe.role_dropped(was))
$function$;

-- What became of roles since they were seen last, as statements in their order: away with what is no more, names, then what is new. A
-- name that another role gives up at the same time is not free yet: hence the detour.
CREATE OR REPLACE FUNCTION scribe.changed_roles() RETURNS TABLE (tag text, statement text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $function$
BEGIN
    RETURN QUERY WITH changed AS MATERIALIZED (
        SELECT role, fact, s.value AS was, n.value AS is_now
        FROM scribe.seen_role AS s FULL JOIN scribe.role_facts() AS n USING (role, fact) WHERE s.value IS DISTINCT FROM n.value
    ), names AS MATERIALIZED (
        SELECT c.role, c.was, c.is_now, 'scribe_renaming_' || c.role AS passing,
            EXISTS (SELECT FROM changed AS o WHERE o.fact = 'name' AND o.was = c.is_now AND o.is_now IS NOT NULL) AS detour
        FROM changed AS c WHERE c.fact = 'name'
    ), made AS (
        SELECT c.*, r.rolname::text AS name, g.rolname::text AS granted FROM changed AS c JOIN pg_roles AS r ON r.oid = c.role
            LEFT JOIN pg_roles AS g ON g.oid = substring(c.fact FROM '^member of (\d+)$')::oid
    ), steps (step, role, tag, statement) AS (
        SELECT 1, n.role, 'DROP ROLE', scribe.role_block('', format(
                E'  IF EXISTS (SELECT FROM scribe.made WHERE kind = ''role'' AND name = %L) THEN\n', n.was) || scribe.role_dropped(n.was))
            FROM names AS n WHERE n.is_now IS NULL
        UNION ALL SELECT 2, n.role, 'ALTER ROLE', scribe.role_renamed(n.was, n.passing)
            FROM names AS n WHERE n.was IS NOT NULL AND n.is_now IS NOT NULL AND n.detour
        UNION ALL SELECT 3, n.role, 'ALTER ROLE', scribe.role_renamed(CASE WHEN n.detour THEN n.passing ELSE n.was END, n.is_now)
            FROM names AS n WHERE n.was IS NOT NULL AND n.is_now IS NOT NULL
        UNION ALL SELECT 4, n.role, 'CREATE ROLE', scribe.role_created(n.is_now) FROM names AS n WHERE n.was IS NULL
        UNION ALL SELECT 5, m.role, 'REVOKE ROLE', scribe.if_role_made(m.name, format('REVOKE %I FROM %I', m.granted, m.name))
            FROM made AS m WHERE m.granted IS NOT NULL AND m.was IS NOT NULL
        UNION ALL SELECT 6, m.role, 'GRANT ROLE', scribe.if_role_made(m.name, CASE
                WHEN strpos(m.is_now, ', SET ') > 0 THEN  -- an older server knows no options: there a member may always act as the group
                    format('BEGIN EXECUTE %L; EXCEPTION WHEN syntax_error THEN %s; END', format('GRANT %I TO %I%s', m.granted, m.name, m.is_now),
                        CASE WHEN strpos(m.is_now, 'ADMIN TRUE') > 0 THEN format('GRANT %I TO %I WITH ADMIN OPTION', m.granted, m.name)
                            WHEN strpos(m.is_now, 'SET FALSE') > 0 THEN
                                format('RAISE WARNING ''left out, since this server would give more than the source: %%'', %L',
                                    format('membership of %s in %s%s', m.name, m.granted, m.is_now))
                            ELSE format('GRANT %I TO %I', m.granted, m.name) END)
                ELSE format('GRANT %I TO %I%s', m.granted, m.name, m.is_now) END)
            FROM made AS m WHERE m.granted IS NOT NULL AND m.is_now IS NOT NULL
        UNION ALL SELECT 7, m.role, 'ALTER ROLE', scribe.if_role_made(m.name, CASE
                WHEN m.fact = 'attributes' THEN format('ALTER ROLE %I WITH %s', m.name, m.is_now)
                WHEN m.fact = 'comment' THEN format('COMMENT ON ROLE %I IS %s', m.name, coalesce(m.is_now, 'NULL'))
                WHEN m.is_now IS NULL THEN format('ALTER ROLE %I RESET %s', m.name, substr(m.fact, 9))
                ELSE format('ALTER ROLE %I SET %s TO %s', m.name, substr(m.fact, 9), scribe.setting_text(substr(m.fact, 9), m.is_now)) END)
            FROM made AS m WHERE m.fact IN ('attributes', 'comment') OR m.fact ~ '^setting '
        UNION ALL SELECT 8, 0, 'ALTER DATABASE', CASE
                WHEN c.fact = 'owner' THEN scribe.database_changed('ALTER DATABASE', format('OWNER TO %I', c.is_now))
                WHEN c.fact = 'limit' THEN scribe.database_changed('ALTER DATABASE', 'CONNECTION LIMIT ' || c.is_now)
                WHEN c.fact = 'comment' THEN scribe.database_changed('COMMENT ON DATABASE', 'IS ' || coalesce(c.is_now, 'NULL'))
                WHEN c.is_now IS NULL THEN scribe.database_changed('ALTER DATABASE', 'RESET ' || substr(c.fact, 9))
                ELSE scribe.database_changed('ALTER DATABASE', format('SET %s TO %s', substr(c.fact, 9), scribe.setting_text(substr(c.fact, 9), c.is_now))) END
            FROM changed AS c WHERE c.role = 0
        UNION ALL SELECT 9, m.role, 'ALTER ROLE', scribe.database_changed(format('ALTER ROLE %s IN DATABASE', replace(quote_ident(m.name), '%', '%%')),
                CASE WHEN m.is_now IS NULL THEN 'RESET ' || substr(m.fact, 6)
                    ELSE format('SET %s TO %s', substr(m.fact, 6), scribe.setting_text(substr(m.fact, 6), m.is_now)) END)
            FROM made AS m WHERE starts_with(m.fact, 'here '))
    SELECT s.tag, s.statement FROM steps AS s ORDER BY s.step, s.role, s.statement;
END
$function$;

-- Roles and the database, from wherever they were changed; none of it fires an event trigger.
CREATE OR REPLACE FUNCTION scribe.reconcile_roles(record boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    facts scribe.seen_role[];
BEGIN
    IF NOT EXISTS (SELECT FROM scribe.seen_role AS s FULL JOIN scribe.role_facts() AS n USING (role, fact)
            WHERE s.value IS DISTINCT FROM n.value)
        OR NOT scribe.try_lock('scribe.seen_role')  -- somebody else is at it
    THEN
        RETURN;
    END IF;
    IF record THEN
        PERFORM scribe.write_row('ddl', c.tag, 'role', NULL, c.statement, true, NULL, NULL, current_user, '""')
        FROM scribe.changed_roles() AS c;
    END IF;
    facts := ARRAY(SELECT ROW(f.*)::scribe.seen_role FROM scribe.role_facts() AS f);
    DELETE FROM scribe.seen_role;
    INSERT INTO scribe.seen_role SELECT * FROM unnest(facts);
END
$function$;
