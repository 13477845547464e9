-- left_out.sql: what means nothing in a copy, such as what uses something temporary: it is left out, with the parts of commands
-- that name it.

-- Whether an object is made of something temporary, for instance a function that returns a temporary table's row.
CREATE OR REPLACE FUNCTION scribe.depends_on_temporary(class oid, object oid) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $function$
    SELECT class NOT IN ('pg_class'::regclass, 'pg_namespace'::regclass) AND EXISTS (
        SELECT FROM pg_depend AS d LEFT JOIN pg_type AS t ON d.refclassid = 'pg_type'::regclass AND t.oid = d.refobjid
            LEFT JOIN pg_class AS c ON d.refclassid = 'pg_class'::regclass AND c.oid = d.refobjid
            LEFT JOIN pg_proc AS p ON d.refclassid = 'pg_proc'::regclass AND p.oid = d.refobjid
            LEFT JOIN scribe.left_out AS l ON l.classid = d.refclassid AND l.objid = d.refobjid
        WHERE d.classid = class AND d.objid = object
            AND (pg_my_temp_schema() IN (t.typnamespace, c.relnamespace, p.pronamespace) OR l.objid IS NOT NULL))
$function$;

-- Flag those of the objects that a command has made use something temporary and that were there before: they go from the source with it,
-- without an event trigger, and stay in a copy. Who owns an object is written when it is made, and by no REPLACE.
CREATE OR REPLACE FUNCTION scribe.flag_passing(tag text, classes oid[], objects oid[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    passing record;
BEGIN
    FOR passing IN
        SELECT DISTINCT o.class, o.id, i.type, i.identity FROM unnest(classes, objects) AS o (class, id),
            LATERAL pg_identify_object(o.class, o.id, 0) AS i
        WHERE scribe.depends_on_temporary(o.class, o.id)
            AND NOT EXISTS (SELECT FROM scribe.left_out AS l WHERE l.classid = o.class AND l.objid = o.id)
            AND (tag !~ '^CREATE ' OR EXISTS (SELECT FROM pg_shdepend AS d WHERE d.classid = o.class AND d.objid = o.id AND d.deptype = 'o'
                AND d.dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND NOT scribe.is_ours(d.xmin)))
    LOOP
        PERFORM scribe.write_row('lost', tag, passing.type, passing.identity, '', false,
            format('%s %s depends on something temporary and goes with it', passing.type, passing.identity), NULL);
    END LOOP;
END
$function$;

-- What of the objects that a command made uses something that means nothing in a copy, unless that was found before: the object
-- itself (whole), a default, a constraint or a column of it. own: what is used is capture's, or a TOAST table.
CREATE OR REPLACE FUNCTION scribe.foreign_parts(classes oid[], objects oid[]) RETURNS TABLE (class oid, object oid, part int, whole boolean,
    own boolean, description text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $function$
    WITH made (class, object) AS (SELECT DISTINCT m.c, m.o FROM unnest(classes, objects) AS m (c, o) WHERE m.o IS NOT NULL),
        parts (class, object, user_class, user_object, user_part, whole) AS (  -- what is left out, and what its uses are recorded of
            SELECT class, object, class, object, 0, true FROM made
            UNION ALL SELECT class, object, 'pg_rewrite'::regclass, r.oid, 0, true FROM made JOIN pg_rewrite AS r ON r.ev_class = object
                WHERE class = 'pg_class'::regclass AND r.rulename = '_RETURN'
            UNION ALL SELECT class, object, 'pg_class'::regclass, t.typrelid, 0, true FROM made JOIN pg_type AS t ON t.oid = object
                WHERE class = 'pg_type'::regclass AND t.typtype = 'c'
            UNION ALL SELECT 'pg_publication_rel'::regclass, r.oid, 'pg_publication_rel'::regclass, r.oid, 0, false FROM made
                JOIN pg_publication_rel AS r ON r.prpubid = object WHERE class = 'pg_publication'::regclass
            UNION ALL SELECT 'pg_attrdef'::regclass, d.oid, 'pg_attrdef'::regclass, d.oid, 0, false FROM made
                JOIN pg_attrdef AS d ON d.adrelid = object WHERE class = 'pg_class'::regclass
            UNION ALL SELECT 'pg_attrdef'::regclass, d.oid, 'pg_class'::regclass, d.adrelid, d.adnum, false FROM made  -- before 15
                JOIN pg_attrdef AS d ON d.adrelid = object JOIN pg_attribute AS a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
                WHERE class = 'pg_class'::regclass AND a.attgenerated <> ''
            UNION ALL SELECT 'pg_constraint'::regclass, k.oid, 'pg_constraint'::regclass, k.oid, 0, false FROM made
                JOIN pg_constraint AS k ON class = 'pg_class'::regclass AND k.conrelid = object
                    OR class = 'pg_type'::regclass AND k.contypid = object)
    SELECT p.class, p.object, d.objsubid - p.user_part, p.whole AND (d.objsubid = 0 OR p.class <> 'pg_class'::regclass), min(i.schema) IN ('scribe', 'pg_toast'),
        min(format('%s uses %s', pg_describe_object(p.class, p.object, CASE WHEN p.class = 'pg_class'::regclass THEN d.objsubid ELSE 0 END),
            pg_describe_object(d.refclassid, d.refobjid, d.refobjsubid)))
    FROM parts AS p JOIN pg_depend AS d ON d.classid = p.user_class AND d.objid = p.user_object AND CASE
            WHEN p.user_part > 0 THEN d.objsubid = p.user_part AND d.deptype = 'a'  -- of a column's, only a generated one's
            ELSE p.user_class <> 'pg_class'::regclass OR d.objsubid = 0 OR d.deptype = 'n' END
        LEFT JOIN scribe.left_out AS l ON l.classid = d.refclassid AND l.objid = d.refobjid
        LEFT JOIN pg_attribute AS t ON d.refclassid = 'pg_class'::regclass AND d.refobjsubid > 0 AND t.attrelid = d.refobjid
            AND t.attnum = d.refobjsubid,
        LATERAL pg_identify_object(d.refclassid, d.refobjid, 0) AS i
    WHERE d.refobjid >= 16384 AND d.deptype IN ('n', 'a')
        AND (scribe.is_foreign(i.schema) OR l.objid IS NOT NULL OR scribe.is_foreign_type(t.atttypid))  -- a column that no copy has
        AND (d.refclassid, d.refobjid) <> (p.class, p.object)
        AND NOT EXISTS (SELECT FROM scribe.left_out AS o WHERE (o.classid, o.objid) = (p.class, p.object) AND NOT p.whole)
    GROUP BY p.class, p.object, d.objsubid - p.user_part, p.whole AND (d.objsubid = 0 OR p.class <> 'pg_class'::regclass)
$function$;

-- What is left of a command without the parts that mean nothing in a copy, as statements; NULL if that cannot be told.
CREATE OR REPLACE FUNCTION scribe.rest_of_command(tag text, facts json, classes oid[], objects oid[]) RETURNS text[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    tables constant oid[] := ARRAY(SELECT DISTINCT c.oid FROM unnest(classes, objects) AS o (class, id) JOIN pg_class AS c ON c.oid = o.id
        WHERE o.class = 'pg_class'::regclass AND c.relkind IN ('r', 'p', 'f'));
BEGIN
    IF tag = 'CREATE DOMAIN' AND cardinality(objects) = 1 THEN
        RETURN ARRAY(SELECT scribe.domain_definition(objects[1]));
    ELSIF cardinality(tables) <> 1 OR EXISTS (SELECT FROM pg_inherits WHERE tables[1] IN (inhrelid, inhparent))
        OR NOT EXISTS (SELECT FROM pg_class WHERE oid = tables[1] AND relkind = 'r' AND reloftype = 0) THEN
        RETURN NULL;
    ELSIF tag = 'CREATE TABLE' THEN
        RETURN ARRAY(SELECT scribe.table_definition(tables[1]));
    ELSIF tag = 'ALTER TABLE' AND (facts->>'actions')::int = 1 THEN
        RETURN ARRAY(SELECT format('ALTER TABLE %s ADD COLUMN %I %s%s', tables[1]::regclass, a.attname,
                format_type(a.atttypid, a.atttypmod), CASE WHEN a.attnotnull AND a.atthasmissing THEN ''
                    WHEN a.attnotnull THEN ' NOT NULL' END)
            FROM json_array_elements(facts->'touched') AS t JOIN pg_attribute AS a ON a.attrelid = (t->>0)::oid AND a.attnum = (t->>1)::int
            WHERE (t->>2)::int = 1 AND NOT scribe.is_foreign_type(a.atttypid));
    END IF;
    RETURN NULL;
END
$function$;

-- Record a command as far as it means something in a copy; false: all of it does. What uses something temporary goes with that and is
-- no loss; anything else is flagged.
CREATE OR REPLACE FUNCTION scribe.leave_out(tag text, facts json, classes oid[], objects oid[], relids oid[]) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
    statement constant text := facts->>'statement';
    parts record;
    rest text[];
    command text;
BEGIN
    IF tag LIKE 'DROP %' OR tag LIKE '% EXTENSION' OR NOT (pg_my_temp_schema() <> 0 OR EXISTS (SELECT FROM scribe.left_out)
            OR concat(statement, current_setting('scribe.path', true)) ~* 'scribe|pg_toast') THEN
        RETURN false;
    ELSIF tag IN ('GRANT', 'REVOKE') THEN
        -- a name is written with its quotes doubled, longer than it is (it is cut at 63 bytes), or by code points
        SELECT min(i.identity) AS identity INTO parts FROM (SELECT l.* FROM scribe.left_out AS l WHERE EXISTS (SELECT FROM pg_depend AS d
            WHERE d.classid = l.classid AND d.objid = l.objid OFFSET 0)) AS l, LATERAL pg_identify_object(l.classid, l.objid, 0) AS i,
            LATERAL pg_identify_object_as_address(l.classid, l.objid, 0) AS a,
            LATERAL (SELECT a.object_names[cardinality(a.object_names)]) AS n (name)
            WHERE l.classid NOT IN ('pg_attrdef'::regclass, 'pg_constraint'::regclass)
                AND (statement ~* '\mU&"' OR statement ~* format('(?<![\w$])%s%s', regexp_replace(replace(n.name, '"', '""'), '([^\w])', '\\\1', 'g'),
                    CASE WHEN octet_length(n.name) < 60 THEN '(?![\w$])' END));
        IF parts.identity IS NULL THEN
            SELECT min(pg_describe_object('pg_class'::regclass, a.attrelid, a.attnum)) AS identity INTO parts
                FROM pg_type AS t JOIN pg_attribute AS a ON a.atttypid = t.oid
                WHERE scribe.is_foreign_type(t.oid) AND a.attacl IS NOT NULL AND NOT a.attisdropped AND scribe.is_ours(a.xmin);
        END IF;
        IF parts.identity IS NULL THEN
            RETURN false;
        END IF;
        PERFORM scribe.write_row('lost', tag, NULL, NULL, '', false, format('%s is left out of every copy', parts.identity), NULL);
        RETURN true;
    END IF;
    SELECT count(*) AS total, count(*) FILTER (WHERE f.whole) AS whole, count(*) FILTER (WHERE NOT f.whole AND f.part > 0) AS columns,
            bool_or(f.own) AS own, min(f.description) AS description,
            array_agg(DISTINCT f.object) FILTER (WHERE f.whole) @> objects AS all_of_it
        INTO parts FROM scribe.foreign_parts(classes, objects) AS f;
    IF parts.total = 0 THEN
        RETURN false;
    END IF;
    INSERT INTO scribe.left_out SELECT DISTINCT f.class, f.object FROM scribe.foreign_parts(classes, objects) AS f
        WHERE f.part = 0 OR f.class <> 'pg_class'::regclass ON CONFLICT DO NOTHING;
    -- whatever uses a column of such a type later, in any session, is looked at as well
    INSERT INTO scribe.left_out SELECT DISTINCT 'pg_type'::regclass::oid, a.atttypid FROM pg_attribute AS a
        WHERE parts.columns > 0 AND a.attrelid IN (SELECT f.object FROM scribe.foreign_parts(classes, objects) AS f WHERE f.class = 'pg_class'::regclass)
            AND a.attnum > 0 AND scribe.is_foreign_type(a.atttypid) ON CONFLICT DO NOTHING;
    IF parts.whole > 0 AND NOT (parts.all_of_it AND NOT EXISTS (SELECT FROM pg_class WHERE oid = ANY (relids) AND relkind IN ('r', 'p', 'f'))) THEN
        rest := NULL;
    ELSIF parts.whole > 0 THEN
        rest := '{}';
    ELSE
        rest := scribe.rest_of_command(tag, facts, classes, objects);
    END IF;
    FOREACH command IN ARRAY coalesce(rest, '{}') LOOP
        PERFORM scribe.write_row('ddl', tag, NULL, NULL, command, true, 'own: what means nothing in a copy is left out', relids, NULL, '""');
    END LOOP;
    IF rest IS NULL OR parts.own OR parts.columns > 0 THEN
        PERFORM scribe.write_row('lost', tag, NULL, NULL, statement, false, format('%s, which no copy has', parts.description),
            CASE WHEN rest IS NULL THEN relids END);
    END IF;
    RETURN true;
END
$function$;
