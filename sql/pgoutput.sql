-- pgoutput.sql: what capture needs beyond capture.sql where pgoutput is the decoder and no library is on the server.
--
-- Run after capture.sql and table_facts.sql. The facts of each table (sql/table_facts.sql) go into the stream when DDL changes them, and
-- statements' texts come from what SQL can tell; whatever is more than one statement is cut at rotation, by a parser.
-- Privilege: superuser. Oldest version: PostgreSQL 14.

\set ON_ERROR_STOP on
\ir ours.sql

-- What a translator of the stream must know of each table; its rows travel in the stream, before the rows that need them.
CREATE TABLE IF NOT EXISTS scribe.table_facts (relid oid PRIMARY KEY, facts text NOT NULL);

-- CREATE TABLE for a table made by a query: its rows are in the stream before the command has ended.
CREATE OR REPLACE FUNCTION scribe.create_text(relation oid) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $function$
    SELECT format('CREATE %sTABLE %s (%s)', CASE WHEN c.relpersistence = 'u' THEN 'UNLOGGED ' END, c.oid::regclass, (
            SELECT string_agg(concat_ws(' ', quote_ident(a.attname), format_type(a.atttypid, a.atttypmod),
                CASE WHEN a.attcollation <> t.typcollation THEN 'COLLATE ' || a.attcollation::regcollation END), ', '
                ORDER BY a.attnum)
            FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = a.atttypid
            WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped))
        || coalesce((SELECT format(' USING %I', amname) FROM pg_am WHERE oid = c.relam AND amname <> 'heap'), '')
        || coalesce((SELECT format(' WITH (%s)', string_agg(format('%s%I=%L', o.prefix, split_part(o.option, '=', 1),
                substr(o.option, strpos(o.option, '=') + 1)), ', '))
            FROM (SELECT '' AS prefix, unnest(c.reloptions) AS option
                UNION ALL SELECT 'toast.', unnest(x.reloptions) FROM pg_class AS x WHERE x.oid = c.reltoastrelid) AS o
            HAVING count(*) > 0), '')
        || coalesce((SELECT format(' TABLESPACE %I', spcname) FROM pg_tablespace WHERE oid = c.reltablespace), '')
    FROM pg_class AS c WHERE c.oid = relation
$function$;

-- Privileges on the database itself, as reconcile_privileges() saw them last; a GRANT of them fires no event trigger.
CREATE TABLE IF NOT EXISTS scribe.seen_privilege (grantee oid PRIMARY KEY, privileges text NOT NULL);

-- The same as they are: for each role (0: PUBLIC) what it may do, and with * what it may grant.
CREATE OR REPLACE FUNCTION scribe.database_privileges() RETURNS TABLE (grantee oid, privileges text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    RETURN QUERY SELECT x.grantee, string_agg(DISTINCT x.privilege_type || CASE WHEN x.is_grantable THEN '*' ELSE '' END, ', ')
    FROM pg_database AS d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) AS x
    WHERE d.datname = current_database() GROUP BY 1;
END
$function$;

-- By which index a table was clustered last, which CLUSTER itself does not tell, either.
CREATE TABLE IF NOT EXISTS scribe.seen_cluster (relid oid PRIMARY KEY, index oid NOT NULL);

CREATE OR REPLACE FUNCTION scribe.reconcile_clusters(record boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    changed record;
BEGIN
    FOR changed IN
        SELECT coalesce(i.indrelid, s.relid) AS relid, i.indexrelid, n.relname, c.relkind
        FROM (SELECT indrelid, indexrelid FROM pg_index WHERE indisclustered) AS i
            FULL JOIN scribe.seen_cluster AS s ON s.relid = i.indrelid
            LEFT JOIN pg_class AS c ON c.oid = coalesce(i.indrelid, s.relid) LEFT JOIN pg_class AS n ON n.oid = i.indexrelid
        WHERE i.indexrelid IS DISTINCT FROM s.index AND coalesce(c.relpersistence <> 't', true) ORDER BY 1
    LOOP
        IF record AND changed.relkind IN ('r', 'm') THEN
            CONTINUE WHEN NOT scribe.hold('pg_class', changed.relid)
                OR EXISTS (SELECT FROM pg_index WHERE indrelid = changed.relid AND NOT scribe.hold_index(indexrelid));
            SELECT c.oid AS relid, n.oid AS indexrelid, n.relname, c.relkind INTO changed
            FROM pg_class AS c LEFT JOIN (pg_index AS i JOIN pg_class AS n ON n.oid = i.indexrelid) ON i.indrelid = c.oid AND i.indisclustered
            WHERE c.oid = changed.relid;
        END IF;
        IF record AND changed.relkind IN ('r', 'm') THEN
            PERFORM scribe.write_row('ddl', 'CLUSTER', NULL, NULL, format('ALTER %s %s %s',
                CASE changed.relkind WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'TABLE ONLY' END, changed.relid::regclass,
                coalesce('CLUSTER ON ' || quote_ident(changed.relname), 'SET WITHOUT CLUSTER')), true, NULL, NULL, current_user, '""');
        END IF;
        DELETE FROM scribe.seen_cluster AS s WHERE s.relid = changed.relid;
        INSERT INTO scribe.seen_cluster SELECT changed.relid, changed.indexrelid WHERE changed.indexrelid IS NOT NULL;
    END LOOP;
END
$function$;

-- Privileges on the database, which has another name elsewhere.
CREATE OR REPLACE FUNCTION scribe.reconcile_privileges(record boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    changed record;
    command text;
BEGIN
    IF record AND NOT scribe.hold('pg_database', (SELECT oid FROM pg_database WHERE datname = current_database())) THEN
        RETURN;
    END IF;
    FOR changed IN
        SELECT coalesce(p.grantee, s.grantee) AS grantee, p.privileges,
            CASE coalesce(p.grantee, s.grantee) WHEN 0 THEN 'PUBLIC' ELSE replace(quote_ident(r.rolname), '%', '%%') END AS name
        FROM scribe.database_privileges() AS p FULL JOIN scribe.seen_privilege AS s USING (grantee)
            LEFT JOIN pg_roles AS r ON r.oid = coalesce(p.grantee, s.grantee)
        WHERE p.privileges IS DISTINCT FROM s.privileges ORDER BY 1
    LOOP
        EXIT WHEN NOT scribe.try_lock('scribe.seen_privilege');  -- somebody else is at it
        FOREACH command IN ARRAY ARRAY['REVOKE ALL ON DATABASE %I FROM ' || changed.name,
            'GRANT ' || (SELECT string_agg(w, ', ') FROM string_to_table(changed.privileges, ', ') AS w WHERE w !~ '[*]$')
                || ' ON DATABASE %I TO ' || changed.name,
            'GRANT ' || (SELECT string_agg(rtrim(w, '*'), ', ') FROM string_to_table(changed.privileges, ', ') AS w WHERE w ~ '[*]$')
                || ' ON DATABASE %I TO ' || changed.name || ' WITH GRANT OPTION']
        LOOP
            IF record AND command IS NOT NULL THEN
                PERFORM scribe.write_row('ddl', 'GRANT', 'database', NULL, format('DO %L', format('BEGIN EXECUTE '
                    'pg_catalog.format(%L, pg_catalog.current_database()); END', command)), true, NULL, NULL, current_user, '""');
            END IF;
        END LOOP;
        DELETE FROM scribe.seen_privilege AS s WHERE s.grantee = changed.grantee;
        INSERT INTO scribe.seen_privilege SELECT changed.grantee, changed.privileges WHERE changed.privileges IS NOT NULL;
    END LOOP;
END
$function$;

-- What reconcile_roles() saw last of each role, and of the database: name, attributes, comment, settings, memberships; owner.
CREATE TABLE IF NOT EXISTS scribe.seen_role (role oid, fact text, value text NOT NULL, PRIMARY KEY (role, fact));
CREATE TABLE IF NOT EXISTS scribe.seen_tablespace (space oid PRIMARY KEY, name text NOT NULL);

-- The value of an entry of pg_db_role_setting, as it stands after TO; a list's elements are each a literal.
CREATE OR REPLACE FUNCTION scribe.setting_text(entry text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $function$
    SELECT CASE WHEN e.name !~ '^(search_path|temp_tablespaces|(local|session|shared)_preload_libraries)$' THEN quote_literal(e.value)
        ELSE coalesce((SELECT string_agg(quote_literal(coalesce(replace(m[1], '""', '"'), m[2])), ', ')
            FROM regexp_matches(e.value, '"((?:[^"]|"")*)"|([^,"\s]+)', 'g') AS m), quote_literal('')) END
    FROM (SELECT split_part(entry, '=', 1) AS name, substr(entry, strpos(entry, '=') + 1) AS value) AS e
$function$;

-- The same as they are, as texts that stand in a statement; a membership is the member's. No passwords: the globals have them.
-- Role 0: the database itself.
CREATE OR REPLACE FUNCTION scribe.role_facts() RETURNS TABLE (role oid, fact text, value text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    RETURN QUERY SELECT r.oid, f.fact, f.value
    FROM pg_roles AS r, LATERAL (
        SELECT v.* FROM (VALUES ('name', r.rolname::text), ('comment', quote_literal(shobj_description(r.oid, 'pg_authid'))),
            ('attributes', concat_ws(' ', (SELECT string_agg(CASE WHEN a.has THEN a.word ELSE 'NO' || a.word END, ' ' ORDER BY a.word)
                FROM (VALUES ('SUPERUSER', r.rolsuper), ('INHERIT', r.rolinherit), ('CREATEROLE', r.rolcreaterole),
                    ('CREATEDB', r.rolcreatedb), ('LOGIN', r.rolcanlogin), ('REPLICATION', r.rolreplication),
                    ('BYPASSRLS', r.rolbypassrls)) AS a (word, has)),
                'CONNECTION LIMIT ' || r.rolconnlimit,
                'VALID UNTIL ' || quote_literal(coalesce(r.rolvaliduntil::text, 'infinity'))))) AS v (fact, value)
        UNION ALL SELECT 'setting ' || quote_ident(split_part(c.entry, '=', 1)), scribe.setting_text(c.entry)
            FROM pg_db_role_setting AS d, unnest(d.setconfig) AS c (entry) WHERE d.setrole = r.oid AND d.setdatabase = 0
        UNION ALL SELECT 'member of ' || m.roleid, CASE WHEN bool_or(m.admin_option) THEN ' WITH ADMIN OPTION' ELSE '' END
            FROM pg_auth_members AS m WHERE m.member = r.oid GROUP BY m.roleid) AS f (fact, value)
    WHERE r.oid >= 16384 AND f.value IS NOT NULL
    UNION ALL SELECT 0::oid, f.fact, f.value
    FROM pg_database AS d, LATERAL (
        SELECT v.* FROM (VALUES ('owner', pg_get_userbyid(d.datdba)::text), ('comment', quote_literal(shobj_description(d.oid, 'pg_database'))))
            AS v (fact, value)
        UNION ALL SELECT 'setting ' || quote_ident(split_part(c.entry, '=', 1)), scribe.setting_text(c.entry)
            FROM pg_db_role_setting AS s, unnest(s.setconfig) AS c (entry) WHERE s.setrole = 0 AND s.setdatabase = d.oid) AS f (fact, value)
    WHERE d.datname = current_database() AND f.value IS NOT NULL;
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

-- change: what follows ALTER DATABASE NAME, or IS after COMMENT ON DATABASE NAME; the database has another name elsewhere.
CREATE OR REPLACE FUNCTION scribe.database_changed(command text, change text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $function$
    SELECT scribe.role_block('', format($text$  BEGIN
    EXECUTE pg_catalog.format('%s %%I %%s', pg_catalog.current_database(), %L);
  EXCEPTION WHEN OTHERS THEN RAISE WARNING '%%', SQLERRM;
  END;
$text$, command, change))
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
        UNION ALL SELECT 6, m.role, 'GRANT ROLE', scribe.if_role_made(m.name, format('GRANT %I TO %I%s', m.granted, m.name, m.is_now))
            FROM made AS m WHERE m.granted IS NOT NULL AND m.is_now IS NOT NULL
        UNION ALL SELECT 7, m.role, 'ALTER ROLE', scribe.if_role_made(m.name, CASE
                WHEN m.fact = 'attributes' THEN format('ALTER ROLE %I WITH %s', m.name, m.is_now)
                WHEN m.fact = 'comment' THEN format('COMMENT ON ROLE %I IS %s', m.name, coalesce(m.is_now, 'NULL'))
                WHEN m.is_now IS NULL THEN format('ALTER ROLE %I RESET %s', m.name, substr(m.fact, 9))
                ELSE format('ALTER ROLE %I SET %s TO %s', m.name, substr(m.fact, 9), m.is_now) END)
            FROM made AS m WHERE m.fact IN ('attributes', 'comment') OR m.fact ~ '^setting '
        UNION ALL SELECT 8, 0, 'ALTER DATABASE', CASE
                WHEN c.fact = 'owner' THEN scribe.database_changed('ALTER DATABASE', format('OWNER TO %I', c.is_now))
                WHEN c.fact = 'comment' THEN scribe.database_changed('COMMENT ON DATABASE', 'IS ' || coalesce(c.is_now, 'NULL'))
                WHEN c.is_now IS NULL THEN scribe.database_changed('ALTER DATABASE', 'RESET ' || substr(c.fact, 9))
                ELSE scribe.database_changed('ALTER DATABASE', format('SET %s TO %s', substr(c.fact, 9), c.is_now)) END
            FROM changed AS c WHERE c.role = 0)
    SELECT s.tag, s.statement FROM steps AS s ORDER BY s.step, s.role, s.statement;
END
$function$;

-- Roles and the database, from wherever they were changed; none of it fires an event trigger.
CREATE OR REPLACE FUNCTION scribe.reconcile_roles(record boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
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
    DELETE FROM scribe.seen_role;
    INSERT INTO scribe.seen_role SELECT * FROM scribe.role_facts();
END
$function$;

-- Tablespaces that were renamed or dropped since a statement named them: no command can follow that within a transaction, so it is
-- flagged. New ones are in the globals that rotation keeps.
CREATE OR REPLACE FUNCTION scribe.reconcile_tablespaces(record boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    changed record;
BEGIN
    FOR changed IN
        SELECT coalesce(s.space, t.oid) AS space, s.name AS was, t.spcname::text AS is_now
        FROM scribe.seen_tablespace AS s FULL JOIN pg_tablespace AS t ON t.oid = s.space
        WHERE s.name IS DISTINCT FROM t.spcname::text
    LOOP
        EXIT WHEN NOT scribe.try_lock('scribe.seen_tablespace');
        IF record AND changed.was IS NOT NULL AND EXISTS (SELECT FROM scribe.ddl_history AS h
            WHERE strpos(h.statement, changed.was) > 0 OR changed.was = ANY (h.settings))
        THEN
            PERFORM scribe.write_row('lost', CASE WHEN changed.is_now IS NULL THEN 'DROP TABLESPACE' ELSE 'ALTER TABLESPACE' END,
                'tablespace', changed.was, '', false, format('tablespace %I, which statements name, %s', changed.was,
                coalesce('is called ' || quote_ident(changed.is_now) || ' now', 'is gone')), NULL, current_user, '');
        END IF;
        DELETE FROM scribe.seen_tablespace AS s WHERE s.space = changed.space;
        INSERT INTO scribe.seen_tablespace SELECT changed.space, changed.is_now WHERE changed.is_now IS NOT NULL;
    END LOOP;
END
$function$;

-- Replaces capture.sql's.
CREATE OR REPLACE FUNCTION scribe.reconcile_more(record boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    PERFORM scribe.reconcile_roles(record);
    PERFORM scribe.reconcile_tablespaces(record);
    PERFORM scribe.reconcile_privileges(record);
    PERFORM scribe.reconcile_clusters(record);
END
$function$;

-- Replaces capture.sql's: the relation as it is now. Rows that came before this make the translator look ahead for it.
CREATE OR REPLACE FUNCTION scribe.record_unknown(relation oid, object_type text, object_identity text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $function$
DECLARE
    reason constant text := 'nothing told how it was made: so it is now';
    made record;
    command text;
BEGIN
    SELECT c.*, pg_get_userbyid(relowner) AS role INTO made FROM pg_class AS c WHERE oid = relation;
    IF made.relkind = 'm' THEN
        INSERT INTO scribe.table_facts SELECT * FROM scribe.read_facts(ARRAY[relation])  -- decoder_raw's only
            ON CONFLICT (relid) DO UPDATE SET facts = EXCLUDED.facts;
        PERFORM scribe.write_row('ddl', 'CREATE MATERIALIZED VIEW', object_type, object_identity,
            scribe.matview_text(relation), false, reason, ARRAY[relation], made.role, '""');
    ELSIF made.relkind = 'r' AND NOT made.relispartition THEN
        INSERT INTO scribe.table_facts AS f
            SELECT r.relid, (r.facts::jsonb || jsonb_build_object('c', scribe.create_text(r.relid), 'x', reason))::text
            FROM scribe.read_facts(ARRAY[relation]) AS r
        ON CONFLICT (relid) DO UPDATE SET facts = EXCLUDED.facts;
        PERFORM scribe.write_row('create', 'CREATE TABLE', object_type, object_identity, '', false, reason, ARRAY[relation],
            made.role, '""');
        FOR command IN
            SELECT format('ALTER TABLE ONLY %s ALTER COLUMN %I %s', relation::regclass, a.attname, x.change)
            FROM pg_attribute AS a LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum,
                LATERAL (VALUES (CASE WHEN a.attnotnull THEN 'SET NOT NULL' END),
                    (CASE WHEN a.attgenerated = '' THEN 'SET DEFAULT ' || pg_get_expr(d.adbin, d.adrelid) END)) AS x (change)
            WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped AND x.change IS NOT NULL
            UNION ALL SELECT t FROM scribe.table_definition(relation) AS t WHERE t !~ '^CREATE (UNLOGGED )?TABLE '
        LOOP
            PERFORM scribe.write_row('ddl', 'ALTER TABLE', object_type, object_identity, command, false, reason,
                ARRAY[relation], made.role, '""');
        END LOOP;
        BEGIN
            PERFORM scribe.mend_identity(ARRAY[relation]);
        EXCEPTION WHEN lock_not_available OR SQLSTATE 'SC001' THEN
            RAISE WARNING 'pg_scribe could not give % a replica identity: %', object_identity, SQLERRM;
        END;
    ELSE
        PERFORM scribe.write_row('lost', 'CREATE', object_type, object_identity, '', false,
            format('%s %s is there, and nothing told how it was made', object_type, object_identity), NULL, current_user, '');
    END IF;
END
$function$;

-- What fires no event trigger is recorded before the next statement that does and may depend on it: roles, event triggers,
-- privileges on the database, and owners that REASSIGN OWNED changed. objects: what the statement touches.
CREATE OR REPLACE FUNCTION scribe.catch_up(tag text, objects oid[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on SET quote_all_identifiers = off
SET lock_timeout = '100ms' AS $function$
DECLARE
    notes constant text[] := '{scribe.role,scribe.path,scribe.settings,scribe.dropped}';
    values constant text[] := ARRAY(SELECT coalesce(current_setting(n, true), '') FROM unnest(notes) AS n);
    unknown record;
BEGIN
    PERFORM scribe.reconcile_roles(true);
    PERFORM scribe.reconcile_tablespaces(true);
    PERFORM scribe.reconcile_event_triggers(true);
    PERFORM scribe.reconcile_privileges(true);
    IF tag = 'DROP OWNED' THEN
        PERFORM scribe.reconcile_owners(true, NULL);
    ELSIF objects = '{}' THEN
        RETURN;
    ELSIF tag !~ '^(CREATE|IMPORT) |^SELECT INTO$' THEN
        FOR unknown IN SELECT c.oid, c.relkind, i.* FROM pg_class AS c JOIN scribe.owners(objects) AS o
                ON o.classid = 'pg_class'::regclass AND o.objid = c.oid, LATERAL pg_identify_object(o.classid, c.oid, 0) AS i
            WHERE c.relkind IN ('r', 'p', 'm', 'f') AND NOT EXISTS (SELECT FROM scribe.seen_owner AS s
                WHERE s.classid = o.classid AND s.objid = c.oid)
        LOOP
            IF unknown.relkind = 'm' OR tag = 'COMMENT' THEN  -- which change nothing of how it is made
                PERFORM scribe.record_unknown(unknown.oid, unknown.type, unknown.identity);
                PERFORM scribe.note(n, v) FROM unnest(notes, values) AS x (n, v);  -- statements of our own took notes
            ELSE
                PERFORM scribe.write_row('lost', tag, unknown.type, unknown.identity, '', false,
                    format('nothing told how %s %s was made', unknown.type, unknown.identity), NULL);
            END IF;
        END LOOP;
    END IF;
    IF current_query() ~* '\mOWNER\s+TO\M' THEN  -- which is a change of its own; others wait for the rotation
        INSERT INTO scribe.seen_owner AS s SELECT * FROM scribe.owners(objects)
            ON CONFLICT (classid, objid) DO UPDATE SET owner = EXCLUDED.owner WHERE current_query() ~ '^[^;]*;?\s*$';
    ELSIF current_query() !~* '\mRENAME\s+TO\M|\mSET\s+SCHEMA\M' THEN  -- whose new name is nowhere else yet
        PERFORM scribe.reconcile_owners(true, objects);
    END IF;
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'pg_scribe could not record what went before %: %', tag, SQLERRM;
END
$function$;

-- Whether an extension's script runs. The setting spares a look at the history; a user who sets it only asks for one.
CREATE OR REPLACE FUNCTION scribe.is_scripted() RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    RETURN CASE WHEN coalesce(current_setting('scribe.in_script', true), '') = '' THEN false ELSE scribe.in_script() END;
END
$function$;

-- Event trigger sql_drop: notes of which tables the facts may have changed, before a DROP is recorded.
CREATE OR REPLACE FUNCTION scribe.note_dropped_facts() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    PERFORM scribe.note('scribe.facts_changed', (
        SELECT CASE WHEN bool_or(object_type = 'index' AND tg_tag NOT IN ('ALTER TABLE', 'DROP TABLE')) THEN 'all'
            ELSE string_agg(DISTINCT to_regclass(format('%I.%I', address_names[1], address_names[2]))::oid::text, ' ') END
        FROM pg_event_trigger_dropped_objects()
        WHERE object_type IN ('index', 'table constraint', 'trigger', 'rule', 'table column', 'default value')));
    DELETE FROM scribe.table_facts AS f USING pg_event_trigger_dropped_objects() AS d
        WHERE d.classid = 'pg_class'::regclass AND d.objsubid = 0 AND f.relid = d.objid;
    IF tg_tag LIKE 'DROP %' AND tg_tag <> 'DROP OWNED' AND scribe.is_active()
        AND NOT scribe.is_scripted() THEN
        PERFORM scribe.catch_up(tg_tag, '{}');
    END IF;
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'pg_scribe could not note what % dropped: %', tg_tag, SQLERRM;
    PERFORM scribe.record_failure(tg_tag, SQLERRM);
END
$function$;

-- Say of which tables UPDATE and DELETE will fail, or be missing from the stream, since a publication sends no value of a column
-- that tells rows apart: before PostgreSQL 18 a generated one in the key, from then on a virtual one where there is no key.
CREATE OR REPLACE FUNCTION scribe.warn_unpublished(tables oid[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    barred constant boolean := current_setting('server_version_num')::int >= 180000;
    relation regclass;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_publication WHERE starts_with(obj_description(oid, 'pg_publication'), 'pg_scribe:')) THEN
        RETURN;  -- another decoder
    END IF;
    FOR relation IN
        SELECT c.oid FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
            LEFT JOIN pg_index AS i ON i.indrelid = c.oid AND i.indimmediate AND i.indisvalid
                AND CASE WHEN c.relreplident = 'd' OR EXISTS (SELECT FROM scribe.replica_identity AS r WHERE r.relid = c.oid)
                    THEN i.indisprimary WHEN c.relreplident = 'i' THEN i.indisreplident ELSE false END
        WHERE c.oid = ANY (tables) AND c.relkind = 'r' AND c.relpersistence = 'p' AND n.nspname !~ '^pg_'
            AND n.nspname NOT IN ('information_schema', 'scribe')
            AND EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = c.oid AND NOT a.attisdropped
                AND CASE WHEN barred THEN a.attgenerated = 'v' AND i.indexrelid IS NULL
                    ELSE a.attgenerated = 's' AND a.attnum = ANY (i.indkey) END)
        ORDER BY c.oid
    LOOP
        IF barred THEN
            RAISE WARNING 'pg_scribe: UPDATE and DELETE of table % will fail: it has a virtual generated column and no key', relation
                USING HINT = 'Give it a primary key, or make the column STORED.';
        ELSE
            RAISE WARNING 'pg_scribe: UPDATE and DELETE of table % will be missing from the archive: its key is generated', relation
                USING HINT = 'Give it a key of columns that are not generated, or REPLICA IDENTITY FULL.';
            PERFORM scribe.write_row('lost', 'ALTER TABLE', 'table', relation::text, '', false,
                format('UPDATE and DELETE of %s will be missing: its key is generated', relation), ARRAY[relation::oid], current_user, '');
        END IF;
    END LOOP;
END
$function$;

-- Event trigger ddl_command_end: brings the facts up to date, before the command itself is recorded.
CREATE OR REPLACE FUNCTION scribe.note_facts() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    noted text;
    touched oid[];
    types oid[];
BEGIN
    noted := coalesce(current_setting('scribe.facts_changed', true), '');
    PERFORM scribe.note('scribe.facts_changed', '');
    IF scribe.is_active() AND NOT scribe.is_scripted() THEN
        PERFORM scribe.catch_up(tg_tag, ARRAY(SELECT objid FROM pg_event_trigger_ddl_commands() WHERE objid IS NOT NULL));
    END IF;
    IF tg_tag IN ('CREATE EXTENSION', 'ALTER EXTENSION') THEN
        PERFORM scribe.note('scribe.in_script', substr(current_setting('scribe.in_script', true), 2));
    END IF;
    IF noted <> 'all' THEN
        touched := ARRAY(SELECT CASE e.classid
                WHEN 'pg_class'::regclass THEN coalesce((SELECT indrelid FROM pg_index WHERE indexrelid = e.objid), e.objid)
                WHEN 'pg_trigger'::regclass THEN (SELECT tgrelid FROM pg_trigger WHERE oid = e.objid)
                WHEN 'pg_rewrite'::regclass THEN (SELECT ev_class FROM pg_rewrite WHERE oid = e.objid) END
            FROM pg_event_trigger_ddl_commands() AS e) || string_to_array(nullif(noted, ''), ' ')::oid[];
        touched := array_remove(touched, NULL);
        types := ARRAY(SELECT e.objid FROM pg_event_trigger_ddl_commands() AS e WHERE e.classid = 'pg_type'::regclass);
        IF types <> '{}' THEN  -- columns of the type, of domains over it
            touched := touched || ARRAY(
                WITH RECURSIVE family (class, id) AS (
                    SELECT 'pg_type'::regclass::oid, t FROM unnest(types) AS t
                    UNION SELECT d.classid, d.objid FROM family JOIN pg_depend AS d ON d.refclassid = family.class AND d.refobjid = family.id
                    WHERE family.class = 'pg_type'::regclass
                        AND (d.classid = 'pg_type'::regclass OR (d.classid = 'pg_class'::regclass AND d.objsubid > 0)))
                SELECT id FROM family WHERE class = 'pg_class'::regclass);
        END IF;
        IF touched = '{}' THEN
            RETURN;
        END IF;
        touched := scribe.with_children(touched) || ARRAY(SELECT inhparent FROM pg_inherits WHERE inhrelid = ANY (touched));
        IF EXISTS (SELECT FROM scribe.table_facts AS f WHERE f.relid = ANY (touched) AND f.facts ~ '"h" ?: ?{') THEN  -- the whole family
            touched := ARRAY(SELECT DISTINCT t.relid FROM unnest(touched) AS x (relid), pg_partition_tree(pg_partition_root(x.relid)) AS t
                UNION SELECT unnest(touched));
        END IF;
    END IF;
    INSERT INTO scribe.table_facts AS f
        SELECT r.relid, CASE WHEN tg_tag IN ('CREATE TABLE AS', 'SELECT INTO')
            THEN (r.facts::jsonb || jsonb_build_object('c', scribe.create_text(r.relid)))::text ELSE r.facts END
        FROM scribe.read_facts(touched) AS r
    ON CONFLICT (relid) DO UPDATE SET facts = EXCLUDED.facts WHERE f.facts <> EXCLUDED.facts;
    IF tg_tag IN ('CREATE TABLE', 'ALTER TABLE') AND scribe.is_active() THEN
        PERFORM scribe.warn_unpublished(touched);
    END IF;
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'pg_scribe could not note what % changed: %', tg_tag, SQLERRM;
    PERFORM scribe.record_failure(tg_tag, SQLERRM);
END
$function$;

-- The partition that the running command attached or made, NULL for none: the newest row of pg_inherits among those of its
-- tables, if it was not there for an earlier command of this transaction.
CREATE OR REPLACE FUNCTION scribe.newest_partition() RETURNS oid
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    top_xid constant bigint := pg_current_xact_id()::text::bigint;
    touched constant oid[] := ARRAY(SELECT objid FROM pg_event_trigger_ddl_commands() WHERE classid = 'pg_class'::regclass);
    known constant text := coalesce(current_setting('scribe.partitions', true), '');
    found record;
    mark text;
BEGIN
    SELECT i.inhrelid, i.cmin INTO found FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhparent
    WHERE c.relkind = 'p' AND (i.inhparent = ANY (touched) OR i.inhrelid = ANY (touched))
        AND CASE WHEN i.xmin::text::bigint >= top_xid & 4294967295 THEN
            pg_xact_status((((top_xid >> 32) << 32) | i.xmin::text::bigint)::text::xid8) = 'in progress' ELSE false END
    ORDER BY i.cmin::text::bigint DESC LIMIT 1;
    mark := format(' %s.%s.%s ', top_xid, found.inhrelid, found.cmin);
    IF found.inhrelid IS NULL OR strpos(known, mark) > 0 THEN
        RETURN NULL;
    END IF;
    PERFORM scribe.note('scribe.partitions', known || mark);
    RETURN found.inhrelid;
END
$function$;

-- ATTACH PARTITION with the bound that an expression made here.
CREATE OR REPLACE FUNCTION scribe.attach_text(partition oid) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET DateStyle = 'ISO, MDY' SET IntervalStyle = postgres SET TimeZone = 'UTC'
AS $function$
    SELECT format('ALTER TABLE %s ATTACH PARTITION %s %s', i.inhparent::regclass, c.oid::regclass, pg_get_expr(c.relpartbound, c.oid))
    FROM pg_class AS c JOIN pg_inherits AS i ON i.inhrelid = c.oid WHERE c.oid = partition
$function$;

-- Whether a name, as it is written in a statement, is that of a temporary relation of this session.
CREATE OR REPLACE FUNCTION scribe.is_temporary_name(name text) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    words constant text[] := parse_ident(name, false);
BEGIN
    -- where the path names pg_temp, another of that name may come first
    RETURN (cardinality(words) = 1 AND current_setting('scribe.path', true) !~* 'pg_temp' OR words[1] ~ '^pg_temp') AND EXISTS (SELECT FROM pg_class
        WHERE relnamespace = pg_my_temp_schema() AND relname = words[cardinality(words)]);
EXCEPTION WHEN invalid_parameter_value THEN
    RETURN false;
END
$function$;

-- A GRANT or REVOKE without the temporary tables that it names, empty if it names no others; any other text as it is.
CREATE OR REPLACE FUNCTION scribe.without_temporary(statement text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    parts constant text[] := regexp_match(statement,
        '^(\s*(?:GRANT|REVOKE)\M.*?\mON\s+(?:TABLE\s+|SEQUENCE\s+)?)((?:"(?:[^"]|"")+"|[^"])+?)(\s+(?:TO|FROM)\M.*)$', 'is');
    names text[];
    kept text[];
BEGIN
    IF parts IS NULL THEN
        RETURN statement;
    END IF;
    names := ARRAY(SELECT m[1] FROM regexp_matches(parts[2],
        '((?:(?:"(?:[^"]|"")+"|[^\s,."]+)\s*\.\s*)?(?:"(?:[^"]|"")+"|[^\s,."]+))(?:\s*,|\s*$)', 'g') AS m);
    kept := ARRAY(SELECT n FROM unnest(names) AS n WHERE NOT scribe.is_temporary_name(n));
    RETURN CASE cardinality(kept) WHEN cardinality(names) THEN statement WHEN 0 THEN ''
        ELSE parts[1] || array_to_string(kept, ', ') || parts[3] END;
END
$function$;

-- Replaces capture.sql's: without the library. A reason that begins with "cut" says that the text may be more than the
-- one statement and is to be cut: of a string, or the given statement of a function's body; "cut as", that it ran and this is
-- what it did.
CREATE OR REPLACE FUNCTION scribe.statement_facts(tag text) RETURNS json
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    text text;
    reason text;
    named text[];
    detached oid;
    partition oid;
    bound_mutable boolean := false;
    like_temporary boolean := false;
    temporary boolean := false;
    less text;
BEGIN
    SELECT r.statement, r.reason INTO text, reason FROM scribe.running_text(tag) AS r;
    -- what the library would see in the parsed statement
    IF tag IN ('CREATE TABLE', 'ALTER TABLE')
        AND text ~* '\mFOR\s+VALUES\M.*(\m(current_date|current_timestamp|localtimestamp)\M|\m(?!(IN|FROM|TO|WITH|VALUES)\M)\w+\s*\()'
    THEN
        partition := scribe.newest_partition();
        IF partition IS NOT NULL AND tag = 'ALTER TABLE' THEN
            IF reason LIKE 'cut: %' THEN
                reason := 'cut as ' || scribe.attach_text(partition);
            ELSE
                text := scribe.attach_text(partition);
                reason := NULL;
            END IF;
        ELSE
            bound_mutable := partition IS NOT NULL;
        END IF;
    END IF;
    IF pg_my_temp_schema() <> 0 AND tag = 'CREATE TABLE' AND text ~* '\mLIKE\M' THEN
        like_temporary := EXISTS (
            SELECT FROM pg_event_trigger_ddl_commands() AS e JOIN pg_class AS c ON e.classid = 'pg_class'::regclass AND c.oid = e.objid,
                regexp_split_to_table(text, ';') AS part,
                regexp_matches(part, '\mLIKE\s+((?:(?:"(?:[^"]|"")+"|[^\s,.()"]+)\s*\.\s*)?(?:"(?:[^"]|"")+"|[^\s,.()"]+))', 'gi') AS m (name)
            WHERE c.relkind = 'r' AND strpos(lower(part), lower(c.relname)) > 0 AND scribe.is_temporary_name(m.name[1]));
    END IF;
    IF pg_my_temp_schema() <> 0 AND tag IN ('GRANT', 'REVOKE') THEN
        SELECT string_agg(scribe.without_temporary(part), ';' ORDER BY place) INTO less
        FROM regexp_split_to_table(text, ';') WITH ORDINALITY AS p (part, place);
        IF btrim(less, ' ;') = '' THEN
            temporary := true;
        ELSIF strpos(text, ';') = 0 THEN
            text := less;
        ELSIF less <> text THEN
            reason := 'a string that holds a GRANT on a temporary table';
        END IF;
    END IF;
    IF tag = 'ALTER TABLE' AND text ~* '\mDETACH\s+PARTITION\M.*\mCONCURRENTLY\s*$' THEN  -- which leaves a constraint behind
        named := parse_ident(substring(text FROM '(?i)\mDETACH\s+PARTITION\s+(.*\S)\s+CONCURRENTLY\s*$'), false);
        SELECT c.oid INTO detached FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE c.relname = named[cardinality(named)] AND CASE WHEN cardinality(named) > 1 THEN n.nspname = named[1]
            ELSE n.nspname = ANY (string_to_array(replace(current_setting('scribe.path', true), '"', ''), ', ')) END LIMIT 1;
    END IF;
    RETURN json_build_object('statement', text, 'exact', reason IS NULL, 'reason', reason,
        'switches_triggers', text ~* '\m(ENABLE|DISABLE)\M',
        'temporary', temporary, 'in_extension', scribe.is_scripted(),
        'detached', coalesce(detached, 0), 'attached', coalesce(partition, 0), 'bound_mutable', bound_mutable,
        'like_temporary', like_temporary);
END
$function$;

-- Rows that a command rewrote are not in pgoutput's stream. The copy's go before the command, where it computes nothing then;
-- the source's are written once more at its end.

-- Replaces capture.sql's.
CREATE OR REPLACE FUNCTION scribe.empty_tables(tag text, tables oid[], before boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    relation regclass;
BEGIN
    FOREACH relation IN ARRAY tables LOOP
        PERFORM scribe.record_switches(tag, relation, false);
        PERFORM scribe.write_row('ddl', tag, 'table', relation::text, format('DELETE FROM ONLY %s', relation), true,
            'own: emptied, so that nothing is computed here', ARRAY[relation::oid], current_user, '""');
        PERFORM scribe.record_switches(tag, relation, true);
    END LOOP;
END
$function$;

-- Replaces capture.sql's: those of a family in which the running command has added all columns that it has added in the one. The
-- facts still tell how many each had before; what changes a column's type does it in all.
CREATE OR REPLACE FUNCTION scribe.rewritten_with(relation oid, touched json) RETURNS oid[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    line constant oid[] := scribe.lineage(relation);
BEGIN
    RETURN (WITH family AS (
            SELECT c.oid, (f.facts::json->>'n')::int AS before
            -- what the command named is the table itself, the partitioned one it is a part of, or its type
            FROM unnest(scribe.with_children(ARRAY(SELECT oid FROM pg_class
                    WHERE oid = relation OR oid = ANY (line) AND relkind = 'p' OR reloftype = ANY (line)))) AS m
                JOIN pg_class AS c ON c.oid = m JOIN scribe.table_facts AS f ON f.relid = c.oid
            WHERE c.relkind = 'r' AND c.relpersistence <> 't'),
        fresh AS (SELECT f.oid, a.attname FROM family AS f JOIN pg_attribute AS a ON a.attrelid = f.oid AND a.attnum > f.before)
        SELECT array_agg(f.oid ORDER BY f.oid <> relation, f.oid) FROM family AS f
        WHERE f.before IS NOT NULL AND (SELECT before FROM family WHERE oid = relation) IS NOT NULL AND NOT EXISTS (
            SELECT attname FROM fresh WHERE oid = relation EXCEPT SELECT attname FROM fresh WHERE oid = f.oid));
END
$function$;

-- Replaces capture.sql's: refill() does it.
CREATE OR REPLACE FUNCTION scribe.before_rows(relation oid, tag text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
END
$function$;

-- What fires in a replica, too, at rest around what is recorded for a table's rows; the translator may not know the table yet.
CREATE OR REPLACE FUNCTION scribe.record_switches(tag text, relation regclass, back boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    command text;
BEGIN
    FOR command IN
        SELECT format('ALTER TABLE ONLY %s %s %s %I', relation, CASE WHEN NOT back THEN 'DISABLE' WHEN s.mode = 'A' THEN 'ENABLE ALWAYS'
            ELSE 'ENABLE REPLICA' END, s.what, s.name)
        FROM (SELECT 'TRIGGER', tgname, tgenabled FROM pg_trigger WHERE tgrelid = relation AND NOT tgisinternal
            UNION ALL SELECT 'RULE', rulename, ev_enabled FROM pg_rewrite WHERE ev_class = relation) AS s (what, name, mode)
        WHERE s.mode IN ('A', 'R') ORDER BY s.what, s.name
    LOOP
        PERFORM scribe.write_row('ddl', tag, NULL, NULL, command, true, CASE WHEN back THEN 'own: as they were'
            ELSE 'own: at rest, since they acted on the source' END, NULL, current_user, '""');
    END LOOP;
END
$function$;

-- Write every row of a table once more, so that its values are in the stream. It is the owner's code that runs for that, with the
-- owner's rights, and no plan is made with any others.
CREATE OR REPLACE FUNCTION scribe.refill(relation regclass, tag text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    identity "char";
    restore text;
    plain_column name;
    owner name;
    quieted text[];  -- what keeps users' code from running, and what ends that
    waking text[];
    command text;
    suspended json;
    part json;
    switches jsonb;
BEGIN
    SELECT relreplident, pg_get_userbyid(relowner) INTO identity, owner FROM pg_class WHERE oid = relation;
    SELECT attname INTO plain_column FROM pg_attribute
        WHERE attrelid = relation AND attnum > 0 AND NOT attisdropped AND attgenerated = '' AND attidentity <> 'a'
        ORDER BY attlen < 0, attnum LIMIT 1;
    IF pg_relation_size(relation) = 0 THEN
        RETURN;
    END IF;
    IF plain_column IS NULL THEN
        RAISE EXCEPTION 'table % has no column that can be updated to itself', relation;
    END IF;
    WITH commands (quieting, ending) AS (
        SELECT format('DISABLE TRIGGER %I', tgname), format('ENABLE %sTRIGGER %I',
            CASE tgenabled WHEN 'A' THEN 'ALWAYS ' WHEN 'R' THEN 'REPLICA ' END, tgname)
        FROM pg_trigger WHERE tgrelid = relation AND tgenabled <> 'D'
        UNION ALL
        SELECT format('DISABLE RULE %I', rulename), format('ENABLE %sRULE %I',
            CASE ev_enabled WHEN 'A' THEN 'ALWAYS ' WHEN 'R' THEN 'REPLICA ' END, rulename)
        FROM pg_rewrite WHERE ev_class = relation AND ev_type = '2' AND ev_enabled <> 'D'
        UNION ALL
        SELECT 'NO FORCE ROW LEVEL SECURITY', 'FORCE ROW LEVEL SECURITY' FROM pg_class WHERE oid = relation AND relforcerowsecurity
    ), grants (quieting, ending) AS (  -- the owner may have revoked privileges from itself
        SELECT format('GRANT %s ON TABLE %s TO %I', wanted, relation, owner), format('REVOKE %s ON TABLE %s FROM %I', wanted, relation, owner)
        FROM unnest('{SELECT,UPDATE}'::text[]) AS wanted WHERE NOT has_table_privilege(owner, relation, wanted)
    ), every (quieting, ending) AS (
        SELECT format('ALTER TABLE ONLY %s %s', relation, quieting), format('ALTER TABLE ONLY %s %s', relation, ending) FROM commands
        UNION ALL TABLE grants)
    SELECT array_agg(quieting), array_agg(ending) INTO quieted, waking FROM every;
    restore := CASE identity WHEN 'd' THEN 'DEFAULT' WHEN 'n' THEN 'NOTHING' WHEN 'i' THEN coalesce(
        (SELECT 'USING INDEX ' || quote_ident(c.relname) FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
            WHERE i.indrelid = relation AND i.indisreplident), 'NOTHING') END;
    SELECT json_agg(c) INTO suspended FROM scribe.invalid_constraints(relation, true) AS c;
    PERFORM scribe.record_constraints(tag, ARRAY[relation::oid], false);
    FOR command IN SELECT c.command FROM scribe.invalid_constraints(relation, false) AS c WHERE c.own LOOP
        PERFORM scribe.run_own(command);
    END LOOP;
    SELECT jsonb_object_agg(f.relid, jsonb_build_object('q', f.facts::jsonb->'q', 'h', f.facts::jsonb->'h')) INTO switches
    FROM scribe.table_facts AS f
    WHERE f.relid = relation OR f.relid IN (SELECT relid FROM pg_partition_tree(pg_partition_root(relation)));
    FOREACH command IN ARRAY coalesce(quieted, '{}') LOOP
        PERFORM scribe.run_own(command);
    END LOOP;
    IF identity <> 'f' THEN
        PERFORM scribe.run_own(format('ALTER TABLE ONLY %s REPLICA IDENTITY FULL', relation));
    END IF;
    UPDATE scribe.table_facts AS f SET facts = (f.facts::jsonb || (switches->f.relid::text))::text  -- they rest only here
    WHERE switches ? f.relid::text;
    PERFORM scribe.write_row('refill', tag, 'table', relation::text, '', true, NULL, ARRAY[relation::oid]);
    PERFORM scribe.run_as(owner, format('UPDATE ONLY %1$s SET %2$I = %2$I', relation, plain_column));
    PERFORM scribe.write_row('refilled', tag, 'table', relation::text, '', true, NULL, ARRAY[relation::oid]);
    IF identity <> 'f' THEN
        PERFORM scribe.run_own(format('ALTER TABLE ONLY %s REPLICA IDENTITY %s', relation, restore));
    END IF;
    -- what reads an expression may run the owner's code, for instance the domain's of a constant; recorded as the owner's statement
    FOR part IN SELECT * FROM json_array_elements(suspended) LOOP
        IF (part->>'own')::boolean THEN
            PERFORM scribe.run_as((part->>'owner')::name, part->>'command');
        ELSE
            PERFORM scribe.write_row('ddl', tag, NULL, NULL, part->>'command', true, NULL, NULL, part->>'owner', '""');
        END IF;
    END LOOP;
    FOREACH command IN ARRAY coalesce(waking, '{}') LOOP
        PERFORM scribe.run_own(command);
    END LOOP;
    RAISE NOTICE 'pg_scribe: the rows of % were written once more, since their new values cannot be computed elsewhere',
        relation;
END
$function$;

-- Replaces capture.sql's.
CREATE OR REPLACE FUNCTION scribe.after_rows(tables oid[], tag text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    relation regclass;
BEGIN
    FOR relation IN SELECT c.oid FROM unnest(tables) AS t JOIN pg_class AS c ON c.oid = t
        WHERE c.relkind = 'r' AND c.relpersistence = 'p' ORDER BY c.oid LOOP
        PERFORM scribe.refill(relation, tag);
    END LOOP;
END
$function$;

-- Replaces capture.sql's: no library is loaded.
CREATE OR REPLACE FUNCTION scribe.command_start() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
    PERFORM scribe.note('scribe.dropped', ''), scribe.note('scribe.facts_changed', '');
    IF tg_tag IN ('CREATE EXTENSION', 'ALTER EXTENSION') AND scribe.is_active() THEN
        -- what a script drops, the event triggers do not call an extension's: note_facts() ends this
        PERFORM scribe.note('scribe.in_script', concat(current_setting('scribe.in_script', true), 'y'));  -- they nest
        PERFORM scribe.write_row('script', tg_tag, NULL, NULL, '', true, NULL, NULL);
    END IF;
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'pg_scribe could not prepare to record %: %', tg_tag, SQLERRM;
    PERFORM scribe.record_failure(tg_tag, SQLERRM);
END
$function$;


DO $install$
BEGIN
    PERFORM scribe.set_privileges();
    DROP TRIGGER IF EXISTS complete_row ON scribe.ddl_history;
    DROP FUNCTION IF EXISTS scribe.complete_row();
    PERFORM scribe.install_event_trigger('!scribe_1_facts', 'sql_drop', 'note_dropped_facts');
    PERFORM scribe.install_event_trigger('!scribe_3_facts', 'ddl_command_end', 'note_facts');
    INSERT INTO scribe.table_facts AS f SELECT * FROM scribe.read_facts(NULL)
        ON CONFLICT (relid) DO UPDATE SET facts = EXCLUDED.facts WHERE f.facts <> EXCLUDED.facts;
    DELETE FROM scribe.table_facts AS f WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_class WHERE oid = f.relid);
    IF NOT EXISTS (SELECT FROM scribe.seen_privilege) THEN
        PERFORM scribe.reconcile_more(false);
    ELSIF NOT EXISTS (SELECT FROM scribe.seen_tablespace) THEN  -- an older version's installation
        PERFORM scribe.reconcile_roles(false), scribe.reconcile_tablespaces(false);
    END IF;
END
$install$;
